//! The state of a run between two rounds: one file, replaced atomically.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cloister_privacy::Mark;
use cloister_privacy::mechanism::adaptive_clip::AdaptiveClip;
use cloister_protocol::ServerState;
use cloister_redteam::Memory;
use cloister_report::record::write_atomic;
use cloister_robust::AggregatorState;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::error::SimError;

/// All that a resumed run needs: the random streams are functions of the seed and the round, and the metrics so far
/// are read from `rounds.csv`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) server: ServerState,
    pub(crate) config_sha256: String,
    pub(crate) virtual_now: Duration,
    /// Replies of each client in the sum so far.
    pub(crate) participations: Vec<u32>,
    /// Replies of each client refused so far.
    pub(crate) refusals: Vec<u32>,
    /// Rounds in which the rule kept a reply of each client.
    pub(crate) kept: Vec<u32>,
    /// The running means of clients that keep one.
    pub(crate) momenta: BTreeMap<u32, Vec<f32>>,
    /// What clients that send only the largest coordinates have not sent yet.
    pub(crate) residuals: BTreeMap<u32, Vec<f32>>,
    /// How far the privacy ledger had come.
    pub(crate) ledger: Option<Mark>,
    /// What the attackers remember.
    pub(crate) adversary: Memory,
}

#[derive(Serialize, Deserialize)]
struct Header {
    round: u32,
    config_sha256: String,
    virtual_now: Duration,
    warmed_up: u32,
    mimicked: Option<u32>,
    #[serde(default)]
    ledger: Option<Mark>,
    #[serde(default)]
    clip: Option<AdaptiveClip>,
}

const HEADER: &str = "cloister";
const PREVIOUS: &str = "aggregator.previous";
const HISTORY: &str = "aggregator.history.";
const MOMENTUM: &str = "momentum.";
const RESIDUAL: &str = "residual.";
const LAST_STEP: &str = "adversary.last_step";
const MEAN: &str = "adversary.mean";
const DIRECTION: &str = "adversary.direction";

struct Bytes<'a> {
    dtype: Dtype,
    shape: [usize; 1],
    bytes: Cow<'a, [u8]>,
}

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn floats(values: &[f32]) -> Bytes<'_> {
    Bytes {
        dtype: Dtype::F32,
        shape: [values.len()],
        bytes: little_endian(values, |value| value.to_le_bytes()),
    }
}

fn counts(values: &[u32]) -> Bytes<'_> {
    Bytes {
        dtype: Dtype::U32,
        shape: [values.len()],
        bytes: little_endian(values, |value| value.to_le_bytes()),
    }
}

/// One tensor a client, named after it.
fn numbered<'a>(
    prefix: &'a str,
    vectors: &'a BTreeMap<u32, Vec<f32>>,
) -> impl Iterator<Item = (String, Bytes<'a>)> {
    vectors
        .iter()
        .map(move |(client, values)| (format!("{prefix}{client}"), floats(values)))
}

/// Into a buffer of the right size, so that on a little-endian machine it is one copy.
fn little_endian<T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; 4]) -> Cow<'static, [u8]> {
    let mut buffer = vec![0; 4 * values.len()];
    for (word, value) in buffer.as_chunks_mut().0.iter_mut().zip(values) {
        *word = bytes(*value);
    }
    Cow::Owned(buffer)
}

/// Writes checkpoints behind the back of the next round: one at a time, each durable before the next is begun. A crash
/// in between costs a round, never the run.
#[derive(Debug, Default)]
pub(crate) struct Writer(Option<JoinHandle<Result<(), SimError>>>);

impl Writer {
    /// Begins to write `checkpoint`, once the one before is on the disk.
    pub(crate) fn write(&mut self, folder: &Path, checkpoint: Checkpoint) -> Result<(), SimError> {
        self.wait()?;
        let folder = folder.to_owned();
        self.0 = Some(thread::spawn(move || checkpoint.write(&folder)));
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    pub(crate) fn wait(&mut self) -> Result<(), SimError> {
        match self.0.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Only on the way out of an error, which is the one to report.
        let _ = self.wait();
    }
}

impl Checkpoint {
    /// Replaces the checkpoint in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), SimError> {
        let path = path(folder);
        let broken = |reason: String| SimError::Checkpoint {
            path: path.clone(),
            reason,
        };
        let header = Header {
            round: self.server.round,
            config_sha256: self.config_sha256.clone(),
            virtual_now: self.virtual_now,
            warmed_up: self.adversary.warmed_up,
            mimicked: self.adversary.mimicked,
            ledger: self.ledger.clone(),
            clip: self.server.clip.clone(),
        };
        let header = serde_json::to_string(&header).map_err(|e| broken(e.to_string()))?;
        let tensors = [
            ("global", floats(&self.server.global)),
            ("first", floats(&self.server.first)),
            ("second", floats(&self.server.second)),
            ("participations", counts(&self.participations)),
            ("refusals", counts(&self.refusals)),
            ("kept", counts(&self.kept)),
        ]
        .map(|(name, values)| (name.to_owned(), values));
        let aggregator = &self.server.aggregator;
        let optional = [
            (PREVIOUS, &aggregator.previous),
            (LAST_STEP, &self.adversary.last_step),
            (MEAN, &self.adversary.mean),
            (DIRECTION, &self.adversary.direction),
        ];
        let optional = optional
            .into_iter()
            .filter_map(|(name, values)| Some((name.to_owned(), floats(values.as_deref()?))));
        let tensors = tensors
            .into_iter()
            .chain(optional)
            .chain(numbered(HISTORY, &aggregator.histories))
            .chain(numbered(MOMENTUM, &self.momenta))
            .chain(numbered(RESIDUAL, &self.residuals));
        #[allow(
            clippy::disallowed_types,
            reason = "the library asks for it; with one entry it has one order"
        )]
        let metadata = std::collections::HashMap::from([(HEADER.to_owned(), header)]);
        let bytes =
            safetensors::serialize(tensors, Some(metadata)).map_err(|e| broken(e.to_string()))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| SimError::Io {
                path: parent.to_owned(),
                source,
            })?;
        }
        Ok(write_atomic(&path, &bytes)?)
    }

    /// Reads the checkpoint in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self, SimError> {
        let path = path(folder);
        let bytes = fs::read(&path).map_err(|source| SimError::Io {
            path: path.clone(),
            source,
        })?;
        Self::parse(&bytes).map_err(|reason| SimError::Checkpoint { path, reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(HEADER))
            .ok_or("is not a checkpoint of Cloister")?;
        let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let words = |name: &str, dtype: Dtype| -> Result<Vec<[u8; 4]>, String> {
            let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
            if tensor.dtype() != dtype {
                return Err(format!("{name} has type {:?}", tensor.dtype()));
            }
            Ok(tensor.data().as_chunks().0.to_vec())
        };
        let floats = |name: &str| -> Result<Vec<f32>, String> {
            Ok(words(name, Dtype::F32)?
                .into_iter()
                .map(f32::from_le_bytes)
                .collect())
        };
        let counts = |name: &str| -> Result<Vec<u32>, String> {
            Ok(words(name, Dtype::U32)?
                .into_iter()
                .map(u32::from_le_bytes)
                .collect())
        };
        let numbered = |prefix: &str| -> Result<BTreeMap<u32, Vec<f32>>, String> {
            let mut found = BTreeMap::new();
            for name in tensors.names() {
                if let Some(number) = name.strip_prefix(prefix) {
                    let number = number
                        .parse()
                        .map_err(|_| format!("has an unknown part '{name}'"))?;
                    found.insert(number, floats(name)?);
                }
            }
            Ok(found)
        };
        let optional = |name: &str| match tensors.names().contains(&name) {
            true => floats(name).map(Some),
            false => Ok(None),
        };
        Ok(Self {
            server: ServerState {
                round: header.round,
                global: floats("global")?,
                first: floats("first")?,
                second: floats("second")?,
                aggregator: AggregatorState {
                    previous: optional(PREVIOUS)?,
                    histories: numbered(HISTORY)?,
                },
                clip: header.clip,
            },
            ledger: header.ledger,
            config_sha256: header.config_sha256,
            virtual_now: header.virtual_now,
            participations: counts("participations")?,
            refusals: counts("refusals")?,
            kept: counts("kept")?,
            momenta: numbered(MOMENTUM)?,
            residuals: numbered(RESIDUAL)?,
            adversary: Memory {
                last_step: optional(LAST_STEP)?,
                mean: optional(MEAN)?,
                direction: optional(DIRECTION)?,
                warmed_up: header.warmed_up,
                mimicked: header.mimicked,
            },
        })
    }
}

/// Where the checkpoint of the run in `folder` lies.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint").join("checkpoint.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            server: ServerState {
                round: 7,
                global: vec![1.5, -2.0, f32::MIN_POSITIVE],
                first: vec![],
                second: vec![0.25],
                aggregator: AggregatorState {
                    previous: Some(vec![0.5; 3]),
                    histories: BTreeMap::from([(4, vec![1.0; 3]), (10, vec![2.0; 3])]),
                },
                clip: None,
            },
            ledger: Some(Mark {
                entries: 3,
                hash: "def".to_owned(),
            }),
            config_sha256: "abc".to_owned(),
            virtual_now: Duration::new(3, 14),
            participations: vec![1, 2],
            refusals: vec![0, 9],
            kept: vec![1, 0],
            momenta: BTreeMap::from([(1, vec![0.1; 3])]),
            residuals: BTreeMap::from([(2, vec![0.2; 3])]),
            adversary: Memory {
                last_step: Some(vec![7.0; 3]),
                mimicked: Some(2),
                ..Memory::default()
            },
        }
    }

    #[test]
    fn round_trip_and_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = checkpoint();
        written.write(folder.path()).unwrap();
        written.server.round = 8;
        written.write(folder.path()).unwrap();
        assert_eq!(Checkpoint::read(folder.path()).unwrap(), written);
        let files: Vec<_> = fs::read_dir(folder.path().join("checkpoint"))
            .unwrap()
            .collect();
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint().write(folder.path()).unwrap();
        let bytes = fs::read(path(folder.path())).unwrap();
        for end in 0..bytes.len() {
            assert!(Checkpoint::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(matches!(
            Checkpoint::read(&folder.path().join("nowhere")),
            Err(SimError::Io { .. })
        ));
    }
}
