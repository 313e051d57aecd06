//! Minimisers of an objective given by its value and gradient.

mod adam;
mod lbfgs;

pub use adam::Adam;
pub use lbfgs::Lbfgs;

/// Value of the objective at some variables; fills its gradient there.
pub(super) type Evaluate<'a> = dyn FnMut(&[f32], &mut [f32]) -> f64 + 'a;

/// Where an optimiser came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The variables with the lowest objective that were seen.
    pub(super) best: Vec<f32>,
    /// That objective; infinite if none was finite.
    pub(super) objective: f64,
    /// Iteration and objective, about [`POINTS`] of them, the last iteration among them.
    pub(super) curve: Vec<(u32, f64)>,
}

/// Points of a curve.
const POINTS: u32 = 100;

/// Keeps the best and the curve.
struct Track {
    outcome: Outcome,
    every: u32,
    last: u32,
}

impl Track {
    fn new(start: &[f32], iterations: u32) -> Self {
        Self {
            outcome: Outcome {
                best: start.to_vec(),
                objective: f64::INFINITY,
                curve: Vec::new(),
            },
            every: iterations.div_ceil(POINTS).max(1),
            last: iterations.saturating_sub(1),
        }
    }

    fn see(&mut self, iteration: u32, at: &[f32], objective: f64) {
        if objective < self.outcome.objective {
            self.outcome.objective = objective;
            self.outcome.best.copy_from_slice(at);
        }
        if iteration.is_multiple_of(self.every) || iteration == self.last {
            self.outcome.curve.push((iteration, objective));
        }
    }
}

#[cfg(test)]
mod tests;
