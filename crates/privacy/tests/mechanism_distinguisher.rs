//! An attacker who knows everything but one unit's value: what it achieves in a million tries bounds epsilon from below. Too
//! little noise shows as a bound above the claim, too much as one far below. Kills "noise / sqrt(2)", "z for z_D swapped", and
//! a sensitivity that is forgotten or counted twice. Seeded; another seed would fail a right mechanism 1 time in 20 at most.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_privacy::mechanism::adaptive_clip::{AdaptiveClip, AdaptiveClipSettings};
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::mechanism::correlated::{
    CorrelatedGaussian, CorrelatedSettings, Participation, Strategy, Toeplitz,
};
use cloister_privacy::mechanism::distributed::{DistributedGaussian, DistributedSettings};
use cloister_privacy::mechanism::dp_sgd::GradientNoise;
use cloister_privacy::noise::NoiseSource;

const DELTA: f64 = 0.01;

/// Of the Gaussian mechanism, exactly (Balle, Wang, arXiv 1805.06530).
fn claim(noise_multiplier: f64) -> f64 {
    let below = |x: f64| libm::erfc(-x / std::f64::consts::SQRT_2) / 2.0;
    let half = 0.5 / noise_multiplier;
    let delta = |epsilon: f64| {
        let middle = epsilon * noise_multiplier;
        below(half - middle) - epsilon.exp() * below(-half - middle)
    };
    bisect(0.0, 100.0, |epsilon| delta(epsilon) > DELTA)
}

fn bisect(mut low: f64, mut high: f64, is_low: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if is_low(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The chance above which seeing so few is below 2.5 % likely (Clopper, Pearson 1934).
fn upper_limit(seen: u64, all: u64) -> f64 {
    let (k, n) = (seen as f64, all as f64);
    let log_choose = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let at_most_seen = |p: f64| {
        let mut term = (log_choose + k * p.ln() + (n - k) * (-p).ln_1p()).exp();
        let mut sum = 0.0;
        let mut i = k;
        while i >= 0.0 && term > 1e-20 {
            sum += term;
            term *= i * (1.0 - p) / ((n - i + 1.0) * p);
            i -= 1.0;
        }
        sum
    };
    bisect(k / n, 1.0, |p| at_most_seen(p) > 0.025)
}

/// A lower bound on epsilon from outputs without and with the unit, whose contribution is 1 and whose noise `deviation`. The
/// threshold is where the likelihoods' ratio is that of the claim, chosen before looking.
fn lower_bound(claim: f64, deviation: f64, without: &[f64], with: &[f64]) -> f64 {
    let threshold = claim * deviation * deviation + 0.5;
    let alarms = without.iter().filter(|&&x| x > threshold).count() as u64;
    let missed = with.iter().filter(|&&x| x <= threshold).count() as u64;
    let false_alarms = upper_limit(alarms, without.len() as u64);
    let misses = upper_limit(missed, with.len() as u64);
    ((1.0 - DELTA - misses) / false_alarms).ln()
}

/// Runs a mechanism for one number, without and with the unit; checks the bound against the claim.
fn assert_claimed(
    name: &str,
    z: f64,
    deviation: f64,
    runs: usize,
    mut run: impl FnMut(bool) -> f64,
) {
    let without: Vec<f64> = (0..runs).map(|_| run(false)).collect();
    let with: Vec<f64> = (0..runs).map(|_| run(true)).collect();
    let claim = claim(z);
    let bound = lower_bound(claim, deviation, &without, &with);
    assert!(bound <= claim, "{name}: at least {bound}, claimed {claim}");
    assert!(
        bound >= 0.8 * claim,
        "{name}: at least {bound} only, claimed {claim}"
    );
}

#[test]
fn limits_are_clopper_and_pearson_s() {
    // From scipy 1.17.1: beta.ppf(0.975, k + 1, n - k).
    for (seen, all, expected) in [
        (0, 10, 0.308_497_107_818_760_7),
        (3, 20, 0.378_926_826_545_313_96),
        (50, 100, 0.601_678_870_496_699),
    ] {
        let found = upper_limit(seen, all);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
}

#[test]
fn the_server_s_sum() {
    let mut source = NoiseSource::seeded([1; 32]);
    let z = 1.0;
    assert_claimed("sum", z, z, 1_000_000, |present| {
        let mut sum = GaussianSum::new(1, 1.0, z, 1.0).unwrap();
        sum.add(&[if present { 7.0 } else { 0.0 }]).unwrap();
        sum.release(&mut source)[0].into()
    });
}

#[test]
fn a_step_of_dp_sgd() {
    let mut source = NoiseSource::seeded([2; 32]);
    let z = 0.7;
    let noise = GradientNoise::new(1, 1.0, z, 4.0, 64).unwrap();
    assert_claimed("step", z, z, 200_000, |present| {
        let mut sum = [if present { 1.0 } else { 0.0 }];
        noise.apply(&mut sum, &mut source).unwrap();
        4.0 * f64::from(sum[0])
    });
}

/// Seen together, the mean and the count of adaptive clipping are worth what is accounted: the attacker projects both on
/// the direction in which they differ.
#[test]
fn a_round_of_adaptive_clipping() {
    let mut source = NoiseSource::seeded([3; 32]);
    let z = 1.2;
    let settings = AdaptiveClipSettings {
        quantile: 0.5,
        rate: 0.2,
        count_noise: 0.8,
        first_clip: 1.0,
    };
    let new = AdaptiveClip::new(settings, z, 100.0).unwrap();
    let applied = new.applied_multiplier().unwrap();
    assert_claimed("adaptive", z, z, 200_000, |present| {
        let mut adaptive = new.clone();
        let mut sum = adaptive.begin(1).unwrap();
        if present {
            // At the clip and counted as within it: both move.
            sum.add(&[1.0]).unwrap();
        }
        let mean = adaptive.release(sum, &mut source).unwrap();
        let sum = f64::from(mean[0]) * 100.0;
        // The count, read off the clip: +1/2 for one that is within.
        let count = (0.5 - adaptive.clip().ln() / 0.2) * 100.0 - 50.0;
        let weights = [applied.powi(-2), 0.5 / 0.8_f64.powi(2)];
        (sum * weights[0] + count * weights[1]) * z * z
    });
}

#[test]
fn the_fewest_clients_of_distributed_noise() {
    let z = 0.9;
    let mechanism = DistributedGaussian::new(DistributedSettings {
        dimension: 1,
        clip: 1.0,
        noise_multiplier: z,
        clients: 3,
        honest: 2,
        bits: Some(18),
        room: 8.0,
    })
    .unwrap();
    let mut source = NoiseSource::seeded([4; 32]);
    let rotation = [0; 32];
    assert_claimed(
        "distributed",
        z,
        z * mechanism.lengthened(),
        100_000,
        |present| {
            let mut encode = |x: f32| mechanism.encode(&[x], rotation, &mut source).unwrap()[0];
            let sum = encode(if present { 1.0 } else { 0.0 }).wrapping_add(encode(0.0))
                & mechanism.mask();
            3.0 * f64::from(mechanism.decode(&[sum], rotation).unwrap()[0])
        },
    );
}

/// A unit that takes part in two rounds of four: the attacker undoes the correlation and projects on what it moves.
#[test]
fn a_run_of_correlated_noise() {
    let strategy = Toeplitz::square_root(2);
    let participation = Participation::new(4, 2).unwrap();
    let sensitivity = strategy.sensitivity(participation);
    let z = 1.5;
    let settings = CorrelatedSettings {
        dimension: 1,
        clip: 1.0,
        noise_multiplier: z,
        expected: 1.0,
        participation,
        strategy: Strategy::Toeplitz(strategy),
    };
    let mut source = NoiseSource::seeded([5; 32]);
    let effective = z / sensitivity;
    assert_claimed("correlated", effective, effective, 100_000, |present| {
        let mut mechanism = CorrelatedGaussian::new(settings.clone()).unwrap();
        let (mut before, mut projected) = (0.0, 0.0);
        for round in 0..4 {
            if present && round % 2 == 0 {
                mechanism.add(&[1.0]).unwrap();
            }
            let x = f64::from(mechanism.release(&mut source).unwrap()[0]);
            // C x, of which a unit moves 1, 1/2, 1, 1/2.
            let white = x + 0.5 * before;
            before = x;
            projected += white * if round % 2 == 0 { 1.0 } else { 0.5 };
        }
        projected / (sensitivity * sensitivity)
    });
}
