//! Buffers that are good for a run.

use super::strategy::{Blt, Participation};
use crate::error::PrivacyError;

/// Evaluations a buffer.
const EVALUATIONS: usize = 400;

impl Blt {
    /// The strategy with so many buffers, between 1 and 6, whose prefix sums have the least root mean square error at equal
    /// privacy: sensitivity times error, minimised by the simplex search of Nelder and Mead (1965) from decays spread
    /// evenly over the time scales of the run. Deterministic; a local minimum.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for another number of buffers.
    pub fn optimised(participation: Participation, buffers: usize) -> Result<Self, PrivacyError> {
        if !(1..=6).contains(&buffers) {
            return Err(PrivacyError::Parameter {
                name: "the number of buffers",
                range: "between 1 and 6",
                found: buffers as f64,
            });
        }
        let rounds = participation.rounds();
        let cost = |point: &[f64]| {
            let blt = decode(point);
            let sensitivity = blt.toeplitz(rounds).sensitivity(participation);
            let cost = sensitivity * blt.errors(rounds).root_mean_square;
            if cost.is_finite() { cost } else { f64::MAX }
        };
        let mut start = Vec::new();
        for i in 0..buffers {
            // Buffer i remembers for n^((i + 1/2) / m) rounds.
            let time = (rounds as f64 + 1.0).powf((i as f64 + 0.5) / buffers as f64);
            start.push(time.ln());
            start.push((0.5 / (buffers as f64 * time.sqrt())).ln());
        }
        Ok(decode(&minimise(&start, EVALUATIONS * buffers, cost)))
    }
}

/// From logarithms of times and scales, to a strategy that [`Blt::new`] would accept.
fn decode(point: &[f64]) -> Blt {
    let (pairs, _) = point.as_chunks::<2>();
    let decay = pairs
        .iter()
        .map(|[time, _]| libm::exp(-libm::exp(-time)))
        .collect();
    let mut scale: Vec<f64> = pairs.iter().map(|[_, scale]| libm::exp(*scale)).collect();
    let sum: f64 = scale.iter().sum();
    if sum > 0.999 {
        scale.iter_mut().for_each(|scale| *scale *= 0.999 / sum);
    }
    Blt::of(decay, scale)
}

/// The best point that a simplex search finds with about so many evaluations.
fn minimise(start: &[f64], evaluations: usize, cost: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let n = start.len();
    let valued = |point: Vec<f64>| (cost(&point), point);
    let mut simplex: Vec<(f64, Vec<f64>)> = (0..=n)
        .map(|i| {
            let mut point = start.to_vec();
            if i > 0 {
                point[i - 1] += 0.5;
            }
            valued(point)
        })
        .collect();
    let mut left = evaluations;
    while left > 0 {
        simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
        let centre: Vec<f64> = (0..n)
            .map(|i| simplex[..n].iter().map(|(_, point)| point[i]).sum::<f64>() / n as f64)
            .collect();
        let along = |t: f64, worst: &[f64]| {
            centre
                .iter()
                .zip(worst)
                .map(|(c, w)| c + t * (w - c))
                .collect::<Vec<f64>>()
        };
        let (best, second, worst) = (simplex[0].0, simplex[n - 1].0, &simplex[n]);
        let reflected = valued(along(-1.0, &worst.1));
        left = left.saturating_sub(2);
        let better = if reflected.0 < best {
            let expanded = valued(along(-2.0, &worst.1));
            Some(if expanded.0 < reflected.0 {
                expanded
            } else {
                reflected
            })
        } else if reflected.0 < second {
            Some(reflected)
        } else {
            let towards = if reflected.0 < worst.0 { -0.5 } else { 0.5 };
            let contracted = valued(along(towards, &worst.1));
            (contracted.0 < worst.0.min(reflected.0)).then_some(contracted)
        };
        if let Some(better) = better {
            simplex[n] = better;
        } else {
            // Everything moves half of the way to the best.
            let best = simplex[0].1.clone();
            for corner in &mut simplex[1..] {
                let point = corner
                    .1
                    .iter()
                    .zip(&best)
                    .map(|(x, b)| 0.5 * (x + b))
                    .collect();
                *corner = valued(point);
            }
            left = left.saturating_sub(n);
        }
    }
    simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
    simplex.swap_remove(0).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simplex_finds_the_bottom_of_a_valley() {
        let valley = |x: &[f64]| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2);
        let found = minimise(&[-1.2, 1.0], 1000, valley);
        assert!(
            (found[0] - 1.0).abs() < 1e-4 && (found[1] - 1.0).abs() < 1e-4,
            "{found:?}"
        );
    }
}
