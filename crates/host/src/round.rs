//! What a round leaves in the record.

use cloister_nn::metrics::Measures;
use cloister_protocol::guard::GuardFinding;
use cloister_protocol::{ClientId, RoundReport};
use cloister_report::record::{Event, RoundOutcome, RoundRow, VerdictRow, event_kind};

/// The kind of the event of updates beyond the range of a lane.
const CUT: &str = "cut";
/// The kind of the event of a bucket without a sum.
const BUCKET_FAILED: &str = "bucket-failed";
/// The kind of the event of a model that looks made to carry examples out.
const GUARD: &str = "guard";
/// The kind of the event of a run that its privacy budget ended.
const PRIVACY_BUDGET: &str = "privacy-budget";

/// The row of a round: what the server reports of it, the figures of its model, and the privacy loss so far.
pub fn row(report: &RoundReport, evaluation: Option<&Measures>, epsilon: Option<f64>) -> RoundRow {
    let number = evaluation.and_then(Measures::number);
    RoundRow {
        round: report.round,
        train_loss: report.train_loss,
        test_loss: evaluation.map(Measures::loss),
        test_accuracy: evaluation.and_then(Measures::accuracy),
        test_auroc: evaluation.and_then(Measures::auroc),
        test_r2: number.and_then(|number| number.r2),
        test_rmse: number.map(|number| number.rmse),
        test_mae: number.map(|number| number.mae),
        cohort: report.cohort,
        accepted: report.accepted,
        refused: report.refused,
        dropped: report.missing,
        outcome: match report.abandoned {
            Some(_) => RoundOutcome::Abandoned,
            None => RoundOutcome::Completed,
        },
        epsilon,
        clip: report.clip,
        bytes_up: report.bytes_up,
        bytes_down: report.bytes_down,
        seconds: report.duration.as_secs_f64(),
        ..RoundRow::default()
    }
}

/// What a reader must know of a round's end.
pub fn ending(report: &RoundReport) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(masked) = report.masked.filter(|masked| masked.clipped > 0) {
        let message = format!(
            "{} coordinates of the updates were cut to the range of a lane: secure_aggregation.range is too small",
            masked.clipped
        );
        events.push(Event::new(report.round, CUT, message));
    }
    if let Some(reason) = &report.abandoned {
        events.push(Event::new(
            report.round,
            event_kind::ABANDONED,
            reason.clone(),
        ));
    }
    events
}

/// A bucket of a secure sum was given up.
pub fn bucket_failed(round: u32, bucket: u32, reason: &str) -> Event {
    let message = format!("bucket {bucket} makes no sum: {reason}");
    Event::new(round, BUCKET_FAILED, message)
}

/// What a client's guard has found in the round's model.
pub fn guard_finding(round: u32, client: &str, finding: &GuardFinding) -> Event {
    let mut event = Event::new(round, GUARD, finding.to_string());
    event.client = Some(client.to_owned());
    event
}

/// A run ends because one more round would bring its epsilon to `loss`.
pub fn budget_spent(round: u32, loss: f64, budget: f64) -> Event {
    let message = format!(
        "stopped: one more round would bring epsilon to {loss:.4}, above the budget of {budget}"
    );
    Event::new(round, PRIVACY_BUDGET, message)
}

/// What the rule made of each reply; `name` names clients, `malicious` says who is, where the host knows.
pub fn verdicts(
    report: &RoundReport,
    name: impl Fn(ClientId) -> String,
    malicious: impl Fn(ClientId) -> Option<bool>,
) -> Vec<VerdictRow> {
    let verdicts = report.verdicts.iter();
    verdicts
        .map(|judged| VerdictRow {
            round: report.round,
            client: name(judged.client),
            kept: judged.verdict.kept,
            weight: judged.verdict.weight,
            score: judged.verdict.score,
            malicious: malicious(judged.client),
        })
        .collect()
}
