//! Attacks on a federation: poisoned updates and poisoned data, as clients of the same protocol; and what can be read from
//! what a run leaves behind: [`membership`], [`property`], and [`audit`]s with planted canaries.
//!
//! An [`Adversary`] holds all malicious clients of a run and what they know. It trains in their place
//! ([`Adversary::train`], on poisoned data where the attack is one on data), turns what they trained into what they send
//! ([`Adversary::craft`], with a [`View`] of the round) and remembers what the server made of it
//! ([`Adversary::observe`]). What an attack may see is [`Knowledge`], and is checked.
//!
//! [`inversion`] is the curious server's side: what it can rebuild of a client's examples from one update.

mod adversary;
pub mod audit;
mod config;
mod data;
mod error;
pub mod inversion;
pub mod membership;
mod memory;
mod normal;
pub mod property;
mod updates;
mod view;

pub use adversary::Adversary;
pub use config::{AttackConfig, AttackKind, Direction, Knowledge};
pub use error::AttackError;
pub use memory::Memory;
pub use view::{OwnUpdate, View};
