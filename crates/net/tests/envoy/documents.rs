//! Offers, charters, closings: the policy's words, and bytes that are nothing of the kind.

use std::time::Duration;

use cloister_host::to_hex;
use cloister_net::envoy::{Envoy, EnvoyError};
use cloister_net::experiment::{Answer, Offer};
use cloister_net::transport::Receipt;
use proptest::prelude::*;

use super::support::*;

#[test]
fn a_policy_refuses_with_its_words() {
    let dp = "[privacy]\nmechanism = \"dp-sgd\"\nnoise_multiplier = 1.5\ndelta = 1e-5\n";
    let masked = "[secure_aggregation]\nminimum_cohort = 3\n";
    let local = "[privacy]\nmechanism = \"local-gaussian\"\nnoise_multiplier = 0.1\ndelta = 1e-5\n";
    for (policy, more, words) in [
        ("models = [\"mlp\"]", "", "no model of kind 'logistic'"),
        (
            "operators = [\"otto\"]",
            "",
            "no experiments of the operator 'olga'",
        ),
        (
            "datasets = []",
            "",
            "does not let 'heart-disease' be trained on",
        ),
        (
            "minimum_cohort = 5",
            "",
            "rounds of at least 5 members; the experiment has rounds of 4",
        ),
        (
            "minimum_cohort = 4",
            masked,
            "secure_aggregation.minimum_cohort is 3",
        ),
        (
            "secure_aggregation = \"required\"",
            dp,
            "this site requires secure aggregation; the experiment has none",
        ),
        (
            "mechanisms = [\"local-gaussian\"]",
            dp,
            "local-gaussian; the experiment has dp-sgd",
        ),
        (
            "mechanisms = [\"dp-sgd\"]",
            "",
            "dp-sgd; the experiment has none",
        ),
        (
            "max_rounds = 2",
            "",
            "at most 2 rounds; the experiment has 3",
        ),
        ("max_parameters = 10", "", "at most 10 parameters"),
        (
            "budget = { epsilon = 1.0, delta = 1e-5 }",
            "",
            "an unlimited epsilon",
        ),
        (
            "budget = { epsilon = 1.0, delta = 1e-5 }",
            local,
            "the budget is 1",
        ),
    ] {
        let house = House::new(&format!("[policy]\n{policy}\n"));
        let experiment = experiment(&format!("{SMALL}{more}"));
        let reason = declined(&house.open(0), &house.offer(1, &experiment));
        assert!(reason.contains(words), "{policy}: {reason}");
    }
}

#[test]
fn an_offer_that_does_not_fit_is_declined_with_the_reason() {
    let house = House::new("");
    let envoy = house.open(0);
    let experiment = experiment(SMALL);
    type Change = fn(&mut Offer);
    let cases: [(Change, &str); 8] = [
        (|o| o.federation = "banks".into(), "the offer is of 'banks'"),
        (
            |o| o.sites.retain(|site| site != "site-0"),
            "not among the sites",
        ),
        (|o| o.data.shape = [1, 1, 3], "needs 1x1x3"),
        (|o| o.data.classes.reverse(), "the experiment needs"),
        (
            |o| o.data.dataset = "other".into(),
            "its config for another data set",
        ),
        (
            |o| o.config.push_str("[attack]\nkind = \"ipm\"\n"),
            "attack",
        ),
        (|o| o.config = "x".into(), "TOML"),
        (
            |o| {
                o.config = o.config.replace("\"heart-disease\"", "\"wdbc\"");
                o.data.dataset = "wdbc".into();
            },
            "this site has no data set 'wdbc'",
        ),
    ];
    for ((change, words), id) in cases.into_iter().zip(1..) {
        let mut offer = house.offer(id, &experiment);
        change(&mut offer);
        let reason = declined(&envoy, &offer);
        assert!(reason.contains(words), "{words}: {reason}");
        // A declined experiment that begins all the same is declined again.
        let charter = house.charter(&offer, &[1, 1, 1, 1]);
        envoy
            .charter(&json(&charter), &house.ca(), &house.director(), NOW)
            .unwrap();
        let again: Answer = serde_json::from_slice(&sent(&envoy)[0].1).unwrap();
        assert_eq!(again, Answer::Decline { reason });
    }
}

#[test]
fn the_same_offer_gets_the_same_answer_and_an_ended_one_none_any_more() {
    let house = House::new("");
    let mut envoy = house.open(0);
    let experiment = experiment(SMALL);
    let offer = house.offer(1, &experiment);
    envoy.offer(&json(&offer), NOW).unwrap();
    let waiting = envoy.outbox().unwrap();
    envoy.offer(&json(&offer), NOW + 5).unwrap();
    reopen(&house, 0, &mut envoy);
    assert_eq!(envoy.outbox().unwrap().len(), 1);
    let first = sent(&envoy);
    assert_eq!(waiting[0].parcel, first[0].0);
    assert!(envoy.outbox().unwrap().is_empty());
    envoy.offer(&json(&offer), NOW).unwrap();
    assert_eq!(sent(&envoy), first);
    // In other words, while nothing has begun: as new.
    let mut other = offer.clone();
    other.operator = "otto".to_owned();
    assert!(matches!(answered(&envoy, &other), Answer::Accept { .. }));
    let examples = match answered(&envoy, &offer) {
        Answer::Accept { examples, .. } => examples,
        decline => panic!("{decline:?}"),
    };
    let charter = house.charter(&offer, &[examples, 9, 9, 9]);
    assert_eq!(chartered(&house, &envoy, &charter), None);
    assert_eq!(chartered(&house, &envoy, &charter), None);
    let error = envoy.offer(&json(&other), NOW).unwrap_err();
    assert!(matches!(error, EnvoyError::Differs { .. }), "{error}");
    let different = house.charter(&offer, &[examples, 9, 9]);
    let error = envoy
        .charter(&json(&different), &house.ca(), &house.director(), NOW)
        .unwrap_err();
    assert!(matches!(error, EnvoyError::Differs { .. }), "{error}");
    for _ in 0..2 {
        envoy.closing(&json(&closing(1, 0))).unwrap();
        let done = sent(&envoy);
        assert_eq!((done[0].0.number, done[0].0.part), (0, 1));
        reopen(&house, 0, &mut envoy);
    }
    let reason = declined(&envoy, &offer);
    assert!(reason.contains("is over"), "{reason}");
}

#[test]
fn a_charter_that_does_not_fit_takes_the_acceptance_back() {
    let (house, strangers) = (House::new(""), House::new(""));
    let masked = format!("{SMALL}[secure_aggregation]\nminimum_cohort = 3\n");
    for text in [SMALL, &masked] {
        let experiment = experiment(text);
        let envoy = house.open(0);
        let mut id = if text == SMALL { 1 } else { 100 };
        let mut refused = |words: &str, change: &dyn Fn(&mut cloister_net::experiment::Charter)| {
            id += 1;
            let offer = house.offer(id, &experiment);
            let Answer::Accept { examples, .. } = answered(&envoy, &offer) else {
                panic!("declined");
            };
            let mut charter = house.charter(&offer, &[examples, 50, 60, 70]);
            change(&mut charter);
            for _ in 0..2 {
                let reason = chartered(&house, &envoy, &charter).unwrap();
                assert!(reason.contains(words), "{words}: {reason}");
            }
            let error = envoy
                .message(
                    id,
                    1,
                    &house.dir(0).join("ca.pem"),
                    Duration::from_secs(NOW),
                )
                .unwrap_err();
            assert!(matches!(error, EnvoyError::Unknown(_)), "{error}");
        };
        refused("another config", &|c| {
            c.config_sha256.replace_range(..2, "zz")
        });
        refused("this site is not in it", &|c| drop(c.members.remove(0)));
        refused("each once", &|c| c.members.push(c.members[0].clone()));
        refused("in it twice", &|c| {
            let mut own = c.members[0].clone();
            own.client = 9;
            c.members.push(own);
        });
        let foreign = to_hex(&strangers.certificate("sites/site-1/cert.pem"));
        refused("InvalidSignature", &|c| {
            c.members[1].certificate = foreign.clone()
        });
        let own = to_hex(&strangers.certificate("sites/site-0/cert.pem"));
        refused("InvalidSignature", &|c| {
            c.members[0].certificate = own.clone()
        });
        refused("is of", &|c| {
            c.members[1].certificate = c.members[2].certificate.clone()
        });
        refused("not hex", &|c| c.members[1].certificate = "x".into());
        refused("was not among", &|c| c.members[1].site = "site-9".into());
        refused("examples, it says", &|c| c.members[0].examples += 1);
        let few = match text == SMALL {
            true => "rounds of at least 3 members",
            false => "2 members at the call, 3 needed",
        };
        refused(few, &|c| c.members.truncate(2));
        let operator = to_hex(&house.certificate("operators/olga/cert.pem"));
        refused("charter: ", &|c| c.director = operator.clone());
    }
}

#[test]
fn a_charter_names_the_director_that_is_talked_to() {
    let house = House::new("");
    let envoy = house.open(0);
    let offer = house.offer(1, &experiment(SMALL));
    let Answer::Accept { examples, .. } = answered(&envoy, &offer) else {
        panic!("declined");
    };
    let before = house.charter(&offer, &[examples, 50, 60, 70]);
    // Over a connection with somebody else who has a certificate of the federation.
    let own = house.certificate("sites/site-0/cert.pem");
    envoy
        .charter(&json(&before), &house.ca(), &own, NOW)
        .unwrap();
    let answer: Answer = serde_json::from_slice(&sent(&envoy)[0].1).unwrap();
    assert!(matches!(answer, Answer::Decline { .. }), "{answer:?}");
}

#[test]
fn a_folder_that_does_not_belong_together_is_refused() {
    let house = House::new("");
    let (a, b) = (house.dir(0), house.dir(1));
    let open = || Envoy::open(&a).unwrap_err().to_string();
    copy(&b, &a, &["cert.pem"]);
    assert!(open().contains("site-0"), "{}", open());
    copy(&b, &a, &["envoy.toml"]);
    assert!(open().contains("another key"), "{}", open());
    let one = house.open(1);
    let error = Envoy::open(&b).unwrap_err().to_string();
    assert!(error.contains("another envoy"), "{error}");
    assert_eq!(one.name().as_str(), "site-1");
}

#[test]
fn a_refused_parcel_is_not_sent_again() {
    let house = House::new("");
    let envoy = house.open(0);
    envoy
        .offer(&json(&house.offer(1, &experiment(SMALL))), NOW)
        .unwrap();
    let parcel = envoy.outbox().unwrap()[0].parcel.clone();
    let mut other = parcel.clone();
    other.sha256 = [1; 32];
    envoy.receipt(&other, &Receipt::Taken).unwrap();
    assert_eq!(envoy.outbox().unwrap().len(), 1);
    let refused = Receipt::Refused("too late".to_owned());
    envoy.receipt(&parcel, &refused).unwrap();
    assert!(envoy.outbox().unwrap().is_empty());
}

#[test]
fn any_bytes_are_answered_with_an_error() {
    let house = House::new("");
    let envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(SMALL);
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.server.begin_round(desk.now).unwrap();
    let (_, _, file) = desk.calls().remove(0);
    let message = std::fs::read(&file).unwrap();
    let documents = [json(&offer), json(&charter), json(&closing(1, 1)), message];
    let (ca, director) = (house.ca(), house.director());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    let strategy = (
        prop::collection::vec(any::<u8>(), 0..300),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    );
    runner
        .run(&strategy, |(noise, place, cut)| {
            let envoy = &envoys[0];
            for document in &documents {
                let at = place.index(document.len());
                let mut changed = document.clone();
                for (byte, noise) in changed[at..].iter_mut().zip(noise.iter().take(3)) {
                    *byte = *noise;
                }
                for bytes in [&noise[..], &document[..cut.index(document.len())]] {
                    prop_assert!(envoy.offer(bytes, NOW).is_err());
                    prop_assert!(envoy.charter(bytes, &ca, &director, NOW).is_err());
                    prop_assert!(
                        envoy.charter(document, bytes, bytes, NOW).is_err()
                            || document == &documents[1]
                    );
                    prop_assert!(envoy.closing(bytes).is_err());
                    std::fs::write(&file, bytes).unwrap();
                    prop_assert!(envoy.message(1, 50, &file, desk.now).is_err());
                }
                // One that still reads may be taken; none may panic.
                std::fs::write(&file, &changed).unwrap();
                let _ = envoy.message(1, 51, &file, desk.now);
            }
            Ok(())
        })
        .unwrap();
    let long = vec![b' '; (1 << 20) + 1];
    let error = envoys[0].offer(&long, NOW).unwrap_err();
    assert!(matches!(error, EnvoyError::Document { .. }), "{error}");
}
