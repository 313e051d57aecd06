//! The attack of Shokri, Stronati, Song and Shmatikov 2017 (arXiv 1610.05820): a net a class learns from shadow models how
//! probabilities look of examples that a model has and has not seen.

use cloister_data::{Dataset, ExampleShape};
use cloister_nn::{Activation, InputShape, LossConfig, Model, ModelConfig};
use cloister_protocol::{Learner, LocalOptimizer, ModelLearner, Scratch, TrainPlan};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::pool::check_rows;
use super::roc::{Estimate, clopper_pearson};
use super::shadow::Shadow;
use super::{MembershipError, Query, Signals, probabilities};

/// Units of the hidden layer, the authors' number.
const HIDDEN: usize = 64;
/// Passes over the shadows' answers.
const EPOCHS: u32 = 30;
/// Examples in a step.
const BATCH: u32 = 32;
/// Step length of Adam.
const RATE: f32 = 1e-3;
/// Least examples of a class, members and others each, for a net of its own; below, the net of all classes speaks.
const LEAST: usize = 20;

/// The trained attack.
#[derive(Debug)]
pub struct Shokri {
    net: Model,
    /// For all classes together, then for each class that has its own.
    all: Vec<f32>,
    own: Vec<Option<Vec<f32>>>,
}

/// How often the attack is right on as many members as others.
#[derive(Clone, Debug, PartialEq)]
pub struct Balanced {
    /// Share of right calls; the interval is Clopper and Pearson's.
    pub accuracy: Estimate,
    /// Share that one is right on who always says "non-member": one half, since the evaluation is balanced.
    pub baseline: f64,
    /// Members, and non-members, that were judged.
    pub each: usize,
}

impl Balanced {
    /// Whether the attack beats "always non-member": the interval lies above the baseline.
    pub fn beats_baseline(&self) -> bool {
        self.accuracy.low > self.baseline
    }

    /// The finding in words.
    pub fn words(&self) -> String {
        let verb = match self.beats_baseline() {
            true => "beats",
            false => "does not beat",
        };
        format!(
            "{:.1} % right [{:.1}, {:.1}] on {} members and {} others: {verb} \"always non-member\", which is right on {:.0} %",
            100.0 * self.accuracy.value,
            100.0 * self.accuracy.low,
            100.0 * self.accuracy.high,
            self.each,
            self.each,
            100.0 * self.baseline
        )
    }
}

impl Shokri {
    /// Trains the nets on what `shadows` of `model` answer about the `data` that they were trained on. Of each shadow and
    /// class as many members as others are used.
    ///
    /// # Errors
    /// [`MembershipError`] if the data do not fit, or the shadows have too few examples to learn from.
    pub fn train(
        model: &Model,
        shadows: &[Shadow],
        data: &Dataset,
        threads: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, MembershipError> {
        let classes = model.classes();
        let mut lessons: Vec<Lessons> = vec![Lessons::default(); classes];
        for shadow in shadows {
            learn_from(shadow, model, data, threads, rng, &mut lessons)?;
        }
        let input = InputShape {
            channels: 1,
            height: 1,
            width: classes,
        };
        let config = ModelConfig::Mlp {
            hidden: vec![HIDDEN],
            activation: Activation::Relu,
            loss: LossConfig::Auto,
            bottleneck: None,
        };
        let net = Model::build(&config, input, 2);
        let net = net.map_err(|error| MembershipError::Data(error.to_string()))?;
        let mut everything = Lessons::default();
        for lessons in &lessons {
            everything.features.extend_from_slice(&lessons.features);
            everything.labels.extend_from_slice(&lessons.labels);
        }
        let got = everything.labels.len() / 2;
        if got < LEAST {
            return Err(MembershipError::TooFew {
                what: "examples of the shadow models, members and others each,",
                least: LEAST,
                got,
            });
        }
        let all = everything.teach(&net, classes, rng)?;
        let own = lessons
            .into_iter()
            .map(|lessons| match lessons.labels.len() / 2 >= LEAST {
                true => lessons.teach(&net, classes, rng).map(Some),
                false => Ok(None),
            });
        let own = own.collect::<Result<_, _>>()?;
        Ok(Self { net, all, own })
    }

    /// The log-odds of membership of each row of `data`, given what `model` with `parameters` (the target) answers.
    ///
    /// # Errors
    /// [`MembershipError`] if the data or the model do not fit.
    pub fn scores(
        &self,
        model: &Model,
        parameters: &[f32],
        data: &Dataset,
        threads: usize,
    ) -> Result<Vec<f64>, MembershipError> {
        let classes = self.own.len();
        if model.classes() != classes {
            return Err(MembershipError::Length {
                what: "classes of the target",
                expected: classes,
                got: model.classes(),
            });
        }
        let answers = probabilities(model, parameters, data, threads)?;
        let mut scores = vec![0.0; data.len()];
        for class in 0..classes {
            let rows: Vec<usize> = (0..data.len())
                .filter(|row| data.labels()[*row] as usize == class)
                .collect();
            let mut lessons = Lessons::default();
            for row in &rows {
                lessons.add(answer(&answers, *row, classes), 1);
            }
            if rows.is_empty() {
                continue;
            }
            let net = self.own[class].as_ref().unwrap_or(&self.all);
            let shown = lessons.dataset(classes)?;
            let odds = Signals::of(&self.net, net, &shown, Query::Plain, threads)?.log_odds;
            for (row, odds) in rows.into_iter().zip(odds) {
                scores[row] = odds;
            }
        }
        Ok(scores)
    }
}

/// Adds to the lessons of each class what a shadow answers about as many of its members as others.
fn learn_from(
    shadow: &Shadow,
    model: &Model,
    data: &Dataset,
    threads: usize,
    rng: &mut ChaCha8Rng,
    lessons: &mut [Lessons],
) -> Result<(), MembershipError> {
    check_rows(data, &shadow.members)?;
    check_rows(data, &shadow.nonmembers)?;
    let classes = model.classes();
    let answers = probabilities(model, &shadow.parameters, data, threads)?;
    for (class, lessons) in lessons.iter_mut().enumerate() {
        let of_class = |rows: &[u32]| -> Vec<u32> {
            let label = |row: &u32| data.labels()[*row as usize] as usize;
            rows.iter()
                .filter(|row| label(row) == class)
                .copied()
                .collect()
        };
        let (mut inside, mut out) = (of_class(&shadow.members), of_class(&shadow.nonmembers));
        let fewer = inside.len().min(out.len());
        for (label, rows) in [(1, &mut inside), (0, &mut out)] {
            rows.shuffle(rng);
            for row in &rows[..fewer] {
                lessons.add(answer(&answers, *row as usize, classes), label);
            }
        }
    }
    Ok(())
}

/// How often scores above 0 are members' and others not, on as many of either: the larger side is cut to the other's size at
/// random.
///
/// # Errors
/// [`MembershipError::TooFew`] if one side is empty.
pub fn balanced(
    members: &[f64],
    nonmembers: &[f64],
    confidence: f64,
    rng: &mut impl Rng,
) -> Result<Balanced, MembershipError> {
    let each = members.len().min(nonmembers.len());
    if each == 0 {
        return Err(MembershipError::TooFew {
            what: "members or non-members",
            least: 1,
            got: 0,
        });
    }
    let mut right = 0_u64;
    for (scores, member) in [(members, true), (nonmembers, false)] {
        let drawn = rand::seq::index::sample(rng, scores.len(), each);
        let hits = drawn.into_iter().filter(|i| (scores[*i] > 0.0) == member);
        right += hits.count() as u64;
    }
    Ok(Balanced {
        accuracy: clopper_pearson(right, 2 * each as u64, confidence)?,
        baseline: 0.5,
        each,
    })
}

/// Sorted probabilities with whether the model had seen the example.
#[derive(Clone, Debug, Default)]
struct Lessons {
    features: Vec<f32>,
    labels: Vec<u32>,
}

impl Lessons {
    fn add(&mut self, answer: Vec<f32>, label: u32) {
        self.features.extend(answer);
        self.labels.push(label);
    }

    fn dataset(self, classes: usize) -> Result<Dataset, MembershipError> {
        let names = vec!["other".to_owned(), "member".to_owned()];
        let shape = ExampleShape::flat(classes);
        let data = Dataset::new("answers", shape, self.features, self.labels, names, None);
        data.map_err(|error| MembershipError::Data(error.to_string()))
    }

    fn teach(
        self,
        net: &Model,
        classes: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, MembershipError> {
        let data = self.dataset(classes)?;
        let rows: Vec<u32> = (0..data.len() as u32).collect();
        let wrong =
            |error: cloister_protocol::LearnerError| MembershipError::Data(error.to_string());
        let mut learner =
            ModelLearner::new(net, &data, &rows, Scratch::default()).map_err(wrong)?;
        let mut parameters = net.initial_parameters(rng);
        let update = learner.train(&parameters, &plan(), rng).map_err(wrong)?;
        for (parameter, step) in parameters.iter_mut().zip(&update.values) {
            *parameter += step;
        }
        Ok(parameters)
    }
}

fn plan() -> TrainPlan {
    TrainPlan {
        epochs: EPOCHS,
        batch_size: BATCH,
        max_steps: 0,
        optimizer: LocalOptimizer::Adam,
        learning_rate: RATE,
        momentum: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        weight_decay: 0.0,
        proximal_mu: 0.0,
        client_momentum: 0.0,
    }
}

/// The probabilities of one example as log-odds, largest first: near 0 and 1 probabilities themselves all look alike to a net.
fn answer(answers: &[f64], row: usize, classes: usize) -> Vec<f32> {
    let mut sorted = answers[row * classes..(row + 1) * classes].to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let squeezed = |p: f64| {
        let p = p.clamp(1e-12, 1.0 - 1e-12);
        (0.25 * (p / (1.0 - p)).ln()) as f32
    };
    sorted.into_iter().map(squeezed).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_evaluation_is_balanced() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // Always "non-member" on 10 members and 1,000 others is right on 99 %, and on 50 % here.
        let never = balanced(&[-1.0; 10], &[-1.0; 1000], 0.95, &mut rng).unwrap();
        assert_eq!((never.accuracy.value, never.each), (0.5, 10));
        assert!(!never.beats_baseline());
        assert!(
            never
                .words()
                .contains("does not beat \"always non-member\"")
        );
        let good = balanced(&[1.0; 30], &[-1.0; 40], 0.95, &mut rng).unwrap();
        assert!(good.beats_baseline() && good.words().contains(": beats"));
        assert!(balanced(&[], &[1.0], 0.95, &mut rng).is_err());
    }

    #[test]
    fn answers_are_sorted() {
        let sorted = answer(&[9.0, 9.0, 0.2, 0.7, 0.1], 1, 2);
        assert!(sorted[0] > sorted[1]);
        assert!(
            answer(&[0.0, 1.0], 0, 2)
                .iter()
                .all(|value| value.is_finite())
        );
    }
}
