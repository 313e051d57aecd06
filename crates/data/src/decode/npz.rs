//! NumPy's archive of arrays: a zip of `NAME.npy`, stored or deflated.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::npy::{NpyArray, npy};
use crate::error::{DataError, Place};
use crate::read::{decompressed_cap, over_cap};

/// Most members of an archive.
const MAX_ENTRIES: usize = 1024;

/// Reads those arrays of an archive whose name (without `.npy`) `wanted` accepts.
///
/// Together they may not pass `max_bytes` once decompressed, nor, beyond 64 MiB, 200 times the size of the archive,
/// whatever their headers claim.
///
/// # Errors
/// [`DataError::Malformed`] for a damaged archive or array, [`DataError::TooLarge`] beyond the limits.
pub fn npz(
    file: &str,
    content: &[u8],
    max_bytes: u64,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<BTreeMap<String, NpyArray>, DataError> {
    let damaged = |error: &dyn std::fmt::Display| {
        DataError::malformed(file, Place::File, format!("damaged zip archive: {error}"))
    };
    let mut archive = ZipArchive::new(Cursor::new(content)).map_err(|error| damaged(&error))?;
    if archive.len() > MAX_ENTRIES {
        let reason = format!("{} members; at most {MAX_ENTRIES} are read", archive.len());
        return Err(DataError::too_large(file, reason));
    }
    let cap = decompressed_cap(content.len() as u64, max_bytes);
    let mut left = cap;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| damaged(&error))?;
        let full_name = entry.name().map_err(|error| damaged(&error))?.into_owned();
        let Some(name) = full_name.strip_suffix(".npy").filter(|name| wanted(name)) else {
            continue;
        };
        if entry.size() > left {
            return Err(over_cap(file, cap, max_bytes));
        }
        // The declared size may lie: what is read is bounded as well.
        let mut bytes = Vec::new();
        entry
            .by_ref()
            .take(left.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| {
                let place = Place::Entry(full_name.clone());
                DataError::malformed(file, place, format!("damaged: {error}"))
            })?;
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| over_cap(file, cap, max_bytes))?;
        arrays.insert(
            name.to_owned(),
            npy(&format!("{file}/{full_name}"), &bytes)?,
        );
    }
    Ok(arrays)
}
