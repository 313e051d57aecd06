//! Secure aggregation: the server learns the sum of what clients send, and nothing else.

pub mod field;
pub mod graph;
pub mod lanes;
pub mod mask;
pub mod shamir;
