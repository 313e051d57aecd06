//! Convolutions of stride s as convolutions of stride 1: the s x s pixels of each cell become s^2 channels of one pixel
//! (space to depth), and a kernel of k x k becomes one of k/s x k/s over them, rounded up: a kernel whose size is no multiple
//! of the stride gets rows and columns of zeros. Otherwise nothing is multiplied that a strided convolution would not
//! multiply, and one set of kernels serves both.

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
    /// Rows and columns.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl FoldedKernel {
    /// Rows and columns of the folded kernel.
    pub(crate) fn side(self) -> usize {
        self.kernel.div_ceil(self.stride)
    }

    /// Whether the folded kernel has entries, all 0, that the kernel has not.
    pub(crate) fn is_padded(self) -> bool {
        !self.kernel.is_multiple_of(self.stride)
    }

    /// Entries of a plane of the kernel, and of what it becomes.
    fn taps(self) -> (usize, usize) {
        let padded = self.side() * self.stride;
        (self.kernel * self.kernel, padded * padded)
    }

    /// Rearranges weights `[outputs, channels, kernel, kernel]` to `[outputs, channels stride^2, side, side]`.
    pub(crate) fn fold(self, weights: &[f32], folded: &mut [f32]) {
        let (taps, folded_taps) = self.taps();
        if self.is_padded() {
            folded.fill(0.0);
        }
        let planes = weights.chunks_exact(taps);
        for (plane, folded) in planes.zip(folded.chunks_exact_mut(folded_taps)) {
            self.each(|wide, at| folded[at] = plane[wide]);
        }
    }

    /// The reverse; what stands where the kernel has no entry is dropped.
    pub(crate) fn unfold(self, folded: &[f32], weights: &mut [f32]) {
        let (taps, folded_taps) = self.taps();
        let planes = weights.chunks_exact_mut(taps);
        for (plane, folded) in planes.zip(folded.chunks_exact(folded_taps)) {
            self.each(|wide, at| plane[wide] = folded[at]);
        }
    }

    /// Calls `visit` with the place of each entry, in the plane and folded.
    fn each(self, mut visit: impl FnMut(usize, usize)) {
        let (k, s) = (self.kernel, self.stride);
        let side = self.side();
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
        let mut unfolded = vec![f32::NAN; 32];
        folded_kernel.unfold(&folded, &mut unfolded);
        assert_eq!(unfolded, weights);
    }

    #[test]
    fn kernels_of_odd_size_get_zeros() {
        let folded_kernel = FoldedKernel {
            kernel: 3,
            stride: 2,
        };
        assert_eq!((folded_kernel.side(), folded_kernel.is_padded()), (2, true));
        let weights: Vec<f32> = (1..=9u8).map(f32::from).collect();
        let mut folded = vec![f32::NAN; 16];
        folded_kernel.fold(&weights, &mut folded);
        let expected = [
            1.0, 3.0, 7.0, 9.0, 2.0, 0.0, 8.0, 0.0, 4.0, 6.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0,
        ];
        assert_eq!(folded, expected);
        folded
            .iter_mut()
            .for_each(|f| *f += 100.0 * f32::from(*f == 0.0));
        let mut unfolded = vec![f32::NAN; 9];
        folded_kernel.unfold(&folded, &mut unfolded);
        assert_eq!(unfolded, weights);
    }
}
