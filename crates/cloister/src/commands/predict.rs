//! `cloister predict`

mod pictures;
mod records;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_data::{DataError, Pipeline, TargetScale};
use cloister_nn::Workspace;
use cloister_nn::metrics::probabilities;
use cloister_protocol::Streams;
use rand_chacha::ChaCha8Rng;

use crate::args::PredictArgs;
use crate::commands::trained::{Built, Trained};
use crate::failure::Usage;
use crate::output;

/// Rows that share a stream of a bottleneck's noise, as in evaluation.
const BLOCK: u64 = 64;

pub(crate) fn run(args: &PredictArgs) -> Result<()> {
    if let Some(threshold) = args
        .threshold
        .filter(|threshold| !(0.0..=1.0).contains(threshold))
    {
        bail!(Usage(format!(
            "--threshold must be from 0 to 1, found {threshold}"
        )));
    }
    let trained = Trained::open(&args.model, &[])?;
    let Some(pipeline) = &trained.pipeline else {
        bail!(
            "{} has no pipeline.json beside it, which says how rows become examples: it is of a run before pipelines were kept, \
             or was copied without",
            trained.path.display()
        );
    };
    let classes = trained
        .own_classes()
        .unwrap_or_else(|| pipeline.classes().to_vec());
    let built = trained.model(pipeline.shape(), classes.len())?;
    let scale = pipeline.target();
    let alarm = match scale {
        Some(_) => no_alarm(args)?,
        None => alarm(args, &trained, &classes)?,
    };
    let mut answers = Answers {
        scorer: Scorer::new(&built, trained.streams()),
        lines: lines(args)?,
        classes,
        scale,
        alarm,
        only_alerts: args.only_alerts,
        every_line: args.input == Path::new("-"),
        skip_faulty: args.skip_faulty,
        rows: 0,
        alerts: 0,
        faulty: 0,
    };
    match is_table(pipeline) {
        true => records::answer(args, &trained, pipeline, &mut answers)?,
        false => pictures::answer(args, pipeline, &mut answers)?,
    }
    answers.finish()
}

/// A pipeline of images has no columns.
fn is_table(pipeline: &Pipeline) -> bool {
    !pipeline.columns().is_empty()
}

fn lines(args: &PredictArgs) -> Result<csv::Writer<Box<dyn Write>>> {
    let out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(io::stdout()),
    };
    Ok(csv::Writer::from_writer(out))
}

/// What raises an alarm: a class, by its place, and the probability from which on it does.
struct Alarm {
    class: usize,
    threshold: f64,
}

/// The alarm that was asked for; that of the run's own threshold, where only the class or `--only-alerts` says so.
fn alarm(args: &PredictArgs, trained: &Trained, classes: &[String]) -> Result<Option<Alarm>> {
    if args.threshold.is_none() && args.class.is_none() && !args.only_alerts {
        return Ok(None);
    }
    let class = match &args.class {
        Some(name) => match classes.iter().position(|class| class == name) {
            Some(place) => place,
            None => bail!("--class {name}: the model knows {}", classes.join(", ")),
        },
        None if classes.len() == 2 => 1,
        None => bail!(Usage(format!(
            "--class is needed to say which of the {} classes raises an alert",
            classes.len()
        ))),
    };
    let chosen = || match (classes.len(), class) {
        (2, 1) => trained.chosen_threshold(),
        _ => None,
    };
    let threshold = match args.threshold {
        Some(threshold) => threshold,
        None => {
            let chosen = chosen();
            let threshold = chosen.unwrap_or(0.5);
            let from = if chosen.is_some() {
                ", chosen when the run ended"
            } else {
                ""
            };
            output::note(&format!(
                "threshold for {}: {threshold}{from}",
                classes[class]
            ));
            threshold
        }
    };
    Ok(Some(Alarm { class, threshold }))
}

/// Refuses what is asked of classes for a model that answers with a number.
fn no_alarm(args: &PredictArgs) -> Result<Option<Alarm>> {
    if args.threshold.is_some() || args.class.is_some() || args.only_alerts {
        bail!(Usage(
            "alerts are of classes, and this model answers with a number".to_owned()
        ));
    }
    Ok(None)
}

/// The model at work on one row after the other: the same bits whether rows come from a file or one by one.
struct Scorer<'m> {
    built: &'m Built,
    workspace: Workspace,
    streams: Streams,
    /// What a bottleneck draws from, for the block of rows in hand.
    noise: Option<ChaCha8Rng>,
    rows: u64,
}

impl<'m> Scorer<'m> {
    fn new(built: &'m Built, streams: Streams) -> Self {
        Self {
            workspace: built.model.workspace(1),
            built,
            streams,
            noise: None,
            rows: 0,
        }
    }

    /// The model's outputs.
    fn outputs(&mut self, features: &[f32]) -> &[f32] {
        let model = &self.built.model;
        if model.noise_len() > 0 {
            if self.rows.is_multiple_of(BLOCK) {
                let block = u32::try_from(self.rows / BLOCK).unwrap_or(u32::MAX);
                self.noise = Some(self.streams.evaluation()(block));
            }
            if let Some(noise) = &mut self.noise {
                self.workspace.draw_noise(noise, 1);
            }
        }
        self.rows += 1;
        model.logits(&self.built.parameters, features, 1, &mut self.workspace)
    }
}

/// Where answers go.
struct Answers<'m> {
    scorer: Scorer<'m>,
    lines: csv::Writer<Box<dyn Write>>,
    classes: Vec<String>,
    /// By what the number is standardised, where the answer is one.
    scale: Option<TargetScale>,
    alarm: Option<Alarm>,
    only_alerts: bool,
    /// Whether each line is flushed, for whoever waits for it.
    every_line: bool,
    skip_faulty: bool,
    rows: u64,
    alerts: u64,
    faulty: u64,
}

impl Answers<'_> {
    /// Writes the header: `row`, the columns that are kept, `class`, `alert` with an alarm, and `p_CLASS` for each class; of
    /// numbers `prediction` behind the columns.
    fn begin(&mut self, row: &str, kept: &[String]) -> Result<()> {
        let mut header = vec![row.to_owned()];
        header.extend(kept.iter().cloned());
        if self.scale.is_some() {
            header.push("prediction".to_owned());
        } else {
            header.push("class".to_owned());
            header.extend(self.alarm.is_some().then(|| "alert".to_owned()));
            header.extend(self.classes.iter().map(|class| format!("p_{class}")));
        }
        self.lines.write_record(&header)?;
        if self.every_line {
            self.lines.flush()?;
        }
        Ok(())
    }

    /// Answers for a row; one that could not be made an example ends everything, unless such rows are to be skipped.
    fn answer(
        &mut self,
        row: &str,
        kept: &[&str],
        features: Result<Vec<f32>, DataError>,
    ) -> Result<()> {
        self.rows += 1;
        let features = match features {
            Ok(features) => features,
            Err(error) if self.skip_faulty => {
                self.faulty += 1;
                output::warning(&format!("row {row}: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error).with_context(|| format!("row {row}")),
        };
        let outputs = self.scorer.outputs(&features);
        if outputs.iter().any(|output| output.is_nan()) {
            bail!(
                "row {row}: the model gives no number; its parameters are not finite or far too large"
            );
        }
        let mut line = vec![row.to_owned()];
        line.extend(kept.iter().map(|cell| (*cell).to_owned()));
        if let (Some(scale), [output]) = (&self.scale, outputs) {
            // As many digits as the model's arithmetic has.
            line.push((scale.natural(*output) as f32).to_string());
            return self.write(&line);
        }
        let scores = probabilities(outputs, self.classes.len());
        let alert = self
            .alarm
            .as_ref()
            .map(|alarm| scores[alarm.class] >= alarm.threshold);
        self.alerts += u64::from(alert == Some(true));
        if self.only_alerts && alert != Some(true) {
            return Ok(());
        }
        line.push(self.classes[most_likely(&scores)].clone());
        line.extend(alert.map(|alert| u8::from(alert).to_string()));
        line.extend(scores.iter().map(|score| format!("{score:.6}")));
        self.write(&line)
    }

    fn write(&mut self, line: &[String]) -> Result<()> {
        self.lines.write_record(line)?;
        if self.every_line {
            self.lines.flush()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.lines.flush()?;
        let mut words = format!("{} rows", output::grouped(self.rows));
        if self.alarm.is_some() {
            words += &format!(", {} alerts", output::grouped(self.alerts));
        }
        if self.faulty > 0 {
            words += &format!(", {} skipped", output::grouped(self.faulty));
        }
        output::note(&words);
        Ok(())
    }
}

/// The first of the largest; of two that are even the first, as in evaluation.
fn most_likely(scores: &[f64]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}
