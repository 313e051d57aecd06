//! A table that is too large for the memory, described in one pass.
//!
//! One thread reads and finds the cells, the others take in the columns: a column is taken in by one thread at a time and
//! in the order of the rows, so that the figures have the same bits on any number of threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::column::ColumnSummary;
use super::profile::{Keep, Profile};
use super::rows::{Names, RowCount, RowHashes, Sample};
use super::{
    ClassSummary, Inspection, PartSummary, SiteSummary, described, differences, findings, owners,
    predicts,
};
use crate::batches::Batches;
use crate::classes::{ClassMap, canonical, natural_order};
use crate::config::{DataConfig, Normalise};
use crate::dataset::{ExampleShape, MAX_CLASSES, Sites};
use crate::decode::Batch;
use crate::error::{DataError, Place};
use crate::sketch::hash_bytes;
use crate::source::{TablePath, TablePaths, dialect};
use crate::tables::{Plan, TableFile, TablePart, same_columns};

/// Bytes that the summaries of all columns may take together, about.
const PROFILES: usize = 64 << 20;
/// Bytes that a summary takes for each value that it is made to keep.
const VALUE: usize = 8 * 8 + 3 * 40;
/// Fewest and most values that a summary is made to keep.
const KEPT: (usize, usize) = (64, 1024);
/// Owners that are told apart.
const MOST_OWNERS: usize = 100_000;

/// What is known after a part was read.
struct Part {
    rows: usize,
    hashes: RowHashes,
    labels: Names,
    owners: Names,
    owned: bool,
}

/// What is found out about the columns of the training part.
struct Table {
    plan: Plan,
    /// The first file's columns, without rows.
    first: TableFile,
    profiles: Vec<Mutex<Profile>>,
    sample: Sample,
}

/// Describes the tables; `threads` take in columns.
pub(super) fn inspect(
    paths: &TablePaths,
    config: &DataConfig,
    threads: usize,
) -> Result<Inspection, DataError> {
    if config.normalise != Normalise::default() {
        let reason = "concerns images, but this is a table; see data.scaling";
        return Err(DataError::setting("normalise", reason));
    }
    let mut table = None;
    let mut train = read_part(&paths.train, config, &mut table, true, threads)?;
    let mut test = match paths.test.is_empty() {
        true => None,
        false => Some(read_part(&paths.test, config, &mut table, false, threads)?),
    };
    let Some(table) = table else {
        return Err(DataError::setting("path", "the list is empty"));
    };
    let map = class_map(&train.labels, config)?;
    let class_of = |names: &Names| -> Result<Vec<u32>, DataError> {
        let places = names.names.iter().zip(&names.first);
        let class = |(label, (file, place)): (&String, &(String, Place))| {
            map.class(label).ok_or_else(|| DataError::UnknownLabel {
                file: file.clone(),
                place: place.clone(),
                label: label.clone(),
                classes: map.describe(),
            })
        };
        places.map(class).collect()
    };
    let train_classes = class_of(&train.labels)?;
    let test_classes = test
        .as_ref()
        .map(|test| class_of(&test.labels))
        .transpose()?;
    let count = |class: u32, classes: &[u32], names: &Names| -> usize {
        let rows = classes.iter().zip(&names.rows);
        rows.filter(|(of, _)| **of == class)
            .map(|(_, rows)| rows)
            .sum()
    };
    let classes = (0..).zip(map.names()).map(|(class, name)| ClassSummary {
        name: name.clone(),
        train: count(class, &train_classes, &train.labels),
        test: match (&test, &test_classes) {
            (Some(test), Some(classes)) => count(class, classes, &test.labels),
            _ => 0,
        },
    });
    let classes = classes.collect();
    let overlap = test
        .as_mut()
        .map(|test| test.hashes.shared(&mut train.hashes));
    let mut notes = table.plan.notes.clone();
    notes.extend(said(&table, &train, overlap));
    let (columns, mut found) = columns(&table, config);
    let (rows, differences) = by_rows(&table, &columns, &train, &train_classes, &map, config)?;
    found.extend(rows);
    found.sort_by_key(|finding| (finding.rule, finding.column));
    Ok(Inspection {
        name: String::new(),
        format: String::new(),
        shape: ExampleShape::flat(table.plan.features.len()),
        train: summary(&mut train),
        test: test.as_mut().map(summary),
        overlap: overlap.map(|overlap| overlap.rows),
        classes,
        columns,
        findings: found,
        differences,
        values: None,
        streamed: true,
        notes,
    })
}

fn class_map(labels: &Names, config: &DataConfig) -> Result<ClassMap, DataError> {
    let mut names: Vec<String> = labels
        .names
        .iter()
        .map(|name| canonical(name).into_owned())
        .collect();
    names.sort_by(|a, b| natural_order(a, b));
    names.dedup();
    ClassMap::new(config, &names)
}

fn summary(part: &mut Part) -> PartSummary {
    let repeated = part.hashes.repeated();
    let owners = part.owners.names.iter().zip(&part.owners.rows);
    PartSummary {
        rows: part.rows,
        repeated: repeated.rows,
        repeated_error: repeated.error,
        sites: match part.owned {
            true => owners
                .map(|(name, &rows)| SiteSummary {
                    name: name.clone(),
                    rows,
                })
                .collect(),
            false => Vec::new(),
        },
    }
}

/// Sentences about what is exact and what is not.
fn said(table: &Table, train: &Part, overlap: Option<RowCount>) -> Vec<String> {
    let mut notes = vec![
        "read in one pass: rows, missing cells, means, ranges and classes are exact, and rows are compared as they are \
         written (--exact reads all into memory)"
            .to_owned(),
    ];
    let profiles = table
        .profiles
        .iter()
        .filter_map(|profile| profile.lock().ok());
    let (mut rank, mut top, mut distinct) = (0.0_f64, 0.0_f64, 0.0_f64);
    for profile in profiles {
        rank = rank.max(profile.quartiles().1);
        top = top.max(profile.top(1).1 as f64 / train.rows as f64);
        distinct = distinct.max(profile.distinct().error);
    }
    if rank > 0.0 || top > 0.0 {
        notes.push(format!(
            "quartiles may be off by {:.2} % of the rows, counts of frequent values too small by {:.2} % of them; numbers \
             of different values have a standard error of {:.1} %",
            rank * 100.0,
            top * 100.0,
            distinct * 100.0
        ));
    }
    if let Some(overlap) = overlap.filter(|overlap| overlap.error > 0.0) {
        notes.push(format!(
            "test rows in training: a standard error of {:.0} rows",
            overlap.error
        ));
    }
    if table.sample.is_part() {
        notes.push(format!(
            "what single columns predict, what is computed across owners and in what owners differ was looked for in a \
             sample of {} rows",
            table.sample.grid.rows()
        ));
    }
    notes
}

fn columns(table: &Table, config: &DataConfig) -> (Vec<ColumnSummary>, Vec<findings::Finding>) {
    let mut found = Vec::new();
    let header = table.first.grid.header();
    let columns = table
        .profiles
        .iter()
        .enumerate()
        .filter_map(|(column, profile)| {
            let mut profile = profile.lock().ok()?;
            profile.settle();
            let name = header.and_then(|names| names.get(column)).cloned();
            let summary = described(config, &table.plan, column, name, &profile);
            found.extend(findings::of_column(&summary, &profile));
            Some(summary)
        });
    (columns.collect(), found)
}

/// What the rules find that look at rows, in the sample.
fn by_rows(
    table: &Table,
    columns: &[ColumnSummary],
    train: &Part,
    classes: &[u32],
    map: &ClassMap,
    config: &DataConfig,
) -> Result<(Vec<findings::Finding>, Vec<differences::SiteDifference>), DataError> {
    let sample = &table.sample;
    let labels: Vec<u32> = sample
        .labels
        .iter()
        .map(|&label| classes[label as usize])
        .collect();
    let sites = train.owned.then(|| Sites {
        names: train.owners.names.clone(),
        of_row: sample.sites.clone(),
    });
    let part = TablePart::new(vec![TableFile {
        file: table.first.file.clone(),
        owner: None,
        grid: sample.grid.clone(),
    }])?;
    let view = super::view::View {
        part: &part,
        labels: &labels,
        classes: map.names(),
        sites: sites.as_ref(),
        columns,
        signs: &config.missing,
    };
    let mut found = predicts::findings(&view);
    found.extend(owners::findings(&view));
    Ok((found, differences::differences(&view)))
}

fn read_part(
    paths: &[TablePath],
    config: &DataConfig,
    table: &mut Option<Table>,
    profiled: bool,
    threads: usize,
) -> Result<Part, DataError> {
    let mut part = Part {
        rows: 0,
        hashes: RowHashes::default(),
        labels: Names::default(),
        owners: Names::default(),
        owned: true,
    };
    for path in paths {
        read_file(path, config, table, &mut part, profiled, threads)?;
    }
    Ok(part)
}

/// Reads a file and takes in its batches.
fn read_file(
    path: &TablePath,
    config: &DataConfig,
    table: &mut Option<Table>,
    part: &mut Part,
    profiled: bool,
    threads: usize,
) -> Result<(), DataError> {
    let batches = Batches::open(path, &dialect(config))?;
    let first = batches.first.clone();
    let file = first.file.clone();
    let table = match table {
        None => table.insert(Table::new(first, config)?),
        Some(table) => {
            same_columns(&table.first, &first)?;
            table
        }
    };
    batches.each(|batch| {
        let owner = path.owner.as_deref();
        table.take_in(&file, owner, batch, config, part, profiled, threads)
    })
}

impl Table {
    fn new(first: TableFile, config: &DataConfig) -> Result<Self, DataError> {
        let plan = Plan::new(config, &first.grid)?;
        let columns = first.grid.columns();
        let size = (PROFILES / VALUE / columns).clamp(KEPT.0, KEPT.1);
        let profile = |column: usize| {
            let zero_is_missing = plan.zero_is_missing.contains(&column);
            Mutex::new(Profile::new(
                Keep::Most(size),
                config.missing.len(),
                zero_is_missing,
            ))
        };
        Ok(Self {
            profiles: (0..columns).map(profile).collect(),
            sample: Sample::new(first.grid.header().map(<[String]>::to_vec), columns),
            plan,
            first,
        })
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a batch, where it comes from, and where it goes"
    )]
    fn take_in(
        &mut self,
        file: &str,
        owner: Option<&str>,
        batch: &Batch,
        config: &DataConfig,
        part: &mut Part,
        profiled: bool,
        threads: usize,
    ) -> Result<(), DataError> {
        let columns = if profiled { self.profiles.len() } else { 0 };
        let (next, profiles, features) = (AtomicUsize::new(0), &self.profiles, &self.plan.features);
        let hashes = thread::scope(|scope| {
            let columns = || {
                loop {
                    let column = next.fetch_add(1, Ordering::Relaxed);
                    let Some(Ok(mut profile)) = (column < columns).then(|| profiles[column].lock())
                    else {
                        return;
                    };
                    for row in 0..batch.rows() {
                        profile.observe(batch.cell(row, column), &config.missing);
                    }
                }
            };
            for _ in 1..threads {
                scope.spawn(columns);
            }
            let hashes: Vec<u64> = (0..batch.rows())
                .map(|row| row_hash(batch, row, features))
                .collect();
            columns();
            hashes
        });
        for (row, &hash) in hashes.iter().enumerate() {
            part.hashes.observe(hash);
            let (label, site) = self.row(file, owner, batch, row, config, part)?;
            if profiled {
                self.sample.observe(file, batch, row, label, site)?;
            }
        }
        part.rows += batch.rows();
        match u32::try_from(part.rows) {
            Ok(_) => Ok(()),
            Err(_) => Err(DataError::too_large(file, "more than 2^32 - 1 rows")),
        }
    }

    /// The numbers of a row's label and owner.
    fn row(
        &self,
        file: &str,
        owner: Option<&str>,
        batch: &Batch,
        row: usize,
        config: &DataConfig,
        part: &mut Part,
    ) -> Result<(u32, u32), DataError> {
        let label = batch.cell(row, self.plan.label);
        let place = || Place::Cell {
            line: batch.line(row),
            column: self.first.grid.column_name(self.plan.label),
        };
        if config.missing.iter().any(|sign| sign == label) {
            return Err(DataError::malformed(file, place(), "no label"));
        }
        let number = part
            .labels
            .observe(label, 2 * MAX_CLASSES, || (file.to_owned(), place()));
        let Some(number) = number else {
            let reason = format!(
                "the label column holds more than {MAX_CLASSES} different values: is it a class?"
            );
            return Err(DataError::setting("label", reason));
        };
        let owner = match self.plan.site {
            Some(column) => Some(batch.cell(row, column)),
            None => owner,
        };
        let Some(owner) = owner else {
            part.owned = false;
            return Ok((number, 0));
        };
        match part
            .owners
            .observe(owner, MOST_OWNERS, || (String::new(), Place::File))
        {
            Some(site) => Ok((number, site)),
            None => {
                let reason = format!("names more than {MOST_OWNERS} owners");
                Err(DataError::setting("site_column", reason))
            }
        }
    }
}

/// A hash of a row's features as they are written.
fn row_hash(batch: &Batch, row: usize, features: &[usize]) -> u64 {
    features.iter().fold(0, |hash: u64, &column| {
        let cell = hash_bytes(batch.cell(row, column).as_bytes());
        (hash.rotate_left(23) ^ cell).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
