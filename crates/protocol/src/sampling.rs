//! Drawing the cohort of a round.

use cloister_privacy::noise::NoiseSource;
use rand::RngExt;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use crate::config::{FederationConfig, Sampling};
use crate::error::ClientId;

/// How many clients a round asks, and how many replies complete it: (asked, wanted) under fixed sampling.
fn sizes(settings: &FederationConfig, clients: usize) -> (usize, usize) {
    let wanted = share(settings.fraction, clients).clamp(1, clients.max(1));
    let asked = wanted + share_up(settings.over_selection, wanted);
    (asked.min(clients), wanted)
}

/// The most good replies that a completed round of `clients` clients can have; under Poisson sampling, all of them.
pub fn most_replies(settings: &FederationConfig, clients: u32) -> u32 {
    match settings.sampling {
        Sampling::Fixed => sizes(settings, clients as usize).1 as u32,
        Sampling::Poisson => clients,
    }
}

/// The most clients that a round asks, those beyond what it wants included; under Poisson sampling, all of them.
pub fn most_called(settings: &FederationConfig, clients: u32) -> u32 {
    match settings.sampling {
        Sampling::Fixed => sizes(settings, clients as usize).0 as u32,
        Sampling::Poisson => clients,
    }
}

/// How likely the random cohort of a round is to hold more malicious clients than a rule is told to withstand.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortOdds {
    /// Clients asked in a round; the expected number under Poisson sampling.
    pub cohort: f64,
    /// `tail[f]` is the chance that the cohort holds more than f malicious clients.
    tail: Vec<f64>,
}

impl CohortOdds {
    /// The odds with `malicious` among `clients` clients: hypergeometric under fixed sampling (over-selected clients
    /// count, since the malicious may be the first to answer), binomial under Poisson sampling.
    pub fn new(settings: &FederationConfig, clients: u32, malicious: u32) -> Self {
        let malicious = malicious.min(clients) as usize;
        let (cohort, density): (f64, Vec<f64>) = match settings.sampling {
            Sampling::Fixed => {
                let asked = sizes(settings, clients as usize).0;
                let density = hypergeometric(clients as usize, malicious, asked);
                (asked as f64, density)
            }
            Sampling::Poisson => {
                let p = settings.fraction.clamp(0.0, 1.0);
                (p * f64::from(clients), binomial(malicious, p))
            }
        };
        // From the far end, where the terms are smallest.
        let mut tail = vec![0.0; malicious + 1];
        for f in (0..malicious).rev() {
            tail[f] = (tail[f + 1] + density[f + 1]).min(1.0);
        }
        Self { cohort, tail }
    }

    /// The chance that a cohort holds more than `byzantine` malicious clients.
    pub fn more_than(&self, byzantine: u32) -> f64 {
        self.tail.get(byzantine as usize).copied().unwrap_or(0.0)
    }

    /// The least f that a cohort exceeds with a chance of at most `chance`.
    pub fn sufficient(&self, chance: f64) -> u32 {
        let f = self.tail.iter().position(|tail| *tail <= chance);
        f.unwrap_or(self.tail.len()) as u32
    }
}

/// Chances of 0..=marked marked ones among `drawn` of `all`.
fn hypergeometric(all: usize, marked: usize, drawn: usize) -> Vec<f64> {
    let log = log_factorials(all);
    let choose = |n: usize, k: usize| log[n] - log[k] - log[n - k];
    (0..=marked)
        .map(|k| {
            if k > drawn || drawn - k > all - marked {
                return 0.0;
            }
            (choose(marked, k) + choose(all - marked, drawn - k) - choose(all, drawn)).exp()
        })
        .collect()
}

/// Chances of 0..=n successes of n.
fn binomial(n: usize, p: f64) -> Vec<f64> {
    let log = log_factorials(n);
    (0..=n)
        .map(|k| {
            let ways = (log[n] - log[k] - log[n - k]).exp();
            ways * p.powf(k as f64) * (1.0 - p).powf((n - k) as f64)
        })
        .collect()
}

fn log_factorials(n: usize) -> Vec<f64> {
    let mut log = vec![0.0; n + 1];
    for k in 1..=n {
        log[k] = log[k - 1] + (k as f64).ln();
    }
    log
}

/// The cohort of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cohort {
    /// The clients asked, in ascending order.
    pub(crate) members: Vec<ClientId>,
    /// Good replies with which the round completes at once: fewer than the members under over-selection.
    pub(crate) wanted: usize,
}

/// Draws a cohort from `roster` (ascending).
pub(crate) fn draw(
    settings: &FederationConfig,
    roster: &[ClientId],
    rng: &mut ChaCha8Rng,
) -> Cohort {
    match settings.sampling {
        Sampling::Fixed => {
            let (asked, wanted) = sizes(settings, roster.len());
            Cohort {
                members: choose(roster, asked, rng),
                wanted,
            }
        }
        Sampling::Poisson => {
            // One coin a client, whatever came before: the inclusion of a client never depends on another's.
            let members: Vec<ClientId> = roster
                .iter()
                .copied()
                .filter(|_| rng.random_bool(settings.fraction.clamp(0.0, 1.0)))
                .collect();
            let wanted = members.len();
            Cohort { members, wanted }
        }
    }
}

/// The same by coins that no seed repeats.
pub(crate) fn draw_secretly(
    settings: &FederationConfig,
    roster: &[ClientId],
    coins: &mut NoiseSource,
) -> Cohort {
    let mut members = roster.to_vec();
    match settings.sampling {
        Sampling::Fixed => coins.keep(&mut members, sizes(settings, roster.len()).0),
        Sampling::Poisson => members.retain(|_| coins.coin(settings.fraction)),
    }
    let wanted = members.len();
    Cohort { members, wanted }
}

/// The group of clients whose turn it is: each client is in one of so many groups, by its place in the roster.
pub(crate) fn take_turns(roster: &[ClientId], round: u32, groups: u32) -> Cohort {
    let turn = (round.saturating_sub(1) % groups) as usize;
    let group = roster.iter().skip(turn).step_by(groups as usize);
    let members: Vec<ClientId> = group.copied().collect();
    let wanted = members.len();
    Cohort { members, wanted }
}

fn choose(roster: &[ClientId], amount: usize, rng: &mut ChaCha8Rng) -> Vec<ClientId> {
    let mut places = index::sample(rng, roster.len(), amount).into_vec();
    places.sort_unstable();
    places.into_iter().map(|place| roster[place]).collect()
}

fn share(fraction: f64, of: usize) -> usize {
    (fraction.max(0.0) * of as f64).round() as usize
}

fn share_up(fraction: f64, of: usize) -> usize {
    // Guard the ceiling against 0.3 x 10 = 3.0000000000000004.
    (fraction.max(0.0) * of as f64 - 1e-9).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Purpose, Streams};

    fn roster(n: u32) -> Vec<ClientId> {
        (0..n).map(ClientId).collect()
    }

    fn settings(fraction: f64, sampling: Sampling, over_selection: f64) -> FederationConfig {
        FederationConfig {
            fraction,
            sampling,
            over_selection,
            ..FederationConfig::default()
        }
    }

    #[test]
    fn fixed_size_is_exact_and_distinct() {
        for (n, fraction, over, wanted, asked) in [
            (100, 0.1, 0.0, 10, 10),
            (100, 0.1, 0.3, 10, 13),
            (10, 0.01, 0.0, 1, 1),
            (10, 1.0, 0.5, 10, 10),
        ] {
            let mut rng = Streams::new(3).stream(Purpose::Cohort, 1, 0);
            let cohort = draw(
                &settings(fraction, Sampling::Fixed, over),
                &roster(n),
                &mut rng,
            );
            assert_eq!((cohort.wanted, cohort.members.len()), (wanted, asked));
            assert!(cohort.members.is_sorted_by(|a, b| a < b));
        }
    }

    /// Each client's inclusion count over 2,000 rounds is binomial; 50 clients, bounds at 5 standard deviations:
    /// false-alarm rate below 50 x 6e-7 = 3e-5, and the seed is fixed.
    #[test]
    fn every_client_is_drawn_at_the_stated_rate() {
        for sampling in [Sampling::Fixed, Sampling::Poisson] {
            let mut counts = [0.0_f64; 50];
            for round in 0..2000 {
                let mut rng = Streams::new(9).stream(Purpose::Cohort, round, 0);
                for member in draw(&settings(0.2, sampling, 0.0), &roster(50), &mut rng).members {
                    counts[member.0 as usize] += 1.0;
                }
            }
            let deviation = (2000.0_f64 * 0.2 * 0.8).sqrt();
            for count in counts {
                assert!((count - 400.0).abs() < 5.0 * deviation, "{count}");
            }
        }
    }

    /// 1,000 clients, 100 malicious, cohorts of 50: mean 5, P(F > 5) = 0.38, P(F > 10) = 7.7e-3, P(F > 12) = 7e-4, and
    /// 17 make it at most 1e-6.
    #[test]
    fn odds_are_the_hypergeometric_ones() {
        let odds = CohortOdds::new(&settings(0.05, Sampling::Fixed, 0.0), 1000, 100);
        for (f, chance, within) in [(5, 0.38, 0.005), (10, 7.7e-3, 5e-5), (12, 7e-4, 5e-5)] {
            let got = odds.more_than(f);
            assert!((got - chance).abs() <= within, "P(F > {f}) = {got}");
        }
        assert_eq!(odds.sufficient(1e-6), 17);
        assert_eq!(odds.cohort, 50.0);
        // Everyone is asked: no chance is left.
        let all = CohortOdds::new(&settings(1.0, Sampling::Fixed, 0.0), 10, 3);
        assert!((all.more_than(2) - 1.0).abs() < 1e-12 && all.more_than(3) == 0.0);
        assert_eq!(all.sufficient(1e-6), 3);
        // Two coins of one half.
        let coins = CohortOdds::new(&settings(0.5, Sampling::Poisson, 0.0), 4, 2);
        assert!((coins.more_than(0) - 0.75).abs() < 1e-12);
        assert!((coins.more_than(1) - 0.25).abs() < 1e-12);
        // Half again as many are asked, and the malicious may be quicker.
        let over = CohortOdds::new(&settings(0.5, Sampling::Fixed, 0.5), 8, 6);
        assert!((over.more_than(3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn poisson_sizes_vary_and_may_be_zero() {
        let sizes: Vec<usize> = (0..200)
            .map(|round| {
                let mut rng = Streams::new(5).stream(Purpose::Cohort, round, 0);
                draw(
                    &settings(0.1, Sampling::Poisson, 0.0),
                    &roster(10),
                    &mut rng,
                )
                .members
                .len()
            })
            .collect();
        assert!(sizes.contains(&0) && sizes.iter().any(|size| *size >= 3));
    }
}
