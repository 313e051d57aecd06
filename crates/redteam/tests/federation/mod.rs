//! A small federation in memory: ten clients with the bundled digits, a perceptron, any rule, any attack.

use cloister_data::{DataConfig, Dataset, PartitionConfig, TrainTest};
use cloister_nn::metrics::Evaluation;
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_protocol::{
    Learner, LocalOptimizer, ModelLearner, Purpose, ScratchPool, Streams, TrainConfig, Update,
};
use cloister_redteam::{Adversary, AttackConfig, Knowledge, OwnUpdate, View};
use cloister_robust::{AggregationConfig, Aggregator, Input, RobustError};

pub const CLIENTS: u32 = 10;

/// The data, dealt to the clients, and what they do with it.
pub struct Federation {
    pub data: TrainTest,
    pub rows: Vec<Vec<u32>>,
    pub model: Model,
    pub train: TrainConfig,
    pub rounds: u32,
    pub seed: u64,
    pool: ScratchPool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Test accuracy after each round.
    pub accuracies: Vec<f64>,
    /// Share of the test examples with the trigger that are taken for the target.
    pub success: Option<f64>,
    /// Share of the source class's test examples that are classified rightly.
    pub recall: Option<f64>,
    pub global: Vec<f32>,
}

impl Ending {
    pub fn accuracy(&self) -> f64 {
        *self.accuracies.last().unwrap()
    }
}

impl Federation {
    pub fn new(partition: &PartitionConfig, rounds: u32, seed: u64) -> Self {
        let config: DataConfig = serde_json::from_str(r#"{"dataset": "digits"}"#).unwrap();
        let data = cloister_data::load(&config, seed).unwrap();
        let mut rng = Streams::new(seed).stream(Purpose::Partition, 0, 0);
        let dealt = partition
            .split(&data.train, Some(CLIENTS as usize), &mut rng)
            .unwrap();
        let shape = data.train.shape();
        let input = InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let config: ModelConfig =
            serde_json::from_str(r#"{"kind": "mlp", "hidden": [32]}"#).unwrap();
        Self {
            model: Model::build(&config, input, data.train.classes().len()).unwrap(),
            rows: dealt.clients.into_iter().map(|share| share.rows).collect(),
            data,
            train: TrainConfig {
                epochs: 2,
                batch_size: 10,
                optimizer: LocalOptimizer::Sgd,
                learning_rate: 0.1,
                ..TrainConfig::default()
            },
            rounds,
            seed,
            pool: ScratchPool::default(),
        }
    }

    pub fn adversary(&self, attack: &AttackConfig) -> Adversary {
        let rows: Vec<&[u32]> = self.rows.iter().map(Vec::as_slice).collect();
        Adversary::new(attack, self.seed, &rows, &self.data.train).unwrap()
    }

    /// A run of all rounds.
    pub fn run(&self, aggregation: &AggregationConfig, attack: Option<&AttackConfig>) -> Ending {
        let mut adversary = attack.map(|attack| self.adversary(attack));
        let mut aggregator = Aggregator::new(aggregation.clone()).unwrap();
        let streams = Streams::new(self.seed);
        let mut global =
            self.model
                .initial_parameters(&mut streams.stream(Purpose::Initialise, 0, 0));
        let mut accuracies = Vec::new();
        for round in 1..=self.rounds {
            let updates = self.updates(round, &global, adversary.as_mut(), &aggregator);
            let step = aggregate(self.seed, &mut aggregator, &updates, round, global.len());
            let before = global.clone();
            for (parameter, step) in global.iter_mut().zip(&step) {
                *parameter += step;
            }
            if let Some(adversary) = &mut adversary {
                adversary.observe(round, &before, &global);
            }
            accuracies.push(self.evaluate(&global, &self.data.test).accuracy);
        }
        let evaluation = self.evaluate(&global, &self.data.test);
        let adversary = adversary.as_ref();
        Ending {
            accuracies,
            success: adversary.and_then(|adversary| self.success(adversary, &global)),
            recall: adversary
                .and_then(Adversary::source)
                .map(|source| recall(&evaluation, source)),
            global,
        }
    }

    /// What the clients send, by client.
    fn updates(
        &self,
        round: u32,
        global: &[f32],
        adversary: Option<&mut Adversary>,
        aggregator: &Aggregator<f32>,
    ) -> Vec<OwnUpdate> {
        let lies = |client: u32| {
            let adversary = adversary.as_deref();
            adversary.filter(|a| a.active(round) && a.malicious()[client as usize])
        };
        let all: Vec<OwnUpdate> = (0..CLIENTS)
            .map(|client| OwnUpdate {
                client,
                update: self.train(round, client, global, lies(client)),
            })
            .collect();
        let (mut own, honest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|sent| lies(sent.client).is_some());
        if let Some(adversary) = adversary {
            let sees = adversary.sees() == Knowledge::All;
            let seen = honest.iter().filter(|_| sees);
            let rows: Vec<&[f32]> = seen.clone().map(|o| o.update.values.as_slice()).collect();
            let clients: Vec<u32> = seen.map(|o| o.client).collect();
            let view = View {
                round,
                global,
                honest: &rows,
                clients: &clients,
                cohort: CLIENTS as usize,
                aggregator,
                threads: 1,
            };
            adversary.craft(&view, &mut own).unwrap();
        }
        own.extend(honest);
        own.sort_by_key(|sent| sent.client);
        own
    }

    fn train(&self, round: u32, client: u32, global: &[f32], liar: Option<&Adversary>) -> Update {
        let mut rng = Streams::new(self.seed).stream(Purpose::Train, round, client);
        let plan = self.train.plan(round);
        let rows = &self.rows[client as usize];
        let data = &self.data.train;
        if let Some(adversary) = liar {
            return adversary
                .train(
                    client,
                    round,
                    &self.model,
                    data,
                    rows,
                    global,
                    &plan,
                    &mut rng,
                    &self.pool,
                )
                .unwrap();
        }
        let mut learner = ModelLearner::new(&self.model, data, rows, self.pool.take()).unwrap();
        let update = learner.train(global, &plan, &mut rng).unwrap();
        self.pool.put(learner.into_scratch());
        update
    }

    pub fn evaluate(&self, global: &[f32], data: &Dataset) -> Evaluation {
        let rows: Vec<u32> = (0..data.len() as u32).collect();
        let mut learner = ModelLearner::new(&self.model, data, &rows, self.pool.take()).unwrap();
        let measures = learner.evaluate(global).unwrap();
        self.pool.put(learner.into_scratch());
        measures.classes().unwrap().clone()
    }

    pub fn success(&self, adversary: &Adversary, global: &[f32]) -> Option<f64> {
        let test = adversary.triggered(&self.data.test)?;
        let target = adversary.target()?;
        let evaluation = self.evaluate(global, &test);
        let hits: u64 = evaluation.confusion.iter().map(|row| row[target]).sum();
        Some(hits as f64 / test.len() as f64)
    }
}

pub fn recall(evaluation: &Evaluation, class: usize) -> f64 {
    let row = &evaluation.confusion[class];
    row[class] as f64 / row.iter().sum::<u64>() as f64
}

/// The step of the global model. Replies that are not finite are refused, as the server does.
fn aggregate(
    seed: u64,
    aggregator: &mut Aggregator<f32>,
    updates: &[OwnUpdate],
    round: u32,
    parameters: usize,
) -> Vec<f32> {
    let mut rng = Streams::new(seed).stream(Purpose::Faults, round, 0);
    let finite = |sent: &&OwnUpdate| sent.update.values.iter().all(|value| value.is_finite());
    let accepted: Vec<&OwnUpdate> = updates.iter().filter(finite).collect();
    let rows: Vec<&[f32]> = accepted
        .iter()
        .map(|o| o.update.values.as_slice())
        .collect();
    let clients: Vec<u32> = accepted.iter().map(|o| o.client).collect();
    let mut step = vec![0.0; parameters];
    let input = Input {
        clients: Some(&clients),
        ..Input::new(&rows)
    };
    match aggregator.aggregate(&input, &mut rng, &mut step) {
        Ok(_) => step,
        // A diverged model: the round is abandoned.
        Err(RobustError::NoRows | RobustError::TooFewRows { .. }) => vec![0.0; parameters],
        Err(error) => panic!("round {round}: {error}"),
    }
}
