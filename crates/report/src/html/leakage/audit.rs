//! Measured against analytic epsilon, and what the guard made of malicious models.

use super::super::page::{Chip, Judged, JudgedGroup, JudgedRow, Section, Table, strings};
use super::{MOST_CHARS, MOST_ROWS, epsilon, figure, left_out, rounded_down};
use crate::chart::{Inline, InlineAxis};
use crate::format;
use crate::record::leakage::{AuditRow, LeakageReport};

pub(super) fn section(report: &LeakageReport) -> Option<Section> {
    if report.audits.is_empty() {
        return None;
    }
    let values = |row: &AuditRow| [row.lower_bound, row.estimate, row.claim];
    let finite = report
        .audits
        .iter()
        .flat_map(values)
        .flatten()
        .filter(|value| value.is_finite());
    let axis = axis(finite.fold(0.0, f64::max));
    let mut table = Judged {
        words: vec!["method", "whose data"],
        picture: ("\u{3b5}, measured and claimed", axis.labels()),
        figures: vec![
            "\u{3b5} at least",
            "estimate",
            "\u{3b5} claimed",
            "\u{3b4}",
            "confidence",
            "canaries",
            "guesses",
            "right",
            "time",
        ],
        groups: vec![JudgedGroup {
            title: String::new(),
            rows: report
                .audits
                .iter()
                .take(MOST_ROWS)
                .map(|row| judged(row, &axis))
                .collect(),
        }],
        ..Judged::default()
    };
    table.drop_empty_columns();
    let mut notes = vec![
        "The dot is the lower bound, the ring an estimate, which bounds nothing; the dashed line is the analytic epsilon that \
         the run claims."
            .to_owned(),
    ];
    notes.extend(left_out(report.audits.len()));
    table.note = notes.join(" ");
    Some(Section {
        heading: "Audit: epsilon, measured",
        judged: vec![table],
        ..Section::default()
    })
}

/// From 0 to a little above the largest figure.
fn axis(largest: f64) -> InlineAxis {
    const LABELS: [(f64, [(f64, &str); 3]); 6] = [
        (1.0, [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]),
        (2.0, [(0.0, "0"), (1.0, "1"), (2.0, "2")]),
        (4.0, [(0.0, "0"), (2.0, "2"), (4.0, "4")]),
        (8.0, [(0.0, "0"), (4.0, "4"), (8.0, "8")]),
        (20.0, [(0.0, "0"), (10.0, "10"), (20.0, "20")]),
        (100.0, [(0.0, "0"), (50.0, "50"), (100.0, "100")]),
    ];
    static TICKS: [(f64, [(f64, &str); 3]); 6] = LABELS;
    let fits = |(to, _): &&(f64, _)| *to * 1.1 >= largest;
    let (to, ticks) = TICKS.iter().find(fits).unwrap_or(&TICKS[TICKS.len() - 1]);
    InlineAxis {
        from: 0.0,
        to: to * 1.15,
        zones: &[],
        ticks,
    }
}

fn judged(row: &AuditRow, axis: &InlineAxis) -> JudgedRow {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| figure(value, 2));
    let chip = match (row.passed, row.claim, row.lower_bound) {
        (false, ..) => Chip {
            class: "bad",
            sign: "\u{2715}",
            text: "above the claim",
        },
        (true, None, _) => Chip {
            class: "mute",
            sign: "\u{2013}",
            text: "nothing claimed",
        },
        (true, Some(_), None) => Chip {
            class: "mute",
            sign: "\u{2013}",
            text: "no bound",
        },
        (true, Some(_), Some(_)) => Chip {
            class: "good",
            sign: "\u{25cb}",
            text: "within the claim",
        },
    };
    let picture = axis.cell(&Inline {
        span: row.lower_bound.map(|bound| (0.0, bound)),
        hollow: row.estimate,
        solid: row.lower_bound,
        reference: row.claim,
        class: if row.lower_bound.is_some() {
            chip.class
        } else {
            "mute"
        },
        hint: format!(
            "epsilon: at least {}, estimate {}, claimed {}",
            row.lower_bound
                .map_or_else(|| "none".to_owned(), rounded_down),
            number(row.estimate),
            epsilon(row.claim)
        ),
    });
    let guessed = |value: u32| {
        if row.guesses > 0 {
            format::count(u64::from(value))
        } else {
            String::new()
        }
    };
    JudgedRow {
        words: vec![
            (
                format::shortened(&row.method, 60),
                format::shortened(row.note.as_deref().unwrap_or_default(), 200),
            ),
            (
                format!("one {}", format::shortened(&row.unit, 40)),
                String::new(),
            ),
        ],
        chip,
        picture,
        figures: vec![
            row.lower_bound.map_or_else(String::new, rounded_down),
            number(row.estimate),
            epsilon(row.claim),
            // A hyphen that does not end a line.
            cloister_privacy::rounded_up(row.delta).replace('-', "\u{2011}"),
            format::percent(row.confidence),
            format::count(u64::from(row.canaries)),
            guessed(row.guesses),
            guessed(row.correct),
            format::seconds(row.seconds),
        ],
        strong: false,
    }
}

pub(super) fn guards(report: &LeakageReport) -> Option<Section> {
    if report.guards.is_empty() {
        return None;
    }
    let rows = report.guards.iter().take(MOST_ROWS).map(|row| {
        let standing = if row.flagged {
            "\u{2713}\u{a0}refused"
        } else {
            "\u{2715}\u{a0}not\u{a0}noticed"
        };
        let texts = [standing, &row.attack, &row.finding];
        texts
            .map(|text| format::shortened(text, MOST_CHARS))
            .to_vec()
    });
    Some(Section {
        heading: "Malicious models, and the client\u{2019}s guard",
        tables: vec![Table {
            head: strings(["", "model", "finding"]),
            words: 3,
            rows: rows.collect(),
            note: "A malicious server can send a model that is made to leak. The guard of a client looks at a model before it \
                   trains on it."
                .to_owned(),
            ..Table::default()
        }],
        ..Section::default()
    })
}
