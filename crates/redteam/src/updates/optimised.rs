//! The farthest vector that still passes: Min-Max, Min-Sum, and the search against the deployed rule (Shejwalkar and
//! Houmansadr 2021, "Manipulating the Byzantine").
//!
//! All send mean + gamma p, with p one of three directions away from the mean. With a_i = mean - x_i the squared
//! distance to x_i is the parabola |a_i|^2 + 2 gamma a_i.p + gamma^2 |p|^2, so the largest gamma within a bound is
//! the root of a quadratic: no search as in the paper.

use cloister_robust::Square;

use crate::config::Direction;
use crate::updates::oracle::{Goal, Oracle};
use crate::updates::statistics::{Moments, centred_gram, squared_distance};

/// Questions that are asked of the rule at most.
const QUESTIONS: u32 = 20;

/// The search ends when gamma is known to this share of its scale.
const PRECISION: f64 = 1e-5;

/// First gamma of the search, in units of the scale, and the most that is tried: a rule that lets everything pass has
/// no largest gamma.
const START: f64 = 10.0;
const FARTHEST: f64 = 1000.0;

/// A direction away from the mean.
fn perturbation(direction: Direction, moments: &Moments) -> Vec<f64> {
    match direction {
        Direction::Unit => {
            let length = length(&moments.mean);
            let unit = |mean: &f64| if length > 0.0 { -mean / length } else { 0.0 };
            moments.mean.iter().map(unit).collect()
        }
        Direction::Sign => moments
            .mean
            .iter()
            .map(|mean| if *mean == 0.0 { 0.0 } else { -mean.signum() })
            .collect(),
        Direction::Deviation => moments
            .deviation
            .iter()
            .map(|deviation| -deviation)
            .collect(),
    }
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The visible updates as the mean and a direction see them.
struct Line<'a> {
    mean: &'a [f64],
    direction: Vec<f64>,
    /// |p|^2.
    square: f64,
    /// a_i.p of each row.
    along: Vec<f64>,
    gram: Square,
}

impl<'a> Line<'a> {
    fn new(rows: &[&[f32]], moments: &'a Moments, direction: Direction) -> Self {
        let direction = perturbation(direction, moments);
        let along = |row: &&[f32]| -> f64 {
            let each = row.iter().zip(&moments.mean).zip(&direction);
            each.map(|((value, mean), p)| (mean - f64::from(*value)) * p)
                .sum()
        };
        Self {
            mean: &moments.mean,
            square: direction.iter().map(|p| p * p).sum(),
            along: rows.iter().map(along).collect(),
            gram: centred_gram(rows, &moments.mean),
            direction,
        }
    }

    fn point(&self, gamma: f64) -> Vec<f32> {
        let each = self.mean.iter().zip(&self.direction);
        each.map(|(mean, p)| (mean + gamma * p) as f32).collect()
    }

    /// Squared distance of the pair of rows that are farthest apart.
    fn diameter(&self) -> f64 {
        let n = self.gram.n();
        let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs
            .map(|(i, j)| squared_distance(&self.gram, i, j))
            .fold(0.0, f64::max)
    }

    /// The largest gamma at which no row is farther away than the farthest pair of rows is apart.
    fn min_max(&self) -> f64 {
        let bound = self.diameter();
        (0..self.gram.n())
            .map(|i| self.root(self.gram.at(i, i), self.along[i], 1.0, bound))
            .fold(f64::INFINITY, f64::min)
    }

    /// The largest gamma at which the squared distances sum to no more than the largest such sum of a row. Since the
    /// a_i sum to zero, that of row i is n |a_i|^2 + sum_j |a_j|^2.
    fn min_sum(&self) -> f64 {
        let n = self.gram.n();
        let squares: Vec<f64> = (0..n).map(|i| self.gram.at(i, i)).collect();
        let sum: f64 = squares.iter().sum();
        let bound = n as f64 * squares.iter().copied().fold(0.0, f64::max) + sum;
        self.root(sum, self.along.iter().sum(), n as f64, bound)
    }

    /// The larger root of constant + 2 gamma along + gamma^2 count |p|^2 = bound; 0 where there is no direction.
    fn root(&self, constant: f64, along: f64, count: f64, bound: f64) -> f64 {
        let square = count * self.square;
        if square == 0.0 {
            return 0.0;
        }
        let discriminant = along * along - square * (constant - bound);
        (discriminant.max(0.0).sqrt() - along) / square
    }

    /// The gamma at which the step from the mean is as long as the updates are far apart, or as the mean is long.
    fn scale(&self) -> f64 {
        let reach = self.diameter().sqrt().max(length(self.mean));
        if self.square > 0.0 {
            reach / self.square.sqrt()
        } else {
            0.0
        }
    }
}

/// Min-Max: mean + gamma p with the largest gamma for which max_i |m - x_i| <= max_ij |x_i - x_j|.
pub(crate) fn min_max(rows: &[&[f32]], moments: &Moments, direction: Direction) -> Vec<f32> {
    let line = Line::new(rows, moments, direction);
    line.point(line.min_max())
}

/// Min-Sum: mean + gamma p with the largest gamma for which sum_i |m - x_i|^2 <= max_i sum_j |x_i - x_j|^2 (the
/// paper's bound; its released code takes the least sum instead).
pub(crate) fn min_sum(rows: &[&[f32]], moments: &Moments, direction: Direction) -> Vec<f32> {
    let line = Line::new(rows, moments, direction);
    line.point(line.min_sum())
}

/// AGR-tailored: mean + gamma p with the largest gamma that the rule selects whenever it can, or, for a rule that does
/// not select, with the gamma that carries its result farthest from the mean. Min-Max's gamma where the rule refuses
/// to answer, for example because the attackers see too few updates to imitate a round.
pub(crate) fn tailored(
    rows: &[&[f32]],
    moments: &Moments,
    direction: Direction,
    oracle: &Oracle<'_>,
) -> Vec<f32> {
    let line = Line::new(rows, moments, direction);
    let scale = line.scale();
    if scale == 0.0 {
        return line.point(0.0);
    }
    let gamma = match oracle.goal() {
        Goal::Selected => largest_selected(scale, |gamma| oracle.selects(&line.point(gamma))),
        Goal::Moved => farthest(scale, |gamma| {
            oracle.deviation(&line.point(gamma), line.mean)
        }),
    };
    line.point(gamma.unwrap_or_else(|| line.min_max()))
}

/// The paper's algorithm 1: steps that halve, outwards after a success and inwards after a failure. `None` as soon as
/// `passes` has no answer.
fn largest_selected(scale: f64, mut passes: impl FnMut(f64) -> Option<bool>) -> Option<f64> {
    let (mut gamma, mut step, mut best) = (START * scale, START * scale / 2.0, 0.0);
    while step > PRECISION * scale {
        if passes(gamma)? {
            best = gamma;
            gamma += step;
        } else {
            gamma -= step;
        }
        step /= 2.0;
    }
    Some(best)
}

/// Line search: steps that double while the value grows, as in ByzantineMomentum's and byzfl's optimal attacks, then
/// golden section (Kiefer 1953) between the neighbours of the best, where they shrink their steps by 0.8. `None` as soon
/// as `value` has no answer.
fn farthest(scale: f64, mut value: impl FnMut(f64) -> Option<f64>) -> Option<f64> {
    let (mut low, mut best, mut step) = (0.0, 0.0, scale);
    let mut most = value(best)?;
    let mut questions = 1;
    while best + step <= FARTHEST * scale {
        let found = value(best + step)?;
        questions += 1;
        if found <= most {
            break;
        }
        (low, best, most) = (best, best + step, found);
        step *= 2.0;
    }
    let mut high = best + step;
    let golden = (3.0 - 5.0_f64.sqrt()) / 2.0;
    while questions < QUESTIONS {
        let outwards = high - best > best - low;
        let side = if outwards { high - best } else { low - best };
        let gamma = best + golden * side;
        let found = value(gamma)?;
        questions += 1;
        let (inner, beaten) = if found > most {
            most = found;
            (std::mem::replace(&mut best, gamma), !outwards)
        } else {
            (gamma, outwards)
        };
        // The worse of the two becomes the end of the interval on its side.
        if beaten {
            high = inner;
        } else {
            low = inner;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn rows(n: usize, d: usize) -> Vec<Vec<f32>> {
        let value =
            |i: usize, j: usize| ((2.2 * i as f32 + 0.9 * j as f32).sin() + 0.2 * j as f32) * 0.1;
        (0..n)
            .map(|i| (0..d).map(|j| value(i, j)).collect())
            .collect()
    }

    fn squared(a: &[f32], b: &[f32]) -> f64 {
        let each = a.iter().zip(b);
        each.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum()
    }

    /// The paper's search, straight from the definition: the largest gamma with `value(m) <= bound`, by doubling and
    /// halving.
    fn searched(line: &Line<'_>, value: impl Fn(&[f32]) -> f64, bound: f64) -> f64 {
        let passes = |gamma: f64| value(&line.point(gamma)) <= bound;
        let mut high = 1.0;
        while passes(high) {
            high *= 2.0;
        }
        let mut low = 0.0;
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if passes(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    #[test]
    fn closed_forms_are_what_a_search_finds_and_are_tight() {
        for (n, d) in [(2, 3), (7, 40), (20, 1500)] {
            let rows = rows(n, d);
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let moments = Moments::new(&rows);
            for direction in [Direction::Unit, Direction::Sign, Direction::Deviation] {
                let line = Line::new(&rows, &moments, direction);
                let farthest =
                    |m: &[f32]| rows.iter().map(|row| squared(m, row)).fold(0.0, f64::max);
                let sum = |m: &[f32]| rows.iter().map(|row| squared(m, row)).sum::<f64>();
                let diameter = rows.iter().map(|row| farthest(row)).fold(0.0, f64::max);
                let largest_sum = rows.iter().map(|row| sum(row)).fold(0.0, f64::max);
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs();
                let gamma = line.min_max();
                assert!(
                    near(gamma, searched(&line, farthest, diameter)),
                    "{n} {direction:?}"
                );
                assert!(
                    near(farthest(&line.point(gamma)), diameter),
                    "{n} {direction:?}"
                );
                let gamma = line.min_sum();
                assert!(
                    near(gamma, searched(&line, sum, largest_sum)),
                    "{n} {direction:?}"
                );
                assert!(
                    near(sum(&line.point(gamma)), largest_sum),
                    "{n} {direction:?}"
                );
            }
        }
    }

    proptest! {
        /// Whatever the rows, no bound is broken, and a step against the mean is not a step along it.
        #[test]
        fn bounds_hold(
            values in vec(-1e3_f32..1e3, 12..60),
            n in 2_usize..6,
            direction in select(vec![Direction::Unit, Direction::Sign, Direction::Deviation]),
        ) {
            let d = values.len() / n;
            let rows: Vec<&[f32]> = values.chunks_exact(d).take(n).collect();
            let moments = Moments::new(&rows);
            let line = Line::new(&rows, &moments, direction);
            let farthest = |m: &[f32]| rows.iter().map(|row| squared(m, row)).fold(0.0, f64::max);
            let sum = |m: &[f32]| rows.iter().map(|row| squared(m, row)).sum::<f64>();
            let diameter = rows.iter().map(|row| farthest(row)).fold(0.0, f64::max);
            let largest_sum = rows.iter().map(|row| sum(row)).fold(0.0, f64::max);
            let (max, total) = (line.min_max(), line.min_sum());
            prop_assert!(max >= 0.0 && total >= 0.0);
            prop_assert!(farthest(&line.point(max)) <= diameter * (1.0 + 1e-4));
            prop_assert!(sum(&line.point(total)) <= largest_sum * (1.0 + 1e-4));
        }
    }

    #[test]
    fn without_spread_there_is_no_step() {
        let row = [1.0_f32, -2.0];
        for rows in [&[&row[..]][..], &[&row[..]; 3]] {
            let moments = Moments::new(rows);
            for direction in [Direction::Unit, Direction::Sign, Direction::Deviation] {
                assert_eq!(min_max(rows, &moments, direction), row);
                assert_eq!(min_sum(rows, &moments, direction), row);
            }
        }
    }

    #[test]
    fn searches_find_the_edge_and_the_top() {
        let edge = largest_selected(2.0, |gamma| Some(gamma <= 1.234)).unwrap();
        assert!((edge - 1.234).abs() < 1e-4 && edge <= 1.234, "{edge}");
        assert_eq!(largest_selected(1.0, |_| Some(false)), Some(0.0));
        let all = largest_selected(1.0, |_| Some(true)).unwrap();
        assert!((all - 20.0).abs() < 1e-4, "{all}");
        let top = farthest(1.0, |gamma| Some(-(gamma - 5.3).powi(2))).unwrap();
        assert!((top - 5.3).abs() < 0.01, "{top}");
        assert!(farthest(1.0, Some).unwrap() > 500.0);
        assert_eq!(farthest(1.0, |gamma| Some(-gamma)), Some(0.0));
        assert_eq!(farthest(1.0, |_| None), None);
    }
}
