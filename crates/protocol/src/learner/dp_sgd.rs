//! Local training in which each step hides each example (Abadi et al. 2016, arXiv 1607.00133).

use cloister_nn::{Model, Proximal};
use cloister_privacy::PrivacyError;
use cloister_privacy::mechanism::dp_sgd::{GradientNoise, PoissonSampler};
use cloister_privacy::noise::NoiseSource;

use super::draws::Draws;
use super::{CHUNK, LearnerError, ModelLearner, Update, hold, optimizer, targets, workspace};
use crate::config::TrainPlan;
use crate::privacy::private_steps;

/// Most gradients that are added up in single precision. The rounding of such a sum counts as sensitivity: 0.2 % with 128,
/// four times that with 256.
const PART: u32 = 128;

/// What a client adds to its training so that it hides each of its examples.
#[derive(Debug)]
pub struct DpSgd {
    sampler: PoissonSampler,
    clip: f64,
    noise_multiplier: f64,
    expected_batch: f64,
    source: NoiseSource,
}

impl DpSgd {
    /// Steps over batches of independent coins with the chance `sampling_rate` (at most `most` examples, if given), clipped
    /// gradients of norm `clip`, noise of `noise_multiplier` times that, divided by the public `expected_batch`.
    ///
    /// # Errors
    /// [`PrivacyError::Parameter`] for a number out of its range.
    pub fn new(
        sampling_rate: f64,
        most: Option<u64>,
        clip: f64,
        noise_multiplier: f64,
        expected_batch: f64,
        source: NoiseSource,
    ) -> Result<Self, PrivacyError> {
        let sampler = PoissonSampler::new(sampling_rate, most)?;
        // Refuses what would be refused in the first step.
        GradientNoise::new(1, clip, noise_multiplier, expected_batch, PART)?;
        Ok(Self {
            sampler,
            clip,
            noise_multiplier,
            expected_batch,
            source,
        })
    }

    fn noise(&self, model: &Model) -> Result<GradientNoise, PrivacyError> {
        GradientNoise::new(
            model.layout().len(),
            self.clip,
            self.noise_multiplier,
            self.expected_batch,
            PART,
        )
    }

    /// The clipping norm in 32 bits, never above it.
    fn bound(&self) -> f32 {
        let bound = self.clip as f32;
        match f64::from(bound) > self.clip {
            true => bound.next_down(),
            false => bound,
        }
    }
}

impl<'a> ModelLearner<'a> {
    /// Lets [`Learner::train`](super::Learner::train) hide each example, and withhold its training loss. How many steps it
    /// takes follows from the plan and the number of rows alone.
    #[must_use]
    pub fn hiding_examples(mut self, dp_sgd: Option<DpSgd>) -> Self {
        self.dp_sgd = dp_sgd;
        self
    }

    /// One noisy mean of clipped gradients into `scratch.gradient`.
    fn noisy_gradient(
        &mut self,
        parameters: &[f32],
        batch: &[usize],
        dp_sgd: &mut DpSgd,
        noise: &GradientNoise,
        sums: &mut [i64],
        draws: &mut Draws<'_>,
    ) -> Result<(), PrivacyError> {
        let clip = dp_sgd.bound();
        if batch.len() <= PART as usize {
            self.clipped_sum(parameters, batch, clip, draws);
            return noise.apply(&mut self.scratch.gradient, &mut dp_sgd.source);
        }
        for part in batch.chunks(PART as usize) {
            self.clipped_sum(parameters, part, clip, draws);
            noise.add(&self.scratch.gradient, sums)?;
        }
        noise.finish(sums, &mut self.scratch.gradient, &mut dp_sgd.source)
    }

    /// The sum of the clipped gradients of at most [`PART`] rows into `scratch.gradient`.
    fn clipped_sum(
        &mut self,
        parameters: &[f32],
        batch: &[usize],
        clip: f32,
        draws: &mut Draws<'_>,
    ) {
        self.scratch.order.clear();
        let rows = batch.iter().map(|place| self.rows[*place]);
        self.scratch.order.extend(rows);
        self.gather(0, batch.len());
        self.change();
        self.scratch.gradient.resize(parameters.len(), 0.0);
        // One size, so that the bits do not depend on what the workspace was used for before.
        let workspace = workspace(&mut self.scratch.workspace, self.model, CHUNK);
        workspace.draw_noise(draws, batch.len());
        workspace.weigh_classes(self.data.class_weights());
        self.model.clipped_gradient_sum(
            parameters,
            &self.scratch.inputs,
            targets(self.model, &self.scratch.labels, &self.scratch.values),
            clip,
            workspace,
            &mut self.scratch.gradient,
        );
    }

    pub(super) fn train_privately(
        &mut self,
        global: &[f32],
        plan: &TrainPlan,
        mut dp_sgd: DpSgd,
        draws: &mut Draws<'_>,
    ) -> Result<Update, LearnerError> {
        let refused = |error: PrivacyError| LearnerError(error.to_string());
        let examples = self.rows.len();
        let noise = dp_sgd.noise(self.model).map_err(refused)?;
        let mut sums = noise.begin();
        let mut parameters = global.to_vec();
        let (config, mut optimizer) = optimizer(&mut self.scratch.optimizer, plan, global.len());
        let proximal = (plan.proximal_mu > 0.0).then_some(Proximal {
            mu: plan.proximal_mu,
            global,
        });
        let mut batch = Vec::new();
        for _ in 0..private_steps(plan, examples as u64) {
            dp_sgd
                .sampler
                .draw(examples, &mut dp_sgd.source, &mut batch);
            self.noisy_gradient(&parameters, &batch, &mut dp_sgd, &noise, &mut sums, draws)
                .map_err(refused)?;
            // Whatever follows works on the noisy gradient and what the server knows: it costs nothing.
            optimizer.step(
                &mut parameters,
                &self.scratch.gradient,
                plan.learning_rate,
                plan.weight_decay,
                proximal,
            );
            if let Some(frozen) = self.frozen {
                hold(&mut parameters, global, frozen);
            }
        }
        self.scratch.optimizer = Some((config, optimizer));
        for (parameter, start) in parameters.iter_mut().zip(global) {
            *parameter -= start;
        }
        Ok(Update {
            examples: examples as u64,
            loss: None,
            values: parameters,
        })
    }
}
