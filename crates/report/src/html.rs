//! Self-contained HTML pages: inline styles, inline SVG, no scripts, nothing fetched.
//!
//! [`run_page`] tells one run to somebody who was not there: a data-protection officer reads it from the top (the result, who
//! can see what), a reviewer from the curves. [`comparison_page`] puts several runs, or a sweep, side by side.
//! [`leakage_page`] is about what attacks on a run brought to light; a run's page has the same where the run was attacked.
//!
//! All text from the record is escaped, and the page forbids itself scripts and fetches by a content security policy.
//! A page's size is bounded: curves are thinned, long tables and wide pictures are cut or summarised and say so.

mod anomalies;
mod at_sites;
mod attack;
mod clients;
mod comparison;
mod curves;
mod grids;
mod kept;
mod leakage;
mod page;
mod privacy;
mod quality;
mod run;
mod tradeoff;
mod wire;

use crate::compare::Comparison;
pub use crate::format::escaped;
use crate::record::leakage::Leakage;
use crate::record::{RecordError, RunRecord};

/// The page of one run, finished or in progress.
///
/// # Errors
///
/// [`RecordError::Encode`] should the page not be renderable; no record is known to cause it.
pub fn run_page(record: &RunRecord) -> Result<String, RecordError> {
    run::page(record).html()
}

/// The page of several runs or of a sweep.
///
/// # Errors
///
/// As [`run_page`].
pub fn comparison_page(comparison: &Comparison) -> Result<String, RecordError> {
    comparison::page(comparison).html()
}

/// The page of a leakage report: the verdict first, then every attack beside every defence.
///
/// # Errors
///
/// As [`run_page`].
pub fn leakage_page(leakage: &Leakage) -> Result<String, RecordError> {
    leakage::page(leakage).html()
}
