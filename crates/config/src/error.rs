//! What can be wrong with a config, and where.

use std::fmt;
use std::path::PathBuf;

/// Why a config was not loaded. All problems of a file are reported at once, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any config.
    #[error("{}: larger than {limit} bytes, the most that a config may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file is not UTF-8 text.
    #[error("{}: not UTF-8 text from byte offset {offset} on", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Bytes before the first that is no UTF-8.
        offset: usize,
    },
    /// The text is not TOML, or not JSON.
    #[error("{location}: {reason}")]
    Syntax {
        /// Where reading stopped.
        location: Location,
        /// What was expected there.
        reason: String,
    },
    /// A `--set` argument is not of the form `key=value`.
    #[error("--set {argument}: {reason}")]
    Override {
        /// The argument as given.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is well formed but is not an experiment that can run.
    #[error("{0}")]
    Invalid(Problems),
    /// The experiment cannot be written down as TOML.
    #[error("the config cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

impl ConfigError {
    /// The single problems of an [`Invalid`](Self::Invalid) config; empty for the other variants.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => &problems.0,
            _ => &[],
        }
    }
}

/// One or more [`Problem`]s, shown one after the other on lines of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a config.
///
/// ```
/// # use cloister_config::*;
/// let problem = Problem {
///     location: Location::File { path: "a.toml".into(), line: 12, column: 1 },
///     key: "federation.cleints".into(),
///     fault: Fault::UnknownKey,
///     hint: Some("did you mean 'federation.clients'?".into()),
/// };
/// assert_eq!(
///     problem.to_string(),
///     "a.toml:12:1: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?"
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where the key, or the value, stands.
    pub location: Location,
    /// The dotted key.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
    /// What would help.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location != Location::Nowhere {
            write!(f, "{}: ", self.location)?;
        }
        let key = &self.key;
        match &self.fault {
            Fault::UnknownKey => write!(f, "unknown key '{key}'")?,
            Fault::Missing { expected } => write!(f, "'{key}' is missing, expected {expected}")?,
            Fault::Repeated => write!(f, "'{key}' is given twice")?,
            other => write!(f, "{key}: {other}")?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Kinds of [`Problem`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No such key.
    #[error("unknown key")]
    UnknownKey,
    /// A word that is none of the known ones.
    #[error("unknown value {found}, expected one of {known}")]
    UnknownValue {
        /// The word, quoted.
        found: String,
        /// The known ones, quoted and separated by commas.
        known: String,
    },
    /// A value of another type, or out of its type's range.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What was expected, in words.
        expected: String,
        /// What was found, in words.
        found: String,
    },
    /// A key without which there is no experiment.
    #[error("missing, expected {expected}")]
    Missing {
        /// What was expected, in words.
        expected: String,
    },
    /// A key that stands twice in one table.
    #[error("given twice")]
    Repeated,
    /// A value, or a combination, that cannot work; with the reason.
    #[error("{0}")]
    Refused(String),
}

/// Where in the input something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a `--set` argument, given here in full.
    Argument(String),
    /// In no text: the experiment was made by a program.
    Nowhere,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Argument(argument) => write!(f, "--set {argument}"),
            Self::Nowhere => Ok(()),
        }
    }
}

/// Something that runs, but perhaps not as its author thinks.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The dotted key that it is about.
    pub key: String,
    /// One sentence.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
