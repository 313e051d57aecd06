//! Rows that are read, chosen and labelled, but not prepared.

use std::collections::BTreeSet;

use rand::seq::SliceRandom;

use crate::classes::shortened;
use crate::config::ColumnRef;
use crate::dataset::{Dataset, NumericTarget, Sites, TrainTest};
use crate::duplicates::Index;
use crate::error::DataError;
use crate::images::ImageSet;
use crate::partition::Roll;
use crate::prepare::{
    ClassCounts, Coded, ImagePipeline, Pipeline, PrepareConfig, PreparePlan, Repeated,
    class_weights, resampled,
};
use crate::select::{Chosen, FOLD_STREAM, RESAMPLE_STREAM, stream};
use crate::statistics::{RowStatistics, TableStatistics, Value};
use crate::tables::{TablePart, TableSet, find_column};

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
    pub(crate) prepare: PrepareConfig,
    /// Decides which rows are repeated or left out, and how training rows are cut into folds.
    pub(crate) seed: u64,
    pub(crate) notes: Vec<String>,
}

/// The rows.
pub(crate) enum RawContent {
    Table {
        set: TableSet,
        plan: PreparePlan,
        /// Places of the columns that are features.
        features: Vec<usize>,
    },
    Images {
        set: Box<ImageSet>,
        /// What is done to them, without the figures of channels.
        pipeline: ImagePipeline,
        /// Whether it needs those.
        standard: bool,
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

    /// The cells of a column of the test rows as they stand in the file, feature or not, in the order in which
    /// [`RawData::prepared`] has these rows; for whoever looks at groups of them.
    ///
    /// # Errors
    /// [`DataError::Setting`] when there is no such column, or for images.
    pub fn test_cells(&self, column: &ColumnRef) -> Result<Vec<&str>, DataError> {
        let RawContent::Table { set, .. } = &self.content else {
            let reason = format!("{column} is asked for, but this is a set of images");
            return Err(DataError::setting("columns", reason));
        };
        let part = set.test.as_ref().unwrap_or(&set.train);
        let column = find_column(&part.first().grid, "columns", column)?;
        let rows = self.chosen.test.iter();
        Ok(rows.map(|row| part.row(*row).cell(column)).collect())
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
            RawContent::Table { set, plan, .. } => {
                let read = set.train.row(self.chosen.train[row as usize]);
                let mut values = read.values(plan)?.values;
                if let Some(known) = &self.chosen.train_values {
                    values.push(Value::Number(known[row as usize]));
                }
                values
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
    /// As [`RawData::values`] and [`Pipeline::fit`], which refuses columns that are coded by classes; this does not.
    pub fn fit(&self) -> Result<Pipeline, DataError> {
        match &self.content {
            RawContent::Table { plan, .. } => {
                let targets = match plan.needs_labels() {
                    true => Some(all_but(&self.class_counts(plan)?, None)),
                    false => None,
                };
                Pipeline::fit_with(plan, &self.statistics()?, targets.as_deref())
            }
            RawContent::Images {
                set,
                pipeline,
                standard,
            } => Ok(set.fit(pipeline.clone(), *standard, &self.classes, &self.chosen)),
        }
    }

    /// Training and test rows as `pipeline` codes them.
    ///
    /// # Errors
    /// [`DataError`], with the file, line and column of a cell that cannot be coded; for a pipeline of other data.
    pub fn prepared(&self, pipeline: &Pipeline) -> Result<TrainTest, DataError> {
        let mut notes = self.notes.clone();
        if pipeline.classes() != self.classes {
            let reason = format!(
                "made for the classes {}, but these are {}",
                shortened(pipeline.classes().iter().map(String::as_str)),
                shortened(self.classes.iter().map(String::as_str))
            );
            return Err(DataError::statistics(reason));
        }
        let features = match &self.content {
            RawContent::Table { set, plan, .. } => {
                let coded = pipeline.table()?;
                if let Some(reason) = plan.read_otherwise(&coded.plan) {
                    return Err(DataError::statistics(reason));
                }
                let chosen = &self.chosen;
                let folds = match coded.plan.needs_labels() {
                    true => {
                        let counts = self.class_counts(&coded.plan)?;
                        let others = (0..FOLDS).map(|fold| all_but(&counts, Some(fold)));
                        Some((self.folds(), others.collect::<Vec<_>>()))
                    }
                    false => None,
                };
                let of_others = |place: usize| {
                    let (of_row, others) = folds.as_ref()?;
                    Some(&others[of_row[place] as usize][..])
                };
                let (train, missing) = self.encode(coded, &set.train, &chosen.train, of_others)?;
                let test_part = set.test.as_ref().unwrap_or(&set.train);
                let (test, _) = self.encode(coded, test_part, &chosen.test, |_| None)?;
                notes.extend(missing.note(chosen.train.len(), &self.prepare));
                notes.extend(coded.notes.iter().cloned());
                (train, test)
            }
            RawContent::Images { set, .. } => {
                set.coded(pipeline.images()?, &self.chosen, self.max_bytes)?
            }
        };
        let shape = pipeline.shape();
        let chosen = &self.chosen;
        let dataset =
            |features, labels: &[u32], sites: &Option<Sites>, values: &Option<Vec<f64>>| {
                let dataset = Dataset::new(
                    &*self.name,
                    shape,
                    features,
                    labels.to_vec(),
                    self.classes.clone(),
                    sites.clone(),
                )?;
                match (values, pipeline.target()) {
                    (Some(values), Some(scale)) => dataset.with_target(NumericTarget {
                        values: values
                            .iter()
                            .map(|value| scale.standardised(*value))
                            .collect(),
                        scale,
                    }),
                    (None, None) => Ok(dataset),
                    (Some(_), None) => Err(DataError::statistics(
                        "made for classes, but data.target is a number",
                    )),
                    (None, Some(_)) => Err(DataError::statistics(
                        "made for a number to be predicted, but these are classes",
                    )),
                }
            };
        let train_sites = &chosen.train_sites;
        let mut train = dataset(
            features.0,
            &chosen.train_labels,
            train_sites,
            &chosen.train_values,
        )?;
        if let Some(weights) = &self.prepare.class_weights {
            let weights = class_weights(weights, &self.classes, &chosen.train_labels)?;
            train = train.with_class_weights(weights)?;
        }
        train = train.with_augmentation(pipeline.augment().cloned());
        Ok(TrainTest {
            train,
            test: dataset(
                features.1,
                &chosen.test_labels,
                &chosen.test_sites,
                &chosen.test_values,
            )?,
            columns: pipeline.columns(),
            pipeline: Some(pipeline.clone()),
            notes,
        })
    }

    /// The features of rows of a part: `rows.len()` x the width of `coded`.
    /// `targets` are the rows of the classes for each category, where they are not the fitted ones, for each place.
    fn encode<'t>(
        &self,
        coded: &Coded,
        part: &TablePart,
        rows: &[u32],
        targets: impl Fn(usize) -> Option<&'t [ClassCounts]>,
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
        for (place, &row) in rows.iter().enumerate() {
            let row = part.row(row);
            let values = row.values(&coded.plan)?.values;
            missing.observe(coded.plan.missing_cells(&values));
            let coding = coded.encode(&values, targets(place), &mut features);
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
    fn observe(&mut self, missing: usize) {
        self.rows += usize::from(missing > 0);
        self.cells += missing;
    }

    fn note(&self, rows: usize, prepare: &PrepareConfig) -> Option<String> {
        let plain = *prepare == PrepareConfig::default();
        let how = match plain {
            true => "numbers are filled with the training mean, codes are left without a 1",
            false => "they are filled as data.prepare says",
        };
        (self.cells > 0).then(|| {
            format!(
                "{} of {rows} training rows have missing cells, {} in all: {how}",
                self.rows, self.cells
            )
        })
    }
}

/// Folds of the training rows where a column is coded by classes.
const FOLDS: usize = 5;

/// The rows of the classes for each category and column, of all folds or of all but one.
fn all_but(folds: &[Vec<ClassCounts>], left_out: Option<usize>) -> Vec<ClassCounts> {
    let mut sum: Option<Vec<ClassCounts>> = None;
    for (fold, counts) in folds.iter().enumerate() {
        if Some(fold) == left_out {
            continue;
        }
        match &mut sum {
            None => sum = Some(counts.clone()),
            Some(sum) => {
                let both = sum.iter_mut().zip(counts);
                both.for_each(|(sum, counts)| sum.merge(counts));
            }
        }
    }
    sum.unwrap_or_default()
}

impl RawData {
    /// Leaves out or repeats training rows as the config says.
    pub(crate) fn choose(&mut self) -> Result<(), DataError> {
        let all = self.len();
        if let RawContent::Table { set, plan, .. } = &self.content
            && plan.may_drop()
        {
            let mut kept = Vec::with_capacity(all);
            for (place, &row) in (0_u32..).zip(&self.chosen.train) {
                if !set.train.row(row).values(plan)?.dropped {
                    kept.push(place);
                }
            }
            self.keep(&kept, "training rows have values that data.prepare drops")?;
        }
        if self.prepare.duplicates == Repeated::Drop {
            let kept = self.without_repeats();
            self.keep(&kept, "training rows repeat another one and are dropped")?;
        }
        if let Some(how) = self.prepare.resample {
            let mut rng = stream(self.seed, RESAMPLE_STREAM);
            let before = self.len();
            let kept = resampled(how, self.labels(), self.sites(), &mut rng);
            self.chosen.keep(&kept);
            self.notes.push(format!(
                "data.prepare.resample: {before} training rows became {}",
                self.len()
            ));
        }
        Ok(())
    }

    fn keep(&mut self, places: &[u32], what: &str) -> Result<(), DataError> {
        let before = self.len();
        if places.is_empty() {
            let reason = format!("leaves none of {before} training rows");
            return Err(DataError::setting("prepare", reason));
        }
        if places.len() < before {
            let dropped = before - places.len();
            self.notes.push(format!("{dropped} of {before} {what}"));
            self.chosen.keep(places);
        }
        Ok(())
    }

    /// The places of training rows that do not repeat another of the same owner and class.
    fn without_repeats(&self) -> Vec<u32> {
        let chosen = &self.chosen;
        // Rows of the training part are rising, so that their places can be searched.
        let place = |row: u32| chosen.train.partition_point(|known| *known < row);
        let alike = |a: u32, b: u32| {
            let (a, b) = (place(a), place(b));
            let sites = chosen.train_sites.as_ref();
            chosen.train_labels[a] == chosen.train_labels[b]
                && chosen
                    .train_values
                    .as_ref()
                    .is_none_or(|values| values[a] == values[b])
                && sites.is_none_or(|sites| sites.of_row[a] == sites.of_row[b])
        };
        let repeats = match &self.content {
            RawContent::Table { set, features, .. } => {
                let rows = (&set.train, &features[..]);
                Index::new(&rows, &chosen.train).repeats(&rows, alike)
            }
            RawContent::Images { set, .. } => {
                Index::new(&set.train, &chosen.train).repeats(&set.train, alike)
            }
        };
        let repeats: BTreeSet<u32> = repeats.into_iter().collect();
        (0_u32..)
            .zip(&chosen.train)
            .filter(|(_, row)| !repeats.contains(row))
            .map(|(place, _)| place)
            .collect()
    }

    /// The fold of each training row.
    fn folds(&self) -> Vec<u32> {
        let mut folds: Vec<u32> = (0..self.len()).map(|row| (row % FOLDS) as u32).collect();
        folds.shuffle(&mut stream(self.seed, FOLD_STREAM));
        folds
    }

    /// For each fold and each column that is coded by classes, the rows of the classes for each category.
    fn class_counts(&self, plan: &PreparePlan) -> Result<Vec<Vec<ClassCounts>>, DataError> {
        let columns = plan.fields.iter().filter(|field| field.steps.is_target());
        let none = vec![ClassCounts::new(self.classes.len()); columns.count()];
        let mut counts = vec![none; FOLDS];
        for (row, fold) in (0_u32..).zip(self.folds()) {
            let (values, class) = self.values(row)?;
            Coded::count_classes(plan, &mut counts[fold as usize], &values, class);
        }
        Ok(counts)
    }
}
