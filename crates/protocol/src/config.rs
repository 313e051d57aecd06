//! The tables `[federation]`, `[train]` and `[server]` of an experiment, and the plan of a round.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[federation]`: who takes part, how often, and how long a round waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FederationConfig {
    /// Number of clients. Left out: ten, or as many as a natural partition has owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Number of rounds.
    pub rounds: u32,
    /// Share of the clients in a cohort, in (0, 1]: exact under `fixed` sampling, expected under `poisson`.
    pub fraction: f64,
    /// How a cohort is drawn.
    pub sampling: Sampling,
    /// Extra clients asked, as a share of the cohort (0.3 asks 30 % more). The round completes as soon as the wanted
    /// number of good replies is there; later ones are turned away.
    pub over_selection: f64,
    /// Seconds after which a round stops waiting. Left out: it waits for every cohort member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Good replies without which a round is abandoned.
    pub minimum_replies: u32,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            clients: None,
            rounds: 10,
            fraction: 1.0,
            sampling: Sampling::Fixed,
            over_selection: 0.0,
            deadline: None,
            minimum_replies: 1,
        }
    }
}

/// How the cohort of a round is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// `round(fraction x clients)` clients, at least one, uniformly without replacement.
    #[default]
    Fixed,
    /// Each client by its own coin with chance `fraction`; the cohort may be empty.
    Poisson,
}

/// `[train]`: what a client does with the global model in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the client's own examples in a round.
    pub epochs: u32,
    /// Examples in a step; 0 takes all of the client's examples at once (FedSGD with `epochs = 1`).
    pub batch_size: u32,
    /// Most steps a client takes in a round; 0 is no limit.
    pub max_steps: u32,
    /// Optimiser of the local steps; its state starts afresh in each round.
    pub optimizer: LocalOptimizer,
    /// Step length of the first round.
    pub learning_rate: f32,
    /// Factor on the step length from one round to the next.
    pub learning_rate_decay: f32,
    /// Momentum, for `optimizer = "momentum"`.
    pub momentum: f32,
    /// First-moment decay, for `optimizer = "adam"`.
    pub beta1: f32,
    /// Second-moment decay, for `optimizer = "adam"`.
    pub beta2: f32,
    /// L2 penalty: this times the weights is added to the gradient.
    pub weight_decay: f32,
    /// FedProx (Li et al. 2020): pull towards the round's global model; 0 is plain local training.
    pub proximal_mu: f32,
    /// Share beta of its own past that a client keeps in what it sends: m = beta m + (1 - beta) update (Karimireddy et
    /// al. 2021, "Learning from history"). It steadies honest updates, so that robust rules tell them from others; 0 is
    /// off. The client keeps m from round to round.
    pub client_momentum: f32,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 1,
            batch_size: 32,
            max_steps: 0,
            optimizer: LocalOptimizer::Sgd,
            learning_rate: 0.05,
            learning_rate_decay: 1.0,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.0,
            proximal_mu: 0.0,
            client_momentum: 0.0,
        }
    }
}

impl TrainConfig {
    /// What the clients of `round` (counted from 1) are asked to do.
    pub fn plan(&self, round: u32) -> TrainPlan {
        let passed = i32::try_from(round.saturating_sub(1)).unwrap_or(i32::MAX);
        TrainPlan {
            epochs: self.epochs,
            batch_size: self.batch_size,
            max_steps: self.max_steps,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate * self.learning_rate_decay.powi(passed),
            momentum: self.momentum,
            beta1: self.beta1,
            beta2: self.beta2,
            weight_decay: self.weight_decay,
            proximal_mu: self.proximal_mu,
            client_momentum: self.client_momentum,
        }
    }
}

/// Optimiser of the local steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LocalOptimizer {
    /// Plain stochastic gradient descent.
    #[default]
    Sgd,
    /// SGD with heavy-ball momentum.
    Momentum,
    /// Adam (Kingma and Ba 2015), bias-corrected.
    Adam,
}

/// The local training of one round, as it travels to the clients: [`TrainConfig`] with the round's step length.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    /// Passes over the client's own examples.
    pub epochs: u32,
    /// Examples in a step; 0 is all.
    pub batch_size: u32,
    /// Most steps; 0 is no limit.
    pub max_steps: u32,
    /// Optimiser of the steps.
    pub optimizer: LocalOptimizer,
    /// Step length of this round.
    pub learning_rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// First-moment decay of Adam.
    pub beta1: f32,
    /// Second-moment decay of Adam.
    pub beta2: f32,
    /// L2 penalty.
    pub weight_decay: f32,
    /// FedProx pull towards the global model.
    pub proximal_mu: f32,
    /// Share of its past that the client keeps in what it sends.
    pub client_momentum: f32,
}

/// A local step: which places of the client's order it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether a pass over the examples begins with it: their order is drawn anew before each.
    pub begins_pass: bool,
    /// Its examples, by their places in the order.
    pub places: Range<usize>,
}

impl TrainPlan {
    /// Examples of a full step of a client that has so many, at least 1.
    fn batch(&self, examples: usize) -> usize {
        match self.batch_size as usize {
            0 => examples.max(1),
            size => size.min(examples.max(1)),
        }
    }

    /// Steps that a client with so many examples takes.
    pub fn step_count(&self, examples: usize) -> u64 {
        let all = examples.div_ceil(self.batch(examples)) as u64 * u64::from(self.epochs);
        match self.max_steps {
            0 => all,
            most => all.min(most.into()),
        }
    }

    /// The steps of a client with so many examples, [`step_count`](Self::step_count) of them.
    pub fn steps(&self, examples: usize) -> impl Iterator<Item = Step> + use<> {
        let batch = self.batch(examples);
        let pass = examples.div_ceil(batch) as u64;
        (0..self.step_count(examples)).map(move |step| {
            let from = (step % pass) as usize * batch;
            Step {
                begins_pass: from == 0,
                places: from..examples.min(from + batch),
            }
        })
    }
}

/// `[server]`: what the server does with the aggregated update (Reddi et al. 2021, "Adaptive federated optimization").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// `sgd` with learning rate 1 is FedAvg; the others are FedOpt.
    pub optimizer: ServerOptimizerKind,
    /// Step length on the aggregated update. Left out: 1 for `sgd` and `momentum`, 0.01 for the adaptive ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    /// Momentum of `momentum`.
    pub momentum: f32,
    /// First-moment decay of `adagrad`, `adam` and `yogi` (0 for `adagrad` is the paper's FedAdagrad).
    pub beta1: f32,
    /// Second-moment decay of `adam` and `yogi`.
    pub beta2: f32,
    /// Degree of adaptivity: added to the root of the second moment, whose start is its square.
    pub tau: f32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            optimizer: ServerOptimizerKind::Sgd,
            learning_rate: None,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.99,
            tau: 1e-3,
        }
    }
}

impl ServerConfig {
    /// The step length in force.
    pub fn effective_learning_rate(&self) -> f32 {
        self.learning_rate.unwrap_or(match self.optimizer {
            ServerOptimizerKind::Sgd | ServerOptimizerKind::Momentum => 1.0,
            ServerOptimizerKind::Adagrad
            | ServerOptimizerKind::Adam
            | ServerOptimizerKind::Yogi => 0.01,
        })
    }
}

/// The server's optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerOptimizerKind {
    /// Add the aggregated update times the learning rate (FedAvg).
    #[default]
    Sgd,
    /// FedAvgM (Hsu et al. 2019).
    Momentum,
    /// FedAdagrad.
    Adagrad,
    /// FedAdam.
    Adam,
    /// FedYogi.
    Yogi,
}
