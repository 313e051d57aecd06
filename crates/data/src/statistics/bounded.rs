//! Statistics in one pass, of rows whose values are cut to bounds that are known beforehand: what noise can hide.
//!
//! A row adds a vector of limited length to its owner's sum: for a number, as `t` from -1 to 1 between its bounds, a one, `t` and
//! `2 t^2 - 1`; for a category a one in its place; a one for its class. Noise in proportion to [`BoundedSurvey::norm`] then hides
//! whether the row is there. Quantiles cannot be had so, and categories have to be declared.

use std::collections::BTreeMap;

use super::survey::SurveyError;
use super::{
    Asked, CategoryStatistics, ColumnStatistics, NumberStatistics, Question, TableStatistics, Value,
};
use crate::classes::natural_order;

/// The one pass that answers a question about bounded values.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundedSurvey {
    columns: Vec<Column>,
    classes: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Column {
    Nothing,
    Number(f64, f64),
    Category(Vec<String>),
}

/// Numbers that a column of numbers adds.
const OF_NUMBER: usize = 3;

impl BoundedSurvey {
    /// The pass for `question`, with the bounds of the columns of numbers and the categories of the others, by name.
    ///
    /// # Errors
    /// [`SurveyError::Setting`] for a column without bounds or categories, bounds that hold nothing, and for what needs quantiles
    /// or correlations.
    pub fn new(
        question: &Question,
        bounds: &BTreeMap<String, (f64, f64)>,
        categories: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, SurveyError> {
        let refuse = |key, reason| Err(SurveyError::Setting { key, reason });
        if question.correlation {
            let reason = "noise hides no correlations here: leave out what needs them (principal components)";
            return refuse("data.prepare", reason.to_owned());
        }
        let mut columns = Vec::with_capacity(question.columns.len());
        for (name, asked) in &question.columns {
            columns.push(match asked {
                Asked::Nothing => Column::Nothing,
                Asked::Number { quantiles, clip } if clip.is_some() || !quantiles.is_empty() => {
                    let reason = format!(
                        "column '{name}' asks for quantiles, which this noise does not give; use scaling = \"standard\" or \"min-max\" and the mean for what is missing"
                    );
                    return refuse("data.prepare", reason);
                }
                Asked::Number { .. } => match bounds.get(name) {
                    Some((low, high)) if low < high && (high - low).is_finite() => {
                        Column::Number(*low, *high)
                    }
                    Some((low, high)) => {
                        let reason = format!("{low} to {high} of column '{name}' holds nothing");
                        return refuse("statistics.bounds", reason);
                    }
                    None => {
                        let reason = format!("noise needs the bounds of column '{name}': {name} = [low, high]");
                        return refuse("statistics.bounds", reason);
                    }
                },
                Asked::Category { .. } => match categories.get(name) {
                    Some(names) => {
                        let mut names = names.clone();
                        names.sort_by(|a, b| natural_order(a, b));
                        names.dedup();
                        Column::Category(names)
                    }
                    None => {
                        let reason = format!("noise needs the categories of column '{name}': {name} = [...]");
                        return refuse("statistics.known", reason);
                    }
                },
            });
        }
        Ok(Self {
            columns,
            classes: question.classes,
        })
    }

    /// Numbers in a sum.
    pub fn width(&self) -> usize {
        let of_columns: usize = self.columns.iter().map(Column::width).sum();
        of_columns + self.classes
    }

    /// The longest vector that a row can add.
    pub fn norm(&self) -> f64 {
        let squares = self.columns.iter().map(|column| match column {
            Column::Nothing => 0.0,
            // 1 + t^2 + (2 t^2 - 1)^2 is largest, 3, where |t| = 1.
            Column::Number(..) => 3.0,
            Column::Category(_) => 1.0,
        });
        (squares.sum::<f64>() + 1.0).sqrt()
    }

    /// What a row adds, in place of what was in `out`.
    pub fn contribution(&self, row: &[Value<'_>], class: u32, out: &mut Vec<f32>) {
        out.clear();
        for (column, value) in self.columns.iter().zip(row) {
            match (column, value) {
                (Column::Number(low, high), Value::Number(value)) => {
                    let value = value.clamp(*low, *high);
                    let t = (2.0 * (value - low) / (high - low) - 1.0) as f32;
                    out.extend([1.0, t, 2.0 * t * t - 1.0]);
                }
                (Column::Category(names), Value::Category(name)) => {
                    out.extend(names.iter().map(|known| f32::from(u8::from(known == name))));
                }
                (column, _) => out.extend(std::iter::repeat_n(0.0, column.width())),
            }
        }
        let classes = 0..self.classes;
        out.extend(classes.map(|known| f32::from(u8::from(known == class as usize))));
    }

    /// The answer that sums, with noise, amount to: counts are rounded and never negative, means stay within the bounds.
    pub fn statistics(&self, sums: &[f64]) -> TableStatistics {
        let (of_columns, classes) = sums.split_at(sums.len().saturating_sub(self.classes));
        let count = |sum: f64| sum.round().max(0.0) as u64;
        let classes: Vec<u64> = classes.iter().map(|sum| count(*sum)).collect();
        let rows: u64 = classes.iter().sum();
        let mut rest = of_columns;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let (own, others) = rest.split_at(column.width().min(rest.len()));
            rest = others;
            columns.push(match column {
                Column::Nothing => ColumnStatistics::Nothing,
                Column::Number(low, high) => {
                    ColumnStatistics::Number(of_number((*low, *high), own, rows))
                }
                Column::Category(names) => {
                    let counts: Vec<(String, u64)> = names
                        .iter()
                        .zip(own)
                        .map(|(name, sum)| (name.clone(), count(*sum)))
                        .collect();
                    let listed: u64 = counts.iter().map(|(_, count)| count).sum();
                    ColumnStatistics::Category(CategoryStatistics {
                        // Missing and undeclared ones cannot be told apart.
                        missing: rows.saturating_sub(listed),
                        counts,
                        others: 0,
                    })
                }
            });
        }
        TableStatistics {
            rows,
            classes,
            columns,
            correlation: None,
        }
    }
}

impl Column {
    fn width(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Number(..) => OF_NUMBER,
            Self::Category(names) => names.len(),
        }
    }
}

fn of_number((low, high): (f64, f64), sums: &[f64], rows: u64) -> NumberStatistics {
    let count = sums[0].max(1.0);
    let mean = (sums[1] / count).clamp(-1.0, 1.0);
    let square = ((sums[2] / count + 1.0) / 2.0).clamp(0.0, 1.0);
    let half = (high - low) / 2.0;
    let values = sums[0].round().max(0.0) as u64;
    NumberStatistics {
        count: values,
        missing: rows.saturating_sub(values),
        mean: low + (mean + 1.0) * half,
        // Noise can make the spread of nearly constant values negative.
        variance: (square - mean * mean).max(0.0) * half * half,
        range: Some((low, high)),
        quantiles: Vec::new(),
        clip: Some((low, high)),
    }
}
