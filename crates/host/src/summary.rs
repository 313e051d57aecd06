//! What a run leaves behind when it ends: the model file and the parts of the summary.

use std::collections::BTreeMap;

use cloister_config::{ConfigError, Experiment};
use cloister_data::PartitionConfig;
use cloister_nn::Layout;
use cloister_nn::metrics::Measures;
use cloister_nn::model_file::{self, ModelFileError};
use cloister_report::record::{
    AggregationInfo, AnomalyInfo, AtSites, AttackInfo, Baseline, Best, Communication, DataInfo,
    HeadlineMetric, Metrics, ModelInfo, PrivacyInfo, Quality, RoundOutcome, RoundRow, Summary,
    reached,
};
use cloister_robust::AggregationConfig;
use sha2::{Digest, Sha256};

use crate::setting::Setting;
use crate::trust::trust;

/// Why a model file could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The config cannot be written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The parameters do not fit the layout.
    #[error(transparent)]
    File(#[from] ModelFileError),
}

/// The bytes of `model.safetensors`, with what a reader needs to build the model and read data for it.
///
/// # Errors
/// [`ModelError`].
pub fn model_file(
    experiment: &Experiment,
    layout: &Layout,
    classes: &[String],
    parameters: &[f32],
    rounds: u32,
) -> Result<Vec<u8>, ModelError> {
    let metadata = BTreeMap::from([
        (
            "cloister.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("cloister.config".to_owned(), experiment.resolved_toml()?),
        ("cloister.rounds".to_owned(), rounds.to_string()),
        ("cloister.classes".to_owned(), classes.join("\n")),
    ]);
    Ok(model_file::encode(&metadata, layout, parameters)?)
}

/// All that the summary is made of.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// The run.
    pub setting: &'a Setting<'a>,
    /// Its rounds.
    pub rows: &'a [RoundRow],
    /// The final model on test examples, where there are some.
    pub evaluation: Option<&'a Measures>,
    /// More figures of it, from [`crate::Judging`].
    pub quality: Option<Quality>,
    /// Models trained beside it.
    pub baselines: BTreeMap<String, Baseline>,
    /// Replies refused.
    pub refused: u64,
    /// Threads used.
    pub threads: usize,
    /// SHA-256 of the config, in hex.
    pub config_sha256: String,
    /// The bytes of the model file.
    pub model: &'a [u8],
    /// What was flagged, where somebody looked.
    pub anomalies: Option<AnomalyInfo>,
    /// The attack, in a simulation.
    pub attack: Option<AttackInfo>,
    /// What it cost in privacy.
    pub privacy: Option<PrivacyInfo>,
    /// The final model as the clients judged it, if they were asked.
    pub at_sites: Option<AtSites>,
}

/// The figures of a model on examples.
pub fn metrics(measures: &Measures) -> Metrics {
    let classes = measures.classes();
    let number = measures.number();
    Metrics {
        accuracy: measures.accuracy(),
        balanced_accuracy: classes.map(|evaluation| evaluation.balanced_accuracy),
        loss: Some(measures.loss()),
        auroc: measures.auroc(),
        r2: measures.r2(),
        rmse: number.map(|number| number.rmse),
        mae: number.map(|number| number.mae),
    }
}

/// The summary of a run.
pub fn summary(ending: &Ending<'_>) -> Summary {
    let setting = ending.setting;
    let experiment = setting.experiment;
    let rows = ending.rows;
    let abandoned = rows
        .iter()
        .filter(|row| row.outcome == RoundOutcome::Abandoned)
        .count() as u32;
    let (bytes_up, bytes_down) = rows.iter().fold((0, 0), |(up, down), row| {
        (up + row.bytes_up, down + row.bytes_down)
    });
    let replies: u64 = rows.iter().map(|row| u64::from(row.accepted)).sum();
    let parameters = setting.parameters;
    Summary {
        name: experiment.name.clone(),
        seed: experiment.seed,
        rounds: rows.len() as u32,
        completed: rows.len() as u32 - abandoned,
        abandoned,
        final_: ending.evaluation.map(metrics).unwrap_or_default(),
        quality: ending.quality.clone(),
        best: best(rows, setting.classes),
        metric: headline(setting.classes),
        privacy: ending.privacy.clone(),
        communication: Communication {
            bytes_up,
            bytes_down,
            bytes_per_parameter: if replies == 0 {
                0.0
            } else {
                bytes_up as f64 / (replies as f64 * parameters as f64)
            },
            reached: reached(rows, headline(setting.classes)),
        },
        refused: ending.refused,
        seconds: rows.iter().map(|row| row.seconds).sum(),
        virtual_seconds: rows.iter().map(|row| row.virtual_seconds).sum(),
        threads: ending.threads as u32,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_sha256: ending.config_sha256.clone(),
        model_sha256: to_hex(&Sha256::digest(ending.model)),
        model: ModelInfo {
            kind: experiment.model.kind().to_owned(),
            parameters: parameters as u64,
        },
        data: data_info(setting),
        baselines: ending.baselines.clone(),
        at_sites: ending.at_sites.clone(),
        trust: trust(experiment, setting.sums, setting.place),
        aggregation: Some(aggregation(&experiment.aggregation)),
        anomalies: ending.anomalies.clone(),
        attack: ending.attack.clone(),
    }
}

fn aggregation(config: &AggregationConfig) -> AggregationInfo {
    AggregationInfo {
        rule: config.rule.name().to_owned(),
        byzantine: config.byzantine,
        before: config
            .before
            .iter()
            .map(|step| step.name().to_owned())
            .collect(),
        score: config.rule.score_meaning().map(str::to_owned),
    }
}

/// The figure that a field looks at first: AUROC for two classes, accuracy for more; R2 for the one class that stands for a
/// number.
pub fn headline(classes: usize) -> HeadlineMetric {
    match classes {
        1 => HeadlineMetric::R2,
        2 => HeadlineMetric::Auroc,
        _ => HeadlineMetric::Accuracy,
    }
}

/// The round with the best headline figure; the earliest among equals.
fn best(rows: &[RoundRow], classes: usize) -> Option<Best> {
    let metric = headline(classes);
    let mut best: Option<(f64, &RoundRow)> = None;
    for row in rows {
        if let Some(value) = row.value(metric)
            && best.is_none_or(|(highest, _)| value > highest)
        {
            best = Some((value, row));
        }
    }
    best.map(|(_, row)| Best {
        round: row.round,
        accuracy: row.test_accuracy,
        loss: row.test_loss,
        auroc: row.test_auroc,
        r2: row.test_r2,
    })
}

fn data_info(setting: &Setting<'_>) -> DataInfo {
    DataInfo {
        dataset: setting.dataset.to_owned(),
        train: setting.members.iter().map(|member| member.examples).sum(),
        test: setting.test,
        classes: setting.classes as u32,
        clients: setting.members.len() as u32,
        partition: describe(&setting.experiment.data.partition),
        notes: setting.notes.to_vec(),
    }
}

/// `dirichlet, alpha 0.5, minimum 20`: the kind, then its settings in the words of the config.
fn describe(partition: &PartitionConfig) -> String {
    let mut words = vec![partition.kind().to_owned()];
    if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(partition) {
        let others = settings
            .iter()
            .filter(|(key, value)| *key != "kind" && **value != false);
        words.extend(others.map(|(key, value)| format!("{} {value}", key.replace('_', " "))));
    }
    words.join(", ")
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
