//! `[record]`: rounds that there are, and not too many.

use cloister_protocol::transcript::{MOST_RECORDED, RecordConfig};

use super::Checks;

impl Checks {
    pub(super) fn record(&mut self, record: &RecordConfig, rounds: u32) {
        if record.every == Some(0) {
            return self.refuse("record.every", "must be at least 1, found 0");
        }
        let is_none = |round: &&u32| !(1..=rounds).contains(*round);
        if let Some(round) = record.rounds.iter().find(is_none) {
            return self.refuse(
                "record.rounds",
                format!("round {round} is none of the {rounds} that federation.rounds has"),
            );
        }
        let count = record.count(rounds);
        if count > MOST_RECORDED {
            let key = match record.every {
                Some(_) => "record.every",
                None => "record.rounds",
            };
            self.refuse(
                key,
                format!("{count} rounds would be recorded, at most {MOST_RECORDED} can be"),
            );
        }
        if count == 0 {
            self.warn("record.rounds", "names no round: nothing is recorded");
        }
    }
}
