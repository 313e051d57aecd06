//! The messages of a round: who answers when, and what the attackers make of theirs.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloister_protocol::message::ClientMessage;
use cloister_protocol::{ClientAction, ClientId, RoundReport, Server, TrainJob, Update};
use cloister_redteam::{AttackError, Knowledge, OwnUpdate, View};
use cloister_report::record::{Event, event_kind};

use super::Run;
use crate::attackers::Attackers;
use crate::clock::Stopwatch;
use crate::error::SimError;
use crate::faults::{self, Fate};
use crate::federation::Federation;
use crate::ordered::for_each_ordered;

/// The kind of the event of a round in which the attack could not be made.
const ATTACK_FAILED: &str = "attack-failed";

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
    pub(super) dropouts: Vec<ClientId>,
}

impl Run<'_> {
    /// Takes the calls out of the server and decides what becomes of each. A report is there already if the cohort is
    /// empty.
    pub(super) fn schedule(&mut self) -> (Option<RoundReport>, Schedule) {
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
                    event.client = Some(self.federation.name(client));
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
        privacy.commit_trainings(round, clients)
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
        let (server, clients) = (&mut self.server, &mut self.clients);
        for_each_ordered(
            &schedule.deliveries,
            self.options.threads,
            |delivery| {
                timed(training_nanos, || {
                    federation.train(delivery.client, &delivery.job, privacy)
                })
            },
            |delivery, result| {
                let client = &mut clients[delivery.client.0 as usize];
                if let Some(message) = client.trained(delivery.job.round, result) {
                    hand_over(federation, server, delivery, message);
                }
                match server.in_round() {
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
        let clients = &mut self.clients;
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
                let client = &mut clients[delivery.client.0 as usize];
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
            if !self.server.in_round() {
                break;
            }
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

    /// Ends a round that still waits: at its deadline, or, without one, as soon as the last message is in.
    pub(super) fn close(&mut self, schedule: &Schedule) {
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
