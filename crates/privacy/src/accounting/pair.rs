//! Dominating pairs: for each release two distributions P and Q of one number whose likelihood ratio is the worst that
//! neighbours can make. The privacy loss `ln(P/Q)` rises with that number.

use std::f64::consts::PI;

mod discrete;

pub(crate) use discrete::Discrete;

use super::account::Release;
use super::gaussian;
use crate::special::{exp, expm1, ln, ln_1p, normal_cdf};

/// Place of the points of Gauss and Legendre's rule with two of them.
const FRAC_1_SQRT_3: f64 = 0.577_350_269_189_625_8;

/// Losses beyond are given up: their mass counts as lost.
const LARGEST_LOSS: f64 = 600.0;

/// A pair with densities.
pub(crate) trait Density {
    /// The density of Q, and `P/Q - 1`.
    fn at(&self, x: f64) -> (f64, f64);
    /// The loss at a point.
    fn loss(&self, x: f64) -> f64;
    /// The point with a loss; infinite beyond all losses.
    fn point(&self, loss: f64) -> f64;
    /// The interval outside of which P and Q have at most this mass on each side.
    fn range(&self, tail: f64) -> (f64, f64);
    /// The longest interval on which four points integrate to full precision.
    fn smooth(&self) -> f64;
    /// The masses of P and Q below a point.
    fn below(&self, x: f64) -> (f64, f64);
    /// The masses of P and Q above a point.
    fn above(&self, x: f64) -> (f64, f64);
    /// The integrals of `(1 + above) Q - P` and of `P - (1 + below) Q` over an interval. Of ratios only what they are more
    /// than 1 is at hand: differences of ratios keep their digits where all losses are small.
    fn split(&self, ends: (f64, f64), excesses: (f64, f64)) -> (f64, f64)
    where
        Self: Sized,
    {
        split(self, ends, excesses)
    }
    /// Points with mass of their own: P's mass and the loss.
    fn atoms(&self) -> Vec<Atom> {
        Vec::new()
    }

    /// `range`, but without losses that are too large for floating-point numbers.
    fn safe_range(&self, tail: f64) -> (f64, f64) {
        let (low, high) = self.range(tail);
        (
            low.max(self.point(-LARGEST_LOSS)),
            high.min(self.point(LARGEST_LOSS)),
        )
    }
}

/// Gauss-Legendre, four points on [-1, 1].
const NODES: [(f64, f64); 4] = [
    (-0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
    (-0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
    (0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
    (0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
];

fn split(pair: &impl Density, (left, right): (f64, f64), (below, above): (f64, f64)) -> (f64, f64) {
    let pieces = ((right - left) / pair.smooth()).ceil().max(1.0);
    let half = 0.5 * (right - left) / pieces;
    let (mut down, mut up) = (0.0, 0.0);
    for piece in 0..pieces as usize {
        let middle = left + half * (2 * piece + 1) as f64;
        for (node, weight) in NODES {
            let (q, excess) = pair.at(middle + half * node);
            down += weight * q * (above - excess);
            up += weight * q * (excess - below);
        }
    }
    (down * half, up * half)
}

/// `e^x - 1` to full precision for `|x| < 0.01`.
fn small_expm1(x: f64) -> f64 {
    x * (1.0
        + x / 2.0
            * (1.0
                + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0))))))
}

/// Mass of P at one loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atom {
    pub(crate) mass: f64,
    pub(crate) loss: f64,
}

/// How many deviations a normal distribution must be followed for its tail to be this small.
fn deviations(tail: f64) -> f64 {
    (-2.0 * ln(tail)).sqrt()
}

/// `(1 - q) N(0, s^2) + q N(1, s^2)` against `N(0, s^2)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampled {
    pub(crate) sigma: f64,
    pub(crate) rate: f64,
}

impl Sampled {
    fn exponent(&self, x: f64) -> f64 {
        (x - 0.5) / (self.sigma * self.sigma)
    }
}

fn density(x: f64, sigma: f64) -> f64 {
    let z = x / sigma;
    exp(-0.5 * z * z) / (sigma * (2.0 * PI).sqrt())
}

impl Density for Sampled {
    fn at(&self, x: f64) -> (f64, f64) {
        let excess = self.rate * expm1(self.exponent(x));
        (density(x, self.sigma), excess)
    }

    fn loss(&self, x: f64) -> f64 {
        let exponent = self.exponent(x);
        if self.rate == 1.0 {
            exponent
        } else if exponent > LARGEST_LOSS {
            exponent + ln(self.rate)
        } else {
            ln_1p(self.rate * expm1(exponent))
        }
    }

    fn point(&self, loss: f64) -> f64 {
        let scaled = expm1(loss.min(LARGEST_LOSS)) / self.rate;
        let exponent = if self.rate == 1.0 {
            loss
        } else if scaled <= -1.0 {
            return f64::NEG_INFINITY;
        } else {
            ln_1p(scaled)
        };
        0.5 + self.sigma * self.sigma * exponent
    }

    /// On a narrow interval two points do, and all exponents are small differences from those in its middle.
    fn split(&self, (left, right): (f64, f64), (below, above): (f64, f64)) -> (f64, f64) {
        let half = 0.5 * (right - left);
        let middle = left + half;
        let variance = self.sigma * self.sigma;
        let steep = (middle.abs() + self.sigma + 1.0) / variance;
        if half * steep > 0.004 {
            return split(self, (left, right), (below, above));
        }
        let node = half * FRAC_1_SQRT_3;
        let q = density(middle, self.sigma) * (1.0 - 0.5 * node * node / variance);
        let at_middle = expm1(self.exponent(middle));
        let (mut down, mut up) = (0.0, 0.0);
        for offset in [-node, node] {
            let q = q * (1.0 + small_expm1(-middle * offset / variance));
            let more = (1.0 + at_middle) * small_expm1(offset / variance);
            let excess = self.rate * (at_middle + more);
            down += q * (above - excess);
            up += q * (excess - below);
        }
        (down * half, up * half)
    }

    fn range(&self, tail: f64) -> (f64, f64) {
        let far = self.sigma * deviations(tail);
        (-far, 1.0 + far)
    }

    fn smooth(&self) -> f64 {
        self.sigma.min(self.sigma * self.sigma) / 16.0
    }

    fn below(&self, x: f64) -> (f64, f64) {
        let q = normal_cdf(x / self.sigma);
        let moved = normal_cdf((x - 1.0) / self.sigma);
        ((1.0 - self.rate) * q + self.rate * moved, q)
    }

    fn above(&self, x: f64) -> (f64, f64) {
        let q = normal_cdf(-x / self.sigma);
        let moved = normal_cdf((1.0 - x) / self.sigma);
        ((1.0 - self.rate) * q + self.rate * moved, q)
    }
}

/// `(1 - q) N(0, s^2) + q N(1, s^2)` against its mirror image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) sigma: f64,
    pub(crate) rate: f64,
}

impl Replaced {
    fn half(&self) -> Sampled {
        Sampled {
            sigma: self.sigma,
            rate: self.rate,
        }
    }
}

impl Density for Replaced {
    fn at(&self, x: f64) -> (f64, f64) {
        let (density, excess) = self.half().at(x);
        let (_, mirrored) = self.half().at(-x);
        let ratio = 1.0 + mirrored;
        (density * ratio, (excess - mirrored) / ratio)
    }

    fn loss(&self, x: f64) -> f64 {
        self.half().loss(x) - self.half().loss(-x)
    }

    fn point(&self, loss: f64) -> f64 {
        let variance = self.sigma * self.sigma;
        let half = 0.5 * loss;
        if self.rate == 1.0 || half == 0.0 {
            return variance * half;
        }
        // A quadratic equation in e^(x / s^2): x / s^2 = e/2 + asinh(sinh(e/2) (1 - q) / (q c)), c = e^(-1 / (2 s^2)).
        let magnitude = half.abs();
        let ln_sinh = magnitude + ln(-expm1(-2.0 * magnitude)) - ln(2.0);
        let ln_argument = ln_sinh + ln_1p(-self.rate) - ln(self.rate) + 0.5 / variance;
        let inverse = if ln_argument > 20.0 {
            ln_argument + ln(2.0)
        } else {
            libm::asinh(exp(ln_argument))
        };
        variance * (magnitude + inverse) * half.signum()
    }

    fn range(&self, tail: f64) -> (f64, f64) {
        let far = 1.0 + self.sigma * deviations(tail);
        (-far, far)
    }

    fn smooth(&self) -> f64 {
        self.half().smooth()
    }

    fn below(&self, x: f64) -> (f64, f64) {
        (self.half().below(x).0, self.half().above(-x).0)
    }

    fn above(&self, x: f64) -> (f64, f64) {
        (self.half().above(x).0, self.half().below(-x).0)
    }
}

/// `(1 - q) Lap(0, b) + q Lap(1, b)` against `Lap(0, b)`: the loss is constant outside of (0, 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampledLaplace {
    pub(crate) scale: f64,
    pub(crate) rate: f64,
}

impl SampledLaplace {
    /// The masses of P and Q up to a point in [0, 1], without rounding away what is near 0.
    fn inside(&self, x: f64) -> (f64, f64) {
        let b = self.scale;
        let q = -0.5 * expm1(-x / b);
        let moved = 0.5 * exp(-1.0 / b) * expm1(x / b);
        ((1.0 - self.rate) * q + self.rate * moved, q)
    }
}

impl Density for SampledLaplace {
    fn at(&self, x: f64) -> (f64, f64) {
        let q = exp(-x / self.scale) / (2.0 * self.scale);
        (q, self.rate * expm1((2.0 * x - 1.0) / self.scale))
    }

    fn loss(&self, x: f64) -> f64 {
        let exponent = (2.0 * x.clamp(0.0, 1.0) - 1.0) / self.scale;
        if self.rate == 1.0 {
            exponent
        } else {
            ln_1p(self.rate * expm1(exponent))
        }
    }

    fn point(&self, loss: f64) -> f64 {
        let scaled = expm1(loss) / self.rate;
        let exponent = if self.rate == 1.0 {
            loss
        } else if scaled <= -1.0 {
            return f64::NEG_INFINITY;
        } else {
            ln_1p(scaled)
        };
        0.5 * (1.0 + self.scale * exponent)
    }

    fn range(&self, _: f64) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn smooth(&self) -> f64 {
        self.scale.min(1.0) / 16.0
    }

    fn below(&self, x: f64) -> (f64, f64) {
        if x <= 0.0 {
            return (0.0, 0.0);
        }
        let flat = self.flat_below();
        let (p, q) = self.inside(x.min(1.0));
        let (more_p, more_q) = if x > 1.0 {
            self.flat_above()
        } else {
            (0.0, 0.0)
        };
        (flat.0 + p + more_p, flat.1 + q + more_q)
    }

    fn above(&self, x: f64) -> (f64, f64) {
        if x >= 1.0 {
            return (0.0, 0.0);
        }
        let flat = self.flat_above();
        let (all_p, all_q) = self.inside(1.0);
        let (p, q) = self.inside(x.max(0.0));
        let (more_p, more_q) = if x < 0.0 {
            self.flat_below()
        } else {
            (0.0, 0.0)
        };
        (flat.0 + all_p - p + more_p, flat.1 + all_q - q + more_q)
    }

    fn atoms(&self) -> Vec<Atom> {
        [(self.flat_below(), 0.0), (self.flat_above(), 1.0)]
            .map(|((mass, _), x)| Atom {
                mass,
                loss: self.loss(x),
            })
            .to_vec()
    }
}

impl SampledLaplace {
    /// The masses of P and Q where the loss is least.
    fn flat_below(&self) -> (f64, f64) {
        let moved = 0.5 * exp(-1.0 / self.scale);
        (0.5 * (1.0 - self.rate) + self.rate * moved, 0.5)
    }

    /// The masses of P and Q where the loss is largest.
    fn flat_above(&self) -> (f64, f64) {
        let stayed = 0.5 * exp(-1.0 / self.scale);
        ((1.0 - self.rate) * stayed + 0.5 * self.rate, stayed)
    }
}

/// A pair, of whichever kind.
#[derive(Clone, Debug)]
pub(crate) enum Pair {
    Sampled(Sampled),
    Replaced(Replaced),
    Laplace(SampledLaplace),
    Discrete(Discrete),
    /// A public choice among pairs, each with its chance.
    Mixture(Vec<(f64, Pair)>),
}

impl Pair {
    /// One Gaussian.
    pub(crate) fn gaussian(mu: f64) -> Self {
        Self::Sampled(Sampled {
            sigma: 1.0 / mu,
            rate: 1.0,
        })
    }

    /// The pair of a release whose tails may be cut at this mass; `None` if only its Rényi divergences are known.
    pub(crate) fn of(release: &Release, tail: f64) -> Option<Self> {
        if release.is_renyi_only() {
            return None;
        }
        Some(match *release {
            Release::Sampled { sigma, rate } => Self::Sampled(Sampled { sigma, rate }),
            Release::Replaced { sigma, rate } => Self::Replaced(Replaced { sigma, rate }),
            Release::Truncated {
                full,
                full_rate,
                sigma,
                rate,
                replaced,
            } => {
                let plain = if replaced {
                    Self::Replaced(Replaced { sigma, rate })
                } else {
                    Self::Sampled(Sampled { sigma, rate })
                };
                let driven_out = Self::Replaced(Replaced {
                    sigma: 0.5 * sigma,
                    rate: full_rate,
                });
                Self::Mixture(vec![(full, driven_out), (1.0 - full, plain)])
            }
            Release::Laplace { scale, rate } => Self::Laplace(SampledLaplace { scale, rate }),
            Release::DiscreteGaussian { sigma, sensitivity } => {
                Self::Discrete(Discrete::gaussian(sigma, sensitivity, tail))
            }
            Release::DiscreteLaplace { rate, sensitivity } => {
                Self::Discrete(Discrete::laplace(rate, sensitivity))
            }
            Release::Randomised {
                replaced,
                categories,
            } => Self::Discrete(Discrete::randomised(replaced, categories)),
            Release::FixedSize { .. }
            | Release::Distributed { .. }
            | Release::Concentrated { .. } => return None,
        })
    }

    /// Whether (Q, P) is the same as (P, Q).
    pub(crate) fn is_symmetric(&self) -> bool {
        match self {
            Self::Sampled(pair) => pair.rate == 1.0,
            Self::Laplace(pair) => pair.rate == 1.0,
            Self::Replaced(_) | Self::Discrete(_) => true,
            Self::Mixture(parts) => parts.iter().all(|(_, pair)| pair.is_symmetric()),
        }
    }

    /// The hockey-stick divergence of P from Q, or of Q from P if `swapped`, at an epsilon: delta of one release.
    pub(crate) fn delta(&self, epsilon: f64, swapped: bool) -> f64 {
        match self {
            Self::Sampled(pair) if pair.rate == 1.0 => gaussian::delta(1.0 / pair.sigma, epsilon),
            Self::Sampled(pair) if !swapped => sampled_delta(pair, epsilon),
            Self::Sampled(pair) => hockey_stick(pair, epsilon, swapped),
            Self::Replaced(pair) => hockey_stick(pair, epsilon, swapped),
            Self::Laplace(pair) => hockey_stick(pair, epsilon, swapped),
            Self::Discrete(pair) => {
                // Symmetric: the order makes no difference.
                let above = pair.atoms.iter().filter(|atom| atom.loss > epsilon);
                let sum: f64 = above
                    .map(|atom| -atom.mass * expm1(epsilon - atom.loss))
                    .sum();
                sum + pair.lost
            }
            Self::Mixture(parts) => parts
                .iter()
                .map(|(weight, pair)| weight * pair.delta(epsilon, swapped))
                .sum(),
        }
    }
}

/// `P - e^epsilon Q` on the losses above epsilon, without the part of P that is Q.
fn sampled_delta(pair: &Sampled, epsilon: f64) -> f64 {
    let from = pair.point(epsilon);
    if from == f64::NEG_INFINITY {
        return -expm1(epsilon);
    }
    let moved = normal_cdf((1.0 - from) / pair.sigma);
    let stayed = normal_cdf(-from / pair.sigma);
    let rest = expm1(epsilon) + pair.rate;
    if rest.is_infinite() {
        return 0.0;
    }
    (pair.rate * moved - rest * stayed).max(0.0)
}

fn hockey_stick(pair: &impl Density, epsilon: f64, swapped: bool) -> f64 {
    let at = pair.point(if swapped { -epsilon } else { epsilon });
    let (one, other) = if swapped {
        let (p, q) = pair.below(at);
        (q, p)
    } else {
        pair.above(at)
    };
    let less = if other == 0.0 {
        0.0
    } else {
        exp(epsilon + ln(other))
    };
    (one - less).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_losses_are_inverse() {
        let sampled = Sampled {
            sigma: 0.7,
            rate: 0.02,
        };
        let replaced = Replaced {
            sigma: 0.7,
            rate: 0.02,
        };
        let laplace = SampledLaplace {
            scale: 0.4,
            rate: 0.3,
        };
        for loss in [-0.01, 1e-6, 0.3, 1.0] {
            assert!((sampled.loss(sampled.point(loss)) - loss).abs() < 1e-13);
            assert!((replaced.loss(replaced.point(loss)) - loss).abs() < 1e-13);
        }
        for loss in [-0.2, 0.1, 0.9] {
            assert!((laplace.loss(laplace.point(loss)) - loss).abs() < 1e-13);
        }
        assert_eq!(sampled.point(-0.03), f64::NEG_INFINITY);
    }

    #[test]
    fn one_step_is_its_own_hockey_stick_in_both_orders() {
        // mpmath 1.4.1, quadrature: sigma, rate, epsilon, removed, added.
        for (sigma, rate, epsilon, removed, added) in [
            (1.0, 0.01, 0.5, 2.214_519_013_153_061_6e-7, 0.0),
            (
                1.0,
                0.01,
                0.005,
                0.002_635_150_845_899_187,
                0.000_963_144_335_305_304_8,
            ),
            (
                2.0,
                0.5,
                0.2,
                0.039_826_883_314_942_81,
                0.023_997_540_358_646_475,
            ),
        ] {
            let pair = Pair::Sampled(Sampled { sigma, rate });
            assert!((pair.delta(epsilon, false) - removed).abs() <= 1e-12 * removed);
            assert!((pair.delta(epsilon, true) - added).abs() <= 1e-12);
        }
    }

    #[test]
    fn tails_are_as_small_as_asked() {
        let pair = Sampled {
            sigma: 1.4,
            rate: 0.5,
        };
        let (low, high) = pair.range(1e-20);
        assert!(pair.below(low).1 < 1e-20 && pair.above(high).0 < 1e-20);
    }
}
