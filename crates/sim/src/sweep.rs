//! A grid of runs: several at a time, each in its own folder, resumed where it stopped.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cloister_config::{Cell, Experiment};
use cloister_data::{DataConfig, PartitionConfig, TrainTest};
use cloister_protocol::ProtocolError;
use cloister_report::record::{Summary, SweepResult, SweepRow, SweepWriter};
use cloister_robust::RobustError;

use crate::checkpoint;
use crate::error::SimError;
use crate::event::SimEvent;
use crate::federation::Federation;
use crate::ordered::for_each_ordered;
use crate::run::{self, Options};
use crate::unattacked::{self, UnattackedRun};

/// What a sweep left behind.
#[derive(Clone, Debug)]
pub struct SweepOutcome {
    /// The folder with `sweep.csv` and one folder a run.
    pub folder: PathBuf,
    /// Runs that ended.
    pub completed: usize,
    /// Runs whose rule cannot withstand as many malicious clients as it is told to.
    pub refused: usize,
    /// Runs that could not be carried out, with the reason.
    pub failed: Vec<(String, String)>,
    /// Runs in the grid.
    pub of: usize,
}

/// Runs every cell of a grid below `options.folder`, as many at a time as threads and memory allow.
///
/// A run that fails is recorded and the others go on. With `options.resume`, finished runs of the same config are
/// taken as they are and begun ones go on from their checkpoint.
///
/// # Errors
/// [`SimError`] if the sweep's own folder cannot be written.
pub fn run_sweep(
    cells: &[Cell],
    options: &Options,
    observe: &mut dyn FnMut(&SimEvent<'_>),
) -> Result<SweepOutcome, SimError> {
    let keys: Vec<String> = match cells.first() {
        Some(cell) => grid(cell).map(|(key, _)| key.clone()).collect(),
        None => Vec::new(),
    };
    let mut writer = SweepWriter::open(&options.folder, &keys)?;
    let data = DataShelf::default();
    let at_once = at_once(cells, options.threads, &data);
    let unattacked = run_unattacked(cells, options, at_once, &data)?;
    let mut outcome = SweepOutcome {
        folder: options.folder.clone(),
        completed: 0,
        refused: 0,
        failed: Vec::new(),
        of: cells.len(),
    };
    let mut failure = None;
    let numbered: Vec<(usize, &Cell)> = cells.iter().enumerate().collect();
    for_each_ordered(
        &numbered,
        at_once,
        |(number, cell)| {
            let folder = options.folder.join(label(*number, cell));
            run_cell(
                cell,
                folder,
                options,
                (options.threads / at_once).max(1),
                &data,
                &unattacked,
            )
        },
        |(number, cell), result| {
            let label = label(*number, cell);
            let figures = match &result {
                Ok(Some(summary)) => SweepResult::of(summary, &label),
                // Stopped: its row comes when it is done.
                Ok(None) => return ControlFlow::Break(()),
                Err(error) if is_beyond_the_rule(error) => {
                    SweepResult::refused(&label, error.to_string())
                }
                Err(error) => SweepResult::failed(&label, error.to_string()),
            };
            let row = SweepRow {
                cell: place(cells, cell),
                seed: cell.experiment.seed,
                settings: grid(cell).map(|(_, value)| written(value)).collect(),
                result: figures,
            };
            if let Err(error) = writer.row(row) {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            let shown = match &result {
                Ok(Some(summary)) => {
                    outcome.completed += 1;
                    Ok(summary)
                }
                Ok(None) => return ControlFlow::Break(()),
                Err(error) if is_beyond_the_rule(error) => {
                    outcome.refused += 1;
                    Err(error.to_string())
                }
                Err(error) => {
                    outcome.failed.push((label.clone(), error.to_string()));
                    Err(error.to_string())
                }
            };
            observe(&SimEvent::CellFinished {
                done: outcome.completed + outcome.refused + outcome.failed.len(),
                of: cells.len(),
                label: &label,
                result: shown.as_ref().map(|s| *s).map_err(String::as_str),
            });
            if options.stop.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

/// Whether a run was refused because its rule promises too little: a result of a grid, not a failure.
fn is_beyond_the_rule(error: &SimError) -> bool {
    matches!(
        error,
        SimError::Protocol(ProtocolError::Aggregation(RobustError::TooFewRows { .. }))
    )
}

/// Runs each distinct experiment that is left of a cell without its attack, once for all cells that share it; by the
/// digest of its config. One that fails is left out: its cells fail by themselves, with the reason on record.
fn run_unattacked(
    cells: &[Cell],
    options: &Options,
    at_once: usize,
    data: &DataShelf,
) -> Result<BTreeMap<String, UnattackedRun>, SimError> {
    let mut twins: Vec<(String, Experiment)> = Vec::new();
    for cell in cells {
        if let Some(twin) = unattacked::experiment(&cell.experiment) {
            let sha256 = twin.sha256()?;
            if !twins.iter().any(|(known, _)| *known == sha256) {
                twins.push((sha256, twin));
            }
        }
    }
    let mut runs = BTreeMap::new();
    let numbered: Vec<_> = twins.iter().enumerate().collect();
    for_each_ordered(
        &numbered,
        at_once,
        |(number, (_, twin))| {
            if options.stop.load(Ordering::Relaxed) {
                return None;
            }
            let folder = options.folder.join(unattacked_label(*number));
            let options = Options {
                threads: (options.threads / at_once).max(1),
                ..options.clone()
            };
            let run = unattacked::run_in(twin, data.load(twin).ok()?, folder, &options);
            run.ok().flatten()
        },
        |(number, (sha256, _)), summary| {
            if let Some(summary) = summary {
                let folder = format!("../{}", unattacked_label(*number));
                runs.insert(sha256.clone(), UnattackedRun { folder, summary });
            }
            ControlFlow::Continue(())
        },
    );
    Ok(runs)
}

fn unattacked_label(number: usize) -> String {
    format!("unattacked-{:03}", number + 1)
}

/// Runs one cell, or finds it done.
fn run_cell(
    cell: &Cell,
    folder: PathBuf,
    options: &Options,
    threads: usize,
    data: &DataShelf,
    unattacked: &BTreeMap<String, UnattackedRun>,
) -> Result<Option<Summary>, SimError> {
    if options.stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut resume = false;
    if options.resume && folder.exists() {
        let sha256 = cell.experiment.sha256()?;
        if let Some(summary) = run::finished(&folder, &sha256) {
            return Ok(Some(summary));
        }
        resume =
            checkpoint::read(&folder).is_ok_and(|checkpoint| checkpoint.config_sha256 == sha256);
        if !resume {
            // Begun under another config, or cut off before its first checkpoint: nothing to go on from.
            fs::remove_dir_all(&folder).map_err(|source| SimError::Io {
                path: folder.clone(),
                source,
            })?;
        }
    }
    // What clients find out together is theirs, and their number's, and shared with no other run.
    let federation = match &cell.experiment.statistics {
        Some(_) => Federation::load_again(&cell.experiment, resume.then_some(&*folder))?,
        None => Federation::prepare(&cell.experiment, data.load(&cell.experiment)?)?,
    };
    let options = Options {
        folder,
        threads,
        resume,
        stop: Arc::clone(&options.stop),
        unattacked: match unattacked::experiment(&cell.experiment) {
            Some(twin) => unattacked.get(&twin.sha256()?).cloned(),
            None => None,
        },
    };
    Ok(run::run(&federation, &options, &mut |_| {})?.summary)
}

/// What a cell sets but for its seed: seeds are repetitions, not settings.
fn grid(cell: &Cell) -> impl Iterator<Item = &(String, toml::Value)> {
    cell.settings.iter().filter(|(key, _)| key != "seed")
}

/// The place of a cell among those that differ in more than their seed.
fn place(cells: &[Cell], cell: &Cell) -> u32 {
    let mut distinct: Vec<Vec<&(String, toml::Value)>> = Vec::new();
    for other in cells {
        let settings: Vec<_> = grid(other).collect();
        if !distinct.contains(&settings) {
            distinct.push(settings);
        }
    }
    let settings: Vec<_> = grid(cell).collect();
    let place = distinct.iter().position(|other| *other == settings);
    place.map_or(u32::MAX, |place| place as u32)
}

fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A folder name for a cell: its number in the grid, from 1, which makes it unique, and its settings, made safe for
/// every file system.
fn label(number: usize, cell: &Cell) -> String {
    let parts: Vec<String> = cell
        .settings
        .iter()
        .map(|(key, value)| {
            let key = key.rsplit('.').next().unwrap_or(key);
            format!("{key}={}", written(value))
        })
        .collect();
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "=.-_".contains(c) {
            c
        } else {
            '-'
        }
    };
    let settings: String = parts.join("_").chars().map(safe).take(100).collect();
    format!("{:03}-{settings}", number + 1)
}

/// Data sets in memory, shared by the runs that use them at the same time.
#[derive(Default)]
struct DataShelf(Mutex<Vec<(DataConfig, u64, Weak<TrainTest>)>>);

impl DataShelf {
    fn load(&self, experiment: &Experiment) -> Result<Arc<TrainTest>, SimError> {
        // How rows are dealt does not change which rows there are.
        let config = DataConfig {
            partition: PartitionConfig::default(),
            ..experiment.data.clone()
        };
        // Loading under the lock: runs that wait for the same data wait here, instead of reading it twice.
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.retain(|(_, _, data)| data.strong_count() > 0);
        let seed = experiment.seed;
        let found = shelf
            .iter()
            .find(|(other, s, _)| *other == config && *s == seed)
            .and_then(|(_, _, data)| data.upgrade());
        if let Some(data) = found {
            return Ok(data);
        }
        let data = Arc::new(cloister_data::load(&config, seed)?);
        shelf.push((config, seed, Arc::downgrade(&data)));
        Ok(data)
    }
}

/// How many runs at a time: no more than threads, and than fit into most of the free memory, judged by the first cell.
fn at_once(cells: &[Cell], threads: usize, data: &DataShelf) -> usize {
    let most = threads.clamp(1, cells.len().max(1));
    let Some(free) = free_memory().filter(|_| most > 1) else {
        return most;
    };
    let first = cells.first().and_then(|cell| {
        Federation::prepare(&cell.experiment, data.load(&cell.experiment).ok()?).ok()
    });
    let Some(first) = first else {
        return most;
    };
    let features = first.data.train.features().len() + first.data.test.features().len();
    // Data, about a dozen vectors of the model's length, and the workspaces of an evaluation.
    let need = 4 * (features + 12 * first.model.layout().len()) + (128 << 20);
    (free / 4 * 3 / need).clamp(1, most)
}

/// Free memory in bytes, where the system tells.
fn free_memory() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
