//! How good a model that answers with a number is.

use cloister_nn::metrics::{Bootstrap, NumberEvaluation, NumberTally};
use cloister_protocol::{Purpose, Streams};
use cloister_report::record::{BootstrapInfo, GroupQuality, HeadlineMetric, Quality, Subgroups};

use super::{Groups, MOST_DRAWS, gaps, intervals, worst};

/// What is judged, and how.
#[derive(Clone, Debug)]
pub struct NumberJudging<'a> {
    /// The outputs for the test examples, and what they should be.
    pub test: &'a NumberTally,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// The owner of each test example, where they have owners.
    pub sites: Option<Groups<'a>>,
    /// Groups by columns of the data.
    pub subgroups: Vec<(String, Groups<'a>)>,
}

impl NumberJudging<'_> {
    /// The figures, in the target's unit. The intervals are drawn from a stream of their own: the same seed, the same intervals.
    pub fn judge(&self, streams: &Streams) -> (NumberEvaluation, Quality) {
        let affordable = (MOST_DRAWS / (self.test.len() as u64).max(1)).max(200);
        let bootstrap = Bootstrap {
            replicates: self
                .bootstrap
                .replicates
                .min(u32::try_from(affordable).unwrap_or(u32::MAX)),
            ..self.bootstrap
        };
        let mut rng = streams.stream(Purpose::Intervals, 0, 0);
        let judged = self.test.assess(&bootstrap, &mut rng);
        let sites = self.sites.map_or_else(Vec::new, |sites| self.groups(sites));
        let subgroups = self.subgroups.iter().map(|(column, groups)| {
            let groups = self.groups(*groups);
            Subgroups {
                column: column.clone(),
                gaps: gaps(&groups),
                groups,
            }
        });
        let intervals = intervals(&judged.intervals);
        let quality = Quality {
            examples: self.test.len() as u64,
            bootstrap: (!intervals.is_empty()).then_some(BootstrapInfo {
                level: bootstrap.level,
                replicates: bootstrap.replicates,
                stratified: false,
            }),
            intervals,
            worst_site: worst(&sites, HeadlineMetric::R2),
            sites,
            subgroups: subgroups.collect(),
            ..Quality::default()
        };
        (judged.evaluation, quality)
    }

    fn groups(&self, groups: Groups<'_>) -> Vec<GroupQuality> {
        let held = groups.held().into_iter();
        held.map(|(name, rows)| {
            let evaluation = self.test.subset(&rows).finish();
            let figures = evaluation.figures;
            GroupQuality {
                name: name.to_owned(),
                examples: figures.examples as u64,
                loss: Some(evaluation.loss),
                r2: figures.r2,
                rmse: Some(figures.rmse),
                mae: Some(figures.mae),
                ..GroupQuality::default()
            }
        })
        .collect()
    }
}
