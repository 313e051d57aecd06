//! One run: the rounds, the record, the checkpoints.

mod deliver;
mod exchange;
mod record;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_host::{Checkpoint, Ending, Monitor, Spending, headline};
use cloister_nn::metrics::Measures;
use cloister_privacy::Mark;
use cloister_protocol::guard::Guard;
use cloister_protocol::message::{LayoutDigest, ServerMessage};
use cloister_protocol::{
    Client, ClientId, RoundReport, Server, ServerEvent, ServerOutput, ServerSettings,
};
use cloister_redteam::Memory;
use cloister_report::record::{
    Event, PrivacyInfo, RoundRow, RunRecord, RunWriter, Summary, event_kind, file_name,
    write_atomic,
};

use crate::at_sites;
use crate::attackers::Attackers;
use crate::baselines;
use crate::checkpoint;
use crate::clock::Stopwatch;
use crate::error::SimError;
use crate::event::{Prepared, SimEvent};
use crate::federation::Federation;
use crate::results;
use crate::secure::Keys;
use crate::unattacked::{self, UnattackedRun};

/// Wall time from one checkpoint to the next. Waiting for the disk after each round would cost short rounds more than
/// their training; a killed run repeats at most this much, to the same bits.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// The kind of the event of a run that has no unattacked one to be compared with.
const NO_COMPARISON: &str = "unattacked";

/// How a run is carried out; nothing here changes its result.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run folder.
    pub folder: PathBuf,
    /// Threads to train and evaluate on.
    pub threads: usize,
    /// Go on from the folder's checkpoint.
    pub resume: bool,
    /// Set it, from a signal handler say, to stop at the next round boundary, leaving a run that can be resumed.
    pub stop: Arc<AtomicBool>,
    /// The same run without its attack, if it is on record already; otherwise it is run when it is wanted.
    pub unattacked: Option<UnattackedRun>,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its folder.
    pub folder: PathBuf,
    /// Its summary; `None` if it was stopped before its last round.
    pub summary: Option<Summary>,
    /// Rounds done.
    pub rounds: u32,
    /// Wall time of the rounds of this process, without loading, baselines and the report.
    pub round_time: Duration,
    /// Time inside local training, summed over the threads.
    pub training_time: Duration,
}

/// Runs `federation` into `options.folder`.
///
/// # Errors
/// [`SimError`] if the folder cannot be written, or holds another run, or a baseline cannot train. What clients do
/// wrong is recorded and never an error.
pub fn run(
    federation: &Federation,
    options: &Options,
    observe: &mut dyn FnMut(&SimEvent<'_>),
) -> Result<Outcome, SimError> {
    let mut run = Run::start(federation, options)?;
    observe(&SimEvent::Prepared(Prepared {
        name: &federation.experiment.name,
        dataset: federation.data.train.name(),
        train: federation.data.train.len(),
        test: federation.data.test.len(),
        clients: federation.clients(),
        rounds: federation.experiment.federation.rounds,
        done: run.server.round(),
        model: federation.experiment.model.kind(),
        parameters: federation.model.layout().len(),
        notes: &federation.data.notes,
    }));
    while !run.server.is_finished() && !run.is_spent()? {
        if options.stop.load(Ordering::Relaxed) {
            run.checkpoint()?;
            run.checkpoints.wait()?;
            return Ok(run.outcome(None));
        }
        run.round(observe)?;
    }
    run.checkpoint()?;
    run.finish(observe)
}

struct Run<'a> {
    federation: &'a Federation,
    options: &'a Options,
    server: Server,
    /// Each behind its own lock: members of a secure sum work side by side.
    clients: Vec<Mutex<Client>>,
    keys: Option<Keys>,
    attackers: Option<Attackers>,
    privacy: Option<Spending>,
    monitor: Option<Monitor>,
    writer: RunWriter,
    checkpoints: checkpoint::Writer,
    last_checkpoint: Stopwatch,
    config_sha256: String,
    virtual_now: Duration,
    participations: Vec<u32>,
    refusals: Vec<u32>,
    /// Rounds in which the rule kept a reply of each client.
    kept: Vec<u32>,
    rows: Vec<RoundRow>,
    pending: Vec<Event>,
    /// How the round in progress ended.
    report: Option<RoundReport>,
    round_time: Duration,
    training_nanos: AtomicU64,
}

impl<'a> Run<'a> {
    fn start(federation: &'a Federation, options: &'a Options) -> Result<Self, SimError> {
        let experiment = &federation.experiment;
        if let Some(sweep) = &experiment.sweep {
            return Err(SimError::IsSweep { cells: sweep.len() });
        }
        let config = experiment.resolved_toml()?;
        let config_sha256 = experiment.sha256()?;
        let layout = LayoutDigest::of(federation.model.layout());
        let keys = {
            let clients = federation.clients() as u32;
            Keys::draw(experiment, clients, federation.streams, &config_sha256)?
        };
        let settings = ServerSettings {
            federation: experiment.federation.clone(),
            train: experiment.train.clone(),
            server: experiment.server.clone(),
            aggregation: experiment.aggregation.clone(),
            privacy: federation.privacy.clone(),
            secure: keys.as_ref().map(|keys| keys.plan.clone()),
        };
        let global = federation.initial_parameters();
        let parameters = global.len();
        let mut server = Server::new(settings, layout, global, federation.streams)?;
        server.use_threads(options.threads);
        let mut clients = Vec::with_capacity(federation.clients());
        let guard = Guard::new(experiment.guard, federation.model.layout());
        for (place, share) in federation.partition.clients.iter().enumerate() {
            let examples = share.rows.len() as u64;
            server.enroll(ClientId(place as u32), examples)?;
            let mut client = Client::new(layout, parameters, examples);
            if let Some(communication) = &experiment.communication {
                client.use_communication(communication.clone());
            }
            client.use_guard(guard.clone());
            if let Some(defence) = &experiment.defence {
                client.use_defence(defence.clone());
            }
            if let Some(keys) = &keys {
                keys.equip(place, &mut client);
            }
            clients.push(Mutex::new(client));
        }
        if let Some(keys) = &keys {
            server.use_identity(keys.server.clone());
        }
        let monitor = Monitor::new(experiment, federation.data.test.len() as u64);
        if let Some(monitor) = &monitor {
            monitor.equip(&mut server);
        }
        let folder = &options.folder;
        let stored = match options.resume {
            true => Some(resumable(folder, &config_sha256)?),
            false => None,
        };
        let writer = match &stored {
            Some(checkpoint) => RunWriter::reopen(folder, checkpoint.server.round)?,
            None => RunWriter::create(folder, &config)?,
        };
        if let Some(pipeline) = &federation.data.pipeline {
            cloister_host::write_pipeline(folder, pipeline)?;
        }
        let mark = stored.as_ref().map(|checkpoint| {
            let mark = checkpoint.ledger.clone().unwrap_or_default();
            (mark, checkpoint.server.round)
        });
        let resumed = mark.as_ref().map(|(mark, done)| (mark, *done));
        let mut run = Self {
            federation,
            options,
            server,
            writer,
            privacy: spending(federation, folder, &config_sha256, resumed)?,
            monitor,
            checkpoints: checkpoint::Writer::default(),
            last_checkpoint: Stopwatch::start(),
            participations: vec![0; clients.len()],
            refusals: vec![0; clients.len()],
            kept: vec![0; clients.len()],
            clients,
            keys,
            attackers: Attackers::of(federation)?,
            config_sha256,
            virtual_now: Duration::ZERO,
            rows: Vec::new(),
            pending: Vec::new(),
            report: None,
            round_time: Duration::ZERO,
            training_nanos: AtomicU64::new(0),
        };
        match stored {
            Some(checkpoint) => run.restore(checkpoint)?,
            None => {
                run.write_partition()?;
                run.write_statistics()?;
                run.checkpoint()?;
            }
        }
        Ok(run)
    }

    fn write_partition(&mut self) -> Result<(), SimError> {
        let Federation {
            partition, data, ..
        } = self.federation;
        let names: Vec<String> = partition
            .clients
            .iter()
            .map(|share| share.name.clone())
            .collect();
        let counts = partition.class_counts(&data.train);
        Ok(self
            .writer
            .partition(&names, data.train.classes(), &counts)?)
    }

    /// Keeps what the clients found together before the training; what they released is on the ledger before it is on the disk.
    fn write_statistics(&mut self) -> Result<(), SimError> {
        let Some((surveyed, entries)) = &self.federation.surveyed else {
            return Ok(());
        };
        if !entries.is_empty() {
            match &mut self.privacy {
                Some(privacy) => privacy.commit_statistics(entries.clone())?,
                None => cloister_host::ledger_of(
                    &self.options.folder.join(file_name::LEDGER),
                    &self.config_sha256,
                    entries.clone(),
                )?,
            }
        }
        surveyed.write(&self.options.folder)?;
        Ok(self.writer.event(&surveyed.event())?)
    }

    fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<(), SimError> {
        if checkpoint.participations.len() != self.clients.len()
            || checkpoint.refusals.len() != self.clients.len()
            || checkpoint.kept.len() != self.clients.len()
        {
            return Err(SimError::Checkpoint {
                path: checkpoint::path(&self.options.folder),
                reason: format!(
                    "is of {} clients, the federation has {}",
                    checkpoint.participations.len(),
                    self.clients.len()
                ),
            });
        }
        if let Some(attackers) = &mut self.attackers {
            attackers
                .adversary
                .restore(checkpoint::recall(&mut checkpoint));
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.recall(&checkpoint.notes);
        }
        self.server.restore(checkpoint.server)?;
        if let Some(privacy) = self.privacy.as_ref().filter(|privacy| !privacy.is_secret()) {
            for round in 1..=self.server.round() {
                self.server.replay_noise(privacy.server_noise(round)?)?;
            }
        }
        self.virtual_now = checkpoint.now;
        self.participations = checkpoint.participations;
        self.refusals = checkpoint.refusals;
        self.kept = checkpoint.kept;
        for (client, momentum) in checkpoint.momenta {
            if let Some(client) = self.clients.get_mut(client as usize) {
                lock(client).restore_momentum(momentum)?;
            }
        }
        for (client, residual) in checkpoint.residuals {
            if let Some(client) = self.clients.get(client as usize) {
                lock(client).restore_residual(residual)?;
            }
        }
        self.rows = RunRecord::read(&self.options.folder)?.rounds;
        let done = self.server.round();
        cloister_host::drop_transcripts(&self.options.folder, done)?;
        let message = format!("continued after round {done}");
        self.pending
            .push(Event::new(done, event_kind::RESUMED, message));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), SimError> {
        self.last_checkpoint = Stopwatch::start();
        // A checkpoint must never be ahead of the rows on the disk: resuming would miss them.
        self.writer.sync()?;
        let (vectors, mut notes) = match &self.attackers {
            Some(attackers) => checkpoint::remember(attackers.adversary.memory()),
            None => checkpoint::remember(&Memory::default()),
        };
        if let Some(monitor) = &self.monitor {
            monitor.remember(&mut notes);
        }
        let checkpoint = Checkpoint {
            server: self.server.state(),
            config_sha256: self.config_sha256.clone(),
            now: self.virtual_now,
            participations: self.participations.clone(),
            refusals: self.refusals.clone(),
            kept: self.kept.clone(),
            momenta: self.of_clients(Client::momentum),
            residuals: self.of_clients(Client::residual),
            ledger: self.privacy.as_ref().map(Spending::mark),
            vectors,
            notes,
        };
        self.checkpoints.write(&self.options.folder, checkpoint)
    }

    /// What clients remember, of those that do.
    fn of_clients(&self, memory: fn(&Client) -> &[f32]) -> BTreeMap<u32, Vec<f32>> {
        let clients = (0..).zip(&self.clients);
        let remembered = clients.map(|(place, client)| (place, memory(&lock(client)).to_vec()));
        remembered
            .filter(|(_, memory)| !memory.is_empty())
            .collect()
    }

    fn round(&mut self, observe: &mut dyn FnMut(&SimEvent<'_>)) -> Result<(), SimError> {
        let watch = Stopwatch::start();
        let before = Arc::clone(self.server.global());
        self.commit_round()?;
        if cloister_host::records(&self.federation.experiment, self.server.round() + 1) {
            self.server.record_next();
        }
        self.server.begin_round(self.virtual_now)?;
        let schedule = self.schedule();
        self.commit_trainings(&schedule)?;
        if self.report.is_none() && self.server.needs_trusted_update() {
            self.trust()?;
        }
        if self.report.is_none() {
            self.deliver(&schedule);
            self.close(&schedule);
        }
        let Some(report) = self.report.take() else {
            return Err(SimError::Protocol(
                cloister_protocol::ProtocolError::RoundInProgress(self.server.round()),
            ));
        };
        self.virtual_now = self.virtual_now.saturating_add(report.duration);
        if let Some(attackers) = &mut self.attackers
            && report.abandoned.is_none()
        {
            let after = self.server.global();
            attackers.adversary.observe(report.round, &before, after);
        }
        self.keep_transcript()?;
        let evaluation = self.evaluate(report.round);
        let mut row = self.row(&report, &schedule, evaluation.as_ref());
        row.seconds = watch.elapsed().as_secs_f64();
        self.record_round(&row, &report, observe)?;
        self.rows.push(row);
        if self.last_checkpoint.elapsed() >= CHECKPOINT_EVERY {
            self.checkpoint()?;
        }
        self.round_time += watch.elapsed();
        Ok(())
    }

    /// Puts on the ledger what the server will release in the coming round, and gives it noise for that.
    fn commit_round(&mut self) -> Result<(), SimError> {
        let round = self.server.round() + 1;
        if let Some(privacy) = &mut self.privacy
            && let Some(receipt) = privacy.commit_round(round)?
        {
            self.server.use_noise(privacy.server_noise(round)?);
            self.server.committed(&receipt);
        }
        Ok(())
    }

    /// Whether the next round would cost more than the budget allows; then the run ends, and says so.
    fn is_spent(&mut self) -> Result<bool, SimError> {
        let Some(privacy) = &self.privacy else {
            return Ok(false);
        };
        let Some(loss) = privacy.would_exceed(self.server.round() + 1, self.federation.owned())?
        else {
            return Ok(false);
        };
        let budget = privacy.plan().config().epsilon.unwrap_or(0.0);
        let event = cloister_host::budget_spent(self.server.round(), loss, budget);
        self.writer.event(&event)?;
        Ok(true)
    }

    /// Makes the server's own update of the round.
    fn trust(&mut self) -> Result<(), SimError> {
        let round = self.server.round();
        let update = self.federation.train_root(round, self.server.global());
        let update = update.map_err(|error| SimError::Root(error.to_string()))?;
        self.server.trust(update.values);
        Ok(())
    }

    /// Keeps the transcript of the round that has ended, if it was recorded: before its row, so that no round has one without it.
    fn keep_transcript(&mut self) -> Result<(), SimError> {
        let federation = self.federation;
        if let Some(transcript) = self
            .server
            .take_transcript(|client| federation.name(client))
        {
            let event = cloister_host::write_transcript(&self.options.folder, &transcript)?;
            self.pending.push(event);
        }
        Ok(())
    }

    /// Empties the server's outbox: the events into the record, the calls to the caller.
    fn drain(&mut self) -> VecDeque<(ClientId, ServerMessage)> {
        let mut calls = VecDeque::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::Send { to, message } => calls.push_back((to, message)),
                ServerOutput::Event(ServerEvent::Accepted { client, .. }) => {
                    self.participations[client.0 as usize] += 1;
                }
                ServerOutput::Event(ServerEvent::Refused {
                    round,
                    client,
                    reason,
                }) => {
                    self.refusals[client.0 as usize] += 1;
                    let name = self.federation.name(client);
                    self.pending.push(Event::refused(
                        round,
                        &name,
                        reason.kind(),
                        reason.to_string(),
                    ));
                }
                ServerOutput::Event(ServerEvent::RoundEnded(ended)) => {
                    self.report = Some(ended);
                }
                ServerOutput::Event(ServerEvent::BucketFailed {
                    round,
                    bucket,
                    reason,
                }) => {
                    let event = cloister_host::bucket_failed(round, bucket, &reason);
                    self.pending.push(event);
                }
                _ => {}
            }
        }
        calls
    }

    fn evaluate(&self, round: u32) -> Option<Measures> {
        let every = self.federation.experiment.evaluate.every.max(1);
        let last = self.federation.experiment.federation.rounds;
        (round.is_multiple_of(every) || round == last)
            .then(|| results::evaluate(self.federation, self.server.global(), self.options.threads))
    }

    fn finish(mut self, observe: &mut dyn FnMut(&SimEvent<'_>)) -> Result<Outcome, SimError> {
        self.checkpoints.wait()?;
        let unattacked = match &self.options.unattacked {
            Some(run) => Some(run.clone()),
            None if self.attackers.is_some() => {
                observe(&SimEvent::BaselineStarted { name: "unattacked" });
                match unattacked::run(self.federation, self.options) {
                    // Without the attackers beside them, the clients can be too few for the rule.
                    Err(SimError::Protocol(error)) => {
                        let message = format!("cannot be run: {error}");
                        let event = Event::new(self.server.round(), NO_COMPARISON, message);
                        self.writer.event(&event)?;
                        None
                    }
                    other => other?,
                }
            }
            None => None,
        };
        if self.options.stop.load(Ordering::Relaxed) {
            return Ok(self.outcome(None));
        }
        let global = self.server.global().clone();
        let threads = self.options.threads;
        let (evaluation, quality, curves) = results::judge(self.federation, &global, threads);
        let classes = self.federation.data.train.classes();
        if let Some(evaluation) = evaluation.classes() {
            self.writer.confusion(classes, &evaluation.confusion)?;
        }
        if let Some(curves) = &curves {
            self.writer.curves(curves)?;
        }
        let mut clients = results::clients(
            self.federation,
            &global,
            threads,
            &self.participations,
            &self.refusals,
        );
        if let Some(attackers) = &self.attackers {
            for (row, client) in clients.iter_mut().zip(0..) {
                row.malicious = Some(attackers.includes(ClientId(client)));
            }
        }
        if self.judged() {
            for (row, kept) in clients.iter_mut().zip(&self.kept) {
                row.kept = Some(*kept);
            }
        }
        let baselines = baselines::train_all(
            self.federation,
            threads,
            &mut self.writer,
            &mut clients,
            observe,
        )?;
        self.writer.clients(&clients)?;
        let model = cloister_host::model_file(
            &self.federation.experiment,
            self.federation.model.layout(),
            classes,
            &global,
            self.server.round(),
        )?;
        write_atomic(&self.options.folder.join(file_name::MODEL), &model)?;
        let members = self.federation.members();
        let setting = self.federation.setting(&members);
        let metric = headline(setting.classes);
        let attack = self.attackers.as_ref().map(|attackers| {
            let figures = unattacked.as_ref().map(UnattackedRun::figures);
            let final_ = cloister_host::metrics(&evaluation);
            attackers.info(self.federation, &self.rows, &final_, metric, figures)
        });
        let anomalies = self.monitor.as_ref();
        let anomalies =
            anomalies.map(|monitor| monitor.info(|client| self.federation.name(client)));
        let at_sites = match self.federation.experiment.evaluate.at_sites {
            true => Some(at_sites::judge(self.federation, &global, threads)?),
            false => None,
        };
        let summary = cloister_host::summary(&Ending {
            at_sites,
            setting: &setting,
            rows: &self.rows,
            evaluation: Some(&evaluation),
            quality: Some(quality),
            baselines,
            refused: self.refusals.iter().map(|n| u64::from(*n)).sum(),
            threads,
            config_sha256: self.config_sha256.clone(),
            model: &model,
            anomalies,
            attack,
            privacy: match &self.privacy {
                Some(privacy) => {
                    let statement = cloister_host::statement(privacy, &setting, &self.rows)?;
                    Some(PrivacyInfo::of(statement, privacy.plan().config().delta))
                }
                None => None,
            },
        });
        self.writer.summary(&summary)?;
        let page = cloister_report::html::run_page(&RunRecord::read(&self.options.folder)?)?;
        write_atomic(
            &self.options.folder.join(file_name::REPORT),
            page.as_bytes(),
        )?;
        observe(&SimEvent::Finished(&summary));
        Ok(self.outcome(Some(summary)))
    }

    fn outcome(&self, summary: Option<Summary>) -> Outcome {
        Outcome {
            folder: self.options.folder.clone(),
            summary,
            rounds: self.server.round(),
            round_time: self.round_time,
            training_time: Duration::from_nanos(self.training_nanos.load(Ordering::Relaxed)),
        }
    }
}

/// The privacy that the experiment asks for, `None` if it asks for none.
fn spending(
    federation: &Federation,
    folder: &Path,
    config_sha256: &str,
    resumed: Option<(&Mark, u32)>,
) -> Result<Option<Spending>, SimError> {
    let Some(plan) = &federation.privacy else {
        return Ok(None);
    };
    let ledger = folder.join(file_name::LEDGER);
    let spending = Spending::start(plan, federation.streams, &ledger, config_sha256, resumed)?;
    Ok(Some(spending))
}

/// A client, for as long as it is worked with.
fn lock(client: &Mutex<Client>) -> MutexGuard<'_, Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The checkpoint in `folder`, if it is of this config.
fn resumable(folder: &Path, config_sha256: &str) -> Result<Checkpoint, SimError> {
    let checkpoint = checkpoint::read(folder)?;
    if checkpoint.config_sha256 != config_sha256 {
        return Err(SimError::Checkpoint {
            path: checkpoint::path(folder),
            reason: "is of another config".to_owned(),
        });
    }
    Ok(checkpoint)
}

/// The summary of the run in `folder`, if it ended and is of this config.
pub(crate) fn finished(folder: &Path, config_sha256: &str) -> Option<Summary> {
    let summary = RunRecord::read(folder).ok()?.summary?;
    (summary.config_sha256 == config_sha256).then_some(summary)
}
