//! Continuous Gaussian noise, rounded to integers.

mod normal;

use crate::error::PrivacyError;
use crate::kernels;
use crate::noise::NoiseSource;
use normal::{Pairs, exponent, halvings, is_rare, pair};

/// Pairs of one block: its words and its noise stay in the first cache.
pub(crate) const PAIRS: usize = 256;
/// A block of noise.
pub(crate) type Block = [[i64; PAIRS]; 2];
/// Noise of one block.
pub(crate) const BLOCK: usize = 2 * PAIRS;
/// So few integers do not need a block.
const FEW: usize = 32;
/// Above it, noise could leave the range in which rounding is exact: 15 standard deviations must be below 2^51.
const MOST: f64 = (1_u64 << 40) as f64;

/// A Gaussian with mean 0, rounded to the nearest integer.
///
/// Since `n + round(g) = round(n + g)` for an integer `n`, integers with this noise are the ideal Gaussian mechanism and
/// then rounding, and the accounting of the continuous Gaussian holds for them as it stands, with any sampling. (Noise of
/// several parties added up is another matter: see [`DiscreteGaussian`](super::DiscreteGaussian).)
///
/// # How near it is to that
///
/// Two coordinates at a time by Box and Muller (1958), in `f64`, without tables or rejections. The radius is the root of
/// `-2 ln u` for a `u` with 51 random bits behind its leading one, however small it is: down to 2^-153, 14.5 standard
/// deviations; the mass beyond, 2^-152 a pair, is missing. Computed points are within `eta = 2^-52 (5.2 R + 1 / R)` standard
/// deviations of where exact arithmetic with infinitely many random bits would put them, at radius `R` (measured in the
/// tests). A cell of the integer grid therefore has its ideal probability within a factor `1 ± 4 sigma eta`;
/// [`RoundedGaussian::renyi_error`] adds that up. Time depends on the noise only in that about one pair in 2^24 takes
/// another word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedGaussian {
    sigma: f64,
}

impl RoundedGaussian {
    /// Noise of standard deviation `sigma` before rounding, in steps of the grid.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless `sigma` is above 0 and at most 2^40.
    pub fn new(sigma: f64) -> Result<Self, PrivacyError> {
        if sigma > 0.0 && sigma <= MOST {
            return Ok(Self { sigma });
        }
        Err(PrivacyError::Parameter {
            name: "the noise's standard deviation in steps of the grid",
            range: "above 0 and at most 2^40",
            found: sigma,
        })
    }

    /// Noise so fine that, divided by its standard deviation of 2^46, it is as continuous as `f64` allows.
    pub(crate) fn fine() -> Self {
        Self {
            sigma: (1_u64 << 46) as f64,
        }
    }

    /// Standard deviation before rounding.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// Adds noise to each integer.
    ///
    /// # Panics
    ///
    /// In builds with overflow checks, if an integer is within 2^45 of the ends of its range.
    pub fn add(&self, source: &mut NoiseSource, integers: &mut [i64]) {
        if integers.len() <= FEW {
            for pair in integers.chunks_mut(2) {
                for (integer, noise) in pair.iter_mut().zip(self.pair(source)) {
                    *integer += noise;
                }
            }
            return;
        }
        let mut noise = [[0; PAIRS]; 2];
        for block in integers.chunks_mut(BLOCK) {
            for (integer, noise) in block.iter_mut().zip(self.block(source, &mut noise)) {
                *integer += noise;
            }
        }
    }

    /// One integer of noise.
    pub fn sample(&self, source: &mut NoiseSource) -> i64 {
        let mut one = [0];
        self.add(source, &mut one);
        one[0]
    }

    /// The Rényi divergence of this order, either way, between so many integers of this noise and the ideal: an upper
    /// bound to leading order, doubled.
    ///
    /// At `sigma` 1e6 and 1e10 coordinates it is `3e-7 order`; it grows with the square of `sigma`.
    pub fn renyi_error(&self, order: f64, coordinates: f64) -> f64 {
        // The mean of (4 sigma eta)^2, with R^2 of mean 2 and 1 / R^2 cut off at half a step.
        let (far, near) = (5.2, 1.0);
        let mean =
            2.0 * far * far + 2.0 * far * near + near * near * (1.0 + (2.0 * self.sigma).ln_1p());
        let square = 16.0 * self.sigma * self.sigma * mean * f64::EPSILON * f64::EPSILON;
        order * (coordinates / 2.0) * square
    }

    /// Two integers of noise.
    fn pair(&self, source: &mut NoiseSource) -> [i64; 2] {
        let (radius, angle) = (source.word(), source.word());
        let halvings = if is_rare(radius, angle) {
            halvings(source)
        } else {
            exponent(radius, angle)
        };
        pair(radius, angle, halvings, self.sigma)
    }

    /// A block of noise.
    pub(crate) fn block<'a>(&self, source: &mut NoiseSource, noise: &'a mut Block) -> &'a [i64] {
        let (mut radii, mut angles) = ([0; PAIRS], [0; PAIRS]);
        source.fill(&mut radii);
        source.fill(&mut angles);
        let [x, y] = noise;
        kernels::call(Pairs {
            radii: &radii,
            angles: &angles,
            sigma: self.sigma,
            x,
            y,
        });
        let words = || radii.iter().copied().zip(angles);
        if words().fold(false, |any, (radius, angle)| any | is_rare(radius, angle)) {
            for (i, (radius, angle)) in words().enumerate() {
                if is_rare(radius, angle) {
                    [x[i], y[i]] = pair(radius, angle, halvings(source), self.sigma);
                }
            }
        }
        noise.as_flattened()
    }
}
