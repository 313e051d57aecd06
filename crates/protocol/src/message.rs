//! The messages of a round and their bytes.
//!
//! All numbers are little-endian. A message starts with the two bytes `C1 F5`, a format version (2) and a kind, and ends
//! with the first 8 bytes of the SHA-256 of all before: against accidents on the way, not against forgers, which is the
//! transport's work. A decoder checks each length against what is really there before it allocates.
//!
//! | kind | message | body |
//! | --- | --- | --- |
//! | 1 | [`ServerMessage::Train`] | round u32, layout 32 bytes, plan (see [`TrainPlan`]), d u32, d x f32, b u32, b bytes of parameters of a secure sum (0: none) |
//! | 2 | [`ServerMessage::Finished`] | - |
//! | 3 | [`ServerMessage::Secure`] | b u32, b bytes: `docs/secure-aggregation-wire.md` |
//! | 17 | [`ClientMessage::Enroll`] | examples u64, layout 32 bytes |
//! | 18 | [`ClientMessage::Reply`] | round u32, layout 32 bytes, examples i64, loss f64, d u32, d x f32 |
//! | 19 | [`ClientMessage::Failed`] | round u32, length u16, that many bytes of UTF-8 |
//! | 20 | [`ClientMessage::Secure`] | b u32, b bytes: `docs/secure-aggregation-wire.md` |
//! | 21 | [`ClientMessage::Compact`] | round u32, layout 32 bytes, examples i64, loss f64, coding u8, d u32, b u32, b bytes |

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::compression::Compact;
use crate::config::TrainPlan;

pub(crate) mod wire;

use wire::{
    FRAME, PLAN, cut, header, open, optional_len, put_bytes, put_optional, put_plan, put_vector,
    seal, unknown_kind,
};

/// SHA-256 over a parameter layout: which tensors, in which shapes, in which order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LayoutDigest(pub [u8; 32]);

impl LayoutDigest {
    /// The digest of a model's layout.
    pub fn of(layout: &cloister_nn::Layout) -> Self {
        let mut hash = Sha256::new();
        for tensor in layout.tensors() {
            hash.update((tensor.name.len() as u64).to_le_bytes());
            hash.update(tensor.name.as_bytes());
            hash.update((tensor.shape.len() as u64).to_le_bytes());
            for size in &tensor.shape {
                hash.update((*size as u64).to_le_bytes());
            }
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for LayoutDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "..")
    }
}

/// The bytes of a plan, as in [`ServerMessage::Train`].
pub(crate) fn plan_bytes(plan: &TrainPlan) -> Vec<u8> {
    let mut out = Vec::with_capacity(PLAN);
    put_plan(&mut out, plan);
    out
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerMessage {
    /// Train in this round, from this model.
    Train(TrainRequest),
    /// A message of the round's secure sum.
    Secure(Arc<[u8]>),
    /// The run is over.
    Finished,
}

/// The call to a cohort member.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainRequest {
    /// The round, counted from 1.
    pub round: u32,
    /// Layout of `global`.
    pub layout: LayoutDigest,
    /// The local training.
    pub plan: TrainPlan,
    /// The round's global parameters, shared by all members in one process.
    pub global: Arc<[f32]>,
    /// The parameters of the round's secure sum; `None` if updates go to the server as they are.
    pub secure: Option<Arc<[u8]>>,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientMessage {
    /// The client exists and has this many examples.
    Enroll {
        /// Examples that it will train on.
        examples: u64,
        /// Layout of the model that it has built.
        layout: LayoutDigest,
    },
    /// The trained update.
    Reply(TrainReply),
    /// The trained update in fewer bytes.
    Compact(CompactReply),
    /// A message of the round's secure sum; the update is in one of them, masked.
    Secure(Vec<u8>),
    /// The client could not train.
    Failed {
        /// The round it was asked for.
        round: u32,
        /// Why, in words; cut after 1,024 bytes.
        reason: String,
    },
}

/// A client's answer to a [`TrainRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct TrainReply {
    /// The round it answers.
    pub round: u32,
    /// Layout of `update`.
    pub layout: LayoutDigest,
    /// Examples trained on. Signed, so that a lie below zero is seen as what it is.
    pub examples: i64,
    /// Mean training loss per example over the local steps; `None` is withheld, as it is of private examples.
    pub loss: Option<f64>,
    /// Trained parameters minus the round's global parameters.
    pub update: Vec<f32>,
}

/// A [`TrainReply`] whose update travels in fewer bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactReply {
    /// The round it answers.
    pub round: u32,
    /// Layout of the update.
    pub layout: LayoutDigest,
    /// Examples trained on.
    pub examples: i64,
    /// Mean training loss; `None` is withheld.
    pub loss: Option<f64>,
    /// The update.
    pub update: Compact,
}

impl CompactReply {
    /// The reply with the update that arrived.
    pub fn expand(&self) -> TrainReply {
        TrainReply {
            round: self.round,
            layout: self.layout,
            examples: self.examples,
            loss: self.loss,
            update: self.update.decode(),
        }
    }
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{what} needs {needed} bytes at offset {offset}, {left} are left")]
    Truncated {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its length.
        needed: usize,
        /// Bytes left there.
        left: usize,
    },
    /// A field has a value that none may have.
    #[error("{what} at offset {offset} is {got}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its value.
        got: u64,
    },
    /// The bytes are not those that were sent.
    #[error("digest does not match: the message was changed on the way")]
    Digest,
    /// Bytes follow the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A vector is longer than the receiver's model.
    #[error("vector of {got} parameters, at most {most} are taken")]
    TooLong {
        /// Its claimed length.
        got: usize,
        /// The receiver's limit.
        most: usize,
    },
}

impl ServerMessage {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        match self {
            Self::Train(request) => {
                header(&mut out, 1);
                out.extend(request.round.to_le_bytes());
                out.extend(request.layout.0);
                put_plan(&mut out, &request.plan);
                put_vector(&mut out, &request.global);
                put_bytes(&mut out, request.secure.as_deref().unwrap_or_default());
            }
            Self::Finished => header(&mut out, 2),
            Self::Secure(bytes) => {
                header(&mut out, 3);
                put_bytes(&mut out, bytes);
            }
        }
        seal(out)
    }

    /// Length of [`Self::encode`]'s result, without making it.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Train(request) => {
                let secure = request.secure.as_ref().map_or(0, |bytes| bytes.len());
                FRAME + 4 + 32 + PLAN + 4 + 4 * request.global.len() + 4 + secure
            }
            Self::Finished => FRAME,
            Self::Secure(bytes) => FRAME + 4 + bytes.len(),
        }
    }

    /// Reads a message whose vectors have at most `most_parameters` entries.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and the offset.
    pub fn decode(bytes: &[u8], most_parameters: usize) -> Result<Self, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let message = match kind {
            1 => Self::Train(TrainRequest {
                round: reader.u32("round")?,
                layout: LayoutDigest(reader.array("layout")?),
                plan: reader.plan()?,
                global: reader.vector("global", most_parameters)?.into(),
                secure: Some(reader.bytes("secure")?)
                    .filter(|bytes| !bytes.is_empty())
                    .map(Into::into),
            }),
            2 => Self::Finished,
            3 => Self::Secure(reader.bytes("secure")?.into()),
            kind => return Err(unknown_kind(kind)),
        };
        reader.end(message)
    }
}

impl ClientMessage {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        match self {
            Self::Enroll { examples, layout } => {
                header(&mut out, 17);
                out.extend(examples.to_le_bytes());
                out.extend(layout.0);
            }
            Self::Reply(reply) => {
                header(&mut out, 18);
                out.extend(reply.round.to_le_bytes());
                out.extend(reply.layout.0);
                out.extend(reply.examples.to_le_bytes());
                put_optional(&mut out, reply.loss);
                put_vector(&mut out, &reply.update);
            }
            Self::Failed { round, reason } => {
                header(&mut out, 19);
                out.extend(round.to_le_bytes());
                let reason = cut(reason);
                out.extend((reason.len() as u16).to_le_bytes());
                out.extend(reason.as_bytes());
            }
            Self::Secure(bytes) => {
                header(&mut out, 20);
                put_bytes(&mut out, bytes);
            }
            Self::Compact(reply) => {
                header(&mut out, 21);
                out.extend(reply.round.to_le_bytes());
                out.extend(reply.layout.0);
                out.extend(reply.examples.to_le_bytes());
                put_optional(&mut out, reply.loss);
                let (coding, len, bytes) = reply.update.parts();
                out.push(coding);
                out.extend(len.to_le_bytes());
                put_bytes(&mut out, bytes);
            }
        }
        seal(out)
    }

    /// Length of [`Self::encode`]'s result, without making it.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Enroll { .. } => FRAME + 8 + 32,
            Self::Reply(reply) => {
                FRAME + 4 + 32 + 8 + optional_len(reply.loss) + 4 + 4 * reply.update.len()
            }
            Self::Failed { reason, .. } => FRAME + 4 + 2 + cut(reason).len(),
            Self::Secure(bytes) => FRAME + 4 + bytes.len(),
            Self::Compact(reply) => {
                let bytes = reply.update.parts().2.len();
                FRAME + 4 + 32 + 8 + optional_len(reply.loss) + 1 + 4 + 4 + bytes
            }
        }
    }

    /// Reads a message whose vectors have at most `most_parameters` entries.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and the offset.
    pub fn decode(bytes: &[u8], most_parameters: usize) -> Result<Self, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let message = match kind {
            17 => Self::Enroll {
                examples: u64::from_le_bytes(reader.array("examples")?),
                layout: LayoutDigest(reader.array("layout")?),
            },
            18 => Self::Reply(TrainReply {
                round: reader.u32("round")?,
                layout: LayoutDigest(reader.array("layout")?),
                examples: i64::from_le_bytes(reader.array("examples")?),
                loss: reader.optional("loss")?,
                update: reader.vector("update", most_parameters)?,
            }),
            19 => Self::Failed {
                round: reader.u32("round")?,
                reason: reader.text("reason")?,
            },
            20 => Self::Secure(reader.bytes("secure")?.to_vec()),
            21 => Self::Compact(CompactReply {
                round: reader.u32("round")?,
                layout: LayoutDigest(reader.array("layout")?),
                examples: i64::from_le_bytes(reader.array("examples")?),
                loss: reader.optional("loss")?,
                update: reader.compact("update", most_parameters)?,
            }),
            kind => return Err(unknown_kind(kind)),
        };
        reader.end(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::wire::{DIGEST, HEADER, MAGIC, VERSION};
    use super::*;
    use crate::compression::{Coding, CommunicationConfig};
    use crate::config::TrainConfig;

    fn reply(update: Vec<f32>) -> ClientMessage {
        ClientMessage::Reply(TrainReply {
            round: 3,
            layout: LayoutDigest([9; 32]),
            examples: -5,
            loss: Some(0.25),
            update,
        })
    }

    fn train() -> ServerMessage {
        ServerMessage::Train(TrainRequest {
            round: 3,
            layout: LayoutDigest([9; 32]),
            plan: TrainConfig::default().plan(3),
            global: vec![1.0, 2.0].into(),
            secure: Some(vec![7; 3].into()),
        })
    }

    #[test]
    fn round_trips() {
        let failed = ClientMessage::Failed {
            round: 1,
            reason: "disk full: é".to_owned(),
        };
        let enroll = ClientMessage::Enroll {
            examples: 7,
            layout: LayoutDigest([1; 32]),
        };
        let mut withheld = reply(vec![1.5, -2.0]);
        if let ClientMessage::Reply(reply) = &mut withheld {
            reply.loss = None;
        }
        let secure = ClientMessage::Secure(vec![1, 2, 3]);
        let compact = [Coding::F32, Coding::F16, Coding::Int8, Coding::TopK].map(|update| {
            let config = CommunicationConfig { update, keep: 0.5 };
            ClientMessage::Compact(CompactReply {
                round: 3,
                layout: LayoutDigest([9; 32]),
                examples: 5,
                loss: None,
                update: Compact::encode(&[1.5, -2.0], &config, &mut ChaCha8Rng::seed_from_u64(1)),
            })
        });
        let others = [reply(vec![1.5, -2.0]), withheld, failed, enroll, secure];
        for message in others.into_iter().chain(compact) {
            let bytes = message.encode();
            assert_eq!(bytes.len(), message.encoded_len());
            assert_eq!(ClientMessage::decode(&bytes, 2), Ok(message));
        }
        let mut plain = train();
        if let ServerMessage::Train(request) = &mut plain {
            request.secure = None;
        }
        let secure = ServerMessage::Secure(vec![4; 5].into());
        for message in [train(), plain, secure, ServerMessage::Finished] {
            let bytes = message.encode();
            assert_eq!(bytes.len(), message.encoded_len());
            assert_eq!(ServerMessage::decode(&bytes, 2), Ok(message));
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let bytes = reply(vec![1.0, 2.0]).encode();
        for end in 0..bytes.len() {
            assert!(ClientMessage::decode(&bytes[..end], 2).is_err());
            // Cut and sealed again, as a forger would: the fields themselves run out.
            if end >= HEADER && end < bytes.len() - DIGEST {
                assert!(matches!(
                    ClientMessage::decode(&seal(bytes[..end].to_vec()), 2),
                    Err(DecodeError::Truncated { .. })
                ));
            }
        }
        let bytes = train().encode();
        for end in 0..bytes.len() {
            assert!(ServerMessage::decode(&bytes[..end], 2).is_err());
        }
    }

    #[test]
    fn lies_about_length_are_refused_before_allocation() {
        let whole = reply(vec![1.0, 2.0]).encode();
        assert_eq!(
            ClientMessage::decode(&whole, 1),
            Err(DecodeError::TooLong { got: 2, most: 1 })
        );
        let mut body = whole[..whole.len() - DIGEST].to_vec();
        body.push(0);
        assert_eq!(
            ClientMessage::decode(&seal(body.clone()), 2),
            Err(DecodeError::Trailing(1))
        );
        let at = body.len() - 1 - 8 - 4;
        body[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            ClientMessage::decode(&seal(body), usize::MAX),
            Err(DecodeError::Truncated {
                what: "update",
                offset: at + 4,
                needed: u32::MAX as usize * 4,
                left: 9
            })
        );
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let whole = reply(vec![1.0, 2.0]).encode();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(ClientMessage::decode(&changed, 2).is_err(), "{place}");
        }
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let failed = ClientMessage::Failed {
            round: 1,
            reason: "é".repeat(2000),
        };
        let decoded = ClientMessage::decode(&failed.encode(), 0);
        let Ok(ClientMessage::Failed { reason, .. }) = decoded else {
            panic!("{decoded:?}");
        };
        assert_eq!(reason, "é".repeat(512));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..32) {
            let _ = ClientMessage::decode(&bytes, 100);
            let _ = ServerMessage::decode(&bytes, 100);
            let mut framed = vec![MAGIC[0], MAGIC[1], VERSION, kind];
            framed.extend(&bytes);
            let framed = seal(framed);
            for decoded in [ClientMessage::decode(&framed, 100)].into_iter().flatten() {
                prop_assert_eq!(decoded.encode(), framed.clone());
            }
            let _ = ServerMessage::decode(&framed, 100);
        }
    }
}
