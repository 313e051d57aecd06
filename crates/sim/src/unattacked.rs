//! The same run without its attack, to measure what the attack did.

use std::path::PathBuf;
use std::sync::Arc;

use cloister_config::Experiment;
use cloister_redteam::AttackKind;
use cloister_report::record::{Summary, Unattacked};

use crate::checkpoint;
use crate::error::SimError;
use crate::federation::Federation;
use crate::run::{self, Options};

/// The folder of the unattacked run inside that of the attacked one.
const FOLDER: &str = "unattacked";

/// An unattacked run that is on record already, as a sweep's cells share them.
#[derive(Clone, Debug)]
pub struct UnattackedRun {
    /// Its folder, relative to the attacked run's.
    pub folder: String,
    /// Its summary.
    pub summary: Summary,
}

impl UnattackedRun {
    pub(crate) fn figures(&self) -> Unattacked {
        let best = self.summary.best.as_ref();
        Unattacked {
            accuracy: self.summary.final_.accuracy,
            auroc: self.summary.final_.auroc,
            best_accuracy: best.and_then(|best| best.accuracy),
            best_auroc: best.and_then(|best| best.auroc),
            r2: self.summary.final_.r2,
            best_r2: best.and_then(|best| best.r2),
            folder: Some(self.folder.clone()),
        }
    }
}

/// `experiment` without its attack and baselines; `None` if it has no attack, or nobody wants the comparison.
pub(crate) fn experiment(experiment: &Experiment) -> Option<Experiment> {
    experiment
        .attack
        .as_ref()
        .filter(|attack| attack.unattacked && attack.kind != AttackKind::Canary)?;
    let mut twin = experiment.clone();
    twin.attack = None;
    twin.record = None;
    twin.baselines.clear();
    twin.sweep = None;
    Some(twin)
}

/// Runs the federation without its attack inside the run folder, or goes on with it. `None` if nobody wants it, or it
/// was stopped.
pub(crate) fn run(
    federation: &Federation,
    options: &Options,
) -> Result<Option<UnattackedRun>, SimError> {
    let Some(twin) = experiment(&federation.experiment) else {
        return Ok(None);
    };
    let folder = options.folder.join(FOLDER);
    Ok(
        run_in(&twin, Arc::clone(&federation.data), folder, options)?.map(|summary| {
            UnattackedRun {
                folder: FOLDER.to_owned(),
                summary,
            }
        }),
    )
}

/// Runs `twin` in `folder`, unless it is there: finished, or with a checkpoint to go on from.
pub(crate) fn run_in(
    twin: &Experiment,
    data: Arc<cloister_data::TrainTest>,
    folder: PathBuf,
    options: &Options,
) -> Result<Option<Summary>, SimError> {
    let sha256 = twin.sha256()?;
    if let Some(summary) = run::finished(&folder, &sha256) {
        return Ok(Some(summary));
    }
    let resume = checkpoint::read(&folder).is_ok_and(|stored| stored.config_sha256 == sha256);
    if !resume && folder.exists() {
        // Cut off before its first checkpoint, or of another config: nothing to go on from.
        std::fs::remove_dir_all(&folder).map_err(|source| SimError::Io {
            path: folder.clone(),
            source,
        })?;
    }
    let federation = Federation::prepare(twin, data)?;
    let options = Options {
        folder,
        resume,
        unattacked: None,
        ..options.clone()
    };
    Ok(run::run(&federation, &options, &mut |_| {})?.summary)
}
