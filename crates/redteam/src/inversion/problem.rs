//! An attacker's objective as a function of its guess, with its gradient, through one local step or several.
//!
//! The guess is the inputs `[n, features]` and, where labels or a bottleneck's noise are optimised as well, a logit for each
//! class of each example and then the noise behind them. With v the derivative of the distance with respect to the update made of the guess, held fixed, one tangent
//! pass in the direction v gives the derivative with respect to the guess (spec 2.4).

use std::ops::Range;

use cloister_nn::{Derivatives, Model, TangentWorkspace, Targets};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::attack::{Attack, Noise, Order};
use super::objective::Target;
use super::observation::{Evidence, Observation};
use super::variation;

/// What is minimised; shared by all starts.
pub(super) struct Problem<'a> {
    pub(super) model: &'a Model,
    pub(super) observation: &'a Observation,
    pub(super) attack: &'a Attack,
    pub(super) target: Target,
    /// Nothing when labels are optimised.
    pub(super) labels: Option<Vec<u32>>,
}

/// What one start works in.
pub(super) struct Scratch {
    /// One a local step.
    workspaces: Vec<TangentWorkspace>,
    /// The parameters before each local step after the first.
    along: Vec<Vec<f32>>,
    made: Vec<f32>,
    direction: Vec<f32>,
    step: Vec<f32>,
    soft: Vec<f32>,
    soft_dot: Vec<f32>,
    inputs_dot: Vec<f32>,
    seed: u64,
    rng: ChaCha8Rng,
}

impl Problem<'_> {
    /// Values of the inputs within the guess.
    pub(super) fn inputs(&self) -> usize {
        self.observation.examples * self.observation.space.features()
    }

    /// Values of the guess.
    pub(super) fn variables(&self) -> usize {
        let soft = match self.labels {
            Some(_) => 0,
            None => self.observation.examples * self.model.outputs(),
        };
        self.inputs() + soft + self.joint_noise()
    }

    /// Values of noise within the guess.
    fn joint_noise(&self) -> usize {
        match self.attack.noise {
            Noise::Joint => self.observation.examples * self.model.noise_len(),
            Noise::Drawn | Noise::Fixed | Noise::Zero => 0,
        }
    }

    /// Room for one start, whose bottleneck noise comes from `seed`.
    pub(super) fn scratch(&self, seed: u64) -> Scratch {
        let n = self.observation.examples;
        let len = self.model.layout().len();
        let (steps, spare) = match &self.observation.evidence {
            Evidence::Gradient(_) => (1, 0),
            Evidence::Update { steps, .. } => (steps.len(), len),
        };
        let soft = if self.labels.is_none() {
            n * self.model.outputs()
        } else {
            0
        };
        Scratch {
            workspaces: vec![self.model.tangent_workspace(n); steps],
            along: vec![vec![0.0; len]; steps - 1],
            made: vec![0.0; len],
            direction: vec![0.0; len],
            step: vec![0.0; spare],
            soft: vec![0.0; soft],
            soft_dot: vec![0.0; soft],
            inputs_dot: vec![0.0; self.inputs()],
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Puts the noise of the next value pass, over the `examples`, in place; `guess` is that of all, where it is guessed.
    fn noise(
        &self,
        workspace: &mut TangentWorkspace,
        rng: &mut ChaCha8Rng,
        guess: &[f32],
        examples: usize,
    ) {
        let width = self.model.noise_len();
        if width == 0 {
            return;
        }
        match self.attack.noise {
            Noise::Drawn | Noise::Fixed => workspace.draw_noise(rng, examples),
            Noise::Zero => workspace.set_noise(&vec![0.0; examples * width]),
            Noise::Joint => workspace.set_noise(guess),
        }
    }

    /// The objective at the guess `at`; fills its gradient there.
    pub(super) fn evaluate(&self, at: &[f32], gradient: &mut [f32], scratch: &mut Scratch) -> f64 {
        let (inputs, rest) = at.split_at(self.inputs());
        let (logits, noise) = rest.split_at(rest.len() - self.joint_noise());
        let (inputs_gradient, rest) = gradient.split_at_mut(self.inputs());
        let (logits_gradient, noise_gradient) = rest.split_at_mut(logits.len());
        if self.attack.noise == Noise::Fixed {
            scratch.rng = ChaCha8Rng::seed_from_u64(scratch.seed);
        }
        probabilities(logits, self.model.outputs(), &mut scratch.soft);
        let mut objective = match &self.observation.evidence {
            Evidence::Gradient(_) => {
                self.one_step((inputs, noise), (inputs_gradient, noise_gradient), scratch)
            }
            Evidence::Update {
                learning_rate,
                steps,
                ..
            } => self.several_steps(inputs, inputs_gradient, *learning_rate, steps, scratch),
        };
        logits_slopes(
            &scratch.soft,
            &scratch.soft_dot,
            self.model.outputs(),
            logits_gradient,
        );
        let (variation, space) = (self.attack.variation, &self.observation.space);
        objective += variation::add(variation, space, inputs, inputs_gradient);
        objective
    }

    /// `inputs` and `gradient` each with the part of guessed noise.
    fn one_step(
        &self,
        (inputs, noise): (&[f32], &[f32]),
        (gradient, noise_gradient): (&mut [f32], &mut [f32]),
        scratch: &mut Scratch,
    ) -> f64 {
        let Scratch {
            workspaces,
            made,
            direction,
            soft,
            soft_dot,
            rng,
            ..
        } = scratch;
        let parameters = &self.observation.parameters;
        let Some(workspace) = workspaces.first_mut() else {
            return f64::NAN;
        };
        let all = 0..self.observation.examples;
        self.noise(workspace, rng, noise, all.end);
        let targets = self.targets(&all, soft);
        self.model
            .value(parameters, inputs, targets, workspace, made);
        let distance = self.target.compare(made, direction);
        let wanted = Derivatives {
            inputs: gradient,
            targets: (!soft_dot.is_empty()).then_some(soft_dot.as_mut_slice()),
            parameters: None,
        };
        self.model
            .tangent(parameters, direction, inputs, workspace, wanted);
        if !noise_gradient.is_empty() {
            self.model.tangent_noise(workspace, noise_gradient);
        }
        distance
    }

    /// Forward through the client's local steps, then back: with l the derivative of the distance with respect to the
    /// parameters after a step, that with respect to its inputs is -eta times the tangent along l, and that with respect to
    /// the parameters before it is l minus eta times the Hessian along l.
    fn several_steps(
        &self,
        inputs: &[f32],
        gradient: &mut [f32],
        rate: f32,
        steps: &[Range<usize>],
        scratch: &mut Scratch,
    ) -> f64 {
        let Scratch {
            workspaces,
            along,
            made,
            direction,
            step,
            soft,
            soft_dot,
            inputs_dot,
            rng,
            ..
        } = scratch;
        let (features, outputs) = (self.observation.space.features(), self.model.outputs());
        let start = &self.observation.parameters;
        made.fill(0.0);
        for (index, workspace) in workspaces.iter_mut().enumerate() {
            let range = self.examples_of(&steps[index]);
            let before = match index {
                0 => start,
                _ => &along[index - 1],
            };
            let part = &inputs[range.start * features..range.end * features];
            self.noise(workspace, rng, &[], range.len());
            let targets = self.targets(&range, soft);
            self.model.value(before, part, targets, workspace, step);
            for (sum, g) in made.iter_mut().zip(step.iter()) {
                *sum -= rate * g;
            }
            if let Some(after) = along.get_mut(index) {
                for ((after, start), sum) in after.iter_mut().zip(start).zip(made.iter()) {
                    *after = start + sum;
                }
            }
        }
        let distance = self.target.compare(made, direction);
        gradient.fill(0.0);
        soft_dot.fill(0.0);
        let mut targets_dot = vec![0.0; soft_dot.len()];
        for (index, workspace) in workspaces.iter_mut().enumerate().rev() {
            let range = self.examples_of(&steps[index]);
            let before = match index {
                0 => start,
                _ => &along[index - 1],
            };
            let place = range.start * features..range.end * features;
            let soft_place = match self.labels {
                Some(_) => 0..0,
                None => range.start * outputs..range.end * outputs,
            };
            let inputs_dot = &mut inputs_dot[place.clone()];
            let targets_dot = &mut targets_dot[soft_place.clone()];
            let wanted = Derivatives {
                inputs: inputs_dot,
                targets: (!targets_dot.is_empty()).then_some(&mut *targets_dot),
                parameters: Some(step),
            };
            let part = &inputs[place.clone()];
            self.model
                .tangent(before, direction, part, workspace, wanted);
            for (sum, dot) in gradient[place].iter_mut().zip(inputs_dot.iter()) {
                *sum -= rate * dot;
            }
            for (sum, dot) in soft_dot[soft_place].iter_mut().zip(targets_dot.iter()) {
                *sum -= rate * dot;
            }
            for (l, dot) in direction.iter_mut().zip(step.iter()) {
                *l -= rate * dot;
            }
        }
        distance
    }

    fn examples_of(&self, step: &Range<usize>) -> Range<usize> {
        match self.attack.order {
            Order::Repeated => step.clone(),
            Order::Averaged => 0..self.observation.examples,
        }
    }

    fn targets<'s>(&'s self, examples: &Range<usize>, soft: &'s [f32]) -> Targets<'s> {
        let outputs = self.model.outputs();
        match &self.labels {
            Some(labels) => Targets::Classes(&labels[examples.clone()]),
            None => Targets::Soft(&soft[examples.start * outputs..examples.end * outputs]),
        }
    }
}

/// The softmax of each row of `logits`; with one output the logistic function.
pub(super) fn probabilities(logits: &[f32], outputs: usize, out: &mut [f32]) {
    if outputs == 1 {
        for (p, z) in out.iter_mut().zip(logits) {
            *p = 1.0 / (1.0 + (-z).exp());
        }
        return;
    }
    for (row, out) in logits
        .chunks_exact(outputs)
        .zip(out.chunks_exact_mut(outputs))
    {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (p, z) in out.iter_mut().zip(row) {
            *p = (z - most).exp();
            sum += *p;
        }
        out.iter_mut().for_each(|p| *p /= sum);
    }
}

/// The derivatives with respect to the logits, from those, `dots`, with respect to their probabilities.
fn logits_slopes(soft: &[f32], dots: &[f32], outputs: usize, slopes: &mut [f32]) {
    if outputs == 1 {
        for ((slope, p), dot) in slopes.iter_mut().zip(soft).zip(dots) {
            *slope = p * (1.0 - p) * dot;
        }
        return;
    }
    let rows = soft.chunks_exact(outputs).zip(dots.chunks_exact(outputs));
    for ((soft, dots), slopes) in rows.zip(slopes.chunks_exact_mut(outputs)) {
        let mean: f32 = soft.iter().zip(dots).map(|(p, dot)| p * dot).sum();
        for ((slope, p), dot) in slopes.iter_mut().zip(soft).zip(dots) {
            *slope = p * (dot - mean);
        }
    }
}

#[cfg(test)]
mod tests;
