//! What a leakage report comes to, in one word and against thresholds.

use serde::{Deserialize, Serialize};

use super::{Band, InversionRow, LeakageReport, MembershipRow, MembershipVerdict};

/// What a leakage report comes to; in ascending order of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conclusion {
    /// The run itself was not attacked.
    NotAttacked,
    /// Attacks ran on the run and on a control, and none found anything.
    NoneFound,
    /// Nothing was found, by attacks of which some fail without any defence too.
    Inconclusive,
    /// Images came back in part.
    Partial,
    /// Members can be told from non-members better than by guessing.
    Members,
    /// Images came back recognisably.
    Recognisable,
    /// Images came back exactly.
    Exact,
    /// A measurement contradicts the claimed epsilon.
    ClaimBroken,
}

/// What a run may leak at most before a check of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// The worst band that passes.
    pub worst_band: Band,
    /// The largest AUC of a membership inference that passes, 0 to 1.
    pub auc: f64,
    /// The largest share of members found at 1 % false alarms that passes, 0 to 1.
    pub tpr_1: Option<f64>,
    /// The largest share of members found at 0.1 % false alarms that passes, 0 to 1.
    pub tpr_01: Option<f64>,
    /// Whether a failed self-test, an attack that failed and a run that was not attacked fail the check.
    pub conclusive: bool,
}

impl Default for Thresholds {
    /// Partial reconstructions pass, and an AUC of 0.55; inconclusive reports do not.
    fn default() -> Self {
        Self {
            worst_band: Band::Partial,
            auc: 0.55,
            tpr_1: None,
            tpr_01: None,
            conclusive: true,
        }
    }
}

impl LeakageReport {
    /// The worst band of all reconstructions of the run itself (rows without `what_if`); [`Band::NotRun`] without any.
    pub fn worst_band(&self) -> Band {
        self.inverted()
            .map(|row| row.band)
            .max()
            .unwrap_or_default()
    }

    /// The worst verdict of all membership inferences on the run itself.
    pub fn worst_membership(&self) -> MembershipVerdict {
        let rows = self.inferred().map(|row| row.verdict);
        rows.max().unwrap_or_default()
    }

    /// What the rows about the run itself come to.
    pub fn conclusion(&self) -> Conclusion {
        let (band, members) = (self.worst_band(), self.worst_membership());
        let broken = self.audits.iter().any(|row| !row.passed);
        if broken || members == MembershipVerdict::AboveCeiling {
            return Conclusion::ClaimBroken;
        }
        let leaks = members >= MembershipVerdict::Leaks;
        match band {
            Band::Exact => Conclusion::Exact,
            Band::Recognisable => Conclusion::Recognisable,
            _ if leaks => Conclusion::Members,
            Band::Partial => Conclusion::Partial,
            _ if self.doubtful() => Conclusion::Inconclusive,
            Band::NoneFound => Conclusion::NoneFound,
            _ if members == MembershipVerdict::NoneFound => Conclusion::NoneFound,
            _ => Conclusion::NotAttacked,
        }
    }

    /// The conclusion as a line for people. Nothing in it says that a run is safe.
    pub fn verdict(&self) -> String {
        let band = self.worst_inverted().map_or_else(String::new, |row| {
            let what = if row.columns.is_empty() { "images" } else { "rows" };
            let how = if row.band == Band::Partial { "in part " } else { "" };
            format!(
                "{what} of {} could be reconstructed {how}from what the attacker sees ({}; {}{}; round {})",
                self.subject.dataset,
                row.threat,
                row.attack,
                row.adaptive_to.as_ref().map_or_else(String::new, |to| format!(", knowing {to}")),
                row.round
            )
        });
        let members = self.members_told();
        match self.conclusion() {
            Conclusion::ClaimBroken => format!("Claim broken: {}", self.broken_claim()),
            Conclusion::Exact => format!("Exact: {}", joined(&band, members)),
            Conclusion::Recognisable => format!("Recognisable: {}", joined(&band, members)),
            Conclusion::Partial => format!("Partial: {band}"),
            Conclusion::Members => {
                let members = members.unwrap_or_default();
                match self.worst_band() {
                    Band::Partial => format!("Members leak: {members}; and {band}"),
                    _ => format!("Members leak: {members}"),
                }
            }
            Conclusion::Inconclusive => {
                "Inconclusive: nothing was found, by attacks that did not all pass their own checks"
                    .to_owned()
            }
            Conclusion::NoneFound => {
                let inverted = self.inverted().any(|row| row.band == Band::NoneFound);
                let inferred = self
                    .inferred()
                    .any(|row| row.verdict == MembershipVerdict::NoneFound);
                let none = match (inverted, inferred) {
                    (true, true) => "no example was reconstructed and no member told from others",
                    (true, false) => "no example was reconstructed",
                    _ => "no member was told from others",
                };
                format!("None found by this suite: {none}, by the attacks that ran")
            }
            Conclusion::NotAttacked => "Not attacked: no attack ran on the run itself".to_owned(),
        }
    }

    fn members_told(&self) -> Option<String> {
        let row = self
            .worst_inferred()
            .filter(|row| row.verdict >= MembershipVerdict::Leaks)?;
        Some(format!(
            "training examples could be told from others ({} on {}; AUC {})",
            row.attack,
            row.target,
            crate::format::unit_interval(row.auc.value)
        ))
    }

    fn broken_claim(&self) -> String {
        match self.audits.iter().find(|row| !row.passed) {
            Some(row) => format!(
                "an audit ({}) measured an epsilon of at least {}, the run claims {}",
                row.method,
                row.lower_bound
                    .map_or_else(|| "nothing".to_owned(), rounded_down),
                row.claim
                    .map_or_else(|| "none".to_owned(), cloister_privacy::rounded_up)
            ),
            None => {
                let row = self.worst_inferred();
                let attack = row.map_or("an attack", |row| row.attack.as_str());
                format!("{attack} finds more members than the claimed epsilon allows")
            }
        }
    }

    /// The row about the run itself of the worst band, and of these the one with the largest gain.
    pub(crate) fn worst_inverted(&self) -> Option<&InversionRow> {
        let key = |row: &InversionRow| (row.band, ordered(row.gain.worst));
        self.inverted().max_by(|a, b| {
            let ((a, a_gain), (b, b_gain)) = (key(a), key(b));
            a.cmp(&b).then(a_gain.total_cmp(&b_gain))
        })
    }

    /// The same for memberships, by their AUC.
    pub(crate) fn worst_inferred(&self) -> Option<&MembershipRow> {
        self.inferred().max_by(|a, b| {
            let by_auc = ordered(a.auc.value).total_cmp(&ordered(b.auc.value));
            a.verdict.cmp(&b.verdict).then(by_auc)
        })
    }

    /// Whether a check that the rows rest on did not hold.
    pub(crate) fn doubtful(&self) -> bool {
        let failed = self.inverted().any(|row| row.band == Band::AttackFailed);
        failed || self.self_tests.iter().any(|test| !test.passed)
    }

    /// Why the run fails a check against `thresholds`, a sentence each; empty when it passes. A lower bound of epsilon
    /// above the claim, and a membership inference above its ceiling, fail any check.
    pub fn failures(&self, thresholds: &Thresholds) -> Vec<String> {
        let mut failures = Vec::new();
        if thresholds.conclusive {
            failures.extend(self.inconclusive());
        }
        let inverted = self
            .inverted()
            .filter(|row| row.band > thresholds.worst_band);
        failures.extend(inverted.map(|row| {
            let limit = thresholds.worst_band.words();
            format!(
                "{}: {}, allowed is {limit}",
                inversion_name(row),
                row.band.words()
            )
        }));
        for row in self
            .inferred()
            .filter(|row| row.verdict != MembershipVerdict::NotRun)
        {
            failures.extend(membership_failures(row, thresholds));
        }
        for row in self.audits.iter().filter(|row| !row.passed) {
            let bound = row
                .lower_bound
                .map_or_else(|| "none".to_owned(), rounded_down);
            let claim = row
                .claim
                .map_or_else(|| "none".to_owned(), cloister_privacy::rounded_up);
            failures.push(format!(
                "audit {}: epsilon is at least {bound}, claimed is {claim}",
                row.method
            ));
        }
        failures
    }

    fn inconclusive(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for test in self.self_tests.iter().filter(|test| !test.passed) {
            failures.push(format!("self-test {} failed: {}", test.name, test.detail));
        }
        let failed = self.inverted().filter(|row| row.band == Band::AttackFailed);
        failures.extend(failed.map(|row| {
            format!(
                "{}: the attack fails without a defence too",
                inversion_name(row)
            )
        }));
        if self.conclusion() == Conclusion::NotAttacked {
            failures.push("the run itself was not attacked".to_owned());
        }
        failures
    }

    /// Reconstructions of the run itself.
    pub(crate) fn inverted(&self) -> impl Iterator<Item = &InversionRow> {
        self.inversions.iter().filter(|row| !row.what_if)
    }

    /// Membership inferences on the run itself.
    pub(crate) fn inferred(&self) -> impl Iterator<Item = &MembershipRow> {
        self.memberships.iter().filter(|row| !row.what_if)
    }
}

/// NaN below everything.
fn ordered(value: f64) -> f64 {
    if value.is_nan() {
        f64::NEG_INFINITY
    } else {
        value
    }
}

fn joined(one: &str, other: Option<String>) -> String {
    match other {
        Some(other) => format!("{one}; and {other}"),
        None => one.to_owned(),
    }
}

/// A lower bound with two digits after the point, never more than it is.
pub(crate) fn rounded_down(value: f64) -> String {
    if value.is_finite() {
        format!("{:.2}", (value * 100.0).floor() / 100.0)
    } else {
        crate::format::plain(value)
    }
}

fn inversion_name(row: &InversionRow) -> String {
    format!(
        "reconstruction {} ({}; defence {}; {}; round {})",
        row.attack, row.threat, row.defence, row.setting, row.round
    )
}

fn membership_failures(row: &MembershipRow, thresholds: &Thresholds) -> Vec<String> {
    let name = format!(
        "membership {} ({}; defence {})",
        row.attack, row.target, row.defence
    );
    let mut failures = Vec::new();
    if row.verdict == MembershipVerdict::AboveCeiling {
        failures.push(format!(
            "{name}: finds more members than the claimed epsilon allows"
        ));
    }
    // What is not a number passes no threshold.
    let within = |value: f64, limit: f64| value <= limit;
    if !within(row.auc.value, thresholds.auc) {
        failures.push(format!(
            "{name}: AUC {:.3}, allowed is {}",
            row.auc.value, thresholds.auc
        ));
    }
    let rates = [
        ("1 %", row.tpr_1, thresholds.tpr_1),
        ("0.1 %", row.tpr_01, thresholds.tpr_01),
    ];
    for (alarms, rate, limit) in rates {
        if let (Some(rate), Some(limit)) = (rate, limit)
            && !within(rate.value, limit)
        {
            failures.push(format!(
                "{name}: {:.2} % of the members found at {alarms} false alarms, allowed are {:.2} %",
                rate.value * 100.0,
                limit * 100.0
            ));
        }
    }
    failures
}
