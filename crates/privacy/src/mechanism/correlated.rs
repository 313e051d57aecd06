//! Gaussian noise that is correlated over the rounds of a run, for cohorts that nobody draws at random.
//!
//! The noise of a round takes back part of what earlier rounds added, so that models, which are sums of rounds, see less of
//! it than independent noise would give them. The whole run is one release of the Gaussian mechanism (Denisov et al., arXiv
//! 2202.08312; Choquette-Choo et al., arXiv 2306.08153), which holds however cohorts are chosen, as long as each unit keeps
//! the distance between its participations. The server must enforce that.

mod optimise;
mod strategy;
mod stream;

use crate::error::PrivacyError;
use crate::event::Event;
use crate::mechanism::central::check_expected;
use crate::mechanism::clip::Clipped;
use crate::mechanism::grid::check_multiplier;
use crate::mechanism::sum::GridSum;
use crate::noise::{NoiseSource, RoundedGaussian};
pub use strategy::{Blt, Errors, Participation, Toeplitz, tree_errors, tree_sensitivity};
use stream::Stream;

/// How noise is correlated.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// By a Toeplitz matrix: in memory are as many past noises as it has coefficients, less one.
    Toeplitz(Toeplitz),
    /// By a buffered Toeplitz matrix: in memory are its buffers.
    Blt(Blt),
    /// By trees of partial sums, one for each `separation` rounds: a baseline.
    Tree,
}

impl Strategy {
    /// Standard deviation of z over the clipping norm divided by this is the noise multiplier of the one release that the
    /// run is.
    pub fn sensitivity(&self, participation: Participation) -> f64 {
        match self {
            Self::Toeplitz(toeplitz) => toeplitz.sensitivity(participation),
            Self::Blt(blt) => blt
                .toeplitz(participation.rounds())
                .sensitivity(participation),
            Self::Tree => tree_sensitivity(participation),
        }
    }

    /// Deviations of the noise of prefix sums for z of deviation 1.
    pub fn errors(&self, participation: Participation) -> Errors {
        match self {
            Self::Toeplitz(toeplitz) => toeplitz.errors(participation.rounds()),
            Self::Blt(blt) => blt.errors(participation.rounds()),
            Self::Tree => tree_errors(participation),
        }
    }
}

/// What correlated noise is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelatedSettings {
    /// Length of the vectors.
    pub dimension: usize,
    /// Norm to which vectors are clipped.
    pub clip: f64,
    /// Standard deviation of z over that norm. The run's noise multiplier is this over [`Strategy::sensitivity`].
    pub noise_multiplier: f64,
    /// Vectors expected in a round; public.
    pub expected: f64,
    /// Who takes part when.
    pub participation: Participation,
    /// How noise is correlated.
    pub strategy: Strategy,
}

/// The means of a run's rounds, with correlated noise from a trusted server.
///
/// The noise is rounded to the grid of the sums after it was correlated, which comes to rounding what the ideal mechanism
/// releases. It is computed in `f64`, each entry within about 1e-14 standard deviations, which moves the distribution as
/// little as [`RoundedGaussian`] says of itself.
#[derive(Clone, Debug)]
pub struct CorrelatedGaussian {
    settings: CorrelatedSettings,
    sum: GridSum,
    released: usize,
    noise: RoundedGaussian,
    stream: Stream,
}

impl CorrelatedGaussian {
    /// Before the first round.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for a number out of its range.
    pub fn new(settings: CorrelatedSettings) -> Result<Self, PrivacyError> {
        check_multiplier(settings.noise_multiplier)?;
        check_expected(settings.expected)?;
        let sum = GridSum::new(settings.dimension, settings.clip)?;
        let sigma = settings.noise_multiplier * sum.grid().sensitivity() / sum.grid().step();
        let leaves = settings.participation.separation();
        Ok(Self {
            stream: Stream::new(&settings.strategy, settings.dimension, leaves),
            noise: RoundedGaussian::new(sigma)?,
            released: 0,
            settings,
            sum,
        })
    }

    /// Clips a vector, rounds it to the grid and adds it to this round's sum. What is returned is private.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] for a vector of another length, or the 2^31st; nothing is added then.
    pub fn add(&mut self, vector: &[f32]) -> Result<Clipped, PrivacyError> {
        self.sum.add(vector)
    }

    /// Ends the round: its noisy mean over the expected number of vectors. A round of nobody ends like any other.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] after the last round that was accounted for.
    pub fn release(&mut self, source: &mut NoiseSource) -> Result<Vec<f32>, PrivacyError> {
        let rounds = self.settings.participation.rounds();
        if self.released == rounds {
            return Err(PrivacyError::Unsupported(format!(
                "correlated noise was planned and accounted for {rounds} rounds, and all are over"
            )));
        }
        self.stream.add(self.sum.entries_mut(), &self.noise, source);
        let mean = self.sum.mean(self.settings.expected);
        self.sum.clear();
        self.released += 1;
        Ok(mean)
    }

    /// Rounds that were released.
    pub fn released(&self) -> usize {
        self.released
    }

    /// What the whole run costs, however many of its rounds are released.
    pub fn event(&self) -> Event {
        let noise_multiplier = self.settings.noise_multiplier;
        let participation = self.settings.participation;
        match self.settings.strategy {
            Strategy::Tree => Event::Tree {
                noise_multiplier,
                leaves: participation.separation() as u64,
                epochs: participation.most() as u64,
            },
            Strategy::Toeplitz(_) | Strategy::Blt(_) => Event::Correlated {
                noise_multiplier,
                matrix_sensitivity: self.settings.strategy.sensitivity(participation),
            },
        }
    }

    /// Standard deviation of z on each entry of a mean: [`Errors`] are multiples of it.
    pub fn noise_deviation(&self) -> f64 {
        self.noise.sigma() * self.sum.grid().step() / self.settings.expected
    }
}
