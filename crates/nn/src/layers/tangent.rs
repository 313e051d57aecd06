//! Tangents of layers: how a layer's output, and the derivatives of its backward pass, change when the parameters move along
//! a direction. A name with `_dot` is the derivative by the length of that step of the name without.
//!
//! One function for each way: [`Layer::tangent_forward`], [`Layer::tangent_backward_input`],
//! [`Layer::tangent_backward_parameters`].

use crate::config::Activation;
use crate::group_norm;
use crate::kernels::{self, ConvScratch};
use crate::layers::{Affine, Layer, Saved, Seen, with_batch};

/// What a layer makes of a direction before its passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    /// Whether the layer has parameters that move.
    pub(crate) moves: bool,
    /// For a folded convolution, the folded direction of its weight.
    folded: Vec<f32>,
}

/// Working memory of the tangent passes of all layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct TangentMemory {
    scratch: ConvScratch,
    /// As many zeros as a layer has outputs: the bias of a layer that does not move.
    zeros: Vec<f32>,
    /// One of the two terms of a gradient, in the layout of the parameters.
    term: Vec<f32>,
}

/// What the passes of a layer read.
pub(crate) struct TangentSeen<'a> {
    pub(crate) parameters: &'a [f32],
    pub(crate) direction: &'a [f32],
    pub(crate) prepared: &'a Prepared,
    /// What the forward pass of the value left.
    pub(crate) seen: Seen<'a>,
    /// The tangent of the layer's input; None where it does not move.
    pub(crate) x_dot: Option<&'a [f32]>,
}

/// Derivatives of the loss with respect to a layer's output, and their tangent.
#[derive(Clone, Copy)]
pub(crate) struct Deltas<'a> {
    /// None below the first layer that has parameters, where nothing needs it.
    pub(crate) dy: Option<&'a [f32]>,
    pub(crate) dy_dot: &'a [f32],
}

impl TangentSeen<'_> {
    /// Weights of a layer and their direction, as its kernels take them.
    fn weights(&self, place: Affine) -> [&[f32]; 2] {
        let (w, _) = place.of(self.parameters);
        let (v, _) = place.of(self.direction);
        match self.seen.saved {
            Saved::Weight(folded) => [folded, &self.prepared.folded],
            _ => [w, v],
        }
    }

    fn bias_direction(&self, place: Affine) -> &[f32] {
        place.of(self.direction).1
    }
}

impl Layer {
    /// Whether this is a fully connected layer.
    pub(crate) fn is_linear(&self) -> bool {
        matches!(self, Self::Linear { .. })
    }

    /// Room for a direction, and in `memory` for the passes of up to `max_batch` examples.
    pub(crate) fn tangent_room(&self, max_batch: usize, memory: &mut TangentMemory) -> Prepared {
        let mut prepared = Prepared::default();
        if let Some(place) = self.parameters()
            && memory.zeros.len() < place.bias_len
        {
            memory.zeros.resize(place.bias_len, 0.0);
        }
        if let Self::Conv2d { shape, folded, .. } = self {
            let shape = with_batch(shape, max_batch);
            memory.scratch.reserve(&shape);
            memory.scratch.reserve_pair(&shape);
            if folded.is_some() {
                prepared.folded = vec![0.0; shape.weight_len()];
            }
        }
        prepared
    }

    /// Looks at a direction: whether the layer moves in it.
    pub(crate) fn prepare(&self, direction: &[f32], prepared: &mut Prepared) {
        prepared.moves = self
            .parameters()
            .is_some_and(|place| direction[place.range()].iter().any(|&v| v != 0.0));
        if let Self::Conv2d {
            folded: Some(kernel),
            parameters,
            ..
        } = self
        {
            let (v, _) = parameters.of(direction);
            kernel.fold(v, &mut prepared.folded);
        }
    }

    /// The tangent `y_dot` of the layer's output. False, and nothing is written, where the output does not move.
    pub(crate) fn tangent_forward(
        &self,
        at: &TangentSeen<'_>,
        y_dot: &mut [f32],
        memory: &mut TangentMemory,
    ) -> bool {
        let n = at.seen.n;
        let Some(x_dot) = at.x_dot else {
            return self.tangent_forward_start(at, y_dot, memory);
        };
        match self {
            Self::Linear {
                inputs,
                outputs,
                parameters: place,
            } => {
                let [w, v] = at.weights(*place);
                if at.prepared.moves {
                    let b = at.bias_direction(*place);
                    let x = [x_dot, at.seen.x];
                    kernels::linear_forward_pair(x, [w, v], b, y_dot, n, *inputs, *outputs);
                } else {
                    let b = &memory.zeros[..*outputs];
                    kernels::linear_forward(x_dot, w, b, y_dot, n, *inputs, *outputs);
                }
            }
            Self::Conv2d {
                shape,
                parameters: place,
                ..
            } => {
                let shape = with_batch(shape, n);
                let [w, v] = at.weights(*place);
                if at.prepared.moves {
                    let b = at.bias_direction(*place);
                    let x = [x_dot, at.seen.x];
                    let scratch = &mut memory.scratch;
                    kernels::conv2d_forward_pair(&shape, x, [w, v], b, y_dot, scratch);
                } else {
                    let b = &memory.zeros[..place.bias_len];
                    kernels::conv2d_forward(&shape, x_dot, w, b, y_dot, &mut memory.scratch);
                }
            }
            Self::Fold(fold) => fold.forward(x_dot, y_dot),
            Self::AvgPool2(p) => {
                kernels::avg_pool2(x_dot, y_dot, n * p.channels, p.height, p.width);
            }
            Self::MaxPool2(p) | Self::MaxPool2Dense(p) => {
                if let Saved::Argmax(argmax) = at.seen.saved {
                    let argmax = &argmax[..y_dot.len()];
                    kernels::max_pool_gather(x_dot, argmax, y_dot, n * p.channels);
                }
            }
            Self::Activation { kind, .. } => match kind {
                Activation::Relu => kernels::relu_backward(at.seen.y, x_dot, y_dot),
                Activation::Tanh => kernels::tanh_backward(at.seen.y, x_dot, y_dot),
                Activation::Sigmoid => kernels::sigmoid_backward(at.seen.y, x_dot, y_dot),
                Activation::Softplus => kernels::softplus_backward(at.seen.y, x_dot, y_dot),
            },
            Self::GroupNorm { .. } => self.tangent_forward_norm(at, y_dot),
            Self::Sampling(sampling) => {
                if let Saved::Drawn(drawn) = at.seen.saved {
                    sampling.tangent_forward(x_dot, y_dot, drawn);
                }
            }
        }
        true
    }

    /// The same where the layer's input does not move.
    fn tangent_forward_start(
        &self,
        at: &TangentSeen<'_>,
        y_dot: &mut [f32],
        memory: &mut TangentMemory,
    ) -> bool {
        if !at.prepared.moves {
            return false;
        }
        let n = at.seen.n;
        match self {
            Self::Linear {
                inputs,
                outputs,
                parameters: place,
            } => {
                let ([_, v], b) = (at.weights(*place), at.bias_direction(*place));
                kernels::linear_forward(at.seen.x, v, b, y_dot, n, *inputs, *outputs);
            }
            Self::Conv2d {
                shape,
                parameters: place,
                ..
            } => {
                let ([_, v], b) = (at.weights(*place), at.bias_direction(*place));
                let shape = with_batch(shape, n);
                kernels::conv2d_forward(&shape, at.seen.x, v, b, y_dot, &mut memory.scratch);
            }
            Self::GroupNorm { .. } => self.tangent_forward_norm(at, y_dot),
            // Without parameters nothing moves here.
            Self::Fold(_)
            | Self::AvgPool2(_)
            | Self::MaxPool2(_)
            | Self::MaxPool2Dense(_)
            | Self::Activation { .. }
            | Self::Sampling(_) => return false,
        }
        true
    }

    fn tangent_forward_norm(&self, at: &TangentSeen<'_>, y_dot: &mut [f32]) {
        if let (Self::GroupNorm { shape, parameters }, Saved::Moments(moments)) =
            (self, at.seen.saved)
        {
            let (scale, b) = (at.weights(*parameters), at.bias_direction(*parameters));
            group_norm::tangent::forward(shape, at.seen.x, at.x_dot, scale, b, y_dot, moments);
        }
    }

    /// The tangent `dx_dot` of the derivative with respect to the layer's input. `y_dot` is what the forward pass wrote; None
    /// where the output does not move.
    pub(crate) fn tangent_backward_input(
        &self,
        at: &TangentSeen<'_>,
        y_dot: Option<&[f32]>,
        deltas: Deltas<'_>,
        dx_dot: &mut [f32],
        memory: &mut TangentMemory,
    ) {
        let dy_dot = deltas.dy_dot;
        let n = at.seen.n;
        match (self, deltas.dy) {
            (
                Self::Linear {
                    inputs,
                    outputs,
                    parameters: place,
                },
                Some(dy),
            ) if at.prepared.moves => {
                let weights = at.weights(*place);
                let dy = [dy_dot, dy];
                kernels::linear_backward_input_pair(dy, weights, dx_dot, n, *inputs, *outputs);
            }
            (
                Self::Conv2d {
                    shape,
                    parameters: place,
                    ..
                },
                Some(dy),
            ) if at.prepared.moves => {
                let shape = with_batch(shape, n);
                let weights = at.weights(*place);
                let scratch = &mut memory.scratch;
                kernels::conv2d_backward_input_pair(&shape, [dy_dot, dy], weights, dx_dot, scratch);
            }
            (Self::Activation { kind, .. }, Some(dy)) if y_dot.is_some() => {
                let (y, y_dot) = (at.seen.y, y_dot.unwrap_or_default());
                match kind {
                    Activation::Relu => kernels::relu_backward(y, dy_dot, dx_dot),
                    Activation::Tanh => {
                        kernels::tanh_tangent_backward(y, y_dot, dy, dy_dot, dx_dot);
                    }
                    Activation::Sigmoid => {
                        kernels::sigmoid_tangent_backward(y, y_dot, dy, dy_dot, dx_dot);
                    }
                    Activation::Softplus => {
                        kernels::softplus_tangent_backward(y, y_dot, dy, dy_dot, dx_dot);
                    }
                }
            }
            (Self::GroupNorm { shape, parameters }, Some(dy)) => {
                if let Saved::Moments(moments) = at.seen.saved {
                    let scale = at.weights(*parameters);
                    let (x, x_dot) = (at.seen.x, at.x_dot);
                    group_norm::tangent::backward_input(
                        shape, x, x_dot, scale, dy, dy_dot, dx_dot, moments,
                    );
                }
            }
            (Self::Sampling(sampling), dy) => {
                if let Saved::Drawn(drawn) = at.seen.saved {
                    sampling.tangent_backward_input(at.x_dot, dy, dy_dot, dx_dot, drawn);
                }
            }
            // Linear in the derivatives, with weights that do not move.
            (
                Self::Linear { .. }
                | Self::Conv2d { .. }
                | Self::Fold(_)
                | Self::AvgPool2(_)
                | Self::MaxPool2(_)
                | Self::MaxPool2Dense(_)
                | Self::Activation { .. }
                | Self::GroupNorm { .. },
                _,
            ) => {
                let scratch = &mut memory.scratch;
                self.backward_input(at.parameters, &at.seen, dy_dot, dx_dot, scratch);
            }
        }
    }

    /// Writes the layer's part of the tangent of the flat gradient; does nothing for a layer without parameters.
    pub(crate) fn tangent_backward_parameters(
        &self,
        at: &TangentSeen<'_>,
        deltas: Deltas<'_>,
        gradient_dot: &mut [f32],
        memory: &mut TangentMemory,
    ) {
        let dy_dot = deltas.dy_dot;
        match (self, at.x_dot, deltas.dy) {
            (
                Self::Linear {
                    inputs,
                    outputs,
                    parameters: place,
                },
                Some(x_dot),
                Some(dy),
            ) => {
                let (dw, db) = place.of_mut(gradient_dot);
                let (x, dy) = ([at.seen.x, x_dot], [dy_dot, dy]);
                let n = at.seen.n;
                kernels::linear_backward_parameters_pair(x, dy, dw, db, n, *inputs, *outputs);
            }
            (Self::Conv2d { parameters, .. }, Some(x_dot), Some(dy)) => {
                let TangentMemory { scratch, term, .. } = memory;
                if term.len() < gradient_dot.len() {
                    term.resize(gradient_dot.len(), 0.0);
                }
                self.backward_parameters(&at.seen, dy_dot, gradient_dot, scratch);
                let moved = Seen {
                    x: x_dot,
                    ..at.seen
                };
                self.backward_parameters(&moved, dy, term, scratch);
                let (dw, _) = parameters.of_mut(gradient_dot);
                for (dw, term) in dw.iter_mut().zip(parameters.of(term).0) {
                    *dw += term;
                }
            }
            (Self::GroupNorm { shape, parameters }, x_dot, Some(dy)) => {
                if let Saved::Moments(moments) = at.seen.saved {
                    let (dw, db) = parameters.of_mut(gradient_dot);
                    let x = at.seen.x;
                    group_norm::tangent::backward_parameters(
                        shape, x, x_dot, dy, dy_dot, dw, db, moments,
                    );
                }
            }
            // The input does not move, or there are no parameters.
            (
                Self::Linear { .. }
                | Self::Conv2d { .. }
                | Self::Fold(_)
                | Self::AvgPool2(_)
                | Self::MaxPool2(_)
                | Self::MaxPool2Dense(_)
                | Self::Activation { .. }
                | Self::GroupNorm { .. }
                | Self::Sampling(_),
                _,
                _,
            ) => {
                self.backward_parameters(&at.seen, dy_dot, gradient_dot, &mut memory.scratch);
            }
        }
    }
}
