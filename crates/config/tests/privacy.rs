//! `[privacy]`: what would break a sensitivity or an accounting is refused, with the reason and the place.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

use cloister_config::parse;

const START: &str =
    "name = \"p\"\ndata = { dataset = \"digits\" }\nmodel = { kind = \"logistic\" }\n";

#[track_caller]
fn says(more: &str, expected: &str) {
    match parse(format!("{START}{more}"), Path::new("a.toml"), &[], None) {
        Ok(_) => panic!("accepted:\n{more}"),
        Err(error) => assert_eq!(error.to_string(), expected, "for:\n{more}"),
    }
}

fn privacy(mechanism: &str, more: &str) -> String {
    format!("privacy = {{ mechanism = \"{mechanism}\", delta = 1e-5{more} }}\n")
}

#[test]
fn numbers_out_of_their_ranges() {
    for (more, expected) in [
        (
            "",
            "a.toml:4:1: privacy.epsilon: how much noise? give privacy.epsilon or privacy.noise_multiplier",
        ),
        (
            ", epsilon = -1.0",
            "a.toml:4:59: privacy.epsilon: must be finite and above 0, found -1",
        ),
        (
            ", epsilon = nan",
            "a.toml:4:59: privacy.epsilon: must be finite and above 0, found NaN",
        ),
        (
            ", noise_multiplier = 0.0",
            "a.toml:4:59: privacy.noise_multiplier: must be finite and above 0, found 0",
        ),
        (
            ", epsilon = 1.0, clip = 0",
            "a.toml:4:74: privacy.clip: must be finite and above 0, found 0",
        ),
    ] {
        says(&privacy("central-gaussian", more), expected);
    }
    says(
        "privacy = { mechanism = \"dp-sgd\", epsilon = 1.0, delta = 1.0 }\n",
        "a.toml:4:50: privacy.delta: must be above 0 and below 1, found 1",
    );
}

#[test]
fn what_has_no_bounded_sensitivity() {
    let central = privacy("central-gaussian", ", epsilon = 1.0");
    says(
        &format!("aggregation = {{ rule = \"median\" }}\n{central}"),
        "a.toml:4:17: aggregation.rule: central-gaussian needs rule = \"mean\": how far one client can move another rule is \
         not bounded",
    );
    says(
        &format!("aggregation = {{ weights = \"examples\" }}\n{central}"),
        "a.toml:4:17: aggregation.weights: central-gaussian needs equal weights: by examples, one client can move the mean \
         without bound",
    );
    says(
        &format!("federation = {{ over_selection = 0.5 }}\n{central}"),
        "a.toml:4:16: federation.over_selection: under [privacy] the sampling decides who counts, not who is quick",
    );
}

#[test]
fn one_example_does_not_decide_about_others() {
    let text = format!(
        "name = \"p\"\nmodel = {{ kind = \"logistic\" }}\n{}[data]\ndataset = \"digits\"\nprepare.resample = \"over\"\n",
        privacy("dp-sgd", ", epsilon = 1.0")
    );
    let error = parse(text, Path::new("a.toml"), &[], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.toml:6:9: data.prepare.resample: dp-sgd hides one example, but with repeated or left-out rows one changes what \
         others are there: use data.prepare.class_weights"
    );
}

#[test]
fn what_has_no_accounting() {
    says(
        &privacy(
            "central-gaussian",
            ", epsilon = 1.0, neighbouring = \"add-remove\"",
        ),
        "a.toml:4:74: privacy.neighbouring: a cohort of fixed size says how many clients there are: use zero-out, or \
         federation.sampling = \"poisson\"",
    );
    says(
        &format!(
            "train = {{ batch_size = 0 }}\n{}",
            privacy("dp-sgd", ", epsilon = 1.0")
        ),
        "a.toml:4:11: train.batch_size: dp-sgd divides by the expected batch, which must be public: give a size",
    );
    says(
        &privacy("dp-sgd", ", epsilon = 1.0, unit = \"client\""),
        "a.toml:4:64: privacy.unit: dp-sgd protects examples, not clients",
    );
    says(
        &privacy("distributed-discrete-gaussian", ", epsilon = 1.0"),
        "a.toml:4:13: privacy.mechanism: distributed-discrete-gaussian needs [secure_aggregation]: a server that sees single \
         updates sees too little noise",
    );
}
