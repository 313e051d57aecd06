//! What is accounted: a mechanism's releases, in the words of the accountants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose data one guarantee is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One example of one client.
    Example,
    /// All examples of one client.
    #[default]
    Client,
}

/// Which two data sets the guarantee holds apart. Epsilons under different relations must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbouring {
    /// One unit more or less; how many there are is private.
    AddRemove,
    /// One unit exchanged for any other; how many there are is public. Twice the sensitivity.
    ReplaceOne,
    /// One unit blanked, as if it contributed nothing; how many there are is public.
    #[default]
    ZeroOut,
}

/// One release, or several. Noise is given as a multiple of the sensitivity under [`Neighbouring::AddRemove`] and
/// [`Neighbouring::ZeroOut`] (the clipping norm); accountants know that replacing a unit moves twice as far.
///
/// The mechanism that ran makes its event. A person types one only to ask the calculator a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Event {
    /// Gaussian noise on a sum over all units.
    Gaussian {
        /// Standard deviation over sensitivity.
        noise_multiplier: f64,
    },
    /// Gaussian noise on a sum over units that each took part by an independent secret coin.
    PoissonGaussian {
        /// Standard deviation over sensitivity.
        noise_multiplier: f64,
        /// The coin's chance.
        sampling_rate: f64,
    },
    /// The same, but a batch of more than `most` keeps a uniform subset of that size (Ganesh 2025, arXiv 2508.15089).
    TruncatedPoissonGaussian {
        /// Standard deviation over sensitivity.
        noise_multiplier: f64,
        /// The coin's chance.
        sampling_rate: f64,
        /// Units in all; public.
        population: u64,
        /// Largest batch.
        most: u64,
    },
    /// Gaussian noise on a sum over a uniform subset of fixed size (Wang, Balle, Kasiviswanathan, arXiv 1808.00087).
    FixedSizeGaussian {
        /// Standard deviation over sensitivity.
        noise_multiplier: f64,
        /// Units drawn, without replacement.
        sample: u64,
        /// Units in all; public.
        population: u64,
    },
    /// Laplace noise.
    Laplace {
        /// Scale over (L1) sensitivity.
        scale: f64,
    },
    /// Laplace noise on a sum over units that each took part by an independent secret coin.
    PoissonLaplace {
        /// Scale over (L1) sensitivity.
        scale: f64,
        /// The coin's chance.
        sampling_rate: f64,
    },
    /// One integer with discrete Gaussian noise, `Pr[x]` proportional to `exp(-x^2 / (2 sigma^2))`.
    DiscreteGaussian {
        /// The parameter sigma of the noise.
        sigma: f64,
        /// How far one unit moves the integer.
        sensitivity: u32,
    },
    /// One integer with discrete Laplace noise, `Pr[x]` proportional to `exp(-|x| rate)`.
    DiscreteLaplace {
        /// The parameter of the noise.
        rate: f64,
        /// How far one unit moves the integer.
        sensitivity: u32,
    },
    /// A category, replaced with this chance by one drawn uniformly from all of them.
    RandomisedResponse {
        /// Chance of being replaced.
        replaced: f64,
        /// Number of categories.
        categories: u32,
    },
    /// A vector on an integer grid with the noise of many clients, each discrete Gaussian (Kairouz, Liu, Steinke, arXiv
    /// 2102.06387). All in units of the grid's step.
    DistributedGaussian {
        /// Standard deviation of one client's noise.
        sigma: f64,
        /// Clients whose noise is certain to be in the sum: survivors less colluders.
        shares: u64,
        /// Largest Euclidean norm of one client's rounded vector.
        l2_sensitivity: f64,
        /// Largest sum of absolute values of one client's rounded vector.
        l1_sensitivity: f64,
        /// Length of the vector, with its padding.
        dimension: u64,
        /// The coin's chance; 1 without sampling.
        sampling_rate: f64,
    },
    /// A tree of partial sums over rounds (Kairouz et al., arXiv 2103.00039), grown anew each epoch; a unit takes part at
    /// most once in an epoch.
    Tree {
        /// Standard deviation of a node's noise over sensitivity.
        noise_multiplier: f64,
        /// Rounds of an epoch.
        leaves: u64,
        /// Epochs.
        epochs: u64,
    },
    /// A whole run with correlated noise `C^-1 z`: one Gaussian release (Choquette-Choo et al., arXiv 2306.08153).
    Correlated {
        /// Standard deviation of `z` over the clipping norm.
        noise_multiplier: f64,
        /// Largest norm of the rows of C that one unit can touch, under the enforced participation pattern.
        matrix_sensitivity: f64,
    },
    /// The same release so many times.
    Repeated {
        /// The release.
        event: Box<Event>,
        /// How often.
        count: u64,
    },
    /// One after another, each free to depend on what came before.
    Composed {
        /// In any order: it does not matter.
        events: Vec<Event>,
    },
    /// Something left without noise. Its epsilon is infinite.
    NotPrivate {
        /// What, in words.
        reason: String,
    },
}
