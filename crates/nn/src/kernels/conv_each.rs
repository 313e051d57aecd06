//! Gradients of a convolution's parameters by example.

use super::conv::{ConvScratch, ConvShape, Correlation, WeightPass, check};
use super::simd::{product, run};

/// The gradients with respect to weight and bias of each example by itself: `gradients` is `[batch, weight + out_channels]`,
/// and each of its rows a weight `[out_channels, in_channels, kernel, kernel]` and a bias `[out_channels]`.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `dy` `[batch, out_channels, out_height, out_width]`.
pub fn conv2d_backward_parameters_each(
    s: &ConvShape,
    x: &[f32],
    dy: &[f32],
    gradients: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), s.weight_len(), dy.len());
    let weight = s.weight_len();
    let width = weight.saturating_add(s.out_channels);
    assert_eq!(
        gradients.len(),
        product(&[s.batch, width]),
        "gradients is [batch, weight + out_channels]"
    );
    if dy.is_empty() || x.is_empty() {
        gradients.fill(0.0);
        return;
    }
    let one = ConvShape { batch: 1, ..*s };
    scratch.reserve(&one);
    let examples = x
        .chunks_exact(one.input_len())
        .zip(dy.chunks_exact(one.output_len()))
        .zip(gradients.chunks_exact_mut(width));
    for ((x, dy), gradient) in examples {
        let (dw, db) = gradient.split_at_mut(weight);
        let pass = WeightPass {
            shape: Correlation::forward(&one),
            in_turn: false,
            x: x.as_ptr(),
            dy: dy.as_ptr(),
            dw: dw.as_mut_ptr(),
            db: db.as_mut_ptr(),
            scratch: scratch.start(),
        };
        // SAFETY: as for the whole batch.
        unsafe { run(pass) }
    }
}

/// As [`super::conv2d_backward_parameters`], but each example's own gradient is finished before it is added to the others'.
/// So the sum is within n roundings of what it would be, were these exact: `n 2^-24 / (1 - n 2^-24)` of the sum of their
/// magnitudes, however much the products of one example cancel. The sum for the bias is in `f64`.
pub fn conv2d_backward_parameters_in_turn(
    s: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), dw.len(), dy.len());
    assert_eq!(db.len(), s.out_channels, "db is [out_channels]");
    if dy.is_empty() || x.is_empty() {
        dw.fill(0.0);
        db.fill(0.0);
        return;
    }
    scratch.reserve_in_turn(s);
    let pass = WeightPass {
        shape: Correlation::forward(s),
        in_turn: true,
        x: x.as_ptr(),
        dy: dy.as_ptr(),
        dw: dw.as_mut_ptr(),
        db: db.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `dw`, `db` and the scratch are borrowed alone, and the scratch was sized for the
    // shape.
    unsafe { run(pass) }
    let plane = s.out_height() * s.out_width();
    for (channel, db) in db.iter_mut().enumerate() {
        let planes = dy.chunks_exact(plane).skip(channel).step_by(s.out_channels);
        *db = planes.flatten().map(|&d| f64::from(d)).sum::<f64>() as f32;
    }
}
