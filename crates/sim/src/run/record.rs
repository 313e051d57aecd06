//! What a round leaves in the record.

use cloister_host::{Observed, Spending};
use cloister_nn::metrics::Measures;
use cloister_protocol::{ClientVerdict, RoundReport};
use cloister_report::record::{Event, RoundRow, event_kind};

use super::Run;
use super::deliver::Schedule;
use crate::error::SimError;
use crate::event::SimEvent;

impl Run<'_> {
    pub(super) fn row(
        &self,
        report: &RoundReport,
        schedule: &Schedule,
        evaluation: Option<&Measures>,
    ) -> RoundRow {
        let dropped = schedule.dropouts.len() as u32;
        let timed = self.federation.experiment.faults.seconds_per_step > 0.0;
        let epsilon = self.privacy.as_ref().map(Spending::epsilon);
        let attack = self.attack_figures(report, evaluation);
        RoundRow {
            dropped,
            // Whoever would have answered, had the round not ended before.
            late: report.missing.saturating_sub(dropped),
            seconds: 0.0,
            virtual_seconds: timed.then_some(report.duration.as_secs_f64()),
            kept: self.judged().then(|| kept(&report.verdicts, |_| true)),
            malicious: attack.malicious,
            malicious_kept: attack.malicious_kept,
            malicious_weight: attack.malicious_weight,
            source_recall: attack.source_recall,
            attack_success: attack.attack_success,
            ..cloister_host::row(report, evaluation, epsilon)
        }
    }

    /// Whether the record says what became of each reply: not for a plain mean of honest clients, which keeps all.
    pub(super) fn judged(&self) -> bool {
        !self.federation.experiment.aggregation.is_plain_mean() || self.attackers.is_some()
    }

    /// The figures of a round that an attack adds.
    fn attack_figures(&self, report: &RoundReport, evaluation: Option<&Measures>) -> RoundRow {
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
            source_recall: evaluation
                .and_then(Measures::classes)
                .and_then(|evaluation| attackers.source_recall(evaluation)),
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
        let rows = cloister_host::verdicts(
            report,
            |client| self.federation.name(client),
            |client| Some(self.attackers.as_ref()?.includes(client)),
        );
        for ClientVerdict { client, verdict } in &report.verdicts {
            self.kept[client.0 as usize] += u32::from(verdict.kept);
        }
        Ok(self.writer.verdicts(&rows)?)
    }

    /// Lets the monitor look at the round.
    fn look(&mut self, row: &RoundRow, report: &RoundReport) -> Result<(), SimError> {
        let federation = self.federation;
        let Some(monitor) = &mut self.monitor else {
            return Ok(());
        };
        let mut observed = Observed {
            report,
            row,
            excess: None,
            beyond_budget: None,
        };
        if let Some(privacy) = &self.privacy {
            observed.excess = privacy.excess(report.round, federation.owned())?;
            if report.round == 1 {
                observed.beyond_budget = privacy.beyond_budget(federation.owned())?;
            }
        }
        let findings = monitor.observe(&observed, |client| federation.name(client));
        self.pending.extend(findings.flags);
        Ok(self.writer.replies(&findings.replies)?)
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
        self.pending.extend(cloister_host::ending(report));
        self.look(row, report)?;
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
