//! Rules that judge by length alone.

use super::{Choice, all, ascending, median, shrink};
use crate::points::Points;

/// Comparative gradient elimination (Gupta and Vaidya 2020): the mean of the n - f shortest.
pub(crate) fn shortest(points: &Points, byzantine: usize) -> Choice {
    let lengths = points.lengths();
    let order = ascending(&lengths);
    let kept = &order[..points.count() - byzantine];
    Choice::mean_of(kept, points.places(), all(lengths))
}

/// The mean of the points clipped to `radius`; to their median length if `None` (Sun et al. 2019).
pub(crate) fn clipped_mean(points: &Points, radius: Option<f64>) -> Choice {
    let lengths = points.lengths();
    let radius = radius.unwrap_or_else(|| median(lengths.clone()));
    let mut weights = vec![0.0; points.places()];
    let share = 1.0 / points.count() as f64;
    for (weight, &length) in weights.iter_mut().zip(&lengths) {
        *weight = share * shrink(length, radius);
    }
    // The rest is the zero vector's.
    let rest = 1.0 - weights.iter().sum::<f64>();
    weights[points.origin()] = rest;
    Choice {
        weights,
        scores: all(lengths),
    }
}
