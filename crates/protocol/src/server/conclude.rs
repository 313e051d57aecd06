//! The end of a round: from the replies to the next global model.

use std::sync::Arc;
use std::time::Duration;

use super::private::PrivateMean;
use super::round::Round;
use super::{ClientVerdict, MaskedReport, RoundReport, SecureRound, Server, ServerEvent};
use crate::aggregation::Replies;
use crate::streams::Purpose;

/// What a round comes to.
#[derive(Default)]
pub(super) struct Aggregate {
    pub(super) update: Vec<f32>,
    pub(super) verdicts: Vec<ClientVerdict>,
    /// Of masked updates: what their sums say, and the session that made them.
    pub(super) masked: Option<MaskedReport>,
    pub(super) loss: Option<f64>,
    pub(super) secure: Option<Box<SecureRound>>,
}

impl Server {
    pub(super) fn end_round(&mut self, now: Duration) {
        self.conclude(now, Self::aggregate);
    }

    /// Ends the round with what `aggregate` makes of it.
    pub(super) fn conclude(
        &mut self,
        now: Duration,
        aggregate: impl FnOnce(&mut Self, Round) -> Result<Aggregate, String>,
    ) {
        let Some(round) = self.current.take() else {
            return;
        };
        let mut report = RoundReport {
            // As it was in this round: a release may move it.
            clip: self.private.as_ref().map(PrivateMean::clip),
            ..round.report(self.round, now)
        };
        if let Some(watch) = &mut self.watch {
            report.replies = watch.end();
        }
        match aggregate(self, round) {
            Ok(aggregate) => {
                let mut global = self.global.to_vec();
                self.optimizer.step(&mut global, &aggregate.update);
                self.global = global.into();
                report.verdicts = aggregate.verdicts;
                report.masked = aggregate.masked;
                report.train_loss = aggregate.loss.or(report.train_loss);
                if let Some(secure) = aggregate.secure {
                    self.announce(*secure);
                }
            }
            Err(reason) => report.abandoned = Some(reason),
        }
        if self.settings.privacy.is_some() {
            // Mean losses are made of the same examples, and have no noise.
            report.train_loss = None;
        }
        if let Some(recording) = &mut self.recording {
            recording.after = Some(Arc::clone(&self.global));
        }
        report.bytes_up = std::mem::take(&mut self.bytes_up);
        report.bytes_down = std::mem::take(&mut self.bytes_down);
        self.event(ServerEvent::RoundEnded(report));
    }

    /// What the round comes to, or why it comes to nothing.
    fn aggregate(&mut self, round: Round) -> Result<Aggregate, String> {
        let round = match (round.replies, &mut self.private) {
            // However few came, also none: the noise is released as it was accounted.
            (Replies::Private { sum, .. }, Some(private)) => {
                let update = private.release(sum).map_err(|error| error.to_string())?;
                return Ok(Aggregate {
                    update,
                    ..Aggregate::default()
                });
            }
            (Replies::Secure(secure), _) => return self.aggregate_masked(secure, round.trusted),
            (replies, _) => Round { replies, ..round },
        };
        let accepted = round.accepted();
        self.enough(accepted)?;
        let mut rng = self.streams.stream(Purpose::Aggregate, self.round, 0);
        let mut update = vec![0.0; self.global.len()];
        let trusted = round.trusted.as_deref();
        let verdicts = self
            .aggregation
            .aggregate(&round.replies, trusted, &mut rng, &mut update)
            .map_err(|error| error.to_string())?;
        Ok(Aggregate {
            update,
            verdicts,
            ..Aggregate::default()
        })
    }

    /// Whether the plan lets a round complete with so many good replies.
    pub(super) fn enough(&self, accepted: usize) -> Result<(), String> {
        let minimum = (self.settings.federation.minimum_replies as usize).max(1);
        if accepted >= minimum {
            return Ok(());
        }
        let plural = if accepted == 1 { "y" } else { "ies" };
        Err(format!("{accepted} good repl{plural}, {minimum} needed"))
    }
}
