//! The fitted coding of a table.

use serde::{Deserialize, Serialize};

use super::cells::CellFault;
use super::plan::{PreparePlan, Steps};
use crate::config::Scaling;
use crate::dataset::Column;
use crate::error::DataError;
use crate::statistics::{
    CategoryStatistics, ColumnStatistics, MOST_CATEGORIES, NumberStatistics, TableStatistics, Value,
};

/// A plan with the figures that it asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Coded {
    pub(crate) plan: PreparePlan,
    /// How each field becomes features.
    codes: Vec<Code>,
    /// What a reader of a report should know of the training rows.
    pub(crate) notes: Vec<String>,
}

/// How a value becomes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Code {
    /// `(value - shift) / scale`, with `fill` in the place of a missing one.
    Number { fill: f64, shift: f64, scale: f64 },
    /// A 1 in the place of the code; all 0 for a missing or an unknown one.
    OneHot { codes: Vec<String> },
}

impl Coded {
    pub(crate) fn fit(plan: &PreparePlan, known: &TableStatistics) -> Result<Self, DataError> {
        if known.columns.len() != plan.fields.len() {
            let reason = format!(
                "statistics of {} columns for a plan of {}",
                known.columns.len(),
                plan.fields.len()
            );
            return Err(DataError::statistics(reason));
        }
        let mut codes = Vec::with_capacity(plan.fields.len());
        for (field, known) in plan.fields.iter().zip(&known.columns) {
            codes.push(match (&field.steps, known) {
                (Steps::Number { scaling }, ColumnStatistics::Number(known)) => {
                    number_code(*scaling, known)
                }
                (Steps::Category { .. }, ColumnStatistics::Category(known)) => {
                    category_code(plan, field.from, known)?
                }
                _ => {
                    let reason = format!("'{}': an answer to another question", field.name);
                    return Err(DataError::statistics(reason));
                }
            });
        }
        let notes = notes(&codes, &known.columns);
        Ok(Self {
            plan: plan.clone(),
            codes,
            notes,
        })
    }

    /// Features of a row.
    pub(crate) fn width(&self) -> usize {
        self.codes.iter().map(Code::width).sum()
    }

    /// The columns and their features.
    pub(crate) fn described(&self) -> Vec<Column> {
        let mut from = 0;
        let fields = self.plan.fields.iter().zip(&self.codes);
        fields
            .map(|(field, code)| {
                from += code.width();
                Column {
                    name: field.name.clone(),
                    features: from - code.width()..from,
                    categorical: matches!(code, Code::OneHot { .. }),
                }
            })
            .collect()
    }

    /// Appends the features of a row of values. A fault says what the cell does.
    pub(crate) fn encode(
        &self,
        values: &[Value<'_>],
        features: &mut Vec<f32>,
    ) -> Result<(), CellFault> {
        for ((field, code), value) in self.plan.fields.iter().zip(&self.codes).zip(values) {
            match code {
                Code::Number { fill, shift, scale } => {
                    let value = match value {
                        Value::Number(value) => *value,
                        _ => *fill,
                    };
                    let coded = ((value - shift) / scale) as f32;
                    if !coded.is_finite() {
                        return Err(CellFault {
                            column: field.from,
                            reason: "does not fit a 32-bit fraction".to_owned(),
                        });
                    }
                    features.push(coded);
                }
                Code::OneHot { codes } => features.extend(codes.iter().map(|code| {
                    let here = matches!(value, Value::Category(value) if value == code);
                    f32::from(u8::from(here))
                })),
            }
        }
        Ok(())
    }
}

impl Code {
    fn width(&self) -> usize {
        match self {
            Self::Number { .. } => 1,
            Self::OneHot { codes } => codes.len(),
        }
    }
}

fn number_code(scaling: Scaling, known: &NumberStatistics) -> Code {
    let (low, high) = known.range.unwrap_or((0.0, 0.0));
    let (shift, scale) = match scaling {
        Scaling::None => (0.0, 1.0),
        Scaling::Standard => (known.mean, known.variance.sqrt()),
        Scaling::MinMax => (low, high - low),
    };
    Code::Number {
        fill: known.mean,
        shift,
        // A constant column becomes 0, not 0/0.
        scale: if scale > 0.0 && scale.is_finite() {
            scale
        } else {
            1.0
        },
    }
}

fn category_code(
    plan: &PreparePlan,
    column: usize,
    known: &CategoryStatistics,
) -> Result<Code, DataError> {
    if known.others > 0 {
        let column = &plan.columns[column];
        let name = match column.name.starts_with("column ") {
            true => column.name.clone(),
            false => format!("column {} ('{}')", column.index, column.name),
        };
        let reason = format!(
            "{name} holds more than {MOST_CATEGORIES} different codes; leave it out by data.drop"
        );
        return Err(DataError::setting("categorical", reason));
    }
    let codes = known.counts.iter().map(|(code, _)| code.clone());
    Ok(Code::OneHot {
        codes: codes.collect(),
    })
}

/// What is odd about the columns.
fn notes(codes: &[Code], known: &[ColumnStatistics]) -> Vec<String> {
    let constant = known.iter().filter(|known| match known {
        ColumnStatistics::Number(known) => known.count > 0 && known.variance == 0.0,
        _ => false,
    });
    let empty = known.iter().filter(|known| match known {
        ColumnStatistics::Number(known) => known.count == 0,
        ColumnStatistics::Category(known) => known.counts.is_empty(),
        ColumnStatistics::Nothing => false,
    });
    [
        (constant.count(), "constant over the training rows"),
        (empty.count(), "without any value in the training rows"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} of {} feature columns are {what}", codes.len()))
    .collect()
}
