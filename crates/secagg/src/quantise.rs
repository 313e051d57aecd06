//! Real numbers as integers that may be summed: codes in lanes.
//!
//! A coordinate x of a client's update is scaled by its weight's share, clipped to [-c, c], and becomes one of 2^q - 1 equal steps,
//! rounded up or down at random so that its mean is x. Sums of codes do not wrap while n (2^q - 1) < 2^L. The error of a mean over
//! n clients has a standard deviation of at most `0.5 x step / sqrt(n)` a coordinate, with `step = 2c / (2^q - 1)`.

use rand::Rng;

use crate::lanes::Vector;
use crate::params::Params;

/// 64-bit lanes of a training round, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Figure {
    /// 1 for each vector; the client's machine sets it when it masks.
    Count = 0,
    /// Sum of the weights.
    Weight = 1,
    /// Sum of the examples trained on.
    Examples = 2,
    /// Sum of weight x loss, in units of 2^-32, two's complement.
    Loss = 3,
    /// Sum of the squared norms of the updates, in units of 2^-20.
    SquaredNorm = 4,
    /// Coordinates that were clipped.
    Clipped = 5,
}

/// How many [`Figure`]s there are.
pub const FIGURES: usize = 6;

const LOSS_UNIT: f64 = (1_u64 << 32) as f64;
const NORM_UNIT: f64 = (1_u64 << 20) as f64;
/// Magnitude beyond which a figure is cut, so that 2^17 of them do not wrap.
const MOST_FIGURE: f64 = (1_u64 << 45) as f64;
/// Words of randomness drawn at a time.
const BLOCK: usize = 1024;

/// From updates to lanes and from sums of lanes to means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiser {
    clip: f64,
    /// 2^q - 1.
    steps: f64,
    most_weight: u64,
}

/// What a client says of its update beside it; the server learns the sums only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Contribution {
    /// Its weight, 1 to the session's largest.
    pub weight: u64,
    /// Examples trained on.
    pub examples: u64,
    /// Mean training loss; `None` is withheld and counts as zero.
    pub loss: Option<f64>,
}

/// The mean of a sum, and the figures beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// Weighted mean of the updates.
    pub update: Vec<f32>,
    /// Sum of the weights.
    pub weight: u64,
    /// Sum of the examples.
    pub examples: u64,
    /// Weighted mean of the losses.
    pub loss: f64,
    /// Mean squared norm of the updates.
    pub squared_norm: f64,
    /// Clipped coordinates over all updates.
    pub clipped: u64,
}

/// Why numbers cannot be encoded, or a sum not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantiseError {
    /// A coordinate is not a number.
    #[error("coordinate {0} of the update is not finite")]
    NotFinite(usize),
    /// The update has another length than the vector has lanes.
    #[error("an update of {got} coordinates for {expected} lanes")]
    Length {
        /// Lanes.
        expected: usize,
        /// Coordinates.
        got: usize,
    },
    /// A weight is 0, or above the largest.
    #[error("a weight of {got}, where 1 to {most} are possible")]
    Weight {
        /// The weight.
        got: u64,
        /// The largest.
        most: u64,
    },
    /// The sum says of itself what no honest members can have said.
    #[error("the sum of the weights of {members} members is {got}, at most {most} is possible")]
    SumOfWeights {
        /// Members.
        members: u32,
        /// What the sum says.
        got: u64,
        /// The most that is possible.
        most: u64,
    },
}

/// The most bits that codes of `members` clients may have in lanes of `lane` bits: n (2^q - 1) < 2^L.
pub fn bits_for(lane: u8, members: u32) -> u8 {
    let headroom = members.max(1).next_power_of_two().trailing_zeros() as u8;
    lane.saturating_sub(headroom)
}

impl Quantiser {
    /// The quantiser of a session; `None` if it uses its lanes whole.
    pub fn of(params: &Params) -> Option<Self> {
        (params.bits > 0).then(|| Self {
            clip: f64::from(params.clip),
            steps: ((1_u64 << params.bits) - 1) as f64,
            most_weight: params.most_weight,
        })
    }

    /// Length of a step between two codes, before the division by the weights.
    pub fn step(&self) -> f64 {
        2.0 * self.clip / self.steps
    }

    /// Writes an update and its figures into the lanes of `vector`; gives the number of clipped coordinates.
    ///
    /// # Errors
    /// [`QuantiseError`] for a coordinate that is not finite, another length, or a weight out of range.
    pub fn encode(
        &self,
        update: &[f32],
        contribution: &Contribution,
        rounding: &mut impl Rng,
        vector: &mut Vector,
    ) -> Result<u64, QuantiseError> {
        let expected = vector.layout().model;
        if update.len() != expected {
            let got = update.len();
            return Err(QuantiseError::Length { expected, got });
        }
        if !(1..=self.most_weight).contains(&contribution.weight) {
            return Err(QuantiseError::Weight {
                got: contribution.weight,
                most: self.most_weight,
            });
        }
        if let Some(place) = update.iter().position(|value| !value.is_finite()) {
            return Err(QuantiseError::NotFinite(place));
        }
        let share = contribution.weight as f64 / self.most_weight as f64;
        let (mut clipped, mut squares) = (0_u64, 0.0_f64);
        let mut codes = Vec::with_capacity(update.len());
        let mut words = [0_u8; 4 * BLOCK];
        let scale = self.steps / (2.0 * self.clip);
        for values in update.chunks(BLOCK) {
            rounding.fill_bytes(&mut words[..4 * values.len()]);
            let mut square = 0.0;
            for (value, word) in values.iter().zip(words.as_chunks::<4>().0) {
                let value = f64::from(*value);
                square += value * value;
                let scaled = value * share;
                let inside = scaled.clamp(-self.clip, self.clip);
                clipped += u64::from(inside != scaled);
                let uniform = f64::from(u32::from_le_bytes(*word)) * (1.0 / 4_294_967_296.0);
                // At the upper end rounding up would be one step too far.
                let code = ((inside + self.clip) * scale + uniform)
                    .floor()
                    .min(self.steps);
                codes.push(code as u32);
            }
            squares += square;
        }
        vector.fill_model(codes);
        let mut put = |figure: Figure, value: u64| {
            if vector.layout().meta > figure as usize {
                vector.set_meta(figure as usize, value);
            }
        };
        let loss = contribution.loss.unwrap_or(0.0) * contribution.weight as f64;
        put(Figure::Weight, contribution.weight);
        put(Figure::Examples, contribution.examples);
        put(Figure::Loss, units(loss, LOSS_UNIT) as u64);
        put(Figure::SquaredNorm, units(squares, NORM_UNIT) as u64);
        put(Figure::Clipped, clipped);
        Ok(clipped)
    }

    /// The weighted mean of the `members` vectors in `sum`.
    ///
    /// # Errors
    /// [`QuantiseError::SumOfWeights`] if the weights are impossible.
    pub fn decode(&self, sum: &Vector, members: u32) -> Result<Mean, QuantiseError> {
        let meta = sum.layout().meta;
        let figure = |figure: Figure| match (figure as usize) < meta {
            true => sum.meta(figure as usize),
            false => 0,
        };
        let weight = figure(Figure::Weight);
        let most = u64::from(members).saturating_mul(self.most_weight);
        if !(u64::from(members)..=most).contains(&weight) {
            return Err(QuantiseError::SumOfWeights {
                members,
                got: weight,
                most,
            });
        }
        let factor = self.clip / self.steps * (self.most_weight as f64 / weight as f64);
        let offset = f64::from(members) * self.steps;
        let update = sum
            .model_lanes()
            .map(|code| ((2.0 * f64::from(code) - offset) * factor) as f32)
            .collect();
        Ok(Mean {
            update,
            weight,
            examples: figure(Figure::Examples),
            loss: figure(Figure::Loss) as i64 as f64 / LOSS_UNIT / weight as f64,
            squared_norm: figure(Figure::SquaredNorm) as f64 / NORM_UNIT / f64::from(members),
            clipped: figure(Figure::Clipped),
        })
    }
}

/// `value` in units, cut where sums could wrap; zero if it is not a number.
fn units(value: f64, unit: f64) -> i64 {
    (value * unit).clamp(-MOST_FIGURE, MOST_FIGURE) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::lanes::{Lane, LaneLayout};

    fn quantiser(bits: u8, clip: f64, most_weight: u64) -> Quantiser {
        Quantiser {
            clip,
            steps: ((1_u64 << bits) - 1) as f64,
            most_weight,
        }
    }

    fn layout(lane: Lane, model: usize) -> LaneLayout {
        LaneLayout::new(lane, model, FIGURES).unwrap()
    }

    #[test]
    fn bits_leave_room_for_all_members() {
        for (lane, members, bits) in [
            (32, 1000, 22),
            (32, 4096, 20),
            (32, 100_000, 15),
            (16, 16, 12),
            (16, 64, 10),
            (16, 256, 8),
            (32, 3, 30),
        ] {
            assert_eq!(bits_for(lane, members), bits);
            let top = u128::from(members) * ((1 << bits) - 1);
            assert!(top < 1 << lane);
        }
    }

    #[test]
    fn rounding_has_no_bias() {
        // 20,000 roundings of one value: the mean lies within 5 standard errors of it but once in 1.7 million.
        let quantiser = quantiser(4, 1.0, 1);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for value in [-1.0, -0.63, 0.0, 0.01, 0.5, 0.999, 1.0_f32] {
            let update = vec![value; 20_000];
            let mut vector = Vector::zero(layout(Lane::U32, update.len()));
            let contribution = Contribution {
                weight: 1,
                ..Contribution::default()
            };
            quantiser
                .encode(&update, &contribution, &mut rng, &mut vector)
                .unwrap();
            let mean = quantiser.decode(&vector, 1).unwrap().update;
            let average = mean.iter().map(|x| f64::from(*x)).sum::<f64>() / mean.len() as f64;
            let error = 5.0 * 0.5 * quantiser.step() / (mean.len() as f64).sqrt();
            assert!(
                (average - f64::from(value)).abs() <= error,
                "{value}: {average}"
            );
        }
    }

    #[test]
    fn figures_are_sums() {
        let quantiser = quantiser(20, 4.0, 10);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let layout = layout(Lane::U32, 2);
        let mut sum = Vector::zero(layout);
        for (update, weight, loss) in [([2.0, -9.0], 10, 0.5), ([1.0, 1.0], 5, 2.0)] {
            let mut vector = Vector::zero(layout);
            let contribution = Contribution {
                weight,
                examples: weight + 1,
                loss: Some(loss),
            };
            quantiser
                .encode(&update, &contribution, &mut rng, &mut vector)
                .unwrap();
            sum.add(vector.bytes()).unwrap();
        }
        let mean = quantiser.decode(&sum, 2).unwrap();
        assert_eq!((mean.weight, mean.examples, mean.clipped), (15, 17, 1));
        assert_eq!((mean.loss, mean.squared_norm), (1.0, 43.5));
        // -9 was clipped to -4: (10 x 2 + 5 x 1) / 15 and (10 x -4 + 5 x 1) / 15.
        assert!((mean.update[0] - 25.0 / 15.0).abs() < 1e-4);
        assert!((mean.update[1] + 35.0 / 15.0).abs() < 1e-4);
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        let quantiser = quantiser(8, 1.0, 3);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut vector = Vector::zero(layout(Lane::U16, 2));
        let before = vector.clone();
        let mut encode = |update: &[f32], weight| {
            let contribution = Contribution {
                weight,
                ..Contribution::default()
            };
            quantiser.encode(update, &contribution, &mut rng, &mut vector)
        };
        assert_eq!(
            encode(&[0.0, f32::NAN], 1),
            Err(QuantiseError::NotFinite(1))
        );
        assert!(matches!(
            encode(&[0.0], 1),
            Err(QuantiseError::Length { .. })
        ));
        for weight in [0, 4] {
            let refused = encode(&[0.0; 2], weight);
            assert!(matches!(refused, Err(QuantiseError::Weight { .. })));
        }
        assert_eq!(vector, before);
        let mut sum = Vector::zero(layout(Lane::U16, 2));
        for weight in [1, 7] {
            sum.set_meta(1, weight);
            assert!(quantiser.decode(&sum, 2).is_err());
        }
    }

    proptest! {
        #[test]
        fn sums_never_wrap_and_means_are_near(
            updates in prop::collection::vec(prop::collection::vec(-3.0_f32..3.0, 4), 1..40),
            wide in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let (lane, width) = if wide { (Lane::U32, 32) } else { (Lane::U16, 16) };
            let members = updates.len() as u32;
            let quantiser = quantiser(bits_for(width, members), 2.0, 1);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut sum = Vector::zero(layout(lane, 4));
            for update in &updates {
                let mut vector = Vector::zero(layout(lane, 4));
                let contribution = Contribution { weight: 1, ..Contribution::default() };
                quantiser.encode(update, &contribution, &mut rng, &mut vector).unwrap();
                sum.add(vector.bytes()).unwrap();
            }
            let mean = quantiser.decode(&sum, members).unwrap();
            for (k, mean) in mean.update.iter().enumerate() {
                let clipped = updates.iter().map(|update| f64::from(update[k]).clamp(-2.0, 2.0));
                let exact = clipped.sum::<f64>() / f64::from(members);
                prop_assert!((f64::from(*mean) - exact).abs() <= quantiser.step() + 1e-6);
            }
        }
    }
}
