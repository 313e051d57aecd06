//! What a run has on record of what its monitor saw: each reply beside its cohort, and the flags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Event, event_kind, number};

/// What the server saw of one accepted reply, and how far it lay from its cohort: a line of `replies.csv`.
///
/// A deviation is the distance from the cohort's median in robust standard deviations; `None` where the round had too few
/// replies to compare, or the reply has no such figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplyRow {
    /// The round.
    pub round: u32,
    /// The client, by name.
    pub client: String,
    /// Examples that it claims.
    pub examples: u64,
    /// Its mean training loss, unless withheld.
    #[serde(with = "number::option")]
    pub loss: Option<f64>,
    /// Euclidean norm of its update.
    #[serde(with = "number")]
    pub norm: f64,
    /// Cosine between its update and the mean direction of the others.
    #[serde(with = "number::option")]
    pub direction: Option<f64>,
    /// Deviation of the logarithm of its norm.
    #[serde(with = "number::option")]
    pub norm_deviation: Option<f64>,
    /// Deviation of its direction.
    #[serde(with = "number::option")]
    pub direction_deviation: Option<f64>,
    /// Deviation of the logarithm of its loss.
    #[serde(with = "number::option")]
    pub loss_deviation: Option<f64>,
}

/// What an event of the kind [`event_kind::ANOMALY`] has in its detail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnomalyFlag {
    /// The rule that was met, a word: `norm`, `direction`, `loss`, `drift`, `examples`, `refused`, `silent`, `accuracy`, `decline`,
    /// `diverged`, `epsilon`, `budget`.
    pub rule: String,
    /// The figure that met it.
    #[serde(with = "number")]
    pub value: f64,
    /// What it was held against.
    #[serde(with = "number")]
    pub threshold: f64,
    /// What is usual: the cohort's median, the best accuracy so far, the planned epsilon.
    #[serde(with = "number::option", default)]
    pub usual: Option<f64>,
    /// The figure as it was measured, where `value` is a deviation from the cohort: a norm, a cosine, a loss.
    #[serde(with = "number::option", default)]
    pub measured: Option<f64>,
    /// The rounds that it rests on.
    #[serde(default)]
    pub rounds: Vec<u32>,
}

impl AnomalyFlag {
    /// The event of this flag.
    pub fn event(&self, round: u32, client: Option<String>, message: impl Into<String>) -> Event {
        let mut event = Event::new(round, event_kind::ANOMALY, message);
        event.client = client;
        if let Ok(Value::Object(detail)) = serde_json::to_value(self) {
            event.detail = detail;
        }
        event
    }

    /// The flag in an event; `None` for an event of another kind.
    pub fn of(event: &Event) -> Option<Self> {
        let detail = Value::Object(event.detail.clone());
        (event.kind == event_kind::ANOMALY)
            .then(|| serde_json::from_value(detail).ok())
            .flatten()
    }
}

/// The flags among `events` as lines for a terminal, and how many there are; empty where there are none.
pub fn flags_text(events: &[Event]) -> String {
    const MOST: usize = 20;
    let flags: Vec<&Event> = events
        .iter()
        .filter(|event| event.kind == event_kind::ANOMALY)
        .collect();
    if flags.is_empty() {
        return String::new();
    }
    let mut text = format!("\n anomalies: {}\n", flags.len());
    for event in flags.iter().take(MOST) {
        let who = event.client.as_deref().unwrap_or("the run");
        text.push_str(&format!(
            "   round {}: {who}: {}\n",
            event.round, event.message
        ));
    }
    if flags.len() > MOST {
        text.push_str(&format!(
            "   and {} more in events.jsonl\n",
            flags.len() - MOST
        ));
    }
    text
}

/// The flags of a run, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnomalyInfo {
    /// Flags in all.
    pub flags: u32,
    /// Flags by rule.
    #[serde(default)]
    pub rules: BTreeMap<String, u32>,
    /// Clients with a flag, by name, in the order of the roster.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Robust standard deviations from which on a reply departs from its cohort.
    #[serde(with = "number", default)]
    pub deviation: f64,
    /// Departures among the last `window` replies that make a flag.
    #[serde(default)]
    pub persistence: u32,
    /// Replies that are looked back on.
    #[serde(default)]
    pub window: u32,
    /// What could be judged and what not, and why: sentences.
    #[serde(default)]
    pub scope: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_survives_its_event() {
        let flag = AnomalyFlag {
            rule: "norm".to_owned(),
            value: f64::INFINITY,
            threshold: 6.0,
            usual: Some(0.5),
            measured: None,
            rounds: vec![2, 3, 4],
        };
        let event = flag.event(4, Some("a".to_owned()), "far too long");
        let line = serde_json::to_string(&event).unwrap();
        let read: Event = serde_json::from_str(&line).unwrap();
        assert_eq!(AnomalyFlag::of(&read), Some(flag));
        assert_eq!(AnomalyFlag::of(&Event::new(1, "late", "no flag")), None);
    }
}
