//! Accountants: from what was released to epsilon at a delta.
//!
//! [`epsilon`] and [`delta`] answer for one [`Event`](crate::Event), [`noise_multiplier`] searches for the noise that fits
//! a budget, [`Odometer`] follows a run, [`TradeOff`] tells what an attacker can make of it. Gaussians without sampling
//! have closed forms (Balle and Wang, arXiv 1805.06530). Other releases are composed as privacy-loss distributions (connect-the-dots,
//! Doroshenko et al., arXiv 2207.04380), each answer an upper bound; where there is no such distribution, or it says
//! less, by Rényi divergences ([`rdp`]).
//!
//! Everything is deterministic, works on one thread and uses no floating-point function of the platform.

mod account;
mod calibrate;
mod compose;
mod gaussian;
mod grid;
mod odometer;
mod pair;
mod pmf;
mod query;
pub mod rdp;
mod tradeoff;

use crate::error::PrivacyError;
use crate::event::Neighbouring;

pub use calibrate::noise_multiplier;
pub use odometer::Odometer;
pub use query::{delta, epsilon};
pub use tradeoff::TradeOff;

/// How an epsilon was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accountant {
    /// A closed form.
    Exact,
    /// Composition of privacy-loss distributions.
    Pld,
    /// Rényi divergences.
    Rdp,
}

/// How a number relates to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It is the truth, but for rounding.
    Exact,
    /// The truth is not above it.
    Upper,
}

/// Which of the two orders of the neighbours decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The unit was there and is missing in the other.
    Remove,
    /// The unit is missing and was there in the other.
    Add,
    /// Both are the same.
    Both,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Which data sets are neighbours.
    pub neighbouring: Neighbouring,
    /// The chance, above 0 and below 1, with which the loss may exceed epsilon.
    pub delta: f64,
    /// Which accountant; `None` is the best there is. Without sampling [`Accountant::Pld`] gives the closed form too.
    pub accountant: Option<Accountant>,
    /// How far the answer may be above the true epsilon: so much, or so many times epsilon where that is below 1.
    pub error: f64,
    /// The step of the grid of privacy losses; `None` finds one for the error.
    pub step: Option<f64>,
}

impl Question {
    /// The best answer at a delta, to 0.001.
    pub fn new(neighbouring: Neighbouring, delta: f64) -> Self {
        Self {
            neighbouring,
            delta,
            accountant: None,
            error: 1e-3,
            step: None,
        }
    }

    fn check(&self) -> Result<(), PrivacyError> {
        let delta = self.delta;
        in_range(
            delta,
            "delta",
            "above 0 and below 1",
            delta > 0.0 && delta < 1.0,
        )?;
        let error = self.error;
        in_range(
            error,
            "error",
            "above 0 and at most 1",
            error > 0.0 && error <= 1.0,
        )?;
        let step = self.step.unwrap_or(1e-4);
        in_range(
            step,
            "step",
            "above 0 and at most 1",
            step > 0.0 && step <= 1.0,
        )
    }
}

/// Refuses a number that does not fit.
fn in_range(
    found: f64,
    name: &'static str,
    range: &'static str,
    fits: bool,
) -> Result<(), PrivacyError> {
    if fits {
        Ok(())
    } else {
        Err(PrivacyError::Parameter { name, range, found })
    }
}

/// What an accountant says of an epsilon at a delta.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Certificate {
    /// The privacy loss: exact or an upper bound. Infinite where something had no noise; never NaN.
    pub epsilon: f64,
    /// The chance with which it may be larger.
    pub delta: f64,
    /// Epsilon by Rényi divergences, an independent upper bound; `None` where something had no noise.
    pub epsilon_rdp: Option<f64>,
    /// By how much epsilon may lie above the true one, from the grid of losses, to first order (see
    /// `docs/privacy-calculator.md`); `None` where that is not known.
    pub certified_error: Option<f64>,
    /// Exact, or from above.
    pub direction: Direction,
    /// Which order of the neighbours decided, where both were looked at.
    pub side: Option<Side>,
    /// How it was found.
    pub accountant: Accountant,
    /// Step of the grid of privacy losses.
    pub step: Option<f64>,
    /// Length of the Fourier transforms.
    pub points: Option<usize>,
    /// Added to the chance for masses outside of the grid and for rounding of floating-point numbers; part of delta.
    pub slack: f64,
}
