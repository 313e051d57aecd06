//! The models once more: one example at a time, in `f64`, by plain loops over named tensors. Nothing here is shared with the
//! crate but the names and shapes of the layout, so that both can only agree by being right.

use cloister_nn::{Activation, Layout, Pooling};

/// A parameter vector whose tensors are found by name.
pub(crate) struct Tensors<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) values: Vec<f64>,
}

/// An image, or with height and width 1 a row of features.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: Vec<f64>,
}

impl<'a> Tensors<'a> {
    pub(crate) fn new(layout: &'a Layout, parameters: &[f32]) -> Self {
        let values = parameters.iter().map(|&p| f64::from(p)).collect();
        Self { layout, values }
    }

    fn get(&self, name: &str) -> (&[usize], &[f64]) {
        let spec = self
            .layout
            .tensor(name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        (&spec.shape, &self.values[spec.range()])
    }
}

impl Image {
    pub(crate) fn new(channels: usize, height: usize, width: usize, data: &[f32]) -> Self {
        assert_eq!(data.len(), channels * height * width);
        let data = data.iter().map(|&x| f64::from(x)).collect();
        Self {
            channels,
            height,
            width,
            data,
        }
    }

    fn zeros(channels: usize, height: usize, width: usize) -> Self {
        let data = vec![0.0; channels * height * width];
        Self {
            channels,
            height,
            width,
            data,
        }
    }

    fn at(&self, c: usize, i: usize, j: usize) -> f64 {
        self.data[(c * self.height + i) * self.width + j]
    }

    fn at_mut(&mut self, c: usize, i: usize, j: usize) -> &mut f64 {
        &mut self.data[(c * self.height + i) * self.width + j]
    }
}

pub(crate) fn linear(t: &Tensors, name: &str, x: &Image) -> Image {
    let (shape, w) = t.get(&format!("{name}.weight"));
    let (bias_shape, b) = t.get(&format!("{name}.bias"));
    assert_eq!(shape, [bias_shape[0], x.data.len()]);
    let mut y = Image::zeros(1, 1, shape[0]);
    for o in 0..shape[0] {
        y.data[o] = b[o];
        for i in 0..shape[1] {
            y.data[o] += w[o * shape[1] + i] * x.data[i];
        }
    }
    y
}

pub(crate) fn convolution(t: &Tensors, name: &str, padding: usize, x: &Image) -> Image {
    strided_convolution(t, name, padding, 1, x)
}

pub(crate) fn strided_convolution(
    t: &Tensors,
    name: &str,
    padding: usize,
    stride: usize,
    x: &Image,
) -> Image {
    let (shape, w) = t.get(&format!("{name}.weight"));
    let (_, b) = t.get(&format!("{name}.bias"));
    let [outputs, inputs, kernel, columns] = *shape else {
        panic!("{name} has shape {shape:?}")
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
                            sum += window[p * kernel + q] * value;
                        }
                    }
                }
                *y.at_mut(o, i, j) = sum;
            }
        }
    }
    y
}

pub(crate) fn pool(kind: Pooling, x: &Image) -> Image {
    windows(kind, 2, x.height / 2, x.width / 2, x)
}

/// Max pooling over 2x2 windows of stride 1.
pub(crate) fn dense_max_pool(x: &Image) -> Image {
    windows(Pooling::Max, 1, x.height - 1, x.width - 1, x)
}

fn windows(kind: Pooling, stride: usize, height: usize, width: usize, x: &Image) -> Image {
    let mut y = Image::zeros(x.channels, height, width);
    for c in 0..y.channels {
        for i in 0..y.height {
            for j in 0..y.width {
                let window = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    .map(|(p, q)| x.at(c, stride * i + p, stride * j + q));
                *y.at_mut(c, i, j) = match kind {
                    Pooling::Average => window.iter().sum::<f64>() / 4.0,
                    Pooling::Max => window.iter().copied().fold(f64::MIN, f64::max),
                };
            }
        }
    }
    y
}

pub(crate) fn activation(kind: Activation, x: &Image) -> Image {
    let mut y = x.clone();
    for v in &mut y.data {
        *v = match kind {
            Activation::Relu => v.max(0.0),
            Activation::Tanh => v.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-*v).exp()),
            Activation::Softplus => v.exp().ln_1p(),
        };
    }
    y
}

pub(crate) fn group_norm(t: &Tensors, name: &str, groups: usize, x: &Image) -> Image {
    let (_, w) = t.get(&format!("{name}.weight"));
    let (_, b) = t.get(&format!("{name}.bias"));
    let mut y = x.clone();
    let plane = x.height * x.width;
    let per_group = x.channels / groups;
    for g in 0..groups {
        let range = g * per_group * plane..(g + 1) * per_group * plane;
        let values = &x.data[range.clone()];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        for index in range {
            let channel = index / plane;
            let h = (x.data[index] - mean) / (variance + 1e-5).sqrt();
            y.data[index] = h * w[channel] + b[channel];
        }
    }
    y
}

/// Cross-entropy of one example, from its logits: softmax, or for a single logit binary.
pub(crate) fn loss(logits: &[f64], label: u32) -> f64 {
    match *logits {
        [z] => {
            let p = 1.0 / (1.0 + (-z).exp());
            -(if label == 1 { p } else { 1.0 - p }).ln()
        }
        _ => {
            let sum: f64 = logits.iter().map(|z| z.exp()).sum();
            sum.ln() - logits[label as usize]
        }
    }
}
