//! Columns that are computed over rows of other owners.
//!
//! A column such as "share of frauds at this terminal in the last week" follows a *key* (the terminal). Where rows of one
//! key lie with several owners, an owner that computed the column alone would have figures of its own; if instead the
//! value in a row is about that of the latest earlier row of the same key *at another owner*, somebody computed it over
//! the rows of all, and it carries what one owner knows to another: the labels, if it is made of labels.
//!
//! Looked at are only rows that are their owner's first of their key: whatever an owner computes over its own rows of the
//! key is the same nothing in all of them. For such a row let *other* be the latest earlier row with the same key, which is
//! at another owner, and *control* the latest earlier row at another owner with the next key (in the order of keys). Two
//! tests, either of which names a column:
//!
//! - *It follows the key*: let d be the mean distance between the row's value and the other's, and c that between the
//!   row's and the control's, with ranks in the place of numbers, and codes 0 or 1 apart. 1 - d/c is 0 for what has
//!   nothing to do with the key, and for time, order and size, in which rows of the same and of the next key are alike;
//!   it is 1 for what the key decides. The bound is 0.5, and 0.8 times what rows of the same owner reach: they agree much
//!   better where each owner's rows are of a kind. Where all rows of a key agree it is a fact about the key, not computed.
//! - *It carries labels*: among rows of the most frequent class, its AUROC for the other's label being another class is
//!   off 0.5 by 0.02 and five standard errors more than for the control's label.

use super::column::{ColumnRole, ColumnSummary, Holds};
use super::findings::{Finding, Rule};
use super::view::{MISSING, Values, View, auroc, ranks};
use crate::classes::natural_order;

/// Different values of a key, at least, and rows of one.
const KEYS: u64 = 100;
const ROWS_OF_KEY: f64 = 2.0;
/// Largest share of one value of a key.
const LARGEST_KEY: f64 = 0.05;
/// Numbers are keys if at least this share of their range is there.
const DENSE: f64 = 0.1;
/// Most keys that are tried.
const MOST_KEYS: usize = 6;
/// Pairs of rows that are enough.
const PAIRS: usize = 200;
const SAME_PAIRS: usize = 50;
/// Earlier rows that are looked through for one of another owner.
const REACH: usize = 16;
/// Share of the distance that the key takes away.
const AGREES: f64 = 0.5;
/// Part of the agreement within an owner that must be there across owners.
const AS_WITHIN: f64 = 0.8;
/// Share of pairs with equal values from which on a column is a fact about the key.
const FACT: f64 = 0.98;
/// Distance of an AUROC for other owners' labels from 0.5, beyond that of the control.
const CARRIES: f64 = 0.02;
const STANDARD_ERRORS: f64 = 5.0;

/// Rows grouped by key, in the order of keys, each group in the order of time.
struct Groups {
    rows: Vec<Vec<u32>>,
    name: String,
}

/// Who owns the rows.
struct Owners {
    of_row: Vec<u32>,
    /// The column that stands for owners where none are declared.
    by: Option<(usize, String)>,
}

/// A row and those that it is compared with.
#[derive(Clone, Copy)]
struct Pair {
    row: u32,
    other: u32,
    control: u32,
}

/// The pairs of a key and owners.
#[derive(Default)]
struct Pairs {
    across: Vec<Pair>,
    /// Rows and the latest earlier row of the same key and the same owner.
    within: Vec<(u32, u32)>,
}

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let keys: Vec<&ColumnSummary> = view
        .columns
        .iter()
        .filter(|column| is_key(column))
        .take(MOST_KEYS)
        .collect();
    if keys.is_empty() || view.rows() < PAIRS {
        return Vec::new();
    }
    let order = order(view);
    let mut time = vec![0; order.len()];
    for (at, &row) in (0..).zip(&order) {
        time[row as usize] = at;
    }
    let mut found: Vec<(Finding, f64)> = Vec::new();
    for key in &keys {
        if let Some(owners) = owners(view, key, &keys) {
            let groups = groups(view, key, &order);
            let pairs = pairs(&groups, &owners, &time);
            if pairs.across.len() < PAIRS {
                continue;
            }
            for column in view.columns {
                let known = column.index == key.index
                    || matches!(column.role, ColumnRole::Label | ColumnRole::Site)
                    || owners
                        .by
                        .as_ref()
                        .is_some_and(|(by, _)| *by == column.index);
                if known || column.role == ColumnRole::Dropped {
                    continue;
                }
                if let Some((finding, share)) = follows(view, column, &groups, &owners, &pairs) {
                    found.push((finding, share));
                }
            }
        }
    }
    // One finding a column: the key that it follows most.
    found.sort_by(|a, b| a.0.column.cmp(&b.0.column).then(b.1.total_cmp(&a.1)));
    found.dedup_by_key(|(finding, _)| finding.column);
    found.into_iter().map(|(finding, _)| finding).collect()
}

/// Whether a column can be a key that rows share: many values, each of several rows, none of many; numbers must fill
/// their range, as numbered things do and measurements do not.
fn is_key(column: &ColumnSummary) -> bool {
    let (present, distinct) = (column.present as f64, column.distinct.count as f64);
    let top = column.frequent.first().map_or(0, |top| top.count) as f64;
    let kind = match column.holds {
        Holds::Category => true,
        Holds::WholeNumber => {
            let range = column.numbers.and_then(|numbers| numbers.range());
            let dense = range.is_some_and(|(low, high)| distinct >= DENSE * (high - low + 1.0));
            dense && !column.never_falls
        }
        _ => false,
    };
    kind && column.role != ColumnRole::Label
        && column.distinct.count >= KEYS
        && present >= ROWS_OF_KEY * distinct
        && top <= LARGEST_KEY * present
}

/// The order of the rows in time: by the first column of times that sort as texts, else as they lie in the files.
fn order(view: &View<'_>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..view.rows() as u32).collect();
    let sorts = |column: &&ColumnSummary| {
        let format = column
            .times
            .first()
            .map_or("", |format| format.value.as_str());
        column.holds == Holds::Time && column.times.len() == 1 && format.starts_with("YYYY")
    };
    if let Some(column) = view.columns.iter().find(sorts) {
        let texts = view.texts(column.index);
        order.sort_by_key(|&row| texts[row as usize]);
    }
    order
}

/// The declared owners, else the other key with the most values, which stand for owners.
fn owners(view: &View<'_>, key: &ColumnSummary, keys: &[&ColumnSummary]) -> Option<Owners> {
    if let Some(sites) = view.sites {
        return Some(Owners {
            of_row: sites.of_row.clone(),
            by: None,
        });
    }
    let others = keys.iter().filter(|other| other.index != key.index);
    // The one with the most values is the least likely to be a measurement.
    others
        .max_by_key(|other| other.distinct.count)
        .map(|other| Owners {
            of_row: view.codes(other).0,
            by: Some((other.index, name(other))),
        })
}

fn name(column: &ColumnSummary) -> String {
    column
        .name
        .clone()
        .unwrap_or_else(|| format!("column {}", column.index))
}

fn groups(view: &View<'_>, key: &ColumnSummary, order: &[u32]) -> Groups {
    let (codes, names) = view.codes(key);
    let mut by_name: Vec<u32> = (0..names.len() as u32).collect();
    by_name.sort_by(|&a, &b| natural_order(&names[a as usize], &names[b as usize]));
    let mut place = vec![0_usize; names.len()];
    for (at, &code) in by_name.iter().enumerate() {
        place[code as usize] = at;
    }
    let mut rows = vec![Vec::new(); names.len()];
    for &row in order {
        let code = codes[row as usize];
        if code != MISSING {
            rows[place[code as usize]].push(row);
        }
    }
    Groups {
        rows,
        name: name(key),
    }
}

/// The pairs of rows; `time` is the place of each row in the order.
fn pairs(groups: &Groups, owners: &Owners, time: &[u32]) -> Pairs {
    let owner = |row: u32| owners.of_row[row as usize];
    let mut pairs = Pairs::default();
    for (at, group) in groups.rows.iter().enumerate() {
        let next = groups
            .rows
            .get(at + 1)
            .or(at.checked_sub(1).and_then(|at| groups.rows.get(at)));
        let next = next.map_or(&[][..], Vec::as_slice);
        for (place, &row) in group
            .iter()
            .enumerate()
            .filter(|(_, row)| owner(**row) != MISSING)
        {
            let earlier = &group[..place];
            if let Some(same) = earlier
                .iter()
                .rev()
                .find(|other| owner(**other) == owner(row))
            {
                pairs.within.push((row, *same));
                continue;
            }
            let before = next.partition_point(|&other| time[other as usize] < time[row as usize]);
            let control = next[..before]
                .iter()
                .rev()
                .take(REACH)
                .find(|other| owner(**other) != owner(row));
            if let (Some(&other), Some(&control)) = (earlier.last(), control)
                && owner(other) != MISSING
            {
                pairs.across.push(Pair {
                    row,
                    other,
                    control,
                });
            }
        }
    }
    pairs
}

/// How far the values of two rows are apart, and whether both are the most frequent value.
struct Distances {
    values: Values,
    usual: f64,
}

impl Distances {
    fn new(values: Values) -> Self {
        let (values, flat) = match values {
            Values::Numbers(numbers) => {
                let ranks = ranks(&numbers);
                (Values::Numbers(ranks.clone()), ranks)
            }
            Values::Codes(codes, names) => {
                let flat = codes.iter().map(|&code| match code {
                    MISSING => f64::NAN,
                    code => f64::from(code),
                });
                let flat = flat.collect();
                (Values::Codes(codes, names), flat)
            }
        };
        Self {
            values,
            usual: usual(flat),
        }
    }

    fn value(&self, row: u32) -> f64 {
        match &self.values {
            Values::Numbers(ranks) => ranks[row as usize],
            Values::Codes(codes, _) if codes[row as usize] == MISSING => f64::NAN,
            Values::Codes(codes, _) => f64::from(codes[row as usize]),
        }
    }

    /// None if a value is missing.
    fn between(&self, a: u32, b: u32) -> Option<f64> {
        let (x, y) = (self.value(a), self.value(b));
        match &self.values {
            _ if x.is_nan() || y.is_nan() => None,
            Values::Numbers(_) => Some((x - y).abs()),
            Values::Codes(..) => Some(f64::from(u8::from(x != y))),
        }
    }

    fn both_usual(&self, a: u32, b: u32) -> bool {
        self.value(a) == self.usual && self.value(b) == self.usual
    }
}

/// The most frequent of the values.
fn usual(mut values: Vec<f64>) -> f64 {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    let groups = values.chunk_by(|a, b| a == b);
    groups
        .max_by_key(|group| group.len())
        .map_or(f64::NAN, |group| group[0])
}

/// How often each of the values is there.
fn ties(values: &[f64]) -> impl Iterator<Item = f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut at = 0;
    std::iter::from_fn(move || {
        let value = *sorted.get(at)?;
        let size = sorted[at..].partition_point(|other| *other <= value).max(1);
        at += size;
        Some(size as f64)
    })
}

/// What is found about a column, and how much it follows the key.
fn follows(
    view: &View<'_>,
    column: &ColumnSummary,
    groups: &Groups,
    owners: &Owners,
    pairs: &Pairs,
) -> Option<(Finding, f64)> {
    let values = view.values(column);
    let labels = carries(view, &values, &pairs.across);
    let distances = Distances::new(values);
    let share = agreement(&distances, pairs);
    if share.is_none() && labels.is_none() {
        return None;
    }
    let whose = match &owners.by {
        Some((_, by)) => format!("rows of another {by}"),
        None => "rows of other owners".to_owned(),
    };
    let mut text = match share {
        Some(share) => format!(
            "follows {} from row to row (agreement {share:.2} with {whose}): computed over rows that may lie with several owners",
            groups.name
        ),
        None => format!("is computed over {whose} with the same {}", groups.name),
    };
    if let Some(area) = labels {
        text += &format!("; it carries their labels (AUROC {area:.2})");
    }
    let figure = share.or(labels);
    let finding = Finding::new(Rule::AcrossOwners, column, figure, text);
    Some((finding, share.unwrap_or(0.0)))
}

/// 1 - d/c, if the column follows the key.
fn agreement(distances: &Distances, pairs: &Pairs) -> Option<f64> {
    let (mut across, mut control, mut count) = (0.0, 0.0, 0_usize);
    let (mut equal, mut unusual) = (0_usize, 0_usize);
    for pair in &pairs.across {
        let apart = distances.between(pair.row, pair.other);
        let (Some(apart), Some(apart_control)) = (apart, distances.between(pair.row, pair.control))
        else {
            continue;
        };
        across += apart;
        control += apart_control;
        count += 1;
        if !distances.both_usual(pair.row, pair.other) {
            unusual += 1;
            equal += usize::from(apart == 0.0);
        }
    }
    if count < PAIRS || control == 0.0 || equal as f64 >= FACT * unusual as f64 {
        return None;
    }
    let share = 1.0 - across / control;
    let within: Vec<f64> = pairs
        .within
        .iter()
        .filter_map(|&(a, b)| distances.between(a, b))
        .collect();
    let mean = within.iter().sum::<f64>() / within.len().max(1) as f64;
    let share_within = match within.len() >= SAME_PAIRS {
        true => 1.0 - mean / (control / count as f64),
        false => share,
    };
    (share >= AGREES && share >= AS_WITHIN * share_within).then_some(share)
}

/// The AUROC of a column for labels at other owners, if it carries them.
fn carries(view: &View<'_>, values: &Values, across: &[Pair]) -> Option<f64> {
    let Values::Numbers(numbers) = values else {
        return None;
    };
    let usual = usual(view.labels.iter().map(|&label| f64::from(label)).collect());
    let unusual = |row: u32| f64::from(view.labels[row as usize]) != usual;
    let pairs: Vec<Pair> = across
        .iter()
        .copied()
        .filter(|pair| !unusual(pair.row))
        .collect();
    let here: Vec<f64> = pairs
        .iter()
        .map(|pair| numbers[pair.row as usize])
        .collect();
    let area = |label_of: fn(&Pair) -> u32| auroc(&here, |at| unusual(label_of(&pairs[at])), 30);
    let (key, control) = (area(|pair| pair.other)?, area(|pair| pair.control)?);
    let positive = pairs.iter().filter(|pair| unusual(pair.other)).count() as f64;
    let negative = pairs.len() as f64 - positive;
    // The variance without ties, less what ties take off it (Lehmann 1975).
    let all = positive + negative;
    let cubes = ties(&here)
        .map(|size| size * size * size - size)
        .sum::<f64>()
        / (all * all * all - all);
    let error = ((all + 1.0) / (12.0 * positive * negative) * (1.0 - cubes)).sqrt();
    let beyond = (key - 0.5).abs() - (control - 0.5).abs();
    (beyond >= CARRIES.max(STANDARD_ERRORS * error)).then_some(key)
}
