//! From cells to values: what needs nothing but the row itself.

use serde::{Deserialize, Serialize};

use super::plan::{PlannedColumn, PreparePlan};
use crate::classes::canonical;
use crate::decode::number;
use crate::statistics::Value;

/// How a cell is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Reading {
    /// As a number.
    Number { zero_is_missing: bool },
    /// As a code.
    Category,
}

/// What is wrong with a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellFault {
    /// Place of its column among the planned ones.
    pub(crate) column: usize,
    /// What is wrong, in words.
    pub(crate) reason: String,
}

impl PlannedColumn {
    /// Whether the cell means that there is no value.
    pub(crate) fn is_missing(&self, cell: &str) -> bool {
        self.missing.iter().any(|token| token == cell)
    }

    fn read<'a>(&self, cell: &'a str) -> Result<Value<'a>, String> {
        // First of all: a declared sign for a missing value may be a number, such as -9.
        if self.is_missing(cell) {
            return Ok(Value::Missing);
        }
        match &self.reading {
            Reading::Category => Ok(Value::Category(canonical(cell))),
            Reading::Number { zero_is_missing } => match number(cell) {
                Some(0.0) if *zero_is_missing => Ok(Value::Missing),
                Some(value) => Ok(Value::Number(value)),
                None => Err(format!(
                    "'{cell}' is not a number (a column of codes can be declared in data.categorical)"
                )),
            },
        }
    }
}

impl PreparePlan {
    /// The values of a row in the question's order; `cell` gives the cell of a column of the table.
    pub(crate) fn values<'a>(
        &self,
        cell: impl Fn(usize) -> &'a str,
    ) -> Result<Vec<Value<'a>>, CellFault> {
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let column = &self.columns[field.from];
            let value = column.read(cell(column.index));
            values.push(value.map_err(|reason| CellFault {
                column: field.from,
                reason,
            })?);
        }
        Ok(values)
    }
}
