//! Runs whose server sees sums only.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot unwrap has failed"
)]

mod support;

use std::fs;

use cloister_privacy::State;
use cloister_report::record::{PrivacyInfo, RoundOutcome, RunRecord};
use cloister_sim::{Federation, run};

use support::{experiment, go, model, options, rounds, stopped};

const TEN: &str = "federation = { clients = 10, rounds = 4 }\n\
                   train = { epochs = 1, batch_size = 32, learning_rate = 0.2 }\n";
const MASKED: &str = "secure_aggregation = { minimum_cohort = 6 }\n";

/// The record of a run, by its name.
fn record(name: &str, config: &str) -> (RunRecord, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(name);
    go(&experiment(config), &options(&out, 2));
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut values = Vec::new();
    let mut names: Vec<_> = tensors.names().into_iter().map(str::to_owned).collect();
    names.sort();
    for name in names {
        let data = tensors.tensor(&name).unwrap().data().to_vec();
        values.extend(
            data.as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b)),
        );
    }
    (RunRecord::read(&out).unwrap(), values)
}

fn accuracy(record: &RunRecord) -> f64 {
    record.summary.as_ref().unwrap().final_.accuracy.unwrap()
}

#[test]
fn masks_change_nothing_but_the_last_digits() {
    let (plain, a) = record("plain", TEN);
    let (masked, b) = record("masked", &format!("{TEN}{MASKED}"));
    assert!((accuracy(&plain) - accuracy(&masked)).abs() <= 0.003);
    // Steps of 2^-24 (range 8, 28 bits), with weights of all sizes, over four rounds.
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(a.len() > 100 && worst < 1e-4, "{worst}");
    assert!(worst > 0.0, "the sum was not made of integers");
    // What the server knows of the training comes out of the sums as well.
    let losses = plain.rounds.iter().zip(&masked.rounds);
    for (plain, masked) in losses {
        let (plain, masked) = (plain.train_loss.unwrap(), masked.train_loss.unwrap());
        assert!((plain - masked).abs() < 1e-3, "{plain} {masked}");
    }
    let trust = masked.summary.unwrap().trust.join("\n");
    assert!(trust.contains("a cohort of 10 if at least 7"), "{trust}");
}

#[test]
fn the_same_seed_gives_the_same_bits_whatever_the_masks() {
    let folder = tempfile::tempdir().unwrap();
    for more in [
        "secure_aggregation = { minimum_cohort = 5 }\nfaults = { dropout = 0.1 }\n",
        "secure_aggregation = { minimum_cohort = 5, mode = \"semi-honest-server\", lanes = 16 }\nfaults = { dropout = 0.2 }\n",
        "secure_aggregation = { minimum_cohort = 3, buckets = 3 }\naggregation = { rule = \"median\" }\n",
    ] {
        let experiment = experiment(&format!("{TEN}{more}"));
        let runs: Vec<_> = [1, 3]
            .map(|threads| {
                let out = folder.path().join(format!("{}-{threads}", more.len()));
                go(&experiment, &options(&out, threads));
                (model(&out), rounds(&out))
            })
            .into();
        assert!(runs[0] == runs[1], "{more}");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    for (number, more) in [
        "secure_aggregation = { minimum_cohort = 5 }\nfaults = { dropout = 0.1 }\nserver = { optimizer = \"adam\", learning_rate = 0.01 }\n",
        "secure_aggregation = { minimum_cohort = 3, buckets = 3 }\naggregation = { rule = \"median\" }\n",
    ]
    .iter()
    .enumerate()
    {
        let experiment = experiment(&format!("{TEN}{more}"));
        let federation = Federation::load(&experiment).unwrap();
        let whole = folder.path().join(format!("{number}-whole"));
        go(&experiment, &options(&whole, 2));
        for stop_after in [1, 3] {
            let out = folder.path().join(format!("{number}-{stop_after}"));
            stopped(&federation, &out, stop_after);
            let mut again = options(&out, 2);
            again.resume = true;
            run(&federation, &again, &mut |_| {}).unwrap();
            assert!(model(&out) == model(&whole), "{more} {stop_after}");
            assert!(rounds(&out) == rounds(&whole), "{more} {stop_after}");
        }
    }
}

#[test]
fn dropouts_at_every_stage_leave_a_mean_of_the_others() {
    let config = "federation = { clients = 12, rounds = 30 }\n\
                  train = { epochs = 1, batch_size = 32, learning_rate = 0.2 }\n\
                  secure_aggregation = { minimum_cohort = 6 }\n\
                  faults = { dropout = 0.2 }\n";
    let (record, _) = record("dropouts", config);
    assert!(accuracy(&record) > 0.85);
    let words = [
        "never answered",
        "gone before it shared its keys",
        "gone before it sent its update",
        "gone before it acknowledged the survivors",
        "gone before it helped to unmask",
    ];
    for word in words {
        let seen = record.events.iter().any(|event| event.message == word);
        assert!(seen, "nobody was {word}");
    }
    let completed = |outcome: &RoundOutcome| *outcome == RoundOutcome::Completed;
    let rows = record.rounds.iter();
    let done: Vec<_> = rows.clone().filter(|row| completed(&row.outcome)).collect();
    assert!(done.len() >= 15);
    // Whoever was gone after its update is counted all the same.
    assert!(
        done.iter()
            .any(|row| row.accepted > row.cohort - row.dropped)
    );
    assert!(done.iter().all(|row| row.accepted >= 8));
    for row in rows.filter(|row| !completed(&row.outcome)) {
        let round = row.round;
        let why = record
            .events
            .iter()
            .find(|event| event.kind == "abandoned" && event.round == round);
        assert!(why.unwrap().message.contains("needed"), "{why:?}");
    }
}

#[test]
fn garbled_and_late_vectors_are_left_out() {
    let (record, _) = record(
        "garbled",
        "federation = { clients = 12, rounds = 6, deadline = 20.0 }\n\
         train = { epochs = 1, batch_size = 32, learning_rate = 0.2 }\n\
         secure_aggregation = { minimum_cohort = 4, collusion = 0.1 }\n\
         faults = { corrupt = 0.1, seconds_per_step = 2.0, seconds_spread = 0.5 }\n",
    );
    let refused: u32 = record.rounds.iter().map(|row| row.refused).sum();
    let late: u32 = record.rounds.iter().map(|row| row.late).sum();
    assert!(refused > 0 && late > 0, "{refused} {late}");
    let completed = record
        .rounds
        .iter()
        .filter(|row| row.outcome == RoundOutcome::Completed);
    assert!(completed.count() >= 3);
}

#[test]
fn buckets_let_a_rule_withstand_attackers() {
    let attack = "federation = { clients = 24, rounds = 8 }\n\
                  train = { epochs = 2, batch_size = 16, learning_rate = 0.2 }\n\
                  attack = { kind = \"sign-flip\", clients = 2, unattacked = false }\n";
    let attack = attack.replace("kind = \"sign-flip\"", "kind = \"sign-flip\", scale = 20.0");
    let mean = format!("{attack}secure_aggregation = {{ minimum_cohort = 4 }}\n");
    let median = format!(
        "{attack}secure_aggregation = {{ minimum_cohort = 3, buckets = 6 }}\naggregation = {{ rule = \"median\" }}\n"
    );
    let (mean, _) = record("mean", &mean);
    let (median, _) = record("median", &median);
    assert!(
        accuracy(&median) > accuracy(&mean) + 0.1,
        "{} {}",
        accuracy(&median),
        accuracy(&mean)
    );
    let trust = median.summary.unwrap().trust.join("\n");
    assert!(trust.contains("6 random buckets of about 4"), "{trust}");
}

#[test]
fn distributed_noise_is_accounted_and_enough() {
    let config = |noise: &str| {
        format!(
            "{TEN}{MASKED}privacy = {{ mechanism = \"distributed-discrete-gaussian\", delta = 1e-3, clip = 0.5, {noise} }}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("secret");
    go(&experiment(&config("epsilon = 30.0")), &options(&out, 2));
    let info = PrivacyInfo::read(&out).unwrap().unwrap();
    assert_eq!(info.statement.verdict(), State::Private);
    assert!(
        info.epsilon
            .is_some_and(|epsilon| (20.0..=30.001).contains(&epsilon)),
        "{:?}",
        info.epsilon
    );
    let record = RunRecord::read(&out).unwrap();
    assert_eq!(record.rounds.len(), 4);
    assert!(record.rounds.iter().all(|row| row.train_loss.is_none()));
    // From a seed the noise repeats, and less of it gives a better model.
    let seeded = config("noise_multiplier = 0.01, noise = \"seeded\"");
    let models: Vec<_> = ["a", "b"]
        .map(|name| {
            let out = folder.path().join(name);
            go(&experiment(&seeded), &options(&out, 2));
            model(&out)
        })
        .into();
    assert!(models[0] == models[1]);
    let record = RunRecord::read(&folder.path().join("a")).unwrap();
    // It does what noise of a server that sees every update would do.
    let central = config("noise_multiplier = 0.01, noise = \"seeded\"")
        .replace("distributed-discrete-gaussian", "central-gaussian")
        .replace(MASKED, "");
    let (central, _) = self::record("central", &central);
    let (distributed, central) = (accuracy(&record), accuracy(&central));
    assert!(
        (distributed - central).abs() < 0.03 && central > 0.2,
        "{distributed} {central}"
    );
}
