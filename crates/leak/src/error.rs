//! What keeps a run from being attacked.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use cloister_config::ConfigError;
use cloister_data::DataError;
use cloister_host::TranscriptFileError;
use cloister_report::record::RecordError;
use cloister_sim::SimError;

/// Why a run cannot be attacked. An attack that was made and did not succeed is no error: it is a row of the report.
#[derive(Debug, thiserror::Error)]
pub enum LeakError {
    /// A file of the run, or of the result.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The run has no transcript of what was asked for.
    #[error(
        "{path} has no transcript{of}: record rounds with [record] in its config, for instance --set record.rounds=[1]",
        path = path.display()
    )]
    NoTranscript {
        /// The run folder.
        path: PathBuf,
        /// ` of round 7`, or nothing.
        of: String,
    },
    /// A client, an attack or a setting that does not exist or does not fit this run.
    #[error("{0}")]
    Request(String),
    /// The config of the run, or one derived from it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data of the run.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A transcript of the run.
    #[error(transparent)]
    Transcript(#[from] TranscriptFileError),
    /// The record of the run.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A run that was made to be attacked.
    #[error(transparent)]
    Simulation(#[from] SimError),
    /// An attack that could not begin.
    #[error("{attack}: {reason}")]
    Attack {
        /// Its name.
        attack: String,
        /// Why not.
        reason: String,
    },
    /// A picture could not be made.
    #[error("a picture cannot be written: {0}")]
    Picture(String),
    /// The work was interrupted.
    #[error("stopped")]
    Stopped,
}

impl LeakError {
    /// An attack of that name that could not begin, for this reason.
    pub(crate) fn attack(attack: &str, reason: impl Display) -> Self {
        Self::Attack {
            attack: attack.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What is wrong with a file.
    pub(crate) fn file(path: &Path, reason: impl Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
