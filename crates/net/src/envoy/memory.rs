//! What of an envoy survives a kill at any instant: one redb file, and beside it the large bodies.
//!
//! Every method that returns `Ok` has waited for the disk. A body above [`INLINE`] bytes is a file of its own, complete before
//! the transaction that names it, and removed after the one that does not any more; what a crash leaves between is
//! swept when the memory is opened.

mod error;
mod rows;
mod tables;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use cloister_host::to_hex;
use cloister_privacy::Mark;
use cloister_secagg::Record;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use sha2::{Digest, Sha256};

use crate::experiment::{Answer, Id};
use crate::plan::from_hex;
use crate::transport::{Body, Parcel, ParcelKind};

pub use error::MemoryError;
use rows::{BodyRow, MessageRow, ParcelRow, StateRow, decoded, kind_of, number_of};
pub(super) use rows::{Held, HeldCharter, Session};
use tables::{
    BODIES, EXPERIMENTS, FILE, FOLDER, HISTORY, INLINE, Key, LEDGERS, MESSAGES, META, PARCELS,
    PENDING, STATES, VERSION, keys, next, pend, range, remove_body, remove_parcel, remove_parcels,
};

/// A parcel that waits for the director's receipt.
#[derive(Clone, Debug)]
pub struct Pending {
    /// What it is.
    pub parcel: Parcel,
    /// Its bytes.
    pub body: Body,
}

/// What a client must not forget.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClientState {
    /// The last round that it has answered.
    pub(super) answered: u32,
    /// Its last session of a secure sum.
    pub(super) record: Option<Record>,
    /// The session of a secure sum in progress.
    pub(super) begun: Option<Session>,
    /// The session that a restart has interrupted last.
    pub(super) lost: Option<Session>,
    /// The running mean of its updates, and what of them was not sent.
    pub(super) vectors: Option<[Vec<f32>; 2]>,
}

/// What a message has brought about, stored at once or not at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) experiment: Id,
    /// The message.
    pub(super) number: u64,
    /// The round that it belongs to.
    pub(super) round: u32,
    /// Whether nothing more comes of it.
    pub(super) done: bool,
    /// What is to be sent.
    pub(super) messages: Vec<Vec<u8>>,
    /// The client after it; without vectors, they stay.
    pub(super) state: ClientState,
    /// Where the ledger of a data set stands.
    pub(super) mark: Option<(String, Mark)>,
}

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    New,
    /// It was begun, and not ended.
    Begun,
    /// Nothing more comes of it.
    Done,
}

/// The memory of a site.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    /// `None` only while it is opened anew.
    database: RwLock<Option<Database>>,
}

impl Memory {
    /// Opens the memory in the folder of a site, and makes it if there is none.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        let folder = dir.join(FOLDER);
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        let memory = Self {
            dir: dir.to_owned(),
            database: RwLock::new(Some(database(dir)?)),
        };
        memory.write(|tx, _| {
            let mut meta = tx.open_table(META)?;
            let found = meta.get("version")?.map(|version| version.value());
            match found {
                None => drop(meta.insert("version", VERSION)?),
                Some(VERSION) => {}
                Some(found) => {
                    let path = dir.join(FILE);
                    return Err(MemoryError::Newer { path, found });
                }
            }
            // Reading a table that was never written to is an error.
            tx.open_table(EXPERIMENTS)?;
            tx.open_table(STATES)?;
            tx.open_table(MESSAGES)?;
            tx.open_table(PARCELS)?;
            tx.open_table(PENDING)?;
            tx.open_table(BODIES)?;
            tx.open_table(LEDGERS)?;
            tx.open_table(HISTORY)?;
            Ok(())
        })?;
        memory.sweep()?;
        Ok(memory)
    }

    /// The offer and charter of an experiment.
    pub(super) fn held(&self, experiment: Id) -> Result<Option<Held>, MemoryError> {
        self.read(|tx| {
            let table = tx.open_table(EXPERIMENTS)?;
            let row = table.get(experiment)?;
            row.map(|row| decoded(row.value())).transpose()
        })
    }

    /// All experiments that are not over.
    pub(super) fn experiments(&self) -> Result<Vec<(Id, Held)>, MemoryError> {
        self.read(|tx| {
            let table = tx.open_table(EXPERIMENTS)?;
            let mut held = Vec::new();
            for row in table.iter()? {
                let (id, row) = row?;
                held.push((id.value(), decoded(row.value())?));
            }
            Ok(held)
        })
    }

    /// Stores an offer, or what became of it, and puts an answer or a word that it is done into the outbox: part `part` of number 0.
    pub(super) fn hold(
        &self,
        experiment: Id,
        held: &Held,
        say: Option<&Answer>,
        part: u32,
    ) -> Result<(), MemoryError> {
        self.write(|tx, leftovers| {
            tx.open_table(EXPERIMENTS)?
                .insert(experiment, json(held)?.as_slice())?;
            let (kind, bytes) = match say {
                Some(answer) => (ParcelKind::Answer, json(answer)?),
                None => (ParcelKind::Done, Vec::new()),
            };
            let key = (experiment, 0, number_of(kind), part);
            self.put(tx, leftovers, key, 0, &bytes)
        })
    }

    /// Takes an offer in the place of an earlier one that never began: its answers go with it.
    pub(super) fn forget_offer(&self, experiment: Id) -> Result<(), MemoryError> {
        self.write(|tx, leftovers| {
            tx.open_table(EXPERIMENTS)?.remove(experiment)?;
            remove_parcels(tx, leftovers, experiment, |_| true)
        })
    }

    /// Puts what was said to an experiment (part of number 0) into the outbox again.
    pub(super) fn say_again(
        &self,
        experiment: Id,
        kind: ParcelKind,
        part: u32,
    ) -> Result<(), MemoryError> {
        self.write(|tx, _| pend(tx, (experiment, 0, number_of(kind), part)))
    }

    /// What is known of a message.
    pub(super) fn message(&self, experiment: Id, number: u64) -> Result<Known, MemoryError> {
        self.read(|tx| {
            let table = tx.open_table(MESSAGES)?;
            let Some(row) = table.get((experiment, number))? else {
                return Ok(Known::New);
            };
            let row: MessageRow = decoded(row.value())?;
            Ok(if row.done { Known::Done } else { Known::Begun })
        })
    }

    /// Stores what a message has brought about, in one transaction: an answer is in the outbox if and only if the client has
    /// advanced. A message of which nothing is to be sent, now that it is done, gets a word that it is.
    pub(super) fn settle(&self, outcome: &Outcome) -> Result<(), MemoryError> {
        let Outcome {
            experiment,
            number,
            round,
            ..
        } = *outcome;
        self.write(|tx, leftovers| {
            let mut row: MessageRow = match tx.open_table(MESSAGES)?.get((experiment, number))? {
                Some(row) => decoded(row.value())?,
                None => MessageRow::default(),
            };
            for bytes in &outcome.messages {
                let kind = number_of(ParcelKind::Message);
                let key = (experiment, number, kind, row.parts);
                self.put(tx, leftovers, key, round, bytes)?;
                row.parts += 1;
            }
            if outcome.done && row.parts == 0 {
                let key = (experiment, number, number_of(ParcelKind::Done), 0);
                self.put(tx, leftovers, key, round, &[])?;
                row.parts += 1;
            }
            row.done |= outcome.done;
            tx.open_table(MESSAGES)?
                .insert((experiment, number), json(&row)?.as_slice())?;
            self.store_state(tx, leftovers, experiment, &outcome.state)?;
            if let Some((dataset, mark)) = &outcome.mark {
                tx.open_table(LEDGERS)?
                    .insert(dataset.as_str(), json(mark)?.as_slice())?;
            }
            // Of earlier rounds nobody asks any more.
            remove_parcels(tx, leftovers, experiment, |row| {
                !row.pending && row.round > 0 && row.round < outcome.state.answered.min(round)
            })
        })
    }

    /// Puts what was sent for a message into the outbox again; if it was acknowledged and forgotten, a word that it is done.
    pub(super) fn send_again(&self, experiment: Id, number: u64) -> Result<(), MemoryError> {
        self.write(|tx, leftovers| {
            let keys = keys(tx, experiment)?;
            let of_it: Vec<Key> = keys.into_iter().filter(|key| key.1 == number).collect();
            for key in &of_it {
                pend(tx, *key)?;
            }
            if of_it.is_empty() {
                let key = (experiment, number, number_of(ParcelKind::Done), 0);
                self.put(tx, leftovers, key, 0, &[])?;
            }
            Ok(())
        })
    }

    /// The bytes of the last message that was sent in a round.
    pub(super) fn last_sent(
        &self,
        experiment: Id,
        round: u32,
    ) -> Result<Option<Vec<u8>>, MemoryError> {
        let found = self.read(|tx| {
            let table = tx.open_table(PARCELS)?;
            let mut last = None;
            for row in table.range(range(experiment))? {
                let (key, row) = row?;
                let row: ParcelRow = decoded(row.value())?;
                if kind_of(key.value().2) == ParcelKind::Message && row.round == round {
                    last = Some(row.body);
                }
            }
            Ok(last)
        })?;
        found.map(|body| self.bytes(&body)).transpose()
    }

    /// The state of an experiment's client; a new one if nothing was stored.
    pub(super) fn state(&self, experiment: Id) -> Result<ClientState, MemoryError> {
        let row: Option<StateRow> = self.read(|tx| {
            let table = tx.open_table(STATES)?;
            let row = table.get(experiment)?;
            row.map(|row| decoded(row.value())).transpose()
        })?;
        let Some(row) = row else {
            return Ok(ClientState::default());
        };
        let record = match &row.record {
            Some(digits) => {
                let record = from_hex(digits).and_then(|bytes| Record::from_bytes(&bytes).ok());
                let broken = || MemoryError::Broken("a stored record is none".to_owned());
                Some(record.ok_or_else(broken)?)
            }
            None => None,
        };
        let vectors = match &row.vectors {
            Some([momentum, residual]) => Some([self.floats(momentum)?, self.floats(residual)?]),
            None => None,
        };
        Ok(ClientState {
            answered: row.answered,
            record,
            begun: row.begun,
            lost: row.lost,
            vectors,
        })
    }

    /// The last round that an experiment's client has answered.
    pub(super) fn answered(&self, experiment: Id) -> Result<u32, MemoryError> {
        self.read(|tx| {
            let table = tx.open_table(STATES)?;
            let Some(row) = table.get(experiment)? else {
                return Ok(0);
            };
            Ok(decoded::<StateRow>(row.value())?.answered)
        })
    }

    /// What waits to be sent, in order.
    pub(super) fn outbox(&self) -> Result<Vec<Pending>, MemoryError> {
        let rows: Vec<(Key, ParcelRow)> = self.read(|tx| {
            let parcels = tx.open_table(PARCELS)?;
            let mut rows = Vec::new();
            for entry in tx.open_table(PENDING)?.iter()? {
                let key = entry?.1.value();
                if let Some(row) = parcels.get(key)? {
                    rows.push((key, decoded(row.value())?));
                }
            }
            Ok(rows)
        })?;
        let mut pending = Vec::with_capacity(rows.len());
        for ((experiment, number, kind, part), row) in rows {
            let body = match row.body.file {
                true => Body::File(self.path(row.body.id)),
                false => Body::Memory(self.bytes(&row.body)?.into()),
            };
            let parcel = Parcel {
                experiment,
                kind: kind_of(kind),
                number,
                part,
                bytes: row.body.bytes,
                sha256: row.body.digest()?,
            };
            pending.push(Pending { parcel, body });
        }
        Ok(pending)
    }

    /// A parcel needs not be sent any more.
    pub(super) fn acknowledged(&self, parcel: &Parcel) -> Result<(), MemoryError> {
        let key = (
            parcel.experiment,
            parcel.number,
            number_of(parcel.kind),
            parcel.part,
        );
        self.write(|tx, leftovers| {
            let mut row: ParcelRow = match tx.open_table(PARCELS)?.get(key)? {
                Some(row) => decoded(row.value())?,
                None => return Ok(()),
            };
            if row.body.sha256 != to_hex(&parcel.sha256) {
                return Ok(());
            }
            tx.open_table(PENDING)?
                .retain(|_, waiting| waiting != key)?;
            let is_over = tx.open_table(EXPERIMENTS)?.get(key.0)?.is_none();
            if is_over {
                return remove_parcels(tx, leftovers, key.0, |row| !row.pending)
                    .and_then(|()| remove_parcel(tx, leftovers, key, &row.body));
            }
            row.pending = false;
            tx.open_table(PARCELS)?
                .insert(key, json(&row)?.as_slice())?;
            Ok(())
        })
    }

    /// Ends an experiment: what was held of it goes, a line stays, and a word that it is done is sent.
    pub(super) fn close(
        &self,
        experiment: Id,
        ended: Option<(&str, &str)>,
        mark: Option<(&str, &Mark)>,
        part: u32,
    ) -> Result<(), MemoryError> {
        self.write(|tx, leftovers| {
            if let Some((offer, line)) = ended {
                let key = history_key(experiment, offer);
                tx.open_table(HISTORY)?.insert(key.as_str(), line)?;
            }
            if let Some((dataset, mark)) = mark {
                tx.open_table(LEDGERS)?
                    .insert(dataset, json(mark)?.as_slice())?;
            }
            tx.open_table(EXPERIMENTS)?.remove(experiment)?;
            let state = match tx.open_table(STATES)?.remove(experiment)? {
                Some(row) => Some(decoded::<StateRow>(row.value())?),
                None => None,
            };
            for body in state.and_then(|state| state.vectors).into_iter().flatten() {
                remove_body(tx, leftovers, &body)?;
            }
            let all = (experiment, 0)..=(experiment, u64::MAX);
            tx.open_table(MESSAGES)?.retain_in(all, |_, _| false)?;
            remove_parcels(tx, leftovers, experiment, |_| true)?;
            let key = (experiment, 0, number_of(ParcelKind::Done), part);
            self.put(tx, leftovers, key, 0, &[])
        })
    }

    /// The line of an experiment that is over.
    pub(super) fn history(
        &self,
        experiment: Id,
        offer: &str,
    ) -> Result<Option<String>, MemoryError> {
        self.read(|tx| {
            let table = tx.open_table(HISTORY)?;
            let line = table.get(history_key(experiment, offer).as_str())?;
            Ok(line.map(|line| line.value().to_owned()))
        })
    }

    /// Where the ledgers stood when they were last known to.
    pub(super) fn marks(&self) -> Result<Vec<(String, Mark)>, MemoryError> {
        self.read(|tx| {
            let mut marks = Vec::new();
            for row in tx.open_table(LEDGERS)?.iter()? {
                let (dataset, mark) = row?;
                marks.push((dataset.value().to_owned(), decoded(mark.value())?));
            }
            Ok(marks)
        })
    }

    fn store_state(
        &self,
        tx: &WriteTransaction,
        leftovers: &mut Vec<u64>,
        experiment: Id,
        state: &ClientState,
    ) -> Result<(), MemoryError> {
        let mut before: StateRow = match tx.open_table(STATES)?.get(experiment)? {
            Some(row) => decoded(row.value())?,
            None => StateRow::default(),
        };
        if let Some(vectors) = &state.vectors {
            for body in before.vectors.take().into_iter().flatten() {
                remove_body(tx, leftovers, &body)?;
            }
            let [momentum, residual] = vectors;
            before.vectors = Some([
                self.body(tx, &float_bytes(momentum))?,
                self.body(tx, &float_bytes(residual))?,
            ]);
        }
        let row = StateRow {
            answered: state.answered,
            record: state.record.map(|record| to_hex(&record.to_bytes())),
            begun: state.begun,
            lost: state.lost,
            vectors: before.vectors,
        };
        tx.open_table(STATES)?
            .insert(experiment, json(&row)?.as_slice())?;
        Ok(())
    }

    /// Puts a parcel into the outbox; in the place of one with the same key, if there is one.
    fn put(
        &self,
        tx: &WriteTransaction,
        leftovers: &mut Vec<u64>,
        key: Key,
        round: u32,
        bytes: &[u8],
    ) -> Result<(), MemoryError> {
        let before = match tx.open_table(PARCELS)?.get(key)? {
            Some(row) => Some(decoded::<ParcelRow>(row.value())?),
            None => None,
        };
        if let Some(before) = before {
            remove_parcel(tx, leftovers, key, &before.body)?;
        }
        let row = ParcelRow {
            body: self.body(tx, bytes)?,
            round,
            pending: false,
        };
        tx.open_table(PARCELS)?
            .insert(key, json(&row)?.as_slice())?;
        pend(tx, key)
    }

    fn body(&self, tx: &WriteTransaction, bytes: &[u8]) -> Result<BodyRow, MemoryError> {
        let id = next(tx)?;
        let file = bytes.len() > INLINE;
        match file {
            true => self.create(id, bytes)?,
            false => drop(tx.open_table(BODIES)?.insert(id, bytes)?),
        }
        Ok(BodyRow {
            id,
            bytes: bytes.len() as u64,
            sha256: to_hex(&Sha256::digest(bytes)),
            file,
        })
    }

    /// Writes a file as a whole; one of that name is from a transaction that was never committed.
    fn create(&self, id: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let folder = self.dir.join(FOLDER);
        let path = self.path(id);
        let written = tempfile::NamedTempFile::new_in(&folder).and_then(|mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(&folder)?.sync_all()
        });
        written.map_err(file_error(&path))
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(FOLDER).join(format!("{id}.bin"))
    }

    /// The bytes of a body, checked.
    fn bytes(&self, body: &BodyRow) -> Result<Vec<u8>, MemoryError> {
        let bytes = match body.file {
            true => {
                let path = self.path(body.id);
                fs::read(&path).map_err(file_error(&path))?
            }
            false => self.read(|tx| {
                let table = tx.open_table(BODIES)?;
                let bytes = table.get(body.id)?;
                Ok(bytes
                    .map(|bytes| bytes.value().to_vec())
                    .unwrap_or_default())
            })?,
        };
        match bytes.len() as u64 == body.bytes && to_hex(&Sha256::digest(&bytes)) == body.sha256 {
            true => Ok(bytes),
            false => Err(MemoryError::Broken(format!(
                "body {} is not what was stored",
                body.id
            ))),
        }
    }

    fn floats(&self, body: &BodyRow) -> Result<Vec<f32>, MemoryError> {
        let bytes = self.bytes(body)?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Removes files that nothing names.
    fn sweep(&self) -> Result<(), MemoryError> {
        let named: Vec<PathBuf> = self.read(|tx| {
            let mut bodies: Vec<BodyRow> = Vec::new();
            for row in tx.open_table(PARCELS)?.iter()? {
                bodies.push(decoded::<ParcelRow>(row?.1.value())?.body);
            }
            for row in tx.open_table(STATES)?.iter()? {
                let state: StateRow = decoded(row?.1.value())?;
                bodies.extend(state.vectors.into_iter().flatten());
            }
            let files = bodies.iter().filter(|body| body.file);
            Ok(files.map(|body| self.path(body.id)).collect())
        })?;
        let folder = self.dir.join(FOLDER);
        for entry in fs::read_dir(&folder).map_err(file_error(&folder))? {
            let path = entry.map_err(file_error(&folder))?.path();
            if !named.contains(&path) {
                fs::remove_file(&path).map_err(file_error(&path))?;
            }
        }
        Ok(())
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(&database.as_ref().ok_or_else(closed)?.begin_read()?)
    }

    /// One transaction; files that it has made needless are removed after it.
    fn write(
        &self,
        work: impl FnOnce(&WriteTransaction, &mut Vec<u64>) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        let mut leftovers = Vec::new();
        let written = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let tx = database.as_ref().ok_or_else(closed)?.begin_write()?;
            work(&tx, &mut leftovers).and_then(|()| Ok(tx.commit()?))
        };
        if let Err(MemoryError::Database(error)) = &written
            && matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo)
        {
            self.reopen();
        }
        written?;
        for id in leftovers {
            // What stays is swept when the memory is opened again.
            let _ = fs::remove_file(self.path(id));
        }
        Ok(())
    }

    /// A database that has met a full disk takes nothing any more until it is opened anew.
    fn reopen(&self) {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        *slot = database(&self.dir).ok();
    }
}

fn database(dir: &Path) -> Result<Database, MemoryError> {
    let path = dir.join(FILE);
    Database::create(&path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => MemoryError::InUse(path),
        other => MemoryError::Database(Box::new(other.into())),
    })
}

fn closed() -> MemoryError {
    MemoryError::Broken("it could not be opened again after an error of the disk".to_owned())
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let path = path.to_owned();
    move |source| MemoryError::File { path, source }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, MemoryError> {
    serde_json::to_vec(value).map_err(|error| MemoryError::Broken(error.to_string()))
}

fn float_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn history_key(experiment: Id, offer: &str) -> String {
    format!("{experiment}-{offer}")
}
