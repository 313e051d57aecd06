//! A comparison as a table for the terminal, as CSV and as JSON.

use std::path::PathBuf;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use serde_json::{Value, json};

use super::{ComparedCell, Comparison, Spread, short_key};
use crate::format;
use crate::record::RecordError;

type Figure = fn(&ComparedCell) -> Option<Spread>;
type Words = fn(f64) -> String;

/// The figures of the CSV form, by the stem of their columns.
const FIGURES: [(&str, Figure); 10] = [
    ("accuracy", |cell| cell.accuracy),
    ("balanced_accuracy", |cell| cell.balanced_accuracy),
    ("loss", |cell| cell.loss),
    ("auroc", |cell| cell.auroc),
    ("best_accuracy", |cell| cell.best_accuracy),
    ("epsilon", |cell| cell.epsilon),
    ("refused", |cell| cell.refused),
    ("bytes_up", |cell| cell.bytes_up),
    ("bytes_down", |cell| cell.bytes_down),
    ("seconds", |cell| cell.seconds),
];

/// A rule under the head and nothing else: readable, narrow, and easy to cut into fields.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('\u{2500}').junction('\u{2500}'));

impl Comparison {
    /// A table for the terminal: a row a cell, figures as `mean ± sd` over its seeds. Columns without a figure are left
    /// out; there are no colours and no control characters, so that it can be piped.
    pub fn text(&self) -> String {
        let columns = self.columns();
        let mut table = Table::new();
        table.load_style(STYLE);
        let aligned = |text: String, words: bool| {
            let side = if words {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            Cell::new(text).set_alignment(side)
        };
        table.set_header(
            columns
                .iter()
                .map(|column| aligned(column.name.clone(), column.words)),
        );
        for cell in &self.cells {
            table.add_row(
                columns
                    .iter()
                    .map(|column| aligned((column.text)(cell), column.words)),
            );
        }
        table
            .lines()
            .map(|line| line.trim_end().replace('\u{a0}', " ") + "\n")
            .collect()
    }

    /// The columns of the terminal's and the page's table, without those that have nothing to show.
    pub(crate) fn columns(&self) -> Vec<Column<'_>> {
        const WIDEST: usize = 48;
        let mut columns = Vec::new();
        if self.named {
            columns.push(Column::words("run", |cell| {
                format::shortened(&cell.label, WIDEST)
            }));
        }
        for (index, key) in self.keys.iter().enumerate() {
            let text = move |cell: &ComparedCell| format::shortened(&cell.settings[index], WIDEST);
            columns.push(Column::words(short_key(&self.keys, key), text));
        }
        let worth = |cell: &ComparedCell| cell.runs.len() > 1 || cell.unfinished > 0;
        if self.cells.iter().any(worth) {
            columns.push(Column::figure("runs", |cell| match cell.unfinished {
                0 => cell.runs.len().to_string(),
                unfinished => format!("{} ({unfinished} not done)", cell.runs.len()),
            }));
        }
        let share: Words = |value| format!("{value:.4}");
        let bytes: Words = |value| format::bytes(value.max(0.0) as u64);
        let figures: [(&str, Figure, [Words; 2]); 9] = [
            ("accuracy", |cell| cell.accuracy, [share, share]),
            ("balanced", |cell| cell.balanced_accuracy, [share, share]),
            ("AUROC", |cell| cell.auroc, [share, share]),
            ("loss", |cell| cell.loss, [format::plain, format::brief]),
            ("best accuracy", |cell| cell.best_accuracy, [share, share]),
            (
                "epsilon",
                |cell| cell.epsilon,
                [format::plain, format::brief],
            ),
            (
                "refused",
                |cell| cell.refused,
                [format::plain, format::brief],
            ),
            ("bytes up", |cell| cell.bytes_up, [bytes, bytes]),
            (
                "seconds",
                |cell| cell.seconds,
                [|value| format!("{value:.1}"), |sd| format!("{sd:.1}")],
            ),
        ];
        for (name, figure, words) in figures {
            let dull = |cell: &ComparedCell| match figure(cell) {
                None => true,
                // Without a single refusal the column says nothing.
                Some(spread) => name == "refused" && spread.mean == 0.0,
            };
            if !self.cells.iter().all(dull) {
                columns.push(Column::figure(name, move |cell| {
                    figure(cell).map_or_else(String::new, |spread| spread.words(words))
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
            let broken = FIGURES
                .iter()
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
    pub(crate) text: Box<dyn Fn(&ComparedCell) -> String + 'a>,
}

impl<'a> Column<'a> {
    fn words(name: &str, text: impl Fn(&ComparedCell) -> String + 'a) -> Self {
        Self {
            name: name.to_owned(),
            words: true,
            text: Box::new(text),
        }
    }

    fn figure(name: &str, text: impl Fn(&ComparedCell) -> String + 'a) -> Self {
        Self {
            name: name.to_owned(),
            words: false,
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
