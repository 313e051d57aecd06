//! What this crate refuses.

/// Why a privacy setting, event, ledger or question was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyError {
    /// A number out of its range.
    #[error("{name} must be {range}, found {found}")]
    Parameter {
        /// The parameter, by the name under which users know it.
        name: &'static str,
        /// What would fit.
        range: &'static str,
        /// What was given.
        found: f64,
    },
    /// The operating system refused randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// A combination that has no accounting, or whose accounting would be wrong.
    #[error("{0}")]
    Unsupported(String),
}
