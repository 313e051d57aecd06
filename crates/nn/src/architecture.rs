//! From a model's description to its layers, its parameter layout and its initialisation.

use crate::config::{Activation, BottleneckConfig, LossConfig, ModelConfig, Pooling};
use crate::error::ModelError;
use crate::fold::{Fold, FoldedKernel};
use crate::group_norm::GroupNorm;
use crate::kernels::ConvShape;
use crate::layers::{Affine, Layer, Planes};
use crate::layout::Layout;
use crate::loss::Loss;
use crate::model::InputShape;

mod bottleneck;

/// Most numbers in a parameter vector (4 GiB of `f32`) or in one example's activations.
const MOST: usize = 1 << 30;

/// Groups of the group normalisations of `cnn3`.
const NORM_GROUPS: usize = 8;

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Start {
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// All the same.
    Constant(f32),
}

/// What a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One of so many classes.
    Class(usize),
    /// A number.
    Number,
}

/// A finished description.
#[derive(Debug)]
pub(crate) struct Architecture {
    pub(crate) layers: Vec<Layer>,
    /// The first layer that has parameters.
    pub(crate) first: usize,
    pub(crate) layout: Layout,
    /// One for each tensor of the layout.
    pub(crate) starts: Vec<Start>,
    pub(crate) loss: Loss,
    pub(crate) outputs: usize,
}

/// Builds the layers of `config` for inputs of that shape and such an answer.
pub(crate) fn build(
    config: &ModelConfig,
    input: InputShape,
    asked: Asked,
) -> Result<Architecture, ModelError> {
    let features = input
        .checked_len()
        .filter(|&len| len <= MOST)
        .ok_or(ModelError::TooLarge {
            what: "an input",
            limit: MOST,
        })?;
    if features == 0 {
        return Err(ModelError::EmptyInput {
            channels: input.channels,
            height: input.height,
            width: input.width,
        });
    }
    let (loss, outputs) = loss(config, asked)?;
    let mut stack = Stack::new(input, config.bottleneck());
    stack.check_bottleneck()?;
    match config {
        ModelConfig::Logistic { .. } | ModelConfig::Linear { .. } => {
            stack.linear(outputs, None)?;
        }
        ModelConfig::Mlp {
            hidden, activation, ..
        } => {
            for (index, &units) in hidden.iter().enumerate() {
                if units == 0 {
                    let position = index + 1;
                    return Err(ModelError::EmptyHidden { position });
                }
                stack.linear(units, Some(*activation))?;
            }
            stack.linear(outputs, None)?;
        }
        ModelConfig::Lenet5 {
            activation,
            pooling,
            width,
            ..
        } => stack.lenet5(*activation, *pooling, *width, outputs)?,
        ModelConfig::Cnn { .. } => stack.mcmahan(outputs)?,
        ModelConfig::Cnn3 { .. } => stack.three_blocks(outputs)?,
        ModelConfig::PapernotCnn { activation, .. } => stack.papernot(*activation, outputs)?,
        ModelConfig::DlgLenet {
            activation, spread, ..
        } => stack.dlg(*activation, *spread, outputs)?,
        ModelConfig::Convnet {
            activation,
            pooling,
            ..
        } => stack.convnet(*activation, *pooling, outputs)?,
    }
    stack.check_bottleneck_size(config.kind())?;
    let has_parameters = |layer: &Layer| layer.parameters().is_some();
    Ok(Architecture {
        first: stack.layers.iter().position(has_parameters).unwrap_or(0),
        layers: stack.layers,
        layout: Layout::new(stack.tensors)?,
        starts: stack.starts,
        loss,
        outputs,
    })
}

/// The loss in force, and how many outputs it wants.
fn loss(config: &ModelConfig, asked: Asked) -> Result<(Loss, usize), ModelError> {
    let Asked::Class(classes) = asked else {
        let classes_only = |what| Err(ModelError::ClassesForNumber { what });
        return match (config, config.loss()) {
            (ModelConfig::Logistic { .. }, _) => classes_only("model.kind = \"logistic\""),
            (_, LossConfig::Softmax) => classes_only("model.loss = \"softmax\""),
            (_, LossConfig::Binary) => classes_only("model.loss = \"binary\""),
            (_, LossConfig::Auto | LossConfig::Mse) => Ok((Loss::Squared, 1)),
            (_, LossConfig::Mae) => Ok((Loss::Absolute, 1)),
        };
    };
    if classes < 2 {
        return Err(ModelError::TooFewClasses { classes });
    }
    let number_only = |what| Err(ModelError::NumberForClasses { what, classes });
    match (config, config.loss(), classes) {
        (ModelConfig::Linear { .. }, ..) => number_only("model.kind = \"linear\""),
        (_, LossConfig::Mse, _) => number_only("model.loss = \"mse\""),
        (_, LossConfig::Mae, _) => number_only("model.loss = \"mae\""),
        (_, LossConfig::Auto | LossConfig::Binary, 2) => Ok((Loss::Binary, 1)),
        (_, LossConfig::Binary, _) => Err(ModelError::BinaryLoss { classes }),
        (_, LossConfig::Auto | LossConfig::Softmax, _) => Ok((Loss::Softmax, classes)),
    }
}

/// Layers under construction, with the shape of what the last one gives.
struct Stack<'a> {
    bottleneck: Option<&'a BottleneckConfig>,
    /// Its parameters, once it stands.
    bottleneck_parameters: Option<usize>,
    shape: InputShape,
    layers: Vec<Layer>,
    tensors: Vec<(String, Vec<usize>)>,
    starts: Vec<Start>,
    parameters: usize,
    linears: usize,
    convolutions: usize,
    norms: usize,
}

impl<'a> Stack<'a> {
    fn new(shape: InputShape, bottleneck: Option<&'a BottleneckConfig>) -> Self {
        Self {
            bottleneck,
            bottleneck_parameters: None,
            shape,
            layers: Vec::new(),
            tensors: Vec::new(),
            starts: Vec::new(),
            parameters: 0,
            linears: 0,
            convolutions: 0,
            norms: 0,
        }
    }

    fn lenet5(
        &mut self,
        activation: Activation,
        pooling: Pooling,
        width: usize,
        outputs: usize,
    ) -> Result<(), ModelError> {
        if width == 0 {
            return Err(ModelError::EmptyWidth);
        }
        self.need("lenet5", 12)?;
        let padding = if self.shape.height.min(self.shape.width) < 32 {
            2
        } else {
            0
        };
        self.convolution(width.saturating_mul(6), 5, padding, Some(activation))?;
        self.pool(pooling);
        self.convolution(width.saturating_mul(16), 5, 0, Some(activation))?;
        self.pool(pooling);
        self.linear(width.saturating_mul(120), Some(activation))?;
        self.linear(width.saturating_mul(84), Some(activation))?;
        self.linear(outputs, None)
    }

    fn mcmahan(&mut self, outputs: usize) -> Result<(), ModelError> {
        self.need("cnn", 4)?;
        for channels in [32, 64] {
            self.convolution(channels, 5, 2, Some(Activation::Relu))?;
            self.pool(Pooling::Max);
        }
        self.linear(512, Some(Activation::Relu))?;
        self.linear(outputs, None)
    }

    fn three_blocks(&mut self, outputs: usize) -> Result<(), ModelError> {
        self.need("cnn3", 8)?;
        for channels in [32, 64, 128] {
            self.normalised_convolution(channels, 3, 1, Activation::Relu)?;
            self.pool(Pooling::Max);
        }
        self.linear(outputs, None)
    }

    fn papernot(&mut self, activation: Activation, outputs: usize) -> Result<(), ModelError> {
        self.need("papernot-cnn", 14)?;
        self.strided_convolution(16, 8, 2, 3, activation)?;
        self.dense_max_pool();
        self.strided_convolution(32, 4, 2, 0, activation)?;
        self.dense_max_pool();
        self.linear(32, Some(activation))?;
        self.linear(outputs, None)
    }

    fn dlg(
        &mut self,
        activation: Activation,
        spread: f32,
        outputs: usize,
    ) -> Result<(), ModelError> {
        if !(spread.is_finite() && spread >= 0.0) {
            return Err(ModelError::Spread { spread });
        }
        self.need("dlg-lenet", 4)?;
        self.strided_convolution(12, 5, 2, 2, activation)?;
        self.strided_convolution(12, 5, 2, 2, activation)?;
        self.convolution(12, 5, 2, Some(activation))?;
        self.linear(outputs, None)?;
        if spread > 0.0 {
            for (start, (name, _)) in self.starts.iter_mut().zip(&self.tensors) {
                if !name.starts_with(bottleneck::PREFIX) {
                    *start = Start::Uniform(spread);
                }
            }
        }
        Ok(())
    }

    fn convnet(
        &mut self,
        activation: Activation,
        pooling: Pooling,
        outputs: usize,
    ) -> Result<(), ModelError> {
        self.need("convnet", 4)?;
        self.convolution(32, 3, 1, Some(activation))?;
        self.pool(pooling);
        self.convolution(64, 3, 1, Some(activation))?;
        self.pool(pooling);
        self.convolution(64, 3, 1, Some(activation))?;
        self.linear(outputs, None)
    }

    fn need(&self, model: &'static str, minimum: usize) -> Result<(), ModelError> {
        let InputShape { height, width, .. } = self.shape;
        if height.min(width) < minimum {
            return Err(ModelError::ImageTooSmall {
                model,
                minimum,
                height,
                width,
            });
        }
        Ok(())
    }

    /// A linear layer and what follows it.
    fn linear(&mut self, outputs: usize, then: Option<Activation>) -> Result<(), ModelError> {
        self.linears += 1;
        let name = format!("fc{}", self.linears);
        self.bottleneck_before(&name, then.is_none())?;
        self.bare_linear(&name, outputs, then)?;
        self.activation(then);
        Ok(())
    }

    fn bare_linear(
        &mut self,
        name: &str,
        outputs: usize,
        then: Option<Activation>,
    ) -> Result<(), ModelError> {
        let inputs = self.shape.len();
        let bound = weight_bound(then, inputs, outputs);
        let parameters = self.affine(name, vec![outputs, inputs], Start::Uniform(bound))?;
        self.layers.push(Layer::Linear {
            inputs,
            outputs,
            parameters,
        });
        self.shape = InputShape {
            channels: 1,
            height: 1,
            width: outputs,
        };
        Ok(())
    }

    /// A convolution and what follows it.
    fn convolution(
        &mut self,
        channels: usize,
        kernel: usize,
        padding: usize,
        then: Option<Activation>,
    ) -> Result<(), ModelError> {
        self.bare_convolution(channels, kernel, padding, then)?;
        self.activation(then);
        self.bottleneck_behind_convolution()
    }

    /// A convolution, a group normalisation and a non-linearity.
    fn normalised_convolution(
        &mut self,
        channels: usize,
        kernel: usize,
        padding: usize,
        then: Activation,
    ) -> Result<(), ModelError> {
        self.bare_convolution(channels, kernel, padding, Some(then))?;
        self.norms += 1;
        let name = format!("norm{}", self.norms);
        let parameters = self.affine(&name, vec![channels], Start::Constant(1.0))?;
        self.layers.push(Layer::GroupNorm {
            shape: GroupNorm {
                channels,
                plane: self.shape.height * self.shape.width,
                groups: NORM_GROUPS,
            },
            parameters,
        });
        self.activation(Some(then));
        self.bottleneck_behind_convolution()
    }

    fn bare_convolution(
        &mut self,
        channels: usize,
        kernel: usize,
        padding: usize,
        then: Option<Activation>,
    ) -> Result<(), ModelError> {
        let shape = self.conv_shape(channels, kernel, padding)?;
        self.convolutions += 1;
        let name = format!("conv{}", self.convolutions);
        let sizes = [channels, shape.in_channels, kernel, kernel];
        let parameters = self.kernels(&name, sizes, then, true)?;
        self.push_convolution(shape, None, parameters);
        Ok(())
    }

    /// A convolution of what the last layer gives, unless its output would be too large.
    fn conv_shape(
        &self,
        channels: usize,
        kernel: usize,
        padding: usize,
    ) -> Result<ConvShape, ModelError> {
        let shape = ConvShape {
            batch: 1,
            in_channels: self.shape.channels,
            height: self.shape.height,
            width: self.shape.width,
            out_channels: channels,
            kernel,
            padding,
        };
        outputs_of(&shape)
            .checked_len()
            .filter(|&len| len <= MOST)
            .ok_or(ModelError::TooLarge {
                what: "activations",
                limit: MOST,
            })?;
        Ok(shape)
    }

    /// Weight and bias of a convolution: `sizes` are channels, those before it, and those of the kernel.
    fn kernels(
        &mut self,
        name: &str,
        sizes: [usize; 4],
        then: Option<Activation>,
        has_bias: bool,
    ) -> Result<Affine, ModelError> {
        let [channels, inputs, rows, columns] = sizes;
        let window = rows * columns;
        let bound = weight_bound(then, inputs * window, channels * window);
        let bias_len = if has_bias { channels } else { 0 };
        self.tensors_of(name, sizes.to_vec(), bias_len, Start::Uniform(bound))
    }

    fn push_convolution(
        &mut self,
        shape: ConvShape,
        folded: Option<FoldedKernel>,
        parameters: Affine,
    ) {
        self.layers.push(Layer::Conv2d {
            shape,
            folded,
            parameters,
        });
        self.shape = outputs_of(&shape);
    }

    /// A convolution of any stride, and what follows it.
    fn strided_convolution(
        &mut self,
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        then: Activation,
    ) -> Result<(), ModelError> {
        let before = self.shape;
        let kernels = FoldedKernel { kernel, stride };
        let cells = |size: usize| (size + 2 * padding - kernel) / stride + kernels.side();
        let fold = Fold {
            channels: before.channels,
            height: before.height,
            width: before.width,
            padding,
            stride,
            rows: cells(before.height),
            columns: cells(before.width),
        };
        self.layers.push(Layer::Fold(fold));
        self.shape = InputShape {
            channels: before.channels * stride * stride,
            height: fold.rows,
            width: fold.columns,
        };
        let shape = self.conv_shape(channels, kernels.side(), 0)?;
        // Shape and start of the tensor are those of the strided convolution.
        self.convolutions += 1;
        let name = format!("conv{}", self.convolutions);
        let sizes = [channels, before.channels, kernel, kernel];
        let parameters = self.kernels(&name, sizes, Some(then), true)?;
        self.push_convolution(shape, Some(kernels), parameters);
        self.activation(Some(then));
        self.bottleneck_behind_convolution()
    }

    fn pool(&mut self, pooling: Pooling) {
        let planes = Planes {
            channels: self.shape.channels,
            height: self.shape.height,
            width: self.shape.width,
        };
        self.layers.push(match pooling {
            Pooling::Average => Layer::AvgPool2(planes),
            Pooling::Max => Layer::MaxPool2(planes),
        });
        self.shape.height /= 2;
        self.shape.width /= 2;
    }

    /// Maximum over 2x2 windows of stride 1.
    fn dense_max_pool(&mut self) {
        self.layers.push(Layer::MaxPool2Dense(Planes {
            channels: self.shape.channels,
            height: self.shape.height,
            width: self.shape.width,
        }));
        self.shape.height -= 1;
        self.shape.width -= 1;
    }

    fn activation(&mut self, kind: Option<Activation>) {
        if let Some(kind) = kind {
            let len = self.shape.len();
            self.layers.push(Layer::Activation { kind, len });
        }
    }

    /// Adds `NAME.weight` of those sizes and `NAME.bias`, of its first size, which starts at zero.
    fn affine(
        &mut self,
        name: &str,
        sizes: Vec<usize>,
        start: Start,
    ) -> Result<Affine, ModelError> {
        let bias_len = sizes.first().copied().unwrap_or(0);
        self.tensors_of(name, sizes, bias_len, start)
    }

    /// The same with a bias of another length, none of length 0.
    fn tensors_of(
        &mut self,
        name: &str,
        sizes: Vec<usize>,
        bias_len: usize,
        start: Start,
    ) -> Result<Affine, ModelError> {
        let affine = sizes
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))
            .filter(|&len| len <= MOST && bias_len <= MOST)
            .map(|weight_len| Affine {
                offset: self.parameters,
                weight_len,
                bias_len,
            });
        let affine = affine
            .filter(|a| a.offset + a.weight_len + a.bias_len <= MOST)
            .ok_or(ModelError::TooLarge {
                what: "a parameter vector",
                limit: MOST,
            })?;
        self.parameters += affine.weight_len + affine.bias_len;
        self.tensors.push((format!("{name}.weight"), sizes));
        self.starts.push(start);
        if bias_len > 0 {
            self.tensors.push((format!("{name}.bias"), vec![bias_len]));
            self.starts.push(Start::Constant(0.0));
        }
        Ok(affine)
    }
}

/// What a convolution gives.
fn outputs_of(shape: &ConvShape) -> InputShape {
    InputShape {
        channels: shape.out_channels,
        height: shape.out_height(),
        width: shape.out_width(),
    }
}

/// Bound of the uniform distribution of a weight, by what follows it.
///
/// He et al. 2015 (`sqrt(6 / fan_in)`) before ReLU and softplus; Glorot and Bengio 2010 (`sqrt(6 / (fan_in + fan_out))`)
/// before tanh, sigmoid and the loss.
fn weight_bound(then: Option<Activation>, fan_in: usize, fan_out: usize) -> f32 {
    let fan = match then {
        Some(Activation::Relu | Activation::Softplus) => fan_in as f64,
        Some(Activation::Tanh | Activation::Sigmoid) | None => fan_in as f64 + fan_out as f64,
    };
    (6.0 / fan).sqrt() as f32
}
