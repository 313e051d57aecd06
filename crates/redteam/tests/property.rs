//! The label mix of a client, read from its update of a model for the bundled digits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use cloister_data::{DataConfig, Dataset};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_protocol::{Learner, LocalOptimizer, ModelLearner, Scratch, TrainConfig, TrainPlan};
use cloister_redteam::property::{
    MixScore, PropertyError, Regression, RegressionPlan, from_bias_gradient, label_mix,
};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EXAMPLES: usize = 64;

fn model(data: &Dataset) -> Model {
    let shape = data.shape();
    let input = InputShape {
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
    };
    let config: ModelConfig = serde_json::from_str(r#"{"kind": "mlp", "hidden": [32]}"#).unwrap();
    Model::build(&config, input, data.classes().len()).unwrap()
}

/// A client of two or three classes in uneven shares.
fn client(data: &Dataset, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut classes: Vec<u32> = (0..10).collect();
    classes.shuffle(rng);
    let mut rows: Vec<u32> = Vec::new();
    while rows.len() < EXAMPLES {
        let class = classes[[0, 0, 0, 1, 1, 2][rng.random_range(0..6)]];
        let row = rng.random_range(0..data.len() as u32);
        if data.labels()[row as usize] == class {
            rows.push(row);
        }
    }
    rows
}

fn train(
    model: &Model,
    data: &Dataset,
    rows: &[u32],
    global: &[f32],
    plan: &TrainPlan,
    rng: &mut ChaCha8Rng,
) -> Vec<f32> {
    let learner = ModelLearner::new(model, data, rows, Scratch::default());
    learner.unwrap().train(global, plan, rng).unwrap().values
}

/// SGD and Adam, a fresh model and a trained one: both estimators against the mix of the auxiliary data, over 10 clients.
#[test]
fn the_label_mix_is_read_from_the_update() {
    let loaded = cloister_data::load(&DataConfig::bundled("digits"), 1).unwrap();
    // The attacker has the test part, the clients the other.
    let (own, auxiliary) = (loaded.train, loaded.test);
    let model = model(&own);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let fresh = model.initial_parameters(&mut rng);
    let sgd = TrainConfig {
        epochs: 2,
        batch_size: 16,
        optimizer: LocalOptimizer::Sgd,
        learning_rate: 0.05,
        ..TrainConfig::default()
    };
    let all: Vec<u32> = (0..own.len() as u32).collect();
    let mut trained = fresh.clone();
    let step = train(&model, &own, &all, &fresh, &sgd.plan(1), &mut rng);
    for (parameter, step) in trained.iter_mut().zip(step) {
        *parameter += step;
    }
    let adam = TrainConfig {
        optimizer: LocalOptimizer::Adam,
        learning_rate: 0.001,
        ..sgd.clone()
    };
    let every: Vec<u32> = (0..auxiliary.len() as u32).collect();
    let guess = label_mix(&auxiliary, &every);
    for (global, config) in [(&fresh, &sgd), (&trained, &sgd), (&fresh, &adam)] {
        let plan = config.plan(1);
        let training = RegressionPlan {
            model: &model,
            plan: &plan,
            updates: 60,
            examples: EXAMPLES,
        };
        let regression = Regression::fit(&training, global, &auxiliary, 2, &mut rng).unwrap();
        let (mut learnt, mut closed, mut floor, mut dominant) = (0.0, 0.0, 0.0, 0);
        for _ in 0..10 {
            let rows = client(&own, &mut rng);
            let truth = label_mix(&own, &rows);
            let update = train(&model, &own, &rows, global, &plan, &mut rng);
            let estimate = regression.estimate(model.layout(), &update).unwrap();
            let score = MixScore::new(&estimate, &truth, &guess).unwrap();
            learnt += score.error;
            floor += score.floor;
            dominant += u32::from(score.dominant);
            let rate = f64::from(plan.learning_rate);
            let steps = (EXAMPLES.div_ceil(16) * 2) as u64;
            let estimate = from_bias_gradient(&model, global, &update, rate, steps, &auxiliary, 2);
            closed += MixScore::new(&estimate.unwrap(), &truth, &guess)
                .unwrap()
                .error;
        }
        eprintln!(
            "{:?}: regression {learnt:.4}, closed {closed:.4}, floor {floor:.4}, {dominant}",
            plan.optimizer
        );
        // Adam's steps are of one length, whatever the gradient's was: signs are left.
        let share = match plan.optimizer {
            LocalOptimizer::Sgd => 0.25,
            _ => 0.5,
        };
        assert!(
            learnt < share * floor && dominant >= 5,
            "{learnt} {floor} {dominant}"
        );
        // The closed form knows plain SGD only.
        if plan.optimizer == LocalOptimizer::Sgd {
            assert!(closed < 0.25 * floor, "{closed} {floor}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let data = cloister_data::load(&DataConfig::bundled("digits"), 1)
        .unwrap()
        .test;
    let model = model(&data);
    let global = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
    let ask = |update: &[f32], rate| from_bias_gradient(&model, &global, update, rate, 1, &data, 1);
    assert!(matches!(
        ask(&global[1..], 0.1),
        Err(PropertyError::Length { .. })
    ));
    assert!(matches!(
        ask(&global, 0.0),
        Err(PropertyError::Parameter { .. })
    ));
    let labels = vec![0; data.len()];
    let classes = data.classes().to_vec();
    let features = data.features().to_vec();
    let one = Dataset::new("one", data.shape(), features, labels, classes, None).unwrap();
    let found = from_bias_gradient(&model, &global, &global, 0.1, 1, &one, 1);
    assert_eq!(found, Err(PropertyError::NoExample(1)));
}
