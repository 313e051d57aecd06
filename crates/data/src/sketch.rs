//! Summaries of a column in memory that does not grow with its rows, each with its error.
//!
//! All three are exact until they are full, merge with another of their kind, and give the same bits for the same values
//! in the same order: what they draw, they draw from a fixed stream of their own.

mod distinct;
mod frequent;
mod quantiles;

pub use distinct::Distinct;
pub use frequent::{Counted, DistinctCount, Frequent};
pub use quantiles::Quantiles;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FOLD: u64 = 0xa076_1d64_78bd_642f;

/// Both halves of a product, which spreads every bit over all others.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// 64 bits that stand for some bytes. Two different texts share them with a chance of 2^-64, unless somebody chose them
/// to.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = STEP ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word
            .iter()
            .rev()
            .fold(0, |all, &byte| all << 8 | u64::from(byte));
        hash = fold(hash ^ word, FOLD);
    }
    let rest = words.remainder().iter().rev();
    let rest = rest.fold(0, |all, &byte| all << 8 | u64::from(byte));
    fold(fold(hash ^ rest, FOLD), STEP)
}

/// 64 bits that stand for a number; 0 and -0 are one.
pub fn hash_number(value: f64) -> u64 {
    fold(fold((value + 0.0).to_bits() ^ STEP, FOLD), STEP)
}

/// The next number of a stream (SplitMix64; Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    fold(fold(*state, FOLD), STEP)
}
