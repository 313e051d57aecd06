//! One hostile reply of each kind: the round completes without it and says why.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::time::Duration;

use cloister_protocol::message::{ClientMessage, DecodeError, LayoutDigest, TrainReply};
use cloister_protocol::{
    ClientId, Refusal, RoundReport, Server, ServerEvent, ServerOutput, ServerSettings, Streams,
};
use cloister_robust::Rule;

const LAYOUT: LayoutDigest = LayoutDigest([3; 32]);
const NOW: Duration = Duration::from_secs(1);

fn server(clients: u32) -> Server {
    server_of(Rule::Mean, clients)
}

fn server_of(rule: Rule, clients: u32) -> Server {
    let mut settings = ServerSettings::default();
    settings.federation.rounds = 3;
    settings.aggregation.rule = rule;
    settings.aggregation.byzantine = u32::from(rule != Rule::Mean);
    settings.aggregation.noise = Some(0.0);
    let mut server = Server::new(settings, LAYOUT, vec![0.0; 3], Streams::new(1)).unwrap();
    for client in 0..clients {
        server.enroll(ClientId(client), 10).unwrap();
    }
    server
}

fn reply(round: u32, update: Vec<f32>) -> TrainReply {
    TrainReply {
        round,
        layout: LAYOUT,
        examples: 10,
        loss: Some(0.5),
        update,
    }
}

fn events(server: &mut Server) -> Vec<ServerEvent> {
    std::iter::from_fn(|| server.poll_output())
        .filter_map(|output| match output {
            ServerOutput::Event(event) => Some(event),
            _ => None,
        })
        .collect()
}

fn report(events: &[ServerEvent]) -> &RoundReport {
    events
        .iter()
        .find_map(|event| match event {
            ServerEvent::RoundEnded(report) => Some(report),
            _ => None,
        })
        .unwrap()
}

fn refusals(events: &[ServerEvent]) -> Vec<(ClientId, Refusal)> {
    events
        .iter()
        .filter_map(|event| match event {
            ServerEvent::Refused { client, reason, .. } => Some((*client, reason.clone())),
            _ => None,
        })
        .collect()
}

const HONEST: u32 = 8;
const LIAR: ClientId = ClientId(HONEST);

/// Nine clients; the last is hostile. Eight honest replies of [1, 2, 3] must come out as exactly that.
fn round_with(rule: Rule, hostile: &[u8]) -> (Server, Vec<ServerEvent>) {
    let mut server = server_of(rule, HONEST + 1);
    server.begin_round(Duration::ZERO).unwrap();
    if server.needs_trusted_update() {
        server.trust(vec![1.0, 2.0, 3.0]);
    }
    server.receive_bytes(LIAR, hostile, NOW);
    for client in 0..HONEST {
        let message = ClientMessage::Reply(reply(1, vec![1.0, 2.0, 3.0]));
        server.receive(ClientId(client), message, NOW);
    }
    // A message that does not speak for round 1 leaves the sender awaited; the host then reports it gone.
    server.lost(LIAR, NOW);
    let events = events(&mut server);
    (server, events)
}

/// What eight equal replies become.
fn expected(rule: Rule) -> [f32; 3] {
    match rule {
        Rule::SignMajority => [0.001; 3],
        // Equal updates are what this rule takes for one attacker under many names.
        Rule::Foolsgold => [0.0; 3],
        _ => [1.0, 2.0, 3.0],
    }
}

fn close(got: &[f32], expected: [f32; 3]) -> bool {
    got.len() == 3
        && got
            .iter()
            .zip(expected)
            .all(|(got, want)| (got - want).abs() <= 1e-6 * want)
}

/// The failures of another framework's rules are rows here: a NaN against the median, an extra tensor against any rule,
/// 10^12 examples, one number instead of a vector.
#[test]
fn each_kind_is_refused_alone_with_its_reason_whatever_the_rule() {
    let with = |change: fn(&mut TrainReply)| {
        let mut reply = reply(1, vec![1.0, 2.0, 3.0]);
        change(&mut reply);
        ClientMessage::Reply(reply).encode()
    };
    // The weighted sum of the mean holds less than a row does.
    let limit = |rule| match rule {
        Rule::Mean => 3_435_973_836.8,
        _ => 34_359_738_368.0,
    };
    let table: Vec<(&str, Vec<u8>, Refusal)> = vec![
        (
            "NaN",
            with(|r| r.update[1] = f32::NEG_INFINITY),
            Refusal::NotFinite {
                index: 1,
                value: f32::NEG_INFINITY,
            },
        ),
        (
            "NaN against the median",
            with(|r| r.update[1] = f32::INFINITY),
            Refusal::NotFinite {
                index: 1,
                value: f32::INFINITY,
            },
        ),
        (
            "one number",
            with(|r| r.update = vec![1.0]),
            Refusal::WrongLength {
                expected: 3,
                got: 1,
            },
        ),
        (
            "an extra tensor",
            with(|r| r.update.extend([0.0; 16])),
            Refusal::Undecodable(DecodeError::TooLong { got: 19, most: 3 }),
        ),
        (
            "huge",
            with(|r| r.update[2] = 1e30),
            Refusal::OutOfRange {
                index: 2,
                value: 1e30,
                limit: limit(Rule::Mean),
            },
        ),
        (
            "short",
            with(|r| r.update.truncate(1)),
            Refusal::WrongLength {
                expected: 3,
                got: 1,
            },
        ),
        (
            "long",
            with(|r| r.update.push(0.0)),
            Refusal::Undecodable(DecodeError::TooLong { got: 4, most: 3 }),
        ),
        (
            "layout",
            with(|r| r.layout = LayoutDigest([4; 32])),
            Refusal::WrongLayout,
        ),
        (
            "10^12 examples",
            with(|r| r.examples = 1_000_000_000_000),
            Refusal::ExampleCount {
                claimed: 1_000_000_000_000,
                enrolled: 10,
            },
        ),
        (
            "negative count",
            with(|r| r.examples = -3),
            Refusal::ExampleCount {
                claimed: -3,
                enrolled: 10,
            },
        ),
        (
            "no examples",
            with(|r| r.examples = 0),
            Refusal::ExampleCount {
                claimed: 0,
                enrolled: 10,
            },
        ),
        ("loss", with(|r| r.loss = Some(-1.0)), Refusal::Loss(-1.0)),
        (
            "other round",
            with(|r| r.round = 2),
            Refusal::WrongRound {
                expected: 1,
                got: 2,
            },
        ),
        (
            "stale round",
            with(|r| r.round = 0),
            Refusal::WrongRound {
                expected: 1,
                got: 0,
            },
        ),
        (
            "garbage",
            vec![0xff; 40],
            Refusal::Undecodable(DecodeError::Invalid {
                what: "magic",
                offset: 0,
                got: 0xffff,
            }),
        ),
        (
            "empty",
            vec![],
            Refusal::Undecodable(DecodeError::Truncated {
                what: "header",
                offset: 0,
                needed: 4,
                left: 0,
            }),
        ),
        (
            "failed",
            ClientMessage::Failed {
                round: 1,
                reason: "disk full".to_owned(),
            }
            .encode(),
            Refusal::Failed("disk full".to_owned()),
        ),
    ];
    for rule in Rule::ALL {
        for (name, bytes, reason) in &table {
            let (server, events) = round_with(rule, bytes);
            let mut reason = reason.clone();
            if let Refusal::OutOfRange { limit: most, .. } = &mut reason {
                *most = limit(rule);
            }
            assert_eq!(refusals(&events), [(LIAR, reason)], "{rule:?}: {name}");
            let report = report(&events);
            assert_eq!(
                (report.abandoned.as_ref(), report.accepted),
                (None, HONEST),
                "{rule:?}: {name}"
            );
            assert_eq!(report.refused + report.missing, 1, "{name}");
            let global = server.global();
            assert!(
                close(global, expected(rule)),
                "{rule:?}: {name}: {global:?}"
            );
        }
    }
}

#[test]
fn a_nan_is_refused_too() {
    let mut bad = reply(1, vec![1.0, 2.0, 3.0]);
    bad.update[0] = f32::NAN;
    let bytes = ClientMessage::Reply(bad).encode();
    for rule in Rule::ALL {
        let (server, events) = round_with(rule, &bytes);
        assert!(matches!(
            refusals(&events)[..],
            [(LIAR, Refusal::NotFinite { index: 0, value })] if value.is_nan()
        ));
        assert!(close(server.global(), expected(rule)), "{rule:?}");
    }
}

#[test]
fn strangers_and_repeats_are_refused_and_change_nothing() {
    let mut server = server(2);
    server.begin_round(Duration::ZERO).unwrap();
    let message = || ClientMessage::Reply(reply(1, vec![1.0, 2.0, 3.0]));
    server.receive(ClientId(9), message(), NOW);
    server.receive(ClientId(0), message(), NOW);
    server.receive(
        ClientId(0),
        ClientMessage::Reply(reply(1, vec![9.0; 3])),
        NOW,
    );
    server.receive(ClientId(1), message(), NOW);
    server.receive(ClientId(1), message(), NOW);
    let events = events(&mut server);
    assert_eq!(
        refusals(&events),
        [
            (ClientId(9), Refusal::NotEnrolled),
            (ClientId(0), Refusal::Repeated { round: 1 }),
            (ClientId(1), Refusal::Late { round: 1 }),
        ]
    );
    assert_eq!(server.global()[..], [1.0, 2.0, 3.0]);
}

#[test]
fn a_round_with_too_few_good_replies_is_abandoned_and_the_run_goes_on() {
    let mut server = server(3);
    server.begin_round(Duration::ZERO).unwrap();
    for client in 0..3 {
        server.receive_bytes(ClientId(client), b"nonsense", NOW);
    }
    let first = events(&mut server);
    assert_eq!(
        report(&first).abandoned.as_deref(),
        Some("0 good replies, 1 needed")
    );
    assert_eq!(server.global()[..], [0.0; 3]);
    server.begin_round(NOW).unwrap();
    for client in 0..3 {
        let message = ClientMessage::Reply(reply(2, vec![1.0, 2.0, 3.0]));
        server.receive(ClientId(client), message, NOW);
    }
    assert_eq!(report(&events(&mut server)).abandoned, None);
    assert_eq!(server.global()[..], [1.0, 2.0, 3.0]);
}

#[test]
fn a_round_with_too_few_replies_for_its_rule_is_abandoned_with_the_numbers() {
    let mut server = server_of(Rule::Krum, 6);
    server.begin_round(Duration::ZERO).unwrap();
    for client in 0..4 {
        let message = ClientMessage::Reply(reply(1, vec![1.0, 2.0, 3.0]));
        server.receive(ClientId(client), message, NOW);
    }
    assert!(server.in_round());
    server.lost(ClientId(4), NOW);
    // Five could still come; with the last one gone too, krum cannot be applied any more.
    server.lost(ClientId(5), NOW);
    assert_eq!(
        report(&events(&mut server)).abandoned.as_deref(),
        Some("krum with byzantine = 1 needs 5 rows (2f + 3), got 4")
    );
    assert_eq!(server.global()[..], [0.0; 3]);
}

#[test]
fn a_rule_that_needs_a_trusted_update_says_so() {
    let mut server = server_of(Rule::Fltrust, 3);
    server.begin_round(Duration::ZERO).unwrap();
    assert!(server.needs_trusted_update());
    for client in 0..3 {
        let message = ClientMessage::Reply(reply(1, vec![1.0, 2.0, 3.0]));
        server.receive(ClientId(client), message, NOW);
    }
    assert_eq!(
        report(&events(&mut server)).abandoned.as_deref(),
        Some("fltrust needs a trusted update of the server's own")
    );
}

#[test]
fn a_deadline_ends_the_round_with_what_is_there() {
    let mut settings = ServerSettings::default();
    settings.federation.deadline = Some(10.0);
    settings.federation.minimum_replies = 2;
    let mut server = Server::new(settings, LAYOUT, vec![0.0; 3], Streams::new(1)).unwrap();
    for client in 0..3 {
        server.enroll(ClientId(client), 10).unwrap();
    }
    server.begin_round(Duration::from_secs(5)).unwrap();
    assert_eq!(server.deadline(), Some(Duration::from_secs(15)));
    for client in 0..2 {
        let message = ClientMessage::Reply(reply(1, vec![1.0, 2.0, 3.0]));
        server.receive(ClientId(client), message, Duration::from_secs(14));
    }
    assert!(server.in_round());
    let message = ClientMessage::Reply(reply(1, vec![7.0; 3]));
    server.receive(ClientId(2), message, Duration::from_secs(15));
    let events = events(&mut server);
    assert_eq!(
        refusals(&events),
        [(ClientId(2), Refusal::Late { round: 1 })]
    );
    let report = report(&events);
    assert_eq!((report.accepted, report.missing), (2, 1));
    assert_eq!(report.duration, Duration::from_secs(10));
    assert_eq!(server.global()[..], [1.0, 2.0, 3.0]);
}

#[test]
fn a_watched_round_tells_who_replied_who_was_turned_away_and_who_was_silent() {
    let run = |watched: bool| {
        let mut server = server(5);
        if watched {
            server.watch_replies();
        }
        server.begin_round(Duration::ZERO).unwrap();
        for (client, update) in [
            (3, vec![0.0, -2.0, 0.0]),
            (0, vec![3.0, 0.0, 4.0]),
            (1, vec![f32::NAN, 0.0, 0.0]),
            (2, vec![3.0, 0.0, 4.0]),
        ] {
            let message = ClientMessage::Reply(reply(1, update));
            server.receive(ClientId(client), message, NOW);
        }
        server.lost(ClientId(4), NOW);
        let report = report(&events(&mut server)).clone();
        (report, server.global().to_vec())
    };
    let (report, global) = run(true);
    assert_eq!(report.turned_away, [ClientId(1)]);
    assert_eq!(report.silent, [ClientId(4)]);
    let seen: Vec<(u32, f64)> = report
        .replies
        .iter()
        .map(|reply| (reply.client.0, reply.norm))
        .collect();
    assert_eq!(seen, [(0, 5.0), (2, 5.0), (3, 2.0)]);
    let cosine = |place: usize| report.replies[place].direction.unwrap();
    // Between (3, 0, 4) / 5 and the sum of its twin and (0, -1, 0): half of a right angle.
    assert!((cosine(0) - 0.5_f64.sqrt()).abs() < 1e-6);
    assert!((cosine(1) - cosine(0)).abs() < 1e-6 && cosine(2).abs() < 1e-6);
    let (unwatched, same) = run(false);
    assert!(unwatched.replies.is_empty());
    assert_eq!(global, same);
}
