//! Activation functions, element by element. Backward passes need only the forward's output `y`.

/// `y = max(x, 0)`; NaN stays NaN.
pub fn relu(x: &[f32], y: &mut [f32]) {
    map(x, y, |x| if x < 0.0 { 0.0 } else { x });
}

/// `dx = dy` where the forward's output `y` was above zero, else 0.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, |y, dy| if y > 0.0 { dy } else { 0.0 });
}

/// `y = tanh(x)`.
pub fn tanh(x: &[f32], y: &mut [f32]) {
    map(x, y, f32::tanh);
}

/// `dx = dy (1 - y^2)`.
pub fn tanh_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, |y, dy| dy * (1.0 - y * y));
}

/// `y = 1 / (1 + exp(-x))`.
pub fn sigmoid(x: &[f32], y: &mut [f32]) {
    map(x, y, |x| 1.0 / (1.0 + (-x).exp()));
}

/// `dx = dy y (1 - y)`.
pub fn sigmoid_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, |y, dy| dy * y * (1.0 - y));
}

/// `y = ln(1 + exp(x))`.
pub fn softplus(x: &[f32], y: &mut [f32]) {
    map(x, y, |x| x.max(0.0) + (-x.abs()).exp().ln_1p());
}

/// `dx = dy sigmoid(x)`, from the forward's output: `sigmoid(x) = 1 - exp(-y)`.
pub fn softplus_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, |y, dy| dy * -(-y).exp_m1());
}

fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    assert_eq!(x.len(), y.len(), "x and y are of one length");
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

fn map2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    assert_eq!(a.len(), out.len(), "y and dx are of one length");
    assert_eq!(b.len(), out.len(), "dy and dx are of one length");
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}
