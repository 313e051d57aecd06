//! `cloister privacy statement`: what a run promises, recomputed from its ledger.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_privacy::accounting::{self, Question};
use cloister_privacy::{Claim, Ledger, State, Statement, rounded_up};
use cloister_report::record::{PrivacyInfo, file_name};
use serde_json::json;

use crate::output;

/// How far the recomputed epsilon may lie from the recorded one: the error of either.
const TOLERANCE: f64 = 2e-3;

/// Prints the statement of the run in `folder`, after its ledger was read again.
pub(crate) fn statement(folder: &Path, as_json: bool) -> Result<()> {
    let info = PrivacyInfo::read(folder)?;
    let Some(info) = info else {
        bail!("{} had no [privacy]: epsilon is infinite", folder.display());
    };
    let checked = recompute(folder, &info);
    let mut statement = info.statement;
    if let Err(error) = &checked {
        statement.state = State::NotPrivate;
        statement.reason = Some(format!("the ledger does not bear it out: {error:#}"));
        statement.claim = None;
        statement.accounted = None;
    }
    show(&statement, checked.as_ref().ok().copied(), as_json)?;
    checked
        .map(drop)
        .context("no finite epsilon can be claimed")
}

/// The epsilon of the ledger.
fn recompute(folder: &Path, info: &PrivacyInfo) -> Result<f64> {
    let ledger = Ledger::read(&folder.join(file_name::LEDGER))?;
    let question = Question::new(info.statement.neighbouring, info.delta);
    let mut worst = 0.0_f64;
    let mut seen = Vec::new();
    for event in ledger.by_holder().into_values() {
        if !seen.contains(&event) {
            worst = worst.max(accounting::epsilon(&event, &question)?.epsilon);
            seen.push(event);
        }
    }
    let recorded = info.statement.accounted.as_ref();
    let recorded = recorded.map_or(f64::INFINITY, |claim: &Claim| claim.epsilon);
    if worst > recorded + TOLERANCE * recorded.max(1.0) {
        bail!("it amounts to epsilon {worst:.4}, the summary says {recorded:.4}");
    }
    Ok(worst)
}

fn show(statement: &Statement, recomputed: Option<f64>, as_json: bool) -> Result<()> {
    if as_json {
        let twin = json!({ "statement": statement, "epsilon_of_ledger": recomputed });
        return output::print_json(&twin);
    }
    let mut lines = statement.lines();
    if let Some(epsilon) = recomputed {
        let epsilon = rounded_up(epsilon);
        lines.push(format!("ledger: whole; recomputed, epsilon is {epsilon}"));
    }
    output::print(&lines.join("\n"))
}
