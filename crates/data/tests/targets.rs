//! Tables with a number to be predicted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use cloister_data::{ColumnRef, DataConfig, PartitionConfig, Pipeline, inspect, load, open};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::json;
use support::prepare::Case;

fn case(train: &str, test: &str) -> Case {
    let mut case = Case::new(train, test, json!({}));
    case.config.label = None;
    case.config.target = Some(ColumnRef::Name("y".to_owned()));
    case
}

/// Mean 3 and variance 8/3 of the training rows, whatever the test rows hold; a row without a number is in neither part.
#[test]
fn targets_are_standardised_by_training_rows() {
    let case = case("x,y\n1,1\n2,?\n3,3\n5,5\n", "x,y\n9,101\n8,\n");
    let data = case.load().unwrap();
    let train = data.train.target().unwrap();
    assert_eq!(train.scale.mean, 3.0);
    assert!((train.scale.deviation - (8.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(data.train.features(), [1.0, 3.0, 5.0]);
    assert_eq!(
        (data.train.labels(), data.train.classes()),
        (&[0, 0, 0][..], &["y".to_owned()][..])
    );
    let natural = |part: &cloister_data::Dataset| -> Vec<f64> {
        let target = part.target().unwrap();
        target
            .values
            .iter()
            .map(|z| target.scale.natural(*z))
            .collect()
    };
    let close = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-4),
            "{found:?}"
        );
    };
    close(natural(&data.train), &[1.0, 3.0, 5.0]);
    close(natural(&data.test), &[101.0]);
    assert_eq!(data.test.target().unwrap().scale, train.scale);
    assert!(
        data.notes
            .contains(&"2 rows have no y and are left out".to_owned()),
        "{:?}",
        data.notes
    );
    let subset = data.train.subset(&[2, 0]).unwrap();
    close(natural(&subset), &[5.0, 1.0]);
}

/// The scale is part of the pipeline, survives its file, and asks new records for no target.
#[test]
fn a_pipeline_keeps_the_scale() {
    let case = case("x,y\n1,10\n2,20\n4,60\n", "x,y\n1,10\n");
    let raw = open(&case.config, 1).unwrap();
    let question = raw.plan().unwrap().question();
    let names: Vec<&str> = question.columns.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["x", "y"]);
    let pipeline = raw.fit().unwrap();
    let read = Pipeline::from_json(&pipeline.to_json().unwrap()).unwrap();
    assert_eq!(read.target(), pipeline.target());
    assert_eq!(read.target().unwrap().mean, 30.0);
    assert_eq!(read.apply(Some(&["x"]), &["3"]).unwrap(), [3.0]);
    assert_eq!(
        raw.prepared(&read).unwrap(),
        raw.prepared(&pipeline).unwrap()
    );

    // A pipeline of classes is none for numbers.
    let mut other = case.config.clone();
    (other.target, other.label) = (None, Some(ColumnRef::Name("y".to_owned())));
    let of_classes = open(&other, 1).unwrap().fit().unwrap();
    assert!(raw.prepared(&of_classes).is_err());
}

/// All numbers alike have a deviation of 1, not 0.
#[test]
fn a_constant_target_is_no_division_by_zero() {
    let data = case("x,y\n1,7\n2,7\n", "x,y\n1,9\n").load().unwrap();
    assert_eq!(data.train.target().unwrap().values, [0.0, 0.0]);
    assert_eq!(data.test.target().unwrap().values, [2.0]);
}

#[test]
fn what_needs_classes_or_is_no_number_is_refused() {
    let with = |change: &dyn Fn(&mut DataConfig)| {
        let mut case = case("x,y,z\n1,1,a\n2,2,b\n", "x,y,z\n1,1,a\n");
        change(&mut case.config);
        case.error()
    };
    let about_classes = "is about classes, but data.target is a number; give one of the two";
    for (change, expected) in [
        (
            (&|config: &mut DataConfig| config.label = Some(ColumnRef::Index(0)))
                as &dyn Fn(&mut DataConfig),
            format!("data.label: {about_classes}"),
        ),
        (
            &|config| config.positive = vec!["1".to_owned()],
            format!("data.positive: {about_classes}"),
        ),
        (
            &|config| config.drop = vec![ColumnRef::Name("y".to_owned())],
            "data.drop: column 1 ('y') is the number to be predicted as well".to_owned(),
        ),
        (
            &|config| config.target = Some(ColumnRef::Name("w".to_owned())),
            "data.target: no column is named 'w'; the columns are x, y, z".to_owned(),
        ),
        (
            &|config| config.target = Some(ColumnRef::Name("z".to_owned())),
            "train.csv:2: column 2 ('z'): 'a' is no number, but data.target is to be one".to_owned(),
        ),
        (
            &|config| {
                config.partition = PartitionConfig::Dirichlet {
                    alpha: 1.0,
                    balanced: false,
                    minimum: 1,
                };
            },
            "data.partition.kind: 'dirichlet' deals rows by their classes, but data.target is a number; take iid, \
             quantity-skew or natural"
                .to_owned(),
        ),
        (
            &|config| {
                let coded = json!({ "columns": { "z": { "type": "category", "encoding": "target" } } });
                config.prepare = serde_json::from_value(coded).unwrap();
            },
            "data.prepare.columns.z.encoding: `target` codes by classes, but data.target is a number".to_owned(),
        ),
    ] {
        assert_eq!(with(change), expected);
    }
    assert_eq!(
        case("x,y\n1,\n", "x,y\n1,2\n").error(),
        "data.target: no row has a y"
    );
    let config = case("x,y\n1,1\n2,2\n", "x,y\n1,1\n").config;
    let error = inspect(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("data.target: an inspection looks for what tells classes apart"),
        "{error}"
    );
}

/// The diagnosis is no feature where something else is predicted, and rows are held out by owner.
#[test]
fn a_bundled_set_leaves_its_class_out() {
    let config = DataConfig {
        target: Some(ColumnRef::Name("thalach".to_owned())),
        ..DataConfig::bundled("heart-disease")
    };
    let data = load(&config, 1).unwrap();
    let names: Vec<&str> = data.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(
        names,
        [
            "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "exang", "oldpeak", "slope",
            "ca", "thal"
        ]
    );
    // 55 of the 920 patients have no measured rate.
    assert_eq!(data.train.len() + data.test.len(), 865);
    assert!(
        data.notes
            .iter()
            .any(|note| note.ends_with("are held out, stratified by owner")),
        "{:?}",
        data.notes
    );
    let scale = data.train.target().unwrap().scale;
    assert!((130.0..145.0).contains(&scale.mean) && (20.0..30.0).contains(&scale.deviation));
    let natural = PartitionConfig::Natural { minimum: 1 };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(
        natural
            .split(&data.train, None, &mut rng)
            .unwrap()
            .clients
            .len(),
        4
    );
}
