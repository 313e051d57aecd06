//! How long rules take on one thread, beside one read of the rows and the products of the Gram matrix at the speed of
//! the processor's multiply-adds: `cargo run --release --example time -- 20x100000 50x1000000`, with `--threads 2`,
//! `--rule krum`. The first time is the median, the second the least.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement on the command line"
)]

use std::time::Instant;

use cloister_robust::{AggregationConfig, Aggregator, Before, Input, Rule};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let mut pairs = arguments.windows(2);
        pairs.find(|pair| pair[0] == name).map(|pair| &*pair[1])
    };
    let threads = option("--threads").map_or(1, |threads| threads.parse().unwrap());
    for case in &arguments {
        if let Some((n, d)) = case.split_once('x') {
            let (n, d) = (n.parse().unwrap(), d.parse().unwrap());
            time(n, d, threads, option("--rule").unwrap_or(""));
        }
    }
}

fn time(n: usize, d: usize, threads: usize, only: &str) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Buffers in turn, so that no row waits in a cache.
    let buffers = (200_000_000 / (4 * n * d)).clamp(2, 8);
    let data: Vec<Vec<f32>> = (0..buffers)
        .map(|_| (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect())
        .collect();
    let repetitions = (400_000_000 / (n * d)).clamp(5, 60);
    let median = |mut work: Box<dyn FnMut(usize)>| {
        let mut seconds: Vec<f64> = (0..repetitions)
            .map(|repetition| {
                let start = Instant::now();
                work(repetition % buffers);
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        (1e3 * seconds[seconds.len() / 2], 1e3 * seconds[0])
    };
    let all = &data;
    let (read, least) = median(Box::new(move |buffer| {
        let mut bits = [0_u32; 64];
        for chunk in all[buffer].as_chunks::<64>().0 {
            for (bits, value) in bits.iter_mut().zip(chunk) {
                *bits ^= value.to_bits();
            }
        }
        std::hint::black_box(bits);
    }));
    println!("{n} x {d}, {threads} thread(s): one read {read:.2} ms ({least:.2})");
    for (rule, before) in [
        (Rule::Mean, &[][..]),
        (Rule::Krum, &[]),
        (Rule::MultiKrum, &[]),
        (Rule::Mda, &[]),
        (Rule::GeometricMedian, &[]),
        (Rule::CentredClipping, &[]),
        (Rule::TrimmedMean, &[]),
        (Rule::TrimmedMean, &[Before::Nnm]),
        (Rule::TrimmedMean, &[Before::Clip]),
        (Rule::Bulyan, &[]),
    ] {
        if !rule.name().starts_with(only) {
            continue;
        }
        let byzantine = if rule == Rule::Bulyan {
            (n - 3) / 4
        } else {
            n / 5
        };
        let config = AggregationConfig {
            rule,
            byzantine: byzantine as u32,
            before: before.to_vec(),
            ..AggregationConfig::default()
        };
        let mut aggregator = Aggregator::new(config).unwrap();
        let mut out = vec![0.0; d];
        let mut stream = ChaCha8Rng::seed_from_u64(2);
        let (took, least) = median(Box::new(move |buffer| {
            let rows: Vec<&[f32]> = all[buffer].chunks_exact(d).collect();
            let input = Input {
                threads,
                ..Input::new(&rows)
            };
            aggregator.aggregate(&input, &mut stream, &mut out).unwrap();
        }));
        println!(
            "  {before:?} {rule:?}: {took:.2} ms ({least:.2}), {:.2} reads",
            took / read
        );
    }
}
