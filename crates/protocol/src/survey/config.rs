//! The table `[statistics]` of an experiment.

use std::collections::BTreeMap;

use cloister_data::statistics::Question;
use cloister_data::statistics::bounded::BoundedSurvey;
use cloister_data::statistics::survey::{Survey, SurveyError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Asking;

/// `[statistics]`: the figures by which a table is prepared (means, spreads, quantiles, categories, classes) are found by the clients
/// in rounds before the training, from sums: masked ones, with `[secure_aggregation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StatisticsConfig {
    /// Different categories of all columns together that there is room for.
    pub categories: u32,
    /// Noise with which each client hides each of its rows, over the longest vector that a row adds. Left out: sums are exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_multiplier: Option<f64>,
    /// With noise: the least and largest value of each column of numbers; what lies beyond is cut.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bounds: BTreeMap<String, [f64; 2]>,
    /// With noise: the categories of each column that has some; others count as unknown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<String, Vec<String>>,
}

impl Default for StatisticsConfig {
    fn default() -> Self {
        Self {
            categories: 256,
            noise_multiplier: None,
            bounds: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }
}

impl StatisticsConfig {
    /// Most categories that there may be room for: their table travels in each client's first answer, 100 bytes each and more.
    pub const MOST_CATEGORIES: u32 = 20_000;

    /// What is wrong with the settings whatever the data: the key, and why.
    ///
    /// # Errors
    /// The first key that is out of its range, or without effect.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let most = Self::MOST_CATEGORIES;
        if !(1..=most).contains(&self.categories) {
            let reason = format!("must be from 1 to {most}, found {}", self.categories);
            return Err(("categories", reason));
        }
        match self.noise_multiplier {
            Some(noise) if !(noise.is_finite() && noise > 0.0) => {
                let reason = format!("must be finite and above 0, found {noise}");
                Err(("noise_multiplier", reason))
            }
            None if !self.bounds.is_empty() => Err((
                "bounds",
                "has no effect without noise_multiplier".to_owned(),
            )),
            None if !self.known.is_empty() => {
                Err(("known", "has no effect without noise_multiplier".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// What the clients are asked.
    ///
    /// # Errors
    /// [`SurveyError::Setting`] for a question that noise cannot answer, or a column without bounds.
    pub fn asking(&self, question: &Question) -> Result<Asking, SurveyError> {
        let Some(noise_multiplier) = self.noise_multiplier else {
            return Ok(Asking::Exact(Survey::new(
                question,
                self.categories as usize,
            )));
        };
        let bounds = self.bounds.iter();
        let bounds = bounds.map(|(name, [low, high])| (name.clone(), (*low, *high)));
        let survey = BoundedSurvey::new(question, &bounds.collect(), &self.known)?;
        Ok(Asking::Noisy {
            survey,
            noise_multiplier,
        })
    }
}
