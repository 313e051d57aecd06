//! The sum of clipped gradients against loops over examples: the gradient of a batch of one, its norm in `f64`, the clip,
//! the sum in `f64`.

#![allow(clippy::expect_used, reason = "the helpers of tests fail by panicking")]

use cloister_nn::{
    Activation, Clipped, InputShape, LossConfig, Model, ModelConfig, Pooling, Workspace,
};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const AUTO: LossConfig = LossConfig::Auto;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
];

/// Largest difference from the loops, as a share of the norm of the sum of magnitudes: rounding of `f32` products, and the
/// room that clipped gradients leave for it.
const TOLERANCE: f64 = 1e-4;

struct Batch {
    config: ModelConfig,
    model: Model,
    parameters: Vec<f32>,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    noise: Vec<f32>,
}

fn shape(channels: usize, height: usize, width: usize) -> InputShape {
    InputShape {
        channels,
        height,
        width,
    }
}

/// Examples of different sizes, so that their gradients differ in norm by a factor of ten and more.
fn batch(config: &ModelConfig, input: InputShape, classes: usize, n: usize, seed: u64) -> Batch {
    let model = Model::build(config, input, classes).expect("model");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = model.initial_parameters(&mut rng);
    for p in &mut parameters {
        *p += rng.random_range(-0.05..0.05);
    }
    let inputs = (0..n)
        .flat_map(|j| {
            let size = [0.1, 1.0, 0.3, 2.0][j % 4];
            let row: Vec<f32> = (0..input.len())
                .map(|_| rng.random_range(-size..size))
                .collect();
            row
        })
        .collect();
    let labels = (0..n)
        .map(|_| rng.random_range(0..classes as u32))
        .collect();
    let noise = (0..n * model.noise_len())
        .map(|_| rng.random_range(-2.0..2.0))
        .collect();
    Batch {
        config: config.clone(),
        model,
        parameters,
        inputs,
        labels,
        noise,
    }
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

impl Batch {
    fn n(&self) -> usize {
        self.labels.len()
    }

    fn features(&self) -> usize {
        self.model.input().len()
    }

    /// Each example's own gradient.
    fn gradients(&self) -> Vec<Vec<f64>> {
        let mut ws = self.model.workspace(1);
        let mut gradient = vec![0.0; self.parameters.len()];
        self.inputs
            .chunks_exact(self.features())
            .zip(self.labels.chunks_exact(1))
            .enumerate()
            .map(|(j, (x, label))| {
                ws.set_noise(self.noise_of(j));
                self.model
                    .gradient(&self.parameters, x, label, &mut ws, &mut gradient);
                gradient.iter().map(|&g| f64::from(g)).collect()
            })
            .collect()
    }

    fn noise_of(&self, j: usize) -> &[f32] {
        let width = self.model.noise_len();
        &self.noise[j * width..][..width]
    }

    fn clipped(&self, clip: f32, ws: &mut Workspace) -> (Clipped, Vec<f32>) {
        ws.set_noise(&self.noise);
        let mut sum = vec![f32::NAN; self.parameters.len()];
        let clipped = self.model.clipped_gradient_sum(
            &self.parameters,
            &self.inputs,
            &self.labels,
            clip,
            ws,
            &mut sum,
        );
        (clipped, sum)
    }

    /// The batch without the examples at those places.
    fn without(&self, places: &[usize]) -> Batch {
        let stay = |j: &usize| !places.contains(j);
        let rows = (0..self.n()).filter(stay);
        Batch {
            config: self.config.clone(),
            model: Model::build(&self.config, self.model.input(), self.model.classes())
                .expect("model"),
            parameters: self.parameters.clone(),
            inputs: rows
                .clone()
                .flat_map(|j| &self.inputs[j * self.features()..][..self.features()])
                .copied()
                .collect(),
            labels: rows.clone().map(|j| self.labels[j]).collect(),
            noise: rows.flat_map(|j| self.noise_of(j)).copied().collect(),
        }
    }
}

/// Which example, where, and by how much the sum differs from that of the loops.
fn check(batch: &Batch, what: &str) {
    let gradients = batch.gradients();
    let norms: Vec<f64> = gradients.iter().map(|g| norm(g.iter().copied())).collect();
    let mut sorted = norms.clone();
    sorted.sort_by(f64::total_cmp);
    // Between two norms: about half of the examples are clipped. A lone one is.
    let middle = sorted.len() / 2;
    let below = if middle > 0 { sorted[middle - 1] } else { 0.0 };
    let clip = (0.5 * (below + sorted[middle])) as f32;
    let mut expected = vec![0.0; batch.parameters.len()];
    let mut magnitude = vec![0.0; batch.parameters.len()];
    for (gradient, norm) in gradients.iter().zip(&norms) {
        let scale = (f64::from(clip) / norm).min(1.0);
        for ((sum, magnitude), g) in expected.iter_mut().zip(&mut magnitude).zip(gradient) {
            *sum += scale * g;
            *magnitude += (scale * g).abs();
        }
    }
    let mut ws = batch.model.workspace(batch.n());
    let (clipped, sum) = batch.clipped(clip, &mut ws);
    let error = norm(sum.iter().zip(&expected).map(|(s, e)| f64::from(*s) - e));
    let allowed = TOLERANCE * norm(magnitude);
    assert!(
        error <= allowed,
        "{what}: off by {error}, allowed {allowed}"
    );
    let over = |bound: f64| norms.iter().filter(|n| **n > bound).count();
    let bounds = [1.0 + 2e-4, 1.0 - 2e-4].map(|near| over(f64::from(clip) * near));
    assert!((bounds[0]..=bounds[1]).contains(&clipped.clipped), "{what}");
    assert_eq!(clipped.non_finite, 0, "{what}");

    let mut gradient = vec![0.0; batch.parameters.len()];
    ws.set_noise(&batch.noise);
    let loss = batch.model.gradient(
        &batch.parameters,
        &batch.inputs,
        &batch.labels,
        &mut ws,
        &mut gradient,
    );
    assert_eq!(clipped.loss, loss, "{what}");
    check_without_clipping(batch, &gradient, &mut ws, what);
    check_contributions(batch, clip, &norms, what);
}

/// A bound that no gradient reaches makes n times the mean gradient of it.
fn check_without_clipping(batch: &Batch, gradient: &[f32], ws: &mut Workspace, what: &str) {
    let (clipped, sum) = batch.clipped(f32::INFINITY, ws);
    assert_eq!(clipped.clipped, 0, "{what}");
    let n = batch.n() as f64;
    let mean = || gradient.iter().map(|&g| n * f64::from(g));
    let error = norm(sum.iter().zip(mean()).map(|(s, g)| f64::from(*s) - g));
    assert!(
        error <= TOLERANCE * norm(mean()),
        "{what}: off by {error} without clipping"
    );
}

/// What an example contributes is at most the bound, in `f64`, and only a little less where it was clipped to it.
fn check_contributions(batch: &Batch, clip: f32, norms: &[f64], what: &str) {
    let mut ws = batch.model.workspace(1);
    for (j, own) in norms.iter().enumerate() {
        let others: Vec<usize> = (0..batch.n()).filter(|&i| i != j).collect();
        let (_, sum) = batch.without(&others).clipped(clip, &mut ws);
        let length = norm(sum.iter().map(|&s| f64::from(s)));
        let bound = f64::from(clip);
        assert!(length <= bound, "{what}: {length} is over {bound}");
        let least = own.min(bound) * (1.0 - 5e-4);
        assert!(length >= least, "{what}: {length} is under {least}");
    }
}

#[test]
fn perceptrons_and_logistic_regression() {
    for kind in ACTIVATIONS {
        for classes in [2, 5] {
            let config = ModelConfig::Mlp {
                hidden: vec![19, 33],
                activation: kind,
                loss: AUTO,
                bottleneck: None,
            };
            let what = format!("{kind:?}, {classes} classes");
            check(&batch(&config, shape(1, 1, 13), classes, 11, 1), &what);
        }
    }
    for (classes, loss) in [(3, AUTO), (2, AUTO), (2, LossConfig::Softmax)] {
        let config = ModelConfig::Logistic { loss };
        check(&batch(&config, shape(1, 1, 30), classes, 9, 2), "logistic");
    }
}

#[test]
fn convolutional_models() {
    let lenet5 = |activation, pooling| ModelConfig::Lenet5 {
        activation,
        pooling,
        width: 1,
        loss: AUTO,
        bottleneck: None,
    };
    let papernot = |activation| ModelConfig::PapernotCnn {
        activation,
        loss: AUTO,
        bottleneck: None,
    };
    let dlg = |activation, spread| ModelConfig::DlgLenet {
        activation,
        spread,
        loss: AUTO,
        bottleneck: None,
    };
    let convnet = || ModelConfig::Convnet {
        activation: Activation::Relu,
        pooling: Pooling::Max,
        loss: AUTO,
        bottleneck: None,
    };
    for (config, input) in [
        (lenet5(Activation::Tanh, Pooling::Average), shape(1, 28, 28)),
        (lenet5(Activation::Relu, Pooling::Max), shape(3, 32, 33)),
        (lenet5(Activation::Sigmoid, Pooling::Max), shape(1, 12, 12)),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            shape(1, 28, 28),
        ),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            shape(2, 8, 7),
        ),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            shape(3, 32, 32),
        ),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            shape(1, 8, 8),
        ),
        (papernot(Activation::Relu), shape(1, 28, 28)),
        (papernot(Activation::Tanh), shape(2, 15, 18)),
        (dlg(Activation::Sigmoid, 0.5), shape(1, 28, 28)),
        (dlg(Activation::Tanh, 0.0), shape(3, 32, 32)),
        (dlg(Activation::Relu, 0.0), shape(2, 5, 8)),
        (convnet(), shape(1, 28, 28)),
        (convnet(), shape(3, 6, 9)),
    ] {
        let what = format!("{} of {input:?}", config.kind());
        check(&batch(&config, input, 10, 5, 3), &what);
    }
}

fn drawing(text: &str) -> ModelConfig {
    serde_json::from_str(text).expect("config")
}

/// The divergence is part of each example's own gradient, and a kernel without bias has a norm without one.
#[test]
fn variational_bottlenecks() {
    for (text, input) in [
        (
            r#"{"kind":"mlp","hidden":[9],"bottleneck":{"kind":"precode","latent":3,"beta":0.3}}"#,
            shape(1, 1, 13),
        ),
        (
            r#"{"kind":"lenet5","bottleneck":{"kind":"precode","latent":8,"place":"fc2"}}"#,
            shape(1, 28, 28),
        ),
        (
            r#"{"kind":"convnet","bottleneck":{"kind":"precode","latent":2,"beta":1.0}}"#,
            shape(2, 9, 8),
        ),
        (
            r#"{"kind":"convnet","bottleneck":{"kind":"convolutional"}}"#,
            shape(1, 8, 9),
        ),
        (
            r#"{"kind":"cnn3","bottleneck":{"kind":"convolutional","latent":3,"place":"conv2"}}"#,
            shape(3, 9, 10),
        ),
        (
            r#"{"kind":"papernot-cnn","bottleneck":{"kind":"convolutional","beta":2.0}}"#,
            shape(1, 28, 28),
        ),
        (
            r#"{"kind":"dlg-lenet","spread":0.0,"bottleneck":{"kind":"convolutional","latent":4}}"#,
            shape(1, 12, 12),
        ),
    ] {
        check(&batch(&drawing(text), input, 3, 6, 4), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_perceptrons(
        n in 1usize..40,
        inputs in 1usize..90,
        hidden in proptest::collection::vec(1usize..40, 0..3),
        classes in 2usize..6,
        kind in 0usize..4,
        seed in 0u64..1000,
    ) {
        let config = ModelConfig::Mlp { hidden, activation: ACTIVATIONS[kind], loss: AUTO, bottleneck: None };
        check(&batch(&config, shape(1, 1, inputs), classes, n, seed), "random perceptron");
    }

    #[test]
    fn random_images(
        n in 1usize..6,
        channels in 1usize..4,
        (height, width) in (14usize..24, 14usize..24),
        which in 0usize..5,
        seed in 0u64..1000,
    ) {
        let config = [
            ModelConfig::Lenet5 { activation: Activation::Softplus, pooling: Pooling::Max, width: 1, loss: AUTO, bottleneck: None },
            ModelConfig::Cnn { loss: AUTO, bottleneck: None },
            ModelConfig::Cnn3 { loss: AUTO, bottleneck: None },
            ModelConfig::PapernotCnn { activation: Activation::Tanh, loss: AUTO, bottleneck: None },
            ModelConfig::DlgLenet { activation: Activation::Softplus, spread: 0.0, loss: AUTO, bottleneck: None },
        ];
        check(&batch(&config[which], shape(channels, height, width), 3, n, seed), "random image");
    }
}

/// At zero parameters the log-odds are 0, so that an example's gradient is `(1/2 - label) (x, 1)`.
#[test]
fn two_examples_by_hand() {
    let config = ModelConfig::Logistic { loss: AUTO };
    let model = Model::build(&config, shape(1, 1, 2), 2).expect("model");
    let mut sum = [f32::NAN; 3];
    // Norms: sqrt(1 + 4 + 4) / 2 = 1.5, and sqrt(1 + 0.04 + 0.04) / 2 = 0.52.
    let inputs = [2.0, 2.0, 0.2, 0.2];
    let clip = 1.0;
    let mut ws = model.workspace(2);
    let clipped = model.clipped_gradient_sum(&[0.0; 3], &inputs, &[0, 1], clip, &mut ws, &mut sum);
    assert_eq!((clipped.clipped, clipped.non_finite), (1, 0));
    assert!((clipped.loss.loss_sum - 2.0 * 2.0_f64.ln()).abs() < 1e-6);
    let first = [1.0, 1.0, 0.5].map(|g| g / 1.5);
    let second = [0.1, 0.1, 0.5].map(|g| -g);
    for (i, sum) in sum.iter().enumerate() {
        let expected = first[i] + second[i];
        assert!((sum - expected).abs() < 2e-5, "{sum} is not {expected}");
    }
}

/// The sum and the loss have the bits of the batch without the broken examples.
#[test]
fn broken_examples_contribute_nothing_and_change_nothing() {
    let relu = ModelConfig::Mlp {
        hidden: vec![9, 7],
        activation: Activation::Relu,
        loss: AUTO,
        bottleneck: None,
    };
    let papernot = ModelConfig::PapernotCnn {
        activation: Activation::Relu,
        loss: AUTO,
        bottleneck: None,
    };
    for (config, input) in [
        (relu, shape(1, 1, 20)),
        (papernot, shape(1, 16, 16)),
        (
            ModelConfig::Cnn3 {
                loss: AUTO,
                bottleneck: None,
            },
            shape(1, 8, 8),
        ),
        (
            ModelConfig::Cnn {
                loss: AUTO,
                bottleneck: None,
            },
            shape(1, 9, 9),
        ),
        (
            drawing(r#"{"kind":"convnet","bottleneck":{"kind":"convolutional","latent":2}}"#),
            shape(1, 8, 8),
        ),
    ] {
        let whole = batch(&config, input, 4, 6, 8);
        let mut ws = whole.model.workspace(6);
        let mut broken = batch(&config, input, 4, 6, 8);
        let features = broken.features();
        for (place, value) in [
            (features + 3, f32::NAN),
            (4 * features + 5, f32::NEG_INFINITY),
            (5 * features, f32::INFINITY),
        ] {
            broken.inputs[place] = value;
        }
        let (clipped, sum) = broken.clipped(0.5, &mut ws);
        let (expected, expected_sum) = whole.without(&[1, 4, 5]).clipped(0.5, &mut ws);
        assert_eq!(clipped.non_finite, 3, "{}", config.kind());
        assert_eq!(clipped.clipped, expected.clipped);
        assert_eq!(clipped.loss, expected.loss);
        assert_eq!(bits(&sum), bits(&expected_sum));

        let nothing = broken.without(&[0, 2, 3]).clipped(0.5, &mut ws);
        assert_eq!(nothing.0.non_finite, 3);
        assert!(nothing.1.iter().all(|s| s.to_bits() == 0));
    }
}

/// Parameters without which every gradient is broken: nothing is left of the batch.
#[test]
fn broken_parameters_leave_zeros() {
    let config = ModelConfig::Logistic { loss: AUTO };
    let mut batch = batch(&config, shape(1, 1, 4), 3, 5, 1);
    batch.parameters[2] = f32::NAN;
    let (clipped, sum) = batch.clipped(1.0, &mut batch.model.workspace(5));
    assert_eq!((clipped.non_finite, clipped.clipped), (5, 0));
    assert!(sum.iter().all(|s| s.to_bits() == 0));
}

#[test]
fn huge_gradients_that_are_finite_are_clipped() {
    let config = ModelConfig::Logistic { loss: AUTO };
    let mut batch = batch(&config, shape(1, 1, 4), 3, 1, 1);
    batch.parameters.fill(0.0);
    batch.inputs = vec![1e25, -2e25, 0.0, 1.0];
    let (clipped, sum) = batch.clipped(1.0, &mut batch.model.workspace(1));
    assert_eq!((clipped.non_finite, clipped.clipped), (0, 1));
    let length = norm(sum.iter().map(|&s| f64::from(s)));
    assert!(length <= 1.0 && length > 0.9999, "{length}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Equal bits in a fresh workspace, a larger one and a used one; in a smaller one the batch is done in pieces.
#[test]
fn sums_repeat_bit_for_bit_and_large_batches_go_in_pieces() {
    let config = ModelConfig::Lenet5 {
        activation: Activation::Tanh,
        pooling: Pooling::Average,
        width: 1,
        loss: AUTO,
        bottleneck: None,
    };
    let batch = batch(&config, shape(1, 12, 12), 4, 13, 5);
    let expected = batch.clipped(0.3, &mut batch.model.workspace(13));
    let mut used = batch.model.workspace(20);
    batch.clipped(2.0, &mut used);
    let mut gradient = vec![0.0; batch.parameters.len()];
    batch.model.gradient(
        &batch.parameters,
        &batch.inputs,
        &batch.labels,
        &mut used,
        &mut gradient,
    );
    let again = batch.clipped(0.3, &mut used);
    assert_eq!(bits(&again.1), bits(&expected.1));
    assert_eq!(again.0, expected.0);

    let mut small = batch.model.workspace(5);
    let pieces = batch.clipped(0.3, &mut small);
    assert_eq!(pieces.0.clipped, expected.0.clipped);
    assert_eq!(pieces.0.loss.correct, expected.0.loss.correct);
    let error = norm(
        pieces
            .1
            .iter()
            .zip(&expected.1)
            .map(|(a, b)| f64::from(*a) - f64::from(*b)),
    );
    // 13 contributions of 0.3 at most.
    assert!(error <= TOLERANCE * 13.0 * 0.3, "{error}");
    assert_eq!(bits(&batch.clipped(0.3, &mut small).1), bits(&pieces.1));
}

#[test]
fn an_empty_batch_gives_zeros() {
    let config = ModelConfig::Logistic { loss: AUTO };
    let empty = batch(&config, shape(1, 1, 4), 3, 0, 1);
    let (clipped, sum) = empty.clipped(1.0, &mut empty.model.workspace(0));
    assert_eq!(clipped, Clipped::default());
    assert!(sum.iter().all(|s| s.to_bits() == 0));
}

#[test]
#[should_panic(expected = "gradients cannot be clipped to NaN")]
fn a_bound_that_is_no_number_is_a_bug_of_the_caller() {
    let config = ModelConfig::Logistic { loss: AUTO };
    let batch = batch(&config, shape(1, 1, 4), 3, 1, 1);
    batch.clipped(f32::NAN, &mut batch.model.workspace(1));
}
