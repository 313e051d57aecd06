//! The page of several runs or of a sweep: heat maps of a grid, the table, and the curves on common axes.

use super::curves::cumulative_bytes;
use super::grids;
use super::page::{Figure, Key, Page, Section, Table, Tile};
use super::run::words;
use super::tradeoff;
use crate::chart::{Axis, COLOURS, LineChart, Series, Unit};
use crate::compare::{Column, ComparedCell, Comparison, short_key};
use crate::format::{self, counted};
use crate::record::{HeadlineMetric, RoundRow, SweepStatus};

/// Curves of more cells than this are not drawn; the table has them.
const MOST_CURVES: usize = 120;

/// Settings longer than this are cut in legends.
const MOST_LABEL: usize = 60;

pub(super) fn page(comparison: &Comparison) -> Page {
    let ranked = ranking(comparison);
    let mut sections = grids::sections(comparison);
    sections.extend(tradeoff::section(comparison, &ranked));
    sections.push(table(comparison));
    sections.extend(failures(comparison));
    sections.extend(curves(comparison, &ranked));
    Page {
        over: "Comparison".to_owned(),
        title: title(comparison),
        lead: best(comparison, &ranked).into_iter().collect(),
        warnings: Vec::new(),
        tiles: tiles(comparison),
        sections,
        footer: "This page is self-contained: it runs no scripts and fetches nothing.".to_owned(),
    }
}

fn title(comparison: &Comparison) -> String {
    const MOST: usize = 4;
    let runs = counted(comparison.runs.len() as u64, "run", "runs");
    if comparison.named {
        return runs;
    }
    let keys = &comparison.keys;
    let short: Vec<&str> = keys
        .iter()
        .map(|key| short_key(keys, key))
        .take(MOST)
        .collect();
    let more = if keys.len() > MOST { ", \u{2026}" } else { "" };
    format!("{runs} over {}{more}", short.join(", "))
}

fn best(comparison: &Comparison, ranked: &[usize]) -> Option<String> {
    let best = &comparison.cells[*ranked.first()?];
    let value = best
        .headline(comparison.metric)
        .filter(|value| value.mean.is_finite())?;
    let seeds = match value.n {
        1 => String::new(),
        n => format!(" as the mean of {}", counted(n as u64, "seed", "seeds")),
    };
    Some(format!(
        "The highest {} is {}{seeds}, {} {}.",
        metric_name(comparison.metric),
        words(comparison.metric, value.mean),
        if comparison.named {
            "reached by"
        } else {
            "with"
        },
        best.label
    ))
}

fn tiles(comparison: &Comparison) -> Vec<Tile> {
    let unfinished: usize = comparison.cells.iter().map(|cell| cell.unfinished).sum();
    let refused: usize = comparison.cells.iter().map(|cell| cell.refused_runs).sum();
    vec![
        Tile {
            name: "Settings compared",
            value: format::count(comparison.cells.len() as u64),
            note: counted(comparison.keys.len() as u64, "key differs", "keys differ"),
        },
        Tile {
            name: "Runs",
            value: format::count(comparison.runs.len() as u64),
            note: match (unfinished - refused, refused) {
                (0, 0) => "all finished".to_owned(),
                (0, refused) => format!("{refused} refused, the others finished"),
                (failed, 0) => format!("{failed} failed or unfinished"),
                (failed, refused) => format!("{refused} refused, {failed} failed or unfinished"),
            },
        },
    ]
}

fn metric_name(metric: HeadlineMetric) -> &'static str {
    match metric {
        HeadlineMetric::Accuracy => "test accuracy",
        HeadlineMetric::Auroc => "test AUROC",
        HeadlineMetric::R2 => "test R\u{b2}",
    }
}

/// Cells by headline metric, best first; those without come last, in their order.
fn ranking(comparison: &Comparison) -> Vec<usize> {
    let value = |&index: &usize| {
        let mean = comparison.cells[index]
            .headline(comparison.metric)
            .map(|spread| spread.mean);
        mean.filter(|mean| mean.is_finite())
            .unwrap_or(f64::NEG_INFINITY)
    };
    let mut order: Vec<usize> = (0..comparison.cells.len()).collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order
}

fn table(comparison: &Comparison) -> Section {
    const MOST: usize = 1_000;
    let apart = settings_apart(comparison);
    let mut columns = comparison.columns();
    if apart.is_some() {
        let keys = comparison.keys.len();
        columns.drain(1..=keys);
    }
    let shown = &comparison.cells[..comparison.cells.len().min(MOST)];
    let row = |cell: &ComparedCell| columns.iter().map(|column| (column.text)(cell)).collect();
    let mut notes = Vec::new();
    if shown.iter().any(|cell| cell.runs.len() > 1) {
        notes.push(
            "Figures are means \u{b1} one sample standard deviation over the seeds.".to_owned(),
        );
    }
    if shown.len() < comparison.cells.len() {
        notes.push(format!(
            "The first {MOST} of {} rows are shown.",
            comparison.cells.len()
        ));
    }
    // Below the pictures of a large grid the figures are for looking up.
    let folded = shown.len() > 40 && comparison.pivot().is_some();
    let title = if folded {
        "All settings in figures"
    } else {
        ""
    };
    let table = Table {
        title: title.to_owned(),
        folded,
        head: columns.iter().map(|column| column.name.clone()).collect(),
        words: columns.iter().filter(|column| column.words).count(),
        rows: shown.iter().map(row).collect(),
        note: notes.join(" "),
    };
    Section {
        heading: "Results",
        wide: true,
        tables: std::iter::once(table).chain(apart).collect(),
        ..Section::default()
    }
}

/// Runs with names of their own and many settings: the settings, turned on their side.
fn settings_apart(comparison: &Comparison) -> Option<Table> {
    const FEW_RUNS: usize = 6;
    const WIDEST: usize = 40;
    let cells = &comparison.cells;
    if !comparison.named || comparison.keys.is_empty() || cells.len() > FEW_RUNS {
        return None;
    }
    let row = |(key, column): (&String, Column<'_>)| {
        let values = cells.iter().map(|cell| (column.text)(cell));
        std::iter::once(key.clone()).chain(values).collect()
    };
    let names = cells
        .iter()
        .map(|cell| format::shortened(&cell.label, WIDEST));
    let columns = comparison.key_columns(WIDEST);
    Some(Table {
        title: "Settings that differ".to_owned(),
        head: std::iter::once(String::new()).chain(names).collect(),
        words: cells.len() + 1,
        rows: comparison.keys.iter().zip(columns).map(row).collect(),
        ..Table::default()
    })
}

/// A quantity of the curves: heading, axis label, unit, and where it is in a round.
type Quantity = (
    &'static str,
    &'static str,
    Unit,
    fn(&RoundRow) -> Option<f64>,
);

fn curves(comparison: &Comparison, ranked: &[usize]) -> Option<Section> {
    let accuracy: Quantity = ("Test accuracy", "test accuracy", Unit::Percent, |row| {
        row.test_accuracy
    });
    let auroc: Quantity = ("Test AUROC", "test AUROC", Unit::Interval, |row| {
        row.test_auroc
    });
    let r2: Quantity = ("Test R\u{b2}", "test R\u{b2}", Unit::Plain, |row| {
        row.test_r2
    });
    let loss: Quantity = ("Test loss", "test loss", Unit::Plain, |row| row.test_loss);
    // Few curves keep the order in which they were given; of many, the best are told apart.
    let order: Vec<usize> = if ranked.len() <= COLOURS {
        (0..ranked.len()).collect()
    } else {
        ranked.iter().copied().take(MOST_CURVES).collect()
    };
    let mut figures = Vec::new();
    for quantity in [accuracy, auroc, r2, loss] {
        figures.extend(figure(comparison, &order, &quantity, false));
        figures.extend(figure(comparison, &order, &quantity, true));
    }
    if figures.is_empty() {
        return None;
    }
    let mut section = Section {
        heading: "How they learned",
        keys: legend(comparison, &order),
        figures,
        ..Section::default()
    };
    if comparison.cells.iter().any(|cell| cell.runs.len() > 1) {
        section.sentences.push(
            "A curve is the mean over the seeds; the band around it goes from the lowest to the highest seed.".to_owned(),
        );
    }
    if ranked.len() > COLOURS {
        section.sentences.push(format!(
            "The {COLOURS} best are coloured, best first; the others are grey{}.",
            if ranked.len() > MOST_CURVES {
                ", and of those only some are drawn"
            } else {
                ""
            }
        ));
    }
    Some(section)
}

fn class(place: usize) -> String {
    if place < COLOURS {
        format!("s{place}")
    } else {
        "rest".to_owned()
    }
}

/// One legend for all the charts.
fn legend(comparison: &Comparison, order: &[usize]) -> Vec<Key> {
    let key = |(place, &index): (usize, &usize)| {
        let cell = &comparison.cells[index];
        let value = cell
            .headline(comparison.metric)
            .map(|spread| words(comparison.metric, spread.mean));
        Key {
            class: class(place),
            label: format::shortened(&cell.label, MOST_LABEL),
            value: value.unwrap_or_default(),
            dashed: false,
            dot: false,
        }
    };
    order.iter().take(COLOURS).enumerate().map(key).collect()
}

fn figure(
    comparison: &Comparison,
    order: &[usize],
    &(heading, label, unit, value): &Quantity,
    by_bytes: bool,
) -> Option<Figure> {
    let mut series = Vec::new();
    for (place, &index) in order.iter().enumerate() {
        let cell = &comparison.cells[index];
        let class = class(place);
        let (points, band) = mean_curve(comparison, cell, value, by_bytes);
        if !points.is_empty() {
            let label = format::shortened(&cell.label, MOST_LABEL);
            series.push(Series {
                label,
                class,
                dashed: false,
                points,
                band,
            });
        }
    }
    if series.is_empty() {
        return None;
    }
    // The best and the named lie on top.
    series.reverse();
    let x = if by_bytes {
        Axis {
            label: "sent and received, all clients",
            unit: Unit::Bytes,
        }
    } else {
        Axis {
            label: "round",
            unit: Unit::Count,
        }
    };
    let heading = format!(
        "{heading} over {}",
        if by_bytes { "bytes" } else { "rounds" }
    );
    let svg = LineChart {
        title: heading.clone(),
        x,
        y: Axis { label, unit },
        series: &series,
        marks: &[],
        marks_label: "",
        start: None,
        from_zero: false,
    }
    .draw()?;
    Some(Figure {
        heading,
        svg,
        ..Figure::default()
    })
}

type Curve = (Vec<(f64, f64)>, Vec<(f64, f64, f64)>);

/// Mean and range over a cell's runs, at the rounds that all of them evaluated. Over bytes, the x of a round is the mean
/// of the runs' bytes by then.
fn mean_curve(
    comparison: &Comparison,
    cell: &ComparedCell,
    value: fn(&RoundRow) -> Option<f64>,
    by_bytes: bool,
) -> Curve {
    let mut at_round: std::collections::BTreeMap<u32, Vec<(f64, f64)>> =
        std::collections::BTreeMap::new();
    let mut members = 0;
    for &index in &cell.runs {
        let run = &comparison.runs[index];
        let failed = run
            .result
            .as_ref()
            .is_some_and(|result| result.status != SweepStatus::Done);
        if failed || run.rounds.is_empty() {
            continue;
        }
        members += 1;
        let bytes = cumulative_bytes(&run.rounds);
        for (row, bytes) in run.rounds.iter().zip(bytes) {
            if let Some(value) = value(row) {
                at_round
                    .entry(row.round)
                    .or_default()
                    .push((bytes as f64, value));
            }
        }
    }
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for (round, values) in at_round
        .iter()
        .filter(|(_, values)| values.len() == members)
    {
        let n = values.len() as f64;
        let bytes = values.iter().map(|(bytes, _)| bytes).sum::<f64>() / n;
        let x = if by_bytes { bytes } else { f64::from(*round) };
        points.push((x, values.iter().map(|(_, value)| value).sum::<f64>() / n));
        if values.len() > 1 {
            let heights = || values.iter().map(|&(_, value)| value);
            let (low, high) = (
                heights().fold(f64::INFINITY, f64::min),
                heights().fold(f64::NEG_INFINITY, f64::max),
            );
            band.push((x, low, high));
        }
    }
    if by_bytes && points.last().is_some_and(|&(x, _)| x == 0.0) {
        return (Vec::new(), Vec::new());
    }
    (points, band)
}

/// Why runs have no result. A refusal is a finding, a failure an accident; both are listed by reason.
fn failures(comparison: &Comparison) -> Option<Section> {
    const MOST: usize = 50;
    const NAMES: usize = 8;
    let reasons = comparison.reasons();
    if reasons.is_empty() {
        return None;
    }
    let mut bullets: Vec<String> = reasons
        .iter()
        .take(MOST)
        .map(|reason| reason.line(NAMES))
        .collect();
    if reasons.len() > MOST {
        bullets.push(format!("And {} more.", reasons.len() - MOST));
    }
    Some(Section {
        heading: "Without a result",
        bullets,
        ..Section::default()
    })
}
