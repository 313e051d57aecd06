//! `cloister statistics`

use anyhow::Result;
use cloister_data::statistics::{ColumnStatistics, NumberStatistics};
use cloister_sim::Surveyed;
use serde_json::json;

use crate::args::StatisticsArgs;
use crate::commands::load;
use crate::output;

/// Cells of a row before its categories.
const OF_NUMBERS: usize = 8;

/// Categories of a column that are named.
const MOST_NAMED: usize = 6;

pub(crate) fn run(args: &StatisticsArgs) -> Result<()> {
    let loaded = load(&args.config.config, &args.config.overrides.arguments())?;
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let (question, found) = cloister_sim::find_statistics(&loaded.experiment, threads)?;
    let names: Vec<&str> = question
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    if args.json {
        return output::print_json(&json!({ "columns": names, "found": found }));
    }
    output::print(&format!(
        "{}\n\n{}",
        columns(&names, &found),
        outline(&found)
    ))
}

fn columns(names: &[&str], found: &Surveyed) -> String {
    let mut table = output::table(&[
        "column",
        "values",
        "missing",
        "mean",
        "deviation",
        "least",
        "quartiles",
        "most",
        "categories",
    ]);
    for (name, column) in names.iter().zip(&found.statistics.columns) {
        match column {
            ColumnStatistics::Nothing => {}
            ColumnStatistics::Number(numbers) => {
                table.add_row(row(name, numbers));
            }
            ColumnStatistics::Category(known) => {
                let values = found.statistics.rows.saturating_sub(known.missing);
                let mut listed: Vec<&(String, u64)> = known.counts.iter().collect();
                listed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                let mut words: Vec<String> = listed
                    .iter()
                    .take(MOST_NAMED)
                    .map(|(name, count)| format!("{name}: {}", output::grouped(*count)))
                    .collect();
                if listed.len() > MOST_NAMED {
                    words.push(format!("{} more", listed.len() - MOST_NAMED));
                }
                if known.others > 0 {
                    words.push(format!("others: {}", output::grouped(known.others)));
                }
                let mut cells = vec![
                    (*name).to_owned(),
                    output::grouped(values),
                    output::grouped(known.missing),
                ];
                cells.resize(OF_NUMBERS, String::new());
                cells.push(words.join(", "));
                table.add_row(cells);
            }
        }
    }
    output::lines(&table)
}

fn row(name: &str, numbers: &NumberStatistics) -> [String; OF_NUMBERS] {
    let (least, most) = numbers.range.unwrap_or_default();
    let quartiles: Vec<String> = numbers
        .quantiles
        .iter()
        .map(|value| short(*value))
        .collect();
    [
        name.to_owned(),
        output::grouped(numbers.count),
        output::grouped(numbers.missing),
        short(numbers.mean),
        short(numbers.variance.sqrt()),
        short(least),
        quartiles.join(" / "),
        short(most),
    ]
}

/// Four digits that count.
fn short(value: f64) -> String {
    let digits = (3.0 - value.abs().max(1e-3).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn outline(found: &Surveyed) -> String {
    let classes: Vec<String> = found
        .statistics
        .classes
        .iter()
        .map(|rows| output::grouped(*rows))
        .collect();
    let seen = match (found.masked, found.noise_multiplier) {
        (_, Some(noise)) => format!(
            "each client hid each of its rows with noise of {noise} times what a row adds"
        ),
        (true, None) => "the server saw masked sums only".to_owned(),
        (false, None) => {
            "the server saw each client's sums (with [secure_aggregation] it would see their sum only)".to_owned()
        }
    };
    format!(
        "{} rows of {} clients, by class: {}\n{} rounds, {} bytes up and {} down; {seen}",
        output::grouped(found.statistics.rows),
        found.clients.len(),
        classes.join(", "),
        found.rounds,
        output::grouped(found.bytes_up),
        output::grouped(found.bytes_down),
    )
}
