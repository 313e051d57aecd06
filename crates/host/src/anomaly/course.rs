//! The run as a whole: the course of its model, and of its ledger.

use cloister_config::AnomaliesConfig;
use cloister_report::record::AnomalyFlag;
use serde::{Deserialize, Serialize};

use super::{Observed, Raised};

/// Measurements before the first fall that can be told from a beginning.
const FIRST: u32 = 3;
/// Standard errors that a fall must exceed, of the difference of two shares of a half on so many test examples.
const ERRORS: f64 = 3.0;

/// What is remembered of the run as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Course {
    measured: u32,
    last: f64,
    best: f64,
    best_round: u32,
    /// Rounds in a row with an accuracy far below the best.
    below: Vec<u32>,
    has_diverged: bool,
    /// Releases beyond the plan that have been told of.
    excess: u64,
}

impl Course {
    pub(super) fn went_on(
        &mut self,
        config: &AnomaliesConfig,
        test: u64,
        seen: &Observed<'_>,
    ) -> Vec<Raised> {
        let mut raised = Vec::from_iter(self.diverged(seen));
        if let Some(accuracy) = seen.row.test_accuracy {
            raised.extend(self.fell(config, test, seen.row.round, accuracy));
        }
        raised.extend(self.overspent(seen));
        raised.extend(beyond_budget(seen));
        raised
    }

    /// A fall at once, against the measurement before and the best; or a lasting one, of twice that, against the best.
    fn fell(
        &mut self,
        config: &AnomaliesConfig,
        test: u64,
        round: u32,
        accuracy: f64,
    ) -> Option<Raised> {
        let chance = ERRORS * (0.5 / test.max(1) as f64).sqrt();
        let most = config.accuracy_drop.max(chance);
        let (best, best_round, last) = (self.best, self.best_round, self.last);
        let is_known = self.measured >= FIRST;
        self.measured += 1;
        self.last = accuracy;
        if accuracy > best {
            (self.best, self.best_round) = (accuracy, round);
        }
        match best - accuracy >= 2.0 * most {
            true => self.below.push(round),
            false => self.below.clear(),
        }
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let raised =
            |rule: &str, value: f64, threshold: f64, rounds: Vec<u32>, message: String| Raised {
                client: None,
                message,
                flag: AnomalyFlag {
                    rule: rule.to_owned(),
                    value,
                    threshold,
                    usual: Some(best),
                    measured: Some(accuracy),
                    rounds,
                },
            };
        if is_known && last - accuracy >= most && best - accuracy >= most {
            let message = format!(
                "the test accuracy fell from {} to {}; the best was {} in round {best_round}",
                percent(last),
                percent(accuracy),
                percent(best)
            );
            return Some(raised(
                "accuracy",
                last - accuracy,
                most,
                vec![round],
                message,
            ));
        }
        if is_known && self.below.len() == config.persistence as usize {
            let message = format!(
                "the test accuracy has stayed below the best, {} in round {best_round}, for {} measurements: {}",
                percent(best),
                self.below.len(),
                percent(accuracy)
            );
            let rounds = self.below.clone();
            return Some(raised(
                "decline",
                best - accuracy,
                2.0 * most,
                rounds,
                message,
            ));
        }
        None
    }

    /// A loss that is no number any more, told once.
    fn diverged(&mut self, seen: &Observed<'_>) -> Option<Raised> {
        let row = seen.row;
        let losses = [row.test_loss, row.train_loss];
        let broken = losses
            .into_iter()
            .flatten()
            .find(|loss| !loss.is_finite())?;
        if std::mem::replace(&mut self.has_diverged, true) {
            return None;
        }
        Some(Raised {
            client: None,
            message: format!("the loss is {broken}: training has diverged"),
            flag: AnomalyFlag {
                rule: "diverged".to_owned(),
                value: broken,
                threshold: f64::MAX,
                usual: None,
                measured: None,
                rounds: vec![row.round],
            },
        })
    }

    /// More releases on the ledger than the plan has for so many rounds.
    fn overspent(&mut self, seen: &Observed<'_>) -> Option<Raised> {
        let excess = seen.excess.as_ref()?;
        let more = excess.releases.saturating_sub(excess.planned);
        if more <= self.excess {
            return None;
        }
        self.excess = more;
        Some(Raised {
            client: None,
            message: format!(
                "privacy is spent faster than planned: epsilon {:.4} by now, {:.4} was planned; the ledger has {} releases of {}, the \
                 plan {}",
                excess.epsilon,
                excess.planned_epsilon,
                excess.releases,
                excess.holder,
                excess.planned
            ),
            flag: AnomalyFlag {
                rule: "epsilon".to_owned(),
                value: excess.epsilon,
                threshold: excess.planned_epsilon,
                usual: Some(excess.planned_epsilon),
                measured: None,
                rounds: vec![seen.row.round],
            },
        })
    }
}

/// A budget that does not reach to the last round.
fn beyond_budget(seen: &Observed<'_>) -> Option<Raised> {
    let (all, budget) = seen.beyond_budget?;
    Some(Raised {
        client: None,
        message: format!(
            "the budget does not last: all rounds would cost a client that takes part in each an epsilon of {all:.4}, the budget is \
             {budget}"
        ),
        flag: AnomalyFlag {
            rule: "budget".to_owned(),
            value: all,
            threshold: budget,
            usual: Some(budget),
            measured: None,
            rounds: vec![seen.row.round],
        },
    })
}
