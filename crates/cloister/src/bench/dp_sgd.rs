//! `cloister bench dp-sgd`: what clipping each example's gradient, and noise, add to a training step.

use std::time::Duration;

use anyhow::Result;
use cloister_nn::{InputShape, Model, ModelConfig, Optimizer, OptimizerConfig, Workspace};
use cloister_privacy::mechanism::dp_sgd::GradientNoise;
use cloister_privacy::noise::NoiseSource;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{Stopwatch, quantile};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    model: &'static str,
    parameters: usize,
    batch: usize,
    /// Median of forward, backward and SGD step.
    plain_ms: f64,
    /// The same with the sum of clipped gradients in place of the mean.
    clipped_ms: f64,
    /// The same with noise on the sum.
    noisy_ms: f64,
    /// Middle half of `clipped_ms / plain_ms` for neighbouring steps, and their median.
    clipped_ratio: [f64; 3],
    /// The same of `noisy_ms / plain_ms`.
    noisy_ratio: [f64; 3],
    repeats: usize,
}

/// Name, `[model]` table, batches: those of the peers' measurement.
const CASES: [(&str, &str, &[usize]); 3] = [
    (
        "mlp 784-200-200-10",
        r#"{"kind":"mlp","hidden":[200,200]}"#,
        &[32, 256],
    ),
    ("lenet5 28x28x1", r#"{"kind":"lenet5"}"#, &[32, 256]),
    ("papernot-cnn 28x28x1", r#"{"kind":"papernot-cnn"}"#, &[256]),
];

/// Near the median norm at the start of training, so that some examples are clipped and some are not.
const CLIP: f32 = 1.0;

const RATE: f32 = 1e-3;

/// Deviation of the noise in terms of the clip.
const NOISE_MULTIPLIER: f64 = 1.0;

/// Measures each model at each batch size, on one thread; `quick` for a quarter of the time.
pub(crate) fn measure(quick: bool) -> Result<Vec<Row>> {
    let budget = Duration::from_millis(if quick { 1000 } else { 4000 });
    let mut rows = Vec::new();
    for (name, config, batches) in CASES {
        let config: ModelConfig = serde_json::from_str(config)?;
        let input = InputShape {
            channels: 1,
            height: 28,
            width: 28,
        };
        let model = Model::build(&config, input, 10)?;
        for &batch in batches {
            rows.push(case(name, &model, batch, budget)?);
        }
    }
    Ok(rows)
}

fn case(name: &'static str, model: &Model, batch: usize, budget: Duration) -> Result<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let inputs: Vec<f32> = (0..batch * model.input().len())
        .map(|_| rng.random())
        .collect();
    let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
    let mut plain = Step::new(model, batch, &mut rng);
    let mut clipped = plain.clone();
    let mut noisy = plain.clone();
    let noise = GradientNoise::new(
        model.layout().len(),
        CLIP.into(),
        NOISE_MULTIPLIER,
        batch as f64,
        u32::try_from(batch)?,
    )?;
    let mut source = NoiseSource::system()?;
    // In turns, so that whatever else the machine does falls on all.
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let watch = Stopwatch::start();
    while times[0].len() < 20 || watch.elapsed() < budget {
        let one = Stopwatch::start();
        plain.gradient(model, &inputs, &labels);
        plain.update(RATE);
        times[0].push(milliseconds(one));

        let one = Stopwatch::start();
        clipped.sum(model, &inputs, &labels);
        clipped.update(RATE / batch as f32);
        times[1].push(milliseconds(one));

        let one = Stopwatch::start();
        noisy.sum(model, &inputs, &labels);
        noise.apply(&mut noisy.gradient, &mut source)?;
        noisy.update(RATE);
        times[2].push(milliseconds(one));
    }
    // Without the first few, which fill caches and allocate.
    let [plain, clipped, noisy] = times.map(|times| times[3..].to_vec());
    let ratio = |times: &[f64]| {
        let ratios = times.iter().zip(&plain).map(|(time, plain)| time / plain);
        let ratios = sorted(ratios.collect());
        [0.25, 0.5, 0.75].map(|share| quantile(&ratios, share))
    };
    Ok(Row {
        model: name,
        parameters: model.layout().len(),
        batch,
        clipped_ratio: ratio(&clipped),
        noisy_ratio: ratio(&noisy),
        repeats: plain.len(),
        plain_ms: quantile(&sorted(plain), 0.5),
        clipped_ms: quantile(&sorted(clipped), 0.5),
        noisy_ms: quantile(&sorted(noisy), 0.5),
    })
}

fn milliseconds(watch: Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1e3
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// What a step needs and changes.
#[derive(Clone)]
struct Step {
    parameters: Vec<f32>,
    gradient: Vec<f32>,
    workspace: Workspace,
    optimizer: Optimizer,
}

impl Step {
    fn new(model: &Model, batch: usize, rng: &mut ChaCha8Rng) -> Self {
        let parameters = model.initial_parameters(rng);
        Self {
            gradient: vec![0.0; parameters.len()],
            workspace: model.workspace(batch),
            optimizer: Optimizer::new(&OptimizerConfig::SGD, parameters.len()),
            parameters,
        }
    }

    fn gradient(&mut self, model: &Model, inputs: &[f32], labels: &[u32]) {
        let (ws, gradient) = (&mut self.workspace, &mut self.gradient);
        model.gradient(&self.parameters, inputs, labels, ws, gradient);
    }

    fn sum(&mut self, model: &Model, inputs: &[f32], labels: &[u32]) {
        let (ws, sum) = (&mut self.workspace, &mut self.gradient);
        model.clipped_gradient_sum(&self.parameters, inputs, labels, CLIP, ws, sum);
    }

    fn update(&mut self, rate: f32) {
        self.optimizer
            .step(&mut self.parameters, &self.gradient, rate, 0.0, None);
    }
}
