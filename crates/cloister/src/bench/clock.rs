//! The benches' clock, and what they make of its times.

use std::fs;
use std::time::{Duration, Instant};

/// Wall time since its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "a bench measures wall time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Sorted times of single calls in milliseconds, after a warm-up, for about `budget`.
pub(super) fn repeat(budget: Duration, call: &mut dyn FnMut()) -> Vec<f64> {
    for _ in 0..3 {
        call();
    }
    let watch = Stopwatch::start();
    let mut times = Vec::new();
    while times.len() < 5 || watch.elapsed() < budget {
        let one = Stopwatch::start();
        call();
        times.push(one.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// The value below which `share` of the sorted values lie, without interpolation.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Processor time of this thread so far, where the system tells; in steps of a few milliseconds.
pub(super) fn thread_cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

/// Largest resident memory of the process, where the system tells.
pub(super) fn peak_memory_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
