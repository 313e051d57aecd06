//! What can go wrong with an envoy's memory.

use std::io;
use std::path::PathBuf;

use super::tables::VERSION;

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Another envoy uses it.
    #[error("{}: another envoy is running on this folder", .0.display())]
    InUse(PathBuf),
    /// It was written by a newer version.
    #[error("{}: written by a newer version of the program (format {found}, this one knows {VERSION})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The database says no.
    #[error("memory of the site: {0}")]
    Database(Box<redb::Error>),
    /// A file beside it cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("memory of the site: {0}")]
    Broken(String),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for MemoryError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);
