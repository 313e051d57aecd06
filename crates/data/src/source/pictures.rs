//! A folder of class folders with PNG or JPEG files.

use std::path::{Path, PathBuf};

use super::{Format, Piece, Pieces};
use crate::config::DataConfig;
use crate::dataset::{ExampleShape, MAX_CLASSES};
use crate::decode::{PictureSize, picture, picture_size};
use crate::error::{DataError, Place};
use crate::images::{Images, Origin, Pixels};
use crate::read;
use crate::sites::Owners;

/// Reads all pictures below `root`: a class for each of `folders`. All have one size; grey unless one has colour.
pub(super) fn read(
    root: &Path,
    folders: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    if folders.len() > MAX_CLASSES {
        let reason = format!(
            "{} class folders; at most {MAX_CLASSES} are read",
            folders.len()
        );
        return Err(DataError::too_large(&root.display().to_string(), reason));
    }
    let mut names = Vec::new();
    let mut origins = Vec::new();
    let mut labels = Vec::new();
    let mut files = Vec::new();
    for (class, folder) in (0..).zip(folders) {
        let entries = read::entries(folder)?;
        if entries.is_empty() {
            return Err(DataError::empty(
                &folder.display().to_string(),
                "the class folder holds no picture",
            ));
        }
        names.push(
            folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        );
        origins.push(Origin {
            first_row: labels.len(),
            file: folder.display().to_string(),
            label_bytes: None,
        });
        labels.extend(std::iter::repeat_n(class, entries.len()));
        files.extend(entries);
    }
    let shape = common_shape(&files, config)?;
    let values = (files.len() as u64).saturating_mul(shape.len() as u64);
    if values.saturating_mul(4) > config.max_bytes {
        let reason = format!(
            "{} pictures of {shape} take {} bytes, more than data.max_bytes = {}",
            files.len(),
            values.saturating_mul(4),
            config.max_bytes
        );
        return Err(DataError::too_large(&root.display().to_string(), reason));
    }
    let mut pixels = Vec::with_capacity(files.len() * shape.len());
    for path in &files {
        let content = picture_content(path, config)?;
        pixels.extend(picture(
            &path.display().to_string(),
            &content,
            shape.channels == 3,
        )?);
    }
    let images = Images {
        file: root.display().to_string(),
        shape,
        pixels: Pixels::Bytes(pixels),
        white: 255.0,
        owners: Owners::new(owner.map(str::to_owned), labels.len()),
        labels,
        names,
        origins,
    };
    Ok(Pieces {
        format: Format::Pictures,
        train: vec![Piece::Images(images)],
        test: Vec::new(),
        notes: Vec::new(),
    })
}

fn picture_content(path: &Path, config: &DataConfig) -> Result<Vec<u8>, DataError> {
    if path.is_dir() {
        let reason = "a folder inside a class folder";
        return Err(DataError::malformed(
            &path.display().to_string(),
            Place::File,
            reason,
        ));
    }
    read::content(path, config.max_bytes)
}

/// The one shape of all pictures, from their headers.
fn common_shape(files: &[PathBuf], config: &DataConfig) -> Result<ExampleShape, DataError> {
    let mut first: Option<(PictureSize, &Path)> = None;
    let mut colour = false;
    for path in files {
        let content = picture_content(path, config)?;
        let file = path.display().to_string();
        let size = picture_size(&file, &content)?;
        colour |= size.colour;
        let (wanted, first_file) = *first.get_or_insert((size, path));
        if (size.height, size.width) != (wanted.height, wanted.width) {
            let reason = format!(
                "{}x{} pixels, but {} has {}x{}",
                size.height,
                size.width,
                first_file.display(),
                wanted.height,
                wanted.width
            );
            return Err(DataError::malformed(&file, Place::File, reason));
        }
    }
    let (height, width) = first.map_or((0, 0), |(size, _)| (size.height, size.width));
    Ok(ExampleShape {
        channels: if colour { 3 } else { 1 },
        height,
        width,
    })
}
