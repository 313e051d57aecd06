//! One file a command.

mod aggregate;
mod bench;
mod config;
mod data;
mod envoy;
mod evaluate;
mod federation;
mod privacy;
mod progress;
mod report;
mod simulate;

use std::path::Path;

use anyhow::Result;
use cloister_config::Loaded;

use crate::args::{Args, Command};
use crate::output;

pub(crate) use envoy::EnvoyCommand;
pub(crate) use federation::FederationCommand;

/// Carries out what the arguments ask for.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Simulate(args) => simulate::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Aggregate(args) => aggregate::run(&args),
        Command::Privacy(command) => privacy::run(&command),
        Command::Federation(command) => federation::run(&command),
        Command::Envoy(command) => envoy::run(&command),
        Command::Bench(args) => bench::run(&args),
    }
}

/// Loads a config and says what it warns of.
fn load(path: &Path, overrides: &[String]) -> Result<Loaded> {
    let loaded = cloister_config::load(path, overrides)?;
    for warning in &loaded.warnings {
        output::warning(&format!("{}: {warning}", path.display()));
    }
    Ok(loaded)
}
