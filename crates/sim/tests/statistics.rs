//! Tables that are prepared by what their owners find out together.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests; their support is shared"
)]

mod support;

use std::fs;

use cloister_config::Experiment;
use cloister_privacy::Ledger;
use cloister_report::record::{RunRecord, file_name};
use cloister_sim::{Federation, find_statistics};
use support::{go, options};

fn experiment(extra: &str) -> Experiment {
    let text = format!(
        "name = 'hospitals'\nseed = 3\n\
         [data]\ndataset = 'heart-disease'\npartition = {{ kind = 'natural' }}\n\
         [federation]\nrounds = 2\n[model]\nkind = 'logistic'\n{extra}"
    );
    toml::from_str(&text).unwrap()
}

const MASKED: &str = "[secure_aggregation]\nprotocol = 'masking'\nminimum_cohort = 4\n";

/// Features that four hospitals scale by their sums are those of the pooled rows, and masks change no bit of them.
#[test]
fn owners_prepare_as_whoever_had_all_rows() {
    let pooled = Federation::load(&experiment("")).unwrap();
    let own = Federation::load(&experiment("[statistics]\n")).unwrap();
    let masked = Federation::load(&experiment(&format!("[statistics]\n{MASKED}"))).unwrap();
    assert_eq!(own.data.train, masked.data.train);
    assert_eq!(own.data.test, masked.data.test);
    let close = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    assert!(close(
        own.data.train.features(),
        pooled.data.train.features()
    ));
    assert!(close(own.data.test.features(), pooled.data.test.features()));
    assert_eq!(own.partition, pooled.partition);
    let (plain, masked) = (own.surveyed().unwrap(), masked.surveyed().unwrap());
    assert_eq!(plain.statistics, masked.statistics);
    assert!(!plain.masked && masked.masked);
    assert_eq!(plain.clients.len(), 4);
    assert!(plain.bytes_up > 0 && plain.bytes_down > 0);
}

#[test]
fn the_record_tells_what_was_found_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let config = experiment(&format!("[statistics]\n{MASKED}"));
    go(&config, &options(folder.path(), 2));
    let record = RunRecord::read(folder.path()).unwrap();
    let told = record
        .events
        .iter()
        .find(|event| event.kind == "statistics");
    let told = told.unwrap();
    assert_eq!(
        told.message,
        "4 clients found the figures of the preparation in 9 rounds: the server saw masked sums only"
    );
    assert!(folder.path().join(file_name::STATISTICS).exists());
    assert!(record.summary.unwrap().final_.auroc > Some(0.6));
}

/// Noise is on the ledger before anything else, and a run that goes on does not draw it again.
#[test]
fn noise_is_on_the_ledger_once() {
    let noisy = "[statistics]\nnoise_multiplier = 5.0\n\
        bounds = { age = [20, 90], trestbps = [80, 200], chol = [0, 600], thalach = [60, 210], oldpeak = [-3, 7], sex = [0, 1], fbs = [0, 1], exang = [0, 1], ca = [0, 3] }\n\
        known = { cp = ['1', '2', '3', '4'], restecg = ['0', '1', '2'], slope = ['1', '2', '3'], thal = ['3', '6', '7'] }\n\
        [privacy]\nunit = 'example'\nmechanism = 'dp-sgd'\nnoise_multiplier = 2.0\ndelta = 1e-3\nclip = 1.0\nnoise = 'seeded'\n";
    let config = experiment(noisy);
    let folder = tempfile::tempdir().unwrap();
    let federation = Federation::load(&config).unwrap();
    let again = Federation::load(&config).unwrap();
    assert_eq!(federation.surveyed(), again.surveyed());
    go(&config, &options(folder.path(), 1));
    let ledger = Ledger::read(&folder.path().join(file_name::LEDGER)).unwrap();
    let first: Vec<(u32, &str)> = ledger
        .entries()
        .iter()
        .take(5)
        .map(|entry| (entry.round, entry.holder.as_str()))
        .collect();
    let hospitals = ["cleveland", "hungarian", "switzerland", "va"];
    assert_eq!(first[..4], hospitals.map(|name| (0, name)));
    assert_eq!(first[4].0, 1);

    // What is on the disk counts, whatever would be found now.
    let path = folder.path().join(file_name::STATISTICS);
    let text = fs::read_to_string(&path).unwrap();
    let known = Federation::load_again(&config, Some(folder.path())).unwrap();
    assert_eq!(known.surveyed(), federation.surveyed());
    fs::write(&path, text.replace("\"rounds\": 1", "\"rounds\": 7")).unwrap();
    let known = Federation::load_again(&config, Some(folder.path())).unwrap();
    assert_eq!(known.surveyed().unwrap().rounds, 7);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let digits: Experiment = toml::from_str(
        "name = 'digits'\nstatistics = {}\n[data]\ndataset = 'digits'\n[model]\nkind = 'logistic'",
    )
    .unwrap();
    assert_eq!(
        Federation::load(&digits).unwrap_err().to_string(),
        "statistics: [statistics] concerns tables, but these are images"
    );
    let unbounded = experiment("[statistics]\nnoise_multiplier = 1.0\n");
    assert_eq!(
        Federation::load(&unbounded).unwrap_err().to_string(),
        "statistics.bounds: noise needs the bounds of column 'age': age = [low, high]"
    );
}

/// Quartiles that people look at come from the same sums.
#[test]
fn quartiles_are_found_for_people() {
    let (question, found) = find_statistics(&experiment(""), 2).unwrap();
    let age = question
        .columns
        .iter()
        .position(|(name, _)| name == "age")
        .unwrap();
    let cloister_data::statistics::ColumnStatistics::Number(age) = &found.statistics.columns[age]
    else {
        panic!("age is a number");
    };
    assert_eq!(age.quantiles.len(), 3);
    assert!(age.quantiles.iter().all(|quartile| quartile.fract() == 0.0));
    assert!(age.quantiles[0] < age.mean && age.mean < age.quantiles[2]);
}

/// What clients count of the final model's scores adds up to what the test examples say, masked or not.
#[test]
fn clients_judge_the_model_together() {
    let judged = |extra: &str| {
        let folder = tempfile::tempdir().unwrap();
        let config = experiment(&format!("[evaluate]\nat_sites = true\n{extra}"));
        let outcome = go(&config, &options(folder.path(), 2));
        outcome.summary.unwrap()
    };
    let (plain, masked) = (judged(""), judged(MASKED));
    let sites = plain.at_sites.clone().unwrap();
    assert_eq!((sites.clients, sites.examples), (4, plain.data.test));
    assert_eq!(plain.final_.accuracy, Some(sites.accuracy));
    assert_eq!(
        plain.final_.balanced_accuracy,
        Some(sites.balanced_accuracy)
    );
    let (exact, auroc) = (plain.final_.auroc.unwrap(), sites.auroc.unwrap());
    assert!((exact - auroc).abs() <= sites.auroc_error.unwrap() + 1e-12);
    assert!(sites.auroc_error.unwrap() < 0.01);
    assert!((plain.final_.loss.unwrap() - sites.loss).abs() < 1e-5);
    // The masked training rounds otherwise, so that its model is another one.
    let sites = masked.at_sites.clone().unwrap();
    assert!(sites.masked);
    assert_eq!(masked.final_.accuracy, Some(sites.accuracy));
}
