//! Gaussian noise on everything: closed forms (Balle and Wang, arXiv 1805.06530).
//!
//! Any number of adaptive Gaussian releases is one release of the pair N(mu, 1), N(0, 1), where mu^2 is the sum of the
//! squares of sensitivity over standard deviation.

use crate::special::{exp, expm1, ln, ln_1p, ln_normal_cdf, mills, normal_cdf, normal_density};

/// Gauss-Legendre, eight points on [-1, 1]: half of the points and weights.
const NODES: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_361_96),
    (0.525_532_409_916_329, 0.313_706_645_877_887_27),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
];

/// `ln delta` at an epsilon (any sign) for a mu above 0.
pub(crate) fn ln_delta(mu: f64, epsilon: f64) -> f64 {
    let y = epsilon / mu;
    let (a, b) = (0.5 * mu - y, -0.5 * mu - y);
    if mu < 0.1 && a < 2.0 {
        // delta = density(a) (M(-a) - M(-b)) with Mills' ratio M; its derivative is x M(x) - 1.
        let slope: f64 = NODES
            .iter()
            .flat_map(|&(node, weight)| [(node, weight), (-node, weight)])
            .map(|(node, weight)| weight * mills_slope(y + 0.5 * mu * node))
            .sum();
        return ln(normal_density(0.0)) - 0.5 * a * a + ln(0.5 * mu * slope);
    }
    if a < 2.0 {
        return ln(normal_density(0.0)) - 0.5 * a * a + ln(mills(-a) - mills(-b));
    }
    let above = ln_normal_cdf(a);
    above + ln_1p(-exp(epsilon + ln_normal_cdf(b) - above))
}

/// `1 - x M(x)`, above 0 everywhere.
fn mills_slope(x: f64) -> f64 {
    if x < 30.0 {
        return 1.0 - x * mills(x);
    }
    // Asymptotic: the difference has lost its digits here.
    let m = 1.0 / (x * x);
    m * (1.0 - m * (3.0 - m * (15.0 - m * 105.0)))
}

/// Delta at an epsilon.
pub(crate) fn delta(mu: f64, epsilon: f64) -> f64 {
    if mu == 0.0 {
        return if epsilon < 0.0 { -expm1(epsilon) } else { 0.0 };
    }
    exp(ln_delta(mu, epsilon))
}

/// The smallest epsilon at a delta in (0, 1).
pub(crate) fn epsilon(mu: f64, delta: f64) -> f64 {
    if mu == 0.0 || normal_cdf(0.5 * mu) - normal_cdf(-0.5 * mu) <= delta {
        return 0.0;
    }
    let wanted = ln(delta);
    let rho = 0.5 * mu * mu;
    // Bun and Steinke's bound lies above the root. ln delta is concave in epsilon: Newton from above stays above.
    let mut epsilon = rho + 2.0 * (-rho * wanted).sqrt();
    for _ in 0..60 {
        let found = ln_delta(mu, epsilon);
        let slope = exp(epsilon + ln_normal_cdf(-0.5 * mu - epsilon / mu) - found);
        let next = (epsilon + (found - wanted) / slope).max(0.0);
        let done = (next - epsilon).abs() <= 4.0 * f64::EPSILON * epsilon;
        epsilon = next;
        if done {
            break;
        }
    }
    epsilon
}

/// The largest chance of finding a member at a false-alarm rate in (0, 1).
pub(crate) fn found_at(mu: f64, rate: f64) -> f64 {
    normal_cdf(crate::special::normal_quantile(rate) + mu)
}

/// The smallest mu whose delta at this epsilon is this large.
pub(crate) fn mu_of(epsilon: f64, delta: f64) -> f64 {
    let wanted = ln(delta);
    let (mut low, mut high) = (1e-9_f64, 1.0_f64);
    while ln_delta(high, epsilon) < wanted && high < 1e9 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        if ln_delta(middle, epsilon) < wanted {
            low = middle;
        } else {
            high = middle;
        }
        if high <= low * (1.0 + 1e-12) {
            break;
        }
    }
    high
}
