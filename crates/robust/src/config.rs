//! The table `[aggregation]` of an experiment.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `[aggregation]`: how the cohort's updates become one.
///
/// A parameter that the chosen rule does not use is ignored, so that a sweep over rules can set the parameters of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AggregationConfig {
    /// The rule.
    pub rule: Rule,
    /// How many malicious clients a cohort may hold (the f of the papers). A rule that cannot withstand so many among
    /// the replies of a round is refused.
    pub byzantine: u32,
    /// Steps before the rule, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// What a client's update weighs, for `mean`: its examples unless set. All other rules take clients as equals,
    /// because a client could claim any number of examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Updates that `multi-krum` averages: n - f - 2 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected: Option<u32>,
    /// Values that `trimmed-mean` drops at each end of a coordinate: `byzantine` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trim: Option<u32>,
    /// Smallest distance by which `geometric-median` divides: 1e-6 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Iterations of `geometric-median` (3 unless set; 0 is to convergence), `centred-clipping` (3) and `dnc` (1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// Where `geometric-median` starts: the mean unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Longest step of `centred-clipping` and longest update of `norm-clipping`. Left out: the median distance from
    /// the centre, or the median norm, of each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// Standard deviation of Gaussian noise on the result: absolute for `norm-clipping` (0 unless set), in units of the
    /// clipping norm for `flame` (0.001). Drawn from the run's seed: it is part of these rules, not a privacy promise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// Updates in a bucket, for `before = ["bucketing"]`: 2 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_size: Option<u32>,
    /// Longest update that `before = ["clip"]` lets pass: 2 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Coordinates that an iteration of `dnc` looks at: 10,000 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Updates that an iteration of `dnc` drops, in units of `byzantine`: 1 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_factor: Option<f64>,
    /// Examples from which the server of `fltrust` makes an update of its own: 100 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_examples: Option<u32>,
    /// Step of each coordinate in the result of `sign-majority`: 0.001 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_step: Option<f64>,
}

/// A function from the updates of a cohort to one vector.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = add_aliases)]
#[non_exhaustive]
pub enum Rule {
    /// The (weighted) mean: FedAvg. One malicious client moves it anywhere.
    #[default]
    Mean,
    /// Median of each coordinate (Yin et al. 2018); with an even number of updates the mean of the two in the middle.
    Median,
    /// Mean of each coordinate without its `trim` lowest and highest values (Yin et al. 2018).
    TrimmedMean,
    /// Mean of the n - f values of each coordinate nearest to its median (Xie et al. 2018).
    Meamed,
    /// Mean of the n - f values of each coordinate nearest to its trimmed mean (Xie et al. 2018).
    Phocas,
    /// The update with the least sum of squared distances to its n - f - 2 nearest others (Blanchard et al. 2017).
    Krum,
    /// Mean of the `selected` updates with the lowest Krum scores.
    MultiKrum,
    /// Krum as in byzfl 0.0.11, for comparison: n - f - 1 neighbours.
    KrumByzfl,
    /// Multi-Krum as in byzfl 0.0.11, for comparison: n - f - 1 neighbours, mean of n - f.
    MultiKrumByzfl,
    /// Multi-Krum as in Flower, for comparison: at least one neighbour whatever n and f, no precondition.
    MultiKrumFlower,
    /// Repeated Krum picks n - 2f updates, then the mean of the n - 4f values of each coordinate nearest to their
    /// median (El Mhamdi et al. 2018).
    Bulyan,
    /// Geometric median by smoothed Weiszfeld steps: RFA (Pillutla et al. 2019).
    GeometricMedian,
    /// From the previous result, the mean of the differences clipped to `radius`, repeated (Karimireddy et al. 2021).
    #[serde(alias = "centered-clipping")]
    CentredClipping,
    /// Mean of the n - f updates with the least diameter.
    Mda,
    /// Mean of the n - f shortest updates (Gupta et al. 2020).
    Cge,
    /// Drops updates by their share in the top singular direction of sampled coordinates (Shejwalkar and Houmansadr
    /// 2021).
    Dnc,
    /// Mean of the updates clipped to `radius` (Sun et al. 2019).
    NormClipping,
    /// Weights by the cosine to an update of the server's own, made on `root_examples` (Cao et al. 2021).
    Fltrust,
    /// Lower weights for clients whose summed updates look alike (Fung et al. 2020).
    Foolsgold,
    /// Clusters by cosine distance, clips to the median norm, adds noise (Nguyen et al. 2022).
    Flame,
    /// Sign of the sum of signs of each coordinate (Bernstein et al. 2019), times `sign_step`.
    SignMajority,
}

/// A step before a rule.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Before {
    /// Nearest-neighbour mixing: each update becomes the mean of the n - f nearest to it, itself included (Allouah et
    /// al. 2023).
    Nnm,
    /// Means of `bucket_size` updates, put together at random (Karimireddy et al. 2022).
    Bucketing,
    /// Updates longer than `clip_norm` are scaled down to it.
    Clip,
    /// The floor(2 (f / n) (n - f)) longest updates are scaled down to the length of the next (Allouah et al. 2024).
    Arc,
}

/// What a client's update weighs in the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// Its example count, at most what it enrolled with (McMahan et al. 2017).
    #[default]
    Examples,
    /// One.
    Uniform,
}

/// Where an iterative rule starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The mean of the updates.
    #[default]
    Mean,
    /// Zero, as byzfl does.
    Zero,
}

/// Aliases are words of a file like any other, but the derived schema does not have them.
fn add_aliases(schema: &mut Schema) {
    if let Some(words) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        words.push(json!({
            "type": "string",
            "const": "centered-clipping",
            "description": "Another name of `centred-clipping`.",
        }));
    }
}
