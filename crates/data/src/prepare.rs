//! From cells and pixels to features, by figures of the training rows.
//!
//! A [`PreparePlan`] says what is done to each column before anything is known of its values, and which [`Question`] must
//! be answered for the rest. The answer makes a [`Pipeline`] of it, which codes any row: those of training, of a test,
//! and single records that come later.
//!
//! [`Question`]: crate::statistics::Question

mod cells;
mod pipeline;
mod plan;
mod table;

pub(crate) use cells::CellFault;
pub(crate) use pipeline::ImagePipeline;
pub use pipeline::Pipeline;
pub use plan::PreparePlan;
pub(crate) use table::Coded;
