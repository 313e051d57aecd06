//! A whole session in one process, with every message open to be lost, changed or kept back.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::{Lane, Vector};
use cloister_secagg::message::{Kind, peek};
use cloister_secagg::*;
use rand::{RngExt, SeedableRng};
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
        let identities: Vec<Identity> = (0..n).map(|_| Identity::generate(&mut rng)).collect();
        let server = Identity::generate(&mut rng);
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
