//! What can go wrong with the store.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::experiment::{Id, State};

/// Why the store did not do something. Where nothing else is said, nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The database cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database says.
        source: Arc<redb::Error>,
    },
    /// Another director works in the folder.
    #[error("{} is in use by another director", .0.display())]
    InUse(PathBuf),
    /// A later version of the program has written it.
    #[error("{} was written by a newer version: its format is {found}, this version knows {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that is known.
        known: u64,
    },
    /// It is the store of another federation.
    #[error("{} is of the federation '{found}'", path.display())]
    OtherFederation {
        /// The database.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store does nothing any more until the director is started again.
    #[error("{} is closed: {reason}; start the director again", path.display())]
    Stopped {
        /// The database.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no such experiment.
    #[error("there is no experiment {0}")]
    Unknown(Id),
    /// The experiment is over, and stays as it is.
    #[error("experiment {id} is over: {state:?}")]
    Over {
        /// The experiment.
        id: Id,
        /// How it ended.
        state: State,
    },
    /// The experiment is not over.
    #[error("experiment {0} is not over")]
    NotOver(Id),
    /// The site was not asked.
    #[error("experiment {id} was not offered to '{site}'")]
    NotAsked {
        /// The experiment.
        id: Id,
        /// The site.
        site: String,
    },
    /// The experiment has another charter.
    #[error("experiment {0} has a charter already")]
    Chartered(Id),
    /// A round is in progress.
    #[error("experiment {id}: round {open} is in progress")]
    InProgress {
        /// The experiment.
        id: Id,
        /// The round whose log is not empty.
        open: u32,
    },
    /// It is not the turn of this round.
    #[error("experiment {id}: not the turn of round {round}: {done} rounds are done, {}", in_progress(*open))]
    WrongRound {
        /// The experiment.
        id: Id,
        /// The round asked for.
        round: u32,
        /// Rounds done.
        done: u32,
        /// The round in progress.
        open: Option<u32>,
    },
    /// The entry cannot be written that way.
    #[error("experiment {id}: not an entry to log: {reason}")]
    Misfit {
        /// The experiment.
        id: Id,
        /// Why not.
        reason: String,
    },
}

fn in_progress(open: Option<u32>) -> String {
    match open {
        Some(round) => format!("round {round} is in progress"),
        None => "none is in progress".to_owned(),
    }
}

impl StoreError {
    /// Whether the disk, or the share of it that the director may use, is full: the same call may succeed later.
    pub fn is_full(&self) -> bool {
        match self {
            Self::File { source, .. } => says_full(source),
            Self::Database { source, .. } => {
                matches!(&**source, redb::Error::Io(source) if says_full(source))
            }
            _ => false,
        }
    }

    /// For `map_err` of the file system's calls.
    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            what,
            path,
            source: Arc::new(source),
        }
    }

    pub(super) fn broken(path: &Path, reason: impl ToString) -> Self {
        Self::Broken {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Whether the system says that there is no room.
pub(super) fn says_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}
