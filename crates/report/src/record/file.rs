//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::RecordError;

/// Largest record file that is read, in bytes: room for a million rounds, and a bound on what a stranger's folder can
/// make a reader allocate.
pub(crate) const LIMIT: u64 = 512 << 20;

/// Replaces the file at `path` by `bytes` in one step: a reader, or a crash, sees the old file or the new one, never a
/// part of it. The bytes are on the disk when this returns.
///
/// The bytes go to `.NAME.partial` in the same folder first, so that two writers of the same file must not run at once.
///
/// # Errors
///
/// [`RecordError::Io`] when the folder is absent, full or not writable; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let partial = partial_path(path);
    let result = write_synced(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path).map_err(RecordError::io("cannot replace", path)));
    if result.is_err() {
        // Nothing more can be done about a partial file that cannot be removed; the first error is the one to report.
        let _ = fs::remove_file(&partial);
        return result;
    }
    sync_folder(path)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let mut file = File::create(path).map_err(RecordError::io("cannot create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(RecordError::io("cannot write", path))
}

fn partial_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// Makes a rename outlive a power cut. Other systems than Unix have no such call and do not need it.
#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<(), RecordError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(RecordError::io("cannot flush", folder))
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> Result<(), RecordError> {
    Ok(())
}

/// A file's bytes, or `None` when there is no such file.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::io("cannot open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(RecordError::io("cannot read", path))?;
    if bytes.len() as u64 > LIMIT {
        let on_disk = fs::metadata(path).map_or(bytes.len() as u64, |metadata| metadata.len());
        return Err(RecordError::TooLarge {
            file: path.to_owned(),
            bytes: on_disk,
            limit: LIMIT,
        });
    }
    Ok(Some(bytes))
}

pub(crate) fn remove_if_present(path: &Path) -> Result<(), RecordError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RecordError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The part of an append-only file that was written whole: up to and with the last line end. A line without one is
/// still being written, or was cut by a crash.
pub(crate) fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_whole_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_atomic(&path, b"a long first version").unwrap();
        write_atomic(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn keeps_the_old_file_when_the_new_one_cannot_be_put_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "old").unwrap();
        let error = write_atomic(&path, b"new").unwrap_err();
        assert!(
            matches!(
                error,
                RecordError::Io {
                    action: "cannot replace",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "the partial file is removed"
        );
    }

    #[test]
    fn a_line_counts_when_its_end_is_there() {
        assert_eq!(whole_lines(b"a\nb\ntorn"), b"a\nb\n");
        assert_eq!(whole_lines(b"torn"), b"");
        assert_eq!(whole_lines(b""), b"");
    }
}
