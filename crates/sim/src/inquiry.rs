//! Rounds in which clients add up numbers of their own, beside those of the training.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use cloister_config::Experiment;
use cloister_protocol::message::{ClientMessage, LayoutDigest, ServerMessage};
use cloister_protocol::survey::{Owned, SurveyLearner, SurveyPlan};
use cloister_protocol::{
    Client, ClientAction, ClientId, Learner, LearnerError, Protection, Purpose, Server,
    ServerEvent, ServerOutput, Streams, TrainJob, Update,
};
use sha2::{Digest, Sha256};

use crate::error::SimError;
use crate::ordered::for_each_ordered;
use crate::secure::Keys;

/// The simulated rounds take no time.
const NOW: Duration = Duration::ZERO;

/// What clients are asked, and who they are.
#[derive(Debug)]
pub(crate) struct Inquiry<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) plan: &'a SurveyPlan,
    /// The clients' names.
    pub(crate) names: &'a [String],
    /// What it is for, in a word: secure sums for one purpose are none for another.
    pub(crate) purpose: &'static str,
    pub(crate) threads: usize,
}

/// What came of an inquiry.
#[derive(Debug)]
pub(crate) struct Inquired {
    /// The sums, as the plan reads them.
    pub(crate) sums: Vec<f32>,
    pub(crate) rounds: u32,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

impl Inquiry<'_> {
    /// Holds the rounds: in plain, or with the experiment's secure sums. `owned` is what a client adds up, asked for each round
    /// anew.
    ///
    /// # Errors
    /// [`SimError::Statistics`] if a client cannot answer; keys that cannot be drawn.
    pub(crate) fn hold<'o>(
        &self,
        owned: impl Fn(ClientId) -> Result<Owned<'o>, SimError>,
    ) -> Result<Inquired, SimError> {
        let streams = Streams::new(self.experiment.seed);
        let keys = self.keys(streams)?;
        let layout = LayoutDigest::of(self.plan.layout());
        let secure = keys.as_ref().map(|keys| keys.plan.clone());
        let settings = self.plan.settings(secure, None);
        let mut server = Server::new(settings, layout, self.plan.initial(), streams)?;
        let mut clients = Vec::with_capacity(self.names.len());
        for place in 0..self.names.len() {
            server.enroll(ClientId(place as u32), 1)?;
            let mut client = Client::new(layout, self.plan.layout().len(), 1);
            if let Some(keys) = &keys {
                keys.equip(place, &mut client);
            }
            clients.push(client);
        }
        if let Some(keys) = keys {
            server.use_identity(keys.server);
        }
        let mut rounds = Rounds {
            inquiry: self,
            streams,
            server,
            clients,
            bytes: (0, 0),
            failure: None,
        };
        while !self.plan.is_done(rounds.server.global()) {
            rounds.next(&owned)?;
        }
        Ok(Inquired {
            sums: rounds.server.global().to_vec(),
            rounds: rounds.server.round(),
            bytes_up: rounds.bytes.0,
            bytes_down: rounds.bytes.1,
        })
    }

    /// Keys of their own: these rounds are numbered from 1, as those of the training are.
    fn keys(&self, streams: Streams) -> Result<Option<Keys>, SimError> {
        let mut experiment = self.experiment.clone();
        if let Some(config) = &mut experiment.secure_aggregation {
            *config = self.plan.sums(config);
        }
        let task = Sha256::new_with_prefix("cloister-")
            .chain_update(self.purpose)
            .chain_update(self.experiment.sha256()?)
            .finalize();
        let task: String = task.iter().map(|byte| format!("{byte:02x}")).collect();
        Keys::draw(&experiment, self.names.len() as u32, streams, &task)
    }
}

/// The rounds in progress.
struct Rounds<'a> {
    inquiry: &'a Inquiry<'a>,
    streams: Streams,
    server: Server,
    clients: Vec<Client>,
    bytes: (u64, u64),
    /// Why the last round was given up.
    failure: Option<String>,
}

impl Rounds<'_> {
    fn next<'o>(
        &mut self,
        owned: &impl Fn(ClientId) -> Result<Owned<'o>, SimError>,
    ) -> Result<(), SimError> {
        if self.server.is_finished() {
            let reason = "too many rounds were given up".to_owned();
            return Err(SimError::Statistics(reason));
        }
        self.server.begin_round(NOW)?;
        loop {
            let calls = self.drain();
            if calls.is_empty() {
                // Nobody is ever late here: a round that was given up would be given up again.
                return self
                    .failure
                    .take()
                    .map_or(Ok(()), |reason| Err(SimError::Statistics(reason)));
            }
            self.answer(calls, owned)?;
        }
    }

    fn drain(&mut self) -> Vec<(ClientId, ServerMessage)> {
        let mut calls = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::Send { to, message } => calls.push((to, message)),
                ServerOutput::Event(ServerEvent::Refused { client, reason, .. }) => {
                    let name = self.inquiry.names.get(client.0 as usize);
                    let name = name.map_or("a client", String::as_str);
                    self.failure.get_or_insert(format!("{name}: {reason}"));
                }
                ServerOutput::Event(ServerEvent::RoundEnded(report)) => {
                    self.bytes.0 += report.bytes_up;
                    self.bytes.1 += report.bytes_down;
                    if let Some(reason) = report.abandoned {
                        self.failure.get_or_insert(reason);
                    }
                }
                _ => {}
            }
        }
        calls
    }

    /// The clients' answers to a call each, which they work out side by side.
    fn answer<'o>(
        &mut self,
        calls: Vec<(ClientId, ServerMessage)>,
        owned: &impl Fn(ClientId) -> Result<Owned<'o>, SimError>,
    ) -> Result<(), SimError> {
        let mut jobs = Vec::new();
        let mut answers: Vec<(ClientId, ClientMessage)> = Vec::new();
        for (to, message) in calls {
            match self.clients[to.0 as usize].receive(message, NOW) {
                ClientAction::Train(job) => {
                    answers.extend(job.first.clone().map(|first| (to, first)));
                    jobs.push((to, job, Mutex::new(Some(owned(to)?))));
                }
                ClientAction::Send(message) => answers.push((to, message)),
                _ => {}
            }
        }
        for (to, round, update) in self.added_up(&jobs) {
            let client = &mut self.clients[to.0 as usize];
            let mut rounding = self.streams.stream(Purpose::Rounding, 0, to.0);
            let protection = Protection {
                rounding: &mut rounding,
                defence: None,
                noise: None,
                threads: self.inquiry.threads,
                now: NOW,
            };
            let trained = client.trained(round, update);
            let message = trained.and_then(|message| client.protect(message, protection));
            answers.extend(message.map(|message| (to, message)));
        }
        for (from, message) in answers {
            self.server.receive(from, message, NOW);
        }
        Ok(())
    }

    fn added_up(&self, jobs: &[Job<'_>]) -> Vec<(ClientId, u32, Result<Update, LearnerError>)> {
        let mut updates = Vec::with_capacity(jobs.len());
        let (inquiry, streams) = (self.inquiry, self.streams);
        for_each_ordered(
            jobs,
            inquiry.threads,
            |(to, job, owned)| {
                let owned = owned.lock().ok().and_then(|mut owned| owned.take());
                let owned = owned.ok_or_else(|| LearnerError("asked twice".to_owned()))?;
                let mut rng = streams.stream(Purpose::Train, 0, to.0);
                SurveyLearner::new(inquiry.plan, owned).train(&job.global, &job.plan, &mut rng)
            },
            |(to, job, _), update| {
                updates.push((*to, job.round, update));
                ControlFlow::Continue(())
            },
        );
        updates
    }
}

/// A client's job, and what it adds up for it.
type Job<'o> = (ClientId, TrainJob, Mutex<Option<Owned<'o>>>);
