//! A malicious server's models: parameters crafted so that a client's update shows its examples outright.
//!
//! All of them rewrite the first layer of a model whose first layer is linear, and leave the layout as it is. A convolutional
//! model would need a linear layer planted before it, which changes the layout that clients compare: that variant of the
//! published attacks is not made here.

use cloister_nn::{Layout, Model};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};

use super::closed_form::{Candidate, FirstLinear};
use super::error::InversionError;
use super::space::InputSpace;

/// How an imprint is planted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Imprint {
    /// Scale of the weights of the layer behind the bins; small, so that many active bins do not saturate the loss.
    pub gain: f32,
}

impl Default for Imprint {
    fn default() -> Self {
        Self { gain: 1e-2 }
    }
}

/// Plants an imprint (Fowl et al. 2022, "Robbing the Fed"): every unit of the first layer measures the same functional of
/// the input, its mean, against its own threshold, a quantile of that functional over `population` (`[k, features]`,
/// anybody's inputs), and the second layer weighs all units alike. So unit i's gradient is the sum over the examples
/// above threshold i, and the difference of neighbours is that over one bin ([`read_imprint`]).
///
/// `parameters` is the flat vector of a model with the activation ReLU; its first layer and the second one's weight are
/// overwritten. The lowest threshold lies below all inputs, so that no example is missed. Returns the thresholds, rising.
///
/// # Errors
/// When the first or second layer is not linear, the population is empty, or a length does not fit.
pub fn plant_imprint(
    model: &Model,
    parameters: &mut [f32],
    population: &[f32],
    imprint: Imprint,
) -> Result<Vec<f32>, InversionError> {
    let (layout, features) = (model.layout(), model.input().len());
    InversionError::length("the global model", layout.len(), parameters.len())?;
    let first = FirstLinear::needed(layout, features, "an imprint")?;
    let second = second_weight(layout, first.units)?;
    if population.is_empty() || !population.len().is_multiple_of(features) {
        return Err(InversionError::Length {
            what: "the population",
            expected: features,
            got: population.len(),
        });
    }
    let mut means: Vec<f64> = population.chunks_exact(features).map(mean).collect();
    means.sort_by(f64::total_cmp);
    let lowest = means[0] - 1.0;
    let thresholds: Vec<f32> = (0..first.units)
        .map(|bin| match bin {
            0 => lowest as f32,
            _ => quantile(&means, bin as f64 / first.units as f64) as f32,
        })
        .collect();
    parameters[first.weight].fill(1.0 / features as f32);
    for (bias, threshold) in parameters[first.bias].iter_mut().zip(&thresholds) {
        *bias = -threshold;
    }
    // One column repeated: what comes back is then the same for each active unit.
    for (index, row) in parameters[second].chunks_exact_mut(first.units).enumerate() {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        row.fill(sign * imprint.gain / first.units as f32);
    }
    Ok(thresholds)
}

/// Reads the bins of a planted imprint: differences of the rows of neighbouring units, each over that of the biases. A bin
/// with one example gives it exactly, one with several their weighted mean. Most credible first.
///
/// # Errors
/// When the first layer is not linear, or a length does not fit.
pub fn read_imprint(
    model: &Model,
    gradient: &[f32],
    space: &InputSpace,
) -> Result<Vec<Candidate>, InversionError> {
    let (layout, features) = (model.layout(), model.input().len());
    InversionError::length("the update", layout.len(), gradient.len())?;
    InversionError::length("an input", features, space.features())?;
    let first = FirstLinear::needed(layout, features, "an imprint")?;
    let (weight, bias) = (&gradient[first.weight], &gradient[first.bias]);
    let row = |unit: usize, feature: usize| {
        let unit = weight.get(unit * features..(unit + 1) * features);
        unit.map_or(0.0, |row| f64::from(row[feature]))
    };
    let largest = bias.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
    let mut candidates = Vec::new();
    for unit in 0..first.units {
        // Above the last threshold there is nothing to subtract.
        let next = bias.get(unit + 1).map_or(0.0, |b| f64::from(*b));
        let change = f64::from(bias[unit]) - next;
        if change.is_nan() || change.abs() <= 1e-6 * largest {
            continue;
        }
        let value = |feature| ((row(unit, feature) - row(unit + 1, feature)) / change) as f32;
        let input: Vec<f32> = (0..features).map(value).collect();
        candidates.push(Candidate {
            units: 1,
            weight: change * change,
            excess: space.excess(&input),
            input,
        });
    }
    candidates.sort_by(|a, b| {
        let outside = |candidate: &Candidate| candidate.excess > 0.05;
        let order = outside(a).cmp(&outside(b));
        order.then(b.weight.total_cmp(&a.weight))
    });
    Ok(candidates)
}

/// How many of `n` examples are alone in their bin, on average, when an example falls into bin j with chance `masses[j]`:
/// the sum over the bins of n m_j (1 - m_j)^(n - 1). What an imprint reads exactly.
pub fn expected_exact(masses: &[f64], n: u32) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let alone = |mass: &f64| {
        let mass = mass.clamp(0.0, 1.0);
        f64::from(n) * mass * (1.0 - mass).powf(f64::from(n - 1))
    };
    masses.iter().map(alone).sum()
}

/// [`expected_exact`] for `bins` bins of equal mass: n (1 - 1 / bins)^(n - 1).
pub fn expected_exact_of_bins(bins: u32, n: u32) -> f64 {
    let mass = 1.0 / f64::from(bins.max(1));
    f64::from(bins) * expected_exact(&[mass], n)
}

/// How trap weights are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traps {
    /// Standard deviation of the negative half.
    pub deviation: f32,
    /// The positive half is the negative one, shuffled, times minus this: the lower, the fewer inputs activate a unit.
    pub scale: f32,
}

impl Default for Traps {
    /// Deviation 0.5 and scale 0.97, within the paper's 0.95 to 0.999.
    fn default() -> Self {
        Self {
            deviation: 0.5,
            scale: 0.97,
        }
    }
}

/// Overwrites the first layer with trap weights (Boenisch et al. 2023, "When the curious abandon honesty"): half of each
/// unit's weights are negative, the other half their scaled opposites, so that few inputs activate a unit and
/// [`super::closed_form::batch`] reads more of a batch. The biases become 0. For inputs that are not negative.
///
/// # Errors
/// When the first layer is not linear or a length does not fit.
pub fn plant_traps(
    model: &Model,
    parameters: &mut [f32],
    traps: Traps,
    rng: &mut impl Rng,
) -> Result<(), InversionError> {
    let (layout, features) = (model.layout(), model.input().len());
    InversionError::length("the global model", layout.len(), parameters.len())?;
    let first = FirstLinear::needed(layout, features, "trap weights")?;
    let mut places: Vec<usize> = (0..features).collect();
    for row in parameters[first.weight].chunks_exact_mut(features) {
        places.shuffle(rng);
        let (negative, positive) = places.split_at(features / 2);
        row.fill(0.0);
        for (&low, &high) in negative.iter().zip(positive) {
            let draw: f32 = StandardNormal.sample(rng);
            let weight = traps.deviation * draw.abs();
            row[low] = -weight;
            row[high] = traps.scale * weight;
        }
    }
    parameters[first.bias].fill(0.0);
    Ok(())
}

/// The weight of the layer behind the first.
fn second_weight(layout: &Layout, units: usize) -> Result<std::ops::Range<usize>, InversionError> {
    match layout.tensors().get(2) {
        Some(tensor) if tensor.shape.len() == 2 && tensor.shape[1] == units => Ok(tensor.range()),
        _ => Err(InversionError::Model {
            attack: "an imprint",
            needs: "a linear layer behind the first",
        }),
    }
}

fn mean(input: &[f32]) -> f64 {
    input.iter().map(|&value| f64::from(value)).sum::<f64>() / input.len() as f64
}

/// The quantile of rising values, between neighbours by their share.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let rest = place - place.floor();
    sorted[below] * (1.0 - rest) + sorted[above] * rest
}

#[cfg(test)]
mod tests;
