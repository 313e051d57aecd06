//! An event taken apart: one Gaussian for all that is not sampled, and how often each other release happened.

use crate::error::PrivacyError;
use crate::event::{Event, Neighbouring};
use crate::special::binomial_tail;

/// Larger counts are taken for a slip.
const LARGEST_COUNT: u64 = 1_000_000_000_000;
/// Beyond this a sum over a mechanism's outputs takes too long.
const LARGEST_SUPPORT: f64 = 1e6;

/// Pure privacy losses beyond are left to Rényi divergences.
const LARGEST_LOSS: f64 = 600.0;

/// One release in the terms of accountants: noise over the sensitivity that holds under the neighbouring relation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Release {
    /// `(1 - q) N(0, s^2) + q N(1, s^2)` against `N(0, s^2)`.
    Sampled { sigma: f64, rate: f64 },
    /// `(1 - q) N(0, s^2) + q N(1, s^2)` against `(1 - q) N(0, s^2) + q N(-1, s^2)`.
    Replaced { sigma: f64, rate: f64 },
    /// A public coin: with chance `full` the batch was truncated and a `Replaced` pair at half the noise is seen, else
    /// the plain one.
    Truncated {
        full: f64,
        full_rate: f64,
        sigma: f64,
        rate: f64,
        replaced: bool,
    },
    /// Laplace noise with Poisson sampling; rate 1 is none.
    Laplace { scale: f64, rate: f64 },
    /// Discrete Gaussian on one integer.
    DiscreteGaussian { sigma: f64, sensitivity: f64 },
    /// Discrete Laplace on one integer.
    DiscreteLaplace { rate: f64, sensitivity: u64 },
    /// Randomised response.
    Randomised { replaced: f64, categories: f64 },
    /// A Gaussian on a uniform subset of fixed size; Rényi only.
    FixedSize { sigma: f64, share: f64 },
    /// Distributed discrete Gaussian, by `l2` and `l1` over the deviation of the sum; Rényi only.
    Distributed {
        l2: f64,
        l1: f64,
        tau: f64,
        dimension: f64,
        rate: f64,
    },
    /// Zero-concentrated; Rényi only.
    Concentrated { rho: f64 },
}

impl Release {
    /// Whether it has no privacy-loss distribution here.
    pub(crate) fn is_renyi_only(&self) -> bool {
        match self {
            Self::FixedSize { .. } | Self::Distributed { .. } | Self::Concentrated { .. } => true,
            Self::DiscreteGaussian { sigma, sensitivity } => {
                sigma * 12.0 + sensitivity > LARGEST_SUPPORT
            }
            Self::DiscreteLaplace { rate, sensitivity } => {
                rate * *sensitivity as f64 > LARGEST_LOSS
            }
            Self::Laplace { scale, .. } => scale * LARGEST_LOSS < 1.0,
            Self::Randomised { replaced, .. } => *replaced < 1e-200,
            _ => false,
        }
    }

    /// What it is called where it cannot be accounted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sampled { .. } | Self::Replaced { .. } => "a sampled Gaussian",
            Self::Truncated { .. } => "truncated Poisson sampling",
            Self::Laplace { .. } => "Laplace noise",
            Self::DiscreteGaussian { .. } => "a discrete Gaussian",
            Self::DiscreteLaplace { .. } => "a discrete Laplace",
            Self::Randomised { .. } => "randomised response",
            Self::FixedSize { .. } => "sampling without replacement",
            Self::Distributed { .. } => "a distributed discrete Gaussian",
            Self::Concentrated { .. } => "tree aggregation",
        }
    }
}

/// Everything that was released.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// The square of the mu of all Gaussians without sampling.
    pub(crate) mu_squared: f64,
    /// The others, each kind once.
    pub(crate) releases: Vec<(Release, u64)>,
    /// Whether something had no noise.
    pub(crate) not_private: bool,
}

impl Account {
    pub(crate) fn of(event: &Event, neighbouring: Neighbouring) -> Result<Self, PrivacyError> {
        let mut account = Self::default();
        account.add(event, 1, neighbouring)?;
        Ok(account)
    }

    /// Adds an event so many times.
    pub(crate) fn add(
        &mut self,
        event: &Event,
        count: u64,
        neighbouring: Neighbouring,
    ) -> Result<(), PrivacyError> {
        checked(count as f64, "count", "1 to 10^12", |count| {
            (1.0..=LARGEST_COUNT as f64).contains(&count)
        })?;
        match event {
            Event::Repeated {
                event,
                count: inner,
            } => {
                let count = count.saturating_mul(*inner);
                self.add(event, count, neighbouring)
            }
            Event::Composed { events } => events
                .iter()
                .try_for_each(|event| self.add(event, count, neighbouring)),
            Event::NotPrivate { .. } => {
                self.not_private = true;
                Ok(())
            }
            event => self.add_release(event, count, neighbouring),
        }
    }

    fn add_release(
        &mut self,
        event: &Event,
        count: u64,
        neighbouring: Neighbouring,
    ) -> Result<(), PrivacyError> {
        match release(event, neighbouring)? {
            Part::Gaussian { mu } => self.mu_squared += count as f64 * mu * mu,
            Part::Bare => self.not_private = true,
            Part::Release(release) => self.push(release, count)?,
        }
        Ok(())
    }

    fn push(&mut self, release: Release, count: u64) -> Result<(), PrivacyError> {
        match self
            .releases
            .iter_mut()
            .find(|(known, _)| *known == release)
        {
            Some((_, known)) => {
                *known += count;
                checked(*known as f64, "count", "1 to 10^12", |count| {
                    count <= LARGEST_COUNT as f64
                })?;
            }
            None => self.releases.push((release, count)),
        }
        Ok(())
    }

    /// Of the releases that have no privacy-loss distribution, the first.
    pub(crate) fn renyi_only(&self) -> Option<&Release> {
        let mut releases = self.releases.iter().map(|(release, _)| release);
        releases.find(|release| release.is_renyi_only())
    }
}

/// What one event comes to.
enum Part {
    /// A Gaussian without sampling.
    Gaussian {
        mu: f64,
    },
    /// No noise.
    Bare,
    Release(Release),
}

fn checked(
    found: f64,
    name: &'static str,
    range: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<f64, PrivacyError> {
    if fits(found) {
        Ok(found)
    } else {
        Err(PrivacyError::Parameter { name, range, found })
    }
}

/// Noise, of which 0 is none.
fn noise(found: f64, name: &'static str) -> Result<f64, PrivacyError> {
    checked(found, name, "a finite number from 0", |noise| {
        noise >= 0.0 && noise.is_finite()
    })
}

fn chance(found: f64) -> Result<f64, PrivacyError> {
    checked(found, "sampling_rate", "above 0 and at most 1", |rate| {
        rate > 0.0 && rate <= 1.0
    })
}

fn whole(found: u64, name: &'static str, range: &'static str) -> Result<f64, PrivacyError> {
    checked(found as f64, name, range, |found| found >= 1.0)
}

fn unsupported(text: &str) -> PrivacyError {
    PrivacyError::Unsupported(text.to_owned())
}

/// How much farther a replaced unit moves a sum than one that is blanked or missing.
fn factor(neighbouring: Neighbouring) -> f64 {
    match neighbouring {
        Neighbouring::ReplaceOne => 2.0,
        Neighbouring::AddRemove | Neighbouring::ZeroOut => 1.0,
    }
}

/// A release after its checks.
fn release(event: &Event, neighbouring: Neighbouring) -> Result<Part, PrivacyError> {
    let factor = factor(neighbouring);
    match *event {
        Event::Gaussian { noise_multiplier } => {
            let sigma = noise(noise_multiplier, "noise_multiplier")?;
            Ok(gaussian(sigma, factor))
        }
        Event::Correlated {
            noise_multiplier,
            matrix_sensitivity,
        } => {
            let sigma = noise(noise_multiplier, "noise_multiplier")?;
            Ok(gaussian(
                sigma,
                factor * norm(matrix_sensitivity, "matrix_sensitivity")?,
            ))
        }
        Event::Tree {
            noise_multiplier,
            leaves,
            epochs,
        } => tree(
            noise(noise_multiplier, "noise_multiplier")?,
            leaves,
            epochs,
            factor,
        ),
        Event::PoissonGaussian { .. }
        | Event::TruncatedPoissonGaussian { .. }
        | Event::FixedSizeGaussian { .. } => sampled(event, neighbouring),
        Event::DistributedGaussian { .. } => distributed(event, factor),
        Event::Laplace { .. }
        | Event::PoissonLaplace { .. }
        | Event::DiscreteGaussian { .. }
        | Event::DiscreteLaplace { .. }
        | Event::RandomisedResponse { .. } => of_one_number(event, neighbouring),
        Event::NotPrivate { .. } | Event::Repeated { .. } | Event::Composed { .. } => {
            Err(unsupported("an event of several is not a release"))
        }
    }
}

/// Gaussian noise on a sum over some of the units.
fn sampled(event: &Event, neighbouring: Neighbouring) -> Result<Part, PrivacyError> {
    let replaced = neighbouring == Neighbouring::ReplaceOne;
    match *event {
        Event::PoissonGaussian {
            noise_multiplier,
            sampling_rate,
        } => {
            let sigma = noise(noise_multiplier, "noise_multiplier")?;
            Ok(poisson(sigma, chance(sampling_rate)?, replaced))
        }
        Event::TruncatedPoissonGaussian {
            noise_multiplier,
            sampling_rate,
            population,
            most,
        } => {
            let sigma = noise(noise_multiplier, "noise_multiplier")?;
            truncated(
                sigma,
                chance(sampling_rate)?,
                population,
                most,
                neighbouring,
            )
        }
        Event::FixedSizeGaussian {
            noise_multiplier,
            sample,
            population,
        } => {
            let sigma = noise(noise_multiplier, "noise_multiplier")?;
            fixed_size(sigma, sample, population, neighbouring)
        }
        _ => Err(unsupported("not a Gaussian on a sample")),
    }
}

/// Noise on a number or an answer.
fn of_one_number(event: &Event, neighbouring: Neighbouring) -> Result<Part, PrivacyError> {
    let factor = factor(neighbouring);
    match *event {
        Event::Laplace { scale } => Ok(laplace(noise(scale, "scale")? / factor, 1.0)),
        Event::PoissonLaplace {
            scale,
            sampling_rate,
        } => {
            let (scale, rate) = (noise(scale, "scale")?, chance(sampling_rate)?);
            if factor > 1.0 && rate < 1.0 {
                return Err(unsupported(
                    "sampled Laplace noise has no accounting under replace-one: use zero-out or add-remove",
                ));
            }
            Ok(laplace(scale / factor, rate))
        }
        Event::DiscreteGaussian { sigma, sensitivity } => {
            let sensitivity = factor * whole(u64::from(sensitivity), "sensitivity", "at least 1")?;
            Ok(match noise(sigma, "sigma")? {
                0.0 => Part::Bare,
                sigma => Part::Release(Release::DiscreteGaussian { sigma, sensitivity }),
            })
        }
        Event::DiscreteLaplace { rate, sensitivity } => discrete_laplace(rate, sensitivity, factor),
        Event::RandomisedResponse {
            replaced,
            categories,
        } => randomised(replaced, categories, neighbouring),
        _ => Err(unsupported("not noise on one number")),
    }
}

fn norm(found: f64, name: &'static str) -> Result<f64, PrivacyError> {
    checked(found, name, "a finite number above 0", |norm| {
        norm > 0.0 && norm.is_finite()
    })
}

fn gaussian(sigma: f64, sensitivity: f64) -> Part {
    if sigma == 0.0 {
        Part::Bare
    } else {
        Part::Gaussian {
            mu: sensitivity / sigma,
        }
    }
}

fn poisson(sigma: f64, rate: f64, replaced: bool) -> Part {
    if rate == 1.0 || sigma == 0.0 {
        return gaussian(sigma, if replaced { 2.0 } else { 1.0 });
    }
    Part::Release(if replaced {
        Release::Replaced { sigma, rate }
    } else {
        Release::Sampled { sigma, rate }
    })
}

/// A batch is full with the unit in it with the chance that at least `most` of the others came too. Then the unit's
/// presence also drives another one out.
fn truncated(
    sigma: f64,
    rate: f64,
    population: u64,
    most: u64,
    neighbouring: Neighbouring,
) -> Result<Part, PrivacyError> {
    let units = whole(population, "population", "at least 1")?;
    let largest = whole(most, "most", "at least 1")?;
    if neighbouring == Neighbouring::AddRemove {
        return Err(unsupported(
            "truncated Poisson sampling needs a public number of units: use zero-out or replace-one",
        ));
    }
    let replaced = neighbouring == Neighbouring::ReplaceOne;
    if sigma == 0.0 || most >= population {
        return Ok(poisson(sigma, rate, replaced));
    }
    if rate == 1.0 {
        return Err(unsupported(
            "every unit comes but not all are kept: that is sampling without replacement, FixedSizeGaussian",
        ));
    }
    let full = binomial_tail(most, population - 1, rate);
    if full == 0.0 {
        return Ok(poisson(sigma, rate, replaced));
    }
    let full_rate = binomial_tail(most + 1, population, rate) * largest / (full * units);
    Ok(Part::Release(Release::Truncated {
        full,
        full_rate: full_rate.min(1.0),
        sigma,
        rate,
        replaced,
    }))
}

fn fixed_size(
    sigma: f64,
    sample: u64,
    population: u64,
    neighbouring: Neighbouring,
) -> Result<Part, PrivacyError> {
    let units = whole(population, "population", "at least 1")?;
    let sample = checked(
        sample as f64,
        "sample",
        "from 1 to the population",
        |sample| sample >= 1.0 && sample <= units,
    )?;
    if neighbouring == Neighbouring::AddRemove {
        return Err(unsupported(
            "sampling a fixed number of units needs a public number of units: use zero-out or replace-one",
        ));
    }
    let factor = factor(neighbouring);
    if sigma == 0.0 || sample == units {
        return Ok(gaussian(sigma, factor));
    }
    Ok(Part::Release(Release::FixedSize {
        sigma: sigma / factor,
        share: sample / units,
    }))
}

fn laplace(scale: f64, rate: f64) -> Part {
    if scale == 0.0 {
        Part::Bare
    } else {
        Part::Release(Release::Laplace { scale, rate })
    }
}

fn discrete_laplace(rate: f64, sensitivity: u32, factor: f64) -> Result<Part, PrivacyError> {
    let sensitivity = whole(u64::from(sensitivity), "sensitivity", "from 1 to 500,000")?;
    let rate = checked(rate, "rate", "a finite number above 0", |rate| {
        rate > 0.0 && rate.is_finite()
    })?;
    let sensitivity = checked(
        factor * sensitivity,
        "sensitivity",
        "from 1 to 500,000",
        |steps| steps <= LARGEST_SUPPORT,
    )?;
    Ok(Part::Release(Release::DiscreteLaplace {
        rate,
        sensitivity: sensitivity as u64,
    }))
}

fn randomised(
    replaced: f64,
    categories: u32,
    neighbouring: Neighbouring,
) -> Result<Part, PrivacyError> {
    let replaced = checked(replaced, "replaced", "from 0 to 1", |chance| {
        (0.0..=1.0).contains(&chance)
    })?;
    let categories = checked(
        f64::from(categories),
        "categories",
        "at least 2",
        |number| number >= 2.0,
    )?;
    if neighbouring != Neighbouring::ReplaceOne {
        return Err(unsupported(
            "randomised response hides one answer among others, not whether there was one: use replace-one",
        ));
    }
    Ok(if replaced == 0.0 {
        Part::Bare
    } else {
        Part::Release(Release::Randomised {
            replaced,
            categories,
        })
    })
}

/// Kairouz, Liu, Steinke, arXiv 2102.06387, Proposition 14: how far a sum of discrete Gaussians is from one.
fn distributed(event: &Event, factor: f64) -> Result<Part, PrivacyError> {
    let Event::DistributedGaussian {
        sigma,
        shares,
        l2_sensitivity,
        l1_sensitivity,
        dimension,
        sampling_rate,
    } = *event
    else {
        return Err(unsupported("not a distributed discrete Gaussian"));
    };
    let sigma = noise(sigma, "sigma")?;
    let number = whole(shares, "shares", "at least 1")?;
    let dimension = whole(dimension, "dimension", "at least 1")?;
    let l2 = factor * norm(l2_sensitivity, "l2_sensitivity")?;
    let l1 = factor * norm(l1_sensitivity, "l1_sensitivity")?;
    let rate = chance(sampling_rate)?;
    if factor > 1.0 && rate < 1.0 {
        return Err(unsupported(
            "a sampled distributed discrete Gaussian has no accounting under replace-one: use zero-out or add-remove",
        ));
    }
    if sigma == 0.0 {
        return Ok(Part::Bare);
    }
    let deviation = number.sqrt() * sigma;
    Ok(Part::Release(Release::Distributed {
        l2: l2 / deviation,
        l1: l1 / deviation,
        tau: tau(sigma, shares),
        dimension,
        rate,
    }))
}

/// `10 sum_(k=1)^(n-1) exp(-2 pi^2 sigma^2 k / (k + 1))`, the later terms bounded by the last one summed.
fn tau(sigma: f64, shares: u64) -> f64 {
    const SUMMED: u64 = 10_000;
    let scale = -2.0 * (std::f64::consts::PI * sigma).powi(2);
    let term = |k: u64| crate::special::exp(scale * k as f64 / (k as f64 + 1.0));
    let last = SUMMED.min(shares - 1);
    let rest = (shares - 1 - last) as f64 * term(last);
    10.0 * ((1..=last).map(term).sum::<f64>() + rest)
}

/// A unit is in `ceil(log2(leaves + 1))` nodes of a tree that count.
fn tree(sigma: f64, leaves: u64, epochs: u64, factor: f64) -> Result<Part, PrivacyError> {
    whole(leaves, "leaves", "at least 1")?;
    let epochs = whole(epochs, "epochs", "at least 1")?;
    if sigma == 0.0 {
        return Ok(Part::Bare);
    }
    // The number of bits of `leaves` is ceil(log2(leaves + 1)).
    let nodes = f64::from(leaves.ilog2() + 1);
    let sensitivity_squared = factor * factor * epochs * nodes;
    Ok(Part::Release(Release::Concentrated {
        rho: sensitivity_squared / (2.0 * sigma * sigma),
    }))
}
