//! Noise that clients add themselves, so that only their sum need be seen (Kairouz, Liu, Steinke, arXiv 2102.06387).
//!
//! Each client clips its vector, rotates it, rounds it to a grid, adds its share of the noise, and sends integers modulo
//! `2^bits`. A secure sum shows the server nothing but their total, which has enough noise if enough clients are in it. The
//! noise of one client alone is too little: without the secure sum, none of this protects anybody.

mod plan;
mod rotation;

use crate::error::PrivacyError;
use crate::event::Event;
use crate::kernels::{self, Kernel};
use crate::mechanism::clip;
use crate::mechanism::grid::{nearest, square};
use crate::noise::{BLOCK, DiscreteGaussian, NoiseSource};
pub use plan::DistributedSettings;
use plan::longest;
use rotation::Rotation;

/// Roundings that are tried before one that cannot fail: each fails with a chance of 0.61 at most, all of them with 1e-27.
const TRIES: u32 = 128;

/// Both ends of distributed noise: what a client sends, and what the server makes of the sum.
///
/// ```
/// use cloister_privacy::mechanism::distributed::{DistributedGaussian, DistributedSettings};
/// use cloister_privacy::noise::NoiseSource;
///
/// let mechanism = DistributedGaussian::new(DistributedSettings {
///     dimension: 1000,
///     clip: 1.0,
///     noise_multiplier: 0.5,
///     clients: 10,
///     honest: 7,
///     bits: None,
///     room: 4.0,
/// })?;
/// let rotation_seed = [1; 32]; // Public; one a round.
/// let mut sum = vec![0_u32; 1000];
/// for _client in 0..10 {
///     let words = mechanism.encode(&[0.01; 1000], rotation_seed, &mut NoiseSource::system()?)?;
///     for (sum, word) in sum.iter_mut().zip(words) {
///         *sum = sum.wrapping_add(word) & mechanism.mask();
///     }
/// }
/// let mean: Vec<f32> = mechanism.decode(&sum, rotation_seed)?;
/// assert_eq!(mean.len(), 1000);
/// # Ok::<(), cloister_privacy::PrivacyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DistributedGaussian {
    settings: DistributedSettings,
    bits: u32,
    step: f64,
    /// The largest square of a rounded vector's norm, in steps.
    most: u128,
    noise: DiscreteGaussian,
}

impl DistributedGaussian {
    /// Finds the grid, and the share of noise with which those whose noise is certain make the noise multiplier.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for a number out of its range, [`PrivacyError::Unsupported`] for bits that are too few.
    pub fn new(settings: DistributedSettings) -> Result<Self, PrivacyError> {
        settings.check()?;
        let solution = settings.solve()?;
        let steps = longest(settings.clip, solution.step, settings.dimension) / solution.step;
        Ok(Self {
            noise: DiscreteGaussian::new(settings.share(steps))?,
            bits: solution.bits,
            step: solution.step,
            most: (steps * steps) as u128,
            settings,
        })
    }

    /// What a client sends: its vector clipped, rotated, rounded at random and with its share of the noise, modulo
    /// 2^[`bits`](Self::bits). `rotation` is the round's public seed.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] for a vector of another length.
    pub fn encode(
        &self,
        vector: &[f32],
        rotation: [u8; 32],
        source: &mut NoiseSource,
    ) -> Result<Vec<u32>, PrivacyError> {
        self.check_length(vector.len())?;
        let mut rotated = vector.to_vec();
        clip::clip(&mut rotated, self.settings.clip);
        Rotation::new(rotated.len(), rotation).forward(&mut rotated);
        let mut integers = self.round(&rotated, source);
        self.noise.add(source, &mut integers);
        Ok(integers.iter().map(|&x| x as u32 & self.mask()).collect())
    }

    /// The mean over the planned number of clients, from the sum modulo 2^bits of what they sent. Bits above those are
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] for a sum of another length.
    pub fn decode(&self, sum: &[u32], rotation: [u8; 32]) -> Result<Vec<f32>, PrivacyError> {
        self.check_length(sum.len())?;
        let scale = self.step / self.settings.clients as f64;
        let above = 32 - self.bits;
        let mut mean: Vec<f32> = sum
            .iter()
            // The sign is the highest of the bits: shifted up and back.
            .map(|&word| (f64::from((word << above) as i32 >> above) * scale) as f32)
            .collect();
        Rotation::new(mean.len(), rotation).backward(&mut mean);
        Ok(mean)
    }

    /// What a round costs if each client came with the chance `sampling_rate`; `None` if all came for certain.
    pub fn event(&self, sampling_rate: Option<f64>) -> Event {
        let l2 = self.longest_in_steps();
        let dimension = self.settings.dimension as u64;
        Event::DistributedGaussian {
            sigma: self.noise.sigma(),
            shares: self.settings.honest,
            l2_sensitivity: l2,
            // Integers are not longer in the first norm than in the square of the second.
            l1_sensitivity: l2 * l2.min((dimension as f64).sqrt()),
            dimension,
            sampling_rate: sampling_rate.unwrap_or(1.0),
        }
    }

    /// Bits of a coordinate.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// All of those bits.
    pub fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }

    /// What an integer is worth.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The longest vector after rounding over the clip: the price of the grid.
    pub fn lengthened(&self) -> f64 {
        self.longest_in_steps() * self.step / self.settings.clip
    }

    /// Standard deviation of the noise on each entry of the mean if `summands` clients are in the sum.
    pub fn noise_deviation(&self, summands: u64) -> f64 {
        self.noise.sigma() * self.step * (summands as f64).sqrt() / self.settings.clients as f64
    }

    /// What it was set to.
    pub fn settings(&self) -> &DistributedSettings {
        &self.settings
    }

    /// A bound on the probability that anything else than exact discrete Gaussian noise is seen in a round: to be added to
    /// the deltas of all rounds.
    pub fn distance(&self) -> f64 {
        self.noise.distance() * self.settings.dimension as f64 * self.settings.clients as f64
    }

    fn longest_in_steps(&self) -> f64 {
        (self.most as f64).sqrt().next_up()
    }

    /// Rounds each entry up or down at random, right on average, until the whole is short enough: which is what the
    /// sensitivity rests on, and decided in integers.
    fn round(&self, rotated: &[f32], source: &mut NoiseSource) -> Vec<i64> {
        let mut integers = vec![0; rotated.len()];
        let scale = self.step.recip();
        for _ in 0..TRIES {
            let mut words = [0; BLOCK / 2];
            for (integers, values) in integers.chunks_mut(BLOCK).zip(rotated.chunks(BLOCK)) {
                source.fill(&mut words);
                kernels::call(Dither {
                    values,
                    scale,
                    words: &words,
                    integers,
                });
            }
            if square(&integers) <= self.most {
                return integers;
            }
        }
        // Towards zero no entry grows, and the whole is as short as the clip.
        for (integer, &value) in integers.iter_mut().zip(rotated) {
            *integer = (f64::from(value) * scale) as i64;
        }
        if square(&integers) > self.most {
            integers.fill(0);
        }
        integers
    }

    fn check_length(&self, length: usize) -> Result<(), PrivacyError> {
        if length == self.settings.dimension {
            return Ok(());
        }
        Err(PrivacyError::Unsupported(format!(
            "a vector of {length} entries does not fit a mechanism for {}",
            self.settings.dimension
        )))
    }
}

/// Rounds a block at random: 32 bits of randomness an entry.
struct Dither<'a> {
    values: &'a [f32],
    scale: f64,
    words: &'a [u64; BLOCK / 2],
    integers: &'a mut [i64],
}

impl Kernel for Dither<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let uniform = |bits: u32| (f64::from(bits) + 0.5) / 4_294_967_296.0 - 0.5;
        for (i, (integer, &value)) in self.integers.iter_mut().zip(self.values).enumerate() {
            let word = self.words[i % (BLOCK / 2)];
            let bits = if i < BLOCK / 2 {
                word as u32
            } else {
                (word >> 32) as u32
            };
            *integer = nearest(f64::from(value) * self.scale + uniform(bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kills "rounded once, whatever comes": of vectors as long as the clip, about one in ten comes out too long.
    #[test]
    fn what_is_rounded_is_never_longer_than_the_sensitivity() {
        let mechanism = DistributedGaussian::new(DistributedSettings {
            dimension: 100,
            clip: 1.0,
            noise_multiplier: 1.0,
            clients: 10,
            honest: 10,
            bits: Some(14),
            room: 4.0,
        })
        .unwrap();
        let mut source = NoiseSource::seeded([1; 32]);
        let (mut longest, mut mean) = (0, vec![0.0; 100]);
        let mut vector: Vec<f32> = (0..100)
            .map(|i| if i % 2 == 0 { 0.06 } else { 0.128 })
            .collect();
        clip::clip(&mut vector, 1.0);
        for _ in 0..1000 {
            let integers = mechanism.round(&vector, &mut source);
            longest = longest.max(square(&integers));
            mean.iter_mut()
                .zip(integers)
                .for_each(|(mean, x)| *mean += x as f64 / 1000.0);
        }
        let Event::DistributedGaussian { l2_sensitivity, .. } = mechanism.event(None) else {
            panic!("another event")
        };
        assert!((longest as f64).sqrt() <= l2_sensitivity);
        assert!(
            (longest as f64).sqrt() > 0.999 * l2_sensitivity,
            "the bound is nearly met"
        );
        // Right on average, but for what keeping it short costs: six standard errors, and a twentieth of a step.
        for (mean, &x) in mean.iter().zip(&vector) {
            assert!(
                (mean - f64::from(x) / mechanism.step()).abs() < 0.05 + 6.0 * 0.5 / 1000_f64.sqrt()
            );
        }
    }
}
