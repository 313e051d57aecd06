//! Convolutions of stride s as convolutions of stride 1: the s x s pixels of each cell become s^2 channels of one pixel
//! (space to depth), and a kernel of k x k becomes one of k/s x k/s over them. Nothing is multiplied that a strided
//! convolution would not multiply, and one set of kernels serves both.

/// Most entries of one plane of a kernel that is folded.
const MOST_TAPS: usize = 256;

/// Rearranges `[channels, height, width]` with a border of zeros into `[channels stride^2, rows, columns]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Rows and columns of zeros around the input.
    pub(crate) padding: usize,
    pub(crate) stride: usize,
    /// Cells of `stride x stride` that are kept, downwards and to the right. The input may reach beyond them, and they beyond
    /// the input, where they hold zeros.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// A run of pixels in a row: of the input every `stride`-th from `wide` on, of the folded image `count` from `folded` on.
struct Run {
    wide: usize,
    folded: usize,
    count: usize,
}

impl Fold {
    /// Features of a folded example.
    pub(crate) fn output_len(&self) -> usize {
        self.channels * self.stride * self.stride * self.rows * self.columns
    }

    fn input_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The folded images `y` of images `x`.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32]) {
        y.fill(0.0);
        let examples = x.chunks_exact(self.input_len());
        for (x, y) in examples.zip(y.chunks_exact_mut(self.output_len())) {
            self.each(|run| {
                let y = &mut y[run.folded..][..run.count];
                let x = x[run.wide..].iter().step_by(self.stride);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = *x;
                }
            });
        }
    }

    /// The derivative `dx` with respect to the images, from that with respect to the folded images.
    pub(crate) fn backward_input(&self, dy: &[f32], dx: &mut [f32]) {
        dx.fill(0.0);
        let examples = dx.chunks_exact_mut(self.input_len());
        for (dx, dy) in examples.zip(dy.chunks_exact(self.output_len())) {
            self.each(|run| {
                let dy = &dy[run.folded..][..run.count];
                let dx = dx[run.wide..].iter_mut().step_by(self.stride);
                for (dx, dy) in dx.zip(dy) {
                    *dx = *dy;
                }
            });
        }
    }

    /// Calls `visit` for all pixels of an example that have a place in its folded image.
    fn each(&self, mut visit: impl FnMut(Run)) {
        let (s, p) = (self.stride, self.padding);
        // Cells from the first whose pixel at `offset` is inside of the input to the last.
        let inside = |offset: usize, size: usize, cells: usize| {
            let first = p.saturating_sub(offset).div_ceil(s);
            let end = (size + p).saturating_sub(offset).div_ceil(s).min(cells);
            first..end.max(first)
        };
        for channel in 0..self.channels {
            for dy in 0..s {
                for dx in 0..s {
                    let columns = inside(dx, self.width, self.columns);
                    let plane = (channel * s + dy) * s + dx;
                    for row in inside(dy, self.height, self.rows) {
                        if columns.is_empty() {
                            continue;
                        }
                        let wide = channel * self.height + row * s + dy - p;
                        visit(Run {
                            wide: wide * self.width + columns.start * s + dx - p,
                            folded: (plane * self.rows + row) * self.columns + columns.start,
                            count: columns.len(),
                        });
                    }
                }
            }
        }
    }
}

/// The order of a folded kernel's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoldedKernel {
    /// Rows and columns, a multiple of the stride and at most 16.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl FoldedKernel {
    /// Rearranges weights `[outputs, channels, kernel, kernel]` to `[outputs, channels stride^2, kernel / stride, kernel /
    /// stride]`.
    pub(crate) fn fold(self, weights: &[f32], folded: &mut [f32]) {
        let taps = self.kernel * self.kernel;
        let planes = weights.chunks_exact(taps);
        for (plane, folded) in planes.zip(folded.chunks_exact_mut(taps)) {
            self.each(|wide, at| folded[at] = plane[wide]);
        }
    }

    /// The reverse, in place.
    pub(crate) fn unfold(self, weights: &mut [f32]) {
        let taps = self.kernel * self.kernel;
        let mut copy = [0.0; MOST_TAPS];
        for plane in weights.chunks_exact_mut(taps) {
            let folded = &mut copy[..taps];
            folded.copy_from_slice(plane);
            self.each(|wide, at| plane[wide] = folded[at]);
        }
    }

    /// Calls `visit` with the place of each entry, in the plane and folded.
    fn each(self, mut visit: impl FnMut(usize, usize)) {
        let (k, s) = (self.kernel, self.stride);
        let side = k / s;
        for row in 0..k {
            for column in 0..k {
                let cell = (row % s) * s + column % s;
                let at = (cell * side + row / s) * side + column / s;
                visit(row * k + column, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_by_hand() {
        // 3 x 3 pixels with a border of one: rows 0, 1 2 3, 0 become two rows of cells.
        let fold = Fold {
            channels: 1,
            height: 3,
            width: 3,
            padding: 1,
            stride: 2,
            rows: 2,
            columns: 2,
        };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut y = [f32::NAN; 16];
        fold.forward(&x, &mut y);
        let expected = [
            [0.0, 0.0, 0.0, 5.0],
            [0.0, 0.0, 4.0, 6.0],
            [0.0, 2.0, 0.0, 8.0],
            [1.0, 3.0, 7.0, 9.0],
        ];
        assert_eq!(y, *expected.as_flattened());
        let mut dx = [f32::NAN; 9];
        fold.backward_input(&y, &mut dx);
        assert_eq!(dx, x);
    }

    #[test]
    fn pixels_outside_of_the_cells_are_dropped() {
        let fold = Fold {
            channels: 2,
            height: 5,
            width: 1,
            padding: 0,
            stride: 2,
            rows: 2,
            columns: 1,
        };
        let x: Vec<f32> = (1..=10u8).map(f32::from).collect();
        let mut y = [f32::NAN; 16];
        fold.forward(&x, &mut y);
        let expected = [
            1.0, 3.0, 0.0, 0.0, 2.0, 4.0, 0.0, 0.0, 6.0, 8.0, 0.0, 0.0, 7.0, 9.0, 0.0, 0.0,
        ];
        assert_eq!(y, expected);
        let mut dx = [f32::NAN; 10];
        fold.backward_input(&y, &mut dx);
        assert_eq!(dx, [1.0, 2.0, 3.0, 4.0, 0.0, 6.0, 7.0, 8.0, 9.0, 0.0]);
    }

    #[test]
    fn kernels_fold_and_unfold() {
        let folded_kernel = FoldedKernel {
            kernel: 4,
            stride: 2,
        };
        let weights: Vec<f32> = (0..32u8).map(f32::from).collect();
        let mut folded = vec![f32::NAN; 32];
        folded_kernel.fold(&weights, &mut folded);
        assert_eq!(folded[..8], [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0]);
        folded_kernel.unfold(&mut folded);
        assert_eq!(folded, weights);
    }
}
