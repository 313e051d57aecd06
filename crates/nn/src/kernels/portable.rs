//! Plain Rust, in arrays of eight that the compiler turns into whatever vectors the target has.

use super::simd::{Kernel, Simd};

const LANES: usize = 8;

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Eight numbers.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(super) struct Lanes([f32; LANES]);

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(lane);
    }
    Lanes(out)
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const DOT_TILE: (usize, usize) = (2, 2);
    const OUTER_TILE: (usize, usize) = (4, 1);
    const CHANNEL_TILE: (usize, usize) = (1, 4);
    const WEIGHT_TILE: usize = 5;
    const ROW_TILE: (usize, usize) = (2, 3);

    type V = Lanes;
    type Mask = usize;

    #[inline]
    unsafe fn call<K: Kernel>(kernel: K) {
        kernel.run::<Portable>();
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Lanes {
        Lanes([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Lanes {
        Lanes(from.cast::<[f32; LANES]>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Lanes) {
        to.cast::<[f32; LANES]>().write_unaligned(v.0);
    }
    #[inline(always)]
    unsafe fn first(count: usize) -> usize {
        count.min(LANES)
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: usize) -> Lanes {
        let mut out = [0.0; LANES];
        std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), mask);
        Lanes(out)
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, v: Lanes, mask: usize) {
        std::ptr::copy_nonoverlapping(v.0.as_ptr(), to, mask);
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn add(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a.0[i] + b.0[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a.0[i] - b.0[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a.0[i] * b.0[i])
    }
    #[inline(always)]
    unsafe fn div(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a.0[i] / b.0[i])
    }
    // Not `f32::mul_add`: without the instruction it is a slow library call.
    #[inline(always)]
    unsafe fn fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        each(|i| a.0[i] * b.0[i] + c.0[i])
    }
    #[inline(always)]
    unsafe fn max(a: Lanes, b: Lanes) -> Lanes {
        each(|i| if a.0[i] > b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Lanes, b: Lanes) -> Lanes {
        each(|i| if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(a: Lanes, value: Lanes) -> Lanes {
        each(|i| if a.0[i] > 0.0 { value.0[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn copy_sign(a: Lanes, sign: Lanes) -> Lanes {
        each(|i| a.0[i].copysign(sign.0[i]))
    }
    #[inline(always)]
    unsafe fn power_of_two(biased: Lanes) -> Lanes {
        each(|i| f32::from_bits(biased.0[i].to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    unsafe fn store_sums(v: *const Lanes, count: usize, to: *mut f32) {
        for i in 0..count {
            let v = (*v.add(i)).0;
            *to.add(i) = ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
        }
    }
    #[inline(always)]
    unsafe fn store_columns(
        rows: *const Lanes,
        count: usize,
        to: *mut f32,
        stride: isize,
        lanes: usize,
    ) {
        for lane in 0..lanes {
            for row in 0..count {
                *to.offset(lane as isize * stride).add(row) = (*rows.add(row)).0[lane];
            }
        }
    }
    #[inline(always)]
    unsafe fn load_windows(top: *const f32, bottom: *const f32, count: usize) -> [Lanes; 4] {
        let mut out = [Lanes([0.0; LANES]); 4];
        for i in 0..count.min(LANES) {
            out[0].0[i] = *top.add(2 * i);
            out[1].0[i] = *top.add(2 * i + 1);
            out[2].0[i] = *bottom.add(2 * i);
            out[3].0[i] = *bottom.add(2 * i + 1);
        }
        out
    }
    #[inline(always)]
    unsafe fn store_interleaved(to: *mut f32, even: Lanes, odd: Lanes, count: usize) {
        for i in 0..count.min(LANES) {
            *to.add(2 * i) = even.0[i];
            *to.add(2 * i + 1) = odd.0[i];
        }
    }
    #[inline(always)]
    unsafe fn select_above(a: Lanes, b: Lanes, then: Lanes, otherwise: Lanes) -> Lanes {
        each(|i| {
            let above = a.0[i] > b.0[i] || (a.0[i].is_nan() && !b.0[i].is_nan());
            if above { then.0[i] } else { otherwise.0[i] }
        })
    }
    #[inline(always)]
    #[allow(clippy::float_cmp, reason = "whole numbers, which are exact")]
    unsafe fn where_equal(a: Lanes, b: Lanes, value: Lanes) -> Lanes {
        each(|i| if a.0[i] == b.0[i] { value.0[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load_whole(from: *const u32, mask: usize) -> Lanes {
        let mut out = [0.0; LANES];
        for (i, out) in out.iter_mut().enumerate().take(mask) {
            *out = *from.add(i) as f32;
        }
        Lanes(out)
    }
    #[inline(always)]
    unsafe fn store_whole(to: *mut u32, v: Lanes, mask: usize) {
        for i in 0..mask {
            *to.add(i) = v.0[i] as u32;
        }
    }
}
