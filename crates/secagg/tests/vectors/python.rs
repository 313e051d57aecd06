//! The other way: sessions of this crate, recorded and given to the reference to be recomputed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use cloister_secagg::graph::{self, Graph};
use cloister_secagg::lanes::{Lane, Vector};
use cloister_secagg::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::case::{Case, Member, Play};

/// Members and the stage from which on they are gone: 0 to 4 for kinds 2, 4, 6, 8, 10.
type Drops<'a> = &'a [(u32, usize)];

const SHARES: usize = 1;
const MASKED: usize = 2;
const ACK: usize = 3;
const REVEAL: usize = 4;

/// A session of `n` with random secrets; the threshold is the least that is legal for 20 % of corrupt members.
fn random(name: &str, n: u32, mode: Mode, lane: Lane, graph: Graph, seed: u64) -> Case {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    // Every other person of the roster is called.
    let cohort: Vec<u32> = (0..n).map(|index| 2 * index + seed as u32 % 2).collect();
    let signed = mode == Mode::Malicious;
    let seeds: Vec<[u8; 32]> = (0..2 * n + 1).map(|_| rng.random()).collect();
    // Where nothing is signed keys are zeros.
    let public = |seed: &[u8; 32]| match signed {
        true => Identity::from_secret(seed).public(),
        false => [0; 32],
    };
    let mut entries: Vec<Entry> = seeds
        .iter()
        .map(|seed| Entry {
            client: rng.random(),
            identity: public(seed),
            not_after: rng.next_u64(),
        })
        .collect();
    let mut named: Vec<([u8; 16], [u8; 32])> = Vec::new();
    for (entry, seed) in entries.iter().zip(&seeds) {
        named.push((entry.client, *seed));
    }
    entries.sort_by_key(|entry| entry.client);
    named.sort_unstable();
    let (server, authority) = (rng.random(), rng.random());
    let roster = Arc::new(Roster::new(public(&server), entries).unwrap());
    let params = draw_params(n, mode, lane, graph, &roster, cohort, &mut rng);
    params.check().unwrap();
    let members = (params.cohort.iter())
        .map(|place| Member {
            identity: named[*place as usize].1,
            secrets: Secrets::draw(&mut rng),
            vector: draw_vector(&params, &mut rng),
        })
        .collect();
    Case {
        name: name.to_owned(),
        roster,
        server,
        authority,
        members,
        answering: std::array::from_fn(|_| (0..n).collect()),
        next_model_hash: rng.random(),
        params,
    }
}

fn draw_params(
    n: u32,
    mode: Mode,
    lane: Lane,
    graph: Graph,
    roster: &Roster,
    cohort: Vec<u32>,
    rng: &mut ChaCha20Rng,
) -> Params {
    let mut params = Params {
        version: VERSION,
        suite: SUITE,
        mode,
        lane,
        bits: 0,
        graph,
        task: rng.random(),
        round: rng.next_u64(),
        attempt: rng.next_u32(),
        nonce: rng.random(),
        model_hash: rng.random(),
        config_hash: rng.random(),
        model_lanes: rng.random_range(1..60),
        meta_lanes: rng.random_range(1..9),
        clip: rng.random_range(0.5..8.0),
        most_weight: rng.random_range(1..u64::MAX),
        least_survivors: 3,
        threshold: 0,
        corrupt_ppm: 200_000,
        dropout_ppm: 100_000,
        security_bits: 40,
        correctness_bits: 20,
        deadlines: std::array::from_fn(|_| rng.random_range(1000..u64::MAX)),
        roster_hash: *roster.hash(),
        cohort,
    };
    params.bits = quantise::bits_for(params.lane_bits(), params.group());
    if matches!(graph, Graph::Harary { .. }) {
        // Its sums are of all but the share that may drop out.
        (params.corrupt_ppm, params.dropout_ppm) = (100_000, 200_000);
    }
    params.threshold = match graph {
        Graph::Harary { degree } => (1..=degree)
            .find(|t| graph::check(n, degree, *t, &params.assumptions()))
            .unwrap(),
        _ => graph::complete_threshold(params.group(), params.corrupt_ppm, mode.rule()),
    };
    params
}

fn draw_vector(params: &Params, rng: &mut ChaCha20Rng) -> Vector {
    let mut vector = Vector::zero(params.layout());
    let codes = (0..params.model_lanes).map(|_| rng.next_u32() >> (32 - params.bits));
    vector.fill_model(codes.collect::<Vec<_>>());
    // All values of 64 bits, so that sums wrap. Lane 0 counts.
    vector.set_meta(0, 1);
    (1..params.meta_lanes.into()).for_each(|lane| vector.set_meta(lane, rng.next_u64()));
    vector
}

impl Case {
    /// Members that are gone from a stage on.
    fn without(mut self, drops: Drops<'_>) -> Self {
        for (index, from) in drops {
            for stage in &mut self.answering[*from..] {
                stage.remove(index);
            }
        }
        self
    }

    /// The members of a bucket, if nobody drops out.
    fn bucket(&self, bucket: usize) -> Vec<u32> {
        let play = self.play();
        play.sums[bucket].members.clone()
    }

    /// The record of the session, of which so many buckets must have a sum that is right.
    fn recorded(&self, sums: usize) -> Value {
        let play = self.play();
        assert_eq!(play.sums.len(), sums, "{}", self.name);
        assert_eq!(
            play.failed_buckets.len() + sums,
            self.params.buckets() as usize
        );
        for sum in &play.sums {
            let mut plain = Vector::zero(self.params.layout());
            for index in &sum.members {
                let vector = &self.members[*index as usize].vector;
                plain.add(vector.bytes()).unwrap();
            }
            assert_eq!(sum.vector, plain, "{}", self.name);
        }
        self.check_stages(&play);
        self.to_json(&play)
    }

    /// That the record is of the dropouts that were meant.
    fn check_stages(&self, play: &Play) {
        let alive: BTreeSet<u32> = play
            .sums
            .iter()
            .flat_map(|sum| sum.members.clone())
            .collect();
        let acks = if self.signed() {
            &self.answering[3]
        } else {
            &BTreeSet::new()
        };
        for (kind, expected) in [(8, acks), (10, &self.answering[4])] {
            let sent = play.senders(kind);
            let sent: BTreeSet<u32> = sent.into_iter().filter(|i| alive.contains(i)).collect();
            let expected: BTreeSet<u32> = expected.intersection(&alive).copied().collect();
            assert_eq!(sent, expected, "{}: kind {kind}", self.name);
        }
    }
}

/// Sessions with dropouts of every stage, buckets that fail at different ones, both modes, both lanes and all graphs.
fn sessions() -> Vec<Value> {
    use Mode::{Malicious, SemiHonest};
    let complete = |name, n, mode, lane, seed| random(name, n, mode, lane, Graph::Complete, seed);
    let buckets = |name, n, count, mode, lane, seed| {
        random(name, n, mode, lane, Graph::Buckets { count }, seed)
    };
    let mut out = vec![
        complete("all", 3, Malicious, Lane::U16, 1).recorded(1),
        complete("ends", 9, Malicious, Lane::U32, 2)
            .without(&[(0, ACK), (3, SHARES), (8, REVEAL)])
            .recorded(1),
        complete("stages", 11, SemiHonest, Lane::U16, 3)
            .without(&[
                (1, 0),
                (2, SHARES),
                (5, SHARES),
                (7, MASKED),
                (10, MASKED),
                (0, REVEAL),
            ])
            .recorded(1),
        random(
            "ring",
            17,
            SemiHonest,
            Lane::U32,
            Graph::Harary { degree: 10 },
            4,
        )
        .without(&[(0, 0), (4, SHARES), (9, MASKED), (16, REVEAL)])
        .recorded(1),
    ];
    for (k, stage) in [ACK, REVEAL].into_iter().enumerate() {
        let case = buckets("a bucket fails", 15, 3, Malicious, Lane::U16, 5 + k as u64);
        let (fails, other) = (case.bucket(k), case.bucket((k + 1) % 3));
        // Of 5 members a bucket bears one loss.
        let drops = [
            (fails[0], stage),
            (fails[1], stage),
            (fails[2], stage),
            (other[1], MASKED),
        ];
        out.push(case.without(&drops).recorded(2));
    }
    let case = buckets("buckets of S", 10, 3, SemiHonest, Lane::U32, 8);
    let (fails, other) = (case.bucket(1), case.bucket(0));
    let drops = [(fails[0], SHARES), (other[3], REVEAL)];
    out.push(case.without(&drops).recorded(2));
    out
}

/// A file for one test, away when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &Value) -> Self {
        let name = format!("cloister-secagg-{}-{name}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content.to_string()).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that stays is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
}

fn python(arguments: &[&str]) -> Option<Output> {
    Command::new("python3").args(arguments).output().ok()
}

/// Whether there is a Python that runs the reference.
fn there_is_python() -> bool {
    let code = "import sys; sys.exit(sys.version_info < (3, 9))";
    let there = python(&["-c", code]).is_some_and(|output| output.status.success());
    if !there {
        eprintln!("not tested: there is no python3 of 3.9 or later");
    }
    there
}

/// Whether the reference makes the same, and what it says.
fn check(name: &str, content: &Value) -> (bool, String) {
    let file = Scratch::new(name, content);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let script = folder.join("session.py");
    let arguments = [
        script.to_str().unwrap(),
        "--check",
        file.0.to_str().unwrap(),
    ];
    let output = python(&arguments).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    // 1 is a difference that was found; anything else, and a traceback, is a fault of the reference.
    let code = output.status.code();
    assert!(
        complaint.is_empty() && matches!(code, Some(0 | 1)),
        "{code:?} {said} {complaint}"
    );
    (code == Some(0), said)
}

#[test]
fn the_reference_makes_the_same_sessions() {
    if !there_is_python() {
        return;
    }
    let sessions = sessions();
    let count = sessions.len();
    let (same, said) = check("sessions", &json!({ "sessions": sessions }));
    assert!(same, "{said}");
    assert_eq!(
        said.trim(),
        format!("{count} session(s): every message as expected")
    );
}

/// Flips one bit of a string of hex digits.
fn flip(value: &mut Value, byte: usize) {
    let mut raw = super::bytes(value);
    let place = byte % raw.len();
    raw[place] ^= 1 << (byte % 8);
    *value = json!(super::hex(&raw));
}

#[test]
fn the_reference_finds_one_byte() {
    if !there_is_python() {
        return;
    }
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let session = |mode| random("one byte", 3, mode, Lane::U32, Graph::Complete, 10).recorded(1);
    let (plain, signed) = (session(Mode::SemiHonest), session(Mode::Malicious));
    for kind in 1..=11 {
        // Signatures take the reference long: only where it cannot be without.
        let record = if [8, 9].contains(&kind) {
            &signed
        } else {
            &plain
        };
        let messages = record["messages"].as_array().unwrap();
        let places: Vec<usize> = (0..messages.len())
            .filter(|place| messages[*place]["kind"] == kind)
            .collect();
        let place = places[rng.random_range(0..places.len())];
        let mut changed = record.clone();
        flip(
            &mut changed["messages"][place]["bytes"],
            rng.random_range(0..100_000),
        );
        let (same, said) = check(&format!("kind-{kind}"), &changed);
        assert!(!same, "kind {kind}: {said}");
        assert!(
            said.contains(&format!("(kind {kind}, ")),
            "kind {kind}: {said}"
        );
    }
    let mut changed = plain.clone();
    flip(&mut changed["sums"][0]["vector"], 3);
    assert!(!check("sum", &changed).0);
}
