//! Times the passes of an attack on the gradient: value, direction of the cosine objective, tangent; on one thread, in
//! microseconds, the tenth that is fastest, since other work only adds.
//!
//! `cargo run --release -p cloister-nn --example leak_time [SECONDS [MODEL [BATCH]]]`. `cloister bench leak` measures the same as a whole.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement at the command line"
)]

use std::time::{Duration, Instant};

use cloister_nn::kernels::dot;
use cloister_nn::{Derivatives, InputShape, Model, ModelConfig, Targets};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const CASES: [(&str, &str, (usize, usize, usize)); 4] = [
    ("dlg-lenet 1x28x28", r#"{"kind":"dlg-lenet"}"#, (1, 28, 28)),
    (
        "lenet5 tanh 3x32x32",
        r#"{"kind":"lenet5","pooling":"max","width":3}"#,
        (3, 32, 32),
    ),
    ("convnet 1x28x28", r#"{"kind":"convnet"}"#, (1, 28, 28)),
    ("convnet 3x32x32", r#"{"kind":"convnet"}"#, (3, 32, 32)),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(1.0, |s| s.parse().unwrap());
    let wanted = arguments.next().unwrap_or_default();
    let batches = arguments
        .next()
        .map_or(vec![1, 8], |batch| vec![batch.parse().unwrap()]);
    for (name, config, (channels, height, width)) in CASES {
        if !name.contains(&wanted) {
            continue;
        }
        let input = InputShape {
            channels,
            height,
            width,
        };
        let config: ModelConfig = serde_json::from_str(config).unwrap();
        let model = Model::build(&config, input, 10).unwrap();
        for &batch in &batches {
            measure(name, &model, batch, Duration::from_secs_f64(seconds));
        }
    }
}

fn measure(name: &str, model: &Model, batch: usize, budget: Duration) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut draw =
        |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let inputs = draw(batch * model.input().len());
    let other = draw(model.layout().len());
    let classes: Vec<u32> = (0..batch as u32).collect();
    let parameters = model.initial_parameters(&mut rng);
    let mut ws = model.tangent_workspace(batch);
    let mut gradient = vec![0.0; parameters.len()];
    let mut direction = vec![0.0; parameters.len()];
    let mut found = vec![0.0; inputs.len()];
    let mut times = [const { Vec::new() }; 3];
    let cpu = cpu_seconds();
    let end = Instant::now() + budget;
    while times[0].len() < 20 || Instant::now() < end {
        let start = Instant::now();
        let targets = Targets::Classes(&classes);
        model.value(&parameters, &inputs, targets, &mut ws, &mut gradient);
        let valued = Instant::now();
        let (length, other_length) = (dot(&gradient, &gradient).sqrt(), dot(&other, &other).sqrt());
        let cosine = dot(&gradient, &other) / (length * other_length);
        let own = (cosine / (length * length)) as f32;
        let others = (1.0 / (length * other_length)) as f32;
        for ((v, g), o) in direction.iter_mut().zip(&gradient).zip(&other) {
            *v = own * g - others * o;
        }
        let directed = Instant::now();
        let wanted = Derivatives {
            inputs: &mut found,
            targets: None,
            parameters: None,
        };
        model.tangent(&parameters, &direction, &inputs, &mut ws, wanted);
        let done = Instant::now();
        for (times, passed) in
            times
                .iter_mut()
                .zip([valued - start, directed - valued, done - directed])
        {
            times.push(passed.as_secs_f64() * 1e6);
        }
    }
    let rate = times[0].len() as f64 / (cpu_seconds() - cpu);
    let fast = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 10]
    });
    let [value, direction, tangent] = fast;
    println!(
        "{name:22} {:7} parameters, batch {batch}: value {value:7.0}, direction {direction:5.0}, tangent {tangent:7.0}, \
         evaluations a cpu second {rate:6.0}",
        parameters.len(),
    );
}

/// Processor time of this thread so far, where the system is Linux.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().map(str::parse);
    nanoseconds.and_then(Result::ok).unwrap_or(f64::NAN) / 1e9
}
