//! Random experiments that predict a number.

use cloister_config::Experiment;
use cloister_data::{ColumnRef, PartitionConfig};
use cloister_nn::{LossConfig, ModelConfig};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// What makes an experiment predict a number, if it does: the column, the loss, and whether a linear model does.
pub(crate) type Numbers = Option<(ColumnRef, LossConfig, bool)>;

pub(crate) fn numbers() -> impl Strategy<Value = Numbers> {
    let column = prop_oneof![
        (0usize..1000).prop_map(ColumnRef::Index),
        "[a-z]{1,8}".prop_map(ColumnRef::Name),
    ];
    let loss = select(vec![LossConfig::Auto, LossConfig::Mse, LossConfig::Mae]);
    option::weighted(0.2, (column, loss, any::<bool>()))
}

/// Puts a number in the place of the classes, and leaves out what needs them.
pub(crate) fn predicting(mut experiment: Experiment, numbers: Numbers) -> Experiment {
    let Some((column, wanted, linear)) = numbers else {
        return experiment;
    };
    let data = &mut experiment.data;
    data.target = Some(column);
    data.label = None;
    data.positive.clear();
    data.classes.clear();
    data.prepare.class_weights = None;
    data.prepare.resample = None;
    data.partition = PartitionConfig::Natural { minimum: 3 };
    experiment.model = match (linear, experiment.model) {
        (
            false,
            ModelConfig::Mlp {
                hidden,
                activation,
                bottleneck,
                ..
            },
        ) => ModelConfig::Mlp {
            hidden,
            activation,
            loss: wanted,
            bottleneck,
        },
        _ => ModelConfig::Linear { loss: wanted },
    };
    experiment.attack = experiment
        .attack
        .filter(|attack| !attack.kind.needs_classes());
    experiment.evaluate.at_sites = false;
    experiment
}
