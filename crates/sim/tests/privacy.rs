//! Private runs: ledger, claim, budget, resuming, and what a seed voids.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod support;

use std::fs;
use std::path::Path;

use cloister_privacy::accounting::{self, Question};
use cloister_privacy::{Entry, Event, Ledger, Neighbouring, State};
use cloister_report::record::{PrivacyInfo, RunRecord};
use cloister_sim::{Federation, run};

use support::{experiment, go, model, options, rounds, stopped};

const TWENTY: &str = "federation = { clients = 20, rounds = 4, fraction = 0.5, sampling = \"poisson\" }\n\
                      train = { epochs = 1, batch_size = 10, learning_rate = 0.1 }\n";
const FIVE: &str = "federation = { clients = 5, rounds = 4 }\n\
                    train = { epochs = 1, batch_size = 32, learning_rate = 0.2 }\n";

fn central(more: &str) -> String {
    format!(
        "{TWENTY}privacy = {{ mechanism = \"central-gaussian\", delta = 1e-3, clip = 0.5{more} }}\n"
    )
}

fn dp_sgd(more: &str) -> String {
    format!("{FIVE}privacy = {{ mechanism = \"dp-sgd\", delta = 1e-3{more} }}\n")
}

/// One of each kind, with memories where there are some.
fn seeded() -> [String; 6] {
    let turns = FIVE.replace("clients = 5", "clients = 6");
    [
        central(", noise_multiplier = 1.0, noise = \"seeded\""),
        central(
            ", noise_multiplier = 0.4, noise = \"seeded\", adaptive_clip = { count_noise = 2.0 }",
        ),
        dp_sgd(", noise_multiplier = 1.0, noise = \"seeded\", max_batch = 40"),
        format!(
            "{FIVE}privacy = {{ mechanism = \"local-gaussian\", delta = 1e-3, noise_multiplier = 0.1, noise = \"seeded\" }}\n"
        ),
        format!(
            "{turns}privacy = {{ mechanism = \"correlated-gaussian\", delta = 1e-3, noise_multiplier = 1.0, \
             noise = \"seeded\", separation = 2 }}\n"
        ),
        format!(
            "{turns}privacy = {{ mechanism = \"correlated-gaussian\", delta = 1e-3, noise_multiplier = 1.0, \
             noise = \"seeded\", correlation = \"blt\" }}\n"
        ),
    ]
}

fn privacy(folder: &Path) -> PrivacyInfo {
    PrivacyInfo::read(folder).unwrap().unwrap()
}

#[test]
fn seeded_noise_gives_the_same_bits_on_any_number_of_threads_and_no_claim() {
    let folder = tempfile::tempdir().unwrap();
    for (number, more) in seeded().into_iter().enumerate() {
        let experiment = experiment(&more);
        let mut seen = Vec::new();
        for threads in [1, 3] {
            let out = folder.path().join(format!("{number}-{threads}"));
            go(&experiment, &options(&out, threads));
            let ledger = fs::read_to_string(out.join("ledger.jsonl")).unwrap();
            seen.push((model(&out), rounds(&out), ledger));
            let info = privacy(&out);
            assert_eq!(
                (info.epsilon, info.statement.verdict()),
                (None, State::NotPrivate),
                "{more}"
            );
            assert!(
                info.accounted_epsilon.is_some_and(|epsilon| epsilon > 0.0),
                "{more}"
            );
        }
        assert_eq!(seen[0], seen[1], "{more}");
    }
}

#[test]
fn a_seeded_run_resumes_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    for (number, more) in seeded().into_iter().enumerate() {
        let experiment = experiment(&more);
        let federation = Federation::load(&experiment).unwrap();
        let whole = folder.path().join(format!("{number}-whole"));
        go(&experiment, &options(&whole, 2));
        for stop_after in [1, 3] {
            let out = folder.path().join(format!("{number}-{stop_after}"));
            stopped(&federation, &out, stop_after);
            let mut again = options(&out, 2);
            again.resume = true;
            run(&federation, &again, &mut |_| {}).unwrap();
            assert_eq!(
                model(&out),
                model(&whole),
                "{more} stopped after {stop_after}"
            );
            let epsilons = |folder: &Path| -> Vec<Option<f64>> {
                let rounds = RunRecord::read(folder).unwrap().rounds;
                rounds.into_iter().map(|row| row.epsilon).collect()
            };
            assert_eq!(
                epsilons(&out),
                epsilons(&whole),
                "{more} stopped after {stop_after}"
            );
        }
    }
}

/// Secret noise: another model each time, a finite claim, and the claim is the ledger's, by whoever reads it.
#[test]
fn the_claim_is_what_the_ledger_amounts_to() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (more, state)) in [
        (central(", noise_multiplier = 1.0"), State::Private),
        (dp_sgd(", noise_multiplier = 1.0"), State::PrivateWeakerUnit),
    ]
    .into_iter()
    .enumerate()
    {
        let experiment = experiment(&more);
        let outs = [1, 2].map(|again| folder.path().join(format!("{number}-{again}")));
        for out in &outs {
            go(&experiment, &options(out, 2));
        }
        assert_ne!(model(&outs[0]), model(&outs[1]));
        let info = privacy(&outs[0]);
        assert_eq!(info.statement.verdict(), state);
        let ledger = Ledger::read(&outs[0].join("ledger.jsonl")).unwrap();
        let question = Question::new(Neighbouring::ZeroOut, 1e-3);
        let losses = ledger
            .by_holder()
            .into_values()
            .map(|event| accounting::epsilon(&event, &question).unwrap().epsilon);
        let worst = losses.fold(0.0, f64::max);
        let claim = info.epsilon.unwrap();
        assert!(
            (claim - worst).abs() <= 2e-3 * worst,
            "{claim} is not {worst}"
        );
        let last = RunRecord::read(&outs[0])
            .unwrap()
            .rounds
            .last()
            .unwrap()
            .epsilon;
        assert!((last.unwrap() - claim).abs() <= 2e-3 * claim);
        let record = RunRecord::read(&outs[0]).unwrap();
        assert!(record.rounds.iter().all(|row| row.train_loss.is_none()));
    }
}

/// Kills "T - 1 steps" and "epsilon of one round": the ledger has every round, and every step of every client.
#[test]
fn the_ledger_has_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("central");
    go(
        &experiment(&central(", noise_multiplier = 2.0")),
        &options(&out, 2),
    );
    let ledger = Ledger::read(&out.join("ledger.jsonl")).unwrap();
    let expected = Event::PoissonGaussian {
        noise_multiplier: 2.0,
        sampling_rate: 0.5,
    };
    assert_eq!(ledger.entries().len(), 4);
    for (entry, round) in ledger.entries().iter().zip(1..) {
        let Entry {
            round: at,
            holder,
            event,
            count,
        } = entry;
        assert_eq!(
            (*at, holder.as_str(), event, *count),
            (round, Entry::ALL, &expected, 1)
        );
    }
    let out = folder.path().join("dp-sgd");
    let federation = Federation::load(&experiment(&dp_sgd(", noise_multiplier = 2.0"))).unwrap();
    run(&federation, &options(&out, 2), &mut |_| {}).unwrap();
    let ledger = Ledger::read(&out.join("ledger.jsonl")).unwrap();
    assert_eq!(ledger.entries().len(), 4 * 5);
    for entry in ledger.entries() {
        let share = federation
            .partition
            .clients
            .iter()
            .find(|share| share.name == entry.holder);
        let examples = share.unwrap().rows.len();
        assert_eq!(entry.count, examples.div_ceil(32) as u64);
        assert!(
            matches!(
                entry.event,
                Event::PoissonGaussian { sampling_rate, .. }
                    if sampling_rate == (32.0 / examples as f64)
            ) || examples <= 32
        );
    }
}

#[test]
fn a_run_stops_before_the_round_that_would_break_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = experiment(&central(", noise_multiplier = 1.0, epsilon = 4.0"));
    experiment.federation.rounds = 50;
    let out = folder.path().join("run");
    let outcome = go(&experiment, &options(&out, 2));
    let summary = outcome.summary.unwrap();
    assert!((2..50).contains(&summary.rounds), "{}", summary.rounds);
    let spent = summary.privacy.unwrap().epsilon.unwrap();
    let event = Event::PoissonGaussian {
        noise_multiplier: 1.0,
        sampling_rate: 0.5,
    };
    let next = Event::Repeated {
        event: Box::new(event),
        count: u64::from(summary.rounds) + 1,
    };
    let next = accounting::epsilon(&next, &Question::new(Neighbouring::ZeroOut, 1e-3)).unwrap();
    assert!(
        spent <= 4.0 && next.epsilon > 4.0,
        "{spent}, {}",
        next.epsilon
    );
    let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
    assert!(events.contains("privacy-budget"), "{events}");
    // Not even one round: refused before any data is used.
    experiment.privacy.as_mut().unwrap().epsilon = Some(0.1);
    let error = Federation::load(&experiment).unwrap_err().to_string();
    assert!(error.contains("the first round alone costs"), "{error}");
}

#[test]
fn a_private_run_does_not_go_on_without_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let federation = Federation::load(&experiment(&central(", noise_multiplier = 1.0"))).unwrap();
    let out = folder.path().join("run");
    stopped(&federation, &out, 2);
    let path = out.join("ledger.jsonl");
    let ledger = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = ledger.lines().collect();
    let mut again = options(&out, 2);
    again.resume = true;
    let shorter = lines[..2].join("\n") + "\n";
    let changed = ledger.replace("0.5", "0.1");
    for (text, words) in [
        (None, "ledger"),
        (Some(shorter.as_str()), "the checkpoint knows of"),
        (Some(changed.as_str()), "does not match its hash"),
    ] {
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = run(&federation, &again, &mut |_| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    // With it, secret noise goes on, and every round that may have been released counts.
    fs::write(&path, &ledger).unwrap();
    let summary = run(&federation, &again, &mut |_| {})
        .unwrap()
        .summary
        .unwrap();
    assert_eq!(summary.rounds, 4);
    assert!(Ledger::read(&path).unwrap().entries().len() >= 4);
}

/// The tutorials' experiment in short, on bundled digits: private training learns, and more budget helps. One seed, so that
/// the figures are fixed.
#[test]
fn private_training_learns() {
    let folder = tempfile::tempdir().unwrap();
    let accuracy = |epsilon: f64| {
        let mut experiment = experiment(&dp_sgd(&format!(
            ", epsilon = {epsilon}, noise = \"seeded\""
        )));
        experiment.data.partition = toml::from_str("kind = \"iid\"").unwrap();
        experiment.federation.rounds = 15;
        let out = folder.path().join(format!("{epsilon}"));
        go(&experiment, &options(&out, 2))
            .summary
            .unwrap()
            .final_
            .accuracy
            .unwrap()
    };
    let (little, much) = (accuracy(0.5), accuracy(10.0));
    assert!(much > 0.75 && much > little + 0.1, "{little}, {much}");
}
