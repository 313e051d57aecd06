//! What comes out of the server.

use std::time::Duration;

use cloister_robust::RowVerdict;

use crate::error::{ClientId, Refusal};
use crate::message::ServerMessage;
use crate::server::ReplyFigures;

/// What a host takes out of the server, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerOutput {
    /// Deliver this message.
    Send {
        /// To whom.
        to: ClientId,
        /// What.
        message: ServerMessage,
    },
    /// Something happened that the record should hold.
    Event(ServerEvent),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A round began.
    RoundStarted {
        /// Its number, from 1.
        round: u32,
        /// The clients asked.
        cohort: Vec<ClientId>,
    },
    /// A reply was taken into the sum.
    Accepted {
        /// The round.
        round: u32,
        /// Whose.
        client: ClientId,
        /// Examples it trained on.
        examples: u32,
        /// Its mean training loss, unless withheld.
        loss: Option<f64>,
    },
    /// A message was refused; nothing else changed.
    Refused {
        /// The round in progress, or the last one.
        round: u32,
        /// Whose.
        client: ClientId,
        /// Why.
        reason: Refusal,
    },
    /// The host reported that a member will not answer.
    Lost {
        /// The round.
        round: u32,
        /// Who.
        client: ClientId,
    },
    /// A bucket of a secure sum was given up; the round goes on with the others.
    BucketFailed {
        /// The round.
        round: u32,
        /// Which.
        bucket: u32,
        /// Why.
        reason: String,
    },
    /// A round ended.
    RoundEnded(RoundReport),
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundReport {
    /// Its number, from 1.
    pub round: u32,
    /// Why it was abandoned; `None` if it completed and moved the model.
    pub abandoned: Option<String>,
    /// Clients asked.
    pub cohort: u32,
    /// Replies in the sum.
    pub accepted: u32,
    /// Members whose reply was refused for its content.
    pub refused: u32,
    /// Members that were lost, or had not answered when the round ended.
    pub missing: u32,
    /// Mean training loss of the accepted replies, by their weights; withheld in a private run.
    pub train_loss: Option<f64>,
    /// The norm to which the server clipped updates, where it adds noise to their sum.
    pub clip: Option<f64>,
    /// Bytes received since the last report, refused messages included.
    pub bytes_up: u64,
    /// Bytes sent since the last report.
    pub bytes_down: u64,
    /// From the round's beginning to its end, by the host's clock.
    pub duration: Duration,
    /// What the rule made of each accepted reply, in the order of the roster; empty if the round was abandoned.
    pub verdicts: Vec<ClientVerdict>,
    /// What the server saw of each accepted reply, in the order of the roster, also of an abandoned round; empty unless it was told
    /// to look ([`Server::watch_replies`](crate::Server::watch_replies)).
    pub replies: Vec<ReplyFigures>,
    /// Members whose reply was refused for its content, in the order of the roster.
    pub turned_away: Vec<ClientId>,
    /// Members that were lost, or had not answered when the round ended for want of answers; not those that the round did not
    /// need any more.
    pub silent: Vec<ClientId>,
    /// What the server could see of masked updates; `None` if they were not masked, or the round was abandoned.
    pub masked: Option<MaskedReport>,
}

/// What the sums of a round with masked updates say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedReport {
    /// Sums: one, or one for each bucket that made it.
    pub sums: u32,
    /// Updates in the smallest of them.
    pub smallest: u32,
    /// Coordinates that were cut to the range of a lane, over all updates.
    pub clipped: u64,
    /// Root of the mean squared norm of the updates; 0 where noise hides it.
    pub norm: f64,
}

/// What the rule made of a client's reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientVerdict {
    /// Whose.
    pub client: ClientId,
    /// What: kept or not, at which weight and score.
    pub verdict: RowVerdict,
}
