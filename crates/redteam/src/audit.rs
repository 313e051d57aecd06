//! What a run betrays of canaries that were planted in it, beside what its accountant promises.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Guesses`] | lower bounds on epsilon from one run (Steinke, Nasr and Jagielski 2023; Mahloujifar et al. 2025) |
//! | [`one_shot`] | the *estimate* of Andrew et al. 2024 from canary clients, which bounds nothing |
//! | [`canary`] | the canaries: clients that send a random direction, or examples with a wrong label |
//!
//! A lower bound above the promise means that the promise is broken. A small one is no evidence of privacy: it may be the
//! canaries that were bad.

pub mod canary;
mod one_run;
pub mod one_shot;

pub use one_run::Guesses;

/// Why an audit was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// More correct guesses than guesses, or more guesses than canaries, or none.
    #[error(
        "{correct} correct of {guesses} guesses about {canaries} canaries cannot be: each must be at most the next, and \
         there must be a guess"
    )]
    Counts {
        /// Canaries.
        canaries: u64,
        /// Guesses.
        guesses: u64,
        /// Correct ones.
        correct: u64,
    },
    /// A number out of its range.
    #[error("{name} must be {range}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Where it must be.
        range: &'static str,
        /// What it is.
        found: f64,
    },
    /// Two lists that must be of one length.
    #[error("{what}: {got} values, expected {expected}")]
    Length {
        /// Which list.
        what: &'static str,
        /// Its expected length.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A score is not a number.
    #[error("the score of canary {canary} is not a finite number")]
    Score {
        /// The canary.
        canary: usize,
    },
    /// The accountant would not answer.
    #[error("accountant: {0}")]
    Accountant(String),
}

/// Refuses a number that does not fit.
fn in_range(
    found: f64,
    name: &'static str,
    range: &'static str,
    fits: bool,
) -> Result<(), AuditError> {
    match fits {
        true => Ok(()),
        false => Err(AuditError::Parameter { name, range, found }),
    }
}

fn finite(scores: &[f64]) -> Result<(), AuditError> {
    match scores.iter().position(|score| !score.is_finite()) {
        Some(canary) => Err(AuditError::Score { canary }),
        None => Ok(()),
    }
}
