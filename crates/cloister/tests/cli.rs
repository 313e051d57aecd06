//! The binary from outside: exit codes, what goes to which stream, and the words of errors.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn cloister() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.current_dir(root()).env_remove("CLOISTER_DATA");
    command
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

fn run(arguments: &[&str]) -> Said {
    said(
        cloister()
            .args(arguments)
            .output()
            .expect("the binary starts"),
    )
}

/// Runs and expects success; stdout.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let said = run(arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
    said.stdout
}

/// Runs and expects this exit code, nothing on stdout, and these words on stderr.
#[track_caller]
fn fails(arguments: &[&str], code: i32, stderr: &str) {
    let said = run(arguments);
    assert_eq!(said.stderr.trim_end(), stderr, "{arguments:?}");
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(code), ""),
        "{arguments:?}"
    );
}

/// A folder with the config of a run that takes a moment.
fn small_run() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("small.toml");
    let text = r#"
        [data]
        dataset = "digits"
        limit = 300
        [federation]
        clients = 3
        rounds = 3
        [model]
        kind = "logistic"
        [train]
        learning_rate = 0.1
        batch_size = 10
    "#;
    fs::write(&config, text).expect("the config is written");
    let config = config.to_str().expect("a path in UTF-8").to_owned();
    (folder, config)
}

fn inside(folder: &tempfile::TempDir, name: &str) -> String {
    folder
        .path()
        .join(name)
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

#[test]
fn help_names_every_command_and_goes_to_stdout() {
    let help = done(&["--help"]);
    for command in ["simulate", "report", "evaluate", "data", "config", "bench"] {
        assert!(
            help.contains(&format!("  {command}")),
            "{command} in {help}"
        );
        assert!(
            done(&[command, "--help"]).contains("Usage: cloister"),
            "{command}"
        );
    }
    assert!(done(&["--version"]).starts_with("cloister 0."));
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &[][..],
        &["simulat", "x.toml"],
        &["simulate"],
        &["simulate", "x.toml", "--threads", "0"],
        &["simulate", "x.toml", "--out", "a", "--resume", "b"],
        &["bench", "nothing"],
        &["report"],
        &["config", "show"],
    ] {
        let said = run(arguments);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(!said.stderr.is_empty(), "{arguments:?}");
    }
    let said = run(&["simulat", "x.toml"]);
    assert!(said.stderr.contains("simulate"), "{}", said.stderr);
}

#[test]
fn wrong_configs_exit_with_2_and_say_where() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = inside(&folder, "a.toml");
    let text = "[data]\ndataset = \"digits\"\n[model]\nkind = \"mlp\"\n[federation]\ncleints = 5\nrounds = 0\n";
    fs::write(&config, text).expect("the config is written");
    let unknown = format!(
        "error: {config}:6:1: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?"
    );
    for arguments in [
        &["config", "check", &config][..],
        &["config", "show", &config],
        &["simulate", &config],
        &["data", "partition", &config],
    ] {
        fails(arguments, 2, &unknown);
    }

    fs::write(&config, text.replace("cleints", "clients")).expect("the config is written");
    fails(
        &["config", "check", &config],
        2,
        &format!("error: {config}:7:1: federation.rounds: must be at least 1, found 0"),
    );
    fails(
        &[
            "config",
            "check",
            &config,
            "--set",
            "federation.rounds=some",
        ],
        2,
        "error: --set federation.rounds=some: federation.rounds: expected a whole number from 0 to 4294967295, \
         found \"some\"",
    );
    let missing = inside(&folder, "none.toml");
    let said = run(&["simulate", &missing]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr
            .starts_with(&format!("error: {missing}: cannot be read: ")),
        "{}",
        said.stderr
    );
}

#[test]
fn data_that_is_not_there_exits_with_1() {
    let (folder, config) = small_run();
    let path = inside(&folder, "nowhere");
    let set = format!("data.path={path}");
    let said = run(&[
        "simulate",
        &config,
        "--set",
        &set,
        "--out",
        &inside(&folder, "run"),
    ]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains(&path), "{}", said.stderr);
    assert!(
        !folder.path().join("run").exists(),
        "nothing is begun without data"
    );
}

#[test]
fn a_config_that_the_data_contradicts_exits_with_2() {
    let (folder, config) = small_run();
    let out = inside(&folder, "run");
    for set in [
        "data.partition={kind=\"natural\"}",
        "federation.clients=1000",
        "model.kind=lenet5",
    ] {
        let said = run(&["simulate", &config, "--set", set, "--out", &out]);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "{set}: {}",
            said.stderr
        );
        assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
    }
}

#[test]
fn shipped_configs_pass_the_check() {
    let mut configs = Vec::new();
    let mut folders = vec![root().join("configs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of configs") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|ending| ending == "toml" || ending == "json")
            {
                configs.push(path.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    assert!(configs.len() >= 2, "{configs:?}");
    let mut command = cloister();
    command
        .env("CLOISTER_DATA", "/sets")
        .args(["config", "check"])
        .args(&configs);
    let said = said(command.output().expect("the binary starts"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        said.stdout.matches(": ok (").count(),
        configs.len(),
        "{}",
        said.stdout
    );
}

#[test]
fn several_configs_are_all_checked() {
    let (folder, good) = small_run();
    let bad = inside(&folder, "bad.toml");
    fs::write(&bad, "seed = \"x\"").expect("the config is written");
    let said = run(&["config", "check", &bad, &good]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.stdout, format!("{good}: ok (small)\n"));
    assert!(
        said.stderr
            .contains(&format!("{bad}:1:8: seed: expected a whole number")),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr.ends_with("error: 1 of 2 configs are wrong\n"),
        "{}",
        said.stderr
    );
}

#[test]
fn what_is_shown_can_be_shown_again() {
    let (folder, config) = small_run();
    let shown = done(&[
        "config",
        "show",
        &config,
        "--seed",
        "9",
        "--set",
        "train.epochs=4",
    ]);
    for line in [
        "name = \"small\"",
        "seed = 9",
        "epochs = 4",
        "proximal_mu = 0.0",
        "limit = 300",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in {shown}"
        );
    }
    let again = inside(&folder, "again.toml");
    fs::write(&again, &shown).expect("the config is written");
    assert_eq!(done(&["config", "show", &again]), shown);

    let json = done(&["config", "show", &config, "--json"]);
    let as_json = inside(&folder, "again.json");
    fs::write(&as_json, &json).expect("the config is written");
    assert_eq!(done(&["config", "show", &as_json, "--json"]), json);
}

#[test]
fn the_schema_is_json_schema() {
    let schema: Value = serde_json::from_str(&done(&["config", "schema"])).expect("JSON");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["required"], serde_json::json!(["data", "model"]));
    assert_eq!(schema["additionalProperties"], false);
    for table in [
        "data",
        "federation",
        "model",
        "train",
        "server",
        "aggregation",
        "faults",
        "evaluate",
        "sweep",
    ] {
        assert!(
            schema["properties"][table]["description"].is_string(),
            "{table}"
        );
    }
}

#[test]
fn data_is_listed_and_inspected() {
    let list = done(&["data", "list"]);
    for name in ["digits", "heart-disease", "wdbc"] {
        assert!(
            list.lines().any(|line| line.starts_with(name)),
            "{name} in {list}"
        );
    }
    let list: Value = serde_json::from_str(&done(&["data", "list", "--json"])).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(3));

    let text = done(&["data", "inspect", "digits"]);
    assert!(
        text.contains("1,797 rows") && text.contains("1 x 8 x 8"),
        "{text}"
    );
    let json: Value =
        serde_json::from_str(&done(&["data", "inspect", "heart-disease", "--json"])).expect("JSON");
    assert_eq!(json["train"]["rows"], 920);
    assert_eq!(json["train"]["sites"].as_array().map(Vec::len), Some(4));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = inside(&folder, "t.csv");
    fs::write(&table, "age,sick\n30,no\n40,yes\n50,no\n").expect("the table is written");
    let text = done(&["data", "inspect", &table]);
    assert!(text.contains("age") && text.contains("40"), "{text}");
    let said = run(&["data", "inspect", &table, "--set", "labl=1"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.stderr,
        "error: --set data.labl=1: unknown key 'data.labl'\n  hint: did you mean 'data.label'?\n"
    );
    let said = run(&["data", "inspect", &inside(&folder, "none")]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
}

#[test]
fn a_partition_is_shown() {
    let (_folder, config) = small_run();
    let text = done(&["data", "partition", &config]);
    assert!(
        text.contains("client-0") && text.contains("3 clients with 100 to 100 each"),
        "{text}"
    );
    let json: Value =
        serde_json::from_str(&done(&["data", "partition", &config, "--json"])).expect("JSON");
    let counts = json["counts"].as_array().expect("a list");
    let total: u64 = counts
        .iter()
        .flat_map(|client| client.as_array().expect("a list"))
        .map(|count| count.as_u64().expect("a count"))
        .sum();
    assert_eq!((counts.len(), total), (3, 300));
    // Another seed, another partition.
    assert_ne!(
        done(&["data", "partition", &config, "--json", "--seed", "2"]),
        json.to_string()
    );
}

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

#[test]
fn nobody_reading_is_success() {
    let mut child = cloister()
        .args(["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Closed before the first byte; the schema is larger than a pipe only sometimes, so close it at once.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
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
