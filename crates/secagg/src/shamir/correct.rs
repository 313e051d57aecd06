//! Restoring a secret although some shares are wrong.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{LIMBS, Share, differences, inverses, secret};
use crate::field::Fe;

/// A polynomial: the coefficient of power r at place r, the last not zero; nothing for zero.
type Polynomial = Zeroizing<Vec<Fe>>;

/// A secret restored from shares of which some were wrong. Cleared on drop, the secret not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Corrected {
    /// The secret.
    pub secret: [u8; 32],
    /// Positions of the wrong shares, ascending.
    #[zeroize(skip)]
    pub wrong: Vec<usize>,
}

impl fmt::Debug for Corrected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corrected")
            .field("wrong", &self.wrong)
            .finish_non_exhaustive()
    }
}

/// Restores a secret of `threshold` from the m `shares` of the members with session indices `points`, of which up to
/// floor((m - threshold) / 2) may be wrong in any of their limbs.
///
/// This is unique decoding of Reed-Solomon codes, as Berlekamp and Welch's algorithm does it, here by the Euclidean
/// algorithm of Gao (2003, "A new algorithm for decoding Reed-Solomon codes", algorithm 1) in O(m^2) where a linear
/// system costs O(m^3). Each limb is decoded on its own. Its time depends on how many shares are wrong: it is for the
/// party that learns the secret, when [`Lagrange::secret`](super::Lagrange::secret) gave a wrong one.
///
/// None if no secret is within the bound; if points and shares differ in number, points repeat, or `threshold` is 0 or
/// above m.
pub fn correct(points: &[u32], shares: &[&Share], threshold: usize) -> Option<Corrected> {
    let m = points.len();
    if shares.len() != m || threshold == 0 || threshold > m {
        return None;
    }
    let x: Vec<u64> = points.iter().map(|&p| Fe::of_index(p).value()).collect();
    // Each factor has the wrong sign for the derivative of the locator at x, m - 1 of them.
    let mut weights = inverses(&differences(&x))?;
    if m.is_multiple_of(2) {
        weights.iter_mut().for_each(|weight| *weight = -*weight);
    }
    let x: Vec<Fe> = x.into_iter().map(Fe::reduced).collect();
    let locator = locator(&x);
    let received = interpolate(&x, &weights, &locator, shares);

    let mut wrong = vec![false; m];
    let mut limbs = Zeroizing::new([Fe::ZERO; LIMBS]);
    for (l, received) in received.into_iter().enumerate() {
        let sent = decode(&locator, received, threshold)?;
        for ((wrong, share), &x) in wrong.iter_mut().zip(shares).zip(&x) {
            *wrong |= value(&sent, x) != share.0[l];
        }
        limbs[l] = sent.first().copied().unwrap_or(Fe::ZERO);
    }
    let wrong: Vec<usize> = (0..m).filter(|&i| wrong[i]).collect();
    if wrong.len() > (m - threshold) / 2 {
        return None;
    }
    let secret = secret(*limbs)?;
    Some(Corrected { secret, wrong })
}

/// The product of all X - x: degree m, so m + 1 coefficients.
fn locator(x: &[Fe]) -> Vec<Fe> {
    let mut product = Vec::with_capacity(x.len() + 1);
    product.push(Fe::ONE);
    for &x in x {
        product.push(Fe::ZERO);
        for r in (0..product.len()).rev() {
            let below = if r == 0 { Fe::ZERO } else { product[r - 1] };
            product[r] = below - x * product[r];
        }
    }
    product
}

/// For each limb the polynomial of degree below m through the shares: the sum of share times weight times
/// locator / (X - x).
fn interpolate(x: &[Fe], weights: &[Fe], locator: &[Fe], shares: &[&Share]) -> [Polynomial; LIMBS] {
    let m = x.len();
    let mut sums: [Polynomial; LIMBS] = std::array::from_fn(|_| Zeroizing::new(vec![Fe::ZERO; m]));
    for ((&x, &weight), share) in x.iter().zip(weights).zip(shares) {
        let mut scaled = share.0.map(|limb| limb * weight);
        // Synthetic division from the top: the quotient's coefficient of power r.
        let mut quotient = Fe::ZERO;
        for r in (0..m).rev() {
            quotient = locator[r + 1] + x * quotient;
            for (sum, &scaled) in sums.iter_mut().zip(&scaled) {
                sum[r] = sum[r] + scaled * quotient;
            }
        }
        scaled.zeroize();
    }
    sums.map(trimmed)
}

/// The polynomial of degree below `threshold` that differs from `received` in few points; what it gives beyond the bound
/// is for the caller to reject.
fn decode(locator: &[Fe], received: Polynomial, threshold: usize) -> Option<Polynomial> {
    let m = locator.len() - 1;
    // The Euclidean algorithm on locator and received, with the factor of received alongside.
    let (mut before, mut now) = (Zeroizing::new(locator.to_vec()), received);
    let mut factor_before = Zeroizing::new(Vec::new());
    let mut factor = Zeroizing::new(vec![Fe::ONE]);
    // The degree is one below the length; stop where twice the degree is below m + threshold.
    while !now.is_empty() && 2 * (now.len() - 1) >= m + threshold {
        let (quotient, rest) = divide(before, &now)?;
        let next = subtract_product(factor_before, &quotient, &factor);
        (before, now) = (now, rest);
        (factor_before, factor) = (factor, next);
    }
    let (quotient, rest) = divide(now, &factor)?;
    (rest.is_empty() && quotient.len() <= threshold).then_some(quotient)
}

/// Quotient and remainder; none if `by` is zero.
fn divide(mut value: Polynomial, by: &Polynomial) -> Option<(Polynomial, Polynomial)> {
    let inverse = by.last()?.inverse();
    let length = (value.len() + 1).saturating_sub(by.len());
    let mut quotient = Zeroizing::new(vec![Fe::ZERO; length]);
    for r in (0..length).rev() {
        let ratio = value[r + by.len() - 1] * inverse;
        quotient[r] = ratio;
        for (value, &by) in value[r..].iter_mut().zip(by.iter()) {
            *value = *value - ratio * by;
        }
    }
    Some((trimmed(quotient), trimmed(value)))
}

/// `value - a b`.
fn subtract_product(value: Polynomial, a: &Polynomial, b: &Polynomial) -> Polynomial {
    let length = value.len().max((a.len() + b.len()).saturating_sub(1));
    // A new place, so that growing leaves no copy behind.
    let mut out = Zeroizing::new(vec![Fe::ZERO; length]);
    out[..value.len()].copy_from_slice(&value);
    for (i, &a) in a.iter().enumerate() {
        for (out, &b) in out[i..].iter_mut().zip(b.iter()) {
            *out = *out - a * b;
        }
    }
    trimmed(out)
}

/// Without leading zeros.
fn trimmed(mut polynomial: Polynomial) -> Polynomial {
    while polynomial.last().is_some_and(|&top| top == Fe::ZERO) {
        polynomial.pop();
    }
    polynomial
}

/// The value at `x`.
fn value(polynomial: &Polynomial, x: Fe) -> Fe {
    polynomial
        .iter()
        .rev()
        .fold(Fe::ZERO, |sum, &coefficient| sum * x + coefficient)
}
