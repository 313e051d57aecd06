//! The noise of one round after another, from a few buffers of the model's size.

use std::collections::VecDeque;
use std::fmt;

use super::Strategy;
use super::strategy::Blt;
use crate::kernels::{self, Kernel};
use crate::mechanism::grid::nearest;
use crate::noise::{BLOCK, NoiseSource, PAIRS, RoundedGaussian};

/// Noise stays within this, in steps, where rounding is exact.
const LIMIT: f64 = (1_u64 << 50) as f64;

/// What noise of later rounds depends on. Secret: who knows it can subtract that noise.
#[derive(Clone)]
pub(super) enum Stream {
    /// The last entries of `C^-1 z`, the latest first.
    Banded {
        coefficients: Vec<f64>,
        past: VecDeque<Vec<f64>>,
    },
    Blt {
        blt: Blt,
        buffers: Vec<Vec<f64>>,
    },
    /// A node a level, for the bits of `leaf`.
    Tree {
        nodes: Vec<Vec<i64>>,
        leaf: usize,
        leaves: usize,
    },
}

impl Stream {
    pub(super) fn new(strategy: &Strategy, dimension: usize, leaves: usize) -> Self {
        match strategy {
            Strategy::Toeplitz(toeplitz) => Self::Banded {
                coefficients: toeplitz.coefficients()[1..].to_vec(),
                past: VecDeque::new(),
            },
            Strategy::Blt(blt) => Self::Blt {
                buffers: vec![vec![0.0; dimension]; blt.decay().len()],
                blt: blt.clone(),
            },
            Strategy::Tree => Self::Tree {
                nodes: Vec::new(),
                leaf: 0,
                leaves,
            },
        }
    }

    /// Adds the noise of the next round, for a z of standard deviation `sigma` steps.
    pub(super) fn add(
        &mut self,
        sums: &mut [i64],
        noise: &RoundedGaussian,
        source: &mut NoiseSource,
    ) {
        let sigma = noise.sigma();
        match self {
            Self::Banded { coefficients, past } => {
                let mut x = vec![0.0; sums.len()];
                normals(&mut x, source);
                for (c, before) in coefficients.iter().zip(&*past) {
                    kernels::call(Subtract {
                        x: &mut x,
                        c: *c,
                        before,
                    });
                }
                round_to(sums, &x, sigma);
                past.push_front(x);
                past.truncate(coefficients.len());
            }
            Self::Blt { blt, buffers } => {
                let mut x = vec![0.0; sums.len()];
                normals(&mut x, source);
                for (scale, buffer) in blt.scale().iter().zip(&*buffers) {
                    kernels::call(Subtract {
                        x: &mut x,
                        c: *scale,
                        before: buffer,
                    });
                }
                for (decay, buffer) in blt.decay().iter().zip(buffers) {
                    for (buffer, x) in buffer.iter_mut().zip(&x) {
                        *buffer = decay * *buffer + x;
                    }
                }
                round_to(sums, &x, sigma);
            }
            Self::Tree {
                nodes,
                leaf,
                leaves,
            } => {
                if *leaf == *leaves {
                    *leaf = 0;
                    nodes.clear();
                }
                *leaf += 1;
                let level = leaf.trailing_zeros() as usize;
                // The nodes below go out of the prefix, whose noise they were; the one above them comes in.
                for node in nodes.iter().take(level) {
                    sums.iter_mut()
                        .zip(node)
                        .for_each(|(sum, node)| *sum -= node);
                }
                let mut node = vec![0; sums.len()];
                noise.add(source, &mut node);
                sums.iter_mut()
                    .zip(&node)
                    .for_each(|(sum, node)| *sum += node);
                if level < nodes.len() {
                    nodes[level] = node;
                } else {
                    nodes.push(node);
                }
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Standard normal variables, on a grid of 2^-46.
fn normals(x: &mut [f64], source: &mut NoiseSource) {
    let fine = RoundedGaussian::fine();
    let mut noise = [[0; PAIRS]; 2];
    for block in x.chunks_mut(BLOCK) {
        for (x, &noise) in block.iter_mut().zip(fine.block(source, &mut noise)) {
            *x = noise as f64 / fine.sigma();
        }
    }
}

/// `x -= c before`.
struct Subtract<'a> {
    x: &'a mut [f64],
    c: f64,
    before: &'a [f64],
}

impl Kernel for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, before) in self.x.iter_mut().zip(self.before) {
            *x -= self.c * before;
        }
    }
}

fn round_to(sums: &mut [i64], x: &[f64], sigma: f64) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum += nearest((x * sigma).clamp(-LIMIT, LIMIT));
    }
}
