//! From the replies of a round to one update.

use std::collections::{BTreeMap, BTreeSet};

use cloister_robust::{
    AggregationConfig, Aggregator, AggregatorState, Input, RobustError, RowVerdict, Rule, Weights,
};
use rand_chacha::ChaCha8Rng;

use crate::error::{ClientId, ProtocolError};
use crate::server::{ClientVerdict, PrivateSum, SecureRound};
use crate::sum::{ExactSum, Unfit, first_unfit};

/// The rule of a run, and whether it can be applied while replies come in.
#[derive(Debug)]
pub(crate) struct Aggregation {
    pub(crate) aggregator: Aggregator<f32>,
    pub(crate) threads: usize,
    minimum_rows: usize,
}

/// The good replies of a round, as the rule needs them. Neither form depends on the order of arrival.
#[derive(Debug)]
pub(crate) enum Replies {
    /// Their sum: the plain mean needs no more.
    Sum {
        sum: ExactSum,
        weights: BTreeMap<ClientId, u32>,
    },
    /// Their sum, clipped and on a grid, to be released with noise.
    Private {
        sum: PrivateSum,
        members: BTreeSet<ClientId>,
    },
    /// Each of them.
    Rows(BTreeMap<ClientId, Vec<f32>>),
    /// Masked, in sums that only a threshold of the members can unmask.
    Secure(Box<SecureRound>),
}

impl Replies {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Sum { weights, .. } => weights.len(),
            Self::Private { members, .. } => members.len(),
            Self::Rows(rows) => rows.len(),
            Self::Secure(secure) => secure.count(),
        }
    }

    /// The secure sum, if the replies are masked.
    pub(crate) fn secure(&self) -> Option<&SecureRound> {
        match self {
            Self::Secure(secure) => Some(secure),
            _ => None,
        }
    }

    /// As [`Self::secure`].
    pub(crate) fn secure_mut(&mut self) -> Option<&mut SecureRound> {
        match self {
            Self::Secure(secure) => Some(secure),
            _ => None,
        }
    }

    /// Takes a reply; gives it back if it is unfit.
    pub(crate) fn add(
        &mut self,
        client: ClientId,
        update: Vec<f32>,
        weight: u32,
    ) -> Result<(), (Unfit, Vec<f32>)> {
        match self {
            Self::Sum { sum, weights } => match sum.add(&update, weight) {
                Ok(()) => {
                    weights.insert(client, weight);
                    Ok(())
                }
                Err(unfit) => Err((unfit, update)),
            },
            Self::Private { sum, members } => match first_unfit(&update, weight) {
                // Whoever is refused is not in the sum; the noise does not depend on it.
                None if sum.add(&update).is_ok() => {
                    members.insert(client);
                    Ok(())
                }
                None => Err((Unfit::Length, update)),
                Some(index) => Err((Unfit::Entry { index }, update)),
            },
            // The same bound as in the sum: squares and sums of such values stay finite in f32.
            Self::Rows(rows) => match first_unfit(&update, weight) {
                None => {
                    rows.insert(client, update);
                    Ok(())
                }
                Some(index) => Err((Unfit::Entry { index }, update)),
            },
            // Never a plain one among masked ones: `Server::take` refuses it.
            Self::Secure(_) => Err((Unfit::Full, update)),
        }
    }
}

impl Aggregation {
    pub(crate) fn new(config: AggregationConfig) -> Result<Self, RobustError> {
        Ok(Self {
            minimum_rows: config.minimum_rows(),
            aggregator: Aggregator::new(config)?,
            threads: 1,
        })
    }

    fn config(&self) -> &AggregationConfig {
        self.aggregator.config()
    }

    /// Good replies that the rule needs.
    pub(crate) fn minimum_rows(&self) -> usize {
        self.minimum_rows
    }

    pub(crate) fn needs_trusted_update(&self) -> bool {
        self.config().rule == Rule::Fltrust
    }

    /// What a reply of so many examples weighs. Only the mean believes counts.
    pub(crate) fn weight(&self, examples: u32) -> u32 {
        match self.config().weights.unwrap_or_default() {
            Weights::Examples if self.config().is_plain_mean() => examples,
            _ => 1,
        }
    }

    /// An empty collection of replies of `len` parameters.
    pub(crate) fn collect(&self, len: usize) -> Replies {
        if self.config().is_plain_mean() {
            Replies::Sum {
                sum: ExactSum::new(len),
                weights: BTreeMap::new(),
            }
        } else {
            Replies::Rows(BTreeMap::new())
        }
    }

    /// Writes the update into `out`.
    pub(crate) fn aggregate(
        &mut self,
        replies: &Replies,
        trusted: Option<&[f32]>,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<Vec<ClientVerdict>, RobustError> {
        match replies {
            Replies::Sum { sum, weights } => {
                sum.mean(out);
                let total = sum.weight() as f64;
                let verdict = |weight| RowVerdict {
                    kept: true,
                    weight: Some(f64::from(weight) / total),
                    score: None,
                };
                Ok(weights
                    .iter()
                    .map(|(client, weight)| ClientVerdict {
                        client: *client,
                        verdict: verdict(*weight),
                    })
                    .collect())
            }
            // Released by `PrivateMean`; who was in it stays with the server.
            Replies::Private { .. } => Ok(Vec::new()),
            // Its rows are the means of buckets: `Self::combine`.
            Replies::Secure(_) => Ok(Vec::new()),
            Replies::Rows(replies) => {
                let rows: Vec<&[f32]> = replies.values().map(Vec::as_slice).collect();
                let clients: Vec<u32> = replies.keys().map(|client| client.0).collect();
                let rows = self.combine(&rows, Some(&clients), trusted, rng, out)?;
                Ok(replies
                    .keys()
                    .zip(rows)
                    .map(|(client, verdict)| ClientVerdict {
                        client: *client,
                        verdict,
                    })
                    .collect())
            }
        }
    }

    /// Applies the rule to `rows`, of clients or of buckets; writes the result into `out`.
    pub(crate) fn combine(
        &mut self,
        rows: &[&[f32]],
        clients: Option<&[u32]>,
        trusted: Option<&[f32]>,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<Vec<RowVerdict>, RobustError> {
        let input = Input {
            clients,
            trusted,
            threads: self.threads,
            ..Input::new(rows)
        };
        Ok(self.aggregator.aggregate(&input, rng, out)?.rows)
    }

    /// Whether the rule is the plain mean.
    pub(crate) fn is_plain_mean(&self) -> bool {
        self.config().is_plain_mean()
    }

    /// Checks that a stored memory is of vectors of length `len`.
    pub(crate) fn check_state(
        &self,
        state: &AggregatorState<f32>,
        len: usize,
    ) -> Result<(), ProtocolError> {
        let vectors = state.previous.iter().chain(state.histories.values());
        match vectors.map(Vec::len).find(|got| *got != len) {
            None => Ok(()),
            Some(got) => Err(ProtocolError::StateMismatch {
                what: "memory of the rule",
                expected: len,
                got,
            }),
        }
    }
}
