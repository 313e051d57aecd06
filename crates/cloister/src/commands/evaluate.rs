//! `cloister evaluate`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cloister_config::{DATA_VARIABLE, Experiment};
use cloister_data::{Dataset, Paths};
use cloister_nn::metrics::Evaluation;
use cloister_nn::model_file::{self, ModelFile};
use cloister_nn::{InputShape, Model, parallel};
use cloister_protocol::Streams;
use cloister_report::record::file_name;
use serde_json::json;

use crate::args::EvaluateArgs;
use crate::output;

/// Classes of the largest confusion table that is printed.
const MOST_SHOWN: usize = 20;

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let path = model_path(&args.model);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = model_file::decode(&bytes).with_context(|| path.display().to_string())?;
    let experiment = experiment(&file, &path, &args.set)?;
    let data = load(&experiment, args.data.as_deref())?;
    let classes = classes(&file, &data);
    let labels = labels(&data, &classes)?;
    let model = Model::build(&experiment.model, input(&data), classes.len())?;
    let parameters = file
        .parameters_for(model.layout())
        .with_context(|| format!("{} does not fit {}", path.display(), data.name()))?;
    let evaluation = parallel::evaluate(
        &model,
        &parameters,
        data.features(),
        &labels,
        args.threads.count(),
        Streams::new(experiment.seed).evaluation(),
    );
    let name = match &args.data {
        Some(path) => path.display().to_string(),
        None => data.name().to_owned(),
    };
    if args.json {
        return output::print_json(&json!({
            "model": path,
            "data": name,
            "classes": classes,
            "metrics": evaluation,
        }));
    }
    output::print(&describe(&name, &classes, &evaluation))
}

fn model_path(given: &Path) -> PathBuf {
    match given.is_dir() {
        true => given.join(file_name::MODEL),
        false => given.to_owned(),
    }
}

/// The experiment that a run has written into its model file.
fn experiment(file: &ModelFile, path: &Path, set: &[String]) -> Result<Experiment> {
    let Some(config) = file.metadata.get("cloister.config") else {
        bail!(
            "{} does not say how it was trained: it was not written by a run",
            path.display()
        );
    };
    let data_root = std::env::var(DATA_VARIABLE).ok();
    let loaded = cloister_config::parse(config.clone(), path, set, data_root.as_deref())?;
    Ok(loaded.experiment)
}

/// The test examples: those of the run, or `other` read in the same way. Columns and pixels are scaled by the
/// statistics of the run's training data if it is there.
fn load(experiment: &Experiment, other: Option<&Path>) -> Result<Dataset> {
    let mut config = experiment.data.clone();
    if let Some(other) = other {
        let other = Paths::from(other.to_owned());
        let trained_on = config.path.clone();
        match trained_on.filter(|paths| paths.iter().all(Path::exists)) {
            Some(_) => {}
            None => {
                output::note(
                    "the run's training files are not at hand: where values are scaled, it is by the new data itself",
                );
                config.dataset = None;
                config.path = Some(other.clone());
            }
        }
        config.test_path = Some(other);
    }
    Ok(cloister_data::load(&config, experiment.seed)?.test)
}

/// The classes that the model was trained on, in the order of its outputs.
fn classes(file: &ModelFile, data: &Dataset) -> Vec<String> {
    match file.metadata.get("cloister.classes") {
        Some(names) => names.split('\n').map(str::to_owned).collect(),
        None => data.classes().to_vec(),
    }
}

/// The labels as the model counts them: data of another source may have its classes in another order, or not all.
fn labels(data: &Dataset, classes: &[String]) -> Result<Vec<u32>> {
    let mut renumbered = Vec::new();
    for name in data.classes() {
        match classes.iter().position(|class| class == name) {
            Some(place) => renumbered.push(place as u32),
            None => bail!(
                "{} has the class '{name}', which the model does not know; it knows {}",
                data.name(),
                classes.join(", "),
            ),
        }
    }
    Ok(data
        .labels()
        .iter()
        .map(|label| renumbered[*label as usize])
        .collect())
}

fn input(data: &Dataset) -> InputShape {
    let shape = data.shape();
    InputShape {
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
    }
}

fn describe(name: &str, classes: &[String], evaluation: &Evaluation) -> String {
    let mut text = format!(
        "{name}: {} examples\naccuracy           {}\nbalanced accuracy  {}\n",
        output::grouped(evaluation.examples as u64),
        output::percent(evaluation.accuracy),
        output::percent(evaluation.balanced_accuracy),
    );
    if let Some(auroc) = evaluation.auroc {
        text += &format!("auroc              {auroc:.4}\n");
    }
    text += &format!("loss               {:.4}\n", evaluation.loss);
    if classes.len() <= MOST_SHOWN {
        let header: Vec<&str> = std::iter::once("true \\ predicted")
            .chain(classes.iter().map(String::as_str))
            .collect();
        let mut table = output::table(&header);
        for (class, counts) in classes.iter().zip(&evaluation.confusion) {
            let counts = counts.iter().map(|count| output::grouped(*count));
            table.add_row(std::iter::once(class.clone()).chain(counts));
        }
        output::align_right(&mut table, 1);
        text += &format!("\n{}", output::lines(&table));
    }
    text
}
