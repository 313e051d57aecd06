//! `cloister aggregate` and `cloister bench aggregate`.

use std::fs;

use serde_json::Value;

use crate::{done, fails, inside, run};

/// A NumPy file as `numpy.save` writes it.
fn array(descr: &str, shape: &str, values: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(values);
    bytes
}

fn singles(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Seven rows of three columns, the last two far off.
const ROWS: [f32; 21] = [
    1.0, 2.0, 3.0, 1.5, 2.5, 2.0, 0.5, 2.0, 3.5, 1.0, 3.0, 2.5, 1.25, 2.25, 3.0, 90.0, -90.0, 90.0,
    91.0, -90.0, 90.0,
];

struct Files {
    _folder: tempfile::TempDir,
    input: String,
    out: String,
    other: String,
}

impl Files {
    fn new(input: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self {
            input: inside(&folder, "in.npy"),
            out: inside(&folder, "out.npy"),
            other: inside(&folder, "other.npy"),
            _folder: folder,
        };
        fs::write(&files.input, input).unwrap();
        files
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["aggregate", &self.input, "--out", &self.out], more].concat()
    }

    /// The values of the result, after its header of 128 bytes.
    fn result(&self) -> Vec<f32> {
        let bytes = fs::read(&self.out).unwrap();
        assert!(bytes[..128].starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4'"));
        let (values, _) = bytes[128..].as_chunks();
        values
            .iter()
            .map(|&value| f32::from_le_bytes(value))
            .collect()
    }
}

#[test]
fn a_matrix_becomes_a_vector() {
    let files = Files::new(&array("<f4", "(7, 3)", singles(&ROWS)));
    let said = run(&files.arguments(&["--rule", "median", "--byzantine", "2"]));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stderr, format!("wrote {}\n", files.out));
    assert!(
        said.stdout.starts_with(
            "median of 7 rows x 3 columns, byzantine = 2: 7 kept\nscore: distance to the result\n"
        ),
        "{}",
        said.stdout
    );
    assert_eq!(files.result(), [1.25, 2.0, 3.0]);

    done(&files.arguments(&["--rule", "trimmed-mean", "--trim", "3"]));
    assert_eq!(files.result(), [1.25, 2.0, 3.0]);
}

#[test]
fn json_names_the_rows_that_were_kept() {
    let files = Files::new(&array("<f4", "(7, 3)", singles(&ROWS)));
    let arguments = [
        "--rule",
        "multi-krum",
        "--byzantine",
        "2",
        "--selected",
        "1",
        "--json",
    ];
    let document: Value = serde_json::from_str(&done(&files.arguments(&arguments))).unwrap();
    assert_eq!(document["rule"], "multi-krum");
    assert_eq!((&document["n"], &document["d"]), (&7.into(), &3.into()));
    let selected = document["selected"].as_array().unwrap();
    assert_eq!(selected.len(), 1);
    let chosen = selected[0].as_u64().unwrap() as usize;
    assert!(chosen < 5);
    for (at, row) in document["rows"].as_array().unwrap().iter().enumerate() {
        assert_eq!(row["kept"], at == chosen);
        assert_eq!(
            row["weight"].as_f64().unwrap_or(0.0),
            f64::from(u8::from(at == chosen))
        );
        assert!(row["score"].as_f64().unwrap() > 0.0);
    }
    // One row: bit for bit.
    assert_eq!(files.result(), ROWS[3 * chosen..3 * chosen + 3]);
}

#[test]
fn weights_trusted_rows_and_seeds_come_from_outside() {
    let rows = [1.0, 0.0, 0.0, 1.0, 4.0, 4.0];
    let files = Files::new(&array("<f8", "(3, 2)", doubles(&rows)));
    fs::write(
        &files.other,
        array(
            "<i8",
            "(3,)",
            [1_i64, 1, 2].iter().flat_map(|v| v.to_le_bytes()),
        ),
    )
    .unwrap();
    done(&files.arguments(&["--rule", "mean", "--weights", &files.other]));
    let expected = array("<f8", "(2,)", doubles(&[2.25, 2.25]));
    assert_eq!(fs::read(&files.out).unwrap(), expected);

    fs::write(&files.other, array("<f8", "(2,)", doubles(&[2.0, 0.0]))).unwrap();
    done(&files.arguments(&["--rule", "fltrust", "--trusted", &files.other]));
    let bytes = fs::read(&files.out).unwrap();
    let first = f64::from_le_bytes(bytes[128..136].try_into().unwrap());
    // Row 0 has cosine 1 and becomes (2, 0), row 1 has 0, row 2 has 1/sqrt 2 and becomes (sqrt 2, sqrt 2).
    let expected = (2.0 + 1.0) / (1.0 + 0.5_f64.sqrt());
    assert!((first - expected).abs() < 1e-12, "{first} {expected}");

    let noisy = |seed| {
        done(&files.arguments(&["--rule", "norm-clipping", "--noise", "0.1", "--seed", seed]));
        fs::read(&files.out).unwrap()
    };
    assert_eq!(noisy("7"), noisy("7"));
    assert_ne!(noisy("7"), noisy("8"));
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let good = array("<f4", "(7, 3)", singles(&ROWS));
    let files = Files::new(&good);
    fails(
        &files.arguments(&["--rule", "krum", "--byzantine", "3"]),
        2,
        "error: krum with byzantine = 3 needs 9 rows (2f + 3), got 7",
    );
    fails(
        &files.arguments(&["--rule", "trimmed-mean", "--byzantine", "2", "--trim", "1"]),
        2,
        "error: trim is 1, must be at least byzantine = 2",
    );
    fails(
        &files.arguments(&["--rule", "fltrust"]),
        2,
        "error: fltrust needs a trusted update of the server's own",
    );
    assert_eq!(run(&files.arguments(&["--rule", "best"])).code, Some(2));
    assert_eq!(
        run(&files.arguments(&["--rule", "median", "--before", "nn"])).code,
        Some(2)
    );

    let mut broken = ROWS;
    broken[3 * 4 + 1] = f32::NAN;
    let cases = [
        (
            array("<f4", "(7, 3)", singles(&broken)),
            "row 4 has NaN at column 1",
        ),
        (
            array("<f4", "(21,)", singles(&ROWS)),
            " has the shape [21], expected two dimensions: one row a vector",
        ),
        (
            array("<i4", "(1, 1)", [0; 4]),
            "byte 10: array of type '<i4', expected fractions: '<f4' or '<f8'",
        ),
        (b"text".to_vec(), "byte 0: not a NumPy array"),
    ];
    for (bytes, words) in cases {
        let separator = if words.starts_with(' ') { "" } else { ": " };
        fs::write(&files.input, bytes).unwrap();
        fails(
            &files.arguments(&["--rule", "median"]),
            1,
            &format!("error: {}{separator}{words}", files.input),
        );
    }
    fs::write(&files.input, good).unwrap();
    fs::write(
        &files.other,
        array("<f8", "(3,)", doubles(&[1.0, 2.0, 3.0])),
    )
    .unwrap();
    fails(
        &files.arguments(&["--rule", "fltrust", "--trusted", &files.other]),
        1,
        &format!(
            "error: {} and {} are not of the same type; save both as '<f4' or both as '<f8'",
            files.other, files.input
        ),
    );
    fails(
        &files.arguments(&["--rule", "mean", "--weights", &files.other]),
        1,
        &format!(
            "error: {} has the shape [3], expected [7]: one weight a row",
            files.other
        ),
    );
    let said = run(&["aggregate", "no.npy", "--out", &files.out, "--rule", "mean"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.starts_with("error: cannot read no.npy: "),
        "{}",
        said.stderr
    );
    assert!(!fs::exists(&files.out).unwrap());
}
