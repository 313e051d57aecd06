//! The server's part in a private run: coins and noise that no seed repeats, and nothing released before the ledger has it.

use cloister_privacy::mechanism::adaptive_clip::AdaptiveClip;
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{PrivacyError, Receipt};

use crate::privacy::PrivacyPlan;

/// The noise on the cohort's sum, round after round.
#[derive(Debug)]
pub(super) struct PrivateMean {
    plan: PrivacyPlan,
    adaptive: Option<AdaptiveClip>,
    source: Option<NoiseSource>,
    /// The round that the ledger has a receipt for.
    committed: u32,
}

impl PrivateMean {
    pub(super) fn new(plan: PrivacyPlan) -> Result<Self, PrivacyError> {
        Ok(Self {
            adaptive: plan.adaptive_clip().transpose()?,
            plan,
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

    /// Coins for the cohort of `round`, if the round may begin.
    pub(super) fn coins(&mut self, round: u32) -> Option<&mut NoiseSource> {
        self.source.as_mut().filter(|_| self.committed == round)
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

    /// An empty sum for the coming round.
    pub(super) fn begin(&self, parameters: usize) -> Result<GaussianSum, PrivacyError> {
        match &self.adaptive {
            Some(adaptive) => adaptive.begin(parameters),
            None => GaussianSum::new(
                parameters,
                self.plan.config().clip,
                self.plan.noise_multiplier(),
                self.plan.expected_cohort(),
            ),
        }
    }

    /// The noisy mean of a round that was committed.
    pub(super) fn release(&mut self, sum: GaussianSum) -> Result<Vec<f32>, PrivacyError> {
        let Some(source) = &mut self.source else {
            return Err(PrivacyError::Unsupported(
                "a sum cannot be released without a source of noise".to_owned(),
            ));
        };
        match &mut self.adaptive {
            Some(adaptive) => adaptive.release(sum, source),
            None => Ok(sum.release(source)),
        }
    }
}
