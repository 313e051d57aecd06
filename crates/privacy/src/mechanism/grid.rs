//! The integer grid on which sums and noise live.

use crate::error::PrivacyError;
use crate::kernels::{self, Kernel};
use crate::mechanism::clip::{self, Clipped};

/// Rounding may lengthen a vector by at most this part of the clip: 2^-10.
const LENGTHENED: f64 = 1.0 / 1024.0;
/// 1.5 * 2^52: adding it rounds to the nearest integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Integers whose squares are added up together.
const SQUARES: usize = 1024;

/// An integer grid for vectors of one length that are clipped to one norm.
///
/// The step is a power of two, so that moving to the grid and back loses nothing but what is rounded. Rounding each entry
/// to the nearest step moves a vector by at most `step sqrt(d) / 2`; the step is the largest for which this is at most
/// 2^-10 of the clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    dimension: usize,
    clip: f64,
    step: f64,
    longest: u128,
}

impl Grid {
    /// The grid for `dimension` entries and the norm `clip`.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] if `dimension` is 0 or above 2^40, or `clip` is not between 1e-30 and 1e30.
    pub fn new(dimension: usize, clip: f64) -> Result<Self, PrivacyError> {
        if dimension == 0 || dimension as u64 > 1 << 40 {
            return Err(PrivacyError::Parameter {
                name: "the vector's length",
                range: "between 1 and 2^40",
                found: dimension as f64,
            });
        }
        check_clip(clip)?;
        let root = (dimension as f64).sqrt();
        let step = libm::exp2((2.0 * LENGTHENED * clip / root).log2().floor());
        let longest = (clip + 0.5 * step * root) / step;
        Ok(Self {
            dimension,
            clip,
            step,
            longest: (longest * longest) as u128,
        })
    }

    /// Number of entries.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The largest norm before rounding.
    pub fn clip(&self) -> f64 {
        self.clip
    }

    /// What an integer is worth.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The largest norm of a rounded vector: the sensitivity of their sum, in the data's units. No more than 1.001 times the
    /// clip. [`Grid::add`] checks it in integers.
    pub fn sensitivity(&self) -> f64 {
        (self.longest as f64).sqrt().next_up() * self.step
    }

    /// Clips `vector`, rounds it to the grid and adds it to `sums`.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] if one of them does not have the grid's length; nothing is added then.
    pub fn add(&self, vector: &[f32], sums: &mut [i64]) -> Result<Clipped, PrivacyError> {
        self.check_length(vector.len())?;
        self.check_length(sums.len())?;
        let (factor, found) = clip::factor(vector, self.clip);
        let scale = factor / self.step;
        let square = kernels::call(Rounded {
            vector,
            scale,
            sums: None,
        });
        // What is added is proven short in integers, whatever the floats before did. Clipping never lets this fail.
        if factor > 0.0 && square <= self.longest {
            kernels::call(Rounded {
                vector,
                scale,
                sums: Some(sums),
            });
        }
        Ok(found)
    }

    /// Refuses vectors of another length.
    pub(crate) fn check_length(&self, length: usize) -> Result<(), PrivacyError> {
        if length == self.dimension {
            return Ok(());
        }
        Err(PrivacyError::Unsupported(format!(
            "a vector of {length} entries does not fit a mechanism for {}",
            self.dimension
        )))
    }
}

/// Refuses norms that are not positive, and those with which `f32` would not do.
pub(crate) fn check_clip(clip: f64) -> Result<(), PrivacyError> {
    if (1e-30..=1e30).contains(&clip) {
        return Ok(());
    }
    Err(PrivacyError::Parameter {
        name: "the clipping norm",
        range: "between 1e-30 and 1e30",
        found: clip,
    })
}

/// Refuses noise multipliers that are not positive numbers.
pub(crate) fn check_multiplier(noise_multiplier: f64) -> Result<(), PrivacyError> {
    if noise_multiplier > 0.0 && noise_multiplier <= 1e6 {
        return Ok(());
    }
    Err(PrivacyError::Parameter {
        name: "the noise multiplier",
        range: "above 0 and at most 1e6",
        found: noise_multiplier,
    })
}

/// Scales and rounds a vector; adds it to the sums, if there are any; gives the square of its integer norm.
struct Rounded<'a> {
    vector: &'a [f32],
    scale: f64,
    sums: Option<&'a mut [i64]>,
}

impl Kernel for Rounded<'_> {
    type Output = u128;

    #[inline(always)]
    fn run(self) -> u128 {
        let Self {
            vector,
            scale,
            sums,
        } = self;
        if let Some(sums) = sums {
            for (sum, &entry) in sums.iter_mut().zip(vector) {
                *sum += nearest(f64::from(entry) * scale);
            }
            return 0;
        }
        vector
            .chunks(SQUARES)
            .map(|block| {
                sum_of_squares(block.iter().map(|&entry| nearest(f64::from(entry) * scale)))
            })
            .sum()
    }
}

/// The sum of the squares of integers, exactly for those below 2^32.
pub(crate) fn square(integers: &[i64]) -> u128 {
    kernels::call(Square { integers })
}

struct Square<'a> {
    integers: &'a [i64],
}

impl Kernel for Square<'_> {
    type Output = u128;

    #[inline(always)]
    fn run(self) -> u128 {
        let blocks = self.integers.chunks(SQUARES);
        blocks
            .map(|block| sum_of_squares(block.iter().copied()))
            .sum()
    }
}

/// Of a block. Its squares are added in two parts, so that a block of 2^64 each fits; larger integers count as 2^32, which
/// makes a sum too large as well.
#[inline(always)]
fn sum_of_squares(block: impl Iterator<Item = i64>) -> u128 {
    let (mut low, mut high) = (0_u64, 0_u64);
    for integer in block {
        let size = integer.unsigned_abs().min(u64::from(u32::MAX));
        let product = size * size;
        low += product & 0xffff_ffff;
        high += product >> 32;
    }
    u128::from(low) + (u128::from(high) << 32)
}

/// The nearest integer, for what is within 2^51 of 0.
#[inline(always)]
pub(crate) fn nearest(value: f64) -> i64 {
    ((value + ROUND).to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64)
}

/// The float of an integer within 2^51 of 0.
#[inline(always)]
pub(crate) fn float(integer: i64) -> f64 {
    f64::from_bits((ROUND.to_bits() as i64).wrapping_add(integer) as u64) - ROUND
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounding_lengthens_by_a_thousandth_at_most() {
        for dimension in [1, 10, 1000, 178_110, 1 << 20, 1 << 30] {
            for clip in [1e-20, 0.1, 1.0, 3.7, 1e20] {
                let grid = Grid::new(dimension, clip).unwrap();
                let inflation = grid.sensitivity() / clip;
                assert!(
                    (1.0..1.001).contains(&inflation),
                    "{dimension} {clip}: {inflation}"
                );
                assert_eq!(grid.step().log2().fract(), 0.0);
            }
        }
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let text = |dimension, clip| Grid::new(dimension, clip).unwrap_err().to_string();
        assert_eq!(
            text(0, 1.0),
            "the vector's length must be between 1 and 2^40, found 0"
        );
        for clip in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                text(3, clip)
                    .starts_with("the clipping norm must be between 1e-30 and 1e30, found")
            );
        }
        let grid = Grid::new(3, 1.0).unwrap();
        let error = grid.add(&[1.0; 4], &mut [0; 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a vector of 4 entries does not fit a mechanism for 3"
        );
        assert!(grid.add(&[1.0; 3], &mut [0; 2]).is_err());
    }

    proptest! {
        /// Kills "clip after the sum": each addition is bounded, not the total.
        #[test]
        fn no_vector_moves_the_sum_by_more_than_the_sensitivity(
            vector in prop::collection::vec(-1e20_f32..1e20, 1..300),
            small in any::<bool>(),
            clip in 0.01_f64..100.0,
            before in -1_i64 << 40..1 << 40,
        ) {
            let vector: Vec<f32> = if small { vector.iter().map(|x| x * 1e-20).collect() } else { vector };
            let grid = Grid::new(vector.len(), clip).unwrap();
            let mut sums = vec![before; vector.len()];
            let found = grid.add(&vector, &mut sums).unwrap();
            let moved: i128 = sums.iter().map(|&sum| i128::from(sum - before).pow(2)).sum();
            let moved = (moved as f64).sqrt() * grid.step();
            prop_assert!(moved <= grid.sensitivity());
            let whole = found.norm.min(clip);
            prop_assert!((moved - whole).abs() <= 2e-3 * clip, "{} instead of {}", moved, whole);
        }
    }

    #[test]
    fn a_vector_that_is_not_finite_adds_nothing() {
        let grid = Grid::new(2, 1.0).unwrap();
        let mut sums = [5, -7];
        assert!(grid.add(&[f32::NAN, 1.0], &mut sums).unwrap().non_finite);
        assert_eq!(sums, [5, -7]);
    }
}
