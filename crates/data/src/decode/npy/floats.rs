//! Arrays of fractions that keep their precision, read and written.

use crate::error::{DataError, Place};

use super::RawArray;

/// Fractions of 4 or of 8 bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum NpyFloats {
    /// `<f4`
    F32(Vec<f32>),
    /// `<f8`
    F64(Vec<f64>),
}

/// Reads an array of fractions and its shape. Values may be NaN or infinite.
///
/// # Errors
/// As [`npy`](super::npy), and [`DataError::Malformed`] if the values are whole numbers.
pub fn npy_floats(file: &str, content: &[u8]) -> Result<(Vec<usize>, NpyFloats), DataError> {
    let array = RawArray::parse(file, content)?;
    let order = array.number.big_endian;
    let floats = match (array.number.kind, array.number.size) {
        (b'f', 4) => NpyFloats::F32(decode(array.values, |bytes| match order {
            true => f32::from_be_bytes(bytes),
            false => f32::from_le_bytes(bytes),
        })),
        (b'f', _) => NpyFloats::F64(decode(array.values, |bytes| match order {
            true => f64::from_be_bytes(bytes),
            false => f64::from_le_bytes(bytes),
        })),
        _ => {
            let reason = format!(
                "array of type '{}', expected fractions: '<f4' or '<f8'",
                array.descr
            );
            let place = Place::Byte(array.header as u64);
            return Err(DataError::malformed(file, place, reason));
        }
    };
    Ok((array.shape, floats))
}

fn decode<T, const SIZE: usize>(bytes: &[u8], value: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    let (values, _) = bytes.as_chunks::<SIZE>();
    values.iter().map(|&bytes| value(bytes)).collect()
}

/// The file of a vector: format version 1, little-endian.
pub fn npy_bytes(vector: &NpyFloats) -> Vec<u8> {
    let (descr, count) = match vector {
        NpyFloats::F32(values) => ("<f4", values.len()),
        NpyFloats::F64(values) => ("<f8", values.len()),
    };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}");
    // The values begin at a multiple of 64 bytes, after a line end.
    let begin = (10 + header.len() + 1).next_multiple_of(64);
    header += &" ".repeat(begin - 11 - header.len());
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // Two braces, four words and twenty digits: far below 2^16.
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    match vector {
        NpyFloats::F32(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        NpyFloats::F64(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for vector in [
            NpyFloats::F32(vec![1.5, -0.0, f32::MIN_POSITIVE, f32::INFINITY]),
            NpyFloats::F64(vec![0.1, -1e300]),
            NpyFloats::F32(Vec::new()),
        ] {
            let bytes = npy_bytes(&vector);
            let (shape, read) = npy_floats("a", &bytes).unwrap();
            assert_eq!(read, vector);
            let length = match &vector {
                NpyFloats::F32(values) => values.len(),
                NpyFloats::F64(values) => values.len(),
            };
            assert_eq!(shape, [length]);
        }
    }

    /// `numpy.save` of `numpy.array([1.0, -2.0], dtype="<f4")`, numpy 2.2.
    #[test]
    fn the_file_is_that_of_numpy() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend(format!("{header:<117}\n").bytes());
        expected.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
        assert_eq!(npy_bytes(&NpyFloats::F32(vec![1.0, -2.0])), expected);
    }

    #[test]
    fn big_endian_numbers_are_turned_and_whole_numbers_refused() {
        let array = |descr: &str, values: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 1)}}");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            bytes.extend(values);
            bytes
        };
        let read = npy_floats("a", &array(">f4", &[0x3f, 0x80, 0, 0])).unwrap();
        assert_eq!(read, (vec![1, 1], NpyFloats::F32(vec![1.0])));
        let error = npy_floats("a", &array("<i4", &[0; 4])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a: byte 10: array of type '<i4', expected fractions: '<f4' or '<f8'"
        );
    }
}
