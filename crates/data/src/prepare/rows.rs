//! Which training rows stay, and how much each class weighs.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::{ClassWeights, Resample, WeightRule};
use crate::dataset::Sites;
use crate::error::DataError;

/// The places of training rows, in order, after those of smaller classes are repeated or those of larger ones left out, each
/// owner's by itself. An owner's missing classes stay missing.
pub(crate) fn resampled(
    how: Resample,
    labels: &[u32],
    sites: Option<&Sites>,
    rng: &mut ChaCha8Rng,
) -> Vec<u32> {
    let mut groups: BTreeMap<u32, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
    for (place, (row, label)) in (0_u32..).zip(labels.iter().enumerate()) {
        let owner = sites.map_or(0, |sites| sites.of_row[row]);
        let classes = groups.entry(owner).or_default();
        classes.entry(*label).or_default().push(place);
    }
    let mut kept = Vec::with_capacity(labels.len());
    for classes in groups.into_values() {
        let sizes = classes.values().map(Vec::len);
        let wanted = match how {
            Resample::Over => sizes.max(),
            Resample::Under => sizes.min(),
        };
        for mut places in classes.into_values() {
            let wanted = wanted.unwrap_or(places.len());
            places.shuffle(rng);
            // Whole copies first, so that no row is there more than once more often than another.
            kept.extend(places.iter().cycle().take(wanted));
        }
    }
    kept.sort_unstable();
    kept
}

/// The weight of each class.
pub(crate) fn class_weights(
    config: &ClassWeights,
    classes: &[String],
    labels: &[u32],
) -> Result<Vec<f32>, DataError> {
    match config {
        ClassWeights::Rule(WeightRule::Balanced) => {
            let mut counts = vec![0_u32; classes.len()];
            for label in labels {
                counts[*label as usize] += 1;
            }
            let balanced = |count: u32| match count {
                0 => 1.0,
                count => labels.len() as f64 / (classes.len() as f64 * f64::from(count)),
            };
            Ok(counts
                .into_iter()
                .map(|count| balanced(count) as f32)
                .collect())
        }
        ClassWeights::Explicit(weights) => {
            let known: BTreeSet<&String> = classes.iter().collect();
            if let Some(odd) = weights.keys().find(|name| !known.contains(name)) {
                let reason = format!(
                    "there is no class '{odd}'; the classes are {}",
                    crate::classes::shortened(classes.iter().map(String::as_str))
                );
                return Err(DataError::setting("prepare.class_weights", reason));
            }
            // A class that is not listed weighs 1.
            let weight = |class: &String| weights.get(class).copied().unwrap_or(1.0);
            Ok(classes.iter().map(weight).collect())
        }
    }
}
