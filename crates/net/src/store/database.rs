//! The database file: opened, opened again after a full disk, and never in doubt about what it holds.
//!
//! A transaction that fails at its commit may or may not be on the disk. Each one therefore counts up a number in the
//! database; after a failure the file is opened again, and the number tells. Where the disk failed in another way than being
//! full, nothing that is read back can be trusted to be on it (the kernel may show pages that it could not write), and the
//! store does nothing any more.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{
    Builder, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, WriteTransaction,
};

use super::StoreError;
use super::error::says_full;

/// Most bytes of the database that are kept in memory: its tables are small.
const CACHE: usize = 16 << 20;

/// Counts transactions under [`COMMITS`].
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");
const COMMITS: &str = "commits";

/// Why a transaction was not made: the database, or the store's own rules.
#[derive(Debug)]
pub(super) enum Failure {
    Database(redb::Error),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<redb::TableError> for Failure {
    fn from(error: redb::TableError) -> Self {
        Self::Database(error.into())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Database(error.into())
    }
}

impl From<redb::TransactionError> for Failure {
    fn from(error: redb::TransactionError) -> Self {
        Self::Database(error.into())
    }
}

/// The database.
pub(super) struct Database {
    path: PathBuf,
    handle: RwLock<Handle>,
    /// Held while writing, and until what became of a failed transaction is known.
    turn: Mutex<()>,
}

enum Handle {
    Open(redb::Database),
    /// An error closed it; `doubt` is the number of a transaction of which is not known whether it is there.
    Closed {
        doubt: Option<u64>,
    },
    Stopped(String),
}

/// How a transaction ended that did not end well.
enum Ended<T> {
    Refused(StoreError),
    /// It is not there.
    Early(redb::Error),
    /// It may be there, under this number.
    Late(redb::Error, u64, T),
}

impl Database {
    /// Opens the file, which must be there.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            handle: RwLock::new(Handle::Open(open(path)?)),
            turn: Mutex::new(()),
        })
    }

    /// Makes a new file, filled by `fill`, for its owner alone.
    pub(super) fn create(
        path: &Path,
        fill: impl FnMut(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(path)
            .map_err(StoreError::file("create", path))?;
        // An empty file is one that a database may be made in.
        let made = Builder::new().set_cache_size(CACHE).create(path);
        let database = Self {
            path: path.to_owned(),
            handle: RwLock::new(Handle::Open(made.map_err(|error| opening(path, error))?)),
            turn: Mutex::new(()),
        };
        database.write("create", fill)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what one transaction sees.
    pub(super) fn read<T>(
        &self,
        mut body: impl FnMut(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut again = false;
        loop {
            let seen = {
                let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
                match &*handle {
                    Handle::Open(database) => Some(
                        database
                            .begin_read()
                            .map_err(Failure::from)
                            .and_then(|transaction| body(&transaction)),
                    ),
                    _ => None,
                }
            };
            let failed = match seen {
                Some(Ok(value)) => return Ok(value),
                Some(Err(Failure::Store(error))) => return Err(error),
                Some(Err(Failure::Database(error))) => Some(error),
                None => None,
            };
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = failed {
                let is_old = matches!(error, redb::Error::PreviousIo);
                if is_old || matches!(error, redb::Error::Io(_)) {
                    self.close(None);
                }
                if !is_old || again {
                    return Err(self.error("read", error));
                }
                again = true;
            }
            self.ensure_open()?;
        }
    }

    /// Makes one transaction, which is on the disk when this comes back. `body` may be called twice.
    pub(super) fn write<T>(
        &self,
        what: &'static str,
        mut body: impl FnMut(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again = false;
        loop {
            self.ensure_open()?;
            match self.attempt(&mut body) {
                Ok(value) => return Ok(value),
                Err(Ended::Refused(error)) => return Err(error),
                // A reader met an error before; nothing is lost by that.
                Err(Ended::Early(redb::Error::PreviousIo)) if !again => {
                    self.close(None);
                    again = true;
                }
                Err(Ended::Early(error)) => {
                    if matches!(error, redb::Error::PreviousIo | redb::Error::Io(_)) {
                        self.close(None);
                    }
                    return Err(self.error(what, error));
                }
                Err(Ended::Late(error, number, value)) => {
                    return match self.is_there(&error, number) {
                        true => Ok(value),
                        false => Err(self.error(what, error)),
                    };
                }
            }
        }
    }

    fn attempt<T>(
        &self,
        body: &mut impl FnMut(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Ended<T>> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let Handle::Open(database) = &*handle else {
            return Err(Ended::Early(redb::Error::PreviousIo));
        };
        let mut made = || -> Result<(WriteTransaction, u64, T), Failure> {
            let transaction = database.begin_write()?;
            let value = body(&transaction)?;
            let number = {
                let mut counts = transaction.open_table(COUNTS)?;
                let last = counts.get(COMMITS)?.map_or(0, |last| last.value());
                counts.insert(COMMITS, last + 1)?;
                last + 1
            };
            Ok((transaction, number, value))
        };
        let (transaction, number, value) = made().map_err(|failure| match failure {
            Failure::Store(error) => Ended::Refused(error),
            Failure::Database(error) => Ended::Early(error),
        })?;
        match transaction.commit() {
            Ok(()) => Ok(value),
            Err(error) => Err(Ended::Late(error.into(), number, value)),
        }
    }

    /// After a commit has failed: whether its transaction is there nevertheless. Where that cannot be known now, it is
    /// settled before anything else is done.
    fn is_there(&self, error: &redb::Error, number: u64) -> bool {
        self.close(Some(number));
        let is_full = matches!(error, redb::Error::Io(error) if says_full(error));
        if !is_full {
            let reason = format!("the disk failed while it was written ({error})");
            self.set(Handle::Stopped(reason));
            return false;
        }
        let Ok(database) = open(&self.path) else {
            return false;
        };
        let last = last(&database);
        if last.is_ok() {
            self.set(Handle::Open(database));
        }
        last.is_ok_and(|last| last == number)
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        let doubt = {
            let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            match &*handle {
                Handle::Open(_) => return Ok(()),
                Handle::Stopped(reason) => {
                    return Err(StoreError::Stopped {
                        path: self.path.clone(),
                        reason: reason.clone(),
                    });
                }
                Handle::Closed { doubt } => *doubt,
            }
        };
        let database = open(&self.path)?;
        let last = last(&database).map_err(|error| self.error("read", error))?;
        if doubt == Some(last) {
            // Its caller was told that it had failed, and would do it twice.
            let reason = "what was written when the disk was full is there after all".to_owned();
            self.set(Handle::Stopped(reason));
            return self.ensure_open();
        }
        self.set(Handle::Open(database));
        Ok(())
    }

    /// Closes the file, so that it can be opened again. The caller holds the turn.
    fn close(&self, doubt: Option<u64>) {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        if let Handle::Open(_) = *handle {
            *handle = Handle::Closed { doubt };
        }
    }

    fn set(&self, new: Handle) {
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn error(&self, what: &'static str, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Corrupted(reason) => StoreError::broken(&self.path, reason),
            error => StoreError::Database {
                what,
                path: self.path.clone(),
                source: Arc::new(error),
            },
        }
    }
}

fn open(path: &Path) -> Result<redb::Database, StoreError> {
    Builder::new()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .open(path)
        .map_err(|error| opening(path, error))
}

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    let invalid = |error: &std::io::Error| {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        matches!(error.kind(), InvalidData | UnexpectedEof)
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            StoreError::InUse(path.parent().unwrap_or(path).to_owned())
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            StoreError::broken(path, format!("not a whole store: {reason}"))
        }
        DatabaseError::Storage(StorageError::Io(error)) if invalid(&error) => {
            StoreError::broken(path, format!("not a whole store: {error}"))
        }
        error => StoreError::Database {
            what: "open",
            path: path.to_owned(),
            source: Arc::new(error.into()),
        },
    }
}

/// The number of the last transaction.
fn last(database: &redb::Database) -> Result<u64, redb::Error> {
    let counts = database.begin_read()?.open_table(COUNTS)?;
    Ok(counts.get(COMMITS)?.map_or(0, |last| last.value()))
}
