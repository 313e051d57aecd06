//! A random rotation that spreads a vector's mass over all its entries.

use crate::kernels::{self, Kernel};
use crate::noise::NoiseSource;

/// Longest piece that is transformed level by level: it stays in the first cache.
const PIECE: usize = 4096;

/// Signs and a Walsh-Hadamard transform over the first `2^k` entries, then both again over the last `2^k`, for the largest
/// `2^k` that fits. Both windows together are the whole vector, so nothing is padded; each entry ends with a variance over
/// the signs of at most `|x|^2 / 2^k`, as if padded to twice the length at the worst.
///
/// The transform costs `d log2(d)` additions a window. It is exactly undone up to floating point.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    window: usize,
    signs: [Vec<u64>; 2],
    dimension: usize,
}

impl Rotation {
    /// The rotation of vectors of this length, at least 1, that belongs to a public seed.
    pub(super) fn new(dimension: usize, seed: [u8; 32]) -> Self {
        let mut source = NoiseSource::seeded(seed);
        let window = window(dimension);
        let signs = [(); 2].map(|()| {
            let mut signs = vec![0; window.div_ceil(64)];
            source.fill(&mut signs);
            signs
        });
        Self {
            window,
            signs,
            dimension,
        }
    }

    /// Rotates in place.
    pub(super) fn forward(&self, vector: &mut [f32]) {
        for (signs, start) in self.signs.iter().zip(self.starts()) {
            let window = &mut vector[start..start + self.window];
            flip(window, signs);
            transform(window);
        }
    }

    /// Rotates back.
    pub(super) fn backward(&self, vector: &mut [f32]) {
        for (signs, start) in self.signs.iter().zip(self.starts()).rev() {
            let window = &mut vector[start..start + self.window];
            transform(window);
            flip(window, signs);
        }
    }

    /// Where the windows start: one, if it is the whole vector.
    fn starts(&self) -> std::vec::IntoIter<usize> {
        let mut starts = vec![0];
        if self.window < self.dimension {
            starts.push(self.dimension - self.window);
        }
        starts.into_iter()
    }
}

/// The largest power of two that is not above `dimension`.
pub(super) fn window(dimension: usize) -> usize {
    1 << dimension.max(1).ilog2()
}

fn flip(vector: &mut [f32], signs: &[u64]) {
    for (entries, &word) in vector.chunks_mut(64).zip(signs) {
        for (i, entry) in entries.iter_mut().enumerate() {
            *entry = f32::from_bits(entry.to_bits() ^ (((word >> i) as u32 & 1) << 31));
        }
    }
}

/// The orthonormal Walsh-Hadamard transform of a power of two of entries.
fn transform(vector: &mut [f32]) {
    spread(vector);
    let scale = (vector.len() as f64).sqrt().recip() as f32;
    for entry in vector {
        *entry *= scale;
    }
}

/// The transform without its scale, halves first: whatever the cache, each level of a piece runs in it.
fn spread(vector: &mut [f32]) {
    if vector.len() <= PIECE {
        kernels::call(Levels { vector });
    } else {
        let (left, right) = vector.split_at_mut(vector.len() / 2);
        spread(left);
        spread(right);
        kernels::call(Butterfly { left, right });
    }
}

/// All levels of a short transform.
struct Levels<'a> {
    vector: &'a mut [f32],
}

impl Kernel for Levels<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let length = self.vector.len();
        let mut half = 1;
        if length >= 8 {
            for eight in self.vector.as_chunks_mut::<8>().0 {
                first_levels(eight);
            }
            half = 8;
        }
        while half < length {
            for pair in self.vector.chunks_exact_mut(2 * half) {
                let (left, right) = pair.split_at_mut(half);
                butterfly(left, right);
            }
            half *= 2;
        }
    }
}

/// The levels of halves 1, 2 and 4, in registers.
#[inline(always)]
fn first_levels(x: &mut [f32; 8]) {
    for half in [1, 2, 4] {
        let old = *x;
        for i in 0..8 {
            x[i] = if i & half == 0 {
                old[i] + old[i + half]
            } else {
                old[i - half] - old[i]
            };
        }
    }
}

struct Butterfly<'a> {
    left: &'a mut [f32],
    right: &'a mut [f32],
}

impl Kernel for Butterfly<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        butterfly(self.left, self.right);
    }
}

#[inline(always)]
fn butterfly(left: &mut [f32], right: &mut [f32]) {
    for (a, b) in left.iter_mut().zip(right) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_transform_is_walsh_and_hadamard_s() {
        for bits in [0, 1, 2, 3, 4, 6] {
            let n = 1 << bits;
            for j in 0..n {
                let mut vector = vec![0.0; n];
                vector[j] = 1.0;
                transform(&mut vector);
                for (i, &entry) in vector.iter().enumerate() {
                    let sign = if (i & j).count_ones() % 2 == 0 {
                        1.0
                    } else {
                        -1.0
                    };
                    assert!((entry - sign / (n as f32).sqrt()).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_mass_of_one_entry_is_spread_over_the_vector() {
        for dimension in [100, 5000, 70_000] {
            for place in [0, dimension / 2, dimension - 1] {
                let mut vector = vec![0.0; dimension];
                vector[place] = 1.0;
                Rotation::new(dimension, [9; 32]).forward(&mut vector);
                let largest = vector.iter().fold(0.0_f32, |a, &b| a.max(b.abs()));
                // Six standard deviations of the bound.
                assert!(
                    largest < 6.0 / (window(dimension) as f32).sqrt(),
                    "{dimension} {place}: {largest}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn rotations_keep_norms_and_are_undone(
            vector in prop::collection::vec(-1.0_f32..1.0, 1..300),
            times in 1_usize..60,
            seed in any::<[u8; 32]>(),
        ) {
            let vector: Vec<f32> = vector.iter().cycle().take(vector.len() * times).copied().collect();
            let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let rotation = Rotation::new(vector.len(), seed);
            let mut rotated = vector.clone();
            rotation.forward(&mut rotated);
            prop_assert!((norm(&rotated) - norm(&vector)).abs() <= 1e-5 * norm(&vector));
            rotation.backward(&mut rotated);
            let error = 1e-5 * (1.0 + norm(&vector) as f32);
            for (a, b) in vector.iter().zip(&rotated) {
                prop_assert!((a - b).abs() < error);
            }
        }
    }
}
