//! Matrix products in register tiles, without packing: the operands of a training step are used too few times to repay a
//! copy.

use super::simd::{Kernel, Simd, balanced};

/// `y = x w^T + b`, as inner products along the rows of both sides; with two terms `y = x[0] w[0]^T + x[1] w[1]^T + b`.
///
/// Pointers: `x` `[n, inputs]`, `w` `[outputs, inputs]`, `b` `[outputs]`, `y` `[n, outputs]`; `y` overlaps nothing. Of `x` and
/// `w` the first `terms` are read, 1 or 2 of them.
#[derive(Clone, Copy)]
pub(super) struct Dot {
    pub(super) x: [*const f32; 2],
    pub(super) w: [*const f32; 2],
    pub(super) terms: usize,
    pub(super) b: *const f32,
    pub(super) y: *mut f32,
    pub(super) n: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Both pointers moved on by as many entries.
#[inline(always)]
fn shifted(pointers: [*const f32; 2], by: usize) -> [*const f32; 2] {
    [pointers[0].wrapping_add(by), pointers[1].wrapping_add(by)]
}

impl Kernel for Dot {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, columns) = S::DOT_TILE;
        // Outer loop over weights: each is read from memory once, while the rows of x stay near.
        balanced(self.outputs, columns, |o, width| {
            balanced(self.n, rows, |i, height| {
                let tile = Dot {
                    x: shifted(self.x, i * self.inputs),
                    w: shifted(self.w, o * self.inputs),
                    b: self.b.add(o),
                    y: self.y.add(i * self.outputs + o),
                    ..self
                };
                match height {
                    1 => tile.columns::<S, 1>(width),
                    2 => tile.columns::<S, 2>(width),
                    3 => tile.columns::<S, 3>(width),
                    4 => tile.columns::<S, 4>(width),
                    _ => tile.columns::<S, 5>(width),
                }
            });
        });
    }
}

impl Dot {
    #[inline(always)]
    unsafe fn columns<S: Simd, const M: usize>(self, width: usize) {
        if const { M > S::DOT_TILE.0 } {
            return;
        }
        match width {
            1 => S::call(DotTile::<M, 1>(self)),
            2 => S::call(DotTile::<M, 2>(self)),
            3 => S::call(DotTile::<M, 3>(self)),
            4 => S::call(DotTile::<M, 4>(self)),
            _ => S::call(DotTile::<M, 5>(self)),
        }
    }
}

/// `M` rows of `x` times `N` rows of `w`.
struct DotTile<const M: usize, const N: usize>(Dot);

impl<const M: usize, const N: usize> Kernel for DotTile<M, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { M > S::DOT_TILE.0 || N > S::DOT_TILE.1 } {
            return;
        }
        let Dot { x, w, b, y, .. } = self.0;
        let (inputs, outputs) = (self.0.inputs, self.0.outputs);
        let mut acc = [[S::splat(0.0); N]; M];
        let whole = inputs / S::LANES * S::LANES;
        for term in 0..self.0.terms {
            let (x, w) = (x[term], w[term]);
            let mut k = 0;
            while k < whole {
                let mut left = [S::splat(0.0); M];
                for i in 0..M {
                    left[i] = S::load(x.add(i * inputs + k));
                }
                for j in 0..N {
                    let right = S::load(w.add(j * inputs + k));
                    for i in 0..M {
                        acc[i][j] = S::fma(left[i], right, acc[i][j]);
                    }
                }
                k += S::LANES;
            }
            if k < inputs {
                let mask = S::first(inputs - k);
                let mut left = [S::splat(0.0); M];
                for i in 0..M {
                    left[i] = S::load_masked(x.add(i * inputs + k), mask);
                }
                for j in 0..N {
                    let right = S::load_masked(w.add(j * inputs + k), mask);
                    for i in 0..M {
                        acc[i][j] = S::fma(left[i], right, acc[i][j]);
                    }
                }
            }
        }
        let mut sums = [[0.0f32; N]; M];
        // A copy, so that the accumulators themselves have no address and stay in registers.
        let spilled = acc;
        S::store_sums(spilled.as_ptr().cast(), M * N, sums.as_mut_ptr().cast());
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                *y.add(i * outputs + j) = sum + *b.add(j);
            }
        }
    }
}

/// `c = a b`, as sums of outer products: entries of `a` are broadcast over row vectors of `b`. With two terms
/// `c = a[0] b[0] + a[1] b[1]`.
///
/// Pointers: `a` has `rows x depth` entries at `a[row * a_row + k * a_depth]`; `b` is `[depth, columns]` and `c`
/// `[rows, columns]`, both row-major; `c` overlaps nothing. Of `a` and `b` the first `terms` are read, 1 or 2 of them.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    pub(super) a: [*const f32; 2],
    pub(super) a_row: usize,
    pub(super) a_depth: usize,
    pub(super) b: [*const f32; 2],
    pub(super) terms: usize,
    pub(super) c: *mut f32,
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// `b` is large and read once: fetch its rows ahead, since the processor does not foresee jumps beyond a page.
    pub(super) far: bool,
}

impl Kernel for Outer {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, vectors) = S::OUTER_TILE;
        // Columns in blocks whose part of `b` stays in the second-level cache, and within a block row after row of `c`,
        // so that `c` is written in long stretches.
        let block = (BLOCK / self.depth.max(1)).max(vectors * S::LANES);
        balanced(
            self.columns.div_ceil(S::LANES),
            block / S::LANES,
            |start, width| {
                balanced(self.rows, rows, |i, height| {
                    balanced(width, vectors, |v, width| {
                        let column = (start + v) * S::LANES;
                        let tile = Outer {
                            a: shifted(self.a, i * self.a_row),
                            b: shifted(self.b, column),
                            c: self.c.add(i * self.columns + column),
                            ..self
                        };
                        let valid = self.columns - column;
                        match height {
                            1 => tile.vectors::<S, 1>(width, valid),
                            2 => tile.vectors::<S, 2>(width, valid),
                            3 => tile.vectors::<S, 3>(width, valid),
                            4 => tile.vectors::<S, 4>(width, valid),
                            5 => tile.vectors::<S, 5>(width, valid),
                            _ => tile.vectors::<S, 6>(width, valid),
                        }
                    });
                });
            },
        );
    }
}

/// Rows of the right side of [`Outer`] between use and fetching.
const AHEAD: usize = 8;

/// Entries of the right side of [`Outer`] that are worked through before the next row tile: 256 KiB.
const BLOCK: usize = 1 << 16;

impl Outer {
    #[inline(always)]
    unsafe fn vectors<S: Simd, const M: usize>(self, width: usize, valid: usize) {
        match width {
            1 => S::call(OuterTile::<M, 1>(self, valid)),
            2 => S::call(OuterTile::<M, 2>(self, valid)),
            3 => S::call(OuterTile::<M, 3>(self, valid)),
            _ => S::call(OuterTile::<M, 4>(self, valid)),
        }
    }
}

/// `M` rows of `N` vectors, of which the first `self.1` columns exist.
struct OuterTile<const M: usize, const N: usize>(Outer, usize);

impl<const M: usize, const N: usize> Kernel for OuterTile<M, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { M > S::OUTER_TILE.0 || N > S::OUTER_TILE.1 } {
            return;
        }
        match (self.1 >= N * S::LANES, self.0.far) {
            (true, true) => self.tile::<S, true, true>(),
            (true, false) => self.tile::<S, true, false>(),
            (false, _) => self.tile::<S, false, false>(),
        }
    }
}

impl<const M: usize, const N: usize> OuterTile<M, N> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const WHOLE: bool, const FAR: bool>(self) {
        let Outer { a, b, c, .. } = self.0;
        let (a_row, a_depth, columns) = (self.0.a_row, self.0.a_depth, self.0.columns);
        let mask = S::first(self.1.saturating_sub((N - 1) * S::LANES));
        let mut acc = [[S::splat(0.0); N]; M];
        for term in 0..self.0.terms {
            let (a, b) = (a[term], b[term]);
            for k in 0..self.0.depth {
                if FAR {
                    for j in 0..N {
                        S::prefetch(b.wrapping_add((k + AHEAD) * columns + j * S::LANES));
                    }
                }
                let mut right = [S::splat(0.0); N];
                for j in 0..N {
                    let from = b.add(k * columns + j * S::LANES);
                    right[j] = if WHOLE || j + 1 < N {
                        S::load(from)
                    } else {
                        S::load_masked(from, mask)
                    };
                }
                for i in 0..M {
                    let left = S::splat(*a.add(i * a_row + k * a_depth));
                    for j in 0..N {
                        acc[i][j] = S::fma(left, right[j], acc[i][j]);
                    }
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                let to = c.add(i * columns + j * S::LANES);
                if WHOLE || j + 1 < N {
                    S::store(to, acc[i][j]);
                } else {
                    S::store_masked(to, acc[i][j], mask);
                }
            }
        }
    }
}

/// `sums[column]` = the sum over the rows of `a` `[rows, columns]`.
pub(super) struct SumRows {
    pub(super) a: *const f32,
    pub(super) sums: *mut f32,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Kernel for SumRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut column = 0;
        while column < self.columns {
            let mask = S::first(self.columns - column);
            let mut acc = S::splat(0.0);
            for row in 0..self.rows {
                acc = S::add(
                    acc,
                    S::load_masked(self.a.add(row * self.columns + column), mask),
                );
            }
            S::store_masked(self.sums.add(column), acc, mask);
            column += S::LANES;
        }
    }
}
