//! What the monitor flagged: who, when and why, and how each flagged client lay beside its cohort, round by round.

use std::collections::BTreeMap;

use super::kept::malicious_names;
use super::page::{Badge, Figure, Key, Section, Table, strings};
use crate::chart::{Axis, LineChart, Series, Unit};
use crate::format::{self, counted};
use crate::record::{AnomalyFlag, Event, ReplyRow, RunRecord};

/// Clients with a picture of their own at most.
const MOST_PICTURES: usize = 6;
/// Rows of the table at most.
const MOST_ROWS: usize = 40;
/// Characters of a sentence.
const MOST_TEXT: usize = 300;

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let info = record
        .summary
        .as_ref()
        .and_then(|summary| summary.anomalies.as_ref());
    let flags: Vec<(&Event, AnomalyFlag)> = record
        .events
        .iter()
        .filter_map(|event| Some((event, AnomalyFlag::of(event)?)))
        .collect();
    if info.is_none() && flags.is_empty() {
        return None;
    }
    let mut section = Section {
        heading: "Anomalies",
        badge: Some(badge(&flags)),
        ..Section::default()
    };
    section.sentences.extend(against_the_truth(record, &flags));
    section
        .sentences
        .extend(info.into_iter().flat_map(|info| info.scope.clone()));
    if !flags.is_empty() {
        section.tables.push(table(&flags));
        section.sentences.push(
            "A flag says that something is unusual, not that somebody is malicious: a client whose data differ from the others' looks \
             the same. Flags changed nothing in the run."
                .to_owned(),
        );
    }
    let threshold = info
        .map(|info| info.deviation)
        .or_else(|| threshold(&flags));
    if let Some(threshold) = threshold {
        section.figures = pictures(record, &flags, threshold);
    }
    Some(section)
}

fn badge(flags: &[(&Event, AnomalyFlag)]) -> Badge {
    let clients: BTreeMap<&str, ()> = flags
        .iter()
        .filter_map(|(event, _)| Some((event.client.as_deref()?, ())))
        .collect();
    if flags.is_empty() {
        return Badge {
            class: "good",
            sign: "\u{2713}",
            text: "Nothing was flagged".to_owned(),
        };
    }
    let about = match clients.len() as u64 {
        0 => "about the run as a whole".to_owned(),
        some => format!("about {}", counted(some, "client", "clients")),
    };
    Badge {
        class: "fair",
        sign: "!",
        text: format!("{} {about}", counted(flags.len() as u64, "flag", "flags")),
    }
}

/// How flags compare with what a simulation knows.
fn against_the_truth(record: &RunRecord, flags: &[(&Event, AnomalyFlag)]) -> Option<String> {
    let malicious = malicious_names(record);
    let attack = record.summary.as_ref()?.attack.as_ref()?;
    let mut flagged: Vec<&str> = flags
        .iter()
        .filter_map(|(event, _)| event.client.as_deref())
        .collect();
    flagged.sort_unstable();
    flagged.dedup();
    let hit = flagged.iter().filter(|name| malicious.contains(*name));
    let hit = hit.count();
    Some(format!(
        "{hit} of the {} and {} were flagged.",
        counted(
            malicious.len() as u64,
            "malicious client",
            "malicious clients"
        ),
        match flagged.len() - hit {
            0 => format!(
                "none of the {}",
                counted(
                    u64::from(attack.of).saturating_sub(malicious.len() as u64),
                    "honest one",
                    "honest ones"
                )
            ),
            some => counted(some as u64, "honest one", "honest ones"),
        }
    ))
}

/// The flags in their order.
fn table(flags: &[(&Event, AnomalyFlag)]) -> Table {
    let row = |(event, flag): &(&Event, AnomalyFlag)| {
        vec![
            format::shortened(event.client.as_deref().unwrap_or("the run"), 60),
            flag.rule.clone(),
            format::shortened(&event.message, MOST_TEXT),
            event.round.to_string(),
            format::plain(flag.value),
            format::plain(flag.threshold),
            flag.usual.map_or_else(String::new, format::plain),
        ]
    };
    let more = flags.len().saturating_sub(MOST_ROWS);
    Table {
        title: "What, when and why".to_owned(),
        head: strings(["who", "rule", "why", "round", "value", "threshold", "usual"]),
        words: 3,
        rows: flags.iter().take(MOST_ROWS).map(row).collect(),
        note: match more {
            0 => String::new(),
            more => format!(
                "And {} more in events.jsonl.",
                counted(more as u64, "flag", "flags")
            ),
        },
        ..Table::default()
    }
}

fn threshold(flags: &[(&Event, AnomalyFlag)]) -> Option<f64> {
    let judged = |flag: &AnomalyFlag| ["norm", "direction", "loss"].contains(&flag.rule.as_str());
    flags
        .iter()
        .find(|(_, flag)| judged(flag))
        .map(|(_, flag)| flag.threshold)
}

/// A picture for each client that was flagged for how it lay beside the others, in the order of the flags.
fn pictures(record: &RunRecord, flags: &[(&Event, AnomalyFlag)], threshold: f64) -> Vec<Figure> {
    let mut names: Vec<&str> = Vec::new();
    for (event, flag) in flags {
        let compared = ["norm", "direction", "loss", "drift"].contains(&flag.rule.as_str());
        if let Some(name) = event.client.as_deref().filter(|_| compared)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    let drawn = names.iter().take(MOST_PICTURES);
    drawn
        .filter_map(|name| picture(record, flags, name, threshold))
        .collect()
}

/// A client's deviations over the rounds, between the thresholds.
fn picture(
    record: &RunRecord,
    flags: &[(&Event, AnomalyFlag)],
    name: &str,
    threshold: f64,
) -> Option<Figure> {
    // Beyond this a curve would flatten all others.
    let most = 3.0 * threshold;
    let curve = |label: &str, class: &str, of: fn(&ReplyRow) -> Option<f64>| Series {
        label: label.to_owned(),
        class: class.to_owned(),
        points: record
            .replies
            .iter()
            .filter(|row| row.client == name)
            .filter_map(|row| Some((f64::from(row.round), of(row)?.clamp(-most, most))))
            .collect(),
        ..Series::default()
    };
    let mut series = vec![
        curve("norm", "s0", |row| row.norm_deviation),
        curve("direction", "s1", |row| row.direction_deviation),
        curve("loss", "s2", |row| row.loss_deviation),
    ];
    series.retain(|series| !series.points.is_empty());
    let rounds = || {
        series
            .iter()
            .flat_map(|series| &series.points)
            .map(|(x, _)| *x)
    };
    let (first, last) = (rounds().reduce(f64::min)?, rounds().reduce(f64::max)?);
    let keys = series.iter().map(|series| Key {
        class: series.class.clone(),
        label: series.label.clone(),
        value: series
            .points
            .last()
            .map_or_else(String::new, |(_, y)| format!("{y:.1}")),
        dashed: false,
        dot: false,
    });
    let mut keys: Vec<Key> = keys.collect();
    keys.push(Key {
        class: "rest".to_owned(),
        label: "threshold".to_owned(),
        value: format!("\u{b1}{threshold}"),
        dashed: true,
        dot: false,
    });
    for bound in [threshold, -threshold] {
        series.push(Series {
            label: "threshold".to_owned(),
            class: "rest".to_owned(),
            dashed: true,
            points: vec![(first, bound), (last, bound)],
            ..Series::default()
        });
    }
    let about = flags
        .iter()
        .filter(|(event, _)| event.client.as_deref() == Some(name));
    let marks: Vec<f64> = about.map(|(event, _)| f64::from(event.round)).collect();
    let svg = LineChart {
        title: format!("{} beside its cohort", format::shortened(name, 40)),
        x: Axis {
            label: "round",
            unit: Unit::Count,
        },
        y: Axis {
            label: "robust standard deviations from the cohort's median",
            unit: Unit::Plain,
        },
        series: &series,
        marks: &marks,
        marks_label: "flagged in round",
        start: None,
        from_zero: false,
    }
    .draw()?;
    Some(Figure {
        heading: format!("{} beside its cohort", format::shortened(name, 40)),
        keys,
        svg,
        note: format!(
            "Robust standard deviations from the cohort's median, cut at \u{b1}{most}; triangles mark flags."
        ),
    })
}
