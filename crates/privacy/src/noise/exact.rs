//! Exact samplers by rejection, with integers only (Canonne, Kamath, Steinke, arXiv 2004.00010, algorithms 1 to 3).
//!
//! Their time depends on what they draw. They are for counts, and the yardstick of the tables.

use crate::error::PrivacyError;
use crate::noise::NoiseSource;

/// Integers with `Pr[x]` proportional to `exp(-|x| rate)`, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiscreteLaplace {
    /// The rate in units of 2^-40.
    rate: u64,
}

/// Bits of a rate behind the point.
const RATE_BITS: u32 = 40;

impl DiscreteLaplace {
    /// The distribution with this rate, rounded down to a multiple of 2^-40: [`DiscreteLaplace::rate`] says which.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless `rate` is between 2^-20 and 64.
    pub fn new(rate: f64) -> Result<Self, PrivacyError> {
        if !(2_f64.powi(-20)..=64.0).contains(&rate) {
            return Err(PrivacyError::Parameter {
                name: "the rate of discrete Laplace noise",
                range: "between 2^-20 and 64",
                found: rate,
            });
        }
        Ok(Self {
            rate: (rate * (1_u64 << RATE_BITS) as f64) as u64,
        })
    }

    /// The rate of what is drawn.
    pub fn rate(&self) -> f64 {
        self.rate as f64 / (1_u64 << RATE_BITS) as f64
    }

    /// One integer.
    pub fn sample(&self, source: &mut NoiseSource) -> i64 {
        laplace(self.rate, 1 << RATE_BITS, source)
    }
}

/// Integers with `Pr[x]` proportional to `exp(-x^2 / (2 v))`, exactly, for a rational v. Slow: about a microsecond each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactDiscreteGaussian {
    numerator: u32,
    denominator: u32,
}

impl ExactDiscreteGaussian {
    /// The distribution with the parameter v = `numerator / denominator`.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless both are between 1 and 2^26.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self, PrivacyError> {
        for part in [numerator, denominator] {
            if !(1..=1 << 26).contains(&part) {
                return Err(PrivacyError::Parameter {
                    name: "either part of the variance's fraction",
                    range: "between 1 and 2^26",
                    found: part.into(),
                });
            }
        }
        Ok(Self {
            numerator,
            denominator,
        })
    }

    /// One integer.
    pub fn sample(&self, source: &mut NoiseSource) -> i64 {
        let (n, d) = (u128::from(self.numerator), u128::from(self.denominator));
        let t = u128::from((self.numerator / self.denominator).isqrt()) + 1;
        loop {
            // At most 2^13 sizes of a Laplace variable, which is below 2^13 2^6 but with the chance exp(-64): the square is
            // below 2^118.
            let y = laplace(1, t as u64, source);
            let size = u128::from(y.unsigned_abs());
            let off = (size * d * t).abs_diff(n);
            if chance_of_exponential(off * off, 2 * n * d * t * t, source) {
                return y;
            }
        }
    }
}

/// An integer with `Pr[x]` proportional to `exp(-|x| s / t)`.
fn laplace(s: u64, t: u64, source: &mut NoiseSource) -> i64 {
    loop {
        let rest = source.below(t);
        if !chance_of_exponential(rest.into(), t.into(), source) {
            continue;
        }
        let mut whole = 0_u64;
        // The bound is never met: it has the chance exp(-2^20).
        while whole < 1 << 20 && chance_of_exponential(1, 1, source) {
            whole += 1;
        }
        let size = ((rest + t * whole) / s) as i64;
        let negative = source.coin(0.5);
        if !(negative && size == 0) {
            return if negative { -size } else { size };
        }
    }
}

/// True with the chance `exp(-n / d)`.
fn chance_of_exponential(n: u128, d: u128, source: &mut NoiseSource) -> bool {
    (0..n / d).all(|_| chance_of_small_exponential(1, 1, source))
        && chance_of_small_exponential(n % d, d, source)
}

/// The same for `n` not above `d`: the series of the exponential, as a game of coins.
fn chance_of_small_exponential(n: u128, d: u128, source: &mut NoiseSource) -> bool {
    let mut k = 1_u128;
    while below(d * k, source) < n {
        k += 1;
    }
    k % 2 == 1
}

/// A uniform integer below `bound`, which is not 0.
fn below(bound: u128, source: &mut NoiseSource) -> u128 {
    if let Ok(bound) = u64::try_from(bound) {
        return source.below(bound).into();
    }
    let bits = (bound - 1).leading_zeros();
    loop {
        let draw = (u128::from(source.word()) << 64 | u128::from(source.word())) >> bits;
        if draw < bound {
            return draw;
        }
    }
}
