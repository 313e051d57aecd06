//! What a client can do to its update against whoever attacks it, without any promise.
//!
//! None of this is privacy: no figure here bounds what an update reveals, and for each of them an attack is known that goes on
//! working. They are here to be compared, under the attacks of the red team, with what does have a bound (`[privacy]`). They come
//! before compression and masking, in a simulation and at a deployed site alike, in the order clip, noise, prune, quantise;
//! `soteria` comes before them, in each local step.
//!
//! | key | stops | does not stop |
//! | --- | --- | --- |
//! | `clip_norm` | poisoned updates of great length | reconstruction: a cosine does not see the length |
//! | `noise` | what is weaker than the noise | bounds nothing: no clipping, no accounting |
//! | `prune` | a naive match of all coordinates | an attack that leaves out what was pruned |
//! | `quantise_bits` | a naive match, from about 4 bits down | an attack that allows for the step |
//! | `soteria` | a naive match of all layers | an attack that leaves out the last layer |

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ClientId;
use crate::streams::{Purpose, Streams};

/// `[defence]`: what clients do to their updates before they are compressed or masked. NOT PRIVATE: none of these bounds what an
/// update reveals; `[privacy]` does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefenceConfig {
    /// Longest update, in the L2 norm, above 0; a longer one is scaled down. Reconstruction is not hindered by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Standard deviation of normal noise on each coordinate, above 0. Without a bound on the update and without any accounting: NOT
    /// PRIVATE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// Share of the coordinates that is set to zero, above 0 and below 1: the smallest. What is not sent is forgotten. Compression,
    /// not privacy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<f64>,
    /// Bits of a coordinate, 2 to 8: rounded to the nearest of 2^bits - 1 steps, symmetric about zero, one step length for the whole
    /// update. Compression, not privacy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantise_bits: Option<u32>,
    /// Share of the units before the last linear layer whose weights in it are not trained, above 0 and below 1: in each local step
    /// those that show most of the input (Soteria, Sun et al. 2021, arXiv 2012.06043). An attack that leaves out the last layer is not
    /// hindered by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soteria: Option<f64>,
}

/// Where the noise of [`DefenceConfig::noise`] comes from.
#[derive(Debug)]
pub struct DefenceNoise(ChaCha8Rng);

impl DefenceNoise {
    /// From the seed of a run, as in a simulation: it can be repeated, and so be taken off again.
    pub fn seeded(streams: &Streams, round: u32, client: ClientId) -> Self {
        Self(streams.stream(Purpose::Defence, round, client.0))
    }

    /// From a secret that nobody has again.
    pub fn secret(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }
}

impl DefenceConfig {
    /// Does to an update what is to be done after training. An update that is not finite stays as it is:
    /// the server refuses it.
    pub fn apply(&self, update: &mut [f32], noise: DefenceNoise) {
        if update.iter().any(|value| !value.is_finite()) {
            return;
        }
        if let Some(most) = self.clip_norm {
            clip(update, most);
        }
        if let Some(deviation) = self.noise {
            add_noise(update, deviation, noise);
        }
        if let Some(share) = self.prune {
            prune(update, share);
        }
        if let Some(bits) = self.quantise_bits {
            quantise(update, bits);
        }
    }

    /// Those that are on, by their keys.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("clip_norm", self.clip_norm.is_some()),
            ("noise", self.noise.is_some()),
            ("prune", self.prune.is_some()),
            ("quantise_bits", self.quantise_bits.is_some()),
            ("soteria", self.soteria.is_some()),
        ];
        let on = all.into_iter().filter(|(_, is_on)| *is_on);
        on.map(|(name, _)| name).collect()
    }
}

/// Scales an update down to the length `most`.
fn clip(update: &mut [f32], most: f64) {
    let squares: f64 = update.iter().map(|value| f64::from(*value).powi(2)).sum();
    let norm = squares.sqrt();
    if norm > most {
        let scale = most / norm;
        for value in update {
            *value = (scale * f64::from(*value)) as f32;
        }
    }
}

/// Adds independent normal noise (Box and Muller 1958).
fn add_noise(update: &mut [f32], deviation: f64, DefenceNoise(mut rng): DefenceNoise) {
    for pair in update.chunks_mut(2) {
        // Above zero, so that its logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        for (value, normal) in pair.iter_mut().zip([radius * cosine, radius * sine]) {
            *value = (f64::from(*value) + deviation * normal) as f32;
        }
    }
}

/// Sets the smallest coordinates to zero, of equal ones the last.
fn prune(update: &mut [f32], share: f64) {
    let count = ((share * update.len() as f64) as usize).min(update.len());
    if count == 0 {
        return;
    }
    let mut places: Vec<u32> = (0..update.len() as u32).collect();
    let size = |place: &u32| update[*place as usize].abs();
    places.select_nth_unstable_by(count - 1, |a, b| size(a).total_cmp(&size(b)).then(b.cmp(a)));
    places.truncate(count);
    for place in places {
        update[place as usize] = 0.0;
    }
}

/// Rounds each coordinate to a multiple of one step, of which the largest has 2^(bits - 1) - 1.
fn quantise(update: &mut [f32], bits: u32) {
    let most = update
        .iter()
        .fold(0.0_f32, |most, value| most.max(value.abs()));
    let steps = ((1_u32 << (bits.clamp(2, 8) - 1)) - 1) as f32;
    let step = most / steps;
    if step > 0.0 {
        for value in update {
            *value = (*value / step).round() * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn defended(config: &DefenceConfig, update: &[f32]) -> Vec<f32> {
        let mut update = update.to_vec();
        config.apply(&mut update, DefenceNoise::secret([1; 32]));
        update
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let config = DefenceConfig {
            clip_norm: Some(1.0),
            ..DefenceConfig::default()
        };
        assert_eq!(defended(&config, &[0.3, -0.4]), [0.3, -0.4]);
        assert_eq!(defended(&config, &[3.0, -4.0]), [0.6, -0.8]);
    }

    #[test]
    fn noise_has_the_deviation_asked_for_and_no_mean() {
        let config = DefenceConfig {
            noise: Some(0.5),
            ..DefenceConfig::default()
        };
        let n = 100_001;
        let sent = defended(&config, &vec![2.0; n]);
        let noise: Vec<f64> = sent.iter().map(|value| f64::from(*value) - 2.0).collect();
        let mean = noise.iter().sum::<f64>() / n as f64;
        let variance = noise.iter().map(|value| value * value).sum::<f64>() / n as f64;
        // Five standard errors each: a false alarm once in a million.
        let root = (n as f64).sqrt();
        assert!(mean.abs() < 5.0 * 0.5 / root, "{mean}");
        assert!(
            (variance / 0.25 - 1.0).abs() < 5.0 * 2_f64.sqrt() / root,
            "{variance}"
        );
        let beyond = noise
            .iter()
            .filter(|value| value.abs() > 1.96 * 0.5)
            .count() as f64;
        assert!((beyond / n as f64 - 0.05).abs() < 5.0 * (0.05_f64 * 0.95).sqrt() / root);
        let other: Vec<f64> = noise
            .iter()
            .skip(1)
            .zip(&noise)
            .map(|(a, b)| a * b)
            .collect();
        let correlation = other.iter().sum::<f64>() / n as f64 / 0.25;
        assert!(correlation.abs() < 5.0 / root, "{correlation}");
    }

    #[test]
    fn the_smallest_go_and_nothing_is_remembered() {
        let config = DefenceConfig {
            prune: Some(0.6),
            ..DefenceConfig::default()
        };
        let update = [0.1, -5.0, 0.2, 2.0, -0.2];
        assert_eq!(defended(&config, &update), [0.0, -5.0, 0.0, 2.0, 0.0]);
        assert_eq!(defended(&config, &[1.0; 5]), [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(defended(&config, &[]), [] as [f32; 0]);
    }

    #[test]
    fn what_is_not_finite_stays_for_the_server_to_refuse() {
        let config = DefenceConfig {
            clip_norm: Some(1.0),
            noise: Some(1.0),
            prune: Some(0.5),
            quantise_bits: Some(4),
            soteria: None,
        };
        assert_eq!(
            config.names(),
            ["clip_norm", "noise", "prune", "quantise_bits"]
        );
        for bad in [f32::NAN, f32::INFINITY] {
            let sent = defended(&config, &[1.0, bad, 2.0]);
            assert_eq!((sent[0], sent[2]), (1.0, 2.0));
            assert!(!sent[1].is_finite());
        }
    }

    proptest! {
        #[test]
        fn quantised_values_are_few_and_near(
            update in prop::collection::vec(-9.0_f32..9.0, 1..300),
            bits in 2_u32..=8,
        ) {
            let config = DefenceConfig { quantise_bits: Some(bits), ..DefenceConfig::default() };
            let sent = defended(&config, &update);
            let most = update.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let half = most / ((1 << (bits - 1)) - 1) as f32 / 2.0;
            for (sent, value) in sent.iter().zip(&update) {
                prop_assert!((sent - value).abs() <= 1.001 * half);
            }
            let mut values = sent.clone();
            values.sort_by(f32::total_cmp);
            values.dedup();
            prop_assert!(values.len() < 1 << bits);
            let pruned = defended(&DefenceConfig { prune: Some(0.5), ..config }, &update);
            prop_assert!(pruned.iter().filter(|value| **value == 0.0).count() >= update.len() / 2);
        }
    }
}
