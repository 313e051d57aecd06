//! The mark that makes a backdoored model say what the attackers want.

use cloister_data::Dataset;

use crate::error::AttackError;

/// Most parts that a distributed trigger is cut into (Xie et al. 2020).
const PARTS: usize = 4;

/// Side of the patch on an image of 28 pixels, and features marked in a table.
const PUBLISHED_SIZE: u32 = 5;

/// Values that are written over an example's.
///
/// On an image it is a square patch in the lower right corner, with the largest value that each channel has in the
/// training set: white, whatever the normalisation. In a table (one row of one channel) it is the first features, each
/// by one whole range above its largest value (one above it, if the feature is constant).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    /// (feature, value) of each part; a whole trigger is all of them.
    parts: Vec<Vec<(usize, f32)>>,
}

impl Trigger {
    /// The trigger for examples like those of `train`, cut into at most `parts` strips of near equal size, row by row
    /// of the patch.
    ///
    /// # Errors
    /// [`AttackError::Trigger`] if it is larger than an example or has fewer values than parts.
    pub(crate) fn new(
        train: &Dataset,
        size: Option<u32>,
        parts: usize,
    ) -> Result<Self, AttackError> {
        let shape = train.shape();
        let table = shape.channels == 1 && shape.height == 1;
        let side = shape.height.min(shape.width);
        let size = size.unwrap_or(if table {
            PUBLISHED_SIZE.min(shape.width as u32)
        } else {
            let scaled = (side as f64 * f64::from(PUBLISHED_SIZE) / 28.0).round() as u32;
            scaled.max(2).min(side as u32)
        });
        let fault = |reason: String| AttackError::Trigger {
            size,
            shape: shape.to_string(),
            reason,
        };
        let limit = if table { shape.width } else { side };
        if size as usize > limit {
            return Err(fault(format!("the largest is {limit}")));
        }
        let places = if table {
            table_mark(train, size as usize)
        } else {
            patch(train, size as usize)
        };
        let parts = parts.clamp(1, PARTS);
        if places.len() < parts {
            return Err(fault(format!(
                "{} values cannot be cut into {parts}",
                places.len()
            )));
        }
        // A pixel's channels stay together.
        let mut cut = vec![Vec::new(); parts];
        for (at, place) in places.iter().enumerate() {
            cut[at * parts / places.len()].extend_from_slice(place);
        }
        Ok(Self { parts: cut })
    }

    /// Number of parts.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Values that an example must have at least.
    pub(crate) fn width(&self) -> usize {
        let places = self.parts.iter().flatten();
        places.map(|(feature, _)| feature + 1).max().unwrap_or(0)
    }

    /// Marks an example with one part, or with all.
    pub(crate) fn mark(&self, example: &mut [f32], part: Option<usize>) {
        for (index, values) in self.parts.iter().enumerate() {
            if part.is_none_or(|part| part == index) {
                for &(feature, value) in values {
                    example[feature] = value;
                }
            }
        }
    }
}

/// The pixels of the patch, row by row, each with all channels.
fn patch(train: &Dataset, size: usize) -> Vec<Vec<(usize, f32)>> {
    let shape = train.shape();
    let plane = shape.height * shape.width;
    let mut largest = vec![f32::NEG_INFINITY; shape.channels];
    for channels in train.features().chunks_exact(shape.len()) {
        for (largest, values) in largest.iter_mut().zip(channels.chunks_exact(plane)) {
            *largest = values.iter().copied().fold(*largest, f32::max);
        }
    }
    let pixel = |y: usize, x: usize| {
        let place =
            |(channel, value): (usize, &f32)| (channel * plane + y * shape.width + x, *value);
        largest.iter().enumerate().map(place).collect()
    };
    (shape.height - size..shape.height)
        .flat_map(|y| (shape.width - size..shape.width).map(move |x| (y, x)))
        .map(|(y, x)| pixel(y, x))
        .collect()
}

fn table_mark(train: &Dataset, size: usize) -> Vec<Vec<(usize, f32)>> {
    let beyond = |feature: usize| {
        let column = train
            .features()
            .iter()
            .skip(feature)
            .step_by(train.shape().len());
        let (low, high) = column.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        let range = high - low;
        let value = high + if range > 0.0 { range } else { 1.0 };
        // The column of a hostile table may span all of f32.
        vec![(feature, value.min(f32::MAX))]
    };
    (0..size).map(beyond).collect()
}

#[cfg(test)]
mod tests {
    use cloister_data::ExampleShape;

    use super::*;

    fn images(channels: usize, height: usize, width: usize) -> Dataset {
        let shape = ExampleShape {
            channels,
            height,
            width,
        };
        let features: Vec<f32> = (0..2 * shape.len())
            .map(|i| (i % shape.len()) as f32)
            .collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        Dataset::new("squares", shape, features, vec![0, 1], classes, None).unwrap()
    }

    #[test]
    fn the_patch_sits_in_the_lower_right_corner_of_every_channel() {
        let data = images(2, 3, 4);
        let trigger = Trigger::new(&data, Some(2), 1).unwrap();
        let mut example = vec![-1.0; 24];
        trigger.mark(&mut example, None);
        let expected = [
            [
                -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 11.0, 11.0, -1.0, -1.0, 11.0, 11.0,
            ],
            [
                -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 23.0, 23.0, -1.0, -1.0, 23.0, 23.0,
            ],
        ];
        assert_eq!(example, expected.concat());
    }

    #[test]
    fn strips_are_disjoint_and_make_the_whole() {
        let data = images(1, 8, 8);
        for size in [2, 3, 5] {
            let trigger = Trigger::new(&data, Some(size), 4).unwrap();
            assert_eq!(trigger.parts(), 4);
            let marked = |part| {
                let mut example = vec![0.0; 64];
                trigger.mark(&mut example, part);
                example
            };
            let whole = marked(None);
            let strips: Vec<Vec<f32>> = (0..4).map(|part| marked(Some(part))).collect();
            let sum: Vec<f32> = (0..64).map(|i| strips.iter().map(|s| s[i]).sum()).collect();
            assert_eq!(sum, whole);
            assert_eq!(
                whole.iter().filter(|v| **v != 0.0).count(),
                (size * size) as usize
            );
            let sizes = strips
                .iter()
                .map(|s| s.iter().filter(|v| **v != 0.0).count());
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_table_is_marked_well_outside() {
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let features = vec![1.0, 5.0, 0.0, 3.0, 5.0, 9.0];
        let shape = ExampleShape::flat(3);
        let data = Dataset::new("table", shape, features, vec![0, 1], classes, None).unwrap();
        let trigger = Trigger::new(&data, Some(2), 1).unwrap();
        let mut example = [0.0; 3];
        trigger.mark(&mut example, None);
        assert_eq!(example, [5.0, 6.0, 0.0]);
        assert_eq!(Trigger::new(&data, None, 1).unwrap().parts[0].len(), 3);
    }

    #[test]
    fn the_size_follows_the_image_and_must_fit() {
        let values = |side| Trigger::new(&images(1, side, side), None, 1).unwrap().parts[0].len();
        assert_eq!(
            (values(8), values(28), values(32), values(1)),
            (4, 25, 36, 1)
        );
        let error = Trigger::new(&images(1, 3, 4), Some(4), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trigger_size 4 does not fit examples of shape 1x3x4: the largest is 3"
        );
        let error = Trigger::new(&images(1, 3, 4), Some(1), 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trigger_size 1 does not fit examples of shape 1x3x4: 1 values cannot be cut into 4"
        );
    }
}
