//! Membership and property inference: tables, and the curves on which they are judged.

use super::super::page::{
    Figure, Judged, JudgedGroup, JudgedRow, Key, Section, Table, Tile, strings,
};
use super::{MOST_CHARS, MOST_ROWS, defence, epsilon, figure, left_out, membership_chip, share};
use crate::chart::{COLOURS, Inline, InlineAxis, RocChart, RocCurve};
use crate::format;
use crate::record::leakage::{Estimate, LeakageReport, MembershipRow, MembershipVerdict};

const MOST_CHARTS: usize = 8;

const AUC: InlineAxis = InlineAxis {
    from: 0.45,
    to: 1.0,
    zones: &[0.5, 0.55],
    ticks: &[(0.5, "0.5"), (0.75, "0.75"), (0.98, "1")],
};

pub(super) fn section(report: &LeakageReport) -> Option<Section> {
    let rows = &report.memberships;
    if rows.is_empty() {
        return None;
    }
    Some(Section {
        heading: "Membership: who was in the training data",
        judged: vec![table(rows)],
        figures: curves(report),
        tables: classes(rows).into_iter().collect(),
        ..Section::default()
    })
}

/// The tile about the worst inference on the run itself.
pub(super) fn tile(report: &LeakageReport) -> Option<Tile> {
    let row = report
        .worst_inferred()
        .filter(|row| row.verdict > MembershipVerdict::NotRun)?;
    let mut note = "0.5 is guessing".to_owned();
    let rates = [(row.tpr_01, "0.1"), (row.tpr_1, "1")];
    if let Some((rate, alarms)) = rates
        .into_iter()
        .find_map(|(rate, alarms)| Some((rate?, alarms)))
    {
        note.push_str(&format!(
            "; {} of the members found at {alarms}\u{a0}% false alarms",
            share(rate.value, 1)
        ));
    }
    Some(Tile {
        name: "Membership, AUC",
        value: figure(row.auc.value, 3),
        note,
    })
}

fn table(rows: &[MembershipRow]) -> Judged {
    let mut groups: Vec<JudgedGroup> = Vec::new();
    for row in rows.iter().take(MOST_ROWS) {
        let title = format!("on {}", format::shortened(&row.target, 80));
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.rows.push(judged(row)),
            None => groups.push(JudgedGroup {
                title,
                rows: vec![judged(row)],
            }),
        }
    }
    for group in &mut groups {
        group.rows.sort_by_key(|row| !row.strong);
    }
    let mut table = Judged {
        title: "Attacks and defences".to_owned(),
        words: vec!["defence", "attack"],
        picture: ("AUC with its interval", AUC.labels()),
        figures: vec![
            "AUC",
            "balanced accuracy",
            "found at 1\u{a0}%",
            "ceiling at 1\u{a0}%",
            "found at 0.1\u{a0}%",
            "ceiling at 0.1\u{a0}%",
            "accuracy",
            "\u{3b5}",
            "time",
        ],
        groups,
        ..Judged::default()
    };
    table.drop_empty_columns();
    let mut notes = vec![
        "Scored: members + others. Found at 1\u{a0}%: share of the members found when 1\u{a0}% of the others are taken for members too, with its \
         95\u{a0}% interval. Ceiling: the most that any attack finds if the claimed epsilon holds."
            .to_owned(),
    ];
    notes.extend(refusals(rows));
    notes.extend(left_out(rows.len()));
    table.note = notes.join(" ");
    table
}

/// Why rates are left out, each reason once.
fn refusals(rows: &[MembershipRow]) -> Option<String> {
    const MOST_REASONS: usize = 4;
    let mut reasons: Vec<&str> = Vec::new();
    let ran = rows
        .iter()
        .filter(|row| row.verdict > MembershipVerdict::NotRun);
    for reason in ran.filter_map(|row| row.refused.as_deref()) {
        if !reasons.contains(&reason) && reasons.len() < MOST_REASONS {
            reasons.push(reason);
        }
    }
    let text = format::shortened(&reasons.join("; "), MOST_CHARS);
    (!reasons.is_empty()).then(|| format!("Rates left out: {text}."))
}

fn judged(row: &MembershipRow) -> JudgedRow {
    let ran = row.verdict > MembershipVerdict::NotRun;
    let rate = |value: Option<Estimate>| {
        value.filter(|_| ran).map_or_else(String::new, |rate| {
            format!(
                "{} ({}\u{2060}\u{2013}\u{2060}{})",
                share(rate.value, 1),
                figure(rate.low * 100.0, 1),
                figure(rate.high * 100.0, 1)
            )
        })
    };
    let optional = |value: Option<f64>| value.map_or_else(String::new, |value| share(value, 1));
    let number = |value: f64| if ran { figure(value, 3) } else { String::new() };
    let count = |value: u32| format::count(u64::from(value));
    let scored = format!(
        "{}\u{a0}+\u{a0}{} scored",
        count(row.members),
        count(row.nonmembers)
    );
    // Why a rate is left out is said once, below the table.
    let refused = row.refused.iter().filter(|_| !ran);
    let scored = Some(&scored).filter(|_| ran);
    let remarks: Vec<String> = scored
        .into_iter()
        .chain(refused)
        .chain(&row.note)
        .cloned()
        .collect();
    JudgedRow {
        words: vec![
            defence(&row.defence, row.what_if),
            (
                format::shortened(&row.attack, 60),
                format::shortened(&remarks.join(". "), 200),
            ),
        ],
        chip: membership_chip(row.verdict),
        picture: if ran { interval(row) } else { String::new() },
        figures: vec![
            number(row.auc.value),
            number(row.balanced_accuracy),
            rate(row.tpr_1),
            optional(row.ceiling_1),
            rate(row.tpr_01),
            optional(row.ceiling_01),
            optional(row.accuracy),
            epsilon(row.epsilon),
            if ran {
                format::seconds(row.seconds)
            } else {
                String::new()
            },
        ],
        strong: !row.what_if,
    }
}

fn interval(row: &MembershipRow) -> String {
    AUC.cell(&Inline {
        span: Some((row.auc.low, row.auc.high)),
        solid: Some(row.auc.value),
        reference: Some(0.5),
        class: membership_chip(row.verdict).class,
        hint: format!(
            "AUC {} ({} to {})",
            figure(row.auc.value, 3),
            figure(row.auc.low, 3),
            figure(row.auc.high, 3)
        ),
        ..Inline::default()
    })
}

/// A chart for each target and defence, with a curve an attack.
fn curves(report: &LeakageReport) -> Vec<Figure> {
    let mut charts: Vec<Vec<&MembershipRow>> = Vec::new();
    for row in report.memberships.iter().filter(|row| row.roc.len() > 1) {
        let key = |row: &MembershipRow| (row.target.clone(), row.defence.clone(), row.what_if);
        match charts.iter_mut().find(|rows| key(rows[0]) == key(row)) {
            Some(rows) => rows.push(row),
            None => charts.push(vec![row]),
        }
    }
    charts
        .iter()
        .take(MOST_CHARTS)
        .filter_map(|rows| chart(rows, report.subject.delta))
        .collect()
}

fn chart(rows: &[&MembershipRow], delta: Option<f64>) -> Option<Figure> {
    let first = rows.first()?;
    let own = if first.what_if { "" } else { ", this run" };
    let heading = format!(
        "On {}, defence: {}{own}",
        format::shortened(&first.target, 60),
        format::shortened(&first.defence, 60)
    );
    let shown = rows.iter().take(COLOURS);
    let curves: Vec<RocCurve> = shown
        .clone()
        .enumerate()
        .map(|(index, row)| RocCurve {
            label: format::shortened(&row.attack, 60),
            class: format!("s{index}"),
            points: row.roc.clone(),
            intervals: intervals(row),
        })
        .collect();
    let ceiling = rows
        .iter()
        .map(|row| ceiling(row, delta))
        .find(|curve| !curve.is_empty())
        .unwrap_or_default();
    let most = rows
        .iter()
        .map(|row| row.nonmembers)
        .max()
        .unwrap_or(0)
        .max(1);
    let svg = RocChart {
        title: heading.clone(),
        curves: &curves,
        ceiling: &ceiling,
        least: 1.0 / f64::from(most),
    }
    .draw()?;
    let keys = shown.zip(&curves).map(|(row, curve)| Key {
        class: curve.class.clone(),
        label: curve.label.clone(),
        value: format!("AUC {}", figure(row.auc.value, 3)),
        dashed: false,
        dot: false,
    });
    let mut notes = vec!["Both axes are logarithmic; whiskers are 95\u{a0}% intervals.".to_owned()];
    match first.epsilon {
        Some(value) if !ceiling.is_empty() => notes.push(format!(
            "Dotted: the ceiling of \u{3b5} = {}.",
            cloister_privacy::rounded_up(value)
        )),
        _ if !ceiling.is_empty() => notes.push("Dotted: the ceiling of the claim.".to_owned()),
        _ => notes.push("No claim limits these curves.".to_owned()),
    }
    if rows.len() > COLOURS {
        notes.push(format!("{} more not shown.", rows.len() - COLOURS));
    }
    Some(Figure {
        heading,
        keys: keys.collect(),
        svg,
        note: notes.join(" "),
    })
}

fn intervals(row: &MembershipRow) -> Vec<[f64; 4]> {
    let at = |alarms: f64, rate: Option<Estimate>| {
        rate.map(|rate| [alarms, rate.value, rate.low, rate.high])
    };
    [at(0.001, row.tpr_01), at(0.01, row.tpr_1)]
        .into_iter()
        .flatten()
        .collect()
}

/// The row's own ceiling, or the two rates that it states; or else that of its epsilon at the run's delta (Kairouz, Oh and
/// Viswanath 2015, for one mechanism): min(e^eps f + delta, 1 - e^-eps (1 - delta - f)).
fn ceiling(row: &MembershipRow, delta: Option<f64>) -> Vec<[f64; 2]> {
    if !row.ceiling.is_empty() {
        return row.ceiling.clone();
    }
    let stated = [(0.001, row.ceiling_01), (0.01, row.ceiling_1)];
    let stated: Vec<[f64; 2]> = stated
        .into_iter()
        .filter_map(|(alarms, most)| Some([alarms, most?]))
        .collect();
    if !stated.is_empty() {
        return stated;
    }
    let claim = row
        .epsilon
        .zip(delta)
        .filter(|(epsilon, delta)| epsilon.is_finite() && delta.is_finite());
    let Some((epsilon, delta)) = claim else {
        return Vec::new();
    };
    let steps = 0..=100;
    let rates = steps.map(|step| 10f64.powf(-5.0 + f64::from(step) / 20.0));
    let most = |alarms: f64| {
        (epsilon.exp() * alarms + delta).min(1.0 - (-epsilon).exp() * (1.0 - delta - alarms))
    };
    rates
        .map(|alarms| [alarms, most(alarms).clamp(0.0, 1.0)])
        .collect()
}

/// The AUC of every class, an attack a column.
fn classes(rows: &[MembershipRow]) -> Option<Table> {
    const MOST_COLUMNS: usize = 10;
    let with: Vec<&MembershipRow> = rows
        .iter()
        .filter(|row| !row.classes.is_empty())
        .take(MOST_COLUMNS)
        .collect();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in with.iter().flat_map(|row| &row.classes) {
        if names.len() < MOST_ROWS && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    let of = |row: &MembershipRow, name: &String| {
        let class = row.classes.iter().find(|(known, _)| known == name);
        class.map_or_else(String::new, |&(_, auc)| figure(auc, 3))
    };
    let line = |name: &&String| {
        let figures = with.iter().map(|row| of(row, name));
        std::iter::once(format::shortened(name, 60))
            .chain(figures)
            .collect()
    };
    let heads = with
        .iter()
        .map(|row| format::shortened(&format!("{}, {}", row.attack, row.defence), 40));
    Some(Table {
        title: "AUC of each class".to_owned(),
        folded: true,
        head: std::iter::once("class".to_owned()).chain(heads).collect(),
        words: 1,
        rows: names.iter().map(line).collect(),
        ..Table::default()
    })
}

pub(super) fn properties(report: &LeakageReport) -> Option<Section> {
    if report.properties.is_empty() {
        return None;
    }
    let rows = report.properties.iter().take(MOST_ROWS).map(|row| {
        let words = [&row.attack, &row.target].map(|text| format::shortened(text, 80));
        let figures = [
            format::plain(row.error),
            format::plain(row.floor),
            figure(row.cosine, 3),
            share(row.dominant, 0),
            format::shortened(row.note.as_deref().unwrap_or_default(), MOST_CHARS),
        ];
        words.into_iter().chain(figures).collect()
    });
    let mut table = Table {
        head: strings(["attack", "on", "squared error", "of guessing", "cosine", "largest class right", ""]),
        words: 2,
        rows: rows.collect(),
        note: "Shares of the labels of a client, estimated from what it sent; guessing gives every client the mix of the whole \
               population."
            .to_owned(),
        ..Table::default()
    };
    // Remarks are words, and would be set as figures in the last column.
    let remarks: Vec<String> = table
        .rows
        .iter_mut()
        .filter_map(Vec::pop)
        .filter(|note| !note.is_empty())
        .collect();
    table.head.pop();
    for remark in remarks {
        table.note.push_str(&format!(" {remark}"));
    }
    Some(Section {
        heading: "Property: a client\u{2019}s mix of labels",
        tables: vec![table],
        ..Section::default()
    })
}
