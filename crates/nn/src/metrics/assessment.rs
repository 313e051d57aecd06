//! All figures of one model on labelled rows, with what chance leaves open.

use rand::Rng;

use super::bootstrap::{Bootstrap, Interval, Resampling};
use super::calibration::{Reliability, brier, squared_distance};
use super::per_class::{ClassFigures, ClassMeans, class_means, per_class};
use super::{Evaluation, Ranking, Tally};

/// How a model is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AssessmentPlan {
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// Bins of the reliability curve.
    pub bins: usize,
    /// Rows whose probability of class 1 is at least this count as taken for it, for the intervals of sensitivity and
    /// specificity; two classes only. It must not have been chosen on the rows that are judged.
    pub threshold: Option<f64>,
}

impl Default for AssessmentPlan {
    /// A thousand replicates, ten bins, no threshold.
    fn default() -> Self {
        Self {
            bootstrap: Bootstrap::default(),
            bins: 10,
            threshold: None,
        }
    }
}

/// The figures of one model on labelled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Accuracy, loss, AUROC, confusion.
    pub evaluation: Evaluation,
    /// Precision, recall and F1 of each class.
    pub classes: Vec<ClassFigures>,
    /// Their means.
    pub means: ClassMeans,
    /// AUROC of each class against the rest; `None` as there.
    pub class_auroc: Vec<Option<f64>>,
    /// Average precision of each class against the rest; `None` when it does not occur.
    pub class_average_precision: Vec<Option<f64>>,
    /// Of two classes that of class 1, else the mean over the classes; `None` when one of them does not occur.
    pub average_precision: Option<f64>,
    /// Brier score.
    pub brier: f64,
    /// The reliability curve; `None` when a logit is NaN.
    pub reliability: Option<Reliability>,
    /// How rows were drawn for the intervals.
    pub resampling: Resampling,
    /// Bootstrap intervals by the name of their figure, ascending: `accuracy`, `auroc`, `average-precision`,
    /// `balanced-accuracy`, `brier`, `loss`, `macro-f1`, and with a threshold `sensitivity` and `specificity`.
    pub intervals: Vec<(&'static str, Interval)>,
}

/// Scores (rows x classes) beyond which AUROC and average precision have no intervals: the rows are put in order for each class.
const MOST_ORDERED: usize = 50_000_000;

/// The figures with intervals.
const NAMES: [&str; 9] = [
    "accuracy",
    "auroc",
    "average-precision",
    "balanced-accuracy",
    "brier",
    "loss",
    "macro-f1",
    "sensitivity",
    "specificity",
];

impl Assessment {
    /// Judges the rows of a tally. `rng` draws the bootstrap's replicates: the same stream, the same intervals.
    pub fn of(tally: &Tally, plan: &AssessmentPlan, rng: &mut impl Rng) -> Self {
        let evaluation = tally.finish();
        let probabilities = tally.probabilities();
        // One class after the other: a ranking of each at once would be as large as the probabilities.
        let areas = (0..tally.classes()).map(|class| areas(tally, &probabilities, class));
        let (class_auroc, class_average_precision): (Vec<_>, Vec<_>) = areas.unzip();
        let average_precision = match tally.classes() {
            2 => class_average_precision[1],
            _ => mean(&class_average_precision),
        };
        let classes = per_class(&evaluation.confusion);
        let resamples = Resamples::new(tally, &probabilities, plan);
        let intervals = plan
            .bootstrap
            .intervals(tally.labels(), rng, |draws| resamples.figures(draws));
        let named = NAMES.into_iter().zip(intervals);
        Self {
            means: class_means(&classes),
            classes,
            class_auroc,
            class_average_precision,
            average_precision,
            brier: brier(&probabilities, tally.labels(), tally.classes()),
            reliability: reliability(tally, &probabilities, plan.bins),
            resampling: plan.bootstrap.resampling(tally.labels()),
            intervals: named
                .filter_map(|(name, interval)| Some((name, interval?)))
                .collect(),
            evaluation,
        }
    }
}

/// AUROC and average precision of a class against the rest.
fn areas(tally: &Tally, probabilities: &[f64], class: usize) -> (Option<f64>, Option<f64>) {
    let rows = probabilities.chunks_exact(tally.classes());
    let scores: Vec<f64> = rows.map(|row| row[class]).collect();
    match Ranking::new(&scores, |row| tally.labels()[row] as usize == class) {
        Some(ranking) => (ranking.auroc(), ranking.average_precision()),
        None => (None, None),
    }
}

/// Of class 1 for two classes, else of the predicted one.
fn reliability(tally: &Tally, probabilities: &[f64], bins: usize) -> Option<Reliability> {
    let labels = tally.labels();
    let predictions = tally.predictions();
    let scored = |(row, &prediction): (&[f64], &u32)| match row {
        [_, one] => *one,
        _ => row[prediction as usize],
    };
    // Rounding may carry a probability past 1; NaN stays NaN.
    let rows = probabilities.chunks_exact(tally.classes());
    let scores: Vec<f64> = rows
        .zip(&predictions)
        .map(scored)
        .map(|score| if score > 1.0 { 1.0 } else { score })
        .collect();
    let two = tally.classes() == 2;
    let hit = |row: usize| match two {
        true => labels[row] == 1,
        false => labels[row] == predictions[row],
    };
    Reliability::equal_width(&scores, bins, hit)
}

/// The mean of figures, if all are there.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let sum: Option<f64> = values.iter().copied().sum();
    Some(sum? / values.len() as f64)
}

/// Rows in the orders that the figures of a replicate need.
struct Resamples<'a> {
    labels: &'a [u32],
    classes: usize,
    predictions: Vec<u32>,
    losses: Vec<f64>,
    distances: Vec<f64>,
    /// For each ranked class the rows by descending score, in groups that tie; `None` when a score is NaN.
    orders: Vec<Option<Order>>,
    /// Whether each row is taken for class 1 at the plan's threshold.
    taken: Option<Vec<bool>>,
}

struct Order {
    class: u32,
    /// Rows, and whether each ties with the one before.
    rows: Vec<(u32, bool)>,
}

impl<'a> Resamples<'a> {
    fn new(tally: &'a Tally, probabilities: &[f64], plan: &AssessmentPlan) -> Self {
        let classes = tally.classes();
        let rows = || probabilities.chunks_exact(classes);
        let ranked = match classes {
            2 => 1..2,
            _ if probabilities.len() > MOST_ORDERED => 0..0,
            _ => 0..classes,
        };
        let order = |class| {
            let scores: Vec<f64> = match plan.bootstrap.replicates {
                0 => Vec::new(),
                _ => rows().map(|row| row[class]).collect(),
            };
            Order::new(&scores, class as u32)
        };
        let threshold = plan.threshold.filter(|_| classes == 2);
        Self {
            labels: tally.labels(),
            classes,
            predictions: tally.predictions(),
            losses: (0..tally.len()).map(|row| tally.loss_of(row)).collect(),
            distances: rows()
                .zip(tally.labels())
                .map(|(row, &label)| squared_distance(row, label))
                .collect(),
            orders: ranked.map(order).collect(),
            taken: threshold.map(|least| rows().map(|row| row[1] >= least).collect()),
        }
    }

    /// In the order of [`NAMES`].
    fn figures(&self, draws: &[u32]) -> Vec<Option<f64>> {
        let mut confusion = vec![vec![0_u64; self.classes]; self.classes];
        let (mut loss, mut distance, mut n) = (0.0, 0.0, 0.0);
        for (row, &drawn) in draws.iter().enumerate().filter(|(_, drawn)| **drawn > 0) {
            confusion[self.labels[row] as usize][self.predictions[row] as usize] +=
                u64::from(drawn);
            let weight = f64::from(drawn);
            loss += weight * self.losses[row];
            distance += weight * self.distances[row];
            n += weight;
        }
        let right: u64 = (0..self.classes).map(|class| confusion[class][class]).sum();
        let figures = per_class(&confusion);
        let ranked: Vec<Option<(f64, f64)>> = self
            .orders
            .iter()
            .map(|order| order.as_ref()?.areas(draws, self.labels))
            .collect();
        let area = |which: fn((f64, f64)) -> f64| {
            mean(
                &ranked
                    .iter()
                    .map(|areas| areas.map(which))
                    .collect::<Vec<_>>(),
            )
        };
        let rates = self.taken.as_ref().map(|taken| self.rates(draws, taken));
        vec![
            Some(right as f64 / n),
            area(|(auroc, _)| auroc),
            area(|(_, precision)| precision),
            Some(super::balanced_accuracy(&confusion)),
            Some(distance / n),
            Some(loss / n),
            Some(class_means(&figures).macro_mean.f1),
            rates.and_then(|(sensitivity, _)| sensitivity),
            rates.and_then(|(_, specificity)| specificity),
        ]
    }

    /// Sensitivity and specificity.
    fn rates(&self, draws: &[u32], taken: &[bool]) -> (Option<f64>, Option<f64>) {
        let mut counts = [[0_u64; 2]; 2];
        for ((&drawn, &taken), &label) in draws.iter().zip(taken).zip(self.labels) {
            counts[label as usize][usize::from(taken)] += u64::from(drawn);
        }
        let share =
            |part: u64, rest: u64| (part + rest > 0).then(|| part as f64 / (part + rest) as f64);
        (
            share(counts[1][1], counts[1][0]),
            share(counts[0][0], counts[0][1]),
        )
    }
}

impl Order {
    fn new(scores: &[f64], class: u32) -> Option<Self> {
        if scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
        rows.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut last = f64::NAN;
        let with_ties = rows.into_iter().map(|row| {
            let score = scores[row as usize];
            let tied = score == last;
            last = score;
            (row, tied)
        });
        Some(Self {
            class,
            rows: with_ties.collect(),
        })
    }

    /// AUROC and average precision of the rows, each as often as it was drawn; `None` when a side is empty.
    fn areas(&self, draws: &[u32], labels: &[u32]) -> Option<(f64, f64)> {
        let (mut area, mut precision) = (0.0, 0.0);
        // Up to the group in hand, and within it.
        let (mut above, mut alarms) = (0_u64, 0_u64);
        let (mut hits, mut misses) = (0_u64, 0_u64);
        let mut close = |hits: u64, misses: u64| {
            if hits + misses > 0 {
                area += misses as f64 * (2 * above + hits) as f64 / 2.0;
                above += hits;
                alarms += misses;
                precision += hits as f64 * (above as f64 / (above + alarms) as f64);
            }
            (above, alarms)
        };
        for &(row, tied) in &self.rows {
            let row = row as usize;
            if !tied {
                close(hits, misses);
                (hits, misses) = (0, 0);
            }
            match labels[row] == self.class {
                true => hits += u64::from(draws[row]),
                false => misses += u64::from(draws[row]),
            }
        }
        let (positives, negatives) = close(hits, misses);
        if positives == 0 || negatives == 0 {
            return None;
        }
        Some((
            area / (positives as f64 * negatives as f64),
            precision / positives as f64,
        ))
    }
}
