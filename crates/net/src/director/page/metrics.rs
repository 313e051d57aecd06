//! Metrics in the text format of Prometheus, version 0.0.4.
//!
//! Their labels are the director's version, states and numbers of experiments. What would tell one site from another is left
//! out: metrics travel to people who are no part of the federation.

use std::fmt::Write;

use crate::experiment::{ExperimentStatus, State, Status};

/// What a scraper takes the text for.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Running experiments with figures of their own.
const RUNNING: usize = 100;

const STATES: [(State, &str); 7] = [
    (State::Offered, "offered"),
    (State::Queued, "queued"),
    (State::Running, "running"),
    (State::Finished, "finished"),
    (State::Cancelled, "cancelled"),
    (State::Declined, "declined"),
    (State::Failed, "failed"),
];

/// A figure of an experiment.
type Figure = fn(&ExperimentStatus) -> Option<f64>;

struct Metrics(String);

impl Metrics {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP cloister_{name} {help}\n# TYPE cloister_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match value {
            value if value.is_nan() => writeln!(self.0, "cloister_{name}{labels} NaN"),
            f64::INFINITY => writeln!(self.0, "cloister_{name}{labels} +Inf"),
            f64::NEG_INFINITY => writeln!(self.0, "cloister_{name}{labels} -Inf"),
            value => writeln!(self.0, "cloister_{name}{labels} {value}"),
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "cloister_{name} {value}");
    }
}

/// The metrics of a director whose certificate ends at `until`.
pub(super) fn text(status: &Status, until: u64) -> String {
    let mut metrics = Metrics(String::with_capacity(4096));
    let all = &status.experiments;
    let sum = |figure: fn(&ExperimentStatus) -> u64| all.iter().map(figure).sum();
    metrics.head("director_info", "gauge", "The director that answers.");
    let labels = format!("{{version=\"{}\"}}", status.version);
    metrics.sample("director_info", &labels, 1.0);
    let up = status.now.saturating_sub(status.since);
    metrics.one(
        "uptime_seconds",
        "gauge",
        "Seconds since the director started.",
        up,
    );
    let help = "When the director's own certificate ends, in seconds since 1970.";
    metrics.one("certificate_end_timestamp_seconds", "gauge", help, until);
    let attending = status.sites.iter().filter(|site| site.attending).count();
    let help = "Sites whose envoy is connected.";
    metrics.one("sites_attending", "gauge", help, attending as u64);
    let help = "Sites that ever attended or were asked.";
    metrics.one("sites_known", "gauge", help, status.sites.len() as u64);
    metrics.head("experiments", "gauge", "Experiments by state.");
    for (state, word) in STATES {
        let count = all.iter().filter(|one| one.state == state).count();
        metrics.sample(
            "experiments",
            &format!("{{state=\"{word}\"}}"),
            count as f64,
        );
    }
    for (name, help, value) in [
        (
            "rounds_completed_total",
            "Rounds done, over all experiments.",
            sum(|one| u64::from(one.round)),
        ),
        (
            "replies_refused_total",
            "Replies refused, over all experiments.",
            sum(|one| one.refused),
        ),
        (
            "bytes_up_total",
            "Bytes of messages from sites, over all experiments.",
            sum(|one| one.bytes_up),
        ),
        (
            "bytes_down_total",
            "Bytes of messages to sites, over all experiments.",
            sum(|one| one.bytes_down),
        ),
        (
            "turned_away_total",
            "Calls turned away since the director started.",
            status.turned_away,
        ),
    ] {
        metrics.one(name, "counter", help, value);
    }
    running(&mut metrics, all);
    metrics.0
}

fn running(metrics: &mut Metrics, all: &[ExperimentStatus]) {
    let figures: [(&str, &str, Figure); 5] = [
        ("experiment_round", "Rounds done.", |one| {
            Some(f64::from(one.round))
        }),
        ("experiment_rounds_planned", "Rounds planned.", |one| {
            Some(f64::from(one.rounds))
        }),
        (
            "experiment_accuracy",
            "Accuracy on the director's own examples, 0 to 1.",
            |one| one.accuracy,
        ),
        (
            "experiment_train_loss",
            "Mean training loss of the last round.",
            |one| one.train_loss,
        ),
        ("experiment_epsilon", "Privacy loss so far.", |one| {
            one.epsilon
        }),
    ];
    for (name, help, figure) in figures {
        let running = all.iter().filter(|one| one.state == State::Running);
        let known = running.filter_map(|one| Some((one.id, figure(one)?)));
        let known: Vec<_> = known.take(RUNNING).collect();
        if known.is_empty() {
            continue;
        }
        metrics.head(name, "gauge", help);
        for (id, value) in known {
            metrics.sample(name, &format!("{{experiment=\"{id}\"}}"), value);
        }
    }
}
