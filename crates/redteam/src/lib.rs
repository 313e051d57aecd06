//! Attacks on a federation: poisoned updates and poisoned data, as clients of the same protocol.

mod adversary;
mod config;
mod error;
mod normal;
mod view;

pub use adversary::{Adversary, Memory};
pub use config::{AttackConfig, AttackKind, Direction, Knowledge};
pub use error::AttackError;
pub use view::{OwnUpdate, View};
