//! `[secure_aggregation]` and what it cannot go together with.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::path::Path;

use cloister_config::parse;

fn says(more: &str, expected: &str) {
    let text = format!(
        "data = {{ dataset = \"digits\" }}\nmodel = {{ kind = \"logistic\" }}\nfederation = {{ clients = 10 }}\n{more}"
    );
    let error = parse(text, Path::new("a.toml"), &[], None).unwrap_err();
    let found = error.to_string();
    assert!(
        found.contains(expected),
        "{found}\n  should say\n{expected}"
    );
}

#[test]
fn what_it_accepts() {
    for more in [
        "secure_aggregation = {}",
        "secure_aggregation = { protocol = \"masking\", threshold = 0.8, lanes = 16 }",
        "secure_aggregation = { mode = \"semi-honest-server\", collusion = 0.1 }",
        "secure_aggregation = { buckets = 3, minimum_cohort = 3 }\naggregation = { rule = \"median\" }",
        "secure_aggregation = {}\nprivacy = { mechanism = \"distributed-discrete-gaussian\", epsilon = 8, delta = 1e-3 }",
        "secure_aggregation = {}\nprivacy = { mechanism = \"dp-sgd\", epsilon = 8, delta = 1e-3 }",
    ] {
        let text = format!(
            "data = {{ dataset = \"digits\" }}\nmodel = {{ kind = \"logistic\" }}\nfederation = {{ clients = 10 }}\n{more}"
        );
        parse(text, Path::new("a.toml"), &[], None).unwrap();
    }
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    for (more, expected) in [
        (
            "secure_aggregation = {}\naggregation = { rule = \"krum\" }",
            "aggregation.rule: needs single updates, and the server sees their sum only",
        ),
        (
            "secure_aggregation = {}\naggregation = { before = [\"nnm\"], byzantine = 1 }",
            "aggregation.rule: needs single updates",
        ),
        (
            "secure_aggregation = { minimum_cohort = 11 }",
            "secure_aggregation.minimum_cohort: 10 members at the call, 11 needed: a cohort is 10 clients",
        ),
        (
            "secure_aggregation = { buckets = 2 }\naggregation = { rule = \"median\" }",
            "secure_aggregation.minimum_cohort: 5 members at the call, 8 needed: a cohort of 10 in 2 buckets",
        ),
        (
            "secure_aggregation = { threshold = 0.5 }",
            "secure_aggregation.threshold: a threshold of 5 is not safe: 10 members of whom 20.0 % may be corrupt need 7",
        ),
        (
            "secure_aggregation = { minimum_cohort = 2 }",
            "secure_aggregation.minimum_cohort: must be at least 3, found 2",
        ),
        (
            "secure_aggregation = { lanes = 8 }",
            "secure_aggregation.lanes: must be 16 or 32, found 8",
        ),
        (
            "secure_aggregation = { graph = \"sparse\" }",
            "secure_aggregation.graph: sparse needs mode = \"semi-honest-server\"",
        ),
        (
            "secure_aggregation = {}\nprivacy = { mechanism = \"central-gaussian\", epsilon = 1, delta = 1e-3 }",
            "privacy.mechanism: central-gaussian has the server clip each update, which it cannot see here",
        ),
        (
            "secure_aggregation = { buckets = 3, minimum_cohort = 3 }\naggregation = { rule = \"foolsgold\" }",
            "aggregation.rule: foolsgold compares each client's past",
        ),
        (
            "secure_aggregation = { buckets = 3, minimum_cohort = 3 }\naggregation = { rule = \"krum\", byzantine = 1 }",
            "aggregation.byzantine:",
        ),
        (
            "secure_aggregation = { treshold = 0.7 }",
            "secure_aggregation.treshold",
        ),
    ] {
        says(more, expected);
    }
}

#[test]
fn attackers_who_see_what_nobody_can_are_pointed_out() {
    let text = "data = { dataset = \"digits\" }\nmodel = { kind = \"logistic\" }\nfederation = { clients = 10 }\n\
                secure_aggregation = {}\nattack = { kind = \"ipm\", clients = 2, knowledge = \"all\" }";
    let loaded = parse(text.to_owned(), Path::new("a.toml"), &[], None).unwrap();
    let warned = |key: &str| loaded.warnings.iter().any(|warning| warning.key == key);
    assert!(warned("attack.knowledge"));
}
