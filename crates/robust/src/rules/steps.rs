//! Rules that move a centre step by step. The centre is a combination of points and extras throughout.

use super::{Choice, all, median, shrink};
use crate::config::Start;
use crate::points::{Points, distances_to, squared_length};

/// Most steps to convergence.
const MOST_STEPS: u32 = 10_000;
/// A step shorter than this share of the greatest distance is the last.
const CONVERGED: f64 = 1e-13;

/// The geometric median by smoothed Weiszfeld steps (Pillutla et al. 2019, algorithm 2): weights 1 / max(`smoothing`,
/// distance), `steps` times, or to convergence if that is 0. Then a point that is the median itself is found first, by
/// the test of Vardi and Zhang (2000).
pub(crate) fn geometric_median(
    points: &Points,
    smoothing: f64,
    steps: u32,
    start: Start,
) -> Choice {
    let count = points.count();
    let distances = points.distances();
    let mut centre = vec![0.0; points.places()];
    match start {
        Start::Mean => centre[..count].fill(1.0 / count as f64),
        Start::Zero => centre[points.origin()] = 1.0,
    }
    let anchor = if steps == 0 { anchor(points) } else { None };
    if let Some(point) = anchor {
        centre.fill(0.0);
        centre[point] = 1.0;
    } else {
        let most = if steps == 0 { MOST_STEPS } else { steps };
        for _ in 0..most {
            let mut next = vec![0.0; points.places()];
            let squares = distances_to(&centre, distances);
            for (weight, square) in next[..count].iter_mut().zip(&squares) {
                *weight = 1.0 / square.sqrt().max(smoothing);
            }
            let sum: f64 = next.iter().sum();
            next.iter_mut().for_each(|weight| *weight /= sum);
            let step: Vec<f64> = next.iter().zip(&centre).map(|(n, c)| n - c).collect();
            centre = next;
            let farthest = squares[..count].iter().fold(0.0, |a: f64, &b| a.max(b));
            if steps == 0 && squared_length(&step, distances) <= CONVERGED * CONVERGED * farthest {
                break;
            }
        }
    }
    let scores = distances_to(&centre, distances);
    Choice {
        weights: centre,
        scores: all(scores[..count].iter().map(|square| square.sqrt())),
    }
}

/// The point that is the geometric median, if one is: where the unit vectors to all others sum to a vector no longer
/// than the number of points that lie on it.
fn anchor(points: &Points) -> Option<usize> {
    let (count, distances) = (points.count(), points.distances());
    (0..count).find(|&point| {
        let mut pull = vec![0.0; points.places()];
        let mut copies = 0.0;
        for (pull, square) in pull[..count].iter_mut().zip(distances.row(point)) {
            let distance = square.sqrt();
            if distance > 0.0 {
                *pull = 1.0 / distance;
            } else {
                copies += 1.0;
            }
        }
        pull[point] -= pull.iter().sum::<f64>();
        squared_length(&pull, distances) <= copies * copies
    })
}

/// Centred clipping (Karimireddy et al. 2021): from the previous result, or zero, the mean of the differences clipped to
/// `radius`, `steps` times. Without a radius it is the median distance from the first centre.
pub(crate) fn centred_clipping(
    points: &Points,
    from: usize,
    radius: Option<f64>,
    steps: u32,
) -> Choice {
    let count = points.count();
    let mut centre = vec![0.0; points.places()];
    centre[from] = 1.0;
    let from_centre = |centre: &[f64]| -> Vec<f64> {
        let squares = distances_to(centre, points.distances());
        squares[..count]
            .iter()
            .map(|square| square.sqrt())
            .collect()
    };
    let mut lengths = from_centre(&centre);
    let radius = radius.unwrap_or_else(|| median(lengths.clone()));
    for step in 0..steps {
        if step > 0 {
            lengths = from_centre(&centre);
        }
        let mut stays = 1.0;
        let shares: Vec<f64> = lengths
            .iter()
            .map(|&length| shrink(length, radius) / count as f64)
            .collect();
        for share in &shares {
            stays -= share;
        }
        // No step is clipped: the old centre has no part in the new one, not even by rounding.
        if lengths.iter().all(|&length| length <= radius) {
            stays = 0.0;
        }
        centre.iter_mut().for_each(|weight| *weight *= stays);
        for (weight, share) in centre.iter_mut().zip(&shares) {
            *weight += share;
        }
    }
    Choice {
        weights: centre,
        scores: all(lengths),
    }
}
