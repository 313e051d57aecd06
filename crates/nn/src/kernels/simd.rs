//! Vectors of `f32` behind one small trait, so that each kernel is written once and compiled for every [`Level`].
//!
//! A kernel is a struct of its arguments with a generic `run`. All of `run` is inlined into a function that has the
//! instruction set switched on ([`Simd::call`]), which is what lets the intrinsics become single instructions.

use super::level::Level;
use super::portable::Portable;

#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// The vector operations of one instruction set.
///
/// # Safety
///
/// Every method may be called only where the processor has the instruction set, which is so inside a kernel that
/// [`run`] or [`Simd::call`] started. Pointers must be valid for the entries that a method names; they need no alignment.
pub(super) trait Simd: Copy {
    /// Entries of a vector.
    const LANES: usize;
    /// Tile of [`super::product::Dot`]: rows of the left side, rows of the right side.
    const DOT_TILE: (usize, usize);
    /// Tile of [`super::product::Outer`]: rows, vectors.
    const OUTER_TILE: (usize, usize);
    /// Vectors of output channels (1 or 2) and positions of a tile of the channel convolution.
    const CHANNEL_TILE: (usize, usize);
    /// Most accumulators of a tile of the gradient of a convolution's weight.
    const WEIGHT_TILE: usize;
    /// Rows and output channels of a tile of the row convolution.
    const ROW_TILE: (usize, usize);

    /// A vector of [`Simd::LANES`] numbers.
    type V: Copy;
    /// Which lanes take part.
    type Mask: Copy;

    /// Runs another kernel at the same level, as a function of its own where the compiler does not inline it.
    unsafe fn call<K: Kernel>(kernel: K);

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// The first `count` lanes, all of them where `count` is larger than a vector.
    unsafe fn first(count: usize) -> Self::Mask;
    /// Lanes outside the mask are 0 and their memory is not touched.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self::V;
    unsafe fn store_masked(to: *mut f32, v: Self::V, mask: Self::Mask);

    /// Asks for the cache line of an address, which need not be valid.
    unsafe fn prefetch(from: *const f32);

    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `value` where `a > 0`, else 0.
    unsafe fn where_positive(a: Self::V, value: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `sign`.
    unsafe fn copy_sign(a: Self::V, sign: Self::V) -> Self::V;
    /// `2^n` for the whole number `n` in the low bits of `1.5 * 2^23 + n`, `-126 <= n <= 127`.
    unsafe fn power_of_two(biased: Self::V) -> Self::V;

    /// `to[i]` becomes the sum of the lanes of `v[i]`, for `i < count`.
    unsafe fn store_sums(v: *const Self::V, count: usize, to: *mut f32);
    /// Transposes: `to[lane * stride + row] = rows[row][lane]` for `row < count` (at most [`Simd::LANES`]) and
    /// `lane < lanes`.
    unsafe fn store_columns(
        rows: *const Self::V,
        count: usize,
        to: *mut f32,
        stride: isize,
        lanes: usize,
    );
    /// Even and odd columns of `2 * count` entries of two rows, `count` at most [`Simd::LANES`]:
    /// `[top even, top odd, bottom even, bottom odd]`.
    unsafe fn load_windows(top: *const f32, bottom: *const f32, count: usize) -> [Self::V; 4];
    /// The reverse for one row: stores `even[0], odd[0], even[1], odd[1], ...`, `2 * count` entries.
    unsafe fn store_interleaved(to: *mut f32, even: Self::V, odd: Self::V, count: usize);
    /// `then` where `a > b` or `a` alone is NaN, else `otherwise`.
    unsafe fn select_above(a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// `value` where `a == b`, else 0.
    unsafe fn where_equal(a: Self::V, b: Self::V, value: Self::V) -> Self::V;
    /// Whole numbers below 2^31, as vectors of `f32`.
    unsafe fn load_whole(from: *const u32, mask: Self::Mask) -> Self::V;
    unsafe fn store_whole(to: *mut u32, v: Self::V, mask: Self::Mask);
}

/// A kernel: its arguments, and what is done with them at any level.
pub(super) trait Kernel {
    /// Does the work.
    ///
    /// # Safety
    ///
    /// The instruction set of `S` must be there, and the pointers among the arguments must be valid as the kernel's own
    /// documentation says.
    unsafe fn run<S: Simd>(self);
}

/// Runs a kernel at the level in force.
///
/// # Safety
///
/// The pointers among the kernel's arguments must be valid as its own documentation says.
#[inline]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    match Level::current() {
        // SAFETY: `Level::current` never exceeds what the processor was found to have.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { Avx512::call(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { Avx2::call(kernel) },
        // SAFETY: plain Rust runs anywhere.
        _ => unsafe { Portable::call(kernel) },
    }
}

/// Splits `length` into the fewest parts of at most `limit`, as equal as can be, and calls `visit(start, size)`.
#[inline(always)]
pub(super) fn balanced(length: usize, limit: usize, mut visit: impl FnMut(usize, usize)) {
    let parts = length.div_ceil(limit);
    let mut start = 0;
    for part in 0..parts {
        let size = (length - start).div_ceil(parts - part);
        visit(start, size);
        start += size;
    }
}

/// The product, or the largest number where it would overflow: no slice is that long, so a check against it fails.
pub(super) fn product(factors: &[usize]) -> usize {
    if factors.contains(&0) {
        return 0;
    }
    factors.iter().fold(1, |p, &f| p.saturating_mul(f))
}
