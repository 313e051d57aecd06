//! What holds of every table and every preparation.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::path::Path;

use cloister_data::statistics::TableStatistics;
use cloister_data::statistics::survey::Survey;
use cloister_data::{ColumnRef, DataConfig, Pipeline, RawData, load, open};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::write;

/// A row: two numbers, a code, a time, a yes or no, a text, and the class; empty cells are missing.
type Row = (
    Option<f64>,
    Option<i32>,
    Option<u8>,
    u32,
    Option<bool>,
    String,
    bool,
);

fn row() -> impl Strategy<Value = Row> {
    (
        proptest::option::weighted(0.9, -1e6..1e6),
        proptest::option::weighted(0.8, 0..50_i32),
        proptest::option::weighted(0.8, 0..5_u8),
        0..2_000_000_000_u32,
        proptest::option::weighted(0.9, any::<bool>()),
        "[a-c ]{0,8}",
        any::<bool>(),
    )
}

const HEADER: &str = "wide,count,code,when,flag,text,class\n";

fn cells(row: &Row) -> Vec<String> {
    let text = |cell: Option<String>| cell.unwrap_or_default();
    vec![
        text(row.0.map(|value| value.to_string())),
        text(row.1.map(|value| value.to_string())),
        text(row.2.map(|code| format!("k{code}"))),
        row.3.to_string(),
        text(row.4.map(|flag| if flag { "yes" } else { "no" }.to_owned())),
        row.5.trim().to_owned(),
        u8::from(row.6).to_string(),
    ]
}

fn table(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| cells(row).join(",") + "\n");
    HEADER.to_owned() + &lines.collect::<String>()
}

/// Preparations that differ in each step.
fn preparation() -> impl Strategy<Value = Value> {
    let scaling = prop_oneof![
        Just("standard"),
        Just("min-max"),
        Just("robust"),
        Just("quantile"),
        Just("none")
    ];
    let missing = prop_oneof![Just("mean"), Just("median"), Just("drop-row")];
    let encoding = prop_oneof![
        Just(json!({ "encoding": "one-hot", "at_least": 2 })),
        Just(json!({ "encoding": "one-hot", "missing": "most-frequent", "indicator": true })),
        Just(json!({ "encoding": "ordinal", "most": 2 })),
        Just(json!({ "encoding": "hashing", "width": 8, "missing": "category" })),
    ];
    let transform = prop_oneof![Just("none"), Just("signed-log")];
    (scaling, missing, encoding, transform, any::<bool>(), any::<bool>()).prop_map(
        |(scaling, missing, mut code, transform, clip, reduced)| {
            code["type"] = json!("category");
            let mut wide = json!({ "type": "number", "missing": missing, "transform": transform, "indicator": true });
            if !reduced {
                wide["scaling"] = json!(scaling);
            }
            if clip {
                wide["clip_quantiles"] = json!([0.1, 0.9]);
            }
            let mut prepare = json!({ "columns": {
                "wide": wide,
                "count": { "type": "number", "buckets": { "quantiles": 3 }, "missing": "median" },
                "code": code,
                "when": { "type": "time", "formats": ["%s"], "parts": ["hour", "weekday-cycle", "days-since"] },
                "flag": { "type": "boolean", "missing": "most-frequent" },
                "text": { "type": "text", "grams": "bytes", "width": 16 },
            } });
            if reduced {
                prepare["pca"] = json!({ "variance": 0.9 });
                prepare["fourier"] = json!({ "features": 4 });
            }
            prepare
        },
    )
}

fn config(folder: &Path, rows: &[Row], test: &[Row], prepare: &Value) -> DataConfig {
    write(folder, "train.csv", table(rows));
    write(folder, "test.csv", table(test));
    DataConfig {
        test_path: Some(folder.join("test.csv").into()),
        label: Some(ColumnRef::Name("class".to_owned())),
        header: Some(true),
        prepare: serde_json::from_value(prepare.clone()).unwrap(),
        ..DataConfig::at(folder.join("train.csv"))
    }
}

/// Rows with both classes, and rows of any kind.
fn parts() -> impl Strategy<Value = (Vec<Row>, Vec<Row>)> {
    let train = proptest::collection::vec(row(), 4..40).prop_map(|mut rows| {
        // A row of each class that no rule drops.
        rows[0] = (
            Some(1.0),
            Some(2),
            Some(1),
            3,
            Some(true),
            "a".to_owned(),
            false,
        );
        rows[1] = (
            Some(-2.0),
            Some(5),
            Some(2),
            90_000,
            Some(false),
            "b".to_owned(),
            true,
        );
        rows
    });
    (train, proptest::collection::vec(row(), 1..10))
}

/// What owners find by adding up, row `i` being owned by `i % owners`.
fn surveyed(raw: &RawData, owners: usize) -> TableStatistics {
    let question = raw.plan().unwrap().question();
    let rows: Vec<_> = (0..raw.len() as u32)
        .map(|row| raw.values(row).unwrap())
        .collect();
    let survey = Survey::new(&question, 64);
    let mut known = survey.begin();
    for pass in 0..survey.passes() {
        let mut sums = vec![0_i128; survey.widths(pass).len()];
        for owner in 0..owners {
            let own = rows.iter().skip(owner).step_by(owners);
            let own = own.map(|(values, class)| (&values[..], *class));
            let vector = survey.observe(&known, own).unwrap();
            sums.iter_mut()
                .zip(vector)
                .for_each(|(sum, number)| *sum += number);
        }
        survey.learn(&mut known, &sums).unwrap();
    }
    survey.finish(known).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Nothing is ever NaN; a record that is applied alone, by a pipeline that went through a file, has the bits that its row
    /// has in the dataset; loading twice is the same.
    #[test]
    fn single_records_have_the_bits_of_training((train, test) in parts(), prepare in preparation()) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &train, &test, &prepare);
        let data = load(&config, 3).unwrap();
        prop_assert!(data.train.features().iter().chain(data.test.features()).all(|value| value.is_finite()));
        prop_assert_eq!(&data, &load(&config, 3).unwrap());
        let text = data.pipeline.as_ref().unwrap().to_json().unwrap();
        let pipeline = Pipeline::from_json(&text).unwrap();
        prop_assert_eq!(Some(&pipeline), data.pipeline.as_ref());
        prop_assert_eq!(pipeline.to_json().unwrap(), text);
        let header: Vec<&str> = HEADER.trim().split(',').rev().collect();
        for (place, row) in test.iter().enumerate() {
            let cells = cells(row);
            let cells: Vec<&str> = cells.iter().rev().map(String::as_str).collect();
            let applied = pipeline.apply(Some(&header), &cells).unwrap();
            let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&applied), bits(data.test.row(place)));
        }
    }

    /// Neither test rows nor labels change what is fitted.
    #[test]
    fn the_fit_knows_no_test_row_and_no_label(
        (train, test) in parts(),
        other in proptest::collection::vec(row(), 1..10),
        prepare in preparation(),
    ) {
        let fitted = |train: &[Row], test: &[Row]| {
            let folder = tempfile::tempdir().unwrap();
            load(&config(folder.path(), train, test, &prepare), 3).unwrap()
        };
        let data = fitted(&train, &test);
        prop_assert_eq!(&data.pipeline, &fitted(&train, &other).pipeline);
        let mut swapped = train.clone();
        for row in &mut swapped {
            row.6 = !row.6;
        }
        let swapped = fitted(&swapped, &test);
        prop_assert_eq!(&data.pipeline, &swapped.pipeline);
        prop_assert_eq!(data.train.features(), swapped.train.features());
    }

    /// A fit on the sums of owners is that of whoever has all rows, but for the resolution of quantiles.
    #[test]
    fn owners_fit_what_pooled_rows_fit((train, test) in parts(), prepare in preparation(), owners in 1_usize..5) {
        let folder = tempfile::tempdir().unwrap();
        let raw = open(&config(folder.path(), &train, &test, &prepare), 3).unwrap();
        let pooled = raw.prepared(&raw.fit().unwrap()).unwrap();
        // An owner does not name a category of which it has too few rows, though all together may have enough.
        let grouped = prepare["columns"]["code"].get("at_least").is_some();
        let owners = if grouped { 1 } else { owners };
        let summed = Pipeline::fit(raw.plan().unwrap(), &surveyed(&raw, owners)).unwrap();
        let summed = raw.prepared(&summed).unwrap();
        prop_assert_eq!(pooled.train.shape(), summed.train.shape());
        prop_assert_eq!(&pooled.columns, &summed.columns);
        // Components of equal or vanishing variance may turn, and a value on several knots of a quantile table may fall to
        // either end of them.
        let steady = prepare["columns"]["wide"]["scaling"] != "quantile";
        if prepare.get("pca").is_none() && steady {
            for (a, b) in pooled.train.features().iter().zip(summed.train.features()) {
                prop_assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{} {} {} {:?}", a, b, prepare, pooled.columns);
            }
        }
    }
}
