//! `envoy.toml`: what a site shares, and on which terms.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cloister_data::{DataConfig, PartitionConfig};
use cloister_nn::ModelConfig;
use cloister_privacy::Mechanism;
use cloister_protocol::guard::GuardConfig;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::EnvoyError;
use crate::pki::{Name, file_name};
use crate::plan::NO_TARGET;

/// The largest config.
const LARGEST: u64 = 1 << 20;

/// The config of a site.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvoyConfig {
    /// The federation; its certificate must agree.
    pub federation: Name,
    /// The site; its certificate must agree.
    pub site: Name,
    /// Where the director is: `host:port`.
    pub director: String,
    /// Threads to mask updates on; the result does not depend on it.
    #[serde(default)]
    pub threads: Option<u32>,
    /// The site's examples, by the names that experiments use.
    #[serde(default)]
    pub data: BTreeMap<String, DataEntry>,
    /// What the site takes part in.
    #[serde(default)]
    pub policy: super::Policy,
    /// What follows when a model looks made to carry examples out; the experiment has no say in it.
    #[serde(default)]
    pub guard: GuardConfig,
    /// The folder that it is in, beside key and certificates.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// `[data.NAME]`: every key of an experiment's `[data]`, and `share`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataEntry {
    /// How the examples are read; without `path`, a set inside the binary.
    pub data: DataConfig,
    /// Which of them are this site's; all, if left out.
    pub share: Option<Share>,
}

/// `share`: one client's rows of data of which this machine has the whole, as a simulation deals them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The name of the client.
    pub client: String,
    /// How many clients there are. Left out: as many as a simulation would have.
    #[serde(default)]
    pub clients: Option<u32>,
    /// The seed of the simulation.
    #[serde(default = "one")]
    pub seed: u64,
}

/// `[policy.budget]`: the most that all experiments on a data set may cost together.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The privacy loss.
    pub epsilon: f64,
    /// The chance with which it may be exceeded.
    pub delta: f64,
}

/// Whether something must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Without it the site takes no part.
    Required,
    /// It may be or not.
    #[default]
    Optional,
}

/// Whether the director may keep transcripts of rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recording {
    /// An experiment with `[record]` is declined.
    Refuse,
    /// It may, also of updates in the clear.
    Allow,
}

fn one() -> u64 {
    1
}

impl EnvoyConfig {
    /// Reads `envoy.toml` in `dir`. Paths in it are relative to that folder, and come back joined with it.
    ///
    /// # Errors
    /// [`EnvoyError::File`]; [`EnvoyError::Config`] with the line at fault.
    pub fn read(dir: &Path) -> Result<Self, EnvoyError> {
        let path = dir.join(file_name::ENVOY_CONFIG);
        let file = File::open(&path).map_err(EnvoyError::file("open", &path))?;
        let mut text = String::new();
        file.take(LARGEST)
            .read_to_string(&mut text)
            .map_err(EnvoyError::file("read", &path))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| EnvoyError::Config {
            path: path.clone(),
            line: line_of(&text, error.span().map_or(text.len(), |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        config.check().map_err(|(key, reason)| EnvoyError::Config {
            path: path.clone(),
            line: line_of_key(&text, &key),
            reason: format!("{key}: {reason}"),
        })?;
        config.settle(dir);
        Ok(config)
    }

    /// The first key that cannot be meant, and why.
    fn check(&self) -> Result<(), (String, String)> {
        let refuse = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.threads == Some(0) {
            return refuse("threads", "must be at least 1, found 0".to_owned());
        }
        if !self.director.contains(':') {
            let reason = format!("expected host:port, found '{}'", self.director);
            return refuse("director", reason);
        }
        for (name, entry) in &self.data {
            let key = format!("data.{name}");
            if let Err(error) = name.parse::<Name>() {
                return refuse(&key, error.to_string());
            }
            if entry.data.target.is_some() {
                return refuse(&key, format!("target: {NO_TARGET}"));
            }
            if entry.share.is_none() && entry.data.partition != PartitionConfig::default() {
                let reason = "partition: has no effect without `share`, which says whose part of it is this site's";
                return refuse(&key, reason.to_owned());
            }
        }
        let policy = &self.policy;
        for kind in policy.models.iter().flatten() {
            if !ModelConfig::KINDS.contains(&kind.as_str()) {
                let known = ModelConfig::KINDS.join(", ");
                return refuse("policy.models", format!("'{kind}' is none of {known}"));
            }
        }
        for name in policy.datasets.iter().flatten() {
            if !self.data.contains_key(name) {
                let reason = format!("there is no [data.{name}]");
                return refuse("policy.datasets", reason);
            }
        }
        if let Some(budget) = &policy.budget {
            if !(budget.epsilon.is_finite() && budget.epsilon > 0.0) {
                let reason = format!("must be finite and above 0, found {}", budget.epsilon);
                return refuse("policy.budget.epsilon", reason);
            }
            if !(budget.delta > 0.0 && budget.delta < 1.0) {
                let reason = format!("must be above 0 and below 1, found {}", budget.delta);
                return refuse("policy.budget.delta", reason);
            }
        }
        if policy.mechanisms.as_ref().is_some_and(Vec::is_empty) {
            let reason = "an empty list lets nothing through; leave it out to need none";
            return refuse("policy.mechanisms", reason.to_owned());
        }
        Ok(())
    }

    /// Fills in what follows from elsewhere: the folder of paths, the names of data sets.
    fn settle(&mut self, dir: &Path) {
        self.folder = dir.to_owned();
        for (name, entry) in &mut self.data {
            let data = &mut entry.data;
            if data.dataset.is_none() {
                data.dataset = Some(name.clone());
            }
            for path in data.files_mut() {
                *path = dir.join(&*path);
            }
        }
    }
}

/// Mechanisms of which one must be on, in words.
pub(super) fn mechanism_names(mechanisms: &[Mechanism]) -> String {
    let names: Vec<&str> = mechanisms.iter().map(|one| one.name()).collect();
    names.join(", ")
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The line of a dotted key, or of its table where that has it written in another way; else the first.
fn line_of_key(text: &str, key: &str) -> usize {
    let (table, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut within = table.is_empty();
    let mut best = 1;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            within = header == table;
            if header == key || within {
                best = number;
            }
        } else if within && line.split('=').next().unwrap_or_default().trim() == last {
            return number;
        }
    }
    best
}

impl<'de> Deserialize<'de> for DataEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = DataEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table: path, label, scaling, share, ...")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DataEntry, A::Error> {
        let mut share = None;
        let rest = WithoutShare {
            map,
            share: &mut share,
        };
        let data = DataConfig::deserialize(MapAccessDeserializer::new(rest))?;
        Ok(DataEntry { data, share })
    }
}

/// The keys of a table but for `share`, which is kept.
struct WithoutShare<'a, A> {
    map: A,
    share: &'a mut Option<Share>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutShare<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if key != "share" {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            if self.share.is_some() {
                return Err(A::Error::duplicate_field("share"));
            }
            *self.share = Some(self.map.next_value()?);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "federation = \"clinics\"\nsite = \"a\"\ndirector = \"localhost:8443\"\n";

    fn read(rest: &str) -> Result<EnvoyConfig, EnvoyError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("envoy.toml"), format!("{HEAD}{rest}")).unwrap();
        EnvoyConfig::read(dir.path())
    }

    #[test]
    fn a_full_config_is_read() {
        let config = read(
            "threads = 2\n[data.heart]\npath = \"data/heart.csv\"\nlabel = \"num\"\n\
             partition = { kind = \"natural\" }\nshare = { client = \"cleveland\", clients = 4 }\n[data.digits]\n\
             [policy]\nmodels = [\"mlp\"]\ndatasets = [\"heart\"]\noperators = [\"olga\"]\nminimum_cohort = 5\n\
             secure_aggregation = \"required\"\nmechanisms = [\"dp-sgd\"]\nmax_rounds = 7\nmax_parameters = 9\n\
             [policy.budget]\nepsilon = 8.0\ndelta = 1e-5\n",
        )
        .unwrap();
        let heart = &config.data["heart"];
        let share = heart.share.as_ref().unwrap();
        assert_eq!(
            (share.client.as_str(), share.clients),
            ("cleveland", Some(4))
        );
        assert_eq!(share.seed, 1);
        let path = heart.data.path.as_ref().unwrap().iter().next().unwrap();
        assert!(path.is_absolute() && path.ends_with("data/heart.csv"));
        assert_eq!(heart.data.dataset.as_deref(), Some("heart"));
        // Without a path, a set inside the binary.
        assert_eq!(
            config.data["digits"].data.dataset.as_deref(),
            Some("digits")
        );
        assert_eq!(config.policy.secure_aggregation, Requirement::Required);
        assert_eq!(config.policy.minimum_cohort, 5);
        let plain = read("").unwrap();
        assert_eq!(plain.policy.secure_aggregation, Requirement::Optional);
        assert_eq!(plain.policy.minimum_cohort, 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (rest, line, words) in [
            ("colour = 1\n", 4, "unknown field `colour`"),
            ("[data.heart]\nlable = 1\n", 4, "unknown field `lable`"),
            ("[data.heart]\ntest_fraction = \"x\"\n", 5, "invalid type"),
            (
                "[data.heart]\nshare = { klient = 1 }\n",
                5,
                "unknown field `klient`",
            ),
            (
                "[data.heart]\npartition = { kind = \"natural\" }\n",
                4,
                "without `share`",
            ),
            (
                "[policy]\n\nmodels = [\"mpl\"]\n",
                6,
                "'mpl' is none of logistic",
            ),
            (
                "[policy]\ndatasets = [\"heart\"]\n",
                5,
                "there is no [data.heart]",
            ),
            ("[policy]\nmechanisms = [\"noise\"]\n", 5, "unknown variant"),
            ("[policy]\nmechanisms = []\n", 5, "leave it out"),
            (
                "[policy.budget]\nepsilon = -1.0\ndelta = 1e-5\n",
                5,
                "above 0",
            ),
            (
                "[policy.budget]\nepsilon = 1.0\ndelta = nan\n",
                6,
                "below 1",
            ),
            (
                "[policy.budget]\nepsilon = 1.0\n",
                4,
                "missing field `delta`",
            ),
            ("threads = 0\n", 4, "at least 1"),
            ("[data]\n\"a b\" = {}\n", 4, "is no name"),
            ("[policy\n", 4, ""),
        ] {
            let error = read(rest).unwrap_err();
            let EnvoyError::Config {
                line: found,
                reason,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            assert!(reason.contains(words), "{error}");
            assert_eq!(*found, line, "{error}");
        }
        let none = tempfile::tempdir().unwrap();
        let error = EnvoyConfig::read(none.path()).unwrap_err();
        assert!(matches!(error, EnvoyError::File { .. }), "{error}");
    }

    #[test]
    fn the_template_of_a_kit_is_read_as_it_is_and_with_its_keys_turned_on() {
        let dir = tempfile::tempdir().unwrap();
        let federation = crate::pki::Federation {
            name: "clinics".parse().unwrap(),
            sites: vec!["a".parse().unwrap()],
            operators: Vec::new(),
            hosts: Vec::new(),
            days: 30,
        };
        let all = dir.path().join("clinics");
        crate::pki::init(&all, &federation, 1_765_000_000).unwrap();
        let site = all.join("sites/a");
        let config = EnvoyConfig::read(&site).unwrap();
        assert_eq!(config.policy, super::super::Policy::default());
        assert_eq!(config.director, "127.0.0.1:8443");
        let path = site.join("envoy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        // Keys and tables, not sentences; of the two examples of a data set, the first.
        let is_code = |line: &str| line.starts_with('[') || line.contains(" = ");
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let line = match line.strip_prefix("# ") {
                Some(code) if is_code(code) => code,
                _ => line,
            };
            if line == "partition = { kind = \"natural\" }" || line.starts_with("share") {
                continue;
            }
            if line.starts_with('[') && lines.iter().any(|known| known == line) {
                continue;
            }
            lines.push(line.to_owned());
        }
        std::fs::write(&path, lines.join("\n")).unwrap();
        let config = EnvoyConfig::read(&site).unwrap();
        assert_eq!(config.policy.budget.unwrap().epsilon, 8.0);
        assert_eq!(config.policy.secure_aggregation, Requirement::Required);
        assert!(config.data.contains_key("heart-disease"));
    }
}
