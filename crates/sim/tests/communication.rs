//! Updates in fewer bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod support;

use cloister_report::record::RunRecord;
use cloister_sim::{Federation, run};

use support::{experiment, go, model, options, rounds, stopped};

const FIVE: &str = "federation = { clients = 5, rounds = 12 }\n\
                    train = { epochs = 2, batch_size = 16, learning_rate = 0.2 }\n";

fn with(communication: &str) -> String {
    format!("{FIVE}communication = {{ {communication} }}\n")
}

#[test]
fn fewer_bytes_cost_little_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let figures = |name: &str, more: &str| {
        let out = folder.path().join(name);
        go(&experiment(more), &options(&out, 2));
        let summary = RunRecord::read(&out).unwrap().summary.unwrap();
        (
            summary.final_.accuracy.unwrap(),
            summary.communication.bytes_up,
        )
    };
    let (plain, bytes) = figures("plain", FIVE);
    assert!(plain > 0.85, "{plain}");
    for (name, communication, share, lost) in [
        ("f16", "update = \"f16\"", 0.55, 0.01),
        ("int8", "update = \"int8\"", 0.32, 0.02),
        ("top-k", "update = \"top-k\", keep = 0.1", 0.25, 0.05),
    ] {
        let (accuracy, fewer) = figures(name, &with(communication));
        assert!(accuracy > plain - lost, "{name}: {accuracy}, plain {plain}");
        assert!(
            (fewer as f64) < share * bytes as f64,
            "{name}: {fewer} of {bytes}"
        );
    }
}

#[test]
fn the_same_bits_on_any_threads_and_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    for (number, communication) in ["update = \"int8\"", "update = \"top-k\", keep = 0.02"]
        .iter()
        .enumerate()
    {
        let experiment = experiment(&with(communication));
        let federation = Federation::load(&experiment).unwrap();
        let whole = folder.path().join(format!("{number}-whole"));
        go(&experiment, &options(&whole, 1));
        for stop_after in [1, 7] {
            let out = folder.path().join(format!("{number}-{stop_after}"));
            stopped(&federation, &out, stop_after);
            let mut again = options(&out, 3);
            again.resume = true;
            run(&federation, &again, &mut |_| {}).unwrap();
            assert!(model(&out) == model(&whole), "{communication} {stop_after}");
            assert!(
                rounds(&out) == rounds(&whole),
                "{communication} {stop_after}"
            );
        }
    }
}

#[test]
fn a_garbled_or_poisoned_update_is_refused_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let more = "attack = { kind = \"nan\", clients = 1, unattacked = false }\nfaults = { corrupt = 0.2 }\n";
    go(
        &experiment(&format!("{}{more}", with("update = \"int8\""))),
        &options(&out, 2),
    );
    let record = RunRecord::read(&out).unwrap();
    let refused: u32 = record.rounds.iter().map(|row| row.refused).sum();
    assert!(refused >= 12, "{refused}");
    assert!(record.summary.unwrap().final_.accuracy.unwrap() > 0.6);
}
