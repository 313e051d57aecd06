//! Rounds whose server sees sums only, and what is sent into them that does not belong there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot unwrap has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use cloister_protocol::message::{ClientMessage, LayoutDigest, ServerMessage, TrainReply};
use cloister_protocol::*;
use cloister_secagg::message::{Kind, peek};
use cloister_secagg::{
    Entry, Identity, Mode, Policy, Roster, Secrets, SecureAggregationConfig, ServerTrust,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const LAYOUT: LayoutDigest = LayoutDigest([7; 32]);
const D: usize = 5;

struct World {
    server: Server,
    clients: Vec<Client>,
    events: Vec<ServerEvent>,
    now: Duration,
}

fn config() -> SecureAggregationConfig {
    SecureAggregationConfig {
        minimum_cohort: 4,
        ..SecureAggregationConfig::default()
    }
}

/// What a client sends: its number, and twice that.
fn update(client: u32) -> Vec<f32> {
    (0..D)
        .map(|k| 0.01 * client as f32 * (k as f32 + 1.0))
        .collect()
}

impl World {
    fn new(clients: u32, secure: SecureAggregationConfig, settings: ServerSettings) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let signs = secure.mode == ServerTrust::Malicious;
        let identities: Vec<Identity> =
            (0..clients).map(|_| Identity::generate(&mut rng)).collect();
        let key = Identity::generate(&mut rng);
        let entry = |(place, identity): (u32, &Identity)| Entry {
            client: roster_name(ClientId(place)),
            identity: if signs { identity.public() } else { [0; 32] },
            not_after: 10,
        };
        let entries = (0..).zip(&identities).map(entry).collect();
        let roster = Arc::new(Roster::new(key.public(), entries).unwrap());
        let plan = SecurePlan {
            config: secure.clone(),
            task: [3; 16],
            roster: Arc::clone(&roster),
        };
        let settings = ServerSettings {
            secure: Some(plan),
            ..settings
        };
        let mut server = Server::new(settings, LAYOUT, vec![0.0; D], Streams::new(1)).unwrap();
        server.use_identity(key);
        let mut members = Vec::new();
        for (place, identity) in (0..).zip(identities) {
            server.enroll(ClientId(place), 10).unwrap();
            let policy = Policy {
                task: [3; 16],
                roster: Arc::clone(&roster),
                place,
                identity: signs.then_some(identity),
                mode: if signs {
                    Mode::Malicious
                } else {
                    Mode::SemiHonest
                },
                minimum_cohort: secure.minimum_cohort,
                corrupt_ppm: (secure.collusion * 1e6) as u32,
                today: 5,
            };
            let mut client = Client::new(LAYOUT, D, 10);
            let mut rng = ChaCha20Rng::seed_from_u64(100 + u64::from(place));
            client.use_secure_aggregation(Arc::new(policy), move |_| Ok(Secrets::draw(&mut rng)));
            members.push(client);
        }
        Self {
            server,
            clients: members,
            events: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// Delivers everything until nobody has anything to say; `change` sees each message of a client, and may replace it or, with
    /// `None`, lose it.
    fn settle(&mut self, mut change: impl FnMut(u32, ClientMessage) -> Option<ClientMessage>) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.server.poll_output() {
                let (to, message) = match output {
                    ServerOutput::Send { to, message } => (to, message),
                    ServerOutput::Event(event) => {
                        self.events.push(event);
                        continue;
                    }
                    _ => continue,
                };
                quiet = false;
                for reply in self.answer(to.0, message) {
                    if let Some(reply) = change(to.0, reply) {
                        self.server.receive(to, reply, self.now);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn answer(&mut self, to: u32, message: ServerMessage) -> Vec<ClientMessage> {
        let client = &mut self.clients[to as usize];
        match client.receive(message, self.now) {
            ClientAction::Send(message) => vec![message],
            ClientAction::Train(job) => {
                let result = Update {
                    examples: 10,
                    loss: Some(0.5),
                    values: update(to),
                };
                let reply = client.trained(job.round, Ok(result)).unwrap();
                let protection = Protection {
                    defence: None,
                    rounding: &mut rand_chacha::ChaCha8Rng::seed_from_u64(to.into()),
                    noise: None,
                    threads: 1,
                    now: self.now,
                };
                let later = client.protect(reply, protection);
                job.first.into_iter().chain(later).collect()
            }
            _ => Vec::new(),
        }
    }

    fn report(&self) -> &RoundReport {
        let ended = self.events.iter().rev().find_map(|event| match event {
            ServerEvent::RoundEnded(report) => Some(report),
            _ => None,
        });
        ended.unwrap()
    }

    fn refusals(&self) -> Vec<(u32, &'static str)> {
        let refusal = |event: &ServerEvent| match event {
            ServerEvent::Refused { client, reason, .. } => Some((client.0, reason.kind())),
            _ => None,
        };
        self.events.iter().filter_map(refusal).collect()
    }

    /// Whether the model moved by the mean of these clients' updates.
    fn moved_by(&self, clients: impl Iterator<Item = u32> + Clone) -> bool {
        let count = clients.clone().count() as f32;
        let mut mean = [0.0; D];
        for client in clients {
            for (mean, value) in mean.iter_mut().zip(update(client)) {
                *mean += value / count;
            }
        }
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        self.server.global().iter().zip(&mean).all(near)
    }
}

fn is_masked(message: &ClientMessage) -> bool {
    let ClientMessage::Secure(bytes) = message else {
        return false;
    };
    peek(bytes).is_ok_and(|(kind, _)| kind == Kind::Masked)
}

#[test]
fn the_model_moves_by_the_mean_and_no_update_is_on_the_wire() {
    for mode in [ServerTrust::Malicious, ServerTrust::SemiHonest] {
        let secure = SecureAggregationConfig { mode, ..config() };
        let mut world = World::new(6, secure, ServerSettings::default());
        for _ in 0..2 {
            world.server.begin_round(Duration::ZERO).unwrap();
            world.settle(|_, message| {
                assert!(!matches!(message, ClientMessage::Reply(_)));
                Some(message)
            });
            let report = world.report();
            assert_eq!((report.accepted, &report.abandoned), (6, &None));
            assert_eq!(report.train_loss, Some(0.5));
            let masked = report.masked.unwrap();
            assert_eq!((masked.sums, masked.smallest, masked.clipped), (1, 6, 0));
        }
        assert_eq!(world.refusals(), []);
    }
}

#[test]
fn a_plain_update_is_refused_and_the_others_are_summed() {
    let mut world = World::new(6, config(), ServerSettings::default());
    world.server.begin_round(Duration::ZERO).unwrap();
    world.settle(|client, message| match client {
        2 if is_masked(&message) => Some(ClientMessage::Reply(TrainReply {
            round: 1,
            layout: LAYOUT,
            examples: 10,
            loss: None,
            update: update(2),
        })),
        _ => Some(message),
    });
    assert_eq!(world.refusals(), [(2, "masking")]);
    assert!(world.moved_by([0, 1, 3, 4, 5].into_iter()));
}

#[test]
fn rubbish_costs_its_sender_the_round_and_nobody_else() {
    for rubbish in [
        ClientMessage::Secure(vec![]),
        ClientMessage::Secure(vec![255; 40]),
        ClientMessage::Failed {
            round: 1,
            reason: "no".to_owned(),
        },
    ] {
        let mut world = World::new(6, config(), ServerSettings::default());
        world.server.begin_round(Duration::ZERO).unwrap();
        world.settle(|client, message| match client {
            4 if is_masked(&message) => Some(rubbish.clone()),
            _ => Some(message),
        });
        assert_eq!(world.refusals().len(), 1, "{rubbish:?}");
        assert!(world.moved_by([0, 1, 2, 3, 5].into_iter()), "{rubbish:?}");
        assert_eq!(world.report().refused, 1);
    }
}

#[test]
fn who_sends_rubbish_after_the_update_is_not_waited_for() {
    let mut world = World::new(6, config(), ServerSettings::default());
    world.server.begin_round(Duration::ZERO).unwrap();
    let mut sent = false;
    world.settle(|client, message| {
        let keep = client != 4 || !sent;
        sent |= client == 4 && is_masked(&message);
        keep.then_some(message)
    });
    assert!(world.server.in_round(), "nobody waits for the fifth");
    let now = world.now;
    world.server.receive_bytes(ClientId(4), b"rubbish", now);
    world.settle(|client, message| (client != 4).then_some(message));
    assert!(!world.server.in_round());
    assert_eq!(world.refusals(), [(4, "undecodable")]);
    // Its update was in the sum already, and stays there.
    assert!(world.moved_by(0..6));
}

#[test]
fn repeated_and_foreign_messages_change_nothing() {
    let mut world = World::new(6, config(), ServerSettings::default());
    world.server.begin_round(Duration::ZERO).unwrap();
    let mut kept = Vec::new();
    world.settle(|client, message| {
        if client == 1 && is_masked(&message) {
            kept.push(message.clone());
        }
        Some(message)
    });
    let before = world.server.global().to_vec();
    world
        .server
        .receive(ClientId(1), kept[0].clone(), Duration::ZERO);
    world.server.begin_round(Duration::ZERO).unwrap();
    // The vector of the round before, and one that another member sent.
    world
        .server
        .receive(ClientId(1), kept[0].clone(), Duration::ZERO);
    world
        .server
        .receive(ClientId(9), kept[0].clone(), Duration::ZERO);
    world
        .server
        .receive(ClientId(2), kept[0].clone(), Duration::ZERO);
    world.settle(|_, message| Some(message));
    let kinds: Vec<_> = world.refusals();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert_eq!(world.report().accepted, 6);
    let after = world.server.global();
    let moved = after
        .iter()
        .zip(&before)
        .all(|(a, b)| (a - 2.0 * b).abs() < 1e-5);
    assert!(moved, "{before:?} {after:?}");
}

#[test]
fn each_stage_ends_at_its_deadline() {
    for (silent_from, survives) in [
        (Kind::Advertise, false),
        (Kind::Shares, false),
        (Kind::Masked, false),
        (Kind::Ack, true),
        (Kind::Reveal, true),
    ] {
        let settings = ServerSettings {
            federation: FederationConfig {
                deadline: Some(10.0),
                ..FederationConfig::default()
            },
            ..ServerSettings::default()
        };
        let mut world = World::new(6, config(), settings);
        world.server.begin_round(Duration::ZERO).unwrap();
        let lose = |client: u32, message: ClientMessage| {
            let ClientMessage::Secure(bytes) = &message else {
                return Some(message);
            };
            let kind = peek(bytes).unwrap().0;
            (client != 3 || (kind as u8) < silent_from as u8).then_some(message)
        };
        world.settle(lose);
        let mut waits = 0;
        while world.server.in_round() {
            world.now = world.server.deadline().unwrap();
            world.server.tick(world.now);
            world.settle(lose);
            waits += 1;
        }
        // Whoever is gone early holds up each stage that it is asked at: once, then it is no longer asked.
        assert!((1..=2).contains(&waits), "{silent_from:?} {waits}");
        let members = (0..6).filter(|client| survives || *client != 3);
        assert!(world.moved_by(members), "{silent_from:?}");
    }
}

#[test]
fn too_few_abandon_the_round_and_the_run_goes_on() {
    let mut world = World::new(6, config(), ServerSettings::default());
    world.server.begin_round(Duration::ZERO).unwrap();
    world.settle(|client, message| (client < 3 || !is_masked(&message)).then_some(message));
    for client in 3..6 {
        world.server.lost(ClientId(client), Duration::ZERO);
    }
    world.settle(|_, message| Some(message));
    let reason = world.report().abandoned.clone().unwrap();
    assert!(
        reason.contains("3 members at the survivors, 5 needed"),
        "{reason}"
    );
    assert_eq!(world.server.global()[..], [0.0; D]);
    world.server.begin_round(Duration::ZERO).unwrap();
    world.settle(|_, message| Some(message));
    assert!(world.moved_by(0..6));
}

#[test]
fn a_cohort_too_small_for_a_sum_is_not_asked() {
    let settings = ServerSettings {
        federation: FederationConfig {
            fraction: 0.5,
            ..FederationConfig::default()
        },
        ..ServerSettings::default()
    };
    let mut world = World::new(6, config(), settings);
    world.server.begin_round(Duration::ZERO).unwrap();
    world.settle(|_, _| panic!("nobody was to be asked"));
    let reason = world.report().abandoned.clone().unwrap();
    assert!(
        reason.contains("3 members at the call, 4 needed"),
        "{reason}"
    );
}

#[test]
fn over_selected_members_count_as_dropouts() {
    let settings = ServerSettings {
        federation: FederationConfig {
            fraction: 0.75,
            over_selection: 0.3,
            ..FederationConfig::default()
        },
        ..ServerSettings::default()
    };
    let mut world = World::new(8, config(), settings);
    world.server.begin_round(Duration::ZERO).unwrap();
    let mut late = Vec::new();
    world.settle(|client, message| {
        // The first member to answer is held up.
        if is_masked(&message) && late.is_empty() {
            late.push((client, message));
            return None;
        }
        Some(message)
    });
    let report = world.report().clone();
    assert_eq!((report.cohort, report.accepted, report.missing), (8, 6, 2));
    let (client, message) = late.remove(0);
    world
        .server
        .receive(ClientId(client), message, Duration::ZERO);
    assert_eq!(world.server.round(), 1);
}

#[test]
fn a_client_and_a_server_must_both_want_masks() {
    let plain = ServerSettings::default();
    let mut server = Server::new(plain, LAYOUT, vec![0.0; D], Streams::new(1)).unwrap();
    server.enroll(ClientId(0), 10).unwrap();
    server.begin_round(Duration::ZERO).unwrap();
    let mut masked = World::new(6, config(), ServerSettings::default());
    masked.server.begin_round(Duration::ZERO).unwrap();
    let train = |server: &mut Server| {
        std::iter::from_fn(|| server.poll_output()).find_map(|output| match output {
            ServerOutput::Send { message, .. } => Some(message),
            _ => None,
        })
    };
    let (from_plain, from_masked) = (
        train(&mut server).unwrap(),
        train(&mut masked.server).unwrap(),
    );
    let action = masked.clients[0].receive(from_plain, Duration::ZERO);
    let ClientAction::Send(ClientMessage::Failed { reason, .. }) = action else {
        panic!("{action:?}");
    };
    assert!(reason.contains("masked updates only"), "{reason}");
    let action = Client::new(LAYOUT, D, 10).receive(from_masked, Duration::ZERO);
    let ClientAction::Send(ClientMessage::Failed { reason, .. }) = action else {
        panic!("{action:?}");
    };
    assert!(reason.contains("no keys"), "{reason}");
    server.receive(
        ClientId(0),
        ClientMessage::Secure(vec![1; 20]),
        Duration::ZERO,
    );
    let refused = std::iter::from_fn(|| server.poll_output())
        .any(|output| matches!(output, ServerOutput::Event(ServerEvent::Refused { .. })));
    assert!(refused);
}

#[test]
fn another_model_than_the_signed_one_is_not_trained_under_masks() {
    let mut world = World::new(6, config(), ServerSettings::default());
    world.server.begin_round(Duration::ZERO).unwrap();
    let output = std::iter::from_fn(|| world.server.poll_output());
    let message = output.filter_map(|output| match output {
        ServerOutput::Send { message, .. } => Some(message),
        _ => None,
    });
    let Some(ServerMessage::Train(mut request)) = message.into_iter().next() else {
        panic!("no request");
    };
    let mut other = request.global.to_vec();
    other[0] += 1.0;
    request.global = other.into();
    let action = world.clients[0].receive(ServerMessage::Train(request), Duration::ZERO);
    let ClientAction::Send(ClientMessage::Failed { reason, .. }) = action else {
        panic!("{action:?}");
    };
    assert!(reason.contains("ERR_MODEL_HASH"), "{reason}");
}
