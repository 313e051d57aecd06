//! Measures of a classifier, from its logits on labelled examples.
//!
//! A [`Tally`] collects logits and labels, batch by batch; [`Tally::finish`] computes everything in `f64` over the rows in
//! the order in which they came. The result is therefore the same, bit for bit, however the rows were cut into batches.
//!
//! ```
//! use cloister_nn::metrics::Tally;
//!
//! let mut tally = Tally::new(2, 1); // two classes, one logit: the log-odds of class 1
//! tally.add(&[2.0, -1.0], &[1, 0]);
//! tally.add(&[0.5, -0.5], &[0, 1]);
//! let evaluation = tally.finish();
//! assert_eq!(evaluation.confusion, [[1, 1], [1, 1]]);
//! assert_eq!(evaluation.accuracy, 0.5);
//! assert_eq!(evaluation.auroc, Some(0.75)); // of the four pairs, 2.0 and -0.5 beat -1.0, and 2.0 beats 0.5
//! ```

//!
//! | beyond [`Evaluation`] | it is in |
//! | --- | --- |
//! | ROC, average precision, thresholds | [`Ranking`] |
//! | precision, recall, F1 by class, and their means | [`per_class`], [`class_means`] |
//! | Brier score, reliability curve, calibration error | [`brier`], [`Reliability`] |
//! | all of it for one model, with bootstrap intervals | [`Assessment`], [`Bootstrap`] |
//! | the same from sums over sites | [`ScoreHistogram`] |
//! | models that answer with a number | [`NumberTally`], [`regression`] |

mod assessment;
mod bootstrap;
mod calibration;
mod histogram;
mod per_class;
mod ranking;
mod regression;

use serde::{Deserialize, Deserializer, Serialize};

pub use assessment::{Assessment, AssessmentPlan};
pub use bootstrap::{Bootstrap, Interval, Resampling, quantile};
pub use calibration::{Reliability, ReliabilityBin, brier};
pub use histogram::{Bounded, HistogramError, ScoreHistogram};
pub use per_class::{ClassFigures, ClassMeans, MeanFigures, class_means, per_class};
pub use ranking::{OperatingPoint, PrecisionRecallPoint, Ranking, RocPoint, ThresholdRule, auroc};
pub use regression::{
    NumberAssessment, NumberEvaluation, NumberTally, RegressionFigures, regression,
};

use crate::loss::argmax;
use crate::model::Model;

/// How well a model does on examples, whatever it answers with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measures {
    /// A classifier.
    Classes(Evaluation),
    /// A predictor of a number.
    Number(NumberEvaluation),
}

impl Measures {
    /// Examples.
    pub fn examples(&self) -> usize {
        match self {
            Self::Classes(evaluation) => evaluation.examples,
            Self::Number(evaluation) => evaluation.figures.examples,
        }
    }

    /// Mean loss, as in training.
    pub fn loss(&self) -> f64 {
        match self {
            Self::Classes(evaluation) => evaluation.loss,
            Self::Number(evaluation) => evaluation.loss,
        }
    }

    /// Those of a classifier.
    pub fn classes(&self) -> Option<&Evaluation> {
        match self {
            Self::Classes(evaluation) => Some(evaluation),
            Self::Number(_) => None,
        }
    }

    /// Those of a predictor of a number.
    pub fn number(&self) -> Option<&RegressionFigures> {
        match self {
            Self::Classes(_) => None,
            Self::Number(evaluation) => Some(&evaluation.figures),
        }
    }

    /// Accuracy, of a classifier.
    pub fn accuracy(&self) -> Option<f64> {
        Some(self.classes()?.accuracy)
    }

    /// Area under the ROC curve, of a classifier.
    pub fn auroc(&self) -> Option<f64> {
        self.classes()?.auroc
    }

    /// Share of the variance explained, of a predictor of a number.
    pub fn r2(&self) -> Option<f64> {
        self.number()?.r2
    }
}

/// Logits and labels, collected for evaluation.
#[derive(Clone, Debug)]
pub struct Tally {
    classes: usize,
    outputs: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
}

/// How well a classifier does on labelled examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of examples; with none, the measures are 0.
    pub examples: usize,
    /// Mean cross-entropy (log loss), in nats; not finite when a logit is not (`null` in JSON).
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Share of examples whose predicted class is their label.
    pub accuracy: f64,
    /// Mean, over the classes that occur, of the share of the class that is found (its recall).
    pub balanced_accuracy: f64,
    /// Area under the ROC curve: the chance that a random positive scores above a random negative, ties counting half. For
    /// more than two classes the mean of one-class-against-the-rest. `None` when a class does not occur, or a score is NaN.
    pub auroc: Option<f64>,
    /// Examples by `[label][prediction]`.
    pub confusion: Vec<Vec<u64>>,
}

impl Tally {
    /// An empty tally for `outputs` logits a row: one a class, or a single one, the log-odds of class 1 of two.
    ///
    /// # Panics
    /// When `outputs` is neither the number of classes nor 1 with two classes, or the classes are fewer than 2.
    pub fn new(classes: usize, outputs: usize) -> Self {
        assert!(
            classes >= 2 && (outputs == classes || (outputs == 1 && classes == 2)),
            "{outputs} logits a row do not fit {classes} classes"
        );
        Self {
            classes,
            outputs,
            logits: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// An empty tally for a model's logits.
    pub fn for_model(model: &Model) -> Self {
        Self::new(model.classes(), model.outputs())
    }

    /// Adds a batch: `logits` is `[n, outputs]`, `labels` is `[n]`.
    ///
    /// # Panics
    /// When the lengths do not fit, or a label is not below the classes.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        assert_eq!(
            logits.len(),
            labels.len() * self.outputs,
            "length of the logits"
        );
        assert!(
            labels.iter().all(|&label| (label as usize) < self.classes),
            "a label is not below {} classes",
            self.classes
        );
        self.logits.extend_from_slice(logits);
        self.labels.extend_from_slice(labels);
    }

    /// Appends the rows of another tally behind this one's.
    ///
    /// # Panics
    /// When the two are for different classes or outputs.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            (self.classes, self.outputs),
            (other.classes, other.outputs),
            "classes and outputs of the tallies"
        );
        self.logits.extend_from_slice(&other.logits);
        self.labels.extend_from_slice(&other.labels);
    }

    /// Rows collected.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether no row was collected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The label of each row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Some rows, in the order given.
    ///
    /// # Panics
    /// If a row is not below [`Tally::len`], like a slice.
    pub fn subset(&self, rows: &[u32]) -> Self {
        let mut subset = Self::new(self.classes, self.outputs);
        for &row in rows {
            let row = row as usize;
            subset.add(self.row(row), &self.labels[row..=row]);
        }
        subset
    }

    /// The predicted class of each row: the first of the largest logits, and class 1 where its log-odds are above 0.
    pub fn predictions(&self) -> Vec<u32> {
        self.rows()
            .map(|(row, _)| self.prediction(row) as u32)
            .collect()
    }

    /// The probability of each class: `[n, classes]`, rows of which sum to 1. NaN where a logit is.
    pub fn probabilities(&self) -> Vec<f64> {
        let mut all = Vec::with_capacity(self.len() * self.classes);
        for (row, _) in self.rows() {
            all.extend(probabilities(row, self.classes));
        }
        all
    }

    /// The rows ranked by the probability of a class, one against the rest; thresholds are probabilities. `None` when a logit
    /// is NaN.
    ///
    /// # Panics
    /// When the class is not below the classes.
    pub fn ranking(&self, class: usize) -> Option<Ranking> {
        assert!(class < self.classes, "class {class} of {}", self.classes);
        let probabilities = self.probabilities();
        let scores: Vec<f64> = probabilities
            .chunks_exact(self.classes)
            .map(|row| row[class])
            .collect();
        Ranking::new(&scores, |row| self.labels[row] as usize == class)
    }

    /// The measures over all rows.
    pub fn finish(&self) -> Evaluation {
        let mut confusion = vec![vec![0_u64; self.classes]; self.classes];
        let mut loss = 0.0;
        for (row, &label) in self.rows() {
            confusion[label as usize][self.prediction(row)] += 1;
            loss += self.log_loss(row, label);
        }
        let examples = self.len();
        let mean = |sum: f64| {
            if examples == 0 {
                0.0
            } else {
                sum / examples as f64
            }
        };
        let correct: u64 = (0..self.classes).map(|c| confusion[c][c]).sum();
        Evaluation {
            examples,
            loss: mean(loss),
            accuracy: mean(correct as f64),
            balanced_accuracy: balanced_accuracy(&confusion),
            auroc: self.auroc(),
            confusion,
        }
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.logits[row * self.outputs..(row + 1) * self.outputs]
    }

    fn prediction_of(&self, row: usize) -> usize {
        self.prediction(self.row(row))
    }

    fn loss_of(&self, row: usize) -> f64 {
        self.log_loss(self.row(row), self.labels[row])
    }

    /// The log-odds of a class against all others.
    fn odds_of(&self, row: usize, class: usize) -> f64 {
        let logits = self.row(row);
        match logits {
            [_] | [_, _] if class == 1 => log_odds(logits),
            [_] | [_, _] => -log_odds(logits),
            _ => {
                let mut others = logits.to_vec();
                let own = f64::from(others.remove(class));
                own - log_sum_exp(&others)
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], &u32)> {
        self.logits.chunks_exact(self.outputs).zip(&self.labels)
    }

    fn prediction(&self, row: &[f32]) -> usize {
        match row {
            [log_odds] => usize::from(*log_odds > 0.0),
            _ => argmax(row),
        }
    }

    fn log_loss(&self, row: &[f32], label: u32) -> f64 {
        match row {
            [log_odds] => {
                let z = f64::from(*log_odds);
                let against = if label == 1 { -z } else { z };
                // ln(1 + exp(against)), without overflow; NaN stays NaN.
                if against > 0.0 {
                    against + (-against).exp().ln_1p()
                } else {
                    against.exp().ln_1p()
                }
            }
            _ => log_sum_exp(row) - f64::from(row[label as usize]),
        }
    }

    fn auroc(&self) -> Option<f64> {
        if self.classes == 2 {
            // The log-odds order the rows as the probability does, and do not run into its limit 1.
            let scores: Vec<f64> = self.rows().map(|(row, _)| log_odds(row)).collect();
            return auroc(&scores, |row| self.labels[row] == 1);
        }
        let normalisers: Vec<f64> = self.rows().map(|(row, _)| log_sum_exp(row)).collect();
        let mut scores = vec![0.0; self.len()];
        let mut sum = 0.0;
        for class in 0..self.classes {
            let rows = self.rows().zip(&normalisers);
            for (score, ((row, _), normaliser)) in scores.iter_mut().zip(rows) {
                *score = f64::from(row[class]) - normaliser;
            }
            sum += auroc(&scores, |row| self.labels[row] as usize == class)?;
        }
        Some(sum / self.classes as f64)
    }
}

fn balanced_accuracy(confusion: &[Vec<u64>]) -> f64 {
    let (mut sum, mut present) = (0.0, 0_u32);
    for (class, row) in confusion.iter().enumerate() {
        let total: u64 = row.iter().sum();
        if total > 0 {
            sum += row[class] as f64 / total as f64;
            present += 1;
        }
    }
    if present == 0 {
        0.0
    } else {
        sum / f64::from(present)
    }
}

/// The probability of each class, from one row's logits: one a class, or a single one, the log-odds of class 1 of two. They sum
/// to 1; NaN where a logit is.
///
/// # Panics
/// When there are neither as many logits as classes, nor one for two.
pub fn probabilities(logits: &[f32], classes: usize) -> Vec<f64> {
    assert!(
        logits.len() == classes || (logits.len() == 1 && classes == 2),
        "{} logits do not fit {classes} classes",
        logits.len()
    );
    if let [log_odds] = logits {
        let odds = f64::from(*log_odds);
        return vec![sigmoid(-odds), sigmoid(odds)];
    }
    let normaliser = log_sum_exp(logits);
    logits
        .iter()
        .map(|&z| (f64::from(z) - normaliser).exp())
        .collect()
}

/// `1 / (1 + exp(-z))`, without overflow; NaN stays NaN.
fn sigmoid(z: f64) -> f64 {
    let e = (-z.abs()).exp();
    if z >= 0.0 {
        1.0 / (1.0 + e)
    } else {
        e / (1.0 + e)
    }
}

fn log_odds(row: &[f32]) -> f64 {
    match row {
        [zero, one] => f64::from(*one) - f64::from(*zero),
        _ => f64::from(row[0]),
    }
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row[argmax(row)]);
    let sum: f64 = row.iter().map(|&z| (f64::from(z) - max).exp()).sum();
    max + sum.ln()
}

/// JSON has no NaN and no infinity: they are written as `null`, and read back as NaN.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
