//! The arithmetic of training: linear products, convolutions, activations and pools on plain `f32` slices.
//!
//! Everything is row-major and single-threaded, and runs in a fixed order: the same inputs give the same bits in every
//! run at one [`Level`]. The level is the best that the processor has: AVX-512F, AVX2 with FMA, or plain Rust; levels sum in
//! different orders, so that their results differ by rounding. For a sum of `k` products of magnitudes up to 1 every level is
//! within `2e-6 + 1e-7 k` of the exact value (tested for all shapes of the shipped models and random odd ones). Nothing
//! allocates, but for a [`ConvScratch`] that was not reserved.
//!
//! Outputs are overwritten, never accumulated into. Slice lengths are asserted at the public edge, so a wrong length
//! is a bug of the caller and panics; values (NaN, infinity) never do.
//!
//! | name | meaning |
//! | --- | --- |
//! | `n`, `batch` | examples in the batch |
//! | activations | `[n, features]`, or `[n, channels, height, width]` |
//! | linear weight | `[outputs, inputs]`, PyTorch's layout |
//! | convolution weight | `[out_channels, in_channels, kernel, kernel]`, PyTorch's layout |

#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::needless_range_loop,
    reason = "SIMD and register tiles: measured at three to ten times plain loops; every safe function asserts the lengths \
              that its kernel relies on"
)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod conv;
mod conv_channels;
mod conv_each;
mod conv_pair;
mod conv_rows;
mod conv_weights;
mod dot;
mod level;
mod linear;
mod linear_pair;
mod norm;
mod pool;
mod pool_dense;
mod portable;
mod product;
mod simd;
#[cfg(test)]
mod tests;

pub use activation::{
    relu, relu_backward, sigmoid, sigmoid_backward, sigmoid_tangent_backward, softplus,
    softplus_backward, softplus_tangent_backward, tanh, tanh_backward, tanh_tangent_backward,
};
pub use conv::{
    ConvScratch, ConvShape, conv2d_backward_input, conv2d_backward_parameters, conv2d_forward,
};
pub use conv_each::{
    conv2d_backward_parameters_in_turn, conv2d_keep_gradients, conv2d_kept_width, conv2d_weigh_kept,
};
pub use conv_pair::{conv2d_backward_input_pair, conv2d_forward_pair};
pub use dot::dot;
pub use level::{Level, with_level};
pub use linear::{linear_backward_input, linear_backward_parameters, linear_forward};
pub use linear_pair::{
    linear_backward_input_pair, linear_backward_parameters_pair, linear_forward_pair,
};
pub use norm::row_squares;
pub use pool::{avg_pool2, avg_pool2_backward, max_pool_gather, max_pool2, max_pool2_backward};
pub use pool_dense::{max_pool2_dense, max_pool2_dense_backward};
