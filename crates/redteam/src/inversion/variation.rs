//! Total variation.

use super::attack::Variation;
use super::space::InputSpace;

/// Added under the root of the isotropic form, so that it has a derivative everywhere.
const SMOOTH: f64 = 1e-12;

/// Adds `weight` times the total variation of `inputs`, `[n, features]`, to `gradient` and gives it: the mean over all pairs of
/// vertical neighbours plus that over all pairs of horizontal ones of the magnitude of their difference, in units of half the
/// range (Geiping et al. 2020). The isotropic form is the mean of the root of the two squares (Rudin et al. 1992), over the
/// pixels that have both neighbours.
pub(super) fn add(
    variation: Variation,
    space: &InputSpace,
    inputs: &[f32],
    gradient: &mut [f32],
) -> f64 {
    let shape = space.shape();
    let (height, width) = (shape.height, shape.width);
    if variation.weight == 0.0 || height < 2 || width < 2 {
        return 0.0;
    }
    let planes = inputs.len() / (height * width);
    let weight = f64::from(variation.weight);
    let mut sum = 0.0;
    for plane in 0..planes {
        let from = plane * height * width;
        let [low, high] = space.bound(from % space.features());
        let unit = 2.0 / f64::from(high - low);
        let x = &inputs[from..from + height * width];
        let g = &mut gradient[from..from + height * width];
        sum += if variation.isotropic {
            isotropic(
                x,
                g,
                (height, width),
                unit,
                weight / (planes * (height - 1) * (width - 1)) as f64,
            )
        } else {
            let down = weight / (planes * (height - 1) * width) as f64;
            let right = weight / (planes * height * (width - 1)) as f64;
            anisotropic(x, g, width, unit, (down, right))
        };
    }
    sum
}

fn anisotropic(
    x: &[f32],
    g: &mut [f32],
    width: usize,
    unit: f64,
    (down, right): (f64, f64),
) -> f64 {
    let mut sums = (0.0, 0.0);
    let (step_down, step_right) = ((down * unit) as f32, (right * unit) as f32);
    // As torch.abs has it, equal neighbours pull at nobody.
    let sign = |difference: f32| f32::from(i8::from(difference > 0.0) - i8::from(difference < 0.0));
    for at in 0..x.len() {
        if at + width < x.len() {
            let difference = x[at + width] - x[at];
            sums.0 += f64::from(difference.abs());
            g[at + width] += step_down * sign(difference);
            g[at] -= step_down * sign(difference);
        }
        if (at + 1) % width != 0 {
            let difference = x[at + 1] - x[at];
            sums.1 += f64::from(difference.abs());
            g[at + 1] += step_right * sign(difference);
            g[at] -= step_right * sign(difference);
        }
    }
    unit * (down * sums.0 + right * sums.1)
}

fn isotropic(
    x: &[f32],
    g: &mut [f32],
    (height, width): (usize, usize),
    unit: f64,
    weight: f64,
) -> f64 {
    let mut sum = 0.0;
    for row in 0..height - 1 {
        for column in 0..width - 1 {
            let at = row * width + column;
            let down = unit * f64::from(x[at + width] - x[at]);
            let right = unit * f64::from(x[at + 1] - x[at]);
            let length = (down * down + right * right + SMOOTH).sqrt();
            sum += weight * length;
            let (pull_down, pull_right) = (
                (weight * unit * down / length) as f32,
                (weight * unit * right / length) as f32,
            );
            g[at + width] += pull_down;
            g[at + 1] += pull_right;
            g[at] -= pull_down + pull_right;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use cloister_nn::InputShape;

    use super::*;

    #[test]
    fn by_hand_and_by_differences() {
        let shape = InputShape {
            channels: 2,
            height: 3,
            width: 4,
        };
        let space = InputSpace::new(shape, vec![[0.0, 1.0], [-3.0, 3.0]]).unwrap();
        let inputs: Vec<f32> = (0..48).map(|i| ((i * i * 7) as f32 * 0.13).sin()).collect();
        for isotropic in [false, true] {
            let variation = Variation {
                weight: 0.7,
                isotropic,
            };
            let mut gradient = vec![0.0; 48];
            add(variation, &space, &inputs, &mut gradient);
            for index in 0..48 {
                let value = |by: f32| {
                    let mut moved = inputs.clone();
                    moved[index] += by;
                    add(variation, &space, &moved, &mut [0.0; 48])
                };
                let slope = (value(1e-3) - value(-1e-3)) / 2e-3;
                let got = f64::from(gradient[index]);
                assert!((slope - got).abs() < 2e-3, "{index}: {got} is not {slope}");
            }
        }
        // A step of half the range in one of three columns of pairs, in one of the two channels.
        let step: Vec<f32> = (0..24)
            .map(|i| if i < 12 && i % 4 > 1 { 0.5 } else { 0.0 })
            .collect();
        let variation = Variation {
            weight: 6.0,
            isotropic: false,
        };
        let sum = add(variation, &space, &step, &mut [0.0; 24]);
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn rows_of_tables_have_none() {
        let shape = InputShape {
            channels: 1,
            height: 1,
            width: 5,
        };
        let space = InputSpace::unit(shape).unwrap();
        let variation = Variation {
            weight: 1.0,
            isotropic: false,
        };
        let mut gradient = [0.0; 5];
        assert_eq!(
            add(variation, &space, &[1.0, 0.0, 1.0, 0.0, 1.0], &mut gradient),
            0.0
        );
        assert_eq!(gradient, [0.0; 5]);
    }
}
