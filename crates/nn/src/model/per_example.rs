//! The sum of clipped per-example gradients, which is what DP-SGD adds noise to (Abadi et al. 2016, algorithm 1).
//!
//! One pass forward and one backward, as for a plain gradient; what each example's gradient weighs is found on the way:
//!
//! | layer | squared norm of an example's gradient | its share of the sum |
//! | --- | --- | --- |
//! | linear | `(\|x\|^2 + 1) \|dy\|^2` (Goodfellow 2015, arXiv 1510.01799) | the usual product, of scaled `dy` |
//! | convolution of many positions, group normalisation | of the gradient itself, kept for the batch | the weighted sum of what was kept |
//! | convolution of few positions and many weights | from Gram matrices, [`crate::gram`] | the usual product, of scaled `dy` |
//! | convolution without bias, or of a stride that does not divide its kernel | of the gradient itself, kept | the weighted sum |
//!
//! A variational bottleneck has no parameters but those of its encoder and decoder; the divergence is part of each example's
//! own loss, and the noise depends on no example.
//!
//! The usual product of scaled deltas needs no second pass backward (Bu et al. 2023, arXiv 2210.00038, book-keeping). For a
//! convolution it is a large part of a step, so that gradients which had to be computed for their norms are kept and not
//! computed again, where writing and reading them costs less than the Gram matrices would.
//!
//! Nothing of size examples x parameters is made: linear layers, which hold most parameters, keep nothing. What is kept of
//! the models at the sizes they were made for is a third of the workspace at most (`cnn`: 52,096 of its 1,663,370 parameters
//! an example).
//!
//! # Bounds
//!
//! Norms are summed in `f64` and rounded up by a share of [`GUARD`]: sums of squares are off by at most 1.5e-6 of
//! themselves, scaling rounds twice, and the Gram matrices add their own bound. So the exact norm of each example's
//! contribution is at most the bound.
//!
//! The sum over n examples rounds at most n times, always after what one example contributes to a parameter is complete:
//! with `g = n 2^-24 / (1 - n 2^-24)` it is within `g n clip` of the exact sum of the contributions, in norm.

use super::{Model, Workspace, input_of};
use crate::fold::FoldedKernel;
use crate::gram;
use crate::group_norm;
use crate::kernels::{self, ConvScratch, ConvShape};
use crate::layers::{Affine, Layer, Saved, Seen, unfolding};
use crate::loss::{BatchLoss, Targets};

/// Share by which norms are rounded up.
const GUARD: f64 = 1.0 / (1 << 17) as f64;

/// Norms from here on count as not finite: `f32` has no room for what is computed from them.
const LARGEST_NORM: f64 = 1e30;

/// What writing, measuring and reading again one number of a kept gradient costs, in products.
const KEEPING: usize = 8;

/// Scales below this are 0, since products with them would be rounded by more than [`GUARD`].
const SMALLEST_SCALE: f64 = 1e-30;

/// What became of a batch in [`Model::clipped_gradient_sum`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clipped {
    /// Loss and right predictions of the examples that were added up, before any step.
    pub loss: BatchLoss,
    /// Examples whose gradient was longer than the bound and was shortened to it.
    pub clipped: usize,
    /// Examples whose gradient was not finite, or longer than 1e30, or could not be measured in the range of `f32`: they
    /// were left out.
    pub non_finite: usize,
}

impl Clipped {
    /// Adds another batch.
    pub fn add(&mut self, other: Self) {
        self.loss.add(other.loss);
        self.clipped += other.clipped;
        self.non_finite += other.non_finite;
    }
}

/// Working memory of [`Model::clipped_gradient_sum`], allocated by its first call.
#[derive(Clone, Debug, Default)]
pub(super) struct PerExample {
    /// Squared norm of each example's gradient.
    squares: Vec<f64>,
    /// Squared norms of one layer's inputs and deltas.
    inputs: Vec<f64>,
    deltas: Vec<f64>,
    /// What each example's gradient is multiplied by.
    scales: Vec<f32>,
    /// For each layer, the gradients that are kept: `[max_batch, width]`.
    kept: Vec<Vec<f32>>,
    gram: gram::Scratch,
    /// The sum of one piece of a batch that does not fit in the workspace.
    piece: Vec<f32>,
}

impl PerExample {
    fn prepare(&mut self, layers: &[Layer], max_batch: usize) {
        if self.kept.is_empty() {
            self.squares = vec![0.0; max_batch];
            self.inputs = vec![0.0; max_batch];
            self.deltas = vec![0.0; max_batch];
            self.scales = vec![0.0; max_batch];
            self.kept = vec![Vec::new(); layers.len()];
        }
    }
}

impl Model {
    /// Overwrites `sum` with the sum over the batch of each example's gradient, scaled to a Euclidean norm of at most `clip`
    /// over all parameters: `sum_j g_j min(1, clip / |g_j|)`, `g_j` the derivative of example j's own loss.
    ///
    /// A sum, not a mean, so that it can be divided by a number that depends on no data. An empty batch gives zeros.
    /// Examples whose gradient is not finite contribute nothing and change nothing else: the sum and [`Clipped::loss`] have
    /// the bits of the batch without them.
    ///
    /// `inputs` is `[n, features]`, `targets` are a slice of classes or [`Targets::Values`], `[n]`, `parameters` and `sum` have the layout's length, `clip` may be
    /// infinite. Batches longer than [`Workspace::max_batch`] are worked through in pieces. The first call with a workspace
    /// allocates and, but for batches with gradients that are not finite, the others do not; equal arguments (and
    /// workspaces of equal size) give equal bits.
    ///
    /// The exact norm of what one example contributes is at most `clip`: scales leave room for rounding, a share of 1e-5, or
    /// of about 1e-4 where convolutions see few positions.
    /// The sum of n contributions rounds n times in `f32`: it is within `g n clip`, `g = n 2^-24 / (1 - n 2^-24)`, of the exact
    /// one.
    ///
    /// No layer of any model here mixes the examples of a batch, as batch normalisation would; `model.kind` has no such one.
    ///
    /// # Panics
    /// When a length does not fit, a label is not below the classes, the targets are of another kind than the
    /// model's answers, `clip` is not above 0, the workspace is another
    /// model's or has no room for an example, or noise for as many examples has not been drawn.
    pub fn clipped_gradient_sum<'t>(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: impl Into<Targets<'t>>,
        clip: f32,
        ws: &mut Workspace,
        sum: &mut [f32],
    ) -> Clipped {
        let targets = targets.into();
        let n = targets.examples(self.outputs());
        let features = self.input.len();
        assert_eq!(sum.len(), self.layout().len(), "length of the sum");
        assert_eq!(inputs.len(), n * features, "length of the inputs");
        assert!(clip > 0.0, "gradients cannot be clipped to {clip}");
        self.check_targets(targets);
        let noise = ws.noise.take(n);
        let clipped = self.clipped_pieces(parameters, inputs, targets, &noise, clip, ws, sum);
        ws.noise.put_back(noise);
        clipped
    }

    /// The same with the noise at hand, `[n, noise_len]`.
    #[allow(clippy::too_many_arguments, reason = "those of the caller, and noise")]
    fn clipped_pieces(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: Targets<'_>,
        noise: &[f32],
        clip: f32,
        ws: &mut Workspace,
        sum: &mut [f32],
    ) -> Clipped {
        let n = targets.examples(self.outputs());
        let (features, width) = (self.input.len(), self.noise_len());
        if n <= ws.max_batch {
            return self.clipped_piece(parameters, inputs, targets, noise, clip, ws, sum);
        }
        assert!(ws.max_batch > 0, "{n} examples in a workspace for 0");
        sum.fill(0.0);
        let mut clipped = Clipped::default();
        let mut piece = std::mem::take(&mut ws.per_example.piece);
        piece.resize(sum.len(), 0.0);
        let pieces = n.div_ceil(ws.max_batch);
        for index in 0..pieces {
            let rows = index * n / pieces..(index + 1) * n / pieces;
            let inputs = &inputs[rows.start * features..rows.end * features];
            clipped.add(self.clipped_piece(
                parameters,
                inputs,
                targets.rows(rows.clone()),
                &noise[rows.start * width..rows.end * width],
                clip,
                ws,
                &mut piece,
            ));
            for (sum, piece) in sum.iter_mut().zip(&piece) {
                *sum += piece;
            }
        }
        ws.per_example.piece = piece;
        clipped
    }

    /// The same for a batch that fits in the workspace.
    #[allow(clippy::too_many_arguments, reason = "those of the caller, and noise")]
    fn clipped_piece(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: Targets<'_>,
        noise: &[f32],
        clip: f32,
        ws: &mut Workspace,
        sum: &mut [f32],
    ) -> Clipped {
        let n = targets.examples(self.outputs());
        if n == 0 {
            sum.fill(0.0);
            return Clipped::default();
        }
        self.forward(parameters, inputs, n, noise, ws);
        let loss = self.loss(targets, 1.0, ws);
        ws.per_example
            .prepare(&self.architecture.layers, ws.max_batch);
        self.squares(parameters, inputs, n, ws);
        let squares = &ws.per_example.squares[..n];
        let finite = |square: &f64| *square < LARGEST_NORM * LARGEST_NORM;
        if !squares.iter().all(finite) {
            let kept: Vec<bool> = squares.iter().map(finite).collect();
            return self.without(parameters, inputs, targets, noise, &kept, clip, ws, sum);
        }
        let mut clipped = 0;
        for (scale, square) in ws.per_example.scales.iter_mut().zip(squares) {
            let norm = square.sqrt() * (1.0 + GUARD);
            let over = norm > f64::from(clip);
            clipped += usize::from(over);
            *scale = if over {
                scale_down(f64::from(clip) / norm)
            } else {
                1.0
            };
        }
        self.scaled_sum(inputs, n, ws, sum);
        Clipped {
            loss,
            clipped,
            non_finite: 0,
        }
    }

    /// The clipped sum of the rows that are `kept`; at least one is not.
    #[allow(
        clippy::too_many_arguments,
        reason = "those of the caller, and which rows"
    )]
    fn without(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: Targets<'_>,
        noise: &[f32],
        kept: &[bool],
        clip: f32,
        ws: &mut Workspace,
        sum: &mut [f32],
    ) -> Clipped {
        let rows = inputs.chunks_exact(self.input.len());
        let mut some_inputs = Vec::new();
        let mut some_noise = Vec::new();
        let width = self.noise_len();
        let each = rows.zip(kept).enumerate();
        for (place, (row, _)) in each.filter(|(_, (_, kept))| **kept) {
            some_inputs.extend_from_slice(row);
            some_noise.extend_from_slice(&noise[place * width..][..width]);
        }
        let (classes, values);
        let some_targets = match targets {
            Targets::Classes(all) => {
                classes = picked(all, kept);
                Targets::Classes(&classes)
            }
            Targets::Soft(all) | Targets::Values(all) => {
                values = picked(all, kept);
                Targets::Values(&values)
            }
        };
        let (inputs, noise) = (&some_inputs, &some_noise);
        let mut clipped =
            self.clipped_piece(parameters, inputs, some_targets, noise, clip, ws, sum);
        clipped.non_finite += kept.iter().filter(|kept| !**kept).count();
        clipped
    }

    /// Fills each layer's delta from the last one's, the squared norms, and the gradients that are kept.
    fn squares(&self, parameters: &[f32], inputs: &[f32], n: usize, ws: &mut Workspace) {
        let layers = &self.architecture.layers;
        ws.per_example.squares[..n].fill(0.0);
        for (index, layer) in layers.iter().enumerate().rev() {
            let (before, rest) = ws.deltas.split_at_mut(index);
            let dy = &rest[0][..n * layer.output_len()];
            let seen = Seen {
                n,
                x: input_of(inputs, &ws.outputs[..index], layers, n),
                y: &ws.outputs[index][..n * layer.output_len()],
                saved: &ws.saved[index],
            };
            layer.add_squares(&seen, dy, index, &mut ws.per_example, &mut ws.scratch);
            if index == self.architecture.first {
                return;
            }
            if let Some(dx) = before.last_mut() {
                let dx = &mut dx[..n * layers[index - 1].output_len()];
                layer.backward_input(parameters, &seen, dy, dx, &mut ws.scratch);
            }
        }
    }

    /// Overwrites `sum` with the sum of the examples' gradients, each times its scale.
    fn scaled_sum(&self, inputs: &[f32], n: usize, ws: &mut Workspace, sum: &mut [f32]) {
        let layers = &self.architecture.layers;
        let scales = &ws.per_example.scales[..n];
        for (index, layer) in layers.iter().enumerate() {
            match layer.way() {
                Way::NoParameters => continue,
                Way::Kept(width) => {
                    let kept = &ws.per_example.kept[index][..n * width];
                    layer.weigh(kept, scales, sum, &mut ws.scratch);
                    continue;
                }
                Way::Rows | Way::Gram => {}
            }
            let len = layer.output_len();
            let dy = &mut ws.deltas[index][..n * len];
            for (row, &scale) in dy.chunks_exact_mut(len).zip(scales) {
                for d in row {
                    *d *= scale;
                }
            }
            let seen = Seen {
                n,
                x: input_of(inputs, &ws.outputs[..index], layers, n),
                y: &ws.outputs[index][..n * len],
                saved: &ws.saved[index],
            };
            layer.scaled_gradient(&seen, dy, sum, &mut ws.scratch);
        }
    }
}

/// The numbers of the rows that are `kept`.
fn picked<T: Copy>(all: &[T], kept: &[bool]) -> Vec<T> {
    let rows = all.iter().zip(kept).filter(|(_, kept)| **kept);
    rows.map(|(one, _)| *one).collect()
}

/// The largest `f32` that is surely not above `scale`, a positive number below 1.
fn scale_down(scale: f64) -> f32 {
    if scale < SMALLEST_SCALE {
        return 0.0;
    }
    (scale * (1.0 - f64::from(f32::EPSILON))) as f32
}

/// How the norm of an example's part of the gradient is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// There is none.
    NoParameters,
    /// From the norms of its input and of its delta.
    Rows,
    /// From the Gram matrices of its patches and deltas.
    Gram,
    /// From itself, which is kept for the sum in so many numbers.
    Kept(usize),
}

impl Layer {
    fn way(&self) -> Way {
        match self {
            Self::Linear { .. } => Way::Rows,
            Self::Conv2d {
                folded, parameters, ..
            } if is_whole(*folded, *parameters) => Way::Kept(parameters.range().len()),
            Self::Conv2d {
                shape, parameters, ..
            } => {
                if gram::cost(shape) < KEEPING * parameters.range().len() {
                    Way::Gram
                } else {
                    Way::Kept(kernels::conv2d_kept_width(shape))
                }
            }
            Self::GroupNorm { parameters, .. } => Way::Kept(parameters.range().len()),
            Self::Fold(_)
            | Self::AvgPool2(_)
            | Self::MaxPool2(_)
            | Self::MaxPool2Dense(_)
            | Self::Activation { .. }
            | Self::Sampling(_) => Way::NoParameters,
        }
    }

    /// Adds the squared norm of this layer's part of each example's gradient, and keeps that part where [`Way::Kept`] says so.
    fn add_squares(
        &self,
        seen: &Seen<'_>,
        dy: &[f32],
        index: usize,
        memory: &mut PerExample,
        scratch: &mut ConvScratch,
    ) {
        let n = seen.n;
        let max_batch = memory.squares.len();
        let squares = &mut memory.squares[..n];
        let (of_x, own) = (&mut memory.inputs[..n], &mut memory.deltas[..n]);
        match (self.way(), self) {
            (Way::Rows, _) => {
                kernels::row_squares(seen.x, of_x, seen.x.len() / n);
                kernels::row_squares(dy, own, dy.len() / n);
                for ((square, x), dy) in squares.iter_mut().zip(of_x).zip(own) {
                    *square += (*x + 1.0) * *dy;
                }
            }
            (Way::Gram, Self::Conv2d { shape, .. }) => {
                gram::add_squares(shape, seen.x, dy, squares, &mut memory.gram);
            }
            (Way::Kept(width), _) => {
                let kept = &mut memory.kept[index];
                if kept.len() < n * width {
                    kept.resize(max_batch * width, 0.0);
                }
                let kept = &mut kept[..n * width];
                self.keep(seen, dy, kept, scratch);
                kernels::row_squares(kept, own, width);
                for (square, own) in squares.iter_mut().zip(own) {
                    *square += *own;
                }
            }
            (Way::NoParameters | Way::Gram, _) => {}
        }
    }

    /// Writes the layer's part of the sum from deltas that are scaled already.
    fn scaled_gradient(
        &self,
        seen: &Seen<'_>,
        dy: &[f32],
        sum: &mut [f32],
        scratch: &mut ConvScratch,
    ) {
        let Self::Conv2d {
            shape,
            folded,
            parameters,
        } = self
        else {
            return self.backward_parameters(seen, dy, sum, scratch);
        };
        let shape = ConvShape {
            batch: seen.n,
            ..*shape
        };
        let (dw, db) = parameters.of_mut(sum);
        unfolding(&shape, *folded, dw, scratch, |dw, scratch| {
            kernels::conv2d_backward_parameters_in_turn(&shape, seen.x, dy, dw, db, scratch);
        });
    }

    /// Overwrites the rows of `kept` with this layer's part of each example's gradient.
    fn keep(&self, seen: &Seen<'_>, dy: &[f32], kept: &mut [f32], scratch: &mut ConvScratch) {
        match (self, seen.saved) {
            (
                Self::Conv2d {
                    shape,
                    folded,
                    parameters,
                },
                _,
            ) if is_whole(*folded, *parameters) => {
                let examples = seen.x.chunks_exact(shape.input_len());
                let examples = examples
                    .zip(dy.chunks_exact(shape.output_len()))
                    .zip(kept.chunks_exact_mut(kept.len() / seen.n));
                for ((x, dy), gradient) in examples {
                    let (dw, db) = gradient.split_at_mut(parameters.weight_len);
                    unfolding(shape, *folded, dw, scratch, |dw, scratch| {
                        kernels::conv2d_backward_parameters(shape, x, dy, dw, db, scratch);
                    });
                }
            }
            (Self::Conv2d { shape, .. }, _) => {
                let shape = ConvShape {
                    batch: seen.n,
                    ..*shape
                };
                kernels::conv2d_keep_gradients(&shape, seen.x, dy, kept, scratch);
            }
            (Self::GroupNorm { shape, .. }, Saved::Moments(moments)) => {
                let examples = seen.x.chunks_exact(shape.len());
                let examples = examples
                    .zip(dy.chunks_exact(shape.len()))
                    .zip(moments.chunks_exact(shape.groups))
                    .zip(kept.chunks_exact_mut(2 * shape.channels));
                for (((x, dy), moments), gradient) in examples {
                    let (dw, db) = gradient.split_at_mut(shape.channels);
                    group_norm::backward_parameters(shape, x, dy, dw, db, moments);
                }
            }
            _ => {}
        }
    }

    /// Writes the layer's part of the sum from what [`Layer::keep`] kept, each row times its scale.
    fn weigh(&self, kept: &[f32], scales: &[f32], sum: &mut [f32], scratch: &mut ConvScratch) {
        match self {
            Self::Conv2d {
                shape,
                folded,
                parameters,
            } if !is_whole(*folded, *parameters) => {
                let shape = ConvShape {
                    batch: scales.len(),
                    ..*shape
                };
                let (dw, db) = parameters.of_mut(sum);
                unfolding(&shape, *folded, dw, scratch, |dw, scratch| {
                    kernels::conv2d_weigh_kept(&shape, kept, scales, dw, db, scratch);
                });
            }
            Self::Conv2d { parameters, .. } | Self::GroupNorm { parameters, .. } => {
                let (sum, len) = (&mut sum[parameters.range()], parameters.range().len());
                kernels::linear_backward_input(scales, kept, sum, 1, len, scales.len());
            }
            _ => {}
        }
    }
}

/// Whether gradients of a convolution are kept as the flat vector has them: entries that only a folded kernel has are no
/// parameters and must not count in a norm, nor must a bias that does not exist.
fn is_whole(folded: Option<FoldedKernel>, parameters: Affine) -> bool {
    folded.is_some_and(FoldedKernel::is_padded) || parameters.bias_len == 0
}
