//! The run folder as a host and a reader see it: round trips, resumption, and folders that nobody should trust.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod statement;

use std::fs;
use std::path::Path;

use cloister_report::record::*;
use serde_json::json;

const CONFIG: &str = "name = \"small\"\nseed = 1\n";

fn row(round: u32) -> RoundRow {
    RoundRow {
        round,
        train_loss: Some(0.1 + 0.2),
        test_loss: Some(1.0 / 3.0),
        test_accuracy: Some(0.9),
        test_auroc: None,
        cohort: 10,
        accepted: 7,
        refused: 1,
        dropped: 1,
        late: 1,
        outcome: RoundOutcome::Completed,
        epsilon: Some(0.5),
        bytes_up: 4_000,
        bytes_down: 5_000,
        seconds: 0.25,
        virtual_seconds: None,
        clip: Some(0.125),
        clipped: Some(0.75),
        ..RoundRow::default()
    }
}

fn diverged(round: u32) -> RoundRow {
    RoundRow {
        train_loss: Some(f64::NAN),
        test_loss: Some(f64::INFINITY),
        test_accuracy: Some(f64::NEG_INFINITY),
        test_auroc: None,
        outcome: RoundOutcome::Abandoned,
        ..row(round)
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn summary() -> Summary {
    Summary {
        name: "small".to_owned(),
        seed: u64::MAX,
        rounds: 2,
        completed: 1,
        abandoned: 1,
        metric: HeadlineMetric::Auroc,
        final_: Metrics {
            accuracy: Some(0.9),
            loss: Some(f64::INFINITY),
            ..Metrics::default()
        },
        best: Some(Best {
            round: 1,
            accuracy: Some(0.9),
            loss: Some(0.3),
            auroc: None,
            ..Best::default()
        }),
        privacy: Some(PrivacyInfo::of(statement::claimed(), 1e-5)),
        communication: Communication {
            bytes_up: 8,
            bytes_down: 9,
            bytes_per_parameter: 4.01,
            ..Communication::default()
        },
        baselines: [("centralised".to_owned(), Baseline::default())].into(),
        trust: vec!["The server sees each update.".to_owned()],
        ..Summary::default()
    }
}

fn error_of(folder: &Path) -> String {
    let error = RunRecord::read(folder).unwrap_err().to_string();
    error.replace(&folder.display().to_string(), "RUN")
}

/// A run folder with one file replaced.
fn broken(file: &str, contents: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().unwrap();
    RunWriter::create(folder.path(), CONFIG).unwrap();
    fs::write(folder.path().join(file), contents).unwrap();
    error_of(folder.path())
}

#[test]
fn every_part_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    let (clients, classes) = (
        names(&["a,b", "<script>", "über\n\"x\""]),
        names(&["0", "yes, no"]),
    );
    let counts = vec![vec![1, 2], vec![3, u32::MAX], vec![0, 0]];
    let confusion = vec![vec![5, 0], vec![1, u64::MAX]];
    let mut refused = Event::refused(1, "über\n\"x\"", "not-finite", "parameter 3 is NaN");
    refused.detail.insert("index".to_owned(), json!(3));
    let point = BaselinePoint {
        round: 1,
        accuracy: Some(0.8),
        loss: Some(f64::NAN),
        accuracy_min: Some(0.1),
        ..BaselinePoint::default()
    };
    let client = ClientRow {
        client: "a,b".to_owned(),
        examples: 3,
        accuracy: Some(f64::NAN),
        loss: None,
        alone_accuracy: Some(0.5),
        alone_auroc: None,
        rounds: 1,
        refused: 0,
        ..ClientRow::default()
    };
    writer.partition(&clients, &classes, &counts).unwrap();
    writer.round(&row(1)).unwrap();
    writer.event(&refused).unwrap();
    writer.round(&diverged(2)).unwrap();
    writer
        .event(&Event::new(2, event_kind::ABANDONED, "2 of 3 good replies"))
        .unwrap();
    writer
        .baseline("local", std::slice::from_ref(&point))
        .unwrap();
    writer
        .baseline(
            "centralised",
            &[
                point.clone(),
                BaselinePoint {
                    round: 2,
                    ..point.clone()
                },
            ],
        )
        .unwrap();
    writer.clients(&[client]).unwrap();
    writer.confusion(&classes, &confusion).unwrap();
    writer.summary(&summary()).unwrap();

    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.config.as_deref(), Some(CONFIG));
    assert_eq!(record.rounds[0], row(1));
    // NaN is not equal to itself; the text form compares all fields.
    assert_eq!(
        format!("{:?}", record.rounds[1]),
        format!("{:?}", diverged(2))
    );
    assert_eq!(record.events[0], refused);
    assert_eq!(record.events[1].message, "2 of 3 good replies");
    assert_eq!(
        record.partition,
        Some(PartitionTable {
            clients,
            classes: classes.clone(),
            counts
        })
    );
    assert_eq!(
        format!("{:?}", record.baselines["local"]),
        format!("{:?}", [point])
    );
    assert_eq!(record.baselines["centralised"].len(), 2);
    let rows = record.clients.unwrap();
    assert!(rows[0].accuracy.unwrap().is_nan());
    assert_eq!((rows[0].loss, rows[0].alone_accuracy), (None, Some(0.5)));
    assert_eq!(
        record.confusion,
        Some(ConfusionTable {
            classes,
            counts: confusion
        })
    );
    assert_eq!(record.summary, Some(summary()));
}

#[test]
fn the_first_line_of_rounds_names_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    writer.round(&diverged(1)).unwrap();
    let text = fs::read_to_string(folder.path().join(file_name::ROUNDS)).unwrap();
    assert_eq!(
        text,
        "round,train_loss,test_loss,test_accuracy,test_auroc,cohort,accepted,refused,dropped,late,outcome,epsilon,\
         bytes_up,bytes_down,seconds,virtual_seconds,kept,malicious,malicious_kept,malicious_weight,source_recall,\
         attack_success,clip,clipped,test_r2,test_rmse,test_mae\n\
         1,NaN,inf,-inf,,10,7,1,1,1,abandoned,0.5,4000,5000,0.25,,,,,,,,0.125,0.75,,,\n"
    );
}

#[test]
fn summary_keeps_the_documented_keys() {
    let value = serde_json::to_value(summary()).unwrap();
    assert_eq!(value["privacy"]["epsilon"], json!(3.2811));
    for key in [
        "name",
        "seed",
        "rounds",
        "final",
        "best",
        "privacy",
        "communication",
        "refused",
        "seconds",
        "threads",
        "version",
        "config_sha256",
        "model_sha256",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["final"]["loss"], json!("inf"));
    assert_eq!(value["final"]["auroc"], json!(null));
    assert_eq!(value["seed"], json!(u64::MAX));
}

#[test]
fn a_run_in_progress_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    writer.round(&row(1)).unwrap();
    writer.event(&Event::new(1, "note", "one")).unwrap();
    for (file, torn) in [
        (file_name::ROUNDS, "2,0.1,0."),
        (file_name::EVENTS, "{\"round\":2,\"ki"),
    ] {
        let path = folder.path().join(file);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(path, whole + torn).unwrap();
    }
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.rounds, [row(1)]);
    assert_eq!(record.events.len(), 1);
    assert!(record.summary.is_none() && record.clients.is_none());
}

#[test]
fn a_second_run_does_not_overwrite_the_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    RunWriter::create(folder.path(), CONFIG).unwrap();
    let error = RunWriter::create(folder.path(), "other").unwrap_err();
    assert!(
        error.to_string().contains("--resume") && error.to_string().contains("--out"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join(file_name::CONFIG)).unwrap(),
        CONFIG
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn reopening_drops_what_came_after_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    writer.event(&Event::new(0, "note", "before")).unwrap();
    for round in 1..=5 {
        writer.event(&Event::new(round, "note", "during")).unwrap();
        writer.round(&row(round)).unwrap();
    }
    writer
        .baseline("centralised", &[BaselinePoint::default()])
        .unwrap();
    writer.clients(&[]).unwrap();
    writer.summary(&summary()).unwrap();
    drop(writer);
    let path = folder.path().join(file_name::ROUNDS);
    let torn = fs::read_to_string(&path).unwrap() + "6,0.";
    fs::write(&path, torn).unwrap();

    let mut writer = RunWriter::reopen(folder.path(), 3).unwrap();
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.rounds, [row(1), row(2), row(3)]);
    assert_eq!(
        record
            .events
            .iter()
            .map(|event| event.round)
            .collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert!(record.summary.is_none() && record.clients.is_none());

    let error = writer.round(&row(3)).unwrap_err();
    assert!(
        matches!(error, RecordError::RoundOrder { round: 3, last: 3 }),
        "{error}"
    );
    writer.round(&diverged(4)).unwrap();
    writer.event(&Event::new(4, "note", "again")).unwrap();
    writer
        .baseline("local", &[BaselinePoint::default()])
        .unwrap();
    writer.sync().unwrap();
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.rounds[3].outcome, RoundOutcome::Abandoned);
    assert_eq!(record.events.len(), 5);
    assert_eq!(
        record.baselines.keys().collect::<Vec<_>>(),
        ["centralised", "local"]
    );
}

#[test]
fn reopening_to_a_round_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    writer.round(&row(1)).unwrap();
    writer.round(&diverged(2)).unwrap();
    writer
        .event(&Event::refused(2, "ü,\"", "loss", "loss is NaN"))
        .unwrap();
    let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
    let before = (read(file_name::ROUNDS), read(file_name::EVENTS));
    RunWriter::reopen(folder.path(), 2).unwrap();
    assert_eq!((read(file_name::ROUNDS), read(file_name::EVENTS)), before);
}

#[test]
fn reopening_needs_the_rounds_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let error = RunWriter::reopen(folder.path(), 0).unwrap_err();
    assert!(matches!(error, RecordError::NotARun { .. }), "{error}");
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    writer.round(&row(1)).unwrap();
    let error = RunWriter::reopen(folder.path(), 7).unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::MissingRounds {
                recorded: 1,
                completed: 7,
                ..
            }
        ),
        "{error}"
    );
    RunWriter::reopen(folder.path(), 0).unwrap();
    assert!(RunRecord::read(folder.path()).unwrap().rounds.is_empty());
}

#[test]
fn tables_that_do_not_fit_their_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    let (clients, classes) = (names(&["a", "b"]), names(&["0", "1"]));
    let error = writer
        .partition(&clients, &classes, &[vec![1, 2], vec![3]])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "partition.csv: the row of \"b\" has 1 entries, expected 2"
    );
    let error = writer.confusion(&classes, &[vec![1, 2]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "confusion.csv: the table has 1 entries, expected 2"
    );
    assert!(!folder.path().join(file_name::PARTITION).exists());
}

#[test]
fn broken_files_are_named_with_their_line() {
    let header = "round,train_loss,test_loss,test_accuracy,test_auroc,cohort,accepted,refused,dropped,late,outcome,\
                  epsilon,bytes_up,bytes_down,seconds,virtual_seconds\n";
    let good = "1,,,,,1,1,0,0,0,completed,,1,1,0.5,\n";
    let rounds = |tail: &str| broken(file_name::ROUNDS, format!("{header}{good}{tail}"));
    assert_eq!(
        rounds("2,0.1\n"),
        "RUN/rounds.csv:3: row has 2 cells, expected 16"
    );
    assert_eq!(
        rounds("2,x,,,,1,1,0,0,0,completed,,1,1,0.5,\n"),
        "RUN/rounds.csv:3: invalid value: string \"x\", expected a number, or one of the texts NaN, inf and -inf"
    );
    assert_eq!(
        rounds("2,,,,,-1,1,0,0,0,completed,,1,1,0.5,\n"),
        "RUN/rounds.csv:3: cohort: invalid digit found in string"
    );
    assert!(rounds("2,,,,,1,1,0,0,0,finished,,1,1,0.5,\n").starts_with("RUN/rounds.csv:3: "));
    assert_eq!(
        rounds(good),
        "RUN/rounds.csv:3: round 1 stands after round 1"
    );
    assert!(broken(file_name::ROUNDS, "round\n1\n").starts_with("RUN/rounds.csv:2: missing field"));

    let event = "{\"round\":1,\"kind\":\"x\",\"message\":\"\"}\n";
    assert_eq!(
        broken(file_name::EVENTS, format!("{event}{event}{{]\n")),
        "RUN/events.jsonl:3: column 2: key must be a string"
    );
    assert_eq!(
        broken(file_name::EVENTS, b"\xff\xfe\n"),
        "RUN/events.jsonl:1: column 1: expected value"
    );
    assert_eq!(
        broken(file_name::CONFIG, b"a\nb\xff"),
        "RUN/config.toml:2: is not UTF-8"
    );
    assert_eq!(
        broken(file_name::SUMMARY, "{\n  \"name\": 3\n}"),
        "RUN/summary.json:2: column 11: invalid type: integer `3`, expected a string"
    );
    assert_eq!(
        broken(file_name::PARTITION, "client,0,1\na,1,2\nb,1,-2\n"),
        "RUN/partition.csv:3: 1: \"-2\" is not a count"
    );
    assert_eq!(
        broken(file_name::CONFUSION, "true class,0,1\n0,1,2\n2,1,2\n"),
        "RUN/confusion.csv:1: rows and columns are not the same classes"
    );
    assert!(
        broken(file_name::CLIENTS, "client\n\"a\n").starts_with("RUN/clients.csv:2: missing field")
    );
    assert!(
        broken(file_name::BASELINES, "baseline,round\nx,one\n")
            .starts_with("RUN/baselines.csv:2: ")
    );
}

#[test]
fn an_empty_folder_and_an_absent_one_are_no_runs() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        error_of(folder.path()),
        "RUN holds no run: neither config.toml nor rounds.csv is in it"
    );
    assert!(matches!(
        RunRecord::read(&folder.path().join("absent")),
        Err(RecordError::NotARun { .. })
    ));
}

#[test]
fn a_sweep_keeps_the_order_of_its_grid_and_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let keys = names(&["train.epochs", "data.partition"]);
    let row = |cell, seed, accuracy| SweepRow {
        cell,
        seed,
        settings: names(&["5", "{ kind = \"dirichlet\", alpha = 0.5 }"]),
        result: SweepResult {
            accuracy,
            folder: format!("cell-{cell}-{seed}"),
            ..SweepResult::default()
        },
    };
    let mut writer = SweepWriter::open(folder.path(), &keys).unwrap();
    writer.row(row(1, 2, Some(0.5))).unwrap();
    writer
        .row(SweepRow {
            result: SweepResult::failed("x", "no, \"data\""),
            ..row(0, 2, None)
        })
        .unwrap();
    drop(writer);
    let mut writer = SweepWriter::open(folder.path(), &keys).unwrap();
    writer.row(row(0, 1, Some(0.25))).unwrap();
    writer
        .row(SweepRow {
            result: SweepResult::of(&summary(), "y"),
            ..row(2, 1, None)
        })
        .unwrap();

    let record = SweepRecord::read(folder.path()).unwrap();
    assert_eq!(record.keys, keys);
    assert_eq!(
        record
            .rows
            .iter()
            .map(|row| (row.cell, row.seed))
            .collect::<Vec<_>>(),
        [(0, 1), (0, 2), (1, 2), (2, 1)]
    );
    assert_eq!(record.rows, writer.rows().cloned().collect::<Vec<_>>());
    assert_eq!(record.rows[1].result.message, "no, \"data\"");
    assert_eq!(record.rows[3].result.epsilon, Some(3.2811));
    assert_eq!(record.rows[3].result.loss, Some(f64::INFINITY));

    let error = SweepWriter::open(folder.path(), &keys[..1]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("[train.epochs, data.partition], not [train.epochs]"),
        "{error}"
    );
    let error = writer
        .row(SweepRow {
            settings: Vec::new(),
            ..row(0, 0, None)
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::Shape {
                got: 0,
                expected: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_broken_sweep_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let read = || {
        let error = SweepRecord::read(folder.path()).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "SWEEP")
    };
    assert_eq!(read(), "SWEEP holds no sweep: sweep.csv is not in it");
    let path = folder.path().join(file_name::SWEEP);
    fs::write(&path, "cell,seed\n").unwrap();
    assert_eq!(
        read(),
        "SWEEP/sweep.csv:1: the columns are not those of a sweep"
    );
    fs::remove_file(&path).unwrap();
    SweepWriter::open(folder.path(), &names(&["k"])).unwrap();
    let header = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        format!("{header}0,one,v,done,0,0,0,,,,,,,,,,,,,,,,,,0,0,0,,\n"),
    )
    .unwrap();
    assert_eq!(read(), "SWEEP/sweep.csv:2: seed: \"one\" is not a seed");
    fs::write(
        &path,
        format!("{header}0,1,v,done,0,0,none,,,,,,,,,,,,,,,,,,0,0,0,,\n"),
    )
    .unwrap();
    assert_eq!(
        read(),
        "SWEEP/sweep.csv:2: refused: invalid digit found in string"
    );
    fs::write(&path, format!("{header}0,1\n")).unwrap();
    assert_eq!(read(), "SWEEP/sweep.csv:2: row has 2 cells, expected 29");
}
