//! Variational bottlenecks: loss, gradient and tangents against exact derivatives of plain `f64` models with the noise held
//! fixed, what noise a pass takes, where the layer may stand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "tangent_cases/hyper.rs"]
mod hyper;
mod naive;

use cloister_nn::parallel::evaluate;
use cloister_nn::{
    Derivatives, InputShape, Model, ModelConfig, ModelError, Optimizer, OptimizerConfig, Targets,
};
use hyper::Hyper;
use naive::{
    Image, Number, Tensors, activation, convolution, dense_max_pool, group_norm, linear, pool,
    strided_convolution,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use cloister_nn::Activation::{Relu, Sigmoid, Softplus, Tanh};
use cloister_nn::Pooling::{Average, Max};

/// Largest error, as a share of the norm of what is checked.
const TOLERANCE: f64 = 1e-5;

fn config(text: &str) -> ModelConfig {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn image(channels: usize, height: usize, width: usize) -> InputShape {
    InputShape {
        channels,
        height,
        width,
    }
}

fn build(text: &str, input: InputShape, classes: usize) -> Model {
    Model::build(&config(text), input, classes).expect("model")
}

/// Noise of one example and what it costs: the divergence in bits, times beta.
struct Draw {
    noise: Vec<Hyper>,
    beta: f64,
    penalty: Hyper,
}

impl Draw {
    /// The draw by the published formula; channels, or numbers in a row, are the first half means.
    fn sample(&mut self, x: &Image<Hyper>) -> Image<Hyper> {
        let len = x.data.len() / 2;
        let (channels, height, width) = match x.channels {
            1 => (1, 1, len),
            _ => (x.channels / 2, x.height, x.width),
        };
        let positions = if x.channels == 1 { 1 } else { height * width };
        let share = self.beta / std::f64::consts::LN_2 / positions as f64;
        let deviations = activation(Softplus, x);
        let draw = |k: usize| {
            let (mu, s) = (x.data[k], deviations.data[len + k]);
            let log = s.apply([s.v.ln(), 1.0 / s.v, -1.0 / (s.v * s.v)]);
            let nats = mu * mu + s * s - Hyper::of(1.0) - Hyper::of(2.0) * log;
            self.penalty = self.penalty + nats * Hyper::of(0.5 * share);
            mu + self.noise[k] * s
        };
        Image::of(channels, height, width, (0..len).map(draw).collect())
    }

    fn precode(&mut self, t: &Tensors<Hyper>, x: &Image<Hyper>) -> Image<Hyper> {
        let z = self.sample(&linear(t, "bottleneck.encoder", x));
        linear(t, "bottleneck.decoder", &z)
    }

    fn convolutional(&mut self, t: &Tensors<Hyper>, x: &Image<Hyper>) -> Image<Hyper> {
        let z = self.sample(&convolution(t, "bottleneck.encoder", 2, x));
        convolution(t, "bottleneck.decoder", 0, &z)
    }
}

type Forward = fn(&Tensors<Hyper>, &Image<Hyper>, &mut Draw) -> Image<Hyper>;

/// What is moved in the second place of the hyper-dual numbers.
#[derive(Default)]
struct Moved {
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    noise: Vec<f64>,
}

/// A batch whose derivatives are known.
struct Checked {
    model: Model,
    beta: f64,
    forward: Forward,
    parameters: Vec<f32>,
    direction: Vec<f32>,
    inputs: Vec<f32>,
    noise: Vec<f32>,
    labels: Vec<u32>,
}

impl Checked {
    /// The mean loss, moved along the direction in `a`, and otherwise in `b`.
    fn reference(&self, moved: &Moved) -> Hyper {
        let of = |values: &[f64], i: usize| values.get(i).copied().unwrap_or(0.0);
        let mut tensors = Tensors::<Hyper>::new(self.model.layout(), &self.parameters);
        for (i, (t, &v)) in tensors.values.iter_mut().zip(&self.direction).enumerate() {
            t.a = f64::from(v);
            t.b = of(&moved.parameters, i);
        }
        let InputShape {
            channels,
            height,
            width,
        } = self.model.input();
        let moving = |values: &[f32], by: &[f64], row: usize, len: usize| -> Vec<Hyper> {
            (row * len..(row + 1) * len)
                .map(|i| Hyper::moving(values[i], 0.0, of(by, i)))
                .collect()
        };
        let mut sum = Hyper::of(0.0);
        for (row, &label) in self.labels.iter().enumerate() {
            let features = self.model.input().len();
            let data = moving(&self.inputs, &moved.inputs, row, features);
            let image = Image::of(channels, height, width, data);
            let mut draw = Draw {
                noise: moving(&self.noise, &moved.noise, row, self.model.noise_len()),
                beta: self.beta,
                penalty: Hyper::of(0.0),
            };
            let logits = (self.forward)(&tensors, &image, &mut draw);
            sum = sum + naive::loss(&logits.data, label) + draw.penalty;
        }
        sum * Hyper::of(1.0 / self.labels.len() as f64)
    }
}

fn near(got: f64, expected: f64, scale: f64, what: &str) {
    assert!(
        (got - expected).abs() <= TOLERANCE * scale,
        "{what}: {got} is not {expected} (scale {scale})"
    );
}

fn dot(values: &[f32], u: &[f64]) -> f64 {
    values.iter().zip(u).map(|(&v, u)| f64::from(v) * u).sum()
}

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|&v| f64::from(v).powi(2));
    squares.sum::<f64>().sqrt()
}

fn check(text: &str, input: InputShape, beta: f64, forward: Forward) {
    let model = build(text, input, 4);
    let labels = vec![2, 0, 3];
    let n = labels.len();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut parameters = model.initial_parameters(&mut rng);
    let mut uniform = |len: usize, bound: f32| -> Vec<f32> {
        (0..len).map(|_| rng.random_range(-bound..bound)).collect()
    };
    let off = uniform(parameters.len(), 0.05);
    parameters
        .iter_mut()
        .zip(off)
        .for_each(|(p, off)| *p += off);
    let case = Checked {
        beta,
        forward,
        direction: uniform(parameters.len(), 1.0),
        inputs: uniform(n * input.len(), 1.0),
        noise: uniform(n * model.noise_len(), 2.0),
        parameters,
        labels,
        model,
    };
    let mut along =
        |len: usize| -> Vec<f64> { uniform(len, 1.0).iter().map(|&u| f64::from(u)).collect() };
    let (model, parameters, inputs) = (&case.model, &case.parameters, &case.inputs);
    let len = parameters.len();

    let mut gradient = vec![f32::NAN; len];
    let mut ws = model.workspace(n + 1);
    ws.set_noise(&case.noise);
    let result = model.gradient(parameters, inputs, &case.labels, &mut ws, &mut gradient);
    let mean = case.reference(&Moved::default());
    near(result.loss_sum / n as f64, mean.v, mean.v.abs(), text);
    let direction: Vec<f64> = case.direction.iter().map(|&v| f64::from(v)).collect();
    near(dot(&gradient, &direction), mean.a, norm(&gradient), text);

    let mut ws = model.tangent_workspace(n + 1);
    let mut value = vec![f32::NAN; len];
    let mut hessian = vec![f32::NAN; len];
    let (mut to_inputs, mut input_gradient) = (inputs.clone(), inputs.clone());
    let mut to_noise = vec![f32::NAN; case.noise.len()];
    ws.set_noise(&case.noise);
    let classes = Targets::Classes(&case.labels);
    let sum = model.value(parameters, inputs, classes, &mut ws, &mut value);
    near(sum, result.loss_sum, sum.abs(), text);
    model.input_gradient(parameters, inputs, &mut ws, &mut input_gradient);
    let wanted = Derivatives {
        inputs: &mut to_inputs,
        targets: None,
        parameters: Some(&mut hessian),
    };
    model.tangent(parameters, &case.direction, inputs, &mut ws, wanted);
    model.tangent_noise(&ws, &mut to_noise);

    for spec in model.layout().tensors() {
        let part = along(spec.len());
        let mut moved = Moved {
            parameters: vec![0.0; len],
            ..Moved::default()
        };
        moved.parameters[spec.range()].copy_from_slice(&part);
        let expected = case.reference(&moved);
        let what = format!("{text}: {}", spec.name);
        for (got, expected) in [
            (&gradient, expected.b),
            (&value, expected.b),
            (&hessian, expected.ab),
        ] {
            let got = &got[spec.range()];
            assert!(norm(got) > 0.0, "{what}: nothing");
            near(dot(got, &part), expected, norm(got), &what);
        }
    }
    let u = along(inputs.len());
    let moved = Moved {
        inputs: u.clone(),
        ..Moved::default()
    };
    let expected = case.reference(&moved);
    let what = format!("{text}: inputs");
    near(
        dot(&input_gradient, &u),
        expected.b,
        norm(&input_gradient),
        &what,
    );
    near(dot(&to_inputs, &u), expected.ab, norm(&to_inputs), &what);
    let u = along(case.noise.len());
    let moved = Moved {
        noise: u.clone(),
        ..Moved::default()
    };
    let expected = case.reference(&moved).ab;
    near(
        dot(&to_noise, &u),
        expected,
        norm(&to_noise),
        &format!("{text}: noise"),
    );

    // A direction that moves the head alone: what is drawn stands still.
    let mut last = vec![0.0; len];
    let head = model.layout().tensors().last().expect("tensors").range();
    last[head.clone()].copy_from_slice(&case.direction[head]);
    let wanted = Derivatives {
        inputs: &mut to_inputs,
        targets: None,
        parameters: None,
    };
    model.tangent(parameters, &last, inputs, &mut ws, wanted);
    model.tangent_noise(&ws, &mut to_noise);
    let case = Checked {
        direction: last,
        ..case
    };
    let moved = Moved {
        inputs: along(to_inputs.len()),
        ..Moved::default()
    };
    let expected = case.reference(&moved).ab;
    near(
        dot(&to_inputs, &moved.inputs),
        expected,
        norm(&to_inputs),
        &what,
    );
    let moved = Moved {
        noise: along(to_noise.len()),
        ..Moved::default()
    };
    let expected = case.reference(&moved).ab;
    near(
        dot(&to_noise, &moved.noise),
        expected,
        norm(&to_noise),
        &what,
    );
}

#[test]
fn precode_before_the_last_layer_of_a_perceptron() {
    for (beta, text) in [
        (
            0.5,
            r#"{"kind":"mlp","hidden":[11,9],"activation":"tanh","bottleneck":{"kind":"precode","latent":3,"beta":0.5}}"#,
        ),
        (
            0.0,
            r#"{"kind":"mlp","hidden":[11,9],"activation":"tanh","bottleneck":{"kind":"precode","latent":3,"beta":0}}"#,
        ),
    ] {
        check(text, image(1, 1, 13), beta, |t, x, draw| {
            let x = activation(Tanh, &linear(t, "fc1", x));
            let x = activation(Tanh, &linear(t, "fc2", &x));
            linear(t, "fc3", &draw.precode(t, &x))
        });
    }
}

#[test]
fn precode_behind_the_features_of_lenet5() {
    let text =
        r#"{"kind":"lenet5","bottleneck":{"kind":"precode","latent":5,"beta":0.2,"place":"fc1"}}"#;
    check(text, image(1, 12, 14), 0.2, |t, x, draw| {
        let x = activation(Tanh, &convolution(t, "conv1", 2, x));
        let x = activation(Tanh, &convolution(t, "conv2", 0, &pool(Average, &x)));
        let x = draw.precode(t, &pool(Average, &x));
        let x = activation(Tanh, &linear(t, "fc1", &x));
        let x = activation(Tanh, &linear(t, "fc2", &x));
        linear(t, "fc3", &x)
    });
}

#[test]
fn precode_in_convnet() {
    let text = r#"{"kind":"convnet","bottleneck":{"kind":"precode","latent":4,"beta":1.0}}"#;
    check(text, image(2, 9, 8), 1.0, |t, x, draw| {
        let x = activation(Relu, &convolution(t, "conv1", 1, x));
        let x = activation(Relu, &convolution(t, "conv2", 1, &pool(Max, &x)));
        let x = activation(Relu, &convolution(t, "conv3", 1, &pool(Max, &x)));
        linear(t, "fc1", &draw.precode(t, &x))
    });
}

#[test]
fn the_convolutional_variant_in_dlg_lenet() {
    // Half of twelve channels by default.
    let text =
        r#"{"kind":"dlg-lenet","spread":0.3,"bottleneck":{"kind":"convolutional","beta":0.7}}"#;
    check(text, image(1, 11, 12), 0.7, |t, x, draw| {
        let x = activation(Sigmoid, &strided_convolution(t, "conv1", 2, 2, x));
        let x = draw.convolutional(t, &x);
        let x = activation(Sigmoid, &strided_convolution(t, "conv2", 2, 2, &x));
        let x = activation(Sigmoid, &convolution(t, "conv3", 2, &x));
        linear(t, "fc1", &x)
    });
}

#[test]
fn the_convolutional_variant_in_cnn3_and_papernot_cnn() {
    let text =
        r#"{"kind":"cnn3","bottleneck":{"kind":"convolutional","latent":3,"place":"conv2"}}"#;
    check(text, image(3, 8, 9), 0.1, |t, x, draw| {
        let mut x = x.clone();
        for block in 1..=3 {
            x = convolution(t, &format!("conv{block}"), 1, &x);
            x = activation(Relu, &group_norm(t, &format!("norm{block}"), 8, &x));
            if block == 2 {
                x = draw.convolutional(t, &x);
            }
            x = pool(Max, &x);
        }
        linear(t, "fc1", &x)
    });
    let text =
        r#"{"kind":"papernot-cnn","activation":"tanh","bottleneck":{"kind":"convolutional"}}"#;
    check(text, image(1, 15, 14), 0.1, |t, x, draw| {
        let x = activation(Tanh, &strided_convolution(t, "conv1", 3, 2, x));
        let x = dense_max_pool(&draw.convolutional(t, &x));
        let x = activation(Tanh, &strided_convolution(t, "conv2", 0, 2, &x));
        let x = activation(Tanh, &linear(t, "fc1", &dense_max_pool(&x)));
        linear(t, "fc2", &x)
    });
}

#[test]
fn tensors_are_found_by_name() {
    let text = r#"{"kind":"convnet","bottleneck":{"kind":"precode","latent":8}}"#;
    let model = build(text, image(1, 28, 28), 10);
    let shape = |name: &str| model.layout().tensor(name).map(|t| t.shape.clone());
    assert_eq!(shape("bottleneck.encoder.weight"), Some(vec![16, 3136]));
    assert_eq!(shape("bottleneck.encoder.bias"), Some(vec![16]));
    assert_eq!(shape("bottleneck.decoder.weight"), Some(vec![3136, 8]));
    assert_eq!(shape("bottleneck.decoder.bias"), Some(vec![3136]));
    assert_eq!(shape("fc1.weight"), Some(vec![10, 3136]));
    assert_eq!(model.layout().len(), 87_114 + 24 * 3136 + 16 + 3136);
    assert_eq!(model.noise_len(), 8);

    let text = r#"{"kind":"convnet","bottleneck":{"kind":"convolutional"}}"#;
    let model = build(text, image(1, 28, 28), 10);
    let shape = |name: &str| model.layout().tensor(name).map(|t| t.shape.clone());
    assert_eq!(shape("bottleneck.encoder.weight"), Some(vec![32, 32, 5, 5]));
    assert_eq!(shape("bottleneck.decoder.weight"), Some(vec![32, 16, 1, 1]));
    assert_eq!(shape("bottleneck.encoder.bias"), None);
    assert_eq!(shape("bottleneck.decoder.bias"), None);
    assert_eq!(model.layout().len(), 87_114 + 25_600 + 512);
    assert_eq!(model.noise_len(), 16 * 28 * 28);
    // Without one, no pass takes noise.
    let plain = build(r#"{"kind":"convnet"}"#, image(1, 28, 28), 10);
    assert_eq!(plain.noise_len(), 0);
}

/// FL-SecFlow's placement, 357 times its host, is refused, and so is PRECODE's default behind wide features.
#[test]
fn a_bottleneck_larger_than_its_host_is_refused() {
    let refused = |text: &str, input| {
        Model::build(&config(text), input, 10)
            .expect_err("an error")
            .to_string()
    };
    let text = r#"{"kind":"convnet","bottleneck":{"kind":"precode"}}"#;
    let message = refused(text, image(1, 28, 28));
    assert!(
        message.starts_with("the bottleneck adds 2412096 parameters to a model of 87114; "),
        "{message}"
    );
    let allowed = r#"{"kind":"convnet","bottleneck":{"kind":"precode","may_outgrow":true}}"#;
    assert_eq!(
        build(allowed, image(1, 28, 28), 10).layout().len(),
        2_412_096 + 87_114
    );
    // The largest that fits, and one more.
    for (latent, fits) in [(8, true), (9, false)] {
        let text =
            format!(r#"{{"kind":"convnet","bottleneck":{{"kind":"precode","latent":{latent}}}}}"#);
        let built = Model::build(&config(&text), image(1, 28, 28), 10);
        assert_eq!(built.is_ok(), fits, "{latent}");
    }
    let mlp = r#"{"kind":"mlp","bottleneck":{"kind":"precode"}}"#;
    assert!(Model::build(&config(mlp), image(1, 28, 28), 10).is_ok());
}

#[test]
fn descriptions_that_cannot_be_built_are_refused() {
    let error = |text: &str| Model::build(&config(text), image(1, 28, 28), 10).expect_err(text);
    for (text, model, place, kind) in [
        (
            r#"{"kind":"mlp","bottleneck":{"kind":"convolutional"}}"#,
            "mlp",
            "conv1",
            "convolutional",
        ),
        (
            r#"{"kind":"lenet5","bottleneck":{"kind":"precode","place":"conv1"}}"#,
            "lenet5",
            "conv1",
            "precode",
        ),
        (
            r#"{"kind":"cnn","bottleneck":{"kind":"precode","place":"fc3"}}"#,
            "cnn",
            "fc3",
            "precode",
        ),
        (
            r#"{"kind":"cnn","bottleneck":{"kind":"convolutional","place":"conv3"}}"#,
            "cnn",
            "conv3",
            "convolutional",
        ),
    ] {
        let expected = ModelError::BottleneckPlace {
            model,
            place: place.to_owned(),
            kind,
        };
        assert_eq!(error(text), expected);
    }
    for text in [
        r#"{"kind":"mlp","bottleneck":{"kind":"precode","latent":0}}"#,
        r#"{"kind":"cnn","bottleneck":{"kind":"convolutional","latent":0}}"#,
        r#"{"kind":"mlp","bottleneck":{"kind":"precode","beta":-1.0}}"#,
    ] {
        assert!(
            matches!(error(text), ModelError::Bottleneck { .. }),
            "{text}"
        );
    }
    for latent in [usize::MAX, 1 << 40] {
        for kind in ["precode", "convolutional"] {
            let text = format!(
                r#"{{"kind":"cnn","bottleneck":{{"kind":"{kind}","latent":{latent},"may_outgrow":true}}}}"#
            );
            assert!(
                matches!(error(&text), ModelError::TooLarge { .. }),
                "{text}"
            );
        }
    }
    for text in [
        r#"{"kind":"logistic","bottleneck":{"kind":"precode"}}"#,
        r#"{"kind":"mlp","bottleneck":{"kind":"vae"}}"#,
        r#"{"kind":"mlp","bottleneck":{"kind":"precode","lattent":3}}"#,
    ] {
        assert!(serde_json::from_str::<ModelConfig>(text).is_err(), "{text}");
    }
}

const SMALL: &str = r#"{"kind":"mlp","hidden":[6],"bottleneck":{"kind":"precode","latent":2}}"#;

/// Equal noise gives equal bits, other noise others; a draw from the same generator is the same noise.
#[test]
fn noise_decides_a_pass() {
    let model = build(SMALL, image(1, 1, 5), 3);
    let parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
    let inputs: Vec<f32> = (0..20).map(|i| (i as f32).sin()).collect();
    let mut ws = model.workspace(4);
    let mut logits = |seed| -> Vec<f32> {
        ws.draw_noise(&mut ChaCha8Rng::seed_from_u64(seed), 4);
        model.logits(&parameters, &inputs, 4, &mut ws).to_vec()
    };
    let first = logits(1);
    assert_eq!(first, logits(1));
    assert_ne!(first, logits(2));
    let measure = |seed| {
        let noise = move |block: u32| ChaCha8Rng::seed_from_u64(seed + u64::from(block));
        evaluate(&model, &parameters, &inputs, &[0, 1, 2, 0], 2, noise).loss
    };
    assert_eq!(measure(1).to_bits(), measure(1).to_bits());
    assert_ne!(measure(1).to_bits(), measure(2).to_bits());
}

fn pass(draw: impl Fn(&mut cloister_nn::Workspace)) {
    let model = build(SMALL, image(1, 1, 5), 3);
    let parameters = vec![0.1; model.layout().len()];
    let mut ws = model.workspace(4);
    draw(&mut ws);
    model.logits(&parameters, &[0.5; 10], 2, &mut ws);
    // The noise is used up.
    model.logits(&parameters, &[0.5; 10], 2, &mut ws);
}

#[test]
#[should_panic(expected = "numbers of noise drawn for a pass over 2 examples")]
fn a_pass_without_noise_is_a_bug_of_the_caller() {
    pass(|_| ());
}

#[test]
#[should_panic(expected = "numbers of noise drawn for a pass over 2 examples")]
fn noise_is_used_once() {
    pass(|ws| ws.draw_noise(&mut ChaCha8Rng::seed_from_u64(1), 2));
}

#[test]
#[should_panic(expected = "noise is [n, 2]")]
fn noise_is_that_of_whole_examples() {
    pass(|ws| ws.set_noise(&[1.0; 3]));
}

/// Trained with its divergence the deviations stay of the order of 1; without it (FL-SecFlow's error) they shrink, and with
/// them the protection.
#[test]
fn the_divergence_keeps_the_noise_from_vanishing() {
    let deviations = |beta: &str| -> f64 {
        let text = format!(
            r#"{{"kind":"mlp","hidden":[16,16],"activation":"tanh","bottleneck":{{"kind":"precode","latent":4,"beta":{beta}}}}}"#
        );
        let model = build(&text, image(1, 1, 2), 2);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut parameters = model.initial_parameters(&mut rng);
        let mut gradient = vec![0.0; parameters.len()];
        let mut ws = model.workspace(32);
        let mut adam = Optimizer::new(&OptimizerConfig::ADAM, parameters.len());
        for _ in 0..1500 {
            let mut inputs = Vec::new();
            let mut labels = Vec::new();
            for _ in 0..32 {
                let point: [f32; 2] = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)];
                labels.push(u32::from(point[0] > 0.0));
                inputs.extend(point);
            }
            ws.draw_noise(&mut rng, 32);
            model.gradient(&parameters, &inputs, &labels, &mut ws, &mut gradient);
            adam.step(&mut parameters, &gradient, 0.01, 0.0, None);
        }
        // By how much a draw moves what is decoded, against what the point itself does.
        let mut spread = |points: &[f32]| -> f64 {
            let n = points.len() / 2;
            ws.draw_noise(&mut rng, n);
            let logits = model.logits(&parameters, points, n, &mut ws);
            let mean = logits.iter().map(|&z| f64::from(z)).sum::<f64>() / n as f64;
            let square: f64 = logits.iter().map(|&z| (f64::from(z) - mean).powi(2)).sum();
            (square / n as f64).sqrt()
        };
        let same = [0.3, 0.1].repeat(32);
        let different: Vec<f32> = (0..64).map(|i| ((i * i) as f32).sin()).collect();
        spread(&same) / spread(&different)
    };
    let (with, without) = (deviations("0.1"), deviations("0.0"));
    assert!(
        with > 2.0 * without,
        "{with} with the divergence, {without} without"
    );
}
