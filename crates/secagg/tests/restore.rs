//! Sessions that outlive their process, and stores that were turned back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use cloister_secagg::lanes::Vector;
use cloister_secagg::members::Members;
use cloister_secagg::message::{Kind, ServerMessage};
use cloister_secagg::*;
use common::view::View;
use common::{Drops, NOW, Stand, World};
use proptest::prelude::*;

const KINDS: [Kind; 5] = [
    Kind::Roster,
    Kind::Deliver,
    Kind::Survivors,
    Kind::Acks,
    Kind::Result,
];

fn restore(world: &World, index: u32, record: &Record, saved: &[u8]) -> Result<Client, Abort> {
    Client::restore(Arc::new(world.policy(index)), record, saved, NOW)
}

/// Saves each client and goes on with what comes of it.
fn restart_all(world: &World, stand: &mut Stand) {
    for (index, client) in &mut stand.clients {
        if let Some(saved) = client.save(NOW) {
            let record = Record::from_bytes(&client.record().to_bytes()).unwrap();
            *client = restore(world, *index, &record, &saved).unwrap();
            // Saved again it is the same.
            assert_eq!(client.save(NOW).unwrap(), saved);
        }
    }
}

#[test]
fn a_session_restarted_at_any_stage_makes_the_same_sum() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        for restart in KINDS {
            if mode == Mode::SemiHonest && restart == Kind::Acks {
                continue;
            }
            let mut world = World::new(7, 10, mode, 41);
            let drops = Drops::from([(6, Kind::Masked)]);
            let mut stand = world.until(restart, &drops);
            restart_all(&world, &mut stand);
            world.go_on(&mut stand, None, &drops);
            assert_eq!(stand.aborts, []);
            assert_eq!(stand.sum().members, [0, 1, 2, 3, 4, 5]);
            assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3, 4, 5]));
            assert!((0..6).all(|index| stand.clients[&index].is_over()));
        }
    }
}

#[test]
fn a_session_restarted_between_shares_and_vector_makes_the_same_sum() {
    let mut world = World::new(5, 10, Mode::Malicious, 42);
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    for (to, message) in std::mem::take(&mut stand.pending) {
        let client = stand.clients.get_mut(&to).unwrap();
        assert_eq!(client.receive(&message, NOW), Ok(Step::Ready));
        let saved = client.save(NOW).unwrap();
        let mut client = restore(&world, to, client.record(), &saved).unwrap();
        assert!(client.is_ready());
        let step = client.mask(world.vectors[to as usize].clone(), 1, NOW);
        let Ok(Step::Send(bytes)) = step else {
            panic!("{step:?}");
        };
        stand.server.receive(to, &bytes).unwrap();
        stand.clients.insert(to, client);
    }
    stand.collect();
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3, 4]));
}

/// What client 0 was at each stage, what its record was at the end, and the messages to it.
struct Life {
    world: World,
    /// After each of its steps, with its record at that time.
    saved: Vec<(Vec<u8>, Record)>,
    down: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// Before its end.
    last: Record,
    view: View,
}

fn life(mode: Mode) -> Life {
    let mut world = World::new(6, 10, mode, 43);
    let mut stand = world.begin();
    let mut saved = Vec::new();
    let mut last = Record::default();
    while !stand.pending.is_empty() {
        if stand.pending.values().next().unwrap()[0] == Kind::Deliver as u8 {
            // Ready is a stage of its own.
            let message = stand.pending[&0].clone();
            let client = stand.clients.get_mut(&0).unwrap();
            let before = client.save(NOW).unwrap();
            let record = *client.record();
            let mut twin = restore(&world, 0, &record, &before).unwrap();
            twin.receive(&message, NOW).unwrap();
            saved.push((twin.save(NOW).unwrap().to_vec(), record));
        }
        for (from, reply) in world.round(&mut stand, &Drops::new()) {
            stand.server.receive(from, reply.as_ref().unwrap()).unwrap();
            stand.up.push((from, reply.unwrap()));
        }
        stand.collect();
        let client = &stand.clients[&0];
        last = *client.record();
        if let Some(bytes) = client.save(NOW) {
            saved.push((bytes.to_vec(), last));
        }
    }
    let own = |list: &[(u32, Vec<u8>)]| -> Vec<Vec<u8>> {
        let own = list.iter().filter(|(index, _)| *index == 0);
        own.map(|(_, message)| message.clone()).collect()
    };
    assert!(last.masked.is_some() && last.revealed);
    assert_eq!(last.acknowledged.is_some(), mode == Mode::Malicious);
    let (down, sent) = (own(&stand.down), own(&stand.up));
    let view = View::of(&stand);
    Life {
        world,
        saved,
        down,
        sent,
        last,
        view,
    }
}

/// All that a client sends that is given these messages, and a vector whenever it takes one.
fn provoke(client: &mut Client, messages: &[Vec<u8>], vector: &Vector) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    let mut masks = |client: &mut Client| {
        if client.is_ready()
            && let Ok(Step::Send(bytes)) = client.mask(vector.clone(), 1, NOW)
        {
            sent.push(bytes);
        }
    };
    let mut answers = Vec::new();
    for message in messages {
        masks(client);
        if let Ok(Step::Send(bytes)) = client.receive(message, NOW) {
            answers.push(bytes);
        }
    }
    masks(client);
    sent.extend(answers);
    sent
}

fn of_kind(messages: &[Vec<u8>], kind: Kind) -> Vec<&Vec<u8>> {
    messages.iter().filter(|m| m[0] == kind as u8).collect()
}

/// The disk was turned back, but not the record: with any of the snapshots and any later record, and all messages there were
/// from there on, nothing is masked, acknowledged or revealed a second time but in the same bytes.
#[test]
fn an_older_snapshot_with_a_newer_record_does_nothing_twice() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        let life = life(mode);
        let records: Vec<Record> = life
            .saved
            .iter()
            .map(|(_, record)| *record)
            .chain([life.last])
            .collect();
        let mut went_on = 0;
        for (at, (saved, _)) in life.saved.iter().enumerate() {
            for record in &records[at..] {
                for from in 1..life.down.len() {
                    let Ok(mut client) = restore(&life.world, 0, record, saved) else {
                        continue;
                    };
                    went_on += 1;
                    let other = life.world.vectors[1].clone();
                    let sent = provoke(&mut client, &life.down[from..], &other);
                    if record.masked.is_some() {
                        assert_eq!(of_kind(&sent, Kind::Masked), Vec::<&Vec<u8>>::new());
                    }
                    if record.revealed {
                        assert_eq!(of_kind(&sent, Kind::Reveal), Vec::<&Vec<u8>>::new());
                    }
                    if record.acknowledged.is_some() {
                        let before = of_kind(&life.sent, Kind::Ack);
                        assert!(
                            of_kind(&sent, Kind::Ack)
                                .iter()
                                .all(|ack| before.contains(ack))
                        );
                    }
                    // Two reveals of one process are out of the question as well.
                    assert!(of_kind(&sent, Kind::Reveal).len() <= 1);
                }
            }
        }
        assert!(went_on > 20, "{went_on}");
    }
}

/// The server shows a client that was turned back other survivors than those it has acknowledged.
#[test]
fn a_client_turned_back_acknowledges_no_other_survivors() {
    let mut world = World::new(9, 10, Mode::Malicious, 44);
    let mut stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let first = stand.pending[&0].clone();
    let client = stand.clients.get_mut(&0).unwrap();
    let before = client.save(NOW).unwrap();
    let old = *client.record();
    let Ok(Step::Send(ack)) = client.receive(&first, NOW) else {
        panic!("no acknowledgement");
    };
    let record = *client.record();
    let mut fewer = Members::none(9);
    (0..8).for_each(|index| fewer.insert(index));
    let leaf = |index: u32| {
        let body = common::view::hash(&[view.vectors[&index].bytes()]);
        merkle::leaf(&[&index.to_le_bytes(), &body])
    };
    let tree = merkle::Tree::new((0..8).map(leaf).collect());
    let other = ServerMessage::Survivors {
        survivors: fewer,
        bodies_root: tree.root(),
        proof: tree.proof(0),
    };
    let other = other.encode(world.header());
    // Without the record it would: the message is a good one.
    let mut forgetful = restore(&world, 0, &old, &before).unwrap();
    assert!(matches!(forgetful.receive(&other, NOW), Ok(Step::Send(_))));
    let mut turned_back = restore(&world, 0, &record, &before).unwrap();
    assert_eq!(
        turned_back.receive(&other, NOW).unwrap_err().name(),
        "ERR_STATE"
    );
    assert!(turned_back.is_over());
    // The same ones it acknowledges in the same bytes, and the session goes on.
    let mut turned_back = restore(&world, 0, &record, &before).unwrap();
    assert_eq!(turned_back.receive(&first, NOW), Ok(Step::Send(ack)));
    stand
        .clients
        .insert(0, restore(&world, 0, &record, &before).unwrap());
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().members.len(), 9);
}

#[test]
fn a_client_turned_back_after_its_vector_goes_on_without_another() {
    let mut world = World::new(5, 10, Mode::Malicious, 45);
    let mut stand = world.until(Kind::Deliver, &Drops::new());
    let message = stand.pending.remove(&0).unwrap();
    let client = stand.clients.get_mut(&0).unwrap();
    assert_eq!(client.receive(&message, NOW), Ok(Step::Ready));
    let saved = client.save(NOW).unwrap();
    let Ok(Step::Send(bytes)) = client.mask(world.vectors[0].clone(), 1, NOW) else {
        panic!("no vector");
    };
    let record = *client.record();
    let mut client = restore(&world, 0, &record, &saved).unwrap();
    assert!(!client.is_ready());
    // The server asks again: what was sent then is sent again, from where it lies.
    assert_eq!(client.receive(&message, NOW), Ok(Step::Repeat));
    stand.server.receive(0, &bytes).unwrap();
    stand.clients.insert(0, client);
    world.go_on(&mut stand, None, &Drops::new());
    assert_eq!(stand.sum().vector, world.plain_sum(&[0, 1, 2, 3, 4]));
}

#[test]
fn a_record_of_another_session_is_refused() {
    let life = life(Mode::Malicious);
    let (saved, record) = &life.saved[2];
    let change = |change: fn(&mut Record)| {
        let mut record = *record;
        change(&mut record);
        restore(&life.world, 0, &record, saved).map(|client| client.is_over())
    };
    assert_eq!(change(|_| {}), Ok(false));
    let replay = Err(Abort::Replay {
        round: 1,
        attempt: 1,
    });
    // Ahead, behind, of another run, or none.
    assert_eq!(change(|record| record.round = 2), replay);
    assert_eq!(change(|record| record.attempt = 2), replay);
    assert_eq!(change(|record| record.round = 0), replay);
    assert_eq!(change(|record| record.attempt = 0), replay);
    assert_eq!(change(|record| record.task = [1; 16]), replay);
    assert_eq!(change(|record| *record = Record::default()), replay);
}

#[test]
fn a_record_too_far_ahead_or_of_another_vector_is_refused() {
    let life = life(Mode::Malicious);
    let stage = |saved: &[u8]| saved[1];
    for (saved, _) in &life.saved {
        let restored = restore(&life.world, 0, &life.last, saved);
        // 4 is acknowledged: a reveal is of survivors that the session must know.
        assert_eq!(restored.is_ok(), stage(saved) >= 4, "{}", stage(saved));
        if stage(saved) < 4 {
            assert_eq!(restored.unwrap_err().name(), "ERR_STATE");
        }
        let masked = Record {
            acknowledged: None,
            revealed: false,
            ..life.last
        };
        // 2 is ready: from there on a vector that was sent can be caught up with.
        let restored = restore(&life.world, 0, &masked, saved);
        assert_eq!(restored.is_ok(), stage(saved) >= 2, "{}", stage(saved));
        if stage(saved) >= 3 {
            let record = Record {
                masked: Some([5; 32]),
                ..life.last
            };
            assert_eq!(
                restore(&life.world, 0, &record, saved).unwrap_err(),
                Abort::BodyHash
            );
        }
        if stage(saved) >= 4 {
            let record = Record {
                acknowledged: Some([5; 32]),
                ..life.last
            };
            assert_eq!(
                restore(&life.world, 0, &record, saved).unwrap_err().name(),
                "ERR_STATE"
            );
        }
    }
}

#[test]
fn a_client_turned_back_after_its_reveal_still_hears_the_result() {
    let life = life(Mode::Malicious);
    let result = life.down.last().unwrap();
    let (saved, _) = life.saved.iter().find(|(saved, _)| saved[1] == 4).unwrap();
    let mut client = restore(&life.world, 0, &life.last, saved).unwrap();
    assert_eq!(*client.record(), life.last);
    assert!(matches!(client.receive(result, NOW), Ok(Step::Done { .. })));
}

/// The stage in a snapshot is one of those that its other parts go with, and the record in it is heard whatever the stage is.
#[test]
fn a_snapshot_of_another_format_or_stage_is_refused() {
    let life = life(Mode::Malicious);
    for (saved, record) in &life.saved {
        let restored = |place: usize, value| {
            let mut changed = saved.clone();
            changed[place] = value;
            restore(&life.world, 0, record, &changed)
        };
        assert_eq!(restored(0, 2).unwrap_err().name(), "ERR_FORMAT");
        for stage in 0..8 {
            let own = saved[1];
            let later = stage > own && !(own == 4 && stage == 5);
            if later || stage < 3 && own >= 3 {
                assert_eq!(restored(1, stage).unwrap_err().name(), "ERR_FORMAT");
            }
        }
        // It says that it has acknowledged, and its record that it has revealed.
        if saved[1] == 5 {
            let mut client = restored(1, 4).unwrap();
            let acks = life.down.iter().find(|m| m[0] == Kind::Acks as u8).unwrap();
            let ServerMessage::Acks(mut acks) = ServerMessage::decode(acks, 6).unwrap().0 else {
                panic!("no acknowledgements");
            };
            acks.reverse();
            let other = ServerMessage::Acks(acks).encode(life.world.header());
            assert_eq!(client.receive(&other, NOW), Err(Abort::SecondReveal(1)));
        }
    }
}

#[test]
fn a_policy_that_has_changed_is_heard() {
    let life = life(Mode::Malicious);
    let (saved, record) = &life.saved[0];
    let restore =
        |policy: Policy| Client::restore(Arc::new(policy), record, saved, NOW).unwrap_err();
    let policy = life.world.policy(0);
    let abort = restore(Policy {
        minimum_cohort: 5,
        ..policy.clone()
    });
    assert_eq!(abort.name(), "ERR_SMALL_COHORT");
    let abort = restore(Policy {
        today: 101,
        ..policy.clone()
    });
    assert_eq!(abort.name(), "ERR_ROSTER");
    // Somebody else's session.
    let abort = restore(life.world.policy(1));
    assert_eq!(abort.name(), "ERR_ROSTER");
    assert_eq!(life.view.params.members(), 6);
}

/// A clock that begins anew with the process does not make the time longer.
#[test]
fn deadlines_outlive_the_process() {
    let mut world = World::new(5, 10, Mode::Malicious, 46);
    world.params.deadlines = [1000; 4];
    let mut stand = world.until(Kind::Roster, &Drops::new());
    let message = stand.pending[&0].clone();
    let client = stand.clients.get_mut(&0).unwrap();
    let at = Duration::from_millis;
    let saved = client.save(at(700)).unwrap();
    let restored =
        |now| Client::restore(Arc::new(world.policy(0)), client.record(), &saved, now).unwrap();
    for begun in [at(0), at(700), at(50_000)] {
        let answer = |after| restored(begun).receive(&message, begun + after);
        assert!(matches!(answer(at(300)), Ok(Step::Send(_))));
        assert_eq!(answer(at(301)), Err(Abort::Deadline("the shares")));
    }
    // Nor does saving twice.
    let again = restored(at(0)).save(at(200)).unwrap();
    let policy = Arc::new(world.policy(0));
    let mut client = Client::restore(policy, client.record(), &again, at(0)).unwrap();
    assert_eq!(
        client.receive(&message, at(101)),
        Err(Abort::Deadline("the shares"))
    );
}

#[test]
fn cut_and_longer_snapshots_are_refused() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        let life = life(mode);
        for (saved, record) in &life.saved {
            for end in 0..saved.len() {
                assert!(restore(&life.world, 0, record, &saved[..end]).is_err());
            }
            let mut longer = saved.clone();
            longer.push(0);
            assert!(restore(&life.world, 0, record, &longer).is_err());
        }
    }
}

/// What a client does with a changed snapshot and all there is to receive.
fn survives(life: &Life, saved: &[u8], record: &Record) -> Result<(), TestCaseError> {
    let Ok(mut client) = restore(&life.world, 0, record, saved) else {
        return Ok(());
    };
    let vector = match client.layout() == life.world.params.layout() {
        true => life.world.vectors[1].clone(),
        false => return Ok(()),
    };
    let sent = provoke(&mut client, &life.down[1..], &vector);
    if record.masked.is_some() {
        prop_assert!(of_kind(&sent, Kind::Masked).is_empty());
    }
    if record.revealed {
        prop_assert!(of_kind(&sent, Kind::Reveal).is_empty());
    }
    // Whatever it signs in whichever session, it is for the same survivors.
    if record.acknowledged.is_some() {
        prop_assert_eq!(client.record().acknowledged, record.acknowledged);
    }
    Ok(())
}

/// Snapshots of the first stages are mostly parameters, keys and shares; the flags lie between them.
#[test]
fn a_snapshot_with_any_byte_of_its_head_changed_masks_nothing_again() {
    let life = life(Mode::SemiHonest);
    for (saved, _) in &life.saved {
        for place in 0..saved.len().min(120) {
            for bit in 0..8 {
                let mut changed = saved.clone();
                changed[place] ^= 1 << bit;
                survives(&life, &changed, &life.last).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn changed_snapshots_never_panic_and_mask_nothing_again(
        malicious in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4)), 40),
    ) {
        let life = life(if malicious { Mode::Malicious } else { Mode::SemiHonest });
        for (which, changes) in changes {
            let (saved, record) = which.get(&life.saved);
            let mut changed = saved.clone();
            for (place, value) in changes {
                let place = place.index(changed.len());
                changed[place] ^= value;
            }
            survives(&life, &changed, &life.last)?;
            survives(&life, &changed, record)?;
        }
    }

    #[test]
    fn arbitrary_snapshots_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let world = World::new(3, 4, Mode::SemiHonest, 47);
        let record = Record { task: common::TASK, round: 1, attempt: 1, ..Record::default() };
        prop_assert!(restore(&world, 0, &record, &bytes).is_err());
    }
}
