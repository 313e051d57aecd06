//! Activation functions, element by element. Backward passes need only the forward's output `y`.
//!
//! Accuracy against the exact function, at every level, tested over all magnitudes: `tanh` within 4 units in the last
//! place; `sigmoid` and `softplus` within 6 of them where the result is above 1e-37, and within 1e-37 below. NaN gives
//! NaN, infinities give the limits.

use super::simd::{Kernel, Simd, run};

/// `y = max(x, 0)`; NaN stays NaN.
pub fn relu(x: &[f32], y: &mut [f32]) {
    map::<Relu>(x, y);
}

/// `dx = dy` where the forward's output `y` was above zero, else 0.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Relu>(y, dy, dx);
}

/// `y = tanh(x)`.
pub fn tanh(x: &[f32], y: &mut [f32]) {
    map::<Tanh>(x, y);
}

/// `dx = dy (1 - y^2)`.
pub fn tanh_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Tanh>(y, dy, dx);
}

/// `y = 1 / (1 + exp(-x))`.
pub fn sigmoid(x: &[f32], y: &mut [f32]) {
    map::<Sigmoid>(x, y);
}

/// `dx = dy y (1 - y)`.
pub fn sigmoid_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Sigmoid>(y, dy, dx);
}

/// `y = ln(1 + exp(x))`.
pub fn softplus(x: &[f32], y: &mut [f32]) {
    map::<Softplus>(x, y);
}

/// `dx = dy sigmoid(x)`, from the forward's output: `sigmoid(x) = 1 - exp(-y)`.
pub fn softplus_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Softplus>(y, dy, dx);
}

/// The tangent of [`tanh_backward`]: `dx_dot = f' dy_dot + f'' x_dot dy`, where `x_dot` enters by `y_dot = f' x_dot`.
///
/// All slices have one length: the forward's output, its tangent, the derivative of the loss with respect to it and that
/// one's tangent.
pub fn tanh_tangent_backward(
    y: &[f32],
    y_dot: &[f32],
    dy: &[f32],
    dy_dot: &[f32],
    dx_dot: &mut [f32],
) {
    map_tangent::<Tanh>(y, y_dot, dy, dy_dot, dx_dot);
}

/// As [`tanh_tangent_backward`], of the sigmoid.
pub fn sigmoid_tangent_backward(
    y: &[f32],
    y_dot: &[f32],
    dy: &[f32],
    dy_dot: &[f32],
    dx_dot: &mut [f32],
) {
    map_tangent::<Sigmoid>(y, y_dot, dy, dy_dot, dx_dot);
}

/// As [`tanh_tangent_backward`], of softplus.
pub fn softplus_tangent_backward(
    y: &[f32],
    y_dot: &[f32],
    dy: &[f32],
    dy_dot: &[f32],
    dx_dot: &mut [f32],
) {
    map_tangent::<Softplus>(y, y_dot, dy, dy_dot, dx_dot);
}

fn map_tangent<F: Curved>(
    y: &[f32],
    y_dot: &[f32],
    dy: &[f32],
    dy_dot: &[f32],
    dx_dot: &mut [f32],
) {
    for slice in [y, y_dot, dy, dy_dot] {
        assert_eq!(slice.len(), dx_dot.len(), "all slices are of one length");
    }
    let backward = TangentBackward::<F> {
        y: y.as_ptr(),
        y_dot: y_dot.as_ptr(),
        dy: dy.as_ptr(),
        dy_dot: dy_dot.as_ptr(),
        dx_dot: dx_dot.as_mut_ptr(),
        len: y.len(),
        function: std::marker::PhantomData,
    };
    // SAFETY: all slices have `len` entries.
    unsafe { run(backward) }
}

fn map<F: Function>(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y are of one length");
    let forward = Forward::<F> {
        x: x.as_ptr(),
        y: y.as_mut_ptr(),
        len: x.len(),
        function: std::marker::PhantomData,
    };
    // SAFETY: both slices have `len` entries.
    unsafe { run(forward) }
}

fn map_backward<F: Function>(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(y.len(), dx.len(), "y and dx are of one length");
    assert_eq!(dy.len(), dx.len(), "dy and dx are of one length");
    let backward = Backward::<F> {
        y: y.as_ptr(),
        dy: dy.as_ptr(),
        dx: dx.as_mut_ptr(),
        len: y.len(),
        function: std::marker::PhantomData,
    };
    // SAFETY: all three slices have `len` entries.
    unsafe { run(backward) }
}

/// A function and its derivative, a vector at a time.
trait Function {
    /// The function.
    ///
    /// # Safety
    ///
    /// As [`Simd`].
    unsafe fn value<S: Simd>(x: S::V) -> S::V;
    /// `dy` times the derivative at the point where the function is `y`.
    ///
    /// # Safety
    ///
    /// As [`Simd`].
    unsafe fn gradient<S: Simd>(y: S::V, dy: S::V) -> S::V;
}

/// A function whose second derivative is not 0 almost everywhere.
trait Curved: Function {
    /// The second derivative as a multiple of the first, at the point where the function is `y`.
    ///
    /// # Safety
    ///
    /// As [`Simd`].
    unsafe fn bend<S: Simd>(y: S::V) -> S::V;
}

impl Curved for Tanh {
    #[inline(always)]
    unsafe fn bend<S: Simd>(y: S::V) -> S::V {
        S::mul(S::splat(-2.0), y)
    }
}

impl Curved for Sigmoid {
    #[inline(always)]
    unsafe fn bend<S: Simd>(y: S::V) -> S::V {
        S::fma(S::splat(-2.0), y, S::splat(1.0))
    }
}

impl Curved for Softplus {
    #[inline(always)]
    unsafe fn bend<S: Simd>(y: S::V) -> S::V {
        exp::<S>(S::sub(S::splat(0.0), y))
    }
}

struct Relu;

impl Function for Relu {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::V) -> S::V {
        S::max(S::splat(0.0), x)
    }
    #[inline(always)]
    unsafe fn gradient<S: Simd>(y: S::V, dy: S::V) -> S::V {
        S::where_positive(y, dy)
    }
}

struct Tanh;

impl Function for Tanh {
    /// `tanh |x| = e / (e + 2)` with `e = exp(2 |x|) - 1`; from 9.1 on that is 1.
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::V) -> S::V {
        let magnitude = S::copy_sign(x, S::splat(1.0));
        let twice = S::min(S::splat(18.2), S::add(magnitude, magnitude));
        let (power, rest) = split_exp_unclamped::<S>(twice);
        let e = S::fma(power, rest, S::sub(power, S::splat(1.0)));
        S::copy_sign(S::div(e, S::add(e, S::splat(2.0))), x)
    }
    #[inline(always)]
    unsafe fn gradient<S: Simd>(y: S::V, dy: S::V) -> S::V {
        S::mul(dy, S::sub(S::splat(1.0), S::mul(y, y)))
    }
}

struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::V) -> S::V {
        let e = exp::<S>(S::sub(S::splat(0.0), x));
        S::div(S::splat(1.0), S::add(e, S::splat(1.0)))
    }
    #[inline(always)]
    unsafe fn gradient<S: Simd>(y: S::V, dy: S::V) -> S::V {
        S::mul(dy, S::mul(y, S::sub(S::splat(1.0), y)))
    }
}

struct Softplus;

impl Function for Softplus {
    /// `max(x, 0) + ln(1 + u)` with `u = exp(-|x|)`.
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::V) -> S::V {
        let u = exp::<S>(S::copy_sign(x, S::splat(-1.0)));
        // ln(1 + u) = 2 artanh(s) with s = u / (2 + u), at most 1/3: its power series to s^15.
        let s = S::div(u, S::add(u, S::splat(2.0)));
        let square = S::mul(s, s);
        let mut series = S::splat(1.0 / 15.0);
        for denominator in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
            series = S::fma(series, square, S::splat(1.0 / denominator));
        }
        let twice = S::add(s, s);
        let log = S::fma(S::mul(twice, square), series, twice);
        S::add(S::max(S::splat(0.0), x), log)
    }
    #[inline(always)]
    unsafe fn gradient<S: Simd>(y: S::V, dy: S::V) -> S::V {
        let minus = S::sub(S::splat(0.0), y);
        S::mul(dy, S::sub(S::splat(0.0), exp_m1::<S>(minus)))
    }
}

/// `x = n ln 2 + r` with whole `n` and `|r|` at most about 0.347: the power of two `2^n`, and `exp(r) - 1`.
///
/// `x` is clamped to where `2^n` is a normal number; NaN passes through.
#[inline(always)]
unsafe fn split_exp<S: Simd>(x: S::V) -> (S::V, S::V) {
    split_exp_unclamped::<S>(S::min(S::splat(88.3), S::max(S::splat(-87.3), x)))
}

/// [`split_exp`] for `x` in -87.3..88.3.
#[inline(always)]
unsafe fn split_exp_unclamped<S: Simd>(x: S::V) -> (S::V, S::V) {
    // Adding 1.5 * 2^23 rounds to a whole number, and leaves it in the low bits.
    let magic = S::splat(12_582_912.0);
    let biased = S::fma(x, S::splat(std::f32::consts::LOG2_E), magic);
    let n = S::sub(biased, magic);
    // ln 2 in two parts, of which the first times n is exact.
    let r = S::fma(n, S::splat(-0.693_359_4), x);
    let r = S::fma(n, S::splat(2.121_944_4e-4), r);
    // exp(r) - 1 = r + r^2 (1/2! + r/3! + ... + r^5/7!).
    let mut series = S::splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = S::fma(series, r, S::splat(coefficient));
    }
    (S::power_of_two(biased), S::fma(S::mul(r, r), series, r))
}

/// `exp(x)`.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    let (power, rest) = split_exp::<S>(x);
    S::fma(power, rest, power)
}

/// `exp(x) - 1`, exact to a few units in the last place near 0 too.
#[inline(always)]
unsafe fn exp_m1<S: Simd>(x: S::V) -> S::V {
    let (power, rest) = split_exp::<S>(x);
    S::fma(power, rest, S::sub(power, S::splat(1.0)))
}

/// `y = f(x)`, both of `len` entries.
struct Forward<F> {
    x: *const f32,
    y: *mut f32,
    len: usize,
    function: std::marker::PhantomData<F>,
}

impl<F: Function> Kernel for Forward<F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        while at + S::LANES <= self.len {
            S::store(self.y.add(at), F::value::<S>(S::load(self.x.add(at))));
            at += S::LANES;
        }
        if at < self.len {
            let mask = S::first(self.len - at);
            let y = F::value::<S>(S::load_masked(self.x.add(at), mask));
            S::store_masked(self.y.add(at), y, mask);
        }
    }
}

/// `dx = f'(y) dy`, all of `len` entries.
struct Backward<F> {
    y: *const f32,
    dy: *const f32,
    dx: *mut f32,
    len: usize,
    function: std::marker::PhantomData<F>,
}

impl<F: Function> Kernel for Backward<F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        while at + S::LANES <= self.len {
            let dx = F::gradient::<S>(S::load(self.y.add(at)), S::load(self.dy.add(at)));
            S::store(self.dx.add(at), dx);
            at += S::LANES;
        }
        if at < self.len {
            let mask = S::first(self.len - at);
            let y = S::load_masked(self.y.add(at), mask);
            let dx = F::gradient::<S>(y, S::load_masked(self.dy.add(at), mask));
            S::store_masked(self.dx.add(at), dx, mask);
        }
    }
}

/// `dx_dot = f'(y) dy_dot + bend(y) y_dot dy`, all of `len` entries.
struct TangentBackward<F> {
    y: *const f32,
    y_dot: *const f32,
    dy: *const f32,
    dy_dot: *const f32,
    dx_dot: *mut f32,
    len: usize,
    function: std::marker::PhantomData<F>,
}

impl<F: Curved> Kernel for TangentBackward<F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut at = 0;
        while at < self.len {
            let mask = S::first(self.len - at);
            let y = S::load_masked(self.y.add(at), mask);
            let curve = S::mul(
                S::load_masked(self.y_dot.add(at), mask),
                S::load_masked(self.dy.add(at), mask),
            );
            let slope = F::gradient::<S>(y, S::load_masked(self.dy_dot.add(at), mask));
            let dx_dot = S::fma(F::bend::<S>(y), curve, slope);
            S::store_masked(self.dx_dot.add(at), dx_dot, mask);
            at += S::LANES;
        }
    }
}
