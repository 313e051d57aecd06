//! Whatever experiment a program makes, its resolved TOML reads back as the same experiment.

#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

mod anomalies;
mod numbers;
mod strategies;

use std::path::Path;

use cloister_config::{parse, schema};
use proptest::prelude::*;
use strategies::{experiment, text};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_resolved_experiment_is_read_back(experiment in experiment()) {
        let toml = experiment.resolved_toml().expect("toml");
        let read = parse(toml.clone(), Path::new("config.toml"), &[], Some("/sets"));
        let read = match read {
            Ok(read) => read.experiment,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{toml}"))),
        };
        prop_assert_eq!(&read, &experiment, "{}", toml);
        prop_assert_eq!(read.resolved_toml().expect("toml"), toml);
        prop_assert_eq!(read.sha256().expect("sha256"), experiment.sha256().expect("sha256"));
    }

    #[test]
    fn json_is_as_good_as_toml(experiment in experiment()) {
        let json = serde_json::to_string_pretty(&experiment).expect("json");
        let read = parse(json.clone(), Path::new("config.json"), &[], Some("/sets"));
        let read = match read {
            Ok(read) => read.experiment,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{json}"))),
        };
        prop_assert_eq!(read, experiment, "{}", json);
    }

    /// Any text gives an answer, and a problem's place is inside the text.
    #[test]
    fn any_text_is_answered(text in "[\\[\\]{}=.,:\"'a-z0-9 \n#-]{0,80}", json in any::<bool>()) {
        let file = if json { "x.json" } else { "x.toml" };
        let _ = parse(text, Path::new(file), &[], None);
    }

    /// A good config with one line changed or lost still gives an answer.
    #[test]
    fn damage_is_answered(experiment in experiment(), line in any::<prop::sample::Index>(), junk in text()) {
        let toml = experiment.resolved_toml().expect("toml");
        let mut lines: Vec<&str> = toml.lines().collect();
        let line = line.index(lines.len());
        lines[line] = &junk;
        let _ = parse(lines.join("\n"), Path::new("x.toml"), &[], None);
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn visit(value: &serde_json::Value, path: &str, bare: &mut Vec<String>) {
        let Some(object) = value.as_object() else {
            return;
        };
        if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
            for (key, property) in properties {
                if property.get("description").is_none() && property.get("const").is_none() {
                    bare.push(format!("{path}.{key}"));
                }
            }
        }
        for (key, value) in object {
            visit(value, &format!("{path}.{key}"), bare);
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                visit(item, &format!("{path}.{key}[{index}]"), bare);
            }
        }
    }
    let mut bare = Vec::new();
    visit(&schema(), "", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn another_experiment_has_another_hash() {
    let text = "[data]\ndataset = \"digits\"\n[model]\nkind = \"cnn\"\n";
    let read = |set: &[String]| {
        parse(text.to_owned(), Path::new("a.toml"), set, None)
            .expect("read")
            .experiment
    };
    let (one, two) = (read(&[]), read(&["seed=2".to_owned()]));
    assert_eq!(one.sha256().expect("sha256").len(), 64);
    assert_ne!(one.sha256().expect("sha256"), two.sha256().expect("sha256"));
}
