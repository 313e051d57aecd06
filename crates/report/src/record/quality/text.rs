//! How good a model is, for the terminal.

use super::{GroupQuality, OperatingFigures, Quality, Subgroups};
use crate::compare::drawn;
use crate::format;
use crate::record::{HeadlineMetric, Metrics};

/// Most classes, sites or groups that a table shows.
const MOST: usize = 40;

/// Figures with an interval: the name in the record, and in words.
pub(crate) const FIGURES: [(&str, &str); 7] = [
    ("accuracy", "accuracy"),
    ("balanced-accuracy", "balanced accuracy"),
    ("macro-f1", "macro F1"),
    ("auroc", "AUROC"),
    ("average-precision", "average precision"),
    ("loss", "log loss"),
    ("brier", "Brier score"),
];

impl Quality {
    /// A figure of [`FIGURES`].
    pub(crate) fn figure(&self, name: &str, metrics: &Metrics) -> Option<f64> {
        match name {
            "accuracy" => metrics.accuracy,
            "balanced-accuracy" => metrics.balanced_accuracy,
            "macro-f1" => (!self.classes.is_empty()).then_some(self.macro_mean.f1),
            "auroc" => metrics.auroc,
            "average-precision" => self.average_precision,
            "loss" => metrics.loss,
            "brier" => self.brier,
            _ => None,
        }
    }

    /// How the intervals were made, in words; empty without any.
    pub(crate) fn bootstrap_words(&self) -> String {
        match &self.bootstrap {
            Some(info) if !self.intervals.is_empty() => format!(
                "Intervals: {} bootstrap, {} replicates{}.",
                format::percent(info.level).replace(".0", ""),
                format::count(info.replicates.into()),
                match info.stratified {
                    true => ", drawn within each class because one is small",
                    false => "",
                }
            ),
            _ => String::new(),
        }
    }

    /// The figures in tables.
    pub fn text(&self, metrics: &Metrics, metric: HeadlineMetric) -> String {
        let mut text = String::new();
        let mut table = |title: &str, words: usize, head: &[&str], rows: Vec<Vec<String>>| {
            if !rows.is_empty() {
                let head = head.iter().enumerate();
                let head = head.map(|(place, name)| ((*name).to_owned(), place < words));
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{title}\n{}", drawn(head.collect(), rows)));
            }
        };
        let examples = format::counted(self.examples, "test example", "test examples");
        table(
            &format!("On {examples}"),
            1,
            &["figure", "value", "interval"],
            self.figure_rows(metrics),
        );
        let head = [
            "class",
            "examples",
            "precision",
            "recall",
            "F1",
            "AUROC",
            "AP",
        ];
        table("By class", 1, &head, self.class_rows());
        if let Some(thresholds) = &self.thresholds {
            let title = format!(
                "Looking for {}; thresholds chosen on {}",
                format::shortened(&thresholds.positive, 40),
                format::shortened(&thresholds.chosen_on, 80)
            );
            let head = [
                "threshold by",
                "at",
                "sensitivity",
                "specificity",
                "precision",
                "F1",
                "accuracy",
            ];
            let points = [Some(&thresholds.chosen), thresholds.at_specificity.as_ref()];
            table(
                &title,
                1,
                &head,
                points.into_iter().flatten().map(operating_row).collect(),
            );
        }
        let head = [
            "site",
            "examples",
            "accuracy",
            "AUROC",
            "loss",
            "sensitivity",
            "specificity",
        ];
        let worst = match &self.worst_site {
            Some(worst) => format!(
                "By site (lowest {}: {})",
                metric_name(metric),
                format::shortened(worst, 40)
            ),
            None => "By site".to_owned(),
        };
        table(&worst, 1, &head, group_rows(&self.sites));
        for subgroups in &self.subgroups {
            let column = format::shortened(&subgroups.column, 40);
            let head = [
                column.as_str(),
                "examples",
                "accuracy",
                "AUROC",
                "loss",
                "TPR",
                "FPR",
            ];
            table(&format!("By {column}"), 1, &head, subgroup_rows(subgroups));
        }
        let note = self.bootstrap_words();
        if !note.is_empty() {
            text.push_str(&format!("\n{note}\n"));
        }
        text.replace('\u{a0}', " ")
    }

    fn figure_rows(&self, metrics: &Metrics) -> Vec<Vec<String>> {
        let row = |(name, words): (&str, &str)| {
            let value = self.figure(name, metrics)?;
            Some(vec![
                words.to_owned(),
                four(value),
                self.interval_words(name),
            ])
        };
        let mut rows: Vec<Vec<String>> = FIGURES.into_iter().filter_map(row).collect();
        let calibration = [
            ("calibration error", self.calibration_error),
            ("  in the worst bin", self.largest_calibration_error),
        ];
        for (name, value) in calibration {
            rows.extend(value.map(|value| vec![name.to_owned(), four(value), String::new()]));
        }
        rows
    }

    /// `0.901 to 0.953`; empty where there is none.
    pub(crate) fn interval_words(&self, name: &str) -> String {
        self.intervals
            .get(name)
            .map_or_else(String::new, |interval| {
                format!("{:.3} to {:.3}", interval.low, interval.high)
            })
    }

    pub(crate) fn class_rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = (self.classes.iter().take(MOST))
            .map(|class| {
                vec![
                    format::shortened(&class.class, 40),
                    format::count(class.examples),
                    three(Some(class.precision)),
                    three(Some(class.recall)),
                    three(Some(class.f1)),
                    three(class.auroc),
                    three(class.average_precision),
                ]
            })
            .collect();
        for (name, mean) in [
            ("macro mean", &self.macro_mean),
            ("weighted mean", &self.weighted_mean),
        ] {
            if !rows.is_empty() {
                let figures =
                    [mean.precision, mean.recall, mean.f1].map(|value| three(Some(value)));
                let [precision, recall, f1] = figures;
                let empty = String::new;
                rows.push(vec![
                    name.to_owned(),
                    empty(),
                    precision,
                    recall,
                    f1,
                    empty(),
                    empty(),
                ]);
            }
        }
        rows
    }
}

/// The headline metric in words.
pub(crate) fn metric_name(metric: HeadlineMetric) -> &'static str {
    match metric {
        HeadlineMetric::Accuracy => "accuracy",
        HeadlineMetric::Auroc => "AUROC",
    }
}

pub(crate) fn operating_row(point: &OperatingFigures) -> Vec<String> {
    let threshold = match point.threshold {
        threshold if threshold.is_infinite() => "never".to_owned(),
        threshold => format::plain(threshold),
    };
    let figures = [
        point.sensitivity,
        point.specificity,
        point.precision,
        point.f1,
        point.accuracy,
    ];
    let figures = figures.map(|value| three(Some(value)));
    [format::shortened(&point.rule, 40), threshold]
        .into_iter()
        .chain(figures)
        .collect()
}

pub(crate) fn group_rows(groups: &[GroupQuality]) -> Vec<Vec<String>> {
    let row = |group: &GroupQuality| {
        vec![
            format::shortened(&group.name, 40),
            format::count(group.examples),
            three(group.accuracy),
            three(group.auroc),
            three(group.loss),
            three(group.sensitivity),
            three(group.specificity),
        ]
    };
    groups.iter().take(MOST).map(row).collect()
}

/// As [`group_rows`], with the rate of false positives in the place of the specificity, and a row of gaps.
pub(crate) fn subgroup_rows(subgroups: &Subgroups) -> Vec<Vec<String>> {
    let mut rows = group_rows(&subgroups.groups);
    for (row, group) in rows.iter_mut().zip(&subgroups.groups) {
        row[6] = three(group.specificity.map(|specificity| 1.0 - specificity));
    }
    let gap = |name: &str| three(subgroups.gaps.get(name).copied());
    let names = ["accuracy", "auroc", "loss", "tpr", "fpr"];
    let gaps = names.map(gap);
    rows.push(
        ["largest gap".to_owned(), String::new()]
            .into_iter()
            .chain(gaps)
            .collect(),
    );
    rows
}

fn three(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), format::unit_interval)
}

fn four(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.4}"),
        false => format::unit_interval(value),
    }
}
