//! Which examples a local training uses, step by step.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::TrainPlan;

/// The rows of each step that [`ModelLearner`](super::ModelLearner) takes over `rows` as `plan` says, with the generator that
/// its training would have.
pub fn batches(rows: &[u32], plan: &TrainPlan, rng: &mut ChaCha8Rng) -> Vec<Vec<u32>> {
    let size = match plan.batch_size as usize {
        0 => rows.len(),
        size => size.min(rows.len()),
    };
    let mut order = rows.to_vec();
    let mut steps = Vec::new();
    for _ in 0..plan.epochs {
        order.shuffle(rng);
        for batch in order.chunks(size.max(1)) {
            if plan.max_steps != 0 && steps.len() == plan.max_steps as usize {
                return steps;
            }
            steps.push(batch.to_vec());
        }
    }
    steps
}
