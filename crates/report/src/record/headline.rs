//! The metric by which a run is judged first, and where to find it.

use serde::{Deserialize, Serialize};

use super::{Baseline, Best, Metrics, RoundRow};

/// The metric by which a run is judged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HeadlineMetric {
    /// Share classified rightly.
    #[default]
    Accuracy,
    /// Area under the ROC curve: for two classes, above all where they are not equally frequent.
    Auroc,
    /// Share of the variance of a numeric target that is explained, at most 1.
    R2,
}

impl RoundRow {
    /// The test figure that a headline metric names.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.test_accuracy,
            HeadlineMetric::Auroc => self.test_auroc,
            HeadlineMetric::R2 => self.test_r2,
        }
    }
}

impl Metrics {
    /// The figure that a headline metric names.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }
}

impl Best {
    /// The figure that a headline metric names.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }
}

impl Baseline {
    /// The figure that a headline metric names.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }
}
