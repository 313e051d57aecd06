//! Checks without which no row of a report is believed.

use cloister_privacy::mechanism::dp_sgd::GradientNoise;
use cloister_privacy::noise::NoiseSource;
use cloister_report::record::leakage::SelfTest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::subject::{Sight, Subject};

/// Examples whose clipped gradients are measured.
const EXAMPLES: usize = 32;
/// Coordinates of noise that are measured.
const COORDINATES: usize = 100_000;
/// Deviations of a sample variance beyond which it is wrong: a false alarm in about 16,000.
const DEVIATIONS: f64 = 4.0;

/// The clipping of each example, the variance of the noise, and that two seeds give two noises.
pub(crate) fn mechanisms(subject: &Subject) -> Vec<SelfTest> {
    let mut tests = vec![clips(subject)];
    tests.extend(noise());
    tests
}

fn clips(subject: &Subject) -> SelfTest {
    let model = subject.model();
    let parameters = subject.federation().initial_parameters();
    let rows: Vec<u32> = (0..EXAMPLES.min(subject.federation().data.train.len()) as u32).collect();
    let mut workspace = model.workspace(1);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut sum = vec![0.0; parameters.len()];
    let mut norms: Vec<f64> = Vec::new();
    let clip = 0.01_f32;
    for row in rows {
        let (inputs, labels) = subject.examples(&[row]);
        workspace.draw_noise(&mut rng, 1);
        model.clipped_gradient_sum(
            &parameters,
            &inputs,
            &labels,
            clip,
            &mut workspace,
            &mut sum,
        );
        norms.push(norm(&sum));
    }
    let most = norms.iter().copied().fold(0.0, f64::max);
    SelfTest {
        name: "every example's gradient is clipped".to_owned(),
        passed: most <= f64::from(clip) * (1.0 + 1e-4),
        detail: format!(
            "of {} examples the longest clipped gradient has norm {most:.6}, the clip is {clip}",
            norms.len()
        ),
    }
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn noise() -> Vec<SelfTest> {
    let draw = |seed: u8| -> Option<(Vec<f32>, f64)> {
        let noise = GradientNoise::new(COORDINATES, 1.0, 1.0, 1.0, 1).ok()?;
        let mut values = vec![0.0; COORDINATES];
        noise
            .apply(&mut values, &mut NoiseSource::seeded([seed; 32]))
            .ok()?;
        Some((values, noise.noise_deviation()))
    };
    let (Some((one, deviation)), Some((other, _))) = (draw(1), draw(2)) else {
        return vec![SelfTest {
            name: "noise".to_owned(),
            passed: false,
            detail: "the mechanism refuses to draw".to_owned(),
        }];
    };
    let ratio = norm(&one).powi(2) / (COORDINATES as f64 * deviation.powi(2));
    let bound = DEVIATIONS * (2.0 / COORDINATES as f64).sqrt();
    let equal = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    vec![
        SelfTest {
            name: "noise has the variance that is accounted".to_owned(),
            passed: (ratio - 1.0).abs() <= bound,
            detail: format!(
                "{COORDINATES} coordinates have {ratio:.4} of it, {bound:.4} off would be too far"
            ),
        },
        SelfTest {
            name: "two seeds give two noises".to_owned(),
            // On the grid of the mechanism some coordinates agree by chance.
            passed: equal < COORDINATES / 10,
            detail: format!("{equal} of {COORDINATES} coordinates agree"),
        },
    ]
}

/// Whether the masks of a secure sum cancel: it is the mean of the updates that the same clients send in the clear.
pub(crate) fn masks_cancel(plain: &[Sight], masked: &[Sight]) -> SelfTest {
    let name = "masks cancel to the sum".to_owned();
    let Some(sum) = masked.iter().find(|sight| sight.is_sum) else {
        return SelfTest {
            name,
            passed: false,
            detail: "the server got no sum".to_owned(),
        };
    };
    let members: Vec<&Sight> = plain
        .iter()
        .filter(|sight| {
            sight
                .members
                .iter()
                .all(|client| sum.members.contains(client))
        })
        .collect();
    if members.len() != sum.members.len() {
        return SelfTest {
            name,
            passed: false,
            detail: "the updates in the clear are of other clients".to_owned(),
        };
    }
    let weight: f64 = members.iter().map(|sight| sight.examples as f64).sum();
    let mut worst = 0.0_f64;
    let mut largest = 0.0_f64;
    for (place, mean) in sum.update.iter().enumerate() {
        let of = |sight: &&Sight| sight.examples as f64 * f64::from(sight.update[place]);
        let expected = members.iter().map(of).sum::<f64>() / weight;
        worst = worst.max((f64::from(*mean) - expected).abs());
        largest = largest.max(expected.abs());
    }
    SelfTest {
        name,
        // A code in 32-bit lanes is a step of 2^-20 or finer; a mask that is left would be of the size of the range.
        passed: worst <= 1e-4,
        detail: format!(
            "the sum is within {worst:.1e} of the mean of {} updates, whose largest coordinate is {largest:.1e}",
            members.len()
        ),
    }
}
