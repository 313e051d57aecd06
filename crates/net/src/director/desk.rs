//! The director's desk: what is known of sites and experiments, and who is told what.
//!
//! Every change is in the store before anybody is told of it. The experiments' own rounds are on threads of their own
//! ([`super::worker`]); here they are only begun and ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::DirectorError;
use super::books::{Books, Figures, Presence};
use super::config::DirectorConfig;
use super::data::DataSets;
use super::run_folder::line;
use super::worker::{Order, words};
use crate::audit::AuditLog;
use crate::clock::{unix_now, unix_time};
use crate::experiment::{Id, State};
use crate::pki::Name;
use crate::plan::{Plan, PlanError};
use crate::store::{ExperimentRecord, Store};
use crate::transport::{Credentials, Fault, FaultKind};

/// Sites that are told each time whom a round waits for; more are told once a round.
const FEW: usize = 20;

/// All that a director knows.
pub(crate) struct Desk {
    pub(super) federation: Name,
    pub(super) since: u64,
    pub(super) store: Arc<Store>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) data: DataSets,
    pub(super) concurrent: usize,
    pub(super) threads: usize,
    audit: AuditLog,
    books: Mutex<Books>,
    /// Held by whoever decides what becomes of an experiment that has not begun: two that do so at once would begin it twice.
    pub(super) deciding: Mutex<()>,
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

    /// Changes the state of an experiment that is not running.
    pub(super) fn change(&self, id: Id, state: State, reason: &str) {
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

    /// Puts a state into the story; whoever is to know is woken by the caller, when it counts.
    pub(super) fn tell_state(&self, id: Id, state: State, reason: &str) {
        let told = line("state", &json!({"state": state, "reason": reason}));
        let told = told.and_then(|line| Ok(self.store.tell(id, &[line])?));
        if let Err(error) = told {
            self.log(&format!("experiment {id}: {}", words(&error)));
        }
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
        books.plans.remove(&id);
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

    /// What is built from an experiment's words: once, however many sites answer.
    pub(super) fn plan(&self, record: &ExperimentRecord) -> Result<Arc<Plan>, PlanError> {
        if let Some(plan) = self.books().plans.get(&record.id) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::of(&record.config, &record.contract)?);
        self.books().plans.insert(record.id, Arc::clone(&plan));
        Ok(plan)
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
