//! The federated round without IO.
//!
//! Two state machines, [`Server`] and [`Client`], exchange the messages of [`message`]. Neither owns a thread, a clock,
//! a socket or a random generator: a *host* (the simulator, a deployment, a fault test) delivers messages in whatever
//! order its world delivers them, passes the time in, and takes out what is to be sent and what has happened.
//!
//! ```text
//!            host                                     host
//!   Server ── Train{round, plan, global} ──────────▶ Client ─▶ Learner::train
//!     │                                                │
//!     ◀────── Reply{round, examples, loss, update} ────┘
//!     checks, sums, steps its optimiser; events out
//! ```
//!
//! What holds, whatever the messages do:
//!
//! - **A reply counts once or not at all.** Lost, repeated, reordered or stale messages change nothing else; the new
//!   global model depends only on the *set* of accepted replies, bit for bit ([`sum::ExactSum`]).
//! - **A reply is untrusted.** Layout, length, finiteness, magnitude and claimed counts are checked before anything is
//!   summed ([`Refusal`]); a bad reply is refused alone and never ends a round.
//! - **A round ends.** With enough good replies it completes; when too few can still come, or the deadline passes with
//!   too few, it is abandoned, recorded, and the run goes on from the unchanged model.
//!
//! ```
//! use std::time::Duration;
//! use cloister_protocol::*;
//! use cloister_protocol::message::{ClientMessage, LayoutDigest, TrainReply};
//!
//! let layout = LayoutDigest([7; 32]);
//! let mut server = Server::new(ServerSettings::default(), layout, vec![0.0; 2], Streams::new(1))?;
//! server.enroll(ClientId(0), 3)?;
//! server.enroll(ClientId(1), 1)?;
//! server.begin_round(Duration::ZERO)?;
//! for (client, update) in [(0, vec![1.0, 0.0]), (1, vec![5.0, 4.0])] {
//!     let examples = if client == 0 { 3 } else { 1 };
//!     let reply = TrainReply { round: 1, layout, examples, loss: Some(0.5), update };
//!     server.receive(ClientId(client), ClientMessage::Reply(reply), Duration::from_secs(1));
//! }
//! assert_eq!(server.global()[..], [2.0, 1.0]); // FedAvg: weighted by examples
//! # Ok::<(), ProtocolError>(())
//! ```

pub mod defence;
pub mod guard;
pub mod message;
pub mod sum;
pub mod survey;
pub mod transcript;

mod aggregation;
mod client;
mod compression;
mod config;
mod error;
mod learner;
mod limbs;
mod privacy;
mod sampling;
mod secure;
mod server;
mod server_optimizer;
mod streams;

pub use client::{Client, ClientAction, Protection, TrainJob};
pub use compression::{Coding, CommunicationConfig, Compact};
pub use config::{
    FederationConfig, LocalOptimizer, Sampling, ServerConfig, ServerOptimizerKind, Step,
    TrainConfig, TrainPlan,
};
pub use error::{ClientId, ProtocolError, Refusal};
pub use learner::{
    DpSgd, Learner, LearnerError, ModelLearner, Scratch, ScratchPool, Update, batches,
};
pub use privacy::{PrivacyPlan, SecureSum};
pub use sampling::{CohortOdds, most_called, most_replies};
pub use secure::{SecurePlan, roster_name};
pub use server::{
    ClientVerdict, MaskedReport, ReplyFigures, RoundReport, Server, ServerEvent, ServerOutput,
    ServerSettings, ServerState,
};
pub use server_optimizer::ServerOptimizer;
pub use streams::{Purpose, Streams};
