//! Who is speaking, why a reply was refused, and what a host did wrong.

use std::fmt;

use crate::message::DecodeError;

/// A client's place in the roster, counted from 0. Hosts map identities (a certificate's name) to it; no message
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a client's message was refused. Never the fault of this side.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes are no message.
    #[error("undecodable message: {0}")]
    Undecodable(#[from] DecodeError),
    /// The sender never enrolled.
    #[error("not enrolled")]
    NotEnrolled,
    /// The sender was not asked in this round.
    #[error("not in the cohort of round {round}")]
    NotInCohort {
        /// The round in progress.
        round: u32,
    },
    /// The reply is for another round.
    #[error("reply is for round {got}, not round {expected}")]
    WrongRound {
        /// The round in progress.
        expected: u32,
        /// The round of the reply.
        got: u32,
    },
    /// The client has already answered this round.
    #[error("round {round} was already answered")]
    Repeated {
        /// The round in progress.
        round: u32,
    },
    /// The reply came after the round had all it needed, or after its deadline.
    #[error("round {round} is over")]
    Late {
        /// The round that is over.
        round: u32,
    },
    /// The update belongs to another parameter layout.
    #[error("update is of another parameter layout")]
    WrongLayout,
    /// The update has the wrong number of parameters.
    #[error("update has {got} parameters, not {expected}")]
    WrongLength {
        /// Parameters of the model.
        expected: usize,
        /// Parameters of the update.
        got: usize,
    },
    /// A parameter is NaN or infinite.
    #[error("parameter {index} of the update is {value}")]
    NotFinite {
        /// First such parameter.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A parameter, times its weight, is beyond what the exact sum can hold.
    #[error("parameter {index} of the update is {value:e}, beyond {limit:e}")]
    OutOfRange {
        /// First such parameter.
        index: usize,
        /// Its value.
        value: f32,
        /// Largest magnitude for this client's weight.
        limit: f64,
    },
    /// The claimed example count is not positive, or is more than the client enrolled with.
    #[error("claims {claimed} examples, enrolled with {enrolled}")]
    ExampleCount {
        /// What the reply says.
        claimed: i64,
        /// What the client enrolled with.
        enrolled: u64,
    },
    /// The reported training loss is NaN, infinite or negative.
    #[error("training loss is {0}")]
    Loss(f64),
    /// The client says that it could not train.
    #[error("client failed: {0}")]
    Failed(String),
    /// A plain update, or a plain figure, came in a round whose updates are masked; or the other way round.
    #[error("{0}")]
    Masking(&'static str),
    /// A message of the secure sum does not check.
    #[error("secure sum: {0}")]
    SecureSum(#[from] cloister_secagg::Rejection),
}

impl Refusal {
    /// A short word for tables and logs, one per variant.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => "undecodable",
            Self::NotEnrolled => "not-enrolled",
            Self::NotInCohort { .. } => "not-in-cohort",
            Self::WrongRound { .. } => "wrong-round",
            Self::Repeated { .. } => "repeated",
            Self::Late { .. } => "late",
            Self::WrongLayout => "wrong-layout",
            Self::WrongLength { .. } => "wrong-length",
            Self::NotFinite { .. } => "not-finite",
            Self::OutOfRange { .. } => "out-of-range",
            Self::ExampleCount { .. } => "example-count",
            Self::Loss(_) => "loss",
            Self::Failed(_) => "failed",
            Self::Masking(_) => "masking",
            Self::SecureSum(cloister_secagg::Rejection::Left(_)) => "left",
            Self::SecureSum(_) => "secure-sum",
        }
    }
}

/// What a host, or a stored state, got wrong. Never caused by a peer's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A round was begun while another is in progress.
    #[error("round {0} is still in progress")]
    RoundInProgress(u32),
    /// All rounds of the plan have been run.
    #[error("all {0} rounds are done")]
    Finished(u32),
    /// A client was enrolled twice.
    #[error("client {0} is already enrolled")]
    AlreadyEnrolled(ClientId),
    /// A client's enrolled example count is zero or too large.
    #[error("client {client} enrols with {examples} examples; 1 to {most} are allowed")]
    EnrolledExamples {
        /// The client.
        client: ClientId,
        /// Its count.
        examples: u64,
        /// Largest allowed.
        most: u64,
    },
    /// A stored state does not fit this server.
    #[error("stored state does not fit: {what} is {got}, expected {expected}")]
    StateMismatch {
        /// Which part.
        what: &'static str,
        /// What this server needs.
        expected: usize,
        /// What was stored.
        got: usize,
    },
    /// A parameter of the aggregation rule is out of its range.
    #[error("aggregation: {0}")]
    Aggregation(#[from] cloister_robust::RobustError),
    /// A private round cannot begin, or cannot end, as it must.
    #[error("privacy: {0}")]
    Privacy(String),
    /// A round whose noise the server adds was begun without a source of noise, or before the ledger had its release.
    #[error("round {0} is not in the privacy ledger, or the server has no noise")]
    NotCommitted(u32),
    /// Secure sums were asked for, and cannot be made.
    #[error("secure aggregation: {0}")]
    SecureAggregation(String),
    /// Statistics were asked for, and cannot be found.
    #[error("statistics of the owners: {0}")]
    Survey(String),
    /// Nobody is enrolled.
    #[error("no client is enrolled")]
    NobodyEnrolled,
}

impl From<cloister_privacy::PrivacyError> for ProtocolError {
    fn from(error: cloister_privacy::PrivacyError) -> Self {
        Self::Privacy(error.to_string())
    }
}
