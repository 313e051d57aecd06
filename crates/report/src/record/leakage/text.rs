//! A leakage report for the terminal and as CSV.

use super::{AuditRow, Estimate, InversionRow, LeakageReport, MembershipRow, rounded_down};
use crate::compare::drawn;
use crate::format;
use crate::record::RecordError;

/// The columns of the CSV form. Those that mean nothing to a kind of row are empty in it.
const COLUMNS: [&str; 32] = [
    "kind",
    "attack",
    "adaptive_to",
    "target",
    "defence",
    "what_if",
    "setting",
    "round",
    "verdict",
    "examples",
    "nonmembers",
    "labels",
    "psnr_median",
    "psnr_worst",
    "floor",
    "gain_median",
    "gain_worst",
    "ssim_median",
    "ssim_worst",
    "asr",
    "iip",
    "auc",
    "auc_low",
    "auc_high",
    "tpr_1",
    "tpr_01",
    "epsilon_lower_bound",
    "epsilon_claimed",
    "accuracy",
    "bytes_up",
    "seconds",
    "seed",
];

impl LeakageReport {
    /// The report for a terminal: the verdict, then a table for each kind of row.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", format::shortened(&self.verdict(), 600));
        let mut table = |title: &str, head: Vec<(String, bool)>, rows: Vec<Vec<String>>| {
            if !rows.is_empty() {
                text.push_str(&format!("\n{title}\n{}", drawn(head, rows)));
            }
        };
        let tests = self.self_tests.iter().map(|test| {
            let standing = if test.passed { "held" } else { "FAILED" };
            vec![standing.to_owned(), cell(&test.name), cell(&test.detail)]
        });
        let head = words(&["", "self-test", "figures"], 3);
        table("Self-tests", head, tests.collect());
        let inversions = self.inversions.iter().map(inversion_line).collect();
        let head = words(
            &[
                "", "threat", "defence", "attack", "found", "PSNR", "worst", "floor", "SSIM",
                "labels", "accuracy", "epsilon", "sent", "time",
            ],
            5,
        );
        table("Reconstructions (dB; * this run)", head, inversions);
        let memberships = self.memberships.iter().map(membership_line).collect();
        let head = words(
            &[
                "", "on", "defence", "attack", "found", "AUC", "interval", "at 1 %", "at 0.1 %",
                "ceiling", "accuracy", "epsilon", "time",
            ],
            5,
        );
        table("Membership (* this run)", head, memberships);
        let audits = self.audits.iter().map(audit_line).collect();
        let head = words(
            &[
                "method", "unit", "", "at least", "estimate", "claimed", "canaries",
            ],
            3,
        );
        table("Audits of epsilon", head, audits);
        let skipped = self
            .skipped
            .iter()
            .map(|row| vec![cell(&row.what), cell(&row.why)]);
        table("Left out", words(&["what", "why"], 2), skipped.collect());
        text
    }

    /// Reconstructions, memberships and audits as CSV, a row each, with all digits. An empty cell was not measured.
    ///
    /// # Errors
    ///
    /// [`RecordError::Encode`] should a line not be writable; no report is known to cause it.
    pub fn csv(&self) -> Result<String, RecordError> {
        let unwritable = |error: &dyn std::error::Error| RecordError::Encode {
            file: "leakage".into(),
            message: error.to_string(),
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer
            .write_record(COLUMNS)
            .map_err(|error| unwritable(&error))?;
        let inversions = self.inversions.iter().map(inversion_record);
        let memberships = self.memberships.iter().map(membership_record);
        let audits = self.audits.iter().map(audit_record);
        for record in inversions.chain(memberships).chain(audits) {
            writer
                .write_record(record)
                .map_err(|error| unwritable(&error))?;
        }
        let bytes = writer.into_inner().map_err(|error| unwritable(&error))?;
        String::from_utf8(bytes).map_err(|error| unwritable(&error))
    }
}

/// Names of columns, of which the first `words` are set to the left.
fn words(names: &[&str], words: usize) -> Vec<(String, bool)> {
    let column = |(at, name): (usize, &&str)| ((*name).to_owned(), at < words);
    names.iter().enumerate().map(column).collect()
}

/// Text without control characters, short enough for a table.
fn cell(text: &str) -> String {
    format::shortened(text, 60)
}

fn fixed(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        exact(value)
    }
}

/// All digits; nothing for what was not measured.
fn exact(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        value.to_string()
    }
}

fn optional(value: Option<f64>, words: impl Fn(f64) -> String) -> String {
    value.map_or_else(String::new, words)
}

fn own(what_if: bool) -> String {
    if what_if { "" } else { "*" }.to_owned()
}

fn inversion_line(row: &InversionRow) -> Vec<String> {
    let adaptive = row.adaptive_to.as_ref().map(|to| format!(", knows {to}"));
    vec![
        own(row.what_if),
        cell(&format!(
            "{}; {}; round {}",
            row.threat, row.setting, row.round
        )),
        cell(&row.defence),
        cell(&format!("{}{}", row.attack, adaptive.unwrap_or_default())),
        row.band.words().to_owned(),
        fixed(row.psnr.median, 1),
        fixed(row.psnr.worst, 1),
        fixed(row.floor, 1),
        fixed(row.ssim.worst, 2),
        optional(row.labels, format::percent),
        optional(row.accuracy, format::percent),
        optional(row.epsilon, cloister_privacy::rounded_up),
        row.bytes_up.map_or_else(String::new, format::bytes),
        format::seconds(row.seconds),
    ]
}

fn membership_line(row: &MembershipRow) -> Vec<String> {
    let rate = |rate: Option<Estimate>| optional(rate.map(|rate| rate.value), format::percent);
    let measured = !row.auc.value.is_nan();
    vec![
        own(row.what_if),
        cell(&row.target),
        cell(&row.defence),
        cell(&row.attack),
        row.verdict.words().to_owned(),
        fixed(row.auc.value, 3),
        if measured {
            format!("{}-{}", fixed(row.auc.low, 3), fixed(row.auc.high, 3))
        } else {
            String::new()
        },
        rate(row.tpr_1),
        rate(row.tpr_01),
        optional(row.ceiling_1, format::percent),
        optional(row.accuracy, format::percent),
        optional(row.epsilon, cloister_privacy::rounded_up),
        format::seconds(row.seconds),
    ]
}

fn audit_line(row: &AuditRow) -> Vec<String> {
    vec![
        cell(&row.method),
        cell(&row.unit),
        if row.passed { "held" } else { "FAILED" }.to_owned(),
        optional(row.lower_bound, rounded_down),
        optional(row.estimate, |value| fixed(value, 2)),
        optional(row.claim, cloister_privacy::rounded_up),
        format::count(u64::from(row.canaries)),
    ]
}

/// A CSV row from the columns that it has.
fn record<const N: usize>(cells: [(&str, String); N]) -> Vec<String> {
    let of = |column: &&str| {
        let found = cells.iter().find(|(name, _)| name == column);
        found.map_or_else(String::new, |(_, text)| text.clone())
    };
    COLUMNS.iter().map(of).collect()
}

fn inversion_record(row: &InversionRow) -> Vec<String> {
    record([
        ("kind", "inversion".to_owned()),
        ("attack", row.attack.clone()),
        ("adaptive_to", row.adaptive_to.clone().unwrap_or_default()),
        ("target", row.threat.clone()),
        ("defence", row.defence.clone()),
        ("what_if", row.what_if.to_string()),
        ("setting", row.setting.clone()),
        ("round", row.round.to_string()),
        ("verdict", row.band.words().to_owned()),
        ("examples", row.images.to_string()),
        ("labels", optional(row.labels, exact)),
        ("psnr_median", exact(row.psnr.median)),
        ("psnr_worst", exact(row.psnr.worst)),
        ("floor", exact(row.floor)),
        ("gain_median", exact(row.gain.median)),
        ("gain_worst", exact(row.gain.worst)),
        ("ssim_median", exact(row.ssim.median)),
        ("ssim_worst", exact(row.ssim.worst)),
        ("asr", exact(row.asr)),
        ("iip", optional(row.iip, exact)),
        ("epsilon_claimed", optional(row.epsilon, exact)),
        ("accuracy", optional(row.accuracy, exact)),
        (
            "bytes_up",
            row.bytes_up
                .map_or_else(String::new, |bytes| bytes.to_string()),
        ),
        ("seconds", exact(row.seconds)),
        ("seed", row.seed.to_string()),
    ])
}

fn membership_record(row: &MembershipRow) -> Vec<String> {
    let rate = |rate: Option<Estimate>| optional(rate.map(|rate| rate.value), exact);
    record([
        ("kind", "membership".to_owned()),
        ("attack", row.attack.clone()),
        ("target", row.target.clone()),
        ("defence", row.defence.clone()),
        ("what_if", row.what_if.to_string()),
        ("verdict", row.verdict.words().to_owned()),
        ("examples", row.members.to_string()),
        ("nonmembers", row.nonmembers.to_string()),
        ("auc", exact(row.auc.value)),
        ("auc_low", exact(row.auc.low)),
        ("auc_high", exact(row.auc.high)),
        ("tpr_1", rate(row.tpr_1)),
        ("tpr_01", rate(row.tpr_01)),
        ("epsilon_claimed", optional(row.epsilon, exact)),
        ("accuracy", optional(row.accuracy, exact)),
        ("seconds", exact(row.seconds)),
        ("seed", row.seed.to_string()),
    ])
}

fn audit_record(row: &AuditRow) -> Vec<String> {
    record([
        ("kind", "audit".to_owned()),
        ("attack", row.method.clone()),
        ("target", row.unit.clone()),
        (
            "verdict",
            if row.passed { "held" } else { "failed" }.to_owned(),
        ),
        ("examples", row.canaries.to_string()),
        ("epsilon_lower_bound", optional(row.lower_bound, exact)),
        ("epsilon_claimed", optional(row.claim, exact)),
        ("seconds", exact(row.seconds)),
        ("seed", row.seed.to_string()),
    ])
}
