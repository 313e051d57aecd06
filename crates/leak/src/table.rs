//! Rows of tables: how far each column came back.

use cloister_redteam::inversion::InversionError;
use cloister_redteam::inversion::score::{Column, score_table};
use cloister_report::record::leakage::ColumnError;

use crate::subject::Subject;

/// The errors of rows `found` of `truth`, column by column, beside those of who knows the `population` only.
pub(crate) fn columns(
    subject: &Subject,
    truth: &[f32],
    found: &[f32],
    population: &[f32],
) -> Result<Vec<ColumnError>, InversionError> {
    let features = subject.shape().len();
    let of_table = &subject.federation().data.columns;
    let columns: Vec<Column> = match of_table.is_empty() {
        true => (0..features)
            .map(|at| Column::Number {
                name: format!("feature {at}"),
                at,
            })
            .collect(),
        false => of_table
            .iter()
            .map(|column| match column.categorical {
                true => Column::Category {
                    name: column.name.clone(),
                    from: column.features.start,
                    len: column.features.len(),
                },
                false => Column::Number {
                    name: column.name.clone(),
                    at: column.features.start,
                },
            })
            .collect(),
    };
    let scores = score_table(truth, found, population, features, &columns)?;
    let error = |score: cloister_redteam::inversion::score::ColumnScore| ColumnError {
        name: score.name,
        error: score.error,
        floor: score.floor,
        categorical: score.categorical,
    };
    Ok(scores.into_iter().map(error).collect())
}
