//! Value and tangent passes of every layer, against exact derivatives of the plain `f64` models of `naive`: hyper-dual numbers
//! carry those along without any step length, so that kinks of ReLU and max pooling are no trouble.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod naive;
mod tangent_cases;

use cloister_nn::kernels::{Level, with_level};
use cloister_nn::{Activation, Derivatives, InputShape, Model, Targets};
use naive::{Image, Number, Tensors, linear, loss, soft_loss};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tangent_cases::{Case, Hyper, all, logistic, mlp};

/// Largest error, as a share of the norm or the largest entry of what is checked.
const TOLERANCE: f64 = 1e-5;

/// A model with parameters off their start, inputs, soft targets and a direction.
struct Drawn {
    model: Model,
    parameters: Vec<f32>,
    direction: Vec<f32>,
    inputs: Vec<f32>,
    classes: Vec<u32>,
    soft: Vec<f32>,
    n: usize,
    rng: ChaCha8Rng,
}

/// What the passes find.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    loss_sum: f64,
    gradient: Vec<f32>,
    input_gradient: Vec<f32>,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    parameters: Vec<f32>,
}

impl Drawn {
    fn new(case: &Case, n: usize, seed: u64) -> Self {
        let (channels, height, width) = case.input;
        let shape = InputShape {
            channels,
            height,
            width,
        };
        let model = Model::build(&case.config, shape, case.classes).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut parameters = model.initial_parameters(&mut rng);
        for p in &mut parameters {
            *p += rng.random_range(-0.05..0.05);
        }
        let mut uniform =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let direction = uniform(parameters.len());
        let inputs = uniform(n * shape.len());
        let soft: Vec<f32> = uniform(n * model.outputs())
            .iter()
            .map(|u| 0.2 + 0.1 * u)
            .collect();
        let classes = (0..n)
            .map(|_| rng.random_range(0..case.classes as u32))
            .collect();
        Drawn {
            model,
            parameters,
            direction,
            inputs,
            classes,
            soft,
            n,
            rng,
        }
    }

    fn run(&self, targets: Targets<'_>) -> Found {
        let model = &self.model;
        let mut ws = model.tangent_workspace(self.n + 2);
        let len = self.parameters.len();
        let mut found = Found {
            loss_sum: 0.0,
            gradient: vec![f32::NAN; len],
            input_gradient: vec![f32::NAN; self.inputs.len()],
            inputs: vec![f32::NAN; self.inputs.len()],
            targets: vec![f32::NAN; self.soft.len()],
            parameters: vec![f32::NAN; len],
        };
        let (p, x) = (&self.parameters, &self.inputs);
        found.loss_sum = model.value(p, x, targets, &mut ws, &mut found.gradient);
        // The input gradient in between must leave the tangent pass what it needs.
        model.input_gradient(p, x, &mut ws, &mut found.input_gradient);
        let wanted = Derivatives {
            inputs: &mut found.inputs,
            targets: Some(&mut found.targets),
            parameters: Some(&mut found.parameters),
        };
        model.tangent(p, &self.direction, x, &mut ws, wanted);
        // Without the rest the inputs' derivative has the same bits, the second time too.
        let mut inputs = vec![f32::NAN; found.inputs.len()];
        let wanted = Derivatives {
            inputs: &mut inputs,
            targets: None,
            parameters: None,
        };
        model.tangent(p, &self.direction, x, &mut ws, wanted);
        assert_eq!(inputs, found.inputs);
        found
    }

    fn uniform(&mut self, len: usize) -> Vec<f64> {
        let draw = |_| f64::from(self.rng.random_range(-1.0_f32..1.0));
        (0..len).map(draw).collect()
    }

    /// The mean loss, moved along the direction in `a` and along `u` (in parameters, inputs or soft targets) in `b`.
    fn reference(&self, case: &Case, u: &Direction) -> Hyper {
        let of = |values: &[f64], i: usize| values.get(i).copied().unwrap_or(0.0);
        let mut tensors = Tensors::<Hyper>::new(self.model.layout(), &self.parameters);
        for (i, (t, &v)) in tensors.values.iter_mut().zip(&self.direction).enumerate() {
            t.a = f64::from(v);
            t.b = of(&u.parameters, i);
        }
        let (channels, height, width) = case.input;
        let features = channels * height * width;
        let outputs = self.model.outputs();
        let mut sum = Hyper::of(0.0);
        for n in 0..self.n {
            let row = |i: usize| n * features + i;
            let data = (0..features)
                .map(|i| Hyper::moving(self.inputs[row(i)], 0.0, of(&u.inputs, row(i))))
                .collect();
            let image = Image::of(channels, height, width, data);
            let logits = linear(&tensors, case.last, &(case.features)(&tensors, &image));
            let targets: Vec<Hyper> = (n * outputs..(n + 1) * outputs)
                .map(|i| Hyper::moving(self.soft[i], 0.0, of(&u.targets, i)))
                .collect();
            sum = sum + soft_loss(&logits.data, &targets);
        }
        sum * Hyper::of(1.0 / self.n as f64)
    }
}

/// Where the second derivative is taken.
#[derive(Default)]
struct Direction {
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    targets: Vec<f64>,
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn largest(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|&v| f64::from(v).abs())
        .fold(0.0, f64::max)
}

fn dot(values: &[f32], u: &[f64]) -> f64 {
    values.iter().zip(u).map(|(&v, u)| f64::from(v) * u).sum()
}

fn assert_near(got: f64, want: f64, scale: f64, what: &str) {
    assert!(
        (got - want).abs() <= TOLERANCE * scale,
        "{what}: {got} is not {want} (scale {scale})"
    );
}

/// Compares everything that the passes find with the reference.
fn check(case: &Case, drawn: &mut Drawn, what: &str) {
    let found = drawn.run(Targets::Soft(&drawn.soft));
    let features = drawn.inputs.len();
    for coordinate in (0..features).step_by(features.div_ceil(5)) {
        let mut inputs = vec![0.0; features];
        inputs[coordinate] = 1.0;
        let expected = drawn.reference(
            case,
            &Direction {
                inputs,
                ..Direction::default()
            },
        );
        let mean = found.loss_sum / drawn.n as f64;
        assert_near(mean, expected.v, expected.v.abs(), what);
        assert_near(
            f64::from(found.input_gradient[coordinate]),
            expected.b,
            largest(&found.input_gradient),
            &format!("{what}: input gradient [{coordinate}]"),
        );
        assert_near(
            f64::from(found.inputs[coordinate]),
            expected.ab,
            largest(&found.inputs),
            &format!("{what}: inputs [{coordinate}]"),
        );
    }
    let u = Direction {
        inputs: drawn.uniform(features),
        ..Direction::default()
    };
    let expected = drawn.reference(case, &u);
    let scale = norm(&found.inputs);
    assert_near(
        dot(&found.inputs, &u.inputs),
        expected.ab,
        scale,
        &format!("{what}: inputs"),
    );
    // Along the direction itself, the first derivative is its product with the gradient.
    let direction: Vec<f64> = drawn.direction.iter().map(|&v| f64::from(v)).collect();
    let scale = norm(&found.gradient);
    assert_near(
        dot(&found.gradient, &direction),
        expected.a,
        scale,
        &format!("{what}: gradient"),
    );

    let u = Direction {
        targets: drawn.uniform(drawn.soft.len()),
        ..Direction::default()
    };
    let expected = drawn.reference(case, &u).ab;
    let scale = norm(&found.targets);
    assert_near(
        dot(&found.targets, &u.targets),
        expected,
        scale,
        &format!("{what}: targets"),
    );

    for spec in drawn.model.layout().tensors().to_vec() {
        let mut u = Direction {
            parameters: vec![0.0; found.parameters.len()],
            ..Direction::default()
        };
        let part = drawn.uniform(spec.len());
        u.parameters[spec.range()].copy_from_slice(&part);
        let expected = drawn.reference(case, &u).ab;
        let got = &found.parameters[spec.range()];
        let scale = norm(got);
        assert_near(
            dot(got, &part),
            expected,
            scale,
            &format!("{what}: {}", spec.name),
        );
    }
}

#[test]
fn tangents_are_exact() {
    for (index, case) in all().iter().enumerate() {
        let mut drawn = Drawn::new(case, 1 + index % 3, 11);
        check(case, &mut drawn, &format!("case {index}"));
    }
}

/// Layers that do not move: only the last one does, only the first, or one in between.
#[test]
fn tangents_of_some_layers_are_exact() {
    for (index, case) in all().iter().enumerate().skip(2) {
        let drawn = Drawn::new(case, 1, 12);
        let tensors = drawn.model.layout().tensors().to_vec();
        for part in 0..3 {
            let chosen = tensors.len() / 2 * part / 2 * 2;
            let chosen = chosen.min(tensors.len() - 2);
            let mut drawn = Drawn::new(case, 1, 13);
            for (place, spec) in tensors.iter().enumerate() {
                if place / 2 != chosen / 2 {
                    drawn.direction[spec.range()].fill(0.0);
                }
            }
            check(
                case,
                &mut drawn,
                &format!("case {index}, tensor {chosen} alone"),
            );
        }
    }
}

#[test]
fn the_value_is_the_gradient() {
    for case in all() {
        let drawn = Drawn::new(&case, 5, 3);
        let mut gradient = vec![f32::NAN; drawn.parameters.len()];
        let mut ws = drawn.model.workspace(5);
        let (p, x, classes) = (&drawn.parameters, &drawn.inputs, &drawn.classes);
        let expected = drawn.model.gradient(p, x, classes, &mut ws, &mut gradient);
        let found = drawn.run(Targets::Classes(classes));
        assert_near(found.loss_sum, expected.loss_sum, expected.loss_sum, "loss");
        let difference: Vec<f32> = found
            .gradient
            .iter()
            .zip(&gradient)
            .map(|(a, b)| a - b)
            .collect();
        assert!(norm(&difference) <= 1e-6 * norm(&gradient));
        // And the naive loss of classes is that of soft targets.
        assert!((loss(&[0.3, -0.2], 1) - soft_loss(&[0.3, -0.2], &[0.0, 1.0])).abs() < 1e-12);

        let outputs = drawn.model.outputs();
        let mut rows = vec![0.0; 5 * outputs];
        for (row, &class) in rows.chunks_exact_mut(outputs).zip(classes) {
            match row {
                [chance] => *chance = class as f32,
                row => row[class as usize] = 1.0,
            }
        }
        assert_eq!(found, drawn.run(Targets::Soft(&rows)));
    }
}

/// No example sees another: each has its own derivatives, over the batch's size.
#[test]
fn batches_are_examples() {
    for case in all() {
        let whole = Drawn::new(&case, 9, 5);
        let features = whole.inputs.len() / 9;
        let outputs = whole.model.outputs();
        let single: Vec<Found> = (0..9)
            .map(|i| {
                let mut one = Drawn::new(&case, 9, 5);
                one.n = 1;
                one.inputs = whole.inputs[i * features..][..features].to_vec();
                one.soft = whole.soft[i * outputs..][..outputs].to_vec();
                one.run(Targets::Soft(&one.soft))
            })
            .collect();
        for n in 1..9 {
            let mut batch = Drawn::new(&case, 9, 5);
            batch.n = n;
            batch.inputs.truncate(n * features);
            batch.soft.truncate(n * outputs);
            let found = batch.run(Targets::Soft(&batch.soft));
            for (i, one) in single.iter().enumerate().take(n) {
                let pairs = [
                    (&found.inputs[i * features..][..features], &one.inputs),
                    (&found.targets[i * outputs..][..outputs], &one.targets),
                ];
                for (rows, one) in pairs {
                    let scale = norm(one) / n as f64;
                    for (row, one) in rows.iter().zip(one) {
                        assert_near(f64::from(*row), f64::from(*one) / n as f64, scale, "row");
                    }
                }
            }
            let sums: Vec<f32> = (0..found.parameters.len())
                .map(|j| single[..n].iter().map(|one| one.parameters[j]).sum::<f32>() / n as f32)
                .collect();
            let scale = norm(&sums);
            for (got, want) in found.parameters.iter().zip(&sums) {
                assert_near(f64::from(*got), f64::from(*want), scale, "parameters");
            }
        }
    }
}

#[test]
fn the_hessian_is_symmetric() {
    for case in all() {
        let mut drawn = Drawn::new(&case, 3, 8);
        let v: Vec<f64> = drawn.direction.iter().map(|&v| f64::from(v)).collect();
        let of_v = drawn.run(Targets::Classes(&drawn.classes)).parameters;
        let u = drawn.uniform(v.len());
        drawn.direction = u.iter().map(|&u| u as f32).collect();
        let of_u = drawn.run(Targets::Classes(&drawn.classes)).parameters;
        let scale = norm(&of_v) + norm(&of_u);
        assert_near(dot(&of_v, &u), dot(&of_u, &v), scale, "u H v");
    }
}

#[test]
fn levels_agree() {
    for case in all() {
        let drawn = Drawn::new(&case, 3, 21);
        let run = |level| with_level(level, || drawn.run(Targets::Soft(&drawn.soft)));
        let expected = run(Level::Portable);
        for &level in Level::supported() {
            let found = run(level);
            for (found, expected) in [
                (&found.gradient, &expected.gradient),
                (&found.inputs, &expected.inputs),
                (&found.parameters, &expected.parameters),
            ] {
                let scale = norm(expected);
                for (found, expected) in found.iter().zip(expected) {
                    assert_near(f64::from(*found), f64::from(*expected), scale, "level");
                }
            }
        }
    }
}

#[test]
fn a_direction_of_zeros_and_an_empty_batch() {
    for case in all() {
        let mut drawn = Drawn::new(&case, 2, 1);
        drawn.direction.fill(0.0);
        let found = drawn.run(Targets::Classes(&drawn.classes));
        for part in [&found.inputs, &found.targets, &found.parameters] {
            assert_eq!(largest(part), 0.0);
        }
        let empty = Drawn::new(&case, 0, 1);
        let found = empty.run(Targets::Soft(&[]));
        assert_eq!(found.loss_sum, 0.0);
        assert_eq!(largest(&found.gradient) + largest(&found.parameters), 0.0);
    }
}

/// A net that is sure of its classes: the derivatives are small, but not lost in rounding.
#[test]
fn certain_predictions_keep_their_digits() {
    for case in [mlp(Activation::Tanh, 5), mlp(Activation::Tanh, 2)] {
        let mut drawn = Drawn::new(&case, 1, 2);
        let bias = drawn.model.layout().tensor("fc3.bias").unwrap().range();
        drawn.parameters[bias.start] += 22.0;
        let class = u32::from(case.classes == 2);
        let soft: Vec<f32> = if case.classes == 2 {
            vec![1.0]
        } else {
            (0..5).map(|c| f32::from(c == 0)).collect()
        };
        drawn.soft = soft;
        let found = drawn.run(Targets::Classes(&[class]));
        assert!(found.loss_sum < 1e-8);
        let u = Direction {
            inputs: drawn.uniform(drawn.inputs.len()),
            ..Direction::default()
        };
        let expected = drawn.reference(&case, &u).ab;
        let scale = norm(&found.inputs);
        assert!(scale > 0.0);
        assert_near(dot(&found.inputs, &u.inputs), expected, scale, "inputs");
    }
}

#[test]
fn representation_sensitivity_is_exact() {
    for (index, case) in all().iter().enumerate() {
        if case.input.1 > 14 {
            // The reference takes one pass a feature.
            continue;
        }
        let drawn = Drawn::new(case, 2, 31);
        let model = &drawn.model;
        let units = model.representation_len();
        let features = model.input().len();
        let mut found = vec![f32::NAN; 2 * units];
        let mut ws = model.tangent_workspace(3);
        model.representation_sensitivity(&drawn.parameters, &drawn.inputs, &mut ws, &mut found);
        let tensors = Tensors::<Hyper>::new(model.layout(), &drawn.parameters);
        let (channels, height, width) = case.input;
        for example in 0..2 {
            let mut squares = vec![0.0; units];
            let mut values = vec![0.0; units];
            for feature in 0..features {
                let data = (0..features)
                    .map(|i| {
                        let x = drawn.inputs[example * features + i];
                        Hyper::moving(x, f64::from(i == feature), 0.0)
                    })
                    .collect();
                let image = Image::of(channels, height, width, data);
                for (unit, r) in (case.features)(&tensors, &image).data.iter().enumerate() {
                    squares[unit] += r.a * r.a;
                    values[unit] = r.v.abs();
                }
            }
            for unit in 0..units {
                let got = f64::from(found[example * units + unit]);
                let want = if values[unit] == 0.0 {
                    0.0
                } else {
                    values[unit] / squares[unit].sqrt()
                };
                // A value near 0 is a difference of larger numbers.
                let scale = want + 0.1 / squares[unit].sqrt().max(1e-3);
                assert_near(got, want, scale, &format!("case {index}, unit {unit}"));
            }
        }
    }
}

#[test]
#[should_panic(expected = "inputs of the last value pass")]
fn a_tangent_needs_a_value() {
    let drawn = Drawn::new(&logistic(3), 1, 1);
    let mut ws = drawn.model.tangent_workspace(1);
    let mut inputs = vec![0.0; drawn.inputs.len()];
    let wanted = Derivatives {
        inputs: &mut inputs,
        targets: None,
        parameters: None,
    };
    drawn.model.tangent(
        &drawn.parameters,
        &drawn.direction,
        &drawn.inputs,
        &mut ws,
        wanted,
    );
}
