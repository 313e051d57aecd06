//! Runs and sweeps, from the command to the files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{cloister, done, inside, run, said, small_run};

#[test]
fn a_run_can_be_made_reported_and_evaluated() {
    let (folder, config) = small_run();
    let out = inside(&folder, "run");
    let said = run(&["simulate", &config, "--out", &out]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), ""),
        "{}",
        said.stderr
    );
    assert_eq!(
        said.stderr.matches("\nround ").count(),
        3,
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("NOT PRIVATE"), "{}", said.stderr);
    assert!(
        said.stderr
            .ends_with(&format!("report: {out}/report.html\n")),
        "{}",
        said.stderr
    );
    for file in [
        "config.toml",
        "rounds.csv",
        "events.jsonl",
        "summary.json",
        "model.safetensors",
        "report.html",
    ] {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let summary = fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");

    // The run's own test data, read again, gives the run's own figures.
    let json: Value = serde_json::from_str(&done(&["evaluate", &out, "--json"])).expect("JSON");
    for figure in ["accuracy", "loss", "balanced_accuracy"] {
        let (again, was) = (&json["metrics"][figure], &summary["final"][figure]);
        let difference = again.as_f64().expect(figure) - was.as_f64().expect(figure);
        assert!(difference.abs() < 1e-12, "{figure}: {again} and {was}");
    }
    assert!(done(&["evaluate", &out]).contains("balanced accuracy"));

    let page = inside(&folder, "page.html");
    let text = done(&["report", &out, "--html", &page]);
    assert!(text.contains("small"), "{text}");
    assert!(fs::read_to_string(&page).expect("a page").starts_with("<!"));
    let json: Value =
        serde_json::from_str(&done(&["report", &out, "--format", "json"])).expect("JSON");
    assert!(json["runs"].is_array());
    assert!(done(&["report", &out, "--format", "csv"]).lines().count() >= 2);

    // A folder with a run is not written over.
    let said = run(&["simulate", &config, "--out", &out]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("already holds a run"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_model_is_measured_on_other_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = |name: &str, rows: &[(f32, &str)]| {
        let path = inside(&folder, name);
        let lines: Vec<String> = rows
            .iter()
            .map(|(x, class)| format!("{x},{class}"))
            .collect();
        fs::write(&path, format!("x,class\n{}\n", lines.join("\n"))).expect("the table is written");
        path
    };
    let mut rows = Vec::new();
    for i in 0..50 {
        rows.extend([
            (i as f32 * 0.01 + 1.0, "high"),
            (i as f32 * -0.01 - 1.0, "low"),
        ]);
    }
    let train = table("train.csv", &rows);
    let config = inside(&folder, "table.toml");
    let text = format!(
        "[data]\npath = '{train}'\n[model]\nkind = \"logistic\"\n[federation]\nclients = 2\nrounds = 10\n[train]\nlearning_rate = 0.5\n"
    );
    fs::write(&config, text).expect("the config is written");
    let out = inside(&folder, "run");
    let said = run(&["simulate", &config, "--quiet", "--out", &out]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);

    // Three rows that the model gets right and one that no model could, the classes met in the other order.
    let other = table(
        "other.csv",
        &[(-2.0, "low"), (-1.5, "low"), (2.0, "high"), (3.0, "low")],
    );
    let model = inside(&folder, "run/model.safetensors");
    let text = done(&["evaluate", &model, "--data", &other, "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["metrics"]["examples"], 4);
    assert_eq!(json["metrics"]["accuracy"], 0.75);
    assert_eq!(json["classes"], serde_json::json!(["high", "low"]));
    assert_eq!(
        json["metrics"]["confusion"],
        serde_json::json!([[1, 0], [1, 2]])
    );

    let strange = table("strange.csv", &[(1.0, "high"), (0.0, "middling")]);
    let said = run(&["evaluate", &model, "--data", &strange]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("middling"), "{}", said.stderr);

    let junk = inside(&folder, "junk.safetensors");
    fs::write(&junk, "junk").expect("a file is written");
    let said = run(&["evaluate", &junk]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(
        said.stderr.contains("not a safetensors file"),
        "{}",
        said.stderr
    );
}

#[test]
fn the_same_seed_gives_the_same_model_on_any_number_of_threads() {
    let (folder, config) = small_run();
    let model = |name: &str, threads: &str, seed: &str| {
        let out = inside(&folder, name);
        let said = run(&[
            "simulate",
            &config,
            "--out",
            &out,
            "--quiet",
            "--threads",
            threads,
            "--seed",
            seed,
        ]);
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.as_str()),
            (Some(0), "", "")
        );
        fs::read(folder.path().join(name).join("model.safetensors")).expect("a model")
    };
    let one = model("one", "1", "7");
    assert!(one == model("three", "3", "7"));
    assert!(one != model("other", "1", "8"));
}

#[test]
fn events_are_json_a_line() {
    let (folder, config) = small_run();
    let out = inside(&folder, "run");
    let text = done(&["simulate", &config, "--out", &out, "--json"]);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().expect("a kind"))
        .collect();
    assert_eq!(
        kinds,
        ["prepared", "round", "round", "round", "finished", "report"]
    );
    assert_eq!(events[3]["round"], 3);
    assert!(events[4]["final"]["accuracy"].is_number(), "{}", events[4]);
}

#[test]
fn a_sweep_runs_every_cell_and_can_be_reported() {
    let (folder, config) = small_run();
    let text = fs::read_to_string(&config).expect("the config");
    let text = format!("{text}\n[sweep]\n\"train.learning_rate\" = [0.05, 0.1]\nseeds = [1, 2]\n");
    fs::write(&config, text).expect("the config is written");
    let out = inside(&folder, "sweep");
    let said = run(&["simulate", &config, "--out", &out]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), ""),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("4 of 4 runs done"), "{}", said.stderr);
    let table = fs::read_to_string(folder.path().join("sweep/sweep.csv")).expect("the table");
    assert_eq!(table.lines().count(), 5, "{table}");
    let report = done(&["report", &out]);
    assert!(report.contains("0.05") && report.contains('±'), "{report}");

    // Nothing is left to do, and nothing is done twice.
    let said = run(&["simulate", "--resume", &out]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let again = fs::read_to_string(folder.path().join("sweep/sweep.csv")).expect("the table");
    assert_eq!(again, table);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_stops_at_a_round_and_goes_on() {
    let (folder, config) = small_run();
    let whole = inside(&folder, "whole");
    let rounds = [
        "--set",
        "federation.rounds=400",
        "--set",
        "train.epochs=10",
        "--set",
        "evaluate.every=100",
    ];
    let arguments = |out: &str| {
        let mut arguments = vec!["simulate".to_owned(), config.clone()];
        arguments.extend(rounds.map(str::to_owned));
        arguments.extend(["--out".to_owned(), out.to_owned()]);
        arguments
    };
    let said_whole = said(
        cloister()
            .args(arguments(&whole))
            .arg("--quiet")
            .output()
            .expect("the binary starts"),
    );
    assert_eq!(said_whole.code, Some(0), "{}", said_whole.stderr);

    let cut = inside(&folder, "cut");
    let mut child = cloister()
        .args(arguments(&cut))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let begun = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.starts_with("round "));
    assert!(begun, "the run has begun");
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(killed.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let code = child.wait().expect("the binary ends").code();
    assert_eq!(code, Some(1), "{rest:?}");
    let last = rest.last().map(String::as_str).unwrap_or_default();
    assert_eq!(
        last,
        format!("go on with: cloister simulate --resume {cut}"),
        "{rest:?}"
    );

    let said = run(&["simulate", "--resume", &cut, "--quiet"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let model = |out: &str| fs::read(Path::new(out).join("model.safetensors")).expect("a model");
    assert!(
        model(&cut) == model(&whole),
        "the resumed run ends as the whole one"
    );
}
