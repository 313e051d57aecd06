//! `cloister privacy epsilon` and `cloister privacy noise`.

use std::fs;

use serde_json::Value;

use crate::{done, fails, inside};

fn answer(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).unwrap()
}

#[test]
fn epsilon_of_flags_events_and_a_file_agree() {
    let delta = ["--delta", "1e-5", "--json"];
    let flags = [
        "privacy",
        "epsilon",
        "--noise-multiplier",
        "1",
        "--sampling-rate",
        "0.01",
        "--steps",
        "1000",
    ];
    let by_flags = answer(&[&flags[..], &delta].concat());
    let epsilon = by_flags["epsilon"].as_f64().unwrap();
    // 1.828237 on a grid of 1e-5.
    assert!((1.828_236..1.829_24).contains(&epsilon));
    assert_eq!(by_flags["direction"], "upper");
    assert_eq!(by_flags["accountant"], "pld");
    assert_eq!(by_flags["neighbouring"], "add-remove");
    assert!(by_flags["certified_error"].as_f64().unwrap() <= 1.02e-3);
    assert!(by_flags["epsilon_rdp"].as_f64().unwrap() > epsilon);
    let found = by_flags["found_at_0_1_percent"].as_f64().unwrap();
    assert!(found > 0.001 && found < by_flags["found_at_1_percent"].as_f64().unwrap());

    let phase = "noise-multiplier=1.0,sampling-rate=0.01,steps=500";
    let by_events = [
        &["privacy", "epsilon", "--event", phase, "--event", phase][..],
        &delta,
    ];
    assert_eq!(answer(&by_events.concat()), by_flags);

    let folder = tempfile::tempdir().unwrap();
    let file = inside(&folder, "events.toml");
    let text = "[[event]]\nkind = \"poisson-gaussian\"\nnoise_multiplier = 1.0\nsampling_rate = 0.01\nsteps = 1000\n";
    fs::write(&file, text).unwrap();
    let by_file = [&["privacy", "epsilon", "--events", &file][..], &delta];
    assert_eq!(answer(&by_file.concat()), by_flags);

    let words = done(&[&flags[..], &["--delta", "1e-5", "--accountant", "rdp"]].concat());
    assert!(
        words.starts_with("epsilon 2.11 at delta 0.00001: one unit more or less\n"),
        "{words}"
    );
    assert!(words.contains("0.1 % of the others"), "{words}");
}

#[test]
fn noise_fits_its_epsilon() {
    let flags = [
        "privacy",
        "noise",
        "--epsilon",
        "1",
        "--sampling-rate",
        "0.01",
        "--steps",
        "1000",
        "--delta",
        "1e-5",
        "--neighbouring",
        "zero-out",
        "--json",
    ];
    let found = answer(&flags);
    assert_eq!(found["noise_multiplier"], 1.415);
    assert!(found["epsilon"].as_f64().unwrap() <= 1.001);
    // What is released beside costs too.
    let besides = answer(&[&flags[..], &["--event", "kind=laplace,scale=5"]].concat());
    assert!(besides["noise_multiplier"].as_f64().unwrap() > 1.415);
    // Without sampling it is a closed form.
    let exact = answer(&[
        "privacy",
        "noise",
        "--epsilon",
        "1",
        "--delta",
        "1e-5",
        "--json",
    ]);
    assert_eq!(exact["direction"], "exact");
    assert_eq!(exact["noise_multiplier"], 3.731);
}

#[test]
fn bad_numbers_are_refused_by_name() {
    for (more, words) in [
        (
            &["--noise-multiplier", "-1", "--delta", "1e-5"][..],
            "error: noise_multiplier must be a finite number from 0, found -1",
        ),
        (
            &["--noise-multiplier", "1", "--delta", "0"],
            "error: delta must be above 0 and below 1, found 0",
        ),
        (
            &[
                "--noise-multiplier",
                "1",
                "--delta",
                "1e-5",
                "--sampling-rate",
                "1.5",
            ],
            "error: sampling_rate must be above 0 and at most 1, found 1.5",
        ),
        (
            &["--noise-multiplier", "1", "--delta", "1e-5", "--steps", "0"],
            "error: count must be 1 to 10^12, found 0",
        ),
        (
            &["--noise-multiplier", "0", "--delta", "1e-5"],
            "error: epsilon is infinite: something is released without noise; \
             noise_multiplier, scale and sigma must be above 0",
        ),
        (
            &[
                "--event",
                "kind=fixed-size-gaussian,noise-multiplier=1,sample=5,population=10",
                "--delta",
                "1e-5",
            ],
            "error: sampling a fixed number of units needs a public number of units: use zero-out or replace-one",
        ),
        (
            &["--event", "noise=1", "--delta", "1e-5"],
            "error: --event \"noise=1\": unknown field `noise`, expected `noise_multiplier`",
        ),
        (
            &["--event", "1.0", "--delta", "1e-5"],
            "error: --event \"1.0\": '1.0' is not KEY=VALUE",
        ),
    ] {
        fails(&[&["privacy", "epsilon"], more].concat(), 2, words);
    }
}
