//! Test examples by the values of a column.

use std::collections::BTreeMap;

use cloister_host::Groups;
use cloister_nn::metrics::quantile;

/// Most values of a column of numbers that are groups of their own; with more, its quarters are.
const MOST_VALUES: usize = 6;

/// Most groups of a column of words.
const MOST_GROUPS: usize = 40;

/// What an empty cell is called.
const MISSING: &str = "missing";

/// The groups of a column, and for each row the index of its own.
#[derive(Debug, PartialEq)]
pub(super) struct Grouped {
    pub(super) names: Vec<String>,
    pub(super) of_row: Vec<u32>,
}

impl Grouped {
    /// The same, as a judgement takes it.
    pub(super) fn groups(&self) -> Groups<'_> {
        Groups {
            names: &self.names,
            of_row: &self.of_row,
        }
    }
}

/// Groups rows by their cells; `None` is a missing value, and a group of its own.
///
/// Numbers of more than six different values fall into quarters, cut at the quartiles of these rows. `Err` for a column of words
/// with more than 40 different ones.
pub(super) fn grouped(cells: &[Option<String>]) -> Result<Grouped, String> {
    let numbers: Option<Vec<Option<f64>>> = cells.iter().map(number).collect();
    match numbers {
        Some(numbers) => Ok(by_number(&numbers)),
        None => by_word(cells),
    }
}

/// `None` for a cell that is neither a number nor missing.
fn number(cell: &Option<String>) -> Option<Option<f64>> {
    match cell {
        None => Some(None),
        Some(text) => {
            let value: f64 = text.trim().parse().ok()?;
            value.is_finite().then_some(Some(value))
        }
    }
}

fn by_number(numbers: &[Option<f64>]) -> Grouped {
    let mut sorted: Vec<f64> = numbers.iter().flatten().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    // Upper ends of the groups, the last of which has none.
    let (cuts, mut names) = if distinct.len() <= MOST_VALUES {
        let names = distinct.iter().map(f64::to_string).collect();
        (distinct, names)
    } else {
        let mut cuts: Vec<f64> = [0.25, 0.5, 0.75]
            .iter()
            .filter_map(|share| quantile(&sorted, *share))
            .collect();
        cuts.dedup();
        let mut names = Vec::new();
        for (place, cut) in cuts.iter().enumerate() {
            names.push(match place.checked_sub(1) {
                None => format!("up to {cut}"),
                Some(before) => format!("above {} to {cut}", cuts[before]),
            });
        }
        names.extend(cuts.last().map(|last| format!("above {last}")));
        (cuts, names)
    };
    let missing = names.len() as u32;
    if numbers.contains(&None) {
        names.push(MISSING.to_owned());
    }
    let group = |value: &Option<f64>| match value {
        Some(value) => cuts.partition_point(|cut| cut < value) as u32,
        None => missing,
    };
    Grouped {
        of_row: numbers.iter().map(group).collect(),
        names,
    }
}

fn by_word(cells: &[Option<String>]) -> Result<Grouped, String> {
    let name = |cell: &Option<String>| cell.clone().unwrap_or_else(|| MISSING.to_owned());
    let mut places: BTreeMap<String, u32> = cells.iter().map(|cell| (name(cell), 0)).collect();
    if places.len() > MOST_GROUPS {
        return Err(format!(
            "it has {} different values, {MOST_GROUPS} at most make groups",
            places.len()
        ));
    }
    for (index, place) in (0..).zip(places.values_mut()) {
        *place = index;
    }
    Ok(Grouped {
        of_row: cells.iter().map(|cell| places[&name(cell)]).collect(),
        names: places.into_keys().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: &[&str]) -> Vec<Option<String>> {
        let cell = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        texts.iter().map(cell).collect()
    }

    #[test]
    fn words_and_few_numbers_are_groups_of_their_own() {
        let grouped_ = grouped(&cells(&["f", "m", "", "f"])).expect("few");
        assert_eq!(grouped_.names, ["f", "m", "missing"]);
        assert_eq!(grouped_.of_row, [0, 1, 2, 0]);
        let numbers = grouped(&cells(&["1", "0", "1.0", ""])).expect("few");
        assert_eq!(numbers.names, ["0", "1", "missing"]);
        assert_eq!(numbers.of_row, [1, 0, 1, 2]);
    }

    #[test]
    fn many_numbers_are_quarters() {
        let texts: Vec<String> = (1..=9).map(|x| x.to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let quarters = grouped(&cells(&texts)).expect("numbers");
        assert_eq!(
            quarters.names,
            ["up to 3", "above 3 to 5", "above 5 to 7", "above 7"]
        );
        assert_eq!(quarters.of_row, [0, 0, 0, 1, 1, 2, 2, 3, 3]);
        // Quartiles that fall together are one cut.
        let skewed = ["0"; 9]
            .into_iter()
            .chain(["1", "2", "3", "4", "5", "6", "7"]);
        let skewed = grouped(&cells(&skewed.collect::<Vec<_>>())).expect("numbers");
        assert_eq!(skewed.names.len(), 3, "{:?}", skewed.names);
    }

    #[test]
    fn too_many_words_are_no_groups() {
        let texts: Vec<String> = (0..41).map(|x| format!("w{x}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(
            grouped(&cells(&texts)).is_err_and(|reason| reason.contains("41 different values"))
        );
    }
}
