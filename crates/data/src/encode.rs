//! Cells to numbers, with statistics of the training rows.
//!
//! Whatever is fitted is fitted owner by owner and merged: [`ColumnMoments`] of numeric columns, the union of codes of
//! the others. No step needs the rows of two owners in one place.

use std::collections::BTreeSet;

use crate::classes::{canonical, natural_order};
use crate::config::{DataConfig, Scaling};
use crate::dataset::{Column, Sites};
use crate::decode::number;
use crate::error::DataError;
use crate::moments::ColumnMoments;
use crate::tables::{Plan, Row, TablePart};

/// Most codes of a column that is coded one-hot.
const MAX_CODES: usize = 1000;

/// How one column becomes features.
#[derive(Debug)]
enum Code {
    /// `(value - shift) / scale`; a missing value is the training mean.
    Number {
        moments: ColumnMoments,
        shift: f64,
        scale: f64,
        zero_is_missing: bool,
    },
    /// A 1 in the place of the code; all 0 for a missing or an unknown one.
    OneHot(Vec<String>),
}

/// The fitted coding of a table.
#[derive(Debug)]
pub(crate) struct Encoder {
    columns: Vec<(usize, Code)>,
    /// Training rows with a missing cell among the features, and such cells.
    missing: (usize, usize),
}

/// The value of a numeric cell, or none if it is missing.
fn value(
    config: &DataConfig,
    row: Row<'_>,
    column: usize,
    zero_is_missing: bool,
) -> Result<Option<f64>, DataError> {
    let cell = row.cell(column);
    // First of all: a declared sign for a missing value may be a number, such as -9.
    if is_missing(config, cell) {
        return Ok(None);
    }
    match number(cell) {
        Some(value) => Ok(Some(value).filter(|&value| !(zero_is_missing && value == 0.0))),
        None => Err(row.fault(
            column,
            format!(
                "'{cell}' is not a number (a column of codes can be declared in data.categorical)"
            ),
        )),
    }
}

pub(crate) fn is_missing(config: &DataConfig, cell: &str) -> bool {
    config.missing.iter().any(|token| token == cell)
}

/// Whether a column holds codes: declared so, or fewer than half of its cells that are not missing are numbers.
pub(crate) fn is_categorical(
    config: &DataConfig,
    plan: &Plan,
    column: usize,
    part: &TablePart,
    rows: &[u32],
) -> bool {
    if plan.categorical.contains(&column) {
        return true;
    }
    let (mut numbers, mut texts) = (0_usize, 0_usize);
    for &row in rows {
        let cell = part.row(row).cell(column);
        if is_missing(config, cell) {
            continue;
        }
        match number(cell) {
            Some(_) => numbers += 1,
            None => texts += 1,
        }
    }
    texts > numbers
}

impl Encoder {
    /// Fits the coding on `rows` of `part`; `sites` are the owners of these rows.
    pub(crate) fn fit(
        config: &DataConfig,
        plan: &Plan,
        part: &TablePart,
        rows: &[u32],
        sites: Option<&Sites>,
    ) -> Result<Self, DataError> {
        let by_owner = rows_by_owner(rows, sites);
        let mut columns = Vec::with_capacity(plan.features.len());
        for &column in &plan.features {
            let code = if is_categorical(config, plan, column, part, rows) {
                fit_codes(config, part, column, &by_owner)?
            } else {
                let zero_is_missing = plan.zero_is_missing.contains(&column);
                fit_number(config, part, column, &by_owner, zero_is_missing)?
            };
            columns.push((column, code));
        }
        let mut encoder = Self {
            columns,
            missing: (0, 0),
        };
        encoder.missing = encoder.count_missing(config, part, rows)?;
        Ok(encoder)
    }

    /// Features of a row.
    pub(crate) fn width(&self) -> usize {
        self.columns
            .iter()
            .map(|(_, code)| match code {
                Code::Number { .. } => 1,
                Code::OneHot(codes) => codes.len(),
            })
            .sum()
    }

    /// The columns and their features.
    pub(crate) fn described(&self, part: &TablePart) -> Vec<Column> {
        let mut from = 0;
        let describe = |(column, code): &(usize, Code)| {
            let (width, categorical) = match code {
                Code::Number { .. } => (1, false),
                Code::OneHot(codes) => (codes.len(), true),
            };
            from += width;
            Column {
                name: match part.first().grid.header() {
                    Some(names) => names[*column].clone(),
                    None => format!("column {column}"),
                },
                features: from - width..from,
                categorical,
            }
        };
        self.columns.iter().map(describe).collect()
    }

    fn count_missing(
        &self,
        config: &DataConfig,
        part: &TablePart,
        rows: &[u32],
    ) -> Result<(usize, usize), DataError> {
        let (mut with_missing, mut cells) = (0, 0);
        for &row in rows {
            let row = part.row(row);
            let mut missing = 0;
            for (column, code) in &self.columns {
                missing += usize::from(match code {
                    Code::Number {
                        zero_is_missing, ..
                    } => value(config, row, *column, *zero_is_missing)?.is_none(),
                    Code::OneHot(_) => is_missing(config, row.cell(*column)),
                });
            }
            with_missing += usize::from(missing > 0);
            cells += missing;
        }
        Ok((with_missing, cells))
    }

    /// What a reader of the report should know.
    pub(crate) fn notes(&self, rows: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let (with_missing, cells) = self.missing;
        if cells > 0 {
            notes.push(format!(
                "{with_missing} of {rows} training rows have missing cells, {cells} in all: numbers are filled with the \
                 training mean, codes are left without a 1"
            ));
        }
        let constant = self.columns.iter().filter(|(_, code)| match code {
            Code::Number { moments, .. } => moments.count() > 0 && moments.variance() == 0.0,
            Code::OneHot(_) => false,
        });
        let empty = self.columns.iter().filter(|(_, code)| match code {
            Code::Number { moments, .. } => moments.count() == 0,
            Code::OneHot(codes) => codes.is_empty(),
        });
        let count_notes = [
            (constant.count(), "constant over the training rows"),
            (empty.count(), "without any value in the training rows"),
        ];
        for (count, what) in count_notes {
            if count > 0 {
                notes.push(format!(
                    "{count} of {} feature columns are {what}",
                    self.columns.len()
                ));
            }
        }
        notes
    }

    /// The features of `rows` of `part`: `rows.len()` x [`Encoder::width`].
    pub(crate) fn encode(
        &self,
        config: &DataConfig,
        part: &TablePart,
        rows: &[u32],
    ) -> Result<Vec<f32>, DataError> {
        let width = self.width();
        let bytes = (rows.len() as u64)
            .saturating_mul(width as u64)
            .saturating_mul(4);
        if bytes > config.max_bytes {
            let reason = format!(
                "{} rows of {width} features take {bytes} bytes, more than data.max_bytes = {}",
                rows.len(),
                config.max_bytes
            );
            return Err(DataError::too_large(&part.first().file, reason));
        }
        let mut features = Vec::with_capacity(rows.len() * width);
        for &row in rows {
            let row = part.row(row);
            for (column, code) in &self.columns {
                match code {
                    Code::Number {
                        moments,
                        shift,
                        scale,
                        zero_is_missing,
                    } => {
                        let value = value(config, row, *column, *zero_is_missing)?;
                        let coded = ((value.unwrap_or(moments.mean()) - shift) / scale) as f32;
                        if !coded.is_finite() {
                            let reason =
                                format!("'{}' does not fit a 32-bit fraction", row.cell(*column));
                            return Err(row.fault(*column, reason));
                        }
                        features.push(coded);
                    }
                    Code::OneHot(codes) => {
                        let cell = canonical(row.cell(*column));
                        features
                            .extend(codes.iter().map(|code| f32::from(u8::from(*code == cell))));
                    }
                }
            }
        }
        Ok(features)
    }
}

/// The chosen rows of each owner.
fn rows_by_owner(rows: &[u32], sites: Option<&Sites>) -> Vec<Vec<u32>> {
    let Some(sites) = sites else {
        return vec![rows.to_vec()];
    };
    let mut by_owner = vec![Vec::new(); sites.names.len()];
    for (&row, &owner) in rows.iter().zip(&sites.of_row) {
        by_owner[owner as usize].push(row);
    }
    by_owner
}

fn fit_number(
    config: &DataConfig,
    part: &TablePart,
    column: usize,
    by_owner: &[Vec<u32>],
    zero_is_missing: bool,
) -> Result<Code, DataError> {
    let mut moments = ColumnMoments::default();
    for rows in by_owner {
        let mut own = ColumnMoments::default();
        for &row in rows {
            own.observe(value(config, part.row(row), column, zero_is_missing)?);
        }
        moments.merge(&own);
    }
    let (low, high) = moments.range().unwrap_or((0.0, 0.0));
    let (shift, scale) = match config.scaling {
        Scaling::None => (0.0, 1.0),
        Scaling::Standard => (moments.mean(), moments.variance().sqrt()),
        Scaling::MinMax => (low, high - low),
    };
    Ok(Code::Number {
        moments,
        shift,
        // A constant column becomes 0, not 0/0.
        scale: if scale > 0.0 && scale.is_finite() {
            scale
        } else {
            1.0
        },
        zero_is_missing,
    })
}

fn fit_codes(
    config: &DataConfig,
    part: &TablePart,
    column: usize,
    by_owner: &[Vec<u32>],
) -> Result<Code, DataError> {
    let mut codes: BTreeSet<String> = BTreeSet::new();
    for rows in by_owner {
        let own: BTreeSet<_> = rows
            .iter()
            .map(|&row| part.row(row).cell(column))
            .filter(|cell| !is_missing(config, cell))
            .collect();
        codes.extend(own.into_iter().map(|cell| canonical(cell).into_owned()));
        if codes.len() > MAX_CODES {
            let reason = format!(
                "{} holds more than {MAX_CODES} different codes; leave it out by data.drop",
                part.first().grid.column_name(column)
            );
            return Err(DataError::setting("categorical", reason));
        }
    }
    let mut codes: Vec<String> = codes.into_iter().collect();
    codes.sort_by(|a, b| natural_order(a, b));
    Ok(Code::OneHot(codes))
}
