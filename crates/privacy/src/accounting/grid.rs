//! Which grid of losses, tilted by how much.

use super::Question;
use super::compose::{Kind, Layout, Obstacle};
use super::query::releases;
use crate::error::PrivacyError;
use crate::special::exp;

/// A grid as wide as this says nothing any more.
const USELESS_STEP: f64 = 1.0;
/// Widest grid of losses.
const WIDEST_STEP: f64 = 0.05;
/// Longest transform on a grid of our choice (about 80 MB), and on one that was asked for.
const MOST_POINTS: usize = 1 << 21;
const MOST_POINTS_ASKED: usize = 1 << 23;

/// A grid for an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) layout: Layout,
    /// The error that is wanted.
    pub(super) wanted: f64,
    /// Whether the step was asked for.
    pub(super) fixed: bool,
    /// Whether it had to be made wider.
    pub(super) widened: bool,
}

impl Grid {
    /// From the order that Rényi divergences find best: about the steepness of the answer to come.
    pub(super) fn new(
        parts: &[(Kind, u64)],
        question: &Question,
        order: f64,
        epsilon: f64,
        delta: f64,
    ) -> Self {
        let steps = releases(parts);
        let wanted = question.error * epsilon.clamp(1e-9, 1.0);
        // A quarter more than that saves most second attempts.
        let step = (8.0 * wanted / (1.25 * steps * order)).sqrt();
        let step = step.min(WIDEST_STEP);
        let step = question.step.unwrap_or(step);
        let tail = (1e-6 * delta / steps).min(exp(-50.0)).max(1e-280);
        Self {
            layout: Layout {
                step,
                // Within one step a tilt should not hide the losses below: where the largest loss has much mass, orders
                // are without limit.
                theta: (order - 1.0).min(0.5 / step),
                tail,
                most_lost: (1e-3 * delta / steps).max(1e-279),
                most_points: match question.step {
                    Some(_) => MOST_POINTS_ASKED,
                    None => MOST_POINTS,
                },
            },
            wanted,
            fixed: question.step.is_some(),
            widened: false,
        }
    }

    /// By how much an answer may be above the truth. Splitting a loss between the ends of its cell moves it up by at most
    /// `h^2 / 8` on average, with a variance of at most `h^2 / 4`, and by at most h in any case.
    pub(super) fn error(&self, steps: f64, steepness: f64) -> f64 {
        let step = self.layout.step;
        steps * (step * step * steepness / 8.0).min(step)
    }

    /// Makes the grid finer if an answer's error is larger than wanted, and not as asked for; says whether.
    pub(super) fn refine(&mut self, error: f64) -> bool {
        let refine =
            !self.fixed && !self.widened && error > 1.01 * self.wanted && error.is_finite();
        if refine {
            self.layout.step *= (self.wanted / error).sqrt() * 0.98;
        }
        refine
    }

    /// Tries until a grid is wide enough, and tilted little enough, for what is attempted. `None` if none is.
    pub(super) fn settle<T>(
        &mut self,
        attempt: impl Fn(&Layout) -> Result<T, Obstacle>,
    ) -> Result<Option<T>, PrivacyError> {
        while self.layout.step <= USELESS_STEP {
            match attempt(&self.layout) {
                Ok(done) => return Ok(Some(done)),
                Err(Obstacle::TooFine(factor)) if self.fixed => {
                    return Err(PrivacyError::Unsupported(format!(
                        "a step of {} is too fine for these losses: take one {factor:.1} times as wide or more",
                        self.layout.step
                    )));
                }
                Err(Obstacle::TooFine(factor)) => {
                    self.layout.step *= 1.02 * factor;
                    self.widened = true;
                }
                Err(Obstacle::Hidden) if self.layout.theta == 0.0 => return Ok(None),
                Err(Obstacle::Hidden) if self.layout.theta < 1e-3 => self.layout.theta = 0.0,
                Err(Obstacle::Hidden) => self.layout.theta *= 0.5,
                Err(Obstacle::TooLarge | Obstacle::NoPair) => return Ok(None),
            }
        }
        Ok(None)
    }
}
