//! Secure aggregation: the server learns the sum of what clients send, and nothing else, even when it lies.
//!
//! Being written.

pub mod field;
pub mod graph;
pub mod lanes;
pub mod mask;
pub mod members;
pub mod merkle;
pub mod message;
pub mod quantise;
pub mod shamir;
pub mod statement;

mod client;
mod config;
mod error;
mod keys;
mod params;
mod record;
mod roster;
mod server;
mod session;
mod sign;
mod wire;

pub use client::{Client, Policy, Step, Work};
pub use config::{GraphKind, Protocol, SecureAggregationConfig, ServerTrust};
pub use error::{ABORT_CODES, Abort, Failure, Rejection};
pub use keys::{CIPHERTEXT_LEN, Secrets};
pub use params::{LEAST_COHORT, MOST_LANES, MOST_MEMBERS, MOST_META, Mode, Params, SUITE, VERSION};
pub use record::{RECORD_LEN, Record};
pub use roster::{Entry, Roster, RosterError};
pub use server::{Output, Server, Stage, Sum};
pub use sign::{Identity, SignatureBytes};
pub use wire::DecodeError;
