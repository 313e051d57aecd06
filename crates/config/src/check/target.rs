//! `data.target`: what answers with a number goes together, and what needs classes does not go with it.

use cloister_nn::{LossConfig, ModelConfig};

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    /// A model and a loss of the data's kind, and nothing beside them that counts classes.
    pub(super) fn target(&mut self, experiment: &Experiment) {
        let (model, loss) = (&experiment.model, experiment.model.loss());
        if experiment.data.target.is_none() {
            let wants = "answers with a number: name the column to be predicted in data.target";
            if matches!(model, ModelConfig::Linear { .. }) {
                self.refuse("model.kind", format!("'linear' {wants}"));
            } else if matches!(loss, LossConfig::Mse | LossConfig::Mae) {
                self.refuse("model.loss", format!("'{}' {wants}", name(loss)));
            }
            return;
        }
        let why = "but data.target is a number";
        if !matches!(model, ModelConfig::Linear { .. } | ModelConfig::Mlp { .. }) {
            let kind = model.kind();
            let reason = format!("'{kind}' tells classes apart, {why}; take 'linear' or 'mlp'");
            self.refuse("model.kind", reason);
        } else if matches!(loss, LossConfig::Softmax | LossConfig::Binary) {
            let reason = format!(
                "'{}' tells classes apart, {why}; take 'mse' or 'mae'",
                name(loss)
            );
            self.refuse("model.loss", reason);
        }
        if let Some(attack) = &experiment.attack
            && attack.kind.needs_classes()
        {
            let reason = format!("'{}' needs classes, {why}", attack.kind.name());
            self.refuse("attack.kind", reason);
        }
        if experiment.evaluate.at_sites {
            let reason = format!("clients count scores of classes, {why}");
            self.refuse("evaluate.at_sites", reason);
        }
    }
}

fn name(loss: LossConfig) -> &'static str {
    match loss {
        LossConfig::Auto => "auto",
        LossConfig::Softmax => "softmax",
        LossConfig::Binary => "binary",
        LossConfig::Mse => "mse",
        LossConfig::Mae => "mae",
    }
}
