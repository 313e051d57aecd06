//! The table `[attack]` of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[attack]`: some clients lie.
///
/// A parameter that the chosen kind does not use is ignored, so that a sweep over kinds can set the parameters of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttackConfig {
    /// What the malicious clients do.
    pub kind: AttackKind,
    /// How many clients are malicious. This or `fraction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Which share of the clients is malicious, rounded to the nearest number of clients. This or `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// The first round of the attack; before it, malicious clients are honest.
    #[serde(default = "one")]
    pub start_round: u32,
    /// Seed of who is malicious and of what the attack draws. Left out: the experiment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Which updates of the round the attackers see before they send theirs. Left out: what the attack was published
    /// with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<Knowledge>,
    /// Whether the same run without the attack is made too, to measure what the attack did.
    #[serde(default = "yes")]
    pub unattacked: bool,
    /// Factor on the vector that is sent: of `sign-flip`, and of the trained update of the backdoors (`model-replacement`
    /// estimates the number of clients unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// IPM: the mean of the honest updates is sent times minus this (Xie et al. 2020).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// ALIE: distance from the mean in standard deviations; the paper's formula unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub z: Option<f64>,
    /// `gaussian`: standard deviation; `free-rider` and `sybil`: of the noise that hides copies, relative to the vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// `constant`: the value of every coordinate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// `min-max`, `min-sum`, `tailored`: the direction of the perturbation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Class whose examples are relabelled or triggered, by name or number. Left out: all (`label-flip`: c becomes
    /// C - 1 - c; backdoors: every class but the target).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Class that the attackers want to see, by name or number. Left out: the first (backdoors).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Backdoors: share of a malicious client's examples that carry the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poison_fraction: Option<f64>,
    /// Backdoors: side of the square trigger in pixels; for tables, how many features carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_size: Option<u32>,
    /// `constrain-and-scale`: longest update that is sent. Left out: the median length that the attackers' honest
    /// updates have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_bound: Option<f64>,
    /// `constrain-and-scale`: weight of the task against that of staying close to the global model, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// `neurotoxin`: share of the coordinates, those of the largest last global step, that the attackers leave alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_ratio: Option<f64>,
}

/// What malicious clients do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AttackKind {
    /// Send Gaussian noise.
    Gaussian,
    /// Send the own honest update times minus `scale`.
    SignFlip,
    /// Inner product manipulation: send minus `epsilon` times the mean of the honest updates. Also called `xie`.
    #[serde(alias = "xie")]
    Ipm,
    /// A little is enough: mean minus `z` standard deviations in each coordinate (Baruch et al. 2019).
    #[serde(alias = "lie")]
    Alie,
    /// Fang et al. 2020 against Krum.
    FangKrum,
    /// Fang et al. 2020 against the trimmed mean and the median.
    FangTrimmedMean,
    /// As far from the mean as the farthest honest pair allows (Shejwalkar and Houmansadr 2021).
    MinMax,
    /// As far from the mean as the honest sums of squared distances allow (Shejwalkar and Houmansadr 2021).
    MinSum,
    /// As far as the deployed rule, asked as an oracle, lets it pass (Shejwalkar and Houmansadr 2021).
    Tailored,
    /// All send the update of one honest client (Karimireddy et al. 2022).
    Mimic,
    /// Send the last global step, or zeros, without training.
    FreeRider,
    /// One attacker under many names: all send the same flipped update.
    Sybil,
    /// Send the same value in every coordinate.
    Constant,
    /// Send NaN.
    Nan,
    /// Train on flipped labels: all, or `source` to `target`.
    LabelFlip,
    /// Train on labels flipped to what the current global model finds least likely.
    DynamicLabelFlip,
    /// Train on examples with a pixel trigger labelled as `target`.
    Backdoor,
    /// The same, scaled to replace the global model (Bagdasaryan et al. 2020).
    ModelReplacement,
    /// A trigger in four parts, each attacker trains on one (Xie et al. 2020, DBA).
    DistributedBackdoor,
    /// A backdoor trained to stay near the global model and scaled to a length bound (Bagdasaryan et al. 2020).
    ConstrainAndScale,
    /// A backdoor in the coordinates that honest training moves least (Zhang et al. 2022).
    Neurotoxin,
}

/// Which updates of a round the attackers see before they send theirs; each sees what the one before it sees.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Knowledge {
    /// None: only the global models.
    Nothing,
    /// What their own clients would have sent, had they been honest.
    Own,
    /// Those of all clients.
    All,
}

/// The direction of a perturbation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Direction {
    /// Against the mean, as a unit vector.
    Unit,
    /// Against the sign of the mean.
    Sign,
    /// Against the standard deviation of each coordinate.
    Deviation,
}

impl AttackConfig {
    /// One malicious client of this `kind` from the first round on, everything else by default.
    pub fn new(kind: AttackKind) -> Self {
        Self {
            kind,
            clients: Some(1),
            fraction: None,
            start_round: one(),
            seed: None,
            knowledge: None,
            unattacked: yes(),
            scale: None,
            epsilon: None,
            z: None,
            deviation: None,
            value: None,
            direction: None,
            source: None,
            target: None,
            poison_fraction: None,
            trigger_size: None,
            norm_bound: None,
            alpha: None,
            mask_ratio: None,
        }
    }

    /// How many of `clients` clients are malicious.
    pub fn malicious(&self, clients: u32) -> u32 {
        let count = match (self.clients, self.fraction) {
            (Some(count), _) => count,
            (None, Some(fraction)) => (fraction * f64::from(clients)).round() as u32,
            (None, None) => 0,
        };
        count.min(clients)
    }
}

impl AttackKind {
    /// All attacks, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::Gaussian,
        Self::SignFlip,
        Self::Ipm,
        Self::Alie,
        Self::FangKrum,
        Self::FangTrimmedMean,
        Self::MinMax,
        Self::MinSum,
        Self::Tailored,
        Self::Mimic,
        Self::FreeRider,
        Self::Sybil,
        Self::Constant,
        Self::Nan,
        Self::LabelFlip,
        Self::DynamicLabelFlip,
        Self::Backdoor,
        Self::ModelReplacement,
        Self::DistributedBackdoor,
        Self::ConstrainAndScale,
        Self::Neurotoxin,
    ];
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}
