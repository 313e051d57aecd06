//! From a federation and its final model to the parts of the record.

use cloister_data::Dataset;
use cloister_host::{Groups, Judging, NumberJudging};
use cloister_nn::metrics::{Bootstrap, Measures, NumberTally, Tally};
use cloister_nn::parallel;
use cloister_protocol::Learner;
use cloister_report::record::{ClientRow, Quality, QualityCurves};

use crate::federation::Federation;
use crate::ordered::for_each_ordered;

/// Judges `parameters` on the test examples.
pub(crate) fn evaluate(federation: &Federation, parameters: &[f32], threads: usize) -> Measures {
    let test = &federation.data.test;
    match number_tally(federation, test, parameters, threads) {
        Some(tally) => Measures::Number(tally.finish()),
        None => Measures::Classes(tally(federation, test, parameters, threads).finish()),
    }
}

/// Answers beside what they should be, where these are numbers.
fn number_tally(
    federation: &Federation,
    data: &Dataset,
    parameters: &[f32],
    threads: usize,
) -> Option<NumberTally> {
    let target = data.target()?;
    Some(parallel::numbers_of(
        &federation.model,
        parameters,
        data.features(),
        (&target.values, target.scale.deviation),
        threads,
        federation.streams.evaluation(),
    ))
}

fn tally(federation: &Federation, data: &Dataset, parameters: &[f32], threads: usize) -> Tally {
    parallel::logits_of(
        &federation.model,
        parameters,
        data.features(),
        data.labels(),
        threads,
        federation.streams.evaluation(),
    )
}

/// Judges the final model at length. The threshold between two classes is chosen on the pooled training examples, but for a run
/// with privacy: there it would be one more figure made of them, without noise.
pub(crate) fn judge(
    federation: &Federation,
    parameters: &[f32],
    threads: usize,
) -> (Measures, Quality, Option<QualityCurves>) {
    let (train, test) = (&federation.data.train, &federation.data.test);
    let sites = test.sites().map(|sites| Groups {
        names: &sites.names,
        of_row: &sites.of_row,
    });
    if let Some(tally) = number_tally(federation, test, parameters, threads) {
        let judging = NumberJudging {
            test: &tally,
            bootstrap: Bootstrap::default(),
            sites,
            subgroups: Vec::new(),
        };
        let (evaluation, quality) = judging.judge(&federation.streams);
        return (Measures::Number(evaluation), quality, None);
    }
    let tally = |data| tally(federation, data, parameters, threads);
    let judged = tally(test);
    let choosing = train.classes().len() == 2 && federation.experiment.privacy.is_none();
    let chosen_on = choosing.then(|| tally(train));
    let words = || format!("the {} training examples", train.len());
    let judging = Judging {
        chosen_on: chosen_on.as_ref().map(|tally| (tally, words())),
        sites,
        ..Judging::of_run(&judged, train.classes())
    };
    let (evaluation, quality, curves) = judging.judge(&federation.streams);
    (Measures::Classes(evaluation), quality, Some(curves))
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
        |share, measures: Option<Measures>| {
            let place = rows.len();
            rows.push(ClientRow {
                client: share.name.clone(),
                examples: share.rows.len() as u32,
                accuracy: measures.as_ref().and_then(Measures::accuracy),
                loss: measures.as_ref().map(Measures::loss),
                alone_accuracy: None,
                alone_auroc: None,
                r2: measures.as_ref().and_then(Measures::r2),
                alone_r2: None,
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
