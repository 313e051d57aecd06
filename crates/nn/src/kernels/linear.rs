//! Products of the fully connected layer. Expected lengths saturate, so that no overflow can make a check pass.

use super::product::{Dot, Outer, SumRows};
use super::simd::run;

/// `y = x w^T + b`.
///
/// Shapes: `x` `[n, inputs]`, `w` `[outputs, inputs]`, `b` `[outputs]`, `y` `[n, outputs]`.
pub fn linear_forward(
    x: &[f32],
    w: &[f32],
    b: &[f32],
    y: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    assert_eq!(x.len(), n.saturating_mul(inputs), "x is [n, inputs]");
    assert_eq!(
        w.len(),
        outputs.saturating_mul(inputs),
        "w is [outputs, inputs]"
    );
    assert_eq!(b.len(), outputs, "b is [outputs]");
    assert_eq!(y.len(), n.saturating_mul(outputs), "y is [n, outputs]");
    let product = Dot {
        x: [x.as_ptr(); 2],
        w: [w.as_ptr(); 2],
        terms: 1,
        b: b.as_ptr(),
        y: y.as_mut_ptr(),
        n,
        inputs,
        outputs,
    };
    // SAFETY: the lengths are those that `Dot` asks for, and `y` is borrowed alone.
    unsafe { run(product) }
}

/// The gradient of the loss with respect to the input: `dx = dy w`.
///
/// Shapes: `dy` `[n, outputs]`, `w` `[outputs, inputs]`, `dx` `[n, inputs]`.
pub fn linear_backward_input(
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    assert_eq!(dy.len(), n.saturating_mul(outputs), "dy is [n, outputs]");
    assert_eq!(
        w.len(),
        outputs.saturating_mul(inputs),
        "w is [outputs, inputs]"
    );
    assert_eq!(dx.len(), n.saturating_mul(inputs), "dx is [n, inputs]");
    let product = Outer {
        a: [dy.as_ptr(); 2],
        a_row: outputs,
        a_depth: 1,
        b: [w.as_ptr(); 2],
        terms: 1,
        c: dx.as_mut_ptr(),
        rows: n,
        depth: outputs,
        columns: inputs,
        far: true,
    };
    // SAFETY: the lengths are those that `Outer` asks for, and `dx` is borrowed alone.
    unsafe { run(product) }
}

/// The gradients with respect to the parameters: `dw = dy^T x`, `db` = the sum of `dy` over the batch.
///
/// Shapes: `x` `[n, inputs]`, `dy` `[n, outputs]`, `dw` `[outputs, inputs]`, `db` `[outputs]`.
pub fn linear_backward_parameters(
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    assert_eq!(x.len(), n.saturating_mul(inputs), "x is [n, inputs]");
    assert_eq!(dy.len(), n.saturating_mul(outputs), "dy is [n, outputs]");
    assert_eq!(
        dw.len(),
        outputs.saturating_mul(inputs),
        "dw is [outputs, inputs]"
    );
    assert_eq!(db.len(), outputs, "db is [outputs]");
    let product = Outer {
        a: [dy.as_ptr(); 2],
        a_row: 1,
        a_depth: outputs,
        b: [x.as_ptr(); 2],
        terms: 1,
        c: dw.as_mut_ptr(),
        rows: outputs,
        depth: n,
        columns: inputs,
        far: false,
    };
    let sum = SumRows {
        a: dy.as_ptr(),
        sums: db.as_mut_ptr(),
        rows: n,
        columns: outputs,
    };
    // SAFETY: the lengths are those that `Outer` and `SumRows` ask for; `dw` and `db` are borrowed alone.
    unsafe {
        run(product);
        run(sum);
    }
}
