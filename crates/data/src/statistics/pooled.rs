//! Statistics of rows that one party may see.

use std::collections::BTreeMap;

use super::{
    Asked, CategoryStatistics, ColumnStatistics, NumberStatistics, Question, TableStatistics, Value,
};
use crate::classes::natural_order;
use crate::moments::ColumnMoments;

/// What is collected of a column before anything can be computed.
enum Collected {
    Nothing,
    Numbers {
        values: Vec<f64>,
        missing: u64,
    },
    Categories {
        counts: BTreeMap<String, u64>,
        missing: u64,
    },
}

/// Collects rows one by one, so that not all of them need be in memory as values.
///
/// ```
/// use cloister_data::statistics::{Asked, Question, RowStatistics, Value};
///
/// let question = Question { columns: vec![("age".to_owned(), Asked::number())], classes: 2, correlation: false };
/// let mut statistics = RowStatistics::new(&question);
/// statistics.observe(&[Value::Number(40.0)], 1);
/// assert_eq!(statistics.finish().classes, [0, 1]);
/// ```
pub struct RowStatistics<'q> {
    question: &'q Question,
    collected: Vec<Collected>,
    classes: Vec<u64>,
    rows: u64,
    /// The columns of numbers, if correlations are asked for.
    matrix: Vec<Vec<Option<f64>>>,
}

impl<'q> RowStatistics<'q> {
    /// No row yet.
    pub fn new(question: &'q Question) -> Self {
        Self {
            question,
            collected: question.columns.iter().map(Collected::of).collect(),
            classes: vec![0; question.classes],
            rows: 0,
            matrix: Vec::new(),
        }
    }

    /// Takes in a row of values in the question's order, and its class.
    pub fn observe(&mut self, row: &[Value<'_>], class: u32) {
        self.rows += 1;
        if let Some(rows) = self.classes.get_mut(class as usize) {
            *rows += 1;
        }
        for (column, value) in self.collected.iter_mut().zip(row) {
            column.observe(value);
        }
        if self.question.correlation {
            self.matrix.push(numbers(self.question, row).collect());
        }
    }

    /// The answer.
    pub fn finish(self) -> TableStatistics {
        let asked = self.question.columns.iter().map(|(_, asked)| asked);
        let columns: Vec<ColumnStatistics> = self
            .collected
            .into_iter()
            .zip(asked)
            .map(|(column, asked)| column.finish(asked))
            .collect();
        let correlated = self.question.correlation;
        let correlation = correlated.then(|| correlation(&columns, &self.matrix));
        TableStatistics {
            rows: self.rows,
            classes: self.classes,
            columns,
            correlation,
        }
    }
}

impl TableStatistics {
    /// Answers `question` over rows of values and their class. A value of another kind than is asked for counts as
    /// missing.
    pub fn of_rows<'a>(
        question: &Question,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Self {
        let mut statistics = RowStatistics::new(question);
        for (row, class) in rows {
            statistics.observe(row, class);
        }
        statistics.finish()
    }
}

impl Collected {
    fn of((_, asked): &(String, Asked)) -> Self {
        match asked {
            Asked::Nothing => Self::Nothing,
            Asked::Number { .. } => Self::Numbers {
                values: Vec::new(),
                missing: 0,
            },
            Asked::Category { .. } => Self::Categories {
                counts: BTreeMap::new(),
                missing: 0,
            },
        }
    }

    fn observe(&mut self, value: &Value<'_>) {
        match (self, value) {
            (Self::Nothing, _) => {}
            (Self::Numbers { values, .. }, Value::Number(value)) => values.push(*value),
            (Self::Categories { counts, .. }, Value::Category(code)) => {
                match counts.get_mut(code.as_ref()) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(code.clone().into_owned(), 1);
                    }
                }
            }
            (Self::Numbers { missing, .. } | Self::Categories { missing, .. }, _) => *missing += 1,
        }
    }

    fn finish(self, asked: &Asked) -> ColumnStatistics {
        match (self, asked) {
            (Self::Numbers { values, missing }, Asked::Number { quantiles, clip }) => {
                ColumnStatistics::Number(of_numbers(values, missing, quantiles, *clip))
            }
            (Self::Categories { counts, missing }, Asked::Category { at_least, most }) => {
                ColumnStatistics::Category(CategoryStatistics::of_counts(
                    counts.into_iter().collect(),
                    missing,
                    *at_least,
                    *most,
                ))
            }
            _ => ColumnStatistics::Nothing,
        }
    }
}

fn of_numbers(
    mut values: Vec<f64>,
    missing: u64,
    quantiles: &[f64],
    clip: Option<(f64, f64)>,
) -> NumberStatistics {
    values.sort_by(f64::total_cmp);
    let at = |p: f64| values.get(rank(values.len() as u64, p) as usize).copied();
    let quantiles = quantiles.iter().filter_map(|p| at(*p)).collect();
    let clip = clip.and_then(|(low, high)| Some((at(low)?, at(high)?)));
    let mut moments = ColumnMoments::default();
    for value in &values {
        moments.observe(Some(
            clip.map_or(*value, |(low, high)| value.clamp(low, high)),
        ));
    }
    NumberStatistics {
        count: moments.count(),
        missing,
        mean: moments.mean(),
        variance: moments.variance(),
        range: moments.range(),
        quantiles,
        clip,
    }
}

/// The place, from 0, of the `p`-quantile among `count` sorted values.
pub(super) fn rank(count: u64, p: f64) -> u64 {
    let rank = (p * count as f64).ceil() as u64;
    rank.clamp(1, count.max(1)) - 1
}

impl CategoryStatistics {
    /// Keeps the categories that are frequent enough, and of these the most frequent.
    pub(crate) fn of_counts(
        mut counts: Vec<(String, u64)>,
        missing: u64,
        at_least: u64,
        most: usize,
    ) -> Self {
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        counts.retain(|(_, count)| *count >= at_least);
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| natural_order(&a.0, &b.0)));
        counts.truncate(most);
        counts.sort_by(|a, b| natural_order(&a.0, &b.0));
        let listed: u64 = counts.iter().map(|(_, count)| count).sum();
        Self {
            missing,
            counts,
            others: all - listed,
        }
    }
}

/// The values of the columns of numbers; `None` is a missing one.
fn numbers<'a>(
    question: &'a Question,
    row: &'a [Value<'_>],
) -> impl Iterator<Item = Option<f64>> + 'a {
    let asked = question.columns.iter().zip(row);
    asked.filter_map(|((_, asked), value)| match (asked, value) {
        (Asked::Number { .. }, Value::Number(value)) => Some(Some(*value)),
        (Asked::Number { .. }, _) => Some(None),
        _ => None,
    })
}

fn correlation(columns: &[ColumnStatistics], matrix: &[Vec<Option<f64>>]) -> Vec<f64> {
    let known: Vec<&NumberStatistics> = columns
        .iter()
        .filter_map(|column| match column {
            ColumnStatistics::Number(known) => Some(known),
            _ => None,
        })
        .collect();
    let width = known.len();
    let mut sums = vec![0.0; width * width];
    for row in matrix {
        let scaled: Vec<f64> = known
            .iter()
            .zip(row)
            .map(|(known, value)| known.standardised(*value))
            .collect();
        for (i, x) in scaled.iter().enumerate() {
            for (j, y) in scaled.iter().enumerate() {
                sums[i * width + j] += x * y;
            }
        }
    }
    let rows = matrix.len().max(1) as f64;
    sums.iter().map(|sum| sum / rows).collect()
}

impl NumberStatistics {
    /// A value clipped, minus the mean, over the standard deviation; 0 for a missing one and in a constant column.
    pub(super) fn standardised(&self, value: Option<f64>) -> f64 {
        let deviation = self.variance.sqrt();
        match value {
            Some(value) if deviation > 0.0 => {
                let value = self
                    .clip
                    .map_or(value, |(low, high)| value.clamp(low, high));
                (value - self.mean) / deviation
            }
            _ => 0.0,
        }
    }
}
