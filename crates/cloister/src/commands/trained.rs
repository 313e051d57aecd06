//! A model that a run has left, with what is needed to ask it something.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cloister_config::{DATA_VARIABLE, Experiment};
use cloister_data::{ClassRule, Dataset, ExampleShape, Pipeline};
use cloister_nn::model_file::{self, ModelFile};
use cloister_nn::{InputShape, Model};
use cloister_protocol::Streams;
use cloister_report::record::{Summary, file_name};

/// What a run has left of its model.
pub(crate) struct Trained {
    /// The model file.
    pub(crate) path: PathBuf,
    file: ModelFile,
    /// The experiment that trained it.
    pub(crate) experiment: Experiment,
    /// What makes examples of rows and pictures; none where the run was made before pipelines were kept.
    pub(crate) pipeline: Option<Pipeline>,
}

/// A model and its parameters.
pub(crate) struct Built {
    pub(crate) model: Model,
    pub(crate) parameters: Vec<f32>,
}

impl Trained {
    /// Opens a run folder or a model file; the pipeline is looked for beside it.
    ///
    /// # Errors
    /// When the model cannot be read, was not written by a run, or the pipeline is damaged.
    pub(crate) fn open(given: &Path, set: &[String]) -> Result<Self> {
        let path = match given.is_dir() {
            true => given.join(file_name::MODEL),
            false => given.to_owned(),
        };
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = model_file::decode(&bytes).with_context(|| path.display().to_string())?;
        let Some(config) = file.metadata.get("cloister.config") else {
            bail!(
                "{} does not say how it was trained: it was not written by a run",
                path.display()
            );
        };
        let data_root = std::env::var(DATA_VARIABLE).ok();
        let loaded = cloister_config::parse(config.clone(), &path, set, data_root.as_deref())?;
        Ok(Self {
            pipeline: pipeline(&path.with_file_name(file_name::PIPELINE))?,
            experiment: loaded.experiment,
            path,
            file,
        })
    }

    /// The run's random streams.
    pub(crate) fn streams(&self) -> Streams {
        Streams::new(self.experiment.seed)
    }

    /// The classes that the model was trained on, in the order of its outputs; those of `data` where it does not say.
    pub(crate) fn classes(&self, data: &Dataset) -> Vec<String> {
        self.own_classes()
            .unwrap_or_else(|| data.classes().to_vec())
    }

    /// The same, from the file alone.
    pub(crate) fn own_classes(&self) -> Option<Vec<String>> {
        let names = self.file.metadata.get("cloister.classes")?;
        Some(names.split('\n').map(str::to_owned).collect())
    }

    /// The classes as a config lists them: each stands for the label of its name.
    pub(crate) fn class_rules(&self) -> Vec<ClassRule> {
        let rule = |name: String| ClassRule {
            labels: vec![name.clone()],
            name,
        };
        self.own_classes().into_iter().flatten().map(rule).collect()
    }

    /// The model for examples of a shape.
    ///
    /// # Errors
    /// When the file is none of such a model.
    pub(crate) fn model(&self, shape: ExampleShape, classes: usize) -> Result<Built> {
        let input = InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let model = match self.experiment.data.target {
            Some(_) => Model::build_for_numbers(&self.experiment.model, input)?,
            None => Model::build(&self.experiment.model, input, classes)?,
        };
        let parameters = self.file.parameters_for(model.layout()).with_context(|| {
            format!(
                "{} does not fit examples of shape {shape}",
                self.path.display()
            )
        })?;
        Ok(Built { model, parameters })
    }

    /// The threshold that the run chose for the second of two classes, if its summary lies beside the model.
    pub(crate) fn chosen_threshold(&self) -> Option<f64> {
        let summary = Summary::read(self.path.parent()?).ok()??;
        Some(summary.quality?.thresholds?.chosen.threshold)
    }
}

fn pipeline(path: &Path) -> Result<Option<Pipeline>> {
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pipeline = Pipeline::from_json(&text).with_context(|| path.display().to_string())?;
    Ok(Some(pipeline))
}
