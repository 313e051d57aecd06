//! A sum of weighted vectors that does not depend on the order of its terms.
//!
//! Floating-point addition is not associative, so a mean over replies that arrive in any order would differ from run to
//! run. Keeping all replies to sort them costs n x d memory. [`ExactSum`] adds in fixed point instead: integers
//! commute, so the result depends only on the *set* of terms, with O(d) memory, and sums made apart can be merged.

/// Largest weight of one term: products `f32 x weight` stay exact in `f64`.
pub const MAX_WEIGHT: u32 = (1 << 29) - 1;
/// Largest number of terms.
pub const MAX_TERMS: u32 = 1 << 17;
/// Magnitudes of `value x weight` must stay below this.
pub const MAX_PRODUCT: f64 = (1_u64 << 35) as f64;

/// One unit of the high limb is 2^-10, one of the low limb 2^-56.
const HIGH_SCALE: f64 = 1024.0;
const LOW_BITS: u32 = 46;
const LOW_SCALE: f64 = (1_u64 << 56) as f64;
/// Adding this rounds a double of magnitude below 2^51 to an integer that sits in its low mantissa bits.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 x 2^52

/// The sum of `weight x vector` over the accepted replies of a round: d entries, each a pair of integers with a
/// resolution of 2^-56 (each term is rounded to it, an absolute error of at most 2^-57), the same for any order of up to 2^17 terms of magnitude below 2^35.
#[derive(Clone, Debug)]
pub struct ExactSum {
    high: Vec<i64>,
    low: Vec<i64>,
    weight: u64,
    terms: u32,
}

impl ExactSum {
    /// An empty sum of vectors of length `len`.
    pub fn new(len: usize) -> Self {
        Self {
            high: vec![0; len],
            low: vec![0; len],
            weight: 0,
            terms: 0,
        }
    }

    /// Sum of the weights so far.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Number of terms so far.
    pub fn terms(&self) -> u32 {
        self.terms
    }

    /// The largest magnitude an entry may have under `weight`.
    pub fn limit(weight: u32) -> f64 {
        MAX_PRODUCT / f64::from(weight.max(1))
    }

    /// Adds `weight x values`.
    ///
    /// # Errors
    /// [`Unfit`], with nothing added.
    pub fn add(&mut self, values: &[f32], weight: u32) -> Result<(), Unfit> {
        if values.len() != self.high.len() {
            return Err(Unfit::Length);
        }
        if !(1..=MAX_WEIGHT).contains(&weight) {
            return Err(Unfit::Weight);
        }
        if self.terms == MAX_TERMS {
            return Err(Unfit::Full);
        }
        if let Some(index) = first_unfit(values, weight) {
            return Err(Unfit::Entry { index });
        }
        let w = f64::from(weight);
        for ((value, high), low) in values.iter().zip(&mut self.high).zip(&mut self.low) {
            let product = f64::from(*value) * w;
            let (units, rounded) = to_integer(product * HIGH_SCALE);
            let (rest, _) = to_integer((product - rounded / HIGH_SCALE) * LOW_SCALE);
            *high += units;
            *low += rest;
        }
        self.weight += u64::from(weight);
        self.terms += 1;
        Ok(())
    }

    /// Writes the weighted mean into `mean`; zeros if the sum is empty.
    pub fn mean(&self, mean: &mut [f32]) {
        let weight = if self.weight == 0 {
            1.0
        } else {
            self.weight as f64
        };
        for ((mean, high), low) in mean.iter_mut().zip(&self.high).zip(&self.low) {
            // Carry first, so that the two parts do not overlap and the final rounding is that of the true sum.
            let units = high + (low >> LOW_BITS);
            let rest = low & ((1 << LOW_BITS) - 1);
            *mean = ((units as f64 / HIGH_SCALE + rest as f64 / LOW_SCALE) / weight) as f32;
        }
    }
}

/// Why a term was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// It has another length than the sum.
    Length,
    /// Its weight is 0 or above [`MAX_WEIGHT`].
    Weight,
    /// The sum has [`MAX_TERMS`] terms already.
    Full,
    /// An entry is not finite, or is at or beyond [`ExactSum::limit`].
    Entry {
        /// The first such entry.
        index: usize,
    },
}

/// Index of the first entry that is not finite, or whose product with `weight` is too large for the sum.
pub(crate) fn first_unfit(values: &[f32], weight: u32) -> Option<usize> {
    // In f32, the type of the entries: rounding the limit up by an ulp is far inside the integers' headroom.
    let limit = ExactSum::limit(weight) as f32;
    let unfit = |value: &f32| value.is_nan() || value.abs() >= limit;
    // Whole blocks first: no early exit inside, so that the scan runs at memory speed.
    for (block, chunk) in values.chunks(1024).enumerate() {
        if chunk.iter().fold(false, |bad, value| bad | unfit(value)) {
            return chunk
                .iter()
                .position(unfit)
                .map(|within| block * 1024 + within);
        }
    }
    None
}

/// `value` rounded to the nearest integer (ties to even), as an integer and as a double; |value| < 2^51.
#[inline(always)]
fn to_integer(value: f64) -> (i64, f64) {
    let shifted = value + ROUND;
    (
        (shifted.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64),
        shifted - ROUND,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TINY: f32 = 1.0 / (1_u64 << 40) as f32;

    #[test]
    fn mean_of_two_is_exact() {
        let mut sum = ExactSum::new(3);
        assert_eq!(sum.add(&[1.0, -2.5, TINY], 3), Ok(()));
        assert_eq!(sum.add(&[5.0, 0.5, TINY], 1), Ok(()));
        let mut mean = [0.0; 3];
        sum.mean(&mut mean);
        assert_eq!(mean, [2.0, -1.75, TINY]);
        assert_eq!((sum.weight(), sum.terms()), (4, 2));
    }

    #[test]
    fn unfit_terms_leave_the_sum_alone() {
        let mut sum = ExactSum::new(2);
        for (values, weight, reason) in [
            (&[f32::NAN, 0.0][..], 1, Unfit::Entry { index: 0 }),
            (&[0.0, f32::INFINITY], 1, Unfit::Entry { index: 1 }),
            (&[0.0, 3.4e10 * 1.02], 1, Unfit::Entry { index: 1 }),
            (&[0.0, -3.5e9], 10, Unfit::Entry { index: 1 }),
            (&[0.0], 1, Unfit::Length),
            (&[0.0, 0.0], 0, Unfit::Weight),
            (&[0.0, 0.0], MAX_WEIGHT + 1, Unfit::Weight),
        ] {
            assert_eq!(
                sum.add(values, weight),
                Err(reason),
                "{values:?} x {weight}"
            );
        }
        assert_eq!(sum.terms(), 0);
        let mut mean = [1.0; 2];
        sum.mean(&mut mean);
        assert_eq!(mean, [0.0; 2]);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut sum = ExactSum::new(2);
        let top = 3.4e10_f32;
        for _ in 0..MAX_TERMS {
            assert_eq!(sum.add(&[top, -top], 1), Ok(()));
        }
        assert_eq!(sum.add(&[0.0, 0.0], 1), Err(Unfit::Full));
        let mut mean = [0.0; 2];
        sum.mean(&mut mean);
        assert_eq!(mean, [top, -top]);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_the_mean_is_right(
            terms in prop::collection::vec((prop::collection::vec(-1e4_f32..1e4, 5), 1_u32..100_000), 1..20),
            rotation in 0_usize..20,
        ) {
            let mut forward = ExactSum::new(5);
            let mut rotated = ExactSum::new(5);
            for (values, weight) in &terms {
                prop_assert_eq!(forward.add(values, *weight), Ok(()));
            }
            let start = rotation % terms.len();
            for (values, weight) in terms[start..].iter().chain(&terms[..start]).rev() {
                prop_assert_eq!(rotated.add(values, *weight), Ok(()));
            }
            let (mut a, mut b) = ([0.0; 5], [0.0; 5]);
            forward.mean(&mut a);
            rotated.mean(&mut b);
            prop_assert_eq!(a.map(f32::to_bits), b.map(f32::to_bits));
            let total: f64 = terms.iter().map(|(_, w)| f64::from(*w)).sum();
            for (k, mean) in a.iter().enumerate() {
                let exact: f64 = terms.iter().map(|(v, w)| f64::from(v[k]) * f64::from(*w)).sum::<f64>() / total;
                prop_assert!((f64::from(*mean) - exact).abs() <= 1e-6 * exact.abs() + 1e-9);
            }
        }
    }
}
