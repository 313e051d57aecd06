//! Run records: written by hosts, read into tables, plots and one HTML page.
//!
//! A host (the simulator, a deployment) writes a *run folder* through a [`record::RunWriter`]: the config, a row a round, events as
//! they happen, and at the end the summary. Anybody reads it back as a [`record::RunRecord`], also while the run is in
//! progress. From records come
//!
//! - [`html::run_page`]: one self-contained page about one run;
//! - [`compare::Comparison`]: several runs, or the folder of a sweep, as a table for the terminal, CSV or JSON;
//! - [`html::comparison_page`]: the same with curves, as a page.
//!
//! Of the workspace this crate knows `cloister-privacy` alone, for the privacy statement of a run; else it deals in names,
//! counts and figures. It reads no clock and draws no random number; the same record gives the same bytes.
//!
//! ```
//! use cloister_report::html;
//! use cloister_report::compare::Comparison;
//! use cloister_report::record::{Event, RoundOutcome, RoundRow, RunRecord, RunWriter};
//!
//! let folder = tempfile::tempdir()?;
//! let folder = folder.path().join("digits-1");
//! let mut writer = RunWriter::create(&folder, "name = \"digits\"\nseed = 1\n")?;
//! writer.event(&Event::refused(1, "clinic-3", "not-finite", "parameter 7 of the update is NaN"))?;
//! writer.round(&RoundRow {
//!     round: 1,
//!     train_loss: Some(0.41),
//!     test_loss: Some(0.38),
//!     test_accuracy: Some(0.913),
//!     test_auroc: None,
//!     cohort: 10,
//!     accepted: 9,
//!     refused: 1,
//!     dropped: 0,
//!     late: 0,
//!     outcome: RoundOutcome::Completed,
//!     epsilon: None,
//!     bytes_up: 26_000,
//!     bytes_down: 26_400,
//!     seconds: 0.2,
//!     virtual_seconds: None,
//!     ..RoundRow::default()
//! })?;
//!
//! let record = RunRecord::read(&folder)?; // the run has no summary yet: it is in progress
//! assert_eq!(record.rounds.len(), 1);
//! let page = html::run_page(&record)?;
//! assert!(page.contains("clinic-3") && page.contains("91.3"));
//! let table = Comparison::of_runs(&[record]).text();
//! assert!(table.contains("digits-1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod compare;
pub mod html;
pub mod record;

mod chart;
mod format;
