//! The closed set of layers, each with separate passes forward, backward to its input and backward to its parameters.
//!
//! Activations are flat: `[n, features]`, where an image's features are `[channels, height, width]`. A flatten layer would
//! therefore do nothing and does not exist. What a layer saw (its input, its output, [`Saved`]) and the derivative of the
//! loss with respect to its output stay in the workspace after a step, which is what per-example gradient norms and a
//! tangent pass need: both add methods here and change none.

use std::ops::Range;

use crate::bottleneck::{Drawn, Sampling};
use crate::config::Activation;
use crate::fold::{Fold, FoldedKernel};
use crate::group_norm::{self, GroupNorm};
use crate::kernels::{self, ConvScratch, ConvShape};

mod tangent;

pub(crate) use tangent::{Deltas, Prepared, TangentMemory, TangentSeen};

/// A layer, with its sizes and the places of its parameters in the flat vector.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// `y = x W^T + b`, `W` of shape `[outputs, inputs]`.
    Linear {
        inputs: usize,
        outputs: usize,
        parameters: Affine,
    },
    /// Convolution of stride 1 with zero padding (a cross-correlation, as everywhere in the field).
    /// `shape.batch` is 1 here and set in each call.
    Conv2d {
        shape: ConvShape,
        /// Behind a [`Layer::Fold`], how the kernels of the strided convolution that both are become those of `shape`, which
        /// may have more entries than the tensor.
        folded: Option<FoldedKernel>,
        parameters: Affine,
    },
    /// The cells of an image as channels, for a convolution of larger stride.
    Fold(Fold),
    /// Mean over 2x2 windows.
    AvgPool2(Planes),
    /// Maximum over 2x2 windows.
    MaxPool2(Planes),
    /// Maximum over 2x2 windows of stride 1, which overlap.
    MaxPool2Dense(Planes),
    /// A non-linearity on each of `len` features.
    Activation { kind: Activation, len: usize },
    /// Group normalisation with a scale and a shift a channel.
    GroupNorm {
        shape: GroupNorm,
        parameters: Affine,
    },
    /// The draw of a variational bottleneck.
    Sampling(Sampling),
}

/// The places of a layer's weight and bias, which follow each other; a convolution without bias has one of length 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Affine {
    pub(crate) offset: usize,
    pub(crate) weight_len: usize,
    pub(crate) bias_len: usize,
}

impl Affine {
    pub(crate) fn range(self) -> Range<usize> {
        self.offset..self.offset + self.weight_len + self.bias_len
    }

    /// Weight and bias within a flat vector.
    fn of(self, vector: &[f32]) -> (&[f32], &[f32]) {
        vector[self.range()].split_at(self.weight_len)
    }

    /// Weight and bias within a flat vector, to be written.
    pub(crate) fn of_mut(self, vector: &mut [f32]) -> (&mut [f32], &mut [f32]) {
        vector[self.range()].split_at_mut(self.weight_len)
    }
}

/// Images as planes of equal size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// What a layer's forward pass keeps beside its output.
#[derive(Clone, Debug)]
pub(crate) enum Saved {
    /// Nothing: input and output are enough.
    Nothing,
    /// For max pooling, where in its plane each maximum was.
    Argmax(Vec<u32>),
    /// For a folded convolution, its folded weight.
    Weight(Vec<f32>),
    /// For group normalisation, mean and reciprocal deviation of each example's groups.
    Moments(Vec<group_norm::Moments>),
    /// For a variational bottleneck, its noise and deviations.
    Drawn(Drawn),
}

/// What the forward pass left for a layer: its input and output, both `[n, features]`.
pub(crate) struct Seen<'a> {
    pub(crate) n: usize,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a [f32],
    pub(crate) saved: &'a Saved,
}

impl Layer {
    /// Output features of one example.
    pub(crate) fn output_len(&self) -> usize {
        match self {
            Self::Linear { outputs, .. } => *outputs,
            Self::Conv2d { shape, .. } => shape.output_len(),
            Self::AvgPool2(p) | Self::MaxPool2(p) => p.channels * (p.height / 2) * (p.width / 2),
            Self::MaxPool2Dense(p) => p.channels * (p.height - 1) * (p.width - 1),
            Self::Fold(fold) => fold.output_len(),
            Self::Activation { len, .. } => *len,
            Self::GroupNorm { shape, .. } => shape.len(),
            Self::Sampling(sampling) => sampling.len(),
        }
    }

    /// The places of the layer's parameters, if it has any.
    pub(crate) fn parameters(&self) -> Option<Affine> {
        match self {
            Self::Linear { parameters, .. }
            | Self::Conv2d { parameters, .. }
            | Self::GroupNorm { parameters, .. } => Some(*parameters),
            Self::Fold(_)
            | Self::AvgPool2(_)
            | Self::MaxPool2(_)
            | Self::MaxPool2Dense(_)
            | Self::Activation { .. }
            | Self::Sampling(_) => None,
        }
    }

    /// Room for what the forward pass of up to `max_batch` examples keeps.
    pub(crate) fn saved(&self, max_batch: usize, scratch: &mut ConvScratch) -> Saved {
        match self {
            Self::MaxPool2(_) | Self::MaxPool2Dense(_) => {
                Saved::Argmax(vec![0; max_batch * self.output_len()])
            }
            Self::GroupNorm { shape, .. } => Saved::Moments(vec![
                group_norm::Moments::default();
                max_batch * shape.groups
            ]),
            Self::Conv2d { shape, folded, .. } => {
                scratch.reserve(&with_batch(shape, max_batch));
                match folded {
                    Some(_) => {
                        scratch.with_folded(shape.weight_len(), |_, _| ());
                        Saved::Weight(vec![0.0; shape.weight_len()])
                    }
                    None => Saved::Nothing,
                }
            }
            Self::Sampling(sampling) => Saved::Drawn(Drawn::new(max_batch * sampling.len())),
            Self::Linear { .. } | Self::Fold(_) | Self::AvgPool2(_) | Self::Activation { .. } => {
                Saved::Nothing
            }
        }
    }

    /// The output `y` of `n` examples `x`.
    pub(crate) fn forward(
        &self,
        parameters: &[f32],
        x: &[f32],
        y: &mut [f32],
        saved: &mut Saved,
        n: usize,
        scratch: &mut ConvScratch,
    ) {
        match self {
            Self::Linear {
                inputs,
                outputs,
                parameters: place,
            } => {
                let (w, b) = place.of(parameters);
                kernels::linear_forward(x, w, b, y, n, *inputs, *outputs);
            }
            Self::Conv2d {
                shape,
                folded,
                parameters: place,
            } => {
                let (mut w, b) = place.of(parameters);
                if let (Some(kernel), Saved::Weight(folded)) = (folded, saved) {
                    kernel.fold(w, folded);
                    w = folded;
                }
                kernels::conv2d_forward(&with_batch(shape, n), x, w, b, y, scratch);
            }
            Self::Fold(fold) => fold.forward(x, y),
            Self::AvgPool2(p) => kernels::avg_pool2(x, y, n * p.channels, p.height, p.width),
            Self::MaxPool2(p) => {
                if let Saved::Argmax(argmax) = saved {
                    let argmax = &mut argmax[..y.len()];
                    kernels::max_pool2(x, y, argmax, n * p.channels, p.height, p.width);
                }
            }
            Self::MaxPool2Dense(p) => {
                if let Saved::Argmax(argmax) = saved {
                    let argmax = &mut argmax[..y.len()];
                    kernels::max_pool2_dense(x, y, argmax, n * p.channels, p.height, p.width);
                }
            }
            Self::Activation { kind, .. } => match kind {
                Activation::Relu => kernels::relu(x, y),
                Activation::Tanh => kernels::tanh(x, y),
                Activation::Sigmoid => kernels::sigmoid(x, y),
                Activation::Softplus => kernels::softplus(x, y),
            },
            Self::GroupNorm {
                shape,
                parameters: place,
            } => {
                if let Saved::Moments(moments) = saved {
                    let (w, b) = place.of(parameters);
                    group_norm::forward(shape, x, w, b, y, &mut moments[..n * shape.groups]);
                }
            }
            Self::Sampling(sampling) => {
                if let Saved::Drawn(drawn) = saved {
                    sampling.forward(x, y, drawn);
                }
            }
        }
    }

    /// The derivative `dx` of the loss with respect to the input, from `dy`, that with respect to the output.
    pub(crate) fn backward_input(
        &self,
        parameters: &[f32],
        seen: &Seen<'_>,
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut ConvScratch,
    ) {
        let n = seen.n;
        match self {
            Self::Linear {
                inputs,
                outputs,
                parameters: place,
            } => {
                let (w, _) = place.of(parameters);
                kernels::linear_backward_input(dy, w, dx, n, *inputs, *outputs);
            }
            Self::Conv2d {
                shape,
                parameters: place,
                ..
            } => {
                let (mut w, _) = place.of(parameters);
                if let Saved::Weight(folded) = seen.saved {
                    w = folded;
                }
                kernels::conv2d_backward_input(&with_batch(shape, n), dy, w, dx, scratch);
            }
            Self::AvgPool2(p) => {
                kernels::avg_pool2_backward(dy, dx, n * p.channels, p.height, p.width);
            }
            Self::MaxPool2(p) => {
                if let Saved::Argmax(argmax) = seen.saved {
                    let argmax = &argmax[..dy.len()];
                    let planes = n * p.channels;
                    kernels::max_pool2_backward(dy, argmax, dx, planes, p.height, p.width);
                }
            }
            Self::MaxPool2Dense(p) => {
                if let Saved::Argmax(argmax) = seen.saved {
                    let argmax = &argmax[..dy.len()];
                    let planes = n * p.channels;
                    kernels::max_pool2_dense_backward(dy, argmax, dx, planes, p.height, p.width);
                }
            }
            Self::Fold(fold) => fold.backward_input(dy, dx),
            Self::Activation { kind, .. } => match kind {
                Activation::Relu => kernels::relu_backward(seen.y, dy, dx),
                Activation::Tanh => kernels::tanh_backward(seen.y, dy, dx),
                Activation::Sigmoid => kernels::sigmoid_backward(seen.y, dy, dx),
                Activation::Softplus => kernels::softplus_backward(seen.y, dy, dx),
            },
            Self::GroupNorm {
                shape,
                parameters: place,
            } => {
                if let Saved::Moments(moments) = seen.saved {
                    let (w, _) = place.of(parameters);
                    group_norm::backward_input(
                        shape,
                        seen.x,
                        w,
                        dy,
                        dx,
                        &moments[..n * shape.groups],
                    );
                }
            }
            Self::Sampling(sampling) => {
                if let Saved::Drawn(drawn) = seen.saved {
                    sampling.backward_input(seen.x, dy, dx, drawn);
                }
            }
        }
    }

    /// Writes the layer's part of the flat `gradient`, from `dy`; does nothing for a layer without parameters.
    pub(crate) fn backward_parameters(
        &self,
        seen: &Seen<'_>,
        dy: &[f32],
        gradient: &mut [f32],
        scratch: &mut ConvScratch,
    ) {
        let n = seen.n;
        match self {
            Self::Linear {
                inputs,
                outputs,
                parameters: place,
            } => {
                let (dw, db) = place.of_mut(gradient);
                kernels::linear_backward_parameters(seen.x, dy, dw, db, n, *inputs, *outputs);
            }
            Self::Conv2d {
                shape,
                folded,
                parameters: place,
            } => {
                let (dw, db) = place.of_mut(gradient);
                let shape = with_batch(shape, n);
                unfolding(&shape, *folded, dw, scratch, |dw, scratch| {
                    kernels::conv2d_backward_parameters(&shape, seen.x, dy, dw, db, scratch);
                });
            }
            Self::GroupNorm {
                shape,
                parameters: place,
            } => {
                if let Saved::Moments(moments) = seen.saved {
                    let (dw, db) = place.of_mut(gradient);
                    let moments = &moments[..n * shape.groups];
                    group_norm::backward_parameters(shape, seen.x, dy, dw, db, moments);
                }
            }
            Self::Fold(_)
            | Self::AvgPool2(_)
            | Self::MaxPool2(_)
            | Self::MaxPool2Dense(_)
            | Self::Activation { .. }
            | Self::Sampling(_) => {}
        }
    }
}

fn with_batch(shape: &ConvShape, batch: usize) -> ConvShape {
    ConvShape { batch, ..*shape }
}

/// Lets `gradient` write the gradient of a convolution's kernels, and unfolds it into `dw` where the kernels are folded.
pub(crate) fn unfolding(
    shape: &ConvShape,
    folded: Option<FoldedKernel>,
    dw: &mut [f32],
    scratch: &mut ConvScratch,
    gradient: impl FnOnce(&mut [f32], &mut ConvScratch),
) {
    let Some(kernel) = folded else {
        return gradient(dw, scratch);
    };
    scratch.with_folded(shape.weight_len(), |folded, scratch| {
        gradient(folded, scratch);
        kernel.unfold(folded, dw);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of equal maxima only the first, in reading order, receives the gradient; the dropped last column receives none.
    #[test]
    fn ties_in_a_max_pool_go_to_the_first() {
        let layer = Layer::MaxPool2(Planes {
            channels: 1,
            height: 2,
            width: 5,
        });
        let x = [3.0, 3.0, 1.0, 2.0, 9.0, 3.0, 3.0, 2.0, 2.0, 9.0];
        let mut scratch = ConvScratch::new();
        let mut saved = layer.saved(1, &mut scratch);
        let mut y = [0.0; 2];
        layer.forward(&[], &x, &mut y, &mut saved, 1, &mut scratch);
        assert_eq!(y, [3.0, 2.0]);
        let seen = Seen {
            n: 1,
            x: &x,
            y: &y,
            saved: &saved,
        };
        let mut dx = [f32::NAN; 10];
        layer.backward_input(&[], &seen, &[5.0, 7.0], &mut dx, &mut scratch);
        assert_eq!(dx, [5.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    /// One example, two groups of two channels, by hand: each group is (-1, 1, -1, 1) but for scale and place.
    #[test]
    fn group_norm_by_hand() {
        let layer = Layer::GroupNorm {
            shape: GroupNorm {
                channels: 4,
                plane: 2,
                groups: 2,
            },
            parameters: Affine {
                offset: 1,
                weight_len: 4,
                bias_len: 4,
            },
        };
        let parameters = [99.0, 1.0, 2.0, 3.0, 4.0, 0.0, 10.0, 20.0, 30.0];
        let x = [4.0, 6.0, 4.0, 6.0, -300.0, 100.0, -300.0, 100.0];
        let mut scratch = ConvScratch::new();
        let mut saved = layer.saved(3, &mut scratch);
        let mut y = [0.0; 8];
        layer.forward(&parameters, &x, &mut y, &mut saved, 1, &mut scratch);
        let expected = [-1.0, 1.0, 8.0, 12.0, 17.0, 23.0, 26.0, 34.0];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-3, "{y} is not {expected}");
        }
        let seen = Seen {
            n: 1,
            x: &x,
            y: &y,
            saved: &saved,
        };
        let dy = [1.0, 2.0, 3.0, 5.0, 1.0, 0.0, 0.0, 0.0];
        let mut gradient = [f32::NAN; 9];
        layer.backward_parameters(&seen, &dy, &mut gradient, &mut scratch);
        assert!(gradient[0].is_nan());
        let expected = [1.0, 2.0, -1.0, 0.0, 3.0, 8.0, 1.0, 0.0];
        for (g, expected) in gradient[1..].iter().zip(expected) {
            assert!((g - expected).abs() < 1e-3, "{g} is not {expected}");
        }
    }
}
