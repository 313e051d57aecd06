//! What can go wrong at a director.

use std::path::PathBuf;

use cloister_host::{CheckpointError, ModelError, SpendingError, TranscriptFileError};
use cloister_privacy::PrivacyError;
use cloister_protocol::ProtocolError;
use cloister_report::record::RecordError;

use crate::audit::AuditError;
use crate::pki::PkiError;
use crate::plan::PlanError;
use crate::store::StoreError;
use crate::transport::{CredentialError, ServeError};

/// Why a director could not start, or an experiment could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectorError {
    /// Its config is wrong.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Its keys or certificates are.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// They are not those of a director, or not valid now.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Calls cannot be answered.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Its store is.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its audit log is.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The experiment's words cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The server was driven wrongly, or a state does not fit it.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A release could not be accounted for.
    #[error(transparent)]
    Spending(#[from] SpendingError),
    /// The statement could not be made.
    #[error("privacy: {0}")]
    Privacy(#[from] PrivacyError),
    /// The run folder cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A transcript cannot be kept.
    #[error(transparent)]
    Transcript(#[from] TranscriptFileError),
    /// A stored state is not one.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model file could not be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The experiment's own examples cannot be read.
    #[error(transparent)]
    Data(#[from] cloister_data::DataError),
    /// A port or a file of the system's.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A defect: something that the director itself has promised does not hold.
    #[error("{0}")]
    Defect(String),
}
