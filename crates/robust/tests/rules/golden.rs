//! Printed values for one small matrix (n = 11, f = 2, d = 5), computed by an independent NumPy program in `float64` and
//! equal to byzfl 0.0.11 within 2e-16 where byzfl has the rule.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use cloister_robust::{AggregationConfig, Before, Rule, Start};

use crate::common::{config, run};

/// The matrix: `sin(2.2 i + 0.9 j) + 0.2 i` in nine rows, then a line and a constant.
fn rows() -> Vec<Vec<f64>> {
    let value = |i: usize, j: usize| match i {
        9 => 1.0 + 0.4 * j as f64,
        10 => -0.8,
        _ => (2.2 * i as f64 + 0.9 * j as f64).sin() + 0.2 * i as f64,
    };
    (0..11)
        .map(|i| (0..5).map(|j| value(i, j)).collect())
        .collect()
}

#[track_caller]
fn check(config: &AggregationConfig, expected: [f64; 5]) {
    let (out, _) = run(config, &rows()).unwrap();
    for (got, expected) in out.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-9, "{config:?}: {out:?}");
    }
}

#[test]
fn rules_by_coordinate() {
    check(
        &config(Rule::Median, 2),
        [
            0.911541364,
            0.783326910,
            0.973847631,
            0.724454424,
            0.634395825,
        ],
    );
    check(
        &config(Rule::TrimmedMean, 2),
        [
            0.708017179,
            0.776353849,
            0.865313068,
            0.834161938,
            0.773768365,
        ],
    );
    check(
        &config(Rule::Meamed, 2),
        [
            0.939034681,
            0.726689942,
            1.114505009,
            0.806297884,
            0.463762012,
        ],
    );
    check(
        &config(Rule::Phocas, 2),
        [
            0.939034681,
            0.726689942,
            1.114505009,
            0.806297884,
            0.809446592,
        ],
    );
}

#[test]
fn krum_and_its_kin() {
    let rows = rows();
    let (out, verdict) = run(&config(Rule::Krum, 2), &rows).unwrap();
    assert_eq!(out, rows[4]);
    let mut order: Vec<usize> = (0..11).collect();
    order.sort_by(|&a, &b| {
        let score = |row: usize| verdict.rows[row].score.unwrap();
        score(a).total_cmp(&score(b))
    });
    assert_eq!(order, [4, 7, 5, 3, 0, 6, 1, 9, 2, 8, 10]);
    let (out, _) = run(&config(Rule::KrumByzfl, 2), &rows).unwrap();
    assert_eq!(out, rows[7]);
    check(
        &config(Rule::MultiKrum, 2),
        [
            0.971450946,
            0.930609561,
            0.747680889,
            0.561101702,
            0.512071409,
        ],
    );
}

#[test]
fn bulyan() {
    let (_, verdict) = run(&config(Rule::Bulyan, 2), &rows()).unwrap();
    let mut picks: Vec<usize> = (0..11).filter(|&row| verdict.rows[row].kept).collect();
    picks.sort_by_key(|&row| verdict.rows[row].score.unwrap() as usize);
    assert_eq!(picks, [4, 5, 3, 9, 1, 6, 0]);
    check(
        &config(Rule::Bulyan, 2),
        [
            0.973345922,
            0.564476390,
            1.219985455,
            0.720325241,
            0.282318034,
        ],
    );
}

#[test]
fn geometric_median() {
    let byzfl = AggregationConfig {
        smoothing: Some(0.1),
        start: Some(Start::Zero),
        ..config(Rule::GeometricMedian, 2)
    };
    check(
        &byzfl,
        [
            0.725178901,
            0.756779960,
            0.758501621,
            0.747528271,
            0.750651627,
        ],
    );
    let converged = AggregationConfig {
        iterations: Some(0),
        ..config(Rule::GeometricMedian, 2)
    };
    check(
        &converged,
        [
            0.739943590,
            0.782151928,
            0.800097205,
            0.800302022,
            0.802714604,
        ],
    );
}

#[test]
fn centred_clipping() {
    let config = AggregationConfig {
        radius: Some(1.0),
        iterations: Some(3),
        ..config(Rule::CentredClipping, 2)
    };
    check(
        &config,
        [
            0.545998224,
            0.556331320,
            0.539282063,
            0.521111912,
            0.528930593,
        ],
    );
}

#[test]
fn nearest_neighbour_mixing() {
    let config = AggregationConfig {
        before: vec![Before::Nnm],
        ..config(Rule::TrimmedMean, 2)
    };
    check(
        &config,
        [
            0.702664431,
            0.758823394,
            0.768468874,
            0.765387429,
            0.766877800,
        ],
    );
}
