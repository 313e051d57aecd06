//! The attack on a run and its defence: what it cost, what it reached, how much of it the rule let through.

use super::curves;
use super::kept;
use super::page::{Figure, Key, Section, Tile};
use super::run;
use crate::chart::{Axis, LineChart, Series, Unit};
use crate::format::{self, counted};
use crate::record::{AggregationInfo, AttackInfo, HeadlineMetric, RoundRow, RunRecord};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    let summary = record.summary.as_ref();
    let attack = summary.and_then(|summary| summary.attack.as_ref());
    let aggregation = summary.and_then(|summary| summary.aggregation.as_ref());
    let judged = |row: &RoundRow| row.kept.is_some() || row.malicious.is_some();
    if attack.is_none() && aggregation.is_none() && !record.rounds.iter().any(judged) {
        return None;
    }
    let mut section = Section {
        heading: "Attack and defence",
        ..Section::default()
    };
    match attack {
        Some(attack) => section.sentences.extend(attack_sentences(attack)),
        None if summary.is_some() => {
            section
                .sentences
                .push("No client was made to attack this run.".to_owned());
        }
        None => {}
    }
    section.sentences.extend(aggregation.map(defence_sentence));
    if let Some(attack) = attack {
        section.sentences.extend(outcome_sentence(record, attack));
        section.tiles.extend(impact_tile(record, attack));
    }
    section.tiles.extend(kept_tiles(record, attack));
    if let Some(attack) = attack {
        section.tiles.extend(target_tiles(attack));
        section.tiles.extend(failure_tile(attack));
    }
    section.figures.extend(twin_figure(record));
    section.figures.extend(reached_figure(record));
    section.figures.extend(share_figure(record));
    Some(section)
}

/// Who attacks from when on, and what they do.
fn attack_sentences(attack: &AttackInfo) -> Vec<String> {
    const MOST_NAMES: usize = 12;
    let names: Vec<String> = attack
        .names
        .iter()
        .take(MOST_NAMES)
        .map(|name| format::shortened(name, 40))
        .collect();
    let when = match attack.start_round {
        0 | 1 => "from the first round on".to_owned(),
        round => format!("from round {round} on"),
    };
    let count = format!(
        "{} of {}",
        format::count(u64::from(attack.clients)),
        format::count(u64::from(attack.of))
    );
    let seed = attack.seed;
    let more = if attack.names.len() > MOST_NAMES {
        ", \u{2026}"
    } else {
        ""
    };
    let whom = match names.join(", ").as_str() {
        "" => format!("{count}, chosen by seed {seed}"),
        names => format!("{names}{more} ({count}, chosen by seed {seed})"),
    };
    let who = format!(
        "Malicious clients: {whom}, {when}. The attack: {}.",
        attack.kind
    );
    let mut sentences = vec![who];
    if !attack.description.is_empty() {
        sentences.push(attack.description.clone());
    }
    sentences
}

fn defence_sentence(aggregation: &AggregationInfo) -> String {
    let mut sentence = format!(
        "The server combines the replies of a round by the rule {}",
        aggregation.rule
    );
    if aggregation.byzantine > 0 {
        sentence.push_str(&format!(
            ", told to withstand {} a round",
            counted(
                u64::from(aggregation.byzantine),
                "malicious reply",
                "malicious replies"
            )
        ));
    }
    if !aggregation.before.is_empty() {
        sentence.push_str(&format!(
            "; before it, {}",
            aggregation.before.join(", then ")
        ));
    }
    sentence.push('.');
    sentence
}

/// The two final figures beside each other.
fn outcome_sentence(record: &RunRecord, attack: &AttackInfo) -> Option<String> {
    let metric = run::metric(record);
    let name = metric_name(metric);
    let without = attack.unattacked.as_ref()?.value(metric)?;
    let with = run::latest(record).value(metric)?;
    Some(format!(
        "The same run without the attack ends at a test {name} of {}, this one at {}.",
        run::words(metric, without),
        run::words(metric, with)
    ))
}

fn metric_name(metric: HeadlineMetric) -> &'static str {
    match metric {
        HeadlineMetric::Accuracy => "accuracy",
        HeadlineMetric::Auroc => "AUROC",
        HeadlineMetric::R2 => "R\u{b2}",
    }
}

/// A loss of a metric, in words: `4.0 points lost`.
fn loss_words(metric: HeadlineMetric, loss: f64) -> String {
    if !loss.is_finite() {
        return format::plain(loss);
    }
    let (size, unit) = match metric {
        HeadlineMetric::Accuracy => (format!("{:.1}", loss.abs() * 100.0), "\u{a0}points"),
        HeadlineMetric::Auroc | HeadlineMetric::R2 => (format!("{:.3}", loss.abs()), ""),
    };
    if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        return "none".to_owned();
    }
    let unit = if size == "1.0" && !unit.is_empty() {
        "\u{a0}point"
    } else {
        unit
    };
    format!(
        "{size}{unit} {}",
        if loss > 0.0 { "lost" } else { "gained" }
    )
}

fn impact_tile(record: &RunRecord, attack: &AttackInfo) -> Option<Tile> {
    let metric = run::metric(record);
    let impact = attack.impact?;
    let mut note = "final test figure against the same run without the attack".to_owned();
    if let Some(best) = attack.impact_best {
        note.push_str(&format!(
            "; best against best: {}",
            loss_words(metric, best)
        ));
    }
    Some(Tile {
        name: "Impact of the attack",
        value: loss_words(metric, impact),
        note,
    })
}

/// How many of the replies the rule used, malicious and honest; or how much they weighed, where none is left out.
fn kept_tiles(record: &RunRecord, attack: Option<&AttackInfo>) -> Vec<Tile> {
    // Before the attack begins its clients are as honest as the others.
    let start = attack.map_or(0, |attack| attack.start_round);
    let rows = || record.rounds.iter().filter(|row| row.round >= start);
    let judged = || rows().filter(|row| row.kept.is_some());
    let sum = |field: fn(&RoundRow) -> u32| judged().map(|row| u64::from(field(row))).sum::<u64>();
    let kept = sum(|row| row.kept.unwrap_or(0));
    let accepted = sum(|row| row.accepted);
    let malicious = sum(|row| row.malicious.unwrap_or(0));
    let malicious_kept = sum(|row| row.malicious_kept.unwrap_or(0));
    let all_kept = accepted > 0 && kept == accepted;
    if let Some(tile) = weight_tile(record, start).filter(|_| all_kept) {
        return vec![tile];
    }
    let since = if start > 1 {
        " since the attack began"
    } else {
        ""
    };
    let tile = |name, kept: u64, accepted: u64| {
        let share = format::percent(kept as f64 / accepted.max(1) as f64);
        let (value, note) = match accepted {
            0 => (
                "none came".to_owned(),
                "none passed the server's checks".to_owned(),
            ),
            _ if all_kept => (
                format!("{} of {}", format::count(kept), format::count(accepted)),
                "the rule leaves no reply out as a whole".to_owned(),
            ),
            _ => (
                share,
                format!(
                    "{} of {} that passed the server's checks{since}",
                    format::count(kept),
                    format::count(accepted)
                ),
            ),
        };
        Tile { name, value, note }
    };
    let known = attack.is_some() || record.rounds.iter().any(|row| row.malicious.is_some());
    let mut tiles = Vec::new();
    if let Some(attack) = attack {
        let (kept, accepted) = if rows().any(|row| row.malicious.is_some()) {
            (malicious_kept, malicious)
        } else {
            (attack.malicious_kept, attack.malicious_accepted)
        };
        tiles.push(tile("Malicious updates used", kept, accepted));
    }
    if accepted > 0 && known {
        let kept = kept.saturating_sub(malicious_kept);
        tiles.push(tile(
            "Honest updates used",
            kept,
            accepted.saturating_sub(malicious),
        ));
    } else if accepted > 0 {
        tiles.push(tile("Updates used", kept, accepted));
    }
    tiles
}

/// The malicious part of the aggregate, on average from round `start` on.
fn weight_tile(record: &RunRecord, start: u32) -> Option<Tile> {
    let mean = |value: fn(&RoundRow) -> Option<f64>| {
        let values: Vec<f64> = record
            .rounds
            .iter()
            .filter(|row| row.round >= start)
            .filter_map(value)
            .filter(|value| value.is_finite())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let weight = mean(|row| row.malicious_weight)?;
    let replies = mean(|row| {
        let share = f64::from(row.malicious?) / f64::from(row.accepted.max(1));
        (row.accepted > 0).then_some(share)
    });
    Some(Tile {
        name: "Malicious share of the aggregate",
        value: format::percent(weight),
        note: match replies {
            Some(replies) => format!(
                "mean over the rounds; of the replies it is {}",
                format::percent(replies)
            ),
            None => "mean over the rounds".to_owned(),
        },
    })
}

/// What the attack was after: a class to be mistaken, a trigger to work.
fn target_tiles(attack: &AttackInfo) -> Vec<Tile> {
    let class = |name: &Option<String>, or: &str| match name {
        Some(name) => format!("class {}", format::shortened(name, 40)),
        None => or.to_owned(),
    };
    let target = class(&attack.target_class, "the attack's target class");
    let source = class(&attack.source_class, "the attack's source class");
    let success = attack.attack_success.map(|share| Tile {
        name: "Attack success",
        value: format::percent(share),
        note: format!("of test examples with the trigger are taken for {target}"),
    });
    let recall = attack.source_recall.map(|share| Tile {
        name: "Source recall",
        value: format::percent(share),
        note: match &attack.target_class {
            Some(_) => format!("of {source} are still recognised, rather than taken for {target}"),
            None => format!("of {source} are still recognised"),
        },
    });
    success.into_iter().chain(recall).collect()
}

/// Stated where there is a reference to fail against.
fn failure_tile(attack: &AttackInfo) -> Option<Tile> {
    attack
        .unattacked
        .as_ref()
        .map(|_| ())
        .or(attack.failure_round.map(|_| ()))?;
    let name = "Training fails";
    Some(match attack.failure_round {
        Some(round) => Tile {
            name,
            value: format!("round {round}"),
            note: "from there on the test figure stays under half of the unattacked run's"
                .to_owned(),
        },
        None => Tile {
            name,
            value: "never".to_owned(),
            note: "the test figure does not stay under half of the unattacked run's".to_owned(),
        },
    })
}

const ROUNDS: Axis = Axis {
    label: "round",
    unit: Unit::Count,
};

/// The headline metric with and without the attack.
fn twin_figure(record: &RunRecord) -> Option<Figure> {
    let (label, unit, value): (_, _, fn(&RoundRow) -> Option<f64>) = match run::metric(record) {
        HeadlineMetric::Accuracy => ("test accuracy", Unit::Percent, |row| row.test_accuracy),
        HeadlineMetric::Auroc => ("test AUROC", Unit::Interval, |row| row.test_auroc),
        HeadlineMetric::R2 => ("test R\u{b2}", Unit::Plain, |row| row.test_r2),
    };
    let points = |rows: &[RoundRow]| -> Vec<(f64, f64)> {
        let point = |row: &RoundRow| Some((f64::from(row.round), value(row)?));
        rows.iter().filter_map(point).collect()
    };
    let level = record.summary.as_ref().and_then(|summary| {
        summary
            .attack
            .as_ref()?
            .unattacked
            .as_ref()?
            .value(summary.metric)
    });
    let attacked = points(&record.rounds);
    let mut unattacked = points(&record.unattacked);
    let curve = unattacked.iter().any(|(_, y)| y.is_finite());
    if !curve {
        // Only its end is known.
        let (first, last) = (attacked.first()?.0, attacked.last()?.0);
        unattacked = vec![(first, level?), (last, level?)];
    }
    let series = [
        Series {
            label: if curve {
                "without the attack"
            } else {
                "without the attack, final"
            }
            .to_owned(),
            class: "s2".to_owned(),
            dashed: true,
            points: unattacked,
            ..Series::default()
        },
        Series {
            label: "with the attack".to_owned(),
            class: "s5".to_owned(),
            points: attacked,
            ..Series::default()
        },
    ];
    figure(
        record,
        "With and without the attack",
        (label, unit),
        &series,
    )
}

/// What the attack was after, over the rounds.
fn reached_figure(record: &RunRecord) -> Option<Figure> {
    let series = [
        (
            "attack success",
            "s5",
            false,
            of_rounds(record, |row| row.attack_success),
        ),
        (
            "source recall",
            "s0",
            false,
            of_rounds(record, |row| row.source_recall),
        ),
    ];
    let series: Vec<Series> = series.into_iter().filter_map(curve).collect();
    let mut figure = figure(
        record,
        "What the attack reaches",
        ("share of test examples", Unit::Percent),
        &series,
    )?;
    let words: Vec<&str> = series
        .iter()
        .map(|series| match series.label.as_str() {
            "attack success" => {
                "Attack success: examples with the trigger taken for the target class."
            }
            _ => "Source recall: examples of the attacked class still recognised.",
        })
        .collect();
    figure.note = words.join(" ");
    Some(figure)
}

/// How much of the aggregate is malicious, beside how much of the replies.
fn share_figure(record: &RunRecord) -> Option<Figure> {
    const MOST_POINTS: u32 = 60;
    let rows: Vec<&RoundRow> = record
        .rounds
        .iter()
        .filter(|row| row.accepted > 0)
        .collect();
    let span = rows.last()?.round.saturating_sub(rows.first()?.round);
    let step = kept::round_bins(span, MOST_POINTS);
    let weighed = rows.iter().any(|row| row.malicious_weight.is_some());
    if !weighed
        && rows
            .iter()
            .all(|row| row.kept.is_none_or(|kept| kept == row.accepted))
    {
        // A rule that leaves no reply out as a whole: both curves would be one.
        return None;
    }
    let used = binned(&rows, step, |row| {
        if weighed {
            return Some((row.malicious_weight?, 1.0));
        }
        Some((f64::from(row.malicious_kept?), f64::from(row.kept?)))
    });
    if used.is_empty() {
        return None;
    }
    let replies = binned(&rows, step, |row| {
        Some((f64::from(row.malicious?), f64::from(row.accepted)))
    });
    let what = if weighed {
        "of the aggregate"
    } else {
        "of the replies used"
    };
    let series = [
        ("of the replies", "s6", true, replies),
        (what, "s5", false, used),
    ];
    let series: Vec<Series> = series.into_iter().filter_map(curve).collect();
    let mut figure = figure(
        record,
        "How much of it is malicious",
        ("malicious share", Unit::Percent),
        &series,
    )?;
    figure.note = "A rule defends well where the solid line stays under the dashed one.".to_owned();
    if step > 1 {
        figure
            .note
            .push_str(&format!(" Each point is the mean of {step} rounds."));
    }
    Some(figure)
}

/// Parts over wholes, `step` rounds taken together; a point stands at the last of its rounds.
fn binned(
    rows: &[&RoundRow],
    step: u32,
    of: impl Fn(&RoundRow) -> Option<(f64, f64)>,
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for bin in
        rows.chunk_by(|a, b| a.round.saturating_sub(1) / step == b.round.saturating_sub(1) / step)
    {
        let measured = bin.iter().filter_map(|row| of(row));
        let (part, whole) = measured.fold((0.0, 0.0), |sum, (part, whole)| {
            (sum.0 + part, sum.1 + whole)
        });
        if let Some(last) = bin.last().filter(|_| whole > 0.0) {
            points.push((f64::from(last.round), part / whole));
        }
    }
    points
}

fn of_rounds(record: &RunRecord, value: impl Fn(&RoundRow) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |row: &RoundRow| Some((f64::from(row.round), value(row)?));
    record.rounds.iter().filter_map(point).collect()
}

fn curve((label, class, dashed, points): (&str, &str, bool, Vec<(f64, f64)>)) -> Option<Series> {
    (!points.is_empty()).then(|| Series {
        label: label.to_owned(),
        class: class.to_owned(),
        dashed,
        points,
        ..Series::default()
    })
}

fn figure(
    record: &RunRecord,
    heading: &str,
    (label, unit): (&'static str, Unit),
    series: &[Series],
) -> Option<Figure> {
    let svg = LineChart {
        title: heading.to_owned(),
        x: ROUNDS,
        y: Axis { label, unit },
        series,
        marks: &[],
        marks_label: "",
        start: curves::attack_start(record),
        from_zero: unit == Unit::Percent,
    }
    .draw()?;
    let key = |series: &Series| {
        let last = series.points.iter().rev().find(|(_, y)| y.is_finite())?;
        Some(Key {
            class: series.class.clone(),
            label: series.label.clone(),
            value: unit.words(last.1),
            dashed: series.dashed,
            dot: false,
        })
    };
    Some(Figure {
        heading: heading.to_owned(),
        keys: series.iter().rev().filter_map(key).collect(),
        svg,
        note: String::new(),
    })
}
