//! `cloister bench simulate`: a whole simulated run, and the share of it that is not training.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, Result};
use cloister_config::Experiment;
use cloister_data::{Dataset, ExampleShape, TrainTest};
use cloister_nn::{Model, Optimizer, OptimizerConfig};
use cloister_sim::{Federation, Options};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{Stopwatch, peak_memory_mib};

const CLIENTS: usize = 100;
const ROUNDS: usize = 5;
const EXAMPLES: usize = 600;
const BATCH: usize = 10;
/// Every client in every round, one pass over its 600 examples.
const STEPS: usize = ROUNDS * CLIENTS * EXAMPLES / BATCH;
const REPEATS: usize = 5;

/// The figures, medians over the repeats.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    model: &'static str,
    clients: usize,
    rounds: usize,
    examples_per_client: usize,
    batch: usize,
    threads: usize,
    /// Wall seconds of the five rounds: cohort, training, checks, sum, record, checkpoint, one evaluation.
    seconds: f64,
    seconds_per_round: f64,
    /// Wall seconds that the same number of bare training steps takes on as many threads.
    kernel_seconds: f64,
    /// `1 - kernel_seconds / seconds`.
    share_outside_kernels: f64,
    /// Largest resident memory of the process, where the system tells.
    peak_memory_mib: Option<f64>,
    repeats: usize,
}

/// Measures on `threads` threads.
pub(crate) fn measure(threads: usize) -> Result<Figures> {
    let experiment = experiment()?;
    let federation = Federation::prepare(&experiment, Arc::new(data()?))?;
    let folder = tempfile::tempdir()?;
    let mut runs = Vec::new();
    let mut kernels = Vec::new();
    for repeat in 0..REPEATS {
        // Alternating, so that a noisy machine disturbs both alike.
        kernels.push(bare_steps(&federation.model, threads));
        let options = Options {
            folder: folder.path().join(repeat.to_string()),
            threads,
            resume: false,
            stop: Arc::new(AtomicBool::new(false)),
            unattacked: None,
        };
        let outcome = cloister_sim::run(&federation, &options, &mut |_| {})?;
        runs.push(outcome.round_time.as_secs_f64());
    }
    let (seconds, kernel_seconds) = (median(&mut runs), median(&mut kernels));
    Ok(Figures {
        model: "mlp 784-128-10",
        clients: CLIENTS,
        rounds: ROUNDS,
        examples_per_client: EXAMPLES,
        batch: BATCH,
        threads,
        seconds,
        seconds_per_round: seconds / ROUNDS as f64,
        kernel_seconds,
        share_outside_kernels: 1.0 - kernel_seconds / seconds,
        peak_memory_mib: peak_memory_mib(),
        repeats: REPEATS,
    })
}

fn experiment() -> Result<Experiment> {
    let text = format!(
        "name = \"bench\"\n\
         data = {{ dataset = \"digits\" }}\n\
         federation = {{ clients = {CLIENTS}, rounds = {ROUNDS} }}\n\
         model = {{ kind = \"mlp\", hidden = [128] }}\n\
         train = {{ epochs = 1, batch_size = {BATCH}, learning_rate = 0.05 }}\n\
         evaluate = {{ every = {ROUNDS}, clients = false }}\n"
    );
    toml::from_str(&text).context("the bench's own config")
}

/// Random pixels in place of MNIST: the time of a step does not depend on them.
fn data() -> Result<TrainTest> {
    let shape = ExampleShape {
        channels: 1,
        height: 28,
        width: 28,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut part = |rows: usize| -> Result<Dataset> {
        let features = (0..rows * shape.len()).map(|_| rng.random()).collect();
        let labels = (0..rows).map(|_| rng.random_range(0..10)).collect();
        let classes = (0..10).map(|class| class.to_string()).collect();
        Ok(Dataset::new(
            "random pixels",
            shape,
            features,
            labels,
            classes,
            None,
        )?)
    };
    Ok(TrainTest {
        train: part(CLIENTS * EXAMPLES)?,
        test: part(1000)?,
        columns: Vec::new(),
        pipeline: None,
        notes: Vec::new(),
    })
}

/// Wall seconds of [`STEPS`] gradient and SGD steps on one batch in cache, shared among the threads.
fn bare_steps(model: &Model, threads: usize) -> f64 {
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut rng = ChaCha8Rng::seed_from_u64(3);
                let inputs: Vec<f32> = (0..BATCH * model.input().len())
                    .map(|_| rng.random())
                    .collect();
                let labels: Vec<u32> = (0..BATCH).map(|_| rng.random_range(0..10)).collect();
                let mut parameters = model.initial_parameters(&mut rng);
                let mut gradient = vec![0.0; parameters.len()];
                let mut optimizer = Optimizer::new(&OptimizerConfig::SGD, parameters.len());
                let mut workspace = model.workspace(BATCH);
                for _ in 0..STEPS / threads {
                    model.gradient(&parameters, &inputs, &labels, &mut workspace, &mut gradient);
                    optimizer.step(&mut parameters, &gradient, 1e-4, 0.0, None);
                }
            });
        }
    });
    watch.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
