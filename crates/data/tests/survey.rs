//! Statistics from sums are those of pooled rows.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cloister_data::statistics::survey::{RESOLUTION, Survey, SurveyError};
use cloister_data::statistics::{Asked, ColumnStatistics, Question, TableStatistics, Value};
use proptest::prelude::*;

type Row = (Vec<Value<'static>>, u32);

fn question(clip: Option<(f64, f64)>) -> Question {
    Question {
        columns: vec![
            (
                "amount".to_owned(),
                Asked::Number {
                    quantiles: vec![0.25, 0.5, 0.75],
                    clip,
                },
            ),
            ("kind".to_owned(), Asked::categories()),
            ("left".to_owned(), Asked::Nothing),
            ("age".to_owned(), Asked::number()),
        ],
        classes: 3,
        correlation: true,
    }
}

/// The statistics that owners of `rows` find together, each having one of `parts`.
fn surveyed(
    question: &Question,
    rows: &[Row],
    owner_of: impl Fn(usize) -> usize,
    owners: usize,
) -> Result<TableStatistics, SurveyError> {
    let survey = Survey::new(question, 64);
    let mut known = survey.begin();
    for pass in 0..survey.passes() {
        let widths = survey.widths(pass);
        let mut sums = vec![0_i128; widths.len()];
        for owner in 0..owners {
            let own = (0..).zip(rows).filter(|(row, _)| owner_of(*row) == owner);
            let own = own.map(|(_, (values, class))| (&values[..], *class));
            let vector = survey.observe(&known, own)?;
            assert_eq!(vector.len(), widths.len());
            for ((sum, number), width) in sums.iter_mut().zip(vector).zip(&widths) {
                let most = 1_i128 << (width.bits - u32::from(width.signed));
                assert!(number < most && number >= if width.signed { -most } else { 0 });
                *sum += number;
            }
        }
        survey.learn(&mut known, &sums)?;
    }
    Ok(survey.finish(known).unwrap())
}

fn of_rows(question: &Question, rows: &[Row]) -> TableStatistics {
    TableStatistics::of_rows(question, rows.iter().map(|(row, class)| (&row[..], *class)))
}

fn number() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        1 => Just(Value::Missing),
        4 => (-1e6..1e6).prop_map(Value::Number),
        2 => (-20_i32..20).prop_map(|value| Value::Number(value.into())),
        1 => (1e-9..1e-6).prop_map(Value::Number),
        1 => Just(Value::Number(0.0)),
    ]
}

fn category() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        1 => Just(Value::Missing),
        6 => "[a-c]{1,2}".prop_map(|name| Value::Category(name.into())),
        2 => (0_u32..4).prop_map(|code| Value::Category(code.to_string().into())),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let age = (0_u32..120).prop_map(|age| Value::Number(age.into()));
    (number(), category(), age, 0_u32..3)
        .prop_map(|(amount, kind, age, class)| (vec![amount, kind, Value::Missing, age], class))
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * scale.max(f64::MIN_POSITIVE)
}

proptest! {
    /// Means, variances, counts and vocabularies are those of the pooled rows (to 1e-9 of the column's scale), quantiles and
    /// ranges within the stated error; and no bit depends on who owns what.
    #[test]
    fn sums_tell_what_pooled_rows_tell(
        rows in proptest::collection::vec(row(), 1..120),
        clip in prop_oneof![Just(None), Just(Some((0.05, 0.9)))],
        owners in 1_usize..6,
        salt in 1_usize..1000,
    ) {
        let question = question(clip);
        let found = surveyed(&question, &rows, |row| row * salt % 7 % owners, owners).unwrap();
        let other = surveyed(&question, &rows, |row| row % 2, 2).unwrap();
        prop_assert_eq!(&found, &other);
        let pooled = of_rows(&question, &rows);
        prop_assert_eq!((found.rows, &found.classes), (pooled.rows, &pooled.classes));
        for (found, pooled) in found.columns.iter().zip(&pooled.columns) {
            match (found, pooled) {
                (ColumnStatistics::Number(found), ColumnStatistics::Number(pooled)) => {
                    prop_assert_eq!((found.count, found.missing), (pooled.count, pooled.missing));
                    let magnitude = 1e6;
                    let error = magnitude * RESOLUTION;
                    let near = |a: f64, b: f64| b - a <= error && a <= b;
                    for (a, b) in found.quantiles.iter().zip(&pooled.quantiles) {
                        prop_assert!(near(*a, *b), "{a} for the quantile {b}");
                    }
                    let (a, b) = (found.range.unwrap_or_default(), pooled.range.unwrap_or_default());
                    prop_assert!(near(a.0, b.0) && near(a.1, b.1));
                    // Where values are clipped, they are clipped a little elsewhere.
                    let slack = if clip.is_some() { error / magnitude * 1e9 } else { 1.0 };
                    prop_assert!(close(found.mean, pooled.mean, magnitude * slack));
                    let deviation = pooled.variance.sqrt();
                    prop_assert!(close(found.variance.sqrt(), deviation, magnitude * slack));
                }
                (found, pooled) => prop_assert_eq!(found, pooled),
            }
        }
        let (a, b) = (found.correlation.unwrap(), pooled.correlation.unwrap());
        for (a, b) in a.iter().zip(&b) {
            prop_assert!((a - b).abs() < 1e-5, "a correlation of {a} for {b}");
        }
    }
}

proptest! {
    /// Sums that no honest owners made end in an answer or in an error, never in a panic.
    #[test]
    fn hostile_sums_are_survived(seed: u64, sparse: bool) {
        let survey = Survey::new(&question(Some((0.05, 0.9))), 8);
        let mut known = survey.begin();
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 11
        };
        for pass in 0..survey.passes() {
            let number = |width: cloister_data::statistics::survey::Width| {
                let wide = i128::from(next()) << (next() % 64) ^ i128::from(next());
                let most = 1_i128 << (width.bits - u32::from(width.signed)).min(121);
                match sparse && next() % 4 > 0 {
                    true => 0,
                    false => wide % most * if width.signed && next() % 2 == 0 { -1 } else { 1 },
                }
            };
            let sums: Vec<i128> = survey.widths(pass).into_iter().map(number).collect();
            if survey.learn(&mut known, &sums).is_err() {
                return Ok(());
            }
        }
        prop_assert!(survey.finish(known).is_some());
    }
}

fn numbers(values: &[f64]) -> (Question, Vec<Row>) {
    let question = Question {
        columns: vec![(
            "x".to_owned(),
            Asked::Number {
                quantiles: vec![0.5],
                clip: None,
            },
        )],
        classes: 1,
        correlation: false,
    };
    let rows = values.iter().map(|value| (vec![Value::Number(*value)], 0));
    (question, rows.collect())
}

#[test]
fn a_small_spread_far_from_zero_is_not_lost() {
    let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 2)).collect();
    let (question, rows) = numbers(&values);
    let found = surveyed(&question, &rows, |row| row % 3, 3).unwrap();
    let ColumnStatistics::Number(x) = &found.columns[0] else {
        panic!("not a column of numbers");
    };
    assert_eq!((x.mean, x.range), (1e9 + 0.5, Some((1e9, 1e9 + 1.0))));
    assert!((x.variance - 0.25).abs() < 1e-6, "{}", x.variance);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let (question, rows) = numbers(&[1.0, 1e20]);
    let error = surveyed(&question, &rows, |_| 0, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 'x': 100000000000000000000 is beyond 2^64"
    );

    let question = Question {
        columns: vec![("kind".to_owned(), Asked::categories())],
        classes: 1,
        correlation: false,
    };
    let rows: Vec<Row> = (0..500)
        .map(|i| (vec![Value::Category(format!("c{i}").into())], 0))
        .collect();
    let error = surveyed(&question, &rows, |_| 0, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the owners hold more categories than the 64 that there is room for; raise statistics.categories, or drop a column"
    );
    let survey = Survey::new(&question, 64);
    let error = survey.learn(&mut survey.begin(), &[1]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the sums of the pass 'scale' cannot be: 1 numbers")
    );
}

/// A category that an owner has fewer than `at_least` times is not named by it, and counts with the others.
#[test]
fn rare_categories_stay_where_they_are() {
    let question = Question {
        columns: vec![(
            "kind".to_owned(),
            Asked::Category {
                at_least: 3,
                most: 10,
            },
        )],
        classes: 1,
        correlation: false,
    };
    let names = ["a", "a", "a", "a", "rare", "rare", "b", "b", "b", "rare"];
    let rows: Vec<Row> = names
        .iter()
        .map(|name| (vec![Value::Category((*name).into())], 0))
        .collect();
    let found = surveyed(&question, &rows, |row| row / 6, 2).unwrap();
    let ColumnStatistics::Category(kind) = &found.columns[0] else {
        panic!("not a column of categories");
    };
    assert_eq!(kind.counts, [("a".to_owned(), 4), ("b".to_owned(), 3)]);
    assert_eq!((kind.others, kind.missing), (3, 0));
}
