//! What a run promised about privacy, as its summary has it.

use std::path::Path;

use cloister_privacy::{Claim, Statement, Unit};
use serde::{Deserialize, Serialize};

use super::{RecordError, file_name, number, reader};

/// The privacy of a run: the figures that programs look for first, and the statement that has all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivacyInfo {
    /// The epsilon that the run may claim; `None` is infinite.
    #[serde(with = "number::option")]
    pub epsilon: Option<f64>,
    /// The epsilon of the accounting, whatever voids the claim; `None` where there is none.
    #[serde(with = "number::option", default)]
    pub accounted_epsilon: Option<f64>,
    /// The delta of both.
    #[serde(with = "number")]
    pub delta: f64,
    /// Whose data they are about.
    pub unit: Unit,
    /// The whole of it.
    pub statement: Statement,
}

impl PrivacyInfo {
    /// The figures of a statement; `delta` is the run's, for statements without a claim.
    pub fn of(statement: Statement, delta: f64) -> Self {
        let claimed = statement.claimed().copied();
        let accounted = statement.accounted_claim().copied();
        let stated = claimed.or(accounted);
        let epsilon = |claim: Claim| claim.epsilon;
        Self {
            epsilon: claimed.map(epsilon),
            accounted_epsilon: accounted.map(epsilon),
            delta: stated.map_or(delta, |claim| claim.delta),
            unit: statement.unit,
            statement,
        }
    }

    /// What the run in `folder` promised; `None` for a run without differential privacy.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotARun`] when the folder holds no run; [`RecordError::NotEnded`] while the run has no summary;
    /// [`RecordError::Malformed`], [`RecordError::TooLarge`], [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        if let Some(summary) = reader::read_summary(folder)? {
            return Ok(summary.privacy);
        }
        let folder = folder.to_owned();
        let begun = [file_name::CONFIG, file_name::ROUNDS];
        if begun.iter().any(|file| folder.join(file).exists()) {
            return Err(RecordError::NotEnded { folder });
        }
        Err(RecordError::NotARun { folder })
    }
}
