//! Sums of two products of the fully connected layer, in one pass: the product rule of a tangent.

use super::product::{Dot, Outer, SumRows};
use super::simd::run;

/// `y = x[0] w[0]^T + x[1] w[1]^T + b`.
///
/// Shapes: each `x` `[n, inputs]`, each `w` `[outputs, inputs]`, `b` `[outputs]`, `y` `[n, outputs]`.
pub fn linear_forward_pair(
    x: [&[f32]; 2],
    w: [&[f32]; 2],
    b: &[f32],
    y: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    check(x, n, inputs, "x is [n, inputs]");
    check(w, outputs, inputs, "w is [outputs, inputs]");
    assert_eq!(b.len(), outputs, "b is [outputs]");
    assert_eq!(y.len(), n.saturating_mul(outputs), "y is [n, outputs]");
    let product = Dot {
        x: x.map(<[f32]>::as_ptr),
        w: w.map(<[f32]>::as_ptr),
        terms: 2,
        b: b.as_ptr(),
        y: y.as_mut_ptr(),
        n,
        inputs,
        outputs,
    };
    // SAFETY: the lengths are those that `Dot` asks for, and `y` is borrowed alone.
    unsafe { run(product) }
}

/// `dx = dy[0] w[0] + dy[1] w[1]`.
///
/// Shapes: each `dy` `[n, outputs]`, each `w` `[outputs, inputs]`, `dx` `[n, inputs]`.
pub fn linear_backward_input_pair(
    dy: [&[f32]; 2],
    w: [&[f32]; 2],
    dx: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    check(dy, n, outputs, "dy is [n, outputs]");
    check(w, outputs, inputs, "w is [outputs, inputs]");
    assert_eq!(dx.len(), n.saturating_mul(inputs), "dx is [n, inputs]");
    let product = Outer {
        a: dy.map(<[f32]>::as_ptr),
        a_row: outputs,
        a_depth: 1,
        b: w.map(<[f32]>::as_ptr),
        terms: 2,
        c: dx.as_mut_ptr(),
        rows: n,
        depth: outputs,
        columns: inputs,
        far: true,
    };
    // SAFETY: the lengths are those that `Outer` asks for, and `dx` is borrowed alone.
    unsafe { run(product) }
}

/// `dw = dy[0]^T x[0] + dy[1]^T x[1]`, and `db` = the sum of `dy[0]` over the batch.
///
/// Shapes: each `x` `[n, inputs]`, each `dy` `[n, outputs]`, `dw` `[outputs, inputs]`, `db` `[outputs]`.
pub fn linear_backward_parameters_pair(
    x: [&[f32]; 2],
    dy: [&[f32]; 2],
    dw: &mut [f32],
    db: &mut [f32],
    n: usize,
    inputs: usize,
    outputs: usize,
) {
    check(x, n, inputs, "x is [n, inputs]");
    check(dy, n, outputs, "dy is [n, outputs]");
    let weights = outputs.saturating_mul(inputs);
    assert_eq!(dw.len(), weights, "dw is [outputs, inputs]");
    assert_eq!(db.len(), outputs, "db is [outputs]");
    let product = Outer {
        a: dy.map(<[f32]>::as_ptr),
        a_row: 1,
        a_depth: outputs,
        b: x.map(<[f32]>::as_ptr),
        terms: 2,
        c: dw.as_mut_ptr(),
        rows: outputs,
        depth: n,
        columns: inputs,
        far: false,
    };
    let sum = SumRows {
        a: dy[0].as_ptr(),
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

fn check(pair: [&[f32]; 2], rows: usize, columns: usize, what: &str) {
    for slice in pair {
        assert_eq!(slice.len(), rows.saturating_mul(columns), "{what}");
    }
}
