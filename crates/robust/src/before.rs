//! The steps before a rule: each replaces the points by combinations of them.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{AggregationConfig, Before};
use crate::points::Points;
use crate::rules::{ascending, shrink};

/// Longest update that `clip` lets pass unless set.
const CLIP_NORM: f64 = 2.0;

impl Before {
    /// Whether the step looks at distances.
    pub(crate) fn needs_distances(self) -> bool {
        self != Self::Bucketing
    }

    /// Whether the step looks at lengths.
    pub(crate) fn needs_origin(self) -> bool {
        matches!(self, Self::Clip | Self::Arc)
    }

    /// Takes the step.
    pub(crate) fn take(
        self,
        config: &AggregationConfig,
        points: &mut Points,
        rng: &mut ChaCha8Rng,
    ) {
        let byzantine = config.byzantine as usize;
        match self {
            Self::Nnm => mix_nearest(points, byzantine),
            Self::Bucketing => bucket(points, config.bucket_size() as usize, rng),
            Self::Clip => clip(points, config.clip_norm.unwrap_or(CLIP_NORM)),
            Self::Arc => {
                let limit = adaptive_limit(points, byzantine);
                clip(points, limit);
            }
        }
    }
}

/// Nearest-neighbour mixing (Allouah et al. 2023): the mean of the n - f nearest, itself first.
fn mix_nearest(points: &mut Points, byzantine: usize) {
    let count = points.count();
    let kept = count - byzantine;
    let combination = |point: usize| {
        let mut distances = points.distances().row(point)[..count].to_vec();
        distances[point] = -1.0;
        let mut mean = vec![0.0; points.places()];
        for &near in &ascending(&distances)[..kept] {
            mean[near] = 1.0 / kept as f64;
        }
        mean
    };
    let combinations: Vec<_> = (0..count).map(combination).collect();
    points.replace(&combinations, None);
}

/// Means of `size` points put together at random (Karimireddy et al. 2022); the last bucket may have fewer.
fn bucket(points: &mut Points, size: usize, rng: &mut ChaCha8Rng) {
    let mut order: Vec<usize> = (0..points.count()).collect();
    order.shuffle(rng);
    let mut owner = vec![0; order.len()];
    let mut combinations = Vec::new();
    for (number, bucket) in order.chunks(size).enumerate() {
        let mut mean = vec![0.0; points.places()];
        for &point in bucket {
            mean[point] = 1.0 / bucket.len() as f64;
            owner[point] = number;
        }
        combinations.push(mean);
    }
    points.replace(&combinations, Some(&owner));
}

/// Scales the points that are longer than `limit` down to it.
fn clip(points: &mut Points, limit: f64) {
    let combinations: Vec<_> = points
        .lengths()
        .into_iter()
        .enumerate()
        .map(|(point, length)| {
            let mut scaled = vec![0.0; points.places()];
            scaled[point] = shrink(length, limit);
            scaled[points.origin()] = 1.0 - scaled[point];
            scaled
        })
        .collect();
    points.replace(&combinations, None);
}

/// The length of the longest point but floor(2 (f / n) (n - f)) (Allouah et al. 2024).
fn adaptive_limit(points: &Points, byzantine: usize) -> f64 {
    let count = points.count();
    let clipped = 2 * byzantine * (count - byzantine) / count;
    let lengths = points.lengths();
    let next = ascending(&lengths)[count - clipped - 1];
    lengths[next]
}
