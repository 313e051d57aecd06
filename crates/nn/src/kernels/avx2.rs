//! AVX2 with FMA: eight lanes, sixteen registers.

use std::arch::x86_64::*;

use super::simd::{Kernel, Simd};

/// x86-64 with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

#[target_feature(enable = "avx2,fma")]
unsafe fn enabled<K: Kernel>(kernel: K) {
    kernel.run::<Avx2>();
}

/// A tile needs a function of its own: inlined with its siblings into one large function, its accumulators are spilled.
/// `inline(never)` is honoured only without `target_feature`, hence the step in between, into which `enabled` cannot be
/// inlined because it needs more features.
#[inline(never)]
unsafe fn outlined<K: Kernel>(kernel: K) {
    enabled(kernel);
}

/// `MASKS[8 - n..]` selects the first `n` of eight lanes.
const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Simd for Avx2 {
    const LANES: usize = 8;
    const DOT_TILE: (usize, usize) = (3, 4);
    const OUTER_TILE: (usize, usize) = (4, 3);
    const CHANNEL_TILE: (usize, usize) = (2, 6);
    const WEIGHT_TILE: usize = 12;
    const ROW_TILE: (usize, usize) = (4, 3);

    type V = __m256;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        outlined(kernel);
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m256) {
        _mm256_storeu_ps(to, v);
    }
    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        _mm256_loadu_si256(MASKS.as_ptr().add(8 - count.min(8)).cast())
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __m256i) -> __m256 {
        _mm256_maskload_ps(from, mask)
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, v: __m256, mask: __m256i) {
        _mm256_maskstore_ps(to, mask, v);
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn where_positive(a: __m256, value: __m256) -> __m256 {
        _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, _mm256_setzero_ps()), value)
    }
    #[inline(always)]
    unsafe fn copy_sign(a: __m256, sign: __m256) -> __m256 {
        let bit = _mm256_set1_ps(-0.0);
        _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign))
    }
    #[inline(always)]
    unsafe fn power_of_two(biased: __m256) -> __m256 {
        let n = _mm256_add_epi32(_mm256_castps_si256(biased), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
    }

    #[inline(always)]
    unsafe fn store_sums(v: *const __m256, count: usize, to: *mut f32) {
        let mut start = 0;
        while start < count {
            let size = (count - start).min(8);
            let mut group = [_mm256_setzero_ps(); 8];
            for (i, group) in group.iter_mut().enumerate() {
                if i < size {
                    *group = *v.add(start + i);
                }
            }
            Self::store_masked(to.add(start), sums(&group), Self::first(size));
            start += size;
        }
    }
    #[inline(always)]
    unsafe fn store_columns(
        rows: *const __m256,
        count: usize,
        to: *mut f32,
        stride: isize,
        lanes: usize,
    ) {
        let mut block = [_mm256_setzero_ps(); 8];
        for (row, block) in block.iter_mut().enumerate() {
            if row < count {
                *block = *rows.add(row);
            }
        }
        let columns = transpose(&block);
        let mask = Self::first(count);
        for (lane, &column) in columns.iter().enumerate() {
            if lane < lanes {
                Self::store_masked(to.offset(lane as isize * stride), column, mask);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_windows(top: *const f32, bottom: *const f32, count: usize) -> [__m256; 4] {
        let [top_even, top_odd] = split(top, count);
        let [bottom_even, bottom_odd] = split(bottom, count);
        [top_even, top_odd, bottom_even, bottom_odd]
    }
    #[inline(always)]
    unsafe fn store_interleaved(to: *mut f32, even: __m256, odd: __m256, count: usize) {
        let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
        let (first, second) = (Self::first(2 * count), second_half(count));
        Self::store_masked(to, _mm256_permute2f128_ps::<0x20>(low, high), first);
        Self::store_masked(
            to.wrapping_add(8),
            _mm256_permute2f128_ps::<0x31>(low, high),
            second,
        );
    }
    #[inline(always)]
    unsafe fn select_above(a: __m256, b: __m256, then: __m256, otherwise: __m256) -> __m256 {
        let number = _mm256_cmp_ps::<_CMP_ORD_Q>(b, b);
        let above = _mm256_and_ps(number, _mm256_cmp_ps::<_CMP_NLE_UQ>(a, b));
        _mm256_blendv_ps(otherwise, then, above)
    }
    #[inline(always)]
    unsafe fn where_equal(a: __m256, b: __m256, value: __m256) -> __m256 {
        _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), value)
    }
    #[inline(always)]
    unsafe fn load_whole(from: *const u32, mask: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_maskload_epi32(from.cast(), mask))
    }
    #[inline(always)]
    unsafe fn store_whole(to: *mut u32, v: __m256, mask: __m256i) {
        _mm256_maskstore_epi32(to.cast(), mask, _mm256_cvttps_epi32(v));
    }
}

/// Which of the entries 8..16 belong to the first `2 * count`.
#[inline(always)]
unsafe fn second_half(count: usize) -> __m256i {
    Avx2::first((2 * count).saturating_sub(8))
}

/// Even and odd entries of `2 * count`.
#[inline(always)]
unsafe fn split(from: *const f32, count: usize) -> [__m256; 2] {
    let a = Avx2::load_masked(from, Avx2::first(2 * count));
    let b = Avx2::load_masked(from.wrapping_add(8), second_half(count));
    let (low, high) = (
        _mm256_permute2f128_ps::<0x20>(a, b),
        _mm256_permute2f128_ps::<0x31>(a, b),
    );
    [
        _mm256_shuffle_ps::<0x88>(low, high),
        _mm256_shuffle_ps::<0xdd>(low, high),
    ]
}

/// Lane `i` is the sum of the lanes of `v[i]`.
#[inline(always)]
unsafe fn sums(v: &[__m256; 8]) -> __m256 {
    let (a, b) = (halves(v[0], v[4]), halves(v[1], v[5]));
    let (c, d) = (halves(v[2], v[6]), halves(v[3], v[7]));
    pairs(pairs(a, c), pairs(b, d))
}

// Functions, not closures: only what is surely inlined is compiled with the instruction set.
#[inline(always)]
unsafe fn halves(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(
        _mm256_permute2f128_ps::<0x20>(a, b),
        _mm256_permute2f128_ps::<0x31>(a, b),
    )
}

#[inline(always)]
unsafe fn pairs(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
}

/// Columns of the 8 x 8 block.
#[inline(always)]
unsafe fn transpose(r: &[__m256; 8]) -> [__m256; 8] {
    let mut t = [_mm256_setzero_ps(); 8];
    for g in 0..2 {
        let a = _mm256_unpacklo_ps(r[4 * g], r[4 * g + 1]);
        let b = _mm256_unpackhi_ps(r[4 * g], r[4 * g + 1]);
        let c = _mm256_unpacklo_ps(r[4 * g + 2], r[4 * g + 3]);
        let d = _mm256_unpackhi_ps(r[4 * g + 2], r[4 * g + 3]);
        t[4 * g] = _mm256_shuffle_ps::<0x44>(a, c);
        t[4 * g + 1] = _mm256_shuffle_ps::<0xee>(a, c);
        t[4 * g + 2] = _mm256_shuffle_ps::<0x44>(b, d);
        t[4 * g + 3] = _mm256_shuffle_ps::<0xee>(b, d);
    }
    let mut out = [_mm256_setzero_ps(); 8];
    for c in 0..4 {
        out[c] = _mm256_permute2f128_ps::<0x20>(t[c], t[4 + c]);
        out[4 + c] = _mm256_permute2f128_ps::<0x31>(t[c], t[4 + c]);
    }
    out
}
