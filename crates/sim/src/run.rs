//! One run: the rounds, the record, the checkpoints.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloister_nn::metrics::Evaluation;
use cloister_protocol::message::{LayoutDigest, ServerMessage};
use cloister_protocol::{
    Client, ClientAction, ClientId, RoundReport, Server, ServerEvent, ServerOutput, ServerSettings,
    TrainJob,
};
use cloister_report::record::{
    Event, RoundOutcome, RoundRow, RunRecord, RunWriter, Summary, event_kind, file_name,
    write_atomic,
};

use crate::baselines;
use crate::checkpoint::{self, Checkpoint};
use crate::clock::Stopwatch;
use crate::error::SimError;
use crate::event::{Prepared, SimEvent};
use crate::faults::{self, Fate};
use crate::federation::Federation;
use crate::ordered::for_each_ordered;
use crate::results;

/// The final model in a run folder.
const MODEL: &str = "model.safetensors";

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
    while !run.server.is_finished() {
        if options.stop.load(Ordering::Relaxed) {
            run.checkpoints.wait()?;
            return Ok(run.outcome(None));
        }
        run.round(observe)?;
    }
    run.finish(observe)
}

struct Run<'a> {
    federation: &'a Federation,
    options: &'a Options,
    server: Server,
    clients: Vec<Client>,
    writer: RunWriter,
    checkpoints: checkpoint::Writer,
    config_sha256: String,
    virtual_now: Duration,
    participations: Vec<u32>,
    refusals: Vec<u32>,
    rows: Vec<RoundRow>,
    last_evaluation: Option<Evaluation>,
    pending: Vec<Event>,
    round_time: Duration,
    training_nanos: AtomicU64,
}

/// A cohort member that will answer.
struct Delivery {
    client: ClientId,
    job: TrainJob,
    at: Duration,
    garbled: bool,
}

/// How the round's messages are to be delivered.
#[derive(Default)]
struct Schedule {
    deliveries: Vec<Delivery>,
    dropouts: Vec<ClientId>,
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
        let settings = ServerSettings {
            federation: experiment.federation.clone(),
            train: experiment.train.clone(),
            server: experiment.server.clone(),
            aggregation: experiment.aggregation.clone(),
        };
        let global = federation.initial_parameters();
        let parameters = global.len();
        let mut server = Server::new(settings, layout, global, federation.streams);
        let mut clients = Vec::with_capacity(federation.clients());
        for (place, share) in federation.partition.clients.iter().enumerate() {
            let examples = share.rows.len() as u64;
            server.enroll(ClientId(place as u32), examples)?;
            clients.push(Client::new(layout, parameters, examples));
        }
        let folder = &options.folder;
        let stored = match options.resume {
            true => Some(resumable(folder, &config_sha256)?),
            false => None,
        };
        let mut run = Self {
            federation,
            options,
            server,
            writer: match &stored {
                Some(checkpoint) => RunWriter::reopen(folder, checkpoint.server.round)?,
                None => RunWriter::create(folder, &config)?,
            },
            checkpoints: checkpoint::Writer::default(),
            participations: vec![0; clients.len()],
            refusals: vec![0; clients.len()],
            clients,
            config_sha256,
            virtual_now: Duration::ZERO,
            rows: Vec::new(),
            last_evaluation: None,
            pending: Vec::new(),
            round_time: Duration::ZERO,
            training_nanos: AtomicU64::new(0),
        };
        match stored {
            Some(checkpoint) => run.restore(checkpoint)?,
            None => {
                run.write_partition()?;
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

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), SimError> {
        if checkpoint.participations.len() != self.clients.len()
            || checkpoint.refusals.len() != self.clients.len()
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
        self.server.restore(checkpoint.server)?;
        self.virtual_now = checkpoint.virtual_now;
        self.participations = checkpoint.participations;
        self.refusals = checkpoint.refusals;
        self.rows = RunRecord::read(&self.options.folder)?.rounds;
        let done = self.server.round();
        let message = format!("continued after round {done}");
        self.pending
            .push(Event::new(done, event_kind::RESUMED, message));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), SimError> {
        // A checkpoint must never be ahead of the rows on the disk: resuming would miss them.
        self.writer.sync()?;
        let checkpoint = Checkpoint {
            server: self.server.state(),
            config_sha256: self.config_sha256.clone(),
            virtual_now: self.virtual_now,
            participations: self.participations.clone(),
            refusals: self.refusals.clone(),
        };
        self.checkpoints.write(&self.options.folder, checkpoint)
    }

    fn round(&mut self, observe: &mut dyn FnMut(&SimEvent<'_>)) -> Result<(), SimError> {
        let watch = Stopwatch::start();
        self.server.begin_round(self.virtual_now)?;
        let (mut report, schedule) = self.schedule();
        if report.is_none() {
            self.deliver(&schedule);
            self.close(&schedule);
            report = self.drain().0;
        }
        let Some(report) = report else {
            return Err(SimError::Protocol(
                cloister_protocol::ProtocolError::RoundInProgress(self.server.round()),
            ));
        };
        self.virtual_now = self.virtual_now.saturating_add(report.duration);
        let evaluation = self.evaluate(report.round);
        let mut row = self.row(&report, &schedule, evaluation.as_ref());
        row.seconds = watch.elapsed().as_secs_f64();
        self.record_round(&row, &report, observe)?;
        if let Some(evaluation) = evaluation {
            self.last_evaluation = Some(evaluation);
        }
        self.rows.push(row);
        self.checkpoint()?;
        self.round_time += watch.elapsed();
        Ok(())
    }

    /// Takes the calls out of the server and decides what becomes of each. A report is there already if the cohort is
    /// empty.
    fn schedule(&mut self) -> (Option<RoundReport>, Schedule) {
        let (report, calls) = self.drain();
        let deadline = self.server.deadline();
        let mut schedule = Schedule::default();
        for (client, message) in calls {
            let place = client.0 as usize;
            let ClientAction::Train(job) = self.clients[place].receive(message) else {
                continue;
            };
            let examples = self.federation.rows(client).len();
            let fate = faults::fate(
                &self.federation.experiment.faults,
                &self.federation.streams,
                job.round,
                client,
                self.federation.steps(examples),
            );
            match fate {
                Fate::Dropout => {
                    schedule.dropouts.push(client);
                    let mut event = Event::new(job.round, event_kind::DROPPED, "never answered");
                    event.client = Some(self.name(client));
                    self.pending.push(event);
                }
                Fate::Reply { after, garbled } => {
                    let at = self.virtual_now.saturating_add(after);
                    if deadline.is_some_and(|deadline| at >= deadline) {
                        // Too late to change anything: not trained at all.
                        continue;
                    }
                    schedule.deliveries.push(Delivery {
                        client,
                        job,
                        at,
                        garbled,
                    });
                }
            }
        }
        schedule
            .deliveries
            .sort_by_key(|delivery| (delivery.at, delivery.client));
        (report, schedule)
    }

    /// Trains and delivers in the order of the virtual clock until the round has what it wants.
    fn deliver(&mut self, schedule: &Schedule) {
        let federation = self.federation;
        let training_nanos = &self.training_nanos;
        let (server, clients) = (&mut self.server, &mut self.clients);
        for_each_ordered(
            &schedule.deliveries,
            self.options.threads,
            |delivery| {
                let watch = Stopwatch::start();
                let result = federation.train(delivery.client, &delivery.job);
                let nanos = u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
                training_nanos.fetch_add(nanos, Ordering::Relaxed);
                result
            },
            |delivery, result| {
                let Delivery { client, at, .. } = *delivery;
                let round = delivery.job.round;
                if let Some(message) = clients[client.0 as usize].trained(round, result) {
                    if delivery.garbled {
                        let mut bytes = message.encode();
                        faults::garble(&mut bytes, &federation.streams, round, client);
                        server.receive_bytes(client, &bytes, at);
                    } else {
                        server.receive(client, message, at);
                    }
                }
                if server.in_round() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        );
    }

    /// Ends a round that still waits: at its deadline, or, without one, as soon as the last message is in.
    fn close(&mut self, schedule: &Schedule) {
        if let Some(deadline) = self.server.deadline() {
            return self.server.tick(deadline);
        }
        let last = schedule
            .deliveries
            .last()
            .map_or(self.virtual_now, |delivery| delivery.at);
        for client in &schedule.dropouts {
            self.server.lost(*client, last);
        }
    }

    /// Empties the server's outbox: the events into the record, the report and the calls to the caller.
    fn drain(&mut self) -> (Option<RoundReport>, VecDeque<(ClientId, ServerMessage)>) {
        let mut report = None;
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
                    let name = self.name(client);
                    self.pending.push(Event::refused(
                        round,
                        &name,
                        reason.kind(),
                        reason.to_string(),
                    ));
                }
                ServerOutput::Event(ServerEvent::RoundEnded(ended)) => {
                    report = Some(ended);
                }
                _ => {}
            }
        }
        (report, calls)
    }

    fn name(&self, client: ClientId) -> String {
        let share = self.federation.partition.clients.get(client.0 as usize);
        share.map_or_else(|| client.to_string(), |share| share.name.clone())
    }

    fn evaluate(&self, round: u32) -> Option<Evaluation> {
        let every = self.federation.experiment.evaluate.every.max(1);
        let last = self.federation.experiment.federation.rounds;
        (round.is_multiple_of(every) || round == last)
            .then(|| results::evaluate(self.federation, self.server.global(), self.options.threads))
    }

    fn row(
        &self,
        report: &RoundReport,
        schedule: &Schedule,
        evaluation: Option<&Evaluation>,
    ) -> RoundRow {
        let dropped = schedule.dropouts.len() as u32;
        let timed = self.federation.experiment.faults.seconds_per_step > 0.0;
        RoundRow {
            round: report.round,
            train_loss: report.train_loss,
            test_loss: evaluation.map(|e| e.loss),
            test_accuracy: evaluation.map(|e| e.accuracy),
            test_auroc: evaluation.and_then(|e| e.auroc),
            cohort: report.cohort,
            accepted: report.accepted,
            refused: report.refused,
            dropped,
            // Whoever would have answered, had the round not ended before.
            late: report.missing.saturating_sub(dropped),
            outcome: if report.abandoned.is_some() {
                RoundOutcome::Abandoned
            } else {
                RoundOutcome::Completed
            },
            epsilon: None,
            bytes_up: report.bytes_up,
            bytes_down: report.bytes_down,
            seconds: 0.0,
            virtual_seconds: timed.then_some(report.duration.as_secs_f64()),
            ..RoundRow::default()
        }
    }

    fn record_round(
        &mut self,
        row: &RoundRow,
        report: &RoundReport,
        observe: &mut dyn FnMut(&SimEvent<'_>),
    ) -> Result<(), SimError> {
        if row.late > 0 {
            let message = format!("{} replies came after the round was over", row.late);
            self.pending
                .push(Event::new(report.round, event_kind::LATE, message));
        }
        if let Some(reason) = &report.abandoned {
            self.pending.push(Event::new(
                report.round,
                event_kind::ABANDONED,
                reason.clone(),
            ));
        }
        for event in std::mem::take(&mut self.pending) {
            self.writer.event(&event)?;
            observe(&SimEvent::Record(&event));
        }
        self.writer.round(row)?;
        observe(&SimEvent::Round(row));
        Ok(())
    }

    fn finish(mut self, observe: &mut dyn FnMut(&SimEvent<'_>)) -> Result<Outcome, SimError> {
        self.checkpoints.wait()?;
        let global = self.server.global().clone();
        let threads = self.options.threads;
        let evaluation = match self.last_evaluation.take() {
            Some(evaluation) => evaluation,
            // A resumed run that had only its end left to do.
            None => results::evaluate(self.federation, &global, threads),
        };
        let classes = self.federation.data.train.classes();
        self.writer.confusion(classes, &evaluation.confusion)?;
        let mut clients = results::clients(
            self.federation,
            &global,
            threads,
            &self.participations,
            &self.refusals,
        );
        let baselines = baselines::train_all(
            self.federation,
            threads,
            &mut self.writer,
            &mut clients,
            observe,
        )?;
        self.writer.clients(&clients)?;
        let model = results::model_file(self.federation, &global, self.server.round())?;
        write_atomic(&self.options.folder.join(MODEL), &model)?;
        let summary = results::summary(&results::Ending {
            federation: self.federation,
            rows: &self.rows,
            evaluation: &evaluation,
            baselines,
            refused: self.refusals.iter().map(|n| u64::from(*n)).sum(),
            threads,
            config_sha256: self.config_sha256.clone(),
            model: &model,
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

/// The checkpoint in `folder`, if it is of this config.
fn resumable(folder: &Path, config_sha256: &str) -> Result<Checkpoint, SimError> {
    let checkpoint = Checkpoint::read(folder)?;
    if checkpoint.config_sha256 != config_sha256 {
        return Err(SimError::Checkpoint {
            path: checkpoint::path(folder),
            reason: "is of another config".to_owned(),
        });
    }
    Ok(checkpoint)
}
