//! What is done to each column, before anything is known of its values.

use serde::{Deserialize, Serialize};

use super::cells::Reading;
use super::config::{
    Buckets, Constant, Encoding, Fill, FourierConfig, Grams, PcaConfig, TimePart, Transform, Unseen,
};
use super::flow::Rate;
use crate::config::Scaling;
use crate::statistics::{Asked, MOST_CATEGORIES, Question};

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
    /// Whether columns have names of their own.
    pub(crate) named: bool,
    /// Names of the classes in order; only that of the number, where one is to be predicted.
    pub(crate) classes: Vec<String>,
    /// Whether a number is to be predicted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) predicts: bool,
    /// What replaces the scaled numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pca: Option<PcaConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fourier: Option<FourierConfig>,
    /// What a reader of the report should know.
    pub(crate) notes: Vec<String>,
}

/// A column that is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedColumn {
    /// Its name, or its number where the table names none.
    pub(crate) name: String,
    /// Its place in the table, from 0.
    pub(crate) index: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// Cells that mean that the value is missing.
    pub(crate) missing: Vec<String>,
    /// Whether a row without a value is not trained on.
    #[serde(default)]
    pub(crate) drop_missing: bool,
    /// How a cell is read.
    pub(crate) reading: Reading,
}

/// A value of a row that becomes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Where it is from.
    pub(crate) source: Source,
    /// What is done to it.
    pub(crate) steps: Steps,
}

/// Where a value is from; columns are places among the planned ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A column as it is read.
    Column { column: usize },
    /// Feature `number` of a part of a time; `since` counts days from 1970.
    Part {
        column: usize,
        part: TimePart,
        since: i64,
        number: usize,
    },
    /// A figure of a network record.
    Flow { rate: Rate },
}

impl Source {
    /// The column that a fault is told of.
    pub(crate) fn column(&self) -> usize {
        match self {
            Self::Column { column } | Self::Part { column, .. } => *column,
            Self::Flow { rate } => rate.columns().next().unwrap_or(0),
        }
    }
}

/// What is done to a value once it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Steps {
    /// A number.
    Number(NumberSteps),
    /// A category.
    Category(CategorySteps),
    /// A text is hashed.
    Text {
        grams: Grams,
        lengths: [usize; 2],
        width: usize,
    },
}

/// What is done to a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberSteps {
    pub(crate) transform: Transform,
    /// Quantiles to which values are clipped.
    pub(crate) clip: Option<(f64, f64)>,
    pub(crate) fill: NumberFill,
    /// Whether a further feature tells a missing value.
    pub(crate) indicator: bool,
    pub(crate) form: NumberForm,
}

/// What stands for a missing number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NumberFill {
    Mean,
    Median,
    /// 0 or 1, whichever is nearer to the mean.
    Majority,
    Constant(f64),
}

/// What a number becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NumberForm {
    Scaled(Scaling),
    Buckets(Buckets),
}

/// What is done to a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategorySteps {
    pub(crate) at_least: u64,
    /// Most that are listed; more is an error if none is said.
    pub(crate) most: Option<usize>,
    pub(crate) fill: CategoryFill,
    pub(crate) indicator: bool,
    pub(crate) unseen: Unseen,
    pub(crate) encoding: CategoryEncoding,
}

/// What stands for a missing category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CategoryFill {
    Zeros,
    MostFrequent,
    /// A category of its own.
    Category,
    Constant(String),
}

/// How a category becomes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CategoryEncoding {
    OneHot,
    Ordinal,
    Hashing { width: usize },
    Target { smoothing: f64 },
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl PreparePlan {
    /// What must be known of the training rows: of each column that becomes features, then of the number that is to be
    /// predicted, if there is one.
    pub fn question(&self) -> Question {
        let asked = |field: &Field| (field.name.clone(), field.steps.asked());
        let predicted = self.predicts.then(|| self.classes.first()).flatten();
        let predicted = predicted.map(|name| (name.clone(), Asked::number()));
        Question {
            columns: self.fields.iter().map(asked).chain(predicted).collect(),
            classes: self.classes.len(),
            correlation: self.pca.is_some(),
        }
    }

    /// Names of the classes in order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What keeps rows that are read by this plan from being prepared by `other`, in words.
    pub(crate) fn read_otherwise(&self, other: &Self) -> Option<String> {
        let names = |plan: &Self| {
            plan.columns
                .iter()
                .map(|column| column.name.clone())
                .collect()
        };
        let (own, others): (Vec<String>, Vec<String>) = (names(self), names(other));
        if let Some(name) = others.iter().find(|name| !own.contains(name)) {
            return Some(format!("made for a table with the column '{name}'"));
        }
        if let Some(name) = own.iter().find(|name| !others.contains(name)) {
            return Some(format!("made for a table without the column '{name}'"));
        }
        let moved = self.columns.iter().zip(&other.columns);
        let moved = moved.clone().find(|(own, other)| own.index != other.index);
        moved.map(|(own, _)| format!("the column '{}' is in another place", own.name))
    }

    /// Whether the fit needs the classes of single rows, as target encoding does: then it cannot be made of statistics.
    pub fn needs_labels(&self) -> bool {
        self.fields.iter().any(|field| field.steps.is_target())
    }
}

impl Steps {
    /// Whether a number is scaled, so that components can stand for it.
    pub(crate) fn is_scaled(&self) -> bool {
        matches!(self, Self::Number(steps) if matches!(steps.form, NumberForm::Scaled(_)))
    }

    pub(crate) fn is_target(&self) -> bool {
        matches!(
            self,
            Self::Category(CategorySteps {
                encoding: CategoryEncoding::Target { .. },
                ..
            })
        )
    }

    fn asked(&self) -> Asked {
        match self {
            Self::Number(steps) => Asked::Number {
                quantiles: steps.quantiles(),
                clip: steps.clip,
            },
            Self::Category(steps) => steps.asked(),
            Self::Text { .. } => Asked::Nothing,
        }
    }
}

/// Knots of the table behind `scaling = "quantile"`, besides the range.
const KNOTS: usize = 32;

impl NumberSteps {
    /// The quantiles that the steps need, rising.
    pub(crate) fn quantiles(&self) -> Vec<f64> {
        let mut list = match &self.form {
            NumberForm::Scaled(Scaling::Robust) => vec![0.25, 0.5, 0.75],
            NumberForm::Scaled(Scaling::Quantile) => parts(KNOTS),
            NumberForm::Buckets(Buckets::Quantiles(count)) => parts(*count),
            _ => Vec::new(),
        };
        if self.fill == NumberFill::Median && !list.contains(&0.5) {
            list.push(0.5);
            list.sort_by(f64::total_cmp);
        }
        list
    }
}

/// The inner borders of `count` equal parts of 0 to 1.
pub(crate) fn parts(count: usize) -> Vec<f64> {
    (1..count).map(|part| part as f64 / count as f64).collect()
}

impl CategorySteps {
    fn asked(&self) -> Asked {
        let hashed = matches!(self.encoding, CategoryEncoding::Hashing { .. });
        if hashed && self.fill != CategoryFill::MostFrequent {
            return Asked::Nothing;
        }
        Asked::Category {
            at_least: self.at_least,
            most: self.most.unwrap_or(MOST_CATEGORIES),
        }
    }
}

impl NumberFill {
    /// What `missing` says of a number; filled with the mean if the row should have been dropped.
    pub(crate) fn of(fill: Option<&Fill>) -> Self {
        match fill {
            Some(Fill::Median) => Self::Median,
            Some(Fill::MostFrequent) => Self::Majority,
            Some(Fill::Constant(Constant::Number(value))) => Self::Constant(*value),
            _ => Self::Mean,
        }
    }
}

impl CategoryFill {
    /// What `missing` says of a category; left without a 1 if the row should have been dropped.
    pub(crate) fn of(fill: Option<&Fill>) -> Self {
        match fill {
            Some(Fill::MostFrequent) => Self::MostFrequent,
            Some(Fill::Category) => Self::Category,
            Some(Fill::Constant(Constant::Code(code))) => Self::Constant(code.clone()),
            _ => Self::Zeros,
        }
    }
}

impl CategoryEncoding {
    pub(crate) fn of(encoding: Encoding, width: Option<usize>, smoothing: Option<f64>) -> Self {
        match encoding {
            Encoding::OneHot => Self::OneHot,
            Encoding::Ordinal => Self::Ordinal,
            Encoding::Hashing => Self::Hashing {
                width: width.unwrap_or(32),
            },
            Encoding::Target => Self::Target {
                smoothing: smoothing.unwrap_or(10.0),
            },
        }
    }
}
