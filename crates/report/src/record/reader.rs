//! Reading a run folder, of a finished run or of one in progress.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::column_message;
use super::file::{read_if_present, whole_lines};
use super::leakage::Leakage;
use super::{
    BaselinePoint, ClientRow, Event, QualityCurves, RecordError, ReplyRow, RoundRow, Summary,
    VerdictRow, file_name, number,
};

/// The columns of `rounds.csv`, in the order of [`RoundRow`]'s fields.
pub(super) const ROUND_COLUMNS: [&str; 27] = [
    "round",
    "train_loss",
    "test_loss",
    "test_accuracy",
    "test_auroc",
    "cohort",
    "accepted",
    "refused",
    "dropped",
    "late",
    "outcome",
    "epsilon",
    "bytes_up",
    "bytes_down",
    "seconds",
    "virtual_seconds",
    "kept",
    "malicious",
    "malicious_kept",
    "malicious_weight",
    "source_recall",
    "attack_success",
    "clip",
    "clipped",
    "test_r2",
    "test_rmse",
    "test_mae",
];

/// Who holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    /// Client names.
    pub clients: Vec<String>,
    /// Class names.
    pub classes: Vec<String>,
    /// `counts[client][class]` examples.
    pub counts: Vec<Vec<u32>>,
}

/// What the final model takes for what, on the test set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionTable {
    /// Class names.
    pub classes: Vec<String>,
    /// `counts[true class][predicted class]` examples.
    pub counts: Vec<Vec<u64>>,
}

/// A run folder in memory. Parts that the folder does not have (yet) are `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// Where it was read from.
    pub folder: PathBuf,
    /// `config.toml`, word for word.
    pub config: Option<String>,
    /// The rounds, ascending.
    pub rounds: Vec<RoundRow>,
    /// The events, in the order in which they happened.
    pub events: Vec<Event>,
    /// What the aggregation rule made of single replies, in the order in which it was recorded.
    pub verdicts: Vec<VerdictRow>,
    /// What the host saw of single replies, in the order in which it was recorded.
    pub replies: Vec<ReplyRow>,
    /// The rounds of the same run without its attack, ascending; empty where there is no such run.
    pub unattacked: Vec<RoundRow>,
    /// Who holds what.
    pub partition: Option<PartitionTable>,
    /// Learning curves of the baselines, by name.
    pub baselines: BTreeMap<String, Vec<BaselinePoint>>,
    /// What became of each client.
    pub clients: Option<Vec<ClientRow>>,
    /// What the final model takes for what.
    pub confusion: Option<ConfusionTable>,
    /// The final model's curves on the test set.
    pub curves: Option<QualityCurves>,
    /// The end result; `None` while the run is in progress, or if it was stopped.
    pub summary: Option<Summary>,
    /// What attacks on its recorded rounds and its model brought to light; `None` where none were made.
    pub leakage: Option<Leakage>,
}

impl RunRecord {
    /// Reads a run folder.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotARun`] when it holds neither config nor rounds; [`RecordError::Malformed`] with file and line
    /// for contents that no writer wrote; [`RecordError::TooLarge`]; [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let outline = Self::read_outline(folder)?;
        let events_path = folder.join(file_name::EVENTS);
        let events = read_if_present(&events_path)?.unwrap_or_default();
        let verdicts_path = folder.join(file_name::VERDICTS);
        let verdicts = read_if_present(&verdicts_path)?.unwrap_or_default();
        let replies_path = folder.join(file_name::REPLIES);
        let replies = read_if_present(&replies_path)?.unwrap_or_default();
        Ok(Self {
            events: parse_events(&events_path, whole_lines(&events))?,
            verdicts: parse_lines(&verdicts_path, whole_lines(&verdicts))?,
            replies: parse_lines(&replies_path, whole_lines(&replies))?,
            unattacked: read_unattacked(folder, outline.summary.as_ref())?,
            partition: read_partition(folder)?,
            baselines: read_baselines(folder)?,
            clients: read_clients(folder)?,
            confusion: read_confusion(folder)?,
            curves: QualityCurves::read(folder)?,
            leakage: Leakage::read(folder)?,
            ..outline
        })
    }

    /// Config, rounds and summary only: all that a comparison of many runs needs.
    pub(crate) fn read_outline(folder: &Path) -> Result<Self, RecordError> {
        let config = read_config(folder)?;
        let rounds_path = folder.join(file_name::ROUNDS);
        let rounds = read_if_present(&rounds_path)?;
        if config.is_none() && rounds.is_none() {
            return Err(RecordError::NotARun {
                folder: folder.to_owned(),
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            config,
            rounds: parse_rounds(&rounds_path, whole_lines(&rounds.unwrap_or_default()))?,
            summary: read_summary(folder)?,
            ..Self::default()
        })
    }

    /// The run's name: that of the summary, or else the folder's.
    pub fn name(&self) -> String {
        match &self.summary {
            Some(summary) => summary.name.clone(),
            None => self
                .folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

/// A line of `baselines.csv`; `csv` has no `flatten`, so the fields are written out.
#[derive(Serialize, Deserialize)]
pub(super) struct BaselineLine {
    baseline: String,
    round: u32,
    #[serde(with = "number::option")]
    loss: Option<f64>,
    #[serde(with = "number::option")]
    accuracy: Option<f64>,
    #[serde(with = "number::option")]
    auroc: Option<f64>,
    #[serde(with = "number::option")]
    accuracy_min: Option<f64>,
    #[serde(with = "number::option")]
    accuracy_max: Option<f64>,
    #[serde(with = "number::option")]
    auroc_min: Option<f64>,
    #[serde(with = "number::option")]
    auroc_max: Option<f64>,
    #[serde(with = "number::option", default)]
    r2: Option<f64>,
    #[serde(with = "number::option", default)]
    r2_min: Option<f64>,
    #[serde(with = "number::option", default)]
    r2_max: Option<f64>,
}

impl BaselineLine {
    pub(super) fn new(name: &str, point: &BaselinePoint) -> Self {
        Self {
            baseline: name.to_owned(),
            round: point.round,
            loss: point.loss,
            accuracy: point.accuracy,
            auroc: point.auroc,
            accuracy_min: point.accuracy_min,
            accuracy_max: point.accuracy_max,
            auroc_min: point.auroc_min,
            auroc_max: point.auroc_max,
            r2: point.r2,
            r2_min: point.r2_min,
            r2_max: point.r2_max,
        }
    }

    fn point(&self) -> BaselinePoint {
        BaselinePoint {
            round: self.round,
            loss: self.loss,
            accuracy: self.accuracy,
            auroc: self.auroc,
            accuracy_min: self.accuracy_min,
            accuracy_max: self.accuracy_max,
            auroc_min: self.auroc_min,
            auroc_max: self.auroc_max,
            r2: self.r2,
            r2_min: self.r2_min,
            r2_max: self.r2_max,
        }
    }
}

pub(super) fn parse_rounds(path: &Path, bytes: &[u8]) -> Result<Vec<RoundRow>, RecordError> {
    let rows: Vec<(u64, RoundRow)> = parse_rows(path, bytes)?;
    for pair in rows.windows(2) {
        let ((_, before), (line, row)) = (&pair[0], &pair[1]);
        if row.round <= before.round {
            let message = format!("round {} stands after round {}", row.round, before.round);
            return Err(RecordError::malformed(path, *line, message));
        }
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

pub(super) fn parse_events(path: &Path, bytes: &[u8]) -> Result<Vec<Event>, RecordError> {
    let mut events = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let event = serde_json::from_slice(line).map_err(|error| {
            RecordError::malformed(path, index as u64 + 1, json_message(&error))
        })?;
        events.push(event);
    }
    Ok(events)
}

/// The rows of `verdicts.csv` or `replies.csv`. The header alone is no row, and neither is an absent file.
pub(super) fn parse_lines<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<T>, RecordError> {
    let rows = parse_rows(path, bytes)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The rounds of the run without the attack, from the folder that the summary names, or else from the usual one.
fn read_unattacked(folder: &Path, summary: Option<&Summary>) -> Result<Vec<RoundRow>, RecordError> {
    let twin = summary
        .and_then(|summary| {
            summary
                .attack
                .as_ref()?
                .unattacked
                .as_ref()?
                .folder
                .as_deref()
        })
        .unwrap_or(file_name::UNATTACKED);
    let path = folder.join(twin).join(file_name::ROUNDS);
    let bytes = read_if_present(&path)?.unwrap_or_default();
    parse_rounds(&path, whole_lines(&bytes))
}

pub(super) fn read_baselines(
    folder: &Path,
) -> Result<BTreeMap<String, Vec<BaselinePoint>>, RecordError> {
    let path = folder.join(file_name::BASELINES);
    let bytes = read_if_present(&path)?.unwrap_or_default();
    let mut baselines: BTreeMap<String, Vec<BaselinePoint>> = BTreeMap::new();
    for (_, line) in parse_rows::<BaselineLine>(&path, &bytes)? {
        baselines
            .entry(line.baseline.clone())
            .or_default()
            .push(line.point());
    }
    Ok(baselines)
}

fn read_config(folder: &Path) -> Result<Option<String>, RecordError> {
    let path = folder.join(file_name::CONFIG);
    let Some(bytes) = read_if_present(&path)? else {
        return Ok(None);
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count() as u64;
            Err(RecordError::malformed(&path, line, "is not UTF-8"))
        }
    }
}

fn read_clients(folder: &Path) -> Result<Option<Vec<ClientRow>>, RecordError> {
    let path = folder.join(file_name::CLIENTS);
    let Some(bytes) = read_if_present(&path)? else {
        return Ok(None);
    };
    let rows = parse_rows(&path, &bytes)?;
    Ok(Some(rows.into_iter().map(|(_, row)| row).collect()))
}

fn read_partition(folder: &Path) -> Result<Option<PartitionTable>, RecordError> {
    let path = folder.join(file_name::PARTITION);
    let Some(bytes) = read_if_present(&path)? else {
        return Ok(None);
    };
    let (clients, classes, counts) = parse_matrix(&path, &bytes)?;
    Ok(Some(PartitionTable {
        clients,
        classes,
        counts,
    }))
}

fn read_confusion(folder: &Path) -> Result<Option<ConfusionTable>, RecordError> {
    let path = folder.join(file_name::CONFUSION);
    let Some(bytes) = read_if_present(&path)? else {
        return Ok(None);
    };
    let (rows, classes, counts) = parse_matrix(&path, &bytes)?;
    if rows != classes {
        return Err(RecordError::malformed(
            &path,
            1,
            "rows and columns are not the same classes",
        ));
    }
    Ok(Some(ConfusionTable { classes, counts }))
}

pub(super) fn read_summary(folder: &Path) -> Result<Option<Summary>, RecordError> {
    read_json(&folder.join(file_name::SUMMARY))
}

/// A file of one JSON value; `None` where there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    let Some(bytes) = read_if_present(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        RecordError::malformed(path, error.line().max(1) as u64, json_message(&error))
    })?;
    Ok(Some(value))
}

/// Rows with the lines they begin on.
fn parse_rows<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<(u64, T)>, RecordError> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|error| RecordError::csv(path, &error))?
        .clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| RecordError::csv(path, &error))?;
        let line = record.position().map_or(1, csv::Position::line);
        let row = record
            .deserialize(Some(&header))
            .map_err(|error| RecordError::malformed(path, line, column_message(&header, &error)))?;
        rows.push((line, row));
    }
    Ok(rows)
}

type Matrix<T> = (Vec<String>, Vec<String>, Vec<Vec<T>>);

/// Row names, column names and counts of a matrix whose first column holds the row names.
fn parse_matrix<T: FromStr>(path: &Path, bytes: &[u8]) -> Result<Matrix<T>, RecordError> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|error| RecordError::csv(path, &error))?;
    let columns: Vec<String> = header.iter().skip(1).map(str::to_owned).collect();
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|error| RecordError::csv(path, &error))?;
        let line = record.position().map_or(1, csv::Position::line);
        let mut cells = record.iter();
        rows.push(cells.next().unwrap_or_default().to_owned());
        let parse = |(cell, column): (&str, &String)| {
            cell.parse().map_err(|_| {
                let message = format!("{column}: {cell:?} is not a count");
                RecordError::malformed(path, line, message)
            })
        };
        counts.push(
            cells
                .zip(&columns)
                .map(parse)
                .collect::<Result<Vec<T>, _>>()?,
        );
    }
    Ok((rows, columns, counts))
}

/// serde_json's message without its own position, which is relative to a line or repeated by ours.
pub(super) fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("column {}: {}", error.column(), &text[..at]),
        None => text,
    }
}
