//! Features by hash, of codes and of texts: their number does not depend on what occurs (Weinberger et al. 2009).

use super::config::{Case, Grams};

/// FNV-1a over the bytes, with the finish of SplitMix64 so that low and high bits are both mixed.
fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The place of a code among `width`.
pub(crate) fn place(code: &str, width: usize) -> usize {
    (hash(code.as_bytes()) % width as u64) as usize
}

/// Letters as `case` says.
pub(crate) fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Keep => text.to_owned(),
        Case::Lower => text.to_lowercase(),
        Case::Upper => text.to_uppercase(),
    }
}

/// Appends `width` features of a text: each run of `lengths` words or bytes adds 1 or takes 1 off at the place of its hash;
/// the whole has length 1, or is 0 for a text without any.
pub(crate) fn text(
    text: &str,
    grams: Grams,
    lengths: [usize; 2],
    width: usize,
    features: &mut Vec<f64>,
) {
    let from = features.len();
    features.resize(from + width, 0.0);
    let counts = &mut features[from..];
    let mut add = |gram: &[u8]| {
        let hash = hash(gram);
        // The sign comes of a bit that the place does not depend on.
        let sign = if hash >> 63 == 1 { 1.0 } else { -1.0 };
        counts[((hash & (u64::MAX >> 1)) % width as u64) as usize] += sign;
    };
    match grams {
        Grams::Bytes => {
            for length in lengths[0]..=lengths[1] {
                text.as_bytes().windows(length).for_each(&mut add);
            }
        }
        Grams::Words => {
            let words: Vec<&str> = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .collect();
            for length in lengths[0]..=lengths[1] {
                for run in words.windows(length) {
                    add(run.join(" ").as_bytes());
                }
            }
        }
    }
    let norm = counts.iter().map(|count| count * count).sum::<f64>().sqrt();
    if norm > 0.0 {
        counts.iter_mut().for_each(|count| *count /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change() {
        // Stored pipelines depend on these.
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!((place("tcp", 32), place("udp", 32)), (22, 30));
    }

    #[test]
    fn texts_have_length_1_and_order_matters_with_pairs() {
        let of = |cell: &str, lengths| {
            let mut features = Vec::new();
            text(cell, Grams::Words, lengths, 64, &mut features);
            features
        };
        let norm = |features: &[f64]| features.iter().map(|x| x * x).sum::<f64>();
        assert!((norm(&of("the quick, brown fox", [1, 2])) - 1.0).abs() < 1e-12);
        assert_eq!(norm(&of("...", [1, 2])), 0.0);
        assert_eq!(of("a b c", [1, 1]), of("c, b; a", [1, 1]));
        assert_ne!(of("a b c", [1, 2]), of("c b a", [1, 2]));
        let mut bytes = Vec::new();
        text("ab", Grams::Bytes, [3, 3], 8, &mut bytes);
        assert_eq!(bytes, vec![0.0; 8]);
    }
}
