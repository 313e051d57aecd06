//! Run records: written by hosts, read into tables, plots and one HTML page.

pub mod record;
