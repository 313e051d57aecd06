//! From cells and pixels to features, by figures of the training rows.
//!
//! A [`PreparePlan`] says what is done to each column before anything is known of its values, and which [`Question`] must
//! be answered for the rest. The answer makes a [`Pipeline`] of it, which codes any row: those of training, of a test,
//! and single records that come later.
//!
//! [`Question`]: crate::statistics::Question

mod augment;
mod build;
mod category;
mod cells;
mod check;
mod config;
mod flow;
mod hashing;
mod hog;
mod images;
mod mix;
mod number;
mod pipeline;
mod plan;
mod record;
mod rows;
mod saved;
mod table;
mod time;

pub use augment::{AugmentConfig, augment};
pub(crate) use build::Roles;
pub(crate) use category::ClassCounts;
pub(crate) use cells::{CellFault, RowValues};
pub use config::{
    Ambiguous, Buckets, Case, ClassWeights, ColumnConfig, ColumnType, Constant, Encoding, Fill,
    FlowConfig, FourierConfig, Grams, Outside, PcaConfig, PrepareConfig, Repeated, Resample,
    TimePart, Transform, Unseen, WeightRule,
};
pub use hog::HogConfig;
pub(crate) use images::ImagePipeline;
pub use images::{ImagesConfig, ResizeConfig, ResizeFilter};
pub use pipeline::Pipeline;
pub use plan::PreparePlan;
pub use record::Binding;
pub(crate) use rows::{class_weights, resampled};
pub(crate) use table::Coded;
