//! Pools over windows of 2 x 2 with stride 2. An odd last row or column is left out, as in PyTorch.

use super::simd::{Kernel, Simd, product, run};

/// The largest entry of each window. `argmax` receives its index *within its plane* (`0..height * width`); among equals
/// the first in row-major order wins, and NaN wins over numbers.
///
/// Shapes: `x` `[planes, height, width]`, `y` and `argmax` `[planes, height / 2, width / 2]`. A plane has at most 2^24
/// entries.
pub fn max_pool2(
    x: &[f32],
    y: &mut [f32],
    argmax: &mut [u32],
    planes: usize,
    height: usize,
    width: usize,
) {
    let shape = Planes::new(x.len(), y.len(), planes, height, width);
    assert_eq!(argmax.len(), y.len(), "argmax has the length of y");
    assert!(
        height.saturating_mul(width) <= 1 << 24,
        "a plane has at most 2^24 entries"
    );
    let (x, y, argmax) = (x.as_ptr(), y.as_mut_ptr(), argmax.as_mut_ptr());
    // SAFETY: the lengths were checked.
    unsafe {
        run(MaxForward {
            shape,
            x,
            y,
            argmax,
        })
    }
}

/// Sends each entry of `dy` back to the entry that `argmax` names; every other entry of `dx` becomes 0.
///
/// Shapes: `dy` and `argmax` `[planes, height / 2, width / 2]`, `dx` `[planes, height, width]`.
pub fn max_pool2_backward(
    dy: &[f32],
    argmax: &[u32],
    dx: &mut [f32],
    planes: usize,
    height: usize,
    width: usize,
) {
    let shape = Planes::new(dx.len(), dy.len(), planes, height, width);
    assert_eq!(argmax.len(), dy.len(), "argmax has the length of dy");
    let (dy, argmax, dx) = (dy.as_ptr(), argmax.as_ptr(), dx.as_mut_ptr());
    // SAFETY: the lengths were checked; entries of `argmax` are compared, never used as an address.
    unsafe {
        run(MaxBackward {
            shape,
            dy,
            argmax,
            dx,
        })
    }
}

/// The entry of `x` that `argmax` names for each window, of either max pool: what the pool does to a tangent.
///
/// Shapes: `x` `[planes, plane]`, `y` and `argmax` `[planes, windows]`.
///
/// # Panics
/// When a length does not fit, or `argmax` names no entry of its plane.
pub fn max_pool_gather(x: &[f32], argmax: &[u32], y: &mut [f32], planes: usize) {
    assert_eq!(argmax.len(), y.len(), "argmax has the length of y");
    if planes == 0 || x.is_empty() || y.is_empty() {
        assert!(y.is_empty(), "windows of nothing");
        return;
    }
    let (plane, windows) = (x.len() / planes, y.len() / planes);
    assert_eq!(x.len(), product(&[planes, plane]), "x is [planes, plane]");
    assert_eq!(
        y.len(),
        product(&[planes, windows]),
        "y is [planes, windows]"
    );
    let pooled = y
        .chunks_exact_mut(windows)
        .zip(argmax.chunks_exact(windows));
    for (x, (y, argmax)) in x.chunks_exact(plane).zip(pooled) {
        for (y, &index) in y.iter_mut().zip(argmax) {
            *y = x[index as usize];
        }
    }
}

/// The mean of each window.
///
/// Shapes: `x` `[planes, height, width]`, `y` `[planes, height / 2, width / 2]`.
pub fn avg_pool2(x: &[f32], y: &mut [f32], planes: usize, height: usize, width: usize) {
    let shape = Planes::new(x.len(), y.len(), planes, height, width);
    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
    // SAFETY: the lengths were checked.
    unsafe { run(MeanForward { shape, x, y }) }
}

/// Spreads each entry of `dy` evenly over its window; entries outside any window become 0.
///
/// Shapes: `dy` `[planes, height / 2, width / 2]`, `dx` `[planes, height, width]`.
pub fn avg_pool2_backward(dy: &[f32], dx: &mut [f32], planes: usize, height: usize, width: usize) {
    let shape = Planes::new(dx.len(), dy.len(), planes, height, width);
    let (dy, dx) = (dy.as_ptr(), dx.as_mut_ptr());
    // SAFETY: the lengths were checked.
    unsafe { run(MeanBackward { shape, dy, dx }) }
}

/// The shape of the side that is pooled.
#[derive(Clone, Copy)]
struct Planes {
    planes: usize,
    height: usize,
    width: usize,
}

/// A vector of windows: where they lie.
struct Windows {
    /// Offset of the first window's first entry, on the full side.
    full: usize,
    /// The same within its plane.
    in_plane: usize,
    /// Offset of the first window on the pooled side.
    pooled: usize,
    /// How many windows there are, at most a vector.
    count: usize,
}

impl Planes {
    fn new(full: usize, pooled: usize, planes: usize, height: usize, width: usize) -> Self {
        assert_eq!(
            full,
            product(&[planes, height, width]),
            "the full side is [planes, height, width]"
        );
        assert_eq!(
            pooled,
            product(&[planes, height / 2, width / 2]),
            "the pooled side is [planes, height / 2, width / 2]"
        );
        Planes {
            planes,
            height,
            width,
        }
    }

    /// Calls `visit` for all windows, at most `lanes` at a time.
    #[inline(always)]
    fn each(&self, lanes: usize, mut visit: impl FnMut(Windows)) {
        let (rows, columns) = (self.height / 2, self.width / 2);
        for plane in 0..self.planes {
            for row in 0..rows {
                let mut column = 0;
                while column < columns {
                    let in_plane = 2 * row * self.width + 2 * column;
                    visit(Windows {
                        full: plane * self.height * self.width + in_plane,
                        in_plane,
                        pooled: (plane * rows + row) * columns + column,
                        count: lanes.min(columns - column),
                    });
                    column += lanes;
                }
            }
        }
    }

    /// Sets the odd last row and column of each plane of `dx` to 0.
    ///
    /// # Safety
    ///
    /// `dx` is `[planes, height, width]`.
    #[inline(always)]
    unsafe fn clear_rest(&self, dx: *mut f32) {
        let (height, width) = (self.height, self.width);
        for plane in 0..self.planes {
            let dx = dx.add(plane * height * width);
            if height % 2 == 1 {
                dx.add((height - 1) * width).write_bytes(0, width);
            }
            if width % 2 == 1 {
                for row in 0..height {
                    *dx.add(row * width + width - 1) = 0.0;
                }
            }
        }
    }
}

struct MaxForward {
    shape: Planes,
    x: *const f32,
    y: *mut f32,
    argmax: *mut u32,
}

impl Kernel for MaxForward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.shape.width;
        let offsets = corner_offsets::<S>(width);
        self.shape.each(S::LANES, |at| {
            let top = self.x.add(at.full);
            let corners = S::load_windows(top, top.add(width), at.count);
            let (mut best, mut index) = (corners[0], offsets[0]);
            for corner in 1..4 {
                index = S::select_above(corners[corner], best, offsets[corner], index);
                best = S::select_above(corners[corner], best, corners[corner], best);
            }
            let mask = S::first(at.count);
            S::store_masked(self.y.add(at.pooled), best, mask);
            let index = S::add(index, S::splat(at.in_plane as f32));
            S::store_whole(self.argmax.add(at.pooled), index, mask);
        });
    }
}

struct MaxBackward {
    shape: Planes,
    dy: *const f32,
    argmax: *const u32,
    dx: *mut f32,
}

impl Kernel for MaxBackward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.shape.width;
        let offsets = corner_offsets::<S>(width);
        self.shape.each(S::LANES, |at| {
            let mask = S::first(at.count);
            let dy = S::load_masked(self.dy.add(at.pooled), mask);
            let index = S::load_whole(self.argmax.add(at.pooled), mask);
            let index = S::sub(index, S::splat(at.in_plane as f32));
            let dx = self.dx.add(at.full);
            let a = S::where_equal(index, offsets[0], dy);
            let b = S::where_equal(index, offsets[1], dy);
            let c = S::where_equal(index, offsets[2], dy);
            let d = S::where_equal(index, offsets[3], dy);
            S::store_interleaved(dx, a, b, at.count);
            S::store_interleaved(dx.add(width), c, d, at.count);
        });
        self.shape.clear_rest(self.dx);
    }
}

/// Offsets of the four entries of each window of a vector, from the first window's first entry.
#[inline(always)]
unsafe fn corner_offsets<S: Simd>(width: usize) -> [S::V; 4] {
    let mut even = [0.0f32; 16];
    for (i, even) in even.iter_mut().enumerate() {
        *even = 2.0 * i as f32;
    }
    let first = S::load(even.as_ptr());
    let shifted = |by: usize| by as f32;
    [
        first,
        S::add(first, S::splat(shifted(1))),
        S::add(first, S::splat(shifted(width))),
        S::add(first, S::splat(shifted(width + 1))),
    ]
}

struct MeanForward {
    shape: Planes,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for MeanForward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let quarter = S::splat(0.25);
        self.shape.each(S::LANES, |at| {
            let top = self.x.add(at.full);
            let [a, b, c, d] = S::load_windows(top, top.add(self.shape.width), at.count);
            let mean = S::mul(quarter, S::add(S::add(a, b), S::add(c, d)));
            S::store_masked(self.y.add(at.pooled), mean, S::first(at.count));
        });
    }
}

struct MeanBackward {
    shape: Planes,
    dy: *const f32,
    dx: *mut f32,
}

impl Kernel for MeanBackward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let quarter = S::splat(0.25);
        self.shape.each(S::LANES, |at| {
            let dy = S::load_masked(self.dy.add(at.pooled), S::first(at.count));
            let dy = S::mul(quarter, dy);
            let dx = self.dx.add(at.full);
            S::store_interleaved(dx, dy, dy, at.count);
            S::store_interleaved(dx.add(self.shape.width), dy, dy, at.count);
        });
        self.shape.clear_rest(self.dx);
    }
}
