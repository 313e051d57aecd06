//! Divide-and-conquer (Shejwalkar and Houmansadr 2021, algorithm 2): on sampled columns, the points with the largest
//! shares in the top singular direction are dropped; what no sample drops is averaged.

use super::{Choice, all, ascending};
use crate::error::RobustError;
use crate::matrix::Square;
use crate::points::Points;

/// Most multiplications of the power iteration.
const MOST_STEPS: usize = 5_000;
/// The iteration ends when no entry of the unit vector moves by more.
const SETTLED: f64 = 1e-14;

/// How many points are dropped each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drops {
    /// The key `drop_factor`.
    pub(crate) factor: f64,
    /// The key `byzantine`.
    pub(crate) byzantine: usize,
}

/// The mean of the points that are kept on all `samples`: the same points, with distances over some columns.
///
/// # Errors
/// [`RobustError::Parameter`] if none is left.
pub(crate) fn directions(samples: &[Points], drops: Drops) -> Result<Choice, RobustError> {
    let (count, places) = samples
        .first()
        .map_or((0, 0), |points| (points.count(), points.places()));
    let dropped = (drops.factor * drops.byzantine as f64).floor() as usize;
    let mut left = vec![true; count];
    let mut greatest = vec![0.0_f64; count];
    for points in samples {
        let scores = shares(&centred(points.distances(), count));
        for &point in ascending(&scores).iter().rev().take(dropped) {
            left[point] = false;
        }
        for (greatest, score) in greatest.iter_mut().zip(scores) {
            *greatest = greatest.max(score);
        }
    }
    let kept: Vec<usize> = (0..count).filter(|&point| left[point]).collect();
    if kept.is_empty() {
        return Err(RobustError::Parameter {
            name: "drop_factor",
            value: drops.factor,
            allowed: format!(
                "less: {} times {dropped} of {count} rows were dropped and none is left",
                samples.len()
            ),
        });
    }
    Ok(Choice::mean_of(&kept, places, all(greatest)))
}

/// Inner products of the first `count` points around their mean.
fn centred(distances: &Square, count: usize) -> Square {
    let mean = |row: &[f64]| row[..count].iter().sum::<f64>() / count as f64;
    let means: Vec<f64> = (0..count).map(|row| mean(distances.row(row))).collect();
    let total = mean(&means);
    Square::from_fn(count, |i, j| {
        0.5 * (means[i] + means[j] - total - distances.at(i, j))
    })
}

/// The squared projection of each point on the top singular direction of all, from their inner products: with the top
/// eigenvalue and its unit vector u, that of point i is the eigenvalue times u_i squared. The power iteration starts
/// from the row of the longest point, so that the sign and the choice among equal eigenvalues depend on no chance.
fn shares(inner: &Square) -> Vec<f64> {
    let count = inner.n();
    let mut longest = 0;
    for point in 1..count {
        if inner.at(point, point) > inner.at(longest, longest) {
            longest = point;
        }
    }
    if count == 0 || inner.at(longest, longest) <= 0.0 {
        return vec![0.0; count];
    }
    let mut unit = inner.row(longest).to_vec();
    normalise(&mut unit);
    let mut eigenvalue = 0.0;
    for _ in 0..MOST_STEPS {
        let mut next: Vec<f64> = (0..count)
            .map(|row| inner.row(row).iter().zip(&unit).map(|(a, b)| a * b).sum())
            .collect();
        eigenvalue = normalise(&mut next);
        let moved = next.iter().zip(&unit).map(|(a, b)| (a - b).abs());
        let moved = moved.fold(0.0, f64::max);
        unit = next;
        if moved <= SETTLED {
            break;
        }
    }
    unit.iter()
        .map(|entry| eigenvalue * entry * entry)
        .collect()
}

/// Scales to length 1 and returns the length that was; zeros stay.
fn normalise(values: &mut [f64]) -> f64 {
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value /= length);
    }
    length
}
