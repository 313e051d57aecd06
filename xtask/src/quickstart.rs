//! Whether the quickstart did what the README says.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What a run folder holds when the run is complete.
const FILES: [&str; 9] = [
    "config.toml",
    "rounds.csv",
    "events.jsonl",
    "summary.json",
    "partition.csv",
    "clients.csv",
    "confusion.csv",
    "model.safetensors",
    "report.html",
];

/// Accuracy that the README promises.
const ACCURACY: f64 = 0.93;

/// Checks the run in `folder`.
pub(crate) fn check(folder: &str) -> Result<()> {
    let folder = Path::new(folder);
    for file in FILES {
        let path = folder.join(file);
        let length = fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .len();
        ensure!(
            length > 0 || file == "events.jsonl",
            "{} is empty",
            path.display()
        );
    }
    let summary = fs::read(folder.join("summary.json"))?;
    let summary: Value = serde_json::from_slice(&summary)?;
    let accuracy = summary["final"]["accuracy"]
        .as_f64()
        .context("summary.json has no final.accuracy")?;
    ensure!(
        accuracy >= ACCURACY,
        "accuracy {accuracy:.4} is below {ACCURACY}"
    );
    let html = fs::read_to_string(folder.join("report.html"))?;
    ensure!(!html.contains("<script"), "report.html has a script");
    ensure!(html.contains("<svg"), "report.html has no curve");
    Ok(())
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
