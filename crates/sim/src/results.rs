//! From a federation and its final model to the parts of the record.

use std::collections::BTreeMap;

use cloister_data::PartitionConfig;
use cloister_nn::metrics::Evaluation;
use cloister_nn::{model_file, parallel};
use cloister_protocol::Learner;
use cloister_report::record::{
    AggregationInfo, Baseline, Best, ClientRow, Communication, DataInfo, HeadlineMetric, Metrics,
    ModelInfo, PrivacyInfo, RoundOutcome, RoundRow, Summary, Unattacked,
};
use cloister_robust::AggregationConfig;
use sha2::{Digest, Sha256};

use crate::attackers::Attackers;
use crate::error::SimError;
use crate::federation::Federation;
use crate::ordered::for_each_ordered;
use crate::trust::trust;

/// Judges `parameters` on the test examples.
pub(crate) fn evaluate(federation: &Federation, parameters: &[f32], threads: usize) -> Evaluation {
    let test = &federation.data.test;
    parallel::evaluate(
        &federation.model,
        parameters,
        test.features(),
        test.labels(),
        threads,
    )
}

/// Each client's row: how often it took part, and how good the global model is on its own examples.
pub(crate) fn clients(
    federation: &Federation,
    parameters: &[f32],
    threads: usize,
    participations: &[u32],
    refusals: &[u32],
) -> Vec<ClientRow> {
    let measure = federation.experiment.evaluate.clients;
    let mut rows = Vec::with_capacity(federation.clients());
    for_each_ordered(
        &federation.partition.clients,
        threads,
        |share| {
            measure
                .then(|| {
                    federation
                        .with_learner(&share.rows, None, |learner| learner.evaluate(parameters))
                })
                .and_then(Result::ok)
        },
        |share, evaluation: Option<Evaluation>| {
            let place = rows.len();
            rows.push(ClientRow {
                client: share.name.clone(),
                examples: share.rows.len() as u32,
                accuracy: evaluation.as_ref().map(|e| e.accuracy),
                loss: evaluation.as_ref().map(|e| e.loss),
                alone_accuracy: None,
                alone_auroc: None,
                rounds: participations.get(place).copied().unwrap_or(0),
                refused: refusals.get(place).copied().unwrap_or(0),
                malicious: None,
                kept: None,
            });
            std::ops::ControlFlow::Continue(())
        },
    );
    rows
}

/// The bytes of `model.safetensors`, with what a reader needs to build the model and read data for it.
pub(crate) fn model_file(
    federation: &Federation,
    parameters: &[f32],
    rounds: u32,
) -> Result<Vec<u8>, SimError> {
    let experiment = &federation.experiment;
    let metadata = BTreeMap::from([
        (
            "cloister.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("cloister.config".to_owned(), experiment.resolved_toml()?),
        ("cloister.rounds".to_owned(), rounds.to_string()),
        (
            "cloister.classes".to_owned(),
            federation.data.train.classes().join("\n"),
        ),
    ]);
    Ok(model_file::encode(
        &metadata,
        federation.model.layout(),
        parameters,
    )?)
}

/// All that the summary is made of.
pub(crate) struct Ending<'a> {
    pub(crate) federation: &'a Federation,
    pub(crate) rows: &'a [RoundRow],
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) baselines: BTreeMap<String, Baseline>,
    pub(crate) refused: u64,
    pub(crate) threads: usize,
    pub(crate) config_sha256: String,
    pub(crate) model: &'a [u8],
    pub(crate) attackers: Option<&'a Attackers>,
    pub(crate) unattacked: Option<Unattacked>,
    pub(crate) privacy: Option<PrivacyInfo>,
}

pub(crate) fn metrics(evaluation: &Evaluation) -> Metrics {
    Metrics {
        accuracy: Some(evaluation.accuracy),
        balanced_accuracy: Some(evaluation.balanced_accuracy),
        loss: Some(evaluation.loss),
        auroc: evaluation.auroc,
    }
}

pub(crate) fn summary(ending: &Ending<'_>) -> Summary {
    let federation = ending.federation;
    let experiment = &federation.experiment;
    let rows = ending.rows;
    let abandoned = rows
        .iter()
        .filter(|row| row.outcome == RoundOutcome::Abandoned)
        .count() as u32;
    let (bytes_up, bytes_down) = rows.iter().fold((0, 0), |(up, down), row| {
        (up + row.bytes_up, down + row.bytes_down)
    });
    let replies: u64 = rows.iter().map(|row| u64::from(row.accepted)).sum();
    let parameters = federation.model.layout().len();
    let metric = headline(federation.data.train.classes().len());
    let final_ = metrics(ending.evaluation);
    let attack = ending.attackers.map(|attackers| {
        let unattacked = ending.unattacked.clone();
        attackers.info(federation, rows, &final_, metric, unattacked)
    });
    Summary {
        name: experiment.name.clone(),
        seed: experiment.seed,
        rounds: rows.len() as u32,
        completed: rows.len() as u32 - abandoned,
        abandoned,
        final_,
        best: best(rows, federation.data.train.classes().len()),
        metric,
        privacy: ending.privacy.clone(),
        communication: Communication {
            bytes_up,
            bytes_down,
            bytes_per_parameter: if replies == 0 {
                0.0
            } else {
                bytes_up as f64 / (replies as f64 * parameters as f64)
            },
        },
        refused: ending.refused,
        seconds: rows.iter().map(|row| row.seconds).sum(),
        virtual_seconds: rows.iter().map(|row| row.virtual_seconds).sum(),
        threads: ending.threads as u32,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_sha256: ending.config_sha256.clone(),
        model_sha256: hex(&Sha256::digest(ending.model)),
        model: ModelInfo {
            kind: experiment.model.kind().to_owned(),
            parameters: parameters as u64,
        },
        data: data_info(federation),
        baselines: ending.baselines.clone(),
        trust: trust(experiment, ending.federation.sums.as_ref()),
        aggregation: Some(aggregation(&experiment.aggregation)),
        attack,
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

/// The figure that a field looks at first: AUROC for two classes, accuracy otherwise.
fn headline(classes: usize) -> HeadlineMetric {
    if classes == 2 {
        HeadlineMetric::Auroc
    } else {
        HeadlineMetric::Accuracy
    }
}

/// The round with the best headline figure; the earliest among equals.
fn best(rows: &[RoundRow], classes: usize) -> Option<Best> {
    let figure = |row: &RoundRow| match headline(classes) {
        HeadlineMetric::Auroc => row.test_auroc,
        _ => row.test_accuracy,
    };
    let mut best: Option<(f64, &RoundRow)> = None;
    for row in rows {
        if let Some(value) = figure(row)
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
    })
}

fn data_info(federation: &Federation) -> DataInfo {
    let data = &federation.data;
    DataInfo {
        dataset: data.train.name().to_owned(),
        train: data.train.len() as u64,
        test: data.test.len() as u64,
        classes: data.train.classes().len() as u32,
        clients: federation.clients() as u32,
        partition: describe(&federation.experiment.data.partition),
        notes: data.notes.clone(),
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
