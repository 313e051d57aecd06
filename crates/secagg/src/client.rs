//! A client's side of a session.
//!
//! The client trusts its own policy, the roster that an authority signed, and nothing that the server says. Whatever does not
//! check ends the session: its secrets are wiped, and what it had sent before stays masked.

mod join;
mod saved;
mod stages;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Abort;
use crate::keys::Secrets;
use crate::lanes::{LaneLayout, Vector};
use crate::members::Members;
use crate::message::{Advert, ClientMessage, Header, Kind, ServerMessage, peek};
use crate::params::{Mode, Params};
use crate::record::Record;
use crate::roster::Roster;
use crate::session::Session;
use crate::shamir::Share;
use crate::sign::{Identity, SignatureBytes};

/// What a client insists on, whatever the server proposes.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The run that it takes part in.
    pub task: [u8; 16],
    /// Who may be in a session with it.
    pub roster: Arc<Roster>,
    /// Its own place in the roster.
    pub place: u32,
    /// Its key; `None` only if `mode` is S.
    pub identity: Option<Identity>,
    /// The least mode that it takes part in.
    pub mode: Mode,
    /// Fewest vectors that it is added up with, its own included.
    pub minimum_cohort: u32,
    /// The least share of corrupt members against which it wants to be safe, in millionths.
    pub corrupt_ppm: u32,
    /// The time, in seconds since 1970: no member's entry may have run out.
    pub today: u64,
}

/// What the client was asked to work on, by its own reckoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Hash of the model that came.
    pub model_hash: [u8; 32],
    /// Hash of what is to be done with it.
    pub config_hash: [u8; 32],
    /// Coordinates of the update.
    pub model_lanes: usize,
    /// 64-bit lanes beside it.
    pub meta_lanes: usize,
}

/// What the host does next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Store [`Client::record`], then send this.
    Send(Vec<u8>),
    /// The masks are ready: hand the vector to [`Client::mask`] when it is.
    Ready,
    /// The server repeats itself: send the answer to it again, the same bytes.
    Repeat,
    /// For another round or attempt, or a repetition after the end: nothing.
    Ignored,
    /// The session is over; its result.
    Done {
        /// SHA-256 of the sums.
        result_hash: [u8; 32],
        /// Hash of the model after it.
        next_model_hash: [u8; 32],
    },
    /// The session is over without a sum.
    Abandoned {
        /// The server's code.
        code: u8,
    },
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Stage {
    Advertised = 0,
    Shared = 1,
    Ready = 2,
    Masked = 3,
    Acknowledged = 4,
    Revealed = 5,
    Over = 6,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Advertised => "advertise",
            Self::Shared => "shares",
            Self::Ready => "deliver",
            Self::Masked => "the masked vector",
            Self::Acknowledged => "the acknowledgement",
            Self::Revealed => "the reveal",
            Self::Over => "the end",
        }
    }
}

/// The shares that a neighbour sent.
struct Held {
    owner: u32,
    b: Share,
    r: Share,
}

/// Who survived, as this client has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Survived {
    members: Members,
    bodies_root: [u8; 32],
}

/// One client in one session. Secrets are wiped when it ends, and when this is dropped.
pub struct Client {
    policy: Arc<Policy>,
    params: Params,
    params_signature: SignatureBytes,
    params_hash: [u8; 32],
    /// Its session index.
    own: u32,
    secrets: Secrets,
    advert: Advert,
    stage: Stage,
    session: Option<Session>,
    shared: Option<Members>,
    /// What the channels to neighbours are keyed with, from the sealing of shares to the opening of theirs. Not saved: a session
    /// that is gone on with makes them anew.
    channels: Vec<(u32, Zeroizing<[u8; 32]>)>,
    /// Shares from neighbours in U2, in index order.
    held: Vec<Held>,
    body_hash: Option<[u8; 32]>,
    survived: Option<Survived>,
    /// SHA-256 of the last message that was acted upon.
    last: [u8; 32],
    started: Duration,
    /// How long the session had gone on when it was restored.
    spent: Duration,
    record: Record,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("own", &self.own)
            .field("round", &self.params.round)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Its session index.
    pub fn index(&self) -> u32 {
        self.own
    }

    /// The numbers of the session.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How its vector must lie in bytes.
    pub fn layout(&self) -> LaneLayout {
        self.params.layout()
    }

    /// What must be on the disk before its next message goes out.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether [`Self::mask`] is due.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Whether the session has ended for it.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The message that tells the server that it has left, and why.
    pub fn farewell(&self, reason: &Abort) -> Vec<u8> {
        let message = ClientMessage::Abort {
            index: self.own,
            code: reason.code(),
        };
        message.encode(self.header())
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// [`Abort`]; the session is over for this client.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<Step, Abort> {
        let (kind, header) = match peek(bytes) {
            Ok(peeked) => peeked,
            Err(error) => return Err(self.leave(error.into())),
        };
        if header != self.header() {
            return Ok(Step::Ignored);
        }
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if hash == self.last {
            // Nothing is answered after the end, not even what was answered before.
            return Ok(match self.stage {
                Stage::Over => Step::Ignored,
                _ => Step::Repeat,
            });
        }
        let step = self.act(kind, bytes, now);
        match step {
            Ok(step) => {
                self.last = hash;
                Ok(step)
            }
            Err(reason) => Err(self.leave(reason)),
        }
    }

    /// Masks the client's vector, and counts it: lane 0 of 64 bits becomes 1.
    ///
    /// # Errors
    /// [`Abort::State`] if the masks are not ready, or have been used; the session is over for this client.
    pub fn mask(&mut self, vector: Vector, threads: usize, now: Duration) -> Result<Step, Abort> {
        self.masked(vector, threads, now)
            .map_err(|reason| self.leave(reason))
    }

    fn act(&mut self, kind: Kind, bytes: &[u8], now: Duration) -> Result<Step, Abort> {
        let out_of_turn = |client: &Self, got| Abort::State {
            got,
            after: client.stage.name(),
        };
        if self.stage == Stage::Over {
            return Err(out_of_turn(self, "a message"));
        }
        let (message, _) = match kind {
            Kind::Params => return Err(out_of_turn(self, "a second set of parameters")),
            _ => ServerMessage::decode(bytes, self.params.members())?,
        };
        let signed = self.params.mode == Mode::Malicious;
        match (message, self.stage) {
            (
                ServerMessage::Roster {
                    advertised,
                    adverts,
                },
                Stage::Advertised,
            ) => self.share(advertised, adverts, now),
            (
                ServerMessage::Deliver {
                    shared,
                    ciphertexts,
                },
                Stage::Shared,
            ) => self.open(shared, &ciphertexts),
            (
                ServerMessage::Survivors {
                    survivors,
                    bodies_root,
                    proof,
                },
                Stage::Masked,
            ) => {
                self.survive(survivors, bodies_root, &proof)?;
                match signed {
                    true => self.acknowledge(now),
                    false => self.reveal(now),
                }
            }
            (ServerMessage::Acks(acks), Stage::Acknowledged) => {
                self.check_acks(&acks)?;
                self.reveal(now)
            }
            (
                ServerMessage::Result {
                    session,
                    survivors_hash,
                    result_hash,
                    next_model_hash,
                    signature,
                },
                Stage::Revealed,
            ) => {
                self.check_result(
                    &session,
                    [&survivors_hash, &result_hash, &next_model_hash],
                    &signature,
                )?;
                self.end();
                Ok(Step::Done {
                    result_hash,
                    next_model_hash,
                })
            }
            (ServerMessage::Abandoned(code), _) => {
                self.end();
                Ok(Step::Abandoned { code })
            }
            (other, _) => Err(out_of_turn(self, name(&other))),
        }
    }

    fn header(&self) -> Header {
        Header {
            round: self.params.round,
            attempt: self.params.attempt,
        }
    }

    /// A deadline counts from the parameters on.
    fn in_time(&self, which: usize, what: &'static str, now: Duration) -> Result<(), Abort> {
        let elapsed = self.elapsed(now).as_millis();
        match elapsed > u128::from(self.params.deadlines[which]) {
            true => Err(Abort::Deadline(what)),
            false => Ok(()),
        }
    }

    fn elapsed(&self, now: Duration) -> Duration {
        let here = now.saturating_sub(self.started);
        self.spent.saturating_add(here)
    }

    fn leave(&mut self, reason: Abort) -> Abort {
        self.end();
        reason
    }

    /// Wipes what is secret.
    fn end(&mut self) {
        self.stage = Stage::Over;
        self.secrets.zeroize();
        self.channels.clear();
        self.held.clear();
    }
}

fn name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Params(..) => "a set of parameters",
        ServerMessage::Roster { .. } => "a roster",
        ServerMessage::Deliver { .. } => "a delivery of shares",
        ServerMessage::Survivors { .. } => "a set of survivors",
        ServerMessage::Acks(_) => "a list of acknowledgements",
        ServerMessage::Result { .. } => "a result",
        ServerMessage::Abandoned(_) => "the end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::lanes::Lane;
    use crate::params::{SUITE, VERSION};
    use crate::roster::Entry;

    /// Members 0 to 2 of a session of mode S, after the shares.
    fn ready() -> (Vec<Client>, Header) {
        let entry = |name: u8| Entry {
            client: [name; 16],
            identity: [0; 32],
            not_after: 1,
        };
        let roster = Arc::new(Roster::new([0; 32], (0..3).map(entry).collect()).unwrap());
        let params = Params {
            version: VERSION,
            suite: SUITE,
            mode: Mode::SemiHonest,
            lane: Lane::U32,
            bits: 20,
            graph: Graph::Complete,
            task: [1; 16],
            round: 1,
            attempt: 1,
            nonce: [2; 32],
            model_hash: [3; 32],
            config_hash: [4; 32],
            model_lanes: 4,
            meta_lanes: 1,
            clip: 1.0,
            most_weight: 1,
            least_survivors: 3,
            threshold: 2,
            corrupt_ppm: 0,
            dropout_ppm: 0,
            security_bits: 40,
            correctness_bits: 30,
            deadlines: [u64::MAX; 4],
            roster_hash: *roster.hash(),
            cohort: vec![0, 1, 2],
        };
        let work = Work {
            model_hash: [3; 32],
            config_hash: [4; 32],
            model_lanes: 4,
            meta_lanes: 1,
        };
        let header = Header {
            round: 1,
            attempt: 1,
        };
        let bytes = ServerMessage::Params(Box::new(params), [0; 64]).encode(header);
        let join = |place: u8| {
            let policy = Policy {
                task: [1; 16],
                roster: Arc::clone(&roster),
                place: place.into(),
                identity: None,
                mode: Mode::SemiHonest,
                minimum_cohort: 3,
                corrupt_ppm: 0,
                today: 0,
            };
            let secrets = Secrets {
                r: [10 + place; 32],
                b: [20 + place; 32],
                c: [30 + place; 32],
                z: [40 + place; 32],
            };
            let record = Record::default();
            let joined = Client::join(
                Arc::new(policy),
                &record,
                &work,
                &bytes,
                secrets,
                Duration::ZERO,
            );
            joined.unwrap().0
        };
        let mut clients: Vec<Client> = (0..3).map(join).collect();
        let mut advertised = Members::none(3);
        (0..3).for_each(|index| advertised.insert(index));
        let roster = ServerMessage::Roster {
            advertised,
            adverts: clients.iter().map(|client| client.advert).collect(),
        };
        for client in &mut clients {
            let step = client.receive(&roster.encode(header), Duration::ZERO);
            assert!(matches!(step, Ok(Step::Send(_))));
        }
        (clients, header)
    }

    #[test]
    fn nothing_secret_is_left_at_the_end() {
        let (clients, header) = ready();
        let ends = [
            vec![],
            ServerMessage::Abandoned(1).encode(header),
            ServerMessage::Acks(Vec::new()).encode(header),
        ];
        for (mut client, end) in clients.into_iter().zip(ends) {
            assert!(client.secrets.r != [0; 32] && !client.held.is_empty());
            let _ = client.receive(&end, Duration::ZERO);
            let Secrets { r, b, c, z } = &client.secrets;
            assert_eq!([r, b, c, z], [&[0; 32]; 4]);
            assert!(client.is_over() && client.held.is_empty());
        }
    }
}
