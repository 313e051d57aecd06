//! The number types that rules work on.

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::coordinate::keys::Keyed;

/// `f32` (updates) or `f64` (matrices of other programs, and the reference values of the tests).
pub trait Scalar:
    Copy
    + Debug
    + Default
    + Display
    + PartialOrd
    + Send
    + Sync
    + Into<f64>
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Keyed
    + sealed::Sealed
    + 'static
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;
}

impl Scalar for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Scalar for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
}

/// What the loops need beside arithmetic.
pub(crate) mod sealed {
    pub trait Sealed: Sized {
        /// A signed integer whose order is that of magnitudes.
        type Magnitude: Copy + Ord + Default + Send;

        /// The least magnitude that is refused: that of infinity, and for `f64` that of 1e140, whose square times a
        /// large number of columns is still finite.
        const REFUSED: Self::Magnitude;

        /// The largest value that a memory may hold.
        const LARGEST: f64;

        /// The bits without the sign. NaN is above infinity.
        fn magnitude(self) -> Self::Magnitude;

        /// Whether squares of such magnitudes may be summed in this type: neither too large nor, where they are not
        /// all zero, too small.
        fn squares_fit(largest: Self::Magnitude) -> bool;

        /// `self * factor + term`, rounded once if `FUSED`.
        fn multiply_add<const FUSED: bool>(self, factor: Self, term: Self) -> Self;
    }

    impl Sealed for f32 {
        type Magnitude = i32;

        const REFUSED: i32 = f32::INFINITY.to_bits() as i32;
        const LARGEST: f64 = f32::MAX as f64;

        #[inline(always)]
        fn magnitude(self) -> i32 {
            (self.to_bits() & (u32::MAX >> 1)) as i32
        }

        #[inline(always)]
        fn squares_fit(largest: i32) -> bool {
            (1e-10_f32.magnitude()..1e16_f32.magnitude()).contains(&largest) || largest == 0
        }

        #[inline(always)]
        fn multiply_add<const FUSED: bool>(self, factor: Self, term: Self) -> Self {
            if FUSED {
                self.mul_add(factor, term)
            } else {
                self * factor + term
            }
        }
    }

    impl Sealed for f64 {
        type Magnitude = i64;

        const REFUSED: i64 = 1e140_f64.to_bits() as i64;
        const LARGEST: f64 = 9e139;

        #[inline(always)]
        fn magnitude(self) -> i64 {
            (self.to_bits() & (u64::MAX >> 1)) as i64
        }

        #[inline(always)]
        fn squares_fit(_: i64) -> bool {
            true
        }

        #[inline(always)]
        fn multiply_add<const FUSED: bool>(self, factor: Self, term: Self) -> Self {
            if FUSED {
                self.mul_add(factor, term)
            } else {
                self * factor + term
            }
        }
    }
}
