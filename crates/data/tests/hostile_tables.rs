//! Tables as they come from the world: each treatment is stated, each refusal names the place, and nothing panics. Every
//! table is loaded, inspected, and inspected in one pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails as the test"
)]

mod support;

use std::path::Path;

use cloister_data::{
    DataConfig, Holds, InspectOptions, Inspection, PartitionConfig, Paths, Rule, TrainTest,
    inspect, inspect_with, load,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::{many, write};

const ONE_PASS: InspectOptions = InspectOptions {
    stream_from: 0,
    threads: 2,
};

/// What becomes of a file: what is loaded, and what is said of it.
struct Outcome {
    loaded: Result<TrainTest, String>,
    inspected: Result<Inspection, String>,
}

/// Loads and inspects; the two ways to inspect must agree on what matters.
fn outcome(config: &DataConfig, folder: &Path) -> Outcome {
    let plain = |error: cloister_data::DataError| {
        error
            .to_string()
            .replace(&folder.display().to_string(), "{}")
    };
    let inspected = inspect(config).map_err(plain);
    let once = inspect_with(config, &ONE_PASS).map_err(plain);
    assert_eq!(inspected.is_ok(), once.is_ok(), "{:?}", once.as_ref().err());
    match (&inspected, &once) {
        (Ok(all), Ok(once)) => {
            assert_eq!(
                (all.train.rows, &all.classes),
                (once.train.rows, &once.classes)
            );
            let holds = |inspection: &Inspection| {
                inspection
                    .columns
                    .iter()
                    .map(|column| column.holds)
                    .collect::<Vec<_>>()
            };
            assert_eq!(holds(all), holds(once));
        }
        (Err(all), Err(once)) => assert_eq!(all, once),
        _ => {}
    }
    Outcome {
        loaded: load(config, 1).map_err(plain),
        inspected,
    }
}

fn of(content: impl AsRef<[u8]>, change: impl FnOnce(DataConfig) -> DataConfig) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let config = change(DataConfig::at(write(folder.path(), "a.csv", content)));
    outcome(&config, folder.path())
}

fn as_is(config: DataConfig) -> DataConfig {
    config
}

/// Rows `x,LABEL` with the given cells.
fn cells(header: &str, values: &[&str]) -> String {
    let rows = values.iter().enumerate();
    let rows = rows
        .map(|(row, value)| format!("{value},{}\n", row % 2))
        .collect::<String>();
    format!("{header},label\n{rows}")
}

fn refused(content: impl AsRef<[u8]>, expected: &str) {
    let outcome = of(content, as_is);
    assert_eq!(outcome.loaded.unwrap_err(), expected);
    assert_eq!(outcome.inspected.unwrap_err(), expected);
}

/// What an inspection says of the first column, and what loading says.
fn said(values: &[&str]) -> (Holds, Vec<Rule>, Result<(), String>) {
    let outcome = of(cells("x", values), as_is);
    let inspection = outcome.inspected.unwrap();
    let first = inspection
        .findings
        .iter()
        .filter(|finding| finding.column == 0);
    let rules = first.map(|finding| finding.rule).collect();
    (
        inspection.columns[0].holds,
        rules,
        outcome.loaded.map(|_| ()),
    )
}

#[test]
fn a_million_columns_of_one_name() {
    let names = "a,".repeat(1_000_000) + "label\n";
    refused(
        &names,
        "{}/a.csv: too large: 1000001 columns; at most 65536 are read",
    );
    let row = "1,".repeat(1_000_000);
    refused(
        format!("x,y\n1,2\n{row}3\n"),
        "{}/a.csv:3: 1000001 cells, but the first row has 2",
    );
}

#[test]
fn ten_thousand_columns() {
    let header: String = (0..10_000).map(|column| format!("c{column},")).collect();
    let row = |label: u32| format!("{}{label}\n", format!("{label}.5,").repeat(10_000));
    let text = format!("{header}label\n{}", [row(0), row(1)].concat().repeat(10));
    let outcome = of(text, as_is);
    assert_eq!(outcome.loaded.unwrap().train.shape().width, 10_000);
    let inspection = outcome.inspected.unwrap();
    assert_eq!(
        (inspection.columns.len(), inspection.train.repeated),
        (10_001, 18)
    );
}

#[test]
fn a_cell_of_a_hundred_megabytes() {
    let cell = "x".repeat(100 << 20);
    let text = format!("a,label\n1,0\n\"{cell}\",1\n2,0\n3,1\n");
    let folder = tempfile::tempdir().unwrap();
    let config = DataConfig::at(write(folder.path(), "a.csv", text));
    // In memory the cell is text among numbers; in one pass it is more than a row may hold.
    let message = load(&config, 1).unwrap_err().to_string();
    assert!(
        message.contains("a.csv:3: column 0 ('a'): 'xxx") && message.contains("is not a number"),
        "{}",
        &message[..200]
    );
    let once = inspect_with(&config, &ONE_PASS).unwrap_err().to_string();
    assert!(
        once.ends_with(
            "too large: line 3 begins a row of more than 64 MiB: is a quote never closed?"
        ),
        "{once}"
    );
    let in_memory = InspectOptions {
        stream_from: u64::MAX,
        threads: 1,
    };
    let inspection = inspect_with(&config, &in_memory).unwrap();
    assert_eq!(inspection.columns[0].strays, 1);
}

#[test]
fn encodings() {
    let wide = |to_bytes: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        let mark = mark.then_some('\u{feff}');
        let text: String = mark
            .into_iter()
            .chain("a,label\n1,0\n2,1\n".chars())
            .collect();
        text.encode_utf16().flat_map(to_bytes).collect()
    };
    for content in [
        wide(u16::to_le_bytes, true),
        wide(u16::to_be_bytes, true),
        wide(u16::to_le_bytes, false),
        wide(u16::to_be_bytes, false),
    ] {
        let outcome = of(content, as_is);
        let message = outcome.loaded.unwrap_err();
        assert!(
            message.contains("it looks like UTF-16: save it as UTF-8"),
            "{message}"
        );
        assert_eq!(outcome.inspected.unwrap_err(), message);
    }
    refused(
        b"city,label\nM\xe1laga,0\nC\xe1diz,1\n",
        "{}/a.csv: byte 12: not UTF-8 text; it looks like Latin-1 or Windows-1252: save it as UTF-8",
    );
    // UTF-8 in the first lines and Latin-1 further on.
    refused(
        b"city,label\nM\xc3\xa1laga,0\nC\xe1diz,1\n",
        "{}/a.csv: byte 22: not UTF-8 text; it looks like Latin-1 or Windows-1252: save it as UTF-8",
    );
    let text = "a,label\n1,0\n\u{0}2,1\n3,0\n4,1\n5,0\n6,1\n";
    refused(
        text,
        "{}/a.csv: byte 12: not UTF-8 text; a NUL byte: no table of text holds one",
    );
    // A mark of the byte order before UTF-8 is passed over.
    let outcome = of("\u{feff}a,label\n1,0\n2,1\n3,0\n4,1\n5,0\n6,1\n", as_is);
    assert_eq!(
        outcome.inspected.unwrap().columns[0].name.as_deref(),
        Some("a")
    );
}

#[test]
fn line_ends_blanks_and_quotes() {
    let rows = [
        "a,\"b\"\"c\",label",
        "",
        "1, x ,0",
        "   ",
        "2,\"new",
        "line\",1",
        "3,\"q,r\",0",
        "4,s,1",
        "5,t,0",
        "",
    ];
    let first = of(rows.join("\n"), as_is).inspected.unwrap();
    assert_eq!(
        (first.train.rows, first.columns[1].name.as_deref()),
        (5, Some("b\"c"))
    );
    for end in ["\r\n", "\r"] {
        let inspection = of(rows.join(end), as_is).inspected.unwrap();
        assert_eq!(
            (inspection.train.rows, inspection.columns[1].distinct),
            (5, first.columns[1].distinct),
            "{end:?}"
        );
    }
    refused(
        "a,label\n1,0\n\"2,1\n3,0\n4,1\n",
        "{}/a.csv:3: a quote that is opened in this line is never closed",
    );
    refused(
        "a,label\n1,0\n2\n",
        "{}/a.csv:3: 1 cells, but the first row has 2",
    );
    refused("\n\r\n  \n", "{}/a.csv: holds no row");
}

#[test]
fn header_lines() {
    // Two columns of one name are no header that names columns: the line is a row, whose label no number matches.
    let outcome = of("a,a,label\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n", |config| {
        DataConfig {
            header: Some(true),
            ..config
        }
    });
    assert_eq!(
        outcome.inspected.unwrap().columns[1].name.as_deref(),
        Some("a")
    );
    let outcome = of("a,b,label\n", as_is);
    assert!(outcome.loaded.is_err());
    let outcome = of("a,b,label\n", |config| DataConfig {
        header: Some(true),
        ..config
    });
    assert_eq!(outcome.inspected.unwrap_err(), "{}/a.csv: holds no row");
}

#[test]
fn numbers_that_are_none() {
    let not_read = |value: &str| {
        Err(format!(
            "{{}}/a.csv:4: column 0 ('x'): '{value}' is not a number (a column of codes can be declared in data.categorical)"
        ))
    };
    for value in ["inf", "-inf", "nan", "1e999"] {
        let (holds, rules, loaded) = said(&["1", "2", value, "4", "5", "6.5"]);
        assert_eq!((holds, loaded), (Holds::Number, not_read(value)));
        assert!(
            rules.contains(&Rule::Strays) && rules.contains(&Rule::Disguised),
            "{value}: {rules:?}"
        );
    }
    for value in ["1,234", "3,5", "12 kg", "45%", "$3.20"] {
        let quoted = format!("\"{value}\"");
        let (_, rules, loaded) = said(&["1", "2", &quoted, "4", "5", "6"]);
        assert_eq!(loaded, not_read(value));
        assert!(rules.contains(&Rule::Disguised), "{value}: {rules:?}");
        // A whole column of them is read as codes, and an inspection says so.
        let all: Vec<String> = (1..7)
            .map(|digit| quoted.replace('3', &digit.to_string()))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let (holds, rules, loaded) = said(&all);
        assert!(
            loaded.is_ok() && rules.contains(&Rule::Disguised),
            "{value}: {holds:?} {rules:?}"
        );
    }
    let (_, rules, loaded) = said(&["1", "N/A", "3", "4", "5", "6"]);
    assert!(
        rules.contains(&Rule::LooksMissing)
            && loaded.unwrap_err().contains("'N/A' is not a number")
    );
}

#[test]
fn dates_in_three_formats() {
    let (holds, rules, loaded) = said(&[
        "2020-01-31",
        "31/01/2020",
        "01-31-2020",
        "31.01.2020",
        "2020-02-01",
        "2/2/2020",
    ]);
    assert_eq!(holds, Holds::Time);
    assert!(rules.contains(&Rule::MixedTimes) && loaded.is_ok());
    let (_, rules, _) = said(&[
        "01/02/2020",
        "03/04/2020",
        "05/06/2020",
        "07/08/2020",
        "09/10/2020",
        "11/12/2020",
    ]);
    assert!(rules.contains(&Rule::AmbiguousTimes), "{rules:?}");
}

#[test]
fn an_identifier_left_in() {
    let names: Vec<String> = (0..400).map(|row| format!("patient-{row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (holds, rules, _) = said(&names);
    assert_eq!((holds, rules), (Holds::Identifier, vec![Rule::Identifier]));
}

#[test]
fn labels_and_codes_that_only_some_have() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = |label: &str, code: &str| format!("{code},{label}\n").repeat(6);
    let a = write(
        at,
        "a.csv",
        format!("code,label\n{}{}", rows("yes", "tcp"), rows("no", "udp")),
    );
    let b = write(
        at,
        "b.csv",
        format!(
            "code,label\n{}{}",
            rows("yes", "tcp"),
            rows("perhaps", "icmp")
        ),
    );
    let config = many(&[a.clone(), b]);
    let Outcome { loaded, inspected } = outcome(&config, at);
    let data = loaded.unwrap();
    // All sites know all classes, also those that only one has.
    assert_eq!(data.train.classes(), ["no", "perhaps", "yes"]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let split = PartitionConfig::Natural { minimum: 1 }
        .split(&data.train, None, &mut rng)
        .unwrap();
    assert_eq!(split.class_counts(&data.train)[0][1], 0);
    let differences = inspected.unwrap().differences;
    assert!(differences.is_empty(), "twelve rows are too few to compare");

    // A code that no training row has becomes all zeros, and the notes say so.
    let config = DataConfig {
        test_path: Some(Paths::One(write(
            at,
            "test.csv",
            "code,label\nsctp,yes\ntcp,no\n",
        ))),
        ..DataConfig::at(a)
    };
    let data = load(&config, 1).unwrap();
    assert_eq!(data.test.row(0), [0.0, 0.0]);
}
