//! Training images changed at random.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::ExampleShape;

/// `[data.prepare.images.augment]`: how a training image is changed at random each time that it is trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Whether half of the images are mirrored, left to right.
    pub flip: bool,
    /// Largest angle, in degrees, by which an image is turned either way about its centre.
    pub rotate: f32,
    /// Largest way, as a share of a side, by which an image is moved along either side.
    pub shift: f32,
}

impl AugmentConfig {
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(0.0..=180.0).contains(&self.rotate) {
            let reason = format!("{} is not in 0 to 180 degrees", self.rotate);
            return Err(("augment.rotate", reason));
        }
        if !(0.0..=0.5).contains(&self.shift) {
            return Err((
                "augment.shift",
                format!("{} is not in 0 to 0.5", self.shift),
            ));
        }
        Ok(())
    }
}

/// A changed copy of an image (CHW, `shape.len()` values). What is moved in from outside repeats the border; a turned image
/// is read between pixels in proportion.
///
/// Four numbers are drawn from `rng`, whatever the settings: a coin, an angle and two ways.
///
/// # Panics
/// If `image` has not `shape.len()` values.
///
/// ```
/// use cloister_data::{AugmentConfig, ExampleShape, augment};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let config = AugmentConfig { flip: true, rotate: 10.0, shift: 0.1 };
/// let shape = ExampleShape { channels: 1, height: 8, width: 8 };
/// let changed = augment(&[0.5; 64], shape, &config, &mut ChaCha8Rng::seed_from_u64(1));
/// assert!(changed.iter().all(|value| (value - 0.5).abs() < 1e-6));
/// ```
pub fn augment(
    image: &[f32],
    shape: ExampleShape,
    config: &AugmentConfig,
    rng: &mut impl Rng,
) -> Vec<f32> {
    assert_eq!(image.len(), shape.len(), "an image of another shape");
    let flipped = rng.random_bool(0.5) && config.flip;
    let mut within = |most: f32| most * (2.0 * rng.random::<f32>() - 1.0);
    let angle = within(config.rotate).to_radians();
    let (down, across) = (
        within(config.shift) * shape.height as f32,
        within(config.shift) * shape.width as f32,
    );
    let (sine, cosine) = angle.sin_cos();
    let (middle_y, middle_x) = (
        (shape.height as f32 - 1.0) / 2.0,
        (shape.width as f32 - 1.0) / 2.0,
    );
    let mut changed = Vec::with_capacity(image.len());
    for plane in image.chunks_exact(shape.height * shape.width) {
        for y in 0..shape.height {
            for x in 0..shape.width {
                // Where the new pixel was.
                let (from_y, from_x) = (y as f32 - middle_y - down, x as f32 - middle_x - across);
                let old_y = cosine * from_y - sine * from_x + middle_y;
                let old_x = sine * from_y + cosine * from_x;
                let old_x = if flipped { -old_x } else { old_x } + middle_x;
                changed.push(between(plane, shape, old_y, old_x));
            }
        }
    }
    changed
}

/// The value at a place between pixels, of the border beyond it.
fn between(plane: &[f32], shape: ExampleShape, y: f32, x: f32) -> f32 {
    let along = |place: f32, side: usize| {
        let place = place.clamp(0.0, (side - 1) as f32);
        let low = place.floor() as usize;
        (low, (low + 1).min(side - 1), place - low as f32)
    };
    let (top, bottom, down) = along(y, shape.height);
    let (left, right, across) = along(x, shape.width);
    let at = |y: usize, x: usize| plane[y * shape.width + x];
    let row = |y: usize| at(y, left) * (1.0 - across) + at(y, right) * across;
    row(top) * (1.0 - down) + row(bottom) * down
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    const SHAPE: ExampleShape = ExampleShape {
        channels: 2,
        height: 3,
        width: 4,
    };

    fn image() -> Vec<f32> {
        (0..24).map(|value| value as f32).collect()
    }

    proptest! {
        /// Values stay between the smallest and the largest, whatever is drawn, and the same stream gives the same image.
        #[test]
        fn values_stay_in_range(seed: u64, rotate in 0.0_f32..180.0, shift in 0.0_f32..0.5, flip: bool) {
            let config = AugmentConfig { flip, rotate, shift };
            let draw = || augment(&image(), SHAPE, &config, &mut ChaCha8Rng::seed_from_u64(seed));
            let changed = draw();
            prop_assert_eq!(changed.len(), 24);
            prop_assert!(changed.iter().all(|value| (0.0..=23.0).contains(value)));
            prop_assert_eq!(changed, draw());
        }
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_else_nothing_is_done() {
        let config = AugmentConfig {
            flip: true,
            ..AugmentConfig::default()
        };
        let mut mirrored = image();
        mirrored.chunks_exact_mut(4).for_each(<[f32]>::reverse);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let drawn: Vec<Vec<f32>> = (0..200)
            .map(|_| augment(&image(), SHAPE, &config, &mut rng))
            .collect();
        let flips = drawn.iter().filter(|drawn| **drawn == mirrored).count();
        let same = drawn.iter().filter(|drawn| **drawn == image()).count();
        assert_eq!(flips + same, 200);
        assert!((70..=130).contains(&flips), "{flips}");
    }

    #[test]
    fn a_shift_moves_by_at_most_its_share() {
        let config = AugmentConfig {
            shift: 0.25,
            ..AugmentConfig::default()
        };
        let shape = ExampleShape {
            channels: 1,
            height: 8,
            width: 8,
        };
        // A ramp along one side tells the way.
        let ramp: Vec<f32> = (0..64).map(|at| (at % 8) as f32).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let ways: Vec<f32> = (0..100)
            .map(|_| ramp[27] - augment(&ramp, shape, &config, &mut rng)[27])
            .collect();
        assert!(ways.iter().all(|way| way.abs() <= 2.0 + 1e-4));
        assert!(ways.iter().any(|way| *way > 1.0) && ways.iter().any(|way| *way < -1.0));
    }
}
