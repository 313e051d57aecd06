//! What makes a release private: clipping, the integer grid, noise; each says what it costs as an [`Event`](crate::Event).

pub mod adaptive_clip;
pub mod central;
pub mod clip;
pub mod correlated;
pub mod counts;
pub mod distributed;
pub mod dp_sgd;
pub mod grid;
pub mod local;
mod sum;
