//! A fitted preparation.

use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::category::ClassCounts;
use super::images::ImagePipeline;
use super::plan::PreparePlan;
use super::table::Coded;
use crate::dataset::{Column, ExampleShape, TargetScale};
use crate::error::DataError;
use crate::statistics::TableStatistics;

/// Everything that is done to a row before a model sees it, with the figures of the training rows that it needs.
///
/// ```
/// use cloister_data::{DataConfig, Pipeline, open};
///
/// let raw = open(&DataConfig::bundled("heart-disease"), 1)?;
/// let plan = raw.plan().unwrap();
/// let pipeline = Pipeline::fit(plan, &raw.statistics()?)?;
/// let data = raw.prepared(&pipeline)?;
/// assert_eq!(data.train.shape(), pipeline.shape());
/// # Ok::<(), cloister_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    pub(crate) classes: Vec<String>,
    pub(crate) inputs: Inputs,
}

/// What is prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "inputs", rename_all = "kebab-case")]
pub(crate) enum Inputs {
    Table(Coded),
    Images(ImagePipeline),
}

impl Pipeline {
    /// Joins the plan of a table with what its question was answered.
    ///
    /// # Errors
    /// [`DataError::Statistics`] for an answer to another question, [`DataError::Setting`] for a column that cannot be
    /// coded as the plan says.
    pub fn fit(plan: &PreparePlan, known: &TableStatistics) -> Result<Self, DataError> {
        Self::fit_with(plan, known, None)
    }

    /// As [`Pipeline::fit`], with the rows of each class for each category of the columns that are coded by them.
    pub(crate) fn fit_with(
        plan: &PreparePlan,
        known: &TableStatistics,
        targets: Option<&[ClassCounts]>,
    ) -> Result<Self, DataError> {
        Ok(Self {
            classes: plan.classes.clone(),
            inputs: Inputs::Table(Coded::fit(plan, known, targets)?),
        })
    }

    /// The pipeline of images.
    pub(crate) fn of_images(classes: &[String], images: ImagePipeline) -> Self {
        Self {
            classes: classes.to_vec(),
            inputs: Inputs::Images(images),
        }
    }

    /// Names of the classes in order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Shape of an example.
    pub fn shape(&self) -> ExampleShape {
        match &self.inputs {
            Inputs::Table(coded) => ExampleShape::flat(coded.width()),
            Inputs::Images(images) => images.shape,
        }
    }

    /// The columns of a table, in the order of the features; none for images.
    pub fn columns(&self) -> Vec<Column> {
        match &self.inputs {
            Inputs::Table(coded) => coded.described(),
            Inputs::Images(_) => Vec::new(),
        }
    }

    /// By what the number that a model predicts is standardised, where it predicts one; its name is the only class.
    pub fn target(&self) -> Option<TargetScale> {
        match &self.inputs {
            Inputs::Table(coded) => coded.target,
            Inputs::Images(_) => None,
        }
    }

    /// Whether it was made of a table whose columns have names.
    pub fn is_named(&self) -> bool {
        match &self.inputs {
            Inputs::Table(coded) => coded.plan.named,
            Inputs::Images(_) => false,
        }
    }

    /// How training images are changed at random, if they are.
    pub fn augment(&self) -> Option<&AugmentConfig> {
        match &self.inputs {
            Inputs::Images(images) => images.steps.augment.as_ref(),
            Inputs::Table(_) => None,
        }
    }

    /// The coding of a table.
    pub(crate) fn table(&self) -> Result<&Coded, DataError> {
        match &self.inputs {
            Inputs::Table(coded) => Ok(coded),
            Inputs::Images(_) => Err(DataError::statistics(
                "made for images, but this is a table",
            )),
        }
    }

    /// The coding of images.
    pub(crate) fn images(&self) -> Result<&ImagePipeline, DataError> {
        match &self.inputs {
            Inputs::Images(images) => Ok(images),
            Inputs::Table(_) => Err(DataError::statistics(
                "made for a table, but these are images",
            )),
        }
    }
}
