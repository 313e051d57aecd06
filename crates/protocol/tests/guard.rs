//! The guard before training: silent over whatever training makes, loud over the published malicious models.
//!
//! False alarms: no model here may trip it, over all kinds of models, starts, and 120 rounds of training under noise, pruning and
//! sign steps, as long as it does not diverge. By chance alone, eight rows of eight or more independent numbers are parallel to 0.999 with probability below 1e-20,
//! and four rows of eight are paired within 0.1 % with probability below 1e-20: with these seeds fixed, an alarm is a defect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use cloister_data::{DataConfig, TrainTest};
use cloister_nn::{InputShape, Layout, Model, ModelConfig};
use cloister_protocol::guard::{Guard, GuardConfig, GuardMode, GuardRule, inspect};
use cloister_protocol::message::{ClientMessage, LayoutDigest, ServerMessage, TrainRequest};
use cloister_protocol::{Client, ClientAction, TrainConfig};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KINDS: [&str; 9] = [
    r#"{ "kind": "logistic" }"#,
    r#"{ "kind": "mlp" }"#,
    r#"{ "kind": "mlp", "hidden": [64, 8], "activation": "sigmoid" }"#,
    r#"{ "kind": "lenet5" }"#,
    r#"{ "kind": "cnn" }"#,
    r#"{ "kind": "cnn3" }"#,
    r#"{ "kind": "papernot-cnn" }"#,
    r#"{ "kind": "dlg-lenet" }"#,
    r#"{ "kind": "convnet" }"#,
];

fn build(kind: &str, [channels, height, width]: [usize; 3], classes: usize) -> Model {
    let config: ModelConfig = serde_json::from_str(kind).unwrap();
    let input = InputShape {
        channels,
        height,
        width,
    };
    Model::build(&config, input, classes).unwrap()
}

fn silent(model: &Model, parameters: &[f32], what: &str) {
    let found = inspect(model.layout(), parameters);
    assert!(found.is_empty(), "{what}: {found:?}");
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    // Twelve uniforms: near enough.
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

#[test]
fn fresh_models_of_all_kinds_are_plain() {
    for kind in KINDS {
        for (input, classes) in [
            ([1, 28, 28], 10),
            ([3, 32, 32], 10),
            ([1, 28, 28], 2),
            ([1, 16, 16], 3),
        ] {
            let model = build(kind, input, classes);
            for seed in 0..3 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let parameters = model.initial_parameters(&mut rng);
                silent(&model, &parameters, kind);
            }
            silent(&model, &vec![0.0; model.layout().len()], "zeros");
            silent(&model, &vec![0.5; model.layout().len()], "a constant");
        }
    }
}

#[test]
fn tables_and_narrow_models_are_plain() {
    for (features, classes) in [(1, 2), (2, 3), (3, 2), (13, 2), (30, 5), (122, 23)] {
        for kind in &KINDS[..3] {
            let model = build(kind, [1, 1, features], classes);
            for seed in 0..20 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let parameters = model.initial_parameters(&mut rng);
                silent(&model, &parameters, kind);
            }
        }
    }
}

/// How the server turns a round's mean update into its step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Plain,
    Noise(f32),
    Largest(f64),
    Sign(f32),
}

fn step(parameters: &mut [f32], update: &[f32], how: Step, rng: &mut ChaCha8Rng) {
    let mut sizes: Vec<f32> = update.iter().map(|value| value.abs()).collect();
    let least = match how {
        Step::Largest(share) => {
            let place = ((1.0 - share) * (sizes.len() - 1) as f64) as usize;
            *sizes.select_nth_unstable_by(place, f32::total_cmp).1
        }
        _ => 0.0,
    };
    for (parameter, value) in parameters.iter_mut().zip(update) {
        *parameter += match how {
            Step::Plain => *value,
            Step::Noise(deviation) => value + deviation * normal(rng),
            Step::Largest(_) if value.abs() < least => 0.0,
            Step::Largest(_) => *value,
            Step::Sign(rate) if *value != 0.0 => rate.copysign(*value),
            Step::Sign(_) => 0.0,
        };
    }
}

/// Trains for 120 rounds and lets the guard look after each; the clients are of one class now and then.
fn train(model: &Model, data: &TrainTest, start: Vec<f32>, how: Step, rate: f32) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut parameters = start;
    let mut workspace = model.workspace(32);
    let mut gradient = vec![0.0; parameters.len()];
    let train = &data.train;
    let mut rows: Vec<usize> = (0..train.len()).collect();
    for round in 0..120_u32 {
        rows.shuffle(&mut rng);
        if round % 10 == 0 {
            let only = train.labels()[rows[0]];
            rows.sort_by_key(|row| train.labels()[*row] != only);
        }
        let mut local = parameters.clone();
        for batch in rows.chunks(32).take(3) {
            let inputs: Vec<f32> = batch
                .iter()
                .flat_map(|row| train.row(*row).to_vec())
                .collect();
            let labels: Vec<u32> = batch.iter().map(|row| train.labels()[*row]).collect();
            model.gradient(&local, &inputs, &labels, &mut workspace, &mut gradient);
            for (parameter, slope) in local.iter_mut().zip(&gradient) {
                *parameter -= rate * slope;
            }
        }
        let update: Vec<f32> = local.iter().zip(&parameters).map(|(a, b)| a - b).collect();
        step(&mut parameters, &update, how, &mut rng);
        silent(model, &parameters, &format!("{how:?}, round {round}"));
    }
}

#[test]
fn nothing_that_training_makes_trips_it() {
    let steps = [
        Step::Plain,
        Step::Noise(0.02),
        Step::Noise(0.2),
        Step::Largest(0.01),
        Step::Sign(0.01),
    ];
    for dataset in ["digits", "wdbc", "heart-disease"] {
        let data = cloister_data::load(&DataConfig::bundled(dataset), 1).unwrap();
        let shape = data.train.shape();
        let classes = data.train.classes().len();
        for kind in [KINDS[0], r#"{ "kind": "mlp", "hidden": [32, 16] }"#] {
            let model = build(kind, [shape.channels, shape.height, shape.width], classes);
            for how in steps {
                let fresh = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
                train(&model, &data, fresh, how, 0.3);
            }
            let zeros = vec![0.0; model.layout().len()];
            for how in [Step::Plain, Step::Largest(0.001), Step::Sign(0.05)] {
                train(&model, &data, zeros.clone(), how, 1.0);
            }
        }
    }
}

/// The weights of the first linear layer with at least `rows` rows: their place, rows and columns, and the place of the biases.
fn linear(layout: &Layout, rows: usize) -> (usize, usize, usize, usize) {
    let tensors = layout.tensors();
    let is = |place: &usize| tensors[*place].shape.len() == 2 && tensors[*place].shape[0] >= rows;
    let place = (0..tensors.len()).find(is).unwrap();
    let (weight, bias) = (&tensors[place], &tensors[place + 1]);
    (weight.offset, weight.shape[0], weight.shape[1], bias.offset)
}

/// Rules that find something, each once.
fn rules(model: &Model, parameters: &[f32]) -> Vec<GuardRule> {
    let found = inspect(model.layout(), parameters).into_iter();
    let mut rules: Vec<GuardRule> = found.map(|finding| finding.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn imprints_are_found() {
    for kind in [KINDS[1], KINDS[3], KINDS[4]] {
        let model = build(kind, [1, 28, 28], 10);
        let (weights, rows, columns, biases) = linear(model.layout(), 64);
        for bins in [10, rows / 2, rows] {
            for signs in [false, true] {
                let mut rng = ChaCha8Rng::seed_from_u64(bins as u64);
                let mut parameters = model.initial_parameters(&mut rng);
                let functional: Vec<f32> = match signs {
                    false => vec![1.0 / columns as f32; columns],
                    true => (0..columns).map(|_| normal(&mut rng)).collect(),
                };
                // Anywhere in the layer, and at scales of their own, as a careful attacker would.
                let mut places: Vec<usize> = (0..rows).collect();
                places.shuffle(&mut rng);
                for (bin, row) in places[..bins].iter().enumerate() {
                    let scale = if signs {
                        0.5 + rng.random::<f32>()
                    } else {
                        1.0
                    };
                    let values = &mut parameters[weights + row * columns..][..columns];
                    for (value, one) in values.iter_mut().zip(&functional) {
                        *value = scale * one;
                    }
                    parameters[biases + row] = -scale * (bin as f32 + 0.5) / bins as f32;
                }
                assert_eq!(
                    rules(&model, &parameters),
                    [GuardRule::Imprint],
                    "{kind} {bins}"
                );
            }
        }
    }
}

#[test]
fn trap_weights_are_found() {
    for (kind, input) in [
        (KINDS[1], [1, 28, 28]),
        (KINDS[1], [1, 1, 13]),
        (KINDS[4], [1, 28, 28]),
    ] {
        let model = build(kind, input, 10);
        let (weights, rows, columns, _) = linear(model.layout(), 64);
        for (traps, scale) in [(rows, 0.95), (rows, 0.999), (8, 0.97)] {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let mut parameters = model.initial_parameters(&mut rng);
            for row in 0..traps {
                let mut order: Vec<usize> = (0..columns).collect();
                order.shuffle(&mut rng);
                let values = &mut parameters[weights + row * columns..][..columns];
                for pair in order.chunks(2) {
                    let size = 0.5 * normal(&mut rng).abs() + 1e-3;
                    values[pair[0]] = -size;
                    if let Some(other) = pair.get(1) {
                        values[*other] = scale * size;
                    }
                }
            }
            assert_eq!(
                rules(&model, &parameters),
                [GuardRule::TrapWeights],
                "{kind} {traps} {scale}"
            );
        }
    }
    // Halves drawn one by one: nothing is paired, but every row is balanced and leans to one side.
    let model = build(KINDS[1], [1, 28, 28], 10);
    let (weights, rows, columns, _) = linear(model.layout(), 64);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut parameters = model.initial_parameters(&mut rng);
    for row in parameters[weights..][..rows * columns].chunks_exact_mut(columns) {
        row.shuffle(&mut rng);
        for (place, value) in row.iter_mut().enumerate() {
            *value = if place % 2 == 0 {
                -value.abs()
            } else {
                0.95 * value.abs()
            };
        }
        row.shuffle(&mut rng);
    }
    assert_eq!(rules(&model, &parameters), [GuardRule::TrapWeights]);
}

#[test]
fn fishing_heads_are_found() {
    for (kind, classes) in [(KINDS[4], 10), (KINDS[0], 100), (KINDS[1], 3)] {
        let model = build(kind, [1, 28, 28], classes);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let plain = model.initial_parameters(&mut rng);
        let tensors = model.layout().tensors();
        let [.., weight, bias] = tensors else {
            panic!("no head")
        };
        let columns = weight.shape[1];
        // As published: of all classes but one the weights are zero and the biases 1000.
        let mut parameters = plain.clone();
        for class in (0..classes).filter(|class| *class != 1) {
            parameters[weight.offset + class * columns..][..columns].fill(0.0);
            parameters[bias.offset + class] = 1000.0;
        }
        assert_eq!(rules(&model, &parameters), [GuardRule::Fishing], "{kind}");
        // One class' row scaled far beyond the others.
        let mut parameters = plain.clone();
        for value in &mut parameters[weight.offset + columns..][..columns] {
            *value *= 1000.0;
        }
        assert_eq!(rules(&model, &parameters), [GuardRule::Fishing], "{kind}");
        let mut parameters = plain;
        parameters[0] = -1e12;
        assert!(rules(&model, &parameters).contains(&GuardRule::Absurd));
    }
}

#[test]
fn a_client_refuses_warns_or_does_not_look() {
    let model = build(KINDS[1], [1, 28, 28], 10);
    let layout = LayoutDigest::of(model.layout());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut parameters = model.initial_parameters(&mut rng);
    parameters[9] = 1e20;
    let call = |round| {
        ServerMessage::Train(TrainRequest {
            round,
            layout,
            plan: TrainConfig::default().plan(round),
            global: parameters.clone().into(),
            secure: None,
        })
    };
    for mode in [GuardMode::Refuse, GuardMode::Warn, GuardMode::Off] {
        let mut client = Client::new(layout, parameters.len(), 5);
        client.use_guard(Guard::new(GuardConfig { mode }, model.layout()));
        let action = client.receive(call(1), Duration::ZERO);
        let findings = client.take_findings();
        assert_eq!(findings.len(), usize::from(mode != GuardMode::Off));
        assert!(client.take_findings().is_empty());
        match (mode, action) {
            (GuardMode::Refuse, ClientAction::Send(ClientMessage::Failed { round: 1, reason })) => {
                assert!(
                    reason.contains("guard") && reason.contains("absurd"),
                    "{reason}"
                );
                assert!(reason.contains("fc1.weight"), "{reason}");
                // Asked again, it does not look again and does not train.
                let again = client.receive(call(1), Duration::ZERO);
                assert_eq!(again, ClientAction::Repeat { round: 1 });
            }
            (GuardMode::Warn | GuardMode::Off, ClientAction::Train(_)) => {}
            (mode, action) => panic!("{mode:?} {action:?}"),
        }
    }
}
