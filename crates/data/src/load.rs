//! The way from a config to a training and a test part.

use std::path::Path;

use crate::config::DataConfig;
use crate::dataset::TrainTest;
use crate::error::DataError;
use crate::prepare::Pipeline;
use crate::raw::RawData;
use crate::read;
use crate::source::{Content, display_name, read_source};

/// Most bytes of a pipeline's file.
const LARGEST_PIPELINE: u64 = 256 << 20;

/// Reads, cleans, codes and normalises what `config` names.
///
/// The steps: bytes are read and decompressed within `max_bytes`; the format is told by content; labels become
/// classes; rows are held out (stratified by class and owner) if there is no test part; `limit` is applied; whatever
/// is fitted (means, codes, ranges) is fitted on the training rows that are left, and applied to both parts.
///
/// `seed` decides nothing but which rows are held out and which a `limit` keeps: the same files, config and seed give
/// the same bits.
///
/// # Errors
/// [`DataError`], with the file and the line, byte or column at fault, or the key of `[data]`.
///
/// ```
/// use cloister_data::DataConfig;
///
/// let digits = cloister_data::load(&DataConfig::bundled("digits"), 1)?;
/// assert_eq!((digits.train.len(), digits.test.len()), (1438, 359));
/// assert_eq!(digits.train.shape().to_string(), "1x8x8");
/// assert!(digits.train.features().iter().all(|value| (0.0..=1.0).contains(value)));
/// # Ok::<(), cloister_data::DataError>(())
/// ```
pub fn load(config: &DataConfig, seed: u64) -> Result<TrainTest, DataError> {
    let raw = open(config, seed)?;
    let pipeline = match &config.prepare.pipeline {
        Some(path) => fitted(path, &raw)?,
        None => raw.fit()?,
    };
    raw.prepared(&pipeline)
}

/// Reads the file of a pipeline, which must be one of the plan of `raw`.
fn fitted(path: &Path, raw: &RawData) -> Result<Pipeline, DataError> {
    let named = |reason: String| {
        DataError::setting("prepare.pipeline", format!("{}: {reason}", path.display()))
    };
    let bytes = read::content(path, LARGEST_PIPELINE)?;
    let text = String::from_utf8(bytes).map_err(|_| named("not UTF-8 text".to_owned()))?;
    let pipeline = Pipeline::from_json(&text).map_err(|error| named(error.to_string()))?;
    match raw.plan().zip(pipeline.table().ok()) {
        Some((plan, coded)) if coded.plan != *plan => {
            let columns = plan.read_otherwise(&coded.plan);
            let reason = columns.unwrap_or_else(|| {
                "was fitted with other settings of [data] or [data.prepare] than these".to_owned()
            });
            Err(named(reason))
        }
        _ => Ok(pipeline),
    }
}

/// Reads what `config` names, tells labels from features, and chooses the rows that train and those that test; what
/// [`load`] does but for preparing.
///
/// # Errors
/// As [`load`], but for cells, which are looked at when they are prepared.
pub fn open(config: &DataConfig, seed: u64) -> Result<RawData, DataError> {
    config.check()?;
    let name = display_name(config);
    let (source, config) = read_source(config)?;
    match source.content {
        Content::Images(images) => images.open(&config, name, seed, source.notes),
        Content::Tables(tables) => tables.open(&config, name, seed, source.notes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Rows of one site that are prepared by the pipeline of all become what they are among all.
    #[test]
    fn a_pipeline_of_before_is_applied_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.json");
        let mut config = DataConfig::bundled("heart-disease");
        let all = open(&config, 1).unwrap();
        let pipeline = all.fit().unwrap();
        let prepared = all.prepared(&pipeline).unwrap();
        fs::write(&file, pipeline.to_json().unwrap()).unwrap();

        config.limit = Some(50);
        let own = load(&config, 1).unwrap();
        config.prepare.pipeline = Some(file.clone());
        let told = load(&config, 1).unwrap();
        let known: Vec<&[f32]> = (0..prepared.train.len())
            .map(|row| prepared.train.row(row))
            .collect();
        assert!((0..50).all(|row| known.contains(&told.train.row(row))));
        assert_ne!(own.train.features(), told.train.features());
        assert_eq!(prepared.test, told.test);

        config.scaling = crate::config::Scaling::None;
        let error = load(&config, 1).unwrap_err().to_string();
        assert!(
            error
                .ends_with("was fitted with other settings of [data] or [data.prepare] than these"),
            "{error}"
        );
        fs::write(&file, "{}").unwrap();
        let error = load(&config, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("data.prepare.pipeline: ") && error.contains("pipeline.json"),
            "{error}"
        );
    }
}
