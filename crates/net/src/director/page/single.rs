//! The page of one experiment.

use askama::Template;
use cloister_report::record::{AnomalyFlag, Event, event_kind};

use super::Hall;
use super::chronicle::{Chronicle, FLAGS, HAPPENINGS, Happening, REASON};
use super::parts::{self, Facts, Tile, answer};
use super::routes::Trouble;
use super::words;
use crate::experiment::{ExperimentStatus, Id};

/// Sites, each in a row.
const SITES: usize = 500;
/// Characters of a config.
const CONFIG: usize = 64 << 10;

#[derive(Template)]
#[template(path = "experiment.html")]
struct Single {
    title: String,
    federation: String,
    facts: Facts,
    tiles: Vec<Tile>,
    figures: Vec<Figure>,
    has_report: bool,
    answers: Vec<Said>,
    answers_left_out: String,
    flagged: u64,
    flags: Vec<Row>,
    most_flags: usize,
    happenings: Vec<Row>,
    most: usize,
    config: String,
    version: String,
    at: String,
}

struct Figure {
    heading: &'static str,
    svg: String,
}

struct Said {
    site: String,
    attending: bool,
    class: &'static str,
    word: String,
    more: String,
}

/// A line of what happened.
struct Row {
    round: String,
    kind: String,
    class: &'static str,
    site: String,
    words: String,
}

pub(super) fn page(hall: &Hall, id: Id) -> Result<String, Trouble> {
    let status = hall.status();
    let experiment = status.experiments.iter().find(|one| one.id == id);
    let experiment = experiment.ok_or(Trouble::Unknown)?;
    let (facts, chronicle) = Facts::of(hall, &status, experiment)?;
    let record = hall.desk.store.experiment(id)?;
    let attends = |name: &str| {
        let mut sites = status.sites.iter();
        sites.any(|site| site.name == name && site.attending)
    };
    let answers = experiment.answers.iter().take(SITES).map(|said| {
        let (class, word, more) = answer(said.answer.as_ref());
        Said {
            site: said.site.clone(),
            attending: attends(&said.site),
            class,
            word,
            more,
        }
    });
    let page = Single {
        title: facts.name.clone(),
        federation: status.federation.clone(),
        tiles: tiles(experiment, &facts, chronicle.flagged),
        figures: figures(&chronicle),
        has_report: !chronicle.points.is_empty(),
        answers: answers.collect(),
        answers_left_out: match experiment.answers.len().saturating_sub(SITES) {
            0 => String::new(),
            more => format!("{} more in", words::counted(more as u64, "site")),
        },
        flagged: chronicle.flagged,
        flags: chronicle.flags.iter().rev().map(flag).collect(),
        most_flags: FLAGS,
        happenings: chronicle.recent.iter().rev().map(row).collect(),
        most: HAPPENINGS,
        config: record.config.chars().take(CONFIG).collect(),
        version: status.version.clone(),
        at: words::date(status.now),
        facts,
    };
    Ok(page.render()?)
}

fn tiles(experiment: &ExperimentStatus, facts: &Facts, flagged: u64) -> Vec<Tile> {
    let measured = match experiment.accuracy {
        Some(_) => "on the director's own examples",
        None => "the director has measured none",
    };
    let told = match (experiment.train_loss, experiment.round) {
        (None, 1..) => "the sites do not tell theirs",
        _ => "mean over the sites, last round",
    };
    vec![
        Tile {
            name: "Accuracy",
            value: facts.accuracy.clone(),
            note: measured.to_owned(),
        },
        Tile {
            name: "Training loss",
            value: facts.loss.clone(),
            note: told.to_owned(),
        },
        Tile {
            name: "Epsilon spent",
            value: facts.epsilon.clone(),
            note: facts.epsilon_note.clone(),
        },
        Tile {
            name: "Replies refused",
            value: facts.refused.clone(),
            note: "why is below".to_owned(),
        },
        Tile {
            name: "Anomalies",
            value: words::count(flagged),
            note: match flagged {
                0 => "nothing was flagged".to_owned(),
                _ => "who, when and why is below".to_owned(),
            },
        },
        Tile {
            name: "From sites",
            value: facts.up.clone(),
            note: format!("{} to sites", facts.down),
        },
    ]
}

fn figures(chronicle: &Chronicle) -> Vec<Figure> {
    let all = [
        ("Accuracy", parts::accuracy(chronicle)),
        ("Training loss", parts::loss(chronicle)),
        ("Epsilon", parts::spent(chronicle)),
    ];
    let drawn = all.into_iter().map(|(heading, curve)| Figure {
        heading,
        svg: curve.large(),
    });
    drawn.filter(|figure| !figure.svg.is_empty()).collect()
}

fn flag(event: &Event) -> Row {
    Row {
        round: event.round.to_string(),
        class: "waits",
        kind: AnomalyFlag::of(event)
            .map_or_else(String::new, |flag| words::foreign(&flag.rule, 20)),
        site: event.client.clone().unwrap_or_else(|| "the run".to_owned()),
        words: words::foreign(&event.message, REASON),
    }
}

fn row(happening: &Happening) -> Row {
    match happening {
        Happening::Event(event) => Row {
            round: event.round.to_string(),
            class: match event.kind.as_str() {
                event_kind::REFUSED | event_kind::ABANDONED => "bad",
                _ => "still",
            },
            kind: event.kind.clone(),
            site: event.client.clone().unwrap_or_default(),
            words: words::foreign(&event.message, REASON),
        },
        Happening::State(state, reason) => {
            let standing = parts::standing(*state);
            Row {
                round: String::new(),
                kind: standing.word.to_owned(),
                class: standing.class,
                site: String::new(),
                words: words::foreign(reason, REASON),
            }
        }
        Happening::Answer(said) => {
            let (class, kind, words) = answer(said.answer.as_ref());
            Row {
                round: String::new(),
                kind,
                class,
                site: said.site.clone(),
                words,
            }
        }
    }
}
