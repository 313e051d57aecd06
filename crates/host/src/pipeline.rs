//! What makes examples of rows, beside the model that was trained on them.

use std::path::Path;

use cloister_data::{DataError, Pipeline};
use cloister_report::record::{RecordError, file_name, write_atomic};

/// Why a pipeline could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineFileError {
    /// It has no form as a file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Writes `pipeline.json` into a run folder: without it, nobody can ask the model anything about rows of a table.
///
/// # Errors
/// [`PipelineFileError`].
pub fn write_pipeline(folder: &Path, pipeline: &Pipeline) -> Result<(), PipelineFileError> {
    let text = pipeline.to_json()? + "\n";
    Ok(write_atomic(
        &folder.join(file_name::PIPELINE),
        text.as_bytes(),
    )?)
}
