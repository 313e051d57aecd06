//! Gradients and evaluation over threads: the same bits for any number of them.

#![allow(clippy::expect_used, reason = "the helpers of tests fail by panicking")]

use cloister_nn::parallel::{ParallelWorkspace, evaluate, gradient_parallel};
use cloister_nn::{Activation, InputShape, LossConfig, Model, ModelConfig, Pooling};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

struct Case {
    model: Model,
    parameters: Vec<f32>,
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

fn draws(block: u32) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(block.into())
}

fn case(config: &ModelConfig, side: usize, n: usize) -> Case {
    let shape = InputShape {
        channels: 1,
        height: side,
        width: side,
    };
    let model = Model::build(config, shape, 4).expect("model");
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    Case {
        parameters: model.initial_parameters(&mut rng),
        inputs: (0..n * shape.len())
            .map(|_| rng.random_range(-1.0..1.0))
            .collect(),
        labels: (0..n).map(|_| rng.random_range(0..4)).collect(),
        model,
    }
}

fn drawing() -> ModelConfig {
    let text = r#"{"kind":"mlp","hidden":[40],"bottleneck":{"kind":"precode","latent":7}}"#;
    serde_json::from_str(text).expect("config")
}

fn mlp() -> ModelConfig {
    // 30,000 parameters and more: the reduction has several blocks.
    ModelConfig::Mlp {
        hidden: vec![300, 70],
        activation: Activation::Tanh,
        loss: LossConfig::Auto,
        bottleneck: None,
    }
}

#[test]
fn gradients_do_not_depend_on_the_threads() {
    let lenet5 = ModelConfig::Lenet5 {
        activation: Activation::Relu,
        pooling: Pooling::Max,
        width: 1,
        loss: LossConfig::Auto,
        bottleneck: None,
    };
    // One part; two; eight; parts of several pieces.
    for (config, side, sizes) in [
        (mlp(), 7, &[1, 31, 32, 100, 130, 700][..]),
        (lenet5, 12, &[40]),
        (drawing(), 7, &[1, 40, 700]),
    ] {
        let most = *sizes.iter().max().expect("sizes");
        let all = case(&config, side, most);
        let Case {
            model, parameters, ..
        } = &all;
        for &n in sizes {
            let inputs = &all.inputs[..n * model.input().len()];
            let labels = &all.labels[..n];
            let run = |threads| {
                let mut ws = ParallelWorkspace::new(model, most, threads).expect("threads");
                let mut gradient = vec![f32::NAN; parameters.len()];
                ws.draw_noise(&mut draws(3), n);
                let loss =
                    gradient_parallel(model, parameters, inputs, labels, &mut ws, &mut gradient);
                let bits: Vec<u32> = gradient.iter().map(|g| g.to_bits()).collect();
                (loss.loss_sum.to_bits(), loss.correct, bits, gradient)
            };
            let one = run(1);
            for threads in [0, 2, 3, 16] {
                assert_eq!(run(threads).2, one.2, "{n} examples, {threads} threads");
                assert_eq!((run(threads).0, run(threads).1), (one.0, one.1));
            }
            let mut whole = vec![0.0; parameters.len()];
            let mut ws = model.workspace(n);
            ws.draw_noise(&mut draws(3), n);
            let loss = model.gradient(parameters, inputs, labels, &mut ws, &mut whole);
            assert_eq!(loss.correct, one.1);
            assert!((loss.loss_sum - f64::from_bits(one.0)).abs() < 1e-5 * loss.loss_sum);
            let largest = whole.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
            for (a, b) in whole.iter().zip(&one.3) {
                assert!(
                    (a - b).abs() <= 2e-5 * largest,
                    "{n} examples: {a} is not {b}"
                );
            }
        }
    }
}

#[test]
fn a_workspace_serves_smaller_batches_and_an_empty_one() {
    let all = case(&mlp(), 4, 300);
    let parameters = &all.parameters;
    let mut large = ParallelWorkspace::new(&all.model, 300, 2).expect("threads");
    for n in [0, 5, 17, 47, 127, 128, 299, 300] {
        let (inputs, labels) = (&all.inputs[..n * 16], &all.labels[..n]);
        let mut exact = ParallelWorkspace::new(&all.model, n, 2).expect("threads");
        let run = |ws: &mut ParallelWorkspace| {
            let mut gradient = vec![f32::NAN; parameters.len()];
            let loss = gradient_parallel(&all.model, parameters, inputs, labels, ws, &mut gradient);
            let bits: Vec<u32> = gradient.iter().map(|g| g.to_bits()).collect();
            (loss.loss_sum.to_bits(), bits)
        };
        assert_eq!(run(&mut large), run(&mut exact), "{n} examples");
    }
    assert_eq!(large.max_batch(), 300);
}

#[test]
fn evaluation_does_not_depend_on_the_threads() {
    let sizes = [0, 1, 63, 64, 65, 500].map(|n| (mlp(), n));
    for (config, n) in sizes.into_iter().chain([(drawing(), 500)]) {
        let all = case(&config, 5, n);
        let run = |threads| {
            evaluate(
                &all.model,
                &all.parameters,
                &all.inputs,
                &all.labels,
                threads,
                draws,
            )
        };
        let one = run(1);
        assert_eq!(one.examples, n);
        for threads in [0, 2, 3, 40] {
            let other = run(threads);
            assert_eq!(other, one, "{n} examples, {threads} threads");
            assert_eq!(other.loss.to_bits(), one.loss.to_bits());
        }
    }
}
