//! Loss and gradients of the convolutional models against PyTorch 2.15.0, computed there in `float64` from the same
//! `float32` parameters and inputs; `torch.nn.Conv2d`, `Linear`, `GroupNorm`, `max_pool2d`, `avg_pool2d` and `cross_entropy`.
//!
//! Element i of a weight is `sin(1 + 0.731 i^2) * 1.5 / sqrt(fan_in)`, of a bias `0.1 sin(1 + 0.731 i)`, of a scale of group
//! normalisation `1 + 0.5 sin(1 + 0.731 i)`; number i of the three inputs is `sin(0.37 i + 0.0007 i^2)`; labels are 3, 7, 3.

#![allow(clippy::expect_used, reason = "the helpers of tests fail by panicking")]

use cloister_nn::{Activation, InputShape, LossConfig, Model, ModelConfig, Pooling, TensorSpec};

/// Largest relative difference of a loss or of a tensor's norm.
const TOLERANCE: f64 = 2e-5;

struct Recorded {
    config: ModelConfig,
    input: (usize, usize, usize),
    parameters: usize,
    loss: f64,
    /// For each tensor the Euclidean norm of its gradient, and the gradient's elements 0 and len / 2.
    gradients: &'static [(&'static str, f64, f64, f64)],
}

fn start(spec: &TensorSpec) -> Vec<f32> {
    let fan_in: usize = spec.shape[1..].iter().product();
    (0..spec.len())
        .map(|i| i as f64)
        .map(|i| {
            if spec.name.ends_with("bias") {
                0.1 * (1.0 + 0.731 * i).sin()
            } else if spec.name.starts_with("norm") {
                1.0 + 0.5 * (1.0 + 0.731 * i).sin()
            } else {
                (1.0 + 0.731 * i * i).sin() * 1.5 / (fan_in as f64).sqrt()
            }
        })
        .map(|value| value as f32)
        .collect()
}

fn check(recorded: &Recorded) {
    let (channels, height, width) = recorded.input;
    let shape = InputShape {
        channels,
        height,
        width,
    };
    let model = Model::build(&recorded.config, shape, 10).expect("model");
    assert_eq!(model.layout().len(), recorded.parameters);
    let parameters: Vec<f32> = model.layout().tensors().iter().flat_map(start).collect();
    let inputs: Vec<f32> = (0..3 * shape.len())
        .map(|i| i as f64)
        .map(|i| (0.37 * i + 0.0007 * i * i).sin() as f32)
        .collect();
    let mut gradient = vec![f32::NAN; parameters.len()];
    let mut ws = model.workspace(3);
    let loss = model.gradient(&parameters, &inputs, &[3, 7, 3], &mut ws, &mut gradient);
    let mean = loss.loss_sum / 3.0;
    assert!(
        (mean - recorded.loss).abs() < TOLERANCE * recorded.loss,
        "loss {mean} is not {}",
        recorded.loss
    );
    let names: Vec<&str> = model.layout().tensors().iter().map(|t| &*t.name).collect();
    let expected: Vec<&str> = recorded.gradients.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected);
    for (spec, &(name, norm, first, middle)) in
        model.layout().tensors().iter().zip(recorded.gradients)
    {
        let values = &gradient[spec.range()];
        let got = values
            .iter()
            .map(|&g| f64::from(g).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(
            (got - norm).abs() < TOLERANCE * norm,
            "{name}: norm {got} is not {norm}"
        );
        for (index, expected) in [(0, first), (spec.len() / 2, middle)] {
            let got = f64::from(values[index]);
            let allowed = TOLERANCE * expected.abs().max(norm / (spec.len() as f64).sqrt());
            assert!(
                (got - expected).abs() < allowed,
                "{name} [{index}]: {got} is not {expected}"
            );
        }
    }
}

#[test]
fn lenet5_tanh_average() {
    check(&Recorded {
        config: ModelConfig::Lenet5 {
            activation: Activation::Tanh,
            pooling: Pooling::Average,
            width: 1,
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (1, 28, 28),
        parameters: 61_706,
        loss: 2.2489521833,
        gradients: &[
            (
                "conv1.weight",
                2.778416695e-01,
                -3.451994183e-02,
                -1.517192017e-02,
            ),
            (
                "conv1.bias",
                3.282396130e-01,
                1.735532090e-01,
                -1.209571106e-01,
            ),
            (
                "conv2.weight",
                8.422047055e-01,
                4.589163930e-02,
                -1.765568540e-02,
            ),
            (
                "conv2.bias",
                6.499195652e-01,
                -3.395904286e-03,
                -9.826071590e-02,
            ),
            (
                "fc1.weight",
                1.633581067e+00,
                3.397795273e-03,
                -1.525040508e-03,
            ),
            (
                "fc1.bias",
                6.609093829e-01,
                7.349164088e-02,
                2.631526292e-02,
            ),
            (
                "fc2.weight",
                1.147353387e+00,
                2.414726697e-03,
                -4.569636026e-03,
            ),
            (
                "fc2.bias",
                6.854925194e-01,
                -5.713233236e-02,
                -1.161307694e-01,
            ),
            (
                "fc3.weight",
                8.797421257e-01,
                3.036173911e-03,
                5.665430270e-04,
            ),
            (
                "fc3.bias",
                6.662629820e-01,
                9.043762823e-02,
                9.457198261e-02,
            ),
        ],
    });
}

#[test]
fn lenet5_relu_max() {
    check(&Recorded {
        config: ModelConfig::Lenet5 {
            activation: Activation::Relu,
            pooling: Pooling::Max,
            width: 1,
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (3, 32, 32),
        parameters: 62_006,
        loss: 2.2801599305,
        gradients: &[
            (
                "conv1.weight",
                1.941950352e+00,
                5.706134378e-02,
                -4.610853855e-02,
            ),
            (
                "conv1.bias",
                2.506411662e-01,
                1.153910224e-01,
                5.222609552e-02,
            ),
            (
                "conv2.weight",
                2.737535423e+00,
                -1.959249219e-01,
                -3.498922621e-02,
            ),
            (
                "conv2.bias",
                1.964775174e-01,
                -8.428807819e-02,
                -7.511676370e-02,
            ),
            (
                "fc1.weight",
                8.995693610e+00,
                0.000000000e+00,
                5.106815535e-03,
            ),
            (
                "fc1.bias",
                3.585719889e-01,
                0.000000000e+00,
                -1.523708174e-03,
            ),
            (
                "fc2.weight",
                4.579612511e+00,
                0.000000000e+00,
                0.000000000e+00,
            ),
            (
                "fc2.bias",
                5.070973648e-01,
                0.000000000e+00,
                -1.242491283e-01,
            ),
            (
                "fc3.weight",
                4.037807925e+00,
                0.000000000e+00,
                0.000000000e+00,
            ),
            (
                "fc3.bias",
                6.707160966e-01,
                7.413399465e-02,
                2.811876588e-02,
            ),
        ],
    });
}

#[test]
fn cnn() {
    check(&Recorded {
        config: ModelConfig::Cnn {
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (1, 28, 28),
        parameters: 1_663_370,
        loss: 2.3902619116,
        gradients: &[
            (
                "conv1.weight",
                1.193750257e+00,
                -2.221032431e-02,
                -1.671811878e-02,
            ),
            (
                "conv1.bias",
                3.758099032e-01,
                -8.536750574e-02,
                3.348740443e-02,
            ),
            (
                "conv2.weight",
                9.188530077e+00,
                -2.676707500e-02,
                7.756527033e-03,
            ),
            (
                "conv2.bias",
                3.636263015e-01,
                -2.001013529e-02,
                2.310458881e-02,
            ),
            (
                "fc1.weight",
                2.301748559e+01,
                -2.816582459e-02,
                0.000000000e+00,
            ),
            (
                "fc1.bias",
                5.197294197e-01,
                -2.271488007e-02,
                0.000000000e+00,
            ),
            (
                "fc2.weight",
                9.539760890e+00,
                8.326278651e-02,
                9.090991695e-02,
            ),
            (
                "fc2.bias",
                6.987140566e-01,
                5.330853258e-02,
                5.969720781e-02,
            ),
        ],
    });
}

#[test]
fn cnn3() {
    check(&Recorded {
        config: ModelConfig::Cnn3 {
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (3, 32, 32),
        parameters: 114_186,
        loss: 2.3558235386,
        gradients: &[
            (
                "conv1.weight",
                1.977237816e+00,
                4.151612253e-02,
                -1.015171572e-01,
            ),
            (
                "conv1.bias",
                4.834751635e-01,
                7.458579018e-03,
                -6.896659632e-02,
            ),
            (
                "norm1.weight",
                5.495134973e-01,
                9.070083487e-02,
                -8.138395974e-02,
            ),
            (
                "norm1.bias",
                3.893964765e-01,
                3.505675124e-02,
                -6.224143534e-02,
            ),
            (
                "conv2.weight",
                8.892373578e+00,
                -1.985137407e-01,
                1.504700164e-03,
            ),
            (
                "conv2.bias",
                3.687572923e-01,
                -1.057153162e-01,
                7.193210833e-03,
            ),
            (
                "norm2.weight",
                5.026598405e-01,
                -1.404212199e-01,
                9.627094495e-02,
            ),
            (
                "norm2.bias",
                3.951764380e-01,
                -7.493705732e-02,
                8.773394265e-02,
            ),
            (
                "conv3.weight",
                1.399145605e+01,
                -1.371462155e-01,
                -4.806403418e-02,
            ),
            (
                "conv3.bias",
                5.181716264e-01,
                -7.873858978e-02,
                -1.833758005e-02,
            ),
            (
                "norm3.weight",
                5.961552541e-01,
                -2.975946438e-02,
                1.787532633e-02,
            ),
            (
                "norm3.bias",
                5.389684231e-01,
                -6.892735282e-02,
                -1.183936162e-02,
            ),
            (
                "fc1.weight",
                3.219810631e+01,
                4.446102388e-02,
                1.229102616e-01,
            ),
            (
                "fc1.bias",
                6.804774132e-01,
                4.237994078e-02,
                9.934792132e-02,
            ),
        ],
    });
}

#[test]
fn papernot_cnn() {
    check(&Recorded {
        config: ModelConfig::PapernotCnn {
            activation: Activation::Tanh,
            loss: LossConfig::Auto,
            bottleneck: None,
        },
        input: (1, 28, 28),
        parameters: 26_010,
        loss: 2.7963506355,
        gradients: &[
            (
                "conv1.weight",
                1.632539201e+00,
                6.119819255e-02,
                -4.785859232e-02,
            ),
            (
                "conv1.bias",
                2.257038583e-01,
                2.342121868e-03,
                -3.800077305e-03,
            ),
            (
                "conv2.weight",
                4.509561686e+00,
                5.750447481e-03,
                -5.236314771e-02,
            ),
            (
                "conv2.bias",
                4.783840378e-01,
                1.652016972e-02,
                -5.736358254e-02,
            ),
            (
                "fc1.weight",
                7.562517674e+00,
                -1.835098195e-02,
                -2.825787234e-02,
            ),
            (
                "fc1.bias",
                6.211462396e-01,
                -3.243272702e-02,
                -3.137573450e-02,
            ),
            (
                "fc2.weight",
                1.803121788e+00,
                9.641696445e-03,
                3.342468244e-03,
            ),
            (
                "fc2.bias",
                7.389441581e-01,
                7.501071537e-02,
                1.261525903e-01,
            ),
        ],
    });
}
