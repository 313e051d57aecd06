//! Canaries: what is planted in a run so that it can be looked for afterwards.
//!
//! Canary *clients* send a random unit direction, scaled; each is in the run or not by a fair coin. Which coins and
//! directions they are follows from the attack's seed alone, so that whoever has the config and the global models of a run
//! can score them: [`coins`], [`direction`], [`scores`]. Canary *examples* ([`Mislabelled`]) carry a wrong label.

use cloister_data::{DataError, Dataset};
use rand::{Rng, RngExt, SeedableRng, seq};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::AuditError;

/// Marks the canaries' keys among those of other streams.
const DOMAIN: u64 = u64::from_le_bytes(*b"canary\0\0");

fn stream(seed: u64, canary: Option<u32>) -> ChaCha8Rng {
    let canary = canary.map_or(0, |canary| u64::from(canary) + 1);
    let mut key = [0; 32];
    for (bytes, coordinate) in key.chunks_exact_mut(8).zip([seed, DOMAIN, canary, 0]) {
        bytes.copy_from_slice(&coordinate.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// For each of `canaries` whether it is in the run: fair coins of `seed`.
pub fn coins(seed: u64, canaries: u32) -> Vec<bool> {
    let mut rng = stream(seed, None);
    (0..canaries).map(|_| rng.random()).collect()
}

/// The canaries that are in the run, ascending: the i-th of them is the i-th client beside the others.
pub fn inside(seed: u64, canaries: u32) -> Vec<u32> {
    let coins = coins(seed, canaries);
    let numbered = (0..canaries).zip(coins);
    numbered
        .filter_map(|(canary, coin)| coin.then_some(canary))
        .collect()
}

/// The direction of a canary: `dimension` coordinates, uniform on the unit sphere.
pub fn direction(seed: u64, canary: u32, dimension: usize) -> Vec<f32> {
    let mut rng = stream(seed, Some(canary));
    let mut values: Vec<f32> = (0..dimension)
        .map(|_| StandardNormal.sample(&mut rng))
        .collect();
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    if squares > 0.0 {
        let length = squares.sqrt();
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
    }
    values
}

/// For each of `canaries` the inner product of its direction with each of `steps`, all of one length.
pub(super) fn products(seed: u64, canaries: u32, steps: &[&[f32]]) -> Vec<Vec<f64>> {
    let dimension = steps.first().map_or(0, |step| step.len());
    let product = |direction: &[f32], step: &[f32]| -> f64 {
        let pairs = direction.iter().zip(step);
        pairs.map(|(u, s)| f64::from(*u) * f64::from(*s)).sum()
    };
    (0..canaries)
        .map(|canary| {
            let direction = direction(seed, canary, dimension);
            steps.iter().map(|step| product(&direction, step)).collect()
        })
        .collect()
}

/// The score of each of `canaries`: the sum over the rounds of the inner product of its direction with what the round made
/// of the global model. `rounds` holds the global model before and after each round, d values each; rounds that are missing
/// make the scores worse and nothing wrong.
///
/// The steps are added up first, so the cost is one pass over the rounds and one over each direction.
///
/// # Errors
/// [`AuditError::Length`] if the models are not of one length.
pub fn scores(
    seed: u64,
    canaries: u32,
    rounds: &[(&[f32], &[f32])],
) -> Result<Vec<f64>, AuditError> {
    let dimension = rounds.first().map_or(0, |(before, _)| before.len());
    let mut total = vec![0.0_f64; dimension];
    for (before, after) in rounds {
        for model in [before, after] {
            if model.len() != dimension {
                return Err(AuditError::Length {
                    what: "global model",
                    expected: dimension,
                    got: model.len(),
                });
            }
        }
        for (sum, (before, after)) in total.iter_mut().zip(before.iter().zip(*after)) {
            *sum += f64::from(*after) - f64::from(*before);
        }
    }
    let score = |canary| {
        let direction = direction(seed, canary, dimension);
        let pairs = direction.iter().zip(&total);
        pairs.map(|(u, s)| f64::from(*u) * s).sum()
    };
    Ok((0..canaries).map(score).collect())
}

/// Canary examples: rows of a training set that get a wrong label, each of which is left in or taken out by a fair coin.
///
/// The score of one is its loss before the run minus its loss after it; the unit of the audit is the example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mislabelled {
    /// The rows, ascending.
    pub rows: Vec<u32>,
    /// The wrong label of each.
    pub labels: Vec<u32>,
    /// Whether each is in the run.
    pub inside: Vec<bool>,
}

impl Mislabelled {
    /// Draws `canaries` rows of `data` (all of them if there are fewer), a wrong label for each, uniform among those, and
    /// the coins. None if there is no wrong label.
    pub fn draw(data: &Dataset, canaries: usize, rng: &mut impl Rng) -> Self {
        let classes = data.classes().len() as u32;
        let amount = if classes < 2 {
            0
        } else {
            canaries.min(data.len())
        };
        let mut rows: Vec<u32> = seq::index::sample(rng, data.len(), amount)
            .into_iter()
            .map(|row| row as u32)
            .collect();
        rows.sort_unstable();
        let wrong = |row: &u32| {
            let label = data.labels()[*row as usize];
            (label + rng.random_range(1..classes)) % classes
        };
        let labels = rows.iter().map(wrong).collect();
        let inside = rows.iter().map(|_| rng.random()).collect();
        Self {
            rows,
            labels,
            inside,
        }
    }

    /// `data` with the wrong labels, of canaries in and out.
    ///
    /// # Errors
    /// [`DataError`] if the canaries are of other data.
    pub fn plant(&self, data: &Dataset) -> Result<Dataset, DataError> {
        let mut labels = data.labels().to_vec();
        for (row, label) in self.rows.iter().zip(&self.labels) {
            if let Some(place) = labels.get_mut(*row as usize) {
                *place = *label;
            }
        }
        Dataset::new(
            data.name(),
            data.shape(),
            data.features().to_vec(),
            labels,
            data.classes().to_vec(),
            data.sites().cloned(),
        )
    }

    /// Takes out of a client's `rows` the canaries that stay out.
    pub fn keep(&self, rows: &mut Vec<u32>) {
        rows.retain(|row| match self.rows.binary_search(row) {
            Ok(place) => self.inside[place],
            Err(_) => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use cloister_data::ExampleShape;

    use super::*;

    #[test]
    fn directions_are_units_that_hardly_meet() {
        let d = 10_000;
        let directions: Vec<Vec<f32>> = (0..5).map(|canary| direction(3, canary, d)).collect();
        for (i, one) in directions.iter().enumerate() {
            for (j, other) in directions.iter().enumerate() {
                let product: f64 = one
                    .iter()
                    .zip(other)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let expected = f64::from(u8::from(i == j));
                // 5 standard errors of 1 / sqrt(d), 10 pairs: a chance of 6e-6.
                assert!((product - expected).abs() < 0.05, "{i} {j} {product}");
            }
        }
        assert_eq!(directions[2], direction(3, 2, d));
        assert_ne!(directions[2], direction(4, 2, d));
        assert!(direction(1, 1, 0).is_empty());
    }

    #[test]
    fn coins_are_fair_and_repeat() {
        let coins = coins(9, 10_000);
        let heads = coins.iter().filter(|coin| **coin).count();
        // 5 standard deviations of 50.
        assert!(heads.abs_diff(5000) < 250, "{heads}");
        // A longer list begins with the shorter one.
        assert_eq!(super::coins(9, 20), coins[..20]);
        let inside = inside(9, 20);
        assert!(inside.iter().all(|canary| coins[*canary as usize]));
        assert_eq!(
            inside.len(),
            coins[..20].iter().filter(|coin| **coin).count()
        );
    }

    #[test]
    fn scores_sum_over_the_rounds_and_find_who_was_there() {
        let (d, canaries, seed) = (2000, 20, 5);
        let coins = coins(seed, canaries);
        let start = vec![1.0_f32; d];
        let mut middle = start.clone();
        let mut end = start.clone();
        for canary in inside(seed, canaries) {
            for (place, value) in direction(seed, canary, d).into_iter().enumerate() {
                middle[place] += 0.5 * value;
                end[place] += value;
            }
        }
        let rounds: [(&[f32], &[f32]); 2] = [(&start, &middle), (&middle, &end)];
        let scores = scores(seed, canaries, &rounds).unwrap();
        let steps: Vec<Vec<f32>> = rounds
            .iter()
            .map(|(before, after)| after.iter().zip(*before).map(|(a, b)| a - b).collect())
            .collect();
        let steps: Vec<&[f32]> = steps.iter().map(Vec::as_slice).collect();
        for (canary, by_round) in products(seed, canaries, &steps).iter().enumerate() {
            assert!((scores[canary] - by_round.iter().sum::<f64>()).abs() < 1e-5);
            assert_eq!(scores[canary] > 0.5, coins[canary], "{}", scores[canary]);
        }
        assert!(super::scores(seed, 2, &[(&start, &end[1..])]).is_err());
    }

    #[test]
    fn mislabelled_examples_stay_or_go_by_their_coins() {
        let n = 200;
        let labels: Vec<u32> = (0..n).map(|row| row % 3).collect();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let features = vec![0.0; n as usize];
        let data =
            Dataset::new("d", ExampleShape::flat(1), features, labels, classes, None).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let canaries = Mislabelled::draw(&data, 100, &mut rng);
        assert_eq!(canaries.rows.len(), 100);
        let planted = canaries.plant(&data).unwrap();
        let changed: Vec<u32> = (0..n)
            .filter(|row| planted.labels()[*row as usize] != data.labels()[*row as usize])
            .collect();
        assert_eq!(changed, canaries.rows);
        let mut rows: Vec<u32> = (0..n).collect();
        canaries.keep(&mut rows);
        let out = canaries.inside.iter().filter(|inside| !**inside).count();
        assert_eq!(rows.len(), n as usize - out);
        // 100 coins: 5 standard deviations of 5.
        assert!(out.abs_diff(50) < 25);
        assert_eq!(
            Mislabelled::draw(&data, 1000, &mut rng).rows.len(),
            n as usize
        );
    }
}
