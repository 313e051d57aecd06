//! Rules by coordinate over mixed rows: a block of columns of W X at a time, never the whole of it.

use std::ops::Range;

use crate::coordinate::{Block, LANES, Plan};
use crate::gram::{Unusable, Vector};
use crate::kernels::{self, Kernel, Level};
use crate::scalar::Scalar;
use crate::workers::Workers;

/// Columns that a thread takes at a time.
const STRETCH: usize = 4096;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Mixed rows that are made together.
const TALL: usize = 6;

/// The rows that a plan reduces.
pub(crate) enum Rows<'a, 'v, T> {
    /// These, as they are.
    Plain(Vec<&'v [T]>),
    /// Sums of rows.
    Mixed(Mixing<'a, 'v, T>),
}

impl<'v, T: Scalar> Rows<'_, 'v, T> {
    /// How many the plan sees.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Plain(rows) => rows.len(),
            Self::Mixed(mixing) => mixing.count,
        }
    }
}

/// Sums of vectors, in groups of [`TALL`].
pub(crate) struct Mixing<'a, 'v, T> {
    vectors: &'a [Vector<'v, T>],
    count: usize,
    /// For each group the vectors that take part, with their weights in each sum.
    groups: Vec<Vec<(usize, [T; TALL])>>,
}

impl<'a, 'v, T: Scalar> Mixing<'a, 'v, T> {
    /// The sums whose weights are the entries of `mixing`.
    pub(crate) fn new(vectors: &'a [Vector<'v, T>], mixing: &[&[f64]]) -> Self {
        let group = |sums: &[&[f64]]| {
            let weights = |vector: usize| {
                let mut weights = [T::default(); TALL];
                for (weight, sum) in weights.iter_mut().zip(sums) {
                    *weight = T::of(sum[vector]);
                }
                weights
            };
            (0..vectors.len())
                .filter(|&vector| vectors[vector].is_some())
                .map(|vector| (vector, weights(vector)))
                .filter(|(_, weights)| weights.iter().any(|&weight| weight != T::default()))
                .collect()
        };
        Self {
            vectors,
            count: mixing.len(),
            groups: mixing.chunks(TALL).map(group).collect(),
        }
    }
}

/// Reduces every column into `out`. With `scored`, returns what [`Plan::reduce`] adds to the scores, summed in the order
/// of the columns.
pub(crate) fn reduce<T: Scalar>(
    plan: &Plan,
    rows: &Rows<'_, '_, T>,
    scored: bool,
    out: &mut [T],
    workers: &Workers,
) -> Result<Vec<f64>, Unusable> {
    let stretches = workers.map_stretches(out, STRETCH, |columns, out| {
        reduce_stretch(plan, rows, scored, columns, out)
    });
    let mut sums = vec![0.0; if scored { rows.count() } else { 0 }];
    for scores in stretches {
        for (sum, score) in sums.iter_mut().zip(scores?) {
            *sum += score;
        }
    }
    Ok(sums)
}

fn reduce_stretch<T: Scalar>(
    plan: &Plan,
    rows: &Rows<'_, '_, T>,
    scored: bool,
    columns: Range<usize>,
    out: &mut [T],
) -> Result<Vec<f64>, Unusable> {
    let mut block = Block::new(rows.count());
    let mut raw = match rows {
        Rows::Plain(_) => Vec::new(),
        Rows::Mixed(mixing) => vec![T::default(); mixing.vectors.len() * LANES],
    };
    let mut scores = vec![0.0; if scored { rows.count() } else { 0 }];
    for (number, out) in out.chunks_mut(LANES).enumerate() {
        let start = columns.start + number * LANES;
        let largest = kernels::call(Fill {
            rows,
            columns: start..start + out.len(),
            raw: &mut raw,
            block: &mut block,
        });
        if largest >= T::REFUSED {
            return Err(Unusable);
        }
        plan.reduce(&mut block, out, scored.then_some(&mut scores[..]));
    }
    Ok(scores)
}

/// Fills a block; gives the largest magnitude of any value.
struct Fill<'a, 'b, 'v, T: Scalar> {
    rows: &'a Rows<'b, 'v, T>,
    columns: Range<usize>,
    raw: &'a mut [T],
    block: &'a mut Block<T>,
}

impl<T: Scalar> Kernel for Fill<'_, '_, '_, T> {
    type Output = T::Magnitude;

    #[inline(always)]
    fn run(self, level: Level) -> T::Magnitude {
        match level {
            Level::Portable => self.fill::<16, false>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 if size_of::<T>() == 4 => self.fill::<16, true>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => self.fill::<8, true>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => self.fill::<32, true>(),
        }
    }
}

impl<T: Scalar> Fill<'_, '_, '_, T> {
    /// `W` columns of a group of mixed rows are summed at a time.
    #[inline(always)]
    fn fill<const W: usize, const FUSED: bool>(self) -> T::Magnitude {
        let mut largest = T::Magnitude::default();
        match self.rows {
            Rows::Plain(rows) => {
                for (row, values) in rows.iter().enumerate() {
                    let to = self.block.row_mut(row);
                    largest = largest.max(copy(values, self.columns.clone(), to));
                }
            }
            Rows::Mixed(mixing) => {
                let raw = self.raw.chunks_exact_mut(LANES);
                for (vector, raw) in mixing.vectors.iter().zip(raw) {
                    if let Some(values) = vector {
                        largest = largest.max(copy(values, self.columns.clone(), raw));
                    }
                }
                for (number, group) in mixing.groups.iter().enumerate() {
                    let first = number * TALL;
                    let rows = TALL.min(mixing.count - first);
                    let out = &mut self.block.as_mut_slice()[first * LANES..];
                    for start in (0..LANES).step_by(W) {
                        let sums = mix::<T, W, FUSED>(group, self.raw, start);
                        for (row, sum) in sums.iter().enumerate().take(rows) {
                            out[row * LANES + start..][..W].copy_from_slice(sum);
                        }
                    }
                }
            }
        }
        largest
    }
}

/// Columns `start..start + W` of one group's sums.
#[inline(always)]
fn mix<T: Scalar, const W: usize, const FUSED: bool>(
    group: &[(usize, [T; TALL])],
    raw: &[T],
    start: usize,
) -> [[T; W]; TALL] {
    let mut sums = [[T::default(); W]; TALL];
    for (vector, weights) in group {
        let Some(values) = raw[vector * LANES + start..].first_chunk::<W>() else {
            continue;
        };
        for (sum, weight) in sums.iter_mut().zip(weights) {
            for lane in 0..W {
                sum[lane] = weight.multiply_add::<FUSED>(values[lane], sum[lane]);
            }
        }
    }
    sums
}

/// Copies a row of a block, zeros behind it, and returns its largest magnitude. Asks for the row's part of the next
/// block: it comes while this one is worked on.
#[inline(always)]
fn copy<T: Scalar>(values: &[T], columns: Range<usize>, row: &mut [T]) -> T::Magnitude {
    let next = values.iter().skip(columns.end).take(LANES);
    next.step_by(LINE / size_of::<T>())
        .for_each(kernels::prefetch);
    let mut largest = T::Magnitude::default();
    let values = &values[columns];
    let (used, rest) = row.split_at_mut(values.len());
    for (to, &value) in used.iter_mut().zip(values) {
        largest = largest.max(value.magnitude());
        *to = value;
    }
    rest.fill(T::default());
    largest
}
