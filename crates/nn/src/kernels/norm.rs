//! Squared norms of rows, for the clipping of single examples' gradients.

use super::simd::{Kernel, Simd, run};

/// Entries summed in `f32` before the sum goes on in `f64`. With it no sum is deeper than 24 roundings at any level, and so
/// off by more than `24 * 2^-24 < 1.5e-6` of itself: all terms have one sign.
const BLOCK: usize = 512;

/// Sums of squares that were neither touched by underflow, nor near overflow.
const SAFE: std::ops::Range<f64> = 1e-24..1e30;

/// `squares[row]` becomes the squared Euclidean norm of each row of `x` `[rows, width]`, within a share of 1.5e-6; not
/// finite where an entry of the row is not.
pub fn row_squares(x: &[f32], squares: &mut [f64], width: usize) {
    let rows = squares.len();
    assert_eq!(x.len(), rows.saturating_mul(width), "x is [rows, width]");
    // SAFETY: the lengths were checked, and `squares` is borrowed alone.
    unsafe {
        run(Squares {
            x: x.as_ptr(),
            squares: squares.as_mut_ptr(),
            rows,
            width,
        });
    }
    for (row, square) in squares.iter_mut().enumerate() {
        if !SAFE.contains(square) {
            let row = &x[row * width..][..width];
            *square = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        }
    }
}

/// Pointers: `x` `[rows, width]`, `squares` `[rows]`.
struct Squares {
    x: *const f32,
    squares: *mut f64,
    rows: usize,
    width: usize,
}

impl Kernel for Squares {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            let x = self.x.add(row * self.width);
            let mut total = 0.0;
            let mut start = 0;
            while start < self.width {
                let end = self.width.min(start + BLOCK);
                let mut acc = [S::splat(0.0); 4];
                let mut at = start;
                while at + 4 * S::LANES <= end {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let v = S::load(x.add(at + i * S::LANES));
                        *acc = S::fma(v, v, *acc);
                    }
                    at += 4 * S::LANES;
                }
                while at < end {
                    let v = S::load_masked(x.add(at), S::first(end - at));
                    acc[0] = S::fma(v, v, acc[0]);
                    at += S::LANES;
                }
                let sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
                let mut block = 0.0;
                S::store_sums(&sum, 1, &mut block);
                total += f64::from(block);
                start = end;
            }
            *self.squares.add(row) = total;
        }
    }
}
