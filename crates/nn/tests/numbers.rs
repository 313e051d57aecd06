//! Models that answer with a number: losses and gradients against differences, each example's clipped, and what they refuse.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cloister_nn::metrics::{Bootstrap, NumberTally};
use cloister_nn::parallel::{ParallelWorkspace, gradient_parallel, numbers_of};
use cloister_nn::{Activation, Derivatives, InputShape, LossConfig, Model, ModelConfig, Targets};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const COLUMNS: usize = 3;
const ROWS: usize = 40;

fn shape() -> InputShape {
    InputShape {
        channels: 1,
        height: 1,
        width: COLUMNS,
    }
}

fn models() -> Vec<Model> {
    let losses = [LossConfig::Mse, LossConfig::Mae];
    let of = |loss| {
        let mlp = ModelConfig::Mlp {
            hidden: vec![5],
            activation: Activation::Tanh,
            loss,
            bottleneck: None,
        };
        [ModelConfig::Linear { loss }, mlp]
    };
    let configs = losses.into_iter().flat_map(of);
    configs
        .map(|config| Model::build_for_numbers(&config, shape()).unwrap())
        .collect()
}

struct Case {
    parameters: Vec<f32>,
    inputs: Vec<f32>,
    values: Vec<f32>,
}

fn case(model: &Model) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut uniform =
        |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1.0..1.0)).collect() };
    Case {
        parameters: uniform(model.layout().len()),
        inputs: uniform(ROWS * COLUMNS),
        values: uniform(ROWS).iter().map(|value| 3.0 * value).collect(),
    }
}

/// The mean loss in `f64`, from the definitions.
fn loss(model: &Model, parameters: &[f64], case: &Case, absolute: bool) -> f64 {
    let rows = case.inputs.chunks_exact(COLUMNS).zip(&case.values);
    let tensors = model.layout().tensors().len();
    let answer = |row: &[f32]| -> f64 {
        let x = |place: usize| f64::from(row[place]);
        let linear = |weights: &[f64], bias: f64, x: &dyn Fn(usize) -> f64| -> f64 {
            let terms = weights.iter().enumerate();
            bias + terms.map(|(place, weight)| weight * x(place)).sum::<f64>()
        };
        if tensors == 2 {
            return linear(&parameters[..COLUMNS], parameters[COLUMNS], &x);
        }
        let (first, rest) = parameters.split_at(5 * COLUMNS);
        let (biases, rest) = rest.split_at(5);
        let units: Vec<f64> = first
            .chunks_exact(COLUMNS)
            .zip(biases)
            .map(|(weights, bias)| linear(weights, *bias, &x).tanh())
            .collect();
        linear(&rest[..5], rest[5], &|place| units[place])
    };
    let sum: f64 = rows
        .map(|(row, value)| {
            let error = answer(row) - f64::from(*value);
            if absolute { error.abs() } else { error * error }
        })
        .sum();
    sum / ROWS as f64
}

/// Losses to 1e-6 of themselves, gradients to 1e-5 of the largest derivative, for the squared and the absolute error.
#[test]
fn gradients_are_those_of_the_definitions() {
    for (place, model) in models().iter().enumerate() {
        let absolute = place >= 2;
        let case = case(model);
        let mut ws = model.workspace(ROWS);
        let mut gradient = vec![0.0; case.parameters.len()];
        let values = Targets::Values(&case.values);
        let found = model.gradient(
            &case.parameters,
            &case.inputs,
            values,
            &mut ws,
            &mut gradient,
        );
        let exact: Vec<f64> = case.parameters.iter().map(|p| f64::from(*p)).collect();
        let expected = loss(model, &exact, &case, absolute);
        assert!((found.loss_sum / ROWS as f64 - expected).abs() < 1e-6 * expected);
        assert_eq!(found.correct, 0);
        let largest = gradient.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        for coordinate in 0..exact.len() {
            let moved = |by: f64| {
                let mut moved = exact.clone();
                moved[coordinate] += by;
                loss(model, &moved, &case, absolute)
            };
            let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let error = (f64::from(gradient[coordinate]) - difference).abs();
            assert!(
                error < 1e-5 * f64::from(largest),
                "model {place}, coordinate {coordinate}: {} is not {difference}",
                gradient[coordinate]
            );
        }
    }
}

/// The sum of clipped gradients is that of single examples, each cut by hand; without a bound it is the plain gradient.
#[test]
fn each_example_is_clipped_alone() {
    for model in &models() {
        let case = case(model);
        let mut ws = model.workspace(ROWS);
        let values = Targets::Values(&case.values);
        let rows = case.inputs.chunks_exact(COLUMNS).zip(&case.values);
        let own: Vec<Vec<f32>> = rows
            .map(|(row, value)| {
                let mut one = vec![0.0; case.parameters.len()];
                let value = std::slice::from_ref(value);
                model.gradient(&case.parameters, row, value, &mut ws, &mut one);
                one
            })
            .collect();
        let norm = |one: &Vec<f32>| {
            let squares = one.iter().map(|g| f64::from(*g).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let mut norms: Vec<f64> = own.iter().map(norm).collect();
        norms.sort_by(f64::total_cmp);
        // Between the two in the middle, so that half of them are cut.
        let clip = f64::midpoint(norms[ROWS / 2 - 1], norms[ROWS / 2]) as f32;
        let longer = ROWS / 2;
        let mut expected = vec![0.0_f64; case.parameters.len()];
        for one in &own {
            let scale = (f64::from(clip) / norm(one)).min(1.0);
            for (sum, g) in expected.iter_mut().zip(one) {
                *sum += scale * f64::from(*g);
            }
        }
        let mut sum = vec![0.0; case.parameters.len()];
        let found = model.clipped_gradient_sum(
            &case.parameters,
            &case.inputs,
            values,
            clip,
            &mut ws,
            &mut sum,
        );
        assert_eq!((found.clipped, found.non_finite), (longer, 0));
        for (found, expected) in sum.iter().zip(&expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-3,
                "{found} {expected}"
            );
        }
    }
}

/// A row that is not finite is left out of the sum, and the others have the bits that they have without it.
#[test]
fn a_value_that_is_not_finite_is_left_out() {
    for model in &models()[..2] {
        let case = case(model);
        let mut broken = case.values.clone();
        broken[7] = f32::NAN;
        let mut ws = model.workspace(ROWS);
        let mut sums = [
            vec![0.0; case.parameters.len()],
            vec![0.0; case.parameters.len()],
        ];
        let [with, without] = &mut sums;
        let (p, clip) = (&case.parameters, 1.0);
        let targets = Targets::Values(&broken);
        let found = model.clipped_gradient_sum(p, &case.inputs, targets, clip, &mut ws, with);
        assert_eq!(found.non_finite, 1);
        let inputs = [&case.inputs[..7 * COLUMNS], &case.inputs[8 * COLUMNS..]].concat();
        let values = [&broken[..7], &broken[8..]].concat();
        let targets = Targets::Values(&values);
        model.clipped_gradient_sum(p, &inputs, targets, clip, &mut ws, without);
        assert_eq!(with, without);
    }
}

/// Many rows over threads, and the passes of attacks, have the same gradient to rounding.
#[test]
fn other_passes_agree() {
    for model in &models() {
        let case = case(model);
        let values = Targets::Values(&case.values);
        let mut plain = vec![0.0; case.parameters.len()];
        let mut other = plain.clone();
        let mut ws = model.workspace(ROWS);
        let (p, x) = (&case.parameters, &case.inputs);
        let loss = model.gradient(p, x, values, &mut ws, &mut plain);
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let mut pool = ParallelWorkspace::new(model, ROWS, 2).unwrap();
        let parallel = gradient_parallel(model, p, x, values, &mut pool, &mut other);
        assert!(close(&plain, &other) && (parallel.loss_sum - loss.loss_sum).abs() < 1e-4);
        let mut tangents = model.tangent_workspace(ROWS);
        let sum = model.value(p, x, values, &mut tangents, &mut other);
        assert!(close(&plain, &other) && (sum - loss.loss_sum).abs() < 1e-4);
    }
}

/// The derivative along a direction of the gradient with respect to the inputs, of the squared error, against differences.
#[test]
fn tangents_of_the_squared_error_are_differences() {
    let model = &models()[1];
    let case = case(model);
    let values = Targets::Values(&case.values);
    let direction: Vec<f32> = (0..case.parameters.len())
        .map(|i| (i as f32).cos())
        .collect();
    let mut ws = model.tangent_workspace(ROWS);
    let mut gradient = vec![0.0; case.parameters.len()];
    let mut inputs = vec![0.0; case.inputs.len()];
    let mut targets = vec![0.0; ROWS];
    model.value(
        &case.parameters,
        &case.inputs,
        values,
        &mut ws,
        &mut gradient,
    );
    let wanted = Derivatives {
        inputs: &mut inputs,
        targets: Some(&mut targets),
        parameters: None,
    };
    model.tangent(&case.parameters, &direction, &case.inputs, &mut ws, wanted);
    // d/dx of <direction, gradient>, and d/dy of it.
    let mut along = |inputs: &[f32], values: &[f32]| {
        model.value(
            &case.parameters,
            inputs,
            Targets::Values(values),
            &mut ws,
            &mut gradient,
        );
        let terms = gradient.iter().zip(&direction);
        terms
            .map(|(g, v)| f64::from(*g) * f64::from(*v))
            .sum::<f64>()
    };
    for place in [0, 11, 50] {
        let mut moved = [case.inputs.clone(), case.inputs.clone()];
        moved[0][place] += 1e-2;
        moved[1][place] -= 1e-2;
        let step = f64::from(moved[0][place]) - f64::from(moved[1][place]);
        let difference = (along(&moved[0], &case.values) - along(&moved[1], &case.values)) / step;
        assert!(
            (f64::from(inputs[place]) - difference).abs() < 2e-4,
            "{place}: {difference}"
        );
    }
    for row in [0, 20] {
        let mut moved = case.values.clone();
        moved[row] += 1.0;
        let difference = along(&case.inputs, &moved) - along(&case.inputs, &case.values);
        assert!(
            (f64::from(targets[row]) - difference).abs() < 1e-4,
            "{row}: {difference}"
        );
    }
}

#[test]
fn what_is_about_classes_is_refused() {
    let mlp = |loss| ModelConfig::Mlp {
        hidden: vec![4],
        activation: Activation::Relu,
        loss,
        bottleneck: None,
    };
    let logistic = ModelConfig::Logistic {
        loss: LossConfig::Auto,
    };
    for (config, what) in [
        (logistic, "model.kind = \"logistic\""),
        (mlp(LossConfig::Softmax), "model.loss = \"softmax\""),
        (mlp(LossConfig::Binary), "model.loss = \"binary\""),
    ] {
        let error = Model::build_for_numbers(&config, shape()).unwrap_err();
        let words = format!("{what} tells classes apart, but data.target is a number");
        assert!(error.to_string().starts_with(&words), "{error}");
    }
    let linear = ModelConfig::Linear {
        loss: LossConfig::Auto,
    };
    for (config, what) in [
        (linear, "model.kind = \"linear\""),
        (mlp(LossConfig::Mse), "model.loss = \"mse\""),
        (mlp(LossConfig::Mae), "model.loss = \"mae\""),
    ] {
        let error = Model::build(&config, shape(), 2).unwrap_err();
        let words = format!("{what} answers with a number, but the data has 2 classes");
        assert!(error.to_string().starts_with(&words), "{error}");
    }
}

#[test]
#[should_panic(expected = "targets that are numbers, and a model that answers with one")]
fn classes_are_no_answer_of_a_number() {
    let model = &models()[0];
    let mut gradient = vec![0.0; 4];
    let mut ws = model.workspace(1);
    model.gradient(&[0.0; 4], &[0.0; COLUMNS], &[0], &mut ws, &mut gradient);
}

/// Errors are in the target's unit and R2 has none; evaluation gives the same bits on any number of threads, and the same stream
/// the same intervals, which hold the figure.
#[test]
fn a_model_is_judged_in_the_unit_of_its_target() {
    for (place, model) in models().iter().enumerate() {
        let case = case(model);
        let scale = 12.5;
        let judge = |threads| {
            let values = (&case.values[..], scale);
            numbers_of(
                model,
                &case.parameters,
                &case.inputs,
                values,
                threads,
                |_| ChaCha8Rng::seed_from_u64(0),
            )
        };
        let tally: NumberTally = judge(1);
        assert_eq!(tally, judge(3));
        let evaluation = tally.finish();
        let exact: Vec<f64> = case.parameters.iter().map(|p| f64::from(*p)).collect();
        let squared = loss(model, &exact, &case, false);
        let absolute = loss(model, &exact, &case, true);
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-5 * expected);
        close(evaluation.loss, if place >= 2 { absolute } else { squared });
        close(evaluation.figures.mae, absolute * scale);
        close(evaluation.figures.mse, squared * scale * scale);
        close(evaluation.figures.rmse, squared.sqrt() * scale);

        let assessed = tally.assess(&Bootstrap::default(), &mut ChaCha8Rng::seed_from_u64(5));
        assert_eq!(assessed.evaluation, evaluation);
        let names: Vec<&str> = assessed.intervals.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["loss", "mae", "r2", "rmse"]);
        let figures = [
            evaluation.loss,
            evaluation.figures.mae,
            evaluation.figures.r2.unwrap(),
            evaluation.figures.rmse,
        ];
        for ((name, interval), figure) in assessed.intervals.iter().zip(figures) {
            assert!(interval.low < figure && figure < interval.high, "{name}");
        }
    }
}
