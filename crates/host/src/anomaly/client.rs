//! One client, from round to round.

use std::collections::{BTreeSet, VecDeque};

use cloister_config::AnomaliesConfig;
use cloister_protocol::{ClientId, ReplyFigures};
use cloister_report::record::AnomalyFlag;
use serde::{Deserialize, Serialize};

use super::Raised;
use super::cohort::{Deviation, Deviations, median, spread};

/// Replies that say what is usual for a client, before anything can drift away from it.
const FIRST: usize = 10;

/// What is remembered of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Client {
    norms: Track,
    directions: Track,
    losses: Track,
    /// Deviations of its first losses.
    first: Vec<f64>,
    examples: Option<u64>,
    refused: u32,
    silent: u32,
    /// Rules that have been flagged and still hold: they are not flagged again.
    holding: BTreeSet<String>,
}

/// The last deviations of one figure, with their rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Track(VecDeque<(u32, f64)>);

impl Track {
    fn push(&mut self, round: u32, value: f64, window: u32) {
        self.0.push_back((round, value));
        while self.0.len() > window as usize {
            self.0.pop_front();
        }
    }

    /// The rounds in which it departed, to the side on which it did so last.
    fn departures(&self, deviation: f64, above: bool) -> Vec<u32> {
        let departed = self.0.iter().filter(|(_, value)| match above {
            true => *value >= deviation,
            false => *value <= -deviation,
        });
        departed.map(|(round, _)| *round).collect()
    }

    fn median(&self) -> f64 {
        let values: Vec<f64> = self.0.iter().map(|(_, value)| *value).collect();
        median(&values)
    }
}

impl Client {
    /// Takes a reply that was accepted.
    pub(super) fn replied(
        &mut self,
        config: &AnomaliesConfig,
        round: u32,
        figures: &ReplyFigures,
        deviations: &Deviations,
    ) -> Vec<Raised> {
        self.refused = 0;
        self.silent = 0;
        self.holding.remove("refused");
        self.holding.remove("silent");
        let client = figures.client;
        let mut raised = Vec::new();
        let judged = [
            ("norm", deviations.norm),
            ("direction", deviations.direction),
            ("loss", deviations.loss),
        ];
        for (rule, deviation) in judged {
            if let Some(deviation) = deviation {
                raised.extend(self.departed(config, rule, round, client, deviation));
            }
        }
        raised.extend(self.drifted(config, round, client, deviations.loss));
        raised.extend(self.claimed(config, round, figures));
        raised
    }

    /// Whether a figure has departed from the cohort's often enough. Directions do so to one side: nobody follows the others too well.
    fn departed(
        &mut self,
        config: &AnomaliesConfig,
        rule: &str,
        round: u32,
        client: ClientId,
        deviation: Deviation,
    ) -> Option<Raised> {
        let track = match rule {
            "norm" => &mut self.norms,
            "direction" => &mut self.directions,
            _ => &mut self.losses,
        };
        track.push(round, deviation.value, config.window);
        let above = deviation.value > 0.0;
        let departures = track.departures(config.deviation, above);
        let one_sided = rule == "direction" && above;
        if departures.is_empty() {
            self.holding.remove(rule);
        }
        let departs = deviation.value.abs() >= config.deviation && !one_sided;
        let often = departures.len() >= config.persistence as usize;
        if !departs || !often || !self.holding.insert(rule.to_owned()) {
            return None;
        }
        let Deviation {
            value,
            measured,
            median,
        } = deviation;
        let what = match rule {
            "norm" => format!("an update of norm {measured:.4}"),
            "direction" => format!("an update at a cosine of {measured:.3} to the others"),
            _ => format!("a training loss of {measured:.4}"),
        };
        Some(Raised {
            client: Some(client),
            message: format!(
                "{what}, where the cohort's median is {}: {:.1} robust standard deviations {}, {} of its last {} replies departed so",
                match rule {
                    "direction" => format!("{median:.3}"),
                    _ => format!("{median:.4}"),
                },
                value.abs(),
                if above { "above" } else { "below" },
                departures.len(),
                track.0.len(),
            ),
            flag: AnomalyFlag {
                rule: rule.to_owned(),
                value,
                threshold: config.deviation,
                usual: Some(median),
                measured: Some(measured),
                rounds: departures,
            },
        })
    }

    /// Whether its loss, as it compares with the cohort's, has moved from where it was in its first replies: its data are others.
    fn drifted(
        &mut self,
        config: &AnomaliesConfig,
        round: u32,
        client: ClientId,
        loss: Option<Deviation>,
    ) -> Option<Raised> {
        let loss = loss?;
        if self.first.len() < FIRST {
            self.first.push(loss.value);
            return None;
        }
        // The window is behind the first ones only when as many have come again.
        let recent = self.losses.median();
        let usual = median(&self.first);
        let spread = (1.4826 * spread(&self.first, usual)).max(1.0);
        let moved = (recent - usual) / spread;
        let full = self.losses.0.len() >= config.window as usize;
        if moved.abs() < config.deviation {
            self.holding.remove("drift");
            return None;
        }
        if !full || !self.holding.insert("drift".to_owned()) {
            return None;
        }
        Some(Raised {
            client: Some(client),
            message: format!(
                "its training loss, beside the others', has moved: {recent:.1} robust standard deviations from the cohort's median in \
                 its last replies, {usual:.1} in its first {FIRST}"
            ),
            flag: AnomalyFlag {
                rule: "drift".to_owned(),
                value: moved,
                threshold: config.deviation,
                usual: Some(usual),
                measured: Some(recent),
                rounds: vec![round],
            },
        })
    }

    /// Whether it claims another number of examples than before.
    fn claimed(
        &mut self,
        config: &AnomaliesConfig,
        round: u32,
        figures: &ReplyFigures,
    ) -> Option<Raised> {
        let now = figures.examples;
        let before = self.examples.replace(now)?;
        let change = (now as f64 - before as f64) / (before.max(1) as f64);
        (change.abs() >= config.examples_change).then(|| Raised {
            client: Some(figures.client),
            message: format!("it claims {now} examples, {before} in its reply before"),
            flag: AnomalyFlag {
                rule: "examples".to_owned(),
                value: change,
                threshold: config.examples_change,
                usual: Some(before as f64),
                measured: Some(now as f64),
                rounds: vec![round],
            },
        })
    }

    /// Takes a reply that was refused.
    pub(super) fn refused(
        &mut self,
        config: &AnomaliesConfig,
        round: u32,
        client: ClientId,
    ) -> Option<Raised> {
        self.refused += 1;
        self.silent = 0;
        self.holding.remove("silent");
        let message = format!("{} replies in a row were refused", self.refused);
        let (count, most) = (self.refused, config.refusals);
        self.in_a_row("refused", round, client, (count, most), message)
    }

    /// Takes a call without an answer.
    pub(super) fn silent(
        &mut self,
        config: &AnomaliesConfig,
        round: u32,
        client: ClientId,
    ) -> Option<Raised> {
        self.silent += 1;
        self.refused = 0;
        self.holding.remove("refused");
        let message = format!("{} calls in a row were not answered", self.silent);
        let (count, most) = (self.silent, config.silences);
        self.in_a_row("silent", round, client, (count, most), message)
    }

    fn in_a_row(
        &mut self,
        rule: &str,
        round: u32,
        client: ClientId,
        (count, most): (u32, u32),
        message: String,
    ) -> Option<Raised> {
        (count >= most && self.holding.insert(rule.to_owned())).then(|| Raised {
            client: Some(client),
            message,
            flag: AnomalyFlag {
                rule: rule.to_owned(),
                value: f64::from(count),
                threshold: f64::from(most),
                usual: None,
                measured: None,
                rounds: vec![round],
            },
        })
    }
}
