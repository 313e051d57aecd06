//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, Subcommand, ValueEnum};

use crate::bench::NAMES;

/// Secure federated learning: train one model over data that never leaves its owners.
#[derive(Debug, Parser)]
#[command(
    name = "cloister",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 the job failed or was stopped, 2 the usage or the config is wrong.\n\
                  NO_COLOR is obeyed. CLOISTER_DATA stands for ${CLOISTER_DATA} in the paths of a config."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a federation, or a sweep of them, in this process
    Simulate(SimulateArgs),
    /// Tell about runs: a page of one, or a comparison of several or of a sweep
    Report(ReportArgs),
    /// Measure a trained model on its own test data or on other data
    Evaluate(EvaluateArgs),
    /// Look at data and how it is dealt to clients
    #[command(subcommand)]
    Data(DataCommand),
    /// Look at configs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure this machine: the figures that the docs quote
    Bench(BenchArgs),
}

/// A config and what is put over it.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The experiment: TOML, or JSON if its name ends in .json
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What is put over a config.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Set a key of the config; may be given several times and wins over the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed; the same as --set seed=N
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Overrides {
    /// All of it as `key=value` arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        self.set.iter().cloned().chain(seed).collect()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    /// The experiment: TOML, or JSON if its name ends in .json; with --resume, that of the run by default
    #[arg(value_name = "CONFIG", required_unless_present = "resume")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// The run folder [default: runs/NAME-SEED, or sweeps/NAME-SEED for a sweep; -2, -3, ... where that is taken]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the run, or the sweep, in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Write one JSON event a line to stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Threads {
    /// Threads to work on; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// As many as asked for, or as there are cores.
    pub(crate) fn count(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Run folders and sweep folders
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Write the page to this file; a single run's goes to its report.html by default
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// Comma-separated values
    Csv,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// A run folder, or a model.safetensors that a run has left
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// Measure on this file or folder [default: the test data of the run]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Set a key of the run's config, as in data.label=outcome; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// The data sets inside this binary
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What a file or folder holds: format, shape, classes, columns, duplicates
    Inspect {
        /// A file or folder, or the name of a set inside this binary
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Set how it is read, as in label=41 or missing='["?"]'; may be given several times
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// How a config deals its data to clients: a table of clients and classes
    Partition {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the JSON Schema of a config, for editors
    Schema,
    /// Check configs without running them
    Check {
        /// The experiments
        #[arg(value_name = "CONFIG", required = true)]
        configs: Vec<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Print what a config means, with every default filled in
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON instead of TOML
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// What to measure [default: all]
    #[arg(value_name = "NAME", value_parser = bench_names())]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The benches with a line on each, for the help.
fn bench_names() -> PossibleValuesParser {
    PossibleValuesParser::new(NAMES.map(|(name, help)| PossibleValue::new(name).help(help)))
}
