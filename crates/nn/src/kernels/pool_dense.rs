//! Maximum over windows of 2 x 2 with stride 1, which overlap.

use super::simd::{Kernel, Simd, product, run};

/// The largest entry of each window. `argmax` receives its index *within its plane* (`0..height * width`); among equals
/// the first in row-major order wins, and NaN wins over numbers.
///
/// Shapes: `x` `[planes, height, width]`, `y` and `argmax` `[planes, height - 1, width - 1]`. A plane has at most 2^24
/// entries.
pub fn max_pool2_dense(
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
        run(Forward {
            shape,
            x,
            y,
            argmax,
        })
    }
}

/// Adds each entry of `dy` to the entry of `dx` that `argmax` names; what no window names becomes 0.
///
/// Shapes: `dy` and `argmax` `[planes, height - 1, width - 1]`, `dx` `[planes, height, width]`.
pub fn max_pool2_dense_backward(
    dy: &[f32],
    argmax: &[u32],
    dx: &mut [f32],
    planes: usize,
    height: usize,
    width: usize,
) {
    let shape = Planes::new(dx.len(), dy.len(), planes, height, width);
    assert_eq!(argmax.len(), dy.len(), "argmax has the length of dy");
    dx.fill(0.0);
    let (dy, argmax, dx) = (dy.as_ptr(), argmax.as_ptr(), dx.as_mut_ptr());
    // SAFETY: the lengths were checked; entries of `argmax` are compared, never used as an address.
    unsafe {
        run(Backward {
            shape,
            dy,
            argmax,
            dx,
        })
    }
}

/// The shape of the side that is pooled.
#[derive(Clone, Copy)]
struct Planes {
    planes: usize,
    height: usize,
    width: usize,
}

/// A vector of windows of one row: where they lie.
struct Windows {
    /// Offset of the first window's first entry, on the full side.
    full: usize,
    /// The same within its plane.
    in_plane: usize,
    /// Offset of the first window on the pooled side.
    pooled: usize,
    /// How many windows there are; more than a vector are cut off by the mask.
    count: usize,
}

impl Planes {
    fn new(full: usize, pooled: usize, planes: usize, height: usize, width: usize) -> Self {
        assert_eq!(
            full,
            product(&[planes, height, width]),
            "the full side is [planes, height, width]"
        );
        let (rows, columns) = (height.saturating_sub(1), width.saturating_sub(1));
        assert_eq!(
            pooled,
            product(&[planes, rows, columns]),
            "the pooled side is [planes, height - 1, width - 1]"
        );
        Planes {
            planes,
            height,
            width,
        }
    }

    /// Calls `visit` for each row of windows of each plane: the plane and the row.
    #[inline(always)]
    fn each_row(&self, mut visit: impl FnMut(usize, usize)) {
        for plane in 0..self.planes {
            for row in 0..self.height.saturating_sub(1) {
                visit(plane, row);
            }
        }
    }

    /// Calls `visit` for all windows of a row, at most `lanes` at a time.
    #[inline(always)]
    fn each(&self, plane: usize, row: usize, lanes: usize, mut visit: impl FnMut(Windows)) {
        let (rows, columns) = (self.height - 1, self.width.saturating_sub(1));
        let mut column = 0;
        while column < columns {
            let in_plane = row * self.width + column;
            visit(Windows {
                full: plane * self.height * self.width + in_plane,
                in_plane,
                pooled: (plane * rows + row) * columns + column,
                count: columns - column,
            });
            column += lanes;
        }
    }
}

/// Index of the first entry of each window of a vector, from the first window's.
#[inline(always)]
unsafe fn lane_numbers<S: Simd>() -> S::V {
    let mut numbers = [0.0f32; 16];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = i as f32;
    }
    S::load(numbers.as_ptr())
}

struct Forward {
    shape: Planes,
    x: *const f32,
    y: *mut f32,
    argmax: *mut u32,
}

impl Kernel for Forward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.shape.width;
        let lanes = lane_numbers::<S>();
        let corners = [0, 1, width, width + 1];
        self.shape.each_row(|plane, row| {
            self.shape.each(plane, row, S::LANES, |at| {
                let mask = S::first(at.count);
                let x = self.x.add(at.full);
                let first = S::add(lanes, S::splat(at.in_plane as f32));
                let (mut best, mut index) = (S::load_masked(x, mask), first);
                for corner in &corners[1..] {
                    let value = S::load_masked(x.add(*corner), mask);
                    let place = S::add(first, S::splat(*corner as f32));
                    index = S::select_above(value, best, place, index);
                    best = S::select_above(value, best, value, best);
                }
                S::store_masked(self.y.add(at.pooled), best, mask);
                S::store_whole(self.argmax.add(at.pooled), index, mask);
            });
        });
    }
}

struct Backward {
    shape: Planes,
    dy: *const f32,
    argmax: *const u32,
    dx: *mut f32,
}

impl Kernel for Backward {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.shape.width;
        let lanes = lane_numbers::<S>();
        self.shape.each_row(|plane, row| {
            // One corner of all windows of the row after the other: the same corners of different windows do not overlap.
            for corner in [0, 1, width, width + 1] {
                self.shape.each(plane, row, S::LANES, |at| {
                    let mask = S::first(at.count);
                    let index = S::load_whole(self.argmax.add(at.pooled), mask);
                    let place = S::add(lanes, S::splat((at.in_plane + corner) as f32));
                    let dy = S::load_masked(self.dy.add(at.pooled), mask);
                    let to = self.dx.add(at.full + corner);
                    let sum = S::add(S::load_masked(to, mask), S::where_equal(index, place, dy));
                    S::store_masked(to, sum, mask);
                });
            }
        });
    }
}
