//! Models on one flat parameter vector: forward, backward, optimisers, metrics.

mod architecture;
mod config;
mod error;
mod group_norm;
pub mod kernels;
mod layers;
mod layout;
mod loss;
mod model;
mod optimizer;

pub use config::{Activation, LossConfig, ModelConfig, Pooling};
pub use error::ModelError;
pub use layout::{Layout, LayoutError, TensorSpec};
pub use loss::BatchLoss;
pub use model::{InputShape, Model, Workspace};
pub use optimizer::{Optimizer, OptimizerConfig, Proximal};
