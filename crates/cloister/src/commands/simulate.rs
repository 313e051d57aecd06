//! `cloister simulate`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use cloister_config::{Experiment, Loaded};
use cloister_report::record::{AttackInfo, Summary, file_name, write_atomic};
use cloister_sim::{Federation, Options};
use serde_json::json;

use crate::args::SimulateArgs;
use crate::commands::load;
use crate::commands::progress::{Mode, Progress, figures_of, headline};
use crate::failure::{Stopped, Usage};
use crate::{interrupt, output};

pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    let config = match (&args.config, &args.resume) {
        (Some(config), _) => config.clone(),
        (None, Some(folder)) => folder.join(file_name::CONFIG),
        (None, None) => bail!(Usage(
            "a config, or --resume with a run folder, is needed".into()
        )),
    };
    let loaded = load(&config, &args.overrides.arguments())?;
    let options = Options {
        folder: match args.resume.as_ref().or(args.out.as_ref()) {
            Some(folder) => folder.clone(),
            None => default_folder(&loaded.experiment),
        },
        threads: args.threads.count(),
        resume: args.resume.is_some(),
        stop: interrupt::install()?,
        unattacked: None,
    };
    let mode = match (args.json, args.quiet) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Quiet,
        (false, false) => Mode::Words,
    };
    if loaded.experiment.sweep.is_some() {
        sweep(&loaded, &options, mode)
    } else {
        single(&loaded.experiment, &options, mode)
    }
}

/// `runs/NAME-SEED`, or with `-2`, `-3`, ... behind it where there is such a folder already: typing the same command
/// again is no mistake, and nothing is overwritten.
pub(crate) fn default_folder(experiment: &Experiment) -> PathBuf {
    let parent = Path::new(match experiment.sweep {
        Some(_) => "sweeps",
        None => "runs",
    });
    let name = format!("{}-{}", experiment.name, experiment.seed);
    let mut folder = parent.join(&name);
    let mut again = 1_u32;
    while folder.exists() {
        again += 1;
        folder = parent.join(format!("{name}-{again}"));
    }
    folder
}

fn single(experiment: &Experiment, options: &Options, mode: Mode) -> Result<()> {
    let known = options.resume.then_some(&*options.folder);
    let federation = Federation::load_again(experiment, known)?;
    let binary = federation.data.train.classes().len() == 2;
    let mut progress = Progress::new(mode, Arc::clone(&options.stop)).binary(binary);
    let outcome = cloister_sim::run(&federation, options, &mut |event| progress.show(event));
    let written = progress.finish();
    let outcome = outcome?;
    written?;
    let Some(summary) = outcome.summary else {
        let rounds = experiment.federation.rounds;
        progress.event(&json!({
            "event": "stopped", "round": outcome.rounds, "rounds": rounds, "folder": outcome.folder,
        }));
        progress.finish()?;
        say_stopped(
            mode,
            &format!("after round {} of {rounds}", outcome.rounds),
            &outcome.folder,
        );
        bail!(Stopped);
    };
    let page = outcome.folder.join(file_name::REPORT);
    progress.event(&json!({ "event": "report", "folder": outcome.folder, "page": page }));
    progress.finish()?;
    if mode == Mode::Words {
        say_summary(&summary, &page);
    }
    Ok(())
}

fn say_stopped(mode: Mode, place: &str, folder: &Path) {
    if mode == Mode::Words {
        output::note(&format!("stopped {place}; nothing is lost"));
        output::note(&format!(
            "go on with: cloister simulate --resume {}",
            folder.display()
        ));
    }
}

fn say_summary(summary: &Summary, page: &Path) {
    let mut text = format!("\n{} after {} rounds", headline(summary), summary.rounds);
    if summary.abandoned > 0 {
        text += &format!(" ({} abandoned)", summary.abandoned);
    }
    let traffic = &summary.communication;
    text += &format!(
        ", {} sent by clients, {} received, {:.1} s",
        output::bytes(traffic.bytes_up),
        output::bytes(traffic.bytes_down),
        summary.seconds,
    );
    output::note(&text);
    for (name, baseline) in &summary.baselines {
        let figures = figures_of(
            summary.metric,
            baseline.accuracy,
            baseline.auroc,
            baseline.r2,
        );
        let of = match baseline.clients.is_some() {
            true => " (mean over the clients, each alone)",
            false => "",
        };
        output::note(&format!("baseline {name}: {figures}{of}"));
    }
    if summary.refused > 0 {
        output::note(&format!(
            "{} replies were refused, see events.jsonl",
            summary.refused
        ));
    }
    if let Some(attack) = &summary.attack {
        output::note(&attack_line(attack));
    }
    if let Some(privacy) = &summary.privacy {
        output::note(&format!(
            "privacy: {}. {}",
            privacy.statement.title(),
            privacy.statement.sentence()
        ));
        output::note("all of it: cloister privacy statement RUN");
    }
    output::note("who can see what:");
    for sentence in &summary.trust {
        output::note(&format!("  {sentence}"));
    }
    output::note(&format!("report: {}", page.display()));
}

fn sweep(loaded: &Loaded, options: &Options, mode: Mode) -> Result<()> {
    let folder = &options.folder;
    prepare_sweep_folder(loaded, options)?;
    let cells = loaded.cells();
    let mut progress = Progress::new(mode, Arc::clone(&options.stop));
    if mode == Mode::Words {
        let name = &loaded.experiment.name;
        output::note(&format!("{name}: a sweep of {} runs", cells.len()));
    }
    let outcome = cloister_sim::run_sweep(cells, options, &mut |event| progress.show(event));
    let written = progress.finish();
    let outcome = outcome?;
    written?;
    let done = outcome.completed + outcome.refused + outcome.failed.len();
    progress.event(&json!({
        "event": "sweep", "folder": folder, "completed": outcome.completed, "refused": outcome.refused, "failed": outcome.failed.len(), "of": outcome.of,
    }));
    progress.finish()?;
    if done < outcome.of {
        say_stopped(
            mode,
            &format!("after {done} of {} runs", outcome.of),
            folder,
        );
        bail!(Stopped);
    }
    if mode == Mode::Words {
        let refused = match outcome.refused {
            0 => String::new(),
            refused => format!(", {refused} refused"),
        };
        output::note(&format!(
            "\n{} of {} runs done{refused}; compare them with: cloister report {}",
            outcome.completed,
            outcome.of,
            folder.display(),
        ));
    }
    match outcome.failed.as_slice() {
        [] => Ok(()),
        failed @ [(run, reason), ..] => bail!(
            "{} of {} runs failed, first {run}: {reason}",
            failed.len(),
            outcome.of
        ),
    }
}

/// Keeps the config as written beside `sweep.csv`: a sweep is resumed from it.
fn prepare_sweep_folder(loaded: &Loaded, options: &Options) -> Result<()> {
    let folder = &options.folder;
    let config = folder.join(file_name::CONFIG);
    if options.resume {
        return match folder.join(file_name::SWEEP).exists() {
            true => Ok(()),
            false => bail!("{} holds no sweep to go on with", folder.display()),
        };
    }
    if config.exists() || folder.join(file_name::SWEEP).exists() {
        bail!(
            "{} already holds a run or a sweep; continue it with --resume or choose another --out",
            folder.display()
        );
    }
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make folder {}", folder.display()))?;
    Ok(write_atomic(&config, loaded.written_toml()?.as_bytes())?)
}

/// What the attack did, in a line.
fn attack_line(attack: &AttackInfo) -> String {
    let mut text = format!(
        "attack: {} by {} of {} clients from round {}",
        attack.kind, attack.clients, attack.of, attack.start_round
    );
    if let Some(impact) = attack.impact {
        text += &format!(", {:.1} points lost to it", 100.0 * impact);
    }
    if let Some(recall) = attack.source_recall {
        text += &format!(", recall of the source class {}", output::percent(recall));
    }
    if let Some(success) = attack.attack_success {
        text += &format!(", the trigger works on {}", output::percent(success));
    }
    text + &format!(
        ", {} of {} malicious updates used",
        attack.malicious_kept, attack.malicious_accepted
    )
}
