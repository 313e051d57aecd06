//! From a file to an [`Experiment`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::check::examine;
use crate::document::{Document, expand_data_root};
use crate::error::{ConfigError, Fault, Warning};
use crate::experiment::{Experiment, file_shape};
use crate::node::{Entry, Node, Origin, Rank, Value};
use crate::shape::Shape;
use crate::sweep::{Cell, Sweep};
use crate::walk::{self, Finding};

/// Bytes of the largest config that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Most runs of a sweep.
const MOST_CELLS: usize = 10_000;

/// The environment variable that names the folder of data sets.
pub const DATA_VARIABLE: &str = "CLOISTER_DATA";

/// A config that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file means, with `--set` and the defaults.
    pub experiment: Experiment,
    /// What runs, but perhaps not as its author thinks.
    pub warnings: Vec<Warning>,
    path: PathBuf,
    cells: Vec<Cell>,
    written: Node,
}

impl Loaded {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The grid of `[sweep]`, each cell checked; the single experiment if there is no sweep. The first key of the file
    /// varies slowest.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The file as it was written, with `--set` put over it, without defaults, as TOML. Unlike the resolved config, it
    /// has the same [`cells`](Self::cells) when it is read again.
    ///
    /// # Errors
    /// [`ConfigError::Write`], which no loaded config meets.
    pub fn written_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(&self.written)?)
    }
}

/// Reads a config: TOML, or JSON if its name ends in `.json`.
///
/// `overrides` are `key=value` arguments that win over the file; a value is TOML, or a string if it is not
/// (`model.kind=mlp`). Paths in a config are relative to the current directory; `${CLOISTER_DATA}` at the start of
/// `data.path` and `data.test_path` stands for that environment variable, and for `data` if it is not set.
///
/// # Errors
/// See [`ConfigError`]; all problems of a file are reported at once.
pub fn load(path: &Path, overrides: &[String]) -> Result<Loaded, ConfigError> {
    let text = read(path)?;
    let data_root = std::env::var(DATA_VARIABLE).ok();
    parse(text, path, overrides, data_root.as_deref())
}

/// [`load`] for a text that is at hand; `path` decides the format and names the text in messages.
///
/// ```
/// use std::path::Path;
/// let text = "[data]\ndataset = \"digits\"\n[model]\nkind = \"logistic\"\n[federation]\ncleints = 5\n";
/// let error = cloister_config::parse(text.into(), Path::new("a.toml"), &[], None).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "a.toml:6:1: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?"
/// );
/// ```
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: String,
    path: &Path,
    overrides: &[String],
    data_root: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let shape = file_shape();
    let mut document = Document::parse(text, path, overrides)?;
    name_after_file(&mut document.root, path);
    let mut root = document.root.clone();
    let unset = expand_data_root(&mut root, data_root.unwrap_or("data")) && data_root.is_none();

    let (experiment, mut warnings) =
        build(&shape, &mut root).map_err(|findings| document.invalid(findings))?;
    if experiment.sweep.is_some() {
        warnings = of_a_grid(warnings);
    }
    if unset {
        warnings.push(Warning {
            key: "data.path".into(),
            message: format!("{DATA_VARIABLE} is not set, the folder 'data' is used"),
        });
    }
    let cells = match &experiment.sweep {
        None => vec![Cell {
            settings: Vec::new(),
            experiment: experiment.clone(),
        }],
        Some(_) => grid(&shape, &root, data_root.unwrap_or("data"), &mut warnings)
            .map_err(|findings| document.invalid(findings))?,
    };
    Ok(Loaded {
        experiment,
        warnings,
        path: path.to_owned(),
        cells,
        written: document.root,
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: MOST_BYTES,
        });
    }
    String::from_utf8(bytes).map_err(|error| ConfigError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

/// A config without a name is called like its file; characters that a name may not have become `-`.
fn name_after_file(root: &mut Node, path: &Path) {
    let Value::Table(entries) = &mut root.value else {
        return;
    };
    if entries.iter().any(|entry| entry.key == "name") {
        return;
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name: String = stem
        .chars()
        .take(80)
        .map(|c| match c {
            '.' | '_' => c,
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .collect();
    if name.is_empty() || name.starts_with(['.', '-']) {
        name.insert(0, '_');
    }
    let origin = Origin::file(0);
    entries.push(Entry {
        key: "name".into(),
        origin,
        node: Node {
            origin,
            value: Value::String(name),
        },
    });
}

/// The experiment of a tree, checked, and what to warn of.
fn build(shape: &Shape, root: &mut Node) -> Result<(Experiment, Vec<Warning>), Vec<Finding>> {
    let experiment = understand(shape, root)?;
    let warnings = approve(root, &experiment)?;
    Ok((experiment, warnings))
}

/// The experiment of a tree that has the right shape.
fn understand(shape: &Shape, root: &mut Node) -> Result<Experiment, Vec<Finding>> {
    let findings = walk::check(shape, root);
    if !findings.is_empty() {
        return Err(findings);
    }
    let value = root
        .to_toml()
        .unwrap_or(toml::Value::Table(toml::Table::new()));
    let mut experiment: Experiment = match value.clone().try_into() {
        Ok(experiment) => experiment,
        Err(error) => return Err(vec![misfit(root, &value, &error)]),
    };
    experiment.sweep = root
        .get("sweep")
        .and_then(Node::entries)
        .map(|entries| Sweep {
            settings: entries
                .iter()
                .map(|entry| (entry.key.clone(), listed(&entry.node)))
                .collect(),
        });
    Ok(experiment)
}

/// Whether the experiment of a tree can keep its promises; what to warn of if so.
fn approve(root: &Node, experiment: &Experiment) -> Result<Vec<Warning>, Vec<Finding>> {
    let checks = examine(experiment);
    if checks.refused.is_empty() {
        return Ok(checks.warnings);
    }
    let findings = checks.refused.into_iter().map(|refused| Finding {
        origin: root.locate(refused.key.split('.')),
        key: refused.key,
        fault: Fault::Refused(refused.reason),
        hint: refused.hint,
    });
    Err(findings.collect())
}

fn listed(node: &Node) -> Vec<toml::Value> {
    match node.to_toml() {
        Some(toml::Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

/// Finds the table that the schema let pass but serde did not: a rule that its type states only in code.
fn misfit(root: &Node, value: &toml::Value, error: &toml::de::Error) -> Finding {
    fn complaint<T: DeserializeOwned>(value: toml::Value) -> Option<String> {
        let read: Result<T, _> = value.try_into();
        read.err().map(|error| error.message().trim().to_owned())
    }
    type Complaint = fn(toml::Value) -> Option<String>;
    let tables: [(&str, Complaint); 7] = [
        ("data", complaint::<cloister_data::DataConfig>),
        ("model", complaint::<cloister_nn::ModelConfig>),
        (
            "federation",
            complaint::<cloister_protocol::FederationConfig>,
        ),
        ("train", complaint::<cloister_protocol::TrainConfig>),
        ("server", complaint::<cloister_protocol::ServerConfig>),
        (
            "aggregation",
            complaint::<cloister_robust::AggregationConfig>,
        ),
        ("attack", complaint::<cloister_redteam::AttackConfig>),
    ];
    let found = tables
        .iter()
        .find_map(|(key, complaint)| Some((*key, complaint(value.get(key)?.clone())?)));
    let (key, reason) = found.unwrap_or(("experiment", error.message().trim().to_owned()));
    Finding {
        origin: root.locate([key]),
        key: key.to_owned(),
        fault: Fault::Refused(reason),
        hint: None,
    }
}

/// The key of an experiment whose rule cannot withstand as many malicious clients as it is told to.
const BEYOND_THE_RULE: &str = "aggregation.byzantine";

/// Warnings that mean something in a grid: rules that ignore `byzantine` stand there to be compared with.
fn of_a_grid(mut warnings: Vec<Warning>) -> Vec<Warning> {
    warnings.retain(|warning| warning.key != BEYOND_THE_RULE);
    warnings
}

/// Dotted keys and what a cell sets them to.
type Settings = Vec<(String, toml::Value)>;

/// Every cell of the sweep in `root`, checked.
fn grid(
    shape: &Shape,
    root: &Node,
    data_root: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Cell>, Vec<Finding>> {
    let mut base = root.clone();
    if let Value::Table(entries) = &mut base.value {
        entries.retain(|entry| entry.key != "sweep");
    }
    let axes = axes(shape, root)?;
    let count = axes.iter().try_fold(1usize, |product, axis| {
        product.checked_mul(axis.values.len())
    });
    let Some(count) = count.filter(|count| *count <= MOST_CELLS) else {
        return Err(vec![Finding {
            origin: root.locate(["sweep"]),
            key: "sweep".into(),
            fault: Fault::Refused(format!("more than {MOST_CELLS} combinations")),
            hint: None,
        }]);
    };
    let (mut cells, mut findings) = (Vec::with_capacity(count), Vec::new());
    let mut beyond = Vec::new();
    for index in 0..count {
        let (mut tree, settings) = cell(&base, &axes, count, index)?;
        expand_data_root(&mut tree, data_root);
        let experiment = match understand(shape, &mut tree) {
            Ok(experiment) => experiment,
            Err(found) => {
                add_new(&mut findings, found);
                continue;
            }
        };
        match approve(&tree, &experiment) {
            Ok(found) => add_new(warnings, of_a_grid(found)),
            // A rule's limit is a result: the run is refused and the others go on.
            Err(found) if found.iter().all(|finding| finding.key == BEYOND_THE_RULE) => {
                add_new(&mut beyond, found);
            }
            Err(found) => add_new(&mut findings, found),
        }
        cells.push(Cell {
            settings,
            experiment,
        });
    }
    if !cells
        .iter()
        .any(|cell| examine(&cell.experiment).refused.is_empty())
    {
        add_new(&mut findings, std::mem::take(&mut beyond));
    }
    let refused = beyond.into_iter().map(|finding| Warning {
        key: finding.key,
        message: format!("a run of the sweep will be refused: {}", finding.fault),
    });
    add_new(warnings, refused.collect());
    match findings.is_empty() {
        true => Ok(cells),
        false => Err(findings),
    }
}

/// The tree of cell `index` of `count`, and what the cell sets. The last axis varies fastest.
fn cell(
    base: &Node,
    axes: &[Axis],
    count: usize,
    index: usize,
) -> Result<(Node, Settings), Vec<Finding>> {
    let mut tree = base.clone();
    let mut settings = Vec::with_capacity(axes.len());
    let mut below = count;
    for axis in axes {
        below /= axis.values.len();
        let value = &axis.values[index / below % axis.values.len()];
        settings.extend(value.to_toml().map(|value| (axis.key.clone(), value)));
        if let Err(depth) = axis.put(&mut tree, value) {
            let parent = axis.path[..depth].join(".");
            return Err(vec![axis.refused(format!("'{parent}' is not a table"))]);
        }
    }
    Ok((tree, settings))
}

/// Adds what is not there yet: many cells have the same to say.
fn add_new<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// One key of the sweep.
struct Axis {
    key: String,
    path: Vec<String>,
    origin: Origin,
    values: Vec<Node>,
}

impl Axis {
    /// Puts one of the values into a tree; where that cannot be, the number of leading keys that are no table.
    fn put(&self, tree: &mut Node, value: &Node) -> Result<(), usize> {
        let mut value = value.clone();
        value.raise(Rank::Sweep);
        tree.set(&self.path, self.origin, value)
    }

    fn refused(&self, reason: String) -> Finding {
        Finding {
            origin: self.origin,
            key: crate::shape::join("sweep", &self.key),
            fault: Fault::Refused(reason),
            hint: None,
        }
    }
}

fn axes(shape: &Shape, root: &Node) -> Result<Vec<Axis>, Vec<Finding>> {
    let (mut axes, mut findings) = (Vec::new(), Vec::new());
    for entry in root
        .get("sweep")
        .and_then(Node::entries)
        .unwrap_or_default()
    {
        let origin = Origin {
            rank: Rank::Sweep,
            ..entry.origin
        };
        let values = match &entry.node.value {
            Value::Array(values) => values.clone(),
            _ => Vec::new(),
        };
        let axis = Axis {
            path: entry.key.split('.').map(str::to_owned).collect(),
            key: entry.key.clone(),
            origin,
            values,
        };
        if axis.values.is_empty() {
            findings.push(axis.refused("has no values".into()));
        } else if matches!(axis.path[0].as_str(), "name" | "sweep") {
            findings.push(axis.refused("cannot be swept".into()));
        } else if !shape.keys().contains(&axis.key) {
            let near = crate::hint::nearest(&axis.key, shape.keys().iter().map(String::as_str));
            findings.push(Finding {
                origin,
                key: crate::shape::join("sweep", &axis.key),
                fault: Fault::UnknownKey,
                hint: near.map(|key| format!("did you mean '{key}'?")),
            });
        }
        axes.push(axis);
    }
    match findings.is_empty() {
        true => Ok(axes),
        false => Err(findings),
    }
}
