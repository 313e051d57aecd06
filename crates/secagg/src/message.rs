//! The messages of a session and their bytes; `docs/secure-aggregation-wire.md` has the layout.

use crate::keys::CIPHERTEXT_LEN;
use crate::members::Members;
use crate::params::{MOST_MEMBERS, Params};
use crate::shamir::SHARE_LEN;
use crate::sign::SignatureBytes;
use crate::wire::{DecodeError, Reader};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the messages of the same names say it")]
pub enum Kind {
    Params = 1,
    Advertise = 2,
    Roster = 3,
    Shares = 4,
    Deliver = 5,
    Masked = 6,
    Survivors = 7,
    Ack = 8,
    Acks = 9,
    Reveal = 10,
    Result = 11,
    Abort = 12,
    Abandoned = 13,
}

const KINDS: [Kind; 13] = [
    Kind::Params,
    Kind::Advertise,
    Kind::Roster,
    Kind::Shares,
    Kind::Deliver,
    Kind::Masked,
    Kind::Survivors,
    Kind::Ack,
    Kind::Acks,
    Kind::Reveal,
    Kind::Result,
    Kind::Abort,
    Kind::Abandoned,
];

/// Which session a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The round.
    pub round: u64,
    /// The try at it.
    pub attempt: u32,
}

/// Bytes before the body: kind, round, attempt.
pub const HEADER_LEN: usize = 13;

/// A member's public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Its session index.
    pub index: u32,
    /// Channel key.
    pub channel: [u8; 32],
    /// Mask key.
    pub mask: [u8; 32],
    /// Its signature on these.
    pub signature: SignatureBytes,
}

/// Bytes of an [`Advert`].
pub const ADVERT_LEN: usize = 132;

impl Advert {
    /// The signed part.
    pub(crate) fn body(&self) -> [u8; 68] {
        let mut body = [0; 68];
        body[..4].copy_from_slice(&self.index.to_le_bytes());
        body[4..36].copy_from_slice(&self.channel);
        body[36..].copy_from_slice(&self.mask);
        body
    }

    /// All of it.
    pub fn to_bytes(&self) -> [u8; ADVERT_LEN] {
        let mut bytes = [0; ADVERT_LEN];
        bytes[..68].copy_from_slice(&self.body());
        bytes[68..].copy_from_slice(&self.signature);
        bytes
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: reader.u32("index")?,
            channel: reader.array("channel key")?,
            mask: reader.array("mask key")?,
            signature: reader.array("signature")?,
        })
    }
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// Round P: the numbers of the session, with the server's signature.
    Params(Box<Params>, SignatureBytes),
    /// 1a: who advertised, and what.
    Roster {
        /// U1.
        advertised: Members,
        /// Their keys, in index order.
        adverts: Vec<Advert>,
    },
    /// 2a: the shares for the receiver.
    Deliver {
        /// U2.
        shared: Members,
        /// From its neighbours in U2, in index order.
        ciphertexts: Vec<[u8; CIPHERTEXT_LEN]>,
    },
    /// 3a: whose vectors are in the sum.
    Survivors {
        /// U3.
        survivors: Members,
        /// Merkle root over their vectors' hashes.
        bodies_root: [u8; 32],
        /// That the receiver's own is among them.
        proof: Vec<[u8; 32]>,
    },
    /// 4a: who has seen the same survivors.
    Acks(Vec<(u32, SignatureBytes)>),
    /// 5: what came of it.
    Result {
        /// The session.
        session: [u8; 32],
        /// SHA-256 of U3.
        survivors_hash: [u8; 32],
        /// SHA-256 of the sums.
        result_hash: [u8; 32],
        /// Hash of the model after it.
        next_model_hash: [u8; 32],
        /// The server's.
        signature: SignatureBytes,
    },
    /// The session is over without a sum.
    Abandoned(u8),
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage<'a> {
    /// 0: its public keys.
    Advertise(Advert),
    /// 1b: shares of its secrets for its neighbours.
    Shares {
        /// Who.
        index: u32,
        /// Commitment to b.
        commitment: [u8; 32],
        /// For each neighbour, in index order.
        ciphertexts: Vec<[u8; CIPHERTEXT_LEN]>,
        /// Its signature.
        signature: SignatureBytes,
    },
    /// 2b: its masked vector.
    Masked {
        /// Who.
        index: u32,
        /// SHA-256 of the U2 that it saw.
        shared_hash: [u8; 32],
        /// The vector.
        vector: &'a [u8],
        /// Its signature.
        signature: SignatureBytes,
    },
    /// 3b: that it saw these survivors.
    Ack {
        /// Who.
        index: u32,
        /// Its signature.
        signature: SignatureBytes,
    },
    /// 4b: what unmasks the sum.
    Reveal {
        /// Who.
        index: u32,
        /// For each neighbour in U2 and itself, in index order: the share of b of a survivor, of r of a dropout.
        shares: Vec<[u8; SHARE_LEN]>,
        /// Its signature.
        signature: SignatureBytes,
    },
    /// It has left.
    Abort {
        /// Who.
        index: u32,
        /// Why: [`crate::ABORT_CODES`].
        code: u8,
    },
}

fn begin(kind: Kind, header: Header, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + capacity);
    out.push(kind as u8);
    out.extend(header.round.to_le_bytes());
    out.extend(header.attempt.to_le_bytes());
    out
}

/// The kind and the session of a message, and a reader of the rest.
fn open(bytes: &[u8]) -> Result<(Kind, Header, Reader<'_>), DecodeError> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8("kind")?;
    let Some(kind) = KINDS.into_iter().find(|known| *known as u8 == kind) else {
        return Err(reader.invalid("kind", 1));
    };
    let header = Header {
        round: reader.u64("round")?,
        attempt: reader.u32("attempt")?,
    };
    Ok((kind, header, reader))
}

/// What a message is and which session it belongs to, without reading the rest.
///
/// # Errors
/// [`DecodeError`] for bytes too short, or of no known kind.
pub fn peek(bytes: &[u8]) -> Result<(Kind, Header), DecodeError> {
    open(bytes).map(|(kind, header, _)| (kind, header))
}

impl ServerMessage {
    /// The message as bytes.
    pub fn encode(&self, header: Header) -> Vec<u8> {
        match self {
            Self::Params(params, signature) => {
                let mut out = begin(Kind::Params, header, 400 + 4 * params.cohort.len());
                out.extend(params.to_bytes());
                out.extend(signature);
                out
            }
            Self::Roster {
                advertised,
                adverts,
            } => {
                let capacity = advertised.bytes().len() + ADVERT_LEN * adverts.len();
                let mut out = begin(Kind::Roster, header, capacity);
                out.extend(advertised.bytes());
                for advert in adverts {
                    out.extend(advert.to_bytes());
                }
                out
            }
            Self::Deliver {
                shared,
                ciphertexts,
            } => {
                let capacity = shared.bytes().len() + 4 + CIPHERTEXT_LEN * ciphertexts.len();
                let mut out = begin(Kind::Deliver, header, capacity);
                out.extend(shared.bytes());
                out.extend((ciphertexts.len() as u32).to_le_bytes());
                out.extend(ciphertexts.as_flattened());
                out
            }
            Self::Survivors {
                survivors,
                bodies_root,
                proof,
            } => {
                let capacity = survivors.bytes().len() + 33 + 32 * proof.len();
                let mut out = begin(Kind::Survivors, header, capacity);
                out.extend(survivors.bytes());
                out.extend(bodies_root);
                out.push(proof.len() as u8);
                out.extend(proof.as_flattened());
                out
            }
            Self::Acks(acks) => {
                let mut out = begin(Kind::Acks, header, 4 + 68 * acks.len());
                out.extend((acks.len() as u32).to_le_bytes());
                for (index, signature) in acks {
                    out.extend(index.to_le_bytes());
                    out.extend(signature);
                }
                out
            }
            Self::Result {
                session,
                survivors_hash,
                result_hash,
                next_model_hash,
                signature,
            } => {
                let mut out = begin(Kind::Result, header, 192);
                for hash in [session, survivors_hash, result_hash, next_model_hash] {
                    out.extend(hash);
                }
                out.extend(signature);
                out
            }
            Self::Abandoned(code) => {
                let mut out = begin(Kind::Abandoned, header, 1);
                out.push(*code);
                out
            }
        }
    }

    /// Reads a message to a session of so many `members` called; parameters bring their own number.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and the offset.
    pub fn decode(bytes: &[u8], members: u32) -> Result<(Self, Header), DecodeError> {
        let (kind, header, mut reader) = open(bytes)?;
        let most = (members as usize).min(MOST_MEMBERS);
        let message = match kind {
            Kind::Params => {
                let params = Params::read(&mut reader)?;
                Self::Params(Box::new(params), reader.array("signature")?)
            }
            Kind::Roster => {
                let advertised = reader.members("advertised", members)?;
                let adverts = (0..advertised.len())
                    .map(|_| Advert::read(&mut reader))
                    .collect::<Result<_, _>>()?;
                Self::Roster {
                    advertised,
                    adverts,
                }
            }
            Kind::Deliver => {
                let shared = reader.members("shared", members)?;
                let count = reader.count("ciphertexts", most)?;
                Self::Deliver {
                    shared,
                    ciphertexts: reader.arrays("ciphertexts", count)?,
                }
            }
            Kind::Survivors => {
                let survivors = reader.members("survivors", members)?;
                let bodies_root = reader.array("root")?;
                let count = reader.u8("proof")?.into();
                Self::Survivors {
                    survivors,
                    bodies_root,
                    proof: reader.arrays("proof", count)?,
                }
            }
            Kind::Acks => {
                let count = reader.count("acknowledgements", most)?;
                let ack = |reader: &mut Reader<'_>| {
                    Ok((reader.u32("index")?, reader.array("signature")?))
                };
                let acks: Result<_, DecodeError> = (0..count).map(|_| ack(&mut reader)).collect();
                Self::Acks(acks?)
            }
            Kind::Result => Self::Result {
                session: reader.array("session")?,
                survivors_hash: reader.array("survivors hash")?,
                result_hash: reader.array("result hash")?,
                next_model_hash: reader.array("next model hash")?,
                signature: reader.array("signature")?,
            },
            Kind::Abandoned => Self::Abandoned(reader.u8("code")?),
            _ => {
                return Err(DecodeError::Invalid {
                    what: "kind",
                    offset: 0,
                });
            }
        };
        Ok((reader.end(message)?, header))
    }
}

impl<'a> ClientMessage<'a> {
    /// Which session index it names.
    pub fn index(&self) -> u32 {
        match self {
            Self::Advertise(advert) => advert.index,
            Self::Shares { index, .. }
            | Self::Masked { index, .. }
            | Self::Ack { index, .. }
            | Self::Reveal { index, .. }
            | Self::Abort { index, .. } => *index,
        }
    }

    /// The message as bytes.
    pub fn encode(&self, header: Header) -> Vec<u8> {
        match self {
            Self::Advertise(advert) => {
                let mut out = begin(Kind::Advertise, header, ADVERT_LEN);
                out.extend(advert.to_bytes());
                out
            }
            Self::Shares {
                index,
                commitment,
                ciphertexts,
                signature,
            } => {
                let capacity = 104 + CIPHERTEXT_LEN * ciphertexts.len();
                let mut out = begin(Kind::Shares, header, capacity);
                out.extend(index.to_le_bytes());
                out.extend(commitment);
                out.extend((ciphertexts.len() as u32).to_le_bytes());
                out.extend(ciphertexts.as_flattened());
                out.extend(signature);
                out
            }
            Self::Masked {
                index,
                shared_hash,
                vector,
                signature,
            } => {
                let mut out = begin(Kind::Masked, header, 104 + vector.len());
                out.extend(index.to_le_bytes());
                out.extend(shared_hash);
                out.extend((vector.len() as u32).to_le_bytes());
                out.extend(*vector);
                out.extend(signature);
                out
            }
            Self::Ack { index, signature } => {
                let mut out = begin(Kind::Ack, header, 68);
                out.extend(index.to_le_bytes());
                out.extend(signature);
                out
            }
            Self::Reveal {
                index,
                shares,
                signature,
            } => {
                let mut out = begin(Kind::Reveal, header, 72 + SHARE_LEN * shares.len());
                out.extend(index.to_le_bytes());
                out.extend((shares.len() as u32).to_le_bytes());
                out.extend(shares.as_flattened());
                out.extend(signature);
                out
            }
            Self::Abort { index, code } => {
                let mut out = begin(Kind::Abort, header, 5);
                out.extend(index.to_le_bytes());
                out.push(*code);
                out
            }
        }
    }

    /// Reads a message to a session of so many `members` called, with vectors of `vector` bytes at most.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and the offset.
    pub fn decode(
        bytes: &'a [u8],
        members: u32,
        vector: usize,
    ) -> Result<(Self, Header), DecodeError> {
        let (kind, header, mut reader) = open(bytes)?;
        let most = (members as usize).min(MOST_MEMBERS);
        let message = match kind {
            Kind::Advertise => Self::Advertise(Advert::read(&mut reader)?),
            Kind::Shares => {
                let index = reader.u32("index")?;
                let commitment = reader.array("commitment")?;
                let count = reader.count("ciphertexts", most)?;
                Self::Shares {
                    index,
                    commitment,
                    ciphertexts: reader.arrays("ciphertexts", count)?,
                    signature: reader.array("signature")?,
                }
            }
            Kind::Masked => {
                let index = reader.u32("index")?;
                let shared_hash = reader.array("shared hash")?;
                let length = reader.count("vector", vector)?;
                Self::Masked {
                    index,
                    shared_hash,
                    vector: reader.take("vector", length)?,
                    signature: reader.array("signature")?,
                }
            }
            Kind::Ack => Self::Ack {
                index: reader.u32("index")?,
                signature: reader.array("signature")?,
            },
            Kind::Reveal => {
                let index = reader.u32("index")?;
                let count = reader.count("shares", most)?;
                Self::Reveal {
                    index,
                    shares: reader.arrays("shares", count)?,
                    signature: reader.array("signature")?,
                }
            }
            Kind::Abort => Self::Abort {
                index: reader.u32("index")?,
                code: reader.u8("code")?,
            },
            _ => {
                return Err(DecodeError::Invalid {
                    what: "kind",
                    offset: 0,
                });
            }
        };
        Ok((reader.end(message)?, header))
    }
}
