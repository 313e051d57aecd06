//! Random streams: one ChaCha generator per (seed, purpose, round, client), none shared.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a random stream is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial parameters.
    Initialise,
    /// Rows to clients.
    Partition,
    /// The cohort of a round.
    Cohort,
    /// A client's local training in a round.
    Train,
    /// Which cohort members drop out, straggle or garble their reply in simulation.
    Faults,
    /// A baseline's training.
    Baseline,
    /// The bytes changed in a simulated garbled reply.
    Garble,
    /// What an aggregation rule draws in a round: buckets, sampled coordinates, noise.
    Aggregate,
    /// The examples from which the server makes an update of its own, and its training.
    Root,
    /// The examples of attackers that come beside the other clients.
    Attackers,
    /// Privacy noise and coins of the server, in a run that says that it is not private.
    ServerNoise,
    /// Privacy noise and coins of a client, in a run that says that it is not private.
    ClientNoise,
    /// Random rounding of a client's update to integers; no secret.
    Rounding,
    /// The public nonce of a round's secure aggregation.
    Nonce,
    /// Keys of a secure sum, in a run that says that nothing in it is secret.
    Keys,
    /// Noise of a client's `[defence]`, in a simulation; no secret, and no privacy.
    Defence,
    /// The noise of a variational bottleneck in evaluation.
    Evaluate,
    /// The signs of the sketches by which the server compares directions.
    Watch,
    /// Bootstrap replicates of the test examples, for the intervals of a model's figures.
    Intervals,
}

impl Purpose {
    // Stored runs depend on these numbers: never renumber, only append.
    fn number(self) -> u64 {
        match self {
            Self::Initialise => 1,
            Self::Partition => 2,
            Self::Cohort => 3,
            Self::Train => 4,
            Self::Faults => 5,
            Self::Baseline => 6,
            Self::Garble => 7,
            Self::Aggregate => 8,
            Self::Root => 9,
            Self::Attackers => 10,
            Self::ServerNoise => 11,
            Self::ClientNoise => 12,
            Self::Rounding => 13,
            Self::Nonce => 14,
            Self::Keys => 15,
            Self::Defence => 16,
            Self::Evaluate => 17,
            Self::Watch => 18,
            Self::Intervals => 19,
        }
    }
}

/// The random streams of one run.
///
/// A stream is a function of its four coordinates alone, so nothing of it needs saving: a resumed run, or one with
/// another number of threads, draws the same numbers. These streams are reproducible and therefore **not private**:
/// keys and privacy noise must never come from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream of `purpose` in `round` for `client` (0 where a coordinate does not apply).
    ///
    /// The coordinates are the ChaCha key itself, so distinct coordinates give independent streams.
    pub fn stream(&self, purpose: Purpose, round: u32, client: u32) -> ChaCha8Rng {
        let mut key = [0; 32];
        let coordinates = [self.seed, purpose.number(), round.into(), client.into()];
        for (bytes, coordinate) in key.chunks_exact_mut(8).zip(coordinates) {
            bytes.copy_from_slice(&coordinate.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// What a variational bottleneck draws from in [`cloister_nn::parallel::evaluate`], by block of rows: the same in every
    /// round, so that models are compared under one noise.
    pub fn evaluation(&self) -> impl Fn(u32) -> ChaCha8Rng + Sync + use<> {
        let streams = *self;
        move |block| streams.stream(Purpose::Evaluate, 0, block)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_differ_in_every_coordinate_and_repeat() {
        let draw = |seed, purpose, round, client| -> u64 {
            Streams::new(seed).stream(purpose, round, client).random()
        };
        let all = [
            draw(1, Purpose::Train, 1, 1),
            draw(2, Purpose::Train, 1, 1),
            draw(1, Purpose::Cohort, 1, 1),
            draw(1, Purpose::Train, 2, 1),
            draw(1, Purpose::Train, 1, 2),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
        assert_eq!(all[0], draw(1, Purpose::Train, 1, 1));
    }
}
