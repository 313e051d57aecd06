//! Property inference: which labels, in which shares, did a client train on? Secure against nothing: gradients of the last
//! bias are sums of what the client's labels lack.
//!
//! Two estimators of the *label mix* of one update: [`from_bias_gradient`], in closed form for plain SGD of known step length
//! and number, and [`Regression`], learnt from updates that the attacker makes itself from auxiliary data (the idea of Canino
//! 2025, at our size), which knows nothing of the optimiser. [`MixScore`] sets an estimate beside the best guess without an
//! update.

use cloister_data::Dataset;
use cloister_nn::{Layout, Model};
use cloister_protocol::{Learner, ModelLearner, ScratchPool, TrainPlan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use crate::membership::MembershipError;
use crate::membership::shadow::in_order;

/// Why the label mix was not estimated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// The model has no bias in its last layer.
    #[error("the model's last tensor '{0}' is no bias of its outputs")]
    NoBias(String),
    /// Two lists that must be of one length.
    #[error("{what}: {got} values, expected {expected}")]
    Length {
        /// Which list.
        what: &'static str,
        /// Its expected length.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A class has no auxiliary example.
    #[error("class {0} has no auxiliary example")]
    NoExample(usize),
    /// A number out of its range.
    #[error("{name} must be {range}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Where it must be.
        range: &'static str,
        /// What it is.
        found: f64,
    },
    /// The equations have no solution.
    #[error("the updates do not determine a label mix")]
    Singular,
    /// The auxiliary examples do not fit the model, or could not be trained on.
    #[error(transparent)]
    Data(#[from] MembershipError),
}

/// What an estimate of a label mix is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixScore {
    /// Mean over the classes of the squared error.
    pub error: f64,
    /// The same of the guess without an update.
    pub floor: f64,
    /// Cosine of estimate and truth.
    pub cosine: f64,
    /// Whether the largest class was found.
    pub dominant: bool,
}

impl MixScore {
    /// Scores `estimate` of `truth`, beside the `guess` of one who has seen no update (the mix of the auxiliary data, say).
    ///
    /// # Errors
    /// [`PropertyError::Length`] if they are of different numbers of classes, or of none.
    pub fn new(estimate: &[f64], truth: &[f64], guess: &[f64]) -> Result<Self, PropertyError> {
        for (what, mix) in [("estimate", estimate), ("guess", guess)] {
            check_length(what, truth.len().max(1), mix.len())?;
        }
        let error = |mix: &[f64]| {
            let squares = mix.iter().zip(truth).map(|(a, b)| (a - b).powi(2));
            squares.sum::<f64>() / truth.len() as f64
        };
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths = (product(estimate, estimate) * product(truth, truth)).sqrt();
        Ok(Self {
            error: error(estimate),
            floor: error(guess),
            cosine: if lengths > 0.0 {
                product(estimate, truth) / lengths
            } else {
                0.0
            },
            dominant: largest(estimate) == largest(truth),
        })
    }
}

fn largest(mix: &[f64]) -> usize {
    let better = |best: usize, class: usize| if mix[class] > mix[best] { class } else { best };
    (1..mix.len()).fold(0, better)
}

/// The shares of the classes among `rows`.
pub fn label_mix(data: &Dataset, rows: &[u32]) -> Vec<f64> {
    let mut mix = vec![0.0; data.classes().len()];
    let labels = rows
        .iter()
        .filter_map(|row| data.labels().get(*row as usize));
    let mut all = 0.0;
    for label in labels {
        mix[*label as usize] += 1.0;
        all += 1.0;
    }
    if all > 0.0 {
        mix.iter_mut().for_each(|share| *share /= all);
    }
    mix
}

/// The label mix behind an `update` from `global` by `steps` steps of plain SGD of length `rate`.
///
/// The mean gradient of the last bias is p-bar - n / N (Geng et al. 2021; Wainakh et al. 2022): mean probability minus
/// label share. The mean probability follows from the mix itself, p-bar = sum_k mix_k p(k), p(k) being the mean answer to
/// auxiliary examples of class k, averaged over the models before and after the update; the linear equations are solved with
/// least squares, the shares summing to 1, and put on the simplex.
///
/// # Errors
/// [`PropertyError`] if a class has no auxiliary example, the last layer has no bias, or a length does not fit.
pub fn from_bias_gradient(
    model: &Model,
    global: &[f32],
    update: &[f32],
    rate: f64,
    steps: u64,
    auxiliary: &Dataset,
    threads: usize,
) -> Result<Vec<f64>, PropertyError> {
    let expected = model.layout().len();
    check_length("update", expected, update.len())?;
    check_length("global model", expected, global.len())?;
    let fits = rate > 0.0 && rate.is_finite();
    in_range("rate", "a finite number above 0", rate, fits)?;
    in_range("steps", "at least 1", steps as f64, steps > 0)?;
    let classes = model.classes();
    let moved = bias_step(model.layout(), update, classes)?;
    let scale = rate * steps as f64;
    let gradient: Vec<f64> = moved.iter().map(|moved| -moved / scale).collect();
    let local: Vec<f32> = global.iter().zip(update).map(|(g, u)| g + u).collect();
    let before = answers_by_class(model, global, auxiliary, threads)?;
    let after = answers_by_class(model, &local, auxiliary, threads)?;
    // Row c: sum_k mix_k (p(k)_c - [k = c]) = gradient_c; the last row: sum of the mix = 1, which must hold.
    let mut rows: Vec<Vec<f64>> = (0..classes)
        .map(|c| {
            let answer = |k: usize| 0.5 * (before[k][c] + after[k][c]);
            (0..classes)
                .map(|k| answer(k) - f64::from(u8::from(k == c)))
                .collect()
        })
        .collect();
    rows.push(vec![SURE; classes]);
    let mut wanted = gradient;
    wanted.push(SURE);
    let mix = ridge(&rows, &[wanted], RIDGE).ok_or(PropertyError::Singular)?;
    Ok(on_simplex(&mix[0]))
}

/// Weight of the equation that holds for sure.
const SURE: f64 = 100.0;
/// Ridge of equations that are nearly singular, as they are for a model that answers rightly already.
const RIDGE: f64 = 1e-6;

/// How the attacker makes the updates that it learns from.
#[derive(Clone, Copy, Debug)]
pub struct RegressionPlan<'a> {
    /// The model.
    pub model: &'a Model,
    /// How clients train.
    pub plan: &'a TrainPlan,
    /// Updates to make: a few times the classes.
    pub updates: usize,
    /// Examples of each, about as many as a client has.
    pub examples: usize,
}

/// A linear map from the step of the last bias to the label mix, for one global model.
#[derive(Clone, Debug)]
pub struct Regression {
    /// One row a class: weights of the features, then a constant.
    weights: Vec<Vec<f64>>,
    /// Mean length of the features, their unit.
    unit: f64,
}

impl Regression {
    /// Trains from `global` on `auxiliary` examples in known mixes, drawn uniformly from the simplex, and fits.
    ///
    /// # Errors
    /// [`PropertyError`] if a class has no auxiliary example, the last layer has no bias, or the data do not fit.
    pub fn fit(
        plan: &RegressionPlan<'_>,
        global: &[f32],
        auxiliary: &Dataset,
        threads: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, PropertyError> {
        let classes = plan.model.classes();
        check_length("global model", plan.model.layout().len(), global.len())?;
        check_length(
            "classes of the auxiliary data",
            classes,
            auxiliary.classes().len(),
        )?;
        in_range(
            "updates",
            "at least 2",
            plan.updates as f64,
            plan.updates >= 2,
        )?;
        in_range(
            "examples",
            "at least 1",
            plan.examples as f64,
            plan.examples >= 1,
        )?;
        let by_class = rows_by_class(auxiliary)?;
        let jobs: Vec<(Vec<u32>, ChaCha8Rng)> = (0..plan.updates)
            .map(|_| {
                let mix = uniform_mix(classes, rng);
                let rows = (0..plan.examples).map(|_| {
                    let rows = &by_class[draw(&mix, rng.random())];
                    rows[rng.random_range(0..rows.len())]
                });
                (rows.collect(), ChaCha8Rng::from_rng(rng))
            })
            .collect();
        let pool = ScratchPool::default();
        let updates = in_order(&jobs, threads, |(rows, rng), shadow| {
            let failed = |error: cloister_protocol::LearnerError| MembershipError::Training {
                shadow,
                reason: error.to_string(),
            };
            let learner = ModelLearner::new(plan.model, auxiliary, rows, pool.take());
            let mut learner = learner.map_err(failed)?;
            let update = learner.train(global, plan.plan, &mut rng.clone());
            pool.put(learner.into_scratch());
            Ok(update.map_err(failed)?.values)
        })?;
        let steps: Vec<Vec<f64>> = updates
            .iter()
            .map(|update| bias_step(plan.model.layout(), update, classes))
            .collect::<Result<_, _>>()?;
        let lengths = steps.iter().flatten().map(|step| step.abs()).sum::<f64>();
        let unit = (lengths / (steps.len() * classes) as f64).max(f64::MIN_POSITIVE);
        let features: Vec<Vec<f64>> = steps.iter().map(|step| features(step, unit)).collect();
        let mixes: Vec<Vec<f64>> = jobs
            .iter()
            .map(|(rows, _)| label_mix(auxiliary, rows))
            .collect();
        let wanted: Vec<Vec<f64>> = (0..classes)
            .map(|class| mixes.iter().map(|mix| mix[class]).collect())
            .collect();
        let weights = ridge(&features, &wanted, 1e-3).ok_or(PropertyError::Singular)?;
        Ok(Self { weights, unit })
    }

    /// The label mix behind an `update` of a model of that `layout` from the same global model.
    ///
    /// # Errors
    /// [`PropertyError`] if the update does not fit.
    pub fn estimate(&self, layout: &Layout, update: &[f32]) -> Result<Vec<f64>, PropertyError> {
        check_length("update", layout.len(), update.len())?;
        let step = bias_step(layout, update, self.weights.len())?;
        let features = features(&step, self.unit);
        let share = |weights: &Vec<f64>| weights.iter().zip(&features).map(|(w, x)| w * x).sum();
        Ok(on_simplex(
            &self.weights.iter().map(share).collect::<Vec<f64>>(),
        ))
    }
}

fn features(step: &[f64], unit: f64) -> Vec<f64> {
    let mut features: Vec<f64> = step.iter().map(|step| step / unit).collect();
    features.push(1.0);
    features
}

/// A mix drawn uniformly from the simplex.
fn uniform_mix(classes: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut mix: Vec<f64> = (0..classes).map(|_| Exp1.sample(rng)).collect();
    let sum: f64 = mix.iter().sum();
    mix.iter_mut().for_each(|share| *share /= sum);
    mix
}

fn draw(mix: &[f64], mut point: f64) -> usize {
    for (class, share) in mix.iter().enumerate() {
        if point < *share {
            return class;
        }
        point -= share;
    }
    mix.len() - 1
}

fn rows_by_class(data: &Dataset) -> Result<Vec<Vec<u32>>, PropertyError> {
    let mut rows = vec![Vec::new(); data.classes().len()];
    for (row, label) in (0..).zip(data.labels()) {
        rows[*label as usize].push(row);
    }
    match rows.iter().position(Vec::is_empty) {
        Some(class) => Err(PropertyError::NoExample(class)),
        None => Ok(rows),
    }
}

/// What the update does to the last bias, one value a class. One output of two classes counts for the second and against the
/// first.
fn bias_step(layout: &Layout, update: &[f32], classes: usize) -> Result<Vec<f64>, PropertyError> {
    let Some(last) = layout.tensors().last() else {
        return Err(PropertyError::NoBias(String::new()));
    };
    let step: Vec<f64> = update[last.range()].iter().map(|u| f64::from(*u)).collect();
    match step.as_slice() {
        [one] if classes == 2 && last.shape.len() == 1 => Ok(vec![-one, *one]),
        step if step.len() == classes && last.shape.len() == 1 => Ok(step.to_vec()),
        _ => Err(PropertyError::NoBias(last.name.clone())),
    }
}

/// The mean probabilities that the model gives to examples of each class: `[class of the example][class]`.
fn answers_by_class(
    model: &Model,
    parameters: &[f32],
    data: &Dataset,
    threads: usize,
) -> Result<Vec<Vec<f64>>, PropertyError> {
    let classes = model.classes();
    let rows = rows_by_class(data)?;
    let answers = crate::membership::probabilities(model, parameters, data, threads)?;
    let mean = |rows: &Vec<u32>| {
        let mut mean = vec![0.0; classes];
        for row in rows {
            let of_row = &answers[*row as usize * classes..][..classes];
            for (mean, answer) in mean.iter_mut().zip(of_row) {
                *mean += answer / rows.len() as f64;
            }
        }
        mean
    };
    Ok(rows.iter().map(mean).collect())
}

/// For each right-hand side the x that minimises |rows x - wanted|^2 + penalty * trace / n * |x|^2, by Cholesky's
/// factorisation of the normal equations.
fn ridge(rows: &[Vec<f64>], wanted: &[Vec<f64>], penalty: f64) -> Option<Vec<Vec<f64>>> {
    let n = rows.first()?.len();
    let product = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
    let mut gram: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| product(i, j)).collect())
        .collect();
    let trace: f64 = (0..n).map(|i| gram[i][i]).sum();
    for (i, row) in gram.iter_mut().enumerate() {
        row[i] += penalty * trace / n as f64;
    }
    for j in 0..n {
        for i in j..n {
            let known: f64 = (0..j).map(|k| gram[i][k] * gram[j][k]).sum();
            let left = gram[i][j] - known;
            gram[i][j] = match i == j {
                true if left > 0.0 => left.sqrt(),
                true => return None,
                false => left / gram[j][j],
            };
        }
    }
    let solve = |wanted: &Vec<f64>| {
        let mut x: Vec<f64> = (0..n)
            .map(|i| rows.iter().zip(wanted).map(|(row, w)| row[i] * w).sum())
            .collect();
        for i in 0..n {
            let known: f64 = (0..i).map(|k| gram[i][k] * x[k]).sum();
            x[i] = (x[i] - known) / gram[i][i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| gram[k][i] * x[k]).sum();
            x[i] = (x[i] - known) / gram[i][i];
        }
        x
    };
    let solutions: Vec<Vec<f64>> = wanted.iter().map(solve).collect();
    let finite = solutions.iter().flatten().all(|value| value.is_finite());
    finite.then_some(solutions)
}

/// The nearest point whose values are at least 0 and sum to 1 (Duchi et al. 2008).
fn on_simplex(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (place, value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - 1.0) / (place + 1) as f64;
        if *value > candidate {
            shift = candidate;
        }
    }
    values
        .iter()
        .map(|value| (value - shift).max(0.0))
        .collect()
}

fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), PropertyError> {
    match expected == got {
        true => Ok(()),
        false => Err(PropertyError::Length {
            what,
            expected,
            got,
        }),
    }
}

fn in_range(
    name: &'static str,
    range: &'static str,
    found: f64,
    fits: bool,
) -> Result<(), PropertyError> {
    match fits {
        true => Ok(()),
        false => Err(PropertyError::Parameter { name, range, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let score = MixScore::new(&[0.5, 0.5], &[1.0, 0.0], &[0.25, 0.75]).unwrap();
        assert!((score.error - 0.25).abs() < 1e-12 && (score.floor - 0.5625).abs() < 1e-12);
        assert!((score.cosine - 0.5_f64.sqrt()).abs() < 1e-12 && score.dominant);
        assert!(MixScore::new(&[1.0], &[0.5, 0.5], &[0.5, 0.5]).is_err());
        assert!(MixScore::new(&[], &[], &[]).is_err());
    }

    #[test]
    fn the_simplex_is_met() {
        assert_eq!(on_simplex(&[0.2, 0.8]), [0.2, 0.8]);
        assert_eq!(on_simplex(&[2.0, 0.0]), [1.0, 0.0]);
        let third = on_simplex(&[-5.0, -5.0, -5.0]);
        assert!(third.iter().all(|share| (share - 1.0 / 3.0).abs() < 1e-12));
    }

    #[test]
    fn least_squares_are_solved() {
        let rows = vec![vec![1.0, 2.0], vec![3.0, -1.0], vec![0.0, 1.0]];
        let x = ridge(&rows, &[vec![5.0, 1.0, 2.0]], 0.0).unwrap();
        assert!((x[0][0] - 1.0).abs() < 1e-12 && (x[0][1] - 2.0).abs() < 1e-12);
        assert!(ridge(&[vec![0.0]], &[vec![1.0]], 0.0).is_none());
    }
}
