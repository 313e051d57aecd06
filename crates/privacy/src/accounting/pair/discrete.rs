//! Pairs on countably many outputs.

use super::{Atom, deviations};
use crate::special::{exp, expm1, ln_1p};

/// A pair on countably many outputs.
#[derive(Clone, Debug)]
pub(crate) struct Discrete {
    pub(crate) atoms: Vec<Atom>,
    /// Mass of either beyond the atoms.
    pub(crate) lost: f64,
}

impl Discrete {
    pub(super) fn gaussian(sigma: f64, sensitivity: f64, tail: f64) -> Self {
        let variance = sigma * sigma;
        let weight = |k: f64| exp(-0.5 * k * k / variance);
        let far = (sigma * deviations(tail)).ceil() + 1.0;
        let steps = far as i64;
        let norm: f64 = (-steps..=steps).map(|k| weight(k as f64)).sum();
        let atoms = (-steps..=steps + sensitivity as i64)
            .map(|k| {
                let k = k as f64;
                Atom {
                    mass: weight(k - sensitivity) / norm,
                    loss: sensitivity * (k - 0.5 * sensitivity) / variance,
                }
            })
            .filter(|atom| atom.mass > 0.0)
            .collect();
        let next = far + 1.0;
        Self {
            atoms,
            // A geometric series bounds the rest on either side.
            lost: 2.0 * weight(next) / (norm * -expm1(-next / variance)),
        }
    }

    /// Outputs at or beyond either centre have the same loss.
    pub(super) fn laplace(rate: f64, sensitivity: u64) -> Self {
        let steps = sensitivity as f64;
        // P[X = k] = tanh(rate / 2) e^(-rate |k|), P[X >= k] = e^(-rate k) / (1 + e^-rate) for k >= 0.
        let beyond = 1.0 / (1.0 + exp(-rate));
        let ends = [
            (beyond, rate * steps),
            (beyond * exp(-rate * steps), -rate * steps),
        ];
        let between = (1..sensitivity).map(|k| {
            let distance = steps - k as f64;
            let mass = libm::tanh(0.5 * rate) * exp(-rate * distance);
            (mass, rate * (k as f64 - distance))
        });
        Self {
            atoms: ends
                .into_iter()
                .chain(between)
                .map(|(mass, loss)| Atom { mass, loss })
                .collect(),
            lost: 0.0,
        }
    }

    pub(super) fn randomised(replaced: f64, categories: f64) -> Self {
        let other = replaced / categories;
        let same = 1.0 - replaced + other;
        let loss = ln_1p((1.0 - replaced) / other);
        let atoms = [
            (same, loss),
            (other, -loss),
            (other * (categories - 2.0), 0.0),
        ];
        Self {
            atoms: atoms.map(|(mass, loss)| Atom { mass, loss }).to_vec(),
            lost: 0.0,
        }
    }
}
