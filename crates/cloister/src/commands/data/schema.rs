//! `cloister data schema`

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cloister_data::{ColumnRole, Schema, compare_schemas};
use serde_json::json;

use super::{config_of, inspect};
use crate::output;

pub(super) fn run(paths: &[PathBuf], set: &[String], json: bool) -> Result<()> {
    let schemas = paths
        .iter()
        .map(|path| schema(path, set))
        .collect::<Result<Vec<Schema>>>()?;
    let differ = compare_schemas(&schemas);
    if json {
        return match &schemas[..] {
            [one] => output::print_json(one),
            all => output::print_json(&json!({"schemas": all, "disagreements": differ})),
        };
    }
    let tables: Vec<String> = schemas.iter().map(table).collect();
    let mut text = tables.join("\n");
    if schemas.len() > 1 {
        text += &match differ.is_empty() {
            true => "\nthe sites agree\n".to_owned(),
            false => format!("\nthe sites differ:\n{differ}"),
        };
    }
    output::print(&text)
}

/// The schema that a file holds, or that of the table there.
fn schema(path: &Path, set: &[String]) -> Result<Schema> {
    if let Some(sent) = sent(path)? {
        return Ok(sent);
    }
    let inspection = cloister_data::inspect_with(&config_of(path, set)?, &inspect::options(false))?;
    if inspection.columns.is_empty() {
        bail!(
            "{}: holds {}, not a table",
            path.display(),
            inspection.format
        );
    }
    Ok(Schema::of(inspection.name.clone(), &inspection))
}

/// A schema as JSON, where a file begins like one.
fn sent(path: &Path) -> Result<Option<Schema>> {
    let Ok(mut file) = File::open(path) else {
        return Ok(None);
    };
    let mut first = [0; 1];
    if !path.is_file() || file.read(&mut first)? == 0 || first != *b"{" {
        return Ok(None);
    }
    let reader = BufReader::new(File::open(path)?);
    let schema: Schema = serde_json::from_reader(reader)
        .with_context(|| format!("{}: no schema", path.display()))?;
    if let Err(reason) = schema.check() {
        bail!("{}: {reason}", path.display());
    }
    Ok(Some(schema))
}

fn table(schema: &Schema) -> String {
    let mut table = output::table(&["column", "role", "holds", "unit", "format", "categories"]);
    for column in &schema.columns {
        let role = match column.role {
            ColumnRole::Feature => "feature",
            ColumnRole::Label => "label",
            ColumnRole::Site => "owner",
            ColumnRole::Dropped => "dropped",
        };
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let categories = column.categories.map(|count| output::grouped(count as u64));
        table.add_row([
            column.name.clone(),
            role.into(),
            column.holds.words().into(),
            or_dash(&column.unit),
            or_dash(&column.time),
            or_dash(&categories),
        ]);
    }
    output::align_right(&mut table, 5);
    let columns = output::grouped(schema.columns.len() as u64);
    format!(
        "{}: {columns} columns, {} classes, digest {}\n{}\n",
        schema.site,
        schema.classes,
        schema.digest,
        output::lines(&table)
    )
}
