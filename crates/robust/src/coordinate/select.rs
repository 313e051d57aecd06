//! Columns one at a time, by selection: for so many rows that a network would take more than linear time.

use crate::scalar::Scalar;

use super::lanes::sign;
use super::{Block, Kind, LANES};

/// Reduces the first `out.len()` columns of the block, whose rows stay as they are. Sums are made in `f64`.
pub(super) fn reduce<T: Scalar>(kind: Kind, block: &mut Block<T>, out: &mut [T]) {
    let n = block.n;
    // Eight columns at a time, so that a cache line is read once.
    const GROUP: usize = 8;
    block.keys.resize(n * GROUP, T::Key::default());
    for (group, out) in out.chunks_mut(GROUP).enumerate() {
        for (row, values) in block.values.chunks_exact(LANES).enumerate() {
            for column in 0..GROUP {
                block.keys[column * n + row] = values[group * GROUP + column].key();
            }
        }
        for (column, out) in block.keys.chunks_exact_mut(n).zip(out) {
            *out = T::of(reduce_column::<T>(kind, column));
        }
    }
}

fn reduce_column<T: Scalar>(kind: Kind, column: &mut [T::Key]) -> f64 {
    match kind {
        Kind::Median => median::<T>(column),
        Kind::TrimmedMean { trim } => trimmed_mean::<T>(column, trim),
        Kind::Meamed { keep } => {
            let centre = median::<T>(column);
            nearest_mean(column, T::of(centre), keep)
        }
        Kind::Phocas { trim, keep } => {
            let centre = trimmed_mean::<T>(column, trim);
            nearest_mean(column, T::of(centre), keep)
        }
        Kind::SignMajority { step } => {
            let signs: f64 = values::<T>(column).map(sign).sum();
            sign(signs) * step
        }
    }
}

fn values<T: Scalar>(keys: &[T::Key]) -> impl Iterator<Item = f64> {
    keys.iter().map(|&key| T::from_key(key).into())
}

fn median<T: Scalar>(column: &mut [T::Key]) -> f64 {
    let n = column.len();
    let (below, &mut upper, _) = column.select_nth_unstable(n / 2);
    match below.iter().max() {
        Some(&lower) if n % 2 == 0 => mean::<T>(&[lower, upper]),
        _ => T::from_key(upper).into(),
    }
}

fn trimmed_mean<T: Scalar>(column: &mut [T::Key], trim: usize) -> f64 {
    let kept = column.len() - 2 * trim;
    let mut middle = column;
    if trim > 0 {
        middle.select_nth_unstable(trim);
        middle = &mut middle[trim..];
        middle.select_nth_unstable(kept - 1);
    }
    mean::<T>(&middle[..kept])
}

/// Mean of the `keep` values nearest to the centre; of two at equal distance the lower, and of two that are both below
/// it the higher, as a window over sorted values would take them.
fn nearest_mean<T: Scalar>(column: &mut [T::Key], centre: T, keep: usize) -> f64 {
    let zero = T::default();
    column.select_nth_unstable_by(keep - 1, |&a, &b| {
        let [from_a, from_b] = [a, b].map(|key| T::from_key(key) - centre);
        let [distance_a, distance_b] =
            [from_a, from_b].map(|from| if from > zero { from } else { zero - from });
        distance_a
            .key()
            .cmp(&distance_b.key())
            .then_with(|| match from_a > zero || from_b > zero {
                true => a.cmp(&b),
                false => b.cmp(&a),
            })
    });
    mean::<T>(&column[..keep])
}

fn mean<T: Scalar>(keys: &[T::Key]) -> f64 {
    let sum: f64 = values::<T>(keys).sum();
    let count = keys.len() as f64;
    if sum.is_finite() {
        return sum / count;
    }
    values::<T>(keys).map(|value| value / count).sum()
}
