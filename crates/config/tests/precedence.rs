//! Who wins: the defaults, the file, `--set`, a cell of the sweep; and what TOML and JSON have in common.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

use cloister_config::{ConfigError, Loaded, parse};

const GOOD: &str = r#"name = "good"
[data]
dataset = "digits"
[model]
kind = "mlp"
"#;

fn read(text: &str, file: &str, set: &[&str]) -> Result<Loaded, ConfigError> {
    let set: Vec<String> = set.iter().map(|argument| (*argument).to_owned()).collect();
    parse(text.to_owned(), Path::new(file), &set, Some("/sets"))
}

#[track_caller]
fn says(text: &str, file: &str, set: &[&str], expected: &str) {
    match read(text, file, set) {
        Ok(_) => panic!("accepted:\n{text}{set:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "for:\n{text}{set:?}"),
    }
}

#[test]
fn json_means_what_toml_means() {
    let json = r#"{ "$schema": "x.json", "name": "good", "data": {"dataset": "dig\u0069ts"},
        "model": {"kind": "mlp", "hidden": [3, 4]}, "federation": {"clients": null, "fraction": 5e-1, "rounds": 7},
        "sweep": {"train.epochs": [1, 2], "seeds": [3]} }"#;
    let toml = format!(
        "{GOOD}hidden = [3, 4]\n[federation]\nfraction = 0.5\nrounds = 7\n[sweep]\ntrain.epochs = [1, 2]\nseed = [3]\n"
    );
    let json = read(json, "x.json", &[]).expect("json");
    let toml = read(&toml, "x.toml", &[]).expect("toml");
    assert_eq!(json.experiment, toml.experiment);
    assert_eq!(json.cells(), toml.cells());
}

#[test]
fn arguments_win_over_the_file() {
    let text = format!("{GOOD}hidden = [9]\n[federation]\nrounds = 7\n");
    let set = [
        "federation.rounds=3",
        "train.optimizer=adam",
        "model.hidden=[5, 6]",
        "data.partition={kind=\"dirichlet\", alpha=0.5}",
        "name=\"x=y\"",
        "name = good",
        "federation.fraction=1",
    ];
    let experiment = read(&text, "a.toml", &set).expect("set").experiment;
    let resolved = experiment.resolved_toml().expect("toml");
    for line in [
        "rounds = 3",
        "optimizer = \"adam\"",
        "hidden = [5, 6]",
        "alpha = 0.5",
        "name = \"good\"",
    ] {
        assert!(resolved.contains(line), "{line} in\n{resolved}");
    }
}

#[test]
fn another_kind_makes_the_files_keys_moot_but_not_the_arguments() {
    let text = format!("{GOOD}hidden = [9]\n");
    let lenet = read(&text, "a.toml", &["model.kind=lenet5"]).expect("lenet5");
    assert_eq!(lenet.experiment.model.kind(), "lenet5");
    says(
        &text,
        "a.toml",
        &["model.kind=lenet5", "model.hidden=[3]"],
        "--set model.hidden=[3]: unknown key 'model.hidden'\n  hint: only kind 'mlp' has 'hidden'",
    );
}

#[test]
fn the_grid_is_in_the_order_of_the_file() {
    let text = format!(
        "{GOOD}hidden = [9]\n[sweep]\n\"train.learning_rate\" = [0.1, 0.2]\nmodel.kind = [\"mlp\", \"lenet5\"]\nseeds = [1, 2]\n"
    );
    let loaded = read(&text, "a.toml", &["train.epochs=4", "seed=5"]).expect("sweep");
    let labels: Vec<String> = loaded
        .cells()
        .iter()
        .map(|cell| {
            assert_eq!(cell.experiment.train.epochs, 4);
            assert_eq!(cell.experiment.sweep, None);
            let settings: Vec<String> = cell
                .settings
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            settings.join(" ")
        })
        .collect();
    assert_eq!(labels.len(), 8);
    assert_eq!(
        labels[0],
        "train.learning_rate=0.1 model.kind=\"mlp\" seed=1"
    );
    assert_eq!(
        labels[1],
        "train.learning_rate=0.1 model.kind=\"mlp\" seed=2"
    );
    assert_eq!(
        labels[2],
        "train.learning_rate=0.1 model.kind=\"lenet5\" seed=1"
    );
    assert_eq!(
        labels[4],
        "train.learning_rate=0.2 model.kind=\"mlp\" seed=1"
    );
    // `hidden` is for the perceptron, the activation is each kind's own default.
    let models: Vec<String> = loaded.cells()[..3]
        .iter()
        .map(|cell| format!("{:?}", cell.experiment.model))
        .collect();
    assert!(
        models[0].contains("hidden: [9]") && models[0].contains("Relu"),
        "{models:?}"
    );
    assert!(
        models[2].starts_with("Lenet5 { activation: Tanh"),
        "{models:?}"
    );

    let again = read(&loaded.written_toml().expect("toml"), "b.toml", &[]).expect("again");
    assert!(again.cells() == loaded.cells());
    assert!(again.experiment == loaded.experiment);
}

#[test]
fn the_data_folder_is_put_in() {
    let path = |text: &str, root| {
        let text = format!("[data]\npath = \"{text}\"\n[model]\nkind = \"mlp\"\n");
        let loaded = parse(text, Path::new("a.toml"), &[], root).expect("path");
        let resolved = loaded.experiment.resolved_toml().expect("toml");
        let line = resolved
            .lines()
            .find(|line| line.starts_with("path = "))
            .expect("line");
        let value = line
            .trim_start_matches("path = ")
            .trim_matches('"')
            .to_owned();
        (value, loaded.warnings.len())
    };
    assert_eq!(
        path("${CLOISTER_DATA}/mnist", Some("/sets")),
        ("/sets/mnist".into(), 0)
    );
    assert_eq!(
        path("$CLOISTER_DATA/mnist", Some("/sets")),
        ("/sets/mnist".into(), 0)
    );
    assert_eq!(path("$CLOISTER_DATA", Some("/sets")), ("/sets".into(), 0));
    assert_eq!(path("$CLOISTER_DATA/mnist", None), ("data/mnist".into(), 1));
    assert_eq!(
        path("$CLOISTER_DATASETS", Some("/sets")),
        ("$CLOISTER_DATASETS".into(), 0)
    );
    assert_eq!(path("mnist", None), ("mnist".into(), 0));
}

#[test]
fn settings_without_effect_are_warned_of() {
    let text = format!(
        "{GOOD}[train]\nmomentum = 0.5\n[faults.straggler]\nchance = 0.5\n[server]\nbeta2 = 0.5\n"
    );
    let warnings: Vec<String> = read(&text, "a.toml", &[])
        .expect("warned")
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        [
            "train.momentum: only train.optimizer = \"momentum\" uses it",
            "server.tau: only the adaptive server optimisers use beta1, beta2 and tau",
            "faults.straggler.chance: has no effect while faults.seconds_per_step is 0: training takes no time",
        ]
    );
}
