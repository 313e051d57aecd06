//! How good the final model is: figures with intervals, curves, calibration, thresholds, classes and sites.

use super::page::{Figure, Key, Section, Table, strings};
use super::run;
use crate::chart::{COLOURS, Guessing, SquareChart, SquareCurve};
use crate::format::{self, counted};
use crate::record::text::{self, group_table, metric_name, operating_row, subgroup_table};
use crate::record::{NamedCurve, Quality, QualityCurves, RunRecord, Summary};

/// Beyond the headline.
pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let summary = record.summary.as_ref()?;
    let quality = summary.quality.as_ref()?;
    let mut section = Section {
        heading: "How good it is",
        ..Section::default()
    };
    section.sentences.extend(calibration_sentence(quality));
    section.sentences.extend(threshold_sentence(quality));
    if let Some(curves) = &record.curves {
        section.figures.extend(roc(curves));
        section.figures.extend(precision_recall(curves));
        section.figures.extend(reliability(curves));
    }
    section.tables.push(figures(summary, quality));
    Some(section)
}

/// The classes, and thresholds between two of them.
pub(super) fn classes(record: &RunRecord) -> Option<Section> {
    let quality = record.summary.as_ref()?.quality.as_ref()?;
    let tables: Vec<Table> = by_class(quality)
        .into_iter()
        .chain(thresholds(quality))
        .collect();
    (!tables.is_empty()).then(|| Section {
        heading: "Class by class",
        wide: true,
        tables,
        ..Section::default()
    })
}

/// The sites, and groups within the data.
pub(super) fn groups(record: &RunRecord) -> Option<Section> {
    let summary = record.summary.as_ref()?;
    let quality = summary.quality.as_ref()?;
    if quality.sites.is_empty() && quality.subgroups.is_empty() {
        return None;
    }
    let mut section = Section {
        heading: "For whom it is good",
        wide: true,
        ..Section::default()
    };
    let metric = summary.metric;
    let of = |name: &String| quality.sites.iter().find(|site| site.name == *name);
    if let Some(worst) = quality.worst_site.as_ref().and_then(of)
        && let Some(value) = worst.value(metric)
    {
        section.sentences.push(format!(
            "Served worst is {}, with {} {} on its {}.",
            format::shortened(&worst.name, 80),
            metric_name(metric),
            run::words(metric, value),
            counted(worst.examples, "test example", "test examples")
        ));
    }
    if !quality.sites.is_empty() {
        let (head, rows) = group_table("site", "test examples", metric, &quality.sites);
        section
            .tables
            .push(table("Test examples by site", &head, rows));
    }
    for subgroups in &quality.subgroups {
        let column = format::shortened(&subgroups.column, 40);
        let (head, rows) = subgroup_table(&column, "test examples", metric, subgroups);
        let title = format!("Test examples by {column}");
        section.tables.push(table(&title, &head, rows));
    }
    Some(section)
}

fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table {
        title: title.to_owned(),
        head: head.iter().map(|name| (*name).to_owned()).collect(),
        words: 1,
        rows: rows.into_iter().map(blank).collect(),
        ..Table::default()
    };
    table.drop_empty_columns();
    table
}

/// The text's dashes are empty cells here.
fn blank(row: Vec<String>) -> Vec<String> {
    let blank = |cell: String| if cell == "-" { String::new() } else { cell };
    row.into_iter().map(blank).collect()
}

fn calibration_sentence(quality: &Quality) -> Option<String> {
    let error = quality.calibration_error?;
    Some(format!(
        "Its probabilities are {} off what comes true on average (the expected calibration error over ten bins), and {} in the \
         worst bin.",
        points(error),
        points(quality.largest_calibration_error?)
    ))
}

fn points(share: f64) -> String {
    format!("{:.1} points", share * 100.0)
}

fn threshold_sentence(quality: &Quality) -> Option<String> {
    let thresholds = quality.thresholds.as_ref()?;
    let chosen = &thresholds.chosen;
    Some(format!(
        "Looking for {}: at a threshold of {} ({}, chosen on {}) it finds {} of them and lets {} of the others be.",
        format::shortened(&thresholds.positive, 60),
        format::plain(chosen.threshold),
        format::shortened(&chosen.rule, 40),
        format::shortened(&thresholds.chosen_on, 80),
        format::percent(chosen.sensitivity),
        format::percent(chosen.specificity)
    ))
}

fn figures(summary: &Summary, quality: &Quality) -> Table {
    let row = |(name, words): &(&str, &str)| {
        let value = quality.figure(name, &summary.final_)?;
        Some(vec![
            (*words).to_owned(),
            format::unit_interval(value),
            quality.interval_words(name),
        ])
    };
    let mut rows: Vec<Vec<String>> = text::figures(summary.metric)
        .iter()
        .filter_map(row)
        .collect();
    if let Some(error) = quality.calibration_error {
        rows.push(vec![
            "calibration error".to_owned(),
            format::unit_interval(error),
            String::new(),
        ]);
    }
    Table {
        title: format!(
            "On {}",
            counted(quality.examples, "test example", "test examples")
        ),
        head: strings(["figure", "value", "interval"]),
        words: 1,
        rows,
        note: quality.bootstrap_words(),
        ..Table::default()
    }
}

fn thresholds(quality: &Quality) -> Option<Table> {
    let thresholds = quality.thresholds.as_ref()?;
    let points = [Some(&thresholds.chosen), thresholds.at_specificity.as_ref()];
    let head = [
        "threshold by",
        "at",
        "sensitivity",
        "specificity",
        "precision",
        "F1",
        "accuracy",
    ];
    let title = format!(
        "Thresholds for {}",
        format::shortened(&thresholds.positive, 60)
    );
    let mut table = table(
        &title,
        &head,
        points.into_iter().flatten().map(operating_row).collect(),
    );
    table.note = format!(
        "Chosen on {}; the figures are of the test examples.",
        thresholds.chosen_on
    );
    Some(table)
}

fn by_class(quality: &Quality) -> Option<Table> {
    let head = [
        "class",
        "test examples",
        "precision",
        "recall",
        "F1",
        "AUROC",
        "average precision",
    ];
    let rows = quality.class_rows();
    let shown = rows.len().saturating_sub(2);
    if shown == 0 {
        return None;
    }
    let mut table = table("By class", &head, rows);
    if shown < quality.classes.len() {
        table.note = format!(
            "The first {shown} of {} classes; all are in summary.json.",
            quality.classes.len()
        );
    }
    Some(table)
}

fn roc(curves: &QualityCurves) -> Option<Figure> {
    let svg = SquareChart {
        title: "ROC curve".to_owned(),
        axes: (
            "others taken for it (1 \u{2212} specificity)",
            "found (sensitivity)",
        ),
        curves: &drawable(&curves.roc),
        guessing: Some(Guessing::Diagonal("guessing")),
    }
    .draw()?;
    Some(Figure {
        heading: "ROC: what is found, at what false alarms".to_owned(),
        keys: keys(&curves.roc, "AUROC"),
        svg,
        ..Figure::default()
    })
}

fn precision_recall(curves: &QualityCurves) -> Option<Figure> {
    let guessing = match &curves.precision_recall[..] {
        [only] => Some(Guessing::Level(only.share, "guessing")),
        _ => None,
    };
    let svg = SquareChart {
        title: "Precision against recall".to_owned(),
        axes: ("found (recall)", "right among those taken (precision)"),
        curves: &drawable(&curves.precision_recall),
        guessing,
    }
    .draw()?;
    Some(Figure {
        heading: "Precision against recall".to_owned(),
        keys: keys(&curves.precision_recall, "AP"),
        svg,
        ..Figure::default()
    })
}

fn reliability(curves: &QualityCurves) -> Option<Figure> {
    let held = || curves.reliability.iter().filter(|bin| bin.examples > 0);
    let most = held().map(|bin| bin.examples).max()? as f64;
    let hint = |bin: &crate::record::ReliabilityPoint| {
        format!(
            "{}: {} on average, {} came true",
            counted(bin.examples, "example", "examples"),
            format::percent(bin.probability),
            format::percent(bin.share)
        )
    };
    let curve = SquareCurve {
        label: format::shortened(&curves.promised, 80),
        class: "s0".to_owned(),
        points: held().map(|bin| [bin.probability, bin.share]).collect(),
        dots: held()
            .map(|bin| (bin.examples as f64 / most, hint(bin)))
            .collect(),
    };
    let svg = SquareChart {
        title: "Reliability".to_owned(),
        axes: ("what the model promises", "what came true"),
        curves: &[curve],
        guessing: Some(Guessing::Diagonal("well calibrated")),
    }
    .draw()?;
    Some(Figure {
        heading: "Reliability: promises against what came true".to_owned(),
        svg,
        note: format!(
            "The {}, in ten bins; larger dots hold more test examples. Above the line it came true more often than promised, \
             below it less often.",
            format::shortened(&curves.promised, 80)
        ),
        ..Figure::default()
    })
}

fn drawable(curves: &[NamedCurve]) -> Vec<SquareCurve> {
    let curves = curves.iter().take(COLOURS).enumerate();
    let drawn = |(place, curve): (usize, &NamedCurve)| SquareCurve {
        label: format::shortened(&curve.class, 40),
        class: format!("s{place}"),
        points: curve.points.clone(),
        dots: Vec::new(),
    };
    curves.map(drawn).collect()
}

fn keys(curves: &[NamedCurve], area: &str) -> Vec<Key> {
    let curves = curves.iter().take(COLOURS).enumerate();
    let key = |(place, curve): (usize, &NamedCurve)| Key {
        class: format!("s{place}"),
        label: format::shortened(&curve.class, 40),
        value: curve.area.map_or_else(String::new, |value| {
            format!("{area} {}", format::unit_interval(value))
        }),
        dashed: false,
        dot: false,
    };
    curves.map(key).collect()
}
