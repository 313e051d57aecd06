//! Measures of a model that answers with a number.

use serde::{Deserialize, Serialize};

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
