//! What serde cannot know: ranges, and combinations that cannot keep their promise. No data is touched.

mod aggregation;
mod anomalies;
mod attack;
mod defence;
mod privacy;
mod record;
mod secure_aggregation;
mod target;

use cloister_data::{DataConfig, DataError, PartitionConfig};
use cloister_nn::ModelConfig;
use cloister_privacy::{Mechanism, PrivacyConfig};
use cloister_protocol::survey::StatisticsConfig;
use cloister_protocol::{
    Coding, CommunicationConfig, FederationConfig, LocalOptimizer, Sampling, ServerConfig,
    ServerOptimizerKind, TrainConfig,
};

use crate::error::{ConfigError, Fault, Location, Problem, Problems, Warning};
use crate::experiment::{Experiment, Faults};
use crate::hint::nearest;
use crate::shape::quote;

/// Most characters of a name: it becomes a folder's name together with the seed.
const LONGEST_NAME: usize = 100;

/// Longest deadline, some thirty years.
const MOST_SECONDS: f64 = 1e9;

/// A key whose value cannot work, and why.
pub(crate) struct Refused {
    pub(crate) key: String,
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

/// What [`examine`] collects.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) refused: Vec<Refused>,
    pub(crate) warnings: Vec<Warning>,
}

impl Experiment {
    /// Checks ranges and combinations, before any data is touched. A loaded experiment has passed this.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem, located [`Location::Nowhere`].
    pub fn check(&self) -> Result<Vec<Warning>, ConfigError> {
        let checks = examine(self);
        if checks.refused.is_empty() {
            return Ok(checks.warnings);
        }
        let problems = checks.refused.into_iter().map(|refused| Problem {
            location: Location::Nowhere,
            key: refused.key,
            fault: Fault::Refused(refused.reason),
            hint: refused.hint,
        });
        Err(ConfigError::Invalid(Problems(problems.collect())))
    }
}

/// Everything that [`Experiment::check`] looks at.
pub(crate) fn examine(experiment: &Experiment) -> Checks {
    let mut checks = Checks::default();
    checks.name(&experiment.name);
    if i64::try_from(experiment.seed).is_err() {
        checks.refuse(
            "seed",
            format!("must be at most {}, found {}", i64::MAX, experiment.seed),
        );
    }
    checks.data(&experiment.data);
    if let Some(statistics) = &experiment.statistics {
        checks.statistics(statistics, experiment.privacy.as_ref());
        if experiment.data.prepare.pipeline.is_some() {
            checks.refuse(
                "data.prepare.pipeline",
                "is fitted already: [statistics] would find figures that nothing uses",
            );
        }
    }
    checks.federation(&experiment.federation);
    checks.model(&experiment.model);
    checks.target(experiment);
    checks.train(&experiment.train);
    checks.server(&experiment.server);
    checks.aggregation(experiment);
    checks.sign_steps(experiment.aggregation.rule, experiment.server.optimizer);
    if let Some(privacy) = &experiment.privacy {
        checks.privacy(privacy, experiment);
    }
    if let Some(communication) = &experiment.communication {
        checks.communication(communication, experiment.secure_aggregation.is_some());
    }
    if let Some(defence) = &experiment.defence {
        checks.defence(defence, experiment);
    }
    if let Some(record) = &experiment.record {
        checks.record(record, experiment.federation.rounds);
    }
    if let Some(secure) = &experiment.secure_aggregation {
        checks.secure_aggregation(secure, experiment);
    }
    if let Some(attack) = &experiment.attack {
        checks.attack(attack, &experiment.federation);
        checks.canaries(attack, experiment);
    }
    checks.anomalies(&experiment.anomalies);
    checks.faults(&experiment.faults);
    checks.timing(&experiment.federation, &experiment.faults);
    if experiment.evaluate.every == 0 {
        checks.refuse("evaluate.every", "must be at least 1, found 0");
    }
    for (index, baseline) in experiment.baselines.iter().enumerate() {
        if experiment.baselines[..index].contains(baseline) {
            checks.refuse("baselines", "names a baseline twice");
        }
    }
    checks
}

impl Checks {
    fn refuse(&mut self, key: &str, reason: impl Into<String>) {
        self.refused.push(Refused {
            key: key.to_owned(),
            reason: reason.into(),
            hint: None,
        });
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(Warning {
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Refuses `value` unless `fits`; NaN never fits, since it fails every comparison.
    fn number(&mut self, key: &str, value: f64, fits: bool, range: &str) {
        if !fits || !value.is_finite() {
            self.refuse(key, format!("must be {range}, found {value}"));
        }
    }

    /// A time in seconds, or a factor: bounded so that sums and products stay far from the limits of a clock.
    fn up_to(&mut self, key: &str, value: f64, least: f64, most: f64) {
        let fits = (least..=most).contains(&value);
        self.number(key, value, fits, &format!("from {least} to {most}"));
    }

    fn chance(&mut self, key: &str, value: f64) {
        self.number(
            key,
            value,
            (0.0..=1.0).contains(&value),
            "a chance from 0 to 1",
        );
    }

    fn communication(&mut self, communication: &CommunicationConfig, masked: bool) {
        let keep = communication.keep;
        let fits = keep > 0.0 && keep <= 1.0;
        self.number("communication.keep", keep, fits, "above 0 and at most 1");
        if masked && communication.update != Coding::F32 {
            self.refuse(
                "communication.update",
                "masked updates are integers in lanes already: secure_aggregation.lanes = 16 halves them",
            );
        }
    }

    fn statistics(&mut self, statistics: &StatisticsConfig, privacy: Option<&PrivacyConfig>) {
        if let Err((key, reason)) = statistics.check() {
            self.refuse(&format!("statistics.{key}"), reason);
        }
        let of_clients = privacy.is_some_and(|privacy| privacy.mechanism != Mechanism::DpSgd);
        if of_clients && statistics.noise_multiplier.is_some() {
            self.refuse(
                "statistics.noise_multiplier",
                "hides single rows, where [privacy] promises to hide all rows of a client: use mechanism = \"dp-sgd\"",
            );
        } else if privacy.is_some() && statistics.noise_multiplier.is_none() {
            self.warn(
                "statistics",
                "the sums are exact, which the epsilon of [privacy] does not cover: give statistics.noise_multiplier",
            );
        }
    }

    fn not_negative(&mut self, key: &str, value: f64) {
        self.number(key, value, value >= 0.0, "finite and at least 0");
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.number(key, value, value > 0.0, "finite and above 0");
    }

    /// A decay factor: 1 would never forget.
    fn decay(&mut self, key: &str, value: f32) {
        let fits = (0.0..1.0).contains(&value);
        self.number(key, widen(value), fits, "at least 0 and below 1");
    }

    fn name(&mut self, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(odd) = name.chars().find(|c| !allowed(*c)) {
            self.refuse(
                "name",
                format!("may have letters, digits, '.', '_' and '-', found {odd:?}"),
            );
        } else if name.is_empty() || name.starts_with(['.', '-']) {
            self.refuse("name", "must begin with a letter, a digit or '_'");
        } else if name.len() > LONGEST_NAME {
            let length = name.len();
            self.refuse(
                "name",
                format!("may have at most {LONGEST_NAME} characters, found {length}"),
            );
        }
    }

    /// What `cloister_data` refuses itself, and what it would refuse only after reading files.
    fn data(&mut self, data: &DataConfig) {
        match data.check() {
            Ok(()) => {}
            Err(DataError::Setting { key, reason }) => self.refuse(&format!("data.{key}"), reason),
            Err(other) => self.refuse("data", other.to_string()),
        }
        if let (Some(name), None) = (&data.dataset, &data.path) {
            let known: Vec<&str> = cloister_data::bundled()
                .iter()
                .map(|set| set.name)
                .collect();
            if !known.contains(&name.as_str()) {
                let near = nearest(name, known.iter().copied());
                self.refused.push(Refused {
                    key: "data.dataset".into(),
                    reason: format!(
                        "'{name}' is not inside the binary, which has {}",
                        quote(known.iter().copied())
                    ),
                    hint: Some(match near {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => "give data.path to its files".into(),
                    }),
                });
            }
        }
        match data.partition {
            PartitionConfig::Dirichlet { alpha, .. }
            | PartitionConfig::QuantitySkew { alpha, .. } => {
                self.positive("data.partition.alpha", alpha);
            }
            PartitionConfig::Pathological {
                classes_per_client: 0,
                ..
            } => self.refuse(
                "data.partition.classes_per_client",
                "must be at least 1, found 0",
            ),
            PartitionConfig::Shards { per_client: 0, .. } => {
                self.refuse("data.partition.per_client", "must be at least 1, found 0");
            }
            _ => {}
        }
    }

    fn federation(&mut self, federation: &FederationConfig) {
        if federation.clients == Some(0) {
            self.refuse("federation.clients", "must be at least 1, found 0");
        }
        if federation.rounds == 0 {
            self.refuse("federation.rounds", "must be at least 1, found 0");
        }
        let fraction = federation.fraction;
        self.number(
            "federation.fraction",
            fraction,
            fraction > 0.0 && fraction <= 1.0,
            "above 0 and at most 1",
        );
        self.up_to(
            "federation.over_selection",
            federation.over_selection,
            0.0,
            100.0,
        );
        if federation.sampling == Sampling::Poisson && federation.over_selection > 0.0 {
            self.refuse(
                "federation.over_selection",
                "needs sampling = \"fixed\": under poisson sampling each client decides by its own coin",
            );
        }
        if let Some(deadline) = federation.deadline {
            self.number(
                "federation.deadline",
                deadline,
                deadline > 0.0 && deadline <= MOST_SECONDS,
                &format!("above 0 and at most {MOST_SECONDS} seconds"),
            );
        }
        if federation.minimum_replies == 0 {
            self.refuse("federation.minimum_replies", "must be at least 1, found 0");
        }
        let Some(clients) = federation.clients else {
            return;
        };
        let wanted = match federation.sampling {
            Sampling::Fixed => (fraction * f64::from(clients)).round().max(1.0),
            Sampling::Poisson => f64::from(clients),
        };
        if f64::from(federation.minimum_replies) > wanted {
            self.refuse(
                "federation.minimum_replies",
                format!(
                    "{} good replies are needed, but a cohort has at most {wanted} clients",
                    federation.minimum_replies
                ),
            );
        }
        if federation.over_selection > 0.0 && wanted >= f64::from(clients) {
            self.warn(
                "federation.over_selection",
                "every client is in the cohort already, there is no one else to ask",
            );
        }
    }

    /// What is wrong whatever the data; the rest is known when the model is built for it.
    fn model(&mut self, model: &ModelConfig) {
        if let ModelConfig::Mlp { hidden, .. } = model
            && let Some(layer) = hidden.iter().position(|units| *units == 0)
        {
            self.refuse("model.hidden", format!("layer {} has 0 units", layer + 1));
        }
    }

    fn train(&mut self, train: &TrainConfig) {
        if train.epochs == 0 {
            self.refuse("train.epochs", "must be at least 1, found 0");
        }
        self.positive("train.learning_rate", widen(train.learning_rate));
        self.positive(
            "train.learning_rate_decay",
            widen(train.learning_rate_decay),
        );
        if train.learning_rate_decay > 1.0 {
            self.warn(
                "train.learning_rate_decay",
                "above 1, so that steps grow from round to round",
            );
        }
        self.decay("train.momentum", train.momentum);
        self.decay("train.beta1", train.beta1);
        self.decay("train.beta2", train.beta2);
        self.decay("train.client_momentum", train.client_momentum);
        self.not_negative("train.weight_decay", widen(train.weight_decay));
        self.not_negative("train.proximal_mu", widen(train.proximal_mu));
        let unused = TrainConfig::default();
        if train.optimizer != LocalOptimizer::Momentum && differs(train.momentum, unused.momentum) {
            self.warn(
                "train.momentum",
                "only train.optimizer = \"momentum\" uses it",
            );
        }
        if train.optimizer != LocalOptimizer::Adam
            && (differs(train.beta1, unused.beta1) || differs(train.beta2, unused.beta2))
        {
            self.warn(
                "train.beta1",
                "only train.optimizer = \"adam\" uses beta1 and beta2",
            );
        }
    }

    fn server(&mut self, server: &ServerConfig) {
        if let Some(rate) = server.learning_rate {
            self.positive("server.learning_rate", widen(rate));
        }
        self.decay("server.momentum", server.momentum);
        self.decay("server.beta1", server.beta1);
        self.decay("server.beta2", server.beta2);
        self.positive("server.tau", widen(server.tau));
        let unused = ServerConfig::default();
        if server.optimizer != ServerOptimizerKind::Momentum
            && differs(server.momentum, unused.momentum)
        {
            self.warn(
                "server.momentum",
                "only server.optimizer = \"momentum\" uses it",
            );
        }
        let adaptive = !matches!(
            server.optimizer,
            ServerOptimizerKind::Sgd | ServerOptimizerKind::Momentum
        );
        if !adaptive
            && (differs(server.beta1, unused.beta1)
                || differs(server.beta2, unused.beta2)
                || differs(server.tau, unused.tau))
        {
            self.warn(
                "server.tau",
                "only the adaptive server optimisers use beta1, beta2 and tau",
            );
        }
    }

    fn faults(&mut self, faults: &Faults) {
        self.chance("faults.dropout", faults.dropout);
        self.chance("faults.corrupt", faults.corrupt);
        self.up_to("faults.seconds_per_step", faults.seconds_per_step, 0.0, 1e6);
        self.up_to("faults.seconds_spread", faults.seconds_spread, 0.0, 10.0);
        self.chance("faults.straggler.chance", faults.straggler.chance);
        self.up_to(
            "faults.straggler.slowdown",
            faults.straggler.slowdown,
            1.0,
            1e6,
        );
    }

    /// Settings of time that do nothing while virtual time stands still.
    fn timing(&mut self, federation: &FederationConfig, faults: &Faults) {
        if faults.seconds_per_step > 0.0 {
            return;
        }
        let frozen = "has no effect while faults.seconds_per_step is 0: training takes no time";
        if faults.straggler.chance > 0.0 {
            self.warn("faults.straggler.chance", frozen);
        }
        if faults.seconds_spread > 0.0 {
            self.warn("faults.seconds_spread", frozen);
        }
        if federation.deadline.is_some() && faults.dropout <= 0.0 {
            self.warn("federation.deadline", frozen);
        }
    }
}

/// An f32 as the f64 with the same shortest decimal, so that messages show what the file says.
fn widen(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
}

fn differs(a: f32, b: f32) -> bool {
    a.to_bits() != b.to_bits()
}
