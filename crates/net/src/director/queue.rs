//! Experiments that have not begun: the sites' answers, the decision, the charter, the start.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_host::to_hex;
use serde_json::json;

use super::DirectorError;
use super::desk::{Desk, ending, unavailable};
use super::hosted::Setup;
use super::run_folder::line;
use super::worker::{self, words};
use crate::clock::unix_now;
use crate::experiment::{Answer, Charter, Id, Member, State};
use crate::plan::digest;
use crate::store::{AnswerRecord, ExperimentRecord, StoreError};
use crate::transport::{Fault, FaultKind, Receipt};

/// How long a missing answer is waited for once enough sites have accepted.
const ANSWERS: Duration = Duration::from_secs(60);

impl Desk {
    /// A site's answer to an offer.
    pub(super) fn answered(
        self: &Arc<Self>,
        site: &str,
        id: Id,
        answer: Answer,
    ) -> Result<Receipt, Fault> {
        let record = self.record(id)?;
        if let (Answer::Decline { reason }, State::Running) = (&answer, record.state) {
            // It had accepted, and the charter does not fit.
            let reason = format!("{site} takes no part after all: {reason}");
            self.order_end(id, State::Failed, reason);
            return Ok(Receipt::Taken);
        }
        if record.state != State::Offered {
            return Ok(Receipt::Repeated);
        }
        if let Answer::Accept { examples, layout } = &answer {
            let plan = self.plan(&record);
            let plan = plan.map_err(|error| Fault::new(FaultKind::Internal, words(&error)))?;
            if *layout != to_hex(&plan.layout.0) {
                return Ok(Receipt::Refused(
                    "its model has another layout than the director's: are the versions the same?"
                        .to_owned(),
                ));
            }
            if *examples == 0 {
                return Ok(Receipt::Refused("it has no example to train on".to_owned()));
            }
        }
        let certificate = self
            .presence()
            .get(site)
            .map(|presence| to_hex(&presence.certificate));
        let stored = AnswerRecord {
            answer: answer.clone(),
            certificate: certificate.unwrap_or_default(),
            when: unix_now(),
        };
        let fresh = self
            .store
            .answer(id, site, stored.clone())
            .or_else(|error| match error {
                // Decided in this moment.
                StoreError::Over { .. } => Ok(false),
                error => Err(unavailable(&error)),
            })?;
        if !fresh {
            return Ok(Receipt::Repeated);
        }
        if let Some(record) = self.books().records.get_mut(&id) {
            record.answers.insert(site.to_owned(), stored);
        }
        self.note(
            &self.site_uri(site),
            "answered",
            json!({"experiment": id, "answer": answer}),
        );
        let told = line("answer", &json!({"site": site, "answer": answer}));
        let _ = told.map(|line| self.store.tell(id, &[line]));
        self.consider(id);
        self.wake_sites(std::iter::once(site));
        self.changed();
        Ok(Receipt::Taken)
    }

    /// Looks whether the answers to an offer decide it.
    pub(super) fn consider(self: &Arc<Self>, id: Id) {
        let _one = self.deciding();
        self.decide(id);
        self.begin_queued();
    }

    fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, id: Id) {
        let record = self.books().records.get(&id).cloned();
        let Some(record) = record.filter(|record| record.state == State::Offered) else {
            return;
        };
        let accepted = record
            .answers
            .values()
            .filter(|record| accepts(&record.answer))
            .count();
        let open = record.sites.len() - record.answers.len();
        let minimum = record.minimum as usize;
        let waited = Duration::from_secs(unix_now().saturating_sub(record.submitted));
        if accepted + open < minimum {
            let declined = record
                .answers
                .iter()
                .filter(|(_, answer)| !accepts(&answer.answer));
            let sites: Vec<&str> = declined.map(|(site, _)| site.as_str()).collect();
            let reason = format!("{} declined, {minimum} sites are needed", sites.join(", "));
            self.close_unbegun(id, State::Declined, &reason);
        } else if accepted >= minimum && (open == 0 || waited >= ANSWERS) {
            self.change(id, State::Queued, "");
        }
    }

    /// Ends an experiment that has not begun; false if it has meanwhile.
    pub(super) fn end_unbegun(&self, id: Id, state: State, reason: &str) -> bool {
        let _one = self.deciding();
        let books = self.books();
        let now = books.records.get(&id).map(|record| record.state);
        drop(books);
        let unbegun = matches!(now, Some(State::Offered | State::Queued));
        if unbegun {
            self.close_unbegun(id, state, reason);
        }
        unbegun
    }

    fn close_unbegun(&self, id: Id, state: State, reason: &str) {
        self.change(id, state, reason);
        self.note(
            "director",
            "ended",
            json!({"experiment": id, "state": state, "reason": reason}),
        );
        self.log(&format!("experiment {id}: {}", ending(state, reason)));
    }

    /// Begins queued experiments, in their order, while there is room.
    pub(super) fn start_next(self: &Arc<Self>) {
        let _one = self.deciding();
        self.begin_queued();
    }

    fn begin_queued(self: &Arc<Self>) {
        loop {
            let next = {
                let books = self.books();
                let room = books.running.len() < self.concurrent;
                let mut queued = books
                    .records
                    .values()
                    .filter(|record| record.state == State::Queued);
                queued.next().filter(|_| room).cloned()
            };
            let Some(record) = next else { return };
            let id = record.id;
            match self.charter(&record) {
                Ok(chartered) => self.launch(chartered),
                Err(error) => self.close_unbegun(id, State::Failed, &words(&error)),
            }
        }
    }

    /// Fixes who takes part.
    fn charter(&self, record: &ExperimentRecord) -> Result<ExperimentRecord, DirectorError> {
        let mut members = Vec::new();
        for site in &record.sites {
            let Some(AnswerRecord {
                answer: Answer::Accept { examples, .. },
                certificate,
                ..
            }) = record.answers.get(site)
            else {
                continue;
            };
            members.push(Member {
                site: site.clone(),
                client: members.len() as u32,
                examples: *examples,
                certificate: certificate.clone(),
            });
        }
        let charter = Charter {
            experiment: record.id,
            config_sha256: digest(record.config.as_bytes()),
            members,
            director: to_hex(&self.credentials.certificate_der()),
        };
        let plan = self.plan(record)?;
        let examples: Vec<u64> = charter
            .members
            .iter()
            .map(|member| member.examples)
            .collect();
        plan.privacy(&examples)?;
        plan.secure(&charter, &self.credentials.authority_der(), unix_now())?;
        self.store.charter(record.id, &charter)?;
        let chartered = self.store.experiment(record.id)?;
        self.books().records.insert(record.id, chartered.clone());
        let sites: Vec<&str> = charter
            .members
            .iter()
            .map(|member| member.site.as_str())
            .collect();
        self.note(
            "director",
            "began",
            json!({"experiment": record.id, "sites": sites}),
        );
        self.log(&format!(
            "experiment {} ({}) begins with {}",
            record.id,
            record.name,
            sites.join(", ")
        ));
        let known = self.data.get(&record.contract.dataset).ok().flatten();
        let begun = json!({
            "name": record.name,
            "dataset": record.contract.dataset,
            "train": examples.iter().sum::<u64>(),
            "test": known.and_then(|(_, test)| test).map_or(0, |test| test.labels().len()),
            "sites": charter.members.len(),
            "rounds": record.rounds,
            "model": plan.experiment.model.kind(),
            "parameters": plan.parameters(),
            "classes": record.contract.classes.len(),
        });
        self.store.tell(record.id, &[line("begun", &begun)?])?;
        self.tell_state(record.id, State::Running, "");
        Ok(chartered)
    }

    /// Starts the thread of an experiment that has a charter.
    pub(super) fn launch(self: &Arc<Self>, record: ExperimentRecord) {
        let id = record.id;
        let plan = self.plan(&record);
        let parameters = plan.map_or(0, |plan| plan.parameters() as u64);
        let members = record
            .charter
            .as_ref()
            .map_or(0, |charter| charter.members.len() as u64);
        let test = match self.data.get(&record.contract.dataset) {
            Ok(known) => known.and_then(|(_, test)| test),
            Err(error) => {
                self.log(&format!("experiment {id}: not measured: {}", words(&error)));
                None
            }
        };
        let setup = Setup {
            store: Arc::clone(&self.store),
            authority: self.credentials.authority_der(),
            identity: self.credentials.key().secagg(),
            threads: self.threads,
            test,
        };
        // A masked lane has at most eight bytes; shares and lists of members grow with the cohort.
        let longest = 64 * 1024 + 9 * parameters + 1024 * members;
        let mut books = self.books();
        let running = worker::start(Arc::clone(self), record, setup, longest);
        books.running.insert(id, running);
        drop(books);
        self.wake_all();
    }
}

fn accepts(answer: &Answer) -> bool {
    matches!(answer, Answer::Accept { .. })
}
