//! The pages and the comparison: what is on them, what can never be on them, and how large they get.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod statement;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cloister_report::compare::{Comparison, Spread};
use cloister_report::html;
use cloister_report::record::*;

const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=https://x.example/y>\n\u{1b}[31m";

fn row(round: u32, accuracy: f64) -> RoundRow {
    RoundRow {
        round,
        train_loss: Some(1.0 - accuracy),
        test_loss: Some(1.1 - accuracy),
        test_accuracy: Some(accuracy),
        test_auroc: None,
        cohort: 4,
        accepted: 4,
        refused: 0,
        dropped: 0,
        late: 0,
        outcome: RoundOutcome::Completed,
        epsilon: None,
        bytes_up: 1_000,
        bytes_down: 2_000,
        seconds: 0.5,
        virtual_seconds: None,
        ..RoundRow::default()
    }
}

fn summary(name: &str, seed: u64, accuracy: f64) -> Summary {
    Summary {
        name: name.to_owned(),
        seed,
        rounds: 2,
        completed: 2,
        final_: Metrics {
            accuracy: Some(accuracy),
            loss: Some(0.25),
            ..Metrics::default()
        },
        communication: Communication {
            bytes_up: 2_000,
            bytes_down: 4_000,
            bytes_per_parameter: 4.5,
            ..Communication::default()
        },
        seconds: 1.5,
        data: DataInfo {
            clients: 4,
            test: 300,
            ..DataInfo::default()
        },
        ..Summary::default()
    }
}

fn record(name: &str, config: &str, seed: u64, accuracies: &[f64]) -> RunRecord {
    let rounds: Vec<RoundRow> = (1..)
        .zip(accuracies)
        .map(|(round, &accuracy)| row(round, accuracy))
        .collect();
    RunRecord {
        folder: PathBuf::from(name),
        config: Some(config.to_owned()),
        summary: accuracies.last().map(|&last| summary(name, seed, last)),
        rounds,
        events: Vec::new(),
        partition: None,
        baselines: BTreeMap::new(),
        clients: None,
        confusion: None,
        ..RunRecord::default()
    }
}

/// A record in which every text is hostile.
fn hostile() -> RunRecord {
    let text = || HOSTILE.to_owned();
    let names = || vec![text(), "b".to_owned()];
    let mut record = record(HOSTILE, HOSTILE, 1, &[0.5, 0.75]);
    record.events = vec![
        Event::refused(1, HOSTILE, HOSTILE, HOSTILE),
        Event::new(1, event_kind::ABANDONED, HOSTILE),
        Event::new(2, HOSTILE, HOSTILE),
    ];
    record.rounds[0].outcome = RoundOutcome::Abandoned;
    record.rounds[0].refused = 1;
    record.partition = Some(PartitionTable {
        clients: names(),
        classes: names(),
        counts: vec![vec![1, 2], vec![3, 4]],
    });
    record.confusion = Some(ConfusionTable {
        classes: names(),
        counts: vec![vec![1, 2], vec![3, 4]],
    });
    record.clients = Some(
        names()
            .into_iter()
            .map(|client| ClientRow {
                client,
                examples: 3,
                accuracy: Some(0.5),
                loss: Some(1.0),
                alone_accuracy: Some(0.25),
                alone_auroc: None,
                rounds: 2,
                refused: 1,
                ..ClientRow::default()
            })
            .collect(),
    );
    record.baselines.insert(
        text(),
        vec![BaselinePoint {
            round: 1,
            accuracy: Some(0.5),
            ..BaselinePoint::default()
        }],
    );
    record.verdicts = vec![VerdictRow {
        round: u32::MAX,
        client: text(),
        score: Some(1.0),
        ..VerdictRow::default()
    }];
    let summary = record.summary.as_mut().unwrap();
    summary.trust = vec![text()];
    summary.aggregation = Some(AggregationInfo {
        rule: text(),
        before: names(),
        score: Some(text()),
        ..AggregationInfo::default()
    });
    summary.attack = Some(AttackInfo {
        kind: text(),
        description: text(),
        names: names(),
        source_class: Some(text()),
        target_class: Some(text()),
        source_recall: Some(f64::NAN),
        attack_success: Some(f64::INFINITY),
        impact: Some(f64::NAN),
        start_round: u32::MAX,
        ..AttackInfo::default()
    });
    summary.privacy = Some(PrivacyInfo::of(statement::of_text(HOSTILE), f64::NAN));
    summary.baselines.insert(
        text(),
        Baseline {
            accuracy: Some(0.5),
            ..Baseline::default()
        },
    );
    for field in [
        &mut summary.version,
        &mut summary.config_sha256,
        &mut summary.model_sha256,
        &mut summary.model.kind,
    ] {
        *field = text();
    }
    summary.data.dataset = text();
    summary.data.partition = text();
    summary.data.notes = vec![text()];
    record
}

/// Nothing of a page may run or fetch: no element that could, no address outside escaped text.
fn assert_inert(page: &str) {
    let lower = page.to_lowercase();
    for bad in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        "<object",
        "<embed",
        "@import",
        "url(",
        "javascript:",
        " on",
        "href",
    ] {
        for (at, _) in lower.match_indices(bad) {
            // ` on` is a word too; an attribute has a `=` right behind its name and stands inside a tag.
            let inside_tag = lower[..at].rfind('<') > lower[..at].rfind('>');
            let attribute = lower[at + 3..]
                .trim_start_matches(char::is_alphabetic)
                .starts_with('=');
            assert!(
                bad == " on" && !(inside_tag && attribute),
                "{bad} in {}",
                &page[at..page.len().min(at + 60)]
            );
        }
    }
    for (at, _) in page.match_indices("http") {
        let tail = &page[at..];
        let known = tail.starts_with("http-equiv")
            || page[..at].ends_with("&lt;img src=")
            || page[..at].ends_with("&#60;img src=");
        assert!(
            known,
            "{}",
            &page[at.saturating_sub(40)..page.len().min(at + 40)]
        );
    }
}

#[test]
fn hostile_text_stays_text() {
    let page = html::run_page(&hostile()).unwrap();
    assert_inert(&page);
    assert!(
        page.contains("script&gt;") || page.contains("script&#62;"),
        "the text is shown, escaped"
    );
    let comparison = Comparison::of_runs(&[hostile(), record("b", "k = 1", 2, &[0.5])]);
    assert_inert(&html::comparison_page(&comparison).unwrap());
    assert!(
        !comparison.text().contains('\u{1b}'),
        "no escape sequence reaches a terminal"
    );
}

#[test]
fn the_page_forbids_itself_scripts_and_fetches() {
    let page = html::run_page(&record("a", "", 1, &[0.5])).unwrap();
    assert!(
        page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"")
    );
    assert_inert(&page);
}

#[test]
fn the_result_and_its_gaps_are_stated() {
    let mut record = record("digits", "", 7, &[0.5, 0.9]);
    let summary = record.summary.as_mut().unwrap();
    let baseline = |accuracy| Baseline {
        accuracy: Some(accuracy),
        ..Baseline::default()
    };
    summary.baselines = [
        ("centralised".to_owned(), baseline(0.95)),
        ("local".to_owned(), baseline(0.89)),
    ]
    .into();
    let page = html::run_page(&record).unwrap().replace('\u{a0}', " ");
    for sentence in [
        "The final model classifies 90.0 % of 300 test examples correctly: 5.0 points below the same model trained on the \
         pooled data and 1.0 point above the mean of the clients training alone.",
        "No differential privacy was used",
        "Every reply passed the checks.",
    ] {
        assert!(page.contains(sentence), "{sentence}");
    }
}

#[test]
fn a_two_class_run_leads_with_its_auroc() {
    let mut record = record("heart", "", 7, &[0.5, 0.9]);
    record.rounds[1].test_auroc = Some(0.93);
    let summary = record.summary.as_mut().unwrap();
    summary.metric = HeadlineMetric::Auroc;
    summary.final_.auroc = Some(0.93);
    summary.baselines = [(
        "centralised".to_owned(),
        Baseline {
            auroc: Some(0.9304),
            ..Baseline::default()
        },
    )]
    .into();
    let page = html::run_page(&record).unwrap().replace('\u{a0}', " ");
    let sentence = "reaches an AUROC of 0.930 on 300 test examples (1 is perfect, 0.5 is guessing): level with the same model";
    assert!(page.contains(sentence));
    let (auroc, accuracy) = (
        page.find("Test AUROC").unwrap(),
        page.find("Test accuracy").unwrap(),
    );
    assert!(auroc < accuracy);
}

#[test]
fn an_unfinished_and_an_empty_run_have_pages() {
    let mut unfinished = record("a", "", 1, &[0.5, 0.6]);
    unfinished.summary = None;
    let page = html::run_page(&unfinished).unwrap().replace('\u{a0}', " ");
    assert!(
        page.contains("has not ended, or was stopped: 2 rounds are recorded so far"),
        "{page}"
    );
    assert!(page.contains("60.0 %"));
    let mut empty = record("a", "", 1, &[]);
    empty.config = None;
    let page = html::run_page(&empty).unwrap().replace('\u{a0}', " ");
    assert!(page.contains("0 rounds are recorded so far"));
}

#[test]
fn a_diverged_run_says_so() {
    let mut diverged = record("a", "", 1, &[0.5, 0.1]);
    diverged.rounds[1].test_loss = Some(f64::NAN);
    diverged.rounds[1].train_loss = Some(f64::INFINITY);
    diverged.summary.as_mut().unwrap().final_.loss = Some(f64::NAN);
    let page = html::run_page(&diverged).unwrap().replace('\u{a0}', " ");
    assert!(page.contains("not a finite number in 1 round, first in round 2"));
    assert!(!page.contains("NaN"), "no NaN among coordinates");
}

#[test]
fn ten_thousand_clients_and_a_thousand_rounds_fit_on_a_page() {
    let mut large = record("large", "", 1, &vec![0.5; 1_000]);
    let clients: Vec<String> = (0..10_000)
        .map(|client| format!("client-{client:05}"))
        .collect();
    let classes: Vec<String> = (0..100).map(|class| format!("class {class}")).collect();
    large.events = (0..100_000)
        .map(|n| {
            Event::refused(
                n / 100 + 1,
                &clients[n as usize % 10_000],
                "loss",
                format!("training loss is {n}"),
            )
        })
        .collect();
    for row in &mut large.rounds {
        row.refused = 100;
        row.outcome = RoundOutcome::Abandoned;
        large.events.push(Event::new(
            row.round,
            event_kind::ABANDONED,
            "0 good replies",
        ));
    }
    large.verdicts = (0..100_000)
        .map(|n: u32| VerdictRow {
            round: n / 100 + 1,
            client: clients[(n * 7_919 % 10_000) as usize].clone(),
            kept: !n.is_multiple_of(3),
            malicious: Some(n.is_multiple_of(10)),
            ..VerdictRow::default()
        })
        .collect();
    large.clients = Some(
        clients
            .iter()
            .map(|client| ClientRow {
                client: client.clone(),
                examples: 5,
                accuracy: Some(0.5),
                loss: None,
                alone_accuracy: Some(0.4),
                alone_auroc: None,
                rounds: 1,
                refused: 10,
                ..ClientRow::default()
            })
            .collect(),
    );
    let counts = (0..10_000u32).map(|client| {
        (0..100)
            .map(|class| (client * 31 + class * 17) % 97)
            .collect()
    });
    large.partition = Some(PartitionTable {
        counts: counts.collect(),
        clients,
        classes: classes.clone(),
    });
    large.confusion = Some(ConfusionTable {
        counts: vec![vec![1; 100]; 100],
        classes,
    });
    let page = html::run_page(&large).unwrap();
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("60 of the 10,000 clients are shown"));
}

fn config(name: &str, seed: u64, rate: &str, rule: &str) -> String {
    format!(
        "name = \"{name}\"\nseed = {seed}\n[train]\nlearning_rate = {rate}\n[aggregation]\nrule = \"{rule}\"\n"
    )
}

#[test]
fn runs_are_grouped_over_seeds_by_the_settings_that_differ() {
    let runs = [
        record("a", &config("a", 1, "0.1", "mean"), 1, &[0.5, 0.80]),
        record("a", &config("a", 2, "0.1", "mean"), 2, &[0.5, 0.84]),
        record("b", &config("b", 1, "0.5", "mean"), 1, &[0.5, 0.90]),
    ];
    let comparison = Comparison::of_runs(&runs);
    assert_eq!(comparison.keys, ["train.learning_rate"]);
    assert_eq!(comparison.cells.len(), 2);
    assert_eq!(comparison.cells[0].runs, [0, 1]);
    let accuracy = comparison.cells[0].accuracy.unwrap();
    assert!(
        (accuracy.mean - 0.82).abs() < 1e-12
            && (accuracy.sd.unwrap() - 0.0008f64.sqrt()).abs() < 1e-12
    );
    assert_eq!(
        (accuracy.n, comparison.cells[1].accuracy.unwrap().sd),
        (2, None)
    );
    let text = comparison.text();
    let expected = [
        " learning_rate   runs          accuracy   loss   bytes up   seconds",
        "────────────────────────────────────────────────────────────────────",
        " 0.1                2   0.8200 ± 0.0283   0.25     2.0 kB       1.5",
        " 0.5                1            0.9000   0.25     2.0 kB       1.5",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "\n{text}");
}

#[test]
fn runs_without_a_difference_go_by_name() {
    let runs = [record("a", "", 1, &[0.5]), record("b", "", 1, &[0.6])];
    let comparison = Comparison::of_runs(&runs);
    assert!(comparison.named && comparison.keys.is_empty());
    assert_eq!(
        comparison
            .cells
            .iter()
            .map(|cell| cell.label.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(html::comparison_page(&comparison).unwrap().contains("60.0"));
}

#[test]
fn csv_and_json_have_all_digits() {
    let runs = [
        record("a", &config("a", 1, "0.1", "mean"), 1, &[0.1 + 0.2]),
        record("b", &config("b", 1, "0.1", "krum"), 1, &[f64::NAN]),
    ];
    let comparison = Comparison::of_runs(&runs);
    let csv = comparison.csv().unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with(
        "aggregation.rule,label,runs,unfinished,not_finite,accuracy_mean,accuracy_sd,"
    ));
    assert!(
        lines[1].starts_with("mean,rule = mean,1,0,0,0.30000000000000004,,"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("krum,rule = krum,1,0,1,NaN,,"),
        "{}",
        lines[2]
    );
    let json = comparison.json().unwrap();
    assert_eq!(json["metric"], "accuracy");
    assert_eq!(json["cells"][0]["accuracy"]["mean"], 0.1 + 0.2);
    assert_eq!(json["cells"][1]["accuracy"]["mean"], "NaN");
    assert_eq!(json["runs"][1]["result"]["accuracy"], "NaN");
}

#[test]
fn spread_counts_what_it_leaves_out() {
    assert_eq!(Spread::of([]), None);
    let spread = Spread::of([1.0, 3.0, f64::NAN, f64::INFINITY]).unwrap();
    assert_eq!(
        (spread.mean, spread.sd, spread.n, spread.not_finite),
        (2.0, Some(2.0f64.sqrt()), 2, 2)
    );
    let broken = Spread::of([f64::NAN]).unwrap();
    assert!(broken.mean.is_nan() && broken.n == 0);
}

#[test]
fn a_sweep_is_compared_by_its_own_keys_and_keeps_its_failures() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["train.learning_rate", "aggregation.rule"].map(str::to_owned);
    let mut sweep = SweepWriter::open(folder.path(), &keys).unwrap();
    let mut cell = 0;
    for rate in ["0.1", "0.5"] {
        for rule in ["mean", "krum"] {
            for seed in [1, 2] {
                let name = format!("cell-{cell}-{seed}");
                let summary = summary(
                    &name,
                    seed,
                    0.5 + 0.1 * f64::from(cell) + 0.01 * seed as f64,
                );
                let mut result = SweepResult::of(&summary, &name);
                if (cell, seed) == (3, 2) {
                    result = SweepResult::failed(&name, "the server caught <fire>");
                } else {
                    let mut writer = RunWriter::create(&folder.path().join(&name), "").unwrap();
                    writer.round(&row(1, 0.4)).unwrap();
                    writer
                        .round(&row(2, summary.final_.accuracy.unwrap()))
                        .unwrap();
                    writer.summary(&summary).unwrap();
                }
                let settings = vec![rate.to_owned(), rule.to_owned()];
                sweep
                    .row(SweepRow {
                        cell,
                        seed,
                        settings,
                        result,
                    })
                    .unwrap();
            }
            cell += 1;
        }
    }
    let comparison = Comparison::read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(comparison.keys, keys);
    assert_eq!(comparison.cells.len(), 4);
    let last = &comparison.cells[3];
    assert_eq!(
        (last.runs.len(), last.unfinished, last.accuracy.unwrap().n),
        (2, 1, 1)
    );
    assert!(comparison.text().contains("2 (1 not done)"));
    let page = html::comparison_page(&comparison)
        .unwrap()
        .replace('\u{a0}', " ");
    assert_inert(&page);
    for part in [
        "Final test accuracy, %",
        ">81.0*</text>",
        "failed, 1 run: the server caught &#60;fire&#62; (cell-3-2)",
        "learning_rate = 0.5, rule = krum",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let mixed =
        Comparison::read(&[folder.path().to_owned(), folder.path().join("cell-0-1")]).unwrap();
    assert_eq!(
        mixed.runs.len(),
        8,
        "seven finished runs of the sweep and one of them again"
    );
}

#[test]
fn tables_and_figures_that_no_writer_wrote_do_not_panic() {
    let mut odd = record("odd", "not = [toml", 1, &[f64::MAX, -f64::MAX, 0.0]);
    odd.rounds[0].bytes_up = u64::MAX;
    odd.rounds[1].bytes_down = u64::MAX;
    odd.rounds[2].cohort = u32::MAX;
    odd.rounds[2].seconds = f64::NEG_INFINITY;
    let names: Vec<String> = (0..30).map(|name| name.to_string()).collect();
    let ragged = vec![vec![u32::MAX; 40], vec![], vec![0; 3]];
    odd.partition = Some(PartitionTable {
        clients: names.clone(),
        classes: names.clone(),
        counts: ragged,
    });
    odd.confusion = Some(ConfusionTable {
        classes: names[..2].to_vec(),
        counts: vec![vec![u64::MAX; 3]; 3],
    });
    odd.baselines.insert("centralised".to_owned(), Vec::new());
    odd.clients = Some(Vec::new());
    assert_inert(&html::run_page(&odd).unwrap());
    odd.partition = Some(PartitionTable {
        clients: Vec::new(),
        classes: Vec::new(),
        counts: Vec::new(),
    });
    odd.confusion = Some(ConfusionTable {
        classes: Vec::new(),
        counts: Vec::new(),
    });
    assert_inert(&html::run_page(&odd).unwrap());
    assert_inert(&html::comparison_page(&Comparison::of_runs(&[odd.clone(), odd])).unwrap());
    assert_inert(&html::comparison_page(&Comparison::of_runs(&[])).unwrap());
}
