//! The `[model]` table of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which model is trained. `kind` names the architecture; the rest are its options.
///
/// ```
/// use cloister_nn::{Activation, LossConfig, ModelConfig};
///
/// let config: ModelConfig = serde_json::from_str(r#"{ "kind": "mlp", "hidden": [128] }"#)?;
/// assert_eq!(
///     config,
///     ModelConfig::Mlp {
///         hidden: vec![128],
///         activation: Activation::Relu,
///         loss: LossConfig::Auto,
///         bottleneck: None,
///     }
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelConfig {
    /// Logistic regression: one linear layer.
    Logistic {
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
    },
    /// Linear regression: one linear layer that answers with a number, for `data.target`.
    Linear {
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
    },
    /// A multi-layer perceptron: linear layers with an activation between them.
    Mlp {
        /// Units of each hidden layer (default `[200, 200]`, the MNIST perceptron of McMahan et al. 2017).
        #[serde(default = "default_hidden")]
        hidden: Vec<usize>,
        /// Activation after each hidden layer (default `relu`).
        #[serde(default)]
        activation: Activation,
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// LeNet-5 (LeCun et al. 1998) for images of any channel count, from 12 x 12 up: 5x5 convolutions of 6 and 16
    /// channels, each followed by a 2x2 pool, then linear layers of 120, 84 and the classes. Images whose smaller side
    /// is under 32 get a padding of 2 in the first convolution, as the paper does for 28 x 28 digits.
    Lenet5 {
        /// Activation after each convolution and hidden linear layer (default `tanh`).
        #[serde(default = "default_lenet5_activation")]
        activation: Activation,
        /// 2x2 pooling (default `average`).
        #[serde(default)]
        pooling: Pooling,
        /// Factor on the channels of both convolutions and the units of both hidden linear layers (default 1): with 3,
        /// 18 and 48 channels, 360 and 252 units.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        width: usize,
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// The MNIST CNN of McMahan et al. 2017: 5x5 same-padded convolutions of 32 and 64 channels, each with ReLU and 2x2
    /// max pooling, a linear layer of 512 with ReLU, and the output; 1,663,370 parameters for 28 x 28 x 1 and ten classes.
    Cnn {
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// Three blocks of 32, 64 and 128 channels, each a 3x3 same-padded convolution, group normalisation (8 groups),
    /// ReLU and 2x2 max pooling, then one linear layer. Made for 32 x 32 x 3; from 8 x 8 up.
    Cnn3 {
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// The small CNN of the differential-privacy literature (Papernot et al. 2021, and the tutorials of TensorFlow Privacy
    /// and Opacus): an 8x8 convolution of 16 channels with stride 2 and padding 3, a 4x4 convolution of 32 channels with
    /// stride 2, each followed by 2x2 max pooling with stride 1, a linear layer of 32, and the output; 26,010 parameters
    /// for 28 x 28 x 1 and ten classes. For images from 14 x 14 up.
    PapernotCnn {
        /// Activation after each convolution and the hidden linear layer (default `relu`; the paper recommends `tanh`).
        #[serde(default)]
        activation: Activation,
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// The LeNet of Deep Leakage from Gradients (Zhu et al. 2019): three 5x5 convolutions of 12 channels with padding 2 and
    /// strides 2, 2 and 1, and one linear layer; smooth, so that gradients tell much of their example. 13,426 parameters for
    /// 28 x 28 x 1 and ten classes. For images from 4 x 4 up.
    DlgLenet {
        /// Activation after each convolution (default `sigmoid`).
        #[serde(default = "default_dlg_activation")]
        activation: Activation,
        /// Bound of the uniform distribution that all weights and biases start from (default 0.5, as the authors do); 0
        /// for the start of the other models.
        #[serde(default = "default_spread")]
        spread: f32,
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
    /// A plain CNN as papers on gradient inversion attack it: 3x3 same-padded convolutions of 32, 64 and 64 channels, 2x2
    /// pools after the first two, and one linear layer; 87,114 parameters for 28 x 28 x 1 and ten classes. For images from
    /// 4 x 4 up.
    Convnet {
        /// Activation after each convolution (default `relu`).
        #[serde(default)]
        activation: Activation,
        /// 2x2 pooling (default `max`).
        #[serde(default = "default_convnet_pooling")]
        pooling: Pooling,
        /// Training loss (default `auto`).
        #[serde(default)]
        loss: LossConfig,
        /// A variational bottleneck, against inversion by those who do not know of it (default none).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bottleneck: Option<BottleneckConfig>,
    },
}

impl ModelConfig {
    /// The names of all kinds.
    pub const KINDS: [&str; 9] = [
        "logistic",
        "linear",
        "mlp",
        "lenet5",
        "cnn",
        "cnn3",
        "papernot-cnn",
        "dlg-lenet",
        "convnet",
    ];

    /// The name that `kind` has in a config file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Logistic { .. } => "logistic",
            Self::Linear { .. } => "linear",
            Self::Mlp { .. } => "mlp",
            Self::Lenet5 { .. } => "lenet5",
            Self::Cnn { .. } => "cnn",
            Self::Cnn3 { .. } => "cnn3",
            Self::PapernotCnn { .. } => "papernot-cnn",
            Self::DlgLenet { .. } => "dlg-lenet",
            Self::Convnet { .. } => "convnet",
        }
    }

    /// The training loss asked for.
    pub fn loss(&self) -> LossConfig {
        match self {
            Self::Logistic { loss }
            | Self::Linear { loss }
            | Self::Mlp { loss, .. }
            | Self::Lenet5 { loss, .. }
            | Self::Cnn { loss, .. }
            | Self::Cnn3 { loss, .. }
            | Self::PapernotCnn { loss, .. }
            | Self::DlgLenet { loss, .. }
            | Self::Convnet { loss, .. } => *loss,
        }
    }

    /// The variational bottleneck asked for.
    pub fn bottleneck(&self) -> Option<&BottleneckConfig> {
        match self {
            Self::Logistic { .. } | Self::Linear { .. } => None,
            Self::Mlp { bottleneck, .. }
            | Self::Lenet5 { bottleneck, .. }
            | Self::Cnn { bottleneck, .. }
            | Self::Cnn3 { bottleneck, .. }
            | Self::PapernotCnn { bottleneck, .. }
            | Self::DlgLenet { bottleneck, .. }
            | Self::Convnet { bottleneck, .. } => bottleneck.as_ref(),
        }
    }
}

/// A variational bottleneck within a model: an encoder to means and deviations, a draw from them in every pass, also of
/// evaluation, and a decoder back to the width before it. Its tensors are `bottleneck.encoder.*` and `bottleneck.decoder.*`.
/// The divergence of what is drawn from a standard normal number, in bits, is part of the training loss.
///
/// It stops an attacker who does not know that it is there, and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BottleneckConfig {
    /// PRECODE (Scheliga et al. 2022, arXiv 2108.04725): linear layers.
    Precode {
        /// Numbers that are drawn (default 256).
        #[serde(default = "default_latent")]
        latent: usize,
        /// What a bit of divergence counts in the loss, 0 or more (default 0.001).
        #[serde(default = "default_precode_beta")]
        beta: f32,
        /// The linear layer that it stands before, such as `fc1` (default the last).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// Whether it may have more parameters than the model without it (default false, which refuses one).
        #[serde(default, skip_serializing_if = "is_false")]
        may_outgrow: bool,
    },
    /// The convolutional variant (Scheliga et al. 2023, arXiv 2309.04515): a 5x5 same-padded convolution, a draw at every
    /// position, and a 1x1 convolution, both without bias.
    Convolutional {
        /// Channels that are drawn (default half of those before it).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latent: Option<usize>,
        /// What a bit of divergence counts in the loss, the mean of the positions, 0 or more (default 0.1).
        #[serde(default = "default_convolutional_beta")]
        beta: f32,
        /// The convolution behind whose activation it stands, such as `conv2` (default `conv1`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// Whether it may have more parameters than the model without it (default false, which refuses one).
        #[serde(default, skip_serializing_if = "is_false")]
        may_outgrow: bool,
    },
}

impl BottleneckConfig {
    /// The name that `kind` has in a config file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Precode { .. } => "precode",
            Self::Convolutional { .. } => "convolutional",
        }
    }

    /// What a bit of divergence counts in the loss.
    pub fn beta(&self) -> f32 {
        match self {
            Self::Precode { beta, .. } | Self::Convolutional { beta, .. } => *beta,
        }
    }
}

/// A non-linearity, applied to each number by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(0, x)`.
    #[default]
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `ln(1 + exp(x))`, a smooth ReLU.
    Softplus,
}

/// How each 2x2 window (stride 2) becomes one number. A last odd row or column is dropped, as in PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean.
    #[default]
    Average,
    /// The maximum; among equals the first in reading order, which alone receives the gradient.
    Max,
}

/// The training loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossConfig {
    /// `mse` for a numeric target, `binary` for two classes, `softmax` otherwise.
    #[default]
    Auto,
    /// Cross-entropy of the softmax over one output a class.
    Softmax,
    /// Binary cross-entropy of one output, the log-odds of class 1; for two classes only.
    Binary,
    /// Squared error `(z - y)^2` of one output, whose mean is the mean squared error; for a numeric target only.
    Mse,
    /// Absolute error `|z - y|` of one output; for a numeric target only.
    Mae,
}

fn default_hidden() -> Vec<usize> {
    vec![200, 200]
}

fn default_lenet5_activation() -> Activation {
    Activation::Tanh
}

fn one() -> usize {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_one(width: &usize) -> bool {
    *width == 1
}

fn default_latent() -> usize {
    256
}

fn default_precode_beta() -> f32 {
    1e-3
}

fn default_convolutional_beta() -> f32 {
    0.1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

fn default_dlg_activation() -> Activation {
    Activation::Sigmoid
}

fn default_spread() -> f32 {
    0.5
}

fn default_convnet_pooling() -> Pooling {
    Pooling::Max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let parse = |text: &str| serde_json::from_str::<ModelConfig>(text);
        assert_eq!(
            parse(r#"{"kind":"lenet5"}"#).expect("lenet5"),
            ModelConfig::Lenet5 {
                activation: Activation::Tanh,
                pooling: Pooling::Average,
                width: 1,
                loss: LossConfig::Auto,
                bottleneck: None
            }
        );
        assert_eq!(
            parse(r#"{"kind":"dlg-lenet"}"#).expect("dlg-lenet"),
            ModelConfig::DlgLenet {
                activation: Activation::Sigmoid,
                spread: 0.5,
                loss: LossConfig::Auto,
                bottleneck: None
            }
        );
        assert_eq!(
            parse(r#"{"kind":"convnet"}"#).expect("convnet"),
            ModelConfig::Convnet {
                activation: Activation::Relu,
                pooling: Pooling::Max,
                loss: LossConfig::Auto,
                bottleneck: None
            }
        );
        assert_eq!(
            parse(r#"{"kind":"mlp"}"#).expect("mlp"),
            ModelConfig::Mlp {
                hidden: vec![200, 200],
                activation: Activation::Relu,
                loss: LossConfig::Auto,
                bottleneck: None
            }
        );
        for kind in [
            "logistic",
            "linear",
            "mlp",
            "lenet5",
            "cnn",
            "cnn3",
            "papernot-cnn",
            "dlg-lenet",
            "convnet",
        ] {
            let config = parse(&format!(r#"{{"kind":"{kind}","loss":"softmax"}}"#)).expect(kind);
            assert_eq!((config.kind(), config.loss()), (kind, LossConfig::Softmax));
        }
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused() {
        for text in [
            r#"{"kind":"mlp","hiden":[3]}"#,
            r#"{"kind":"cnn","hidden":[3]}"#,
            r#"{"kind":"resnet"}"#,
            r#"{"hidden":[3]}"#,
            r#"{"kind":"mlp","activation":"gelu"}"#,
        ] {
            assert!(serde_json::from_str::<ModelConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_config_survives_a_round_trip() {
        let config = ModelConfig::Lenet5 {
            activation: Activation::Relu,
            pooling: Pooling::Max,
            width: 3,
            loss: LossConfig::Binary,
            bottleneck: None,
        };
        let text = serde_json::to_string(&config).expect("to json");
        assert_eq!(
            serde_json::from_str::<ModelConfig>(&text).expect("from json"),
            config
        );
    }

    /// Digests of configs are taken of this text: a key that is new must not show where it has its default.
    #[test]
    fn defaults_of_later_keys_are_not_written() {
        let config: ModelConfig = serde_json::from_str(r#"{"kind":"lenet5"}"#).expect("lenet5");
        assert_eq!(
            serde_json::to_string(&config).expect("to json"),
            r#"{"kind":"lenet5","activation":"tanh","pooling":"average","loss":"auto"}"#
        );
    }
}
