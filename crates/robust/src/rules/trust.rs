//! Rules that weigh by cosines.

use super::{Choice, all, median, shrink};
use crate::detect;
use crate::matrix::Square;
use crate::points::Points;

/// FLTrust (Cao et al. 2021): each point scaled to the length of the server's own update and weighed by the positive
/// part of its cosine to it. If no cosine is positive, the result is the zero vector.
pub(crate) fn trusted(points: &Points) -> Choice {
    let (count, own) = (points.count(), points.trusted());
    let cosines: Vec<f64> = (0..count).map(|point| points.cosine(point, own)).collect();
    let total: f64 = cosines.iter().map(|cosine| cosine.max(0.0)).sum();
    let mut weights = vec![0.0; points.places()];
    if total > 0.0 {
        for (point, cosine) in cosines.iter().enumerate() {
            if *cosine > 0.0 {
                weights[point] = cosine / total * points.length(own) / points.length(point);
            }
        }
    }
    rest_to_origin(&mut weights, points);
    Choice {
        weights,
        scores: all(cosines),
    }
}

/// FoolsGold (Fung et al. 2020): the mean of the points weighed by how little the history of their clients looks like
/// another's. If all weights are 0, the result is the zero vector. `histories` holds the cosines between the histories
/// of the clients, `owner` the point of each client.
pub(crate) fn foolsgold(points: &Points, histories: &Square) -> Choice {
    let by_row = detect::foolsgold_weights(histories);
    let mut weights = vec![0.0; points.places()];
    for (weight, &point) in by_row.iter().zip(points.owner()) {
        weights[point] += weight;
    }
    let total: f64 = weights.iter().sum();
    if total > 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= total);
    }
    rest_to_origin(&mut weights, points);
    Choice {
        weights,
        scores: Vec::new(),
    }
}

/// The greatest cosine of each client's history to another's; `None` of a client alone.
pub(crate) fn greatest_similarity(histories: &Square) -> Vec<Option<f64>> {
    let count = histories.n();
    let of = |row: usize| {
        (0..count)
            .filter(|&other| other != row)
            .map(|other| histories.at(row, other))
            .reduce(f64::max)
    };
    (0..count).map(of).collect()
}

/// FLAME (Nguyen et al. 2022): the mean of the points in the one cluster of more than half of all, by cosine distance,
/// clipped to the median length of all. Where there is no such cluster, nothing can be told apart and all points stay.
/// Also returns the median length, which scales the noise.
pub(crate) fn flame(points: &Points) -> (Choice, f64) {
    let count = points.count();
    let apart = Square::from_fn(count, |i, j| {
        if i == j {
            0.0
        } else {
            (1.0 - points.cosine(i, j)).max(0.0)
        }
    });
    let labels = detect::hdbscan(&apart, count / 2 + 1, 1);
    let mut kept: Vec<usize> = (0..count).filter(|&p| labels[p].is_some()).collect();
    if kept.is_empty() {
        kept = (0..count).collect();
    }
    let lengths = points.lengths();
    let limit = median(lengths.clone());
    let mut weights = vec![0.0; points.places()];
    for &point in &kept {
        weights[point] = shrink(lengths[point], limit) / kept.len() as f64;
    }
    rest_to_origin(&mut weights, points);
    let scores = all(lengths);
    (Choice { weights, scores }, limit)
}

/// Gives the zero vector the weight that makes the sum 1.
fn rest_to_origin(weights: &mut [f64], points: &Points) {
    let rest = 1.0 - weights.iter().sum::<f64>();
    weights[points.origin()] += rest;
}
