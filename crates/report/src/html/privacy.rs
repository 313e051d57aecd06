//! What the run promises about privacy: the claim, what it rests on, what would void it, and how it was spent.

use cloister_privacy::{Assumption, Claim, Standing, State, Statement, Unit as Whose};
use cloister_privacy::{found_words, rounded_up};

use super::page::{Badge, Figure, List, Section, Table, Tile, strings};
use super::run;
use crate::chart::{Axis, DotRows, LineChart, Series, Unit};
use crate::format::{self, counted};
use crate::record::{HeadlineMetric, PrivacyInfo, RoundRow, RunRecord};

/// Clients that are shown; the others are counted.
const MOST_CLIENTS: usize = 20;

/// Assumptions or voids that are shown, and characters of each: more than any mechanism has.
const MOST_POINTS: usize = 60;
const MOST_CHARS: usize = 1_000;

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let privacy = record
        .summary
        .as_ref()
        .and_then(|summary| summary.privacy.as_ref());
    let spent = record.rounds.iter().any(|row| row.epsilon.is_some());
    if privacy.is_none() && (!spent || record.summary.is_some()) {
        return None;
    }
    let mut section = Section {
        heading: "Privacy",
        figures: figures(record, privacy),
        ..Section::default()
    };
    let Some(privacy) = privacy else {
        let sentence =
            "The run says when it ends what it may claim. So far it has the accounting below.";
        section.sentences.push(sentence.to_owned());
        return Some(section);
    };
    let statement = &privacy.statement;
    section.badge = Some(badge(statement));
    section.sentences.push(statement.sentence());
    if let (State::PrivateWeakerUnit, Some(reason)) = (statement.verdict(), &statement.reason) {
        section.sentences.push(format!(
            "Weaker unit: {}.",
            format::shortened(reason, MOST_CHARS)
        ));
    }
    section.tiles = tiles(statement);
    section.figures.extend(clients(statement));
    if !statement.voids.is_empty() {
        section.lists.push(List {
            title: "What voids the promise, or would",
            items: points(&statement.voids),
        });
    }
    section.tables.extend(assumptions(statement));
    section.tables.push(facts(statement));
    section.tables.extend(client_table(statement));
    Some(section)
}

/// The tile at the top of the page.
pub(super) fn tile(privacy: Option<&PrivacyInfo>) -> Tile {
    let name = "Differential privacy";
    let Some(privacy) = privacy else {
        return Tile {
            name,
            value: "none".to_owned(),
            note: "no formal guarantee".to_owned(),
        };
    };
    let statement = &privacy.statement;
    if let Some(claim) = statement.claimed() {
        let whom = match statement.unit {
            Whose::Client => "one client",
            Whose::Example => "one example",
        };
        return Tile {
            name,
            value: format!("\u{3b5} = {}", rounded_up(claim.epsilon)),
            note: format!("\u{3b4} = {}, protects {whom}", rounded_up(claim.delta)),
        };
    }
    let accounted = statement.accounted_claim().map(|claim| {
        format!(
            "accounted, were the noise secret: \u{3b5} = {}, \u{3b4} = {}",
            rounded_up(claim.epsilon),
            rounded_up(claim.delta)
        )
    });
    Tile {
        name,
        value: "not private".to_owned(),
        note: accounted.unwrap_or_else(|| "no finite \u{3b5} can be claimed".to_owned()),
    }
}

fn badge(statement: &Statement) -> Badge {
    let (class, sign) = match statement.verdict() {
        State::Private => ("good", "\u{2713}"),
        State::PrivateWeakerUnit => ("fair", "\u{25d0}"),
        State::NotPrivate => ("bad", "\u{2715}"),
    };
    Badge {
        class,
        sign,
        text: format::shortened(&statement.title(), MOST_CHARS),
    }
}

/// The figures of the claim, or of the accounting where nothing can be claimed.
fn tiles(statement: &Statement) -> Vec<Tile> {
    let tile = |name, value, note: String| Tile { name, value, note };
    let mut tiles = Vec::new();
    match statement.claimed() {
        Some(claim) => {
            let note = format!("\u{3b4} = {}; rounded up", rounded_up(claim.delta));
            tiles.push(tile("Claimed epsilon", rounded_up(claim.epsilon), note));
            tiles.extend(reading(claim, statement.unit));
        }
        None => {
            let note = "nothing can be claimed".to_owned();
            tiles.push(tile("Claimed epsilon", "infinite".to_owned(), note));
            if let Some(claim) = statement.accounted_claim() {
                let note = format!(
                    "were the noise secret, at \u{3b4} = {}",
                    rounded_up(claim.delta)
                );
                tiles.push(tile("Accounted epsilon", rounded_up(claim.epsilon), note));
                for mut tile in reading(claim, statement.unit) {
                    tile.note.push_str("; were the noise secret");
                    tiles.push(tile);
                }
            }
        }
    }
    tiles
}

/// What helps to read an epsilon.
fn reading(claim: &Claim, unit: Whose) -> Vec<Tile> {
    let tile = |name, value, note: String| Tile { name, value, note };
    let mut tiles = Vec::new();
    if claim.delta > 0.0 {
        tiles.push(tile(
            "Epsilon at a tenth of delta",
            rounded_up(claim.epsilon_tenth_delta),
            format!("\u{3b4} = {}", claim.tenth_delta()),
        ));
    }
    tiles.push(tile(
        "Independent bound",
        rounded_up(claim.epsilon_rdp),
        "epsilon by R\u{e9}nyi divergences".to_owned(),
    ));
    let whom = match unit {
        Whose::Client => "of the clients that took part",
        Whose::Example => "of the training examples",
    };
    let found = |share| found_words(share).replace(' ', "\u{a0}");
    tiles.push(tile(
        "Found by any attack, at most",
        found(claim.found_at_0_1_percent),
        format!(
            "{whom}, with 0.1\u{a0}% false alarms; {} with 1\u{a0}%",
            found(claim.found_at_1_percent)
        ),
    ));
    tiles
}

fn figures(record: &RunRecord, privacy: Option<&PrivacyInfo>) -> Vec<Figure> {
    let claimed = privacy.is_some_and(|privacy| privacy.statement.claimed().is_some());
    let label = if claimed {
        "epsilon"
    } else {
        "accounted epsilon"
    };
    let delta = privacy.and_then(|privacy| privacy.statement.accounted_claim());
    let delta = delta.map_or_else(String::new, |claim| {
        format!(", at \u{3b4} = {}", rounded_up(claim.delta))
    });
    let note = format!("By the end of each round{delta}: less protects more.");
    let spent = points_of(record, |row| row.epsilon);
    let norms = points_of(record, |row| row.clip);
    let changes = norms.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let drawn = [
        figure(
            "Privacy loss over rounds",
            ROUNDS,
            (label, Unit::Epsilon),
            "s3",
            spent,
        )
        .map(|figure| Figure { note, ..figure }),
        against_epsilon(record, label),
        figure(
            "Clipping norm over rounds",
            ROUNDS,
            ("clipping norm", Unit::Plain),
            "s2",
            norms,
        )
        .filter(|_| changes),
        figure(
            "Contributions cut to the clipping norm",
            ROUNDS,
            ("share of contributions", Unit::Percent),
            "s1",
            points_of(record, |row| row.clipped),
        ),
    ];
    drawn.into_iter().flatten().collect()
}

const ROUNDS: Axis = Axis {
    label: "round",
    unit: Unit::Count,
};

fn points_of(record: &RunRecord, value: fn(&RoundRow) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |row: &RoundRow| Some((f64::from(row.round), value(row)?));
    record.rounds.iter().filter_map(point).collect()
}

/// The headline metric, by the privacy loss that it took.
fn against_epsilon(record: &RunRecord, label: &'static str) -> Option<Figure> {
    let metric = run::metric(record);
    let point = |row: &RoundRow| {
        let epsilon = row.epsilon.filter(|epsilon| epsilon.is_finite())?;
        Some((epsilon, row.value(metric)?))
    };
    let points = record.rounds.iter().filter_map(point).collect();
    let (heading, y) = match metric {
        HeadlineMetric::Accuracy => (
            "Test accuracy by privacy loss",
            ("test accuracy", Unit::Percent),
        ),
        HeadlineMetric::Auroc => ("Test AUROC by privacy loss", ("test AUROC", Unit::Interval)),
        HeadlineMetric::R2 => (
            "Test R\u{b2} by privacy loss",
            ("test R\u{b2}", Unit::Plain),
        ),
    };
    let x = Axis {
        label,
        unit: Unit::Epsilon,
    };
    figure(heading, x, y, "s0", points)
}

fn figure(
    heading: &str,
    x: Axis,
    (label, unit): (&'static str, Unit),
    class: &str,
    points: Vec<(f64, f64)>,
) -> Option<Figure> {
    let svg = LineChart {
        title: heading.to_owned(),
        x,
        y: Axis { label, unit },
        series: &[Series {
            label: label.to_owned(),
            class: class.to_owned(),
            points,
            ..Series::default()
        }],
        marks: &[],
        marks_label: "",
        start: None,
        from_zero: matches!(unit, Unit::Epsilon) || class == "s1",
    }
    .draw()?;
    Some(Figure {
        heading: heading.to_owned(),
        svg,
        ..Figure::default()
    })
}

/// The weakest claims of single clients.
fn clients(statement: &Statement) -> Option<Figure> {
    let clients = statement.clients_by_epsilon();
    let shown = clients.iter().take(MOST_CLIENTS);
    let rows = shown.map(|client| (client.client.as_str(), client.upper()));
    let title = "Epsilon of each client";
    let svg = DotRows {
        title,
        axis: "epsilon for one of its examples",
        unit: Unit::Epsilon,
        class: "s3",
        rows: rows.collect(),
        references: &[],
        from_zero: true,
    }
    .draw()?;
    let mut notes =
        vec!["The largest is the run's: examples of different clients share no budget.".to_owned()];
    notes.extend(beyond(statement));
    Some(Figure {
        heading: title.to_owned(),
        svg,
        note: notes.join(" "),
        ..Figure::default()
    })
}

/// How many clients are not shown, and how they compare.
fn beyond(statement: &Statement) -> Option<String> {
    let clients = statement.clients_by_epsilon();
    let next = clients.get(MOST_CLIENTS)?;
    let more = (clients.len() - MOST_CLIENTS) as u64;
    Some(format!(
        "{} not shown, of epsilon {} or less.",
        counted(more, "more client is", "more clients are"),
        rounded_up(next.upper())
    ))
}

fn client_table(statement: &Statement) -> Option<Table> {
    let clients = statement.clients_by_epsilon();
    if clients.is_empty() {
        return None;
    }
    let rows = clients.iter().take(MOST_CLIENTS).map(|client| {
        vec![
            format::shortened(&client.client, 60),
            rounded_up(client.upper()),
            format::plain(client.sampling_rate),
            format::count(client.steps),
        ]
    });
    Some(Table {
        title: "The clients in figures".to_owned(),
        folded: true,
        head: strings(["client", "epsilon", "sampling rate", "noisy steps"]),
        words: 1,
        rows: rows.collect(),
        note: beyond(statement).unwrap_or_default(),
    })
}

fn assumptions(statement: &Statement) -> Option<Table> {
    if statement.assumptions.is_empty() {
        return None;
    }
    let row = |of: &Assumption| {
        let standing = match of.standing {
            Standing::Enforced => "\u{25cf}\u{a0}enforced",
            Standing::Verified => "\u{25d0}\u{a0}verified",
            Standing::Trusted => "\u{25cb}\u{a0}taken\u{a0}on\u{a0}trust",
        };
        strings([&format::shortened(&of.text, MOST_CHARS), standing])
    };
    let legend = "Enforced: the code cannot do otherwise. Verified: the ledger or the record shows it. Taken on trust: \
                  nobody checked it.";
    let notes = std::iter::once(legend.to_owned()).chain(left_out(statement.assumptions.len()));
    Some(Table {
        title: "What it rests on".to_owned(),
        head: strings(["assumption", "standing"]),
        words: 2,
        rows: statement
            .assumptions
            .iter()
            .take(MOST_POINTS)
            .map(row)
            .collect(),
        note: notes.collect::<Vec<_>>().join(" "),
        ..Table::default()
    })
}

fn facts(statement: &Statement) -> Table {
    let facts = statement.facts().into_iter();
    Table {
        title: "What is promised, and by what".to_owned(),
        words: 2,
        rows: facts
            .map(|fact| {
                vec![
                    fact.name.to_owned(),
                    format::shortened(&fact.text, MOST_CHARS),
                ]
            })
            .collect(),
        ..Table::default()
    }
}

fn points(texts: &[String]) -> Vec<String> {
    let shown = texts.iter().take(MOST_POINTS);
    let shown = shown.map(|text| format::shortened(text, MOST_CHARS));
    shown.chain(left_out(texts.len())).collect()
}

fn left_out(count: usize) -> Option<String> {
    let more = count.checked_sub(MOST_POINTS).filter(|&more| more > 0)?;
    Some(format!(
        "And {}; summary.json has all.",
        counted(more as u64, "more", "more")
    ))
}
