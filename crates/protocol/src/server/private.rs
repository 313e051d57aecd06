//! The server's part in a private run: coins and noise that no seed repeats, and nothing released before the ledger has it.

use cloister_privacy::mechanism::adaptive_clip::AdaptiveClip;
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::mechanism::correlated::CorrelatedGaussian;
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Mechanism, PrivacyError, Receipt};

use crate::config::FederationConfig;
use crate::error::ClientId;
use crate::privacy::PrivacyPlan;
use crate::sampling::{self, Cohort};

/// The sum of a round, clipped and on a grid.
#[derive(Debug)]
pub(crate) enum PrivateSum {
    /// To be released with noise of its own.
    Independent(Box<GaussianSum>),
    /// To be released with noise that belongs to that of other rounds.
    Correlated(Box<CorrelatedGaussian>),
}

impl PrivateSum {
    /// Clips and adds an update.
    pub(crate) fn add(&mut self, update: &[f32]) -> Result<(), PrivacyError> {
        match self {
            Self::Independent(sum) => sum.add(update).map(drop),
            Self::Correlated(sum) => sum.add(update).map(drop),
        }
    }
}

/// The noise on the cohort's sum, round after round.
#[derive(Debug)]
pub(super) struct PrivateMean {
    plan: PrivacyPlan,
    adaptive: Option<AdaptiveClip>,
    /// Noise that remembers, but for the round in progress, which has it.
    correlated: Option<Box<CorrelatedGaussian>>,
    source: Option<NoiseSource>,
    /// The round that the ledger has a receipt for.
    committed: u32,
}

impl PrivateMean {
    pub(super) fn new(plan: PrivacyPlan) -> Result<Self, PrivacyError> {
        Ok(Self {
            adaptive: plan.adaptive_clip().transpose()?,
            plan,
            correlated: None,
            source: None,
            committed: 0,
        })
    }

    pub(super) fn use_noise(&mut self, source: NoiseSource) {
        self.source = Some(source);
    }

    pub(super) fn commit(&mut self, receipt: &Receipt) {
        self.committed = receipt.round();
    }

    /// The cohort of `round`: by secret coins, or by turns; `None` if the round may not begin.
    pub(super) fn draw(
        &mut self,
        settings: &FederationConfig,
        roster: &[ClientId],
        round: u32,
    ) -> Option<Cohort> {
        let coins = self.source.as_mut().filter(|_| self.committed == round)?;
        Some(match self.plan.separation() {
            1 => sampling::draw_secretly(settings, roster, coins),
            separation => sampling::take_turns(roster, round, separation),
        })
    }

    /// The clipping norm of the coming round.
    pub(super) fn clip(&self) -> f64 {
        let fixed = self.plan.config().clip;
        self.adaptive.as_ref().map_or(fixed, AdaptiveClip::clip)
    }

    /// The memory of adaptive clipping.
    pub(super) fn state(&self) -> Option<AdaptiveClip> {
        self.adaptive.clone()
    }

    pub(super) fn restore(&mut self, state: Option<AdaptiveClip>) {
        if self.adaptive.is_some() && state.is_some() {
            self.adaptive = state;
        }
    }

    /// An empty sum for the round after the first `done`.
    pub(super) fn begin(
        &mut self,
        parameters: usize,
        done: u32,
    ) -> Result<PrivateSum, PrivacyError> {
        let sum = match &self.adaptive {
            _ if self.plan.config().mechanism == Mechanism::CorrelatedGaussian => {
                let correlated = match self.correlated.take() {
                    Some(correlated) => correlated,
                    None => Box::new(self.plan.correlated(parameters, done)?),
                };
                return Ok(PrivateSum::Correlated(correlated));
            }
            Some(adaptive) => adaptive.begin(parameters)?,
            None => GaussianSum::new(
                parameters,
                self.plan.config().clip,
                self.plan.noise_multiplier(),
                self.plan.expected_cohort(),
            )?,
        };
        Ok(PrivateSum::Independent(Box::new(sum)))
    }

    /// Draws the noise of a round that is over.
    pub(super) fn replay(
        &mut self,
        parameters: usize,
        source: NoiseSource,
    ) -> Result<(), PrivacyError> {
        let sum = self.begin(parameters, 0)?;
        if let PrivateSum::Correlated(_) = sum {
            self.source = Some(source);
            self.release(sum)?;
        }
        Ok(())
    }

    /// The noisy mean of a round that was committed.
    pub(super) fn release(&mut self, sum: PrivateSum) -> Result<Vec<f32>, PrivacyError> {
        let Some(source) = &mut self.source else {
            return Err(PrivacyError::Unsupported(
                "a sum cannot be released without a source of noise".to_owned(),
            ));
        };
        match (sum, &mut self.adaptive) {
            (PrivateSum::Correlated(mut correlated), _) => {
                let mean = correlated.release(source);
                self.correlated = Some(correlated);
                mean
            }
            (PrivateSum::Independent(sum), Some(adaptive)) => adaptive.release(*sum, source),
            (PrivateSum::Independent(sum), None) => Ok(sum.release(source)),
        }
    }
}
