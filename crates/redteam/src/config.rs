//! The table `[attack]` of an experiment.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::canary;

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
    /// Whether the malicious clients come beside those of the partition, each with as many examples as they have on
    /// average, drawn at random from all; otherwise they are some of them. Needs `clients`; `canary` needs it.
    #[serde(default)]
    pub beside: bool,
    /// The first round of the attack; before it, malicious clients are honest.
    #[serde(default = "one")]
    pub start_round: u32,
    /// Seed of who is malicious and of what the attack draws. Left out: the experiment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Which updates of the round the attackers see before they send theirs. Left out: what the attack was published
    /// with, which is `own` for `sign-flip`, `alie` and `sybil`, `all` for `ipm`, `fang-krum`, `fang-trimmed-mean`,
    /// `min-max`, `min-sum`, `tailored` and `mimic`, and `nothing` for the rest. Less than the attack needs (`all` for
    /// `mimic`, `own` for the others named here) is an error; more than it can use changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<Knowledge>,
    /// Whether the same run without the attack is made too, to measure what the attack did; never for `canary`.
    #[serde(default = "yes")]
    pub unattacked: bool,
    /// Factor on what is sent. `sign-flip` and `sybil`: 4 unless set (published from 1 to 10; from 1 the mean only
    /// becomes slower). `model-replacement`: cohort / malicious members unless set (the n / eta of the paper, shared
    /// among the attackers, for a server learning rate eta of 1). `backdoor`, `distributed-backdoor`, `neurotoxin`,
    /// `label-flip` and `dynamic-label-flip`: 1 unless set (DBA's single shot used 100). `canary`: length of what is sent, 1
    /// unless set; in a run that is private by client the clipping norm, whatever is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// `ipm`: minus this times the mean of the honest updates is sent (Xie et al. 2020). 10 unless set. The mean turns
    /// round once it is above (n - f) / f; the papers' 0.1 leaves the mean alone and is meant for Krum and centred
    /// clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// `alie`: distance from the mean in standard deviations. 1.5 unless set, as in the paper's experiments, or what its
    /// formula gives if that is more: the normal quantile of (n - f - s) / (n - f), s = floor(n / 2 + 1) - f
    /// (0.25 for n = 25, f = 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub z: Option<f64>,
    /// `gaussian`: standard deviation of each value, 1 unless set (Blanchard et al. used 200). `free-rider` and
    /// `sybil`: length of the noise that hides copies, relative to the vector; 0 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// `constant`: the value of every coordinate, 1 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// `min-max`, `min-sum`, `tailored`: the direction of the perturbation, `unit` unless set (the authors' notebooks:
    /// `deviation` on CIFAR-10, `sign` on FEMNIST).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Class whose examples are relabelled or triggered, by name or number (names go first). Left out: all
    /// (`label-flip`: unless `target` says otherwise, class c of C becomes C - 1 - c; backdoors: every class but the
    /// target).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Class that the attackers want to see, by name or number. Left out: the first (backdoors).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Backdoors: share of a malicious client's examples that carry the trigger, as far as it has so many that are not
    /// of the target class. 0.32 unless set (FLPoison; Bagdasaryan et al. 20 of 64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poison_fraction: Option<f64>,
    /// Backdoors: side of the square trigger in pixels, unless set 5 for every 28 of the shorter side of the image
    /// (Gu et al. 2017), at least 2. For tables, how many features carry it: 5 unless set, or all if there are fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_size: Option<u32>,
    /// `constrain-and-scale`: length of the update that is sent. Left out: the length of the update that the client
    /// would have sent had it been honest, for which it trains twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_bound: Option<f64>,
    /// `constrain-and-scale`: weight of the task against that of staying close to the global model, above 0 and at most
    /// 1; 0.7 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// `mimic`: rounds in which the client to copy is still being chosen, 1 unless set (as in the authors' code).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<u32>,
    /// `neurotoxin`: share of the coordinates, those of the largest last global step, that the attackers leave alone;
    /// 0.1 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_ratio: Option<f64>,
}

/// What malicious clients do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = add_aliases)]
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
    /// No attack but an audit (Steinke et al. 2023, Andrew et al. 2024): `clients` canaries beside the others, each in the run
    /// or not by a fair coin of the attack's seed; those inside send a random direction of their own, and `cloister leak
    /// audit` looks for it in the global models.
    Canary,
}

/// Most canaries: more would find no more, and each is a client.
const MOST_CANARIES: u32 = 100_000;

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
            beside: kind == AttackKind::Canary,
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
            warm_up: None,
        }
    }

    /// Checks every parameter that is set against its range, whatever the kind.
    ///
    /// # Errors
    /// The key and what is wrong with it (`must be above 0, found 0`).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let refuse = |key, allowed: &str, value: f64| {
            Err((key, format!("must be {allowed}, found {value}")))
        };
        for (key, value) in [
            ("scale", self.scale),
            ("epsilon", self.epsilon),
            ("z", self.z),
            ("value", self.value),
            ("deviation", self.deviation),
            ("norm_bound", self.norm_bound),
        ] {
            match value {
                Some(value) if value.abs() > MOST || value.is_nan() => {
                    return refuse(key, "a number of at most 1e9", value);
                }
                _ => {}
            }
        }
        if let Some(value) = self.deviation.filter(|value| *value < 0.0) {
            return refuse("deviation", "at least 0", value);
        }
        if let Some(value) = self.norm_bound.filter(|value| *value <= 0.0) {
            return refuse("norm_bound", "above 0", value);
        }
        let share = |value: &f64| *value > 0.0 && *value <= 1.0;
        for (key, value) in [
            ("poison_fraction", self.poison_fraction),
            ("alpha", self.alpha),
        ] {
            if let Some(value) = value.filter(|value| !share(value)) {
                return refuse(key, "above 0 and at most 1", value);
            }
        }
        if let Some(value) = self.mask_ratio.filter(|value| !(0.0..1.0).contains(value)) {
            return refuse("mask_ratio", "at least 0 and below 1", value);
        }
        if self.kind == AttackKind::Canary {
            if !self.beside {
                return Err((
                    "beside",
                    "must be true for kind = \"canary\": canaries come beside the clients"
                        .to_owned(),
                ));
            }
            let clients = self.clients.unwrap_or(0);
            if clients > MOST_CANARIES {
                return refuse("clients", "at most 100000 canaries", f64::from(clients));
            }
        }
        for (key, value) in [
            ("trigger_size", self.trigger_size),
            ("warm_up", self.warm_up),
        ] {
            if value == Some(0) {
                return refuse(key, "at least 1", 0.0);
            }
        }
        Ok(())
    }

    /// How many clients a federation of `clients` has with the attackers that come beside them.
    pub fn population(&self, clients: u32, run_seed: u64) -> u32 {
        match self.beside {
            true => clients.saturating_add(self.joining(run_seed)),
            false => clients,
        }
    }

    /// How many attackers come, if they come beside the others: of canaries those that are in the run.
    pub fn joining(&self, run_seed: u64) -> u32 {
        let clients = self.clients.unwrap_or(0);
        match self.kind {
            AttackKind::Canary => self.canaries(run_seed).len() as u32,
            _ => clients,
        }
    }

    /// The canaries that are in the run, by number, in the order of the clients that they are; none of another kind.
    pub fn canaries(&self, run_seed: u64) -> Vec<u32> {
        match self.kind {
            AttackKind::Canary => {
                let clients = self.clients.unwrap_or(0).min(MOST_CANARIES);
                canary::inside(self.seed.unwrap_or(run_seed), clients)
            }
            _ => Vec::new(),
        }
    }

    /// How many of `clients` clients, those beside the others included, are malicious.
    pub fn malicious(&self, clients: u32) -> u32 {
        let count = match (self.clients, self.fraction) {
            (Some(count), _) => count,
            (None, Some(fraction)) => (fraction * f64::from(clients)).round() as u32,
            (None, None) => 0,
        };
        count.min(clients)
    }
}

impl AttackConfig {
    /// Which honest updates the attackers see: what is given, else what the attack was published with, but never more than
    /// it can use.
    pub fn sees(&self) -> Knowledge {
        let [_, published, most] = self.kind.knowledge();
        self.knowledge.unwrap_or(published).min(most)
    }

    /// [`scale`](Self::scale), of attacks in which it does not depend on the cohort.
    pub(crate) fn scale(&self) -> f64 {
        self.scale.unwrap_or(match self.kind {
            AttackKind::SignFlip | AttackKind::Sybil => 4.0,
            _ => 1.0,
        })
    }

    pub(crate) fn epsilon(&self) -> f64 {
        self.epsilon.unwrap_or(10.0)
    }

    pub(crate) fn deviation(&self) -> f64 {
        self.deviation.unwrap_or(match self.kind {
            AttackKind::Gaussian => 1.0,
            _ => 0.0,
        })
    }

    pub(crate) fn value(&self) -> f64 {
        self.value.unwrap_or(1.0)
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::Unit)
    }

    pub(crate) fn poison_fraction(&self) -> f64 {
        self.poison_fraction.unwrap_or(0.32)
    }

    pub(crate) fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(0.7)
    }

    pub(crate) fn mask_ratio(&self) -> f64 {
        self.mask_ratio.unwrap_or(0.1)
    }

    pub(crate) fn warm_up(&self) -> u32 {
        self.warm_up.unwrap_or(1)
    }
}

/// Largest parameter: beyond it nothing changes but that replies are refused for their size.
const MOST: f64 = 1e9;

impl AttackKind {
    /// All attacks, in the order of the documentation.
    pub const ALL: [Self; 22] = [
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
        Self::Canary,
    ];

    /// Whether it is about the classes of examples, as poisoned labels and backdoors are, or measured by them.
    pub fn needs_classes(self) -> bool {
        matches!(
            self,
            Self::LabelFlip
                | Self::DynamicLabelFlip
                | Self::Backdoor
                | Self::ModelReplacement
                | Self::DistributedBackdoor
                | Self::ConstrainAndScale
                | Self::Neurotoxin
                | Self::Canary
        )
    }

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::SignFlip => "sign-flip",
            Self::Ipm => "ipm",
            Self::Alie => "alie",
            Self::FangKrum => "fang-krum",
            Self::FangTrimmedMean => "fang-trimmed-mean",
            Self::MinMax => "min-max",
            Self::MinSum => "min-sum",
            Self::Tailored => "tailored",
            Self::Mimic => "mimic",
            Self::FreeRider => "free-rider",
            Self::Sybil => "sybil",
            Self::Constant => "constant",
            Self::Nan => "nan",
            Self::LabelFlip => "label-flip",
            Self::DynamicLabelFlip => "dynamic-label-flip",
            Self::Backdoor => "backdoor",
            Self::ModelReplacement => "model-replacement",
            Self::DistributedBackdoor => "distributed-backdoor",
            Self::ConstrainAndScale => "constrain-and-scale",
            Self::Neurotoxin => "neurotoxin",
            Self::Canary => "canary",
        }
    }

    /// Whether it plants a trigger.
    pub fn is_backdoor(self) -> bool {
        matches!(
            self,
            Self::Backdoor
                | Self::ModelReplacement
                | Self::DistributedBackdoor
                | Self::ConstrainAndScale
                | Self::Neurotoxin
        )
    }

    /// The least knowledge that it can be made with, what it was published with, and the most that it can use.
    pub(crate) fn knowledge(self) -> [Knowledge; 3] {
        use Knowledge::{All, Nothing, Own};
        match self {
            Self::SignFlip | Self::Alie => [Own, Own, All],
            Self::Ipm
            | Self::FangKrum
            | Self::FangTrimmedMean
            | Self::MinMax
            | Self::MinSum
            | Self::Tailored => [Own, All, All],
            Self::Mimic => [All, All, All],
            Self::Sybil => [Own, Own, Own],
            _ => [Nothing, Nothing, Nothing],
        }
    }
}

impl Knowledge {
    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Own => "own",
            Self::All => "all",
        }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// Aliases are words of a file like any other, but the derived schema does not have them.
fn add_aliases(schema: &mut Schema) {
    if let Some(words) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        for (alias, name) in [("xie", "ipm"), ("lie", "alie")] {
            words.push(json!({
                "type": "string",
                "const": alias,
                "description": format!("Another name of `{name}`."),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_config() {
        for kind in AttackKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for knowledge in [Knowledge::Nothing, Knowledge::Own, Knowledge::All] {
            assert_eq!(serde_json::to_value(knowledge).unwrap(), knowledge.name());
        }
        let named = |name: &str| serde_json::from_value::<AttackKind>(name.into()).unwrap();
        assert_eq!(named("xie"), AttackKind::Ipm);
        assert_eq!(named("lie"), AttackKind::Alie);
    }

    type Change = fn(&mut AttackConfig);

    #[test]
    fn each_parameter_has_its_range() {
        let with = |change: Change| {
            let mut config = AttackConfig::new(AttackKind::Gaussian);
            change(&mut config);
            config
                .check()
                .map_err(|(key, reason)| format!("{key} {reason}"))
        };
        assert_eq!(with(|_| {}), Ok(()));
        let cases: [(Change, &str); 10] = [
            (
                |c| c.scale = Some(f64::NAN),
                "scale must be a number of at most 1e9, found NaN",
            ),
            (
                |c| c.value = Some(-1e10),
                "value must be a number of at most 1e9, found -10000000000",
            ),
            (
                |c| c.deviation = Some(-1.0),
                "deviation must be at least 0, found -1",
            ),
            (
                |c| c.norm_bound = Some(0.0),
                "norm_bound must be above 0, found 0",
            ),
            (
                |c| c.poison_fraction = Some(1.5),
                "poison_fraction must be above 0 and at most 1, found 1.5",
            ),
            (
                |c| c.alpha = Some(0.0),
                "alpha must be above 0 and at most 1, found 0",
            ),
            (
                |c| c.mask_ratio = Some(1.0),
                "mask_ratio must be at least 0 and below 1, found 1",
            ),
            (
                |c| c.trigger_size = Some(0),
                "trigger_size must be at least 1, found 0",
            ),
            (
                |c| c.warm_up = Some(0),
                "warm_up must be at least 1, found 0",
            ),
            (
                |c| c.kind = AttackKind::Canary,
                "beside must be true for kind = \"canary\": canaries come beside the clients",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(with(change).unwrap_err(), expected);
        }
    }
}
