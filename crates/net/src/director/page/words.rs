//! Figures, times and other people's text, for the page.

/// A no-break space, between a figure and its unit.
const NB: char = '\u{a0}';

/// What stands for a figure that there is not.
pub(super) const NONE: &str = "\u{2013}";

/// Bytes in decimal units: `12.3 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let value = bytes as f64;
    match UNITS.into_iter().find(|(size, _)| value >= *size) {
        None => format!("{bytes}{NB}bytes"),
        Some((size, unit)) => {
            let value = value / size;
            let digits = if value >= 99.95 { 0 } else { 1 };
            format!("{value:.digits$}{NB}{unit}")
        }
    }
}

/// A whole number with commas: `10,000`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 site`, `2 sites`.
pub(super) fn counted(value: u64, noun: &str) -> String {
    let ending = if value == 1 { "" } else { "s" };
    format!("{}{NB}{noun}{ending}", count(value))
}

/// A share of 1: `94.8 %`.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) if share.is_finite() => format!("{:.1}{NB}%", share * 100.0),
        Some(_) => "not finite".to_owned(),
        None => NONE.to_owned(),
    }
}

/// A figure with four significant digits.
pub(super) fn figure(value: Option<f64>) -> String {
    match value {
        Some(value) => plain(value),
        None => NONE.to_owned(),
    }
}

/// A figure with four significant digits.
pub(super) fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let whole = if magnitude == 0.0 {
        0.0
    } else {
        magnitude.log10().floor()
    };
    let digits = (3.0 - whole).clamp(0.0, 7.0) as usize;
    format!("{value:.digits$}")
}

/// A time span in its two largest units: `3 min 20 s`, `2 h 5 min`, `12 days`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}{NB}s"),
        60..600 => format!("{}{NB}min {}{NB}s", seconds / 60, seconds % 60),
        600..3_600 => format!("{}{NB}min", seconds / 60),
        3_600..86_400 => format!("{}{NB}h {}{NB}min", seconds / 3_600, seconds % 3_600 / 60),
        _ => counted(seconds / 86_400, "day"),
    }
}

/// How long ago it was: `3 min ago`.
pub(super) fn ago(now: u64, then: u64) -> String {
    match now.saturating_sub(then) {
        0..2 => "just now".to_owned(),
        seconds @ 0..60 => format!("{seconds}{NB}s ago"),
        seconds @ 60..3_600 => format!("{}{NB}min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}{NB}h ago", seconds / 3_600),
        seconds => format!("{} ago", span(seconds)),
    }
}

/// A time in UTC: `2026-03-01 12:30`; empty for one that no calendar has.
pub(super) fn date(unix: u64) -> String {
    let time = i64::try_from(unix)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(String::new, |time| {
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute()
        )
    })
}

/// Text by somebody else, cut to a length, and without what could change how the text around it reads.
pub(super) fn foreign(text: &str, most: usize) -> String {
    let is_directed = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut clean = text
        .chars()
        .filter(|c| !is_directed(*c))
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = clean.by_ref().take(most).collect();
    if clean.next().is_some() {
        cut.push('\u{2026}');
    }
    cut
}

/// The first letter as a capital.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use cloister_report::html::escaped;

    use super::*;

    #[test]
    fn figures_and_times_read_well() {
        assert_eq!(
            [0, 999, 1_000, 12_345_678, 999_999_999].map(bytes),
            ["0 bytes", "999 bytes", "1.0 kB", "12.3 MB", "1000 MB"]
                .map(|text| text.replace(' ', "\u{a0}"))
        );
        assert_eq!(
            [7, 1_000, 1_234_567].map(count),
            ["7", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0.0, 0.98765, 12.3456, 12_345.6, 1e-9, f64::NAN].map(plain),
            ["0.000", "0.9877", "12.35", "12346", "1.00e-9", "not finite"]
        );
        assert_eq!(
            [59, 200, 3_599, 7_500, 90_000, 200_000].map(|seconds| span(seconds).replace(NB, " ")),
            [
                "59 s",
                "3 min 20 s",
                "59 min",
                "2 h 5 min",
                "1 day",
                "2 days"
            ]
        );
        assert_eq!(ago(100, 200), "just now");
        assert_eq!(ago(200, 70).replace(NB, " "), "2 min ago");
        assert_eq!(date(1_765_000_000), "2025-12-06 05:46");
        assert_eq!(date(u64::MAX), "");
    }

    #[test]
    fn foreign_text_is_cut_and_cannot_turn_the_page_around() {
        assert_eq!(foreign("a\u{202e}b\nc", 9), "ab c");
        assert_eq!(foreign("abcdef", 3), "abc\u{2026}");
        assert_eq!(escaped("<a b='&\">"), "&lt;a b=&#39;&amp;&quot;&gt;");
    }
}
