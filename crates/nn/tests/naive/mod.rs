//! The models once more: one example at a time, in `f64` or numbers built of it, by plain loops over named tensors. Nothing
//! here is shared with the crate but the names and shapes of the layout, so that both can only agree by being right.

use std::ops::{Add, Mul, Sub};

use cloister_nn::{Activation, Layout, Pooling};

/// `f64`, or a number that carries derivatives along.
pub(crate) trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    fn of(value: f64) -> Self;
    fn value(self) -> f64;
    /// A function of the number: its value, first and second derivative there.
    fn apply(self, function: [f64; 3]) -> Self;
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn value(self) -> f64 {
        self
    }
    fn apply(self, function: [f64; 3]) -> Self {
        function[0]
    }
}

fn sum<T: Number>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::of(0.0), |sum, term| sum + term)
}

/// A parameter vector whose tensors are found by name.
pub(crate) struct Tensors<'a, T = f64> {
    pub(crate) layout: &'a Layout,
    pub(crate) values: Vec<T>,
}

/// An image, or with height and width 1 a row of features.
#[derive(Clone)]
pub(crate) struct Image<T = f64> {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: Vec<T>,
}

impl<'a, T: Number> Tensors<'a, T> {
    pub(crate) fn new(layout: &'a Layout, parameters: &[f32]) -> Self {
        let values = parameters.iter().map(|&p| T::of(f64::from(p))).collect();
        Self { layout, values }
    }

    fn get(&self, name: &str) -> (&[usize], &[T]) {
        let spec = self
            .layout
            .tensor(name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        (&spec.shape, &self.values[spec.range()])
    }
}

impl<T: Number> Image<T> {
    pub(crate) fn of(channels: usize, height: usize, width: usize, data: Vec<T>) -> Self {
        assert_eq!(data.len(), channels * height * width);
        Self {
            channels,
            height,
            width,
            data,
        }
    }

    fn zeros(channels: usize, height: usize, width: usize) -> Self {
        let data = vec![T::of(0.0); channels * height * width];
        Self::of(channels, height, width, data)
    }

    fn at(&self, c: usize, i: usize, j: usize) -> T {
        self.data[(c * self.height + i) * self.width + j]
    }

    fn at_mut(&mut self, c: usize, i: usize, j: usize) -> &mut T {
        &mut self.data[(c * self.height + i) * self.width + j]
    }
}

pub(crate) fn linear<T: Number>(t: &Tensors<T>, name: &str, x: &Image<T>) -> Image<T> {
    let (shape, w) = t.get(&format!("{name}.weight"));
    let (bias_shape, b) = t.get(&format!("{name}.bias"));
    assert_eq!(shape, [bias_shape[0], x.data.len()]);
    let mut y = Image::zeros(1, 1, shape[0]);
    for o in 0..shape[0] {
        y.data[o] = b[o];
        for i in 0..shape[1] {
            y.data[o] = y.data[o] + w[o * shape[1] + i] * x.data[i];
        }
    }
    y
}

pub(crate) fn convolution<T: Number>(
    t: &Tensors<T>,
    name: &str,
    padding: usize,
    x: &Image<T>,
) -> Image<T> {
    strided_convolution(t, name, padding, 1, x)
}

pub(crate) fn strided_convolution<T: Number>(
    t: &Tensors<T>,
    name: &str,
    padding: usize,
    stride: usize,
    x: &Image<T>,
) -> Image<T> {
    let (shape, w) = t.get(&format!("{name}.weight"));
    let [outputs, inputs, kernel, columns] = *shape else {
        panic!("{name} has shape {shape:?}")
    };
    let bias = format!("{name}.bias");
    let zeros = vec![T::of(0.0); outputs];
    let b = match t.layout.tensor(&bias) {
        Some(_) => t.get(&bias).1,
        None => &zeros,
    };
    assert_eq!((inputs, kernel), (x.channels, columns));
    let height = (x.height + 2 * padding - kernel) / stride + 1;
    let width = (x.width + 2 * padding - kernel) / stride + 1;
    let mut y = Image::zeros(outputs, height, width);
    for o in 0..outputs {
        for i in 0..height {
            for j in 0..width {
                let mut sum = b[o];
                let (top, left) = (i * stride, j * stride);
                for c in 0..inputs {
                    let window = &w[(o * inputs + c) * kernel * kernel..];
                    // Rows and columns of the kernel that lie inside of the image.
                    for p in padding.saturating_sub(top)..kernel.min(x.height + padding - top) {
                        for q in padding.saturating_sub(left)..kernel.min(x.width + padding - left)
                        {
                            let value = x.at(c, top + p - padding, left + q - padding);
                            sum = sum + window[p * kernel + q] * value;
                        }
                    }
                }
                *y.at_mut(o, i, j) = sum;
            }
        }
    }
    y
}

pub(crate) fn pool<T: Number>(kind: Pooling, x: &Image<T>) -> Image<T> {
    windows(kind, 2, x.height / 2, x.width / 2, x)
}

/// Max pooling over 2x2 windows of stride 1.
pub(crate) fn dense_max_pool<T: Number>(x: &Image<T>) -> Image<T> {
    windows(Pooling::Max, 1, x.height - 1, x.width - 1, x)
}

fn windows<T: Number>(
    kind: Pooling,
    stride: usize,
    height: usize,
    width: usize,
    x: &Image<T>,
) -> Image<T> {
    let mut y = Image::zeros(x.channels, height, width);
    for c in 0..y.channels {
        for i in 0..y.height {
            for j in 0..y.width {
                let window = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    .map(|(p, q)| x.at(c, stride * i + p, stride * j + q));
                let larger = |a: T, b: T| if b.value() > a.value() { b } else { a };
                *y.at_mut(c, i, j) = match kind {
                    Pooling::Average => sum(window.into_iter()) * T::of(0.25),
                    Pooling::Max => window.into_iter().fold(window[0], larger),
                };
            }
        }
    }
    y
}

pub(crate) fn activation<T: Number>(kind: Activation, x: &Image<T>) -> Image<T> {
    let mut y = x.clone();
    for v in &mut y.data {
        let z = v.value();
        let sigmoid = 1.0 / (1.0 + (-z).exp());
        let slope = sigmoid * (1.0 - sigmoid);
        *v = match kind {
            Activation::Relu if z > 0.0 => *v,
            Activation::Relu => T::of(0.0),
            Activation::Tanh => {
                let t = z.tanh();
                v.apply([t, 1.0 - t * t, -2.0 * t * (1.0 - t * t)])
            }
            Activation::Sigmoid => v.apply([sigmoid, slope, slope * (1.0 - 2.0 * sigmoid)]),
            Activation::Softplus => v.apply([z.exp().ln_1p(), sigmoid, slope]),
        };
    }
    y
}

pub(crate) fn group_norm<T: Number>(
    t: &Tensors<T>,
    name: &str,
    groups: usize,
    x: &Image<T>,
) -> Image<T> {
    let (_, w) = t.get(&format!("{name}.weight"));
    let (_, b) = t.get(&format!("{name}.bias"));
    let mut y = x.clone();
    let plane = x.height * x.width;
    let per_group = x.channels / groups;
    for g in 0..groups {
        let range = g * per_group * plane..(g + 1) * per_group * plane;
        let values = &x.data[range.clone()];
        let share = T::of(1.0 / values.len() as f64);
        let mean = sum(values.iter().copied()) * share;
        let squares = values.iter().map(|&v| (v - mean) * (v - mean));
        let variance = sum(squares) * share + T::of(1e-5);
        let r = variance.value().powf(-0.5);
        let scale = variance.apply([r, -0.5 * r.powi(3), 0.75 * r.powi(5)]);
        for index in range {
            let channel = index / plane;
            y.data[index] = (x.data[index] - mean) * scale * w[channel] + b[channel];
        }
    }
    y
}

/// Cross-entropy of one example, from its logits: softmax, or for a single logit binary.
pub(crate) fn loss<T: Number>(logits: &[T], label: u32) -> T {
    let row: Vec<T> = match logits {
        [_] => vec![T::of(f64::from(label))],
        _ => (0..logits.len())
            .map(|class| T::of(f64::from(class == label as usize)))
            .collect(),
    };
    soft_loss(logits, &row)
}

/// The same against a probability for each class, or for a single logit that of class 1.
pub(crate) fn soft_loss<T: Number>(logits: &[T], targets: &[T]) -> T {
    let product = sum(logits.iter().zip(targets).map(|(&z, &y)| z * y));
    if let [z] = *logits {
        return activation(Activation::Softplus, &Image::of(1, 1, 1, vec![z])).data[0] - product;
    }
    let exps = logits.iter().map(|z| {
        let e = z.value().exp();
        z.apply([e; 3])
    });
    let total = sum(exps);
    let s = total.value();
    let log = total.apply([s.ln(), 1.0 / s, -1.0 / (s * s)]);
    log * sum(targets.iter().copied()) - product
}
