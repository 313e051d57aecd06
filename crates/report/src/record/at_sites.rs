//! The final model as the clients judged it.

use serde::{Deserialize, Serialize};

use super::number;

/// How good the final model is on held-out examples that never left the clients: they sent counts, of which the server needs
/// the sums only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtSites {
    /// Clients that judged it.
    pub clients: u32,
    /// Their examples.
    pub examples: u64,
    /// Whether the server saw sums only.
    pub masked: bool,
    /// Share of right predictions.
    pub accuracy: f64,
    /// Mean recall over the classes that occur.
    pub balanced_accuracy: f64,
    /// Log loss, in nats.
    #[serde(with = "number")]
    pub loss: f64,
    /// Area under the ROC curve, from histograms of scores.
    pub auroc: Option<f64>,
    /// How far the area can be from it, since examples in one bin have lost their order.
    pub auroc_error: Option<f64>,
    /// Two classes: sensitivity where the specificity is 0.9.
    pub sensitivity: Option<f64>,
    /// Two classes: Brier score.
    pub brier: Option<f64>,
    /// Examples by `[label][prediction]`.
    pub confusion: Vec<Vec<u64>>,
    /// Bytes from the clients to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the clients, with the model.
    pub bytes_down: u64,
}
