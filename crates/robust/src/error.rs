//! Why an aggregation was refused.

/// Nothing was aggregated, and why.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RobustError {
    /// There is nothing to aggregate.
    #[error("there are no rows to aggregate")]
    NoRows,
    /// A vector has another length than the first row (or the output).
    #[error("{what} has {got} values, expected {expected}")]
    Length {
        /// Which vector: `row 3`, `the trusted update`.
        what: String,
        /// Its expected length.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A value is NaN or infinite.
    #[error("row {row} has {value} at column {column}")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// Too few rows for so many Byzantine ones.
    #[error("{rule} with byzantine = {byzantine} needs {needed} rows ({formula}), got {got}")]
    TooFewRows {
        /// The rule or step, by its name in a config.
        rule: &'static str,
        /// The f it was asked to withstand.
        byzantine: u32,
        /// Rows that it needs.
        needed: u64,
        /// Where that number comes from.
        formula: &'static str,
        /// Rows that it got, after the steps before it.
        got: usize,
    },
    /// A parameter is out of its range.
    #[error("{name} is {value}, must be {allowed}")]
    Parameter {
        /// Its key.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        allowed: String,
    },
    /// `fltrust` without an update of the server's own.
    #[error("fltrust needs a trusted update of the server's own")]
    NoTrustedUpdate,
    /// A search that can take exponential time was given up.
    #[error(
        "{rule} over {rows} rows with byzantine = {byzantine} takes too long: gave up after {steps} steps"
    )]
    TooLong {
        /// The rule.
        rule: &'static str,
        /// Rows.
        rows: usize,
        /// The f.
        byzantine: u32,
        /// Steps of the search.
        steps: u64,
    },
}

/// Refuses what has not the expected length.
pub(crate) fn check_length(
    what: impl FnOnce() -> String,
    expected: usize,
    got: usize,
) -> Result<(), RobustError> {
    if expected == got {
        return Ok(());
    }
    Err(RobustError::Length {
        what: what(),
        expected,
        got,
    })
}
