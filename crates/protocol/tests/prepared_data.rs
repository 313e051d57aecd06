//! Local training over data that weigh their classes or are changed at random.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cloister_data::{AugmentConfig, DataConfig, Dataset, PrepareConfig, load};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_privacy::noise::NoiseSource;
use cloister_protocol::{
    DpSgd, Learner, ModelLearner, Purpose, Scratch, Streams, TrainConfig, Update,
};

struct Site {
    model: Model,
    data: Dataset,
    global: Vec<f32>,
}

impl Site {
    fn new(data: Dataset) -> Self {
        let shape = data.shape();
        let input = InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let config: ModelConfig = serde_json::from_str(r#"{"kind": "logistic"}"#).unwrap();
        let model = Model::build(&config, input, data.classes().len()).unwrap();
        Self {
            global: vec![0.0; model.layout().len()],
            model,
            data,
        }
    }

    fn train(&self, epochs: u32, batch_size: u32, dp_sgd: Option<DpSgd>) -> Update {
        let train = TrainConfig {
            batch_size,
            epochs,
            learning_rate: 0.5,
            ..TrainConfig::default()
        };
        let rows: Vec<u32> = (0..self.data.len() as u32).collect();
        let learner = ModelLearner::new(&self.model, &self.data, &rows, Scratch::default());
        let mut rng = Streams::new(1).stream(Purpose::Train, 1, 0);
        let mut learner = learner.unwrap().hiding_examples(dp_sgd);
        learner
            .train(&self.global, &train.plan(1), &mut rng)
            .unwrap()
    }

    /// Share of the rows of each class that a trained model finds.
    fn found(&self, update: &Update) -> [f64; 2] {
        let mut workspace = self.model.workspace(1);
        let (mut right, mut all) = ([0.0; 2], [0.0; 2]);
        for (row, label) in self.data.labels().iter().enumerate() {
            let logits = self
                .model
                .logits(&update.values, self.data.row(row), 1, &mut workspace);
            let class = usize::from(logits[0] > 0.0);
            all[*label as usize] += 1.0;
            right[*label as usize] += f64::from(u8::from(class == *label as usize));
        }
        [right[0] / all[0], right[1] / all[1]]
    }
}

/// Heart disease in Switzerland and Long Beach, where few are healthy, with weights of the classes.
fn uneven(weights: Option<Vec<f32>>) -> Dataset {
    let data = load(&DataConfig::bundled("heart-disease"), 1)
        .unwrap()
        .train;
    let sites = data.sites().unwrap();
    let rows = (0..data.len() as u32).filter(|row| sites.of_row[*row as usize] >= 2);
    let data = data.subset(&rows.collect::<Vec<_>>()).unwrap();
    match weights {
        Some(weights) => data.with_class_weights(weights).unwrap(),
        None => data,
    }
}

#[test]
fn a_class_of_more_weight_is_found_more_often() {
    let of = |weights: Option<Vec<f32>>, hidden: bool| {
        let site = Site::new(uneven(weights));
        let source = NoiseSource::seeded([7; 32]);
        let dp_sgd = hidden.then(|| DpSgd::new(0.5, None, 50.0, 0.01, 100.0, source).unwrap());
        site.found(&site.train(20, 32, dp_sgd))
    };
    for hidden in [false, true] {
        let plain = of(None, hidden);
        let weighted = of(Some(vec![5.0, 1.0]), hidden);
        // Class 0 is the rare one.
        assert!(plain[1] > plain[0], "{plain:?}");
        assert!(
            weighted[0] > plain[0] + 0.2,
            "{hidden}: {plain:?} {weighted:?}"
        );
    }
}

/// The config's weights reach the loss.
#[test]
fn weights_of_the_config_reach_the_loss() {
    let of = |weights: &str| {
        let prepare: PrepareConfig = serde_json::from_str(weights).unwrap();
        let config = DataConfig {
            prepare,
            ..DataConfig::bundled("wdbc")
        };
        Site::new(load(&config, 1).unwrap().train).train(1, 0, None)
    };
    let plain = of("{}");
    assert_ne!(plain.values, of(r#"{"class_weights": "balanced"}"#).values);
}

#[test]
fn weights_scale_a_step_of_one_class() {
    let digits = load(&DataConfig::bundled("digits"), 1).unwrap().train;
    let threes: Vec<u32> = (0..digits.len() as u32)
        .filter(|row| digits.labels()[*row as usize] == 3)
        .collect();
    let threes = digits.subset(&threes).unwrap();
    let mut weights = vec![1.0; 10];
    weights[3] = 4.0;
    let plain = Site::new(threes.clone()).train(1, 0, None);
    let weighted = Site::new(threes.with_class_weights(weights).unwrap()).train(1, 0, None);
    for (plain, weighted) in plain.values.iter().zip(&weighted.values) {
        assert!((4.0 * plain - weighted).abs() < 1e-5);
    }
}

#[test]
fn changes_are_drawn_beside_the_batches() {
    let digits = load(&DataConfig::bundled("digits"), 1).unwrap().train;
    let of = |config: Option<AugmentConfig>| {
        Site::new(digits.clone().with_augmentation(config)).train(2, 32, None)
    };
    let plain = of(None);
    // Changes that change nothing leave every bit, so that batches are the same.
    assert_eq!(of(Some(AugmentConfig::default())), plain);
    let turned = || {
        of(Some(AugmentConfig {
            flip: false,
            rotate: 15.0,
            shift: 0.1,
        }))
    };
    assert_eq!(turned(), turned());
    assert_ne!(turned().values, plain.values);
    // Changed examples are harder.
    assert!(turned().loss.unwrap() > plain.loss.unwrap());
}
