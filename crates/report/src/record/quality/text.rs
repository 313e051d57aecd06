//! How good a model is, for the terminal.

use super::{GroupQuality, OperatingFigures, Quality, Subgroups};
use crate::compare::drawn;
use crate::format;
use crate::record::{HeadlineMetric, Metrics};

/// Most classes, sites or groups that a table shows.
const MOST: usize = 40;

/// Figures with an interval: the name in the record, and in words.
const FIGURES: [(&str, &str); 7] = [
    ("accuracy", "accuracy"),
    ("balanced-accuracy", "balanced accuracy"),
    ("macro-f1", "macro F1"),
    ("auroc", "AUROC"),
    ("average-precision", "average precision"),
    ("loss", "log loss"),
    ("brier", "Brier score"),
];

/// The same of a model that answers with a number.
const NUMBER_FIGURES: [(&str, &str); 4] = [
    ("r2", "R\u{b2}"),
    ("rmse", "RMSE"),
    ("mae", "MAE"),
    ("loss", "loss (standardised)"),
];

/// The figures of a run that is judged by `metric`.
pub(crate) fn figures(metric: HeadlineMetric) -> &'static [(&'static str, &'static str)] {
    match metric {
        HeadlineMetric::Accuracy | HeadlineMetric::Auroc => &FIGURES,
        HeadlineMetric::R2 => &NUMBER_FIGURES,
    }
}

impl Quality {
    /// A figure of [`figures`].
    pub(crate) fn figure(&self, name: &str, metrics: &Metrics) -> Option<f64> {
        match name {
            "accuracy" => metrics.accuracy,
            "balanced-accuracy" => metrics.balanced_accuracy,
            "macro-f1" => (!self.classes.is_empty()).then_some(self.macro_mean.f1),
            "auroc" => metrics.auroc,
            "average-precision" => self.average_precision,
            "loss" => metrics.loss,
            "brier" => self.brier,
            "r2" => metrics.r2,
            "rmse" => metrics.rmse,
            "mae" => metrics.mae,
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
            self.figure_rows(metrics, metric),
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
        let worst = match &self.worst_site {
            Some(worst) => format!(
                "By site (lowest {}: {})",
                metric_name(metric),
                format::shortened(worst, 40)
            ),
            None => "By site".to_owned(),
        };
        let (head, rows) = group_table("site", "examples", metric, &self.sites);
        table(&worst, 1, &head, rows);
        for subgroups in &self.subgroups {
            let column = format::shortened(&subgroups.column, 40);
            let (head, rows) = subgroup_table(&column, "examples", metric, subgroups);
            table(&format!("By {column}"), 1, &head, rows);
        }
        let note = self.bootstrap_words();
        if !note.is_empty() {
            text.push_str(&format!("\n{note}\n"));
        }
        text.replace('\u{a0}', " ")
    }

    fn figure_rows(&self, metrics: &Metrics, metric: HeadlineMetric) -> Vec<Vec<String>> {
        let row = |(name, words): &(&str, &str)| {
            let value = self.figure(name, metrics)?;
            Some(vec![
                (*words).to_owned(),
                four(value),
                self.interval_words(name),
            ])
        };
        let mut rows: Vec<Vec<String>> = figures(metric).iter().filter_map(row).collect();
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
        HeadlineMetric::R2 => "R\u{b2}",
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

/// A head and the rows below it.
pub(crate) type Rows<'a> = (Vec<&'a str>, Vec<Vec<String>>);

/// Groups of test examples, the first two columns headed as said.
pub(crate) fn group_table<'a>(
    first: &'a str,
    second: &'a str,
    metric: HeadlineMetric,
    groups: &[GroupQuality],
) -> Rows<'a> {
    if metric == HeadlineMetric::R2 {
        return (number_head(first, second), number_rows(groups));
    }
    let figures = ["accuracy", "AUROC", "loss", "sensitivity", "specificity"];
    let head = [first, second].into_iter().chain(figures).collect();
    (head, group_rows(groups))
}

/// The same of groups by a column, with a row of gaps.
pub(crate) fn subgroup_table<'a>(
    first: &'a str,
    second: &'a str,
    metric: HeadlineMetric,
    subgroups: &Subgroups,
) -> Rows<'a> {
    let gaps = |names: &[&str]| -> Vec<String> {
        let empty = ["largest gap".to_owned(), String::new()];
        let gaps = names
            .iter()
            .map(|name| three(subgroups.gaps.get(*name).copied()));
        empty.into_iter().chain(gaps).collect()
    };
    if metric == HeadlineMetric::R2 {
        let mut rows = number_rows(&subgroups.groups);
        rows.push(gaps(&["r2", "rmse", "mae", "loss"]));
        return (number_head(first, second), rows);
    }
    let figures = ["accuracy", "AUROC", "loss", "TPR", "FPR"];
    let head = [first, second].into_iter().chain(figures).collect();
    let mut rows = group_rows(&subgroups.groups);
    for (row, group) in rows.iter_mut().zip(&subgroups.groups) {
        row[6] = three(group.specificity.map(|specificity| 1.0 - specificity));
    }
    rows.push(gaps(&["accuracy", "auroc", "loss", "tpr", "fpr"]));
    (head, rows)
}

fn number_head<'a>(first: &'a str, second: &'a str) -> Vec<&'a str> {
    vec![first, second, "R\u{b2}", "RMSE", "MAE", "loss"]
}

fn number_rows(groups: &[GroupQuality]) -> Vec<Vec<String>> {
    let plain = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format::plain);
    let row = |group: &GroupQuality| {
        vec![
            format::shortened(&group.name, 40),
            format::count(group.examples),
            three(group.r2),
            plain(group.rmse),
            plain(group.mae),
            three(group.loss),
        ]
    };
    groups.iter().take(MOST).map(row).collect()
}

fn group_rows(groups: &[GroupQuality]) -> Vec<Vec<String>> {
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

fn three(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), format::unit_interval)
}

fn four(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.4}"),
        false => format::unit_interval(value),
    }
}
