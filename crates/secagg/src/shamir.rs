//! Shamir's secret sharing (Shamir 1979) of 32-byte secrets over GF(2^61 - 1).
//!
//! A secret is a 256-bit little-endian integer cut into [`LIMBS`] limbs of 52 bits (the last has 48); each limb is the
//! value at zero of a polynomial of its own of degree `threshold - 1`. The share of the member with session index i is
//! the values of the five polynomials at i + 1. Any `threshold` shares determine the secret; fewer say nothing of it.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::field::{Fe, fold};

mod correct;

pub use correct::{Corrected, correct};

/// Limbs of a secret.
pub const LIMBS: usize = 5;

/// Bytes of a share: [`LIMBS`] values of 8 bytes, little-endian.
pub const SHARE_LEN: usize = 8 * LIMBS;

/// Bits of a limb; the last has [`TOP_BITS`].
const LIMB_BITS: usize = 52;
const TOP_BITS: usize = 256 - (LIMBS - 1) * LIMB_BITS;

/// Points evaluated together: enough independent chains of products to keep the multiplier busy.
const POINTS: usize = 2;

/// Products below 2^122 that a sum of 128 bits takes before it must be folded, on top of a folded sum.
const LAZY: usize = 32;

/// The limbs of a secret: limb l holds bits 52 l to 52 l + 51.
pub fn limbs(secret: &[u8; 32]) -> [Fe; LIMBS] {
    let mut padded = Zeroizing::new([0; 40]);
    padded[..32].copy_from_slice(secret);
    std::array::from_fn(|limb| {
        let bit = limb * LIMB_BITS;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&padded[bit / 8..bit / 8 + 8]);
        let word = u64::from_le_bytes(bytes);
        bytes.zeroize();
        Fe::reduced((word >> (bit % 8)) & ((1 << LIMB_BITS) - 1))
    })
}

/// The secret of those limbs; none if a limb has more bits than a secret's.
pub fn secret(limbs: [Fe; LIMBS]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let mut excess = 0;
    // Bits gathered and not yet written, fewer than 8 after each limb.
    let (mut held, mut bits, mut at) = (0_u64, 0, 0);
    for (l, limb) in limbs.iter().enumerate() {
        let width = if l + 1 == LIMBS { TOP_BITS } else { LIMB_BITS };
        excess |= limb.value() >> width;
        held |= (limb.value() & ((1 << width) - 1)) << bits;
        bits += width;
        while bits >= 8 {
            out[at] = held as u8;
            held >>= 8;
            bits -= 8;
            at += 1;
        }
    }
    if excess != 0 {
        out.zeroize();
        return None;
    }
    Some(out)
}

/// One member's share of a secret. Cleared on drop, not shown by `Debug`, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Share([Fe; LIMBS]);

impl Share {
    /// The values of the limbs' polynomials, each a little-endian u64.
    pub fn to_bytes(&self) -> [u8; SHARE_LEN] {
        let mut bytes = [0; SHARE_LEN];
        for (out, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0) {
            *out = limb.value().to_le_bytes();
        }
        bytes
    }

    /// The share of those bytes; none if a value is not canonical, that is 2^61 - 1 or more.
    pub fn from_bytes(bytes: &[u8; SHARE_LEN]) -> Option<Self> {
        let mut share = Self([Fe::ZERO; LIMBS]);
        for (limb, bytes) in share.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *limb = Fe::new(u64::from_le_bytes(*bytes))?;
        }
        Some(share)
    }
}

impl ConstantTimeEq for Share {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Share {}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// The shares of `secret` for the members with session indices `points`, in their order; `threshold` of them restore it.
/// No shares if `threshold` is 0. Time O(points * threshold); nothing depends on the secret but the values.
///
/// `coefficients` gives uniform elements, 5 (threshold - 1) of them. They are drawn in this order, on which test vectors
/// depend: for limb 0 the coefficients of powers 1, 2, ..., threshold - 1, then for limb 1, and so on to limb 4.
///
/// `points` should be distinct: equal ones get equal shares, of which only one counts.
pub fn share(
    secret: &[u8; 32],
    threshold: usize,
    points: &[u32],
    coefficients: &mut impl FnMut() -> Fe,
) -> Vec<Share> {
    if threshold == 0 {
        return Vec::new();
    }
    // Row r holds the coefficients of power r of all limbs.
    let mut rows = Zeroizing::new(vec![[Fe::ZERO; LIMBS]; threshold]);
    rows[0] = limbs(secret);
    for limb in 0..LIMBS {
        for row in &mut rows[1..] {
            row[limb] = coefficients();
        }
    }
    let mut shares = Vec::with_capacity(points.len());
    let (blocks, rest) = points.as_chunks::<POINTS>();
    for block in blocks {
        shares.extend(evaluate(&rows, *block));
    }
    for &point in rest {
        shares.extend(evaluate(&rows, [point]));
    }
    shares
}

/// The values at `points` of the polynomials whose coefficients are the columns of `rows`, by Horner's rule.
fn evaluate<const N: usize>(rows: &[[Fe; LIMBS]], points: [u32; N]) -> [Share; N] {
    let x = points.map(|point| Fe::of_index(point).value());
    let mut sums = [[0; LIMBS]; N];
    for row in rows.iter().rev() {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, coefficient) in sums.iter_mut().zip(row) {
                // x is at most 2^32, so that sums stay below 2^61 + 2^34 without a full reduction.
                *sum = fold(u128::from(*sum) * u128::from(x) + u128::from(coefficient.value()));
            }
        }
    }
    let shares = sums.map(|sums| Share(sums.map(Fe::reduced)));
    sums.zeroize();
    shares
}

/// Lagrange's coefficients at zero for a set of points: made once, they restore every secret shared to those members.
#[derive(Clone, Debug)]
pub struct Lagrange {
    coefficients: Vec<Fe>,
}

impl Lagrange {
    /// The coefficients for the members with session indices `points`; none if there are none or two are equal. Points
    /// are public. Time O(points^2).
    pub fn at_zero(points: &[u32]) -> Option<Self> {
        if points.is_empty() {
            return None;
        }
        let x: Vec<u64> = points.iter().map(|&p| Fe::of_index(p).value()).collect();
        // Coefficient j is the product over m /= j of x_m / (x_m - x_j), here with the product of all x over it.
        let mut under = differences(&x);
        for (under, &x) in under.iter_mut().zip(&x) {
            *under = *under * Fe::reduced(x);
        }
        let mut coefficients = inverses(&under)?;
        let all = x
            .iter()
            .fold(Fe::ONE, |product, &x| product * Fe::reduced(x));
        for coefficient in &mut coefficients {
            *coefficient = *coefficient * all;
        }
        Some(Self { coefficients })
    }

    /// The limbs at zero of the polynomials through `shares`, which are in the order of the points. None if their number
    /// is not that of the points.
    pub fn combine(&self, shares: &[&Share]) -> Option<[Fe; LIMBS]> {
        if shares.len() != self.coefficients.len() {
            return None;
        }
        let mut sums = [0_u128; LIMBS];
        for (coefficients, shares) in self.coefficients.chunks(LAZY).zip(shares.chunks(LAZY)) {
            for (coefficient, share) in coefficients.iter().zip(shares) {
                for (sum, limb) in sums.iter_mut().zip(&share.0) {
                    *sum += u128::from(coefficient.value()) * u128::from(limb.value());
                }
            }
            sums = sums.map(|sum| u128::from(Fe::reduced_wide(sum).value()));
        }
        let limbs = sums.map(|sum| Fe::reduced(sum as u64));
        sums.zeroize();
        Some(limbs)
    }

    /// The secret behind `shares`, which are in the order of the points. None if their number is not that of the points,
    /// or no secret has these shares, as is likely when one of them is wrong. Shares of another secret or threshold may
    /// well give a secret: that it is the right one is for the caller to check.
    pub fn secret(&self, shares: &[&Share]) -> Option<[u8; 32]> {
        let mut limbs = self.combine(shares)?;
        let secret = secret(limbs);
        limbs.zeroize();
        secret
    }
}

/// Entry j: the product over m /= j of `x[m] - x[j]`, for values up to 2^32; zero where a value is there twice.
fn differences(x: &[u64]) -> Vec<Fe> {
    let (blocks, rest) = x.as_chunks::<8>();
    let mut out = Vec::with_capacity(x.len());
    for (block, values) in blocks.iter().enumerate() {
        out.extend(differences_of(x, *values, 8 * block));
    }
    for (i, &value) in rest.iter().enumerate() {
        out.extend(differences_of(x, [value], 8 * blocks.len() + i));
    }
    out
}

/// The entries `first..first + N` of [`differences`], whose values are `values`.
fn differences_of<const N: usize>(x: &[u64], values: [u64; N], first: usize) -> [Fe; N] {
    let mut products = [1_u64; N];
    let mut negative = [false; N];
    for (m, &other) in x.iter().enumerate() {
        for (j, &value) in values.iter().enumerate() {
            // A factor 1 for the value itself. Factors stay below 2^32, so products below 2^61 + 2^33.
            let factor = other.abs_diff(value) + u64::from(m == first + j);
            products[j] = fold(u128::from(products[j]) * u128::from(factor));
            negative[j] ^= other < value;
        }
    }
    std::array::from_fn(|j| {
        let product = Fe::reduced(products[j]);
        if negative[j] { -product } else { product }
    })
}

/// The inverses, with one inversion (Montgomery's trick); none if a value is zero.
fn inverses(values: &[Fe]) -> Option<Vec<Fe>> {
    // Entry i: the product of the values before i.
    let mut out = Vec::with_capacity(values.len());
    let mut product = Fe::ONE;
    for &value in values {
        out.push(product);
        product = product * value;
    }
    if product == Fe::ZERO {
        return None;
    }
    let mut inverse = product.inverse();
    for (out, &value) in out.iter_mut().zip(values).rev() {
        *out = *out * inverse;
        inverse = inverse * value;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
