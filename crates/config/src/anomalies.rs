//! `[anomalies]`: what is flagged while a run goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[anomalies]`: what is flagged while a run goes on. Flags change nothing in a run: they are for whoever watches it.
///
/// A reply is compared with its cohort: how far its figure lies from the cohort's median, in robust standard deviations
/// (1.4826 times the median absolute deviation). `docs/anomalies.md` has the rules one by one, and how often they err.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnomaliesConfig {
    /// Whether anybody looks.
    pub enabled: bool,
    /// Robust standard deviations from the cohort's median from which on a norm, a direction or a loss departs from it.
    pub deviation: f64,
    /// Departures among a client's last `window` replies that make a flag.
    pub persistence: u32,
    /// Replies of a client that are looked back on, at most 100.
    pub window: u32,
    /// Replies that a round must have for its replies to be compared with each other, at least 4.
    pub least_replies: u32,
    /// Fall of the test accuracy, against both the measurement before and the best so far, that makes a flag; as a share, 0.1 is
    /// ten points. Small test sets are given more, for their own error.
    pub accuracy_drop: f64,
    /// Relative change of the number of examples that a client claims, from one reply to the next, that makes a flag.
    pub examples_change: f64,
    /// Refused replies of a client in a row that make a flag.
    pub refusals: u32,
    /// Calls in a row that a client leaves unanswered that make a flag.
    pub silences: u32,
}

impl Default for AnomaliesConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            deviation: 6.0,
            persistence: 3,
            window: 5,
            least_replies: 5,
            accuracy_drop: 0.1,
            examples_change: 0.2,
            refusals: 3,
            silences: 3,
        }
    }
}

impl AnomaliesConfig {
    /// Whether nothing differs from the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
