//! How many neighbours a member needs, and how many of them restore its secrets.
//!
//! Complete graphs: [`complete_threshold`]. Harary graphs on a random ring: [`find`], which the server runs, and
//! [`check`], by which a client refuses what is weaker. Both follow Bell et al. (2020, "Secure single-server aggregation
//! with (poly)logarithmic overhead", section 3) with exact tails in place of their bounds, rounded against the attacker.

use super::hypergeometric::{Log, log_tail};

/// Fewest members of a session: of two, each learns the other's vector from the sum.
pub const MIN_MEMBERS: u32 = 3;

/// Parts in a million.
const PPM: u64 = 1_000_000;

/// What the server may do, and so what a threshold must prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It follows the protocol: the corrupt members by themselves must not reach the threshold t.
    SemiHonest,
    /// It may tell different neighbours different things, so that each honest one of k gives a share of one of two
    /// secrets: 2 t - k corrupt ones let both reach t, and must not be there.
    Malicious,
}

/// What a graph must withstand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// Share of the members that the server controls, in parts in a million. One member is taken to be corrupt even if
    /// the share of the members is below one.
    pub corrupt_ppm: u32,
    /// Share of the members that fall silent, in parts in a million.
    pub dropout_ppm: u32,
    /// The graph fails to protect with probability at most 2^-this, over its seed. 40 is usual, 80 where the attacker
    /// can try many seeds.
    pub security_bits: u32,
    /// Some secret cannot be restored with probability at most 2^-this. 30 is usual.
    pub correctness_bits: u32,
    /// What the server may do.
    pub rule: Rule,
}

/// The least threshold in a complete graph: c + 1 of n members where the server is semi-honest, floor((n + c) / 2) + 1
/// where it is malicious (any two sets of so many share an honest member), with c = max(1, ceil(n corrupt_ppm / 10^6)).
///
/// More than `members`, and so nothing that could be met, if they are fewer than [`MIN_MEMBERS`] or nearly all corrupt.
pub fn complete_threshold(members: u32, corrupt_ppm: u32, rule: Rule) -> u32 {
    let n = u64::from(members);
    if members < MIN_MEMBERS {
        return members + 1;
    }
    let corrupt = (n * u64::from(corrupt_ppm)).div_ceil(PPM).clamp(1, n);
    let threshold = match rule {
        Rule::SemiHonest => corrupt + 1,
        Rule::Malicious => (n + corrupt) / 2 + 1,
    };
    u32::try_from(threshold).unwrap_or(u32::MAX)
}

/// The least even degree of a Harary graph on `members` that meets the assumptions with some threshold, and the least
/// such threshold. None if there is none, as for small sets of members and large shares: a complete graph is the choice.
///
/// Time: a few microseconds for each degree up to the one found.
pub fn find(members: u32, assumptions: &Assumptions) -> Option<(u32, u32)> {
    let model = Model::new(members, assumptions)?;
    // The count of corrupt neighbours that is too unlikely to care for grows with the degree: it is not sought anew.
    let mut unlikely = 1;
    for degree in (2..model.members).step_by(2) {
        if !model.stays_connected(degree) {
            continue;
        }
        while !model.rarely_corrupt(degree, unlikely) {
            unlikely += 1;
        }
        let threshold = match model.rule {
            Rule::SemiHonest => unlikely,
            Rule::Malicious => (degree + unlikely).div_ceil(2),
        };
        if threshold <= degree && model.mostly_answers(degree, threshold) {
            return Some((u32::try_from(degree).ok()?, u32::try_from(threshold).ok()?));
        }
    }
    None
}

/// Whether a Harary graph of that degree on `members`, with that threshold, meets the assumptions. So does what [`find`]
/// gives, and larger degrees with a threshold to match; a threshold may be refused for being too low (not secure) or
/// too high (not restored).
pub fn check(members: u32, degree: u32, threshold: u32, assumptions: &Assumptions) -> bool {
    let Some(model) = Model::new(members, assumptions) else {
        return false;
    };
    let (degree, threshold) = (u64::from(degree), u64::from(threshold));
    if degree == 0 || degree % 2 == 1 || degree >= model.members || threshold > degree {
        return false;
    }
    let corrupt = match model.rule {
        Rule::SemiHonest => threshold,
        Rule::Malicious => (2 * threshold).saturating_sub(degree),
    };
    model.stays_connected(degree)
        && model.rarely_corrupt(degree, corrupt)
        && model.mostly_answers(degree, threshold)
}

/// The assumptions as numbers of members and logarithms of probabilities.
///
/// A tail is summed over all members. The neighbours of a member drawn at random are a uniform set of k of all n, so n
/// times the tail of the hypergeometric distribution with population n is the exact expectation of how many members have
/// too many corrupt (or silent) neighbours, which bounds the probability that one has.
struct Model {
    members: u64,
    corrupt: u64,
    dropped: u64,
    /// Of each of the two ways to fail: ln 2^-(security_bits + 1).
    log_insecure: f64,
    log_incorrect: f64,
    rule: Rule,
}

impl Model {
    /// None below [`MIN_MEMBERS`].
    fn new(members: u32, assumptions: &Assumptions) -> Option<Self> {
        if members < MIN_MEMBERS {
            return None;
        }
        let n = u64::from(members);
        // At most a share of the members, hence rounded down.
        let part = |ppm: u32| (n * u64::from(ppm) / PPM).min(n);
        let log = |bits: f64| -bits * std::f64::consts::LN_2;
        Some(Self {
            members: n,
            corrupt: part(assumptions.corrupt_ppm).max(1),
            dropped: part(assumptions.dropout_ppm),
            log_insecure: log(f64::from(assumptions.security_bits) + 1.0),
            log_incorrect: log(f64::from(assumptions.correctness_bits)),
            rule: assumptions.rule,
        })
    }

    /// Whether the graph of the honest and answering members is connected but for a small probability. To cut a ring
    /// takes two gaps of `degree / 2` members in a row; the bound is over the places of both:
    /// n (n - k - 1) / 2 * B! (n - k)! / (n! (B - k)!), B the corrupt and the dropped.
    fn stays_connected(&self, degree: u64) -> bool {
        let (n, gone) = (self.members, self.corrupt + self.dropped);
        if degree > gone || degree + 1 >= n {
            return true;
        }
        // With everybody gone nothing is left to protect it.
        let gone = gone.min(n);
        let bound = Log::default()
            .plus(libm::log(n as f64))
            .plus(libm::log((n - degree - 1) as f64))
            .plus(-std::f64::consts::LN_2)
            .times_factorial(gone)
            .times_factorial(n - degree)
            .over_factorial(n)
            .over_factorial(gone - degree);
        bound.upper() <= self.log_insecure
    }

    /// Whether no member has `corrupt` or more corrupt neighbours but for a small probability.
    fn rarely_corrupt(&self, degree: u64, corrupt: u64) -> bool {
        self.log_some(self.corrupt, degree, corrupt) <= self.log_insecure
    }

    /// Whether every member has `threshold` answering neighbours but for a small probability.
    fn mostly_answers(&self, degree: u64, threshold: u64) -> bool {
        let too_many = degree - threshold + 1;
        self.log_some(self.dropped, degree, too_many) <= self.log_incorrect
    }

    /// Bound of ln P(a member has `least` or more neighbours of `marked` members).
    fn log_some(&self, marked: u64, degree: u64, least: u64) -> f64 {
        log_tail(self.members, marked, degree, least) + libm::log(self.members as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assumptions(rule: Rule, corrupt: u32, dropout: u32, security: u32) -> Assumptions {
        Assumptions {
            corrupt_ppm: corrupt * 10_000,
            dropout_ppm: dropout * 10_000,
            security_bits: security,
            correctness_bits: 30,
            rule,
        }
    }

    #[test]
    fn thresholds_of_complete_graphs() {
        // Members; semi-honest with a fifth corrupt; malicious with a tenth, a fifth, 33 in a hundred.
        for (n, s, m) in [
            (5, 2, [4, 4, 4]),
            (10, 3, [6, 7, 8]),
            (20, 5, [12, 13, 14]),
            (50, 11, [28, 31, 34]),
            (100, 21, [56, 61, 67]),
        ] {
            assert_eq!(complete_threshold(n, 200_000, Rule::SemiHonest), s);
            for (ppm, t) in [100_000, 200_000, 330_000].into_iter().zip(m) {
                assert_eq!(complete_threshold(n, ppm, Rule::Malicious), t, "{n} {ppm}");
            }
        }
        // One corrupt member at least.
        assert_eq!(complete_threshold(3, 0, Rule::Malicious), 3);
        assert_eq!(complete_threshold(3, 0, Rule::SemiHonest), 2);
        // What cannot be met.
        for rule in [Rule::SemiHonest, Rule::Malicious] {
            for n in 0..3 {
                assert!(complete_threshold(n, 0, rule) > n);
            }
            assert!(complete_threshold(50, 1_000_000, rule) > 50);
            assert!(complete_threshold(50, u32::MAX, rule) > 50);
            complete_threshold(u32::MAX, u32::MAX, rule);
        }
    }

    /// Members of the columns below.
    const MEMBERS: [u32; 7] = [100, 200, 500, 1000, 5000, 10_000, 100_000];

    type Row = (Rule, u32, u32, u32, [(u32, u32); 7]);

    /// Rule, corrupt and dropped in a hundred, security bits; degree and threshold for each of [`MEMBERS`], with 30 bits
    /// of correctness. The table of the protocol's specification, made by another program.
    #[rustfmt::skip]
    const TABLE: [Row; 10] = [
        (Rule::SemiHonest, 5, 5, 40, [(12, 6), (22, 11), (30, 16), (34, 18), (36, 20), (38, 21), (40, 22)]),
        (Rule::SemiHonest, 10, 10, 40, [(22, 11), (36, 19), (46, 25), (52, 28), (58, 31), (60, 32), (66, 35)]),
        (Rule::SemiHonest, 20, 20, 40, [(42, 21), (68, 36), (98, 51), (112, 59), (132, 69), (136, 71), (150, 78)]),
        (Rule::SemiHonest, 33, 10, 40, [(42, 32), (68, 48), (98, 67), (114, 78), (134, 91), (140, 95), (154, 104)]),
        (Rule::SemiHonest, 33, 33, 40, [(68, 34), (128, 66), (230, 118), (310, 159), (446, 228), (480, 246), (536, 274)]),
        (Rule::Malicious, 5, 5, 40, [(16, 11), (32, 22), (52, 36), (62, 43), (70, 48), (74, 51), (80, 55)]),
        (Rule::Malicious, 10, 10, 40, [(32, 22), (60, 41), (94, 64), (114, 78), (138, 94), (144, 98), (156, 106)]),
        (Rule::Malicious, 20, 10, 40, [(42, 32), (78, 58), (130, 95), (162, 118), (206, 150), (216, 157), (236, 171)]),
        (Rule::Malicious, 20, 20, 40, [(62, 42), (122, 82), (240, 162), (340, 229), (520, 350), (566, 381), (648, 436)]),
        (Rule::Malicious, 10, 10, 80, [(32, 22), (60, 41), (110, 78), (138, 98), (172, 122), (182, 129), (198, 140)]),
    ];

    #[test]
    fn degrees_and_thresholds_of_harary_graphs() {
        for (rule, corrupt, dropout, security, row) in TABLE {
            let assumptions = assumptions(rule, corrupt, dropout, security);
            for (n, expected) in MEMBERS.into_iter().zip(row) {
                assert_eq!(
                    find(n, &assumptions),
                    Some(expected),
                    "{assumptions:?}, {n}"
                );
            }
        }
    }

    #[test]
    fn the_checker_takes_the_table_and_nothing_weaker() {
        for (rule, corrupt, dropout, security, row) in TABLE {
            let assumptions = assumptions(rule, corrupt, dropout, security);
            for (n, (k, t)) in MEMBERS.into_iter().zip(row) {
                assert!(check(n, k, t, &assumptions));
                assert!(!check(n, k, t - 1, &assumptions), "a lower threshold");
                assert!(!check(n, k + 1, t, &assumptions), "an odd degree");
                for lower in [t - 2, t - 1, t] {
                    assert!(!check(n, k - 2, lower, &assumptions), "a lower degree");
                }
                assert!(!check(n, k, k + 1, &assumptions), "more than there are");
            }
        }
    }

    #[test]
    fn values_of_a_deployed_finder_with_20_bits_of_correctness() {
        for (n, corrupt, dropout, rule, expected) in [
            (100, 45, 45, Rule::SemiHonest, (92, 46)),
            (10, 33, 33, Rule::SemiHonest, (8, 4)),
            (1000, 33, 33, Rule::SemiHonest, (286, 150)),
            (1_000_000, 33, 33, Rule::SemiHonest, (518, 270)),
            (10_000, 33, 5, Rule::SemiHonest, (92, 70)),
            (1000, 5, 33, Rule::Malicious, (398, 223)),
            (1000, 33, 5, Rule::Malicious, (132, 109)),
            (10_000, 30, 30, Rule::Malicious, (4822, 3230)),
            (10_000, 5, 5, Rule::Malicious, (62, 44)),
        ] {
            let assumptions = Assumptions {
                correctness_bits: 20,
                ..assumptions(rule, corrupt, dropout, 40)
            };
            assert_eq!(
                find(n, &assumptions),
                Some(expected),
                "{n} {corrupt} {dropout}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_the_least_that_passes(
            n in 0..120_u32,
            corrupt_ppm in 0..400_000_u32,
            dropout_ppm in 0..400_000_u32,
            security_bits in 0..60_u32,
            correctness_bits in 0..60_u32,
            malicious in any::<bool>(),
        ) {
            let rule = if malicious { Rule::Malicious } else { Rule::SemiHonest };
            let assumptions = Assumptions { corrupt_ppm, dropout_ppm, security_bits, correctness_bits, rule };
            let least = (0..n)
                .flat_map(|k| (0..=k).map(move |t| (k, t)))
                .find(|&(k, t)| check(n, k, t, &assumptions));
            prop_assert_eq!(find(n, &assumptions), least);
        }

        #[test]
        fn nothing_traps(
            n in any::<u32>(),
            k in any::<u32>(),
            t in any::<u32>(),
            corrupt_ppm in any::<u32>(),
            dropout_ppm in any::<u32>(),
            security_bits in any::<u32>(),
            correctness_bits in any::<u32>(),
            malicious in any::<bool>(),
        ) {
            let rule = if malicious { Rule::Malicious } else { Rule::SemiHonest };
            let assumptions = Assumptions { corrupt_ppm, dropout_ppm, security_bits, correctness_bits, rule };
            check(n, k, t, &assumptions);
            check(n, k & !1, k / 2, &assumptions);
            find(n % 64, &assumptions);
        }
    }

    #[test]
    fn what_cannot_be_met_is_not_found() {
        assert_eq!(find(2, &assumptions(Rule::SemiHonest, 0, 0, 40)), None);
        assert_eq!(find(1000, &assumptions(Rule::SemiHonest, 60, 60, 40)), None);
        assert_eq!(find(1000, &assumptions(Rule::Malicious, 34, 34, 40)), None);
        assert!(!check(1000, 0, 0, &assumptions(Rule::SemiHonest, 0, 0, 0)));
        assert!(!check(
            1000,
            1000,
            10,
            &assumptions(Rule::SemiHonest, 0, 0, 0)
        ));
    }

    #[test]
    fn simulated_rings_have_as_many_bad_members_as_computed() {
        // Members with 9 or more corrupt ones among 20 neighbours, 40 of 200 corrupt. They come in runs along the ring, of
        // about 5, so that a quarter of the 2000 rings' number is some five standard deviations. The seeds are fixed.
        use crate::graph::{Graph, Topology};
        let (n, degree, least, rounds) = (200, 20, 9, 2000);
        let members: Vec<u32> = (0..n).collect();
        let mut bad = 0;
        for round in 0..rounds {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&u32::to_le_bytes(round));
            let ring = Topology::new(Graph::Harary { degree }, &members, &seed).unwrap();
            // The graph is random, so it does not matter which are corrupt.
            let corrupt = |&member: &u32| ring.neighbours(member).partition_point(|&m| m < 40);
            bad += members.iter().filter(|m| corrupt(m) >= least).count();
        }
        let expected = log_tail(200, 40, 20, 9).exp() * f64::from(n * rounds);
        assert!(expected > 1000.0, "{expected}");
        assert!(
            (bad as f64 / expected - 1.0).abs() < 0.25,
            "{bad} for {expected}"
        );
    }
}
