//! Files and folders of keys: made new, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use super::PkiError;

/// The largest file that is read: registers of a hundred thousand certificates are below it, and a request or an answer
/// from outside can not fill the memory.
const LARGEST: u64 = 64 << 20;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    let file = File::open(path).map_err(PkiError::file("open", path))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(PkiError::file("read", path))?;
    if bytes.len() as u64 > LARGEST {
        return Err(PkiError::broken(path, "larger than 64 MiB"));
    }
    Ok(bytes)
}

/// Reads a file of text.
pub(crate) fn read_text(path: &Path) -> Result<String, PkiError> {
    String::from_utf8(read(path)?).map_err(|_| PkiError::broken(path, "not text"))
}

/// Writes a new file that everybody may read who may enter its folder.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut options = OpenOptions::new();
    write(options.write(true).create_new(true), path, bytes)
}

/// Writes a new file of mode 0600. The mode is given when it is made: a file that is narrowed later was open for a moment.
pub(crate) fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write(&options, path, bytes)
}

/// Adds to the end of a file, and comes back when the disk has it.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    write(OpenOptions::new().append(true).create(true), path, bytes)
}

fn write(options: &OpenOptions, path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut file = options.open(path).map_err(PkiError::file("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(PkiError::file("write", path))
}

/// Puts a file in the place of another at one instant.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let failed = |error| PkiError::file("write", path)(error);
    let mut file = tempfile::NamedTempFile::new_in(parent(path)).map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(path)
        .map(drop)
        .map_err(|error| failed(error.error))
}

/// Makes a folder that its owner alone may enter.
pub(crate) fn create_folder(path: &Path) -> Result<(), PkiError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(PkiError::file("create", path))
}

/// Makes a folder and what `fill` puts into it, or nothing: it is filled under another name and then renamed. The folder
/// may be there if it is empty.
pub(crate) fn create_folder_with<T>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<T, PkiError>,
) -> Result<T, PkiError> {
    refuse_full(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cloister-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let beside = builder
        .tempdir_in(parent(path))
        .map_err(PkiError::file("make a folder beside", path))?;
    let made = fill(beside.path())?;
    if path.is_dir() {
        // Fails if somebody has put something there in the meantime.
        fs::remove_dir(path).map_err(PkiError::file("replace", path))?;
    }
    fs::rename(beside.path(), path).map_err(PkiError::file("create", path))?;
    // It is not there any more under that name; dropping would look for it in vain.
    let _ = beside.keep();
    Ok(made)
}

fn refuse_full(path: &Path) -> Result<(), PkiError> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(PkiError::NotEmpty(path.to_owned())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PkiError::file("look into", path)(error)),
    }
}

/// The folder around; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a private key that every user of the machine may read.
pub(crate) fn refuse_public(path: &Path) -> Result<(), PkiError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = fs::metadata(path).map_err(PkiError::file("open", path))?;
        if meta.permissions().mode() & 0o007 != 0 {
            let reason = "every user of this machine may read the private key: chmod 600 it, and \
                          think of it as known to others";
            return Err(PkiError::broken(path, reason));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_whole_or_not_at_all() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("new");
        let fill = |folder: &Path| create(&folder.join("file"), b"1");
        let broken = create_folder_with(&path, |folder| {
            fill(folder)?;
            fill(folder)
        });
        assert!(broken.is_err());
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 0);
        fs::create_dir(&path).unwrap();
        create_folder_with(&path, fill).unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"1");
        let again = create_folder_with(&path, fill);
        assert!(matches!(again, Err(PkiError::NotEmpty(_))));
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
        let on_a_file = create_folder_with(&path.join("file"), fill);
        assert!(matches!(on_a_file, Err(PkiError::File { .. })));
    }
}
