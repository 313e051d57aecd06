//! What the director must not forget: experiments, answers, the round in progress, what rounds have come to.
//!
//! In the director's folder:
//!
//! | file | holds |
//! | --- | --- |
//! | `store.redb` | a database: records, the log of the round in progress, rows, stories |
//! | `store.lock` | nothing; locked by the director that works in the folder |
//! | `experiments/ID/state-ROUND.bin` | the server's state after the last round |
//! | `experiments/ID/noise-ROUND` | what the noise of the round in progress comes from; overwritten when it is done |
//! | `experiments/ID/parcels/` | the parcels in the log, a file each |
//! | `experiments/ID/incoming/` | what is still being received: the transport's |
//! | `experiments/ID/run/` | the run folder: the director's |
//!
//! Every method that returns `Ok` has waited for the disk. A file is written before the transaction that names it, and
//! removed after the one that does without it; what a crash leaves of either is swept by [`Store::open`]. Time is passed in.

mod database;
mod entry;
mod error;
mod files;
mod parcels;
mod record;
mod rounds;
mod sweep;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::database::{Database, Failure};
use self::parcels::Queue;
use self::record::Standing;
use crate::experiment::{Charter, Id, State};
use crate::pki::Name;

pub use self::entry::RoundEntry;
pub use self::error::StoreError;
pub use self::record::{AnswerRecord, Closed, ExperimentRecord, Progress};

/// The version of the tables, of what stands in them and of the folders.
const VERSION: u64 = 1;

const DATABASE: &str = "store.redb";
const LOCK: &str = "store.lock";
const EXPERIMENTS: &str = "experiments";
const PARCELS: &str = "parcels";
const INCOMING: &str = "incoming";
const RUN: &str = "run";

/// What the store is: `version` and `federation`.
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
/// Which experiment a request has made.
const REQUESTS: TableDefinition<[u8; 16], u64> = TableDefinition::new("requests");
/// [`ExperimentRecord`] as JSON.
const RECORDS: TableDefinition<u64, &str> = TableDefinition::new("experiments");
/// [`Standing`] as JSON.
const STANDINGS: TableDefinition<u64, &str> = TableDefinition::new("standings");
/// A row by experiment and round.
const ROWS: TableDefinition<(u64, u32), &str> = TableDefinition::new("rows");
/// A line of the story by experiment and place.
const STORIES: TableDefinition<(u64, u64), &str> = TableDefinition::new("stories");
/// A [`RoundEntry`] by experiment and place.
const LOG: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("log");
/// The parcels of the log by experiment, site, number and part.
const TAKEN: TableDefinition<(u64, &str, u64, u32), u64> = TableDefinition::new("taken");

/// The director's store. One director at a time has it open; its threads may all use it at once.
pub struct Store {
    folder: PathBuf,
    database: Database,
    queue: Queue,
    /// Unlocked by the system when it is closed, also by a crash.
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.folder).finish()
    }
}

impl Store {
    /// Opens the store of a federation in a folder, made if it is not there, and sweeps what a crash has left.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; [`StoreError::Newer`], [`StoreError::OtherFederation`], [`StoreError::Broken`] for what is no
    /// whole store of this federation.
    pub fn open(folder: &Path, federation: &Name) -> Result<Self, StoreError> {
        files::make_folder(folder)?;
        let lock = locked(folder)?;
        let experiments = folder.join(EXPERIMENTS);
        files::make_folder(&experiments)?;
        let path = folder.join(DATABASE);
        if !path.exists() {
            refuse_orphans(&path, &experiments)?;
            create(folder, federation)?;
        }
        let database = Database::open(&path)?;
        check(&database, federation)?;
        let store = Self {
            folder: folder.to_owned(),
            database,
            queue: Queue::default(),
            _lock: lock,
        };
        store.sweep()?;
        Ok(store)
    }

    /// The folder of an experiment.
    pub fn folder(&self, id: Id) -> PathBuf {
        self.folder.join(EXPERIMENTS).join(id.to_string())
    }

    /// Where its parcels are received, before [`take_parcel`](Self::take_parcel). Files are left alone there, but for those
    /// that were taken, until [`forget`](Self::forget).
    pub fn incoming(&self, id: Id) -> PathBuf {
        self.folder(id).join(INCOMING)
    }

    /// Its run folder.
    pub fn run_folder(&self, id: Id) -> PathBuf {
        self.folder(id).join(RUN)
    }

    fn parcels(&self, id: Id) -> PathBuf {
        self.folder(id).join(PARCELS)
    }

    /// Enters an experiment under the next number, counted from 1, whatever `record.id` says. The same request again
    /// gives the same number, and `false`.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn submit(
        &self,
        request: &[u8; 16],
        record: ExperimentRecord,
    ) -> Result<(Id, bool), StoreError> {
        let mut record = record;
        self.database.write("submit to", |transaction| {
            let mut requests = transaction.open_table(REQUESTS)?;
            if let Some(id) = requests.get(request)? {
                return Ok((id.value(), false));
            }
            let mut records = transaction.open_table(RECORDS)?;
            let last = records.last()?.map_or(0, |(id, _)| id.value());
            let id = last + 1;
            record.id = id;
            // Folders of an experiment that then is not entered are used by the next one.
            for folder in [self.parcels(id), self.incoming(id), self.run_folder(id)] {
                files::make_folder(&folder)?;
            }
            files::sync_folder(&self.folder.join(EXPERIMENTS))?;
            requests.insert(request, id)?;
            records.insert(id, self.json(&record)?.as_str())?;
            let standing = Standing {
                over: record.state.is_over().then_some(record.state),
                ..Standing::default()
            };
            self.set_standing(transaction, id, &standing)?;
            Ok((id, true))
        })
    }

    /// All experiments, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Broken`]; a disk that fails.
    pub fn experiments(&self) -> Result<Vec<ExperimentRecord>, StoreError> {
        self.database.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let mut all = Vec::new();
            for found in records.iter()? {
                all.push(self.parsed(found?.1.value())?);
            }
            Ok(all)
        })
    }

    /// An experiment.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Broken`]; a disk that fails.
    pub fn experiment(&self, id: Id) -> Result<ExperimentRecord, StoreError> {
        self.database.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let record = records.get(id)?.ok_or(StoreError::Unknown(id))?;
            Ok(self.parsed(record.value())?)
        })
    }

    /// Enters what a site has said. `false` if it had answered before: the first answer stands.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::NotAsked`], [`StoreError::Over`]; a disk that fails.
    pub fn answer(&self, id: Id, site: &str, answer: AnswerRecord) -> Result<bool, StoreError> {
        self.change(id, |record| {
            if record.answers.contains_key(site) {
                return Ok(false);
            }
            refuse_over(record)?;
            if !record.sites.iter().any(|asked| asked == site) {
                let site = site.to_owned();
                return Err(StoreError::NotAsked { id, site });
            }
            record.answers.insert(site.to_owned(), answer.clone());
            Ok(true)
        })
    }

    /// Sets how an experiment stands, and why. One that is over never changes again.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Over`]; a disk that fails.
    pub fn set_state(&self, id: Id, state: State, reason: &str) -> Result<(), StoreError> {
        self.change(id, |record| {
            refuse_over(record)?;
            record.state = state;
            reason.clone_into(&mut record.reason);
            Ok(())
        })
    }

    /// Fixes who takes part, and that rounds are under way. The same charter again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Over`], [`StoreError::Chartered`]; a disk that fails.
    pub fn charter(&self, id: Id, charter: &Charter) -> Result<(), StoreError> {
        self.change(id, |record| {
            refuse_over(record)?;
            match &record.charter {
                Some(found) if found == charter => Ok(()),
                Some(_) => Err(StoreError::Chartered(id)),
                None => {
                    record.charter = Some(charter.clone());
                    record.state = State::Running;
                    record.reason.clear();
                    Ok(())
                }
            }
        })
    }

    /// Sets what else the director wants to know of an experiment, also of one that is over.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; a disk that fails.
    pub fn note(&self, id: Id, run: &str) -> Result<(), StoreError> {
        self.change(id, |record| {
            run.clone_into(&mut record.run);
            Ok(())
        })
    }

    /// Changes a record, and its standing with it.
    fn change<T>(
        &self,
        id: Id,
        mut change: impl FnMut(&mut ExperimentRecord) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database.write("change", |transaction| {
            let mut records = transaction.open_table(RECORDS)?;
            let mut record: ExperimentRecord = {
                let found = records.get(id)?.ok_or(StoreError::Unknown(id))?;
                self.parsed(found.value())?
            };
            let before = record.state;
            let value = change(&mut record)?;
            records.insert(id, self.json(&record)?.as_str())?;
            if record.state != before && record.state.is_over() {
                let mut standing = self.standing(transaction, id)?;
                standing.over = Some(record.state);
                self.set_standing(transaction, id, &standing)?;
            }
            Ok(value)
        })
    }

    fn standing(&self, transaction: &WriteTransaction, id: Id) -> Result<Standing, Failure> {
        let standings = transaction.open_table(STANDINGS)?;
        let found = standings.get(id)?.ok_or(StoreError::Unknown(id))?;
        Ok(self.parsed(found.value())?)
    }

    fn set_standing(
        &self,
        transaction: &WriteTransaction,
        id: Id,
        standing: &Standing,
    ) -> Result<(), Failure> {
        let mut standings = transaction.open_table(STANDINGS)?;
        standings.insert(id, self.json(standing)?.as_str())?;
        Ok(())
    }

    fn json(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value)
            .map_err(|error| StoreError::broken(self.database.path(), error))
    }

    fn parsed<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| StoreError::broken(self.database.path(), error))
    }
}

fn refuse_over(record: &ExperimentRecord) -> Result<(), StoreError> {
    let (id, state) = (record.id, record.state);
    match state.is_over() {
        true => Err(StoreError::Over { id, state }),
        false => Ok(()),
    }
}

/// Keeps other directors out of the folder until it is dropped.
fn locked(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(StoreError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::file("lock", &path)(error)),
    }
}

/// A new store beside the experiments of a lost one would give their numbers to others.
fn refuse_orphans(path: &Path, experiments: &Path) -> Result<(), StoreError> {
    let mut entries = experiments
        .read_dir()
        .map_err(StoreError::file("look into", experiments))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let reason = format!(
                "missing, but there is something in {}",
                experiments.display()
            );
            Err(StoreError::broken(path, reason))
        }
    }
}

/// Makes the database whole under another name first.
fn create(folder: &Path, federation: &Name) -> Result<(), StoreError> {
    let path = folder.join(DATABASE);
    let beside = folder.join(format!("{}{DATABASE}", files::UNFINISHED));
    Database::create(&beside, |transaction| {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("version", VERSION.to_string().as_str())?;
        about.insert("federation", federation.as_str())?;
        // Readers find no table that no writer has opened.
        transaction.open_table(REQUESTS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(STANDINGS)?;
        transaction.open_table(ROWS)?;
        transaction.open_table(STORIES)?;
        transaction.open_table(LOG)?;
        transaction.open_table(TAKEN)?;
        Ok(())
    })?;
    std::fs::rename(&beside, &path).map_err(StoreError::file("create", &path))?;
    files::sync_folder(folder)
}

/// Refuses a database that is none of this version's and this federation's.
fn check(database: &Database, federation: &Name) -> Result<(), StoreError> {
    let path = database.path();
    let not_ours = || StoreError::broken(path, "a database, but not of a director");
    let [version, found] = database.read(|transaction| {
        let about = match transaction.open_table(ABOUT) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Err(not_ours().into()),
            about => about?,
        };
        let mut texts = [String::new(), String::new()];
        for (text, key) in texts.iter_mut().zip(["version", "federation"]) {
            let value = about.get(key)?.ok_or_else(not_ours)?;
            value.value().clone_into(text);
        }
        Ok(texts)
    })?;
    match version.parse() {
        Ok(VERSION) => {}
        Ok(found) if found > VERSION => {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
        _ => return Err(not_ours()),
    }
    if found != federation.as_str() {
        let path = path.to_owned();
        return Err(StoreError::OtherFederation { path, found });
    }
    Ok(())
}
