//! Usage, messages, and the commands that only look.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::{cloister, done, fails, inside, root, run, said, small_run};

#[test]
fn help_names_every_command_and_goes_to_stdout() {
    let help = done(&["--help"]);
    for command in [
        "simulate",
        "report",
        "evaluate",
        "predict",
        "data",
        "config",
        "aggregate",
        "privacy",
        "federation",
        "envoy",
        "bench",
    ] {
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
fn config_check_tells_the_odds_of_a_cohort() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("odds.toml");
    let text = "data = { dataset = \"digits\" }\nmodel = { kind = \"logistic\" }\n\
                federation = { clients = 1000, rounds = 100, fraction = 0.05 }\n\
                aggregation = { rule = \"bulyan\", byzantine = 10 }\n\
                attack = { kind = \"ipm\", clients = 100 }\n";
    fs::write(&config, text).expect("the config is written");
    let config = config.to_str().expect("a path in UTF-8");
    let said = done(&["config", "check", config]);
    let odds = "  100 malicious of 1000 clients, cohorts of 50: more than byzantine = 10 of them with chance 0.0077 a \
                round, in 0.8 of 100 rounds; byzantine = 17 makes it at most 1e-6, but bulyan with byzantine = 17 needs \
                71 rows (4f + 3), got 50";
    assert_eq!(said.lines().nth(1), Some(odds), "{said}");
    let mean = done(&[
        "config",
        "check",
        config,
        "--set",
        "aggregation.rule=mean",
        "--set",
        "attack.clients=1",
    ]);
    let odds = "  1 malicious of 1000 clients, cohorts of 50: one or more of them with chance 0.050 a round, in 5.0 of 100 \
                rounds";
    assert_eq!(mean.lines().nth(1), Some(odds), "{mean}");
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
