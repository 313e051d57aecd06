//! Poisoned updates: what is sent instead of a trained one.
//!
//! All work on rows of d values in `f32` with sums in `f64`, in fixed order. Where a vector is needed that all
//! attackers send alike, it is made once.

pub(crate) mod fang;
pub(crate) mod mimic;
pub(crate) mod optimised;
pub(crate) mod oracle;
pub(crate) mod simple;
pub(crate) mod statistics;
