//! Rows that are read, chosen and labelled, but not prepared.

use crate::config::Normalise;
use crate::dataset::{Dataset, Sites, TrainTest};
use crate::error::DataError;
use crate::images::ImageSet;
use crate::partition::Roll;
use crate::prepare::{Coded, Pipeline, PreparePlan};
use crate::select::Chosen;
use crate::statistics::{RowStatistics, TableStatistics, Value};
use crate::tables::{TablePart, TableSet};

/// Rows as they were read, and which of them train and which test: what a federation starts from, before anybody knows the
/// figures by which they are prepared.
///
/// Training rows are counted from 0, in the order that [`RawData::prepared`] keeps.
///
/// ```
/// use cloister_data::{DataConfig, PartitionConfig, open};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let raw = open(&DataConfig::bundled("heart-disease"), 1)?;
/// // Rows are dealt before they are prepared.
/// let natural = PartitionConfig::Natural { minimum: 1 };
/// let partition = natural.split(raw.roll(), None, &mut ChaCha8Rng::seed_from_u64(1))?;
/// assert_eq!(partition.clients.len(), 4);
/// // What is asked about them, and the values that answer it.
/// let question = raw.plan().unwrap().question();
/// let (values, class) = raw.values(0)?;
/// assert_eq!((question.columns.len(), values.len()), (13, 13));
/// assert!((class as usize) < raw.classes().len());
/// // All at once, by whoever may see all rows.
/// let data = raw.prepared(&raw.fit()?)?;
/// assert_eq!(data.train.len(), raw.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RawData {
    pub(crate) name: String,
    pub(crate) classes: Vec<String>,
    pub(crate) chosen: Chosen,
    pub(crate) content: RawContent,
    /// Most bytes of a part's features.
    pub(crate) max_bytes: u64,
    pub(crate) notes: Vec<String>,
}

/// The rows.
pub(crate) enum RawContent {
    Table {
        set: TableSet,
        plan: PreparePlan,
    },
    Images {
        set: Box<ImageSet>,
        normalise: Normalise,
    },
}

impl RawData {
    /// Name, as reports show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Training rows.
    #[allow(
        clippy::len_without_is_empty,
        reason = "there is a row to train on, or opening had failed"
    )]
    pub fn len(&self) -> usize {
        self.chosen.train_labels.len()
    }

    /// The class of each training row, as an index into [`RawData::classes`].
    pub fn labels(&self) -> &[u32] {
        &self.chosen.train_labels
    }

    /// Names of the classes in order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The natural owner of each training row, where the data names one.
    pub fn sites(&self) -> Option<&Sites> {
        self.chosen.train_sites.as_ref()
    }

    /// What dealing the training rows to clients looks at.
    pub fn roll(&self) -> Roll<'_> {
        Roll {
            name: &self.name,
            labels: self.labels(),
            classes: self.classes.len(),
            sites: self.sites(),
        }
    }

    /// What was noticed while the rows were read and chosen, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is done to the columns of a table; none for images.
    pub fn plan(&self) -> Option<&PreparePlan> {
        match &self.content {
            RawContent::Table { plan, .. } => Some(plan),
            RawContent::Images { .. } => None,
        }
    }

    /// A training row as the plan's question wants it, cleaned by what needs no figure of other rows, and its class. No
    /// value for images.
    ///
    /// # Errors
    /// [`DataError::Malformed`], for a cell that is not what its column holds.
    ///
    /// # Panics
    /// If there is no such row, like a slice.
    pub fn values(&self, row: u32) -> Result<(Vec<Value<'_>>, u32), DataError> {
        let class = self.labels()[row as usize];
        let values = match &self.content {
            RawContent::Table { set, plan } => {
                let row = set.train.row(self.chosen.train[row as usize]);
                row.values(plan)?
            }
            RawContent::Images { .. } => Vec::new(),
        };
        Ok((values, class))
    }

    /// The answer to the plan's question by whoever may see all training rows; empty for images.
    ///
    /// # Errors
    /// As [`RawData::values`].
    pub fn statistics(&self) -> Result<TableStatistics, DataError> {
        let Some(plan) = self.plan() else {
            return Ok(TableStatistics::default());
        };
        let question = plan.question();
        let mut statistics = RowStatistics::new(&question);
        for row in 0..self.len() as u32 {
            let (values, class) = self.values(row)?;
            statistics.observe(&values, class);
        }
        Ok(statistics.finish())
    }

    /// The pipeline as whoever may see all training rows fits it.
    ///
    /// # Errors
    /// As [`RawData::values`] and [`Pipeline::fit`].
    pub fn fit(&self) -> Result<Pipeline, DataError> {
        match &self.content {
            RawContent::Table { plan, .. } => Pipeline::fit(plan, &self.statistics()?),
            RawContent::Images { set, normalise } => {
                Ok(set.fit(*normalise, &self.classes, &self.chosen))
            }
        }
    }

    /// Training and test rows as `pipeline` codes them.
    ///
    /// # Errors
    /// [`DataError`], with the file, line and column of a cell that cannot be coded; for a pipeline of other data.
    pub fn prepared(&self, pipeline: &Pipeline) -> Result<TrainTest, DataError> {
        let mut notes = self.notes.clone();
        let features = match &self.content {
            RawContent::Table { set, .. } => {
                let coded = pipeline.table()?;
                let chosen = &self.chosen;
                let (train, missing) = self.encode(coded, &set.train, &chosen.train)?;
                let test_part = set.test.as_ref().unwrap_or(&set.train);
                let (test, _) = self.encode(coded, test_part, &chosen.test)?;
                notes.extend(missing.note(chosen.train.len()));
                notes.extend(coded.notes.iter().cloned());
                (train, test)
            }
            RawContent::Images { set, .. } => set.coded(pipeline.images()?, &self.chosen)?,
        };
        let shape = pipeline.shape();
        let chosen = &self.chosen;
        let dataset = |features, labels: &[u32], sites: &Option<Sites>| {
            Dataset::new(
                &*self.name,
                shape,
                features,
                labels.to_vec(),
                self.classes.clone(),
                sites.clone(),
            )
        };
        Ok(TrainTest {
            train: dataset(features.0, &chosen.train_labels, &chosen.train_sites)?,
            test: dataset(features.1, &chosen.test_labels, &chosen.test_sites)?,
            columns: pipeline.columns(),
            pipeline: Some(pipeline.clone()),
            notes,
        })
    }

    /// The features of rows of a part: `rows.len()` x the width of `coded`.
    fn encode(
        &self,
        coded: &Coded,
        part: &TablePart,
        rows: &[u32],
    ) -> Result<(Vec<f32>, Missing), DataError> {
        let width = coded.width();
        let bytes = (rows.len() as u64)
            .saturating_mul(width as u64)
            .saturating_mul(4);
        if bytes > self.max_bytes {
            let reason = format!(
                "{} rows of {width} features take {bytes} bytes, more than data.max_bytes = {}",
                rows.len(),
                self.max_bytes
            );
            return Err(DataError::too_large(&part.first().file, reason));
        }
        let mut features = Vec::with_capacity(rows.len() * width);
        let mut missing = Missing::default();
        for &row in rows {
            let row = part.row(row);
            let values = row.values(&coded.plan)?;
            missing.observe(&values);
            let coding = coded.encode(&values, &mut features);
            coding.map_err(|fault| row.coding_fault(&coded.plan, fault))?;
        }
        Ok((features, missing))
    }
}

/// Missing cells among the features.
#[derive(Default)]
struct Missing {
    rows: usize,
    cells: usize,
}

impl Missing {
    fn observe(&mut self, values: &[Value<'_>]) {
        let missing = values.iter().filter(|value| **value == Value::Missing);
        let missing = missing.count();
        self.rows += usize::from(missing > 0);
        self.cells += missing;
    }

    fn note(&self, rows: usize) -> Option<String> {
        (self.cells > 0).then(|| {
            format!(
                "{} of {rows} training rows have missing cells, {} in all: numbers are filled with the training mean, \
                 codes are left without a 1",
                self.rows, self.cells
            )
        })
    }
}
