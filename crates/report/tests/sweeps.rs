//! Sweeps over attacks and rules: the choice of axes, the tables and the pictures.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

use cloister_report::compare::Comparison;
use cloister_report::html;
use cloister_report::record::*;

const REFUSAL: &str = "krum with byzantine = 11 needs 25 replies";

/// Attacks x partitions x rules x numbers of malicious clients, two seeds; written in an order that is not that of numbers.
fn sweep() -> Comparison {
    let keys = [
        "attack.kind",
        "data.partition",
        "aggregation.rule",
        "attack.clients",
    ]
    .map(str::to_owned);
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SweepWriter::open(folder.path(), &keys).unwrap();
    let mut cell = 0;
    for (attack, harm) in [("ipm", 0.2), ("backdoor", 0.01)] {
        for partition in [
            "{ kind = \"iid\" }",
            "{ alpha = 0.5, kind = \"dirichlet\" }",
        ] {
            for (rule, weakness) in [("mean", 1.0), ("krum", 0.1)] {
                for clients in [11u32, 1, 3] {
                    for seed in [1, 2] {
                        let name = format!("{cell}-{seed}");
                        let lost = harm * weakness * f64::from(clients) / 3.0 + 0.01 * seed as f64;
                        let done = SweepResult {
                            accuracy: Some(0.9 - lost),
                            impact: Some(lost),
                            attack_success: (attack == "backdoor").then_some(0.5),
                            malicious_accepted: Some(10),
                            malicious_kept: Some(4),
                            folder: name.clone(),
                            ..SweepResult::default()
                        };
                        let result = match (rule, clients, seed) {
                            ("krum", 11, _) => SweepResult::refused(&name, REFUSAL),
                            ("mean", 3, 2) if attack == "ipm" => {
                                SweepResult::failed(&name, "disk full")
                            }
                            _ => done,
                        };
                        let settings =
                            [attack, partition, rule, &clients.to_string()].map(str::to_owned);
                        writer
                            .row(SweepRow {
                                cell,
                                seed,
                                settings: settings.to_vec(),
                                result,
                            })
                            .unwrap();
                    }
                    cell += 1;
                }
            }
        }
    }
    Comparison::read(&[folder.path().to_owned()]).unwrap()
}

#[test]
fn the_terminal_shows_rules_down_and_counts_across() {
    let text = sweep().text();
    let expected = "
 Final test accuracy, % (means)

 attack = ipm, partition = iid
 rule \\ attack.clients      1       3        11
────────────────────────────────────────────────
 mean                    81.8   69.0*      15.2
 krum                    87.8    86.5   refused

 attack = ipm, partition = dirichlet, alpha 0.5
";
    assert!(text.contains(expected), "{text}");
    let success = text.split("Attack success, % (means)").nth(1).unwrap();
    assert!(
        !success
            .split("Malicious updates used")
            .next()
            .unwrap()
            .contains("attack = ipm"),
        "a table without a figure is left out"
    );
    assert!(
        text.contains("\n refused, 8 runs: krum with byzantine = 11 needs 25 replies (3-1, …)\n"),
        "{text}"
    );
    assert!(text.contains("\n failed, 2 runs: disk full ("));
    assert!(text.contains("* not all of its runs have a result"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn the_page_has_a_picture_a_setting_on_one_scale() {
    let page = html::comparison_page(&sweep())
        .unwrap()
        .replace('\u{a0}', " ");
    for heading in [
        "<h2>Final test accuracy, %</h2>",
        "<h2>Impact of the attack, points of accuracy</h2>",
        "<h2>Attack success, %</h2>",
        "<h2>Malicious updates used, %</h2>",
        "<h3>attack = ipm, partition = dirichlet, alpha 0.5</h3>",
    ] {
        assert!(page.contains(heading), "{heading}");
    }
    assert!(!page.contains("Source recall"), "no run has one");
    assert_eq!(
        page.matches("<h3>attack = ipm, partition = iid</h3>")
            .count(),
        3
    );
    assert_eq!(
        page.matches("<h3>attack = backdoor, partition = iid</h3>")
            .count(),
        4
    );
    for part in [
        ">refused</text>",
        ">69.0*</text>",
        "rule = krum, attack.clients = 3: 86.5 ± 0.7 over 2 seeds, worst 86.0",
        "rule = mean, attack.clients = 3: 69.0; 1 of 2 runs without a result",
        "refused, 8 runs: krum with byzantine = 11 needs 25 replies",
        "8 refused, 2 failed or unfinished",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // One scale: the worst impact of the backdoor is far from the worst of all, so its shade is light.
    let (_, impact) = page.split_once("Impact of the attack, points").unwrap();
    let (_, backdoor) = impact
        .split_once("attack = backdoor, partition = iid")
        .unwrap();
    let picture = backdoor.split("</svg>").next().unwrap();
    assert!(
        picture.contains("wrong q1") && !picture.contains("wrong q8"),
        "{picture}"
    );
}

#[test]
fn csv_and_json_have_the_attack() {
    let comparison = sweep();
    let csv = comparison.csv().unwrap();
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    for column in [
        "impact_mean",
        "impact_best_sd",
        "attack_success_mean",
        "source_recall_mean",
        "malicious_kept_mean",
        "failure_round_mean",
    ] {
        assert!(head.contains(&column), "{column}");
    }
    let json = comparison.json().unwrap();
    assert_eq!(json["runs"][6]["result"]["status"], "refused");
    assert_eq!(json["runs"][6]["result"]["message"], REFUSAL);
    assert_eq!(json["cells"][3]["refused_runs"], 2);
    assert_eq!(json["cells"][1]["attack_success"], serde_json::Value::Null);
}

#[test]
fn a_sweep_in_progress_and_one_of_one_key_have_pages() {
    let one = |settings: &[(&str, &str)], accuracy| {
        let config: String = settings
            .iter()
            .map(|(key, value)| format!("{key} = \"{value}\"\n"))
            .collect();
        RunRecord {
            folder: "x".into(),
            config: Some(config),
            summary: Some(Summary {
                at_sites: None,
                quality: None,
                name: settings[0].1.to_owned(),
                final_: Metrics {
                    accuracy: Some(accuracy),
                    ..Metrics::default()
                },
                ..Summary::default()
            }),
            ..RunRecord::default()
        }
    };
    let rules = [
        one(&[("rule", "mean")], 0.5),
        one(&[("rule", "krum")], 0.75),
    ];
    let comparison = Comparison::of_runs(&rules);
    assert!(
        !comparison.text().contains("(means)"),
        "one key needs no table of two"
    );
    html::comparison_page(&comparison).unwrap();
    // Unrelated settings are no grid: two of four places would be empty at best, here five of nine.
    let scattered = [
        one(&[("rule", "mean"), ("rate", "1")], 0.5),
        one(&[("rule", "krum"), ("rate", "2")], 0.5),
        one(&[("rule", "median"), ("rate", "3")], 0.5),
    ];
    assert!(!Comparison::of_runs(&scattered).text().contains("(means)"));
}

#[test]
fn many_differing_settings_fit_a_terminal() {
    let run = |name: &str, accuracy: f64| {
        let keys: String = (0..30)
            .map(|key| format!("some_setting_{key} = \"{name}-{key}\"\n"))
            .collect();
        RunRecord {
            folder: name.into(),
            config: Some(format!("{keys}[aggregation]\nrule = \"{name}-rule\"\n")),
            summary: Some(Summary {
                at_sites: None,
                quality: None,
                name: name.to_owned(),
                final_: Metrics {
                    accuracy: Some(accuracy),
                    loss: Some(0.5),
                    ..Metrics::default()
                },
                ..Summary::default()
            }),
            ..RunRecord::default()
        }
    };
    let comparison = Comparison::of_runs(&[run("first", 0.5), run("second", 0.75)]);
    let text = comparison.text();
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let head = text.lines().next().unwrap();
    for column in ["run", "rule", "accuracy"] {
        assert!(head.contains(column), "{column} in {head}");
    }
    assert!(
        text.contains("not shown, to fit 100 columns") && text.contains("some_setting_29"),
        "{text}"
    );
    let csv = comparison.csv().unwrap();
    assert!(csv.lines().next().unwrap().contains("some_setting_29"));
    let page = html::comparison_page(&comparison).unwrap();
    assert!(page.contains("Settings that differ") && page.contains("second-29"));
}

#[test]
fn runs_of_one_name_and_many_settings_go_by_their_folders() {
    let run = |folder: &str, value: u32| RunRecord {
        folder: folder.into(),
        config: Some(format!("a = {value}\nb = {value}\nc = {value}\n")),
        summary: Some(Summary {
            at_sites: None,
            quality: None,
            name: "same".to_owned(),
            ..Summary::default()
        }),
        ..RunRecord::default()
    };
    let comparison = Comparison::of_runs(&[run("runs/same-1", 1), run("runs/same-2", 2)]);
    let labels: Vec<&str> = comparison
        .cells
        .iter()
        .map(|cell| cell.label.as_str())
        .collect();
    assert!(comparison.named);
    assert_eq!(labels, ["same-1", "same-2"]);
}
