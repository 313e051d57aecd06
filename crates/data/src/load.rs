//! The way from a config to a training and a test part.

use crate::config::DataConfig;
use crate::dataset::TrainTest;
use crate::error::DataError;
use crate::raw::RawData;
use crate::source::{Content, display_name, read_source};

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
    raw.prepared(&raw.fit()?)
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
