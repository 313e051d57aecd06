//! Which attacks fit what the server saw, and what an attacker does who knows the defence.

use cloister_config::Experiment;
use cloister_nn::{Activation, Layout, ModelConfig};
use cloister_protocol::Coding;
use cloister_redteam::inversion::{Attack, InversionError, Labels, MOST_STEPS};

use crate::error::LeakError;
use crate::subject::{Sight, Subject};

/// Most examples behind one vector that an optimiser looks for: beyond, it finds nothing in any time that a suite has.
const MOST_EXAMPLES: usize = 64;

/// How much is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// About two minutes for a small model.
    #[default]
    Quick,
    /// Half an hour.
    Full,
}

impl Suite {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    /// Steps of an optimiser, where none are asked for.
    fn iterations(self) -> u32 {
        match self {
            Self::Quick => 400,
            Self::Full => 4000,
        }
    }

    /// Images that each attack is tried on.
    pub fn victims(self) -> u32 {
        match self {
            Self::Quick => 8,
            Self::Full => 32,
        }
    }
}

/// An attack as it is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// The defence that it knows and works around.
    pub adaptive_to: Option<String>,
    /// Its settings.
    pub attack: Attack,
}

impl Planned {
    /// What makes two plans the same attack on different sights.
    pub(crate) fn kind(&self) -> (&str, Option<&str>) {
        (&self.name, self.adaptive_to.as_deref())
    }
}

/// What is put over the published settings of an attack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Steps of the optimiser.
    pub iterations: Option<u32>,
    /// Starts.
    pub restarts: Option<u32>,
    /// Weight of the total variation.
    pub tv: Option<f32>,
    /// The attacker is not told the labels.
    pub unknown_labels: bool,
}

/// The attacks that fit `sight`: each as published, and where the experiment declares a defence, once more by someone who
/// knows it. `only` picks one by name.
///
/// # Errors
/// [`LeakError::Request`] for a name that no attack has.
pub fn attacks(
    subject: &Subject,
    sight: &Sight,
    suite: Suite,
    only: Option<&str>,
    overrides: &Overrides,
) -> Result<Vec<Planned>, LeakError> {
    let unknown = |error: InversionError| LeakError::Request(error.to_string());
    let names = match only {
        Some(name) => vec![name],
        None => fitting(subject, sight),
    };
    let mut planned = Vec::new();
    for name in names {
        let mut attack = Attack::preset(name).map_err(unknown)?;
        if let Some(iterations) = overrides.iterations {
            attack.iterations = iterations;
        } else if only.is_none() {
            attack.iterations = suite.iterations();
        }
        // Published weights of the total variation are for 24,000 steps, or for pictures of the size of ImageNet.
        if only.is_none() && name == "inverting-gradients" {
            attack.variation.weight = 1e-4;
        }
        if only.is_none() && name == "dlg" {
            attack.restarts = 4;
        }
        if let Some(weight) = overrides.tv {
            attack.variation.weight = weight;
        }
        if let Some(restarts) = overrides.restarts {
            attack.restarts = restarts;
        }
        if !overrides.unknown_labels && attack.labels != Labels::Joint {
            let (_, labels) = subject.examples(&sight.rows());
            attack.labels = Labels::Given(labels);
        }
        let knowing = adapted(subject, sight, &attack);
        planned.push(Planned {
            name: name.to_owned(),
            adaptive_to: None,
            attack,
        });
        planned.extend(knowing.map(|(defence, attack)| Planned {
            name: name.to_owned(),
            adaptive_to: Some(defence),
            attack,
        }));
    }
    Ok(planned)
}

fn fitting(subject: &Subject, sight: &Sight) -> Vec<&'static str> {
    let mut names = Vec::new();
    if first_is_linear(subject.model().layout()) {
        names.push("closed-form");
    }
    if !sight.is_sum && (2..=MOST_STEPS).contains(&sight.steps()) {
        names.push("fedavg");
        return names;
    }
    if sight.examples <= MOST_EXAMPLES {
        names.push("inverting-gradients");
    }
    if is_smooth(&subject.experiment().model) && sight.examples == 1 {
        names.push("dlg");
    }
    names
}

/// Whether the model begins with a linear layer, whose gradient gives its inputs away.
pub(crate) fn first_is_linear(layout: &Layout) -> bool {
    let first = layout.tensors().first();
    first.is_some_and(|tensor| tensor.shape.len() == 2)
}

/// Whether second derivatives exist everywhere, as matching gradients by L-BFGS wants.
fn is_smooth(model: &ModelConfig) -> bool {
    let smooth = |activation: &Activation| *activation != Activation::Relu;
    match model {
        ModelConfig::Logistic { .. } => true,
        ModelConfig::Mlp { activation, .. }
        | ModelConfig::Lenet5 { activation, .. }
        | ModelConfig::DlgLenet { activation, .. }
        | ModelConfig::Convnet { activation, .. }
        | ModelConfig::PapernotCnn { activation, .. } => smooth(activation),
        _ => false,
    }
}

/// The attack of someone who knows what the experiment declares, and the defences' names; `None` if it declares none that the
/// attack can do anything about.
fn adapted(subject: &Subject, sight: &Sight, attack: &Attack) -> Option<(String, Attack)> {
    let experiment = subject.experiment();
    let layout = subject.model().layout();
    let mut known = Vec::new();
    let mut attack = attack.clone();
    if experiment.model.bottleneck().is_some() {
        attack = attack.ignoring_bottleneck(layout);
        known.push("bottleneck");
    }
    let defence = experiment.defence.clone().unwrap_or_default();
    if defence.soteria.is_some() {
        attack = attack.dropping_representation(layout);
        known.push("soteria");
    }
    let pruned = defence.prune.is_some() || is_top_k(experiment);
    if pruned && !sight.is_sum {
        attack.adaptation.sent_only = true;
        known.push("pruning");
    }
    if defence.quantise_bits.is_some() {
        attack.adaptation.quantum = quantum(&sight.update);
        known.push("quantisation");
    }
    if defence.noise.is_some() || experiment.privacy.is_some() {
        attack.variation.weight = attack.variation.weight.max(1e-1);
        known.push("noise");
    }
    (!known.is_empty()).then(|| (known.join(", "), attack))
}

fn is_top_k(experiment: &Experiment) -> bool {
    let communication = experiment.communication.as_ref();
    communication.is_some_and(|communication| communication.update == Coding::TopK)
}

/// The least difference between two values of a quantised update: the smallest magnitude above 0.
fn quantum(update: &[f32]) -> f32 {
    let magnitudes = update.iter().map(|value| value.abs());
    let least = magnitudes
        .filter(|value| *value > 0.0)
        .fold(f32::INFINITY, f32::min);
    if least.is_finite() { least } else { 0.0 }
}
