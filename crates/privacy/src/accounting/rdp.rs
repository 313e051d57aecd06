//! Rényi divergences: curves of single releases, and from a curve to epsilon at a delta.
//!
//! An order is a number above 1. Curves add up under adaptive composition (Mironov, arXiv 1702.07476).

mod curves;
mod total;

pub use curves::{
    distributed_gaussian, fixed_size_gaussian, gaussian, laplace, poisson_amplified,
    poisson_gaussian, pure, replaced_gaussian, zcdp,
};
pub(crate) use total::{Optimum, Total};

use crate::special::{exp, expm1, ln, ln_1p};

/// Epsilon at a delta from the value of a curve at one order: Canonne, Kamath, Steinke, arXiv 2004.00010, Proposition 12
/// (also Balle et al., arXiv 1905.09982, Theorem 21). 0 where the total variation distance that the value allows
/// (Bretagnolle and Huber) is below delta.
pub fn to_epsilon(order: f64, value: f64, delta: f64) -> f64 {
    if delta * delta + expm1(-value) > 0.0 {
        return 0.0;
    }
    (value + ln_1p(-1.0 / order) - ln(delta * order) / (order - 1.0)).max(0.0)
}

/// Delta at an epsilon from the value of a curve at one order.
pub fn to_delta(order: f64, value: f64, epsilon: f64) -> f64 {
    let by_order = exp((order - 1.0) * (value - epsilon + ln_1p(-1.0 / order))) / order;
    let by_distance = (-expm1(-value)).max(0.0).sqrt();
    by_order.min(by_distance).min(1.0)
}

/// Epsilon at a delta of a rho that is zero-concentrated (Bun and Steinke, arXiv 1605.02065).
///
/// # Errors
///
/// If rho is negative or not finite, or delta not between 0 and 1.
pub fn rho_to_epsilon(rho: f64, delta: f64) -> Result<f64, crate::PrivacyError> {
    super::in_range(
        rho,
        "rho",
        "a finite number from 0",
        rho >= 0.0 && rho.is_finite(),
    )?;
    super::in_range(
        delta,
        "delta",
        "above 0 and below 1",
        delta > 0.0 && delta < 1.0,
    )?;
    Ok(total::minimise(&|order| to_epsilon(order, order * rho, delta)).value)
}

/// The largest rho whose epsilon at a delta is at most this: the inverse of [`rho_to_epsilon`],
/// rounded down.
///
/// # Errors
///
/// As there, with epsilon in the place of rho.
pub fn epsilon_to_rho(epsilon: f64, delta: f64) -> Result<f64, crate::PrivacyError> {
    super::in_range(
        epsilon,
        "epsilon",
        "a finite number above 0",
        epsilon > 0.0 && epsilon.is_finite(),
    )?;
    rho_to_epsilon(0.0, delta)?;
    let (mut low, mut high) = (0.0, epsilon);
    while rho_to_epsilon(high, delta)? <= epsilon {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if rho_to_epsilon(middle, delta)? <= epsilon {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
