//! The rules, on rounds made by hand.

use std::time::Duration;

use cloister_protocol::ReplyFigures;

use super::*;

const CONFIG: &str =
    "name = \"watched\"\ndata = { dataset = \"digits\" }\nmodel = { kind = \"mlp\" }\n";

fn monitor(more: &str) -> Monitor {
    let experiment: Experiment = toml::from_str(&format!("{CONFIG}{more}")).unwrap();
    Monitor::new(&experiment, 1_000).unwrap()
}

/// Ten clients that differ a little, from round to round, too.
fn report(round: u32) -> RoundReport {
    let reply = |client: u32| {
        let wobble = 0.02 * f64::from((client * 7 + round * 3) % 5);
        ReplyFigures {
            client: ClientId(client),
            examples: 100,
            loss: Some(0.5 + wobble),
            norm: 1.0 + wobble,
            direction: Some(0.6 + wobble),
        }
    };
    RoundReport {
        round,
        abandoned: None,
        cohort: 10,
        accepted: 10,
        refused: 0,
        missing: 0,
        train_loss: None,
        clip: None,
        bytes_up: 0,
        bytes_down: 0,
        duration: Duration::ZERO,
        verdicts: Vec::new(),
        replies: (0..10).map(reply).collect(),
        turned_away: Vec::new(),
        silent: Vec::new(),
        masked: None,
    }
}

fn told(monitor: &mut Monitor, report: &RoundReport, accuracy: Option<f64>) -> Findings {
    let row = RoundRow {
        round: report.round,
        test_accuracy: accuracy,
        ..RoundRow::default()
    };
    let observed = Observed {
        report,
        row: &row,
        excess: None,
        beyond_budget: None,
    };
    monitor.observe(&observed, |client| format!("client {}", client.0))
}

/// (round, rule, client) of the flags of 20 rounds that `change` has changed.
fn flags(monitor: &mut Monitor, change: impl Fn(&mut RoundReport)) -> Vec<(u32, String, String)> {
    let mut flags = Vec::new();
    for round in 1..=20 {
        let mut report = report(round);
        change(&mut report);
        for event in told(monitor, &report, Some(0.9)).flags {
            let flag = AnomalyFlag::of(&event).unwrap();
            flags.push((event.round, flag.rule, event.client.unwrap_or_default()));
        }
    }
    flags
}

fn one(round: u32, rule: &str, client: u32) -> Vec<(u32, String, String)> {
    vec![(round, rule.to_owned(), format!("client {client}"))]
}

#[test]
fn alike_clients_are_not_flagged() {
    assert_eq!(flags(&mut monitor(""), |_| {}), []);
}

#[test]
fn each_departure_is_flagged_once_by_its_rule() {
    let from_six = |of: fn(&mut ReplyFigures)| {
        move |report: &mut RoundReport| {
            if report.round >= 6 {
                of(&mut report.replies[3]);
            }
        }
    };
    let found = |of| flags(&mut monitor(""), from_six(of));
    // The third departure among the last five replies makes the flag, and while it lasts there is no other.
    assert_eq!(found(|reply| reply.norm *= 10.0), one(8, "norm", 3));
    assert_eq!(found(|reply| reply.norm = 0.0), one(8, "norm", 3));
    let turned = |reply: &mut ReplyFigures| reply.direction = Some(-0.7);
    assert_eq!(found(turned), one(8, "direction", 3));
    // Whoever follows the others better than they each other departs from nothing.
    assert_eq!(found(|reply| reply.direction = Some(1.0)), []);
    assert_eq!(found(|reply| reply.examples = 50), one(6, "examples", 3));
    let unlearned = |reply: &mut ReplyFigures| reply.loss = Some(4.0);
    assert_eq!(found(unlearned)[0], one(8, "loss", 3)[0]);
}

#[test]
fn a_single_departure_is_none() {
    let once = |report: &mut RoundReport| {
        if report.round.is_multiple_of(5) {
            report.replies[3].norm *= 100.0;
        }
    };
    assert_eq!(flags(&mut monitor(""), once), []);
    let at_once = "anomalies = { persistence = 1 }\n";
    let rounds: Vec<u32> = flags(&mut monitor(at_once), once)
        .into_iter()
        .map(|(round, ..)| round)
        .collect();
    // Between them a whole window was without any: each is new.
    assert_eq!(rounds, [5, 10, 15, 20]);
}

#[test]
fn data_that_change_show_in_the_loss() {
    // Below the threshold of a departure, above that of a change: this client was always the easiest.
    let more = "anomalies = { deviation = 4.0 }\n";
    let drifts = |report: &mut RoundReport| {
        report.replies[3].loss = Some(match report.round {
            ..12 => 0.36,
            _ => 0.74,
        });
    };
    let found = flags(&mut monitor(more), drifts);
    assert_eq!(found, one(14, "drift", 3));
}

#[test]
fn silence_and_refusals_count_in_a_row() {
    let gone = |rounds: std::ops::RangeInclusive<u32>, refused: bool| {
        move |report: &mut RoundReport| {
            if rounds.contains(&report.round) {
                report.replies.remove(3);
                match refused {
                    true => report.turned_away.push(ClientId(3)),
                    false => report.silent.push(ClientId(3)),
                }
            }
        }
    };
    assert_eq!(flags(&mut monitor(""), gone(4..=5, false)), []);
    assert_eq!(
        flags(&mut monitor(""), gone(4..=9, false)),
        one(6, "silent", 3)
    );
    assert_eq!(
        flags(&mut monitor(""), gone(4..=9, true)),
        one(6, "refused", 3)
    );
}

#[test]
fn falls_of_accuracy_are_told_from_beginnings() {
    let course = |accuracies: &[f64]| {
        let mut monitor = monitor("");
        let mut rules = Vec::new();
        for (round, accuracy) in (1..).zip(accuracies) {
            for event in told(&mut monitor, &report(round), Some(*accuracy)).flags {
                rules.push((round, AnomalyFlag::of(&event).unwrap().rule));
            }
        }
        rules
    };
    let flag = |round: u32, rule: &str| (round, rule.to_owned());
    assert_eq!(course(&[0.5, 0.2, 0.6, 0.8, 0.75, 0.8]), []);
    assert_eq!(course(&[0.5, 0.6, 0.8, 0.6, 0.8]), [flag(4, "accuracy")]);
    // Step by step.
    let slow = [0.5, 0.6, 0.8, 0.72, 0.65, 0.58, 0.52, 0.5, 0.5];
    assert_eq!(course(&slow), [flag(8, "decline")]);
}

#[test]
fn a_loss_that_is_no_number_and_money_that_is_spent_twice() {
    let mut monitor = monitor("");
    let row = RoundRow {
        round: 1,
        test_loss: Some(f64::NAN),
        ..RoundRow::default()
    };
    let report = report(1);
    let excess = Excess {
        holder: "all".to_owned(),
        releases: 3,
        planned: 1,
        epsilon: 1.5,
        planned_epsilon: 1.0,
    };
    let observed = Observed {
        report: &report,
        row: &row,
        excess: Some(excess),
        beyond_budget: Some((9.0, 3.0)),
    };
    let findings = monitor.observe(&observed, |_| String::new());
    let rules = |findings: &Findings| -> Vec<String> {
        let flags = findings.flags.iter().filter_map(AnomalyFlag::of);
        flags.map(|flag| flag.rule).collect()
    };
    assert_eq!(rules(&findings), ["diverged", "epsilon", "budget"]);
    // The same excess, and the same loss, are no news.
    let observed = Observed {
        beyond_budget: None,
        ..observed
    };
    assert_eq!(monitor.observe(&observed, |_| String::new()).flags, []);
}

#[test]
fn few_replies_are_not_compared_and_the_page_says_so() {
    let mut monitor = monitor("");
    let few = |report: &mut RoundReport| {
        report.replies.truncate(4);
        report.replies[0].norm *= 1e6;
    };
    assert_eq!(flags(&mut monitor, few), []);
    let info = monitor.info(|_| String::new());
    assert!(
        info.scope[1].starts_with("0 of 20 rounds had the 5 replies"),
        "{info:?}"
    );
}

#[test]
fn a_memory_that_was_put_away_goes_on_as_if_it_had_not_been() {
    let change = |report: &mut RoundReport| {
        let round = report.round;
        report.replies[3].norm *= if round.is_multiple_of(3) { 1.0 } else { 30.0 };
        if round >= 7 {
            report.replies[5].loss = Some(f64::from(round));
        }
        if round > 10 {
            report.replies.remove(8);
            report.silent.push(ClientId(8));
        }
    };
    let whole = {
        let mut monitor = monitor("");
        let found = flags(&mut monitor, change);
        (found, monitor.memory)
    };
    assert!(whole.0.len() >= 3);
    for stop in 1..20 {
        let mut first = monitor("");
        let mut found = Vec::new();
        let mut go = |monitor: &mut Monitor, round: u32| {
            let mut report = report(round);
            change(&mut report);
            for event in told(monitor, &report, Some(0.9)).flags {
                let rule = AnomalyFlag::of(&event).unwrap().rule;
                found.push((round, rule, event.client.unwrap_or_default()));
            }
        };
        (1..=stop).for_each(|round| go(&mut first, round));
        let mut notes = serde_json::Map::new();
        first.remember(&mut notes);
        let text = serde_json::to_string(&notes).unwrap();
        let mut second = monitor("");
        second.recall(&serde_json::from_str(&text).unwrap());
        (stop + 1..=20).for_each(|round| go(&mut second, round));
        assert_eq!((&found, &second.memory), (&whole.0, &whole.1), "{stop}");
    }
}

#[test]
fn what_is_not_seen_is_not_judged() {
    let scope = |more: &str| monitor(more).info(|_| String::new()).scope.join(" ");
    assert!(scope("").contains("saw each update"));
    let masked = scope("secure_aggregation = { minimum_cohort = 6 }\n");
    assert!(
        masked.contains("were masked") && masked.contains("not judged"),
        "{masked}"
    );
    let central =
        "privacy = { mechanism = \"central-gaussian\", epsilon = 3.0, delta = 1e-5, clip = 1.0 }\n";
    assert!(scope(central).contains("no figure of a single update may stand in a record"));
    let local = "privacy = { mechanism = \"dp-sgd\", epsilon = 3.0, delta = 1e-5, clip = 1.0 }\n";
    assert!(scope(local).contains("Training losses are withheld"));
    let experiment: Experiment =
        toml::from_str(&format!("{CONFIG}anomalies = {{ enabled = false }}\n")).unwrap();
    assert!(Monitor::new(&experiment, 10).is_none());
}
