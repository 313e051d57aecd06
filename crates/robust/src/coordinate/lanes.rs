//! The network, the sums and the scores over W columns at once. Columns are compared and moved as keys.

use crate::kernels::{Kernel, Level};
use crate::scalar::Scalar;

use super::network::Exchange;
use super::{Kind, LANES};

/// Columns that are exchanged at a time: short arrays stay in registers. W is a multiple.
const PIECE: usize = 16;

/// Reduces W columns of rows of [`LANES`].
pub(super) struct Reduce<'a, T: Scalar, const W: usize> {
    pub(super) kind: Kind,
    pub(super) exchanges: &'a [Exchange],
    pub(super) rows: &'a [[T; LANES]],
    /// The first of the columns.
    pub(super) from: usize,
    /// Where they are sorted: as many rows.
    pub(super) keys: &'a mut [[T::Key; W]],
}

impl<T: Scalar, const W: usize> Kernel for Reduce<'_, T, W> {
    type Output = [T; W];

    #[inline(always)]
    fn run(self, _level: Level) -> [T; W] {
        for (keys, row) in self.keys.iter_mut().zip(self.rows) {
            for (key, &value) in keys.iter_mut().zip(&row[self.from..]) {
                *key = value.key();
            }
        }
        sort(self.keys, self.exchanges);
        let keys = &*self.keys;
        match self.kind {
            Kind::Median => median(keys),
            Kind::TrimmedMean { trim } => mean(&keys[trim..keys.len() - trim]),
            Kind::Meamed { keep } => window(keys, &median(keys), keep),
            Kind::Phocas { trim, keep } => {
                window(keys, &mean(&keys[trim..keys.len() - trim]), keep)
            }
            Kind::SignMajority { step } => majority(keys, T::of(step)),
        }
    }
}

#[inline(always)]
fn sort<K: Copy + Ord, const W: usize>(rows: &mut [[K; W]], exchanges: &[Exchange]) {
    for &(low, high) in exchanges {
        let Ok([low, high]) = rows.get_disjoint_mut([usize::from(low), usize::from(high)]) else {
            continue;
        };
        let (low, _) = low.as_chunks_mut::<PIECE>();
        let (high, _) = high.as_chunks_mut::<PIECE>();
        for (low, high) in low.iter_mut().zip(high) {
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = ((*low).min(*high), (*low).max(*high));
            }
        }
    }
}

/// Mean of the two rows in the middle; the row itself if there is one.
#[inline(always)]
fn median<T: Scalar, const W: usize>(rows: &[[T::Key; W]]) -> [T; W] {
    let (a, b) = (&rows[(rows.len() - 1) / 2], &rows[rows.len() / 2]);
    let mut middle = [T::default(); W];
    let half = T::of(0.5);
    for (lane, middle) in middle.iter_mut().enumerate() {
        let (a, b) = (T::from_key(a[lane]), T::from_key(b[lane]));
        let sum = a + b;
        // Where the sum overflows, halves lose nothing.
        *middle = if is_finite(sum) {
            sum * half
        } else {
            a * half + b * half
        };
    }
    if rows.len() % 2 == 1 {
        for (middle, &key) in middle.iter_mut().zip(a) {
            *middle = T::from_key(key);
        }
    }
    middle
}

#[inline(always)]
fn mean<T: Scalar, const W: usize>(rows: &[[T::Key; W]]) -> [T; W] {
    let total = |scale: T| {
        let mut total = [T::default(); W];
        for row in rows {
            for (total, &key) in total.iter_mut().zip(row) {
                *total += T::from_key(key) * scale;
            }
        }
        total
    };
    divided(total, T::of(rows.len() as f64))
}

/// Mean of the `keep` sorted rows nearest to the centre; of two at equal distance, the lower.
///
/// They are neighbours. The window that starts at `s` gives way to that at `s + 1` where row `s + keep` is nearer than
/// row `s`, and once it does not, no later one does. So of the rows `j`, `j + keep`, `j + 2 keep`, ..., exactly one is in
/// the window: the last that is nearer than the one before it.
#[inline(always)]
fn window<T: Scalar, const W: usize>(rows: &[[T::Key; W]], centre: &[T; W], keep: usize) -> [T; W] {
    let (centres, _) = centre.as_chunks::<PIECE>();
    let total = |scale: T| {
        let mut total = [T::default(); W];
        // A piece at a time: its sums stay in registers.
        let (totals, _) = total.as_chunks_mut::<PIECE>();
        for (at, (total, centre)) in totals.iter_mut().zip(centres).enumerate() {
            let row = |row: usize| rows[row].as_chunks::<PIECE>().0[at];
            let mut sum = *total;
            for first in 0..keep {
                let mut chosen = row(first);
                for pair in (first..rows.len() - keep).step_by(keep) {
                    let (low, high) = (row(pair), row(pair + keep));
                    for lane in 0..PIECE {
                        let below = centre[lane] - T::from_key(low[lane]);
                        let above = T::from_key(high[lane]) - centre[lane];
                        chosen[lane] = if below > above {
                            high[lane]
                        } else {
                            chosen[lane]
                        };
                    }
                }
                for (sum, &key) in sum.iter_mut().zip(&chosen) {
                    *sum += T::from_key(key) * scale;
                }
            }
            *total = sum;
        }
        total
    };
    divided(total, T::of(keep as f64))
}

/// `total(1) / count`, or where that overflows `total(1 / count)`.
#[inline(always)]
fn divided<T: Scalar, const W: usize>(total: impl Fn(T) -> [T; W], count: T) -> [T; W] {
    let one = T::of(1.0);
    let mut mean = total(one);
    let mut finite = true;
    for sum in &mut mean {
        finite &= is_finite(*sum);
        *sum = *sum / count;
    }
    if !finite {
        for (mean, scaled) in mean.iter_mut().zip(total(one / count)) {
            *mean = if is_finite(*mean) { *mean } else { scaled };
        }
    }
    mean
}

#[inline(always)]
fn majority<T: Scalar, const W: usize>(rows: &[[T::Key; W]], step: T) -> [T; W] {
    let mut total = [T::default(); W];
    for row in rows {
        for (total, &key) in total.iter_mut().zip(row) {
            *total += sign(T::from_key(key));
        }
    }
    for total in &mut total {
        *total = sign(*total) * step;
    }
    total
}

/// 1, 0 or -1.
#[inline(always)]
pub(super) fn sign<T: Scalar>(value: T) -> T {
    let (zero, one) = (T::default(), T::of(1.0));
    let above = if value > zero { one } else { zero };
    let below = if value < zero { one } else { zero };
    above - below
}

#[inline(always)]
fn is_finite<T: Scalar>(value: T) -> bool {
    value * T::default() == T::default()
}

/// Adds to each row's score what its columns say of it.
pub(super) struct Score<'a, T> {
    pub(super) kind: Kind,
    pub(super) rows: &'a [[T; LANES]],
    pub(super) result: &'a [T],
    pub(super) scores: &'a mut [f64],
}

/// Columns that are added apart from each other.
const PARTS: usize = 8;

impl<T: Scalar> Kernel for Score<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self, _level: Level) {
        let signs = matches!(self.kind, Kind::SignMajority { .. });
        for (row, score) in self.rows.iter().zip(self.scores) {
            let row = &row[..self.result.len().min(LANES)];
            *score += if signs {
                sum_over(row, self.result, |a, b| {
                    f64::from(u8::from(sign(a) == sign(b)))
                })
            } else {
                sum_over(row, self.result, |a, b| {
                    let difference: f64 = a.into() - b.into();
                    difference * difference
                })
            };
        }
    }
}

#[inline(always)]
fn sum_over<T: Scalar>(a: &[T], b: &[T], term: impl Fn(T, T) -> f64) -> f64 {
    let (a, a_rest) = a.as_chunks::<PARTS>();
    let (b, b_rest) = b.as_chunks::<PARTS>();
    let mut sums = [0.0; PARTS];
    for (a, b) in a.iter().zip(b) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += term(a, b);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(a, b);
    }
    sums.iter().sum()
}
