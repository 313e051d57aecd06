//! What the server turns away, and what makes a session fail.

use std::collections::BTreeMap;

use cloister_secagg::lanes::Vector;
use cloister_secagg::merkle;
use cloister_secagg::message::{Advert, ClientMessage, Kind};
use cloister_secagg::*;

use crate::common::view::{View, hash, sign};
use crate::common::{Drops, Stand, World};
use crate::{ack_view, drops, world};

/// The server gets this message from client 0 in place of what it awaits; afterwards the session goes on to the exact sum
/// without client 0, or with it if it sends the right one.
fn turned_away(kind: Kind, change: impl Fn(&World, &View, Vec<u8>) -> (u32, Vec<u8>)) -> Rejection {
    let mut world = world();
    let mut stand = world.until(kind, &Drops::new());
    let honest = match world
        .hand(&mut stand.clients, 0, &stand.pending[&0].clone())
        .unwrap()
    {
        Step::Send(honest) => honest,
        other => panic!("{other:?}"),
    };
    stand.pending.remove(&0);
    let (from, changed) = change(&world, &View::of(&stand), honest.clone());
    let rejection = stand.server.receive(from, &changed).unwrap_err();
    if rejection != Rejection::Left(17) {
        stand.server.receive(0, &honest).unwrap();
    }
    stand.up.push((0, honest));
    world.go_on(&mut stand, None, &Drops::new());
    let sum = stand.sum();
    assert_eq!(sum.vector, world.plain_sum(&sum.members));
    rejection
}

fn variant(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Format(_) => "Format",
        Rejection::OtherRound { .. } => "OtherRound",
        Rejection::Sender { .. } => "Sender",
        Rejection::NotAwaited { .. } => "NotAwaited",
        Rejection::Signature => "Signature",
        Rejection::Key => "Key",
        Rejection::Content { .. } => "Content",
        Rejection::OtherView(_) => "OtherView",
        Rejection::Left(_) => "Left",
        _ => "a new one: it needs a test",
    }
}

macro_rules! rejected_as {
    ($($variant:literal: { $($name:ident => $rejection:expr;)* })*) => {
        $($(
            #[test]
            fn $name() {
                let rejection: Rejection = $rejection;
                assert_eq!(variant(&rejection), $variant, "{rejection}");
            }
        )*)*
    };
}

/// The advert of client 0 with other keys, signed by it.
fn advert(world: &World, view: &View, change: impl Fn(&mut Advert)) -> Vec<u8> {
    let mut advert = Advert {
        index: 0,
        channel: world.secrets[&0].channel_public(),
        mask: world.secrets[&0].mask_public(),
        signature: [0; 64],
    };
    change(&mut advert);
    let body: [&[u8]; 3] = [&0_u32.to_le_bytes(), &advert.channel, &advert.mask];
    let secret = &world.identity_secrets[0];
    advert.signature = sign(secret, Kind::Advertise, &view.params_hash, 0, &body);
    ClientMessage::Advertise(advert).encode(world.header())
}

rejected_as! {
    "Format": {
        a_cut_message_is_rejected => turned_away(Kind::Params, |_, _, mut bytes| { bytes.pop(); (0, bytes) });
        a_message_of_the_server_is_rejected => turned_away(Kind::Params, |world, _, _| (0, world.proposal(&world.params)));
        a_vector_that_is_too_long_is_rejected => turned_away(Kind::Deliver, |world, view, _| {
            let vector = vec![0; world.params.layout().len() + 1];
            (0, vector_of_0(world, view, &vector))
        });
    }
    "OtherRound": {
        a_message_of_another_round_is_rejected => turned_away(Kind::Roster, |_, _, mut bytes| { bytes[1] ^= 1; (0, bytes) });
        a_message_of_another_attempt_is_rejected => turned_away(Kind::Roster, |_, _, mut bytes| { bytes[9] ^= 1; (0, bytes) });
    }
    "Sender": {
        a_message_under_another_name_is_rejected => turned_away(Kind::Deliver, |_, _, bytes| (1, bytes));
        a_message_from_nobody_is_rejected => turned_away(Kind::Params, |_, _, bytes| (7, bytes));
    }
    "NotAwaited": {
        keys_after_the_roster_are_rejected => turned_away(Kind::Roster, |world, view, _| (0, advert(world, view, |_| {})));
        a_reveal_before_its_time_is_rejected => turned_away(Kind::Deliver, |world, _, _| {
            let reveal = ClientMessage::Reveal { index: 0, shares: Vec::new(), signature: [0; 64] };
            (0, reveal.encode(world.header()))
        });
    }
    "Signature": {
        keys_with_another_signature_are_rejected => turned_away(Kind::Params, |_, _, mut bytes| { *bytes.last_mut().unwrap() ^= 1; (0, bytes) });
        changed_keys_are_rejected => turned_away(Kind::Params, |_, _, mut bytes| { bytes[20] ^= 1; (0, bytes) });
        changed_shares_are_rejected => turned_away(Kind::Roster, |_, _, mut bytes| { bytes[70] ^= 1; (0, bytes) });
        a_changed_commitment_is_rejected => turned_away(Kind::Roster, |_, _, mut bytes| { bytes[20] ^= 1; (0, bytes) });
        a_changed_vector_is_rejected => turned_away(Kind::Deliver, |_, _, mut bytes| { bytes[60] ^= 1; (0, bytes) });
        a_changed_acknowledgement_is_rejected => turned_away(Kind::Survivors, |_, _, mut bytes| { bytes[20] ^= 1; (0, bytes) });
        a_changed_reveal_is_rejected => turned_away(Kind::Acks, |_, _, mut bytes| { bytes[30] ^= 1; (0, bytes) });
        an_acknowledgement_of_other_survivors_is_rejected => turned_away(Kind::Survivors, |world, view, _| {
            let seen = ack_view(view, &[0, 1, 2, 3, 4]);
            let body: [&[u8]; 2] = [&0_u32.to_le_bytes(), &seen];
            let signature = sign(&world.identity_secrets[0], Kind::Ack, &view.id, 0, &body);
            (0, ClientMessage::Ack { index: 0, signature }.encode(world.header()))
        });
    }
    "Key": {
        one_key_for_both_uses_is_rejected => turned_away(Kind::Params, |world, view, _| {
            (0, advert(world, view, |advert| advert.mask = advert.channel))
        });
        a_channel_key_of_small_order_is_rejected => turned_away(Kind::Params, |world, view, _| {
            (0, advert(world, view, |advert| advert.channel = [0; 32]))
        });
        a_mask_key_of_small_order_is_rejected => turned_away(Kind::Params, |world, view, _| {
            (0, advert(world, view, |advert| { advert.mask = [0; 32]; advert.mask[0] = 1; }))
        });
        another_members_key_is_rejected => copies_a_key(|advert, other| advert.channel = other.channel);
        another_members_mask_key_is_rejected => copies_a_key(|advert, other| advert.mask = other.mask);
        another_members_mask_key_as_channel_key_is_rejected => copies_a_key(|advert, other| advert.channel = other.mask);
    }
    "Content": {
        fewer_shares_than_neighbours_are_rejected => turned_away(Kind::Roster, |world, _, _| {
            let shares = ClientMessage::Shares { index: 0, commitment: [0; 32], ciphertexts: Vec::new(), signature: [0; 64] };
            (0, shares.encode(world.header()))
        });
        a_shorter_vector_is_rejected => turned_away(Kind::Deliver, |world, view, _| (0, vector_of_0(world, view, &[0; 8])));
        fewer_revealed_shares_are_rejected => turned_away(Kind::Acks, |world, view, _| (0, reveal_of_0(world, view, 6)));
    }
    "OtherView": {
        a_vector_for_other_sharers_is_rejected => turned_away(Kind::Deliver, |world, view, _| {
            let mut other = view.clone();
            other.shared.remove(6);
            (0, vector_of_0(world, &other, &vec![0; world.params.layout().len()]))
        });
    }
    "Left": {
        a_farewell_is_taken_as_one => turned_away(Kind::Deliver, |world, _, _| {
            (0, ClientMessage::Abort { index: 0, code: 17 }.encode(world.header()))
        });
    }
}

/// A vector of client 0, signed by it.
fn vector_of_0(world: &World, view: &View, vector: &[u8]) -> Vec<u8> {
    let shared_hash = view.shared.hash();
    let body_hash = hash(&[vector]);
    let body: [&[u8]; 3] = [&0_u32.to_le_bytes(), &shared_hash, &body_hash];
    let signature = sign(&world.identity_secrets[0], Kind::Masked, &view.id, 0, &body);
    let message = ClientMessage::Masked {
        index: 0,
        shared_hash,
        vector,
        signature,
    };
    message.encode(world.header())
}

/// So many shares, none of them right, revealed and signed by client 0.
fn reveal_of_0(world: &World, view: &View, count: usize) -> Vec<u8> {
    let shares = vec![[1; 40]; count];
    let body: [&[u8]; 2] = [&0_u32.to_le_bytes(), shares.as_flattened()];
    let signature = sign(&world.identity_secrets[0], Kind::Reveal, &view.id, 0, &body);
    ClientMessage::Reveal {
        index: 0,
        shares,
        signature,
    }
    .encode(world.header())
}

/// Client 0 advertises after member 1, and takes a key of it.
fn copies_a_key(change: impl Fn(&mut Advert, &Advert)) -> Rejection {
    let mut world = world();
    let mut stand = world.begin();
    let mut firsts = BTreeMap::new();
    for index in 0..2 {
        let message = stand.pending.remove(&index).unwrap();
        match world.hand(&mut stand.clients, index, &message).unwrap() {
            Step::Send(first) => firsts.insert(index, first),
            other => panic!("{other:?}"),
        };
    }
    stand.server.receive(1, &firsts[&1]).unwrap();
    let ClientMessage::Advertise(other) = ClientMessage::decode(&firsts[&1], 7, 0).unwrap().0
    else {
        panic!("not an advert");
    };
    let copy = advert(&world, &View::of(&stand), |advert| change(advert, &other));
    let rejection = stand.server.receive(0, &copy).unwrap_err();
    stand.server.receive(0, &firsts[&0]).unwrap();
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().vector, world.plain_sum(&stand.sum().members));
    rejection
}

#[test]
fn a_late_vector_is_rejected_and_not_in_the_sum() {
    let mut world = world();
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    let message = stand.pending.remove(&0).unwrap();
    let Step::Send(late) = world.hand(&mut stand.clients, 0, &message).unwrap() else {
        panic!("no vector");
    };
    let gone = drops(&[(0, Kind::Masked)]);
    stand.server.lost(0);
    world.go_on(&mut stand, Some(Kind::Survivors), &gone);
    let rejection = stand.server.receive(0, &late).unwrap_err();
    assert_eq!(rejection, Rejection::NotAwaited { kind: Kind::Masked });
    world.go_on(&mut stand, None, &gone);
    assert_eq!(stand.sum().members, [1, 2, 3, 4, 5, 6]);
    assert_eq!(stand.sum().vector, world.plain_sum(&stand.sum().members));
}

#[test]
fn a_second_vector_is_rejected_and_not_in_the_sum() {
    let mut world = world();
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    let message = stand.pending.remove(&0).unwrap();
    let Step::Send(vector) = world.hand(&mut stand.clients, 0, &message).unwrap() else {
        panic!("no vector");
    };
    stand.server.receive(0, &vector).unwrap();
    let rejection = stand.server.receive(0, &vector).unwrap_err();
    assert_eq!(rejection, Rejection::NotAwaited { kind: Kind::Masked });
    assert_eq!(stand.server.added(), 1);
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().vector, world.plain_sum(&stand.sum().members));
}

/// Three of seven are gone from this stage on: a threshold of five is not met.
fn fails_when_gone(stage: Kind) -> Failure {
    let mut world = world();
    let outcome = world.run(&drops(&[(0, stage), (1, stage), (2, stage)]));
    assert_eq!(outcome.sums, None);
    // Whoever is left is told.
    assert!((3..7).all(|index| outcome.clients[&index].is_over()));
    outcome.failure.unwrap()
}

#[test]
fn too_few_at_any_stage_make_no_sum() {
    for (kind, stage) in [
        (Kind::Advertise, "the roster"),
        (Kind::Shares, "those who shared"),
        (Kind::Masked, "the survivors"),
        (Kind::Ack, "the acknowledgement"),
        (Kind::Reveal, "the reveal"),
    ] {
        let (got, needed) = (4, 5);
        assert_eq!(
            fails_when_gone(kind),
            Failure::TooFew { stage, got, needed }
        );
    }
}

/// Runs to the reveals and lets these members lie in them, or in their vectors.
fn with_lies(kind: Kind, lies: impl Fn(&World, &View, u32) -> Option<Vec<u8>>) -> Stand {
    let mut world = world();
    let mut stand = world.until(kind, &Drops::new());
    let view = View::of(&stand);
    let answers = world.round(&mut stand, &Drops::new());
    for (from, reply) in answers {
        let reply = lies(&world, &view, from).or(reply).unwrap();
        stand.server.receive(from, &reply).unwrap();
    }
    stand.collect();
    world.go_on(&mut stand, None, &Drops::new());
    stand
}

fn lying_reveal(world: &World, view: &View, from: u32) -> Vec<u8> {
    reveal_by(world, view, from, &[[1; 40]; 7])
}

fn reveal_by(world: &World, view: &View, from: u32, shares: &[[u8; 40]]) -> Vec<u8> {
    let body: [&[u8]; 2] = [&from.to_le_bytes(), shares.as_flattened()];
    let secret = &world.identity_secrets[from as usize];
    let signature = sign(secret, Kind::Reveal, &view.id, from, &body);
    let message = ClientMessage::Reveal {
        index: from,
        shares: shares.to_vec(),
        signature,
    };
    message.encode(world.header())
}

#[test]
fn wrong_shares_are_corrected_or_the_session_fails() {
    // Seven shares of a threshold of five carry one wrong share, whosever it is.
    for liar in 0..7 {
        let stand = with_lies(Kind::Acks, |world, view, from| {
            (from == liar).then(|| lying_reveal(world, view, from))
        });
        assert_eq!(stand.sum().members.len(), 7);
    }
    let stand = with_lies(Kind::Acks, |world, view, from| {
        (from < 3).then(|| lying_reveal(world, view, from))
    });
    assert_eq!(stand.sums, None);
    assert!(matches!(stand.failure, Some(Failure::Shares(_))));
}

/// Values that are no field elements count as none: five of seven come, and three are lies.
#[test]
fn shares_that_are_none_are_not_counted() {
    let lying = |liars: u32| {
        with_lies(Kind::Acks, |world, view, from| {
            (from < liars).then(|| reveal_by(world, view, from, &[[255; 40]; 7]))
        })
    };
    assert_eq!(lying(2).sum().members.len(), 7);
    assert_eq!(lying(3).failure, Some(Failure::Shares(0)));
}

/// Shares that agree with each other, but not with what their owner said of its secret.
#[test]
fn a_commitment_to_another_secret_makes_no_sum() {
    let stand = with_lies(Kind::Roster, |world, view, from| {
        (from == 2).then(|| {
            let c = world.secrets[&2].c;
            let to = (0..7).filter(|to| *to != 2);
            let ciphertexts: Vec<_> = to.map(|to| view.seal(2, to, &c, [[0; 40]; 2])).collect();
            let leaf = |sealed: &[u8; CIPHERTEXT_LEN]| merkle::leaf(&[sealed]);
            let root = merkle::root(&ciphertexts.iter().map(leaf).collect::<Vec<_>>());
            let commitment = [9; 32];
            let body: [&[u8]; 3] = [&2_u32.to_le_bytes(), &commitment, &root];
            let secret = &world.identity_secrets[2];
            let signature = sign(secret, Kind::Shares, &view.id, 2, &body);
            let message = ClientMessage::Shares {
                index: 2,
                commitment,
                ciphertexts,
                signature,
            };
            message.encode(world.header())
        })
    });
    assert_eq!(stand.sums, None);
    assert_eq!(stand.failure, Some(Failure::Shares(2)));
}

#[test]
fn a_vector_that_is_none_makes_no_sum() {
    let stand = with_lies(Kind::Deliver, |world, view, from| {
        let garbage = vec![3; world.params.layout().len()];
        (from == 0).then(|| vector_of_0(world, view, &garbage))
    });
    assert_eq!(stand.sums, None);
    let Some(Failure::Sum { members: 7, what }) = stand.failure else {
        panic!("{:?}", stand.failure);
    };
    assert_eq!(what, "its count of vectors is another");
    // Only its padding is not zero: masked as it must be, with something beside the lanes.
    let mut world = world();
    let layout = world.params.layout();
    let mut bytes = world.vectors[0].bytes().to_vec();
    bytes[layout.split() - 1] = 1;
    world.vectors[0] = Vector::from_bytes(layout, bytes).unwrap();
    let outcome = world.run(&Drops::new());
    let what = "its padding is not zero";
    assert_eq!(outcome.failure, Some(Failure::Sum { members: 7, what }));
}
