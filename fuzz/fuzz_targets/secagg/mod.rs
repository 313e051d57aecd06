//! Small sessions with fixed secrets, for the targets of secure aggregation.

#![allow(dead_code, reason = "each target uses its part of it")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cloister_secagg::graph::{self, Graph};
use cloister_secagg::lanes::{Lane, Vector};
use cloister_secagg::message::{Kind, peek};
use cloister_secagg::*;

pub const NOW: Duration = Duration::ZERO;

/// The fuzzer's bytes, read from the front; zeros when there are no more.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        front
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u8())
    }

    /// Changes some bytes, or the length.
    pub fn edit(&mut self, bytes: &mut Vec<u8>) {
        let how = self.u8();
        for _ in 0..=how % 4 {
            let (place, change) = (usize::from(self.u16()), self.u8());
            if !bytes.is_empty() {
                let place = place % bytes.len();
                bytes[place] ^= change;
            }
        }
        match how / 64 {
            1 => bytes.truncate(self.u16().into()),
            2 => bytes.extend(self.take((how % 32).into())),
            _ => {}
        }
    }
}

/// A cohort.
pub struct World {
    pub params: Params,
    roster: Arc<Roster>,
    identities: Vec<Identity>,
    server: Identity,
    /// What the server tells client 0 when nobody drops out, in order.
    pub told: Vec<Vec<u8>>,
    /// What client 0 stores after each of these, but the last.
    pub saved: Vec<Vec<u8>>,
}

/// Both modes, both lanes, all graphs.
pub fn worlds() -> &'static [World] {
    static WORLDS: OnceLock<Vec<World>> = OnceLock::new();
    WORLDS.get_or_init(|| {
        vec![
            World::new(4, Mode::SemiHonest, Lane::U32, Graph::Complete),
            World::new(4, Mode::Malicious, Lane::U16, Graph::Complete),
            World::new(6, Mode::Malicious, Lane::U32, Graph::Buckets { count: 2 }),
            World::new(8, Mode::SemiHonest, Lane::U16, Graph::Harary { degree: 6 }),
            World::new(7, Mode::SemiHonest, Lane::U32, Graph::Buckets { count: 2 }),
        ]
    })
}

impl World {
    fn new(n: u32, mode: Mode, lane: Lane, graph: Graph) -> Self {
        let identities: Vec<Identity> = (0..n)
            .map(|index| Identity::from_secret(&[index as u8 + 1; 32]))
            .collect();
        let server = Identity::from_secret(&[200; 32]);
        let entry = |(index, identity): (u32, &Identity)| Entry {
            client: u128::from(index).to_be_bytes(),
            identity: identity.public(),
            not_after: 100,
        };
        let entries = (0..n).zip(&identities).map(entry).collect();
        let roster = Arc::new(Roster::new(server.public(), entries).unwrap());
        let mut params = Params {
            version: VERSION,
            suite: SUITE,
            mode,
            lane,
            bits: 8,
            graph,
            task: [7; 16],
            round: 5,
            attempt: 2,
            nonce: [3; 32],
            model_hash: [1; 32],
            config_hash: [2; 32],
            model_lanes: 5,
            meta_lanes: 2,
            clip: 1.0,
            most_weight: 1000,
            least_survivors: 3,
            threshold: 0,
            corrupt_ppm: 200_000,
            dropout_ppm: 100_000,
            security_bits: 40,
            correctness_bits: 10,
            deadlines: [1000; 4],
            roster_hash: *roster.hash(),
            cohort: (0..n).collect(),
        };
        params.threshold = match graph {
            Graph::Harary { degree } => (1..=degree)
                .find(|t| graph::check(n, degree, *t, &params.assumptions()))
                .unwrap(),
            _ => graph::complete_threshold(params.group(), params.corrupt_ppm, mode.rule()),
        };
        let mut world = Self {
            params,
            roster,
            identities,
            server,
            told: Vec::new(),
            saved: Vec::new(),
        };
        world.tell();
        world
    }

    /// Runs the session, and keeps client 0's part.
    fn tell(&mut self) {
        let mut server = self.open();
        let mut clients: Vec<Option<Client>> = self.identities.iter().map(|_| None).collect();
        let mut replies = Vec::new();
        loop {
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Send { to, message } => {
                        let client = &mut clients[to as usize];
                        if let Some(reply) = self.answer(client, to, &message) {
                            replies.push((to, reply));
                        }
                        if to == 0 {
                            self.told.push(message.to_vec());
                            let saved = client.as_ref().and_then(|client| client.save(NOW));
                            self.saved.extend(saved.map(|saved| saved.to_vec()));
                        }
                    }
                    Output::Sums(_) => server.announce([9; 32]),
                    _ => {}
                }
            }
            if replies.is_empty() {
                break;
            }
            for (from, reply) in replies.drain(..) {
                server.receive(from, &reply).unwrap();
            }
        }
        let last = self.told.last().unwrap();
        assert_eq!(peek(last).unwrap().0, Kind::Result);
    }

    /// What a client does with a message: it joins, or goes on. Nothing if it leaves.
    pub fn answer(&self, client: &mut Option<Client>, index: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let Some(client) = client else {
            let record = Record::default();
            let (joined, first) = self.join(index, &record, bytes).ok()?;
            *client = Some(joined);
            return Some(first);
        };
        let mut step = client.receive(bytes, NOW).ok()?;
        if step == Step::Ready {
            step = client.mask(self.vector(index), 1, NOW).ok()?;
        }
        match step {
            Step::Send(reply) => Some(reply),
            _ => None,
        }
    }

    pub fn open(&self) -> Server {
        let identity = (self.params.mode == Mode::Malicious).then(|| self.server.clone());
        Server::new(self.params.clone(), Arc::clone(&self.roster), identity).unwrap()
    }

    pub fn policy(&self, index: u32) -> Arc<Policy> {
        let mode = self.params.mode;
        let identity = self.identities[index as usize].clone();
        Arc::new(Policy {
            task: self.params.task,
            roster: Arc::clone(&self.roster),
            place: index,
            identity: (mode == Mode::Malicious).then_some(identity),
            mode,
            minimum_cohort: 3,
            corrupt_ppm: self.params.corrupt_ppm,
            today: 50,
        })
    }

    pub fn join(
        &self,
        index: u32,
        record: &Record,
        bytes: &[u8],
    ) -> Result<(Client, Vec<u8>), Abort> {
        let work = Work {
            model_hash: self.params.model_hash,
            config_hash: self.params.config_hash,
            model_lanes: self.params.model_lanes as usize,
            meta_lanes: self.params.meta_lanes.into(),
        };
        let secret = |which: u8| [16 * which + index as u8 + 1; 32];
        let secrets = Secrets {
            r: secret(1),
            b: secret(2),
            c: secret(3),
            z: secret(4),
        };
        Client::join(self.policy(index), record, &work, bytes, secrets, NOW)
    }

    /// The vector of a member, counted.
    pub fn vector(&self, index: u32) -> Vector {
        let mut vector = Vector::zero(self.params.layout());
        vector.fill_model((0..self.params.model_lanes).map(|lane| 10 * index + lane));
        vector.set_meta(0, 1);
        vector.set_meta(1, u64::MAX - u64::from(index));
        vector
    }
}
