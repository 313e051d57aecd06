//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, Subcommand, ValueEnum};

use cloister_robust::Rule;

use crate::bench::NAMES;
use crate::commands::{
    AuditLogCommand, CancelArgs, DemoArgs, DirectorArgs, EnvoyArgs, FederationCommand, FetchArgs,
    LeakCommand, StatusArgs, SubmitArgs, WatchArgs,
};

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
    /// Let a trained model judge rows or images: a line for each, as they come
    Predict(PredictArgs),
    /// Look at data and how it is dealt to clients
    #[command(subcommand)]
    Data(DataCommand),
    /// What a config's clients find out together about their tables: means, spreads, quartiles, categories
    Statistics(StatisticsArgs),
    /// Look at configs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make one vector of many by a robust rule: NumPy files in and out
    Aggregate(Box<AggregateArgs>),
    /// Reckon with differential privacy
    #[command(subcommand)]
    Privacy(PrivacyCommand),
    /// Attack a recorded run: what leaks, and which defence stops it
    #[command(subcommand)]
    Leak(LeakCommand),
    /// Keys and certificates of a deployment, for whoever runs it
    #[command(subcommand)]
    Federation(FederationCommand),
    /// Host the experiments of a federation: envoys and operators call it
    Director(DirectorArgs),
    /// Serve a site's data to the experiments that its policy lets through; or make its key and certificate
    Envoy(EnvoyArgs),
    /// Offer an experiment to the sites of a federation
    Submit(SubmitArgs),
    /// Show a director's sites and experiments
    Status(StatusArgs),
    /// Watch an experiment until it is over
    Watch(WatchArgs),
    /// End an experiment
    Cancel(CancelArgs),
    /// Bring an experiment's model, record and report here
    Fetch(FetchArgs),
    /// Check who did what at a director
    #[command(subcommand)]
    AuditLog(AuditLogCommand),
    /// Start a director and three envoys on this machine, train over three hospitals, and show the page
    Demo(DemoArgs),
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
    /// Compare groups of the examples by this column of the table, also one that is no feature; may be given several times
    #[arg(long, value_name = "COLUMN")]
    pub(crate) subgroup: Vec<String>,
    /// Take examples for the second of two classes from this probability on [default: chosen on the training examples]
    #[arg(long, value_name = "P")]
    pub(crate) threshold: Option<f64>,
    /// How the threshold is chosen on the training examples
    #[arg(long, value_enum, default_value_t, value_name = "RULE")]
    pub(crate) threshold_by: ThresholdBy,
    /// The specificity for which a second threshold is chosen on the training examples
    #[arg(long, value_name = "S", default_value_t = 0.9)]
    pub(crate) specificity: f64,
    /// Replicates of the bootstrap that makes intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) replicates: u32,
    /// Coverage that the intervals aim at
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) level: f64,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatisticsArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// A run folder, or a model.safetensors that a run has left with its pipeline.json beside it
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// A table, npz, npy, IDX, PNG, JPEG, a folder of pictures, or - for lines of a table from the standard input
    #[arg(value_name = "INPUT")]
    pub(crate) input: PathBuf,
    /// Write to this file [default: the standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Add a column that says whether the probability of --class is at least this
    #[arg(long, value_name = "P")]
    pub(crate) threshold: Option<f64>,
    /// The class that raises an alert [default: the second of two]
    #[arg(long, value_name = "NAME")]
    pub(crate) class: Option<String>,
    /// Write rows that raise an alert, and no others
    #[arg(long)]
    pub(crate) only_alerts: bool,
    /// Carry a column of the table along, as a number of a case; may be given several times
    #[arg(long, value_name = "COLUMN")]
    pub(crate) keep: Vec<String>,
    /// The first line of the table is a row, and columns go by their places
    #[arg(long)]
    pub(crate) no_header: bool,
    /// The array of an npz file [default: test_images, x_test, images, x, X or arr_0]
    #[arg(long, value_name = "NAME")]
    pub(crate) array: Option<String>,
    /// Warn of rows that cannot be read, and go on
    #[arg(long)]
    pub(crate) skip_faulty: bool,
}

/// How a threshold between two classes is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThresholdBy {
    /// The largest sensitivity + specificity
    #[default]
    Youden,
    /// The largest F1 of the second class
    F1,
    /// The specificity of --specificity
    Specificity,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// The data sets inside this binary
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What a file or folder holds, and what to look at before training on it: types, ranges and classes, what columns give
    /// away, in what owners differ, duplicates
    Inspect {
        /// A file or folder, or the name of a set inside this binary
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Set how it is read, as in label=41 or missing='["?"]'; may be given several times
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Read a large table into memory too, for exact figures
        #[arg(long)]
        exact: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What sites must agree on: names, types and units of columns, without a value; and in what several sites differ
    Schema {
        /// Tables, one a site, or schemas that other sites have sent (JSON)
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Set how tables are read, as in label=41; may be given several times
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print JSON: the schema, or for several paths schemas and disagreements
        #[arg(long)]
        json: bool,
    },
    /// Prepare a config's data as training would: the pipeline as a file, and both parts as CSV
    Prepare {
        #[command(flatten)]
        config: ConfigArgs,
        /// Folder for pipeline.json, train.csv and test.csv
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Prepare the rows of a table, however large, by a pipeline from a file
    Apply {
        /// What `data prepare` wrote
        #[arg(value_name = "PIPELINE.json")]
        pipeline: PathBuf,
        /// The table, as CSV or its relatives, or gzip of it
        #[arg(value_name = "TABLE")]
        table: PathBuf,
        /// Where the features go, as CSV
        #[arg(long, value_name = "OUT.csv")]
        out: PathBuf,
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
pub(crate) struct AggregateArgs {
    /// The vectors: a NumPy array (.npy) of n rows x d columns, f4 or f8, in C order
    #[arg(value_name = "IN.npy")]
    pub(crate) input: PathBuf,
    /// Where the result goes: d values of the same type
    #[arg(long, value_name = "OUT.npy")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// The server's own vector, for fltrust: d values
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) trusted: Option<PathBuf>,
    /// What each row weighs, for mean: n numbers [default: all the same]
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) weights: Option<PathBuf>,
    /// Seed of buckets, sampled coordinates and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The keys of `[aggregation]`; those that a rule does not use are ignored.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rule, as the keys of [aggregation] in a config")]
pub(crate) struct RuleArgs {
    /// The rule
    #[arg(long, value_name = "RULE", value_parser = PossibleValuesParser::new(Rule::ALL.map(Rule::name)))]
    pub(crate) rule: String,
    /// How many rows may be malicious
    #[arg(long, value_name = "F", default_value_t = 0)]
    pub(crate) byzantine: u32,
    /// Steps before the rule, in this order
    #[arg(long, value_name = "STEP,...", value_delimiter = ',',
        value_parser = ["nnm", "bucketing", "clip", "arc"])]
    pub(crate) before: Vec<String>,
    /// Values that trimmed-mean drops at each end [default: F]
    #[arg(long, value_name = "B")]
    pub(crate) trim: Option<u32>,
    /// Rows that multi-krum averages [default: n - F - 2]
    #[arg(long, value_name = "M")]
    pub(crate) selected: Option<u32>,
    /// Smallest distance by which geometric-median divides [default: 1e-6]
    #[arg(long, value_name = "NU")]
    pub(crate) smoothing: Option<f64>,
    /// Iterations of geometric-median (3; 0 is to convergence), centred-clipping (3) and dnc (1)
    #[arg(long, value_name = "N")]
    pub(crate) iterations: Option<u32>,
    /// Where geometric-median starts [default: mean]
    #[arg(long, value_parser = ["mean", "zero"])]
    pub(crate) start: Option<String>,
    /// Longest step of centred-clipping, longest row of norm-clipping [default: the median]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) radius: Option<f64>,
    /// Rows in a bucket, for --before bucketing [default: 2]
    #[arg(long, value_name = "S")]
    pub(crate) bucket_size: Option<u32>,
    /// Longest row that --before clip lets pass [default: 2]
    #[arg(long, value_name = "C")]
    pub(crate) clip_norm: Option<f64>,
    /// Coordinates that an iteration of dnc looks at [default: 10000]
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<u32>,
    /// Rows that an iteration of dnc drops, in units of F [default: 1]
    #[arg(long, value_name = "C")]
    pub(crate) drop_factor: Option<f64>,
    /// Step of each coordinate in the result of sign-majority [default: 0.001]
    #[arg(long, value_name = "X")]
    pub(crate) sign_step: Option<f64>,
    /// Standard deviation of the noise of norm-clipping (0) and flame (0.001 of the clipping norm)
    #[arg(long, value_name = "SD")]
    pub(crate) noise: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PrivacyCommand {
    /// Epsilon of releases with noise
    Epsilon(PrivacyEpsilonArgs),
    /// The least noise that keeps within an epsilon
    Noise(PrivacyNoiseArgs),
    /// What a run promises, and whether its ledger bears it out
    Statement(PrivacyStatementArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyStatementArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyEpsilonArgs {
    /// Standard deviation of Gaussian noise over the clipping norm
    #[arg(long, value_name = "S", required_unless_present_any = ["event", "events"], allow_negative_numbers = true)]
    pub(crate) noise_multiplier: Option<f64>,
    #[command(flatten)]
    pub(crate) steps: PrivacyStepsArgs,
    #[command(flatten)]
    pub(crate) events: PrivacyEventArgs,
    #[command(flatten)]
    pub(crate) question: PrivacyQuestionArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyNoiseArgs {
    /// The epsilon to keep within
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub(crate) epsilon: f64,
    #[command(flatten)]
    pub(crate) steps: PrivacyStepsArgs,
    #[command(flatten)]
    pub(crate) events: PrivacyEventArgs,
    #[command(flatten)]
    pub(crate) question: PrivacyQuestionArgs,
}

/// Steps with Gaussian noise.
#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyStepsArgs {
    /// Chance of each unit to take part in a step, independently of others; 1 is no sampling
    #[arg(
        long,
        value_name = "Q",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub(crate) sampling_rate: f64,
    /// Steps, each with noise of its own
    #[arg(long, value_name = "T", default_value_t = 1)]
    pub(crate) steps: u64,
}

/// Releases of any kind.
#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyEventArgs {
    /// A further release, as in "noise-multiplier=1.0,sampling-rate=0.01,steps=500" or
    /// "kind=laplace,scale=10"; may be given several times
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) event: Vec<String>,
    /// Further releases: a TOML file with an `event` table for each, of the same keys
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

/// At which delta, for whom and how.
#[derive(Debug, clap::Args)]
pub(crate) struct PrivacyQuestionArgs {
    /// The chance with which the loss may be larger than epsilon; well below one in the number of units
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    pub(crate) delta: f64,
    /// Which data sets count as neighbours; epsilons of different relations must not be compared
    #[arg(long, value_enum, default_value_t)]
    pub(crate) neighbouring: NeighbouringArg,
    /// Privacy-loss distributions or Rényi divergences [default: the better, closed forms where there are]
    #[arg(long, value_enum)]
    pub(crate) accountant: Option<AccountantArg>,
    /// How far epsilon may be above the true one, relative where that is below 1
    #[arg(
        long,
        value_name = "E",
        default_value_t = 1e-3,
        allow_negative_numbers = true
    )]
    pub(crate) error: f64,
    /// Step of the grid of privacy losses [default: found from the error]
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    pub(crate) grid_step: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NeighbouringArg {
    /// One unit more or less
    #[default]
    AddRemove,
    /// One unit exchanged for any other: twice the distance
    ReplaceOne,
    /// One unit blanked, as federations have it
    ZeroOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccountantArg {
    /// Privacy-loss distributions
    Pld,
    /// Rényi divergences
    Rdp,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// What to measure [default: all]
    #[arg(value_name = "NAME", value_parser = bench_names())]
    pub(crate) names: Vec<String>,
    /// Leave out the cases that take long or much memory
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) secagg: SecaggArgs,
    #[command(flatten)]
    pub(crate) data: DataBenchArgs,
}

/// What the bench `data` alone takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For data")]
pub(crate) struct DataBenchArgs {
    /// Size of the table that is made [default: 1000; with --quick 100]
    #[arg(long, value_name = "MB")]
    pub(crate) megabytes: Option<u64>,
    /// Where the table is written, to be kept for other readers [default: a temporary folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
}

/// What the bench `secagg` alone takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For secagg")]
pub(crate) struct SecaggArgs {
    /// Sizes of the cohort [default: 10,100,1000; with --full 10,50,100,500,1000]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) clients: Vec<u32>,
    /// Lengths of the vector [default: 100000,1000000; with --full 10000000 too]
    #[arg(long, value_name = "D", value_delimiter = ',')]
    pub(crate) parameters: Vec<u32>,
    /// Shares of the clients that drop out before they send their vector [default: 0,0.2; with --full 0,0.1,0.3]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    pub(crate) dropouts: Vec<f64>,
    /// Complete graph and a server that may lie, or sparse graph and one that follows the protocol, for more than 200
    /// clients [default: both]
    #[arg(long, value_name = "MODE")]
    pub(crate) graph: Option<GraphArg>,
    /// Threads that the clients share, and on which the server unmasks
    #[arg(long, value_name = "T", default_value_t = 1)]
    pub(crate) threads: usize,
    /// The whole table, sessions of hours included
    #[arg(long)]
    pub(crate) full: bool,
    /// Leave out masks and secret sharing
    #[arg(long)]
    pub(crate) sessions_only: bool,
}

impl SecaggArgs {
    /// Whether sessions were asked for that may take long.
    pub(crate) fn is_explicit(&self) -> bool {
        self.full || !self.clients.is_empty() || !self.parameters.is_empty()
    }

    /// Whether sessions with a complete graph are wanted.
    pub(crate) fn wants_complete(&self) -> bool {
        self.graph != Some(GraphArg::Sparse)
    }

    /// Whether sessions with a sparse graph are wanted.
    pub(crate) fn wants_sparse(&self) -> bool {
        self.graph != Some(GraphArg::Complete)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphArg {
    /// Everybody with everybody
    Complete,
    /// Each with some
    Sparse,
}

/// The benches with a line on each, for the help.
fn bench_names() -> PossibleValuesParser {
    PossibleValuesParser::new(NAMES.map(|(name, help)| PossibleValue::new(name).help(help)))
}
