//! Rounds: begun, logged, repeated from the log, closed.

use std::time::Duration;

use cloister_host::to_hex;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::database::Failure;
use super::entry::{NOISE, digest_of_noise};
use super::record::{Standing, StateFile};
use super::{
    Closed, LOG, Progress, ROWS, RoundEntry, STANDINGS, STORIES, Store, StoreError, TAKEN, files,
};
use crate::experiment::Id;
use crate::plan::from_hex;

/// How the name of a file of a round's noise begins.
pub(super) const NOISE_FILE: &str = "noise-";
/// How the name of a file of a state begins.
pub(super) const STATE_FILE: &str = "state-";

pub(super) fn noise_name(round: u32) -> String {
    format!("{NOISE_FILE}{round}")
}

fn state_name(round: u32) -> String {
    format!("{STATE_FILE}{round}.bin")
}

impl Standing {
    /// Refuses anything but the round in progress of an experiment that is not over.
    pub(super) fn expect(&self, id: Id, round: u32) -> Result<(), StoreError> {
        self.refuse_over(id)?;
        if self.open != Some(round) {
            return Err(self.wrong(id, round));
        }
        Ok(())
    }

    fn refuse_over(&self, id: Id) -> Result<(), StoreError> {
        match self.over {
            Some(state) => Err(StoreError::Over { id, state }),
            None => Ok(()),
        }
    }

    fn wrong(&self, id: Id, round: u32) -> StoreError {
        StoreError::WrongRound {
            id,
            round,
            done: self.round,
            open: self.open,
        }
    }

    /// Refuses to begin a round that is not the next one.
    fn expect_next(&self, id: Id, round: u32) -> Result<(), StoreError> {
        self.refuse_over(id)?;
        if let Some(open) = self.open {
            return Err(StoreError::InProgress { id, open });
        }
        if self.round.checked_add(1) != Some(round) {
            return Err(self.wrong(id, round));
        }
        Ok(())
    }
}

impl Store {
    /// Begins the next round, counted from 1. Its noise can be read from the log until the round is closed.
    ///
    /// # Errors
    /// [`StoreError::InProgress`] if the log is not empty; [`StoreError::WrongRound`], [`StoreError::Over`],
    /// [`StoreError::Unknown`]; a disk that fails.
    pub fn begin_round(
        &self,
        id: Id,
        round: u32,
        now: Duration,
        noise: Option<Zeroizing<[u8; NOISE]>>,
    ) -> Result<(), StoreError> {
        // Before the file is written: that of a round in progress must not be replaced.
        self.standing_now(id)?.expect_next(id, round)?;
        if let Some(noise) = &noise {
            files::write(&self.folder(id), &noise_name(round), noise.as_slice())?;
        }
        let entry = RoundEntry::Began { now, noise };
        self.database.write("begin a round in", |transaction| {
            let mut standing = self.standing(transaction, id)?;
            standing.expect_next(id, round)?;
            standing.open = Some(round);
            self.set_standing(transaction, id, &standing)?;
            append(transaction, id, std::slice::from_ref(&entry))
        })
    }

    /// Adds to the log of the round in progress, in order. Parcels are for [`take_parcel`](Self::take_parcel), the beginning
    /// is for [`begin_round`](Self::begin_round).
    ///
    /// # Errors
    /// [`StoreError::WrongRound`], [`StoreError::Over`], [`StoreError::Misfit`], [`StoreError::Unknown`]; a disk that fails.
    pub fn log(&self, id: Id, round: u32, entries: Vec<RoundEntry>) -> Result<(), StoreError> {
        let small =
            |entry: &RoundEntry| matches!(entry, RoundEntry::Lost { .. } | RoundEntry::Tick { .. });
        if !entries.iter().all(small) {
            let reason = "rounds begin and parcels come in by methods of their own".to_owned();
            return Err(StoreError::Misfit { id, reason });
        }
        self.database.write("log to", |transaction| {
            self.standing(transaction, id)?.expect(id, round)?;
            append(transaction, id, &entries)
        })
    }

    /// The round in progress and its log; 0 and nothing where none is in progress.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; [`StoreError::Broken`], also for noise that is missing or was changed; a disk that fails.
    pub fn round_log(&self, id: Id) -> Result<(u32, Vec<RoundEntry>), StoreError> {
        self.database.read(|transaction| {
            let standing = self.standing_in(transaction, id)?;
            let round = standing.open.unwrap_or(0);
            let log = transaction.open_table(LOG)?;
            let mut entries = Vec::new();
            for found in log.range((id, 0)..=(id, u64::MAX))? {
                let (key, value) = found?;
                let stored = RoundEntry::decode(value.value()).map_err(|reason| {
                    let place = key.value().1;
                    let reason = format!("entry {place} of the log of experiment {id}: {reason}");
                    StoreError::broken(self.database.path(), reason)
                })?;
                entries.push(match (stored.entry, stored.noise) {
                    (RoundEntry::Began { now, .. }, Some(digest)) => RoundEntry::Began {
                        now,
                        noise: Some(self.noise(id, round, &digest)?),
                    },
                    (entry, _) => entry,
                });
            }
            Ok((round, entries))
        })
    }

    fn noise(
        &self,
        id: Id,
        round: u32,
        digest: &[u8; 32],
    ) -> Result<Zeroizing<[u8; NOISE]>, StoreError> {
        let path = self.folder(id).join(noise_name(round));
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::broken(&path, "the file is missing"),
            _ => StoreError::file("read", &path)(error),
        })?;
        let bytes = Zeroizing::new(bytes);
        let noise = <[u8; NOISE]>::try_from(bytes.as_slice()).map(Zeroizing::new);
        noise
            .ok()
            .filter(|noise| digest_of_noise(noise) == *digest)
            .ok_or_else(|| StoreError::broken(&path, "the file was changed"))
    }

    /// Closes the round in progress: its state and row stay, its log is emptied and its noise wiped. The state is on the
    /// disk before the log is not.
    ///
    /// # Errors
    /// [`StoreError::WrongRound`], [`StoreError::Over`], [`StoreError::Unknown`]; a disk that fails: then the round is
    /// still in progress.
    pub fn close_round(&self, id: Id, closed: Closed<'_>) -> Result<(), StoreError> {
        let round = closed.round;
        // Before the file is written: that of a round that was closed must not be replaced.
        self.standing_now(id)?.expect(id, round)?;
        let folder = self.folder(id);
        let state = StateFile {
            name: state_name(round),
            bytes: closed.state.len() as u64,
            sha256: to_hex(&Sha256::digest(closed.state)),
        };
        files::write(&folder, &state.name, closed.state)?;
        let done = self.database.write("close a round in", |transaction| {
            let mut standing = self.standing(transaction, id)?;
            standing.expect(id, round)?;
            standing.open = None;
            standing.round = round;
            let older = standing.state.replace(state.clone());
            self.set_standing(transaction, id, &standing)?;
            transaction
                .open_table(ROWS)?
                .insert((id, round), closed.row)?;
            add_lines(transaction, id, &closed.lines)?;
            empty_log(transaction, id)?;
            Ok(older)
        });
        if let Err(error) = &done
            && error.is_full()
            && self
                .standing_now(id)
                .is_ok_and(|now| now.open == Some(round))
        {
            // It is not in the database, and the room may be needed by what makes room.
            let _ = files::remove(&folder.join(&state.name));
        }
        let older = done?;
        // What is left by an error here is swept when the store is opened.
        let _ = files::wipe(&folder.join(noise_name(round)));
        let parcels = self.parcels(id);
        for name in files::names(&parcels).unwrap_or_default() {
            let _ = files::remove(&parcels.join(name));
        }
        if let Some(older) = older {
            let _ = files::remove(&folder.join(older.name));
        }
        Ok(())
    }

    /// How far an experiment is, with the server's state.
    ///
    /// # Errors
    /// [`StoreError::Broken`] for a state that is missing or was changed; [`StoreError::Unknown`]; a disk that fails.
    pub fn progress(&self, id: Id) -> Result<Progress, StoreError> {
        self.database.read(|transaction| {
            // In the transaction, so that no round that is closed meanwhile takes the file away unnoticed.
            let standing = self.standing_in(transaction, id)?;
            let rows = rows_in(transaction, id)?;
            let state = match &standing.state {
                Some(file) => Some(self.state(id, file)?),
                None => None,
            };
            Ok(Progress {
                round: standing.round,
                state,
                rows,
            })
        })
    }

    /// The rows of the rounds that are done, whatever has become of the state after them.
    ///
    /// # Errors
    /// [`StoreError`] for a database that cannot be read.
    pub fn rows(&self, id: Id) -> Result<Vec<String>, StoreError> {
        self.database.read(|transaction| rows_in(transaction, id))
    }

    fn state(&self, id: Id, file: &StateFile) -> Result<Vec<u8>, StoreError> {
        let digest = from_hex(&file.sha256).and_then(|digest| digest.try_into().ok());
        let digest: [u8; 32] = digest.ok_or_else(|| {
            let reason = format!("the digest of the state of experiment {id} is none");
            StoreError::broken(self.database.path(), reason)
        })?;
        files::read(&self.folder(id).join(&file.name), file.bytes, &digest)
    }

    /// Adds lines to the story of an experiment, each a JSON document.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; a disk that fails.
    pub fn tell(&self, id: Id, lines: &[String]) -> Result<(), StoreError> {
        self.database.write("tell", |transaction| {
            self.standing(transaction, id)?;
            add_lines(transaction, id, lines)
        })
    }

    /// The lines of the story after the first `after`, at most `most`.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; a disk that fails.
    pub fn story(&self, id: Id, after: u64, most: usize) -> Result<Vec<String>, StoreError> {
        self.database.read(|transaction| {
            self.standing_in(transaction, id)?;
            let stories = transaction.open_table(STORIES)?;
            let lines = stories.range((id, after)..=(id, u64::MAX))?;
            lines
                .take(most)
                .map(|line| Ok(line?.1.value().to_owned()))
                .collect()
        })
    }

    /// Removes the parcels, the state and the noise of an experiment that is over. Its record, rows, story and run folder
    /// stay.
    ///
    /// # Errors
    /// [`StoreError::NotOver`], [`StoreError::Unknown`]; a disk that fails.
    pub fn forget(&self, id: Id) -> Result<(), StoreError> {
        self.database.write("forget in", |transaction| {
            let mut standing = self.standing(transaction, id)?;
            if standing.over.is_none() {
                return Err(StoreError::NotOver(id).into());
            }
            standing.open = None;
            standing.state = None;
            self.set_standing(transaction, id, &standing)?;
            empty_log(transaction, id)
        })?;
        for folder in [self.parcels(id), self.incoming(id)] {
            for name in files::names(&folder)? {
                files::remove(&folder.join(name))?;
            }
        }
        self.sweep_folder(id, &Standing::default())
    }

    /// Where an experiment stands.
    fn standing_now(&self, id: Id) -> Result<Standing, StoreError> {
        self.database
            .read(|transaction| self.standing_in(transaction, id))
    }

    pub(super) fn standing_in(
        &self,
        transaction: &ReadTransaction,
        id: Id,
    ) -> Result<Standing, Failure> {
        let standings = transaction.open_table(STANDINGS)?;
        let found = standings.get(id)?.ok_or(StoreError::Unknown(id))?;
        Ok(self.parsed(found.value())?)
    }
}

/// Adds entries to a log.
pub(super) fn append(
    transaction: &WriteTransaction,
    id: Id,
    entries: &[RoundEntry],
) -> Result<(), Failure> {
    let mut log = transaction.open_table(LOG)?;
    let places = next_place(&log, id)?..;
    for (entry, place) in entries.iter().zip(places) {
        let bytes = entry
            .encode()
            .map_err(|reason| StoreError::Misfit { id, reason })?;
        log.insert((id, place), bytes.as_slice())?;
        if let RoundEntry::Parcel {
            site, number, part, ..
        } = entry
        {
            let mut taken = transaction.open_table(TAKEN)?;
            taken.insert((id, site.as_str(), *number, *part), place)?;
        }
    }
    Ok(())
}

/// The place behind the last one of an experiment.
fn next_place<V: redb::Value + 'static>(
    table: &impl ReadableTable<(u64, u64), V>,
    id: Id,
) -> Result<u64, Failure> {
    let last = table.range((id, 0)..=(id, u64::MAX))?.next_back();
    Ok(match last {
        Some(last) => last?.0.value().1 + 1,
        None => 0,
    })
}

fn empty_log(transaction: &WriteTransaction, id: Id) -> Result<(), Failure> {
    let mut log = transaction.open_table(LOG)?;
    log.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
    let mut taken = transaction.open_table(TAKEN)?;
    taken.retain_in((id, "", 0, 0)..(id + 1, "", 0, 0), |_, _| false)?;
    Ok(())
}

fn add_lines(transaction: &WriteTransaction, id: Id, lines: &[String]) -> Result<(), Failure> {
    let mut stories = transaction.open_table(STORIES)?;
    let places = next_place(&stories, id)?..;
    for (line, place) in lines.iter().zip(places) {
        stories.insert((id, place), line.as_str())?;
    }
    Ok(())
}

fn rows_in(transaction: &ReadTransaction, id: Id) -> Result<Vec<String>, Failure> {
    let rows = transaction.open_table(ROWS)?;
    let mut found = Vec::new();
    for row in rows.range((id, 0)..=(id, u32::MAX))? {
        found.push(row?.1.value().to_owned());
    }
    Ok(found)
}
