//! `[secure_aggregation]`: combinations that cannot keep its promise.

use cloister_privacy::Mechanism;
use cloister_protocol::{Sampling, most_called};
use cloister_redteam::Knowledge;
use cloister_robust::Rule;
use cloister_secagg::{Abort, SecureAggregationConfig};

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    pub(super) fn secure_aggregation(
        &mut self,
        secure: &SecureAggregationConfig,
        experiment: &Experiment,
    ) {
        if let Err((key, reason)) = secure.check() {
            self.refuse(&format!("secure_aggregation.{key}"), reason);
            return;
        }
        self.rule_on_sums(secure, experiment);
        let mechanism = experiment.privacy.as_ref().map(|privacy| privacy.mechanism);
        match mechanism {
            Some(mechanism @ (Mechanism::CentralGaussian | Mechanism::CorrelatedGaussian)) => {
                self.refuse(
                    "privacy.mechanism",
                    format!(
                        "{} has the server clip each update, which it cannot see here: use \"distributed-discrete-gaussian\"",
                        mechanism.name()
                    ),
                );
            }
            Some(Mechanism::DistributedDiscreteGaussian) if secure.buckets > 1 => self.refuse(
                "secure_aggregation.buckets",
                "noise is added up over the whole cohort: distributed-discrete-gaussian needs one sum",
            ),
            _ => {}
        }
        if experiment
            .attack
            .as_ref()
            .is_some_and(|attack| attack.sees() == Knowledge::All)
        {
            self.warn(
                "attack.knowledge",
                "the attackers see all honest updates, which nobody can under secure aggregation: they are stronger than any \
                 could be",
            );
        }
        if experiment.federation.sampling == Sampling::Poisson {
            self.warn(
                "federation.sampling",
                "a cohort drawn by coins can be too small for a secure sum; such a round is abandoned",
            );
            return;
        }
        let Some(clients) = experiment.population().filter(|clients| *clients > 0) else {
            return;
        };
        self.cohort_for_sums(secure, most_called(&experiment.federation, clients));
    }

    /// A rule that compares updates has sums to compare only.
    fn rule_on_sums(&mut self, secure: &SecureAggregationConfig, experiment: &Experiment) {
        let aggregation = &experiment.aggregation;
        if aggregation.is_plain_mean() {
            return;
        }
        if secure.buckets == 1 {
            self.refuse(
                "aggregation.rule",
                "needs single updates, and the server sees their sum only: use \"mean\", or secure_aggregation.buckets to let \
                 it compare the means of random groups",
            );
            return;
        }
        if aggregation.rule == Rule::Foolsgold {
            self.refuse(
                "aggregation.rule",
                "foolsgold compares each client's past, and buckets are drawn anew in each round",
            );
        }
        if let Err(error) = aggregation.check_rows(secure.buckets as usize) {
            self.refuse(
                "aggregation.byzantine",
                format!("{error}: the rule sees {} buckets", secure.buckets),
            );
        }
    }

    /// Whether a cohort of this size can have a sum; the length of the model does not matter.
    fn cohort_for_sums(&mut self, secure: &SecureAggregationConfig, cohort: u32) {
        let (key, hint) = match secure.params(cohort, 1) {
            Ok(_) => return,
            Err(reason @ Abort::SmallCohort { .. }) => {
                let parts = match secure.buckets {
                    1 => format!("a cohort is {cohort} clients"),
                    count => format!("a cohort of {cohort} in {count} buckets"),
                };
                let what = format!("{reason}: {parts}");
                ("secure_aggregation.minimum_cohort", what)
            }
            Err(reason @ Abort::Threshold { .. }) => {
                ("secure_aggregation.threshold", reason.to_string())
            }
            Err(reason @ Abort::Overflow { .. }) => {
                ("secure_aggregation.lanes", reason.to_string())
            }
            Err(reason) => ("secure_aggregation", reason.to_string()),
        };
        self.refuse(key, hint);
    }
}
