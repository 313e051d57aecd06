//! The weighted sum of rows: one read of each row that has a weight.

use std::ops::Range;

use crate::kernels::{self, Kernel, Level};
use crate::scalar::{Scalar, sealed::Sealed};
use crate::workers::Workers;

/// Columns that a thread takes at a time.
const STRETCH: usize = 16_384;
/// Columns whose sums stay near the processor.
const COLUMNS: usize = 1024;

/// Writes the sum of weight x row into `out`, with sums in `f64` in the order of the terms, and returns the largest
/// magnitude that it met. One row of weight 1 is copied.
pub(crate) fn weighted_sum<T: Scalar>(
    terms: &[(f64, &[T])],
    out: &mut [T],
    workers: &Workers,
) -> T::Magnitude {
    let largest = workers.map_stretches(out, STRETCH, |columns, out| {
        kernels::call(Sum {
            terms,
            columns,
            out,
        })
    });
    largest.into_iter().max().unwrap_or_default()
}

struct Sum<'a, 'v, T> {
    terms: &'a [(f64, &'v [T])],
    columns: Range<usize>,
    out: &'a mut [T],
}

impl<T: Scalar> Kernel for Sum<'_, '_, T> {
    type Output = T::Magnitude;

    #[inline(always)]
    fn run(self, level: Level) -> T::Magnitude {
        match level {
            Level::Portable => self.sum::<false>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 | Level::Avx512 => self.sum::<true>(),
        }
    }
}

impl<T: Scalar> Sum<'_, '_, T> {
    #[inline(always)]
    fn sum<const FUSED: bool>(self) -> T::Magnitude {
        let mut largest = T::Magnitude::default();
        let mut sums = [0.0_f64; COLUMNS];
        let only = match self.terms {
            [(weight, row)] if *weight == 1.0 => Some(row),
            _ => None,
        };
        for (block, out) in self.out.chunks_mut(COLUMNS).enumerate() {
            let start = self.columns.start + block * COLUMNS;
            let columns = start..start + out.len();
            if let Some(row) = only {
                out.copy_from_slice(&row[columns]);
                for &value in &*out {
                    largest = largest.max(value.magnitude());
                }
                continue;
            }
            let sums = &mut sums[..out.len()];
            sums.fill(0.0);
            let (pairs, last) = self.terms.as_chunks::<4>();
            for [(p, a), (q, b), (r, c), (s, d)] in pairs {
                let [a, b, c, d] = [a, b, c, d].map(|row| &row[columns.clone()]);
                for ((((sum, &a), &b), &c), &d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    let both = a.magnitude().max(b.magnitude());
                    let others = c.magnitude().max(d.magnitude());
                    largest = largest.max(both).max(others);
                    let mut total = p.multiply_add::<FUSED>(a.into(), *sum);
                    total = q.multiply_add::<FUSED>(b.into(), total);
                    total = r.multiply_add::<FUSED>(c.into(), total);
                    *sum = s.multiply_add::<FUSED>(d.into(), total);
                }
            }
            for (weight, row) in last {
                for (sum, &value) in sums.iter_mut().zip(&row[columns.clone()]) {
                    largest = largest.max(value.magnitude());
                    *sum = weight.multiply_add::<FUSED>(value.into(), *sum);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&*sums) {
                *out = T::of(sum);
            }
        }
        largest
    }
}
