//! Speed of each kernel on the shapes of the shipped models, one thread, as a table of microseconds and GFLOP/s.
//!
//! `cargo run --release -p cloister-nn --example kernel_time [portable|avx2|avx512] [BATCH...]`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program: it reads the clock and prints"
)]

use std::hint::black_box;
use std::time::Instant;

use cloister_nn::kernels::{self, ConvScratch, ConvShape, Level};

fn main() {
    let mut level = Level::current();
    let mut batches = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "portable" => level = Level::Portable,
            "avx2" => level = Level::Avx2,
            "avx512" => level = Level::Avx512,
            number => batches.extend(number.parse::<usize>()),
        }
    }
    if batches.is_empty() {
        batches = vec![10, 32];
    }
    println!("{level:?}");
    kernels::with_level(level, || {
        for &n in &batches {
            for (inputs, outputs) in [
                (784, 10),
                (784, 200),
                (200, 200),
                (400, 120),
                (120, 84),
                (3136, 512),
            ] {
                linear(n, inputs, outputs);
            }
            for (in_channels, size, out_channels, kernel, padding) in [
                (1, 28, 6, 5, 2),
                (6, 14, 16, 5, 0),
                (3, 32, 6, 5, 0),
                (1, 28, 32, 5, 2),
                (32, 14, 64, 5, 2),
                (3, 32, 32, 3, 1),
                (32, 16, 64, 3, 1),
                (64, 8, 128, 3, 1),
            ] {
                conv(&ConvShape {
                    batch: n,
                    in_channels,
                    height: size,
                    width: size,
                    out_channels,
                    kernel,
                    padding,
                });
            }
            activations(n * 4704);
            pools(n * 32, 28);
        }
    });
}

fn linear(n: usize, inputs: usize, outputs: usize) {
    let (x, w, b) = (
        values(n * inputs),
        values(inputs * outputs),
        values(outputs),
    );
    let (dy, mut y) = (values(n * outputs), values(n * outputs));
    let (mut dx, mut dw, mut db) = (x.clone(), w.clone(), b.clone());
    let flops = 2.0 * (n * inputs * outputs) as f64;
    let forward = quartile_us(|| kernels::linear_forward(&x, &w, &b, &mut y, n, inputs, outputs));
    let input =
        quartile_us(|| kernels::linear_backward_input(&dy, &w, &mut dx, n, inputs, outputs));
    let parameters = quartile_us(|| {
        kernels::linear_backward_parameters(&x, &dy, &mut dw, &mut db, n, inputs, outputs);
    });
    let name = format!("linear {inputs}-{outputs}");
    row(&name, n, flops, [forward, input, parameters]);
}

fn conv(s: &ConvShape) {
    let (x, w, b) = (
        values(s.input_len()),
        values(s.weight_len()),
        values(s.out_channels),
    );
    let (dy, mut y) = (values(s.output_len()), values(s.output_len()));
    let (mut dx, mut dw, mut db) = (x.clone(), w.clone(), b.clone());
    let mut scratch = ConvScratch::new();
    let taps = s.in_channels * s.kernel * s.kernel;
    let flops = 2.0 * (s.output_len() * taps) as f64;
    let forward = quartile_us(|| kernels::conv2d_forward(s, &x, &w, &b, &mut y, &mut scratch));
    let input = quartile_us(|| kernels::conv2d_backward_input(s, &dy, &w, &mut dx, &mut scratch));
    let parameters = quartile_us(|| {
        kernels::conv2d_backward_parameters(s, &x, &dy, &mut dw, &mut db, &mut scratch);
    });
    let name = format!(
        "conv {}-{} {}@{}",
        s.in_channels, s.out_channels, s.height, s.kernel
    );
    row(&name, s.batch, flops, [forward, input, parameters]);
}

fn activations(len: usize) {
    let (x, mut y, mut dx) = (values(len), values(len), values(len));
    type Pass = (
        &'static str,
        fn(&[f32], &mut [f32]),
        fn(&[f32], &[f32], &mut [f32]),
    );
    let passes: [Pass; 4] = [
        ("relu", kernels::relu, kernels::relu_backward),
        ("tanh", kernels::tanh, kernels::tanh_backward),
        ("sigmoid", kernels::sigmoid, kernels::sigmoid_backward),
        ("softplus", kernels::softplus, kernels::softplus_backward),
    ];
    for (name, forward, backward) in passes {
        let f = quartile_us(|| forward(&x, &mut y));
        let b = quartile_us(|| backward(&y, &x, &mut dx));
        per_number(name, len, f, b);
    }
}

fn pools(planes: usize, size: usize) {
    let len = planes * size * size;
    let (x, mut y, mut dx) = (values(len), values(len / 4), values(len));
    let mut at = vec![0; len / 4];
    let f = quartile_us(|| kernels::max_pool2(&x, &mut y, &mut at, planes, size, size));
    let b = quartile_us(|| kernels::max_pool2_backward(&y, &at, &mut dx, planes, size, size));
    per_number("max_pool2", len, f, b);
    let f = quartile_us(|| kernels::avg_pool2(&x, &mut y, planes, size, size));
    let b = quartile_us(|| kernels::avg_pool2_backward(&y, &mut dx, planes, size, size));
    per_number("avg_pool2", len, f, b);
}

fn row(name: &str, n: usize, flops: f64, us: [f64; 3]) {
    let speed = us.map(|us| format!("{us:9.1} us {:6.1}", flops / us / 1e3));
    println!(
        "{name:18} n={n:<4} forward {} input {} parameters {} GFLOP/s",
        speed[0], speed[1], speed[2]
    );
}

fn per_number(name: &str, len: usize, forward: f64, backward: f64) {
    let ns = |us: f64| us * 1e3 / len as f64;
    println!(
        "{name:18} forward {:7.3} backward {:7.3} ns a number",
        ns(forward),
        ns(backward)
    );
}

/// Fixed values in -1..1.
fn values(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919 % 2003) as f32 / 1001.0) - 1.0)
        .collect()
}

/// Lower quartile of the time of a call in microseconds, over about 60 ms: other work on the machine only adds.
fn quartile_us(mut work: impl FnMut()) -> f64 {
    work();
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_millis() < 60 || times.len() < 5 {
        let before = Instant::now();
        black_box(&mut work)();
        times.push(before.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}
