//! A round whose server sees only sums.

use std::time::Duration;

use cloister_robust::RowVerdict;
use cloister_secagg::message::peek;
use cloister_secagg::quantise::{Mean, Quantiser};
use cloister_secagg::{Failure, Identity, Output, Rejection, Server as Session, Stage, Sum};
use rand::RngExt;

use super::conclude::Aggregate;
use super::{ClientVerdict, MaskedReport, Member, Server, ServerEvent};
use crate::error::{ClientId, ProtocolError, Refusal};
use crate::message::ServerMessage;
use crate::secure::{self, SecurePlan};
use crate::streams::Purpose;
use crate::transcript::Summed;

/// The secure sum of the round in progress.
#[derive(Debug)]
pub(crate) struct SecureRound {
    session: Box<Session>,
    /// By session index.
    clients: Vec<ClientId>,
    /// When the present stage began to be waited for.
    since: Duration,
    stage: Stage,
    /// Set when the session is over.
    ended: Option<Result<Vec<Sum>, Failure>>,
}

impl SecureRound {
    /// Vectors in the sum.
    pub(crate) fn count(&self) -> usize {
        match &self.ended {
            Some(Ok(sums)) => sums.iter().map(|sum| sum.members.len()).sum(),
            _ => self.session.added() as usize,
        }
    }

    /// Whether a masked update that comes now can still be added.
    pub(crate) fn takes_updates(&self) -> bool {
        self.session.stage() <= Stage::Masked
    }

    fn index_of(&self, client: ClientId) -> Option<u32> {
        let place = self.clients.binary_search(&client).ok()?;
        Some(place as u32)
    }
}

/// What the sums of a round say.
struct Unmasked {
    /// The update of each bucket, with who is in it and what it weighs.
    buckets: Vec<(Vec<ClientId>, Mean)>,
}

impl Unmasked {
    /// All buckets in one weighted mean.
    fn mean(&self, parameters: usize) -> Vec<f32> {
        if let [(_, only)] = self.buckets.as_slice() {
            return only.update.clone();
        }
        let total: u64 = self.buckets.iter().map(|(_, mean)| mean.weight).sum();
        let mut sum = vec![0.0_f64; parameters];
        for (_, mean) in &self.buckets {
            let share = mean.weight as f64 / total.max(1) as f64;
            for (sum, value) in sum.iter_mut().zip(&mean.update) {
                *sum += share * f64::from(*value);
            }
        }
        sum.into_iter().map(|value| value as f32).collect()
    }

    /// The sums, for a transcript.
    fn recorded(&self) -> Vec<Summed> {
        let buckets = self.buckets.iter();
        buckets
            .map(|(clients, mean)| Summed {
                clients: clients.clone(),
                weight: mean.weight,
                mean: mean.update.clone(),
            })
            .collect()
    }

    /// What the report says of the sums.
    fn report(&self) -> MaskedReport {
        let members: usize = self.buckets.iter().map(|(members, _)| members.len()).sum();
        let of = |figure: fn(&Mean) -> f64| {
            let parts = self.buckets.iter();
            parts
                .map(|(members, mean)| members.len() as f64 * figure(mean))
                .sum::<f64>()
        };
        MaskedReport {
            sums: self.buckets.len() as u32,
            smallest: self
                .buckets
                .iter()
                .map(|(members, _)| members.len() as u32)
                .min()
                .unwrap_or(0),
            clipped: self.buckets.iter().map(|(_, mean)| mean.clipped).sum(),
            norm: (of(|mean| mean.squared_norm) / members.max(1) as f64).sqrt(),
        }
    }

    /// Mean loss by the weights.
    fn loss(&self) -> f64 {
        let total: f64 = self
            .buckets
            .iter()
            .map(|(_, mean)| mean.weight as f64)
            .sum();
        let losses = self
            .buckets
            .iter()
            .map(|(_, mean)| mean.weight as f64 * mean.loss);
        losses.sum::<f64>() / total
    }

    /// What became of a bucket became of its members.
    fn verdicts(&self, rows: Vec<RowVerdict>) -> Vec<ClientVerdict> {
        let mut verdicts: Vec<ClientVerdict> = self
            .buckets
            .iter()
            .zip(rows)
            .flat_map(|((members, _), verdict)| {
                members.iter().map(move |client| ClientVerdict {
                    client: *client,
                    verdict: RowVerdict {
                        weight: verdict.weight.map(|weight| weight / members.len() as f64),
                        ..verdict
                    },
                })
            })
            .collect();
        verdicts.sort_by_key(|verdict| verdict.client);
        verdicts
    }
}

impl Server {
    /// Gives the server the key with which it signs the parameters of secure sums; due before the first round of a run whose
    /// clients do not trust it.
    pub fn use_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// Opens the secure sum of `round` for `cohort`; the parameters that its members must be sent.
    pub(super) fn open_session(
        &self,
        plan: &SecurePlan,
        round: u32,
        cohort: &[ClientId],
        now: Duration,
    ) -> Result<(SecureRound, std::sync::Arc<[u8]>), ProtocolError> {
        let mut clients = cohort.to_vec();
        clients.sort_unstable();
        let weight = |client: &ClientId| {
            let examples = self.roster.get(client).copied().unwrap_or(1);
            u64::from(self.aggregation.weight(examples))
        };
        let private = self.settings.privacy.as_ref();
        let params = plan.params(&secure::Session {
            round,
            cohort: &clients,
            coordinates: self.global.len(),
            nonce: self.streams.stream(Purpose::Nonce, round, 0).random(),
            model_hash: secure::model_hash(self.layout, &self.global),
            config_hash: secure::config_hash(self.layout, &self.settings.train.plan(round)),
            most_weight: clients.iter().map(weight).max().unwrap_or(1),
            patience: self
                .settings
                .federation
                .deadline
                .map(|s| (1000.0 * s) as u64),
            whole_lanes: private.is_some_and(|plan| plan.is_distributed()),
        })?;
        let roster = std::sync::Arc::clone(&plan.roster);
        let session = Session::new(params, roster, self.identity.clone());
        let mut session =
            session.map_err(|abort| ProtocolError::SecureAggregation(abort.to_string()))?;
        session.use_threads(self.aggregation.threads);
        // The parameters are the same for all: they travel with the model.
        let mut params = std::sync::Arc::from([]);
        while let Some(output) = session.poll_output() {
            if let Output::Send { message, .. } = output {
                params = message;
            }
        }
        let round = SecureRound {
            session: Box::new(session),
            clients,
            since: now,
            stage: Stage::Advertise,
            ended: None,
        };
        Ok((round, params))
    }

    /// Takes a message of the round's secure sum.
    pub(super) fn take_secure(&mut self, from: ClientId, bytes: &[u8], now: Duration) {
        let round = self.round;
        let Some(secure) = self.secure_round() else {
            let refusal = match peek(bytes) {
                // Only the round in progress can have masks.
                Ok((_, header)) if header.round == u64::from(round) => Refusal::Late { round },
                _ => Refusal::Masking("a masked message, where nothing is masked"),
            };
            return self.refuse(from, refusal);
        };
        let Some(index) = secure.index_of(from) else {
            return self.refuse(from, Refusal::NotInCohort { round });
        };
        match secure.session.receive(index, bytes) {
            Ok(()) => {}
            Err(reason @ (Rejection::NotAwaited { .. } | Rejection::OtherRound { .. })) => {
                self.refuse(from, reason.into());
            }
            Err(reason) => {
                secure.session.lost(index);
                self.refuse_member(from, reason.into(), now);
            }
        }
        self.follow_session(now);
    }

    /// The session goes on without `client`.
    pub(super) fn lose_in_session(&mut self, client: ClientId) {
        if let Some(secure) = self.secure_round()
            && let Some(index) = secure.index_of(client)
        {
            secure.session.lost(index);
        }
    }

    /// Closes the stage that the round's secure sum waits in; false if the round has none.
    pub(super) fn close_stage(&mut self, now: Duration) -> bool {
        let Some(secure) = self.secure_round() else {
            return false;
        };
        secure.session.close_stage();
        self.follow_session(now);
        true
    }

    /// Takes out of the session what it has to say, and ends the round if the session has ended.
    pub(super) fn follow_session(&mut self, now: Duration) {
        let wanted = self.current.as_ref().map_or(0, |round| round.wanted);
        while let Some(secure) = self.secure_round() {
            let session = &mut secure.session;
            if session.stage() != secure.stage {
                secure.stage = session.stage();
                secure.since = now;
            }
            let Some(output) = session.poll_output() else {
                let added = session.added();
                // Over-selected members beyond those that are wanted count as dropouts.
                let enough = secure.stage == Stage::Masked
                    && added as usize >= wanted
                    && added >= session.params().needed() * session.params().buckets()
                    && !session.awaited().is_empty();
                if !enough {
                    break;
                }
                session.close_stage();
                continue;
            };
            self.follow(output);
        }
        if self
            .secure_round()
            .is_some_and(|secure| secure.ended.is_some())
        {
            self.end_round(now);
        }
    }

    fn follow(&mut self, output: Output) {
        let number = self.round;
        let Some(secure) = self.secure_round() else {
            return;
        };
        let client = |index: u32| secure.clients.get(index as usize).copied();
        match output {
            Output::Send { to, message } => {
                if let Some(to) = client(to) {
                    self.send(to, ServerMessage::Secure(message));
                }
            }
            Output::Added { index } => {
                let Some(client) = client(index) else { return };
                let examples = self.roster.get(&client).copied().unwrap_or(1);
                if let Some(round) = &mut self.current {
                    let (weight, loss) = (1, None);
                    round.resolve(client, Member::Accepted { weight, loss });
                }
                self.keep(client, true);
                self.event(ServerEvent::Accepted {
                    round: number,
                    client,
                    examples,
                    loss: None,
                });
            }
            Output::BucketFailed { bucket, reason } => self.event(ServerEvent::BucketFailed {
                round: number,
                bucket,
                reason: reason.to_string(),
            }),
            Output::Sums(sums) => secure.ended = Some(Ok(sums)),
            Output::Failed(failure) => secure.ended = Some(Err(failure)),
            _ => {}
        }
    }

    /// One update out of the sums: the only one, or what the rule makes of the means of the buckets.
    pub(super) fn aggregate_masked(
        &mut self,
        secure: Box<SecureRound>,
        trusted: Option<Vec<f32>>,
    ) -> Result<Aggregate, String> {
        let unmasked = self.unmasked(&secure)?;
        if let Some(recording) = &mut self.recording {
            recording.sums = unmasked.recorded();
        }
        self.enough(secure.count())?;
        let kept = RowVerdict {
            kept: true,
            weight: None,
            score: None,
        };
        let (update, rows) = if self.aggregation.is_plain_mean() {
            let update = unmasked.mean(self.global.len());
            (update, vec![kept; unmasked.buckets.len()])
        } else {
            let means = unmasked.buckets.iter();
            let means: Vec<&[f32]> = means.map(|(_, mean)| mean.update.as_slice()).collect();
            let mut rng = self.streams.stream(Purpose::Aggregate, self.round, 0);
            let mut update = vec![0.0; self.global.len()];
            let rows = self
                .aggregation
                .combine(&means, None, trusted.as_deref(), &mut rng, &mut update)
                .map_err(display)?;
            (update, rows)
        };
        Ok(Aggregate {
            update,
            verdicts: unmasked.verdicts(rows),
            masked: Some(unmasked.report()),
            loss: Some(unmasked.loss()),
            secure: Some(secure),
        })
    }

    /// The means of the buckets, out of a session that is over.
    fn unmasked(&self, secure: &SecureRound) -> Result<Unmasked, String> {
        let sums = match &secure.ended {
            Some(Ok(sums)) => sums,
            Some(Err(failure)) => return Err(failure.to_string()),
            None => return Err("the secure sum was not made".to_owned()),
        };
        let params = secure.session.params();
        let quantiser = Quantiser::of(params);
        let bucket = |sum: &Sum| {
            let clients = &secure.clients;
            let member = |index: &u32| clients.get(*index as usize).copied();
            let members: Vec<ClientId> = sum.members.iter().filter_map(member).collect();
            let count = members.len() as u32;
            let mean = match (&quantiser, &self.settings.privacy) {
                (Some(quantiser), _) => quantiser.decode(&sum.vector, count).map_err(display)?,
                (None, Some(plan)) => {
                    let words: Vec<u32> = sum.vector.model_lanes().collect();
                    let distributed = plan.distributed().map_err(display)?;
                    Mean {
                        update: distributed.decode(&words, params.nonce).map_err(display)?,
                        weight: count.into(),
                        examples: 0,
                        loss: 0.0,
                        squared_norm: 0.0,
                        clipped: 0,
                    }
                }
                (None, None) => return Err("lanes without a meaning".to_owned()),
            };
            Ok((members, mean))
        };
        let buckets = sums.iter().map(bucket).collect::<Result<_, String>>()?;
        Ok(Unmasked { buckets })
    }

    /// Tells the survivors of a round that is over what came of it.
    pub(super) fn announce(&mut self, mut secure: SecureRound) {
        let next = secure::model_hash(self.layout, &self.global);
        secure.session.announce(next);
        while let Some(output) = secure.session.poll_output() {
            if let Output::Send { to, message } = output
                && let Some(to) = secure.clients.get(to as usize)
            {
                self.send(*to, ServerMessage::Secure(message));
            }
        }
    }

    /// When the present stage stops waiting, if the round has a secure sum: keys and shares in the first and second quarter of
    /// the round's time, the upload at its deadline, what follows it as long again after it began.
    pub(super) fn stage_deadline(&self, wait: Duration) -> Option<Duration> {
        let round = self.current.as_ref()?;
        let secure = round.replies.secure()?;
        Some(match secure.stage {
            Stage::Advertise => round.started.saturating_add(wait / 4),
            Stage::Shares => round.started.saturating_add(wait / 2),
            Stage::Ack | Stage::Reveal => secure.since.saturating_add(wait),
            Stage::Masked | Stage::Over => round.started.saturating_add(wait),
        })
    }

    fn secure_round(&mut self) -> Option<&mut SecureRound> {
        self.current.as_mut()?.replies.secure_mut()
    }
}

fn display(error: impl std::fmt::Display) -> String {
    error.to_string()
}
