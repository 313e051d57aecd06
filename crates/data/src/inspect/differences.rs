//! In what an owner's rows differ from all others.

use serde::Serialize;

use super::column::{ColumnRole, ColumnSummary};
use super::view::{MISSING, Values, View};
use crate::moments::ColumnMoments;

/// Standardised difference of means from which on it is notable (Cohen 1988: 0.5 is medium), and standard errors.
const MEANS: f64 = 0.5;
const STANDARD_ERRORS: f64 = 3.0;
/// Population stability index from which on a distribution is another one (the banks' rule of thumb: above 0.25), and
/// how many times what chance alone gives on average.
const STABILITY: f64 = 0.25;
const TIMES_CHANCE: f64 = 3.0;
/// Difference of the shares of missing cells.
const MISSING_SHARE: f64 = 0.1;
/// Codes that are told apart; the rest is one.
const CODES: usize = 20;
/// Rows that an owner must have to be compared.
const LEAST: u64 = 30;
/// Owners that are compared: those with the most rows.
const MOST_OWNERS: usize = 200;

/// How an owner is compared with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Difference of the means over the root of the mean variance; notable from 0.5 and three standard errors on.
    Means,
    /// Population stability index of the codes, `sum((p - q) ln(p / q))`; notable from 0.25 and three times what chance
    /// gives on average on.
    Codes,
    /// The same of the classes.
    Classes,
    /// Difference of the shares of missing cells; notable from 0.1 on.
    Missing,
}

impl Measure {
    /// Its name, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Means => "means, in standard deviations",
            Self::Codes => "codes, stability index",
            Self::Classes => "classes, stability index",
            Self::Missing => "share missing",
        }
    }
}

/// A column (or the class) at one owner, beside the same at all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteDifference {
    /// Position of the column, from 0.
    pub column: usize,
    /// Name of the owner.
    pub site: String,
    /// How it is compared.
    pub measure: Measure,
    /// The figure.
    pub figure: f64,
    /// The mean here and elsewhere, or the share of the code, the class or missing cells that differs most.
    pub here: f64,
    /// See `here`.
    pub elsewhere: f64,
    /// The code or class that differs most.
    pub of: Option<String>,
    /// Whether the rule calls it notable.
    pub notable: bool,
}

/// All comparisons of the owners with the most rows, the notable ones first, by column.
pub(super) fn differences(view: &View<'_>) -> Vec<SiteDifference> {
    let Some(sites) = view.sites else {
        return Vec::new();
    };
    let mut rows = vec![0_u64; sites.names.len()];
    for &site in &sites.of_row {
        rows[site as usize] += 1;
    }
    let mut compared: Vec<usize> = (0..rows.len())
        .filter(|&site| rows[site] >= LEAST)
        .collect();
    compared.sort_by_key(|&site| std::cmp::Reverse(rows[site]));
    compared.truncate(MOST_OWNERS);
    compared.sort_unstable();
    if rows.len() < 2 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for column in view.columns {
        let of_column = match column.role {
            ColumnRole::Label => classes(view, column, &compared),
            ColumnRole::Feature => column_differences(view, column, &compared, &rows),
            ColumnRole::Site | ColumnRole::Dropped => continue,
        };
        found.extend(
            of_column
                .into_iter()
                .map(|(site, difference)| SiteDifference {
                    site: sites.names[site].clone(),
                    ..difference
                }),
        );
    }
    found.sort_by_key(|difference| !difference.notable);
    found
}

type Of = (usize, SiteDifference);

fn difference(column: usize, measure: Measure, figure: f64, notable: bool) -> SiteDifference {
    SiteDifference {
        column,
        site: String::new(),
        measure,
        figure,
        here: 0.0,
        elsewhere: 0.0,
        of: None,
        notable,
    }
}

fn classes(view: &View<'_>, column: &ColumnSummary, compared: &[usize]) -> Vec<Of> {
    shares(
        view,
        column.index,
        Measure::Classes,
        view.labels,
        view.classes,
        compared,
    )
}

fn column_differences(
    view: &View<'_>,
    column: &ColumnSummary,
    compared: &[usize],
    rows: &[u64],
) -> Vec<Of> {
    let Some(sites) = view.sites else {
        return Vec::new();
    };
    let values = view.values(column);
    let mut missing = vec![0_u64; rows.len()];
    let is_missing = |row: usize| match &values {
        Values::Numbers(numbers) => numbers[row].is_nan(),
        Values::Codes(codes, _) => codes[row] == MISSING,
    };
    for (row, &site) in sites.of_row.iter().enumerate() {
        missing[site as usize] += u64::from(is_missing(row));
    }
    let mut found = match &values {
        Values::Numbers(numbers) => means(view, column.index, numbers, compared),
        Values::Codes(codes, names) => {
            let (codes, names) = most_frequent(codes, names);
            shares(view, column.index, Measure::Codes, &codes, &names, compared)
        }
    };
    let (all_missing, all): (u64, u64) = (missing.iter().sum(), rows.iter().sum());
    if all_missing > 0 {
        found.extend(compared.iter().map(|&site| {
            let here = missing[site] as f64 / rows[site] as f64;
            let elsewhere = (all_missing - missing[site]) as f64 / (all - rows[site]).max(1) as f64;
            let notable = (here - elsewhere).abs() >= MISSING_SHARE;
            let difference = difference(column.index, Measure::Missing, here - elsewhere, notable);
            (
                site,
                SiteDifference {
                    here,
                    elsewhere,
                    ..difference
                },
            )
        }));
    }
    found
}

fn means(view: &View<'_>, column: usize, numbers: &[f64], compared: &[usize]) -> Vec<Of> {
    let Some(sites) = view.sites else {
        return Vec::new();
    };
    let mut moments = vec![ColumnMoments::default(); sites.names.len()];
    for (number, &site) in numbers.iter().zip(&sites.of_row) {
        moments[site as usize].observe(Some(*number).filter(|number| !number.is_nan()));
    }
    // The moments of all others, from those before and those after.
    let mut after = vec![ColumnMoments::default(); moments.len() + 1];
    for site in (0..moments.len()).rev() {
        after[site] = after[site + 1];
        after[site].merge(&moments[site]);
    }
    let mut before = ColumnMoments::default();
    let mut found = Vec::new();
    for (site, here) in moments.iter().enumerate() {
        let mut elsewhere = before;
        elsewhere.merge(&after[site + 1]);
        before.merge(here);
        let spread = ((here.variance() + elsewhere.variance()) / 2.0).sqrt();
        let few = here.count() < LEAST || elsewhere.count() < LEAST;
        if few || spread == 0.0 || compared.binary_search(&site).is_err() {
            continue;
        }
        let figure = (here.mean() - elsewhere.mean()) / spread;
        let error = (1.0 / here.count() as f64 + 1.0 / elsewhere.count() as f64).sqrt();
        let notable = figure.abs() >= MEANS.max(STANDARD_ERRORS * error);
        found.push((
            site,
            SiteDifference {
                here: here.mean(),
                elsewhere: elsewhere.mean(),
                ..difference(column, Measure::Means, figure, notable)
            },
        ));
    }
    found
}

/// The codes with all but the most frequent ones joined.
fn most_frequent(codes: &[u32], names: &[String]) -> (Vec<u32>, Vec<String>) {
    let mut counts = vec![0_u64; names.len()];
    for &code in codes.iter().filter(|&&code| code != MISSING) {
        counts[code as usize] += 1;
    }
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&code| std::cmp::Reverse(counts[code]));
    let mut place = vec![0_u32; names.len()];
    for (at, &code) in order.iter().enumerate() {
        place[code] = at.min(CODES) as u32;
    }
    let joined = codes.iter().map(|&code| match code {
        MISSING => MISSING,
        code => place[code as usize],
    });
    let joined = joined.collect();
    let mut kept: Vec<String> = order
        .iter()
        .take(CODES)
        .map(|&code| names[code].clone())
        .collect();
    if names.len() > CODES {
        kept.push("any other".to_owned());
    }
    (joined, kept)
}

fn shares(
    view: &View<'_>,
    column: usize,
    measure: Measure,
    codes: &[u32],
    names: &[String],
    compared: &[usize],
) -> Vec<Of> {
    let Some(sites) = view.sites else {
        return Vec::new();
    };
    let mut counts = vec![vec![0_u64; names.len()]; sites.names.len()];
    let mut all = vec![0_u64; names.len()];
    for (&code, &site) in codes
        .iter()
        .zip(&sites.of_row)
        .filter(|(code, _)| **code != MISSING)
    {
        counts[site as usize][code as usize] += 1;
        all[code as usize] += 1;
    }
    let mut found = Vec::new();
    for &site in compared {
        let here = &counts[site];
        let elsewhere: Vec<u64> = all.iter().zip(here).map(|(all, here)| all - here).collect();
        let (n, m): (u64, u64) = (here.iter().sum(), elsewhere.iter().sum());
        if n < LEAST || m < LEAST {
            continue;
        }
        // Half a row more in each place, so that an absent code is no infinity.
        let smooth = |count: u64, total: u64| {
            (count as f64 + 0.5) / (total as f64 + 0.5 * names.len() as f64)
        };
        let share = |count: u64, total: u64| count as f64 / total as f64;
        let (mut figure, mut most) = (0.0, (0.0, 0));
        for (code, (&x, &y)) in here.iter().zip(&elsewhere).enumerate() {
            let (p, q) = (smooth(x, n), smooth(y, m));
            figure += (p - q) * (p / q).ln();
            let gap = (share(x, n) - share(y, m)).abs();
            if gap > most.0 {
                most = (gap, code);
            }
        }
        let chance = (names.len() as f64 - 1.0) * (1.0 / n as f64 + 1.0 / m as f64);
        let notable = figure >= STABILITY.max(TIMES_CHANCE * chance);
        found.push((
            site,
            SiteDifference {
                here: share(here[most.1], n),
                elsewhere: share(elsewhere[most.1], m),
                of: names.get(most.1).cloned(),
                ..difference(column, measure, figure, notable)
            },
        ));
    }
    found
}
