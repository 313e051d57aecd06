//! The page of several runs or of a sweep: the table, the curves on common axes, and a picture of a two-key grid.

use super::curves::cumulative_bytes;
use super::page::{Figure, Key, Page, Section, Table, Tile};
use super::run::words;
use crate::chart::{Axis, COLOURS, Cell, LineChart, MatrixChart, Series, Unit};
use crate::compare::{ComparedCell, Comparison, short_key};
use crate::format::{self, counted};
use crate::record::{HeadlineMetric, RoundRow, SweepStatus};

/// Curves of more cells than this are not drawn; the table has them.
const MOST_CURVES: usize = 120;

/// Settings longer than this are cut in legends.
const MOST_LABEL: usize = 60;

pub(super) fn page(comparison: &Comparison) -> Page {
    let ranked = ranking(comparison);
    let sections = [
        Some(table(comparison)),
        curves(comparison, &ranked),
        grid(comparison),
        failures(comparison),
    ];
    Page {
        over: "Comparison".to_owned(),
        title: title(comparison),
        lead: best(comparison, &ranked).into_iter().collect(),
        warnings: Vec::new(),
        tiles: tiles(comparison),
        sections: sections.into_iter().flatten().collect(),
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
    vec![
        Tile {
            name: "Settings compared",
            value: format::count(comparison.cells.len() as u64),
            note: counted(comparison.keys.len() as u64, "key differs", "keys differ"),
        },
        Tile {
            name: "Runs",
            value: format::count(comparison.runs.len() as u64),
            note: match unfinished {
                0 => "all finished".to_owned(),
                unfinished => format!("{unfinished} failed or unfinished"),
            },
        },
    ]
}

fn metric_name(metric: HeadlineMetric) -> &'static str {
    match metric {
        HeadlineMetric::Accuracy => "test accuracy",
        HeadlineMetric::Auroc => "test AUROC",
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
    let columns = comparison.columns();
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
    let table = Table {
        head: columns.iter().map(|column| column.name.clone()).collect(),
        words: columns.iter().filter(|column| column.words).count(),
        rows: shown.iter().map(row).collect(),
        note: notes.join(" "),
        ..Table::default()
    };
    Section {
        heading: "Results",
        tables: vec![table],
        ..Section::default()
    }
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
    let loss: Quantity = ("Test loss", "test loss", Unit::Plain, |row| row.test_loss);
    // Few curves keep the order in which they were given; of many, the best are told apart.
    let order: Vec<usize> = if ranked.len() <= COLOURS {
        (0..ranked.len()).collect()
    } else {
        ranked.iter().copied().take(MOST_CURVES).collect()
    };
    let mut figures = Vec::new();
    for quantity in [accuracy, auroc, loss] {
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
            .is_some_and(|result| result.status == SweepStatus::Failed);
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

/// The headline metric over a grid of two keys.
fn grid(comparison: &Comparison) -> Option<Section> {
    const MOST: usize = 40;
    let [row_key, column_key] = comparison.keys.as_slice() else {
        return None;
    };
    let (rows, columns) = (distinct(comparison, 0), distinct(comparison, 1));
    if rows.len() < 2 || columns.len() < 2 || rows.len() > MOST || columns.len() > MOST {
        return None;
    }
    let mean = |row: &String, column: &String| {
        let here = |cell: &&ComparedCell| &cell.settings[0] == row && &cell.settings[1] == column;
        let cell = comparison.cells.iter().find(here)?;
        cell.headline(comparison.metric).map(|spread| spread.mean)
    };
    let means: Vec<Vec<Option<f64>>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| mean(row, column)).collect())
        .collect();
    let finite = || {
        means
            .iter()
            .flatten()
            .flatten()
            .copied()
            .filter(|value| value.is_finite())
    };
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    finite().next()?;
    let cell = |mean: &Option<f64>| grid_cell(comparison.metric, *mean, (low, high));
    let cells = means.iter().map(|row| row.iter().map(cell).collect());
    let name = metric_name(comparison.metric);
    let heading = format!("Mean final {name}");
    let svg = MatrixChart {
        title: &heading,
        description: format!("{name} by {row_key} and {column_key}; a stronger shade is better."),
        axes: (
            short_key(&comparison.keys, row_key),
            short_key(&comparison.keys, column_key),
        ),
        rows: &rows,
        columns: &columns,
        cells: cells.collect(),
        ends: ("", Vec::new()),
    }
    .draw();
    let note = "A stronger shade is better.".to_owned();
    let figure = Figure {
        heading,
        keys: Vec::new(),
        svg,
        note,
    };
    Some(Section {
        heading: "The grid",
        wide: true,
        figures: vec![figure],
        ..Section::default()
    })
}

/// The values of a key, in order of first appearance.
fn distinct(comparison: &Comparison, key: usize) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for cell in &comparison.cells {
        if !values.contains(&cell.settings[key]) {
            values.push(cell.settings[key].clone());
        }
    }
    values
}

fn grid_cell(metric: HeadlineMetric, mean: Option<f64>, (low, high): (f64, f64)) -> Cell {
    let text = mean.map_or_else(|| "\u{2013}".to_owned(), |mean| words(metric, mean));
    let level = match mean {
        Some(mean) if high > low => 0.06 + 0.94 * (mean - low) / (high - low),
        Some(_) => 0.5,
        None => 0.0,
    };
    Cell {
        level,
        class: "fill",
        text,
        hint: String::new(),
    }
}

fn failures(comparison: &Comparison) -> Option<Section> {
    const MOST: usize = 50;
    let mut bullets = Vec::new();
    for run in &comparison.runs {
        match &run.result {
            None => bullets.push(format!("{} has not ended.", run.name)),
            Some(result) if result.status == SweepStatus::Failed => {
                bullets.push(format!(
                    "{}: {}",
                    run.name,
                    format::shortened(&result.message, 400)
                ));
            }
            Some(_) => {}
        }
    }
    if bullets.is_empty() {
        return None;
    }
    let more = bullets.len().saturating_sub(MOST);
    bullets.truncate(MOST);
    if more > 0 {
        bullets.push(format!("And {more} more."));
    }
    Some(Section {
        heading: "Without a result",
        bullets,
        ..Section::default()
    })
}
