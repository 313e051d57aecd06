//! The space of a model's inputs: their shape and the range that each value can have.

use cloister_nn::InputShape;

use super::error::InversionError;

/// What an attacker knows of any input: its shape, and the lowest and highest value of each channel (or, for tables, of
/// each column). Attacks work in this space; scores are made in *pixels*, which are its values mapped to [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpace {
    shape: InputShape,
    /// One a channel, or one a feature.
    bounds: Vec<[f32; 2]>,
}

impl InputSpace {
    /// Inputs of that shape with the bounds `[lowest, highest]` of each channel, or of each feature.
    ///
    /// # Errors
    /// When there are neither as many bounds as channels nor as features, or a lowest is not below its highest.
    pub fn new(shape: InputShape, bounds: Vec<[f32; 2]>) -> Result<Self, InversionError> {
        if shape.is_empty() {
            return Err(InversionError::Parameter {
                what: "the input shape",
                reason: "is empty".to_owned(),
            });
        }
        if bounds.len() != shape.channels {
            InversionError::length("the input bounds", shape.len(), bounds.len())?;
        }
        if let Some([low, high]) = bounds
            .iter()
            .find(|[low, high]| !(low.is_finite() && high.is_finite() && low < high))
        {
            return Err(InversionError::Parameter {
                what: "the input bounds",
                reason: format!("must be finite and rise, got {low} to {high}"),
            });
        }
        Ok(Self { shape, bounds })
    }

    /// Inputs whose values all lie in [0, 1], as images are unless they are standardised.
    ///
    /// # Errors
    /// When the shape is empty.
    pub fn unit(shape: InputShape) -> Result<Self, InversionError> {
        Self::new(shape, vec![[0.0, 1.0]; shape.channels])
    }

    /// The bounds seen in `population`, `[n, features]`, which is not the victim's data: of each channel of an image, of
    /// each column of a table. What never varies gets a range of 1 above its value.
    ///
    /// # Errors
    /// When there is no example, a value is not finite, or the length does not fit.
    pub fn observed(shape: InputShape, population: &[f32]) -> Result<Self, InversionError> {
        let features = shape.len();
        if features == 0 || population.is_empty() || !population.len().is_multiple_of(features) {
            return Err(InversionError::Length {
                what: "the population",
                expected: features,
                got: population.len(),
            });
        }
        InversionError::finite("the population", population)?;
        let table = shape.channels == 1 && shape.height == 1;
        let plane = if table { 1 } else { shape.height * shape.width };
        let mut bounds = vec![[f32::INFINITY, f32::NEG_INFINITY]; features / plane];
        for example in population.chunks_exact(features) {
            for (values, [low, high]) in example.chunks_exact(plane).zip(&mut bounds) {
                for &value in values {
                    *low = low.min(value);
                    *high = high.max(value);
                }
            }
        }
        for [low, high] in &mut bounds {
            if high <= low {
                *high = *low + 1.0;
            }
        }
        Self::new(shape, bounds)
    }

    /// Shape of an input.
    pub fn shape(&self) -> InputShape {
        self.shape
    }

    /// Values of an input.
    pub fn features(&self) -> usize {
        self.shape.len()
    }

    /// The lowest and highest value of feature `index` of an input.
    pub fn bound(&self, index: usize) -> [f32; 2] {
        let span = self.features() / self.bounds.len();
        self.bounds[(index % self.features()) / span]
    }

    /// Inputs `[n, features]` as pixels: mapped to [0, 1] and clamped. What is not a number becomes 0.
    pub fn to_pixels(&self, inputs: &[f32]) -> Vec<f32> {
        let scale = |(index, &value): (usize, &f32)| {
            let [low, high] = self.bound(index);
            let pixel = (value - low) / (high - low);
            if pixel.is_nan() {
                0.0
            } else {
                pixel.clamp(0.0, 1.0)
            }
        };
        inputs.iter().enumerate().map(scale).collect()
    }

    /// Pixels `[n, features]` as inputs of the model.
    pub fn to_inputs(&self, pixels: &[f32]) -> Vec<f32> {
        let scale = |(index, &pixel): (usize, &f32)| {
            let [low, high] = self.bound(index);
            low + pixel * (high - low)
        };
        pixels.iter().enumerate().map(scale).collect()
    }

    /// Draws every value of `inputs`, `[n, features]`, back into its range.
    pub fn clamp(&self, inputs: &mut [f32]) {
        let span = self.features() / self.bounds.len();
        for example in inputs.chunks_exact_mut(self.features()) {
            for (values, &[low, high]) in example.chunks_exact_mut(span).zip(&self.bounds) {
                for value in values {
                    *value = value.clamp(low, high);
                }
            }
        }
    }

    /// Largest share of the range by which a value of the example lies outside of it; 0 inside.
    pub(super) fn excess(&self, example: &[f32]) -> f32 {
        let mut most = 0.0_f32;
        for (index, &value) in example.iter().enumerate() {
            let [low, high] = self.bound(index);
            most = most.max((low - value).max(value - high) / (high - low));
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOUR: InputShape = InputShape {
        channels: 2,
        height: 1,
        width: 2,
    };

    #[test]
    fn pixels_and_inputs_are_inverse_and_clamped() {
        let space = InputSpace::new(COLOUR, vec![[-1.0, 1.0], [0.0, 4.0]]).unwrap();
        let inputs = [-1.0, 0.0, 1.0, 4.0];
        assert_eq!(space.to_pixels(&inputs), [0.0, 0.5, 0.25, 1.0]);
        assert_eq!(space.to_inputs(&space.to_pixels(&inputs)), inputs);
        let wild = [-9.0, 9.0, f32::NAN, 9.0];
        assert_eq!(space.to_pixels(&wild), [0.0, 1.0, 0.0, 1.0]);
        let mut wild = [-9.0, 9.0, -1.0, 9.0];
        assert_eq!(space.excess(&wild), 4.0);
        space.clamp(&mut wild);
        assert_eq!(wild, [-1.0, 1.0, 0.0, 4.0]);
        assert_eq!(space.excess(&wild), 0.0);
    }

    #[test]
    fn tables_are_bounded_by_column_and_bad_bounds_are_refused() {
        let row = InputShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let space = InputSpace::observed(row, &[1.0, 5.0, 3.0, 5.0]).unwrap();
        assert_eq!((space.bound(0), space.bound(3)), ([1.0, 3.0], [5.0, 6.0]));
        assert!(InputSpace::new(COLOUR, vec![[0.0, 1.0]; 3]).is_err());
        assert!(InputSpace::new(COLOUR, vec![[1.0, 1.0]; 2]).is_err());
        assert!(InputSpace::new(COLOUR, vec![[0.0, f32::NAN]; 2]).is_err());
        assert!(InputSpace::observed(row, &[1.0, 5.0, 3.0]).is_err());
    }
}
