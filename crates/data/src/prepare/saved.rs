//! Pipelines as files.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pipeline::Pipeline;
use crate::error::DataError;

const FORMAT: &str = "cloister-pipeline";
const VERSION: u32 = 1;

/// What tells a pipeline's file from others, and which version of the format it has.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    version: u32,
    /// Of the pipeline in the fewest bytes, as this crate writes it: against changes by accident.
    sha256: String,
    pipeline: Pipeline,
}

fn digest(pipeline: &Pipeline) -> Result<String, DataError> {
    let text = serde_json::to_string(pipeline).map_err(unreadable)?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unreadable(error: serde_json::Error) -> DataError {
    DataError::statistics(format!("not a pipeline's file: {error}"))
}

impl Pipeline {
    /// The pipeline as JSON, with every figure in as many digits as bring it back to the bit.
    ///
    /// # Errors
    /// [`DataError::Statistics`], if a figure is not finite.
    pub fn to_json(&self) -> Result<String, DataError> {
        let saved = Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            sha256: digest(self)?,
            pipeline: self.clone(),
        };
        serde_json::to_string_pretty(&saved).map_err(unreadable)
    }

    /// Reads what [`Pipeline::to_json`] wrote.
    ///
    /// # Errors
    /// [`DataError::Statistics`] for anything else, for a version that is not known, and for a pipeline that was changed.
    ///
    /// ```
    /// use cloister_data::{DataConfig, Pipeline, open};
    ///
    /// let pipeline = open(&DataConfig::bundled("wdbc"), 1)?.fit()?;
    /// assert_eq!(Pipeline::from_json(&pipeline.to_json()?)?, pipeline);
    /// # Ok::<(), cloister_data::DataError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, DataError> {
        let head: Head = serde_json::from_str(text).map_err(unreadable)?;
        if head.format != FORMAT {
            let reason = format!("the format is '{}', not '{FORMAT}'", head.format);
            return Err(DataError::statistics(reason));
        }
        if head.version != VERSION {
            let reason = format!(
                "version {} of the format is not known; this is version {VERSION}",
                head.version
            );
            return Err(DataError::statistics(reason));
        }
        let saved: Saved = serde_json::from_str(text).map_err(unreadable)?;
        let found = digest(&saved.pipeline)?;
        if found != saved.sha256 {
            let reason = format!(
                "the file was changed: its sha256 is {found}, but {} is written in it",
                saved.sha256
            );
            return Err(DataError::statistics(reason));
        }
        Ok(saved.pipeline)
    }
}
