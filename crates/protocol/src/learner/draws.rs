//! The generator of a training's noise.

use std::convert::Infallible;

use cloister_privacy::noise::NoiseSource;
use rand::rand_core::{Rng, TryRng};
use rand_chacha::ChaCha8Rng;

/// What a variational bottleneck draws from while a client trains: a source of its own if it has one, else the training's
/// stream.
pub(super) enum Draws<'a> {
    Secret(&'a mut NoiseSource),
    Seeded(&'a mut ChaCha8Rng),
}

impl<'a> Draws<'a> {
    pub(super) fn new(secret: Option<&'a mut NoiseSource>, rng: &'a mut ChaCha8Rng) -> Self {
        match secret {
            Some(source) => Self::Secret(source),
            None => Self::Seeded(rng),
        }
    }
}

impl TryRng for Draws<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(match self {
            Self::Secret(source) => (source.word() >> 32) as u32,
            Self::Seeded(rng) => rng.next_u32(),
        })
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(match self {
            Self::Secret(source) => source.word(),
            Self::Seeded(rng) => rng.next_u64(),
        })
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}
