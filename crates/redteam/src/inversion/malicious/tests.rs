use cloister_nn::{InputShape, ModelConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::inversion::closed_form::{TOLERANCE, batch, most_credible};
use crate::inversion::score::score_images;

const SHAPE: InputShape = InputShape {
    channels: 1,
    height: 6,
    width: 6,
};

fn model(hidden: usize) -> Model {
    let config = format!(r#"{{"kind": "mlp", "hidden": [{hidden}, 16]}}"#);
    let config: ModelConfig = serde_json::from_str(&config).unwrap();
    Model::build(&config, SHAPE, 10).unwrap()
}

/// Images of different brightness.
fn images(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut pixels = Vec::new();
    for _ in 0..n {
        let level: f32 = rng.random();
        pixels.extend((0..SHAPE.len()).map(|_| level * rng.random::<f32>()));
    }
    pixels
}

fn gradient(model: &Model, parameters: &[f32], images: &[f32]) -> Vec<f32> {
    let n = images.len() / SHAPE.len();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 10).collect();
    let mut gradient = vec![0.0; parameters.len()];
    let mut workspace = model.workspace(n);
    model.gradient(parameters, images, &labels, &mut workspace, &mut gradient);
    gradient
}

/// How many images come out at 45 dB.
fn exact(truth: &[f32], candidates: &[Candidate], space: &InputSpace) -> usize {
    let n = truth.len() / SHAPE.len();
    let (found, _) = most_credible(candidates, n.max(candidates.len()), space);
    let scores = score_images(truth, &space.to_pixels(&found), SHAPE).unwrap();
    scores.iter().filter(|score| score.psnr >= 45.0).count()
}

#[test]
fn an_imprint_reads_the_images_that_are_alone_in_their_bins() {
    let (model, space) = (model(64), InputSpace::unit(SHAPE).unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut parameters = model.initial_parameters(&mut rng);
    let population = images(2000, &mut rng);
    let thresholds =
        plant_imprint(&model, &mut parameters, &population, Imprint::default()).unwrap();
    assert!(thresholds.is_sorted());
    let batches = 20;
    let mut got = 0;
    for _ in 0..batches {
        let truth = images(16, &mut rng);
        let gradient = gradient(&model, &parameters, &truth);
        let candidates = read_imprint(&model, &gradient, &space).unwrap();
        let in_bin = |image: &[f32]| {
            thresholds
                .iter()
                .filter(|t| mean(image) > f64::from(**t))
                .count()
        };
        let bins: Vec<usize> = truth.chunks_exact(SHAPE.len()).map(in_bin).collect();
        let alone = bins
            .iter()
            .filter(|bin| bins.iter().filter(|b| b == bin).count() == 1);
        let exact = exact(&truth, &candidates, &space);
        // Differences of almost equal sums lose digits, so that one may be missed.
        assert!(exact + 1 >= alone.count(), "{exact} exact, bins {bins:?}");
        got += exact;
    }
    // 16 (63/64)^15 = 12.6 a batch. The standard deviation of the mean of 20 batches is below 0.5: five of them.
    let expected = expected_exact_of_bins(64, 16);
    let mean = got as f64 / f64::from(batches);
    assert!(
        (mean - expected).abs() < 2.5,
        "{mean} a batch, expected {expected}"
    );
}

#[test]
fn the_expectation_is_the_binomial_sum() {
    assert!((expected_exact_of_bins(64, 16) - 16.0 * (63.0_f64 / 64.0).powi(15)).abs() < 1e-12);
    assert_eq!(expected_exact_of_bins(1, 1), 1.0);
    assert_eq!(expected_exact_of_bins(1, 2), 0.0);
    assert_eq!(expected_exact(&[0.5, 0.5], 2), 1.0);
    assert_eq!(expected_exact(&[0.5], 0), 0.0);
}

#[test]
fn trap_weights_read_more_of_a_batch_than_fresh_ones() {
    let (model, space) = (model(200), InputSpace::unit(SHAPE).unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let fresh = model.initial_parameters(&mut rng);
    let mut trapped = fresh.clone();
    let traps = Traps {
        scale: 0.7,
        ..Traps::default()
    };
    plant_traps(&model, &mut trapped, traps, &mut rng).unwrap();
    let layout = model.layout();
    let first = FirstLinear::of(layout, SHAPE.len()).unwrap();
    let (mut by_traps, mut by_chance) = (0, 0);
    for _ in 0..5 {
        let truth = images(24, &mut rng);
        for (parameters, sum) in [(&trapped, &mut by_traps), (&fresh, &mut by_chance)] {
            let gradient = gradient(&model, parameters, &truth);
            let (weight, bias) = (
                &gradient[first.weight.clone()],
                &gradient[first.bias.clone()],
            );
            let candidates = batch(weight, bias, &space, TOLERANCE).unwrap();
            *sum += exact(&truth, &candidates, &space);
        }
    }
    assert!(
        by_traps > by_chance + 10,
        "{by_traps} of 120, {by_chance} without"
    );
}

#[test]
fn models_that_do_not_start_linear_are_refused() {
    let config: ModelConfig = serde_json::from_str(r#"{"kind": "lenet5"}"#).unwrap();
    let shape = InputShape {
        channels: 1,
        height: 28,
        width: 28,
    };
    let model = Model::build(&config, shape, 10).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut parameters = model.initial_parameters(&mut rng);
    let population = vec![0.5; shape.len()];
    assert!(plant_imprint(&model, &mut parameters, &population, Imprint::default()).is_err());
    assert!(plant_traps(&model, &mut parameters, Traps::default(), &mut rng).is_err());
    let space = InputSpace::unit(shape).unwrap();
    assert!(read_imprint(&model, &parameters, &space).is_err());
}
