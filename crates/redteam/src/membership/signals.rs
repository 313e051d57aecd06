//! What a model answers about examples.

use std::thread;

use cloister_data::{Dataset, ExampleShape};
use cloister_nn::Model;
use cloister_protocol::Streams;

use super::MembershipError;

/// Rows that pass through the network at once; fixed, so that the bits do not depend on the threads.
const BLOCK: usize = 256;

/// How an example is shown to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// As it is.
    Plain,
    /// Left and right exchanged.
    Mirrored,
}

impl Query {
    /// The queries for examples of that shape: for images two, which help a little more than one (Carlini et al. 2022,
    /// section 6.2), for tables one.
    pub fn of(shape: ExampleShape) -> &'static [Self] {
        match shape.height > 1 && shape.width > 1 {
            true => &[Self::Plain, Self::Mirrored],
            false => &[Self::Plain],
        }
    }
}

/// A model's answers about examples, one value each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    /// Natural logarithm of the probability of the true class: minus the loss.
    pub log_probability: Vec<f64>,
    /// phi of Carlini et al. 2022: that logarithm minus the one of all other classes together.
    pub log_odds: Vec<f64>,
    /// Whether the true class is the likeliest.
    pub correct: Vec<bool>,
}

impl Signals {
    /// Asks `model` with `parameters` about all rows of `data`, on up to `threads` threads.
    ///
    /// # Errors
    /// [`MembershipError`] if parameters, examples or classes do not fit the model.
    pub fn of(
        model: &Model,
        parameters: &[f32],
        data: &Dataset,
        query: Query,
        threads: usize,
    ) -> Result<Self, MembershipError> {
        let outputs = model.outputs();
        let logits = logits(model, parameters, data, query, threads)?;
        let mut signals = Self::default();
        for (row, label) in logits.chunks_exact(outputs).zip(data.labels()) {
            let row: Vec<f64> = log_odds_of_all(row);
            let label = *label as usize;
            let odds = row[label];
            signals.log_odds.push(odds);
            signals.log_probability.push(-softplus(-odds));
            signals.correct.push(
                row.iter()
                    .enumerate()
                    .all(|(class, other)| class == label || *other < odds),
            );
        }
        Ok(signals)
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.log_odds.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.log_odds.is_empty()
    }
}

/// The class probabilities of all rows of `data`: n x classes.
pub(crate) fn probabilities(
    model: &Model,
    parameters: &[f32],
    data: &Dataset,
    threads: usize,
) -> Result<Vec<f64>, MembershipError> {
    let logits = logits(model, parameters, data, Query::Plain, threads)?;
    let rows = logits.chunks_exact(model.outputs());
    Ok(rows
        .flat_map(log_odds_of_all)
        .map(|odds| (-softplus(-odds)).exp())
        .collect())
}

/// ln(1 + e^x), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// For each class z_c - ln sum over the other classes of e^z: the log-odds of that class, with all digits however sure the
/// model is.
fn log_odds_of_all(logits: &[f32]) -> Vec<f64> {
    if let [odds] = logits {
        let odds = f64::from(*odds);
        return vec![-odds, odds];
    }
    let others = |class: usize| {
        let rest = || {
            let all = logits.iter().enumerate();
            all.filter(move |(other, _)| *other != class)
                .map(|(_, logit)| f64::from(*logit))
        };
        let highest = rest().fold(f64::NEG_INFINITY, f64::max);
        highest
            + rest()
                .map(|logit| (logit - highest).exp())
                .sum::<f64>()
                .ln()
    };
    (0..logits.len())
        .map(|class| f64::from(logits[class]) - others(class))
        .collect()
}

/// The logits of all rows, n x outputs.
fn logits(
    model: &Model,
    parameters: &[f32],
    data: &Dataset,
    query: Query,
    threads: usize,
) -> Result<Vec<f32>, MembershipError> {
    check_fit(model, parameters, data)?;
    let outputs = model.outputs();
    let blocks = data.len().div_ceil(BLOCK);
    let share = blocks.div_ceil(threads.clamp(1, blocks.max(1))) * BLOCK;
    let mut logits = vec![0.0; data.len() * outputs];
    let noise = &Streams::new(0).evaluation();
    thread::scope(|scope| {
        for (part, logits) in logits.chunks_mut(share * outputs).enumerate() {
            scope.spawn(move || {
                let mut workspace = model.workspace(BLOCK);
                let mut inputs = Vec::new();
                for (block, logits) in logits.chunks_mut(BLOCK * outputs).enumerate() {
                    let first = part * share + block * BLOCK;
                    let rows = logits.len() / outputs;
                    inputs.clear();
                    for row in first..first + rows {
                        show(data.row(row), data.shape(), query, &mut inputs);
                    }
                    // One noise for all models, so that answers differ by the models alone.
                    let place = (first / BLOCK) as u32;
                    workspace.draw_noise(&mut noise(place), rows);
                    logits.copy_from_slice(model.logits(parameters, &inputs, rows, &mut workspace));
                }
            });
        }
    });
    Ok(logits)
}

fn show(example: &[f32], shape: ExampleShape, query: Query, into: &mut Vec<f32>) {
    match query {
        Query::Plain => into.extend_from_slice(example),
        Query::Mirrored => {
            for line in example.chunks_exact(shape.width) {
                into.extend(line.iter().rev());
            }
        }
    }
}

/// Refuses what the model would panic on.
pub(super) fn check_fit(
    model: &Model,
    parameters: &[f32],
    data: &Dataset,
) -> Result<(), MembershipError> {
    if parameters.len() != model.layout().len() {
        return Err(MembershipError::Length {
            what: "parameters",
            expected: model.layout().len(),
            got: parameters.len(),
        });
    }
    if data.shape().len() != model.input().len() || data.classes().len() != model.classes() {
        return Err(MembershipError::Data(format!(
            "examples of {} values in {} classes do not fit a model of {} and {}",
            data.shape().len(),
            data.classes().len(),
            model.input().len(),
            model.classes()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_keep_their_digits() {
        // By hand: p = (e, e^2, e^3) / (e + e^2 + e^3).
        let odds = log_odds_of_all(&[1.0, 2.0, 3.0]);
        let e = std::f64::consts::E;
        assert!((odds[0] - (1.0 - (e * e + e * e * e).ln())).abs() < 1e-12);
        // Softmax in floats would say 1 and 0.
        let sure = log_odds_of_all(&[200.0, 0.0, 0.0]);
        assert!((sure[0] - (200.0 - 2.0_f64.ln())).abs() < 1e-12);
        assert!((sure[1] + 200.0).abs() < 1e-9);
        assert_eq!(log_odds_of_all(&[1.5]), [-1.5, 1.5]);
        assert!((softplus(-750.0)).abs() < 1e-300 && softplus(800.0) == 800.0);
    }

    #[test]
    fn mirrored_images_are_read_backwards() {
        let shape = ExampleShape {
            channels: 1,
            height: 2,
            width: 3,
        };
        let mut shown = Vec::new();
        show(
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            shape,
            Query::Mirrored,
            &mut shown,
        );
        assert_eq!(shown, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(Query::of(ExampleShape::flat(3)), [Query::Plain]);
        assert_eq!(Query::of(shape).len(), 2);
    }
}
