//! The same model without a federation: on pooled data, and by each client alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cloister_config::Baseline as Kind;
use cloister_nn::metrics::Evaluation;
use cloister_protocol::{Learner, LearnerError, Purpose, TrainPlan};
use cloister_report::record::{Baseline, BaselinePoint, RunWriter};

use crate::error::SimError;
use crate::federation::Federation;
use crate::event::SimEvent;
use crate::ordered::for_each_ordered;
use crate::results;

/// Clients trained alone at most: beyond, every k-th is taken, and the record says how many.
const MOST_LOCAL: usize = 100;

/// Trains the baselines that the experiment asks for.
pub(crate) fn train_all(
    federation: &Federation,
    threads: usize,
    writer: &mut RunWriter,
    observe: &mut dyn FnMut(&SimEvent<'_>),
) -> Result<BTreeMap<String, Baseline>, SimError> {
    let mut all = BTreeMap::new();
    for kind in &federation.experiment.baselines {
        let name = match kind {
            Kind::Centralised => "centralised",
            Kind::Local => "local",
        };
        if all.contains_key(name) {
            continue;
        }
        observe(&SimEvent::BaselineStarted { name });
        let result = match kind {
            Kind::Centralised => centralised(federation, threads, writer)?,
            Kind::Local => local(federation, threads)?,
        };
        all.insert(name.to_owned(), result);
    }
    Ok(all)
}

/// Passes over the data that a client expects to make in the whole run, at least one: what a baseline gets too.
fn passes(federation: &Federation) -> u32 {
    let settings = &federation.experiment.federation;
    let epochs = f64::from(federation.experiment.train.epochs);
    let passes = f64::from(settings.rounds) * settings.fraction * epochs;
    (passes.round() as u32).max(1)
}

/// One pass at a time, with the step length of the round at which the federation has made as many passes.
fn train_passes(
    federation: &Federation,
    rows: &[u32],
    stream: u32,
    mut after: impl FnMut(u32, &[f32]) -> Result<(), SimError>,
) -> Result<Result<Vec<f32>, LearnerError>, SimError> {
    let passes = passes(federation);
    let rounds = federation.experiment.federation.rounds;
    let mut parameters = federation.initial_parameters();
    for pass in 1..=passes {
        let round = round_of(pass, passes, rounds);
        let plan = TrainPlan {
            epochs: 1,
            max_steps: 0,
            proximal_mu: 0.0,
            ..federation.experiment.train.plan(round)
        };
        let mut rng = federation.streams.stream(Purpose::Baseline, pass, stream);
        let update = federation.with_learner(rows, |learner| {
            learner.train(&parameters, &plan, &mut rng)
        });
        match update {
            Ok(update) => {
                for (parameter, change) in parameters.iter_mut().zip(&update.values) {
                    *parameter += change;
                }
            }
            Err(error) => return Ok(Err(error)),
        }
        after(pass, &parameters)?;
    }
    Ok(Ok(parameters))
}

/// The round by whose end a federation has made `pass` of `passes` passes.
fn round_of(pass: u32, passes: u32, rounds: u32) -> u32 {
    let round = (u64::from(pass) * u64::from(rounds)).div_ceil(u64::from(passes));
    u32::try_from(round).unwrap_or(rounds).clamp(1, rounds)
}

fn centralised(
    federation: &Federation,
    threads: usize,
    writer: &mut RunWriter,
) -> Result<Baseline, SimError> {
    let mut rows: Vec<u32> = federation
        .partition
        .clients
        .iter()
        .flat_map(|share| share.rows.iter().copied())
        .collect();
    rows.sort_unstable();
    let passes = passes(federation);
    let rounds = federation.experiment.federation.rounds;
    // A point a round at most: judging costs as much as it does for the federation.
    let stride = (passes / rounds).max(1);
    let mut points = Vec::new();
    let mut last = None;
    train_passes(federation, &rows, u32::MAX, |pass, parameters| {
        if pass % stride == 0 || pass == passes {
            let evaluation = results::evaluate(federation, parameters, threads);
            points.push(BaselinePoint {
                round: round_of(pass, passes, rounds),
                loss: evaluation.loss,
                accuracy: evaluation.accuracy,
                auroc: evaluation.auroc,
            });
            last = Some(evaluation);
        }
        Ok(())
    })?
    .map_err(|error| SimError::Baseline {
        name: "centralised",
        reason: error.to_string(),
    })?;
    writer.baseline("centralised", &points)?;
    let figures = last.as_ref().map(results::metrics).unwrap_or_default();
    Ok(Baseline {
        metrics: figures,
        trained: 1,
        of: 1,
        spread: None,
    })
}

fn local(federation: &Federation, threads: usize) -> Result<Baseline, SimError> {
    let stride = federation.clients().div_ceil(MOST_LOCAL).max(1);
    let chosen: Vec<usize> = (0..federation.clients()).step_by(stride).collect();
    let mut evaluations: Vec<Evaluation> = Vec::with_capacity(chosen.len());
    let mut failure = None;
    for_each_ordered(
        &chosen,
        threads,
        |place| {
            let share = &federation.partition.clients[*place];
            let trained = train_passes(federation, &share.rows, *place as u32, |_, _| Ok(()))?
                .map_err(|error| SimError::Baseline {
                    name: "local",
                    reason: format!("client {}: {error}", share.name),
                })?;
            Ok(results::evaluate(federation, &trained, 1))
        },
        |_, result: Result<Evaluation, SimError>| match result {
            Ok(evaluation) => {
                evaluations.push(evaluation);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        },
    );
    match failure {
        Some(error) => Err(error),
        None => Ok(results::spread(&evaluations, federation.clients())),
    }
}
