//! `cloister evaluate`

mod number;
mod subgroups;

use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_config::Experiment;
use cloister_data::{ColumnRef, Dataset, Paths, RawData, TrainTest};
use cloister_host::{Groups, Judging, ThresholdChoice, headline, metrics};
use cloister_nn::metrics::{Bootstrap, Evaluation, Measures, Tally, ThresholdRule};
use cloister_nn::parallel;
use cloister_report::record::Quality;
use serde_json::json;

use crate::args::{EvaluateArgs, ThresholdBy};
use crate::commands::trained::Trained;
use crate::failure::Usage;
use crate::output;
use subgroups::{Grouped, grouped};

/// Classes of the largest confusion table that is printed.
const MOST_SHOWN: usize = 20;

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    check(args)?;
    let trained = Trained::open(&args.model, &args.set)?;
    let loaded = load(&trained, args.data.as_deref())?;
    if loaded.data.test.target().is_some() {
        return number::run(args, &trained, &loaded);
    }
    let test = &loaded.data.test;
    let classes = trained.classes(test);
    let model = trained.model(test.shape(), classes.len())?;
    let tally = |data: &Dataset| -> Result<Tally> {
        let labels = labels(data, &classes)?;
        Ok(parallel::logits_of(
            &model.model,
            &model.parameters,
            data.features(),
            &labels,
            args.threads.count(),
            trained.streams().evaluation(),
        ))
    };
    let judged = tally(test)?;
    let train = match loaded.trained_on && chooses(&trained.experiment, &classes) {
        true => Some(tally(&loaded.data.train)?),
        false => None,
    };
    let columns = columns(&loaded.raw, &trained.experiment, &args.subgroup)?;
    let words = format!("the {} training examples", loaded.data.train.len());
    let judging = Judging {
        chosen_on: train.as_ref().map(|tally| (tally, words)),
        threshold: threshold(args),
        specificity: args.specificity,
        bootstrap: Bootstrap {
            replicates: args.replicates,
            level: args.level,
            ..Bootstrap::default()
        },
        sites: test.sites().map(|sites| Groups {
            names: &sites.names,
            of_row: &sites.of_row,
        }),
        subgroups: args
            .subgroup
            .iter()
            .zip(&columns)
            .map(|(name, grouped)| (name.clone(), grouped.groups()))
            .collect(),
        ..Judging::of_run(&judged, &classes)
    };
    let (evaluation, quality, curves) = judging.judge(&trained.streams());
    let name = name(args, test);
    if args.json {
        return output::print_json(&json!({
            "model": trained.path,
            "data": name,
            "classes": classes,
            "metrics": evaluation,
            "quality": quality,
            "curves": curves,
        }));
    }
    output::print(&describe(&name, &classes, &evaluation, &quality))
}

/// What the examples are called.
fn name(args: &EvaluateArgs, test: &Dataset) -> String {
    match &args.data {
        Some(path) => path.display().to_string(),
        None => test.name().to_owned(),
    }
}

fn check(args: &EvaluateArgs) -> Result<()> {
    let unit = 0.0..=1.0;
    let shares = [
        ("--specificity", Some(args.specificity)),
        ("--threshold", args.threshold),
    ];
    for (flag, share) in shares {
        if let Some(share) = share.filter(|share| !unit.contains(share)) {
            bail!(Usage(format!("{flag} must be from 0 to 1, found {share}")));
        }
    }
    if !(args.level > 0.0 && args.level < 1.0) {
        bail!(Usage(format!(
            "--level must be between 0 and 1, found {}",
            args.level
        )));
    }
    if args.replicates > 1_000_000 {
        bail!(Usage(format!(
            "--replicates must be at most 1000000, found {}",
            args.replicates
        )));
    }
    Ok(())
}

fn threshold(args: &EvaluateArgs) -> ThresholdChoice {
    match (args.threshold, args.threshold_by) {
        (Some(threshold), _) => ThresholdChoice::Given(threshold),
        (None, ThresholdBy::Youden) => ThresholdChoice::Rule(ThresholdRule::Youden),
        (None, ThresholdBy::F1) => ThresholdChoice::Rule(ThresholdRule::F1),
        (None, ThresholdBy::Specificity) => {
            ThresholdChoice::Rule(ThresholdRule::Specificity(args.specificity))
        }
    }
}

/// Whether a threshold may be chosen on the training examples: not where a run promises privacy, which a figure made of them
/// without noise would break.
fn chooses(experiment: &Experiment, classes: &[String]) -> bool {
    classes.len() == 2 && experiment.privacy.is_none()
}

/// The examples to judge on, and what else is at hand.
struct Loaded {
    raw: RawData,
    data: TrainTest,
    /// Whether the training part is what the model was trained on.
    trained_on: bool,
}

/// The test examples: those of the run, or `other` read in the same way, prepared by the run's pipeline; where a run of before
/// has left none, by one that is fitted again to its training data if it is there.
fn load(trained: &Trained, other: Option<&Path>) -> Result<Loaded> {
    let experiment = &trained.experiment;
    let mut config = experiment.data.clone();
    let mut trained_on = true;
    if let Some(other) = other {
        let other = Paths::from(other.to_owned());
        let paths = config.path.as_ref();
        if !paths.is_some_and(|paths| paths.iter().all(Path::exists)) {
            trained_on = false;
            config.dataset = None;
            config.path = Some(other.clone());
            if trained.pipeline.is_none() {
                output::note(
                    "the run's training files are not at hand: where values are scaled, it is by the new data itself",
                );
            } else if config.positive.is_empty()
                && config.classes.is_empty()
                && config.target.is_none()
            {
                config.classes = trained.class_rules();
            }
        }
        config.test_path = Some(other);
    }
    let raw = cloister_data::open(&config, experiment.seed)?;
    let data = match &trained.pipeline {
        Some(pipeline) => raw.prepared(pipeline)?,
        None => raw.prepared(&raw.fit()?)?,
    };
    Ok(Loaded {
        raw,
        data,
        trained_on,
    })
}

/// The groups of each column that was asked for.
fn columns(raw: &RawData, experiment: &Experiment, names: &[String]) -> Result<Vec<Grouped>> {
    let missing = &experiment.data.missing;
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = match name.parse() {
            Ok(index) => ColumnRef::Index(index),
            Err(_) => ColumnRef::Name(name.clone()),
        };
        let cells: Vec<Option<String>> = raw
            .test_cells(&column)
            .with_context(|| format!("--subgroup {name}"))?
            .into_iter()
            .map(str::trim)
            .map(|cell| (!missing.iter().any(|word| word == cell)).then(|| cell.to_owned()))
            .collect();
        match grouped(&cells) {
            Ok(groups) => columns.push(groups),
            Err(reason) => bail!("--subgroup {name}: {reason}"),
        }
    }
    Ok(columns)
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

fn describe(name: &str, classes: &[String], evaluation: &Evaluation, quality: &Quality) -> String {
    let mut text = format!(
        "{name}: {} examples\n\n{}",
        output::grouped(evaluation.examples as u64),
        quality.text(
            &metrics(&Measures::Classes(evaluation.clone())),
            headline(classes.len())
        ),
    );
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
