//! `cloister data prepare | apply`

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cloister_config::Experiment;
use cloister_data::decode::Records;
use cloister_data::{Column, ExampleShape, LargePart, LargeTable, Pipeline, table_reader};

use crate::args::ConfigArgs;
use crate::commands::load;
use crate::output;

/// Tables of more bytes are fitted in passes over their files and never held as a whole.
const LARGE: u64 = 64 << 20;

/// Writes the pipeline that a config means and what it makes of the rows.
pub(super) fn run(config: &ConfigArgs, out: &Path) -> Result<()> {
    let loaded = load(&config.config, &config.overrides.arguments())?;
    let experiment = &loaded.experiment;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let large = cloister_data::open_large(&experiment.data, experiment.seed, LARGE, threads)?;
    let written = match large {
        Some(table) => in_passes(&table, out)?,
        None => at_once(experiment, out)?,
    };
    let [train, test] = written.rows;
    let mut text = format!(
        "{}: {} features, {} training rows, {} test rows\n",
        written.name,
        output::grouped(written.features as u64),
        output::grouped(train),
        output::grouped(test),
    );
    text += &format!("{}: pipeline.json, train.csv, test.csv\n", out.display());
    for note in &written.notes {
        text += &format!("note: {note}\n");
    }
    output::print(&text)
}

/// What was written.
struct Written {
    name: String,
    features: usize,
    /// Of the training and of the test part.
    rows: [u64; 2],
    notes: Vec<String>,
}

fn at_once(experiment: &Experiment, out: &Path) -> Result<Written> {
    let raw = cloister_data::open(&experiment.data, experiment.seed)?;
    let pipeline = raw.fit()?;
    let data = raw.prepared(&pipeline)?;
    let mut parts = parts(&pipeline, out)?;
    for (part, rows) in parts.iter_mut().zip([&data.train, &data.test]) {
        for row in 0..rows.len() {
            match rows.target() {
                Some(target) => part.row(rows.row(row), &target.values[row].to_string())?,
                None => part.row(rows.row(row), &rows.classes()[rows.labels()[row] as usize])?,
            }
        }
    }
    Ok(Written {
        name: data.train.name().to_owned(),
        features: data.train.shape().len(),
        rows: finished(parts)?,
        notes: data.notes,
    })
}

fn in_passes(table: &LargeTable, out: &Path) -> Result<Written> {
    let pipeline = table.fit()?;
    let mut parts = parts(&pipeline, out)?;
    table.prepare(&pipeline, |part, features, class| {
        parts[usize::from(part == LargePart::Test)].row(features, &table.classes()[class as usize])
    })?;
    Ok(Written {
        name: table.name().to_owned(),
        features: pipeline.shape().len(),
        rows: finished(parts)?,
        notes: table.notes(),
    })
}

/// A file of prepared rows.
struct PreparedFile {
    path: PathBuf,
    writer: BufWriter<File>,
    rows: u64,
}

impl PreparedFile {
    fn row(&mut self, features: &[f32], class: &str) -> Result<()> {
        self.rows += 1;
        line(&mut self.writer, features, Some(class)).with_context(|| failed(&self.path))
    }
}

fn failed(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Writes the pipeline, and begins the files of the training and of the test part.
fn parts(pipeline: &Pipeline, out: &Path) -> Result<[PreparedFile; 2]> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let path = out.join("pipeline.json");
    fs::write(&path, pipeline.to_json()?).with_context(|| failed(&path))?;
    let names = feature_names(&pipeline.columns(), pipeline.shape());
    let label = match pipeline.target() {
        Some(_) => "target",
        None => "class",
    };
    let begin = |name: &str| -> Result<PreparedFile> {
        let path = out.join(name);
        let file = File::create(&path).with_context(|| failed(&path))?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        header(&mut writer, &names, Some(label)).with_context(|| failed(&path))?;
        Ok(PreparedFile {
            path,
            writer,
            rows: 0,
        })
    };
    Ok([begin("train.csv")?, begin("test.csv")?])
}

/// The rows of each file, once all are on the disk.
fn finished(parts: [PreparedFile; 2]) -> Result<[u64; 2]> {
    let mut rows = [0; 2];
    for (rows, mut part) in rows.iter_mut().zip(parts) {
        part.writer.flush().with_context(|| failed(&part.path))?;
        *rows = part.rows;
    }
    Ok(rows)
}

/// Prepares the rows of a table by a pipeline from a file, row by row.
pub(super) fn apply(pipeline: &Path, table: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(pipeline)
        .with_context(|| format!("cannot read {}", pipeline.display()))?;
    let pipeline = Pipeline::from_json(&text).with_context(|| pipeline.display().to_string())?;
    let file = table.display().to_string();
    let mut records = table_reader(table)?;
    let names = feature_names(&pipeline.columns(), pipeline.shape());
    let failed = || failed(out);
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(out).with_context(failed)?);
    header(&mut writer, &names, None).with_context(failed)?;
    let rows = prepared(&pipeline, &mut records, &file, &mut writer)?;
    writer.flush().with_context(failed)?;
    output::print(&format!(
        "{}: {} rows of {} features",
        out.display(),
        output::grouped(rows),
        output::grouped(names.len() as u64)
    ))
}

fn prepared<R: Read>(
    pipeline: &Pipeline,
    records: &mut Records<R>,
    file: &str,
    writer: &mut impl Write,
) -> Result<u64> {
    let Some(mut batch) = records.batch()? else {
        bail!("{file}: holds no row");
    };
    // A table whose pipeline was made of names begins with them.
    let cells = |row: usize, batch: &cloister_data::decode::Batch| -> Vec<String> {
        (0..batch.columns())
            .map(|column| batch.cell(row, column).to_owned())
            .collect()
    };
    let first = cells(0, &batch);
    let named = pipeline.is_named();
    let binding = pipeline
        .bind(named.then_some(&first[..]), batch.columns())
        .with_context(|| file.to_owned())?;
    if !binding.passed_over().is_empty() {
        output::note(&format!(
            "{file}: columns that are not read: {}",
            binding.passed_over().join(", ")
        ));
    }
    let mut from = usize::from(named);
    let mut rows = 0;
    loop {
        for row in from..batch.rows() {
            let record: Vec<&str> = (0..batch.columns())
                .map(|column| batch.cell(row, column))
                .collect();
            let features = binding
                .apply(&record)
                .with_context(|| format!("{file}:{}", batch.line(row)))?;
            line(writer, &features, None)?;
            rows += 1;
        }
        from = 0;
        match records.batch()? {
            Some(next) => batch = next,
            None => return Ok(rows),
        }
    }
}

/// A name for each feature: the column's, with a number where it became several.
fn feature_names(columns: &[Column], shape: ExampleShape) -> Vec<String> {
    if columns.is_empty() {
        return (0..shape.len()).map(|place| format!("x{place}")).collect();
    }
    let name = |column: &Column, place: usize| match column.features.len() {
        1 => column.name.clone(),
        _ => format!("{}:{}", column.name, place - column.features.start),
    };
    let features = columns.iter();
    features
        .flat_map(|column| {
            column
                .features
                .clone()
                .map(move |place| name(column, place))
        })
        .collect()
}

fn header(writer: &mut impl Write, names: &[String], label: Option<&str>) -> Result<()> {
    let label = label.map(str::to_owned);
    let names: Vec<String> = names
        .iter()
        .chain(&label)
        .map(|name| quoted(name))
        .collect();
    Ok(writeln!(writer, "{}", names.join(","))?)
}

/// The features with as many digits as bring them back to the bit.
fn line(writer: &mut impl Write, features: &[f32], class: Option<&str>) -> Result<()> {
    for (place, feature) in features.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(writer, "{comma}{feature}")?;
    }
    match class {
        Some(class) => writeln!(writer, ",{}", quoted(class))?,
        None => writeln!(writer)?,
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
