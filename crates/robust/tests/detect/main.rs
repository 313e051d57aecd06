//! Clusters against those that scikit-learn finds, weights against the formulae by hand.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_robust::Square;
use cloister_robust::detect::{foolsgold_weights, hdbscan};
use serde_json::Value;

/// Clusters numbered in the order of their first rows, as `hdbscan` numbers them.
fn renumbered(labels: &[i64]) -> Vec<Option<usize>> {
    let mut seen = Vec::new();
    labels
        .iter()
        .map(|label| {
            if *label < 0 {
                return None;
            }
            if !seen.contains(label) {
                seen.push(*label);
            }
            seen.iter().position(|other| other == label)
        })
        .collect()
}

#[test]
fn clusters_are_those_of_scikit_learn() {
    let reference: Value = serde_json::from_str(include_str!("hdbscan.json")).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() >= 19);
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let below: Vec<f64> = serde_json::from_value(case["below_diagonal"].clone()).unwrap();
        let labels: Vec<i64> = serde_json::from_value(case["labels"].clone()).unwrap();
        let distances = Square::from_fn(number("n"), |i, j| match (i.max(j), i.min(j)) {
            (a, b) if a == b => 0.0,
            (a, b) => below[a * (a - 1) / 2 + b],
        });
        let found = hdbscan(
            &distances,
            number("min_cluster_size"),
            number("min_samples"),
        );
        assert_eq!(found, renumbered(&labels), "{}", case["name"]);
    }
}

#[test]
fn copies_and_single_rows_have_clusters() {
    assert_eq!(hdbscan(&Square::zeros(0), 2, 1), []);
    assert_eq!(hdbscan(&Square::zeros(1), 2, 1), [Some(0)]);
    assert_eq!(hdbscan(&Square::zeros(5), 3, 1), [Some(0); 5]);
    // Three copies, and two rows that are far from them and from each other.
    let place = [0.0_f64, 0.0, 0.0, 5.0, -7.0];
    let distances = Square::from_fn(5, |i, j| (place[i] - place[j]).abs());
    assert_eq!(
        hdbscan(&distances, 3, 1),
        [Some(0), Some(0), Some(0), None, None]
    );
}

#[test]
fn foolsgold_spares_the_unlike() {
    // Rows 0 and 1 are Sybils; 2 and 3 are honest, each a little like one of them.
    let cosines = [
        [1.0, 0.98, 0.3, 0.1],
        [0.98, 1.0, 0.2, 0.1],
        [0.3, 0.2, 1.0, 0.25],
        [0.1, 0.1, 0.25, 1.0],
    ];
    let weights = foolsgold_weights(&Square::from_fn(4, |i, j| cosines[i][j]));
    // By hand: v = (.98, .98, .3, .25). Pardoned: row 2 sees .3 x .3/.98, .2 x .3/.98, .25; row 3 sees .1 x .25/.98
    // twice and .25 x .25/.3. So w = (.02, .02, .75, 1 - .25 x .25/.3) before they are divided by the largest.
    let greatest = 1.0 - 0.25 * 0.25 / 0.3;
    let logit = |w: f64| ((w / (1.0 - w)).ln() + 0.5).clamp(0.0, 1.0);
    let expected = [
        logit(0.02 / greatest),
        logit(0.02 / greatest),
        logit(0.75 / greatest),
        1.0,
    ];
    for (weight, expected) in weights.iter().zip(expected) {
        assert!((weight - expected).abs() < 1e-12, "{weights:?}");
    }
    assert_eq!(weights[0], 0.0);
    assert_eq!(weights[2], 1.0);
}

#[test]
fn foolsgold_at_the_edges() {
    assert_eq!(foolsgold_weights(&Square::from_fn(1, |_, _| 1.0)), [1.0]);
    // All alike: nobody counts. All opposed: everybody does.
    assert_eq!(foolsgold_weights(&Square::from_fn(3, |_, _| 1.0)), [0.0; 3]);
    assert_eq!(
        foolsgold_weights(&Square::from_fn(3, |_, _| -1.0)),
        [1.0; 3]
    );
    // In between the weight follows the logit: 0.4 / (1 - 0.2 x 0.2/0.6) = 3/7, ln(3/4) + 0.5.
    let cosines = [[1.0, 0.6, 0.2], [0.6, 1.0, 0.2], [0.2, 0.2, 1.0]];
    let weights = foolsgold_weights(&Square::from_fn(3, |i, j| cosines[i][j]));
    let expected = 0.75_f64.ln() + 0.5;
    assert!((weights[0] - expected).abs() < 1e-12, "{weights:?}");
    assert_eq!(weights, [weights[0], weights[0], 1.0]);
}
