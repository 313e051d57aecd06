//! Shadow models: the attacker's own, trained on parts of data that it has.
//!
//! A shadow is trained in one place, by the target's plan ([`TrainPlan`]: batch size, optimiser, step length, weight decay)
//! for as many epochs as the caller gives. A federation for each shadow would be too dear; that their training differs from
//! the target's makes the attack weaker, never its figures wrong. Privacy noise is left out for the same reason.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cloister_data::Dataset;
use cloister_nn::Model;
use cloister_protocol::{Learner, ModelLearner, ScratchPool, TrainPlan};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::pool::check_rows;
use super::{MembershipError, Query, Reference, Signals};

/// What each shadow learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// A random half of the rows; shadows come in pairs of complements, so that each row is in exactly half of an even
    /// number of them (LiRA, RMIA).
    Half,
    /// The rows are dealt out, and each shadow learns from half of its own share (Shokri et al. 2017).
    Disjoint,
}

/// How shadows are trained.
#[derive(Clone, Copy, Debug)]
pub struct ShadowPlan<'a> {
    /// The architecture, the target's.
    pub model: &'a Model,
    /// The steps, the target's.
    pub plan: &'a TrainPlan,
    /// Passes over a shadow's rows, in place of the plan's.
    pub epochs: u32,
    /// How many shadows there are.
    pub shadows: usize,
    /// What each learns from.
    pub split: Split,
}

/// A trained shadow.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Its parameters.
    pub parameters: Vec<f32>,
    /// Rows that it learnt from, ascending.
    pub members: Vec<u32>,
    /// Rows of its share that it did not learn from, ascending.
    pub nonmembers: Vec<u32>,
}

impl Shadow {
    /// Asks the shadow about all rows of `data`, those that it was trained on.
    ///
    /// # Errors
    /// [`MembershipError`] if the data do not fit.
    pub fn answer(
        &self,
        model: &Model,
        data: &Dataset,
        queries: &[Query],
        threads: usize,
    ) -> Result<Reference, MembershipError> {
        check_rows(data, &self.members)?;
        let mut inside = vec![false; data.len()];
        for row in &self.members {
            inside[*row as usize] = true;
        }
        let ask = |query: &Query| Signals::of(model, &self.parameters, data, *query, threads);
        Ok(Reference {
            inside,
            queries: queries.iter().map(ask).collect::<Result<_, _>>()?,
        })
    }
}

/// Trains shadows on the `rows` of `data`, several at a time on up to `threads` threads: the same bits on any number.
///
/// # Errors
/// [`MembershipError`] for too few rows or shadows, a row that is not there, or a plan that cannot be trained.
pub fn train(
    plan: &ShadowPlan<'_>,
    data: &Dataset,
    rows: &[u32],
    threads: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Shadow>, MembershipError> {
    check_rows(data, rows)?;
    let splits = split(plan, rows, rng)?;
    let jobs: Vec<(Job, ChaCha8Rng)> = splits
        .into_iter()
        .map(|split| (split, ChaCha8Rng::from_rng(rng)))
        .collect();
    let mut local = plan.plan.clone();
    local.epochs = plan.epochs;
    local.max_steps = 0;
    // What federated averaging does between rounds has no place in one training.
    local.proximal_mu = 0.0;
    let pool = ScratchPool::default();
    let work = |job: &(Job, ChaCha8Rng), shadow: usize| {
        let ((members, nonmembers), mut rng) = job.clone();
        let failed = |reason: String| MembershipError::Training { shadow, reason };
        let start = plan.model.initial_parameters(&mut rng);
        let learner = ModelLearner::new(plan.model, data, &members, pool.take());
        let mut learner = learner.map_err(|error| failed(error.to_string()))?;
        let update = learner.train(&start, &local, &mut rng);
        pool.put(learner.into_scratch());
        let update = update.map_err(|error| failed(error.to_string()))?;
        let mut parameters = start;
        for (parameter, step) in parameters.iter_mut().zip(&update.values) {
            *parameter += step;
        }
        if parameters.iter().any(|parameter| !parameter.is_finite()) {
            return Err(failed("its training diverged".to_owned()));
        }
        Ok(Shadow {
            parameters,
            members,
            nonmembers,
        })
    };
    in_order(&jobs, threads, work)
}

/// Rows that a shadow learns from, and the others of its share.
type Job = (Vec<u32>, Vec<u32>);

fn split(
    plan: &ShadowPlan<'_>,
    rows: &[u32],
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Job>, MembershipError> {
    let least = match plan.split {
        Split::Half => 2,
        Split::Disjoint => 2 * plan.shadows,
    };
    for (what, least, got) in [
        ("shadow models", 1, plan.shadows),
        ("rows", least, rows.len()),
    ] {
        if got < least {
            return Err(MembershipError::TooFew { what, least, got });
        }
    }
    let mut order = rows.to_vec();
    let sorted = |rows: &[u32]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    let halves = |rows: &[u32]| {
        let (one, other) = rows.split_at(rows.len() / 2);
        (sorted(one), sorted(other))
    };
    let mut jobs = Vec::with_capacity(plan.shadows);
    match plan.split {
        Split::Half => {
            while jobs.len() < plan.shadows {
                order.shuffle(rng);
                let (one, other) = halves(&order);
                jobs.push((one.clone(), other.clone()));
                if jobs.len() < plan.shadows {
                    jobs.push((other, one));
                }
            }
        }
        Split::Disjoint => {
            order.shuffle(rng);
            let share = order.len() / plan.shadows;
            jobs.extend(order.chunks_exact(share).take(plan.shadows).map(halves));
        }
    }
    Ok(jobs)
}

/// Runs `work` on each job with its place, on up to `threads` threads; the first error in the jobs' order counts.
pub(crate) fn in_order<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(&J, usize) -> Result<R, MembershipError> + Sync,
) -> Result<Vec<R>, MembershipError> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(place) else {
                return done;
            };
            done.push((place, work(job, place)));
        }
    };
    let mut results: Vec<(usize, Result<R, MembershipError>)> = thread::scope(|scope| {
        let threads = threads.clamp(1, jobs.len().max(1));
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut results = worker();
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use cloister_data::ExampleShape;
    use cloister_nn::{InputShape, LossConfig, ModelConfig};
    use cloister_protocol::TrainConfig;

    use super::*;

    fn fixture() -> (Model, Dataset, TrainPlan) {
        let shape = InputShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let loss = LossConfig::Auto;
        let model = Model::build(&ModelConfig::Logistic { loss }, shape, 2).unwrap();
        let labels: Vec<u32> = (0..40).map(|row| row % 2).collect();
        let features = (0..80).map(|i| (i as f32 * 0.37).sin()).collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let shape = ExampleShape::flat(2);
        let data = Dataset::new("d", shape, features, labels, classes, None).unwrap();
        (model, data, TrainConfig::default().plan(1))
    }

    #[test]
    fn each_row_is_in_half_of_the_shadows_and_bits_do_not_depend_on_threads() {
        let (model, data, plan) = fixture();
        let rows: Vec<u32> = (0..40).collect();
        let shadows = ShadowPlan {
            model: &model,
            plan: &plan,
            epochs: 2,
            shadows: 6,
            split: Split::Half,
        };
        let with = |threads| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            train(&shadows, &data, &rows, threads, &mut rng).unwrap()
        };
        let one = with(1);
        assert_eq!(one, with(3));
        for row in rows {
            let inside = one.iter().filter(|s| s.members.contains(&row)).count();
            let out = one.iter().filter(|s| s.nonmembers.contains(&row)).count();
            assert_eq!((inside, out), (3, 3));
        }
        let answer = one[0].answer(&model, &data, &[Query::Plain], 2).unwrap();
        assert_eq!(answer.inside.iter().filter(|inside| **inside).count(), 20);
        assert_eq!(answer.queries[0].len(), 40);
    }

    #[test]
    fn disjoint_shadows_share_nothing() {
        let (model, data, plan) = fixture();
        let rows: Vec<u32> = (0..39).collect();
        let mut shadows = ShadowPlan {
            model: &model,
            plan: &plan,
            epochs: 1,
            shadows: 3,
            split: Split::Disjoint,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let trained = train(&shadows, &data, &rows, 2, &mut rng).unwrap();
        let mut all: Vec<u32> = trained
            .iter()
            .flat_map(|s| s.members.iter().chain(&s.nonmembers).copied())
            .collect();
        all.sort_unstable();
        assert_eq!(all, rows);
        shadows.shadows = 30;
        let error = train(&shadows, &data, &rows, 2, &mut rng).unwrap_err();
        assert_eq!(error.to_string(), "39 rows are too few, 60 are needed");
        shadows.shadows = 0;
        assert!(train(&shadows, &data, &rows, 2, &mut rng).is_err());
        shadows.shadows = 2;
        assert!(train(&shadows, &data, &[40], 2, &mut rng).is_err());
    }
}
