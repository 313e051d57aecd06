//! `cloister bench privacy`: the time of questions to the accountants.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use cloister_privacy::accounting::{Accountant, Odometer, Question, epsilon, noise_multiplier};
use cloister_privacy::{Event, Neighbouring, PrivacyError};
use serde::Serialize;

use super::clock::{quantile, repeat};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    question: &'static str,
    /// Noise multiplier, sampling rate, steps and delta; for a calibration the first is epsilon.
    case: String,
    /// The answer: epsilon, or a noise multiplier.
    answer: f64,
    median_ms: f64,
    /// Middle half of the repeats.
    quartiles_ms: [f64; 2],
    /// What it should take at most, on a quiet machine.
    target_ms: f64,
    repeats: usize,
}

/// Noise multiplier, sampling rate, steps, delta.
type Case = (f64, f64, u64, f64);

const DELTA: f64 = 1e-5;
/// The MNIST run of 60 epochs, the same with fewer and with more steps, little noise, and rare sampling.
const CASES: [Case; 5] = [
    (1.0, 0.01, 1000, DELTA),
    (1.0, 0.01, 10_000, DELTA),
    (1.1, 256.0 / 60_000.0, 14_040, DELTA),
    (0.6, 0.01, 1000, DELTA),
    (0.7, 0.001, 20_000, 1e-6),
];
/// Epsilon, sampling rate, steps, delta.
const CALIBRATIONS: [Case; 3] = [
    (1.0, 0.01, 10_000, DELTA),
    (3.0, 256.0 / 60_000.0, 14_040, DELTA),
    (2.0, 1.0, 100, 1e-6),
];
const ROUNDS: u64 = 1000;

/// Asks everything; `quick` in a tenth of the time.
pub(crate) fn measure(quick: bool) -> Result<Vec<Row>> {
    let budget = Duration::from_millis(if quick { 50 } else { 500 });
    let plain = |case: Case| Question::new(Neighbouring::AddRemove, case.3);
    let fixed = |case: Case| Question {
        step: Some(1e-4),
        ..plain(case)
    };
    let renyi = |case: Case| Question {
        accountant: Some(Accountant::Rdp),
        ..plain(case)
    };
    let mut rows = Vec::new();
    let mut add = |question, case: Case, target_ms, ask: &dyn Fn() -> Result<f64, PrivacyError>| {
        rows.push(row(budget, question, words(case), target_ms, ask)?);
        Ok::<(), PrivacyError>(())
    };
    let gaussian = (1.0, 1.0, 20, DELTA);
    add("closed form", gaussian, 0.01, &|| {
        ask(gaussian, &plain(gaussian))
    })?;
    for case in CASES {
        add("error 1e-3", case, 5.0, &|| ask(case, &plain(case)))?;
        add("step 1e-4", case, 80.0, &|| ask(case, &fixed(case)))?;
        add("rdp", case, 5.0, &|| ask(case, &renyi(case)))?;
    }
    for case in CALIBRATIONS {
        add("calibration", case, 50.0, &|| {
            noise_multiplier(case.0, &plain(case), &|sigma| {
                event((sigma, case.1, case.2, case.3))
            })
        })?;
    }
    let run = (1.0, 0.01, ROUNDS, DELTA);
    add("odometer, all rounds", run, 1000.0, &|| {
        let mut odometer = Odometer::new(Neighbouring::AddRemove, run.3)?;
        let mut last = 0.0;
        for _ in 0..ROUNDS {
            odometer.spend(&event((run.0, run.1, 1, run.3)), 1)?;
            last = black_box(odometer.epsilon()?);
        }
        Ok(last)
    })?;
    Ok(rows)
}

fn words((first, rate, steps, delta): Case) -> String {
    format!("{first} {rate:.6} {steps} {delta:e}")
}

fn event((noise_multiplier, sampling_rate, count, _): Case) -> Event {
    Event::Repeated {
        event: Box::new(Event::PoissonGaussian {
            noise_multiplier,
            sampling_rate,
        }),
        count,
    }
}

fn ask(case: Case, question: &Question) -> Result<f64, PrivacyError> {
    Ok(epsilon(&event(case), question)?.epsilon)
}

fn row(
    budget: Duration,
    question: &'static str,
    case: String,
    target_ms: f64,
    ask: &dyn Fn() -> Result<f64, PrivacyError>,
) -> Result<Row, PrivacyError> {
    let answer = ask()?;
    let times = repeat(budget, &mut || {
        black_box(ask().is_ok());
    });
    Ok(Row {
        question,
        case,
        answer,
        median_ms: quantile(&times, 0.5),
        quartiles_ms: [quantile(&times, 0.25), quantile(&times, 0.75)],
        target_ms,
        repeats: times.len(),
    })
}
