//! Products of the fully connected layer.

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
    assert_eq!(x.len(), n * inputs, "x is [n, inputs]");
    assert_eq!(w.len(), outputs * inputs, "w is [outputs, inputs]");
    assert_eq!(b.len(), outputs, "b is [outputs]");
    assert_eq!(y.len(), n * outputs, "y is [n, outputs]");
    for i in 0..n {
        let row = &x[i * inputs..(i + 1) * inputs];
        for o in 0..outputs {
            y[i * outputs + o] = b[o] + dot(row, &w[o * inputs..(o + 1) * inputs]);
        }
    }
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
    assert_eq!(dy.len(), n * outputs, "dy is [n, outputs]");
    assert_eq!(w.len(), outputs * inputs, "w is [outputs, inputs]");
    assert_eq!(dx.len(), n * inputs, "dx is [n, inputs]");
    dx.fill(0.0);
    for i in 0..n {
        let row = &mut dx[i * inputs..(i + 1) * inputs];
        for o in 0..outputs {
            add_scaled(row, dy[i * outputs + o], &w[o * inputs..(o + 1) * inputs]);
        }
    }
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
    assert_eq!(x.len(), n * inputs, "x is [n, inputs]");
    assert_eq!(dy.len(), n * outputs, "dy is [n, outputs]");
    assert_eq!(dw.len(), outputs * inputs, "dw is [outputs, inputs]");
    assert_eq!(db.len(), outputs, "db is [outputs]");
    dw.fill(0.0);
    db.fill(0.0);
    for i in 0..n {
        let row = &x[i * inputs..(i + 1) * inputs];
        for o in 0..outputs {
            let g = dy[i * outputs + o];
            db[o] += g;
            add_scaled(&mut dw[o * inputs..(o + 1) * inputs], g, row);
        }
    }
}

/// The inner product, in sixteen partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..16 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// `y += a x`.
fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}
