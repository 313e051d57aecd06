//! Differential privacy: what adds noise, what it costs, and a record of it that cannot be short.
//!
//! A mechanism makes its [`Event`]; the ledger has it on the disk before anything is released; an accountant turns the
//! events of a ledger into epsilon at a delta; the [`Statement`] says in words what that promises, to whom, and what would
//! void it. Whatever cannot be shown from the code or the ledger counts as an infinite epsilon.

pub mod accounting;
mod config;
mod error;
mod event;
mod kernels;
mod ledger;
pub mod mechanism;
pub mod noise;
pub mod special;
mod statement;

pub use config::{AdaptiveClipConfig, Correlation, Mechanism, NoiseOrigin, PrivacyConfig};
pub use error::PrivacyError;
pub use event::{Event, Neighbouring, Unit};
pub use ledger::{Entry, Ledger, LedgerError, Mark, Receipt};
pub use statement::{
    Assumption, Claim, ClientClaim, Collusion, Fact, MechanismFacts, Standing, State, Statement,
    Trust, found_words, rounded_up,
};
