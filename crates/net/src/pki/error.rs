//! What can go wrong with keys and certificates.

use std::io;
use std::path::{Path, PathBuf};

use super::key::Fingerprint;
use super::name::{Identity, NameError};

/// Why something about keys or certificates was not done. Words name what and where, and never a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two of a kind have one name, or names that differ in capitals only.
    #[error(
        "'{0}' and '{1}' are the same name; folders on some systems do not tell capitals apart"
    )]
    SameName(String, String),
    /// A file or folder cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder that was to be made is there already.
    #[error("{} is there already and not empty; nothing was written", .0.display())]
    NotEmpty(PathBuf),
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate that is not one of this federation's.
    #[error("not a certificate to trust: {0}")]
    Certificate(String),
    /// A request that is none, or was changed on its way.
    #[error("not a request to sign: {0}")]
    Request(String),
    /// The fingerprint that was told is not that of the key.
    #[error("the fingerprint does not fit: expected {expected}, found {found}")]
    Fingerprint {
        /// What was told.
        expected: Fingerprint,
        /// What was found.
        found: Fingerprint,
    },
    /// There is a living certificate of that name.
    #[error(
        "{identity} has a certificate until {}; if this is to follow it, ask for a renewal",
        super::date(*until)
    )]
    Living {
        /// Whose.
        identity: Identity,
        /// Until when.
        until: u64,
    },
    /// The key is somebody else's.
    #[error("the key of the request is that of {0}")]
    KeyTaken(Identity),
    /// The key stands on the deny list.
    #[error("the key belongs to a certificate of {0} that is denied: make a new one")]
    KeyDenied(Identity),
    /// The certificate would be valid for longer than the authority's.
    #[error(
        "a certificate until {} would outlast the authority's, which ends at {}",
        super::date(*until),
        super::date(*authority)
    )]
    Outlasts {
        /// Until when it was to be.
        until: u64,
        /// Until when the authority's is.
        authority: u64,
    },
    /// There is nothing of that name.
    #[error("{0} has no certificate that is not denied")]
    Unknown(Identity),
    /// The director has no living certificate, so that there is no roster.
    #[error("{0} has no living certificate: no roster without it")]
    NoDirector(Identity),
    /// A certificate does not fit where it was to go.
    #[error("{}: {reason}", path.display())]
    Misfit {
        /// The answer, or the file that it does not fit.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    /// A certificate or request cannot be encoded.
    #[error("cannot encode a certificate: {0}")]
    Encode(#[from] rcgen::Error),
    /// A roster cannot be made.
    #[error("cannot make the roster: {0}")]
    Roster(#[from] cloister_secagg::RosterError),
}

impl PkiError {
    /// For `map_err` of the file system's calls.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn broken(path: &Path, reason: impl ToString) -> Self {
        Self::Broken {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn misfit(path: &Path, reason: impl ToString) -> Self {
        Self::Misfit {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether other arguments would have done.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Name(_) | Self::SameName(..) | Self::Outlasts { .. }
        )
    }
}
