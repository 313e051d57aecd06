//! The files of a leakage report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{FORMAT, LeakageReport};
use crate::record::file::{read_if_present, write_atomic};
use crate::record::{RecordError, file_name, reader};

/// Largest picture that is read, and most bytes of all pictures of a report: a page that embeds them stays sendable.
const MOST_PICTURE: usize = 4 << 20;
const MOST_PICTURES: usize = 24 << 20;

/// Widest and highest picture, in pixels: a small file can unfold into a very large one.
const MOST_SIDE: u32 = 8_192;

/// A leakage report with its pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leakage {
    /// The report.
    pub report: LeakageReport,
    /// The PNG files that its rows name, by file name. Those that are absent, too large or no PNG are left out.
    pub pictures: BTreeMap<String, Vec<u8>>,
}

impl Leakage {
    /// The leakage report in a run folder; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`LeakageReport::read`]; [`RecordError::Io`] for a picture that is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        let Some(report) = LeakageReport::read(folder)? else {
            return Ok(None);
        };
        let mut pictures = BTreeMap::new();
        let mut total = 0;
        for name in report
            .inversions
            .iter()
            .filter_map(|row| row.picture.as_ref())
        {
            if !is_picture_name(name) || pictures.contains_key(name) {
                continue;
            }
            let path = folder.join(file_name::LEAKAGE).join(name);
            // A link could name any file of the reader's machine.
            if !fs::symlink_metadata(&path).is_ok_and(|data| data.is_file()) {
                continue;
            }
            let bytes = read_if_present(&path)?.unwrap_or_default();
            if png_size(&bytes).is_some() && bytes.len() <= MOST_PICTURE.min(MOST_PICTURES - total)
            {
                total += bytes.len();
                pictures.insert(name.clone(), bytes);
            }
        }
        Ok(Some(Self { report, pictures }))
    }
}

impl LeakageReport {
    /// The leakage report in a run folder, without its pictures; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`] for contents that no writer wrote, or that a later version did;
    /// [`RecordError::TooLarge`]; [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = json_path(folder);
        let Some(bytes) = read_if_present(&path)? else {
            return Ok(None);
        };
        let malformed = |error: serde_json::Error| {
            let line = error.line().max(1) as u64;
            RecordError::malformed(&path, line, reader::json_message(&error))
        };
        let Version { format } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if format != FORMAT {
            let message = format!("is of format {format}; this version reads format {FORMAT}");
            return Err(RecordError::malformed(&path, 1, message));
        }
        serde_json::from_slice(&bytes).map_err(malformed).map(Some)
    }

    /// Writes the report into a run folder, in one step; the folder `leakage` is made where it is absent. Pictures go
    /// before it, by [`write_picture`].
    ///
    /// # Errors
    ///
    /// [`RecordError::Encode`] for a report that has no JSON; [`RecordError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let path = json_path(folder);
        let mut bytes = self.json(&path)?;
        bytes.push(b'\n');
        make_folder(folder)?;
        write_atomic(&path, &bytes)
    }

    fn json(&self, path: &Path) -> Result<Vec<u8>, RecordError> {
        serde_json::to_vec_pretty(self).map_err(|error| RecordError::Encode {
            file: path.to_owned(),
            message: error.to_string(),
        })
    }
}

/// Writes a picture beside the leakage report of a run folder, in one step. `name` is what [`super::InversionRow::picture`]
/// says: a file name of letters, digits, `-`, `_` and `.` that ends in `.png`.
///
/// # Errors
///
/// [`RecordError::Encode`] for another name, or bytes that are no PNG of at most 4 MiB and 8,192 pixels a side; [`RecordError::Io`].
pub fn write_picture(folder: &Path, name: &str, png: &[u8]) -> Result<(), RecordError> {
    let refuse = |message: &str| RecordError::Encode {
        file: PathBuf::from(name),
        message: message.to_owned(),
    };
    if !is_picture_name(name) {
        return Err(refuse("is no name for a picture"));
    }
    if png_size(png).is_none() || png.len() > MOST_PICTURE {
        return Err(refuse("is no PNG of at most 4 MiB and 8,192 pixels a side"));
    }
    make_folder(folder)?;
    write_atomic(&folder.join(file_name::LEAKAGE).join(name), png)
}

fn make_folder(folder: &Path) -> Result<(), RecordError> {
    let folder = folder.join(file_name::LEAKAGE);
    fs::create_dir_all(&folder).map_err(RecordError::io("cannot make", &folder))
}

fn json_path(folder: &Path) -> PathBuf {
    folder
        .join(file_name::LEAKAGE)
        .join(file_name::LEAKAGE_JSON)
}

/// A bare file name, so that a report from a stranger reaches no other folder.
fn is_picture_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.len() <= 120 && name.ends_with(".png") && !name.starts_with('.') && name.chars().all(plain)
}

/// Width and height of a PNG in pixels, by its header; `None` for other bytes, and for pictures wider or higher than
/// [`MOST_SIDE`].
pub(crate) fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let size = (number(0)?, number(4)?);
    let fits = |side: u32| (1..=MOST_SIDE).contains(&side);
    (fits(size.0) && fits(size.1)).then_some(size)
}
