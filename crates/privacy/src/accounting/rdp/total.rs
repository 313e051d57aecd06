//! The curve of everything that was released, and the order that serves best.

use super::super::account::{Account, Release};
use super::super::pair::Pair;
use super::curves::{
    FixedSize, distributed_gaussian, laplace, poisson_amplified, poisson_gaussian,
    replaced_gaussian, zcdp,
};
use super::{to_delta, to_epsilon};
use crate::special::{exp, ln, ln_sum};

/// Largest order.
const LARGEST: f64 = 1e7;
/// Largest order of curves whose cost grows with the order.
const LARGEST_LONG: f64 = 4096.0;
/// Largest order of curves whose cost grows with the square of the order.
const LARGEST_WHOLE: f64 = 256.0;

/// Where a bound is least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Optimum {
    pub(crate) value: f64,
    pub(crate) order: f64,
}

enum Curve {
    Plain(Release),
    FixedSize(FixedSize),
    /// Mass and loss of each output.
    Atoms(Vec<(f64, f64)>),
}

/// The curve of an account.
pub(crate) struct Total {
    mu_squared: f64,
    curves: Vec<(Curve, f64)>,
    largest: f64,
}

impl Total {
    pub(crate) fn new(account: &Account) -> Self {
        let mut largest = LARGEST;
        let curves = account
            .releases
            .iter()
            .map(|(release, count)| {
                largest = largest.min(largest_order(release));
                (Curve::of(release), *count as f64)
            })
            .collect();
        Self {
            mu_squared: account.mu_squared,
            curves,
            largest,
        }
    }

    /// The divergence at an order.
    pub(crate) fn at(&self, order: f64) -> f64 {
        let sampled: f64 = self
            .curves
            .iter()
            .map(|(curve, count)| count * curve.at(order))
            .sum();
        0.5 * order * self.mu_squared + sampled
    }

    pub(crate) fn epsilon(&self, delta: f64) -> Optimum {
        self.least(&|order| to_epsilon(order, self.at(order), delta))
    }

    pub(crate) fn delta(&self, epsilon: f64) -> Optimum {
        // In logarithms, whose minimum is not lost where delta is 0 in floating-point numbers.
        let best = self.least(&|order| {
            (order - 1.0) * (self.at(order) - epsilon + crate::special::ln_1p(-1.0 / order))
                - ln(order)
        });
        Optimum {
            value: to_delta(best.order, self.at(best.order), epsilon).min(exp(best.value)),
            order: best.order,
        }
    }

    fn least(&self, bound: &dyn Fn(f64) -> f64) -> Optimum {
        minimise_to(self.largest, bound)
    }
}

/// Up to which order a curve is quick enough.
fn largest_order(release: &Release) -> f64 {
    match release {
        Release::FixedSize { .. } => LARGEST_WHOLE,
        Release::Laplace { rate, .. } | Release::Distributed { rate, .. } if *rate < 1.0 => {
            LARGEST_WHOLE
        }
        Release::Sampled { .. } | Release::Replaced { .. } | Release::Truncated { .. } => {
            LARGEST_LONG
        }
        _ => LARGEST,
    }
}

impl Curve {
    fn of(release: &Release) -> Self {
        match *release {
            Release::FixedSize { sigma, share } => Self::FixedSize(FixedSize::new(sigma, share)),
            Release::DiscreteLaplace { .. } | Release::Randomised { .. } => {
                match Pair::of(release, 1e-30) {
                    Some(Pair::Discrete(pair)) => Self::Atoms(
                        pair.atoms
                            .iter()
                            .filter(|atom| atom.mass > 0.0)
                            .map(|atom| (ln(atom.mass), atom.loss))
                            .collect(),
                    ),
                    _ => Self::Plain(*release),
                }
            }
            _ => Self::Plain(*release),
        }
    }

    fn at(&self, order: f64) -> f64 {
        match self {
            Self::FixedSize(curve) => curve.at(order),
            Self::Atoms(atoms) => {
                let ln_moment = atoms
                    .iter()
                    .fold(f64::NEG_INFINITY, |sum, (ln_mass, loss)| {
                        ln_sum(sum, ln_mass + (order - 1.0) * loss)
                    });
                ln_moment.max(0.0) / (order - 1.0)
            }
            Self::Plain(release) => plain(release, order),
        }
    }
}

fn plain(release: &Release, order: f64) -> f64 {
    match *release {
        Release::Sampled { sigma, rate } => poisson_gaussian(order, sigma, rate),
        Release::Replaced { sigma, rate } => replaced_gaussian(order, sigma, rate),
        Release::Truncated {
            full,
            full_rate,
            sigma,
            rate,
            replaced,
        } => {
            let plain = if replaced {
                replaced_gaussian(order, sigma, rate)
            } else {
                poisson_gaussian(order, sigma, rate)
            };
            let driven_out = replaced_gaussian(order, 0.5 * sigma, full_rate);
            let less = order - 1.0;
            ln_sum(
                ln(full) + less * driven_out,
                crate::special::ln_1p(-full) + less * plain,
            )
            .max(0.0)
                / less
        }
        Release::Laplace { scale, rate } => {
            poisson_amplified(order, rate, &|order| laplace(order, scale))
        }
        Release::DiscreteGaussian { sigma, sensitivity } => {
            zcdp(order, 0.5 * (sensitivity / sigma).powi(2))
        }
        Release::Distributed {
            l2,
            l1,
            tau,
            dimension,
            rate,
        } => poisson_amplified(order, rate, &|order| {
            distributed_gaussian(order, l2, l1, tau, dimension)
        }),
        Release::Concentrated { rho } => zcdp(order, rho),
        Release::DiscreteLaplace { rate, sensitivity } => {
            super::pure(order, rate * sensitivity as f64)
        }
        Release::Randomised {
            replaced,
            categories,
        } => super::pure(
            order,
            crate::special::ln_1p((1.0 - replaced) * categories / replaced),
        ),
        // Has a curve of its own.
        Release::FixedSize { sigma, share } => super::fixed_size_gaussian(order, sigma, share),
    }
}

/// The least value of a bound over all orders.
pub(super) fn minimise(bound: &dyn Fn(f64) -> f64) -> Optimum {
    minimise_to(LARGEST, bound)
}

/// Orders in a geometric progression until the bound has risen twice, then the golden section around the best.
fn minimise_to(largest: f64, bound: &dyn Fn(f64) -> f64) -> Optimum {
    let value = |less: f64| {
        let found = bound(1.0 + less);
        if found.is_nan() { f64::INFINITY } else { found }
    };
    const FACTOR: f64 = 2.0;
    let mut less = 0.01;
    let mut best = (less, value(less));
    let mut rises = 0;
    while rises < 2 && less * FACTOR < largest {
        less *= FACTOR;
        let found = value(less);
        if found < best.1 {
            best = (less, found);
            rises = 0;
        } else if found > best.1 {
            rises += 1;
        }
    }
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    let (mut low, mut high) = (ln(best.0 / FACTOR), ln((best.0 * FACTOR).min(largest)));
    let mut inner = [high - golden * (high - low), low + golden * (high - low)];
    let mut found = inner.map(|at| value(exp(at)));
    while high - low > 3e-4 {
        let side = usize::from(found[1] < found[0]);
        if found[side] < best.1 {
            best = (exp(inner[side]), found[side]);
        }
        if side == 0 {
            high = inner[1];
            (inner[1], found[1]) = (inner[0], found[0]);
            inner[0] = high - golden * (high - low);
            found[0] = value(exp(inner[0]));
        } else {
            low = inner[0];
            (inner[0], found[0]) = (inner[1], found[1]);
            inner[1] = low + golden * (high - low);
            found[1] = value(exp(inner[1]));
        }
    }
    // Curves that are known at whole orders have their minima there.
    let order = 1.0 + best.0;
    for whole in [order.floor(), order.ceil()] {
        if whole > 1.0 && value(whole - 1.0) < best.1 {
            best = (whole - 1.0, value(whole - 1.0));
        }
    }
    Optimum {
        value: best.1,
        order: 1.0 + best.0,
    }
}
