//! What went over the wire, and what went wrong there.

use std::collections::BTreeMap;

use super::page::{Section, Table, strings};
use super::run;
use crate::format::{self, counted};
use crate::record::{Event, HeadlineMetric, Reached, RunRecord, event_kind, reached};

/// Longest name or message that a table shows, in characters.
const MOST_TEXT: usize = 120;

/// Bytes up and down, of all recorded rounds.
pub(super) fn bytes(record: &RunRecord) -> (u64, u64) {
    match &record.summary {
        Some(summary) => (
            summary.communication.bytes_up,
            summary.communication.bytes_down,
        ),
        None => record.rounds.iter().fold((0u64, 0u64), |(up, down), row| {
            (
                up.saturating_add(row.bytes_up),
                down.saturating_add(row.bytes_down),
            )
        }),
    }
}

pub(super) fn communication(record: &RunRecord) -> Section {
    let (up, down) = bytes(record);
    let rounds = record.rounds.iter().filter(|row| row.round > 0).count() as u64;
    let sum = |field: fn(&crate::record::RoundRow) -> u32| -> u64 {
        record.rounds.iter().map(|row| u64::from(field(row))).sum()
    };
    let (asked, accepted) = (sum(|row| row.cohort), sum(|row| row.accepted));
    let mut rows = vec![
        traffic("to the server", up, rounds, asked),
        traffic("from the server", down, rounds, asked),
        traffic("both", up.saturating_add(down), rounds, asked),
    ];
    let mut section = Section {
        heading: "Communication",
        ..Section::default()
    };
    if let Some(summary) = record
        .summary
        .as_ref()
        .filter(|summary| summary.communication.bytes_per_parameter > 0.0)
    {
        section.sentences.push(format!(
            "A reply takes {} bytes per model parameter; the model has {}.",
            format::plain(summary.communication.bytes_per_parameter),
            counted(summary.model.parameters, "parameter", "parameters")
        ));
    }
    section.tables.push(Table {
        head: strings(["", "whole run", "a round", "a client asked"]),
        words: 1,
        rows: std::mem::take(&mut rows),
        ..Table::default()
    });
    let share = |count: u64| {
        let share = if asked == 0 {
            0.0
        } else {
            count as f64 / asked as f64
        };
        vec![format::count(count), format::percent(share)]
    };
    let named = |name: &str, count: u64| [vec![name.to_owned()], share(count)].concat();
    section.tables.extend(levels(record));
    section.tables.push(Table {
        head: strings(["requests to train", "count", "share"]),
        words: 1,
        rows: vec![
            named("sent", asked),
            named("accepted", accepted),
            named("refused", sum(|row| row.refused)),
            named("never answered", sum(|row| row.dropped)),
            named("answered too late", sum(|row| row.late)),
        ],
        ..Table::default()
    });
    section
}

/// What each level of the headline metric had cost when it was first reached.
fn levels(record: &RunRecord) -> Option<Table> {
    let metric = run::metric(record);
    let reached = reached(&record.rounds, metric);
    let row = |level: &Reached| {
        vec![
            run::words(metric, level.level),
            format::count(level.round.into()),
            format::bytes(level.bytes_up),
            format::bytes(level.bytes_down),
            format::seconds(level.seconds),
        ]
    };
    let first = match metric {
        HeadlineMetric::Accuracy => "test accuracy of",
        HeadlineMetric::Auroc => "test AUROC of",
        HeadlineMetric::R2 => "test R\u{b2} of",
    };
    (!reached.is_empty()).then(|| Table {
        head: strings([first, "in round", "sent by clients", "received", "time"]),
        words: 0,
        rows: reached.iter().map(row).collect(),
        note: "The first evaluated round at that level, and all traffic until then.".to_owned(),
        ..Table::default()
    })
}

fn traffic(name: &str, total: u64, rounds: u64, asked: u64) -> Vec<String> {
    let each = |count: u64| {
        total
            .checked_div(count)
            .map_or_else(String::new, format::bytes)
    };
    vec![
        name.to_owned(),
        format::bytes(total),
        each(rounds),
        each(asked),
    ]
}

pub(super) fn refused(record: &RunRecord) -> Section {
    let mut section = Section {
        heading: "Refused replies",
        ..Section::default()
    };
    let counted_in_rounds: u64 = record.rounds.iter().map(|row| u64::from(row.refused)).sum();
    let events: Vec<&Event> = record
        .events
        .iter()
        .filter(|event| event.kind == event_kind::REFUSED)
        .collect();
    if counted_in_rounds == 0 && events.is_empty() {
        section
            .sentences
            .push("Every reply passed the checks.".to_owned());
        return section;
    }
    section.sentences.push(format!(
        "{} refused and left out of the model; the rounds went on without them.",
        counted(
            counted_in_rounds.max(events.len() as u64),
            "reply was",
            "replies were"
        )
    ));
    if events.is_empty() {
        section
            .sentences
            .push("The reasons are not on record.".to_owned());
        return section;
    }
    section.tables.push(by_reason(&events));
    section.tables.push(by_client(&events));
    section
}

fn by_reason(events: &[&Event]) -> Table {
    let mut reasons: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        reasons.entry(reason(event)).or_default().push(event);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, events)| (std::cmp::Reverse(events.len()), *reason));
    let row = |(reason, events): &(&str, Vec<&Event>)| {
        let mut clients: Vec<_> = events
            .iter()
            .filter_map(|event| event.client.as_ref())
            .collect();
        clients.sort_unstable();
        clients.dedup();
        vec![
            format::shortened(reason, MOST_TEXT),
            events.first().map_or_else(String::new, |event| {
                format::shortened(&event.message, MOST_TEXT)
            }),
            format::count(events.len() as u64),
            format::count(clients.len() as u64),
        ]
    };
    Table {
        title: "By reason".to_owned(),
        head: strings(["reason", "first case", "replies", "clients"]),
        words: 2,
        rows: reasons.iter().take(20).map(row).collect(),
        ..Table::default()
    }
}

fn by_client(events: &[&Event]) -> Table {
    const MOST: usize = 20;
    let mut clients: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for event in events {
        let client = event.client.as_deref().unwrap_or("not known");
        *clients
            .entry(client)
            .or_default()
            .entry(reason(event))
            .or_default() += 1;
    }
    let mut clients: Vec<(u64, &str, String)> = clients
        .into_iter()
        .map(|(client, reasons)| {
            let words: Vec<String> = reasons
                .iter()
                .take(6)
                .map(|(reason, count)| format!("{} ({count})", format::shortened(reason, 40)))
                .collect();
            (reasons.values().sum(), client, words.join(", "))
        })
        .collect();
    clients.sort_by_key(|&(count, client, _)| (std::cmp::Reverse(count), client));
    let note = match clients.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(
            "And {} with fewer; events.jsonl has all.",
            counted(more as u64, "client", "clients")
        ),
    };
    let row = |(count, client, reasons): &(u64, &str, String)| {
        vec![
            format::shortened(client, 60),
            reasons.clone(),
            format::count(*count),
        ]
    };
    Table {
        title: "By client".to_owned(),
        head: strings(["client", "reasons", "replies"]),
        words: 2,
        rows: clients.iter().take(MOST).map(row).collect(),
        note,
        ..Table::default()
    }
}

/// The short word that a host put in the detail, or else the message.
fn reason(event: &Event) -> &str {
    event
        .detail
        .get("reason")
        .and_then(|reason| reason.as_str())
        .unwrap_or(&event.message)
}

pub(super) fn abandoned(record: &RunRecord) -> Option<Section> {
    const MOST: usize = 20;
    let rounds = run::abandoned_rounds(record);
    if rounds.is_empty() {
        return None;
    }
    let mut section = Section {
        heading: "Abandoned rounds",
        ..Section::default()
    };
    let verb = if rounds.len() == 1 {
        "round was"
    } else {
        "rounds were"
    };
    let shown = &rounds[..rounds.len().min(200)];
    let more = if shown.len() < rounds.len() {
        " and later ones"
    } else {
        ""
    };
    section.sentences.push(format!(
        "{} {verb} abandoned ({}{more}): the model stayed as it was and the run went on.",
        format::count(rounds.len() as u64),
        format::ranges(shown)
    ));
    let events = record
        .events
        .iter()
        .filter(|event| event.kind == event_kind::ABANDONED);
    section.bullets = events
        .take(MOST)
        .map(|event| {
            format!(
                "Round {}: {}.",
                event.round,
                format::shortened(&event.message, MOST_TEXT)
            )
        })
        .collect();
    if rounds.len() > section.bullets.len() && section.bullets.len() == MOST {
        section
            .bullets
            .push("events.jsonl has the others.".to_owned());
    }
    Some(section)
}

/// Whatever else happened, counted by kind.
pub(super) fn other_events(record: &RunRecord) -> Option<Section> {
    let shown_elsewhere = [
        event_kind::REFUSED,
        event_kind::ABANDONED,
        event_kind::ANOMALY,
    ];
    let mut kinds: BTreeMap<&str, (u64, &Event)> = BTreeMap::new();
    for event in record
        .events
        .iter()
        .filter(|event| !shown_elsewhere.contains(&event.kind.as_str()))
    {
        kinds.entry(&event.kind).or_insert((0, event)).0 += 1;
    }
    if kinds.is_empty() {
        return None;
    }
    let row = |(kind, (count, first)): (&&str, &(u64, &Event))| {
        let who = first
            .client
            .as_ref()
            .map_or_else(String::new, |client| format!(", {client}"));
        let case = format!("round {}{who}: {}", first.round, first.message);
        vec![
            format::shortened(kind, 40),
            format::shortened(&case, MOST_TEXT),
            format::count(*count),
        ]
    };
    let table = Table {
        head: strings(["event", "first case", "count"]),
        words: 2,
        rows: kinds.iter().take(30).map(row).collect(),
        ..Table::default()
    };
    Some(Section {
        heading: "Other events",
        tables: vec![table],
        ..Section::default()
    })
}
