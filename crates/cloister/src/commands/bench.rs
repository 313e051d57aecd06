//! `cloister bench`

use anyhow::Result;
use serde_json::Value;

use crate::args::BenchArgs;
use crate::{bench, output};

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let report = bench::run(args)?;
    if args.json {
        return output::print_json(&report);
    }
    let report = serde_json::to_value(&report)?;
    let parts = report.as_object().into_iter().flatten();
    for (name, part) in parts {
        match part {
            Value::Array(rows) => output::print(&format!("\n{name}\n{}", table(rows)))?,
            part => output::print(&format!("{name}: {}", cell(part)))?,
        }
    }
    Ok(())
}

/// A list of objects with the same keys, as a table.
fn table(rows: &[Value]) -> String {
    let objects: Vec<_> = rows.iter().filter_map(Value::as_object).collect();
    let Some(first) = objects.first() else {
        return String::new();
    };
    let header: Vec<&str> = first.keys().map(String::as_str).collect();
    let mut table = output::table(&header);
    for object in &objects {
        table.add_row(header.iter().map(|key| cell(&object[*key])));
    }
    output::align_right(&mut table, 0);
    output::lines(&table)
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.4}", number.as_f64().unwrap_or(f64::NAN))
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(".."),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}
