//! Runs under attack: the record of who was kept, the unattacked twin, determinism and resuming with memories.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod support;

use std::fs;
use std::path::Path;

use cloister_report::record::{RoundOutcome, RunRecord, SweepRecord, SweepStatus};
use cloister_robust::Rule;
use cloister_sim::{Federation, run, run_sweep};

use support::{experiment, go, model, options, rounds, stopped};

const TEN: &str = "federation = { clients = 10, rounds = 4 }\n\
                   train = { epochs = 1, batch_size = 20, learning_rate = 0.1 }\n";

/// Whatever remembers something: rule, clients, attackers.
const MEMORIES: [&str; 3] = [
    "aggregation = { rule = \"centred-clipping\", byzantine = 2 }\n\
     attack = { kind = \"mimic\", clients = 2 }\n",
    "aggregation = { rule = \"foolsgold\", byzantine = 2 }\n\
     attack = { kind = \"free-rider\", clients = 2, start_round = 2 }\n",
    "aggregation = { rule = \"trimmed-mean\", byzantine = 2, before = [\"bucketing\", \"nnm\"] }\n\
     attack = { kind = \"neurotoxin\", clients = 2, seed = 7 }\n",
];

fn momentum(more: &str) -> String {
    TEN.replace("learning_rate", "client_momentum = 0.5, learning_rate") + more
}

#[test]
fn attacked_runs_have_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for (number, more) in MEMORIES.into_iter().enumerate() {
        let experiment = experiment(&momentum(more));
        let mut seen = Vec::new();
        for threads in [1, 2, 5] {
            let out = folder.path().join(format!("{number}-{threads}"));
            go(&experiment, &options(&out, threads));
            let verdicts = fs::read_to_string(out.join("verdicts.csv")).unwrap();
            seen.push((model(&out), rounds(&out), verdicts));
        }
        assert!(seen.iter().all(|run| *run == seen[0]), "{more}");
    }
}

#[test]
fn an_attacked_run_resumes_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    for (number, more) in MEMORIES.into_iter().enumerate() {
        let experiment = experiment(&momentum(more));
        let federation = Federation::load(&experiment).unwrap();
        let whole = folder.path().join(format!("{number}-whole"));
        go(&experiment, &options(&whole, 2));
        for stop_after in 1..4 {
            let out = folder.path().join(format!("{number}-{stop_after}"));
            assert!(stopped(&federation, &out, stop_after).summary.is_none());
            let mut options = options(&out, 2);
            options.resume = true;
            assert!(
                run(&federation, &options, &mut |_| {})
                    .unwrap()
                    .summary
                    .is_some()
            );
            assert_eq!(
                model(&out),
                model(&whole),
                "{more} stopped after {stop_after}"
            );
            let verdicts = |folder: &Path| fs::read_to_string(folder.join("verdicts.csv")).unwrap();
            assert_eq!(
                verdicts(&out),
                verdicts(&whole),
                "{more} stopped after {stop_after}"
            );
        }
    }
}

/// The failures of another framework: a NaN from a client stops nothing, whatever the rule.
#[test]
fn a_run_survives_clients_that_send_nan() {
    let folder = tempfile::tempdir().unwrap();
    for rule in Rule::ALL {
        let mut experiment = experiment(&format!(
            "{TEN}attack = {{ kind = \"nan\", clients = 2, unattacked = false }}\n"
        ));
        experiment.aggregation.rule = rule;
        experiment.aggregation.byzantine = 1;
        experiment.federation.rounds = 2;
        let out = folder.path().join(rule.name());
        let summary = go(&experiment, &options(&out, 2)).summary.unwrap();
        assert_eq!((summary.completed, summary.refused), (2, 4), "{rule:?}");
        assert!(summary.final_.loss.unwrap().is_finite(), "{rule:?}");
        let record = RunRecord::read(&out).unwrap();
        assert!(
            record
                .events
                .iter()
                .all(|event| event.detail["reason"] == "not-finite")
        );
    }
}

#[test]
fn the_record_says_who_was_kept_and_what_the_attack_did() {
    let folder = tempfile::tempdir().unwrap();
    let attacked = |rule: &str| {
        let experiment = experiment(&format!(
            "{TEN}aggregation = {{ rule = \"{rule}\", byzantine = 3 }}\n\
             attack = {{ kind = \"sign-flip\", scale = 4.0, clients = 3, start_round = 2 }}\n"
        ));
        let out = folder.path().join(rule);
        go(&experiment, &options(&out, 2));
        RunRecord::read(&out).unwrap()
    };
    let mean = attacked("mean");
    let attack = mean.summary.as_ref().unwrap().attack.clone().unwrap();
    assert_eq!((attack.clients, attack.of, attack.names.len()), (3, 10, 3));
    // From the start of the attack: three rounds.
    assert_eq!((attack.malicious_accepted, attack.malicious_kept), (9, 9));
    assert!(attack.impact.unwrap() > 0.2, "{attack:?}");
    let twin = RunRecord::read(&folder.path().join("mean/unattacked")).unwrap();
    let twin = twin.summary.unwrap();
    assert_eq!(attack.unattacked.unwrap().accuracy, twin.final_.accuracy);
    assert!(twin.attack.is_none());

    let krum = attacked("multi-krum");
    let attack = krum.summary.as_ref().unwrap().attack.clone().unwrap();
    // In the first round they are honest, and may be kept; afterwards never.
    let later = |round: u32| round >= 2;
    assert_eq!(krum.verdicts.len(), 40);
    for verdict in krum.verdicts.iter().filter(|verdict| later(verdict.round)) {
        let malicious = verdict.malicious.unwrap();
        assert_eq!(malicious, attack.names.contains(&verdict.client));
        assert!(!(malicious && verdict.kept), "{verdict:?}");
        assert_eq!(verdict.kept, verdict.weight.unwrap() > 0.0);
        assert!(verdict.score.unwrap().is_finite());
    }
    for row in krum.rounds.iter().filter(|row| later(row.round)) {
        assert_eq!(
            (row.malicious, row.malicious_kept, row.kept),
            (Some(3), Some(0), Some(5))
        );
    }
    assert!(attack.impact.unwrap() < 0.1, "{attack:?}");
}

/// With one malicious client too many for the rule, a round is abandoned with the numbers and the run goes on.
#[test]
fn a_round_with_too_few_replies_for_the_rule_is_abandoned() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&format!(
        "{TEN}aggregation = {{ rule = \"krum\", byzantine = 3 }}\nfaults = {{ dropout = 0.3 }}\n"
    ));
    let out = folder.path().join("run");
    go(&experiment, &options(&out, 2));
    let record = RunRecord::read(&out).unwrap();
    let abandoned = record
        .rounds
        .iter()
        .filter(|row| row.outcome == RoundOutcome::Abandoned);
    for row in abandoned.clone() {
        assert!(row.accepted < 9);
        let reason = format!(
            "krum with byzantine = 3 needs 9 rows (2f + 3), got {}",
            row.accepted
        );
        assert!(
            record
                .events
                .iter()
                .any(|event| event.round == row.round && event.message == reason)
        );
    }
    assert!(abandoned.count() > 0);
}

#[test]
fn root_examples_belong_to_no_client() {
    let mut experiment = experiment(&format!(
        "{TEN}aggregation = {{ rule = \"fltrust\", root_examples = 50 }}\n"
    ));
    experiment.federation.rounds = 25;
    let federation = Federation::load(&experiment).unwrap();
    assert_eq!(federation.root.len(), 50);
    let owned: Vec<u32> = federation
        .partition
        .clients
        .iter()
        .flat_map(|share| share.rows.clone())
        .collect();
    assert!(federation.root.iter().all(|row| !owned.contains(row)));
    assert_eq!(owned.len() + 50, federation.data.train.len());
    let folder = tempfile::tempdir().unwrap();
    let summary = go(&experiment, &options(folder.path(), 2)).summary.unwrap();
    assert!(summary.final_.accuracy.unwrap() > 0.5, "{summary:?}");
}

#[test]
fn attackers_may_come_beside_the_clients_of_the_partition() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&format!(
        "{TEN}attack = {{ kind = \"sign-flip\", clients = 4, beside = true }}\n"
    ));
    let federation = Federation::load(&experiment).unwrap();
    assert_eq!(federation.clients(), 14);
    let out = folder.path().join("run");
    let attack = go(&experiment, &options(&out, 2))
        .summary
        .unwrap()
        .attack
        .unwrap();
    assert_eq!((attack.clients, attack.of), (4, 14));
    assert_eq!(
        attack.names,
        ["attacker-1", "attacker-2", "attacker-3", "attacker-4"]
    );
    let twin = RunRecord::read(&out.join("unattacked"))
        .unwrap()
        .summary
        .unwrap();
    assert_eq!(twin.data.clients, 10);
}

/// On data where clients differ, copies of one of them cost the mean dearly; a rule that knows its copies loses nothing to
/// them, compared with the same rule left alone. Means over three fixed seeds.
#[test]
fn mimicry_is_stopped_by_the_rule_that_knows_copies() {
    let folder = tempfile::tempdir().unwrap();
    let impact = |rule: &str| {
        let of_seed = |seed: u64| {
            let text = format!(
                "name = \"mimic\"\nseed = {seed}\n\
                 data = {{ dataset = \"digits\", partition = {{ kind = \"shards\", per_client = 2 }} }}\n\
                 federation = {{ clients = 20, rounds = 20 }}\nmodel = {{ kind = \"mlp\", hidden = [32] }}\n\
                 train = {{ epochs = 2, batch_size = 10, learning_rate = 0.1 }}\n\
                 aggregation = {{ rule = \"{rule}\" }}\n\
                 attack = {{ kind = \"mimic\", clients = 8, beside = true }}\n"
            );
            let out = folder.path().join(format!("{rule}-{seed}"));
            let outcome = go(&toml::from_str(&text).unwrap(), &options(&out, 2));
            outcome.summary.unwrap().attack.unwrap().impact.unwrap()
        };
        (1..=3).map(of_seed).sum::<f64>() / 3.0
    };
    let (mean, foolsgold) = (impact("mean"), impact("foolsgold"));
    assert!(mean > 0.05, "{mean}");
    assert!(foolsgold < 0.02, "{foolsgold}");
}

/// A rule's limit is a result: the cell is refused with the numbers and the others go on.
#[test]
fn a_cell_beyond_its_rule_is_refused_and_the_sweep_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name = \"lab\"\ndata = {{ dataset = \"digits\" }}\nmodel = {{ kind = \"logistic\" }}\n{TEN}\
         aggregation = {{ byzantine = 3 }}\n\
         [sweep]\n\"aggregation.rule\" = [\"mean\", \"krum\", \"bulyan\"]\n"
    );
    let loaded = cloister_config::parse(text, Path::new("lab.toml"), &[], None).unwrap();
    let refused = loaded
        .warnings
        .iter()
        .find(|warning| warning.message.contains("refused"));
    assert!(
        refused
            .unwrap()
            .message
            .contains("bulyan with byzantine = 3 needs 15 rows")
    );
    let outcome = run_sweep(loaded.cells(), &options(folder.path(), 2), &mut |_| {}).unwrap();
    assert_eq!(
        (outcome.completed, outcome.refused, outcome.failed.len()),
        (2, 1, 0)
    );
    let row = &SweepRecord::read(folder.path()).unwrap().rows[2];
    assert_eq!(row.result.status, SweepStatus::Refused);
    assert_eq!(
        row.result.message,
        "aggregation: bulyan with byzantine = 3 needs 15 rows (4f + 3), got 10"
    );
}

/// One unattacked run for all cells that share it, and the impact in the table.
#[test]
fn the_cells_of_a_sweep_share_their_unattacked_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name = \"lab\"\ndata = {{ dataset = \"digits\" }}\nmodel = {{ kind = \"mlp\", hidden = [16] }}\n{TEN}\
         aggregation = {{ byzantine = 3 }}\nattack = {{ kind = \"sign-flip\", scale = 4.0, clients = 0 }}\n\
         [sweep]\n\"aggregation.rule\" = [\"mean\", \"median\"]\n\"attack.clients\" = [0, 3]\n"
    );
    let loaded = cloister_config::parse(text, Path::new("lab.toml"), &[], None).unwrap();
    let outcome = run_sweep(loaded.cells(), &options(folder.path(), 2), &mut |_| {}).unwrap();
    assert_eq!(
        (outcome.completed, outcome.failed.len()),
        (4, 0),
        "{outcome:?}"
    );
    let twins = fs::read_dir(folder.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("unattacked-")
    });
    assert_eq!(twins.count(), 2);
    let sweep = SweepRecord::read(folder.path()).unwrap();
    let impact = |rule: &str, clients: &str| {
        let row = sweep
            .rows
            .iter()
            .find(|row| row.settings == [rule, clients]);
        row.unwrap().result.impact.unwrap()
    };
    assert_eq!((impact("mean", "0"), impact("median", "0")), (0.0, 0.0));
    assert!(impact("mean", "3") > impact("median", "3") + 0.1);
}
