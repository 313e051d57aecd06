//! Experiments made of another: one local step over a small batch, under one defence at a time.

use std::path::Path;

use cloister_config::Experiment;
use toml::{Table, Value};

use crate::error::LeakError;

/// A defence that can be put over an experiment, with what an attacker who knows it does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defence {
    /// Nothing: the attack must succeed, or its rows are void.
    None,
    /// The update is cut to norm 0.1.
    Clip,
    /// The smallest 90 % of the coordinates are not sent.
    Prune90,
    /// The smallest 99 % of the coordinates are not sent.
    Prune99,
    /// Coordinates in 8 bits.
    Quantise8,
    /// Coordinates in 4 bits.
    Quantise4,
    /// Gaussian noise of deviation 0.01 times the learning rate on each coordinate, unaccounted.
    Noise,
    /// Per-example clipping and Gaussian noise, accounted.
    DpSgd,
    /// Each client clips its update and adds noise that hides it whole, accounted.
    LocalDp,
    /// The representation's most telling units are pruned (Sun et al. 2021).
    Soteria,
    /// A variational bottleneck before the head (Scheliga et al. 2022).
    Precode,
    /// A convolutional variational bottleneck behind the first convolution.
    ConvolutionalBottleneck,
    /// Four examples a step.
    Batch4,
    /// Sixteen examples a step.
    Batch16,
    /// Five local steps.
    Steps5,
    /// Secure aggregation: the server sees the cohort's sum.
    Masking,
}

impl Defence {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 16] = [
        Self::None,
        Self::Clip,
        Self::Prune90,
        Self::Prune99,
        Self::Quantise8,
        Self::Quantise4,
        Self::Noise,
        Self::DpSgd,
        Self::LocalDp,
        Self::Soteria,
        Self::Precode,
        Self::ConvolutionalBottleneck,
        Self::Batch4,
        Self::Batch16,
        Self::Steps5,
        Self::Masking,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Clip => "clip-0.1",
            Self::Prune90 => "prune-90",
            Self::Prune99 => "prune-99",
            Self::Quantise8 => "quantise-8",
            Self::Quantise4 => "quantise-4",
            Self::Noise => "noise",
            Self::DpSgd => "dp-sgd",
            Self::LocalDp => "local-dp",
            Self::Soteria => "soteria",
            Self::Precode => "precode",
            Self::ConvolutionalBottleneck => "convolutional-bottleneck",
            Self::Batch4 => "batch-4",
            Self::Batch16 => "batch-16",
            Self::Steps5 => "steps-5",
            Self::Masking => "masking",
        }
    }

    /// The defence of that name.
    ///
    /// # Errors
    /// [`LeakError::Request`] that lists the names.
    pub fn named(name: &str) -> Result<Self, LeakError> {
        let found = Self::ALL.into_iter().find(|defence| defence.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|defence| defence.name()).collect();
            LeakError::Request(format!(
                "there is no defence '{name}'; there are {}",
                names.join(", ")
            ))
        })
    }

    /// Examples of a step and steps of a round.
    pub fn batch(self) -> (usize, usize) {
        match self {
            Self::Batch4 => (4, 1),
            Self::Batch16 => (16, 1),
            Self::Steps5 => (1, 5),
            _ => (1, 1),
        }
    }

    /// What it sets in a config.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Clip => &["defence.clip_norm=0.1"],
            Self::Prune90 => &["defence.prune=0.9"],
            Self::Prune99 => &["defence.prune=0.99"],
            Self::Quantise8 => &["defence.quantise_bits=8"],
            Self::Quantise4 => &["defence.quantise_bits=4"],
            Self::Noise => &["defence.noise=0.001"],
            Self::DpSgd => &[
                "privacy.mechanism=dp-sgd",
                "privacy.noise_multiplier=1.0",
                "privacy.clip=1.0",
                "privacy.delta=1e-5",
                "privacy.noise=seeded",
            ],
            Self::LocalDp => &[
                "privacy.mechanism=local-gaussian",
                "privacy.noise_multiplier=1.0",
                "privacy.clip=1.0",
                "privacy.delta=1e-5",
                "privacy.noise=seeded",
            ],
            Self::Soteria => &["defence.soteria=0.8"],
            Self::Precode => {
                &["model.bottleneck={ kind = \"precode\", latent = 64, may_outgrow = true }"]
            }
            Self::ConvolutionalBottleneck => &["model.bottleneck={ kind = \"convolutional\" }"],
            Self::Batch4 | Self::Batch16 | Self::Steps5 => &[],
            Self::Masking => &["secure_aggregation.protocol=masking"],
        }
    }
}

/// One recorded round of `base`'s model and data with every defence of its own taken off and `defence` put on. Each of
/// `clients` clients owns just the examples that it trains on, so that what its update is made of is no question.
///
/// # Errors
/// [`LeakError::Config`] if the defence does not go with the experiment's model.
pub fn laboratory(
    base: &Experiment,
    defence: Defence,
    clients: u32,
    seed: u64,
) -> Result<Experiment, LeakError> {
    let mut table = table(base)?;
    for key in [
        "attack",
        "aggregation",
        "baselines",
        "communication",
        "defence",
        "evaluate",
        "faults",
        "federation",
        "privacy",
        "record",
        "secure_aggregation",
        "server",
        "sweep",
        "train",
    ] {
        table.remove(key);
    }
    if let Some(Value::Table(model)) = table.get_mut("model") {
        model.remove("bottleneck");
    }
    if let Some(Value::Table(data)) = table.get_mut("data") {
        let iid = Table::from_iter([("kind".to_owned(), Value::from("iid"))]);
        data.insert("partition".to_owned(), Value::Table(iid));
    }
    let rate = f64::from(base.train.learning_rate);
    let (batch, steps) = defence.batch();
    let examples = clients as usize * batch * steps;
    let mut settings = vec![
        format!("name={}-{}", base.name, defence.name()),
        format!("seed={seed}"),
        format!("federation.clients={clients}"),
        "federation.rounds=1".to_owned(),
        format!("train.learning_rate={rate:?}"),
        format!("data.limit={examples}"),
        format!("train.batch_size={batch}"),
        "train.optimizer=sgd".to_owned(),
        "evaluate.clients=false".to_owned(),
        "record.rounds=[1]".to_owned(),
    ];
    settings.extend(defence.settings().iter().map(ToString::to_string));
    read(table, &settings)
}

/// `base` with `defence` put on and everything else as it is: what the defence costs in accuracy.
///
/// # Errors
/// [`LeakError::Config`] if the defence does not go with the experiment.
pub fn defended(base: &Experiment, defence: Defence) -> Result<Experiment, LeakError> {
    let mut settings = vec![format!("name={}-{}", base.name, defence.name())];
    settings.extend(defence.settings().iter().map(ToString::to_string));
    with_settings(&bare(base), &settings)
}

/// `base` without what is made beside its own training: attackers, baselines, transcripts, a grid.
pub(crate) fn bare(base: &Experiment) -> Experiment {
    let mut bare = base.clone();
    bare.attack = None;
    bare.baselines.clear();
    bare.record = None;
    bare.sweep = None;
    bare
}

/// `base` with settings put over it, as `--set` does.
///
/// # Errors
/// [`LeakError::Config`] if they do not go together.
pub fn with_settings(base: &Experiment, settings: &[String]) -> Result<Experiment, LeakError> {
    read(table(base)?, settings)
}

fn table(base: &Experiment) -> Result<Table, LeakError> {
    let text = base.resolved_toml()?;
    text.parse::<Table>()
        .map_err(|error| LeakError::Request(format!("the run's config: {error}")))
}

fn read(table: Table, settings: &[String]) -> Result<Experiment, LeakError> {
    let text = toml::to_string(&table)
        .map_err(|error| LeakError::Request(format!("a derived config: {error}")))?;
    let loaded = cloister_config::parse(text, Path::new("derived.toml"), settings, None)?;
    Ok(loaded.experiment)
}
