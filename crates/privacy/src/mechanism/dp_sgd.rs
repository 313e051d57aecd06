//! What DP-SGD needs beside clipped gradients: random batches, and noise on their sum (Abadi et al., arXiv 1607.00133).

use crate::error::PrivacyError;
use crate::event::Event;
use crate::kernels::{self, Kernel};
use crate::mechanism::central::{check_expected, sampled};
use crate::mechanism::grid::{Grid, check_multiplier, float, nearest};
use crate::noise::{BLOCK, NoiseSource, PAIRS, RoundedGaussian};

/// Draws each batch by independent coins, one an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoissonSampler {
    rate: f64,
    most: Option<u64>,
}

impl PoissonSampler {
    /// Batches in which each example is with the chance `rate`. A batch of more than `most` examples keeps a uniform
    /// subset of that size (Ganesh, arXiv 2508.15089).
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless `rate` is above 0 and at most 1, and `most` at least 1.
    pub fn new(rate: f64, most: Option<u64>) -> Result<Self, PrivacyError> {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(PrivacyError::Parameter {
                name: "the sampling rate",
                range: "above 0 and at most 1",
                found: rate,
            });
        }
        if most == Some(0) {
            return Err(PrivacyError::Parameter {
                name: "the largest batch",
                range: "at least 1",
                found: 0.0,
            });
        }
        Ok(Self { rate, most })
    }

    /// Overwrites `batch` with the indices below `population` that are in the next batch, in rising order. An empty batch
    /// is a step like any other: it must not be skipped.
    pub fn draw(&self, population: usize, source: &mut NoiseSource, batch: &mut Vec<usize>) {
        batch.clear();
        batch.extend((0..population).filter(|_| source.coin(self.rate)));
        if let Some(most) = self.most {
            source.keep(batch, usize::try_from(most).unwrap_or(usize::MAX));
        }
    }

    /// What one step over such a batch costs, with this noise.
    pub fn event(&self, noise_multiplier: f64, population: u64) -> Event {
        match self.most {
            Some(most) if most < population => Event::TruncatedPoissonGaussian {
                noise_multiplier,
                sampling_rate: self.rate,
                population,
                most,
            },
            _ => sampled(noise_multiplier, Some(self.rate)),
        }
    }
}

/// Gaussian noise on the sum of a batch's clipped gradients.
///
/// The sum is rounded to a grid and gets integer noise. Two sums that differ in one example are not quite as near to each
/// other as the clip says, which the noise makes up for: rounding puts them apart by up to a step in each coordinate, 2^-10
/// of the clip in all; and the `f32` additions of n gradients may err by `n 2^-24` of the sum of their norms, once for either
/// sum, `n^2 2^-23` of the clip in all. A batch of more than about 200 examples is therefore better added up in parts
/// ([`GradientNoise::begin`]): of two batches that differ in the value of one example, all parts but one are the same.
#[derive(Clone, Debug)]
pub struct GradientNoise {
    grid: Grid,
    noise: RoundedGaussian,
    limit: f64,
    divisor: f64,
    noise_multiplier: f64,
}

impl GradientNoise {
    /// Noise of standard deviation `noise_multiplier` times the sensitivity, for gradients of length `dimension` each
    /// clipped to the norm `clip`. Sums are divided by `divisor`, the public expected size of a batch; `most` is the
    /// largest number of examples of a sum, or of a part of it.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for numbers out of range: see [`Grid::new`] and
    /// [`GaussianSum::new`](super::central::GaussianSum::new); `most` must be between 1 and 2048.
    pub fn new(
        dimension: usize,
        clip: f64,
        noise_multiplier: f64,
        divisor: f64,
        most: u32,
    ) -> Result<Self, PrivacyError> {
        check_multiplier(noise_multiplier)?;
        check_expected(divisor)?;
        if !(1..=2048).contains(&most) {
            return Err(PrivacyError::Parameter {
                name: "the number of gradients that are added in single precision",
                range: "between 1 and 2048",
                found: most.into(),
            });
        }
        let grid = Grid::new(dimension, clip)?;
        let most = f64::from(most);
        // gamma_n = n u / (1 - n u) for u = 2^-24; a sum of one gradient adds nothing up.
        let unit = (most - 1.0) / 16_777_216.0;
        let summation = 2.0 * most * unit / (1.0 - unit);
        let rounding = grid.step() * (dimension as f64).sqrt();
        let sensitivity = (clip * (1.0 + summation) + rounding) * (1.0 + 1e-12);
        Ok(Self {
            noise: RoundedGaussian::new(noise_multiplier * sensitivity / grid.step())?,
            limit: 2.0 * most * clip / grid.step(),
            grid,
            divisor,
            noise_multiplier,
        })
    }

    /// Replaces the sum of a batch, zeros if that is empty, by the noisy mean.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] for a sum of another length; it is left alone then.
    pub fn apply(&self, sum: &mut [f32], source: &mut NoiseSource) -> Result<(), PrivacyError> {
        self.grid.check_length(sum.len())?;
        let mut noise = [[0; PAIRS]; 2];
        for values in sum.chunks_mut(BLOCK) {
            let noise = self.noise.block(source, &mut noise);
            kernels::call(Release {
                values,
                noise,
                inverse: self.grid.step().recip(),
                limit: self.limit,
                scale: self.grid.step() / self.divisor,
            });
        }
        Ok(())
    }

    /// An empty sum, to which parts of a batch are added.
    pub fn begin(&self) -> Vec<i64> {
        vec![0; self.grid.dimension()]
    }

    /// Adds a part's sum to the batch's.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] if one of them has another length; nothing is added then.
    pub fn add(&self, part: &[f32], batch: &mut [i64]) -> Result<(), PrivacyError> {
        self.grid.check_length(part.len())?;
        self.grid.check_length(batch.len())?;
        kernels::call(Part {
            part,
            batch,
            inverse: self.grid.step().recip(),
            limit: self.limit,
        });
        Ok(())
    }

    /// Writes the noisy mean of a batch that was added up in parts. Afterwards the batch is zeros, and ready for the next.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] if one of them has another length; both are left alone then.
    pub fn finish(
        &self,
        batch: &mut [i64],
        mean: &mut [f32],
        source: &mut NoiseSource,
    ) -> Result<(), PrivacyError> {
        self.grid.check_length(batch.len())?;
        self.grid.check_length(mean.len())?;
        self.noise.add(source, batch);
        let scale = self.grid.step() / self.divisor;
        for (mean, sum) in mean.iter_mut().zip(batch) {
            *mean = (*sum as f64 * scale) as f32;
            *sum = 0;
        }
        Ok(())
    }

    /// The multiplier that is accounted: hand it to [`PoissonSampler::event`].
    pub fn noise_multiplier(&self) -> f64 {
        self.noise_multiplier
    }

    /// Standard deviation of the noise on each entry of the mean.
    pub fn noise_deviation(&self) -> f64 {
        self.noise.sigma() * self.grid.step() / self.divisor
    }
}

/// An entry of a sum on the grid. Clipped gradients cannot leave the limit; what is not a number becomes 0.
#[inline(always)]
fn on_grid(value: f32, inverse: f64, limit: f64) -> i64 {
    let value = f64::from(value) * inverse;
    let value = if value.is_nan() { 0.0 } else { value };
    nearest(value.clamp(-limit, limit))
}

struct Release<'a> {
    values: &'a mut [f32],
    noise: &'a [i64],
    inverse: f64,
    limit: f64,
    scale: f64,
}

impl Kernel for Release<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (value, &noise) in self.values.iter_mut().zip(self.noise) {
            let sum = on_grid(*value, self.inverse, self.limit).wrapping_add(noise);
            *value = (float(sum) * self.scale) as f32;
        }
    }
}

struct Part<'a> {
    part: &'a [f32],
    batch: &'a mut [i64],
    inverse: f64,
    limit: f64,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, &value) in self.batch.iter_mut().zip(self.part) {
            *sum += on_grid(value, self.inverse, self.limit);
        }
    }
}
