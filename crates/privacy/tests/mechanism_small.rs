//! Metrics, histograms, randomised response and local noise. Randomness is seeded; the false-alarm rates are what another
//! seed would have.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_privacy::mechanism::counts::{Histogram, MetricSums, RandomisedResponse};
use cloister_privacy::mechanism::local::LocalGaussian;
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Event, Neighbouring};

/// Of 2000 intervals, 95 % hold the sum: within 6 standard errors.
#[test]
fn margins_hold_the_sums_as_often_as_they_say() {
    let mut source = NoiseSource::seeded([1; 32]);
    let (mut held, runs) = (0, 1000);
    for _ in 0..runs {
        let mut metrics = MetricSums::new(&[100.0, 2000.0], 1.0).unwrap();
        for client in 0..20 {
            metrics.add(&[f64::from(client), 1500.0]).unwrap();
        }
        metrics.add(&[f64::NAN, 1e9]).unwrap();
        let estimates = metrics.release(&mut source);
        for (estimate, sum) in estimates.iter().zip([190.0, 32_000.0]) {
            held += u32::from((estimate.value - sum).abs() < estimate.margin);
        }
        assert!((estimates[0].margin / (1.96 * 100.0 * 2_f64.sqrt()) - 1.0).abs() < 2e-3);
    }
    assert!((f64::from(held) - 1900.0).abs() < 6.0 * 9.75, "{held}");
}

#[test]
fn metrics_say_what_they_cost_and_refuse_what_they_cannot() {
    let metrics = MetricSums::new(&[1.0], 3.0).unwrap();
    assert_eq!(
        metrics.event(None),
        Event::Gaussian {
            noise_multiplier: 3.0
        }
    );
    assert!(MetricSums::new(&[], 1.0).is_err());
    assert!(MetricSums::new(&[0.0], 1.0).is_err());
    assert!(MetricSums::new(&[f64::NAN], 1.0).is_err());
    assert!(MetricSums::new(&[1.0], 0.0).is_err());
    let mut metrics = metrics;
    let error = metrics.add(&[1.0, 2.0]).unwrap_err().to_string();
    assert_eq!(error, "2 numbers do not fit metrics with 1 bounds");
}

/// With next to no noise, what a client may add is what its bounds say, however it cheats.
#[test]
fn a_client_counts_within_its_bounds() {
    let mut source = NoiseSource::seeded([2; 32]);
    let mut histogram = Histogram::new(5, 2, 3, 300.0).unwrap();
    histogram.add(&[(0, 1), (4, 2)], &mut source);
    assert_eq!(histogram.clone().release(&mut source), [1, 0, 0, 0, 2]);
    histogram.add(&[(1, 100), (1, 100), (1, 7), (9, 9)], &mut source);
    assert_eq!(histogram.clone().release(&mut source), [1, 3, 0, 0, 2]);
    histogram.add(&[(0, 9), (1, 9), (2, 9), (3, 9), (4, 9)], &mut source);
    assert_eq!(
        histogram.clone().release(&mut source).iter().sum::<i64>(),
        6 + 2 * 3
    );
    let Event::Repeated { event, count } = histogram.event() else {
        panic!("another event")
    };
    assert_eq!(count, 2);
    assert_eq!(
        *event,
        Event::DiscreteLaplace {
            rate: 50.0,
            sensitivity: 3
        }
    );
    for (bins, bins_each, count_each, epsilon) in [
        (0, 1, 1, 1.0),
        (1, 0, 1, 1.0),
        (1, 1, 0, 1.0),
        (1, 1, 1, 0.0),
        (1, 1, 1, f64::NAN),
    ] {
        assert!(Histogram::new(bins, bins_each, count_each, epsilon).is_err());
    }
}

/// Variance of the noise of 100,000 bins within 5 % (7 standard errors, at a kurtosis of 6).
#[test]
fn histograms_have_laplace_noise() {
    let histogram = Histogram::new(100_000, 1, 1, 0.5).unwrap();
    let noisy = histogram.release(&mut NoiseSource::seeded([3; 32]));
    let variance = noisy.iter().map(|&x| (x * x) as f64).sum::<f64>() / 1e5;
    let e = (-0.5_f64).exp();
    let expected = 2.0 * e / (1.0 - e).powi(2);
    assert!(
        (variance / expected - 1.0).abs() < 0.05,
        "{variance} {expected}"
    );
}

#[test]
fn answers_have_the_odds_that_they_claim_and_estimates_no_bias() {
    let mut source = NoiseSource::seeded([4; 32]);
    let response = RandomisedResponse::new(4, 1.0).unwrap();
    let n = 1_000_000_u64;
    let mut answers = [0_u64; 4];
    for i in 0..n {
        // Half of them in category 2, the rest in 0.
        answers[response.answer(if i % 2 == 0 { 2 } else { 0 }, &mut source) as usize] += 1;
    }
    for (found, expected) in response
        .estimate(&answers)
        .into_iter()
        .zip([0.5, 0.0, 0.5, 0.0])
    {
        let error = (n as f64 * 0.25).sqrt() / 0.3;
        assert!((found - expected * n as f64).abs() < 6.0 * error, "{found}");
    }
    let Event::RandomisedResponse {
        replaced,
        categories,
    } = response.event()
    else {
        panic!("another event")
    };
    let by_chance = replaced / f64::from(categories);
    assert!((((1.0 - replaced + by_chance) / by_chance).ln() - 1.0).abs() < 1e-12);
    // Of answers to one category, the odds against one other: six standard errors.
    let truth = (0..n)
        .filter(|_| response.answer(1, &mut source) == 1)
        .count() as f64;
    let expected = n as f64 * (1.0 - replaced + by_chance);
    assert!((truth - expected).abs() < 6.0 * (n as f64 * 0.25).sqrt());
    assert!(response.answer(9, &mut source) < 4);
    assert_eq!(response.estimate(&[1, 2, 3, 4, 5]).len(), 4);
    for (categories, epsilon) in [(1, 1.0), (2, 0.0), (2, f64::NAN), (2, -1.0), (2, 31.0)] {
        assert!(RandomisedResponse::new(categories, epsilon).is_err());
    }
}

/// Variance within 1 % (7 standard errors of a million).
#[test]
fn local_noise_is_relative_to_the_clip() {
    let local = LocalGaussian::new(1_000_000, 0.5, 3.0).unwrap();
    let released = local
        .release(&vec![0.0; 1_000_000], &mut NoiseSource::seeded([5; 32]))
        .unwrap();
    let variance = released.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e6;
    assert!((variance / 2.25 - 1.0).abs() < 0.01, "{variance}");
    assert_eq!(
        local.event(),
        Event::Gaussian {
            noise_multiplier: 3.0
        }
    );
    assert_eq!(LocalGaussian::NEIGHBOURING, Neighbouring::ReplaceOne);
    assert!(LocalGaussian::new(0, 1.0, 1.0).is_err());
    assert!(
        local
            .release(&[0.0], &mut NoiseSource::seeded([5; 32]))
            .is_err()
    );
}

/// The analytic Gaussian needs 3.73 times the sensitivity, which is twice the clip, for an epsilon of 1 at a delta of 1e-5;
/// the classical formula takes 4.84.
#[test]
fn local_noise_for_an_epsilon_is_the_analytic_gaussian_s() {
    let local = LocalGaussian::for_epsilon(3, 1.0, 1.0, 1e-5).unwrap();
    let Event::Gaussian { noise_multiplier } = local.event() else {
        panic!("another event")
    };
    assert!(
        (noise_multiplier / 2.0 - 3.7306).abs() < 2e-3,
        "{noise_multiplier}"
    );
    assert!(LocalGaussian::for_epsilon(3, 1.0, -1.0, 1e-5).is_err());
    assert!(LocalGaussian::for_epsilon(3, 1.0, 1.0, 0.0).is_err());
}
