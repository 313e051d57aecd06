//! A client's training: the one trait between the round and whatever trains.

mod batches;
mod dp_sgd;
mod draws;
mod soteria;

use std::sync::{Mutex, PoisonError};

use cloister_data::{Dataset, augment};
use cloister_nn::metrics::{Measures, NumberTally, Tally};
use cloister_nn::{
    Layout, Model, Optimizer, OptimizerConfig, Proximal, TangentWorkspace, Targets, Workspace,
};
use cloister_privacy::noise::NoiseSource;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{LocalOptimizer, TrainPlan};
use crate::streams::Streams;

pub use batches::batches;
pub use dp_sgd::DpSgd;
use draws::Draws;

/// What a client made of the global model.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Examples trained on.
    pub examples: u64,
    /// Mean training loss per example over the local steps, with what a variational bottleneck's divergence adds to it;
    /// `None` is withheld, as it is of private examples.
    pub loss: Option<f64>,
    /// Trained parameters minus global parameters, in the order of the layout.
    pub values: Vec<f32>,
}

/// Why a client could not train.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LearnerError(pub String);

/// Whatever trains at a client: the built-in models, or a user's own code.
pub trait Learner {
    /// The parameter layout of the model.
    fn layout(&self) -> &Layout;

    /// Examples that [`Self::train`] uses.
    fn examples(&self) -> u64;

    /// Trains from `global` as `plan` says; all randomness comes from `rng`.
    ///
    /// # Errors
    /// [`LearnerError`], whose words reach the server's record.
    fn train(
        &mut self,
        global: &[f32],
        plan: &TrainPlan,
        rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError>;

    /// Judges `global` on the client's own examples.
    ///
    /// # Errors
    /// [`LearnerError`], whose words reach the server's record.
    fn evaluate(&mut self, global: &[f32]) -> Result<Measures, LearnerError>;
}

/// Most examples that pass through the network at once: larger batches are summed over chunks of this size, so that
/// memory does not grow with `batch_size`.
const CHUNK: usize = 256;

/// Buffers of one training at a time, kept from client to client.
#[derive(Debug, Default)]
pub struct Scratch {
    workspace: Option<(usize, Workspace)>,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    /// The numbers to be predicted, where examples have no classes.
    values: Vec<f32>,
    order: Vec<u32>,
    gradient: Vec<f32>,
    partial: Vec<f32>,
    tangent: Option<(usize, TangentWorkspace)>,
    sensitivity: Vec<f32>,
    optimizer: Option<(OptimizerConfig, Optimizer)>,
}

/// Scratch buffers shared by the clients of one process: as many as clients that train at the same time. All users of
/// a pool must train the same model.
#[derive(Debug, Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Takes a scratch out, a fresh one if none is free.
    pub fn take(&self) -> Scratch {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    /// Puts a scratch back for the next client.
    pub fn put(&self, scratch: Scratch) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(scratch);
    }
}

/// A built-in model over some rows of a data set.
#[derive(Debug)]
pub struct ModelLearner<'a> {
    model: &'a Model,
    data: &'a Dataset,
    rows: &'a [u32],
    frozen: Option<&'a [bool]>,
    dp_sgd: Option<DpSgd>,
    /// Share of the representation's units from which the last layer learns nothing.
    soteria: Option<f64>,
    secret: Option<NoiseSource>,
    streams: Streams,
    /// The generator of changes to the examples of a training, where the data set asks for changes.
    changes: Option<ChaCha8Rng>,
    scratch: Scratch,
}

/// What a training's stream is turned into for the changes to its examples, so that batches are drawn as without them.
const CHANGES: u64 = 1 << 63;

impl<'a> ModelLearner<'a> {
    /// A learner of `model` on the `rows` of `data`. `scratch` is fresh, or was last used with the same model.
    ///
    /// # Errors
    /// [`LearnerError`] if there is no row, a row is not in `data`, an example has another size than the input, or one side
    /// is about classes and the other about numbers.
    pub fn new(
        model: &'a Model,
        data: &'a Dataset,
        rows: &'a [u32],
        scratch: Scratch,
    ) -> Result<Self, LearnerError> {
        if rows.is_empty() {
            return Err(LearnerError("the client has no examples".to_owned()));
        }
        if let Some(row) = rows.iter().find(|row| **row as usize >= data.len()) {
            return Err(LearnerError(format!(
                "row {row} is not among the {} examples",
                data.len()
            )));
        }
        if data.shape().len() != model.input().len() {
            return Err(LearnerError(format!(
                "examples have {} features, the model takes {}",
                data.shape().len(),
                model.input().len()
            )));
        }
        if data.target().is_some() != model.answers_numbers() {
            let of = |numbers: bool| if numbers { "numbers" } else { "classes" };
            return Err(LearnerError(format!(
                "examples are answered with {}, the model answers with {}",
                of(data.target().is_some()),
                of(model.answers_numbers())
            )));
        }
        Ok(Self {
            model,
            data,
            rows,
            frozen: None,
            dp_sgd: None,
            soteria: None,
            secret: None,
            streams: Streams::new(0),
            changes: None,
            scratch,
        })
    }

    /// Holds the parameters marked by `frozen` (one mark a parameter) at their global values in [`Learner::train`]:
    /// every step is projected on the others. `None` frees all.
    ///
    /// # Errors
    /// [`LearnerError`] if there are not as many marks as parameters.
    pub fn freezing(mut self, frozen: Option<&'a [bool]>) -> Result<Self, LearnerError> {
        let parameters = self.model.layout().len();
        if let Some(frozen) = frozen.filter(|frozen| frozen.len() != parameters) {
            return Err(LearnerError(format!(
                "{} parameters are marked, the model has {parameters}",
                frozen.len()
            )));
        }
        self.frozen = frozen;
        Ok(self)
    }

    /// Draws the noise of a variational bottleneck in training from `source`, which a server cannot repeat. Without one it
    /// comes from the generator of the training, which everybody with the run's seed can repeat.
    #[must_use]
    pub fn drawing_from(mut self, source: Option<NoiseSource>) -> Self {
        self.secret = source;
        self
    }

    /// Draws the noise of a variational bottleneck in evaluation from `streams`, by default those of seed 0.
    #[must_use]
    pub fn evaluating_with(mut self, streams: Streams) -> Self {
        self.streams = streams;
        self
    }

    /// Gives the buffers back.
    pub fn into_scratch(self) -> Scratch {
        self.scratch
    }

    /// One step's mean gradient into `scratch.gradient`; the batch is `scratch.order[from..to]`. Gives the sum of
    /// the losses.
    fn gradient(
        &mut self,
        parameters: &[f32],
        from: usize,
        to: usize,
        draws: &mut Draws<'_>,
    ) -> f64 {
        let batch = to - from;
        if batch <= CHUNK {
            self.gather(from, to);
            self.change();
            return self.pass(parameters, batch, false, draws);
        }
        let mut loss = 0.0;
        for start in (from..to).step_by(CHUNK) {
            let end = to.min(start + CHUNK);
            self.gather(start, end);
            self.change();
            loss += self.pass(parameters, end - start, true, draws);
            let share = (end - start) as f32 / batch as f32;
            let Scratch {
                gradient, partial, ..
            } = &mut self.scratch;
            if start == from {
                gradient.clear();
                gradient.resize(partial.len(), 0.0);
            }
            for (sum, part) in gradient.iter_mut().zip(partial.iter()) {
                *sum += share * part;
            }
        }
        loss
    }

    fn gather(&mut self, from: usize, to: usize) {
        let Scratch {
            inputs,
            labels,
            values,
            order,
            ..
        } = &mut self.scratch;
        inputs.clear();
        labels.clear();
        values.clear();
        let target = self.data.target();
        for row in &order[from..to] {
            let row = *row as usize;
            inputs.extend_from_slice(self.data.row(row));
            labels.push(self.data.labels()[row]);
            values.extend(target.map(|target| target.values[row]));
        }
    }

    /// Begins the changes to the examples of a training with the generator `rng`.
    fn begin_changes(&mut self, rng: &ChaCha8Rng) {
        self.changes = self.data.augmentation().map(|_| {
            let mut changes = rng.clone();
            changes.set_stream(rng.get_stream() ^ CHANGES);
            changes
        });
    }

    /// Changes the gathered examples at random, where the data set asks for it.
    fn change(&mut self) {
        let (Some(rng), Some(config)) = (&mut self.changes, self.data.augmentation()) else {
            return;
        };
        let shape = self.data.shape();
        for example in self.scratch.inputs.chunks_exact_mut(shape.len()) {
            let changed = augment(example, shape, config, rng);
            example.copy_from_slice(&changed);
        }
    }

    fn pass(
        &mut self,
        parameters: &[f32],
        batch: usize,
        partial: bool,
        draws: &mut Draws<'_>,
    ) -> f64 {
        let workspace = workspace(&mut self.scratch.workspace, self.model, batch);
        workspace.draw_noise(draws, batch);
        workspace.weigh_classes(self.data.class_weights());
        let gradient = if partial {
            &mut self.scratch.partial
        } else {
            &mut self.scratch.gradient
        };
        gradient.resize(parameters.len(), 0.0);
        self.model
            .gradient(
                parameters,
                &self.scratch.inputs,
                targets(self.model, &self.scratch.labels, &self.scratch.values),
                workspace,
                gradient,
            )
            .loss_sum
    }
}

/// What the gathered examples are answered with, in the kind that the model answers with.
fn targets<'a>(model: &Model, labels: &'a [u32], values: &'a [f32]) -> Targets<'a> {
    match model.answers_numbers() {
        true => Targets::Values(values),
        false => Targets::Classes(labels),
    }
}

/// A workspace for at least `batch` examples, made anew only when a larger one is needed.
fn workspace<'w>(
    slot: &'w mut Option<(usize, Workspace)>,
    model: &Model,
    batch: usize,
) -> &'w mut Workspace {
    if slot.as_ref().is_none_or(|(capacity, _)| *capacity < batch) {
        *slot = None;
    }
    &mut slot
        .get_or_insert_with(|| (batch, model.workspace(batch)))
        .1
}

/// Puts the marked `parameters` back to where they started.
fn hold(parameters: &mut [f32], start: &[f32], frozen: &[bool]) {
    for ((parameter, start), frozen) in parameters.iter_mut().zip(start).zip(frozen) {
        if *frozen {
            *parameter = *start;
        }
    }
}

/// The optimiser of the plan with no memory of another training, the one in `slot` if it is of that kind.
fn optimizer(
    slot: &mut Option<(OptimizerConfig, Optimizer)>,
    plan: &TrainPlan,
    parameters: usize,
) -> (OptimizerConfig, Optimizer) {
    let config = optimizer_config(plan);
    match slot.take() {
        Some((last, mut optimizer)) if last == config => {
            optimizer.reset();
            (config, optimizer)
        }
        _ => {
            let optimizer = Optimizer::new(&config, parameters);
            (config, optimizer)
        }
    }
}

fn optimizer_config(plan: &TrainPlan) -> OptimizerConfig {
    match plan.optimizer {
        LocalOptimizer::Sgd => OptimizerConfig::Sgd {
            momentum: 0.0,
            nesterov: false,
        },
        LocalOptimizer::Momentum => OptimizerConfig::Sgd {
            momentum: plan.momentum,
            nesterov: false,
        },
        LocalOptimizer::Adam => OptimizerConfig::Adam {
            beta1: plan.beta1,
            beta2: plan.beta2,
            epsilon: 1e-8,
            decoupled: false,
        },
    }
}

impl Learner for ModelLearner<'_> {
    fn layout(&self) -> &Layout {
        self.model.layout()
    }

    fn examples(&self) -> u64 {
        self.rows.len() as u64
    }

    fn train(
        &mut self,
        global: &[f32],
        plan: &TrainPlan,
        rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        let mut secret = self.secret.take();
        self.begin_changes(rng);
        if let Some(dp_sgd) = self.dp_sgd.take() {
            let mut draws = Draws::new(secret.as_mut(), rng);
            return self.train_privately(global, plan, dp_sgd, &mut draws);
        }
        let examples = self.rows.len();
        let mut parameters = global.to_vec();
        let (config, mut optimizer) = optimizer(&mut self.scratch.optimizer, plan, global.len());
        self.scratch.order.clear();
        self.scratch.order.extend_from_slice(self.rows);
        let proximal = (plan.proximal_mu > 0.0).then_some(Proximal {
            mu: plan.proximal_mu,
            global,
        });
        let (mut loss, mut seen) = (0.0, 0_usize);
        for step in plan.steps(examples) {
            if step.begins_pass {
                self.scratch.order.shuffle(rng);
            }
            let (from, to) = (step.places.start, step.places.end);
            let mut draws = Draws::new(secret.as_mut(), rng);
            loss += self.gradient(&parameters, from, to, &mut draws);
            self.withhold(&parameters, from, to, &mut draws);
            optimizer.step(
                &mut parameters,
                &self.scratch.gradient,
                plan.learning_rate,
                plan.weight_decay,
                proximal,
            );
            // The optimisers work on each coordinate alone, so putting these back is the projection.
            if let Some(frozen) = self.frozen {
                hold(&mut parameters, global, frozen);
            }
            seen += to - from;
        }
        self.scratch.optimizer = Some((config, optimizer));
        for (parameter, start) in parameters.iter_mut().zip(global) {
            *parameter -= start;
        }
        Ok(Update {
            examples: examples as u64,
            loss: Some(if seen == 0 { 0.0 } else { loss / seen as f64 }),
            values: parameters,
        })
    }

    fn evaluate(&mut self, global: &[f32]) -> Result<Measures, LearnerError> {
        self.scratch.order.clear();
        self.scratch.order.extend_from_slice(self.rows);
        let mut tally = match self.data.target() {
            Some(target) => {
                let scale = target.scale.deviation;
                Judging::Number(NumberTally::for_model(self.model, scale))
            }
            None => Judging::Classes(Tally::for_model(self.model)),
        };
        let noise = self.streams.evaluation();
        for (block, from) in (0..self.rows.len()).step_by(CHUNK).enumerate() {
            let to = self.rows.len().min(from + CHUNK);
            self.gather(from, to);
            let workspace = workspace(&mut self.scratch.workspace, self.model, to - from);
            workspace.draw_noise(&mut noise(block as u32), to - from);
            let logits = self
                .model
                .logits(global, &self.scratch.inputs, to - from, workspace);
            match &mut tally {
                Judging::Classes(tally) => tally.add(logits, &self.scratch.labels),
                Judging::Number(tally) => tally.add(logits, &self.scratch.values),
            }
        }
        Ok(match tally {
            Judging::Classes(tally) => Measures::Classes(tally.finish()),
            Judging::Number(tally) => Measures::Number(tally.finish()),
        })
    }
}

/// What is collected to judge a model.
enum Judging {
    Classes(Tally),
    Number(NumberTally),
}
