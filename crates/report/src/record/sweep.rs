//! The record of a sweep: `sweep.csv`, one row a run, beside the run folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::column_message;
use super::file::read_if_present;
use super::writer::{encode_error, finish};
use super::{RecordError, Summary, file_name, number, write_atomic};

const FIRST_COLUMNS: [&str; 2] = ["cell", "seed"];

/// The fields of [`SweepResult`], in their order.
const RESULT_COLUMNS: [&str; 26] = [
    "status",
    "completed",
    "abandoned",
    "refused",
    "accuracy",
    "balanced_accuracy",
    "loss",
    "auroc",
    "best_accuracy",
    "best_auroc",
    "r2",
    "best_r2",
    "epsilon",
    "accounted_epsilon",
    "impact",
    "impact_best",
    "attack_success",
    "source_recall",
    "malicious_accepted",
    "malicious_kept",
    "failure_round",
    "bytes_up",
    "bytes_down",
    "seconds",
    "folder",
    "message",
];

/// Those of them that older files lack, the latest first: files of before lack the first ones, older ones more of them, the oldest
/// all.
const LATER_COLUMNS: [&str; 10] = [
    "r2",
    "best_r2",
    "accounted_epsilon",
    "impact",
    "impact_best",
    "attack_success",
    "source_recall",
    "malicious_accepted",
    "malicious_kept",
    "failure_round",
];

/// How a run of a sweep ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SweepStatus {
    /// With a summary.
    #[default]
    Done,
    /// With an error; the row's message says which.
    Failed,
    /// Before it began: its settings cannot work together, as the row's message says (`krum` with too few replies). A
    /// result of the grid, not an accident.
    Refused,
}

/// One run of a sweep. Figures are those of its summary, zero or `None` where the run failed or was refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepRow {
    /// Place of the cell in the grid, counted from 0 in the order of the keys, last key fastest.
    pub cell: u32,
    /// Seed of the run.
    pub seed: u64,
    /// What the cell sets, one value for each key of the sweep, as written in the config.
    pub settings: Vec<String>,
    /// The figures.
    pub result: SweepResult,
}

/// Figures of one run of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepResult {
    /// How the run ended.
    pub status: SweepStatus,
    /// Rounds that gave a new model.
    pub completed: u32,
    /// Rounds that did not.
    pub abandoned: u32,
    /// Replies that were refused.
    pub refused: u64,
    /// Final test accuracy, 0 to 1.
    #[serde(with = "number::option")]
    pub accuracy: Option<f64>,
    /// Final balanced accuracy, 0 to 1.
    #[serde(with = "number::option")]
    pub balanced_accuracy: Option<f64>,
    /// Final test loss.
    #[serde(with = "number::option")]
    pub loss: Option<f64>,
    /// Final AUROC, 0 to 1.
    #[serde(with = "number::option")]
    pub auroc: Option<f64>,
    /// Accuracy of the best round.
    #[serde(with = "number::option")]
    pub best_accuracy: Option<f64>,
    /// AUROC of the best round.
    #[serde(with = "number::option")]
    pub best_auroc: Option<f64>,
    /// Final share of the variance of a numeric target that is explained.
    #[serde(with = "number::option", default)]
    pub r2: Option<f64>,
    /// The same of the best round.
    #[serde(with = "number::option", default)]
    pub best_r2: Option<f64>,
    /// Privacy loss that the run may claim: infinite where it may claim none, `None` without differential privacy.
    #[serde(with = "number::option")]
    pub epsilon: Option<f64>,
    /// Privacy loss as accounted, whatever voids the claim.
    #[serde(with = "number::option", default)]
    pub accounted_epsilon: Option<f64>,
    /// Attack: final headline metric without it minus the same with it.
    #[serde(with = "number::option", default)]
    pub impact: Option<f64>,
    /// Attack: best headline metric without it minus the best with it.
    #[serde(with = "number::option", default)]
    pub impact_best: Option<f64>,
    /// Attack: share of triggered test examples taken for its target class, 0 to 1.
    #[serde(with = "number::option", default)]
    pub attack_success: Option<f64>,
    /// Attack: share of its source class that the final model gets right, 0 to 1.
    #[serde(with = "number::option", default)]
    pub source_recall: Option<f64>,
    /// Attack: replies of malicious clients that passed the server's checks.
    #[serde(default)]
    pub malicious_accepted: Option<u64>,
    /// Attack: those of them that the rule kept.
    #[serde(default)]
    pub malicious_kept: Option<u64>,
    /// Attack: first round from which the headline metric never again rises above half of the reference.
    #[serde(default)]
    pub failure_round: Option<u32>,
    /// Bytes to the server.
    pub bytes_up: u64,
    /// Bytes from the server.
    pub bytes_down: u64,
    /// Wall-clock seconds.
    #[serde(with = "number")]
    pub seconds: f64,
    /// The run's folder, relative to the sweep's.
    pub folder: String,
    /// Why it failed or was refused; empty otherwise.
    pub message: String,
}

impl SweepResult {
    /// The figures of a run that ended, in `folder` (relative to the sweep's).
    pub fn of(summary: &Summary, folder: &str) -> Self {
        let best = summary.best.as_ref();
        let attack = summary.attack.as_ref();
        let privacy = summary.privacy.as_ref();
        Self {
            status: SweepStatus::Done,
            completed: summary.completed,
            abandoned: summary.abandoned,
            refused: summary.refused,
            accuracy: summary.final_.accuracy,
            balanced_accuracy: summary.final_.balanced_accuracy,
            loss: summary.final_.loss,
            auroc: summary.final_.auroc,
            best_accuracy: best.and_then(|best| best.accuracy),
            best_auroc: best.and_then(|best| best.auroc),
            r2: summary.final_.r2,
            best_r2: best.and_then(|best| best.r2),
            epsilon: privacy.map(|privacy| privacy.epsilon.unwrap_or(f64::INFINITY)),
            accounted_epsilon: privacy.and_then(|privacy| privacy.accounted_epsilon),
            impact: attack.and_then(|attack| attack.impact),
            impact_best: attack.and_then(|attack| attack.impact_best),
            attack_success: attack.and_then(|attack| attack.attack_success),
            source_recall: attack.and_then(|attack| attack.source_recall),
            malicious_accepted: attack.map(|attack| attack.malicious_accepted),
            malicious_kept: attack.map(|attack| attack.malicious_kept),
            failure_round: attack.and_then(|attack| attack.failure_round),
            bytes_up: summary.communication.bytes_up,
            bytes_down: summary.communication.bytes_down,
            seconds: summary.seconds,
            folder: folder.to_owned(),
            message: String::new(),
        }
    }

    /// A run whose settings cannot work together, and why.
    pub fn refused(folder: &str, message: impl Into<String>) -> Self {
        Self {
            status: SweepStatus::Refused,
            ..Self::failed(folder, message)
        }
    }

    /// A run that failed, and why.
    pub fn failed(folder: &str, message: impl Into<String>) -> Self {
        Self {
            status: SweepStatus::Failed,
            folder: folder.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }
}

/// Owns `sweep.csv` while a sweep runs.
///
/// The file is replaced whole after each run, its rows in the order of (cell, seed) whatever the order in which runs
/// ended, so that the same sweep gives the same file on any number of threads.
#[derive(Debug)]
pub struct SweepWriter {
    folder: PathBuf,
    keys: Vec<String>,
    rows: BTreeMap<(u32, u64), SweepRow>,
}

impl SweepWriter {
    /// Begins a sweep over `keys` in `folder`, or continues the one that is there: [`SweepWriter::rows`] then has what
    /// is done.
    ///
    /// # Errors
    ///
    /// [`RecordError::SweepKeys`] when the sweep on file has other keys; [`RecordError::AlreadyHoldsRun`] when the
    /// folder holds a single run; [`RecordError::Malformed`], [`RecordError::Io`].
    pub fn open(folder: &Path, keys: &[String]) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(RecordError::io("cannot make folder", folder))?;
        let path = folder.join(file_name::SWEEP);
        if folder.join(file_name::ROUNDS).exists() {
            let found = file_name::ROUNDS;
            return Err(RecordError::AlreadyHoldsRun {
                folder: folder.to_owned(),
                found,
            });
        }
        let mut rows = BTreeMap::new();
        if let Some(bytes) = read_if_present(&path)? {
            let (on_file, rows_on_file) = parse(&path, &bytes)?;
            if on_file != keys {
                return Err(RecordError::SweepKeys {
                    file: path,
                    on_file,
                    given: keys.to_vec(),
                });
            }
            rows.extend(
                rows_on_file
                    .into_iter()
                    .map(|row| ((row.cell, row.seed), row)),
            );
        }
        let writer = Self {
            folder: folder.to_owned(),
            keys: keys.to_vec(),
            rows,
        };
        writer.save()?;
        Ok(writer)
    }

    /// Records a run; an earlier row of the same cell and seed is replaced.
    ///
    /// # Errors
    ///
    /// [`RecordError::Shape`] unless the row has one setting a key; [`RecordError::Io`].
    pub fn row(&mut self, row: SweepRow) -> Result<(), RecordError> {
        if row.settings.len() != self.keys.len() {
            return Err(RecordError::Shape {
                table: file_name::SWEEP,
                what: format!("the settings of cell {}", row.cell),
                got: row.settings.len(),
                expected: self.keys.len(),
            });
        }
        self.rows.insert((row.cell, row.seed), row);
        self.save()
    }

    /// What is recorded so far, in the order of (cell, seed).
    pub fn rows(&self) -> impl Iterator<Item = &SweepRow> {
        self.rows.values()
    }

    fn save(&self) -> Result<(), RecordError> {
        let path = self.folder.join(file_name::SWEEP);
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(Vec::new());
        let keys = self.keys.iter().map(String::as_str);
        writer
            .write_record(FIRST_COLUMNS.into_iter().chain(keys).chain(RESULT_COLUMNS))
            .map_err(encode_error(&path))?;
        for row in self.rows.values() {
            let first = [row.cell.to_string(), row.seed.to_string()];
            for cell in first.iter().chain(&row.settings) {
                writer.write_field(cell).map_err(encode_error(&path))?;
            }
            // Goes on in the same line, for nothing ended it.
            writer.serialize(&row.result).map_err(encode_error(&path))?;
        }
        write_atomic(&path, &finish(&path, writer)?)
    }
}

/// A sweep's table in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRecord {
    /// Where it was read from.
    pub folder: PathBuf,
    /// The swept keys, dotted.
    pub keys: Vec<String>,
    /// Its runs, in the order of (cell, seed).
    pub rows: Vec<SweepRow>,
}

impl SweepRecord {
    /// Reads the `sweep.csv` of a folder.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotASweep`] when there is none; [`RecordError::Malformed`] with the line of a broken row;
    /// [`RecordError::TooLarge`]; [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(file_name::SWEEP);
        let bytes = read_if_present(&path)?.ok_or_else(|| RecordError::NotASweep {
            folder: folder.to_owned(),
        })?;
        let (keys, rows) = parse(&path, &bytes)?;
        Ok(Self {
            folder: folder.to_owned(),
            keys,
            rows,
        })
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<String>, Vec<SweepRow>), RecordError> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|error| RecordError::csv(path, &error))?
        .clone();
    let columns: Vec<&str> = header.iter().collect();
    let without = |later: &[&str]| -> Vec<&str> {
        let columns = RESULT_COLUMNS.into_iter();
        columns.filter(|column| !later.contains(column)).collect()
    };
    let older = [2, 3, LATER_COLUMNS.len()].map(|lacking| without(&LATER_COLUMNS[..lacking]));
    let (keys, result_columns) = columns
        .strip_prefix(&FIRST_COLUMNS)
        .and_then(|rest| {
            let kinds = std::iter::once(&RESULT_COLUMNS[..]);
            kinds
                .chain(older.iter().map(Vec::as_slice))
                .find_map(|kind| Some((rest.strip_suffix(kind)?, kind)))
        })
        .ok_or_else(|| RecordError::malformed(path, 1, "the columns are not those of a sweep"))?;
    let result_header = csv::StringRecord::from(result_columns.to_vec());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| RecordError::csv(path, &error))?;
        let line = record.position().map_or(1, csv::Position::line);
        let bad = |message: String| RecordError::malformed(path, line, message);
        let cells: Vec<&str> = record.iter().collect();
        let (settings, result) = cells[FIRST_COLUMNS.len()..].split_at(keys.len());
        let result = csv::StringRecord::from(result.to_vec());
        rows.push(SweepRow {
            cell: cells[0]
                .parse()
                .map_err(|_| bad(format!("cell: {:?} is not a count", cells[0])))?,
            seed: cells[1]
                .parse()
                .map_err(|_| bad(format!("seed: {:?} is not a seed", cells[1])))?,
            settings: settings.iter().map(|&cell| cell.to_owned()).collect(),
            result: result
                .deserialize(Some(&result_header))
                .map_err(|error| bad(column_message(&result_header, &error)))?,
        });
    }
    Ok((keys.iter().map(|&key| key.to_owned()).collect(), rows))
}
