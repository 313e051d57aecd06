//! Learning curves: over rounds, which is what papers plot, and over bytes, which is what a network pays.

use super::page::{Figure, Key, Section, Table, strings};
use super::run::{self, CENTRALISED, LOCAL};
use crate::chart::{Axis, LineChart, Series, Unit};
use crate::format;
use crate::record::{Baseline, BaselinePoint, HeadlineMetric, RoundOutcome, RoundRow, RunRecord};

/// What a curve shows, and where to find it.
struct Quantity {
    heading: &'static str,
    label: &'static str,
    unit: Unit,
    of_round: fn(&RoundRow) -> Option<f64>,
    of_point: fn(&BaselinePoint) -> Option<f64>,
    of_baseline: fn(&Baseline) -> Option<f64>,
    range: fn(&BaselinePoint) -> Option<(f64, f64)>,
    final_range: fn(&Baseline) -> Option<(f64, f64)>,
}

const ACCURACY: Quantity = Quantity {
    heading: "Test accuracy",
    label: "test accuracy",
    unit: Unit::Percent,
    of_round: |row| row.test_accuracy,
    of_point: |point| point.accuracy,
    of_baseline: |baseline| baseline.accuracy,
    range: |point| point.accuracy_min.zip(point.accuracy_max),
    final_range: |baseline| {
        let range = baseline.clients.as_ref()?;
        range.accuracy_min.zip(range.accuracy_max)
    },
};

const AUROC: Quantity = Quantity {
    heading: "Test AUROC",
    label: "test AUROC",
    unit: Unit::Interval,
    of_round: |row| row.test_auroc,
    of_point: |point| point.auroc,
    of_baseline: |baseline| baseline.auroc,
    range: |point| point.auroc_min.zip(point.auroc_max),
    final_range: |baseline| {
        let range = baseline.clients.as_ref()?;
        range.auroc_min.zip(range.auroc_max)
    },
};

const R2: Quantity = Quantity {
    heading: "Test R\u{b2}",
    label: "test R\u{b2}",
    unit: Unit::Plain,
    of_round: |row| row.test_r2,
    of_point: |point| point.r2,
    of_baseline: |baseline| baseline.r2,
    range: |point| point.r2_min.zip(point.r2_max),
    final_range: |baseline| {
        let range = baseline.clients.as_ref()?;
        range.r2_min.zip(range.r2_max)
    },
};

const LOSS: Quantity = Quantity {
    heading: "Test loss",
    label: "test loss",
    unit: Unit::Plain,
    of_round: |row| row.test_loss,
    of_point: |point| point.loss,
    of_baseline: |baseline| baseline.loss,
    range: |_| None,
    final_range: |_| None,
};

pub(super) fn section(record: &RunRecord) -> Option<Section> {
    if record.rounds.is_empty() {
        return None;
    }
    let quantities = match run::metric(record) {
        HeadlineMetric::Accuracy => vec![ACCURACY, AUROC, LOSS],
        HeadlineMetric::Auroc => vec![AUROC, ACCURACY, LOSS],
        HeadlineMetric::R2 => vec![R2, LOSS],
    };
    let bytes = cumulative_bytes(&record.rounds);
    let mut figures = Vec::new();
    for quantity in &quantities {
        figures.extend(over_rounds(record, quantity));
        figures.extend(over_bytes(record, quantity, &bytes));
    }
    let mut section = Section {
        heading: "How it learned",
        tables: vec![rounds_table(record)],
        ..Section::default()
    };
    if figures.is_empty() {
        section
            .sentences
            .push("No round was evaluated on the test set.".to_owned());
    }
    section.figures = figures;
    Some(section)
}

/// Bytes on the wire by the end of each round, both directions.
pub(super) fn cumulative_bytes(rounds: &[RoundRow]) -> Vec<u64> {
    let mut sum = 0u64;
    rounds
        .iter()
        .map(|row| {
            sum = sum
                .saturating_add(row.bytes_up)
                .saturating_add(row.bytes_down);
            sum
        })
        .collect()
}

fn over_rounds(record: &RunRecord, quantity: &Quantity) -> Option<Figure> {
    let points = measured(record, quantity, |_, row| f64::from(row.round));
    let mut series = baselines(record, quantity, &points, true);
    if quantity.label == LOSS.label {
        let of_training = |row: &RoundRow| Some((f64::from(row.round), row.train_loss?));
        let training = record.rounds.iter().filter_map(of_training).collect();
        series.push(Series {
            label: "federated, training loss".to_owned(),
            class: "s6".to_owned(),
            points: training,
            ..Series::default()
        });
    }
    series.push(federated(points));
    let abandoned: Vec<f64> = run::abandoned_rounds(record)
        .into_iter()
        .map(f64::from)
        .collect();
    let marks = if abandoned.len() <= 200 {
        &abandoned[..]
    } else {
        &[]
    };
    let mut figure = figure(
        quantity,
        "rounds",
        Axis {
            label: "round",
            unit: Unit::Count,
        },
        series,
        marks,
        attack_start(record),
    )?;
    if !marks.is_empty() {
        let note = format!(
            "{} Triangles on the axis mark abandoned rounds.",
            figure.note
        );
        figure.note = note.trim().to_owned();
    }
    Some(figure)
}

fn over_bytes(record: &RunRecord, quantity: &Quantity, bytes: &[u64]) -> Option<Figure> {
    if bytes.last().is_none_or(|&last| last == 0) {
        return None;
    }
    let points = measured(record, quantity, |index, _| bytes[index] as f64);
    let mut series = baselines(record, quantity, &points, false);
    series.push(federated(points));
    let axis = Axis {
        label: "sent and received, all clients",
        unit: Unit::Bytes,
    };
    figure(quantity, "bytes", axis, series, &[], None)
}

/// Where the attack begins on an axis of rounds.
pub(super) fn attack_start(record: &RunRecord) -> Option<(f64, &'static str)> {
    let attack = record.summary.as_ref()?.attack.as_ref()?;
    Some((f64::from(attack.start_round), "attack starts"))
}

fn measured(
    record: &RunRecord,
    quantity: &Quantity,
    x: impl Fn(usize, &RoundRow) -> f64,
) -> Vec<(f64, f64)> {
    let rows = record.rounds.iter().enumerate();
    rows.filter_map(|(index, row)| Some((x(index, row), (quantity.of_round)(row)?)))
        .collect()
}

fn federated(points: Vec<(f64, f64)>) -> Series {
    Series {
        label: "federated".to_owned(),
        class: "s0".to_owned(),
        points,
        ..Series::default()
    }
}

/// The baselines: their own curves over rounds where they were recorded, else a level line at their end result.
fn baselines(
    record: &RunRecord,
    quantity: &Quantity,
    points: &[(f64, f64)],
    by_round: bool,
) -> Vec<Series> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let ends = record.summary.as_ref().map(|summary| &summary.baselines);
    let mut names: Vec<&String> = record.baselines.keys().collect();
    names.extend(ends.into_iter().flat_map(|ends| ends.keys()));
    names.sort();
    names.dedup();
    let mut series = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let (label, class) = match name.as_str() {
            CENTRALISED => ("pooled data".to_owned(), "s1".to_owned()),
            LOCAL => ("each alone, mean".to_owned(), "s2".to_owned()),
            other => (other.to_owned(), format!("s{}", 3 + index % 3)),
        };
        let curve = record.baselines.get(name).map_or(&[][..], Vec::as_slice);
        let at =
            |point: &BaselinePoint| Some((f64::from(point.round), (quantity.of_point)(point)?));
        let recorded: Vec<(f64, f64)> = curve.iter().filter_map(at).collect();
        if by_round && recorded.len() > 1 {
            let band = |point: &BaselinePoint| {
                let (low, high) = (quantity.range)(point)?;
                Some((f64::from(point.round), low, high))
            };
            let band = curve.iter().filter_map(band).collect();
            series.push(Series {
                label,
                class,
                dashed: true,
                points: recorded,
                band,
            });
            continue;
        }
        let end = ends.and_then(|ends| ends.get(name));
        let level = end
            .and_then(quantity.of_baseline)
            .or(recorded.last().map(|point| point.1));
        let Some(level) = level else { continue };
        let (from, to) = (if by_round { first.0 } else { 0.0 }, last.0);
        let range = end.and_then(quantity.final_range);
        let range = range.or_else(|| curve.last().and_then(quantity.range));
        let band = range.map(|(low, high)| vec![(from, low, high), (to, low, high)]);
        series.push(Series {
            label,
            class,
            dashed: true,
            points: vec![(from, level), (to, level)],
            band: band.unwrap_or_default(),
        });
    }
    series
}

fn figure(
    quantity: &Quantity,
    over: &str,
    x: Axis,
    series: Vec<Series>,
    marks: &[f64],
    start: Option<(f64, &'static str)>,
) -> Option<Figure> {
    // Without a federated point there is nothing to compare the baselines with.
    series.last()?.points.iter().find(|(_, y)| y.is_finite())?;
    let heading = format!("{} over {over}", quantity.heading);
    let svg = LineChart {
        title: heading.clone(),
        x,
        y: Axis {
            label: quantity.label,
            unit: quantity.unit,
        },
        series: &series,
        marks,
        marks_label: "abandoned round",
        start,
        from_zero: false,
    }
    .draw()?;
    let has_band = series.iter().any(|series| !series.band.is_empty());
    let keys = series.iter().rev().filter_map(|series| {
        let last = series.points.iter().rev().find(|(_, y)| y.is_finite())?;
        Some(Key {
            class: series.class.clone(),
            label: series.label.clone(),
            value: quantity.unit.words(last.1),
            dashed: series.dashed,
            dot: false,
        })
    });
    let keys = keys.collect();
    let note = if has_band {
        "The shaded band spans the clients from the worst to the best alone."
    } else {
        ""
    };
    Some(Figure {
        heading,
        keys,
        svg,
        note: note.to_owned(),
    })
}

/// The curves in figures, for those who cannot see them; evenly chosen rounds where there are many.
fn rounds_table(record: &RunRecord) -> Table {
    const MOST: usize = 100;
    let rounds = &record.rounds;
    let step = rounds.len().div_ceil(MOST).max(1);
    let last = rounds.len().saturating_sub(1);
    let chosen = rounds
        .iter()
        .enumerate()
        .filter(|(index, _)| index % step == 0 || *index == last);
    let maybe =
        |value: Option<f64>, words: fn(f64) -> String| value.map_or_else(String::new, words);
    let mut table = Table {
        title: "The rounds in figures".to_owned(),
        folded: true,
        head: strings([
            "round",
            "train loss",
            "test loss",
            "test accuracy",
            "test AUROC",
            "test R\u{b2}",
            "test RMSE",
            "test MAE",
            "accepted",
            "refused",
            "dropped",
            "late",
            "epsilon",
            "clip",
            "clipped",
            "bytes",
            "time",
            "",
        ]),
        ..Table::default()
    };
    for (_, row) in chosen {
        let abandoned = row.outcome == RoundOutcome::Abandoned;
        table.rows.push(vec![
            row.round.to_string(),
            maybe(row.train_loss, format::plain),
            maybe(row.test_loss, format::plain),
            maybe(row.test_accuracy, format::percent),
            maybe(row.test_auroc, format::unit_interval),
            maybe(row.test_r2, format::unit_interval),
            maybe(row.test_rmse, format::plain),
            maybe(row.test_mae, format::plain),
            format!("{} of {}", row.accepted, row.cohort),
            row.refused.to_string(),
            row.dropped.to_string(),
            row.late.to_string(),
            maybe(row.epsilon, cloister_privacy::rounded_up),
            maybe(row.clip, format::plain),
            maybe(row.clipped, format::percent),
            format::bytes(row.bytes_up.saturating_add(row.bytes_down)),
            format::seconds(row.seconds),
            if abandoned {
                "abandoned".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    table.drop_empty_columns();
    if step > 1 {
        table.title = format!("The rounds in figures: every {step}th; rounds.csv has all");
    }
    table
}
