//! The record of what was released: append-only, hash-chained, on the disk before the release.
//!
//! One JSON object a line. The first names the run; each other is an [`Entry`] with its place and a hash over the line
//! before it and itself. A last line without its end was never committed, so nothing was released on its account: it is
//! dropped when the ledger is opened. Whole lines missing at the end do not show in the chain; a checkpoint therefore
//! remembers a [`Mark`], and a ledger that does not reach it is refused.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Event;

/// The version of the format.
const VERSION: u32 = 1;

/// One mechanism's releases in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The round, counted from 1.
    pub round: u32,
    /// Whose units are touched: a client's name where examples are the unit, else [`Entry::ALL`].
    pub holder: String,
    /// The release, made by the mechanism that runs.
    pub event: Event,
    /// How often.
    pub count: u64,
}

impl Entry {
    /// The holder of a release that touches the units of all.
    pub const ALL: &'static str = "all";
}

/// A place in a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Entries up to there.
    pub entries: u64,
    /// Hash of the last line up to there, in hexadecimal.
    pub hash: String,
}

/// Proof that the event of a round is on the disk. A mechanism asks for it before it releases anything.
#[derive(Debug)]
pub struct Receipt {
    round: u32,
}

impl Receipt {
    /// The round whose releases were committed.
    pub fn round(&self) -> u32 {
        self.round
    }
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a whole, unchanged ledger of the run.
    #[error("{path}, line {line}: {reason}; without a whole ledger epsilon is infinite")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    ledger: u32,
    run: String,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    index: u64,
    #[serde(flatten)]
    entry: Entry,
    hash: String,
}

impl Mark {
    /// Where the ledger of `run` begins.
    pub fn beginning(run: &str) -> Self {
        Self {
            entries: 0,
            hash: hash("", &[run]),
        }
    }
}

/// The ledger of one run.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Option<File>,
    durable: bool,
    marks: Vec<String>,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Starts the ledger of `run` (the SHA-256 of its config) in a new file. `durable` waits for the disk at each
    /// commit; only a run that is not private anyway may do without.
    ///
    /// # Errors
    /// [`LedgerError::Io`], also when the file exists.
    pub fn create(path: &Path, run: &str, durable: bool) -> Result<Self, LedgerError> {
        let opened = OpenOptions::new().write(true).create_new(true).open(path);
        let mut ledger = Self {
            path: path.to_owned(),
            file: None,
            durable,
            marks: vec![hash("", &[run])],
            entries: Vec::new(),
        };
        ledger.file = Some(opened.map_err(|source| ledger.io(source))?);
        let header = Header {
            ledger: VERSION,
            run: run.to_owned(),
            hash: ledger.head().to_owned(),
        };
        ledger.write(&json(&header))?;
        Ok(ledger)
    }

    /// Opens the ledger of `run` to go on with it. It must hold `mark`; what follows the mark stays and counts, for it
    /// may have been released before the run was cut off.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn reopen(path: &Path, run: &str, mark: &Mark, durable: bool) -> Result<Self, LedgerError> {
        let (mut ledger, whole) = Self::parse(path)?;
        if ledger.run_hash() != hash("", &[run]) {
            return Err(ledger.broken(1, "is the ledger of another run"));
        }
        let at = usize::try_from(mark.entries).ok();
        if at.and_then(|at| ledger.marks.get(at)) != Some(&mark.hash) {
            let reason = format!(
                "has {} entries, the checkpoint knows of {} that end in {}",
                ledger.entries.len(),
                mark.entries,
                mark.hash.get(..12).unwrap_or(&mark.hash)
            );
            let line = ledger.entries.len() as u64 + 1;
            return Err(ledger.broken(line, reason));
        }
        let cut = |file: &mut File| -> io::Result<()> {
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            file.sync_data()
        };
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|source| ledger.io(source))?;
        cut(&mut file).map_err(|source| ledger.io(source))?;
        ledger.file = Some(file);
        ledger.durable = durable;
        Ok(ledger)
    }

    /// Reads a ledger, to recompute what it amounts to.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self::parse(path)?.0)
    }

    /// The ledger and the length of its whole lines in bytes.
    fn parse(path: &Path) -> Result<(Self, u64), LedgerError> {
        let mut ledger = Self {
            path: path.to_owned(),
            file: None,
            durable: false,
            marks: Vec::new(),
            entries: Vec::new(),
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|source| ledger.io(source))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines().zip(1..);
        let Some((first, _)) = lines.next() else {
            return Err(ledger.broken(1, "is empty"));
        };
        let header: Header =
            serde_json::from_str(first).map_err(|error| ledger.broken(1, error.to_string()))?;
        if header.ledger != VERSION {
            let found = header.ledger;
            return Err(ledger.broken(1, format!("has format {found}, not {VERSION}")));
        }
        if header.hash != hash("", &[&header.run]) {
            return Err(ledger.broken(1, "does not match its hash"));
        }
        ledger.marks.push(header.hash);
        for (text, number) in lines {
            let line: Line = serde_json::from_str(text)
                .map_err(|error| ledger.broken(number, error.to_string()))?;
            ledger
                .take(line)
                .map_err(|reason| ledger.broken(number, reason))?;
        }
        Ok((ledger, whole as u64))
    }

    fn take(&mut self, line: Line) -> Result<(), &'static str> {
        if line.index != self.entries.len() as u64 {
            return Err("is out of its place");
        }
        if line.hash != entry_hash(self.head(), line.index, &line.entry) {
            return Err("does not match its hash: this line or one before it was changed");
        }
        self.marks.push(line.hash);
        self.entries.push(line.entry);
        Ok(())
    }

    /// Writes the releases of a round, and waits until they are on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Io`]: then nothing may be released. The ledger must be opened anew, since what of the entries is on
    /// the disk is not known.
    pub fn commit(&mut self, round: u32, entries: Vec<Entry>) -> Result<Receipt, LedgerError> {
        let mut text = String::new();
        for entry in entries {
            let index = self.entries.len() as u64;
            let hash = entry_hash(self.head(), index, &entry);
            let line = Line {
                index,
                entry,
                hash: hash.clone(),
            };
            text.push_str(&json(&line));
            self.marks.push(hash);
            self.entries.push(line.entry);
        }
        self.write(&text)?;
        Ok(Receipt { round })
    }

    fn write(&mut self, text: &str) -> Result<(), LedgerError> {
        let durable = self.durable;
        let written = match &mut self.file {
            Some(file) => file
                .write_all(text.as_bytes())
                .and_then(|()| match durable {
                    true => file.sync_data(),
                    false => Ok(()),
                }),
            None => Err(io::Error::other("the ledger was opened for reading")),
        };
        // A half-written line must not be followed by another one.
        written.map_err(|source| {
            self.file = None;
            self.io(source)
        })
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What was released about the units of each holder, as one event; releases about all count for each.
    pub fn by_holder(&self) -> BTreeMap<&str, Event> {
        let mut shared = Vec::new();
        let mut own: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
        for entry in &self.entries {
            let event = Event::Repeated {
                event: Box::new(entry.event.clone()),
                count: entry.count,
            };
            match entry.holder.as_str() {
                Entry::ALL => shared.push(event),
                holder => own.entry(holder).or_default().push(event),
            }
        }
        if own.is_empty() && !shared.is_empty() {
            own.insert(Entry::ALL, Vec::new());
        }
        own.into_iter()
            .map(|(holder, mut events)| {
                events.extend(shared.iter().cloned());
                (holder, Event::Composed { events })
            })
            .collect()
    }

    /// Where the ledger stands.
    pub fn mark(&self) -> Mark {
        Mark {
            entries: self.entries.len() as u64,
            hash: self.head().to_owned(),
        }
    }

    fn head(&self) -> &str {
        self.marks.last().map_or("", String::as_str)
    }

    fn run_hash(&self) -> &str {
        self.marks.first().map_or("", String::as_str)
    }

    fn io(&self, source: io::Error) -> LedgerError {
        LedgerError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn broken(&self, line: u64, reason: impl Into<String>) -> LedgerError {
        LedgerError::Broken {
            path: self.path.clone(),
            line,
            reason: reason.into(),
        }
    }
}

fn entry_hash(previous: &str, index: u64, entry: &Entry) -> String {
    hash(previous, &[&index.to_string(), &json(entry)])
}

/// SHA-256 over length-prefixed parts, in hexadecimal.
fn hash(previous: &str, parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&previous).chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line of JSON. Types of this module have string keys only, so that writing them cannot fail.
fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(round: u32, holder: &str) -> Entry {
        Entry {
            round,
            holder: holder.to_owned(),
            event: Event::PoissonGaussian {
                noise_multiplier: 1.1,
                sampling_rate: 256.0 / 60000.0,
            },
            count: 234,
        }
    }

    fn written(folder: &Path) -> (PathBuf, Mark) {
        let path = folder.join("ledger.jsonl");
        let mut ledger = Ledger::create(&path, "run", true).unwrap();
        ledger
            .commit(1, vec![entry(1, "a"), entry(1, "b")])
            .unwrap();
        let mark = ledger.mark();
        ledger.commit(2, vec![entry(2, "a")]).unwrap();
        (path, mark)
    }

    #[test]
    fn what_was_committed_is_read_back_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mark) = written(folder.path());
        let read = Ledger::read(&path).unwrap();
        assert_eq!(read.entries().len(), 3);
        // The entry after the mark counts: its round may have been released.
        let mut again = Ledger::reopen(&path, "run", &mark, true).unwrap();
        assert_eq!(again.mark(), read.mark());
        again.commit(2, vec![entry(2, "a")]).unwrap();
        let events = Ledger::read(&path).unwrap();
        let by_holder = events.by_holder();
        let Event::Composed { events } = &by_holder["a"] else {
            panic!("composed");
        };
        assert_eq!((by_holder.len(), events.len()), (2, 3));
        assert!(Ledger::create(&path, "run", true).is_err());
    }

    /// A kill at any byte: whole lines stay, a torn one goes, and the next commit follows on.
    #[test]
    fn a_torn_last_line_was_never_committed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mark) = written(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        let third = bytes[..bytes.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        for end in [third, third + 1, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let mut ledger = Ledger::reopen(&path, "run", &mark, true).unwrap();
            assert_eq!(ledger.entries().len(), 2, "{end}");
            ledger.commit(2, vec![entry(2, "b")]).unwrap();
            assert_eq!(Ledger::read(&path).unwrap().entries().len(), 3, "{end}");
        }
        // Shorter than the checkpoint remembers.
        std::fs::write(&path, &bytes[..third - 1]).unwrap();
        let error = Ledger::reopen(&path, "run", &mark, true).unwrap_err();
        assert!(
            error.to_string().contains("the checkpoint knows of 2"),
            "{error}"
        );
    }

    #[test]
    fn any_changed_byte_shows() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mark) = written(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let read = Ledger::reopen(&path, "run", &mark, true);
            // Only in the last line can a flip look like an end cut off, which costs that line alone.
            if let Ok(ledger) = read {
                assert_eq!((place, ledger.entries().len()), (bytes.len() - 1, 2));
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let error = Ledger::reopen(&path, "other", &mark, true).unwrap_err();
        assert!(error.to_string().contains("another run"), "{error}");
        let error = Ledger::read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(error, LedgerError::Io { .. }));
    }

    /// Kills the mutant that leaves out a line of a middle round: T - 1 steps.
    #[test]
    fn a_line_taken_out_shows() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = written(folder.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for left_out in 0..lines.len() - 1 {
            let mut fewer = lines.clone();
            fewer.remove(left_out);
            std::fs::write(&path, fewer.join("\n") + "\n").unwrap();
            assert!(Ledger::read(&path).is_err(), "{left_out}");
        }
    }
}
