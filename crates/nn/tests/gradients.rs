//! Losses and gradients of every model, and with them of every layer, against central finite differences of the plain `f64`
//! models of `naive`.
//!
//! | layer | tests |
//! | --- | --- |
//! | linear | all |
//! | convolution, with and without padding | `lenet5_*`, `cnn`, `cnn3`, `convnet` |
//! | convolution of stride 2, max pool of stride 1 | `papernot_cnn` |
//! | convolution of stride 2 with a kernel of 5 | `dlg_lenet` |
//! | average pool, also of odd sizes | `lenet5_average` |
//! | max pool, also of odd sizes | `lenet5_max`, `cnn`, `cnn3` |
//! | ReLU, tanh, sigmoid, softplus | `mlp`, `lenet5_*` |
//! | group normalisation | `cnn3` |
//! | softmax and binary cross-entropy | `logistic`, `mlp`, ... |

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking"
)]

mod naive;

use cloister_nn::{Activation, InputShape, LossConfig, Model, ModelConfig, Pooling};
use naive::{
    Image, Tensors, activation, convolution, dense_max_pool, group_norm, linear, pool,
    strided_convolution,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Half the distance of a difference. The loss is f64, so that rounding leaves about 1e-10 of absolute error.
const STEP: f64 = 1e-6;

/// Largest share by which an `f32` derivative may miss its finite difference ...
const RELATIVE: f64 = 2e-5;

/// ... and what it may miss besides, as a share of the largest derivative of the tensor.
const OF_LARGEST: f64 = 5e-6;

/// Coordinates checked in each tensor (all of a smaller one).
const COORDINATES: usize = 8;

type Forward = Box<dyn Fn(&Tensors, &Image) -> Image>;

struct Case {
    config: ModelConfig,
    input: (usize, usize, usize),
    classes: usize,
    batch: usize,
    forward: Forward,
}

fn check(case: &Case) {
    let (channels, height, width) = case.input;
    let shape = InputShape {
        channels,
        height,
        width,
    };
    let model = Model::build(&case.config, shape, case.classes).expect("model");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut parameters = model.initial_parameters(&mut rng);
    // Off the start, where biases are 0 and scales are 1.
    for p in &mut parameters {
        *p += rng.random_range(-0.05..0.05);
    }
    let inputs: Vec<f32> = (0..case.batch * shape.len())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let labels: Vec<u32> = (0..case.batch)
        .map(|_| rng.random_range(0..case.classes as u32))
        .collect();

    let mut gradient = vec![f32::NAN; parameters.len()];
    let mut ws = model.workspace(case.batch + 2);
    let result = model.gradient(&parameters, &inputs, &labels, &mut ws, &mut gradient);

    let images: Vec<Image> = inputs
        .chunks_exact(shape.len())
        .map(|row| {
            let row = row.iter().map(|&x| f64::from(x)).collect();
            Image::of(channels, height, width, row)
        })
        .collect();
    let mut tensors = Tensors::new(model.layout(), &parameters);
    let loss_sum = |tensors: &Tensors| -> f64 {
        images
            .iter()
            .zip(&labels)
            .map(|(image, &label)| naive::loss(&(case.forward)(tensors, image).data, label))
            .sum()
    };
    let expected = loss_sum(&tensors);
    assert!(
        (result.loss_sum - expected).abs() <= 1e-5 * expected.abs(),
        "loss {} is not {expected}",
        result.loss_sum
    );

    for spec in model.layout().tensors() {
        let slice = &gradient[spec.range()];
        let largest = slice
            .iter()
            .fold(0.0_f64, |m, &g| m.max(f64::from(g).abs()));
        assert!(largest > 0.0, "{}: no gradient at all", spec.name);
        let stride = spec.len().div_ceil(COORDINATES);
        for index in (0..spec.len())
            .step_by(stride)
            .map(|i| i + (spec.len() - 1) % stride)
        {
            let place = spec.offset + index.min(spec.len() - 1);
            let kept = tensors.values[place];
            tensors.values[place] = kept + STEP;
            let above = loss_sum(&tensors);
            tensors.values[place] = kept - STEP;
            let below = loss_sum(&tensors);
            tensors.values[place] = kept;
            let difference = (above - below) / (2.0 * STEP) / case.batch as f64;
            let got = f64::from(gradient[place]);
            let allowed = RELATIVE * difference.abs() + OF_LARGEST * largest;
            assert!(
                (got - difference).abs() <= allowed,
                "{} [{}]: {got} is not {difference} (largest {largest})",
                spec.name,
                place - spec.offset
            );
        }
    }
}

#[test]
fn logistic() {
    for (classes, loss) in [
        (3, LossConfig::Auto),
        (2, LossConfig::Auto),
        (2, LossConfig::Softmax),
        (2, LossConfig::Binary),
    ] {
        check(&Case {
            config: ModelConfig::Logistic { loss },
            input: (1, 1, 30),
            classes,
            batch: 7,
            forward: Box::new(|t, x| linear(t, "fc1", x)),
        });
    }
}

#[test]
fn mlp() {
    for kind in [
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
    ] {
        for classes in [2, 5] {
            check(&Case {
                config: ModelConfig::Mlp {
                    hidden: vec![19, 33],
                    activation: kind,
                    loss: LossConfig::Auto,
                    bottleneck: None,
                },
                input: (1, 1, 13),
                classes,
                batch: 11,
                forward: Box::new(move |t, x| {
                    let x = activation(kind, &linear(t, "fc1", x));
                    let x = activation(kind, &linear(t, "fc2", &x));
                    linear(t, "fc3", &x)
                }),
            });
        }
    }
}

fn lenet5(kind: Activation, pooling: Pooling, input: (usize, usize, usize), padding: usize) {
    check(&Case {
        config: ModelConfig::Lenet5 {
            activation: kind,
            pooling,
            width: 1,
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input,
        classes: 10,
        batch: 2,
        forward: Box::new(move |t, x| lenet5_logits(t, x, kind, pooling, padding)),
    });
}

fn lenet5_logits(
    t: &Tensors,
    x: &Image,
    kind: Activation,
    pooling: Pooling,
    padding: usize,
) -> Image {
    let x = activation(kind, &convolution(t, "conv1", padding, x));
    let x = pool(pooling, &x);
    let x = activation(kind, &convolution(t, "conv2", 0, &x));
    let x = pool(pooling, &x);
    let x = activation(kind, &linear(t, "fc1", &x));
    let x = activation(kind, &linear(t, "fc2", &x));
    linear(t, "fc3", &x)
}

#[test]
fn lenet5_average() {
    lenet5(Activation::Tanh, Pooling::Average, (1, 28, 28), 2);
    lenet5(Activation::Tanh, Pooling::Average, (3, 33, 35), 0);
    lenet5(Activation::Sigmoid, Pooling::Average, (2, 12, 17), 2);
    lenet5(Activation::Softplus, Pooling::Average, (1, 15, 12), 2);
}

#[test]
fn lenet5_max() {
    lenet5(Activation::Relu, Pooling::Max, (1, 28, 28), 2);
    lenet5(Activation::Tanh, Pooling::Max, (3, 32, 32), 0);
    lenet5(Activation::Relu, Pooling::Max, (2, 13, 15), 2);
}

#[test]
fn cnn() {
    for input in [(1, 12, 12), (2, 8, 7)] {
        check(&Case {
            config: ModelConfig::Cnn {
                loss: LossConfig::Auto,
                bottleneck: None,
            },
            input,
            classes: 10,
            batch: 2,
            forward: Box::new(|t, x| {
                let relu = |x| activation(Activation::Relu, &x);
                let x = pool(Pooling::Max, &relu(convolution(t, "conv1", 2, x)));
                let x = pool(Pooling::Max, &relu(convolution(t, "conv2", 2, &x)));
                let x = relu(linear(t, "fc1", &x));
                linear(t, "fc2", &x)
            }),
        });
    }
}

#[test]
fn cnn3() {
    for input in [(3, 11, 14), (1, 8, 8)] {
        check(&Case {
            config: ModelConfig::Cnn3 {
                loss: LossConfig::Auto,
                bottleneck: None,
            },
            input,
            classes: 4,
            batch: 2,
            forward: Box::new(|t, x| {
                let mut x = x.clone();
                for block in 1..=3 {
                    x = convolution(t, &format!("conv{block}"), 1, &x);
                    x = group_norm(t, &format!("norm{block}"), 8, &x);
                    x = pool(Pooling::Max, &activation(Activation::Relu, &x));
                }
                linear(t, "fc1", &x)
            }),
        });
    }
}

/// Even and odd sizes: of the latter, the last rows and columns reach no kernel of the second convolution.
#[test]
fn papernot_cnn() {
    for (kind, input) in [
        (Activation::Relu, (1, 28, 28)),
        (Activation::Tanh, (3, 14, 17)),
        (Activation::Tanh, (2, 15, 20)),
    ] {
        check(&Case {
            config: ModelConfig::PapernotCnn {
                activation: kind,
                loss: LossConfig::Auto,
                bottleneck: None,
            },
            input,
            classes: 10,
            batch: 2,
            forward: Box::new(move |t, x| {
                let x = activation(kind, &strided_convolution(t, "conv1", 3, 2, x));
                let x = dense_max_pool(&x);
                let x = activation(kind, &strided_convolution(t, "conv2", 0, 2, &x));
                let x = dense_max_pool(&x);
                let x = activation(kind, &linear(t, "fc1", &x));
                linear(t, "fc2", &x)
            }),
        });
    }
}

/// Even and odd sizes: the folded kernel of the first two convolutions has a row and a column more than the tensor.
#[test]
fn dlg_lenet() {
    for (kind, spread, input) in [
        (Activation::Sigmoid, 0.5, (1, 28, 28)),
        (Activation::Tanh, 0.0, (3, 13, 16)),
        (Activation::Softplus, 0.0, (2, 4, 7)),
    ] {
        check(&Case {
            config: ModelConfig::DlgLenet {
                activation: kind,
                spread,
                loss: LossConfig::Auto,
                bottleneck: None,
            },
            input,
            classes: 10,
            batch: 2,
            forward: Box::new(move |t, x| {
                let x = activation(kind, &strided_convolution(t, "conv1", 2, 2, x));
                let x = activation(kind, &strided_convolution(t, "conv2", 2, 2, &x));
                let x = activation(kind, &convolution(t, "conv3", 2, &x));
                linear(t, "fc1", &x)
            }),
        });
    }
}

#[test]
fn convnet() {
    for (kind, pooling, input) in [
        (Activation::Relu, Pooling::Max, (1, 12, 12)),
        (Activation::Tanh, Pooling::Average, (3, 9, 6)),
    ] {
        check(&Case {
            config: ModelConfig::Convnet {
                activation: kind,
                pooling,
                loss: LossConfig::Auto,
                bottleneck: None,
            },
            input,
            classes: 10,
            batch: 2,
            forward: Box::new(move |t, x| {
                let x = activation(kind, &convolution(t, "conv1", 1, x));
                let x = activation(kind, &convolution(t, "conv2", 1, &pool(pooling, &x)));
                let x = activation(kind, &convolution(t, "conv3", 1, &pool(pooling, &x)));
                linear(t, "fc1", &x)
            }),
        });
    }
}

#[test]
fn lenet5_wide() {
    let (kind, pooling) = (Activation::Tanh, Pooling::Max);
    check(&Case {
        config: ModelConfig::Lenet5 {
            activation: kind,
            pooling,
            width: 3,
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (3, 16, 17),
        classes: 10,
        batch: 2,
        forward: Box::new(move |t, x| lenet5_logits(t, x, kind, pooling, 2)),
    });
}
