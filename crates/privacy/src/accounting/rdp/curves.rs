//! The curves of single releases.

use std::f64::consts::PI;

use crate::special::{exp, expm1, ln, ln_1p, ln_expm1, ln_sum};

/// From here on orders are rounded up to whole ones: the sum over binomials is faster there than the integral.
const WHOLE_FROM: f64 = 32.0;
/// Largest logarithm that is worked on without logarithms.
const LARGEST_EXPONENT: f64 = 600.0;

/// Gaussian noise of `sigma` times the sensitivity.
pub fn gaussian(order: f64, sigma: f64) -> f64 {
    0.5 * order / (sigma * sigma)
}

/// Zero-concentrated with this rho.
pub fn zcdp(order: f64, rho: f64) -> f64 {
    order * rho
}

/// Pure differential privacy with this epsilon.
pub fn pure(order: f64, epsilon: f64) -> f64 {
    epsilon.min(0.5 * order * epsilon * epsilon)
}

/// Laplace noise of `scale` times the sensitivity (Mironov, arXiv 1702.07476, Proposition 6).
pub fn laplace(order: f64, scale: f64) -> f64 {
    let epsilon = 1.0 / scale;
    let share = (order - 1.0) / (2.0 * order - 1.0);
    (epsilon + ln_1p(share * expm1(epsilon * (1.0 - 2.0 * order))) / (order - 1.0)).max(0.0)
}

/// Gaussian noise on a Poisson sample, unit added or removed (Mironov, Talwar, Zhang, arXiv 1908.10530). Exact but for
/// rounding up to a whole order from 32 on.
pub fn poisson_gaussian(order: f64, sigma: f64, rate: f64) -> f64 {
    if rate == 1.0 {
        return gaussian(order, sigma);
    }
    let order = if order > WHOLE_FROM {
        order.ceil()
    } else {
        order
    };
    let ln_a = if order.fract() == 0.0 {
        ln_a_whole(order, sigma, rate)
    } else if order * (order - 1.0) / (2.0 * sigma * sigma) < LARGEST_EXPONENT {
        ln_1p(a_minus_one(order, sigma, rate))
    } else {
        ln_a_integral(order, sigma, |x| ln_ratio(x, sigma, rate) * order, order)
    };
    // Never above the release without sampling.
    (ln_a.max(0.0) / (order - 1.0) * (1.0 + 4.0 * f64::EPSILON)).min(gaussian(order, sigma))
}

/// The logarithm of `1 - q + q e^((2x - 1) / (2 s^2))`.
fn ln_ratio(x: f64, sigma: f64, rate: f64) -> f64 {
    let exponent = (x - 0.5) / (sigma * sigma);
    if exponent > LARGEST_EXPONENT {
        ln_sum(ln_1p(-rate), exponent + ln(rate))
    } else {
        ln_1p(rate * expm1(exponent))
    }
}

/// `ln sum_k C(a, k) q^k (1-q)^(a-k) e^((k^2 - k) / (2 s^2))`. The sum less 1 has only positive terms, from k = 2 on.
fn ln_a_whole(order: f64, sigma: f64, rate: f64) -> f64 {
    let (ln_in, ln_out) = (ln(rate), ln_1p(-rate));
    let mut ln_choose = ln(order);
    let mut sum = f64::NEG_INFINITY;
    for k in 2..=order as u64 {
        let k = k as f64;
        ln_choose += ln((order - k + 1.0) / k);
        let moment = ln_expm1(k * (k - 1.0) / (2.0 * sigma * sigma));
        sum = ln_sum(sum, ln_choose + k * ln_in + (order - k) * ln_out + moment);
    }
    ln_sum(0.0, sum)
}

/// `E[R^a - 1 - a (R - 1)]` for the ratio R, which is 1 on average: what is left of `E[R^a] - 1` has no negative values.
/// Trapezoid rule, exponentially accurate for a smooth function that falls off like a Gaussian.
fn a_minus_one(order: f64, sigma: f64, rate: f64) -> f64 {
    let step = trapezoid_step(sigma);
    let variance = sigma * sigma;
    let (low, high) = (-12.0 * sigma, order + 12.0 * sigma);
    let mut sum = 0.0;
    for at in 0..=((high - low) / step) as u64 {
        let x = low + at as f64 * step;
        let excess = rate * expm1((x - 0.5) / variance);
        let term = excess_power(order, excess);
        if term.is_finite() {
            sum += exp(-0.5 * x * x / variance) * term;
        } else {
            sum += exp(order * ln_ratio(x, sigma, rate) - 0.5 * x * x / variance);
        }
    }
    sum * step / (sigma * (2.0 * PI).sqrt())
}

/// `(1 + r)^a - 1 - a r`.
fn excess_power(order: f64, r: f64) -> f64 {
    if (order * r).abs() > 0.05 {
        return expm1(order * ln_1p(r)) - order * r;
    }
    // The binomial series from its third term on.
    let mut term = 0.5 * order * (order - 1.0) * r * r;
    let mut sum = 0.0;
    for k in 3..16 {
        sum += term;
        term *= (order - f64::from(k) + 1.0) / f64::from(k) * r;
    }
    sum
}

/// Steps that resolve both the Gaussian and the branch points of the logarithm of the ratio, pi sigma^2 off the axis.
fn trapezoid_step(sigma: f64) -> f64 {
    (sigma / 8.0).min(sigma * sigma / 3.0)
}

/// `ln E_(x ~ N(0, s^2)) e^(f(x))`, with the bulk up to `reach`, from above: with what rounding may have taken.
fn ln_a_integral(order: f64, sigma: f64, exponent: impl Fn(f64) -> f64, reach: f64) -> f64 {
    let step = trapezoid_step(sigma);
    let (low, high) = (-12.0 * sigma, reach.max(order) + 12.0 * sigma);
    let points = ((high - low) / step) as u64;
    let mut sum = f64::NEG_INFINITY;
    for at in 0..=points {
        let x = low + at as f64 * step;
        let z = x / sigma;
        sum = ln_sum(sum, exponent(x) - 0.5 * z * z);
    }
    let rounding = 4.0 * f64::EPSILON * (points as f64 + sum.abs());
    sum + ln(step / (sigma * (2.0 * PI).sqrt())) + rounding
}

/// Gaussian noise on a Poisson sample, unit exchanged for another: the divergence of the pair
/// `(1 - q) N(0, s^2) + q N(1, s^2)` and its mirror image. `sigma` is noise over the distance that one unit can move the
/// sum from where it is without it.
pub fn replaced_gaussian(order: f64, sigma: f64, rate: f64) -> f64 {
    let unsampled = gaussian(order, 0.5 * sigma);
    if rate == 1.0 {
        return unsampled;
    }
    let exponent =
        |x: f64| order * ln_ratio(x, sigma, rate) + (1.0 - order) * ln_ratio(-x, sigma, rate);
    let ln_a = ln_a_integral(order, sigma, exponent, 2.0 * order);
    (ln_a.max(0.0) / (order - 1.0) * (1.0 + 4.0 * f64::EPSILON)).min(unsampled)
}

/// Gaussian noise on a uniform subset of fixed size, a unit exchanged for another or blanked (Wang, Balle,
/// Kasiviswanathan, arXiv 1808.00087, Theorem 27). `sigma` is noise over the distance between the sums of neighbours,
/// `share` the size over the population, orders are whole: between them the logarithm of the moment is interpolated.
pub fn fixed_size_gaussian(order: f64, sigma: f64, share: f64) -> f64 {
    if share == 1.0 {
        return gaussian(order, sigma);
    }
    FixedSize::new(sigma, share).at(order)
}

/// The curve of sampling without replacement, with its table of differences.
pub(super) struct FixedSize {
    sigma: f64,
    share: f64,
    /// `ln E_Q[(P/Q - 1)^(2 l)]` at l, for as far as asked.
    differences: std::cell::RefCell<Vec<f64>>,
}

impl FixedSize {
    pub(super) fn new(sigma: f64, share: f64) -> Self {
        Self {
            sigma,
            share,
            differences: std::cell::RefCell::new(vec![0.0]),
        }
    }

    pub(super) fn at(&self, order: f64) -> f64 {
        interpolated(order, &|whole| self.ln_moment(whole)).min(gaussian(order, self.sigma))
    }

    /// The even differences of the moments are moments of `P/Q - 1`: integrals without a negative value.
    fn difference(&self, half: usize) -> f64 {
        let mut known = self.differences.borrow_mut();
        while known.len() <= half {
            let power = 2.0 * known.len() as f64;
            let variance = self.sigma * self.sigma;
            let exponent = |x: f64| {
                let exponent: f64 = (x - 0.5) / variance;
                let ln_distance = if exponent > 0.0 {
                    ln_expm1(exponent)
                } else {
                    ln(-expm1(exponent))
                };
                power * ln_distance
            };
            known.push(ln_a_integral(power, self.sigma, exponent, power));
        }
        known[half]
    }

    /// `(a - 1)` times the divergence at a whole order.
    fn ln_moment(&self, order: f64) -> f64 {
        let variance = self.sigma * self.sigma;
        let mut sum = 0.0;
        let mut ln_choose = ln(order);
        for k in 2..=order as usize {
            let real = k as f64;
            ln_choose += ln((order - real + 1.0) / real);
            let plain = ln(2.0) + real * (real - 1.0) / (2.0 * variance);
            let better = ln(4.0)
                + if k == 2 {
                    ln_expm1(1.0 / variance)
                } else {
                    0.5 * (self.difference(k / 2) + self.difference(k.div_ceil(2)))
                };
            sum = ln_sum(sum, ln_choose + real * ln(self.share) + plain.min(better));
        }
        sum
    }
}

/// A curve known at whole orders: `(a - 1)` times it is convex in a, so a straight line between them is above it.
pub(super) fn interpolated(order: f64, ln_moment: &dyn Fn(f64) -> f64) -> f64 {
    let (low, high) = (order.floor(), order.ceil());
    let part = order - low;
    let of_low = if low < 2.0 || part == 1.0 {
        0.0
    } else {
        ln_moment(low)
    };
    let of_high = if part == 0.0 { of_low } else { ln_moment(high) };
    (of_low + part * (of_high - of_low)) / (order - 1.0)
}

/// Any release on a Poisson sample, unit added or removed (Zhu and Wang, ICML 2019, Theorem 5), from its curve without
/// sampling. Orders are whole: between them the logarithm of the moment is interpolated.
pub fn poisson_amplified(order: f64, rate: f64, inner: &dyn Fn(f64) -> f64) -> f64 {
    if rate == 1.0 {
        return inner(order);
    }
    interpolated(order, &|whole| amplified_moment(whole, rate, inner)).min(inner(order))
}

fn amplified_moment(order: f64, rate: f64, inner: &dyn Fn(f64) -> f64) -> f64 {
    let (ln_in, ln_out) = (ln(rate), ln_1p(-rate));
    let mut ln_choose = ln(order);
    let mut sum = (order - 1.0) * ln_out + ln_1p(rate * (order - 1.0));
    for k in 2..=order as u64 {
        let k = k as f64;
        ln_choose += ln((order - k + 1.0) / k);
        let factor = if k > 2.0 { ln(3.0) } else { 0.0 };
        let moment = (k - 1.0) * inner(k);
        sum = ln_sum(
            sum,
            factor + ln_choose + k * ln_in + (order - k) * ln_out + moment,
        );
    }
    sum.max(0.0)
}

/// The sum of many discrete Gaussians (Kairouz, Liu, Steinke, arXiv 2102.06387, Proposition 14), without sampling:
/// sensitivities over the standard deviation of the sum, `tau` the distance of the sum from one discrete Gaussian.
pub fn distributed_gaussian(order: f64, l2: f64, l1: f64, tau: f64, dimension: f64) -> f64 {
    let root = l2 + dimension.sqrt() * tau;
    let each = l2 * l2 + 2.0 * l1 * tau + tau * tau * dimension;
    let flat = 0.5 * order * l2 * l2 + tau * dimension;
    flat.min(0.5 * order * each).min(0.5 * order * root * root)
}
