//! What is done to each column, before anything is known of its values.

use serde::{Deserialize, Serialize};

use super::cells::Reading;
use crate::config::{DataConfig, Scaling};
use crate::decode::Grid;
use crate::encode::is_categorical;
use crate::statistics::{Asked, MOST_CATEGORIES, Question};
use crate::tables::{Plan, TablePart};

/// How the columns of a table become features: made of the config and of the columns' types, not of their values.
///
/// Parties that prepare alike have equal plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparePlan {
    /// The columns that are read.
    pub(crate) columns: Vec<PlannedColumn>,
    /// What becomes features, in their order.
    pub(crate) fields: Vec<Field>,
    /// Columns that a table has, with those that are no features.
    pub(crate) width: usize,
    /// Names of the classes in order.
    pub(crate) classes: Vec<String>,
}

/// A column that is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedColumn {
    /// Its name, or its number where the table names none.
    pub(crate) name: String,
    /// Its place in the table, from 0.
    pub(crate) index: usize,
    /// Cells that mean that the value is missing.
    pub(crate) missing: Vec<String>,
    /// How a cell is read.
    pub(crate) reading: Reading,
}

/// A value of a row that becomes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// The column that it is read from, as a place among the planned ones.
    pub(crate) from: usize,
    /// What is done to it.
    pub(crate) steps: Steps,
}

/// What is done to a value once it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Steps {
    /// A number is scaled.
    Number { scaling: Scaling },
    /// A category is coded one-hot.
    Category { at_least: u64, most: usize },
}

impl PreparePlan {
    /// The plan of a table; whether a column holds codes is seen from `rows` of `part`, where it is not declared.
    pub(crate) fn new(
        config: &DataConfig,
        plan: &Plan,
        part: &TablePart,
        rows: &[u32],
        classes: &[String],
    ) -> Self {
        let grid = &part.first().grid;
        let mut columns = Vec::with_capacity(plan.features.len());
        let mut fields = Vec::with_capacity(plan.features.len());
        for &index in &plan.features {
            let name = name_of(grid, index);
            let (reading, steps) = if is_categorical(config, plan, index, part, rows) {
                let steps = Steps::Category {
                    at_least: 1,
                    most: MOST_CATEGORIES,
                };
                (Reading::Category, steps)
            } else {
                let reading = Reading::Number {
                    zero_is_missing: plan.zero_is_missing.contains(&index),
                };
                let scaling = config.scaling;
                (reading, Steps::Number { scaling })
            };
            fields.push(Field {
                name: name.clone(),
                from: columns.len(),
                steps,
            });
            columns.push(PlannedColumn {
                name,
                index,
                missing: config.missing.clone(),
                reading,
            });
        }
        Self {
            columns,
            fields,
            width: grid.columns(),
            classes: classes.to_vec(),
        }
    }

    /// What must be known of the training rows.
    pub fn question(&self) -> Question {
        let asked = |field: &Field| (field.name.clone(), field.steps.asked());
        Question {
            columns: self.fields.iter().map(asked).collect(),
            classes: self.classes.len(),
            correlation: false,
        }
    }

    /// Names of the classes in order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl Steps {
    fn asked(&self) -> Asked {
        match self {
            Self::Number { .. } => Asked::number(),
            Self::Category { at_least, most } => Asked::Category {
                at_least: *at_least,
                most: *most,
            },
        }
    }
}

/// The name of a column, or its number.
fn name_of(grid: &Grid, index: usize) -> String {
    match grid.header().and_then(|names| names.get(index)) {
        Some(name) => name.clone(),
        None => format!("column {index}"),
    }
}
