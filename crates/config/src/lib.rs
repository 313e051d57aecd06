//! The experiment config: TOML or JSON in, a checked [`Experiment`] out.
//!
//! [`load`] reads a file, puts `--set key=value` arguments over it, and checks everything that can be checked without
//! touching data: keys, words and types against the JSON [`schema`], then ranges and combinations
//! ([`Experiment::check`]). All problems come at once, each with its line, its dotted key, and the nearest known one:
//!
//! ```text
//! configs/a.toml:12:1: unknown key 'federation.cleints'
//!   hint: did you mean 'federation.clients'?
//! ```
//!
//! Only `[data]` and `[model]` must be there:
//!
//! ```
//! use std::path::Path;
//!
//! let text = r#"
//!     [data]
//!     dataset = "digits"
//!     [model]
//!     kind = "logistic"
//!     [sweep]
//!     "train.learning_rate" = [0.01, 0.1]
//!     seeds = [1, 2, 3]
//! "#;
//! let set = ["federation.rounds=5".to_owned()];
//! let loaded = cloister_config::parse(text.into(), Path::new("small.toml"), &set, None)?;
//! assert_eq!(loaded.experiment.name, "small");
//! assert_eq!(loaded.experiment.federation.rounds, 5);
//! assert_eq!(loaded.cells().len(), 6);
//! println!("{}", loaded.cells()[0].experiment.resolved_toml()?); // every default filled in
//! # Ok::<(), cloister_config::ConfigError>(())
//! ```
//!
//! **Order of precedence**: a cell of `[sweep]`, then `--set`, then the file, then the defaults. When a stronger voice
//! changes the `kind` of a table, keys that a weaker one set and the new kind does not have are left out.
//!
//! **Paths** are relative to the current directory. `${CLOISTER_DATA}` at the start of `data.path` or `data.test_path`
//! stands for that environment variable; if it is not set, for `data`.

mod anomalies;
mod check;
mod document;
mod error;
mod experiment;
mod hint;
mod load;
mod node;
mod read_json;
mod read_toml;
mod shape;
mod sweep;
mod walk;

pub use anomalies::AnomaliesConfig;
pub use error::{ConfigError, Fault, Location, Problem, Problems, Warning};
pub use experiment::{Baseline, Evaluate, Experiment, Faults, Straggler, schema};
pub use load::{DATA_VARIABLE, Loaded, load, parse};
pub use sweep::{Cell, Sweep};
