use super::*;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::field::MODULUS;

const P: u128 = MODULUS as u128;

fn fe(value: u64) -> Fe {
    Fe::new(value).unwrap()
}

fn uniform(seed: u64) -> impl FnMut() -> Fe {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move || Fe::sample(&mut || rng.next_u64())
}

/// Distinct points, some of them as high as points go.
fn points(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut points: Vec<u32> = (0..n as u32)
        .map(|i| if i % 4 == 3 { u32::MAX - i } else { i })
        .collect();
    for i in (1..n).rev() {
        points.swap(i, rng.next_u64() as usize % (i + 1));
    }
    points
}

/// Puts `count` shares at random positions off the truth, each in at least one limb; returns the positions.
fn spoil(shares: &mut [Share], count: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut left: Vec<usize> = (0..shares.len()).collect();
    let mut wrong: Vec<usize> = (0..count)
        .map(|_| left.swap_remove(rng.next_u64() as usize % left.len()))
        .collect();
    wrong.sort_unstable();
    for &i in &wrong {
        let first = rng.next_u64() as usize % LIMBS;
        let last = first + rng.next_u64() as usize % (LIMBS - first);
        for limb in &mut shares[i].0[first..=last] {
            *limb = *limb + fe(1 + rng.next_u64() % (MODULUS - 1));
        }
    }
    wrong
}

fn refs(shares: &[Share]) -> Vec<&Share> {
    shares.iter().collect()
}

fn golden_secret() -> [u8; 32] {
    std::array::from_fn(|i| (7 * i + 3) as u8)
}

/// Shares of [`golden_secret`], threshold 3, by exact integers of another language; coefficient c of the sequence is
/// (state >> 3) after c + 1 steps of state = 6364136223846793005 state + 1442695040888963407 from 0.
const GOLDEN: [(u32, [u64; LIMBS]); 4] = [
    (
        0,
        [
            418539345274030034,
            16615158459012764,
            2180229288698797660,
            1006391901124816152,
            2143226841379899862,
        ],
    ),
    (
        1,
        [
            1302380351813329133,
            1881977436456919138,
            27043916366648541,
            1345462884817701603,
            1734000626651212795,
        ],
    ),
    (
        6,
        [
            1227411602723141613,
            2069548033249350052,
            388628884336033774,
            2301524143684231387,
            604047030841904667,
        ],
    ),
    (
        u32::MAX,
        [
            1802289059143414450,
            903499566806648087,
            2009127631608522812,
            369956609887068947,
            1102083006319132822,
        ],
    ),
];

#[test]
fn golden_shares() {
    let mut state = 0_u64;
    let mut drawn = 0;
    let shares = share(
        &golden_secret(),
        3,
        &GOLDEN.map(|(point, _)| point),
        &mut || {
            drawn += 1;
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            fe(state >> 3)
        },
    );
    assert_eq!(drawn, 10);
    for (share, (_, expected)) in shares.iter().zip(GOLDEN) {
        assert_eq!(share.0.map(Fe::value), expected);
        assert_eq!(share.to_bytes()[..8], expected[0].to_le_bytes());
        assert_eq!(share.to_bytes()[32..], expected[4].to_le_bytes());
    }
}

#[test]
fn golden_limbs_and_coefficients_at_zero() {
    let expected = [
        0xd261f18110a03,
        0x575049423b342,
        0x8817a736c655e,
        0xb2aba49d968f8,
        0xdcd5cec7c0b9,
    ];
    assert_eq!(limbs(&golden_secret()).map(Fe::value), expected);
    let lagrange = Lagrange::at_zero(&[0, 1, 6]).unwrap();
    assert_eq!(
        lagrange
            .coefficients
            .iter()
            .map(|c| c.value())
            .collect::<Vec<_>>(),
        [1537228672809129303, 922337203685477579, 2152120141932781021]
    );
}

#[test]
fn shares_are_the_values_of_the_polynomials() {
    let secret = golden_secret();
    for n in [1, 2, 3, 8, 17] {
        let points = points(n, 3);
        let mut draw = uniform(9);
        let coefficients: Vec<u64> = (0..5 * (n - 1)).map(|_| draw().value()).collect();
        let mut drawn = coefficients.iter();
        let shares = share(&secret, n, &points, &mut || fe(*drawn.next().unwrap()));
        for (share, &point) in shares.iter().zip(&points) {
            for l in 0..LIMBS {
                // Power by power, not by Horner's rule.
                let x = u128::from(point) + 1;
                let mut power = 1;
                let mut sum = u128::from(limbs(&secret)[l].value());
                for &c in &coefficients[l * (n - 1)..(l + 1) * (n - 1)] {
                    power = power * x % P;
                    sum = (sum + u128::from(c) * power) % P;
                }
                assert_eq!(u128::from(share.0[l].value()), sum);
            }
        }
    }
}

proptest! {
    #[test]
    fn limbs_and_secret_are_inverse(bytes in any::<[u8; 32]>()) {
        let limbs = limbs(&bytes);
        prop_assert!(limbs[..4].iter().all(|limb| limb.value() < 1 << 52));
        prop_assert!(limbs[4].value() < 1 << 48);
        prop_assert_eq!(secret(limbs), Some(bytes));
    }

    #[test]
    fn any_threshold_of_the_shares_restore(
        bytes in any::<[u8; 32]>(),
        n in 1..80_usize,
        part in 0.0..1.0_f64,
        seed in any::<u64>(),
    ) {
        let t = 1 + (part * n as f64) as usize;
        // The order is random, so that the first t are any t.
        let points = points(n, seed);
        let shares = share(&bytes, t, &points, &mut uniform(seed));
        let lagrange = Lagrange::at_zero(&points[..t]).unwrap();
        prop_assert_eq!(lagrange.secret(&refs(&shares[..t])), Some(bytes));
        // And more than enough do.
        let lagrange = Lagrange::at_zero(&points).unwrap();
        prop_assert_eq!(lagrange.secret(&refs(&shares)), Some(bytes));
    }

    #[test]
    fn fewer_shares_fit_every_secret(
        bytes in any::<[u8; 32]>(),
        other in any::<[u8; 32]>(),
        t in 2..12_usize,
        seed in any::<u64>(),
    ) {
        let points = points(t, seed);
        let known = share(&bytes, t, &points[..t - 1], &mut uniform(seed));
        // The last share that together with the known ones gives the other secret: one exists for each limb.
        let lagrange = Lagrange::at_zero(&points).unwrap();
        let (last, first) = lagrange.coefficients.split_last().unwrap();
        let wanted = limbs(&other);
        let completed = Share(std::array::from_fn(|l| {
            let sum = first.iter().zip(&known).fold(Fe::ZERO, |sum, (&c, share)| sum + c * share.0[l]);
            (wanted[l] - sum) * last.inverse()
        }));
        let mut all = refs(&known);
        all.push(&completed);
        prop_assert_eq!(lagrange.secret(&all), Some(other));
    }

    #[test]
    fn wrong_shares_up_to_the_bound_are_corrected(
        bytes in any::<[u8; 32]>(),
        m in 1..40_usize,
        part in 0.0..1.0_f64,
        fill in 0.0..=1.0_f64,
        seed in any::<u64>(),
    ) {
        let t = 1 + (part * m as f64) as usize;
        let bound = (m - t) / 2;
        for count in [bound, (fill * bound as f64) as usize] {
            let points = points(m, seed);
            let mut shares = share(&bytes, t, &points, &mut uniform(seed));
            let wrong = spoil(&mut shares, count, seed);
            let corrected = correct(&points, &refs(&shares), t).unwrap();
            prop_assert_eq!(corrected.secret, bytes);
            prop_assert_eq!(&corrected.wrong, &wrong);
        }
    }

    #[test]
    fn more_wrong_shares_than_the_bound_are_refused(
        bytes in any::<[u8; 32]>(),
        t in 1..20_usize,
        spare in 0..20_usize,
        seed in any::<u64>(),
    ) {
        let m = t + spare;
        let points = points(m, seed);
        let mut shares = share(&bytes, t, &points, &mut uniform(seed));
        let count = spare / 2 + 1;
        prop_assume!(count <= m);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for share in &mut shares[..count] {
            for limb in &mut share.0 {
                *limb = *limb + fe(1 + rng.next_u64() % (MODULUS - 1));
            }
        }
        // Random errors reach another word only with probability about m^e / 2^61 a limb, but with nothing to spare every
        // word is one, and only the ranges of the limbs speak against it (about 2^-49).
        prop_assert_eq!(correct(&points, &refs(&shares), t), None);
    }
}

#[test]
fn the_zero_secret_and_zero_shares_are_restored() {
    let points = [0, 1, 2, 3, 4];
    let mut shares = share(&[0; 32], 3, &points, &mut || Fe::ZERO);
    let lagrange = Lagrange::at_zero(&points).unwrap();
    assert_eq!(lagrange.secret(&refs(&shares)), Some([0; 32]));
    shares[4].0[2] = Fe::ONE;
    let corrected = correct(&points, &refs(&shares), 3).unwrap();
    assert_eq!(
        (corrected.secret, &corrected.wrong[..]),
        ([0; 32], &[4][..])
    );
}

#[test]
fn errors_in_different_limbs_count_together() {
    let points = [0, 1, 2, 3, 4, 5];
    let mut shares = share(&golden_secret(), 2, &points, &mut uniform(1));
    shares[1].0[0] = shares[1].0[0] + Fe::ONE;
    shares[4].0[3] = shares[4].0[3] + Fe::ONE;
    let corrected = correct(&points, &refs(&shares), 2).unwrap();
    assert_eq!(corrected.wrong, [1, 4]);
    assert_eq!(corrected.secret, golden_secret());
    // A third is beyond the bound of 2 although each limb is within it.
    shares[5].0[4] = shares[5].0[4] + Fe::ONE;
    assert_eq!(correct(&points, &refs(&shares), 2), None);
}

#[test]
fn adversarial_shares_of_another_secret_are_told_at_the_bound() {
    // Three of seven shares belong to another polynomial: at threshold 1 four agree on the truth, at the bound.
    let points = [0, 1, 2, 3, 4, 5, 6];
    let mut shares = share(&golden_secret(), 1, &points, &mut uniform(1));
    let other = share(&[9; 32], 1, &points, &mut uniform(1));
    shares[..3].clone_from_slice(&other[..3]);
    let corrected = correct(&points, &refs(&shares), 1).unwrap();
    assert_eq!(corrected.secret, golden_secret());
    assert_eq!(corrected.wrong, [0, 1, 2]);
    // With four the others are in the majority, and the true ones are taken for wrong: no decoder can tell.
    shares[3] = other[3].clone();
    assert_eq!(
        correct(&points, &refs(&shares), 1).unwrap().wrong,
        [4, 5, 6]
    );
}

#[test]
fn one_share_below_the_threshold_is_uniform() {
    // Chi-square of the low 8 bits of one share at threshold 2 of a fixed secret, 255 degrees of freedom: above 347.7
    // with probability 1e-4 under uniformity, for each limb; 5e-4 in all. The seed is fixed.
    const LIMIT: f64 = 347.7;
    const DRAWS: u32 = 1 << 16;
    let secret = golden_secret();
    let mut draw = uniform(2024);
    let mut counts = [[0_u32; 256]; LIMBS];
    for _ in 0..DRAWS {
        let share = &share(&secret, 2, &[0], &mut draw)[0];
        for (counts, limb) in counts.iter_mut().zip(share.0) {
            counts[limb.value() as usize % 256] += 1;
        }
    }
    let expected = f64::from(DRAWS) / 256.0;
    for counts in counts {
        let chi: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum();
        assert!(chi < LIMIT, "chi-square {chi}");
    }
}

#[test]
fn long_sums_stay_in_range() {
    // The largest values everywhere, over several lazy stretches.
    let n = 3 * LAZY + 5;
    let points: Vec<u32> = (0..n as u32).map(|i| u32::MAX - i).collect();
    let shares = share(&[0xff; 32], n, &points, &mut || fe(MODULUS - 1));
    let lagrange = Lagrange::at_zero(&points).unwrap();
    assert_eq!(lagrange.secret(&refs(&shares)), Some([0xff; 32]));
    let top = Share([fe(MODULUS - 1); LIMBS]);
    // Coefficients at zero sum to 1.
    let limbs = lagrange.combine(&vec![&top; n]).unwrap();
    assert_eq!(limbs.map(Fe::value), [MODULUS - 1; LIMBS]);
}

#[test]
fn bad_input_gives_nothing() {
    let secret_bytes = golden_secret();
    assert!(share(&secret_bytes, 0, &[0, 1], &mut uniform(1)).is_empty());
    assert!(share(&secret_bytes, 2, &[], &mut uniform(1)).is_empty());
    assert!(Lagrange::at_zero(&[]).is_none());
    assert!(Lagrange::at_zero(&[4, 2, 4]).is_none());
    let many: Vec<u32> = (0..20).chain([11]).collect();
    assert!(Lagrange::at_zero(&many).is_none());

    let shares = share(&secret_bytes, 2, &[0, 1, 2], &mut uniform(1));
    let shares = refs(&shares);
    let lagrange = Lagrange::at_zero(&[0, 1]).unwrap();
    assert!(lagrange.combine(&shares).is_none());
    assert!(lagrange.secret(&shares[..1]).is_none());

    assert!(correct(&[0, 1], &shares, 2).is_none());
    assert!(correct(&[0, 1, 1], &shares, 2).is_none());
    assert!(correct(&[0, 1, 2], &shares, 0).is_none());
    assert!(correct(&[0, 1, 2], &shares, 4).is_none());
    assert!(correct(&[], &[], 0).is_none());
}

#[test]
fn limbs_out_of_range_are_no_secret() {
    let good = limbs(&[0xff; 32]);
    assert_eq!(secret(good), Some([0xff; 32]));
    for l in 0..LIMBS {
        let mut bad = good;
        bad[l] = bad[l] + Fe::ONE;
        assert_eq!(secret(bad), None);
    }
    assert_eq!(secret([fe(MODULUS - 1); LIMBS]), None);
}

#[test]
fn shares_travel_as_canonical_bytes() {
    let shares = share(&golden_secret(), 2, &[7], &mut uniform(5));
    let bytes = shares[0].to_bytes();
    assert_eq!(Share::from_bytes(&bytes).as_ref(), Some(&shares[0]));
    for l in 0..LIMBS {
        for value in [MODULUS, u64::MAX] {
            let mut bad = bytes;
            bad[8 * l..8 * l + 8].copy_from_slice(&value.to_le_bytes());
            assert!(Share::from_bytes(&bad).is_none());
        }
        let mut other = bytes;
        other[8 * l] ^= 1;
        assert_ne!(Share::from_bytes(&other).as_ref(), Some(&shares[0]));
    }
}

#[test]
fn debug_hides_secrets() {
    let shares = share(&golden_secret(), 1, &[0, 1], &mut uniform(5));
    assert_eq!(format!("{:?}", shares[0]), "Share(..)");
    let corrected = correct(&[0, 1], &refs(&shares), 1).unwrap();
    assert_eq!(format!("{corrected:?}"), "Corrected { wrong: [], .. }");
}
