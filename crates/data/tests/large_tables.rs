//! Tables that are fitted in passes over their files, beside the same rows in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cloister_data::statistics::{ColumnStatistics, NumberStatistics, TableStatistics};
use cloister_data::{DataConfig, DataError, LargePart, open, open_large};
use proptest::prelude::*;

/// `rows` rows of numbers, codes and gaps, their class in the last column.
fn rows(values: &[(f64, u8, bool)]) -> String {
    let mut text = "size,age,shop,kind\n".to_owned();
    for (number, code, gap) in values {
        let gap = if *gap {
            "?".to_owned()
        } else {
            number.to_string()
        };
        let age = (number * 7.0).trunc();
        let shop = ["north", "south", "east", "West "][usize::from(*code % 4)];
        writeln!(text, "{gap},{age},{shop},{}", code % 3).unwrap();
    }
    text
}

fn config(folder: &Path, prepare: &str) -> DataConfig {
    let mut config: DataConfig =
        serde_json::from_str(&format!("{{\"label\": \"kind\", \"prepare\": {prepare}}}")).unwrap();
    config.path = DataConfig::at(folder.join("train.csv")).path;
    config.test_path = DataConfig::at(folder.join("test.csv")).path;
    config
}

const PREPARE: &str = r#"{"columns": {
    "size": {"missing": "median", "indicator": true, "scaling": "robust"},
    "age": {"clip_quantiles": [0.05, 0.95], "scaling": "standard"},
    "shop": {"at_least": 2, "unseen": "other"}
}}"#;

/// Everything in the column's own unit.
fn figures(known: &NumberStatistics) -> Vec<f64> {
    let pairs = [known.range, known.clip].into_iter().flatten();
    let mut figures: Vec<f64> = pairs.flat_map(|(low, high)| [low, high]).collect();
    figures.extend(&known.quantiles);
    figures.push(known.mean);
    figures
}

fn close(a: &TableStatistics, b: &TableStatistics) -> Result<(), TestCaseError> {
    prop_assert_eq!((a.rows, &a.classes), (b.rows, &b.classes));
    for (a, b) in a.columns.iter().zip(&b.columns) {
        let (ColumnStatistics::Number(a), ColumnStatistics::Number(b)) = (a, b) else {
            prop_assert_eq!(a, b);
            continue;
        };
        prop_assert_eq!((a.count, a.missing), (b.count, b.missing));
        let scale = a
            .range
            .map_or(1.0, |(low, high)| 1.0 + low.abs().max(high.abs()));
        prop_assert!((a.variance - b.variance).abs() < 1e-6 * scale * scale);
        let (a, b) = (figures(a), figures(b));
        prop_assert_eq!(a.len(), b.len());
        for (a, b) in a.into_iter().zip(b) {
            prop_assert!((a - b).abs() < 1e-6 * scale, "{} {}", a, b);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Statistics are those of all rows at once, the bits do not depend on the threads, and the same pipeline makes the same
    /// bits of each row.
    #[test]
    fn passes_find_what_a_look_at_all_rows_finds(
        train in proptest::collection::vec((-1e4..1e4_f64, any::<u8>(), any::<bool>()), 12..120),
        test in proptest::collection::vec((-1e4..1e4_f64, any::<u8>(), any::<bool>()), 1..20),
        threads in 1_usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        // All classes and columns with a value are there.
        let some = |code| (3.0, code, false);
        let train = [&[some(0), some(1), some(2)], &train[..]].concat();
        fs::write(folder.path().join("train.csv"), rows(&train)).unwrap();
        fs::write(folder.path().join("test.csv"), rows(&test)).unwrap();
        let config = config(folder.path(), PREPARE);
        let raw = open(&config, 1).unwrap();
        let large = open_large(&config, 1, 0, threads).unwrap().unwrap();
        prop_assert_eq!(large.classes(), raw.classes());
        close(&large.statistics().unwrap(), &raw.statistics().unwrap())?;
        let one = open_large(&config, 1, 0, 1).unwrap().unwrap();
        prop_assert_eq!(one.statistics().unwrap(), large.statistics().unwrap());

        let pipeline = large.fit().unwrap();
        let data = raw.prepared(&pipeline).unwrap();
        let mut places = [0; 2];
        large.prepare(&pipeline, |part, features, class| {
            let (of, place) = match part {
                LargePart::Train => (&data.train, &mut places[0]),
                LargePart::Test => (&data.test, &mut places[1]),
            };
            assert_eq!((features, class), (of.row(*place), of.labels()[*place]));
            *place += 1;
            Ok::<(), DataError>(())
        }).unwrap();
        prop_assert_eq!(places, [data.train.len(), data.test.len()]);
    }
}

#[test]
fn rows_are_held_out_by_draws_that_every_pass_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<_> = (0..4000_u32)
        .map(|row| (f64::from(row % 97), (row % 7) as u8, row % 11 == 0))
        .collect();
    fs::write(folder.path().join("train.csv"), rows(&values)).unwrap();
    let mut config = config(folder.path(), PREPARE);
    config.test_path = None;
    let large = open_large(&config, 5, 0, 2).unwrap().unwrap();
    let statistics = large.statistics().unwrap();
    let count = || {
        let mut counts = [0_u64; 2];
        let mut tested = Vec::new();
        let pipeline = large.fit().unwrap();
        let each = large.prepare(&pipeline, |part, features, _| {
            counts[usize::from(part == LargePart::Test)] += 1;
            if part == LargePart::Test {
                tested.push(features.to_vec());
            }
            Ok::<(), DataError>(())
        });
        each.unwrap();
        (counts, tested)
    };
    let (counts, tested) = count();
    assert_eq!(counts[0], statistics.rows);
    assert_eq!(counts[0] + counts[1], 4000);
    // A binomial of 4000 draws at 0.2: six standard deviations are 152, passed less often than once in 10^8.
    assert!(counts[1].abs_diff(800) < 152, "{counts:?}");
    assert_eq!(count(), (counts, tested));
}

#[test]
fn what_only_the_whole_tells_is_left_to_memory() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<_> = (0..40_u32)
        .map(|row| (f64::from(row), row as u8, false))
        .collect();
    for file in ["train.csv", "test.csv"] {
        fs::write(folder.path().join(file), rows(&values)).unwrap();
    }
    let opened = |prepare: &str| {
        let config = config(folder.path(), prepare);
        open_large(&config, 1, 0, 1).unwrap().is_some()
    };
    assert!(opened("{}"));
    assert!(!opened(r#"{"duplicates": "drop"}"#));
    assert!(!opened(r#"{"resample": "over"}"#));
    assert!(!opened(r#"{"columns": {"shop": {"encoding": "target"}}}"#));
    let config = config(folder.path(), "{}");
    assert!(open_large(&config, 1, 1 << 20, 1).unwrap().is_none());
}

#[test]
fn a_cell_that_comes_late_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = rows(&[(1.0, 0, false), (2.0, 1, false), (3.0, 2, false)]);
    fs::write(folder.path().join("test.csv"), &text).unwrap();
    fs::write(folder.path().join("train.csv"), &text).unwrap();
    let prepare = r#"{"columns": {"size": {"type": "number"}}}"#;
    text += "far,1,north,1\n";
    fs::write(folder.path().join("train.csv"), &text).unwrap();
    let large = open_large(&config(folder.path(), prepare), 1, 0, 2)
        .unwrap()
        .unwrap();
    let error = large.fit().err().unwrap().to_string();
    assert!(
        error.contains("train.csv:5") && error.contains("far"),
        "{error}"
    );

    fs::write(
        folder.path().join("train.csv"),
        rows(&[(1.0, 0, false), (2.0, 1, false)]),
    )
    .unwrap();
    let large = open_large(&config(folder.path(), "{}"), 1, 0, 2)
        .unwrap()
        .unwrap();
    let pipeline = large.fit().unwrap();
    let prepared = large.prepare(&pipeline, |_, _, _| Ok::<(), DataError>(()));
    let error = prepared.unwrap_err().to_string();
    assert!(
        error.contains("test.csv") && error.contains("'2'"),
        "{error}"
    );
}
