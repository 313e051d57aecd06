//! Norms of single examples' gradients of a convolution without these gradients (ghost norms).
//!
//! With the T patches of an example as rows of P and its deltas as rows of D, the gradient of the weight is `D^T P` and its
//! squared norm the sum of the entries of `P P^T` times those of `D D^T` (Bu et al. 2022, arXiv 2205.10683). A bias is one
//! more column of P, of ones.

use crate::kernels::{self, ConvShape};

/// Unit roundoff of `f32`.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// Under this, products may have been lost to underflow, and the bound by the factors' norms is taken.
const SMALL: f64 = 1e-24;

/// Products for an example's Gram matrices.
pub(crate) fn cost(shape: &ConvShape) -> usize {
    let positions = shape.out_height() * shape.out_width();
    let taps = shape.in_channels * shape.kernel * shape.kernel;
    positions
        .saturating_mul(positions)
        .saturating_mul(taps + shape.out_channels)
}

/// Roundings that a squared norm and the gradient itself may suffer: inner products run in eight lanes or more, which are
/// added up at the end; the sums over positions that make the gradient may run in one, and count thrice, once in each factor
/// of the square and once for their own squares.
fn terms(shape: &ConvShape) -> usize {
    let positions = shape.out_height() * shape.out_width();
    let taps = shape.in_channels * shape.kernel * shape.kernel;
    taps / 8 + shape.out_channels / 8 + 3 * positions + 40
}

/// Working memory for one example.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    /// `[positions, taps]`.
    patches: Vec<f32>,
    /// `[positions, out_channels]`.
    deltas: Vec<f32>,
    /// `[positions, positions]` each.
    of_patches: Vec<f32>,
    of_deltas: Vec<f32>,
    /// What is added to the products: 1 for the bias, 0.
    ones: Vec<f32>,
    zeros: Vec<f32>,
}

impl Scratch {
    /// Makes room for a shape.
    pub(crate) fn reserve(&mut self, shape: &ConvShape) {
        let positions = shape.out_height() * shape.out_width();
        let taps = shape.in_channels * shape.kernel * shape.kernel;
        let grow = |vector: &mut Vec<f32>, len: usize, value: f32| {
            vector.resize(len.max(vector.len()), value);
        };
        grow(&mut self.patches, positions * taps, 0.0);
        grow(&mut self.deltas, positions * shape.out_channels, 0.0);
        grow(&mut self.of_patches, positions * positions, 0.0);
        grow(&mut self.of_deltas, positions * positions, 0.0);
        grow(&mut self.ones, positions, 1.0);
        grow(&mut self.zeros, positions, 0.0);
    }
}

/// Adds to each of `squares` a bound of the squared norm of the example's gradient of weight and bias, which is never under
/// that norm, nor under that of the gradient as the kernels compute it in `f32`.
///
/// Entries of both Gram matrices, and of the gradient, are sums of `f32` products that may cancel, each off by at most its
/// roundings times 2^-24 of the sum of its magnitudes; by Cauchy and Schwarz all that is at most that share of
/// `|P|^2 |D|^2`, which is added.
///
/// Shapes: `x` `[n, in_channels, height, width]`, `dy` `[n, out_channels, out_height, out_width]`.
pub(crate) fn add_squares(
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    squares: &mut [f64],
    scratch: &mut Scratch,
) {
    scratch.reserve(shape);
    let positions = shape.out_height() * shape.out_width();
    let (taps, outputs) = (
        shape.in_channels * shape.kernel * shape.kernel,
        shape.out_channels,
    );
    let share = terms(shape) as f64 * UNIT;
    let x_len = shape.in_channels * shape.height * shape.width;
    let examples = x
        .chunks_exact(x_len)
        .zip(dy.chunks_exact(outputs * positions));
    for ((x, dy), square) in examples.zip(squares) {
        let Scratch {
            patches,
            deltas,
            of_patches,
            of_deltas,
            ones,
            zeros,
        } = &mut *scratch;
        let patches = &mut patches[..positions * taps];
        let deltas = &mut deltas[..positions * outputs];
        let of_patches = &mut of_patches[..positions * positions];
        let of_deltas = &mut of_deltas[..positions * positions];
        copy_patches(shape, x, patches);
        for (at, row) in deltas.chunks_exact_mut(outputs).enumerate() {
            for (delta, plane) in row.iter_mut().zip(dy.chunks_exact(positions)) {
                *delta = plane[at];
            }
        }
        let (ones, zeros) = (&ones[..positions], &zeros[..positions]);
        kernels::linear_forward(
            patches, patches, ones, of_patches, positions, taps, positions,
        );
        kernels::linear_forward(
            deltas, deltas, zeros, of_deltas, positions, outputs, positions,
        );
        let product = |(p, d): (&f32, &f32)| f64::from(*p) * f64::from(*d);
        let sum: f64 = of_patches.iter().zip(&*of_deltas).map(product).sum();
        let trace = |gram: &[f32]| -> f64 {
            gram.iter()
                .step_by(positions + 1)
                .map(|&p| f64::from(p))
                .sum()
        };
        let mut own = [0.0];
        kernels::row_squares(dy, &mut own, dy.len());
        let bound = trace(of_patches) * own[0];
        *square += if bound < SMALL {
            bound
        } else {
            sum + share * bound
        };
    }
}

/// Copies what the kernel sees at each position into a row of `patches`, zeros for the padding.
fn copy_patches(shape: &ConvShape, x: &[f32], patches: &mut [f32]) {
    let (kernel, padding) = (shape.kernel, shape.padding);
    patches.fill(0.0);
    let taps = shape.in_channels * kernel * kernel;
    let columns = shape.out_width();
    for (at, patch) in patches.chunks_exact_mut(taps).enumerate() {
        let (top, left) = (at / columns, at % columns);
        // Rows and columns of the kernel that lie inside of the image.
        let inside = |start: usize, size: usize| {
            let first = padding.saturating_sub(start);
            first
                ..kernel
                    .min((size + padding).saturating_sub(start))
                    .max(first)
        };
        let across = inside(left, shape.width);
        if across.is_empty() {
            continue;
        }
        for channel in 0..shape.in_channels {
            for row in inside(top, shape.height) {
                let from = (channel * shape.height + top + row - padding) * shape.width;
                let from = &x[from + left + across.start - padding..][..across.len()];
                let to = (channel * kernel + row) * kernel + across.start;
                patch[to..][..across.len()].copy_from_slice(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{ConvScratch, conv2d_backward_parameters};
    use proptest::prelude::*;
    use rand::RngExt;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    proptest! {
        /// Never under the norm of what the kernels compute, and little above it.
        #[test]
        fn bounds_hold_and_are_near(
            (batch, in_channels, out_channels) in (1usize..4, 1usize..9, 1usize..9),
            (height, width) in (1usize..9, 1usize..9),
            (kernel, padding) in (1usize..4, 0usize..3),
            power in -40i32..20,
            seed in 0u64..1000,
        ) {
            let shape = ConvShape { batch, in_channels, height, width, out_channels, kernel, padding };
            prop_assume!(shape.output_len() > 0);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let scale = 2.0f32.powi(power);
            let x: Vec<f32> = (0..shape.input_len()).map(|_| rng.random_range(-1.0..2.0)).collect();
            let dy: Vec<f32> = (0..shape.output_len()).map(|_| rng.random_range(-scale..scale)).collect();
            let mut squares = vec![0.0; batch];
            add_squares(&shape, &x, &dy, &mut squares, &mut Scratch::default());
            let one = ConvShape { batch: 1, ..shape };
            let (mut dw, mut db) = (vec![0.0; shape.weight_len()], vec![0.0; out_channels]);
            let mut scratch = ConvScratch::new();
            let square_of = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            let positions = shape.out_height() * shape.out_width();
            let examples = x.chunks_exact(x.len() / batch).zip(dy.chunks_exact(dy.len() / batch));
            for (square, (x, dy)) in squares.iter().zip(examples) {
                conv2d_backward_parameters(&one, x, dy, &mut dw, &mut db, &mut scratch);
                let exact = square_of(&dw) + square_of(&db);
                prop_assert!(*square >= exact, "{square} is under {exact}");
                // A pixel is in at most kernel^2 patches.
                let factors = (positions as f64 + (kernel * kernel) as f64 * square_of(x)) * square_of(dy);
                let allowed = exact + 2.0 * terms(&shape) as f64 * UNIT * factors + SMALL;
                prop_assert!(*square <= allowed, "{square} is over {allowed}, far from {exact}");
            }
        }
    }
}
