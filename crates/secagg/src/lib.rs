//! Secure aggregation: the server learns the sum of what clients send, and nothing else, even when it lies.
//!
//! Two state machines, [`Client`] and [`Server`], exchange bytes. Neither owns a thread, a clock, a socket or a random generator:
//! a host delivers messages, passes the time in, and takes out what is to be sent. The protocol is that of Bonawitz et al. (CCS
//! 2017) with a consistency round, on a complete graph ([`Mode::Malicious`]), and the sparse one of Bell et al. (CCS 2020) for a
//! server that follows the protocol ([`Mode::SemiHonest`]). The bytes are in `docs/secure-aggregation-wire.md`, what is promised
//! and what is not in `docs/threat-model.md`.
//!
//! ```text
//!   server                                    client
//!   Params ─────────────────────────────────▶ join: checks them against its policy, its record, its model
//!   ◀──────────────────────────── Advertise   fresh public keys, signed
//!   Roster ─────────────────────────────────▶ checks every key and signature
//!   ◀─────────────────────────────── Shares   shares of its two secrets, sealed for each neighbour
//!   Deliver ────────────────────────────────▶ opens those of the others; ready
//!   ◀─────────────────────────────── Masked   vector + self mask ± pair masks, signed
//!   Survivors ──────────────────────────────▶ is in, with its own vector, among enough
//!   ◀────────────────────────────────── Ack   signs which survivors it saw (mode M)
//!   Acks ───────────────────────────────────▶ a threshold saw the same
//!   ◀─────────────────────────────── Reveal   a share of b for each survivor, of r for each dropout, never both, once
//!   Result ─────────────────────────────────▶
//! ```
//!
//! What holds, whatever the messages do: the sum is the exact integer sum over the survivors, or there is none; a client sends one
//! masked vector and one reveal a session, or fewer; a message that does not check ends the session for whoever sees it, with its
//! secrets wiped. A [`Record`] on the disk keeps that true over restarts.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//! use std::time::Duration;
//! use cloister_secagg::lanes::Vector;
//! use cloister_secagg::*;
//!
//! // Four clients without identities: a server that follows the protocol.
//! let entry = |name: u8| Entry { client: [name; 16], identity: [0; 32], not_after: u64::MAX };
//! let roster = Arc::new(Roster::new([0; 32], (0..4).map(entry).collect())?);
//! let config = SecureAggregationConfig { mode: ServerTrust::SemiHonest, minimum_cohort: 3, ..Default::default() };
//! let params = Params { roster_hash: *roster.hash(), ..config.params(4, 2)? };
//! let work = Work { model_hash: [0; 32], config_hash: [0; 32], model_lanes: 2, meta_lanes: params.meta_lanes.into() };
//! let policy = |place| Policy {
//!     task: [0; 16], roster: Arc::clone(&roster), place, identity: None,
//!     mode: Mode::SemiHonest, minimum_cohort: 3, corrupt_ppm: 200_000, today: 0,
//! };
//! let mut server = Server::new(params, Arc::clone(&roster), None)?;
//! let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
//! while let Some(output) = server.poll_output() {
//!     let (to, message) = match output {
//!         Output::Send { to, message } => (to, message),
//!         Output::Sums(sums) => {
//!             assert_eq!(sums[0].vector.model_lanes().collect::<Vec<_>>(), [0 + 1 + 2 + 3, 4]);
//!             continue;
//!         }
//!         _ => continue,
//!     };
//!     let step = match clients.get_mut(&to) {
//!         Some(client) => client.receive(&message, Duration::ZERO)?,
//!         None => {
//!             // A real client draws its secrets from the operating system.
//!             let [r, b, c, z] = [1, 2, 3, 4].map(|secret| [10 * to as u8 + secret; 32]);
//!             let secrets = Secrets { r, b, c, z };
//!             let policy = Arc::new(policy(to));
//!             let joined = Client::join(policy, &Record::default(), &work, &message, secrets, Duration::ZERO);
//!             let (client, first) = joined?;
//!             clients.insert(to, client);
//!             Step::Send(first)
//!         }
//!     };
//!     let step = match (step, clients.get_mut(&to)) {
//!         (Step::Ready, Some(client)) => {
//!             let mut vector = Vector::zero(client.layout());
//!             vector.fill_model([to, 1]);
//!             client.mask(vector, 1, Duration::ZERO)?
//!         }
//!         (step, _) => step,
//!     };
//!     if let Step::Send(reply) = step {
//!         server.receive(to, &reply)?;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use params::{LEAST_COHORT, MOST_LANES, MOST_MEMBERS, Mode, Params, SUITE, VERSION};
pub use record::{RECORD_LEN, Record};
pub use roster::{Entry, Roster, RosterError};
pub use server::{Output, Server, Stage, Sum};
pub use sign::{Identity, SignatureBytes};
pub use wire::DecodeError;
