//! Why one side stops, or turns a message away.

use crate::message::Kind;
use crate::wire::DecodeError;

/// Why a client leaves a session. It has told nothing more by then than what it had sent before, and its secrets are gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Abort {
    /// `ERR_SIG`
    #[error("the signature on {kind:?} does not verify (member {member:?})")]
    Signature {
        /// Of which message.
        kind: Kind,
        /// Whose; `None` is the server.
        member: Option<u32>,
    },
    /// `ERR_ROSTER`
    #[error("the list of members is wrong: {0}")]
    Roster(&'static str),
    /// `ERR_DUP_PK`
    #[error("members {0} and {1} have the same public key")]
    DuplicateKey(u32, u32),
    /// `ERR_SMALL_COHORT`
    #[error("{got} members at {stage}, {needed} needed")]
    SmallCohort {
        /// Which set.
        stage: &'static str,
        /// Its size.
        got: u32,
        /// The least.
        needed: u32,
    },
    /// `ERR_THRESHOLD`
    #[error("a threshold of {got} is not safe: {reason}")]
    Threshold {
        /// The server's threshold.
        got: u32,
        /// What it lacks.
        reason: String,
    },
    /// `ERR_REPLAY`
    #[error("round {round}, attempt {attempt} is not after what this client has done before")]
    Replay {
        /// The round asked for.
        round: u64,
        /// The attempt asked for.
        attempt: u32,
    },
    /// `ERR_MODEL_HASH`
    #[error("the parameters are for another model than the one that came")]
    ModelHash,
    /// `ERR_CONFIG`
    #[error("the parameters do not fit what this client takes part in: {0}")]
    Config(&'static str),
    /// `ERR_OVERFLOW_PARAMS`
    #[error("{members} codes of {bits} bits do not fit into lanes of {lane} bits")]
    Overflow {
        /// Cohort.
        members: u32,
        /// Bits of a code.
        bits: u8,
        /// Bits of a lane.
        lane: u8,
    },
    /// `ERR_SHARE_OPEN`
    #[error("the shares from member {0} do not open")]
    ShareOpen(u32),
    /// `ERR_U2_SHRINK`
    #[error("a member shared its keys without having shown them")]
    SharedNotAdvertised,
    /// `ERR_U3_SHRINK`
    #[error("a member survived without having shared its keys")]
    SurvivedNotShared,
    /// `ERR_SELF_MISSING`
    #[error("this client is not among {0}")]
    SelfMissing(&'static str),
    /// `ERR_BODY_HASH`
    #[error("the server does not hold the vector that this client sent")]
    BodyHash,
    /// `ERR_ACKS`
    #[error("{got} members saw the same survivors, {needed} needed")]
    Acks {
        /// Good signatures on what this client saw.
        got: u32,
        /// The threshold.
        needed: u32,
    },
    /// `ERR_SECOND_REVEAL`
    #[error("this client has revealed its shares of round {0} before")]
    SecondReveal(u64),
    /// `ERR_DEADLINE`
    #[error("the deadline for {0} has passed")]
    Deadline(&'static str),
    /// `ERR_ZERO_DH`
    #[error("the key of member {0} makes a shared secret of zeros")]
    ZeroSharedSecret(u32),
    /// `ERR_STATE`
    #[error("{got} does not belong after {after}")]
    State {
        /// What came, or was asked for.
        got: &'static str,
        /// The last that was done.
        after: &'static str,
    },
    /// `ERR_VERSION`
    #[error("version {version}, suite {suite:#06x} is not spoken here")]
    Version {
        /// Format version.
        version: u16,
        /// Cryptographic suite.
        suite: u16,
    },
    /// `ERR_FORMAT`
    #[error("not a message: {0}")]
    Format(#[from] DecodeError),
}

/// The codes of [`Abort`] on the wire, with their names.
pub const ABORT_CODES: [(u8, &str); 21] = [
    (1, "ERR_SIG"),
    (2, "ERR_ROSTER"),
    (3, "ERR_DUP_PK"),
    (4, "ERR_SMALL_COHORT"),
    (5, "ERR_THRESHOLD"),
    (6, "ERR_REPLAY"),
    (7, "ERR_MODEL_HASH"),
    (8, "ERR_CONFIG"),
    (9, "ERR_OVERFLOW_PARAMS"),
    (10, "ERR_SHARE_OPEN"),
    (11, "ERR_U2_SHRINK"),
    (12, "ERR_U3_SHRINK"),
    (13, "ERR_SELF_MISSING"),
    (14, "ERR_BODY_HASH"),
    (15, "ERR_ACKS"),
    (16, "ERR_SECOND_REVEAL"),
    (17, "ERR_DEADLINE"),
    (18, "ERR_ZERO_DH"),
    (19, "ERR_STATE"),
    (20, "ERR_VERSION"),
    (21, "ERR_FORMAT"),
];

impl Abort {
    /// The code that the server is told; see [`ABORT_CODES`].
    pub fn code(&self) -> u8 {
        match self {
            Self::Signature { .. } => 1,
            Self::Roster(_) => 2,
            Self::DuplicateKey(..) => 3,
            Self::SmallCohort { .. } => 4,
            Self::Threshold { .. } => 5,
            Self::Replay { .. } => 6,
            Self::ModelHash => 7,
            Self::Config(_) => 8,
            Self::Overflow { .. } => 9,
            Self::ShareOpen(_) => 10,
            Self::SharedNotAdvertised => 11,
            Self::SurvivedNotShared => 12,
            Self::SelfMissing(_) => 13,
            Self::BodyHash => 14,
            Self::Acks { .. } => 15,
            Self::SecondReveal(_) => 16,
            Self::Deadline(_) => 17,
            Self::ZeroSharedSecret(_) => 18,
            Self::State { .. } => 19,
            Self::Version { .. } => 20,
            Self::Format(_) => 21,
        }
    }

    /// The name of a code.
    pub fn name_of(code: u8) -> Option<&'static str> {
        let found = ABORT_CODES.iter().find(|(number, _)| *number == code);
        found.map(|(_, name)| *name)
    }

    /// The name of this reason's code.
    pub fn name(&self) -> &'static str {
        Self::name_of(self.code()).unwrap_or("ERR")
    }
}

/// Why the server turns a client's message away. Nothing else has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Not a message.
    #[error("not a message: {0}")]
    Format(#[from] DecodeError),
    /// It belongs to another round or attempt.
    #[error("for round {round}, attempt {attempt}")]
    OtherRound {
        /// Its round.
        round: u64,
        /// Its attempt.
        attempt: u32,
    },
    /// Who sent it is not in the cohort, or says to be somebody else.
    #[error("from member {claimed}, but sent by member {from}")]
    Sender {
        /// Who sent it, as the transport knows.
        from: u32,
        /// Whom the message names.
        claimed: u32,
    },
    /// The sender is not awaited at this stage: it is late, or out of turn, or has answered.
    #[error("{kind:?} is not awaited from it")]
    NotAwaited {
        /// What came.
        kind: Kind,
    },
    /// Its signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// Its key is another member's, or of small order.
    #[error("a public key that another member has, or that is none")]
    Key,
    /// The number of shares, the length of the vector, or the set of members is not what it must be.
    #[error("{what} is {got}, must be {expected}")]
    Content {
        /// Which field.
        what: &'static str,
        /// What it must be.
        expected: usize,
        /// What it is.
        got: usize,
    },
    /// It saw another set of sharers or survivors than was sent to it.
    #[error("it answers to another {0}")]
    OtherView(&'static str),
    /// The client has left; the code says why ([`ABORT_CODES`]).
    #[error("left with {}", Abort::name_of(*.0).unwrap_or("an unknown code"))]
    Left(u8),
}

/// Why a session ended without a sum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Too few members came to a stage.
    #[error("{got} members at {stage}, {needed} needed")]
    TooFew {
        /// Which stage.
        stage: &'static str,
        /// How many came.
        got: u32,
        /// The least.
        needed: u32,
    },
    /// So many shares of a member's secret are wrong that it cannot be restored.
    #[error("the secret of member {0} cannot be restored from the shares that came")]
    Shares(u32),
    /// The unmasked sum does not count its members, or is out of its range: a member lied about its vector, or a mask is left.
    #[error("the sum is not one of {members} vectors: {what}")]
    Sum {
        /// Survivors.
        members: u32,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Failure {
    /// The code that clients are told.
    pub fn code(&self) -> u8 {
        match self {
            Self::TooFew { .. } => 1,
            Self::Shares(_) => 2,
            Self::Sum { .. } => 3,
        }
    }
}
