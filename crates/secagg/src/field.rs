//! The field of 2^61 - 1 elements (a Mersenne prime), in which secrets are shared.
//!
//! Every operation takes the same instructions for all values: no branch and no index depends on an element. Elements
//! are canonical at all times, so that equal elements have equal bytes.

use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// The prime p = 2^61 - 1.
pub const MODULUS: u64 = (1 << BITS) - 1;

/// Bits of the modulus.
const BITS: u32 = 61;

/// An element of GF(2^61 - 1), its value below [`MODULUS`]. `Debug` does not show it: most elements are secret.
#[derive(Clone, Copy, Default, Zeroize)]
pub struct Fe(u64);

impl Fe {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1);

    /// The element of that value; none if it is [`MODULUS`] or more.
    pub fn new(value: u64) -> Option<Self> {
        (value < MODULUS).then_some(Self(value))
    }

    /// The point at which the member of session index `index` gets its share: `index + 1`, never zero, for zero is where
    /// the secret is.
    pub fn of_index(index: u32) -> Self {
        Self(u64::from(index) + 1)
    }

    /// A uniform element from uniform 64-bit words: the low 61 bits of the first word where they are not 2^61 - 1.
    pub fn sample(word: &mut impl FnMut() -> u64) -> Self {
        loop {
            // What is thrown away is independent of what is kept.
            if let Some(element) = Self::new(word() & MODULUS) {
                return element;
            }
        }
    }

    /// Its value, below [`MODULUS`].
    pub fn value(self) -> u64 {
        self.0
    }

    /// The x with `self * x = 1`; zero for zero. By Fermat: the power p - 2 = 2^61 - 3, the same 70 products for all.
    pub fn inverse(self) -> Self {
        // `power` is self^(2^ones - 1); ones goes 1, 3, 7, 14, 29, 59.
        let mut power = self;
        let mut ones = 1;
        for odd in [true, true, false, true, true] {
            power = power.squared(ones) * power;
            ones *= 2;
            if odd {
                power = power.squared(1) * self;
                ones += 1;
            }
        }
        power.squared(2) * self
    }

    /// The power 2^times.
    fn squared(self, times: u32) -> Self {
        (0..times).fold(self, |x, _| x * x)
    }

    /// The element that a lazily reduced `value` stands for.
    pub(crate) fn reduced(value: u64) -> Self {
        // Below 2^61 + 8 after one fold, hence below 2p.
        Self(subtract_modulus((value & MODULUS) + (value >> BITS)))
    }

    /// The element that a sum of products stands for.
    pub(crate) fn reduced_wide(value: u128) -> Self {
        let folded = (value & u128::from(MODULUS)) + (value >> BITS);
        Self::reduced(fold(folded))
    }
}

/// A number congruent to `value` (below 2^124) and below 2^61 + value / 2^61.
#[inline(always)]
pub(crate) fn fold(value: u128) -> u64 {
    (value as u64 & MODULUS) + (value >> BITS) as u64
}

/// `value` (below 2p) less the modulus if that leaves it at zero or more.
#[inline(always)]
fn subtract_modulus(value: u64) -> u64 {
    let less = value.wrapping_sub(MODULUS);
    let borrow = (less >> 63).wrapping_neg();
    less.wrapping_add(MODULUS & borrow)
}

impl Add for Fe {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(subtract_modulus(self.0 + other.0))
    }
}

impl Sub for Fe {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(subtract_modulus(self.0 + (MODULUS - other.0)))
    }
}

impl Neg for Fe {
    type Output = Self;

    #[inline]
    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl Mul for Fe {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        // (p - 1)^2 / 2^61 is below p, so that the fold is below 2p.
        Self(subtract_modulus(fold(
            u128::from(self.0) * u128::from(other.0),
        )))
    }
}

impl ConstantTimeEq for Fe {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Fe {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Fe {}

impl fmt::Debug for Fe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fe(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: u128 = MODULUS as u128;

    /// Any element, with those at the ends of the range often.
    fn element() -> impl Strategy<Value = Fe> {
        prop_oneof![
            1 => (0..4_u64).prop_map(|v| Fe::new(v).unwrap()),
            1 => (1..5_u64).prop_map(|v| Fe::new(MODULUS - v).unwrap()),
            6 => (0..MODULUS).prop_map(|v| Fe::new(v).unwrap()),
        ]
    }

    fn wide(x: Fe) -> u128 {
        u128::from(x.value())
    }

    proptest! {
        #[test]
        fn operations_are_those_of_integers_modulo_p(a in element(), b in element()) {
            prop_assert_eq!(wide(a + b), (wide(a) + wide(b)) % P);
            prop_assert_eq!(wide(a - b), (wide(a) + P - wide(b)) % P);
            prop_assert_eq!(wide(a * b), (wide(a) * wide(b)) % P);
            prop_assert_eq!(wide(-a), (P - wide(a)) % P);
        }

        #[test]
        fn axioms_hold(a in element(), b in element(), c in element()) {
            prop_assert_eq!((a + b + c).value(), (a + (b + c)).value());
            prop_assert_eq!((a * b * c).value(), (a * (b * c)).value());
            prop_assert_eq!((a * (b + c)).value(), (a * b + a * c).value());
            prop_assert_eq!((a - a).value(), 0);
            prop_assert_eq!((a * Fe::ONE).value(), a.value());
        }

        #[test]
        fn inverses_invert(a in element()) {
            let expected = u64::from(a.value() != 0);
            prop_assert_eq!((a * a.inverse()).value(), expected);
        }

        #[test]
        fn lazy_values_reduce(value in any::<u64>(), wider in any::<u128>()) {
            prop_assert_eq!(wide(Fe::reduced(value)), u128::from(value) % P);
            let wider = wider >> 1;
            prop_assert_eq!(wide(Fe::reduced_wide(wider)), wider % P);
            prop_assert_eq!(u128::from(fold(wider >> 3)) % P, (wider >> 3) % P);
        }
    }

    #[test]
    fn the_ends_of_lazy_ranges_reduce() {
        for value in [0, MODULUS - 1, MODULUS, MODULUS + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(wide(Fe::reduced(value)), u128::from(value) % P);
        }
        for value in [P, P * P, 64 * (P - 1) * (P - 1), u128::MAX >> 1] {
            assert_eq!(wide(Fe::reduced_wide(value)), value % P);
        }
    }

    #[test]
    fn only_canonical_values_are_elements() {
        assert_eq!(Fe::new(MODULUS - 1).unwrap().value(), MODULUS - 1);
        assert!(Fe::new(MODULUS).is_none());
        assert!(Fe::new(u64::MAX).is_none());
        assert_eq!(Fe::of_index(0).value(), 1);
        assert_eq!(Fe::of_index(u32::MAX).value(), 1 << 32);
    }

    #[test]
    fn sampling_rejects_the_modulus_and_drops_high_bits() {
        let mut words = [MODULUS, u64::MAX, (0b101 << 61) | 7].into_iter();
        assert_eq!(Fe::sample(&mut || words.next().unwrap()).value(), 7);
    }

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Fe::new(1234).unwrap()), "Fe(..)");
    }

    #[test]
    fn zeroize_clears() {
        let mut x = Fe::new(5).unwrap();
        x.zeroize();
        assert_eq!(x.value(), 0);
    }
}
