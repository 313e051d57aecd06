//! Losses against targets that may be soft, with their tangents. In `f64`: a batch has few logits, and of a net that is
//! certain of its classes the derivatives are differences of nearly equal numbers.

use crate::loss::{Loss, Targets, sign};

/// What the loss of the value pass leaves for the tangent pass. Rows are as wide as the model's outputs.
#[derive(Clone, Debug)]
pub(super) struct SavedLoss {
    width: usize,
    /// The targets of each example.
    targets: Vec<f64>,
    /// The probability of each class; for the binary loss, that of class 1; for numbers, the output itself.
    probabilities: Vec<f64>,
}

impl SavedLoss {
    pub(super) fn new(max_batch: usize, width: usize) -> Self {
        Self {
            width,
            targets: vec![0.0; max_batch * width],
            probabilities: vec![0.0; max_batch * width],
        }
    }

    fn set_targets(&mut self, loss: Loss, targets: Targets<'_>) {
        match (targets, loss) {
            (Targets::Soft(rows) | Targets::Values(rows), _) => {
                for (target, &row) in self.targets.iter_mut().zip(rows) {
                    *target = f64::from(row);
                }
            }
            (Targets::Classes(classes), Loss::Binary | Loss::Squared | Loss::Absolute) => {
                for (target, &class) in self.targets.iter_mut().zip(classes) {
                    *target = f64::from(class);
                }
            }
            (Targets::Classes(classes), Loss::Softmax) => {
                for (row, &class) in self.targets.chunks_exact_mut(self.width).zip(classes) {
                    row.fill(0.0);
                    row[class as usize] = 1.0;
                }
            }
        }
    }

    /// The summed loss of the rows of `logits`; `delta` becomes the derivative of `weight` times that with respect to each.
    pub(super) fn value(
        &mut self,
        loss: Loss,
        logits: &[f32],
        targets: Targets<'_>,
        weight: f64,
        delta: &mut [f32],
    ) -> f64 {
        self.set_targets(loss, targets);
        let width = self.width;
        let rows = logits
            .chunks_exact(width)
            .zip(self.targets.chunks_exact(width))
            .zip(self.probabilities.chunks_exact_mut(width))
            .zip(delta.chunks_exact_mut(width));
        let mut sum = 0.0;
        for (((logits, targets), probabilities), delta) in rows {
            sum += match loss {
                Loss::Softmax => softmax(logits, targets, probabilities),
                Loss::Binary => binary(logits, targets, probabilities),
                Loss::Squared | Loss::Absolute => {
                    let errors = logits.iter().zip(targets).zip(probabilities.iter_mut());
                    let of = |((z, y), kept): ((&f32, &f64), &mut f64)| {
                        *kept = f64::from(*z);
                        match loss {
                            Loss::Squared => (*kept - y).powi(2),
                            _ => (*kept - y).abs(),
                        }
                    };
                    errors.map(of).sum()
                }
            };
            let total: f64 = match loss {
                Loss::Softmax => targets.iter().sum(),
                Loss::Binary | Loss::Squared | Loss::Absolute => 1.0,
            };
            for ((delta, p), target) in delta.iter_mut().zip(probabilities).zip(targets) {
                let error = *p * total - target;
                *delta = match loss {
                    Loss::Softmax | Loss::Binary => weight * error,
                    Loss::Squared => weight * 2.0 * error,
                    Loss::Absolute => weight * sign(error),
                } as f32;
            }
        }
        sum
    }

    /// The tangents of `delta` and of the derivative with respect to each target, from those of the logits.
    pub(super) fn tangent(
        &self,
        loss: Loss,
        logits_dot: &[f32],
        weight: f64,
        delta_dot: &mut [f32],
        mut targets_dot: Option<&mut [f32]>,
    ) {
        let width = self.width;
        let rows = logits_dot
            .chunks_exact(width)
            .zip(self.targets.chunks_exact(width))
            .zip(self.probabilities.chunks_exact(width))
            .zip(delta_dot.chunks_exact_mut(width));
        for (index, (((z_dot, targets), probabilities), delta_dot)) in rows.enumerate() {
            // The loss is `sum_c y_c (ln sum_k exp z_k - z_c)`, or for one logit `ln(1 + exp z) - y z`.
            let (total, mean) = match loss {
                Loss::Softmax => {
                    let terms = probabilities.iter().zip(z_dot);
                    let mean: f64 = terms.map(|(p, &z_dot)| p * f64::from(z_dot)).sum();
                    (targets.iter().sum(), mean)
                }
                Loss::Binary | Loss::Squared | Loss::Absolute => (1.0, 0.0),
            };
            for (class, ((delta_dot, p), &z_dot)) in delta_dot
                .iter_mut()
                .zip(probabilities)
                .zip(z_dot)
                .enumerate()
            {
                let slope: f64 = match loss {
                    Loss::Softmax => p * total,
                    Loss::Binary => p * (1.0 - p),
                    Loss::Squared => 2.0,
                    Loss::Absolute => 0.0,
                };
                let change = weight * (f64::from(z_dot) - mean);
                *delta_dot = (slope * change) as f32;
                if let Some(targets_dot) = targets_dot.as_deref_mut() {
                    // Of numbers the loss depends on the error alone.
                    let factor = if loss.is_of_numbers() { slope } else { 1.0 };
                    targets_dot[index * width + class] = (-change * factor) as f32;
                }
            }
        }
    }
}

fn softmax(logits: &[f32], targets: &[f64], probabilities: &mut [f64]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (p, &z) in probabilities.iter_mut().zip(logits) {
        *p = (f64::from(z) - f64::from(max)).exp();
        sum += *p;
    }
    for p in probabilities.iter_mut() {
        *p /= sum;
    }
    let log_sum = sum.ln() + f64::from(max);
    let terms = targets.iter().zip(logits).filter(|(y, _)| **y != 0.0);
    terms.map(|(y, &z)| y * (log_sum - f64::from(z))).sum()
}

fn binary(logits: &[f32], targets: &[f64], probabilities: &mut [f64]) -> f64 {
    let mut sum = 0.0;
    for ((p, &z), y) in probabilities.iter_mut().zip(logits).zip(targets) {
        let z = f64::from(z);
        // exp of a negative number only, so that nothing overflows.
        let e = (-z.abs()).exp();
        *p = if z >= 0.0 { 1.0 } else { e } / (1.0 + e);
        sum += z.max(0.0) + e.ln_1p() - y * z;
    }
    sum
}
