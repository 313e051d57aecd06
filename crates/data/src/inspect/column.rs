//! A column of a table, described.

use serde::{Deserialize, Serialize};

use super::cell::{Order, TimeFormat};
use super::profile::Profile;
use crate::moments::ColumnMoments;
use crate::sketch::{Counted, DistinctCount};

/// Most frequent values that are listed.
const LISTED: usize = 10;
/// Rows from which on a column of nothing but different values is called an identifier.
const IDENTIFIER_ROWS: u64 = 50;
/// Share of its range that an identifier of numbers fills, unless they rise.
const DENSE: f64 = 0.1;
/// Share of different values among all that makes an identifier.
const IDENTIFIER_SHARE: f64 = 0.98;

/// What a column is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnRole {
    /// An input of the model.
    Feature,
    /// The class.
    Label,
    /// The owner of the row.
    Site,
    /// Left out by `data.drop`.
    Dropped,
}

/// What a column is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Numbers.
    Number,
    /// Codes: texts, or numbers that the config declares as codes.
    Codes,
}

/// What a column seems to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Numbers, some with decimals.
    Number,
    /// Whole numbers.
    WholeNumber,
    /// Two values: 0 and 1, or words such as yes and no.
    Boolean,
    /// Codes that recur.
    Category,
    /// Dates or times of the day.
    Time,
    /// Phrases, mostly different.
    Text,
    /// Names or numbers of single rows: nearly all different, and codes, or whole numbers that rise or fill a
    /// tenth of their range.
    Identifier,
    /// Nothing: every cell is missing.
    Empty,
}

impl Holds {
    /// In words, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::WholeNumber => "whole number",
            Self::Boolean => "boolean",
            Self::Category => "category",
            Self::Time => "time",
            Self::Text => "text",
            Self::Identifier => "identifier",
            Self::Empty => "nothing",
        }
    }
}

/// One column of a table, over the training part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// Position, from 0.
    pub index: usize,
    /// Name, if there is a header.
    pub name: Option<String>,
    /// What it is used for.
    pub role: ColumnRole,
    /// What it is read as.
    pub kind: ColumnKind,
    /// What it seems to hold.
    pub holds: Holds,
    /// Missing cells.
    pub missing: u64,
    /// The signs of missing values that were seen, and zeros that mean it.
    pub missing_as: Vec<Counted>,
    /// Different values, missing ones not counted.
    pub distinct: DistinctCount,
    /// Different codes, missing ones not counted; none for numbers.
    pub codes: Option<usize>,
    /// Count, mean and range of the numbers; none for codes.
    pub numbers: Option<ColumnMoments>,
    /// The smallest numbers that a quarter, a half and three quarters of them do not exceed; none for codes.
    pub quartiles: Option<[f64; 3]>,
    /// By how much the rank of a quartile may be off, as a share of the rows; 0 where they are exact.
    pub quartile_error: f64,
    /// The ten most frequent values.
    pub frequent: Vec<Counted>,
    /// By how much these counts may be too small; 0 where they are exact.
    pub frequent_error: u64,
    /// The formats of times that were seen.
    pub times: Vec<Counted>,
    /// Cells among the numbers that are neither numbers nor missing: loading would refuse the first of them.
    pub strays: usize,
    /// Whether its numbers never fall from row to row.
    #[serde(skip)]
    pub(super) never_falls: bool,
    /// Whether each of its numbers is larger than the one before.
    #[serde(skip)]
    pub(super) rises: bool,
    /// Cells that are not missing.
    pub present: u64,
}

impl ColumnSummary {
    /// The column by index and, if there is a header, name: `column 3 ('chol')`.
    pub fn describe(&self) -> String {
        match &self.name {
            Some(name) => format!("column {} ('{name}')", self.index),
            None => format!("column {}", self.index),
        }
    }
}

/// Whether a column is read as codes without being declared so: fewer than half of its cells are numbers.
pub(super) fn read_as_codes(profile: &Profile) -> bool {
    profile.texts > profile.numbers
}

/// Describes a column; `codes` if it is read as codes.
pub(super) fn summary(
    index: usize,
    name: Option<String>,
    role: ColumnRole,
    codes: bool,
    profile: &Profile,
    signs: &[String],
) -> ColumnSummary {
    let (frequent, frequent_error) = profile.top(LISTED);
    let (quartiles, quartile_error) = profile.quartiles();
    let distinct = profile.distinct();
    ColumnSummary {
        index,
        name,
        role,
        kind: match codes {
            true => ColumnKind::Codes,
            false => ColumnKind::Number,
        },
        holds: holds(codes, profile, &frequent),
        missing: profile.all_missing(),
        missing_as: missing_as(profile, signs),
        distinct,
        codes: codes.then_some(distinct.count as usize),
        numbers: (!codes).then_some(profile.moments),
        quartiles: quartiles.filter(|_| !codes),
        quartile_error,
        frequent,
        frequent_error,
        times: times(profile),
        strays: if codes { 0 } else { profile.texts as usize },
        never_falls: profile.never_falls,
        rises: !codes && profile.rises,
        present: profile.present(),
    }
}

fn missing_as(profile: &Profile, signs: &[String]) -> Vec<Counted> {
    let zeros = "0".to_owned();
    let words = signs.iter().chain([&zeros]);
    words
        .zip(&profile.missing)
        .filter(|(_, count)| **count > 0)
        .map(|(sign, &count)| Counted {
            value: sign.clone(),
            count,
        })
        .collect()
}

fn holds(codes: bool, profile: &Profile, frequent: &[Counted]) -> Holds {
    let found = profile.distinct();
    let (present, distinct) = (profile.present(), found.count);
    let most = |count: u64| count * 2 > profile.texts;
    if present == 0 {
        return Holds::Empty;
    }
    if distinct == 2 {
        let zero_one = frequent
            .iter()
            .all(|known| matches!(known.value.as_str(), "0" | "1"));
        if zero_one || profile.booleans == present {
            return Holds::Boolean;
        }
    }
    let texts = profile.texts > profile.numbers;
    if texts && most(profile.times.iter().map(|(_, count)| count).sum()) {
        return Holds::Time;
    }
    // An estimate gets the benefit of its error.
    let at_most = distinct as f64 * (1.0 + 2.0 * found.error);
    let all_different = present >= IDENTIFIER_ROWS && at_most >= IDENTIFIER_SHARE * present as f64;
    if texts {
        return match all_different {
            _ if most(profile.phrases) && distinct * 2 > present => Holds::Text,
            true => Holds::Identifier,
            false => Holds::Category,
        };
    }
    let whole = profile.whole == profile.numbers;
    let dense = profile
        .moments
        .range()
        .is_some_and(|(low, high)| distinct as f64 >= DENSE * (high - low + 1.0));
    match all_different && whole && profile.texts == 0 && (profile.rises || dense) {
        true => Holds::Identifier,
        false if codes => Holds::Category,
        false if whole => Holds::WholeNumber,
        false => Holds::Number,
    }
}

/// The formats of times, joined where single cells leave open which one it is.
pub(super) fn times(profile: &Profile) -> Vec<Counted> {
    let mut formats: Vec<(TimeFormat, u64)> = profile.times.clone();
    formats.sort_by_key(|(format, _)| *format);
    let open = |format: &TimeFormat| format.order == Order::Either;
    for at in 0..formats.len() {
        let (format, count) = formats[at];
        if !open(&format) {
            continue;
        }
        let told = |order| TimeFormat { order, ..format };
        let places = [Order::DayFirst, Order::MonthFirst]
            .map(|order| formats.iter().position(|(known, _)| *known == told(order)));
        if let [Some(place), None] | [None, Some(place)] = places {
            formats[place].1 += count;
            formats[at].1 = 0;
        }
    }
    formats.retain(|(_, count)| *count > 0);
    formats.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    formats
        .into_iter()
        .map(|(format, count)| Counted {
            value: format.to_string(),
            count,
        })
        .collect()
}
