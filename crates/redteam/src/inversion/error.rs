//! Why a reconstruction was refused.

use super::observation::NotAttackable;

/// The reconstruction, or its scoring, cannot be made as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InversionError {
    /// A vector has another length than it must have.
    #[error("{what} has {got} values, expected {expected}")]
    Length {
        /// Which vector.
        what: &'static str,
        /// Its expected length.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A number is out of its range.
    #[error("{what} {reason}")]
    Parameter {
        /// Which number.
        what: &'static str,
        /// What it must be, and was.
        reason: String,
    },
    /// A value that is no number.
    #[error("value {index} of {what} is not finite")]
    NotFinite {
        /// Which vector.
        what: &'static str,
        /// Where.
        index: usize,
    },
    /// The model has not the part that the attack reads.
    #[error("{attack} needs {needs}")]
    Model {
        /// The attack.
        attack: &'static str,
        /// What the model would have to have.
        needs: &'static str,
    },
    /// An excluded tensor that the model does not have.
    #[error("no tensor's name begins with '{name}'")]
    Tensor {
        /// The name, or the beginning of names.
        name: String,
    },
    /// Nothing is left to compare.
    #[error("no coordinate of the update is left for the attack's objective")]
    NothingToMatch,
    /// A preset that does not exist.
    #[error("no attack is called '{name}'; there are {known}")]
    Preset {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// What was sent cannot be attacked by this suite.
    #[error(transparent)]
    NotAttackable(#[from] NotAttackable),
}

impl InversionError {
    /// An error unless `got` is `expected`.
    pub(super) fn length(what: &'static str, expected: usize, got: usize) -> Result<(), Self> {
        if got == expected {
            Ok(())
        } else {
            Err(Self::Length {
                what,
                expected,
                got,
            })
        }
    }

    /// An error if a value is NaN or infinite.
    pub(super) fn finite(what: &'static str, values: &[f32]) -> Result<(), Self> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Self::NotFinite { what, index }),
            None => Ok(()),
        }
    }
}
