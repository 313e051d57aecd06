//! Losses: from logits and what they are compared with to the loss and its derivative with respect to the logits.

use std::ops::Range;

/// What a model's outputs are compared with.
///
/// ```
/// use cloister_nn::Targets;
///
/// let labels = vec![0, 2, 1];
/// assert_eq!(Targets::from(&labels), Targets::Classes(&[0, 2, 1]));
/// assert_eq!(Targets::from(&[0.5_f32, -1.0][..]), Targets::Values(&[0.5, -1.0]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Targets<'a> {
    /// A class for each example, `[n]`, below the number of classes.
    Classes(&'a [u32]),
    /// A probability for each class of each example, `[n, classes]`; for the binary loss the chance of class 1, `[n, 1]`. The
    /// numbers need not be probabilities: the loss of a row `y` is `-sum_c y_c log p_c`, as in PyTorch. Only
    /// [`Model::value`](crate::Model::value) takes them.
    Soft(&'a [f32]),
    /// The number to be predicted for each example, `[n]`, of a model that answers with one.
    Values(&'a [f32]),
}

impl<'a> Targets<'a> {
    /// Examples, for a model of so many outputs.
    pub(crate) fn examples(self, outputs: usize) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Soft(rows) => rows.len() / outputs,
            Self::Values(values) => values.len(),
        }
    }

    /// Those of some examples, where each has one number.
    pub(crate) fn rows(self, rows: Range<usize>) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(&classes[rows]),
            Self::Soft(targets) => Self::Soft(&targets[rows]),
            Self::Values(values) => Self::Values(&values[rows]),
        }
    }
}

impl<'a> From<&'a [u32]> for Targets<'a> {
    fn from(classes: &'a [u32]) -> Self {
        Self::Classes(classes)
    }
}

impl<'a> From<&'a Vec<u32>> for Targets<'a> {
    fn from(classes: &'a Vec<u32>) -> Self {
        Self::Classes(classes)
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for Targets<'a> {
    fn from(classes: &'a [u32; N]) -> Self {
        Self::Classes(classes)
    }
}

impl<'a> From<&'a [f32]> for Targets<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::Values(values)
    }
}

/// The loss of a batch, summed over its examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchLoss {
    /// Sum (not mean) of the examples' losses, in nats for classes. Not finite when a logit is not.
    pub loss_sum: f64,
    /// Examples whose predicted class is their label; 0 of a model that answers with a number.
    pub correct: usize,
}

impl BatchLoss {
    /// Adds another batch.
    pub fn add(&mut self, other: Self) {
        self.loss_sum += other.loss_sum;
        self.correct += other.correct;
    }
}

/// The loss in force, once the classes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Cross-entropy of the softmax over `classes` logits.
    Softmax,
    /// Binary cross-entropy of one logit, the log-odds of class 1.
    Binary,
    /// `(z - y)^2` of one output, with the derivative `2 (z - y)`.
    Squared,
    /// `|z - y|` of one output, with the subgradient `sign(z - y)`, 0 where they are equal.
    Absolute,
}

impl Loss {
    /// The batch's loss; `delta` becomes the derivative of the summed loss, times `weight`, with respect to each logit:
    /// `1 / n` for the mean loss, 1 for each example's own.
    ///
    /// `logits` and `delta` are `[n, outputs]`. Labels are below the number of classes.
    ///
    /// # Panics
    /// When the targets are of another kind than the loss takes; soft ones always.
    pub(crate) fn backward(
        self,
        logits: &[f32],
        targets: Targets<'_>,
        weight: f32,
        delta: &mut [f32],
    ) -> BatchLoss {
        let (labels, values): (&[u32], &[f32]) = match targets {
            Targets::Classes(labels) => (labels, &[]),
            Targets::Values(values) => (&[], values),
            Targets::Soft(_) => (&[], &[]),
        };
        assert!(
            match self.is_of_numbers() {
                true => matches!(targets, Targets::Values(_)),
                false => matches!(targets, Targets::Classes(_)),
            },
            "targets of another kind than the model's answers"
        );
        match self {
            Self::Softmax => softmax(logits, labels, weight, delta),
            Self::Binary => binary(logits, labels, weight, delta),
            Self::Squared => errors(logits, values, delta, |error| {
                (error * error, (2.0 * error) as f32 * weight)
            }),
            Self::Absolute => errors(logits, values, delta, |error| {
                (error.abs(), sign(error) as f32 * weight)
            }),
        }
    }

    /// Whether it compares a number with a number.
    pub(crate) fn is_of_numbers(self) -> bool {
        matches!(self, Self::Squared | Self::Absolute)
    }
}

/// -1, 0 or 1; NaN stays NaN.
pub(crate) fn sign(error: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error.signum() }
}

/// A loss of each output's error: `of` gives the loss and its derivative.
fn errors(
    outputs: &[f32],
    values: &[f32],
    delta: &mut [f32],
    of: impl Fn(f64) -> (f64, f32),
) -> BatchLoss {
    let mut batch = BatchLoss::default();
    for ((z, d), y) in outputs.iter().zip(delta).zip(values) {
        let (loss, slope) = of(f64::from(*z) - f64::from(*y));
        batch.loss_sum += loss;
        *d = slope;
    }
    batch
}

fn softmax(logits: &[f32], labels: &[u32], weight: f32, delta: &mut [f32]) -> BatchLoss {
    let mut batch = BatchLoss::default();
    if labels.is_empty() {
        return batch;
    }
    let outputs = logits.len() / labels.len();
    let rows = logits
        .chunks_exact(outputs)
        .zip(delta.chunks_exact_mut(outputs));
    for ((row, out), &label) in rows.zip(labels) {
        let label = label as usize;
        let best = argmax(row);
        let max = row[best];
        let mut sum = 0.0_f32;
        for (e, &z) in out.iter_mut().zip(row) {
            *e = (z - max).exp();
            sum += *e;
        }
        let scale = weight / sum;
        for e in out.iter_mut() {
            *e *= scale;
        }
        out[label] -= weight;
        batch.loss_sum += f64::from(max) - f64::from(row[label]) + f64::from(sum).ln();
        batch.correct += usize::from(best == label);
    }
    batch
}

fn binary(logits: &[f32], labels: &[u32], weight: f32, delta: &mut [f32]) -> BatchLoss {
    let mut batch = BatchLoss::default();
    for ((&z, d), &label) in logits.iter().zip(delta).zip(labels) {
        let target = label as f32;
        // exp of a negative number only, so that nothing overflows.
        let e = (-z.abs()).exp();
        let sigmoid = if z >= 0.0 {
            1.0 / (1.0 + e)
        } else {
            e / (1.0 + e)
        };
        *d = (sigmoid - target) * weight;
        batch.loss_sum += f64::from(z.max(0.0)) - f64::from(z * target) + f64::from(e).ln_1p();
        batch.correct += usize::from((z > 0.0) == (label == 1));
    }
    batch
}

/// Index of the first largest number; NaN is never largest. 0 for a row of NaN.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    let mut max = f32::NEG_INFINITY;
    for (index, &value) in row.iter().enumerate() {
        if value > max {
            max = value;
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn softmax_of_two_rows() {
        // p = softmax(0, ln 3) = (1/4, 3/4) and softmax(ln 4, 0) = (4/5, 1/5)
        let logits = [0.0, 3.0_f32.ln(), 4.0_f32.ln(), 0.0];
        let mut delta = [0.0; 4];
        let batch = Loss::Softmax.backward(&logits, Targets::Classes(&[1, 1]), 0.5, &mut delta);
        for (d, expected) in delta.iter().zip([0.125, -0.125, 0.4, -0.4]) {
            close(*d, expected);
        }
        let expected = -(0.75_f64.ln()) - 0.2_f64.ln();
        assert!((batch.loss_sum - expected).abs() < 1e-6);
        assert_eq!(batch.correct, 1);
    }

    #[test]
    fn binary_of_four_rows() {
        let third = 3.0_f32.ln();
        let mut delta = [0.0; 4];
        let batch = Loss::Binary.backward(
            &[third, third, -third, 0.0],
            Targets::Classes(&[1, 0, 0, 0]),
            0.25,
            &mut delta,
        );
        for (d, expected) in delta.iter().zip([-0.0625, 0.1875, 0.0625, 0.125]) {
            close(*d, expected);
        }
        let expected = -(0.75_f64.ln()) * 2.0 - 0.25_f64.ln() - 0.5_f64.ln();
        assert!((batch.loss_sum - expected).abs() < 1e-6);
        assert_eq!(batch.correct, 3);
    }

    #[test]
    fn errors_of_three_rows() {
        let (outputs, values) = ([1.5, -2.0, 4.0], Targets::Values(&[1.0, 1.0, 4.0]));
        let mut delta = [0.0; 3];
        let batch = Loss::Squared.backward(&outputs, values, 0.5, &mut delta);
        assert_eq!((batch.loss_sum, delta), (9.25, [0.5, -3.0, 0.0]));
        let batch = Loss::Absolute.backward(&outputs, values, 0.5, &mut delta);
        assert_eq!((batch.loss_sum, delta), (3.5, [0.5, -0.5, 0.0]));
        let batch =
            Loss::Absolute.backward(&[f32::NAN], Targets::Values(&[1.0]), 1.0, &mut delta[..1]);
        assert!(batch.loss_sum.is_nan() && delta[0].is_nan());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut delta = [0.0; 2];
        let batch = Loss::Binary.backward(&[1e4, -1e4], Targets::Classes(&[0, 1]), 0.5, &mut delta);
        assert!((batch.loss_sum - 2e4).abs() < 1e-9);
        close(delta[0], 0.5);
        close(delta[1], -0.5);
        let batch = Loss::Softmax.backward(&[1e4, -1e4], Targets::Classes(&[1]), 1.0, &mut delta);
        assert!((batch.loss_sum - 2e4).abs() < 1e-9);
        close(delta[0], 1.0);
        close(delta[1], -1.0);
    }

    #[test]
    fn not_a_number_shows_in_the_loss_and_does_not_panic() {
        let mut delta = [0.0; 2];
        let batch =
            Loss::Softmax.backward(&[f32::NAN, 1.0], Targets::Classes(&[0]), 1.0, &mut delta);
        assert!(batch.loss_sum.is_nan());
        let batch =
            Loss::Binary.backward(&[f32::NAN, 1.0], Targets::Classes(&[0, 1]), 0.5, &mut delta);
        assert!(batch.loss_sum.is_nan());
        assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(argmax(&[1.0, 2.0, 2.0]), 1);
    }
}
