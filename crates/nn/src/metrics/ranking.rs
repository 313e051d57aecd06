//! How well scores order positives before negatives: ROC, precision against recall, and thresholds.
//!
//! A row is *taken for positive* at a threshold when its score is at least that. The definitions are those of scikit-learn
//! (`roc_curve` with all points, `precision_recall_curve`, `average_precision_score`), to which the tests compare.
//!
//! Scores that are NaN have no order: [`Ranking::new`] is then `None`, and so is every figure made of it. A figure whose
//! class does not occur is `None`, too, and never 0.

use serde::{Deserialize, Serialize};

/// Positives and negatives at or above each distinct score.
///
/// ```
/// use cloister_nn::metrics::{Ranking, ThresholdRule};
///
/// let scores = [0.1, 0.4, 0.35, 0.8];
/// let ranking = Ranking::new(&scores, |row| row >= 2).expect("no score is NaN");
/// assert_eq!(ranking.auroc(), Some(0.75));
/// let best = ranking.choose(ThresholdRule::Specificity(1.0)).expect("both classes occur");
/// assert_eq!((best.threshold, best.sensitivity), (0.8, 0.5));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Distinct scores, descending.
    thresholds: Vec<f64>,
    /// Weight of the positives whose score is at least the threshold.
    true_positives: Vec<f64>,
    /// Weight of the negatives whose score is at least the threshold.
    false_positives: Vec<f64>,
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Rows that score at least this are taken for positive; infinite at the first point, where none is.
    pub threshold: f64,
    /// Share of the negatives taken for positive: 1 - specificity.
    pub false_positive_rate: f64,
    /// Share of the positives taken for positive: sensitivity.
    pub true_positive_rate: f64,
}

/// A point of the curve of precision against recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecallPoint {
    /// Rows that score at least this are taken for positive; infinite at the last point, where none is.
    pub threshold: f64,
    /// Share of the rows taken for positive that are; 1 where none is taken.
    pub precision: f64,
    /// Share of the positives taken for positive.
    pub recall: f64,
}

/// How a threshold is chosen. Of equally good ones the highest is taken, which gives the fewest alarms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdRule {
    /// The largest sensitivity + specificity - 1 (Youden 1950).
    Youden,
    /// The largest F1 of the positive class.
    F1,
    /// The largest sensitivity among thresholds whose specificity is at least this, in \[0, 1\].
    Specificity(f64),
}

/// What a threshold does to labelled rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Rows that score at least this are taken for positive; infinite when none may be (`null` in JSON).
    #[serde(deserialize_with = "infinity_or_number")]
    pub threshold: f64,
    /// Share of the positives taken for positive.
    pub sensitivity: f64,
    /// Share of the negatives not taken for positive.
    pub specificity: f64,
    /// Share of the rows taken for positive that are; 0 where none is taken, as scikit-learn has it.
    pub precision: f64,
    /// Harmonic mean of precision and sensitivity; 0 where both are.
    pub f1: f64,
    /// Share of rows on the right side.
    pub accuracy: f64,
}

impl Ranking {
    /// Ranks rows of equal weight; `positive` tells the class of each index. `None` when a score is NaN.
    pub fn new(scores: &[f64], positive: impl Fn(usize) -> bool) -> Option<Self> {
        Self::ranked(scores, |_| 1.0, positive)
    }

    /// Ranks rows that count as much as their weight; rows of weight 0 are left out.
    ///
    /// # Panics
    /// When the lengths differ, or a weight is negative or not finite.
    pub fn weighted(
        scores: &[f64],
        weights: &[f64],
        positive: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        assert_eq!(scores.len(), weights.len(), "scores and weights");
        assert!(
            weights
                .iter()
                .all(|weight| weight.is_finite() && *weight >= 0.0),
            "a weight is negative or not finite"
        );
        Self::ranked(scores, |row| weights[row], positive)
    }

    fn ranked(
        scores: &[f64],
        weight: impl Fn(usize) -> f64,
        positive: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        if scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut order: Vec<usize> = (0..scores.len()).filter(|&row| weight(row) > 0.0).collect();
        order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut ranking = Self {
            thresholds: Vec::new(),
            true_positives: Vec::new(),
            false_positives: Vec::new(),
        };
        let (mut above, mut alarms) = (0.0, 0.0);
        for row in order {
            match positive(row) {
                true => above += weight(row),
                false => alarms += weight(row),
            }
            let tied = ranking.thresholds.last() == Some(&scores[row]);
            match (
                ranking.true_positives.last_mut(),
                ranking.false_positives.last_mut(),
            ) {
                (Some(last_above), Some(last_alarms)) if tied => {
                    (*last_above, *last_alarms) = (above, alarms);
                }
                _ => {
                    ranking.thresholds.push(scores[row]);
                    ranking.true_positives.push(above);
                    ranking.false_positives.push(alarms);
                }
            }
        }
        Some(ranking)
    }

    /// From (threshold, positives, negatives) of rows that are only known to lie in bins, thresholds descending.
    pub(super) fn of_bins(bins: impl Iterator<Item = (f64, f64, f64)>) -> Self {
        let mut ranking = Self {
            thresholds: Vec::new(),
            true_positives: Vec::new(),
            false_positives: Vec::new(),
        };
        let (mut above, mut alarms) = (0.0, 0.0);
        for (threshold, positives, negatives) in bins.filter(|(_, p, n)| p + n > 0.0) {
            above += positives;
            alarms += negatives;
            ranking.thresholds.push(threshold);
            ranking.true_positives.push(above);
            ranking.false_positives.push(alarms);
        }
        ranking
    }

    /// Weight of all positives.
    pub fn positives(&self) -> f64 {
        self.true_positives.last().copied().unwrap_or(0.0)
    }

    /// Weight of all negatives.
    pub fn negatives(&self) -> f64 {
        self.false_positives.last().copied().unwrap_or(0.0)
    }

    /// Area under the ROC curve by trapezoids, which counts ties half. `None` when a class does not occur.
    pub fn auroc(&self) -> Option<f64> {
        let (positives, negatives) = (self.positives(), self.negatives());
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let (mut area, mut above, mut alarms) = (0.0, 0.0, 0.0);
        for (&tp, &fp) in self.true_positives.iter().zip(&self.false_positives) {
            area += (fp - alarms) * (tp + above) / 2.0;
            (above, alarms) = (tp, fp);
        }
        Some(area / (positives * negatives))
    }

    /// Average precision: the precision at each threshold, weighted by the recall it adds; no interpolation. `None` when there
    /// is no positive.
    pub fn average_precision(&self) -> Option<f64> {
        let positives = self.positives();
        if positives == 0.0 {
            return None;
        }
        let (mut sum, mut above) = (0.0, 0.0);
        for (&tp, &fp) in self.true_positives.iter().zip(&self.false_positives) {
            sum += (tp - above) / positives * (tp / (tp + fp));
            above = tp;
        }
        Some(sum)
    }

    /// The ROC curve, from (0, 0) with an infinite threshold to (1, 1), a point a distinct score. Empty when a class does not
    /// occur.
    pub fn roc(&self) -> Vec<RocPoint> {
        let (positives, negatives) = (self.positives(), self.negatives());
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        let start = RocPoint {
            threshold: f64::INFINITY,
            false_positive_rate: 0.0,
            true_positive_rate: 0.0,
        };
        let points = self.steps().map(|(threshold, tp, fp)| RocPoint {
            threshold,
            false_positive_rate: fp / negatives,
            true_positive_rate: tp / positives,
        });
        std::iter::once(start).chain(points).collect()
    }

    /// Precision against recall, from the lowest threshold to the highest, then the point (recall 0, precision 1). Empty when
    /// there is no positive.
    pub fn precision_recall(&self) -> Vec<PrecisionRecallPoint> {
        let positives = self.positives();
        if positives == 0.0 {
            return Vec::new();
        }
        let points = self
            .steps()
            .map(|(threshold, tp, fp)| PrecisionRecallPoint {
                threshold,
                precision: tp / (tp + fp),
                recall: tp / positives,
            });
        let end = PrecisionRecallPoint {
            threshold: f64::INFINITY,
            precision: 1.0,
            recall: 0.0,
        };
        let mut points: Vec<_> = std::iter::once(end).chain(points).collect();
        points.reverse();
        points
    }

    /// What a threshold does to the rows. `None` when a class does not occur.
    pub fn at(&self, threshold: f64) -> Option<OperatingPoint> {
        let taken = self.thresholds.partition_point(|score| *score >= threshold);
        let (tp, fp) = match taken.checked_sub(1) {
            Some(last) => (self.true_positives[last], self.false_positives[last]),
            None => (0.0, 0.0),
        };
        self.point(threshold, tp, fp)
    }

    /// The threshold that a rule takes, and what it does to these very rows: to be measured on rows that it was not chosen on.
    /// `None` when a class does not occur.
    pub fn choose(&self, rule: ThresholdRule) -> Option<OperatingPoint> {
        let mut best = self.point(f64::INFINITY, 0.0, 0.0)?;
        let worth = |point: &OperatingPoint| match rule {
            ThresholdRule::Youden => point.sensitivity + point.specificity - 1.0,
            ThresholdRule::F1 => point.f1,
            ThresholdRule::Specificity(least) if point.specificity < least => -1.0,
            ThresholdRule::Specificity(_) => point.sensitivity,
        };
        for (threshold, tp, fp) in self.steps() {
            let point = self.point(threshold, tp, fp)?;
            if worth(&point) > worth(&best) {
                best = point;
            }
        }
        Some(best)
    }

    fn steps(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let counts = self.true_positives.iter().zip(&self.false_positives);
        let steps = self.thresholds.iter().zip(counts);
        steps.map(|(&threshold, (&tp, &fp))| (threshold, tp, fp))
    }

    fn point(&self, threshold: f64, tp: f64, fp: f64) -> Option<OperatingPoint> {
        let (positives, negatives) = (self.positives(), self.negatives());
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        Some(OperatingPoint {
            threshold,
            sensitivity: tp / positives,
            specificity: (negatives - fp) / negatives,
            precision: if tp > 0.0 { tp / (tp + fp) } else { 0.0 },
            f1: 2.0 * tp / (positives + tp + fp),
            accuracy: (tp + negatives - fp) / (positives + negatives),
        })
    }
}

/// Area under the ROC curve of `scores`, by the rank statistic of Mann and Whitney with ties counted half: exact, in
/// O(n log n). `positive` tells the class of each index. `None` when a class is empty or a score is NaN.
///
/// ```
/// use cloister_nn::metrics::auroc;
///
/// let scores = [0.1, 0.4, 0.35, 0.8];
/// assert_eq!(auroc(&scores, |i| i >= 2), Some(0.75));
/// assert_eq!(auroc(&scores, |_| true), None);
/// ```
pub fn auroc(scores: &[f64], positive: impl Fn(usize) -> bool) -> Option<f64> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for (index, &score) in scores.iter().enumerate() {
        let side = if positive(index) {
            &mut above
        } else {
            &mut below
        };
        side.push(score);
    }
    if above.is_empty() || below.is_empty() {
        return None;
    }
    above.sort_unstable_by(f64::total_cmp);
    below.sort_unstable_by(f64::total_cmp);
    let (mut less, mut not_more) = (0, 0);
    let mut half_wins = 0_u128;
    for score in &above {
        while less < below.len() && below[less] < *score {
            less += 1;
        }
        not_more = not_more.max(less);
        while not_more < below.len() && below[not_more] <= *score {
            not_more += 1;
        }
        half_wins += less as u128 + not_more as u128;
    }
    Some(half_wins as f64 / (2.0 * above.len() as f64 * below.len() as f64))
}

/// JSON has no infinity: it is written as `null`.
fn infinity_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}
