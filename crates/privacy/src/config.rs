//! The table `[privacy]` of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Neighbouring, Unit};

/// `[privacy]`: what adds noise, how much, and what it must not cost.
///
/// A key that the mechanism does not use is ignored, so that a sweep over mechanisms can set the keys of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivacyConfig {
    /// What adds the noise.
    pub mechanism: Mechanism,
    /// Whose data the promise is about. It follows from the mechanism; given, it must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Standard deviation of the noise over the sensitivity. Left out: the least that keeps the planned rounds within
    /// `epsilon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_multiplier: Option<f64>,
    /// The privacy loss that the run may not exceed: it stops before a round that would. Left out: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// The chance with which the loss may exceed epsilon: at most a tenth of one over the number of units.
    pub delta: f64,
    /// Longest contribution of a unit: updates (unit `client`) or gradients of examples (unit `example`) are scaled down
    /// to this norm. Under `adaptive_clip`, the norm of the first round.
    #[serde(default = "one")]
    pub clip: f64,
    /// Lets the clipping norm of `central-gaussian` follow a quantile of the norms of the updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_clip: Option<AdaptiveClipConfig>,
    /// Where noise and coins come from.
    #[serde(default)]
    pub noise: NoiseOrigin,
    /// Which data sets the promise holds apart: `zero-out` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbouring: Option<Neighbouring>,
    /// Largest batch of `dp-sgd`: a larger one keeps a uniform subset. Left out: none is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<u32>,
    /// Rounds from one participation of a client to its next, under `correlated-gaussian`: the clients are dealt into so
    /// many groups, which take turns. 1 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separation: Option<u32>,
    /// How `correlated-gaussian` correlates its noise: `banded` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Correlation>,
    /// Bands of `correlation = "banded"`: `separation` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<u32>,
    /// Bits of a coordinate under `distributed-discrete-gaussian`: 16 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Clients whose noise is certain to be in the sum of `distributed-discrete-gaussian`: the survivors of a round less
    /// those that may collude with the server. Left out: nine tenths of the cohort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub honest: Option<u32>,
}

/// What adds noise.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The server, on the sum of clipped updates (McMahan et al. 2018, arXiv 1710.06963). Unit: client.
    CentralGaussian,
    /// The server, with noise of one round that cancels part of earlier ones (arXiv 2306.08153, 2404.16706): for rounds
    /// whose participants cannot be drawn at random. Unit: client.
    CorrelatedGaussian,
    /// Each client a share, on integers, so that a secure sum has enough (Kairouz et al. 2021, arXiv 2102.06387).
    /// Unit: client.
    DistributedDiscreteGaussian,
    /// Each client, enough for itself alone. A baseline: the noise of a cohort adds up. Unit: client.
    LocalGaussian,
    /// Each client, in each local step, on the sum of clipped gradients (Abadi et al. 2016, arXiv 1607.00133).
    /// Unit: example.
    DpSgd,
}

impl Mechanism {
    /// Whose data it protects.
    pub fn unit(self) -> Unit {
        match self {
            Self::DpSgd => Unit::Example,
            _ => Unit::Client,
        }
    }

    /// Whether the server adds the noise.
    pub fn at_server(self) -> bool {
        matches!(self, Self::CentralGaussian | Self::CorrelatedGaussian)
    }

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::CentralGaussian => "central-gaussian",
            Self::CorrelatedGaussian => "correlated-gaussian",
            Self::DistributedDiscreteGaussian => "distributed-discrete-gaussian",
            Self::LocalGaussian => "local-gaussian",
            Self::DpSgd => "dp-sgd",
        }
    }
}

/// `[privacy.adaptive_clip]` (Andrew et al. 2021, arXiv 1905.03871).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveClipConfig {
    /// Share of updates that should pass unclipped.
    pub quantile: f64,
    /// Step of the logarithm of the norm.
    pub rate: f64,
    /// Standard deviation of the noise on the count of unclipped updates. Left out: a twentieth of the cohort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count_noise: Option<f64>,
}

impl Default for AdaptiveClipConfig {
    fn default() -> Self {
        Self {
            quantile: 0.5,
            rate: 0.2,
            count_noise: None,
        }
    }
}

/// Where noise and the coins of sampling come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseOrigin {
    /// The operating system: secret, and another in each run.
    #[default]
    System,
    /// The run's seed: the same in each run, so that experiments can be repeated. Such a run is NOT PRIVATE.
    Seeded,
}

/// How the noise of rounds is correlated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Correlation {
    /// A banded Toeplitz matrix: as many past noises in memory as bands, less one.
    #[default]
    Banded,
    /// A buffered linear Toeplitz matrix: four buffers, whatever the rounds.
    Blt,
    /// A tree of partial sums, as a baseline.
    Tree,
}

fn one() -> f64 {
    1.0
}

impl PrivacyConfig {
    /// Which data sets the promise holds apart.
    pub fn neighbouring(&self) -> Neighbouring {
        self.neighbouring.unwrap_or_default()
    }

    /// Ranges, and keys that contradict each other.
    ///
    /// # Errors
    /// The key within `[privacy]` and the reason.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.epsilon.is_none() && self.noise_multiplier.is_none() {
            return Err((
                "epsilon",
                "how much noise? give privacy.epsilon or privacy.noise_multiplier".into(),
            ));
        }
        for (key, value) in [
            ("epsilon", self.epsilon),
            ("noise_multiplier", self.noise_multiplier),
            ("clip", Some(self.clip)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value <= 0.0) {
                return Err((key, format!("must be finite and above 0, found {value}")));
            }
        }
        if !(self.delta > 0.0 && self.delta < 1.0) {
            let delta = self.delta;
            return Err((
                "delta",
                format!("must be above 0 and below 1, found {delta}"),
            ));
        }
        if let Some(unit) = self.unit.filter(|unit| *unit != self.mechanism.unit()) {
            return Err((
                "unit",
                format!(
                    "{} protects {}, not {}",
                    self.mechanism.name(),
                    unit_words(self.mechanism.unit()),
                    unit_words(unit)
                ),
            ));
        }
        self.check_adaptive_clip()?;
        for (key, value) in [
            ("max_batch", self.max_batch),
            ("separation", self.separation),
            ("bands", self.bands),
            ("honest", self.honest),
        ] {
            if value == Some(0) {
                return Err((key, "must be at least 1, found 0".into()));
            }
        }
        match self.bits {
            Some(bits) if !(4..=24).contains(&bits) => {
                Err(("bits", format!("must be from 4 to 24, found {bits}")))
            }
            _ => Ok(()),
        }
    }

    fn check_adaptive_clip(&self) -> Result<(), (&'static str, String)> {
        let Some(adaptive) = &self.adaptive_clip else {
            return Ok(());
        };
        if self.mechanism != Mechanism::CentralGaussian {
            return Err((
                "adaptive_clip",
                format!("{} has a fixed clipping norm", self.mechanism.name()),
            ));
        }
        let (quantile, rate) = (adaptive.quantile, adaptive.rate);
        if !(quantile > 0.0 && quantile < 1.0) {
            return Err((
                "adaptive_clip.quantile",
                format!("must be above 0 and below 1, found {quantile}"),
            ));
        }
        if !(rate > 0.0 && rate <= 1.0) {
            return Err((
                "adaptive_clip.rate",
                format!("must be above 0 and at most 1, found {rate}"),
            ));
        }
        let noise = adaptive.count_noise;
        match noise.filter(|noise| !noise.is_finite() || *noise <= 0.0) {
            Some(noise) => Err((
                "adaptive_clip.count_noise",
                format!("must be finite and above 0, found {noise}"),
            )),
            None => Ok(()),
        }
    }
}

fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Example => "examples",
        Unit::Client => "clients",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PrivacyConfig {
        PrivacyConfig {
            mechanism: Mechanism::CentralGaussian,
            unit: None,
            noise_multiplier: Some(1.0),
            epsilon: None,
            delta: 1e-5,
            clip: 1.0,
            adaptive_clip: None,
            noise: NoiseOrigin::System,
            neighbouring: None,
            max_batch: None,
            separation: None,
            correlation: None,
            bands: None,
            bits: None,
            honest: None,
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        assert_eq!(config().check(), Ok(()));
        let adaptive = |quantile, rate, count_noise| {
            Some(AdaptiveClipConfig {
                quantile,
                rate,
                count_noise,
            })
        };
        type Change = Box<dyn Fn(&mut PrivacyConfig)>;
        let cases: Vec<(&str, Change)> = vec![
            ("epsilon", Box::new(|c| c.noise_multiplier = None)),
            ("epsilon", Box::new(|c| c.epsilon = Some(-1.0))),
            ("epsilon", Box::new(|c| c.epsilon = Some(f64::NAN))),
            (
                "noise_multiplier",
                Box::new(|c| c.noise_multiplier = Some(0.0)),
            ),
            (
                "noise_multiplier",
                Box::new(|c| c.noise_multiplier = Some(f64::INFINITY)),
            ),
            ("clip", Box::new(|c| c.clip = 0.0)),
            ("delta", Box::new(|c| c.delta = 0.0)),
            ("delta", Box::new(|c| c.delta = 1.0)),
            ("delta", Box::new(|c| c.delta = f64::NAN)),
            ("unit", Box::new(|c| c.unit = Some(Unit::Example))),
            (
                "adaptive_clip.quantile",
                Box::new(move |c| c.adaptive_clip = adaptive(1.0, 0.2, None)),
            ),
            (
                "adaptive_clip.rate",
                Box::new(move |c| c.adaptive_clip = adaptive(0.5, 0.0, None)),
            ),
            (
                "adaptive_clip.count_noise",
                Box::new(move |c| c.adaptive_clip = adaptive(0.5, 0.2, Some(-1.0))),
            ),
            (
                "adaptive_clip",
                Box::new(move |c| {
                    c.mechanism = Mechanism::LocalGaussian;
                    c.adaptive_clip = adaptive(0.5, 0.2, None);
                }),
            ),
            ("bits", Box::new(|c| c.bits = Some(40))),
            ("separation", Box::new(|c| c.separation = Some(0))),
        ];
        for (key, change) in cases {
            let mut changed = config();
            change(&mut changed);
            assert_eq!(changed.check().map_err(|(key, _)| key), Err(key));
        }
    }
}
