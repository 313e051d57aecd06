//! Whole runs on bundled data: determinism, resuming, faults, baselines, sweeps.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cloister_config::Experiment;
use cloister_data::{Dataset, ExampleShape, TrainTest};
use cloister_report::record::{RoundOutcome, RunRecord, SweepRecord};
use cloister_sim::{Federation, SimError, run, run_sweep};

use support::{experiment, go, model, options, rounds, stopped};

const SMALL: &str = "federation = { clients = 8, rounds = 6, fraction = 0.5 }\n\
                     train = { epochs = 2, batch_size = 10, learning_rate = 0.1 }\n";

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let faults =
        "faults = { dropout = 0.2, corrupt = 0.1, seconds_per_step = 0.1, seconds_spread = 0.5 }\n";
    for more in ["", faults] {
        let experiment = experiment(&format!("{SMALL}{more}"));
        let mut seen = Vec::new();
        for threads in [1, 2, 5] {
            let out = folder.path().join(format!("{}-{threads}", more.len()));
            go(&experiment, &options(&out, threads));
            let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
            seen.push((model(&out), rounds(&out), events));
        }
        assert!(seen.iter().all(|run| *run == seen[0]));
    }
}

#[test]
fn another_seed_gives_other_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = experiment(SMALL);
    go(&experiment, &options(&folder.path().join("a"), 2));
    experiment.seed = 2;
    go(&experiment, &options(&folder.path().join("b"), 2));
    assert_ne!(
        model(&folder.path().join("a")),
        model(&folder.path().join("b"))
    );
}

/// Stops after each possible round in turn, resumes, and compares with the run that was left alone. Server momentum
/// and the virtual clock are part of the state.
#[test]
fn a_stopped_run_resumes_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let more = "server = { optimizer = \"adam\", learning_rate = 0.1 }\n\
                faults = { dropout = 0.2, seconds_per_step = 0.1, seconds_spread = 0.3 }\n";
    let experiment = experiment(&format!("{SMALL}{more}"));
    let federation = Federation::load(&experiment).unwrap();
    let whole = folder.path().join("whole");
    go(&experiment, &options(&whole, 2));
    for stop_after in 1..6 {
        let out = folder.path().join(stop_after.to_string());
        let outcome = stopped(&federation, &out, stop_after);
        assert!(outcome.summary.is_none());
        assert_eq!(outcome.rounds, stop_after);
        // A crash may leave a half-written line and events of a round that never ended.
        let rows = out.join("rounds.csv");
        let cut = fs::read_to_string(&rows).unwrap() + "7,0.1,0";
        fs::write(&rows, cut).unwrap();

        let mut options = options(&out, 2);
        options.resume = true;
        let outcome = run(&federation, &options, &mut |_| {}).unwrap();
        assert_eq!(outcome.summary.unwrap().rounds, 6);
        assert_eq!(model(&out), model(&whole), "stopped after {stop_after}");
        assert_eq!(rounds(&out), rounds(&whole), "stopped after {stop_after}");
    }
}

#[test]
fn a_folder_is_neither_overwritten_nor_resumed_under_another_config() {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = experiment(SMALL);
    let mut options = options(folder.path(), 1);
    go(&experiment, &options);
    let again = run(
        &Federation::load(&experiment).unwrap(),
        &options,
        &mut |_| {},
    );
    assert!(matches!(again, Err(SimError::Record(_))), "{again:?}");
    experiment.federation.rounds = 9;
    options.resume = true;
    let other = run(
        &Federation::load(&experiment).unwrap(),
        &options,
        &mut |_| {},
    );
    assert!(
        matches!(&other, Err(SimError::Checkpoint { reason, .. }) if reason == "is of another config"),
        "{other:?}"
    );
}

#[test]
fn faults_are_recorded_and_never_end_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let more = "federation = { clients = 8, rounds = 12, minimum_replies = 3 }\n\
                train = { epochs = 1, batch_size = 10, learning_rate = 0.1 }\n\
                faults = { dropout = 0.45, corrupt = 0.3 }\n";
    let experiment = experiment(more);
    let outcome = go(&experiment, &options(folder.path(), 2));
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.rounds.len(), 12);
    for row in &record.rounds {
        assert_eq!(
            row.cohort,
            row.accepted + row.refused + row.dropped + row.late
        );
        assert_eq!(row.outcome == RoundOutcome::Abandoned, row.accepted < 3);
    }
    let summary = outcome.summary.unwrap();
    let total = |count: fn(&cloister_report::record::RoundRow) -> u32| -> u32 {
        record.rounds.iter().map(count).sum()
    };
    assert!(summary.abandoned > 0 && summary.completed > 0);
    assert_eq!(u64::from(total(|row| row.refused)), summary.refused);
    assert!(total(|row| row.refused) > 0 && total(|row| row.dropped) > 0);
    let kinds = |kind: &str| {
        record
            .events
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!(kinds("refused") as u64, summary.refused);
    assert_eq!(kinds("dropped"), total(|row| row.dropped) as usize);
    assert_eq!(kinds("abandoned"), summary.abandoned as usize);
}

#[test]
fn a_deadline_leaves_stragglers_behind() {
    let folder = tempfile::tempdir().unwrap();
    let more = "federation = { clients = 8, rounds = 5, deadline = 30.0 }\n\
                train = { max_steps = 10, learning_rate = 0.1 }\n\
                faults = { seconds_per_step = 1.0, straggler = { chance = 0.4, slowdown = 10.0 } }\n";
    go(&experiment(more), &options(folder.path(), 2));
    let record = RunRecord::read(folder.path()).unwrap();
    let late: u32 = record.rounds.iter().map(|row| row.late).sum();
    assert!(late > 0);
    for row in &record.rounds {
        assert_eq!(row.accepted + row.late, 8);
        let seconds = row.virtual_seconds.unwrap();
        assert!(if row.late > 0 {
            seconds == 30.0
        } else {
            seconds <= 10.0
        });
    }
}

#[test]
fn over_selection_takes_the_fastest() {
    let folder = tempfile::tempdir().unwrap();
    let more = "federation = { clients = 8, rounds = 4, fraction = 0.5, over_selection = 0.5 }\n\
                train = { learning_rate = 0.1 }\n\
                faults = { seconds_per_step = 1.0, seconds_spread = 1.0 }\n";
    go(&experiment(more), &options(folder.path(), 2));
    for row in RunRecord::read(folder.path()).unwrap().rounds {
        assert_eq!((row.cohort, row.accepted, row.late), (6, 4, 2));
    }
}

#[test]
fn baselines_stand_beside_the_federation() {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = experiment(SMALL);
    experiment.baselines = vec![
        cloister_config::Baseline::Centralised,
        cloister_config::Baseline::Local,
    ];
    let summary = go(&experiment, &options(folder.path(), 2)).summary.unwrap();
    let centralised = &summary.baselines["centralised"];
    let local = &summary.baselines["local"];
    assert!(centralised.accuracy.unwrap() > local.accuracy.unwrap());
    let range = local.clients.as_ref().unwrap();
    assert_eq!(range.count, 8);
    assert!(range.accuracy_min.unwrap() < range.accuracy_max.unwrap());
    let record = RunRecord::read(folder.path()).unwrap();
    assert!(
        record
            .clients
            .unwrap()
            .iter()
            .all(|row| row.alone_accuracy.is_some())
    );
    assert!(folder.path().join("report.html").exists());
}

#[test]
fn a_sweep_runs_its_grid_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sweep.toml");
    let text = "name = \"sweep\"\n\
                data = { dataset = \"digits\" }\n\
                federation = { clients = 4, rounds = 2 }\n\
                model = { kind = \"logistic\" }\n\
                [sweep]\n\
                \"train.learning_rate\" = [0.01, 0.1]\n\
                seed = [1, 2]\n";
    fs::write(&config, text).unwrap();
    let loaded = cloister_config::load(&config, &[]).unwrap();
    let out = folder.path().join("out");
    let mut options = options(&out, 2);
    let mut seen = 0;
    // Stopped after the first run, then resumed.
    let stop = Arc::clone(&options.stop);
    run_sweep(loaded.cells(), &options, &mut |_| {
        seen += 1;
        stop.store(true, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(seen, 1);
    options.stop.store(false, Ordering::Relaxed);
    options.resume = true;
    let outcome = run_sweep(loaded.cells(), &options, &mut |_| {}).unwrap();
    assert_eq!(
        (outcome.completed, outcome.failed.len(), outcome.of),
        (4, 0, 4)
    );
    let record = SweepRecord::read(&out).unwrap();
    let rows: Vec<_> = record
        .rows
        .iter()
        .map(|row| (row.cell, row.seed, row.settings[0].as_str()))
        .collect();
    assert_eq!(
        rows,
        [(0, 1, "0.01"), (0, 2, "0.01"), (1, 1, "0.1"), (1, 2, "0.1")]
    );
    assert!(record.rows[2].result.accuracy > record.rows[0].result.accuracy);
}

/// Clients beyond the cohort cost their row indices: 10,000 of them, with a cohort of 100.
#[test]
fn ten_thousand_clients() {
    let folder = tempfile::tempdir().unwrap();
    let part = |rows: usize| {
        let features = (0..rows * 4).map(|i| (i as f32).sin()).collect();
        let labels = (0..rows).map(|row| row as u32 % 2).collect();
        let classes = vec!["no".to_owned(), "yes".to_owned()];
        Dataset::new(
            "sines",
            ExampleShape::flat(4),
            features,
            labels,
            classes,
            None,
        )
        .unwrap()
    };
    let data = TrainTest {
        train: part(20_000),
        test: part(100),
        columns: Vec::new(),
        pipeline: None,
        notes: Vec::new(),
    };
    let text = "name = \"many\"\n\
                data = { dataset = \"digits\" }\n\
                federation = { clients = 10000, rounds = 3, fraction = 0.01 }\n\
                model = { kind = \"logistic\" }\n";
    let experiment: Experiment = toml::from_str(text).unwrap();
    let federation = Federation::prepare(&experiment, Arc::new(data)).unwrap();
    let outcome = run(&federation, &options(folder.path(), 2), &mut |_| {}).unwrap();
    let summary = outcome.summary.unwrap();
    assert_eq!((summary.data.clients, summary.completed), (10_000, 3));
    let record = RunRecord::read(folder.path()).unwrap();
    assert!(record.rounds.iter().all(|row| row.accepted == 100));
    let participations: u32 = record.clients.unwrap().iter().map(|row| row.rounds).sum();
    assert_eq!(participations, 300);
}
