//! Means, deviations and distances of the updates that the attackers see, and the attacks made of them alone.

use cloister_robust::Square;

use crate::normal::normal_quantile;

/// Columns that are worked on at a time: a few dozen rows of them stay in the second-level cache.
const BLOCK: usize = 1024;

/// ALIE's distance in the experiments of Baruch et al. 2019 on MNIST.
const ALIE_PUBLISHED: f64 = 1.5;

/// Mean and standard deviation of each coordinate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    /// d means.
    pub(crate) mean: Vec<f64>,
    /// d standard deviations, the sum of squares divided by n - 1; zeros for a single row.
    pub(crate) deviation: Vec<f64>,
}

impl Moments {
    /// Of at least one row.
    pub(crate) fn new(rows: &[&[f32]]) -> Self {
        let mean = mean(rows);
        let mut deviation = vec![0.0; mean.len()];
        if rows.len() > 1 {
            for row in rows {
                for ((sum, value), mean) in deviation.iter_mut().zip(*row).zip(&mean) {
                    let difference = f64::from(*value) - mean;
                    *sum += difference * difference;
                }
            }
            let degrees = (rows.len() - 1) as f64;
            for sum in &mut deviation {
                *sum = (*sum / degrees).sqrt();
            }
        }
        Self { mean, deviation }
    }
}

/// The mean of at least one row.
pub(crate) fn mean(rows: &[&[f32]]) -> Vec<f64> {
    let mut mean = vec![0.0; rows[0].len()];
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(*value);
        }
    }
    let count = rows.len() as f64;
    for sum in &mut mean {
        *sum /= count;
    }
    mean
}

/// Inner products of the rows after `mean` is taken from each: n x n. Products are summed in `f32` within blocks of
/// 1024 columns, in `f64` across.
pub(crate) fn centred_gram(rows: &[&[f32]], mean: &[f64]) -> Square {
    let n = rows.len();
    let mut gram = Square::zeros(n);
    let mut block = vec![0.0_f32; n * BLOCK];
    for start in (0..mean.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(mean.len());
        let mean = &mean[start..end];
        for (row, centred) in rows.iter().zip(block.chunks_exact_mut(BLOCK)) {
            // What the last block leaves behind must not count.
            centred.fill(0.0);
            for ((centred, value), mean) in centred.iter_mut().zip(&row[start..end]).zip(mean) {
                *centred = (f64::from(*value) - mean) as f32;
            }
        }
        for (i, left) in block.chunks_exact(BLOCK).enumerate() {
            for (sum, right) in gram.row_mut(i)[..=i]
                .iter_mut()
                .zip(block.chunks_exact(BLOCK))
            {
                *sum += dot(left, right);
            }
        }
    }
    for i in 0..n {
        for j in 0..i {
            gram.row_mut(j)[i] = gram.at(i, j);
        }
    }
    gram
}

/// Eight sums side by side, so that it vectorises.
fn dot(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [0.0_f32; 8];
    let (left, right) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    for (left, right) in left.iter().zip(right) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    sums.iter().map(|sum| f64::from(*sum)).sum()
}

/// Squared distance of rows i and j, from their (centred) inner products.
pub(crate) fn squared_distance(gram: &Square, i: usize, j: usize) -> f64 {
    (gram.at(i, i) + gram.at(j, j) - 2.0 * gram.at(i, j)).max(0.0)
}

/// ALIE's z for n updates of which f are malicious (Baruch et al. 2019, algorithm 3): the normal quantile of
/// (n - f - s) / (n - f), with s = floor(n / 2 + 1) - f the honest updates that a majority lacks, at least 1. Not below
/// 0, where the attack would help.
pub(crate) fn alie_z(n: usize, f: usize) -> f64 {
    let honest = n.saturating_sub(f).max(1);
    let lacking = (n / 2 + 1).saturating_sub(f).clamp(1, honest);
    let share = (honest - lacking) as f64 / honest as f64;
    normal_quantile(share).max(0.0)
}

/// The z that is used unless one is set: the published one, or the formula's if that is more.
pub(crate) fn alie_default_z(n: usize, f: usize) -> f64 {
    alie_z(n, f).max(ALIE_PUBLISHED)
}

/// ALIE: mean - z x deviation.
pub(crate) fn alie(moments: &Moments, z: f64) -> Vec<f32> {
    let each = moments.mean.iter().zip(&moments.deviation);
    each.map(|(mean, deviation)| (mean - z * deviation) as f32)
        .collect()
}

/// IPM, and sign flipping with the honest updates in view: -factor x mean.
pub(crate) fn against_mean(mean: &[f64], factor: f64) -> Vec<f32> {
    mean.iter().map(|mean| (-factor * mean) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_textbook() {
        let moments = Moments::new(&[&[1.0, -2.0], &[2.0, -2.0], &[6.0, -2.0]]);
        assert_eq!(moments.mean, [3.0, -2.0]);
        assert_eq!(moments.deviation, [7.0_f64.sqrt(), 0.0]);
        assert_eq!(Moments::new(&[&[5.0]]).deviation, [0.0]);
    }

    /// The papers' (n, f), from the specification of the attack.
    #[test]
    fn alie_z_is_the_published_one() {
        for (n, f, z) in [
            (25, 5, 0.2533),
            (50, 10, 0.2533),
            (51, 12, 0.3612),
            (50, 24, 1.4261),
        ] {
            assert!((alie_z(n, f) - z).abs() < 5e-5, "{n} {f}: {}", alie_z(n, f));
        }
        // Without a majority to win, and with nobody honest, it stays a number.
        for (n, f) in [(0, 0), (1, 0), (1, 1), (2, 1), (4, 4), (10, 6), (10, 12)] {
            assert!(alie_z(n, f).is_finite(), "{n} {f}");
        }
    }

    #[test]
    fn alie_and_ipm_follow_their_formulae() {
        let moments = Moments::new(&[&[1.0, -2.0], &[3.0, -2.0]]);
        let expected = [(2.0 - 1.5 * 2.0_f64.sqrt()) as f32, -2.0];
        assert_eq!(alie(&moments, 1.5), expected);
        assert_eq!(against_mean(&moments.mean, 0.5), [-1.0, 1.0]);
    }

    #[test]
    fn gram_distances_are_those_of_the_rows() {
        let d = 2500;
        let row = |i: usize| {
            (0..d)
                .map(|j| ((i * 31 + j) as f32).sin())
                .collect::<Vec<f32>>()
        };
        let rows: Vec<Vec<f32>> = (0..5).map(row).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let gram = centred_gram(&rows, &mean(&rows));
        for i in 0..5 {
            for j in 0..5 {
                let naive: f64 = rows[i]
                    .iter()
                    .zip(rows[j])
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum();
                let got = squared_distance(&gram, i, j);
                assert!(
                    (got - naive).abs() < 1e-5 * (1.0 + naive),
                    "{i} {j}: {got} {naive}"
                );
            }
        }
    }
}
