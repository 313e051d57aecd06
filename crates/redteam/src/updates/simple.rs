//! Attacks that need nothing, or the attacker's own update.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Noise of that standard deviation in each of `d` coordinates.
pub(crate) fn gaussian(d: usize, deviation: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..d)
        .map(|_| (deviation * rng.sample::<f64, _>(StandardNormal)) as f32)
        .collect()
}

/// `values` times `factor`.
pub(crate) fn scale(values: &mut [f32], factor: f64) {
    for value in values {
        *value = (f64::from(*value) * factor) as f32;
    }
}

/// Scales `values` to `length`; zeros stay.
pub(crate) fn scale_to(values: &mut [f32], length: f64) {
    let norm = norm(values);
    if norm > 0.0 && norm.is_finite() {
        scale(values, length / norm);
    }
}

/// Euclidean length.
pub(crate) fn norm(values: &[f32]) -> f64 {
    let square = |value: &f32| f64::from(*value) * f64::from(*value);
    values.iter().map(square).sum::<f64>().sqrt()
}

/// `values` behind noise at right angles to it, `relative` times as long as it: copies that do not look alike (Fung et
/// al. 2020, section on decorrelated Sybils).
pub(crate) fn disguise(values: &[f32], relative: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let length = norm(values);
    if relative == 0.0 || length == 0.0 {
        return values.to_vec();
    }
    let mut noise: Vec<f64> = values
        .iter()
        .map(|_| rng.sample::<f64, _>(StandardNormal))
        .collect();
    let along: f64 = noise
        .iter()
        .zip(values)
        .map(|(n, v)| n * f64::from(*v))
        .sum();
    let along = along / (length * length);
    for (noise, value) in noise.iter_mut().zip(values) {
        *noise -= along * f64::from(*value);
    }
    let noise_length = noise.iter().map(|n| n * n).sum::<f64>().sqrt();
    // In one dimension nothing is at right angles.
    let factor = if noise_length > 1e-9 * length {
        relative * length / noise_length
    } else {
        0.0
    };
    let each = values.iter().zip(&noise);
    each.map(|(value, noise)| (f64::from(*value) + factor * noise) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn noise_has_the_deviation_that_was_asked_for() {
        let noise = gaussian(40_000, 3.0, &mut ChaCha8Rng::seed_from_u64(1));
        let deviation = norm(&noise) / 200.0;
        // The standard error is 3 / sqrt(80,000): five of them.
        assert!((deviation - 3.0).abs() < 0.053, "{deviation}");
    }

    #[test]
    fn disguises_are_at_right_angles_and_as_long_as_asked() {
        let values: Vec<f32> = (0..500).map(|i| (i as f32).cos()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let [one, other] = [0, 1].map(|_| disguise(&values, 0.5, &mut rng));
        assert_ne!(one, other);
        let difference: Vec<f32> = one.iter().zip(&values).map(|(a, b)| a - b).collect();
        let along: f64 = difference
            .iter()
            .zip(&values)
            .map(|(a, b)| f64::from(a * b))
            .sum();
        assert!(along.abs() < 1e-3, "{along}");
        assert!((norm(&difference) - 0.5 * norm(&values)).abs() < 1e-4);
        assert_eq!(disguise(&values, 0.0, &mut rng), values);
        assert_eq!(disguise(&[2.0], 1.0, &mut rng), [2.0]);
    }

    #[test]
    fn a_length_is_met_from_both_sides() {
        for start in [[0.3_f32, 0.4], [30.0, 40.0]] {
            let mut values = start;
            scale_to(&mut values, 5.0);
            assert!((norm(&values) - 5.0).abs() < 1e-5);
        }
        let mut zeros = [0.0; 2];
        scale_to(&mut zeros, 5.0);
        assert_eq!(zeros, [0.0; 2]);
    }
}
