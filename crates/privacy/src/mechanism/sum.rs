//! A sum of clipped vectors on a grid.

use crate::error::PrivacyError;
use crate::mechanism::clip::Clipped;
use crate::mechanism::grid::Grid;

/// Vectors that one sum takes: with entries below 2^31 each, it stays far from the ends of `i64`.
const MOST: u64 = 1 << 31;

/// Integers, so that the bits do not depend on the order of the vectors.
#[derive(Clone, Debug)]
pub(crate) struct GridSum {
    grid: Grid,
    sums: Vec<i64>,
    added: u64,
}

impl GridSum {
    /// An empty sum of vectors of length `dimension`, each to be clipped to the norm `clip`.
    pub(crate) fn new(dimension: usize, clip: f64) -> Result<Self, PrivacyError> {
        Ok(Self {
            grid: Grid::new(dimension, clip)?,
            sums: vec![0; dimension],
            added: 0,
        })
    }

    /// Clips a vector, rounds it to the grid and adds it; nothing is added if it is refused.
    pub(crate) fn add(&mut self, vector: &[f32]) -> Result<Clipped, PrivacyError> {
        if self.added == MOST {
            return Err(PrivacyError::Unsupported(format!(
                "a sum takes {MOST} vectors at most"
            )));
        }
        let found = self.grid.add(vector, &mut self.sums)?;
        self.added += 1;
        Ok(found)
    }

    /// The sums over `expected`, in the data's units.
    pub(crate) fn mean(&self, expected: f64) -> Vec<f32> {
        let scale = self.grid.step() / expected;
        let entry = |&sum: &i64| (sum as f64 * scale) as f32;
        self.sums.iter().map(entry).collect()
    }

    /// Makes the sum empty.
    pub(crate) fn clear(&mut self) {
        self.sums.fill(0);
        self.added = 0;
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The sums, for noise to be added.
    pub(crate) fn entries_mut(&mut self) -> &mut [i64] {
        &mut self.sums
    }

    /// Vectors so far. Private.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }
}
