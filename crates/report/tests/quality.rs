//! How good a model is: the record of it, the text and the page.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

use cloister_report::html;
use cloister_report::record::*;

const HOSTILE: &str = "<script>alert(1)</script>\"'&\n\u{1b}[31m";

fn figures(rule: &str, threshold: f64) -> OperatingFigures {
    OperatingFigures {
        rule: rule.to_owned(),
        threshold,
        sensitivity: 0.9,
        specificity: 0.8,
        precision: 0.7,
        f1: 0.7875,
        accuracy: 0.83,
    }
}

fn group(name: &str, auroc: Option<f64>) -> GroupQuality {
    GroupQuality {
        name: name.to_owned(),
        examples: 40,
        accuracy: Some(0.8),
        auroc,
        sensitivity: Some(0.75),
        specificity: Some(0.9),
        ..GroupQuality::default()
    }
}

/// Figures in which each name is `name`.
fn quality(name: &str) -> Quality {
    let class = |class: &str| ClassQuality {
        class: class.to_owned(),
        examples: 20,
        precision: 0.5,
        recall: 0.25,
        f1: 1.0 / 3.0,
        auroc: Some(0.912),
        average_precision: None,
    };
    let interval = IntervalQuality {
        low: 0.9,
        high: 0.93,
    };
    Quality {
        examples: 40,
        classes: vec![class("well"), class(name)],
        average_precision: Some(0.61),
        brier: Some(f64::NAN),
        calibration_error: Some(0.031),
        largest_calibration_error: Some(0.2),
        intervals: [("auroc".to_owned(), interval)].into(),
        bootstrap: Some(BootstrapInfo {
            level: 0.95,
            replicates: 1000,
            stratified: true,
        }),
        thresholds: Some(Thresholds {
            positive: name.to_owned(),
            chosen_on: "the 300 training examples".to_owned(),
            chosen: figures("Youden's index", 0.371),
            at_specificity: Some(figures("specificity 0.9", f64::INFINITY)),
        }),
        sites: vec![group(name, Some(0.71)), group("south", None)],
        worst_site: Some(name.to_owned()),
        subgroups: vec![Subgroups {
            column: name.to_owned(),
            groups: vec![group(name, Some(0.9)), group("m", Some(0.8))],
            gaps: [("auroc".to_owned(), 0.1)].into(),
        }],
        ..Quality::default()
    }
}

fn curves(name: &str) -> QualityCurves {
    let curve = |points: &[[f64; 2]]| NamedCurve {
        class: name.to_owned(),
        share: 0.3,
        area: Some(0.912),
        points: points.to_vec(),
    };
    let point = |at: f64, examples: u64| ReliabilityPoint {
        lower: at,
        upper: at + 0.1,
        examples,
        probability: at + 0.05,
        share: at,
    };
    QualityCurves {
        roc: vec![curve(&[[0.0, 0.0], [0.1, 0.8], [1.0, 1.0]])],
        precision_recall: vec![curve(&[[0.0, 1.0], [0.8, 0.7], [1.0, 0.3]])],
        reliability: vec![point(0.1, 30), point(0.5, 0), point(0.9, 10)],
        promised: format!("probability of {name}"),
    }
}

fn row(round: u32, auroc: Option<f64>) -> RoundRow {
    RoundRow {
        round,
        test_auroc: auroc,
        test_accuracy: auroc,
        bytes_up: 100,
        bytes_down: 200,
        seconds: 0.5,
        ..RoundRow::default()
    }
}

fn record(name: &str) -> RunRecord {
    RunRecord {
        rounds: vec![row(1, Some(0.65)), row(2, None), row(3, Some(0.91))],
        summary: Some(Summary {
            name: "hospitals".to_owned(),
            metric: HeadlineMetric::Auroc,
            final_: Metrics {
                accuracy: Some(0.83),
                auroc: Some(0.912),
                ..Metrics::default()
            },
            quality: Some(quality(name)),
            ..Summary::default()
        }),
        curves: Some(curves(name)),
        ..RunRecord::default()
    }
}

#[test]
fn figures_and_curves_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), "name = \"a\"\n").unwrap();
    writer.round(&row(1, Some(0.5))).unwrap();
    let mut summary = record("sick").summary.unwrap();
    // Not a number is no equal of itself, and has tests of its own.
    summary.quality.as_mut().unwrap().brier = Some(0.1);
    writer.curves(&curves("sick")).unwrap();
    writer.summary(&summary).unwrap();
    let back = RunRecord::read(folder.path()).unwrap();
    assert_eq!(back.summary, Some(summary));
    assert_eq!(back.curves, Some(curves("sick")));
    // A run that goes on has no final model.
    drop(writer);
    RunWriter::reopen(folder.path(), 1).unwrap();
    assert_eq!(RunRecord::read(folder.path()).unwrap().curves, None);
    std::fs::write(folder.path().join(file_name::CURVES), "{\"roc\": 3}").unwrap();
    let error = RunRecord::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("curves.json"), "{error}");
}

#[test]
fn a_summary_of_before_has_no_more_figures() {
    let mut summary = serde_json::to_value(Summary::default()).unwrap();
    let fields = summary.as_object_mut().unwrap();
    fields.remove("quality");
    let communication = fields["communication"].as_object_mut().unwrap();
    communication.remove("reached");
    let back: Summary = serde_json::from_value(summary).unwrap();
    assert_eq!(back, Summary::default());
}

#[test]
fn the_text_has_each_table() {
    let metrics = record("sick").summary.unwrap().final_;
    let text = quality("sick").text(&metrics, HeadlineMetric::Auroc);
    for words in [
        "On 40 test examples",
        "0.9120   0.900 to 0.930",
        "Looking for sick; thresholds chosen on the 300 training examples",
        "never",
        "By site (lowest AUROC: sick)",
        "By sick",
        "largest gap",
        "Intervals: 95 % bootstrap, 1,000 replicates, drawn within each class because one is small.",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
}

#[test]
fn the_page_shows_figures_curves_and_sites() {
    let page = html::run_page(&record("sick"))
        .unwrap()
        .replace('\u{a0}', " ");
    for words in [
        "How good it is",
        "Looking for sick: at a threshold of 0.371",
        "finds 90.0 % of them and lets 80.0 % of the others be",
        "3.1 points off",
        "ROC: what is found, at what false alarms",
        "Reliability: promises against what came true",
        "30 examples: 15.0 % on average, 10.0 % came true",
        "Served worst is sick, with AUROC 0.710 on its 40 test examples.",
        "test AUROC of",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("NaN"));
}

#[test]
fn what_the_sites_counted_is_shown() {
    let judged = AtSites {
        clients: 4,
        examples: 1_200,
        masked: true,
        accuracy: 0.8125,
        balanced_accuracy: 0.75,
        loss: f64::INFINITY,
        auroc: Some(0.875),
        auroc_error: Some(0.0031),
        sensitivity: None,
        brier: Some(0.125),
        confusion: vec![vec![600, 75], vec![150, 375]],
        bytes_up: 48_000,
        bytes_down: 9_000,
    };
    let text = judged.text();
    let mut record = record("sick");
    record.summary.as_mut().unwrap().at_sites = Some(judged);
    let page = html::run_page(&record).unwrap().replace('\u{a0}', " ");
    assert!(page.contains("Judged at the sites"));
    for words in [
        "4 clients judged the final model on 1,200 held-out examples that never left them",
        "the server saw their sums only (48.0 kB up, 9.0 kB down",
        "0.8750",
        "within 0.0031",
        "Brier score",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
        assert!(page.contains(words), "{words}");
    }
    for words in ["log loss", "inf", "sensitivity"] {
        assert!(!text.contains(words), "{words} in\n{text}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let record = record(HOSTILE);
    let page = html::run_page(&record).unwrap();
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    let summary = record.summary.unwrap();
    let text = summary
        .quality
        .unwrap()
        .text(&summary.final_, HeadlineMetric::Auroc);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn levels_are_reached_once_at_what_was_sent_by_then() {
    let rows = [
        row(1, Some(0.65)),
        row(2, None),
        row(3, Some(0.91)),
        row(4, Some(0.7)),
        row(5, Some(0.95)),
    ];
    let found: Vec<(f64, u32, u64, u64, f64)> = reached(&rows, HeadlineMetric::Auroc)
        .iter()
        .map(|level| {
            (
                level.level,
                level.round,
                level.bytes_up,
                level.bytes_down,
                level.seconds,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (0.6, 1, 100, 200, 0.5),
            (0.9, 3, 300, 600, 1.5),
            (0.95, 5, 500, 1000, 2.5)
        ]
    );
    assert_eq!(
        reached(
            &[row(1, Some(f64::NAN)), row(2, None)],
            HeadlineMetric::Accuracy
        ),
        []
    );
}
