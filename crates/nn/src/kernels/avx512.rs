//! AVX-512F: sixteen lanes, thirty-two registers.

use std::arch::x86_64::*;

use super::simd::{Kernel, Simd};

/// x86-64 with AVX-512F.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn enabled<K: Kernel>(kernel: K) {
    kernel.run::<Avx512>();
}

/// A tile needs a function of its own: inlined with its siblings into one large function, its accumulators are spilled.
/// `inline(never)` is honoured only without `target_feature`, hence the step in between, into which `enabled` cannot be
/// inlined because it needs more features.
#[inline(never)]
unsafe fn outlined<K: Kernel>(kernel: K) {
    enabled(kernel);
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const DOT_TILE: (usize, usize) = (5, 5);
    const OUTER_TILE: (usize, usize) = (6, 4);
    const CHANNEL_TILE: (usize, usize) = (2, 14);
    const WEIGHT_TILE: usize = 25;
    const ROW_TILE: (usize, usize) = (4, 6);

    type V = __m512;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        outlined(kernel);
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        _mm512_storeu_ps(to, v);
    }
    #[inline(always)]
    unsafe fn first(count: usize) -> __mmask16 {
        ((1u32 << count.min(16)) - 1) as __mmask16
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
        _mm512_maskz_loadu_ps(mask, from)
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, v: __m512, mask: __mmask16) {
        _mm512_mask_storeu_ps(to, mask, v);
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn where_positive(a: __m512, value: __m512) -> __m512 {
        let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, _mm512_setzero_ps());
        _mm512_maskz_mov_ps(positive, value)
    }
    #[inline(always)]
    unsafe fn copy_sign(a: __m512, sign: __m512) -> __m512 {
        let bit = _mm512_set1_epi32(i32::MIN);
        // 0xd8: the third operand's bits where the second's are set, else the first's.
        let bits = _mm512_ternarylogic_epi32::<0xd8>(
            _mm512_castps_si512(a),
            _mm512_castps_si512(sign),
            bit,
        );
        _mm512_castsi512_ps(bits)
    }
    #[inline(always)]
    unsafe fn power_of_two(biased: __m512) -> __m512 {
        let n = _mm512_add_epi32(_mm512_castps_si512(biased), _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
    }

    #[inline(always)]
    unsafe fn store_sums(v: *const __m512, count: usize, to: *mut f32) {
        let mut start = 0;
        while start < count {
            let size = (count - start).min(16);
            let mut group = [_mm512_setzero_ps(); 16];
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
        rows: *const __m512,
        count: usize,
        to: *mut f32,
        stride: isize,
        lanes: usize,
    ) {
        let mut block = [_mm512_setzero_ps(); 16];
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
    unsafe fn load_windows(top: *const f32, bottom: *const f32, count: usize) -> [__m512; 4] {
        let [top_even, top_odd] = split(top, count);
        let [bottom_even, bottom_odd] = split(bottom, count);
        [top_even, top_odd, bottom_even, bottom_odd]
    }
    #[inline(always)]
    unsafe fn store_interleaved(to: *mut f32, even: __m512, odd: __m512, count: usize) {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        let (first, second) = (Self::first(2 * count), second_half(count));
        Self::store_masked(to, _mm512_permutex2var_ps(even, low, odd), first);
        Self::store_masked(
            to.wrapping_add(16),
            _mm512_permutex2var_ps(even, high, odd),
            second,
        );
    }
    #[inline(always)]
    unsafe fn select_above(a: __m512, b: __m512, then: __m512, otherwise: __m512) -> __m512 {
        let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(b, b);
        let above = _mm512_mask_cmp_ps_mask::<_CMP_NLE_UQ>(number, a, b);
        _mm512_mask_blend_ps(above, otherwise, then)
    }
    #[inline(always)]
    unsafe fn where_equal(a: __m512, b: __m512, value: __m512) -> __m512 {
        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), value)
    }
    #[inline(always)]
    unsafe fn load_whole(from: *const u32, mask: __mmask16) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, from.cast()))
    }
    #[inline(always)]
    unsafe fn store_whole(to: *mut u32, v: __m512, mask: __mmask16) {
        _mm512_mask_storeu_epi32(to.cast(), mask, _mm512_cvttps_epi32(v));
    }
}

/// Which of the entries 16..32 belong to the first `2 * count`.
#[inline(always)]
unsafe fn second_half(count: usize) -> __mmask16 {
    Avx512::first((2 * count).saturating_sub(16))
}

/// Even and odd entries of `2 * count`.
#[inline(always)]
unsafe fn split(from: *const f32, count: usize) -> [__m512; 2] {
    let a = Avx512::load_masked(from, Avx512::first(2 * count));
    let b = Avx512::load_masked(from.wrapping_add(16), second_half(count));
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    [
        _mm512_permutex2var_ps(a, even, b),
        _mm512_permutex2var_ps(a, odd, b),
    ]
}

/// Lane `i` is the sum of the lanes of `v[i]`: each step adds halves of two vectors into one.
#[inline(always)]
unsafe fn sums(v: &[__m512; 16]) -> __m512 {
    let a = quarters(halves(v[0], v[4]), halves(v[8], v[12]));
    let b = quarters(halves(v[1], v[5]), halves(v[9], v[13]));
    let c = quarters(halves(v[2], v[6]), halves(v[10], v[14]));
    let d = quarters(halves(v[3], v[7]), halves(v[11], v[15]));
    pairs(pairs(a, c), pairs(b, d))
}

// Functions, not closures: only what is surely inlined is compiled with the instruction set.
#[inline(always)]
unsafe fn halves(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(
        _mm512_shuffle_f32x4::<0x44>(a, b),
        _mm512_shuffle_f32x4::<0xee>(a, b),
    )
}

#[inline(always)]
unsafe fn quarters(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(
        _mm512_shuffle_f32x4::<0x88>(a, b),
        _mm512_shuffle_f32x4::<0xdd>(a, b),
    )
}

#[inline(always)]
unsafe fn pairs(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b))
}

/// Columns of the 16 x 16 block.
#[inline(always)]
unsafe fn transpose(r: &[__m512; 16]) -> [__m512; 16] {
    // Within 128-bit lanes, 4 x 4 blocks: t[4 g + c] holds column c of each lane, for the rows 4 g..4 g + 4.
    let mut t = [_mm512_setzero_ps(); 16];
    for g in 0..4 {
        let a = _mm512_unpacklo_ps(r[4 * g], r[4 * g + 1]);
        let b = _mm512_unpackhi_ps(r[4 * g], r[4 * g + 1]);
        let c = _mm512_unpacklo_ps(r[4 * g + 2], r[4 * g + 3]);
        let d = _mm512_unpackhi_ps(r[4 * g + 2], r[4 * g + 3]);
        t[4 * g] = _mm512_shuffle_ps::<0x44>(a, c);
        t[4 * g + 1] = _mm512_shuffle_ps::<0xee>(a, c);
        t[4 * g + 2] = _mm512_shuffle_ps::<0x44>(b, d);
        t[4 * g + 3] = _mm512_shuffle_ps::<0xee>(b, d);
    }
    // Then the 4 x 4 arrangement of lanes: column 4 lane + c takes lane `lane` of t[c], t[4 + c], t[8 + c], t[12 + c].
    let mut out = [_mm512_setzero_ps(); 16];
    for c in 0..4 {
        let a = _mm512_shuffle_f32x4::<0x44>(t[c], t[4 + c]);
        let b = _mm512_shuffle_f32x4::<0xee>(t[c], t[4 + c]);
        let d = _mm512_shuffle_f32x4::<0x44>(t[8 + c], t[12 + c]);
        let e = _mm512_shuffle_f32x4::<0xee>(t[8 + c], t[12 + c]);
        out[c] = _mm512_shuffle_f32x4::<0x88>(a, d);
        out[4 + c] = _mm512_shuffle_f32x4::<0xdd>(a, d);
        out[8 + c] = _mm512_shuffle_f32x4::<0x88>(b, e);
        out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(b, e);
    }
    out
}
