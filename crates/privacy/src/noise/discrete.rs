//! Discrete Gaussian noise from tables.

use crate::error::PrivacyError;
use crate::noise::NoiseSource;
use crate::noise::wide::Wide;

/// Above it, two smaller ones make one.
const ONE_TABLE: f64 = 2048.0;
/// The parts of a larger one stay below this.
const PART: f64 = 1024.0;
/// The smallest and the largest parameter.
const RANGE: (f64, f64) = (0.125, 524_288.0);

/// Integers with `Pr[x]` proportional to `exp(-x^2 / (2 sigma^2))` (Canonne, Kamath, Steinke, arXiv 2004.00010).
///
/// Up to 2048, by one table of the distribution function, in 127 bits. It is built in 240-bit arithmetic, so that each entry
/// is off by less than 2^-127. Beyond, by a sum `x + k y` of two from one table (Micciancio and Walter 2017), whose
/// distribution is right to 1e-33 of each probability. [`DiscreteGaussian::distance`] has the total.
///
/// The search in the table reads memory that depends on the noise: draw where nobody can watch the cache, before the
/// value that it hides is touched.
#[derive(Clone, Debug)]
pub struct DiscreteGaussian {
    sigma: f64,
    table: Table,
    factor: i64,
}

impl DiscreteGaussian {
    /// The distribution with this parameter; its standard deviation is the same to 1e-8 from 1 on.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless `sigma` is between 1/8 and 2^19.
    pub fn new(sigma: f64) -> Result<Self, PrivacyError> {
        if !(RANGE.0..=RANGE.1).contains(&sigma) {
            return Err(PrivacyError::Parameter {
                name: "the parameter of discrete Gaussian noise, in steps of the grid",
                range: "between 0.125 and 524288",
                found: sigma,
            });
        }
        let (part, factor) = if sigma <= ONE_TABLE {
            (sigma, 0)
        } else {
            // Each part has sigma / sqrt(1 + k^2), which is at least 2 sqrt(1 + k^2): smooth enough.
            let k = ((sigma / PART).powi(2) - 1.0).sqrt().ceil();
            (sigma / k.mul_add(k, 1.0).sqrt(), k as i64)
        };
        Ok(Self {
            sigma,
            table: Table::new(part),
            factor,
        })
    }

    /// The parameter.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// Total variation distance of one integer from the exact distribution: an upper bound.
    pub fn distance(&self) -> f64 {
        let table = (self.table.thresholds.len() + 2) as f64 * 2_f64.powi(-127);
        if self.factor == 0 {
            return table;
        }
        let k = self.factor as f64;
        let smooth = self.sigma / (1.0 + k * k);
        2.0 * table + 4.0 * (-2.0 * (std::f64::consts::PI * smooth).powi(2)).exp()
    }

    /// One integer.
    pub fn sample(&self, source: &mut NoiseSource) -> i64 {
        let first = self.table.sample(source);
        if self.factor == 0 {
            first
        } else {
            first + self.factor * self.table.sample(source)
        }
    }

    /// Adds noise to each integer.
    ///
    /// # Panics
    ///
    /// In builds with overflow checks, if an integer is within 2^24 of the ends of its range.
    pub fn add(&self, source: &mut NoiseSource, integers: &mut [i64]) {
        for integer in integers {
            *integer += self.sample(source);
        }
    }
}

/// A distribution function of absolute values.
#[derive(Clone, Debug)]
struct Table {
    /// `2^127 Pr[|X| <= x]`, rounded down.
    thresholds: Vec<u128>,
    /// How many thresholds are not above a number with these first eight bits and zeros behind.
    starts: Vec<u32>,
}

impl Table {
    fn new(sigma: f64) -> Self {
        let weights = weights(sigma);
        let mut total = Wide::ONE;
        for &weight in &weights[1..] {
            total = total.plus(weight.doubled());
        }
        let inverse = total.reciprocal();
        let mut sum = Wide::ONE;
        let mut thresholds = vec![sum.times(inverse).bits127()];
        for &weight in &weights[1..] {
            sum = sum.plus(weight.doubled());
            thresholds.push(sum.times(inverse).bits127());
        }
        let starts = (0..=256_u128)
            .map(|first| thresholds.partition_point(|&threshold| threshold <= first << 119) as u32)
            .collect();
        Self { thresholds, starts }
    }

    fn sample(&self, source: &mut NoiseSource) -> i64 {
        let high = source.word();
        let uniform = u128::from(high >> 1) << 64 | u128::from(source.word());
        let first = (uniform >> 119) as usize;
        let (from, to) = (self.starts[first] as usize, self.starts[first + 1] as usize);
        let within = &self.thresholds[from..to];
        let size = (from + within.partition_point(|&threshold| threshold <= uniform)) as i64;
        // The bit that `uniform` has no room for is the sign.
        let sign = (high & 1) as i64;
        (size ^ -sign) + sign
    }
}

/// exp(-x^2 / (2 sigma^2)) for x = 0, 1, ... until twice it is below 2^-128.
fn weights(sigma: f64) -> Vec<Wide> {
    // sigma = m 2^e exactly, and 1 / sigma^2 = 2^(-2 e) / m^2.
    let bits = sigma.to_bits();
    let m = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let e = (bits >> 52) as i32 - 1075;
    let half = Wide::quotient(-2 * e - 1, m * m);
    // Each is the one before times a ratio, and each ratio the one before times exp(-1 / sigma^2).
    let mut ratio = half.negative_exponential();
    let step = ratio.times(ratio);
    let mut weight = Wide::ONE;
    let mut weights = Vec::new();
    while weight.at_least(Wide::power(129)) {
        weights.push(weight);
        weight = weight.times(ratio);
        ratio = ratio.times(step);
    }
    weights
}
