//! Partitions drawn from Dirichlet distributions.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};

use super::{MAX_DRAWS, Roll, even_cut, shuffled, shuffled_classes};
use crate::error::PartitionError;

/// A point of the simplex from Dirichlet(`weights`), all weights above 0.
///
/// Gamma variates are drawn as logarithms, by Gamma(a) = Gamma(a + 1) U^(1/a) (Marsaglia and Tsang 2000, section 6),
/// so that for small weights, where a Gamma variate is often below the smallest float, the largest share still
/// comes out as 1 and not as 0/0.
fn dirichlet(weights: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    let mut shares: Vec<f64> = weights
        .iter()
        .map(|&weight| {
            // Only a weight that is not a number above 0 has no distribution; it gets no share.
            let gamma = Gamma::new(weight + 1.0, 1.0).map_or(0.0, |gamma| gamma.sample(rng));
            let uniform: f64 = 1.0 - rng.random::<f64>();
            gamma.ln() + uniform.ln() / weight
        })
        .collect();
    let largest = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for share in &mut shares {
        *share = (*share - largest).exp();
    }
    let sum: f64 = shares.iter().sum();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

/// The ends of runs that cut `len` items in the given shares; the last is `len`.
fn cuts(shares: &[f64], len: usize) -> Vec<usize> {
    let mut reached = 0.0;
    let mut ends: Vec<usize> = shares
        .iter()
        .map(|share| {
            reached += share;
            ((reached * len as f64).round() as usize).min(len)
        })
        .collect();
    if let Some(last) = ends.last_mut() {
        *last = len;
    }
    ends
}

/// Deals `rows` out in runs that end at `ends`.
fn deal(rows: &[u32], ends: &[usize], shares: &mut [Vec<u32>]) {
    let mut from = 0;
    for (share, &to) in shares.iter_mut().zip(ends) {
        share.extend_from_slice(&rows[from..to]);
        from = to;
    }
}

/// Each class spread over the clients by its own draw (Yurochkin et al. 2019; Li et al. 2022).
pub(super) fn by_class(
    roll: &Roll<'_>,
    clients: usize,
    alpha: f64,
    minimum: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    let classes = shuffled_classes(roll, rng);
    let lengths: Vec<usize> = classes.iter().map(Vec::len).collect();
    let ends = draw_until("dirichlet", &lengths, clients, alpha, minimum, rng)?;
    let mut shares = vec![Vec::new(); clients];
    for (rows, ends) in classes.iter().zip(&ends) {
        deal(rows, ends, &mut shares);
    }
    Ok(shares)
}

/// Sizes by one draw, labels alike.
pub(super) fn by_size(
    rows: usize,
    clients: usize,
    alpha: f64,
    minimum: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    let order = shuffled(rows, rng);
    let ends = draw_until("quantity-skew", &[rows], clients, alpha, minimum, rng)?;
    let mut shares = vec![Vec::new(); clients];
    deal(&order, &ends[0], &mut shares);
    Ok(shares)
}

/// Cuts of groups of the given lengths, one draw each, such that every client gets `minimum` items in all.
fn draw_until(
    kind: &'static str,
    lengths: &[usize],
    clients: usize,
    alpha: f64,
    minimum: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    let weights = vec![alpha; clients];
    let minimum = minimum.max(1);
    let mut best = 0;
    for _ in 0..MAX_DRAWS {
        let mut sizes = vec![0; clients];
        let mut drawn = Vec::with_capacity(lengths.len());
        for &len in lengths {
            let ends = cuts(&dirichlet(&weights, rng), len);
            let mut from = 0;
            for (size, &to) in sizes.iter_mut().zip(&ends) {
                *size += to - from;
                from = to;
            }
            drawn.push(ends);
        }
        let smallest = sizes.into_iter().min().unwrap_or(0);
        if smallest >= minimum {
            return Ok(drawn);
        }
        best = best.max(smallest);
    }
    Err(PartitionError::NoDraw {
        kind,
        alpha,
        attempts: MAX_DRAWS,
        clients,
        minimum,
        best,
    })
}

/// Clients of equal size whose class mixtures are drawn around the data's (Hsu, Qi and Brown 2019): q from
/// Dirichlet(alpha x p) with p the data's class shares. A class without rows left drops out and q is scaled up.
pub(super) fn balanced(
    roll: &Roll<'_>,
    clients: usize,
    alpha: f64,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let rows = roll.labels.len();
    let mut left: Vec<Vec<u32>> = shuffled_classes(roll, rng);
    left.retain(|class| !class.is_empty());
    let weights: Vec<f64> = left
        .iter()
        .map(|class| alpha * class.len() as f64 / rows as f64)
        .collect();
    (0..clients)
        .map(|client| {
            let size = even_cut(rows, clients, client + 1) - even_cut(rows, clients, client);
            let mixture = dirichlet(&weights, rng);
            (0..size)
                .filter_map(|_| draw_row(&mixture, &mut left, rng))
                .collect()
        })
        .collect()
}

/// Takes a row of a class drawn from `mixture` among the classes that have rows left.
fn draw_row(mixture: &[f64], left: &mut [Vec<u32>], rng: &mut impl Rng) -> Option<u32> {
    let open: f64 = mixture
        .iter()
        .zip(left.iter())
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(share, _)| share)
        .sum();
    let mut point = rng.random::<f64>() * open;
    let mut chosen = None;
    for (class, (share, rows)) in mixture.iter().zip(left.iter()).enumerate() {
        if rows.is_empty() {
            continue;
        }
        // Without a share left among the open classes, the fullest of them gives the row.
        let fuller = chosen.is_none_or(|best: usize| rows.len() > left[best].len());
        if open > 0.0 {
            chosen = Some(class);
            point -= share;
            if point < 0.0 {
                break;
            }
        } else if fuller {
            chosen = Some(class);
        }
    }
    left[chosen?].pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    #[test]
    fn tiny_concentrations_still_give_a_point_of_the_simplex() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for alpha in [1e-6, 1e-3, 0.1, 1.0, 1e6] {
            let shares = dirichlet(&[alpha; 20], &mut rng);
            let sum: f64 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "alpha {alpha}: {sum}");
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }

    /// Mean and variance of a symmetric Dirichlet share: 1/k and (k - 1) / (k^2 (k alpha + 1)). 20,000 draws put the
    /// sample figures within 5 standard errors (about 1 in 10^6 by chance, with a fixed seed).
    #[test]
    fn shares_have_the_moments_of_the_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (k, n) = (5.0, 20_000);
        for alpha in [0.2, 1.0, 4.0] {
            let draws: Vec<f64> = (0..n)
                .map(|_| dirichlet(&[alpha; 5], &mut rng)[0])
                .collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let expected = (k - 1.0) / (k * k * (k * alpha + 1.0));
            assert!(
                (mean - 1.0 / k).abs() < 5.0 * (expected / n as f64).sqrt(),
                "{mean}"
            );
            assert!(
                (variance / expected - 1.0).abs() < 0.1,
                "{variance} for {expected}"
            );
        }
    }
}
