//! Which examples a local training uses, step by step.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::TrainPlan;

/// The rows of each step that [`ModelLearner`](super::ModelLearner) takes over `rows` as `plan` says, with the generator that
/// its training would have. A model that draws noise from that generator deals the passes after the first otherwise.
pub fn batches(rows: &[u32], plan: &TrainPlan, rng: &mut ChaCha8Rng) -> Vec<Vec<u32>> {
    let mut order = rows.to_vec();
    let mut batches = Vec::new();
    for step in plan.steps(rows.len()) {
        if step.begins_pass {
            order.shuffle(rng);
        }
        batches.push(order[step.places].to_vec());
    }
    batches
}
