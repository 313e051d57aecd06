//! L-BFGS as PyTorch has it and DLG uses it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Evaluate, Outcome, Track};
use crate::inversion::error::InversionError;

/// Limited-memory BFGS (Nocedal 1980; two-loop recursion). The first step is min(1, 1/|gradient|_1) times `rate`, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lbfgs {
    /// Step length along the direction.
    pub rate: f32,
    /// Pairs of steps and gradient changes that are remembered.
    pub history: u32,
    /// Halve a step until the objective falls enough (Armijo); off, every step is taken, as DLG does, and some starts are
    /// lost.
    pub backtrack: bool,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self {
            rate: 1.0,
            history: 100,
            backtrack: true,
        }
    }
}

/// Share of the predicted decrease that a step must bring.
const ARMIJO: f64 = 1e-4;

/// Halvings before a start counts as stuck.
const HALVINGS: u32 = 25;

/// A remembered step `s`, with the change `y` of the gradient along it, and 1 / (s y).
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64,
}

impl Lbfgs {
    pub(in crate::inversion) fn check(&self) -> Result<(), InversionError> {
        let bad = |what, reason: String| Err(InversionError::Parameter { what, reason });
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return bad("rate", format!("must be above 0, got {}", self.rate));
        }
        if self.history == 0 || self.history > 1000 {
            let reason = format!("must be between 1 and 1000, got {}", self.history);
            return bad("history", reason);
        }
        Ok(())
    }

    /// Minimises from `start` in at most `iterations` steps; `project` puts variables back where they may be.
    pub(in crate::inversion) fn minimise(
        &self,
        start: Vec<f32>,
        iterations: u32,
        evaluate: &mut Evaluate<'_>,
        project: &dyn Fn(&mut [f32]),
    ) -> Outcome {
        let mut track = Track::new(&start, iterations);
        let mut at = start;
        let mut gradient32 = vec![0.0; at.len()];
        let mut objective = evaluate(&at, &mut gradient32);
        let mut gradient = wide(&gradient32);
        let mut pairs: VecDeque<Pair> = VecDeque::new();
        for iteration in 0..iterations {
            track.see(iteration, &at, objective);
            let steepest = gradient.iter().map(|g| g.abs()).sum::<f64>();
            if !objective.is_finite() || steepest.is_nan() || steepest <= 0.0 {
                break;
            }
            let mut direction = along(&gradient, &pairs);
            let mut slope = dot(&direction, &gradient);
            if slope.is_nan() || slope >= 0.0 {
                pairs.clear();
                direction = gradient.iter().map(|g| -g).collect();
                slope = dot(&direction, &gradient);
            }
            let mut length = f64::from(self.rate);
            if pairs.is_empty() {
                length *= (1.0 / steepest).min(1.0);
            }
            let mut tries = 0;
            let (next, value) = loop {
                let mut next = moved(&at, &direction, length);
                project(&mut next);
                let value = evaluate(&next, &mut gradient32);
                let enough = value <= objective + ARMIJO * length * slope;
                if enough || !self.backtrack || tries == HALVINGS {
                    break (next, value);
                }
                tries += 1;
                length *= 0.5;
            };
            if self.backtrack && (value.is_nan() || value >= objective) {
                // Rounding is all that is left, or the direction is a bad one: once more from the steepest descent.
                if pairs.is_empty() {
                    break;
                }
                pairs.clear();
                objective = evaluate(&at, &mut gradient32);
                gradient = wide(&gradient32);
                continue;
            }
            let new = wide(&gradient32);
            self.remember(&mut pairs, (&at, &next), (&gradient, &new));
            if next == at {
                break;
            }
            (at, objective, gradient) = (next, value, new);
        }
        track.see(track.last, &at, objective);
        track.outcome
    }

    /// Keeps a pair whose curvature is positive.
    fn remember(
        &self,
        pairs: &mut VecDeque<Pair>,
        (from, to): (&[f32], &[f32]),
        (before, after): (&[f64], &[f64]),
    ) {
        let step: Vec<f64> = (to.iter().zip(from))
            .map(|(to, from)| f64::from(*to) - f64::from(*from))
            .collect();
        let change: Vec<f64> = (after.iter().zip(before)).map(|(a, b)| a - b).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-10 * dot(&change, &change).max(f64::MIN_POSITIVE) {
            if pairs.len() == self.history as usize {
                pairs.pop_front();
            }
            pairs.push_back(Pair {
                step,
                change,
                inverse: 1.0 / curvature,
            });
        }
    }
}

/// Minus the inverse Hessian's estimate times the gradient.
fn along(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = pair.inverse * dot(&pair.step, &direction);
        add(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    if let Some(last) = pairs.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for (pair, share) in pairs.iter().zip(shares.iter().rev()) {
        let back = pair.inverse * dot(&pair.change, &direction);
        add(&mut direction, share - back, &pair.step);
    }
    direction
}

fn moved(at: &[f32], direction: &[f64], length: f64) -> Vec<f32> {
    let pairs = at.iter().zip(direction);
    pairs
        .map(|(x, d)| (f64::from(*x) + length * d) as f32)
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], share: f64, values: &[f64]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += share * value;
    }
}
