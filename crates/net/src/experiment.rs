//! What director, envoys and operators tell each other about an experiment, beside its rounds: documents in JSON.
//!
//! An experiment is data. The director *offers* its config to each site, which *answers* by its own policy; when enough have
//! accepted, a *charter* fixes who takes part, and the rounds begin; a *closing* ends it. Nothing that a site runs is sent.

use serde::{Deserialize, Serialize};

/// The number of an experiment, counted by its director from 1.
pub type Id = u64;

/// Most bytes of an [`Offer`], [`Answer`], [`Charter`] or [`Closing`].
pub const MAX_DOCUMENT: usize = 1 << 20;

/// What a site's examples must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The name under which each site keeps its own examples.
    pub dataset: String,
    /// Channels, height and width; 1, 1 and the number of columns for a table.
    pub shape: [usize; 3],
    /// The classes in order.
    pub classes: Vec<String>,
}

/// An experiment, offered to a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The federation.
    pub federation: String,
    /// Its number.
    pub experiment: Id,
    /// The operator who submitted it.
    pub operator: String,
    /// The experiment, as TOML with every default filled in.
    pub config: String,
    /// What the site's examples must look like.
    pub data: Contract,
    /// The sites that were asked, in the order of their client numbers.
    pub sites: Vec<String>,
    /// Sites that must accept.
    pub minimum: u32,
}

/// A site's answer to an [`Offer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It takes part.
    Accept {
        /// Examples that it will train on.
        examples: u64,
        /// SHA-256 of the layout of the model that it has built, in hex.
        layout: String,
    },
    /// It does not.
    Decline {
        /// Why, for the operator.
        reason: String,
    },
}

/// A site that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub site: String,
    /// Its client number.
    pub client: u32,
    /// Examples that it trains on.
    pub examples: u64,
    /// Its certificate, DER in hex, so that others can know the key that signs its messages.
    pub certificate: String,
}

/// Who takes part in an experiment that begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// Its number.
    pub experiment: Id,
    /// SHA-256 of the offer's config, in hex.
    pub config_sha256: String,
    /// Who takes part, by client number.
    pub members: Vec<Member>,
    /// The director's certificate, DER in hex.
    pub director: String,
}

/// How an experiment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Sites are being asked.
    Offered,
    /// Enough sites have accepted; others are trained before.
    Queued,
    /// Rounds are under way.
    Running,
    /// All rounds are done.
    Finished,
    /// An operator ended it.
    Cancelled,
    /// Too few sites accepted it.
    Declined,
    /// It could not go on.
    Failed,
}

impl State {
    /// Whether nothing will change any more.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Cancelled | Self::Declined | Self::Failed
        )
    }
}

/// The end of an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// Its number.
    pub experiment: Id,
    /// How it ended.
    pub state: State,
    /// Why, in words; empty for one that finished.
    pub reason: String,
    /// Rounds done.
    pub rounds: u32,
    /// SHA-256 of the final model file, in hex; empty where there is none.
    pub model_sha256: String,
}

/// All that an operator or the director's page is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The federation.
    pub federation: String,
    /// The director's version.
    pub version: String,
    /// The director's clock, in seconds since 1970.
    pub now: u64,
    /// When the director started.
    pub since: u64,
    /// The sites that ever attended or were asked, by name.
    pub sites: Vec<SiteStatus>,
    /// The experiments, newest first.
    pub experiments: Vec<ExperimentStatus>,
    /// Calls that were turned away since the director started.
    pub turned_away: u64,
}

/// A site, as the director knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// Whether its envoy is connected.
    pub attending: bool,
    /// When it was last heard of, in seconds since 1970.
    pub seen: Option<u64>,
    /// Its program.
    pub software: String,
    /// When its certificate ends, in seconds since 1970.
    pub certificate_until: Option<u64>,
}

/// What a site said to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteAnswer {
    /// Its name.
    pub site: String,
    /// `None` while it has not answered.
    pub answer: Option<Answer>,
}

/// An experiment, as the director knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentStatus {
    /// Its number.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The operator who submitted it.
    pub operator: String,
    /// When, in seconds since 1970.
    pub submitted: u64,
    /// How it stands.
    pub state: State,
    /// What it waits for, or why it ended.
    pub reason: String,
    /// Rounds done.
    pub round: u32,
    /// Rounds planned.
    pub rounds: u32,
    /// The sites that were asked, and what they said.
    pub answers: Vec<SiteAnswer>,
    /// Mean training loss of the last round that had one.
    pub train_loss: Option<f64>,
    /// Accuracy on the director's own examples, where it has some.
    pub accuracy: Option<f64>,
    /// Privacy loss so far, where there is a mechanism.
    pub epsilon: Option<f64>,
    /// Replies refused so far.
    pub refused: u64,
    /// Bytes from sites so far.
    pub bytes_up: u64,
    /// Bytes to sites so far.
    pub bytes_down: u64,
}
