//! The attacks of Fang, Cao, Jia and Gong 2020, "Local model poisoning attacks to Byzantine-robust federated learning".
//!
//! Models are taken relative to the round's global model: x_i are updates, and the paper's w_Re is zero.

use cloister_robust::Square;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::updates::statistics::{Moments, centred_gram, mean, squared_distance};

/// The search for lambda gives up below this.
const LEAST_LAMBDA: f64 = 1e-5;

/// The paper's b: how far beyond the honest updates a coordinate is drawn.
const STRETCH: f64 = 2.0;

/// The visible updates and the direction -s, s the sign of their mean, as Krum sees them: inner products only.
struct KrumView {
    /// Squared distances of the rows.
    distances: Square,
    /// |x_i|^2.
    squares: Vec<f64>,
    /// x_i.s.
    along: Vec<f64>,
    /// |s|^2: coordinates that move at all.
    moving: f64,
}

impl KrumView {
    fn new(rows: &[&[f32]], mean: &[f64], signs: &[f32]) -> Self {
        let gram = centred_gram(rows, mean);
        let squares = rows
            .iter()
            .map(|row| row.iter().map(|v| f64::from(*v).powi(2)).sum());
        let along = rows.iter().map(|row| {
            let each = row.iter().zip(signs);
            each.map(|(value, sign)| f64::from(*value) * f64::from(*sign))
                .sum()
        });
        Self {
            distances: Square::from_fn(rows.len(), |i, j| squared_distance(&gram, i, j)),
            squares: squares.collect(),
            along: along.collect(),
            moving: signs.iter().filter(|sign| **sign != 0.0).count() as f64,
        }
    }

    fn rows(&self) -> usize {
        self.squares.len()
    }

    /// Squared distance of row i to -lambda s.
    fn to_liar(&self, row: usize, lambda: f64) -> f64 {
        let square =
            self.squares[row] + 2.0 * lambda * self.along[row] + lambda * lambda * self.moving;
        square.max(0.0)
    }

    /// The paper's upper bound of lambda (theorem 1), for n updates of which f are malicious, in d coordinates.
    fn bound(&self, n: usize, f: usize, d: usize) -> f64 {
        let neighbours = n.saturating_sub(f + 2).max(1);
        let root = (d as f64).sqrt();
        let nearest = (0..self.rows()).map(|i| {
            let mut others: Vec<f64> = self.others(i).map(f64::sqrt).collect();
            others.sort_by(f64::total_cmp);
            others.iter().take(neighbours).sum::<f64>()
        });
        let spread = nearest.fold(f64::INFINITY, f64::min);
        let longest = self.squares.iter().copied().fold(0.0, f64::max).sqrt();
        let divisor = n.saturating_sub(2 * f + 1).max(1) as f64;
        spread / (divisor * root) + longest / root
    }

    fn others(&self, row: usize) -> impl Iterator<Item = f64> {
        let distances = self.distances.row(row).iter().enumerate();
        distances
            .filter(move |(other, _)| *other != row)
            .map(|(_, distance)| *distance)
    }

    /// Whether Krum (the paper's n - f - 2 neighbours) picks one of `liars` copies of -lambda s among the rows. They
    /// must win: at a tie the lower client number decides, which may be anybody's.
    fn picks_liar(&self, lambda: f64, liars: usize, neighbours: usize) -> bool {
        let score = |mut distances: Vec<f64>| -> f64 {
            distances.sort_by(f64::total_cmp);
            distances.iter().take(neighbours).sum()
        };
        let to_liar: Vec<f64> = (0..self.rows())
            .map(|row| self.to_liar(row, lambda))
            .collect();
        let mut from_liar = to_liar.clone();
        from_liar.extend(std::iter::repeat_n(0.0, liars - 1));
        let liar = score(from_liar);
        (0..self.rows()).all(|row| {
            let mut from_row: Vec<f64> = self.others(row).collect();
            from_row.extend(std::iter::repeat_n(to_liar[row], liars));
            liar < score(from_row)
        })
    }

    /// Halves lambda from its bound until Krum picks a liar.
    fn lambda(&self, n: usize, f: usize, liars: usize, d: usize) -> Option<f64> {
        let neighbours = n.saturating_sub(f + 2).max(1);
        let mut lambda = self.bound(n, f, d);
        while lambda >= LEAST_LAMBDA && lambda.is_finite() {
            if self.picks_liar(lambda, liars, neighbours) {
                return Some(lambda);
            }
            lambda /= 2.0;
        }
        None
    }
}

fn signs(mean: &[f64]) -> Vec<f32> {
    let sign = |mean: &f64| {
        if *mean == 0.0 {
            0.0
        } else {
            mean.signum() as f32
        }
    };
    mean.iter().map(sign).collect()
}

/// Against Krum: all send -lambda s, lambda halved from theorem 1's bound until Krum picks one of them.
///
/// `cohort` and `malicious` are the n and f of the round. `complete` says that `rows` are all honest updates; otherwise
/// they are the attackers' own, and the paper's partial knowledge applies: Krum is run among them and 1, 2, ... liars
/// until a lambda is found. If there is none, lambda is 1e-5.
pub(crate) fn against_krum(
    rows: &[&[f32]],
    cohort: usize,
    malicious: usize,
    complete: bool,
) -> Vec<f32> {
    let mean = mean(rows);
    let signs = signs(&mean);
    let view = KrumView::new(rows, &mean, &signs);
    let d = mean.len();
    let lambda = if complete {
        view.lambda(cohort, malicious, malicious, d)
    } else {
        (1..=malicious).find_map(|liars| view.lambda(rows.len() + liars, liars, liars, d))
    };
    let lambda = lambda.unwrap_or(LEAST_LAMBDA) as f32;
    signs.iter().map(|sign| -lambda * sign).collect()
}

/// Between which values each coordinate is drawn against the trimmed mean and the median: beyond all honest ones, on
/// the side to which they do not move.
pub(crate) struct Intervals(Vec<(f64, f64)>);

impl Intervals {
    /// With all honest updates: beyond their least value by up to a factor of 2 where the mean is positive, beyond
    /// their largest where it is negative; a coordinate that does not move keeps its mean, 0.
    pub(crate) fn beyond_extremes(rows: &[&[f32]]) -> Self {
        let mean = mean(rows);
        let mut intervals = Vec::with_capacity(mean.len());
        for (column, mean) in mean.iter().enumerate() {
            let values = rows.iter().map(|row| f64::from(row[column]));
            intervals.push(if *mean > 0.0 {
                let least = values.fold(f64::INFINITY, f64::min);
                let beyond = if least > 0.0 {
                    least / STRETCH
                } else {
                    least * STRETCH
                };
                (beyond, least)
            } else if *mean < 0.0 {
                let largest = values.fold(f64::NEG_INFINITY, f64::max);
                let beyond = if largest > 0.0 {
                    largest * STRETCH
                } else {
                    largest / STRETCH
                };
                (largest, beyond)
            } else {
                (*mean, *mean)
            });
        }
        Self(intervals)
    }

    /// With the attackers' own updates: between 3 and 4 standard deviations from their mean.
    pub(crate) fn beyond_deviations(moments: &Moments) -> Self {
        let each = moments.mean.iter().zip(&moments.deviation);
        let interval = |(mean, deviation): (&f64, &f64)| {
            if *mean > 0.0 {
                (mean - 4.0 * deviation, mean - 3.0 * deviation)
            } else if *mean < 0.0 {
                (mean + 3.0 * deviation, mean + 4.0 * deviation)
            } else {
                (*mean, *mean)
            }
        };
        Self(each.map(interval).collect())
    }

    /// One attacker's draw.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let value = |(low, high): &(f64, f64)| (low + (high - low) * rng.random::<f64>()) as f32;
        self.0.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn squared(a: &[f32], b: &[f32]) -> f64 {
        let each = a.iter().zip(b);
        each.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum()
    }

    /// Krum straight from Blanchard et al. 2017: the row with the least sum of its n - f - 2 least squared distances.
    fn krum(rows: &[Vec<f32>], f: usize) -> usize {
        let score = |i: usize| -> f64 {
            let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
            let mut distances: Vec<f64> = others.map(|(_, row)| squared(&rows[i], row)).collect();
            distances.sort_by(f64::total_cmp);
            distances[..rows.len() - f - 2].iter().sum()
        };
        let best = (0..rows.len()).min_by(|a, b| score(*a).total_cmp(&score(*b)));
        best.unwrap()
    }

    fn honest(n: usize, d: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut value = |j: usize| ((j as f64 * 0.7).sin() + rng.random_range(-1.0..1.0)) as f32;
        (0..n).map(|_| (0..d).map(&mut value).collect()).collect()
    }

    #[test]
    fn lambda_is_the_first_of_the_halvings_that_krum_picks() {
        let (n, f, d) = (11, 3, 60);
        let rows = honest(n - f, d);
        let refs: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let sent = against_krum(&refs, n, f, true);
        let lambda = f64::from(sent.iter().fold(0.0_f32, |most, v| most.max(v.abs())));
        assert!(sent.iter().all(|v| f64::from(v.abs()) == lambda));
        let mean = mean(&refs);
        assert!(
            sent.iter()
                .zip(&mean)
                .all(|(v, mean)| f64::from(*v) * mean < 0.0)
        );
        // The bound of theorem 1, from its formula.
        let distance = |a: &[f32], b: &[f32]| squared(a, b).sqrt();
        let nearest = |i: usize| {
            let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
            let mut distances: Vec<f64> = others.map(|(_, row)| distance(&rows[i], row)).collect();
            distances.sort_by(f64::total_cmp);
            distances[..n - f - 2].iter().sum::<f64>()
        };
        let spread = (0..n - f).map(nearest).fold(f64::INFINITY, f64::min);
        let zero = vec![0.0; d];
        let longest = rows
            .iter()
            .map(|row| distance(row, &zero))
            .fold(0.0, f64::max);
        let root = (d as f64).sqrt();
        let bound = spread / ((n - 2 * f - 1) as f64 * root) + longest / root;
        let halvings = (bound / lambda).log2();
        assert!(
            (halvings - halvings.round()).abs() < 1e-3,
            "{bound} {lambda}"
        );
        let wins = |lambda: f64| {
            let liar: Vec<f32> = sent.iter().map(|v| v.signum() * lambda as f32).collect();
            let mut all = vec![liar; f];
            all.extend(rows.iter().cloned());
            krum(&all, f) < f
        };
        assert!(wins(lambda));
        assert!(halvings < 0.5 || !wins(2.0 * lambda), "{halvings}");
    }

    #[test]
    fn own_updates_are_enough_for_a_guess() {
        let rows = honest(3, 60);
        let refs: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let sent = against_krum(&refs, 10, 3, false);
        assert!(sent.iter().all(|v| v.is_finite()) && sent.iter().any(|v| v.abs() > 1e-3));
        // A single update has no distances; its length bounds lambda.
        let alone = against_krum(&refs[..1], 10, 1, false);
        assert!(alone.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn draws_lie_beyond_the_honest_values() {
        let rows: [&[f32]; 2] = [&[1.0, -1.0, -3.0, 2.0, 0.0], &[3.0, 4.0, -1.0, -5.0, 0.0]];
        let limits = [
            (0.5, 1.0),
            (-2.0, -1.0),
            (-1.0, -0.5),
            (2.0, 4.0),
            (0.0, 0.0),
        ];
        let intervals = Intervals::beyond_extremes(&rows);
        assert_eq!(intervals.0, limits);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..100 {
            let sent = intervals.draw(&mut rng);
            let inside = |(value, (low, high)): (&f32, &(f64, f64))| {
                (*low..=*high).contains(&f64::from(*value))
            };
            assert!(sent.iter().zip(&limits).all(inside), "{sent:?}");
        }
        let moments = Moments {
            mean: vec![1.0, -1.0, 0.0],
            deviation: vec![0.5, 0.25, 1.0],
        };
        let expected = [(-1.0, -0.5), (-0.25, 0.0), (0.0, 0.0)];
        assert_eq!(Intervals::beyond_deviations(&moments).0, expected);
    }
}
