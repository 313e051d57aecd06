//! How well scores tell members from others, and what differential privacy allows.

use cloister_privacy::special::{binomial_tail, normal_cdf};

use super::MembershipError;
use crate::normal::normal_quantile;

/// Least members, and least non-members, of a curve: with fewer the interval of its area means nothing.
const LEAST: usize = 10;

/// Most points that a curve keeps.
const POINTS: usize = 200;

/// A figure with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// The share of members found at a bounded share of false alarms.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The false-positive rate that was asked for.
    pub wanted: f64,
    /// The true-positive rate at the best threshold whose false-positive rate is at most that; the interval is Clopper and
    /// Pearson's, the threshold taken as given.
    pub tpr: Estimate,
    /// The false-positive rate there, with the same interval.
    pub fpr: Estimate,
}

/// What scores of members and non-members show.
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    /// Members.
    pub members: usize,
    /// Non-members.
    pub nonmembers: usize,
    /// Area under the curve, ties counting half; the interval is DeLong's (DeLong et al. 1988), cut to \[0, 1\]; where
    /// the scores are told apart completely, Clopper and Pearson's of as many pairs as the smaller side has examples.
    pub auc: Estimate,
    /// The largest 1 - (FPR + FNR) / 2 over all thresholds. It is chosen on the data it is measured on: slightly above 0.5
    /// even where nothing leaks.
    pub balanced_accuracy: f64,
    /// Members found at 1 % false alarms; `Err` says why not.
    pub tpr_1: Result<Column, String>,
    /// Members found at 0.1 % false alarms; `Err` says why not.
    pub tpr_01: Result<Column, String>,
    /// The curve: pairs of false- and true-positive rate from (0, ...) to (1, 1), at most 200, spaced for logarithmic axes.
    pub points: Vec<[f64; 2]>,
}

/// What an attack on membership found. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing was found by this attack, which proves nothing about others.
    NoneFound,
    /// The area's interval lies above 0.5, or more than three times as many members are found as there are false alarms, the
    /// interval included.
    Leaks,
    /// More than 1 % of the members are found at 0.1 % false alarms, and significantly more than 0.3 %.
    Strong,
    /// A whole interval lies above what the promised differential privacy allows: the promise is broken.
    AboveCeiling,
}

/// What any attack can find at most under differential privacy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ceiling {
    /// (epsilon, delta)-DP (Kairouz, Oh and Viswanath 2015).
    EpsilonDelta {
        /// Epsilon.
        epsilon: f64,
        /// Delta.
        delta: f64,
    },
    /// mu-GDP (Dong, Roth and Su 2022).
    Gaussian {
        /// Mu: 1 over the noise multiplier of one Gaussian release.
        mu: f64,
    },
}

impl Ceiling {
    /// The largest true-positive rate at a false-positive rate, both from 0 to 1.
    pub fn tpr(&self, fpr: f64) -> f64 {
        let fpr = fpr.clamp(0.0, 1.0);
        let most = match *self {
            Self::EpsilonDelta { epsilon, delta } => {
                let by_alarms = epsilon.exp() * fpr + delta;
                let by_misses = 1.0 - (-epsilon).exp() * (1.0 - delta - fpr);
                by_alarms.min(by_misses)
            }
            Self::Gaussian { mu } => match fpr {
                0.0 => 0.0,
                fpr => normal_cdf(normal_quantile(fpr) + mu),
            },
        };
        most.clamp(fpr, 1.0)
    }

    /// The largest area under the curve.
    pub fn auc(&self) -> f64 {
        match *self {
            Self::Gaussian { mu } => normal_cdf(mu * std::f64::consts::FRAC_1_SQRT_2),
            Self::EpsilonDelta { epsilon, delta } => {
                // Three lines: up to where both bounds meet, on to 1, and along 1.
                let (up, down) = (epsilon.exp(), (-epsilon).exp());
                let meet = ((1.0 - delta) * (1.0 - down) / (up - down)).clamp(0.0, 1.0);
                let meet = if meet.is_nan() {
                    0.5 * (1.0 - delta)
                } else {
                    meet
                };
                let full = (1.0 - delta).max(meet);
                let first = 0.5 * (self.tpr(0.0) + self.tpr(meet)) * meet;
                let second = 0.5 * (self.tpr(meet) + self.tpr(full)) * (full - meet);
                (first + second + 1.0 - full).clamp(0.5, 1.0)
            }
        }
    }
}

impl Roc {
    /// Measures scores, larger for likelier members, with intervals of this confidence (0.95, say).
    ///
    /// # Errors
    /// [`MembershipError`] for fewer than ten members or non-members, a NaN, or a confidence outside of (0, 1).
    pub fn new(
        members: &[f64],
        nonmembers: &[f64],
        confidence: f64,
    ) -> Result<Self, MembershipError> {
        for (what, scores) in [("members", members), ("non-members", nonmembers)] {
            if scores.len() < LEAST {
                return Err(MembershipError::TooFew {
                    what,
                    least: LEAST,
                    got: scores.len(),
                });
            }
        }
        let all = members.iter().chain(nonmembers);
        if let Some(example) = all.clone().position(|score| score.is_nan()) {
            return Err(MembershipError::Score { example });
        }
        check_confidence(confidence)?;
        let steps = steps(members, nonmembers);
        let (n, m) = (nonmembers.len(), members.len());
        let advantage = |[fp, tp]: &[usize; 2]| *tp as f64 / m as f64 - *fp as f64 / n as f64;
        let best = steps.iter().map(advantage).fold(0.0, f64::max);
        Ok(Self {
            members: m,
            nonmembers: n,
            auc: delong(members, nonmembers, confidence),
            balanced_accuracy: 0.5 + 0.5 * best,
            tpr_1: column(&steps, m, n, 0.01, confidence),
            tpr_01: column(&steps, m, n, 0.001, confidence),
            points: thinned(&steps, m, n),
        })
    }

    /// What the figures say, beside a ceiling if something is promised.
    pub fn verdict(&self, ceiling: Option<&Ceiling>) -> Verdict {
        if ceiling.is_some_and(|ceiling| self.above(ceiling)) {
            return Verdict::AboveCeiling;
        }
        let columns = [&self.tpr_1, &self.tpr_01].map(|column| column.as_ref().ok());
        let exceeds = |column: &Column| column.tpr.low > 3.0 * column.wanted;
        if columns[1].is_some_and(|column| exceeds(column) && column.tpr.value > 0.01) {
            return Verdict::Strong;
        }
        match self.auc.low > 0.5 || columns.into_iter().flatten().any(exceeds) {
            true => Verdict::Leaks,
            false => Verdict::NoneFound,
        }
    }

    /// Whether an interval lies wholly above the ceiling: of the area, or of a column, whose ceiling is read at the upper end
    /// of its false alarms' interval.
    pub fn above(&self, ceiling: &Ceiling) -> bool {
        let column = |column: &Result<Column, String>| {
            let column = column.as_ref();
            column.is_ok_and(|column| column.tpr.low > ceiling.tpr(column.fpr.high))
        };
        self.auc.low > ceiling.auc() || column(&self.tpr_1) || column(&self.tpr_01)
    }
}

/// The area under the curve of each class of `classes`: of its members against its non-members; `None` for a class with
/// fewer than ten of either.
///
/// # Errors
/// [`MembershipError`] if scores and labels differ in length, or for a NaN.
pub fn per_class(
    members: (&[f64], &[u32]),
    nonmembers: (&[f64], &[u32]),
    classes: usize,
    confidence: f64,
) -> Result<Vec<Option<Estimate>>, MembershipError> {
    check_confidence(confidence)?;
    for (scores, labels) in [members, nonmembers] {
        if scores.len() != labels.len() {
            return Err(MembershipError::Length {
                what: "labels",
                expected: scores.len(),
                got: labels.len(),
            });
        }
        if let Some(example) = scores.iter().position(|score| score.is_nan()) {
            return Err(MembershipError::Score { example });
        }
    }
    let of = |(scores, labels): (&[f64], &[u32]), class: usize| -> Vec<f64> {
        let pairs = scores.iter().zip(labels);
        pairs
            .filter(|(_, label)| **label as usize == class)
            .map(|(score, _)| *score)
            .collect()
    };
    let area = |class| {
        let (inside, outside) = (of(members, class), of(nonmembers, class));
        (inside.len() >= LEAST && outside.len() >= LEAST)
            .then(|| delong(&inside, &outside, confidence))
    };
    Ok((0..classes).map(area).collect())
}

/// The interval of Clopper and Pearson 1934 for the chance behind `hits` of `trials`: never too narrow.
///
/// # Errors
/// [`MembershipError`] for more hits than trials, no trial, or a confidence outside of (0, 1).
pub fn clopper_pearson(
    hits: u64,
    trials: u64,
    confidence: f64,
) -> Result<Estimate, MembershipError> {
    check_confidence(confidence)?;
    if trials == 0 || hits > trials {
        return Err(MembershipError::Length {
            what: "hits",
            expected: trials as usize,
            got: hits as usize,
        });
    }
    Ok(interval(hits, trials, confidence))
}

fn check_confidence(confidence: f64) -> Result<(), MembershipError> {
    match confidence > 0.0 && confidence < 1.0 {
        true => Ok(()),
        false => Err(MembershipError::Parameter {
            name: "confidence",
            range: "above 0 and below 1",
            found: confidence,
        }),
    }
}

fn interval(hits: u64, trials: u64, confidence: f64) -> Estimate {
    let tail = 0.5 * (1.0 - confidence);
    // The chance at which so many hits or more are as rare as the tail.
    let least = |hits: u64| {
        if hits == 0 {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            match middle < 1.0 && binomial_tail(hits, trials, middle) < tail {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    };
    Estimate {
        value: hits as f64 / trials as f64,
        low: least(hits),
        high: 1.0 - least(trials - hits),
    }
}

/// False and true positives at each threshold, from the highest score down; equal scores pass together.
fn steps(members: &[f64], nonmembers: &[f64]) -> Vec<[usize; 2]> {
    let mut all: Vec<(f64, bool)> = members.iter().map(|score| (*score, true)).collect();
    all.extend(nonmembers.iter().map(|score| (*score, false)));
    // + 0.0 makes minus zero plain zero, which total_cmp would put before it.
    all.sort_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
    let mut steps = vec![[0, 0]];
    let mut counts = [0, 0];
    for (place, (score, member)) in all.iter().enumerate() {
        counts[usize::from(*member)] += 1;
        if all.get(place + 1).is_none_or(|(next, _)| next != score) {
            steps.push(counts);
        }
    }
    steps
}

fn column(
    steps: &[[usize; 2]],
    members: usize,
    nonmembers: usize,
    wanted: f64,
    confidence: f64,
) -> Result<Column, String> {
    let alarms = nonmembers as f64 * wanted;
    if alarms < 10.0 * (1.0 - 1e-12) {
        return Err(format!(
            "{nonmembers} non-members make {alarms:.1} false alarms at {} %: at least {:.0} non-members are needed",
            100.0 * wanted,
            (10.0 / wanted).ceil()
        ));
    }
    // Both counts only grow.
    let allowed = steps.partition_point(|[fp, _]| *fp as f64 <= alarms * (1.0 + 1e-12));
    let [fp, tp] = steps[allowed.saturating_sub(1)];
    Ok(Column {
        wanted,
        tpr: interval(tp as u64, members as u64, confidence),
        fpr: interval(fp as u64, nonmembers as u64, confidence),
    })
}

/// For each of some false-positive rates, equally far apart on a logarithmic axis, the best point up to it.
fn thinned(steps: &[[usize; 2]], members: usize, nonmembers: usize) -> Vec<[f64; 2]> {
    let point = |[fp, tp]: [usize; 2]| [fp as f64 / nonmembers as f64, tp as f64 / members as f64];
    let mut points: Vec<[f64; 2]> = Vec::with_capacity(POINTS);
    let grid = POINTS - 1;
    let mut keep = |most: f64| {
        let allowed = steps.partition_point(|[fp, _]| *fp as f64 <= most);
        let found = point(steps[allowed.saturating_sub(1)]);
        if points.last() != Some(&found) {
            points.push(found);
        }
    };
    keep(0.0);
    let decades = (nonmembers as f64).ln();
    for place in 0..grid {
        keep((decades * place as f64 / (grid - 1) as f64).exp() * (1.0 + 1e-12));
    }
    points
}

/// Area and interval by DeLong, DeLong and Clarke-Pearson 1988, from sorted scores.
fn delong(members: &[f64], nonmembers: &[f64], confidence: f64) -> Estimate {
    // The share of the others that each beats, ties counting half.
    let beaten = |ones: &[f64], others: &[f64]| -> Vec<f64> {
        let mut sorted = others.to_vec();
        sorted.sort_by(f64::total_cmp);
        let share = |score: &f64| {
            let less = sorted.partition_point(|other| other < score);
            let not_more = sorted.partition_point(|other| other <= score);
            0.5 * (less + not_more) as f64 / sorted.len() as f64
        };
        ones.iter().map(share).collect()
    };
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares / (n - 1.0).max(1.0) / n)
    };
    let (area, of_members) = moments(&beaten(members, nonmembers));
    let (_, of_others) = moments(&beaten(nonmembers, members));
    if area == 0.0 || area == 1.0 {
        // No spread to go by: as if of so many pairs, each with an example of its own.
        let pairs = members.len().min(nonmembers.len()) as u64;
        return interval(if area == 0.0 { 0 } else { pairs }, pairs, confidence);
    }
    let half = normal_quantile(0.5 + 0.5 * confidence) * (of_members + of_others).sqrt();
    Estimate {
        value: area,
        low: (area - half).max(0.0),
        high: (area + half).min(1.0),
    }
}

#[cfg(test)]
mod tests;
