//! The messages of a round: who answers when, and what the attackers make of theirs.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloister_host::Spending;
use cloister_protocol::defence::DefenceNoise;
use cloister_protocol::message::{ClientMessage, ServerMessage};
use cloister_protocol::{
    Client, ClientAction, ClientId, Protection, Purpose, Server, TrainJob, Update,
};
use cloister_redteam::{AttackError, Knowledge, OwnUpdate, View};
use cloister_report::record::{Event, event_kind};
use cloister_secagg::message::Kind;

use super::exchange::Gone;
use super::{Run, lock};
use crate::attackers::Attackers;
use crate::clock::Stopwatch;
use crate::error::SimError;
use crate::faults::{self, Fate};
use crate::federation::Federation;
use crate::ordered::for_each_ordered;

/// The kind of the event of a round in which the attack could not be made.
const ATTACK_FAILED: &str = "attack-failed";

/// What members answer at once.
type Answers = Vec<(ClientId, ClientMessage)>;

/// A cohort member that will answer.
pub(super) struct Delivery {
    client: ClientId,
    job: TrainJob,
    at: Duration,
    garbled: bool,
}

/// How the round's messages are to be delivered.
#[derive(Default)]
pub(super) struct Schedule {
    deliveries: Vec<Delivery>,
    /// Members that are gone, and since when.
    pub(super) dropouts: Gone,
}

impl Run<'_> {
    /// Takes the calls out of the server and decides what becomes of each. Keys and shares of a secure sum are exchanged here:
    /// only its masked updates come after the training. The round has ended already if the cohort is empty.
    pub(super) fn schedule(&mut self) -> Schedule {
        let calls = self.drain();
        let mut schedule = Schedule::default();
        let (jobs, mut first) = self.called(calls);
        for (client, job) in jobs {
            let examples = self.federation.rows(client).len();
            let fate = faults::fate(
                &self.federation.experiment.faults,
                &self.federation.streams,
                job.round,
                client,
                job.plan.step_count(examples),
            );
            let mut after = Duration::ZERO;
            let mut garbled = false;
            match fate {
                Fate::Dropout { from } => {
                    let from = match job.first {
                        Some(_) => from,
                        None => Kind::Advertise,
                    };
                    schedule.dropouts.insert(client, from);
                    self.dropped(job.round, client, from);
                }
                Fate::Reply {
                    after: time,
                    garbled: bad,
                } => (after, garbled) = (time, bad),
            }
            let gone = schedule.dropouts.get(&client).copied();
            if gone != Some(Kind::Advertise)
                && let Some(message) = job.first.clone()
            {
                first.push((client, message));
            }
            let at = self.virtual_now.saturating_add(after);
            let uploads = gone.is_none_or(|from| from as u8 > Kind::Masked as u8);
            if uploads {
                schedule.deliveries.push(Delivery {
                    client,
                    job,
                    at,
                    garbled,
                });
            }
        }
        schedule
            .deliveries
            .sort_by_key(|delivery| (delivery.at, delivery.client));
        self.share_keys(first, &schedule);
        // Too late to change anything: not trained at all.
        if let Some(deadline) = self.server.deadline() {
            schedule
                .deliveries
                .retain(|delivery| delivery.at < deadline);
        }
        schedule
    }

    /// The members' jobs, in the order of the calls, and the answers of those that do not train; members of a secure sum make
    /// their keys side by side.
    fn called(
        &mut self,
        calls: impl IntoIterator<Item = (ClientId, ServerMessage)>,
    ) -> (Vec<(ClientId, TrainJob)>, Answers) {
        let calls: Vec<(ClientId, ServerMessage)> = calls.into_iter().collect();
        let mut jobs = Vec::with_capacity(calls.len());
        let mut answers = Vec::new();
        let threads = match self.keys {
            Some(_) => self.options.threads,
            None => 1,
        };
        for_each_ordered(
            &calls,
            threads,
            |(client, message)| {
                lock(&self.clients[client.0 as usize]).receive(message.clone(), self.virtual_now)
            },
            |(client, _), action| {
                match action {
                    ClientAction::Train(job) => jobs.push((*client, job)),
                    ClientAction::Send(message) => answers.push((*client, message)),
                    _ => {}
                }
                ControlFlow::Continue(())
            },
        );
        for (client, _) in &calls {
            let findings = lock(&self.clients[client.0 as usize]).take_findings();
            let (round, name) = (self.server.round(), self.federation.name(*client));
            let events = findings.iter();
            let events = events.map(|finding| cloister_host::guard_finding(round, &name, finding));
            self.pending.extend(events);
        }
        (jobs, answers)
    }

    fn dropped(&mut self, round: u32, client: ClientId, from: Kind) {
        let message = match from {
            Kind::Shares => "gone before it shared its keys",
            Kind::Masked => "gone before it sent its update",
            Kind::Ack => "gone before it acknowledged the survivors",
            Kind::Reveal => "gone before it helped to unmask",
            _ => "never answered",
        };
        let mut event = Event::new(round, event_kind::DROPPED, message);
        event.client = Some(self.federation.name(client));
        self.pending.push(event);
    }

    /// The first messages of a secure sum, up to the point where masked updates are awaited.
    /// Where nothing is masked, the refusals of members that do not train.
    fn share_keys(&mut self, first: Vec<(ClientId, ClientMessage)>, schedule: &Schedule) {
        if self.keys.is_none() && first.is_empty() {
            return;
        }
        let now = self.virtual_now;
        for (client, from) in &schedule.dropouts {
            if *from == Kind::Advertise {
                self.server.lost(*client, now);
            }
        }
        self.exchange(first, &schedule.dropouts, now);
    }

    /// Puts on the ledger what the trainings of a round will release, before the first of them begins.
    pub(super) fn commit_trainings(&mut self, schedule: &Schedule) -> Result<(), SimError> {
        let federation = self.federation;
        let round = self.server.round();
        let Some(privacy) = &mut self.privacy else {
            return Ok(());
        };
        let clients = schedule.deliveries.iter().map(|delivery| {
            let client = delivery.client;
            let examples = federation.rows(client).len() as u64;
            (federation.name(client), examples)
        });
        Ok(privacy.commit_trainings(round, clients)?)
    }

    /// Trains and delivers the members' replies until the round has what it wants.
    pub(super) fn deliver(&mut self, schedule: &Schedule) {
        let attacked = |attackers: &Attackers| {
            let misbehaves =
                |delivery: &Delivery| attackers.misbehaves(delivery.client, delivery.job.round);
            schedule.deliveries.iter().any(misbehaves)
        };
        if self.attackers.as_ref().is_some_and(attacked) {
            self.deliver_attacked(schedule);
        } else {
            self.deliver_as_trained(schedule);
        }
    }

    /// Trains and delivers in the order of the virtual clock.
    fn deliver_as_trained(&mut self, schedule: &Schedule) {
        let federation = self.federation;
        let privacy = self.privacy.as_ref();
        let training_nanos = &self.training_nanos;
        let (server, clients) = (&mut self.server, &self.clients);
        for_each_ordered(
            &schedule.deliveries,
            self.options.threads,
            |delivery| {
                let result = timed(training_nanos, || {
                    federation.train(delivery.client, &delivery.job, privacy)
                });
                let mut client = lock(&clients[delivery.client.0 as usize]);
                let message = client.trained(delivery.job.round, result)?;
                protect(federation, &mut client, privacy, delivery, message, true)
            },
            |delivery, message| {
                if let Some(message) = message {
                    hand_over(federation, server, delivery, message);
                }
                match server.takes_updates() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            },
        );
    }

    /// The attackers wait for what they want to see: everybody trains before the first message is delivered. Only then
    /// does the virtual clock run, so that an attacker is neither early nor late for having waited.
    fn deliver_attacked(&mut self, schedule: &Schedule) {
        let Some(mut attackers) = self.attackers.take() else {
            return;
        };
        let federation = self.federation;
        let privacy = self.privacy.as_ref();
        let training_nanos = &self.training_nanos;
        let clients = &self.clients;
        let mut messages = Vec::with_capacity(schedule.deliveries.len());
        for_each_ordered(
            &schedule.deliveries,
            self.options.threads,
            |delivery| {
                let Delivery { client, job, .. } = delivery;
                timed(training_nanos, || {
                    match attackers.misbehaves(*client, job.round) {
                        true => attackers.train(federation, *client, job),
                        false => federation.train(*client, job, privacy),
                    }
                })
            },
            |delivery, result| {
                let mut client = lock(&clients[delivery.client.0 as usize]);
                messages.push(client.trained(delivery.job.round, result));
                ControlFlow::Continue(())
            },
        );
        if let Err(error) = self.craft(&mut attackers, schedule, &mut messages) {
            let message = format!("the attackers send what they trained: {error}");
            let event = Event::new(self.server.round(), ATTACK_FAILED, message);
            self.pending.push(event);
        }
        for (delivery, message) in schedule.deliveries.iter().zip(messages) {
            if !self.server.takes_updates() {
                break;
            }
            let mut client = lock(&self.clients[delivery.client.0 as usize]);
            let is_honest = !attackers.misbehaves(delivery.client, delivery.job.round);
            let message = message.and_then(|message| {
                protect(
                    federation,
                    &mut client,
                    privacy,
                    delivery,
                    message,
                    is_honest,
                )
            });
            drop(client);
            if let Some(message) = message {
                hand_over(federation, &mut self.server, delivery, message);
            }
        }
        self.attackers = Some(attackers);
    }

    /// Replaces the updates of the malicious members by what the adversary makes of them.
    fn craft(
        &self,
        attackers: &mut Attackers,
        schedule: &Schedule,
        messages: &mut [Option<ClientMessage>],
    ) -> Result<(), AttackError> {
        let sees_all = attackers.adversary.sees() == Knowledge::All;
        let mut own: Vec<(OwnUpdate, usize)> = Vec::new();
        let mut others: Vec<(u32, &[f32])> = Vec::new();
        for (place, (delivery, message)) in schedule.deliveries.iter().zip(&*messages).enumerate() {
            let Some(ClientMessage::Reply(reply)) = message else {
                continue;
            };
            let client = delivery.client.0;
            if attackers.misbehaves(delivery.client, reply.round) {
                let update = Update {
                    examples: reply.examples.unsigned_abs(),
                    loss: reply.loss,
                    values: reply.update.clone(),
                };
                own.push((OwnUpdate { client, update }, place));
            } else if sees_all {
                others.push((client, &reply.update));
            }
        }
        own.sort_by_key(|(own, _)| own.client);
        others.sort_by_key(|(client, _)| *client);
        let (clients, honest): (Vec<u32>, Vec<&[f32]>) = others.into_iter().unzip();
        let (mut own, places): (Vec<OwnUpdate>, Vec<usize>) = own.into_iter().unzip();
        let view = View {
            round: self.server.round(),
            global: self.server.global(),
            honest: &honest,
            clients: &clients,
            cohort: schedule.deliveries.len(),
            aggregator: self.server.aggregator(),
            threads: self.options.threads,
        };
        attackers.adversary.craft(&view, &mut own)?;
        for (place, own) in places.into_iter().zip(own) {
            if let Some(ClientMessage::Reply(reply)) = &mut messages[place] {
                reply.update = own.update.values;
                reply.loss = own.update.loss;
                reply.examples = i64::try_from(own.update.examples).unwrap_or(i64::MAX);
            }
        }
        Ok(())
    }

    /// Ends a round that still waits: at its deadline, or, without one, as soon as the last message is in. A secure sum is
    /// unmasked then.
    pub(super) fn close(&mut self, schedule: &Schedule) {
        let last = schedule
            .deliveries
            .last()
            .map_or(self.virtual_now, |delivery| delivery.at);
        let at = match self.server.deadline() {
            Some(deadline) if self.server.takes_updates() => {
                self.server.tick(deadline);
                deadline
            }
            Some(_) => last,
            None => {
                for (client, from) in &schedule.dropouts {
                    if *from as u8 <= Kind::Masked as u8 {
                        self.server.lost(*client, last);
                    }
                }
                last
            }
        };
        self.exchange(Vec::new(), &schedule.dropouts, at);
    }
}

/// What a client sends of its answer: defended, if it is honest, and masked, if the run has secure sums.
fn protect(
    federation: &Federation,
    client: &mut Client,
    privacy: Option<&Spending>,
    delivery: &Delivery,
    message: ClientMessage,
    is_honest: bool,
) -> Option<ClientMessage> {
    let (round, place) = (delivery.job.round, delivery.client);
    let defence = DefenceNoise::seeded(&federation.streams, round, place);
    let mut rounding = federation.streams.stream(Purpose::Rounding, round, place.0);
    let mut source = None;
    if let Some(privacy) = privacy.filter(|privacy| privacy.plan().is_distributed()) {
        match privacy.client_noise(round, place) {
            Ok(noise) => source = Some((privacy.plan(), noise)),
            Err(error) => {
                let reason = error.to_string();
                return Some(ClientMessage::Failed { round, reason });
            }
        }
    }
    let protection = Protection {
        rounding: &mut rounding,
        defence: is_honest.then_some(defence),
        noise: source.as_mut().map(|(plan, noise)| (*plan, noise)),
        threads: 1,
        now: delivery.at,
    };
    client.protect(message, protection)
}

/// Delivers a reply: as it is, or with its bytes garbled on the way.
fn hand_over(
    federation: &Federation,
    server: &mut Server,
    delivery: &Delivery,
    message: ClientMessage,
) {
    let Delivery { client, at, .. } = *delivery;
    if delivery.garbled {
        let mut bytes = message.encode();
        faults::garble(&mut bytes, &federation.streams, delivery.job.round, client);
        server.receive_bytes(client, &bytes, at);
    } else {
        server.receive(client, message, at);
    }
}

/// Does `work` and adds the time it took to `nanos`.
fn timed<T>(nanos: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let watch = Stopwatch::start();
    let result = work();
    let elapsed = u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    nanos.fetch_add(elapsed, Ordering::Relaxed);
    result
}
