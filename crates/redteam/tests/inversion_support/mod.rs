//! Victims of reconstruction: images, models, and the gradient that a client would send.

use std::path::PathBuf;

use cloister_data::{DataConfig, Dataset};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_redteam::inversion::score::{ImageScore, score_images};
use cloister_redteam::inversion::{Attack, InputSpace, Observation, Reconstruction, invert};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub const MNIST_SHAPE: InputShape = InputShape {
    channels: 1,
    height: 28,
    width: 28,
};

/// Images in [0, 1] with their classes.
pub struct Images {
    pub shape: InputShape,
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images {
    /// The images `rows`.
    pub fn pick(&self, rows: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let width = self.shape.len();
        let pixels = rows
            .iter()
            .flat_map(|row| &self.pixels[row * width..(row + 1) * width]);
        let labels = rows.iter().map(|row| self.labels[*row]);
        (pixels.copied().collect(), labels.collect())
    }
}

fn of(data: &Dataset) -> Images {
    let shape = data.shape();
    Images {
        shape: InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        },
        pixels: data.features().to_vec(),
        labels: data.labels().to_vec(),
    }
}

/// The bundled digits, each pixel three wide and high, in a frame of two: 28 x 28.
pub fn digits() -> Images {
    let config: DataConfig = serde_json::from_str(r#"{"dataset": "digits"}"#).unwrap();
    let small = of(&cloister_data::load(&config, 1).unwrap().train);
    let most = small.pixels.iter().copied().fold(0.0, f32::max);
    let mut pixels = Vec::new();
    for image in small.pixels.chunks_exact(64) {
        for row in 0..28 {
            for column in 0..28 {
                let inside = (2..26).contains(&row) && (2..26).contains(&column);
                pixels.push(match inside {
                    true => image[(row - 2) / 3 * 8 + (column - 2) / 3] / most,
                    false => 0.0,
                });
            }
        }
    }
    Images {
        shape: MNIST_SHAPE,
        pixels,
        labels: small.labels,
    }
}

/// A set of the folder of data sets that are not in the repository (`CLOISTER_DATA`, else `shared/data` beside it).
pub fn shared(dataset: &str, folder: &str) -> Option<Images> {
    let root = std::env::var_os("CLOISTER_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if !path.is_dir() {
        println!("skipped: no {}", path.display());
        return None;
    }
    let config = serde_json::json!({"dataset": dataset, "path": path});
    let config: DataConfig = serde_json::from_value(config).unwrap();
    Some(of(&cloister_data::load(&config, 1).unwrap().train))
}

pub fn model(config: &str, shape: InputShape) -> Model {
    let config: ModelConfig = serde_json::from_str(config).unwrap();
    Model::build(&config, shape, 10).unwrap()
}

/// A victim: a fresh model and its gradient on some images.
pub struct Victim {
    pub model: Model,
    pub truth: Vec<f32>,
    pub labels: Vec<u32>,
    pub observation: Observation,
}

impl Victim {
    pub fn new(model: Model, pixels: Vec<f32>, labels: Vec<u32>, seed: u64) -> Self {
        let space = InputSpace::unit(model.input()).unwrap();
        Self::in_space(model, pixels, labels, space, seed)
    }

    pub fn in_space(
        model: Model,
        pixels: Vec<f32>,
        labels: Vec<u32>,
        space: InputSpace,
        seed: u64,
    ) -> Self {
        let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut gradient = vec![0.0; parameters.len()];
        let mut workspace = model.workspace(labels.len());
        let inputs = space.to_inputs(&pixels);
        model.gradient(&parameters, &inputs, &labels, &mut workspace, &mut gradient);
        let observation =
            Observation::of_gradient(&model, parameters, gradient, labels.len(), space).unwrap();
        Self {
            model,
            truth: pixels,
            labels,
            observation,
        }
    }

    pub fn attack(&self, attack: &Attack, threads: usize, seed: u64) -> Reconstruction {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        invert(&self.model, &self.observation, attack, threads, &mut rng).unwrap()
    }

    pub fn scores(&self, reconstruction: &Reconstruction) -> Vec<ImageScore> {
        let pixels = self.observation.space.to_pixels(&reconstruction.inputs);
        score_images(&self.truth, &pixels, self.model.input()).unwrap()
    }

    /// Mean PSNR of an attack, in dB.
    pub fn decibels(&self, attack: &Attack, seed: u64) -> f64 {
        let scores = self.scores(&self.attack(attack, 1, seed));
        scores.iter().map(|score| score.psnr).sum::<f64>() / scores.len() as f64
    }
}

/// The cosine attack at that length, labels known.
pub fn cosine(iterations: u32, variation: f32, labels: &[u32]) -> Attack {
    let mut attack = Attack::preset("inverting-gradients").unwrap();
    attack.iterations = iterations;
    attack.variation.weight = variation;
    attack.labels = cloister_redteam::inversion::Labels::Given(labels.to_vec());
    attack
}
