//! Small square matrices: distances, inner products.

/// An n x n matrix of `f64`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    n: usize,
    values: Vec<f64>,
}

impl Square {
    /// Zeros.
    pub fn zeros(n: usize) -> Self {
        Self {
            n,
            values: vec![0.0; n * n],
        }
    }

    /// The matrix with the entries `entry(row, column)`.
    pub fn from_fn(n: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        Self { n, values }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Row `row`.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n..(row + 1) * self.n]
    }

    /// Row `row`, to write to.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.n..(row + 1) * self.n]
    }

    /// The entry at (`row`, `column`).
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.n + column]
    }
}
