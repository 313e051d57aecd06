//! The number types that rules work on.

use std::fmt::{Debug, Display};

/// `f32` (updates) or `f64` (matrices of other programs, and the reference values of the tests).
pub trait Scalar:
    Copy + Debug + Default + Display + PartialOrd + Send + Sync + Into<f64> + sealed::Sealed + 'static
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

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
