//! Distributed noise from end to end, without the secure sum between. Randomness is seeded; the false-alarm rates are what
//! another seed would have.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_privacy::Event;
use cloister_privacy::mechanism::distributed::{DistributedGaussian, DistributedSettings};
use cloister_privacy::noise::NoiseSource;
use proptest::prelude::*;

const SETTINGS: DistributedSettings = DistributedSettings {
    dimension: 100_000,
    clip: 1.0,
    noise_multiplier: 1.0,
    clients: 20,
    honest: 15,
    bits: Some(16),
    room: 4.0,
};
const ROTATION: [u8; 32] = [77; 32];

fn sum(
    mechanism: &DistributedGaussian,
    clients: usize,
    vector: impl Fn(usize) -> Vec<f32>,
) -> Vec<u32> {
    let mut sum = vec![0_u32; mechanism.settings().dimension];
    for client in 0..clients {
        let mut source = NoiseSource::seeded([client as u8; 32]);
        let words = mechanism
            .encode(&vector(client), ROTATION, &mut source)
            .unwrap();
        assert!(words.iter().all(|&word| word <= mechanism.mask()));
        for (sum, word) in sum.iter_mut().zip(words) {
            *sum = sum.wrapping_add(word) & mechanism.mask();
        }
    }
    sum
}

fn power(values: &[f32], p: i32) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(p)).sum::<f64>() / values.len() as f64
}

/// Kills "noise / sqrt(2)", noise for all clients where some drop out, and "no noise on one coordinate block": with only
/// the clients that are certain, the sum still has the noise that is accounted. Variance within 3 % (6.7 standard errors of
/// 100,000 draws), kurtosis within 0.1 (6.5), variance of a hundred blocks within 30 % (6.7): a false alarm in 1e8.
#[test]
fn the_fewest_clients_make_enough_noise() {
    let mechanism = DistributedGaussian::new(SETTINGS).unwrap();
    let sum = sum(&mechanism, 15, |_| vec![0.0; SETTINGS.dimension]);
    let mean = mechanism.decode(&sum, ROTATION).unwrap();
    let sensitivity = SETTINGS.clip * mechanism.lengthened();
    let claimed = (SETTINGS.noise_multiplier * sensitivity / 20.0).powi(2);
    let ratio = power(&mean, 2) / claimed;
    assert!((0.97..1.03).contains(&ratio), "{ratio}");
    assert!((mechanism.noise_deviation(15).powi(2) / claimed - 1.0).abs() < 1e-9);
    let kurtosis = power(&mean, 4) / power(&mean, 2).powi(2);
    assert!((2.9..3.1).contains(&kurtosis), "{kurtosis}");
    for block in mean.chunks(1000) {
        let ratio = power(block, 2) / claimed;
        assert!((0.7..1.3).contains(&ratio), "{ratio}");
    }
}

/// The mean of all clients' vectors comes out, over the planned number of clients, within the noise (six standard errors
/// along its own direction, and 2 % of the noise's power beside it).
#[test]
fn the_mean_comes_out() {
    let settings = DistributedSettings {
        noise_multiplier: 0.05,
        ..SETTINGS
    };
    let mechanism = DistributedGaussian::new(settings).unwrap();
    let vector: Vec<f32> = (0..settings.dimension)
        .map(|i| if i % 1000 == 7 { 0.09 } else { 0.0 })
        .collect();
    let sum = sum(&mechanism, 20, |_| vector.clone());
    let mean = mechanism.decode(&sum, ROTATION).unwrap();
    let norm: f64 = vector
        .iter()
        .map(|&x| f64::from(x).powi(2))
        .sum::<f64>()
        .sqrt();
    let along = mean
        .iter()
        .zip(&vector)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum::<f64>()
        / norm;
    assert!(
        (along - norm).abs() < 6.0 * mechanism.noise_deviation(20) + 1e-3,
        "{along} {norm}"
    );
    let beside: Vec<f32> = mean.iter().zip(&vector).map(|(a, b)| a - b).collect();
    // Rounding adds a quarter of a step's square a client, at the most.
    let rounding = 0.25 * mechanism.step().powi(2) * 20.0 / 400.0;
    let noise = mechanism.noise_deviation(20).powi(2);
    let found = power(&beside, 2);
    assert!(
        found > 0.98 * noise && found < 1.02 * noise + rounding,
        "{found} {noise} {rounding}"
    );
}

/// A vector that was too long moves the sum no further than the sensitivity says: two encodings with the same randomness
/// share the noise, and differ in the rounded vector alone.
#[test]
fn no_client_moves_the_sum_by_more_than_the_sensitivity() {
    let settings = DistributedSettings {
        dimension: 5000,
        ..SETTINGS
    };
    let mechanism = DistributedGaussian::new(settings).unwrap();
    let Event::DistributedGaussian {
        l2_sensitivity,
        l1_sensitivity,
        ..
    } = mechanism.event(None)
    else {
        panic!("another event")
    };
    let encode = |vector: &[f32]| {
        let mut source = NoiseSource::seeded([3; 32]);
        mechanism.encode(vector, ROTATION, &mut source).unwrap()
    };
    // The noise alone; rounding zeros draws the same words.
    let noise = encode(&vec![0.0; 5000]);
    for scale in [1e-3_f32, 0.014, 1.0, 1e20] {
        let vector: Vec<f32> = (0..5000)
            .map(|i| scale * ((i * 7919 % 101) as f32 - 50.0) / 29.0)
            .collect();
        let (mut squares, mut sizes) = (0.0, 0.0);
        for (&with, &without) in encode(&vector).iter().zip(&noise) {
            let moved = f64::from((with.wrapping_sub(without) << 16) as i32 >> 16);
            squares += moved * moved;
            sizes += moved.abs();
        }
        assert!(
            squares.sqrt() <= l2_sensitivity && sizes <= l1_sensitivity,
            "{scale}"
        );
        let wanted = if scale < 0.01 { 0.07 } else { 0.99 };
        assert!(
            squares.sqrt() * mechanism.step() > wanted,
            "{scale}: {}",
            squares.sqrt() * mechanism.step()
        );
    }
    assert_eq!(encode(&vec![f32::NAN; 5000]), noise);
}

#[test]
fn the_event_is_what_ran() {
    let mechanism = DistributedGaussian::new(SETTINGS).unwrap();
    let Event::DistributedGaussian {
        sigma,
        shares,
        l2_sensitivity,
        l1_sensitivity,
        dimension,
        sampling_rate,
    } = mechanism.event(Some(0.1))
    else {
        panic!("another event")
    };
    assert_eq!((shares, dimension, sampling_rate), (15, 100_000, 0.1));
    assert!((sigma * 15_f64.sqrt() / l2_sensitivity - 1.0).abs() < 1e-9);
    assert!(l1_sensitivity <= l2_sensitivity * 100_000_f64.sqrt());
    assert!((l2_sensitivity * mechanism.step() - mechanism.lengthened()).abs() < 1e-9);
    assert!(mechanism.distance() < 1e-26);
}

#[test]
fn bad_settings_are_refused_with_numbers() {
    let refused = |settings| DistributedGaussian::new(settings).unwrap_err().to_string();
    for settings in [
        DistributedSettings {
            dimension: 0,
            ..SETTINGS
        },
        DistributedSettings {
            clip: 0.0,
            ..SETTINGS
        },
        DistributedSettings {
            clip: f64::NAN,
            ..SETTINGS
        },
        DistributedSettings {
            noise_multiplier: 0.0,
            ..SETTINGS
        },
        DistributedSettings {
            noise_multiplier: f64::NAN,
            ..SETTINGS
        },
        DistributedSettings {
            clients: 0,
            ..SETTINGS
        },
        DistributedSettings {
            honest: 0,
            ..SETTINGS
        },
        DistributedSettings {
            honest: 21,
            ..SETTINGS
        },
        DistributedSettings {
            bits: Some(3),
            ..SETTINGS
        },
        DistributedSettings {
            bits: Some(33),
            ..SETTINGS
        },
        DistributedSettings {
            bits: Some(8),
            ..SETTINGS
        },
        DistributedSettings {
            room: 0.0,
            ..SETTINGS
        },
    ] {
        assert!(refused(settings).contains(|c: char| c.is_ascii_digit() || c == 'N'));
    }
    assert!(
        DistributedGaussian::new(DistributedSettings {
            bits: Some(32),
            ..SETTINGS
        })
        .is_ok()
    );
    let mechanism = DistributedGaussian::new(SETTINGS).unwrap();
    assert!(
        mechanism
            .encode(&[0.0; 3], ROTATION, &mut NoiseSource::seeded([1; 32]))
            .is_err()
    );
    assert!(mechanism.decode(&[0; 3], ROTATION).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// With next to no noise, decoding undoes encoding: for every length, number of bits, and modulus.
    #[test]
    fn decoding_undoes_encoding(
        vector in prop::collection::vec(-1.0_f32..1.0, 1..700),
        bits in 20_u32..33,
        rotation in any::<[u8; 32]>(),
    ) {
        let norm = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let mechanism = DistributedGaussian::new(DistributedSettings {
            dimension: vector.len(),
            clip: norm.max(1.0) * 1.01,
            noise_multiplier: 1e-3,
            clients: 1,
            honest: 1,
            bits: Some(bits),
            room: 8.0,
        }).unwrap();
        let mut source = NoiseSource::seeded([1; 32]);
        let words = mechanism.encode(&vector, rotation, &mut source).unwrap();
        let decoded = mechanism.decode(&words, rotation).unwrap();
        let deviation = mechanism.noise_deviation(1) + mechanism.step();
        for (a, b) in vector.iter().zip(&decoded) {
            prop_assert!(f64::from(a - b).abs() < 8.0 * deviation + 1e-5, "{} {}", a, b);
        }
    }
}
