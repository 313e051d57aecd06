//! The director's page, its metrics and its health, for whoever sits at the director's machine.
//!
//! | route | is |
//! | --- | --- |
//! | `/` | the federation: experiments, sites |
//! | `/experiments/ID` | one experiment: curves, answers, what happened |
//! | `/experiments/ID/report` | the report of its run, also while it goes on |
//! | `/live` | server-sent events: something has changed |
//! | `/status.json` | [`crate::experiment::Status`] |
//! | `/healthz` | 200 while the store answers |
//! | `/metrics` | for Prometheus; nothing in it tells one site from another |
//!
//! It only reads. It asks for no password, so it is bound to loopback, and answers only who calls it by a loopback name:
//! else any web page that the operator has open could read it, by a name of its own that leads here.

mod chronicle;
mod curve;
mod guard;
mod live;
mod metrics;
mod overview;
mod parts;
mod routes;
mod serve;
mod single;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::desk::Desk;
use crate::experiment::{Id, State, Status};
use crate::store::StoreError;
use chronicle::{Chronicle, Chronicles};

pub(super) use serve::serve;

/// Live pages that are open at the same time; fewer than connections, so that there is always room for a question.
const STREAMS: usize = 48;
/// Pages that are put together at the same time.
const RENDERS: usize = 4;

/// What all calls share.
struct Hall {
    desk: Arc<Desk>,
    chronicles: Mutex<Chronicles>,
    /// What each experiment waits for, and since when.
    waits: Mutex<BTreeMap<Id, (String, u64)>>,
    streams: Arc<Semaphore>,
    renders: Semaphore,
    stopping: watch::Receiver<bool>,
}

impl Hall {
    fn new(desk: Arc<Desk>, stopping: watch::Receiver<bool>) -> Self {
        Self {
            desk,
            chronicles: Mutex::default(),
            waits: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            renders: Semaphore::new(RENDERS),
            stopping,
        }
    }

    /// All there is to tell, with what is waited for noted.
    fn status(&self) -> Status {
        let status = self.desk.status();
        self.notice(&status);
        status
    }

    /// Remembers since when experiments wait for what they wait for. A wait of a round goes on when one of several sites has
    /// answered.
    fn notice(&self, status: &Status) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *waits);
        for experiment in &status.experiments {
            if experiment.state.is_over() {
                continue;
            }
            let subject = experiment.reason.split(':').next().unwrap_or_default();
            let subject = format!("{:?} {subject}", experiment.state);
            let entry = match before.get(&experiment.id) {
                _ if experiment.state == State::Offered => (subject, experiment.submitted),
                Some((known, since)) if *known == subject => (subject, *since),
                _ => (subject, status.now),
            };
            waits.insert(experiment.id, entry);
        }
    }

    /// Since when an experiment waits for what it waits for.
    fn waits_since(&self, id: Id) -> Option<u64> {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.get(&id).map(|(_, since)| *since)
    }

    /// What has happened in an experiment.
    fn chronicle(&self, id: Id) -> Result<Arc<Chronicle>, StoreError> {
        let mut chronicles = self
            .chronicles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        chronicles.read(&self.desk, id)
    }
}
