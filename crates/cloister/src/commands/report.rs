//! `cloister report`

use std::path::{Path, PathBuf};

use anyhow::Result;
use cloister_report::compare::Comparison;
use cloister_report::html;
use cloister_report::record::{AtSites, RunRecord, Summary, file_name, flags_text, write_atomic};

use crate::args::{Format, ReportArgs};
use crate::output;

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let comparison = Comparison::read(&args.runs)?;
    if let Some(path) = page_path(args) {
        let page = match &args.runs[..] {
            [folder] if !is_sweep(folder) => html::run_page(&RunRecord::read(folder)?)?,
            _ => html::comparison_page(&comparison)?,
        };
        write_atomic(&path, page.as_bytes())?;
        output::note(&format!("report: {}", path.display()));
    }
    match args.format {
        Format::Text => {
            let flags = match &args.runs[..] {
                [folder] if !is_sweep(folder) => flags_text(&RunRecord::read(folder)?.events),
                _ => String::new(),
            };
            output::print(&(comparison.text() + &quality(&args.runs)? + &flags))
        }
        Format::Json => output::print_json(&comparison.json()?),
        Format::Csv => output::print(&comparison.csv()?),
    }
}

/// Where the page goes: as asked for, else into the one folder that it is about.
fn page_path(args: &ReportArgs) -> Option<PathBuf> {
    match (&args.html, &args.runs[..]) {
        (Some(path), _) => Some(path.clone()),
        (None, [folder]) => Some(folder.join(file_name::REPORT)),
        (None, _) => None,
    }
}

/// How good the final model is, where the report is about one run that says so.
fn quality(folders: &[PathBuf]) -> Result<String> {
    let [folder] = folders else {
        return Ok(String::new());
    };
    if is_sweep(folder) {
        return Ok(String::new());
    }
    let Some(summary) = Summary::read(folder)? else {
        return Ok(String::new());
    };
    let judged = summary.quality.as_ref();
    let judged = judged.map(|quality| quality.text(&summary.final_, summary.metric));
    let at_sites = summary.at_sites.as_ref().map(AtSites::text);
    let parts = judged.into_iter().chain(at_sites);
    Ok(parts.map(|text| format!("\n{text}")).collect())
}

fn is_sweep(folder: &Path) -> bool {
    folder.join(file_name::SWEEP).exists()
}
