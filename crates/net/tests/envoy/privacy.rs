//! What a site spends, and where it stops.

use std::fs;

use cloister_net::envoy::{Envoy, EnvoyError};
use cloister_net::experiment::Answer;
use cloister_net::transport::ParcelKind;
use cloister_privacy::{Event, Ledger};

use super::support::*;

const DP_SGD: &str =
    "[privacy]\nmechanism = \"dp-sgd\"\nnoise_multiplier = 1.5\ndelta = 1e-5\nclip = 1.0\n";
const LOCAL: &str =
    "[privacy]\nmechanism = \"local-gaussian\"\nnoise_multiplier = 9.0\ndelta = 1e-5\n";
const CENTRAL: &str = "[aggregation]\nweights = \"uniform\"\n[privacy]\nmechanism = \"central-gaussian\"\nnoise_multiplier = 4.0\ndelta = 1e-5\n";
const DISTRIBUTED: &str = "[aggregation]\nweights = \"uniform\"\n[secure_aggregation]\nminimum_cohort = 3\n\
    [privacy]\nmechanism = \"distributed-discrete-gaussian\"\nnoise_multiplier = 4.0\ndelta = 1e-5\n";

fn entries(house: &House, place: usize) -> Vec<cloister_privacy::Entry> {
    let path = house.dir(place).join("ledger/heart-disease.jsonl");
    Ledger::read(&path).unwrap().entries().to_vec()
}

#[test]
fn each_training_is_on_the_ledger_before_it_is_sent() {
    for (more, unit, rounds) in [
        (DP_SGD, "example/zero-out/1-", 3),
        (LOCAL, "client/replace-one/1-", 3),
        (DISTRIBUTED, "client/zero-out/1-", 3),
        ("", "client/zero-out/1-", 3),
    ] {
        let house = House::new("");
        let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
        let experiment = experiment(&format!("{SMALL}{more}"));
        let offer = house.offer(1, &experiment);
        let charter = house.begin(&envoys, &offer);
        let mut desk = Desk::new(&house, &offer, &charter, &experiment);
        for round in 1..=3 {
            desk.round(&mut envoys, |place, _| {
                let entries = entries(&house, place);
                assert_eq!(entries.last().unwrap().round, round);
            });
        }
        for place in 0..4 {
            let entries = entries(&house, place);
            assert_eq!(entries.len(), rounds, "{more}");
            assert!(entries.iter().all(|entry| entry.holder.starts_with(unit)));
            let is_bare = matches!(entries[0].event, Event::NotPrivate { .. });
            assert_eq!(is_bare, more.is_empty());
        }
        assert_eq!(desk.refused, [""; 0], "{more}");
    }
}

#[test]
fn rounds_without_the_site_are_charged_at_the_end_where_coins_decide() {
    let house = House::new("");
    let envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(&format!("{SMALL}{CENTRAL}"));
    let offer = house.offer(1, &experiment);
    house.begin(&envoys, &offer);
    envoys[0].closing(&json(&closing(1, 900))).unwrap();
    let entries = entries(&house, 0);
    // Never more than were planned, whatever the director says.
    assert_eq!(
        (entries.len(), entries[0].round, entries[0].count),
        (1, 3, 3)
    );
}

#[test]
fn the_budget_refuses_the_experiment_that_is_one_too_many_also_after_a_restart() {
    let text = format!("{SMALL}{DP_SGD}");
    let experiment = experiment(&text);
    // What one costs the first site, by its own accountant.
    let house = House::new("[policy.budget]\nepsilon = 1000.0\ndelta = 1e-5\n");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    while !desk.server.is_finished() {
        desk.round(&mut envoys, |_, _| {});
    }
    let one = envoys[0].status().unwrap().datasets[0].epsilon.unwrap();
    assert!(one > 0.0 && one.is_finite(), "{one}");
    drop(envoys);

    // Room for two, less a little.
    let policy = format!("[policy.budget]\nepsilon = {}\ndelta = 1e-5\n", 1.5 * one);
    for place in 0..4 {
        house.configure(place, &owners()[place], &policy);
    }
    let mut envoy = house.open(0);
    let mut second = house.offer(2, &experiment);
    second.operator = "olga2".to_owned();
    let accepted = answered(&envoy, &second);
    assert!(matches!(accepted, Answer::Accept { .. }), "{accepted:?}");
    // Accepted is promised, though nothing of it was trained.
    for _ in 0..2 {
        let reason = declined(&envoy, &house.offer(3, &experiment));
        assert!(reason.contains("privacy budget"), "{reason}");
        assert!(reason.contains("epsilon would be"), "{reason}");
        reopen(&house, 0, &mut envoy);
    }
    // What was promised to the second is free again when that ends before it began.
    envoy.closing(&json(&closing(2, 0))).unwrap();
    sent(&envoy);
    envoy.closing(&json(&closing(3, 0))).unwrap();
    sent(&envoy);
    let fourth = answered(&envoy, &house.offer(4, &experiment));
    assert!(matches!(fourth, Answer::Accept { .. }), "{fourth:?}");
}

#[test]
fn a_budget_that_was_lowered_ends_the_training_and_not_only_the_next_experiment() {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(&format!("{SMALL}{DP_SGD}"));
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.round(&mut envoys, |_, _| {});
    house.configure(
        1,
        &owners()[1],
        "[policy.budget]\nepsilon = 0.01\ndelta = 1e-5\n",
    );
    reopen(&house, 1, &mut envoys[1]);
    let before = entries(&house, 1).len();
    desk.round(&mut envoys, |_, _| {});
    assert_eq!(desk.refused.len(), 1, "{:?}", desk.refused);
    assert!(
        desk.refused[0].contains("privacy budget"),
        "{:?}",
        desk.refused
    );
    assert_eq!(entries(&house, 1).len(), before);
}

#[test]
fn a_policy_that_became_stricter_takes_the_acceptance_back_in_words() {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(SMALL);
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.round(&mut envoys, |_, _| {});
    house.configure(
        0,
        &owners()[0],
        "[policy]\nsecure_aggregation = \"required\"\n",
    );
    reopen(&house, 0, &mut envoys[0]);
    desk.server.begin_round(desk.now).unwrap();
    let (_, number, file) = desk.calls().remove(0);
    for again in [false, true] {
        let error = envoys[0].message(1, number, &file, desk.now).unwrap_err();
        assert!(matches!(error, EnvoyError::Refused { .. }), "{error}");
        let said = sent(&envoys[0]);
        // Once; the director fails the experiment with these words.
        assert_eq!(said.len(), usize::from(!again));
        for (parcel, bytes) in said {
            assert_eq!((parcel.kind, parcel.number), (ParcelKind::Answer, 0));
            let Answer::Decline { reason } = serde_json::from_slice(&bytes).unwrap() else {
                panic!("accepted");
            };
            assert!(reason.contains("requires secure aggregation"), "{reason}");
        }
    }
}

#[test]
fn a_ledger_that_was_shortened_stops_the_site() {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(&format!("{SMALL}{DP_SGD}"));
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.round(&mut envoys, |_, _| {});
    let path = house.dir(0).join("ledger/heart-disease.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let first = text.find('\n').unwrap() + 1;
    fs::write(&path, &text[..first]).unwrap();
    reopen(&house, 0, &mut envoys[0]);
    desk.server.begin_round(desk.now).unwrap();
    let (_, number, file) = desk.calls().remove(0);
    let error = envoys[0].message(1, number, &file, desk.now).unwrap_err();
    assert!(matches!(error, EnvoyError::Ledger(_)), "{error}");
    assert!(sent(&envoys[0]).is_empty());
    // Put right, the same message is worked on.
    fs::write(&path, &text).unwrap();
    envoys[0].message(1, number, &file, desk.now).unwrap();
    assert_eq!(sent(&envoys[0])[0].0.kind, ParcelKind::Message);
}
