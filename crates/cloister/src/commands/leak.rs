//! `cloister leak`: the red team.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cloister_config::Experiment;
use cloister_leak::{
    AuditPlan, Defence, LeakError, MembershipPlan, Overrides, Sight, Subject, Suite, SuitePlan,
    Tried, attacks, audit, membership, picture, reconstruct, report, with_settings,
};
use cloister_report::html;
use cloister_report::record::leakage::{
    AuditRow, Band, InversionRow, Leakage, LeakageReport, Thresholds, write_picture,
};
use cloister_report::record::{RunRecord, file_name, write_atomic};
use serde_json::json;

use crate::args::Threads;
use crate::commands::{load, simulate};
use crate::failure::{Stopped, Usage};
use crate::{interrupt, output};

#[derive(Debug, Subcommand)]
pub(crate) enum LeakCommand {
    /// Rebuild a client's examples from what the server saw of a recorded round
    Invert(InvertArgs),
    /// Tell whether an example was trained on, from the model and from the recorded rounds
    Membership(MembershipArgs),
    /// Measure a lower bound on epsilon with canaries, and hold it against the claim
    Audit(AuditArgs),
    /// All attacks and defences in one report: a page, JSON, and an exit code for your own checks
    Report(LeakReportArgs),
}

/// What is attacked.
#[derive(Debug, Args)]
struct Target {
    /// A run folder with recorded rounds, or a config: then it is simulated first, with its first round recorded
    #[arg(value_name = "RUN|CONFIG")]
    run: PathBuf,
    /// Set a key of the config; may be given several times (a CONFIG only)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of the attacks' own draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    threads: Threads,
    /// Write the rows as JSON to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InvertArgs {
    #[command(flatten)]
    target: Target,
    /// The recorded round [default: the first]
    #[arg(long, value_name = "N")]
    round: Option<u32>,
    /// The client, by name or number [default: the first that sent an update]
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// The attack [default: each that fits the model]
    #[arg(long, value_name = "NAME")]
    attack: Option<String>,
    /// Steps of the optimiser [default: as published]
    #[arg(long, value_name = "N")]
    iterations: Option<u32>,
    /// Random starts, of which the best by the attack's own objective is kept [default: as published]
    #[arg(long, value_name = "N")]
    restarts: Option<u32>,
    /// Weight of the total variation [default: as published]
    #[arg(long, value_name = "X")]
    tv: Option<f32>,
    /// The attacker must find the labels, too
    #[arg(long)]
    unknown_labels: bool,
    /// Folder in which a folder `leakage` gets the pictures [default: the run folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MembershipArgs {
    #[command(flatten)]
    target: Target,
    /// The attacks [default: all that fit]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    attacks: Vec<String>,
    /// Shadow models
    #[arg(long, value_name = "N", default_value_t = 16)]
    shadows: usize,
    /// Members, and as many non-members [default: as many as there are, at most 10000]
    #[arg(long, value_name = "N")]
    members: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    target: Target,
    /// Canaries, each in the run by a coin
    #[arg(long, value_name = "N", default_value_t = 100)]
    canaries: u32,
    /// Share of the canaries about which a guess is made, half of it on each side
    #[arg(long, value_name = "X", default_value_t = 0.2)]
    guesses: f64,
}

#[derive(Debug, Args)]
pub(crate) struct LeakReportArgs {
    #[command(flatten)]
    target: Target,
    /// How much is tried: quick takes about two minutes for a small model, full half an hour
    #[arg(long, value_enum, default_value_t = SuiteArg::Quick)]
    suite: SuiteArg,
    /// Defences to compare on the same model and data, by name; `all`, or `none` for none of them [default: all for the full
    /// suite, clip-0.1, prune-90, dp-sgd and masking for the quick one]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    compare: Vec<String>,
    /// Exit with 1 if images come back better than this: none-found, partial, recognisable
    #[arg(long, value_name = "BAND")]
    fail_above: Option<String>,
    /// Exit with 1 if an AUC's whole interval lies above this
    #[arg(long, value_name = "X")]
    fail_auc: Option<f64>,
    /// Folder in which a folder `leakage` gets the report [default: the run folder, whose page then shows it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SuiteArg {
    Quick,
    Full,
}

pub(crate) fn run(command: &LeakCommand) -> Result<()> {
    let done = match command {
        LeakCommand::Invert(args) => invert(args),
        LeakCommand::Membership(args) => infer(args),
        LeakCommand::Audit(args) => bound(args),
        LeakCommand::Report(args) => everything(args),
    };
    match done {
        Err(error) if matches!(error.downcast_ref(), Some(LeakError::Stopped)) => {
            bail!(Stopped)
        }
        other => other,
    }
}

/// The run to attack: the folder, or what simulating the config leaves, in `rounds` rounds if that is given.
fn subject(target: &Target, rounds: Option<u32>, stop: &Arc<AtomicBool>) -> Result<Subject> {
    if target.run.is_dir() {
        if !target.set.is_empty() {
            bail!(Usage(
                "--set changes a config; a run folder is attacked as it is".into()
            ));
        }
        return Ok(Subject::open(&target.run)?);
    }
    let mut experiment = load(&target.run, &target.set)?.experiment;
    if experiment.sweep.is_some() {
        bail!(Usage(format!(
            "{} is a sweep; attack one of its runs",
            target.run.display()
        )));
    }
    if let Some(rounds) = rounds {
        experiment = with_settings(&experiment, &[format!("federation.rounds={rounds}")])?;
    }
    if experiment.record.is_none() {
        experiment = with_settings(&experiment, &["record.rounds=[1]".to_owned()])?;
    }
    let folder = simulate::default_folder(&experiment);
    output::note(&format!("simulating into {}", folder.display()));
    let threads = target.threads.count();
    Ok(Subject::simulate(
        &experiment,
        None,
        &folder,
        threads,
        stop,
    )?)
}

fn invert(args: &InvertArgs) -> Result<()> {
    let stop = interrupt::install()?;
    let subject = subject(&args.target, Some(args.round.unwrap_or(1)), &stop)?;
    let round = args.round.or_else(|| subject.rounds().first().copied());
    let sights = subject.sights(round.unwrap_or(1))?;
    let sight = sight(&sights, args.client.as_deref())?;
    let overrides = Overrides {
        iterations: args.iterations,
        restarts: args.restarts,
        tv: args.tv,
        unknown_labels: args.unknown_labels,
    };
    let only = args.attack.as_deref();
    let planned = attacks(&subject, sight, Suite::Full, only, &overrides)?;
    let out = args.out.as_deref().unwrap_or(subject.folder());
    let mut rows: Vec<InversionRow> = Vec::new();
    for plan in &planned {
        let what = match &plan.adaptive_to {
            Some(defence) => format!("{}, knowing of {defence}", plan.name),
            None => plan.name.clone(),
        };
        output::note(&format!(
            "{what} on {} of round {}",
            sight.name, sight.round
        ));
        let threads = args.target.threads.count();
        match reconstruct(&subject, &[(sight, plan)], args.target.seed, threads)? {
            Tried::Skipped(why) => output::note(&format!("  not tried: {why}")),
            Tried::Made(mut outcome) => {
                if !outcome.panels[0].is_empty() {
                    let (png, panels) = picture(&subject, &outcome, None)?;
                    let knowing = if plan.adaptive_to.is_some() {
                        "-adaptive"
                    } else {
                        ""
                    };
                    let name = format!("invert-round-{}-{}{knowing}.png", sight.round, plan.name);
                    write_picture(out, &name, &png)?;
                    let path = out.join(file_name::LEAKAGE).join(&name);
                    output::note(&format!("  picture: {}", path.display()));
                    outcome.row.picture = Some(name);
                    outcome.row.panels = panels;
                }
                rows.push(outcome.row);
            }
        }
    }
    let shown = LeakageReport {
        subject: subject.described(),
        inversions: rows,
        ..LeakageReport::default()
    };
    show(&shown, args.target.json)
}

/// The update that was asked for: of a client by name or number, else the first.
fn sight<'s>(sights: &'s [Sight], client: Option<&str>) -> Result<&'s Sight> {
    let Some(wanted) = client else {
        return sights
            .first()
            .context("the round's transcript has no update that was accepted");
    };
    let number: Option<u32> = wanted.parse().ok();
    let found = sights.iter().find(|sight| {
        let numbered = |number| sight.members.len() == 1 && sight.members[0].0 == number;
        sight.name == wanted || number.is_some_and(numbered)
    });
    let names: Vec<&str> = sights.iter().map(|sight| sight.name.as_str()).collect();
    found.ok_or_else(|| {
        anyhow::Error::new(Usage(format!(
            "the round has no update of '{wanted}'; it has {}",
            names.join(", ")
        )))
    })
}

fn infer(args: &MembershipArgs) -> Result<()> {
    let stop = interrupt::install()?;
    let subject = subject(&args.target, None, &stop)?;
    let plan = MembershipPlan {
        attacks: args.attacks.clone(),
        shadows: args.shadows,
        members: args.members,
        seed: args.target.seed,
    };
    let found = membership(&subject, &plan, args.target.threads.count())?;
    let shown = LeakageReport {
        subject: subject.described(),
        memberships: found.memberships,
        properties: found.properties,
        skipped: found.skipped,
        ..LeakageReport::default()
    };
    show(&shown, args.target.json)
}

fn bound(args: &AuditArgs) -> Result<()> {
    let stop = interrupt::install()?;
    let experiment = audited(&args.target)?;
    let plan = AuditPlan {
        canaries: args.canaries,
        guesses: args.guesses,
        seed: args.target.seed,
    };
    output::note("running a twin with canaries in it");
    let folder = tempfile::tempdir().context("no temporary folder for the twin")?;
    let threads = args.target.threads.count();
    let rows = audit(
        &experiment,
        &plan,
        &folder.path().join("twin"),
        threads,
        &stop,
    )?;
    let shown = LeakageReport {
        audits: rows,
        ..LeakageReport::default()
    };
    show(&shown, args.target.json)?;
    if let Some(row) = shown.audits.iter().find(|row| !row.passed) {
        bail!(broken(row));
    }
    Ok(())
}

fn broken(row: &AuditRow) -> String {
    format!(
        "the claim does not hold: epsilon is at least {:.3} ({}), claimed is {:.3}",
        row.lower_bound.unwrap_or(f64::NAN),
        row.method,
        row.claim.unwrap_or(f64::NAN)
    )
}

/// The experiment of a run folder or of a config.
fn audited(target: &Target) -> Result<Experiment> {
    let path = match target.run.is_dir() {
        true => target.run.join(file_name::CONFIG),
        false => target.run.clone(),
    };
    Ok(load(&path, &target.set)?.experiment)
}

fn everything(args: &LeakReportArgs) -> Result<()> {
    let thresholds = thresholds(args)?;
    let compare = compared(args)?;
    let stop = interrupt::install()?;
    let subject = subject(&args.target, None, &stop)?;
    let plan = SuitePlan {
        suite: match args.suite {
            SuiteArg::Quick => Suite::Quick,
            SuiteArg::Full => Suite::Full,
        },
        compare,
        seed: args.target.seed,
    };
    let out = args.out.as_deref().unwrap_or(subject.folder()).to_owned();
    let threads = args.target.threads.count();
    let found = report(&subject, &plan, &out, threads, &stop, &mut |what| {
        output::note(what)
    })?;
    let page = page(&subject, &out)?;
    show(&found, args.target.json)?;
    output::note(&format!("report: {}", page.display()));
    let Some(thresholds) = thresholds else {
        return Ok(());
    };
    let failures = found.failures(&thresholds);
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n"));
}

/// The page that shows the report: the run's own where it lies in the run folder.
fn page(subject: &Subject, out: &Path) -> Result<PathBuf> {
    if out == subject.folder() && subject.summary().is_some() {
        let path = out.join(file_name::REPORT);
        write_atomic(&path, html::run_page(&RunRecord::read(out)?)?.as_bytes())?;
        return Ok(path);
    }
    let path = out.join(file_name::LEAKAGE).join("report.html");
    let leakage = Leakage::read(out)?.context("the report that was written is not there")?;
    write_atomic(&path, html::leakage_page(&leakage)?.as_bytes())?;
    Ok(path)
}

fn thresholds(args: &LeakReportArgs) -> Result<Option<Thresholds>> {
    if args.fail_above.is_none() && args.fail_auc.is_none() {
        return Ok(None);
    }
    let mut thresholds = Thresholds {
        worst_band: Band::Exact,
        auc: 1.0,
        ..Thresholds::default()
    };
    if let Some(name) = &args.fail_above {
        let bands = [Band::NoneFound, Band::Partial, Band::Recognisable];
        let named = |band: &Band| band.words().replace(' ', "-") == *name;
        let Some(band) = bands.into_iter().find(named) else {
            bail!(Usage(format!(
                "--fail-above takes none-found, partial or recognisable, not '{name}'"
            )));
        };
        thresholds.worst_band = band;
    }
    if let Some(auc) = args.fail_auc {
        thresholds.auc = auc;
    }
    Ok(Some(thresholds))
}

fn compared(args: &LeakReportArgs) -> Result<Vec<Defence>> {
    let names: Vec<&str> = args.compare.iter().map(String::as_str).collect();
    match (&names[..], args.suite) {
        (["all"], _) | ([], SuiteArg::Full) => Ok(Defence::ALL.to_vec()),
        (["none"], _) => Ok(Vec::new()),
        ([], SuiteArg::Quick) => Ok(vec![
            Defence::Clip,
            Defence::Prune90,
            Defence::DpSgd,
            Defence::Masking,
        ]),
        (names, _) => Ok(names
            .iter()
            .map(|name| Defence::named(name))
            .collect::<Result<_, _>>()?),
    }
}

fn show(report: &LeakageReport, as_json: bool) -> Result<()> {
    match as_json {
        true => output::print_json(&json!({
            "inversions": report.inversions,
            "memberships": report.memberships,
            "properties": report.properties,
            "audits": report.audits,
            "guards": report.guards,
            "self_tests": report.self_tests,
            "skipped": report.skipped,
        })),
        false => output::print(&report.text()),
    }
}
