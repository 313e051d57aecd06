//! Rules that take each column (coordinate) by itself: median, trimmed mean, MeaMed, Phocas, majority of signs.
//!
//! The rows come in blocks of [`LANES`] columns, so that a block of n rows stays near the processor and every step works
//! on whole vectors of columns. Values must be finite: that is for the caller to check.

use std::ops::Range;

use crate::error::{RobustError, check_length};
use crate::kernels;
use crate::scalar::Scalar;
use crate::workers::Workers;

use lanes::{Reduce, Score};
use network::{Exchange, Need};

pub(crate) mod keys;
mod lanes;
mod network;
mod select;

/// Columns of a block.
pub const LANES: usize = 64;

/// What becomes of the n values of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Their median; with n even, the mean of the two in the middle.
    Median,
    /// Mean of all but the `trim` lowest and the `trim` highest.
    TrimmedMean {
        /// Values dropped at each end, 2 trim < n.
        trim: usize,
    },
    /// Mean of the `keep` values nearest to the median: MeaMed with keep = n - f (Xie et al. 2018), and the second stage
    /// of Bulyan with keep = theta - 2f (El Mhamdi et al. 2018).
    Meamed {
        /// Values kept, 1 <= keep <= n.
        keep: usize,
    },
    /// Mean of the `keep` values nearest to the trimmed mean (Xie et al. 2018, there with keep = n - f, trim = f).
    Phocas {
        /// Values that the trimmed mean drops at each end, 2 trim < n.
        trim: usize,
        /// Values kept, 1 <= keep <= n.
        keep: usize,
    },
    /// Sign of the sum of the signs, times `step`; 0 where as many are above zero as below (Bernstein et al. 2019).
    SignMajority {
        /// Above 0.
        step: f64,
    },
}

/// Most rows that a network sorts; more are taken column by column with a selection, in time linear in n.
const NETWORK_ROWS: usize = 512;

/// Bytes of the rows that a network works on: they should stay in the first cache.
const CACHE: usize = 32 << 10;

/// How to reduce blocks of n rows; made once, used for every block and by all threads.
#[derive(Clone, Debug)]
pub struct Plan {
    kind: Kind,
    n: usize,
    /// Empty where selection is used.
    exchanges: Vec<Exchange>,
}

impl Plan {
    /// The plan of `kind` for `n` rows.
    ///
    /// # Errors
    /// [`RobustError::NoRows`], or [`RobustError::Parameter`] if `trim`, `keep` or `step` is out of its range.
    pub fn new(kind: Kind, n: usize) -> Result<Self, RobustError> {
        if n == 0 {
            return Err(RobustError::NoRows);
        }
        let trim_fits = |trim: usize| {
            if trim >= n.div_ceil(2) {
                return Err(RobustError::Parameter {
                    name: "trim",
                    value: trim as f64,
                    allowed: format!("below half of the {n} rows"),
                });
            }
            Ok(())
        };
        let keep_fits = |keep: usize| {
            if keep == 0 || keep > n {
                return Err(RobustError::Parameter {
                    name: "keep",
                    value: keep as f64,
                    allowed: format!("from 1 to the {n} rows"),
                });
            }
            Ok(())
        };
        match kind {
            Kind::Median => {}
            Kind::TrimmedMean { trim } => trim_fits(trim)?,
            Kind::Meamed { keep } => keep_fits(keep)?,
            Kind::Phocas { trim, keep } => {
                trim_fits(trim)?;
                keep_fits(keep)?;
            }
            Kind::SignMajority { step } => {
                if !(step.is_finite() && step > 0.0) {
                    return Err(RobustError::Parameter {
                        name: "sign_step",
                        value: step,
                        allowed: "a number above 0".to_owned(),
                    });
                }
            }
        }
        let exchanges = if n <= NETWORK_ROWS {
            network::network(&needs(kind, n))
        } else {
            Vec::new()
        };
        Ok(Self { kind, n, exchanges })
    }

    /// Number of rows that it reduces.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Reduces the first `out.len()` columns of `block` into `out`. With `scores` (n entries), adds to entry i the squared
    /// distance of row i to the result over those columns, or the number of signs that agree with the result's
    /// ([`Kind::SignMajority`]). The block's rows stay as they are.
    ///
    /// # Panics
    /// If the block or `scores` has not n rows, or `out` is longer than [`LANES`].
    pub fn reduce<T: Scalar>(
        &self,
        block: &mut Block<T>,
        out: &mut [T],
        scores: Option<&mut [f64]>,
    ) {
        assert!(
            block.n == self.n && out.len() <= LANES,
            "a block of {} rows and {} columns does not fit a plan for {} rows",
            block.n,
            out.len(),
            self.n
        );
        let bytes = self.n * size_of::<T>();
        if self.selects() {
            select::reduce(self.kind, block, out);
        } else if bytes * LANES <= CACHE {
            self.reduce_columns::<T, LANES>(block, out);
        } else if bytes * 32 <= CACHE {
            self.reduce_columns::<T, 32>(block, out);
        } else {
            self.reduce_columns::<T, 16>(block, out);
        }
        if let Some(scores) = scores {
            assert_eq!(scores.len(), self.n, "one score a row");
            let (rows, _) = block.values.as_chunks::<LANES>();
            kernels::call(Score {
                kind: self.kind,
                rows,
                result: out,
                scores,
            });
        }
    }

    fn selects(&self) -> bool {
        self.n > NETWORK_ROWS && !matches!(self.kind, Kind::SignMajority { .. })
    }

    /// Reduces W columns at a time.
    fn reduce_columns<T: Scalar, const W: usize>(&self, block: &mut Block<T>, out: &mut [T]) {
        let keys = aligned(&mut block.keys, self.n * W);
        for (part, out) in out.chunks_mut(W).enumerate() {
            let result = kernels::call(Reduce {
                kind: self.kind,
                exchanges: &self.exchanges,
                rows: block.values.as_chunks().0,
                from: part * W,
                keys: keys.as_chunks_mut::<W>().0,
            });
            out.copy_from_slice(&result[..out.len()]);
        }
    }
}

/// The first `length` places of the buffer from the start of a cache line on: vectors that lie in two lines cost twice.
fn aligned<K: Copy + Default>(buffer: &mut Vec<K>, length: usize) -> &mut [K] {
    let line = 64 / size_of::<K>();
    buffer.resize(length + line, K::default());
    let start = buffer.as_ptr().align_offset(64).min(line);
    &mut buffer[start..start + length]
}

/// What the sums after the network read of each wire.
fn needs(kind: Kind, n: usize) -> Vec<Need> {
    let middle = (n - 1) / 2..n / 2 + 1;
    let kept = |trim: usize| trim..n - trim;
    // Ranks that some windows of `keep` hold and others do not: their values are compared.
    let contested = |keep: usize, rank: usize| rank < n - keep || rank >= keep;
    let need = |rank: usize| match kind {
        Kind::Median if middle.contains(&rank) => Need::Rank,
        Kind::Median => Need::Set(0),
        Kind::TrimmedMean { trim } => Need::Set(u8::from(kept(trim).contains(&rank))),
        Kind::Meamed { keep } if contested(keep, rank) || middle.contains(&rank) => Need::Rank,
        Kind::Meamed { .. } => Need::Set(0),
        Kind::Phocas { keep, .. } if contested(keep, rank) => Need::Rank,
        Kind::Phocas { trim, .. } => Need::Set(u8::from(kept(trim).contains(&rank))),
        Kind::SignMajority { .. } => Need::Set(0),
    };
    (0..n).map(need).collect()
}

/// n rows of [`LANES`] columns, to be filled and reduced again and again.
#[derive(Clone, Debug)]
pub struct Block<T: Scalar> {
    n: usize,
    values: Vec<T>,
    /// Where columns are sorted.
    keys: Vec<T::Key>,
}

impl<T: Scalar> Block<T> {
    /// Zeros.
    pub fn new(n: usize) -> Self {
        Self {
            n,
            values: vec![T::default(); n * LANES],
            keys: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Row `row`: [`LANES`] values.
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[row * LANES..(row + 1) * LANES]
    }

    /// Row `row`, to write to. What stands in columns that are not asked for does not matter.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.values[row * LANES..(row + 1) * LANES]
    }

    /// Copies columns `columns` (at most [`LANES`]) of the rows.
    ///
    /// # Panics
    /// If there are not n rows, or a row has not these columns.
    pub fn copy_from(&mut self, rows: &[&[T]], columns: Range<usize>) {
        assert_eq!(rows.len(), self.n, "rows of a block");
        let (to, _) = self.values.as_chunks_mut::<LANES>();
        for (to, row) in to.iter_mut().zip(rows) {
            let row = &row[columns.clone()];
            match <&[T; LANES]>::try_from(row) {
                Ok(row) => *to = *row,
                Err(_) => to[..row.len()].copy_from_slice(row),
            }
        }
    }

    /// All rows, one after the other: row i begins at i x [`LANES`].
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }
}

/// The result of `plan` over whole rows, which must be finite. Adds to `scores` (n entries) as [`Plan::reduce`] does.
/// The columns are dealt to `threads` threads in parts that do not depend on their number; nor do the bits.
///
/// # Errors
/// [`RobustError::Length`] if there are not as many rows and scores as planned, or a row is not as long as `out`.
pub fn apply<T: Scalar>(
    plan: &Plan,
    rows: &[&[T]],
    threads: usize,
    out: &mut [T],
    scores: Option<&mut [f64]>,
) -> Result<(), RobustError> {
    check_length(|| "the set of rows".to_owned(), plan.n, rows.len())?;
    for (at, row) in rows.iter().enumerate() {
        check_length(|| format!("row {at}"), out.len(), row.len())?;
    }
    if let Some(scores) = &scores {
        check_length(|| "the set of scores".to_owned(), plan.n, scores.len())?;
    }
    let part = part_length(out.len());
    let wanted = scores.is_some();
    let partial = Workers::new(threads).map_stretches(out, part, |columns, out| {
        reduce_part(plan, rows, columns.start, out, wanted)
    });
    if let Some(scores) = scores {
        for part in partial {
            for (score, part) in scores.iter_mut().zip(part) {
                *score += part;
            }
        }
    }
    Ok(())
}

/// Columns of a part: enough that starting one costs nothing, few enough that many threads are busy, and at most some
/// hundred parts.
fn part_length(d: usize) -> usize {
    d.div_ceil(512).next_multiple_of(LANES).max(64 * LANES)
}

fn reduce_part<T: Scalar>(
    plan: &Plan,
    rows: &[&[T]],
    from: usize,
    out: &mut [T],
    wanted: bool,
) -> Vec<f64> {
    let mut block = Block::new(plan.n);
    let mut scores = vec![0.0; if wanted { plan.n } else { 0 }];
    for (at, out) in out.chunks_mut(LANES).enumerate() {
        let start = from + at * LANES;
        block.copy_from(rows, start..start + out.len());
        plan.reduce(&mut block, out, wanted.then_some(&mut scores[..]));
    }
    scores
}
