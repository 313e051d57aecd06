//! Structural similarity.

use cloister_nn::InputShape;

/// Side of the window.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
/// (0.01 L)^2 and (0.03 L)^2 at range L = 1.
const C1: f64 = 1e-4;
const C2: f64 = 9e-4;

/// Structural similarity (Wang et al. 2004) of two images in pixels of range 1: an 11 x 11 Gaussian window with sigma 1.5, its
/// means over all places where it lies within the image, averaged over the channels. As `skimage.metrics` gives it with
/// `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.
///
/// Images with a side below 11 get the largest odd window that fits, with the same sigma; with a side below 3, as a table's
/// rows, there is no structure, and no value.
///
/// # Panics
/// When an image has another length than its shape.
pub fn ssim(a: &[f32], b: &[f32], shape: InputShape) -> Option<f64> {
    assert_eq!(a.len(), shape.len(), "length of an image");
    assert_eq!(b.len(), shape.len(), "length of an image");
    let least = shape.height.min(shape.width);
    if least < 3 {
        return None;
    }
    let window = gaussian(WINDOW.min(if least % 2 == 1 { least } else { least - 1 }));
    let plane = shape.height * shape.width;
    let channels = a.chunks_exact(plane).zip(b.chunks_exact(plane));
    let sum: f64 = channels
        .map(|(a, b)| of_plane(a, b, shape.width, &window))
        .sum();
    Some(sum / shape.channels as f64)
}

fn gaussian(side: usize) -> Vec<f64> {
    let centre = (side / 2) as f64;
    let weight = |i: usize| (-0.5 * ((i as f64 - centre) / SIGMA).powi(2)).exp();
    let weights: Vec<f64> = (0..side).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn of_plane(a: &[f32], b: &[f32], width: usize, window: &[f64]) -> f64 {
    let mean_of = |f: &dyn Fn(f64, f64) -> f64| {
        let values: Vec<f64> = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| f(f64::from(a), f64::from(b)))
            .collect();
        blur(&values, width, window)
    };
    let (mean_a, mean_b) = (mean_of(&|a, _| a), mean_of(&|_, b| b));
    let (aa, bb, ab) = (
        mean_of(&|a, _| a * a),
        mean_of(&|_, b| b * b),
        mean_of(&|a, b| a * b),
    );
    let mut sum = 0.0;
    for i in 0..mean_a.len() {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (va, vb, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
        sum +=
            (2.0 * ma * mb + C1) * (2.0 * cov + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
    }
    sum / mean_a.len() as f64
}

/// Weighted means over all windows within the plane, rows first, then columns.
fn blur(values: &[f64], width: usize, window: &[f64]) -> Vec<f64> {
    let side = window.len();
    let wide = width + 1 - side;
    let mut across = Vec::with_capacity(values.len());
    for row in values.chunks_exact(width) {
        across.extend(row.windows(side).map(|cells| dot(cells.iter(), window)));
    }
    let high = values.len() / width + 1 - side;
    let mut out = Vec::with_capacity(high * wide);
    for y in 0..high {
        for x in 0..wide {
            let column = across[y * wide + x..].iter().step_by(wide).take(side);
            out.push(dot(column, window));
        }
    }
    out
}

fn dot<'a>(cells: impl Iterator<Item = &'a f64>, window: &[f64]) -> f64 {
    cells.zip(window).map(|(cell, weight)| cell * weight).sum()
}
