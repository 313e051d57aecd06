//! How fine the grid of distributed noise can be in so many bits.

use crate::error::PrivacyError;
use crate::mechanism::central::check_expected;
use crate::mechanism::distributed::rotation::window;
use crate::mechanism::grid::{check_clip, check_multiplier};

/// Above it, the grid costs more than it should: the default number of bits is the smallest that stays below.
const FINE: f64 = 1.02;
/// Above it, the grid is so coarse that its noise makes it coarser still; such settings are refused.
const COARSE: f64 = 1.25;
/// Bits that may be asked for.
const BITS: std::ops::RangeInclusive<u32> = 4..=32;

/// What distributed noise is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistributedSettings {
    /// Length of the vectors.
    pub dimension: usize,
    /// Norm to which each client clips.
    pub clip: f64,
    /// Standard deviation of the noise that is certain to be in the sum, over the sensitivity of the sum.
    pub noise_multiplier: f64,
    /// Clients of a round, as planned: a public number, by which the sum is divided.
    pub clients: u64,
    /// Clients whose noise is certain to be in the sum and secret: those that the secure sum waits for, less those that
    /// may collude with the server. The fewer, the more noise each client adds.
    pub honest: u64,
    /// Bits of a coordinate of the sum. `None` takes the fewest that lengthen vectors by 2 % or less; 16 is right for most.
    pub bits: Option<u32>,
    /// Standard deviations of a coordinate of the sum that the modulus has room for to either side: 4 usually. Beyond, the
    /// coordinate wraps around, which costs accuracy and no privacy.
    pub room: f64,
}

/// A grid for these bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Solution {
    pub(super) bits: u32,
    /// What an integer is worth: gamma.
    pub(super) step: f64,
    /// Longest vector after rounding, over the clip: c~ / c.
    pub(super) lengthened: f64,
}

impl DistributedSettings {
    pub(super) fn check(&self) -> Result<(), PrivacyError> {
        check_clip(self.clip)?;
        check_multiplier(self.noise_multiplier)?;
        check_expected(self.clients as f64)?;
        let bad = |name, range, found| Err(PrivacyError::Parameter { name, range, found });
        if self.dimension == 0 || self.dimension as u64 > 1 << 32 {
            return bad(
                "the vector's length",
                "between 1 and 2^32",
                self.dimension as f64,
            );
        }
        if self.honest == 0 || self.honest > self.clients {
            return bad(
                "the number of clients whose noise is certain",
                "at least 1 and at most the number of clients",
                self.honest as f64,
            );
        }
        if !(1.0..=20.0).contains(&self.room) {
            return bad(
                "the room of the modulus, in standard deviations,",
                "between 1 and 20",
                self.room,
            );
        }
        if let Some(bits) = self.bits
            && !BITS.contains(&bits)
        {
            return bad("the bits of a coordinate", "between 4 and 32", bits.into());
        }
        Ok(())
    }

    /// The finest grid in the bits that are set, or in the fewest that make it fine enough.
    pub(super) fn solve(&self) -> Result<Solution, PrivacyError> {
        let fewest = BITS
            .filter_map(|bits| self.solve_for(bits))
            .find(|solution| solution.lengthened <= FINE);
        let Some(bits) = self.bits else {
            return fewest.ok_or_else(|| self.refuse("32 bits are too few", None));
        };
        match self.solve_for(bits) {
            Some(solution) if solution.lengthened <= COARSE => Ok(solution),
            Some(solution) => {
                let longer = 100.0 * (solution.lengthened - 1.0);
                let found = format!(
                    "{bits} bits are too few: rounding would lengthen vectors by {longer:.0} %"
                );
                Err(self.refuse(&found, fewest))
            }
            None => {
                let found = format!(
                    "{bits} bits are too few: no grid has room for the noise that it needs"
                );
                Err(self.refuse(&found, fewest))
            }
        }
    }

    fn refuse(&self, found: &str, fewest: Option<Solution>) -> PrivacyError {
        let advice = fewest.map_or_else(
            || "fewer clients or less noise would need less".to_owned(),
            |solution| format!("{} bits are enough", solution.bits),
        );
        PrivacyError::Unsupported(format!(
            "{found} for {} entries, {} clients ({} with certain noise) and a noise multiplier of {}; {advice}",
            self.dimension, self.clients, self.honest, self.noise_multiplier
        ))
    }

    /// The smallest step for which the modulus has room. The room that a step needs, in steps, falls as steps grow, but
    /// never below a limit: on the wrong side of that there is none.
    pub(super) fn solve_for(&self, bits: u32) -> Option<Solution> {
        let modulus = f64::from(bits).exp2();
        let (mut low, mut high) = (self.clip * 1e-12, self.clip * 1e9);
        if self.steps_needed(high) > modulus {
            return None;
        }
        for _ in 0..200 {
            let middle = (low * high).sqrt();
            if self.steps_needed(middle) > modulus {
                low = middle;
            } else {
                high = middle;
            }
        }
        // No finer than the sampler can make noise for.
        let finest =
            1.3 * self.noise_multiplier * self.clip / (self.honest as f64).sqrt() / 524_288.0;
        let step = high.max(finest);
        Some(Solution {
            bits,
            step,
            lengthened: longest(self.clip, step, self.dimension) / self.clip,
        })
    }

    /// What the range of a coordinate of the sum takes: `2 k sqrt(c^2 n^2 / w + (gamma^2 / 4 + sigma^2) n) / gamma`, where `w` is
    /// the rotation's window.
    fn steps_needed(&self, step: f64) -> f64 {
        let n = self.clients as f64;
        let sigma = self.share(longest(self.clip, step, self.dimension));
        let data = (self.clip * n).powi(2) / window(self.dimension) as f64;
        2.0 * self.room * (data + (0.25 * step * step + sigma * sigma) * n).sqrt() / step
    }

    /// Standard deviation of one client's noise, for this sensitivity: enough of them make the multiplier.
    pub(super) fn share(&self, sensitivity: f64) -> f64 {
        self.noise_multiplier * sensitivity / (self.honest as f64).sqrt()
    }
}

/// The norm c~ below which a vector of norm `clip` stays with probability 1 - e^(-1/2) at least when each entry is rounded
/// at random to a multiple of `step` (Kairouz, Liu, Steinke, arXiv 2102.06387, proposition 22).
pub(super) fn longest(clip: f64, step: f64, dimension: usize) -> f64 {
    let root = (dimension as f64).sqrt();
    let always = clip + step * root;
    // sqrt(2 ln(1 / beta)) is 1.
    let mostly = clip * clip + 0.25 * step * step * root * root + step * (clip + 0.5 * step * root);
    always.min(mostly.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: DistributedSettings = DistributedSettings {
        dimension: 1 << 20,
        clip: 1.0,
        noise_multiplier: 1.0,
        clients: 100,
        honest: 100,
        bits: None,
        room: 4.0,
    };

    /// Figures of the published formula, evaluated with scipy 1.17.1.
    #[test]
    fn norms_after_rounding() {
        for (clip, step, dimension, expected) in [
            (1.0, 0.001, 4096, 1.001_027_472_150_49),
            (1.0, 0.005, 16_384, 1.053_090_689_352_061_5),
            (0.03, 4e-6, 1_048_576, 0.030_071_955_307_229_357),
            (1.0, 0.05, 1024, 1.315_294_643_796_590_7),
        ] {
            let found = longest(clip, step, dimension);
            assert!((found / expected - 1.0).abs() < 1e-13, "{found} {expected}");
        }
    }

    /// The cliff: a few bits fewer, and the grid diverges.
    #[test]
    fn bits_and_their_price() {
        let lengthened = |dimension, clients, noise_multiplier, bits| {
            let settings = DistributedSettings {
                dimension,
                clients,
                honest: clients,
                noise_multiplier,
                ..SETTINGS
            };
            settings.solve_for(bits).map(|solution| solution.lengthened)
        };
        for (dimension, clients, z, bits, expected) in [
            (1 << 20, 100, 1.0, 16, 1.002),
            (1 << 20, 100, 1.0, 14, 1.033),
            (1 << 17, 100, 1.0, 14, 1.005),
            (1 << 17, 100, 1.0, 12, 1.076),
            (1 << 20, 1000, 1.0, 16, 1.004),
            (1 << 20, 1000, 1.0, 14, 1.064),
            (1 << 20, 100, 5.0, 18, 1.003),
            (1 << 20, 100, 5.0, 16, 1.053),
        ] {
            let found = lengthened(dimension, clients, z, bits).unwrap();
            assert!(
                (found - expected).abs() < 6e-4,
                "{dimension} {clients} {z} {bits}: {found}"
            );
        }
        // Just beyond the limit of 4 sqrt(n D) = 4096 steps.
        assert_eq!(lengthened(1 << 20, 100, 1.0, 12), None);
        assert_eq!(lengthened(1 << 17, 100, 1.0, 10), None);
        assert_eq!(lengthened(1 << 20, 100, 5.0, 14), None);
    }

    #[test]
    fn the_fewest_bits_are_found_and_too_few_refused() {
        assert_eq!(SETTINGS.solve().unwrap().bits, 15);
        let refused = |bits, noise_multiplier| {
            let settings = DistributedSettings {
                bits: Some(bits),
                noise_multiplier,
                ..SETTINGS
            };
            settings.solve().unwrap_err().to_string()
        };
        assert_eq!(
            refused(13, 1.4),
            "13 bits are too few: rounding would lengthen vectors by 40 % for 1048576 entries, 100 clients (100 with certain \
             noise) and a noise multiplier of 1.4; 15 bits are enough"
        );
        assert!(refused(8, 1.0).starts_with("8 bits are too few: no grid has room"));
    }
}
