//! NumPy's array format, versions 1 to 3: magic, a header in Python literal syntax, raw values
//! (numpy.lib.format, "A Simple File Format for NumPy Arrays").

use crate::error::{DataError, Place};

mod floats;

pub use floats::{NpyFloats, npy_bytes, npy_floats};

/// Values of an array. Bytes stay bytes; every other number type becomes `f64`, which holds whole numbers exactly up
/// to 2^53 (wider ones are refused).
#[derive(Clone, Debug, PartialEq)]
pub enum NpyValues {
    /// `|u1`.
    Bytes(Vec<u8>),
    /// Booleans, whole numbers of 1 to 8 bytes, and fractions of 4 or 8 bytes.
    Numbers(Vec<f64>),
}

/// A NumPy array in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub values: NpyValues,
    /// Largest value of the type where it is an unsigned whole number of 1 or 2 bytes; none otherwise.
    pub white: Option<f32>,
    /// Byte where the values begin, and bytes of one value: for error messages.
    pub layout: (u64, u64),
}

/// Kind of number (`u`, `i`, `f`, `b`), its size in bytes, and whether it is big-endian.
#[derive(Clone, Copy)]
struct NumberType {
    kind: u8,
    size: usize,
    big_endian: bool,
}

/// Reads an array.
///
/// # Errors
/// [`DataError::Malformed`] for a broken header, Fortran order or a type that is no number,
/// [`DataError::Truncated`] if values are missing.
pub fn npy(file: &str, content: &[u8]) -> Result<NpyArray, DataError> {
    let array = RawArray::parse(file, content)?;
    Ok(NpyArray {
        values: values(file, array.offset, array.values, array.number)?,
        shape: array.shape,
        white: match (array.number.kind, array.number.size) {
            (b'u', 1) => Some(255.0),
            (b'u', 2) => Some(65535.0),
            _ => None,
        },
        layout: (array.offset as u64, array.number.size as u64),
    })
}

/// An array of numbers of any type, still as bytes.
struct RawArray<'a> {
    shape: Vec<usize>,
    /// The type as the header names it.
    descr: String,
    number: NumberType,
    /// Byte where the header's text begins.
    header: usize,
    /// Byte where the values begin.
    offset: usize,
    /// As many as `shape` says.
    values: &'a [u8],
}

impl<'a> RawArray<'a> {
    fn parse(file: &str, content: &'a [u8]) -> Result<Self, DataError> {
        let fault = |at: usize, reason: String| {
            Err(DataError::malformed(file, Place::Byte(at as u64), reason))
        };
        let Some(([b'\x93', b'N', b'U', b'M', b'P', b'Y', version, _], after)) =
            content.split_first_chunk::<8>()
        else {
            return fault(0, "not a NumPy array".to_owned());
        };
        let (length_bytes, length) = match (version, after) {
            (1, &[a, b, ..]) => (2, u64::from(u16::from_le_bytes([a, b]))),
            (2 | 3, &[a, b, c, d, ..]) => (4, u64::from(u32::from_le_bytes([a, b, c, d]))),
            _ => return fault(6, format!("array format version {version} or a cut header")),
        };
        let start: usize = 8 + length_bytes;
        let Some(header) = usize::try_from(length)
            .ok()
            .and_then(|length| content.get(start..start.checked_add(length)?))
        else {
            return Err(DataError::Truncated {
                file: file.to_owned(),
                expected: length.saturating_add(start as u64),
                found: content.len() as u64,
            });
        };
        let offset = start + header.len();
        let header = match std::str::from_utf8(header)
            .map_err(|_| ())
            .and_then(parse_header)
        {
            Ok(header) => header,
            Err(()) => return fault(start, "array header that is not understood".to_owned()),
        };
        if header.fortran {
            return fault(
                start,
                "array in Fortran order; save it in C order".to_owned(),
            );
        }
        let Some(number) = number_type(&header.descr) else {
            return fault(
                start,
                format!("array of type '{}', not of numbers", header.descr),
            );
        };
        let count = header
            .shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size));
        let bytes = count.and_then(|count| count.checked_mul(number.size));
        let expected = bytes.map_or(u64::MAX, |bytes| {
            (bytes as u64).saturating_add(offset as u64)
        });
        let Some(raw) = bytes.and_then(|bytes| content.get(offset..offset.checked_add(bytes)?))
        else {
            return Err(DataError::Truncated {
                file: file.to_owned(),
                expected,
                found: content.len() as u64,
            });
        };
        if expected < content.len() as u64 {
            let extra = content.len() as u64 - expected;
            return fault(
                offset + raw.len(),
                format!("{extra} bytes after the last value"),
            );
        }
        Ok(Self {
            shape: header.shape,
            descr: header.descr,
            number,
            header: start,
            offset,
            values: raw,
        })
    }
}

fn number_type(descr: &str) -> Option<NumberType> {
    let &[order, kind, size] = descr.as_bytes() else {
        return None;
    };
    let size = usize::from(size.checked_sub(b'0')?);
    let big_endian = match order {
        b'<' | b'|' | b'=' => false,
        b'>' => true,
        _ => return None,
    };
    match (kind, size) {
        (b'u' | b'i', 1 | 2 | 4 | 8) | (b'f', 4 | 8) | (b'b', 1) => Some(NumberType {
            kind,
            size,
            big_endian,
        }),
        _ => None,
    }
}

fn values(
    file: &str,
    offset: usize,
    raw: &[u8],
    number: NumberType,
) -> Result<NpyValues, DataError> {
    if (number.kind, number.size) == (b'u', 1) {
        return Ok(NpyValues::Bytes(raw.to_vec()));
    }
    let mut numbers = Vec::with_capacity(raw.len() / number.size);
    for (index, chunk) in raw.chunks_exact(number.size).enumerate() {
        // The value in the low bytes, most significant last.
        let mut bits = [0; 8];
        bits[..number.size].copy_from_slice(chunk);
        if number.big_endian {
            bits[..number.size].reverse();
        }
        let wide = u64::from_le_bytes(bits);
        let unused = 64 - 8 * number.size as u32;
        let value = match (number.kind, number.size) {
            (b'f', 4) => f64::from(f32::from_bits(wide as u32)),
            (b'f', _) => f64::from_bits(wide),
            // The shifts extend the sign.
            (b'i', _) => (((wide << unused) as i64) >> unused) as f64,
            (b'b', _) => f64::from(u8::from(wide != 0)),
            _ => wide as f64,
        };
        let exact = number.kind == b'f' || value.abs() <= 9_007_199_254_740_992.0;
        if !value.is_finite() || !exact {
            let place = Place::Byte((offset + index * number.size) as u64);
            let reason = format!("value {value} is not a finite number of at most 2^53");
            return Err(DataError::malformed(file, place, reason));
        }
        numbers.push(value);
    }
    Ok(NpyValues::Numbers(numbers))
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, in any order of its keys.
fn parse_header(text: &str) -> Result<Header, ()> {
    let mut rest = text.trim().strip_prefix('{').ok_or(())?.trim_start();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        let after = after.trim_start().strip_prefix(':').ok_or(())?.trim_start();
        rest = match key {
            "descr" => {
                let (value, after) = quoted(after)?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" => {
                let value = after.starts_with("True");
                fortran = Some(value);
                after
                    .strip_prefix(if value { "True" } else { "False" })
                    .ok_or(())?
            }
            "shape" => {
                let (inside, after) = after
                    .strip_prefix('(')
                    .ok_or(())?
                    .split_once(')')
                    .ok_or(())?;
                let sizes = inside
                    .split(',')
                    .map(str::trim)
                    .filter(|size| !size.is_empty());
                shape = Some(
                    sizes
                        .map(str::parse)
                        .collect::<Result<Vec<usize>, _>>()
                        .map_err(|_| ())?,
                );
                after
            }
            _ => return Err(()),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Ok(Header {
        descr: descr.ok_or(())?,
        fortran: fortran.ok_or(())?,
        shape: shape.ok_or(())?,
    })
}

/// A Python string without escapes at the start of `text`, and what follows it.
fn quoted(text: &str) -> Result<(&str, &str), ()> {
    let quote = text
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
        .ok_or(())?;
    text[1..].split_once(quote).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn numbers_of_every_kind_come_out_as_they_were() {
        let cases: [(&str, &[u8], &[f64]); 7] = [
            ("<i2", &[0xfe, 0xff, 1, 0], &[-2.0, 1.0]),
            (">i2", &[0xff, 0xfe, 0, 1], &[-2.0, 1.0]),
            ("|i1", &[0xff, 0x7f], &[-1.0, 127.0]),
            ("<f4", &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], &[1.0, -2.0]),
            (
                ">u4",
                &[0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff],
                &[256.0, 4294967295.0],
            ),
            (
                "<i8",
                &[
                    3, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                ],
                &[3.0, -1.0],
            ),
            ("|b1", &[0, 1], &[0.0, 1.0]),
        ];
        for (descr, raw, expected) in cases {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}");
            let read = npy("a", &array(&header, raw)).unwrap();
            assert_eq!(
                read.values,
                NpyValues::Numbers(expected.to_vec()),
                "{descr}"
            );
            assert_eq!(read.shape, [2]);
        }
        let header = "{\"shape\": (1, 2), 'fortran_order': False, 'descr': '|u1'} \n";
        let read = npy("a", &array(header, &[5, 6])).unwrap();
        assert_eq!(
            (read.values, read.shape),
            (NpyValues::Bytes(vec![5, 6]), vec![1, 2])
        );
    }

    #[test]
    fn broken_arrays_name_the_byte() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        let lying = header("|u1", "False", "(4294967296, 4294967296)");
        let nan = [0, 0, 0xc0, 0x7f];
        let cases = [
            (b"PK".to_vec(), "a: byte 0: not a NumPy array"),
            (
                b"\x93NUMPY\x09\x00aaaa".to_vec(),
                "a: byte 6: array format version 9 or a cut header",
            ),
            (
                b"\x93NUMPY\x01\x00\xff\xff{".to_vec(),
                "a: cut short: 65545 bytes expected, 11 found",
            ),
            (
                array("{'descr'", &[]),
                "a: byte 10: array header that is not understood",
            ),
            (
                array(&header("|u1", "True", "(1,)"), &[0]),
                "a: byte 10: array in Fortran order; save it in C order",
            ),
            (
                array(&header("|O8", "False", "(1,)"), &[0]),
                "a: byte 10: array of type '|O8', not of numbers",
            ),
            (
                array(&header("|u1", "False", "(3,)"), &[0]),
                "a: cut short: 70 bytes expected, 68 found",
            ),
            (
                array(&header("|u1", "False", "(1,)"), &[0, 0]),
                "a: byte 68: 1 bytes after the last value",
            ),
            (
                array(&lying, &[]),
                "a: cut short: 18446744073709551615 bytes expected, 87 found",
            ),
            (
                array(&header("<f4", "False", "(1,)"), &nan),
                "a: byte 67: value NaN is not a finite number of at most 2^53",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(npy("a", &bytes).unwrap_err().to_string(), expected);
        }
    }
}
