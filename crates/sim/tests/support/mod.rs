//! Small experiments on bundled data, and what they leave behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_config::Experiment;
use cloister_report::record::RunRecord;
use cloister_sim::{Federation, Options, Outcome, SimEvent, run};

pub(crate) fn experiment(more: &str) -> Experiment {
    let text = format!(
        "name = \"test\"\n\
         data = {{ dataset = \"digits\", partition = {{ kind = \"dirichlet\", alpha = 0.5, minimum = 5 }} }}\n\
         model = {{ kind = \"mlp\", hidden = [16] }}\n{more}"
    );
    toml::from_str(&text).unwrap()
}

pub(crate) fn options(folder: &Path, threads: usize) -> Options {
    Options {
        folder: folder.to_owned(),
        threads,
        resume: false,
        stop: Arc::new(AtomicBool::new(false)),
        unattacked: None,
    }
}

pub(crate) fn go(experiment: &Experiment, options: &Options) -> Outcome {
    run(&Federation::load(experiment).unwrap(), options, &mut |_| {}).unwrap()
}

pub(crate) fn model(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

/// The record without its wall-clock column.
pub(crate) fn rounds(folder: &Path) -> Vec<String> {
    let record = RunRecord::read(folder).unwrap();
    let timeless = |mut row: cloister_report::record::RoundRow| {
        row.seconds = 0.0;
        format!("{row:?}")
    };
    record.rounds.into_iter().map(timeless).collect()
}

/// Runs until so many rounds are done.
pub(crate) fn stopped(federation: &Federation, out: &Path, rounds: u32) -> Outcome {
    let options = options(out, 2);
    let stop = Arc::clone(&options.stop);
    let mut stop_there = |event: &SimEvent<'_>| {
        if matches!(event, SimEvent::Round(row) if row.round == rounds) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    run(federation, &options, &mut stop_there).unwrap()
}
