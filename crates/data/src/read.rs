//! Bytes from files, never more than the limits allow.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::decode::Records;
use crate::error::{DataError, Place};

/// Compressed content may grow by this factor. Deflate itself ends at about 1,030; the data sets in use stay below
/// 60.
const MAX_RATIO: u64 = 200;
/// Content that stays below this size may grow by any factor.
const RATIO_FREE: u64 = 64 << 20;
/// Bytes that are enough to tell a format.
const SAMPLE: u64 = 64 << 10;

/// What decompression may make of `compressed` bytes: at most `max_bytes`, and beyond 64 MiB at most 200 times the
/// compressed size, so that a small file can never fill the memory.
pub(crate) fn decompressed_cap(compressed: u64, max_bytes: u64) -> u64 {
    compressed
        .saturating_mul(MAX_RATIO)
        .max(RATIO_FREE)
        .min(max_bytes)
}

/// The error of content that would pass `cap`.
pub(crate) fn over_cap(file: &str, cap: u64, max_bytes: u64) -> DataError {
    let reason = if cap == max_bytes {
        format!("more than data.max_bytes = {max_bytes} bytes")
    } else {
        format!(
            "decompresses to more than {cap} bytes, {MAX_RATIO} times its size: this looks like a decompression bomb"
        )
    };
    DataError::too_large(file, reason)
}

pub(crate) fn read_error(path: &Path, source: io::Error) -> DataError {
    DataError::Read {
        path: path.to_owned(),
        source,
    }
}

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

fn damaged_gzip(file: &str, at: usize, error: &io::Error) -> DataError {
    let reason = format!("damaged gzip stream: {error}");
    DataError::malformed(file, Place::Byte(at as u64), reason)
}

/// Decompresses `bytes` if they are gzip (told by content); otherwise hands them back.
///
/// # Errors
/// [`DataError::TooLarge`] beyond the limits; [`DataError::Malformed`] if the stream is damaged or cut short.
pub(crate) fn gunzip(file: &str, bytes: Vec<u8>, max_bytes: u64) -> Result<Vec<u8>, DataError> {
    if !is_gzip(&bytes) {
        return Ok(bytes);
    }
    let cap = decompressed_cap(bytes.len() as u64, max_bytes);
    let mut content = Vec::new();
    MultiGzDecoder::new(&bytes[..])
        .take(cap.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| damaged_gzip(file, content.len(), &error))?;
    if content.len() as u64 > cap {
        return Err(over_cap(file, cap, max_bytes));
    }
    Ok(content)
}

/// The decompressed content of a file.
pub(crate) fn content(path: &Path, max_bytes: u64) -> Result<Vec<u8>, DataError> {
    let name = path.display().to_string();
    let size = fs::metadata(path)
        .map_err(|error| read_error(path, error))?
        .len();
    if size > max_bytes {
        return Err(over_cap(&name, max_bytes, max_bytes));
    }
    // `take`, since the file may have grown since.
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(max_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|error| read_error(path, error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(over_cap(&name, max_bytes, max_bytes));
    }
    gunzip(&name, bytes, max_bytes)
}

/// About how many bytes a file has once decompressed: eight times its size if it is gzip.
pub(crate) fn unpacked(path: &Path) -> Result<u64, DataError> {
    let mut file = File::open(path).map_err(|error| read_error(path, error))?;
    let size = file
        .metadata()
        .map_err(|error| read_error(path, error))?
        .len();
    let mut head = Vec::new();
    file.by_ref()
        .take(2)
        .read_to_end(&mut head)
        .map_err(|error| read_error(path, error))?;
    Ok(if is_gzip(&head) {
        size.saturating_mul(8)
    } else {
        size
    })
}

/// The decompressed content of a file, to be read bit by bit. It may be larger than the memory; compressed content still
/// ends at 200 times its size.
pub(crate) fn stream(path: &Path) -> Result<Box<dyn Read + Send>, DataError> {
    let mut file = File::open(path).map_err(|error| read_error(path, error))?;
    let size = file
        .metadata()
        .map_err(|error| read_error(path, error))?
        .len();
    let mut head = [0; 2];
    let mut known = 0;
    while known < head.len() {
        match file
            .read(&mut head[known..])
            .map_err(|error| read_error(path, error))?
        {
            0 => break,
            more => known += more,
        }
    }
    let whole = io::Cursor::new(head).take(known as u64).chain(file);
    match is_gzip(&head[..known]) {
        false => Ok(Box::new(whole)),
        true => Ok(Box::new(Capped {
            content: MultiGzDecoder::new(io::BufReader::with_capacity(1 << 20, whole)),
            left: decompressed_cap(size, u64::MAX),
        })),
    }
}

/// The rows of a table's file, block by block, whatever its size. The delimiter is seen from the content.
///
/// # Errors
/// [`DataError::Read`], and as [`Records::new`].
pub fn table_reader(path: &Path) -> Result<Records<Box<dyn Read + Send>>, DataError> {
    Records::new(&path.display().to_string(), stream(path)?, None)
}

/// A reader that fails once more than it may was read.
struct Capped<R> {
    content: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!(
                "it decompresses to more than {MAX_RATIO} times its size: this looks like a decompression bomb"
            ))
        })?;
        Ok(count)
    }
}

/// The first bytes of a file's decompressed content.
///
/// A gzip stream with damage further on gives what comes before it: the damage is named when the file is read.
///
/// # Errors
/// [`DataError::Read`], and [`DataError::Malformed`] for a gzip stream that is damaged from the start.
pub(crate) fn sample(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut file = File::open(path).map_err(|error| read_error(path, error))?;
    let mut head = Vec::new();
    file.by_ref()
        .take(SAMPLE)
        .read_to_end(&mut head)
        .map_err(|error| read_error(path, error))?;
    if is_gzip(&head) {
        let mut content = Vec::new();
        let whole_file = io::Cursor::new(head).chain(file);
        let result = MultiGzDecoder::new(whole_file)
            .take(SAMPLE)
            .read_to_end(&mut content);
        if let (Err(error), true) = (result, content.is_empty()) {
            let file = path.display().to_string();
            return Err(damaged_gzip(&file, 0, &error));
        }
        return Ok(content);
    }
    Ok(head)
}

/// The entries of a folder by name, hidden ones (leading dot) left out.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| read_error(folder, error))? {
        let entry = entry.map_err(|error| read_error(folder, error))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gz(len: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; len]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_ratio() {
        let bomb = gz(100 << 20);
        assert!(bomb.len() < 200 << 10);
        let error = gunzip("bomb.gz", bomb, 4 << 30).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bomb.gz: too large: decompresses to more than 67108864 bytes, 200 times its size: this looks like a \
             decompression bomb"
        );
    }

    #[test]
    fn the_limit_of_the_config_holds_to_the_byte() {
        assert_eq!(gunzip("a", gz(1000), 1000).unwrap().len(), 1000);
        assert_eq!(
            gunzip("a", gz(1001), 1000).unwrap_err().to_string(),
            "a: too large: more than data.max_bytes = 1000 bytes"
        );
    }

    #[test]
    fn damage_is_told_with_the_byte() {
        let mut bytes = gz(1000);
        bytes.truncate(bytes.len() - 9);
        let text = gunzip("a.gz", bytes, 4 << 30).unwrap_err().to_string();
        assert!(text.contains("damaged gzip stream"), "{text}");
    }
}
