//! Bytes from the line: whatever comes, nobody panics, an honest session still finishes, and nothing is revealed twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;

use cloister_secagg::message::{ClientMessage, HEADER_LEN, Kind, ServerMessage};
use cloister_secagg::*;
use common::{Drops, NOW, Stand, World};
use proptest::prelude::*;
use proptest::sample::Index;

const DOWN: [Kind; 6] = [
    Kind::Params,
    Kind::Roster,
    Kind::Deliver,
    Kind::Survivors,
    Kind::Acks,
    Kind::Result,
];

/// What is done to a message on its way.
#[derive(Clone, Debug)]
enum Change {
    Arbitrary(Vec<u8>),
    Cut(Index),
    Longer(Vec<u8>),
    Flip(Vec<(Index, u8)>),
    /// A number of the wire, anywhere behind the header, is as large as it can be.
    Oversized(Index),
    OtherRound(u64),
    OtherAttempt(u32),
    OtherKind(u8),
    /// Another message that was ever sent.
    Other(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        bytes(300).prop_map(Change::Arbitrary),
        any::<Index>().prop_map(Change::Cut),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(Change::Longer),
        prop::collection::vec((any::<Index>(), 1_u8..), 1..4).prop_map(Change::Flip),
        any::<Index>().prop_map(Change::Oversized),
        any::<u64>().prop_map(Change::OtherRound),
        any::<u32>().prop_map(Change::OtherAttempt),
        (0_u8..16).prop_map(Change::OtherKind),
        any::<Index>().prop_map(Change::Other),
    ]
}

impl Change {
    fn apply(&self, bytes: &[u8], all: &[Vec<u8>]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        match self {
            Self::Arbitrary(other) => changed.clone_from(other),
            Self::Cut(end) => changed.truncate(end.index(bytes.len())),
            Self::Longer(more) => changed.extend(more),
            Self::Flip(flips) => {
                for (place, flip) in flips {
                    changed[place.index(bytes.len())] ^= flip;
                }
            }
            Self::Oversized(place) => {
                let place = HEADER_LEN + place.index(bytes.len() - HEADER_LEN);
                changed[place..]
                    .iter_mut()
                    .take(4)
                    .for_each(|byte| *byte = 255);
            }
            Self::OtherRound(round) => changed[1..9].copy_from_slice(&round.to_le_bytes()),
            Self::OtherAttempt(attempt) => changed[9..13].copy_from_slice(&attempt.to_le_bytes()),
            Self::OtherKind(kind) => changed[0] = *kind,
            Self::Other(which) => {
                if !all.is_empty() {
                    changed.clone_from(which.get(all));
                }
            }
        }
        changed
    }
}

fn mode(malicious: bool) -> Mode {
    match malicious {
        true => Mode::Malicious,
        false => Mode::SemiHonest,
    }
}

/// Runs an honest session; before each honest message the server gets changed ones, from whoever they name or from others. In
/// mode S a changed message can be taken for the member's own, so only mode M asks for the sum in any case.
fn disturbed(
    world: &mut World,
    changes: &[(Index, Change, Option<u32>)],
) -> (Stand, Vec<(u32, Rejection)>) {
    let mut stand = world.begin();
    let mut rejections = Vec::new();
    let mut turn = 0;
    while !stand.pending.is_empty() {
        let answers = world.round(&mut stand, &Drops::new());
        let all: Vec<Vec<u8>> = stand.up.iter().map(|(_, bytes)| bytes.clone()).collect();
        for (from, reply) in answers {
            let Some(reply) = reply else {
                stand.server.lost(from);
                continue;
            };
            for (at, change, sender) in changes {
                if at.index(5 * world.params.cohort.len()) != turn {
                    continue;
                }
                let changed = change.apply(&reply, &all);
                if changed == reply {
                    continue;
                }
                let stage = stand.server.stage();
                let sender = sender.unwrap_or(from);
                match stand.server.receive(sender, &changed) {
                    Err(rejection @ Rejection::Left(_)) => rejections.push((sender, rejection)),
                    Err(rejection) => {
                        assert_eq!(stage, stand.server.stage());
                        rejections.push((sender, rejection));
                    }
                    Ok(()) => rejections.push((u32::MAX, Rejection::Signature)),
                }
            }
            turn += 1;
            let _ = stand.server.receive(from, &reply);
            // Again, and again from somebody else.
            assert!(stand.server.receive(from, &reply).is_err());
            assert!(stand.server.receive((from + 1) % 6, &reply).is_err());
            assert!(stand.server.receive(99, &reply).is_err());
            stand.up.push((from, reply));
        }
        stand.collect();
    }
    (stand, rejections)
}

fn left(rejections: &[(u32, Rejection)]) -> bool {
    let gone = |(_, rejection): &(u32, Rejection)| matches!(rejection, Rejection::Left(_));
    rejections.iter().any(gone)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_server_that_gets_anything_still_makes_the_exact_sum(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<Index>(), change(), prop::option::weighted(0.2, 0_u32..8)), 40),
    ) {
        let mut world = World::new(6, 5, Mode::Malicious, seed);
        let (stand, rejections) = disturbed(&mut world, &changes);
        // Only a farewell in the name of a member, which the transport vouches for, can take it away.
        if !left(&rejections) {
            prop_assert!(rejections.iter().all(|(from, _)| *from != u32::MAX), "{:?}", rejections);
            prop_assert_eq!(&stand.sum().members, &[0, 1, 2, 3, 4, 5]);
        }
        if let Some(sums) = &stand.sums {
            prop_assert_eq!(&sums[0].vector, &world.plain_sum(&sums[0].members));
        }
    }

    /// Where nothing is signed a member's message can be changed: the sum is then exact, or none, or of what was sent.
    #[test]
    fn a_server_that_trusts_the_line_does_not_panic(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<Index>(), change(), prop::option::weighted(0.2, 0_u32..8)), 40),
    ) {
        let mut world = World::new(6, 5, Mode::SemiHonest, seed);
        let (stand, rejections) = disturbed(&mut world, &changes);
        if rejections.iter().all(|(from, _)| *from != u32::MAX) && !left(&rejections) {
            prop_assert_eq!(&stand.sum().vector, &world.plain_sum(&[0, 1, 2, 3, 4, 5]));
        }
        prop_assert!(stand.sums.is_some() || stand.failure.is_some());
    }

    /// Whatever a client gets at whichever stage, it goes on as if nothing had come, or is over; it never reveals twice.
    #[test]
    fn a_client_that_gets_anything_is_unchanged_or_over(
        malicious in any::<bool>(),
        at in 1_usize..6,
        changes in prop::collection::vec(change(), 12),
    ) {
        let mode = mode(malicious);
        if mode == Mode::SemiHonest && DOWN[at] == Kind::Acks {
            return Ok(());
        }
        let mut world = World::new(5, 5, mode, 61);
        let mut stand = world.until(DOWN[at], &Drops::new());
        let honest = stand.pending[&0].clone();
        let all: Vec<Vec<u8>> = stand.down.iter().chain(&stand.up).map(|(_, bytes)| bytes.clone()).collect();
        let client = stand.clients.remove(&0).unwrap();
        let (before, record) = (client.save(NOW).unwrap(), *client.record());
        let policy = std::sync::Arc::new(world.policy(0));
        for change in &changes {
            let changed = change.apply(&honest, &all);
            if changed == honest {
                continue;
            }
            let mut client = Client::restore(policy.clone(), &record, &before, NOW).unwrap();
            let mut reveals = u32::from(record.revealed);
            let step = client.receive(&changed, NOW);
            let told = matches!(&step, Ok(Step::Send(bytes)) if bytes[0] == Kind::Reveal as u8);
            reveals += u32::from(told);
            match step {
                Ok(Step::Ignored | Step::Repeat) => prop_assert_eq!(client.save(NOW).unwrap(), before.clone()),
                Ok(Step::Abandoned { .. } | Step::Done { .. }) | Err(_) => prop_assert!(client.is_over()),
                // Where nothing is signed, or where enough acknowledgements are left, it may go on.
                Ok(_) => prop_assert!(mode == Mode::SemiHonest || DOWN[at] == Kind::Acks),
            }
            // After it comes what should have come.
            if let Ok(Step::Send(bytes)) = client.receive(&honest, NOW) {
                reveals += u32::from(bytes[0] == Kind::Reveal as u8);
            }
            prop_assert!(reveals <= 1);
        }
    }

    #[test]
    fn parameters_that_are_anything_are_not_joined(changes in prop::collection::vec(change(), 20)) {
        let mut world = World::new(5, 5, Mode::Malicious, 62);
        let honest = world.proposal(&world.params);
        for change in &changes {
            let changed = change.apply(&honest, &[]);
            if changed != honest {
                prop_assert!(world.join(0, &changed).is_err());
            }
        }
    }

    /// Signed by a server that lies, any parameters at all: no panic, and what is joined keeps to the policy.
    #[test]
    fn signed_parameters_of_any_bytes_do_no_harm(
        flips in prop::collection::vec((any::<Index>(), 1_u8..), 1..4),
        malicious in any::<bool>(),
    ) {
        let mut world = World::new(5, 5, mode(malicious), 63);
        let honest = world.proposal(&world.params);
        let mut changed = honest.clone();
        for (place, flip) in flips {
            changed[place.index(honest.len() - 64)] ^= flip;
        }
        let Ok((ServerMessage::Params(params, _), _)) = ServerMessage::decode(&changed, 0) else {
            return Ok(());
        };
        let changed = world.proposal(&params);
        if let Ok((client, _)) = world.join(0, &changed) {
            let params = client.params();
            prop_assert!(params.check().is_ok());
            prop_assert!(params.mode >= mode(malicious) && params.least_survivors >= 3);
            prop_assert_eq!(&params.task, &common::TASK);
        }
    }

    /// What decodes, encodes to the same bytes: a message has one form.
    #[test]
    fn messages_have_one_form(changes in prop::collection::vec(change(), 20)) {
        let mut world = World::new(5, 5, Mode::Malicious, 64);
        let mut stand = world.begin();
        world.go_on(&mut stand, None, &Drops::new());
        let all: Vec<Vec<u8>> = stand.down.iter().chain(&stand.up).map(|(_, bytes)| bytes.clone()).collect();
        for message in &all {
            for change in &changes {
                let changed = change.apply(message, &all);
                if let Ok((read, header)) = ServerMessage::decode(&changed, 5) {
                    // A clip that is no number is not equal to itself; its bytes are.
                    prop_assert_eq!(read.encode(header), changed.clone());
                }
                if let Ok((read, header)) = ClientMessage::decode(&changed, 5, world.params.layout().len()) {
                    prop_assert_eq!(read.encode(header), changed);
                }
            }
        }
    }
}

/// A session in which each message goes down in two copies and comes up in another order is a session like any other.
#[test]
fn repeated_and_reordered_messages_change_nothing() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        let mut world = World::new(6, 5, mode, 65);
        let mut stand = world.begin();
        let mut stored: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while !stand.pending.is_empty() {
            let pending = stand.pending.clone();
            let mut answers = world.round(&mut stand, &Drops::new());
            for (from, reply) in &answers {
                stored.insert(*from, reply.clone().unwrap());
            }
            for (to, message) in pending {
                let client = stand.clients.get_mut(&to).unwrap();
                let expected = match client.is_over() {
                    true => Step::Ignored,
                    false => Step::Repeat,
                };
                assert_eq!(client.receive(&message, NOW), Ok(expected));
            }
            answers.reverse();
            for (from, reply) in answers {
                stand.server.receive(from, &reply.unwrap()).unwrap();
                let again = stand.server.receive(from, &stored[&from]).unwrap_err();
                assert!(matches!(again, Rejection::NotAwaited { .. }));
            }
            stand.collect();
        }
        assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3, 4, 5]));
    }
}

/// A count of 2^32 - 1 is refused before anything is allocated for it.
#[test]
fn counts_beyond_the_cohort_are_refused() {
    let world = World::new(5, 5, Mode::Malicious, 66);
    let header = world.header();
    let acks = ServerMessage::Acks(Vec::new()).encode(header);
    let mut huge = acks;
    huge[HEADER_LEN..].copy_from_slice(&[255; 4]);
    assert!(matches!(
        ServerMessage::decode(&huge, 5),
        Err(DecodeError::TooLong { .. })
    ));
    let reveal = ClientMessage::Reveal {
        index: 0,
        shares: Vec::new(),
        signature: [0; 64],
    };
    let mut huge = reveal.encode(header);
    huge[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&[255; 4]);
    let mut server = world.open();
    assert!(matches!(
        server.receive(0, &huge),
        Err(Rejection::Format(DecodeError::TooLong { .. }))
    ));
    let mut params = world.proposal(&world.params);
    let count = params
        .windows(4)
        .position(|bytes| bytes == 5_u32.to_le_bytes())
        .unwrap();
    for place in count.. {
        if place + 4 > params.len() {
            break;
        }
        let kept: [u8; 4] = params[place..place + 4].try_into().unwrap();
        params[place..place + 4].copy_from_slice(&[255; 4]);
        let _ = ServerMessage::decode(&params, 0);
        params[place..place + 4].copy_from_slice(&kept);
    }
}
