//! Rows of a table, from a file or as they come.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_data::{Binding, Pipeline};
use csv::StringRecord;

use super::Answers;
use crate::args::PredictArgs;
use crate::commands::trained::Trained;
use crate::output;

/// Most bytes of a first line.
const LONGEST_HEADER: u64 = 64 << 20;

/// Answers for each record of the input, in order; `-` is the standard input, of which each line is answered as it comes.
pub(super) fn answer(
    args: &PredictArgs,
    trained: &Trained,
    pipeline: &Pipeline,
    answers: &mut Answers<'_>,
) -> Result<()> {
    let mut input = open(&args.input)?;
    let first = first_line(&mut input, args)?;
    let delimiter = trained
        .experiment
        .data
        .delimiter
        .unwrap_or_else(|| delimiter(&first));
    let Ok(delimiter) = u8::try_from(delimiter) else {
        bail!("data.delimiter '{delimiter}' is no ASCII character");
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(Cursor::new(first).chain(input));
    let mut record = StringRecord::new();
    let name = name_of(args);
    if !next(&mut reader, &mut record, args)? {
        bail!("{name}: holds nothing");
    }
    let (binding, header) = bind(pipeline, &record, args)?;
    let kept = kept(args, header.as_ref())?;
    answers.begin("row", &args.keep)?;
    let mut row = 0_u64;
    let mut at_hand = header.is_none();
    while at_hand || next(&mut reader, &mut record, args)? {
        at_hand = false;
        // A blank line is no record.
        if record.len() == 1 && record[0].trim().is_empty() && pipeline.columns().len() > 1 {
            continue;
        }
        row += 1;
        let cells: Vec<&str> = record.iter().collect();
        let line = record.position().map_or(0, csv::Position::line);
        let kept: Vec<&str> = kept
            .iter()
            .map(|place| record.get(*place).unwrap_or(""))
            .collect();
        let answered = answers.answer(&row.to_string(), &kept, binding.apply(&cells));
        answered.with_context(|| format!("{name}: line {line}"))?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// What the input is called in messages.
fn name_of(args: &PredictArgs) -> String {
    match args.input.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => args.input.display().to_string(),
    }
}

/// The first line that is not blank, without the mark that some programs set before it.
fn first_line(input: &mut dyn BufRead, args: &PredictArgs) -> Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        let read = input
            .take(LONGEST_HEADER)
            .read_line(&mut line)
            .with_context(|| format!("{}: the first line cannot be read", name_of(args)))?;
        if read == 0 || !line.trim().is_empty() {
            break;
        }
    }
    Ok(line
        .strip_prefix('\u{feff}')
        .map_or(line.clone(), str::to_owned))
}

/// The character that the first line has most of: comma, semicolon or tab.
fn delimiter(line: &str) -> char {
    let count = |delimiter: char| line.matches(delimiter).count();
    let mut best = ',';
    for other in [';', '\t'] {
        if count(other) > count(best) {
            best = other;
        }
    }
    best
}

fn next<R: Read>(
    reader: &mut csv::Reader<R>,
    record: &mut StringRecord,
    args: &PredictArgs,
) -> Result<bool> {
    reader
        .read_record(record)
        .with_context(|| format!("{}: cannot be read on", name_of(args)))
}

/// The places of the pipeline's columns, and the header if the first record is one.
fn bind<'p>(
    pipeline: &'p Pipeline,
    first: &StringRecord,
    args: &PredictArgs,
) -> Result<(Binding<'p>, Option<StringRecord>)> {
    let name = name_of(args);
    // A table without a header has numbers for names.
    let named = pipeline
        .columns()
        .iter()
        .any(|column| column.name.parse::<usize>().is_err());
    if args.no_header || !named {
        let bound = pipeline.bind::<&str>(None, first.len());
        return Ok((bound.with_context(|| name.clone())?, None));
    }
    let header: Vec<&str> = first.iter().collect();
    let binding = pipeline
        .bind(Some(&header), header.len())
        .with_context(|| name.clone())?;
    if !binding.passed_over().is_empty() {
        output::note(&format!("not read: {}", binding.passed_over().join(", ")));
    }
    Ok((binding, Some(first.clone())))
}

/// The places of the columns that are carried along.
fn kept(args: &PredictArgs, header: Option<&StringRecord>) -> Result<Vec<usize>> {
    let mut places = Vec::with_capacity(args.keep.len());
    for name in &args.keep {
        let Some(header) = header else {
            bail!("--keep {name}: {} has no header", name_of(args));
        };
        match header.iter().position(|cell| cell.trim() == name) {
            Some(place) => places.push(place),
            None => bail!(
                "--keep {name}: {} has no such column; it has {}",
                name_of(args),
                header.iter().collect::<Vec<_>>().join(", ")
            ),
        }
    }
    Ok(places)
}
