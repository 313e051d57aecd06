//! The run folder of a deployed experiment: the same files as a simulation's, written as rounds are done.

use std::path::Path;

use cloister_host::{Checkpoint, Ending, Judging, Member, Observed, Place, Setting, Spending};
use cloister_nn::metrics::{Measures, Tally};
use cloister_nn::parallel;
use cloister_privacy::{LedgerError, Mark};
use cloister_protocol::{ClientId, PrivacyPlan, RoundReport};
use cloister_report::record::{
    ClientRow, Event, PrivacyInfo, RoundRow, RunRecord, RunWriter, file_name, write_atomic,
};
use sha2::{Digest, Sha256};

use super::DirectorError;
use super::hosted::Hosted;
use crate::plan::Plan;

/// A run folder that is open.
pub(super) struct Opened {
    pub(super) writer: RunWriter,
    pub(super) rows: Vec<RoundRow>,
}

/// What the store is told of a round.
pub(super) struct Told {
    pub(super) row: String,
    pub(super) lines: Vec<String>,
}

/// Opens the folder of an experiment of which so many rounds are done: later lines, of a round that a crash cut short, are dropped.
pub(super) fn open(folder: &Path, config: &str, rounds: u32) -> Result<Opened, DirectorError> {
    let files = [file_name::CONFIG, file_name::ROUNDS, file_name::EVENTS];
    let complete = files.iter().all(|file| folder.join(file).exists());
    let writer = match complete || rounds > 0 {
        true => RunWriter::reopen(folder, rounds)?,
        false => {
            for file in files {
                // What a crash left of making the folder; if it stays, the next line says so.
                let _ = std::fs::remove_file(folder.join(file));
            }
            RunWriter::create(folder, config)?
        }
    };
    cloister_host::drop_transcripts(folder, rounds)?;
    let rows = RunRecord::read(folder)?.rounds;
    Ok(Opened { writer, rows })
}

/// The experiment's privacy: its ledger is in the run folder.
pub(super) fn spending(
    privacy: &PrivacyPlan,
    plan: &Plan,
    folder: &Path,
    checkpoint: &Checkpoint,
) -> Result<Spending, DirectorError> {
    let path = folder.join(file_name::LEDGER);
    let run = &checkpoint.config_sha256;
    let beginning = Mark::beginning(run);
    let start = |resumed| Spending::start(privacy, plan.streams, &path, run, resumed);
    if let Some(mark) = &checkpoint.ledger {
        return Ok(start(Some((mark, checkpoint.server.round)))?);
    }
    if path.exists() {
        match start(Some((&beginning, 0))) {
            // A crash cut its first line short: nothing had been released.
            Err(cloister_host::SpendingError::Ledger(LedgerError::Broken { line: 1, .. })) => {
                std::fs::remove_file(&path).map_err(|source| DirectorError::System {
                    what: format!("remove {}", path.display()),
                    source,
                })?;
            }
            other => return Ok(other?),
        }
    }
    Ok(start(None)?)
}

fn evaluate(hosted: &Hosted) -> Option<Measures> {
    Some(Measures::Classes(tally(hosted)?.finish()))
}

/// The model's logits on the director's own examples.
fn tally(hosted: &Hosted) -> Option<Tally> {
    let test = hosted.setup.test.as_ref()?;
    Some(parallel::logits_of(
        &hosted.plan.model,
        hosted.server.global(),
        test.features(),
        test.labels(),
        hosted.setup.threads,
        hosted.plan.streams.evaluation(),
    ))
}

/// Writes a round into the folder.
pub(super) fn record(hosted: &mut Hosted, report: &RoundReport) -> Result<Told, DirectorError> {
    let experiment = &hosted.plan.experiment;
    let due = report
        .round
        .is_multiple_of(experiment.evaluate.every.max(1))
        || report.round == experiment.federation.rounds;
    let evaluation = if due { evaluate(hosted) } else { None };
    let epsilon = hosted.spending.as_ref().map(Spending::epsilon);
    let mut row = cloister_host::row(report, evaluation.as_ref(), epsilon);
    let judged = !experiment.aggregation.is_plain_mean();
    row.kept = judged.then(|| report.verdicts.iter().filter(|v| v.verdict.kept).count() as u32);
    let mut events = std::mem::take(&mut hosted.pending);
    events.extend(cloister_host::ending(report));
    events.extend(look(hosted, report, &row)?);
    let mut lines = Vec::with_capacity(events.len() + 1);
    for event in &events {
        hosted.writer.event(event)?;
        lines.push(line("event", event)?);
    }
    if judged && !report.verdicts.is_empty() {
        let site = |client: ClientId| hosted.site(client.0).to_owned();
        let verdicts = cloister_host::verdicts(report, site, |_| None);
        hosted.writer.verdicts(&verdicts)?;
        for verdict in report
            .verdicts
            .iter()
            .filter(|verdict| verdict.verdict.kept)
        {
            if let Some(kept) = hosted.kept.get_mut(verdict.client.0 as usize) {
                *kept += 1;
            }
        }
    }
    hosted.writer.round(&row)?;
    hosted.writer.sync()?;
    lines.push(line("round", &row)?);
    let told = json(&row)?;
    hosted.rows.push(row);
    Ok(Told { row: told, lines })
}

/// Lets the monitor look at the round; gives its flags.
fn look(
    hosted: &mut Hosted,
    report: &RoundReport,
    row: &RoundRow,
) -> Result<Vec<Event>, DirectorError> {
    let Some(monitor) = &mut hosted.monitor else {
        return Ok(Vec::new());
    };
    let members = &hosted.charter.members;
    let owned = || {
        members
            .iter()
            .map(|member| (member.site.clone(), member.examples))
    };
    let mut observed = Observed {
        report,
        row,
        excess: None,
        beyond_budget: None,
    };
    if let Some(spending) = &hosted.spending {
        observed.excess = spending.excess(report.round, owned())?;
        if report.round == 1 {
            observed.beyond_budget = spending.beyond_budget(owned())?;
        }
    }
    let site = |client: ClientId| {
        let member = members.get(client.0 as usize);
        member.map_or_else(String::new, |member| member.site.clone())
    };
    let findings = monitor.observe(&observed, site);
    hosted.writer.replies(&findings.replies)?;
    Ok(findings.flags)
}

fn json(value: &impl serde::Serialize) -> Result<String, DirectorError> {
    serde_json::to_string(value).map_err(|error| DirectorError::Defect(error.to_string()))
}

/// A line of an experiment's story: `{"round": {...}}`, `{"event": {...}}`, `{"state": {...}}`.
pub(super) fn line(kind: &str, value: &impl serde::Serialize) -> Result<String, DirectorError> {
    Ok(format!("{{\"{kind}\":{}}}", json(value)?))
}

/// Writes what a run leaves when it ends; gives the SHA-256 of its model in hex.
pub(super) fn end(hosted: &mut Hosted) -> Result<String, DirectorError> {
    let folder = hosted.writer.folder().to_owned();
    let plan = &hosted.plan;
    let classes = &plan.contract.classes;
    let model = cloister_host::model_file(
        &plan.experiment,
        plan.model.layout(),
        classes,
        hosted.server.global(),
        hosted.rows.len() as u32,
    )?;
    write_atomic(&folder.join(file_name::MODEL), &model)?;
    // No threshold is chosen: the director has no training examples.
    let judged = tally(hosted).map(|test| Judging::of_run(&test, classes).judge(&plan.streams));
    if let Some((evaluation, _, curves)) = &judged {
        hosted.writer.confusion(classes, &evaluation.confusion)?;
        hosted.writer.curves(curves)?;
    }
    let (evaluation, quality) = match judged {
        Some((evaluation, quality, _)) => (Some(Measures::Classes(evaluation)), Some(quality)),
        None => (None, None),
    };
    let members: Vec<Member> = hosted
        .charter
        .members
        .iter()
        .map(|member| Member {
            name: member.site.clone(),
            examples: member.examples,
        })
        .collect();
    hosted.writer.clients(&client_rows(hosted, &members))?;
    let sums = plan.sums(members.len() as u32)?;
    let setting = Setting {
        experiment: &plan.experiment,
        place: Place::Deployment,
        members: &members,
        sums: sums.as_ref(),
        parameters: plan.parameters(),
        dataset: &plan.contract.dataset,
        classes: classes.len(),
        test: hosted
            .setup
            .test
            .as_ref()
            .map_or(0, |test| test.labels().len() as u64),
        notes: &[],
    };
    let privacy = match &hosted.spending {
        Some(spending) => {
            let statement = cloister_host::statement(spending, &setting, &hosted.rows)?;
            Some(PrivacyInfo::of(statement, spending.plan().config().delta))
        }
        None => None,
    };
    let summary = cloister_host::summary(&Ending {
        at_sites: None,
        setting: &setting,
        rows: &hosted.rows,
        evaluation: evaluation.as_ref(),
        quality,
        baselines: Default::default(),
        refused: hosted.refusals.iter().map(|count| u64::from(*count)).sum(),
        threads: hosted.setup.threads,
        config_sha256: hosted.charter.config_sha256.clone(),
        model: &model,
        anomalies: hosted.monitor.as_ref().map(|monitor| {
            let site = |client: ClientId| hosted.site(client.0).to_owned();
            monitor.info(site)
        }),
        attack: None,
        privacy,
    });
    hosted.writer.summary(&summary)?;
    let page = cloister_report::html::run_page(&RunRecord::read(&folder)?)?;
    write_atomic(&folder.join(file_name::REPORT), page.as_bytes())?;
    Ok(cloister_host::to_hex(&Sha256::digest(&model)))
}

fn client_rows(hosted: &Hosted, members: &[Member]) -> Vec<ClientRow> {
    let judged = !hosted.plan.experiment.aggregation.is_plain_mean();
    let of = |counts: &[u32], place: usize| counts.get(place).copied().unwrap_or(0);
    let rows = members.iter().enumerate();
    rows.map(|(place, member)| ClientRow {
        client: member.name.clone(),
        examples: u32::try_from(member.examples).unwrap_or(u32::MAX),
        rounds: of(&hosted.participations, place),
        refused: of(&hosted.refusals, place),
        kept: judged.then(|| of(&hosted.kept, place)),
        ..ClientRow::default()
    })
    .collect()
}
