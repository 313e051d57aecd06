//! Functions that the standard library lacks, or has with other last bits on other platforms: tails of the normal and the
//! binomial distribution.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

pub(crate) use libm::{exp, expm1, log as ln, log1p as ln_1p};

/// `erfcx(x) = e^(x^2) erfc(x)` for `x >= 0`: no underflow.
pub(crate) fn erfcx(x: f64) -> f64 {
    if x < 3.0 {
        return exp(x * x) * libm::erfc(x);
    }
    // Continued fraction x + (1/2)/(x + 1/(x + (3/2)/(x + ...))) from its far end; 28 levels are exact from 3 on.
    let tail = (1..=28)
        .rev()
        .fold(x, |tail, level| x + 0.5 * f64::from(level) / tail);
    1.0 / (tail * PI.sqrt())
}

/// The standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// Its logarithm, without underflow.
pub fn ln_normal_cdf(x: f64) -> f64 {
    if x < -1.0 {
        ln(0.5 * erfcx(-x * FRAC_1_SQRT_2)) - 0.5 * x * x
    } else {
        ln_1p(-normal_cdf(-x))
    }
}

/// The standard normal density.
pub(crate) fn normal_density(x: f64) -> f64 {
    exp(-0.5 * x * x) / (2.0 * PI).sqrt()
}

/// Mills' ratio: the upper tail over the density.
pub(crate) fn mills(x: f64) -> f64 {
    if x >= 0.0 {
        (0.5 * PI).sqrt() * erfcx(x * FRAC_1_SQRT_2)
    } else {
        normal_cdf(-x) / normal_density(x)
    }
}

/// The point with this share of a standard normal below it, for a share in (0, 1).
pub fn normal_quantile(share: f64) -> f64 {
    if share > 0.5 {
        return -normal_quantile(1.0 - share);
    }
    let wanted = ln(share);
    // Newton on the logarithm of the distribution function, which is concave: from the left it never overshoots.
    let mut x = -(-2.0 * wanted).sqrt() - 1.0;
    for _ in 0..60 {
        let step = (wanted - ln_normal_cdf(x)) * mills(-x);
        x += step;
        if step.abs() <= 1e-15 * x.abs().max(1.0) {
            break;
        }
    }
    x
}

/// `ln(e^x - 1)` for `x > 0`.
pub(crate) fn ln_expm1(x: f64) -> f64 {
    if x > 40.0 { x } else { ln(expm1(x)) }
}

/// `ln(e^a + e^b)`.
pub(crate) fn ln_sum(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        high
    } else {
        high + ln_1p(exp(low - high))
    }
}

/// What Stirling's formula for `ln n!` lacks.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return libm::lgamma(n + 1.0) - (n + 0.5) * ln(n) + n - 0.5 * ln(2.0 * PI);
    }
    let m = 1.0 / (n * n);
    (1.0 / 12.0 - m * (1.0 / 360.0 - m * (1.0 / 1260.0 - m / 1680.0))) / n
}

/// `x ln(x / m) + m - x`, also where x is near m.
fn deviance(x: f64, m: f64) -> f64 {
    let d = (x - m) / m;
    if d.abs() > 0.1 {
        return x * ln(x / m) + m - x;
    }
    // (1 + d) ln(1 + d) - d = d^2/2 - d^3/6 + d^4/12 - ...
    let mut power = d;
    let mut sum = 0.0;
    for k in 2..40 {
        power *= -d;
        sum -= power / f64::from(k * (k - 1));
        if power.abs() < 1e-18 * sum.abs() {
            break;
        }
    }
    m * sum
}

/// The chance of exactly `k` of `n` coins, each with chance `q` in (0, 1), by Loader's saddle-point form: full precision
/// for any `n`.
fn binomial(k: f64, n: f64, q: f64) -> f64 {
    if k == 0.0 {
        return exp(n * ln_1p(-q));
    }
    if k == n {
        return exp(n * ln(q));
    }
    let exponent = stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, n * q)
        - deviance(n - k, n * (1.0 - q));
    exp(exponent) * (n / (2.0 * PI * k * (n - k))).sqrt()
}

/// The chance of at least `k` of `n` coins, each with chance `q` in (0, 1).
pub fn binomial_tail(k: u64, n: u64, q: f64) -> f64 {
    if k > n {
        return 0.0;
    }
    let (n_real, odds) = (n as f64, q / (1.0 - q));
    let sum = |from: u64, up: bool| {
        let mut at = from;
        let mut term = binomial(at as f64, n_real, q);
        let mut sum = 0.0_f64;
        loop {
            sum += term;
            // Terms fall away from the mode: nothing is left once one is lost in the sum.
            if term <= sum * 1e-18 || (up && at == n) || (!up && at == 0) {
                return sum;
            }
            if up {
                term *= (n - at) as f64 / (at + 1) as f64 * odds;
                at += 1;
            } else {
                term *= at as f64 / ((n - at + 1) as f64 * odds);
                at -= 1;
            }
        }
    };
    if (k as f64) > n_real * q {
        sum(k, true)
    } else if k == 0 {
        1.0
    } else {
        1.0 - sum(k - 1, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn tails_of_the_normal_distribution_keep_their_digits() {
        // mpmath 1.4.1: log(ncdf(x)).
        for (x, expected) in [
            (-1.5, -2.705_944_400_823_889_8),
            (-5.0, -15.064_998_393_988_727),
            (-40.0, -804.608_442_013_753_8),
            (0.5, -0.368_946_415_288_656_6),
            (3.0, -0.001_350_809_964_748_193_8),
        ] {
            close(ln_normal_cdf(x), expected, 1e-14);
        }
        // The two branches meet.
        close(erfcx(3.0), erfcx(3.0 - 1e-15), 1e-14);
    }

    #[test]
    fn quantiles_invert() {
        for share in [1e-300, 1e-12, 0.001, 0.2, 0.5, 0.9, 0.999_999] {
            close(normal_cdf(normal_quantile(share)), share, 1e-12);
        }
    }

    #[test]
    fn binomial_tails_are_sums() {
        // The definition, term by term.
        let n = 30_u64;
        for q in [0.01_f64, 0.3, 0.9] {
            let mut expected = 0.0;
            for k in (0..=n).rev() {
                let choose = (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
                expected += choose * q.powi(k as i32) * (1.0 - q).powi((n - k) as i32);
                close(binomial_tail(k, n, q), expected, 1e-11);
            }
        }
        assert_eq!(binomial_tail(31, 30, 0.5), 0.0);
        // mpmath 1.4.1, the sum of exact terms.
        close(
            binomial_tail(150, 9999, 0.01),
            1.648_388_505_587_509_7e-6,
            1e-12,
        );
        close(
            binomial_tail(10_501, 1_000_000, 0.01),
            3.001_036_924_467_914e-7,
            1e-12,
        );
    }
}
