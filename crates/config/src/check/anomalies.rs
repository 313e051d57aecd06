//! `[anomalies]`: thresholds that mean something.

use super::Checks;
use crate::anomalies::AnomaliesConfig;

/// Replies that can be looked back on: a client's memory.
const MOST_WINDOW: u32 = 100;
/// Below this a median absolute deviation is one of two figures.
const LEAST_REPLIES: u32 = 4;

impl Checks {
    pub(super) fn anomalies(&mut self, anomalies: &AnomaliesConfig) {
        self.positive("anomalies.deviation", anomalies.deviation);
        self.positive("anomalies.examples_change", anomalies.examples_change);
        let drop = anomalies.accuracy_drop;
        let fits = drop > 0.0 && drop <= 1.0;
        self.number(
            "anomalies.accuracy_drop",
            drop,
            fits,
            "above 0 and at most 1",
        );
        let window = anomalies.window;
        if !(1..=MOST_WINDOW).contains(&window) {
            let reason = format!("must be from 1 to {MOST_WINDOW}, found {window}");
            self.refuse("anomalies.window", reason);
        }
        let persistence = anomalies.persistence;
        if !(1..=window.max(1)).contains(&persistence) {
            let reason = format!(
                "must be from 1 to anomalies.window, which is {window}, found {persistence}"
            );
            self.refuse("anomalies.persistence", reason);
        }
        let least = anomalies.least_replies;
        if least < LEAST_REPLIES {
            let reason = format!("must be at least {LEAST_REPLIES}, found {least}");
            self.refuse("anomalies.least_replies", reason);
        }
        for (key, count) in [
            ("anomalies.refusals", anomalies.refusals),
            ("anomalies.silences", anomalies.silences),
        ] {
            if count == 0 {
                self.refuse(key, "must be at least 1, found 0");
            }
        }
    }
}
