//! What a director has in memory of its experiments and sites, and the papers that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_report::record::RoundRow;

use super::board::Shared;
use super::hosted::Hosted;
use super::worker::Running;
use crate::experiment::{Closing, Id, Offer, State};
use crate::pki::Name;
use crate::plan::Plan;
use crate::store::ExperimentRecord;

/// A site's connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Presence {
    pub(super) attending: bool,
    pub(super) seen: Option<u64>,
    pub(super) software: String,
    pub(super) certificate: Vec<u8>,
    pub(super) serial: String,
    pub(super) until: Option<u64>,
}

/// The last figures of an experiment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(super) round: u32,
    pub(super) waiting: String,
    pub(super) train_loss: Option<f64>,
    pub(super) accuracy: Option<f64>,
    pub(super) epsilon: Option<f64>,
    pub(super) refused: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

impl Figures {
    /// Of an experiment at work.
    pub(crate) fn of(hosted: &Hosted) -> Self {
        let sites: Vec<&str> = hosted.awaited().collect();
        let waiting = match sites.as_slice() {
            [] => format!("round {}", hosted.round()),
            few if few.len() <= 5 => {
                format!("round {}: waiting for {}", hosted.round(), few.join(", "))
            }
            many => format!("round {}: waiting for {} sites", hosted.round(), many.len()),
        };
        Self {
            waiting,
            ..Self::of_rows(hosted.rows())
        }
    }

    pub(super) fn of_rows(rows: &[RoundRow]) -> Self {
        let last = |figure: fn(&RoundRow) -> Option<f64>| rows.iter().rev().find_map(figure);
        Self {
            round: rows.len() as u32,
            waiting: String::new(),
            train_loss: last(|row| row.train_loss),
            accuracy: last(|row| row.test_accuracy),
            epsilon: last(|row| row.epsilon),
            refused: rows.iter().map(|row| u64::from(row.refused)).sum(),
            bytes_up: rows.iter().map(|row| row.bytes_up).sum(),
            bytes_down: rows.iter().map(|row| row.bytes_down).sum(),
        }
    }

    /// Of one that cannot go on at the moment.
    pub(crate) fn trouble(trouble: &str) -> Self {
        Self {
            waiting: trouble.to_owned(),
            ..Self::default()
        }
    }
}

/// The experiments, as the store has them, and what goes with each.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) records: BTreeMap<Id, ExperimentRecord>,
    pub(super) running: BTreeMap<Id, Running>,
    pub(super) figures: BTreeMap<Id, Figures>,
    /// What is built from their words, of those that are not over.
    pub(super) plans: BTreeMap<Id, Arc<Plan>>,
    /// The offers and charters that sites may fetch.
    offers: BTreeMap<Id, Shared>,
    charters: BTreeMap<Id, Shared>,
    closings: BTreeMap<Id, Shared>,
    /// Which sites have their charter, and which know that it is over. Told again after a restart, which does no harm.
    chartered: BTreeSet<(Id, String)>,
    closed: BTreeSet<(Id, String)>,
    /// Ends that an operator wants, of experiments that cannot obey at the moment.
    pub(super) wanted_ends: BTreeMap<Id, (State, String)>,
}

impl Books {
    /// The offer of an experiment.
    pub(super) fn offer(&mut self, id: Id, federation: &Name) -> Option<Shared> {
        if let Some(offer) = self.offers.get(&id) {
            return Some(offer.clone());
        }
        let record = self.records.get(&id)?;
        let offer = Offer {
            federation: federation.as_str().to_owned(),
            experiment: id,
            operator: record.operator.clone(),
            config: record.config.clone(),
            data: record.contract.clone(),
            sites: record.sites.clone(),
            minimum: record.minimum,
        };
        let shared = Shared::new(serde_json::to_vec(&offer).ok()?);
        self.offers.insert(id, shared.clone());
        Some(shared)
    }

    /// The charter of an experiment.
    pub(super) fn charter(&mut self, id: Id) -> Option<Shared> {
        if let Some(charter) = self.charters.get(&id) {
            return Some(charter.clone());
        }
        let charter = self.records.get(&id)?.charter.as_ref()?;
        let shared = Shared::new(serde_json::to_vec(charter).ok()?);
        self.charters.insert(id, shared.clone());
        Some(shared)
    }

    /// The closing of an experiment that is over.
    pub(super) fn closing(&mut self, id: Id) -> Option<Shared> {
        if let Some(closing) = self.closings.get(&id) {
            return Some(closing.clone());
        }
        let record = self
            .records
            .get(&id)
            .filter(|record| record.state.is_over())?;
        let closing = Closing {
            experiment: id,
            state: record.state,
            reason: record.reason.clone(),
            rounds: self.figures.get(&id).map_or(0, |figures| figures.round),
            model_sha256: record.run.clone(),
        };
        let shared = Shared::new(serde_json::to_vec(&closing).ok()?);
        self.closings.insert(id, shared.clone());
        Some(shared)
    }

    /// A site has dealt with a paper that is no message.
    pub(super) fn dealt(&mut self, id: Id, site: &str) {
        let Some(record) = self.records.get(&id) else {
            return;
        };
        let key = (id, site.to_owned());
        match record.state.is_over() {
            true => self.closed.insert(key),
            false => self.chartered.insert(key),
        };
    }

    /// Whether a site still has to be given the charter.
    pub(super) fn wants_charter(&self, id: Id, site: &str) -> bool {
        !self.chartered.contains(&(id, site.to_owned()))
    }

    /// Whether a site still has to be told that an experiment is over.
    pub(super) fn wants_closing(&self, id: Id, site: &str) -> bool {
        !self.closed.contains(&(id, site.to_owned()))
    }
}
