//! What operators and the director's page are told.

use std::sync::atomic::Ordering;

use super::books::Books;
use super::desk::Desk;
use crate::clock::unix_now;
use crate::experiment::{ExperimentStatus, SiteAnswer, SiteStatus, State, Status};
use crate::store::ExperimentRecord;

impl Desk {
    /// All there is to tell.
    pub(crate) fn status(&self) -> Status {
        let books = self.books();
        let experiments = books.records.values().rev();
        let experiments = experiments
            .map(|record| experiment(&books, record))
            .collect();
        let mut names: Vec<String> = books
            .records
            .values()
            .flat_map(|record| record.sites.clone())
            .collect();
        drop(books);
        let presence = self.presence();
        names.extend(presence.keys().cloned());
        names.sort();
        names.dedup();
        let sites = names.into_iter().map(|name| {
            let known = presence.get(&name).cloned().unwrap_or_default();
            SiteStatus {
                name,
                attending: known.attending,
                seen: known.seen,
                software: known.software,
                certificate_until: known.until,
            }
        });
        Status {
            federation: self.federation.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: unix_now(),
            since: self.since,
            sites: sites.collect(),
            experiments,
            turned_away: self.turned_away.load(Ordering::Relaxed),
        }
    }
}

fn experiment(books: &Books, record: &ExperimentRecord) -> ExperimentStatus {
    let figures = books.figures.get(&record.id).cloned().unwrap_or_default();
    let reason = match record.state {
        State::Running => figures.waiting,
        State::Offered => {
            let missing = record
                .sites
                .iter()
                .filter(|site| !record.answers.contains_key(*site));
            let missing: Vec<&str> = missing.map(String::as_str).collect();
            format!("waiting for the answer of {}", missing.join(", "))
        }
        _ => record.reason.clone(),
    };
    let answers = record.sites.iter().map(|site| SiteAnswer {
        site: site.clone(),
        answer: record.answers.get(site).map(|record| record.answer.clone()),
    });
    ExperimentStatus {
        id: record.id,
        name: record.name.clone(),
        operator: record.operator.clone(),
        submitted: record.submitted,
        state: record.state,
        reason,
        round: figures.round,
        rounds: record.rounds,
        answers: answers.collect(),
        train_loss: figures.train_loss,
        accuracy: figures.accuracy,
        epsilon: figures.epsilon,
        refused: figures.refused,
        bytes_up: figures.bytes_up,
        bytes_down: figures.bytes_down,
    }
}
