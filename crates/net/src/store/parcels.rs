//! Parcels: files that are in the log, or swept. Those that come at once share a transaction.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable, WriteTransaction};

use super::database::Failure;
use super::rounds::append;
use super::{RoundEntry, Store, StoreError, TAKEN, files};
use crate::experiment::Id;

/// An entry that waits for the next transaction.
struct Job {
    id: Id,
    round: u32,
    entry: RoundEntry,
    /// What became of it, once that is known.
    outcome: Arc<Mutex<Option<Outcome>>>,
}

/// `false` for a parcel that was there.
type Outcome = Result<bool, StoreError>;

/// Whoever finds nobody at work takes all that wait, and works for them.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    at_work: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a turn of work, also one that a panic ends: then those that waited are told, instead of waiting for ever.
struct Turn<'a> {
    store: &'a Store,
    jobs: Vec<Job>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        for job in &self.jobs {
            lock(&job.outcome).get_or_insert_with(|| {
                Err(StoreError::broken(
                    self.store.database.path(),
                    "a transaction was given up",
                ))
            });
        }
        lock(&self.store.queue.waiting).at_work = false;
        self.store.queue.done.notify_all();
    }
}

impl Store {
    /// Takes a parcel that is complete and whose file is on the disk into the log of the round in progress: the file is
    /// then the store's, and gone from where it was. `false` if the log has this parcel already (the same site, number and
    /// part); the file is removed then. Calls at the same time share a transaction.
    ///
    /// # Errors
    /// [`StoreError::WrongRound`], [`StoreError::Over`], [`StoreError::Unknown`]; [`StoreError::Misfit`] for an entry that is
    /// none of a parcel or of a file of another length; a disk that fails. The file then is where it was.
    pub fn take_parcel(
        &self,
        id: Id,
        round: u32,
        entry: RoundEntry,
        file: PathBuf,
    ) -> Result<bool, StoreError> {
        let taken = self.take_parcels(id, round, vec![(entry, file)])?;
        Ok(taken.first().copied().unwrap_or(false))
    }

    /// [`Self::take_parcel`] for several, which the log then has in this order.
    ///
    /// # Errors
    /// As there, of the first that cannot be taken. Those before it may be in the log, and their files gone.
    pub fn take_parcels(
        &self,
        id: Id,
        round: u32,
        parcels: Vec<(RoundEntry, PathBuf)>,
    ) -> Result<Vec<bool>, StoreError> {
        if parcels.is_empty() {
            return Ok(Vec::new());
        }
        // Before a file gets a name that a parcel in the log may have.
        self.database.read(|transaction| {
            let standing = self.standing_in(transaction, id)?;
            Ok(standing.expect(id, round)?)
        })?;
        let mut entries = Vec::with_capacity(parcels.len());
        let mut names = Vec::with_capacity(parcels.len());
        for (entry, file) in parcels {
            let name = self.linked(id, &entry, &file)?;
            entries.push(entry);
            names.push((file, name));
        }
        let outcomes = self.enqueue(id, round, entries);
        let mut taken = Vec::with_capacity(outcomes.len());
        for ((file, name), outcome) in names.into_iter().zip(outcomes) {
            let is_new = outcome?;
            // It is in the log, whatever becomes of names that are left; those are swept when the store is opened.
            let _ = files::remove(&file);
            if !is_new && self.logged(id).is_ok_and(|names| !names.contains(&name)) {
                let _ = files::remove(&self.parcels(id).join(name));
            }
            taken.push(is_new);
        }
        Ok(taken)
    }

    /// Gives the file of a parcel the name that it has in the store, beside the one that it has.
    fn linked(&self, id: Id, entry: &RoundEntry, file: &Path) -> Result<String, StoreError> {
        let misfit = |reason: String| StoreError::Misfit { id, reason };
        let (RoundEntry::Parcel { bytes, .. }, Some(name)) = (entry, entry.file()) else {
            return Err(misfit("it is no parcel of a site".to_owned()));
        };
        let meta = file.metadata().map_err(StoreError::file("open", file))?;
        if !meta.is_file() || meta.len() != *bytes {
            let found = meta.len();
            let reason = format!("{} has {found} bytes instead of {bytes}", file.display());
            return Err(misfit(reason));
        }
        // A second name and not another one: until the entry is in the log, nothing is taken away.
        files::link(file, &self.parcels(id), &name)?;
        Ok(name)
    }

    /// Waits until entries are in the log, one behind the other, and works for others meanwhile.
    fn enqueue(&self, id: Id, round: u32, entries: Vec<RoundEntry>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut waiting = lock(&self.queue.waiting);
        for entry in entries {
            let outcome = Arc::new(Mutex::new(None));
            waiting.jobs.push(Job {
                id,
                round,
                entry,
                outcome: Arc::clone(&outcome),
            });
            outcomes.push(outcome);
        }
        loop {
            // They are in one transaction, so that they are decided together.
            let decided = outcomes.iter().all(|outcome| lock(outcome).is_some());
            if decided {
                let outcomes = outcomes.iter();
                return outcomes
                    .filter_map(|outcome| lock(outcome).take())
                    .collect();
            }
            if waiting.at_work {
                let woken = self.queue.done.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting.at_work = true;
            let turn = Turn {
                store: self,
                jobs: std::mem::take(&mut waiting.jobs),
            };
            drop(waiting);
            self.work(&turn.jobs);
            drop(turn);
            waiting = lock(&self.queue.waiting);
        }
    }

    fn work(&self, jobs: &[Job]) {
        let ids: BTreeSet<Id> = jobs.iter().map(|job| job.id).collect();
        let outcomes = ids
            .iter()
            .try_for_each(|id| files::sync_folder(&self.parcels(*id)))
            .and_then(|()| {
                self.database.write("log to", |transaction| {
                    jobs.iter()
                        .map(|job| self.enter(transaction, job))
                        .collect::<Result<Vec<Outcome>, Failure>>()
                })
            });
        match outcomes {
            Ok(outcomes) => {
                for (job, outcome) in jobs.iter().zip(outcomes) {
                    *lock(&job.outcome) = Some(outcome);
                }
            }
            Err(error) => {
                for job in jobs {
                    *lock(&job.outcome) = Some(Err(error.clone()));
                }
            }
        }
    }

    /// Puts one entry into the log. What is wrong with it is its own caller's, what is wrong with the disk is everybody's.
    fn enter(&self, transaction: &WriteTransaction, job: &Job) -> Result<Outcome, Failure> {
        let refused = |failure| match failure {
            Failure::Store(error) => Ok(Err(error)),
            Failure::Database(error) => Err(Failure::Database(error)),
        };
        let standing = match self.standing(transaction, job.id) {
            Ok(standing) => standing,
            Err(failure) => return refused(failure),
        };
        if let Err(error) = standing.expect(job.id, job.round) {
            return Ok(Err(error));
        }
        if let RoundEntry::Parcel {
            site, number, part, ..
        } = &job.entry
        {
            let taken = transaction.open_table(TAKEN)?;
            let key = (job.id, site.as_str(), *number, *part);
            if taken.get(key)?.is_some() {
                return Ok(Ok(false));
            }
        }
        match append(transaction, job.id, std::slice::from_ref(&job.entry)) {
            Ok(()) => Ok(Ok(true)),
            Err(failure) => refused(failure),
        }
    }

    /// The bytes of a parcel in the log.
    ///
    /// # Errors
    /// [`StoreError::Broken`] for a file that is missing or was changed; [`StoreError::Misfit`] for an entry of another
    /// kind; a disk that fails.
    pub fn read_parcel(&self, id: Id, entry: &RoundEntry) -> Result<Vec<u8>, StoreError> {
        let (RoundEntry::Parcel { bytes, sha256, .. }, Some(name)) = (entry, entry.file()) else {
            let reason = "it is no parcel of a site".to_owned();
            return Err(StoreError::Misfit { id, reason });
        };
        files::read(&self.parcels(id).join(name), *bytes, sha256)
    }
}
