//! What a round leaves in the record.

use cloister_host::Spending;
use cloister_nn::metrics::Evaluation;
use cloister_protocol::{ClientVerdict, RoundReport};
use cloister_report::record::{Event, RoundOutcome, RoundRow, VerdictRow, event_kind};

use super::Run;
use super::deliver::Schedule;
use crate::error::SimError;
use crate::event::SimEvent;

/// The kind of the event of updates beyond the range of a lane.
const CUT: &str = "cut";

impl Run<'_> {
    pub(super) fn row(
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
            epsilon: self.privacy.as_ref().map(Spending::epsilon),
            clip: report.clip,
            bytes_up: report.bytes_up,
            bytes_down: report.bytes_down,
            seconds: 0.0,
            virtual_seconds: timed.then_some(report.duration.as_secs_f64()),
            kept: self.judged().then(|| kept(&report.verdicts, |_| true)),
            ..self.attack_figures(report, evaluation)
        }
    }

    /// Whether the record says what became of each reply: not for a plain mean of honest clients, which keeps all.
    pub(super) fn judged(&self) -> bool {
        !self.federation.experiment.aggregation.is_plain_mean() || self.attackers.is_some()
    }

    /// The figures of a round that an attack adds.
    fn attack_figures(&self, report: &RoundReport, evaluation: Option<&Evaluation>) -> RoundRow {
        let Some(attackers) = &self.attackers else {
            return RoundRow::default();
        };
        let malicious = |verdict: &ClientVerdict| attackers.includes(verdict.client);
        let theirs = report.verdicts.iter().filter(|verdict| malicious(verdict));
        let weights: Option<Vec<f64>> =
            theirs.clone().map(|theirs| theirs.verdict.weight).collect();
        let (parameters, threads) = (self.server.global(), self.options.threads);
        RoundRow {
            malicious: Some(theirs.count() as u32),
            malicious_kept: Some(kept(&report.verdicts, malicious)),
            malicious_weight: weights.map(|weights| weights.iter().sum()),
            source_recall: evaluation.and_then(|evaluation| attackers.source_recall(evaluation)),
            attack_success: evaluation
                .and_then(|_| attackers.success(self.federation, parameters, threads)),
            ..RoundRow::default()
        }
    }

    /// Writes what the rule made of each reply, and counts whom it kept.
    fn record_verdicts(&mut self, report: &RoundReport) -> Result<(), SimError> {
        if !self.judged() || report.verdicts.is_empty() {
            return Ok(());
        }
        let rows: Vec<VerdictRow> = report
            .verdicts
            .iter()
            .map(|ClientVerdict { client, verdict }| VerdictRow {
                round: report.round,
                client: self.federation.name(*client),
                kept: verdict.kept,
                weight: verdict.weight,
                score: verdict.score,
                malicious: self
                    .attackers
                    .as_ref()
                    .map(|attackers| attackers.includes(*client)),
            })
            .collect();
        for ClientVerdict { client, verdict } in &report.verdicts {
            self.kept[client.0 as usize] += u32::from(verdict.kept);
        }
        Ok(self.writer.verdicts(&rows)?)
    }

    pub(super) fn record_round(
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
        if let Some(masked) = report.masked.filter(|masked| masked.clipped > 0) {
            let message = format!(
                "{} coordinates of the updates were cut to the range of a lane: secure_aggregation.range is too small",
                masked.clipped
            );
            self.pending.push(Event::new(report.round, CUT, message));
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
        self.record_verdicts(report)?;
        self.writer.round(row)?;
        observe(&SimEvent::Round(row));
        Ok(())
    }
}

fn kept(verdicts: &[ClientVerdict], of: impl Fn(&ClientVerdict) -> bool) -> u32 {
    let kept = verdicts
        .iter()
        .filter(|verdict| verdict.verdict.kept && of(verdict));
    kept.count() as u32
}
