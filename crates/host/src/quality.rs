//! How good a model is: from its logits on labelled examples to the figures of the record.

use std::collections::BTreeMap;

use cloister_nn::metrics::{
    Assessment, AssessmentPlan, Bootstrap, Evaluation, Interval, OperatingPoint, Ranking,
    Resampling, Tally, ThresholdRule,
};
use cloister_protocol::{Purpose, Streams};
use cloister_report::record::{
    BootstrapInfo, ClassQuality, GroupQuality, HeadlineMetric, IntervalQuality, MeanQuality,
    NamedCurve, OperatingFigures, Quality, QualityCurves, ReliabilityPoint, Subgroups, Thresholds,
};

use crate::summary::headline;

mod number;

pub use number::NumberJudging;

/// Most points of a curve in the record.
const MOST_POINTS: usize = 200;

/// Most classes that have curves of their own.
const MOST_CURVES: usize = 8;

/// Row draws of a bootstrap (examples x classes x replicates) beyond which there are fewer replicates, but 200 at least.
const MOST_DRAWS: u64 = 400_000_000;

/// How the threshold between two classes is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdChoice {
    /// By a rule, on examples that are not judged.
    Rule(ThresholdRule),
    /// It is given, as a probability.
    Given(f64),
}

/// What is judged, and how.
#[derive(Clone, Debug)]
pub struct Judging<'a> {
    /// The logits of the test examples.
    pub test: &'a Tally,
    /// Names of the classes.
    pub classes: &'a [String],
    /// Examples to choose thresholds on, and what they are, in words. Without any, the threshold is one half.
    pub chosen_on: Option<(&'a Tally, String)>,
    /// How it is chosen.
    pub threshold: ThresholdChoice,
    /// The specificity for which a second threshold is chosen, in \[0, 1\].
    pub specificity: f64,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// The owner of each test example, where they have owners.
    pub sites: Option<Groups<'a>>,
    /// Groups by columns of the data.
    pub subgroups: Vec<(String, Groups<'a>)>,
}

/// Test examples in groups.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// Names of the groups.
    pub names: &'a [String],
    /// For each test example the index of its group; `u32::MAX` for none.
    pub of_row: &'a [u32],
}

impl<'a> Groups<'a> {
    /// The groups that have test examples, with their rows.
    fn held(&self) -> Vec<(&'a str, Vec<u32>)> {
        let mut rows = vec![Vec::new(); self.names.len()];
        for (row, group) in self.of_row.iter().enumerate() {
            if let Some(rows) = rows.get_mut(*group as usize) {
                rows.push(row as u32);
            }
        }
        let named = self.names.iter().map(String::as_str).zip(rows);
        named.filter(|(_, rows)| !rows.is_empty()).collect()
    }
}

impl<'a> Judging<'a> {
    /// What a run does when it ends: thresholds by Youden's index and for a specificity of 0.9, a thousand replicates.
    pub fn of_run(test: &'a Tally, classes: &'a [String]) -> Self {
        Self {
            test,
            classes,
            chosen_on: None,
            threshold: ThresholdChoice::Rule(ThresholdRule::Youden),
            specificity: 0.9,
            bootstrap: Bootstrap::default(),
            sites: None,
            subgroups: Vec::new(),
        }
    }

    /// The figures and the curves. The intervals are drawn from a stream of their own: the same seed, the same intervals.
    pub fn judge(&self, streams: &Streams) -> (Evaluation, Quality, QualityCurves) {
        let thresholds = self.thresholds();
        let threshold = thresholds.as_ref().map(|chosen| chosen.chosen.threshold);
        let plan = AssessmentPlan {
            bootstrap: Bootstrap {
                replicates: self.replicates(),
                ..self.bootstrap
            },
            threshold,
            ..AssessmentPlan::default()
        };
        let mut rng = streams.stream(Purpose::Intervals, 0, 0);
        let judged = Assessment::of(self.test, &plan, &mut rng);
        let metric = headline(self.classes.len());
        let sites = self
            .sites
            .map_or_else(Vec::new, |sites| self.groups(sites, threshold));
        let subgroups = self.subgroups.iter();
        let subgroups = subgroups.map(|(column, groups)| {
            let groups = self.groups(*groups, threshold);
            Subgroups {
                column: column.clone(),
                gaps: gaps(&groups),
                groups,
            }
        });
        let quality = Quality {
            worst_site: worst(&sites, metric),
            sites,
            subgroups: subgroups.collect(),
            thresholds,
            ..figures(&judged, self.classes, &plan.bootstrap)
        };
        let curves = self.curves(&judged);
        (judged.evaluation, quality, curves)
    }

    fn replicates(&self) -> u32 {
        let each = (self.test.len() as u64).max(1) * self.classes.len() as u64;
        let affordable = (MOST_DRAWS / each).max(200);
        self.bootstrap
            .replicates
            .min(u32::try_from(affordable).unwrap_or(u32::MAX))
    }

    fn thresholds(&self) -> Option<Thresholds> {
        if self.classes.len() != 2 {
            return None;
        }
        let test = self.test.ranking(1)?;
        let train = self
            .chosen_on
            .as_ref()
            .and_then(|(tally, words)| Some((tally.ranking(1)?, words)));
        let by = |rule: ThresholdRule| {
            let (train, _) = train.as_ref()?;
            let threshold = train.choose(rule)?.threshold;
            Some((rule_words(rule), threshold))
        };
        let chosen = match self.threshold {
            ThresholdChoice::Given(threshold) => ("given".to_owned(), threshold),
            ThresholdChoice::Rule(rule) => by(rule).unwrap_or_else(|| ("one half".to_owned(), 0.5)),
        };
        let at = |(rule, threshold): (String, f64)| {
            let point = test.at(threshold)?;
            Some(operating(rule, &point))
        };
        Some(Thresholds {
            positive: self.classes[1].clone(),
            chosen_on: match &train {
                Some((_, words)) => (*words).clone(),
                None => "no examples".to_owned(),
            },
            chosen: at(chosen)?,
            at_specificity: by(ThresholdRule::Specificity(self.specificity)).and_then(at),
        })
    }

    fn groups(&self, groups: Groups<'_>, threshold: Option<f64>) -> Vec<GroupQuality> {
        let held = groups.held().into_iter();
        held.map(|(name, rows)| group(name, &self.test.subset(&rows), threshold))
            .collect()
    }

    fn curves(&self, judged: &Assessment) -> QualityCurves {
        let count = self.classes.len();
        let mut shown: Vec<usize> = match count {
            2 => vec![1],
            _ => (0..count).collect(),
        };
        if shown.len() > MOST_CURVES {
            // Those that are told apart worst.
            let area = |class: &usize| judged.class_auroc[*class].unwrap_or(f64::INFINITY);
            shown.sort_by(|a, b| area(a).total_cmp(&area(b)).then(a.cmp(b)));
            shown.truncate(MOST_CURVES);
        }
        let examples = judged.evaluation.examples.max(1) as f64;
        let mut curves = QualityCurves {
            promised: match count {
                2 => format!("probability of {}", self.classes[1]),
                _ => "probability of the predicted class".to_owned(),
            },
            ..QualityCurves::default()
        };
        for class in shown {
            let Some(ranking) = self.test.ranking(class) else {
                continue;
            };
            let named = |area, points: Vec<[f64; 2]>| NamedCurve {
                class: self.classes[class].clone(),
                share: judged.classes[class].rows as f64 / examples,
                area,
                points,
            };
            let roc = roc(&ranking);
            if !roc.is_empty() {
                curves.roc.push(named(judged.class_auroc[class], roc));
            }
            let recall = precision_recall(&ranking);
            if !recall.is_empty() {
                let area = judged.class_average_precision[class];
                curves.precision_recall.push(named(area, recall));
            }
        }
        let bins = judged.reliability.iter().flat_map(|curve| &curve.bins);
        curves.reliability = bins
            .map(|bin| ReliabilityPoint {
                lower: bin.lower,
                upper: bin.upper,
                examples: bin.rows,
                probability: bin.score,
                share: bin.share,
            })
            .collect();
        curves
    }
}

fn rule_words(rule: ThresholdRule) -> String {
    match rule {
        ThresholdRule::Youden => "Youden's index".to_owned(),
        ThresholdRule::F1 => "F1".to_owned(),
        ThresholdRule::Specificity(least) => format!("specificity {least}"),
    }
}

fn operating(rule: String, point: &OperatingPoint) -> OperatingFigures {
    OperatingFigures {
        rule,
        threshold: point.threshold,
        sensitivity: point.sensitivity,
        specificity: point.specificity,
        precision: point.precision,
        f1: point.f1,
        accuracy: point.accuracy,
    }
}

/// The figures that need neither thresholds nor groups.
fn figures(judged: &Assessment, classes: &[String], bootstrap: &Bootstrap) -> Quality {
    let areas = judged
        .class_auroc
        .iter()
        .zip(&judged.class_average_precision);
    let rows = classes.iter().zip(&judged.classes).zip(areas);
    let of_class = rows.map(|((class, figures), (auroc, precision))| ClassQuality {
        class: class.clone(),
        examples: figures.rows,
        precision: figures.precision,
        recall: figures.recall,
        f1: figures.f1,
        auroc: *auroc,
        average_precision: *precision,
    });
    let mean = |mean: cloister_nn::metrics::MeanFigures| MeanQuality {
        precision: mean.precision,
        recall: mean.recall,
        f1: mean.f1,
    };
    let intervals = intervals(&judged.intervals);
    Quality {
        examples: judged.evaluation.examples as u64,
        classes: of_class.collect(),
        macro_mean: mean(judged.means.macro_mean),
        weighted_mean: mean(judged.means.weighted),
        average_precision: judged.average_precision,
        brier: Some(judged.brier),
        calibration_error: judged
            .reliability
            .as_ref()
            .map(|curve| curve.expected_error()),
        largest_calibration_error: judged
            .reliability
            .as_ref()
            .map(|curve| curve.largest_error()),
        bootstrap: (!intervals.is_empty()).then(|| BootstrapInfo {
            level: bootstrap.level,
            replicates: bootstrap.replicates,
            stratified: judged.resampling == Resampling::Stratified,
        }),
        intervals,
        ..Quality::default()
    }
}

fn intervals(named: &[(&'static str, Interval)]) -> BTreeMap<String, IntervalQuality> {
    let ends = |interval: &Interval| IntervalQuality {
        low: interval.low,
        high: interval.high,
    };
    let named = named.iter();
    named
        .map(|(name, interval)| ((*name).to_owned(), ends(interval)))
        .collect()
}

/// One group's figures.
fn group(name: &str, tally: &Tally, threshold: Option<f64>) -> GroupQuality {
    let evaluation = tally.finish();
    let occurs = |class: u32| tally.labels().contains(&class);
    let counts = threshold.filter(|_| tally.classes() == 2).map(|threshold| {
        let taken = |row: &[f64]| row[1] >= threshold;
        let probabilities = tally.probabilities();
        let mut counts = [[0_u32; 2]; 2];
        for (row, label) in probabilities.chunks_exact(2).zip(tally.labels()) {
            counts[*label as usize][usize::from(taken(row))] += 1;
        }
        counts
    });
    let rate = |class: usize| {
        let counts = counts?[class];
        occurs(class as u32).then(|| f64::from(counts[class]) / f64::from(counts[0] + counts[1]))
    };
    GroupQuality {
        name: name.to_owned(),
        examples: evaluation.examples as u64,
        accuracy: Some(evaluation.accuracy),
        balanced_accuracy: Some(evaluation.balanced_accuracy),
        loss: Some(evaluation.loss),
        auroc: evaluation.auroc,
        sensitivity: rate(1),
        specificity: rate(0),
        ..GroupQuality::default()
    }
}

fn worst(sites: &[GroupQuality], metric: HeadlineMetric) -> Option<String> {
    let mut worst: Option<(f64, &GroupQuality)> = None;
    for site in sites {
        if let Some(value) = site.value(metric)
            && worst.is_none_or(|(lowest, _)| value < lowest)
        {
            worst = Some((value, site));
        }
    }
    // A single site is not the worst of anything.
    worst
        .filter(|_| sites.len() > 1)
        .map(|(_, site)| site.name.clone())
}

/// The largest difference between two groups, of each figure that two have.
fn gaps(groups: &[GroupQuality]) -> BTreeMap<String, f64> {
    type Figure = fn(&GroupQuality) -> Option<f64>;
    let figures: [(&str, Figure); 8] = [
        ("accuracy", |group| group.accuracy),
        ("auroc", |group| group.auroc),
        ("loss", |group| group.loss),
        ("tpr", |group| group.sensitivity),
        ("fpr", |group| Some(1.0 - group.specificity?)),
        ("r2", |group| group.r2),
        ("rmse", |group| group.rmse),
        ("mae", |group| group.mae),
    ];
    let gap = |figure: Figure| {
        let values: Vec<f64> = groups
            .iter()
            .filter_map(figure)
            .filter(|value| value.is_finite())
            .collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (values.len() > 1).then_some(high - low)
    };
    let named = figures.into_iter();
    named
        .filter_map(|(name, figure)| Some((name.to_owned(), gap(figure)?)))
        .collect()
}

fn roc(ranking: &Ranking) -> Vec<[f64; 2]> {
    let points = ranking.roc();
    thinned(
        points
            .iter()
            .map(|point| [point.false_positive_rate, point.true_positive_rate])
            .collect(),
    )
}

fn precision_recall(ranking: &Ranking) -> Vec<[f64; 2]> {
    let points = ranking.precision_recall();
    let ascending = points.iter().rev();
    thinned(
        ascending
            .map(|point| [point.recall, point.precision])
            .collect(),
    )
}

/// At most [`MOST_POINTS`] of a curve: without those in the middle of a straight line, then evenly chosen along its length.
fn thinned(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let mut kept: Vec<[f64; 2]> = Vec::with_capacity(points.len());
    for point in points {
        if let [.., a, b] = kept[..] {
            let turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]);
            if turn == 0.0 {
                kept.pop();
            }
        }
        kept.push(point);
    }
    if kept.len() <= MOST_POINTS {
        return kept;
    }
    let step =
        |pair: &[[f64; 2]]| (pair[1][0] - pair[0][0]).abs() + (pair[1][1] - pair[0][1]).abs();
    let length: f64 = kept.windows(2).map(step).sum();
    let mut chosen = vec![kept[0]];
    let mut gone = 0.0;
    for pair in kept.windows(2) {
        gone += step(pair);
        let wanted = chosen.len() as f64 / (MOST_POINTS - 1) as f64 * length;
        if gone >= wanted && chosen.len() < MOST_POINTS - 1 {
            chosen.push(pair[1]);
        }
    }
    let last = kept[kept.len() - 1];
    if chosen.last() != Some(&last) {
        chosen.push(last);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: [&str; 2]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    /// Eight rows: log-odds that are nearly right.
    fn tally() -> Tally {
        let mut tally = Tally::new(2, 1);
        let logits = [-3.0, -2.0, -1.0, 0.5, -0.5, 1.0, 2.0, 3.0];
        tally.add(&logits, &[0, 0, 0, 0, 1, 1, 1, 1]);
        tally
    }

    #[test]
    fn the_threshold_is_that_of_the_other_examples() {
        let (test, classes) = (tally(), names(["well", "sick"]));
        let mut train = Tally::new(2, 1);
        train.add(&[-4.0, -3.5, 1.9, 2.5], &[0, 0, 1, 1]);
        let judging = Judging {
            chosen_on: Some((&train, "4 training examples".to_owned())),
            ..Judging::of_run(&test, &classes)
        };
        let (evaluation, quality, curves) = judging.judge(&Streams::new(1));
        let thresholds = quality.thresholds.expect("two classes");
        assert_eq!(thresholds.positive, "sick");
        let expected = 1.0 / (1.0 + (-1.9_f64).exp());
        assert!((thresholds.chosen.threshold - expected).abs() < 1e-7);
        assert_eq!(
            (thresholds.chosen.sensitivity, thresholds.chosen.specificity),
            (0.5, 1.0)
        );
        assert_eq!(evaluation.accuracy, 0.75);
        assert_eq!(curves.roc.len(), 1);
        assert_eq!(curves.roc[0].points.first(), Some(&[0.0, 0.0]));
        assert_eq!(curves.roc[0].points.last(), Some(&[1.0, 1.0]));
        assert_eq!(quality.bootstrap.map(|info| info.stratified), Some(true));
        assert!(quality.intervals.contains_key("sensitivity"));
        // The test examples alone choose nothing.
        let (_, alone, _) = Judging::of_run(&test, &classes).judge(&Streams::new(1));
        let alone = alone.thresholds.expect("two classes");
        assert_eq!(
            (alone.chosen.threshold, alone.chosen_on.as_str()),
            (0.5, "no examples")
        );
        assert_eq!(alone.at_specificity, None);
    }

    #[test]
    fn groups_have_figures_and_gaps() {
        let (test, classes, groups) = (tally(), names(["well", "sick"]), names(["north", "south"]));
        let of_row = [0, 0, 1, 1, 1, 1, 0, u32::MAX];
        let sites = Groups {
            names: &groups,
            of_row: &of_row,
        };
        let judging = Judging {
            sites: Some(sites),
            subgroups: vec![("side".to_owned(), sites)],
            ..Judging::of_run(&test, &classes)
        };
        let (_, quality, _) = judging.judge(&Streams::new(1));
        assert_eq!(
            quality
                .sites
                .iter()
                .map(|site| site.examples)
                .collect::<Vec<_>>(),
            [3, 4]
        );
        assert_eq!(quality.sites[1].auroc, Some(0.75));
        assert_eq!(quality.worst_site.as_deref(), Some("south"));
        let gaps = &quality.subgroups[0].gaps;
        assert_eq!(
            (gaps["tpr"], gaps["fpr"], gaps["accuracy"]),
            (0.5, 0.5, 0.5)
        );
    }

    #[test]
    fn long_curves_are_thinned_and_keep_their_ends() {
        let line: Vec<[f64; 2]> = (0..=1000).map(|at| [f64::from(at) / 1024.0, 0.5]).collect();
        assert_eq!(thinned(line.clone()), [line[0], line[1000]]);
        let bow: Vec<[f64; 2]> = (0..=1000)
            .map(|at| f64::from(at) / 1000.0)
            .map(|x| [x, x.sqrt()])
            .collect();
        let thin = thinned(bow.clone());
        assert!((150..=MOST_POINTS).contains(&thin.len()), "{}", thin.len());
        assert_eq!((thin[0], thin[thin.len() - 1]), (bow[0], bow[1000]));
    }
}
