//! Rules that take each column (coordinate) by itself: median, trimmed mean, MeaMed, Phocas, majority of signs.
//!
//! The rows come in blocks of [`LANES`] columns, so that a block of n rows stays near the processor and every step works
//! on whole vectors of columns. Values must be finite: that is for the caller to check.

use crate::error::RobustError;
use crate::scalar::Scalar;

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

/// How to reduce blocks of n rows; made once, used for every block and by all threads.
#[derive(Clone, Debug)]
pub struct Plan {
    kind: Kind,
    n: usize,
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
        Ok(Self { kind, n })
    }

    /// Number of rows that it reduces.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Reduces the first `out.len()` columns of `block` into `out`. With `scores` (n entries), adds to entry i the squared
    /// distance of row i to the result over those columns, or the number of signs that agree with the result's
    /// ([`Kind::SignMajority`]). The block's rows are unspecified afterwards.
    ///
    /// # Panics
    /// If the block or `scores` has not n rows, or `out` is longer than [`LANES`].
    pub fn reduce<T: Scalar>(
        &self,
        block: &mut Block<T>,
        out: &mut [T],
        scores: Option<&mut [f64]>,
    ) {
        assert!(block.n == self.n && out.len() <= LANES, "sizes of a block");
        for (column, out) in out.iter_mut().enumerate() {
            let mut values: Vec<T> = (0..self.n).map(|row| block.row(row)[column]).collect();
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            *out = self.reduce_sorted(&values);
        }
        if let Some(scores) = scores {
            assert_eq!(scores.len(), self.n, "one score a row");
            for (row, score) in scores.iter_mut().enumerate() {
                for (&value, &out) in block.row(row).iter().zip(out.iter()) {
                    let (value, out): (f64, f64) = (value.into(), out.into());
                    *score += match self.kind {
                        Kind::SignMajority { .. } => f64::from(u8::from(sign(value) == sign(out))),
                        _ => (value - out) * (value - out),
                    };
                }
            }
        }
    }

    fn reduce_sorted<T: Scalar>(&self, values: &[T]) -> T {
        let mean = |values: &[T]| {
            let sum = values.iter().fold(T::default(), |sum, &v| sum + v);
            sum / T::of(values.len() as f64)
        };
        match self.kind {
            Kind::Median => mean(&values[(self.n - 1) / 2..=self.n / 2]),
            Kind::TrimmedMean { trim } => mean(&values[trim..self.n - trim]),
            Kind::Meamed { keep } => {
                let centre = mean(&values[(self.n - 1) / 2..=self.n / 2]);
                mean(nearest(values, centre, keep))
            }
            Kind::Phocas { trim, keep } => {
                let centre = mean(&values[trim..self.n - trim]);
                mean(nearest(values, centre, keep))
            }
            Kind::SignMajority { step } => {
                let sum: i64 = values.iter().map(|&v| sign(v.into())).sum();
                T::of(step * sum.signum() as f64)
            }
        }
    }
}

/// The `keep` of the sorted values that are nearest to `centre`; of two at equal distance, the lower.
fn nearest<T: Scalar>(values: &[T], centre: T, keep: usize) -> &[T] {
    let mut start = 0;
    while start + keep < values.len() && centre - values[start] > values[start + keep] - centre {
        start += 1;
    }
    &values[start..start + keep]
}

fn sign(value: f64) -> i64 {
    i64::from(value > 0.0) - i64::from(value < 0.0)
}

/// n rows of [`LANES`] columns, to be filled and reduced again and again.
#[derive(Clone, Debug)]
pub struct Block<T> {
    n: usize,
    values: Vec<T>,
}

impl<T: Scalar> Block<T> {
    /// Zeros.
    pub fn new(n: usize) -> Self {
        Self {
            n,
            values: vec![T::default(); n * LANES],
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

    /// All rows, one after the other: row i begins at i x [`LANES`].
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }
}
