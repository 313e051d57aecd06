//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::StoreError;

/// How the names of files begin that are not complete.
pub(super) const UNFINISHED: &str = ".new-";

/// Puts a file into a folder under a name, at one instant, and comes back when the disk has both.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = folder.join(name);
    // On an error the unfinished file is removed, so that a full disk does not stay full for it.
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .map_err(StoreError::file("make a file for", &path))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(StoreError::file("write", &path))?;
    file.persist(&path)
        .map_err(|error| StoreError::file("write", &path)(error.error))?;
    sync_folder(folder)
}

/// Waits until the disk knows the names in a folder.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::file("sync", folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Makes a folder that its owner alone may enter, if it is not there.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(StoreError::file("create", path))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Reads a file of which length and SHA-256 are known; neither is taken from the file.
pub(super) fn read(path: &Path, bytes: u64, sha256: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
    let open = || -> std::io::Result<(File, u64)> {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        Ok((file, found))
    };
    let (file, found) = open().map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::broken(path, "the file is missing"),
        _ => StoreError::file("open", path)(error),
    })?;
    // Compared before anything is read: the file on the disk bounds what is allocated.
    if found != bytes {
        let reason = format!("the file was changed: it has {found} bytes instead of {bytes}");
        return Err(StoreError::broken(path, reason));
    }
    let mut content = Vec::new();
    file.take(bytes)
        .read_to_end(&mut content)
        .map_err(StoreError::file("read", path))?;
    if Sha256::digest(&content)[..] != sha256[..] {
        return Err(StoreError::broken(
            path,
            "the file was changed: its digest is another",
        ));
    }
    Ok(content)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file that holds a secret, if it is there, and overwrites it before: what a disk then keeps of it, it keeps
/// by its own doing.
pub(super) fn wipe(path: &Path) -> Result<(), StoreError> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::file("open", path)(error)),
    };
    let zeros = [0; super::entry::NOISE];
    file.write_all(&zeros)
        .and_then(|()| file.sync_all())
        .map_err(StoreError::file("overwrite", path))?;
    remove(path)
}

/// The names of the files in a folder; none if there is no such folder. Names that are not text are none of ours.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::file("look into", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::file("look into", folder))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Gives a complete file a second name; copies it where files have one name only. A file that has the name already stays:
/// names say what is in the files that are given some by this.
pub(super) fn link(from: &Path, folder: &Path, name: &str) -> Result<(), StoreError> {
    let to = folder.join(name);
    let Err(error) = fs::hard_link(from, &to) else {
        return Ok(());
    };
    match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::CrossesDevices => {
            copy(from, folder, &to)
        }
        _ => Err(StoreError::file("link", &to)(error)),
    }
}

fn copy(from: &Path, folder: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = File::open(from).map_err(StoreError::file("open", from))?;
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .map_err(StoreError::file("make a file for", to))?;
    std::io::copy(&mut source, &mut file)
        .and_then(|_| file.as_file().sync_all())
        .map_err(StoreError::file("write", to))?;
    file.persist(to)
        .map(drop)
        .map_err(|error| StoreError::file("write", to)(error.error))
}
