//! Reconstruction attacks work where nothing defends, say so where something does, and repeat to the bit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod inversion_support;

use cloister_nn::{InputShape, Model};
use cloister_protocol::{LocalOptimizer, TrainConfig, TrainPlan};
use cloister_redteam::inversion::floor::{self, Band};
use cloister_redteam::inversion::{
    Attack, Evidence, InputSpace, InversionError, Labels, Lbfgs, Method, NotAttackable,
    Observation, invert, labels,
};
use inversion_support::{MNIST_SHAPE, Victim, cosine, digits, model};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const MLP: &str = r#"{"kind": "mlp", "hidden": [256, 256]}"#;

/// The self-test of spec 5.7: without a defence the cosine attack reaches 35 dB on the LeNet of DLG.
#[test]
fn an_undefended_lenet_gives_its_image_away() {
    let (truth, labels) = digits().pick(&[11]);
    let lenet = model(r#"{"kind": "dlg-lenet"}"#, MNIST_SHAPE);
    let victim = Victim::new(lenet, truth.clone(), labels, 7);
    // The label is found as well.
    let mut attack = cosine(400, 1e-6, &[]);
    attack.method = Method::Lbfgs(Lbfgs::default());
    attack.labels = Labels::Distinct;
    let found = victim.attack(&attack, 1, 7);
    assert_eq!(found.labels, victim.labels);
    let scores = victim.scores(&found);
    assert!(scores[0].psnr >= 35.0, "{scores:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let floors = floor::floors(&truth, &victim.labels, MNIST_SHAPE, None, None, &mut rng).unwrap();
    let floor = floor::best(&floors)[0];
    assert_eq!(Band::of(scores[0].psnr, scores[0].ssim, floor), Band::Exact);
    assert!(found.curve.first().unwrap().1 > 10.0 * found.curve.last().unwrap().1);
}

/// The closed form on a perceptron: exact for one image, most of a small batch, and what is missing is blank.
#[test]
fn the_closed_form_reads_a_perceptron() {
    let images = digits();
    let attack = Attack::preset("closed-form").unwrap();
    let (truth, labels) = images.pick(&[5]);
    let victim = Victim::new(model(MLP, MNIST_SHAPE), truth, labels, 7);
    let found = victim.attack(&attack, 1, 1);
    assert!(victim.scores(&found)[0].psnr >= 100.0);
    assert_eq!(found.labels, victim.labels);

    let rows: Vec<usize> = (0..4).map(|i| i * 3).collect();
    let (truth, labels) = images.pick(&rows);
    let victim = Victim::new(model(MLP, MNIST_SHAPE), truth, labels, 7);
    let found = victim.attack(&attack, 1, 1);
    let scores = victim.scores(&found);
    assert!(scores.iter().all(|score| score.psnr >= 80.0), "{scores:?}");

    let mut ordered = victim.labels.clone();
    ordered.sort_unstable();
    assert_eq!(found.labels, ordered);
}

/// DLG finds image and label together, by L-BFGS from several starts.
#[test]
fn dlg_finds_image_and_label() {
    let (truth, labels) = digits().pick(&[20]);
    let lenet = model(r#"{"kind": "dlg-lenet"}"#, MNIST_SHAPE);
    let victim = Victim::new(lenet, truth, labels, 3);
    let mut attack = Attack::preset("dlg").unwrap();
    attack.iterations = 400;
    attack.restarts = 2;
    let found = victim.attack(&attack, 2, 5);
    let scores = victim.scores(&found);
    assert_eq!(found.labels, victim.labels);
    assert!(scores[0].psnr >= 35.0, "{scores:?}, {:?}", found.objectives);
    let lowest = found
        .objectives
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    assert_eq!(found.objective, lowest);
    // The number of threads changes no bit.
    assert_eq!(found, victim.attack(&attack, 1, 5));
}

/// Noise that hides everything brings the attack to the floor, and the same attack on noise alone is a floor.
#[test]
fn noise_brings_the_attack_to_the_floor() {
    let (truth, labels) = digits().pick(&[11]);
    let lenet = model(r#"{"kind": "dlg-lenet"}"#, MNIST_SHAPE);
    let mut victim = Victim::new(lenet, truth.clone(), labels.clone(), 7);
    if let Evidence::Gradient(gradient) = &mut victim.observation.evidence {
        for (index, g) in gradient.iter_mut().enumerate() {
            *g = ((index * 7919 % 1013) as f32 / 506.5 - 1.0) * 10.0;
        }
    }
    let attack = cosine(100, 1e-4, &labels);
    let found = victim.attack(&attack, 1, 7);
    let score = &victim.scores(&found)[0];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let floors = floor::floors(&truth, &labels, MNIST_SHAPE, None, None, &mut rng).unwrap();
    let band = Band::of(score.psnr, score.ssim, floor::best(&floors)[0]);
    assert_eq!(band, Band::NoneFound, "{score:?}");
}

fn small() -> Model {
    let shape = InputShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    model(
        r#"{"kind": "mlp", "hidden": [48], "activation": "sigmoid"}"#,
        shape,
    )
}

/// What a client with these images sends under a plan of plain SGD, in the order of the images.
fn trained(
    model: &Model,
    start: &[f32],
    images: &[f32],
    labels: &[u32],
    plan: &TrainPlan,
) -> Vec<f32> {
    let n = labels.len();
    let batch = plan.batch_size as usize;
    let mut parameters = start.to_vec();
    let mut gradient = vec![0.0; start.len()];
    let mut workspace = model.workspace(n);
    for _ in 0..plan.epochs {
        for (images, labels) in images.chunks(64 * batch).zip(labels.chunks(batch)) {
            model.gradient(&parameters, images, labels, &mut workspace, &mut gradient);
            for (parameter, g) in parameters.iter_mut().zip(&gradient) {
                *parameter -= plan.learning_rate * g;
            }
        }
    }
    parameters.iter().zip(start).map(|(a, b)| a - b).collect()
}

/// Through four local steps of federated averaging: the attack that unrolls them finds the images, the one that takes the
/// update for a gradient finds them less well.
#[test]
fn federated_averaging_is_unrolled() {
    let images = digits();
    let (large, labels) = images.pick(&[2, 9]);
    let pixels: Vec<f32> = (0..2 * 64)
        .map(|i| large[i / 64 * 784 + (i % 64 / 8 * 3 + 3) * 28 + i % 8 * 3 + 3])
        .collect();
    let model = small();
    let plan = TrainConfig {
        epochs: 2,
        batch_size: 1,
        learning_rate: 1.0,
        ..TrainConfig::default()
    }
    .plan(1);
    let start = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(3));
    let update = trained(&model, &start, &pixels, &labels, &plan);
    let space = InputSpace::unit(model.input()).unwrap();
    let observation =
        Observation::of_update(&model, start.clone(), &update, &plan, 2, space.clone()).unwrap();
    let mut attack = cosine(600, 0.0, &labels);
    attack.distance = cloister_redteam::inversion::Distance::Cosine;
    let victim = |observation| Victim {
        model: small(),
        truth: pixels.clone(),
        labels: labels.clone(),
        observation,
    };
    let unrolled = victim(observation.clone()).decibels(&attack, 1);
    let taken = Observation::of_gradient(&model, start, observation.mean_gradient(), 2, space);
    let naive = victim(taken.unwrap()).decibels(&attack, 1);
    assert!(
        unrolled >= 35.0 && unrolled >= naive + 3.0,
        "{unrolled} dB, naive {naive} dB"
    );
    // Labels by counting, from predictions measured along the way.
    let mut counted = attack.clone();
    counted.labels = Labels::Predictions;
    counted.iterations = 1;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let found = invert(&model, &observation, &counted, 1, &mut rng).unwrap();
    assert_eq!(labels::recovered(&labels, &found.labels), 1.0);
}

/// One step is a gradient whatever the examples, and what this suite does not attack is said, with the reason.
#[test]
fn updates_are_read_by_their_plan() {
    let model = small();
    let start = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(3));
    let update: Vec<f32> = (0..start.len()).map(|i| (i as f32).sin()).collect();
    let space = InputSpace::unit(model.input()).unwrap();
    let read = |config: TrainConfig, examples: usize| {
        let plan = config.plan(1);
        Observation::of_update(
            &model,
            start.clone(),
            &update,
            &plan,
            examples,
            space.clone(),
        )
    };
    let base = TrainConfig {
        batch_size: 0,
        learning_rate: 0.5,
        ..TrainConfig::default()
    };
    let one = read(base.clone(), 9).unwrap();
    assert_eq!(one.examples, 9);
    assert!(matches!(&one.evidence, Evidence::Gradient(g) if g[1] == -2.0 * update[1]));
    // A limit of one step of two examples hides the other seven.
    let limited = TrainConfig {
        batch_size: 2,
        max_steps: 1,
        ..base.clone()
    };
    assert_eq!(read(limited, 9).unwrap().examples, 2);
    let several = TrainConfig {
        batch_size: 4,
        epochs: 2,
        ..base.clone()
    };
    let Evidence::Update { steps, .. } = read(several, 9).unwrap().evidence else {
        panic!("several steps");
    };
    assert_eq!(steps, [0..4, 4..8, 8..9, 0..4, 4..8, 8..9]);
    let refused = |config: TrainConfig| match read(config, 9) {
        Err(InversionError::NotAttackable(why)) => why,
        other => panic!("{other:?}"),
    };
    let adam = TrainConfig {
        optimizer: LocalOptimizer::Adam,
        ..base.clone()
    };
    assert_eq!(
        refused(adam),
        NotAttackable::Optimizer { optimizer: "adam" }
    );
    let long = TrainConfig {
        epochs: 11,
        ..base.clone()
    };
    assert_eq!(refused(long), NotAttackable::Steps { steps: 11 });
    let past = TrainConfig {
        client_momentum: 0.9,
        ..base.clone()
    };
    assert!(matches!(
        refused(past),
        NotAttackable::ClientMomentum { .. }
    ));
    let zero = vec![0.0; start.len()];
    let plan = base.plan(1);
    assert!(Observation::of_update(&model, start.clone(), &zero, &plan, 1, space.clone()).is_err());
    let mut nan = update.clone();
    nan[3] = f32::NAN;
    assert!(Observation::of_update(&model, start.clone(), &nan, &plan, 1, space.clone()).is_err());
    assert!(
        Observation::of_update(&model, start.clone(), &update, &plan, 0, space.clone()).is_err()
    );
    assert!(Observation::of_update(&model, start, &update[1..], &plan, 1, space).is_err());
}

/// A client that prunes is attacked on what it sent; settings that fit nothing are errors.
#[test]
fn settings_are_checked() {
    let (truth, labels) = digits().pick(&[1]);
    let victim = Victim::new(model(MLP, MNIST_SHAPE), truth, labels, 7);
    let try_with = |change: &dyn Fn(&mut Attack)| {
        let mut attack = cosine(1, 0.0, &victim.labels);
        change(&mut attack);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        invert(&victim.model, &victim.observation, &attack, 1, &mut rng).map(|_| ())
    };
    assert_eq!(try_with(&|_| {}), Ok(()));
    assert!(try_with(&|a| a.restarts = 0).is_err());
    assert!(try_with(&|a| a.iterations = 0).is_err());
    assert!(try_with(&|a| a.variation.weight = f32::NAN).is_err());
    assert!(try_with(&|a| a.adaptation.quantum = -1.0).is_err());
    assert!(try_with(&|a| a.labels = Labels::Given(vec![10])).is_err());
    assert!(try_with(&|a| a.labels = Labels::Given(vec![1, 2])).is_err());
    assert!(try_with(&|a| a.adaptation.exclude = vec!["conv9".to_owned()]).is_err());
    assert!(try_with(&|a| a.adaptation.exclude = vec!["fc".to_owned()]).is_err());
    assert!(
        Attack::preset("best")
            .unwrap_err()
            .to_string()
            .contains("inverting-gradients")
    );
    for (name, _) in cloister_redteam::inversion::PRESETS {
        let attack = Attack::preset(name).unwrap();
        let text = serde_json::to_string(&attack).unwrap();
        assert_eq!(serde_json::from_str::<Attack>(&text).unwrap(), attack);
    }
}
