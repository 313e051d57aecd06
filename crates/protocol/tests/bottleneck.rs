//! Local training of a model that draws in every pass: where its noise comes from, and that it repeats.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use cloister_data::{Dataset, ExampleShape};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_privacy::noise::NoiseSource;
use cloister_protocol::{
    DpSgd, Learner, ModelLearner, Purpose, Scratch, Streams, TrainConfig, Update,
};

/// More than pass through the network at once, so that a batch goes in chunks.
const EXAMPLES: usize = 300;

fn points() -> Dataset {
    let features = (0..EXAMPLES * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let labels = (0..EXAMPLES).map(|i| (i % 2) as u32).collect();
    let classes = vec!["a".to_owned(), "b".to_owned()];
    let shape = ExampleShape::flat(3);
    Dataset::new("points", shape, features, labels, classes, None).unwrap()
}

fn model(bottleneck: &str) -> Model {
    let input = InputShape {
        channels: 1,
        height: 1,
        width: 3,
    };
    let text = format!(r#"{{"kind": "mlp", "hidden": [12, 12]{bottleneck}}}"#);
    let config: ModelConfig = serde_json::from_str(&text).unwrap();
    Model::build(&config, input, 2).unwrap()
}

const PRECODE: &str = r#", "bottleneck": {"kind": "precode", "latent": 2, "beta": 0.1}"#;

struct Site {
    model: Model,
    data: Dataset,
    rows: Vec<u32>,
    global: Vec<f32>,
}

impl Site {
    fn new(bottleneck: &str) -> Self {
        let model = model(bottleneck);
        let mut rng = Streams::new(1).stream(Purpose::Initialise, 0, 0);
        Self {
            global: model.initial_parameters(&mut rng),
            model,
            data: points(),
            rows: (0..EXAMPLES as u32).collect(),
        }
    }

    fn learner(&self) -> ModelLearner<'_> {
        ModelLearner::new(&self.model, &self.data, &self.rows, Scratch::default()).unwrap()
    }

    fn train(&self, mut learner: ModelLearner<'_>, batch_size: u32, seed: u64) -> Update {
        let train = TrainConfig {
            batch_size,
            epochs: 2,
            learning_rate: 0.1,
            ..TrainConfig::default()
        };
        let mut rng = Streams::new(seed).stream(Purpose::Train, 1, 0);
        learner
            .train(&self.global, &train.plan(1), &mut rng)
            .unwrap()
    }
}

fn source(seed: u8) -> Option<NoiseSource> {
    Some(NoiseSource::seeded([seed; 32]))
}

#[test]
fn noise_follows_the_seed_of_the_training() {
    let site = Site::new(PRECODE);
    for batch_size in [32, 0] {
        let once = site.train(site.learner(), batch_size, 1);
        assert_eq!(once, site.train(site.learner(), batch_size, 1));
        assert_ne!(once, site.train(site.learner(), batch_size, 2));
        assert!(once.values.iter().all(|value| value.is_finite()));
        assert!(once.loss.unwrap() > 0.0);
    }
}

/// With a source of its own the site's update is not a function of the seed that the server knows; of a model that draws
/// nothing it still is.
#[test]
fn a_source_of_its_own_replaces_the_seed() {
    let site = Site::new(PRECODE);
    let with = |seed| site.train(site.learner().drawing_from(source(seed)), 32, 1);
    let seeded = site.train(site.learner(), 32, 1);
    assert_eq!(with(1), with(1));
    assert_ne!(with(1).values, with(2).values);
    assert_ne!(with(1).values, seeded.values);

    let plain = Site::new("");
    let seeded = plain.train(plain.learner(), 32, 1);
    let other = plain.train(plain.learner().drawing_from(source(1)), 32, 1);
    assert_eq!(seeded, other);
}

#[test]
fn examples_are_hidden_behind_a_bottleneck_too() {
    let site = Site::new(PRECODE);
    let train = |noise, seed| {
        let dp_sgd = DpSgd::new(0.1, None, 1.0, 0.5, 30.0, NoiseSource::seeded([noise; 32]));
        let learner = site.learner().hiding_examples(Some(dp_sgd.unwrap()));
        site.train(learner, 30, seed)
    };
    let once = train(1, 1);
    assert_eq!(once, train(1, 1));
    assert_eq!(once.loss, None);
    assert!(once.values.iter().all(|value| value.is_finite()));
    assert_ne!(once.values, train(2, 1).values);
    // The bottleneck draws from the training's stream, whatever hides the examples.
    assert_ne!(once.values, train(1, 2).values);
}

/// Soteria looks at the representation once more, in a pass that draws as well.
#[test]
fn soteria_draws_too() {
    let site = Site::new(PRECODE);
    let train = || site.train(site.learner().withholding(Some(0.5)), 32, 1);
    assert_eq!(train(), train());
    assert_ne!(train().values, site.train(site.learner(), 32, 1).values);
}

/// Evaluation draws, from the streams that it is given; of a model that draws nothing they do not matter.
#[test]
fn evaluation_follows_its_streams() {
    let evaluate = |site: &Site, seed| {
        let mut learner = site.learner().evaluating_with(Streams::new(seed));
        learner.evaluate(&site.global).unwrap()
    };
    let site = Site::new(PRECODE);
    assert_eq!(evaluate(&site, 1), evaluate(&site, 1));
    assert_ne!(
        evaluate(&site, 1).loss().to_bits(),
        evaluate(&site, 2).loss().to_bits()
    );
    let plain = Site::new("");
    assert_eq!(evaluate(&plain, 1), evaluate(&plain, 2));
}
