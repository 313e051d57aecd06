//! The binary from outside: exit codes, what goes to which stream, and the words of errors.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod aggregate;
mod calculator;
mod federation;
mod judging;
mod runs;
mod statement;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
