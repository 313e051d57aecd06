//! What a server sees of a vector has the same distribution whatever the vector is.
//!
//! All draws are fixed by seeds: a test either always passes or never does. The false-alarm rates are those of a fresh draw, so
//! that a change of the code that moves the draws is unlikely to make a sound mask fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeSet;

use cloister_secagg::Mode;
use cloister_secagg::lanes::Vector;
use cloister_secagg::mask::{self, MaskKey, Sign};
use cloister_secagg::message::Kind;
use common::view::View;
use common::{Drops, World};

/// A false alarm once in about 10^6 draws, two-sided, for a standard normal.
const Z: f64 = 4.9;

/// Standard normal score of a chi-square with many degrees of freedom (Wilson and Hilferty 1931).
fn score(chi_square: f64, freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// Pearson's statistic against equal frequencies.
fn against_equal(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let sum: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2))
        .sum();
    score(sum / expected, counts.len() as f64 - 1.0)
}

/// Pearson's statistic for two samples of one distribution.
fn of_two(one: &[u64], other: &[u64]) -> f64 {
    let (n, m) = (
        one.iter().sum::<u64>() as f64,
        other.iter().sum::<u64>() as f64,
    );
    let (a, b) = ((m / n).sqrt(), (n / m).sqrt());
    let terms = one.iter().zip(other).filter(|(x, y)| **x + **y > 0);
    let cells = terms.clone().count() as f64;
    let sum: f64 = terms
        .map(|(x, y)| (a * *x as f64 - b * *y as f64).powi(2) / (*x + *y) as f64)
        .sum();
    score(sum, cells - 1.0)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
}

/// How often each byte value stands at each place of a word.
fn frequencies(bytes: &[u8]) -> Vec<u64> {
    let mut counts = vec![0; 1024];
    for (place, byte) in bytes.iter().enumerate() {
        counts[(place % 4) * 256 + usize::from(*byte)] += 1;
    }
    counts
}

/// How often the top bits of a word and of the next one come together; no word is in two pairs, so that pairs are independent.
fn pairs(bytes: &[u8]) -> Vec<u64> {
    let mut counts = vec![0; 1 << 12];
    let all: Vec<u32> = words(bytes).collect();
    for pair in all.as_chunks::<2>().0 {
        counts[((pair[0] >> 26) << 6 | pair[1] >> 26) as usize] += 1;
    }
    counts
}

/// The same for the bottom bits.
fn low_pairs(bytes: &[u8]) -> Vec<u64> {
    let mut counts = vec![0; 1 << 12];
    let all: Vec<u32> = words(bytes).collect();
    for pair in all.as_chunks::<2>().0 {
        counts[((pair[0] & 63) << 6 | pair[1] & 63) as usize] += 1;
    }
    counts
}

type Count = fn(&[u8]) -> Vec<u64>;
const COUNTS: [(&str, Count); 3] = [
    ("bytes", frequencies),
    ("pairs", pairs),
    ("low pairs", low_pairs),
];

/// The first statistic that is out of its range, for one sample and for two.
fn stands_out(one: &[u8], other: &[u8]) -> Option<(&'static str, f64)> {
    for (name, count) in COUNTS {
        let (one, other) = (count(one), count(other));
        for score in [
            against_equal(&one),
            against_equal(&other),
            of_two(&one, &other),
        ] {
            if score.abs() > Z {
                return Some((name, score));
            }
        }
    }
    None
}

/// The masked vectors of client 0 over a number of sessions of one server, in which it always sends the same.
fn seen(input: u32, clients: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for seed in 0..8 {
        // The server's side is the same for all inputs, the clients draw anew.
        let mut world = World::new(3, 1 << 17, Mode::SemiHonest, seed);
        for lane in 0..1 << 17 {
            world.vectors[0].set_model(lane, input);
        }
        let before = world.params.clone();
        world.rng = rand::SeedableRng::seed_from_u64(1000 * clients + seed);
        let stand = world.until(Kind::Survivors, &Drops::new());
        assert_eq!(before, world.params);
        bytes.extend(&View::of(&stand).vectors[&0].bytes()[..4 << 17]);
    }
    assert_eq!(bytes.len(), 4 << 20);
    bytes
}

/// 2^20 words each of two inputs that could hardly be further apart: 9 statistics, a false alarm once in 10^5 draws.
#[test]
fn masked_vectors_of_two_inputs_look_alike() {
    let (one, other) = (seen(0, 1), seen((1 << 30) - 1, 2));
    assert_eq!(stands_out(&one, &other), None);
}

/// The same statistics see what is no mask.
#[test]
fn the_statistics_see_what_is_no_mask() {
    let stream = |seed: u8, length: usize| {
        let mut out = vec![0; length];
        mask::stream(&MaskKey::from_bytes(&[seed; 32]), &mut out);
        out
    };
    let (good, other) = (stream(1, 4 << 20), stream(2, 4 << 20));
    assert_eq!(stands_out(&good, &other), None);
    // Two words in a hundred are not masked.
    let mut leaky = good.clone();
    for word in leaky.as_chunks_mut::<4>().0.iter_mut().step_by(50) {
        *word = [0; 4];
    }
    assert!(stands_out(&other, &leaky).is_some());
    // Values are uniform, but each word has to do with the one before.
    let mut serial = good.clone();
    for (word, before) in serial
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .skip(1)
        .zip(good.as_chunks::<4>().0)
        .step_by(20)
    {
        *word = *before;
    }
    assert!(matches!(stands_out(&other, &serial), Some(("pairs", _))));
    // Flower's off by one: the highest value is never taken, here of the top byte.
    let mut short = good.clone();
    short
        .iter_mut()
        .skip(3)
        .step_by(4)
        .for_each(|byte| *byte = (*byte).min(254));
    assert!(stands_out(&other, &short).is_some());
}

/// 16-byte blocks of what these masks add to nothing.
fn blocks(layout: cloister_secagg::lanes::LaneLayout, key: MaskKey) -> Vec<[u8; 16]> {
    let mut vector = Vector::zero(layout);
    mask::apply(&mut vector, &[(key, Sign::Add)], 1);
    vector.bytes().as_chunks::<16>().0.to_vec()
}

/// Of 10^5 random blocks of 128 bits two are the same with a chance of 2^-95.
#[test]
fn no_block_of_a_mask_stands_twice_over_keys_and_rounds() {
    let mut all = BTreeSet::new();
    let mut count = 0;
    for round in 1..=4 {
        let mut world = World::new(6, 2000, Mode::Malicious, 51);
        world.params.round = round;
        // Even whoever draws the same secrets again has other masks in another round.
        world.rng = rand::SeedableRng::seed_from_u64(52);
        let stand = world.until(Kind::Survivors, &Drops::new());
        let view = View::of(&stand);
        let layout = world.params.layout();
        for index in 0..6 {
            let secrets = &world.secrets[&index];
            let own = std::iter::once(view.self_mask(&secrets.b, index));
            let pairs = (index + 1..6).map(|other| view.pair_mask(&secrets.r, index, other));
            for block in own.chain(pairs).flat_map(|key| blocks(layout, key)) {
                all.insert(block);
                count += 1;
            }
        }
    }
    assert!(count > 40_000);
    assert_eq!(all.len(), count);
}

/// Another attempt, set of sharers, model or training makes other masks of the same secrets.
#[test]
fn each_part_of_the_context_makes_other_masks() {
    let mut world = World::new(6, 100, Mode::Malicious, 53);
    let stand = world.until(Kind::Survivors, &Drops::new());
    let view = View::of(&stand);
    let secrets = &world.secrets[&0];
    let changes: [fn(&mut View); 6] = [
        |_| {},
        |view| view.id[0] ^= 1,
        |view| view.shared.remove(5),
        |view| view.params.model_hash[0] ^= 1,
        |view| view.params.config_hash[0] ^= 1,
        |view| view.params.round ^= 1,
    ];
    let mut all = BTreeSet::new();
    for change in changes {
        let mut view = view.clone();
        change(&mut view);
        for key in [
            view.self_mask(&secrets.b, 0),
            view.pair_mask(&secrets.r, 0, 1),
        ] {
            all.insert(blocks(world.params.layout(), key)[0]);
        }
    }
    assert_eq!(all.len(), 12);
}
