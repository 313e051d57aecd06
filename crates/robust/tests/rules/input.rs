//! Bad input is refused with its numbers; the smallest and the most hostile input is not.

use cloister_robust::{AggregationConfig, Before, Input, RobustError, Rule, Scalar};

use crate::common::{cohort, config, deterministic, run, run_input, widened};

#[test]
fn values_that_are_no_numbers_are_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = cohort(7, 1, 300, 1);
        rows[5][130] = value;
        for config in deterministic(1) {
            let mut input = rows.iter().map(Vec::as_slice).collect::<Vec<_>>();
            let trusted = input.remove(0);
            input.push(trusted);
            let input = Input {
                trusted: Some(trusted),
                ..Input::new(&input)
            };
            let error = run_input(&config, &input).unwrap_err();
            let expected = format!("row 4 has {value} at column 130");
            assert_eq!(error.to_string(), expected, "{config:?}");
        }
    }
    let mut rows = widened(&cohort(5, 0, 3, 1));
    rows[2][1] = -1e200;
    let error = run(&config(Rule::Krum, 1), &rows).unwrap_err();
    assert!(matches!(
        error,
        RobustError::NotFinite {
            row: 2,
            column: 1,
            ..
        }
    ));
}

#[test]
fn lengths_are_checked() {
    let short: [&[f32]; 2] = [&[1.0, 2.0], &[1.0]];
    let error = run_input(&config(Rule::Mean, 0), &Input::new(&short)).unwrap_err();
    assert_eq!(error.to_string(), "row 1 has 1 values, expected 2");
    let rows: [&[f32]; 2] = [&[1.0, 2.0], &[1.0, 3.0]];
    let of = |config: &AggregationConfig, input: Input<'_, f32>| {
        run_input(config, &input).unwrap_err().to_string()
    };
    let plain = Input::new(&rows);
    let input = Input {
        weights: Some(&[1.0]),
        ..plain
    };
    assert_eq!(
        of(&config(Rule::Mean, 0), input),
        "weights has 1 values, expected 2"
    );
    let input = Input {
        clients: Some(&[1, 2, 3]),
        ..plain
    };
    assert_eq!(
        of(&config(Rule::Mean, 0), input),
        "clients has 3 values, expected 2"
    );
    let input = Input {
        trusted: Some(&[1.0]),
        ..plain
    };
    let fltrust = config(Rule::Fltrust, 0);
    assert_eq!(
        of(&fltrust, input),
        "the trusted update has 1 values, expected 2"
    );
    let error = of(&fltrust, plain);
    assert_eq!(error, "fltrust needs a trusted update of the server's own");
    let input = Input {
        trusted: Some(&[1.0, f32::NAN]),
        ..plain
    };
    assert_eq!(
        of(&fltrust, input),
        "trusted is NaN, must be finite in every column"
    );
}

#[test]
fn weights_are_for_the_mean_alone() {
    let rows: [&[f32]; 3] = [&[1.0], &[2.0], &[3.0]];
    let with = |weights: &[f64], rule| {
        let input = Input {
            weights: Some(weights),
            ..Input::new(&rows)
        };
        run_input(&config(rule, 0), &input).unwrap_err().to_string()
    };
    assert_eq!(
        with(&[1.0, 1.0, 2.0], Rule::Median),
        "weights is 3, must be left out with median, which takes all rows as equals"
    );
    assert_eq!(
        with(&[1.0, -1.0, 2.0], Rule::Mean),
        "weights is -1, must be finite and not below 0"
    );
    assert_eq!(
        with(&[0.0; 3], Rule::Mean),
        "weights is 0, must be a finite sum above 0"
    );
    let input = Input {
        clients: Some(&[4, 5, 4]),
        ..Input::new(&rows)
    };
    let error = run_input(&config(Rule::Foolsgold, 0), &input).unwrap_err();
    assert_eq!(error.to_string(), "clients is 4, must be there once");
}

#[test]
fn multi_krum_averages_as_many_as_it_can_vouch_for() {
    let rows = cohort(9, 2, 10, 1);
    let with = |selected, rule| AggregationConfig {
        selected,
        ..config(rule, 2)
    };
    for (selected, expected) in [(None, 5), (Some(1), 1), (Some(5), 5)] {
        let (_, verdict) = run(&with(selected, Rule::MultiKrum), &rows).unwrap();
        assert_eq!(verdict.rows.iter().filter(|row| row.kept).count(), expected);
    }
    let error = run(&with(Some(6), Rule::MultiKrum), &rows).unwrap_err();
    assert_eq!(
        error.to_string(),
        "selected is 6, must be at most n - f - 2 = 5 with n = 9 rows"
    );
    for (selected, expected) in [(None, 1), (Some(9), 9)] {
        let (_, verdict) = run(&with(selected, Rule::MultiKrumFlower), &rows).unwrap();
        assert_eq!(verdict.rows.iter().filter(|row| row.kept).count(), expected);
    }
}

#[test]
fn one_row_or_no_columns_is_enough() {
    for config in deterministic(0) {
        let least = config.minimum_rows();
        let rows = cohort(least, 0, 5, 1);
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let input = Input {
            trusted: Some(&[1.0; 5]),
            ..Input::new(&slices)
        };
        let (out, verdict) = run_input(&config, &input).unwrap();
        assert!(out.iter().all(|value| value.is_finite()));
        assert_eq!(verdict.rows.len(), least);
        if least == 1
            && config.before.is_empty()
            && !matches!(config.rule, Rule::Fltrust | Rule::SignMajority)
        {
            assert_eq!(out, rows[0], "{config:?}");
        }
        let empty: Vec<&[f32]> = vec![&[]; 5];
        let input = Input {
            trusted: Some(&[]),
            ..Input::new(&empty)
        };
        let (out, verdict) = run_input(&config, &input).unwrap();
        assert!(out.is_empty() && verdict.rows.len() == 5);
        let none = run_input::<f32>(&config, &Input::new(&[]));
        assert_eq!(none.unwrap_err(), RobustError::NoRows);
    }
}

/// Rows that break careless arithmetic: squares that overflow or vanish, copies, zeros, one giant among dwarfs.
fn hostile<T: Scalar>(huge: f64, tiny: f64) -> Vec<Vec<Vec<T>>> {
    let row =
        |of: &dyn Fn(usize) -> f64| (0..70).map(|column| T::of(of(column))).collect::<Vec<T>>();
    let sign = |at: usize| if at.is_multiple_of(2) { 1.0 } else { -1.0 };
    let all = |of: &dyn Fn(usize, usize) -> f64| (0..7).map(|i| row(&|j| of(i, j))).collect();
    vec![
        all(&|_, _| huge),
        all(&|i, j| huge * sign(i + j)),
        all(&|i, j| huge * (1.0 - i as f64 * 1e-3) * sign(j)),
        all(&|i, j| tiny * (i + j) as f64),
        all(&|_, _| 0.0),
        all(&|_, _| -0.0),
        all(&|i, j| if i == 3 { huge } else { tiny * (i * j) as f64 }),
        all(&|i, j| if i < 2 { (j as f64).sin() } else { 0.25 }),
        all(&|i, j| if i == 6 { -huge } else { (i * j) as f64 }),
    ]
}

#[test]
fn hostile_values_give_numbers() {
    fn check<T: Scalar>(cases: Vec<Vec<Vec<T>>>) {
        for (case, rows) in cases.iter().enumerate() {
            let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
            for mut config in deterministic(1) {
                for iterations in [None, Some(0)] {
                    config.iterations = iterations;
                    let input = Input {
                        trusted: Some(&rows[0]),
                        ..Input::new(&slices)
                    };
                    let (out, verdict) = run_input(&config, &input).unwrap();
                    for value in out {
                        let value: f64 = value.into();
                        assert!(value.is_finite(), "case {case}: {value} from {config:?}");
                    }
                    for row in verdict.rows {
                        assert!(
                            row.score.is_none_or(|score| !score.is_nan()),
                            "case {case}: {config:?}"
                        );
                    }
                }
            }
        }
    }
    check(hostile::<f32>(3e38, 1e-45));
    check(hostile::<f64>(9e139, 1e-320));
}

#[test]
fn copies_have_no_distance() {
    let honest = cohort(6, 0, 9000, 8);
    let sybil = &cohort(1, 0, 9000, 9)[0];
    let mut rows = honest.clone();
    rows.extend(vec![sybil.clone(); 5]);
    let (out, verdict) = run(&config(Rule::Krum, 4), &rows).unwrap();
    // n - f - 2 = 5 neighbours: four copies and one other.
    assert_eq!(&out, sybil, "bit for bit");
    assert!(verdict.rows[6].kept && verdict.rows[6].score == verdict.rows[10].score);
    let all = vec![sybil.clone(); 9];
    for rule in [
        Rule::Krum,
        Rule::MultiKrum,
        Rule::Bulyan,
        Rule::Mda,
        Rule::GeometricMedian,
    ] {
        let config = AggregationConfig {
            before: vec![Before::Nnm],
            ..config(rule, 1)
        };
        let (out, _) = run(&config, &all).unwrap();
        for (got, expected) in out.iter().zip(sybil) {
            assert!((got - expected).abs() <= 1e-6 * expected.abs());
        }
    }
}
