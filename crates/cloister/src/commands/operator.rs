//! `cloister submit | status | watch | cancel | fetch`: what an operator says to a director.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::Args;
use cloister_net::experiment::{Answer, ExperimentStatus, SiteStatus, State, Status};
use cloister_net::operator::{OperatorConfig, request};
use cloister_net::pki::Use;
use cloister_net::transport::{Backoff, Client, Credentials, FaultKind, Submission};
use cloister_privacy::rounded_up;
use cloister_report::record::{Event, RoundRow};
use cloister_sim::{Prepared, SimEvent};
use serde::Deserialize;

use crate::args::{ConfigArgs, Overrides};
use crate::commands::director::runtime;
use crate::commands::progress::{Mode, Progress};
use crate::failure::Usage;
use crate::output::{self, bytes, percent};

/// Who the operator is, and where the director.
#[derive(Clone, Debug, Args)]
pub(crate) struct KitArgs {
    /// The operator's folder, as `cloister federation init` makes it
    #[arg(long, value_name = "DIR", env = "CLOISTER_KIT")]
    kit: PathBuf,
    /// Where the director is [default: as operator.toml in the kit has it]
    #[arg(long, value_name = "HOST:PORT")]
    director: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    kit: KitArgs,
    /// The sites, in the order of their client numbers [default: all that have attended, by name]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    sites: Vec<String>,
    /// Sites that must accept for the experiment to begin [default: all]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    minimum: u32,
    /// Watch it afterwards
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    kit: KitArgs,
    /// Write JSON to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The number of the experiment
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    kit: KitArgs,
    /// Write one JSON event a line to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The number of the experiment
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    kit: KitArgs,
    /// Why, for the sites and the record
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// The number of the experiment
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    kit: KitArgs,
    /// Where to put its run folder [default: runs/experiment-ID]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl KitArgs {
    async fn connect(&self) -> Result<Client> {
        let director = match &self.director {
            Some(director) => director.clone(),
            None => OperatorConfig::read(&self.kit)?.director,
        };
        let credentials = Arc::new(Credentials::load(&self.kit, Use::Client)?);
        Ok(Client::connect(&director, credentials).await?)
    }
}

pub(crate) fn submit(args: &SubmitArgs) -> Result<()> {
    let ConfigArgs { config, overrides } = &args.config;
    let text = written(config, overrides)?;
    runtime()?.block_on(async {
        let client = args.kit.connect().await?;
        let submission = Submission {
            request: request()?,
            config: text,
            sites: args.sites.clone(),
            minimum: args.minimum,
        };
        let submitted = client.submit(submission).await?;
        for note in &submitted.notes {
            output::note(&format!("note: {note}"));
        }
        let id = submitted.experiment;
        output::note(&format!("experiment {id} is offered to the sites"));
        output::print(&id.to_string())?;
        match args.watch {
            true => follow(&client, id, false).await,
            false => Ok(()),
        }
    })
}

/// The experiment as TOML, with its defaults.
fn written(config: &Path, overrides: &Overrides) -> Result<String> {
    let loaded = cloister_config::load(config, &overrides.arguments())?;
    // Of a simulation's clock, which a deployment does not have.
    let simulated = |key: &str| key == "federation.deadline" || key.starts_with("faults");
    for warning in loaded
        .warnings
        .iter()
        .filter(|warning| !simulated(&warning.key))
    {
        output::warning(&format!("{}: {warning}", config.display()));
    }
    Ok(loaded.experiment.resolved_toml()?)
}

pub(crate) fn status(args: &StatusArgs) -> Result<()> {
    let json = runtime()?.block_on(async {
        let client = args.kit.connect().await?;
        anyhow::Ok(client.status().await?)
    })?;
    if args.json {
        return output::print(&json);
    }
    let status: Status = serde_json::from_str(&json).context("the director's status")?;
    output::print(&words(&status))
}

fn words(status: &Status) -> String {
    let mut text = format!(
        "{}, director {}, up {}\n\n",
        status.federation,
        status.version,
        ago(status.now.saturating_sub(status.since))
    );
    if status.sites.is_empty() {
        text += "no site has attended yet\n";
    } else {
        let mut table = output::table(&["site", "attends", "certificate ends", "program"]);
        for site in &status.sites {
            table.add_row(site_row(site, status.now));
        }
        text += &output::lines(&table);
        text.push('\n');
    }
    if status.experiments.is_empty() {
        return text + "\nno experiment was submitted yet";
    }
    let mut table = output::table(&[
        "id", "name", "state", "round", "accuracy", "loss", "epsilon", "traffic", "refused",
    ]);
    for experiment in &status.experiments {
        table.add_row(experiment_row(experiment));
    }
    text += &format!("\n{}\n", output::lines(&table));
    for experiment in &status.experiments {
        if !experiment.reason.is_empty() {
            text += &format!(
                "\n{} {}: {}",
                experiment.id,
                state(experiment.state),
                experiment.reason
            );
        }
        for answer in &experiment.answers {
            if let Some(Answer::Decline { reason }) = &answer.answer {
                text += &format!("\n{} {} declined: {reason}", experiment.id, answer.site);
            }
        }
    }
    text
}

fn site_row(site: &SiteStatus, now: u64) -> [String; 4] {
    let seen = match (site.attending, site.seen) {
        (true, _) => "now".to_owned(),
        (false, Some(seen)) => format!("{} ago", ago(now.saturating_sub(seen))),
        (false, None) => "never".to_owned(),
    };
    let until = match site.certificate_until {
        Some(until) if until <= now => "has ended".to_owned(),
        Some(until) => format!("in {}", ago(until - now)),
        None => "-".to_owned(),
    };
    [site.name.clone(), seen, until, site.software.clone()]
}

fn experiment_row(experiment: &ExperimentStatus) -> [String; 9] {
    let figure = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        experiment.id.to_string(),
        experiment.name.clone(),
        state(experiment.state).to_owned(),
        format!("{}/{}", experiment.round, experiment.rounds),
        figure(experiment.accuracy.map(percent)),
        figure(experiment.train_loss.map(|loss| format!("{loss:.4}"))),
        figure(
            experiment
                .epsilon
                .map(|epsilon| rounded_up(epsilon).to_string()),
        ),
        bytes(experiment.bytes_up + experiment.bytes_down),
        experiment.refused.to_string(),
    ]
}

fn state(state: State) -> &'static str {
    match state {
        State::Offered => "offered",
        State::Queued => "queued",
        State::Running => "running",
        State::Finished => "finished",
        State::Cancelled => "cancelled",
        State::Declined => "declined",
        State::Failed => "failed",
    }
}

/// A time in its largest unit.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(crate) fn watch(args: &WatchArgs) -> Result<()> {
    runtime()?.block_on(async {
        let client = args.kit.connect().await?;
        follow(&client, args.id, args.json).await
    })
}

/// A line of an experiment's story.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// Who takes part in what.
    Begun(Begun),
    Round(Box<RoundRow>),
    Event(Event),
    Answer {
        site: String,
        answer: Answer,
    },
    State {
        state: State,
        reason: String,
    },
}

/// What an experiment is, once it is known who takes part.
#[derive(Debug, Deserialize)]
struct Begun {
    name: String,
    dataset: String,
    train: usize,
    test: usize,
    sites: usize,
    rounds: u32,
    model: String,
    parameters: usize,
    classes: usize,
}

/// Shows an experiment as a simulation is shown, until it is over.
pub(crate) async fn follow(client: &Client, id: u64, json: bool) -> Result<()> {
    let mode = if json { Mode::Json } else { Mode::Words };
    let mut progress = Progress::new(mode, Arc::new(AtomicBool::new(false)));
    if !json && std::io::stderr().is_terminal() {
        output::note("Ctrl-C ends the watching, not the experiment");
    }
    let mut end = None;
    let mut broken = None;
    let (mut last, mut backoff, mut away) = (0, Backoff::default(), false);
    loop {
        let followed = client.follow(id, last, |number, line| {
            (last, away) = (number, false);
            match serde_json::from_str::<Line>(line) {
                Ok(line) => show(&mut progress, line, &mut end),
                Err(error) => broken = Some(error),
            }
        });
        match followed.await {
            Ok(()) => break,
            // It goes on when the director is there again, and nothing is missed.
            Err(fault) if matches!(fault.kind, FaultKind::Unreachable | FaultKind::Unavailable) => {
                if !std::mem::replace(&mut away, true) {
                    progress.say_line(&format!("{fault}; trying again"));
                }
                backoff.wait().await;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    progress.finish()?;
    if let Some(error) = broken {
        return Err(error).context("a line of the experiment's story");
    }
    match end {
        Some((State::Finished, _)) => {
            output::note(&format!(
                "experiment {id} finished: cloister fetch {id} brings its model, record and report"
            ));
            Ok(())
        }
        Some((state_, reason)) => bail!("experiment {id} {}: {reason}", state(state_)),
        None => bail!("experiment {id}: its story ended without an end"),
    }
}

fn show(progress: &mut Progress, line: Line, end: &mut Option<(State, String)>) {
    match line {
        Line::Begun(begun) => {
            progress.set_binary(begun.classes == 2);
            progress.show(&SimEvent::Prepared(Prepared {
                name: &begun.name,
                dataset: &begun.dataset,
                train: begun.train,
                test: begun.test,
                clients: begun.sites,
                rounds: begun.rounds,
                done: 0,
                model: &begun.model,
                parameters: begun.parameters,
                notes: &[],
            }));
        }
        Line::Round(row) => progress.show(&SimEvent::Round(&row)),
        Line::Event(event) => progress.tell(&event),
        Line::Answer { site, answer } => progress.say_line(&match answer {
            Answer::Accept { examples, .. } => {
                format!("{site} takes part with {examples} examples")
            }
            Answer::Decline { reason } => format!("{site} declines: {reason}"),
        }),
        Line::State { state: now, reason } => {
            if now.is_over() {
                *end = Some((now, reason));
            } else {
                progress.say_line(state(now));
            }
        }
    }
}

pub(crate) fn cancel(args: &CancelArgs) -> Result<()> {
    runtime()?.block_on(async {
        let client = args.kit.connect().await?;
        client.cancel(request()?, args.id, &args.reason).await?;
        output::note(&format!("experiment {} ends", args.id));
        Ok(())
    })
}

pub(crate) fn fetch(args: &FetchArgs) -> Result<()> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(format!("experiment-{}", args.id)));
    if out.is_dir() && std::fs::read_dir(&out)?.next().is_some() {
        bail!(Usage(format!(
            "{} is there and not empty; give another --out",
            out.display()
        )));
    }
    runtime()?.block_on(async {
        let client = args.kit.connect().await?;
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let list = out.join(".files");
        client.collect(args.id, "", &list).await?;
        let names = std::fs::read_to_string(&list)?;
        std::fs::remove_file(&list)?;
        let mut all = 0;
        for name in names.lines() {
            // The director names them; where they go is decided here.
            let (folder, plain) = match name.strip_prefix("transcript/") {
                Some(plain) => (out.join(cloister_host::TRANSCRIPTS), plain),
                None => (out.clone(), name),
            };
            if Path::new(plain)
                .file_name()
                .is_none_or(|file| file != plain)
            {
                bail!("the director names a file '{name}', which is no plain name");
            }
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            all += client.collect(args.id, name, &folder.join(plain)).await?;
        }
        output::note(&format!("{} files, {}", names.lines().count(), bytes(all)));
        output::print(&out.display().to_string())
    })
}
