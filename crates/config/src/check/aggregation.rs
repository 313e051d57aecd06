//! `[aggregation]`: what the rule needs of a cohort.

use cloister_protocol::{ServerOptimizerKind, most_replies};
use cloister_robust::{RobustError, Rule};

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    pub(super) fn aggregation(&mut self, experiment: &Experiment) {
        let Experiment {
            aggregation,
            federation,
            ..
        } = experiment;
        match aggregation.check_parameters() {
            Ok(()) => {}
            Err(RobustError::Parameter {
                name,
                value,
                allowed,
            }) => self.refuse(
                &format!("aggregation.{name}"),
                format!("must be {allowed}, found {value}"),
            ),
            Err(other) => self.refuse("aggregation", other.to_string()),
        }
        let plain = aggregation.is_plain_mean();
        if aggregation.weights.is_some() && !plain {
            self.refuse(
                "aggregation.weights",
                "is for the plain mean: every other rule takes clients as equals, because a client could claim any \
                 number of examples",
            );
        }
        if plain && aggregation.byzantine > 0 {
            self.warn(
                "aggregation.byzantine",
                "has no effect on rule = \"mean\", which one malicious client can move anywhere",
            );
        }
        let Some(clients) = experiment.population().filter(|clients| *clients > 0) else {
            return;
        };
        let replies = most_replies(federation, clients);
        if experiment.secure_aggregation.is_some() {
            // A rule sees buckets then, not clients.
            return;
        }
        if let Err(error) = aggregation.check_rows(replies as usize) {
            self.refuse(
                "aggregation.byzantine",
                format!("{error}: a cohort has at most {replies} of {clients} clients"),
            );
        }
    }

    /// Signs are steps of a fixed length: an adaptive server optimiser would rescale them.
    pub(super) fn sign_steps(&mut self, rule: Rule, optimizer: ServerOptimizerKind) {
        let adaptive = !matches!(
            optimizer,
            ServerOptimizerKind::Sgd | ServerOptimizerKind::Momentum
        );
        if rule == Rule::SignMajority && adaptive {
            self.warn(
                "server.optimizer",
                "divides the signs of sign-majority by their own size again",
            );
        }
    }
}
