//! The fitted coding of a table.

use serde::{Deserialize, Serialize};

use super::category::{CategoryCode, ClassCounts};
use super::cells::CellFault;
use super::hashing;
use super::mix::Mix;
use super::number::NumberCode;
use super::plan::{CategoryEncoding, CategorySteps, Field, PreparePlan, Steps};
use crate::dataset::{Column, TargetScale};
use crate::error::DataError;
use crate::statistics::{
    Asked, CategoryStatistics, ColumnStatistics, MOST_CATEGORIES, TableStatistics, Value,
};

/// A plan with the figures that it asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Coded {
    pub(crate) plan: PreparePlan,
    /// How each field becomes features.
    codes: Vec<Code>,
    /// What stands in the place of the scaled numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mix: Option<Mix>,
    /// By what the number that is to be predicted is standardised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<TargetScale>,
    /// What a reader of a report should know of the training rows.
    pub(crate) notes: Vec<String>,
}

/// How a value becomes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
enum Code {
    Number(NumberCode),
    Category(CategoryCode),
    /// Hashed as the plan says.
    Text,
}

impl Coded {
    /// `targets` has the rows of each class for each category of every column that is coded by them.
    pub(crate) fn fit(
        plan: &PreparePlan,
        known: &TableStatistics,
        targets: Option<&[ClassCounts]>,
    ) -> Result<Self, DataError> {
        let asked = plan.fields.len() + usize::from(plan.predicts);
        if known.columns.len() != asked {
            let reason = format!(
                "statistics of {} columns for a plan of {asked}",
                known.columns.len()
            );
            return Err(DataError::statistics(reason));
        }
        if plan.needs_labels() && targets.is_none() {
            let reason = "needs the classes of single rows, which statistics of a federation do not tell: \
                          choose another encoding than `target`";
            return Err(DataError::setting("prepare", reason));
        }
        let mut targets = targets.unwrap_or_default().iter();
        let mut codes = Vec::with_capacity(plan.fields.len());
        for (field, known) in plan.fields.iter().zip(&known.columns) {
            let target = field.steps.is_target().then(|| targets.next()).flatten();
            codes.push(Code::fit(plan, field, known, target)?);
        }
        let mix = match plan.pca.is_some() || plan.fourier.is_some() {
            true => Some(mix(plan, known)?),
            false => None,
        };
        let target = match known.columns.get(plan.fields.len()) {
            Some(ColumnStatistics::Number(known)) if known.count > 0 => {
                Some(TargetScale::new(known.mean, known.variance))
            }
            Some(_) => {
                let reason = "nothing is known of the number that is to be predicted";
                return Err(DataError::statistics(reason));
            }
            None => None,
        };
        let mut notes = plan.notes.clone();
        notes.extend(odd_columns(&codes, &known.columns[..codes.len()]));
        if let Some(explained) = mix.as_ref().and_then(|mix| mix.explained) {
            notes.push(format!(
                "principal components stand for {} numbers and explain {:.1} % of their variance",
                plan.fields
                    .iter()
                    .filter(|field| field.steps.is_scaled())
                    .count(),
                100.0 * explained
            ));
        }
        Ok(Self {
            plan: plan.clone(),
            codes,
            mix,
            target,
            notes,
        })
    }

    /// Whether a field's value goes into the mix, and not to the features itself.
    fn is_mixed(&self, field: &Field) -> bool {
        self.mix.is_some() && field.steps.is_scaled()
    }

    /// Features of a row.
    pub(crate) fn width(&self) -> usize {
        self.described().last().map_or(0, |last| last.features.end)
    }

    /// The columns and their features.
    pub(crate) fn described(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let mut push = |name: String, width: usize, categorical: bool| {
            let from = columns.last().map_or(0, |last| last.features.end);
            columns.push(Column {
                name,
                features: from..from + width,
                categorical,
            });
        };
        for (field, code) in self.plan.fields.iter().zip(&self.codes) {
            let (width, one_hot, indicator) = match (code, &field.steps) {
                (Code::Number(code), _) => (code.width(), code.is_one_hot(), code.has_indicator()),
                (Code::Category(code), _) => {
                    (code.width(), code.is_one_hot(), code.has_indicator())
                }
                (Code::Text, Steps::Text { width, .. }) => (*width, false, false),
                (Code::Text, _) => (0, false, false),
            };
            if !self.is_mixed(field) {
                push(field.name.clone(), width - usize::from(indicator), one_hot);
            }
            if indicator {
                push(format!("{} is missing", field.name), 1, false);
            }
        }
        if let Some(mix) = &self.mix {
            push(mix.name().to_owned(), mix.width(), false);
        }
        columns
    }

    /// Appends the features of a row of values. `targets` are the rows of the classes for each category where they are not
    /// those that were fitted. A fault says what the cell does.
    pub(crate) fn encode(
        &self,
        values: &[Value<'_>],
        targets: Option<&[ClassCounts]>,
        features: &mut Vec<f32>,
    ) -> Result<(), CellFault> {
        let mut targets = targets.unwrap_or_default().iter();
        let mut numbers = Vec::new();
        let mut own = Vec::new();
        for ((field, code), value) in self.plan.fields.iter().zip(&self.codes).zip(values) {
            own.clear();
            match (code, &field.steps) {
                (Code::Number(code), _) => {
                    let value = match value {
                        Value::Number(value) => Some(*value),
                        _ => None,
                    };
                    code.encode(value, &mut own);
                }
                (Code::Category(code), steps) => {
                    let target = steps.is_target().then(|| targets.next()).flatten();
                    code.encode(text_of(value), target, &mut own);
                }
                (
                    Code::Text,
                    Steps::Text {
                        grams,
                        lengths,
                        width,
                    },
                ) => {
                    let text = text_of(value).unwrap_or_default();
                    hashing::text(text, *grams, *lengths, *width, &mut own);
                }
                (Code::Text, _) => {}
            }
            if own.iter().any(|value| !(*value as f32).is_finite()) {
                return Err(CellFault {
                    column: field.source.column(),
                    reason: "does not fit a 32-bit fraction".to_owned(),
                });
            }
            let mixed = usize::from(self.is_mixed(field));
            numbers.extend_from_slice(&own[..mixed]);
            features.extend(own[mixed..].iter().map(|value| *value as f32));
        }
        if let Some(mix) = &self.mix {
            let from = features.len();
            mix.encode(&numbers, features);
            if features[from..].iter().any(|value| !value.is_finite()) {
                return Err(CellFault {
                    column: 0,
                    reason:
                        "and the other numbers have components that do not fit a 32-bit fraction"
                            .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Rows of each class for each category of the columns that are coded by them.
    pub(crate) fn count_classes(
        plan: &PreparePlan,
        counts: &mut [ClassCounts],
        row: &[Value<'_>],
        class: u32,
    ) {
        let targets = plan
            .fields
            .iter()
            .zip(row)
            .filter(|(field, _)| field.steps.is_target());
        for ((_, value), counts) in targets.zip(counts) {
            counts.observe(text_of(value), class);
        }
    }
}

fn text_of<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Category(code) => Some(code),
        _ => None,
    }
}

impl Code {
    fn fit(
        plan: &PreparePlan,
        field: &Field,
        known: &ColumnStatistics,
        target: Option<&ClassCounts>,
    ) -> Result<Self, DataError> {
        match (&field.steps, known) {
            (Steps::Number(steps), ColumnStatistics::Number(known)) => {
                Ok(Self::Number(NumberCode::fit(steps, known)))
            }
            (Steps::Category(steps), ColumnStatistics::Category(known)) => {
                check_listed(plan, field, steps, known)?;
                Ok(Self::Category(CategoryCode::fit(
                    steps,
                    Some(known),
                    target,
                )))
            }
            (
                Steps::Category(
                    steps @ CategorySteps {
                        encoding: CategoryEncoding::Hashing { .. },
                        ..
                    },
                ),
                ColumnStatistics::Nothing,
            ) => Ok(Self::Category(CategoryCode::fit(steps, None, None))),
            (Steps::Text { .. }, ColumnStatistics::Nothing) => Ok(Self::Text),
            _ => {
                let reason = format!("'{}': an answer to another question", field.name);
                Err(DataError::statistics(reason))
            }
        }
    }
}

/// Refuses a column of more categories than can be listed, unless it says what becomes of the others.
fn check_listed(
    plan: &PreparePlan,
    field: &Field,
    steps: &CategorySteps,
    known: &CategoryStatistics,
) -> Result<(), DataError> {
    let hashed = matches!(steps.encoding, CategoryEncoding::Hashing { .. });
    if known.others == 0 || steps.most.is_some() || steps.at_least > 1 || hashed {
        return Ok(());
    }
    let column = &plan.columns[field.source.column()];
    let name = match plan.named {
        false => column.name.clone(),
        true => format!("column {} ('{}')", column.index, column.name),
    };
    let reason = format!(
        "{name} holds more than {MOST_CATEGORIES} different codes; leave it out by data.drop"
    );
    Err(DataError::setting("categorical", reason))
}

/// What is made of the scaled numbers.
fn mix(plan: &PreparePlan, known: &TableStatistics) -> Result<Mix, DataError> {
    let question = plan.question();
    let asked = question.columns.iter().map(|(_, asked)| asked);
    let all = asked
        .clone()
        .filter(|asked| matches!(asked, Asked::Number { .. }))
        .count();
    let numbers = plan
        .fields
        .iter()
        .zip(asked)
        .filter(|(_, asked)| matches!(asked, Asked::Number { .. }));
    // Places of the scaled numbers among all numbers, which the correlations are about.
    let scaled: Vec<usize> = numbers
        .enumerate()
        .filter(|(_, (field, _))| field.steps.is_scaled())
        .map(|(place, _)| place)
        .collect();
    let correlation = match &known.correlation {
        Some(correlation) if plan.pca.is_some() => {
            if correlation.len() != all * all {
                let reason = format!("{} correlations of {all} numbers", correlation.len());
                return Err(DataError::statistics(reason));
            }
            let of_row = |i: &usize| {
                let row = &correlation[i * all..(i + 1) * all];
                scaled.iter().map(|j| row[*j]).collect::<Vec<f64>>()
            };
            Some(scaled.iter().flat_map(of_row).collect::<Vec<f64>>())
        }
        _ => None,
    };
    Mix::fit(
        plan.pca.as_ref(),
        plan.fourier.as_ref(),
        scaled.len(),
        correlation.as_deref(),
    )
}

/// What is odd about the columns.
fn odd_columns(codes: &[Code], known: &[ColumnStatistics]) -> Vec<String> {
    let constant = known.iter().filter(|known| match known {
        ColumnStatistics::Number(known) => known.count > 0 && known.variance == 0.0,
        _ => false,
    });
    let empty = known
        .iter()
        .zip(codes)
        .filter(|(known, code)| match (known, code) {
            (ColumnStatistics::Number(known), _) => known.count == 0,
            (_, Code::Category(code)) => code.is_empty(),
            _ => false,
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
