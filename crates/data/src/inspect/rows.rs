//! What is kept of the rows of a table that is read once.

use std::collections::BTreeMap;

use crate::decode::{Batch, Grid};
use crate::error::{DataError, Place};
use crate::sketch::hash_number;

/// Most hashes of rows that are kept of a part: 32 MiB of them.
const MOST_HASHES: usize = 4 << 20;
/// Bytes of cells that are kept as a sample.
const SAMPLE: usize = 32 << 20;

/// Hashes of rows: all, or those of a share of the rows, by their first bits, so that equal rows stay together.
#[derive(Clone, Debug, Default)]
pub(super) struct RowHashes {
    /// Only hashes that begin with so many zero bits are kept.
    bits: u32,
    hashes: Vec<u64>,
}

/// A number of rows, and its standard error; 0 for an exact one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RowCount {
    pub(super) rows: usize,
    pub(super) error: f64,
}

impl RowHashes {
    pub(super) fn observe(&mut self, hash: u64) {
        if hash.leading_zeros() < self.bits {
            return;
        }
        self.hashes.push(hash);
        while self.hashes.len() >= MOST_HASHES {
            self.thin(self.bits + 1);
        }
    }

    fn thin(&mut self, bits: u32) {
        self.bits = bits;
        self.hashes.retain(|hash| hash.leading_zeros() >= bits);
    }

    fn scaled(&self, rows: usize) -> RowCount {
        let factor = 2_f64.powi(self.bits as i32);
        RowCount {
            rows: (rows as f64 * factor) as usize,
            error: match self.bits {
                0 => 0.0,
                _ => (rows.max(1) as f64).sqrt() * factor,
            },
        }
    }

    /// Rows that repeat an earlier row.
    pub(super) fn repeated(&mut self) -> RowCount {
        self.hashes.sort_unstable();
        let groups = self.hashes.chunk_by(|a, b| a == b);
        self.scaled(groups.map(|group| group.len() - 1).sum())
    }

    /// Rows of this part that also occur in the other.
    pub(super) fn shared(&mut self, other: &mut Self) -> RowCount {
        let bits = self.bits.max(other.bits);
        for part in [&mut *self, &mut *other] {
            part.thin(bits);
            part.hashes.sort_unstable();
        }
        let shared = self
            .hashes
            .iter()
            .filter(|hash| other.hashes.binary_search(hash).is_ok());
        self.scaled(shared.count())
    }
}

/// Names in the order in which they come, with their rows, and where each came first.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, u32>,
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<usize>,
    pub(super) first: Vec<(String, Place)>,
    last: Option<u32>,
}

impl Names {
    /// Takes in the name of a row, and says its number; a new name is refused beyond `most`.
    pub(super) fn observe(
        &mut self,
        name: &str,
        most: usize,
        place: impl FnOnce() -> (String, Place),
    ) -> Option<u32> {
        // Rows of a file are often in runs.
        let run = self.last.filter(|&last| self.names[last as usize] == name);
        let number = run.or_else(|| self.known.get(name).copied());
        let number = match number {
            Some(number) => number,
            None if self.names.len() >= most => return None,
            None => {
                let number = self.names.len() as u32;
                self.known.insert(name.to_owned(), number);
                self.names.push(name.to_owned());
                self.rows.push(0);
                self.first.push(place());
                number
            }
        };
        self.rows[number as usize] += 1;
        self.last = Some(number);
        Some(number)
    }
}

/// A sample of rows: each is in it with the same chance, which falls when the sample is full.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    bits: u32,
    seen: u64,
    /// The numbers of the rows, their cells, and the numbers of their labels and owners.
    rows: Vec<u64>,
    pub(super) grid: Grid,
    pub(super) labels: Vec<u32>,
    pub(super) sites: Vec<u32>,
}

impl Sample {
    pub(super) fn new(header: Option<Vec<String>>, columns: usize) -> Self {
        Self {
            bits: 0,
            seen: 0,
            rows: Vec::new(),
            grid: Grid::empty(header, columns),
            labels: Vec::new(),
            sites: Vec::new(),
        }
    }

    fn drawn(&self, row: u64) -> bool {
        hash_number(row as f64).leading_zeros() >= self.bits
    }

    /// Takes in a row of a batch.
    pub(super) fn observe(
        &mut self,
        file: &str,
        batch: &Batch,
        row: usize,
        label: u32,
        site: u32,
    ) -> Result<(), DataError> {
        let number = self.seen;
        self.seen += 1;
        if !self.drawn(number) {
            return Ok(());
        }
        self.grid.push(file, batch, row)?;
        self.rows.push(number);
        self.labels.push(label);
        self.sites.push(site);
        while self.grid.bytes() > SAMPLE && self.rows.len() > 1 {
            self.bits += 1;
            let keep: Vec<bool> = self.rows.iter().map(|&row| self.drawn(row)).collect();
            self.grid.retain(&keep);
            let mut kept = keep.iter();
            self.rows.retain(|_| kept.next() == Some(&true));
            for list in [&mut self.labels, &mut self.sites] {
                let mut kept = keep.iter();
                list.retain(|_| kept.next() == Some(&true));
            }
        }
        Ok(())
    }

    /// Whether rows were left out.
    pub(super) fn is_part(&self) -> bool {
        self.bits > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Records;

    #[test]
    fn repeated_rows_are_counted_and_beyond_the_bound_estimated() {
        let mut hashes = RowHashes::default();
        let mut state = 1.0;
        let rows = MOST_HASHES * 3 / 2;
        for row in 0..rows {
            if row % 3 != 2 {
                state += 1.0;
            }
            hashes.observe(hash_number(state));
        }
        let repeated = hashes.repeated();
        assert!(repeated.error > 0.0);
        let off = (repeated.rows as f64 - rows as f64 / 3.0).abs();
        assert!(off < 5.0 * repeated.error, "{repeated:?}");
        let mut few = RowHashes::default();
        for hash in [7, 8, 7, 7] {
            few.observe(hash);
        }
        assert_eq!(
            few.repeated(),
            RowCount {
                rows: 2,
                error: 0.0
            }
        );
        let mut other = RowHashes::default();
        for hash in [8, 9, 8] {
            other.observe(hash);
        }
        assert_eq!(other.shared(&mut few).rows, 2);
    }

    #[test]
    fn a_sample_keeps_whole_rows_in_their_order_within_its_bound() {
        let text: String = (0..400_000)
            .map(|row| format!("{row},{}\n", "x".repeat(row % 300)))
            .collect();
        let mut records = Records::new("t", text.as_bytes(), None).unwrap();
        let mut sample = Sample::new(None, 2);
        while let Some(batch) = records.batch().unwrap() {
            for row in 0..batch.rows() {
                sample.observe("t", &batch, row, row as u32 % 2, 0).unwrap();
            }
        }
        assert!(sample.is_part() && sample.grid.bytes() <= SAMPLE);
        assert!(sample.grid.rows() > 50_000, "{}", sample.grid.rows());
        assert_eq!(sample.grid.rows(), sample.labels.len());
        let numbers: Vec<usize> = (0..sample.grid.rows())
            .map(|row| sample.grid.cell(row, 0).parse().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        for (row, number) in numbers.iter().enumerate() {
            assert_eq!(sample.grid.cell(row, 1).len(), number % 300);
        }
    }
}
