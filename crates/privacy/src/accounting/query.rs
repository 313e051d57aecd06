//! The questions: which accountant answers, on which grid.

use super::account::Account;
use super::compose::{Answer, Composition, Kind, Layout, Obstacle, losses};
use super::grid::Grid;
use super::pair::Pair;
use super::pmf::LossPmf;
use super::rdp::{self, Optimum, Total};
use super::{Accountant, Certificate, Direction, Question, Side, gaussian, in_range};
use crate::error::PrivacyError;
use crate::event::Event;

/// Parts whose own answer a composition's is compared with.
const MOST_CHECKED: usize = 16;
/// Orders from here on may not be the best, but the largest that Rényi curves are followed to.
const CAPPED_ORDER: f64 = 3000.0;
/// Rounding of the logarithm of a moment.
const ROUNDING: f64 = 1e-13;
/// How often a grid is made finer.
const MOST_TRIES: u32 = 3;

/// The smallest epsilon that can be promised for an event at the question's delta.
///
/// # Errors
///
/// If a number is out of its range, or the event has no accounting under the question's neighbouring relation or by its
/// accountant.
pub fn epsilon(event: &Event, question: &Question) -> Result<Certificate, PrivacyError> {
    question.check()?;
    epsilon_of(&Account::of(event, question.neighbouring)?, question)
}

/// The smallest delta that can be promised for an event at this epsilon, from 0. The question's own delta is ignored; the
/// certificate has the delta that was found, and its error is that of an epsilon.
///
/// # Errors
///
/// As [`epsilon`](fn@epsilon).
pub fn delta(
    event: &Event,
    epsilon: f64,
    question: &Question,
) -> Result<Certificate, PrivacyError> {
    let question = Question {
        delta: 0.5,
        ..*question
    };
    question.check()?;
    in_range(
        epsilon,
        "epsilon",
        "a finite number from 0",
        epsilon >= 0.0 && epsilon.is_finite(),
    )?;
    let account = Account::of(event, question.neighbouring)?;
    answer(&account, &question, Asked::Delta { epsilon })
}

pub(super) fn epsilon_of(
    account: &Account,
    question: &Question,
) -> Result<Certificate, PrivacyError> {
    let delta = question.delta;
    answer(account, question, Asked::Epsilon { delta })
}

/// Which of the two numbers is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Epsilon { delta: f64 },
    Delta { epsilon: f64 },
}

impl Asked {
    fn by_renyi(self, total: &Total) -> Optimum {
        match self {
            Self::Epsilon { delta } => total.epsilon(delta),
            Self::Delta { epsilon } => total.delta(epsilon),
        }
    }

    /// Of a Gaussian.
    fn exact(self, mu: f64) -> f64 {
        match self {
            Self::Epsilon { delta } => gaussian::epsilon(mu, delta),
            Self::Delta { epsilon } => gaussian::delta(mu, epsilon),
        }
    }

    /// Of one release.
    fn single(self, pair: &Pair, swapped: bool) -> f64 {
        match self {
            Self::Epsilon { delta } => single_epsilon(pair, delta, swapped),
            Self::Delta { epsilon } => pair.delta(epsilon, swapped),
        }
    }

    fn composed(self, composition: &Composition) -> Option<Answer> {
        match self {
            Self::Epsilon { delta } => composition.epsilon(delta),
            Self::Delta { epsilon } => composition.delta(epsilon),
        }
    }

    /// By the moment of the losses at `order - 1`, a chance of infinite losses apart.
    fn by_moment(self, order: f64, ln_moment: f64, infinite: f64) -> f64 {
        let value = ln_moment / (order - 1.0);
        match self {
            Self::Epsilon { delta } if delta > infinite => {
                rdp::to_epsilon(order, value, delta - infinite)
            }
            Self::Epsilon { .. } => f64::INFINITY,
            Self::Delta { epsilon } => rdp::to_delta(order, value, epsilon) + infinite,
        }
    }

    /// The certificate with the answer in its place.
    fn certificate(self, value: f64, accountant: Accountant) -> Certificate {
        let (epsilon, delta) = match self {
            Self::Epsilon { delta } => (value, delta),
            Self::Delta { epsilon } => (epsilon, value),
        };
        Certificate {
            epsilon,
            delta,
            epsilon_rdp: None,
            certified_error: None,
            direction: Direction::Upper,
            side: None,
            accountant,
            step: None,
            points: None,
            slack: 0.0,
        }
    }
}

fn answer(
    account: &Account,
    question: &Question,
    asked: Asked,
) -> Result<Certificate, PrivacyError> {
    if account.not_private {
        let value = match asked {
            Asked::Epsilon { .. } => f64::INFINITY,
            Asked::Delta { .. } => 1.0,
        };
        return Ok(exactly(asked.certificate(value, Accountant::Exact)));
    }
    let total = Total::new(account);
    let renyi = asked.by_renyi(&total);
    // At the delta that was found, the epsilon of a delta question is the one that was asked.
    let epsilon_rdp = Some(match asked {
        Asked::Epsilon { .. } => renyi.value,
        Asked::Delta { epsilon } => epsilon,
    });
    let certificate = match question.accountant {
        Some(Accountant::Rdp) => asked.certificate(renyi.value, Accountant::Rdp),
        chosen => by_distribution(account, question, asked, renyi, chosen)?,
    };
    Ok(Certificate {
        epsilon_rdp,
        ..certificate
    })
}

fn exactly(certificate: Certificate) -> Certificate {
    Certificate {
        certified_error: Some(0.0),
        direction: Direction::Exact,
        ..certificate
    }
}

/// A closed form where there is one, else a composition; by Rényi divergences if that fails or says less and no other
/// accountant was asked for.
fn by_distribution(
    account: &Account,
    question: &Question,
    asked: Asked,
    renyi: Optimum,
    chosen: Option<Accountant>,
) -> Result<Certificate, PrivacyError> {
    if account.releases.is_empty() {
        let value = asked.exact(account.mu_squared.sqrt());
        return Ok(exactly(asked.certificate(value, Accountant::Exact)));
    }
    if chosen != Some(Accountant::Pld)
        && let Some((value, side)) = single(account, asked)
    {
        let certificate = exactly(asked.certificate(value, Accountant::Exact));
        return Ok(Certificate {
            side: Some(side),
            ..certificate
        });
    }
    if chosen == Some(Accountant::Exact) {
        return Err(PrivacyError::Unsupported(
            "there is no closed form for this composition: use pld or rdp".into(),
        ));
    }
    let refused = match (account.renyi_only(), chosen) {
        (Some(release), Some(_)) => Err(PrivacyError::Unsupported(format!(
            "{} has no privacy-loss distribution here: use rdp",
            release.name()
        ))),
        (Some(_), None) => Ok(None),
        (None, _) => composed(account, question, asked, renyi),
    };
    let found = match refused {
        Err(error) if chosen.is_some() => return Err(error),
        found => found.ok().flatten(),
    };
    match found {
        Some(certificate) if chosen.is_some() || answer_of(&certificate, asked) <= renyi.value => {
            Ok(certificate)
        }
        None if chosen.is_some() => Err(PrivacyError::Unsupported(
            "the privacy losses reach too far for a grid of their distribution: use rdp".into(),
        )),
        _ => Ok(asked.certificate(renyi.value, Accountant::Rdp)),
    }
}

fn answer_of(certificate: &Certificate, asked: Asked) -> f64 {
    match asked {
        Asked::Epsilon { .. } => certificate.epsilon,
        Asked::Delta { .. } => certificate.delta,
    }
}

/// The answer for a single release, in closed form.
fn single(account: &Account, asked: Asked) -> Option<(f64, Side)> {
    let [(release, 1)] = &account.releases[..] else {
        return None;
    };
    if account.mu_squared > 0.0 {
        return None;
    }
    let pair = Pair::of(release, 1e-30)?;
    let removed = asked.single(&pair, false);
    if pair.is_symmetric() {
        return Some((removed, Side::Both));
    }
    let added = asked.single(&pair, true);
    Some(if added > removed {
        (added, Side::Add)
    } else {
        (removed, Side::Remove)
    })
}

/// The root of a delta that falls with epsilon, from above.
fn single_epsilon(pair: &Pair, delta: f64, swapped: bool) -> f64 {
    if pair.delta(0.0, swapped) <= delta {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while pair.delta(high, swapped) > delta {
        (low, high) = (high, 2.0 * high);
        if high > 1e6 {
            return f64::INFINITY;
        }
    }
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if pair.delta(middle, swapped) > delta {
            low = middle;
        } else {
            high = middle;
        }
        if high - low <= 2.0 * f64::EPSILON * high {
            break;
        }
    }
    high
}

/// What is composed: the releases, and all Gaussians as one.
pub(super) fn parts(account: &Account) -> Vec<(Kind, u64)> {
    let releases = account
        .releases
        .iter()
        .map(|(release, count)| (Kind::Release(*release), *count));
    let gaussian = (account.mu_squared > 0.0)
        .then(|| (Kind::Gaussian(account.mu_squared.sqrt()), 1))
        .into_iter();
    releases.chain(gaussian).collect()
}

/// A kind of release, its losses, and how often it happened.
pub(super) type Part = (Kind, LossPmf, u64);

/// How many releases there are.
pub(super) fn releases(parts: &[(Kind, u64)]) -> f64 {
    parts.iter().map(|(_, count)| *count as f64).sum()
}

/// Each part with its losses.
pub(super) fn all_losses(parts: &[(Kind, u64)], layout: &Layout) -> Result<Vec<Part>, Obstacle> {
    parts
        .iter()
        .map(|(kind, count)| Ok((*kind, losses(kind, layout)?, *count)))
        .collect()
}

/// The composition of all parts.
pub(super) fn compose(parts: &[Part], layout: &Layout) -> Result<Composition, Obstacle> {
    let planned: Vec<(&LossPmf, u64)> = parts.iter().map(|(_, pmf, count)| (pmf, *count)).collect();
    let mut composition = Composition::plan(&planned, *layout)?;
    for (kind, pmf, count) in parts {
        composition.multiply(kind, pmf, *count);
    }
    Ok(composition)
}

/// The same parts in the other order of the neighbours; `None` if it makes no difference.
pub(super) fn swapped(parts: &[Part]) -> Option<Vec<Part>> {
    let swapped = |(kind, pmf, count): &Part| (*kind, pmf.swapped(), *count);
    parts
        .iter()
        .any(|(_, pmf, _)| !pmf.symmetric)
        .then(|| parts.iter().map(swapped).collect())
}

/// An answer, the order of the neighbours that decided it, and the length of its transform.
type Found = (Answer, Side, usize);

/// The larger answer of the two orders of the neighbours.
fn larger(
    parts: &[(Kind, u64)],
    layout: &Layout,
    order: f64,
    asked: Asked,
) -> Result<Found, Obstacle> {
    let parts = all_losses(parts, layout)?;
    let one = |parts: &[Part], side: Side| -> Result<Found, Obstacle> {
        let composition = compose(parts, layout)?;
        let answer = asked.composed(&composition).ok_or(Obstacle::Hidden)?;
        Ok((answer, side, composition.points()))
    };
    if parts.iter().all(|(_, pmf, _)| pmf.symmetric) {
        return one(&parts, Side::Both);
    }
    let removed = one(&parts, Side::Remove)?;
    // Usually a bound on the other order is below it already.
    if bound_swapped(&parts, order, asked) <= removed.0.value {
        return Ok(removed);
    }
    let added = match swapped(&parts) {
        Some(parts) => one(&parts, Side::Add)?,
        None => return Ok(removed),
    };
    Ok(if added.0.value > removed.0.value {
        added
    } else {
        removed
    })
}

/// A bound on the answer in the other order of the neighbours, by a few moments: those of (Q, P) at theta are those of
/// (P, Q) at -1 - theta.
fn bound_swapped(parts: &[Part], order: f64, asked: Asked) -> f64 {
    let infinite: f64 = parts
        .iter()
        .map(|(_, pmf, count)| pmf.infinite_swapped * *count as f64)
        .sum();
    [0.7, 1.0, 1.5, 2.2, 3.2]
        .into_iter()
        .map(|factor| {
            let theta = factor * (order - 1.0);
            let moments = parts
                .iter()
                .map(|(_, pmf, count)| *count as f64 * (pmf.ln_moment(-1.0 - theta) + ROUNDING));
            asked.by_moment(1.0 + theta, moments.sum(), infinite)
        })
        .fold(f64::INFINITY, f64::min)
}

/// The best order of losses on a grid, from where the curves of samples are not followed any more.
fn better_order(
    parts: &[(Kind, u64)],
    grid: &mut Grid,
    start: Optimum,
    asked: Asked,
) -> Result<Option<Optimum>, PrivacyError> {
    let limit = 0.5 / grid.layout.step;
    grid.settle(|layout| {
        let parts = all_losses(parts, layout)?;
        let infinite: f64 = parts
            .iter()
            .map(|(_, pmf, count)| pmf.infinite * *count as f64)
            .sum();
        let at = |order: f64| {
            let moments = parts
                .iter()
                .map(|(_, pmf, count)| *count as f64 * pmf.ln_moment(order - 1.0));
            Optimum {
                value: asked.by_moment(order, moments.sum(), infinite),
                order,
            }
        };
        let mut best = at(start.order);
        while best.order < limit {
            let next = at(1.5 * best.order);
            if next.value.is_nan() || next.value >= best.value {
                break;
            }
            best = next;
        }
        Ok(best)
    })
}

fn composed(
    account: &Account,
    question: &Question,
    asked: Asked,
    renyi: Optimum,
) -> Result<Option<Certificate>, PrivacyError> {
    let parts = parts(account);
    let (epsilon, delta) = match asked {
        Asked::Epsilon { delta } => (renyi.value, delta),
        Asked::Delta { epsilon } => (epsilon, renyi.value),
    };
    let mut grid = Grid::new(&parts, question, renyi.order, epsilon, delta);
    if renyi.order > CAPPED_ORDER
        && let Some(better) = better_order(&parts, &mut grid, renyi, asked)?
    {
        let (epsilon, delta) = match asked {
            Asked::Epsilon { delta } => (better.value, delta),
            Asked::Delta { epsilon } => (epsilon, better.value.max(f64::MIN_POSITIVE)),
        };
        grid = Grid::new(&parts, question, better.order, epsilon, delta);
    }
    let steps = releases(&parts);
    let mut found;
    let mut error;
    let mut tries = 0;
    loop {
        found = grid.settle(|layout| larger(&parts, layout, renyi.order, asked))?;
        error = found.map(|(answer, _, _)| grid.error(steps, answer.steepness));
        tries += 1;
        if tries == MOST_TRIES || !error.is_some_and(|error| grid.refine(error)) {
            break;
        }
    }
    // A composition is worth no less than any of its parts: what says so has failed.
    let least = parts
        .iter()
        .take(MOST_CHECKED)
        .filter_map(|(kind, _)| kind.pair(grid.layout.tail))
        .filter(|pair| !matches!(pair, Pair::Discrete(_)))
        .map(|pair| asked.single(&pair, false))
        .fold(0.0, f64::max);
    let found = found.filter(|(answer, _, _)| answer.value >= least * (1.0 - 1e-9));
    Ok(found.map(|(answer, side, points)| Certificate {
        certified_error: error.map(|error| error + answer.slack_epsilon),
        side: Some(side),
        step: Some(grid.layout.step),
        points: Some(points),
        slack: answer.slack,
        ..asked.certificate(answer.value, Accountant::Pld)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Neighbouring;

    /// The shortcut for the order that is skipped is a bound, and that order's own composition is right: without any
    /// shortcut both come from the same masses, and for a rate near 1 they are the same.
    #[test]
    fn the_other_order_is_bounded() {
        for (sigma, rate, count) in [
            (1.0, 0.01, 1000),
            (0.7, 0.3, 20),
            (3.0, 0.9, 50),
            (1.0, 0.5, 5),
        ] {
            let event = Event::Repeated {
                event: Box::new(Event::PoissonGaussian {
                    noise_multiplier: sigma,
                    sampling_rate: rate,
                }),
                count,
            };
            let question = Question::new(Neighbouring::AddRemove, 1e-5);
            let account = Account::of(&event, question.neighbouring).unwrap();
            let renyi = Total::new(&account).epsilon(1e-5);
            let parts = parts(&account);
            let grid = Grid::new(&parts, &question, renyi.order, renyi.value, 1e-5);
            let removed = all_losses(&parts, &grid.layout).unwrap();
            let added = swapped(&removed).unwrap();
            let asked = Asked::Epsilon { delta: 1e-5 };
            let of = |parts: &[Part]| {
                let composition = compose(parts, &grid.layout).unwrap();
                asked.composed(&composition).unwrap().value
            };
            let (removed_epsilon, added_epsilon) = (of(&removed), of(&added));
            let bound = bound_swapped(&removed, renyi.order, asked);
            assert!(added_epsilon <= bound, "{added_epsilon} {bound}");
            assert!(added_epsilon < removed_epsilon + 1e-9);
            if rate == 0.9 {
                assert!((added_epsilon / removed_epsilon - 1.0).abs() < 0.1);
            }
        }
    }
}
