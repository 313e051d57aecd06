//! Every rule, after every step, against its naive version.

use cloister_robust::{AggregationConfig, Input, Rule, Start};

use crate::common::{
    cohort, config, deterministic, relative_error, run, run_input, ties_after_steps, widened,
};
use crate::naive;

/// Rows, Byzantine rows, columns.
const SHAPES: [(usize, usize, usize); 5] = [
    (3, 0, 5),
    (7, 1, 4),
    (11, 2, 33),
    (12, 2, 300),
    (15, 3, 1000),
];

fn configs(byzantine: usize) -> Vec<AggregationConfig> {
    let mut configs = deterministic(byzantine as u32);
    configs.retain(|config| !ties_after_steps(config));
    for iterations in [1, 20] {
        configs.push(AggregationConfig {
            iterations: Some(iterations),
            smoothing: Some(0.1),
            start: Some(Start::Zero),
            ..config(Rule::GeometricMedian, byzantine as u32)
        });
    }
    configs
}

#[test]
fn double_precision_agrees_with_the_formulae() {
    for (case, (n, f, d)) in SHAPES.into_iter().enumerate() {
        let rows = widened(&cohort(n, f, d, case as u64));
        let trusted = &widened(&cohort(1, 0, d, case as u64))[0];
        let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let input = Input {
            trusted: Some(trusted),
            ..Input::new(&slices)
        };
        for config in configs(f) {
            let (out, _) = run_input(&config, &input).unwrap();
            let error = relative_error(&out, &naive::aggregate(&config, &rows, trusted));
            assert!(error < 1e-12, "{n} x {d}: {error:e} in {config:?}");
        }
    }
}

/// 1e-5 relative, where no selection hangs on less. (The seeds are such that none does.)
#[test]
fn single_precision_agrees_with_the_formulae() {
    for (case, (n, f, d)) in SHAPES.into_iter().enumerate() {
        let rows = cohort(n, f, d, case as u64);
        let trusted = &cohort(1, 0, d, case as u64)[0];
        let wide: Vec<f64> = trusted.iter().map(|&value| value.into()).collect();
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let input = Input {
            trusted: Some(trusted),
            ..Input::new(&slices)
        };
        for config in configs(f) {
            let (out, _) = run_input(&config, &input).unwrap();
            let expected = naive::aggregate(&config, &widened(&rows), &wide);
            let error = relative_error(&out, &expected);
            assert!(error < 1e-5, "{n} x {d}: {error:e} in {config:?}");
        }
    }
}

/// Updates that are a thousandth of a common part: the case in which inner products of raw `f32` rows fail.
#[test]
fn a_large_common_part_costs_no_digits() {
    let small = cohort(11, 2, 5000, 3);
    let shared = &cohort(1, 0, 5000, 4)[0];
    let rows: Vec<Vec<f32>> = small
        .iter()
        .map(|row| row.iter().zip(shared).map(|(r, s)| s + 1e-3 * r).collect())
        .collect();
    let (_, verdict) = run(&config(Rule::Krum, 2), &rows).unwrap();
    for (row, expected) in naive::krum_scores(&widened(&rows), 7).iter().enumerate() {
        let score = verdict.rows[row].score.unwrap();
        assert!(
            (score / expected - 1.0).abs() < 1e-5,
            "{score} for {expected}"
        );
    }
}

/// One liar a million times longer than all others pulls any centre away; the others' distances keep their digits.
#[test]
fn a_huge_liar_costs_no_digits() {
    let mut rows = cohort(11, 0, 3000, 5);
    for value in &mut rows[4] {
        *value *= 1e6;
    }
    let (_, verdict) = run(&config(Rule::Krum, 1), &rows).unwrap();
    let expected = naive::krum_scores(&widened(&rows), 8);
    for (row, expected) in expected.iter().enumerate() {
        let score = verdict.rows[row].score.unwrap();
        assert!(
            (score / expected - 1.0).abs() < 1e-5,
            "row {row}: {score} for {expected}"
        );
    }
}

#[test]
fn the_geometric_median_may_be_a_row() {
    // Three rows on one point outweigh two elsewhere (Vardi and Zhang 2000).
    let rows = [[1.0, 2.0], [5.0, 1.0], [1.0, 2.0], [-3.0, 9.0], [1.0, 2.0]].map(Vec::from);
    let converged = AggregationConfig {
        iterations: Some(0),
        ..config(Rule::GeometricMedian, 2)
    };
    let (out, verdict) = run(&converged, &rows).unwrap();
    assert_eq!(out, [1.0, 2.0]);
    assert_eq!(verdict.rows[0].weight, Some(1.0));
    // The Fermat point of a right isosceles triangle lies on its axis, at (1 - 1 / sqrt 3) / 2 from both legs.
    let triangle = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]].map(Vec::from);
    let (out, _) = run(
        &AggregationConfig {
            byzantine: 1,
            ..converged
        },
        &triangle,
    )
    .unwrap();
    let expected = (1.0 - 1.0 / 3.0_f64.sqrt()) / 2.0;
    assert!(
        relative_error(&out, &[expected, expected]) < 1e-9,
        "{out:?}"
    );
}
