//! The tree of an experiment.

use cloister_data::DataConfig;
use cloister_nn::ModelConfig;
use cloister_privacy::{Mechanism, PrivacyConfig};
use cloister_protocol::defence::DefenceConfig;
use cloister_protocol::guard::GuardConfig;
use cloister_protocol::survey::StatisticsConfig;
use cloister_protocol::transcript::RecordConfig;
use cloister_protocol::{
    CommunicationConfig, FederationConfig, ProtocolError, ServerConfig, TrainConfig,
};
use cloister_redteam::AttackConfig;
use cloister_robust::AggregationConfig;
use cloister_secagg::{Params, SecureAggregationConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::anomalies::AnomaliesConfig;
use crate::error::ConfigError;
use crate::shape::Shape;
use crate::sweep::Sweep;

/// An experiment: data, who shares it, the model, how it is trained, and what may go wrong.
///
/// Every table but `data` and `model` may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What the run is called, and its folder: letters, digits, `.`, `_` and `-`. Left out: the name of the file.
    pub name: String,
    /// The seed of all that is random. The same seed gives the same bits, whatever the number of threads.
    #[serde(default = "one_seed")]
    pub seed: u64,
    /// Models trained beside the federation to compare it with; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<Baseline>,
    /// The examples, and how they are dealt to the clients.
    pub data: DataConfig,
    /// How clients find the figures by which their tables are prepared. Left out: a simulation takes them from the pooled training
    /// rows, a site from its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsConfig>,
    /// Who takes part, how often, and how long a round waits.
    #[serde(default)]
    pub federation: FederationConfig,
    /// The model.
    pub model: ModelConfig,
    /// What a client does with the global model in a round.
    #[serde(default)]
    pub train: TrainConfig,
    /// What the server does with the aggregated update.
    #[serde(default)]
    pub server: ServerConfig,
    /// How the cohort's updates become one.
    #[serde(default)]
    pub aggregation: AggregationConfig,
    /// What adds noise, how much, and what it must not cost. Left out: nothing, and nothing is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyConfig>,
    /// How the server sees sums of updates only. Left out: it sees each update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_aggregation: Option<SecureAggregationConfig>,
    /// How clients' updates travel. Left out: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communication: Option<CommunicationConfig>,
    /// What clients do to their updates before they are sent, to be compared under attack; none of it is privacy. Left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defence: Option<DefenceConfig>,
    /// What clients do about a model that looks made to carry their examples out. Left out: they refuse it.
    #[serde(default, skip_serializing_if = "GuardConfig::is_default")]
    pub guard: GuardConfig,
    /// What is flagged while the run goes on. Left out: departures that honest clients hardly ever show.
    #[serde(default, skip_serializing_if = "AnomaliesConfig::is_default")]
    pub anomalies: AnomaliesConfig,
    /// Rounds whose transcript is kept. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordConfig>,
    /// What malicious clients do, in a simulation. Left out: all clients are honest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackConfig>,
    /// What goes wrong, and how long things take, in a simulation.
    #[serde(default)]
    pub faults: Faults,
    /// When the global model is measured.
    #[serde(default)]
    pub evaluate: Evaluate,
    /// A grid of settings, each a run of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
}

/// `[faults]`: what goes wrong in a simulation. All chances are per cohort member and round, drawn from the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Chance that a cohort member never answers, from 0 to 1.
    pub dropout: f64,
    /// Chance that a reply arrives garbled, from 0 to 1. The server refuses such a reply.
    pub corrupt: f64,
    /// Mean virtual seconds of a local training step; 0 lets training take no time, and no deadline ever passes.
    pub seconds_per_step: f64,
    /// Spread of training times between clients: the standard deviation of the logarithm of a log-normal factor with
    /// mean 1. 0 makes all clients equally fast.
    pub seconds_spread: f64,
    /// Clients that are slow in a round.
    pub straggler: Straggler,
}

/// `[faults.straggler]`: cohort members that take longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Straggler {
    /// Chance of being slow in a round, from 0 to 1.
    pub chance: f64,
    /// What the time of a slow one is multiplied by, at least 1.
    pub slowdown: f64,
}

impl Default for Straggler {
    fn default() -> Self {
        Self {
            chance: 0.0,
            slowdown: 10.0,
        }
    }
}

/// `[evaluate]`: when the global model is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    /// Rounds from one measurement on the test examples to the next; the last round is always measured.
    pub every: u32,
    /// Whether the final model is also measured on each client's own examples.
    pub clients: bool,
    /// Whether clients also judge the final model on held-out examples of their own, and add up counts of their scores, with
    /// `[secure_aggregation]` in secure sums.
    pub at_sites: bool,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            every: 1,
            clients: true,
            at_sites: false,
        }
    }
}

/// A model trained beside the federation, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The same model trained on the pooled examples of all clients.
    Centralised,
    /// The same model trained by each client alone on its own examples.
    Local,
}

impl Experiment {
    /// The experiment as TOML with every default filled in. Reading it again gives an equal experiment, except that a
    /// sweep over a `kind` then starts from the filled-in defaults: keep [`Loaded::written_toml`](crate::Loaded) for
    /// a sweep.
    ///
    /// # Errors
    /// [`ConfigError::Write`] if a number is beyond TOML's 64-bit integers, which no loaded experiment has.
    pub fn resolved_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// Clients of the federation, attackers that come beside the others included; `None` if only the data say.
    pub fn population(&self) -> Option<u32> {
        let clients = self.federation.clients?;
        Some(match &self.attack {
            Some(attack) => attack.population(clients, self.seed),
            None => clients,
        })
    }

    /// The numbers of a round's secure sum over `coordinates` of `called` members, `None` if the server sees each update.
    ///
    /// # Errors
    /// [`ProtocolError::SecureAggregation`] for sums that cannot be made.
    pub fn secure_sums(
        &self,
        called: u32,
        coordinates: usize,
    ) -> Result<Option<Params>, ProtocolError> {
        let Some(config) = &self.secure_aggregation else {
            return Ok(None);
        };
        let params = config.params(called, coordinates);
        let mut params =
            params.map_err(|abort| ProtocolError::SecureAggregation(abort.to_string()))?;
        let mechanism = self.privacy.as_ref().map(|privacy| privacy.mechanism);
        if mechanism == Some(Mechanism::DistributedDiscreteGaussian) {
            // Noise is modulo the lanes, so they are used whole.
            params.bits = 0;
        }
        Ok(Some(params))
    }

    /// SHA-256 of [`resolved_toml`](Self::resolved_toml), in hexadecimal.
    ///
    /// # Errors
    /// As [`resolved_toml`](Self::resolved_toml).
    pub fn sha256(&self) -> Result<String, ConfigError> {
        let digest = Sha256::digest(self.resolved_toml()?.as_bytes());
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The JSON Schema (draft 2020-12) of a config file, for editors and other programs.
pub fn schema() -> serde_json::Value {
    let mut schema = file_shape().into_json();
    schema["title"] = "Cloister experiment".into();
    schema
}

/// The shape of a config file: that of an [`Experiment`], but the name may be left out.
pub(crate) fn file_shape() -> Shape {
    let mut shape = Shape::of::<Experiment>();
    shape.make_optional("name");
    shape
}

fn one_seed() -> u64 {
    1
}
