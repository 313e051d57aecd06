//! `cloister data list | inspect | partition`

use std::path::Path;

use anyhow::Result;
use cloister_data::{ColumnKind, ColumnRole, ColumnSummary, DataConfig, Inspection};
use cloister_sim::Federation;
use serde_json::json;

use crate::args::{ConfigArgs, DataCommand};
use crate::commands::load;
use crate::output;

/// Clients of the longest partition table that is printed in full.
const MOST_SHOWN: usize = 60;

pub(crate) fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::List { json } => list(*json),
        DataCommand::Inspect { path, set, json } => inspect(path, set, *json),
        DataCommand::Partition { config, json } => partition(config, *json),
    }
}

fn list(json: bool) -> Result<()> {
    let sets = cloister_data::bundled();
    if json {
        return output::print_json(&sets);
    }
    let mut table = output::table(&[
        "name", "rows", "inputs", "classes", "owners", "what", "source",
    ]);
    for set in sets {
        let owners = match set.sites {
            0 => "-".into(),
            sites => sites.to_string(),
        };
        table.add_row([
            set.name,
            &output::grouped(set.rows as u64),
            set.inputs,
            &set.classes.to_string(),
            &owners,
            set.summary,
            set.source,
        ]);
    }
    output::print(&output::lines(&table))
}

/// The `[data]` table that reads `path`, with `set` put over it.
fn config_of(path: &Path, set: &[String]) -> Result<DataConfig> {
    let bundled = cloister_data::bundled()
        .iter()
        .any(|known| Path::new(known.name) == path);
    let key = match bundled && !path.exists() {
        true => "dataset",
        false => "path",
    };
    let target = json!(path.to_string_lossy());
    let text =
        format!("{{\"data\": {{\"{key}\": {target}}}, \"model\": {{\"kind\": \"logistic\"}}}}");
    let set: Vec<String> = set
        .iter()
        .map(|argument| format!("data.{argument}"))
        .collect();
    let loaded = cloister_config::parse(text, Path::new("data.json"), &set, None)?;
    Ok(loaded.experiment.data)
}

fn partition(config: &ConfigArgs, json: bool) -> Result<()> {
    let loaded = load(&config.config, &config.overrides.arguments())?;
    let federation = Federation::load(&loaded.experiment)?;
    let classes = federation.data.train.classes();
    let counts = federation.partition.class_counts(&federation.data.train);
    if json {
        let shares = federation.partition.clients.iter();
        let clients: Vec<&str> = shares.map(|share| share.name.as_str()).collect();
        return output::print_json(&json!({
            "dataset": federation.data.train.name(),
            "partition": loaded.experiment.data.partition,
            "classes": classes,
            "clients": clients,
            "counts": counts,
        }));
    }
    output::print(&format!(
        "{}\n\n{}",
        deal(&federation, &counts),
        sizes(&federation)
    ))
}

/// The table of clients and classes, shortened where it would be long.
fn deal(federation: &Federation, counts: &[Vec<u32>]) -> String {
    let header: Vec<&str> = std::iter::once("client")
        .chain(federation.data.train.classes().iter().map(String::as_str))
        .chain(["examples"])
        .collect();
    let mut table = output::table(&header);
    let clients = &federation.partition.clients;
    for (client, counts) in clients.iter().zip(counts).take(MOST_SHOWN) {
        let total = output::grouped(client.rows.len() as u64);
        let cells = counts.iter().map(|count| match count {
            0 => "·".to_owned(),
            count => output::grouped(u64::from(*count)),
        });
        table.add_row(
            std::iter::once(client.name.clone())
                .chain(cells)
                .chain([total]),
        );
    }
    output::align_right(&mut table, 1);
    let mut text = output::lines(&table);
    if let Some(more) = clients
        .len()
        .checked_sub(MOST_SHOWN)
        .filter(|more| *more > 0)
    {
        let more = output::grouped(more as u64);
        text += &format!("\n... and {more} more clients (--json has all)");
    }
    text
}

/// How many examples there are and how many a client has, in a sentence.
fn sizes(federation: &Federation) -> String {
    let clients = &federation.partition.clients;
    let mut sizes: Vec<usize> = clients.iter().map(|share| share.rows.len()).collect();
    sizes.sort_unstable();
    let size = |place: usize| output::grouped(sizes.get(place).copied().unwrap_or(0) as u64);
    format!(
        "{} training examples, {} clients with {} to {} each, median {}; {} test examples stay with the server",
        output::grouped(federation.data.train.len() as u64),
        output::grouped(clients.len() as u64),
        size(0),
        size(sizes.len().saturating_sub(1)),
        size(sizes.len() / 2),
        output::grouped(federation.data.test.len() as u64),
    )
}

fn inspect(path: &Path, set: &[String], json: bool) -> Result<()> {
    let inspection = cloister_data::inspect(&config_of(path, set)?)?;
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
    for note in &inspection.notes {
        text += &format!("\nnote: {note}");
    }
    output::print(&text)
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
        for site in &part.sites {
            text += &format!(
                "       {}: {} rows\n",
                site.name,
                output::grouped(site.rows as u64)
            );
        }
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

fn classes(inspection: &Inspection) -> String {
    let header = match inspection.test {
        Some(_) => &["class", "train", "test"][..],
        None => &["class", "rows"],
    };
    let mut table = output::table(header);
    for class in &inspection.classes {
        let counts = [class.train, class.test];
        let counts = counts.iter().take(header.len() - 1);
        let counts = counts.map(|count| output::grouped(*count as u64));
        table.add_row(std::iter::once(class.name.clone()).chain(counts));
    }
    output::align_right(&mut table, 1);
    output::lines(&table)
}

fn columns(columns: &[ColumnSummary]) -> String {
    let mut table = output::table(&[
        "column", "name", "role", "holds", "missing", "least", "most", "mean", "strays",
    ]);
    for column in columns {
        let role = match column.role {
            ColumnRole::Feature => "feature",
            ColumnRole::Label => "label",
            ColumnRole::Site => "owner",
            ColumnRole::Dropped => "dropped",
        };
        let holds = match (column.kind, column.codes) {
            (ColumnKind::Codes, Some(codes)) => format!("{} codes", output::grouped(codes as u64)),
            (ColumnKind::Codes, None) => "codes".into(),
            (ColumnKind::Number, _) => "numbers".into(),
        };
        let range = column.numbers.and_then(|numbers| numbers.range());
        let figure = |value: Option<f64>| value.map_or("-".into(), short);
        table.add_row([
            column.index.to_string(),
            column.name.clone().unwrap_or_else(|| "-".into()),
            role.into(),
            holds,
            output::grouped(column.missing),
            figure(range.map(|(least, _)| least)),
            figure(range.map(|(_, most)| most)),
            figure(range.and(column.numbers).map(|numbers| numbers.mean())),
            output::grouped(column.strays as u64),
        ]);
    }
    output::align_right(&mut table, 4);
    output::lines(&table)
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
