//! Canary clients in a run: who joins, what they send, and that the audit finds them and no more than the noise lets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "tests; their support is shared"
)]

mod support;

use std::path::Path;

use cloister_nn::model_file;
use cloister_privacy::accounting::{Question, epsilon};
use cloister_privacy::{Event, Neighbouring};
use cloister_redteam::audit::{Guesses, canary, one_shot};
use cloister_report::record::RunRecord;
use cloister_sim::Federation;

use support::{experiment, go, model, options, rounds};

const CANARIES: u32 = 300;
const ROUNDS: u32 = 4;
const CLIP: f64 = 0.5;

fn config(privacy: &str) -> String {
    format!(
        "federation = {{ clients = 10, rounds = {ROUNDS} }}\n\
         train = {{ epochs = 1, batch_size = 20, learning_rate = 0.05 }}\n\
         attack = {{ kind = \"canary\", clients = {CANARIES}, beside = true, seed = 3 }}\n{privacy}"
    )
}

fn central(noise_multiplier: f64) -> String {
    config(&format!(
        "privacy = {{ mechanism = \"central-gaussian\", delta = 1e-3, clip = {CLIP}, \
         noise_multiplier = {noise_multiplier:?}, noise = \"seeded\" }}\n"
    ))
}

/// The model before and after the run.
fn ends(federation: &Federation, folder: &Path) -> (Vec<f32>, Vec<f32>) {
    let bytes = model(folder);
    let file = model_file::decode(&bytes).unwrap();
    let after = file.parameters_for(federation.model.layout()).unwrap();
    (federation.initial_parameters(), after)
}

#[test]
fn canaries_spend_the_whole_sensitivity_and_the_audit_stays_below_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&central(1.0));
    let federation = Federation::load(&experiment).unwrap();
    let inside = canary::inside(3, CANARIES);
    assert_eq!(federation.clients(), 10 + inside.len());
    assert_eq!(experiment.population(), Some(federation.clients() as u32));
    go(&experiment, &options(folder.path(), 2));
    assert!(!folder.path().join("unattacked").exists());

    let (before, after) = ends(&federation, folder.path());
    let scores = canary::scores(3, CANARIES, &[(&before, &after)]).unwrap();
    let coins = canary::coins(3, CANARIES);
    // Each round moves the model by the clipping norm over the cohort along each direction inside.
    let unit = CLIP / federation.clients() as f64;
    let mean = |side: bool| {
        let pairs = scores.iter().zip(&coins).filter(|(_, coin)| **coin == side);
        let values: Vec<f64> = pairs.map(|(score, _)| score / unit).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    // The noise is 1 a round: a standard error of 2 / sqrt(150); directions and the honest add little. Five of them.
    assert!(
        (mean(true) - f64::from(ROUNDS)).abs() < 1.0,
        "{}",
        mean(true)
    );
    assert!(mean(false).abs() < 1.0, "{}", mean(false));

    // Mu is sqrt(4): the bounds hold, and find something.
    let event = Event::Repeated {
        event: Box::new(Event::Gaussian {
            noise_multiplier: 1.0,
        }),
        count: ROUNDS.into(),
    };
    let question = Question::new(Neighbouring::AddRemove, 1e-3);
    let claim = epsilon(&event, &question).unwrap().epsilon;
    let tail = CANARIES as usize / 10;
    let guesses = Guesses::of(&scores, &coins, tail, tail).unwrap();
    let plain = guesses.lower_bound(1e-3, 0.95).unwrap();
    let gaussian = guesses.lower_bound_gaussian(1e-3, 0.95).unwrap();
    eprintln!("{guesses:?}: {plain:.2}, {gaussian:.2} of {claim:.2}");
    assert!(0.5 < plain && plain < gaussian && gaussian < claim);

    let step: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let cosines = one_shot::cosines(3, CANARIES, &step);
    let of = |side: bool| -> Vec<f64> {
        let pairs = cosines
            .iter()
            .zip(&coins)
            .filter(|(_, coin)| **coin == side);
        pairs.map(|(cosine, _)| *cosine).collect()
    };
    let unseen = of(false);
    let null = one_shot::Null::Unseen(&unseen);
    let estimate = one_shot::estimate(&of(true), null, 1e-3).unwrap();
    eprintln!("{estimate:?}");
    // An estimate from some 150 canaries a side.
    assert!(
        (estimate.epsilon / claim - 1.0).abs() < 0.35,
        "{estimate:?} {claim}"
    );
}

/// Hardly any noise: the canaries are all found, and a claim of epsilon 2 is refuted.
#[test]
fn without_noise_the_audit_exceeds_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&central(0.01));
    let federation = Federation::load(&experiment).unwrap();
    go(&experiment, &options(folder.path(), 2));
    let (before, after) = ends(&federation, folder.path());
    let scores = canary::scores(3, CANARIES, &[(&before, &after)]).unwrap();
    let coins = canary::coins(3, CANARIES);
    let tail = CANARIES as usize * 27 / 100;
    let guesses = Guesses::of(&scores, &coins, tail, tail).unwrap();
    assert!(
        guesses.lower_bound(1e-3, 0.95).unwrap() > 2.0,
        "{guesses:?}"
    );
}

#[test]
fn runs_with_canaries_repeat_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&config(""));
    let mut seen = Vec::new();
    for threads in [1, 3] {
        let out = folder.path().join(threads.to_string());
        go(&experiment, &options(&out, threads));
        seen.push((model(&out), rounds(&out)));
    }
    assert_eq!(seen[0], seen[1]);
    let record = RunRecord::read(&folder.path().join("1")).unwrap();
    let attack = record.summary.unwrap().attack.unwrap();
    assert_eq!(attack.kind, "canary");
    assert_eq!(attack.clients as usize, canary::inside(3, CANARIES).len());
}
