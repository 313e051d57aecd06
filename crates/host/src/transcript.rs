//! Transcripts of rounds in a run folder: `transcript/round-00001.clt`.
//!
//! One file a round, replaced in one step *before* the round's row is written: a round that is repeated after a crash writes the
//! same name again, and a round that is in the record has its transcript. The folder is for its owner alone, where the system
//! knows such a thing: what is in it shows all that the server saw.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cloister_config::Experiment;
use cloister_protocol::transcript::{Transcript, TranscriptError};
use cloister_report::record::{Event, RecordError, write_atomic};

/// The folder, inside a run folder.
pub const TRANSCRIPTS: &str = "transcript";
/// How the name of a transcript ends.
const SUFFIX: &str = ".clt";
/// The kind of the event of a transcript.
const RECORDED: &str = "recorded";

/// Why a transcript could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptFileError {
    /// A file or folder cannot be made, read or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A transcript cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file is no transcript.
    #[error("{}: {source}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: TranscriptError,
    },
    /// A file is of another round than its name says.
    #[error("{}: is of round {round}", path.display())]
    Round {
        /// Which.
        path: PathBuf,
        /// The round in it.
        round: u32,
    },
}

impl TranscriptFileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Where the transcript of a round lies in the run folder `run`.
pub fn transcript_path(run: &Path, round: u32) -> PathBuf {
    run.join(TRANSCRIPTS).join(name(round))
}

fn name(round: u32) -> String {
    format!("round-{round:05}{SUFFIX}")
}

/// Whether the experiment records `round`.
pub fn records(experiment: &Experiment, round: u32) -> bool {
    let record = experiment.record.as_ref();
    record.is_some_and(|record| record.records(round))
}

/// Keeps a transcript in the run folder `run`; what the record says of it. It is on the disk when this returns.
///
/// # Errors
/// [`TranscriptFileError`].
pub fn write_transcript(run: &Path, transcript: &Transcript) -> Result<Event, TranscriptFileError> {
    let folder = run.join(TRANSCRIPTS);
    make_private(&folder).map_err(TranscriptFileError::io(&folder))?;
    let bytes = transcript.encode();
    write_atomic(&transcript_path(run, transcript.round()), &bytes)?;
    let message = format!(
        "transcript with {} messages: {} bytes",
        transcript.messages.len(),
        bytes.len()
    );
    Ok(Event::new(transcript.round(), RECORDED, message))
}

/// Reads the transcript of a round.
///
/// # Errors
/// [`TranscriptFileError`].
pub fn read_transcript(run: &Path, round: u32) -> Result<Transcript, TranscriptFileError> {
    let path = transcript_path(run, round);
    let bytes = fs::read(&path).map_err(TranscriptFileError::io(&path))?;
    match Transcript::decode(&bytes) {
        Ok(transcript) if transcript.round() == round => Ok(transcript),
        Ok(other) => Err(TranscriptFileError::Round {
            path,
            round: other.round(),
        }),
        Err(source) => Err(TranscriptFileError::Format { path, source }),
    }
}

/// The rounds of which the run folder `run` has a transcript, ascending.
///
/// # Errors
/// [`TranscriptFileError::Io`] for a folder that cannot be read; one that is not there has none.
pub fn recorded_rounds(run: &Path) -> Result<Vec<u32>, TranscriptFileError> {
    let folder = run.join(TRANSCRIPTS);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TranscriptFileError::io(&folder)(source)),
    };
    let mut rounds = Vec::new();
    for entry in entries {
        let entry = entry.map_err(TranscriptFileError::io(&folder))?;
        rounds.extend(entry.file_name().to_str().and_then(round_of));
    }
    rounds.sort_unstable();
    Ok(rounds)
}

/// Removes what is of rounds after `done`: a run that goes on from there makes them again.
///
/// # Errors
/// [`TranscriptFileError::Io`].
pub fn drop_transcripts(run: &Path, done: u32) -> Result<(), TranscriptFileError> {
    for round in recorded_rounds(run)?
        .into_iter()
        .filter(|round| *round > done)
    {
        let path = transcript_path(run, round);
        fs::remove_file(&path).map_err(TranscriptFileError::io(&path))?;
    }
    Ok(())
}

/// The round of a file with this name, if it is a transcript's.
fn round_of(file: &str) -> Option<u32> {
    let digits = file.strip_prefix("round-")?.strip_suffix(SUFFIX)?;
    let round = digits.parse().ok()?;
    (name(round) == file).then_some(round)
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use cloister_protocol::TrainConfig;
    use cloister_protocol::message::{LayoutDigest, TrainRequest};

    use super::*;

    fn transcript(round: u32) -> Transcript {
        Transcript {
            request: TrainRequest {
                round,
                layout: LayoutDigest([1; 32]),
                plan: TrainConfig::default().plan(round),
                global: vec![1.0, 2.0].into(),
                secure: None,
            },
            messages: Vec::new(),
            sums: Vec::new(),
            after: vec![3.0, 4.0].into(),
        }
    }

    #[test]
    fn written_read_listed_and_dropped() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        assert_eq!(recorded_rounds(run).unwrap(), [] as [u32; 0]);
        for round in [1, 5, 123_456] {
            write_transcript(run, &transcript(round)).unwrap();
            // Again, as after a crash.
            write_transcript(run, &transcript(round)).unwrap();
        }
        fs::write(run.join("transcript/round-7.clt"), b"").unwrap();
        fs::write(run.join("transcript/.round-00009.clt.partial"), b"").unwrap();
        assert_eq!(recorded_rounds(run).unwrap(), [1, 5, 123_456]);
        assert_eq!(read_transcript(run, 5).unwrap(), transcript(5));
        drop_transcripts(run, 4).unwrap();
        assert_eq!(recorded_rounds(run).unwrap(), [1]);
        assert!(matches!(
            read_transcript(run, 5),
            Err(TranscriptFileError::Io { .. })
        ));
        fs::copy(transcript_path(run, 1), transcript_path(run, 2)).unwrap();
        assert!(matches!(
            read_transcript(run, 2),
            Err(TranscriptFileError::Round { round: 1, .. })
        ));
        fs::write(transcript_path(run, 3), b"CLTR").unwrap();
        assert!(matches!(
            read_transcript(run, 3),
            Err(TranscriptFileError::Format { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let run = tempfile::tempdir().unwrap();
        write_transcript(run.path(), &transcript(1)).unwrap();
        let mode = fs::metadata(run.path().join(TRANSCRIPTS))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
