//! Convolution with a vector of output channels in each register, for wide layers.
//!
//! An entry of the input is broadcast against the weights of 16 (or 32) output channels at once, packed so that they
//! follow each other; a tile is a few neighbouring positions of an output row. The sums are transposed as they are stored.

use super::conv::{Correlation, Pad, Pass, Plan, WeightPass, WeightPlan};
use super::conv_weights::Weights;
use super::simd::{Kernel, Simd, balanced};

/// Calls `visit(first_vector, vectors)` for each block of one or two vectors of output channels.
#[inline(always)]
fn blocks<S: Simd>(outputs: usize, mut visit: impl FnMut(usize, usize)) {
    let vectors = outputs.div_ceil(S::LANES);
    let mut v = 0;
    while v < vectors {
        let size = S::CHANNEL_TILE.0.min(vectors - v);
        visit(v, size);
        v += size;
    }
}

/// A whole correlation by channels.
pub(super) struct Channels(pub(super) Pass, pub(super) Plan);

impl Kernel for Channels {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Channels(pass, plan) = self;
        let s = pass.shape;
        let padded = pass.scratch;
        let weights = padded.add(plan.padded);
        let bias = weights.add(plan.weights);
        pad_weights_and_bias::<S>(&pass, weights, bias);
        if s.padding != 0 {
            padded.write_bytes(0, plan.padded);
        }
        let example = s.inputs * s.height * s.width;
        for n in 0..s.batch {
            let x = if s.padding == 0 && pass.terms == 1 {
                pass.x[0].add(n * example)
            } else {
                pass.pad::<S>(n, padded);
                padded.cast_const()
            };
            blocks::<S>(s.outputs, |v, vectors| {
                let first = v * S::LANES;
                let tile = Tile {
                    x,
                    w: weights.add(first * s.taps()),
                    b: bias.add(first),
                    y: pass.y.add((n * s.outputs + first) * s.plane()),
                    inputs: s.inputs,
                    kernel: s.kernel,
                    width: s.padded_width(),
                    plane: s.padded_height() * s.padded_width(),
                    y_plane: s.plane(),
                    valid: s.outputs - first,
                };
                for row in 0..s.out_height {
                    balanced(s.out_width, S::CHANNEL_TILE.1, |column, positions| {
                        let tile = Tile {
                            x: tile.x.add(row * tile.width + column),
                            y: tile.y.add(row * s.out_width + column),
                            ..tile
                        };
                        if vectors == 2 {
                            tile.positions::<S, 2>(positions);
                        } else {
                            tile.positions::<S, 1>(positions);
                        }
                    });
                }
            });
        }
    }
}

/// Packs the weights as `[block][tap][channel of the block]` and the bias with zeros up to whole vectors.
#[inline(always)]
unsafe fn pad_weights_and_bias<S: Simd>(pass: &Pass, weights: *mut f32, bias: *mut f32) {
    let s = pass.shape;
    let channels = s.outputs.next_multiple_of(S::LANES);
    bias.write_bytes(0, channels);
    if let Some(b) = pass.b {
        bias.copy_from_nonoverlapping(b, s.outputs);
    }
    blocks::<S>(s.outputs, |v, vectors| {
        for i in 0..vectors {
            let first = (v + i) * S::LANES;
            for term in 0..pass.terms {
                let tap = term * pass.term_taps();
                S::call(Pack {
                    w: pass.w[term],
                    first,
                    count: S::LANES.min(s.outputs - first),
                    to: weights.add(v * S::LANES * s.taps() + (tap * vectors + i) * S::LANES),
                    stride: vectors * S::LANES,
                });
            }
        }
    });
}

/// Packs the weights of `count` output channels from `first` on: `to[tap * stride + channel]`.
struct Pack {
    w: Weights,
    first: usize,
    count: usize,
    to: *mut f32,
    stride: usize,
}

impl Kernel for Pack {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let w = self.w;
        let stride = self.stride as isize;
        for segment in 0..w.segments {
            let from = w
                .start
                .add(self.first * w.output_stride + segment * w.segment_stride);
            let mut at = 0;
            while at < w.run {
                let mask = S::first(w.run - at);
                let mut rows = [S::splat(0.0); 16];
                for (row, rows) in rows.iter_mut().enumerate().take(self.count) {
                    *rows = S::load_masked(from.add(row * w.output_stride + at), mask);
                }
                let (tap, stride) = if w.reversed {
                    (w.run - 1 - at, -stride)
                } else {
                    (at, stride)
                };
                let to = self.to.add((segment * w.run + tap) * self.stride);
                S::store_columns(
                    rows.as_ptr(),
                    self.count,
                    to,
                    stride,
                    S::LANES.min(w.run - at),
                );
                at += S::LANES;
            }
        }
    }
}

/// A few neighbouring positions of one output row, for one block of channels.
#[derive(Clone, Copy)]
struct Tile {
    /// The input under the first position, for input channel 0 and the kernel's first entry.
    x: *const f32,
    /// Packed weights of the block.
    w: *const f32,
    b: *const f32,
    /// The first position in the plane of the block's first channel.
    y: *mut f32,
    inputs: usize,
    kernel: usize,
    /// Columns, and entries of a plane, of the input.
    width: usize,
    plane: usize,
    y_plane: usize,
    /// Channels that exist from the block's first on.
    valid: usize,
}

impl Tile {
    #[inline(always)]
    unsafe fn positions<S: Simd, const C: usize>(self, positions: usize) {
        match positions {
            1 => S::call(ChannelTile::<1, C>(self)),
            2 => S::call(ChannelTile::<2, C>(self)),
            3 => S::call(ChannelTile::<3, C>(self)),
            4 => S::call(ChannelTile::<4, C>(self)),
            5 => S::call(ChannelTile::<5, C>(self)),
            6 => S::call(ChannelTile::<6, C>(self)),
            7 => S::call(ChannelTile::<7, C>(self)),
            8 => S::call(ChannelTile::<8, C>(self)),
            9 => S::call(ChannelTile::<9, C>(self)),
            10 => S::call(ChannelTile::<10, C>(self)),
            11 => S::call(ChannelTile::<11, C>(self)),
            12 => S::call(ChannelTile::<12, C>(self)),
            13 => S::call(ChannelTile::<13, C>(self)),
            _ => S::call(ChannelTile::<14, C>(self)),
        }
    }
}

/// `P` positions of `C` vectors of channels.
struct ChannelTile<const P: usize, const C: usize>(Tile);

impl<const P: usize, const C: usize> Kernel for ChannelTile<P, C> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { C > S::CHANNEL_TILE.0 || P > S::CHANNEL_TILE.1 } {
            return;
        }
        let t = self.0;
        let mut acc = [[S::splat(0.0); P]; C];
        for (c, acc) in acc.iter_mut().enumerate() {
            *acc = [S::load(t.b.add(c * S::LANES)); P];
        }
        let mut w = t.w;
        for i in 0..t.inputs {
            for ky in 0..t.kernel {
                let mut x = t.x.add(i * t.plane + ky * t.width);
                for _ in 0..t.kernel {
                    let weights: [S::V; C] = load_all::<S, C>(w);
                    for p in 0..P {
                        let x = S::splat(*x.add(p));
                        for c in 0..C {
                            acc[c][p] = S::fma(x, weights[c], acc[c][p]);
                        }
                    }
                    x = x.add(1);
                    w = w.add(C * S::LANES);
                }
            }
        }
        for c in 0..C {
            // A copy, so that the accumulators themselves have no address and stay in registers.
            let rows = acc[c];
            let to = t.y.add(c * S::LANES * t.y_plane);
            let lanes = S::LANES.min(t.valid - c * S::LANES);
            S::store_columns(rows.as_ptr(), P, to, t.y_plane as isize, lanes);
        }
    }
}

#[inline(always)]
unsafe fn load_all<S: Simd, const C: usize>(from: *const f32) -> [S::V; C] {
    let mut out = [S::splat(0.0); C];
    for (c, out) in out.iter_mut().enumerate() {
        *out = S::load(from.add(c * S::LANES));
    }
    out
}

/// The gradient of the weight by channels.
pub(super) struct ChannelWeights(pub(super) WeightPass, pub(super) WeightPlan);

impl Kernel for ChannelWeights {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let ChannelWeights(pass, plan) = self;
        let s = pass.shape;
        let sums = pass.scratch;
        let padded = sums.add(plan.sums);
        let gradient = padded.add(plan.group * plan.padded);
        sums.write_bytes(0, plan.sums + plan.group * plan.padded);
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
                S::call(Rearrange {
                    dy: pass.dy.add((n + g) * s.outputs * s.plane()),
                    to: gradient.add(g * plan.gradient),
                    outputs: s.outputs,
                    plane: s.plane(),
                });
            }
            let examples = Examples {
                padded,
                gradient,
                group,
            };
            examples.add_products::<S>(&s, &plan, sums);
            n += group;
        }
        store_weights::<S>(&s, sums, pass.dw);
    }
}

/// Examples that have been padded and rearranged.
struct Examples {
    padded: *const f32,
    gradient: *const f32,
    group: usize,
}

impl Examples {
    /// Adds their gradients to `sums`, `[block][tap][channel of the block]`.
    #[inline(always)]
    unsafe fn add_products<S: Simd>(&self, s: &Correlation, plan: &WeightPlan, sums: *mut f32) {
        blocks::<S>(s.outputs, |v, vectors| {
            let first = v * S::LANES;
            let tile = WeightTile {
                x: self.padded,
                dy: self.gradient.add(first * s.plane()),
                sums: sums.add(first * s.taps()),
                group: self.group,
                x_example: plan.padded,
                dy_example: plan.gradient,
                height: s.out_height,
                width: s.out_width,
                x_width: s.padded_width(),
                kernel: s.kernel,
            };
            for i in 0..s.inputs {
                let tile = WeightTile {
                    x: tile.x.add(i * s.padded_height() * s.padded_width()),
                    sums: tile.sums.add(i * s.kernel * s.kernel * vectors * S::LANES),
                    ..tile
                };
                if vectors == 2 {
                    tile.taps::<S, 2>();
                } else {
                    tile.taps::<S, 1>();
                }
            }
        });
    }
}

/// Each example's gradient of the weight by channels, left as the sums are: `[block][tap][channel of the block]`, with zeros
/// where a block has no channel. Example n's begins at `pass.dw + n * width`.
pub(super) struct KeptWeights {
    pub(super) pass: WeightPass,
    pub(super) plan: WeightPlan,
    pub(super) width: usize,
}

impl Kernel for KeptWeights {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let KeptWeights { pass, plan, width } = self;
        let s = pass.shape;
        let padded = pass.scratch;
        let gradient = padded.add(plan.padded);
        padded.write_bytes(0, plan.padded + plan.gradient);
        for n in 0..s.batch {
            S::call(Pad {
                shape: s,
                from: pass.x.add(n * s.inputs * s.height * s.width),
                to: padded,
            });
            S::call(Rearrange {
                dy: pass.dy.add(n * s.outputs * s.plane()),
                to: gradient,
                outputs: s.outputs,
                plane: s.plane(),
            });
            let row = pass.dw.add(n * width);
            row.write_bytes(0, s.outputs.next_multiple_of(S::LANES) * s.taps());
            let example = Examples {
                padded,
                gradient,
                group: 1,
            };
            example.add_products::<S>(&s, &plan, row);
        }
    }
}

/// Transposes the sums `[block][tap][channel of the block]` into `dw`.
#[inline(always)]
pub(super) unsafe fn store_weights<S: Simd>(s: &Correlation, sums: *const f32, dw: *mut f32) {
    let taps = s.taps();
    blocks::<S>(s.outputs, |v, vectors| {
        for i in 0..vectors {
            let first = (v + i) * S::LANES;
            S::call(Transpose {
                from: sums.add(v * S::LANES * taps + i * S::LANES),
                from_stride: vectors * S::LANES,
                rows: taps,
                lanes: S::LANES.min(s.outputs - first),
                to: dw.add(first * taps),
                to_stride: taps,
            });
        }
    });
}

/// `to[lane * to_stride + row] = from[row * from_stride + lane]`, whole vectors of `from` being readable.
struct Transpose {
    from: *const f32,
    from_stride: usize,
    rows: usize,
    lanes: usize,
    to: *mut f32,
    to_stride: usize,
}

impl Kernel for Transpose {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut row = 0;
        while row < self.rows {
            let count = S::LANES.min(self.rows - row);
            let mut rows = [S::splat(0.0); 16];
            for (i, rows) in rows.iter_mut().enumerate().take(count) {
                *rows = S::load(self.from.add((row + i) * self.from_stride));
            }
            let to = self.to.add(row);
            S::store_columns(
                rows.as_ptr(),
                count,
                to,
                self.to_stride as isize,
                self.lanes,
            );
            row += count;
        }
    }
}

/// Rearranges the output gradient of one example to `[block][position][channel of the block]`. Channels that only fill a
/// vector up are left as they are.
struct Rearrange {
    dy: *const f32,
    to: *mut f32,
    outputs: usize,
    plane: usize,
}

impl Kernel for Rearrange {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plane = self.plane;
        blocks::<S>(self.outputs, |v, vectors| {
            for i in 0..vectors {
                let first = (v + i) * S::LANES;
                let count = S::LANES.min(self.outputs - first);
                let stride = vectors * S::LANES;
                let to = self.to.add(v * S::LANES * plane + i * S::LANES);
                let mut at = 0;
                while at < plane {
                    let mask = S::first(plane - at);
                    let mut rows = [S::splat(0.0); 16];
                    for (row, rows) in rows.iter_mut().enumerate().take(count) {
                        *rows = S::load_masked(self.dy.add((first + row) * plane + at), mask);
                    }
                    let lanes = S::LANES.min(plane - at);
                    S::store_columns(
                        rows.as_ptr(),
                        count,
                        to.add(at * stride),
                        stride as isize,
                        lanes,
                    );
                    at += S::LANES;
                }
            }
        });
    }
}

/// Some entries of the kernel, for one input channel and one block of output channels, over a group of examples.
#[derive(Clone, Copy)]
struct WeightTile {
    x: *const f32,
    dy: *const f32,
    /// Sums of the first entry.
    sums: *mut f32,
    group: usize,
    x_example: usize,
    dy_example: usize,
    height: usize,
    width: usize,
    x_width: usize,
    kernel: usize,
}

impl WeightTile {
    /// All entries of the kernel, in tiles.
    #[inline(always)]
    unsafe fn taps<S: Simd, const C: usize>(self) {
        let limit = S::WEIGHT_TILE / C;
        balanced(self.kernel, 5.min(limit), |kx, columns| {
            let rows = match columns {
                3 => (limit / 3).min(3),
                5 if limit >= 25 => 5,
                5 => (limit / 5).min(2),
                _ => 1,
            };
            balanced(self.kernel, rows, |ky, rows| {
                let tile = WeightTile {
                    x: self.x.add(ky * self.x_width + kx),
                    sums: self.sums.add((ky * self.kernel + kx) * C * S::LANES),
                    ..self
                };
                match (rows, columns) {
                    (5, 5) => S::call(ChannelWeightTile::<5, 5, C>(tile)),
                    (2, 5) => S::call(ChannelWeightTile::<2, 5, C>(tile)),
                    (1, 5) => S::call(ChannelWeightTile::<1, 5, C>(tile)),
                    (3, 3) => S::call(ChannelWeightTile::<3, 3, C>(tile)),
                    (2, 3) => S::call(ChannelWeightTile::<2, 3, C>(tile)),
                    (1, 3) => S::call(ChannelWeightTile::<1, 3, C>(tile)),
                    (1, 4) => S::call(ChannelWeightTile::<1, 4, C>(tile)),
                    (1, 2) => S::call(ChannelWeightTile::<1, 2, C>(tile)),
                    _ => S::call(ChannelWeightTile::<1, 1, C>(tile)),
                }
            });
        });
    }
}

/// `KY` by `KX` entries of the kernel, `C` vectors of channels.
struct ChannelWeightTile<const KY: usize, const KX: usize, const C: usize>(WeightTile);

impl<const KY: usize, const KX: usize, const C: usize> Kernel for ChannelWeightTile<KY, KX, C> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if const { C > S::CHANNEL_TILE.0 || KY * KX * C > S::WEIGHT_TILE } {
            return;
        }
        let t = self.0;
        let mut acc = [[[S::splat(0.0); C]; KX]; KY];
        for g in 0..t.group {
            let mut dy = t.dy.add(g * t.dy_example);
            for row in 0..t.height {
                let mut x = t.x.add(g * t.x_example + row * t.x_width);
                for _ in 0..t.width {
                    let gradient: [S::V; C] = load_all::<S, C>(dy);
                    for ky in 0..KY {
                        for kx in 0..KX {
                            let x = S::splat(*x.add(ky * t.x_width + kx));
                            for c in 0..C {
                                acc[ky][kx][c] = S::fma(x, gradient[c], acc[ky][kx][c]);
                            }
                        }
                    }
                    x = x.add(1);
                    dy = dy.add(C * S::LANES);
                }
            }
        }
        for ky in 0..KY {
            for kx in 0..KX {
                for c in 0..C {
                    let at = t.sums.add(((ky * t.kernel + kx) * C + c) * S::LANES);
                    S::store(at, S::add(S::load(at), acc[ky][kx][c]));
                }
            }
        }
    }
}
