//! The examples of an attack.

use cloister_data::Dataset;

use super::MembershipError;

/// Examples whose membership is asked: first the members, then the non-members, then a population of others that are no
/// members either and are not asked about. All should come from one distribution: a difference between training and test
/// data looks like leakage.
#[derive(Clone, Debug)]
pub struct Pool {
    data: Dataset,
    members: usize,
    nonmembers: usize,
}

impl Pool {
    /// Members are rows of `train`, the others rows of `test`.
    ///
    /// # Errors
    /// [`MembershipError`] for a row that is not there, data of different shape or classes, or nobody to ask about.
    pub fn join(
        train: &Dataset,
        members: &[u32],
        test: &Dataset,
        nonmembers: &[u32],
        population: &[u32],
    ) -> Result<Self, MembershipError> {
        if train.shape() != test.shape() || train.classes() != test.classes() {
            return Err(MembershipError::Data(format!(
                "'{}' and '{}' differ in shape or classes",
                train.name(),
                test.name()
            )));
        }
        for (what, got) in [
            ("members", members.len()),
            ("non-members", nonmembers.len()),
        ] {
            if got == 0 {
                return Err(MembershipError::TooFew {
                    what,
                    least: 1,
                    got,
                });
            }
        }
        let mut features = Vec::new();
        let mut labels = Vec::new();
        for (data, rows) in [(train, members), (test, nonmembers), (test, population)] {
            check_rows(data, rows)?;
            for row in rows {
                features.extend_from_slice(data.row(*row as usize));
                labels.push(data.labels()[*row as usize]);
            }
        }
        let classes = train.classes().to_vec();
        let data = Dataset::new(train.name(), train.shape(), features, labels, classes, None);
        Ok(Self {
            data: data.map_err(|error| MembershipError::Data(error.to_string()))?,
            members: members.len(),
            nonmembers: nonmembers.len(),
        })
    }

    /// The examples: members, non-members, population.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members
    }

    /// How many non-members there are.
    pub fn nonmembers(&self) -> usize {
        self.nonmembers
    }

    /// Examples that are asked about: members and non-members.
    pub fn candidates(&self) -> usize {
        self.members + self.nonmembers
    }

    /// Cuts one score for each candidate (more are ignored) into those of the members and those of the others.
    ///
    /// # Errors
    /// [`MembershipError::Length`] if there are fewer.
    pub fn split<'s, T>(&self, scores: &'s [T]) -> Result<(&'s [T], &'s [T]), MembershipError> {
        match scores.get(..self.candidates()) {
            Some(scores) => Ok(scores.split_at(self.members)),
            None => Err(MembershipError::Length {
                what: "scores",
                expected: self.candidates(),
                got: scores.len(),
            }),
        }
    }
}

/// Refuses rows that the data do not have.
pub(super) fn check_rows(data: &Dataset, rows: &[u32]) -> Result<(), MembershipError> {
    match rows.iter().find(|row| **row as usize >= data.len()) {
        Some(row) => Err(MembershipError::Row {
            row: *row,
            rows: data.len(),
        }),
        None => Ok(()),
    }
}
