//! Mask expansion on one thread, beside the keystream alone and a copy of memory.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use cloister_secagg::lanes::{Lane, LaneLayout, Vector};
use cloister_secagg::mask::{Kernel, MaskKey, Sign, apply_with, stream};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::clock::sample;
use crate::bench::clock::quantile;

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// A kernel, or a limit.
    what: String,
    /// Whether it is the kernel that sessions use.
    chosen: bool,
    /// Masks that pass over the vector together.
    keys: usize,
    /// 32-bit lanes.
    lanes: usize,
    /// CPU time of one mask, or of so many bytes.
    median_ms: f64,
    /// Middle half of the samples.
    quartiles_ms: [f64; 2],
    gb_per_s: f64,
    /// Rate over that of the keystream into a small buffer.
    of_keystream: f64,
    target_ms: Option<f64>,
    samples: usize,
}

const LANES: usize = 1_000_000;
const BYTES: usize = 4 * LANES;
/// A buffer that stays in the second cache: what AES gives without memory.
const SMALL: usize = 64 << 10;
const KEYS: [usize; 2] = [1, 64];
/// Each case is measured so often, in turns, so that a disturbance meets all of them.
const TURNS: usize = 5;

/// What is measured, its samples, and how many masks one call makes.
struct Case<'a> {
    what: String,
    chosen: bool,
    keys: usize,
    calls: usize,
    /// Milliseconds of a call times this are those of 1,000,000 lanes.
    scale: f64,
    target_ms: Option<f64>,
    call: Box<dyn FnMut() + 'a>,
    times: Vec<f64>,
}

impl<'a> Case<'a> {
    fn limit(what: &str, scale: f64, call: impl FnMut() + 'a) -> Self {
        Self {
            what: what.to_owned(),
            chosen: false,
            keys: 1,
            calls: 8,
            scale,
            target_ms: None,
            call: Box::new(call),
            times: Vec::new(),
        }
    }
}

pub(super) fn measure(quick: bool, rng: &mut ChaCha20Rng) -> Result<Vec<Row>> {
    let layout = LaneLayout::new(Lane::U32, LANES, 1).context("the bench's own layout")?;
    let mut cases = limits(layout, rng);
    for kernel in Kernel::available() {
        for keys in KEYS {
            cases.push(kernel_case(kernel, keys, layout, rng));
        }
    }
    let budget = Duration::from_millis(if quick { 10 } else { 120 });
    for _ in 0..TURNS {
        for case in &mut cases {
            sample(&mut case.times, case.calls, budget, &mut case.call);
        }
    }
    let mut rows: Vec<Row> = cases.into_iter().map(row).collect();
    let keystream = rows.first().map_or(f64::NAN, |row| row.gb_per_s);
    for row in &mut rows {
        row.of_keystream = row.gb_per_s / keystream;
    }
    Ok(rows)
}

/// The keystream into a small buffer is the first.
fn limits<'a>(layout: LaneLayout, rng: &mut ChaCha20Rng) -> Vec<Case<'a>> {
    let (one, two) = (
        MaskKey::from_bytes(&rng.random()),
        MaskKey::from_bytes(&rng.random()),
    );
    let mut small = vec![0; SMALL];
    let mut large = vec![0; BYTES];
    let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let mut sum = Vector::zero(layout);
    let vector = Vector::zero(layout);
    vec![
        Case::limit(
            "AES-128 keystream, 64 KiB",
            BYTES as f64 / SMALL as f64,
            move || {
                stream(&one, black_box(&mut small));
            },
        ),
        Case::limit("AES-128 keystream, 4 MB", 1.0, move || {
            stream(&two, black_box(&mut large));
        }),
        Case::limit("copy of memory, 4 MB", 1.0, move || {
            black_box(&mut to).copy_from_slice(black_box(&from));
        }),
        Case::limit("addition of a vector, 4 MB", 1.0, move || {
            black_box(black_box(&mut sum).add(black_box(vector.bytes())).is_ok());
        }),
    ]
}

fn kernel_case<'a>(
    kernel: Kernel,
    keys: usize,
    layout: LaneLayout,
    rng: &mut ChaCha20Rng,
) -> Case<'a> {
    let mut vector = Vector::zero(layout);
    let masks: Vec<(MaskKey, Sign)> = (0..keys)
        .map(|_| (MaskKey::from_bytes(&rng.random()), Sign::Add))
        .collect();
    Case {
        what: format!("{kernel:?}").to_lowercase(),
        chosen: kernel == Kernel::best(),
        keys,
        calls: if keys == 1 { 8 } else { 1 },
        scale: 1.0 / keys as f64,
        target_ms: Some(if kernel == Kernel::Portable { 0.6 } else { 0.3 }),
        call: Box::new(move || apply_with(kernel, black_box(&mut vector), &masks, 1)),
        times: Vec::new(),
    }
}

fn row(mut case: Case<'_>) -> Row {
    case.times.sort_by(f64::total_cmp);
    let time = |share| quantile(&case.times, share) * case.scale;
    let median_ms = time(0.5);
    Row {
        what: case.what,
        chosen: case.chosen,
        keys: case.keys,
        lanes: LANES,
        median_ms,
        quartiles_ms: [time(0.25), time(0.75)],
        gb_per_s: BYTES as f64 / median_ms * 1e-6,
        of_keystream: f64::NAN,
        target_ms: case.target_ms,
        samples: case.times.len(),
    }
}
