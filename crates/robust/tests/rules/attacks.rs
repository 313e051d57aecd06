//! Fall of Empires (Xie et al. 2019): honest rows mu + N(0, sigma^2 I), colluders at -epsilon mu.

use cloister_robust::Rule;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::common::{config, run};

const N: usize = 25;
const F: usize = 5;

/// The first [`F`] rows are the colluders' -epsilon mu. sigma is 1 and mu has equal entries.
fn empire(d: usize, mu: f64, epsilon: f64, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..N)
        .map(|row| {
            (0..d)
                .map(|_| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    (if row < F { -epsilon * mu } else { mu + noise }) as f32
                })
                .collect()
        })
        .collect()
}

/// Colluders win Krum while (1 + epsilon)^2 |mu|^2 is below 2 d sigma^2 (n - f - 2) / (n - 2f - 1) - d sigma^2 = 1.571 d
/// sigma^2, and never above; the margin on both sides covers the spread at d = 20,000.
#[test]
fn krum_falls_below_the_threshold_alone() {
    let (d, epsilon) = (20_000, 0.5);
    for (ratio, fallen) in [(1.52_f64, true), (1.62, false)] {
        let mu = ratio.sqrt() / (1.0 + epsilon);
        for seed in 0..5 {
            let (_, verdict) =
                run(&config(Rule::Krum, F as u32), &empire(d, mu, epsilon, seed)).unwrap();
            let winner = verdict.rows.iter().position(|row| row.kept).unwrap();
            assert_eq!(winner < F, fallen, "ratio {ratio}, seed {seed}");
        }
    }
}

/// The mean is (n - f - f epsilon) mu / n: it turns round at epsilon = (n - f) / f = 4.
#[test]
fn the_mean_flips_beyond_four() {
    for (epsilon, flipped) in [(0.1, false), (3.9, false), (4.1, true), (10.0, true)] {
        let (out, _) = run(&config(Rule::Mean, 0), &empire(20_000, 0.5, epsilon, 1)).unwrap();
        let along: f64 = out.iter().map(|&value| f64::from(value)).sum();
        assert_eq!(along < 0.0, flipped, "epsilon {epsilon}");
    }
}
