//! `director.toml`: where a director listens, and what it knows of the federation's data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cloister_data::DataConfig;
use serde::Deserialize;

use super::DirectorError;
use crate::pki::{Name, file_name};
use crate::plan::NO_TARGET;

/// The config of a director.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorConfig {
    /// The federation; the certificate must agree.
    pub federation: Name,
    /// Where envoys and operators call.
    #[serde(default = "everywhere")]
    pub listen: SocketAddr,
    /// Where the page is served, on this machine only; left out, there is none.
    #[serde(default)]
    pub page: Option<SocketAddr>,
    /// The folder of experiments and of the audit log.
    #[serde(default = "state")]
    pub state: PathBuf,
    /// Experiments that are trained at the same time.
    #[serde(default = "one")]
    pub concurrent: u32,
    /// Threads for rules, masks and measuring; the results do not depend on it. Left out: all.
    #[serde(default)]
    pub threads: Option<u32>,
    /// The data sets that experiments may name.
    #[serde(default)]
    pub data: BTreeMap<String, DataEntry>,
}

/// `[data.NAME]`: what the sites' examples look like, told or shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataEntry {
    /// Channels, height and width; 1, 1 and the number of columns for a table. Needed without `test`.
    #[serde(default)]
    pub shape: Option<[usize; 3]>,
    /// The classes in order. Needed without `test`.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Examples of the director's own, by the keys of an experiment's `[data]`: their test part measures each round's model.
    #[serde(default)]
    pub test: Option<DataConfig>,
    /// Which of them are held out, where they have no test part of their own.
    #[serde(default = "seed")]
    pub seed: u64,
}

fn everywhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8443))
}

fn state() -> PathBuf {
    PathBuf::from("state")
}

fn one() -> u32 {
    1
}

fn seed() -> u64 {
    1
}

impl DirectorConfig {
    /// Reads `director.toml` in `dir`. Paths in it are relative to that folder, and come back joined with it.
    ///
    /// # Errors
    /// [`DirectorError::Config`] with the file, and the line where there is one.
    pub fn read(dir: &Path) -> Result<Self, DirectorError> {
        let path = dir.join(file_name::DIRECTOR_CONFIG);
        let refused = |reason: String| DirectorError::Config {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(text.len(), |span| span.start);
            let before = text.as_bytes().get(..start).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            refused(format!("line {line}: {}", error.message()))
        })?;
        config.check().map_err(refused)?;
        config.state = dir.join(&config.state);
        for (name, entry) in &mut config.data {
            let Some(test) = &mut entry.test else {
                continue;
            };
            if test.dataset.is_none() {
                test.dataset = Some(name.clone());
            }
            for path in test.files_mut() {
                *path = dir.join(&*path);
            }
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.concurrent == 0 || self.threads == Some(0) {
            return Err("concurrent and threads must be at least 1".to_owned());
        }
        if let Some(page) = self.page.filter(|page| !page.ip().is_loopback()) {
            return Err(format!(
                "page: {page} can be reached from other machines, and the page asks for no password; take 127.0.0.1 and a tunnel"
            ));
        }
        for (name, entry) in &self.data {
            if let Err(error) = name.parse::<Name>() {
                return Err(format!("data.{name}: {error}"));
            }
            if entry
                .test
                .as_ref()
                .is_some_and(|test| test.target.is_some())
            {
                return Err(format!("data.{name}: test.target: {NO_TARGET}"));
            }
            if entry.test.is_none() && (entry.shape.is_none() || entry.classes.is_none()) {
                return Err(format!(
                    "data.{name}: give shape and classes, or test with examples to see them from"
                ));
            }
        }
        Ok(())
    }

    /// Threads to work on.
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => threads as usize,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<DirectorConfig, DirectorError> {
        let dir = tempfile::tempdir().unwrap();
        let head = "federation = \"clinics\"\n";
        std::fs::write(dir.path().join("director.toml"), format!("{head}{rest}")).unwrap();
        DirectorConfig::read(dir.path())
    }

    #[test]
    fn defaults_and_data() {
        let config = read(
            "page = \"127.0.0.1:0\"\n[data.fraud]\nshape = [1, 1, 30]\nclasses = [\"honest\", \"fraud\"]\n\
             [data.digits]\ntest = {}\n",
        )
        .unwrap();
        assert_eq!((config.listen.port(), config.concurrent), (8443, 1));
        assert!(config.state.is_absolute() && config.state.ends_with("state"));
        let digits = config.data["digits"].test.as_ref().unwrap();
        assert_eq!(digits.dataset.as_deref(), Some("digits"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        for (rest, words) in [
            ("colour = 1\n", "line 2: unknown field `colour`"),
            ("concurrent = 0\n", "at least 1"),
            ("page = \"0.0.0.0:80\"\n", "asks for no password"),
            (
                "[data.fraud]\nclasses = []\n",
                "data.fraud: give shape and classes",
            ),
            ("[data.\"a b\"]\n", "data.a b"),
        ] {
            let error = read(rest).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
