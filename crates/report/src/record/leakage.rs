//! The leakage report of a run: what attacks on its recorded rounds and on its model brought to light.
//!
//! It lies in the folder `leakage` of the run folder: `leakage.json` is a [`LeakageReport`], and beside it lie the pictures
//! that its rows name. A row is one attack on one thing with one defence on. Rows about the run itself carry the verdict;
//! rows with `what_if` are about variants of it (the same round without its defence, or with another) and are shown for
//! comparison only.
//!
//! No word of it says that a run is safe: an attack that finds nothing has found nothing, and that is all.

mod file;
mod judge;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::number;

pub(crate) use file::png_size;
pub use file::{Leakage, write_picture};
pub(crate) use judge::rounded_down;
pub use judge::{Conclusion, Thresholds};

/// The `format` of the reports that this crate writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

/// A leakage report: `leakage/leakage.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeakageReport {
    /// Version of this layout: [`FORMAT`].
    pub format: u32,
    /// Version of the program, with the revision it was built from where that is known.
    pub cloister: String,
    /// What was attacked.
    pub subject: Subject,
    /// Which suite was run: `quick` or `full`.
    pub suite: String,
    /// Seed of all the suite's randomness.
    pub seed: u64,
    /// Checks of the attacks themselves, and of the mechanisms that the verdict rests on.
    #[serde(default)]
    pub self_tests: Vec<SelfTest>,
    /// Reconstructions of training examples.
    #[serde(default)]
    pub inversions: Vec<InversionRow>,
    /// Membership inferences.
    #[serde(default)]
    pub memberships: Vec<MembershipRow>,
    /// Inferences of a property of a client's data.
    #[serde(default)]
    pub properties: Vec<PropertyRow>,
    /// Measured lower bounds of epsilon.
    #[serde(default)]
    pub audits: Vec<AuditRow>,
    /// Malicious models put before the client-side guard.
    #[serde(default)]
    pub guards: Vec<GuardRow>,
    /// What was not attacked, and why.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Wall-clock seconds of the suite.
    #[serde(with = "number")]
    pub seconds: f64,
}

/// What a leakage report is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The run's name.
    pub run: String,
    /// SHA-256 of its `config.toml`, in hexadecimal.
    pub config_sha256: String,
    /// Name of the data set.
    pub dataset: String,
    /// The model's kind, as in the config.
    pub model: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Clients of the run.
    pub clients: u32,
    /// Who sees what: a sentence (`the server sees each client's update`).
    pub trust: String,
    /// What the run promises about privacy, a sentence; `None` without differential privacy.
    #[serde(default)]
    pub privacy: Option<String>,
    /// The epsilon that the run may claim; `None` is infinite.
    #[serde(with = "number::option", default)]
    pub epsilon: Option<f64>,
    /// The delta of it.
    #[serde(with = "number::option", default)]
    pub delta: Option<f64>,
    /// Rounds with a transcript.
    #[serde(default)]
    pub recorded_rounds: Vec<u32>,
}

/// A check that must pass before any row is believed (an attack on an undefended update, a mechanism's noise).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// What was checked.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// The figures, a phrase or sentence.
    pub detail: String,
}

/// A quality over the attacked images: the middle one, and the worst one for the data's owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    #[serde(with = "number")]
    pub median: f64,
    /// Worst for the data's owner: the best reconstruction, hence the largest value.
    #[serde(with = "number")]
    pub worst: f64,
}

impl Spread {
    /// Median and maximum of the values that are numbers; both NaN where none is.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match (sorted.get(middle), sorted.len() % 2) {
            (Some(&upper), 0) if sorted[middle - 1] != upper => (sorted[middle - 1] + upper) / 2.0,
            (Some(&value), _) => value,
            (None, _) => f64::NAN,
        };
        Self {
            median,
            worst: sorted.last().copied().unwrap_or(f64::NAN),
        }
    }

    /// Neither was measured.
    pub const NONE: Self = Self {
        median: f64::NAN,
        worst: f64::NAN,
    };
}

/// How much of the images a reconstruction brought back, on the worst image for the data's owner; in ascending order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Band {
    /// The attack was not run.
    #[default]
    NotRun,
    /// The attack fails without any defence too, so that its result says nothing about this one.
    AttackFailed,
    /// Less than 3 dB over the best trivial guess.
    NoneFound,
    /// 3 to 8 dB over it.
    Partial,
    /// At least 8 dB over it, or a relative SSIM of 0.5 or more.
    Recognisable,
    /// A PSNR of at least 35 dB, or an SSIM of 0.95 or more.
    Exact,
}

impl Band {
    /// Its name, for people: `none found`.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotRun => "not run",
            Self::AttackFailed => "attack failed",
            Self::NoneFound => "none found",
            Self::Partial => "partial",
            Self::Recognisable => "recognisable",
            Self::Exact => "exact",
        }
    }
}

/// One reconstruction attack on one update, with one defence on.
///
/// PSNR and SSIM are of pixels in [0, 1]. Figures that do not apply (those of images, for rows of a table) are NaN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InversionRow {
    /// Who attacks, with what in hand (`server, one update, steps known`).
    pub threat: String,
    /// The attack, by its name (`inverting-gradients`).
    pub attack: String,
    /// The defence that this attack knows and works around; `None` for an attack that knows none.
    #[serde(default)]
    pub adaptive_to: Option<String>,
    /// The defence that was on, `none` for none.
    pub defence: String,
    /// Whether the row is about a variant of the run instead of the run itself.
    #[serde(default)]
    pub what_if: bool,
    /// What the update was made of: a phrase (`batch 8, 1 step, untrained`).
    pub setting: String,
    /// The round.
    pub round: u32,
    /// Images, or rows of a table, that were attacked.
    pub images: u32,
    /// Share of their labels that was recovered, 0 to 1.
    #[serde(with = "number::option", default)]
    pub labels: Option<f64>,
    /// Peak signal-to-noise ratio, in dB.
    pub psnr: Spread,
    /// PSNR of the best trivial guess, in dB; median over the images.
    #[serde(with = "number")]
    pub floor: f64,
    /// PSNR less the floor of the same image, in dB.
    pub gain: Spread,
    /// Structural similarity, at most 1.
    pub ssim: Spread,
    /// (SSIM - SSIM of the floor) / (1 - SSIM of the floor), at most 1.
    pub relative_ssim: Spread,
    /// Share of images with an SSIM of at least 0.6 and at least 3 dB over the floor, 0 to 1.
    #[serde(with = "number")]
    pub asr: f64,
    /// Share of reconstructions whose nearest neighbour in the client's data is the image itself, 0 to 1.
    #[serde(with = "number::option", default)]
    pub iip: Option<f64>,
    /// The attack's objective at its end: what it chooses its restarts by.
    #[serde(with = "number")]
    pub objective: f64,
    /// What it comes to.
    pub band: Band,
    /// Test accuracy of a run with this defence, 0 to 1.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Epsilon of a run with this defence; `None` without a guarantee.
    #[serde(with = "number::option", default)]
    pub epsilon: Option<f64>,
    /// Bytes of the attacked message.
    #[serde(default)]
    pub bytes_up: Option<u64>,
    /// Iterations, all restarts.
    pub iterations: u64,
    /// Wall-clock seconds of the attack.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Seed of the attack.
    pub seed: u64,
    /// Settings of the attack, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// A PNG file beside the report, named without a folder: an attacked image a line, `panels` side by side. Rows may
    /// share a picture.
    #[serde(default)]
    pub picture: Option<String>,
    /// What the equally wide columns of the picture show, from the left (`truth`, `floor`, `attack`, `adaptive attack`).
    #[serde(default)]
    pub panels: Vec<String>,
    /// (iteration, objective) of the best restart.
    #[serde(with = "number::points", default)]
    pub curve: Vec<[f64; 2]>,
    /// Rows of a table instead of images: what came back of each column.
    #[serde(default)]
    pub columns: Vec<ColumnError>,
    /// What a reader must know: a sentence.
    #[serde(default)]
    pub note: Option<String>,
}

/// What came back of a column of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnError {
    /// The column.
    pub name: String,
    /// Root mean square error in deviations of the column; of a categorical one the share of wrong categories, 0 to 1.
    #[serde(with = "number")]
    pub error: f64,
    /// The same of the best trivial guess.
    #[serde(with = "number")]
    pub floor: f64,
    /// Whether it holds categories.
    pub categorical: bool,
}

/// A figure with its confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    #[serde(with = "number")]
    pub value: f64,
    /// Lower end.
    #[serde(with = "number")]
    pub low: f64,
    /// Upper end.
    #[serde(with = "number")]
    pub high: f64,
}

/// What a membership inference comes to; in ascending order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MembershipVerdict {
    /// The attack was not run.
    #[default]
    NotRun,
    /// The interval of the AUC holds 0.5, or nearly.
    NoneFound,
    /// AUC above 0.55, or more than three times as many members found as false alarms.
    Leaks,
    /// More than 1 % of the members found at 0.1 % false alarms.
    Strong,
    /// More members found than the claimed epsilon allows any attack, the whole interval: the claim is wrong.
    AboveCeiling,
}

impl MembershipVerdict {
    /// Its name, for people: `none found`.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotRun => "not run",
            Self::NoneFound => "none found",
            Self::Leaks => "leaks",
            Self::Strong => "leaks strongly",
            Self::AboveCeiling => "above the ceiling",
        }
    }
}

/// One membership inference on one model or on the recorded rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MembershipRow {
    /// The attack, by its name (`rmia`).
    pub attack: String,
    /// What it looks at (`final model`, `recorded rounds`).
    pub target: String,
    /// The defence that was on, `none` for none.
    pub defence: String,
    /// Whether the row is about a variant of the run instead of the run itself.
    #[serde(default)]
    pub what_if: bool,
    /// Members that were scored.
    pub members: u32,
    /// Non-members that were scored.
    pub nonmembers: u32,
    /// Area under the ROC curve, 0 to 1.
    pub auc: Estimate,
    /// Largest mean of true positive and true negative rate over all thresholds, 0 to 1.
    #[serde(with = "number")]
    pub balanced_accuracy: f64,
    /// Share of members found at 1 % false alarms; `None` where the sample does not support it.
    #[serde(default)]
    pub tpr_1: Option<Estimate>,
    /// Share of members found at 0.1 % false alarms; `None` where the sample does not support it.
    #[serde(default)]
    pub tpr_01: Option<Estimate>,
    /// Why a column is `None`, a sentence.
    #[serde(default)]
    pub refused: Option<String>,
    /// Largest share of members that any attack finds at 1 % false alarms if the claimed epsilon holds.
    #[serde(with = "number::option", default)]
    pub ceiling_1: Option<f64>,
    /// The same at 0.1 % false alarms.
    #[serde(with = "number::option", default)]
    pub ceiling_01: Option<f64>,
    /// (false positive rate, true positive rate), ascending.
    #[serde(with = "number::points", default)]
    pub roc: Vec<[f64; 2]>,
    /// (false positive rate, largest true positive rate of any attack if the claimed epsilon holds), ascending. Where it is
    /// empty the page draws the two rates below, or else what epsilon and the subject's delta allow.
    #[serde(with = "number::points", default)]
    pub ceiling: Vec<[f64; 2]>,
    /// What it comes to.
    pub verdict: MembershipVerdict,
    /// AUC of each class.
    #[serde(with = "number::named", default)]
    pub classes: Vec<(String, f64)>,
    /// Test accuracy of a run with this defence, 0 to 1.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Epsilon of a run with this defence; `None` without a guarantee.
    #[serde(with = "number::option", default)]
    pub epsilon: Option<f64>,
    /// Wall-clock seconds of the attack.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Seed of the attack.
    pub seed: u64,
    /// What a reader must know: a sentence.
    #[serde(default)]
    pub note: Option<String>,
}

/// One estimate of a client's mix of labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PropertyRow {
    /// The attack, by its name.
    pub attack: String,
    /// What it looks at.
    pub target: String,
    /// Mean squared error of the shares.
    #[serde(with = "number")]
    pub error: f64,
    /// The same of the guess that all clients have the mix of the whole population.
    #[serde(with = "number")]
    pub floor: f64,
    /// Cosine of the estimated and the true shares, mean over the clients.
    #[serde(with = "number")]
    pub cosine: f64,
    /// Share of clients whose most frequent class is named rightly, 0 to 1.
    #[serde(with = "number")]
    pub dominant: f64,
    /// What a reader must know: a sentence.
    #[serde(default)]
    pub note: Option<String>,
}

/// One measurement of epsilon by canaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The method, by its name (`one-run`).
    pub method: String,
    /// Whose data: `client` or `example`.
    pub unit: String,
    /// Canaries planted or held back.
    pub canaries: u32,
    /// Guesses made about them.
    pub guesses: u32,
    /// Guesses that were right.
    pub correct: u32,
    /// Epsilon is at least this, with `confidence`.
    #[serde(with = "number::option", default)]
    pub lower_bound: Option<f64>,
    /// An estimate of epsilon, which is no bound.
    #[serde(with = "number::option", default)]
    pub estimate: Option<f64>,
    /// Confidence of the lower bound, 0 to 1.
    #[serde(with = "number")]
    pub confidence: f64,
    /// The analytic epsilon that the run claims; `None` is infinite.
    #[serde(with = "number::option", default)]
    pub claim: Option<f64>,
    /// Delta of claim and bound.
    #[serde(with = "number")]
    pub delta: f64,
    /// Whether the lower bound is at most the claim.
    pub passed: bool,
    /// Wall-clock seconds.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Seed of the coins.
    pub seed: u64,
    /// What a reader must know: a sentence.
    #[serde(default)]
    pub note: Option<String>,
}

/// A malicious model put before the client-side guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuardRow {
    /// How the model was made.
    pub attack: String,
    /// Whether the guard refused it.
    pub flagged: bool,
    /// The guard's finding, or that it had none.
    pub finding: String,
}

/// Something that the suite did not do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why, a sentence or phrase.
    pub why: String,
}
