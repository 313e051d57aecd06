//! The final model as the clients judged it.

use serde::{Deserialize, Serialize};

use super::number;
use crate::compare::drawn;
use crate::format::{self, counted};

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

impl AtSites {
    /// Who judged, on what, and what the server saw of it.
    pub(crate) fn sentence(&self) -> String {
        let saw = match self.masked {
            true => "saw their sums only",
            false => "saw each client's",
        };
        format!(
            "{} judged the final model on {} that never left them: they sent counts, and the server {saw} ({} up, {} down, with \
             the model).",
            counted(self.clients.into(), "client", "clients"),
            counted(self.examples, "held-out example", "held-out examples"),
            format::bytes(self.bytes_up),
            format::bytes(self.bytes_down)
        )
    }

    /// Each figure, and how far it can be off; empty where it is exact.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let off = |error: Option<f64>| match error {
            Some(error) if error > 0.0 => format!("within {error:.4}"),
            _ => String::new(),
        };
        let figures = [
            ("accuracy", Some(self.accuracy), String::new()),
            (
                "balanced accuracy",
                Some(self.balanced_accuracy),
                String::new(),
            ),
            ("AUROC", self.auroc, off(self.auroc_error)),
            (
                "sensitivity at specificity 0.9",
                self.sensitivity,
                String::new(),
            ),
            ("log loss", Some(self.loss), String::new()),
            ("Brier score", self.brier, String::new()),
        ];
        let row = |(name, value, off): (&str, Option<f64>, String)| {
            let value = value.filter(|value| value.is_finite())?;
            Some(vec![name.to_owned(), format!("{value:.4}"), off])
        };
        figures.into_iter().filter_map(row).collect()
    }

    /// The figures in a table, for the terminal.
    pub fn text(&self) -> String {
        let head = [("figure", true), ("value", false), ("off by", false)];
        let head = head.map(|(name, words)| (name.to_owned(), words));
        let table = drawn(head.into(), self.rows());
        format!("{}\n\n{table}", self.sentence()).replace('\u{a0}', " ")
    }
}
