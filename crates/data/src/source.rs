//! From paths to the parts of a set.

mod arrays;
mod pictures;

use std::path::{Path, PathBuf};

use crate::classes::shortened;
use crate::config::{DataConfig, Paths};
use crate::decode::{Dialect, table};
use crate::error::DataError;
use crate::images::{ImageSet, Images};
use crate::read;
use crate::recognise::{Kind, kind};
use crate::sites::{Role, owner_names};
use crate::tables::{TableFile, TablePart, TableSet};

/// The format that content was recognised as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Bundled,
    Idx,
    Cifar10,
    Npz,
    Table,
    Pictures,
}

impl Format {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Bundled => "inside the binary",
            Self::Idx => "IDX",
            Self::Cifar10 => "CIFAR-10 binary",
            Self::Npz => "npz",
            Self::Table => "table",
            Self::Pictures => "folder of class folders",
        }
    }
}

/// A set as it was read: rows neither chosen nor coded.
pub(crate) struct Source {
    pub(crate) format: Format,
    pub(crate) content: Content,
    pub(crate) notes: Vec<String>,
}

pub(crate) enum Content {
    Images(Box<ImageSet>),
    Tables(TableSet),
}

/// What one file, or the files that belong together, hold.
enum Piece {
    Images(Images),
    Table(TableFile),
}

/// Pieces read from one path.
struct Pieces {
    format: Format,
    train: Vec<Piece>,
    test: Vec<Piece>,
    notes: Vec<String>,
}

/// Reads what the config names. The config that comes back has a bundled set's own settings filled in.
pub(crate) fn read_source(config: &DataConfig) -> Result<(Source, DataConfig), DataError> {
    let Some(path) = &config.path else {
        let name = config.dataset.as_deref().unwrap_or_default();
        return crate::bundled::source(name, config);
    };
    let mut all = read_paths(path, config)?;
    if let Some(test_path) = &config.test_path {
        let mut test = read_paths(test_path, config)?;
        if !all.test.is_empty() {
            all.notes
                .push("data.test_path replaces the test part that data.path holds".to_owned());
        }
        all.notes.append(&mut test.notes);
        all.test = if test.test.is_empty() {
            test.train
        } else {
            test.test
        };
    }
    if all.train.is_empty() {
        // Files that are all called "test" are the data that was asked for.
        all.train = std::mem::take(&mut all.test);
    }
    let display = path
        .iter()
        .next()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let source = Source {
        format: all.format,
        content: join(&display, all.train, all.test)?,
        notes: all.notes,
    };
    Ok((source, config.clone()))
}

/// The name that reports show: `dataset`, else the last part of the path.
pub(crate) fn display_name(config: &DataConfig) -> String {
    if let Some(name) = &config.dataset {
        return name.clone();
    }
    let path = config.path.as_ref().and_then(|path| path.iter().next());
    path.map(|path| owner_names(&[path]).concat())
        .unwrap_or_default()
}

fn read_paths(paths: &Paths, config: &DataConfig) -> Result<Pieces, DataError> {
    let list = match paths {
        Paths::One(path) => return read_path(path, None, config),
        Paths::Many(list) => list,
    };
    let paths: Vec<&Path> = list.iter().map(PathBuf::as_path).collect();
    let mut all: Option<Pieces> = None;
    for (path, owner) in paths.iter().zip(owner_names(&paths)) {
        let pieces = read_path(path, Some(&owner), config)?;
        match &mut all {
            None => all = Some(pieces),
            Some(all) if all.format == pieces.format => {
                all.train.extend(pieces.train);
                all.test.extend(pieces.test);
                all.notes.extend(pieces.notes);
            }
            Some(all) => return Err(mixed(path, pieces.format.words(), all.format.words())),
        }
    }
    all.ok_or_else(|| DataError::setting("path", "the list is empty"))
}

fn mixed(path: &Path, is: &str, others: &str) -> DataError {
    DataError::Unrecognised {
        file: path.display().to_string(),
        reason: format!("holds {is}, beside others that hold {others}"),
    }
}

fn unrecognised(path: &Path, reason: &str) -> DataError {
    DataError::Unrecognised {
        file: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// Reads a file or folder. Its rows belong to `owner`, if one is given.
fn read_path(path: &Path, owner: Option<&str>, config: &DataConfig) -> Result<Pieces, DataError> {
    let meta = std::fs::metadata(path).map_err(|error| read::read_error(path, error))?;
    if meta.is_dir() {
        return read_folder(path, owner, config);
    }
    if !meta.is_file() {
        return Err(unrecognised(path, "neither a file nor a folder"));
    }
    let kind = kind(path)?;
    if let Kind::Text { .. } = kind {
        // A file that was named is meant, however ragged it looks.
        return read_files(
            Kind::Text { table: true },
            &[path.to_owned()],
            owner,
            config,
        );
    }
    match kind {
        Kind::Cifar10 | Kind::Zip => read_files(kind, &[path.to_owned()], owner, config),
        Kind::Empty => Err(DataError::empty(
            &path.display().to_string(),
            "the file is empty",
        )),
        Kind::IdxImages | Kind::IdxLabels => Err(unrecognised(
            path,
            "one IDX file; give the folder that holds images and labels",
        )),
        Kind::Picture => Err(unrecognised(
            path,
            "one picture; give the folder that holds a folder of pictures for each class",
        )),
        _ => Err(unrecognised(path, KNOWN)),
    }
}

const KNOWN: &str = "neither IDX, CIFAR-10 binary, npz nor a table, as such or in gzip, nor a folder of class folders";

/// Data files of a folder that hold the same, what was passed over, and subfolders.
struct Folder {
    kind: Option<Kind>,
    files: Vec<PathBuf>,
    other: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn look_into(folder: &Path) -> Result<Folder, DataError> {
    let mut found = Folder {
        kind: None,
        files: Vec::new(),
        other: Vec::new(),
        folders: Vec::new(),
    };
    let mut tables = Vec::new();
    for entry in read::entries(folder)? {
        if entry.is_dir() {
            found.folders.push(entry);
            continue;
        }
        // To open a pipe would wait for somebody to write to it.
        if !entry.is_file() {
            found.other.push(entry);
            continue;
        }
        let family = match kind(&entry)? {
            // Images and labels come in pairs.
            Kind::IdxLabels => Kind::IdxImages,
            Kind::Text { table: true } => {
                tables.push(entry);
                continue;
            }
            Kind::Empty => {
                return Err(DataError::empty(
                    &entry.display().to_string(),
                    "the file is empty",
                ));
            }
            kind => kind,
        };
        if matches!(family, Kind::Text { .. } | Kind::Other | Kind::Picture) {
            found.other.push(entry);
        } else if found.kind.is_none_or(|kind| kind == family) {
            found.kind = Some(family);
            found.files.push(entry);
        } else {
            return Err(unrecognised(
                folder,
                &format!("a mixture of formats: see {}", entry.display()),
            ));
        }
    }
    if found.kind.is_none() && !tables.is_empty() {
        found.kind = Some(Kind::Text { table: true });
        found.files = tables;
    } else {
        found.other.extend(tables);
    }
    Ok(found)
}

fn read_folder(path: &Path, owner: Option<&str>, config: &DataConfig) -> Result<Pieces, DataError> {
    let Folder {
        kind,
        files,
        other,
        folders,
    } = look_into(path)?;
    let mut passed_over = other;
    let mut pieces = match kind {
        Some(kind) => {
            passed_over.extend(folders);
            read_files(kind, &files, owner, config)?
        }
        None if folders.is_empty() => {
            let reason = "the folder holds no data";
            return Err(DataError::empty(&path.display().to_string(), reason));
        }
        None if folders.iter().any(|folder| Role::told(folder).is_some()) => {
            read_parts(&folders, owner, config, &mut passed_over)?
        }
        None => pictures::read(path, &folders, owner, config)?,
    };
    if !passed_over.is_empty() {
        let names: Vec<String> = passed_over
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let names = shortened(names.iter().map(String::as_str));
        pieces
            .notes
            .push(format!("{}: passed over: {names}", path.display()));
    }
    Ok(pieces)
}

/// Folders called train and test, of any format each.
fn read_parts(
    folders: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
    passed_over: &mut Vec<PathBuf>,
) -> Result<Pieces, DataError> {
    let mut all: Option<Pieces> = None;
    for folder in folders {
        let Some(role @ (Role::Train | Role::Test)) = Role::told(folder) else {
            passed_over.push(folder.clone());
            continue;
        };
        let mut pieces = read_folder(folder, owner, config)?;
        let mut rows = std::mem::take(&mut pieces.train);
        rows.append(&mut pieces.test);
        match role {
            Role::Train => pieces.train = rows,
            _ => pieces.test = rows,
        }
        match &mut all {
            None => all = Some(pieces),
            Some(all) if all.format == pieces.format => {
                all.train.append(&mut pieces.train);
                all.test.append(&mut pieces.test);
                all.notes.append(&mut pieces.notes);
            }
            Some(all) => return Err(mixed(folder, pieces.format.words(), all.format.words())),
        }
    }
    all.ok_or_else(|| DataError::setting("path", "the folder holds only a validation part"))
}

fn read_files(
    kind: Kind,
    files: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    match kind {
        Kind::Cifar10 => arrays::cifar10(files, owner, config),
        Kind::Zip => arrays::npz(files, owner, config),
        Kind::IdxImages | Kind::IdxLabels => arrays::idx(files, owner, config),
        _ => tables(files, owner, config),
    }
}

/// A file of a table, and the owner that all its rows have.
#[derive(Clone, Debug)]
pub(crate) struct TablePath {
    pub(crate) path: PathBuf,
    pub(crate) owner: Option<String>,
}

/// The files of a table, not read yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct TablePaths {
    pub(crate) train: Vec<TablePath>,
    pub(crate) test: Vec<TablePath>,
    pub(crate) notes: Vec<String>,
}

impl TablePaths {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        self.train
            .iter()
            .chain(&self.test)
            .map(|file| file.path.as_path())
    }
}

/// How tables are declared to be written.
pub(crate) fn dialect(config: &DataConfig) -> Dialect {
    Dialect {
        header: config.header,
        // A character that is not ASCII was refused by `DataConfig::check`.
        delimiter: config.delimiter.and_then(|c| u8::try_from(c).ok()),
        missing: config.missing.clone(),
    }
}

/// The parts and owners of table files: one file is one owner where there are several of a part.
fn table_paths(files: &[PathBuf], owner: Option<&str>) -> TablePaths {
    let mut paths = TablePaths::default();
    for (role, into) in [
        (Role::Train, &mut paths.train),
        (Role::Test, &mut paths.test),
    ] {
        let of_role: Vec<&Path> = files
            .iter()
            .map(PathBuf::as_path)
            .filter(|file| Role::of_name(file) == role)
            .collect();
        let owners = if of_role.len() > 1 {
            owner_names(&of_role)
        } else {
            Vec::new()
        };
        into.extend(of_role.iter().enumerate().map(|(index, path)| {
            TablePath {
                path: path.to_path_buf(),
                owner: owner
                    .or(owners.get(index).map(String::as_str))
                    .map(str::to_owned),
            }
        }));
    }
    note_validation(files, &mut paths.notes);
    paths
}

/// The files that `config` names, if all of them are tables and no folder has folders for its parts.
pub(crate) fn tables_of(config: &DataConfig) -> Result<Option<TablePaths>, DataError> {
    let Some(path) = &config.path else {
        return Ok(None);
    };
    let Some(mut all) = tables_at(path)? else {
        return Ok(None);
    };
    if let Some(test_path) = &config.test_path {
        let Some(test) = tables_at(test_path)? else {
            return Ok(None);
        };
        all.test = if test.test.is_empty() {
            test.train
        } else {
            test.test
        };
        all.notes.extend(test.notes);
    }
    if all.train.is_empty() {
        all.train = std::mem::take(&mut all.test);
    }
    Ok(Some(all))
}

fn tables_at(paths: &Paths) -> Result<Option<TablePaths>, DataError> {
    let list: Vec<&Path> = paths.iter().collect();
    let owners = match paths {
        Paths::One(_) => Vec::new(),
        Paths::Many(_) => owner_names(&list),
    };
    let mut all = TablePaths::default();
    for (at, path) in list.iter().enumerate() {
        let owner = owners.get(at).map(String::as_str);
        let meta = std::fs::metadata(path).map_err(|error| read::read_error(path, error))?;
        let files = if meta.is_dir() {
            let found = look_into(path)?;
            match found.kind {
                Some(Kind::Text { .. }) if found.folders.is_empty() && found.other.is_empty() => {
                    found.files
                }
                _ => return Ok(None),
            }
        } else if meta.is_file() && matches!(kind(path)?, Kind::Text { .. }) {
            vec![path.to_path_buf()]
        } else {
            return Ok(None);
        };
        let more = table_paths(&files, owner);
        all.train.extend(more.train);
        all.test.extend(more.test);
        all.notes.extend(more.notes);
    }
    Ok(Some(all))
}

/// Tables: one file is one owner where there are several.
fn tables(
    files: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    let dialect = dialect(config);
    let paths = table_paths(files, owner);
    let mut pieces = Pieces {
        format: Format::Table,
        train: Vec::new(),
        test: Vec::new(),
        notes: Vec::new(),
    };
    for (paths, into) in [
        (paths.train, &mut pieces.train),
        (paths.test, &mut pieces.test),
    ] {
        for path in paths {
            let file = path.path.display().to_string();
            let content = read::content(&path.path, config.max_bytes)?;
            let grid = table(&file, &content, &dialect)?;
            into.push(Piece::Table(TableFile {
                file,
                owner: path.owner,
                grid,
            }));
        }
    }
    pieces.notes.extend(paths.notes);
    Ok(pieces)
}

/// Says that validation files are not used.
fn note_validation(files: &[PathBuf], notes: &mut Vec<String>) {
    for file in files
        .iter()
        .filter(|file| Role::of_name(file) == Role::Validation)
    {
        notes.push(format!("{}: a validation part, not used", file.display()));
    }
}

/// Joins pieces into parts. All are of one format by now.
fn join(path: &str, train: Vec<Piece>, test: Vec<Piece>) -> Result<Content, DataError> {
    let (train_images, train_tables) = sort(train)?;
    let (test_images, test_tables) = sort(test)?;
    let part = |files: Vec<TableFile>| {
        (!files.is_empty())
            .then(|| TablePart::new(files))
            .transpose()
    };
    match (
        train_images,
        part(train_tables)?,
        test_images,
        part(test_tables)?,
    ) {
        (Some(train), None, test, None) => Ok(Content::Images(Box::new(ImageSet { train, test }))),
        (None, Some(train), None, test) => Ok(Content::Tables(TableSet { train, test })),
        (None, None, ..) => Err(DataError::empty(path, "no training part")),
        _ => Err(DataError::Unrecognised {
            file: path.to_owned(),
            reason: "images in one part, tables in the other".to_owned(),
        }),
    }
}

/// Images joined, and tables.
fn sort(pieces: Vec<Piece>) -> Result<(Option<Images>, Vec<TableFile>), DataError> {
    let mut images: Option<Images> = None;
    let mut tables = Vec::new();
    for piece in pieces {
        match (piece, &mut images) {
            (Piece::Table(table), _) => tables.push(table),
            (Piece::Images(first), None) => images = Some(first),
            (Piece::Images(more), Some(all)) => all.append(more)?,
        }
    }
    Ok((images, tables))
}
