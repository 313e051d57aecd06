//! The known word nearest to a mistyped one.

/// The candidate nearest to `word`, if it is near enough to be what was meant: at most a third of the letters differ.
/// Ties go to the earlier candidate.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let folded = fold(candidate);
        let distance = edit_distance(&word, &folded);
        let allowed = (word.len().max(folded.len()) / 3).max(1);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Case and the choice of `_`, `-` or a space do not count as differences. Long words are cut: nobody's typing error
/// needs more, and the distance is quadratic.
fn fold(word: &str) -> Vec<char> {
    word.chars()
        .take(100)
        .map(|c| match c {
            '_' | ' ' => '-',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`: the optimal string alignment distance.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &str, b: &str) -> usize {
        edit_distance(&fold(a), &fold(b))
    }

    #[test]
    fn distances_are_those_done_by_hand() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("cleints", "clients", 1),
            ("batch-size", "batch_size", 0),
            ("Epochs", "epochs", 0),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(a, b), edits, "{a} -> {b}");
            assert_eq!(distance(b, a), edits, "{b} -> {a}");
        }
    }

    #[test]
    fn the_nearest_is_found_and_the_far_is_not() {
        let known = ["clients", "rounds", "fraction"];
        assert_eq!(nearest("cleints", known), Some("clients"));
        assert_eq!(nearest("round", known), Some("rounds"));
        assert_eq!(nearest("frction", known), Some("fraction"));
        assert_eq!(nearest("momentum", known), None);
        assert_eq!(nearest("", known), None);
    }
}
