//! Convolution with a vector of neighbouring output columns in each register, for layers of few channels.
//!
//! A weight is broadcast against a stretch of an input row; a tile is a few output rows of a few output channels.

use super::conv::{Correlation, Pad, Pass, Plan, WeightPass, WeightPlan};
use super::simd::{Kernel, Simd, balanced};

/// A whole correlation by rows.
pub(super) struct Rows(pub(super) Pass, pub(super) Plan);

impl Kernel for Rows {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Rows(pass, plan) = self;
        let s = pass.shape;
        let padded = pass.scratch;
        let (tile_rows, tile_channels) = S::ROW_TILE;
        padded.write_bytes(0, plan.padded);
        for n in 0..s.batch {
            pass.pad::<S>(n, padded);
            balanced(s.outputs, tile_channels, |first, channels| {
                balanced(s.out_height, tile_rows, |row, rows| {
                    let mut column = 0;
                    while column < s.out_width {
                        let tile = Tile {
                            x: padded.add(row * s.padded_width() + column),
                            terms: pass.terms,
                            w: pass.w.map(|w| w.of(first)),
                            w_output: pass.w[0].output_stride,
                            w_input: pass.w[0].input_stride(s.inputs / pass.terms),
                            w_step: pass.w[0].step(),
                            b: pass.b.map(|b| b.add(first)),
                            y: pass.y.add(
                                (n * s.outputs + first) * s.plane() + row * s.out_width + column,
                            ),
                            inputs: s.inputs / pass.terms,
                            kernel: s.kernel,
                            width: s.padded_width(),
                            plane: s.padded_height() * s.padded_width(),
                            y_width: s.out_width,
                            y_plane: s.plane(),
                            valid: s.out_width - column,
                        };
                        match rows {
                            1 => tile.channels::<S, 1>(channels),
                            2 => tile.channels::<S, 2>(channels),
                            3 => tile.channels::<S, 3>(channels),
                            _ => tile.channels::<S, 4>(channels),
                        }
                        column += S::LANES;
                    }
                });
            });
        }
    }
}

/// One vector of columns in a few rows of a few output channels.
#[derive(Clone, Copy)]
struct Tile {
    /// The input under the first column, for input channel 0 and the kernel's first entry. A vector may be read from any
    /// place of the padded input, whose end has room for it.
    x: *const f32,
    /// The weights where they are, for each term: of the first output channel, input channel and tap.
    w: [*const f32; 2],
    terms: usize,
    /// From one output channel's weights to the next's, from one input channel's, and from one tap to the next.
    w_output: usize,
    w_input: isize,
    w_step: isize,
    b: Option<*const f32>,
    y: *mut f32,
    /// Input channels of each term.
    inputs: usize,
    kernel: usize,
    width: usize,
    plane: usize,
    y_width: usize,
    y_plane: usize,
    /// Columns that exist from the first on.
    valid: usize,
}

impl Tile {
    #[inline(always)]
    unsafe fn channels<S: Simd, const R: usize>(self, channels: usize) {
        match channels {
            1 => S::call(RowTile::<R, 1>(self)),
            2 => S::call(RowTile::<R, 2>(self)),
            3 => S::call(RowTile::<R, 3>(self)),
            4 => S::call(RowTile::<R, 4>(self)),
            5 => S::call(RowTile::<R, 5>(self)),
            _ => S::call(RowTile::<R, 6>(self)),
        }
    }
}

/// `R` rows of `O` output channels.
struct RowTile<const R: usize, const O: usize>(Tile);

impl<const R: usize, const O: usize> Kernel for RowTile<R, O> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { R > S::ROW_TILE.0 || O > S::ROW_TILE.1 } {
            return;
        }
        let t = self.0;
        let mut acc = [[S::splat(0.0); R]; O];
        if let Some(b) = t.b {
            for (o, acc) in acc.iter_mut().enumerate() {
                *acc = [S::splat(*b.add(o)); R];
            }
        }
        for term in 0..t.terms {
            let x = t.x.add(term * t.inputs * t.plane);
            let weights = t.w[term];
            for i in 0..t.inputs {
                let mut w = weights.offset(i as isize * t.w_input);
                for ky in 0..t.kernel {
                    let mut x = x.add(i * t.plane + ky * t.width);
                    for _ in 0..t.kernel {
                        add_tap::<S, R, O>(&mut acc, x, t.width, w, t.w_output);
                        x = x.add(1);
                        // Past the last tap, where nothing is read.
                        w = w.wrapping_offset(t.w_step);
                    }
                }
            }
        }
        let mask = S::first(t.valid);
        for o in 0..O {
            for r in 0..R {
                let to = t.y.add(o * t.y_plane + r * t.y_width);
                S::store_masked(to, acc[o][r], mask);
            }
        }
    }
}

/// Adds one tap's products: `R` rows of the input, `width` apart, times the weights of `O` output channels, `stride` apart.
#[inline(always)]
unsafe fn add_tap<S: Simd, const R: usize, const O: usize>(
    acc: &mut [[S::V; R]; O],
    x: *const f32,
    width: usize,
    w: *const f32,
    stride: usize,
) {
    // Of rows and weights the fewer are held in registers, and the others come one by one: sixteen registers have no room
    // for more beside twelve sums.
    if const { R <= O } {
        let mut rows = [S::splat(0.0); R];
        for (r, rows) in rows.iter_mut().enumerate() {
            *rows = S::load(x.add(r * width));
        }
        for o in 0..O {
            let weight = S::splat(*w.add(o * stride));
            for r in 0..R {
                acc[o][r] = S::fma(weight, rows[r], acc[o][r]);
            }
        }
    } else {
        let mut weights = [S::splat(0.0); O];
        for (o, weight) in weights.iter_mut().enumerate() {
            *weight = S::splat(*w.add(o * stride));
        }
        for r in 0..R {
            let row = S::load(x.add(r * width));
            for o in 0..O {
                acc[o][r] = S::fma(weights[o], row, acc[o][r]);
            }
        }
    }
}

/// The gradient of the weight by rows: every weight has a vector of partial sums, added up at the end.
pub(super) struct RowWeights(pub(super) WeightPass, pub(super) WeightPlan);

impl Kernel for RowWeights {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let RowWeights(pass, plan) = self;
        let s = pass.shape;
        let columns = s.out_width.next_multiple_of(S::LANES);
        let sums = pass.scratch;
        let padded = sums.add(plan.sums);
        let gradient = padded.add(plan.group * plan.padded);
        sums.write_bytes(0, plan.sums + plan.group * (plan.padded + plan.gradient));
        let mut n = 0;
        while n < s.batch {
            let group = plan.group.min(s.batch - n);
            for g in 0..group {
                let from = pass.x.add((n + g) * s.inputs * s.height * s.width);
                S::call(Pad {
                    shape: s,
                    from,
                    to: padded.add(g * plan.padded),
                });
                S::call(Widen {
                    from: pass.dy.add((n + g) * s.outputs * s.plane()),
                    to: gradient.add(g * plan.gradient),
                    planes: s.outputs,
                    rows: s.out_height,
                    columns: s.out_width,
                    plane: gradient_plane(&s, S::LANES),
                });
            }
            for i in 0..s.inputs {
                for ky in 0..s.kernel {
                    let tile = WeightTile {
                        x: padded
                            .add(i * s.padded_height() * s.padded_width() + ky * s.padded_width()),
                        dy: gradient,
                        sums: sums.add((i * s.kernel + ky) * s.kernel * S::LANES),
                        taps: s.taps(),
                        group,
                        x_example: plan.padded,
                        dy_example: plan.gradient,
                        dy_plane: gradient_plane(&s, S::LANES),
                        height: s.out_height,
                        columns,
                        x_width: s.padded_width(),
                    };
                    tile.run::<S>(s.outputs, s.kernel);
                }
            }
            n += group;
        }
        S::call(AddLanes {
            sums,
            to: pass.dw,
            count: s.outputs * s.taps(),
        });
    }
}

/// `to[i]` = the sum of the `i`-th vector.
struct AddLanes {
    sums: *const f32,
    to: *mut f32,
    count: usize,
}

impl Kernel for AddLanes {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        while at < self.count {
            let size = S::LANES.min(self.count - at);
            let mut vectors = [S::splat(0.0); 16];
            for (i, vector) in vectors.iter_mut().enumerate().take(size) {
                *vector = S::load(self.sums.add((at + i) * S::LANES));
            }
            S::store_sums(vectors.as_ptr(), size, self.to.add(at));
            at += size;
        }
    }
}

/// Numbers from one plane of the widened output gradient to the next. The cache line between them keeps planes of 4 KiB from
/// falling on the same places of the first-level cache.
pub(super) fn gradient_plane(s: &Correlation, lanes: usize) -> usize {
    s.out_height * s.out_width.next_multiple_of(lanes) + 16
}

/// Copies rows into rows of whole vectors, whose remainder is 0 already.
struct Widen {
    from: *const f32,
    to: *mut f32,
    planes: usize,
    rows: usize,
    columns: usize,
    /// Numbers from one plane of `to` to the next.
    plane: usize,
}

impl Kernel for Widen {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut from = self.from;
        let last = S::first((self.columns + S::LANES - 1) % S::LANES + 1);
        for plane in 0..self.planes {
            let mut to = self.to.add(plane * self.plane);
            for _ in 0..self.rows {
                let mut at = 0;
                while at + S::LANES < self.columns {
                    S::store(to.add(at), S::load(from.add(at)));
                    at += S::LANES;
                }
                S::store_masked(to.add(at), S::load_masked(from.add(at), last), last);
                from = from.add(self.columns);
                to = to.add(at + S::LANES);
            }
        }
    }
}

/// One row of the kernel, for one input channel, over a group of examples.
#[derive(Clone, Copy)]
struct WeightTile {
    x: *const f32,
    dy: *const f32,
    /// Vectors of sums, `[output][tap]`.
    sums: *mut f32,
    taps: usize,
    group: usize,
    x_example: usize,
    dy_example: usize,
    dy_plane: usize,
    height: usize,
    /// Columns of a row of `dy`, whole vectors.
    columns: usize,
    x_width: usize,
}

impl WeightTile {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, outputs: usize, kernel: usize) {
        balanced(kernel, 5, |kx, taps| {
            let limit = match taps {
                3 => 8,
                5 => 5,
                _ => 4,
            };
            balanced(outputs, limit.min(S::WEIGHT_TILE / taps), |o, channels| {
                let tile = WeightTile {
                    x: self.x.add(kx),
                    dy: self.dy.add(o * self.dy_plane),
                    sums: self.sums.add((o * self.taps + kx) * S::LANES),
                    ..self
                };
                match taps {
                    1 => tile.channels::<S, 1>(channels),
                    2 => tile.channels::<S, 2>(channels),
                    3 => tile.channels::<S, 3>(channels),
                    4 => tile.channels::<S, 4>(channels),
                    _ => tile.channels::<S, 5>(channels),
                }
            });
        });
    }

    #[inline(always)]
    unsafe fn channels<S: Simd, const T: usize>(self, channels: usize) {
        match channels {
            1 => S::call(RowWeightTile::<T, 1>(self)),
            2 => S::call(RowWeightTile::<T, 2>(self)),
            3 => S::call(RowWeightTile::<T, 3>(self)),
            4 => S::call(RowWeightTile::<T, 4>(self)),
            5 => S::call(RowWeightTile::<T, 5>(self)),
            6 => S::call(RowWeightTile::<T, 6>(self)),
            7 => S::call(RowWeightTile::<T, 7>(self)),
            _ => S::call(RowWeightTile::<T, 8>(self)),
        }
    }
}

/// `T` neighbouring entries of the kernel, `O` output channels.
struct RowWeightTile<const T: usize, const O: usize>(WeightTile);

impl<const T: usize, const O: usize> Kernel for RowWeightTile<T, O> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { T * O > S::WEIGHT_TILE || (T != 3 && O > 4 && T * O != 25) } {
            return;
        }
        let t = self.0;
        let mut acc = [[S::splat(0.0); T]; O];
        for g in 0..t.group {
            for row in 0..t.height {
                let x = t.x.add(g * t.x_example + row * t.x_width);
                let dy = t.dy.add(g * t.dy_example + row * t.columns);
                let mut at = 0;
                while at < t.columns {
                    // The fewer are held in registers, as above.
                    if const { T < O } {
                        let mut shifted = [S::splat(0.0); T];
                        for (k, shifted) in shifted.iter_mut().enumerate() {
                            *shifted = S::load(x.add(at + k));
                        }
                        for o in 0..O {
                            let gradient = S::load(dy.add(o * t.dy_plane + at));
                            for k in 0..T {
                                acc[o][k] = S::fma(shifted[k], gradient, acc[o][k]);
                            }
                        }
                    } else {
                        let mut gradient = [S::splat(0.0); O];
                        for (o, gradient) in gradient.iter_mut().enumerate() {
                            *gradient = S::load(dy.add(o * t.dy_plane + at));
                        }
                        for k in 0..T {
                            let x = S::load(x.add(at + k));
                            for o in 0..O {
                                acc[o][k] = S::fma(x, gradient[o], acc[o][k]);
                            }
                        }
                    }
                    at += S::LANES;
                }
            }
        }
        for o in 0..O {
            for k in 0..T {
                let at = t.sums.add((o * t.taps + k) * S::LANES);
                S::store(at, S::add(S::load(at), acc[o][k]));
            }
        }
    }
}
