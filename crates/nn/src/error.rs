//! What can be wrong with a model's description.

use thiserror::Error;

use crate::layout::LayoutError;

/// A model that cannot be built for the given input and classes.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An input without a single number.
    #[error("the input has {channels} x {height} x {width} = 0 features")]
    EmptyInput {
        /// Channels of the input.
        channels: usize,
        /// Rows of the input.
        height: usize,
        /// Columns of the input.
        width: usize,
    },
    /// Fewer than two classes.
    #[error("a classifier needs at least 2 classes, the data has {classes}")]
    TooFewClasses {
        /// Classes of the data.
        classes: usize,
    },
    /// Binary cross-entropy for a number of classes other than two.
    #[error("the binary loss is for 2 classes, the data has {classes}")]
    BinaryLoss {
        /// Classes of the data.
        classes: usize,
    },
    /// A loss or a model that tells classes apart, for a numeric target.
    #[error(
        "{what} tells classes apart, but data.target is a number: take a \"linear\" or \"mlp\" model with the loss \"mse\" or \"mae\""
    )]
    ClassesForNumber {
        /// The loss or the model.
        what: &'static str,
    },
    /// A loss or a model that answers with a number, for classes.
    #[error(
        "{what} answers with a number, but the data has {classes} classes: name the column to be predicted in data.target"
    )]
    NumberForClasses {
        /// The loss or the model.
        what: &'static str,
        /// Classes of the data.
        classes: usize,
    },
    /// A hidden layer of no unit.
    #[error("hidden layer {position} of the perceptron has 0 units")]
    EmptyHidden {
        /// Which, counted from 1.
        position: usize,
    },
    /// A width of 0.
    #[error("the width of lenet5 is 0")]
    EmptyWidth,
    /// A bound of the starting values that is no bound.
    #[error("the starting values of dlg-lenet cannot be spread over {spread}")]
    Spread {
        /// The bound asked for.
        spread: f32,
    },
    /// A variational bottleneck without a latent number, or with a weight in the loss that is none.
    #[error(
        "the bottleneck has {latent} latent numbers and beta {beta}; it needs one at least, and a beta of 0 or more"
    )]
    Bottleneck {
        /// Latent numbers or channels.
        latent: usize,
        /// What a bit of divergence counts in the loss.
        beta: f32,
    },
    /// A variational bottleneck at a layer that the model has not.
    #[error("{model} has no layer \"{place}\" for a {kind} bottleneck")]
    BottleneckPlace {
        /// The architecture.
        model: &'static str,
        /// The layer asked for.
        place: String,
        /// `precode`, which stands before a linear layer, or `convolutional`, which stands behind a convolution.
        kind: &'static str,
    },
    /// A variational bottleneck that is larger than the model around it.
    #[error(
        "the bottleneck adds {added} parameters to a model of {host}; fewer latent numbers or a place with fewer inputs make it \
         smaller, model.bottleneck.may_outgrow = true allows it"
    )]
    BottleneckOutgrows {
        /// Parameters of the bottleneck.
        added: usize,
        /// Parameters of the model without it.
        host: usize,
    },
    /// An image that the convolutions and pools would shrink to nothing.
    #[error(
        "{model} needs images of at least {minimum} x {minimum}, the data has {height} x {width}"
    )]
    ImageTooSmall {
        /// The architecture.
        model: &'static str,
        /// Least rows and columns.
        minimum: usize,
        /// Rows of the data.
        height: usize,
        /// Columns of the data.
        width: usize,
    },
    /// A model beyond what 32-bit indices and a sane amount of memory allow.
    #[error("the model would have {what} of more than {limit} numbers")]
    TooLarge {
        /// What is too large: a parameter vector or one example's activations.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
    },
    /// Tensors that make no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}
