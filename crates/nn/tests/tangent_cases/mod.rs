//! A small model of every kind, and the same by the plain loops of `naive`.

mod hyper;

use cloister_nn::{Activation, LossConfig, ModelConfig, Pooling};

use crate::naive::{
    Image, Tensors, activation, convolution, dense_max_pool, group_norm, linear, pool,
    strided_convolution,
};

pub(crate) use hyper::Hyper;

type Forward = Box<dyn Fn(&Tensors<Hyper>, &Image<Hyper>) -> Image<Hyper>>;

pub(crate) struct Case {
    pub(crate) config: ModelConfig,
    pub(crate) input: (usize, usize, usize),
    pub(crate) classes: usize,
    /// The representation: what the last linear layer reads.
    pub(crate) features: Forward,
    /// The name of that layer.
    pub(crate) last: &'static str,
}

const AUTO: LossConfig = LossConfig::Auto;
const RELU: Activation = Activation::Relu;

pub(crate) fn logistic(classes: usize) -> Case {
    Case {
        config: ModelConfig::Logistic { loss: AUTO },
        input: (1, 1, 17),
        classes,
        features: Box::new(|_, x| x.clone()),
        last: "fc1",
    }
}

pub(crate) fn mlp(kind: Activation, classes: usize) -> Case {
    Case {
        config: ModelConfig::Mlp {
            hidden: vec![19, 33],
            activation: kind,
            loss: AUTO,
            bottleneck: None,
        },
        input: (1, 1, 13),
        classes,
        features: Box::new(move |t, x| {
            let x = activation(kind, &linear(t, "fc1", x));
            activation(kind, &linear(t, "fc2", &x))
        }),
        last: "fc3",
    }
}

fn lenet5(
    kind: Activation,
    pooling: Pooling,
    input: (usize, usize, usize),
    padding: usize,
) -> Case {
    Case {
        config: ModelConfig::Lenet5 {
            activation: kind,
            pooling,
            width: 1,
            loss: AUTO,
            bottleneck: None,
        },
        input,
        classes: 10,
        features: Box::new(move |t, x| {
            let x = pool(
                pooling,
                &activation(kind, &convolution(t, "conv1", padding, x)),
            );
            let x = pool(pooling, &activation(kind, &convolution(t, "conv2", 0, &x)));
            let x = activation(kind, &linear(t, "fc1", &x));
            activation(kind, &linear(t, "fc2", &x))
        }),
        last: "fc3",
    }
}

fn cnn() -> Case {
    Case {
        config: ModelConfig::Cnn {
            loss: AUTO,
            bottleneck: None,
        },
        input: (2, 9, 8),
        classes: 5,
        features: Box::new(|t, x| {
            let x = pool(
                Pooling::Max,
                &activation(RELU, &convolution(t, "conv1", 2, x)),
            );
            let x = pool(
                Pooling::Max,
                &activation(RELU, &convolution(t, "conv2", 2, &x)),
            );
            activation(RELU, &linear(t, "fc1", &x))
        }),
        last: "fc2",
    }
}

fn cnn3() -> Case {
    Case {
        config: ModelConfig::Cnn3 {
            loss: AUTO,
            bottleneck: None,
        },
        input: (3, 11, 9),
        classes: 4,
        features: Box::new(|t, x| {
            let mut x = x.clone();
            for block in 1..=3 {
                x = convolution(t, &format!("conv{block}"), 1, &x);
                x = group_norm(t, &format!("norm{block}"), 8, &x);
                x = pool(Pooling::Max, &activation(RELU, &x));
            }
            x
        }),
        last: "fc1",
    }
}

fn papernot(kind: Activation, input: (usize, usize, usize)) -> Case {
    Case {
        config: ModelConfig::PapernotCnn {
            activation: kind,
            loss: AUTO,
            bottleneck: None,
        },
        input,
        classes: 10,
        features: Box::new(move |t, x| {
            let x = activation(kind, &strided_convolution(t, "conv1", 3, 2, x));
            let x = dense_max_pool(&x);
            let x = activation(kind, &strided_convolution(t, "conv2", 0, 2, &x));
            activation(kind, &linear(t, "fc1", &dense_max_pool(&x)))
        }),
        last: "fc2",
    }
}

/// The slope of a saturated tanh is a difference of nearly equal numbers: it takes a narrower spread than the sigmoid.
fn dlg_lenet(kind: Activation, spread: f32, input: (usize, usize, usize)) -> Case {
    Case {
        config: ModelConfig::DlgLenet {
            activation: kind,
            spread,
            loss: AUTO,
            bottleneck: None,
        },
        input,
        classes: 10,
        features: Box::new(move |t, x| {
            let x = activation(kind, &strided_convolution(t, "conv1", 2, 2, x));
            let x = activation(kind, &strided_convolution(t, "conv2", 2, 2, &x));
            activation(kind, &convolution(t, "conv3", 2, &x))
        }),
        last: "fc1",
    }
}

fn convnet(input: (usize, usize, usize)) -> Case {
    Case {
        config: ModelConfig::Convnet {
            activation: RELU,
            pooling: Pooling::Max,
            loss: AUTO,
            bottleneck: None,
        },
        input,
        classes: 10,
        features: Box::new(|t, x| {
            let x = pool(
                Pooling::Max,
                &activation(RELU, &convolution(t, "conv1", 1, x)),
            );
            let x = pool(
                Pooling::Max,
                &activation(RELU, &convolution(t, "conv2", 1, &x)),
            );
            activation(RELU, &convolution(t, "conv3", 1, &x))
        }),
        last: "fc1",
    }
}

pub(crate) fn all() -> Vec<Case> {
    vec![
        logistic(3),
        logistic(2),
        mlp(RELU, 5),
        mlp(Activation::Tanh, 2),
        mlp(Activation::Sigmoid, 5),
        mlp(Activation::Softplus, 2),
        lenet5(Activation::Sigmoid, Pooling::Average, (1, 16, 14), 2),
        lenet5(Activation::Tanh, Pooling::Max, (3, 13, 15), 2),
        lenet5(Activation::Softplus, Pooling::Average, (2, 12, 17), 2),
        cnn(),
        cnn3(),
        papernot(RELU, (1, 15, 20)),
        papernot(Activation::Tanh, (3, 14, 17)),
        dlg_lenet(Activation::Sigmoid, 0.5, (1, 28, 28)),
        dlg_lenet(Activation::Tanh, 0.1, (3, 9, 11)),
        convnet((1, 12, 13)),
        convnet((3, 8, 8)),
    ]
}
