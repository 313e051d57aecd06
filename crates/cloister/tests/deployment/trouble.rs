//! What a machine does to a director, beside killing it: one clear message, and nothing lost.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::federation::Federation;
use super::plain;

/// Runs a director that is expected to end by itself, and gives what it said.
fn refused(federation: &Federation) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
        .args(["director", "--dir"])
        .arg(federation.dir.join("director"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_port_that_is_taken_and_a_store_that_is_in_use_are_said() {
    let federation = Federation::new(1);
    let taken = std::net::TcpListener::bind(("127.0.0.1", federation.port)).unwrap();
    let said = refused(&federation);
    let port = format!("cannot listen for calls on 127.0.0.1:{}", federation.port);
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
    drop(taken);
    let _director = federation.director();
    federation.operator(&["status"]);
    let config = fs::read_to_string(federation.dir.join("director/director.toml")).unwrap();
    federation.write(
        "director/director.toml",
        &config.replace(&federation.port.to_string(), "0"),
    );
    let said = refused(&federation);
    assert!(said.contains("in use by another director"), "{said}");
}

#[test]
fn a_state_that_was_changed_is_named_and_the_run_waits_for_the_right_one() {
    let federation = Federation::new(3);
    let undisturbed = plain().replace("rounds = 10", "rounds = 40");
    let director = federation.director();
    let _envoys = federation.envoys();
    let id = federation.submit(&undisturbed);
    federation.wait_for_round(id, 3);
    director.kill();
    let folder = federation
        .dir
        .join(format!("director/state/experiments/{id}"));
    let names = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let is_state = |path: &std::path::PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("state-")
    };
    let state = names.filter(is_state).max().unwrap();
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let director = federation.director();
    let mut reason = String::new();
    for _ in 0..100 {
        reason = federation.status(id)["reason"].as_str().unwrap().to_owned();
        if reason.contains("state-") {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    let name = state.file_name().unwrap().to_str().unwrap();
    assert!(reason.contains(name), "{reason}");
    director.kill();
    fs::write(&state, whole).unwrap();
    let _director = federation.director();
    federation.wait(id);
    let (deployed, simulated) = (federation.fetch(id), federation.simulate(&undisturbed));
    assert!(
        Federation::model(&deployed) == Federation::model(&simulated),
        "another model"
    );
}
