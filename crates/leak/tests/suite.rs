//! The red team on small recorded runs, from the config to the report on the disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cloister_config::Experiment;
use cloister_leak::{
    AuditPlan, Defence, LeakError, MembershipPlan, Overrides, Subject, Suite, SuitePlan, Tried,
    attacks, audit, laboratory, membership, reconstruct, report,
};
use cloister_report::html;
use cloister_report::record::RunRecord;
use cloister_report::record::leakage::{Band, Leakage, MembershipVerdict};

const ONE_STEP: &str = "name = 'leaky'\n\
    data = { dataset = 'digits', limit = 8, partition = { kind = 'iid' } }\n\
    federation = { clients = 8, rounds = 1 }\n\
    model = { kind = 'mlp', hidden = [64] }\n\
    train = { batch_size = 1, learning_rate = 0.1 }\n\
    record = { rounds = [1] }\n";

fn experiment(text: &str, settings: &[&str]) -> Experiment {
    let settings: Vec<String> = settings
        .iter()
        .map(|setting| (*setting).to_owned())
        .collect();
    cloister_config::parse(text.to_owned(), Path::new("test.toml"), &settings, None)
        .unwrap()
        .experiment
}

fn simulate(experiment: &Experiment, folder: &Path) -> Subject {
    let stop = Arc::new(AtomicBool::new(false));
    Subject::simulate(experiment, None, &folder.join("run"), 2, &stop).unwrap()
}

/// The best PSNR over a client's images by the attack of that name, as the transcript of round 1 has its update.
fn best(subject: &Subject, name: &str, adaptive: bool) -> (Band, f64) {
    let sights = subject.sights(1).unwrap();
    let overrides = Overrides {
        iterations: Some(200),
        ..Overrides::default()
    };
    let planned = attacks(subject, &sights[0], Suite::Quick, Some(name), &overrides).unwrap();
    let chosen = planned
        .into_iter()
        .find(|plan| plan.adaptive_to.is_some() == adaptive);
    let made = reconstruct(subject, &[(&sights[0], &chosen.unwrap())], 1, 2).unwrap();
    match made {
        Tried::Made(outcome) => (outcome.row.band, outcome.row.psnr.worst),
        Tried::Skipped(why) => panic!("{name} was not tried: {why}"),
    }
}

#[test]
fn an_undefended_update_is_read_from_the_transcript_and_a_noisy_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let open = simulate(&experiment(ONE_STEP, &[]), &folder.path().join("open"));
    let (band, psnr) = best(&open, "closed-form", false);
    assert_eq!(band, Band::Exact, "{psnr} dB");
    let hidden = [
        "privacy.mechanism=dp-sgd",
        "privacy.noise_multiplier=1.0",
        "privacy.delta=1e-5",
        "privacy.noise=seeded",
    ];
    let hidden = simulate(
        &experiment(ONE_STEP, &hidden),
        &folder.path().join("hidden"),
    );
    let (band, psnr) = best(&hidden, "closed-form", false);
    assert_eq!(band, Band::NoneFound, "{psnr} dB");
}

/// Each defence that goes with an MLP can be put on, and what is recorded under it can be attacked.
#[test]
fn every_defence_has_a_laboratory() {
    let base = experiment(ONE_STEP, &[]);
    for defence in Defence::ALL {
        let made = laboratory(&base, defence, 8, 1);
        if defence == Defence::ConvolutionalBottleneck {
            // There is no convolution to stand behind.
            assert!(made.is_err() || cannot_be_built(&made.unwrap()));
            continue;
        }
        let made = made.unwrap_or_else(|error| panic!("{}: {error}", defence.name()));
        let folder = tempfile::tempdir().unwrap();
        let subject = simulate(&made, folder.path());
        let sights = subject.sights(1).unwrap();
        let (batch, steps) = defence.batch();
        match defence {
            Defence::Masking => {
                assert_eq!(sights.len(), 1);
                assert_eq!(sights[0].examples, 8);
            }
            _ => {
                assert_eq!(sights.len(), 8, "{}", defence.name());
                assert_eq!(sights[0].examples, batch * steps, "{}", defence.name());
            }
        }
    }
}

fn cannot_be_built(experiment: &Experiment) -> bool {
    cloister_sim::Federation::load(experiment).is_err()
}

#[test]
fn the_report_has_its_self_tests_its_control_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let subject = simulate(
        &experiment(ONE_STEP, &["federation.rounds=2"]),
        folder.path(),
    );
    let plan = SuitePlan {
        suite: Suite::Quick,
        compare: vec![Defence::Clip, Defence::Masking],
        seed: 1,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let out = subject.folder().to_owned();
    let made = report(&subject, &plan, &out, 2, &stop, &mut |_| {}).unwrap();
    for test in &made.self_tests {
        assert!(test.passed, "{}: {}", test.name, test.detail);
    }
    assert!(made.self_tests.len() >= 5, "{:?}", made.self_tests);
    assert_eq!(made.worst_band(), Band::Exact);
    let clipped = made.inversions.iter().find(|row| row.defence == "clip-0.1");
    assert_eq!(clipped.unwrap().band, Band::Exact, "clipping is no defence");
    let flagged = |attack: &str| made.guards.iter().find(|row| row.attack.contains(attack));
    assert!(flagged("imprint").unwrap().flagged);
    assert!(!flagged("first model").unwrap().flagged);
    let read = Leakage::read(&out).unwrap().unwrap();
    assert_eq!(read.report, made);
    assert!(!read.pictures.is_empty());
    let page = html::run_page(&RunRecord::read(&out).unwrap()).unwrap();
    assert!(page.contains("data:image/png;base64,"));
}

#[test]
fn a_model_that_knows_its_examples_by_heart_is_told_from_one_that_never_saw_them() {
    let text = "name = 'heart'\n\
        data = { dataset = 'digits', limit = 60, partition = { kind = 'iid' } }\n\
        federation = { clients = 3, rounds = 10 }\n\
        model = { kind = 'mlp', hidden = [64] }\n\
        train = { epochs = 10, batch_size = 10, learning_rate = 0.1 }\n\
        record = { rounds = [1, 5, 10] }\n";
    let folder = tempfile::tempdir().unwrap();
    let subject = simulate(&experiment(text, &[]), folder.path());
    let plan = MembershipPlan {
        attacks: vec![
            "yeom".to_owned(),
            "rmia".to_owned(),
            "fedmia-cosine".to_owned(),
        ],
        shadows: 4,
        members: None,
        seed: 1,
    };
    let found = membership(&subject, &plan, 2).unwrap();
    assert_eq!(found.memberships.len(), 3, "{:?}", found.skipped);
    let loss = &found.memberships[0];
    assert!(loss.auc.low > 0.5, "{:?}", loss.auc);
    assert_ne!(loss.verdict, MembershipVerdict::NoneFound);
    assert!(
        loss.tpr_01.is_none() && loss.refused.is_some(),
        "60 cannot support 0.1 %"
    );
    let unknown = MembershipPlan {
        attacks: vec!["lirra".to_owned()],
        ..plan
    };
    let error = membership(&subject, &unknown, 2).unwrap_err().to_string();
    assert!(
        error.contains("lirra") && error.contains("lira-offline"),
        "{error}"
    );
}

#[test]
fn canaries_bound_epsilon_from_below_and_stay_under_the_claim() {
    let text = "name = 'audited'\n\
        data = { dataset = 'digits', limit = 400, partition = { kind = 'iid' } }\n\
        federation = { clients = 20, rounds = 3 }\n\
        model = { kind = 'logistic' }\n\
        privacy = { mechanism = 'central-gaussian', noise_multiplier = 2.0, clip = 1.0, delta = 1e-4 }\n";
    let folder = tempfile::tempdir().unwrap();
    let plan = AuditPlan {
        canaries: 40,
        guesses: 0.54,
        seed: 1,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let twin = folder.path().join("twin");
    let rows = audit(&experiment(text, &[]), &plan, &twin, 2, &stop).unwrap();
    assert!(rows.len() >= 2);
    for row in &rows {
        assert!(row.claim.is_some() && row.passed, "{row:?}");
    }
}

#[test]
fn what_cannot_be_attacked_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let subject = simulate(
        &experiment(ONE_STEP, &["train.optimizer=adam"]),
        &folder.path().join("adam"),
    );
    let sights = subject.sights(1).unwrap();
    let planned = attacks(
        &subject,
        &sights[0],
        Suite::Quick,
        None,
        &Overrides::default(),
    )
    .unwrap();
    let made = reconstruct(&subject, &[(&sights[0], &planned[0])], 1, 1).unwrap();
    let Tried::Skipped(why) = made else {
        panic!("Adam's steps are no gradients");
    };
    assert!(why.contains("adam"), "{why}");
    let error = subject.transcript(7).unwrap_err();
    assert!(matches!(error, LeakError::NoTranscript { .. }), "{error}");
    assert!(Defence::named("vault").is_err());
}
