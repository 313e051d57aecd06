//! What departs from the usual while a run goes on.
//!
//! A [`Monitor`] is told of each round what its host knows, and gives the round's flags. It is a pure function of what it was told:
//! a resumed run gives the flags of one that was never stopped, since the [`Memory`] goes with the checkpoint. Flags change
//! nothing in a run. Attackers who know the rules can stay below them; what does not depend on that is the aggregation rule.
//!
//! Nothing is judged that the server does not see or may not tell of: of masked updates nothing but their sum, and where the server
//! adds noise, no figure of a single update, since the record would release it without noise.

mod client;
mod cohort;
mod course;

use std::collections::{BTreeMap, BTreeSet};

use cloister_config::{AnomaliesConfig, Experiment};
use cloister_protocol::{ClientId, RoundReport, Server};
use cloister_report::record::{AnomalyFlag, AnomalyInfo, Event, ReplyRow, RoundRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spending::Excess;
use client::Client;
use cohort::Deviations;
use course::Course;

/// The place of the monitor's memory in a checkpoint's notes.
const NOTE: &str = "anomalies";

/// What a round's flags are made from, beside its report.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// How the round ended.
    pub report: &'a RoundReport,
    /// Its line in the record, for the figures of the model.
    pub row: &'a RoundRow,
    /// What the ledger has beyond the plan, if it has.
    pub excess: Option<Excess>,
    /// The epsilon of all rounds of the plan, if the budget does not reach so far; in the first round.
    pub beyond_budget: Option<(f64, f64)>,
}

/// What a round's replies looked like, and what departs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// For the record.
    pub replies: Vec<ReplyRow>,
    /// The flags, as events.
    pub flags: Vec<Event>,
}

/// Watches a run.
#[derive(Clone, Debug)]
pub struct Monitor {
    config: AnomaliesConfig,
    scope: Scope,
    /// Examples on which accuracy is measured.
    test: u64,
    memory: Memory,
}

/// What the server sees of single updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All of them.
    Seen,
    /// As they are after each client's own noise, and without losses.
    Noisy,
    /// All of them, but the record may not tell of them.
    Released,
    /// Nothing: they are masked.
    Masked,
}

/// All that a monitor remembers from round to round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    clients: BTreeMap<u32, Client>,
    course: Course,
    /// Rounds whose replies were compared with each other, and rounds in all.
    compared: u32,
    rounds: u32,
    /// Flags so far, by rule.
    rules: BTreeMap<String, u32>,
    flagged: BTreeSet<u32>,
}

/// A flag that is about to be raised.
#[derive(Clone, Debug)]
struct Raised {
    client: Option<ClientId>,
    flag: AnomalyFlag,
    message: String,
}

impl Monitor {
    /// The monitor of an experiment whose model is measured on so many `test` examples; `None` if its config wants none.
    pub fn new(experiment: &Experiment, test: u64) -> Option<Self> {
        let scope = match &experiment.privacy {
            _ if experiment.secure_aggregation.is_some() => Scope::Masked,
            Some(privacy) if privacy.mechanism.at_server() => Scope::Released,
            Some(_) => Scope::Noisy,
            None => Scope::Seen,
        };
        experiment.anomalies.enabled.then(|| Self {
            config: experiment.anomalies.clone(),
            scope,
            test,
            memory: Memory::default(),
        })
    }

    /// Has the server look at replies, as far as the run lets it.
    pub fn equip(&self, server: &mut Server) {
        if matches!(self.scope, Scope::Seen | Scope::Noisy) {
            server.watch_replies();
        }
    }

    /// Takes a round; `name` names clients. Rounds are to be told in their order, each once.
    pub fn observe(&mut self, seen: &Observed<'_>, name: impl Fn(ClientId) -> String) -> Findings {
        let report = seen.report;
        let round = report.round;
        self.memory.rounds += 1;
        let comparable = report.replies.len() >= self.config.least_replies as usize;
        let deviations = match comparable {
            true => cohort::deviations(&report.replies, self.config.deviation),
            false => vec![Deviations::default(); report.replies.len()],
        };
        self.memory.compared += u32::from(comparable);
        let mut raised = Vec::new();
        for (figures, deviations) in report.replies.iter().zip(&deviations) {
            let client = self.memory.clients.entry(figures.client.0).or_default();
            raised.extend(client.replied(&self.config, round, figures, deviations));
        }
        for client in &report.turned_away {
            let memory = self.memory.clients.entry(client.0).or_default();
            raised.extend(memory.refused(&self.config, round, *client));
        }
        for client in &report.silent {
            let memory = self.memory.clients.entry(client.0).or_default();
            raised.extend(memory.silent(&self.config, round, *client));
        }
        raised.extend(self.memory.course.went_on(&self.config, self.test, seen));
        let replies = report.replies.iter().zip(&deviations);
        let replies = replies.map(|(figures, deviations)| ReplyRow {
            round,
            client: name(figures.client),
            examples: figures.examples,
            loss: figures.loss,
            norm: figures.norm,
            direction: figures.direction,
            norm_deviation: deviations.norm.map(|one| one.value),
            direction_deviation: deviations.direction.map(|one| one.value),
            loss_deviation: deviations.loss.map(|one| one.value),
        });
        let replies = replies.collect();
        let flags = raised.into_iter().map(|raised| {
            *self
                .memory
                .rules
                .entry(raised.flag.rule.clone())
                .or_default() += 1;
            self.memory
                .flagged
                .extend(raised.client.map(|client| client.0));
            raised
                .flag
                .event(round, raised.client.map(&name), raised.message)
        });
        Findings {
            flags: flags.collect(),
            replies,
        }
    }

    /// Puts the memory among a checkpoint's notes.
    pub fn remember(&self, notes: &mut serde_json::Map<String, Value>) {
        if let Ok(memory) = serde_json::to_value(&self.memory) {
            notes.insert(NOTE.to_owned(), memory);
        }
    }

    /// Goes on from a checkpoint's notes. One that has no memory of it, of a run that was not watched, begins anew.
    pub fn recall(&mut self, notes: &serde_json::Map<String, Value>) {
        let memory = notes.get(NOTE).cloned();
        if let Some(memory) = memory.and_then(|memory| serde_json::from_value(memory).ok()) {
            self.memory = memory;
        }
    }

    /// The flags so far, counted, and what could be judged.
    pub fn info(&self, name: impl Fn(ClientId) -> String) -> AnomalyInfo {
        let flagged = self.memory.flagged.iter();
        AnomalyInfo {
            flags: self.memory.rules.values().sum(),
            rules: self.memory.rules.clone(),
            clients: flagged.map(|client| name(ClientId(*client))).collect(),
            deviation: self.config.deviation,
            persistence: self.config.persistence,
            window: self.config.window,
            scope: self.scope_in_words(),
        }
    }

    fn scope_in_words(&self) -> Vec<String> {
        let first = match self.scope {
            Scope::Seen => {
                "The server saw each update: its norm, its direction and the client's training loss were compared with those \
                 of the same round."
            }
            Scope::Noisy => {
                "The server saw each update with the noise of its client: norms and directions were compared, which the noise \
                 makes harder to tell apart. Training losses are withheld."
            }
            Scope::Released => {
                "The server adds the noise of this run, so no figure of a single update may stand in a record: norms, directions \
                 and losses were not judged. What is left are the model's course, refused replies, silent clients and the ledger."
            }
            Scope::Masked => {
                "Updates were masked: the server saw their sum only, and norms, directions and losses of single clients were not \
                 judged. What is left are the model's course, refused messages, silent clients and the ledger."
            }
        };
        let mut words = vec![first.to_owned()];
        let looked = matches!(self.scope, Scope::Seen | Scope::Noisy);
        let Memory {
            compared, rounds, ..
        } = self.memory;
        if looked && compared < rounds {
            words.push(format!(
                "{compared} of {rounds} rounds had the {} replies that a comparison needs.",
                self.config.least_replies
            ));
        }
        words
    }
}

#[cfg(test)]
mod tests;
