//! The inner product of long vectors, for objectives on gradients.

use super::simd::{Kernel, Simd, run};

/// Entries summed in `f32` before the sum goes on in `f64`.
const BLOCK: usize = 512;

/// `sum_i a_i b_i`: products and short sums in `f32`, long sums in `f64`. Within `4e-6` of the sum of the products'
/// magnitudes.
///
/// # Panics
/// When the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "both sides are of one length");
    let mut sum = 0.0;
    // SAFETY: both slices have `len` entries, and `sum` is borrowed alone.
    unsafe {
        run(Product {
            a: a.as_ptr(),
            b: b.as_ptr(),
            len: a.len(),
            sum: &raw mut sum,
        });
    }
    sum
}

/// Pointers: `a` and `b` of `len` entries, `sum` of one.
struct Product {
    a: *const f32,
    b: *const f32,
    len: usize,
    sum: *mut f64,
}

impl Kernel for Product {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut total = 0.0;
        let mut start = 0;
        while start < self.len {
            let end = self.len.min(start + BLOCK);
            let mut acc = [S::splat(0.0); 4];
            let mut at = start;
            while at + 4 * S::LANES <= end {
                for (i, acc) in acc.iter_mut().enumerate() {
                    let place = at + i * S::LANES;
                    *acc = S::fma(S::load(self.a.add(place)), S::load(self.b.add(place)), *acc);
                }
                at += 4 * S::LANES;
            }
            while at < end {
                let mask = S::first(end - at);
                let (a, b) = (self.a.add(at), self.b.add(at));
                acc[0] = S::fma(S::load_masked(a, mask), S::load_masked(b, mask), acc[0]);
                at += S::LANES;
            }
            let sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
            let mut block = 0.0;
            S::store_sums(&raw const sum, 1, &raw mut block);
            total += f64::from(block);
            start = end;
        }
        *self.sum = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Level, with_level};

    #[test]
    fn products_of_odd_lengths() {
        for len in [0, 1, 7, 31, 64, 513, 5000] {
            let a: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..len).map(|i| (i as f32 * 0.11).cos()).collect();
            let products = || a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let magnitude: f64 = products().map(f64::abs).sum();
            for &level in Level::supported() {
                let got = with_level(level, || dot(&a, &b));
                assert!((got - products().sum::<f64>()).abs() <= 4e-6 * magnitude);
            }
        }
    }
}
