//! What went over the wire in a round, as an attacker at the server would have kept it.
//!
//! A [`Transcript`] holds what the server sent and what decided each member's standing, *as bytes, after every defence*: so an
//! attack on it reads what the server read, and nothing else. [`Server::record_next`](crate::Server::record_next) makes one;
//! types and bytes are here, files are for hosts.
//!
//! All numbers are little-endian. The bytes are `CLTR`, a format version (1), then
//!
//! | field | bytes |
//! | --- | --- |
//! | the call | b u32, b bytes: a [`ServerMessage::Train`](crate::message::ServerMessage::Train) with round, layout, plan, global model and the parameters of a secure sum |
//! | messages | n u32, then for each: client u32, name (u16 and UTF-8), accepted u8, b u32, b bytes of a [`ClientMessage`] |
//! | sums | n u32, then for each: clients (n u32, n x u32), weight u64, d u32, d x f32 |
//! | the global model after the round | d u32, d x f32 |
//! | digest | SHA-256 of all before: against accidents, not against forgers |
//!
//! Of a secure sum only the masked vectors are kept, not the keys and shares that travel before and after them: with the
//! shares, whoever gets hold of a transcript and of one client's key later could take masks off.

mod codec;
mod config;

use std::sync::Arc;

use cloister_secagg::Params;
use cloister_secagg::lanes::Vector;
use cloister_secagg::message::{ClientMessage as SumMessage, ServerMessage as SumServerMessage};

use crate::compression::Coding;
use crate::config::TrainPlan;
use crate::error::ClientId;
use crate::message::{
    ClientMessage, CompactReply, DecodeError, LayoutDigest, TrainReply, TrainRequest,
};

pub use config::{MOST_RECORDED, RecordConfig};

/// One round, as the server saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// What every member was sent: round, layout, plan, global model, parameters of a secure sum.
    pub request: TrainRequest,
    /// The message that decided each member's standing, by client number. A member that said nothing has none.
    pub messages: Vec<Recorded>,
    /// In a round with masked updates, what the server got out of them: one sum, or one for each bucket. Empty otherwise.
    pub sums: Vec<Summed>,
    /// The global model after the round, d numbers; that before it, if the round was abandoned.
    pub after: Arc<[f32]>,
}

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose.
    pub client: ClientId,
    /// The client's name.
    pub name: String,
    /// Whether it was taken into the sum; a rule may have dropped it afterwards.
    pub accepted: bool,
    /// The message as it arrived. A refused one may be no message at all.
    pub bytes: Vec<u8>,
}

/// What a server learns from the masked updates of some clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Summed {
    /// The clients whose updates are in it.
    pub clients: Vec<ClientId>,
    /// Their weights together.
    pub weight: u64,
    /// Their weighted mean, d numbers, with the noise that they added, if any: the sum over `weight`.
    pub mean: Vec<f32>,
}

/// An update as the server read it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentUpdate {
    /// Whose.
    pub client: ClientId,
    /// The client's name.
    pub name: String,
    /// Examples it says it trained on.
    pub examples: i64,
    /// Its mean training loss, unless withheld.
    pub loss: Option<f64>,
    /// How it travelled.
    pub coding: Coding,
    /// Trained minus global parameters, d numbers; zeros where nothing was sent.
    pub values: Vec<f32>,
    /// Under [`Coding::TopK`] the places that were sent, ascending; `None` where all were.
    pub places: Option<Vec<u32>>,
    /// Under [`Coding::Int8`] the step of each block of [`Compact::BLOCK`](crate::Compact::BLOCK) coordinates; otherwise empty.
    pub steps: Vec<f32>,
}

/// Why something is no transcript, or not of what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// The bytes are no transcript.
    #[error("transcript: {0}")]
    Format(#[from] DecodeError),
    /// The message of a client that was accepted is none.
    #[error("transcript: message of client {client}: {source}")]
    Message {
        /// Whose.
        client: ClientId,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A masked message, or the parameters of its sum, cannot be read.
    #[error("transcript: secure sum: {0}")]
    Masked(String),
}

impl Transcript {
    /// The round, counted from 1.
    pub fn round(&self) -> u32 {
        self.request.round
    }

    /// The digest of the parameter layout.
    pub fn layout(&self) -> LayoutDigest {
        self.request.layout
    }

    /// The local training that was asked for.
    pub fn plan(&self) -> &TrainPlan {
        &self.request.plan
    }

    /// The global parameters that were sent, d numbers.
    pub fn global(&self) -> &Arc<[f32]> {
        &self.request.global
    }

    /// Whether the updates were masked.
    pub fn is_masked(&self) -> bool {
        self.request.secure.is_some()
    }

    /// The update of each accepted plain or compact reply, decoded as the server does; by client number, one at a time.
    /// Nothing in a round with masked updates.
    pub fn updates(&self) -> impl Iterator<Item = Result<SentUpdate, TranscriptError>> {
        let accepted = self.messages.iter().filter(|message| message.accepted);
        accepted.filter_map(|recorded| recorded.update(self.global().len()).transpose())
    }

    /// The masked vector of each accepted member, by client number: lanes that look random to whoever lacks the masks.
    ///
    /// # Errors
    /// [`TranscriptError::Masked`] if the parameters of the sum cannot be read.
    pub fn masked(&self) -> Result<Vec<(ClientId, Vector)>, TranscriptError> {
        let Some(params) = self.params()? else {
            return Ok(Vec::new());
        };
        let accepted = self.messages.iter().filter(|message| message.accepted);
        accepted
            .filter_map(|recorded| recorded.masked(&params, self.global().len()).transpose())
            .collect()
    }

    /// The parameters of the round's secure sum, `None` if it had none.
    ///
    /// # Errors
    /// [`TranscriptError::Masked`].
    pub fn params(&self) -> Result<Option<Params>, TranscriptError> {
        let Some(bytes) = &self.request.secure else {
            return Ok(None);
        };
        match SumServerMessage::decode(bytes, 0) {
            Ok((SumServerMessage::Params(params, _), _)) => Ok(Some(*params)),
            Ok(_) => Err(TranscriptError::Masked("no parameters".to_owned())),
            Err(error) => Err(TranscriptError::Masked(error.to_string())),
        }
    }
}

impl Recorded {
    /// The message, in a round of a model with so many `parameters`.
    ///
    /// # Errors
    /// [`TranscriptError::Message`] for bytes that are none, which no accepted message is.
    pub fn message(&self, parameters: usize) -> Result<ClientMessage, TranscriptError> {
        let client = self.client;
        ClientMessage::decode(&self.bytes, parameters)
            .map_err(|source| TranscriptError::Message { client, source })
    }

    /// The update in it, if it is a reply that has one in the clear.
    fn update(&self, parameters: usize) -> Result<Option<SentUpdate>, TranscriptError> {
        let (reply, coding, places, steps) = match self.message(parameters)? {
            ClientMessage::Reply(reply) => (reply, Coding::F32, None, Vec::new()),
            ClientMessage::Compact(reply) => {
                let CompactReply { update, .. } = &reply;
                let told = (update.coding(), update.places(), update.steps());
                (reply.expand(), told.0, told.1, told.2)
            }
            _ => return Ok(None),
        };
        let TrainReply {
            examples,
            loss,
            update: values,
            ..
        } = reply;
        Ok(Some(SentUpdate {
            client: self.client,
            name: self.name.clone(),
            examples,
            loss,
            coding,
            values,
            places,
            steps,
        }))
    }

    /// The masked vector in it, if it has one.
    fn masked(
        &self,
        params: &Params,
        parameters: usize,
    ) -> Result<Option<(ClientId, Vector)>, TranscriptError> {
        let ClientMessage::Secure(bytes) = self.message(parameters)? else {
            return Ok(None);
        };
        let layout = params.layout();
        let misfit = |reason: String| TranscriptError::Masked(reason);
        match SumMessage::decode(&bytes, params.members(), layout.len()) {
            Ok((SumMessage::Masked { vector, .. }, _)) => {
                let lanes = Vector::from_bytes(layout, vector.to_vec());
                let lanes = lanes.ok_or_else(|| {
                    misfit(format!(
                        "client {} sent {} bytes, a vector has {}",
                        self.client,
                        vector.len(),
                        layout.len()
                    ))
                })?;
                Ok(Some((self.client, lanes)))
            }
            Ok(_) => Ok(None),
            Err(error) => Err(misfit(format!("client {}: {error}", self.client))),
        }
    }
}
