//! A whole session in one process, with every message open to be lost, changed or kept back.

#![allow(dead_code, reason = "each test file uses its part of it")]

pub(crate) mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::{Lane, Vector};
use cloister_secagg::message::{Header, Kind, ServerMessage, peek};
use cloister_secagg::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub(crate) const NOW: Duration = Duration::ZERO;
pub(crate) const TASK: [u8; 16] = [7; 16];

/// Where a client is gone: it answers no message of this kind, and none after it.
pub(crate) type Drops = BTreeMap<u32, Kind>;

/// Keys, roster and parameters of a cohort.
pub(crate) struct World {
    pub(crate) params: Params,
    pub(crate) roster: Arc<Roster>,
    pub(crate) server: Identity,
    pub(crate) identities: Vec<Identity>,
    pub(crate) rng: ChaCha20Rng,
    /// What each client sends, unmasked.
    pub(crate) vectors: Vec<Vector>,
    /// The secret of the server's key, and those of the members': for what a lying one signs.
    pub(crate) server_secret: [u8; 32],
    pub(crate) identity_secrets: Vec<[u8; 32]>,
    /// What each client drew for its last session.
    pub(crate) secrets: BTreeMap<u32, Secrets>,
}

/// A session that was stopped on the way: the server has sent `pending`, and no client has seen it.
pub(crate) struct Stand {
    pub(crate) server: Server,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) pending: BTreeMap<u32, Vec<u8>>,
    /// All that was delivered, and all that was sent up.
    pub(crate) down: Vec<(u32, Vec<u8>)>,
    pub(crate) up: Vec<(u32, Vec<u8>)>,
    pub(crate) aborts: Vec<(u32, Abort)>,
    pub(crate) sums: Option<Vec<Sum>>,
    pub(crate) failure: Option<Failure>,
}

/// What came of a session.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sums: Option<Vec<Sum>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) bucket_failures: Vec<(u32, Failure)>,
    pub(crate) aborts: Vec<(u32, Abort)>,
    pub(crate) rejections: Vec<(u32, Rejection)>,
    /// Every message that was sent: from the server to a client, or from a client.
    pub(crate) down: Vec<(u32, Arc<[u8]>)>,
    pub(crate) up: Vec<(u32, Vec<u8>)>,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) server: Server,
}

impl World {
    /// A session of `n` clients with `d` coordinates, complete graph, the least threshold for 20 % of corrupt members.
    pub(crate) fn new(n: u32, d: u32, mode: Mode, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut secret = || {
            let mut secret = [0; 32];
            rng.fill_bytes(&mut secret);
            secret
        };
        let identity_secrets: Vec<[u8; 32]> = (0..n).map(|_| secret()).collect();
        let server_secret = secret();
        let identities: Vec<Identity> =
            identity_secrets.iter().map(Identity::from_secret).collect();
        let server = Identity::from_secret(&server_secret);
        let entry = |(name, identity): (u32, &Identity)| Entry {
            client: u128::from(name).to_be_bytes(),
            identity: identity.public(),
            not_after: 100,
        };
        let entries = (0..n).zip(&identities).map(entry).collect();
        let roster = Arc::new(Roster::new(server.public(), entries).unwrap());
        let params = Params {
            version: VERSION,
            suite: SUITE,
            mode,
            lane: Lane::U32,
            bits: quantise::bits_for(32, n),
            graph: Graph::Complete,
            task: TASK,
            round: 1,
            attempt: 1,
            nonce: rng.random(),
            model_hash: [1; 32],
            config_hash: [2; 32],
            model_lanes: d,
            meta_lanes: 6,
            clip: 1.0,
            most_weight: 1000,
            least_survivors: 3,
            threshold: graph::complete_threshold(n, 200_000, mode.rule()),
            corrupt_ppm: 200_000,
            dropout_ppm: 100_000,
            security_bits: 40,
            correctness_bits: 30,
            deadlines: [u64::MAX; 4],
            roster_hash: *roster.hash(),
            cohort: (0..n).collect(),
        };
        let mut world = Self {
            params,
            roster,
            server,
            identities,
            rng,
            vectors: Vec::new(),
            server_secret,
            identity_secrets,
            secrets: BTreeMap::new(),
        };
        world.draw_vectors();
        world
    }

    /// Draws vectors for the layout that the parameters have now.
    pub(crate) fn draw_vectors(&mut self) {
        let layout = self.params.layout();
        let bits = match self.params.bits {
            0 => layout.lane.bits(),
            bits => bits.into(),
        };
        let mask = (1_u64 << bits) - 1;
        self.vectors = (0..self.params.members())
            .map(|_| {
                let mut vector = Vector::zero(layout);
                for lane in 0..layout.model {
                    vector.set_model(lane, (self.rng.random::<u64>() & mask) as u32);
                }
                for lane in 1..layout.meta {
                    vector.set_meta(lane, self.rng.random_range(1..1000));
                }
                vector
            })
            .collect();
    }

    pub(crate) fn policy(&self, index: u32) -> Policy {
        let mode = self.params.mode;
        Policy {
            task: TASK,
            roster: Arc::clone(&self.roster),
            place: index,
            identity: (mode == Mode::Malicious).then(|| self.identities[index as usize].clone()),
            mode,
            minimum_cohort: 3,
            corrupt_ppm: self.params.corrupt_ppm,
            today: 50,
        }
    }

    pub(crate) fn work(&self) -> Work {
        Work {
            model_hash: self.params.model_hash,
            config_hash: self.params.config_hash,
            model_lanes: self.params.model_lanes as usize,
            meta_lanes: self.params.meta_lanes.into(),
        }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        (self.params.mode == Mode::Malicious).then(|| self.server.clone())
    }

    pub(crate) fn open(&self) -> Server {
        Server::new(
            self.params.clone(),
            Arc::clone(&self.roster),
            self.identity(),
        )
        .unwrap()
    }

    /// A client that answers `bytes`, the parameters.
    pub(crate) fn join(&mut self, index: u32, bytes: &[u8]) -> Result<(Client, Vec<u8>), Abort> {
        let secrets = Secrets::draw(&mut self.rng);
        self.secrets.insert(index, secrets.clone());
        let policy = Arc::new(self.policy(index));
        Client::join(
            policy,
            &Record::default(),
            &self.work(),
            bytes,
            secrets,
            NOW,
        )
    }

    /// The sum of the plain vectors of `members`, counted.
    pub(crate) fn plain_sum(&self, members: &[u32]) -> Vector {
        let mut sum = Vector::zero(self.params.layout());
        for index in members {
            let mut vector = self.vectors[*index as usize].clone();
            vector.set_meta(0, 1);
            sum.add(vector.bytes()).unwrap();
        }
        sum
    }

    /// Runs the session; clients are gone where `drops` says.
    pub(crate) fn run(&mut self, drops: &Drops) -> Outcome {
        self.run_with(drops, |_, _| {}, |_, _| {})
    }

    /// Runs the session; what goes down and up can be changed on the way.
    pub(crate) fn run_with(
        &mut self,
        drops: &Drops,
        mut down: impl FnMut(u32, &mut Vec<u8>),
        mut up: impl FnMut(u32, &mut Vec<u8>),
    ) -> Outcome {
        let mut outcome = Outcome {
            sums: None,
            failure: None,
            bucket_failures: Vec::new(),
            aborts: Vec::new(),
            rejections: Vec::new(),
            down: Vec::new(),
            up: Vec::new(),
            clients: BTreeMap::new(),
            server: self.open(),
        };
        loop {
            let replies = self.answer_all(&mut outcome, drops, &mut down);
            if replies.is_empty() && outcome.down_is_quiet() {
                break;
            }
            for (from, reply) in replies {
                let Some(mut reply) = reply else {
                    outcome.server.lost(from);
                    continue;
                };
                up(from, &mut reply);
                if let Err(rejection) = outcome.server.receive(from, &reply) {
                    outcome.rejections.push((from, rejection));
                    outcome.server.lost(from);
                }
                outcome.up.push((from, reply));
            }
        }
        outcome
    }

    /// What the clients answer to all that the server has sent; `None` for one that is gone. In a random order.
    fn answer_all(
        &mut self,
        outcome: &mut Outcome,
        drops: &Drops,
        down: &mut impl FnMut(u32, &mut Vec<u8>),
    ) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut replies = VecDeque::new();
        while let Some(output) = outcome.server.poll_output() {
            match output {
                Output::Send { to, message } => {
                    outcome.down.push((to, Arc::clone(&message)));
                    let mut message = message.to_vec();
                    down(to, &mut message);
                    let place = self.rng.random_range(0..=replies.len());
                    if let Some(reply) = self.answer(outcome, drops, to, &message) {
                        replies.insert(place, (to, reply));
                    }
                }
                Output::Sums(sums) => {
                    outcome.sums = Some(sums);
                    outcome.server.announce([9; 32]);
                }
                Output::Failed(failure) => outcome.failure = Some(failure),
                Output::BucketFailed { bucket, reason } => {
                    outcome.bucket_failures.push((bucket, reason));
                }
                _ => {}
            }
        }
        replies.into()
    }

    /// The answer of client `to`; `Some(None)` if the server waits for one in vain, `None` if none is due.
    fn answer(
        &mut self,
        outcome: &mut Outcome,
        drops: &Drops,
        to: u32,
        message: &[u8],
    ) -> Option<Option<Vec<u8>>> {
        let answers = match peek(message).map(|(kind, _)| kind) {
            Ok(Kind::Params) => Kind::Advertise,
            Ok(Kind::Roster) => Kind::Shares,
            Ok(Kind::Deliver) => Kind::Masked,
            Ok(Kind::Survivors) if self.params.mode == Mode::Malicious => Kind::Ack,
            Ok(Kind::Survivors | Kind::Acks) => Kind::Reveal,
            _ => Kind::Result,
        };
        if let Some(gone) = drops.get(&to)
            && *gone as u8 <= answers as u8
        {
            return (answers != Kind::Result).then_some(None);
        }
        if answers == Kind::Advertise {
            return Some(match self.join(to, message) {
                Ok((client, first)) => {
                    outcome.clients.insert(to, client);
                    Some(first)
                }
                Err(abort) => {
                    outcome.aborts.push((to, abort));
                    None
                }
            });
        }
        let client = outcome.clients.get_mut(&to)?;
        let mut step = client.receive(message, NOW);
        if step == Ok(Step::Ready) {
            let vector = self.vectors[to as usize].clone();
            step = client.mask(vector, 1, NOW);
        }
        match step {
            Ok(Step::Send(reply)) => Some(Some(reply)),
            Ok(_) => None,
            Err(abort) => {
                let farewell = client.farewell(&abort);
                outcome.aborts.push((to, abort));
                Some(Some(farewell))
            }
        }
    }
}

impl World {
    /// The header of the session's messages.
    pub(crate) fn header(&self) -> Header {
        Header {
            round: self.params.round,
            attempt: self.params.attempt,
        }
    }

    /// These parameters, signed by the server whatever they are.
    pub(crate) fn proposal(&self, params: &Params) -> Vec<u8> {
        let signature = match params.mode {
            Mode::SemiHonest => [0; 64],
            Mode::Malicious => {
                let body = params.to_bytes();
                let body: [&[u8]; 1] = [&body];
                view::sign(&self.server_secret, Kind::Params, &[0; 32], u32::MAX, &body)
            }
        };
        let header = Header {
            round: params.round,
            attempt: params.attempt,
        };
        ServerMessage::Params(Box::new(params.clone()), signature).encode(header)
    }

    /// Begins a session, of which no client has seen anything.
    pub(crate) fn begin(&mut self) -> Stand {
        let mut stand = Stand {
            server: self.open(),
            clients: BTreeMap::new(),
            pending: BTreeMap::new(),
            down: Vec::new(),
            up: Vec::new(),
            aborts: Vec::new(),
            sums: None,
            failure: None,
        };
        stand.collect();
        stand
    }

    /// Runs a session up to the server's messages of this kind.
    pub(crate) fn until(&mut self, kind: Kind, drops: &Drops) -> Stand {
        let mut stand = self.begin();
        self.go_on(&mut stand, Some(kind), drops);
        stand
    }

    /// Goes on with a session: up to the server's messages of this kind, or to the end.
    pub(crate) fn go_on(&mut self, stand: &mut Stand, until: Option<Kind>, drops: &Drops) {
        while let Some(message) = stand.pending.values().next() {
            let kind = peek(message).unwrap().0;
            if Some(kind) == until {
                return;
            }
            let answers = self.round(stand, drops);
            for (from, reply) in answers {
                match reply {
                    Some(reply) => {
                        // Whoever is turned away is not waited for.
                        if stand.server.receive(from, &reply).is_err() {
                            stand.server.lost(from);
                        }
                        stand.up.push((from, reply));
                    }
                    None => stand.server.lost(from),
                }
            }
            stand.collect();
        }
    }

    /// Delivers what is pending; the answers, `None` for those who are gone.
    pub(crate) fn round(
        &mut self,
        stand: &mut Stand,
        drops: &Drops,
    ) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut answers = Vec::new();
        for (to, message) in std::mem::take(&mut stand.pending) {
            let due = due(peek(&message).unwrap().0, self.params.mode);
            stand.down.push((to, message.clone()));
            if drops.get(&to).is_some_and(|gone| *gone as u8 <= due as u8) {
                answers.push((to, None));
                continue;
            }
            match self.hand(&mut stand.clients, to, &message) {
                Ok(Step::Send(reply)) => answers.push((to, Some(reply))),
                Ok(_) => {}
                Err(abort) => {
                    stand.aborts.push((to, abort));
                    answers.push((to, None));
                }
            }
        }
        answers
    }

    /// Hands client `to` a message; it masks its vector when it is due.
    pub(crate) fn hand(
        &mut self,
        clients: &mut BTreeMap<u32, Client>,
        to: u32,
        message: &[u8],
    ) -> Result<Step, Abort> {
        let Some(client) = clients.get_mut(&to) else {
            let (client, first) = self.join(to, message)?;
            clients.insert(to, client);
            return Ok(Step::Send(first));
        };
        match client.receive(message, NOW)? {
            Step::Ready => client.mask(self.vectors[to as usize].clone(), 1, NOW),
            step => Ok(step),
        }
    }
}

/// What a client answers a message of this kind with.
pub(crate) fn due(kind: Kind, mode: Mode) -> Kind {
    match kind {
        Kind::Params => Kind::Advertise,
        Kind::Roster => Kind::Shares,
        Kind::Deliver => Kind::Masked,
        Kind::Survivors if mode == Mode::Malicious => Kind::Ack,
        Kind::Survivors | Kind::Acks => Kind::Reveal,
        _ => Kind::Result,
    }
}

impl Stand {
    /// Takes what the server has put out.
    pub(crate) fn collect(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { to, message } => {
                    self.pending.insert(to, message.to_vec());
                }
                Output::Sums(sums) => {
                    self.sums = Some(sums);
                    self.server.announce([9; 32]);
                }
                Output::Failed(failure) => self.failure = Some(failure),
                _ => {}
            }
        }
    }

    /// The pending message to `to`, read.
    pub(crate) fn message(&self, to: u32) -> ServerMessage {
        let members = self.server.params().members();
        ServerMessage::decode(&self.pending[&to], members)
            .unwrap()
            .0
    }

    /// The only sum.
    pub(crate) fn sum(&self) -> &Sum {
        match self.sums.as_deref() {
            Some([sum]) => sum,
            other => panic!("{other:?}, failure {:?}, {:?}", self.failure, self.aborts),
        }
    }
}

impl Outcome {
    fn down_is_quiet(&self) -> bool {
        self.sums.is_some() || self.failure.is_some()
    }

    /// The only sum.
    pub(crate) fn sum(&self) -> &Sum {
        match self.sums.as_deref() {
            Some([sum]) => sum,
            other => panic!("{other:?}, failure {:?}, {:?}", self.failure, self.aborts),
        }
    }

    /// The codes with which clients left, and who did.
    pub(crate) fn abort_names(&self) -> Vec<(u32, &'static str)> {
        self.aborts
            .iter()
            .map(|(index, abort)| (*index, abort.name()))
            .collect()
    }
}
