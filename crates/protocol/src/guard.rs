//! What a client looks for in the model that it is told to train, before it does.
//!
//! A malicious server can send parameters that are made to carry examples out in the update. The published ones leave marks
//! that no initialisation and no training leaves, and [`inspect`] looks for these:
//!
//! | rule | the attack | the mark |
//! | --- | --- | --- |
//! | `imprint` | Robbing the Fed (Fowl et al. 2022, arXiv 2110.13057) | rows of a linear layer that are multiples of one another, with thresholds that differ |
//! | `trap-weights` | When the Curious Abandon Honesty (Boenisch et al. 2023, arXiv 2112.02918) | rows half negative, half positive, where the positive half is the negative one, a little smaller |
//! | `fishing` | Fishing for User Data (Wen et al. 2022, arXiv 2202.00580) | the last layer's row or bias of one class out of all proportion to the others |
//! | `absurd` | any | a parameter that no training has |
//! | `jump` | a model put in the place of the trained one | a step out of proportion to those before |
//!
//! It is a check against these attacks and their like, not a proof: who knows the rules can stay below their thresholds. `jump` is
//! only ever reported: divergence and poisoned updates look like that, too, and a client that stopped there would let one
//! malicious client stop all others.

mod fishing;
mod imprint;
mod jump;
mod traps;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cloister_nn::{Layout, TensorSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use jump::Pace;

/// Largest parameter that a model may have.
const ABSURD: f32 = 1e9;

/// `[guard]`: what a client does about a model that looks made to carry its examples out. A deployed site decides that by its
/// own `envoy.toml`, whatever the experiment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// What follows from a finding.
    pub mode: GuardMode,
}

impl GuardConfig {
    /// Whether nothing differs from the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What follows from a finding of the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuardMode {
    /// The client does not train, and tells the server why.
    #[default]
    Refuse,
    /// It is reported, and the client trains.
    Warn,
    /// Nobody looks.
    Off,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum GuardRule {
    /// Rows that measure one thing at many thresholds.
    Imprint,
    /// Rows that let few examples through.
    TrapWeights,
    /// A last layer that singles out a class.
    Fishing,
    /// A parameter that no training has.
    Absurd,
    /// A step out of proportion to those before. Reported, never refused.
    Jump,
}

impl GuardRule {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imprint => "imprint",
            Self::TrapWeights => "trap-weights",
            Self::Fishing => "fishing",
            Self::Absurd => "absurd",
            Self::Jump => "jump",
        }
    }

    /// Whether a client refuses to train because of it.
    pub fn refuses(self) -> bool {
        self != Self::Jump
    }
}

/// Something about a model that training does not explain.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardFinding {
    /// What it is.
    pub rule: GuardRule,
    /// The tensor; empty for the whole model.
    pub tensor: String,
    /// The figure that is out of bounds.
    pub value: f64,
    /// Its bound.
    pub threshold: f64,
}

impl fmt::Display for GuardFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            tensor,
            value,
            threshold,
        } = self;
        write!(f, "{}: ", rule.name())?;
        match rule {
            GuardRule::Imprint => write!(
                f,
                "{value} rows of {tensor} are multiples of one row with different biases, {threshold} are too many"
            ),
            GuardRule::TrapWeights => write!(
                f,
                "{value} rows of {tensor} are two halves of opposite sign and nearly equal size, {threshold} are too many"
            ),
            GuardRule::Fishing => write!(
                f,
                "one class of {tensor} stands out by {value:.4}, at most {threshold:.4} is plausible"
            ),
            GuardRule::Absurd => write!(
                f,
                "a parameter of {tensor} has size {value:e}, at most {threshold:e} is plausible"
            ),
            GuardRule::Jump => write!(
                f,
                "the model moved by {value:.4} since it was last seen, at most {threshold:.4} is in proportion"
            ),
        }
    }
}

/// A linear layer: rows of weights, and a bias for each where it has one.
pub(crate) struct Linear<'a> {
    name: &'a str,
    /// Inputs, the length of a row; above 0.
    columns: usize,
    weights: &'a [f32],
    biases: Option<&'a [f32]>,
}

impl<'a> Linear<'a> {
    fn rows(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + Clone {
        self.weights.chunks_exact(self.columns)
    }
}

/// Looks at the parameters of a model with this layout. Costs some ten products of its linear layers with a vector.
///
/// Parameters of another length than the layout's have no findings: that is refused elsewhere.
pub fn inspect(layout: &Layout, parameters: &[f32]) -> Vec<GuardFinding> {
    if parameters.len() != layout.len() {
        return Vec::new();
    }
    let mut findings = Vec::from_iter(absurd(layout, parameters));
    let linears = linears(layout, parameters);
    for layer in &linears {
        findings.extend(imprint::find(layer));
        findings.extend(traps::find(layer));
    }
    findings.extend(linears.last().and_then(fishing::find));
    findings
}

/// The linear layers, first to last.
fn linears<'a>(layout: &'a Layout, parameters: &'a [f32]) -> Vec<Linear<'a>> {
    let tensors = layout.tensors();
    let linear = |(place, tensor): (usize, &'a TensorSpec)| {
        let &[rows, columns] = tensor.shape.as_slice() else {
            return None;
        };
        let weights = parameters.get(tensor.range())?;
        let bias = tensors.get(place + 1).filter(|next| next.shape == [rows]);
        (columns > 0).then_some(Linear {
            name: &tensor.name,
            columns,
            weights,
            biases: bias.and_then(|bias| parameters.get(bias.range())),
        })
    };
    tensors.iter().enumerate().filter_map(linear).collect()
}

/// The largest parameter, if it is too large. NaN is refused before.
fn absurd(layout: &Layout, parameters: &[f32]) -> Option<GuardFinding> {
    let size = |values: &[f32]| {
        values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()))
    };
    let sizes = layout.tensors().iter().map(|tensor| {
        let values = parameters.get(tensor.range()).unwrap_or_default();
        (tensor, size(values))
    });
    let (tensor, most) = sizes.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (most > ABSURD).then(|| GuardFinding {
        rule: GuardRule::Absurd,
        tensor: tensor.name.clone(),
        value: most.into(),
        threshold: ABSURD.into(),
    })
}

/// The findings about the model that was looked at last.
type Seen = Option<(Arc<[f32]>, Arc<[GuardFinding]>)>;

/// The guard of the clients of one model. Clones share what they found out about a model that all of them are sent.
#[derive(Clone, Debug)]
pub struct Guard {
    mode: GuardMode,
    layout: Arc<Layout>,
    seen: Arc<Mutex<Seen>>,
}

impl Guard {
    /// A guard over models of this layout.
    pub fn new(config: GuardConfig, layout: &Layout) -> Self {
        Self {
            mode: config.mode,
            layout: Arc::new(layout.clone()),
            seen: Arc::default(),
        }
    }

    /// What follows from a finding.
    pub fn mode(&self) -> GuardMode {
        self.mode
    }

    /// What is to be found in `global`. In one process all members of a cohort are sent one model: it is looked at once.
    pub(crate) fn inspect(&self, global: &Arc<[f32]>) -> Arc<[GuardFinding]> {
        if self.mode == GuardMode::Off {
            return Arc::from([]);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((model, findings)) = &*seen
            && Arc::ptr_eq(model, global)
        {
            return Arc::clone(findings);
        }
        let findings: Arc<[GuardFinding]> = inspect(&self.layout, global).into();
        *seen = Some((Arc::clone(global), Arc::clone(&findings)));
        findings
    }
}

/// The inner product of two vectors of one length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (wide, rest) = a.as_chunks::<LANES>();
    let (others, left) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in wide.iter().zip(others) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let tail: f32 = rest.iter().zip(left).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

/// The middle one of some numbers, 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => 0.5 * (upper + values[middle - 1]),
    }
}
