//! A table's rows, column by column, for the rules that look at more than one column.

use std::collections::BTreeMap;

use super::column::{ColumnKind, ColumnSummary};
use crate::classes::canonical;
use crate::dataset::Sites;
use crate::decode::number;
use crate::tables::TablePart;

/// The rows that the rules look at: all, or a sample of them.
pub(super) struct View<'a> {
    pub(super) part: &'a TablePart,
    /// The class of each row.
    pub(super) labels: &'a [u32],
    pub(super) classes: &'a [String],
    /// The owner of each row.
    pub(super) sites: Option<&'a Sites>,
    pub(super) columns: &'a [ColumnSummary],
    /// Cells that mean a missing value.
    pub(super) signs: &'a [String],
}

/// The values of a column, row by row.
pub(super) enum Values {
    /// A missing value is NaN.
    Numbers(Vec<f64>),
    /// Codes by the place of their name; a missing one is [`MISSING`].
    Codes(Vec<u32>, Vec<String>),
}

/// The code of a missing value.
pub(super) const MISSING: u32 = u32::MAX;

impl View<'_> {
    pub(super) fn rows(&self) -> usize {
        self.labels.len()
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        (0..self.rows() as u32).map(move |row| self.part.row(row).cell(column))
    }

    /// A column as it would be loaded.
    pub(super) fn values(&self, column: &ColumnSummary) -> Values {
        let zero_is_missing = column
            .missing_as
            .last()
            .is_some_and(|last| last.value == "0")
            && column.kind == ColumnKind::Number;
        match column.kind {
            ColumnKind::Number => Values::Numbers(
                self.cells(column.index)
                    .map(|cell| match number(cell) {
                        _ if self.is_missing(cell) => f64::NAN,
                        Some(0.0) if zero_is_missing => f64::NAN,
                        value => value.unwrap_or(f64::NAN),
                    })
                    .collect(),
            ),
            ColumnKind::Codes => {
                let (codes, names) = self.codes(column);
                Values::Codes(codes, names)
            }
        }
    }

    /// A column as codes, whatever it holds.
    pub(super) fn codes(&self, column: &ColumnSummary) -> (Vec<u32>, Vec<String>) {
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        let mut names = Vec::new();
        let codes = self.cells(column.index).map(|cell| {
            if self.is_missing(cell) {
                return MISSING;
            }
            let name = canonical(cell);
            if let Some(code) = known.get(name.as_ref()) {
                return *code;
            }
            let code = names.len() as u32;
            names.push(name.clone().into_owned());
            known.insert(name.into_owned(), code);
            code
        });
        let codes = codes.collect();
        (codes, names)
    }

    fn is_missing(&self, cell: &str) -> bool {
        self.signs.iter().any(|sign| sign == cell)
    }

    /// The texts of a column, to put rows in order.
    pub(super) fn texts(&self, column: usize) -> Vec<&str> {
        self.cells(column).collect()
    }
}

/// Places of values in the order of size, ties in the middle of theirs; a missing one stays NaN.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<u32> = (0..values.len() as u32)
        .filter(|&row| !values[row as usize].is_nan())
        .collect();
    order.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
    let mut ranks = vec![f64::NAN; values.len()];
    let mut before = 0.0;
    for ties in order.chunk_by(|&a, &b| values[a as usize] == values[b as usize]) {
        let size = ties.len() as f64;
        for &row in ties {
            ranks[row as usize] = before + (size + 1.0) / 2.0;
        }
        before += size;
    }
    ranks
}

/// Area under the ROC curve of values for rows that are positive (Hanley and McNeil 1982); missing values are left out.
/// None unless both kinds have `least` rows.
pub(super) fn auroc(values: &[f64], positive: impl Fn(usize) -> bool, least: usize) -> Option<f64> {
    let ranks = ranks(values);
    let (mut yes, mut no, mut sum) = (0.0, 0.0, 0.0);
    for (row, rank) in ranks.iter().enumerate().filter(|(_, rank)| !rank.is_nan()) {
        match positive(row) {
            true => {
                yes += 1.0;
                sum += rank;
            }
            false => no += 1.0,
        }
    }
    let enough = yes >= least as f64 && no >= least as f64;
    enough.then(|| (sum - yes * (yes + 1.0) / 2.0) / (yes * no))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half() {
        let values = [1.0, 2.0, f64::NAN, 2.0, 3.0];
        assert_eq!(ranks(&values)[..2], [1.0, 2.5]);
        assert_eq!(auroc(&values, |row| row >= 3, 1), Some(0.875));
        assert_eq!(auroc(&values, |row| row >= 3, 3), None);
    }
}
