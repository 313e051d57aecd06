//! Measures of a model that answers with a number.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, Interval};
use super::number_or_null;
use crate::model::Model;

/// How well predicted numbers fit the true ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegressionFigures {
    /// Rows; with none, the errors are 0.
    pub examples: usize,
    /// Mean squared error, in the square of the target's unit.
    pub mse: f64,
    /// Its root, in the target's unit.
    pub rmse: f64,
    /// Mean absolute error, in the target's unit.
    pub mae: f64,
    /// The share of the targets' variance that the predictions explain; below 0 when the mean would do better. `None` when
    /// the targets are all the same, or are fewer than two.
    pub r2: Option<f64>,
}

/// The measures of `predictions` against `targets`, in `f64`; NaN where one is.
///
/// ```
/// use cloister_nn::metrics::regression;
///
/// let figures = regression(&[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]);
/// assert_eq!((figures.mse, figures.mae), (0.375, 0.5));
/// assert!((figures.r2.expect("the targets differ") - 0.948608137).abs() < 1e-9);
/// ```
///
/// # Panics
/// When the lengths differ.
pub fn regression(predictions: &[f32], targets: &[f32]) -> RegressionFigures {
    assert_eq!(predictions.len(), targets.len(), "predictions and targets");
    let examples = targets.len();
    if examples == 0 {
        return RegressionFigures {
            examples,
            mse: 0.0,
            rmse: 0.0,
            mae: 0.0,
            r2: None,
        };
    }
    let n = examples as f64;
    let pairs = || {
        predictions
            .iter()
            .zip(targets)
            .map(|(p, t)| f64::from(*p) - f64::from(*t))
    };
    let squares: f64 = pairs().map(|error| error * error).sum();
    let mean = targets.iter().map(|target| f64::from(*target)).sum::<f64>() / n;
    let spread: f64 = targets
        .iter()
        .map(|target| (f64::from(*target) - mean).powi(2))
        .sum();
    // Not by the spread: rounding may leave some where all targets are the same.
    let differ = targets.iter().any(|target| *target != targets[0]);
    let mse = squares / n;
    RegressionFigures {
        examples,
        mse,
        rmse: mse.sqrt(),
        mae: pairs().map(f64::abs).sum::<f64>() / n,
        r2: differ.then(|| 1.0 - squares / spread),
    }
}

/// Outputs and the numbers that they should be, both in the units of the training, collected for evaluation.
///
/// ```
/// use cloister_nn::metrics::NumberTally;
///
/// // Trained by the squared error in units of 10.
/// let mut tally = NumberTally::new(false, 10.0);
/// tally.add(&[0.5, 1.0], &[0.0, 2.0]);
/// let evaluation = tally.finish();
/// assert_eq!((evaluation.loss, evaluation.figures.mse, evaluation.figures.mae), (0.625, 62.5, 7.5));
/// assert_eq!(evaluation.figures.r2, Some(0.375));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NumberTally {
    absolute: bool,
    scale: f64,
    outputs: Vec<f32>,
    values: Vec<f32>,
}

/// How well a predictor of a number does on examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberEvaluation {
    /// Mean loss, in the units of the training; not finite when an output is not (`null` in JSON).
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// The errors in the target's own unit.
    #[serde(flatten)]
    pub figures: RegressionFigures,
}

/// The errors of one model on rows with known numbers, with bootstrap intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberAssessment {
    /// The figures.
    pub evaluation: NumberEvaluation,
    /// Intervals of `loss`, `mae`, `r2` and `rmse`, where there are some.
    pub intervals: Vec<(&'static str, Interval)>,
}

impl NumberTally {
    /// An empty tally of a model that is trained by the absolute error, or by the squared one; `scale` is the unit of the
    /// training in that of the figures.
    pub fn new(absolute: bool, scale: f64) -> Self {
        Self {
            absolute,
            scale,
            outputs: Vec::new(),
            values: Vec::new(),
        }
    }

    /// An empty tally for a model's outputs.
    ///
    /// # Panics
    /// When the model tells classes apart.
    pub fn for_model(model: &Model, scale: f64) -> Self {
        assert!(model.answers_numbers(), "a model that tells classes apart");
        Self::new(model.is_absolute(), scale)
    }

    /// Adds outputs and the numbers that they should be, `[n]` each.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&mut self, outputs: &[f32], values: &[f32]) {
        assert_eq!(outputs.len(), values.len(), "outputs and values");
        self.outputs.extend_from_slice(outputs);
        self.values.extend_from_slice(values);
    }

    /// Rows collected.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no row was collected.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Some rows, in the order given.
    ///
    /// # Panics
    /// If a row is not below [`NumberTally::len`], like a slice.
    pub fn subset(&self, rows: &[u32]) -> Self {
        let pick = |all: &[f32]| rows.iter().map(|row| all[*row as usize]).collect();
        Self {
            outputs: pick(&self.outputs),
            values: pick(&self.values),
            ..*self
        }
    }

    /// The measures over all rows.
    pub fn finish(&self) -> NumberEvaluation {
        let figures = regression(&self.outputs, &self.values);
        NumberEvaluation {
            loss: match self.absolute {
                true => figures.mae,
                false => figures.mse,
            },
            figures: RegressionFigures {
                mse: figures.mse * self.scale * self.scale,
                rmse: figures.rmse * self.scale,
                mae: figures.mae * self.scale,
                ..figures
            },
        }
    }

    /// The measures with intervals. `rng` draws the bootstrap's replicates: the same stream, the same intervals.
    pub fn assess(&self, bootstrap: &Bootstrap, rng: &mut impl Rng) -> NumberAssessment {
        // One stratum: there are no classes to keep.
        let strata = vec![0; self.len()];
        let intervals = bootstrap.intervals(&strata, rng, |draws| self.drawn(draws));
        let named = ["loss", "mae", "r2", "rmse"].into_iter().zip(intervals);
        NumberAssessment {
            evaluation: self.finish(),
            intervals: named
                .filter_map(|(name, interval)| Some((name, interval?)))
                .collect(),
        }
    }

    /// Loss, MAE, R2 and RMSE of rows, each as often as it was drawn.
    fn drawn(&self, draws: &[u32]) -> Vec<Option<f64>> {
        let rows = || {
            let pairs = self.outputs.iter().zip(&self.values).zip(draws);
            pairs.map(|((z, y), drawn)| (f64::from(*z), f64::from(*y), f64::from(*drawn)))
        };
        let n: f64 = rows().map(|(.., drawn)| drawn).sum();
        let mean = rows().map(|(_, y, drawn)| drawn * y).sum::<f64>() / n;
        let (mut squares, mut errors, mut spread) = (0.0, 0.0, 0.0);
        for (z, y, drawn) in rows() {
            squares += drawn * (z - y).powi(2);
            errors += drawn * (z - y).abs();
            spread += drawn * (y - mean).powi(2);
        }
        let loss = if self.absolute { errors } else { squares } / n;
        vec![
            Some(loss),
            Some(errors / n * self.scale),
            (spread > 0.0).then(|| 1.0 - squares / spread),
            Some((squares / n).sqrt() * self.scale),
        ]
    }
}
