//! Faults of other frameworks, built beside the real thing: the check that passes on the one must fail on the other.
//!
//! Each is described in the notes of its test; the frameworks are not named, since what they ship changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use cloister_secagg::mask::{self, MaskKey, Sign};
use cloister_secagg::members::Members;
use cloister_secagg::merkle::{self, Tree};
use cloister_secagg::message::{ClientMessage, Kind, ServerMessage};
use cloister_secagg::*;
use common::view::{View, hash};
use common::{Drops, NOW, World};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

fn all_of(n: u32) -> Members {
    let mut set = Members::none(n);
    (0..n).for_each(|index| set.insert(index));
    set
}

// A mask from 32 bits of its seed.

/// Whether the mask depends on each bit of its seed, and 2^18 seeds make as many masks: of 32 bits about 8 would be equal, of
/// 64 bits one in 2^29 draws.
fn masks_take_the_whole_seed(mask: impl Fn(&[u8; 32]) -> [u8; 8]) -> bool {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let base: [u8; 32] = rng.random();
    let first = mask(&base);
    let each_bit = (0..256).all(|bit| {
        let mut seed = base;
        seed[bit / 8] ^= 1 << (bit % 8);
        mask(&seed) != first
    });
    let mut seen: Vec<[u8; 8]> = (0..1 << 18).map(|_| mask(&rng.random())).collect();
    seen.sort_unstable();
    each_bit && seen.windows(2).all(|pair| pair[0] != pair[1])
}

fn real_mask(seed: &[u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    mask::stream(&MaskKey::from_bytes(seed), &mut out);
    out
}

#[test]
fn a_truncated_or_folded_seed_is_seen() {
    assert!(masks_take_the_whole_seed(real_mask));
    let from_32_bits = |seed: u32| ChaCha20Rng::seed_from_u64(seed.into()).random();
    // The first four bytes.
    assert!(!masks_take_the_whole_seed(|seed| {
        from_32_bits(u32::from_le_bytes(*seed.first_chunk().unwrap()))
    }));
    // All of them, folded into four: each bit counts, and still there are but 2^32 masks.
    assert!(!masks_take_the_whole_seed(|seed| {
        let words = seed.as_chunks::<4>().0.iter();
        from_32_bits(words.fold(0, |sum, word| sum ^ u32::from_le_bytes(*word)))
    }));
}

// One mask in two rounds, one key for all pairs.

/// Whether no block of 16 bytes of these masked zeros is in two of them, nor twice in one.
fn masks_are_fresh(masked: &[Vec<u8>]) -> bool {
    let blocks = masked.iter().flat_map(|bytes| bytes.as_chunks::<16>().0);
    let mut seen = BTreeSet::new();
    blocks.into_iter().all(|block| seen.insert(*block))
}

/// The masked zeros of everybody in three rounds of the real protocol; with `again`, everybody draws the same secrets each time.
fn masked_zeros(again: bool) -> Vec<Vec<u8>> {
    let mut masked = Vec::new();
    for round in 1..4 {
        let mut world = World::new(4, 100, Mode::Malicious, 71);
        world.params.round = round;
        let seed = if again { 1 } else { round };
        world.rng = ChaCha20Rng::seed_from_u64(seed);
        let zero = lanes::Vector::zero(world.params.layout());
        world.vectors = vec![zero; 4];
        let stand = world.until(Kind::Survivors, &Drops::new());
        let view = View::of(&stand);
        masked.extend(
            view.vectors
                .values()
                .map(|vector| vector.bytes()[..400].to_vec()),
        );
    }
    masked
}

#[test]
fn a_mask_used_in_two_rounds_is_seen() {
    assert!(masks_are_fresh(&masked_zeros(false)));
    // Here not even the same secrets make the same masks.
    assert!(masks_are_fresh(&masked_zeros(true)));
    // A client whose masks depend on its key alone.
    let mut reused = masked_zeros(false);
    let mut vector = lanes::Vector::zero(World::new(4, 100, Mode::Malicious, 71).params.layout());
    mask::apply(
        &mut vector,
        &[(MaskKey::from_bytes(&[5; 32]), Sign::Add)],
        1,
    );
    reused.extend([
        vector.bytes()[..400].to_vec(),
        vector.bytes()[..400].to_vec(),
    ]);
    assert!(!masks_are_fresh(&reused));
}

/// Whether each pair of members has a mask of its own, and both of it the same.
fn pairs_differ(mask: impl Fn(u32, u32) -> MaskKey) -> bool {
    let stream = |key: MaskKey| {
        let mut out = [0; 16];
        mask::stream(&key, &mut out);
        out
    };
    let mut seen = BTreeSet::new();
    (0..6).all(|i| {
        (0..i).all(|j| {
            let there = stream(mask(i, j));
            there == stream(mask(j, i)) && seen.insert(there)
        })
    })
}

#[test]
fn one_key_for_all_pairs_is_seen() {
    let mut world = World::new(6, 10, Mode::Malicious, 72);
    let stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    // That the real clients mask like this is tested among the adversaries.
    assert!(pairs_differ(|i, j| view.pair_mask(
        &world.secrets[&i].r,
        i,
        j
    )));
    assert!(!pairs_differ(|_, _| MaskKey::from_bytes(&[7; 32])));
    // One key a member: the two of a pair do not agree.
    assert!(!pairs_differ(|i, _| MaskKey::from_bytes(
        &world.secrets[&i].r
    )));
}

// Both shares of one member.

/// What a member answers when it is told these survivors, one after the other: the shares it reveals each time.
type Revealed = Vec<Vec<[u8; 40]>>;

/// Whether it never gave a share of b and a share of r of the same owner, in the order of `held`.
fn one_share_of_each(held: &[[[u8; 40]; 2]], revealed: &Revealed) -> bool {
    let given: BTreeSet<&[u8; 40]> = revealed.iter().flatten().collect();
    held.iter()
        .all(|[b, r]| !(given.contains(b) && given.contains(r)))
}

/// Two sets of survivors that member 0 is told; the second in the place of acknowledgements, and once more after a restart.
fn told_twice(mode: Mode) -> (Vec<[[u8; 40]; 2]>, Revealed) {
    let mut world = World::new(7, 10, mode, 73);
    let mut stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let fewer = survivors(&world, &view, 6);
    let secrets = world.secrets[&0].clone();
    // Its own shares it has from nobody: only those of others are looked at.
    let held = (1..7)
        .map(|owner| view.opened(owner, 0, &secrets.c).unwrap())
        .collect();
    let mut revealed = Vec::new();
    let mut take = |step: Result<Step, Abort>| {
        if let Ok(Step::Send(bytes)) = step
            && let Ok((ClientMessage::Reveal { shares, .. }, _)) =
                ClientMessage::decode(&bytes, 7, 0)
        {
            revealed.push(shares);
        }
    };
    let saved = stand.clients[&0].save(NOW).unwrap();
    if mode == Mode::Malicious {
        world.go_on(&mut stand, Some(Kind::Acks), &Drops::new());
    }
    let last = stand.pending[&0].clone();
    take(world.hand(&mut stand.clients, 0, &last));
    let record = *stand.clients[&0].record();
    take(world.hand(&mut stand.clients, 0, &fewer));
    let policy = std::sync::Arc::new(world.policy(0));
    if let Ok(mut client) = Client::restore(policy, &record, &saved, NOW) {
        take(client.receive(&fewer, NOW));
        take(client.receive(&last, NOW));
    }
    (held, revealed)
}

fn survivors(world: &World, view: &View, count: u32) -> Vec<u8> {
    let mut set = Members::none(7);
    (0..count).for_each(|index| set.insert(index));
    let leaf = |index: u32| {
        let body = hash(&[view.vectors[&index].bytes()]);
        merkle::leaf(&[&index.to_le_bytes(), &body])
    };
    let tree = Tree::new((0..count).map(leaf).collect());
    let message = ServerMessage::Survivors {
        survivors: set,
        bodies_root: tree.root(),
        proof: tree.proof(0),
    };
    message.encode(world.header())
}

#[test]
fn both_shares_of_one_member_are_seen() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        let (held, revealed) = told_twice(mode);
        assert_eq!(revealed.len(), 1);
        assert!(one_share_of_each(&held, &revealed));
    }
    // A client that answers each set of survivors it is told of.
    let (held, mut revealed) = told_twice(Mode::SemiHonest);
    let second = held
        .iter()
        .enumerate()
        .map(|(place, [b, r])| if place < 5 { *b } else { *r });
    revealed.push(second.collect());
    assert!(!one_share_of_each(&held, &revealed));
    // One that takes a member that is named as survivor and as dropout, and gives both at once.
    assert!(!one_share_of_each(&held, &vec![held.concat()]));
}

// Thresholds.

/// Whether a session of nine with this threshold outlives two dropouts, one before and one after its vector.
fn outlives_dropouts(threshold: u32) -> bool {
    let mut world = World::new(9, 10, Mode::Malicious, 74);
    world.params.threshold = threshold;
    let drops = Drops::from([(3, Kind::Masked), (5, Kind::Reveal)]);
    let outcome = world.run(&drops);
    match outcome.sums.as_deref() {
        Some([sum]) => sum.vector == world.plain_sum(&sum.members),
        _ => false,
    }
}

/// Whether clients join a session of nine with this threshold, two of whom may be corrupt: two sets of so many must share an
/// honest member.
fn is_joined(threshold: u32) -> bool {
    let mut world = World::new(9, 10, Mode::Malicious, 74);
    world.params.threshold = threshold;
    let bytes = world.proposal(&world.params);
    world.join(0, &bytes).is_ok()
}

#[test]
fn a_threshold_too_high_or_too_low_is_seen() {
    for threshold in [6, 7] {
        assert!(outlives_dropouts(threshold) && is_joined(threshold));
    }
    // All of them: who drops out takes the sum along.
    assert!(!outlives_dropouts(9));
    // A majority, a third, one.
    for threshold in [5, 3, 1, 0] {
        assert!(!is_joined(threshold));
    }
    assert!(!is_joined(10));
}

// Masks in floating point.

/// Whether the sum of masked vectors is that of the plain ones, to the bit.
fn masks_cancel_exactly(masked_sum: impl Fn(&[f32; 3], &mut ChaCha20Rng) -> f32) -> bool {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    (0..1000).all(|_| {
        // Multiples of 2^-20 below 1: sums of three are exact in f32.
        let values: [f32; 3] =
            std::array::from_fn(|_| rng.random_range(0..1 << 20) as f32 / (1 << 20) as f32);
        let plain: f32 = values.iter().sum();
        masked_sum(&values, &mut rng) == plain
    })
}

#[test]
fn masks_in_floating_point_are_seen() {
    // The ring: codes modulo 2^32.
    assert!(masks_cancel_exactly(|values, rng| {
        let masks: [u32; 3] = std::array::from_fn(|_| rng.next_u32());
        let code = |value: f32| (value * (1 << 20) as f32) as u32;
        let sum = (0..3).fold(0_u32, |sum, i| {
            let masked = code(values[i])
                .wrapping_add(masks[i])
                .wrapping_sub(masks[(i + 1) % 3]);
            sum.wrapping_add(masked)
        });
        sum as f32 / (1 << 20) as f32
    }));
    assert!(!masks_cancel_exactly(|values, rng| {
        let masks: [f32; 3] = std::array::from_fn(|_| rng.random_range(-100.0..100.0));
        (0..3)
            .map(|i| values[i] + masks[i] - masks[(i + 1) % 3])
            .sum()
    }));
    // And the real sum, of a session, is the plain one.
    let mut world = World::new(5, 200, Mode::Malicious, 75);
    let outcome = world.run(&Drops::from([(2, Kind::Masked)]));
    assert_eq!(outcome.sum().vector, world.plain_sum(&[0, 1, 3, 4]));
}

// Members that only the server sees.

/// Whether nobody reveals when the first half is told that 8 is gone, the other that 0 is.
fn a_split_stays_shut(mode: Mode) -> bool {
    let mut world = World::new(9, 10, mode, 76);
    let mut stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let mut acks: BTreeMap<bool, Vec<(u32, SignatureBytes)>> = BTreeMap::new();
    let mut reveals = 0;
    for to in 0..9 {
        let gone = if to < 4 { 8 } else { 0 };
        let mut set = all_of(9);
        set.remove(gone);
        let leaf = |index: u32| {
            let body = hash(&[view.vectors[&index].bytes()]);
            merkle::leaf(&[&index.to_le_bytes(), &body])
        };
        let tree = Tree::new(set.iter().map(leaf).collect());
        let message = ServerMessage::Survivors {
            bodies_root: tree.root(),
            proof: tree.proof(set.iter().take_while(|index| *index < to).count()),
            survivors: set,
        };
        let Ok(Step::Send(reply)) =
            world.hand(&mut stand.clients, to, &message.encode(world.header()))
        else {
            continue;
        };
        match ClientMessage::decode(&reply, 9, 0).unwrap().0 {
            ClientMessage::Ack { index, signature } => {
                acks.entry(to < 4).or_default().push((index, signature))
            }
            ClientMessage::Reveal { .. } => reveals += 1,
            other => panic!("{other:?}"),
        }
    }
    for to in 0..9 {
        let Some(of_side) = acks.get(&(to < 4)) else {
            continue;
        };
        let message = ServerMessage::Acks(of_side.clone()).encode(world.header());
        reveals += u32::from(world.hand(&mut stand.clients, to, &message).is_ok());
    }
    reveals == 0
}

#[test]
fn members_that_only_the_server_sees_are_seen() {
    assert!(a_split_stays_shut(Mode::Malicious));
    // Without the round of acknowledgements, as mode S has it.
    assert!(!a_split_stays_shut(Mode::SemiHonest));
}

// Keys that nobody vouches for.

/// Whether the members leave when the server puts a key of its own in the place of a member's.
fn an_exchanged_key_is_noticed(mode: Mode) -> bool {
    let mut world = World::new(5, 10, mode, 77);
    let mut stand = world.until(Kind::Roster, &Drops::new());
    let own = Secrets::draw(&mut world.rng);
    (0..4).all(|to| {
        let ServerMessage::Roster {
            advertised,
            mut adverts,
        } = stand.message(to)
        else {
            panic!("no roster");
        };
        adverts[4].channel = own.channel_public();
        adverts[4].mask = own.mask_public();
        let message = ServerMessage::Roster {
            advertised,
            adverts,
        }
        .encode(world.header());
        world.hand(&mut stand.clients, to, &message).is_err()
    })
}

#[test]
fn keys_that_nobody_vouches_for_are_seen() {
    assert!(an_exchanged_key_is_noticed(Mode::Malicious));
    // Where nothing is signed, as in mode S.
    assert!(!an_exchanged_key_is_noticed(Mode::SemiHonest));
}
