//! The sum is exact for whoever survives, and there is none for too few.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use cloister_secagg::graph::Graph;
use cloister_secagg::lanes::Lane;
use cloister_secagg::message::Kind;
use cloister_secagg::*;
use common::{Drops, World};
use proptest::prelude::*;

const STAGES: [Kind; 5] = [
    Kind::Advertise,
    Kind::Shares,
    Kind::Masked,
    Kind::Ack,
    Kind::Reveal,
];

#[test]
fn nobody_drops_out() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        let mut world = World::new(5, 37, mode, 1);
        let outcome = world.run(&Drops::new());
        assert_eq!(outcome.aborts, []);
        assert_eq!(outcome.rejections, []);
        let sum = outcome.sum();
        assert_eq!(sum.members, [0, 1, 2, 3, 4]);
        assert_eq!(sum.vector, world.plain_sum(&sum.members));
        assert!(outcome.clients.values().all(Client::is_over));
    }
}

#[test]
fn one_is_gone_at_each_stage() {
    for mode in [Mode::SemiHonest, Mode::Malicious] {
        for stage in STAGES {
            let mut world = World::new(9, 20, mode, 2);
            let outcome = world.run(&Drops::from([(4, stage)]));
            let counted = stage as u8 > Kind::Masked as u8;
            let sum = outcome.sum();
            assert_eq!(sum.members.contains(&4), counted, "{mode:?} {stage:?}");
            assert_eq!(sum.members.len(), 8 + usize::from(counted));
            assert_eq!(sum.vector, world.plain_sum(&sum.members));
            assert_eq!(outcome.aborts, []);
        }
    }
}

#[test]
fn figures_alone_are_summed_as_well() {
    let mut world = World::new(5, 0, Mode::Malicious, 6);
    world.params.meta_lanes = 256;
    world.draw_vectors();
    let outcome = world.run(&Drops::from([(2, Kind::Masked)]));
    let sum = outcome.sum();
    assert_eq!(sum.members, [0, 1, 3, 4]);
    assert_eq!(sum.vector, world.plain_sum(&sum.members));
}

#[test]
fn a_sparse_graph_sums_as_well() {
    let mut world = World::new(100, 10, Mode::SemiHonest, 3);
    let assumptions = world.params.assumptions();
    let (degree, threshold) = graph::find(100, &assumptions).unwrap();
    assert!(degree < 99);
    world.params.graph = Graph::Harary { degree };
    world.params.threshold = threshold;
    let drops: Drops = (0..10).map(|k| (k * 7, STAGES[k as usize % 5])).collect();
    let outcome = world.run(&drops);
    assert_eq!(outcome.aborts, []);
    let sum = outcome.sum();
    assert!(sum.members.len() >= 90);
    assert_eq!(sum.vector, world.plain_sum(&sum.members));
}

#[test]
fn buckets_have_a_sum_each_and_fail_alone() {
    let mut world = World::new(12, 10, Mode::Malicious, 4);
    world.params.graph = Graph::Buckets { count: 3 };
    world.params.threshold = graph::complete_threshold(4, 200_000, graph::Rule::Malicious);
    let outcome = world.run(&Drops::new());
    let sums = outcome.sums.unwrap();
    assert_eq!(sums.len(), 3);
    let mut all: Vec<u32> = sums.iter().flat_map(|sum| sum.members.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..12).collect::<Vec<_>>());
    for sum in &sums {
        assert_eq!(sum.members.len(), 4);
        assert_eq!(sum.vector, world.plain_sum(&sum.members));
    }
    // Two of one bucket are gone: it has too few, the others go on. The draw is new, so find a bucket by running again.
    for stage in STAGES[1..].iter().copied() {
        let mut world = World::new(12, 10, Mode::Malicious, 5);
        world.params.graph = Graph::Buckets { count: 3 };
        world.params.threshold = 3;
        let outcome = world.run(&Drops::from([
            (0, stage),
            (1, stage),
            (2, stage),
            (3, stage),
        ]));
        let sums = outcome.sums.unwrap_or_default();
        for sum in &sums {
            assert!(sum.members.len() >= 3);
            assert_eq!(sum.vector, world.plain_sum(&sum.members));
        }
        assert_eq!(
            sums.len() + outcome.bucket_failures.len() + usize::from(sums.is_empty()),
            3
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn exact_for_any_dropouts_or_nothing(
        n in 3_u32..14,
        d in 1_u32..40,
        malicious in any::<bool>(),
        narrow in any::<bool>(),
        seed in any::<u64>(),
        gone in prop::collection::vec(prop::option::weighted(0.25, 0_usize..5), 14),
    ) {
        let mode = if malicious { Mode::Malicious } else { Mode::SemiHonest };
        let mut world = World::new(n, d, mode, seed);
        if narrow {
            world.params.lane = Lane::U16;
            world.params.bits = quantise::bits_for(16, n);
            world.draw_vectors();
        }
        let drops: Drops = (0..n)
            .filter_map(|index| Some((index, STAGES[gone[index as usize]?])))
            .collect();
        let left = |stage: Kind| {
            (0..n).filter(|index| drops.get(index).is_none_or(|gone| *gone as u8 > stage as u8)).count() as u32
        };
        // In mode S nobody is asked to acknowledge: whoever is gone there is gone at the reveal.
        let enough = left(Kind::Masked) >= world.params.needed()
            && left(Kind::Reveal) >= world.params.threshold;
        let outcome = world.run(&drops);
        if enough {
            let members: Vec<u32> = (0..n)
                .filter(|index| drops.get(index).is_none_or(|gone| *gone as u8 > Kind::Masked as u8))
                .collect();
            let sum = outcome.sum();
            prop_assert_eq!(&sum.members, &members);
            prop_assert_eq!(&sum.vector, &world.plain_sum(&members));
        } else {
            prop_assert!(outcome.sums.is_none());
            let too_few = matches!(outcome.failure, Some(Failure::TooFew { .. }));
            prop_assert!(too_few);
        }
    }
}
