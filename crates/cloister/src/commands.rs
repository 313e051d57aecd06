//! One file a command.

mod aggregate;
mod audit_log;
mod bench;
mod config;
mod data;
mod demo;
mod director;
mod envoy;
mod evaluate;
mod federation;
mod leak;
mod operator;
mod predict;
mod privacy;
mod progress;
mod report;
mod simulate;
mod statistics;
mod trained;

use std::path::Path;

use anyhow::Result;
use cloister_config::Loaded;

use crate::args::{Args, Command};
use crate::output;

pub(crate) use audit_log::AuditLogCommand;
pub(crate) use demo::DemoArgs;
pub(crate) use director::{DirectorArgs, runtime};
pub(crate) use envoy::EnvoyArgs;
pub(crate) use federation::FederationCommand;
pub(crate) use leak::LeakCommand;
pub(crate) use operator::{CancelArgs, FetchArgs, StatusArgs, SubmitArgs, WatchArgs};

/// Carries out what the arguments ask for.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Simulate(args) => simulate::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Statistics(args) => statistics::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Aggregate(args) => aggregate::run(&args),
        Command::Privacy(command) => privacy::run(&command),
        Command::Federation(command) => federation::run(&command),
        Command::Director(args) => director::run(&args),
        Command::Envoy(args) => envoy::run(&args),
        Command::Submit(args) => operator::submit(&args),
        Command::Status(args) => operator::status(&args),
        Command::Watch(args) => operator::watch(&args),
        Command::Cancel(args) => operator::cancel(&args),
        Command::Fetch(args) => operator::fetch(&args),
        Command::AuditLog(command) => audit_log::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Leak(command) => leak::run(&command),
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
