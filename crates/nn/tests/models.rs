//! What the models are: sizes and names, starting values, determinism, learning, refusals.

#![allow(clippy::expect_used, reason = "the helpers of tests fail by panicking")]

use cloister_nn::parallel::evaluate;
use cloister_nn::{
    Activation, BatchLoss, InputShape, LossConfig, Model, ModelConfig, ModelError, Optimizer,
    OptimizerConfig, Pooling,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const AUTO: LossConfig = LossConfig::Auto;

fn mlp(hidden: &[usize]) -> ModelConfig {
    ModelConfig::Mlp {
        hidden: hidden.to_vec(),
        activation: Activation::Relu,
        loss: AUTO,
        bottleneck: None,
    }
}

fn lenet5() -> ModelConfig {
    ModelConfig::Lenet5 {
        activation: Activation::Tanh,
        pooling: Pooling::Average,
        width: 1,
        loss: AUTO,
        bottleneck: None,
    }
}

fn papernot() -> ModelConfig {
    ModelConfig::PapernotCnn {
        activation: Activation::Tanh,
        loss: AUTO,
        bottleneck: None,
    }
}

fn dlg(spread: f32) -> ModelConfig {
    ModelConfig::DlgLenet {
        activation: Activation::Sigmoid,
        spread,
        loss: AUTO,
        bottleneck: None,
    }
}

fn convnet() -> ModelConfig {
    ModelConfig::Convnet {
        activation: Activation::Relu,
        pooling: Pooling::Max,
        loss: AUTO,
        bottleneck: None,
    }
}

fn wide(width: usize) -> ModelConfig {
    ModelConfig::Lenet5 {
        activation: Activation::Tanh,
        pooling: Pooling::Max,
        width,
        loss: AUTO,
        bottleneck: None,
    }
}

fn image(channels: usize, side: usize) -> InputShape {
    InputShape {
        channels,
        height: side,
        width: side,
    }
}

fn table(columns: usize) -> InputShape {
    InputShape {
        channels: 1,
        height: 1,
        width: columns,
    }
}

fn build(config: &ModelConfig, input: InputShape, classes: usize) -> Model {
    Model::build(config, input, classes).expect("model")
}

#[test]
fn published_parameter_counts() {
    let count = |config: &ModelConfig, input| build(config, input, 10).layout().len();
    // McMahan et al. 2017, section 3: "2NN" and "CNN".
    assert_eq!(count(&mlp(&[200, 200]), image(1, 28)), 199_210);
    assert_eq!(
        count(
            &ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None
            },
            image(1, 28)
        ),
        1_663_370
    );
    assert_eq!(count(&mlp(&[128]), image(1, 28)), 101_770);
    assert_eq!(count(&lenet5(), image(1, 28)), 61_706);
    assert_eq!(count(&lenet5(), image(1, 32)), 61_706);
    assert_eq!(count(&lenet5(), image(3, 32)), 62_006);
    assert_eq!(
        count(&ModelConfig::Logistic { loss: AUTO }, image(1, 28)),
        7_850
    );
    // Papernot et al. 2021, table 1, in the variant with ten outputs for 28 x 28.
    assert_eq!(count(&papernot(), image(1, 28)), 26_010);
    // The targets of gradient inversion: the LeNet of Zhu et al. 2019, and with 100 classes for CIFAR; a plain CNN; LeNet-5
    // three times as wide for colour images.
    assert_eq!(count(&dlg(0.5), image(1, 28)), 13_426);
    let hundred = build(&dlg(0.5), image(3, 32), 100);
    assert_eq!(hundred.layout().len(), 912 + 2 * 3_612 + 76_900);
    assert_eq!(count(&convnet(), image(1, 28)), 87_114);
    assert_eq!(count(&wide(3), image(3, 32)), 548_878);
}

#[test]
fn two_classes_need_one_output_unless_softmax_is_asked_for() {
    for (loss, outputs) in [(AUTO, 1), (LossConfig::Binary, 1), (LossConfig::Softmax, 2)] {
        let model = build(&ModelConfig::Logistic { loss }, table(30), 2);
        assert_eq!((model.outputs(), model.classes()), (outputs, 2));
        assert_eq!(model.layout().len(), 31 * outputs);
    }
}

#[test]
fn tensors_have_pytorch_names_and_shapes() {
    let model = build(
        &ModelConfig::Cnn3 {
            loss: AUTO,
            bottleneck: None,
        },
        image(3, 32),
        10,
    );
    let tensors: Vec<(&str, &[usize])> = model
        .layout()
        .tensors()
        .iter()
        .map(|t| (t.name.as_str(), t.shape.as_slice()))
        .collect();
    let expected: [(&str, &[usize]); 14] = [
        ("conv1.weight", &[32, 3, 3, 3]),
        ("conv1.bias", &[32]),
        ("norm1.weight", &[32]),
        ("norm1.bias", &[32]),
        ("conv2.weight", &[64, 32, 3, 3]),
        ("conv2.bias", &[64]),
        ("norm2.weight", &[64]),
        ("norm2.bias", &[64]),
        ("conv3.weight", &[128, 64, 3, 3]),
        ("conv3.bias", &[128]),
        ("norm3.weight", &[128]),
        ("norm3.bias", &[128]),
        ("fc1.weight", &[10, 2048]),
        ("fc1.bias", &[10]),
    ];
    assert_eq!(tensors, expected);
    let model = build(&papernot(), image(1, 28), 10);
    let shape = |name| model.layout().tensor(name).map(|t| t.shape.clone());
    assert_eq!(shape("conv1.weight"), Some(vec![16, 1, 8, 8]));
    assert_eq!(shape("conv2.weight"), Some(vec![32, 16, 4, 4]));
    assert_eq!(shape("fc1.weight"), Some(vec![32, 512]));
    let model = build(&dlg(0.5), image(1, 28), 10);
    let shape = |name| model.layout().tensor(name).map(|t| t.shape.clone());
    assert_eq!(shape("conv1.weight"), Some(vec![12, 1, 5, 5]));
    assert_eq!(shape("conv3.weight"), Some(vec![12, 12, 5, 5]));
    assert_eq!(shape("fc1.weight"), Some(vec![10, 588]));
}

/// Bounds and spread of the uniform starting weights: He before ReLU, Glorot before tanh and the loss.
#[test]
fn starting_values_follow_the_stated_schemes() {
    let bounds = |config: &ModelConfig, input, name: &str, bound: f64| {
        let model = build(config, input, 10);
        let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(5));
        let spec = model.layout().tensor(name).expect("tensor");
        let values = &parameters[spec.range()];
        let largest = values
            .iter()
            .fold(0.0_f64, |m, &v| m.max(f64::from(v).abs()));
        assert!(
            largest <= bound * 1.000_001,
            "{name}: {largest} over {bound}"
        );
        let square =
            values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        // A uniform variance is bound^2 / 3; for 1,000 draws and more the mean square is within 15 % (five deviations).
        assert!(values.len() >= 1000 && (square / (bound * bound / 3.0) - 1.0).abs() < 0.15);
        for spec in model.layout().tensors() {
            let constant = match spec.name.as_str() {
                name if name.ends_with("bias") => 0.0_f32,
                name if name.starts_with("norm") => 1.0,
                _ => continue,
            };
            let values = &parameters[spec.range()];
            assert!(
                values.iter().all(|v| v.to_bits() == constant.to_bits()),
                "{}",
                spec.name
            );
        }
    };
    bounds(
        &mlp(&[200, 200]),
        image(1, 28),
        "fc1.weight",
        (6.0 / 784.0_f64).sqrt(),
    );
    bounds(
        &mlp(&[200, 200]),
        image(1, 28),
        "fc3.weight",
        (6.0 / 210.0_f64).sqrt(),
    );
    bounds(
        &lenet5(),
        image(1, 28),
        "conv2.weight",
        (6.0 / (22.0 * 25.0_f64)).sqrt(),
    );
    bounds(
        &lenet5(),
        image(1, 28),
        "fc2.weight",
        (6.0 / 204.0_f64).sqrt(),
    );
    bounds(
        &papernot(),
        image(1, 28),
        "conv2.weight",
        (6.0 / (48.0 * 16.0_f64)).sqrt(),
    );
    let cnn3 = ModelConfig::Cnn3 {
        loss: AUTO,
        bottleneck: None,
    };
    bounds(
        &cnn3,
        image(3, 32),
        "conv2.weight",
        (6.0 / (32.0 * 9.0_f64)).sqrt(),
    );
}

/// Weights and biases of the DLG network alike are uniform within its spread, unless that is 0.
#[test]
fn a_spread_is_the_start_of_all_parameters() {
    let model = build(&dlg(0.25), image(1, 28), 10);
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(5));
    for spec in model.layout().tensors() {
        let values = &parameters[spec.range()];
        let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        // Of ten uniform draws all are under half of the bound once in a thousand times; the seed is fixed.
        assert!(largest <= 0.25 && largest > 0.125, "{}", spec.name);
    }
    let square = parameters
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>();
    let variance = square / parameters.len() as f64;
    assert!((variance / (0.0625 / 3.0) - 1.0).abs() < 0.05, "{variance}");

    let model = build(&dlg(0.0), image(1, 28), 10);
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(5));
    let bias = model.layout().tensor("conv1.bias").expect("bias").range();
    assert!(parameters[bias].iter().all(|b| b.to_bits() == 0));
}

/// What no model here draws from.
fn draws(block: u32) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(block.into())
}

fn batch(model: &Model, n: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let inputs = (0..n * model.input().len())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let labels = (0..n)
        .map(|_| rng.random_range(0..model.classes() as u32))
        .collect();
    (inputs, labels)
}

/// Equal seeds give equal bits, in a fresh workspace, a larger one, and one that has seen other batches.
#[test]
fn steps_repeat_bit_for_bit() {
    for (config, input) in [
        (mlp(&[31]), table(17)),
        (lenet5(), image(1, 28)),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            image(1, 8),
        ),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            image(3, 9),
        ),
        (papernot(), image(2, 15)),
        (dlg(0.5), image(2, 9)),
        (convnet(), image(1, 9)),
    ] {
        let model = build(&config, input, 5);
        let start = |seed| model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(seed));
        let parameters = start(1);
        assert_eq!(parameters, start(1));
        assert_ne!(parameters, start(2));
        let (inputs, labels) = batch(&model, 6, 3);
        let run = |ws: &mut cloister_nn::Workspace| {
            let mut gradient = vec![f32::NAN; parameters.len()];
            let loss = model.gradient(&parameters, &inputs, &labels, ws, &mut gradient);
            let bits: Vec<u32> = gradient.iter().map(|g| g.to_bits()).collect();
            (loss.loss_sum.to_bits(), loss.correct, bits)
        };
        let expected = run(&mut model.workspace(6));
        let mut used = model.workspace(20);
        let (other, other_labels) = batch(&model, 20, 4);
        let mut gradient = vec![0.0; parameters.len()];
        model.gradient(&parameters, &other, &other_labels, &mut used, &mut gradient);
        assert_eq!(run(&mut used), expected);
        assert_eq!(run(&mut used), expected);
    }
}

#[test]
fn logits_agree_with_the_gradients_loss() {
    let model = build(&mlp(&[9]), table(4), 3);
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
    let (inputs, labels) = batch(&model, 8, 2);
    let mut ws = model.workspace(8);
    let mut gradient = vec![0.0; parameters.len()];
    let loss = model.gradient(&parameters, &inputs, &labels, &mut ws, &mut gradient);
    let evaluation = evaluate(&model, &parameters, &inputs, &labels, 1, draws);
    assert!((evaluation.loss * 8.0 - loss.loss_sum).abs() < 1e-5);
    assert!((evaluation.accuracy * 8.0 - loss.correct as f64).abs() < 1e-12);
    assert_eq!(model.logits(&parameters, &inputs, 8, &mut ws).len(), 24);
}

#[test]
fn an_empty_batch_has_gradient_zero() {
    let model = build(&lenet5(), image(1, 12), 3);
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
    let mut gradient = vec![f32::NAN; parameters.len()];
    let mut ws = model.workspace(0);
    let loss = model.gradient(&parameters, &[], &[], &mut ws, &mut gradient);
    assert_eq!(loss, BatchLoss::default());
    assert!(gradient.iter().all(|g| g.to_bits() == 0));
    assert!(model.logits(&parameters, &[], 0, &mut ws).is_empty());
}

#[test]
fn broken_numbers_come_out_in_the_loss() {
    for (config, classes) in [(mlp(&[5]), 4), (mlp(&[5]), 2)] {
        let model = build(&config, table(3), classes);
        let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
        let last = parameters.len() - 1;
        parameters[last] = f32::NAN;
        let mut gradient = vec![0.0; parameters.len()];
        let mut ws = model.workspace(1);
        let loss = model.gradient(&parameters, &[1.0, 2.0, 3.0], &[1], &mut ws, &mut gradient);
        assert!(loss.loss_sum.is_nan());
    }
}

#[test]
#[should_panic(expected = "a label is not below 3 classes")]
fn a_label_beyond_the_classes_is_a_bug_of_the_caller() {
    let model = build(&mlp(&[5]), table(3), 3);
    let parameters = vec![0.0; model.layout().len()];
    let mut gradient = parameters.clone();
    model.gradient(
        &parameters,
        &[0.0; 3],
        &[3],
        &mut model.workspace(1),
        &mut gradient,
    );
}

/// Two noisy interleaved rings: no line separates them, so the hidden layers must have learnt.
#[test]
fn every_optimiser_learns_the_rings() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut rings = |n: usize| -> (Vec<f32>, Vec<u32>) {
        let rows = (0..n).map(|i| {
            let label = (i % 2) as u32;
            let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
            let radius = 1.0 + label as f32 + rng.random_range(-0.2..0.2);
            ([radius * angle.cos(), radius * angle.sin()], label)
        });
        let (points, labels): (Vec<_>, Vec<_>) = rows.unzip();
        (points.into_flattened(), labels)
    };
    let (train, train_labels) = rings(400);
    let (test, test_labels) = rings(400);
    let model = build(&mlp(&[16, 16]), table(2), 2);
    for (optimizer, rate) in [
        (OptimizerConfig::SGD, 0.3),
        (OptimizerConfig::momentum(0.9), 0.05),
        (OptimizerConfig::ADAM, 0.01),
    ] {
        let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
        let before = evaluate(&model, &parameters, &test, &test_labels, 1, draws);
        assert!(before.accuracy < 0.8, "{}", before.accuracy);
        let mut gradient = vec![0.0; parameters.len()];
        let mut ws = model.workspace(20);
        let mut state = Optimizer::new(&optimizer, parameters.len());
        for _ in 0..40 {
            for (x, y) in train.chunks(40).zip(train_labels.chunks(20)) {
                model.gradient(&parameters, x, y, &mut ws, &mut gradient);
                state.step(&mut parameters, &gradient, rate, 0.0, None);
            }
        }
        let after = evaluate(&model, &parameters, &test, &test_labels, 1, draws);
        assert!(after.accuracy > 0.97, "{optimizer:?}: {}", after.accuracy);
        assert!(after.auroc > Some(0.99) && after.loss < before.loss);
    }
}

/// Bright bars, upright or lying, anywhere in the image: each convolutional model finds the direction.
#[test]
fn convolutional_models_learn_the_direction_of_a_bar() {
    let side = 12;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut bars = |n: usize| -> (Vec<f32>, Vec<u32>) {
        let mut pixels = vec![0.0; n * side * side];
        let labels = (0..n as u32).map(|i| i % 3).collect();
        for (i, image) in pixels.chunks_exact_mut(side * side).enumerate() {
            let at = rng.random_range(2..side - 2);
            for k in 0..side {
                // Lying, upright, on the diagonal.
                let (row, column) = [(at, k), (k, at), (k, (k + at) % side)][i % 3];
                image[row * side + column] = 1.0;
            }
            for pixel in image {
                *pixel += rng.random_range(-0.3..0.3);
            }
        }
        (pixels, labels)
    };
    let (train, train_labels) = bars(120);
    let (test, test_labels) = bars(120);
    let relu = ModelConfig::Lenet5 {
        activation: Activation::Relu,
        pooling: Pooling::Max,
        width: 1,
        loss: AUTO,
        bottleneck: None,
    };
    for (config, epochs) in [
        (lenet5(), 30),
        (relu, 25),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            3,
        ),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            4,
        ),
        (convnet(), 4),
    ] {
        let model = build(&config, image(1, side), 3);
        let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
        let mut gradient = vec![0.0; parameters.len()];
        let mut ws = model.workspace(20);
        let mut state = Optimizer::new(&OptimizerConfig::ADAM, parameters.len());
        for _ in 0..epochs {
            for (x, y) in train.chunks(20 * side * side).zip(train_labels.chunks(20)) {
                model.gradient(&parameters, x, y, &mut ws, &mut gradient);
                state.step(&mut parameters, &gradient, 0.003, 0.0, None);
            }
        }
        let evaluation = evaluate(&model, &parameters, &test, &test_labels, 2, draws);
        assert!(
            evaluation.accuracy > 0.9,
            "{}: {}",
            config.kind(),
            evaluation.accuracy
        );
    }
}

#[test]
fn descriptions_that_cannot_be_built_are_refused() {
    let error = |config: &ModelConfig, input, classes| {
        Model::build(config, input, classes).expect_err("an error")
    };
    assert_eq!(
        error(&mlp(&[3]), image(0, 5), 2),
        ModelError::EmptyInput {
            channels: 0,
            height: 5,
            width: 5
        }
    );
    assert_eq!(
        error(&mlp(&[3]), table(5), 1),
        ModelError::TooFewClasses { classes: 1 }
    );
    assert_eq!(
        error(&mlp(&[3, 0]), table(5), 2),
        ModelError::EmptyHidden { position: 2 }
    );
    let binary = ModelConfig::Logistic {
        loss: LossConfig::Binary,
    };
    assert_eq!(
        error(&binary, table(5), 3),
        ModelError::BinaryLoss { classes: 3 }
    );
    assert_eq!(error(&wide(0), image(1, 28), 10), ModelError::EmptyWidth);
    for spread in [-0.5, f32::INFINITY] {
        let expected = ModelError::Spread { spread };
        assert_eq!(error(&dlg(spread), image(1, 28), 10), expected);
    }
    assert!(Model::build(&dlg(f32::NAN), image(1, 28), 10).is_err());
    let small = error(&lenet5(), image(1, 8), 10);
    assert_eq!(
        small.to_string(),
        "lenet5 needs images of at least 12 x 12, the data has 8 x 8"
    );
    for (config, side) in [
        (lenet5(), 12),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            4,
        ),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            8,
        ),
        (papernot(), 14),
        (dlg(0.5), 4),
        (convnet(), 4),
    ] {
        assert!(Model::build(&config, image(1, side), 10).is_ok());
        let error = error(&config, image(1, side - 1), 10);
        assert!(matches!(error, ModelError::ImageTooSmall { minimum, .. } if minimum == side));
    }
    for (config, input) in [
        (mlp(&[usize::MAX]), table(5)),
        (mlp(&[1 << 20, 1 << 20]), table(5)),
        (mlp(&[3]), image(usize::MAX, 2)),
        (mlp(&[3]), table(1 << 31)),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            image(1, 1 << 14),
        ),
        (wide(usize::MAX), image(1, 28)),
        (wide(1 << 20), image(1, 28)),
        (dlg(0.5), image(1, 1 << 15)),
    ] {
        assert!(matches!(
            error(&config, input, 10),
            ModelError::TooLarge { .. }
        ));
    }
    assert!(matches!(
        error(&mlp(&[3]), table(5), usize::MAX),
        ModelError::TooLarge { .. }
    ));
}
