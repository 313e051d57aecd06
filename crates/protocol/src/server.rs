//! The server's side of a round.

mod conclude;
mod event;
mod private;
mod recording;
mod round;
mod secure;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cloister_privacy::Receipt;
use cloister_privacy::mechanism::adaptive_clip::AdaptiveClip;
use cloister_privacy::noise::NoiseSource;
use cloister_robust::{AggregationConfig, Aggregator, AggregatorState};
use cloister_secagg::Identity;

use crate::aggregation::{Aggregation, Replies};
use crate::config::{FederationConfig, ServerConfig, TrainConfig};
use crate::error::{ClientId, ProtocolError, Refusal};
use crate::message::{ClientMessage, LayoutDigest, ServerMessage, TrainReply, TrainRequest};
use crate::privacy::PrivacyPlan;
use crate::sampling;
use crate::secure::SecurePlan;
use crate::server_optimizer::ServerOptimizer;
use crate::streams::{Purpose, Streams};
use crate::sum::{ExactSum, MAX_WEIGHT, Unfit};

pub use event::{ClientVerdict, MaskedReport, RoundReport, ServerEvent, ServerOutput};
use private::PrivateMean;
pub(crate) use private::PrivateSum;
use recording::Recording;
use round::{Member, Round};
pub(crate) use secure::SecureRound;
pub use watch::ReplyFigures;
use watch::Watch;

/// The tables that decide what a server does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSettings {
    /// Cohorts, rounds, waiting.
    pub federation: FederationConfig,
    /// Local training.
    pub train: TrainConfig,
    /// Server optimiser.
    pub server: ServerConfig,
    /// Rule, steps before it, weights.
    pub aggregation: AggregationConfig,
    /// What adds noise; `None` if nothing does.
    pub privacy: Option<PrivacyPlan>,
    /// How updates are masked; `None` if the server sees them.
    pub secure: Option<SecurePlan>,
}

/// All that a server must remember between rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerState {
    /// Rounds done.
    pub round: u32,
    /// Global parameters.
    pub global: Vec<f32>,
    /// First moment of the server optimiser.
    pub first: Vec<f32>,
    /// Second moment of the server optimiser.
    pub second: Vec<f32>,
    /// What the rule remembers.
    pub aggregator: AggregatorState<f32>,
    /// The clipping norm that follows a quantile, where there is one.
    pub clip: Option<AdaptiveClip>,
}

/// The server of a federation. See the crate's overview for what it promises.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    layout: LayoutDigest,
    streams: Streams,
    global: Arc<[f32]>,
    optimizer: ServerOptimizer,
    aggregation: Aggregation,
    private: Option<PrivateMean>,
    identity: Option<Identity>,
    roster: BTreeMap<ClientId, u32>,
    round: u32,
    current: Option<Round>,
    recording: Option<Box<Recording>>,
    watch: Option<Box<Watch>>,
    output: VecDeque<ServerOutput>,
    bytes_up: u64,
    bytes_down: u64,
}

impl Server {
    /// A server that starts from the parameters `global` of the model with this `layout`.
    ///
    /// # Errors
    /// [`ProtocolError::Aggregation`] if a parameter of the rule is out of its range, [`ProtocolError::Privacy`] if one of
    /// the mechanism is.
    pub fn new(
        settings: ServerSettings,
        layout: LayoutDigest,
        global: Vec<f32>,
        streams: Streams,
    ) -> Result<Self, ProtocolError> {
        let optimizer = ServerOptimizer::new(settings.server.clone(), global.len());
        let aggregation = Aggregation::new(settings.aggregation.clone())?;
        let private = match &settings.privacy {
            Some(plan) if plan.at_server() => Some(PrivateMean::new(plan.clone())?),
            _ => None,
        };
        Ok(Self {
            settings,
            layout,
            streams,
            global: global.into(),
            optimizer,
            aggregation,
            private,
            identity: None,
            roster: BTreeMap::new(),
            round: 0,
            current: None,
            recording: None,
            watch: None,
            output: VecDeque::new(),
            bytes_up: 0,
            bytes_down: 0,
        })
    }

    /// Gives the server its noise and its coins; due before the first round of a run whose noise the server adds.
    pub fn use_noise(&mut self, source: NoiseSource) {
        if let Some(private) = &mut self.private {
            private.use_noise(source);
        }
    }

    /// Draws the noise of a round that was released before the server was restored, so that the noise of the next belongs to
    /// it; only for noise that a seed repeats. Due once for each of those rounds, in their order.
    ///
    /// # Errors
    /// [`ProtocolError::Privacy`] for more rounds than the plan has.
    pub fn replay_noise(&mut self, source: NoiseSource) -> Result<(), ProtocolError> {
        match &mut self.private {
            Some(private) => Ok(private.replay(self.global.len(), source)?),
            None => Ok(()),
        }
    }

    /// Lets the round of `receipt` begin: the ledger has its release.
    pub fn committed(&mut self, receipt: &Receipt) {
        if let Some(private) = &mut self.private {
            private.commit(receipt);
        }
    }

    /// Lets the rule work on so many threads; the result does not depend on it.
    pub fn use_threads(&mut self, threads: usize) {
        self.aggregation.threads = threads.max(1);
    }

    /// The deployed rule with its memory, as a well-informed attacker would have it.
    pub fn aggregator(&self) -> &Aggregator<f32> {
        &self.aggregation.aggregator
    }

    /// Whether the rule compares replies with an update of the server's own.
    pub fn needs_trusted_update(&self) -> bool {
        self.aggregation.needs_trusted_update()
    }

    /// Gives the rule the server's own update of the round in progress. Due before the last reply: a round without it
    /// is abandoned.
    pub fn trust(&mut self, update: Vec<f32>) {
        if let Some(round) = &mut self.current {
            round.trusted = Some(update);
        }
    }

    /// The global parameters.
    pub fn global(&self) -> &Arc<[f32]> {
        &self.global
    }

    /// Rounds begun so far.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Whether a round is in progress.
    pub fn in_round(&self) -> bool {
        self.current.is_some()
    }

    /// Whether an update that comes now can still count.
    pub fn takes_updates(&self) -> bool {
        match self.current.as_ref().map(|round| round.replies.secure()) {
            None => false,
            Some(None) => true,
            Some(Some(secure)) => secure.takes_updates(),
        }
    }

    /// Whether all rounds of the plan have ended.
    pub fn is_finished(&self) -> bool {
        self.current.is_none() && self.round >= self.settings.federation.rounds
    }

    /// When the round in progress stops waiting.
    pub fn deadline(&self) -> Option<Duration> {
        let seconds = self.settings.federation.deadline?;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if let Some(stage) = self.stage_deadline(wait) {
            return Some(stage);
        }
        Some(self.current.as_ref()?.started.saturating_add(wait))
    }

    /// What the host has not yet taken, oldest first.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        self.output.pop_front()
    }

    /// Enrols `client` with `examples` examples; it may be drawn from the next round on.
    ///
    /// # Errors
    /// [`ProtocolError`] if it is enrolled already, or the count is zero or above [`MAX_WEIGHT`].
    pub fn enroll(&mut self, client: ClientId, examples: u64) -> Result<(), ProtocolError> {
        if self.roster.contains_key(&client) {
            return Err(ProtocolError::AlreadyEnrolled(client));
        }
        match u32::try_from(examples) {
            Ok(count) if (1..=MAX_WEIGHT).contains(&count) => {
                self.roster.insert(client, count);
                Ok(())
            }
            _ => Err(ProtocolError::EnrolledExamples {
                client,
                examples,
                most: MAX_WEIGHT.into(),
            }),
        }
    }

    /// Draws the next cohort and calls it.
    ///
    /// # Errors
    /// [`ProtocolError`] if a round is in progress, all rounds are done, nobody is enrolled, or the server is to add noise
    /// and has none, or the ledger does not have the release.
    pub fn begin_round(&mut self, now: Duration) -> Result<(), ProtocolError> {
        if self.current.is_some() {
            return Err(ProtocolError::RoundInProgress(self.round));
        }
        if self.is_finished() {
            return Err(ProtocolError::Finished(self.settings.federation.rounds));
        }
        if self.roster.is_empty() {
            return Err(ProtocolError::NobodyEnrolled);
        }
        let round = self.round + 1;
        let roster: Vec<ClientId> = self.roster.keys().copied().collect();
        let federation = &self.settings.federation;
        let (cohort, replies) = match &mut self.private {
            Some(private) => {
                let cohort = private.draw(federation, &roster, round);
                let cohort = cohort.ok_or(ProtocolError::NotCommitted(round))?;
                let sum = private.begin(self.global.len(), self.round)?;
                let members = BTreeSet::new();
                (cohort, Replies::Private { sum, members })
            }
            None => {
                let mut rng = self.streams.stream(Purpose::Cohort, round, 0);
                let cohort = sampling::draw(federation, &roster, &mut rng);
                (cohort, self.aggregation.collect(self.global.len()))
            }
        };
        let (replies, secure, refused) = match &self.settings.secure {
            Some(plan) => match self.open_session(plan, round, &cohort.members, now) {
                Ok((secure, params)) => (Replies::Secure(Box::new(secure)), Some(params), None),
                Err(error) => (replies, None, Some(error.to_string())),
            },
            None => (replies, None, None),
        };
        self.round = round;
        self.current = Some(Round {
            started: now,
            wanted: cohort.wanted,
            members: cohort
                .members
                .iter()
                .map(|client| (*client, Member::Waiting))
                .collect(),
            waiting: cohort.members.len(),
            replies,
            trusted: None,
        });
        if let Some(watch) = &mut self.watch {
            let (parameters, cohort) = (self.global.len(), cohort.members.len());
            watch.begin(&self.streams, self.round, parameters, cohort);
        }
        self.event(ServerEvent::RoundStarted {
            round: self.round,
            cohort: cohort.members.clone(),
        });
        if let Some(reason) = refused {
            self.conclude(now, |_, _| Err(reason));
            return Ok(());
        }
        let request = TrainRequest {
            round: self.round,
            layout: self.layout,
            plan: self.settings.train.plan(self.round),
            global: Arc::clone(&self.global),
            secure,
        };
        self.recording = self
            .recording
            .take()
            .and_then(|armed| armed.begin(&request));
        let message = ServerMessage::Train(request);
        for client in cohort.members {
            self.send(client, message.clone());
        }
        self.settle(now);
        Ok(())
    }

    /// Tells every enrolled client that the run is over.
    pub fn finish(&mut self) {
        for client in self.roster.keys().copied().collect::<Vec<_>>() {
            self.send(client, ServerMessage::Finished);
        }
    }

    /// Takes the bytes of a client's message. `from` is what the transport has authenticated, never a claim.
    pub fn receive_bytes(&mut self, from: ClientId, bytes: &[u8], now: Duration) {
        self.tick(now);
        self.bytes_up += bytes.len() as u64;
        self.hear(from, || bytes.to_vec());
        match ClientMessage::decode(bytes, self.global.len()) {
            Ok(message) => self.take(from, message, now),
            Err(error) => self.refuse_member(from, error.into(), now),
        }
    }

    /// Takes a client's message in one process, counted as the bytes that it would have on a wire.
    pub fn receive(&mut self, from: ClientId, message: ClientMessage, now: Duration) {
        self.tick(now);
        self.bytes_up += message.encoded_len() as u64;
        self.hear(from, || message.encode());
        self.take(from, message, now);
    }

    /// The host knows that `client` will not answer in this round. Should its reply come all the same while the round
    /// lasts, it is taken.
    pub fn lost(&mut self, client: ClientId, now: Duration) {
        self.tick(now);
        let Some(round) = &mut self.current else {
            return;
        };
        if round.members.get(&client) == Some(&Member::Waiting) {
            round.resolve(client, Member::Lost);
            self.event(ServerEvent::Lost {
                round: self.round,
                client,
            });
        }
        // Its update may be in a secure sum already, which then has to be unmasked without it.
        self.lose_in_session(client);
        self.settle(now);
    }

    /// Lets time pass: ends the round if its deadline has come.
    pub fn tick(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| now >= deadline) && !self.close_stage(now) {
            self.end_round(now);
        }
    }

    fn take(&mut self, from: ClientId, message: ClientMessage, now: Duration) {
        match message {
            ClientMessage::Enroll { examples, layout } => {
                self.take_enrolment(from, examples, layout)
            }
            ClientMessage::Failed { round, reason } => match self.awaited(from, round) {
                Ok(()) => self.refuse_member(from, Refusal::Failed(reason), now),
                Err(refusal) => self.refuse(from, refusal),
            },
            ClientMessage::Secure(bytes) => self.take_secure(from, &bytes, now),
            ClientMessage::Reply(reply) => match self.awaited(from, reply.round) {
                Ok(()) => self.take_reply(from, reply, now),
                Err(refusal) => self.refuse(from, refusal),
            },
            ClientMessage::Compact(reply) => match self.awaited(from, reply.round) {
                Ok(()) => self.take_reply(from, reply.expand(), now),
                Err(refusal) => self.refuse(from, refusal),
            },
        }
    }

    fn take_reply(&mut self, from: ClientId, reply: TrainReply, now: Duration) {
        if self.settings.secure.is_some() {
            let reason = "a plain update, where all are masked";
            return self.refuse_member(from, Refusal::Masking(reason), now);
        }
        match self.check(from, &reply) {
            Ok(weight) => self.accept(from, reply, weight, now),
            Err(refusal) => self.refuse_member(from, refusal, now),
        }
    }

    fn take_enrolment(&mut self, from: ClientId, examples: u64, layout: LayoutDigest) {
        if layout != self.layout {
            return self.refuse(from, Refusal::WrongLayout);
        }
        match self.enroll(from, examples) {
            // A client that restarted presents itself again; its first count stands.
            Ok(()) | Err(ProtocolError::AlreadyEnrolled(_)) => {}
            Err(_) => self.refuse(
                from,
                Refusal::ExampleCount {
                    claimed: i64::try_from(examples).unwrap_or(i64::MAX),
                    enrolled: MAX_WEIGHT.into(),
                },
            ),
        }
    }

    /// Whether an answer of `from` to `round` is still awaited. A message that is out of place says nothing about the
    /// sender's answer to the round in progress, so a refusal here leaves its standing alone.
    fn awaited(&self, from: ClientId, round: u32) -> Result<(), Refusal> {
        if !self.roster.contains_key(&from) {
            return Err(Refusal::NotEnrolled);
        }
        let Some(current) = &self.current else {
            return Err(if round == self.round {
                Refusal::Late { round }
            } else {
                Refusal::WrongRound {
                    expected: self.round,
                    got: round,
                }
            });
        };
        if round != self.round {
            return Err(Refusal::WrongRound {
                expected: self.round,
                got: round,
            });
        }
        match current.members.get(&from) {
            None => Err(Refusal::NotInCohort { round }),
            Some(Member::Waiting | Member::Lost) => Ok(()),
            Some(Member::Refused | Member::Accepted { .. }) => Err(Refusal::Repeated { round }),
        }
    }

    /// Everything about a reply but its values, which the sum itself checks; gives its weight.
    fn check(&self, from: ClientId, reply: &TrainReply) -> Result<u32, Refusal> {
        if reply.layout != self.layout {
            return Err(Refusal::WrongLayout);
        }
        if reply.update.len() != self.global.len() {
            return Err(Refusal::WrongLength {
                expected: self.global.len(),
                got: reply.update.len(),
            });
        }
        let enrolled = self.roster.get(&from).copied().unwrap_or(0);
        let examples = match u32::try_from(reply.examples) {
            Ok(examples) if (1..=enrolled).contains(&examples) => examples,
            _ => {
                return Err(Refusal::ExampleCount {
                    claimed: reply.examples,
                    enrolled: enrolled.into(),
                });
            }
        };
        if let Some(loss) = reply.loss.filter(|loss| !loss.is_finite() || *loss < 0.0) {
            return Err(Refusal::Loss(loss));
        }
        Ok(self.aggregation.weight(examples))
    }

    fn accept(&mut self, from: ClientId, reply: TrainReply, weight: u32, now: Duration) {
        let Some(round) = &mut self.current else {
            return;
        };
        let (examples, loss) = (reply.examples, reply.loss);
        let seen = self.watch.as_ref().map(|watch| {
            let examples = u64::try_from(examples).unwrap_or(0);
            watch.look(from, examples, loss, &reply.update)
        });
        if let Err((unfit, update)) = round.replies.add(from, reply.update, weight) {
            let refusal = unfit_refusal(unfit, &update, weight, self.round);
            return self.refuse_member(from, refusal, now);
        }
        round.resolve(from, Member::Accepted { weight, loss });
        if let (Some(watch), Some(seen)) = (&mut self.watch, seen) {
            watch.keep(seen);
        }
        self.keep(from, true);
        self.event(ServerEvent::Accepted {
            round: self.round,
            client: from,
            examples: u32::try_from(examples).unwrap_or(weight),
            loss,
        });
        self.settle(now);
    }

    /// Refuses a message without touching the sender's standing in the round.
    fn refuse(&mut self, client: ClientId, reason: Refusal) {
        self.event(ServerEvent::Refused {
            round: self.round,
            client,
            reason,
        });
    }

    /// Refuses a message and, if the sender's answer was awaited, counts it as given: a member has one try a round. A secure
    /// sum waits for more than the update, so its session loses the sender whatever its standing.
    fn refuse_member(&mut self, client: ClientId, reason: Refusal, now: Duration) {
        self.refuse(client, reason);
        if let Some(round) = &mut self.current
            && (round.resolve(client, Member::Refused) || round.replies.secure().is_some())
        {
            self.keep(client, false);
            self.lose_in_session(client);
            self.settle(now);
        }
    }

    /// Ends the round if it has all it wants, or if no more can come, or too few.
    fn settle(&mut self, now: Duration) {
        let Some(round) = &self.current else {
            return;
        };
        if round.replies.secure().is_some() {
            return self.follow_session(now);
        }
        let accepted = round.accepted();
        let minimum = self.minimum_replies();
        let complete = accepted >= round.wanted.max(minimum);
        if complete || round.waiting == 0 || accepted + round.waiting < minimum {
            self.end_round(now);
        }
    }

    /// Good replies without which neither the plan nor the rule lets a round complete.
    fn minimum_replies(&self) -> usize {
        if self.private.is_some() {
            return 0;
        }
        let planned = self.settings.federation.minimum_replies as usize;
        planned.max(self.aggregation.minimum_rows())
    }

    /// The state between rounds; while a round is in progress, that from before it, so that a restored server runs the
    /// round again.
    pub fn state(&self) -> ServerState {
        let (first, second) = self.optimizer.state();
        ServerState {
            round: self.round - u32::from(self.current.is_some()),
            global: self.global.to_vec(),
            first: first.to_vec(),
            second: second.to_vec(),
            aggregator: self.aggregation.aggregator.state().clone(),
            clip: self.private.as_ref().and_then(PrivateMean::state),
        }
    }

    /// Goes on from a stored state; the roster is enrolled anew by the host.
    ///
    /// # Errors
    /// [`ProtocolError`] if a round is in progress or a vector has the wrong length.
    pub fn restore(&mut self, state: ServerState) -> Result<(), ProtocolError> {
        if self.current.is_some() {
            return Err(ProtocolError::RoundInProgress(self.round));
        }
        if state.global.len() != self.global.len() {
            return Err(ProtocolError::StateMismatch {
                what: "global model",
                expected: self.global.len(),
                got: state.global.len(),
            });
        }
        self.aggregation
            .check_state(&state.aggregator, self.global.len())?;
        self.optimizer.restore(state.first, state.second)?;
        self.aggregation.aggregator.restore(state.aggregator);
        if let Some(private) = &mut self.private {
            private.restore(state.clip);
        }
        self.global = state.global.into();
        self.round = state.round;
        Ok(())
    }

    fn send(&mut self, to: ClientId, message: ServerMessage) {
        self.bytes_down += message.encoded_len() as u64;
        self.output.push_back(ServerOutput::Send { to, message });
    }

    fn event(&mut self, event: ServerEvent) {
        self.output.push_back(ServerOutput::Event(event));
    }
}

/// What the sum found wrong with a reply.
fn unfit_refusal(unfit: Unfit, update: &[f32], weight: u32, round: u32) -> Refusal {
    match unfit {
        Unfit::Entry { index } => match update.get(index).copied() {
            Some(value) if value.is_finite() => Refusal::OutOfRange {
                index,
                value,
                limit: ExactSum::limit(weight),
            },
            value => Refusal::NotFinite {
                index,
                value: value.unwrap_or(f32::NAN),
            },
        },
        // Length and weight were checked before; a full sum has all the replies that it can take.
        Unfit::Length | Unfit::Weight | Unfit::Full => Refusal::Late { round },
    }
}
