//! `cloister bench train`: the time of one training step.

use std::time::Duration;

use anyhow::Result;
use cloister_nn::parallel::{ParallelWorkspace, gradient_parallel};
use cloister_nn::{InputShape, Model, ModelConfig, Optimizer, OptimizerConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{quantile, repeat};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    model: &'static str,
    parameters: usize,
    batch: usize,
    threads: usize,
    /// Median of forward, backward and SGD step.
    median_ms: f64,
    /// Middle half of the repeats.
    quartiles_ms: [f64; 2],
    repeats: usize,
}

const BATCHES: [usize; 3] = [10, 32, 128];
const BUDGET: Duration = Duration::from_millis(1500);

/// The models that the docs quote, and the name of each in the table.
pub(crate) fn models() -> Result<Vec<(&'static str, Model)>> {
    let parse = |text: &str| -> Result<ModelConfig> { Ok(serde_json::from_str(text)?) };
    let grey = InputShape {
        channels: 1,
        height: 28,
        width: 28,
    };
    let colour = InputShape {
        channels: 3,
        height: 32,
        width: 32,
    };
    let table = [
        ("logistic 784-10", r#"{"kind":"logistic"}"#, grey),
        ("mlp 784-128-10", r#"{"kind":"mlp","hidden":[128]}"#, grey),
        (
            "mlp 784-200-200-10",
            r#"{"kind":"mlp","hidden":[200,200]}"#,
            grey,
        ),
        ("lenet5 28x28x1", r#"{"kind":"lenet5"}"#, grey),
        ("lenet5 32x32x3", r#"{"kind":"lenet5"}"#, colour),
        ("mcmahan-cnn 28x28x1", r#"{"kind":"cnn"}"#, grey),
        ("cnn3 32x32x3", r#"{"kind":"cnn3"}"#, colour),
    ];
    table
        .into_iter()
        .map(|(name, config, input)| Ok((name, Model::build(&parse(config)?, input, 10)?)))
        .collect()
}

/// Measures every model at each batch size, on one thread and on two.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, model) in models()? {
        for batch in BATCHES {
            for threads in [1, 2] {
                rows.push(step(name, &model, batch, threads)?);
            }
        }
    }
    Ok(rows)
}

fn step(name: &'static str, model: &Model, batch: usize, threads: usize) -> Result<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let inputs: Vec<f32> = (0..batch * model.input().len())
        .map(|_| rng.random())
        .collect();
    let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
    let mut parameters = model.initial_parameters(&mut rng);
    let mut gradient = vec![0.0; parameters.len()];
    let mut optimizer = Optimizer::new(&OptimizerConfig::SGD, parameters.len());
    let mut single = model.workspace(batch);
    let mut parallel = ParallelWorkspace::new(model, batch, threads)?;
    let mut one = || {
        if threads == 1 {
            model.gradient(&parameters, &inputs, &labels, &mut single, &mut gradient);
        } else {
            gradient_parallel(
                model,
                &parameters,
                &inputs,
                &labels,
                &mut parallel,
                &mut gradient,
            );
        }
        optimizer.step(&mut parameters, &gradient, 1e-3, 0.0, None);
    };
    let times = repeat(BUDGET, &mut one);
    Ok(Row {
        model: name,
        parameters: model.layout().len(),
        batch,
        threads,
        median_ms: quantile(&times, 0.5),
        quartiles_ms: [quantile(&times, 0.25), quantile(&times, 0.75)],
        repeats: times.len(),
    })
}
