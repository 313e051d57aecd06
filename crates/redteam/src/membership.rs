//! Membership inference: was this example among those that a model learnt from?
//!
//! A [`Pool`] holds members and non-members from one distribution. The *target* model and, for the stronger attacks, shadow
//! models that the attacker trains on parts of the pool ([`shadow`]) are asked about every example of it ([`Signals`]); a
//! score turns the answers into one number an example, larger for likelier members ([`Observations`], [`shokri`],
//! [`fedmia`]); [`Roc`] measures the scores, with intervals and beside what differential privacy allows ([`Ceiling`]).
//!
//! | attack | needs | source |
//! | --- | --- | --- |
//! | [`Observations::gap`] | nothing | Yeom et al. 2018, section 3.2 |
//! | [`Observations::yeom`] | nothing | Yeom et al. 2018, section 3.3 |
//! | [`Observations::difficulty`] | a shadow pair | Ye et al. 2022 (Attack-R), Watson et al. 2022 |
//! | [`Observations::lira_online`], [`Observations::lira_offline`] | shadows | Carlini et al. 2022, sections 4 and 5 |
//! | [`Observations::rmia`] | a few shadows, a population | Zarifzadeh et al. 2024, section 3 |
//! | [`shokri`] | shadows on disjoint data | Shokri et al. 2017 |
//! | [`fedmia`] | recorded rounds, no shadows | Zhu et al. 2024 |

pub mod fedmia;
mod pool;
mod roc;
mod scores;
pub mod shadow;
pub mod shokri;
mod signals;

pub use pool::Pool;
pub use roc::{Ceiling, Column, Estimate, Roc, Verdict, clopper_pearson, per_class};
pub use scores::{Observations, Reference, Rmia};
pub(crate) use signals::probabilities;
pub use signals::{Query, Signals};

/// Why an attack on membership was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Too few of something for a figure that means anything.
    #[error("{got} {what} are too few, {least} are needed")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// The least that is needed.
        least: usize,
        /// How many there are.
        got: usize,
    },
    /// A score is not a number.
    #[error("the score of example {example} is not a number")]
    Score {
        /// Its place.
        example: usize,
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
    /// No shadow model stayed away from (or learnt from) an example.
    #[error("no shadow model {what} example {example}")]
    NoShadow {
        /// `stayed away from` or `learnt from`.
        what: &'static str,
        /// The example's place.
        example: usize,
    },
    /// A row that the data do not have.
    #[error("row {row} is not among the {rows} examples")]
    Row {
        /// The row.
        row: u32,
        /// How many there are.
        rows: usize,
    },
    /// The data do not fit the model, or one another.
    #[error("data: {0}")]
    Data(String),
    /// A shadow model could not be trained.
    #[error("shadow model {shadow}: {reason}")]
    Training {
        /// Which.
        shadow: usize,
        /// Why.
        reason: String,
    },
}
