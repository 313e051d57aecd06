//! The clients: what they hold, how the model serves them, what they would reach alone; and what the model confuses.

use std::collections::BTreeSet;

use super::kept;
use super::page::{Figure, Key, Section, Table, strings};
use super::run::{self, CENTRALISED};
use crate::chart::{Cell, DotRows, Histogram, MatrixChart, Reference, Unit, client_grid};
use crate::format::{self, counted};
use crate::record::{ClientRow, ConfusionTable, HeadlineMetric, PartitionTable, RunRecord};

/// Up to this many clients are shown by name.
const NAMED: usize = 24;

/// Up to this many clients each have a column of their own in the partition picture.
const COLUMNS: usize = 60;

/// Pictures of more classes than this are cut.
const MOST_CLASSES: usize = 100;

/// Who holds which classes.
pub(super) fn partition(record: &RunRecord) -> Option<Section> {
    let table = record.partition.as_ref()?;
    let sizes: Vec<u64> = table
        .counts
        .iter()
        .map(|row| row.iter().map(|&count| u64::from(count)).sum())
        .collect();
    let (smallest, largest) = (sizes.iter().min()?, sizes.iter().max()?);
    let total: u64 = sizes.iter().sum();
    let mut sorted = sizes.clone();
    sorted.sort_unstable();
    let mut section = Section {
        heading: "Who holds what",
        wide: true,
        ..Section::default()
    };
    let of_numbers = run::metric(record) == HeadlineMetric::R2;
    section.sentences.push(format!(
        "{} hold {}{}. The smallest holds {}, the largest {}, the median {}.",
        counted(sizes.len() as u64, "client", "clients"),
        counted(total, "training example", "training examples"),
        match (of_numbers, table.classes.len() as u64) {
            (true, _) => String::new(),
            (false, classes) => format!(" of {}", counted(classes, "class", "classes")),
        },
        format::count(*smallest),
        format::count(*largest),
        format::count(sorted[sorted.len() / 2])
    ));
    if let Some(sentence) = missing_classes(table) {
        section.sentences.push(sentence);
    }
    if !of_numbers {
        section.figures.push(
            if table.clients.len() <= NAMED && table.classes.len() <= COLUMNS {
                named_partition(table, &sizes)
            } else {
                client_columns(table, &sizes)
            },
        );
    }
    if sizes.len() > COLUMNS {
        section.figures.extend(sizes_histogram(&sizes));
    }
    if let Some(summary) = &record.summary {
        section.bullets.clone_from(&summary.data.notes);
    }
    Some(section)
}

fn missing_classes(table: &PartitionTable) -> Option<String> {
    let classes = table.classes.len();
    let partial = table.counts.iter().filter(|row| row.contains(&0)).count() as u64;
    if classes < 2 || partial == 0 {
        return None;
    }
    let held = |row: &Vec<u32>| row.iter().filter(|&&count| count > 0).count();
    let mean = table.counts.iter().map(held).sum::<usize>() as f64 / table.counts.len() as f64;
    if partial == table.counts.len() as u64 {
        return Some(format!(
            "No client holds every class; a client holds {mean:.1} of the {classes} on average."
        ));
    }
    Some(format!(
        "{} {} at least one class; a client holds {mean:.1} of the {classes} classes on average.",
        counted(partial, "client", "clients"),
        if partial == 1 { "lacks" } else { "lack" }
    ))
}

fn named_partition(table: &PartitionTable, sizes: &[u64]) -> Figure {
    let most = table
        .counts
        .iter()
        .flatten()
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let texts = table.classes.len() <= 12;
    let cells = table
        .clients
        .iter()
        .zip(&table.counts)
        .map(|(client, row)| {
            let cell = |(&count, class): (&u32, &String)| Cell {
                level: f64::from(count) / f64::from(most),
                class: "fill",
                text: if texts {
                    format::count(u64::from(count))
                } else {
                    String::new()
                },
                hint: format!("{client}, {class}: {count}"),
            };
            row.iter().zip(&table.classes).map(cell).collect()
        });
    let svg = MatrixChart {
        title: "Examples of each class at each client",
        description: "A row a client, a column a class; darker means more examples.".to_owned(),
        axes: ("client", "class"),
        rows: &table.clients,
        columns: &table.classes,
        cells: cells.collect(),
        ends: (
            "all",
            sizes.iter().map(|&size| format::count(size)).collect(),
        ),
    }
    .draw();
    Figure {
        heading: "Examples of each class at each client".to_owned(),
        svg,
        ..Figure::default()
    }
}

fn client_columns(table: &PartitionTable, sizes: &[u64]) -> Figure {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&client| (std::cmp::Reverse(sizes[client]), client));
    let shown = order.len().min(COLUMNS);
    // Evenly chosen by rank, first and last included.
    let rank = |place: usize| place * (order.len() - 1) / (shown - 1).max(1);
    let classes = &table.classes[..table.classes.len().min(MOST_CLASSES)];
    let counts: Vec<&[u32]> = (0..shown)
        .map(|place| table.counts[order[rank(place)]].as_slice())
        .map(|row| row.get(..classes.len()).unwrap_or(row))
        .collect();
    let svg = client_grid("Examples of each class at each client", classes, &counts);
    let mut note = Vec::new();
    if shown < order.len() {
        note.push(format!(
            "{shown} of the {} clients are shown, evenly chosen by size.",
            format::count(order.len() as u64)
        ));
    }
    if classes.len() < table.classes.len() {
        note.push(format!(
            "The first {MOST_CLASSES} of {} classes are shown.",
            table.classes.len()
        ));
    }
    Figure {
        heading: "Examples of each class at each client".to_owned(),
        svg,
        note: note.join(" "),
        ..Figure::default()
    }
}

fn sizes_histogram(sizes: &[u64]) -> Option<Figure> {
    let values: Vec<f64> = sizes.iter().map(|&size| size as f64).collect();
    let svg = Histogram {
        title: "Sizes of all clients",
        axis: "examples",
        unit: Unit::Count,
        class: "s0",
        values: &values,
        references: &[],
    }
    .draw()?;
    Some(Figure {
        heading: "Sizes of all clients".to_owned(),
        svg,
        ..Figure::default()
    })
}

/// What the final model takes for what.
pub(super) fn confusion(record: &RunRecord) -> Option<Section> {
    let table = record
        .confusion
        .as_ref()
        .filter(|table| !table.classes.is_empty())?;
    let mut section = Section {
        heading: "What it gets wrong",
        wide: true,
        ..Section::default()
    };
    let mistakes = mistakes(table);
    if mistakes.is_empty() {
        section
            .sentences
            .push("No test example is misclassified.".to_owned());
    } else {
        let words: Vec<String> = mistakes
            .iter()
            .take(3)
            .map(|&(count, truth, taken, of)| {
                let (truth, taken) = (&table.classes[truth], &table.classes[taken]);
                format!(
                    "{truth} taken for {taken} ({} of {})",
                    format::count(count),
                    format::count(of)
                )
            })
            .collect();
        section
            .sentences
            .push(format!("The most frequent mistakes: {}.", words.join("; ")));
    }
    if table.classes.len() <= COLUMNS {
        section.figures.push(confusion_matrix(table));
        return Some(section);
    }
    section.sentences.push(format!(
        "The full table of {0} x {0} classes is in confusion.csv.",
        table.classes.len()
    ));
    let row = |&(count, truth, taken, of): &(u64, usize, usize, u64)| {
        vec![
            table.classes[truth].clone(),
            table.classes[taken].clone(),
            format::count(count),
            format::percent(count as f64 / of.max(1) as f64),
        ]
    };
    section.tables.push(Table {
        head: strings(["class", "taken for", "examples", "of the class"]),
        words: 2,
        rows: mistakes.iter().take(12).map(row).collect(),
        ..Table::default()
    });
    Some(section)
}

/// (count, true class, predicted class, size of the true class), most frequent first.
fn mistakes(table: &ConfusionTable) -> Vec<(u64, usize, usize, u64)> {
    let mut mistakes = Vec::new();
    for (truth, row) in table.counts.iter().enumerate() {
        let of = row
            .iter()
            .fold(0u64, |sum, &count| sum.saturating_add(count));
        for (taken, &count) in row.iter().enumerate() {
            let named = truth.max(taken) < table.classes.len();
            if truth != taken && count > 0 && named {
                mistakes.push((count, truth, taken, of));
            }
        }
    }
    mistakes.sort_by_key(|&(count, truth, taken, _)| (std::cmp::Reverse(count), truth, taken));
    mistakes
}

fn confusion_matrix(table: &ConfusionTable) -> Figure {
    let texts = table.classes.len() <= 12;
    let mut ends = Vec::new();
    let mut cells = Vec::new();
    for (truth, (name, row)) in table.classes.iter().zip(&table.counts).enumerate() {
        let of = row
            .iter()
            .fold(0u64, |sum, &count| sum.saturating_add(count))
            .max(1);
        let right = row.get(truth).copied().unwrap_or(0);
        ends.push(format::percent(right as f64 / of as f64));
        let cell = |(taken, (&count, other)): (usize, (&u64, &String))| Cell {
            level: count as f64 / of as f64,
            class: if taken == truth { "fill" } else { "wrong" },
            text: if texts {
                format::count(count)
            } else {
                String::new()
            },
            hint: format!("{name} taken for {other}: {count} of {of}"),
        };
        cells.push(
            row.iter()
                .zip(&table.classes)
                .enumerate()
                .map(cell)
                .collect(),
        );
    }
    let svg = MatrixChart {
        title: "Confusion on the test set",
        description: "A row a true class, a column a predicted class; the diagonal is right."
            .to_owned(),
        axes: ("true class", "taken for"),
        rows: &table.classes,
        columns: &table.classes,
        cells,
        ends: ("right", ends),
    }
    .draw();
    Figure {
        heading: "True class against the model's answer, test examples".to_owned(),
        svg,
        note: "Blue is right, red is wrong; shades are shares of the row. At the end of a row: the share of the class that is \
               recognised."
            .to_owned(),
        ..Figure::default()
    }
}

/// What each client reaches alone, beside the federation.
pub(super) fn alone(record: &RunRecord) -> Option<Section> {
    let clients = record.clients.as_ref()?;
    let metric = run::metric(record);
    let value = |row: &ClientRow| match metric {
        HeadlineMetric::Accuracy => row.alone_accuracy,
        HeadlineMetric::Auroc => row.alone_auroc,
        HeadlineMetric::R2 => row.alone_r2,
    };
    let rows: Vec<(&str, f64)> = clients
        .iter()
        .filter_map(|row| Some((row.client.as_str(), value(row)?)))
        .collect();
    let mut section = Section {
        heading: "What the federation gives to each client",
        wide: true,
        ..Section::default()
    };
    if let Some(federated) = run::latest(record)
        .value(metric)
        .filter(|value| value.is_finite())
    {
        let gain = rows.iter().filter(|&&(_, alone)| alone < federated).count();
        let whom = match (gain, rows.len()) {
            (gain, all) if gain == all && all > 1 => "every client".to_owned(),
            (gain, all) => format!("{gain} of the {}", counted(all as u64, "client", "clients")),
        };
        section.sentences.push(format!(
            "On the common test set the federated model does better than {whom} would with a model trained on their own \
             examples only."
        ));
    }
    section.figures.push(alone_figure(record, metric, rows)?);
    Some(section)
}

fn alone_figure(
    record: &RunRecord,
    metric: HeadlineMetric,
    rows: Vec<(&str, f64)>,
) -> Option<Figure> {
    let (unit, axis) = axis(metric);
    let references = references(record, metric);
    let (title, class) = ("Each client alone, on the common test set", "s2");
    let dots = rows.len() <= NAMED;
    let svg = if dots {
        DotRows {
            title,
            axis,
            unit,
            class,
            rows,
            references: &references,
            from_zero: false,
        }
        .draw()?
    } else {
        let values: Vec<f64> = rows.iter().map(|&(_, value)| value).collect();
        Histogram {
            title,
            axis,
            unit,
            class,
            values: &values,
            references: &references,
        }
        .draw()?
    };
    let mut keys = vec![Key {
        class: class.to_owned(),
        label: if dots {
            "a client alone"
        } else {
            "clients alone"
        }
        .to_owned(),
        value: String::new(),
        dashed: false,
        dot: true,
    }];
    keys.extend(references.iter().map(|line| Key {
        class: line.class.to_owned(),
        label: line.label.clone(),
        value: unit.words(line.value),
        dashed: line.dashed,
        dot: false,
    }));
    Some(Figure {
        heading: title.to_owned(),
        keys,
        svg,
        note: String::new(),
    })
}

fn axis(metric: HeadlineMetric) -> (Unit, &'static str) {
    match metric {
        HeadlineMetric::Accuracy => (Unit::Percent, "test accuracy"),
        HeadlineMetric::Auroc => (Unit::Interval, "test AUROC"),
        HeadlineMetric::R2 => (Unit::Plain, "test R\u{b2}"),
    }
}

fn references(record: &RunRecord, metric: HeadlineMetric) -> Vec<Reference> {
    let reference = |label: &str, value: Option<f64>, class, dashed| {
        let value = value.filter(|value| value.is_finite())?;
        Some(Reference {
            label: label.to_owned(),
            value,
            class,
            dashed,
        })
    };
    let pooled = record.summary.as_ref().and_then(|summary| {
        let baseline = summary.baselines.get(CENTRALISED)?;
        baseline.value(metric)
    });
    let federated = reference("federated", run::latest(record).value(metric), "s0", false);
    federated
        .into_iter()
        .chain(reference("pooled data", pooled, "s1", true))
        .collect()
}

/// How the final model serves each client's own examples.
pub(super) fn spread(record: &RunRecord) -> Option<Section> {
    let clients = record
        .clients
        .as_ref()
        .filter(|clients| !clients.is_empty())?;
    let mut section = Section {
        heading: "How it serves each client",
        wide: true,
        ..Section::default()
    };
    let of_numbers = run::metric(record) == HeadlineMetric::R2;
    let value = if of_numbers { own_r2 } else { own_accuracy };
    let finite = |row: &ClientRow| value(row).filter(|value| value.is_finite());
    let mut values: Vec<f64> = clients.iter().filter_map(finite).collect();
    values.sort_by(f64::total_cmp);
    let (title, axis, unit, class) = match of_numbers {
        true => (
            "R\u{b2} on each client's own examples",
            "R\u{b2}",
            Unit::Plain,
            "s0",
        ),
        false => (
            "Accuracy on each client's own examples",
            "accuracy",
            Unit::Percent,
            "s0",
        ),
    };
    section
        .sentences
        .extend(spread_sentence(&values, axis, run::metric(record)));
    let svg = if clients.len() <= NAMED {
        let rows = clients
            .iter()
            .filter_map(|row| Some((row.client.as_str(), value(row)?)));
        DotRows {
            title,
            axis,
            unit,
            class,
            rows: rows.collect(),
            references: &[],
            from_zero: false,
        }
        .draw()
    } else {
        Histogram {
            title,
            axis,
            unit,
            class,
            values: &values,
            references: &[],
        }
        .draw()
    };
    section.figures.extend(svg.map(|svg| Figure {
        heading: title.to_owned(),
        svg,
        ..Figure::default()
    }));
    section
        .tables
        .push(client_table(clients, &kept::malicious_names(record)));
    Some(section)
}

fn own_accuracy(row: &ClientRow) -> Option<f64> {
    row.accuracy
}

fn own_r2(row: &ClientRow) -> Option<f64> {
    row.r2
}

/// What ascending figures of a name say in words.
fn spread_sentence(values: &[f64], name: &str, metric: HeadlineMetric) -> Option<String> {
    let metric = match metric {
        HeadlineMetric::R2 => metric,
        HeadlineMetric::Accuracy | HeadlineMetric::Auroc => HeadlineMetric::Accuracy,
    };
    let words = |value: f64| run::words(metric, value);
    let (worst, best) = (values.first()?, values.last()?);
    let mut sentence = format!(
        "On the clients' own training examples the final model's {name} goes from {} to {}; the median is {}.",
        words(*worst),
        words(*best),
        words(values[values.len() / 2])
    );
    if values.len() >= 20 {
        let tenth = words(values[values.len() / 10]);
        sentence.push_str(&format!(
            " For a tenth of the clients it is at most {tenth}."
        ));
    }
    Some(sentence)
}

/// A client's name, and whether it is malicious.
fn marked_name(row: &ClientRow, malicious: &BTreeSet<&str>) -> String {
    let name = format::shortened(&row.client, 60);
    if malicious.contains(row.client.as_str()) {
        format!("{name} (malicious)")
    } else {
        name
    }
}

fn client_table(clients: &[ClientRow], malicious: &BTreeSet<&str>) -> Table {
    let mut rows: Vec<&ClientRow> = clients.iter().collect();
    let mut title = String::new();
    if rows.len() > NAMED {
        let figure = |row: &ClientRow| row.accuracy.or(row.r2);
        let key = |row: &ClientRow| figure(row).filter(|value| !value.is_nan()).unwrap_or(2.0);
        rows.sort_by(|a, b| {
            key(a)
                .total_cmp(&key(b))
                .then_with(|| a.client.cmp(&b.client))
        });
        rows.truncate(10);
        title = "The ten clients that it serves worst; clients.csv has all".to_owned();
    }
    let maybe =
        |value: Option<f64>, words: fn(f64) -> String| value.map_or_else(String::new, words);
    let cells = |row: &&ClientRow| {
        vec![
            marked_name(row, malicious),
            format::count(u64::from(row.examples)),
            maybe(row.accuracy, format::percent),
            maybe(row.r2, format::unit_interval),
            maybe(row.loss, format::plain),
            maybe(row.alone_accuracy, format::percent),
            maybe(row.alone_auroc, format::unit_interval),
            maybe(row.alone_r2, format::unit_interval),
            format::count(u64::from(row.rounds)),
            row.kept
                .map_or_else(String::new, |kept| format::count(u64::from(kept))),
            format::count(u64::from(row.refused)),
        ]
    };
    let head = [
        "client",
        "examples",
        "accuracy",
        "R\u{b2}",
        "loss",
        "alone: accuracy",
        "alone: AUROC",
        "alone: R\u{b2}",
        "rounds",
        "kept",
        "refused",
    ];
    let mut table = Table {
        title,
        head: strings(head),
        words: 1,
        rows: rows.iter().map(cells).collect(),
        note: format!(
            "{} and loss: the final model on the client's own training examples. Alone: a model of its own on the \
             common test set. Rounds: those with an accepted reply.",
            match clients.iter().any(|row| row.r2.is_some()) {
                true => "R\u{b2}",
                false => "Accuracy",
            }
        ),
        ..Table::default()
    };
    if clients.iter().any(|row| row.kept.is_some()) {
        table
            .note
            .push_str(" Kept: those in which the aggregation rule used it.");
    }
    table.drop_empty_columns();
    table
}
