//! What can go wrong with a run folder.

use std::io;
use std::path::{Path, PathBuf};

/// A run folder that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The folder for a new run already holds one.
    #[error("{} already holds a run (found {found}); continue it with --resume or choose another --out", folder.display())]
    AlreadyHoldsRun {
        /// The folder.
        folder: PathBuf,
        /// The file that gives the run away.
        found: &'static str,
    },
    /// The folder holds neither a config nor rounds.
    #[error("{} holds no run: neither config.toml nor rounds.csv is in it", folder.display())]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// The run in the folder has no summary, which a question needs.
    #[error("{} holds a run that has not ended, or was stopped: summary.json is not in it", folder.display())]
    NotEnded {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds no `sweep.csv`.
    #[error("{} holds no sweep: sweep.csv is not in it", folder.display())]
    NotASweep {
        /// The folder.
        folder: PathBuf,
    },
    /// Rounds that the caller counts as completed are not in `rounds.csv`.
    #[error("{}: the last recorded round is {recorded}, but {completed} rounds are said to be completed", file.display())]
    MissingRounds {
        /// `rounds.csv`.
        file: PathBuf,
        /// Last round on file; 0 when there is none.
        recorded: u32,
        /// What the caller (its checkpoint) counts.
        completed: u32,
    },
    /// A round was recorded twice, or before an earlier one.
    #[error("round {round} cannot be recorded after round {last}")]
    RoundOrder {
        /// The round.
        round: u32,
        /// The round recorded last.
        last: u32,
    },
    /// A table handed to the writer is not rectangular, or does not fit its names.
    #[error("{table}: {what} has {got} entries, expected {expected}")]
    Shape {
        /// Which table.
        table: &'static str,
        /// Which part of it.
        what: String,
        /// Its length.
        got: usize,
        /// The length that the names call for.
        expected: usize,
    },
    /// A file's contents are not what its name promises.
    #[error("{}:{line}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A file is larger than any record this reader accepts.
    #[error("{} has {bytes} bytes, more than the {limit} that a record file may have", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A sweep is reopened with other keys than it was begun with.
    #[error("{}: was begun with the keys [{}], not [{}]; choose another --out", file.display(), on_file.join(", "), given.join(", "))]
    SweepKeys {
        /// `sweep.csv`.
        file: PathBuf,
        /// Keys on file.
        on_file: Vec<String>,
        /// Keys of the caller.
        given: Vec<String>,
    },
    /// A value could not be put in its file format.
    #[error("{}: {message}", file.display())]
    Encode {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl RecordError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn malformed(file: &Path, line: u64, message: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }

    /// A CSV error with the line that the CSV reader blames.
    pub(crate) fn csv(file: &Path, error: &csv::Error) -> Self {
        let line = error.position().map_or(1, csv::Position::line);
        let message = match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => {
                format!("row has {len} cells, expected {expected_len}")
            }
            csv::ErrorKind::Utf8 { err, .. } => format!("cell {} is not UTF-8", err.field() + 1),
            _ => error.to_string(),
        };
        Self::malformed(file, line, message)
    }
}

/// What is wrong with a cell, by the name of its column.
pub(super) fn column_message(header: &csv::StringRecord, error: &csv::Error) -> String {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
        return error.to_string();
    };
    match err
        .field()
        .and_then(|field| header.get(usize::try_from(field).ok()?))
    {
        Some(column) => format!("{column}: {}", err.kind()),
        None => err.kind().to_string(),
    }
}
