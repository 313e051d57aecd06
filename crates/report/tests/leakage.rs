//! The leakage report: on disk, judged, and on pages.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod leaky;

use std::fs;
use std::path::Path;

use cloister_report::html;
use cloister_report::record::leakage::*;
use cloister_report::record::{RecordError, RunRecord, Summary, file_name};

fn write(folder: &Path, report: &LeakageReport) {
    for (name, bytes) in leaky::pictures() {
        write_picture(folder, &name, &bytes).unwrap();
    }
    report.write(folder).unwrap();
}

/// What Debug prints: NaN is like NaN there, and `==` would say that it is not.
fn same(a: &LeakageReport, b: &LeakageReport) {
    assert_eq!(format!("{a:#?}"), format!("{b:#?}"));
}

#[test]
fn a_report_with_all_kinds_of_rows_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let report = leaky::report();
    write(folder.path(), &report);
    let back = Leakage::read(folder.path()).unwrap().unwrap();
    same(&back.report, &report);
    assert_eq!(back.pictures, leaky::pictures());

    fs::write(folder.path().join(file_name::CONFIG), "seed = 1\n").unwrap();
    let record = RunRecord::read(folder.path()).unwrap();
    same(&record.leakage.unwrap().report, &report);
}

#[test]
fn an_empty_report_comes_back_and_an_absent_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Leakage::read(folder.path()).unwrap(), None);
    let empty = LeakageReport {
        format: FORMAT,
        ..LeakageReport::default()
    };
    empty.write(folder.path()).unwrap();
    same(
        &LeakageReport::read(folder.path()).unwrap().unwrap(),
        &empty,
    );
}

#[test]
fn a_later_format_and_broken_files_are_refused_by_name_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leakage/leakage.json");
    write(folder.path(), &leaky::report());
    for (text, wanted) in [
        (
            "{\n\"format\": 2, \"news\": 3 }",
            "leakage.json:1: is of format 2",
        ),
        ("{ \"format\": 1 }", "missing field"),
        (
            "{ \"format\": 1,\n\"cloister\": 4 }",
            "leakage.json:2: column",
        ),
        ("", "leakage.json:1:"),
    ] {
        fs::write(&path, text).unwrap();
        let error = LeakageReport::read(folder.path()).unwrap_err();
        assert!(matches!(error, RecordError::Malformed { .. }));
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn pictures_have_plain_names_and_are_png() {
    let folder = tempfile::tempdir().unwrap();
    let good = leaky::png(1, 1, &[0]);
    for name in [
        "",
        "a.gif",
        "../a.png",
        "a/b.png",
        "..png",
        ".png",
        "a\\b.png",
        "\u{e4}.png",
    ] {
        assert!(write_picture(folder.path(), name, &good).is_err(), "{name}");
    }
    assert!(write_picture(folder.path(), "a.png", b"GIF89a").is_err());
    write_picture(folder.path(), "a.png", &good).unwrap();

    // What a stranger's report names is embedded only where it is such a picture.
    let mut report = leaky::report();
    fs::write(folder.path().join("secret.png"), &good).unwrap();
    fs::write(folder.path().join("leakage/b.png"), b"no picture").unwrap();
    let names = ["../secret.png", "a.png", "b.png", "absent.png", "a.png"];
    for (row, name) in report.inversions.iter_mut().zip(names) {
        row.picture = Some(name.to_owned());
    }
    report.write(folder.path()).unwrap();
    let pictures = Leakage::read(folder.path()).unwrap().unwrap().pictures;
    assert_eq!(pictures.keys().collect::<Vec<_>>(), ["a.png"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &leaky::report());
    let outside = folder.path().join("outside.png");
    fs::write(&outside, leaky::png(1, 1, &[0])).unwrap();
    let inside = folder.path().join("leakage/none.png");
    fs::remove_file(&inside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let pictures = Leakage::read(folder.path()).unwrap().unwrap().pictures;
    assert!(!pictures.contains_key("none.png") && pictures.contains_key("precode.png"));
}

#[test]
fn a_spread_is_the_median_and_the_maximum() {
    let of = |values: &[f64]| (Spread::of(values).median, Spread::of(values).worst);
    assert_eq!(of(&[3.0, 1.0, 2.0]), (2.0, 3.0));
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), (2.5, 4.0));
    assert_eq!(of(&[f64::NAN, 5.0]), (5.0, 5.0));
    assert_eq!(of(&[f64::INFINITY; 2]), (f64::INFINITY, f64::INFINITY));
    assert!(of(&[]).0.is_nan() && of(&[f64::NAN]).1.is_nan());
}

#[test]
fn the_run_itself_is_judged_and_not_its_variants() {
    let mut report = leaky::report();
    assert_eq!(report.worst_band(), Band::Recognisable);
    assert_eq!(report.worst_membership(), MembershipVerdict::Strong);
    assert_eq!(report.conclusion(), Conclusion::Recognisable);
    report
        .inversions
        .retain(|row| row.what_if || row.band != Band::Recognisable);
    assert_eq!(
        (report.worst_band(), report.conclusion()),
        (Band::Partial, Conclusion::Members)
    );
    report.memberships.clear();
    assert_eq!(report.conclusion(), Conclusion::Partial);
    report
        .inversions
        .retain(|row| row.what_if || row.band == Band::NoneFound);
    assert_eq!(report.conclusion(), Conclusion::Inconclusive);
    report.self_tests.retain(|test| test.passed);
    assert_eq!(report.conclusion(), Conclusion::NoneFound);
    report.audits[1].passed = false;
    assert_eq!(report.conclusion(), Conclusion::ClaimBroken);
    report.audits.clear();
    report.inversions.retain(|row| row.what_if);
    assert_eq!(report.conclusion(), Conclusion::NotAttacked);
    report.inversions[0] = InversionRow {
        what_if: false,
        band: Band::AttackFailed,
        ..report.inversions[0].clone()
    };
    assert_eq!(report.conclusion(), Conclusion::Inconclusive);
}

#[test]
fn thresholds_say_what_fails_and_why() {
    let mut report = leaky::report();
    let strict = Thresholds::default();
    let failures = report.failures(&strict).join("\n");
    for wanted in [
        "self-test undefended L-BFGS, LeNet-5 failed: 13.1 dB",
        "reconstruction inverting-gradients (server, one update; defence precode, K = 64; batch 1, 1 step, untrained; round 1): recognisable, allowed is partial",
        "membership yeom (final model; defence precode, K = 64): AUC 0.571, allowed is 0.55",
        "membership lira-offline",
    ] {
        assert!(failures.contains(wanted), "{wanted} in {failures}");
    }
    assert_eq!(report.failures(&strict).len(), 5, "{failures}");

    let lax = Thresholds {
        worst_band: Band::Exact,
        auc: 0.7,
        tpr_1: Some(0.05),
        tpr_01: Some(0.01),
        conclusive: false,
    };
    let failures = report.failures(&lax);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(
        failures[0].contains("8.32 % of the members found at 1 % false alarms"),
        "{failures:?}"
    );
    assert!(
        failures[1].contains("2.40 % of the members found at 0.1 % false alarms"),
        "{failures:?}"
    );

    let lax = Thresholds {
        tpr_1: None,
        tpr_01: None,
        ..lax
    };
    assert!(report.failures(&lax).is_empty());
    report.audits[1].passed = false;
    report.memberships[0].auc.value = f64::NAN;
    let failures = report.failures(&lax);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(
        failures[0].contains("AUC NaN"),
        "what is no number passes no threshold"
    );
    assert!(
        failures[1].contains("at least 1.31, claimed is 2"),
        "{failures:?}"
    );

    let nothing = LeakageReport::default();
    assert_eq!(
        nothing.failures(&strict),
        ["the run itself was not attacked"]
    );
    assert!(
        nothing
            .failures(&Thresholds {
                conclusive: false,
                ..strict
            })
            .is_empty()
    );
}

const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=https://x.example/y>\n\u{1b}[31m";

fn fixture() -> Leakage {
    Leakage {
        report: leaky::report(),
        pictures: leaky::pictures(),
    }
}

#[test]
fn the_page_begins_with_the_verdict_and_has_all_parts() {
    let page = html::leakage_page(&fixture()).unwrap();
    let badge = page.find("class=\"badge bad\"").unwrap();
    assert!(badge < page.find("class=\"tiles\"").unwrap());
    for wanted in [
        "Recognisable: images of digits could be reconstructed from what the attacker sees",
        "this run",
        "adaptive: knows precode",
        "attack failed",
        "not run",
        "1 of 5\u{a0}self-tests failed",
        "leaks strongly",
        "within the claim",
        "not\u{a0}noticed",
        "unrolled FedAvg",
        "none found by this suite",
        "blood pressure",
        "whisker",
        "class=\"ceiling\"",
        "0.1 % false alarms need 10,000 non-members, there are 1,000",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    for absent in ["NaN", "is safe", "are safe", "<script", "http:", "https:"] {
        assert!(!page.contains(absent), "{absent}");
    }
    // Each picture once, though two rows share one.
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 4);
    // Two charts of objectives and two of memberships have the first colour, each with its key.
    assert_eq!(page.matches("class=\"curve s0\" d=").count(), 8);
}

#[test]
fn a_run_page_has_the_same_sections_and_a_tile() {
    let record = RunRecord {
        leakage: Some(fixture()),
        summary: Some(Summary::default()),
        ..RunRecord::default()
    };
    let page = html::run_page(&record).unwrap();
    assert!(
        page.contains("<h2>What leaks</h2>") && page.contains("<dt>Leakage</dt><dd>recognisable")
    );
    let without = RunRecord {
        leakage: None,
        ..record
    };
    assert!(
        !html::run_page(&without)
            .unwrap()
            .contains("<h2>What leaks</h2>")
    );
}

#[test]
fn verdicts_are_in_plain_words_and_none_says_safe() {
    let mut report = leaky::report();
    let mut verdicts = vec![report.verdict()];
    report
        .inversions
        .retain(|row| row.what_if || row.band == Band::Partial);
    verdicts.push(report.verdict());
    report.memberships.retain(|row| row.what_if);
    verdicts.push(report.verdict());
    report.inversions.retain(|row| row.what_if);
    verdicts.push(report.verdict());
    report.self_tests.clear();
    verdicts.push(report.verdict());
    report.memberships[0].what_if = false;
    verdicts.push(report.verdict());
    report.memberships[0].verdict = MembershipVerdict::AboveCeiling;
    verdicts.push(report.verdict());
    report.audits[1] = AuditRow {
        passed: false,
        lower_bound: Some(2.399),
        ..report.audits[1].clone()
    };
    verdicts.push(report.verdict());
    let beginnings = [
        "Recognisable: images of digits could be reconstructed from what the attacker sees (server, one update; inverting-gradients, knowing precode; round 1); and training examples could be told from others (lira-offline on final model; AUC 0.641)",
        "Members leak: training examples could be told from others (lira-offline on final model; AUC 0.641); and images of digits could be reconstructed in part",
        "Partial: images of digits could be reconstructed in part from",
        "Inconclusive: nothing was found, by attacks that did not all pass",
        "Not attacked: no attack ran on the run itself",
        "None found by this suite: no member was told from others",
        "Claim broken: rmia finds more members than the claimed epsilon allows",
        "Claim broken: an audit (one-run, f-DP) measured an epsilon of at least 2.39, the run claims 2",
    ];
    for (verdict, beginning) in verdicts.iter().zip(beginnings) {
        assert!(verdict.starts_with(beginning), "{verdict}\nnot {beginning}");
        assert!(!verdict.contains("safe"));
    }
}

/// All texts of a report replaced, wherever they are.
fn hostile(value: &mut serde_json::Value) {
    use serde_json::Value;
    const NUMBERS: [&str; 3] = ["NaN", "inf", "-inf"];
    match value {
        Value::String(text) if NUMBERS.contains(&text.as_str()) || text.ends_with(".png") => {}
        // The words of the enumerations, in kebab case.
        Value::String(text)
            if serde_json::from_value::<Band>(Value::from(text.as_str())).is_ok() => {}
        Value::String(text)
            if serde_json::from_value::<MembershipVerdict>(Value::from(text.as_str())).is_ok() => {}
        Value::String(text) => *text = HOSTILE.to_owned(),
        Value::Array(values) => values.iter_mut().for_each(hostile),
        Value::Object(fields) => fields.values_mut().for_each(hostile),
        _ => {}
    }
}

#[test]
fn hostile_texts_are_escaped_everywhere() {
    let mut value = serde_json::to_value(leaky::report()).unwrap();
    hostile(&mut value);
    let report: LeakageReport = serde_json::from_value(value).unwrap();
    let leakage = Leakage {
        report,
        pictures: leaky::pictures(),
    };
    let page = html::leakage_page(&leakage).unwrap();
    assert!(page.matches("&lt;script&gt;").count() + page.matches("&#60;script&#62;").count() > 40);
    for absent in ["<script", "<img src=http", "\u{1b}"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let text = leakage.report.text();
    assert!(text.contains("alert(1)") && !text.contains('\u{1b}'));
    let csv = leakage.report.csv().unwrap();
    let rows = csv::Reader::from_reader(csv.as_bytes())
        .into_records()
        .map(Result::unwrap)
        .count();
    assert_eq!(rows, 12 + 5 + 2);
}

/// All figures replaced by one that is none.
fn not_a_number(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::from("NaN"),
        Value::Array(values) => values.iter_mut().for_each(not_a_number),
        Value::Object(fields) => {
            for (name, field) in fields {
                if name != "settings" {
                    not_a_number(field);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn empty_reports_and_figures_that_are_no_numbers_make_pages() {
    let empty = Leakage::default();
    let page = html::leakage_page(&empty).unwrap();
    assert!(page.contains("Not attacked") && !page.contains("<h2>Membership"));
    assert!(empty.report.text().starts_with("Not attacked"));
    assert_eq!(empty.report.csv().unwrap().lines().count(), 1);

    let mut value = serde_json::to_value(leaky::report()).unwrap();
    not_a_number(&mut value);
    let report: LeakageReport = serde_json::from_value(value).unwrap();
    assert!(report.inversions[0].psnr.worst.is_nan() && report.memberships[0].roc[3][1].is_nan());
    let page = html::leakage_page(&Leakage {
        report,
        pictures: leaky::pictures(),
    })
    .unwrap();
    assert!(!page.contains("NaN"));
}

#[test]
fn a_picture_that_is_absent_or_too_large_is_left_out() {
    let mut leakage = fixture();
    leakage.pictures.remove("none.png");
    let mut wide = leaky::png(1, 1, &[0]);
    wide[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    leakage.pictures.insert("dp.png".to_owned(), wide);
    let page = html::leakage_page(&leakage).unwrap();
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 2);
}

#[test]
fn the_text_and_the_csv_say_the_same() {
    let report = leaky::report();
    let text = report.text();
    assert!(text.starts_with("Recognisable: "));
    let line = text
        .lines()
        .find(|line| line.contains("knows precode"))
        .unwrap();
    for wanted in [
        "*",
        "recognisable",
        "22.9",
        "23.2",
        "13.1",
        "94.1 %",
        "349 kB",
    ] {
        assert!(line.contains(wanted), "{wanted} in {line}");
    }
    let csv = report.csv().unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<std::collections::BTreeMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(
        (
            &*rows[1]["adaptive_to"],
            &*rows[1]["psnr_worst"],
            &*rows[1]["what_if"]
        ),
        ("precode", "23.2", "false")
    );
    assert_eq!(rows[3]["psnr_worst"], "inf");
    let not_run = rows.iter().find(|row| row["verdict"] == "not run").unwrap();
    assert_eq!(not_run["psnr_worst"], "");
    assert_eq!(rows.last().unwrap()["epsilon_lower_bound"], "1.31");
}
