//! The rules whose result is a weighted sum: they see distances and give weights.

mod diameter;
mod direction;
mod krum;
mod length;
mod steps;
mod trust;

pub(crate) use diameter::least_diameter;
pub(crate) use direction::{Drops, directions};
pub(crate) use krum::{Neighbours, bulyan, krum};
pub(crate) use length::{clipped_mean, shortest};
pub(crate) use steps::{centred_clipping, geometric_median};
pub(crate) use trust::{flame, foolsgold, greatest_similarity, trusted};

/// What a rule made of the points.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Coefficients of points and extras.
    pub(crate) weights: Vec<f64>,
    /// The score of each point, where it has one.
    pub(crate) scores: Vec<Option<f64>>,
}

impl Choice {
    /// The mean of some of `scores.len()` points among `places` points and extras.
    fn mean_of(selected: &[usize], places: usize, scores: Vec<Option<f64>>) -> Self {
        let mut weights = vec![0.0; places];
        for &point in selected {
            weights[point] = 1.0 / selected.len() as f64;
        }
        Self { weights, scores }
    }
}

/// Every score, as there is one for each point.
fn all(scores: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
    scores.into_iter().map(Some).collect()
}

/// The numbers 0.. in the order of their `values`, the lower number first where those are equal.
pub(crate) fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

/// The median; the mean of the two in the middle where their number is even, 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        0.5 * (values[half - 1] + values[half])
    }
}

/// By what a vector of this length is multiplied so that none is longer than `limit`.
pub(crate) fn shrink(length: f64, limit: f64) -> f64 {
    if length > limit { limit / length } else { 1.0 }
}
