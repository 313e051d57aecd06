//! Rows of tables: errors column by column.

use serde::Serialize;

use super::assign;
use crate::inversion::error::InversionError;
use crate::inversion::score::{row, rows};

/// A column of the original table, and where its values are in a row of features.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// One number.
    Number {
        /// Its name.
        name: String,
        /// Its feature.
        at: usize,
    },
    /// A text or a code, one-hot over some features.
    Category {
        /// Its name.
        name: String,
        /// Its first feature.
        from: usize,
        /// How many features it takes.
        len: usize,
    },
}

/// How a column came out, and how it would have come out for someone who only knows the population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnScore {
    /// The column.
    pub name: String,
    /// Whether it is a category.
    pub categorical: bool,
    /// Of a number the mean absolute error in standard deviations of the population; of a category the share that came out
    /// wrong.
    pub error: f64,
    /// The same of the best constant guess: the population's median, or its commonest category.
    pub floor: f64,
}

/// Scores rows `found`, `[m, features]`, against `truth`, `[n, features]` with m at least n, after an assignment by the mean
/// error over the columns. `population`, `[k, features]`, is what everybody knows: other rows of the same table.
///
/// # Errors
/// When a length does not fit, a column lies outside of the row, or there is nothing to score.
pub fn score_table(
    truth: &[f32],
    found: &[f32],
    population: &[f32],
    features: usize,
    columns: &[Column],
) -> Result<Vec<ColumnScore>, InversionError> {
    let n = rows("the truth", truth, features)?;
    let m = rows("the reconstruction", found, features)?;
    rows("the population", population, features)?;
    InversionError::length(
        "the reconstruction",
        truth.len(),
        found.len().min(truth.len()),
    )?;
    for column in columns {
        let (from, len) = match column {
            Column::Number { at, .. } => (*at, 1),
            Column::Category { from, len, .. } => (*from, *len),
        };
        if len == 0 || from.checked_add(len).is_none_or(|end| end > features) {
            return Err(InversionError::Parameter {
                what: "a column",
                reason: format!("must lie within the {features} features"),
            });
        }
    }
    let guesses: Vec<Guess> = columns
        .iter()
        .map(|column| Guess::new(column, population, features))
        .collect();
    let mut costs = Vec::with_capacity(n * m);
    for i in 0..n {
        for j in 0..m {
            let (a, b) = (row(truth, i, features), row(found, j, features));
            let errors = columns.iter().zip(&guesses);
            costs.push(
                errors
                    .map(|(column, guess)| guess.error(column, a, b))
                    .sum(),
            );
        }
    }
    let matched = assign(&costs, n, m);
    let score = |(column, guess): (&Column, &Guess)| {
        let pairs = matched.iter().enumerate();
        let error: f64 = pairs
            .map(|(i, &j)| guess.error(column, row(truth, i, features), row(found, j, features)))
            .sum();
        let floor: f64 = (0..n)
            .map(|i| guess.floor(column, row(truth, i, features)))
            .sum();
        let (name, categorical) = match column {
            Column::Number { name, .. } => (name, false),
            Column::Category { name, .. } => (name, true),
        };
        ColumnScore {
            name: name.clone(),
            categorical,
            error: error / n as f64,
            floor: floor / n as f64,
        }
    };
    Ok(columns.iter().zip(&guesses).map(score).collect())
}

/// What the population says of a column.
struct Guess {
    /// The median, or the number of the commonest category.
    value: f64,
    /// The standard deviation; 1 for what does not vary.
    deviation: f64,
}

impl Guess {
    fn new(column: &Column, population: &[f32], features: usize) -> Self {
        match *column {
            Column::Number { at, .. } => {
                let values = population.chunks_exact(features);
                let values: Vec<f64> = values.map(|row| f64::from(row[at])).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                let deviation = (square / values.len() as f64).sqrt();
                Self {
                    value: super::median(&values),
                    deviation: if deviation > 0.0 { deviation } else { 1.0 },
                }
            }
            Column::Category { from, len, .. } => {
                let mut counts = vec![0_usize; len];
                for row in population.chunks_exact(features) {
                    counts[largest(&row[from..from + len])] += 1;
                }
                let most = counts.iter().copied().max().unwrap_or(0);
                let value = counts.iter().position(|&count| count == most).unwrap_or(0);
                Self {
                    value: value as f64,
                    deviation: 1.0,
                }
            }
        }
    }

    fn error(&self, column: &Column, truth: &[f32], found: &[f32]) -> f64 {
        match *column {
            Column::Number { at, .. } => {
                let error = (f64::from(truth[at]) - f64::from(found[at])).abs() / self.deviation;
                if error.is_finite() {
                    error
                } else {
                    f64::MAX / 1e12
                }
            }
            Column::Category { from, len, .. } => {
                let range = from..from + len;
                f64::from(u8::from(
                    largest(&truth[range.clone()]) != largest(&found[range]),
                ))
            }
        }
    }

    fn floor(&self, column: &Column, truth: &[f32]) -> f64 {
        match *column {
            Column::Number { at, .. } => (f64::from(truth[at]) - self.value).abs() / self.deviation,
            Column::Category { from, len, .. } => {
                let value = largest(&truth[from..from + len]) as f64;
                f64::from(u8::from(value != self.value))
            }
        }
    }
}

/// The place of the largest value, the first among equals.
fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
