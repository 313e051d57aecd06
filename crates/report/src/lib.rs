//! Run records: written by hosts, read into tables, plots and one HTML page.

mod chart;
pub mod compare;
mod format;
pub mod html;
pub mod record;
