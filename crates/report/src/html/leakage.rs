//! What attacks on a run brought to light: the verdict, every attack beside every defence, pictures, and how to read them.

mod audit;
mod inversion;
mod membership;
mod strips;

use super::page::{Badge, Chip, List, Page, Section, Table, Tile, strings};
use crate::format::{self, counted};
use crate::record::leakage::{
    Band, Conclusion, Leakage, LeakageReport, MembershipVerdict, rounded_down,
};

/// Rows of a table, and characters of a text, that are shown.
const MOST_ROWS: usize = 150;
const MOST_CHARS: usize = 600;

pub(super) fn page(leakage: &Leakage) -> Page {
    let report = &leakage.report;
    Page {
        over: format!(
            "Leakage report, {} suite, seed {}",
            format::shortened(&report.suite, 40),
            report.seed
        ),
        title: format::shortened(&report.subject.run, 200),
        lead: Vec::new(),
        warnings: Vec::new(),
        tiles: Vec::new(),
        sections: sections(leakage),
        footer: "This page is self-contained: it runs no scripts and fetches nothing. Its figures are those of \
                 leakage.json, its pictures those beside it."
            .to_owned(),
    }
}

/// The sections of a page, of the run's or of the report's own.
pub(super) fn sections(leakage: &Leakage) -> Vec<Section> {
    let report = &leakage.report;
    let sections = [
        Some(verdict(report)),
        inversion::section(leakage),
        membership::section(report),
        membership::properties(report),
        audit::section(report),
        audit::guards(report),
        Some(limits(report)),
    ];
    sections.into_iter().flatten().collect()
}

/// The tile at the top of a run's page.
pub(super) fn tile(report: &LeakageReport) -> Tile {
    let attacks = report
        .inverted()
        .filter(|row| row.band > Band::NotRun)
        .count()
        + report
            .inferred()
            .filter(|row| row.verdict > MembershipVerdict::NotRun)
            .count();
    Tile {
        name: "Leakage",
        value: match report.conclusion() {
            Conclusion::NotAttacked => "not attacked",
            Conclusion::NoneFound => "none found",
            Conclusion::Inconclusive => "inconclusive",
            Conclusion::Partial => "partial",
            Conclusion::Members => "members leak",
            Conclusion::Recognisable => "recognisable",
            Conclusion::Exact => "exact",
            Conclusion::ClaimBroken => "claim broken",
        }
        .to_owned(),
        note: format!(
            "worst of {} on this run",
            counted(attacks as u64, "attack", "attacks")
        ),
    }
}

fn verdict(report: &LeakageReport) -> Section {
    Section {
        heading: "What leaks",
        badge: Some(badge(report)),
        sentences: subject_sentences(report),
        tiles: tiles(report),
        tables: self_tests(report).into_iter().collect(),
        ..Section::default()
    }
}

fn badge(report: &LeakageReport) -> Badge {
    let (class, sign) = match report.conclusion() {
        Conclusion::NoneFound => ("good", "\u{25cb}"),
        Conclusion::NotAttacked | Conclusion::Inconclusive => ("fair", "?"),
        Conclusion::Partial | Conclusion::Members => ("fair", "\u{25d0}"),
        Conclusion::Recognisable | Conclusion::Exact => ("bad", "\u{25cf}"),
        Conclusion::ClaimBroken => ("bad", "\u{2715}"),
    };
    Badge {
        class,
        sign,
        text: format::shortened(&report.verdict(), MOST_CHARS),
    }
}

fn subject_sentences(report: &LeakageReport) -> Vec<String> {
    let subject = &report.subject;
    let short = |text: &str| format::shortened(text, MOST_CHARS);
    let rounds = match subject.recorded_rounds.as_slice() {
        [] => "no recorded round".to_owned(),
        [round] => format!("the recorded round {round}"),
        rounds => format!("the recorded rounds {}", format::ranges(rounds)),
    };
    let mut sentences = vec![format!(
        "Attacked were {rounds} and the model of {}: {} ({}), {}, {}. The suite ({}) took {}.",
        short(&subject.run),
        short(&subject.model),
        counted(subject.parameters, "parameter", "parameters"),
        short(&subject.dataset),
        counted(u64::from(subject.clients), "client", "clients"),
        short(&report.suite),
        format::seconds(report.seconds)
    )];
    let told = [Some(&subject.trust), subject.privacy.as_ref()];
    let told: Vec<String> = told
        .into_iter()
        .flatten()
        .map(|text| sentence(text))
        .collect();
    let told: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
    if !told.is_empty() {
        sentences.push(format!("What the run states: {}", told.join(" ")));
    }
    let failed = report.self_tests.iter().filter(|test| !test.passed).count();
    if failed > 0 {
        sentences.push(format!(
            "{} of {} failed: what the attack in question did not find says nothing.",
            failed,
            counted(report.self_tests.len() as u64, "self-test", "self-tests")
        ));
    }
    sentences
}

/// With a capital at its beginning and a full stop at its end.
fn sentence(text: &str) -> String {
    let text = format::shortened(text.trim(), MOST_CHARS);
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return text;
    };
    let stop = if text.ends_with(['.', '!', '?', '\u{2026}']) {
        ""
    } else {
        "."
    };
    first
        .to_uppercase()
        .chain(chars)
        .chain(stop.chars())
        .collect()
}

fn tiles(report: &LeakageReport) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(row) = report
        .worst_inverted()
        .filter(|row| row.band > Band::NotRun)
    {
        let note = match (row.psnr.worst.is_nan(), row.gain.worst.is_nan()) {
            (true, _) => format!("{}; {}", row.attack, row.setting),
            (_, true) => format!("{} on the worst image", decibels(row.psnr.worst)),
            _ => format!(
                "{} on the worst image, {} {} the best trivial guess",
                decibels(row.psnr.worst),
                decibels(row.gain.worst.abs()),
                if row.gain.worst < 0.0 {
                    "below"
                } else {
                    "above"
                }
            ),
        };
        tiles.push(Tile {
            name: "Worst reconstruction",
            value: row.band.words().to_owned(),
            note: format::shortened(&note, 160),
        });
    }
    tiles.extend(membership::tile(report));
    if let Some(bound) = largest(report.audits.iter().filter_map(|row| row.lower_bound)) {
        let claim = largest(report.audits.iter().filter_map(|row| row.claim));
        tiles.push(Tile {
            name: "Measured epsilon",
            value: format!("\u{2265}\u{a0}{}", rounded_down(bound)),
            note: match claim {
                Some(claim) => format!("claimed is {}", cloister_privacy::rounded_up(claim)),
                None => "no finite epsilon is claimed".to_owned(),
            },
        });
    }
    if !report.self_tests.is_empty() {
        let held = report.self_tests.iter().filter(|test| test.passed).count();
        tiles.push(Tile {
            name: "Self-tests",
            value: format!("{held} of {}", report.self_tests.len()),
            note: "held, of the attacks and the mechanisms".to_owned(),
        });
    }
    tiles
}

fn largest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values
        .filter(|value| !value.is_nan())
        .max_by(f64::total_cmp)
}

fn self_tests(report: &LeakageReport) -> Option<Table> {
    if report.self_tests.is_empty() {
        return None;
    }
    let rows = report.self_tests.iter().take(MOST_ROWS).map(|test| {
        let standing = if test.passed {
            "\u{2713}\u{a0}held"
        } else {
            "\u{2715}\u{a0}failed"
        };
        let texts = [standing, &test.name, &test.detail];
        texts
            .map(|text| format::shortened(text, MOST_CHARS))
            .to_vec()
    });
    Some(Table {
        title: "Self-tests".to_owned(),
        head: strings(["", "what was checked", "figures"]),
        words: 3,
        rows: rows.collect(),
        note: "Made before any row below is believed: an attack that fails without a defence shows nothing about one."
            .to_owned(),
        ..Table::default()
    })
}

/// What the report does not say.
fn limits(report: &LeakageReport) -> Section {
    let skipped = report.skipped.iter().take(MOST_ROWS).map(|skipped| {
        let texts = [&skipped.what, &skipped.why];
        texts
            .map(|text| format::shortened(text, MOST_CHARS))
            .to_vec()
    });
    let mut tables = Vec::new();
    if !report.skipped.is_empty() {
        tables.push(Table {
            title: "What was left out".to_owned(),
            head: strings(["what", "why"]),
            words: 2,
            rows: skipped.collect(),
            ..Table::default()
        });
    }
    tables.extend(inversion::all_figures(&report.inversions));
    tables.push(Table {
        title: "To repeat it".to_owned(),
        folded: true,
        words: 2,
        rows: vec![
            strings(["version", &format::shortened(&report.cloister, 200)]),
            strings(["suite", &format::shortened(&report.suite, 200)]),
            strings(["seed", &report.seed.to_string()]),
            strings([
                "SHA-256 of config.toml",
                &format::shortened(&report.subject.config_sha256, 200),
            ]),
        ],
        ..Table::default()
    });
    Section {
        heading: "How to read the leakage report",
        lists: vec![List {
            title: "How to read it",
            items: reading(report),
        }],
        tables,
        wide: true,
        ..Section::default()
    }
}

fn reading(report: &LeakageReport) -> Vec<String> {
    let mut points = vec![
        "\u{201c}None found\u{201d} is no promise. It means: none found by this suite, by these attacks with these \
         settings."
            .to_owned(),
        "Rows marked \u{201c}this run\u{201d} attack what the run itself recorded. The others attack variants of it, for \
         comparison, and have no part in the verdict."
            .to_owned(),
    ];
    let inverted = !report.inversions.is_empty();
    let inferred = !report.memberships.is_empty();
    let on_inverted = [
        "An adaptive attack knows the declared defence and works around it; a defence is worth what is left against that \
         one.",
        "The floor is the best guess that needs no update at all: black, a constant, the mean image, another image of the \
         class, or the attack run on noise. Gain is what an attack has over it. \u{201c}Worst\u{201d} is worst for the \
         data\u{2019}s owner: the image that came back best.",
        "Exact: at least 35 dB, or an SSIM of 0.95. Recognisable: a gain of at least 8 dB, or half of the way from the \
         floor\u{2019}s SSIM to 1. Partial: a gain of 3 to 8 dB. None found: less than 3 dB on the worst image.",
        "Attack failed: it fails without any defence too, so that it says nothing about this one.",
    ];
    let on_inferred = [
        "A membership inference is judged by the members that it finds at few false alarms, not by its accuracy. An AUC of \
         0.5 is guessing. A rate that the sample is too small for is left out.",
        "If a claimed epsilon holds, no attack finds more members than the ceiling. One whose whole interval lies above \
         it refutes the claim.",
    ];
    let literals = on_inverted
        .into_iter()
        .filter(|_| inverted)
        .chain(on_inferred.into_iter().filter(|_| inferred));
    points.extend(literals.map(str::to_owned));
    if !report.audits.is_empty() {
        points.push(
            "An audit bounds epsilon from below, with its confidence; the analytic epsilon bounds it from above. A small \
             lower bound does not make the analytic one smaller."
                .to_owned(),
        );
    }
    points
}

fn band_chip(band: Band) -> Chip {
    let (class, sign) = match band {
        Band::Exact | Band::Recognisable => ("bad", "\u{25cf}"),
        Band::Partial => ("fair", "\u{25d0}"),
        Band::NoneFound => ("good", "\u{25cb}"),
        Band::AttackFailed => ("mute", "\u{2715}"),
        Band::NotRun => ("mute", "\u{2013}"),
    };
    Chip {
        class,
        sign,
        text: band.words(),
    }
}

fn membership_chip(verdict: MembershipVerdict) -> Chip {
    let (class, sign) = match verdict {
        MembershipVerdict::AboveCeiling => ("bad", "\u{2715}"),
        MembershipVerdict::Strong => ("bad", "\u{25cf}"),
        MembershipVerdict::Leaks => ("fair", "\u{25d0}"),
        MembershipVerdict::NoneFound => ("good", "\u{25cb}"),
        MembershipVerdict::NotRun => ("mute", "\u{2013}"),
    };
    Chip {
        class,
        sign,
        text: verdict.words(),
    }
}

/// A figure in dB with its unit.
fn decibels(value: f64) -> String {
    match figure(value, 1).as_str() {
        "" => "no figure".to_owned(),
        text => format!("{text}\u{a0}dB"),
    }
}

/// A figure of a table; nothing where it was not measured.
fn figure(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return String::new();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "\u{221e}"
        } else {
            "\u{2212}\u{221e}"
        }
        .to_owned();
    }
    if value.abs() >= 1e6 {
        return format::plain(value);
    }
    let text = format!("{value:.digits$}");
    // A minus sign as wide as the figures; none for what rounds to 0.
    match text.strip_prefix('-') {
        Some(size) if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) => size.to_owned(),
        Some(size) => format!("\u{2212}{size}"),
        None => text,
    }
}

/// A share of a table as a percentage without its sign; nothing where it was not measured.
fn share(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return String::new();
    }
    format!("{}\u{a0}%", figure(value * 100.0, digits))
}

fn epsilon(value: Option<f64>) -> String {
    value.map_or_else(String::new, cloister_privacy::rounded_up)
}

/// The name of a defence, and whether the row is about the run itself.
fn defence(name: &str, what_if: bool) -> (String, String) {
    let own = if what_if { "" } else { "this run" };
    (format::shortened(name, 60), own.to_owned())
}

/// What comes of more rows than are shown.
fn left_out(count: usize) -> Option<String> {
    let more = count.checked_sub(MOST_ROWS).filter(|&more| more > 0)?;
    let more = counted(more as u64, "more row", "more rows");
    Some(format!("And {more}; leakage.json has all."))
}
