//! Where noise comes from.

use std::fmt;

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::error::PrivacyError;

/// 2^64.
const WORDS: f64 = 18_446_744_073_709_551_616.0;

/// A cryptographic stream of random words: ChaCha12, with a key from the operating system.
///
/// One belongs to one thread or one client; [`NoiseSource::split`] makes more. The key and the buffered words are wiped
/// from memory when it is dropped. It cannot be cloned, since noise that is drawn twice protects nothing.
pub struct NoiseSource {
    generator: ChaCha12Rng,
    secret: bool,
}

impl NoiseSource {
    /// A stream that nobody can repeat.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Randomness`] if the operating system has no randomness to give.
    pub fn system() -> Result<Self, PrivacyError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| PrivacyError::Randomness(error.to_string()))?;
        Ok(Self::keyed(key, true))
    }

    /// A key for [`Self::of_key`], from the operating system: for a release that a host must be able to repeat bit by bit after a
    /// crash, rather than release a second time with other noise. It is as secret as the noise, and must be gone from every
    /// disk as soon as the release is out.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Randomness`] if the operating system has no randomness to give.
    pub fn key() -> Result<Zeroizing<[u8; 32]>, PrivacyError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())
            .map_err(|error| PrivacyError::Randomness(error.to_string()))?;
        Ok(key)
    }

    /// The stream of a key that [`Self::key`] drew.
    pub fn of_key(key: &Zeroizing<[u8; 32]>) -> Self {
        Self::keyed(**key, true)
    }

    /// A stream that everybody with the seed can repeat, and subtract: for tests and simulations. What uses it is not
    /// private, and [`NoiseSource::is_secret`] says so.
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self::keyed(seed, false)
    }

    fn keyed(key: [u8; 32], secret: bool) -> Self {
        Self {
            generator: ChaCha12Rng::from_seed(key),
            secret,
        }
    }

    /// Whether the key came from the operating system. A run with any other may not be called private.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// An independent stream, for another thread or client; as secret as this one. Each call makes a new one.
    #[must_use]
    pub fn split(&mut self) -> Self {
        let mut key = [0; 32];
        self.generator.fill_bytes(&mut key);
        Self::keyed(key, self.secret)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Overwrites all of `words`.
    pub(crate) fn fill(&mut self, words: &mut [u64]) {
        // In pieces, since the generator writes bytes: the piece stays in the first cache.
        let mut bytes = [0; 8 * 64];
        for piece in words.chunks_mut(64) {
            let bytes = &mut bytes[..8 * piece.len()];
            self.generator.fill_bytes(bytes);
            for (word, bytes) in piece.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
    }

    /// True with this chance, rounded down to a multiple of 2^-64. Below 0 and NaN count as 0, above 1 as 1.
    pub fn coin(&mut self, chance: f64) -> bool {
        chance >= 1.0 || self.word() < threshold(chance)
    }

    /// A uniform integer below `bound`, exactly; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply and take the high half (Lemire, arXiv 1805.10941); low halves that would favour some are drawn again.
        let unfair = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let product = u128::from(self.word()) * u128::from(bound);
            if product as u64 >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    /// Keeps a uniform subset of `most` entries, in their order, of a list with more than that.
    pub fn keep<T>(&mut self, list: &mut Vec<T>, most: usize) {
        let (mut left, mut wanted) = (list.len() as u64, most as u64);
        if left <= wanted {
            return;
        }
        // Selection sampling: each entry stays with the chance wanted / left, exactly.
        list.retain(|_| {
            let stays = self.below(left) < wanted;
            left -= 1;
            wanted -= u64::from(stays);
            stays
        });
    }
}

impl fmt::Debug for NoiseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseSource")
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// How many of the 2^64 words mean yes.
fn threshold(chance: f64) -> u64 {
    // Exact: a power of two scales, and the conversion takes the floor, with 0 for NaN.
    (chance * WORDS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", NoiseSource::seeded([7; 32]));
        assert_eq!(text, "NoiseSource { secret: false, .. }");
    }

    #[test]
    fn chances_are_exact_to_the_last_word() {
        assert_eq!(threshold(0.5), 1 << 63);
        assert_eq!(threshold(0.75), 3 << 62);
        assert_eq!(threshold(1.0 / WORDS), 1);
        assert_eq!(threshold(0.9 / WORDS), 0);
        assert_eq!(threshold(1.0 - f64::EPSILON / 2.0), u64::MAX - 2047);
        assert_eq!(threshold(f64::NAN), 0);
        assert_eq!(threshold(-1.0), 0);
    }

    #[test]
    fn words_come_in_the_same_order_one_by_one_and_in_bulk() {
        let mut words = [0; 200];
        NoiseSource::seeded([3; 32]).fill(&mut words);
        let mut single = NoiseSource::seeded([3; 32]);
        assert!(words.iter().all(|&word| word == single.word()));
    }
}
