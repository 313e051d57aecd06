//! The malicious clients of a run, as one adversary.

use cloister_data::Dataset;
use cloister_nn::Model;
use cloister_protocol::{LearnerError, ScratchPool, TrainPlan, Update};
use rand_chacha::ChaCha8Rng;

use crate::config::{AttackConfig, Knowledge};
use crate::error::AttackError;
use crate::view::{OwnUpdate, View};

/// All malicious clients of one run, coordinated by one adversary.
///
/// In each round the host asks [`active`](Self::active); if so, malicious members of the cohort
/// [`train`](Self::train), their updates go through [`craft`](Self::craft) together, and what comes out is what they
/// send. After every completed round, active or not, the host tells it by [`observe`](Self::observe) what the server
/// made of the global model. All randomness is a function of the attack's seed, the round and the client.
#[derive(Clone, Debug)]
pub struct Adversary {
    config: AttackConfig,
    malicious: Vec<bool>,
    memory: Memory,
}

/// What the attackers remember from round to round, for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// `free-rider`, `neurotoxin`: the last step of the global model, d values.
    pub last_step: Option<Vec<f32>>,
    /// `mimic`: running mean of the updates seen while warming up, d values.
    pub mean: Option<Vec<f32>>,
    /// `mimic`: running direction in which the updates differ most, a unit vector of d values.
    pub direction: Option<Vec<f32>>,
    /// `mimic`: rounds of warming up that are done.
    pub warmed_up: u32,
    /// `mimic`: the client that is mimicked from now on.
    pub mimicked: Option<u32>,
}

impl Adversary {
    /// The adversary of a run whose client i trains on the rows `clients[i]` of `train`.
    ///
    /// Who is malicious is the first M of a seeded permutation of the clients, so that with one seed a larger M only
    /// adds to a smaller. The attack's seed is `run_seed` unless the config has its own.
    ///
    /// # Errors
    /// [`AttackError`] if the config contradicts itself or the data, leaves no honest client, or grants less knowledge
    /// than the attack needs.
    pub fn new(
        config: &AttackConfig,
        run_seed: u64,
        clients: &[&[u32]],
        train: &Dataset,
    ) -> Result<Self, AttackError> {
        let _ = (run_seed, train);
        Ok(Self {
            config: config.clone(),
            malicious: vec![false; clients.len()],
            memory: Memory::default(),
        })
    }

    /// Whether each client is malicious, by its number.
    pub fn malicious(&self) -> &[bool] {
        &self.malicious
    }

    /// Whether the malicious clients attack in `round` (counted from 1); before, they are honest in all respects.
    pub fn active(&self, round: u32) -> bool {
        round >= self.config.start_round
    }

    /// Which updates must be there before [`craft`](Self::craft) is called: those of the whole cohort if
    /// [`Knowledge::All`].
    pub fn sees(&self) -> Knowledge {
        self.config.knowledge.unwrap_or(Knowledge::Nothing)
    }

    /// What malicious `client` makes on its own in an active `round`: an honest update, one trained on poisoned data,
    /// or zeros without any training. `rng` is the client's own training stream.
    ///
    /// # Errors
    /// [`LearnerError`], as for an honest client.
    #[allow(clippy::too_many_arguments, reason = "a client's situation has that many parts")]
    pub fn train(
        &self,
        client: u32,
        round: u32,
        model: &Model,
        train: &Dataset,
        rows: &[u32],
        global: &[f32],
        plan: &TrainPlan,
        rng: &mut ChaCha8Rng,
        scratch: &ScratchPool,
    ) -> Result<Update, LearnerError> {
        let _ = (client, round, model, train, rows, global, plan, rng, scratch);
        Err(LearnerError("not yet".to_owned()))
    }

    /// Turns what the malicious members of this round's cohort trained into what they send; once a round, in the order
    /// of the clients.
    ///
    /// # Errors
    /// [`AttackError`] if the lengths of the vectors disagree, with `own` unspecified.
    pub fn craft(&mut self, view: &View<'_>, own: &mut [OwnUpdate]) -> Result<(), AttackError> {
        let _ = (view, own);
        Ok(())
    }

    /// Takes in a completed round: the global model before and after it, d values each.
    pub fn observe(&mut self, round: u32, before: &[f32], after: &[f32]) {
        let _ = (round, before, after);
    }

    /// What is remembered, for a checkpoint.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on from what an adversary of the same config remembered.
    pub fn restore(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// The examples of `test` with the whole trigger, without those of the target class (and, where the attack has a
    /// source class, of that class alone), their labels unchanged. The attack success rate is the share that a model
    /// calls [`target`](Self::target). `None` if the attack has no trigger, or no example is left.
    pub fn triggered(&self, test: &Dataset) -> Option<Dataset> {
        let _ = test;
        None
    }

    /// The class whose examples are turned into others, if it is one: its recall shows the harm.
    pub fn source(&self) -> Option<usize> {
        None
    }

    /// The class that the attackers want to see, if it is one.
    pub fn target(&self) -> Option<usize> {
        None
    }

    /// A sentence for a report: who attacks, how, from when, and what they see.
    pub fn describe(&self) -> String {
        String::new()
    }
}
