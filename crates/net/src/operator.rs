//! `operator.toml`: where an operator's commands find the director.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::pki::Name;

/// The name of the file in an operator's kit.
pub const FILE: &str = "operator.toml";

/// The config of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// The federation.
    pub federation: Name,
    /// The operator; who they are says their certificate.
    pub operator: Name,
    /// Where the director is: `host:port`.
    pub director: String,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct OperatorConfigError {
    path: PathBuf,
    reason: String,
}

impl OperatorConfig {
    /// Reads `operator.toml` in `dir`.
    ///
    /// # Errors
    /// [`OperatorConfigError`] with the file.
    pub fn read(dir: &Path) -> Result<Self, OperatorConfigError> {
        let path = dir.join(FILE);
        let refused = |reason: String| OperatorConfigError {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        toml::from_str(&text).map_err(|error| refused(error.message().to_owned()))
    }
}

/// A number for a request that nobody else draws, so that a request that is sent twice is done once.
///
/// # Errors
/// [`std::io::Error`] if the system gives no randomness.
pub fn request() -> std::io::Result<[u8; 16]> {
    let mut request = [0; 16];
    getrandom::fill(&mut request).map_err(std::io::Error::other)?;
    Ok(request)
}

/// What stands in a new operator's kit.
pub(crate) fn template(federation: &Name, operator: &Name, director: &str) -> String {
    format!(
        "\
# The operator {operator} of the federation {federation}: what `cloister submit`, `status`, `watch`, `cancel` and `fetch` read.

federation = \"{federation}\"
operator = \"{operator}\"

# Where the director is.
director = \"{director}\"
"
    )
}
