//! A session with every secret given, so that all of its messages are determined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_secagg::lanes::Vector;
use cloister_secagg::message::peek;
use cloister_secagg::*;

use super::NOW;

/// What one member brings.
pub(crate) struct Member {
    /// Its Ed25519 secret.
    pub(crate) identity: [u8; 32],
    pub(crate) secrets: Secrets,
    pub(crate) vector: Vector,
}

/// The inputs of a session.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) params: Params,
    pub(crate) roster: Arc<Roster>,
    /// Ed25519 secrets of the server and of the roster's authority.
    pub(crate) server: [u8; 32],
    pub(crate) authority: [u8; 32],
    pub(crate) members: Vec<Member>,
    /// Who answers with kinds 2, 4, 6, 8, 10, if asked.
    pub(crate) answering: [BTreeSet<u32>; 5],
    pub(crate) next_model_hash: [u8; 32],
}

/// A message on its way; `None` is the server.
pub(crate) struct Message {
    pub(crate) from: Option<u32>,
    pub(crate) to: Option<u32>,
    pub(crate) kind: u8,
    pub(crate) bytes: Vec<u8>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Play {
    pub(crate) messages: Vec<Message>,
    pub(crate) sums: Vec<Sum>,
    pub(crate) failed_buckets: Vec<u32>,
    pub(crate) results: u32,
}

impl Play {
    /// Who sent messages of this kind, ascending.
    pub(crate) fn senders(&self, kind: u8) -> Vec<u32> {
        let of_kind = self
            .messages
            .iter()
            .filter(|message| message.kind == kind)
            .filter_map(|message| message.from);
        of_kind.collect::<BTreeSet<u32>>().into_iter().collect()
    }
}

impl Case {
    pub(crate) fn signed(&self) -> bool {
        self.params.mode == Mode::Malicious
    }

    fn policy(&self, index: u32) -> Arc<Policy> {
        let identity = Identity::from_secret(&self.members[index as usize].identity);
        Arc::new(Policy {
            task: self.params.task,
            roster: Arc::clone(&self.roster),
            place: self.params.cohort[index as usize],
            identity: self.signed().then_some(identity),
            mode: self.params.mode,
            minimum_cohort: 3,
            corrupt_ppm: self.params.corrupt_ppm,
            today: 0,
        })
    }

    fn join(&self, index: u32, bytes: &[u8]) -> (Client, Vec<u8>) {
        let work = Work {
            model_hash: self.params.model_hash,
            config_hash: self.params.config_hash,
            model_lanes: self.params.model_lanes as usize,
            meta_lanes: self.params.meta_lanes.into(),
        };
        let secrets = self.members[index as usize].secrets.clone();
        let policy = self.policy(index);
        Client::join(policy, &Record::default(), &work, bytes, secrets, NOW).unwrap()
    }

    /// Runs the session with the crate's server and clients. Whoever does not answer is lost to the server at once.
    pub(crate) fn play(&self) -> Play {
        let identity = self.signed().then(|| Identity::from_secret(&self.server));
        let roster = Arc::clone(&self.roster);
        let mut server = Server::new(self.params.clone(), roster, identity).unwrap();
        let mut clients = BTreeMap::new();
        let mut play = Play::default();
        loop {
            let mut replies = Vec::new();
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Send { to, message } => {
                        play.note(None, Some(to), &message);
                        if let Some(reply) = self.answer(&mut clients, to, &message, &mut play) {
                            replies.push((to, reply));
                        }
                    }
                    Output::Sums(sums) => {
                        play.sums = sums;
                        server.announce(self.next_model_hash);
                    }
                    Output::BucketFailed { bucket, .. } => play.failed_buckets.push(bucket),
                    Output::Added { .. } => {}
                    other => panic!("{}: {other:?}", self.name),
                }
            }
            if replies.is_empty() {
                return play;
            }
            for (from, reply) in replies {
                match reply {
                    Some(reply) => {
                        play.note(Some(from), None, &reply);
                        server.receive(from, &reply).unwrap();
                    }
                    None => server.lost(from),
                }
            }
        }
    }

    /// The answer of `to`; `Some(None)` if it is gone, `None` if the message wants none.
    fn answer(
        &self,
        clients: &mut BTreeMap<u32, Client>,
        to: u32,
        message: &[u8],
        play: &mut Play,
    ) -> Option<Option<Vec<u8>>> {
        let stage = match (peek(message).unwrap().0 as u8, self.signed()) {
            (1, _) => 0,
            (3, _) => 1,
            (5, _) => 2,
            (7, true) => 3,
            (7, false) | (9, _) => 4,
            _ => {
                let end = clients.get_mut(&to)?.receive(message, NOW);
                play.results += u32::from(matches!(end, Ok(Step::Done { .. })));
                return None;
            }
        };
        if !self.answering[stage].contains(&to) {
            return Some(None);
        }
        if stage == 0 {
            let (client, first) = self.join(to, message);
            clients.insert(to, client);
            return Some(Some(first));
        }
        let client = clients.get_mut(&to).unwrap();
        let mut step = client.receive(message, NOW).unwrap();
        if step == Step::Ready {
            let vector = self.members[to as usize].vector.clone();
            step = client.mask(vector, 1, NOW).unwrap();
        }
        match step {
            Step::Send(reply) => Some(Some(reply)),
            other => panic!("{}: client {to}: {other:?}", self.name),
        }
    }
}

impl Play {
    fn note(&mut self, from: Option<u32>, to: Option<u32>, bytes: &[u8]) {
        self.messages.push(Message {
            from,
            to,
            kind: bytes[0],
            bytes: bytes.to_vec(),
        });
    }
}
