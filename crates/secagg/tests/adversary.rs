//! A server that lies, alone and with members that collude with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "adversary/collusion.rs"]
mod collusion;
mod common;

use std::sync::Arc;

use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::Vector;
use cloister_secagg::mask;
use cloister_secagg::members::Members;
use cloister_secagg::merkle::{self, Tree};
use cloister_secagg::message::{ClientMessage, Kind, ServerMessage};
use cloister_secagg::*;
use common::view::{Loot, View, hash};
use common::{Drops, NOW, Stand, World};

fn set(n: u32, members: impl IntoIterator<Item = u32>) -> Members {
    let mut set = Members::none(n);
    members.into_iter().for_each(|index| set.insert(index));
    set
}

/// What a server says to `to` of these survivors; their vectors are the ones that came.
fn survivors_for(world: &World, view: &View, survivors: &Members, to: u32) -> Vec<u8> {
    let leaf = |index: u32| {
        let body = hash(&[view.vectors[&index].bytes()]);
        merkle::leaf(&[&index.to_le_bytes(), &body])
    };
    let tree = Tree::new(survivors.iter().map(leaf).collect());
    let place = survivors.iter().take_while(|index| *index < to).count();
    let message = ServerMessage::Survivors {
        survivors: survivors.clone(),
        bodies_root: tree.root(),
        proof: tree.proof(place),
    };
    message.encode(world.header())
}

fn sent(step: Result<Step, Abort>) -> Vec<u8> {
    match step {
        Ok(Step::Send(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

/// The victim's plain vector as it goes into the sum.
fn counted(world: &World, victim: u32) -> Vector {
    world.plain_sum(&[victim])
}

/// Nine members; the server has all vectors, and tells the first four that 8 is gone, the others that 0 is.
fn split(mode: Mode) -> (World, Stand, View, [(Members, Vec<u32>); 2]) {
    let mut world = World::new(9, 20, mode, 21);
    let stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let sides = [
        (set(9, 0..8), (0..4).collect()),
        (set(9, 1..9), (4..9).collect()),
    ];
    (world, stand, view, sides)
}

#[test]
fn nobody_reveals_when_two_halves_are_told_different_survivors() {
    let (mut world, mut stand, view, sides) = split(Mode::Malicious);
    let mut acks = Vec::new();
    for (survivors, told) in &sides {
        let mut of_side = Vec::new();
        for to in told {
            let message = survivors_for(&world, &view, survivors, *to);
            let ack = sent(world.hand(&mut stand.clients, *to, &message));
            match ClientMessage::decode(&ack, 9, 0).unwrap().0 {
                ClientMessage::Ack { index, signature } => of_side.push((index, signature)),
                other => panic!("{other:?}"),
            }
        }
        acks.push(of_side);
    }
    let all: Vec<_> = acks.concat();
    for ((_, told), of_side) in sides.iter().zip(&acks) {
        // Those of its own side, or all there are: neither suffices.
        for (to, list) in told.iter().zip([of_side, &all].iter().cycle()) {
            let message = ServerMessage::Acks((*list).clone()).encode(world.header());
            let abort = world.hand(&mut stand.clients, *to, &message).unwrap_err();
            let got = of_side.len() as u32;
            assert_eq!(abort, Abort::Acks { got, needed: 6 });
            assert!(stand.clients[to].is_over());
        }
    }
}

/// The positive control: mode S trusts the server, and a server that lies there has the vector of a single member.
#[test]
fn in_mode_s_the_same_lie_unmasks_a_member() {
    let (mut world, mut stand, view, sides) = split(Mode::SemiHonest);
    let mut loot = Loot::default();
    for (survivors, told) in &sides {
        for to in told {
            let message = survivors_for(&world, &view, survivors, *to);
            let reveal = sent(world.hand(&mut stand.clients, *to, &message));
            loot.add_reveal(&view, survivors, &reveal);
        }
    }
    for victim in [0, 8] {
        let (vector, all) = loot.residual(&view, victim, false);
        assert!(all);
        assert_eq!(vector, counted(&world, victim));
    }
    // Of the others there are shares of b alone.
    assert!(!loot.residual(&view, 3, false).1 || loot.r(&view, 3, false).is_none());
}

/// How far the number of set bits is from half, in standard deviations.
fn bits_off(bytes: &[u8]) -> f64 {
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    let all = 8.0 * bytes.len() as f64;
    (f64::from(ones) - all / 2.0) / (all / 4.0).sqrt()
}

/// Half of the members are proposed another model, which they have as well.
#[test]
fn members_with_another_model_do_not_come_into_one_sum() {
    for (mode, expected) in [
        (Mode::Malicious, "ERR_SIG"),
        (Mode::SemiHonest, "ERR_SHARE_OPEN"),
    ] {
        let mut world = World::new(8, 10, mode, 22);
        let mut stand = world.begin();
        let mut other = world.params.clone();
        other.model_hash = [8; 32];
        let bytes = world.proposal(&other);
        assert_eq!(world.join(0, &bytes).unwrap_err(), Abort::ModelHash);
        let mut adverts = Vec::new();
        for to in 0..8 {
            let honest = stand.pending.remove(&to).unwrap();
            let model_hash = if to < 4 { [8; 32] } else { [1; 32] };
            let work = Work {
                model_hash,
                ..world.work()
            };
            let proposal = if to < 4 { &bytes } else { &honest };
            let secrets = Secrets::draw(&mut world.rng);
            let policy = Arc::new(world.policy(to));
            let joined = Client::join(policy, &Record::default(), &work, proposal, secrets, NOW);
            let (client, first) = joined.unwrap();
            stand.clients.insert(to, client);
            match ClientMessage::decode(&first, 8, 0).unwrap().0 {
                ClientMessage::Advertise(advert) => adverts.push(advert),
                other => panic!("{other:?}"),
            }
            // The server that follows the protocol sees it; where nothing is signed it cannot.
            let taken = stand.server.receive(to, &first);
            assert_eq!(taken.is_ok(), to >= 4 || mode == Mode::SemiHonest);
        }
        let advertised = set(8, 0..8);
        let roster = ServerMessage::Roster {
            advertised,
            adverts,
        };
        if mode == Mode::Malicious {
            // One that lies puts them into one roster.
            let roster = roster.encode(world.header());
            for to in 0..8 {
                let abort = world.hand(&mut stand.clients, to, &roster).unwrap_err();
                assert_eq!(abort.name(), expected);
            }
            continue;
        }
        stand.collect();
        world.go_on(&mut stand, None, &Drops::new());
        assert_eq!(stand.sums, None);
        let left: Vec<_> = stand.aborts.iter().map(|(_, abort)| abort.name()).collect();
        assert!(left.len() >= 8 && left[..8].iter().all(|name| *name == expected));
    }
}

/// Masks themselves are bound to the model: whoever is brought to mask for another one makes the sum useless.
#[test]
fn masks_for_two_models_do_not_cancel() {
    let mut world = World::new(6, 4096, Mode::Malicious, 23);
    let stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let unmasked = |models: [u8; 6]| {
        let mut sum = Vector::zero(world.params.layout());
        for (index, model) in (0..6).zip(models) {
            let mut view = view.clone();
            view.params.model_hash = [model; 32];
            let secrets = &world.secrets[&index];
            let mut vector = counted(&world, index);
            mask::apply(&mut vector, &view.masks_of(index, secrets), 1);
            let own = [(view.self_mask(&secrets.b, index), mask::Sign::Subtract)];
            mask::apply(&mut vector, &own, 1);
            sum.add(vector.bytes()).unwrap();
        }
        sum
    };
    let one = unmasked([1; 6]);
    assert_eq!(one, world.plain_sum(&[0, 1, 2, 3, 4, 5]));
    for models in [[1, 1, 1, 1, 1, 2], [1, 1, 1, 2, 2, 2]] {
        let two = unmasked(models);
        assert_ne!(two.meta(0), 6);
        // 5 deviations: a false alarm once in 1.7 million draws, and the draw is fixed.
        assert!(bits_off(two.bytes()).abs() < 5.0);
    }
    // The real clients mask as computed here.
    for index in 0..6 {
        let mut vector = counted(&world, index);
        mask::apply(
            &mut vector,
            &view.masks_of(index, &world.secrets[&index]),
            1,
        );
        assert_eq!(vector, view.vectors[&index]);
    }
}

#[test]
fn a_recorded_session_is_not_played_again() {
    let mut world = World::new(5, 10, Mode::Malicious, 24);
    let stand = {
        let mut stand = world.begin();
        world.go_on(&mut stand, None, &Drops::new());
        stand
    };
    let to_0: Vec<&Vec<u8>> = stand
        .down
        .iter()
        .filter(|(to, _)| *to == 0)
        .map(|(_, m)| m)
        .collect();
    // With its record it does not begin.
    let record = *stand.clients[&0].record();
    let join = |world: &mut World, record: &Record| {
        let secrets = Secrets::draw(&mut world.rng);
        let policy = Arc::new(world.policy(0));
        Client::join(policy, record, &world.work(), to_0[0], secrets, NOW)
    };
    assert_eq!(
        join(&mut world, &record).unwrap_err(),
        Abort::SecondReveal(1)
    );
    // Even without, its keys are new, and the old ones are not its own.
    let (mut client, _) = join(&mut world, &Record::default()).unwrap();
    let abort = client.receive(to_0[1], NOW).unwrap_err();
    assert_eq!(abort.name(), "ERR_ROSTER");
    // A later attempt at the round is none for those who revealed; one at the next round is.
    world.params.attempt = 2;
    let proposal = world.proposal(&world.params);
    let join = |world: &mut World, proposal: &[u8]| {
        let secrets = Secrets::draw(&mut world.rng);
        let policy = Arc::new(world.policy(0));
        Client::join(policy, &record, &world.work(), proposal, secrets, NOW)
    };
    assert_eq!(
        join(&mut world, &proposal).unwrap_err(),
        Abort::SecondReveal(1)
    );
    world.params.round = 2;
    let proposal = world.proposal(&world.params);
    assert!(join(&mut world, &proposal).is_ok());
}

#[test]
fn messages_of_another_round_are_not_heard() {
    let mut world = World::new(5, 10, Mode::Malicious, 25);
    let mut old = world.begin();
    world.go_on(&mut old, None, &Drops::new());
    world.params.round = 2;
    let mut stand = world.until(Kind::Survivors, &Drops::new());
    for (to, message) in &old.down {
        let client = stand.clients.get_mut(to).unwrap();
        assert_eq!(client.receive(message, NOW), Ok(Step::Ignored));
    }
    for (from, message) in &old.up {
        let rejection = stand.server.receive(*from, message).unwrap_err();
        assert_eq!(
            rejection,
            Rejection::OtherRound {
                round: 1,
                attempt: 1
            }
        );
    }
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3, 4]));
    // Relabelled for this round, they do not verify.
    world.params.round = 3;
    let mut stand = world.until(Kind::Acks, &Drops::new());
    let (_, acks) = old
        .down
        .iter()
        .find(|(to, m)| *to == 0 && m[0] == Kind::Acks as u8)
        .unwrap();
    let mut relabelled = acks.clone();
    relabelled[1..9].copy_from_slice(&3_u64.to_le_bytes());
    let abort = world.hand(&mut stand.clients, 0, &relabelled).unwrap_err();
    assert_eq!(abort, Abort::Acks { got: 0, needed: 4 });
}

#[test]
fn a_repeated_question_is_not_answered_anew() {
    let mut world = World::new(6, 10, Mode::Malicious, 26);
    let mut stand = world.until(Kind::Acks, &Drops::new());
    let message = stand.pending[&0].clone();
    sent(world.hand(&mut stand.clients, 0, &message));
    assert_eq!(
        world.hand(&mut stand.clients, 0, &message),
        Ok(Step::Repeat)
    );
    // In other words: the same acknowledgements in another order.
    let ServerMessage::Acks(mut acks) = stand.message(0) else {
        panic!("no acknowledgements");
    };
    acks.reverse();
    let other = ServerMessage::Acks(acks).encode(world.header());
    let abort = world.hand(&mut stand.clients, 0, &other).unwrap_err();
    assert_eq!(abort.name(), "ERR_STATE");
}

#[test]
fn shares_exchanged_between_members_do_not_open() {
    let mut world = World::new(5, 10, Mode::Malicious, 27);
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    let shared = set(5, 0..5);
    // Each gets what was meant for the next.
    for to in 0..5 {
        let ServerMessage::Deliver { ciphertexts, .. } = stand.message((to + 1) % 5) else {
            panic!("no shares");
        };
        let message = ServerMessage::Deliver {
            shared: shared.clone(),
            ciphertexts,
        };
        let message = message.encode(world.header());
        let abort = world.hand(&mut stand.clients, to, &message).unwrap_err();
        assert_eq!(abort.name(), "ERR_SHARE_OPEN");
    }
}

#[test]
fn a_member_told_another_roster_is_in_another_session() {
    let mut world = World::new(7, 10, Mode::Malicious, 28);
    let mut stand = world.until(Kind::Roster, &Drops::new());
    let ServerMessage::Roster {
        mut advertised,
        mut adverts,
    } = stand.message(0)
    else {
        panic!("no roster");
    };
    advertised.remove(6);
    adverts.pop();
    let other = ServerMessage::Roster {
        advertised,
        adverts,
    }
    .encode(world.header());
    let shares = sent(world.hand(&mut stand.clients, 0, &other));
    stand.pending.remove(&0);
    // Its signature is of another session: the honest server sees it.
    assert!(stand.server.receive(0, &shares).is_err());
    // One that lies delivers them, and nobody opens them.
    let ClientMessage::Shares {
        ciphertexts: lone, ..
    } = ClientMessage::decode(&shares, 7, 0).unwrap().0
    else {
        panic!("no shares");
    };
    for (from, shares) in world.round(&mut stand, &Drops::new()) {
        stand.up.push((from, shares.clone().unwrap()));
        stand.server.receive(from, &shares.unwrap()).unwrap();
    }
    stand.server.lost(0);
    stand.collect();
    for to in 1..6 {
        let ServerMessage::Deliver {
            mut shared,
            mut ciphertexts,
        } = stand.message(to)
        else {
            panic!("no shares");
        };
        shared.insert(0);
        ciphertexts.insert(0, lone[to as usize - 1]);
        let message = ServerMessage::Deliver {
            shared,
            ciphertexts,
        }
        .encode(world.header());
        let abort = world.hand(&mut stand.clients, to, &message).unwrap_err();
        assert_eq!(abort, Abort::ShareOpen(0));
    }
    // Nor does it open theirs.
    let view = View::of(&stand);
    let ciphertexts = (1..6).map(|from| view.ciphertexts[&(from, 0)].clone().try_into().unwrap());
    let message = ServerMessage::Deliver {
        shared: set(7, 0..6),
        ciphertexts: ciphertexts.collect(),
    };
    let abort = world
        .hand(&mut stand.clients, 0, &message.encode(world.header()))
        .unwrap_err();
    assert_eq!(abort, Abort::ShareOpen(1));
}

/// Everybody but the victim belongs to the server. It takes part only in cohorts as large as it asks for, and of roster members.
#[test]
fn a_victim_is_not_surrounded_below_its_policy() {
    let mut world = World::new(9, 10, Mode::Malicious, 29);
    let ask = |world: &mut World, params: &Params| {
        let policy = Policy {
            minimum_cohort: 8,
            ..world.policy(0)
        };
        let bytes = world.proposal(params);
        let secrets = Secrets::draw(&mut world.rng);
        Client::join(
            Arc::new(policy),
            &Record::default(),
            &world.work(),
            &bytes,
            secrets,
            NOW,
        )
    };
    let mut small = world.params.clone();
    small.cohort.truncate(3);
    small.threshold = 3;
    assert_eq!(
        ask(&mut world, &small).unwrap_err().name(),
        "ERR_SMALL_COHORT"
    );
    // To promise eight and to call fewer does not help, nor to let fewer come.
    small.least_survivors = 8;
    assert_eq!(
        ask(&mut world, &small).unwrap_err().name(),
        "ERR_SMALL_COHORT"
    );
    world.params.least_survivors = 8;
    let params = world.params.clone();
    assert!(ask(&mut world, &params).is_ok());
    for (kind, gone) in [
        (Kind::Roster, Kind::Advertise),
        (Kind::Deliver, Kind::Shares),
        (Kind::Survivors, Kind::Masked),
    ] {
        let mut stand = world.until(kind, &Drops::new());
        let fewer = fewer(&world, &stand, 7);
        let abort = world.hand(&mut stand.clients, 0, &fewer).unwrap_err();
        assert!(
            matches!(
                abort,
                Abort::SmallCohort {
                    got: 7,
                    needed: 8,
                    ..
                }
            ),
            "{gone:?} {abort}"
        );
    }
}

/// The pending message to member 0, as if only the first `count` were there.
fn fewer(world: &World, stand: &Stand, count: u32) -> Vec<u8> {
    let message = match stand.message(0) {
        ServerMessage::Roster { mut adverts, .. } => {
            adverts.truncate(count as usize);
            ServerMessage::Roster {
                advertised: set(9, 0..count),
                adverts,
            }
        }
        ServerMessage::Deliver {
            mut ciphertexts, ..
        } => {
            ciphertexts.truncate(count as usize - 1);
            ServerMessage::Deliver {
                shared: set(9, 0..count),
                ciphertexts,
            }
        }
        _ => return survivors_for(world, &View::of(stand), &set(9, 0..count), 0),
    };
    message.encode(world.header())
}

#[test]
fn survivors_below_the_threshold_are_not_revealed_to() {
    let mut world = World::new(9, 10, Mode::SemiHonest, 30);
    world.params.threshold = 5;
    let mut stand = world.until(Kind::Survivors, &Drops::new());
    let fewer = survivors_for(&world, &View::of(&stand), &set(9, 0..4), 0);
    let abort = world.hand(&mut stand.clients, 0, &fewer).unwrap_err();
    assert_eq!(
        abort,
        Abort::SmallCohort {
            stage: "the survivors",
            got: 4,
            needed: 5
        }
    );
}

/// Buckets are cut by the session's id: shares of another cut belong to other members.
#[test]
fn a_graph_of_another_seed_is_not_taken() {
    let mut world = World::new(12, 10, Mode::Malicious, 31);
    world.params.graph = Graph::Buckets { count: 3 };
    world.params.threshold = 3;
    world.params.corrupt_ppm = 0;
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    let view = View::of(&stand);
    let topology = |seed: &[u8; 32]| {
        let members: Vec<u32> = (0..12).collect();
        graph::Topology::new(world.params.graph, &members, seed).unwrap()
    };
    let real = topology(&view.id);
    let other = (0..=255).map(|seed| topology(&[seed; 32]));
    let mut other = other.filter(|other| other.neighbours(0) != real.neighbours(0));
    let other = other.next().unwrap();
    // Those whom another cut would give it have sealed nothing for it: the server can but hand it others' shares.
    let given: Vec<[u8; CIPHERTEXT_LEN]> = other
        .neighbours(0)
        .iter()
        .map(|from| match stand.message(*from) {
            ServerMessage::Deliver { ciphertexts, .. } => ciphertexts[0],
            other => panic!("{other:?}"),
        })
        .collect();
    let message = ServerMessage::Deliver {
        shared: set(12, 0..12),
        ciphertexts: given,
    };
    let abort = world
        .hand(&mut stand.clients, 0, &message.encode(world.header()))
        .unwrap_err();
    assert_eq!(abort.name(), "ERR_SHARE_OPEN");
    // The same members in another attempt are cut differently, and nobody chose how.
    world.params.attempt = 2;
    let again = world.until(Kind::Deliver, &Drops::new());
    assert_ne!(View::of(&again).id, view.id);
}

/// The members of another bucket have seen the same survivors, and say nothing of this one's sum: a server whose own members
/// fill one bucket could else speak for all.
#[test]
fn acknowledgements_of_another_bucket_do_not_count() {
    let mut world = World::new(8, 10, Mode::Malicious, 33);
    world.params.graph = Graph::Buckets { count: 2 };
    world.params.threshold = 3;
    let mut stand = world.until(Kind::Acks, &Drops::new());
    let ServerMessage::Acks(own) = stand.message(0) else {
        panic!("no acknowledgements");
    };
    let is_in = |index: &u32| own.iter().any(|(other, _)| other == index);
    let other = (1..8).find(|index| !is_in(index)).unwrap();
    let ServerMessage::Acks(others) = stand.message(other) else {
        panic!("no acknowledgements");
    };
    assert!(own.len() == 4 && others.len() == 4);
    let message = ServerMessage::Acks([&own[..2], &others].concat()).encode(world.header());
    let abort = world.hand(&mut stand.clients, 0, &message).unwrap_err();
    assert_eq!(abort, Abort::Acks { got: 2, needed: 3 });
}

/// r of a dropout opens neither its channels nor its self mask.
#[test]
fn r_tells_neither_c_nor_b() {
    let mut world = World::new(5, 10, Mode::Malicious, 32);
    let mut stand = world.begin();
    world.go_on(&mut stand, None, &Drops::new());
    let view = View::of(&stand);
    let secrets = &world.secrets[&0];
    assert!(view.is_r(0, &secrets.r) && !view.is_b(0, &secrets.r));
    assert!(view.opened(1, 0, &secrets.c).is_some());
    assert!(view.opened(1, 0, &secrets.r).is_none());
    assert!(view.opened(1, 0, &secrets.b).is_none());
}
