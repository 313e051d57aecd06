//! Which rows train and which test.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::config::DataConfig;
use crate::dataset::Sites;
use crate::error::DataError;

/// Streams of the data seed, one for each purpose.
pub(crate) const HELD_OUT_STREAM: u64 = 1;
const LIMIT_STREAM: u64 = 2;
pub(crate) const RESAMPLE_STREAM: u64 = 3;
pub(crate) const FOLD_STREAM: u64 = 4;

/// A stream of the data seed.
pub(crate) fn stream(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// Rows of the training part that train, and rows that test: of the test part where there is one, else of the
/// training part.
pub(crate) struct Selection {
    pub(crate) train: Vec<u32>,
    pub(crate) test: Vec<u32>,
}

/// The rows of both parts that were chosen, with their classes and owners.
pub(crate) struct Chosen {
    /// Rows of the training part.
    pub(crate) train: Vec<u32>,
    /// Rows of the test part where there is one, else of the training part.
    pub(crate) test: Vec<u32>,
    pub(crate) train_labels: Vec<u32>,
    pub(crate) test_labels: Vec<u32>,
    /// The numbers that are to be predicted, where there are some.
    pub(crate) train_values: Option<Vec<f64>>,
    pub(crate) test_values: Option<Vec<f64>>,
    pub(crate) train_sites: Option<Sites>,
    pub(crate) test_sites: Option<Sites>,
}

impl Chosen {
    /// Keeps the training rows at `places`, in that order; a place may be there more than once.
    pub(crate) fn keep(&mut self, places: &[u32]) {
        let pick = |list: &[u32]| places.iter().map(|&place| list[place as usize]).collect();
        self.train = pick(&self.train);
        self.train_labels = pick(&self.train_labels);
        self.train_values = self
            .train_values
            .as_ref()
            .map(|values| places.iter().map(|&place| values[place as usize]).collect());
        self.train_sites = self.train_sites.as_ref().map(|sites| sites.of_rows(places));
    }
}

impl Selection {
    /// Picks the classes and owners of the chosen rows; those of the test part are none where rows were held out.
    pub(crate) fn of(
        self,
        train: (&[u32], Option<&Sites>),
        test: Option<(&[u32], Option<&Sites>)>,
    ) -> Chosen {
        let pick = |(labels, sites): (&[u32], Option<&Sites>), rows: &[u32]| {
            let labels = rows.iter().map(|&row| labels[row as usize]);
            let sites = sites.map(|sites| sites.of_rows(rows));
            (labels.collect(), sites)
        };
        let (train_labels, train_sites) = pick(train, &self.train);
        let (test_labels, test_sites) = pick(test.unwrap_or(train), &self.test);
        Chosen {
            train: self.train,
            test: self.test,
            train_labels,
            test_labels,
            train_values: None,
            test_values: None,
            train_sites,
            test_sites,
        }
    }
}

/// Chooses among `rows`. `test_rows` are those of the test part; without one, `test_fraction` of the rows is held out.
pub(crate) fn select(
    config: &DataConfig,
    name: &str,
    rows: Vec<u32>,
    (labels, sites): (&[u32], Option<&Sites>),
    test_rows: Option<Vec<u32>>,
    seed: u64,
    notes: &mut Vec<String>,
) -> Result<Selection, DataError> {
    let count = rows.len();
    let mut selection = match test_rows {
        Some(test) => Selection { train: rows, test },
        None => {
            let mut rng = stream(seed, HELD_OUT_STREAM);
            let selection = hold_out(rows, labels, sites, config.test_fraction, &mut rng);
            if selection.test.is_empty() {
                let reason = format!(
                    "{} of {count} rows leaves none to test on",
                    config.test_fraction
                );
                return Err(DataError::setting("test_fraction", reason));
            }
            let by = match (config.target.is_some(), sites.is_some()) {
                (false, true) => ", stratified by class and owner",
                (false, false) => ", stratified by class",
                (true, true) => ", stratified by owner",
                (true, false) => "",
            };
            notes.push(format!(
                "{name} has no test part: {} of {count} rows are held out{by}",
                selection.test.len()
            ));
            selection
        }
    };
    if let Some(limit) = config.limit
        && limit < selection.train.len()
    {
        notes.push(format!(
            "data.limit: {limit} of {} training rows are used",
            selection.train.len()
        ));
        selection.train.shuffle(&mut stream(seed, LIMIT_STREAM));
        selection.train.truncate(limit);
        selection.train.sort_unstable();
    }
    Ok(selection)
}

/// Holds out `fraction` of every (owner, class) group, rounded so that the total comes out right; each group keeps at
/// least one row to train on.
fn hold_out(
    rows: Vec<u32>,
    labels: &[u32],
    sites: Option<&Sites>,
    fraction: f64,
    rng: &mut impl Rng,
) -> Selection {
    let mut groups: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for row in rows {
        let site = sites.map_or(0, |sites| sites.of_row[row as usize]);
        let label = labels[row as usize];
        groups.entry((site, label)).or_default().push(row);
    }
    let mut selection = Selection {
        train: Vec::new(),
        test: Vec::new(),
    };
    // What rounding has kept from the test part so far.
    let mut owed = 0.0;
    for mut rows in groups.into_values() {
        rows.shuffle(rng);
        owed += rows.len() as f64 * fraction;
        let held = (owed.round() as usize).min(rows.len() - 1);
        owed -= held as f64;
        selection.train.extend_from_slice(&rows[held..]);
        selection.test.extend_from_slice(&rows[..held]);
    }
    selection.train.sort_unstable();
    selection.test.sort_unstable();
    selection
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every row is on exactly one side, every (owner, class) group trains, and groups are cut within one row of
        /// the fraction unless they are too small to be cut.
        #[test]
        fn strata_are_cut_evenly(
            rows in proptest::collection::vec((0_u32..3, 0_u32..4), 2..300),
            fraction in 0.05..0.6,
            seed: u64,
        ) {
            let labels: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let sites = Sites { names: vec![String::new(); 3], of_row: rows.iter().map(|row| row.0).collect() };
            let all = (0..labels.len() as u32).collect();
            let selection = hold_out(all, &labels, Some(&sites), fraction, &mut stream(seed, 1));
            let mut all = [selection.train.clone(), selection.test.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows.len() as u32).collect::<Vec<_>>());
            for site in 0..3 {
                for label in 0..4 {
                    let of = |part: &[u32]| part.iter().filter(|&&row| rows[row as usize] == (site, label)).count();
                    let (train, test) = (of(&selection.train), of(&selection.test));
                    prop_assert!(train > 0 || test == 0);
                    prop_assert!(test as f64 <= (train + test) as f64 * fraction + 12.0);
                }
            }
        }
    }
}
