//! Two-dimensional convolution, stride 1, without an im2col buffer.

/// The shape of one convolution: stride 1, square kernel, the same zero padding on all four sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Examples in the batch.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Rows and columns of zeros around the input.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of the output: `height + 2 padding - kernel + 1`, or 0 where the kernel does not fit.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding + 1).saturating_sub(self.kernel)
    }

    /// Columns of the output: `width + 2 padding - kernel + 1`, or 0 where the kernel does not fit.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding + 1).saturating_sub(self.kernel)
    }

    /// Length of the input: `batch * in_channels * height * width`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.height * self.width
    }

    /// Length of the output: `batch * out_channels * out_height * out_width`.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.out_height() * self.out_width()
    }

    /// Length of the weight: `out_channels * in_channels * kernel * kernel`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * self.kernel * self.kernel
    }
}

/// Working memory of the convolutions, shared by all layers of a model.
///
/// [`ConvScratch::reserve`] it for every shape first and no convolution allocates; without that the first call grows it.
#[derive(Clone, Debug, Default)]
pub struct ConvScratch {
    buffer: Vec<f32>,
}

impl ConvScratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for a shape, and for any smaller batch of it.
    pub fn reserve(&mut self, shape: &ConvShape) {
        let needed = shape.weight_len();
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0.0);
        }
    }
}

/// The convolution (a cross-correlation, as in PyTorch): `y = conv(x, w) + b`.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `w` `[out_channels, in_channels, kernel, kernel]`,
/// `b` `[out_channels]`, `y` `[batch, out_channels, out_height, out_width]`.
pub fn conv2d_forward(
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    y: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), w.len(), y.len());
    assert_eq!(b.len(), s.out_channels, "b is [out_channels]");
    scratch.reserve(s);
    let (oh, ow) = (s.out_height(), s.out_width());
    for plane in 0..s.batch * s.out_channels {
        y[plane * oh * ow..(plane + 1) * oh * ow].fill(b[plane % s.out_channels]);
    }
    each_tap(s, |weight, input, output, columns| {
        let a = w[weight];
        let x = &x[input..input + columns];
        for (y, x) in y[output..output + columns].iter_mut().zip(x) {
            *y += a * x;
        }
    });
}

/// The gradient with respect to the input of the convolution: overwrites `dx`.
///
/// Shapes: `dy` `[batch, out_channels, out_height, out_width]`, `w` `[out_channels, in_channels, kernel, kernel]`,
/// `dx` `[batch, in_channels, height, width]`.
pub fn conv2d_backward_input(
    s: &ConvShape,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, dx.len(), w.len(), dy.len());
    scratch.reserve(s);
    dx.fill(0.0);
    each_tap(s, |weight, input, output, columns| {
        let a = w[weight];
        let dy = &dy[output..output + columns];
        for (dx, dy) in dx[input..input + columns].iter_mut().zip(dy) {
            *dx += a * dy;
        }
    });
}

/// The gradients with respect to weight and bias of the convolution: overwrites `dw` and `db`.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `dy` `[batch, out_channels, out_height, out_width]`,
/// `dw` `[out_channels, in_channels, kernel, kernel]`, `db` `[out_channels]`.
pub fn conv2d_backward_parameters(
    s: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), dw.len(), dy.len());
    assert_eq!(db.len(), s.out_channels, "db is [out_channels]");
    scratch.reserve(s);
    dw.fill(0.0);
    db.fill(0.0);
    let plane = s.out_height() * s.out_width();
    for p in 0..s.batch * s.out_channels {
        db[p % s.out_channels] += dy[p * plane..(p + 1) * plane].iter().sum::<f32>();
    }
    each_tap(s, |weight, input, output, columns| {
        let x = &x[input..input + columns];
        let dy = &dy[output..output + columns];
        dw[weight] += x.iter().zip(dy).map(|(x, dy)| x * dy).sum::<f32>();
    });
}

fn check(s: &ConvShape, input: usize, weight: usize, output: usize) {
    assert_eq!(
        input,
        s.input_len(),
        "input is [batch, in_channels, height, width]"
    );
    assert_eq!(
        weight,
        s.weight_len(),
        "weight is [out_channels, in_channels, kernel, kernel]"
    );
    assert_eq!(
        output,
        s.output_len(),
        "output is [batch, out_channels, out_height, out_width]"
    );
}

/// Calls `visit(weight, input, output, columns)` for every weight and every output row that it touches: the output
/// entries `output..output + columns` meet the input entries `input..input + columns` through that one weight.
fn each_tap(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let (oh, ow) = (s.out_height(), s.out_width());
    for n in 0..s.batch {
        for o in 0..s.out_channels {
            for i in 0..s.in_channels {
                for ky in 0..s.kernel {
                    for kx in 0..s.kernel {
                        let weight = ((o * s.in_channels + i) * s.kernel + ky) * s.kernel + kx;
                        let first = s.padding.saturating_sub(kx);
                        let last = (s.width + s.padding).saturating_sub(kx).min(ow);
                        if first >= last {
                            continue;
                        }
                        for row in 0..oh {
                            let Some(iy) = (row + ky).checked_sub(s.padding) else {
                                continue;
                            };
                            if iy >= s.height {
                                continue;
                            }
                            let input =
                                ((n * s.in_channels + i) * s.height + iy) * s.width + first + kx
                                    - s.padding;
                            let output = ((n * s.out_channels + o) * oh + row) * ow + first;
                            visit(weight, input, output, last - first);
                        }
                    }
                }
            }
        }
    }
}
