//! Columns that somebody should look at before training, each by a rule with a name.

use serde::Serialize;

use super::cell::Disguise;
use super::column::{ColumnKind, ColumnRole, ColumnSummary, Holds};
use super::profile::Profile;

/// Share of one value from which on a column is nearly constant.
const NEARLY: f64 = 0.995;
/// Numbers that often stand for a missing value.
const STAND_INS: [&str; 8] = ["-1", "-9", "-99", "-999", "-9999", "999", "9999", "99999"];
/// Share of a stand-in from which on it is named.
const STAND_IN_SHARE: f64 = 0.01;
/// Codes of which a column may have so many, coded one-hot.
const MANY_CODES: usize = 100;

/// Why a column is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It tells the label by itself: an AUROC of 0.95 (two classes and numbers), or a guess by its values that makes at
    /// most a tenth of the errors of always guessing the most frequent class.
    PredictsAlone,
    /// Its values are computed over rows of other owners: see `docs/inspecting-data.md` for the test.
    AcrossOwners,
    /// It names single rows.
    Identifier,
    /// Every cell is missing.
    Empty,
    /// All its values are one.
    Constant,
    /// One value has 99.5 % of the rows.
    NearlyConstant,
    /// Texts among the numbers.
    Strays,
    /// Most of its texts are numbers that are written in a way that is not read.
    Disguised,
    /// Words that usually mean a missing value, and are not declared so.
    LooksMissing,
    /// The least or the largest number is one that often stands for a missing value, and has 1 % of the rows.
    StandIn,
    /// Times in several formats.
    MixedTimes,
    /// Days and months that cannot be told apart.
    AmbiguousTimes,
    /// More than a hundred codes, which become as many inputs.
    ManyCodes,
}

impl Rule {
    /// Its name, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::PredictsAlone => "predicts alone",
            Self::AcrossOwners => "across owners",
            Self::Identifier => "identifier",
            Self::Empty => "empty",
            Self::Constant => "constant",
            Self::NearlyConstant => "nearly constant",
            Self::Strays => "strays",
            Self::Disguised => "numbers in disguise",
            Self::LooksMissing => "looks missing",
            Self::StandIn => "stand-in",
            Self::MixedTimes => "mixed times",
            Self::AmbiguousTimes => "ambiguous times",
            Self::ManyCodes => "many codes",
        }
    }
}

/// One column and one reason to look at it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The rule that names it.
    pub rule: Rule,
    /// Position of the column, from 0.
    pub column: usize,
    /// The figure that the rule looks at, where it is one.
    pub figure: Option<f64>,
    /// What was found, as a sentence without the column's name.
    pub text: String,
}

impl Finding {
    pub(super) fn new(
        rule: Rule,
        column: &ColumnSummary,
        figure: Option<f64>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            column: column.index,
            figure,
            text: text.into(),
        }
    }
}

/// What a column's own figures say.
pub(super) fn of_column(column: &ColumnSummary, profile: &Profile) -> Vec<Finding> {
    if matches!(column.role, ColumnRole::Label | ColumnRole::Dropped) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut say = |rule, figure: Option<f64>, text: String| {
        found.push(Finding::new(rule, column, figure, text));
    };
    if column.holds == Holds::Empty {
        say(Rule::Empty, None, "every cell is missing".to_owned());
        return found;
    }
    if let Some((rule, share)) = constancy(column) {
        let value = &column.frequent[0].value;
        let text = match rule {
            Rule::Constant => format!("is always {}", quoted(value)),
            _ => format!(
                "{} has {:.2} % of the rows that are not missing",
                quoted(value),
                share * 100.0
            ),
        };
        say(rule, Some(share), text);
    }
    if column.holds == Holds::Identifier && column.role == ColumnRole::Feature {
        let rows = column.present;
        let distinct = column.distinct.count;
        let rises = match column.rises {
            true => ", rising row by row",
            false => "",
        };
        let text = format!(
            "{distinct} different values in {rows} rows{rises}: it names rows and cannot be learnt from; leave it out (data.drop)"
        );
        say(Rule::Identifier, Some(distinct as f64 / rows as f64), text);
    } else if let Some(codes) = column.codes.filter(|&codes| codes > MANY_CODES)
        && column.role == ColumnRole::Feature
        && column.holds == Holds::Category
    {
        let text = format!("{codes} codes would become as many inputs");
        say(Rule::ManyCodes, Some(codes as f64), text);
    }
    words_among_numbers(column, profile, &mut say);
    times(column, profile, &mut say);
    found
}

/// Whether one value has all rows, or nearly all.
fn constancy(column: &ColumnSummary) -> Option<(Rule, f64)> {
    let top = column.frequent.first()?;
    let share = top.count as f64 / column.present as f64;
    match column.distinct.count {
        1 => Some((Rule::Constant, 1.0)),
        _ if share >= NEARLY && column.present >= 200 => Some((Rule::NearlyConstant, share)),
        _ => None,
    }
}

fn words_among_numbers(
    column: &ColumnSummary,
    profile: &Profile,
    say: &mut impl FnMut(Rule, Option<f64>, String),
) {
    if column.strays > 0 {
        let text = format!(
            "{} cells are neither numbers nor missing: loading refuses the first of them",
            column.strays
        );
        say(Rule::Strays, Some(column.strays as f64), text);
    }
    for (disguise, &count) in Disguise::ALL.iter().zip(&profile.disguised) {
        if count > 0 && count * 2 >= profile.texts {
            let read = match column.kind {
                ColumnKind::Codes => "they are read as codes",
                ColumnKind::Number => "they are not read",
            };
            let text = format!("{count} cells are {}: {read}", disguise.words());
            say(Rule::Disguised, Some(count as f64), text);
        }
    }
    if !profile.looks_missing.is_empty() {
        let words: Vec<String> = profile
            .looks_missing
            .iter()
            .map(|(word, count)| format!("{} ({count})", quoted(word)))
            .collect();
        let count: u64 = profile.looks_missing.iter().map(|(_, count)| count).sum();
        let text = format!(
            "{} usually mean that there is no value; see data.missing",
            words.join(", ")
        );
        say(Rule::LooksMissing, Some(count as f64), text);
    }
    if let Some(range) = column.numbers.and_then(|numbers| numbers.range()) {
        for known in column
            .frequent
            .iter()
            .filter(|known| STAND_INS.contains(&known.value.as_str()))
        {
            let share = known.count as f64 / column.present as f64;
            let value: f64 = known.value.parse().unwrap_or(f64::NAN);
            // Next to the other values it is one of them: -1 beside 0.
            let far = column.quartiles.is_some_and(|[low, _, high]| {
                (value - low).abs().min((value - high).abs()) > 3.0 * (high - low).max(1.0)
            });
            if share >= STAND_IN_SHARE && far && (value == range.0 || value == range.1) {
                let text = format!(
                    "{value} is at the end of the range and has {:.1} % of the rows: does it mean a missing value?",
                    share * 100.0
                );
                say(Rule::StandIn, Some(share), text);
            }
        }
    }
}

fn times(
    column: &ColumnSummary,
    profile: &Profile,
    say: &mut impl FnMut(Rule, Option<f64>, String),
) {
    if column.holds != Holds::Time {
        return;
    }
    let seen: u64 = column.times.iter().map(|known| known.count).sum();
    let listed: Vec<String> = column
        .times
        .iter()
        .map(|known| format!("{} ({})", known.value, known.count))
        .collect();
    let others = profile.texts - seen.min(profile.texts) + profile.numbers;
    if column.times.len() > 1 || others > 0 {
        let rest = match others {
            0 => String::new(),
            others => format!(", and {others} cells that are no times"),
        };
        let text = format!(
            "times in {} formats: {}{rest}",
            column.times.len(),
            listed.join(", ")
        );
        say(Rule::MixedTimes, Some(column.times.len() as f64), text);
    } else if column
        .times
        .iter()
        .any(|known| known.value.contains(" or "))
    {
        let text = format!(
            "{}: no cell tells the day from the month",
            column.times[0].value
        );
        say(Rule::AmbiguousTimes, None, text);
    }
}

fn quoted(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => value.to_owned(),
        _ => format!("'{value}'"),
    }
}
