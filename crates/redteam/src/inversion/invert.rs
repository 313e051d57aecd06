//! From an observation to inputs and labels.

use cloister_nn::Model;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::attack::{Attack, Method, Noise, Start};
use super::closed_form::{self, FirstLinear};
use super::error::InversionError;
use super::labels::{self, Labels};
use super::objective::Target;
use super::observation::{Evidence, Observation};
use super::optimise::Outcome;
use super::problem::{Problem, probabilities};

/// Random inputs on which an attacker measures the mean prediction.
const DUMMIES: usize = 64;

/// What an attack made of an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// Inputs in the model's space, `[examples, features]`, in no particular order; [`super::InputSpace::to_pixels`] makes
    /// pixels of them.
    pub inputs: Vec<f32>,
    /// A label an input; rising where they were found before the inputs.
    pub labels: Vec<u32>,
    /// The kept start's objective; 0 of a closed form, which has none.
    pub objective: f64,
    /// Iteration and objective of the kept start.
    pub curve: Vec<(u32, f64)>,
    /// Which start was kept: that with the lowest objective.
    pub restart: u32,
    /// The objective of each start; infinite if it broke down.
    pub objectives: Vec<f64>,
    /// Inputs that were found at all; the rest are blank. Less than `examples` for a closed form only.
    pub found: usize,
}

/// Attacks `observation`. All randomness comes from `rng`; the restarts are shared among `threads`, whose number changes no bit
/// of the result.
///
/// # Errors
/// When the attack's settings are out of range or do not fit the model.
pub fn invert(
    model: &Model,
    observation: &Observation,
    attack: &Attack,
    threads: usize,
    rng: &mut impl Rng,
) -> Result<Reconstruction, InversionError> {
    observation.check(model)?;
    attack.check()?;
    let labels = match attack.labels {
        Labels::Joint => None,
        _ => Some(find_labels(model, observation, &attack.labels, rng)?),
    };
    if let Method::ClosedForm { tolerance } = attack.method {
        let labels = match labels {
            Some(labels) => labels,
            None => find_labels(model, observation, &Labels::BiasCorrected, rng)?,
        };
        return closed(model, observation, tolerance, labels);
    }
    let problem = Problem {
        model,
        observation,
        attack,
        target: Target::new(
            model.layout(),
            observation,
            attack.distance,
            &attack.adaptation,
        )?,
        labels,
    };
    let several = matches!(observation.evidence, Evidence::Update { .. });
    if several && attack.noise == Noise::Joint && model.noise_len() > 0 {
        return Err(InversionError::Parameter {
            what: "noise",
            reason: "can be optimised for one local step only".to_owned(),
        });
    }
    let seeds: Vec<u64> = (0..attack.restarts).map(|_| rng.random()).collect();
    let outcomes = starts(&problem, &seeds, threads);
    let objectives: Vec<f64> = outcomes.iter().map(|outcome| outcome.objective).collect();
    let kept = outcomes.into_iter().enumerate();
    let best = kept.min_by(|a, b| a.1.objective.total_cmp(&b.1.objective));
    let Some((restart, outcome)) = best else {
        return Err(InversionError::NothingToMatch);
    };
    let Outcome {
        best: mut inputs,
        objective,
        curve,
    } = outcome;
    let mut logits = inputs.split_off(problem.inputs());
    // Guessed noise, which is of no further use, may follow.
    logits.truncate(observation.examples * model.outputs());
    Ok(Reconstruction {
        labels: problem
            .labels
            .unwrap_or_else(|| likeliest(&logits, model.outputs())),
        inputs,
        objective,
        curve,
        restart: restart as u32,
        objectives,
        found: observation.examples,
    })
}

/// The labels, with the mean prediction where it is needed.
fn find_labels(
    model: &Model,
    observation: &Observation,
    method: &Labels,
    rng: &mut impl Rng,
) -> Result<Vec<u32>, InversionError> {
    let predictions = match method {
        Labels::Predictions => Some(predictions(model, observation, rng)),
        _ => None,
    };
    labels::recover(model, observation, method, predictions.as_deref())
}

/// Mean predictions on random inputs, at the global parameters and, after several steps, at the trained ones: the mean along
/// the way.
fn predictions(model: &Model, observation: &Observation, rng: &mut impl Rng) -> Vec<f64> {
    let mut dummies = vec![0.0; DUMMIES * observation.space.features()];
    draw(Start::Uniform, observation, &mut dummies, rng);
    let mut workspace = model.workspace(DUMMIES);
    let mut at = |parameters: &[f32]| {
        workspace.draw_noise(rng, DUMMIES);
        let logits = model.logits(parameters, &dummies, DUMMIES, &mut workspace);
        labels::mean_predictions(logits, model.outputs())
    };
    let before = at(&observation.parameters);
    let Evidence::Update { values, .. } = &observation.evidence else {
        return before;
    };
    let trained: Vec<f32> = (observation.parameters.iter().zip(values))
        .map(|(start, update)| start + update)
        .collect();
    let after = at(&trained);
    let pairs = before.iter().zip(&after);
    pairs
        .map(|(before, after)| f64::midpoint(*before, *after))
        .collect()
}

fn closed(
    model: &Model,
    observation: &Observation,
    tolerance: f32,
    labels: Vec<u32>,
) -> Result<Reconstruction, InversionError> {
    let (space, n) = (&observation.space, observation.examples);
    let attack = "the closed form";
    let first = FirstLinear::needed(model.layout(), space.features(), attack)?;
    let evidence = observation.evidence();
    let (weight, bias) = (&evidence[first.weight], &evidence[first.bias]);
    let (inputs, found) = if n == 1 {
        let input = closed_form::single(weight, bias).ok_or(InversionError::NothingToMatch)?;
        (input, 1)
    } else {
        let candidates = closed_form::batch(weight, bias, space, tolerance)?;
        closed_form::most_credible(&candidates, n, space)
    };
    Ok(Reconstruction {
        inputs,
        labels,
        objective: 0.0,
        curve: Vec::new(),
        restart: 0,
        objectives: vec![0.0],
        found,
    })
}

/// The outcomes of all starts, in order.
fn starts(problem: &Problem<'_>, seeds: &[u64], threads: usize) -> Vec<Outcome> {
    let threads = threads.clamp(1, seeds.len().max(1));
    if threads == 1 {
        return seeds.iter().map(|&seed| one_start(problem, seed)).collect();
    }
    let mut outcomes: Vec<Option<Outcome>> = vec![None; seeds.len()];
    std::thread::scope(|scope| {
        let share = seeds.len().div_ceil(threads);
        for (seeds, outcomes) in seeds.chunks(share).zip(outcomes.chunks_mut(share)) {
            scope.spawn(move || {
                for (&seed, outcome) in seeds.iter().zip(outcomes) {
                    *outcome = Some(one_start(problem, seed));
                }
            });
        }
    });
    outcomes.into_iter().flatten().collect()
}

fn one_start(problem: &Problem<'_>, seed: u64) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (attack, observation) = (problem.attack, problem.observation);
    let (space, inputs) = (&observation.space, problem.inputs());
    let mut start = vec![0.0; problem.variables()];
    let (guess, logits) = start.split_at_mut(inputs);
    draw(attack.start, observation, guess, &mut rng);
    // So does guessed noise, whose distribution that is.
    logits.fill_with(|| StandardNormal.sample(&mut rng));
    let project = |at: &mut [f32]| {
        if attack.boxed {
            space.clamp(&mut at[..inputs]);
        }
    };
    project(&mut start);
    let mut scratch = problem.scratch(rng.random());
    let mut evaluate =
        |at: &[f32], gradient: &mut [f32]| problem.evaluate(at, gradient, &mut scratch);
    match &attack.method {
        Method::Adam(adam) => {
            let half = |index: usize| {
                let [low, high] = space.bound(index);
                if index < inputs {
                    (high - low) / 2.0
                } else {
                    1.0
                }
            };
            let scale: Vec<f32> = (0..problem.variables()).map(half).collect();
            adam.minimise(start, &scale, attack.iterations, &mut evaluate, &project)
        }
        Method::Lbfgs(lbfgs) => lbfgs.minimise(start, attack.iterations, &mut evaluate, &project),
        // Has been answered before.
        Method::ClosedForm { .. } => Outcome {
            best: start,
            objective: f64::INFINITY,
            curve: Vec::new(),
        },
    }
}

fn draw(start: Start, observation: &Observation, inputs: &mut [f32], rng: &mut impl Rng) {
    for (index, value) in inputs.iter_mut().enumerate() {
        let [low, high] = observation.space.bound(index);
        let (middle, half) = (f32::midpoint(low, high), (high - low) / 2.0);
        *value = match start {
            Start::Normal => {
                let normal: f32 = StandardNormal.sample(rng);
                middle + half * normal
            }
            Start::RawNormal => StandardNormal.sample(rng),
            Start::Uniform => low + (high - low) * rng.random::<f32>(),
            Start::Middle => middle,
        };
    }
}

/// The class of each row of logits.
fn likeliest(logits: &[f32], outputs: usize) -> Vec<u32> {
    let mut soft = vec![0.0; logits.len()];
    probabilities(logits, outputs, &mut soft);
    let class = |row: &[f32]| match row {
        [one] => u32::from(*one > 0.5),
        _ => {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or(0, |(class, _)| class as u32)
        }
    };
    soft.chunks_exact(outputs).map(class).collect()
}
