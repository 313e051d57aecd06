//! The leakage report: on disk, judged, and on pages.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod leaky;

use std::fs;
use std::path::Path;

use cloister_report::record::leakage::*;
use cloister_report::record::{RecordError, RunRecord, file_name};

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
