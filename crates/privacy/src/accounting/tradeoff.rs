//! What an attacker can make of a release: the trade-off between finding members and false alarms (Dong, Roth, Su, arXiv
//! 1905.02383).

use super::account::Account;
use super::compose::{Composed, Obstacle};
use super::grid::Grid;
use super::query::{all_losses, compose, parts, swapped};
use super::rdp::Total;
use super::{Question, gaussian, in_range};
use crate::error::PrivacyError;
use crate::event::Event;
use crate::special::exp;

/// Epsilons at which a mu is looked for.
const POINTS: usize = 256;

/// Upper bounds on what any attacker can find.
pub struct TradeOff {
    curve: Curve,
    /// Smallest delta that [`TradeOff::mu`] looks at.
    delta: f64,
}

enum Curve {
    /// Nothing can be promised.
    Nothing,
    Gaussian(f64),
    Losses(Vec<Summed>),
    Renyi(Total),
}

/// Losses with the sums from each on to the top.
struct Summed {
    step: f64,
    first: i64,
    /// Of the masses, with that at infinity.
    mass: Vec<f64>,
    /// Of the masses times `e^-loss`.
    less: Vec<f64>,
}

impl TradeOff {
    /// The trade-off of an event under the question's neighbouring relation.
    ///
    /// # Errors
    ///
    /// As [`epsilon`](fn@super::epsilon).
    pub fn new(event: &Event, question: &Question) -> Result<Self, PrivacyError> {
        question.check()?;
        let account = Account::of(event, question.neighbouring)?;
        let curve = if account.not_private {
            Curve::Nothing
        } else if account.releases.is_empty() {
            Curve::Gaussian(account.mu_squared.sqrt())
        } else {
            match losses(&account, question)? {
                Some(losses) => Curve::Losses(losses),
                None => Curve::Renyi(Total::new(&account)),
            }
        };
        Ok(Self {
            curve,
            delta: question.delta,
        })
    }

    /// The largest share of members that an attacker can find who takes this share (from 0 to 1) of the others for
    /// members: his true-positive rate at that false-positive rate.
    ///
    /// # Errors
    ///
    /// If the rate is not between 0 and 1.
    pub fn found_at(&self, false_alarm_rate: f64) -> Result<f64, PrivacyError> {
        let rate = false_alarm_rate;
        in_range(
            rate,
            "false_alarm_rate",
            "from 0 to 1",
            (0.0..=1.0).contains(&rate),
        )?;
        if rate == 1.0 {
            return Ok(1.0);
        }
        Ok(match &self.curve {
            Curve::Nothing => 1.0,
            Curve::Gaussian(_) if rate == 0.0 => 0.0,
            Curve::Gaussian(mu) => gaussian::found_at(*mu, rate),
            Curve::Losses(sides) => sides
                .iter()
                .map(|side| side.found_at(rate))
                .fold(0.0, f64::max),
            Curve::Renyi(total) => {
                least(&|epsilon| rate * exp(epsilon) + total.delta(epsilon).value)
            }
        }
        .clamp(rate, 1.0))
    }

    /// The smallest mu for which a single Gaussian release with noise 1/mu would be no better for the attacker, as far as
    /// deltas down to the question's own go; infinite where nothing can be promised.
    pub fn mu(&self) -> f64 {
        let delta_at: Box<dyn Fn(f64) -> f64 + '_> = match &self.curve {
            Curve::Nothing => return f64::INFINITY,
            Curve::Gaussian(mu) => return *mu,
            Curve::Losses(sides) => Box::new(|epsilon| {
                let deltas = sides.iter().map(|side| side.delta(epsilon));
                deltas.fold(0.0, f64::max)
            }),
            Curve::Renyi(total) => Box::new(|epsilon| total.delta(epsilon).value),
        };
        let mut top = 1.0;
        while delta_at(top) > self.delta && top < 1e6 {
            top *= 2.0;
        }
        (0..=POINTS)
            .map(|at| top * at as f64 / POINTS as f64)
            .map(|epsilon| (epsilon, delta_at(epsilon)))
            .filter(|(_, delta)| *delta >= self.delta && *delta < 1.0)
            .map(|(epsilon, delta)| gaussian::mu_of(epsilon, delta))
            .fold(0.0, f64::max)
    }
}

/// The composition without tilt: all of its losses matter here, and none of them to better than 1e-9.
fn losses(account: &Account, question: &Question) -> Result<Option<Vec<Summed>>, PrivacyError> {
    if account.renyi_only().is_some() {
        return Ok(None);
    }
    let parts = parts(account);
    let renyi = Total::new(account).epsilon(question.delta);
    let mut grid = Grid::new(&parts, question, renyi.order, renyi.value, question.delta);
    grid.layout.theta = 0.0;
    grid.settle(|layout| {
        let removed = all_losses(&parts, layout)?;
        let added = swapped(&removed);
        let sides = [Some(removed), added];
        sides
            .iter()
            .flatten()
            .map(|parts| {
                let composed = compose(parts, layout)?.losses().ok_or(Obstacle::Hidden)?;
                Ok(Summed::new(&composed))
            })
            .collect()
    })
}

impl Summed {
    fn new(losses: &Composed) -> Self {
        let count = losses.mass.len();
        let (mut mass, mut less) = (vec![0.0; count], vec![0.0; count]);
        let (mut sum, mut less_sum) = (losses.infinite, 0.0);
        for at in (0..count).rev() {
            let loss = (losses.first + at as i64) as f64 * losses.step;
            sum += losses.mass[at];
            less_sum += losses.mass[at] * exp(-loss);
            (mass[at], less[at]) = (sum, less_sum);
        }
        Self {
            step: losses.step,
            first: losses.first,
            mass,
            less,
        }
    }

    fn loss(&self, at: usize) -> f64 {
        (self.first + at as i64) as f64 * self.step
    }

    fn delta(&self, epsilon: f64) -> f64 {
        let next = (epsilon / self.step).floor() as i64 + 1 - self.first;
        let at = usize::try_from(next).unwrap_or(0);
        match (self.mass.get(at), self.less.get(at)) {
            (Some(mass), Some(less)) => (mass - exp(epsilon) * less).clamp(0.0, 1.0),
            _ => self.mass.last().map_or(0.0, |last| last.min(1.0)),
        }
    }

    /// The least of `rate e^epsilon + delta(epsilon)`. As a function of `e^epsilon` it is convex and straight between the
    /// places of the grid, so its minimum is at one of them, where the slope `rate - less` changes sign.
    fn found_at(&self, rate: f64) -> f64 {
        let at = self.less.partition_point(|&less| less > rate);
        [at.saturating_sub(2), at.saturating_sub(1), at, at + 1]
            .into_iter()
            .filter(|&at| at < self.mass.len())
            .map(|at| {
                let epsilon = self.loss(at);
                rate * exp(epsilon) + self.delta(epsilon)
            })
            .fold(1.0, f64::min)
    }
}

/// The least value over epsilons from 0, by a coarse and a fine walk.
fn least(bound: &dyn Fn(f64) -> f64) -> f64 {
    let walk = |from: f64, step: f64| {
        (0..=64)
            .map(|at| from + step * f64::from(at))
            .map(|epsilon| (epsilon, bound(epsilon)))
            .fold((from, f64::INFINITY), |best, next| {
                if next.1 < best.1 { next } else { best }
            })
    };
    let coarse = walk(0.0, 0.125);
    walk((coarse.0 - 0.125).max(0.0), 0.25 / 64.0)
        .1
        .min(coarse.1)
}
