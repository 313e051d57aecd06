//! The final model, judged by the clients on held-out examples of their own.

use cloister_data::{Dataset, PartitionConfig};
use cloister_nn::metrics::{ScoreHistogram, Tally};
use cloister_nn::parallel;
use cloister_protocol::Purpose;
use cloister_protocol::survey::{Asking, Owned, SurveyPlan};
use cloister_report::record::AtSites;

use crate::error::SimError;
use crate::federation::Federation;
use crate::inquiry::Inquiry;

/// Bins of a histogram of scores: AUROC is then known to about 1e-4 where scores are spread.
const BINS: usize = 1024;

/// The specificity at which sensitivity is told.
const SPECIFICITY: f64 = 0.9;

/// Rows of the test examples that each client holds: those of its own site, where the data name one by its name; else the rows are
/// dealt evenly.
fn held_out(federation: &Federation) -> Result<Vec<Vec<u32>>, SimError> {
    let test = &federation.data.test;
    let clients = &federation.partition.clients;
    if let Some(sites) = test.sites() {
        let place = |name: &str| sites.names.iter().position(|site| site == name);
        let places: Option<Vec<usize>> = clients.iter().map(|share| place(&share.name)).collect();
        if let Some(places) = places {
            let rows = |place: &usize| {
                let own = (0..)
                    .zip(&sites.of_row)
                    .filter(|(_, site)| **site as usize == *place);
                own.map(|(row, _)| row).collect()
            };
            return Ok(places.iter().map(rows).collect());
        }
    }
    if test.len() < clients.len() {
        let (rows, clients) = (test.len(), clients.len());
        let reason = format!("{rows} held-out examples cannot be judged by {clients} clients");
        return Err(SimError::Statistics(reason));
    }
    let mut rng = federation.streams.stream(Purpose::Partition, 1, 0);
    let dealt = PartitionConfig::Iid { minimum: 1 };
    let dealt = dealt.split(test, Some(clients.len()), &mut rng)?;
    Ok(dealt.clients.into_iter().map(|share| share.rows).collect())
}

/// Lets the clients judge `parameters`, and adds up their counts: in plain, or with the run's secure sums.
pub(crate) fn judge(
    federation: &Federation,
    parameters: &[f32],
    threads: usize,
) -> Result<AtSites, SimError> {
    let rows = held_out(federation)?;
    let classes = federation.model.classes();
    let counts: Vec<Vec<u64>> = rows
        .iter()
        .map(|rows| counts(federation, parameters, rows, threads))
        .collect::<Result<_, _>>()?;
    let names: Vec<String> = federation.owned().map(|(name, _)| name).collect();
    let asking = Asking::Counts(ScoreHistogram::len_for(classes, BINS));
    let plan = SurveyPlan::new(asking, names.len() as u32)?;
    let inquiry = Inquiry {
        experiment: &federation.experiment,
        plan: &plan,
        names: &names,
        purpose: "evaluation",
        threads,
    };
    let found = inquiry.hold(|client| Ok(Owned::Counts(&counts[client.0 as usize])))?;
    let sums = plan.counts(&found.sums)?;
    let sum = ScoreHistogram::from_counts(classes, BINS, sums)
        .map_err(|error| SimError::Statistics(error.to_string()))?;
    let figures = sum.evaluation();
    let auroc = sum.auroc();
    let of_two = |figure: Option<f64>| figure.filter(|_| classes == 2);
    Ok(AtSites {
        clients: names.len() as u32,
        examples: figures.examples as u64,
        masked: federation.experiment.secure_aggregation.is_some(),
        accuracy: figures.accuracy,
        balanced_accuracy: figures.balanced_accuracy,
        loss: figures.loss,
        auroc: auroc.map(|auroc| auroc.value),
        auroc_error: auroc.map(|auroc| auroc.error),
        sensitivity: match classes {
            2 => sum.sensitivity_at(1, SPECIFICITY).map(|found| found.value),
            _ => None,
        },
        brier: of_two(sum.brier()),
        confusion: figures.confusion,
        bytes_up: found.bytes_up,
        bytes_down: found.bytes_down + 4 * (parameters.len() * names.len()) as u64,
    })
}

/// A client's counts over its rows; zeros if it has none.
fn counts(
    federation: &Federation,
    parameters: &[f32],
    rows: &[u32],
    threads: usize,
) -> Result<Vec<u64>, SimError> {
    if rows.is_empty() {
        let classes = federation.model.classes();
        return Ok(ScoreHistogram::new(classes, BINS).counts().to_vec());
    }
    let own: Dataset = federation.data.test.subset(rows)?;
    let tally: Tally = parallel::logits_of(
        &federation.model,
        parameters,
        own.features(),
        own.labels(),
        threads,
        federation.streams.evaluation(),
    );
    Ok(ScoreHistogram::of(&tally, BINS).counts().to_vec())
}
