//! How good the final model is, beyond the headline: part of `summary.json`, and the curves in `curves.json`.

pub(crate) mod text;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{HeadlineMetric, RecordError, RoundRow, file_name, number, reader};

/// Figures of a model on test examples. What does not apply, or is not defined on these examples, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Test examples.
    pub examples: u64,
    /// The figures of each class, in the order of the model's outputs.
    #[serde(default)]
    pub classes: Vec<ClassQuality>,
    /// Precision, recall and F1, a mean over the classes that occur, each alike.
    #[serde(default)]
    pub macro_mean: MeanQuality,
    /// The same, each class by its examples.
    #[serde(default)]
    pub weighted_mean: MeanQuality,
    /// Average precision: of the second of two classes, else the mean over the classes.
    #[serde(with = "number::option", default)]
    pub average_precision: Option<f64>,
    /// Brier score: mean squared distance of the probabilities from what happened.
    #[serde(with = "number::option", default)]
    pub brier: Option<f64>,
    /// Expected calibration error: how far probabilities are from shares, averaged over examples.
    #[serde(with = "number::option", default)]
    pub calibration_error: Option<f64>,
    /// The same in the worst bin.
    #[serde(with = "number::option", default)]
    pub largest_calibration_error: Option<f64>,
    /// Bootstrap intervals, by the name of their figure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, IntervalQuality>,
    /// How they were made; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapInfo>,
    /// What thresholds chosen elsewhere do to the test examples; two classes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// The test examples of each site, where they have owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<GroupQuality>,
    /// The site with the lowest headline figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_site: Option<String>,
    /// Groups by a column of the data, where somebody asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subgroups: Vec<Subgroups>,
}

/// A class among the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassQuality {
    /// Its name.
    pub class: String,
    /// Test examples of it.
    pub examples: u64,
    /// Share of those taken for it that are of it; 0 when none is taken.
    #[serde(with = "number")]
    pub precision: f64,
    /// Share of its examples that are taken for it; 0 when it does not occur.
    #[serde(with = "number")]
    pub recall: f64,
    /// Harmonic mean of the two.
    #[serde(with = "number")]
    pub f1: f64,
    /// AUROC against the rest.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Average precision against the rest.
    #[serde(with = "number::option", default)]
    pub average_precision: Option<f64>,
}

/// A mean over classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanQuality {
    /// Mean precision.
    #[serde(with = "number")]
    pub precision: f64,
    /// Mean recall.
    #[serde(with = "number")]
    pub recall: f64,
    /// Mean F1.
    #[serde(with = "number")]
    pub f1: f64,
}

/// An interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalQuality {
    /// Its lower end.
    #[serde(with = "number")]
    pub low: f64,
    /// Its upper end.
    #[serde(with = "number")]
    pub high: f64,
}

/// How intervals were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BootstrapInfo {
    /// Coverage that they aim at, in (0, 1).
    #[serde(with = "number")]
    pub level: f64,
    /// Replicates.
    pub replicates: u32,
    /// Whether rows were drawn within each class, because one is tiny.
    #[serde(default)]
    pub stratified: bool,
}

/// What thresholds do to the test examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The class that is looked for.
    pub positive: String,
    /// The examples that the thresholds were chosen on, in words; never the test examples.
    pub chosen_on: String,
    /// The threshold of the rule.
    pub chosen: OperatingFigures,
    /// The threshold of a wanted specificity; `None` where no examples were at hand to choose it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_specificity: Option<OperatingFigures>,
}

/// One threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatingFigures {
    /// By which rule it was chosen, in words (`Youden's index`).
    pub rule: String,
    /// Examples whose probability is at least this are taken for positive; infinite when none is.
    #[serde(with = "number")]
    pub threshold: f64,
    /// Share of the positive test examples that are found.
    #[serde(with = "number")]
    pub sensitivity: f64,
    /// Share of the negative test examples that are let be.
    #[serde(with = "number")]
    pub specificity: f64,
    /// Share of those taken for positive that are.
    #[serde(with = "number")]
    pub precision: f64,
    /// Harmonic mean of precision and sensitivity.
    #[serde(with = "number")]
    pub f1: f64,
    /// Share on the right side.
    #[serde(with = "number")]
    pub accuracy: f64,
}

/// Some of the test examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupQuality {
    /// The site, or the value of the column.
    pub name: String,
    /// Test examples.
    pub examples: u64,
    /// Accuracy.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Balanced accuracy.
    #[serde(with = "number::option", default)]
    pub balanced_accuracy: Option<f64>,
    /// Loss.
    #[serde(with = "number::option", default)]
    pub loss: Option<f64>,
    /// AUROC.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Sensitivity at the chosen threshold: the rate of true positives.
    #[serde(with = "number::option", default)]
    pub sensitivity: Option<f64>,
    /// Specificity at the chosen threshold: 1 minus the rate of false positives.
    #[serde(with = "number::option", default)]
    pub specificity: Option<f64>,
    /// Share of the variance of a numeric target that is explained.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2: Option<f64>,
    /// Root of the mean squared error, in the target's unit.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub rmse: Option<f64>,
    /// Mean absolute error, in the target's unit.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub mae: Option<f64>,
}

impl GroupQuality {
    /// The headline figure.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }
}

/// The test examples by the values of a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subgroups {
    /// The column.
    pub column: String,
    /// Its values, or quarters of its numbers.
    pub groups: Vec<GroupQuality>,
    /// The largest difference between two groups, by the name of the figure; of figures that two groups have.
    #[serde(default)]
    pub gaps: BTreeMap<String, f64>,
}

/// The curves of the final model on the test examples: `curves.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityCurves {
    /// (false positive rate, true positive rate), from (0, 0) to (1, 1), thinned.
    #[serde(default)]
    pub roc: Vec<NamedCurve>,
    /// (recall, precision), by ascending recall, thinned.
    #[serde(default)]
    pub precision_recall: Vec<NamedCurve>,
    /// What was promised against what came true.
    #[serde(default)]
    pub reliability: Vec<ReliabilityPoint>,
    /// What the reliability curve is about, in words (`probability of 1`).
    #[serde(default)]
    pub promised: String,
}

/// A curve of a class against the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedCurve {
    /// The class.
    pub class: String,
    /// Its share of the test examples.
    #[serde(with = "number", default)]
    pub share: f64,
    /// Area under the ROC curve, or average precision.
    #[serde(with = "number::option", default)]
    pub area: Option<f64>,
    /// The curve.
    #[serde(with = "number::points", default)]
    pub points: Vec<[f64; 2]>,
}

/// Test examples whose probability lies in a bin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityPoint {
    /// The bin's lower end.
    #[serde(with = "number")]
    pub lower: f64,
    /// Its upper end.
    #[serde(with = "number")]
    pub upper: f64,
    /// Examples in it.
    pub examples: u64,
    /// Their mean probability.
    #[serde(with = "number")]
    pub probability: f64,
    /// The share of them in which it came true.
    #[serde(with = "number")]
    pub share: f64,
}

impl QualityCurves {
    /// The curves in a run folder; `None` where there are none.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`], [`RecordError::TooLarge`], [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        reader::read_json(&folder.join(file_name::CURVES))
    }
}

/// When a run first reached a level of its headline metric, and what it had sent by then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The level, 0 to 1.
    #[serde(with = "number")]
    pub level: f64,
    /// The first evaluated round at or above it.
    pub round: u32,
    /// Bytes from clients to the server until then.
    pub bytes_up: u64,
    /// Bytes from the server to clients until then.
    pub bytes_down: u64,
    /// Wall-clock seconds until then.
    #[serde(with = "number")]
    pub seconds: f64,
}

/// Levels of accuracy, AUROC, or share of the variance, that [`reached`] looks for.
const LEVELS: [f64; 8] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99];

/// What each level that was reached has cost. Levels that the first evaluation is at already are left out but for the highest of
/// them.
pub fn reached(rows: &[RoundRow], metric: HeadlineMetric) -> Vec<Reached> {
    let mut found: Vec<Reached> = Vec::new();
    let (mut bytes_up, mut bytes_down, mut seconds) = (0_u64, 0_u64, 0.0);
    let mut levels = LEVELS.into_iter().peekable();
    for row in rows {
        bytes_up = bytes_up.saturating_add(row.bytes_up);
        bytes_down = bytes_down.saturating_add(row.bytes_down);
        seconds += row.seconds;
        let Some(value) = row.value(metric) else {
            continue;
        };
        while let Some(level) = levels.next_if(|level| value >= *level) {
            found.retain(|other| other.round != row.round);
            found.push(Reached {
                level,
                round: row.round,
                bytes_up,
                bytes_down,
                seconds,
            });
        }
    }
    found
}
