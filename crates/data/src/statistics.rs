//! What must be known of a table's columns before it can be prepared, and how it is found out.
//!
//! A preparation asks a [`Question`]; whoever can see the rows answers it with [`TableStatistics`]. One owner counts over
//! its own rows ([`TableStatistics::of_rows`]); a federation finds the same figures from sums ([`survey`]), so that no row and
//! no owner's own figure need be seen.
//!
//! ```
//! use cloister_data::statistics::{Asked, ColumnStatistics, Question, TableStatistics, Value};
//!
//! let question = Question {
//!     columns: vec![("age".to_owned(), Asked::number()), ("sex".to_owned(), Asked::categories())],
//!     classes: 2,
//!     correlation: false,
//! };
//! let rows = [
//!     (vec![Value::Number(40.0), Value::Category("f".into())], 0),
//!     (vec![Value::Number(60.0), Value::Missing], 1),
//! ];
//! let known = TableStatistics::of_rows(&question, rows.iter().map(|(row, class)| (&row[..], *class)));
//! let ColumnStatistics::Number(age) = &known.columns[0] else { unreachable!() };
//! assert_eq!((known.rows, age.mean, age.variance), (2, 50.0, 100.0));
//! ```

pub mod bounded;
mod names;
mod pooled;
pub mod survey;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use pooled::RowStatistics;

/// Most different categories that are listed for a column, unless a question says otherwise.
pub const MOST_CATEGORIES: usize = 1000;

/// A cleaned cell: what is left once white space, case, units and signs for missing values are dealt with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Missing,
    /// A finite number.
    Number(f64),
    /// A code.
    Category(Cow<'a, str>),
}

/// What is to be found out about a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Name of each column, and what is asked of it; a row's values come in this order.
    pub columns: Vec<(String, Asked)>,
    /// Classes whose rows are counted.
    pub classes: usize,
    /// Whether the correlations of the columns of numbers are asked for.
    pub correlation: bool,
}

/// What is asked of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// Count, mean, variance and range of numbers.
    Number {
        /// Quantiles that are asked for beside them, each in (0, 1), rising; of the values before they are clipped.
        quantiles: Vec<f64>,
        /// Quantiles to which values are clipped before mean, variance, range and correlation are taken.
        clip: Option<(f64, f64)>,
    },
    /// The categories, and how often each occurs.
    Category {
        /// Categories with fewer rows are not listed but counted together. In a federation an owner does not even name
        /// a category of which it has fewer rows itself.
        at_least: u64,
        /// Most categories that are listed, the most frequent ones (ties: in order of their names).
        most: usize,
    },
}

impl Asked {
    /// Moments and range.
    pub fn number() -> Self {
        Self::Number {
            quantiles: Vec::new(),
            clip: None,
        }
    }

    /// All categories, up to [`MOST_CATEGORIES`].
    pub fn categories() -> Self {
        Self::Category {
            at_least: 1,
            most: MOST_CATEGORIES,
        }
    }
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableStatistics {
    /// Rows.
    pub rows: u64,
    /// Rows of each class.
    pub classes: Vec<u64>,
    /// What was found about each column, in the question's order.
    pub columns: Vec<ColumnStatistics>,
    /// Correlations of the columns of numbers, row by row, if they were asked for: missing values count as the mean, a
    /// constant column correlates with nothing.
    pub correlation: Option<Vec<f64>>,
}

/// What was found about a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ColumnStatistics {
    /// Nothing was asked.
    Nothing,
    /// Of numbers.
    Number(NumberStatistics),
    /// Of categories.
    Category(CategoryStatistics),
}

/// A column of numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberStatistics {
    /// Values.
    pub count: u64,
    /// Missing values.
    pub missing: u64,
    /// Mean; 0 without a value.
    pub mean: f64,
    /// Variance in the population form; 0 without a value.
    pub variance: f64,
    /// Smallest and largest value.
    pub range: Option<(f64, f64)>,
    /// The asked quantiles: the smallest value that at least this share of the values does not exceed. Empty without a
    /// value.
    pub quantiles: Vec<f64>,
    /// The values to which others were clipped.
    pub clip: Option<(f64, f64)>,
}

/// A column of categories.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CategoryStatistics {
    /// Missing values.
    pub missing: u64,
    /// Categories and their rows: numbers by value, then texts by their bytes.
    pub counts: Vec<(String, u64)>,
    /// Rows of categories that are not listed.
    pub others: u64,
}
