//! Sessions in the shape of `reference/session.json`; what the fields mean is said at the head of `session.py`.

use std::fmt::Write as _;
use std::sync::Arc;

use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::{Lane, Vector};
use cloister_secagg::*;
use serde_json::{Value, json};

use super::case::{Case, Member, Play};

pub(crate) const STAGES: [&str; 5] = ["advertised", "shared", "survived", "acked", "revealed"];

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let (pairs, rest) = value.as_str().unwrap().as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(byte).collect()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

pub(crate) fn number<T: TryFrom<u64>>(value: &Value) -> T {
    let value = value.as_u64().unwrap();
    T::try_from(value)
        .ok()
        .expect("a number that is too large for its field")
}

pub(crate) fn numbers<T: TryFrom<u64>>(value: &Value) -> Vec<T> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub(crate) fn graph(kind: &Value, degree: &Value) -> Graph {
    let degree = number(degree);
    match number::<u8>(kind) {
        0 => Graph::Complete,
        1 => Graph::Harary { degree },
        2 => Graph::Buckets { count: degree },
        other => panic!("graph {other}"),
    }
}

fn params(value: &Value) -> Params {
    Params {
        version: number(&value["version"]),
        suite: number(&value["suite"]),
        mode: match number::<u8>(&value["mode"]) {
            0 => Mode::SemiHonest,
            _ => Mode::Malicious,
        },
        lane: match number::<u8>(&value["lane"]) {
            16 => Lane::U16,
            _ => Lane::U32,
        },
        bits: number(&value["bits"]),
        graph: graph(&value["graph"], &value["degree"]),
        task: array(&value["task"]),
        round: number(&value["round"]),
        attempt: number(&value["attempt"]),
        nonce: array(&value["nonce"]),
        model_hash: array(&value["model_hash"]),
        config_hash: array(&value["config_hash"]),
        model_lanes: number(&value["d"]),
        meta_lanes: number(&value["m"]),
        clip: value["clip"].as_f64().unwrap() as f32,
        most_weight: number(&value["w_max"]),
        least_survivors: number(&value["n_min"]),
        threshold: number(&value["threshold"]),
        corrupt_ppm: number(&value["corrupt_ppm"]),
        dropout_ppm: number(&value["dropout_ppm"]),
        security_bits: number(&value["security_bits"]),
        correctness_bits: number(&value["correctness_bits"]),
        deadlines: numbers(&value["deadlines"]).try_into().unwrap(),
        roster_hash: array(&value["roster_hash"]),
        cohort: numbers(&value["cohort"]),
    }
}

fn roster(value: &Value) -> Roster {
    let entry = |value: &Value| Entry {
        client: array(&value["client_id"]),
        identity: array(&value["identity_pk"]),
        not_after: number(&value["not_after"]),
    };
    let entries = value["entries"].as_array().unwrap().iter().map(entry);
    Roster::new(array(&value["server_pk"]), entries.collect()).unwrap()
}

fn member(value: &Value, params: &Params) -> Member {
    let mut vector = Vector::zero(params.layout());
    if value["lanes"].is_array() {
        let lanes: Vec<u32> = numbers(&value["lanes"]);
        assert_eq!(lanes.len(), vector.fill_model(lanes.iter().copied()));
        for (lane, value) in numbers(&value["wide"]).into_iter().enumerate() {
            vector.set_meta(lane, value);
        }
    }
    Member {
        identity: array(&value["identity_seed"]),
        secrets: Secrets {
            r: array(&value["r"]),
            b: array(&value["b"]),
            c: array(&value["c"]),
            z: array(&value["z"]),
        },
        vector,
    }
}

impl Case {
    pub(crate) fn from_json(value: &Value) -> Self {
        let params = params(&value["params"]);
        let clients = value["clients"].as_array().unwrap();
        let named = clients.iter().map(|client| number::<u32>(&client["index"]));
        assert!(named.eq(0..params.members()));
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            roster: Arc::new(roster(&value["roster"])),
            server: array(&value["roster"]["server_seed"]),
            authority: array(&value["roster"]["authority_seed"]),
            members: clients
                .iter()
                .map(|client| member(client, &params))
                .collect(),
            answering: STAGES.map(|stage| numbers(&value[stage]).into_iter().collect()),
            next_model_hash: array(&value["next_model_hash"]),
            params,
        }
    }

    /// The record of what came of it. Who answered at a stage is read off the messages.
    pub(crate) fn to_json(&self, play: &Play) -> Value {
        let message = |message: &super::case::Message| {
            let end = |index: Option<u32>| index.map_or(json!("server"), |index| json!(index));
            json!({
                "from": end(message.from), "to": end(message.to), "kind": message.kind,
                "bytes": hex(&message.bytes),
            })
        };
        let clients = self.members.iter().enumerate();
        let mut record = json!({
            "name": self.name,
            "params": self.params_json(),
            "roster": self.roster_json(),
            "clients": clients.map(|(index, member)| json!({
                "index": index, "identity_seed": hex(&member.identity),
                "r": hex(&member.secrets.r), "b": hex(&member.secrets.b),
                "c": hex(&member.secrets.c), "z": hex(&member.secrets.z),
                "lanes": member.vector.model_lanes().collect::<Vec<_>>(),
                "wide": wide(&member.vector),
            })).collect::<Vec<_>>(),
            "next_model_hash": hex(&self.next_model_hash),
            "messages": play.messages.iter().map(message).collect::<Vec<_>>(),
            "sums": play.sums.iter().map(sum_json).collect::<Vec<_>>(),
        });
        for (stage, kind) in STAGES.iter().zip([2, 4, 6, 8, 10]) {
            record[*stage] = json!(play.senders(kind));
        }
        record
    }

    fn params_json(&self) -> Value {
        let params = &self.params;
        let (kind, degree) = match params.graph {
            Graph::Complete => (0, 0),
            Graph::Harary { degree } => (1, degree),
            Graph::Buckets { count } => (2, count),
        };
        json!({
            "version": params.version, "suite": params.suite,
            "mode": u8::from(self.signed()), "lane": params.lane.bits(), "bits": params.bits,
            "graph": kind, "degree": degree, "task": hex(&params.task), "round": params.round,
            "attempt": params.attempt, "nonce": hex(&params.nonce),
            "model_hash": hex(&params.model_hash), "config_hash": hex(&params.config_hash),
            "d": params.model_lanes, "m": params.meta_lanes, "clip": params.clip,
            "w_max": params.most_weight, "n": params.members(), "n_min": params.least_survivors,
            "threshold": params.threshold, "corrupt_ppm": params.corrupt_ppm,
            "dropout_ppm": params.dropout_ppm, "security_bits": params.security_bits,
            "correctness_bits": params.correctness_bits, "deadlines": params.deadlines,
            "roster_hash": hex(&params.roster_hash), "cohort": params.cohort,
        })
    }

    fn roster_json(&self) -> Value {
        let authority = Identity::from_secret(&self.authority);
        // In mode S nothing is signed.
        let signature = match self.signed() {
            true => self.roster.sign(&authority),
            false => [0; 64],
        };
        let entry = |entry: &Entry| {
            json!({
                "client_id": hex(&entry.client), "identity_pk": hex(&entry.identity),
                "not_after": entry.not_after,
            })
        };
        json!({
            "server_seed": hex(&self.server), "authority_seed": hex(&self.authority),
            "server_pk": hex(self.roster.server()),
            "entries": self.roster.entries().iter().map(entry).collect::<Vec<_>>(),
            "bytes": hex(&self.roster.to_bytes()), "hash": hex(self.roster.hash()),
            "signature": hex(&signature),
        })
    }
}

/// A sum as it is recorded.
pub(crate) fn sum_json(sum: &Sum) -> Value {
    json!({
        "bucket": sum.bucket, "survivors": sum.members,
        "lanes": sum.vector.model_lanes().collect::<Vec<_>>(), "wide": wide(&sum.vector),
        "vector": hex(sum.vector.bytes()),
    })
}

fn wide(vector: &Vector) -> Vec<u64> {
    (0..vector.layout().meta)
        .map(|lane| vector.meta(lane))
        .collect()
}
