//! `cloister bench aggregate`: the time of the robust rules, beside what the machine allows.

use std::cell::Cell;
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use cloister_robust::{AggregationConfig, Aggregator, Before, Input, RobustError, Rule};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{quantile, repeat};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    n: usize,
    d: usize,
    rule: String,
    byzantine: u32,
    threads: usize,
    /// Median of one aggregation; none where the rule gave up its search.
    median_ms: Option<f64>,
    /// Middle half of the repeats.
    quartiles_ms: Option<[f64; 2]>,
    /// Median of one pass over the same rows on at most as many threads, and how often that is in the rule's median.
    read_ms: f64,
    over_read: Option<f64>,
    /// n (n + 1) d floating-point operations at the rate of this program's products in cache, and the like.
    gram_ms: f64,
    over_gram: Option<f64>,
    repeats: usize,
}

/// Rows and columns.
const CASES: [(usize, usize); 3] = [(20, 100_000), (50, 1_000_000), (100, 1_000_000)];
const RULES: [(Rule, &[Before]); 11] = [
    (Rule::Mean, &[]),
    (Rule::Median, &[]),
    (Rule::TrimmedMean, &[]),
    (Rule::Meamed, &[]),
    (Rule::Krum, &[]),
    (Rule::MultiKrum, &[]),
    (Rule::Mda, &[]),
    (Rule::GeometricMedian, &[]),
    (Rule::CentredClipping, &[]),
    (Rule::TrimmedMean, &[Before::Nnm]),
    (Rule::Bulyan, &[]),
];
const BUDGET: Duration = Duration::from_millis(1000);
/// Bytes of the buffers that take turns, so that no row waits in a cache: at least two, at most eight buffers.
const MEMORY: usize = 1 << 30;

/// Measures every rule on each case (the smallest if `quick`), on one thread and on two.
pub(crate) fn measure(quick: bool) -> Result<Vec<Row>> {
    let cases = if quick { &CASES[..1] } else { &CASES[..] };
    let mut table = Vec::new();
    for &(n, d) in cases {
        let buffers = buffers(n, d);
        // What fewer threads can do is a limit for more of them too.
        let (mut read_ms, mut rate) = (f64::INFINITY, 0.0_f64);
        for threads in [1, 2] {
            let turns = Turns::new(&buffers);
            read_ms = read_ms.min(median(&repeat(BUDGET, &mut || {
                read(turns.next(), threads);
            })));
            rate = rate.max(products_per_ms(threads));
            let gram_ms = (n * (n + 1) * d) as f64 / rate;
            for (rule, before) in RULES {
                let config = config(rule, before, n);
                let times = times(&config, &turns, d, threads)?;
                let median_ms = times.as_deref().map(median);
                table.push(Row {
                    n,
                    d,
                    rule: name(rule, before),
                    byzantine: config.byzantine,
                    threads,
                    median_ms,
                    quartiles_ms: times
                        .as_deref()
                        .map(|times| [quantile(times, 0.25), quantile(times, 0.75)]),
                    read_ms,
                    over_read: median_ms.map(|median| median / read_ms),
                    gram_ms,
                    over_gram: median_ms.map(|median| median / gram_ms),
                    repeats: times.map_or(0, |times| times.len()),
                });
            }
        }
    }
    Ok(table)
}

/// One in five, or as many as the rule withstands.
fn config(rule: Rule, before: &[Before], n: usize) -> AggregationConfig {
    let byzantine = match rule {
        Rule::Bulyan => (n - 3) / 4,
        _ => n / 5,
    };
    AggregationConfig {
        rule,
        byzantine: byzantine as u32,
        before: before.to_vec(),
        ..AggregationConfig::default()
    }
}

fn name(rule: Rule, before: &[Before]) -> String {
    let steps = before.iter().map(|step| step.name());
    steps.chain([rule.name()]).collect::<Vec<_>>().join("+")
}

/// Sorted milliseconds, or none if the rule gives up.
fn times(
    config: &AggregationConfig,
    turns: &Turns<'_>,
    d: usize,
    threads: usize,
) -> Result<Option<Vec<f64>>> {
    let mut aggregator = Aggregator::<f32>::new(config.clone())?;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut out = vec![0.0; d];
    let mut once = || {
        let rows: Vec<&[f32]> = turns.next().iter().map(Vec::as_slice).collect();
        let input = Input {
            threads,
            ..Input::new(&rows)
        };
        aggregator
            .aggregate(&input, &mut rng, &mut out)
            .map(|verdict| drop(black_box(verdict)))
    };
    match once() {
        Err(RobustError::TooLong { .. }) => return Ok(None),
        first => first?,
    }
    let mut failed = None;
    let times = repeat(BUDGET, &mut || {
        if let Err(error) = once() {
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Some(times)),
    }
}

/// One in five rows lies far off; the others differ by noise.
fn buffers(n: usize, d: usize) -> Vec<Vec<Vec<f32>>> {
    let count = (MEMORY / (size_of::<f32>() * n * d)).clamp(2, 8);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut row = |at: usize| -> Vec<f32> {
        let shift = if at < n / 5 { 1.0 } else { 0.0 };
        (0..d)
            .map(|_| shift + rng.random_range(-1.0..1.0))
            .collect()
    };
    (0..count).map(|_| (0..n).map(&mut row).collect()).collect()
}

/// Buffers one after the other, round and round.
struct Turns<'a> {
    buffers: &'a [Vec<Vec<f32>>],
    turn: Cell<usize>,
}

impl<'a> Turns<'a> {
    fn new(buffers: &'a [Vec<Vec<f32>>]) -> Self {
        Self {
            buffers,
            turn: Cell::new(0),
        }
    }

    fn next(&self) -> &'a [Vec<f32>] {
        self.turn.set((self.turn.get() + 1) % self.buffers.len());
        &self.buffers[self.turn.get()]
    }
}

/// Reads every value once.
fn read(rows: &[Vec<f32>], threads: usize) {
    let mut parts = rows.chunks(rows.len().div_ceil(threads));
    let own = parts.next();
    thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || black_box(bits(part)));
        }
        // The caller's own thread takes part: on one thread nothing is started.
        black_box(own.map(bits));
    });
}

fn bits(rows: &[Vec<f32>]) -> [u32; 64] {
    let mut bits = [0; 64];
    for row in rows {
        for chunk in row.as_chunks::<64>().0 {
            for (bits, value) in bits.iter_mut().zip(chunk) {
                *bits ^= value.to_bits();
            }
        }
    }
    bits
}

/// Floating-point operations a millisecond of a product of two small matrices, on all threads together.
fn products_per_ms(threads: usize) -> f64 {
    const OUTER: usize = 64;
    const INNER: usize = 512;
    const CALLS: usize = 50;
    let times = repeat(BUDGET / 4, &mut || {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let x = vec![0.5; OUTER * INNER];
                    let bias = vec![0.0; OUTER];
                    let mut y = vec![0.0; OUTER * OUTER];
                    for _ in 0..CALLS {
                        cloister_nn::kernels::linear_forward(
                            black_box(&x),
                            black_box(&x),
                            &bias,
                            &mut y,
                            OUTER,
                            INNER,
                            OUTER,
                        );
                    }
                    black_box(y)
                });
            }
        });
    });
    (2 * OUTER * OUTER * INNER * CALLS * threads) as f64 / median(&times)
}

fn median(sorted: &[f64]) -> f64 {
    quantile(sorted, 0.5)
}
