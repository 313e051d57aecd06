//! Noise that a client adds to what it sends, so that nobody need be trusted.

use crate::accounting::{self, Question};
use crate::error::PrivacyError;
use crate::event::{Event, Neighbouring};
use crate::mechanism::central::GaussianSum;
use crate::noise::NoiseSource;

/// A client's clipped vector with Gaussian noise of its own.
///
/// Locally private means that any vector could have been any other: [`LocalGaussian::NEIGHBOURING`]. Two vectors are up to
/// twice the clipping norm apart, which the accountants know. [`LocalGaussian::for_epsilon`] asks them: it is the analytic
/// Gaussian mechanism (Balle, Wang, arXiv 1805.06530), and holds for any epsilon, where the classical `sqrt(2 ln(1.25 / delta)) / epsilon` holds below 1 only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalGaussian {
    dimension: usize,
    clip: f64,
    noise_multiplier: f64,
}

impl LocalGaussian {
    /// The relation that local privacy is about.
    pub const NEIGHBOURING: Neighbouring = Neighbouring::ReplaceOne;

    /// Noise of standard deviation `noise_multiplier` times the clipping norm, as in every [`Event`].
    ///
    /// # Errors
    ///
    /// As [`GaussianSum::new`].
    pub fn new(dimension: usize, clip: f64, noise_multiplier: f64) -> Result<Self, PrivacyError> {
        let mechanism = Self {
            dimension,
            clip,
            noise_multiplier,
        };
        mechanism.sum().map(|_| mechanism)
    }

    /// As much noise as it takes for one release at this epsilon and delta.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] for an epsilon or delta out of range, or as [`LocalGaussian::new`].
    pub fn for_epsilon(
        dimension: usize,
        clip: f64,
        epsilon: f64,
        delta: f64,
    ) -> Result<Self, PrivacyError> {
        let question = Question::new(Self::NEIGHBOURING, delta);
        let plan = |noise_multiplier| Event::Gaussian { noise_multiplier };
        let noise_multiplier = accounting::noise_multiplier(epsilon, &question, &plan)?;
        Self::new(dimension, clip, noise_multiplier)
    }

    /// The vector, clipped and with noise: fit to be sent.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] for a vector of another length.
    pub fn release(
        &self,
        vector: &[f32],
        source: &mut NoiseSource,
    ) -> Result<Vec<f32>, PrivacyError> {
        let mut sum = self.sum()?;
        sum.add(vector)?;
        Ok(sum.release(source))
    }

    /// What one vector costs its client.
    pub fn event(&self) -> Event {
        Event::Gaussian {
            noise_multiplier: self.noise_multiplier,
        }
    }

    /// A sum of one.
    fn sum(&self) -> Result<GaussianSum, PrivacyError> {
        GaussianSum::new(self.dimension, self.clip, self.noise_multiplier, 1.0)
    }
}
