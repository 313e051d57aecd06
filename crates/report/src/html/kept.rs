//! Whom the aggregation rule kept: clients x rounds as a picture, and each client's count as a table.

use std::collections::{BTreeMap, BTreeSet};

use super::page::{Figure, Section, Table, strings};
use crate::chart::{Group, Row, ShareGrid};
use crate::format::{self, counted};
use crate::record::{RunRecord, VerdictRow};

/// Columns of the picture at most; more rounds are taken together.
const COLUMNS: u32 = 60;

/// Clients of a kind that have a row of their own at most; the others are one row.
const MOST_ROWS: usize = 20;

/// What a rule made of the replies in one cell of the picture.
#[derive(Clone, Copy, Default)]
struct Tally {
    accepted: u32,
    kept: u32,
    weight: f64,
    weighed: u32,
    score: f64,
    scored: u32,
}

impl Tally {
    fn add(&mut self, verdict: &VerdictRow) {
        self.accepted += 1;
        self.kept += u32::from(verdict.kept);
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        if let Some(weight) = finite(verdict.weight) {
            self.weight += weight;
            self.weighed += 1;
        }
        if let Some(score) = finite(verdict.score) {
            self.score += score;
            self.scored += 1;
        }
    }

    fn join(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.kept += other.kept;
        self.weight += other.weight;
        self.weighed += other.weighed;
        self.score += other.score;
        self.scored += other.scored;
    }

    fn share(&self) -> Option<f64> {
        (self.accepted > 0).then(|| f64::from(self.kept) / f64::from(self.accepted))
    }

    fn mean_weight(&self) -> Option<f64> {
        (self.weighed > 0).then(|| self.weight / f64::from(self.weighed))
    }
}

/// A client's verdicts, by column and in all.
struct Judged {
    name: String,
    columns: Vec<Tally>,
    all: Tally,
    /// The part of `all` since the attack began.
    since: Tally,
    malicious: bool,
}

/// All verdicts of a run, in the order of its clients.
struct Court {
    clients: Vec<Judged>,
    /// Whether the record says who is malicious.
    known: bool,
    first: u32,
    step: u32,
    /// The round in which the attack begins; 0 without one.
    start: u32,
}

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    if record.verdicts.is_empty() {
        return None;
    }
    let court = Court::of(record);
    let mut section = Section {
        heading: "Whom the rule kept",
        wide: true,
        ..Section::default()
    };
    let by_weight = court.by_weight();
    if !by_weight && court.keeps_all() {
        section.heading = "How the rule judged replies";
        section.sentences.push(
            "The rule leaves no reply out as a whole, and gives none a weight: it decides about each parameter by itself, \
             and may use some parameters of a reply and not others. So there is no picture of whom it kept."
                .to_owned(),
        );
        section.tables.push(court.table(record));
        return Some(section);
    }
    if by_weight {
        section.heading = "How much each client weighed";
    }
    section
        .sentences
        .push(explanation(record, by_weight).to_owned());
    section.sentences.extend(court.sentence(by_weight));
    section.figures.push(court.figure(record, by_weight));
    section.tables.push(court.table(record));
    Some(section)
}

/// What a newcomer needs to read the picture.
fn explanation(record: &RunRecord, by_weight: bool) -> &'static str {
    let summary = record.summary.as_ref();
    let rule = summary.and_then(|summary| Some(summary.aggregation.as_ref()?.rule.as_str()));
    match (by_weight, rule) {
        (true, Some("mean")) => {
            "The mean uses every reply, whatever it holds: it is no defence. A weight is a reply's share of the mean."
        }
        (true, _) => {
            "The rule leaves no reply out: it gives each a weight, and a low weight is how it defends itself."
        }
        (false, _) => {
            "A robust rule leaves out updates that do not look like the others. Kept means that the reply went into the \
             model, dropped that the rule left it out, absent that none came or none passed the server's checks."
        }
    }
}

/// Names of the clients that the record calls malicious, by whatever part of it.
pub(super) fn malicious_names(record: &RunRecord) -> BTreeSet<&str> {
    let attack = record
        .summary
        .as_ref()
        .and_then(|summary| summary.attack.as_ref());
    let named = attack
        .into_iter()
        .flat_map(|attack| attack.names.iter().map(String::as_str));
    let rows = record.clients.iter().flatten();
    let marked = rows
        .filter(|row| row.malicious == Some(true))
        .map(|row| row.client.as_str());
    let judged = record
        .verdicts
        .iter()
        .filter(|verdict| verdict.malicious == Some(true));
    named
        .chain(marked)
        .chain(judged.map(|verdict| verdict.client.as_str()))
        .collect()
}

impl Court {
    fn of(record: &RunRecord) -> Self {
        let verdicts = &record.verdicts;
        let rounds = || {
            let recorded = record
                .rounds
                .iter()
                .map(|row| row.round)
                .filter(|&round| round > 0);
            recorded.chain(verdicts.iter().map(|verdict| verdict.round))
        };
        let first = rounds().min().unwrap_or(1);
        let last = rounds().max().unwrap_or(first);
        let step = round_bins(last - first, COLUMNS);
        let columns = ((last - first) / step + 1) as usize;
        let attack = record
            .summary
            .as_ref()
            .and_then(|summary| summary.attack.as_ref());
        let start = attack.map_or(0, |attack| attack.start_round);
        let malicious = malicious_names(record);
        let mut known = !malicious.is_empty();
        let mut clients: Vec<Judged> = Vec::new();
        let mut place_of: BTreeMap<&str, usize> = BTreeMap::new();
        // The partition's order is the federation's; clients of verdicts alone come in theirs.
        let partition = record.partition.iter().flat_map(|table| &table.clients);
        let names = partition
            .map(String::as_str)
            .chain(malicious.iter().copied());
        for name in names.chain(verdicts.iter().map(|verdict| verdict.client.as_str())) {
            place_of.entry(name).or_insert_with(|| {
                clients.push(Judged {
                    name: name.to_owned(),
                    columns: Vec::new(),
                    all: Tally::default(),
                    since: Tally::default(),
                    malicious: malicious.contains(name),
                });
                clients.len() - 1
            });
        }
        for verdict in verdicts {
            known |= verdict.malicious.is_some();
            let Some(&place) = place_of.get(verdict.client.as_str()) else {
                continue;
            };
            let client = &mut clients[place];
            // Most of ten thousand clients may never be heard of: they take no room.
            client.columns.resize(columns, Tally::default());
            client.columns[((verdict.round - first) / step) as usize].add(verdict);
            client.all.add(verdict);
            if verdict.round >= start {
                client.since.add(verdict);
            }
        }
        Self {
            clients,
            known,
            first,
            step,
            start,
        }
    }

    fn columns(&self) -> usize {
        self.clients
            .iter()
            .map(|client| client.columns.len())
            .max()
            .unwrap_or(0)
    }

    /// All of a kind of client, since the attack began.
    fn total(&self, malicious: bool) -> Tally {
        let mut total = Tally::default();
        for client in self
            .clients
            .iter()
            .filter(|client| client.malicious == malicious)
        {
            total.join(&client.since);
        }
        total
    }

    /// Whether the rule tells replies apart by weight alone.
    fn by_weight(&self) -> bool {
        let weighed = |client: &Judged| client.all.weighed == client.all.accepted;
        self.keeps_all() && self.clients.iter().all(weighed)
    }

    fn keeps_all(&self) -> bool {
        self.clients
            .iter()
            .all(|client| client.all.kept == client.all.accepted)
    }

    fn sentence(&self, by_weight: bool) -> Option<String> {
        let (malicious, honest) = (self.total(true), self.total(false));
        if by_weight {
            let (malicious, honest) = (malicious.mean_weight()?, honest.mean_weight()?);
            return Some(format!(
                "A malicious reply had {} of the aggregate on average, an honest one {}.",
                format::percent(malicious),
                format::percent(honest)
            ));
        }
        if !self.known {
            return Some(format!(
                "It kept {} of the replies.",
                format::percent(honest.share()?)
            ));
        }
        let words = |tally: &Tally| tally.share().map(format::percent);
        let it = match self.start {
            0 | 1 => "It".to_owned(),
            round => format!("From round {round} on it"),
        };
        Some(match (words(&malicious), words(&honest)) {
            (Some(malicious), Some(honest)) => {
                format!(
                    "{it} kept {malicious} of the malicious clients' replies and {honest} of the honest ones'."
                )
            }
            (None, Some(honest)) => {
                format!(
                    "No reply of a malicious client came to it; it kept {honest} of the honest ones'."
                )
            }
            (Some(malicious), None) => {
                format!("{it} kept {malicious} of the malicious clients' replies.")
            }
            (None, None) => return None,
        })
    }

    fn figure(&self, record: &RunRecord, by_weight: bool) -> Figure {
        let heaviest = self
            .clients
            .iter()
            .flat_map(|client| &client.columns)
            .filter_map(Tally::mean_weight)
            .fold(f64::MIN_POSITIVE, f64::max);
        let height = |tally: &Tally| {
            if by_weight {
                tally.mean_weight().map(|weight| weight / heaviest)
            } else {
                tally.share()
            }
        };
        let kinds = if self.known {
            vec![true, false]
        } else {
            vec![false]
        };
        let groups = kinds
            .into_iter()
            .filter_map(|malicious| self.group(malicious, &height));
        let title = if by_weight {
            "Each client's weight"
        } else {
            "Kept and dropped, by client and round"
        };
        let legend = self.legend(by_weight);
        let attack = record
            .summary
            .as_ref()
            .and_then(|summary| summary.attack.as_ref());
        let svg = ShareGrid {
            title,
            description: "A row a client, a column a round or several; the higher the bar, the more was used.".to_owned(),
            groups: groups.collect(),
            first: self.first,
            step: self.step,
            columns: self.columns(),
            start: attack.map(|attack| attack.start_round),
            legend,
        }
        .draw();
        let note = if self.summarises() {
            "The clients of which the rule dropped most have rows of their own; the others share one."
        } else {
            ""
        };
        Figure {
            heading: title.to_owned(),
            svg,
            note: note.to_owned(),
            ..Figure::default()
        }
    }

    /// What a full, a partly full, a crossed and an absent cell mean.
    fn legend(&self, by_weight: bool) -> [&'static str; 4] {
        if by_weight {
            ["the heaviest", "half of that", "no weight", "absent"]
        } else if self.step > 1 || self.summarises() {
            ["kept", "kept in part", "dropped", "absent"]
        } else {
            ["kept", "", "dropped", "absent"]
        }
    }

    /// Whether some clients share a row.
    fn summarises(&self) -> bool {
        let of = |malicious| {
            self.clients
                .iter()
                .filter(|client| client.malicious == malicious)
                .count()
        };
        of(true) > MOST_ROWS || of(false) > MOST_ROWS
    }

    /// The rows of the malicious or of the honest clients; `None` without any.
    fn group(&self, malicious: bool, height: &impl Fn(&Tally) -> Option<f64>) -> Option<Group> {
        let members: Vec<&Judged> = self
            .clients
            .iter()
            .filter(|client| client.malicious == malicious)
            .collect();
        if members.is_empty() {
            return None;
        }
        let columns = self.columns();
        let shares = |tallies: &[Tally]| -> Vec<Option<f64>> {
            (0..columns)
                .map(|column| height(tallies.get(column)?))
                .collect()
        };
        let shown = self.shown(&members);
        let mut rows: Vec<Row> = shown
            .iter()
            .map(|client| Row {
                name: client.name.clone(),
                shares: shares(&client.columns),
                hint: hint(&client.name, &client.all),
            })
            .collect();
        if shown.len() < members.len() {
            let (mut rest, mut all) = (vec![Tally::default(); columns], Tally::default());
            let own_row: BTreeSet<&str> = shown.iter().map(|client| client.name.as_str()).collect();
            for client in members
                .iter()
                .filter(|client| !own_row.contains(client.name.as_str()))
            {
                for (sum, tally) in rest.iter_mut().zip(&client.columns) {
                    sum.join(tally);
                }
                all.join(&client.all);
            }
            let name = format!(
                "{} others",
                format::count((members.len() - shown.len()) as u64)
            );
            rows.push(Row {
                shares: shares(&rest),
                hint: hint(&name, &all),
                name,
            });
        }
        let count = members.len() as u64;
        let heading = match (self.known, malicious) {
            (false, _) => String::new(),
            (true, true) => counted(count, "malicious client", "malicious clients"),
            (true, false) => counted(count, "honest client", "honest clients"),
        };
        let class = if malicious { "wrong" } else { "fill" };
        Some(Group {
            heading,
            class,
            rows,
        })
    }

    /// Those with a row of their own: all of a few, else those that the rule dropped most often.
    fn shown<'a>(&self, members: &[&'a Judged]) -> Vec<&'a Judged> {
        let mut shown = members.to_vec();
        if shown.len() > MOST_ROWS {
            let dropped = |client: &Judged| client.all.accepted - client.all.kept;
            shown.sort_by_key(|client| {
                (
                    std::cmp::Reverse((dropped(client), client.all.accepted)),
                    client.name.clone(),
                )
            });
            shown.truncate(MOST_ROWS - 1);
        }
        shown
    }

    fn table(&self, record: &RunRecord) -> Table {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut cut = false;
        for malicious in [true, false] {
            let members: Vec<&Judged> = self
                .clients
                .iter()
                .filter(|client| client.malicious == malicious)
                .collect();
            let shown = self.shown(&members);
            cut |= shown.len() < members.len();
            rows.extend(shown.iter().map(|client| self.cells(client)));
        }
        let score = record
            .summary
            .as_ref()
            .and_then(|summary| summary.aggregation.as_ref()?.score.clone());
        let scored = self.clients.iter().any(|client| client.all.scored > 0);
        let mut notes = vec!["Replies: those that passed the server's checks.".to_owned()];
        if let Some(score) = score.filter(|_| scored) {
            notes.push(format!("Score: {score}."));
        }
        let title = match cut {
            true => "Each client in figures: those dropped most; verdicts.csv has all",
            false => "Each client in figures",
        };
        let mut table = Table {
            title: title.to_owned(),
            head: strings([
                "client",
                "kind",
                "replies",
                "kept",
                "share kept",
                "mean weight",
                "mean score",
            ]),
            words: 2,
            rows,
            note: notes.join(" "),
            ..Table::default()
        };
        if !self.known {
            table.words = 1;
        }
        table.drop_empty_columns();
        table
    }

    fn cells(&self, client: &Judged) -> Vec<String> {
        let all = &client.all;
        let kind = match (self.known, client.malicious) {
            (false, _) => "",
            (true, true) => "malicious",
            (true, false) => "honest",
        };
        let score = (all.scored > 0).then(|| format::plain(all.score / f64::from(all.scored)));
        vec![
            format::shortened(&client.name, 60),
            kind.to_owned(),
            format::count(u64::from(all.accepted)),
            format::count(u64::from(all.kept)),
            all.share().map_or_else(String::new, format::percent),
            all.mean_weight()
                .map_or_else(String::new, |weight| format!("{weight:.4}")),
            score.unwrap_or_default(),
        ]
    }
}

fn hint(name: &str, all: &Tally) -> String {
    format!(
        "{name}: kept {} of {}",
        format::count(u64::from(all.kept)),
        counted(u64::from(all.accepted), "reply", "replies")
    )
}

/// Rounds a column, so that `span + 1` rounds take at most `most` columns: 1, 2 or 5 times a power of ten.
pub(super) fn round_bins(span: u32, most: u32) -> u32 {
    let mut power = 1u32;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if span / step < most {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_few_and_hold_round_numbers_of_rounds() {
        assert_eq!(
            [0, 59, 60, 299, 300, 999].map(|span| round_bins(span, 60)),
            [1, 1, 2, 5, 10, 20]
        );
        assert!(u32::MAX / round_bins(u32::MAX, 60) < 60);
    }

    #[test]
    fn a_tally_counts_what_it_is_given() {
        let verdict = |kept, weight, score| VerdictRow {
            kept,
            weight,
            score,
            ..VerdictRow::default()
        };
        let mut tally = Tally::default();
        tally.add(&verdict(true, Some(0.5), Some(f64::NAN)));
        tally.add(&verdict(false, Some(0.0), Some(4.0)));
        assert_eq!(
            (tally.share(), tally.mean_weight()),
            (Some(0.5), Some(0.25))
        );
        assert_eq!((tally.score, tally.scored), (4.0, 1));
        assert_eq!(Tally::default().share(), None);
    }
}
