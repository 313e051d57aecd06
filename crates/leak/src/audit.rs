//! What canaries say about a run's epsilon, beside its claim.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cloister_config::Experiment;
use cloister_data::TrainTest;
use cloister_privacy::{Mechanism, Unit};
use cloister_redteam::audit::canary::{self, Mislabelled};
use cloister_redteam::audit::one_shot::{self, Null};
use cloister_redteam::audit::{AuditError, Guesses};
use cloister_redteam::membership::{Query, Signals};
use cloister_report::record::leakage::AuditRow;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::clock::Stopwatch;
use crate::derive::{bare, with_settings};
use crate::error::LeakError;
use crate::subject::Subject;

/// Confidence of a lower bound.
const CONFIDENCE: f64 = 0.95;
/// Delta of the bounds of a run that promises nothing.
const DELTA: f64 = 1e-5;

/// How an audit is made.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPlan {
    /// Canaries, each in the run by a coin.
    pub canaries: u32,
    /// Share of them about which a guess is made, half of it on each side.
    pub guesses: f64,
    /// Seed of coins and directions.
    pub seed: u64,
}

/// What canaries scored, and which were in.
struct Scored {
    scores: Vec<f64>,
    inside: Vec<bool>,
    /// The estimate of Andrew et al., where canaries are clients.
    estimate: Option<f64>,
}

/// Runs a twin of `experiment` with canaries in it, in `folder`, and bounds its epsilon from below.
///
/// Canaries are clients that send a random direction of the clipping norm, where the promise is about clients; they are
/// examples with a wrong label where it is about examples, or where nothing is promised. Their data and coins are this
/// audit's own, so the twin's model is not the run's.
///
/// # Errors
/// [`LeakError`] if the twin cannot be run, or too few guesses are asked for.
pub fn audit(
    experiment: &Experiment,
    plan: &AuditPlan,
    folder: &Path,
    threads: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<AuditRow>, LeakError> {
    let watch = Stopwatch::start();
    let guesses = (f64::from(plan.canaries) * plan.guesses / 2.0).round() as usize;
    if guesses == 0 || !(0.0..=1.0).contains(&plan.guesses) {
        return Err(LeakError::Request(format!(
            "an audit with {} canaries and a share of {} guesses makes no guess",
            plan.canaries, plan.guesses
        )));
    }
    let by_client = experiment
        .privacy
        .as_ref()
        .is_some_and(|privacy| privacy.mechanism.unit() == Unit::Client);
    let (twin, scored) = match by_client {
        true => canary_clients(experiment, plan, folder, threads, stop)?,
        false => canary_examples(experiment, plan, folder, threads, stop)?,
    };
    let claim = twin.promise();
    let delta = claim.map_or(DELTA, |(_, delta)| delta);
    let counted = Guesses::of(&scored.scores, &scored.inside, guesses, guesses).map_err(failed)?;
    let base = AuditRow {
        unit: match by_client {
            true => "client",
            false => "example",
        }
        .to_owned(),
        canaries: plan.canaries,
        guesses: counted.guesses() as u32,
        correct: counted.correct() as u32,
        confidence: CONFIDENCE,
        claim: claim.map(|(epsilon, _)| epsilon),
        delta,
        passed: true,
        seed: plan.seed,
        ..AuditRow::default()
    };
    let holds = |bound: f64| claim.is_none_or(|(epsilon, _)| bound <= epsilon);
    let bound = counted.lower_bound(delta, CONFIDENCE).map_err(failed)?;
    let mut rows = vec![AuditRow {
        method: "one run (Steinke et al. 2023)".to_owned(),
        lower_bound: Some(bound),
        passed: holds(bound),
        ..base.clone()
    }];
    if is_gaussian(experiment) {
        let bound = counted
            .lower_bound_gaussian(delta, CONFIDENCE)
            .map_err(failed)?;
        rows.push(AuditRow {
            method: "one run, Gaussian trade-off (Mahloujifar et al. 2025)".to_owned(),
            lower_bound: Some(bound),
            passed: holds(bound),
            ..base.clone()
        });
    }
    if let Some(estimate) = scored.estimate {
        rows.push(AuditRow {
            method: "one shot (Andrew et al. 2024)".to_owned(),
            estimate: Some(estimate),
            note: Some("an estimate, which bounds nothing".to_owned()),
            ..base
        });
    }
    let seconds = watch.seconds();
    for row in &mut rows {
        row.seconds = seconds;
        if row.note.is_none() && row.lower_bound == Some(0.0) {
            row.note =
                Some("these canaries show nothing, which is no evidence of privacy".to_owned());
        }
    }
    Ok(rows)
}

fn failed(error: AuditError) -> LeakError {
    LeakError::attack("audit", error)
}

/// Whether each round releases a sum over all clients with plain Gaussian noise, whose composition is a Gaussian trade-off.
fn is_gaussian(experiment: &Experiment) -> bool {
    let plain = |mechanism| mechanism == Mechanism::CentralGaussian;
    let privacy = experiment.privacy.as_ref();
    experiment.federation.fraction == 1.0
        && privacy
            .is_some_and(|privacy| plain(privacy.mechanism) && privacy.adaptive_clip.is_none())
}

fn canary_clients(
    experiment: &Experiment,
    plan: &AuditPlan,
    folder: &Path,
    threads: usize,
    stop: &Arc<AtomicBool>,
) -> Result<(Subject, Scored), LeakError> {
    let twin = with_settings(
        &bare(experiment),
        &[
            "attack.kind=canary".to_owned(),
            "attack.beside=true".to_owned(),
            format!("attack.clients={}", plan.canaries),
            format!("attack.seed={}", plan.seed),
        ],
    )?;
    let subject = Subject::simulate(&twin, None, folder, threads, stop)?;
    let before = subject.federation().initial_parameters();
    let after = subject.final_model()?;
    let inside = canary::coins(plan.seed, plan.canaries);
    // The steps of all rounds add up to the way from the first model to the last.
    let rounds = [(&before[..], &after[..])];
    let scores = canary::scores(plan.seed, plan.canaries, &rounds).map_err(failed)?;
    let step: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let cosines = one_shot::cosines(plan.seed, plan.canaries, &step);
    let seen: Vec<f64> = cosines
        .iter()
        .zip(&inside)
        .filter_map(|(cosine, inside)| inside.then_some(*cosine))
        .collect();
    let null = Null::Sphere {
        dimension: step.len(),
    };
    let delta = twin.privacy.as_ref().map_or(DELTA, |privacy| privacy.delta);
    let estimate = one_shot::estimate(&seen, null, delta);
    let estimate = estimate.ok().map(|estimate| estimate.epsilon);
    Ok((
        subject,
        Scored {
            scores,
            inside,
            estimate,
        },
    ))
}

fn canary_examples(
    experiment: &Experiment,
    plan: &AuditPlan,
    folder: &Path,
    threads: usize,
    stop: &Arc<AtomicBool>,
) -> Result<(Subject, Scored), LeakError> {
    let twin = bare(experiment);
    let mut data = cloister_data::load(&twin.data, twin.seed)?;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let canaries = Mislabelled::draw(&data.train, plan.canaries as usize, &mut rng);
    let planted = canaries.plant(&data.train)?;
    let mut kept: Vec<u32> = (0..planted.len() as u32).collect();
    canaries.keep(&mut kept);
    data.train = planted.subset(&kept)?;
    let data: Arc<TrainTest> = Arc::new(data);
    let subject = Subject::simulate(&twin, Some(data), folder, threads, stop)?;
    let asked = planted.subset(&canaries.rows)?;
    let before = subject.federation().initial_parameters();
    let after = subject.final_model()?;
    let log_probability = |parameters: &[f32]| {
        Signals::of(subject.model(), parameters, &asked, Query::Plain, threads)
            .map(|signals| signals.log_probability)
            .map_err(|error| LeakError::attack("audit", error))
    };
    let (first, last) = (log_probability(&before)?, log_probability(&after)?);
    let scores = first.iter().zip(&last).map(|(first, last)| last - first);
    let scores = scores.collect();
    Ok((
        subject,
        Scored {
            scores,
            inside: canaries.inside,
            estimate: None,
        },
    ))
}
