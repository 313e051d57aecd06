//! IDX, the format of MNIST: magic 00 00 08 n, n big-endian sizes, then bytes (LeCun, Cortes and Burges).

use crate::error::{DataError, Place};

/// Checked header of an IDX file of bytes: `content[offset..]` is exactly the product of `sizes` long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxHeader {
    /// Sizes of the array, outermost first; 1 to 4 of them.
    pub sizes: Vec<usize>,
    /// Byte where the values begin.
    pub offset: usize,
}

/// Reads the header of the IDX file `content` and checks it against the bytes that are there.
///
/// # Errors
/// [`DataError::Malformed`] for another magic number or value type, [`DataError::Truncated`] for too few bytes.
pub fn idx(file: &str, content: &[u8]) -> Result<IdxHeader, DataError> {
    let truncated = |expected: u64| DataError::Truncated {
        file: file.to_owned(),
        expected,
        found: content.len() as u64,
    };
    let &[zero, zero_too, kind, rank] = content.first_chunk().ok_or_else(|| truncated(4))?;
    if (zero, zero_too) != (0, 0) {
        return Err(DataError::malformed(
            file,
            Place::Byte(0),
            "not an IDX file",
        ));
    }
    if kind != 0x08 {
        let reason = format!("IDX values of type 0x{kind:02x}; only bytes (0x08) are read");
        return Err(DataError::malformed(file, Place::Byte(2), reason));
    }
    if !(1..=4).contains(&rank) {
        let reason = format!("{rank} dimensions; 1 to 4 are read");
        return Err(DataError::malformed(file, Place::Byte(3), reason));
    }
    let offset = 4 + 4 * usize::from(rank);
    let header = content
        .get(4..offset)
        .ok_or_else(|| truncated(offset as u64))?;
    let sizes: Vec<u32> = header
        .chunks_exact(4)
        .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]))
        .collect();
    // Four 32-bit sizes fit 128 bits.
    let values: u128 = sizes.iter().map(|&size| u128::from(size)).product();
    let expected = u64::try_from(values + offset as u128).unwrap_or(u64::MAX);
    if expected > content.len() as u64 {
        return Err(truncated(expected));
    }
    if expected < content.len() as u64 {
        let reason = format!(
            "{} bytes after the {values} values that the header promises",
            content.len() as u64 - expected
        );
        return Err(DataError::malformed(file, Place::Byte(expected), reason));
    }
    Ok(IdxHeader {
        sizes: sizes.into_iter().map(|size| size as usize).collect(),
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked_against_the_bytes() {
        let good = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];
        let header = idx("a", &good).unwrap();
        assert_eq!((header.sizes, header.offset), (vec![2, 3], 12));

        let cases: [(&[u8], &str); 7] = [
            (&good[..3], "a: cut short: 4 bytes expected, 3 found"),
            (&good[..9], "a: cut short: 12 bytes expected, 9 found"),
            (&good[..17], "a: cut short: 18 bytes expected, 17 found"),
            (&[0, 1, 8, 1], "a: byte 0: not an IDX file"),
            (
                &[0, 0, 13, 1, 0, 0, 0, 0],
                "a: byte 2: IDX values of type 0x0d; only bytes (0x08) are read",
            ),
            (&[0, 0, 8, 0], "a: byte 3: 0 dimensions; 1 to 4 are read"),
            (
                &[0, 0, 8, 1, 0, 0, 0, 1, 7, 7, 7],
                "a: byte 9: 2 bytes after the 1 values that the header promises",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(idx("a", bytes).unwrap_err().to_string(), expected);
        }
        // A lying header: 2^128 values, refused by arithmetic and not by memory.
        let mut lying = vec![0, 0, 8, 4];
        lying.extend([255; 16]);
        assert!(matches!(
            idx("a", &lying),
            Err(DataError::Truncated {
                expected: u64::MAX,
                ..
            })
        ));
    }
}
