//! Any order, repetition and loss of messages: the new model is that of the accepted replies, each once.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_protocol::message::{ClientMessage, LayoutDigest, TrainReply};
use cloister_protocol::{
    ClientId, Sampling, Server, ServerEvent, ServerOutput, ServerSettings, Streams,
};
use cloister_robust::{Before, Rule, Weights};
use proptest::prelude::*;

const LAYOUT: LayoutDigest = LayoutDigest([5; 32]);
const CLIENTS: u32 = 8;

/// What the world does with a client's messages in one step.
#[derive(Clone, Debug)]
enum Step {
    /// Its reply arrives (again).
    Deliver(u32),
    /// A reply to an earlier or later round arrives.
    Misplaced(u32, u32),
    /// Its reply arrives with one byte changed.
    Corrupt(u32, usize, u8),
    /// The host gives it up.
    Lose(u32),
    /// Time passes.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS + 2;
    prop_oneof![
        6 => client.clone().prop_map(Step::Deliver),
        1 => (client.clone(), 0_u32..9).prop_map(|(c, r)| Step::Misplaced(c, r)),
        1 => (client.clone(), any::<usize>(), 1_u8..).prop_map(|(c, at, x)| Step::Corrupt(c, at, x)),
        2 => client.prop_map(Step::Lose),
        1 => (0_u64..4).prop_map(Step::Wait),
    ]
}

fn examples(client: u32) -> u32 {
    client * 7 + 1
}

/// A client's update in a round: values with no short sum, so that a wrong order or a double count would show.
fn update(client: u32, round: u32) -> Vec<f32> {
    (0..4)
        .map(|k| ((client * 31 + round * 17 + k * 7) as f32).sin() * 10_f32.powi(k as i32 * 3 - 6))
        .collect()
}

fn message(client: u32, round: u32) -> ClientMessage {
    ClientMessage::Reply(TrainReply {
        round,
        layout: LAYOUT,
        examples: examples(client).into(),
        loss: Some(f64::from(client)),
        update: update(client, round),
    })
}

fn new_server(weights: Weights, sampling: Sampling, over_selection: f64) -> Server {
    server_with(weights, sampling, over_selection, |_| {})
}

/// One whose rule needs each reply, and may remember.
fn robust_server(rule: Rule, before: Before) -> Server {
    server_with(Weights::Uniform, Sampling::Fixed, 0.0, |settings| {
        settings.aggregation.rule = rule;
        settings.aggregation.before = vec![before];
        settings.aggregation.weights = None;
        settings.federation.fraction = 1.0;
    })
}

fn server_with(
    weights: Weights,
    sampling: Sampling,
    over_selection: f64,
    change: impl FnOnce(&mut ServerSettings),
) -> Server {
    let mut settings = ServerSettings::default();
    settings.federation.rounds = 4;
    settings.federation.fraction = 0.6;
    settings.federation.over_selection = over_selection;
    settings.federation.sampling = sampling;
    settings.federation.deadline = Some(20.0);
    settings.federation.minimum_replies = 2;
    settings.aggregation.weights = Some(weights);
    change(&mut settings);
    let mut server = Server::new(settings, LAYOUT, vec![0.0; 4], Streams::new(11)).unwrap();
    for client in 0..CLIENTS {
        server
            .enroll(ClientId(client), examples(client).into())
            .unwrap();
    }
    server
}

/// Plays a schedule; gives the accepted set of each completed round (with each client's count) and the final server.
fn play(server: &mut Server, steps: &[Step]) -> Vec<(u32, BTreeMap<u32, u32>)> {
    let mut now = Duration::ZERO;
    let mut rounds = Vec::new();
    let mut accepted: BTreeMap<u32, u32> = BTreeMap::new();
    let mut steps = steps.iter().cycle();
    let mut budget = 10_000;
    while !server.is_finished() {
        if !server.in_round() {
            server.begin_round(now).unwrap();
        }
        match steps.next().unwrap() {
            Step::Deliver(client) => {
                server.receive(ClientId(*client), message(*client, server.round()), now)
            }
            Step::Misplaced(client, round) if *round != server.round() => {
                server.receive(ClientId(*client), message(*client, *round), now);
            }
            Step::Misplaced(..) => {}
            Step::Corrupt(client, at, flip) => {
                let mut bytes = message(*client, server.round()).encode();
                let at = at % bytes.len();
                bytes[at] ^= flip;
                server.receive_bytes(ClientId(*client), &bytes, now);
            }
            Step::Lose(client) => server.lost(ClientId(*client), now),
            Step::Wait(seconds) => {
                now += Duration::from_secs(*seconds);
                server.tick(now);
            }
        }
        budget -= 1;
        if budget == 0 {
            // A schedule without progress: the deadline must end the round.
            now += Duration::from_secs(100);
            server.tick(now);
            assert!(!server.in_round());
            budget = 10_000;
        }
        while let Some(output) = server.poll_output() {
            match output {
                ServerOutput::Event(ServerEvent::Accepted { client, .. }) => {
                    *accepted.entry(client.0).or_default() += 1;
                }
                ServerOutput::Event(ServerEvent::RoundEnded(report)) => {
                    let set = std::mem::take(&mut accepted);
                    assert_eq!(report.accepted as usize, set.len());
                    assert_eq!(
                        report.accepted + report.refused + report.missing,
                        report.cohort
                    );
                    if report.abandoned.is_none() {
                        rounds.push((report.round, set));
                    }
                }
                _ => {}
            }
        }
    }
    rounds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_model_is_that_of_the_accepted_replies_each_once(
        steps in prop::collection::vec(step(), 1..120),
        uniform in any::<bool>(),
        poisson in any::<bool>(),
        over in prop_oneof![Just(0.0), Just(0.5)],
    ) {
        let weights = if uniform { Weights::Uniform } else { Weights::Examples };
        let sampling = if poisson { Sampling::Poisson } else { Sampling::Fixed };
        let mut server = new_server(weights, sampling, over);
        let rounds = play(&mut server, &steps);

        let mut expected = [0.0_f32; 4];
        for (round, set) in &rounds {
            prop_assert!(set.values().all(|times| *times == 1));
            prop_assert!(set.len() >= 2);
            let weight = |client: u32| if uniform { 1.0 } else { f64::from(examples(client)) };
            let total: f64 = set.keys().map(|client| weight(*client)).sum();
            for (k, entry) in expected.iter_mut().enumerate() {
                let sum: f64 = set
                    .keys()
                    .map(|client| weight(*client) * f64::from(update(*client, *round)[k]))
                    .sum();
                *entry += (sum / total) as f32;
            }
        }
        for (got, want) in server.global().iter().zip(expected) {
            prop_assert!((got - want).abs() <= 4e-6 * want.abs() + 1e-12, "{} {}", got, want);
        }
    }

    /// The same replies in another order, with repeats and misplaced ones between: the same bits.
    #[test]
    fn order_and_repetition_leave_the_bits_alone(robust in any::<bool>(), order in Just((0..CLIENTS).collect::<Vec<_>>()).prop_shuffle(), noise in prop::collection::vec(0..CLIENTS, 0..20)) {
        let run = |order: &[u32], noise: &[u32]| {
            let mut server = if robust {
                robust_server(Rule::GeometricMedian, Before::Bucketing)
            } else {
                new_server(Weights::Examples, Sampling::Fixed, 0.0)
            };
            while !server.is_finished() {
                server.begin_round(Duration::ZERO).unwrap();
                let round = server.round();
                for client in order {
                    for other in noise {
                        server.receive(ClientId(*other), message(*other, round + 1), Duration::ZERO);
                    }
                    server.receive(ClientId(*client), message(*client, round), Duration::ZERO);
                    server.receive(ClientId(*client), message(*client, round), Duration::ZERO);
                }
                prop_assert!(!server.in_round());
            }
            Ok(server.global().iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        let sorted: Vec<u32> = (0..CLIENTS).collect();
        prop_assert_eq!(run(&order, &noise)?, run(&sorted, &[])?);
    }

    /// A server stopped at any point and restored from its state ends with the bits of one that ran through.
    #[test]
    fn a_restored_server_ends_with_the_same_bits(
        stop in 0_u32..4,
        midway in any::<bool>(),
        rule in prop::sample::select(vec![None, Some(Rule::CentredClipping), Some(Rule::Foolsgold), Some(Rule::Dnc)]),
    ) {
        let new = || match rule {
            None => new_server(Weights::Examples, Sampling::Fixed, 0.0),
            Some(rule) => robust_server(rule, Before::Bucketing),
        };
        let finish = |server: &mut Server| {
            while !server.is_finished() {
                server.begin_round(Duration::ZERO).unwrap();
                for client in 0..CLIENTS {
                    server.receive(ClientId(client), message(client, server.round()), Duration::ZERO);
                }
            }
            server.global().to_vec()
        };
        let whole = finish(&mut new());
        let mut first = new();
        for _ in 0..stop {
            first.begin_round(Duration::ZERO).unwrap();
            for client in 0..CLIENTS {
                first.receive(ClientId(client), message(client, first.round()), Duration::ZERO);
            }
        }
        if midway {
            first.begin_round(Duration::ZERO).unwrap();
            first.receive(ClientId(0), message(0, first.round()), Duration::ZERO);
        }
        let mut second = new();
        second.restore(first.state()).unwrap();
        prop_assert_eq!(finish(&mut second), whole);
    }
}
