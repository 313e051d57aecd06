//! `cloister data prepare | apply`

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_data::decode::Records;
use cloister_data::{Column, Dataset, ExampleShape, Pipeline, table_reader};

use crate::args::ConfigArgs;
use crate::commands::load;
use crate::output;

/// Writes the pipeline that a config means and what it makes of the rows.
pub(super) fn run(config: &ConfigArgs, out: &Path) -> Result<()> {
    let loaded = load(&config.config, &config.overrides.arguments())?;
    let experiment = &loaded.experiment;
    let raw = cloister_data::open(&experiment.data, experiment.seed)?;
    let pipeline = raw.fit()?;
    let data = raw.prepared(&pipeline)?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let write = |name: &str, content: &[u8]| {
        let path = out.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write("pipeline.json", pipeline.to_json()?.as_bytes())?;
    let names = feature_names(&pipeline.columns(), pipeline.shape());
    for (file, part) in [("train.csv", &data.train), ("test.csv", &data.test)] {
        let path = out.join(file);
        write_part(&path, &names, part)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut text = format!(
        "{}: {} features, {} training rows, {} test rows\n",
        data.train.name(),
        output::grouped(data.train.shape().len() as u64),
        output::grouped(data.train.len() as u64),
        output::grouped(data.test.len() as u64),
    );
    text += &format!("{}: pipeline.json, train.csv, test.csv\n", out.display());
    for note in &data.notes {
        text += &format!("note: {note}\n");
    }
    output::print(&text)
}

/// Prepares the rows of a table by a pipeline from a file, row by row.
pub(super) fn apply(pipeline: &Path, table: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(pipeline)
        .with_context(|| format!("cannot read {}", pipeline.display()))?;
    let pipeline = Pipeline::from_json(&text).with_context(|| pipeline.display().to_string())?;
    let file = table.display().to_string();
    let mut records = table_reader(table)?;
    let names = feature_names(&pipeline.columns(), pipeline.shape());
    let failed = || format!("cannot write {}", out.display());
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(out).with_context(failed)?);
    header(&mut writer, &names, false).with_context(failed)?;
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

fn write_part(path: &Path, names: &[String], part: &Dataset) -> Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(path)?);
    header(&mut writer, names, true)?;
    for row in 0..part.len() {
        let class = &part.classes()[part.labels()[row] as usize];
        line(&mut writer, part.row(row), Some(class))?;
    }
    Ok(writer.flush()?)
}

fn header(writer: &mut impl Write, names: &[String], labelled: bool) -> Result<()> {
    let label = labelled.then(|| "class".to_owned());
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
