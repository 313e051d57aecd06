//! The state of a run between two rounds, as bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use cloister_privacy::Mark;
use cloister_privacy::mechanism::adaptive_clip::AdaptiveClip;
use cloister_protocol::ServerState;
use cloister_robust::AggregatorState;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All that a resumed run needs: the random streams are functions of the seed and the round, and the metrics so far
/// are read from `rounds.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The server.
    pub server: ServerState,
    /// The config of the run, SHA-256 in hex.
    pub config_sha256: String,
    /// The host's clock.
    pub now: Duration,
    /// Replies of each client in the sum so far.
    pub participations: Vec<u32>,
    /// Replies of each client refused so far.
    pub refusals: Vec<u32>,
    /// Rounds in which the rule kept a reply of each client.
    pub kept: Vec<u32>,
    /// The running means of clients that keep one.
    pub momenta: BTreeMap<u32, Vec<f32>>,
    /// What clients that send only the largest coordinates have not sent yet.
    pub residuals: BTreeMap<u32, Vec<f32>>,
    /// How far the privacy ledger had come.
    pub ledger: Option<Mark>,
    /// Vectors that only this host knows of, by name.
    pub vectors: BTreeMap<String, Vec<f32>>,
    /// What else only this host knows of.
    pub notes: Map<String, Value>,
}

/// Why bytes are no checkpoint, or a checkpoint has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint: {0}")]
pub struct CheckpointError(String);

#[derive(Serialize, Deserialize)]
struct Header {
    round: u32,
    config_sha256: String,
    #[serde(alias = "virtual_now")]
    now: Duration,
    #[serde(default)]
    ledger: Option<Mark>,
    #[serde(default)]
    clip: Option<AdaptiveClip>,
    #[serde(default)]
    notes: Map<String, Value>,
}

const HEADER: &str = "cloister";
const PREVIOUS: &str = "aggregator.previous";
const HISTORY: &str = "aggregator.history.";
const MOMENTUM: &str = "momentum.";
const RESIDUAL: &str = "residual.";
const VECTOR: &str = "host.";

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

impl Checkpoint {
    /// Of a run of so many clients that has not begun.
    pub fn beginning(clients: usize, config_sha256: &str) -> Self {
        Self {
            config_sha256: config_sha256.to_owned(),
            participations: vec![0; clients],
            refusals: vec![0; clients],
            kept: vec![0; clients],
            ..Self::default()
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`CheckpointError`] if they cannot be made.
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        let broken = CheckpointError;
        let header = Header {
            round: self.server.round,
            config_sha256: self.config_sha256.clone(),
            now: self.now,
            ledger: self.ledger.clone(),
            clip: self.server.clip.clone(),
            notes: self.notes.clone(),
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
        let previous = aggregator.previous.as_deref();
        let previous = previous.map(|values| (PREVIOUS.to_owned(), floats(values)));
        let vectors = self.vectors.iter();
        let vectors = vectors.map(|(name, values)| (format!("{VECTOR}{name}"), floats(values)));
        let tensors = tensors
            .into_iter()
            .chain(previous)
            .chain(vectors)
            .chain(numbered(HISTORY, &aggregator.histories))
            .chain(numbered(MOMENTUM, &self.momenta))
            .chain(numbered(RESIDUAL, &self.residuals));
        #[allow(
            clippy::disallowed_types,
            reason = "the library asks for it; with one entry it has one order"
        )]
        let metadata = std::collections::HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(|e| broken(e.to_string()))
    }

    /// The checkpoint in `bytes`.
    ///
    /// # Errors
    /// [`CheckpointError`] if they are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(bytes).map_err(CheckpointError)
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
        let named = |prefix: &str| -> Result<BTreeMap<String, Vec<f32>>, String> {
            let names = tensors.names().into_iter();
            let found = names.filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
            found
                .map(|(name, rest)| Ok((rest.to_owned(), floats(name)?)))
                .collect()
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
            now: header.now,
            participations: counts("participations")?,
            refusals: counts("refusals")?,
            kept: counts("kept")?,
            momenta: numbered(MOMENTUM)?,
            residuals: numbered(RESIDUAL)?,
            vectors: named(VECTOR)?,
            notes: header.notes,
        })
    }
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
            now: Duration::new(3, 14),
            participations: vec![1, 2],
            refusals: vec![0, 9],
            kept: vec![1, 0],
            momenta: BTreeMap::from([(1, vec![0.1; 3])]),
            residuals: BTreeMap::from([(2, vec![0.2; 3])]),
            vectors: BTreeMap::from([("adversary.mean".to_owned(), vec![7.0; 3])]),
            notes: Map::from_iter([("mimicked".to_owned(), Value::from(2))]),
        }
    }

    #[test]
    fn round_trip() {
        let written = checkpoint();
        let bytes = written.encode().unwrap();
        assert_eq!(Checkpoint::decode(&bytes).unwrap(), written);
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let bytes = checkpoint().encode().unwrap();
        for end in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
