//! What can be wrong with data, told with the file and the place in it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where in a file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte, counted from 0 in the decompressed content.
    Byte(u64),
    /// A line, counted from 1.
    Line(u64),
    /// A cell of a table: its line, counted from 1, and its column as [`Place::Cell::column`] names it.
    Cell {
        /// Line, counted from 1.
        line: u64,
        /// Column by index and, if there is a header, name.
        column: String,
    },
    /// A member of an archive.
    Entry(String),
}

impl fmt::Display for Place {
    /// Written right after a file's name: `: `, `:3: ` or ` (byte 16): `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => write!(f, ": "),
            Place::Byte(at) => write!(f, ": byte {at}: "),
            Place::Line(line) => write!(f, ":{line}: "),
            Place::Cell { line, column } => write!(f, ":{line}: {column}: "),
            Place::Entry(name) => write!(f, ": entry '{name}': "),
        }
    }
}

/// Why data could not be loaded. Every variant names the file, the place or the key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting of `[data]` that cannot be meant.
    #[error("data.{key}: {reason}")]
    Setting {
        /// Key in `[data]`.
        key: Cow<'static, str>,
        /// What is wrong with it.
        reason: String,
    },
    /// A set that is not inside the binary, asked for without a path.
    #[error(
        "data.dataset: '{name}' is not inside the binary ({known}); give data.path to its files"
    )]
    UnknownDataset {
        /// What was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// The operating system could not read a file or a folder.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Content that is none of the known formats.
    #[error("{file}: format not recognised: {reason}")]
    Unrecognised {
        /// File or folder.
        file: String,
        /// What was seen.
        reason: String,
    },
    /// No example in a file, a folder or an array.
    #[error("{file}: {reason}")]
    Empty {
        /// File or folder.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// Content that ends before its own header says.
    #[error("{file}: cut short: {expected} bytes expected, {found} found")]
    Truncated {
        /// File (and archive member).
        file: String,
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Content larger than the limits allow; nothing of that size was allocated.
    #[error("{file}: too large: {reason}")]
    TooLarge {
        /// File (and archive member).
        file: String,
        /// The sizes.
        reason: String,
    },
    /// Content that breaks its format.
    #[error("{file}{place}{reason}")]
    Malformed {
        /// File (and archive member).
        file: String,
        /// Where in the file.
        place: Place,
        /// What is wrong there.
        reason: String,
    },
    /// A label that no class stands for.
    #[error("{file}{place}label '{label}' is beyond the classes ({classes})")]
    UnknownLabel {
        /// File.
        file: String,
        /// Where in the file.
        place: Place,
        /// The label found.
        label: String,
        /// The classes there are, shortened.
        classes: String,
    },
    /// Figures of training rows, or a pipeline, that belong to other data.
    #[error("preparation: {reason}")]
    Statistics {
        /// What does not fit.
        reason: String,
    },
    /// Records whose columns are not those of a pipeline.
    #[error("the records do not match the pipeline: {reason}")]
    Schema {
        /// What differs.
        reason: String,
    },
    /// A cell of a single record.
    #[error("column '{column}': {reason}")]
    Record {
        /// Its column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Features, labels, classes and sites that do not fit together.
    #[error("dataset '{name}': {reason}")]
    Inconsistent {
        /// Name of the dataset.
        name: String,
        /// What does not fit.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn malformed(file: &str, place: Place, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            place,
            reason: reason.into(),
        }
    }

    pub(crate) fn setting(key: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::Setting {
            key: key.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn statistics(reason: impl Into<String>) -> Self {
        Self::Statistics {
            reason: reason.into(),
        }
    }

    pub(crate) fn empty(file: &str, reason: impl Into<String>) -> Self {
        Self::Empty {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn too_large(file: &str, reason: impl Into<String>) -> Self {
        Self::TooLarge {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Why examples could not be dealt to clients.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// No client to deal to.
    #[error("a federation needs at least one client")]
    NoClients,
    /// A parameter outside its range.
    #[error("data.partition.{key} = {value}: {reason}")]
    Setting {
        /// Key in `[data.partition]`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More examples promised than there are.
    #[error(
        "{clients} clients of at least {minimum} examples need {needed} examples; there are {rows}"
    )]
    TooFewExamples {
        /// Number of clients.
        clients: usize,
        /// Least examples a client.
        minimum: usize,
        /// `clients` times `minimum`.
        needed: usize,
        /// Examples there are.
        rows: usize,
    },
    /// A client under the minimum.
    #[error("client '{client}' gets {found} examples, fewer than the minimum of {minimum}")]
    BelowMinimum {
        /// Name of the client.
        client: String,
        /// Examples it would get.
        found: usize,
        /// Least examples a client.
        minimum: usize,
    },
    /// A client without any example.
    #[error("client '{client}' is left with no example")]
    EmptyClient {
        /// Name of the client.
        client: String,
    },
    /// A random partition that never reached the minimum.
    #[error(
        "none of {attempts} {kind} draws with alpha = {alpha} gave each of {clients} clients {minimum} examples; \
         the best draw's smallest client has {best}: raise alpha, or lower the minimum or the number of clients"
    )]
    NoDraw {
        /// Kind of the partition.
        kind: &'static str,
        /// Its concentration.
        alpha: f64,
        /// Draws made.
        attempts: usize,
        /// Number of clients.
        clients: usize,
        /// Least examples a client.
        minimum: usize,
        /// Size of the smallest client in the best draw.
        best: usize,
    },
    /// Too few places for the classes, so that rows would be left out.
    #[error(
        "{clients} clients of {per_client} classes hold {places} places, fewer than the {classes} classes with examples"
    )]
    TooFewPlaces {
        /// Number of clients.
        clients: usize,
        /// Classes a client.
        per_client: usize,
        /// `clients` times `per_client`.
        places: usize,
        /// Classes that have examples.
        classes: usize,
    },
    /// More classes a client than there are.
    #[error("{per_client} classes a client, but only {classes} classes have examples")]
    TooManyClasses {
        /// Classes a client.
        per_client: usize,
        /// Classes that have examples.
        classes: usize,
    },
    /// More shards than examples.
    #[error(
        "{clients} clients of {per_client} shards are {shards} shards; there are only {rows} examples"
    )]
    TooManyShards {
        /// Number of clients.
        clients: usize,
        /// Shards a client.
        per_client: usize,
        /// `clients` times `per_client`.
        shards: usize,
        /// Examples there are.
        rows: usize,
    },
    /// A natural partition of data whose rows name no owner.
    #[error(
        "dataset '{dataset}' names no owner of its rows: a natural partition needs data.site_column or several paths"
    )]
    NoSites {
        /// Name of the dataset.
        dataset: String,
    },
    /// A number of clients that is not the number of owners.
    #[error("a natural partition has {sites} owners, but {clients} clients are asked for")]
    SiteCount {
        /// Owners in the data.
        sites: usize,
        /// Clients asked for.
        clients: usize,
    },
}
