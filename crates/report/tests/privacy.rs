//! What a run promised about privacy: recorded, read back, on the page, and over a sweep.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod statement;

use std::fs;
use std::path::Path;

use cloister_privacy::Statement;
use cloister_report::compare::Comparison;
use cloister_report::html;
use cloister_report::record::*;

/// Six rounds of 0.2 to 1.2 of epsilon, with a clipping norm that grows.
fn rounds() -> Vec<RoundRow> {
    let row = |round: u32| RoundRow {
        round,
        test_accuracy: Some(0.3 + 0.1 * f64::from(round)),
        epsilon: Some(0.2 * f64::from(round)),
        clip: Some(0.1 * f64::from(round)),
        clipped: Some(0.5),
        ..RoundRow::default()
    };
    (1..=6).map(row).collect()
}

fn record(statement: Statement) -> RunRecord {
    RunRecord {
        folder: "run".into(),
        rounds: rounds(),
        summary: Some(summary(statement)),
        ..RunRecord::default()
    }
}

fn summary(statement: Statement) -> Summary {
    Summary {
        name: "run".to_owned(),
        final_: Metrics {
            accuracy: Some(0.9),
            ..Metrics::default()
        },
        privacy: Some(PrivacyInfo::of(statement, 1e-5)),
        ..Summary::default()
    }
}

/// The page's text between the heading of the section and the next, without tags.
fn section(page: &str) -> String {
    let page = page.replace('\u{a0}', " ");
    let from = page.find("<h2>Privacy</h2>").unwrap();
    let part = &page[from..];
    let part = &part[..part.find("</section>").unwrap()];
    let mut text = String::new();
    for piece in part.split('<').skip(1) {
        text.push_str(piece.split_once('>').unwrap().1);
        text.push('\n');
    }
    text.replace("&#39;", "'")
}

fn assert_has(text: &str, sentences: &[&str]) {
    for sentence in sentences {
        assert!(text.contains(sentence), "{sentence}\nin {text}");
    }
}

#[test]
fn the_figures_are_those_of_the_statement() {
    let info = PrivacyInfo::of(statement::claimed(), 0.5);
    assert_eq!(
        (info.epsilon, info.accounted_epsilon, info.delta),
        (Some(3.2811), Some(3.2811), 1e-5)
    );
    let info = PrivacyInfo::of(statement::seeded(), 0.5);
    assert_eq!(
        (info.epsilon, info.accounted_epsilon, info.delta),
        (None, Some(3.2811), 1e-5)
    );
    let nothing = Statement {
        accounted: None,
        ..statement::seeded()
    };
    let info = PrivacyInfo::of(nothing, 1e-6);
    assert_eq!(
        (info.epsilon, info.accounted_epsilon, info.delta),
        (None, None, 1e-6)
    );
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["epsilon"], serde_json::Value::Null);
    assert_eq!(json["unit"], "client");
    assert_eq!(json["statement"]["state"], "not-private");
}

#[test]
fn the_statement_of_a_folder_is_read_alone() {
    let folder = tempfile::tempdir().unwrap();
    let error = |folder: &Path| {
        let error = PrivacyInfo::read(folder).unwrap_err().to_string();
        error.replace(&folder.display().to_string(), "RUN")
    };
    assert_eq!(
        error(folder.path()),
        "RUN holds no run: neither config.toml nor rounds.csv is in it"
    );
    let mut writer = RunWriter::create(folder.path(), "name = \"run\"\n").unwrap();
    assert_eq!(
        error(folder.path()),
        "RUN holds a run that has not ended, or was stopped: summary.json is not in it"
    );
    writer.summary(&summary(statement::of_examples())).unwrap();
    // The other files do not matter to it.
    fs::write(folder.path().join(file_name::ROUNDS), "broken").unwrap();
    let info = PrivacyInfo::read(folder.path()).unwrap().unwrap();
    assert_eq!(info.statement, statement::of_examples());
    writer.summary(&Summary::default()).unwrap();
    assert_eq!(PrivacyInfo::read(folder.path()).unwrap(), None);
    fs::write(folder.path().join(file_name::SUMMARY), "{}").unwrap();
    assert!(error(folder.path()).starts_with("RUN/summary.json:1: column 2: missing field"));
}

#[test]
fn a_folder_with_a_ledger_holds_a_run_and_resuming_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join(file_name::LEDGER);
    fs::write(&ledger, "spent\n").unwrap();
    let error = RunWriter::create(folder.path(), "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("already holds a run (found ledger.jsonl)"),
        "{error}"
    );
    fs::remove_file(&ledger).unwrap();
    let mut writer = RunWriter::create(folder.path(), "").unwrap();
    for row in rounds() {
        writer.round(&row).unwrap();
    }
    fs::write(&ledger, "spent in six rounds\n").unwrap();
    RunWriter::reopen(folder.path(), 2).unwrap();
    assert_eq!(
        fs::read_to_string(&ledger).unwrap(),
        "spent in six rounds\n"
    );
    assert_eq!(
        RunRecord::read(folder.path()).unwrap().rounds,
        rounds()[..2]
    );
}

#[test]
fn a_private_run_leads_with_its_claim() {
    let page = html::run_page(&record(statement::claimed())).unwrap();
    assert!(page.contains("<p class=\"badge good\">"));
    assert_has(
        &section(&page),
        &[
            "PRIVATE\n",
            "If one client's whole data were absent, any conclusion's odds would change by at most a factor e^3.29 = 26.9 \
             (except with probability 1e-5).",
            "Claimed epsilon\n\n3.29\nδ = 1e-5; rounded up",
            "Epsilon at a tenth of delta\n\n3.72\nδ = 1e-6",
            "Independent bound\n\n3.41",
            "Found by any attack, at most\n\n2.57 %\nof the clients that took part, with 0.1 % false alarms; 12.2 % with 1 %",
            "Privacy loss over rounds",
            "Test accuracy by privacy loss",
            "Clipping norm over rounds",
            "Contributions cut to the clipping norm",
            "each client takes part by a secret coin\n\n● enforced",
            "the ledger is complete\n\n◐ verified",
            "one client is one person\n\n○ taken on trust",
            "What voids the promise, or would",
            "publishing the training loss of single clients",
            "zero-out: one client blanked",
        ],
    );
    assert!(page.contains("\u{3b5} = 3.29"), "the tile at the top");
    assert!(!section(&page).contains("were the noise secret"));
    assert!(!page.contains("No differential privacy was used"));
}

#[test]
fn a_seeded_run_never_shows_its_accounting_as_a_claim() {
    let page = html::run_page(&record(statement::seeded())).unwrap();
    assert!(page.contains("<p class=\"badge bad\">"));
    let text = section(&page);
    assert_has(
        &text,
        &[
            "NOT PRIVATE: the noise comes from the seed 7",
            "Nothing limits by how much any conclusion's odds would change if one client's whole data were absent. Were the \
             noise secret, it would be at most a factor e^3.29",
            "Claimed epsilon\n\ninfinite\nnothing can be claimed",
            "Accounted epsilon\n\n3.29\nwere the noise secret, at δ = 1e-5",
            "12.2 % with 1 %; were the noise secret",
            "accounted epsilon",
        ],
    );
    assert!(page.contains("not private") && !page.contains("badge good"));
}

#[test]
fn the_weakest_clients_come_first_and_the_others_are_counted() {
    let page = html::run_page(&record(statement::of_examples())).unwrap();
    assert!(page.contains("<p class=\"badge fair\">"));
    let text = section(&page);
    assert_has(
        &text,
        &[
            "PRIVATE (weaker unit)",
            "Weaker unit: one example is protected, not a client.",
            "2 more clients are not shown, of epsilon 1.1 or less.",
            "site-03\n\ninfinite",
        ],
    );
    let table = &text[text.find("The clients in figures").unwrap()..];
    let place = |name: &str| table.find(name).unwrap();
    assert!(place("site-03") < place("site-21") && place("site-21") < place("site-20"));
    assert!(!table.contains("site-00") && !table.contains("site-01\n"));
}

#[test]
fn a_fixed_clipping_norm_and_a_run_without_privacy_have_no_pictures_of_it() {
    let mut fixed = record(statement::claimed());
    for row in &mut fixed.rounds {
        row.clip = Some(0.5);
        row.clipped = None;
    }
    let text = section(&html::run_page(&fixed).unwrap());
    assert!(!text.contains("Clipping norm over") && !text.contains("Contributions cut"));
    let mut without = record(statement::claimed());
    without.summary.as_mut().unwrap().privacy = None;
    assert!(
        !html::run_page(&without)
            .unwrap()
            .contains("<h2>Privacy</h2>")
    );
    // A run in progress shows what it has spent and claims nothing.
    without.summary = None;
    let text = section(&html::run_page(&without).unwrap());
    assert_has(
        &text,
        &[
            "The run says when it ends what it may claim.",
            "Privacy loss over rounds",
        ],
    );
    assert!(!text.contains("PRIVATE"));
}

#[test]
fn figures_that_are_not_finite_are_drawn_nowhere() {
    let mut broken = record(statement::seeded());
    broken.rounds[2].epsilon = Some(f64::INFINITY);
    broken.rounds[3].epsilon = Some(f64::NAN);
    broken.rounds[4].clip = Some(f64::NAN);
    broken.rounds[5].clipped = Some(f64::INFINITY);
    let page = html::run_page(&broken).unwrap();
    assert!(!page.contains("NaN") && !page.contains("inf,") && !page.contains("d=\"inf"));
    for path in page.split(" d=\"").skip(1) {
        let path = path.split('"').next().unwrap();
        assert!(!path.contains("in"), "{path}");
    }
}

/// Budgets x rules, two seeds, and one cell without privacy; under a seed or not.
fn sweep(folder: &Path, seeded: bool) -> Comparison {
    let keys = ["privacy.epsilon", "aggregation.rule"].map(str::to_owned);
    let mut writer = SweepWriter::open(folder, &keys).unwrap();
    let mut cell = 0;
    for budget in ["0.5", "", "8", "2"] {
        for rule in ["mean", "median"] {
            for seed in [1, 2] {
                let epsilon = budget.parse::<f64>().ok().map(|budget| budget * 0.99);
                let result = SweepResult {
                    accuracy: Some(
                        0.9 - 0.1 / epsilon.unwrap_or(f64::INFINITY) + 0.01 * seed as f64,
                    ),
                    epsilon: epsilon.map(|epsilon| if seeded { f64::INFINITY } else { epsilon }),
                    accounted_epsilon: epsilon,
                    folder: format!("{cell}-{seed}"),
                    ..SweepResult::default()
                };
                let settings = vec![budget.to_owned(), rule.to_owned()];
                writer
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
    Comparison::read(&[folder.to_owned()]).unwrap()
}

#[test]
fn a_sweep_shows_accuracy_by_accounted_epsilon() {
    let folder = tempfile::tempdir().unwrap();
    let comparison = sweep(folder.path(), true);
    let text = comparison.text();
    let head = text.lines().next().unwrap();
    assert!(head.contains("accounted epsilon"), "{text}");
    // Nothing is claimed, so there is no column of claims.
    assert_eq!(head.matches("epsilon").count(), 2, "{text}");
    assert!(text.contains("0.495"), "{text}");
    let page = html::comparison_page(&comparison).unwrap();
    let from = page.find("<h2>What privacy costs</h2>").unwrap();
    let part = &page[from..from + page[from..].find("</section>").unwrap()];
    // A curve a rule, through its three budgets in ascending order; the cells without privacy are level lines.
    assert_eq!(
        part.matches("class=\"curve s0\" d=\"M").count(),
        2,
        "key and curve"
    );
    assert!(part.contains("rule = mean") && part.contains("rule = median"));
    // In the legend and in the description, in its rule's colour.
    assert_eq!(
        part.matches("without privacy, rule = mean").count(),
        2,
        "{part}"
    );
    assert!(part.contains("class=\"curve s0 dashed\""), "{part}");
    for epsilon in ["0.495", "1.98", "7.92"] {
        let hint = format!("at accounted epsilon {epsilon}</title>");
        assert_eq!(part.matches(&hint).count(), 2, "{hint} in {part}");
    }
    let csv = comparison.csv().unwrap();
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .contains("epsilon_mean,epsilon_sd,accounted_epsilon_mean")
    );
    assert!(
        csv.lines()
            .nth(1)
            .unwrap()
            .starts_with("0.5,mean,\"privacy.epsilon = 0.5, rule = mean\",2,0,0,")
    );
}

#[test]
fn claims_that_may_be_made_have_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let text = sweep(folder.path(), false).text();
    assert_eq!(
        text.lines().next().unwrap().matches("epsilon").count(),
        3,
        "{text}"
    );
}

#[test]
fn older_sweeps_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let comparison = sweep(folder.path(), false);
    let path = folder.path().join(file_name::SWEEP);
    let text = fs::read_to_string(&path).unwrap();
    let lacking = ["accounted_epsilon", "r2", "best_r2"];
    let columns: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    assert!(lacking.iter().all(|name| columns.contains(name)));
    let without = |line: &str| {
        let cells = line.split(',').zip(&columns);
        let kept = cells.filter(|(_, column)| !lacking.contains(column));
        let kept: Vec<&str> = kept.map(|(cell, _)| cell).collect();
        kept.join(",") + "\n"
    };
    fs::write(&path, text.lines().map(without).collect::<String>()).unwrap();
    let older = Comparison::read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(older.cells[0].epsilon, comparison.cells[0].epsilon);
    assert_eq!(older.cells[0].accounted_epsilon, None);
}

#[test]
fn runs_of_different_terms_are_not_to_be_ranked() {
    let run = |delta: &str, claim: f64| {
        let mut statement = statement::seeded();
        statement.accounted.as_mut().unwrap().epsilon = claim;
        RunRecord {
            config: Some(format!("[privacy]\ndelta = {delta}\n")),
            ..record(statement)
        }
    };
    let page = |runs: &[RunRecord]| html::comparison_page(&Comparison::of_runs(runs)).unwrap();
    let mixed = page(&[run("1e-5", 1.0), run("1e-6", 2.0)]);
    assert!(mixed.contains("These runs differ in privacy.delta"));
    assert!(
        !page(&[run("1e-5", 1.0), run("1e-5", 2.0)]).contains("These runs differ in privacy.delta")
    );
}
