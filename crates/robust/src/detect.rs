//! Which rows look alike, or stand apart: pieces of the rules `foolsgold` and `flame`.

mod foolsgold;
mod hdbscan;

pub use foolsgold::foolsgold_weights;
pub use hdbscan::hdbscan;
