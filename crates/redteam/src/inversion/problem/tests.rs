use cloister_nn::{InputShape, ModelConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::inversion::{Distance, InputSpace, Labels};

const SHAPE: InputShape = InputShape {
    channels: 1,
    height: 4,
    width: 4,
};

/// A smooth perceptron, so that differences are derivatives, and the attack of that objective.
fn case(distance: Distance, joint: bool, order: Order, classes: usize) -> (Model, Attack) {
    let config = r#"{"kind": "mlp", "hidden": [12], "activation": "tanh"}"#;
    let config: ModelConfig = serde_json::from_str(config).unwrap();
    let mut attack = Attack::preset("fedavg").unwrap();
    attack.distance = distance;
    attack.order = order;
    attack.variation.weight = 1e-3;
    if joint {
        attack.labels = Labels::Joint;
    }
    (Model::build(&config, SHAPE, classes).unwrap(), attack)
}

fn check(model: &Model, attack: &Attack, steps: Option<Vec<Range<usize>>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let n = 4;
    let mut draw =
        |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
    let len = model.layout().len();
    let (parameters, values) = (draw(len), draw(len));
    let evidence = match steps {
        None => Evidence::Gradient(values),
        Some(steps) => Evidence::Update {
            values,
            learning_rate: 0.3,
            steps,
        },
    };
    let observation = Observation {
        parameters,
        evidence,
        examples: n,
        space: InputSpace::unit(SHAPE).unwrap(),
    };
    let target = Target::new(
        model.layout(),
        &observation,
        attack.distance,
        &attack.adaptation,
    )
    .unwrap();
    let labels = (attack.labels != Labels::Joint).then(|| vec![0, 1, 1, 0]);
    let problem = Problem {
        model,
        observation: &observation,
        attack,
        target,
        labels,
    };
    let at = draw(problem.variables());
    let mut gradient = vec![f32::NAN; at.len()];
    let mut scratch = problem.scratch(1);
    let value = problem.evaluate(&at, &mut gradient, &mut scratch);
    assert!(value.is_finite());
    let mut unused = vec![0.0; at.len()];
    let norm = gradient
        .iter()
        .map(|g| f64::from(*g).powi(2))
        .sum::<f64>()
        .sqrt();
    let mut error = 0.0;
    for index in 0..at.len() {
        let mut moved = |by: f32| {
            let mut moved = at.clone();
            moved[index] += by;
            problem.evaluate(&moved, &mut unused, &mut scratch)
        };
        let slope = (moved(2e-3) - moved(-2e-3)) / 4e-3;
        error += (slope - f64::from(gradient[index])).powi(2);
    }
    // Differences of f32 passes are good to some parts in a thousand.
    let error = error.sqrt() / norm;
    assert!(error < 5e-3, "{error} of {norm}: {attack:?}");
}

#[test]
fn the_gradient_through_one_step_is_that_of_differences() {
    for distance in [Distance::L2, Distance::Cosine] {
        for joint in [false, true] {
            for classes in [2, 5] {
                let (model, attack) = case(distance, joint, Order::Repeated, classes);
                check(&model, &attack, None);
            }
        }
    }
}

/// Three steps over two uneven batches, the second pass repeating the first batch.
#[test]
fn the_gradient_through_several_steps_is_that_of_differences() {
    for distance in [Distance::L2, Distance::Cosine] {
        for order in [Order::Repeated, Order::Averaged] {
            for joint in [false, true] {
                let (model, attack) = case(distance, joint, order, 5);
                check(&model, &attack, Some(vec![0..3, 3..4, 0..3]));
            }
        }
    }
}
