//! Several runs, or a sweep, side by side: what differs between them, and what came of it.
//!
//! Runs whose settings agree in everything but the seed are one [`ComparedCell`], with mean and spread over its runs.

mod pivot;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use pivot::{Measure, Pivot, Place};
pub(crate) use table::{Column, drawn};

use crate::record::{
    HeadlineMetric, RecordError, RoundRow, RunRecord, SweepRecord, SweepResult, SweepStatus,
    file_name,
};

/// Config keys that name a run and do not change what it computes.
const NAMING_KEYS: [&str; 2] = ["name", "seed"];

/// Runs that differ in more keys than this go by their names, where those tell them apart.
const FEW_KEYS: usize = 2;

/// Several runs side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The dotted config keys whose values differ, or the keys of the sweep.
    pub keys: Vec<String>,
    /// The metric by which to judge: that of the runs if they agree, else accuracy.
    pub metric: HeadlineMetric,
    /// Whether cells go by the names of their runs, because their settings are the same or differ in too many keys.
    pub named: bool,
    /// Whether this is one sweep, compared by its own keys.
    pub sweep: bool,
    /// The runs, in the order given.
    pub runs: Vec<ComparedRun>,
    /// The runs grouped by their settings, in order of first appearance.
    pub cells: Vec<ComparedCell>,
}

/// One of the runs.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// Its name.
    pub name: String,
    /// Its seed; `None` when no summary says it.
    pub seed: Option<u64>,
    /// A value for each key of [`Comparison::keys`]; empty text where the run's config does not have the key.
    pub settings: Vec<String>,
    /// Its figures; `None` while it has not ended.
    pub result: Option<SweepResult>,
    /// Its rounds.
    pub rounds: Vec<RoundRow>,
}

/// Runs that differ in their seeds only.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedCell {
    /// A value for each key of [`Comparison::keys`].
    pub settings: Vec<String>,
    /// What tells the cell from the others in a few words: its settings, or the names of its runs.
    pub label: String,
    /// Places of its runs in [`Comparison::runs`].
    pub runs: Vec<usize>,
    /// How many of them failed, were refused or have not ended; they are in no figure.
    pub unfinished: usize,
    /// Those of them that failed.
    pub failed_runs: usize,
    /// Those of them that were refused before they began, because their settings cannot work together.
    pub refused_runs: usize,
    /// Final test accuracy.
    pub accuracy: Option<Spread>,
    /// Final balanced accuracy.
    pub balanced_accuracy: Option<Spread>,
    /// Final test loss.
    pub loss: Option<Spread>,
    /// Final AUROC.
    pub auroc: Option<Spread>,
    /// Final share of the variance of a numeric target that is explained.
    pub r2: Option<Spread>,
    /// Accuracy of the best round.
    pub best_accuracy: Option<Spread>,
    /// Privacy loss that the runs may claim; infinite where they may claim none.
    pub epsilon: Option<Spread>,
    /// Privacy loss as accounted, whatever voids the claim.
    pub accounted_epsilon: Option<Spread>,
    /// Attack: final headline metric without it minus the same with it.
    pub impact: Option<Spread>,
    /// Attack: best headline metric without it minus the best with it.
    pub impact_best: Option<Spread>,
    /// Attack: share of triggered test examples taken for its target class.
    pub attack_success: Option<Spread>,
    /// Attack: share of its source class that the final model gets right.
    pub source_recall: Option<Spread>,
    /// Attack: replies of malicious clients that passed the server's checks.
    pub malicious_accepted: Option<Spread>,
    /// Attack: those of them that the rule kept.
    pub malicious_kept: Option<Spread>,
    /// The same as a share of those that passed the checks.
    pub malicious_used: Option<Spread>,
    /// Attack: first round from which the headline metric never again rises above half of the reference, over the runs
    /// in which there is one.
    pub failure_round: Option<Spread>,
    /// Refused replies.
    pub refused: Option<Spread>,
    /// Bytes to the server.
    pub bytes_up: Option<Spread>,
    /// Bytes from the server.
    pub bytes_down: Option<Spread>,
    /// Wall-clock seconds.
    pub seconds: Option<Spread>,
}

impl ComparedCell {
    /// The figure of a headline metric.
    pub fn headline(&self, metric: HeadlineMetric) -> Option<Spread> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }
}

/// A figure over the runs of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean of the finite values; not a number when there is none.
    #[serde(with = "crate::record::number")]
    pub mean: f64,
    /// Sample standard deviation (with n - 1); `None` for fewer than two finite values.
    pub sd: Option<f64>,
    /// Lowest finite value.
    pub min: Option<f64>,
    /// Highest finite value.
    pub max: Option<f64>,
    /// Number of finite values.
    pub n: usize,
    /// Values that were measured and are not finite (diverged runs); they are in no mean.
    pub not_finite: usize,
}

impl Spread {
    /// Mean and spread; `None` without any value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (finite, broken): (Vec<f64>, Vec<f64>) =
            values.into_iter().partition(|value| value.is_finite());
        if finite.is_empty() && broken.is_empty() {
            return None;
        }
        let n = finite.len();
        let mean = match finite.as_slice() {
            // Their sum may round away from them.
            [first, rest @ ..] if rest.iter().all(|value| value == first) => *first,
            values => values.iter().sum::<f64>() / n as f64,
        };
        let squares: f64 = finite.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self {
            mean,
            sd,
            min: finite.iter().copied().reduce(f64::min),
            max: finite.iter().copied().reduce(f64::max),
            n,
            not_finite: broken.len(),
        })
    }
}

impl Comparison {
    /// Reads run folders and sweep folders. The runs of a sweep are taken in the order of its grid; a single sweep is
    /// compared by its own keys, anything else by the config keys that differ.
    ///
    /// # Errors
    ///
    /// Whatever [`RunRecord::read`] and [`SweepRecord::read`] give. A run of a sweep whose folder is gone is kept with the
    /// figures of `sweep.csv`.
    pub fn read(folders: &[PathBuf]) -> Result<Self, RecordError> {
        if let [folder] = folders
            && folder.join(file_name::SWEEP).exists()
        {
            return Self::of_sweep(&SweepRecord::read(folder)?);
        }
        let mut records = Vec::new();
        for folder in folders {
            if folder.join(file_name::SWEEP).exists() {
                for row in SweepRecord::read(folder)?.rows {
                    records.extend(read_if_there(&folder.join(&row.result.folder))?);
                }
            } else {
                records.push(RunRecord::read_outline(folder)?);
            }
        }
        Ok(Self::of_runs(&records))
    }

    /// Compares runs by the config keys in which they differ, seed and name aside.
    pub fn of_runs(records: &[RunRecord]) -> Self {
        let configs: Vec<BTreeMap<String, String>> = records
            .iter()
            .map(|record| flat_config(record.config.as_deref().unwrap_or("")))
            .collect();
        let all: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
        let differs = |key: &&&String| {
            let mut values = configs.iter().map(|config| config.get(**key));
            let first = values.next();
            !NAMING_KEYS.contains(&key.as_str()) && values.any(|value| Some(value) != first)
        };
        let keys: Vec<String> = all.iter().filter(differs).map(|&key| key.clone()).collect();
        let runs = records.iter().zip(&configs).map(|(record, config)| {
            let value = |key| config.get(key).cloned().unwrap_or_default();
            let seed = config.get("seed").and_then(|seed| seed.parse().ok());
            ComparedRun {
                name: record.name(),
                seed: record.summary.as_ref().map(|summary| summary.seed).or(seed),
                settings: keys.iter().map(value).collect(),
                result: record
                    .summary
                    .as_ref()
                    .map(|summary| SweepResult::of(summary, &record.folder.to_string_lossy())),
                rounds: record.rounds.clone(),
            }
        });
        let mut runs: Vec<ComparedRun> = runs.collect();
        if keys.len() > FEW_KEYS && !told_apart_by_name(&runs, &by_settings(&runs)) {
            // Runs of one name under many settings: their folders tell them apart.
            for (run, record) in runs.iter_mut().zip(records) {
                if let Some(folder) = record.folder.file_name() {
                    run.name = folder.to_string_lossy().into_owned();
                }
            }
        }
        let named = keys.is_empty()
            || (keys.len() > FEW_KEYS && told_apart_by_name(&runs, &by_settings(&runs)));
        Self::grouped(keys, common_metric(records), runs, named)
    }

    /// Compares the runs of a sweep by its keys.
    ///
    /// # Errors
    ///
    /// As [`RunRecord::read`], for the run folders that are there.
    pub fn of_sweep(sweep: &SweepRecord) -> Result<Self, RecordError> {
        let mut runs = Vec::new();
        let mut metrics = Vec::new();
        for row in &sweep.rows {
            let record = read_if_there(&sweep.folder.join(&row.result.folder))?;
            let summary = record.as_ref().and_then(|record| record.summary.as_ref());
            metrics.extend(summary.map(|summary| summary.metric));
            runs.push(ComparedRun {
                name: row.result.folder.clone(),
                seed: Some(row.seed),
                settings: row.settings.clone(),
                result: Some(row.result.clone()),
                rounds: record.map_or_else(Vec::new, |record| record.rounds),
            });
        }
        let named = sweep.keys.is_empty();
        let comparison = Self::grouped(sweep.keys.clone(), agreed(&metrics), runs, named);
        Ok(Self {
            sweep: true,
            ..comparison
        })
    }

    fn grouped(
        keys: Vec<String>,
        metric: HeadlineMetric,
        runs: Vec<ComparedRun>,
        named: bool,
    ) -> Self {
        // Runs that say nothing about their settings are told apart by name.
        let groups = if keys.is_empty() {
            by(&runs, |run| std::slice::from_ref(&run.name))
        } else {
            by_settings(&runs)
        };
        let label_keys = if named { &[][..] } else { &keys };
        let cells = groups
            .into_iter()
            .map(|members| cell(label_keys, &runs, members))
            .collect();
        Self {
            keys,
            metric,
            named,
            sweep: false,
            runs,
            cells,
        }
    }
}

/// Places of runs with the same settings, in order of first appearance.
fn by_settings(runs: &[ComparedRun]) -> Vec<Vec<usize>> {
    by(runs, |run| &run.settings)
}

fn by(runs: &[ComparedRun], key: fn(&ComparedRun) -> &[String]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut place_of: BTreeMap<&[String], usize> = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        let place = *place_of.entry(key(run)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(index);
    }
    groups
}

/// Whether each group has one name of its own.
fn told_apart_by_name(runs: &[ComparedRun], groups: &[Vec<usize>]) -> bool {
    let mut names = BTreeSet::new();
    let mut own = |members: &[usize]| {
        let [first, rest @ ..] = members else {
            return false;
        };
        let name = &runs[*first].name;
        rest.iter().all(|&other| &runs[other].name == name) && names.insert(name)
    };
    groups.iter().all(|members| own(members))
}

fn cell(keys: &[String], runs: &[ComparedRun], members: Vec<usize>) -> ComparedCell {
    let settings = members
        .first()
        .map_or(&[][..], |&first| runs[first].settings.as_slice());
    let ended = |status: SweepStatus| {
        let results = members
            .iter()
            .filter_map(|&index| runs[index].result.as_ref());
        results.filter(|result| result.status == status).count()
    };
    let done: Vec<&SweepResult> = members
        .iter()
        .filter_map(|&index| runs[index].result.as_ref())
        .filter(|result| result.status == SweepStatus::Done)
        .collect();
    let spread = |field: fn(&SweepResult) -> Option<f64>| {
        Spread::of(done.iter().filter_map(|result| field(result)))
    };
    ComparedCell {
        settings: settings.to_vec(),
        label: label(keys, runs, settings, &members),
        unfinished: members.len() - done.len(),
        failed_runs: ended(SweepStatus::Failed),
        refused_runs: ended(SweepStatus::Refused),
        accuracy: spread(|result| result.accuracy),
        balanced_accuracy: spread(|result| result.balanced_accuracy),
        loss: spread(|result| result.loss),
        auroc: spread(|result| result.auroc),
        r2: spread(|result| result.r2),
        best_accuracy: spread(|result| result.best_accuracy),
        epsilon: spread(|result| result.epsilon),
        accounted_epsilon: spread(|result| result.accounted_epsilon),
        impact: spread(|result| result.impact),
        impact_best: spread(|result| result.impact_best),
        attack_success: spread(|result| result.attack_success),
        source_recall: spread(|result| result.source_recall),
        malicious_accepted: spread(|result| result.malicious_accepted.map(|n| n as f64)),
        malicious_kept: spread(|result| result.malicious_kept.map(|n| n as f64)),
        malicious_used: spread(|result| {
            let accepted = result.malicious_accepted.filter(|&accepted| accepted > 0)?;
            Some(result.malicious_kept? as f64 / accepted as f64)
        }),
        failure_round: spread(|result| result.failure_round.map(f64::from)),
        refused: spread(|result| Some(result.refused as f64)),
        bytes_up: spread(|result| Some(result.bytes_up as f64)),
        bytes_down: spread(|result| Some(result.bytes_down as f64)),
        seconds: spread(|result| Some(result.seconds)),
        runs: members,
    }
}

fn label(keys: &[String], runs: &[ComparedRun], settings: &[String], members: &[usize]) -> String {
    if keys.is_empty() {
        return members
            .first()
            .map_or_else(String::new, |&first| runs[first].name.clone());
    }
    let words: Vec<String> = keys
        .iter()
        .zip(settings)
        .map(|(key, value)| {
            let value = match value.as_str() {
                "" => "unset".to_owned(),
                value => setting_words(value),
            };
            format!("{} = {value}", short_key(keys, key))
        })
        .collect();
    words.join(", ")
}

/// The last part of a dotted key that says something (`attack.kind` is `attack`), where no other key ends alike.
pub(crate) fn short_key<'a>(keys: &[String], key: &'a str) -> &'a str {
    /// Parts that could be of several tables.
    const UNCLEAR: [&str; 3] = ["clients", "epsilon", "seed"];
    let short = last_part(key);
    let alike = keys.iter().filter(|other| last_part(other) == short);
    if alike.count() > 1 || UNCLEAR.contains(&short) {
        key
    } else {
        short
    }
}

fn last_part(key: &str) -> &str {
    let key = key.strip_suffix(".kind").unwrap_or(key);
    key.rsplit('.').next().unwrap_or(key)
}

/// A setting as people say it: `{ alpha = 0.5, kind = "dirichlet" }` is `dirichlet, alpha 0.5`.
pub(crate) fn setting_words(value: &str) -> String {
    let inline = value.starts_with('{').then(|| format!("value = {value}"));
    let table = inline.and_then(|text| text.parse::<toml::Table>().ok());
    let Some(toml::Value::Table(table)) = table.and_then(|mut table| table.remove("value")) else {
        return value.to_owned();
    };
    let words = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let kind = table.get("kind").map(words);
    let others = table.iter().filter(|(key, _)| *key != "kind");
    let others = others.map(|(key, value)| format!("{} {}", key.replace('_', " "), words(value)));
    kind.into_iter()
        .chain(others)
        .collect::<Vec<_>>()
        .join(", ")
}

fn common_metric(records: &[RunRecord]) -> HeadlineMetric {
    let metrics = records
        .iter()
        .filter_map(|record| Some(record.summary.as_ref()?.metric));
    agreed(&metrics.collect::<Vec<_>>())
}

fn agreed(metrics: &[HeadlineMetric]) -> HeadlineMetric {
    match metrics {
        [first, rest @ ..] if rest.iter().all(|metric| metric == first) => *first,
        _ => HeadlineMetric::default(),
    }
}

/// A run, unless its folder is gone or was never begun.
fn read_if_there(folder: &Path) -> Result<Option<RunRecord>, RecordError> {
    match RunRecord::read_outline(folder) {
        Ok(record) => Ok(Some(record)),
        Err(RecordError::NotARun { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A TOML config as dotted keys and values; empty for text that is no TOML, which a host never writes.
fn flat_config(text: &str) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        flatten("", &toml::Value::Table(table), &mut flat);
    }
    flat
}

fn flatten(prefix: &str, value: &toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, flat);
            }
        }
        toml::Value::String(text) => {
            flat.insert(prefix.to_owned(), text.clone());
        }
        other => {
            flat.insert(prefix.to_owned(), other.to_string());
        }
    }
}
