//! The envoy of a site, without its transport: it sits beside one organisation's data and hosts one client of the round.
//!
//! What it does is decided by its own config and by nobody else: [`Policy`] says yes or no to each experiment, with the reason.
//! It runs no code of the director's and opens no path that the director names. [`Envoy`] is synchronous: whoever dials hands
//! it what came and sends what lies in its outbox.
//!
//! # What it remembers
//! [`Memory`] holds, durably and in one transaction each, the answers that were given and how far a client has come. The same
//! message again gives the same bytes and never a second training. A crash between training and storing repeats the training;
//! nothing of the first has left, so it is not charged again to the [`SiteLedger`]. A secure sum that a restart
//! interrupts is given up: its secrets were never stored.
//!
//! # What it spends
//! Every release is on the site's ledger before its training begins, over all experiments on a data set. Noise that the site
//! adds itself (`dp-sgd`, `local-gaussian`) is charged as it was drawn; noise of a director or a cohort is charged as
//! promised: **there the ledger relies on the director, or the cohort, adding it.** Training without noise is charged as what it is,
//! an unlimited loss.

mod attend;
mod config;
mod data;
mod ledger;
mod memory;
mod policy;
mod rounds;
mod worker;

use std::io;
use std::path::{Path, PathBuf};

use cloister_data::{DataError, PartitionError};
use cloister_privacy::{LedgerError, PrivacyError};
use cloister_protocol::ProtocolError;
use cloister_protocol::message::DecodeError;

use crate::experiment::Id;
use crate::pki::PkiError;
use crate::plan::PlanError;
use crate::transport::CredentialError;

pub use attend::attend;
pub use config::{Budget, DataEntry, EnvoyConfig, Recording, Requirement, Share};
pub use data::{Examples, LocalData};
pub use ledger::{Account, Release, SiteLedger, releases_of};
pub use memory::{Memory, MemoryError, Pending};
pub use policy::{Policy, Terms};
pub use worker::{DatasetStatus, Envoy, EnvoyStatus, ExperimentWork};

/// Why an envoy did not do what it was told. A policy that says no is no error: that is an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvoyError {
    /// The config of the site is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The site's key or certificate cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The site's kit cannot be used now.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The site's examples cannot be used.
    #[error("data.{dataset}: {reason}")]
    Data {
        /// The name that experiments use.
        dataset: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The ledger cannot be used; then nothing is trained.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What a training would cost cannot be told.
    #[error("privacy: {0}")]
    Privacy(#[from] PrivacyError),
    /// A document is none.
    #[error("{what} of {bytes} bytes: {reason}")]
    Document {
        /// Which.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// Why not.
        reason: String,
    },
    /// There is no such experiment here.
    #[error("experiment {0} is not one that this site takes part in")]
    Unknown(Id),
    /// What was accepted before is not any more: the config or the data of the site have changed.
    #[error("experiment {experiment} cannot go on here: {reason}")]
    Refused {
        /// Which experiment.
        experiment: Id,
        /// Why not.
        reason: String,
    },
    /// Something was told before, in other words.
    #[error("experiment {experiment}: {what} differs from the one taken before")]
    Differs {
        /// Which experiment.
        experiment: Id,
        /// What differs.
        what: &'static str,
    },
    /// A stored charter or offer makes no plan any more: another version of the program, or a changed config.
    #[error("experiment {experiment}: {source}")]
    Plan {
        /// Which experiment.
        experiment: Id,
        /// Why not.
        source: PlanError,
    },
    /// The stored state of a client does not fit.
    #[error("experiment {experiment}: {source}")]
    State {
        /// Which experiment.
        experiment: Id,
        /// Why not.
        source: ProtocolError,
    },
    /// A message is longer than any of its experiment.
    #[error("experiment {experiment}, message {number}: {bytes} bytes, at most {most} are taken")]
    TooLong {
        /// Which experiment.
        experiment: Id,
        /// Which message.
        number: u64,
        /// Its length.
        bytes: u64,
        /// The longest that is taken.
        most: u64,
    },
    /// Bytes are no message of a round.
    #[error("experiment {experiment}, message {number}: {source}")]
    Message {
        /// Which experiment.
        experiment: Id,
        /// Which message.
        number: u64,
        /// Why not.
        source: DecodeError,
    },
}

impl EnvoyError {
    /// For `map_err` of the file system's calls.
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    fn data(dataset: &str, reason: impl ToString) -> Self {
        Self::Data {
            dataset: dataset.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Words of an error for a peer: of its kind, but without the paths of this machine.
fn outward(error: &EnvoyError) -> String {
    match error {
        EnvoyError::Data { dataset, .. } => {
            format!("the examples of '{dataset}' cannot be used at this site; its log says why")
        }
        EnvoyError::Plan { source, .. } => source.to_string(),
        EnvoyError::Privacy(error) => error.to_string(),
        _ => "this site cannot work at the moment; its log says why".to_owned(),
    }
}

/// What [`cloister_data`] says, in words.
fn data_words(error: DataError) -> String {
    error.to_string()
}

/// What is wrong with a share, in words.
fn partition_words(error: PartitionError) -> String {
    error.to_string()
}
