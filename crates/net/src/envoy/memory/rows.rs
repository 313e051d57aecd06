//! The rows of the memory, as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::MemoryError;
use crate::experiment::Answer;
use crate::plan::from_hex;
use crate::transport::ParcelKind;

/// An experiment that is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::envoy) struct Held {
    /// The offer, as it came.
    pub(in crate::envoy) offer: String,
    /// What was answered.
    pub(in crate::envoy) answer: Answer,
    /// Who takes part, if that fitted.
    pub(in crate::envoy) charter: Option<HeldCharter>,
    /// Why this site took its acceptance back when it saw the charter.
    pub(in crate::envoy) withdrawn: Option<String>,
}

/// A charter that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::envoy) struct HeldCharter {
    /// As it came.
    pub(in crate::envoy) document: String,
    /// The authority's certificate, DER in hex.
    pub(in crate::envoy) authority: String,
    /// When, in seconds since 1970.
    pub(in crate::envoy) accepted: u64,
    /// Names the site's part in the experiment in its ledger; random.
    pub(in crate::envoy) tag: String,
}

/// A session of a secure sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::envoy) struct Session {
    /// The message that called to it.
    pub(in crate::envoy) number: u64,
    /// Its round.
    pub(in crate::envoy) round: u32,
    /// The site's index in it.
    pub(in crate::envoy) index: u32,
}

/// A message of the director's.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageRow {
    /// Parcels that answer it so far.
    pub(super) parts: u32,
    /// Whether nothing more comes of it.
    pub(super) done: bool,
}

/// Where bytes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BodyRow {
    /// Their name.
    pub(super) id: u64,
    /// Their length.
    pub(super) bytes: u64,
    /// Their digest, in hex.
    pub(super) sha256: String,
    /// Whether they are a file.
    pub(super) file: bool,
}

impl BodyRow {
    pub(super) fn digest(&self) -> Result<[u8; 32], MemoryError> {
        let bytes = from_hex(&self.sha256).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| MemoryError::Broken(format!("body {} has no digest", self.id)))
    }
}

/// A parcel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParcelRow {
    /// Its bytes.
    pub(super) body: BodyRow,
    /// The round that it belongs to; 0 for none.
    pub(super) round: u32,
    /// Whether it waits for a receipt.
    pub(super) pending: bool,
}

/// The state of a client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateRow {
    /// The last round that it has answered.
    pub(super) answered: u32,
    /// Its last session of a secure sum, in hex.
    pub(super) record: Option<String>,
    /// The session of a secure sum in progress.
    pub(super) begun: Option<Session>,
    /// The session that a restart has interrupted last.
    pub(super) lost: Option<Session>,
    /// Momentum and residual.
    pub(super) vectors: Option<[BodyRow; 2]>,
}

/// A row that this module wrote.
pub(super) fn decoded<T: DeserializeOwned>(row: &[u8]) -> Result<T, MemoryError> {
    serde_json::from_slice(row).map_err(|error| MemoryError::Broken(format!("a row: {error}")))
}

/// The number of a kind in the key of a parcel.
pub(super) fn number_of(kind: ParcelKind) -> u8 {
    match kind {
        ParcelKind::Answer => 1,
        ParcelKind::Message => 2,
        ParcelKind::Done => 3,
    }
}

/// The kind of a number; only those of [`number_of`] are ever stored.
pub(super) fn kind_of(number: u8) -> ParcelKind {
    match number {
        1 => ParcelKind::Answer,
        2 => ParcelKind::Message,
        _ => ParcelKind::Done,
    }
}
