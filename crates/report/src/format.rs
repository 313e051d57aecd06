//! Numbers as people read them. Units stand behind a no-break space.

/// A share as a percentage with one digit: `94.8 %`.
pub(crate) fn percent(share: f64) -> String {
    match spell_non_finite(share) {
        Some(text) => text,
        None => format!("{:.1}\u{a0}%", share * 100.0),
    }
}

/// A figure between 0 and 1 that is no share, such as an AUROC: three digits.
pub(crate) fn unit_interval(value: f64) -> String {
    spell_non_finite(value).unwrap_or_else(|| format!("{value:.3}"))
}

/// Any figure with four significant digits; powers of ten where it is very large or very small.
pub(crate) fn plain(value: f64) -> String {
    significant(value, 4)
}

/// Any figure with two significant digits.
pub(crate) fn brief(value: f64) -> String {
    significant(value, 2)
}

fn significant(value: f64, digits: i32) -> String {
    if let Some(text) = spell_non_finite(value) {
        return text;
    }
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.*e}", (digits as usize).clamp(1, 3) - 1);
    }
    let decimals = (digits - 1 - magnitude.log10().floor() as i32).clamp(0, 7) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A whole number with commas: `10,000`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun in the right number: `1 round`, `2 rounds`.
pub(crate) fn counted(value: u64, singular: &str, plural: &str) -> String {
    format!(
        "{}\u{a0}{}",
        count(value),
        if value == 1 { singular } else { plural }
    )
}

/// The decimal unit of a number of bytes, and its size.
pub(crate) fn byte_unit(bytes: f64) -> (f64, &'static str) {
    const UNITS: [(f64, &str); 4] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    UNITS
        .into_iter()
        .find(|&(size, _)| bytes >= size)
        .unwrap_or((1.0, "bytes"))
}

/// Bytes in decimal units: `12.3 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let (size, unit) = byte_unit(bytes as f64);
    let value = bytes as f64 / size;
    let digits = if size == 1.0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$}\u{a0}{unit}")
}

/// A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    if let Some(text) = spell_non_finite(seconds) {
        return text;
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}\u{a0}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}\u{a0}s"),
        60..3_600 => format!("{}\u{a0}min {}\u{a0}s", whole / 60, whole % 60),
        _ => format!("{}\u{a0}h {}\u{a0}min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// `1-3, 7, 9-12`: ascending numbers with runs joined.
pub(crate) fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let words: Vec<String> = runs
        .iter()
        .map(|&(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}\u{2013}{last}"),
        })
        .collect();
    words.join(", ")
}

/// At most `most` characters, the last an ellipsis where some were cut.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    // A line end or another control character in a name would break a picture's layout.
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(clean).collect();
    }
    text.chars()
        .take(most.saturating_sub(1))
        .map(clean)
        .chain(['\u{2026}'])
        .collect()
}

/// Text that is safe between tags and inside quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn spell_non_finite(value: f64) -> Option<String> {
    (!value.is_finite()).then(|| {
        if value.is_nan() {
            "not a number".to_owned()
        } else if value > 0.0 {
            "infinite".to_owned()
        } else {
            "minus infinity".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.9483), "94.8\u{a0}%");
        assert_eq!(percent(f64::NAN), "not a number");
        assert_eq!(unit_interval(0.93149), "0.931");
        assert_eq!(
            [
                0.0, 1.0, 0.25, 1234.5, 12345.0, 1e-9, 3e20, -0.5, 0.00012345
            ]
            .map(plain),
            [
                "0",
                "1",
                "0.25",
                "1234",
                "12345",
                "1.00e-9",
                "3.00e20",
                "-0.5",
                "0.0001234"
            ]
        );
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(counted(1, "round", "rounds"), "1\u{a0}round");
        assert_eq!(
            [0, 999, 1_000, 12_345, 123_456_789, u64::MAX].map(bytes),
            [
                "0\u{a0}bytes",
                "999\u{a0}bytes",
                "1.0\u{a0}kB",
                "12.3\u{a0}kB",
                "123\u{a0}MB",
                "18446744\u{a0}TB"
            ]
        );
        assert_eq!(
            [0.04, 9.94, 59.4, 200.0, 7_500.0].map(seconds),
            [
                "0.0\u{a0}s",
                "9.9\u{a0}s",
                "59\u{a0}s",
                "3\u{a0}min 20\u{a0}s",
                "2\u{a0}h 5\u{a0}min"
            ]
        );
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10, 12]), "1\u{2013}3, 7, 9, 10, 12");
    }

    #[test]
    fn text_is_cut_by_characters_and_loses_its_teeth() {
        assert_eq!(shortened("übergröße", 5), "über\u{2026}");
        assert_eq!(shortened("a\nb", 5), "a b");
        assert_eq!(
            escaped("<a href=\"x\">&'"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"
        );
    }
}
