//! How well a reconstruction shows the truth: the only room that reads the truth.
//!
//! Images are scored in pixels, [0, 1], clamped ([`super::InputSpace::to_pixels`]): MSE, PSNR and SSIM of each image with the
//! one that a Hungarian assignment gives it, whatever order they came out in. The assignment is on the pixels' MSE in dB: on
//! the MSE itself an exact image may be given away to make two bad ones less bad.

use std::ops::Range;

use cloister_nn::InputShape;
use serde::Serialize;

mod assignment;
mod ssim;
mod tabular;

pub use assignment::assign;
pub use ssim::ssim;
pub use tabular::{Column, ColumnScore, score_table};

use super::error::InversionError;

/// PSNR of two equal images: what an MSE of 1e-20 has, so that means and files stay finite.
pub const MOST_DECIBELS: f64 = 200.0;

/// SSIM from which PRECODE (Scheliga et al. 2022) calls an attack successful.
pub const SUCCESS_SSIM: f64 = 0.6;

/// Decibels over the best trivial guess that a success needs beside [`SUCCESS_SSIM`].
pub const SUCCESS_GAIN: f64 = 3.0;

/// Mean squared difference of two equally long slices.
pub fn mse(a: &[f32], b: &[f32]) -> f64 {
    let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / a.len().max(1) as f64
}

/// Peak signal-to-noise ratio, in dB, of pixels of range 1; at most [`MOST_DECIBELS`].
pub fn psnr(mse: f64) -> f64 {
    (-10.0 * mse.log10()).min(MOST_DECIBELS)
}

/// How one image of the truth came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageScore {
    /// Which of the reconstructions was taken for it.
    pub found: usize,
    /// Mean squared error of its pixels.
    pub mse: f64,
    /// In dB.
    pub psnr: f64,
    /// Structural similarity, at most 1; `None` for what is no image (a side below 3).
    pub ssim: Option<f64>,
}

/// Scores each image of `truth`, `[n, features]`, against `found`, `[m, features]` with m at least n, both in pixels.
///
/// # Errors
/// When there is nothing to score, or a length does not fit.
pub fn score_images(
    truth: &[f32],
    found: &[f32],
    shape: InputShape,
) -> Result<Vec<ImageScore>, InversionError> {
    let features = shape.len();
    let (n, m) = (
        rows("the truth", truth, features)?,
        rows("the reconstruction", found, features)?,
    );
    if m < n {
        let what = "the reconstruction";
        return Err(InversionError::Length {
            what,
            expected: truth.len(),
            got: found.len(),
        });
    }
    let mut costs = Vec::with_capacity(n * m);
    for a in truth.chunks_exact(features) {
        costs.extend(found.chunks_exact(features).map(|b| -psnr(mse(a, b))));
    }
    let score = |(index, found_index): (usize, usize)| {
        let a = &truth[index * features..][..features];
        let b = &found[found_index * features..][..features];
        let mse = mse(a, b);
        ImageScore {
            found: found_index,
            mse,
            psnr: psnr(mse),
            ssim: ssim(a, b, shape),
        }
    };
    let matched = assign(&costs, n, m);
    Ok(matched.into_iter().enumerate().map(score).collect())
}

/// Share of the images that an attack may claim (PRECODE's rule, and the floor's): SSIM at least [`SUCCESS_SSIM`] *and* PSNR
/// at least [`SUCCESS_GAIN`] over the image's floor, in dB. Where there is no SSIM the gain alone decides.
pub fn success_rate(scores: &[ImageScore], floors: &[f64]) -> f64 {
    let success = |(score, floor): &(&ImageScore, &f64)| {
        score.ssim.is_none_or(|ssim| ssim >= SUCCESS_SSIM) && score.psnr - *floor >= SUCCESS_GAIN
    };
    let good = scores.iter().zip(floors).filter(success).count();
    good as f64 / scores.len().max(1) as f64
}

/// Image identification precision (Yin et al. 2021): the share of the reconstructions whose nearest neighbour, by pixel MSE,
/// among all of the client's own images `data`, `[k, features]`, is the image that they were made of, `of[i]` for the
/// reconstruction `i`.
pub fn identified(found: &[f32], data: &[f32], of: &[usize], features: usize) -> f64 {
    let nearest = |image: &[f32]| {
        let distances = data.chunks_exact(features).map(|other| mse(image, other));
        let best = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(index, _)| index)
    };
    let images = found.chunks_exact(features).zip(of);
    let right = images
        .filter(|(image, truth)| nearest(image) == Some(**truth))
        .count();
    right as f64 / of.len().max(1) as f64
}

/// The middle value; of an even number the mean of the two. NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The number of rows of that many values.
fn rows(what: &'static str, values: &[f32], features: usize) -> Result<usize, InversionError> {
    let fits = features != 0 && !values.is_empty() && values.len().is_multiple_of(features);
    if fits {
        Ok(values.len() / features)
    } else {
        Err(InversionError::Length {
            what,
            expected: features,
            got: values.len(),
        })
    }
}

/// The values of row `index`.
fn row(values: &[f32], index: usize, features: usize) -> &[f32] {
    let range: Range<usize> = index * features..(index + 1) * features;
    &values[range]
}

#[cfg(test)]
mod tests;
