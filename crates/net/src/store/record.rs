//! What the store keeps of an experiment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::experiment::{Answer, Charter, Contract, Id, State};

/// An experiment, as the director keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentRecord {
    /// Its number, given by the store.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The operator who submitted it.
    pub operator: String,
    /// When, in seconds since 1970.
    pub submitted: u64,
    /// The experiment, as TOML.
    pub config: String,
    /// What the sites' examples must look like.
    pub contract: Contract,
    /// The sites that are asked, in the order of their client numbers.
    pub sites: Vec<String>,
    /// Sites that must accept.
    pub minimum: u32,
    /// Rounds planned.
    pub rounds: u32,
    /// How it stands.
    pub state: State,
    /// What it waits for, or why it ended.
    pub reason: String,
    /// What the sites have said.
    pub answers: BTreeMap<String, AnswerRecord>,
    /// Who takes part, once that is fixed.
    pub charter: Option<Charter>,
    /// What else the director wants to know of it.
    pub run: String,
}

/// What a site has said, and with which certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRecord {
    /// What it has said.
    pub answer: Answer,
    /// Its certificate, DER in hex.
    pub certificate: String,
    /// When, in seconds since 1970.
    pub when: u64,
}

/// A round that is done.
#[derive(Clone, Debug)]
pub struct Closed<'a> {
    /// The round.
    pub round: u32,
    /// The server's state after it.
    pub state: &'a [u8],
    /// What it amounts to, as JSON.
    pub row: &'a str,
    /// What it adds to the story, as JSON.
    pub lines: Vec<String>,
}

/// How far an experiment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rounds done.
    pub round: u32,
    /// The server's state after the last of them.
    pub state: Option<Vec<u8>>,
    /// A row for each of them.
    pub rows: Vec<String>,
}

/// Where an experiment stands between and in its rounds: small, since every entry of a log is checked against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    /// Rounds done.
    pub(super) round: u32,
    /// The round in progress.
    pub(super) open: Option<u32>,
    /// The file of the state after the last round.
    pub(super) state: Option<StateFile>,
    /// How the experiment ended, if it has.
    pub(super) over: Option<State>,
}

/// What the file of a state must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    /// Its name.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256, in hex.
    pub(super) sha256: String,
}
