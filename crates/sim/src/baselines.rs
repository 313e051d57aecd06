//! The same model without a federation: on pooled data, and by each client alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cloister_config::Baseline as Kind;
use cloister_nn::metrics::Measures;
use cloister_protocol::{Learner, LearnerError, Purpose, TrainPlan};
use cloister_report::record::{Baseline, BaselinePoint, BaselineRange, ClientRow, RunWriter};

use crate::error::SimError;
use crate::event::SimEvent;
use crate::federation::Federation;
use crate::ordered::for_each_ordered;
use crate::results;

/// Clients trained alone at most: beyond, every k-th is taken, and [`BaselineRange::count`] says how many.
const MOST_LOCAL: usize = 100;
/// Points of a local learning curve at most: each is an evaluation a client.
const MOST_LOCAL_POINTS: u32 = 10;

/// Trains the baselines that the experiment asks for. What each client reaches alone goes into its row of `clients`.
pub(crate) fn train_all(
    federation: &Federation,
    threads: usize,
    writer: &mut RunWriter,
    clients: &mut [ClientRow],
    observe: &mut dyn FnMut(&SimEvent<'_>),
) -> Result<BTreeMap<String, Baseline>, SimError> {
    let wanted = &federation.experiment.baselines;
    let mut all = BTreeMap::new();
    if wanted.contains(&Kind::Centralised) {
        observe(&SimEvent::BaselineStarted {
            name: "centralised",
        });
        let points = centralised(federation, threads)?;
        writer.baseline("centralised", &points)?;
        all.insert("centralised".to_owned(), ending(&points, None));
    }
    if wanted.contains(&Kind::Local) {
        observe(&SimEvent::BaselineStarted { name: "local" });
        let curves = local(federation, threads)?;
        for (client, curve) in &curves {
            if let (Some(row), Some(last)) = (clients.get_mut(*client), curve.last()) {
                row.alone_accuracy = last.1.accuracy();
                row.alone_auroc = last.1.auroc();
                row.alone_r2 = last.1.r2();
            }
        }
        let points = over_clients(&curves);
        writer.baseline("local", &points)?;
        all.insert(
            "local".to_owned(),
            ending(&points, Some(curves.len() as u32)),
        );
    }
    Ok(all)
}

fn ending(points: &[BaselinePoint], clients: Option<u32>) -> Baseline {
    let last = points.last().cloned().unwrap_or_default();
    Baseline {
        accuracy: last.accuracy,
        loss: last.loss,
        auroc: last.auroc,
        r2: last.r2,
        clients: clients.map(|count| BaselineRange {
            count,
            accuracy_min: last.accuracy_min,
            accuracy_max: last.accuracy_max,
            auroc_min: last.auroc_min,
            auroc_max: last.auroc_max,
            r2_min: last.r2_min,
            r2_max: last.r2_max,
        }),
    }
}

/// Evaluations along a training, by the round of the federation that has made as many passes.
type Curve = Vec<(u32, Measures)>;

/// Passes over the data that a client expects to make in the whole run, at least one: what a baseline gets too.
fn passes(federation: &Federation) -> u32 {
    let settings = &federation.experiment.federation;
    let epochs = f64::from(federation.experiment.train.epochs);
    let passes = f64::from(settings.rounds) * settings.fraction * epochs;
    (passes.round() as u32).max(1)
}

/// The round by whose end a federation has made `pass` of `passes` passes.
fn round_of(pass: u32, passes: u32, rounds: u32) -> u32 {
    let round = (u64::from(pass) * u64::from(rounds)).div_ceil(u64::from(passes));
    u32::try_from(round)
        .unwrap_or(rounds)
        .clamp(1, rounds.max(1))
}

/// Trains on `rows` one pass at a time, with the step length of the round that the pass belongs to, and judges every
/// `stride`-th model and the last. `stream` keeps the random streams of different trainings apart.
fn train(
    federation: &Federation,
    rows: &[u32],
    stream: u32,
    stride: u32,
    threads: usize,
) -> Result<Curve, LearnerError> {
    let passes = passes(federation);
    let rounds = federation.experiment.federation.rounds;
    let mut parameters = federation.initial_parameters();
    let mut curve = Curve::new();
    for pass in 1..=passes {
        let round = round_of(pass, passes, rounds);
        let plan = TrainPlan {
            epochs: 1,
            max_steps: 0,
            proximal_mu: 0.0,
            ..federation.experiment.train.plan(round)
        };
        let mut rng = federation.streams.stream(Purpose::Baseline, pass, stream);
        let update =
            federation.with_learner(rows, |learner| learner.train(&parameters, &plan, &mut rng))?;
        for (parameter, change) in parameters.iter_mut().zip(&update.values) {
            *parameter += change;
        }
        if pass % stride == 0 || pass == passes {
            curve.push((round, results::evaluate(federation, &parameters, threads)));
        }
    }
    Ok(curve)
}

fn centralised(federation: &Federation, threads: usize) -> Result<Vec<BaselinePoint>, SimError> {
    let clients = &federation.partition.clients;
    let mut rows: Vec<u32> = clients
        .iter()
        .flat_map(|share| share.rows.iter().copied())
        .collect();
    rows.sort_unstable();
    // A point a round at most: judging costs as much as it does for the federation.
    let rounds = federation.experiment.federation.rounds.max(1);
    let stride = (passes(federation) / rounds).max(1);
    let curve = train(federation, &rows, u32::MAX, stride, threads).map_err(|error| {
        SimError::Baseline {
            name: "centralised",
            reason: error.to_string(),
        }
    })?;
    let point = |(round, measures): &(u32, Measures)| BaselinePoint {
        round: *round,
        loss: Some(measures.loss()),
        accuracy: measures.accuracy(),
        auroc: measures.auroc(),
        r2: measures.r2(),
        ..BaselinePoint::default()
    };
    Ok(curve.iter().map(point).collect())
}

/// The curve of each client that was trained alone, by its place.
fn local(federation: &Federation, threads: usize) -> Result<Vec<(usize, Curve)>, SimError> {
    let every = federation.clients().div_ceil(MOST_LOCAL).max(1);
    let chosen: Vec<usize> = (0..federation.clients()).step_by(every).collect();
    let stride = passes(federation).div_ceil(MOST_LOCAL_POINTS).max(1);
    let mut curves = Vec::with_capacity(chosen.len());
    let mut failure = None;
    for_each_ordered(
        &chosen,
        threads,
        |place| {
            let rows = &federation.partition.clients[*place].rows;
            train(federation, rows, *place as u32, stride, 1)
        },
        |place, result| match result {
            Ok(curve) => {
                curves.push((*place, curve));
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(SimError::Baseline {
                    name: "local",
                    reason: format!(
                        "client {}: {error}",
                        federation.partition.clients[*place].name
                    ),
                });
                ControlFlow::Break(())
            }
        },
    );
    failure.map_or(Ok(curves), Err)
}

/// Means and ranges over the clients, point by point: all curves have the same rounds.
fn over_clients(curves: &[(usize, Curve)]) -> Vec<BaselinePoint> {
    let Some((_, first)) = curves.first() else {
        return Vec::new();
    };
    let rounds = first.iter().map(|(round, _)| *round).enumerate();
    rounds
        .map(|(place, round)| {
            let at: Vec<&Measures> = curves
                .iter()
                .filter_map(|(_, curve)| curve.get(place).map(|(_, measures)| measures))
                .collect();
            let accuracy = Spread::of(at.iter().map(|e| e.accuracy()));
            let auroc = Spread::of(at.iter().map(|e| e.auroc()));
            let r2 = Spread::of(at.iter().map(|e| e.r2()));
            BaselinePoint {
                round,
                loss: Spread::of(at.iter().map(|e| Some(e.loss()))).map(|s| s.mean),
                accuracy: accuracy.map(|s| s.mean),
                auroc: auroc.map(|s| s.mean),
                accuracy_min: accuracy.map(|s| s.min),
                accuracy_max: accuracy.map(|s| s.max),
                auroc_min: auroc.map(|s| s.min),
                auroc_max: auroc.map(|s| s.max),
                r2: r2.map(|s| s.mean),
                r2_min: r2.map(|s| s.min),
                r2_max: r2.map(|s| s.max),
            }
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Spread {
    mean: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `None` unless every value is there: a mean over some clients would be compared with one over all.
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.collect::<Option<_>>()?;
        let count = values.len() as f64;
        (!values.is_empty()).then(|| Self {
            mean: values.iter().sum::<f64>() / count,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}
