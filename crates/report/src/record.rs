//! The run folder: what a host writes down about a run, and the same read back.
//!
//! | file | what | written |
//! | --- | --- | --- |
//! | `config.toml` | the resolved config, word for word | once, at the start |
//! | `rounds.csv` | a [`RoundRow`] a round | one line appended after each round |
//! | `events.jsonl` | an [`Event`] a line | appended as things happen |
//! | `ledger.jsonl` | a privacy event a line, chained by hashes; the ledger owns it, not [`RunWriter`] | before what it pays for is released |
//! | `verdicts.csv` | a [`VerdictRow`] an accepted reply, where the rule judges single replies | appended with each round |
//! | `replies.csv` | a [`ReplyRow`] an accepted reply, where the host looks at single replies | appended with each round |
//! | `partition.csv` | clients x classes: examples held | once |
//! | `baselines.csv` | a [`BaselinePoint`] a baseline and round | when a baseline is done |
//! | `clients.csv` | a [`ClientRow`] a client | at the end |
//! | `confusion.csv` | true x predicted classes | at the end |
//! | `curves.json` | [`QualityCurves`]: ROC, precision against recall, reliability | at the end |
//! | `pipeline.json` | what makes examples of rows: the data crate's, not [`RunWriter`]'s | once, at the start |
//! | `summary.json` | the [`Summary`] | at the end; its presence says that the run ended |
//! | `leakage/` | `leakage.json`, a [`leakage::LeakageReport`], and the pictures that it names | by the red team, later |
//!
//! The growing files are appended line by line and a line counts once its line end is there; every other file
//! is replaced in one step ([`write_atomic`]). So a folder can be read at any moment, also of a run in progress and of
//! a run that was killed.
//!
//! **Numbers.** A measurement that was not made is `null` in JSON and an empty cell in CSV. One that was made and is not
//! finite (a diverged loss) is `NaN`, `inf` or `-inf`: a bare word in CSV, a JSON string in JSON. Both survive the round
//! trip. Finite numbers are written with as many digits as bring back the same bits.

mod anomaly;
mod at_sites;
mod attack;
mod error;
mod file;
mod headline;
pub mod leakage;
pub(crate) mod number;
mod privacy;
mod quality;
mod reader;
mod sweep;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use anomaly::{AnomalyFlag, AnomalyInfo, ReplyRow, flags_text};
pub use at_sites::AtSites;
pub use attack::{AggregationInfo, AttackInfo, Unattacked, VerdictRow};
pub use error::RecordError;
pub use file::write_atomic;
pub use headline::HeadlineMetric;
pub use privacy::PrivacyInfo;
pub(crate) use quality::text;
pub use quality::{
    BootstrapInfo, ClassQuality, GroupQuality, IntervalQuality, MeanQuality, NamedCurve,
    OperatingFigures, Quality, QualityCurves, Reached, ReliabilityPoint, Subgroups, Thresholds,
    reached,
};
pub use reader::{ConfusionTable, PartitionTable, RunRecord};
pub use sweep::{SweepRecord, SweepResult, SweepRow, SweepStatus, SweepWriter};
pub use writer::RunWriter;

/// The files of a run folder, by the names of [`RunWriter`].
pub mod file_name {
    /// The resolved config.
    pub const CONFIG: &str = "config.toml";
    /// One row a round.
    pub const ROUNDS: &str = "rounds.csv";
    /// One JSON object a line.
    pub const EVENTS: &str = "events.jsonl";
    /// One row an accepted reply that the rule judged.
    pub const VERDICTS: &str = "verdicts.csv";
    /// One row an accepted reply that the host looked at.
    pub const REPLIES: &str = "replies.csv";
    /// The privacy ledger: what each noisy release cost. Nothing here writes, cuts or removes it.
    pub const LEDGER: &str = "ledger.jsonl";
    /// What the clients found together about their tables before the training.
    pub const STATISTICS: &str = "statistics.json";
    /// Clients x classes.
    pub const PARTITION: &str = "partition.csv";
    /// Learning curves of the baselines.
    pub const BASELINES: &str = "baselines.csv";
    /// One row a client.
    pub const CLIENTS: &str = "clients.csv";
    /// True x predicted classes.
    pub const CONFUSION: &str = "confusion.csv";
    /// Curves of the final model on the test set.
    pub const CURVES: &str = "curves.json";
    /// The final model. Nothing here writes it: the host does.
    pub const MODEL: &str = "model.safetensors";
    /// What makes examples of rows and pictures. Nothing here writes it: the host does.
    pub const PIPELINE: &str = "pipeline.json";
    /// The end result.
    pub const SUMMARY: &str = "summary.json";
    /// The folder of the leakage report.
    pub const LEAKAGE: &str = "leakage";
    /// The leakage report, in its folder.
    pub const LEAKAGE_JSON: &str = "leakage.json";
    /// The page made of all of it.
    pub const REPORT: &str = "report.html";
    /// One row a run, in the folder of a sweep.
    pub const SWEEP: &str = "sweep.csv";
    /// The run folder, inside that of an attacked run, of the same run without the attack, where the summary names no
    /// other.
    pub const UNATTACKED: &str = "unattacked";
}

/// The words that [`Event::kind`] takes where the report knows what to do with them. Other words are kept and listed.
pub mod event_kind {
    /// A reply was refused. `detail.reason` is a short word for the kind of fault (`not-finite`), the message a sentence.
    pub const REFUSED: &str = "refused";
    /// A round ended without a new model. The message says why.
    pub const ABANDONED: &str = "abandoned";
    /// A client of the cohort never answered.
    pub const DROPPED: &str = "dropped";
    /// A client answered after the round was over.
    pub const LATE: &str = "late";
    /// Something departs from what is usual. `detail` is an [`AnomalyFlag`](super::AnomalyFlag), the message a sentence.
    pub const ANOMALY: &str = "anomaly";
    /// The run was continued from a checkpoint.
    pub const RESUMED: &str = "resumed";
}

/// How a round ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RoundOutcome {
    /// With too few good replies: the model is that of the round before.
    Abandoned,
    /// With a new model.
    #[default]
    Completed,
}

/// One round: a line of `rounds.csv`.
///
/// The test figures are those of the model after the round; they are `None` in rounds without an evaluation. Round 0,
/// where a host records it, is the model before any training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundRow {
    /// The round, counted from 1.
    pub round: u32,
    /// Mean training loss over the accepted replies, weighted by examples.
    #[serde(with = "number::option")]
    pub train_loss: Option<f64>,
    /// Mean loss per test example.
    #[serde(with = "number::option")]
    pub test_loss: Option<f64>,
    /// Share of test examples classified rightly, 0 to 1.
    #[serde(with = "number::option")]
    pub test_accuracy: Option<f64>,
    /// Area under the ROC curve, 0 to 1; two classes only.
    #[serde(with = "number::option")]
    pub test_auroc: Option<f64>,
    /// Clients that were asked.
    pub cohort: u32,
    /// Replies that passed the server's checks.
    pub accepted: u32,
    /// Replies that were refused.
    pub refused: u32,
    /// Clients of the cohort that never answered.
    pub dropped: u32,
    /// Replies that came after the round was over.
    pub late: u32,
    /// How the round ended.
    pub outcome: RoundOutcome,
    /// Privacy loss spent so far as accounted, at the delta of [`Summary::privacy`]. Whether the run may claim it is
    /// for [`PrivacyInfo::epsilon`] to say.
    #[serde(with = "number::option")]
    pub epsilon: Option<f64>,
    /// Bytes from all clients to the server in this round.
    pub bytes_up: u64,
    /// Bytes from the server to all clients in this round.
    pub bytes_down: u64,
    /// Wall-clock seconds that the round took, evaluation included.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Seconds on the simulated clock, where there is one.
    #[serde(with = "number::option")]
    pub virtual_seconds: Option<f64>,
    /// Accepted replies that the aggregation rule used, where it judges single replies.
    #[serde(default)]
    pub kept: Option<u32>,
    /// Accepted replies of malicious clients, where the host knows who they are.
    #[serde(default)]
    pub malicious: Option<u32>,
    /// Those of them that the rule used.
    #[serde(default)]
    pub malicious_kept: Option<u32>,
    /// Share of the aggregate that malicious replies had, 0 to 1, for rules that are weighted means.
    #[serde(with = "number::option", default)]
    pub malicious_weight: Option<f64>,
    /// Share of the attack's source class that the model gets right, 0 to 1.
    #[serde(with = "number::option", default)]
    pub source_recall: Option<f64>,
    /// Share of triggered test examples that the model takes for the attack's target class, 0 to 1.
    #[serde(with = "number::option", default)]
    pub attack_success: Option<f64>,
    /// Clipping norm in force, where contributions were clipped for privacy.
    #[serde(with = "number::option", default)]
    pub clip: Option<f64>,
    /// Share of contributions that were longer and were cut to it, 0 to 1. The exact share is a figure without noise: a
    /// host that claims privacy records a noisy one, or none.
    #[serde(with = "number::option", default)]
    pub clipped: Option<f64>,
    /// Share of the variance of a numeric target that is explained on the test examples; below 0 where the mean would do
    /// better.
    #[serde(with = "number::option", default)]
    pub test_r2: Option<f64>,
    /// Root of the mean squared error on the test examples, in the target's unit.
    #[serde(with = "number::option", default)]
    pub test_rmse: Option<f64>,
    /// Mean absolute error on the test examples, in the target's unit.
    #[serde(with = "number::option", default)]
    pub test_mae: Option<f64>,
}

/// Something that happened: a line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The round in progress; 0 before the first.
    pub round: u32,
    /// What happened, one word of [`event_kind`] or another.
    pub kind: String,
    /// The client it is about, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// Figures and words for programs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}

impl Event {
    /// An event about no client in particular, without detail.
    pub fn new(round: u32, kind: &str, message: impl Into<String>) -> Self {
        Self {
            round,
            kind: kind.to_owned(),
            client: None,
            message: message.into(),
            detail: Map::new(),
        }
    }

    /// A refused reply: `reason` is a short word for the kind of fault, `message` the whole sentence.
    pub fn refused(round: u32, client: &str, reason: &str, message: impl Into<String>) -> Self {
        let mut event = Self::new(round, event_kind::REFUSED, message);
        event.client = Some(client.to_owned());
        event
            .detail
            .insert("reason".to_owned(), Value::from(reason));
        event
    }
}

/// What became of one client: a line of `clients.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its name.
    pub client: String,
    /// Examples it trains on.
    pub examples: u32,
    /// Accuracy of the final global model on the client's own examples, 0 to 1.
    #[serde(with = "number::option")]
    pub accuracy: Option<f64>,
    /// Mean loss of the final global model on the client's own examples.
    #[serde(with = "number::option")]
    pub loss: Option<f64>,
    /// Accuracy, on the common test set, of a model that the client trained alone.
    #[serde(with = "number::option", default)]
    pub alone_accuracy: Option<f64>,
    /// AUROC, on the common test set, of a model that the client trained alone.
    #[serde(with = "number::option", default)]
    pub alone_auroc: Option<f64>,
    /// Share of the variance of a numeric target that the final global model explains on the client's own examples.
    #[serde(with = "number::option", default)]
    pub r2: Option<f64>,
    /// The same, on the common test set, of a model that the client trained alone.
    #[serde(with = "number::option", default)]
    pub alone_r2: Option<f64>,
    /// Rounds in which a reply of the client was accepted.
    pub rounds: u32,
    /// Replies of the client that were refused.
    pub refused: u32,
    /// Whether it is malicious, where the host knows.
    #[serde(default)]
    pub malicious: Option<bool>,
    /// Rounds in which the aggregation rule kept its reply, where it judges single replies.
    #[serde(default)]
    pub kept: Option<u32>,
}

/// A point of a baseline's learning curve: a line of `baselines.csv`.
///
/// The baselines with a meaning to the report are `centralised` (the same model on the pooled data) and `local` (the
/// same model on each client alone: the figures are means over the clients, with their range).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselinePoint {
    /// Work done so far, in rounds of the federation: as many local epochs as a client has by the end of that round.
    pub round: u32,
    /// Mean loss per test example.
    #[serde(with = "number::option")]
    pub loss: Option<f64>,
    /// Test accuracy, 0 to 1.
    #[serde(with = "number::option")]
    pub accuracy: Option<f64>,
    /// Test AUROC, 0 to 1.
    #[serde(with = "number::option")]
    pub auroc: Option<f64>,
    /// Lowest accuracy over the clients.
    #[serde(with = "number::option")]
    pub accuracy_min: Option<f64>,
    /// Highest accuracy over the clients.
    #[serde(with = "number::option")]
    pub accuracy_max: Option<f64>,
    /// Lowest AUROC over the clients.
    #[serde(with = "number::option")]
    pub auroc_min: Option<f64>,
    /// Highest AUROC over the clients.
    #[serde(with = "number::option")]
    pub auroc_max: Option<f64>,
    /// Share of the variance of a numeric target that is explained.
    #[serde(with = "number::option", default)]
    pub r2: Option<f64>,
    /// Lowest share over the clients.
    #[serde(with = "number::option", default)]
    pub r2_min: Option<f64>,
    /// Highest share over the clients.
    #[serde(with = "number::option", default)]
    pub r2_max: Option<f64>,
}

/// Test figures of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share classified rightly, 0 to 1.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Mean over the classes of the share of each class classified rightly, 0 to 1.
    #[serde(with = "number::option", default)]
    pub balanced_accuracy: Option<f64>,
    /// Mean loss per example.
    #[serde(with = "number::option", default)]
    pub loss: Option<f64>,
    /// Area under the ROC curve, 0 to 1; two classes only.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Share of the variance of a numeric target that is explained; below 0 where the mean would do better.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2: Option<f64>,
    /// Root of the mean squared error, in the target's unit.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub rmse: Option<f64>,
    /// Mean absolute error, in the target's unit.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub mae: Option<f64>,
}

/// The best round of a run, by its headline metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The round.
    pub round: u32,
    /// Test accuracy after it.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Test loss after it.
    #[serde(with = "number::option", default)]
    pub loss: Option<f64>,
    /// Test AUROC after it.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Share of the variance of a numeric target that is explained after it.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2: Option<f64>,
}

/// What a run put on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Communication {
    /// Bytes from clients to the server, all rounds.
    pub bytes_up: u64,
    /// Bytes from the server to clients, all rounds.
    pub bytes_down: u64,
    /// Bytes of one reply per model parameter: 4 for plain `f32` updates, plus framing.
    #[serde(with = "number")]
    pub bytes_per_parameter: f64,
    /// What levels of the headline metric have cost: from [`reached`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<Reached>,
}

/// The model of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its kind, as in the config.
    pub kind: String,
    /// Number of parameters.
    pub parameters: u64,
}

/// The data of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataInfo {
    /// Name of the data set.
    pub dataset: String,
    /// How it was shared out among the clients, in a few words (`dirichlet, alpha 0.5`).
    #[serde(default)]
    pub partition: String,
    /// Training examples, all clients.
    pub train: u64,
    /// Test examples.
    pub test: u64,
    /// Classes.
    pub classes: u32,
    /// Clients.
    pub clients: u32,
    /// What a reader must know about the data: sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// End result of a baseline, on the common test set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Test accuracy; for `local` the mean over the clients.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Test loss; for `local` the mean over the clients.
    #[serde(with = "number::option", default)]
    pub loss: Option<f64>,
    /// Test AUROC; for `local` the mean over the clients.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Share of the variance of a numeric target that is explained; for `local` the mean over the clients.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2: Option<f64>,
    /// For `local`: the range over the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<BaselineRange>,
}

/// Range of a baseline over the clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineRange {
    /// Number of clients.
    pub count: u32,
    /// Lowest accuracy.
    #[serde(with = "number::option", default)]
    pub accuracy_min: Option<f64>,
    /// Highest accuracy.
    #[serde(with = "number::option", default)]
    pub accuracy_max: Option<f64>,
    /// Lowest AUROC.
    #[serde(with = "number::option", default)]
    pub auroc_min: Option<f64>,
    /// Highest AUROC.
    #[serde(with = "number::option", default)]
    pub auroc_max: Option<f64>,
    /// Lowest share of the variance of a numeric target.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2_min: Option<f64>,
    /// Highest share of the variance of a numeric target.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2_max: Option<f64>,
}

/// The end result of a run: `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Rounds that were run, completed and abandoned.
    pub rounds: u32,
    /// Rounds that gave a new model.
    pub completed: u32,
    /// Rounds that did not.
    pub abandoned: u32,
    /// The headline metric.
    #[serde(default)]
    pub metric: HeadlineMetric,
    /// Test figures of the final model.
    #[serde(rename = "final")]
    pub final_: Metrics,
    /// More figures of it, with intervals; `None` in records of before there were any, and without test examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The best round; `None` when no round was evaluated.
    pub best: Option<Best>,
    /// What was promised; `None` without differential privacy.
    pub privacy: Option<PrivacyInfo>,
    /// What went over the wire.
    pub communication: Communication,
    /// Replies that were refused, all rounds.
    pub refused: u64,
    /// Wall-clock seconds of the run.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Seconds on the simulated clock, where there is one.
    #[serde(with = "number::option", default)]
    pub virtual_seconds: Option<f64>,
    /// Threads that the run had.
    pub threads: u32,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of `config.toml`, in hexadecimal.
    pub config_sha256: String,
    /// SHA-256 of `model.safetensors`, in hexadecimal.
    pub model_sha256: String,
    /// The model.
    pub model: ModelInfo,
    /// The data.
    pub data: DataInfo,
    /// End results of the baselines, by name.
    #[serde(default)]
    pub baselines: BTreeMap<String, Baseline>,
    /// The final model as the clients judged it on held-out examples of their own; `None` unless they were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_sites: Option<AtSites>,
    /// Who can see what: sentences.
    #[serde(default)]
    pub trust: Vec<String>,
    /// How replies were made one update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<AggregationInfo>,
    /// What the monitor flagged; `None` where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomalies: Option<AnomalyInfo>,
    /// The attack on the run; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackInfo>,
}

impl Summary {
    /// The summary in a run folder; `None` while the run has not ended.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`], [`RecordError::TooLarge`], [`RecordError::Io`].
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        reader::read_summary(folder)
    }
}
