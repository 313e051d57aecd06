//! What is done to images besides scaling their values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::hog::HogConfig;
use crate::dataset::ExampleShape;
use crate::error::DataError;

/// Longest side of an image once it is resized.
const MOST_PIXELS: usize = 4096;

/// `[data.prepare.images]`: steps in the order crop, grey, resize, hog; `data.normalise` divides before them, and
/// standardises after them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// The part of an image that is kept, as `[top, left, height, width]` in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 4]>,
    /// Whether three channels become one, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    #[serde(skip_serializing_if = "is_false")]
    pub grey: bool,
    /// The size that images are brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeConfig>,
    /// Histograms of oriented gradients in the place of the pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hog: Option<HogConfig>,
    /// How training images are changed at random, anew in each pass over them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The size that images are brought to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeConfig {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// How new pixels come of old ones.
    #[serde(default)]
    pub filter: ResizeFilter,
}

/// How new pixels come of old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// The mean over the area that a new pixel covers: for making images smaller.
    #[default]
    Area,
    /// Between the four nearest pixels in proportion: for making them larger.
    Bilinear,
}

impl ImagesConfig {
    /// Refuses what cannot be meant for any image, by key.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some([_, _, height, width]) = self.crop
            && (height == 0 || width == 0)
        {
            return Err(("crop", "leaves no pixel".to_owned()));
        }
        if let Some(size) = &self.resize
            && !((1..=MOST_PIXELS).contains(&size.height)
                && (1..=MOST_PIXELS).contains(&size.width))
        {
            let reason = format!(
                "{}x{} is not within 1x1 and {MOST_PIXELS}x{MOST_PIXELS}",
                size.height, size.width
            );
            return Err(("resize", reason));
        }
        self.hog.as_ref().map_or(Ok(()), HogConfig::check)?;
        match &self.augment {
            Some(_) if self.hog.is_some() => {
                let reason = "needs pixels, but `hog` leaves none".to_owned();
                Err(("augment", reason))
            }
            Some(augment) => augment.check(),
            None => Ok(()),
        }
    }
}

/// What is done to the values of images, with the figures that it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImagePipeline {
    /// Shape of an image as it is read.
    pub(crate) from: ExampleShape,
    /// Shape of an example.
    pub(crate) shape: ExampleShape,
    /// Values are divided by this.
    pub(crate) white: f32,
    pub(crate) steps: ImagesConfig,
    /// Mean and deviation of each channel, for `normalise = "standard"`.
    pub(crate) channels: Option<Vec<(f64, f64)>>,
}

impl ImagePipeline {
    /// The steps for images of shape `from`, before channels are known.
    pub(crate) fn new(
        from: ExampleShape,
        white: f32,
        steps: &ImagesConfig,
    ) -> Result<Self, DataError> {
        let mut shape = from;
        if let Some([top, left, height, width]) = steps.crop {
            let fits = top.saturating_add(height) <= shape.height
                && left.saturating_add(width) <= shape.width;
            if !fits {
                let reason = format!(
                    "{height}x{width} pixels from ({top}, {left}) are not within images of {}x{}",
                    shape.height, shape.width
                );
                return Err(DataError::setting("prepare.images.crop", reason));
            }
            (shape.height, shape.width) = (height, width);
        }
        if steps.grey {
            if shape.channels != 3 {
                let reason = format!("needs three channels, but images have {}", shape.channels);
                return Err(DataError::setting("prepare.images.grey", reason));
            }
            shape.channels = 1;
        }
        if let Some(size) = &steps.resize {
            (shape.height, shape.width) = (size.height, size.width);
        }
        if let Some(hog) = &steps.hog {
            let reason = |reason| DataError::setting("prepare.images.hog", reason);
            shape = ExampleShape::flat(hog.width(shape).map_err(reason)?);
        }
        Ok(Self {
            from,
            shape,
            white,
            steps: steps.clone(),
            channels: None,
        })
    }

    /// Whether pixels are only divided.
    pub(crate) fn is_plain(&self) -> bool {
        let steps = &self.steps;
        steps.crop.is_none() && !steps.grey && steps.resize.is_none() && steps.hog.is_none()
    }

    /// Crops, greys, resizes and describes an image whose values are divided.
    pub(crate) fn reshape(&self, image: &[f32]) -> Vec<f32> {
        let mut shape = self.from;
        let mut values = image.to_vec();
        if let Some([top, left, height, width]) = self.steps.crop {
            values = cropped(&values, shape, (top, left), (height, width));
            (shape.height, shape.width) = (height, width);
        }
        if self.steps.grey {
            values = grey(&values);
            shape.channels = 1;
        }
        if let Some(size) = &self.steps.resize {
            values = resized(&values, shape, size);
            (shape.height, shape.width) = (size.height, size.width);
        }
        match &self.steps.hog {
            Some(hog) => hog.describe(&values, shape),
            None => values,
        }
    }

    /// Takes off the mean of each channel and divides by its deviation.
    pub(crate) fn standardise(&self, values: &mut [f32]) {
        let Some(channels) = &self.channels else {
            return;
        };
        let plane = self.shape.height * self.shape.width;
        for image in values.chunks_exact_mut(self.shape.len()) {
            for (&(mean, deviation), plane) in channels.iter().zip(image.chunks_exact_mut(plane)) {
                for value in plane {
                    *value = ((f64::from(*value) - mean) / deviation) as f32;
                }
            }
        }
    }
}

fn cropped(
    values: &[f32],
    shape: ExampleShape,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
) -> Vec<f32> {
    let mut kept = Vec::with_capacity(shape.channels * height * width);
    for plane in values.chunks_exact(shape.height * shape.width) {
        for row in plane.chunks_exact(shape.width).skip(top).take(height) {
            kept.extend_from_slice(&row[left..left + width]);
        }
    }
    kept
}

fn grey(values: &[f32]) -> Vec<f32> {
    let plane = values.len() / 3;
    let (red, rest) = values.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let colours = red.iter().zip(green).zip(blue);
    colours
        .map(|((red, green), blue)| 0.299 * red + 0.587 * green + 0.114 * blue)
        .collect()
}

fn resized(values: &[f32], shape: ExampleShape, size: &ResizeConfig) -> Vec<f32> {
    let rows = weights(shape.height, size.height, size.filter);
    let columns = weights(shape.width, size.width, size.filter);
    let mut resized = Vec::with_capacity(shape.channels * size.height * size.width);
    for plane in values.chunks_exact(shape.height * shape.width) {
        for (top, of_rows) in &rows {
            for (left, of_columns) in &columns {
                let mut sum = 0.0_f64;
                for (y, row_weight) in of_rows.iter().enumerate() {
                    let row = &plane[(top + y) * shape.width + left..];
                    for (value, weight) in row.iter().zip(of_columns) {
                        sum += row_weight * weight * f64::from(*value);
                    }
                }
                resized.push(sum as f32);
            }
        }
    }
    resized
}

/// For each new place along a side: the first old one that counts, and the weights from there on, which add up to 1.
fn weights(old: usize, new: usize, filter: ResizeFilter) -> Vec<(usize, Vec<f64>)> {
    let scale = old as f64 / new as f64;
    (0..new)
        .map(|at| match filter {
            ResizeFilter::Area => {
                let (from, to) = (at as f64 * scale, (at + 1) as f64 * scale);
                let first = (from as usize).min(old - 1);
                let last = (to.ceil() as usize).clamp(first + 1, old);
                let covered = (first..last).map(|pixel| {
                    let (low, high) = (from.max(pixel as f64), to.min((pixel + 1) as f64));
                    (high - low).max(0.0)
                });
                let covered: Vec<f64> = covered.collect();
                let whole: f64 = covered.iter().sum();
                (first, covered.iter().map(|part| part / whole).collect())
            }
            ResizeFilter::Bilinear => {
                let centre = ((at as f64 + 0.5) * scale - 0.5).clamp(0.0, (old - 1) as f64);
                let first = (centre as usize).min(old.saturating_sub(2));
                let share = centre - first as f64;
                match old {
                    1 => (0, vec![1.0]),
                    _ => (first, vec![1.0 - share, share]),
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(channels: usize, height: usize, width: usize) -> ExampleShape {
        ExampleShape {
            channels,
            height,
            width,
        }
    }

    proptest! {
        /// Weights lie inside the image and add up to 1, so that a plain area stays as it is; the mean over all stays with
        /// the area filter.
        #[test]
        fn resizing_keeps_plain_areas(old in 1_usize..30, new in 1_usize..30) {
            for filter in [ResizeFilter::Area, ResizeFilter::Bilinear] {
                for (first, weights) in weights(old, new, filter) {
                    prop_assert!(first + weights.len() <= old && !weights.is_empty());
                    prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    prop_assert!(weights.iter().all(|weight| *weight >= 0.0));
                }
            }
            let mut covered = vec![0.0; old];
            for (first, weights) in weights(old, new, ResizeFilter::Area) {
                for (at, weight) in weights.iter().enumerate() {
                    covered[first + at] += weight;
                }
            }
            let each = new as f64 / old as f64;
            prop_assert!(covered.iter().all(|sum| (sum - each).abs() < 1e-9));
        }
    }

    #[test]
    fn steps_do_what_they_say() {
        let image: Vec<f32> = (0..48).map(|value| value as f32).collect();
        let steps = ImagesConfig {
            crop: Some([1, 0, 2, 4]),
            grey: true,
            resize: Some(ResizeConfig {
                height: 1,
                width: 2,
                filter: ResizeFilter::Area,
            }),
            ..ImagesConfig::default()
        };
        let pipeline = ImagePipeline::new(shape(3, 4, 4), 1.0, &steps).unwrap();
        assert_eq!(pipeline.shape.to_string(), "1x1x2");
        // Rows 1 and 2 of the first channel are 4 to 11; the others are 16 and 32 more.
        let more = 0.587 * 16.0 + 0.114 * 32.0;
        let found = pipeline.reshape(&image);
        for (found, expected) in found.iter().zip([6.5 + more, 8.5 + more]) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn steps_that_do_not_fit_the_images_are_named() {
        let cases = [
            (
                ImagesConfig {
                    crop: Some([0, 1, 2, 2]),
                    ..ImagesConfig::default()
                },
                "data.prepare.images.crop: 2x2 pixels from (0, 1) are not within images of 2x2",
            ),
            (
                ImagesConfig {
                    grey: true,
                    ..ImagesConfig::default()
                },
                "data.prepare.images.grey: needs three channels, but images have 1",
            ),
            (
                ImagesConfig {
                    hog: Some(HogConfig::default()),
                    ..ImagesConfig::default()
                },
                "data.prepare.images.hog: images of 2x2 have no 2x2 cells of 8 pixels",
            ),
        ];
        for (steps, expected) in cases {
            let error = ImagePipeline::new(shape(1, 2, 2), 1.0, &steps).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
