//! Secret randomness, and the noise that is made of it.
//!
//! All noise is an integer: a multiple of a grid's step. Floating point noise added to floating point data leaves traces of
//! the data in the low bits (Mironov 2012; Jin et al., arXiv 2112.05307); integers have no low bits.
//!
//! * [`RoundedGaussian`] is a continuous Gaussian rounded to integers. Added to integers it is the rounding of the ideal
//!   Gaussian mechanism, so whatever is proven of that one holds. It is what a trusted server or client adds.
//! * [`DiscreteGaussian`] has `Pr[x]` proportional to `exp(-x^2 / (2 sigma^2))`: the noise of many clients, whose sum must
//!   be accounted for.
//! * [`DiscreteLaplace`] is for counts; [`ExactDiscreteGaussian`] has no tables, and is slow.

mod discrete;
mod exact;
mod rounded;
mod source;
mod wide;

pub use discrete::DiscreteGaussian;
pub use exact::{DiscreteLaplace, ExactDiscreteGaussian};
pub use rounded::RoundedGaussian;
pub(crate) use rounded::{BLOCK, PAIRS};
pub use source::NoiseSource;
