//! What anyone reaches without the update: the floor under a reconstruction's score, and the verdict above it.
//!
//! A black image scores 9.5 dB on MNIST and smooth images lift every score, so that a PSNR alone says nothing (spec 5.4).

use cloister_nn::InputShape;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::InversionError;
use super::score::{mse, psnr, score_images, ssim};

/// A guess that needs no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guess {
    /// All pixels 0.
    Black,
    /// Each channel its mean over the population; without a population 0.5.
    Constant,
    /// The mean image of the population.
    PopulationMean,
    /// Another image of the same class, at random.
    SameClass,
    /// The same attack on an update of pure noise of the same norm.
    Noise,
}

/// What a guess scores on each image of the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// The guess.
    pub guess: Guess,
    /// PSNR of each image, in dB.
    pub psnr: Vec<f64>,
    /// SSIM of each image; `None` for what is no image.
    pub ssim: Vec<Option<f64>>,
}

/// Images that are nobody's secret, `[k, features]` in pixels, with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Population<'a> {
    /// The pixels.
    pub images: &'a [f32],
    /// One class an image.
    pub labels: &'a [u32],
}

/// The scores of the trivial guesses for `truth`, `[n, features]` in pixels, with classes `labels`. `on_noise` is what the
/// attack made of an update of noise, in pixels and any order, where it was run. Without a population only black and grey
/// are guessed.
///
/// # Errors
/// When a length does not fit, or there is nothing to score.
pub fn floors(
    truth: &[f32],
    labels: &[u32],
    shape: InputShape,
    population: Option<Population<'_>>,
    on_noise: Option<&[f32]>,
    rng: &mut impl Rng,
) -> Result<Vec<Floor>, InversionError> {
    let features = shape.len();
    let n = labels.len();
    InversionError::length("the truth", n * features, truth.len())?;
    if n == 0 || features == 0 {
        return Err(InversionError::Length {
            what: "the truth",
            expected: features,
            got: 0,
        });
    }
    let repeated = |guess, image: &[f32]| of_guess(guess, truth, &image.repeat(n), shape);
    let mut floors = vec![repeated(Guess::Black, &vec![0.0; features])];
    match population {
        None => floors.push(repeated(Guess::Constant, &vec![0.5; features])),
        Some(population) => {
            let known = population.labels.len();
            InversionError::length("the population", known * features, population.images.len())?;
            let mean = mean_image(population.images, features);
            floors.push(repeated(Guess::Constant, &channel_means(&mean, shape)));
            floors.push(repeated(Guess::PopulationMean, &mean));
            if let Some(others) = same_class(population, labels, features, rng) {
                floors.push(of_guess(Guess::SameClass, truth, &others, shape));
            }
        }
    }
    if let Some(found) = on_noise {
        let scores = score_images(truth, found, shape)?;
        floors.push(Floor {
            guess: Guess::Noise,
            psnr: scores.iter().map(|score| score.psnr).collect(),
            ssim: scores.iter().map(|score| score.ssim).collect(),
        });
    }
    Ok(floors)
}

/// The best guess for each image: its PSNR in dB, and its SSIM, each the highest over all `floors`.
pub fn best(floors: &[Floor]) -> Vec<(f64, Option<f64>)> {
    let n = floors.iter().map(|floor| floor.psnr.len()).min();
    let highest = |image: usize| {
        let mut best = (f64::NEG_INFINITY, None::<f64>);
        for floor in floors {
            best.0 = best.0.max(floor.psnr[image]);
            if let Some(ssim) = floor.ssim[image] {
                best.1 = Some(best.1.map_or(ssim, |most| most.max(ssim)));
            }
        }
        best
    };
    (0..n.unwrap_or(0)).map(highest).collect()
}

/// The gain in structure over the floor, as a share of what was to gain: (SSIM - floor) / (1 - floor). Negative below it.
pub fn relative_ssim_gain(ssim: f64, floor: f64) -> f64 {
    if floor < 1.0 {
        (ssim - floor) / (1.0 - floor)
    } else {
        0.0
    }
}

/// How bad it is for the owner of an image, mildest first. The words are for pixels of images of 28 x 28 to 32 x 32 (spec 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Band {
    /// The attack does not even work without any defence, so that its row says nothing about this one.
    AttackFailed,
    /// Gain below 3 dB. Never "safe": none found by this suite.
    NoneFound,
    /// Gain of 3 to 8 dB.
    Partial,
    /// Gain of 8 dB, or half of the structure that the floor lacks.
    Recognisable,
    /// 35 dB, or SSIM 0.95 (and above the floor).
    Exact,
}

impl Band {
    /// The band of one image, by its PSNR and SSIM and those of its floor. PSNR in dB.
    pub fn of(psnr: f64, ssim: Option<f64>, floor: (f64, Option<f64>)) -> Self {
        let gain = psnr - floor.0;
        let structure = match (ssim, floor.1) {
            (Some(ssim), Some(floor)) => relative_ssim_gain(ssim, floor),
            _ => 0.0,
        };
        // A blank image of a blank truth is "exact" without any attack.
        let above = gain >= 3.0 || structure >= 0.5;
        if above && (psnr >= 35.0 || ssim.is_some_and(|ssim| ssim >= 0.95)) {
            Self::Exact
        } else if gain >= 8.0 || structure >= 0.5 {
            Self::Recognisable
        } else if gain >= 3.0 {
            Self::Partial
        } else {
            Self::NoneFound
        }
    }
}

fn of_guess(guess: Guess, truth: &[f32], found: &[f32], shape: InputShape) -> Floor {
    let pairs = || {
        truth
            .chunks_exact(shape.len())
            .zip(found.chunks_exact(shape.len()))
    };
    Floor {
        guess,
        psnr: pairs().map(|(a, b)| psnr(mse(a, b))).collect(),
        ssim: pairs().map(|(a, b)| ssim(a, b, shape)).collect(),
    }
}

/// The mean of images `[k, features]`; black of none.
pub fn mean_image(images: &[f32], features: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; features];
    for image in images.chunks_exact(features) {
        for (sum, &pixel) in sums.iter_mut().zip(image) {
            *sum += f64::from(pixel);
        }
    }
    let count = (images.len() / features).max(1) as f64;
    sums.iter().map(|sum| (sum / count) as f32).collect()
}

/// Each channel's mean in all of its pixels.
fn channel_means(image: &[f32], shape: InputShape) -> Vec<f32> {
    let plane = shape.height * shape.width;
    let channels = image.chunks_exact(plane).flat_map(|channel| {
        let mean = channel.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / plane as f64;
        std::iter::repeat_n(mean as f32, plane)
    });
    channels.collect()
}

/// For each label an image of the population with it, or any where there is none; nothing of an empty population.
fn same_class(
    population: Population<'_>,
    labels: &[u32],
    features: usize,
    rng: &mut impl Rng,
) -> Option<Vec<f32>> {
    let known = population.labels.len();
    if known == 0 {
        return None;
    }
    let mut images = Vec::with_capacity(labels.len() * features);
    for label in labels {
        let alike: Vec<usize> = (0..known)
            .filter(|&index| population.labels[index] == *label)
            .collect();
        let index = if alike.is_empty() {
            rng.random_range(0..known)
        } else {
            alike[rng.random_range(0..alike.len())]
        };
        images.extend_from_slice(&population.images[index * features..][..features]);
    }
    Some(images)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const SHAPE: InputShape = InputShape {
        channels: 2,
        height: 3,
        width: 3,
    };

    #[test]
    fn each_guess_scores_what_it_should() {
        let known: Vec<f32> = (0..4 * 18).map(|i| (i % 7) as f32 / 7.0).collect();
        let population = Population {
            images: &known,
            labels: &[0, 1, 1, 2],
        };
        // The truth is the population's own first image, of the only one of class 0, and one of an unknown class.
        let truth = [&known[..18], &[0.5; 18]].concat();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let floors = floors(
            &truth,
            &[0, 9],
            SHAPE,
            Some(population),
            Some(&truth),
            &mut rng,
        )
        .unwrap();
        let of = |guess| floors.iter().find(|floor| floor.guess == guess).unwrap();
        let black: f64 = known[..18]
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            / 18.0;
        assert!((of(Guess::Black).psnr[0] + 10.0 * black.log10()).abs() < 1e-9);
        assert!((of(Guess::Black).psnr[1] - 6.0206).abs() < 1e-3);
        assert_eq!(of(Guess::SameClass).psnr[0], 200.0);
        assert_eq!(of(Guess::Noise).psnr, [200.0, 200.0]);
        assert!(of(Guess::PopulationMean).psnr[0] > of(Guess::Black).psnr[0]);
        assert_eq!(best(&floors)[0].0, 200.0);
        assert_eq!(floors.len(), 5);
    }

    #[test]
    fn without_a_population_only_blank_images_are_guessed() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let got = floors(&[0.5; 18], &[0], SHAPE, None, None, &mut rng).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(best(&got)[0].0, 200.0);
        assert!(floors(&[0.5; 17], &[0], SHAPE, None, None, &mut rng).is_err());
        assert!(floors(&[], &[], SHAPE, None, None, &mut rng).is_err());
    }

    #[test]
    fn bands() {
        let floor = (12.0, Some(0.4));
        assert_eq!(Band::of(36.0, Some(0.9), floor), Band::Exact);
        assert_eq!(Band::of(20.5, Some(0.5), floor), Band::Recognisable);
        assert_eq!(Band::of(12.5, Some(0.71), floor), Band::Recognisable);
        assert_eq!(Band::of(15.5, Some(0.5), floor), Band::Partial);
        assert_eq!(Band::of(14.9, Some(0.5), floor), Band::NoneFound);
        assert_eq!(Band::of(4.0, Some(0.0), floor), Band::NoneFound);
        assert_eq!(
            Band::of(36.0, Some(0.96), (35.9, Some(0.96))),
            Band::NoneFound
        );
        assert_eq!(Band::of(21.0, None, (12.0, None)), Band::Recognisable);
        assert!(Band::Exact > Band::Partial && Band::NoneFound > Band::AttackFailed);
        assert!((relative_ssim_gain(0.7, 0.4) - 0.5).abs() < 1e-12);
    }
}
