//! Results of byzfl 0.0.11 in `float64`; where they come from is in `reference/byzfl_reference.py`.

use cloister_robust::AggregationConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    rows: Vec<Vec<f64>>,
    results: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    config: AggregationConfig,
    out: Vec<f64>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/byzfl.json")).unwrap()
}

#[test]
fn double_precision_agrees_to_1e_12() {
    let mut checked = 0;
    for case in reference().cases {
        for Expected { config, out } in case.results {
            let (got, _) = crate::common::run(&config, &case.rows).unwrap();
            let scale = out.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for (got, expected) in got.iter().zip(&out) {
                let error = (got - expected).abs();
                assert!(error <= 1e-12 * scale, "{config:?}: {got} for {expected}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 3 * 36);
}

/// 1e-5 relative for sums decided by distances, far more than the few ulp of the rules by coordinate.
#[test]
fn single_precision_agrees_to_1e_5() {
    for case in reference().cases {
        let rows: Vec<Vec<f32>> = case
            .rows
            .iter()
            .map(|row| row.iter().map(|&value| value as f32).collect())
            .collect();
        for Expected { config, out } in case.results {
            let (got, _) = crate::common::run(&config, &rows).unwrap();
            let scale = out.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for (&got, expected) in got.iter().zip(&out) {
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 1e-5 * scale, "{config:?}: {got} for {expected}");
            }
        }
    }
}
