//! A director and its envoys as processes of their own, and what becomes of them when they are killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod federation;
mod kills;
mod trouble;

use federation::{Federation, MODEL};

/// Three sites, ten rounds, and updates of which each envoy must remember what it did not send.
const EXPERIMENT: &str = r#"
name = "three"
seed = 3
[data]
dataset = "digits"
partition = { kind = "iid" }
[federation]
clients = 3
rounds = 10
[model]
kind = "mlp"
hidden = [16]
[train]
epochs = 2
batch_size = 16
learning_rate = 0.05
[communication]
update = "top-k"
keep = 0.2
"#;

/// The same without anything to remember.
fn plain() -> String {
    let (before, _) = EXPERIMENT.split_once("[communication]").unwrap();
    before.to_owned()
}

#[test]
fn three_envoys_give_the_bits_of_a_simulation() {
    let federation = Federation::new(3);
    let _director = federation.director();
    let _envoys = federation.envoys();
    for experiment in [plain(), EXPERIMENT.to_owned()] {
        let id = federation.submit(&experiment);
        federation.wait(id);
        let deployed = federation.fetch(id);
        let simulated = federation.simulate(&experiment);
        let model = |folder: &std::path::Path| std::fs::read(folder.join(MODEL)).unwrap();
        assert!(model(&deployed) == model(&simulated), "other models");
        // The record tells of the same rounds.
        let rounds = |folder: &std::path::Path| {
            let text = std::fs::read_to_string(folder.join("rounds.csv")).unwrap();
            let cut = |line: &str| line.split(',').take(8).collect::<Vec<_>>().join(",");
            text.lines().map(cut).collect::<Vec<_>>()
        };
        assert_eq!(rounds(&deployed), rounds(&simulated));
        assert!(deployed.join("report.html").exists());
        // Begun once, by whatever decided first.
        let events = std::fs::read_to_string(deployed.join("events.jsonl")).unwrap();
        assert_eq!(events, "");
    }
}

#[test]
fn masked_updates_give_the_bits_of_a_simulation() {
    let federation = Federation::new(3);
    let _director = federation.director();
    let _envoys = federation.envoys();
    let masked = plain() + "[secure_aggregation]\nminimum_cohort = 3\n";
    let id = federation.submit(&masked);
    federation.wait(id);
    let (deployed, simulated) = (federation.fetch(id), federation.simulate(&masked));
    let model = |folder: &std::path::Path| std::fs::read(folder.join(MODEL)).unwrap();
    assert!(model(&deployed) == model(&simulated), "other models");
}
