//! Derivatives of a function of the gradient, for attacks that look for the inputs behind one.
//!
//! Such an attack minimises `L(g(x))`, where `g(x)` is the gradient of the loss at inputs `x`. It needs no second backward pass
//! over a recorded graph: with `v = dL/dg` held fixed, `dL/dx` is the derivative along `v`, in the space of the parameters,
//! of the loss' derivative with respect to `x` (Pearlmutter 1994). So [`Model::value`] finds `g` and keeps what it met on the
//! way, the caller forms `v`, and [`Model::tangent`] goes forward and backward once more with everything's tangent.

use rand::Rng;

use crate::layers::{Deltas, Layer, Prepared, Saved, Seen, TangentMemory, TangentSeen};
use crate::loss::Targets;
use crate::model::{Model, Workspace, input_of};

mod loss;

use loss::SavedLoss;

/// Where [`Model::tangent`] writes the derivatives of `L`, which it overwrites.
#[derive(Debug)]
pub struct Derivatives<'a> {
    /// With respect to the inputs, `[n, features]`.
    pub inputs: &'a mut [f32],
    /// With respect to the targets, `[n, outputs]` as in [`Targets::Soft`], or numbers as in [`Targets::Values`].
    pub targets: Option<&'a mut [f32]>,
    /// With respect to the parameters: the Hessian of the mean loss times the direction.
    pub parameters: Option<&'a mut [f32]>,
}

/// Preallocated working memory of one thread for [`Model::value`] and [`Model::tangent`]. Made by
/// [`Model::tangent_workspace`] and good for that model only.
#[derive(Clone, Debug)]
pub struct TangentWorkspace {
    value: Workspace,
    loss: SavedLoss,
    /// Examples whose value is here; none before the first.
    examples: Option<usize>,
    /// Tangent of each layer's output, `[max_batch, features]`.
    outputs: Vec<Vec<f32>>,
    /// Whether that is not zero.
    moves: Vec<bool>,
    /// Tangent of the derivative of the mean loss with respect to each layer's output.
    deltas: Vec<Vec<f32>>,
    prepared: Vec<Prepared>,
    memory: TangentMemory,
}

impl TangentWorkspace {
    /// Most examples in a batch.
    pub fn max_batch(&self) -> usize {
        self.value.max_batch
    }

    /// Draws the noise of the next value pass, as [`Workspace::draw_noise`] does. A tangent pass has that of its value.
    pub fn draw_noise(&mut self, rng: &mut impl Rng, n: usize) {
        self.value.draw_noise(rng, n);
    }

    /// The noise of the next value pass, as [`Workspace::set_noise`] does.
    ///
    /// # Panics
    /// When it is not that of whole examples.
    pub fn set_noise(&mut self, noise: &[f32]) {
        self.value.set_noise(noise);
    }
}

impl Model {
    /// Allocates working memory of the value and tangent passes for batches of up to `max_batch` examples.
    pub fn tangent_workspace(&self, max_batch: usize) -> TangentWorkspace {
        let layers = &self.architecture.layers;
        let mut memory = TangentMemory::default();
        TangentWorkspace {
            value: self.workspace(max_batch),
            loss: SavedLoss::new(max_batch, self.outputs()),
            examples: None,
            outputs: self.layer_buffers(max_batch),
            moves: vec![false; layers.len()],
            deltas: self.layer_buffers(max_batch),
            prepared: layers
                .iter()
                .map(|layer| layer.tangent_room(max_batch, &mut memory))
                .collect(),
            memory,
        }
    }

    /// Overwrites `gradient` with the derivative of the batch's *mean* loss with respect to each parameter, and keeps what
    /// [`Model::tangent`] and [`Model::input_gradient`] need. Returns the *sum* of the losses.
    ///
    /// The same numbers as [`Model::gradient`]'s to rounding. `inputs` is `[n, features]`, `n` up to
    /// [`TangentWorkspace::max_batch`]; `parameters` and `gradient` have the layout's length. An empty batch has gradient 0. A
    /// variational bottleneck wants [`TangentWorkspace::draw_noise`] first, and its divergence is part of the loss.
    /// Allocates nothing; equal arguments give equal bits.
    ///
    /// # Panics
    /// When a length does not fit, a class is not below the classes, the workspace is another model's, or noise for as many
    /// examples has not been drawn.
    pub fn value(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        targets: Targets<'_>,
        ws: &mut TangentWorkspace,
        gradient: &mut [f32],
    ) -> f64 {
        let n = targets.examples(self.outputs());
        let len = self.layout().len();
        assert_eq!(gradient.len(), len, "length of the gradient");
        if let Targets::Soft(rows) = targets {
            assert_eq!(rows.len(), n * self.outputs(), "length of the targets");
        }
        self.check_targets(targets);
        let noise = ws.value.noise.take(n);
        self.forward(parameters, inputs, n, &noise, &mut ws.value);
        ws.value.noise.put_back(noise);
        ws.examples = Some(n);
        if n == 0 {
            gradient.fill(0.0);
            return 0.0;
        }
        let last = self.architecture.layers.len() - 1;
        let logits = &ws.value.outputs[last][..n * self.outputs()];
        let delta = &mut ws.value.deltas[last][..n * self.outputs()];
        let loss = self.architecture.loss;
        let mut sum = ws.loss.value(loss, logits, targets, 1.0 / n as f64, delta);
        sum += self.penalty(n, 1.0 / n as f32, &mut ws.value);
        self.backward(parameters, inputs, n, &mut ws.value, gradient);
        sum
    }

    /// After [`Model::value`] with the same parameters and inputs: the derivative, along `direction` in the space of the
    /// parameters, of the mean loss' derivative with respect to each input; and, where asked for, of that with respect to the
    /// targets and to the parameters.
    ///
    /// With `direction` the derivative `v` of some `L` with respect to the gradient, these are the derivatives of `L` by way
    /// of the gradient. Where the direction is 0 throughout a layer, the layer's products with it are left out. At the kinks
    /// of ReLU and max pooling the derivative is that of the side which the value pass took.
    ///
    /// `direction` has the layout's length. May be called any number of times after one value pass. Allocates nothing, but for
    /// the first call that asks for [`Derivatives::parameters`]; equal arguments give equal bits.
    ///
    /// # Panics
    /// When a length does not fit, or the workspace is another model's or has no value of as many examples.
    pub fn tangent(
        &self,
        parameters: &[f32],
        direction: &[f32],
        inputs: &[f32],
        ws: &mut TangentWorkspace,
        wanted: Derivatives<'_>,
    ) {
        let n = self.check_value(parameters, inputs, wanted.inputs.len(), ws);
        let Derivatives {
            inputs: inputs_dot,
            targets: targets_dot,
            parameters: mut parameters_dot,
        } = wanted;
        let len = self.layout().len();
        assert_eq!(direction.len(), len, "length of the direction");
        if let Some(targets_dot) = &targets_dot {
            let expected = n * self.outputs();
            assert_eq!(targets_dot.len(), expected, "length of the targets");
        }
        if let Some(parameters_dot) = &parameters_dot {
            assert_eq!(parameters_dot.len(), len, "length of the derivative");
        }
        if n == 0 || !self.tangent_forward(parameters, direction, inputs, n, ws) {
            inputs_dot.fill(0.0);
            for rest in [targets_dot, parameters_dot].into_iter().flatten() {
                rest.fill(0.0);
            }
            return;
        }
        let last = self.architecture.layers.len() - 1;
        let logits_dot = &ws.outputs[last][..n * self.outputs()];
        let delta_dot = &mut ws.deltas[last][..n * self.outputs()];
        let loss = self.architecture.loss;
        let weight = 1.0 / n as f64;
        ws.loss
            .tangent(loss, logits_dot, weight, delta_dot, targets_dot);
        for index in (0..=last).rev() {
            let step = Step { index, n };
            if let Some(parameters_dot) = parameters_dot.as_deref_mut() {
                self.tangent_backward_parameters(
                    step,
                    parameters,
                    direction,
                    inputs,
                    ws,
                    parameters_dot,
                );
            }
            self.tangent_backward_input(step, parameters, direction, inputs, ws, inputs_dot);
        }
    }

    /// After [`Model::tangent`]: the derivative, along its direction, of the mean loss' derivative with respect to the noise of
    /// the value pass, `[n, `[`Model::noise_len`]`]`, for attackers that look for the noise as well.
    ///
    /// # Panics
    /// When a length does not fit, or the workspace is another model's or has no value.
    pub fn tangent_noise(&self, ws: &TangentWorkspace, derivative: &mut [f32]) {
        let n = ws.examples.unwrap_or(usize::MAX);
        let expected = n.saturating_mul(self.noise_len());
        assert_eq!(derivative.len(), expected, "length of the noise");
        derivative.fill(0.0);
        let layers = &self.architecture.layers;
        assert_eq!(
            ws.moves.len(),
            layers.len(),
            "the workspace is another model's"
        );
        if !ws.moves.last().is_some_and(|moves| *moves) {
            return;
        }
        for (index, layer) in layers.iter().enumerate() {
            if let (Layer::Sampling(sampling), Saved::Drawn(drawn)) =
                (layer, &ws.value.saved[index])
                && let Some(before) = index.checked_sub(1)
            {
                let x_dot = ws.moves[before].then_some(&*ws.outputs[before]);
                let (dy, dy_dot) = (&ws.value.deltas[index], &ws.deltas[index]);
                sampling.tangent_noise(x_dot, dy, dy_dot, derivative, drawn);
            }
        }
    }

    /// After [`Model::value`] with the same parameters and inputs: overwrites `derivative` with that of the mean loss with
    /// respect to each input, `[n, features]`.
    ///
    /// # Panics
    /// When a length does not fit, or the workspace is another model's or has no value of as many examples.
    pub fn input_gradient(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        ws: &mut TangentWorkspace,
        derivative: &mut [f32],
    ) {
        let n = self.check_value(parameters, inputs, derivative.len(), ws);
        if n > 0 {
            let first = self.architecture.first;
            self.backward_to_inputs(parameters, inputs, n, first, &mut ws.value, derivative);
        }
    }

    /// Units of the representation: inputs of the last linear layer.
    pub fn representation_len(&self) -> usize {
        match self.last_linear() {
            Some(0) | None => self.input.len(),
            Some(index) => self.architecture.layers[index - 1].output_len(),
        }
    }

    /// How much of itself each unit of the representation shows, for the defence Soteria (Sun et al. 2021, section 4):
    /// `|r_i| / |d r_i / d x|` for each input `r_i` of the last linear layer and each example, the norm being Euclidean over
    /// the features. Overwrites `sensitivity`, `[n, `[`Model::representation_len`]`]`. A unit that is 0 has 0, and one that
    /// is not but does not depend on the input has infinity.
    ///
    /// One backward pass a unit. The workspace has no value afterwards.
    ///
    /// # Panics
    /// When a length does not fit, the workspace is another model's, or noise for as many examples has not been drawn.
    pub fn representation_sensitivity(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        ws: &mut TangentWorkspace,
        sensitivity: &mut [f32],
    ) {
        let features = self.input.len();
        let n = inputs.len() / features;
        let units = self.representation_len();
        assert_eq!(sensitivity.len(), n * units, "length of the sensitivity");
        ws.examples = None;
        let noise = ws.value.noise.take(n);
        self.forward(parameters, inputs, n, &noise, &mut ws.value);
        ws.value.noise.put_back(noise);
        // Of the units alone, without a loss.
        self.penalty(n, 0.0, &mut ws.value);
        let Some(index) = self.last_linear().filter(|&index| index > 0) else {
            for (s, x) in sensitivity.iter_mut().zip(inputs) {
                *s = x.abs();
            }
            return;
        };
        let below = index - 1;
        let mut jacobian = vec![0.0; inputs.len()];
        for unit in 0..units {
            let delta = &mut ws.value.deltas[below][..n * units];
            delta.fill(0.0);
            delta
                .iter_mut()
                .skip(unit)
                .step_by(units)
                .for_each(|d| *d = 1.0);
            let ws = &mut ws.value;
            self.backward_to_inputs(parameters, inputs, n, below, ws, &mut jacobian);
            for (example, row) in jacobian.chunks_exact(features).enumerate() {
                let place = example * units + unit;
                let value = ws.outputs[below][place].abs();
                let square: f64 = row.iter().map(|&d| f64::from(d).powi(2)).sum();
                sensitivity[place] = if value == 0.0 {
                    0.0
                } else {
                    (f64::from(value) / square.sqrt()) as f32
                };
            }
        }
    }

    fn last_linear(&self) -> Option<usize> {
        let is_linear = |layer: &Layer| layer.is_linear();
        self.architecture.layers.iter().rposition(is_linear)
    }

    /// Checks what the passes after a value have in common; its number of examples.
    fn check_value(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        derivative: usize,
        ws: &TangentWorkspace,
    ) -> usize {
        let len = self.layout().len();
        assert_eq!(parameters.len(), len, "length of the parameters");
        assert_eq!(
            ws.outputs.len(),
            self.architecture.layers.len(),
            "the workspace is another model's"
        );
        let n = ws.examples.unwrap_or(usize::MAX);
        let expected = n.saturating_mul(self.input.len());
        assert_eq!(inputs.len(), expected, "inputs of the last value pass");
        assert_eq!(derivative, expected, "length of the inputs' derivative");
        n
    }

    /// Fills the tangents of the layers' outputs; whether the last one moves.
    fn tangent_forward(
        &self,
        parameters: &[f32],
        direction: &[f32],
        inputs: &[f32],
        n: usize,
        ws: &mut TangentWorkspace,
    ) -> bool {
        let layers = &self.architecture.layers;
        let mut moves = false;
        for (index, layer) in layers.iter().enumerate() {
            layer.prepare(direction, &mut ws.prepared[index]);
            let (before, rest) = ws.outputs.split_at_mut(index);
            let at = TangentSeen {
                parameters,
                direction,
                prepared: &ws.prepared[index],
                seen: self.seen(&ws.value, inputs, index, n),
                x_dot: moves.then(|| input_of(&[], before, layers, n)),
            };
            let y_dot = &mut rest[0][..n * layer.output_len()];
            moves = layer.tangent_forward(&at, y_dot, &mut ws.memory);
            ws.moves[index] = moves;
        }
        moves
    }

    /// Writes the part of a layer of the tangent of the gradient.
    fn tangent_backward_parameters(
        &self,
        step: Step,
        parameters: &[f32],
        direction: &[f32],
        inputs: &[f32],
        ws: &mut TangentWorkspace,
        gradient_dot: &mut [f32],
    ) {
        let Step { index, n } = step;
        let layers = &self.architecture.layers;
        let len = n * layers[index].output_len();
        let at = TangentSeen {
            parameters,
            direction,
            prepared: &ws.prepared[index],
            seen: self.seen(&ws.value, inputs, index, n),
            x_dot: (index > 0 && ws.moves[index - 1])
                .then(|| input_of(&[], &ws.outputs[..index], layers, n)),
        };
        let deltas = Deltas {
            dy: (index >= self.architecture.first).then(|| &ws.value.deltas[index][..len]),
            dy_dot: &ws.deltas[index][..len],
        };
        layers[index].tangent_backward_parameters(&at, deltas, gradient_dot, &mut ws.memory);
    }

    /// Fills the tangent of the derivative with respect to a layer's input: the layer's before, or `inputs_dot`.
    fn tangent_backward_input(
        &self,
        step: Step,
        parameters: &[f32],
        direction: &[f32],
        inputs: &[f32],
        ws: &mut TangentWorkspace,
        inputs_dot: &mut [f32],
    ) {
        let Step { index, n } = step;
        let layers = &self.architecture.layers;
        let layer = &layers[index];
        let len = n * layer.output_len();
        let at = TangentSeen {
            parameters,
            direction,
            prepared: &ws.prepared[index],
            seen: self.seen(&ws.value, inputs, index, n),
            x_dot: (index > 0 && ws.moves[index - 1])
                .then(|| input_of(&[], &ws.outputs[..index], layers, n)),
        };
        let (before, rest) = ws.deltas.split_at_mut(index);
        let deltas = Deltas {
            dy: (index >= self.architecture.first).then(|| &ws.value.deltas[index][..len]),
            dy_dot: &rest[0][..len],
        };
        let y_dot = ws.moves[index].then(|| &ws.outputs[index][..len]);
        let dx_dot = match before.last_mut() {
            Some(before) => &mut before[..n * layers[index - 1].output_len()],
            None => inputs_dot,
        };
        layer.tangent_backward_input(&at, y_dot, deltas, dx_dot, &mut ws.memory);
    }

    /// What the value pass left for a layer.
    fn seen<'a>(
        &'a self,
        ws: &'a Workspace,
        inputs: &'a [f32],
        index: usize,
        n: usize,
    ) -> Seen<'a> {
        let layers = &self.architecture.layers;
        Seen {
            n,
            x: input_of(inputs, &ws.outputs[..index], layers, n),
            y: &ws.outputs[index][..n * layers[index].output_len()],
            saved: &ws.saved[index],
        }
    }

    /// The derivative with respect to the inputs, from that with respect to the output of layer `from`.
    fn backward_to_inputs(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        n: usize,
        from: usize,
        ws: &mut Workspace,
        derivative: &mut [f32],
    ) {
        let layers = &self.architecture.layers;
        for (index, layer) in layers.iter().enumerate().take(from + 1).rev() {
            let (before, rest) = ws.deltas.split_at_mut(index);
            let dy = &rest[0][..n * layer.output_len()];
            let seen = Seen {
                n,
                x: input_of(inputs, &ws.outputs[..index], layers, n),
                y: &ws.outputs[index][..n * layer.output_len()],
                saved: &ws.saved[index],
            };
            let dx = match before.last_mut() {
                Some(before) => &mut before[..n * layers[index - 1].output_len()],
                None => &mut *derivative,
            };
            layer.backward_input(parameters, &seen, dy, dx, &mut ws.scratch);
        }
    }
}

/// A layer in a backward pass over `n` examples.
#[derive(Clone, Copy)]
struct Step {
    index: usize,
    n: usize,
}
