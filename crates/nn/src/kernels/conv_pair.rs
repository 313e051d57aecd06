//! Sums of two convolutions of one shape, in one pass: the product rule of a tangent. They are one convolution of twice the
//! input channels.

use super::conv::{ConvScratch, ConvShape, Correlation, Pass, check, check_bias};
use super::conv_weights::Weights;
use super::simd::run;

impl ConvScratch {
    /// Makes room for [`conv2d_forward_pair`] and [`conv2d_backward_input_pair`] of a shape, and any smaller batch of it.
    pub fn reserve_pair(&mut self, s: &ConvShape) {
        if s.output_len() > 0 {
            self.reserve_pass(&Correlation::forward(s).pair());
            self.reserve_pass(&Correlation::input_gradient(s).pair());
        }
    }
}

/// `y = conv(x[0], w[0]) + conv(x[1], w[1]) + b`.
///
/// Shapes: each `x` `[batch, in_channels, height, width]`, each `w` `[out_channels, in_channels, kernel, kernel]`,
/// `b` `[out_channels]` or empty for none, `y` `[batch, out_channels, out_height, out_width]`.
pub fn conv2d_forward_pair(
    s: &ConvShape,
    x: [&[f32]; 2],
    w: [&[f32]; 2],
    b: &[f32],
    y: &mut [f32],
    scratch: &mut ConvScratch,
) {
    for (x, w) in x.iter().zip(w) {
        check(s, x.len(), w.len(), y.len());
    }
    check_bias(s, b.len());
    if y.is_empty() {
        return;
    }
    scratch.reserve_pair(s);
    let pass = Pass {
        shape: Correlation::forward(s).pair(),
        terms: 2,
        x: x.map(<[f32]>::as_ptr),
        w: w.map(|w| Weights::forward(s, w.as_ptr())),
        b: (!b.is_empty()).then_some(b.as_ptr()),
        y: y.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `y` and the scratch are borrowed alone, and the scratch was sized for the pair.
    unsafe { run(pass) }
}

/// `dx`, the sum of the gradients with respect to the input of two convolutions, of weight `w[0]` and output gradient `dy[0]`
/// and of `w[1]` and `dy[1]`.
///
/// Shapes: each `dy` `[batch, out_channels, out_height, out_width]`, each `w` `[out_channels, in_channels, kernel, kernel]`,
/// `dx` `[batch, in_channels, height, width]`.
pub fn conv2d_backward_input_pair(
    s: &ConvShape,
    dy: [&[f32]; 2],
    w: [&[f32]; 2],
    dx: &mut [f32],
    scratch: &mut ConvScratch,
) {
    for (dy, w) in dy.iter().zip(w) {
        check(s, dx.len(), w.len(), dy.len());
    }
    if dy[0].is_empty() || dx.is_empty() {
        dx.fill(0.0);
        return;
    }
    scratch.reserve_pair(s);
    let pass = Pass {
        shape: Correlation::input_gradient(s).pair(),
        terms: 2,
        x: dy.map(<[f32]>::as_ptr),
        w: w.map(|w| Weights::input_gradient(s, w.as_ptr())),
        b: None,
        y: dx.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `dx` and the scratch are borrowed alone, and the scratch was sized for the pair.
    unsafe { run(pass) }
}
