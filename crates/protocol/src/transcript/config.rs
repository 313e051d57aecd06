//! Which rounds are recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most rounds of a run that are recorded.
pub const MOST_RECORDED: u32 = 100;

/// `[record]`: rounds whose transcript is kept: the global model, each client's message after every defence, the model after. A
/// transcript takes 4 bytes a parameter for each reply and for the model before and after; a server with `[secure_aggregation]`
/// keeps the masked vectors and their sum. It shows all that the server saw, so it is as confidential as the updates are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// Rounds to record, counted from 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<u32>,
    /// Beside those, round 1 and every so many rounds after it; 1 records all. At most 100 rounds of a run are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
}

impl RecordConfig {
    /// Whether `round` (counted from 1) is recorded.
    pub fn records(&self, round: u32) -> bool {
        let periodic = |every: u32| round > 0 && (round - 1).is_multiple_of(every.max(1));
        self.rounds.contains(&round) || self.every.is_some_and(periodic)
    }

    /// Rounds of the first `rounds` that are recorded.
    pub fn count(&self, rounds: u32) -> u32 {
        let periodic = match self.every {
            Some(every) if rounds > 0 => (rounds - 1) / every.max(1) + 1,
            _ => 0,
        };
        let also = |round: &&u32| {
            let periodic = RecordConfig {
                rounds: Vec::new(),
                every: self.every,
            };
            (1..=rounds).contains(*round) && !periodic.records(**round)
        };
        let mut named: Vec<u32> = self.rounds.iter().filter(also).copied().collect();
        named.sort_unstable();
        named.dedup();
        periodic.saturating_add(named.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_is_among_the_periodic_ones() {
        let config = |rounds: &[u32], every| RecordConfig {
            rounds: rounds.to_vec(),
            every,
        };
        for (config, rounds, expected) in [
            (config(&[], None), 9, vec![]),
            (config(&[2, 5, 12], None), 9, vec![2, 5]),
            (config(&[], Some(4)), 9, vec![1, 5, 9]),
            (config(&[5, 6, 6], Some(4)), 9, vec![1, 5, 6, 9]),
            (config(&[], Some(1)), 3, vec![1, 2, 3]),
        ] {
            let found: Vec<u32> = (0..=rounds)
                .filter(|round| config.records(*round))
                .collect();
            assert_eq!(found, expected);
            assert_eq!(config.count(rounds) as usize, expected.len());
        }
        assert_eq!(config(&[1], Some(1)).count(0), 0);
    }
}
