//! What waits for the sites of an experiment: read by every call, written by the thread that hosts the experiment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::experiment::Id;
use crate::transport::{Body, Errand, Fault, FaultKind, Paper, PaperKind};

/// Parcels that may answer one message: a secure sum wants keys at once and the update when it is trained.
pub(crate) const MAX_PARTS: u32 = 4;

/// Bytes that travel to sites, shared by all to whom they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) sha256: [u8; 32],
}

impl Shared {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            sha256: Sha256::digest(&bytes).into(),
            bytes: bytes.into(),
        }
    }

    pub(crate) fn errand(&self, paper: Paper) -> Errand {
        Errand {
            paper,
            bytes: self.bytes.len() as u64,
            sha256: self.sha256,
        }
    }
}

/// A message for a site.
#[derive(Clone, Debug)]
struct Letter {
    number: u64,
    content: Shared,
    /// The site has answered it, or has said that there is nothing to say.
    done: bool,
}

/// The messages of the round in progress, by site.
#[derive(Debug, Default)]
pub(crate) struct Board {
    letters: BTreeMap<String, Vec<Letter>>,
    round: u32,
    /// Sites whose errands have changed since they were last told.
    changed: BTreeSet<String>,
}

/// The number of the `place`th message of a round to a site. The same after a crash, since the round is repeated as it was.
pub(crate) fn number(round: u32, place: u32) -> u64 {
    u64::from(round) << 20 | u64::from(place)
}

/// The round of a message.
pub(crate) fn round_of(number: u64) -> u32 {
    u32::try_from(number >> 20).unwrap_or(u32::MAX)
}

impl Board {
    /// Takes down what is left of an earlier round.
    pub(crate) fn begin(&mut self, round: u32) {
        for (site, _) in std::mem::take(&mut self.letters) {
            self.changed.insert(site);
        }
        self.round = round;
    }

    /// Puts up a message for a site.
    pub(crate) fn put(&mut self, site: &str, content: Shared) {
        self.changed.insert(site.to_owned());
        let letters = self.letters.entry(site.to_owned()).or_default();
        letters.push(Letter {
            number: number(self.round, letters.len() as u32 + 1),
            content,
            done: false,
        });
    }

    /// A site has dealt with a message.
    pub(crate) fn done(&mut self, site: &str, number: u64) {
        let letters = self.letters.get_mut(site);
        let letter = letters.and_then(|letters| letters.iter_mut().find(|l| l.number == number));
        if let Some(letter) = letter {
            letter.done = true;
            self.changed.insert(site.to_owned());
        }
    }

    /// The sites whose errands have changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// Whether a site was sent a message of that number in the round in progress.
    pub(crate) fn was_sent(&self, site: &str, number: u64) -> bool {
        let letters = self.letters.get(site);
        letters.is_some_and(|letters| letters.iter().any(|letter| letter.number == number))
    }

    /// Whether a message waits for a site.
    pub(crate) fn is_open(&self, site: &str) -> bool {
        let letters = self.letters.get(site).into_iter().flatten();
        letters.into_iter().any(|letter| !letter.done)
    }

    /// The messages that wait for a site, oldest first.
    pub(crate) fn errands(&self, experiment: Id, site: &str) -> Vec<Errand> {
        let letters = self.letters.get(site).into_iter().flatten();
        let open = letters.filter(|letter| !letter.done);
        let errand = |letter: &Letter| {
            letter.content.errand(Paper {
                experiment,
                kind: PaperKind::Message,
                number: letter.number,
            })
        };
        open.map(errand).collect()
    }

    /// The bytes of a message, also of one that the site has dealt with, while its round lasts.
    pub(crate) fn paper(&self, site: &str, number: u64) -> Result<Body, Fault> {
        let letters = self.letters.get(site).into_iter().flatten();
        let mut letters = letters.filter(|letter| letter.number == number);
        match letters.next() {
            Some(letter) => Ok(Body::Memory(Arc::clone(&letter.content.bytes))),
            None => Err(Fault::new(
                FaultKind::Unknown,
                format!("no message {number} waits for this site: its round is over"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_by_round_and_stay_until_it_is_over() {
        let mut board = Board::default();
        board.begin(3);
        board.put("a", Shared::new(vec![1]));
        board.put("a", Shared::new(vec![2]));
        board.put("b", Shared::new(vec![1]));
        let numbers = |board: &Board, site| -> Vec<u64> {
            let errands = board.errands(7, site).into_iter();
            errands.map(|errand| errand.paper.number).collect()
        };
        assert_eq!(numbers(&board, "a"), [number(3, 1), number(3, 2)]);
        board.done("a", number(3, 1));
        assert_eq!(numbers(&board, "a"), [number(3, 2)]);
        assert_eq!(numbers(&board, "b"), [number(3, 1)]);
        assert!(board.paper("a", number(3, 1)).is_ok() && board.was_sent("a", number(3, 1)));
        assert!(board.paper("b", number(3, 2)).is_err() && !board.was_sent("b", number(3, 2)));
        board.begin(4);
        assert!(board.paper("a", number(3, 1)).is_err());
        assert_eq!(
            (round_of(number(4, 9)), number(4, 9) > number(3, 77)),
            (4, true)
        );
    }
}
