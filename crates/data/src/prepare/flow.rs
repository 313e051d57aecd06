//! Figures of network records: sums of bytes and packets, and rates.

use serde::{Deserialize, Serialize};

use super::config::FlowConfig;
use crate::error::DataError;
use crate::statistics::Value;

/// A sum of columns, or a ratio of sums; columns are places among the planned ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) over: Vec<usize>,
    /// Empty for the sum itself.
    pub(crate) under: Vec<usize>,
}

impl Rate {
    /// The columns that it is made of.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.over.iter().chain(&self.under).copied()
    }

    /// Its value; missing where a column is, and over nothing.
    pub(crate) fn of(&self, values: &[Value<'_>]) -> Value<'static> {
        let Some(over) = sum(&self.over, values) else {
            return Value::Missing;
        };
        if self.under.is_empty() {
            return Value::Number(over);
        }
        match sum(&self.under, values) {
            Some(under) if under > 0.0 && (over / under).is_finite() => Value::Number(over / under),
            _ => Value::Missing,
        }
    }
}

fn sum(columns: &[usize], values: &[Value<'_>]) -> Option<f64> {
    columns
        .iter()
        .try_fold(0.0, |sum, column| match values[*column] {
            Value::Number(value) => Some(sum + value).filter(|sum: &f64| sum.is_finite()),
            _ => None,
        })
}

/// The figures that `config` asks for, by name. `place` finds a column among the planned ones.
pub(crate) fn rates(
    config: &FlowConfig,
    place: impl Fn(&'static str, &crate::config::ColumnRef) -> Result<usize, DataError>,
) -> Result<Vec<(String, Rate)>, DataError> {
    let places = |key, columns: &[crate::config::ColumnRef]| {
        let found = columns.iter().map(|column| place(key, column));
        found.collect::<Result<Vec<usize>, DataError>>()
    };
    let bytes = places("prepare.flow.bytes", &config.bytes)?;
    let packets = places("prepare.flow.packets", &config.packets)?;
    let duration = match &config.duration {
        Some(column) => vec![place("prepare.flow.duration", column)?],
        None => Vec::new(),
    };
    let mut rates = Vec::new();
    let mut add = |name: String, over: &[usize], under: &[usize]| {
        rates.push((
            name,
            Rate {
                over: over.to_vec(),
                under: under.to_vec(),
            },
        ));
    };
    for (what, columns) in [("bytes", &bytes), ("packets", &packets)] {
        if columns.is_empty() {
            continue;
        }
        if columns.len() > 1 {
            add(format!("flow.{what}"), columns, &[]);
            add(format!("flow.{what}-forward"), &columns[..1], columns);
        }
        if !duration.is_empty() {
            add(format!("flow.{what}-per-second"), columns, &duration);
        }
    }
    if !bytes.is_empty() && !packets.is_empty() {
        add("flow.bytes-per-packet".to_owned(), &bytes, &packets);
    }
    Ok(rates)
}
