//! The rules through the crate's entrance: printed values, another library, naive versions, properties, bad input.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod attacks;
mod byzfl;
mod common;
mod golden;
mod input;
mod memory;
mod naive;
mod parity;
mod properties;
