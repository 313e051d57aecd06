//! Attacks on a federation: poisoned updates and poisoned data, as clients of the same protocol.

mod config;

pub use config::{AttackConfig, AttackKind, Direction, Knowledge};
