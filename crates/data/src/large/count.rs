//! How often categories occur.

use std::collections::BTreeMap;

use crate::error::DataError;
use crate::statistics::{
    Asked, CategoryStatistics, ColumnStatistics, Question, TableStatistics, Value,
};

/// Most different categories of a column that are counted, listed or not.
const MOST_COUNTED: usize = 1 << 20;

/// The categories of the columns that are asked for them.
pub(super) struct Counting(Vec<Column>);

struct Column {
    name: String,
    place: usize,
    counts: BTreeMap<String, u64>,
    missing: u64,
}

impl Counting {
    /// No row yet.
    pub(super) fn new(question: &Question) -> Self {
        let columns = question.columns.iter().enumerate();
        let categories = columns.filter(|(_, (_, asked))| matches!(asked, Asked::Category { .. }));
        let column = |(place, (name, _)): (usize, &(String, Asked))| Column {
            name: name.clone(),
            place,
            counts: BTreeMap::new(),
            missing: 0,
        };
        Self(categories.map(column).collect())
    }

    /// The question without what is counted here.
    pub(super) fn rest(question: &Question) -> Question {
        let mut rest = question.clone();
        for (_, asked) in &mut rest.columns {
            if matches!(asked, Asked::Category { .. }) {
                *asked = Asked::Nothing;
            }
        }
        rest
    }

    /// Takes in a row of values in the question's order.
    pub(super) fn observe(&mut self, row: &[Value<'_>]) {
        for column in &mut self.0 {
            match &row[column.place] {
                Value::Category(code) => match column.counts.get_mut(code.as_ref()) {
                    Some(count) => *count += 1,
                    None => {
                        column.counts.insert(code.clone().into_owned(), 1);
                    }
                },
                _ => column.missing += 1,
            }
        }
    }

    /// Adds the counts of other rows of the same table.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), DataError> {
        for (column, other) in self.0.iter_mut().zip(other.0) {
            column.missing += other.missing;
            for (code, count) in other.counts {
                *column.counts.entry(code).or_insert(0) += count;
            }
            if column.counts.len() > MOST_COUNTED {
                let reason = format!(
                    "the column {} has more than {MOST_COUNTED} categories: is it an identifier?",
                    column.name
                );
                return Err(DataError::setting("prepare.columns", reason));
            }
        }
        Ok(())
    }

    /// The whole answer, of which `rest` is the part about everything else.
    pub(super) fn joined(self, question: &Question, mut rest: TableStatistics) -> TableStatistics {
        for column in self.0 {
            if let Asked::Category { at_least, most } = question.columns[column.place].1 {
                let counts = column.counts.into_iter().collect();
                let known = CategoryStatistics::of_counts(counts, column.missing, at_least, most);
                rest.columns[column.place] = ColumnStatistics::Category(known);
            }
        }
        rest
    }
}
