//! What malicious clients train.

use cloister_data::Dataset;
use cloister_nn::Model;
use cloister_protocol::{
    Learner, LearnerError, LocalOptimizer, ModelLearner, ScratchPool, TrainPlan, Update,
};
use rand_chacha::ChaCha8Rng;

use super::Adversary;
use crate::config::AttackKind;
use crate::data::{Poisoned, least_likely};
use crate::updates::simple::{norm, scale_to};

/// One client's training: everything but the examples.
struct Training<'a> {
    model: &'a Model,
    global: &'a [f32],
    plan: &'a TrainPlan,
    scratch: &'a ScratchPool,
}

impl Training<'_> {
    fn on(
        &self,
        data: &Dataset,
        rows: &[u32],
        frozen: Option<&[bool]>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        let scratch = self.scratch.take();
        let mut learner = ModelLearner::new(self.model, data, rows, scratch)?.freezing(frozen)?;
        let update = learner.train(self.global, self.plan, rng);
        self.scratch.put(learner.into_scratch());
        update
    }
}

impl Adversary {
    /// What malicious `client` makes on its own in an active `round`: an honest update, one trained on poisoned data,
    /// or zeros (with a loss of 0) without any training. `rng` is the client's own training stream.
    ///
    /// # Errors
    /// [`LearnerError`], as for an honest client.
    #[allow(
        clippy::too_many_arguments,
        reason = "a client's situation has that many parts"
    )]
    pub fn train(
        &self,
        client: u32,
        round: u32,
        model: &Model,
        train: &Dataset,
        rows: &[u32],
        global: &[f32],
        plan: &TrainPlan,
        rng: &mut ChaCha8Rng,
        scratch: &ScratchPool,
    ) -> Result<Update, LearnerError> {
        let training = Training {
            model,
            global,
            plan,
            scratch,
        };
        if !self.active(round) {
            return training.on(train, rows, None, rng);
        }
        match self.config.kind {
            AttackKind::Gaussian
            | AttackKind::Constant
            | AttackKind::Nan
            | AttackKind::FreeRider
            | AttackKind::Canary => Ok(Update {
                examples: rows.len() as u64,
                loss: Some(0.0),
                values: vec![0.0; global.len()],
            }),
            AttackKind::DynamicLabelFlip => self.train_against(client, &training, train, rows, rng),
            AttackKind::ConstrainAndScale => self.train_near(client, &training, train, rows, rng),
            AttackKind::Neurotoxin => match self.poisoned.get(&client) {
                Some(own) => training.on(&own.data, &own.rows, self.frozen.as_deref(), rng),
                None => training.on(train, rows, None, rng),
            },
            _ => match self.poisoned.get(&client) {
                Some(own) => training.on(&own.data, &own.rows, None, rng),
                None => training.on(train, rows, None, rng),
            },
        }
    }

    /// Dynamic label flipping: each example's label becomes the class that the global model finds least likely.
    fn train_against(
        &self,
        client: u32,
        training: &Training<'_>,
        train: &Dataset,
        rows: &[u32],
        rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        // Also refuses rows and examples that do not fit.
        let scratch =
            ModelLearner::new(training.model, train, rows, training.scratch.take())?.into_scratch();
        training.scratch.put(scratch);
        let labels = least_likely(training.model, training.global, train, rows, rng);
        let changed = Poisoned::new(client, train, rows, |place, _, label| {
            *label = labels[place]
        });
        match changed.map_err(|error| LearnerError(error.to_string()))? {
            Some(own) => training.on(&own.data, &own.rows, None, rng),
            None => training.on(train, rows, None, rng),
        }
    }

    /// Constrain and scale (Bagdasaryan et al. 2020, section 4.3): the loss alpha L + (1 - alpha) |w - global|^2 / 2,
    /// and the update scaled to the bound.
    fn train_near(
        &self,
        client: u32,
        training: &Training<'_>,
        train: &Dataset,
        rows: &[u32],
        rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        let Some(own) = self.poisoned.get(&client) else {
            return training.on(train, rows, None, rng);
        };
        let bound = match self.config.norm_bound {
            Some(bound) => bound,
            None => norm(&training.on(train, rows, None, &mut rng.clone())?.values),
        };
        let near = constrained(training.plan, self.config.alpha());
        let training = Training {
            plan: &near,
            ..*training
        };
        let mut update = training.on(&own.data, &own.rows, None, rng)?;
        scale_to(&mut update.values, bound);
        Ok(update)
    }

    /// Marks the coordinates that Neurotoxin leaves alone: the share `mask_ratio` with the largest last step, the
    /// first of equals.
    pub(super) fn freeze(&mut self) {
        self.frozen = match (&self.memory.last_step, self.config.kind) {
            (Some(step), AttackKind::Neurotoxin) => Some(largest(step, self.config.mask_ratio())),
            _ => None,
        };
    }
}

/// The plan under which a learner minimises alpha L + (1 - alpha) |w - global|^2 / 2: the proximal term of FedProx
/// relative to a loss of weight 1. For Adam the scale of the loss does not matter.
fn constrained(plan: &TrainPlan, alpha: f64) -> TrainPlan {
    let mut plan = plan.clone();
    plan.proximal_mu += ((1.0 - alpha) / alpha) as f32;
    if plan.optimizer != LocalOptimizer::Adam {
        plan.learning_rate *= alpha as f32;
    }
    plan
}

fn largest(step: &[f32], share: f64) -> Vec<bool> {
    let count = (share * step.len() as f64).round() as usize;
    let mut marked = vec![false; step.len()];
    if count == 0 {
        return marked;
    }
    let mut order: Vec<usize> = (0..step.len()).collect();
    let size = |index: &usize| step[*index].abs();
    let last = count.min(step.len()) - 1;
    order.select_nth_unstable_by(last, |a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    for index in &order[..=last] {
        marked[*index] = true;
    }
    marked
}

#[cfg(test)]
mod tests {
    use cloister_protocol::TrainConfig;

    use super::*;

    #[test]
    fn the_largest_steps_are_masked() {
        let step = [0.5, -3.0, 0.0, 1.0, -1.0];
        assert_eq!(largest(&step, 0.4), [false, true, false, true, false]);
        assert_eq!(largest(&step, 0.0), [false; 5]);
        assert_eq!(largest(&[], 0.5), [false; 0]);
    }

    /// One SGD step on the combined loss, by hand: w - rate (alpha g + (1 - alpha) (w - global)).
    #[test]
    fn the_constrained_plan_weighs_task_and_distance() {
        let plan = TrainConfig::default().plan(1);
        let near = constrained(&plan, 0.25);
        let (g, distance) = (3.0_f32, 0.5_f32);
        let by_hand = plan.learning_rate * (0.25 * g + 0.75 * distance);
        let step = near.learning_rate * (g + near.proximal_mu * distance);
        assert!((step - by_hand).abs() < 1e-6);
        assert_eq!(constrained(&plan, 1.0), plan);
    }
}
