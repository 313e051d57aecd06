//! Features made of all scaled numbers together: principal components and random Fourier features.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use serde::{Deserialize, Serialize};

use super::config::{FourierConfig, PcaConfig};
use crate::error::DataError;

/// Most numbers whose components are sought: the work grows with their third power.
const MOST_INPUTS: usize = 1024;
/// Sweeps of the Jacobi method, which needs about ten.
const MOST_SWEEPS: usize = 100;

/// What stands in the place of the scaled numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Principal components, each as its weights of the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    components: Option<Vec<Vec<f64>>>,
    /// Share of the variance that they explain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) explained: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fourier: Option<Fourier>,
}

/// `sqrt(2 / n) cos(w x + b)` for each frequency w and phase b.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fourier {
    frequencies: Vec<Vec<f64>>,
    phases: Vec<f64>,
}

impl Mix {
    /// `correlation` holds the correlations of the `inputs` numbers, row by row, where components are asked for.
    pub(crate) fn fit(
        pca: Option<&PcaConfig>,
        fourier: Option<&FourierConfig>,
        inputs: usize,
        correlation: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        let mut mix = Self {
            components: None,
            explained: None,
            fourier: None,
        };
        let mut width = inputs;
        if let Some(pca) = pca {
            let correlation =
                correlation.ok_or_else(|| DataError::statistics("no correlations"))?;
            let (components, explained) = components(pca, inputs, correlation)?;
            width = components.len();
            mix.components = Some(components);
            mix.explained = Some(explained);
        }
        mix.fourier = fourier.map(|fourier| Fourier::draw(fourier, width));
        Ok(mix)
    }

    pub(crate) fn width(&self) -> usize {
        match (&self.fourier, &self.components) {
            (Some(fourier), _) => fourier.phases.len(),
            (None, Some(components)) => components.len(),
            (None, None) => 0,
        }
    }

    /// What its features are called.
    pub(crate) fn name(&self) -> &'static str {
        match self.fourier {
            Some(_) => "fourier",
            None => "pca",
        }
    }

    /// Appends its features of the scaled numbers.
    pub(crate) fn encode(&self, numbers: &[f64], features: &mut Vec<f32>) {
        let projected = self.components.as_ref().map(|components| {
            let project = |component: &Vec<f64>| dot(component, numbers);
            components.iter().map(project).collect::<Vec<f64>>()
        });
        let inputs = projected.as_deref().unwrap_or(numbers);
        let Some(fourier) = &self.fourier else {
            features.extend(inputs.iter().map(|value| *value as f32));
            return;
        };
        let height = (2.0 / fourier.phases.len() as f64).sqrt();
        for (frequency, phase) in fourier.frequencies.iter().zip(&fourier.phases) {
            features.push((height * (dot(frequency, inputs) + phase).cos()) as f32);
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Fourier {
    fn draw(config: &FourierConfig, inputs: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let gamma = config.gamma.unwrap_or(1.0 / inputs.max(1) as f64);
        let deviation = (2.0 * gamma).sqrt();
        let mut normal = |_| {
            let draw: f64 = StandardNormal.sample(&mut rng);
            draw * deviation
        };
        let frequencies = (0..config.features)
            .map(|_| (0..inputs).map(&mut normal).collect())
            .collect();
        let phase = Uniform::new(0.0, std::f64::consts::TAU);
        let phases = match phase {
            Ok(phase) => (0..config.features)
                .map(|_| phase.sample(&mut rng))
                .collect(),
            // The borders are constants.
            Err(_) => vec![0.0; config.features],
        };
        Self {
            frequencies,
            phases,
        }
    }
}

/// The components that `config` asks for, and the share of the variance that they explain.
fn components(
    config: &PcaConfig,
    inputs: usize,
    correlation: &[f64],
) -> Result<(Vec<Vec<f64>>, f64), DataError> {
    if inputs > MOST_INPUTS {
        let reason = format!("{inputs} numbers are more than {MOST_INPUTS}");
        return Err(DataError::setting("prepare.pca", reason));
    }
    if correlation.iter().any(|value| !value.is_finite()) {
        return Err(DataError::statistics("a correlation is not finite"));
    }
    let pairs = eigen(correlation, inputs);
    let total: f64 = pairs.iter().map(|(value, _)| value.max(0.0)).sum();
    let mut kept = 0;
    let mut sum = 0.0;
    for (value, _) in &pairs {
        let enough = match (config.components, config.variance) {
            (Some(components), _) => kept >= components,
            // Sums of shares end a rounding below the whole.
            (None, share) => kept > 0 && sum >= share.unwrap_or(1.0) * total * (1.0 - 1e-12),
        };
        if enough {
            break;
        }
        sum += value.max(0.0);
        kept += 1;
    }
    let explained = if total > 0.0 { sum / total } else { 1.0 };
    let vectors = pairs.into_iter().take(kept).map(|(_, vector)| vector);
    Ok((vectors.collect(), explained))
}

/// Eigenvalues, falling, and eigenvectors of a symmetric matrix, by Jacobi's rotations (Golub and Van Loan, section 8.5).
/// The entry of a vector that is largest in magnitude is positive, so that signs do not depend on the way there.
fn eigen(matrix: &[f64], n: usize) -> Vec<(f64, Vec<f64>)> {
    let mut a = matrix.to_vec();
    // A matrix of sums with noise need not be symmetric to the last bit.
    for i in 0..n {
        for j in 0..i {
            let mean = (a[i * n + j] + a[j * n + i]) / 2.0;
            a[i * n + j] = mean;
            a[j * n + i] = mean;
        }
    }
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    let size: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MOST_SWEEPS {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j] * a[i * n + j])
            .sum();
        if off <= 1e-30 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut v, n, p, q);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..n)
        .map(|k| {
            let vector: Vec<f64> = (0..n).map(|i| v[i * n + k]).collect();
            (a[k * n + k], upright(vector))
        })
        .collect();
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

/// Makes the entries (p, q) and (q, p) zero.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) {
    let off = a[p * n + q];
    if off == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
        let (x, y) = (v[k * n + p], v[k * n + q]);
        v[k * n + p] = c * x - s * y;
        v[k * n + q] = s * x + c * y;
    }
}

fn upright(mut vector: Vec<f64>) -> Vec<f64> {
    let mut largest = 0.0_f64;
    for value in &vector {
        // Entries that are equal but for rounding: the first counts.
        if value.abs() > largest.abs() * (1.0 + 1e-9) {
            largest = *value;
        }
    }
    if largest < 0.0 {
        vector.iter_mut().for_each(|value| *value = -*value);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Vectors are orthonormal, and values times vectors are the matrix again.
        #[test]
        fn eigenvectors_rebuild_the_matrix(
            n in 1_usize..9,
            entries in proptest::collection::vec(-1.0..1.0_f64, 81),
        ) {
            let at = |i: usize, j: usize| entries[i.min(j) * 9 + i.max(j)];
            let matrix: Vec<f64> = (0..n * n).map(|k| at(k / n, k % n)).collect();
            let pairs = eigen(&matrix, n);
            for i in 0..n {
                for j in 0..n {
                    let rebuilt: f64 = pairs.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                    prop_assert!((rebuilt - matrix[i * n + j]).abs() < 1e-12);
                    let product = dot(&pairs[i].1, &pairs[j].1);
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
            prop_assert!(pairs.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        }
    }

    #[test]
    fn fourier_features_approach_the_kernel() {
        let config = FourierConfig {
            features: 20_000,
            gamma: Some(0.3),
            seed: 5,
        };
        let mix = Mix::fit(None, Some(&config), 2, None).unwrap();
        let (x, y) = ([0.3, -1.0], [1.0, 0.2]);
        let [mut a, mut b] = [Vec::new(), Vec::new()];
        mix.encode(&x, &mut a);
        mix.encode(&y, &mut b);
        let product: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
        let distance: f64 = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum();
        assert!(
            (product - (-0.3 * distance).exp()).abs() < 0.02,
            "{product}"
        );
    }

    #[test]
    fn a_share_of_the_variance_takes_as_few_components_as_it_can() {
        let share = |share| PcaConfig {
            components: None,
            variance: Some(share),
        };
        let correlation = [1.0, 0.8, 0.8, 1.0];
        let (found, explained) = components(&share(0.9), 2, &correlation).unwrap();
        assert_eq!(found.len(), 1);
        assert!((explained - 0.9).abs() < 1e-12);
        assert_eq!(
            components(&share(0.91), 2, &correlation).unwrap().0.len(),
            2
        );
        assert_eq!(
            components(&share(1.0), 2, &[1.0, 0.0, 0.0, 0.0])
                .unwrap()
                .0
                .len(),
            1
        );
    }
}
