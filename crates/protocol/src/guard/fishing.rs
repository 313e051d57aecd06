//! A last layer that leaves one class alone: its examples then make the whole update.

use super::{GuardFinding, GuardRule, Linear, dot, median};

/// Logits that a bias may be away from the others. Training reaches the logarithm of the odds of a rare class.
const BIAS: f64 = 30.0;
/// And with two classes, or one output, where there are no others to compare with.
const BIAS_OF_TWO: f64 = 60.0;
/// Norm of a class' row below which nothing is said: initial ones are near 1.
const NORM: f64 = 30.0;
/// What a row may be of the median of all, at least; from a start at zero, one step with examples of one of k classes gives its
/// row k - 1 times the others.
const RATIO: f64 = 100.0;
/// Robust deviations (1.4826 times the median one) that a class may be away from the median.
const DEVIATIONS: f64 = 20.0;
/// The standard deviation of a normal distribution over its median absolute one.
const NORMAL: f64 = 1.4826;

/// Looks for a class that stands out in the last layer.
pub(super) fn find(head: &Linear<'_>) -> Option<GuardFinding> {
    let finding = |(value, threshold): (f64, f64)| GuardFinding {
        rule: GuardRule::Fishing,
        tensor: head.name.to_owned(),
        value,
        threshold,
    };
    let norms: Vec<f64> = head
        .rows()
        .map(|row| f64::from(dot(row, row)).sqrt())
        .collect();
    let squares: f64 = norms.iter().map(|norm| norm * norm).sum();
    // Where noise has made all weights large, it has made the biases large, too.
    let noise = DEVIATIONS * (squares / head.weights.len().max(1) as f64).sqrt();
    bias(head.biases.unwrap_or_default(), noise)
        .or_else(|| row(&norms))
        .map(finding)
}

/// The largest distance of a bias from the median, if it is too large, and what is not.
fn bias(biases: &[f32], noise: f64) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = biases.iter().map(|bias| f64::from(*bias)).collect();
    let (distance, threshold) = match values.as_slice() {
        [] => return None,
        [only] => (only.abs(), BIAS_OF_TWO.max(noise)),
        [one, other] => ((one - other).abs(), BIAS_OF_TWO.max(noise)),
        _ => {
            let middle = median(&mut values);
            let mut distances: Vec<f64> = values.iter().map(|b| (b - middle).abs()).collect();
            let spread = NORMAL * median(&mut distances);
            let largest = distances.last().copied().unwrap_or(0.0);
            (largest, BIAS.max(noise).max(DEVIATIONS * spread))
        }
    };
    (distance > threshold).then_some((distance, threshold))
}

/// The largest norm of a row, if it is too large, and what is not.
fn row(norms: &[f64]) -> Option<(f64, f64)> {
    // Of two rows none is the usual one.
    if norms.len() < 3 {
        return None;
    }
    let largest = norms.iter().fold(0.0_f64, |most, norm| most.max(*norm));
    let ratio = RATIO.max(2.0 * norms.len() as f64);
    let threshold = NORM.max(ratio * median(&mut norms.to_vec()));
    (largest > threshold).then_some((largest, threshold))
}
