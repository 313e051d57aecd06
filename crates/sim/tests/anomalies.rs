//! What is flagged in whole runs: hardly anything where all are honest, and whoever attacks plainly.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "tests; their support is shared"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use cloister_report::record::{AnomalyFlag, RunRecord, Summary};
use cloister_sim::{Federation, run};

use support::{experiment, go, model, options, stopped};

const TEN: &str = "federation = { clients = 10, rounds = 20 }\n\
                   train = { epochs = 1, batch_size = 20, learning_rate = 0.1 }\n\
                   evaluate = { clients = false }\n";

/// The flags of a run, as (round, rule, client), and its summary.
fn flagged(out: &Path) -> (Vec<(u32, String, Option<String>)>, Summary) {
    let record = RunRecord::read(out).unwrap();
    let flags = record.events.iter().filter_map(|event| {
        let flag = AnomalyFlag::of(event)?;
        Some((event.round, flag.rule, event.client.clone()))
    });
    (flags.collect(), record.summary.unwrap())
}

/// The bytes of a model's parameters, without what its file says of the config: `[anomalies]` is in it.
fn parameters(folder: &Path) -> Vec<u8> {
    let file = model(folder);
    let (length, rest) = file.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    rest[length as usize..].to_vec()
}

/// The stated rate of false alarms: at most one flag in ten runs of ten clients and twenty rounds, of whatever rule. Twenty seeds each
/// of IID and of Dirichlet (0.5) shares.
#[test]
fn honest_runs_are_hardly_ever_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = Vec::new();
    for seed in 1..=20 {
        for iid in [true, false] {
            let mut experiment = experiment(&format!("seed = {seed}\n{TEN}"));
            if iid {
                experiment.data.partition = cloister_data::PartitionConfig::Iid { minimum: 1 };
            }
            let out = folder.path().join(format!("{seed}-{iid}"));
            go(&experiment, &options(&out, 2));
            let (found, summary) = flagged(&out);
            assert_eq!(summary.anomalies.unwrap().flags as usize, found.len());
            flags.extend(found.into_iter().map(|flag| (seed, iid, flag)));
        }
    }
    assert!(flags.len() <= 4, "{flags:?}");
}

#[test]
fn plain_attacks_are_flagged_and_honest_clients_beside_them_are_not() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["sign-flip", "gaussian", "label-flip", "model-replacement"] {
        let attack = format!(
            "attack = {{ kind = \"{kind}\", clients = 2, start_round = 4, unattacked = false }}\n"
        );
        let mut experiment = experiment(&format!("{TEN}{attack}"));
        experiment.data.partition = cloister_data::PartitionConfig::Iid { minimum: 1 };
        let out = folder.path().join(kind);
        go(&experiment, &options(&out, 2));
        let (found, summary) = flagged(&out);
        let malicious: BTreeSet<String> = summary.attack.unwrap().names.into_iter().collect();
        let named = found.iter().filter_map(|(_, _, client)| client.clone());
        let named: BTreeSet<String> = named.collect();
        assert_eq!(named, malicious, "{kind}: {found:?}");
        let first = found.iter().map(|(round, ..)| *round).min();
        assert!(first >= Some(4), "{kind}: {found:?}");
    }
}

#[test]
fn watching_changes_no_bit_and_can_be_left_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = experiment(TEN);
    let (on, off) = (folder.path().join("on"), folder.path().join("off"));
    go(&experiment, &options(&on, 2));
    experiment.anomalies.enabled = false;
    go(&experiment, &options(&off, 2));
    assert_eq!(parameters(&on), parameters(&off));
    let replies = RunRecord::read(&on).unwrap().replies;
    assert_eq!(replies.len(), 200);
    assert!(
        replies
            .iter()
            .all(|row| row.norm > 0.0 && row.direction.is_some() && row.loss_deviation.is_some())
    );
    assert!(!off.join("replies.csv").exists());
    assert!(flagged(&off).1.anomalies.is_none());
}

#[test]
fn a_stopped_run_has_the_flags_of_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let attack = "attack = { kind = \"sign-flip\", clients = 2, start_round = 2, unattacked = false }\n\
                  faults = { dropout = 0.3 }\n";
    let experiment = experiment(&format!("{TEN}{attack}"));
    let federation = Federation::load(&experiment).unwrap();
    let whole = folder.path().join("whole");
    go(&experiment, &options(&whole, 2));
    let expected = RunRecord::read(&whole).unwrap();
    assert!(
        expected
            .summary
            .as_ref()
            .unwrap()
            .anomalies
            .as_ref()
            .unwrap()
            .flags
            > 2
    );
    for after in [1, 3, 4, 11] {
        let out = folder.path().join(after.to_string());
        stopped(&federation, &out, after);
        let mut options = options(&out, 2);
        options.resume = true;
        run(&federation, &options, &mut |_| {}).unwrap();
        let found = RunRecord::read(&out).unwrap();
        assert_eq!(found.replies, expected.replies, "{after}");
        assert_eq!(flagged(&out).0, flagged(&whole).0, "{after}");
        assert_eq!(
            found.summary.unwrap().anomalies,
            expected.summary.clone().unwrap().anomalies
        );
    }
}

#[test]
fn masked_and_privately_released_updates_leave_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more, words) in [
        (
            "masked",
            "secure_aggregation = { minimum_cohort = 6 }\n",
            "were masked",
        ),
        (
            "central",
            "privacy = { mechanism = \"central-gaussian\", noise_multiplier = 1.0, delta = 1e-3, clip = 1.0, noise = \"seeded\" }\n",
            "no figure of a single update",
        ),
    ] {
        let mut experiment = experiment(&format!("{TEN}{more}"));
        experiment.federation.rounds = 3;
        let out = folder.path().join(name);
        go(&experiment, &options(&out, 2));
        assert!(!out.join("replies.csv").exists(), "{name}");
        let scope = flagged(&out).1.anomalies.unwrap().scope;
        assert!(scope[0].contains(words), "{scope:?}");
    }
}
