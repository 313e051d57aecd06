//! Whole numbers that are exact through a mean of 32-bit fractions, plain or masked.
//!
//! A round averages vectors of `f32`; a secure sum rounds them to codes of few bits at random. A whole number survives both
//! if it is written as digits ("limbs") that every step represents exactly: with q bits a limb, q = 16 - log2(owners) as a sum
//! in lanes of 16 bits has, a limb l travels as `l - (2^q - 1) / 2`. That is a code of the quantiser with range
//! `(2^q - 1) / 2`, so nothing is rounded; and the mean over n owners times n is within 1/8 of the sum of the limbs. Zero is no such
//! code: coordinates that are not in use travel as [`REST`], and the reader knows how often.

use cloister_data::statistics::survey::Width;

/// What travels where there is no limb.
pub(crate) const REST: f32 = -0.5;

/// Fewest bits of a limb.
const LEAST_BITS: u32 = 4;

/// How many bits whole numbers may have.
const MOST_BITS: u32 = 126;

/// The limbs of a number of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limbs {
    owners: u32,
    bits: u32,
}

impl Limbs {
    /// The limbs for so many owners; `None` if they are too many.
    pub(crate) fn new(owners: u32) -> Option<Self> {
        let bits = u32::from(cloister_secagg::quantise::bits_for(16, owners));
        (owners > 0 && bits >= LEAST_BITS).then_some(Self { owners, bits })
    }

    /// The largest limb over two: the clipping range of the quantiser.
    pub(crate) fn range(self) -> f32 {
        ((1_u32 << self.bits) - 1) as f32 / 2.0
    }

    /// Limbs that numbers take, and one more that tells that they are there.
    pub(crate) fn count(self, widths: &[Width]) -> usize {
        let limbs = widths.iter().map(|width| self.of(*width));
        1 + limbs.sum::<usize>()
    }

    fn of(self, width: Width) -> usize {
        width.bits.min(MOST_BITS).div_ceil(self.bits) as usize
    }

    /// Added to a number that may be negative.
    fn offset(width: Width) -> u128 {
        match width.signed {
            true => 1 << (width.bits - 1),
            false => 0,
        }
    }

    /// An owner's numbers as coordinates of an update; `None` for a number beyond its width.
    pub(crate) fn spell(self, numbers: &[i128], widths: &[Width]) -> Option<Vec<f32>> {
        let mask = (1_u128 << self.bits) - 1;
        let range = self.range();
        let mut spelled = vec![range];
        for (number, width) in numbers.iter().zip(widths) {
            let number = (*number as u128).wrapping_add(Self::offset(*width));
            if number >> width.bits != 0 {
                return None;
            }
            let limbs = (0..self.of(*width) as u32).map(|limb| number >> (limb * self.bits) & mask);
            spelled.extend(limbs.map(|limb| limb as f32 - range));
        }
        Some(spelled)
    }

    /// Whether the owners' numbers are in these coordinates of the model, or nothing yet but [`REST`], up to 14 times.
    pub(crate) fn are_there(mean: &[f32]) -> bool {
        mean.first().is_some_and(|mark| *mark > 0.0)
    }

    /// The sums of the owners' numbers, from the mean of what they spelled, to which [`REST`] was added so many times; `None` if a
    /// limb is none that so many owners can have spelled.
    pub(crate) fn read(self, mean: &[f32], rests: usize, widths: &[Width]) -> Option<Vec<i128>> {
        let most = f64::from(self.owners) * 2.0 * f64::from(self.range());
        let owners = f64::from(self.owners);
        let range = f64::from(self.range()) - rests as f64 * f64::from(REST);
        let mut limbs = mean.iter().skip(1);
        let mut number = |width: &Width| {
            let mut sum = 0_u128;
            for (place, mean) in (0..).zip(limbs.by_ref().take(self.of(*width))) {
                let limb = ((f64::from(*mean) + range) * owners).round();
                if !(0.0..=most).contains(&limb) {
                    return None;
                }
                // The true sum fits, so that what overflows on the way comes back.
                sum = sum.wrapping_add((limb as u128) << (place * self.bits));
            }
            let offsets = Self::offset(*width).wrapping_mul(self.owners.into());
            Some(sum.wrapping_sub(offsets) as i128)
        };
        widths.iter().map(&mut number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDTHS: [Width; 3] = [
        Width {
            bits: 32,
            signed: false,
        },
        Width {
            bits: 126,
            signed: true,
        },
        Width {
            bits: 109,
            signed: false,
        },
    ];

    proptest! {
        /// Averaged in `f32`, as a server keeps its model, the sums come back to the last digit.
        #[test]
        fn sums_are_exact(
            owned in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 1..300),
        ) {
            let limbs = Limbs::new(owned.len() as u32).unwrap();
            let mut sums = [0_i128; 3];
            let mut mean = vec![0.0_f64; limbs.count(&WIDTHS)];
            for (count, signed, large) in &owned {
                // Of all owners together, numbers stay within 2^125.
                let numbers = [i128::from(*count), i128::from(*signed) << 52, i128::from(*large) << 45];
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += number;
                }
                let spelled = limbs.spell(&numbers, &WIDTHS).unwrap();
                for (mean, value) in mean.iter_mut().zip(spelled) {
                    *mean += f64::from(value) / owned.len() as f64;
                }
            }
            let mut mean: Vec<f32> = mean.into_iter().map(|value| value as f32).collect();
            for rests in 0..10 {
                prop_assert!(Limbs::are_there(&mean));
                prop_assert_eq!(limbs.read(&mean, rests, &WIDTHS), Some(sums.to_vec()));
                mean.iter_mut().for_each(|value| *value += REST);
            }
            prop_assert!(!Limbs::are_there(&vec![8.0 * REST; mean.len()]));
        }
    }

    #[test]
    fn what_no_owner_spells_is_not_read() {
        let limbs = Limbs::new(10).unwrap();
        let mut mean = limbs.spell(&[7], &WIDTHS[..1]).unwrap();
        assert_eq!(limbs.read(&mean, 0, &WIDTHS[..1]), Some(vec![70]));
        for wrong in [1e30, -1e30, 2048.0, f32::NAN] {
            mean[1] = wrong;
            assert_eq!(limbs.read(&mean, 0, &WIDTHS[..1]), None);
        }
    }

    #[test]
    fn numbers_beyond_their_width_are_not_spelled() {
        let limbs = Limbs::new(10).unwrap();
        assert_eq!((limbs.bits, limbs.range()), (12, 2047.5));
        assert!(limbs.spell(&[-1], &WIDTHS[..1]).is_none());
        assert!(limbs.spell(&[1 << 32], &WIDTHS[..1]).is_none());
        assert!(limbs.spell(&[0, -(1 << 125)], &WIDTHS[..2]).is_some());
        assert!(limbs.spell(&[0, 1 << 125], &WIDTHS[..2]).is_none());
        assert_eq!(Limbs::new(100_000), None);
    }
}
