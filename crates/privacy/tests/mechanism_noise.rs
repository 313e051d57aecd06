//! The noise is there: of the right size, on every coordinate, under the right multiplier. Each test names the mistake that
//! it catches. Randomness is seeded, so that a passing test passes always; the false-alarm rates are what another seed
//! would have.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_privacy::Event;
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::mechanism::dp_sgd::{GradientNoise, PoissonSampler};
use cloister_privacy::noise::NoiseSource;

const LENGTH: usize = 1_000_000;

/// Variance about 0, and kurtosis.
fn moments(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let power = |p| values.iter().map(|&x| f64::from(x).powi(p)).sum::<f64>() / n;
    (power(2), power(4) / power(2).powi(2))
}

/// Variance within 1 % (7 standard errors of a million draws) and kurtosis within 0.05 (10), overall; variance of each of a
/// thousand blocks within 30 % (6.7): a false alarm in 1e8 seeds, mostly from the blocks.
fn assert_noise(values: &[f32], deviation: f64) {
    let (variance, kurtosis) = moments(values);
    let ratio = variance / deviation.powi(2);
    assert!((0.99..1.01).contains(&ratio), "variance {ratio}");
    assert!((2.95..3.05).contains(&kurtosis), "kurtosis {kurtosis}");
    for (i, block) in values.chunks(1000).enumerate() {
        let ratio = moments(block).0 / deviation.powi(2);
        assert!((0.7..1.3).contains(&ratio), "variance {ratio} in block {i}");
    }
}

/// Kills "noise / sqrt(2)" and "no noise on one coordinate block", of the server's sum.
#[test]
fn a_sum_over_zeros_is_noise_of_the_claimed_size() {
    let (clip, z, cohort) = (0.7, 1.3, 50.0);
    let mut sum = GaussianSum::new(LENGTH, clip, z, cohort).unwrap();
    sum.add(&vec![0.0; LENGTH]).unwrap();
    let mean = sum.release(&mut NoiseSource::seeded([1; 32]));
    assert_noise(&mean, z * clip / cohort);
}

/// The same of DP-SGD, whose batch was empty.
#[test]
fn a_step_over_an_empty_batch_is_noise_of_the_claimed_size() {
    let (clip, z, batch) = (1.5, 0.8, 64.0);
    let noise = GradientNoise::new(LENGTH, clip, z, batch, 64).unwrap();
    let mut source = NoiseSource::seeded([2; 32]);
    let mut gradient = vec![0.0; LENGTH];
    noise.apply(&mut gradient, &mut source).unwrap();
    assert_noise(&gradient, z * clip / batch);
    let mut parts = noise.begin();
    noise
        .finish(&mut parts, &mut gradient, &mut source)
        .unwrap();
    assert_noise(&gradient, z * clip / batch);
    assert!(parts.iter().all(|&sum| sum == 0));
}

/// Kills "the same seed twice": correlation of two releases from one source within 6 standard errors, a false alarm in 5e8.
#[test]
fn two_releases_share_no_noise() {
    let mut source = NoiseSource::seeded([3; 32]);
    let (mut other, mut third) = (source.split(), source.split());
    let release = |source: &mut NoiseSource| {
        GaussianSum::new(100_000, 1.0, 1.0, 1.0)
            .unwrap()
            .release(source)
    };
    let all = [
        release(&mut source),
        release(&mut source),
        release(&mut other),
        release(&mut third),
    ];
    for (a, b) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
        let dot: f64 = all[a]
            .iter()
            .zip(&all[b])
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum();
        assert!((dot / 1e5_f64.sqrt()).abs() < 6.0, "{dot}");
    }
}

/// Kills "divide by |S|", and noise that depends on the data: with the same randomness, one vector moves the mean by its
/// clipped self over the public number, however many others there are.
#[test]
fn the_divisor_is_public() {
    let release = |vectors: &[[f32; 4]]| {
        let mut sum = GaussianSum::new(4, 1.0, 1.0, 8.0).unwrap();
        for vector in vectors {
            sum.add(vector).unwrap();
        }
        sum.release(&mut NoiseSource::seeded([4; 32]))
    };
    let one = [3.0, 0.0, -4.0, 0.0];
    for others in [0, 1, 30] {
        let mut vectors = vec![[0.5; 4]; others];
        let without = release(&vectors);
        vectors.push(one);
        let with = release(&vectors);
        for (i, expected) in [0.6, 0.0, -0.8, 0.0].into_iter().enumerate() {
            let moved = f64::from(with[i]) - f64::from(without[i]);
            assert!(
                (moved - expected / 8.0).abs() < 2e-4,
                "{others} {i}: {moved}"
            );
        }
    }
}

#[test]
fn the_order_of_vectors_changes_no_bit() {
    let vectors: Vec<Vec<f32>> = (0..20)
        .map(|i| {
            (0..50)
                .map(|j| ((i * 7 + j * 3) % 11) as f32 / 7.0)
                .collect()
        })
        .collect();
    let release = |order: &mut dyn Iterator<Item = &Vec<f32>>| {
        let mut sum = GaussianSum::new(50, 1.0, 1.0, 20.0).unwrap();
        order.for_each(|vector| {
            sum.add(vector).unwrap();
        });
        sum.release(&mut NoiseSource::seeded([5; 32]))
    };
    assert_eq!(
        release(&mut vectors.iter()),
        release(&mut vectors.iter().rev())
    );
}

/// Kills "q in percent" and a wrong multiplier in the event.
#[test]
fn events_say_what_ran() {
    let sum = GaussianSum::new(4, 1.0, 1.1, 8.0).unwrap();
    assert_eq!(
        sum.event(None),
        Event::Gaussian {
            noise_multiplier: 1.1
        }
    );
    let sampled = Event::PoissonGaussian {
        noise_multiplier: 1.1,
        sampling_rate: 0.01,
    };
    assert_eq!(sum.event(Some(0.01)), sampled);
    let sampler = PoissonSampler::new(0.01, None).unwrap();
    let noise = GradientNoise::new(4, 1.0, 1.1, 8.0, 64).unwrap();
    assert_eq!(sampler.event(noise.noise_multiplier(), 1000), sampled);
    let truncated = PoissonSampler::new(0.01, Some(20)).unwrap();
    let event = Event::TruncatedPoissonGaussian {
        noise_multiplier: 1.1,
        sampling_rate: 0.01,
        population: 1000,
        most: 20,
    };
    assert_eq!(truncated.event(1.1, 1000), event);
    assert_eq!(truncated.event(1.1, 20), sampled);
}

/// Each index about as often as the rate says, over 10,000 batches (6 standard errors, 100 indices: a false alarm in 5e6);
/// batches above the limit keep that many.
#[test]
fn batches_are_drawn_by_fair_coins() {
    let mut source = NoiseSource::seeded([6; 32]);
    for (most, rate) in [(None, 0.2), (Some(20), 0.2), (Some(5), 0.9)] {
        let sampler = PoissonSampler::new(rate, most).unwrap();
        let (mut batch, mut counts, mut sizes) = (Vec::new(), [0_u32; 100], Vec::new());
        for _ in 0..10_000 {
            sampler.draw(100, &mut source, &mut batch);
            assert!(batch.is_sorted_by(|a, b| a < b));
            assert!(batch.len() as u64 <= most.unwrap_or(100));
            sizes.push(batch.len() as f64);
            batch.iter().for_each(|&i| counts[i] += 1);
        }
        let chance = sizes.iter().sum::<f64>() / 1e6;
        let error = (1e4 * chance * (1.0 - chance)).sqrt();
        for count in counts {
            assert!(
                (f64::from(count) - 1e4 * chance).abs() < 6.0 * error,
                "{count} {chance}"
            );
        }
        if most.is_none() {
            assert!((chance - rate).abs() < 6.0 * (rate * (1.0 - rate) / 1e6).sqrt());
        }
    }
}

/// Parts on the grid give what the whole sum does, up to rounding.
#[test]
fn parts_add_up() {
    let noise = GradientNoise::new(1000, 1.0, 1.0, 10.0, 100).unwrap();
    let part: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 1e-4).collect();
    let mut whole: Vec<f32> = part.iter().map(|x| 3.0 * x).collect();
    noise
        .apply(&mut whole, &mut NoiseSource::seeded([7; 32]))
        .unwrap();
    let mut batch = noise.begin();
    (0..3).for_each(|_| noise.add(&part, &mut batch).unwrap());
    let mut mean = vec![0.0; 1000];
    noise
        .finish(&mut batch, &mut mean, &mut NoiseSource::seeded([7; 32]))
        .unwrap();
    for (a, b) in whole.iter().zip(&mean) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn what_is_not_finite_in_a_sum_stays_bounded() {
    let noise = GradientNoise::new(3, 1.0, 0.01, 1.0, 10).unwrap();
    let mut sum = [f32::NAN, f32::INFINITY, 1e30];
    noise
        .apply(&mut sum, &mut NoiseSource::seeded([8; 32]))
        .unwrap();
    assert!(sum.iter().all(|x| x.abs() < 25.0), "{sum:?}");
}

#[test]
fn bad_settings_are_refused() {
    for (length, clip, z, divisor, most) in [
        (0, 1.0, 1.0, 1.0, 1),
        (1, 0.0, 1.0, 1.0, 1),
        (1, f64::NAN, 1.0, 1.0, 1),
        (1, 1.0, 0.0, 1.0, 1),
        (1, 1.0, -1.0, 1.0, 1),
        (1, 1.0, f64::NAN, 1.0, 1),
        (1, 1.0, f64::INFINITY, 1.0, 1),
        (1, 1.0, 1.0, 0.0, 1),
        (1, 1.0, 1.0, f64::NAN, 1),
        (1, 1.0, 1.0, 1.0, 0),
        (1, 1.0, 1.0, 1.0, 2049),
    ] {
        assert!(GradientNoise::new(length, clip, z, divisor, most).is_err());
        let usual = most == 1;
        assert_eq!(GaussianSum::new(length, clip, z, divisor).is_err(), usual);
    }
    for (rate, most) in [
        (0.0, None),
        (-0.1, None),
        (1.1, None),
        (f64::NAN, None),
        (0.5, Some(0)),
    ] {
        assert!(PoissonSampler::new(rate, most).is_err());
    }
    let mut sum = GaussianSum::new(3, 1.0, 1.0, 1.0).unwrap();
    let error = sum.add(&[0.0; 2]).unwrap_err().to_string();
    assert_eq!(
        error,
        "a vector of 2 entries does not fit a mechanism for 3"
    );
    let noise = GradientNoise::new(3, 1.0, 1.0, 1.0, 1).unwrap();
    assert!(
        noise
            .apply(&mut [0.0; 4], &mut NoiseSource::seeded([0; 32]))
            .is_err()
    );
}
