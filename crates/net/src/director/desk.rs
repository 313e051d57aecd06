//! The director's desk: what is known of sites and experiments, and who is told what.
//!
//! Every change is in the store before anybody is told of it. The experiments' own rounds are on threads of their own
//! ([`super::worker`]); here they are only begun and ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_protocol::message::LayoutDigest;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::DirectorError;
use super::books::{Books, Figures, Presence};
use super::config::DirectorConfig;
use super::data::DataSets;
use super::hosted::Setup;
use super::run_folder::line;
use super::worker::{self, Order, words};
use crate::audit::AuditLog;
use crate::clock::{unix_now, unix_time};
use crate::experiment::{Answer, Charter, Id, Member, State};
use crate::pki::Name;
use crate::plan::{Plan, digest, to_hex};
use crate::store::{AnswerRecord, ExperimentRecord, Store, StoreError};
use crate::transport::{Credentials, Fault, FaultKind};

/// How long a missing answer is waited for once enough sites have accepted.
const ANSWERS: Duration = Duration::from_secs(60);

/// Sites that are told each time whom a round waits for; more are told once a round.
const FEW: usize = 20;

/// All that a director knows.
pub(crate) struct Desk {
    pub(super) federation: Name,
    pub(super) since: u64,
    pub(super) store: Arc<Store>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) data: DataSets,
    concurrent: usize,
    threads: usize,
    audit: AuditLog,
    books: Mutex<Books>,
    /// Held by whoever decides what becomes of an experiment that has not begun: two that do so at once would begin it twice.
    deciding: Mutex<()>,
    pub(super) presence: Mutex<BTreeMap<String, Presence>>,
    changes: watch::Sender<u64>,
    /// One for each site that ever attended.
    site_changes: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    pub(super) turned_away: AtomicU64,
    log: Box<dyn Fn(&str) + Send + Sync>,
}

impl Desk {
    /// The desk of a director with this config; experiments that were running go on when [`Self::resume`] is called.
    pub(crate) fn open(
        config: &DirectorConfig,
        credentials: Arc<Credentials>,
        log: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, DirectorError> {
        let store = Store::open(&config.state, &config.federation)?;
        let key = credentials.key();
        let audit = AuditLog::open(
            &audit_path(&config.state),
            key,
            &credentials.certificate_der(),
            &config.federation,
            unix_now(),
        )?;
        audit.append(
            unix_now(),
            &credentials.leaf().identity.to_string(),
            "started",
            json!({"version": env!("CARGO_PKG_VERSION")}),
        )?;
        let mut books = Books::default();
        for record in store.experiments()? {
            let rows = store.rows(record.id)?;
            let rows: Vec<_> = rows
                .iter()
                .filter_map(|row| serde_json::from_str(row).ok())
                .collect();
            books.figures.insert(record.id, Figures::of_rows(&rows));
            books.records.insert(record.id, record);
        }
        Ok(Self {
            federation: config.federation.clone(),
            since: unix_now(),
            store: Arc::new(store),
            credentials,
            data: DataSets::new(config.data.clone()),
            concurrent: config.concurrent as usize,
            threads: config.threads(),
            audit,
            books: Mutex::new(books),
            deciding: Mutex::default(),
            presence: Mutex::default(),
            changes: watch::Sender::new(0),
            site_changes: Mutex::default(),
            turned_away: AtomicU64::new(0),
            log,
        })
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn presence(&self) -> MutexGuard<'_, BTreeMap<String, Presence>> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for whoever watches the director's output.
    pub(crate) fn log(&self, line: &str) {
        (self.log)(line);
    }

    /// Something may be new for somebody.
    pub(super) fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Something is new for these sites.
    pub(super) fn wake_sites<'a>(&self, sites: impl Iterator<Item = &'a str>) {
        let known = self.site_changes.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        for changes in sites.filter_map(|site| known.get(site)) {
            changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Something is new for every site, as when an experiment begins or ends.
    pub(super) fn wake_all(&self) {
        let known = self.site_changes.lock();
        for changes in known.unwrap_or_else(PoisonError::into_inner).values() {
            changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.changed();
    }

    pub(super) fn subscribe_site(&self, site: &str) -> watch::Receiver<u64> {
        let known = self.site_changes.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.entry(site.to_owned()).or_default().subscribe()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts an act into the audit log. Trouble with it is told, and ends nothing: what was done, was done.
    pub(super) fn note(&self, who: &str, what: &str, about: Value) {
        if let Err(error) = self.audit.append(unix_now(), who, what, about) {
            self.log(&format!("audit log: {}", words(&error)));
        }
    }

    /// Takes up what was running before the director stopped, and looks at what waits.
    pub(crate) fn resume(self: &Arc<Self>) {
        let books = self.books();
        let was = |state| -> Vec<ExperimentRecord> {
            let records = books.records.values();
            records
                .filter(|record| record.state == state)
                .cloned()
                .collect()
        };
        let (running, offered) = (was(State::Running), was(State::Offered));
        drop(books);
        for record in running {
            self.launch(record);
        }
        for record in offered {
            self.consider(record.id);
        }
        self.start_next();
    }

    /// What happens by time alone: to be called about once a second.
    pub(crate) fn tend(self: &Arc<Self>) {
        self.lose_denied();
        let offered: Vec<Id> = {
            let books = self.books();
            let offered = books
                .records
                .values()
                .filter(|record| record.state == State::Offered);
            offered.map(|record| record.id).collect()
        };
        for id in offered {
            self.consider(id);
        }
    }

    /// Sites that are denied will not answer any more: rounds under way go on without them.
    fn lose_denied(&self) {
        let known: Vec<(String, String)> = {
            let presence = self.presence();
            let away = presence.iter().filter(|(_, known)| !known.attending);
            away.map(|(site, known)| (site.clone(), known.serial.clone()))
                .collect()
        };
        let denied = known
            .iter()
            .filter(|(_, serial)| self.credentials.denies(serial));
        let books = self.books();
        for (site, _) in denied {
            for running in books.running.values() {
                if let Some(client) = running.clients.get(site) {
                    // A thread that has ended waits for nobody.
                    let _ = running.orders.send(Order::Lose(*client));
                }
            }
        }
    }

    /// Ends all threads; experiments go on when the director starts again.
    pub(crate) fn stop(&self) {
        let mut threads = Vec::new();
        for running in self.books().running.values_mut() {
            let _ = running.orders.send(Order::Stop);
            threads.extend(running.thread.take());
        }
        for thread in threads {
            // A panic of it has been printed.
            let _ = thread.join();
        }
        self.note(
            &self.credentials.leaf().identity.to_string(),
            "stopped",
            json!({}),
        );
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

    /// Changes the state of an experiment that is not running.
    fn change(&self, id: Id, state: State, reason: &str) {
        if let Err(error) = self.store.set_state(id, state, reason) {
            return self.log(&format!("experiment {id}: {}", words(&error)));
        }
        // Told before it is over, so that nobody takes the story for ended who has not seen its end.
        self.tell_state(id, state, reason);
        if let Some(record) = self.books().records.get_mut(&id) {
            record.state = state;
            record.reason = reason.to_owned();
        }
        self.wake_all();
    }

    fn tell_state(&self, id: Id, state: State, reason: &str) {
        let told = line("state", &json!({"state": state, "reason": reason}));
        let told = told.and_then(|line| Ok(self.store.tell(id, &[line])?));
        if let Err(error) = told {
            self.log(&format!("experiment {id}: {}", words(&error)));
        }
        self.wake_all();
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
    fn start_next(self: &Arc<Self>) {
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
        let (experiment, _) = crate::plan::read(&record.config)?;
        let plan = Plan::new(experiment, record.contract.clone())?;
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

    fn launch(self: &Arc<Self>, record: ExperimentRecord) {
        let id = record.id;
        let parameters = crate::plan::read(&record.config)
            .and_then(|(experiment, _)| Plan::new(experiment, record.contract.clone()))
            .map_or(0, |plan| plan.parameters() as u64);
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

    /// An experiment's thread has ended it; the store knows.
    pub(crate) fn ended(self: &Arc<Self>, id: Id, state: State, reason: &str, model: &str) {
        if let Err(error) = self.store.note(id, model) {
            self.log(&format!("experiment {id}: {}", words(&error)));
        }
        self.tell_state(id, state, reason);
        let mut books = self.books();
        books.running.remove(&id);
        books.wanted_ends.remove(&id);
        if let Some(record) = books.records.get_mut(&id) {
            record.state = state;
            record.reason = reason.to_owned();
            record.run = model.to_owned();
        }
        let rounds = books.figures.get(&id).map_or(0, |figures| figures.round);
        if let Some(figures) = books.figures.get_mut(&id) {
            figures.waiting.clear();
        }
        drop(books);
        self.wake_all();
        self.note("director", "ended", json!({"experiment": id, "state": state, "reason": reason, "rounds": rounds, "model_sha256": model}));
        self.log(&format!("experiment {id}: {}", ending(state, reason)));
        if let Err(error) = self.store.forget(id) {
            self.log(&format!("experiment {id}: {}", words(&error)));
        }
        self.start_next();
    }

    /// The end that an operator wants for an experiment whose thread could not obey.
    pub(crate) fn wanted_end(&self, id: Id) -> Option<(State, String)> {
        self.books().wanted_ends.get(&id).cloned()
    }

    pub(crate) fn remember_end(&self, id: Id, state: State, reason: String) {
        self.books().wanted_ends.insert(id, (state, reason));
    }

    /// The last figures of an experiment at work.
    pub(crate) fn figures(&self, id: Id, figures: Figures) {
        let mut books = self.books();
        let few = books
            .running
            .get(&id)
            .is_some_and(|running| running.clients.len() <= FEW);
        let known = books.figures.entry(id).or_default();
        let is_new = known.round != figures.round || few && known.waiting != figures.waiting;
        match figures.round == 0 && known.round > 0 {
            // Trouble, which has no figures of its own.
            true => known.waiting = figures.waiting,
            false => *known = figures,
        }
        drop(books);
        match is_new {
            true => self.wake_all(),
            false => self.changed(),
        }
    }

    /// A site's answer to an offer.
    pub(super) fn answered(
        self: &Arc<Self>,
        site: &str,
        id: Id,
        answer: Answer,
    ) -> Result<crate::transport::Receipt, Fault> {
        use crate::transport::Receipt;
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
            let wanted = self
                .layout(&record)
                .map_err(|error| Fault::new(FaultKind::Internal, words(&error)))?;
            if *layout != wanted {
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

    fn layout(&self, record: &ExperimentRecord) -> Result<String, DirectorError> {
        let (experiment, _) = crate::plan::read(&record.config)?;
        let LayoutDigest(layout) = Plan::new(experiment, record.contract.clone())?.layout;
        Ok(to_hex(&layout))
    }

    pub(super) fn site_uri(&self, site: &str) -> String {
        format!("cloister://{}/site/{site}", self.federation.as_str())
    }

    pub(super) fn order_end(&self, id: Id, state: State, reason: String) {
        let books = self.books();
        if let Some(running) = books.running.get(&id) {
            let _ = running.orders.send(Order::End(state, reason));
        }
    }

    pub(super) fn record(&self, id: Id) -> Result<ExperimentRecord, Fault> {
        let record = self.books().records.get(&id).cloned();
        record.ok_or_else(|| Fault::new(FaultKind::Unknown, format!("there is no experiment {id}")))
    }
}

pub(super) fn accepts(answer: &Answer) -> bool {
    matches!(answer, Answer::Accept { .. })
}

pub(super) fn unavailable(error: &dyn std::error::Error) -> Fault {
    Fault::new(FaultKind::Unavailable, words(error))
}

/// How an experiment ended, in words.
pub(super) fn ending(state: State, reason: &str) -> String {
    let word = match state {
        State::Finished => "finished",
        State::Cancelled => "cancelled",
        State::Declined => "declined",
        State::Failed => "failed",
        State::Offered | State::Queued | State::Running => "goes on",
    };
    match reason {
        "" => word.to_owned(),
        reason => format!("{word}: {reason}"),
    }
}

/// Where the audit log is.
pub(crate) fn audit_path(state: &Path) -> std::path::PathBuf {
    state.join("audit.jsonl")
}

/// Counts a call that was turned away.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The clock in milliseconds, for whoever wants to compare clocks.
pub(super) fn milliseconds() -> u64 {
    u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX)
}
