//! Labels from the gradient of the last layer's bias (spec 2.3).
//!
//! For the mean softmax cross-entropy of N examples that gradient is b_c = mean(p_c) - n_c / N, with n_c the examples of class
//! c, so that the counts follow from b wherever the mean prediction p is known or may be neglected.

use cloister_nn::{Layout, Model};
use serde::{Deserialize, Serialize};

use super::error::InversionError;
use super::observation::Observation;

/// How labels are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// They are known.
    Given(Vec<u32>),
    /// Most negative entry of the bias' gradient (Zhao et al. 2020, iDLG; from the weight's rows where there is no bias); for
    /// several examples each negative entry once, the most negative first.
    Distinct,
    /// Counts with repeats: each negative class once, then always the most negative, by the mean impact of an example
    /// (Wainakh et al. 2021, bias-corrected).
    BiasCorrected,
    /// Counts from the mean prediction, which the attacker measures on inputs of its own (Geng et al. 2021; Dimitrov et al.
    /// 2022): n_c = N (p_c - b_c), rounded by largest remainder.
    Predictions,
    /// Optimised together with the input (Zhu et al. 2019, DLG).
    Joint,
}

/// The last linear layer in the flat vector.
struct Head {
    weight: std::ops::Range<usize>,
    bias: Option<std::ops::Range<usize>>,
    outputs: usize,
}

impl Head {
    fn of(layout: &Layout, outputs: usize) -> Option<Self> {
        let (last, before) = layout.tensors().split_last()?;
        if last.shape == [outputs]
            && let Some(weight) = before.last()
            && weight.shape.len() == 2
            && weight.shape[0] == outputs
        {
            return Some(Self {
                weight: weight.range(),
                bias: Some(last.range()),
                outputs,
            });
        }
        (last.shape.len() == 2 && last.shape[0] == outputs).then(|| Self {
            weight: last.range(),
            bias: None,
            outputs,
        })
    }

    /// What tells the classes apart: the bias' gradient, or the sums of the weight's rows (right for features that are not
    /// negative).
    fn signal(&self, gradient: &[f32]) -> Vec<f64> {
        match &self.bias {
            Some(bias) => gradient[bias.clone()]
                .iter()
                .map(|&b| f64::from(b))
                .collect(),
            None => {
                let weight = &gradient[self.weight.clone()];
                let rows = weight.chunks_exact(weight.len() / self.outputs);
                rows.map(|row| row.iter().map(|&w| f64::from(w)).sum())
                    .collect()
            }
        }
    }
}

/// The labels behind an observation, rising; `predictions` are mean class probabilities along the client's steps, for
/// [`Labels::Predictions`] (see [`mean_predictions`]).
///
/// With one output (the binary loss) the count of class 1 follows from `predictions`; without them the sign of the only
/// entry decides for all.
///
/// # Errors
/// When the model's last tensors are no linear layer, or given labels do not fit.
pub fn recover(
    model: &Model,
    observation: &Observation,
    method: &Labels,
    predictions: Option<&[f64]>,
) -> Result<Vec<u32>, InversionError> {
    let n = observation.examples;
    if let Labels::Given(labels) = method {
        InversionError::length("the given labels", n, labels.len())?;
        if let Some(label) = labels
            .iter()
            .find(|label| **label as usize >= model.classes())
        {
            return Err(InversionError::Parameter {
                what: "a given label",
                reason: format!("must be below {}, got {label}", model.classes()),
            });
        }
        return Ok(labels.clone());
    }
    let head = Head::of(model.layout(), model.outputs()).ok_or(InversionError::Model {
        attack: "label recovery",
        needs: "a linear layer at the end of the model",
    })?;
    let signal = head.signal(&observation.mean_gradient());
    let known = predictions.filter(|p| p.len() == model.classes() && head.bias.is_some());
    if signal.len() == 1 {
        return Ok(binary(signal[0], n, known.map(|p| p[1])));
    }
    Ok(match (method, known) {
        (Labels::Predictions | Labels::Joint, Some(known)) => by_predictions(&signal, known, n),
        (Labels::BiasCorrected | Labels::Predictions | Labels::Joint, _) => {
            bias_corrected(&signal, n)
        }
        (Labels::Distinct | Labels::Given(_), _) => distinct(&signal, n),
    })
}

/// Each of the `n` most negative entries once, the labels rising; what is missing is the most negative again.
pub fn distinct(bias: &[f64], n: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..bias.len()).collect();
    order.sort_by(|&a, &b| bias[a].total_cmp(&bias[b]));
    let mut labels: Vec<u32> = order
        .iter()
        .filter(|&&class| bias[class] < 0.0)
        .take(n)
        .map(|&class| class as u32)
        .collect();
    let first = order.first().map_or(0, |&class| class as u32);
    labels.resize(n, first);
    labels.sort_unstable();
    labels
}

/// Counts with repeats: with the mean impact of an example, the sum of the negative entries over n, each negative class is
/// taken once and its impact removed, then always the class that is most negative by then.
pub fn bias_corrected(bias: &[f64], n: usize) -> Vec<u32> {
    let mut left = bias.to_vec();
    let impact = left.iter().filter(|b| **b < 0.0).sum::<f64>() / n.max(1) as f64;
    let mut order: Vec<usize> = (0..left.len()).filter(|&class| left[class] < 0.0).collect();
    order.sort_by(|&a, &b| left[a].total_cmp(&left[b]));
    let mut labels = Vec::with_capacity(n);
    for class in order.into_iter().take(n) {
        labels.push(class as u32);
        left[class] -= impact;
    }
    while labels.len() < n {
        let Some(class) = (0..left.len()).min_by(|&a, &b| left[a].total_cmp(&left[b])) else {
            break;
        };
        labels.push(class as u32);
        // The chosen class itself: a published implementation subtracts at the index that an earlier loop left over, and so
        // never chooses another.
        left[class] -= impact;
    }
    labels.sort_unstable();
    labels
}

/// Counts n_c = n (p_c - b_c), rounded by largest remainder to `n` labels.
pub fn by_predictions(bias: &[f64], predictions: &[f64], n: usize) -> Vec<u32> {
    let pairs = predictions.iter().zip(bias);
    let wanted: Vec<f64> = pairs.map(|(p, b)| (n as f64 * (p - b)).max(0.0)).collect();
    let mut counts: Vec<usize> = wanted
        .iter()
        .map(|count| (count.floor() as usize).min(n))
        .collect();
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[b].fract().total_cmp(&wanted[a].fract()));
    let mut given: usize = counts.iter().sum();
    // Largest remainders get one more; of too many, the smallest are the first to lose one.
    for &class in order.iter().cycle().take(n * order.len().max(1)) {
        if given >= n {
            break;
        }
        counts[class] += 1;
        given += 1;
    }
    for &class in order.iter().rev().cycle().take(n * order.len().max(1)) {
        if given <= n {
            break;
        }
        if counts[class] > 0 {
            counts[class] -= 1;
            given -= 1;
        }
    }
    let labels = counts.iter().enumerate();
    labels
        .flat_map(|(class, &count)| std::iter::repeat_n(class as u32, count))
        .collect()
}

/// With one output b = mean(p) - n_1 / n.
fn binary(bias: f64, n: usize, prediction: Option<f64>) -> Vec<u32> {
    let ones = match prediction {
        Some(p) => (n as f64 * (p - bias)).round().clamp(0.0, n as f64) as usize,
        None if bias < 0.0 => n,
        None => 0,
    };
    (0..n).map(|index| u32::from(index >= n - ones)).collect()
}

/// Share of `truth` that is in `found`, both as multisets.
pub fn recovered(truth: &[u32], found: &[u32]) -> f64 {
    let mut left = found.to_vec();
    let mut right = 0_usize;
    for label in truth {
        if let Some(at) = left.iter().position(|other| other == label) {
            left.swap_remove(at);
            right += 1;
        }
    }
    right as f64 / truth.len().max(1) as f64
}

/// Mean class probabilities of `logits`, `[n, outputs]`: a softmax, or with one output the chance of class 1.
pub fn mean_predictions(logits: &[f32], outputs: usize) -> Vec<f64> {
    let mut sums = vec![0.0; outputs.max(2)];
    for row in logits.chunks_exact(outputs.max(1)) {
        if let [logit] = row {
            let one = 1.0 / (1.0 + (-f64::from(*logit)).exp());
            sums[0] += 1.0 - one;
            sums[1] += one;
            continue;
        }
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps: Vec<f64> = row.iter().map(|&z| f64::from(z - most).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (total, e) in sums.iter_mut().zip(&exps) {
            *total += e / sum;
        }
    }
    let n = (logits.len() / outputs.max(1)).max(1) as f64;
    sums.iter().map(|sum| sum / n).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exact bias gradient of these labels under predictions `p`.
    fn bias(labels: &[u32], p: &[f64]) -> Vec<f64> {
        let n = labels.len() as f64;
        let count = |class: usize| labels.iter().filter(|l| **l as usize == class).count();
        p.iter()
            .enumerate()
            .map(|(class, p)| p - count(class) as f64 / n)
            .collect()
    }

    #[test]
    fn repeats_are_counted_and_every_class_has_its_turn() {
        let p = [0.1; 10];
        let labels = [0, 0, 0, 0, 3, 3, 3, 7];
        assert_eq!(bias_corrected(&bias(&labels, &p), 8), labels);
        // Two classes with repeats: an implementation that keeps subtracting from one index would give all to the other.
        let labels = [2, 2, 2, 5, 5, 5];
        assert_eq!(bias_corrected(&bias(&labels, &p), 6), labels);
        assert_eq!(distinct(&bias(&[1, 4, 9], &p), 3), [1, 4, 9]);
        assert_eq!(distinct(&bias(&[4], &p), 1), [4]);
        assert_eq!(distinct(&bias(&[4, 4], &p), 2), [4, 4]);
    }

    proptest! {
        #[test]
        fn known_predictions_give_all_counts(labels in proptest::collection::vec(0_u32..10, 1..65), seed in 0_u32..100) {
            let weights: Vec<f64> = (0..10).map(|c| 1.0 + f64::from((c * 7 + seed) % 11)).collect();
            let sum: f64 = weights.iter().sum();
            let p: Vec<f64> = weights.iter().map(|w| w / sum).collect();
            let mut sorted = labels.clone();
            sorted.sort_unstable();
            prop_assert_eq!(by_predictions(&bias(&labels, &p), &p, labels.len()), sorted);
        }

        #[test]
        fn any_bias_gives_as_many_labels_as_examples(
            bias in proptest::collection::vec(-2.0_f64..2.0, 2..12), n in 1_usize..40
        ) {
            let p = vec![1.0 / bias.len() as f64; bias.len()];
            prop_assert_eq!(distinct(&bias, n).len(), n);
            prop_assert_eq!(bias_corrected(&bias, n).len(), n);
            prop_assert_eq!(by_predictions(&bias, &p, n).len(), n);
        }
    }

    #[test]
    fn one_output_gives_the_count_of_class_one() {
        // Predictions of 0.3, three of eight in class 1.
        assert_eq!(binary(0.3 - 0.375, 8, Some(0.3)), [0, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(binary(-0.4, 1, None), [1]);
        assert_eq!(binary(0.4, 1, None), [0]);
    }

    #[test]
    fn shares_of_multisets_and_means_of_predictions() {
        assert_eq!(recovered(&[1, 1, 2, 3], &[1, 2, 2, 2]), 0.5);
        let p = mean_predictions(&[0.0, 0.0, 0.0, 1e4], 2);
        assert_eq!(p, [0.25, 0.75]);
        assert_eq!(mean_predictions(&[0.0], 1), [0.5, 0.5]);
    }
}
