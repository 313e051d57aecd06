//! The guard of the clients over the malicious models of this crate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use cloister_data::DataConfig;
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_protocol::guard::{GuardRule, inspect};
use cloister_redteam::inversion::malicious::{Imprint, Traps, plant_imprint, plant_traps};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const HIDDEN: [usize; 3] = [16, 64, 256];

fn mlp(hidden: usize) -> Model {
    let config = format!(r#"{{ "kind": "mlp", "hidden": [{hidden}, 32] }}"#);
    let config: ModelConfig = serde_json::from_str(&config).unwrap();
    let input = InputShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    Model::build(&config, input, 10).unwrap()
}

fn rules(model: &Model, parameters: &[f32]) -> Vec<GuardRule> {
    let found = inspect(model.layout(), parameters).into_iter();
    found.map(|finding| finding.rule).collect()
}

#[test]
fn planted_imprints_are_seen() {
    let data = cloister_data::load(&DataConfig::bundled("digits"), 1).unwrap();
    let population: Vec<f32> = (0..500)
        .flat_map(|row| data.train.row(row).to_vec())
        .collect();
    for hidden in HIDDEN {
        let model = mlp(hidden);
        let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(rules(&model, &parameters), []);
        plant_imprint(&model, &mut parameters, &population, Imprint::default()).unwrap();
        assert_eq!(rules(&model, &parameters), [GuardRule::Imprint], "{hidden}");
    }
}

#[test]
fn planted_trap_weights_are_seen() {
    for hidden in HIDDEN {
        let model = mlp(hidden);
        for scale in [0.95, 0.97, 0.999] {
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let mut parameters = model.initial_parameters(&mut rng);
            let traps = Traps {
                scale,
                ..Traps::default()
            };
            plant_traps(&model, &mut parameters, traps, &mut rng).unwrap();
            assert_eq!(
                rules(&model, &parameters),
                [GuardRule::TrapWeights],
                "{hidden} {scale}"
            );
        }
    }
}
