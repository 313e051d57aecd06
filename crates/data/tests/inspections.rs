//! What an inspection says about a table: types, findings, differences between owners; read at once and in one pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of tests fails as the test"
)]

mod support;

use std::fmt::Write as _;
use std::path::Path;

use cloister_data::{
    ColumnRef, DataConfig, Holds, InspectOptions, Inspection, Measure, Rule, inspect, inspect_with,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{gz, many, shared_data, write};

fn one_pass(threads: usize) -> InspectOptions {
    InspectOptions {
        stream_from: 0,
        threads,
    }
}

fn name(column: &str) -> Option<ColumnRef> {
    Some(ColumnRef::Name(column.to_owned()))
}

fn table(at: &Path, text: &str) -> DataConfig {
    DataConfig::at(write(at, "a.csv", text))
}

/// The rule and the column's name of every finding.
fn found(inspection: &Inspection) -> Vec<(Rule, &str)> {
    let findings = inspection.findings.iter();
    findings
        .map(|finding| {
            let column = &inspection.columns[finding.column];
            (finding.rule, column.name.as_deref().unwrap_or(""))
        })
        .collect()
}

#[test]
fn types_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "id,uuid,age,share,yes,when,note,code,void,label\n".to_owned();
    for row in 0..200 {
        let (day, month) = (row % 28 + 1, row % 12 + 1);
        writeln!(
            text,
            "{},u{row:05}x,{},{},{},{day:02}/{month:02}/2020,it was day {row} of the long year,c{},NA,{}",
            1000 + row,
            20 + row % 60,
            row as f64 / 7.0,
            ["yes", "no"][row % 2],
            row % 5,
            row % 3 % 2,
        )
        .unwrap();
    }
    let inspection = inspect(&table(folder.path(), &text)).unwrap();
    let types: Vec<Holds> = inspection
        .columns
        .iter()
        .map(|column| column.holds)
        .collect();
    assert_eq!(
        types,
        [
            Holds::Identifier,
            Holds::Identifier,
            Holds::WholeNumber,
            Holds::Number,
            Holds::Boolean,
            Holds::Time,
            Holds::Text,
            Holds::Category,
            Holds::Empty,
            Holds::Boolean,
        ]
    );
    // Some days are beyond twelve: the order is known for all.
    let times = &inspection.columns[5].times;
    assert_eq!(
        (times.len(), times[0].value.as_str(), times[0].count),
        (1, "DD/MM/YYYY", 200)
    );
    let age = &inspection.columns[2];
    assert_eq!((age.distinct.count, age.present, age.missing), (60, 200, 0));
    assert_eq!(age.numbers.unwrap().range(), Some((20.0, 79.0)));
    assert_eq!(
        (
            inspection.columns[8].missing_as[0].value.as_str(),
            inspection.columns[8].missing
        ),
        ("NA", 200)
    );
    assert!(found(&inspection).contains(&(Rule::Identifier, "uuid")));
    assert!(found(&inspection).contains(&(Rule::Empty, "void")));
}

#[test]
fn quartiles_are_order_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = std::iter::once("x,y\n".to_owned())
        .chain((1..=8).rev().map(|row| format!("{row},{}\n", row % 2)))
        .collect();
    let inspection = inspect(&table(folder.path(), &text)).unwrap();
    assert_eq!(inspection.columns[0].quartiles, Some([2.0, 4.0, 6.0]));
}

#[test]
fn every_rule_finds_its_column_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let header = "same,nearly,leak,codes,units,comma,absent,sentinel,mixed,either,plain,label\n";
    let mut text = header.to_owned();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for row in 0..600 {
        let label = u32::from(rng.random::<f64>() < 0.4);
        let mixed = ["2020-01-15", "15/01/2020", "Jan 15 2020"][row % 3];
        writeln!(
            text,
            "7,{},{},{},{} kg,\"{},5\",{},{},{mixed},0{}/02/2020,{},{label}",
            u32::from(row == 5),
            f64::from(label) + rng.random::<f64>() * 1.1,
            ["a", "b", "c"][row % 3],
            row % 50,
            row % 40,
            if row % 4 == 0 {
                "n/a".to_owned()
            } else {
                (row % 30).to_string()
            },
            if row % 20 == 0 {
                -999
            } else {
                rng.random_range(10..40)
            },
            row % 9 + 1,
            rng.random::<f64>(),
        )
        .unwrap();
    }
    let inspection = inspect(&table(folder.path(), &text)).unwrap();
    assert_eq!(
        found(&inspection),
        [
            (Rule::PredictsAlone, "leak"),
            (Rule::Constant, "same"),
            (Rule::NearlyConstant, "nearly"),
            (Rule::Strays, "absent"),
            (Rule::Disguised, "units"),
            (Rule::Disguised, "comma"),
            (Rule::LooksMissing, "absent"),
            (Rule::StandIn, "sentinel"),
            (Rule::MixedTimes, "mixed"),
            (Rule::AmbiguousTimes, "either"),
        ]
    );
    let leak = inspection.findings[0].figure.unwrap();
    // P(x + 1.1u > 1.1v) for x = 1: 1 - 0.1^2 / (2 * 1.1^2).
    assert!((leak - (1.0 - 0.01 / 2.42)).abs() < 0.01, "{leak}");
}

/// Rows of terminals shared by banks: amounts of their own, and figures of each terminal's earlier rows, over all banks and
/// over the bank's own rows.
fn transactions(at: &Path, rows: usize, rng: &mut impl Rng) -> DataConfig {
    const TERMINALS: usize = 300;
    const BANKS: usize = 40;
    let mut text =
        "bank,terminal,amount,hour,risk_all,risk_own,count_all,count_own,zone,label\n".to_owned();
    let mut bad = vec![false; TERMINALS];
    let mut all = vec![(0.0_f64, 0_u32); TERMINALS];
    let mut own = vec![[(0.0_f64, 0_u32); BANKS]; TERMINALS];
    for row in 0..rows {
        let terminal = rng.random_range(0..TERMINALS);
        let bank = rng.random_range(0..BANKS);
        bad[terminal] ^= rng.random::<f64>() < 0.02;
        let fraud = rng.random::<f64>() < if bad[terminal] { 0.5 } else { 0.02 };
        let (sum, count) = all[terminal];
        let (own_sum, own_count) = own[terminal][bank];
        let share = |sum: f64, count: u32| {
            if count == 0 {
                0.0
            } else {
                sum / f64::from(count)
            }
        };
        writeln!(
            text,
            "b{bank},{terminal},{:.2},{},{:.4},{:.4},{count},{own_count},z{},{}",
            rng.random::<f64>() * 100.0,
            row / 100,
            share(sum, count),
            share(own_sum, own_count),
            terminal % 7,
            u8::from(fraud),
        )
        .unwrap();
        for (sum, count) in [&mut all[terminal], &mut own[terminal][bank]] {
            *sum = *sum * 0.8 + f64::from(u8::from(fraud));
            *count += 1;
        }
    }
    DataConfig {
        site_column: name("bank"),
        ..table(at, &text)
    }
}

#[test]
fn what_is_computed_over_other_owners_rows_is_told_from_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..3 {
        let config = transactions(folder.path(), 12_000, &mut ChaCha8Rng::seed_from_u64(seed));
        let inspection = inspect(&config).unwrap();
        let across: Vec<&str> = found(&inspection)
            .into_iter()
            .filter(|(rule, _)| *rule == Rule::AcrossOwners)
            .map(|(_, name)| name)
            .collect();
        assert!(across.contains(&"risk_all"), "{across:?}");
        for innocent in [
            "amount",
            "hour",
            "risk_own",
            "count_own",
            "zone",
            "terminal",
        ] {
            assert!(
                !across.contains(&innocent),
                "seed {seed}: {innocent} is in {across:?}"
            );
        }
        let risk = inspection
            .findings
            .iter()
            .find(|finding| inspection.columns[finding.column].name.as_deref() == Some("risk_all"));
        assert!(
            risk.unwrap().text.contains("carries their labels"),
            "{risk:?}"
        );
    }
}

#[test]
fn risks_of_terminals_carry_labels_of_other_banks() {
    let Some(folder) = shared_data("fraud-simulated") else {
        return;
    };
    for site_column in [None, name("CUSTOMER_ID")] {
        let config = DataConfig {
            label: name("TX_FRAUD"),
            site_column: site_column.clone(),
            ..DataConfig::at(folder.join("transactions.csv.gz"))
        };
        let inspection = inspect(&config).unwrap();
        let across: Vec<(&str, bool)> = inspection
            .findings
            .iter()
            .filter(|finding| finding.rule == Rule::AcrossOwners)
            .map(|finding| {
                let column = &inspection.columns[finding.column];
                (
                    column.name.as_deref().unwrap(),
                    finding.text.contains("labels"),
                )
            })
            .collect();
        for risk in [
            "TERMINAL_ID_RISK_1DAY_WINDOW",
            "TERMINAL_ID_RISK_7DAY_WINDOW",
            "TERMINAL_ID_RISK_30DAY_WINDOW",
        ] {
            assert!(
                across.contains(&(risk, true)),
                "{risk} is not in {across:?}"
            );
        }
        assert!(
            across.iter().all(
                |(name, labels)| name.contains("_WINDOW") && (!labels || name.contains("RISK"))
            ),
            "{across:?}"
        );
    }
}

#[test]
fn ordinary_tables_have_nothing_across_owners() {
    let sets = [
        ("adult", "adult.data.gz", Some(3)),
        ("adult", "adult.data.gz", Some(13)),
        ("nsl-kdd", "KDDTrain+_binary.csv.gz", Some(1)),
        ("nsl-kdd", "KDDTrain+_binary.csv.gz", None),
        ("credit-default", "UCI_Credit_Card.csv.gz", Some(3)),
        ("german-credit", "german.csv", Some(3)),
        ("malware-clamp", "ClaMP_Integrated-5184.csv.gz", Some(63)),
    ];
    let shared = sets.iter().filter_map(|(set, file, site)| {
        let folder = shared_data(set)?;
        Some(DataConfig {
            site_column: site.map(ColumnRef::Index),
            ..DataConfig::at(folder.join(file))
        })
    });
    let bundled = ["heart-disease", "wdbc"].map(DataConfig::bundled);
    for config in shared.chain(bundled) {
        let inspection = inspect(&config).unwrap();
        let across = found(&inspection)
            .into_iter()
            .filter(|(rule, _)| *rule == Rule::AcrossOwners);
        assert_eq!(across.collect::<Vec<_>>(), [], "{}", inspection.name);
    }
}

#[test]
fn owners_are_compared_with_the_others() {
    let hospitals = inspect(&DataConfig::bundled("heart-disease")).unwrap();
    let notable = |column: usize, site: &str, measure| {
        let mut all = hospitals.differences.iter();
        all.find(|d| (d.column, d.site.as_str(), d.measure) == (column, site, measure))
            .filter(|d| d.notable)
    };
    // All of Switzerland's cholesterol is missing, and 93 % of its patients are ill.
    let chol = notable(4, "switzerland", Measure::Missing).unwrap();
    assert_eq!((chol.here, chol.of.as_deref()), (1.0, None));
    let ill = notable(13, "switzerland", Measure::Classes).unwrap();
    assert!((ill.here - 115.0 / 123.0).abs() < 1e-9 || (ill.here - 8.0 / 123.0).abs() < 1e-9);
    let age = notable(0, "hungarian", Measure::Means).unwrap();
    assert!((age.here - 47.83).abs() < 0.01 && age.figure < -0.5);
    // Dealt at random, owners do not differ.
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut text = "site,x,c,label\n".to_owned();
    for row in 0..2_000 {
        let code = rng.random_range(0..30);
        writeln!(
            text,
            "s{},{},k{code},{}",
            row % 10,
            rng.random::<f64>(),
            rng.random_range(0..2)
        )
        .unwrap();
    }
    let config = DataConfig {
        site_column: name("site"),
        ..table(folder.path(), &text)
    };
    let inspection = inspect(&config).unwrap();
    assert_eq!(inspection.differences.len(), 10 * 3);
    assert!(
        inspection
            .differences
            .iter()
            .all(|difference| !difference.notable)
    );
}

/// A table of every type, with quotes, missing cells and two owners.
fn mixed_table(rows: usize, rng: &mut impl Rng) -> String {
    let mut text = "id,x,n,code,\"a \"\"b\"\"\",site,label\r\n".to_owned();
    for row in 0..rows {
        let x: f64 = rng.random::<f64>().powi(3) * 1e4 - 100.0;
        let missing = rng.random::<f64>() < 0.1;
        writeln!(
            text,
            "r{row},{},{},{},\"q, {}\",s{},{}\r",
            if missing {
                "?".to_owned()
            } else {
                format!("{x:.3}")
            },
            rng.random_range(0..5000),
            ["tcp", "udp", "icmp"][rng.random_range(0..3)],
            rng.random_range(0..3000),
            rng.random_range(0..2),
            u8::from(x > 2000.0),
        )
        .unwrap();
    }
    text
}

/// What is exact in one pass is equal, and the rest within its error; the bits do not depend on threads.
fn compare(config: &DataConfig) {
    let exact = inspect(config).unwrap();
    let once = inspect_with(config, &one_pass(1)).unwrap();
    let again = inspect_with(config, &one_pass(3)).unwrap();
    assert!(!exact.streamed && once.streamed);
    assert_eq!(
        serde_json::to_string(&once).unwrap(),
        serde_json::to_string(&again).unwrap()
    );
    assert_eq!(
        (
            &once.name,
            &once.format,
            &once.classes,
            &once.train.sites,
            once.shape
        ),
        (
            &exact.name,
            &exact.format,
            &exact.classes,
            &exact.train.sites,
            exact.shape
        )
    );
    assert_eq!(
        (once.train.rows, once.overlap),
        (exact.train.rows, exact.overlap)
    );
    assert_eq!(
        (once.train.repeated, found(&once)),
        (exact.train.repeated, found(&exact))
    );
    assert_eq!(once.differences, exact.differences);
    for (one, all) in once.columns.iter().zip(&exact.columns) {
        assert_eq!(
            (
                &one.name,
                one.role,
                one.kind,
                one.holds,
                one.missing,
                &one.missing_as,
                one.present
            ),
            (
                &all.name,
                all.role,
                all.kind,
                all.holds,
                all.missing,
                &all.missing_as,
                all.present
            )
        );
        assert_eq!(
            (&one.times, one.strays, one.numbers),
            (&all.times, all.strays, all.numbers)
        );
        let off = (one.distinct.count as f64 / all.distinct.count as f64 - 1.0).abs();
        assert!(off <= 4.0 * one.distinct.error, "{}: {off}", one.describe());
        for known in &one.frequent {
            let truth = all.frequent.iter().find(|other| other.value == known.value);
            if let Some(truth) = truth {
                assert!(
                    known.count <= truth.count && known.count + one.frequent_error >= truth.count
                );
            }
        }
        if let (Some(quartiles), Some(numbers), true) =
            (one.quartiles, all.numbers, all.present > 0)
        {
            let (low, high) = numbers.range().unwrap();
            for (found, truth) in quartiles.iter().zip(all.quartiles.unwrap()) {
                // The density of these columns is at most 3 over their range near the quartiles.
                let far = (found - truth).abs() / (high - low).max(1.0);
                assert!(
                    far <= 3.0 * one.quartile_error + 1e-12,
                    "{}: {found} {truth}",
                    one.describe()
                );
            }
        }
    }
}

#[test]
fn one_pass_finds_what_many_find() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let text = mixed_table(30_000, &mut rng);
    compare(&DataConfig {
        site_column: name("site"),
        ..DataConfig::at(write(at, "a.csv", &text))
    });
    // Gzip, several files as owners, and a test part with rows of training.
    let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
    let part = |from: usize, to: usize| [&lines[..1], &lines[from..to]].concat().concat();
    write(at, "sites/a.csv", part(1, 8_000));
    write(at, "sites/b.csv.gz", gz(part(8_000, 20_000).as_bytes()));
    write(at, "sites/test.csv", part(19_000, 25_000));
    let config = DataConfig {
        drop: vec![ColumnRef::Index(0), ColumnRef::Name("site".into())],
        ..DataConfig::at(at.join("sites"))
    };
    compare(&config);
    assert_eq!(inspect(&config).unwrap().train.sites.len(), 2);
}

#[test]
fn one_pass_over_the_sets_of_others() {
    for (set, file) in [
        ("adult", "adult.data.gz"),
        ("credit-default", "UCI_Credit_Card.csv.gz"),
        ("wdbc", "wdbc.csv"),
    ] {
        if let Some(folder) = shared_data(set) {
            let exact = inspect(&DataConfig::at(folder.join(file))).unwrap();
            let once = inspect_with(&DataConfig::at(folder.join(file)), &one_pass(2)).unwrap();
            assert_eq!(
                (once.train.rows, &once.classes),
                (exact.train.rows, &exact.classes)
            );
            assert_eq!(found(&once), found(&exact), "{set}");
            for (one, all) in once.columns.iter().zip(&exact.columns) {
                assert_eq!(
                    (one.holds, one.missing),
                    (all.holds, all.missing),
                    "{set}: {}",
                    one.describe()
                );
            }
        }
    }
}

#[test]
fn one_pass_refuses_with_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cases = [
        table(at, "a,b\n1,2\n3,4,5\n"),
        DataConfig {
            header: Some(true),
            ..DataConfig::at(write(at, "b.csv", "a,b\n"))
        },
        DataConfig {
            header: Some(false),
            ..DataConfig::at(write(at, "c.csv", "1,2\n3,\n"))
        },
        DataConfig {
            label: name("c"),
            ..DataConfig::at(write(at, "d.csv", "a,b\n1,2\n"))
        },
        many(&[
            write(at, "e.csv", "x,y\n1,2\n"),
            write(at, "f.csv", "x,z\n1,2\n"),
        ]),
        DataConfig {
            test_path: Some(write(at, "g.csv", "x,y\n1,c\n").into()),
            ..DataConfig::at(write(at, "h.csv", "x,y\n1,a\n2,b\n"))
        },
        DataConfig::at(write(at, "i.csv", "a,b\n1,\"2\n3,4\n")),
        DataConfig::at(write(at, "j.csv", b"a,b\n1,caf\xe9\n")),
    ];
    for config in cases {
        let all = inspect(&config).unwrap_err().to_string();
        let once = inspect_with(&config, &one_pass(2)).unwrap_err().to_string();
        assert_eq!(once, all);
    }
    let mut damaged = gz("a,b\n1,2\n".repeat(5_000).as_bytes());
    let half = damaged.len() / 2;
    damaged.truncate(half);
    let config = DataConfig::at(write(at, "k.csv.gz", damaged));
    let said = inspect_with(&config, &one_pass(1)).unwrap_err().to_string();
    assert!(
        said.contains("k.csv.gz: byte ") && said.contains("cannot be read on"),
        "{said}"
    );
}
