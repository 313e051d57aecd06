//! Histograms of oriented gradients (Dalal and Triggs 2005).

use std::f32::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::ExampleShape;

/// The bound of a normalised block's values (Dalal and Triggs 2005, section 6.4; after Lowe).
const CUT: f32 = 0.2;

/// `[data.prepare.images.hog]`: gradients are counted by direction, without sign, in square cells, and normalised over
/// blocks of cells that overlap. Of three channels the steepest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HogConfig {
    /// Side of a cell in pixels.
    pub cell: usize,
    /// Side of a block in cells.
    pub block: usize,
    /// Directions within half a turn.
    pub bins: usize,
}

impl Default for HogConfig {
    fn default() -> Self {
        Self {
            cell: 8,
            block: 2,
            bins: 9,
        }
    }
}

impl HogConfig {
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("hog.cell", self.cell),
            ("hog.block", self.block),
            ("hog.bins", self.bins),
        ] {
            if !(1..=256).contains(&value) {
                return Err((key, format!("{value} is not in 1 to 256")));
            }
        }
        Ok(())
    }

    /// Rows and columns of blocks.
    fn blocks(&self, shape: ExampleShape) -> Option<(usize, usize)> {
        let along = |side: usize| (side / self.cell + 1).checked_sub(self.block);
        let (rows, columns) = (along(shape.height)?, along(shape.width)?);
        (rows > 0 && columns > 0).then_some((rows, columns))
    }

    /// Features of an image.
    pub(crate) fn width(&self, shape: ExampleShape) -> Result<usize, String> {
        let blocks = self.blocks(shape).ok_or_else(|| {
            format!(
                "images of {}x{} have no {}x{} cells of {} pixels",
                shape.height, shape.width, self.block, self.block, self.cell
            )
        })?;
        Ok(blocks.0 * blocks.1 * self.block * self.block * self.bins)
    }

    /// The features of an image: blocks row by row, in each its cells row by row. Pixels that fill no cell are left out.
    pub(crate) fn describe(&self, image: &[f32], shape: ExampleShape) -> Vec<f32> {
        let Some((block_rows, block_columns)) = self.blocks(shape) else {
            return Vec::new();
        };
        let (rows, columns) = (shape.height / self.cell, shape.width / self.cell);
        let mut cells = vec![0.0_f32; rows * columns * self.bins];
        for y in 0..rows * self.cell {
            for x in 0..columns * self.cell {
                let (size, turn) = gradient(image, shape, y, x);
                let cell = (y / self.cell * columns + x / self.cell) * self.bins;
                // Between the two nearest directions in proportion, around the half turn.
                let place = turn * self.bins as f32 - 0.5;
                let share = place - place.floor();
                let low = (place.floor() as i64).rem_euclid(self.bins as i64) as usize;
                cells[cell + low] += size * (1.0 - share);
                cells[cell + (low + 1) % self.bins] += size * share;
            }
        }
        let mut features = Vec::with_capacity(block_rows * block_columns * self.block * self.block);
        for top in 0..block_rows {
            for left in 0..block_columns {
                let from = features.len();
                for y in top..top + self.block {
                    let at = (y * columns + left) * self.bins;
                    features.extend_from_slice(&cells[at..at + self.block * self.bins]);
                }
                let block = &mut features[from..];
                normalise(block);
                block.iter_mut().for_each(|value| *value = value.min(CUT));
                normalise(block);
            }
        }
        features
    }
}

/// Length of the gradient at a pixel, and its direction in half turns, from 0 to below 1; at the border one-sided.
fn gradient(image: &[f32], shape: ExampleShape, y: usize, x: usize) -> (f32, f32) {
    let mut best = (0.0_f32, 0.0_f32);
    for plane in image.chunks_exact(shape.height * shape.width) {
        let at = |y: usize, x: usize| plane[y * shape.width + x];
        let across = at(y, (x + 1).min(shape.width - 1)) - at(y, x.saturating_sub(1));
        let down = at((y + 1).min(shape.height - 1), x) - at(y.saturating_sub(1), x);
        let size = (across * across + down * down).sqrt();
        if size > best.0 {
            let turn = (down.atan2(across) / PI).rem_euclid(1.0);
            best = (size, if turn < 1.0 { turn } else { 0.0 });
        }
    }
    best
}

fn normalise(block: &mut [f32]) {
    let norm = block.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        block.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(of: impl Fn(usize, usize) -> f32) -> (Vec<f32>, ExampleShape) {
        let shape = ExampleShape {
            channels: 1,
            height: 8,
            width: 8,
        };
        ((0..64).map(|at| of(at / 8, at % 8)).collect(), shape)
    }

    #[test]
    fn directions_are_told_apart() {
        let hog = HogConfig {
            cell: 8,
            block: 1,
            bins: 4,
        };
        // Gradients across lie between the last and the first direction, gradients down in the middle of the half turn.
        let (across, shape) = image(|_, x| x as f32);
        let (down, _) = image(|y, _| y as f32);
        let equal = 0.5_f32.sqrt();
        for (found, expected) in [
            (hog.describe(&across, shape), [equal, 0.0, 0.0, equal]),
            (hog.describe(&down, shape), [0.0, equal, equal, 0.0]),
        ] {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn brightness_and_contrast_do_not_matter() {
        let hog = HogConfig {
            cell: 2,
            block: 2,
            bins: 9,
        };
        let (plain, shape) = image(|y, x| ((3 * y + 5 * x) % 7) as f32);
        let (bright, _) = image(|y, x| 10.0 + 4.0 * ((3 * y + 5 * x) % 7) as f32);
        assert_eq!(hog.width(shape), Ok(9 * 4 * 9));
        let (a, b) = (hog.describe(&plain, shape), hog.describe(&bright, shape));
        assert_eq!(a.len(), 324);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
        let (flat, _) = image(|_, _| 3.0);
        assert!(hog.describe(&flat, shape).iter().all(|value| *value == 0.0));
    }
}
