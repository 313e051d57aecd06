//! Time of one training step (forward, backward, SGD) of each shipped model, one thread, as JSON: the rows of
//! `benches/peers/train_step.py`.
//!
//! `cargo run --release -p cloister-nn --example step_time [portable|avx2|avx512] [MODEL] [BATCH...]`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program: it reads the clock and prints"
)]

use std::time::Instant;

use cloister_nn::kernels::{self, Level};
use cloister_nn::{InputShape, Model, ModelConfig, Optimizer, OptimizerConfig};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Name, `[model]` table, channels and size of the images.
const MODELS: [(&str, &str, usize, usize); 7] = [
    ("logistic", r#"{"kind":"logistic"}"#, 1, 28),
    ("mlp-200-200", r#"{"kind":"mlp"}"#, 1, 28),
    ("mlp-128", r#"{"kind":"mlp","hidden":[128]}"#, 1, 28),
    ("lenet5-28x28x1", r#"{"kind":"lenet5"}"#, 1, 28),
    ("lenet5-32x32x3", r#"{"kind":"lenet5"}"#, 3, 32),
    ("cnn", r#"{"kind":"cnn"}"#, 1, 28),
    ("cnn3", r#"{"kind":"cnn3"}"#, 3, 32),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut level = Level::current();
    let mut only = None;
    let mut batches = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "portable" => level = Level::Portable,
            "avx2" => level = Level::Avx2,
            "avx512" => level = Level::Avx512,
            other => match other.parse::<usize>() {
                Ok(batch) => batches.push(batch),
                Err(_) => only = Some(other.to_owned()),
            },
        }
    }
    if batches.is_empty() {
        batches = vec![10, 32, 128];
    }
    let mut rows = Vec::new();
    for (name, config, channels, size) in MODELS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let shape = InputShape {
            channels,
            height: size,
            width: size,
        };
        let model = Model::build(&serde_json::from_str::<ModelConfig>(config)?, shape, 10)?;
        for &batch in &batches {
            let times = kernels::with_level(level, || step_times(&model, batch));
            rows.push(serde_json::json!({
                "model": name,
                "batch": batch,
                "threads": 1,
                "median_ms": times[times.len() / 2],
                "min_ms": times[0],
                "steps": times.len(),
            }));
        }
    }
    let version = format!("cloister {level:?}");
    println!(
        "{}",
        serde_json::json!({ "version": version, "rows": rows })
    );
    Ok(())
}

/// Milliseconds of each step, ascending, for half a second.
fn step_times(model: &Model, batch: usize) -> Vec<f64> {
    let inputs: Vec<f32> = (0..batch * model.input().len())
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let labels: Vec<u32> = (0..batch as u32).map(|i| i * 7 % 10).collect();
    let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
    let mut gradient = vec![0.0; parameters.len()];
    let mut workspace = model.workspace(batch);
    let mut optimizer = Optimizer::new(&OptimizerConfig::SGD, parameters.len());
    let mut step = || {
        model.gradient(&parameters, &inputs, &labels, &mut workspace, &mut gradient);
        optimizer.step(&mut parameters, &gradient, 0.01, 0.0, None);
    };
    step();
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_millis() < 500 || times.len() < 5 {
        let before = Instant::now();
        step();
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}
