//! The server's side of a session.
//!
//! It relays keys and shares that it cannot read, adds masked vectors up as they come, and takes the masks off the sum with
//! what a threshold of survivors reveals. It holds one vector for each sum, never one for each client.

mod stages;
mod unmask;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::error::{Failure, Rejection};
use crate::keys::CIPHERTEXT_LEN;
use crate::lanes::Vector;
use crate::members::Members;
use crate::merkle::Tree;
use crate::message::{Advert, ClientMessage, Header, Kind, ServerMessage};
use crate::params::{Mode, Params};
use crate::roster::Roster;
use crate::session::{Session, signed_by};
use crate::shamir::SHARE_LEN;
use crate::sign::{Identity, SERVER, SignatureBytes};

/// What the host takes out of the server, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Deliver these bytes.
    Send {
        /// Session index.
        to: u32,
        /// A message, shared by those who get the same.
        message: Arc<[u8]>,
    },
    /// A masked vector is in the sum.
    Added {
        /// Whose.
        index: u32,
    },
    /// A bucket makes no sum; others may.
    BucketFailed {
        /// Which.
        bucket: u32,
        /// Why.
        reason: Failure,
    },
    /// The session is over: a sum for each bucket that made one, at least one.
    Sums(Vec<Sum>),
    /// The session is over without a sum.
    Failed(Failure),
}

/// The sum of some members' vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Which bucket; 0 if there are none.
    pub bucket: u32,
    /// Whose vectors, by session index.
    pub members: Vec<u32>,
    /// Their sum, lane by lane.
    pub vector: Vector,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Waits for public keys.
    Advertise,
    /// Waits for shares.
    Shares,
    /// Waits for masked vectors.
    Masked,
    /// Waits for acknowledgements of the survivors.
    Ack,
    /// Waits for shares of the survivors' and the dropouts' secrets.
    Reveal,
    /// Has ended.
    Over,
}

/// One session at the server.
#[derive(Debug)]
pub struct Server {
    params: Params,
    params_hash: [u8; 32],
    roster: Arc<Roster>,
    identity: Option<Identity>,
    threads: usize,
    stage: Stage,
    /// Who has yet to answer at this stage.
    awaited: Members,
    adverts: BTreeMap<u32, Advert>,
    session: Option<Session>,
    /// Buckets that can still make a sum.
    live: Vec<bool>,
    commitments: BTreeMap<u32, [u8; 32]>,
    /// Shares on their way: to whom, from whom.
    parcels: BTreeMap<(u32, u32), [u8; CIPHERTEXT_LEN]>,
    shared: Members,
    sums: Vec<Vector>,
    bodies: BTreeMap<u32, [u8; 32]>,
    survivors: Members,
    bodies_root: [u8; 32],
    acks: BTreeMap<u32, SignatureBytes>,
    reveals: BTreeMap<u32, Vec<[u8; SHARE_LEN]>>,
    result_hash: Option<[u8; 32]>,
    output: VecDeque<Output>,
}

impl Server {
    /// Opens a session: its parameters go out to the cohort. In mode M, `identity` is the server's key in the roster.
    ///
    /// # Errors
    /// [`crate::Abort`] for parameters that no client may accept.
    pub fn new(
        params: Params,
        roster: Arc<Roster>,
        identity: Option<Identity>,
    ) -> Result<Self, crate::Abort> {
        params.check()?;
        let n = params.members();
        let mut server = Self {
            params_hash: params.hash(),
            roster,
            identity,
            threads: 1,
            stage: Stage::Advertise,
            awaited: Members::of(n, 0..n),
            adverts: BTreeMap::new(),
            session: None,
            live: vec![true; params.buckets() as usize],
            commitments: BTreeMap::new(),
            parcels: BTreeMap::new(),
            shared: Members::none(n),
            sums: Vec::new(),
            bodies: BTreeMap::new(),
            survivors: Members::none(n),
            bodies_root: [0; 32],
            acks: BTreeMap::new(),
            reveals: BTreeMap::new(),
            result_hash: None,
            output: VecDeque::new(),
            params,
        };
        let bytes = server.params.to_bytes();
        let signature = server.sign(Kind::Params, &[0; 32], &[&bytes]);
        let message = ServerMessage::Params(Box::new(server.params.clone()), signature);
        server.broadcast(&message, (0..n).collect());
        Ok(server)
    }

    /// Unmasks on so many threads; the sum does not depend on it.
    pub fn use_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// The numbers of the session.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Who has yet to answer at this stage.
    pub fn awaited(&self) -> &Members {
        &self.awaited
    }

    /// Vectors in the sum so far.
    pub fn added(&self) -> u32 {
        self.bodies.len() as u32
    }

    /// What the host has not yet taken, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Takes a client's message. `from` is its session index as the transport knows it.
    ///
    /// # Errors
    /// [`Rejection`]; nothing has changed, but that a client that says that it has left is no longer awaited.
    pub fn receive(&mut self, from: u32, bytes: &[u8]) -> Result<(), Rejection> {
        let layout = self.params.layout();
        let (message, header) = ClientMessage::decode(bytes, self.params.members(), layout.len())?;
        if header != self.header() {
            return Err(Rejection::OtherRound {
                round: header.round,
                attempt: header.attempt,
            });
        }
        if message.index() != from {
            return Err(Rejection::Sender {
                from,
                claimed: message.index(),
            });
        }
        if let ClientMessage::Abort { code, .. } = message {
            self.lost(from);
            return Err(Rejection::Left(code));
        }
        self.take(from, message)?;
        self.awaited.remove(from);
        self.settle();
        Ok(())
    }

    fn take(&mut self, from: u32, message: ClientMessage<'_>) -> Result<(), Rejection> {
        let kind = match &message {
            ClientMessage::Advertise(_) => Kind::Advertise,
            ClientMessage::Shares { .. } => Kind::Shares,
            ClientMessage::Masked { .. } => Kind::Masked,
            ClientMessage::Ack { .. } => Kind::Ack,
            ClientMessage::Reveal { .. } => Kind::Reveal,
            ClientMessage::Abort { .. } => Kind::Abort,
        };
        if !self.awaited.contains(from) {
            return Err(Rejection::NotAwaited { kind });
        }
        match (message, self.stage) {
            (ClientMessage::Advertise(advert), Stage::Advertise) => self.take_advert(advert),
            (
                ClientMessage::Shares {
                    commitment,
                    ciphertexts,
                    signature,
                    ..
                },
                Stage::Shares,
            ) => self.take_shares(from, commitment, ciphertexts, &signature),
            (
                ClientMessage::Masked {
                    shared_hash,
                    vector,
                    signature,
                    ..
                },
                Stage::Masked,
            ) => self.take_vector(from, &shared_hash, vector, &signature),
            (ClientMessage::Ack { signature, .. }, Stage::Ack) => self.take_ack(from, signature),
            (
                ClientMessage::Reveal {
                    shares, signature, ..
                },
                Stage::Reveal,
            ) => self.take_reveal(from, shares, &signature),
            _ => Err(Rejection::NotAwaited { kind }),
        }
    }

    /// The host knows that a client will not answer any more.
    pub fn lost(&mut self, index: u32) {
        if self.stage != Stage::Over && self.awaited.contains(index) {
            self.awaited.remove(index);
            self.settle();
        }
    }

    /// Waits no longer at this stage, and goes on with those who answered.
    pub fn close_stage(&mut self) {
        if self.stage != Stage::Over {
            self.advance();
        }
    }

    fn settle(&mut self) {
        if self.stage != Stage::Over && self.awaited.is_empty() {
            self.advance();
        }
    }

    /// Ends the session without a sum, and says so to those who can still hear it.
    fn fail(&mut self, reason: Failure) {
        self.stage = Stage::Over;
        self.sums.clear();
        let to: Vec<u32> = self.adverts.keys().copied().collect();
        self.broadcast(&ServerMessage::Abandoned(reason.code()), to);
        self.output.push_back(Output::Failed(reason));
    }

    /// Tells the survivors what came of it: the sums' hash, and the hash of the model after it. Due once, after
    /// [`Output::Sums`].
    pub fn announce(&mut self, next_model_hash: [u8; 32]) {
        let (Some(result_hash), Some(session)) = (self.result_hash.take(), &self.session) else {
            return;
        };
        let id = session.id;
        let survivors_hash = self.survivors.hash();
        let body: [&[u8]; 3] = [&survivors_hash, &result_hash, &next_model_hash];
        let message = ServerMessage::Result {
            session: id,
            survivors_hash,
            result_hash,
            next_model_hash,
            signature: self.sign(Kind::Result, &id, &body),
        };
        let to = self.reveals.keys().copied().collect();
        self.broadcast(&message, to);
    }

    fn header(&self) -> Header {
        Header {
            round: self.params.round,
            attempt: self.params.attempt,
        }
    }

    fn send(&mut self, to: u32, message: &ServerMessage) {
        let message = message.encode(self.header()).into();
        self.output.push_back(Output::Send { to, message });
    }

    fn broadcast(&mut self, message: &ServerMessage, to: Vec<u32>) {
        let message: Arc<[u8]> = message.encode(self.header()).into();
        for to in to {
            let message = Arc::clone(&message);
            self.output.push_back(Output::Send { to, message });
        }
    }

    fn sign(&self, kind: Kind, context: &[u8; 32], body: &[&[u8]]) -> SignatureBytes {
        match (&self.identity, self.params.mode) {
            (Some(identity), Mode::Malicious) => identity.sign(kind as u8, context, SERVER, body),
            _ => [0; 64],
        }
    }

    fn signed_by(
        &self,
        index: u32,
        kind: Kind,
        rest: &[&[u8]],
        signature: &SignatureBytes,
    ) -> Result<(), Rejection> {
        let context = match &self.session {
            Some(session) => &session.id,
            None => &self.params_hash,
        };
        let (params, roster) = (&self.params, &self.roster);
        match signed_by(params, roster, index, kind, context, rest, signature) {
            true => Ok(()),
            false => Err(Rejection::Signature),
        }
    }

    /// The members of each bucket that are in `set`.
    fn grouped(&self, set: &Members) -> Vec<Vec<u32>> {
        let Some(session) = &self.session else {
            return Vec::new();
        };
        let group = |bucket| {
            let members = session.topology.bucket_members(bucket).iter().copied();
            members.filter(|index| set.contains(*index)).collect()
        };
        (0..self.params.buckets()).map(group).collect()
    }

    /// A tree over the survivors' vectors, in index order.
    fn bodies_tree(&self) -> Tree {
        let leaves = self
            .survivors
            .iter()
            .filter_map(|index| Some((index, self.bodies.get(&index)?)))
            .map(|(index, hash)| crate::session::body_leaf(index, hash))
            .collect();
        Tree::new(leaves)
    }
}
