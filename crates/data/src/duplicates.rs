//! Rows that are there more than once.

use std::hash::{DefaultHasher, Hasher};

/// Rows as something that can be compared: bytes of an image, cells of a table.
pub(crate) trait Rows {
    /// Feeds row `row` to the hasher.
    fn hash(&self, row: u32, hasher: &mut DefaultHasher);
    /// Whether two rows are the same.
    fn same(&self, row: u32, other: &Self, other_row: u32) -> bool;
}

/// Hashes of rows, sorted.
pub(crate) struct Index(Vec<(u64, u32)>);

impl Index {
    pub(crate) fn new<R: Rows>(source: &R, rows: &[u32]) -> Self {
        let mut index: Vec<(u64, u32)> = rows
            .iter()
            .map(|&row| {
                let mut hasher = DefaultHasher::new();
                source.hash(row, &mut hasher);
                (hasher.finish(), row)
            })
            .collect();
        index.sort_unstable();
        Self(index)
    }

    /// Rows that repeat an earlier row.
    pub(crate) fn repeated<R: Rows>(&self, source: &R) -> usize {
        let mut repeated = 0;
        for group in self.0.chunk_by(|a, b| a.0 == b.0) {
            for (at, &(_, row)) in group.iter().enumerate() {
                let earlier = &group[..at];
                repeated += usize::from(
                    earlier
                        .iter()
                        .any(|&(_, other)| source.same(row, source, other)),
                );
            }
        }
        repeated
    }

    /// The rows that repeat an earlier row for which `alike` holds as well.
    pub(crate) fn repeats<R: Rows>(
        &self,
        source: &R,
        alike: impl Fn(u32, u32) -> bool,
    ) -> Vec<u32> {
        let mut repeats = Vec::new();
        for group in self.0.chunk_by(|a, b| a.0 == b.0) {
            for (at, &(_, row)) in group.iter().enumerate() {
                let mut earlier = group[..at].iter();
                if earlier.any(|&(_, other)| alike(row, other) && source.same(row, source, other)) {
                    repeats.push(row);
                }
            }
        }
        repeats
    }

    /// Rows of this index that also occur in `other`.
    pub(crate) fn shared<R: Rows>(&self, source: &R, other: &Self, other_source: &R) -> usize {
        self.0
            .iter()
            .filter(|&&(hash, row)| {
                let from = other
                    .0
                    .partition_point(|&(other_hash, _)| other_hash < hash);
                other.0[from..]
                    .iter()
                    .take_while(|&&(other_hash, _)| other_hash == hash)
                    .any(|&(_, other_row)| source.same(row, other_source, other_row))
            })
            .count()
    }
}

/// How often rows repeat, for the notes of a load and for an inspection.
pub(crate) struct Duplicates {
    pub(crate) train: usize,
    pub(crate) test: usize,
    /// Test rows that also occur in the training rows.
    pub(crate) overlap: usize,
}

impl Duplicates {
    pub(crate) fn count<R: Rows>(train: (&R, &[u32]), test: (&R, &[u32])) -> Self {
        let train_index = Index::new(train.0, train.1);
        let test_index = Index::new(test.0, test.1);
        Self {
            train: train_index.repeated(train.0),
            test: test_index.repeated(test.0),
            overlap: test_index.shared(test.0, &train_index, train.0),
        }
    }

    /// Sentences about what there is; none if there is nothing.
    pub(crate) fn notes(&self, train_rows: usize, test_rows: usize) -> Vec<String> {
        [
            (
                self.train,
                train_rows,
                "training rows repeat another training row",
            ),
            (self.test, test_rows, "test rows repeat another test row"),
            (
                self.overlap,
                test_rows,
                "test rows also occur among the training rows",
            ),
        ]
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, rows, what)| format!("{count} of {rows} {what}"))
        .collect()
    }
}
