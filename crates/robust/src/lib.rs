//! Byzantine-robust aggregation: n vectors of length d in, one vector and a verdict for each of them out.
//!
//! [`Aggregator`] is the entrance: it holds an [`AggregationConfig`] (the rule, the number of Byzantine rows it must
//! withstand, the steps before it) and, for the rules that have one, a memory.

mod aggregator;
mod before;
mod config;
pub mod coordinate;
pub mod detect;
mod error;
mod gram;
mod input;
mod kernels;
mod matrix;
mod mixed;
mod points;
mod read;
mod requirement;
mod round;
mod rules;
mod scalar;
mod verdict;
mod workers;

pub use aggregator::{Aggregator, AggregatorState, Input};
pub use config::{AggregationConfig, Before, Rule, Start, Weights};
pub use error::RobustError;
pub use matrix::Square;
pub use scalar::Scalar;
pub use verdict::{RowVerdict, Verdict};
