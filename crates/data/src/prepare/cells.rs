//! From cells to values: what needs nothing but the row itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::config::{Ambiguous, Case, Outside, Transform};
use super::hashing::cased;
use super::plan::{Field, PlannedColumn, PreparePlan, Source, Steps};
use super::time::{self, Format, Moment};
use crate::classes::{canonical, shortened};
use crate::decode::number;
use crate::statistics::Value;

/// How a cell is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Reading {
    /// As a number.
    Number {
        zero_is_missing: bool,
        range: Option<(f64, f64)>,
        outside: Outside,
    },
    /// As a code.
    Category { case: Case, trim: bool },
    /// As the place of a code in a declared order, from 0.
    Ordinal {
        case: Case,
        trim: bool,
        order: Vec<String>,
    },
    /// As 1 for yes and 0 for no.
    Boolean { yes: Vec<String>, no: Vec<String> },
    /// As seconds since 1970.
    Time {
        formats: Vec<Format>,
        ambiguous: Ambiguous,
    },
    /// As it is.
    Text { case: Case },
}

/// What is wrong with a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellFault {
    /// Place of its column among the planned ones.
    pub(crate) column: usize,
    /// What is wrong, in words.
    pub(crate) reason: String,
}

/// The values of a row.
pub(crate) struct RowValues<'a> {
    /// In the order of the fields.
    pub(crate) values: Vec<Value<'a>>,
    /// Whether the row is not to be trained on.
    pub(crate) dropped: bool,
}

/// One spelling for equal codes.
fn code(cell: &str, case: Case, trim: bool) -> Cow<'_, str> {
    if case == Case::Keep && !trim {
        return canonical(cell);
    }
    let mut text = cased(cell, case);
    if trim {
        text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    Cow::Owned(canonical(&text).into_owned())
}

impl PlannedColumn {
    /// Whether the cell means that there is no value.
    pub(crate) fn is_missing(&self, cell: &str) -> bool {
        self.missing.iter().any(|token| token == cell)
    }

    /// The value of a cell, and whether it lies where the row is to be dropped.
    fn read<'a>(&self, cell: &'a str) -> Result<(Value<'a>, bool), String> {
        // First of all: a declared sign for a missing value may be a number, such as -9.
        if self.is_missing(cell) {
            return Ok((Value::Missing, self.drop_missing));
        }
        let value = match &self.reading {
            Reading::Category { case, trim } => Value::Category(code(cell, *case, *trim)),
            Reading::Text { case: Case::Keep } => Value::Category(Cow::Borrowed(cell)),
            Reading::Text { case } => Value::Category(Cow::Owned(cased(cell, *case))),
            Reading::Ordinal { case, trim, order } => {
                let code = code(cell, *case, *trim);
                let Some(place) = order.iter().position(|known| *known == code) else {
                    let known = shortened(order.iter().map(String::as_str));
                    return Err(format!("'{cell}' is not in the declared order ({known})"));
                };
                Value::Number(place as f64)
            }
            Reading::Boolean { yes, no } => {
                let is =
                    |list: &[String]| list.iter().any(|token| token.eq_ignore_ascii_case(cell));
                match (is(yes), is(no)) {
                    (true, _) => Value::Number(1.0),
                    (_, true) => Value::Number(0.0),
                    _ => return Err(format!("'{cell}' is neither yes nor no")),
                }
            }
            Reading::Time { formats, ambiguous } => match time::read(cell, formats, *ambiguous)? {
                Moment::Seconds(seconds) => Value::Number(seconds),
                Moment::Missing => Value::Missing,
            },
            Reading::Number {
                zero_is_missing,
                range,
                outside,
            } => return self.read_number(cell, *zero_is_missing, *range, *outside),
        };
        let dropped = value == Value::Missing && self.drop_missing;
        Ok((value, dropped))
    }

    fn read_number(
        &self,
        cell: &str,
        zero_is_missing: bool,
        range: Option<(f64, f64)>,
        outside: Outside,
    ) -> Result<(Value<'static>, bool), String> {
        let Some(value) = number(cell) else {
            return Err(format!(
                "'{cell}' is not a number (a column of codes can be declared in data.categorical)"
            ));
        };
        if zero_is_missing && value == 0.0 {
            return Ok((Value::Missing, self.drop_missing));
        }
        match range {
            Some((low, high)) if !(low..=high).contains(&value) => Ok(match outside {
                Outside::Clip => (Value::Number(value.clamp(low, high)), false),
                Outside::Missing => (Value::Missing, self.drop_missing),
                Outside::DropRow => (Value::Missing, true),
            }),
            _ => Ok((Value::Number(value), false)),
        }
    }
}

impl Transform {
    /// The function's value, if it has one.
    pub(crate) fn of(self, value: f64) -> Option<f64> {
        match self {
            Self::None => Some(value),
            Self::Log1p if value > -1.0 => Some(value.ln_1p()),
            Self::Log1p => None,
            Self::SignedLog => Some(value.abs().ln_1p().copysign(value)),
        }
    }
}

impl PreparePlan {
    /// The values of a row in the question's order; `cell` gives the cell of a column of the table.
    pub(crate) fn values<'a>(
        &self,
        cell: impl Fn(usize) -> &'a str,
    ) -> Result<RowValues<'a>, CellFault> {
        let mut read = Vec::with_capacity(self.columns.len());
        let mut dropped = false;
        for (place, column) in self.columns.iter().enumerate() {
            let (value, drop) = column
                .read(cell(column.index))
                .map_err(|reason| CellFault {
                    column: place,
                    reason,
                })?;
            dropped |= drop;
            read.push(value);
        }
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let value = field.value(&read);
            values.push(value.map_err(|reason| CellFault {
                column: field.source.column(),
                reason,
            })?);
        }
        Ok(RowValues { values, dropped })
    }

    /// The columns without a value among `values`, which are in the order of the fields.
    pub(crate) fn missing_cells(&self, values: &[Value<'_>]) -> usize {
        let mut last = None;
        let mut missing = 0;
        for (field, value) in self.fields.iter().zip(values) {
            // All that is read off a time is one cell, and what comes of a network record is none.
            let column = match &field.source {
                Source::Flow { .. } => continue,
                source => source.column(),
            };
            missing += usize::from(*value == Value::Missing && last != Some(column));
            last = Some(column);
        }
        missing
    }

    /// Whether some training rows may have to be left out.
    pub(crate) fn may_drop(&self) -> bool {
        self.columns.iter().any(|column| {
            let outside = matches!(
                column.reading,
                Reading::Number {
                    range: Some(_),
                    outside: Outside::DropRow,
                    ..
                }
            );
            column.drop_missing || outside
        })
    }
}

impl Field {
    fn value<'a>(&self, read: &[Value<'a>]) -> Result<Value<'a>, String> {
        let value = match &self.source {
            Source::Column { column } => read[*column].clone(),
            Source::Part {
                column,
                part,
                since,
                number,
            } => match read[*column] {
                Value::Number(seconds) => Value::Number(part.of(seconds, *since, *number)),
                _ => Value::Missing,
            },
            Source::Flow { rate } => rate.of(read),
        };
        match (&self.steps, &value) {
            (Steps::Number(steps), Value::Number(value)) => match steps.transform.of(*value) {
                Some(value) => Ok(Value::Number(value)),
                None => Err(format!("{value} has no logarithm of 1 + x")),
            },
            _ => Ok(value),
        }
    }
}
