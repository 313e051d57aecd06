//! What both pages show of an experiment, in words.

use std::sync::Arc;

use super::Hall;
use super::chronicle::{Chronicle, REASON};
use super::curve::{Curve, Unit};
use super::words::{self, NONE};
use crate::experiment::{Answer, ExperimentStatus, State, Status};
use crate::store::StoreError;

/// A certificate is warned of when it ends within this.
const SOON: u64 = 7 * DAY;
const DAY: u64 = 86_400;
/// Characters of what a site calls its program.
pub(super) const SOFTWARE: usize = 60;

/// A figure in large type.
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) note: String,
}

/// A state: a word, and a sign and a class that say the same.
pub(super) struct Standing {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
}

pub(super) fn standing(state: State) -> Standing {
    let (class, sign, word) = match state {
        State::Offered => ("waits", "?", "offered"),
        State::Queued => ("waits", "\u{2026}", "queued"),
        State::Running => ("runs", "\u{25b6}", "running"),
        State::Finished => ("good", "\u{2713}", "finished"),
        State::Cancelled => ("still", "\u{25a0}", "cancelled"),
        State::Declined => ("still", "\u{2013}", "declined"),
        State::Failed => ("bad", "\u{2717}", "failed"),
    };
    Standing { class, sign, word }
}

/// An experiment.
pub(super) struct Facts {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) submitted: String,
    pub(super) submitted_at: String,
    pub(super) standing: Standing,
    /// What it waits for, or why it ended.
    pub(super) reason: String,
    /// How long it has waited for that.
    pub(super) wait: String,
    pub(super) round: u32,
    pub(super) rounds: u32,
    pub(super) accuracy: String,
    pub(super) loss: String,
    pub(super) epsilon: String,
    pub(super) epsilon_note: String,
    pub(super) refused: String,
    pub(super) flagged: u64,
    pub(super) up: String,
    pub(super) down: String,
    pub(super) accuracy_curve: String,
    pub(super) loss_curve: String,
}

impl Facts {
    pub(super) fn of(
        hall: &Hall,
        status: &Status,
        experiment: &ExperimentStatus,
    ) -> Result<(Self, Arc<Chronicle>), StoreError> {
        let chronicle = hall.chronicle(experiment.id)?;
        let (epsilon, epsilon_note) = epsilon(experiment, &chronicle);
        let wait = match hall.waits_since(experiment.id) {
            Some(since) if !experiment.state.is_over() => {
                format!("for {}", words::span(status.now.saturating_sub(since)))
            }
            _ => String::new(),
        };
        let facts = Self {
            id: experiment.id,
            name: words::foreign(&experiment.name, 100),
            operator: experiment.operator.clone(),
            submitted: words::ago(status.now, experiment.submitted),
            submitted_at: words::date(experiment.submitted),
            standing: standing(experiment.state),
            reason: words::foreign(reason(experiment), REASON),
            wait,
            round: experiment.round,
            rounds: experiment.rounds,
            accuracy: words::percent(experiment.accuracy),
            loss: words::figure(experiment.train_loss),
            epsilon,
            epsilon_note,
            refused: words::count(experiment.refused),
            flagged: chronicle.flagged,
            up: words::bytes(experiment.bytes_up),
            down: words::bytes(experiment.bytes_down),
            accuracy_curve: accuracy(&chronicle).small(experiment.rounds),
            loss_curve: loss(&chronicle).small(experiment.rounds),
        };
        Ok((facts, chronicle))
    }
}

fn reason(experiment: &ExperimentStatus) -> &str {
    match (experiment.state, experiment.reason.as_str()) {
        (State::Queued, "") => "waiting for its turn",
        (State::Running, "") => "being taken up",
        (_, reason) => reason,
    }
}

/// What was spent, rounded up, and of how much.
fn epsilon(experiment: &ExperimentStatus, chronicle: &Chronicle) -> (String, String) {
    let Some(promise) = chronicle.promise else {
        return (NONE.to_owned(), "no noise is added".to_owned());
    };
    let spent = experiment.epsilon.unwrap_or(0.0);
    let note = match promise.budget {
        Some(budget) => format!("of {budget} at \u{3b4} = {:e}", promise.delta),
        None => format!("at \u{3b4} = {:e}, without a budget", promise.delta),
    };
    (cloister_privacy::rounded_up(spent), note)
}

pub(super) fn accuracy(chronicle: &Chronicle) -> Curve {
    let points = chronicle.points.iter();
    let points = points.map(|point| (point.round, point.accuracy));
    Curve::new("accuracy", Unit::Percent, "s0", points)
}

pub(super) fn loss(chronicle: &Chronicle) -> Curve {
    let points = chronicle.points.iter();
    let points = points.map(|point| (point.round, point.train_loss));
    Curve::new("training loss", Unit::Plain, "s1", points)
}

pub(super) fn spent(chronicle: &Chronicle) -> Curve {
    let points = chronicle.points.iter();
    let points = points.map(|point| (point.round, point.epsilon));
    Curve::new("epsilon", Unit::Epsilon, "s2", points)
}

/// What a site has said: a class, a word, and its reason.
pub(super) fn answer(answer: Option<&Answer>) -> (&'static str, String, String) {
    match answer {
        None => ("waits", "has not answered".to_owned(), String::new()),
        Some(Answer::Accept { examples, .. }) => (
            "good",
            "accepted".to_owned(),
            format!("with {}", words::counted(*examples, "example")),
        ),
        Some(Answer::Decline { reason }) => {
            ("bad", "declined".to_owned(), words::foreign(reason, REASON))
        }
    }
}

/// When a certificate ends, in words, and whether that is soon.
pub(super) fn validity(now: u64, until: Option<u64>) -> (String, bool) {
    let Some(until) = until else {
        return (NONE.to_owned(), false);
    };
    match until.checked_sub(now) {
        None => ("has ended".to_owned(), true),
        Some(left) if left < DAY => (format!("ends in {}", words::span(left)), true),
        Some(left) => (
            format!("ends in {}", words::counted(left / DAY, "day")),
            left < SOON,
        ),
    }
}
