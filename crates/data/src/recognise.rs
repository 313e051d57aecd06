//! What a file holds, seen from its first bytes.

use std::path::Path;

use crate::decode::CIFAR_RECORD;
use crate::error::DataError;
use crate::read;

/// Content of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IDX with one dimension: labels.
    IdxLabels,
    /// IDX with more dimensions.
    IdxImages,
    Cifar10,
    Zip,
    Picture,
    /// Text; `table` if most lines have the same number of cells, at least two.
    Text {
        table: bool,
    },
    Empty,
    Other,
}

/// Tells what a file holds, whatever its name.
pub(crate) fn kind(path: &Path) -> Result<Kind, DataError> {
    Ok(kind_of(&read::sample(path)?))
}

fn kind_of(sample: &[u8]) -> Kind {
    match sample {
        [] => Kind::Empty,
        [0, 0, _, 1, ..] => Kind::IdxLabels,
        [0, 0, 8..=14, _, ..] => Kind::IdxImages,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Kind::Zip,
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Kind::Picture,
        _ if is_text(sample) => Kind::Text {
            table: looks_like_a_table(sample),
        },
        _ if is_cifar10(sample) => Kind::Cifar10,
        _ => Kind::Other,
    }
}

/// No control characters but white space; any encoding, so that a table in another than UTF-8 is named as such. Zeros are
/// half of UTF-16; a few of them are a fault in a text.
fn is_text(sample: &[u8]) -> bool {
    let zeros = |parity: usize| {
        let bytes = sample.iter().skip(parity).step_by(2);
        bytes.filter(|byte| **byte == 0).count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    let wide = even.max(odd) * 5 > sample.len() * 2 && even.min(odd) * 100 <= sample.len();
    let few = (even + odd) * 10 <= sample.len();
    (wide || few)
        && sample
            .iter()
            .all(|&byte| byte >= b' ' || matches!(byte, 0 | b'\t' | b'\n' | b'\r'))
}

/// Most bytes at the distance of a CIFAR-10 record are labels. Most, and not all: a label out of range is for the
/// decoder to name.
fn is_cifar10(sample: &[u8]) -> bool {
    // One label alone says little: a single record must be exactly one.
    let length_fits = sample.len() >= 2 * CIFAR_RECORD || sample.len() == CIFAR_RECORD;
    if !length_fits {
        return false;
    }
    let labels = sample.iter().step_by(CIFAR_RECORD);
    let (total, good) = (labels.len(), labels.filter(|&&label| label < 10).count());
    good * 2 > total
}

fn looks_like_a_table(sample: &[u8]) -> bool {
    const LINES: usize = 50;
    let text = String::from_utf8_lossy(sample);
    [',', ';', '\t'].iter().any(|&delimiter| {
        let mut counts: Vec<usize> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(LINES)
            .map(|line| line.matches(delimiter).count())
            .collect();
        counts.sort_unstable();
        let most = counts
            .chunk_by(|a, b| a == b)
            .max_by_key(|group| group.len());
        most.is_some_and(|group| group[0] > 0 && group.len() * 2 > counts.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_not_the_name_decides() {
        let mut cifar = vec![200; 3 * CIFAR_RECORD];
        for at in [0, CIFAR_RECORD, 2 * CIFAR_RECORD] {
            cifar[at] = 4;
        }
        let cases: [(&[u8], Kind); 9] = [
            (&[0, 0, 8, 1, 0, 0, 0, 0], Kind::IdxLabels),
            (&[0, 0, 8, 3, 0, 0, 0, 0], Kind::IdxImages),
            (b"PK\x03\x04", Kind::Zip),
            (b"\xff\xd8\xff\xe0", Kind::Picture),
            (b"a,b\n1,2\n3,4\n5\n", Kind::Text { table: true }),
            (
                b"# Title\n\nSome words, and\nmore words.\n",
                Kind::Text { table: false },
            ),
            (&cifar, Kind::Cifar10),
            (&cifar[..CIFAR_RECORD + 5], Kind::Other),
            (b"", Kind::Empty),
        ];
        for (bytes, expected) in cases {
            assert_eq!(kind_of(bytes), expected);
        }
        cifar[CIFAR_RECORD] = 10;
        assert_eq!(kind_of(&cifar), Kind::Cifar10);
    }
}
