//! The numbers of a session, which the server proposes and each client checks.

use sha2::{Digest, Sha256};

use crate::config::ServerTrust;
use crate::error::Abort;
use crate::graph::{self, Assumptions, Graph, Rule};
use crate::lanes::{Lane, LaneLayout, MAX_META};
use crate::wire::{DecodeError, Reader};

/// Format version of parameters and messages.
pub const VERSION: u16 = 1;
/// X25519, Ed25519, HKDF-SHA-256, ChaCha20-Poly1305, AES-128-CTR masks, Shamir modulo 2^61 - 1.
pub const SUITE: u16 = 0x0001;
/// No session has fewer members: with two, each would learn the other's vector from the sum.
pub const LEAST_COHORT: u32 = graph::MIN_MEMBERS;
/// No session has more.
pub const MOST_MEMBERS: usize = 1 << 17;
/// No vector has more lanes: AES-128 streams stay far from their limit.
pub const MOST_LANES: usize = 1 << 30;

/// What the server is trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// S: the server follows the protocol and is curious. Nothing is signed; four round trips.
    SemiHonest,
    /// M: the server may lie. Messages are signed, survivors are agreed upon; five round trips.
    Malicious,
}

impl From<ServerTrust> for Mode {
    fn from(trust: ServerTrust) -> Self {
        match trust {
            ServerTrust::Malicious => Self::Malicious,
            ServerTrust::SemiHonest => Self::SemiHonest,
        }
    }
}

impl Mode {
    /// The threshold rule that goes with it.
    pub fn rule(self) -> Rule {
        match self {
            Self::SemiHonest => Rule::SemiHonest,
            Self::Malicious => Rule::Malicious,
        }
    }
}

/// The parameters of one session. The wire format is in `docs/secure-aggregation-wire.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Format version, [`VERSION`].
    pub version: u16,
    /// Cryptographic suite, [`SUITE`].
    pub suite: u16,
    /// What the server is trusted with.
    pub mode: Mode,
    /// Width of a model lane.
    pub lane: Lane,
    /// Bits of one client's code; 0: lanes are used whole, modulo their width.
    pub bits: u8,
    /// Who shares with whom.
    pub graph: Graph,
    /// The run.
    pub task: [u8; 16],
    /// The round.
    pub round: u64,
    /// The try at that round, from 1.
    pub attempt: u32,
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// Hash of the model that the clients were sent.
    pub model_hash: [u8; 32],
    /// Hash of what they are to do with it.
    pub config_hash: [u8; 32],
    /// Model lanes; 0 in a session that sums figures only, statistics say.
    pub model_lanes: u32,
    /// 64-bit lanes.
    pub meta_lanes: u16,
    /// Coordinates are clipped to [-clip, clip].
    pub clip: f32,
    /// Largest weight of a client.
    pub most_weight: u64,
    /// Fewest survivors of the session, or of each bucket.
    pub least_survivors: u32,
    /// Shares that restore a secret.
    pub threshold: u32,
    /// Assumed share of corrupt members, in millionths.
    pub corrupt_ppm: u32,
    /// Assumed share of dropouts, in millionths; only a sparse graph depends on it.
    pub dropout_ppm: u32,
    /// The chance that a sparse graph is not private is at most 2^-security_bits.
    pub security_bits: u16,
    /// The chance that a sparse graph cannot finish is at most 2^-correctness_bits.
    pub correctness_bits: u16,
    /// Milliseconds after these parameters until which a client hands in its shares, its vector, its acknowledgement and what it
    /// reveals.
    pub deadlines: [u64; 4],
    /// Hash of the roster that places refer to.
    pub roster_hash: [u8; 32],
    /// Places of the cohort in the roster, ascending. A session index is a position in this list.
    pub cohort: Vec<u32>,
}

impl Params {
    /// Members called.
    pub fn members(&self) -> u32 {
        self.cohort.len() as u32
    }

    /// How vectors lie in bytes.
    pub fn layout(&self) -> LaneLayout {
        LaneLayout {
            lane: self.lane,
            model: self.model_lanes as usize,
            meta: self.meta_lanes.into(),
        }
    }

    /// Bits of a model lane.
    pub fn lane_bits(&self) -> u8 {
        self.lane.bits() as u8
    }

    /// Sums that the session makes.
    pub fn buckets(&self) -> u32 {
        match self.graph {
            Graph::Buckets { count } => count.max(1),
            _ => 1,
        }
    }

    /// Members of the largest bucket; the cohort, if there is but one sum.
    pub fn group(&self) -> u32 {
        self.members().div_ceil(self.buckets())
    }

    /// Survivors without which a sum is not made. A sparse graph is safe for so many dropouts as it was found for.
    pub fn needed(&self) -> u32 {
        let least = self.threshold.max(self.least_survivors);
        match self.graph {
            Graph::Harary { .. } => {
                let members = u64::from(self.members());
                let dropouts = members * u64::from(self.dropout_ppm) / 1_000_000;
                least.max(members.saturating_sub(dropouts) as u32)
            }
            _ => least,
        }
    }

    /// What the sparse graph's numbers were found for.
    pub fn assumptions(&self) -> Assumptions {
        Assumptions {
            corrupt_ppm: self.corrupt_ppm,
            dropout_ppm: self.dropout_ppm,
            security_bits: self.security_bits.into(),
            correctness_bits: self.correctness_bits.into(),
            rule: self.mode.rule(),
        }
    }

    /// The bytes, without a signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (graph, degree) = match self.graph {
            Graph::Complete => (0, 0),
            Graph::Harary { degree } => (1, degree),
            Graph::Buckets { count } => (2, count),
        };
        let mut out = Vec::with_capacity(300 + 4 * self.cohort.len());
        out.extend(self.version.to_le_bytes());
        out.extend(self.suite.to_le_bytes());
        out.push(u8::from(self.mode == Mode::Malicious));
        out.extend([self.lane_bits(), self.bits, graph]);
        out.extend(degree.to_le_bytes());
        out.extend(self.task);
        out.extend(self.round.to_le_bytes());
        out.extend(self.attempt.to_le_bytes());
        for hash in [&self.nonce, &self.model_hash, &self.config_hash] {
            out.extend(hash);
        }
        out.extend(self.model_lanes.to_le_bytes());
        out.extend(self.meta_lanes.to_le_bytes());
        out.extend(self.clip.to_le_bytes());
        out.extend(self.most_weight.to_le_bytes());
        for number in [
            self.members(),
            self.least_survivors,
            self.threshold,
            self.corrupt_ppm,
            self.dropout_ppm,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.security_bits.to_le_bytes());
        out.extend(self.correctness_bits.to_le_bytes());
        for deadline in self.deadlines {
            out.extend(deadline.to_le_bytes());
        }
        out.extend(self.roster_hash);
        for place in &self.cohort {
            out.extend(place.to_le_bytes());
        }
        out
    }

    /// Reads parameters; whether they are sound is for [`Self::check`] to say.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u16("version")?;
        let suite = reader.u16("suite")?;
        let mode = match reader.u8("mode")? {
            0 => Mode::SemiHonest,
            1 => Mode::Malicious,
            _ => return Err(reader.invalid("mode", 1)),
        };
        let lane = match reader.u8("lane")? {
            16 => Lane::U16,
            32 => Lane::U32,
            _ => return Err(reader.invalid("lane", 1)),
        };
        let bits = reader.u8("bits")?;
        let graph = reader.u8("graph")?;
        let graph = match (graph, reader.u32("degree")?) {
            (0, 0) => Graph::Complete,
            (1, degree) => Graph::Harary { degree },
            (2, count) => Graph::Buckets { count },
            _ => return Err(reader.invalid("graph", 5)),
        };
        let mut params = Self {
            version,
            suite,
            mode,
            lane,
            bits,
            graph,
            task: reader.array("task")?,
            round: reader.u64("round")?,
            attempt: reader.u32("attempt")?,
            nonce: reader.array("nonce")?,
            model_hash: reader.array("model hash")?,
            config_hash: reader.array("config hash")?,
            model_lanes: reader.u32("model lanes")?,
            meta_lanes: reader.u16("64-bit lanes")?,
            clip: f32::from_le_bytes(reader.array("clip")?),
            most_weight: reader.u64("largest weight")?,
            least_survivors: 0,
            threshold: 0,
            corrupt_ppm: 0,
            dropout_ppm: 0,
            security_bits: 0,
            correctness_bits: 0,
            deadlines: [0; 4],
            roster_hash: [0; 32],
            cohort: Vec::new(),
        };
        let members = reader.count("members", MOST_MEMBERS)?;
        params.least_survivors = reader.u32("least survivors")?;
        params.threshold = reader.u32("threshold")?;
        params.corrupt_ppm = reader.u32("corrupt share")?;
        params.dropout_ppm = reader.u32("dropout share")?;
        params.security_bits = reader.u16("security bits")?;
        params.correctness_bits = reader.u16("correctness bits")?;
        for deadline in &mut params.deadlines {
            *deadline = reader.u64("deadline")?;
        }
        params.roster_hash = reader.array("roster hash")?;
        let cohort = reader.arrays::<4>("cohort", members)?;
        params.cohort = cohort.into_iter().map(u32::from_le_bytes).collect();
        Ok(params)
    }

    /// SHA-256 of the parameters.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix("flsa1-params");
        hash.update(self.to_bytes());
        hash.finalize().into()
    }

    /// Whether a session with these numbers keeps what its mode promises.
    ///
    /// # Errors
    /// [`Abort`] with the first that is wrong: the version, the cohort, the layout, lanes that could overflow, a threshold too
    /// low for the assumed share of corrupt members.
    pub fn check(&self) -> Result<(), Abort> {
        if (self.version, self.suite) != (VERSION, SUITE) {
            return Err(Abort::Version {
                version: self.version,
                suite: self.suite,
            });
        }
        if self.cohort.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Abort::Roster(
                "the cohort is not in the order of the roster",
            ));
        }
        self.check_vector()?;
        self.check_cohort()?;
        self.check_threshold()
    }

    fn check_vector(&self) -> Result<(), Abort> {
        // No model lanes are a session of figures alone.
        let fits = self.model_lanes as usize <= MOST_LANES
            && (1..=MAX_META).contains(&self.meta_lanes.into());
        if !fits {
            return Err(Abort::Config(
                "a vector of too many lanes, or without one for the count",
            ));
        }
        if !(self.clip.is_finite() && self.clip > 0.0) || self.most_weight == 0 {
            return Err(Abort::Config(
                "a clip or a largest weight that is not above zero",
            ));
        }
        let lane = self.lane_bits();
        let most = 1_u128 << lane;
        // Codes are at most 2^bits - 1, and so many of them are added.
        let fits = self.bits <= lane
            && u128::from(self.group()) * ((1_u128 << self.bits.min(lane)) - 1) < most;
        match fits {
            true => Ok(()),
            false => Err(Abort::Overflow {
                members: self.group(),
                bits: self.bits,
                lane,
            }),
        }
    }

    fn check_cohort(&self) -> Result<(), Abort> {
        let least = self.least_survivors.max(LEAST_COHORT);
        let smallest = self.members() / self.buckets();
        if smallest < least || self.least_survivors < LEAST_COHORT {
            return Err(Abort::SmallCohort {
                stage: "the call",
                got: smallest.min(self.least_survivors),
                needed: least,
            });
        }
        Ok(())
    }

    fn check_threshold(&self) -> Result<(), Abort> {
        let unsafe_because = |reason: String| Abort::Threshold {
            got: self.threshold,
            reason,
        };
        if u64::from(self.corrupt_ppm) + u64::from(self.dropout_ppm) >= 1_000_000 {
            let reason = "corrupt members and dropouts are assumed to be all";
            return Err(unsafe_because(reason.to_owned()));
        }
        match self.graph {
            Graph::Harary { degree } => {
                if self.mode == Mode::Malicious {
                    let reason = "a server that may lie needs a complete graph";
                    return Err(unsafe_because(reason.to_owned()));
                }
                let sound = self.security_bits >= 40
                    && self.correctness_bits >= 1
                    && graph::check(self.members(), degree, self.threshold, &self.assumptions());
                match sound {
                    true => Ok(()),
                    false => Err(unsafe_because(format!(
                        "{degree} neighbours do not carry it among {} members",
                        self.members()
                    ))),
                }
            }
            Graph::Complete | Graph::Buckets { .. } => {
                let group = self.group();
                let least = graph::complete_threshold(group, self.corrupt_ppm, self.mode.rule());
                if self.threshold < least {
                    return Err(unsafe_because(format!(
                        "{group} members of whom {:.1} % may be corrupt need {least}",
                        f64::from(self.corrupt_ppm) / 1e4
                    )));
                }
                match self.threshold <= group {
                    true => Ok(()),
                    false => Err(unsafe_because(format!("there are but {group} members"))),
                }
            }
        }
    }
}
