//! Cells to numbers.

/// Powers of ten that are exact in `f64`.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Whether a cell is a number that a feature could hold: what Rust's `f64` reads, but finite.
pub(crate) fn number(cell: &str) -> Option<f64> {
    if let Some(value) = plain(cell.as_bytes()) {
        return Some(value);
    }
    // No number begins otherwise, and most texts do.
    let first = cell.bytes().find(|byte| !matches!(byte, b'+' | b'-'))?;
    if !matches!(first, b'0'..=b'9' | b'.') {
        return None;
    }
    cell.parse().ok().filter(|value: &f64| value.is_finite())
}

/// A number of digits and at most one point whose digits fit 53 bits: one division of two exact numbers rounds as it
/// should (Clinger 1990).
fn plain(cell: &[u8]) -> Option<f64> {
    let (negative, digits) = match cell {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let (mut mantissa, mut decimals, mut point) = (0_u64, 0, false);
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
            decimals += usize::from(point);
        } else if byte == b'.' && !point {
            point = true;
        } else {
            return None;
        }
    }
    if mantissa > 1 << 53 || (point && digits.len() == 1) {
        return None;
    }
    let value = mantissa as f64 / POWERS[decimals];
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(cell: &str) -> Option<u64> {
        let value = cell.parse().ok().filter(|value: &f64| value.is_finite());
        value.map(f64::to_bits)
    }

    proptest! {
        #[test]
        fn cells_read_as_rust_reads_them(cell in "[-+]?[0-9]{0,18}[.]?[0-9]{0,17}(e[-+]?[0-9]{1,3})?") {
            prop_assert_eq!(number(&cell).map(f64::to_bits), reference(&cell));
        }

        #[test]
        fn so_does_any_text(cell in "[-+.0-9einfatyxE _]{0,9}") {
            prop_assert_eq!(number(&cell).map(f64::to_bits), reference(&cell));
        }
    }

    #[test]
    fn edges() {
        for cell in [
            "",
            ".",
            "-",
            "+",
            "-.",
            "5.",
            ".5",
            "-0",
            "9007199254740993",
            "0.1",
            "1e999",
            "inf",
            "nan",
            "-inf",
            "infinity",
            "1_000",
            "0x10",
            "+.5",
            "--1",
            "١",
        ] {
            assert_eq!(number(cell).map(f64::to_bits), reference(cell), "{cell}");
        }
    }
}
