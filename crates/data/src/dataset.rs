//! The checked table of examples that everything else works on.

use std::fmt;
use std::ops::Range;

use crate::error::DataError;
use crate::prepare::{AugmentConfig, Pipeline};

/// Most values that a dataset may name classes or sites; beyond it a column of numbers was mistaken for labels.
pub(crate) const MAX_CLASSES: usize = 10_000;

/// Shape of one example: an image is channels x height x width, a row of a flat table is 1 x 1 x columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExampleShape {
    /// Colour channels; 1 for tables.
    pub channels: usize,
    /// Rows of pixels; 1 for tables.
    pub height: usize,
    /// Columns of pixels, or of the table.
    pub width: usize,
}

impl ExampleShape {
    /// Shape of a row of `columns` numbers.
    pub fn flat(columns: usize) -> Self {
        Self {
            channels: 1,
            height: 1,
            width: columns,
        }
    }

    /// Values in one example: channels x height x width. Saturates instead of overflowing.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a length in values, not a container; zero is refused by Dataset::new"
    )]
    pub fn len(&self) -> usize {
        self.channels
            .saturating_mul(self.height)
            .saturating_mul(self.width)
    }
}

impl fmt::Display for ExampleShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// The natural owner of each row: a hospital, a bank, a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sites {
    /// Names of the owners.
    pub names: Vec<String>,
    /// For each row the index of its owner in `names`.
    pub of_row: Vec<u32>,
}

/// The mean and the deviation by which the numbers that a model is to predict are standardised: figures of training rows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TargetScale {
    /// Mean, in the target's unit.
    pub mean: f64,
    /// Standard deviation, in the target's unit; 1 where all training rows have the same number.
    pub deviation: f64,
}

impl TargetScale {
    /// A number of that mean and variance; a deviation that is none counts as 1.
    pub(crate) fn new(mean: f64, variance: f64) -> Self {
        let deviation = variance.sqrt();
        let usable = deviation > 0.0 && deviation.is_finite();
        Self {
            mean,
            deviation: if usable { deviation } else { 1.0 },
        }
    }

    /// A number of the data as models are trained on it.
    pub fn standardised(&self, value: f64) -> f32 {
        ((value - self.mean) / self.deviation) as f32
    }

    /// A model's answer in the target's unit.
    pub fn natural(&self, answer: f32) -> f64 {
        f64::from(answer) * self.deviation + self.mean
    }
}

/// The numbers that a model is to predict, one an example.
#[derive(Clone, Debug, PartialEq)]
pub struct NumericTarget {
    /// Standardised.
    pub values: Vec<f32>,
    /// By what.
    pub scale: TargetScale,
}

/// n examples: `shape.len()` features (`f32`, row-major; images channel by channel, CHW) and a class label each.
///
/// The fields agree by construction: [`Dataset::new`] checks lengths, label and site ranges and that every feature is
/// a finite number, so that whoever holds a `Dataset` need not.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    name: String,
    shape: ExampleShape,
    features: Vec<f32>,
    labels: Vec<u32>,
    classes: Vec<String>,
    target: Option<NumericTarget>,
    sites: Option<Sites>,
    class_weights: Option<Vec<f32>>,
    augmentation: Option<AugmentConfig>,
}

impl Dataset {
    /// Checks the parts and joins them.
    ///
    /// `features` holds `labels.len() * shape.len()` finite values, `labels` index `classes`, and `sites`, where
    /// there are any, name an owner for each row.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] with the numbers that do not fit.
    ///
    /// ```
    /// use cloister_data::{Dataset, ExampleShape};
    ///
    /// let classes = vec!["cold".to_owned(), "warm".to_owned()];
    /// let shape = ExampleShape::flat(2);
    /// let good = Dataset::new("weather", shape, vec![1.0, 2.0, 3.0, 4.0], vec![0, 1], classes.clone(), None);
    /// assert_eq!(good?.row(1), [3.0, 4.0]);
    /// let bad = Dataset::new("weather", shape, vec![1.0, 2.0], vec![2], classes, None);
    /// assert_eq!(bad.unwrap_err().to_string(), "dataset 'weather': row 0: label 2 is beyond the 2 classes");
    /// # Ok::<(), cloister_data::DataError>(())
    /// ```
    pub fn new(
        name: impl Into<String>,
        shape: ExampleShape,
        features: Vec<f32>,
        labels: Vec<u32>,
        classes: Vec<String>,
        sites: Option<Sites>,
    ) -> Result<Self, DataError> {
        let dataset = Self {
            name: name.into(),
            shape,
            features,
            labels,
            classes,
            target: None,
            sites,
            class_weights: None,
            augmentation: None,
        };
        match dataset.fault() {
            None => Ok(dataset),
            Some(reason) => Err(DataError::Inconsistent {
                name: dataset.name,
                reason,
            }),
        }
    }

    /// Has examples answered with numbers and not with classes, of which there is one, the name of the number.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`], unless there is one class and a finite number for each example.
    pub fn with_target(mut self, target: NumericTarget) -> Result<Self, DataError> {
        let odd = target.values.iter().position(|value| !value.is_finite());
        let reason = match odd {
            _ if self.classes.len() != 1 => {
                format!(
                    "numbers to be predicted beside {} classes",
                    self.classes.len()
                )
            }
            _ if target.values.len() != self.len() => {
                format!(
                    "{} numbers to be predicted for {} rows",
                    target.values.len(),
                    self.len()
                )
            }
            Some(row) => {
                format!("row {row}: the number to be predicted does not fit a 32-bit fraction")
            }
            None => {
                self.target = Some(target);
                return Ok(self);
            }
        };
        Err(DataError::Inconsistent {
            name: self.name,
            reason,
        })
    }

    /// The numbers that a model is to predict, where examples are not of classes; their name is the only class.
    pub fn target(&self) -> Option<&NumericTarget> {
        self.target.as_ref()
    }

    /// Gives each class a weight in the loss.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`], unless there is a finite weight above 0 for each class.
    pub fn with_class_weights(mut self, weights: Vec<f32>) -> Result<Self, DataError> {
        let fit = weights.len() == self.classes.len();
        if !fit
            || weights
                .iter()
                .any(|weight| !(*weight > 0.0 && weight.is_finite()))
        {
            return Err(DataError::Inconsistent {
                reason: format!("weights {weights:?} for {} classes", self.classes.len()),
                name: self.name,
            });
        }
        self.class_weights = Some(weights);
        Ok(self)
    }

    /// The weight of each class in the loss, where they are not all 1.
    pub fn class_weights(&self) -> Option<&[f32]> {
        self.class_weights.as_deref()
    }

    /// Has examples changed at random each time that they are trained on, as [`augment`](crate::augment) does.
    #[must_use]
    pub fn with_augmentation(mut self, augmentation: Option<AugmentConfig>) -> Self {
        self.augmentation = augmentation;
        self
    }

    /// How examples are changed at random each time that they are trained on, if they are.
    pub fn augmentation(&self) -> Option<&AugmentConfig> {
        self.augmentation.as_ref()
    }

    /// The first thing that does not fit, in words.
    fn fault(&self) -> Option<String> {
        let (rows, width) = (self.labels.len(), self.shape.len());
        if width == 0 {
            return Some(format!("examples of shape {} hold nothing", self.shape));
        }
        if rows == 0 {
            return Some("no examples".to_owned());
        }
        if u32::try_from(rows).is_err() {
            return Some(format!("{rows} rows are more than 2^32 - 1"));
        }
        if rows.checked_mul(width) != Some(self.features.len()) {
            return Some(format!(
                "{rows} rows of {width} values need {} features, {} given",
                rows.saturating_mul(width),
                self.features.len()
            ));
        }
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return Some(format!(
                "{} classes; between 1 and {MAX_CLASSES} are possible",
                self.classes.len()
            ));
        }
        if let Some((row, label)) = first_beyond(&self.labels, self.classes.len()) {
            return Some(format!(
                "row {row}: label {label} is beyond the {} classes",
                self.classes.len()
            ));
        }
        if let Some(at) = self.features.iter().position(|value| !value.is_finite()) {
            return Some(format!(
                "row {}: feature {} is {}, not a finite number",
                at / width,
                at % width,
                self.features[at]
            ));
        }
        self.sites
            .as_ref()
            .and_then(|sites| site_fault(sites, rows))
    }

    /// Number of examples n; at least 1.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example; never true, since [`Dataset::new`] refuses it.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Name, as reports show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of each example.
    pub fn shape(&self) -> ExampleShape {
        self.shape
    }

    /// Names of the classes in label order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All features: n x `shape().len()`, row-major.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// The features of row `i`: `shape().len()` values.
    ///
    /// # Panics
    /// If `i` is not below [`Dataset::len`], like a slice.
    pub fn row(&self, i: usize) -> &[f32] {
        let width = self.shape.len();
        &self.features[i * width..(i + 1) * width]
    }

    /// Some rows, in the order given; with their owners, if there are any.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] for no row at all.
    ///
    /// # Panics
    /// If a row is not below [`Dataset::len`], like a slice.
    pub fn subset(&self, rows: &[u32]) -> Result<Self, DataError> {
        let mut features = Vec::with_capacity(rows.len() * self.shape.len());
        for row in rows {
            features.extend_from_slice(self.row(*row as usize));
        }
        let subset = Self::new(
            &*self.name,
            self.shape,
            features,
            rows.iter().map(|row| self.labels[*row as usize]).collect(),
            self.classes.clone(),
            self.sites.as_ref().map(|sites| sites.of_rows(rows)),
        )?;
        let target = self.target.as_ref().map(|target| NumericTarget {
            values: rows
                .iter()
                .map(|row| target.values[*row as usize])
                .collect(),
            scale: target.scale,
        });
        Ok(Self {
            target,
            class_weights: self.class_weights.clone(),
            augmentation: self.augmentation.clone(),
            ..subset
        })
    }

    /// The class of each row, as an index into [`Dataset::classes`].
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The natural owner of each row, where the data names one.
    pub fn sites(&self) -> Option<&Sites> {
        self.sites.as_ref()
    }

    /// Rows of each class.
    pub fn class_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }
}

impl fmt::Debug for Dataset {
    /// Name and sizes: the values of a large set would fill a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("rows", &self.labels.len())
            .field("shape", &self.shape)
            .field("classes", &self.classes.len())
            .field("sites", &self.sites.as_ref().map(|sites| &sites.names))
            .finish_non_exhaustive()
    }
}

fn first_beyond(indices: &[u32], bound: usize) -> Option<(usize, u32)> {
    indices
        .iter()
        .copied()
        .enumerate()
        .find(|&(_, index)| index as usize >= bound)
}

fn site_fault(sites: &Sites, rows: usize) -> Option<String> {
    if sites.of_row.len() != rows {
        return Some(format!("{rows} rows, but sites for {}", sites.of_row.len()));
    }
    first_beyond(&sites.of_row, sites.names.len()).map(|(row, site)| {
        format!(
            "row {row}: site {site} is beyond the {} sites",
            sites.names.len()
        )
    })
}

/// A training part, a test part of the same shape and classes, and what a reader of a report should know about them.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainTest {
    /// Examples that clients train on.
    pub train: Dataset,
    /// Examples that nobody trains on.
    pub test: Dataset,
    /// The columns of a table, in the order of the features; none for images.
    pub columns: Vec<Column>,
    /// What made them of rows as they were read; none for examples that were made otherwise.
    pub pipeline: Option<Pipeline>,
    /// Human sentences: how rows were held out, cells imputed, duplicates seen, files passed over.
    pub notes: Vec<String>,
}

/// A column of a table, and the features that it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, or its number where the table names none.
    pub name: String,
    /// Its features: one of a number, one for each code of a category.
    pub features: Range<usize>,
    /// Whether it holds codes.
    pub categorical: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| i.to_string()).collect()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let shape = ExampleShape::flat(2);
        let sites = |of_row: &[u32]| {
            Some(Sites {
                names: names(1),
                of_row: of_row.to_vec(),
            })
        };
        let cases = [
            (
                Dataset::new("d", ExampleShape::flat(0), vec![], vec![0], names(1), None),
                "examples of shape 1x1x0 hold nothing",
            ),
            (
                Dataset::new("d", shape, vec![], vec![], names(1), None),
                "no examples",
            ),
            (
                Dataset::new("d", shape, vec![0.0; 3], vec![0, 0], names(1), None),
                "2 rows of 2 values need 4 features, 3 given",
            ),
            (
                Dataset::new("d", shape, vec![0.0; 2], vec![0], names(0), None),
                "0 classes; between 1 and 10000 are possible",
            ),
            (
                Dataset::new(
                    "d",
                    shape,
                    vec![0.0, 0.0, 0.0, f32::NAN],
                    vec![0, 0],
                    names(1),
                    None,
                ),
                "row 1: feature 1 is NaN, not a finite number",
            ),
            (
                Dataset::new("d", shape, vec![0.0; 2], vec![0], names(1), sites(&[])),
                "1 rows, but sites for 0",
            ),
            (
                Dataset::new("d", shape, vec![0.0; 2], vec![0], names(1), sites(&[1])),
                "row 0: site 1 is beyond the 1 sites",
            ),
        ];
        for (result, expected) in cases {
            assert_eq!(
                result.unwrap_err().to_string(),
                format!("dataset 'd': {expected}")
            );
        }
    }
}
