//! Runs that predict a number.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cloister_config::Experiment;
use cloister_data::Dataset;
use cloister_nn::model_file;
use cloister_report::record::{HeadlineMetric, RunRecord, Summary};
use cloister_sim::{Federation, Options, run};

/// Three sites of different sizes; y is linear in a and b but for a wave, and c says nothing.
fn experiment(folder: &Path, more: &str) -> Experiment {
    let mut table = "a,b,c,site,y\n".to_owned();
    for row in 0_u32..300 {
        let (a, b, c) = (row * 7 % 31, row * 11 % 17, row * 5 % 13);
        let wave = f64::from(row * 29 % 101) / 101.0 - 0.5;
        let y = 200.0 + 3.0 * f64::from(a) - 5.0 * f64::from(b) + 30.0 * wave;
        let site = match row % 10 {
            0 => "small",
            1..4 => "middle",
            _ => "large",
        };
        table += &format!("{a},{b},{c},{site},{y}\n");
    }
    let path = folder.join("table.csv");
    fs::write(&path, table).unwrap();
    let text = format!(
        "name = \"number\"\n\
         data = {{ path = '{}', target = \"y\", site_column = \"site\", partition = {{ kind = \"natural\" }} }}\n{more}",
        path.display()
    );
    toml::from_str(&text).unwrap()
}

/// The least squares of a part, from the normal equations by Gaussian elimination: the weights and the bias.
fn least_squares(data: &Dataset) -> Vec<f64> {
    let width = data.shape().len() + 1;
    let mut system = vec![vec![0.0; width + 1]; width];
    for (row, y) in (0..data.len()).zip(&data.target().unwrap().values) {
        let mut x: Vec<f64> = data.row(row).iter().map(|x| f64::from(*x)).collect();
        x.extend([1.0, f64::from(*y)]);
        for (equation, xi) in system.iter_mut().zip(&x) {
            for (sum, xj) in equation.iter_mut().zip(&x) {
                *sum += xi * xj;
            }
        }
    }
    for pivot in 0..width {
        let (above, below) = system.split_at_mut(pivot);
        let (equation, below) = below.split_first_mut().unwrap();
        let scale = equation[pivot];
        equation.iter_mut().for_each(|value| *value /= scale);
        for other in above.iter_mut().chain(below) {
            let factor = other[pivot];
            for (value, of_pivot) in other.iter_mut().zip(equation.iter()) {
                *value -= factor * of_pivot;
            }
        }
    }
    system.iter().map(|equation| equation[width]).collect()
}

/// Runs to the end.
fn go(federation: &Federation, folder: &Path) -> Summary {
    let options = Options {
        folder: folder.to_owned(),
        threads: 2,
        resume: false,
        stop: Arc::new(AtomicBool::new(false)),
        unattacked: None,
    };
    let outcome = run(federation, &options, &mut |_| {}).unwrap();
    outcome.summary.unwrap()
}

fn parameters(folder: &Path, federation: &Federation) -> Vec<f32> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = model_file::decode(&bytes).unwrap();
    file.parameters_for(federation.model.layout()).unwrap()
}

const ONE_STEP: &str = "model = { kind = \"linear\" }\n\
                        federation = { rounds = 150 }\n\
                        train = { epochs = 1, batch_size = 1000, learning_rate = 0.2 }\n\
                        baselines = [\"centralised\", \"local\"]\n";

/// One step a round over all of a client's rows is a step of the pooled data: both end at the least squares, to 1e-4 of the
/// standardised unit. Secure sums end there to 1e-3.
#[test]
fn a_federation_finds_the_least_squares() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more, within) in [
        ("plain", "", 1e-4),
        (
            "masked",
            "secure_aggregation = { minimum_cohort = 3 }\n",
            1e-3,
        ),
    ] {
        let experiment = experiment(folder.path(), &format!("{ONE_STEP}{more}"));
        let federation = Federation::load(&experiment).unwrap();
        let expected = least_squares(&federation.data.train);
        let out = folder.path().join(name);
        let summary = go(&federation, &out);
        let found = parameters(&out, &federation);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (f64::from(*found) - expected).abs() < within,
                "{name}: {found} {expected}"
            );
        }
        judged_alike(&summary, &federation, &expected);
    }
}

/// The figures of a run are those of the least squares in the target's own unit, and no figure is about classes.
fn judged_alike(summary: &Summary, federation: &Federation, weights: &[f64]) {
    let test = &federation.data.test;
    let target = test.target().unwrap();
    let truth: Vec<f64> = target
        .values
        .iter()
        .map(|z| target.scale.natural(*z))
        .collect();
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let (mut squares, mut errors, mut spread) = (0.0, 0.0, 0.0);
    for (row, truth) in truth.iter().enumerate() {
        let terms = test.row(row).iter().zip(weights);
        let standardised =
            terms.map(|(x, w)| f64::from(*x) * w).sum::<f64>() + weights[weights.len() - 1];
        let error = standardised * target.scale.deviation + target.scale.mean - truth;
        squares += error * error;
        errors += error.abs();
        spread += (truth - mean).powi(2);
    }
    let n = truth.len() as f64;
    let close = |found: Option<f64>, expected: f64| {
        let found = found.unwrap();
        assert!(
            (found - expected).abs() < 1e-2 * expected,
            "{found} {expected}"
        );
    };
    assert_eq!(summary.metric, HeadlineMetric::R2);
    let ending = &summary.final_;
    close(ending.r2, 1.0 - squares / spread);
    close(ending.rmse, (squares / n).sqrt());
    close(ending.mae, errors / n);
    assert_eq!(
        (ending.accuracy, ending.balanced_accuracy, ending.auroc),
        (None, None, None)
    );
    close(summary.baselines["centralised"].r2, ending.r2.unwrap());
    let alone = &summary.baselines["local"];
    assert!(
        alone.r2 < ending.r2 && alone.accuracy.is_none(),
        "{alone:?}"
    );
    let quality = summary.quality.as_ref().unwrap();
    assert_eq!(quality.sites.len(), 3);
    assert!(
        quality
            .sites
            .iter()
            .all(|site| site.rmse.is_some() && site.accuracy.is_none())
    );
    let interval = quality.intervals["r2"];
    assert!((interval.low..interval.high).contains(&ending.r2.unwrap()));
}

/// The record and the page of such a run have R2 and errors, and no word of accuracy.
#[test]
fn records_and_pages_know_no_classes() {
    let folder = tempfile::tempdir().unwrap();
    let more = "model = { kind = \"mlp\", hidden = [8], loss = \"mae\" }\n\
                federation = { rounds = 8 }\n\
                train = { epochs = 2, batch_size = 20, learning_rate = 0.05 }\n\
                baselines = [\"local\"]\n";
    let experiment = experiment(folder.path(), more);
    let out = folder.path().join("run");
    go(&Federation::load(&experiment).unwrap(), &out);
    let record = RunRecord::read(&out).unwrap();
    for row in &record.rounds {
        let figures = [row.test_loss, row.test_r2, row.test_rmse, row.test_mae];
        assert!(figures.iter().all(Option::is_some), "{row:?}");
        assert_eq!((row.test_accuracy, row.test_auroc), (None, None));
    }
    let first = record.rounds.first().unwrap();
    let last = record.rounds.last().unwrap();
    assert!(
        last.test_r2 > first.test_r2 && last.test_r2 > Some(0.5),
        "{last:?}"
    );
    // The loss is the absolute error in units of the deviation.
    let deviation = last.test_mae.unwrap() / last.test_loss.unwrap();
    assert!((30.0..45.0).contains(&deviation), "{deviation}");
    assert!(record.confusion.is_none() && record.curves.is_none());
    for client in record.clients.as_ref().unwrap() {
        assert!(client.r2.is_some() && client.alone_r2.is_some() && client.accuracy.is_none());
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Test R\u{b2} over rounds") && page.contains("Test RMSE"));
    for word in ["ccuracy", "AUROC", "each class", "taken for"] {
        assert!(!page.contains(word), "{word}");
    }
}

/// Rules, updates that are attacked and private training see vectors and gradients only. The clients find the target's scale
/// themselves, to the same figures as whoever sees all rows.
#[test]
fn what_sees_vectors_only_works_as_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let base = "model = { kind = \"linear\" }\ntrain = { batch_size = 20, learning_rate = 0.05 }\n";
    for (place, more) in [
        "federation = { rounds = 10 }\naggregation = { rule = \"median\" }\n\
         attack = { kind = \"sign-flip\", clients = 1 }\n",
        "federation = { rounds = 3 }\n\
         privacy = { mechanism = \"dp-sgd\", delta = 1e-3, noise_multiplier = 0.6, clip = 2.0 }\n",
        "federation = { rounds = 10 }\nstatistics = {}\n",
    ]
    .iter()
    .enumerate()
    {
        let experiment = experiment(folder.path(), &format!("{base}{more}"));
        experiment.check().unwrap();
        let out = folder.path().join(place.to_string());
        let federation = Federation::load(&experiment).unwrap();
        let summary = go(&federation, &out);
        assert!(summary.final_.r2.unwrap().is_finite(), "{more}");
        match place {
            0 => {
                let attack = summary.attack.unwrap();
                assert!(attack.unattacked.unwrap().r2 > Some(0.5) && attack.impact.is_some());
            }
            1 => {
                assert!(summary.privacy.unwrap().accounted_epsilon > Some(0.0));
                let rounds = RunRecord::read(&out).unwrap().rounds;
                assert!(rounds.iter().all(|row| row.train_loss.is_none()));
            }
            _ => {
                let mut pooled = experiment.clone();
                pooled.statistics = None;
                let pooled = Federation::load(&pooled).unwrap();
                let scale = |federation: &Federation| federation.data.train.target().unwrap().scale;
                let (found, pooled) = (scale(&federation), scale(&pooled));
                assert!((found.mean - pooled.mean).abs() < 1e-3 * pooled.deviation);
                assert!((found.deviation / pooled.deviation - 1.0).abs() < 1e-3);
            }
        }
    }
}
