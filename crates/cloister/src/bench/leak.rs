//! `cloister bench leak`: how often a second a gradient inversion can look at its objective's derivative.

use std::time::Duration;

use anyhow::Result;
use cloister_nn::kernels::dot;
use cloister_nn::{Derivatives, InputShape, Model, ModelConfig, TangentWorkspace, Targets};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{Stopwatch, quantile, thread_cpu_seconds};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    model: &'static str,
    parameters: usize,
    batch: usize,
    /// Median of the pass that finds the gradient.
    value_ms: f64,
    /// Median of the cosine objective and its derivative with respect to the gradient.
    direction_ms: f64,
    /// Median of the pass that finds the derivative with respect to the inputs.
    tangent_ms: f64,
    /// Evaluations, of all three, in a second of the thread's processor time; of wall time where the system does not tell.
    per_cpu_second: f64,
    evaluations: usize,
}

/// Name, `[model]` table, channels and size of the images: those of `benches/peers/leak.py`.
const CASES: [(&str, &str, usize, usize); 4] = [
    ("dlg-lenet 1x28x28", r#"{"kind":"dlg-lenet"}"#, 1, 28),
    (
        "lenet5 width 3 3x32x32",
        r#"{"kind":"lenet5","pooling":"max","width":3}"#,
        3,
        32,
    ),
    ("convnet 1x28x28", r#"{"kind":"convnet"}"#, 1, 28),
    ("convnet 3x32x32", r#"{"kind":"convnet"}"#, 3, 32),
];

const BATCHES: [usize; 2] = [1, 8];

/// Measures every model at each batch size, on one thread; `quick` for a quarter of the time.
pub(crate) fn measure(quick: bool) -> Result<Vec<Row>> {
    let budget = Duration::from_millis(if quick { 500 } else { 2000 });
    let mut rows = Vec::new();
    for (name, config, channels, size) in CASES {
        let config: ModelConfig = serde_json::from_str(config)?;
        let input = InputShape {
            channels,
            height: size,
            width: size,
        };
        let model = Model::build(&config, input, 10)?;
        for batch in BATCHES {
            rows.push(case(name, &model, batch, budget));
        }
    }
    Ok(rows)
}

fn case(name: &'static str, model: &Model, batch: usize, budget: Duration) -> Row {
    let mut attack = Attack::new(model, batch);
    for _ in 0..3 {
        attack.evaluate(model);
    }
    let mut times = [const { Vec::new() }; 3];
    let cpu = thread_cpu_seconds();
    let watch = Stopwatch::start();
    while times[0].len() < 5 || watch.elapsed() < budget {
        for (times, passed) in times.iter_mut().zip(attack.evaluate(model)) {
            times.push(passed);
        }
    }
    let wall = watch.elapsed().as_secs_f64();
    let seconds = cpu
        .zip(thread_cpu_seconds())
        .map_or(wall, |(start, end)| end - start);
    let evaluations = times[0].len();
    let [value_ms, direction_ms, tangent_ms] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.5)
    });
    Row {
        model: name,
        parameters: model.layout().len(),
        batch,
        value_ms,
        direction_ms,
        tangent_ms,
        per_cpu_second: evaluations as f64 / seconds,
        evaluations,
    }
}

/// An inversion of one gradient by the cosine objective, and what an evaluation needs.
struct Attack {
    parameters: Vec<f32>,
    inputs: Vec<f32>,
    classes: Vec<u32>,
    /// The gradient that was seen.
    observed: Vec<f32>,
    workspace: TangentWorkspace,
    gradient: Vec<f32>,
    direction: Vec<f32>,
    derivative: Vec<f32>,
}

impl Attack {
    fn new(model: &Model, batch: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let parameters = model.initial_parameters(&mut rng);
        let mut images = || -> Vec<f32> {
            (0..batch * model.input().len())
                .map(|_| rng.random())
                .collect()
        };
        let (truth, inputs) = (images(), images());
        let classes: Vec<u32> = (0..10).cycle().take(batch).collect();
        let mut workspace = model.tangent_workspace(batch);
        let mut observed = vec![0.0; parameters.len()];
        let targets = Targets::Classes(&classes);
        model.value(&parameters, &truth, targets, &mut workspace, &mut observed);
        Self {
            gradient: vec![0.0; parameters.len()],
            direction: vec![0.0; parameters.len()],
            derivative: vec![0.0; inputs.len()],
            parameters,
            inputs,
            classes,
            observed,
            workspace,
        }
    }

    /// One evaluation; milliseconds of its three parts.
    fn evaluate(&mut self, model: &Model) -> [f64; 3] {
        let (parameters, inputs) = (&self.parameters, &self.inputs);
        let ws = &mut self.workspace;
        let watch = Stopwatch::start();
        let targets = Targets::Classes(&self.classes);
        model.value(parameters, inputs, targets, ws, &mut self.gradient);
        let value = watch.elapsed();

        // The derivative of 1 - <g, o> / (|g| |o|) with respect to g.
        let norm = dot(&self.gradient, &self.gradient).sqrt();
        let observed = dot(&self.observed, &self.observed).sqrt();
        let product = dot(&self.gradient, &self.observed);
        let along = (product / (norm.powi(3) * observed)) as f32;
        let across = (1.0 / (norm * observed)) as f32;
        let pairs = self.gradient.iter().zip(&self.observed);
        for (v, (g, o)) in self.direction.iter_mut().zip(pairs) {
            *v = along * g - across * o;
        }
        let directed = watch.elapsed();

        let wanted = Derivatives {
            inputs: &mut self.derivative,
            targets: None,
            parameters: None,
        };
        model.tangent(parameters, &self.direction, inputs, ws, wanted);
        let done = watch.elapsed();
        [value, directed - value, done - directed].map(|time| time.as_secs_f64() * 1e3)
    }
}
