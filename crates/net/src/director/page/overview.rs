//! The page of the federation.

use askama::Template;

use super::parts::{Facts, Tile, answer, validity};
use super::routes::Trouble;
use super::words::{self, NONE};
use super::{Hall, parts};
use crate::experiment::{ExperimentStatus, SiteStatus, State, Status};

/// Experiments that are under way, each on a card.
const CARDS: usize = 24;
/// Experiments that are over, each in a row.
const ROWS: usize = 50;
/// Sites, each in a row.
const SITES: usize = 200;
/// Experiments whose answers stand with each site.
const ANSWERS: usize = 3;
/// Characters of a reason; all of it stands on the experiment's own page.
const BRIEF: usize = 100;
/// Names in a sentence.
const NAMES: usize = 5;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    title: String,
    lead: String,
    warnings: Vec<String>,
    tiles: Vec<Tile>,
    cards: Vec<Facts>,
    rows: Vec<Facts>,
    left_out: String,
    sites: Vec<Site>,
    sites_left_out: String,
    version: String,
    at: String,
}

struct Site {
    name: String,
    attending: bool,
    seen: String,
    software: String,
    certificate: String,
    soon: bool,
    answers: Vec<Said>,
}

struct Said {
    id: u64,
    class: &'static str,
    word: String,
    more: String,
}

pub(super) fn page(hall: &Hall) -> Result<String, Trouble> {
    let status = hall.status();
    let is_over = |experiment: &&ExperimentStatus| experiment.state.is_over();
    let (over, active): (Vec<_>, Vec<_>) = status.experiments.iter().partition(is_over);
    let facts = |some: &[&ExperimentStatus], most: usize| -> Result<Vec<Facts>, Trouble> {
        let some = some.iter().take(most);
        some.map(|experiment| Ok(Facts::of(hall, &status, experiment)?.0))
            .collect()
    };
    let left_out = over.len().saturating_sub(ROWS) + active.len().saturating_sub(CARDS);
    let sites = status.sites.iter().take(SITES);
    let page = Overview {
        title: status.federation.clone(),
        lead: lead(&status),
        warnings: warnings(hall, &status),
        tiles: tiles(&status),
        cards: facts(&active, CARDS)?,
        rows: facts(&over, ROWS)?,
        left_out: more(left_out, "experiment"),
        sites: sites.map(|known| site(&status, known)).collect(),
        sites_left_out: more(status.sites.len().saturating_sub(SITES), "site"),
        version: status.version.clone(),
        at: words::date(status.now),
    };
    Ok(page.render()?)
}

fn more(count: usize, noun: &str) -> String {
    match count {
        0 => String::new(),
        more => format!("{} more in", words::counted(more as u64, noun)),
    }
}

fn lead(status: &Status) -> String {
    format!(
        "Up for {}, since {} UTC.",
        words::span(status.now.saturating_sub(status.since)),
        words::date(status.since)
    )
}

fn in_state(status: &Status, state: State) -> u64 {
    let some = status.experiments.iter();
    some.filter(|experiment| experiment.state == state).count() as u64
}

fn tiles(status: &Status) -> Vec<Tile> {
    let attending = status.sites.iter().filter(|site| site.attending).count();
    let [offered, queued, running] =
        [State::Offered, State::Queued, State::Running].map(|state| in_state(status, state));
    let refused: u64 = status.experiments.iter().map(|one| one.refused).sum();
    let up: u64 = status.experiments.iter().map(|one| one.bytes_up).sum();
    let down: u64 = status.experiments.iter().map(|one| one.bytes_down).sum();
    vec![
        Tile {
            name: "Sites attending",
            value: format!("{attending} of {}", status.sites.len()),
            note: "of those that were ever asked or came".to_owned(),
        },
        Tile {
            name: "Experiments running",
            value: words::count(running),
            note: format!("{queued} queued, {offered} offered"),
        },
        Tile {
            name: "Turned away",
            value: words::count(status.turned_away),
            note: format!(
                "calls since the start; {} refused in all experiments",
                words::counted(refused, "reply").replace("replys", "replies")
            ),
        },
        Tile {
            name: "From sites",
            value: words::bytes(up),
            note: format!("{} to sites", words::bytes(down)),
        },
    ]
}

/// Certificates that end soon.
fn warnings(hall: &Hall, status: &Status) -> Vec<String> {
    let mut warnings = Vec::new();
    let own = hall.desk.credentials.leaf().until;
    if let (words, true) = validity(status.now, Some(own)) {
        warnings.push(format!("The director's own certificate {words}."));
    }
    let soon = |site: &&SiteStatus| validity(status.now, site.certificate_until).1;
    let ending: Vec<&str> = status
        .sites
        .iter()
        .filter(soon)
        .map(|site| site.name.as_str())
        .collect();
    if !ending.is_empty() {
        let names = match ending.len() {
            few if few <= NAMES => ending.join(", "),
            many => format!("{} and {} more", ending[..NAMES].join(", "), many - NAMES),
        };
        warnings.push(format!("Certificates end within a week: {names}."));
    }
    warnings
}

fn site(status: &Status, site: &SiteStatus) -> Site {
    let (certificate, soon) = validity(status.now, site.certificate_until);
    let active = status.experiments.iter().filter(|one| !one.state.is_over());
    let newest = status.experiments.iter().take(1);
    let told = if active.clone().next().is_none() {
        newest.collect::<Vec<_>>()
    } else {
        active.collect()
    };
    let answers = told.into_iter().filter_map(|experiment| {
        let mut asked = experiment.answers.iter();
        let said = asked.find(|said| said.site == site.name)?;
        let (class, word, more) = answer(said.answer.as_ref());
        Some(Said {
            id: experiment.id,
            class,
            word,
            more: words::foreign(&more, BRIEF),
        })
    });
    Site {
        name: site.name.clone(),
        attending: site.attending,
        seen: match site.seen {
            Some(seen) => words::ago(status.now, seen),
            None => "not since the director started".to_owned(),
        },
        software: match site.software.as_str() {
            "" => NONE.to_owned(),
            software => words::foreign(software, parts::SOFTWARE),
        },
        certificate,
        soon,
        answers: answers.take(ANSWERS).collect(),
    }
}
