//! A whole session in this process: each client and the server do all of their work, and each call is timed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context, Result, bail, ensure};
use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::Vector;
use cloister_secagg::message::{Kind, peek};
use cloister_secagg::{
    Client, Entry, GraphKind, Identity, Mode, Output, Params, Policy, Record, Roster, Secrets,
    SecureAggregationConfig, Server, ServerTrust, Stage, Step, Sum, Work,
};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};

use super::clock::{CpuWatch, process_seconds};
use crate::bench::clock::{Stopwatch, peak_memory_mib};

/// One session to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) clients: u32,
    pub(super) parameters: usize,
    /// Share of the clients that are gone before they send their vector: what costs the server most.
    pub(super) dropouts: f64,
    /// A sparse graph and a server that follows the protocol, not a complete graph and one that may lie.
    pub(super) sparse: bool,
    /// Bits of a lane.
    pub(super) lanes: u8,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.sparse { "S" } else { "M" };
        write!(
            f,
            "{} clients x {} parameters of {} bits, {:.0} % gone, mode {mode}",
            self.clients,
            self.parameters,
            self.lanes,
            100.0 * self.dropouts
        )
    }
}

/// What a session took. Seconds of CPU unless said otherwise.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) params: Params,
    pub(super) dropped: u32,
    /// Of each client, in no order: keys and shares; its masked vector, of those who sent it; all that follows.
    pub(super) keys: Vec<f64>,
    pub(super) masking: Vec<f64>,
    pub(super) reveal: Vec<f64>,
    pub(super) server: ServerCost,
    /// The longest message of each kind, with its header.
    pub(super) up: BTreeMap<u8, usize>,
    pub(super) down: BTreeMap<u8, usize>,
    /// Masks that one client added, at most.
    pub(super) client_masks: u32,
    /// Masks that the server took off.
    pub(super) server_masks: u64,
    pub(super) wall: f64,
    /// Of the whole process: all clients and the server.
    pub(super) peak_mib: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerCost {
    pub(super) keys: f64,
    /// Checking, hashing and adding all vectors.
    pub(super) adding: f64,
    /// Acknowledgements and shares.
    pub(super) answers: f64,
    /// Restoring secrets and taking masks off.
    pub(super) unmask: f64,
    pub(super) unmask_wall: f64,
}

/// A client's place, and what it took so far.
#[derive(Default)]
struct Seat {
    client: Option<Client>,
    drops: bool,
    keys: f64,
    masking: Option<f64>,
    reveal: f64,
}

/// The server, with all that comes out of it.
struct Desk {
    server: Server,
    cost: ServerCost,
    up: BTreeMap<u8, usize>,
}

struct Hall {
    params: Params,
    roster: Arc<Roster>,
    identities: Vec<Identity>,
    seed: u64,
    seats: Vec<Mutex<Seat>>,
    desk: Mutex<Desk>,
    /// The plain sum of those who sent their vectors.
    plain: Mutex<Vector>,
    threads: usize,
}

const TASK: [u8; 16] = *b"cloister bench 0";

impl Case {
    /// The numbers of the session.
    pub(super) fn params(&self) -> Result<Params> {
        let (mode, graph) = match self.sparse {
            true => (ServerTrust::SemiHonest, GraphKind::Sparse),
            false => (ServerTrust::Malicious, GraphKind::Complete),
        };
        let config = SecureAggregationConfig {
            mode,
            graph,
            minimum_cohort: cloister_secagg::LEAST_COHORT,
            lanes: self.lanes,
            ..SecureAggregationConfig::default()
        };
        let config = SecureAggregationConfig {
            dropout: self.dropouts.max(config.dropout),
            ..config
        };
        Ok(config.params(self.clients, self.parameters)?)
    }

    /// About how many CPU seconds it takes: to know what to leave out.
    pub(super) fn estimate(&self, params: &Params) -> f64 {
        let n = f64::from(self.clients);
        let neighbours = f64::from(neighbours(params));
        let mask = 0.5e-9 * self.parameters as f64 * f64::from(self.lanes) / 32.0;
        let dropped = n * self.dropouts;
        let signatures = if self.sparse { 0.0 } else { 60e-6 * n * n };
        let clients = n * neighbours * 220e-6 + (n - dropped) * neighbours * mask;
        clients + signatures + dropped * neighbours * mask + n * 4e-9 * self.parameters as f64
    }

    /// Runs the session.
    ///
    /// # Errors
    /// If it fails, or its sum is not the sum of the vectors of those who sent one.
    pub(super) fn run(&self, threads: usize, rng: &mut ChaCha20Rng) -> Result<Measured> {
        // Writing 5 makes the system forget the peak so far; where it will not, the peak is that of all sessions so far.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let watch = Stopwatch::start();
        let mut hall = Hall::open(self, threads, rng)?;
        let mut down = BTreeMap::new();
        let sum = hall.hold(&mut down)?;
        let wall = watch.elapsed().as_secs_f64();
        let plain = hall.plain.get_mut().unwrap_or_else(PoisonError::into_inner);
        plain.set_meta(0, sum.members.len() as u64);
        ensure!(
            sum.vector == *plain,
            "the sum is not the sum of the vectors"
        );
        let left = hall.seats.iter().map(|seat| locked(seat).drops);
        let dropped = left.filter(|drops| *drops).count() as u32;
        ensure!(
            sum.members.len() as u32 + dropped == self.clients,
            "members are missing"
        );
        Ok(hall.measured(dropped, down, wall))
    }
}

/// Members with whom each client shares masks.
pub(super) fn neighbours(params: &Params) -> u32 {
    match params.graph {
        Graph::Harary { degree } => degree,
        _ => params.members() - 1,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    fn open(case: &Case, threads: usize, rng: &mut ChaCha20Rng) -> Result<Self> {
        let n = case.clients;
        let identities: Vec<Identity> = (0..n).map(|_| Identity::generate(rng)).collect();
        let identity = Identity::generate(rng);
        let entry = |(name, identity): (u32, &Identity)| Entry {
            client: u128::from(name).to_be_bytes(),
            identity: identity.public(),
            not_after: u64::MAX,
        };
        let entries = (0..n).zip(&identities).map(entry).collect();
        let roster = Arc::new(Roster::new(identity.public(), entries)?);
        let mut params = case.params()?;
        params.task = TASK;
        params.nonce = rng.random();
        params.model_hash = rng.random();
        params.config_hash = rng.random();
        params.roster_hash = *roster.hash();
        let identity = (params.mode == Mode::Malicious).then_some(identity);
        let mut server = Server::new(params.clone(), Arc::clone(&roster), identity)?;
        server.use_threads(threads);
        let mut order: Vec<u32> = (0..n).collect();
        order.shuffle(rng);
        let gone = (f64::from(n) * case.dropouts) as usize;
        let gone: BTreeSet<u32> = order.into_iter().take(gone).collect();
        let seat = |index| {
            Mutex::new(Seat {
                drops: gone.contains(&index),
                ..Seat::default()
            })
        };
        Ok(Self {
            roster,
            identities,
            seed: rng.random(),
            seats: (0..n).map(seat).collect(),
            desk: Mutex::new(Desk {
                server,
                cost: ServerCost::default(),
                up: BTreeMap::new(),
            }),
            plain: Mutex::new(Vector::zero(params.layout())),
            threads,
            params,
        })
    }

    /// Carries messages until the session is over.
    fn hold(&self, down: &mut BTreeMap<u8, usize>) -> Result<Sum> {
        let mut sums = Vec::new();
        loop {
            let mut pending = Vec::new();
            let mut desk = locked(&self.desk);
            while let Some(output) = desk.server.poll_output() {
                match output {
                    Output::Send { to, message } => pending.push((to, message)),
                    Output::Sums(made) => {
                        sums = made;
                        desk.server.announce([0; 32]);
                    }
                    Output::Failed(failure) => bail!("the session failed: {failure}"),
                    _ => {}
                }
            }
            drop(desk);
            if pending.is_empty() {
                return sums.pop().context("the session ended without a sum");
            }
            for (_, message) in &pending {
                longest(down, message)?;
            }
            self.wave(&pending)?;
        }
    }

    /// All clients answer; each answer is taken as soon as it is there, and dropped.
    fn wave(&self, pending: &[(u32, Arc<[u8]>)]) -> Result<()> {
        let part = |part: &[(u32, Arc<[u8]>)]| {
            part.iter()
                .try_for_each(|(to, message)| self.visit(*to, message))
        };
        std::thread::scope(|scope| {
            let mut parts = pending.chunks(pending.len().div_ceil(self.threads));
            let own = parts.next().unwrap_or_default();
            let others: Vec<_> = parts
                .map(|others| scope.spawn(move || part(others)))
                .collect();
            let mut result = part(own);
            for other in others {
                let other = other.join();
                result = result.and(other.unwrap_or_else(|_| bail!("a client's thread died")));
            }
            result
        })
    }

    fn visit(&self, index: u32, message: &[u8]) -> Result<()> {
        let seat = self.seats.get(index as usize).context("no such client")?;
        let Some(answer) = self.answer(index, &mut locked(seat), message)? else {
            return Ok(());
        };
        let desk = &mut *locked(&self.desk);
        let before = desk.server.stage();
        let process = process_seconds();
        let (wall, watch) = (Stopwatch::start(), CpuWatch::start());
        match &answer {
            Answer::Message(bytes) => desk.server.receive(index, bytes)?,
            Answer::Gone => desk.server.lost(index),
        }
        let (spent, wall) = (watch.seconds(), wall.elapsed().as_secs_f64());
        if let Answer::Message(bytes) = &answer {
            longest(&mut desk.up, bytes)?;
        }
        let cost = &mut desk.cost;
        match (before, desk.server.stage()) {
            (Stage::Reveal, Stage::Over) => {
                let all = process
                    .zip(process_seconds())
                    .map(|(start, end)| end - start);
                cost.unmask = match self.threads {
                    1 => spent,
                    // The pool's threads are not on this thread's clock.
                    _ => all.unwrap_or(f64::NAN),
                };
                cost.unmask_wall = wall;
            }
            (Stage::Advertise | Stage::Shares, _) => cost.keys += spent,
            (Stage::Masked, _) => cost.adding += spent,
            _ => cost.answers += spent,
        }
        Ok(())
    }

    /// What a client says to a message; `None` if nothing is due.
    fn answer(&self, index: u32, seat: &mut Seat, message: &[u8]) -> Result<Option<Answer>> {
        let (kind, _) = peek(message)?;
        let now = Duration::ZERO;
        if kind == Kind::Params {
            return self.join(index, seat, message).map(Some);
        }
        let client = seat.client.as_mut().context("it has not joined")?;
        let watch = CpuWatch::start();
        let step = client.receive(message, now)?;
        let spent = watch.seconds();
        match kind {
            Kind::Roster | Kind::Deliver => seat.keys += spent,
            _ => seat.reveal += spent,
        }
        Ok(match step {
            Step::Send(bytes) => Some(Answer::Message(bytes)),
            Step::Ready if seat.drops => {
                seat.client = None;
                Some(Answer::Gone)
            }
            Step::Ready => {
                let vector = self.vector(index);
                if locked(&self.plain).add(vector.bytes()).is_err() {
                    bail!("vectors of two layouts");
                }
                let watch = CpuWatch::start();
                let step = client.mask(vector, 1, now)?;
                seat.masking = Some(watch.seconds());
                match step {
                    Step::Send(bytes) => Some(Answer::Message(bytes)),
                    other => bail!("a vector was answered with {other:?}"),
                }
            }
            Step::Done { .. } => None,
            other => bail!("client {index} came to {other:?}"),
        })
    }

    fn join(&self, index: u32, seat: &mut Seat, message: &[u8]) -> Result<Answer> {
        let identity = self.identities.get(index as usize).cloned();
        let policy = Policy {
            task: TASK,
            roster: Arc::clone(&self.roster),
            place: index,
            identity: identity.filter(|_| self.params.mode == Mode::Malicious),
            mode: self.params.mode,
            minimum_cohort: self.params.least_survivors,
            corrupt_ppm: self.params.corrupt_ppm,
            today: 0,
        };
        let work = Work {
            model_hash: self.params.model_hash,
            config_hash: self.params.config_hash,
            model_lanes: self.params.model_lanes as usize,
            meta_lanes: self.params.meta_lanes.into(),
        };
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed ^ u64::from(index));
        let (policy, record) = (Arc::new(policy), Record::default());
        let watch = CpuWatch::start();
        let secrets = Secrets::draw(&mut rng);
        let (client, first) =
            Client::join(policy, &record, &work, message, secrets, Duration::ZERO)?;
        seat.keys += watch.seconds();
        seat.client = Some(client);
        Ok(Answer::Message(first))
    }

    /// A client's vector: random codes and figures, made when they are needed.
    fn vector(&self, index: u32) -> Vector {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(u64::from(index)));
        let code = u32::MAX >> (32 - u32::from(self.params.bits.clamp(1, 32)));
        let mut vector = Vector::zero(self.params.layout());
        vector.fill_model(std::iter::repeat_with(|| rng.next_u32() & code));
        for lane in 1..usize::from(self.params.meta_lanes) {
            vector.set_meta(lane, rng.random_range(1..1000));
        }
        vector
    }

    fn measured(self, dropped: u32, down: BTreeMap<u8, usize>, wall: f64) -> Measured {
        let desk = self
            .desk
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let seats = self.seats.into_iter().map(Mutex::into_inner);
        let seats: Vec<Seat> = seats
            .map(|seat| seat.unwrap_or_else(PoisonError::into_inner))
            .collect();
        let stayed = || seats.iter().filter(|seat| !seat.drops);
        let survivors = u64::from(self.params.members() - dropped);
        let neighbours = neighbours(&self.params);
        // In a sparse graph a dropout's neighbours have dropped out as often as others.
        let pairs = match self.params.graph {
            Graph::Harary { degree } => {
                u64::from(dropped) * u64::from(degree) * survivors
                    / u64::from(self.params.members())
            }
            _ => u64::from(dropped) * survivors,
        };
        Measured {
            dropped,
            keys: seats.iter().map(|seat| seat.keys).collect(),
            masking: seats.iter().filter_map(|seat| seat.masking).collect(),
            reveal: stayed().map(|seat| seat.reveal).collect(),
            server: desk.cost,
            up: desk.up,
            down,
            client_masks: neighbours + 1,
            server_masks: survivors + pairs,
            wall,
            peak_mib: peak_memory_mib(),
            params: self.params,
        }
    }
}

/// What the server gets of a client.
enum Answer {
    Message(Vec<u8>),
    /// It is gone, and the host knows.
    Gone,
}

fn longest(lengths: &mut BTreeMap<u8, usize>, message: &[u8]) -> Result<()> {
    let (kind, _) = peek(message)?;
    let longest = lengths.entry(kind as u8).or_default();
    *longest = message.len().max(*longest);
    Ok(())
}
