//! Each option of `[data.prepare]`, over small tables.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use cloister_data::{Pipeline, open};
use serde_json::json;
use support::prepare::{Case, case_of_column, flat, of_column, rows};

#[test]
fn missing_numbers_are_filled_as_they_should_be() {
    let train = ["1", "2", "", "9"];
    for (fill, expected) in [
        (json!("mean"), 4.0),
        (json!("median"), 2.0),
        (json!({ "constant": -7 }), -7.0),
    ] {
        let settings = json!({ "type": "number", "missing": fill });
        let (found, test) = of_column(&train, &["", "5"], settings);
        assert_eq!(flat(&found), [1.0, 2.0, expected, 9.0]);
        assert_eq!(flat(&test), [expected, 5.0]);
    }
    let settings = json!({ "missing": "median", "indicator": true });
    let case = case_of_column(&train, &[""], settings);
    let data = case.load().unwrap();
    assert_eq!(rows(&data).0[2], [2.0, 1.0]);
    assert_eq!(rows(&data).1, [[2.0, 1.0]]);
    let names: Vec<&str> = data.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["x", "x is missing"]);
}

#[test]
fn rows_are_dropped_in_training_only() {
    let settings = json!({ "missing": "drop-row", "range": [0, 10], "outside": "drop-row" });
    let case = case_of_column(&["1", "", "3", "99", "5"], &["", "99", "7"], settings);
    let data = case.load().unwrap();
    let (train, test) = rows(&data);
    assert_eq!(flat(&train), [1.0, 3.0, 5.0]);
    assert_eq!(data.train.labels(), [0, 0, 0]);
    assert_eq!(flat(&test), [3.0, 3.0, 7.0]);
    assert!(
        data.notes
            .contains(&"2 of 5 training rows have values that data.prepare drops".to_owned())
    );
    let settings = json!({ "missing": "drop-row", "missing_values": ["1", "2"] });
    assert_eq!(
        case_of_column(&["1", "2"], &["3"], settings).error(),
        "data.prepare: leaves none of 2 training rows"
    );
}

#[test]
fn ranges_and_quantiles_clip() {
    let settings =
        |outside| json!({ "range": [0, 10], "outside": outside, "missing": { "constant": 5 } });
    let train = ["1", "11", "-3"];
    assert_eq!(
        flat(&of_column(&train, &["12"], settings("clip")).0),
        [1.0, 10.0, 0.0]
    );
    assert_eq!(
        flat(&of_column(&train, &["12"], settings("clip")).1),
        [10.0]
    );
    assert_eq!(
        flat(&of_column(&train, &["12"], settings("missing")).0),
        [1.0, 5.0, 5.0]
    );
    let cells: Vec<String> = (1..=100).map(|value| value.to_string()).collect();
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    let (found, test) = of_column(
        &cells,
        &["-50", "50", "5000"],
        json!({ "clip_quantiles": [0.05, 0.95] }),
    );
    assert_eq!(flat(&test), [5.0, 50.0, 95.0]);
    assert_eq!((found[0][0], found[99][0]), (5.0, 95.0));
}

#[test]
fn transforms_and_scales() {
    let near = |found: &[f32], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{found} {expected}"
            );
        }
    };
    let train = ["0", "1", "2", "3", "100"];
    let of = |settings| flat(&of_column(&train, &["1"], settings).0);
    near(
        &of(json!({ "transform": "log1p" }))[..2],
        &[0.0, 2.0_f64.ln()],
    );
    let (_, test) = of_column(&train, &["-1"], json!({ "transform": "signed-log" }));
    near(&flat(&test), &[-(2.0_f64.ln())]);
    near(
        &of(json!({ "scaling": "robust" })),
        &[-1.0, -0.5, 0.0, 0.5, 49.0],
    );
    near(
        &of(json!({ "scaling": "min-max" })),
        &[0.0, 0.01, 0.02, 0.03, 1.0],
    );
    let quantiles = of(json!({ "scaling": "quantile" }));
    assert!(quantiles.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(quantiles.iter().all(|value| (0.0..=1.0).contains(value)));
    // Half of the values are one: the deviation is the scale.
    let (found, _) = of_column(
        &["5", "5", "5", "9"],
        &["5"],
        json!({ "scaling": "robust" }),
    );
    near(&flat(&found), &[0.0, 0.0, 0.0, 4.0 / 3.0_f64.sqrt()]);
    assert_eq!(
        case_of_column(&["0", "-1"], &["1"], json!({ "transform": "log1p" })).error(),
        "train.csv:3: column 0 ('x'): -1 has no logarithm of 1 + x"
    );
}

#[test]
fn buckets_are_one_hot() {
    let train = ["1", "2", "3", "4"];
    let (_, test) = of_column(
        &train,
        &["0", "2", "2.5", "9"],
        json!({ "buckets": { "edges": [2, 4] } }),
    );
    assert_eq!(
        test,
        [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0]
        ]
    );
    let (found, _) = of_column(&train, &["1"], json!({ "buckets": { "quantiles": 2 } }));
    assert_eq!(found, [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]);
}

#[test]
fn categories_are_cleaned_and_grouped() {
    let train = ["New  York", "new york", "Rome", "rome", "ROME", "Oslo"];
    let clean = json!({ "type": "category", "case": "lower", "trim": true, "at_least": 2 });
    let case = case_of_column(&train, &["Paris", "rome", ""], clean);
    let data = case.load().unwrap();
    // new york, rome, other.
    let (found, test) = rows(&data);
    assert_eq!(found[0], [1.0, 0.0, 0.0]);
    assert_eq!(found[1], [1.0, 0.0, 0.0]);
    assert_eq!(found[5], [0.0, 0.0, 1.0]);
    assert_eq!(test, [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]);
    assert!(data.columns[0].categorical);

    let zeros = json!({ "case": "upper", "most": 1, "unseen": "zeros", "missing": "category" });
    let (found, test) = of_column(&train, &["Paris", "rome", ""], zeros);
    assert_eq!(
        (&found[2][..], &found[5][..]),
        (&[1.0, 0.0][..], &[0.0, 0.0][..])
    );
    assert_eq!(test, [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);

    let frequent = json!({ "missing": "most-frequent", "indicator": true });
    let (found, _) = of_column(&["a", "b", "b", ""], &["a"], frequent);
    assert_eq!(found[3], [0.0, 1.0, 1.0]);
    // Of equally frequent ones the first.
    let (found, _) = of_column(
        &["b", "a", ""],
        &["a"],
        json!({ "missing": "most-frequent" }),
    );
    assert_eq!(found[2], [1.0, 0.0]);
    let (found, _) = of_column(
        &["b", "a", ""],
        &["a"],
        json!({ "missing": { "constant": "c" } }),
    );
    assert_eq!(found[2], [0.0, 0.0, 1.0]);
}

#[test]
fn categories_in_other_codes() {
    let train = ["a", "b", "c", "a"];
    let of = |settings| of_column(&train, &["c", "z", ""], settings);
    let (_, test) = of(json!({ "encoding": "ordinal" }));
    assert_eq!(flat(&test), [1.0, 0.0, 0.0]);
    let (found, test) = of(json!({ "encoding": "hashing", "width": 8 }));
    assert!(
        found
            .iter()
            .all(|row| row.len() == 8 && row.iter().sum::<f32>() == 1.0)
    );
    assert_eq!(found[0], found[3]);
    assert_eq!(
        (test[0].clone(), test[1].iter().sum::<f32>()),
        (found[2].clone(), 1.0)
    );
    assert_eq!(test[2], [0.0; 8]);
}

#[test]
fn target_codes_are_out_of_fold_and_refused_without_rows() {
    let cells: Vec<String> = (0..200).map(|row| format!("{}", row % 4)).collect();
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    let settings = json!({ "type": "category", "encoding": "target", "smoothing": 1e-9 });
    // The class is the parity of the row, so that of the code.
    let case = case_of_column(&cells, &["0", "1", "z"], settings.clone());
    let data = case.load().unwrap();
    let test = flat(&rows(&data).1);
    for (found, expected) in test.iter().zip([0.0, 1.0, 0.5]) {
        assert!((found - expected).abs() < 1e-6, "{test:?}");
    }
    assert!(
        data.notes
            .iter()
            .any(|note| note.contains("tells about labels")),
        "{:?}",
        data.notes
    );
    // A code of a single row says nothing about that row's class: it is in no other fold.
    let mut single = cells.clone();
    single[7] = "rare";
    let data = case_of_column(&single, &["rare"], settings).load().unwrap();
    let (found, test) = rows(&data);
    assert!((test[0][0] - 1.0).abs() < 1e-6);
    assert!((found[7][0] - 0.5).abs() < 0.05, "{}", found[7][0]);

    let raw = open(&case.config, 1).unwrap();
    let error = Pipeline::fit(raw.plan().unwrap(), &raw.statistics().unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("choose another encoding than `target`"),
        "{error}"
    );
}

#[test]
fn ordinals_and_booleans_are_numbers() {
    let settings = json!({ "type": "ordinal", "order": ["low", "mid", "high"], "case": "lower", "missing": { "constant": "mid" } });
    let (found, test) = of_column(&["Low", "HIGH", ""], &["mid"], settings.clone());
    assert_eq!(
        (flat(&found), flat(&test)),
        (vec![0.0, 2.0, 1.0], vec![1.0])
    );
    assert_eq!(
        case_of_column(&["low", "hgih"], &["mid"], settings).error(),
        "train.csv:3: column 0 ('x'): 'hgih' is not in the declared order (low, mid, high)"
    );
    let settings = json!({ "type": "boolean", "missing": "most-frequent" });
    let (found, _) = of_column(&["Yes", "no", "T", ""], &["0"], settings.clone());
    assert_eq!(flat(&found), [1.0, 0.0, 1.0, 1.0]);
    assert_eq!(
        case_of_column(&["yes", "maybe"], &["no"], settings).error(),
        "train.csv:3: column 0 ('x'): 'maybe' is neither yes nor no"
    );
    let settings = json!({ "type": "boolean", "yes": ["ja"], "no": ["nein"] });
    assert_eq!(
        flat(&of_column(&["ja", "NEIN"], &["ja"], settings).0),
        [1.0, 0.0]
    );
}

#[test]
fn times_become_parts() {
    let settings = json!({ "type": "time", "parts": ["weekday", "hour", "days-since", "year-cycle"], "since": "2024-01-01" });
    let train = ["2024-01-01 12:00", "2024-01-02T06:00:00Z"];
    let case = case_of_column(&train, &["2024-01-03"], settings);
    let data = case.load().unwrap();
    let (found, test) = rows(&data);
    assert_eq!(found[0][..3], [0.0, 12.0, 0.5]);
    assert_eq!(found[1][..3], [1.0, 6.0, 1.25]);
    assert_eq!(test[0][..3], [2.0, 0.0, 2.0]);
    let names: Vec<&str> = data.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(
        names,
        [
            "x.weekday",
            "x.hour",
            "x.days-since",
            "x.year-sin",
            "x.year-cos"
        ]
    );
    let settings = json!({ "type": "time", "formats": ["%d/%m/%Y", "%m/%d/%Y"] });
    assert_eq!(
        case_of_column(&["31/01/2020", "01/02/2020"], &["1/1/2020"], settings).error(),
        "train.csv:3: column 0 ('x'): '01/02/2020' is one time as %d/%m/%Y and another as %m/%d/%Y: say which is meant by \
         `ambiguous`"
    );
}

#[test]
fn texts_are_hashed() {
    let settings = json!({ "type": "text", "width": 64, "case": "lower", "lengths": [1, 1] });
    let (found, test) = of_column(&["The fox", "a dog"], &["FOX, the!", ""], settings);
    assert_eq!(found[0], test[0]);
    assert_ne!(found[0], found[1]);
    let norm: f32 = found[0].iter().map(|value| value * value).sum();
    assert!((norm - 1.0).abs() < 1e-6);
    assert_eq!(test[1], [0.0; 64]);
}

#[test]
fn labels_and_identifiers_are_no_features() {
    let table = "id,x,y\n1,5,a\n2,6,b\n";
    let prepare =
        json!({ "columns": { "id": { "type": "identifier" }, "y": { "type": "label" } } });
    let mut case = Case::new(table, table, prepare);
    case.config.label = None;
    let data = case.load().unwrap();
    assert_eq!(data.train.classes(), ["a", "b"]);
    assert_eq!(data.train.features(), [5.0, 6.0]);
    assert!(
        data.notes
            .contains(&"column 0 ('id') is an identifier and left out".to_owned())
    );
    case.config.label = Some(cloister_data::ColumnRef::Name("x".to_owned()));
    assert_eq!(
        case.error(),
        "data.label: is column 1 ('x'), but column 2 ('y') is of type label"
    );
}

#[test]
fn repeated_rows_go_within_owner_and_class() {
    let table = "x,site,class\n1,a,0\n1,a,0\n1,b,0\n1,a,1\n2,a,1\n2,a,1\n";
    let mut case = Case::new(
        table,
        "x,site,class\n1,a,0\n1,a,0\n",
        json!({ "duplicates": "drop" }),
    );
    case.config.site_column = Some(cloister_data::ColumnRef::Name("site".to_owned()));
    let data = case.load().unwrap();
    assert_eq!(data.train.features(), [1.0, 1.0, 1.0, 2.0]);
    assert_eq!(data.train.labels(), [0, 0, 1, 1]);
    assert_eq!(data.test.len(), 2);
    assert!(
        data.notes
            .contains(&"2 of 6 training rows repeat another one and are dropped".to_owned())
    );
}

#[test]
fn resampling_evens_out_the_classes_of_each_owner() {
    let mut table = String::from("x,site,class\n");
    for row in 0..40 {
        table += &format!("{row},{},{}\n", row % 2, u8::from(row % 8 < 2));
    }
    for (how, rows) in [("over", 60), ("under", 20)] {
        let mut case = Case::new(&table, &table, json!({ "resample": how }));
        case.config.site_column = Some(cloister_data::ColumnRef::Index(1));
        let data = case.load().unwrap();
        assert_eq!((data.train.len(), data.test.len()), (rows, 40));
        let sites = data.train.sites().unwrap();
        let mut counts = [[0; 2]; 2];
        for (site, label) in sites.of_row.iter().zip(data.train.labels()) {
            counts[*site as usize][*label as usize] += 1;
        }
        assert_eq!(counts, [[rows / 4; 2]; 2], "{how}");
        assert_eq!(data, case.load().unwrap());
    }
}

#[test]
fn class_weights_balance_or_are_given() {
    let table = "x,class\n1,a\n2,a\n3,a\n4,b\n";
    let weights = |prepare| Case::new(table, table, prepare).load().unwrap();
    let balanced = weights(json!({ "class_weights": "balanced" }));
    assert_eq!(balanced.train.class_weights().unwrap(), [4.0 / 6.0, 2.0]);
    assert_eq!(balanced.test.class_weights(), None);
    let given = weights(json!({ "class_weights": { "b": 3.0 } }));
    assert_eq!(given.train.class_weights().unwrap(), [1.0, 3.0]);
    assert_eq!(
        given.train.subset(&[3]).unwrap().class_weights().unwrap(),
        [1.0, 3.0]
    );
    assert_eq!(
        Case::new(table, table, json!({ "class_weights": { "c": 3.0 } })).error(),
        "data.prepare.class_weights: there is no class 'c'; the classes are a, b"
    );
}

#[test]
fn flow_figures_of_network_records() {
    let table = "duration,src_bytes,dst_bytes,packets,class\n2,100,300,4,0\n0,10,0,1,1\n";
    let prepare = json!({ "flow": {
        "bytes": ["src_bytes", "dst_bytes"], "packets": ["packets"], "duration": "duration", "transform": "none" },
        "all": { "missing": { "constant": -1 } } });
    let data = Case::new(table, table, prepare).load().unwrap();
    let names: Vec<&str> = data
        .columns
        .iter()
        .skip(4)
        .map(|column| &*column.name)
        .collect();
    assert_eq!(
        names,
        [
            "flow.bytes",
            "flow.bytes-forward",
            "flow.bytes-per-second",
            "flow.packets-per-second",
            "flow.bytes-per-packet"
        ]
    );
    assert_eq!(data.train.row(0)[4..], [400.0, 0.25, 200.0, 2.0, 100.0]);
    // Nothing took no time.
    assert_eq!(data.train.row(1)[4..], [10.0, 1.0, -1.0, -1.0, 10.0]);
    assert_eq!(
        Case::new(table, table, json!({ "flow": { "bytes": ["class"] } })).error(),
        "data.prepare.flow.bytes: column 4 ('class') is no feature of type number"
    );
}

#[test]
fn components_replace_the_numbers() {
    let mut table = String::from("a,b,c,code,class\n");
    for row in 0..50 {
        let (a, noise) = (row % 10, (row * 7) % 5);
        table += &format!(
            "{a},{},{noise},{},{}\n",
            3 * a + 1,
            ["u", "v"][row % 2],
            row % 2
        );
    }
    let mut case = Case::new(&table, &table, json!({ "pca": { "components": 2 } }));
    case.config.scaling = cloister_data::Scaling::Standard;
    let data = case.load().unwrap();
    assert_eq!(data.train.shape().to_string(), "1x1x4");
    let last = data.columns.last().unwrap();
    assert_eq!((&*last.name, last.features.clone()), ("pca", 2..4));
    // a and b are one line: two components explain all, and are not correlated.
    let note = "principal components stand for 3 numbers and explain 100.0 % of their variance";
    assert!(data.notes.contains(&note.to_owned()), "{:?}", data.notes);
    let product: f32 = (0..50)
        .map(|row| data.train.row(row)[2] * data.train.row(row)[3])
        .sum();
    assert!(product.abs() < 1e-3, "{product}");
    let variance: f32 = (0..50)
        .map(|row| data.train.row(row)[2..].iter().map(|x| x * x).sum::<f32>())
        .sum();
    assert!((variance / 50.0 - 3.0).abs() < 1e-3, "{variance}");

    case.config.prepare = serde_json::from_value(json!({ "pca": { "components": 4 } })).unwrap();
    assert_eq!(case.error(), "data.prepare.pca.components: 4 of 3 numbers");
    case.config.prepare = serde_json::from_value(
        json!({ "pca": { "variance": 0.9 }, "fourier": { "features": 16, "seed": 3 } }),
    )
    .unwrap();
    let data = case.load().unwrap();
    assert_eq!(data.train.shape().to_string(), "1x1x18");
    let bound = (2.0_f32 / 16.0).sqrt() + 1e-6;
    assert!(
        data.train.row(0)[2..]
            .iter()
            .all(|value| value.abs() <= bound)
    );
}
