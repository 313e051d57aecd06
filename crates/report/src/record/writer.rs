//! Writing a run folder.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::{read_if_present, remove_if_present, whole_lines};
use super::{
    BaselinePoint, ClientRow, Event, QualityCurves, RecordError, ReplyRow, RoundRow, Summary,
    VerdictRow, file_name, reader, write_atomic,
};

/// Owns the folder of one run while it runs.
///
/// Rows and events reach the operating system before the call returns, so that they outlive the process;
/// [`RunWriter::sync`] makes them outlive a power cut. Call it before writing a checkpoint, and the record is never
/// behind the checkpoint.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    rounds: File,
    events: File,
    /// Opened with the first verdict: most runs have none.
    verdicts: Option<File>,
    /// Opened with the first reply that was looked at.
    replies: Option<File>,
    last_round: Option<u32>,
    baselines: BTreeMap<String, Vec<BaselinePoint>>,
}

impl RunWriter {
    /// Begins a run in `folder`, which is made if it is absent, and records its resolved config.
    ///
    /// # Errors
    ///
    /// [`RecordError::AlreadyHoldsRun`] when a run is in the folder, finished or not; other files in it are left alone.
    /// [`RecordError::Io`] when the folder cannot be made or written.
    pub fn create(folder: &Path, config_toml: &str) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(RecordError::io("cannot make folder", folder))?;
        for found in [
            file_name::CONFIG,
            file_name::ROUNDS,
            file_name::EVENTS,
            file_name::VERDICTS,
            file_name::REPLIES,
            file_name::LEDGER,
            file_name::SUMMARY,
            file_name::SWEEP,
        ] {
            if folder.join(found).exists() {
                return Err(RecordError::AlreadyHoldsRun {
                    folder: folder.to_owned(),
                    found,
                });
            }
        }
        write_atomic(&folder.join(file_name::CONFIG), config_toml.as_bytes())?;
        let rounds = folder.join(file_name::ROUNDS);
        write_atomic(&rounds, &header_line())?;
        let events = folder.join(file_name::EVENTS);
        write_atomic(&events, b"")?;
        Ok(Self {
            folder: folder.to_owned(),
            rounds: append_to(&rounds)?,
            events: append_to(&events)?,
            verdicts: None,
            replies: None,
            last_round: None,
            baselines: BTreeMap::new(),
        })
    }

    /// Continues the run in `folder` after round `completed_rounds`, the last one of the host's checkpoint.
    ///
    /// Rows, events, verdicts and replies of later rounds are dropped, and so is a line that a crash cut short. The files of the end
    /// (`summary.json`, `clients.csv`, `confusion.csv`, `curves.json`) are removed, for the run has not ended; partition and baselines stay,
    /// and so does the ledger: what was released cannot be taken back.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotARun`] without a run in the folder; [`RecordError::MissingRounds`] when rounds up to
    /// `completed_rounds` were never recorded; [`RecordError::Malformed`] for broken files; [`RecordError::Io`].
    pub fn reopen(folder: &Path, completed_rounds: u32) -> Result<Self, RecordError> {
        let rounds_path = folder.join(file_name::ROUNDS);
        let rounds_bytes = read_if_present(&rounds_path)?.ok_or_else(|| RecordError::NotARun {
            folder: folder.to_owned(),
        })?;
        let mut rows = reader::parse_rounds(&rounds_path, whole_lines(&rounds_bytes))?;
        rows.retain(|row| row.round <= completed_rounds);
        let last_round = rows.last().map(|row| row.round);
        if last_round.unwrap_or(0) != completed_rounds {
            return Err(RecordError::MissingRounds {
                file: rounds_path,
                recorded: last_round.unwrap_or(0),
                completed: completed_rounds,
            });
        }
        let mut kept_rows = header_line();
        for row in &rows {
            kept_rows.extend(csv_line(&rounds_path, row)?);
        }

        let events_path = folder.join(file_name::EVENTS);
        let events_bytes = read_if_present(&events_path)?.unwrap_or_default();
        let mut kept_events = Vec::new();
        for event in reader::parse_events(&events_path, whole_lines(&events_bytes))? {
            if event.round <= completed_rounds {
                kept_events.extend(json_line(&events_path, &event)?);
            }
        }
        let verdicts = keep_lines(folder, file_name::VERDICTS, |row: &VerdictRow| {
            row.round <= completed_rounds
        })?;
        let replies = keep_lines(folder, file_name::REPLIES, |row: &ReplyRow| {
            row.round <= completed_rounds
        })?;

        let endings = [
            file_name::SUMMARY,
            file_name::CLIENTS,
            file_name::CONFUSION,
            file_name::CURVES,
        ];
        for ending in endings {
            remove_if_present(&folder.join(ending))?;
        }
        write_atomic(&rounds_path, &kept_rows)?;
        write_atomic(&events_path, &kept_events)?;
        Ok(Self {
            folder: folder.to_owned(),
            rounds: append_to(&rounds_path)?,
            events: append_to(&events_path)?,
            verdicts,
            replies,
            last_round,
            baselines: reader::read_baselines(folder)?,
        })
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records a round.
    ///
    /// # Errors
    ///
    /// [`RecordError::RoundOrder`] unless rounds come in ascending order; [`RecordError::Io`].
    pub fn round(&mut self, row: &RoundRow) -> Result<(), RecordError> {
        if let Some(last) = self.last_round
            && row.round <= last
        {
            return Err(RecordError::RoundOrder {
                round: row.round,
                last,
            });
        }
        let path = self.folder.join(file_name::ROUNDS);
        let line = csv_line(&path, row)?;
        // One call a line: a reader in another process never sees the halves of two writes.
        self.rounds
            .write_all(&line)
            .map_err(RecordError::io("cannot append to", &path))?;
        self.last_round = Some(row.round);
        Ok(())
    }

    /// Records an event.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when it cannot be written.
    pub fn event(&mut self, event: &Event) -> Result<(), RecordError> {
        let path = self.folder.join(file_name::EVENTS);
        let line = json_line(&path, event)?;
        self.events
            .write_all(&line)
            .map_err(RecordError::io("cannot append to", &path))
    }

    /// Records what the aggregation rule made of the replies of a round, in one write. Call it before
    /// [`RunWriter::round`], so that a round on record has all its verdicts.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when they cannot be written.
    pub fn verdicts(&mut self, rows: &[VerdictRow]) -> Result<(), RecordError> {
        append_rows(&self.folder, file_name::VERDICTS, &mut self.verdicts, rows)
    }

    /// Records what the host saw of the replies of a round, as [`RunWriter::verdicts`] does.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when they cannot be written.
    pub fn replies(&mut self, rows: &[ReplyRow]) -> Result<(), RecordError> {
        append_rows(&self.folder, file_name::REPLIES, &mut self.replies, rows)
    }

    /// Waits until all rows, events, verdicts and replies are on the disk.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when the disk refuses.
    pub fn sync(&mut self) -> Result<(), RecordError> {
        let always = [
            (&self.rounds, file_name::ROUNDS),
            (&self.events, file_name::EVENTS),
        ];
        let sometimes = [
            (&self.verdicts, file_name::VERDICTS),
            (&self.replies, file_name::REPLIES),
        ];
        let sometimes = sometimes
            .into_iter()
            .filter_map(|(file, name)| Some((file.as_ref()?, name)));
        for (file, name) in always.into_iter().chain(sometimes) {
            file.sync_data()
                .map_err(RecordError::io("cannot flush", &self.folder.join(name)))?;
        }
        Ok(())
    }

    /// Records who holds what: `counts[client][class]` examples.
    ///
    /// # Errors
    ///
    /// [`RecordError::Shape`] unless `counts` is `clients.len()` rows of `classes.len()`; [`RecordError::Io`].
    pub fn partition(
        &mut self,
        clients: &[String],
        classes: &[String],
        counts: &[Vec<u32>],
    ) -> Result<(), RecordError> {
        self.matrix(file_name::PARTITION, "client", clients, classes, counts)
    }

    /// Records the final model's confusion on the test set: `counts[true class][predicted class]` examples.
    ///
    /// # Errors
    ///
    /// [`RecordError::Shape`] unless `counts` is square over `classes`; [`RecordError::Io`].
    pub fn confusion(
        &mut self,
        classes: &[String],
        counts: &[Vec<u64>],
    ) -> Result<(), RecordError> {
        self.matrix(file_name::CONFUSION, "true class", classes, classes, counts)
    }

    /// Records the final model's curves on the test set.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when the file cannot be written.
    pub fn curves(&mut self, curves: &QualityCurves) -> Result<(), RecordError> {
        let path = self.folder.join(file_name::CURVES);
        let mut bytes = serde_json::to_vec(curves).map_err(|error| RecordError::Encode {
            file: path.clone(),
            message: error.to_string(),
        })?;
        bytes.push(b'\n');
        write_atomic(&path, &bytes)
    }

    /// Records what became of each client.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when the file cannot be written.
    pub fn clients(&mut self, rows: &[ClientRow]) -> Result<(), RecordError> {
        self.table(file_name::CLIENTS, rows.iter())
    }

    /// Records the learning curve of a baseline; one recorded before under the same name is replaced.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when the file cannot be written.
    pub fn baseline(&mut self, name: &str, points: &[BaselinePoint]) -> Result<(), RecordError> {
        self.baselines.insert(name.to_owned(), points.to_vec());
        let path = self.folder.join(file_name::BASELINES);
        let rows = self.baselines.iter().flat_map(|(name, points)| {
            points
                .iter()
                .map(move |point| reader::BaselineLine::new(name, point))
        });
        write_atomic(&path, &csv_file(&path, rows)?)
    }

    /// Records the end result. Its presence says that the run ended, so it is written last.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] when the file cannot be written.
    pub fn summary(&mut self, summary: &Summary) -> Result<(), RecordError> {
        let path = self.folder.join(file_name::SUMMARY);
        let mut bytes =
            serde_json::to_vec_pretty(summary).map_err(|error| RecordError::Encode {
                file: path.clone(),
                message: error.to_string(),
            })?;
        bytes.push(b'\n');
        write_atomic(&path, &bytes)
    }

    fn table<T: Serialize>(
        &self,
        name: &str,
        rows: impl Iterator<Item = T>,
    ) -> Result<(), RecordError> {
        let path = self.folder.join(name);
        write_atomic(&path, &csv_file(&path, rows)?)
    }

    fn matrix<T: ToString>(
        &self,
        file: &'static str,
        corner: &str,
        rows: &[String],
        columns: &[String],
        counts: &[Vec<T>],
    ) -> Result<(), RecordError> {
        check_shape(file, "the table".to_owned(), counts.len(), rows.len())?;
        let path = self.folder.join(file);
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = std::iter::once(corner).chain(columns.iter().map(String::as_str));
        writer.write_record(header).map_err(encode_error(&path))?;
        for (name, counts) in rows.iter().zip(counts) {
            check_shape(
                file,
                format!("the row of {name:?}"),
                counts.len(),
                columns.len(),
            )?;
            let cells = counts.iter().map(ToString::to_string);
            writer
                .write_record(std::iter::once(name.clone()).chain(cells))
                .map_err(encode_error(&path))?;
        }
        write_atomic(&path, &finish(&path, writer)?)
    }
}

/// Appends rows in one write to a file that begins, with its header, with the first of them.
fn append_rows<T: Serialize>(
    folder: &Path,
    name: &str,
    file: &mut Option<File>,
    rows: &[T],
) -> Result<(), RecordError> {
    if rows.is_empty() {
        return Ok(());
    }
    let path = folder.join(name);
    let mut writer = csv::WriterBuilder::new()
        .has_headers(file.is_none())
        .from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(encode_error(&path))?;
    }
    let lines = finish(&path, writer)?;
    let file = match file {
        Some(file) => file,
        none => none.insert(File::create(&path).map_err(RecordError::io("cannot create", &path))?),
    };
    file.write_all(&lines)
        .map_err(RecordError::io("cannot append to", &path))
}

/// Rewrites a file of [`append_rows`] without the rows that are not to be kept, and opens it; `None` where nothing is left.
fn keep_lines<T: Serialize + DeserializeOwned>(
    folder: &Path,
    name: &str,
    keep: impl Fn(&T) -> bool,
) -> Result<Option<File>, RecordError> {
    let path = folder.join(name);
    let Some(bytes) = read_if_present(&path)? else {
        return Ok(None);
    };
    let mut rows: Vec<T> = reader::parse_lines(&path, whole_lines(&bytes))?;
    rows.retain(|row| keep(row));
    if rows.is_empty() {
        remove_if_present(&path)?;
        return Ok(None);
    }
    write_atomic(&path, &csv_file(&path, rows.iter())?)?;
    append_to(&path).map(Some)
}

fn check_shape(
    table: &'static str,
    what: String,
    got: usize,
    expected: usize,
) -> Result<(), RecordError> {
    if got == expected {
        return Ok(());
    }
    Err(RecordError::Shape {
        table,
        what,
        got,
        expected,
    })
}

fn append_to(path: &Path) -> Result<File, RecordError> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(RecordError::io("cannot open", path))
}

fn header_line() -> Vec<u8> {
    let mut line = reader::ROUND_COLUMNS.join(",").into_bytes();
    line.push(b'\n');
    line
}

fn csv_line(path: &Path, row: &impl Serialize) -> Result<Vec<u8>, RecordError> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    writer.serialize(row).map_err(encode_error(path))?;
    finish(path, writer)
}

/// A CSV file with a header from the rows' field names; no rows make an empty file.
fn csv_file<T: Serialize>(
    path: &Path,
    rows: impl Iterator<Item = T>,
) -> Result<Vec<u8>, RecordError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(encode_error(path))?;
    }
    finish(path, writer)
}

fn json_line(path: &Path, event: &Event) -> Result<Vec<u8>, RecordError> {
    let mut line = serde_json::to_vec(event).map_err(|error| RecordError::Encode {
        file: path.to_owned(),
        message: error.to_string(),
    })?;
    line.push(b'\n');
    Ok(line)
}

pub(super) fn finish(path: &Path, writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, RecordError> {
    writer.into_inner().map_err(|error| RecordError::Encode {
        file: path.to_owned(),
        message: error.to_string(),
    })
}

pub(super) fn encode_error(path: &Path) -> impl Fn(csv::Error) -> RecordError {
    move |error| RecordError::Encode {
        file: path.to_owned(),
        message: error.to_string(),
    }
}
