//! What `[data.prepare]` refuses, images, and pipelines as files and over single records.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use cloister_data::statistics::TableStatistics;
use cloister_data::{DataConfig, Pipeline, PrepareConfig, load, open};
use serde_json::{Value, json};
use support::prepare::{Case, column};

#[test]
fn settings_that_cannot_be_meant_are_refused_by_key() {
    let cases = [
        (
            json!({ "all": { "range": [3, 1] } }),
            "data.prepare.all.range: [3, 1] is not rising",
        ),
        (
            column(json!({ "outside": "clip" })),
            "data.prepare.columns.x.outside: needs `range` beside it",
        ),
        (
            column(json!({ "type": "text", "order": ["a"] })),
            "data.prepare.columns.x.order: concerns columns of type ordinal, but this one is of type text",
        ),
        (
            column(json!({ "type": "category", "missing": "mean" })),
            "data.prepare.columns.x.missing: does not fit a column of type category",
        ),
        (
            column(json!({ "type": "ordinal", "order": ["a", "b", "a"] })),
            "data.prepare.columns.x.order: 'a' is there twice",
        ),
        (
            column(json!({ "type": "time", "formats": ["%H:%M"] })),
            "data.prepare.columns.x.formats: '%H:%M' does not tell year, month and day",
        ),
        (
            column(json!({ "buckets": { "edges": [1] }, "scaling": "robust" })),
            "data.prepare.columns.x.buckets: stands instead of `scaling`; give one of them",
        ),
        (
            column(
                json!({ "type": "ordinal", "order": ["a", "b"], "missing": { "constant": "c" } }),
            ),
            "data.prepare.columns.x.missing: 'c' is not in `order`",
        ),
        (
            column(json!({ "transform": "log1p", "missing": { "constant": -1 } })),
            "data.prepare.columns.x.missing: -1 has no logarithm of 1 + x",
        ),
        (
            column(json!({ "encoding": "ordinal", "unseen": "other" })),
            "data.prepare.columns.x.encoding: has no place for a further category, which `unseen` or `missing` asks for",
        ),
        (
            json!({ "columns": { "a b": { "encoding": "hashing", "most": 3 } } }),
            "data.prepare.columns.\"a b\".encoding: hashing lists no categories: `at_least`, `most` and `unseen` have no effect",
        ),
        (
            json!({ "pca": {} }),
            "data.prepare.pca: give either `components` or `variance`",
        ),
        (
            json!({ "fourier": { "features": 0 } }),
            "data.prepare.fourier.features: 0 is not in 1 to 65536",
        ),
        (
            json!({ "flow": {} }),
            "data.prepare.flow: give `bytes` or `packets`",
        ),
        (
            json!({ "class_weights": { "a": -1.0 } }),
            "data.prepare.class_weights: the weight -1 of 'a' is not above 0",
        ),
        (
            json!({ "images": { "augment": { "rotate": 200.0 } } }),
            "data.prepare.images.augment.rotate: 200 is not in 0 to 180 degrees",
        ),
    ];
    for (prepare, expected) in cases {
        let config = DataConfig {
            prepare: serde_json::from_value(prepare).unwrap(),
            ..DataConfig::bundled("wdbc")
        };
        assert_eq!(config.check().unwrap_err().to_string(), expected);
    }
}

#[test]
fn columns_that_are_not_there_or_no_features_are_named() {
    let table = "x,class\n1,0\n2,1\n";
    let cases = [
        (
            json!({ "columns": { "y": {} } }),
            "data.prepare.columns.y: there is no such column; give a name of the header, or an index below 2",
        ),
        (
            json!({ "columns": { "class": { "unit": "m" } } }),
            "data.prepare.columns.class: is no feature: it is the class, the owner or left out",
        ),
        (
            json!({ "columns": { "x": {}, "0": {} } }),
            "data.prepare.columns.x: is the same column as '0'",
        ),
        (
            json!({ "columns": { "x": { "most": 3 } } }),
            "data.prepare.columns.x.most: concerns columns of type category, but this one is of type number",
        ),
        (
            json!({ "images": {} }),
            "data.prepare.images: concerns images, but this is a table",
        ),
    ];
    for (prepare, expected) in cases {
        assert_eq!(Case::new(table, table, prepare).error(), expected);
    }
    let config = DataConfig {
        prepare: serde_json::from_value(
            json!({ "duplicates": "drop", "pca": { "components": 1 } }),
        )
        .unwrap(),
        ..DataConfig::bundled("digits")
    };
    assert_eq!(
        load(&config, 1).unwrap_err().to_string(),
        "data.prepare.pca: concerns tables, but these are images"
    );
}

#[test]
fn images_are_reshaped_and_described() {
    let of = |images: Value| {
        let prepare = json!({ "images": images });
        let config = DataConfig {
            prepare: serde_json::from_value(prepare).unwrap(),
            ..DataConfig::bundled("digits")
        };
        load(&config, 1).unwrap()
    };
    let plain = load(&DataConfig::bundled("digits"), 1).unwrap();
    let small = of(json!({ "resize": { "height": 4, "width": 4 } }));
    assert_eq!(small.train.shape().to_string(), "1x4x4");
    let mean = |row: &[f32]| row.iter().sum::<f32>() / row.len() as f32;
    assert!((mean(small.train.row(5)) - mean(plain.train.row(5))).abs() < 1e-6);
    let hog = of(json!({ "hog": { "cell": 4, "block": 2 } }));
    assert_eq!(hog.train.shape().to_string(), "1x1x36");
    let cropped = of(json!({ "crop": [0, 2, 8, 4] }));
    assert_eq!(cropped.train.row(0)[..4], plain.train.row(0)[2..6]);
    // A single image, with the bits of training.
    let pipeline = hog.pipeline.unwrap();
    let stored: Vec<f32> = plain.test.row(3).iter().map(|value| value * 16.0).collect();
    assert_eq!(pipeline.apply_image(&stored).unwrap(), hog.test.row(3));
    let again = Pipeline::from_json(&pipeline.to_json().unwrap()).unwrap();
    assert_eq!(again, pipeline);
}

#[test]
fn saved_pipelines_are_checked() {
    let pipeline = open(&DataConfig::bundled("heart-disease"), 1)
        .unwrap()
        .fit()
        .unwrap();
    let text = pipeline.to_json().unwrap();
    assert_eq!(Pipeline::from_json(&text).unwrap(), pipeline);
    let error = |text: &str| Pipeline::from_json(text).unwrap_err().to_string();
    assert_eq!(
        error(&text.replacen("\"version\": 1", "\"version\": 2", 1)),
        "preparation: version 2 of the format is not known; this is version 1"
    );
    assert_eq!(
        error(&text.replacen("cloister-pipeline", "tea", 1)),
        "preparation: the format is 'tea', not 'cloister-pipeline'"
    );
    let changed = text.replacen("\"age\"", "\"agf\"", 1);
    assert!(error(&changed).starts_with("preparation: the file was changed: its sha256 is "));
    assert!(error("{").starts_with("preparation: not a pipeline's file: EOF"));
}

#[test]
fn records_are_matched_by_name_or_by_place() {
    let table = "a,b,class\n1,u,0\n3,v,1\n";
    let prepare = json!({ "columns": { "a": { "unit": "years" } } });
    let case = Case::new(table, table, prepare);
    let data = case.load().unwrap();
    let pipeline = data.pipeline.as_ref().unwrap();
    let wanted = data.test.row(1);
    let apply = |header: Option<&[&str]>, cells: &[&str]| pipeline.apply(header, cells);
    assert_eq!(
        apply(Some(&["b", "z", "a"]), &["v", "?", "3"]).unwrap(),
        wanted
    );
    assert_eq!(apply(None, &["3", "v", "ignored"]).unwrap(), wanted);
    assert_eq!(apply(None, &["3", "v"]).unwrap(), wanted);
    let binding = pipeline.bind(Some(&["b", "z", "a"]), 3).unwrap();
    assert_eq!(binding.passed_over(), ["z"]);
    let error =
        |header: Option<&[&str]>, cells: &[&str]| apply(header, cells).unwrap_err().to_string();
    assert_eq!(
        error(Some(&["b", "age"]), &["v", "3"]),
        "the records do not match the pipeline: no column 'a' (number, in years); the records have b, age"
    );
    assert_eq!(
        error(Some(&["a", "a", "b"]), &["1", "2", "v"]),
        "the records do not match the pipeline: two columns are named 'a'"
    );
    assert_eq!(
        error(None, &["1"]),
        "the records do not match the pipeline: 1 cells without names; the training table had 3 columns, of which 2 are read"
    );
    assert_eq!(
        error(None, &["three", "v"]),
        "column 'a': 'three' is not a number (a column of codes can be declared in data.categorical)"
    );
    assert_eq!(
        error(None, &["1e300", "v"]),
        "column 'a': '1e300' does not fit a 32-bit fraction"
    );
}

#[test]
fn pipelines_of_other_data_are_refused() {
    let table = "a,b,class\n1,2,0\n3,4,1\n";
    let case = Case::new(table, table, json!({}));
    let other = Case::new("a,c,class\n1,2,0\n3,4,1\n", "a,c,class\n1,2,0\n", json!({}));
    let pipeline = open(&other.config, 1).unwrap().fit().unwrap();
    let raw = open(&case.config, 1).unwrap();
    assert_eq!(
        raw.prepared(&pipeline).unwrap_err().to_string(),
        "preparation: made for a table with the column 'c'"
    );
    let plan = raw.plan().unwrap();
    assert_eq!(
        Pipeline::fit(plan, &TableStatistics::default())
            .unwrap_err()
            .to_string(),
        "preparation: statistics of 0 columns for a plan of 2"
    );
}

#[test]
fn what_is_left_out_of_a_config_stays_left_out() {
    let text = serde_json::to_string(&DataConfig::bundled("wdbc")).unwrap();
    assert!(!text.contains("prepare"), "{text}");
    let prepare: PrepareConfig =
        serde_json::from_value(json!({ "columns": { "x": { "missing": { "constant": 1.5 } } } }))
            .unwrap();
    assert_eq!(
        serde_json::to_value(&prepare).unwrap(),
        json!({ "columns": { "x": { "missing": { "constant": 1.5 } } } })
    );
}
