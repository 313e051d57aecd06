//! Writes a sample leakage report and its page, to look at: `cargo run -p cloister-report --example leakage_page -- FOLDER`.
//!
//! The figures are invented.

#[path = "../tests/leaky/mod.rs"]
mod leaky;

use std::path::PathBuf;

use cloister_report::html;
use cloister_report::record::leakage::{Leakage, write_picture};
use cloister_report::record::{RecordError, write_atomic};

fn main() -> Result<(), RecordError> {
    let argument = std::env::args().nth(1);
    let folder = PathBuf::from(argument.unwrap_or_else(|| "sample-pages".to_owned())).join("leaky");
    for (name, bytes) in leaky::pictures() {
        write_picture(&folder, &name, &bytes)?;
    }
    leaky::report().write(&folder)?;
    let leakage = Leakage::read(&folder)?.unwrap_or_default();
    write_atomic(
        &folder.join("leakage.html"),
        html::leakage_page(&leakage)?.as_bytes(),
    )
}
