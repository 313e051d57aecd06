//! Drawing the cohort of a round.

use rand::RngExt;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use crate::config::{FederationConfig, Sampling};
use crate::error::ClientId;

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
            let wanted = share(settings.fraction, roster.len()).clamp(1, roster.len());
            let asked = wanted + share_up(settings.over_selection, wanted);
            Cohort {
                members: choose(roster, asked.min(roster.len()), rng),
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
