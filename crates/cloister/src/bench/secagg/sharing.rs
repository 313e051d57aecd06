//! Secret sharing: making shares of one secret, and restoring it.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cloister_secagg::field::Fe;
use cloister_secagg::shamir::{Lagrange, Share, share};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::clock::sample;
use crate::bench::clock::quantile;

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    operation: &'static str,
    members: u32,
    threshold: u32,
    /// CPU time for one secret of 32 bytes.
    median_us: f64,
    /// Middle half of the samples.
    quartiles_us: [f64; 2],
    target_us: Option<f64>,
    samples: usize,
}

/// Members and threshold.
const CASES: [(u32, u32); 4] = [(21, 11), (101, 51), (100, 61), (1000, 601)];
/// The cases that the targets are set for have at most so many members.
const TARGETED: u32 = 101;

pub(super) fn measure(quick: bool, rng: &mut ChaCha20Rng) -> Result<Vec<Row>> {
    let cases = if quick { &CASES[..1] } else { &CASES[..] };
    let mut rows = Vec::new();
    for &(members, threshold) in cases {
        let secret: [u8; 32] = rng.random();
        let points: Vec<u32> = (0..members).collect();
        let mut make = || {
            let mut coefficient = || Fe::sample(&mut || rng.next_u64());
            share(&secret, threshold as usize, &points, &mut coefficient)
        };
        let mut add = |operation, target: f64, call: &mut dyn FnMut()| {
            let target_us = (members <= TARGETED).then_some(target);
            rows.push(row((operation, members, threshold), target_us, call));
        };
        add("share", 100.0, &mut || drop(black_box(make())));
        let shares = make();
        let held: Vec<&Share> = shares.iter().take(threshold as usize).collect();
        let points = &points[..threshold as usize];
        let lagrange = Lagrange::at_zero(points).context("the bench's own points")?;
        ensure!(
            lagrange.secret(&held) == Some(secret),
            "shares give another secret"
        );
        add("restore the first", 30.0, &mut || {
            let lagrange = Lagrange::at_zero(black_box(points));
            black_box(lagrange.and_then(|lagrange| lagrange.secret(black_box(&held))));
        });
        add("restore a further one", 30.0, &mut || {
            black_box(lagrange.secret(black_box(&held)));
        });
    }
    Ok(rows)
}

fn row(
    (operation, members, threshold): (&'static str, u32, u32),
    target_us: Option<f64>,
    call: &mut dyn FnMut(),
) -> Row {
    let mut times = Vec::new();
    sample(&mut times, 20, Duration::from_millis(50), call);
    times.sort_by(f64::total_cmp);
    let time = |share| quantile(&times, share) * 1e3;
    Row {
        operation,
        members,
        threshold,
        median_us: time(0.5),
        quartiles_us: [time(0.25), time(0.75)],
        target_us,
        samples: times.len(),
    }
}
