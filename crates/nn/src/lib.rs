//! Models on one flat parameter vector: forward, backward, optimisers, metrics.

pub mod kernels;
