//! A comparison as a table for the terminal, as CSV and as JSON.

use std::path::PathBuf;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use serde_json::{Value, json};

use super::{ComparedCell, Comparison, Measure, Pivot, Spread, setting_words, short_key};
use crate::format;
use crate::record::{HeadlineMetric, RecordError, SweepStatus};

type Figure = fn(&ComparedCell) -> Option<Spread>;
type Words = fn(f64) -> String;

/// The figures of the CSV form, by the stem of their columns.
const FIGURES: [(&str, Figure); 19] = [
    ("accuracy", |cell| cell.accuracy),
    ("balanced_accuracy", |cell| cell.balanced_accuracy),
    ("loss", |cell| cell.loss),
    ("auroc", |cell| cell.auroc),
    ("r2", |cell| cell.r2),
    ("best_accuracy", |cell| cell.best_accuracy),
    ("epsilon", |cell| cell.epsilon),
    ("accounted_epsilon", |cell| cell.accounted_epsilon),
    ("impact", |cell| cell.impact),
    ("impact_best", |cell| cell.impact_best),
    ("attack_success", |cell| cell.attack_success),
    ("source_recall", |cell| cell.source_recall),
    ("malicious_accepted", |cell| cell.malicious_accepted),
    ("malicious_kept", |cell| cell.malicious_kept),
    ("failure_round", |cell| cell.failure_round),
    ("refused", |cell| cell.refused),
    ("bytes_up", |cell| cell.bytes_up),
    ("bytes_down", |cell| cell.bytes_down),
    ("seconds", |cell| cell.seconds),
];

/// A rule under the head and nothing else: readable, narrow, and easy to cut into fields.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('\u{2500}').junction('\u{2500}'));

/// Width of the terminal's table, where its columns can be chosen so.
const WIDTH: usize = 100;

/// Keys that say most about a run: of many differing keys these are shown first.
const TELLING_KEYS: [&str; 16] = [
    "data.dataset",
    "data.path",
    "data.partition.kind",
    "data.partition.alpha",
    "aggregation.rule",
    "attack.kind",
    "attack.clients",
    "aggregation.byzantine",
    "federation.clients",
    "federation.rounds",
    "federation.fraction",
    "model.kind",
    "train.learning_rate",
    "train.epochs",
    "train.batch_size",
    "train.optimizer",
];

impl Comparison {
    /// Tables for the terminal: a row a cell, figures as `mean ± sd` over its seeds, and below it, for a grid of two or
    /// more keys, the means as tables of two. Columns without a figure are left out, and so are the least telling ones
    /// beyond a width of 100; there are no colours and no control characters, so that it can be piped.
    pub fn text(&self) -> String {
        let (columns, left_out) = fitting(self.columns(), &self.cells);
        let head = columns
            .iter()
            .map(|column| (column.name.clone(), column.words));
        let rows = self.cells.iter().map(|cell| {
            let texts = columns.iter().map(|column| (column.text)(cell));
            texts.collect()
        });
        let mut text = drawn(head.collect(), rows.collect());
        if !left_out.is_empty() {
            text.push_str(&left_out_text(&left_out));
        }
        if let Some(pivot) = self.pivot() {
            for measure in self.measures() {
                text.push_str(&pivot_text(&pivot, &measure));
            }
        }
        text.push_str(&self.reasons_text());
        text
    }

    /// Why runs have no result, each reason once, with how many runs it stopped.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Vec::new();
        for run in &self.runs {
            let (status, message) = match &run.result {
                None => (None, ""),
                Some(result) if result.status != SweepStatus::Done => {
                    (Some(result.status), result.message.as_str())
                }
                Some(_) => continue,
            };
            let same = |reason: &&mut Reason| reason.status == status && reason.message == message;
            match reasons.iter_mut().find(same) {
                Some(reason) => reason.runs.push(run.name.clone()),
                None => reasons.push(Reason {
                    status,
                    message: message.to_owned(),
                    runs: vec![run.name.clone()],
                }),
            }
        }
        reasons
    }

    fn reasons_text(&self) -> String {
        const MOST: usize = 12;
        let reasons = self.reasons();
        let mut text = String::new();
        for reason in reasons.iter().take(MOST) {
            let line = reason.line(1).replace('\u{a0}', " ");
            text.push_str(&format!("\n {line}"));
        }
        if reasons.len() > MOST {
            text.push_str(&format!("\n and {} other reasons", reasons.len() - MOST));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// The columns of the terminal's and the page's table, without those that have nothing to show.
    pub(crate) fn columns(&self) -> Vec<Column<'_>> {
        const WIDEST: usize = 40;
        let mut columns = Vec::new();
        if self.named {
            columns.push(Column::words("run", 0, |cell| {
                format::shortened(&cell.label, WIDEST)
            }));
        }
        columns.extend(self.key_columns(WIDEST));
        let worth = |cell: &ComparedCell| cell.runs.len() > 1 || cell.unfinished > 0;
        if self.cells.iter().any(worth) {
            columns.push(Column::figure("runs", 2, runs_words));
        }
        columns.extend(self.figure_columns());
        columns
    }

    /// A column a key. In a grid they are what tells the rows apart; beside names they only explain.
    pub(crate) fn key_columns(&self, widest: usize) -> Vec<Column<'_>> {
        let mut columns = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            let text = move |cell: &ComparedCell| {
                let value = cell.settings.get(index).map_or("", String::as_str);
                format::shortened(&setting_words(value), widest)
            };
            let telling = TELLING_KEYS.iter().position(|telling| telling == key);
            let rank = match (self.named, telling) {
                (false, _) => 0,
                (true, Some(place)) => 3 + place as u32,
                (true, None) => 60 + index as u32,
            };
            columns.push(Column::words(short_key(&self.keys, key), rank, text));
        }
        columns
    }

    fn figure_columns(&self) -> Vec<Column<'_>> {
        let share: Words = |value| format!("{value:.4}");
        let bytes: Words = |value| format::bytes(value.max(0.0) as u64);
        let number: [Words; 2] = [format::plain, format::brief];
        let seconds: Words = |value| format!("{value:.1}");
        let (first, other) = match self.metric {
            HeadlineMetric::Accuracy => (1, 2),
            HeadlineMetric::Auroc => (2, 1),
            HeadlineMetric::R2 => (2, 2),
        };
        let epsilon: [Words; 2] = [cloister_privacy::rounded_up, format::brief];
        let figures: [(&str, u32, Figure, [Words; 2]); 16] = [
            ("accuracy", first, |cell| cell.accuracy, [share; 2]),
            ("balanced", 53, |cell| cell.balanced_accuracy, [share; 2]),
            ("AUROC", other, |cell| cell.auroc, [share; 2]),
            ("R\u{b2}", 1, |cell| cell.r2, [share; 2]),
            ("impact", 2, |cell| cell.impact, [share; 2]),
            ("attack success", 9, |cell| cell.attack_success, [share; 2]),
            ("source recall", 9, |cell| cell.source_recall, [share; 2]),
            ("malicious used", 20, |cell| cell.malicious_used, [share; 2]),
            ("fails at", 50, |cell| cell.failure_round, number),
            ("loss", 30, |cell| cell.loss, number),
            ("best accuracy", 52, |cell| cell.best_accuracy, [share; 2]),
            ("epsilon", 2, |cell| cell.epsilon, epsilon),
            (
                "accounted epsilon",
                2,
                |cell| cell.accounted_epsilon,
                epsilon,
            ),
            ("refused", 51, |cell| cell.refused, number),
            ("bytes up", 54, |cell| cell.bytes_up, [bytes; 2]),
            ("seconds", 55, |cell| cell.seconds, [seconds; 2]),
        ];
        let mut columns = Vec::new();
        for (name, rank, figure, words) in figures {
            let dull = |cell: &ComparedCell| match figure(cell) {
                None => true,
                // Without a single refusal the column says nothing.
                Some(spread) if name == "refused" => spread.mean == 0.0,
                // Nor where no run may claim a finite epsilon.
                Some(spread) => name == "epsilon" && spread.n == 0,
            };
            if !self.cells.iter().all(dull) {
                columns.push(Column::figure(name, rank, move |cell| {
                    let infinite = name.ends_with("epsilon");
                    match figure(cell) {
                        Some(spread) if spread.n == 0 && infinite => "infinite".to_owned(),
                        figure => figure.map_or_else(String::new, |spread| spread.words(words)),
                    }
                }));
            }
        }
        columns
    }

    /// One line a cell: its settings, the number of its runs, and mean and standard deviation of every figure. Numbers
    /// have all their digits.
    ///
    /// # Errors
    ///
    /// [`RecordError::Encode`] should a line not be writable; no comparison is known to cause it.
    pub fn csv(&self) -> Result<String, RecordError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fixed = ["label", "runs", "unfinished", "not_finite"].map(str::to_owned);
        let figures = FIGURES
            .iter()
            .flat_map(|(name, _)| ["mean", "sd"].map(|of| format!("{name}_{of}")));
        let head = self.keys.iter().cloned().chain(fixed).chain(figures);
        writer
            .write_record(head)
            .map_err(|error| unwritable(&error))?;
        for cell in &self.cells {
            // An epsilon that may not be claimed is infinite without anything having diverged.
            let broken = FIGURES
                .iter()
                .filter(|(name, _)| *name != "epsilon")
                .filter_map(|(_, figure)| Some(figure(cell)?.not_finite))
                .max();
            let fixed = [
                cell.label.clone(),
                cell.runs.len().to_string(),
                cell.unfinished.to_string(),
                broken.unwrap_or(0).to_string(),
            ];
            let text =
                |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let figures = FIGURES.iter().flat_map(|(_, figure)| {
                let spread = figure(cell);
                [
                    text(spread.map(|spread| spread.mean)),
                    text(spread.and_then(|spread| spread.sd)),
                ]
            });
            let line = cell.settings.iter().cloned().chain(fixed).chain(figures);
            writer
                .write_record(line)
                .map_err(|error| unwritable(&error))?;
        }
        let bytes = writer.into_inner().map_err(|error| unwritable(&error))?;
        String::from_utf8(bytes).map_err(|error| unwritable(&error))
    }

    /// Everything but the curves: `metric`, `keys`, `runs` and `cells`, with numbers as in a run folder.
    ///
    /// # Errors
    ///
    /// [`RecordError::Encode`] should a value not be writable; no comparison is known to cause it.
    pub fn json(&self) -> Result<Value, RecordError> {
        let mut runs = Vec::new();
        for run in &self.runs {
            let result = serde_json::to_value(&run.result).map_err(|error| unwritable(&error))?;
            runs.push(json!({
                "name": run.name,
                "seed": run.seed,
                "settings": run.settings,
                "result": result,
            }));
        }
        let cells = serde_json::to_value(&self.cells).map_err(|error| unwritable(&error))?;
        Ok(json!({ "metric": self.metric, "keys": self.keys, "runs": runs, "cells": cells }))
    }
}

/// Runs without a result for one reason.
pub(crate) struct Reason {
    /// `None` where they have not ended.
    status: Option<SweepStatus>,
    message: String,
    /// Their names.
    pub(crate) runs: Vec<String>,
}

impl Reason {
    /// `refused, 3 runs: krum with byzantine = 11 needs 25 replies (001-rule-krum, …)`, with so many names at most.
    pub(crate) fn line(&self, most: usize) -> String {
        let count = self.runs.len();
        let shown = self.runs.iter().take(most).cloned().collect::<Vec<_>>();
        let more = if count > most { ", \u{2026}" } else { "" };
        let what = match self.status {
            None => return format!("not ended: {}{more}", shown.join(", ")),
            Some(SweepStatus::Refused) => "refused",
            Some(_) => "failed",
        };
        format!(
            "{what}, {}: {} ({}{more})",
            format::counted(count as u64, "run", "runs"),
            format::shortened(&self.message, 400),
            shown.join(", ")
        )
    }
}

fn runs_words(cell: &ComparedCell) -> String {
    let (runs, unfinished) = (cell.runs.len(), cell.unfinished);
    if unfinished == 0 {
        runs.to_string()
    } else if cell.refused_runs == unfinished {
        format!("{runs} ({unfinished} refused)")
    } else {
        format!("{runs} ({unfinished} not done)")
    }
}

/// The columns that fit, in their order, and the names of the others: those of the lowest rank come first, and one whose
/// cells all say the same comes after all others.
fn fitting<'a>(columns: Vec<Column<'a>>, cells: &[ComparedCell]) -> (Vec<Column<'a>>, Vec<String>) {
    let mut order: Vec<(u32, usize, usize)> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let texts: Vec<String> = cells.iter().map(|cell| (column.text)(cell)).collect();
        let chars = |text: &String| text.chars().count();
        let widest = texts.iter().chain([&column.name]).map(chars).max();
        let same = cells.len() > 1 && texts.iter().all(|text| *text == texts[0]);
        let rank = if same && column.rank > 0 {
            column.rank + 1_000
        } else {
            column.rank
        };
        // Three more between columns.
        order.push((rank, place, widest.unwrap_or(0) + 3));
    }
    order.sort_unstable();
    let mut room = WIDTH + 1;
    let mut kept = vec![false; columns.len()];
    for (rank, place, width) in order {
        // What tells the rows apart is there whatever its width.
        if rank == 0 || width <= room {
            kept[place] = true;
            room = room.saturating_sub(width);
        }
    }
    let (mut shown, mut left_out) = (Vec::new(), Vec::new());
    for (column, kept) in columns.into_iter().zip(kept) {
        if kept {
            shown.push(column);
        } else {
            left_out.push(column.name);
        }
    }
    (shown, left_out)
}

/// What is not shown, in lines that fit as the table does.
fn left_out_text(names: &[String]) -> String {
    let mut text = format!("\n not shown, to fit {WIDTH} columns (--format csv has all):");
    let mut column = text.chars().count() - 1;
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { "," } else { "" };
        let word = format!(" {name}{comma}");
        column += word.chars().count();
        if column > WIDTH {
            text.push_str("\n  ");
            column = 2 + word.chars().count();
        }
        text.push_str(&word);
    }
    text + "\n"
}

/// One figure's tables, a heading over all and the settings over each.
fn pivot_text(pivot: &Pivot<'_>, measure: &Measure) -> String {
    let means = if pivot.repeats() { " (means)" } else { "" };
    let mut text = format!("\n {}{means}\n", measure.heading);
    for (block, title) in pivot.blocks.iter().enumerate() {
        if !pivot.shows(measure, block) {
            continue;
        }
        text.push('\n');
        if !title.is_empty() {
            text.push_str(&format!(" {title}\n"));
        }
        let mut head = vec![(format!("{} \\ {}", pivot.axes.0, pivot.axes.1), true)];
        head.extend(
            pivot
                .columns
                .iter()
                .map(|name| (format::shortened(name, 24), false)),
        );
        let row = |row: usize| {
            let name = format::shortened(&pivot.rows[row], 40);
            let places =
                (0..pivot.columns.len()).map(|column| pivot.text(measure, block, row, column));
            std::iter::once(name).chain(places).collect()
        };
        text.push_str(&drawn(head, (0..pivot.rows.len()).map(row).collect()));
    }
    if pivot.starred(measure) {
        text.push_str("\n * not all of its runs have a result\n");
    }
    if pivot.left_out > 0 {
        text.push_str(&format!("\n and {} more tables\n", pivot.left_out));
    }
    text
}

/// A table of words, set left, and figures, set right.
pub(crate) fn drawn(head: Vec<(String, bool)>, rows: Vec<Vec<String>>) -> String {
    let aligned = |text: String, words: bool| {
        let side = if words {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        };
        Cell::new(text).set_alignment(side)
    };
    let words: Vec<bool> = head.iter().map(|&(_, words)| words).collect();
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(head.into_iter().map(|(name, words)| aligned(name, words)));
    for row in rows {
        let cells = row.into_iter().zip(&words);
        table.add_row(cells.map(|(text, &words)| aligned(text, words)));
    }
    table
        .lines()
        .map(|line| line.trim_end().replace('\u{a0}', " ") + "\n")
        .collect()
}

fn unwritable(error: &dyn std::error::Error) -> RecordError {
    RecordError::Encode {
        file: PathBuf::from("comparison"),
        message: error.to_string(),
    }
}

/// A column of a comparison's table.
pub(crate) struct Column<'a> {
    pub(crate) name: String,
    /// Words are set to the left, figures to the right.
    pub(crate) words: bool,
    /// Which go first where not all fit; those of rank 0 always stay.
    rank: u32,
    pub(crate) text: Box<dyn Fn(&ComparedCell) -> String + 'a>,
}

impl<'a> Column<'a> {
    fn words(name: &str, rank: u32, text: impl Fn(&ComparedCell) -> String + 'a) -> Self {
        Self {
            name: name.to_owned(),
            words: true,
            rank,
            text: Box::new(text),
        }
    }

    fn figure(name: &str, rank: u32, text: impl Fn(&ComparedCell) -> String + 'a) -> Self {
        Self {
            name: name.to_owned(),
            words: false,
            rank,
            text: Box::new(text),
        }
    }
}

impl Spread {
    /// `mean ± sd`, in the figure's own words; without `± sd` where all runs agree to the bit.
    fn words(&self, [mean_words, sd_words]: [Words; 2]) -> String {
        let mut text = match (self.n, self.sd) {
            (0, _) => "not finite".to_owned(),
            (_, Some(sd)) if sd > 0.0 => {
                format!("{} \u{b1} {}", mean_words(self.mean), sd_words(sd))
            }
            _ => mean_words(self.mean),
        };
        if self.n > 0 && self.not_finite > 0 {
            text.push_str(&format!(" ({} diverged)", self.not_finite));
        }
        text
    }
}
