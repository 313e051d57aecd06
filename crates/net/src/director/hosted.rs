//! One experiment under way: the server of `cloister-protocol` over the store.
//!
//! What the server is told is on the disk before it is told: a crash at any instant leaves a log of the round, and the round is
//! repeated from it, message by message, to the same bits. Nothing here waits, and time is passed in, so that a test can
//! crash it between any two steps.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_host::{Checkpoint, Monitor, Spending};
use cloister_privacy::noise::NoiseSource;
use cloister_protocol::message::ServerMessage;
use cloister_protocol::{ClientId, RoundReport, Server, ServerEvent, ServerOutput, ServerSettings};
use cloister_report::record::{Event, RoundRow, RunWriter, event_kind};
use cloister_secagg::Identity;

use super::DirectorError;
use super::board::{Board, MAX_PARTS, Shared, round_of};
use super::data::TestSet;
use super::run_folder::{self, Told};
use crate::experiment::{Charter, Id, State};
use crate::plan::Plan;
use crate::store::{Closed, ExperimentRecord, RoundEntry, Store};
use crate::transport::Receipt;

/// What a host needs beside the record of the experiment.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) store: Arc<Store>,
    /// The federation's authority, DER.
    pub(crate) authority: Vec<u8>,
    /// The director's key, as it signs the parameters of secure sums.
    pub(crate) identity: Identity,
    pub(crate) threads: usize,
    /// The director's own examples of the experiment's data set.
    pub(crate) test: Option<Arc<TestSet>>,
}

/// A parcel that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) client: u32,
    pub(crate) number: u64,
    pub(crate) part: u32,
    pub(crate) sha256: [u8; 32],
    pub(crate) bytes: u64,
    pub(crate) file: PathBuf,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To wait for messages; at most until then.
    Wait(Option<Duration>),
    /// The experiment is over.
    Over,
}

/// An experiment that is being trained.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(super) id: Id,
    pub(super) setup: Setup,
    pub(super) plan: Plan,
    pub(super) charter: Charter,
    pub(super) server: Server,
    pub(super) spending: Option<Spending>,
    pub(super) monitor: Option<Monitor>,
    pub(super) writer: RunWriter,
    pub(super) rows: Vec<RoundRow>,
    pub(super) participations: Vec<u32>,
    pub(super) refusals: Vec<u32>,
    pub(super) kept: Vec<u32>,
    pub(super) pending: Vec<Event>,
    board: Arc<Mutex<Board>>,
    /// The clock, which never goes back.
    now: Duration,
    /// The round's call, the same for all its members.
    call: Option<Shared>,
    /// Members of the round whose answer is awaited.
    awaited: BTreeSet<u32>,
    report: Option<RoundReport>,
    /// Why the server refused the message that it was told last.
    refused: Option<String>,
    /// Whether it was no message at all.
    /// Members that the round goes on without, until they are heard of again.
    lost: BTreeSet<u32>,
}

impl Hosted {
    /// Takes up an experiment that has a charter where its records say that it is.
    pub(crate) fn open(
        setup: Setup,
        record: &ExperimentRecord,
        board: Arc<Mutex<Board>>,
        now: Duration,
    ) -> Result<Self, DirectorError> {
        let defect =
            |what: &str| DirectorError::Defect(format!("experiment {}: {what}", record.id));
        let charter = record
            .charter
            .clone()
            .ok_or_else(|| defect("has no charter"))?;
        let plan = Plan::of(&record.config, &record.contract)?;
        let examples: Vec<u64> = charter
            .members
            .iter()
            .map(|member| member.examples)
            .collect();
        let privacy = plan.privacy(&examples)?;
        let experiment = &plan.experiment;
        let settings = ServerSettings {
            federation: experiment.federation.clone(),
            train: experiment.train.clone(),
            server: experiment.server.clone(),
            aggregation: experiment.aggregation.clone(),
            privacy: privacy.clone(),
            secure: plan.secure(&charter, &setup.authority, now.as_secs())?,
        };
        let mut server = Server::new(
            settings,
            plan.layout,
            plan.initial_parameters(),
            plan.streams,
        )?;
        server.use_threads(setup.threads);
        server.use_identity(setup.identity.clone());
        for member in &charter.members {
            server.enroll(ClientId(member.client), member.examples)?;
        }
        let test = setup.test.as_ref();
        let test = test.map_or(0, |test| test.labels().len() as u64);
        let mut monitor = Monitor::new(experiment, test);
        if let Some(monitor) = &monitor {
            monitor.equip(&mut server);
        }
        let progress = setup.store.progress(record.id)?;
        let checkpoint = match &progress.state {
            Some(bytes) => Checkpoint::decode(bytes)?,
            None => Checkpoint::beginning(charter.members.len(), &charter.config_sha256),
        };
        let folder = setup.store.run_folder(record.id);
        let opened = run_folder::open(&folder, &record.config, progress.round)?;
        let spending = match &privacy {
            Some(plan_) => Some(run_folder::spending(plan_, &plan, &folder, &checkpoint)?),
            None => None,
        };
        if progress.state.is_some() {
            if let Some(monitor) = &mut monitor {
                monitor.recall(&checkpoint.notes);
            }
            server.restore(checkpoint.server)?;
        }
        let mut hosted = Self {
            id: record.id,
            setup,
            plan,
            charter,
            server,
            spending,
            monitor,
            writer: opened.writer,
            rows: opened.rows,
            participations: checkpoint.participations,
            refusals: checkpoint.refusals,
            kept: checkpoint.kept,
            pending: Vec::new(),
            board,
            now: now.max(checkpoint.now),
            call: None,
            awaited: BTreeSet::new(),
            report: None,
            refused: None,
            lost: BTreeSet::new(),
        };
        hosted.repeat()?;
        Ok(hosted)
    }

    /// Repeats the round that a crash cut short.
    fn repeat(&mut self) -> Result<(), DirectorError> {
        let (round, log) = self.setup.store.round_log(self.id)?;
        if log.is_empty() {
            return Ok(());
        }
        if round != self.server.round() + 1 {
            return Err(DirectorError::Defect(format!(
                "experiment {}: the log is of round {round}, {} are done",
                self.id,
                self.server.round()
            )));
        }
        for entry in log {
            match entry {
                RoundEntry::Began { now, noise } => self.call_cohort(now, noise, true)?,
                RoundEntry::Parcel { .. } => drop(self.taken(&entry)?),
                RoundEntry::Lost { now, client } => self.go_on_without(client, now),
                RoundEntry::Tick { now } => self.tick(now),
            }
        }
        let message = format!("the director took round {round} up again where it was");
        self.pending
            .push(Event::new(round, event_kind::RESUMED, message));
        Ok(())
    }

    /// Does what there is to do without a message: closes a round, lets its deadline pass, begins the next, or ends.
    pub(crate) fn step(&mut self, now: Duration) -> Result<Step, DirectorError> {
        self.now = self.now.max(now);
        loop {
            if self.report.is_some() {
                self.close()?;
            } else if self.server.in_round() {
                match self.server.deadline() {
                    Some(deadline) if self.now >= deadline => {
                        let entry = RoundEntry::Tick { now: self.now };
                        self.log(entry)?;
                        self.tick(self.now);
                    }
                    until => return Ok(Step::Wait(until)),
                }
            } else if self.server.is_finished() || self.is_spent()? {
                return Ok(Step::Over);
            } else {
                self.begin()?;
            }
        }
    }

    /// Takes parcels, in this order. All are on the disk before the first is looked into.
    pub(crate) fn take(
        &mut self,
        parcels: Vec<Arrived>,
        now: Duration,
    ) -> Result<Vec<Receipt>, DirectorError> {
        self.now = self.now.max(now);
        let mut receipts = Vec::with_capacity(parcels.len());
        let mut entries = Vec::new();
        for parcel in parcels {
            receipts.push(match self.unwanted(&parcel) {
                Some(reason) => {
                    // Whether or not it can be removed, nobody will read it.
                    let _ = std::fs::remove_file(&parcel.file);
                    Some(Receipt::Refused(reason))
                }
                None => {
                    entries.push((self.entry(&parcel), parcel.file));
                    None
                }
            });
        }
        let round = self.server.round();
        let logged = entries
            .iter()
            .map(|(entry, _)| entry.clone())
            .collect::<Vec<_>>();
        let fresh = self.setup.store.take_parcels(self.id, round, entries)?;
        let mut taken = logged.into_iter().zip(fresh);
        for receipt in &mut receipts {
            if receipt.is_some() {
                continue;
            }
            *receipt = match taken.next() {
                Some((entry, true)) => Some(self.taken(&entry)?),
                _ => Some(Receipt::Repeated),
            };
        }
        Ok(receipts.into_iter().flatten().collect())
    }

    fn entry(&self, parcel: &Arrived) -> RoundEntry {
        RoundEntry::Parcel {
            now: self.now,
            site: self.site(parcel.client).to_owned(),
            client: parcel.client,
            number: parcel.number,
            part: parcel.part,
            sha256: parcel.sha256,
            bytes: parcel.bytes,
        }
    }

    /// Why a parcel will never be taken.
    fn unwanted(&self, parcel: &Arrived) -> Option<String> {
        let round = round_of(parcel.number);
        if !self.server.in_round() || round != self.server.round() {
            return Some(format!("round {round} is over"));
        }
        let sent = lock(&self.board).was_sent(self.site(parcel.client), parcel.number);
        if !sent || parcel.part >= MAX_PARTS {
            return Some("it answers no message of this round".to_owned());
        }
        None
    }

    /// Tells the server of a parcel that is in the log.
    fn taken(&mut self, entry: &RoundEntry) -> Result<Receipt, DirectorError> {
        let RoundEntry::Parcel {
            now,
            site,
            client,
            number,
            ..
        } = entry
        else {
            return Err(DirectorError::Defect("not a parcel".to_owned()));
        };
        lock(&self.board).done(site, *number);
        if self.report.is_some() {
            // An earlier parcel of the same batch ended the round. After a crash it is repeated without effect, too.
            return Ok(Receipt::Refused(format!(
                "round {} is over",
                round_of(*number)
            )));
        }
        let bytes = self.setup.store.read_parcel(self.id, entry)?;
        self.tell(*client, &bytes, *now);
        Ok(match self.refused.take() {
            Some(reason) => Receipt::Refused(reason),
            None => Receipt::Taken,
        })
    }

    /// The round goes on without a client, as far as it can.
    pub(crate) fn lose(&mut self, client: u32, now: Duration) -> Result<(), DirectorError> {
        self.now = self.now.max(now);
        // A secure sum may wait for one whose update is in it: without its shares nothing is unmasked.
        let is_awaited = self.awaited.contains(&client) || self.is_masked();
        let is_known = self.lost.contains(&client);
        if !self.server.in_round() || self.report.is_some() || !is_awaited || is_known {
            return Ok(());
        }
        let now = self.now;
        self.log(RoundEntry::Lost { now, client })?;
        self.go_on_without(client, now);
        Ok(())
    }

    fn go_on_without(&mut self, client: u32, now: Duration) {
        self.now = now;
        self.lost.insert(client);
        self.server.lost(ClientId(client), now);
        self.drain();
    }

    fn tick(&mut self, now: Duration) {
        self.now = now;
        self.server.tick(now);
        self.drain();
    }

    /// A site has nothing to say to a message.
    pub(crate) fn done(&mut self, client: u32, number: u64) {
        lock(&self.board).done(self.site(client), number);
    }

    fn log(&self, entry: RoundEntry) -> Result<(), DirectorError> {
        let round = self.server.round();
        Ok(self.setup.store.log(self.id, round, vec![entry])?)
    }

    /// Begins the next round: its beginning is in the log, and then what it will release on the ledger, before anybody is called.
    fn begin(&mut self) -> Result<(), DirectorError> {
        let round = self.server.round() + 1;
        let noise = match &self.spending {
            Some(spending) if spending.plan().at_server() => Some(NoiseSource::key()?),
            _ => None,
        };
        self.setup
            .store
            .begin_round(self.id, round, self.now, noise.clone())?;
        self.call_cohort(self.now, noise, false)
    }

    fn call_cohort(
        &mut self,
        now: Duration,
        noise: Option<zeroize::Zeroizing<[u8; 32]>>,
        again: bool,
    ) -> Result<(), DirectorError> {
        self.now = now;
        let round = self.server.round() + 1;
        if let Some(spending) = &mut self.spending {
            let receipt = match again {
                true => spending.commit_repeated_round(round)?,
                false => spending.commit_round(round)?,
            };
            if let Some(key) = &noise {
                self.server.use_noise(NoiseSource::of_key(key));
            }
            if let Some(receipt) = receipt {
                self.server.committed(&receipt);
            }
        }
        lock(&self.board).begin(round);
        self.call = None;
        self.lost.clear();
        if cloister_host::records(&self.plan.experiment, round) {
            self.server.record_next();
        }
        self.server.begin_round(now)?;
        self.drain();
        self.commit_trainings(round)
    }

    /// Puts on the ledger what the members will release themselves.
    fn commit_trainings(&mut self, round: u32) -> Result<(), DirectorError> {
        let Some(spending) = &mut self.spending else {
            return Ok(());
        };
        let called = self
            .charter
            .members
            .iter()
            .filter(|member| self.awaited.contains(&member.client));
        let fresh: Vec<(String, u64)> = called
            .filter(|member| !spending.has(round, &member.site))
            .map(|member| (member.site.clone(), member.examples))
            .collect();
        Ok(spending.commit_trainings(round, fresh.into_iter())?)
    }

    fn tell(&mut self, client: u32, bytes: &[u8], now: Duration) {
        self.now = now;
        self.refused = None;
        self.lost.remove(&client);
        self.server.receive_bytes(ClientId(client), bytes, now);
        self.drain();
    }

    /// Empties the server's outbox: messages onto the board, events into the record.
    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::Send { to, message } => self.put(to.0, &message),
                ServerOutput::Event(event) => self.happened(event),
                _ => {}
            }
        }
    }

    fn put(&mut self, client: u32, message: &ServerMessage) {
        let content = match message {
            ServerMessage::Train(_) => {
                // All members get the same bytes: one copy of the model, however many there are.
                let call = self
                    .call
                    .get_or_insert_with(|| Shared::new(message.encode()));
                call.clone()
            }
            other => Shared::new(other.encode()),
        };
        let board = Arc::clone(&self.board);
        lock(&board).put(self.site(client), content);
    }

    fn happened(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::RoundStarted { cohort, .. } => {
                self.awaited = cohort.iter().map(|client| client.0).collect();
            }
            ServerEvent::Accepted { client, .. } => {
                self.awaited.remove(&client.0);
                count(&mut self.participations, client.0);
            }
            ServerEvent::Refused {
                round,
                client,
                reason,
            } => {
                self.awaited.remove(&client.0);
                count(&mut self.refusals, client.0);
                let words = reason.to_string();
                let name = self.site(client.0).to_owned();
                self.pending
                    .push(Event::refused(round, &name, reason.kind(), words.clone()));
                self.refused = Some(words);
            }
            ServerEvent::Lost { round, client } => {
                self.awaited.remove(&client.0);
                let mut event = Event::new(round, event_kind::DROPPED, "not waited for any more");
                event.client = Some(self.site(client.0).to_owned());
                self.pending.push(event);
            }
            ServerEvent::BucketFailed {
                round,
                bucket,
                reason,
            } => {
                self.pending
                    .push(cloister_host::bucket_failed(round, bucket, &reason));
            }
            ServerEvent::RoundEnded(report) => self.report = Some(report),
            _ => {}
        }
    }

    /// Closes the round: its record first, which a crash lets repeat, then its end in the store, which nothing takes back.
    fn close(&mut self) -> Result<(), DirectorError> {
        let Some(report) = self.report.clone() else {
            return Ok(());
        };
        for client in std::mem::take(&mut self.awaited) {
            let mut event = Event::new(
                report.round,
                event_kind::DROPPED,
                "had not answered when the round ended",
            );
            event.client = Some(self.site(client).to_owned());
            self.pending.push(event);
        }
        self.keep_transcript()?;
        let told = self.record(&report)?;
        let state = self.checkpoint().encode()?;
        self.setup.store.close_round(
            self.id,
            Closed {
                round: report.round,
                state: &state,
                row: &told.row,
                lines: told.lines,
            },
        )?;
        self.report = None;
        self.call = None;
        lock(&self.board).begin(report.round);
        Ok(())
    }

    /// Keeps the transcript of the round that has ended, if it was recorded; a crash lets it be written again.
    fn keep_transcript(&mut self) -> Result<(), DirectorError> {
        let members = &self.charter.members;
        let site = |client: ClientId| {
            let member = members.get(client.0 as usize);
            member.map_or_else(String::new, |member| member.site.clone())
        };
        if let Some(transcript) = self.server.take_transcript(site) {
            let event = cloister_host::write_transcript(self.writer.folder(), &transcript)?;
            self.pending.push(event);
        }
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut notes = serde_json::Map::new();
        if let Some(monitor) = &self.monitor {
            monitor.remember(&mut notes);
        }
        Checkpoint {
            notes,
            server: self.server.state(),
            config_sha256: self.charter.config_sha256.clone(),
            now: self.now,
            participations: self.participations.clone(),
            refusals: self.refusals.clone(),
            kept: self.kept.clone(),
            ledger: self.spending.as_ref().map(Spending::mark),
            ..Checkpoint::default()
        }
    }

    fn record(&mut self, report: &RoundReport) -> Result<Told, DirectorError> {
        run_folder::record(self, report)
    }

    /// Whether the next round would cost more than the budget allows.
    fn is_spent(&mut self) -> Result<bool, DirectorError> {
        let Some(spending) = &self.spending else {
            return Ok(false);
        };
        let members = self.charter.members.iter();
        let owned = members.map(|member| (member.site.clone(), member.examples));
        let Some(loss) = spending.would_exceed(self.server.round() + 1, owned)? else {
            return Ok(false);
        };
        let budget = spending.plan().config().epsilon.unwrap_or(0.0);
        let event = cloister_host::budget_spent(self.server.round(), loss, budget);
        self.writer.event(&event)?;
        Ok(true)
    }

    /// Ends the experiment: model, summary and page into its run folder, and the end into the store.
    pub(crate) fn finish(mut self, state: State, reason: &str) -> Result<String, DirectorError> {
        let model = run_folder::end(&mut self)?;
        self.setup.store.set_state(self.id, state, reason)?;
        Ok(model)
    }

    /// A member's site.
    pub(super) fn site(&self, client: u32) -> &str {
        let member = self.charter.members.get(client as usize);
        member.map_or("", |member| &member.site)
    }

    fn is_masked(&self) -> bool {
        self.plan.experiment.secure_aggregation.is_some()
    }

    /// Whom the round in progress waits for. In a secure sum, whoever has a message of it unanswered: all others wait for them,
    /// also if their own updates are not there yet.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &str> {
        let board = lock(&self.board);
        let sites = self.charter.members.iter().map(|member| &member.site);
        let open: BTreeSet<&str> = sites
            .filter(|site| self.is_masked() && board.is_open(site))
            .map(String::as_str)
            .collect();
        let all = self.awaited.iter().map(|client| self.site(*client));
        let awaited: BTreeSet<&str> = match open.is_empty() {
            true => all.collect(),
            false => open,
        };
        awaited.into_iter()
    }

    /// Rounds begun.
    pub(crate) fn round(&self) -> u32 {
        self.server.round()
    }

    /// The rounds that are done.
    pub(crate) fn rows(&self) -> &[RoundRow] {
        &self.rows
    }
}

fn count(counts: &mut [u32], client: u32) {
    if let Some(count) = counts.get_mut(client as usize) {
        *count += 1;
    }
}

/// The board, for a moment.
pub(crate) fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
