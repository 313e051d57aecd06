//! The Cloister binary: flags and wiring only.
//!
//! Data and `--json` go to stdout, words for people to stderr. Exit codes: 0 done, 1 the job failed or was stopped,
//! 2 the usage or the config is wrong, 130 killed by a second Ctrl-C.

mod args;
mod bench;
mod commands;
mod failure;
mod interrupt;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    match commands::run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
