//! The mean of clipped vectors with a trusted server's Gaussian noise.

use crate::error::PrivacyError;
use crate::event::Event;
use crate::mechanism::clip::Clipped;
use crate::mechanism::grid::{Grid, check_multiplier};
use crate::mechanism::sum::GridSum;
use crate::noise::{NoiseSource, RoundedGaussian};

/// A sum of clipped vectors that is released with Gaussian noise, as a mean over a public number (McMahan et al., arXiv
/// 1710.06963).
///
/// Sums are integers, so their bits do not depend on the order of the vectors. The divisor is the *expected* number of
/// vectors: dividing by how many there were would release that number, and let one vector move the mean of the others. A
/// sum over nobody is released like any other.
///
/// ```
/// use cloister_privacy::mechanism::central::GaussianSum;
/// use cloister_privacy::noise::NoiseSource;
///
/// let mut sum = GaussianSum::new(3, 1.0, 0.5, 10.0)?;
/// sum.add(&[0.1, 0.2, 0.3])?;
/// let mean: Vec<f32> = sum.release(&mut NoiseSource::system()?);
/// assert_eq!(mean.len(), 3);
/// # Ok::<(), cloister_privacy::PrivacyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GaussianSum {
    sum: GridSum,
    within: u64,
    expected: f64,
    noise: RoundedGaussian,
    accounted: f64,
}

impl GaussianSum {
    /// An empty sum of vectors of length `dimension`, each clipped to the norm `clip`, with noise of standard deviation
    /// `noise_multiplier` times the sensitivity, to be divided by `expected` vectors.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for a length of 0, a clip or noise multiplier that is not above 0 (within 1e-30 to 1e30,
    /// and 1e6), or less than one expected vector.
    pub fn new(
        dimension: usize,
        clip: f64,
        noise_multiplier: f64,
        expected: f64,
    ) -> Result<Self, PrivacyError> {
        Self::split(
            dimension,
            clip,
            noise_multiplier,
            noise_multiplier,
            expected,
        )
    }

    /// The same where the event has another multiplier, since it is for a count as well.
    pub(crate) fn split(
        dimension: usize,
        clip: f64,
        applied: f64,
        accounted: f64,
        expected: f64,
    ) -> Result<Self, PrivacyError> {
        check_multiplier(applied)?;
        check_expected(expected)?;
        let sum = GridSum::new(dimension, clip)?;
        let sigma = applied * sum.grid().sensitivity() / sum.grid().step();
        Ok(Self {
            within: 0,
            expected,
            noise: RoundedGaussian::new(sigma)?,
            accounted,
            sum,
        })
    }

    /// Clips a vector, rounds it to the grid and adds it. What is returned is private: it has no noise.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] for a vector of another length, or the 2^31st; nothing is added then.
    pub fn add(&mut self, vector: &[f32]) -> Result<Clipped, PrivacyError> {
        let found = self.sum.add(vector)?;
        self.within += u64::from(!found.clipped);
        Ok(found)
    }

    /// Adds the noise and divides by the expected number of vectors.
    pub fn release(mut self, source: &mut NoiseSource) -> Vec<f32> {
        self.noise.add(source, self.sum.entries_mut());
        self.sum.mean(self.expected)
    }

    /// What the release costs if each vector came with the chance `sampling_rate`; `None` if all came for certain.
    pub fn event(&self, sampling_rate: Option<f64>) -> Event {
        sampled(self.accounted, sampling_rate)
    }

    /// Standard deviation of the noise on each entry of the mean.
    pub fn noise_deviation(&self) -> f64 {
        self.noise.sigma() * self.grid().step() / self.expected
    }

    /// The grid of the sum.
    pub fn grid(&self) -> &Grid {
        self.sum.grid()
    }

    /// Of the vectors added, how many there were and how many were not clipped. Private.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sum.added(), self.within)
    }
}

/// A Gaussian event, with sampling or without.
pub(crate) fn sampled(noise_multiplier: f64, sampling_rate: Option<f64>) -> Event {
    match sampling_rate {
        Some(sampling_rate) if sampling_rate < 1.0 => Event::PoissonGaussian {
            noise_multiplier,
            sampling_rate,
        },
        _ => Event::Gaussian { noise_multiplier },
    }
}

/// Refuses divisors below 1.
pub(crate) fn check_expected(expected: f64) -> Result<(), PrivacyError> {
    if (1.0..=1e12).contains(&expected) {
        return Ok(());
    }
    Err(PrivacyError::Parameter {
        name: "the expected number of summands",
        range: "between 1 and 1e12",
        found: expected,
    })
}
