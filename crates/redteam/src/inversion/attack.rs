//! An attack that optimises, with all its settings.

use serde::{Deserialize, Serialize};

use super::error::InversionError;
use super::labels::Labels;
use super::objective::Distance;
use super::optimise::{Adam, Lbfgs};

/// How inputs are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// [`super::closed_form`]: for a first linear layer.
    ClosedForm {
        /// Root mean square difference, as a share of the range, below which two rows are of one example.
        tolerance: f32,
    },
    /// Adam, usually on the signs of the gradient.
    Adam(Adam),
    /// L-BFGS.
    Lbfgs(Lbfgs),
}

/// Where an optimisation starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Standard normal values around the middle of each range, in units of half of it.
    #[default]
    Normal,
    /// Standard normal values as inputs, whatever their range.
    RawNormal,
    /// Uniform over the range.
    Uniform,
    /// The middle of the range.
    Middle,
}

/// Total variation: what neighbouring pixels differ by, on average, in units of half the range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variation {
    /// Its weight beside the distance; 0 is none.
    pub weight: f32,
    /// The root of the summed squares of both differences, instead of the sum of their magnitudes.
    #[serde(default)]
    pub isotropic: bool,
}

/// In which order a client's later passes are taken to go through its examples, for several local steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the first pass. That one's order is free, since the attack may find the examples in any order.
    #[default]
    Repeated,
    /// Each step is on the mean of all examples: the average over all orders, to first order in the step length.
    Averaged,
}

/// What is put in the place of the noise of a variational bottleneck, which only the client knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// New noise in each evaluation, as the model draws it.
    #[default]
    Drawn,
    /// Noise of the attacker's own, drawn once.
    Fixed,
    /// None: the means themselves.
    Zero,
    /// Optimised together with the input (Balunovic et al. 2022), for one local step.
    Joint,
}

/// The parts of the update that are compared, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adaptation {
    /// Tensors that are left out, by the beginning of their names.
    pub exclude: Vec<String>,
    /// Only coordinates that were sent: those that are not 0 (a client that prunes).
    pub sent_only: bool,
    /// Distance between two quantisation levels, in the units of the update: differences within half of it are none.
    pub quantum: f32,
}

/// A reconstruction attack: one objective, one optimiser, and what the attacker knows of the defence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// How inputs are found.
    pub method: Method,
    /// What is made small.
    pub distance: Distance,
    /// Steps of the optimiser.
    pub iterations: u32,
    /// Independent starts; the one with the lowest objective is kept, never the one closest to the truth.
    pub restarts: u32,
    /// Where each starts.
    pub start: Start,
    /// Prefers smooth images.
    pub variation: Variation,
    /// Whether inputs are kept in their range.
    pub boxed: bool,
    /// How labels are found.
    pub labels: Labels,
    /// What the attacker knows of the defence.
    pub adaptation: Adaptation,
    /// For several local steps.
    pub order: Order,
    /// For models with a variational bottleneck.
    #[serde(default)]
    pub noise: Noise,
}

/// The names of [`Attack::preset`], each with where its settings are from.
pub const PRESETS: [(&str, &str); 6] = [
    (
        "closed-form",
        "quotients of a first linear layer's gradient (Aono et al. 2017)",
    ),
    (
        "dlg",
        "Zhu et al. 2019: L2, L-BFGS, labels optimised as well",
    ),
    (
        "idlg",
        "Zhao et al. 2020: as dlg, the label from the last layer's gradient",
    ),
    (
        "inverting-gradients",
        "Geiping et al. 2020: cosine, signed Adam 0.1, 4800 steps, total variation 0.1",
    ),
    (
        "inverting-gradients-notebook",
        "the same as its authors' notebooks have it: total variation 1e-6, 4000 steps",
    ),
    (
        "fedavg",
        "Dimitrov et al. 2022: cosine on the update, through the client's local steps",
    ),
];

impl Attack {
    /// The published settings of that name, see [`PRESETS`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn preset(name: &str) -> Result<Self, InversionError> {
        let cosine = Self {
            method: Method::Adam(Adam::default()),
            distance: Distance::Cosine,
            iterations: 4800,
            restarts: 1,
            start: Start::Normal,
            variation: Variation {
                weight: 1e-1,
                isotropic: false,
            },
            boxed: true,
            labels: Labels::BiasCorrected,
            adaptation: Adaptation::default(),
            order: Order::Repeated,
            noise: Noise::Drawn,
        };
        let smooth = |weight| Variation {
            weight,
            isotropic: false,
        };
        let dlg = Self {
            method: Method::Lbfgs(Lbfgs::default()),
            distance: Distance::L2,
            // 300 steps of up to 20 each.
            iterations: 6000,
            restarts: 8,
            start: Start::RawNormal,
            variation: smooth(0.0),
            boxed: false,
            labels: Labels::Joint,
            ..cosine.clone()
        };
        match name {
            "closed-form" => Ok(Self {
                method: Method::ClosedForm {
                    tolerance: super::closed_form::TOLERANCE,
                },
                ..cosine
            }),
            "dlg" => Ok(dlg),
            "idlg" => Ok(Self {
                labels: Labels::Distinct,
                ..dlg
            }),
            "inverting-gradients" => Ok(cosine),
            "inverting-gradients-notebook" => Ok(Self {
                iterations: 4000,
                variation: smooth(1e-6),
                ..cosine
            }),
            "fedavg" => Ok(Self {
                iterations: 8000,
                variation: smooth(1e-4),
                labels: Labels::Predictions,
                ..cosine
            }),
            _ => Err(InversionError::Preset {
                name: name.to_owned(),
                known: PRESETS.map(|(name, _)| name).join(", "),
            }),
        }
    }

    /// The same attack by someone who knows of a variational bottleneck (PRECODE and its convolutional variant): all tensors
    /// from its decoder on are left out, since their gradients hang on noise that only the client knows (Scheliga et al.
    /// 2022 and 2023, "ignore"). Without a bottleneck nothing changes.
    #[must_use]
    pub fn ignoring_bottleneck(mut self, layout: &cloister_nn::Layout) -> Self {
        let names = layout.tensors().iter().map(|tensor| tensor.name.as_str());
        let noisy = names.skip_while(|name| !name.starts_with("bottleneck.decoder"));
        self.adaptation.exclude.extend(noisy.map(str::to_owned));
        self
    }

    /// The same attack by someone who knows of Soteria (Sun et al. 2021): the weight of the last linear layer, in whose
    /// gradient the client prunes its representation, is left out.
    #[must_use]
    pub fn dropping_representation(mut self, layout: &cloister_nn::Layout) -> Self {
        let head = layout
            .tensors()
            .iter()
            .rfind(|tensor| tensor.shape.len() == 2);
        self.adaptation
            .exclude
            .extend(head.map(|tensor| tensor.name.clone()));
        self
    }

    pub(super) fn check(&self) -> Result<(), InversionError> {
        let bad = |what, reason: String| Err(InversionError::Parameter { what, reason });
        if self.restarts == 0 || self.restarts > 1024 {
            let reason = format!("must be between 1 and 1024, got {}", self.restarts);
            return bad("restarts", reason);
        }
        if self.iterations == 0 {
            return bad("iterations", "must be at least 1, got 0".to_owned());
        }
        for (what, value) in [
            ("the weight of the variation", self.variation.weight),
            ("quantum", self.adaptation.quantum),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return bad(what, format!("must be 0 or more, got {value}"));
            }
        }
        match &self.method {
            Method::ClosedForm { tolerance } if tolerance.is_nan() || *tolerance < 0.0 => {
                bad("tolerance", format!("must be 0 or more, got {tolerance}"))
            }
            Method::ClosedForm { .. } => Ok(()),
            Method::Adam(adam) => adam.check(),
            Method::Lbfgs(lbfgs) => lbfgs.check(),
        }
    }
}
