//! The crate against an independent reference in Python (`reference/session.py`): what the one records the other makes, byte
//! for byte, both ways.
//!
//! HKDF's labels, the sealing of shares and the commitments have no public function of their own: the vectors `hkdf` and
//! `commitment`, and `enc`, `mask`, `self`, `stream_b` and `stream_r` of the first session, are reached through the messages of
//! the sessions alone, which hold no other bytes if one of them is another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "vectors/case.rs"]
mod case;
#[path = "vectors/json.rs"]
mod json;
#[path = "vectors/python.rs"]
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use case::Case;
use cloister_secagg::field::Fe;
use cloister_secagg::graph::{Graph, Topology};
use cloister_secagg::mask::{MaskKey, stream};
use cloister_secagg::members::Members;
use cloister_secagg::merkle::{self, Tree};
use cloister_secagg::shamir::{LIMBS, Lagrange, SHARE_LEN, Share, share};
use cloister_secagg::{Identity, Roster};
use json::{array, bytes, graph, hex, number, numbers, sum_json};
use serde_json::Value;
use sha2::{Digest, Sha256};

const NOW: Duration = Duration::ZERO;

fn recorded() -> Value {
    serde_json::from_str(include_str!("reference/session.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().unwrap();
    assert!(!list.is_empty());
    list
}

#[test]
fn streams_are_those_of_the_reference() {
    for vector in list(&recorded()["primitives"]["aes_ctr_le"]) {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&bytes(&vector["key"]));
        key[16..].copy_from_slice(&bytes(&vector["start"]));
        let key = MaskKey::from_bytes(&key);
        let mut out = vec![0; number(&vector["length"])];
        stream(&key, &mut out);
        assert_eq!(out[..64], bytes(&vector["first_64"]));
        assert_eq!(out[out.len() - 64..], bytes(&vector["last_64"]));
        let hash = Sha256::digest(&out[..4096]);
        assert_eq!(hash.as_slice(), bytes(&vector["sha256_4096"]));
    }
}

#[test]
fn shares_are_those_of_the_reference() {
    for vector in list(&recorded()["primitives"]["shamir"]) {
        let (secret, threshold) = (
            array(&vector["secret"]),
            number::<usize>(&vector["threshold"]),
        );
        let recorded: Vec<[u8; SHARE_LEN]> = list(&vector["shares"]).iter().map(array).collect();
        let points: Vec<u32> = (0..recorded.len() as u32).collect();
        let mut coefficients = Vec::new();
        for limb in list(&vector["coefficients"]) {
            coefficients.extend(numbers::<u64>(limb));
        }
        assert_eq!(coefficients.len(), LIMBS * (threshold - 1));
        let mut drawn = coefficients.iter().map(|value| Fe::new(*value).unwrap());
        let shares = share(&secret, threshold, &points, &mut || drawn.next().unwrap());
        assert_eq!(drawn.next(), None);
        for (made, recorded) in shares.iter().zip(&recorded) {
            assert_eq!(made.to_bytes(), *recorded);
        }
        // Room for draws that are passed over.
        let mut words = vec![0; 8 * coefficients.len() + 1024];
        stream(&MaskKey::from_bytes(&array(&vector["stream"])), &mut words);
        let mut words = words
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        for coefficient in coefficients {
            assert_eq!(
                Fe::sample(&mut || words.next().unwrap()).value(),
                coefficient
            );
        }
        let subset: Vec<u32> = numbers(&vector["subset"]);
        let lagrange = Lagrange::at_zero(&subset).unwrap();
        let held: Vec<&Share> = subset
            .iter()
            .map(|point| &shares[*point as usize])
            .collect();
        assert_eq!(lagrange.secret(&held), Some(secret));
        weights_are(&lagrange, &numbers(&vector["lagrange"]));
    }
}

/// The weights, read off by giving the value 1 to one member and 0 to the others.
fn weights_are(lagrange: &Lagrange, expected: &[u64]) {
    let unit = |value: u64| {
        let mut share = [0; SHARE_LEN];
        share[..8].copy_from_slice(&value.to_le_bytes());
        Share::from_bytes(&share).unwrap()
    };
    let (zero, one) = (unit(0), unit(1));
    for (place, weight) in expected.iter().enumerate() {
        let shares: Vec<&Share> = (0..expected.len())
            .map(|at| if at == place { &one } else { &zero })
            .collect();
        assert_eq!(lagrange.combine(&shares).unwrap()[0].value(), *weight);
    }
}

#[test]
fn merkle_trees_are_those_of_the_reference() {
    for vector in list(&recorded()["primitives"]["merkle"]) {
        let leaves: Vec<[u8; 32]> = list(&vector["leaves"]).iter().map(array).collect();
        let root = array(&vector["root"]);
        assert_eq!(leaves.len(), number::<usize>(&vector["count"]));
        assert_eq!(merkle::root(&leaves), root);
        let tree = Tree::new(leaves.clone());
        assert_eq!(tree.root(), root);
        for (place, proof) in list(&vector["proofs"]).iter().enumerate() {
            let proof: Vec<[u8; 32]> = proof.as_array().unwrap().iter().map(array).collect();
            assert_eq!(tree.proof(place), proof);
            assert!(merkle::proves(
                &root,
                leaves.len(),
                place,
                &leaves[place],
                &proof
            ));
        }
    }
}

#[test]
fn graphs_are_those_of_the_reference() {
    for vector in list(&recorded()["primitives"]["graph"]) {
        let members: Vec<u32> = numbers(&vector["members"]);
        let graph = graph(&vector["kind"], &vector["degree"]);
        let topology = Topology::new(graph, &members, &array(&vector["seed"])).unwrap();
        for (index, neighbours) in members.iter().zip(list(&vector["neighbours"])) {
            assert_eq!(topology.neighbours(*index), numbers::<u32>(neighbours));
        }
        if let Graph::Buckets { count } = graph {
            let runs = list(&vector["runs"]);
            assert_eq!(runs.len(), count as usize);
            for (bucket, run) in (0..count).zip(runs) {
                let mut run: Vec<u32> = numbers(run);
                run.sort_unstable();
                assert_eq!(topology.bucket_members(bucket), run);
            }
        }
    }
}

#[test]
fn sessions_are_those_of_the_reference() {
    for record in list(&recorded()["sessions"]) {
        let case = Case::from_json(record);
        check_roster(&case, &record["roster"]);
        let play = case.play();
        same_messages(&case.name, &play.messages, list(&record["messages"]));
        let sums: Vec<Value> = play.sums.iter().map(sum_json).collect();
        assert_eq!(sums, list(&record["sums"]), "{}", case.name);
        assert!(play.failed_buckets.is_empty());
        // Whoever revealed also took the recorded result for that of this session.
        assert_eq!(play.results as usize, case.answering[4].len());
        if record["derived"].is_object() {
            check_derived(&case, &record["derived"]);
        }
    }
}

fn check_roster(case: &Case, recorded: &Value) {
    let raw = bytes(&recorded["bytes"]);
    assert_eq!(case.roster.to_bytes(), raw);
    assert_eq!(*case.roster.hash(), array::<32>(&recorded["hash"]));
    let authority = Identity::from_secret(&case.authority);
    let signature = array(&recorded["signature"]);
    if case.signed() {
        assert_eq!(case.roster.sign(&authority), signature);
        let opened = Roster::open(&raw, &signature, &authority.public());
        assert_eq!(opened.as_ref(), Ok(case.roster.as_ref()));
    }
}

/// By sender, receiver and kind; what the server tells all is recorded once.
fn same_messages(name: &str, made: &[case::Message], recorded: &[Value]) {
    let key = |value: &Value| {
        let end = |end: &Value| end.as_u64().map(|index| index as u32);
        let kind = number::<u8>(&value["kind"]);
        (
            (end(&value["from"]), end(&value["to"]), kind),
            bytes(&value["bytes"]),
        )
    };
    let wanted: BTreeMap<_, _> = recorded.iter().map(key).collect();
    assert_eq!(wanted.len(), recorded.len());
    let mut seen = BTreeSet::new();
    for message in made {
        let one_for_all = message.from.is_none() && [1, 3, 11].contains(&message.kind);
        let to = message.to.filter(|_| !one_for_all);
        let key = (message.from, to, message.kind);
        let recorded = wanted
            .get(&key)
            .unwrap_or_else(|| panic!("{name}: {key:?}"));
        assert_eq!(hex(&message.bytes), hex(recorded), "{name}: {key:?}");
        seen.insert(key);
    }
    let missing: Vec<_> = wanted.keys().filter(|key| !seen.contains(key)).collect();
    assert!(missing.is_empty(), "{name}: {missing:?}");
}

/// What the messages do not hold as it is, as far as there are public functions for it.
fn check_derived(case: &Case, derived: &Value) {
    assert_eq!(case.params.to_bytes(), bytes(&derived["params"]));
    assert_eq!(case.params.hash(), array::<32>(&derived["params_hash"]));
    for (name, set) in ["u1", "u2", "u3"].iter().zip(&case.answering) {
        let mut members = Members::none(case.params.members());
        set.iter().for_each(|index| members.insert(*index));
        assert_eq!(members.bytes(), bytes(&derived[*name]));
    }
    for client in list(&derived["clients"]) {
        let secrets = &case.members[number::<usize>(&client["index"])].secrets;
        assert_eq!(
            secrets.channel_public(),
            array::<32>(&client["channel_public"])
        );
        assert_eq!(secrets.mask_public(), array::<32>(&client["mask_public"]));
    }
}
