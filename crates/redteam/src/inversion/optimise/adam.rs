//! Adam on the signs of the gradient, with the step decay of Inverting Gradients.

use serde::{Deserialize, Serialize};

use super::{Evaluate, Outcome, Track};
use crate::inversion::error::InversionError;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Adam (Kingma and Ba 2015) as Geiping et al. 2020 use it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// Step length, in units of half the range of each input.
    pub rate: f32,
    /// Whether it sees only the signs of the gradient.
    pub signed: bool,
    /// Whether the step length falls to a tenth at T/2.667, T/1.6 and T/1.142 of T steps.
    pub decay: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            rate: 0.1,
            signed: true,
            decay: true,
        }
    }
}

impl Adam {
    pub(in crate::inversion) fn check(&self) -> Result<(), InversionError> {
        if self.rate > 0.0 && self.rate.is_finite() {
            return Ok(());
        }
        Err(InversionError::Parameter {
            what: "rate",
            reason: format!("must be above 0, got {}", self.rate),
        })
    }

    fn rate_at(&self, iteration: u32, iterations: u32) -> f32 {
        if !self.decay {
            return self.rate;
        }
        let passed = [2.667, 1.6, 1.142]
            .iter()
            .filter(|&&share| f64::from(iteration) >= (f64::from(iterations) / share).floor())
            .count();
        self.rate * [1.0, 0.1, 0.01, 0.001][passed]
    }

    /// Minimises from `at`. `scale` is the unit of each variable; `project` puts variables back where they may be.
    pub(in crate::inversion) fn minimise(
        &self,
        mut at: Vec<f32>,
        scale: &[f32],
        iterations: u32,
        evaluate: &mut Evaluate<'_>,
        project: &dyn Fn(&mut [f32]),
    ) -> Outcome {
        let mut track = Track::new(&at, iterations);
        let mut gradient = vec![0.0; at.len()];
        let (mut first, mut second) = (vec![0.0_f32; at.len()], vec![0.0_f32; at.len()]);
        let (mut power1, mut power2) = (1.0_f64, 1.0_f64);
        for iteration in 0..iterations {
            let objective = evaluate(&at, &mut gradient);
            track.see(iteration, &at, objective);
            if !objective.is_finite() {
                break;
            }
            power1 *= f64::from(BETA1);
            power2 *= f64::from(BETA2);
            let rate = f64::from(self.rate_at(iteration, iterations)) / (1.0 - power1);
            let root = (1.0 / (1.0 - power2)).sqrt() as f32;
            for (index, x) in at.iter_mut().enumerate() {
                let mut g = gradient[index];
                if self.signed {
                    // As torch.sign: 0 stays 0.
                    g = f32::from(i8::from(g > 0.0) - i8::from(g < 0.0));
                }
                first[index] += (1.0 - BETA1) * (g - first[index]);
                second[index] += (1.0 - BETA2) * (g * g - second[index]);
                let step = first[index] / (second[index].sqrt() * root + EPSILON);
                *x -= rate as f32 * scale[index] * step;
            }
            project(&mut at);
        }
        track.outcome
    }
}
