//! What a cell looks like that is no number.

use std::fmt;

/// In which order a date gives its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    YearFirst,
    DayFirst,
    MonthFirst,
    /// Day and month are both at most 12.
    Either,
    /// Its month is a word.
    Named,
    /// A time of the day without a date.
    NoDate,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeFormat {
    pub(super) order: Order,
    pub(super) separator: char,
    /// Whether hours and minutes follow, or stand alone.
    pub(super) clock: bool,
    /// Whether a time zone follows.
    pub(super) zone: bool,
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.separator;
        match self.order {
            Order::YearFirst => write!(f, "YYYY{s}MM{s}DD")?,
            Order::DayFirst => write!(f, "DD{s}MM{s}YYYY")?,
            Order::MonthFirst => write!(f, "MM{s}DD{s}YYYY")?,
            Order::Either => write!(f, "DD{s}MM{s}YYYY or MM{s}DD{s}YYYY")?,
            Order::Named => write!(f, "DD{s}Mon{s}YYYY")?,
            Order::NoDate => {}
        }
        if self.clock {
            let blank = if self.order == Order::NoDate { "" } else { " " };
            write!(f, "{blank}HH:MM")?;
        }
        match self.zone {
            true => write!(f, " with time zone"),
            false => Ok(()),
        }
    }
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The way a cell writes a time, if it is one.
pub(super) fn time(cell: &str) -> Option<TimeFormat> {
    // Most texts are sorted out here.
    if cell.len() < 5 || cell.len() > 40 || !cell.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bare = |order, separator| TimeFormat {
        order,
        separator,
        clock: false,
        zone: false,
    };
    if let Some(zone) = clock(cell) {
        return Some(TimeFormat {
            clock: true,
            zone,
            ..bare(Order::NoDate, ':')
        });
    }
    if let Some((order, separator)) = date(cell) {
        return Some(bare(order, separator));
    }
    // The date ends at the first T or blank after which a time of the day follows.
    let cuts = cell.char_indices().filter(|(_, c)| matches!(c, 'T' | ' '));
    cuts.into_iter().find_map(|(at, _)| {
        let (order, separator) = date(cell.get(..at)?)?;
        let zone = clock(cell.get(at + 1..)?)?;
        Some(TimeFormat {
            clock: true,
            zone,
            ..bare(order, separator)
        })
    })
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn date(text: &str) -> Option<(Order, char)> {
    let separator = text.chars().find(|c| matches!(c, '-' | '/' | '.' | ' '))?;
    let mut parts = text.split(separator);
    let parts = [parts.next()?, parts.next()?, parts.next()?];
    if parts.iter().map(|part| part.len()).sum::<usize>() + 2 != text.len() {
        return None;
    }
    let [a, b, c] = parts;
    if let (Some(day), Some(month)) = (digits(a, 2), b.get(..3)) {
        let month = month.to_ascii_lowercase();
        let known = MONTHS.contains(&month.as_str()) && b.chars().all(char::is_alphabetic);
        if known && (1..=31).contains(&day) && matches!(c.len(), 2 | 4) && digits(c, 4).is_some() {
            return Some((Order::Named, separator));
        }
    }
    if separator == ' ' {
        return None;
    }
    let (x, y, z) = (digits(a, 4)?, digits(b, 2)?, digits(c, 4)?);
    if a.len() == 4 {
        let fits = (1..=12).contains(&y) && (1..=31).contains(&z) && c.len() <= 2;
        return fits.then_some((Order::YearFirst, separator));
    }
    // Two digits for the year look like a version, or an address, after points.
    if a.len() > 2 || !(c.len() == 4 || (c.len() == 2 && separator == '/')) {
        return None;
    }
    let order = match (x, y) {
        (1..=12, 1..=12) => Order::Either,
        (13..=31, 1..=12) => Order::DayFirst,
        (1..=12, 13..=31) => Order::MonthFirst,
        _ => return None,
    };
    Some((order, separator))
}

/// Whether a text is a time of the day, and then whether it has a time zone.
fn clock(text: &str) -> Option<bool> {
    let (hour, rest) = text.split_once(':')?;
    if digits(hour, 2)? > 24 {
        return None;
    }
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
        .unwrap_or(rest.len());
    let (rest, zone) = rest.split_at(end);
    let (minute, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let fits = digits(minute, 2)? < 60 && digits(second, 2)? <= 60 && digits(fraction, 9).is_some();
    let zone = zone.trim();
    let known = match zone {
        "" | "Z" | "UTC" | "AM" | "PM" | "am" | "pm" => true,
        zone => zone
            .strip_prefix(['+', '-'])
            .is_some_and(|zone| zone.bytes().all(|b| b.is_ascii_digit() || b == b':')),
    };
    (fits && known).then_some(!matches!(zone, "" | "AM" | "PM" | "am" | "pm"))
}

/// A text that a person would read as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disguise {
    /// `3,5`
    DecimalComma,
    /// `1,234,567`, `1.234.567` or `1 234`
    Thousands,
    /// `12 kg`, `45%`, `$3.20`
    Unit,
    /// `inf`, `nan`, `1e999`
    NotFinite,
}

impl Disguise {
    pub(super) const ALL: [Self; 4] = [
        Self::DecimalComma,
        Self::Thousands,
        Self::Unit,
        Self::NotFinite,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::DecimalComma => "numbers with a decimal comma",
            Self::Thousands => "numbers with separators between thousands",
            Self::Unit => "numbers with units",
            Self::NotFinite => "nan, infinite or beyond the range of numbers",
        }
    }
}

/// The number that a text hides, if it does. The text is no number by itself.
pub(super) fn disguise(cell: &str) -> Option<Disguise> {
    if cell.len() > 40 {
        return None;
    }
    if cell.parse::<f64>().is_ok() {
        return Some(Disguise::NotFinite);
    }
    let core = cell.trim_start_matches(['$', '€', '£', '¥']).trim_start();
    let unit =
        |c: char| c.is_alphabetic() || matches!(c, '%' | '°' | '/' | '€' | '$' | '£' | '²' | '³');
    let bare = core.trim_end_matches(unit).trim_end();
    let first = bare.trim_start_matches(['-', '+']).chars().next()?;
    if !first.is_ascii_digit() {
        return None;
    }
    if bare.len() < cell.len() && (bare.parse::<f64>().is_ok() || separated(bare).is_some()) {
        return Some(Disguise::Unit);
    }
    separated(bare)
}

/// A number with a decimal comma or with thousands apart.
fn separated(text: &str) -> Option<Disguise> {
    let text = text.trim_start_matches(['-', '+']);
    let grouped = |text: &str, mark: char| {
        let mut groups = text.split(mark);
        let first = groups
            .next()
            .is_some_and(|group| digits(group, 3).is_some());
        let mut more = 0;
        let rest = groups.all(|group| {
            more += 1;
            group.len() == 3 && digits(group, 3).is_some()
        });
        first && rest && more > 0
    };
    let (whole, decimals) = text.rsplit_once(',').unwrap_or((text, ""));
    let comma = digits(decimals, 9).is_some();
    if comma && digits(whole, 9).is_some() {
        // `1,234` is read as what it is more often.
        return Some(match decimals.len() {
            3 => Disguise::Thousands,
            _ => Disguise::DecimalComma,
        });
    }
    if comma && ['.', ' '].iter().any(|&mark| grouped(whole, mark)) {
        return Some(Disguise::DecimalComma);
    }
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let apart = [',', ' ', '\''].iter().any(|&mark| grouped(whole, mark)) || grouped(text, '.');
    apart.then_some(Disguise::Thousands)
}

/// Whether a text usually means that there is no value.
pub(super) fn looks_missing(cell: &str) -> bool {
    const WORDS: [&str; 15] = [
        "na",
        "n/a",
        "nan",
        "null",
        "none",
        "nil",
        "-",
        "--",
        ".",
        "?",
        "unknown",
        "missing",
        "#n/a",
        "(null)",
        "not available",
    ];
    cell.len() <= 13 && WORDS.iter().any(|word| cell.eq_ignore_ascii_case(word))
}

/// Whether a text is one of the usual words for yes and no.
pub(super) fn looks_boolean(cell: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "t", "f", "y", "n"];
    cell.len() <= 5 && WORDS.iter().any(|word| cell.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_format() {
        let cases = [
            ("2018-07-01", "YYYY-MM-DD"),
            ("2018-07-01 00:10:22", "YYYY-MM-DD HH:MM"),
            (
                "2018-07-01T00:10:22.123Z",
                "YYYY-MM-DD HH:MM with time zone",
            ),
            ("2018/7/1 10:00+02:00", "YYYY/MM/DD HH:MM with time zone"),
            ("13/02/2020", "DD/MM/YYYY"),
            ("02/13/2020", "MM/DD/YYYY"),
            ("02/03/2020", "DD/MM/YYYY or MM/DD/YYYY"),
            ("31.12.1999", "DD.MM.YYYY"),
            ("3 Feb 2020", "DD Mon YYYY"),
            ("03-feb-2020 3:15 PM", "DD-Mon-YYYY HH:MM"),
            ("23:59", "HH:MM"),
        ];
        for (cell, format) in cases {
            assert_eq!(
                time(cell).map(|f| f.to_string()).as_deref(),
                Some(format),
                "{cell}"
            );
        }
        for cell in [
            "",
            "abc",
            "2018-13-01",
            "1.2.3",
            "192.168.0.1",
            "10:99",
            "99/99/2020",
            "1-2",
            "12 kg",
            "2018-07-01 noon",
            "a:b",
            "7th-8th",
            "éé-é-éé 1",
        ] {
            assert_eq!(time(cell), None, "{cell}");
        }
    }

    #[test]
    fn numbers_in_disguise_are_told() {
        use Disguise::{DecimalComma, NotFinite, Thousands, Unit};
        let cases = [
            ("3,5", DecimalComma),
            ("1.234,56", DecimalComma),
            ("1,234", Thousands),
            ("1,234,567.89", Thousands),
            ("1.234.567", Thousands),
            ("12 345", Thousands),
            ("12 kg", Unit),
            ("-45%", Unit),
            ("$3.20", Unit),
            ("1,200 €", Unit),
            ("nan", NotFinite),
            ("-inf", NotFinite),
            ("1e999", NotFinite),
        ];
        for (cell, expected) in cases {
            assert_eq!(disguise(cell), Some(expected), "{cell}");
        }
        for cell in [
            "", "A11", "tcp", "7th-8th", "1-2", "1,2,3", "€", "12.3.4", "kg 3",
        ] {
            assert_eq!(disguise(cell), None, "{cell}");
        }
        assert!(looks_missing("N/A") && !looks_missing("nada"));
        assert!(looks_boolean("Yes") && !looks_boolean("yes!"));
    }
}
