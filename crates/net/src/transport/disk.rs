//! Bytes from and to files, a chunk at a time, on threads that may wait for a disk.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::wire::{CHUNK, invalid};
use super::{Body, Fault, FaultKind, fault};

/// Bytes of a chunk that is sent: less than a chunk may have, since several of each receiver are in memory at once.
const SENT: usize = 64 << 10;

/// Does something on a thread that may wait. A panic there is a fault.
pub(super) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(fault::defect()),
    }
}

/// What the system said of a file, without the folder, which is nobody's business.
pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Fault {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let words = match error.kind() {
        ErrorKind::StorageFull => "no space left on device".to_owned(),
        _ => error.to_string(),
    };
    let message = format!("cannot {what} {}: {words}", name.display());
    Fault::new(FaultKind::Unavailable, message)
}

/// A file that is being received. Whatever is in it was sent in this order from byte 0, so that it can be gone on with after a
/// break; whether it is the right file, the digest says at the end.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    hash: Sha256,
    written: u64,
    most: u64,
}

impl Incoming {
    /// Bytes of a file that was begun before; 0 where there is none.
    pub(super) fn held(path: &Path, most: u64) -> Result<u64, Fault> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.len() <= most => Ok(meta.len()),
            // Not by us.
            Ok(_) => Ok(0),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed("read", path, &error)),
        }
    }

    /// Begins a file, or goes on with one. Reads what is there, for its hash.
    pub(super) fn open(path: PathBuf, most: u64) -> Result<Self, Fault> {
        let opened = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        let mut file = opened.map_err(|error| failed("write", &path, &error))?;
        let mut hash = Sha256::new();
        let read = |file: &mut File, hash: &mut Sha256| -> std::io::Result<u64> {
            if file.metadata()?.len() > most {
                file.set_len(0)?;
            }
            // A device that never ends is not read to its end.
            let mut rest = file.metadata()?.len();
            let mut buffer = vec![0; CHUNK];
            let mut written = 0;
            while rest > 0 {
                let part = rest.min(CHUNK as u64) as usize;
                file.read_exact(&mut buffer[..part])?;
                hash.update(&buffer[..part]);
                rest -= part as u64;
                written += part as u64;
            }
            Ok(written)
        };
        let written = read(&mut file, &mut hash).map_err(|error| failed("read", &path, &error))?;
        Ok(Self {
            path,
            file,
            hash,
            written,
            most,
        })
    }

    /// Bytes that are there.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether all that was announced is there.
    pub(super) fn is_full(&self) -> bool {
        self.written == self.most
    }

    /// Adds a chunk; more than was announced is a fault, and nothing of it is written.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        if chunk.is_empty() || chunk.len() > CHUNK {
            let length = chunk.len();
            return Err(invalid(format!(
                "a chunk has 1 to {CHUNK} bytes, this one {length}"
            )));
        }
        if chunk.len() as u64 > self.most - self.written {
            return Err(invalid(format!(
                "more than the {} bytes that were announced",
                self.most
            )));
        }
        self.file
            .write_all(chunk)
            .map_err(|error| failed("write", &self.path, &error))?;
        self.hash.update(chunk);
        self.written += chunk.len() as u64;
        Ok(())
    }

    /// Adds a chunk, elsewhere.
    pub(super) async fn written_with(mut self, chunk: Bytes) -> Result<Self, (Fault, PathBuf)> {
        let path = self.path.clone();
        let done = waiting(move || {
            let written = self.write(&chunk);
            Ok((self, written))
        });
        match done.await {
            Ok((file, Ok(()))) => Ok(file),
            Ok((_, Err(fault))) | Err(fault) => Err((fault, path)),
        }
    }

    /// Comes back when what was received is on the disk.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        let synced = self.file.sync_all();
        synced.map_err(|error| failed("write", &self.path, &error))
    }

    /// Comes back when the whole file is on the disk. One that is not what was announced is removed.
    pub(super) fn finish(self, sha256: &[u8; 32]) -> Result<PathBuf, Fault> {
        let Self {
            path,
            file,
            hash,
            written,
            most,
        } = self;
        if written < most {
            return Err(invalid(format!(
                "the end came after {written} of {most} bytes"
            )));
        }
        let found: [u8; 32] = hash.finalize().into();
        if found != *sha256 {
            drop(file);
            remove(&path);
            return Err(invalid(
                "its sha-256 is not the one that was announced; what was received is thrown away",
            ));
        }
        file.sync_all()
            .map_err(|error| failed("write", &path, &error))?;
        Ok(path)
    }
}

/// Removes what is of no use. If it stays, the next attempt finds it and its digest refuses it again.
pub(super) fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Bytes that are being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    source: Source,
    total: u64,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File {
        file: Option<File>,
        path: PathBuf,
        rest: u64,
    },
}

impl Outgoing {
    /// From a byte on.
    ///
    /// # Errors
    /// A byte that is behind the end.
    pub(super) async fn open(body: &Body, offset: u64) -> Result<Self, Fault> {
        let behind = |total: u64| {
            let message = format!("byte {offset} is behind the end, at {total}");
            Err(invalid(message))
        };
        match body {
            Body::Memory(bytes) => {
                let bytes = Bytes::from_owner(std::sync::Arc::clone(bytes));
                let total = bytes.len() as u64;
                match usize::try_from(offset) {
                    Ok(at) if at <= bytes.len() => Ok(Self {
                        source: Source::Memory(bytes.slice(at..)),
                        total,
                    }),
                    _ => behind(total),
                }
            }
            Body::File(path) => {
                let from = path.clone();
                let (file, total) = waiting(move || open_at(&from, offset)).await?;
                let Some(rest) = total.checked_sub(offset) else {
                    return behind(total);
                };
                let source = Source::File {
                    file: Some(file),
                    path: path.clone(),
                    rest,
                };
                Ok(Self { source, total })
            }
        }
    }

    /// Bytes of the whole.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The next chunk; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.source {
            Source::Memory(bytes) if bytes.is_empty() => Ok(None),
            Source::Memory(bytes) => Ok(Some(bytes.split_to(bytes.len().min(SENT)))),
            Source::File { rest: 0, .. } => Ok(None),
            Source::File { file, path, rest } => {
                let Some(mut open) = file.take() else {
                    return Err(fault::defect());
                };
                let (length, path) = ((*rest).min(SENT as u64) as usize, path.clone());
                let read = waiting(move || {
                    let mut chunk = vec![0; length];
                    open.read_exact(&mut chunk)
                        .map_err(|error| failed("read", &path, &error))?;
                    Ok((open, chunk))
                });
                let (open, chunk) = read.await?;
                *file = Some(open);
                *rest -= length as u64;
                Ok(Some(chunk.into()))
            }
        }
    }
}

fn open_at(path: &Path, offset: u64) -> Result<(File, u64), Fault> {
    let open = || {
        let mut file = File::open(path)?;
        let total = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset.min(total)))?;
        Ok((file, total))
    };
    open().map_err(|error| failed("read", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn a_file_goes_on_where_it_was_broken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        assert_eq!(Incoming::held(&path, 6).unwrap(), 0);
        Incoming::open(path.clone(), 6)
            .unwrap()
            .write(b"abc")
            .unwrap();
        assert_eq!(Incoming::held(&path, 6).unwrap(), 3);
        let mut file = Incoming::open(path.clone(), 6).unwrap();
        assert_eq!(file.written(), 3);
        assert!(file.write(b"").is_err());
        assert!(file.write(b"defg").is_err());
        file.write(b"def").unwrap();
        assert_eq!(file.finish(&sha(b"abcdef")).unwrap(), path);
        // Longer than announced: not by us.
        assert_eq!(Incoming::held(&path, 5).unwrap(), 0);
        assert_eq!(Incoming::open(path.clone(), 5).unwrap().written(), 0);
    }

    #[test]
    fn what_is_short_stays_and_what_is_wrong_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let mut file = Incoming::open(path.clone(), 4).unwrap();
        file.write(b"ab").unwrap();
        assert!(file.finish(&sha(b"abcd")).is_err());
        let mut file = Incoming::open(path.clone(), 4).unwrap();
        file.write(b"xx").unwrap();
        let fault = file.finish(&sha(b"abcd")).unwrap_err();
        assert!(fault.message.contains("sha-256"), "{fault}");
        assert!(!path.exists());
    }

    #[test]
    fn a_full_disk_is_said() {
        let fault = Incoming::open("/dev/full".into(), 4)
            .unwrap()
            .write(b"ab")
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert_eq!(fault.message, "cannot write full: no space left on device");
    }

    #[tokio::test]
    async fn memory_and_files_are_sent_from_any_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..SENT * 2 + 5).map(|i| i as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        for body in [Body::File(path), Body::Memory(bytes.clone().into())] {
            for offset in [0, 7, SENT, bytes.len()] {
                let mut sent = Outgoing::open(&body, offset as u64).await.unwrap();
                let mut found = Vec::new();
                while let Some(chunk) = sent.next().await.unwrap() {
                    assert!(!chunk.is_empty() && chunk.len() <= SENT);
                    found.extend_from_slice(&chunk);
                }
                assert_eq!(found, bytes[offset..]);
            }
            assert!(Outgoing::open(&body, bytes.len() as u64 + 1).await.is_err());
        }
    }
}
