//! A model: layers over one flat parameter vector, with its gradient.

use rand::{Rng, RngExt};

use crate::architecture::{self, Architecture, Asked, Start};
use crate::bottleneck::fill_normal;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::kernels::ConvScratch;
use crate::layers::{Layer, Saved, Seen};
use crate::layout::Layout;
use crate::loss::{BatchLoss, Loss, Targets};

mod per_example;
mod tangent;

pub use per_example::Clipped;
use per_example::PerExample;
pub use tangent::{Derivatives, TangentWorkspace};

/// Shape of one example: `channels x height x width`, row-major. A table's row is `1 x 1 x columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// Colour planes of an image; 1 for a table.
    pub channels: usize,
    /// Rows of an image; 1 for a table.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl InputShape {
    /// Features of one example: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether an example has no feature.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn checked_len(&self) -> Option<usize> {
        self.channels
            .checked_mul(self.height)?
            .checked_mul(self.width)
    }
}

/// A classifier, or a predictor of a number, without its parameters, which are always passed in as one flat vector laid out by [`Model::layout`].
///
/// One `Model` serves any number of threads and clients; what a step needs beside it is a [`Workspace`] a thread.
#[derive(Debug)]
pub struct Model {
    input: InputShape,
    classes: usize,
    architecture: Architecture,
}

/// Preallocated working memory of one thread for batches up to a size: each layer's output, the derivative of the loss with
/// respect to it, and what else the backward pass needs. Made by [`Model::workspace`] and good for that model only.
#[derive(Clone, Debug)]
pub struct Workspace {
    max_batch: usize,
    /// Output of each layer, `[max_batch, features]`.
    outputs: Vec<Vec<f32>>,
    /// Derivative of the mean loss with respect to each layer's output.
    deltas: Vec<Vec<f32>>,
    saved: Vec<Saved>,
    scratch: ConvScratch,
    per_example: PerExample,
    noise: Noise,
    /// What an example of each class weighs in the loss; empty for 1 each.
    class_weights: Vec<f32>,
}

impl Workspace {
    /// Most examples in a batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Multiplies the loss of each example by the weight of its class, in all gradients from here on; `None` is 1 for each
    /// class. The divergence of a bottleneck is not weighted, and means stay over the number of examples.
    pub fn weigh_classes(&mut self, weights: Option<&[f32]>) {
        self.class_weights.clear();
        self.class_weights
            .extend_from_slice(weights.unwrap_or_default());
    }

    /// Draws the noise of the next pass, over `n` examples: independent standard normal numbers, [`Model::noise_len`] of
    /// them an example. A model without a bottleneck takes none from the generator.
    ///
    /// Every pass of a model with one wants its own draw, and uses it up.
    pub fn draw_noise(&mut self, rng: &mut impl Rng, n: usize) {
        self.noise.draw(rng, n);
    }

    /// The noise of the next pass, `[n, `[`Model::noise_len`]`]`, for those who must know it.
    ///
    /// # Panics
    /// When it is not that of whole examples.
    pub fn set_noise(&mut self, noise: &[f32]) {
        self.noise.set(noise);
    }
}

/// Noise that waits for the pass that it was drawn for.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    /// Numbers an example.
    width: usize,
    values: Vec<f32>,
}

impl Noise {
    pub(crate) fn new(width: usize) -> Self {
        let values = Vec::new();
        Self { width, values }
    }

    pub(crate) fn draw(&mut self, rng: &mut impl Rng, n: usize) {
        self.values.resize(n * self.width, 0.0);
        fill_normal(&mut self.values, rng);
    }

    pub(crate) fn set(&mut self, noise: &[f32]) {
        let whole = noise.len().checked_rem(self.width).unwrap_or(noise.len());
        assert_eq!(whole, 0, "noise is [n, {}]", self.width);
        self.values.clear();
        self.values.extend_from_slice(noise);
    }

    /// Takes out what was drawn for `n` examples; [`Self::put_back`] keeps its memory.
    pub(crate) fn take(&mut self, n: usize) -> Vec<f32> {
        assert_eq!(
            self.values.len(),
            n * self.width,
            "numbers of noise drawn for a pass over {n} examples"
        );
        std::mem::take(&mut self.values)
    }

    pub(crate) fn put_back(&mut self, mut values: Vec<f32>) {
        values.clear();
        self.values = values;
    }
}

impl Model {
    /// Builds the model that `config` describes, for inputs of that shape and `classes` classes (at least 2).
    ///
    /// # Errors
    /// When the input is empty or too small for the architecture, the classes are fewer than two or do not fit the loss, a
    /// hidden layer is empty, or the model would be larger than 2^30 numbers.
    pub fn build(
        config: &ModelConfig,
        input: InputShape,
        classes: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            input,
            classes,
            architecture: architecture::build(config, input, Asked::Class(classes))?,
        })
    }

    /// Builds the model that `config` describes, for inputs of that shape and an answer that is a number: one output, trained
    /// by the squared or the absolute error.
    ///
    /// # Errors
    /// As [`Self::build`], and when the loss or the model tells classes apart.
    ///
    /// ```
    /// use cloister_nn::{InputShape, LossConfig, Model, ModelConfig, Targets};
    ///
    /// let shape = InputShape { channels: 1, height: 1, width: 1 };
    /// let model = Model::build_for_numbers(&ModelConfig::Linear { loss: LossConfig::Auto }, shape)?;
    /// let (mut ws, mut gradient) = (model.workspace(2), [0.0; 2]);
    /// // z = 3 x, at x = 1 and 2, against 1 and 4: errors of 2 and 2.
    /// let loss = model.gradient(&[3.0, 0.0], &[1.0, 2.0], Targets::Values(&[1.0, 4.0]), &mut ws, &mut gradient);
    /// assert_eq!((loss.loss_sum, gradient), (8.0, [6.0, 4.0]));
    /// # Ok::<(), cloister_nn::ModelError>(())
    /// ```
    pub fn build_for_numbers(config: &ModelConfig, input: InputShape) -> Result<Self, ModelError> {
        Ok(Self {
            input,
            classes: 1,
            architecture: architecture::build(config, input, Asked::Number)?,
        })
    }

    /// Shape of one example.
    pub fn input(&self) -> InputShape {
        self.input
    }

    /// Number of classes; 1 where the answer is a number.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Whether it answers with a number.
    pub fn answers_numbers(&self) -> bool {
        self.architecture.loss.is_of_numbers()
    }

    /// Whether it is trained by the absolute error.
    pub(crate) fn is_absolute(&self) -> bool {
        self.architecture.loss == Loss::Absolute
    }

    /// Logits a row: the classes, or 1 under the binary loss, where it is the log-odds of class 1; 1 as well where the answer
    /// is a number, which it is.
    pub fn outputs(&self) -> usize {
        self.architecture.outputs
    }

    /// The tensors of the flat parameter vector.
    pub fn layout(&self) -> &Layout {
        &self.architecture.layout
    }

    /// Numbers of noise that a pass takes for an example: 0 but for a variational bottleneck, whose every pass, also one
    /// without gradient, wants [`Workspace::draw_noise`] before it.
    pub fn noise_len(&self) -> usize {
        let layers = self.architecture.layers.iter();
        layers
            .map(|layer| match layer {
                Layer::Sampling(sampling) => sampling.len(),
                _ => 0,
            })
            .sum()
    }

    /// Draws starting parameters, tensor by tensor in the layout's order.
    ///
    /// Weights are uniform: He et al. 2015, bound `sqrt(6 / fan_in)`, where a ReLU or softplus follows (also behind a group
    /// normalisation), and Glorot and Bengio 2010, bound `sqrt(6 / (fan_in + fan_out))`, where tanh, sigmoid or the loss
    /// follows. Biases are 0. Group normalisation starts with scale 1 and shift 0.
    pub fn initial_parameters(&self, rng: &mut impl Rng) -> Vec<f32> {
        let mut parameters = Vec::with_capacity(self.layout().len());
        for (tensor, start) in self
            .layout()
            .tensors()
            .iter()
            .zip(&self.architecture.starts)
        {
            let end = parameters.len() + tensor.len();
            match *start {
                Start::Constant(value) => parameters.resize(end, value),
                Start::Uniform(bound) => {
                    parameters.resize_with(end, || (2.0 * rng.random::<f32>() - 1.0) * bound);
                }
            }
        }
        parameters
    }

    /// Zeros for the output of each layer over up to `max_batch` examples.
    fn layer_buffers(&self, max_batch: usize) -> Vec<Vec<f32>> {
        let layers = self.architecture.layers.iter();
        layers
            .map(|layer| vec![0.0; max_batch * layer.output_len()])
            .collect()
    }

    /// Allocates working memory for batches of up to `max_batch` examples.
    pub fn workspace(&self, max_batch: usize) -> Workspace {
        let layers = &self.architecture.layers;
        let mut scratch = ConvScratch::new();
        Workspace {
            max_batch,
            outputs: self.layer_buffers(max_batch),
            deltas: self.layer_buffers(max_batch),
            saved: layers
                .iter()
                .map(|layer| layer.saved(max_batch, &mut scratch))
                .collect(),
            scratch,
            per_example: PerExample::default(),
            noise: Noise::new(self.noise_len()),
            class_weights: Vec::new(),
        }
    }

    /// Overwrites `gradient` with the derivative of the batch's *mean* loss with respect to each parameter.
    ///
    /// `inputs` is `[n, features]` and `targets` are a slice of classes or [`Targets::Values`], `[n]`, `n` up to [`Workspace::max_batch`]; `parameters` and `gradient` have
    /// the layout's length. Returns the *sum* of the losses and the number of right predictions, both before any step. An
    /// empty batch has gradient 0. Allocates nothing; equal arguments, and equal noise, give equal bits.
    ///
    /// The loss of a model with a variational bottleneck is the cross-entropy and beta times the divergence in bits.
    /// With [`Workspace::weigh_classes`] each example's cross-entropy counts as its class weighs.
    ///
    /// # Panics
    /// When a length does not fit, a label is not below the classes, the targets are of another kind than the model's answers,
    /// the workspace is another model's, weights are not one a class, or noise for as many examples has not been drawn.
    pub fn gradient<'t>(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: impl Into<Targets<'t>>,
        ws: &mut Workspace,
        gradient: &mut [f32],
    ) -> BatchLoss {
        let targets = targets.into();
        let n = targets.examples(self.outputs());
        assert_eq!(
            gradient.len(),
            self.layout().len(),
            "length of the gradient"
        );
        self.check_targets(targets);
        if n == 0 {
            gradient.fill(0.0);
            return BatchLoss::default();
        }
        let noise = ws.noise.take(n);
        self.forward(parameters, inputs, n, &noise, ws);
        ws.noise.put_back(noise);
        let loss = self.loss(targets, 1.0 / n as f32, ws);
        self.backward(parameters, inputs, n, ws, gradient);
        loss
    }

    /// The logits `[batch, outputs]` of `batch` examples, `inputs` being `[batch, features]`.
    ///
    /// # Panics
    /// When a length does not fit, the workspace is another model's, or noise for as many examples has not been drawn.
    pub fn logits<'w>(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        batch: usize,
        ws: &'w mut Workspace,
    ) -> &'w [f32] {
        let noise = ws.noise.take(batch);
        self.forward(parameters, inputs, batch, &noise, ws);
        ws.noise.put_back(noise);
        let last = self.architecture.layers.len() - 1;
        &ws.outputs[last][..batch * self.outputs()]
    }

    /// Refuses targets that the model's loss cannot be taken against.
    fn check_targets(&self, targets: Targets<'_>) {
        let numbers = matches!(targets, Targets::Values(_));
        assert_eq!(
            numbers,
            self.answers_numbers(),
            "targets that are numbers, and a model that answers with one"
        );
        if let Targets::Classes(labels) = targets {
            assert!(
                labels.iter().all(|&label| (label as usize) < self.classes),
                "a label is not below {} classes",
                self.classes
            );
        }
    }

    /// Fills the last layer's delta with the derivative of `weight` times the summed loss; the outputs are filled already.
    fn loss(&self, targets: Targets<'_>, weight: f32, ws: &mut Workspace) -> BatchLoss {
        let last = self.architecture.layers.len() - 1;
        let n = targets.examples(self.outputs());
        let len = n * self.outputs();
        let logits = &ws.outputs[last][..len];
        let delta = &mut ws.deltas[last][..len];
        let kind = self.architecture.loss;
        let mut loss = BatchLoss::default();
        assert!(
            ws.class_weights.is_empty() || matches!(targets, Targets::Classes(_)),
            "class weights for targets that are no classes"
        );
        if ws.class_weights.is_empty() {
            loss = kind.backward(logits, targets, weight, delta);
        } else if let Targets::Classes(labels) = targets {
            assert_eq!(ws.class_weights.len(), self.classes, "class weights");
            let outputs = self.outputs();
            let rows = logits
                .chunks_exact(outputs)
                .zip(delta.chunks_exact_mut(outputs));
            for ((logits, delta), label) in rows.zip(labels) {
                let of_class = ws.class_weights[*label as usize];
                let one_label = Targets::Classes(std::slice::from_ref(label));
                let mut one = kind.backward(logits, one_label, weight * of_class, delta);
                one.loss_sum *= f64::from(of_class);
                loss.add(one);
            }
        }
        loss.loss_sum += self.penalty(n, weight, ws);
        loss
    }

    /// What the divergence of a variational bottleneck adds to the summed loss of `n` examples; its derivative will be that
    /// of `weight` times it.
    fn penalty(&self, n: usize, weight: f32, ws: &mut Workspace) -> f64 {
        let mut sum = 0.0;
        for (index, layer) in self.architecture.layers.iter().enumerate() {
            if let (Layer::Sampling(sampling), Saved::Drawn(drawn)) = (layer, &mut ws.saved[index])
                && let Some(before) = index.checked_sub(1)
            {
                drawn.weight = weight;
                sum += sampling.penalty(&ws.outputs[before][..n * 2 * sampling.len()], drawn);
            }
        }
        sum
    }

    /// Fills each layer's output. `noise` is `[n, noise_len]`.
    fn forward(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        n: usize,
        noise: &[f32],
        ws: &mut Workspace,
    ) {
        let layers = &self.architecture.layers;
        assert_eq!(
            parameters.len(),
            self.layout().len(),
            "length of the parameters"
        );
        assert_eq!(inputs.len(), n * self.input.len(), "length of the inputs");
        assert_eq!(
            ws.outputs.len(),
            layers.len(),
            "the workspace is another model's"
        );
        assert!(
            n <= ws.max_batch,
            "{n} examples in a workspace for {}",
            ws.max_batch
        );
        if n == 0 {
            return;
        }
        for (index, layer) in layers.iter().enumerate() {
            let (before, rest) = ws.outputs.split_at_mut(index);
            let x = input_of(inputs, before, layers, n);
            let y = &mut rest[0][..n * layer.output_len()];
            // No model has more than one layer that draws.
            if let Saved::Drawn(drawn) = &mut ws.saved[index] {
                drawn.noise[..noise.len()].copy_from_slice(noise);
            }
            layer.forward(parameters, x, y, &mut ws.saved[index], n, &mut ws.scratch);
        }
    }

    /// Fills each layer's delta, from the last one's, and the gradient.
    fn backward(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        n: usize,
        ws: &mut Workspace,
        gradient: &mut [f32],
    ) {
        let layers = &self.architecture.layers;
        for (index, layer) in layers.iter().enumerate().rev() {
            let (before, rest) = ws.deltas.split_at_mut(index);
            let dy = &rest[0][..n * layer.output_len()];
            let seen = Seen {
                n,
                x: input_of(inputs, &ws.outputs[..index], layers, n),
                y: &ws.outputs[index][..n * layer.output_len()],
                saved: &ws.saved[index],
            };
            layer.backward_parameters(&seen, dy, gradient, &mut ws.scratch);
            // Derivatives with respect to the data itself, or a fixed map of it, are of no use in training.
            if index == self.architecture.first {
                return;
            }
            if let Some(dx) = before.last_mut() {
                let dx = &mut dx[..n * layers[index - 1].output_len()];
                layer.backward_input(parameters, &seen, dy, dx, &mut ws.scratch);
            }
        }
    }
}

/// What the layer after those `outputs` reads: the last of them, or the batch itself.
fn input_of<'a>(
    inputs: &'a [f32],
    outputs: &'a [Vec<f32>],
    layers: &[Layer],
    n: usize,
) -> &'a [f32] {
    match outputs.split_last() {
        Some((last, before)) => &last[..n * layers[before.len()].output_len()],
        None => inputs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, LossConfig};
    use crate::layers::Layer;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    /// What a step leaves in the workspace is enough for the norm of each example's own gradient: for a linear layer it is
    /// `|input|^2 |delta|^2 + |delta|^2` (Goodfellow 2015), with the delta of the example's loss, n times that of the mean.
    #[test]
    fn a_workspace_keeps_what_per_example_norms_need() {
        let config = ModelConfig::Mlp {
            hidden: vec![7, 5],
            activation: Activation::Softplus,
            loss: LossConfig::Auto,
            bottleneck: None,
        };
        let input = InputShape {
            channels: 1,
            height: 1,
            width: 4,
        };
        let n = 3;
        let model = Model::build(&config, input, 3).expect("model");
        let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
        let inputs: Vec<f32> = (0..n * 4).map(|i| (i as f32).sin()).collect();
        let labels = [0, 2, 1];
        let mut gradient = vec![0.0; parameters.len()];
        let mut ws = model.workspace(n);
        model.gradient(&parameters, &inputs, &labels, &mut ws, &mut gradient);

        let square = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let layers = &model.architecture.layers;
        for example in 0..n {
            let mut norm = 0.0;
            for (index, layer) in layers.iter().enumerate() {
                if let Layer::Linear {
                    inputs: width,
                    outputs,
                    ..
                } = layer
                {
                    let x = input_of(&inputs, &ws.outputs[..index], layers, n);
                    let x = &x[example * width..][..*width];
                    let delta = &ws.deltas[index][example * outputs..][..*outputs];
                    norm += (square(x) + 1.0) * square(delta) * (n * n) as f64;
                }
            }
            let row = &inputs[example * 4..][..4];
            let mut alone = model.workspace(1);
            let label = &labels[example..=example];
            model.gradient(&parameters, row, label, &mut alone, &mut gradient);
            let expected = square(&gradient);
            assert!(
                (norm - expected).abs() < 1e-5 * expected,
                "{norm} is not {expected}"
            );
        }
    }
}
