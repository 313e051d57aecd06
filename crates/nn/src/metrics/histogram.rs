//! What a site can send of its evaluation so that sums over sites give the figures of the pooled rows.
//!
//! A [`ScoreHistogram`] is one flat vector of counts. Adding those of several sites, number by number, gives that of all their
//! rows: a secure sum can do it. From the sum come, **exactly**: the confusion matrix and what follows from it (accuracy,
//! precision, recall, F1), and the reliability curve's counts; **up to 2^-21 a row**: loss, Brier score, the curve's mean
//! scores; and **within a bound that the sum itself tells**: AUROC, and the sensitivity at a specificity, since rows in one
//! bin have lost their order.
//!
//! A row that scores NaN, or not finitely, spoils the figures as it does in a [`Tally`](super::Tally): it is counted apart,
//! and [`ScoreHistogram::broken`] says how many there are.

use super::calibration::{Reliability, place};
use super::{Evaluation, Ranking, Tally, balanced_accuracy};

/// Scores are cut into bins between the log-odds of minus and plus this; the outermost bins take what lies beyond.
const LIMIT: f64 = 16.0;

/// Bins of the reliability curve.
const RELIABILITY: usize = 10;

/// Parts of one, in which sums of fractions are counted.
const ONE: f64 = (1_u64 << 20) as f64;

/// Largest loss of a row that is told apart, in nats.
const MOST_LOSS: f64 = 1000.0;

/// Counts of scores by class, mergeable by addition.
///
/// ```
/// use cloister_nn::metrics::{ScoreHistogram, Tally};
///
/// let (mut north, mut south) = (Tally::new(2, 1), Tally::new(2, 1));
/// north.add(&[2.0, -1.0, 0.5], &[1, 0, 0]);
/// south.add(&[-0.5, 3.0], &[1, 1]);
/// let mut sum = ScoreHistogram::of(&north, 256);
/// sum.merge(&ScoreHistogram::of(&south, 256));
/// north.merge(&south);
/// let (exact, bounded) = (north.finish(), sum.auroc().expect("both classes occur"));
/// assert_eq!(sum.confusion(), exact.confusion);
/// assert!((bounded.value - exact.auroc.expect("both classes occur")).abs() <= bounded.error);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreHistogram {
    classes: usize,
    bins: usize,
    /// Confusion `[label][prediction]`; for each ranked class negatives and positives by bin; rows, hits and score of each bin
    /// of the reliability curve; loss; squared distance; broken rows.
    counts: Vec<u64>,
}

/// A figure that is known up to an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The middle of what is possible.
    pub value: f64,
    /// The true figure lies no farther from it than this (and rounding).
    pub error: f64,
}

/// Why counts are none of a histogram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Too few or too many.
    #[error("{got} counts, where {classes} classes in {bins} bins need {expected}")]
    Length {
        /// How many came.
        got: usize,
        /// How many are needed.
        expected: usize,
        /// Classes.
        classes: usize,
        /// Bins.
        bins: usize,
    },
    /// The parts do not speak of the same rows.
    #[error("the scores of class {class} are of {scored} rows, the confusion matrix of {confused}")]
    Rows {
        /// Whose scores.
        class: usize,
        /// Rows among the scores.
        scored: u128,
        /// Rows in the confusion matrix.
        confused: u128,
    },
}

impl ScoreHistogram {
    /// No rows yet.
    ///
    /// # Panics
    /// For fewer than two classes or two bins.
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes >= 2 && bins >= 2, "{classes} classes, {bins} bins");
        Self {
            classes,
            bins,
            counts: vec![0; Self::len_for(classes, bins)],
        }
    }

    /// Numbers in the flat vector.
    pub fn len_for(classes: usize, bins: usize) -> usize {
        classes * classes + ranked(classes) * 2 * bins + RELIABILITY * 3 + 3
    }

    /// The counts of a tally's rows.
    ///
    /// # Panics
    /// As [`ScoreHistogram::new`].
    pub fn of(tally: &Tally, bins: usize) -> Self {
        let mut histogram = Self::new(tally.classes(), bins);
        let probabilities = tally.probabilities();
        let rows = probabilities
            .chunks_exact(tally.classes())
            .zip(tally.labels());
        for (row, (probabilities, &label)) in rows.enumerate() {
            histogram.add(tally, row, probabilities, label);
        }
        histogram
    }

    fn add(&mut self, tally: &Tally, row: usize, probabilities: &[f64], label: u32) {
        let prediction = tally.prediction_of(row);
        self.counts[label as usize * self.classes + prediction] += 1;
        let loss = tally.loss_of(row);
        if !loss.is_finite() || probabilities.iter().any(|p| !p.is_finite()) {
            let last = self.counts.len() - 1;
            self.counts[last] += 1;
            return;
        }
        for ranked in 0..ranked(self.classes) {
            let class = self.class_of(ranked);
            let bin = self.bin(tally.odds_of(row, class));
            let positive = usize::from(label as usize == class);
            let at = self.ranks(ranked, positive) + bin;
            self.counts[at] += 1;
        }
        let (score, hit) = match probabilities {
            [_, one] => (one.min(1.0), label == 1),
            _ => (
                probabilities[prediction].min(1.0),
                label as usize == prediction,
            ),
        };
        let at = self.reliability_start() + 3 * place(score, RELIABILITY);
        self.counts[at] += 1;
        self.counts[at + 1] += u64::from(hit);
        self.counts[at + 2] += parts(score);
        let at = self.reliability_start() + 3 * RELIABILITY;
        self.counts[at] += parts(loss.min(MOST_LOSS));
        self.counts[at + 1] += parts(super::calibration::squared_distance(probabilities, label));
    }

    /// From counts that somebody sent, or a sum of them.
    ///
    /// # Errors
    /// [`HistogramError`] when the length does not fit, or the parts contradict each other.
    ///
    /// # Panics
    /// As [`ScoreHistogram::new`].
    pub fn from_counts(
        classes: usize,
        bins: usize,
        counts: Vec<u64>,
    ) -> Result<Self, HistogramError> {
        assert!(classes >= 2 && bins >= 2, "{classes} classes, {bins} bins");
        let expected = Self::len_for(classes, bins);
        if counts.len() != expected {
            return Err(HistogramError::Length {
                got: counts.len(),
                expected,
                classes,
                bins,
            });
        }
        let histogram = Self {
            classes,
            bins,
            counts,
        };
        let sum = |counts: &[u64]| counts.iter().map(|&count| u128::from(count)).sum::<u128>();
        let confused = sum(&histogram.counts[..classes * classes]);
        for ranked in 0..ranked(classes) {
            let start = histogram.ranks(ranked, 0);
            let scored =
                sum(&histogram.counts[start..start + 2 * bins]) + u128::from(histogram.broken());
            if scored != confused {
                let class = histogram.class_of(ranked);
                return Err(HistogramError::Rows {
                    class,
                    scored,
                    confused,
                });
            }
        }
        Ok(histogram)
    }

    /// The flat vector, to be summed.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Adds another's rows.
    ///
    /// # Panics
    /// When the two have different classes or bins.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            (self.classes, self.bins),
            (other.classes, other.bins),
            "classes and bins of the histograms"
        );
        for (count, &more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.counts[..self.classes * self.classes].iter().sum()
    }

    /// Rows whose logits are not finite, or NaN.
    pub fn broken(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Examples by `[label][prediction]`: exact.
    pub fn confusion(&self) -> Vec<Vec<u64>> {
        let cells = &self.counts[..self.classes * self.classes];
        cells
            .chunks_exact(self.classes)
            .map(<[u64]>::to_vec)
            .collect()
    }

    /// AUROC, for more than two classes the mean of one-class-against-the-rest. `None` when a class does not occur, or a row is
    /// broken.
    pub fn auroc(&self) -> Option<Bounded> {
        let mut sum = Bounded {
            value: 0.0,
            error: 0.0,
        };
        let count = ranked(self.classes) as f64;
        for ranked in 0..ranked(self.classes) {
            let class = self.class_of(ranked);
            let ranking = self.ranking(class)?;
            sum.value += ranking.auroc()? / count;
            // Of the pairs within a bin half are counted; none or all may be right.
            let side = |side| {
                let start = self.ranks(ranked, side);
                &self.counts[start..start + self.bins]
            };
            let shared = side(0)
                .iter()
                .zip(side(1))
                .map(|(n, p)| *n as f64 * *p as f64);
            let pairs = ranking.positives() * ranking.negatives();
            sum.error += shared.sum::<f64>() / 2.0 / pairs / count;
        }
        Some(sum)
    }

    /// Positives and negatives by bin, as a ranking whose thresholds are the bins' lower edges, as probabilities: what it
    /// says of a threshold is exact there. For two classes `class` must be 1. `None` when a row is broken.
    ///
    /// # Panics
    /// For a class that is not ranked.
    pub fn ranking(&self, class: usize) -> Option<Ranking> {
        if self.broken() > 0 {
            return None;
        }
        let fits = match self.classes {
            2 => class == 1,
            classes => class < classes,
        };
        assert!(fits, "class {class} of {} is not ranked", self.classes);
        let ranked = if self.classes == 2 { 0 } else { class };
        let (negatives, positives) = (self.ranks(ranked, 0), self.ranks(ranked, 1));
        let steps = (0..self.bins).rev().map(|bin| {
            let tp = self.counts[positives + bin] as f64;
            let fp = self.counts[negatives + bin] as f64;
            (self.edge(bin), tp, fp)
        });
        Some(Ranking::of_bins(steps))
    }

    /// The largest sensitivity at a specificity of at least so much: `value - error` is reached at a bin's edge. `None` as
    /// [`ScoreHistogram::auroc`].
    ///
    /// # Panics
    /// As [`ScoreHistogram::ranking`].
    pub fn sensitivity_at(&self, class: usize, specificity: f64) -> Option<Bounded> {
        let ranking = self.ranking(class)?;
        let roc = ranking.roc();
        let fits = |point: &&super::RocPoint| 1.0 - point.false_positive_rate >= specificity;
        let low = roc.iter().take_while(fits).last()?.true_positive_rate;
        // Within the next bin all positives may come before any negative.
        let high = roc
            .iter()
            .find(|point| !fits(point))
            .map_or(low, |point| point.true_positive_rate);
        Some(Bounded {
            value: (low + high) / 2.0,
            error: (high - low) / 2.0,
        })
    }

    /// The reliability curve in ten bins. `None` when a row is broken.
    pub fn reliability(&self) -> Option<Reliability> {
        if self.broken() > 0 {
            return None;
        }
        let start = self.reliability_start();
        let bins = self.counts[start..start + 3 * RELIABILITY].chunks_exact(3);
        let sums: Vec<(u64, f64, u64)> = bins
            .map(|bin| (bin[0], bin[2] as f64 / ONE, bin[1]))
            .collect();
        Some(Reliability::of_sums(&sums))
    }

    /// Brier score. `None` when a row is broken.
    pub fn brier(&self) -> Option<f64> {
        self.mean(1)
    }

    /// The figures as those of a [`Tally`]; AUROC is the middle of its bound.
    pub fn evaluation(&self) -> Evaluation {
        let confusion = self.confusion();
        let rows = self.rows();
        let right: u64 = (0..self.classes).map(|class| confusion[class][class]).sum();
        Evaluation {
            examples: rows as usize,
            loss: self.mean(0).unwrap_or(f64::NAN),
            accuracy: if rows == 0 {
                0.0
            } else {
                right as f64 / rows as f64
            },
            balanced_accuracy: balanced_accuracy(&confusion),
            auroc: self.auroc().map(|auroc| auroc.value),
            confusion,
        }
    }

    fn mean(&self, which: usize) -> Option<f64> {
        let sum = self.counts[self.reliability_start() + 3 * RELIABILITY + which] as f64 / ONE;
        match self.rows() {
            _ if self.broken() > 0 => None,
            0 => Some(0.0),
            rows => Some(sum / rows as f64),
        }
    }

    fn class_of(&self, ranked: usize) -> usize {
        if self.classes == 2 { 1 } else { ranked }
    }

    /// Where the counts of a ranked class begin: of its negatives (0) or positives (1).
    fn ranks(&self, ranked: usize, side: usize) -> usize {
        self.classes * self.classes + (2 * ranked + side) * self.bins
    }

    fn reliability_start(&self) -> usize {
        self.ranks(ranked(self.classes), 0)
    }

    /// The bin of log-odds: `[edge, next edge)`.
    fn bin(&self, odds: f64) -> usize {
        let at = (odds + LIMIT) / (2.0 * LIMIT) * self.bins as f64;
        (at.floor().max(0.0) as usize).min(self.bins - 1)
    }

    /// The lower edge of a bin, as a probability.
    fn edge(&self, bin: usize) -> f64 {
        match bin {
            0 => 0.0,
            _ => super::sigmoid(LIMIT * (2.0 * bin as f64 / self.bins as f64 - 1.0)),
        }
    }
}

/// Classes whose scores are ranked: of two, class 1 says all.
fn ranked(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

/// A fraction in whole parts of [`ONE`].
fn parts(value: f64) -> u64 {
    (value * ONE).round() as u64
}
