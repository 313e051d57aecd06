//! Weights of classes in the loss.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cloister_nn::{Activation, InputShape, LossConfig, Model, ModelConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const LABELS: [u32; 5] = [0, 1, 1, 0, 1];

fn model(loss: LossConfig) -> (Model, Vec<f32>, Vec<f32>) {
    let config = ModelConfig::Mlp {
        hidden: vec![6],
        activation: Activation::Tanh,
        loss,
        bottleneck: None,
    };
    let input = InputShape {
        channels: 1,
        height: 1,
        width: 3,
    };
    let model = Model::build(&config, input, 2).unwrap();
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(4));
    let inputs = (0..15).map(|i| (1.7 * i as f32).sin()).collect();
    (model, parameters, inputs)
}

/// The mean over the examples of each one's gradient times the weight of its class is the weighted gradient; so is the sum of
/// clipped ones without a bound.
#[test]
fn each_example_counts_as_its_class_weighs() {
    let weights = [0.5, 3.0];
    for loss in [LossConfig::Softmax, LossConfig::Binary] {
        let (model, parameters, inputs) = model(loss);
        let mut ws = model.workspace(5);
        let mut one = vec![0.0; parameters.len()];
        let mut expected = vec![0.0_f64; parameters.len()];
        let mut loss_sum = 0.0;
        for (row, label) in inputs.chunks_exact(3).zip(LABELS) {
            let found = model.gradient(&parameters, row, &[label], &mut ws, &mut one);
            let weight = f64::from(weights[label as usize]);
            loss_sum += weight * found.loss_sum;
            for (sum, value) in expected.iter_mut().zip(&one) {
                *sum += weight * f64::from(*value) / 5.0;
            }
        }
        ws.weigh_classes(Some(&weights));
        let mut weighted = vec![0.0; parameters.len()];
        let found = model.gradient(&parameters, &inputs, &LABELS, &mut ws, &mut weighted);
        assert!((found.loss_sum - loss_sum).abs() < 1e-5);
        let mut clipped = vec![0.0; parameters.len()];
        let infinite = f32::INFINITY;
        model.clipped_gradient_sum(
            &parameters,
            &inputs,
            &LABELS,
            infinite,
            &mut ws,
            &mut clipped,
        );
        for ((weighted, clipped), expected) in weighted.iter().zip(&clipped).zip(&expected) {
            assert!((f64::from(*weighted) - expected).abs() < 1e-6);
            assert!((f64::from(*clipped) / 5.0 - expected).abs() < 1e-5);
        }
    }
}

/// Weights of 1 have the bits of no weights, and no weights take weights back.
#[test]
fn weights_of_1_change_no_bit() {
    let (model, parameters, inputs) = model(LossConfig::Auto);
    let mut ws = model.workspace(5);
    let mut gradient = |weights: Option<&[f32]>| {
        let mut gradient = vec![0.0; parameters.len()];
        ws.weigh_classes(weights);
        model.gradient(&parameters, &inputs, &LABELS, &mut ws, &mut gradient);
        gradient
    };
    let plain = gradient(None);
    assert_eq!(gradient(Some(&[1.0, 1.0])), plain);
    assert_ne!(gradient(Some(&[1.0, 2.0])), plain);
    assert_eq!(gradient(None), plain);
}
