//! A clipping norm that follows a quantile of the norms (Andrew et al., arXiv 1905.03871).

use serde::{Deserialize, Serialize};

use crate::error::PrivacyError;
use crate::event::Event;
use crate::mechanism::central::{GaussianSum, check_expected, sampled};
use crate::mechanism::grid::{check_clip, check_multiplier};
use crate::noise::{NoiseSource, RoundedGaussian};

/// The norm stays in this range, whatever the counts say.
const RANGE: (f64, f64) = (1e-12, 1e12);

/// What adaptive clipping is set to. The paper's values: quantile 0.5, rate 0.2, a count noise of a twentieth of the
/// expected cohort, first clip 0.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClipSettings {
    /// The share of norms that should be within the clip: gamma.
    pub quantile: f64,
    /// How fast the clip follows: eta of the geometric update.
    pub rate: f64,
    /// Standard deviation of the noise on the count of norms within the clip: sigma_b.
    pub count_noise: f64,
    /// The clip of the first round.
    pub first_clip: f64,
}

/// The clip of a run, round after round. Serialisable: a resumed run goes on with the clip it had.
///
/// Each round releases a mean and a count, together at the price of one Gaussian with `noise_multiplier`: the mean gets
/// somewhat more noise, `(z^-2 - (2 sigma_b)^-2)^(-1/2)`, to pay for the count. (Bits are counted as ±1/2, hence the 2.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveClip {
    settings: AdaptiveClipSettings,
    noise_multiplier: f64,
    expected: f64,
    clip: f64,
}

impl AdaptiveClip {
    /// Before the first round. `noise_multiplier` is what is accounted; `expected` is the expected cohort.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for a number out of its range, and [`PrivacyError::Unsupported`] if the count's noise is
    /// too small for the noise multiplier: it must be above half of it.
    pub fn new(
        settings: AdaptiveClipSettings,
        noise_multiplier: f64,
        expected: f64,
    ) -> Result<Self, PrivacyError> {
        check_multiplier(noise_multiplier)?;
        check_expected(expected)?;
        check_clip(settings.first_clip)?;
        if !(0.0..=1.0).contains(&settings.quantile) {
            return Err(PrivacyError::Parameter {
                name: "the quantile of adaptive clipping",
                range: "between 0 and 1",
                found: settings.quantile,
            });
        }
        if !(settings.rate > 0.0 && settings.rate <= 5.0) {
            return Err(PrivacyError::Parameter {
                name: "the rate of adaptive clipping",
                range: "above 0 and at most 5",
                found: settings.rate,
            });
        }
        applied(noise_multiplier, settings.count_noise)?;
        Ok(Self {
            clip: settings.first_clip,
            settings,
            noise_multiplier,
            expected,
        })
    }

    /// The clip of the coming round. It may be published.
    pub fn clip(&self) -> f64 {
        self.clip
    }

    /// The noise multiplier of the mean alone: above the one that is accounted.
    ///
    /// # Errors
    ///
    /// As [`AdaptiveClip::new`], if the state was not made by it.
    pub fn applied_multiplier(&self) -> Result<f64, PrivacyError> {
        applied(self.noise_multiplier, self.settings.count_noise)
    }

    /// The sum of a round, with the clip and the noise that are right for it.
    ///
    /// # Errors
    ///
    /// As [`GaussianSum::new`].
    pub fn begin(&self, dimension: usize) -> Result<GaussianSum, PrivacyError> {
        let applied = self.applied_multiplier()?;
        GaussianSum::split(
            dimension,
            self.clip,
            applied,
            self.noise_multiplier,
            self.expected,
        )
    }

    /// Releases the mean of a sum that [`AdaptiveClip::begin`] made, and moves the clip by a noisy count of those that
    /// were within it.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] if the settings, read from somewhere, are out of their ranges.
    pub fn release(
        &mut self,
        sum: GaussianSum,
        source: &mut NoiseSource,
    ) -> Result<Vec<f32>, PrivacyError> {
        let (all, within) = sum.counts();
        self.follow(all, within, source)?;
        Ok(sum.release(source))
    }

    /// The round's price, mean and count together.
    pub fn event(&self, sampling_rate: Option<f64>) -> Event {
        sampled(self.noise_multiplier, sampling_rate)
    }

    /// Moves the clip: `within` of `all` norms were not above it.
    fn follow(
        &mut self,
        all: u64,
        within: u64,
        source: &mut NoiseSource,
    ) -> Result<(), PrivacyError> {
        // Twice the sum of bits as ±1/2 is an integer, which needs no other grid.
        let doubled = 2 * within as i64 - all as i64;
        let noise = RoundedGaussian::new(2.0 * self.settings.count_noise)?.sample(source);
        let share = ((doubled + noise) as f64 / 2.0 / self.expected + 0.5).clamp(0.0, 1.0);
        let move_by = libm::exp(-self.settings.rate * (share - self.settings.quantile));
        self.clip = (self.clip * move_by).clamp(RANGE.0, RANGE.1);
        Ok(())
    }
}

/// What is left for the mean when a count with noise `count_noise` is paid for.
fn applied(noise_multiplier: f64, count_noise: f64) -> Result<f64, PrivacyError> {
    if !(count_noise > 0.0 && count_noise <= 1e9) {
        return Err(PrivacyError::Parameter {
            name: "the noise on the count of adaptive clipping",
            range: "above 0 and at most 1e9",
            found: count_noise,
        });
    }
    let left = noise_multiplier.powi(-2) - (2.0 * count_noise).powi(-2);
    if noise_multiplier >= 2.0 * count_noise || left <= 0.0 {
        return Err(PrivacyError::Unsupported(format!(
            "a noise multiplier of {noise_multiplier} leaves nothing for the mean when the count of adaptive clipping has \
             noise {count_noise}: the multiplier must be below twice that, {}",
            2.0 * count_noise
        )));
    }
    let applied = left.sqrt().recip();
    check_multiplier(applied)?;
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AdaptiveClipSettings = AdaptiveClipSettings {
        quantile: 0.5,
        rate: 0.2,
        count_noise: 5.0,
        first_clip: 0.1,
    };

    /// Values of the formula, from scipy 1.17.1.
    #[test]
    fn the_mean_pays_for_the_count() {
        for (z, count_noise, expected) in [
            (1.0, 5.0, 1.005_037_815_259_212),
            (4.0, 2.5, 6.666_666_666_666_667),
            (0.5, 0.5, 0.577_350_269_189_625_7),
        ] {
            let found = applied(z, count_noise).unwrap();
            assert!((found / expected - 1.0).abs() < 1e-14);
        }
        let error = applied(10.0, 5.0).unwrap_err().to_string();
        assert!(error.contains("10") && error.contains("noise 5"), "{error}");
    }

    /// Kills "z for z_D swapped", either way.
    #[test]
    fn the_smaller_multiplier_is_accounted_and_the_larger_applied() {
        let adaptive = AdaptiveClip::new(
            AdaptiveClipSettings {
                count_noise: 2.5,
                ..SETTINGS
            },
            4.0,
            50.0,
        )
        .unwrap();
        let sum = adaptive.begin(10).unwrap();
        let event = Event::PoissonGaussian {
            noise_multiplier: 4.0,
            sampling_rate: 0.1,
        };
        assert_eq!(sum.event(Some(0.1)), event);
        assert_eq!(adaptive.event(Some(0.1)), event);
        let applied = sum.noise_deviation() * 50.0 / sum.grid().sensitivity();
        assert!((applied - 20.0 / 3.0).abs() < 1e-9, "{applied}");
    }

    #[test]
    fn the_clip_finds_the_median() {
        let mut source = NoiseSource::seeded([2; 32]);
        let settings = AdaptiveClipSettings {
            count_noise: 1.0,
            ..SETTINGS
        };
        let mut adaptive = AdaptiveClip::new(settings, 1.0, 100.0).unwrap();
        for _ in 0..200 {
            let mut sum = adaptive.begin(2).unwrap();
            for i in 0..100 {
                sum.add(&[0.04 * (i as f32 + 0.5), 0.0]).unwrap();
            }
            let text = serde_json::to_string(&adaptive).unwrap();
            adaptive = serde_json::from_str(&text).unwrap();
            adaptive.release(sum, &mut source).unwrap();
        }
        // Norms are spread over 0 to 4; the clip wavers by a few percent.
        assert!((1.6..2.4).contains(&adaptive.clip()), "{}", adaptive.clip());
    }

    #[test]
    fn nobody_moves_the_clip_by_noise_alone() {
        let mut source = NoiseSource::seeded([2; 32]);
        let mut adaptive = AdaptiveClip::new(SETTINGS, 1.0, 1000.0).unwrap();
        let sum = adaptive.begin(1).unwrap();
        adaptive.release(sum, &mut source).unwrap();
        // Nobody is a share of a half, by the centred count.
        assert!((adaptive.clip() / 0.1 - 1.0).abs() < 0.01);
    }

    #[test]
    fn bad_settings_are_refused() {
        let refused = |settings, z, expected| AdaptiveClip::new(settings, z, expected).unwrap_err();
        refused(
            AdaptiveClipSettings {
                quantile: 1.5,
                ..SETTINGS
            },
            1.0,
            10.0,
        );
        refused(
            AdaptiveClipSettings {
                rate: 0.0,
                ..SETTINGS
            },
            1.0,
            10.0,
        );
        refused(
            AdaptiveClipSettings {
                rate: f64::NAN,
                ..SETTINGS
            },
            1.0,
            10.0,
        );
        refused(
            AdaptiveClipSettings {
                count_noise: -1.0,
                ..SETTINGS
            },
            1.0,
            10.0,
        );
        refused(
            AdaptiveClipSettings {
                first_clip: 0.0,
                ..SETTINGS
            },
            1.0,
            10.0,
        );
        refused(SETTINGS, f64::NAN, 10.0);
        refused(SETTINGS, 0.0, 10.0);
        refused(SETTINGS, 1.0, 0.0);
    }
}
