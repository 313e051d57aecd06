//! Minimum-diameter averaging: the n - f points whose greatest distance is least.
//!
//! For a threshold t, n - f points with all distances at most t are what is left when at most f points are removed such
//! that no pair beyond t remains: a vertex cover of size f in the graph of such pairs. That is decided by branching on
//! the point in most pairs (removed, or all its partners removed), which is exponential in f alone; the least threshold
//! is found by bisection over the distances.

use super::{Choice, all};
use crate::error::RobustError;
use crate::matrix::Square;
use crate::points::Points;

/// Branchings after which a search is given up.
const MOST_BRANCHINGS: u64 = 2_000_000;

/// The mean of the n - f points with the least diameter; of several such sets, the first in lexicographic order.
///
/// # Errors
/// [`RobustError::TooLong`] after [`MOST_BRANCHINGS`].
pub(crate) fn least_diameter(points: &Points, byzantine: usize) -> Result<Choice, RobustError> {
    let (count, distances) = (points.count(), points.distances());
    let mut search = Search::new(MOST_BRANCHINGS);
    let chosen = search.least(distances, count, byzantine);
    let Some(chosen) = chosen else {
        return Err(RobustError::TooLong {
            rule: "mda",
            rows: count,
            byzantine: byzantine as u32,
            steps: search.branchings,
        });
    };
    let scores = (0..count).map(|point| {
        let squares = chosen.iter().map(|&other| distances.at(point, other));
        squares.fold(0.0, f64::max).sqrt()
    });
    Ok(Choice::mean_of(&chosen, points.places(), all(scores)))
}

/// A search, and how far it went. Its functions give `None` when it is given up.
struct Search {
    branchings: u64,
    most: u64,
}

impl Search {
    fn new(most: u64) -> Self {
        Self {
            branchings: 0,
            most,
        }
    }

    fn least(&mut self, distances: &Square, count: usize, byzantine: usize) -> Option<Vec<usize>> {
        let mut thresholds = vec![0.0];
        for i in 0..count {
            thresholds.extend(&distances.row(i)[..i]);
        }
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        let (mut low, mut high) = (0, thresholds.len() - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut conflicts = Conflicts::new(distances, count, thresholds[middle]);
            if self.coverable(&mut conflicts, byzantine)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.first_kept(Conflicts::new(distances, count, thresholds[low]), byzantine)
    }

    /// The first n - f points, in lexicographic order, without a pair in conflict.
    fn first_kept(&mut self, mut conflicts: Conflicts, byzantine: usize) -> Option<Vec<usize>> {
        let count = conflicts.degree.len();
        let mut left = byzantine;
        let mut kept = Vec::new();
        for point in 0..count {
            if kept.len() == count - byzantine {
                break;
            }
            if !conflicts.present[point] {
                continue;
            }
            let partners = conflicts.partners(point);
            if partners.len() <= left {
                let mut without = conflicts.clone();
                partners.iter().for_each(|&partner| without.remove(partner));
                if self.coverable(&mut without, left - partners.len())? {
                    left -= partners.len();
                    conflicts = without;
                    kept.push(point);
                    continue;
                }
            }
            conflicts.remove(point);
            left = left.saturating_sub(1);
        }
        Some(kept)
    }

    /// Whether removing at most `most` points ends all conflicts.
    fn coverable(&mut self, conflicts: &mut Conflicts, most: usize) -> Option<bool> {
        self.branchings += 1;
        if self.branchings > self.most {
            return None;
        }
        let mut removed = Vec::new();
        let found = self.cover(conflicts, most, &mut removed);
        removed
            .into_iter()
            .rev()
            .for_each(|point| conflicts.restore(point));
        found
    }

    fn cover(
        &mut self,
        conflicts: &mut Conflicts,
        most: usize,
        removed: &mut Vec<usize>,
    ) -> Option<bool> {
        let mut most = most;
        loop {
            let Some((point, degree)) = conflicts.busiest() else {
                return Some(true);
            };
            // Each removal ends at most `degree` conflicts.
            if conflicts.pairs > most * degree {
                return Some(false);
            }
            let remove = if degree > most {
                // To keep it, more partners would have to go than may.
                point
            } else if let Some(partner) = conflicts.only_partner() {
                partner
            } else {
                let partners = conflicts.partners(point);
                conflicts.remove(point);
                let without = self.coverable(conflicts, most - 1)?;
                conflicts.restore(point);
                if without {
                    return Some(true);
                }
                for &partner in &partners {
                    conflicts.remove(partner);
                    removed.push(partner);
                }
                most -= partners.len();
                continue;
            };
            conflicts.remove(remove);
            removed.push(remove);
            most -= 1;
        }
    }
}

/// The pairs that may not both stay, among the points present.
#[derive(Clone)]
struct Conflicts {
    /// Bits of the partners of each point, present or not.
    partners: Vec<Vec<u64>>,
    present: Vec<bool>,
    /// Present partners of each point.
    degree: Vec<usize>,
    /// Pairs of present points.
    pairs: usize,
}

impl Conflicts {
    /// Pairs farther apart than `threshold` (squared).
    fn new(distances: &Square, count: usize, threshold: f64) -> Self {
        let mut partners = vec![vec![0; count.div_ceil(64)]; count];
        let mut degree = vec![0; count];
        let mut pairs = 0;
        for i in 0..count {
            for j in 0..i {
                if distances.at(i, j) > threshold {
                    partners[i][j / 64] |= 1 << (j % 64);
                    partners[j][i / 64] |= 1 << (i % 64);
                    degree[i] += 1;
                    degree[j] += 1;
                    pairs += 1;
                }
            }
        }
        Self {
            partners,
            present: vec![true; count],
            degree,
            pairs,
        }
    }

    fn partners(&self, point: usize) -> Vec<usize> {
        let bits = &self.partners[point];
        (0..self.present.len())
            .filter(|&other| self.present[other] && bits[other / 64] >> (other % 64) & 1 == 1)
            .collect()
    }

    /// A present point in most conflicts, and in how many, if there is a conflict.
    fn busiest(&self) -> Option<(usize, usize)> {
        let mut best = None;
        for (point, &degree) in self.degree.iter().enumerate() {
            if self.present[point] && degree > best.map_or(0, |(_, degree)| degree) {
                best = Some((point, degree));
            }
        }
        best
    }

    /// The partner of a point that has no other: removing it is never worse than removing that point.
    fn only_partner(&self) -> Option<usize> {
        let lone = (0..self.present.len())
            .find(|&point| self.present[point] && self.degree[point] == 1)?;
        self.partners(lone).first().copied()
    }

    fn remove(&mut self, point: usize) {
        self.present[point] = false;
        for partner in self.partners(point) {
            self.degree[partner] -= 1;
            self.pairs -= 1;
        }
    }

    /// Undoes [`remove`](Self::remove); the last removed comes back first.
    fn restore(&mut self, point: usize) {
        for partner in self.partners(point) {
            self.degree[partner] += 1;
            self.pairs += 1;
        }
        self.present[point] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances without any structure: a fixed linear congruential sequence.
    fn scattered(count: usize) -> Square {
        let mut state = 1_u64;
        let mut distances = Square::zeros(count);
        for i in 0..count {
            for j in 0..i {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let distance = (state >> 40) as f64;
                distances.row_mut(i)[j] = distance;
                distances.row_mut(j)[i] = distance;
            }
        }
        distances
    }

    #[test]
    fn finds_what_enumeration_finds() {
        for (count, byzantine) in [(1, 0), (3, 1), (8, 3), (13, 6), (16, 4)] {
            let distances = scattered(count);
            let mut best = (f64::INFINITY, Vec::new());
            for bits in 0..1_u32 << count {
                let set: Vec<usize> = (0..count).filter(|i| bits >> i & 1 == 1).collect();
                if set.len() == count - byzantine {
                    let pairs = set.iter().flat_map(|&i| set.iter().map(move |&j| (i, j)));
                    let widest = pairs.map(|(i, j)| distances.at(i, j)).fold(0.0, f64::max);
                    if widest < best.0 || (widest == best.0 && set < best.1) {
                        best = (widest, set);
                    }
                }
            }
            let found = Search::new(u64::MAX).least(&distances, count, byzantine);
            assert_eq!(found, Some(best.1), "{count} rows, f = {byzantine}");
        }
    }

    #[test]
    fn gives_up_after_its_steps() {
        let distances = scattered(60);
        let mut search = Search::new(20);
        assert_eq!(search.least(&distances, 60, 29), None);
        assert_eq!(search.branchings, 21);
    }
}
