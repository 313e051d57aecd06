//! What an attacked or defended run has on record beyond any other: who was attacked how, and whom the rule kept.

use serde::{Deserialize, Serialize};

use super::{HeadlineMetric, number};

/// What an aggregation rule made of one accepted reply: a line of `verdicts.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// The round.
    pub round: u32,
    /// The client, by name.
    pub client: String,
    /// Whether the reply went into the aggregate.
    pub kept: bool,
    /// Its share of the aggregate, 0 to 1, for rules that are weighted means.
    #[serde(with = "number::option", default)]
    pub weight: Option<f64>,
    /// The rule's score of it; [`AggregationInfo::score`] says what the score means.
    #[serde(with = "number::option", default)]
    pub score: Option<f64>,
    /// Whether the client is malicious, where the host knows; a deployment does not.
    #[serde(default)]
    pub malicious: Option<bool>,
}

/// How replies were made one update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AggregationInfo {
    /// The rule, as in the config.
    pub rule: String,
    /// Malicious replies a round that the rule was told to withstand.
    #[serde(default)]
    pub byzantine: u32,
    /// What was done to the replies before the rule, in order, as in the config.
    #[serde(default)]
    pub before: Vec<String>,
    /// What [`VerdictRow::score`] means, a phrase (`sum of squared distances to its nearest neighbours`).
    #[serde(default)]
    pub score: Option<String>,
}

/// An attack on a run, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttackInfo {
    /// Its kind, as in the config.
    pub kind: String,
    /// What the malicious clients do: a sentence.
    #[serde(default)]
    pub description: String,
    /// Malicious clients.
    pub clients: u32,
    /// Their names.
    #[serde(default)]
    pub names: Vec<String>,
    /// Clients in all.
    pub of: u32,
    /// First round in which they misbehave.
    #[serde(default)]
    pub start_round: u32,
    /// Seed by which they were chosen.
    #[serde(default)]
    pub seed: u64,
    /// The same run without the attack.
    #[serde(default)]
    pub unattacked: Option<Unattacked>,
    /// Headline metric of the final model without the attack, minus the same with it: above 0 the attack did harm.
    #[serde(with = "number::option", default)]
    pub impact: Option<f64>,
    /// Best headline metric without the attack minus the best with it (Shejwalkar and Houmansadr, NDSS 2021).
    #[serde(with = "number::option", default)]
    pub impact_best: Option<f64>,
    /// The class that the attack wants mistaken.
    #[serde(default)]
    pub source_class: Option<String>,
    /// The class that it wants it mistaken for.
    #[serde(default)]
    pub target_class: Option<String>,
    /// Share of the source class's test examples that the final model still gets right, 0 to 1.
    #[serde(with = "number::option", default)]
    pub source_recall: Option<f64>,
    /// Share of test examples with the trigger that the final model takes for the target class, 0 to 1.
    #[serde(with = "number::option", default)]
    pub attack_success: Option<f64>,
    /// Replies of malicious clients that passed the server's checks, from `start_round` on.
    #[serde(default)]
    pub malicious_accepted: u64,
    /// Those of them that the rule kept.
    #[serde(default)]
    pub malicious_kept: u64,
    /// First round from which the headline metric never again rises above half of the reference.
    #[serde(default)]
    pub failure_round: Option<u32>,
}

/// The same run without the attack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unattacked {
    /// Final test accuracy, 0 to 1.
    #[serde(with = "number::option", default)]
    pub accuracy: Option<f64>,
    /// Final test AUROC, 0 to 1.
    #[serde(with = "number::option", default)]
    pub auroc: Option<f64>,
    /// Test accuracy of its best round.
    #[serde(with = "number::option", default)]
    pub best_accuracy: Option<f64>,
    /// Test AUROC of its best round.
    #[serde(with = "number::option", default)]
    pub best_auroc: Option<f64>,
    /// Final share of the variance of a numeric target that is explained.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub r2: Option<f64>,
    /// The same of its best round.
    #[serde(
        with = "number::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub best_r2: Option<f64>,
    /// Its run folder, relative to the attacked run's.
    #[serde(default)]
    pub folder: Option<String>,
}

impl Unattacked {
    /// The final figure of a headline metric.
    pub fn value(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.accuracy,
            HeadlineMetric::Auroc => self.auroc,
            HeadlineMetric::R2 => self.r2,
        }
    }

    /// The best round's figure of a headline metric.
    pub fn best(&self, metric: HeadlineMetric) -> Option<f64> {
        match metric {
            HeadlineMetric::Accuracy => self.best_accuracy,
            HeadlineMetric::Auroc => self.best_auroc,
            HeadlineMetric::R2 => self.best_r2,
        }
    }
}
