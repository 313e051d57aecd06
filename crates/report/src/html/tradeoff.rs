//! What privacy costs, over the runs of a comparison: the headline metric by the accounted epsilon.

use super::page::{Figure, Key, Section};
use super::run::words;
use crate::chart::{Axis, COLOURS, LineChart, Series, Unit};
use crate::compare::{ComparedCell, Comparison, setting_words, short_key};
use crate::format;
use crate::record::HeadlineMetric;

/// Level lines for runs without privacy at most.
const MOST_LEVELS: usize = 3;

/// Settings longer than this are cut in the legend.
const MOST_LABEL: usize = 60;

/// Keys without whose agreement epsilons are not to be compared.
const TERMS: [&str; 3] = ["privacy.delta", "privacy.unit", "privacy.neighbouring"];

/// Curves by the settings other than the one that moves epsilon, the best first as in `ranked`.
pub(super) fn section(comparison: &Comparison, ranked: &[usize]) -> Option<Section> {
    let mut curves = curves(comparison, ranked);
    if curves.is_empty() {
        return None;
    }
    let many = curves.len().saturating_sub(COLOURS);
    curves.truncate(COLOURS);
    for (place, curve) in curves.iter_mut().enumerate() {
        curve.class = format!("s{place}");
    }
    let mut series = levels(comparison, ranked, &curves);
    series.extend(curves.into_iter().rev());
    let (heading, svg) = chart(comparison, &series)?;
    let key = |series: &Series| Key {
        class: series.class.clone(),
        label: series.label.clone(),
        value: match series.points.as_slice() {
            [(_, first), .., (_, last)] if series.dashed && first == last => {
                words(comparison.metric, *last)
            }
            _ => String::new(),
        },
        dashed: series.dashed,
        dot: series.points.len() == 1,
    };
    let figure = Figure {
        heading: heading.to_owned(),
        // One curve of all needs no name.
        keys: if series.len() == 1 && series[0].label.is_empty() {
            Vec::new()
        } else {
            series.iter().rev().map(key).collect()
        },
        svg,
        note: note(comparison, many),
    };
    Some(Section {
        heading: "What privacy costs",
        sentences: sentences(comparison),
        figures: vec![figure],
        ..Section::default()
    })
}

/// The chart and its heading.
fn chart(comparison: &Comparison, series: &[Series]) -> Option<(&'static str, String)> {
    let (heading, label, unit) = match comparison.metric {
        HeadlineMetric::Accuracy => (
            "Test accuracy by privacy loss",
            "test accuracy",
            Unit::Percent,
        ),
        HeadlineMetric::Auroc => ("Test AUROC by privacy loss", "test AUROC", Unit::Interval),
        HeadlineMetric::R2 => ("Test R\u{b2} by privacy loss", "test R\u{b2}", Unit::Plain),
    };
    let svg = LineChart {
        title: heading.to_owned(),
        x: Axis {
            label: "accounted epsilon",
            unit: Unit::Epsilon,
        },
        y: Axis { label, unit },
        series,
        marks: &[],
        marks_label: "",
        start: None,
        from_zero: false,
    }
    .draw()?;
    Some((heading, svg))
}

fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut sentences = vec![
        "Epsilon is the accounted privacy loss of a whole run: less protects more. Whether a run may claim it is for its own \
         page to say; a simulation whose noise comes from its seed may not."
            .to_owned(),
    ];
    let differ: Vec<&str> = TERMS
        .into_iter()
        .filter(|term| comparison.keys.iter().any(|key| key == term))
        .collect();
    if !differ.is_empty() {
        sentences.push(format!(
            "These runs differ in {}: their epsilons are not promises of one kind and must not be ranked against each \
             other.",
            differ.join(" and ")
        ));
    }
    sentences
}

fn note(comparison: &Comparison, many: usize) -> String {
    let mut notes = Vec::new();
    if comparison.cells.iter().any(|cell| cell.runs.len() > 1) {
        notes.push(
            "A point is the mean over the seeds; the band goes from the lowest to the highest."
                .to_owned(),
        );
    }
    if many > 0 {
        notes.push(format!(
            "{} not drawn; the table has all.",
            format::counted(many as u64, "more curve is", "more curves are")
        ));
    }
    notes.join(" ")
}

/// Epsilon and the headline metric of a cell, where both are figures.
fn point(comparison: &Comparison, cell: &ComparedCell) -> Option<(f64, f64)> {
    let epsilon = cell.accounted_epsilon?.mean;
    let value = cell.headline(comparison.metric)?.mean;
    (epsilon.is_finite() && value.is_finite()).then_some((epsilon, value))
}

/// Cells that differ in nothing but the setting that moves epsilon are one curve.
fn curves(comparison: &Comparison, ranked: &[usize]) -> Vec<Series> {
    let moving = moving_key(comparison);
    let mut groups: Vec<(Vec<&str>, Vec<&ComparedCell>)> = Vec::new();
    for &index in ranked {
        let cell = &comparison.cells[index];
        if point(comparison, cell).is_none() {
            continue;
        }
        let mut others: Vec<&str> = cell.settings.iter().map(String::as_str).collect();
        match moving {
            Some(key) => {
                others.remove(key);
            }
            None => others.push(&cell.label),
        }
        match groups.iter_mut().find(|(settings, _)| *settings == others) {
            Some((_, cells)) => cells.push(cell),
            None => groups.push((others, vec![cell])),
        }
    }
    groups
        .into_iter()
        .map(|(_, cells)| curve(comparison, moving, cells))
        .collect()
}

fn curve(comparison: &Comparison, moving: Option<usize>, mut cells: Vec<&ComparedCell>) -> Series {
    let epsilon = |cell: &&ComparedCell| {
        cell.accounted_epsilon
            .map_or(f64::INFINITY, |spread| spread.mean)
    };
    cells.sort_by(|a, b| epsilon(a).total_cmp(&epsilon(b)));
    let label = cells.first().map_or_else(String::new, |cell| match moving {
        None => cell.label.clone(),
        Some(moving) => label(comparison, moving, cell),
    });
    let band = cells.iter().filter_map(|cell| {
        let (at, _) = point(comparison, cell)?;
        let spread = cell.headline(comparison.metric)?;
        Some((at, spread.min?, spread.max?))
    });
    let repeated = cells.iter().any(|cell| cell.runs.len() > 1);
    Series {
        label: format::shortened(&label, MOST_LABEL),
        points: cells
            .iter()
            .filter_map(|cell| point(comparison, cell))
            .collect(),
        band: if repeated { band.collect() } else { Vec::new() },
        ..Series::default()
    }
}

/// The settings that tell a curve from the others.
fn label(comparison: &Comparison, moving: usize, cell: &ComparedCell) -> String {
    let keys = &comparison.keys;
    let others = keys.iter().zip(&cell.settings).enumerate();
    let others = others.filter(|&(place, _)| place != moving);
    let words = others.map(|(_, (key, value))| {
        let value = match value.as_str() {
            "" => "unset".to_owned(),
            value => setting_words(value),
        };
        format!("{} = {value}", short_key(keys, key))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The key by which epsilon was chosen: the budget or the noise where they vary, else the key with the most values whose
/// change alone changes epsilon. `None` where the runs are no grid.
fn moving_key(comparison: &Comparison) -> Option<usize> {
    if comparison.named {
        return None;
    }
    let moves = |key: usize| {
        let epsilon = |cell: &ComparedCell| cell.accounted_epsilon.map(|spread| spread.mean);
        let others_agree = |a: &ComparedCell, b: &ComparedCell| {
            let pairs = a.settings.iter().zip(&b.settings).enumerate();
            pairs
                .filter(|&(place, _)| place != key)
                .all(|(_, (a, b))| a == b)
        };
        // Enough to know; a large grid has many thousands of pairs.
        let cells = || comparison.cells.iter().take(400);
        cells().any(|a| {
            cells().any(|b| {
                others_agree(a, b)
                    && epsilon(a)
                        .zip(epsilon(b))
                        .is_some_and(|(a, b)| a.to_bits() != b.to_bits())
            })
        })
    };
    let values = |key: usize| {
        let mut values: Vec<&str> = Vec::new();
        for cell in &comparison.cells {
            if !values.contains(&cell.settings[key].as_str()) {
                values.push(&cell.settings[key]);
            }
        }
        values.len()
    };
    let chosen = |key: usize| match comparison.keys[key].as_str() {
        "privacy.epsilon" => 2,
        "privacy.noise_multiplier" => 1,
        _ => 0,
    };
    let moving = (0..comparison.keys.len()).filter(|&key| moves(key));
    // The first of the best.
    moving.fold(None, |best, key| match best {
        Some(best) if (chosen(best), values(best)) >= (chosen(key), values(key)) => Some(best),
        _ => Some(key),
    })
}

/// Runs without privacy, as lines to compare with.
fn levels(comparison: &Comparison, ranked: &[usize], curves: &[Series]) -> Vec<Series> {
    let xs = || curves.iter().flat_map(|curve| &curve.points);
    let low = xs().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let high = xs().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    if low >= high {
        return Vec::new();
    }
    let moving = moving_key(comparison);
    let plain = ranked.iter().map(|&index| &comparison.cells[index]);
    let plain = plain.filter(|cell| cell.accounted_epsilon.is_none() && cell.epsilon.is_none());
    let level = |cell: &ComparedCell| {
        let value = cell.headline(comparison.metric)?.mean;
        let others = moving.map_or_else(|| cell.label.clone(), |key| label(comparison, key, cell));
        let others = format::shortened(&others, MOST_LABEL);
        let with_privacy = curves.iter().find(|curve| curve.label == others);
        value.is_finite().then(|| Series {
            label: match others.as_str() {
                "" => "without privacy".to_owned(),
                others => format!("without privacy, {others}"),
            },
            class: with_privacy.map_or_else(|| "rest".to_owned(), |curve| curve.class.clone()),
            dashed: true,
            points: vec![(low, value), (high, value)],
            ..Series::default()
        })
    };
    plain.filter_map(level).take(MOST_LEVELS).collect()
}
