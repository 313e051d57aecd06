//! The inputs of a run's model: their shape and range.

use cloister_config::Experiment;
use cloister_data::{Normalise, TrainTest};
use cloister_nn::InputShape;
use cloister_redteam::inversion::{InputSpace, InversionError};

use crate::error::LeakError;
use crate::picture::is_image;

/// What an attacker knows of any example of the run: black and white of each channel of an image, the range of each column
/// of a table as the test examples show it.
///
/// # Errors
/// [`LeakError`] if the data cannot be read again, where their values are standardised.
pub(crate) fn input_space(
    experiment: &Experiment,
    data: &TrainTest,
    shape: InputShape,
) -> Result<InputSpace, LeakError> {
    let failed = |error: InversionError| LeakError::attack("reconstruction", error);
    if !is_image(shape) {
        return InputSpace::observed(shape, data.test.features()).map_err(failed);
    }
    let bounds = match experiment.data.normalise {
        Normalise::Unit => vec![[0.0, 1.0]; shape.channels],
        Normalise::None => {
            let most = data.test.features().iter().copied().fold(0.0, f32::max);
            // Values that are fractions already are pixels as they are.
            let white = if most > 1.0 { 255.0 } else { 1.0 };
            vec![[0.0, white]; shape.channels]
        }
        Normalise::Standard => {
            let mut config = experiment.data.clone();
            config.normalise = Normalise::Unit;
            let unit = cloister_data::load(&config, experiment.seed)?;
            let plane = shape.height * shape.width;
            let bound = |channel| {
                let seen = data.train.features();
                let real = unit.train.features();
                let (scale, shift) = line_through(seen, real, channel, plane, shape.channels);
                [-shift / scale, (1.0 - shift) / scale]
            };
            (0..shape.channels).map(bound).collect()
        }
    };
    InputSpace::new(shape, bounds).map_err(failed)
}

/// Scale and shift of one channel, from two of its values that differ as far as they do. A channel that is constant keeps
/// its value.
fn line_through(
    seen: &[f32],
    real: &[f32],
    channel: usize,
    plane: usize,
    channels: usize,
) -> (f32, f32) {
    let of_channel = |index: &usize| (index / plane) % channels == channel;
    let places = || (0..seen.len()).filter(of_channel);
    let least = places().min_by(|a, b| seen[*a].total_cmp(&seen[*b]));
    let most = places().max_by(|a, b| seen[*a].total_cmp(&seen[*b]));
    let (Some(least), Some(most)) = (least, most) else {
        return (1.0, 0.0);
    };
    let width = seen[most] - seen[least];
    if width == 0.0 {
        return (1.0, real[least] - seen[least]);
    }
    let scale = (real[most] - real[least]) / width;
    (scale, real[least] - scale * seen[least])
}
