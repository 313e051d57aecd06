use super::*;
use proptest::prelude::*;

const SEED: [u8; 32] = {
    let mut seed = [0; 32];
    let mut i = 0;
    while i < 32 {
        seed[i] = i as u8;
        i += 1;
    }
    seed
};

fn members() -> Vec<u32> {
    (0..12).collect()
}

/// The values are another program's.
#[test]
fn golden_rings_and_buckets() {
    let ring = Topology::new(Graph::Harary { degree: 4 }, &members(), &SEED).unwrap();
    assert_eq!(ring.order, [5, 11, 2, 9, 8, 6, 3, 10, 0, 1, 7, 4]);
    assert_eq!(ring.neighbours(0), [1, 3, 7, 10]);
    let ring = [3, 5, 8, 13, 21, 34, 55, 89, 144];
    let ring = Topology::new(Graph::Harary { degree: 2 }, &ring, &[7; 32]).unwrap();
    assert_eq!(ring.order, [13, 34, 89, 144, 21, 5, 8, 3, 55]);
    let buckets = Topology::new(Graph::Buckets { count: 5 }, &members(), &SEED).unwrap();
    let expected: [&[u32]; 5] = [&[2, 5, 11], &[6, 8, 9], &[3, 10], &[0, 1], &[4, 7]];
    for (bucket, expected) in (0..).zip(expected) {
        assert_eq!(buckets.bucket_members(bucket), expected);
    }
}

/// A set of members with gaps, and a seed.
fn sets() -> impl Strategy<Value = (Vec<u32>, [u8; 32])> {
    (
        proptest::collection::btree_set(any::<u32>(), 1..60),
        any::<[u8; 32]>(),
    )
        .prop_map(|(set, seed)| (set.into_iter().collect(), seed))
}

/// What holds for every graph: neighbours are members, ascending, mutual, of the same bucket, and `joined`.
fn consistent(topology: &Topology) -> Result<(), TestCaseError> {
    for &a in topology.members() {
        let neighbours = topology.neighbours(a);
        prop_assert!(neighbours.is_sorted_by(|x, y| x < y));
        for &b in topology.members() {
            let joined = neighbours.contains(&b);
            prop_assert_eq!(topology.joined(a, b), joined);
            prop_assert_eq!(topology.neighbours(b).contains(&a), joined);
            prop_assert!(!joined || (a != b && topology.bucket(a) == topology.bucket(b)));
        }
        prop_assert!(neighbours.iter().all(|b| topology.members().contains(b)));
        let bucket = topology.bucket(a).unwrap();
        prop_assert!(bucket < topology.buckets());
        prop_assert!(topology.bucket_members(bucket).contains(&a));
    }
    let all: usize = (0..topology.buckets())
        .map(|b| topology.bucket_members(b).len())
        .sum();
    prop_assert_eq!(all, topology.members().len());
    prop_assert!(topology.bucket_members(topology.buckets()).is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn complete_graphs_join_all((members, seed) in sets()) {
        let topology = Topology::new(Graph::Complete, &members, &seed).unwrap();
        consistent(&topology)?;
        prop_assert_eq!(topology.bucket_members(0), &members[..]);
        for &a in &members {
            prop_assert_eq!(topology.neighbours(a).len(), members.len() - 1);
        }
    }

    #[test]
    fn harary_graphs_are_regular((members, seed) in sets(), part in 0.0..1.0_f64) {
        let half = (members.len() - 1) / 2;
        prop_assume!(half > 0);
        let degree = 2 * (1 + (part * half as f64) as usize).min(half);
        let graph = Graph::Harary { degree: degree as u32 };
        let topology = Topology::new(graph, &members, &seed).unwrap();
        consistent(&topology)?;
        for &a in &members {
            prop_assert_eq!(topology.neighbours(a).len(), degree);
        }
    }

    #[test]
    fn buckets_are_even_and_complete((members, seed) in sets(), part in 0.0..1.0_f64) {
        let n = members.len();
        let count = 1 + (part * n as f64) as usize;
        let topology = Topology::new(Graph::Buckets { count: count as u32 }, &members, &seed).unwrap();
        consistent(&topology)?;
        prop_assert_eq!(topology.buckets() as usize, count);
        let sizes: Vec<usize> = (0..count as u32).map(|b| topology.bucket_members(b).len()).collect();
        prop_assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] - sizes[count - 1] <= 1);
        for &a in &members {
            let bucket = topology.bucket_members(topology.bucket(a).unwrap());
            prop_assert!(bucket.is_sorted());
            prop_assert_eq!(topology.neighbours(a).len(), bucket.len() - 1);
        }
    }
}

#[test]
fn who_does_not_take_part_has_nobody() {
    for graph in [
        Graph::Complete,
        Graph::Harary { degree: 2 },
        Graph::Buckets { count: 2 },
    ] {
        let topology = Topology::new(graph, &[2, 5, 7, 9], &SEED).unwrap();
        for other in [0, 3, 10, u32::MAX] {
            assert!(topology.neighbours(other).is_empty());
            assert_eq!(topology.bucket(other), None);
            assert!(!topology.joined(other, 5) && !topology.joined(5, other));
        }
        assert!(!topology.joined(5, 5));
    }
}

#[test]
fn impossible_graphs_are_refused() {
    let new = |graph, members: &[u32]| Topology::new(graph, members, &SEED).unwrap_err();
    assert_eq!(new(Graph::Complete, &[]), GraphError::NoMembers);
    assert_eq!(
        new(Graph::Complete, &[1, 3, 3]),
        GraphError::Unsorted { index: 3 }
    );
    assert_eq!(
        new(Graph::Complete, &[1, 3, 2]),
        GraphError::Unsorted { index: 2 }
    );
    for degree in [0, 1, 3, 4, 6, u32::MAX, u32::MAX - 1] {
        assert_eq!(
            new(Graph::Harary { degree }, &[1, 2, 3, 4]),
            GraphError::Degree { degree, members: 4 }
        );
    }
    for count in [0, 5, u32::MAX] {
        assert_eq!(
            new(Graph::Buckets { count }, &[1, 2, 3, 4]),
            GraphError::Buckets { count, members: 4 }
        );
    }
}

#[test]
fn words_are_cut_at_a_multiple_of_the_bound() {
    // A bound just above 2^63 throws nearly half of the words away; the words themselves come from a plain hash.
    let mut plain = Words::new(&SEED);
    let bound = (1 << 63) + 1;
    let kept: Vec<u64> = (0..64)
        .map(|_| plain.next())
        .filter(|&w| w < bound)
        .collect();
    assert!((10..54).contains(&kept.len()));
    let mut words = Words::new(&SEED);
    for word in kept {
        assert_eq!(words.below(bound), word);
    }
    // A power of two throws none away.
    let (mut plain, mut words) = (Words::new(&SEED), Words::new(&SEED));
    for _ in 0..9 {
        assert_eq!(words.below(1 << 20), plain.next() % (1 << 20));
    }
}

#[test]
fn places_on_the_ring_are_uniform() {
    // Chi-square of which member stands at place 0 and of who follows it, 7 and 6 degrees of freedom: above 29.9 and
    // 27.9 with probability 1e-4 each. The seeds are fixed.
    let mut first = [0_u32; 8];
    let mut next = [0_u32; 8];
    let rounds = 8000;
    for round in 0..rounds {
        let mut order: Vec<u32> = (0..8).collect();
        let mut seed = SEED;
        seed[..4].copy_from_slice(&u32::to_le_bytes(round));
        permute(&mut order, &seed);
        first[order[0] as usize] += 1;
        next[(order[1] + 8 - order[0]) as usize % 8] += 1;
    }
    let chi = |counts: &[u32]| {
        let expected = f64::from(rounds) / counts.len() as f64;
        counts
            .iter()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum::<f64>()
    };
    assert!(chi(&first) < 29.9, "{}", chi(&first));
    assert!(chi(&next[1..]) < 27.9, "{}", chi(&next[1..]));
}
