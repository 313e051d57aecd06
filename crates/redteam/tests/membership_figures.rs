//! Larger figures of membership inference, for the record: run with `--ignored --nocapture` and CLOISTER_DATA set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

use cloister_data::DataConfig;
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_protocol::{Learner, ModelLearner, Scratch, TrainConfig, TrainPlan};
use cloister_redteam::membership::shadow::{self, ShadowPlan, Split};
use cloister_redteam::membership::{Observations, Pool, Query, Rmia, Roc, Signals};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Members, and non-members.
const EACH: usize = 1500;

/// An overfit network leaks on real images (AUC above 0.6), and shadows see more than the loss does.
#[test]
#[ignore = "a minute or more"]
fn networks_that_overfit_images_leak() {
    let Some(folder) = std::env::var_os("CLOISTER_DATA") else {
        eprintln!("skipped: CLOISTER_DATA is not set");
        return;
    };
    for (set, config, epochs, rate) in [
        (
            "fashion-mnist-20k",
            r#"{"kind": "mlp", "hidden": [128]}"#,
            60,
            0.1,
        ),
        (
            "cifar10-subset",
            r#"{"kind": "lenet5", "activation": "relu", "pooling": "max"}"#,
            30,
            0.05,
        ),
    ] {
        let data = DataConfig::at(Path::new(&folder).join(set));
        let data = cloister_data::load(&data, 1).unwrap().train;
        let shape = data.shape();
        let input = InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let config: ModelConfig = serde_json::from_str(config).unwrap();
        let model = Model::build(&config, input, data.classes().len()).unwrap();
        let train = TrainConfig {
            batch_size: 32,
            learning_rate: rate,
            ..TrainConfig::default()
        };
        let plan = TrainPlan {
            epochs,
            ..train.plan(1)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut order: Vec<u32> = (0..data.len() as u32).collect();
        order.shuffle(&mut rng);
        let (members, rest) = order.split_at(EACH);
        let pool = Pool::join(&data, members, &data, &rest[..EACH], &[]).unwrap();
        let mut target = model.initial_parameters(&mut rng);
        let learner = ModelLearner::new(&model, &data, members, Scratch::default());
        let update = learner.unwrap().train(&target, &plan, &mut rng).unwrap();
        for (parameter, step) in target.iter_mut().zip(update.values) {
            *parameter += step;
        }
        let shadows = ShadowPlan {
            model: &model,
            plan: &plan,
            epochs,
            shadows: 8,
            split: Split::Half,
        };
        let rows: Vec<u32> = (0..pool.candidates() as u32).collect();
        let shadows = shadow::train(&shadows, pool.data(), &rows, 2, &mut rng).unwrap();
        let queries = Query::of(shape);
        let references = shadows
            .iter()
            .map(|shadow| shadow.answer(&model, pool.data(), queries, 2).unwrap())
            .collect();
        let ask = |query: &Query| Signals::of(&model, &target, pool.data(), *query, 2).unwrap();
        let answers = queries.iter().map(ask).collect();
        let seen = Observations::new(answers, references, pool.candidates()).unwrap();
        for (name, scores) in [
            ("gap", seen.gap()),
            ("Yeom", seen.yeom()),
            ("Attack-R", seen.difficulty().unwrap()),
            ("LiRA online", seen.lira_online().unwrap()),
            ("LiRA offline", seen.lira_offline().unwrap()),
            ("RMIA", seen.rmia(&Rmia::default()).unwrap()),
        ] {
            let (members, others) = pool.split(&scores).unwrap();
            let roc = Roc::new(members, others, 0.95).unwrap();
            let tpr = roc.tpr_1.as_ref().unwrap();
            eprintln!(
                "{set} {name}: AUC {:.3} [{:.3}, {:.3}], balanced {:.3}, TPR at 1 % {:.3} [{:.3}, {:.3}], {:?}",
                roc.auc.value,
                roc.auc.low,
                roc.auc.high,
                roc.balanced_accuracy,
                tpr.tpr.value,
                tpr.tpr.low,
                tpr.tpr.high,
                roc.verdict(None)
            );
            assert!(roc.auc.low > 0.5, "{set} {name}");
        }
    }
}
