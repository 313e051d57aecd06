//! Models on one flat parameter vector: forward, backward, optimisers, metrics, model files.
//!
//! A federation averages, clips, masks and attacks *vectors*. So a model here owns no parameters: a [`Model`] is a
//! description, its parameters are one `&[f32]` of length d, and its [`Layout`] says which named tensor lies where in it.
//! Gradients and updates are vectors of the same layout.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`ModelConfig`] | the `[model]` table of an experiment: `logistic`, `mlp`, `lenet5`, `cnn`, `cnn3`, `papernot-cnn`, ... |
//! | [`Model`] | layers and layout; [`Model::gradient`] and [`Model::logits`] |
//! | [`Model::clipped_gradient_sum`] | the sum of clipped per-example gradients, for DP-SGD |
//! | [`Model::value`], [`Model::tangent`] | derivatives of a function of the gradient with respect to the inputs, for attacks on it |
//! | [`Workspace`] | what one thread needs beside parameters and data; allocated once, then nothing is |
//! | [`Optimizer`] | SGD, momentum, Adam; weight decay; the FedProx term |
//! | [`metrics`] | accuracy, log loss, AUROC, confusion; rankings, thresholds, calibration, intervals, sums over sites |
//! | [`parallel`] | large batches and evaluation over several threads |
//! | [`model_file`] | the vector as a safetensors file |
//! | [`kernels`] | the arithmetic |
//!
//! # Example
//!
//! Two clouds of points, told apart by logistic regression after fifty full-batch steps:
//!
//! ```
//! use cloister_nn::{InputShape, LossConfig, Model, ModelConfig, Optimizer, OptimizerConfig};
//! use cloister_nn::parallel::evaluate;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! let features = [0.9, 1.2, 1.1, 0.8, -1.0, -0.7, -1.3, -0.9]; // [4, 2], row by row
//! let labels = [1, 1, 0, 0];
//!
//! let shape = InputShape { channels: 1, height: 1, width: 2 };
//! let model = Model::build(&ModelConfig::Logistic { loss: LossConfig::Auto }, shape, 2)?;
//! let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
//!
//! let mut workspace = model.workspace(labels.len());
//! let mut gradient = vec![0.0; model.layout().len()];
//! let mut optimizer = Optimizer::new(&OptimizerConfig::SGD, model.layout().len());
//! for _ in 0..50 {
//!     model.gradient(&parameters, &features, &labels, &mut workspace, &mut gradient);
//!     optimizer.step(&mut parameters, &gradient, 0.5, 0.0, None);
//! }
//! // A model with a bottleneck draws in every pass, and asks for a generator; this one does not.
//! let noise = |block: u32| ChaCha8Rng::seed_from_u64(block.into());
//! assert_eq!(evaluate(&model, &parameters, &features, &labels, 1, noise).accuracy, 1.0);
//! # Ok::<(), cloister_nn::ModelError>(())
//! ```
//!
//! # Conventions
//!
//! * Everything is `f32` and row-major. Examples are `[n, features]`; the features of an image are `[channels, height,
//!   width]`. Labels are class numbers from 0.
//! * Tensors have PyTorch's names and shapes (`fc1.weight` is `[outputs, inputs]`, `conv1.weight` is `[outputs, inputs, rows,
//!   columns]`), so that a `state_dict` of the same architecture can be read by [`model_file`]. The names count up:
//!   `conv1`, `conv2`, `norm1`, `fc1`, ...; logistic regression is a lone `fc1`.
//! * Two classes are learnt by one output, the log-odds of class 1, unless [`LossConfig::Softmax`] is asked for.
//! * Same arguments, same bits, on one kind of processor; batches may be cut over any number of threads. Randomness is
//!   drawn from the generator that is passed in, in [`Model::initial_parameters`] and [`Workspace::draw_noise`].
//! * Lengths that do not fit are bugs of the caller, and panic; a description that cannot be built, or bytes that are no
//!   model file, are errors. NaN and infinity never panic: they come out in the loss.

mod architecture;
mod bottleneck;
mod config;
mod error;
mod fold;
mod gram;
mod group_norm;
pub mod kernels;
mod layers;
mod layout;
mod loss;
pub mod metrics;
mod model;
pub mod model_file;
mod optimizer;
pub mod parallel;

pub use config::{Activation, BottleneckConfig, LossConfig, ModelConfig, Pooling};
pub use error::ModelError;
pub use layout::{Layout, LayoutError, TensorSpec};
pub use loss::{BatchLoss, Targets};
pub use model::{Clipped, Derivatives, InputShape, Model, TangentWorkspace, Workspace};
pub use optimizer::{Optimizer, OptimizerConfig, Proximal};
