//! `cloister data list | inspect | schema | prepare | apply | partition`

use std::path::Path;

use anyhow::Result;
use cloister_data::DataConfig;
use cloister_sim::Federation;
use serde_json::json;

use crate::args::{ConfigArgs, DataCommand};
use crate::commands::load;
use crate::output;

mod inspect;
mod prepare;
mod schema;

/// Clients of the longest partition table that is printed in full.
const MOST_SHOWN: usize = 60;

pub(crate) fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::List { json } => list(*json),
        DataCommand::Inspect {
            path,
            set,
            exact,
            json,
        } => inspect::run(path, set, *exact, *json),
        DataCommand::Schema { paths, set, json } => schema::run(paths, set, *json),
        DataCommand::Prepare { config, out } => prepare::run(config, out),
        DataCommand::Apply {
            pipeline,
            table,
            out,
        } => prepare::apply(pipeline, table, out),
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
