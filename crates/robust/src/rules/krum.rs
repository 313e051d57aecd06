//! Krum and its kin (Blanchard et al. 2017), and the selection of Bulyan (El Mhamdi et al. 2018).

use super::{Choice, all, ascending};
use crate::matrix::Square;
use crate::points::Points;

/// How many neighbours a Krum score sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// n - f - 2, as in the paper; at least one where there is another.
    Paper,
    /// n - f - 1, as in byzfl 0.0.11.
    Byzfl,
}

impl Neighbours {
    fn among(self, rows: usize, byzantine: usize) -> usize {
        let others = rows.saturating_sub(1);
        match self {
            Self::Paper => rows.saturating_sub(byzantine + 2).max(1).min(others),
            Self::Byzfl => rows.saturating_sub(byzantine + 1).min(others),
        }
    }
}

/// The mean of the `selected` points with the least sums of squared distances to their nearest neighbours.
pub(crate) fn krum(
    points: &Points,
    byzantine: usize,
    neighbours: Neighbours,
    selected: usize,
) -> Choice {
    let count = points.count();
    let nearest = Nearest::new(points.distances(), count);
    let neighbours = neighbours.among(count, byzantine);
    let scores: Vec<f64> = (0..count)
        .map(|point| nearest.score(point, neighbours, |_| true))
        .collect();
    let order = ascending(&scores);
    Choice::mean_of(&order[..selected.min(count)], points.places(), all(scores))
}

/// The points that repeated Krum picks, in the order of picking: n - 2f of them. Each pick is the Krum of the points
/// that are left, with n, and so the number of neighbours, falling by one each time.
pub(crate) fn bulyan(points: &Points, byzantine: usize) -> Vec<usize> {
    let count = points.count();
    let nearest = Nearest::new(points.distances(), count);
    let mut left = vec![true; count];
    let mut picked = Vec::new();
    for remaining in (2 * byzantine + 1..=count).rev() {
        let neighbours = Neighbours::Paper.among(remaining, byzantine);
        let mut best: Option<(f64, usize)> = None;
        for point in (0..count).filter(|&point| left[point]) {
            let score = nearest.score(point, neighbours, |other| left[other]);
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, point));
            }
        }
        let Some((_, point)) = best else { break };
        left[point] = false;
        picked.push(point);
    }
    picked
}

/// Of each point all others, nearest first.
struct Nearest(Vec<Vec<(f64, usize)>>);

impl Nearest {
    fn new(distances: &Square, count: usize) -> Self {
        let others = |point: usize| {
            let mut others: Vec<(f64, usize)> = (0..count)
                .filter(|&other| other != point)
                .map(|other| (distances.at(point, other), other))
                .collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0));
            others
        };
        Self((0..count).map(others).collect())
    }

    /// The sum of the `neighbours` least squared distances to points that are `there`, in ascending order.
    fn score(&self, point: usize, neighbours: usize, there: impl Fn(usize) -> bool) -> f64 {
        let nearest = self.0[point].iter().filter(|(_, other)| there(*other));
        nearest.take(neighbours).map(|(distance, _)| distance).sum()
    }
}
