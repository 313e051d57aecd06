//! The state of a run between two rounds: one file, replaced atomically.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use cloister_host::Checkpoint;
use cloister_redteam::Memory;
use cloister_report::record::write_atomic;
use serde_json::{Map, Value};

use crate::error::SimError;

const LAST_STEP: &str = "adversary.last_step";
const MEAN: &str = "adversary.mean";
const DIRECTION: &str = "adversary.direction";
const WARMED_UP: &str = "adversary.warmed_up";
const MIMICKED: &str = "adversary.mimicked";

/// Writes checkpoints behind the back of the next round: one at a time, each durable before the next is begun. A crash
/// in between costs a round, never the run.
#[derive(Debug, Default)]
pub(crate) struct Writer(Option<JoinHandle<Result<(), SimError>>>);

impl Writer {
    /// Begins to write `checkpoint`, once the one before is on the disk.
    pub(crate) fn write(&mut self, folder: &Path, checkpoint: Checkpoint) -> Result<(), SimError> {
        self.wait()?;
        let folder = folder.to_owned();
        self.0 = Some(thread::spawn(move || write(&checkpoint, &folder)));
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    pub(crate) fn wait(&mut self) -> Result<(), SimError> {
        match self.0.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Only on the way out of an error, which is the one to report.
        let _ = self.wait();
    }
}

/// What the attackers remember, as parts of a checkpoint.
pub(crate) fn remember(memory: &Memory) -> (BTreeMap<String, Vec<f32>>, Map<String, Value>) {
    let vectors = [
        (LAST_STEP, &memory.last_step),
        (MEAN, &memory.mean),
        (DIRECTION, &memory.direction),
    ];
    let vectors = vectors
        .into_iter()
        .filter_map(|(name, values)| Some((name.to_owned(), values.clone()?)));
    let mut notes = Map::new();
    notes.insert(WARMED_UP.to_owned(), Value::from(memory.warmed_up));
    if let Some(client) = memory.mimicked {
        notes.insert(MIMICKED.to_owned(), Value::from(client));
    }
    (vectors.collect(), notes)
}

/// What [`remember`] made of it.
pub(crate) fn recall(checkpoint: &mut Checkpoint) -> Memory {
    let number = |name| u32::try_from(checkpoint.notes.get(name)?.as_u64()?).ok();
    let (warmed_up, mimicked) = (number(WARMED_UP), number(MIMICKED));
    let mut vector = |name| checkpoint.vectors.remove(name);
    Memory {
        last_step: vector(LAST_STEP),
        mean: vector(MEAN),
        direction: vector(DIRECTION),
        warmed_up: warmed_up.unwrap_or(0),
        mimicked,
    }
}

/// Replaces the checkpoint in `folder`.
pub(crate) fn write(checkpoint: &Checkpoint, folder: &Path) -> Result<(), SimError> {
    let path = path(folder);
    let bytes = checkpoint.encode().map_err(|error| SimError::Checkpoint {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| SimError::Io {
            path: parent.to_owned(),
            source,
        })?;
    }
    Ok(write_atomic(&path, &bytes)?)
}

/// Reads the checkpoint in `folder`.
pub(crate) fn read(folder: &Path) -> Result<Checkpoint, SimError> {
    let path = path(folder);
    let bytes = fs::read(&path).map_err(|source| SimError::Io {
        path: path.clone(),
        source,
    })?;
    Checkpoint::decode(&bytes).map_err(|error| SimError::Checkpoint {
        path,
        reason: error.to_string(),
    })
}

/// Where the checkpoint of the run in `folder` lies.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint").join("checkpoint.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_and_read_with_what_attackers_remember() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            last_step: Some(vec![7.0; 3]),
            mimicked: Some(2),
            warmed_up: 1,
            ..Memory::default()
        };
        let (vectors, notes) = remember(&memory);
        let mut written = Checkpoint {
            vectors,
            notes,
            ..Checkpoint::default()
        };
        write(&written, folder.path()).unwrap();
        written.server.round = 8;
        write(&written, folder.path()).unwrap();
        let mut found = read(folder.path()).unwrap();
        assert_eq!(found, written);
        assert_eq!(recall(&mut found), memory);
        let files: Vec<_> = fs::read_dir(folder.path().join("checkpoint"))
            .unwrap()
            .collect();
        assert_eq!(files.len(), 1);
        assert!(matches!(
            read(&folder.path().join("nowhere")),
            Err(SimError::Io { .. })
        ));
    }
}
