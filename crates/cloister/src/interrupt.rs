//! Ctrl-C: the first asks for a stop at the next round boundary, the second ends the process.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::output;

/// What shells expect of a process that Ctrl-C has ended: 128 + SIGINT.
const KILLED: i32 = 130;

/// Installs the handler and gives the flag that the first Ctrl-C sets.
pub(crate) fn install() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(KILLED);
        }
        output::note("stopping after this round; press Ctrl-C again to stop at once");
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}
