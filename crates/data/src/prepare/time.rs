//! Dates and times of day, as columns write them.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::config::{Ambiguous, TimePart};

/// Seconds of a day.
const DAY: f64 = 86_400.0;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The formats of a column that declares none: ISO 8601 to the day, the minute, the second or its fraction.
pub(crate) const ISO: [&str; 7] = [
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
];

/// A part of a format.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Literal(char),
    Field(char),
}

/// How times are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Format {
    text: String,
    tokens: Vec<Token>,
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.text
    }
}

impl Format {
    /// Reads a format, which must tell a day.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                tokens.push(Token::Literal(char));
                continue;
            }
            match chars.next() {
                Some('%') => tokens.push(Token::Literal('%')),
                Some(field @ ('Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'f' | 'b' | 's')) => {
                    tokens.push(Token::Field(field));
                }
                Some(other) => return Err(format!("'{text}' has %{other}, which is not known")),
                None => return Err(format!("'{text}' ends with %")),
            }
        }
        let has = |field| tokens.contains(&Token::Field(field));
        let dated = has('s') || (has('Y') && has('d') && (has('m') || has('b')));
        match dated {
            true => Ok(Self {
                text: text.to_owned(),
                tokens,
            }),
            false => Err(format!("'{text}' does not tell year, month and day")),
        }
    }

    /// Seconds since 1970 that `cell` means, if it is written so. A `Z` at the end is passed over: times have no zones.
    fn read(&self, cell: &str) -> Option<f64> {
        let mut rest = cell.strip_suffix('Z').unwrap_or(cell);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        let mut seconds = 0.0;
        for token in &self.tokens {
            let field = match token {
                Token::Literal(wanted) => {
                    rest = rest.strip_prefix(*wanted)?;
                    continue;
                }
                Token::Field(field) => *field,
            };
            match field {
                'Y' => year = digits(&mut rest, 4, 4)?,
                'm' => month = digits(&mut rest, 1, 2)?,
                'd' => day = digits(&mut rest, 1, 2)?,
                'H' => seconds += 3600.0 * within(digits(&mut rest, 1, 2)?, 23)?,
                'M' => seconds += 60.0 * within(digits(&mut rest, 1, 2)?, 59)?,
                'S' => seconds += within(digits(&mut rest, 1, 2)?, 60)?,
                's' => seconds += digits(&mut rest, 1, 12)? as f64,
                'f' => {
                    let before = rest.len();
                    let fraction = digits(&mut rest, 1, 9)? as f64;
                    seconds += fraction / 10_f64.powi((before - rest.len()) as i32);
                }
                _ => {
                    let name = rest.get(..3)?.to_ascii_lowercase();
                    month = 1 + MONTHS.iter().position(|month| *month == name)? as i64;
                    rest = &rest[3..];
                }
            }
        }
        let valid = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
        (rest.is_empty() && valid).then(|| days(year, month, day) as f64 * DAY + seconds)
    }
}

fn within(value: i64, most: i64) -> Option<f64> {
    (value <= most).then_some(value as f64)
}

/// Takes `least` to `most` digits off `rest`.
fn digits(rest: &mut &str, least: usize, most: usize) -> Option<i64> {
    let length = rest
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    let (number, after) = rest.split_at(length);
    *rest = after;
    (length >= least).then(|| number.parse().ok()).flatten()
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar (Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let part = (5 * of_year + 2) / 153;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * part + 2) / 5 + 1)
}

/// Days since 1970 of a date such as 2020-01-31.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let format = Format::parse(ISO[0]).ok()?;
    format.read(text).map(|seconds| (seconds / DAY) as i64)
}

/// What formats make of a cell.
#[derive(Debug, PartialEq)]
pub(crate) enum Moment {
    /// Seconds since 1970.
    Seconds(f64),
    /// The formats disagree, and that counts as missing.
    Missing,
}

/// Reads a cell by the declared formats.
pub(crate) fn read(cell: &str, formats: &[Format], ambiguous: Ambiguous) -> Result<Moment, String> {
    let mut found: Option<(&str, f64)> = None;
    for format in formats {
        let text = format.text.as_str();
        let Some(seconds) = format.read(cell) else {
            continue;
        };
        match (found, ambiguous) {
            (None, Ambiguous::First) => return Ok(Moment::Seconds(seconds)),
            (None, _) => found = Some((text, seconds)),
            (Some((_, other)), _) if other == seconds => {}
            (Some(_), Ambiguous::Missing) => return Ok(Moment::Missing),
            (Some((first, _)), _) => {
                return Err(format!(
                    "'{cell}' is one time as {first} and another as {text}: say which is meant by `ambiguous`"
                ));
            }
        }
    }
    match found {
        Some((_, seconds)) => Ok(Moment::Seconds(seconds)),
        None => {
            let formats: Vec<&str> = formats.iter().map(|format| &*format.text).collect();
            Err(format!(
                "'{cell}' is not a time written as {}",
                formats.join(" or ")
            ))
        }
    }
}

impl TimePart {
    /// Names of its features.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Year => &["year"],
            Self::Month => &["month"],
            Self::Day => &["day"],
            Self::Weekday => &["weekday"],
            Self::Hour => &["hour"],
            Self::Minute => &["minute"],
            Self::DaysSince => &["days-since"],
            Self::HourCycle => &["hour-sin", "hour-cos"],
            Self::WeekdayCycle => &["weekday-sin", "weekday-cos"],
            Self::YearCycle => &["year-sin", "year-cos"],
        }
    }

    /// Whether it is a point on a circle, which needs no scale.
    pub(crate) fn is_cycle(self) -> bool {
        self.names().len() == 2
    }

    /// Feature `number` of it; `since` counts days from 1970.
    pub(crate) fn of(self, seconds: f64, since: i64, number: usize) -> f64 {
        let whole = (seconds / DAY).floor();
        let of_day = seconds - whole * DAY;
        let day = whole as i64;
        let (year, month, day_of_month) = date(day);
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7) as f64;
        let cycle = |share: f64| match number {
            0 => (TAU * share).sin(),
            _ => (TAU * share).cos(),
        };
        match self {
            Self::Year => year as f64,
            Self::Month => month as f64,
            Self::Day => day_of_month as f64,
            Self::Weekday => weekday,
            Self::Hour => (of_day / 3600.0).floor(),
            Self::Minute => (of_day / 60.0).floor() % 60.0,
            Self::DaysSince => seconds / DAY - since as f64,
            Self::HourCycle => cycle(of_day / DAY),
            Self::WeekdayCycle => cycle(weekday / 7.0),
            Self::YearCycle => {
                let length = if leap(year) { 366.0 } else { 365.0 };
                cycle((day - days(year, 1, 1)) as f64 / length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formats(list: &[&str]) -> Vec<Format> {
        list.iter()
            .map(|text| Format::parse(text).unwrap())
            .collect()
    }

    proptest! {
        /// Calendar arithmetic is its own inverse, and days follow each other.
        #[test]
        fn days_and_dates_agree(day in -800_000_i64..3_000_000) {
            let (year, month, of_month) = date(day);
            prop_assert_eq!(days(year, month, of_month), day);
            prop_assert!((1..=days_of_month(year, month)).contains(&of_month));
        }
    }

    #[test]
    fn cells_are_read_by_any_format_that_fits() {
        let iso = formats(&ISO);
        let at = |cell: &str| read(cell, &iso, Ambiguous::Refuse);
        assert_eq!(at("1970-01-02"), Ok(Moment::Seconds(86_400.0)));
        assert_eq!(
            at("2000-02-29T12:00:01.5Z"),
            Ok(Moment::Seconds(951_825_601.5))
        );
        assert_eq!(
            at("2001-02-29").unwrap_err(),
            format!("'2001-02-29' is not a time written as {}", ISO.join(" or "))
        );
        let named = formats(&["%d-%b-%Y %H:%M"]);
        assert_eq!(
            read("05-Mar-1970 01:02", &named, Ambiguous::Refuse),
            Ok(Moment::Seconds(63.0 * 86_400.0 + 3720.0))
        );
    }

    #[test]
    fn ambiguous_cells_are_treated_as_declared() {
        let both = formats(&["%d/%m/%Y", "%m/%d/%Y"]);
        let day = |days: f64| Ok(Moment::Seconds(days * 86_400.0));
        assert_eq!(read("03/04/1970", &both, Ambiguous::First), day(92.0));
        assert_eq!(
            read("03/04/1970", &both, Ambiguous::Missing),
            Ok(Moment::Missing)
        );
        assert_eq!(read("04/04/1970", &both, Ambiguous::Refuse), day(93.0));
        assert_eq!(read("01/31/1970", &both, Ambiguous::Refuse), day(30.0));
        assert_eq!(
            read("03/04/1970", &both, Ambiguous::Refuse).unwrap_err(),
            "'03/04/1970' is one time as %d/%m/%Y and another as %m/%d/%Y: say which is meant by `ambiguous`"
        );
    }

    #[test]
    fn parts_are_those_of_the_calendar() {
        // 2024-02-29 06:30, a Thursday.
        let seconds = days(2024, 2, 29) as f64 * DAY + 6.5 * 3600.0;
        let of = |part: TimePart| part.of(seconds, days(2024, 2, 1), 0);
        let found = [
            TimePart::Year,
            TimePart::Month,
            TimePart::Day,
            TimePart::Weekday,
            TimePart::Hour,
            TimePart::Minute,
        ]
        .map(of);
        assert_eq!(found, [2024.0, 2.0, 29.0, 3.0, 6.0, 30.0]);
        assert!((of(TimePart::DaysSince) - (28.0 + 6.5 / 24.0)).abs() < 1e-9);
        assert!((of(TimePart::HourCycle) - (TAU * 6.5 / 24.0).sin()).abs() < 1e-9);
        assert!(Format::parse("%H:%M").is_err() && Format::parse("%Q").is_err());
    }
}
