//! The table `[secure_aggregation]` of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Abort;
use crate::graph::{self, Assumptions, Graph};
use crate::lanes::Lane;
use crate::params::{Params, SUITE, VERSION};
use crate::quantise::{self, FIGURES};

/// `[secure_aggregation]`: the server sees only the sum of a cohort's updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecureAggregationConfig {
    /// How the sum is hidden.
    pub protocol: Protocol,
    /// What the server is trusted with.
    pub mode: ServerTrust,
    /// Who shares masks with whom.
    pub graph: GraphKind,
    /// Share of the clients of a cohort (of a bucket) that must answer to unmask its sum, above 0 and at most 1. Left out:
    /// the least that is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Share of the clients that may work together with the server, from 0 to 0.5. At least one is always assumed to.
    pub collusion: f64,
    /// Share of the clients that may drop out, from 0 to 0.5; for `graph = "sparse"`, which must be able to do without them.
    pub dropout: f64,
    /// Fewest clients in a sum, at least 3: with fewer, no sum is made. Each client insists on it.
    pub minimum_cohort: u32,
    /// Bits of a coordinate on the wire: 16 or 32.
    pub lanes: u8,
    /// Largest magnitude of a coordinate; what is beyond is cut to it, and counted. Left out: 8 in 32 bits, 0.5 in 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<f32>,
    /// Random groups of clients, each with a sum of its own, so that a robust rule can compare their means. 1: one sum, and
    /// only `rule = "mean"`.
    pub buckets: u32,
}

impl Default for SecureAggregationConfig {
    fn default() -> Self {
        Self {
            protocol: Protocol::Masking,
            mode: ServerTrust::Malicious,
            graph: GraphKind::Complete,
            threshold: None,
            collusion: 0.2,
            dropout: 0.1,
            minimum_cohort: 8,
            lanes: 32,
            range: None,
            buckets: 1,
        }
    }
}

/// How the sum is hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// Masks that cancel in the sum (Bonawitz et al. 2017; Bell et al. 2020).
    #[default]
    Masking,
}

/// What the server is trusted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTrust {
    /// Nothing: it may lie about keys, survivors and models. Clients sign, and agree on the survivors.
    #[default]
    #[serde(rename = "malicious-server")]
    Malicious,
    /// To follow the protocol, though it is curious. One round trip less, and no signatures.
    #[serde(rename = "semi-honest-server")]
    SemiHonest,
}

/// Who shares masks with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GraphKind {
    /// Everybody with everybody: up to some hundreds of clients.
    #[default]
    Complete,
    /// Each with some neighbours on a random ring: for large cohorts, and a server that follows the protocol.
    Sparse,
}

impl SecureAggregationConfig {
    /// What is wrong with the settings whatever the cohort: the key, and why.
    ///
    /// # Errors
    /// The first key that is out of its range.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let share = |key, value: f64| match (0.0..=0.5).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("must be from 0 to 0.5, found {value}"))),
        };
        share("collusion", self.collusion)?;
        share("dropout", self.dropout)?;
        if let Some(threshold) = self.threshold.filter(|t| !(*t > 0.0 && *t <= 1.0)) {
            let reason = format!("must be above 0 and at most 1, found {threshold}");
            return Err(("threshold", reason));
        }
        if self.minimum_cohort < crate::LEAST_COHORT {
            let reason = format!(
                "must be at least {}, found {}: of a sum of two, each knows the other's part",
                crate::LEAST_COHORT,
                self.minimum_cohort
            );
            return Err(("minimum_cohort", reason));
        }
        if ![16, 32].contains(&self.lanes) {
            return Err(("lanes", format!("must be 16 or 32, found {}", self.lanes)));
        }
        if let Some(range) = self.range.filter(|r| !(r.is_finite() && *r > 0.0)) {
            return Err((
                "range",
                format!("must be finite and above 0, found {range}"),
            ));
        }
        if self.buckets == 0 {
            return Err(("buckets", "must be at least 1, found 0".to_owned()));
        }
        if self.graph == GraphKind::Sparse && self.mode == ServerTrust::Malicious {
            let reason = "sparse needs mode = \"semi-honest-server\": a server that may lie could surround a client";
            return Err(("graph", reason.to_owned()));
        }
        match self.graph == GraphKind::Sparse && self.buckets > 1 {
            true => Err(("graph", "buckets are complete graphs each".to_owned())),
            false => Ok(()),
        }
    }

    /// The assumed share of corrupt members, in millionths.
    pub fn corrupt_ppm(&self) -> u32 {
        millionths(self.collusion)
    }

    /// The parameters of a session of so many members and coordinates, but for what a round fills in: hashes, numbers of the
    /// round, weights, cohort. They have passed [`Params::check`].
    ///
    /// # Errors
    /// [`Abort`] for a cohort that is too small, too large for the lanes, or cannot have a safe threshold.
    pub fn params(&self, members: u32, coordinates: usize) -> Result<Params, Abort> {
        let lane = match self.lanes {
            16 => Lane::U16,
            _ => Lane::U32,
        };
        let group = members.div_ceil(self.buckets.max(1));
        let default_range = if self.lanes == 16 { 0.5 } else { 8.0 };
        let mut params = Params {
            version: VERSION,
            suite: SUITE,
            mode: self.mode.into(),
            lane,
            bits: quantise::bits_for(self.lanes, group),
            graph: match self.buckets {
                0 | 1 => Graph::Complete,
                count => Graph::Buckets { count },
            },
            task: [0; 16],
            round: 1,
            attempt: 1,
            nonce: [0; 32],
            model_hash: [0; 32],
            config_hash: [0; 32],
            model_lanes: u32::try_from(coordinates).unwrap_or(u32::MAX),
            meta_lanes: FIGURES as u16,
            clip: self.range.unwrap_or(default_range),
            most_weight: 1,
            least_survivors: self.minimum_cohort,
            threshold: 0,
            corrupt_ppm: self.corrupt_ppm(),
            dropout_ppm: millionths(self.dropout),
            security_bits: 40,
            correctness_bits: 30,
            deadlines: [u64::MAX; 4],
            roster_hash: [0; 32],
            cohort: (0..members).collect(),
        };
        self.choose_graph(&mut params, group)?;
        params.check()?;
        Ok(params)
    }

    fn choose_graph(&self, params: &mut Params, group: u32) -> Result<(), Abort> {
        let least = match self.graph {
            GraphKind::Complete => {
                graph::complete_threshold(group, params.corrupt_ppm, params.mode.rule())
            }
            GraphKind::Sparse => {
                let assumptions: Assumptions = params.assumptions();
                let found = graph::find(group, &assumptions).filter(|(degree, _)| *degree < group);
                let Some((degree, threshold)) = found else {
                    return Err(Abort::Threshold {
                        got: 0,
                        reason: format!(
                            "no sparse graph is safe among {group} clients: use graph = \"complete\""
                        ),
                    });
                };
                params.graph = Graph::Harary { degree };
                params.threshold = threshold;
                return Ok(());
            }
        };
        params.threshold = match self.threshold {
            Some(share) => (share * f64::from(group)).ceil() as u32,
            None => least,
        };
        Ok(())
    }
}

fn millionths(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_a_session_of_ten() {
        let params = SecureAggregationConfig::default().params(10, 100).unwrap();
        assert_eq!((params.threshold, params.bits), (7, 28));
        assert_eq!((params.needed(), params.clip), (8, 8.0));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let config = SecureAggregationConfig::default();
        let with = |change: fn(&mut SecureAggregationConfig)| {
            let mut config = config.clone();
            change(&mut config);
            config
        };
        for (key, config) in [
            ("collusion", with(|c| c.collusion = 0.6)),
            ("dropout", with(|c| c.dropout = -0.1)),
            ("threshold", with(|c| c.threshold = Some(0.0))),
            ("minimum_cohort", with(|c| c.minimum_cohort = 2)),
            ("lanes", with(|c| c.lanes = 8)),
            ("range", with(|c| c.range = Some(f32::NAN))),
            ("buckets", with(|c| c.buckets = 0)),
            ("graph", with(|c| c.graph = GraphKind::Sparse)),
        ] {
            assert_eq!(config.check().unwrap_err().0, key);
        }
        assert_eq!(config.check(), Ok(()));
        assert!(matches!(
            config.params(7, 10),
            Err(Abort::SmallCohort { .. })
        ));
        let low = with(|c| c.threshold = Some(0.5));
        assert!(matches!(low.params(10, 10), Err(Abort::Threshold { .. })));
        let buckets = with(|c| c.buckets = 3);
        assert!(matches!(
            buckets.params(20, 10),
            Err(Abort::SmallCohort { .. })
        ));
        assert_eq!(buckets.params(25, 10).unwrap().group(), 9);
    }

    #[test]
    fn a_sparse_graph_has_the_degree_of_the_table() {
        let config = SecureAggregationConfig {
            mode: ServerTrust::SemiHonest,
            graph: GraphKind::Sparse,
            collusion: 0.1,
            ..SecureAggregationConfig::default()
        };
        let params = config.params(1000, 10).unwrap();
        assert_eq!(params.graph, Graph::Harary { degree: 52 });
        assert_eq!(params.threshold, 28);
        let hopeless = SecureAggregationConfig {
            collusion: 0.45,
            dropout: 0.45,
            ..config
        };
        assert!(hopeless.params(20, 10).is_err());
    }
}
