//! From a federation and its final model to the parts of the record.

use cloister_nn::metrics::Evaluation;
use cloister_nn::parallel;
use cloister_protocol::Learner;
use cloister_report::record::ClientRow;

use crate::federation::Federation;
use crate::ordered::for_each_ordered;

/// Judges `parameters` on the test examples.
pub(crate) fn evaluate(federation: &Federation, parameters: &[f32], threads: usize) -> Evaluation {
    let test = &federation.data.test;
    parallel::evaluate(
        &federation.model,
        parameters,
        test.features(),
        test.labels(),
        threads,
        federation.streams.evaluation(),
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
                    federation.with_learner(&share.rows, |learner| learner.evaluate(parameters))
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
