//! `[defence]`: ranges, and what would undo a mechanism's noise or only seem to add to it.

use cloister_nn::ModelConfig;
use cloister_privacy::Mechanism;
use cloister_protocol::Coding;
use cloister_protocol::defence::DefenceConfig;

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    pub(super) fn defence(&mut self, defence: &DefenceConfig, experiment: &Experiment) {
        if let Some(norm) = defence.clip_norm {
            self.positive("defence.clip_norm", norm);
        }
        if let Some(noise) = defence.noise {
            self.positive("defence.noise", noise);
        }
        let shares = [
            ("defence.prune", defence.prune),
            ("defence.soteria", defence.soteria),
        ];
        for (key, share) in shares {
            if let Some(share) = share {
                let fits = share > 0.0 && share < 1.0;
                self.number(key, share, fits, "above 0 and below 1");
            }
        }
        if let Some(bits) = defence.quantise_bits.filter(|bits| !(2..=8).contains(bits)) {
            self.refuse(
                "defence.quantise_bits",
                format!("must be from 2 to 8, found {bits}"),
            );
        }
        if defence.soteria.is_some() && matches!(experiment.model, ModelConfig::Logistic { .. }) {
            self.refuse(
                "defence.soteria",
                "a logistic model has no units before its last layer",
            );
        }
        let names = defence.names();
        if names.is_empty() {
            self.warn("defence", "names no defence: nothing is done");
        } else {
            self.warn(
                "defence",
                format!(
                    "{}: NOT PRIVATE, none of it bounds what an update reveals",
                    names.join(", ")
                ),
            );
        }
        self.defence_and_coding(defence, experiment);
        if let Some(privacy) = &experiment.privacy {
            self.defence_and_noise(defence, privacy.mechanism);
        }
    }

    /// Two ways to make an update smaller.
    fn defence_and_coding(&mut self, defence: &DefenceConfig, experiment: &Experiment) {
        let coding = experiment.communication.as_ref().map(|one| one.update);
        if defence.prune.is_some() && coding == Some(Coding::TopK) {
            self.refuse(
                "defence.prune",
                "communication.update = \"top-k\" sends the largest coordinates only, and would send later what was pruned",
            );
        }
        if defence.quantise_bits.is_some() && coding == Some(Coding::Int8) {
            self.warn(
                "defence.quantise_bits",
                "communication.update = \"int8\" rounds again, to steps of its own",
            );
        }
    }

    /// What is done to an update beside a mechanism of `[privacy]`.
    fn defence_and_noise(&mut self, defence: &DefenceConfig, mechanism: Mechanism) {
        let name = mechanism.name();
        if defence.noise.is_some() {
            self.refuse(
                "defence.noise",
                format!("{name} adds noise that is accounted for; more of it, unaccounted, would only blur what it costs"),
            );
        }
        if defence.clip_norm.is_some() {
            self.refuse(
                "defence.clip_norm",
                format!("privacy.clip is the longest update under {name}; after its noise a second clip would cut the noise"),
            );
        }
        let is_noisy = matches!(mechanism, Mechanism::DpSgd | Mechanism::LocalGaussian);
        let after = [
            ("defence.prune", defence.prune.is_some()),
            ("defence.quantise_bits", defence.quantise_bits.is_some()),
        ];
        for (key, _) in after.into_iter().filter(|(_, is_on)| is_noisy && *is_on) {
            self.refuse(
                key,
                format!("under {name} the update is noise and signal together by then; it would keep the largest noise"),
            );
        }
        if mechanism == Mechanism::DpSgd && defence.soteria.is_some() {
            self.refuse(
                "defence.soteria",
                "dp-sgd clips each example's gradient and hides it with noise, also in the units that this withholds",
            );
        }
    }
}
