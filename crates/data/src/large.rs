//! Tables that are too large for the memory: fitted in passes over their files, prepared row by row.
//!
//! What a federation asks of its owners is asked here of one stretch of the file after the other: sums of integers, so that
//! they have the same bits wherever the file is cut and on any number of threads.

mod count;

use std::collections::BTreeSet;
use std::thread;

use rand::RngExt;

use self::count::Counting;
use crate::batches::Batches;
use crate::classes::{ClassMap, canonical};
use crate::config::{DataConfig, Normalise};
use crate::dataset::MAX_CLASSES;
use crate::decode::Batch;
use crate::error::{DataError, Place};
use crate::prepare::{CellFault, Pipeline, PreparePlan, Repeated};
use crate::read;
use crate::select::{HELD_OUT_STREAM, stream};
use crate::source::{TablePath, TablePaths, dialect, display_name, tables_of};
use crate::statistics::survey::{Known, Survey};
use crate::statistics::{Question, TableStatistics};
use crate::tables::{Plan, TableFile, TablePart, label_names, same_columns};

/// Rows by which it is decided what each column holds.
const HEAD_ROWS: usize = 100_000;

/// A table that is never held as a whole.
///
/// Memory grows with the columns, the classes and the categories, not with the rows. What the columns hold is decided by the
/// first 100,000 rows; a later cell that is something else is an error. Without a test part each row is held out by a draw of
/// its own, so that `data.test_fraction` is met about, and classes are not stratified.
pub struct LargeTable {
    name: String,
    paths: TablePaths,
    config: DataConfig,
    seed: u64,
    columns: Plan,
    first: TableFile,
    map: ClassMap,
    plan: PreparePlan,
    threads: usize,
}

/// The part that a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargePart {
    /// Trained on.
    Train,
    /// Tested on.
    Test,
}

/// Opens a table of more than `from` bytes (compressed ones count eight times) to be fitted and prepared on `threads` threads.
/// Nothing for a smaller one, for images, and where the config wants something that only the whole tells: a limit, rows
/// without repeats, resampling, an encoding by classes, a number to be predicted.
///
/// # Errors
/// As [`open`](crate::open).
pub fn open_large(
    config: &DataConfig,
    seed: u64,
    from: u64,
    threads: usize,
) -> Result<Option<LargeTable>, DataError> {
    config.check()?;
    let prepare = &config.prepare;
    let whole = config.target.is_some()
        || config.limit.is_some()
        || config.target.is_some()
        || prepare.duplicates == Repeated::Drop
        || prepare.resample.is_some();
    let Some(paths) = tables_of(config)?.filter(|_| !whole) else {
        return Ok(None);
    };
    let mut bytes = 0;
    for path in paths.all() {
        bytes += read::unpacked(path)?;
    }
    if bytes <= from {
        return Ok(None);
    }
    if config.normalise != Normalise::default() {
        let reason = "concerns images, but this is a table; see data.scaling";
        return Err(DataError::setting("normalise", reason));
    }
    let part = head(&paths, config)?;
    let columns = Plan::new(config, &part.first().grid)?;
    let map = classes(&paths, config, part.first(), &columns)?;
    let rows: Vec<u32> = (0..part.rows() as u32).collect();
    let plan = PreparePlan::new(config, &columns, &part, &rows, map.names())?;
    if plan.needs_labels() {
        return Ok(None);
    }
    let mut first = part.first().clone();
    first.grid.retain(&vec![false; first.grid.rows()]);
    Ok(Some(LargeTable {
        name: display_name(config),
        paths,
        config: config.clone(),
        seed,
        columns,
        first,
        map,
        plan,
        threads: threads.max(1),
    }))
}

/// Ends the reading of a file early.
enum Enough {
    Rows,
    Fault(DataError),
}

impl From<DataError> for Enough {
    fn from(fault: DataError) -> Self {
        Self::Fault(fault)
    }
}

/// The first rows of the training part.
fn head(paths: &TablePaths, config: &DataConfig) -> Result<TablePart, DataError> {
    let mut files = Vec::new();
    let mut rows = 0;
    for path in &paths.train {
        let batches = Batches::open(path, &dialect(config))?;
        let mut file = batches.first.clone();
        let read = batches.each(|batch| {
            for row in 0..batch.rows() {
                if rows == HEAD_ROWS {
                    return Err(Enough::Rows);
                }
                file.grid.push(&file.file, batch, row)?;
                rows += 1;
            }
            Ok(())
        });
        files.push(file);
        match read {
            Ok(()) => {}
            Err(Enough::Rows) => break,
            Err(Enough::Fault(fault)) => return Err(fault),
        }
    }
    match files.is_empty() {
        true => Err(DataError::setting("path", "the list is empty")),
        false => TablePart::new(files),
    }
}

/// The classes of the training part.
fn classes(
    paths: &TablePaths,
    config: &DataConfig,
    first: &TableFile,
    columns: &Plan,
) -> Result<ClassMap, DataError> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for path in &paths.train {
        let batches = Batches::open(path, &dialect(config))?;
        same_columns(first, &batches.first)?;
        let file = batches.first.clone();
        batches.each(|batch| {
            for row in 0..batch.rows() {
                let label = batch.cell(row, columns.label);
                if config.missing.iter().any(|sign| sign == label) {
                    return Err(cell_fault(&file, batch, row, columns.label, "no label"));
                }
                if !found.contains(label) {
                    found.insert(canonical(label).into_owned());
                }
                if found.len() > MAX_CLASSES {
                    let reason = format!(
                        "the label column holds more than {MAX_CLASSES} different values: is it a class?"
                    );
                    return Err(DataError::setting("label", reason));
                }
            }
            Ok(())
        })?;
    }
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    ClassMap::new(config, &label_names(&found))
}

fn cell_fault(
    file: &TableFile,
    batch: &Batch,
    row: usize,
    column: usize,
    reason: impl Into<String>,
) -> DataError {
    DataError::malformed(&file.file, place(file, batch, row, column), reason)
}

fn place(file: &TableFile, batch: &Batch, row: usize, column: usize) -> Place {
    Place::Cell {
        line: batch.line(row),
        column: file.grid.column_name(column),
    }
}

/// A batch, the file that it is from, and the part of each of its rows.
struct Stretch<'a> {
    file: &'a TableFile,
    batch: &'a Batch,
    parts: Vec<LargePart>,
}

impl LargeTable {
    /// Name, as reports show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes in order.
    pub fn classes(&self) -> &[String] {
        self.map.names()
    }

    /// What was taken for granted, in words.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.paths.notes.clone();
        notes.extend(self.columns.notes.iter().cloned());
        notes.push(format!(
            "fitted in passes over the files; the first {HEAD_ROWS} training rows decide what columns hold"
        ));
        if self.paths.test.is_empty() {
            notes.push(format!(
                "{} has no test part: each row is held out with a probability of {}",
                self.name, self.config.test_fraction
            ));
        }
        notes
    }

    /// The answer to the plan's question.
    ///
    /// # Errors
    /// [`DataError::Malformed`], for a cell that is not what its column holds; for columns of more categories than are
    /// counted.
    pub fn statistics(&self) -> Result<TableStatistics, DataError> {
        let question = self.plan.question();
        let survey = Survey::new(&Counting::rest(&question), 0);
        let mut counting = Counting::new(&question);
        let mut known = survey.begin();
        while known.done() < survey.passes() {
            let first = known.done() == 0;
            let widths = survey.widths(known.done()).len();
            let mut sums = vec![0_i128; widths];
            let (survey, before) = (&survey, &known);
            self.stretches(&mut |stretch| {
                let work = |rows| {
                    self.surveyed(&stretch, rows, survey, before, first.then_some(&question))
                };
                for (own, counted) in shares(stretch.batch.rows(), self.threads, work)? {
                    sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
                    if let Some(counted) = counted {
                        counting.merge(counted)?;
                    }
                }
                Ok::<(), DataError>(())
            })?;
            survey.learn(&mut known, &sums).map_err(told)?;
        }
        let rest = survey.finish(known);
        let rest = rest.ok_or_else(|| DataError::statistics("a pass is not done"))?;
        match rest.rows {
            0 => Err(DataError::setting("prepare", "leaves no training row")),
            _ => Ok(counting.joined(&question, rest)),
        }
    }

    /// The sums of a pass over some rows of a stretch, and their categories where a question asks for them.
    fn surveyed(
        &self,
        stretch: &Stretch<'_>,
        rows: std::ops::Range<usize>,
        survey: &Survey,
        known: &Known,
        counted: Option<&Question>,
    ) -> Result<(Vec<i128>, Option<Counting>), DataError> {
        let mut read = Vec::with_capacity(rows.len());
        for row in rows.filter(|row| stretch.parts[*row] == LargePart::Train) {
            let values = self.plan.values(|column| stretch.batch.cell(row, column));
            let values = values.map_err(|fault| self.fault(stretch, row, fault))?;
            if !values.dropped {
                read.push((values.values, self.class(stretch, row)?));
            }
        }
        let counting = counted.map(|question| {
            let mut counting = Counting::new(question);
            read.iter().for_each(|(values, _)| counting.observe(values));
            counting
        });
        let rows = read.iter().map(|(values, class)| (&values[..], *class));
        Ok((survey.observe(known, rows).map_err(told)?, counting))
    }

    /// The pipeline as it is fitted to all training rows.
    ///
    /// # Errors
    /// As [`LargeTable::statistics`], and [`Pipeline::fit`].
    pub fn fit(&self) -> Result<Pipeline, DataError> {
        Pipeline::fit(&self.plan, &self.statistics()?)
    }

    /// Gives `take` each row that is trained or tested on, in the order of the files: its part, its features and its class.
    ///
    /// # Errors
    /// Those of `take`; [`DataError`], with the file, line and column of a cell that cannot be coded; for a pipeline of other
    /// data.
    pub fn prepare<E: From<DataError>>(
        &self,
        pipeline: &Pipeline,
        mut take: impl FnMut(LargePart, &[f32], u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let coded = pipeline.table()?;
        if coded.plan != self.plan {
            return Err(DataError::statistics("the pipeline is of other data or settings").into());
        }
        let width = coded.width();
        self.stretches(&mut |stretch| {
            let work = |rows: std::ops::Range<usize>| -> Result<_, DataError> {
                let (mut features, mut kept) = (Vec::new(), Vec::new());
                for row in rows {
                    let values = self.plan.values(|column| stretch.batch.cell(row, column));
                    let values = values.map_err(|fault| self.fault(&stretch, row, fault))?;
                    if values.dropped && stretch.parts[row] == LargePart::Train {
                        continue;
                    }
                    let coding = coded.encode(&values.values, None, &mut features);
                    coding.map_err(|fault| self.coding_fault(&stretch, row, fault))?;
                    kept.push((stretch.parts[row], self.class(&stretch, row)?));
                }
                Ok((features, kept))
            };
            for (features, kept) in shares(stretch.batch.rows(), self.threads, work)? {
                for ((part, class), features) in kept.into_iter().zip(features.chunks(width)) {
                    take(part, features, class)?;
                }
            }
            Ok(())
        })
    }

    /// Reads all files, those of the test part last.
    fn stretches<E: From<DataError>>(
        &self,
        take: &mut dyn FnMut(Stretch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rng = stream(self.seed, HELD_OUT_STREAM);
        let fraction = match self.paths.test.is_empty() {
            true => self.config.test_fraction,
            false => 0.0,
        };
        let mut draw = || match fraction > 0.0 && rng.random::<f64>() < fraction {
            true => LargePart::Test,
            false => LargePart::Train,
        };
        for path in &self.paths.train {
            self.read(path, take, &mut draw)?;
        }
        for path in &self.paths.test {
            self.read(path, take, &mut || LargePart::Test)?;
        }
        Ok(())
    }

    fn read<E: From<DataError>>(
        &self,
        path: &TablePath,
        take: &mut dyn FnMut(Stretch<'_>) -> Result<(), E>,
        part: &mut dyn FnMut() -> LargePart,
    ) -> Result<(), E> {
        let batches = Batches::open(path, &dialect(&self.config))?;
        same_columns(&self.first, &batches.first)?;
        let file = batches.first.clone();
        batches.each(|batch| {
            take(Stretch {
                file: &file,
                batch,
                parts: (0..batch.rows()).map(|_| part()).collect(),
            })
        })
    }

    fn class(&self, stretch: &Stretch<'_>, row: usize) -> Result<u32, DataError> {
        let label = stretch.batch.cell(row, self.columns.label);
        self.map
            .class(label)
            .ok_or_else(|| DataError::UnknownLabel {
                file: stretch.file.file.clone(),
                place: place(stretch.file, stretch.batch, row, self.columns.label),
                label: label.to_owned(),
                classes: self.map.describe(),
            })
    }

    fn fault(&self, stretch: &Stretch<'_>, row: usize, fault: CellFault) -> DataError {
        let column = self.plan.columns[fault.column].index;
        cell_fault(stretch.file, stretch.batch, row, column, fault.reason)
    }

    fn coding_fault(&self, stretch: &Stretch<'_>, row: usize, fault: CellFault) -> DataError {
        let column = self.plan.columns[fault.column].index;
        let cell = stretch.batch.cell(row, column);
        let reason = format!("'{cell}' {}", fault.reason);
        cell_fault(stretch.file, stretch.batch, row, column, reason)
    }
}

fn told(fault: impl std::fmt::Display) -> DataError {
    DataError::statistics(fault.to_string())
}

/// Runs `work` over equal shares of the rows, one a thread; the results come in the order of the rows.
fn shares<T: Send>(
    rows: usize,
    threads: usize,
    work: impl Fn(std::ops::Range<usize>) -> Result<T, DataError> + Sync,
) -> Result<Vec<T>, DataError> {
    let cut = |share: usize| rows * share / threads;
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|share| scope.spawn(move || work(cut(share)..cut(share + 1))))
            .collect();
        let mut results = vec![work(0..cut(1))?];
        for other in others {
            let joined = other.join();
            results.push(joined.map_err(|_| DataError::statistics("a thread has failed"))??);
        }
        Ok(results)
    })
}
