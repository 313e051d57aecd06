//! `cloister data inspect`

use std::path::Path;

use anyhow::Result;
use cloister_data::{
    ColumnRole, ColumnSummary, InspectOptions, Inspection, Measure, SiteDifference, SiteSummary,
};

use super::{MOST_SHOWN, config_of};
use crate::output;

/// Columns of the longest table that is printed in full.
const MOST_COLUMNS: usize = 200;
/// Owners that are listed one by one.
const MOST_OWNERS: usize = 12;
/// Differences between owners that are listed.
const MOST_DIFFERENCES: usize = 25;
/// Characters of a value in a table.
const WIDEST: usize = 18;

pub(super) fn run(path: &Path, set: &[String], exact: bool, json: bool) -> Result<()> {
    let inspection = cloister_data::inspect_with(&config_of(path, set)?, &options(exact))?;
    if json {
        return output::print_json(&inspection);
    }
    let mut text = overview(&inspection);
    if inspection.classes.len() <= MOST_SHOWN {
        text += &format!("\n{}\n", classes(&inspection));
    }
    if !inspection.columns.is_empty() {
        text += &format!("\n{}\n", columns(&inspection.columns));
    }
    text += &findings(&inspection);
    text += &differences(&inspection);
    for note in &inspection.notes {
        text += &format!("\nnote: {note}");
    }
    output::print(&text)
}

/// All processors; with `exact` no table is too large for the memory.
pub(super) fn options(exact: bool) -> InspectOptions {
    let default = InspectOptions::default();
    InspectOptions {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        stream_from: if exact { u64::MAX } else { default.stream_from },
    }
}

fn overview(inspection: &Inspection) -> String {
    let shape = inspection.shape;
    let mut text = format!("{}: {}", inspection.name, inspection.format);
    text += &match inspection.columns.is_empty() {
        true => format!(
            ", examples of {} x {} x {}",
            shape.channels, shape.height, shape.width
        ),
        false => format!(", {} feature columns", output::grouped(shape.len() as u64)),
    };
    if let Some((least, most)) = inspection.values {
        text += &format!(", values {least} to {most}");
    }
    text.push('\n');
    let all = match inspection.test {
        Some(_) => "train",
        None => "all",
    };
    let parts = [
        (all, Some(&inspection.train)),
        ("test", inspection.test.as_ref()),
    ];
    for (name, part) in parts {
        let Some(part) = part else { continue };
        text += &format!(
            "{name:<6} {} rows, {} of them repeat an earlier one\n",
            output::grouped(part.rows as u64),
            output::grouped(part.repeated as u64),
        );
        text += &owners(&part.sites);
    }
    match inspection.overlap {
        Some(0) => text += "no test row occurs in training\n",
        Some(rows) => {
            let rows = output::grouped(rows as u64);
            text += &format!("{rows} test rows occur in training: a leak\n");
        }
        None => {}
    }
    text
}

fn owners(sites: &[SiteSummary]) -> String {
    let mut text = String::new();
    for site in sites.iter().take(MOST_OWNERS) {
        let rows = output::grouped(site.rows as u64);
        text += &format!("       {}: {rows} rows\n", shown(&site.name));
    }
    let rest = sites.iter().skip(MOST_OWNERS).map(|site| site.rows);
    if let (Some(least), Some(most)) = (rest.clone().min(), rest.max()) {
        let more = output::grouped((sites.len() - MOST_OWNERS) as u64);
        text += &format!(
            "       and {more} more owners with {least} to {most} rows (--json has all)\n"
        );
    }
    text
}

/// The classes with their rows and shares.
fn classes(inspection: &Inspection) -> String {
    let header = match inspection.test {
        Some(_) => &["class", "train", "share", "test", "share"][..],
        None => &["class", "rows", "share"],
    };
    let mut table = output::table(header);
    let all = |of: fn(&cloister_data::ClassSummary) -> usize| {
        inspection.classes.iter().map(of).sum::<usize>().max(1)
    };
    let totals = [all(|class| class.train), all(|class| class.test)];
    for class in &inspection.classes {
        let counts = [class.train, class.test];
        let cells = counts.iter().zip(totals).flat_map(|(count, total)| {
            let share = output::percent(*count as f64 / total as f64);
            [output::grouped(*count as u64), share]
        });
        let cells = cells.take(header.len() - 1);
        table.add_row(std::iter::once(shown(&class.name)).chain(cells));
    }
    output::align_right(&mut table, 1);
    output::lines(&table)
}

fn columns(columns: &[ColumnSummary]) -> String {
    let mut table = output::table(&[
        "column",
        "name",
        "role",
        "holds",
        "missing",
        "distinct",
        "least",
        "25 %",
        "50 %",
        "75 %",
        "most",
        "mean",
        "most frequent",
    ]);
    for column in columns.iter().take(MOST_COLUMNS) {
        let role = match column.role {
            ColumnRole::Feature => "feature",
            ColumnRole::Label => "label",
            ColumnRole::Site => "owner",
            ColumnRole::Dropped => "dropped",
        };
        let range = column.numbers.and_then(|numbers| numbers.range());
        let figure = |value: Option<f64>| value.map_or("-".into(), short);
        let quartile = |place: usize| figure(column.quartiles.map(|all| all[place]));
        table.add_row([
            column.index.to_string(),
            column.name.as_deref().map_or("-".into(), shown),
            role.into(),
            holds(column),
            missing(column),
            about(column.distinct.count, column.distinct.error),
            figure(range.map(|(least, _)| least)),
            quartile(0),
            quartile(1),
            quartile(2),
            figure(range.map(|(_, most)| most)),
            figure(range.and(column.numbers).map(|numbers| numbers.mean())),
            most_frequent(column),
        ]);
    }
    output::align_right(&mut table, 4);
    if let Some(last) = table.column_mut(12) {
        last.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    let mut text = output::lines(&table);
    if columns.len() > MOST_COLUMNS {
        let more = output::grouped((columns.len() - MOST_COLUMNS) as u64);
        text += &format!("\n... and {more} more columns (--json has all)");
    }
    text
}

/// What the column seems to hold, with the format of times.
fn holds(column: &ColumnSummary) -> String {
    let words = column.holds.words();
    match &column.times[..] {
        [only] => format!("{words} ({})", only.value),
        [first, ..] => format!("{words} ({}, ...)", first.value),
        [] => words.into(),
    }
}

/// How many cells are missing, and by which signs.
fn missing(column: &ColumnSummary) -> String {
    let signs: Vec<String> = column
        .missing_as
        .iter()
        .map(|sign| match sign.value.as_str() {
            "" => "empty".into(),
            sign => shown(sign),
        })
        .collect();
    match column.missing {
        0 => "·".into(),
        count => format!("{} ({})", output::grouped(count), signs.join(" ")),
    }
}

fn about(count: u64, error: f64) -> String {
    match error {
        0.0 => output::grouped(count),
        _ => format!("~{}", output::grouped(count)),
    }
}

/// The two most frequent values, where one recurs.
fn most_frequent(column: &ColumnSummary) -> String {
    let present: u64 = column.present;
    let recurring = column.frequent.iter().filter(|known| known.count > 1);
    let values = recurring.take(2).map(|known| {
        let share = known.count as f64 / present.max(1) as f64;
        format!("{} {}", shown(&known.value), output::percent(share))
    });
    values.collect::<Vec<_>>().join(", ")
}

/// A value on one line and not too long.
fn shown(value: &str) -> String {
    let plain: String = value
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(WIDEST + 1)
        .collect();
    match plain.chars().count() > WIDEST {
        true => plain.chars().take(WIDEST - 1).chain(['…']).collect(),
        false => plain,
    }
}

fn findings(inspection: &Inspection) -> String {
    if inspection.columns.is_empty() {
        return String::new();
    }
    if inspection.findings.is_empty() {
        return "\nno column stands out\n".into();
    }
    let mut table = output::table(&["to look at", "column", "name", "what"]);
    for finding in &inspection.findings {
        let column = inspection.columns.get(finding.column);
        let name = column.and_then(|column| column.name.as_deref());
        table.add_row([
            finding.rule.words().to_owned(),
            finding.column.to_string(),
            name.map_or("-".into(), shown),
            finding.text.clone(),
        ]);
    }
    format!("\n{}\n", output::lines(&table))
}

fn differences(inspection: &Inspection) -> String {
    let notable: Vec<&SiteDifference> = inspection
        .differences
        .iter()
        .filter(|d| d.notable)
        .collect();
    if inspection.differences.is_empty() {
        return String::new();
    }
    if notable.is_empty() {
        return "\nno owner differs notably from the others\n".into();
    }
    let mut table = output::table(&[
        "owners differ",
        "name",
        "owner",
        "in",
        "by",
        "here",
        "elsewhere",
    ]);
    for difference in notable.iter().take(MOST_DIFFERENCES) {
        let column = inspection.columns.get(difference.column);
        let name = column.and_then(|column| column.name.as_deref());
        let measure = match &difference.of {
            Some(of) => format!("{} ({})", difference.measure.words(), shown(of)),
            None => difference.measure.words().to_owned(),
        };
        let figure = |value| match difference.measure {
            Measure::Means => short(value),
            _ => output::percent(value),
        };
        table.add_row([
            difference.column.to_string(),
            name.map_or("-".into(), shown),
            shown(&difference.site),
            measure,
            format!("{:+.2}", difference.figure),
            figure(difference.here),
            figure(difference.elsewhere),
        ]);
    }
    output::align_right(&mut table, 4);
    let mut text = format!("\n{}\n", output::lines(&table));
    if notable.len() > MOST_DIFFERENCES {
        let more = output::grouped((notable.len() - MOST_DIFFERENCES) as u64);
        text += &format!("... and {more} more notable differences (--json has all)\n");
    }
    text
}

/// A number with about five digits.
fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return format!("{value}");
    }
    match value.abs() {
        size if (1e-3..1e6).contains(&size) => {
            let digits = 4 - (size.log10().floor() as i32).clamp(0, 4);
            format!("{value:.*}", digits as usize)
        }
        _ => format!("{value:.3e}"),
    }
}
