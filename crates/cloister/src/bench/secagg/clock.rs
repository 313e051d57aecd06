//! CPU time: what other programs on the machine disturb less than wall time.

use std::time::Duration;
use std::{fs, thread};

use crate::bench::clock::Stopwatch;

/// Measures the CPU time of the calling thread; wall time where the system does not tell.
pub(super) struct CpuWatch {
    wall: Stopwatch,
    cpu: Option<f64>,
}

impl CpuWatch {
    pub(super) fn start() -> Self {
        let cpu = thread_seconds();
        Self {
            wall: Stopwatch::start(),
            cpu,
        }
    }

    /// Seconds since its making.
    pub(super) fn seconds(&self) -> f64 {
        let wall = self.wall.elapsed().as_secs_f64();
        match (self.cpu, thread_seconds()) {
            (Some(before), Some(now)) => now - before,
            _ => wall,
        }
    }
}

/// What the watch shows.
pub(super) fn kind() -> &'static str {
    match thread_seconds() {
        Some(_) => "cpu",
        None => "wall",
    }
}

fn thread_seconds() -> Option<f64> {
    // The kernel brings its figure up to date when a thread gives way.
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds as f64 * 1e-9)
}

/// CPU seconds of all threads of the process, to a hundredth.
pub(super) fn process_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold blanks; fields are counted from behind it, hundredths of seconds in user and system
    // mode are the 14th and the 15th.
    let (_, rest) = text.rsplit_once(')')?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks.filter_map(|field| field.parse().ok()).collect();
    Some(ticks.iter().sum::<f64>() / 100.0)
}

/// Batches are measured so often at least.
const LEAST: usize = 3;

/// Adds milliseconds of a call, from batches of `calls`, for about `budget`, after one batch for warmth.
pub(super) fn sample(times: &mut Vec<f64>, calls: usize, budget: Duration, call: &mut dyn FnMut()) {
    let mut batch = || {
        let watch = CpuWatch::start();
        (0..calls).for_each(|_| call());
        watch.seconds() * 1e3 / calls as f64
    };
    batch();
    let (mut spent, mut batches) = (0.0, 0);
    while batches < LEAST || spent < budget.as_secs_f64() * 1e3 {
        let time = batch();
        times.push(time);
        batches += 1;
        // A clock that stands still must not keep it here for ever.
        spent += (time * calls as f64).max(0.01);
    }
}
