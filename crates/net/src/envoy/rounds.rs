//! The messages of rounds: a client of the protocol, whose every step is stored before it is sent.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Mechanism, PrivacyError};
use cloister_protocol::defence::DefenceNoise;
use cloister_protocol::guard::Guard;
use cloister_protocol::message::{ClientMessage, ServerMessage, TrainRequest};
use cloister_protocol::{
    Client, ClientAction, ClientId, Learner, LearnerError, ModelLearner, PrivacyPlan, Protection,
    Purpose, ScratchPool, TrainJob, TrainPlan, Update, roster_name,
};
use cloister_secagg::message::{ClientMessage as SumMessage, Kind, peek};
use cloister_secagg::{Abort, Mode, Policy as Masking, Record, Secrets};

use super::ledger::{Charge, Charged};
use super::memory::{ClientState, Held, Known, Outcome, Session};
use super::policy::over;
use super::worker::{SECOND, document, examples_of, lock};
use super::{Envoy, EnvoyError, Examples};
use crate::experiment::{Answer, Charter, Id, Offer};
use crate::plan::{Plan, from_hex};

/// Bytes of a message beside the model: headers, and the parameters of a secure sum.
const FRAME: u64 = 64 << 10;
/// Bytes of a message of a secure sum for each member: keys, sealed shares, signatures.
const PER_MEMBER: u64 = 1 << 10;

/// An experiment under way at this site.
pub(super) struct Running {
    id: Id,
    pub(super) plan: Plan,
    client: ClientId,
    members: u64,
    examples: Arc<Examples>,
    privacy: Option<PrivacyPlan>,
    /// Names the site's part in the experiment in its ledger.
    tag: String,
    state: Mutex<State>,
    /// Messages in work.
    busy: Mutex<BTreeSet<u64>>,
    pool: ScratchPool,
}

/// What messages change, one at a time. Training does not hold it.
struct State {
    client: Client,
    /// The session of the secure sum in progress.
    begun: Option<Session>,
    /// The session that a restart has interrupted last.
    lost: Option<Session>,
    /// Another has taken its place: what is in memory may be ahead of the disk.
    retired: bool,
}

impl State {
    /// What must be stored of it; with the vectors, if they may have changed.
    fn stored(&self, with_vectors: bool) -> ClientState {
        let client = &self.client;
        let [momentum, residual] = [client.momentum(), client.residual()];
        let is_there = with_vectors && !(momentum.is_empty() && residual.is_empty());
        ClientState {
            answered: client.answered(),
            record: client.record().copied(),
            begun: self.begun,
            lost: self.lost,
            vectors: is_there.then(|| [momentum.to_vec(), residual.to_vec()]),
        }
    }
}

/// Why a training has no result.
enum Untrained {
    /// For the server: the client cannot.
    Failed(LearnerError),
    /// For this site: it has to be tried again.
    Again(EnvoyError),
}

impl From<LearnerError> for Untrained {
    fn from(error: LearnerError) -> Self {
        Self::Failed(error)
    }
}

impl From<PrivacyError> for Untrained {
    fn from(error: PrivacyError) -> Self {
        Self::Failed(LearnerError(error.to_string()))
    }
}

impl Running {
    /// What the ledger is to know.
    pub(super) fn charged(&self) -> Charged<'_> {
        Charged {
            dataset: &self.plan.contract.dataset,
            tag: &self.tag,
            plan: self.privacy.as_ref(),
            own: self.own(),
        }
    }

    fn own(&self) -> u64 {
        self.examples.rows().len() as u64
    }

    /// Lets no message that is still in work change anything.
    pub(super) fn retire(&self) {
        lock(&self.state).retired = true;
    }

    pub(super) fn working(&self) -> usize {
        lock(&self.busy).len()
    }

    pub(super) fn longest(&self) -> u64 {
        FRAME + PER_MEMBER * self.members + 4 * self.plan.parameters() as u64
    }

    /// Why a request is not one of the experiment that was accepted: what is charged and what masks hide rests on its plan.
    fn unplanned(&self, request: &TrainRequest) -> Option<String> {
        let experiment = &self.plan.experiment;
        let rounds = experiment.federation.rounds;
        if request.round == 0 || request.round > rounds {
            return Some(format!(
                "the experiment has {rounds} rounds, round {} is none of them",
                request.round
            ));
        }
        let planned = experiment.train.plan(request.round);
        match is_same(&planned, &request.plan) {
            true => None,
            false => {
                Some("the director asks for another training than the experiment's".to_owned())
            }
        }
    }

    /// Trains, and hides the result as the experiment says, all without the lock of the state.
    fn train(&self, job: &TrainJob) -> Result<Update, Untrained> {
        let round = job.round;
        let dp_sgd = match &self.privacy {
            Some(plan) if plan.config().mechanism == Mechanism::DpSgd => plan
                .dp_sgd(self.own(), NoiseSource::system()?)
                .transpose()?,
            _ => None,
        };
        let mut rng = self
            .plan
            .streams
            .stream(Purpose::Train, round, self.client.0);
        let examples = &self.examples;
        let scratch = self.pool.take();
        let learner =
            ModelLearner::new(&self.plan.model, examples.train(), examples.rows(), scratch)?;
        // Whoever has the run's seed could repeat what is drawn from the training's stream, and so undo it.
        let draws = self.plan.model.noise_len() > 0;
        let secret = draws.then(NoiseSource::system).transpose()?;
        let defence = self.plan.experiment.defence.as_ref();
        let mut learner = learner
            .hiding_examples(dp_sgd)
            .drawing_from(secret)
            .withholding(defence.and_then(|defence| defence.soteria));
        let result = learner.train(&job.global, &job.plan, &mut rng);
        self.pool.put(learner.into_scratch());
        let mut update = result?;
        if let Some(plan) = &self.privacy
            && plan.config().mechanism == Mechanism::LocalGaussian
        {
            plan.hide(&mut update, &mut NoiseSource::system()?)?;
        }
        Ok(update)
    }

    /// What of an answer may leave the site.
    fn protect(
        &self,
        client: &mut Client,
        message: ClientMessage,
        round: u32,
        threads: usize,
        now: Duration,
    ) -> Option<ClientMessage> {
        let mut rounding = self
            .plan
            .streams
            .stream(Purpose::Rounding, round, self.client.0);
        let defence = match secret_noise() {
            Ok(noise) => noise,
            Err(reason) => return Some(ClientMessage::Failed { round, reason }),
        };
        let distributed = self.privacy.as_ref().filter(|plan| plan.is_distributed());
        let mut source = None;
        if let Some(plan) = distributed {
            match NoiseSource::system() {
                Ok(noise) => source = Some((plan, noise)),
                Err(error) => {
                    let reason = error.to_string();
                    return Some(ClientMessage::Failed { round, reason });
                }
            }
        }
        let protection = Protection {
            rounding: &mut rounding,
            defence: Some(defence),
            noise: source.as_mut().map(|(plan, noise)| (*plan, noise)),
            threads,
            now,
        };
        client.protect(message, protection)
    }
}

impl Envoy {
    /// Works on a message of the round protocol that lies in `file`; `now` is the time since 1970. What is to be sent goes into the
    /// outbox, if nothing is, a word that it is done. A message that was worked on before is answered by what was
    /// sent then; one that another thread works on is left to it. While one thread trains, others may hand in
    /// messages of the secure sum.
    ///
    /// # Errors
    /// [`EnvoyError::Unknown`] for an experiment without a charter; [`EnvoyError::Message`] and [`EnvoyError::TooLong`] for bytes
    /// that are no message of it; a memory or ledger that fails, after which the message may be handed in again.
    pub fn message(
        &self,
        experiment: Id,
        number: u64,
        file: &Path,
        now: Duration,
    ) -> Result<(), EnvoyError> {
        let running = self.started(experiment, now)?;
        if self.memory.message(experiment, number)? == Known::Done {
            self.memory.send_again(experiment, number)?;
            self.notify();
            return Ok(());
        }
        if !lock(&running.busy).insert(number) {
            return Ok(());
        }
        let result = self.work(&running, number, file, now);
        lock(&running.busy).remove(&number);
        if let Err(EnvoyError::Memory(_) | EnvoyError::Ledger(_) | EnvoyError::Unknown(_)) = &result
        {
            self.start_over(&running);
        }
        self.notify();
        result
    }

    /// The experiment, as far as it has come; built from the memory if it is not at work.
    pub(super) fn started(&self, id: Id, now: Duration) -> Result<Arc<Running>, EnvoyError> {
        let mut all = lock(&self.running);
        if let Some(running) = all.get(&id) {
            return Ok(Arc::clone(running));
        }
        let held = self.memory.held(id)?;
        let held = held.filter(|held| held.charter.is_some());
        let mut held = held.ok_or(EnvoyError::Unknown(id))?;
        self.give_up_session(id)?;
        let running = match self.build(id, &held, now.as_secs(), true)? {
            Ok(running) => Arc::new(running),
            Err(reason) => {
                // The director is told, once, instead of waiting for a site that will not answer.
                if held.withdrawn.is_none() {
                    held.withdrawn = Some(reason.clone());
                    let answer = Answer::Decline {
                        reason: reason.clone(),
                    };
                    self.memory.hold(id, &held, Some(&answer), SECOND)?;
                    self.notify();
                }
                return Err(EnvoyError::Refused {
                    experiment: id,
                    reason,
                });
            }
        };
        all.insert(id, Arc::clone(&running));
        Ok(running)
    }

    /// The experiment of a charter, or why this site has no part in it.
    pub(super) fn build(
        &self,
        id: Id,
        held: &Held,
        now: u64,
        has_begun: bool,
    ) -> Result<Result<Running, String>, EnvoyError> {
        let (offer, _): (Offer, _) = document("a stored offer", held.offer.as_bytes())?;
        let taken = held.charter.as_ref().ok_or(EnvoyError::Unknown(id))?;
        let (charter, _): (Charter, _) = document("a stored charter", taken.document.as_bytes())?;
        let site = self.config.site.as_str();
        let Some(place) = charter.members.iter().position(|one| one.site == site) else {
            return Ok(Err("charter: this site is not in it".to_owned()));
        };
        let plan = match self.plan(&offer)? {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason)),
        };
        let examples = match self.fitting(&offer)? {
            Ok(examples) => examples,
            Err(reason) => return Ok(Err(reason)),
        };
        let own = examples.rows().len() as u64;
        let member = &charter.members[place];
        if member.examples != own {
            return Ok(Err(format!(
                "charter: this site has {own} examples, it says {}",
                member.examples
            )));
        }
        let privacy = match self.terms(id, &plan, &examples_of(&charter), own, has_begun)? {
            Ok(privacy) => privacy,
            Err(reason) => return Ok(Err(reason)),
        };
        let client_id = ClientId(member.client);
        let mut client = Client::new(plan.layout, plan.parameters(), own);
        if let Some(communication) = &plan.experiment.communication {
            client.use_communication(communication.clone());
        }
        if let Some(defence) = &plan.experiment.defence {
            client.use_defence(defence.clone());
        }
        // The site's own setting: an experiment cannot switch it off.
        client.use_guard(Guard::new(self.config.guard, plan.model.layout()));
        let authority = from_hex(&taken.authority).unwrap_or_default();
        // Certificates are judged by the day on which the charter was taken; the day of each round is the policy's.
        match plan.secure(&charter, &authority, taken.accepted) {
            Ok(None) => {}
            Ok(Some(secure)) => {
                let policy = Masking {
                    task: secure.task,
                    place: place_of(&secure.roster, client_id),
                    roster: secure.roster,
                    identity: Some(self.key.secagg()),
                    mode: Mode::from(secure.config.mode),
                    minimum_cohort: secure
                        .config
                        .minimum_cohort
                        .max(self.config.policy.minimum_cohort),
                    corrupt_ppm: secure.config.corrupt_ppm(),
                    today: now,
                };
                client.use_secure_aggregation(Arc::new(policy), |_| secrets());
            }
            Err(error) => return Ok(Err(error.to_string())),
        }
        let lost = self.restore(id, &mut client)?;
        Ok(Ok(Running {
            id,
            plan,
            client: client_id,
            members: charter.members.len() as u64,
            examples,
            privacy,
            tag: taken.tag.clone(),
            state: Mutex::new(State {
                client,
                begun: None,
                lost,
                retired: false,
            }),
            busy: Mutex::default(),
            pool: ScratchPool::default(),
        }))
    }

    /// Brings a client to where it was; the session that a restart has interrupted last.
    fn restore(&self, experiment: Id, client: &mut Client) -> Result<Option<Session>, EnvoyError> {
        let stored = self.memory.state(experiment)?;
        client.restore_answered(stored.answered);
        let wrong = |source| EnvoyError::State { experiment, source };
        if let Some([momentum, residual]) = stored.vectors {
            client.restore_momentum(momentum).map_err(wrong)?;
            client.restore_residual(residual).map_err(wrong)?;
        }
        if let Some(record) = stored.record {
            client.restore_record(record);
        }
        Ok(stored.lost)
    }

    /// Tells the director that a secure sum that a restart has interrupted goes on without this site.
    pub(super) fn give_up_session(&self, experiment: Id) -> Result<(), EnvoyError> {
        let state = self.memory.state(experiment)?;
        let Some(session) = state.begun else {
            return Ok(());
        };
        let Session { number, round, .. } = session;
        let failed = ClientMessage::Failed {
            round,
            reason: "the envoy was restarted during the secure sum, and its secrets are gone"
                .to_owned(),
        };
        self.memory.settle(&Outcome {
            experiment,
            number,
            round,
            done: true,
            messages: vec![failed.encode()],
            state: ClientState {
                answered: state.answered.max(round),
                record: state.record,
                begun: None,
                lost: Some(session),
                vectors: None,
            },
            mark: None,
        })?;
        self.notify();
        Ok(())
    }

    /// Forgets what is in memory of an experiment: the disk did not take a step of it, and what is on the disk counts.
    fn start_over(&self, running: &Arc<Running>) {
        running.retire();
        let mut all = lock(&self.running);
        if all
            .get(&running.id)
            .is_some_and(|one| Arc::ptr_eq(one, running))
        {
            all.remove(&running.id);
        }
    }

    fn work(
        &self,
        running: &Running,
        number: u64,
        file: &Path,
        now: Duration,
    ) -> Result<(), EnvoyError> {
        let bytes = read(running, number, file)?;
        let decoded = ServerMessage::decode(&bytes, running.plan.parameters());
        let message = decoded.map_err(|source| EnvoyError::Message {
            experiment: running.id,
            number,
            source,
        })?;
        drop(bytes);
        match message {
            ServerMessage::Train(request) => self.train(running, number, request, now),
            message => self.exchange(running, number, message, now),
        }
    }

    /// A message of a secure sum, or the last of all.
    fn exchange(
        &self,
        running: &Running,
        number: u64,
        message: ServerMessage,
        now: Duration,
    ) -> Result<(), EnvoyError> {
        let mut state = awake(running)?;
        let is_end = match &message {
            ServerMessage::Secure(bytes) => {
                matches!(peek(bytes), Ok((Kind::Result | Kind::Abandoned, _)))
            }
            _ => false,
        };
        let action = match farewell(&message, state.lost).filter(|_| !is_end) {
            Some(farewell) => ClientAction::Send(farewell),
            None => state.client.receive(message, now),
        };
        let record = state.client.record().copied();
        if is_end || record.is_some_and(|record| record.revealed) {
            state.begun = None;
        }
        let round = record.map_or(state.client.answered(), |record: Record| {
            u32::try_from(record.round).unwrap_or(u32::MAX)
        });
        self.conclude(running, &state, number, round, action)
    }

    /// Stores the end of a message that needed no training.
    fn conclude(
        &self,
        running: &Running,
        state: &State,
        number: u64,
        round: u32,
        action: ClientAction,
    ) -> Result<(), EnvoyError> {
        let messages = match action {
            ClientAction::Send(message) => vec![message.encode()],
            ClientAction::Repeat { .. } => {
                Vec::from_iter(self.memory.last_sent(running.id, round)?)
            }
            _ => Vec::new(),
        };
        Ok(self.memory.settle(&Outcome {
            experiment: running.id,
            number,
            round,
            done: true,
            messages,
            state: state.stored(false),
            mark: None,
        })?)
    }

    fn train(
        &self,
        running: &Running,
        number: u64,
        request: TrainRequest,
        now: Duration,
    ) -> Result<(), EnvoyError> {
        let round = request.round;
        let mut state = awake(running)?;
        let action = match running.unplanned(&request) {
            Some(reason) => ClientAction::Send(ClientMessage::Failed { round, reason }),
            None => state.client.receive(ServerMessage::Train(request), now),
        };
        for finding in state.client.take_findings() {
            self.say(&format!(
                "experiment {}, round {round}: guard: {finding}",
                running.id
            ));
        }
        let job = match action {
            ClientAction::Train(job) => job,
            other => return self.conclude(running, &state, number, round, other),
        };
        if let Some(first) = &job.first {
            // The keys go out at once, and the record of the session with them.
            state.begun = session_of(first).map(|index| Session {
                number,
                round,
                index,
            });
            state.lost = None;
            self.memory.settle(&Outcome {
                experiment: running.id,
                number,
                round,
                done: false,
                messages: vec![first.encode()],
                state: state.stored(false),
                mark: None,
            })?;
            self.notify();
        }
        drop(state);
        let result = match self
            .charge(running, round)
            .and_then(|()| running.train(&job))
        {
            Ok(update) => Ok(update),
            Err(Untrained::Failed(error)) => Err(error),
            Err(Untrained::Again(error)) => return Err(error),
        };
        let threads = self.config.threads.unwrap_or(1) as usize;
        let mut state = awake(running)?;
        let message = state
            .client
            .trained(round, result)
            .and_then(|message| running.protect(&mut state.client, message, round, threads, now));
        let dataset = &running.plan.contract.dataset;
        let mark = self.ledger.mark(dataset);
        Ok(self.memory.settle(&Outcome {
            experiment: running.id,
            number,
            round,
            done: true,
            messages: message.iter().map(ClientMessage::encode).collect(),
            state: state.stored(true),
            mark: mark.map(|mark| (dataset.clone(), mark)),
        })?)
    }

    /// Puts on the ledger what the training will release, before it begins.
    fn charge(&self, running: &Running, round: u32) -> Result<(), Untrained> {
        let budget = self.config.policy.budget.as_ref();
        let charged = self.ledger.charge(running.charged(), round, budget);
        match (charged.map_err(Untrained::Again)?, budget) {
            (Charge::Exceeds(epsilon), Some(budget)) => {
                Err(LearnerError(over(epsilon, budget)).into())
            }
            _ => Ok(()),
        }
    }
}

/// The site's index in the session that a first message of its joins.
fn session_of(first: &ClientMessage) -> Option<u32> {
    let ClientMessage::Secure(bytes) = first else {
        return None;
    };
    match SumMessage::decode(bytes, 0, 0) {
        Ok((SumMessage::Advertise(advert), _)) => Some(advert.index),
        _ => None,
    }
}

/// What answers a message of a session whose secrets are gone: the server asks each of its members at every stage, and would wait.
fn farewell(message: &ServerMessage, lost: Option<Session>) -> Option<ClientMessage> {
    let (ServerMessage::Secure(bytes), Some(lost)) = (message, lost) else {
        return None;
    };
    let (_, header) = peek(bytes).ok()?;
    if header.round != u64::from(lost.round) {
        return None;
    }
    let reason = Abort::State {
        got: "a message",
        after: "a restart",
    };
    let message = SumMessage::Abort {
        index: lost.index,
        code: reason.code(),
    };
    Some(ClientMessage::Secure(message.encode(header)))
}

/// The state, unless another has taken its place.
fn awake(running: &Running) -> Result<std::sync::MutexGuard<'_, State>, EnvoyError> {
    let state = lock(&running.state);
    match state.retired {
        true => Err(EnvoyError::Unknown(running.id)),
        false => Ok(state),
    }
}

/// The bytes of a message, no more of them than one of the experiment can have.
fn read(running: &Running, number: u64, path: &Path) -> Result<Vec<u8>, EnvoyError> {
    let most = running.longest();
    let file = File::open(path).map_err(EnvoyError::file("open", path))?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(EnvoyError::file("read", path))?;
    match bytes.len() as u64 {
        length if length > most => Err(EnvoyError::TooLong {
            experiment: running.id,
            number,
            bytes: path.metadata().map_or(length, |meta| meta.len()),
            most,
        }),
        _ => Ok(bytes),
    }
}

/// Whether two plans ask for the same training. Step lengths may differ in their last bits: each side has raised the decay to a
/// power on its own machine.
fn is_same(planned: &TrainPlan, asked: &TrainPlan) -> bool {
    let (mine, theirs) = (planned.learning_rate, asked.learning_rate);
    let near = (mine - theirs).abs() <= 1e-5 * mine.abs();
    let asked = TrainPlan {
        learning_rate: mine,
        ..asked.clone()
    };
    near && asked == *planned
}

/// The site's place in a roster; one that has no such client is refused by the first session.
fn place_of(roster: &cloister_secagg::Roster, client: ClientId) -> u32 {
    let name = roster_name(client);
    let entries = roster.entries();
    let place = entries.iter().position(|entry| entry.client == name);
    place.map_or(u32::MAX, |place| place as u32)
}

/// Noise of `[defence]` that the director cannot draw again.
fn secret_noise() -> Result<DefenceNoise, String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(DefenceNoise::secret(seed))
}

/// Fresh secrets of a session, from the operating system.
fn secrets() -> Result<Secrets, String> {
    let mut secrets = Secrets {
        r: [0; 32],
        b: [0; 32],
        c: [0; 32],
        z: [0; 32],
    };
    let Secrets { r, b, c, z } = &mut secrets;
    for bytes in [r, b, c, z] {
        getrandom::fill(bytes)
            .map_err(|error| format!("the system gives no randomness: {error}"))?;
    }
    Ok(secrets)
}
