//! What a run promises, in words and in JSON.
//!
//! The words never promise more than the figures: epsilons are rounded up, and whatever is not a finite epsilon reads as an
//! infinite one, whatever the fields say otherwise.

mod number;
mod words;

use serde::{Deserialize, Serialize};

use crate::event::{Neighbouring, Unit};

pub use words::{Fact, found_words, rounded_up};

/// The privacy statement of a run: in `summary.json`, on the report page and on the terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Whether the run may be called private at all.
    pub state: State,
    /// Why it is not private, or its unit weak: a clause without a full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is promised; `None` is an infinite epsilon.
    pub claim: Option<Claim>,
    /// What would be promised if nothing voided it. It is what a seeded simulation can say of a run with secret noise.
    pub accounted: Option<Claim>,
    /// Whose data the promise is about.
    pub unit: Unit,
    /// Which data sets it holds apart.
    pub neighbouring: Neighbouring,
    /// Who must be trusted.
    pub trust: Trust,
    /// What the promise covers: phrases, such as "the model of each round".
    pub released: Vec<String>,
    /// What made the noise.
    pub mechanism: MechanismFacts,
    /// What the promise rests on.
    pub assumptions: Vec<Assumption>,
    /// What would void the promise if it were published too, or already does.
    pub voids: Vec<String>,
    /// Runs of a search for settings that are not in the accounting.
    #[serde(default)]
    pub tuning_runs: u32,
    /// Where examples are the unit: the promise of each client to its own. The largest is the run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientClaim>,
}

/// Whether a run may be called private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The claim holds for clients.
    Private,
    /// The claim holds, for a weaker unit than a client.
    PrivateWeakerUnit,
    /// No finite epsilon can be claimed.
    NotPrivate,
}

/// An (epsilon, delta) promise, with what helps to read it. All epsilons are upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Privacy loss.
    #[serde(with = "number")]
    pub epsilon: f64,
    /// The chance with which it may be larger.
    #[serde(with = "number")]
    pub delta: f64,
    /// Epsilon at a tenth of that delta.
    #[serde(with = "number")]
    pub epsilon_tenth_delta: f64,
    /// The same by Rényi divergences, an independent bound.
    #[serde(with = "number")]
    pub epsilon_rdp: f64,
    /// Of the members, the largest share that an attack can find with one false alarm in a thousand.
    #[serde(with = "number")]
    pub found_at_0_1_percent: f64,
    /// The same with one false alarm in a hundred.
    #[serde(with = "number")]
    pub found_at_1_percent: f64,
}

/// Who sees data before there is noise on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "kebab-case")]
pub enum Trust {
    /// The server sees clipped updates without noise.
    Central,
    /// The server sees only the sum, which has enough noise from the clients themselves.
    Distributed(Collusion),
    /// Nobody but the client.
    Local,
}

/// How many may fail or cheat before distributed noise is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collusion {
    /// Clients whose noise is counted on.
    pub honest: u32,
    /// Clients that may drop out of a round.
    pub dropouts: u32,
    /// Clients that may show the server their noise.
    pub colluders: u32,
}

/// What made the noise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MechanismFacts {
    /// Its name in the config.
    pub name: String,
    /// Standard deviation over sensitivity, as accounted.
    #[serde(with = "number")]
    pub noise_multiplier: f64,
    /// The clipping norm, or its first and last value.
    pub clip: String,
    /// Chance of a unit to take part in a step; `None` without sampling.
    #[serde(with = "number::option", default)]
    pub sampling_rate: Option<f64>,
    /// Noisy steps that the ledger holds: those executed, not those planned.
    pub steps: u64,
    /// How often one unit took part at most, and how far apart, where that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participation: Option<String>,
    /// Grid step, bits and their price, where values were rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discretisation: Option<String>,
}

/// One thing that the promise rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assumption {
    /// A clause without a full stop.
    pub text: String,
    /// What it rests on in turn.
    pub standing: Standing,
}

/// Why an assumption may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The code cannot do otherwise.
    Enforced,
    /// The ledger or the log shows it.
    Verified,
    /// Nobody checked it.
    Trusted,
}

/// What one client can promise to its examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientClaim {
    /// The client's name.
    pub client: String,
    /// Its epsilon at the run's delta; `None` is infinite.
    #[serde(with = "number::option", default)]
    pub epsilon: Option<f64>,
    /// Its sampling rate.
    #[serde(with = "number")]
    pub sampling_rate: f64,
    /// Noisy steps that it took.
    pub steps: u64,
}
