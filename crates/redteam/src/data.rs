//! Poisoned data: labels that are changed, and examples that carry a trigger.

mod labels;
mod trigger;

use cloister_data::Dataset;

use crate::error::AttackError;

pub(crate) use labels::{LabelMap, class, least_likely};
pub(crate) use trigger::Trigger;

/// A malicious client's own training set.
#[derive(Clone, Debug)]
pub(crate) struct Poisoned {
    /// Its examples.
    pub(crate) data: Dataset,
    /// All of its rows, as a learner takes them.
    pub(crate) rows: Vec<u32>,
}

impl Poisoned {
    /// The `rows` of `train` with the features and labels that `change` leaves; it is given each example's place in
    /// `rows`, its features and its label. `None` if there are no rows.
    ///
    /// # Errors
    /// [`AttackError::Row`] for a row that is not in `train`; [`AttackError::Data`] if a label is changed to one that
    /// is no class.
    pub(crate) fn new(
        client: u32,
        train: &Dataset,
        rows: &[u32],
        mut change: impl FnMut(usize, &mut [f32], &mut u32),
    ) -> Result<Option<Self>, AttackError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let width = train.shape().len();
        let mut features = Vec::with_capacity(rows.len() * width);
        let mut labels = Vec::with_capacity(rows.len());
        for (place, &row) in rows.iter().enumerate() {
            let Some(&label) = train.labels().get(row as usize) else {
                let rows = train.len();
                return Err(AttackError::Row { client, row, rows });
            };
            features.extend_from_slice(train.row(row as usize));
            labels.push(label);
            let example = features.len() - width;
            change(place, &mut features[example..], &mut labels[place]);
        }
        let data = Dataset::new(
            train.name(),
            train.shape(),
            features,
            labels,
            train.classes().to_vec(),
            None,
        )
        .map_err(|source| AttackError::Data { client, source })?;
        Ok(Some(Self {
            data,
            rows: (0..rows.len() as u32).collect(),
        }))
    }
}
