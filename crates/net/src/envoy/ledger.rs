//! What all experiments on a site's data have cost, on its own disk.
//!
//! One hash-chained [`Ledger`] a data set, `ledger/DATASET.jsonl`. An entry is committed before the training whose result may
//! leave. It names the experiment by a tag that is drawn when its charter is accepted, so that an entry that is there for a round
//! means that this very training was begun; if its answer was never stored, nothing of it has left, and repeating it costs
//! nothing. A ledger that goes on beyond that round contradicts the memory (an old copy of it was put back, say): then the
//! repetition is charged again. A memory that is exactly one round old cannot be told from a crash.
//!
//! # Units and neighbours
//! There is one account a unit, clients and examples, and each must stay within the budget. A release that protects clients counts
//! for the clients' account under its own relation. Once there is a release that protects examples, the examples'
//! account holds all releases: one that hides a whole client hides an example of it too, but as a client that is exchanged for another, so that
//! the stricter [`Neighbouring::ReplaceOne`] is asked. Releases under different relations in one account are
//! asked under `ReplaceOne` as well, since it implies the others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_privacy::accounting::{self, Question};
use cloister_privacy::{Entry, Event, Ledger, LedgerError, Mark, Neighbouring, PrivacyError, Unit};
use cloister_protocol::PrivacyPlan;

use super::{Budget, EnvoyError};

/// How much more than the budget is rounding.
const ROUNDING: f64 = 1e-9;

/// Something that left the site, or will.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Whose data it protects.
    pub unit: Unit,
    /// Which data sets it holds apart.
    pub relation: Neighbouring,
    /// What it is.
    pub event: Event,
    /// How often.
    pub count: u64,
}

/// What a site with `own` examples releases by so many `trainings` of its own in the rounds after `from`, up to `to`. What a
/// director or a cohort releases of all is counted in each round, also where the site was not called: the accounting
/// of secret coins has it so. Without a plan the releases have no noise.
///
/// # Errors
/// [`PrivacyError`] for what cannot be accounted.
pub fn releases_of(
    plan: Option<&PrivacyPlan>,
    own: u64,
    trainings: u64,
    from: u32,
    to: u32,
) -> Result<Vec<Release>, PrivacyError> {
    let Some(plan) = plan else {
        let release = Release {
            unit: Unit::Client,
            relation: Neighbouring::ZeroOut,
            event: Event::NotPrivate {
                reason: "training without a mechanism".to_owned(),
            },
            count: trainings,
        };
        return Ok(Vec::from_iter((trainings > 0).then_some(release)));
    };
    let mut releases = Vec::new();
    let mut add = |event, count| {
        if count > 0 {
            releases.push(Release {
                unit: plan.config().mechanism.unit(),
                relation: plan.neighbouring(),
                event,
                count,
            });
        }
    };
    if let Some((event, count)) = plan.client_event(own) {
        add(event, count.saturating_mul(trainings));
    }
    if let Some(event) = plan.round_event() {
        add(event, u64::from(to.saturating_sub(from)));
    }
    if from == 0
        && trainings > 0
        && let Some(event) = plan.run_event(0)
    {
        add(event?, 1);
    }
    Ok(releases)
}

/// Releases, equal ones counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    releases: Vec<Release>,
}

impl Account {
    /// The account with more releases.
    #[must_use]
    pub fn with(&self, more: &[Release]) -> Self {
        let mut account = self.clone();
        for release in more {
            account.add(release);
        }
        account
    }

    fn add(&mut self, release: &Release) {
        let same = |known: &&mut Release| {
            known.unit == release.unit
                && known.relation == release.relation
                && known.event == release.event
        };
        match self.releases.iter_mut().find(same) {
            Some(known) => known.count = known.count.saturating_add(release.count),
            None => self.releases.push(release.clone()),
        }
    }

    /// The larger loss of the two accounts at `delta`; 0 if nothing was released, infinite if something had no noise.
    ///
    /// # Errors
    /// [`PrivacyError`] for releases that cannot be accounted together.
    pub fn epsilon(&self, delta: f64) -> Result<f64, PrivacyError> {
        let is_client = |release: &&Release| release.unit == Unit::Client;
        let clients: Vec<&Release> = self.releases.iter().filter(is_client).collect();
        let mut epsilon = loss(&clients, false, delta)?;
        if clients.len() < self.releases.len() {
            let all: Vec<&Release> = self.releases.iter().collect();
            epsilon = epsilon.max(loss(&all, !clients.is_empty(), delta)?);
        }
        Ok(epsilon)
    }

    /// The loss with `more`, if that is above the budget.
    ///
    /// # Errors
    /// As [`Self::epsilon`].
    pub fn would_exceed(
        &self,
        more: &[Release],
        budget: &Budget,
    ) -> Result<Option<f64>, PrivacyError> {
        let epsilon = self.with(more).epsilon(budget.delta)?;
        let within = epsilon <= budget.epsilon * (1.0 + ROUNDING);
        Ok((!within).then_some(epsilon))
    }
}

/// The loss of releases under one relation, `ReplaceOne` if they have several or if it is to be strict.
fn loss(releases: &[&Release], strict: bool, delta: f64) -> Result<f64, PrivacyError> {
    let Some(first) = releases.first() else {
        return Ok(0.0);
    };
    let is_bare = |release: &&Release| matches!(release.event, Event::NotPrivate { .. });
    if releases.iter().any(is_bare) {
        return Ok(f64::INFINITY);
    }
    let mixed = releases
        .iter()
        .any(|release| release.relation != first.relation);
    let relation = match mixed || strict {
        true => Neighbouring::ReplaceOne,
        false => first.relation,
    };
    let events = releases.iter().map(|release| Event::Repeated {
        event: Box::new(release.event.clone()),
        count: release.count,
    });
    let mut events: Vec<Event> = events.collect();
    let event = match (events.len(), events.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            events.extend(last);
            Event::Composed { events }
        }
    };
    let question = Question::new(relation, delta);
    // As fine as whoever calibrates to a budget: a run that was made to fit must not be turned away for the error.
    let question = Question {
        error: 0.1 * question.error,
        ..question
    };
    Ok(accounting::epsilon(&event, &question)?.epsilon)
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Charge {
    /// It is on the disk, or was before.
    Committed,
    /// It would bring the loss to this, above the budget; nothing was written.
    Exceeds(f64),
}

/// Which experiment a charge is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged<'a> {
    pub(super) dataset: &'a str,
    /// Names the experiment, and this site's part in it.
    pub(super) tag: &'a str,
    pub(super) plan: Option<&'a PrivacyPlan>,
    /// The site's examples.
    pub(super) own: u64,
}

/// The ledgers of a site.
#[derive(Debug)]
pub struct SiteLedger {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<String, Book>,
    /// Where each stood when it was last known to.
    marks: BTreeMap<String, Mark>,
}

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    account: Account,
    /// The last round charged, by tag.
    rounds: BTreeMap<String, u32>,
}

impl SiteLedger {
    /// The ledgers in a folder, which is made. Each must reach its mark.
    ///
    /// # Errors
    /// [`EnvoyError::File`].
    pub fn open(folder: &Path, marks: BTreeMap<String, Mark>) -> Result<Self, EnvoyError> {
        fs::create_dir_all(folder).map_err(EnvoyError::file("make", folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                open: BTreeMap::new(),
                marks,
            }),
        })
    }

    /// What was released of a data set so far.
    ///
    /// # Errors
    /// [`EnvoyError::Ledger`].
    pub fn account(&self, dataset: &str) -> Result<Account, EnvoyError> {
        let mut state = self.lock();
        if !state.open.contains_key(dataset) && !self.path(dataset).exists() {
            // A data set that was never trained on.
            if let Some(mark) = state.marks.get(dataset) {
                return Err(self.missing(dataset, mark).into());
            }
            return Ok(Account::default());
        }
        Ok(self.book(&mut state, dataset)?.account.clone())
    }

    /// Where the ledger of a data set stands; `None` if it was not used.
    pub fn mark(&self, dataset: &str) -> Option<Mark> {
        self.lock().marks.get(dataset).cloned()
    }

    /// The last round of an experiment that was charged; 0 for none.
    ///
    /// # Errors
    /// [`EnvoyError::Ledger`].
    pub(super) fn last_round(&self, dataset: &str, tag: &str) -> Result<u32, EnvoyError> {
        if !self.path(dataset).exists() {
            return Ok(0);
        }
        let mut state = self.lock();
        let book = self.book(&mut state, dataset)?;
        Ok(book.rounds.get(tag).copied().unwrap_or(0))
    }

    /// Charges a training in `round` before it begins. One that is on the ledger as the experiment's last has been begun before
    /// and never left.
    pub(super) fn charge(
        &self,
        charged: Charged<'_>,
        round: u32,
        budget: Option<&Budget>,
    ) -> Result<Charge, EnvoyError> {
        let mut state = self.lock();
        let book = self.book(&mut state, charged.dataset)?;
        let last = book.rounds.get(charged.tag).copied().unwrap_or(0);
        if last == round {
            return Ok(Charge::Committed);
        }
        // Beyond the round only if the memory is older than the ledger: then the round is charged again.
        let from = last.min(round.saturating_sub(1));
        let releases = releases_of(charged.plan, charged.own, 1, from, round)?;
        if let Some(budget) = budget
            && let Some(epsilon) = book.account.would_exceed(&releases, budget)?
        {
            return Ok(Charge::Exceeds(epsilon));
        }
        self.commit(&mut state, charged, round, releases)?;
        Ok(Charge::Committed)
    }

    /// Charges the rounds up to `rounds` in which the site was not called.
    pub(super) fn settle(&self, charged: Charged<'_>, rounds: u32) -> Result<(), EnvoyError> {
        let last = self.last_round(charged.dataset, charged.tag)?;
        let releases = releases_of(charged.plan, charged.own, 0, last, rounds)?;
        if rounds > last && !releases.is_empty() {
            self.commit(&mut self.lock(), charged, rounds, releases)?;
        }
        Ok(())
    }

    fn commit(
        &self,
        state: &mut State,
        charged: Charged<'_>,
        round: u32,
        releases: Vec<Release>,
    ) -> Result<(), EnvoyError> {
        let Charged { dataset, tag, .. } = charged;
        let entries = releases.iter().map(|release| Entry {
            round,
            holder: holder(release, tag),
            event: release.event.clone(),
            count: release.count,
        });
        let entries = entries.collect();
        let book = self.book(state, dataset)?;
        if let Err(error) = book.ledger.commit(round, entries) {
            // What of it is on the disk is known only after it is opened anew.
            state.open.remove(dataset);
            return Err(error.into());
        }
        for release in &releases {
            book.account.add(release);
        }
        book.rounds.insert(tag.to_owned(), round);
        let mark = book.ledger.mark();
        state.marks.insert(dataset.to_owned(), mark);
        Ok(())
    }

    fn book<'a>(&self, state: &'a mut State, dataset: &str) -> Result<&'a mut Book, EnvoyError> {
        let State { open, marks } = state;
        if !open.contains_key(dataset) {
            let book = self.read(dataset, marks.get(dataset))?;
            open.insert(dataset.to_owned(), book);
        }
        match open.get_mut(dataset) {
            Some(book) => Ok(book),
            // It was put there a line above.
            None => Err(self.missing(dataset, &Mark::default()).into()),
        }
    }

    fn read(&self, dataset: &str, mark: Option<&Mark>) -> Result<Book, EnvoyError> {
        let path = self.path(dataset);
        let name = format!("ledger of the data set {dataset}");
        if !path.exists() {
            if let Some(mark) = mark {
                return Err(self.missing(dataset, mark).into());
            }
            self.create(&path, &name)?;
        }
        let mark = match mark {
            Some(mark) => mark.clone(),
            None => Ledger::read(&path)?.mark(),
        };
        let ledger = Ledger::reopen(&path, &name, &mark, true)?;
        let mut account = Account::default();
        let mut rounds: BTreeMap<String, u32> = BTreeMap::new();
        for (entry, line) in ledger.entries().iter().zip(2..) {
            let Some((unit, relation, tag)) = read_holder(&entry.holder) else {
                let reason = format!("'{}' is no holder of a site's ledger", entry.holder);
                return Err(LedgerError::Broken { path, line, reason }.into());
            };
            account.add(&Release {
                unit,
                relation,
                event: entry.event.clone(),
                count: entry.count,
            });
            let last = rounds.entry(tag.to_owned()).or_default();
            *last = entry.round.max(*last);
        }
        Ok(Book {
            ledger,
            account,
            rounds,
        })
    }

    /// Makes a ledger under another name first: one without its first line could never be opened again.
    fn create(&self, path: &Path, name: &str) -> Result<(), EnvoyError> {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EnvoyError::file("remove", &new)(error));
            }
            _ => {}
        }
        drop(Ledger::create(&new, name, true)?);
        fs::rename(&new, path).map_err(EnvoyError::file("make", path))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(EnvoyError::file("sync", &self.folder))
    }

    fn missing(&self, dataset: &str, mark: &Mark) -> LedgerError {
        LedgerError::Broken {
            path: self.path(dataset),
            line: 1,
            reason: format!("is gone; it had {} entries", mark.entries),
        }
    }

    fn path(&self, dataset: &str) -> PathBuf {
        self.folder.join(format!("{dataset}.jsonl"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holder(release: &Release, tag: &str) -> String {
    let unit = match release.unit {
        Unit::Example => "example",
        Unit::Client => "client",
    };
    let relation = match release.relation {
        Neighbouring::AddRemove => "add-remove",
        Neighbouring::ReplaceOne => "replace-one",
        Neighbouring::ZeroOut => "zero-out",
    };
    format!("{unit}/{relation}/{tag}")
}

fn read_holder(holder: &str) -> Option<(Unit, Neighbouring, &str)> {
    let (unit, rest) = holder.split_once('/')?;
    let (relation, tag) = rest.split_once('/')?;
    let unit = match unit {
        "example" => Unit::Example,
        "client" => Unit::Client,
        _ => return None,
    };
    let relation = match relation {
        "add-remove" => Neighbouring::AddRemove,
        "replace-one" => Neighbouring::ReplaceOne,
        "zero-out" => Neighbouring::ZeroOut,
        _ => return None,
    };
    Some((unit, relation, tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_privacy::{Mechanism, PrivacyConfig};
    use cloister_protocol::{FederationConfig, TrainConfig};

    fn plan(mechanism: Mechanism) -> PrivacyPlan {
        let config: PrivacyConfig = serde_json::from_value(serde_json::json!({
            "mechanism": mechanism.name(), "noise_multiplier": 2.0, "delta": 1e-5
        }))
        .unwrap();
        let federation = FederationConfig::default();
        PrivacyPlan::new(
            &config,
            &federation,
            &TrainConfig::default(),
            &[200, 200, 200],
            None,
        )
        .unwrap()
    }

    fn charged<'a>(plan: Option<&'a PrivacyPlan>, tag: &'a str) -> Charged<'a> {
        Charged {
            dataset: "heart",
            tag,
            plan,
            own: 200,
        }
    }

    #[test]
    fn a_training_that_never_left_is_charged_once_and_all_else_always() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(Mechanism::DpSgd);
        let open = |marks| SiteLedger::open(folder.path(), marks).unwrap();
        let ledger = open(BTreeMap::new());
        let entries = || Ledger::read(&folder.path().join("heart.jsonl")).unwrap();
        for round in [1, 2, 2] {
            let charge = ledger.charge(charged(Some(&plan), "1-a"), round, None);
            assert_eq!(charge.unwrap(), Charge::Committed);
        }
        assert_eq!(entries().entries().len(), 2);
        drop(ledger);
        // After a restart too; another experiment of that number is another one.
        let ledger = open(BTreeMap::from([("heart".to_owned(), entries().mark())]));
        ledger.charge(charged(Some(&plan), "1-a"), 2, None).unwrap();
        assert_eq!(entries().entries().len(), 2);
        ledger.charge(charged(Some(&plan), "1-b"), 2, None).unwrap();
        assert_eq!(entries().entries().len(), 3);
        // A memory that has gone back by more than a round.
        ledger.charge(charged(Some(&plan), "1-a"), 1, None).unwrap();
        assert_eq!(entries().entries().len(), 4);
    }

    #[test]
    fn a_ledger_that_lost_what_was_known_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(Mechanism::DpSgd);
        let ledger = SiteLedger::open(folder.path(), BTreeMap::new()).unwrap();
        ledger.charge(charged(Some(&plan), "1-a"), 1, None).unwrap();
        let marks = BTreeMap::from([("heart".to_owned(), ledger.mark("heart").unwrap())]);
        drop(ledger);
        fs::remove_file(folder.path().join("heart.jsonl")).unwrap();
        let ledger = SiteLedger::open(folder.path(), marks).unwrap();
        let error = ledger.account("heart").unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
        let error = ledger
            .charge(charged(Some(&plan), "1-a"), 2, None)
            .unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
    }

    #[test]
    fn rounds_of_the_director_count_also_where_the_site_was_not_called() {
        let plan = plan(Mechanism::CentralGaussian);
        let releases = releases_of(Some(&plan), 200, 1, 2, 5).unwrap();
        assert_eq!(releases.len(), 1);
        assert_eq!(releases[0].count, 3);
        let folder = tempfile::tempdir().unwrap();
        let ledger = SiteLedger::open(folder.path(), BTreeMap::new()).unwrap();
        let this = charged(Some(&plan), "1-a");
        ledger.charge(this, 3, None).unwrap();
        ledger.settle(this, 10).unwrap();
        ledger.settle(this, 10).unwrap();
        let whole = Account::default().with(&releases_of(Some(&plan), 200, 10, 0, 10).unwrap());
        assert_eq!(ledger.account("heart").unwrap(), whole);
    }

    #[test]
    fn no_noise_is_an_unlimited_loss_and_units_are_read_strictly() {
        let bare = Account::default().with(&releases_of(None, 200, 1, 0, 1).unwrap());
        assert_eq!(bare.epsilon(1e-5).unwrap(), f64::INFINITY);
        assert_eq!(Account::default().epsilon(1e-5).unwrap(), 0.0);
        let of = |mechanism| releases_of(Some(&plan(mechanism)), 200, 1, 0, 1).unwrap();
        let example = Account::default().with(&of(Mechanism::DpSgd));
        let client = Account::default().with(&of(Mechanism::CentralGaussian));
        let both = example.with(&of(Mechanism::CentralGaussian));
        let epsilon = |account: &Account| account.epsilon(1e-5).unwrap();
        // More than each alone, and more than the client's under its own relation.
        assert!(epsilon(&both) > epsilon(&example).max(epsilon(&client)));
        // Mixed relations: as if all were replacements.
        let mixed = client.with(&of(Mechanism::LocalGaussian));
        let local = Account::default().with(&of(Mechanism::LocalGaussian));
        let twice = local.with(&of(Mechanism::LocalGaussian));
        assert!((epsilon(&mixed) - epsilon(&twice)).abs() < 1e-3);
        assert!(epsilon(&local) > epsilon(&client));
    }
}
