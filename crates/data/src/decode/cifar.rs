//! CIFAR-10 binary: records of one label byte and 3,072 pixel bytes, planes R, G, B of 32 x 32 (Krizhevsky 2009).

use crate::error::{DataError, Place};

/// Bytes of a record.
pub const CIFAR_RECORD: usize = 1 + CIFAR_PIXELS;
/// Pixel bytes of a record: 3 x 32 x 32.
pub const CIFAR_PIXELS: usize = 3072;

/// Splits CIFAR-10 records into labels (each below `classes`) and pixels (3 x 32 x 32 bytes an image).
///
/// # Errors
/// [`DataError::Empty`] without a record, [`DataError::Truncated`] if the last record is not whole,
/// [`DataError::UnknownLabel`] for a label of `classes` or more.
pub fn cifar10(
    file: &str,
    content: &[u8],
    classes: usize,
) -> Result<(Vec<u32>, Vec<u8>), DataError> {
    if content.is_empty() {
        return Err(DataError::empty(file, "holds no record"));
    }
    let (records, rest) = content.as_chunks::<CIFAR_RECORD>();
    if !rest.is_empty() {
        return Err(DataError::Truncated {
            file: file.to_owned(),
            expected: ((records.len() + 1) * CIFAR_RECORD) as u64,
            found: content.len() as u64,
        });
    }
    let mut labels = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        if usize::from(record[0]) >= classes {
            return Err(DataError::UnknownLabel {
                file: file.to_owned(),
                place: Place::Byte((index * CIFAR_RECORD) as u64),
                label: record[0].to_string(),
                classes: format!("{classes} of them"),
            });
        }
        labels.push(u32::from(record[0]));
    }
    let mut pixels = Vec::with_capacity(records.len() * CIFAR_PIXELS);
    for record in records {
        pixels.extend_from_slice(&record[1..]);
    }
    Ok((labels, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_whole_and_labels_in_range() {
        let mut content = vec![7; 2 * CIFAR_RECORD];
        content[0] = 3;
        content[CIFAR_RECORD] = 9;
        let (labels, pixels) = cifar10("c", &content, 10).unwrap();
        assert_eq!((labels, pixels), (vec![3, 9], vec![7; 2 * CIFAR_PIXELS]));

        content[CIFAR_RECORD] = 10;
        assert_eq!(
            cifar10("c", &content, 10).unwrap_err().to_string(),
            "c: byte 3073: label '10' is beyond the classes (10 of them)"
        );
        content.pop();
        assert_eq!(
            cifar10("c", &content, 10).unwrap_err().to_string(),
            "c: cut short: 6146 bytes expected, 6145 found"
        );
        assert_eq!(
            cifar10("c", &[], 10).unwrap_err().to_string(),
            "c: holds no record"
        );
    }
}
