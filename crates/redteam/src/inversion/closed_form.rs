//! Inputs of a first fully connected layer, read off its gradient (spec 2.2).
//!
//! For z = W x + b each example adds delta_i x to row i of W's gradient and delta_i to b's entry i. One example is therefore
//! every row over its bias entry. In a batch a row is a mixture, but the row of a unit that only one example activates is
//! that example exactly. The attacker cannot see which rows those are; but two units that the same example alone activates
//! give the same quotient, and mixtures practically never do. Nothing behind the first layer matters: not the loss, not
//! the labels, and not a bottleneck.

use std::cmp::Ordering;
use std::ops::Range;

use cloister_nn::Layout;

use super::error::InversionError;
use super::space::InputSpace;

/// Root mean square difference, as a share of the range, below which two quotients are of one input. Rounding in `f32` makes
/// 1e-6 of the largest weights and more of small ones; an update with noise or coarse quantisation needs more.
pub const TOLERANCE: f32 = 1e-3;

/// Rows whose bias entry is below this share of the largest are left out: rounding is all that they hold.
const FAINT: f64 = 1e-6;

/// An input that the closed form proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The input.
    pub input: Vec<f32>,
    /// Units that agree on it.
    pub units: usize,
    /// Sum of the squared bias entries behind it: the attack's own weight.
    pub weight: f64,
    /// By how much of its range a value lies outside of it: a mixture with signs, if by much.
    pub excess: f32,
}

/// The first layer in the flat vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FirstLinear {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) units: usize,
}

impl FirstLinear {
    /// The first two tensors, if they are a linear layer of that many inputs.
    pub(super) fn of(layout: &Layout, features: usize) -> Option<Self> {
        let [weight, bias, ..] = layout.tensors() else {
            return None;
        };
        let [units, inputs] = weight.shape[..] else {
            return None;
        };
        (inputs == features && bias.shape == [units]).then(|| Self {
            weight: weight.range(),
            bias: bias.range(),
            units,
        })
    }

    /// The layer, or why there is none.
    pub(super) fn needed(
        layout: &Layout,
        features: usize,
        attack: &'static str,
    ) -> Result<Self, InversionError> {
        let needs = "a model whose first layer is linear, with a bias";
        Self::of(layout, features).ok_or(InversionError::Model { attack, needs })
    }
}

/// The input of a single example: the least-squares solution over all units, sum(b_i W_i) / sum(b_i^2), which is exact
/// without noise and weighs units by their signal with it. `None` if no unit has any.
pub fn single(weight: &[f32], bias: &[f32]) -> Option<Vec<f32>> {
    let rows = (0..bias.len()).map(|unit| (unit, 1.0));
    combined(weight, bias, rows)
}

/// sum(s_i b_i W_i) / sum(s_i b_i^2) over some units.
fn combined(
    weight: &[f32],
    bias: &[f32],
    units: impl Iterator<Item = (usize, f64)>,
) -> Option<Vec<f32>> {
    let features = weight.len() / bias.len().max(1);
    let mut sums = vec![0.0_f64; features];
    let mut squares = 0.0;
    for (unit, share) in units {
        let b = f64::from(bias[unit]);
        squares += share * b * b;
        for (sum, &w) in sums.iter_mut().zip(&weight[unit * features..][..features]) {
            *sum += share * b * f64::from(w);
        }
    }
    let found = squares > 0.0 && squares.is_finite();
    found.then(|| sums.iter().map(|sum| (sum / squares) as f32).collect())
}

/// All inputs that the gradient of a first linear layer proposes for a batch, the most credible first: those that several units
/// agree on by their weight, then single rows that lie in the range of inputs, then the rest.
///
/// `weight` is `[units, features]` and `bias` `[units]`, gradients or an update; `tolerance` is a root mean square difference
/// as a share of the range ([`TOLERANCE`]).
///
/// # Errors
/// When a length does not fit.
pub fn batch(
    weight: &[f32],
    bias: &[f32],
    space: &InputSpace,
    tolerance: f32,
) -> Result<Vec<Candidate>, InversionError> {
    let features = space.features();
    InversionError::length(
        "the first layer's weight",
        bias.len() * features,
        weight.len(),
    )?;
    let largest = bias.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
    let mut units: Vec<usize> = (0..bias.len())
        .filter(|&unit| f64::from(bias[unit].abs()) > FAINT * largest)
        .collect();
    // The strongest first, so that a cluster's centre is its best row.
    units.sort_by(|&a, &b| bias[b].abs().total_cmp(&bias[a].abs()).then(a.cmp(&b)));
    let rows: Vec<Row> = units
        .iter()
        .map(|&unit| {
            Row::new(
                unit,
                &weight[unit * features..][..features],
                bias[unit],
                space,
            )
        })
        .collect();
    let mut taken = vec![false; rows.len()];
    let mut candidates = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if taken[index] {
            continue;
        }
        let mut members = vec![row.unit];
        for (other, second) in rows.iter().enumerate().skip(index + 1) {
            if !taken[other] && row.agrees(second, tolerance) {
                taken[other] = true;
                members.push(second.unit);
            }
        }
        let pairs = members.iter().map(|&unit| (unit, 1.0));
        let Some(input) = combined(weight, bias, pairs) else {
            continue;
        };
        candidates.push(Candidate {
            units: members.len(),
            weight: members
                .iter()
                .map(|&unit| f64::from(bias[unit]).powi(2))
                .sum(),
            excess: space.excess(&input),
            input,
        });
    }
    candidates.sort_by(credible);
    Ok(candidates)
}

/// Excess from which a row is taken for a mixture of examples with signs.
const OUTSIDE: f32 = 0.05;

fn credible(a: &Candidate, b: &Candidate) -> Ordering {
    let class = |candidate: &Candidate| match candidate {
        Candidate { excess, .. } if *excess > OUTSIDE => 2,
        Candidate { units, .. } if *units > 1 => 0,
        _ => 1,
    };
    class(a)
        .cmp(&class(b))
        .then(b.weight.total_cmp(&a.weight))
        .then(a.excess.total_cmp(&b.excess))
}

/// The `n` most credible inputs, `[n, features]`; what is missing is filled with the middle of the range. Also says how many
/// were found.
pub fn most_credible(candidates: &[Candidate], n: usize, space: &InputSpace) -> (Vec<f32>, usize) {
    let found = candidates.len().min(n);
    let mut inputs: Vec<f32> = Vec::with_capacity(n * space.features());
    for candidate in &candidates[..found] {
        inputs.extend_from_slice(&candidate.input);
    }
    let middle = |index: usize| {
        let [low, high] = space.bound(index);
        f32::midpoint(low, high)
    };
    for _ in found..n {
        inputs.extend((0..space.features()).map(middle));
    }
    space.clamp(&mut inputs);
    (inputs, found)
}

/// A unit's quotient, in shares of the range.
struct Row {
    unit: usize,
    values: Vec<f32>,
    /// Means with fixed signs: as far apart as two rows at most are, and cheap.
    sketch: [f32; 4],
}

impl Row {
    fn new(unit: usize, weight: &[f32], bias: f32, space: &InputSpace) -> Self {
        let scaled = |(index, &w): (usize, &f32)| {
            let [low, high] = space.bound(index);
            ((f64::from(w) / f64::from(bias)) as f32 - low) / (high - low)
        };
        let values: Vec<f32> = weight.iter().enumerate().map(scaled).collect();
        let mut sketch = [0.0; 4];
        for (index, value) in values.iter().enumerate() {
            for (bit, sum) in sketch.iter_mut().enumerate() {
                let sign = index.wrapping_mul(0x9E37_79B9) >> (13 + bit) & 1;
                *sum += if sign == 0 { *value } else { -value };
            }
        }
        let scale = 1.0 / values.len() as f32;
        Self {
            unit,
            values,
            sketch: sketch.map(|sum| sum * scale),
        }
    }

    fn agrees(&self, other: &Self, tolerance: f32) -> bool {
        let mut sketches = self.sketch.iter().zip(&other.sketch);
        if !sketches.all(|(a, b)| (a - b).abs() <= tolerance) {
            return false;
        }
        let most = f64::from(tolerance).powi(2) * self.values.len() as f64;
        let mut sum = 0.0;
        for (a, b) in self.values.chunks(64).zip(other.values.chunks(64)) {
            let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
            sum += a.iter().zip(b).map(square).sum::<f64>();
            if sum > most {
                return false;
            }
        }
        sum <= most
    }
}

#[cfg(test)]
mod tests {
    use cloister_nn::InputShape;

    use super::*;

    fn space() -> InputSpace {
        InputSpace::unit(InputShape {
            channels: 1,
            height: 1,
            width: 3,
        })
        .unwrap()
    }

    /// Rows and bias of units, each a sum of `delta` times an example.
    fn gradient(units: &[&[(usize, f32)]], examples: &[[f32; 3]]) -> (Vec<f32>, Vec<f32>) {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for unit in units {
            bias.push(unit.iter().map(|(_, delta)| delta).sum());
            weight.extend((0..3).map(|feature| {
                let shares = unit.iter();
                shares
                    .map(|(n, delta)| delta * examples[*n][feature])
                    .sum::<f32>()
            }));
        }
        (weight, bias)
    }

    const EXAMPLES: [[f32; 3]; 3] = [[0.1, 0.9, 0.3], [0.8, 0.2, 0.5], [0.4, 0.4, 1.0]];

    #[test]
    fn one_example_is_the_quotient_of_any_unit() {
        let (weight, bias) = gradient(&[&[(0, 0.2)], &[(0, -0.7)], &[]], &EXAMPLES);
        let found = single(&weight, &bias).unwrap();
        assert!(
            found
                .iter()
                .zip(EXAMPLES[0])
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert_eq!(single(&[0.0; 6], &[0.0; 2]), None);
        assert_eq!(single(&[], &[]), None);
    }

    /// The rows with the largest weight are mixtures; what two units agree on comes first nevertheless.
    #[test]
    fn what_units_agree_on_comes_before_mixtures() {
        let units: [&[(usize, f32)]; 6] = [
            &[(0, 0.1)],
            &[(1, 0.05), (2, 0.9)],
            &[(0, -0.02)],
            &[(1, 0.02)],
            &[(1, -0.03)],
            &[(0, 0.9), (1, -0.5)],
        ];
        let (weight, bias) = gradient(&units, &EXAMPLES);
        let candidates = batch(&weight, &bias, &space(), TOLERANCE).unwrap();
        assert_eq!(candidates.len(), 4);
        for (candidate, example) in candidates.iter().zip([0, 1]) {
            assert_eq!(candidate.units, 2);
            let pairs = candidate.input.iter().zip(EXAMPLES[example]);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
        }
        assert!(candidates[3].excess > 0.05);
        let (inputs, found) = most_credible(&candidates, 6, &space());
        assert_eq!((inputs.len(), found), (18, 4));
        assert_eq!(inputs[12..], [0.5; 6]);
    }

    #[test]
    fn lengths_are_checked_and_silence_is_no_candidate() {
        assert!(batch(&[0.0; 5], &[0.0; 2], &space(), TOLERANCE).is_err());
        assert_eq!(
            batch(&[0.0; 6], &[0.0; 2], &space(), TOLERANCE).unwrap(),
            []
        );
        assert_eq!(batch(&[], &[], &space(), TOLERANCE).unwrap(), []);
    }
}
