//! `[privacy]`: combinations that would break a sensitivity or an accounting.

use cloister_privacy::{Mechanism, Neighbouring, NoiseOrigin, PrivacyConfig};
use cloister_protocol::Sampling;
use cloister_robust::Weights;

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    pub(super) fn privacy(&mut self, privacy: &PrivacyConfig, experiment: &Experiment) {
        if let Err((key, reason)) = privacy.check() {
            self.refuse(&format!("privacy.{key}"), reason);
            return;
        }
        match privacy.mechanism {
            Mechanism::DpSgd => self.example_level(privacy, experiment),
            Mechanism::LocalGaussian => self.local(privacy),
            Mechanism::CentralGaussian
            | Mechanism::CorrelatedGaussian
            | Mechanism::DistributedDiscreteGaussian => self.noisy_sum(privacy, experiment),
        }
        if privacy.mechanism == Mechanism::DistributedDiscreteGaussian {
            self.distributed(experiment);
        }
        if privacy.noise == NoiseOrigin::Seeded {
            self.warn(
                "privacy.noise",
                "noise from the seed can be subtracted again: the run is NOT PRIVATE, its epsilon is what secret noise \
                 would cost",
            );
        }
        if experiment.federation.over_selection > 0.0 {
            self.refuse(
                "federation.over_selection",
                "under [privacy] the sampling decides who counts, not who is quick",
            );
        }
    }

    /// Examples are the unit, and the clients' own noise protects them.
    fn example_level(&mut self, privacy: &PrivacyConfig, experiment: &Experiment) {
        let batch = experiment.train.batch_size;
        if batch == 0 {
            self.refuse(
                "train.batch_size",
                "dp-sgd divides by the expected batch, which must be public: give a size",
            );
        }
        if let Some(most) = privacy.max_batch.filter(|most| *most < batch) {
            self.refuse(
                "privacy.max_batch",
                format!("{most} is less than the expected batch of {batch}"),
            );
        }
        if experiment.data.prepare.resample.is_some() {
            self.refuse(
                "data.prepare.resample",
                "dp-sgd hides one example, but with repeated or left-out rows one changes what others are there: use \
                 data.prepare.class_weights",
            );
        }
        if privacy.neighbouring == Some(Neighbouring::AddRemove) {
            self.refuse(
                "privacy.neighbouring",
                "a client's number of examples is public here (it sets the sampling rate and the steps): use zero-out or \
                 replace-one",
            );
        }
    }

    /// The noise of one client is too little: only in a secure sum is there enough.
    fn distributed(&mut self, experiment: &Experiment) {
        if experiment.secure_aggregation.is_none() {
            self.refuse(
                "privacy.mechanism",
                "distributed-discrete-gaussian needs [secure_aggregation]: a server that sees single updates sees too little \
                 noise",
            );
        }
        if experiment.federation.sampling == Sampling::Poisson {
            self.refuse(
                "federation.sampling",
                "distributed-discrete-gaussian needs a cohort of known size: each client adds its share of the noise",
            );
        }
    }

    fn local(&mut self, privacy: &PrivacyConfig) {
        if privacy
            .neighbouring
            .is_some_and(|n| n != Neighbouring::ReplaceOne)
        {
            self.refuse(
                "privacy.neighbouring",
                "local-gaussian hides which update a client sent: replace-one",
            );
        }
    }

    /// The server's sum must be bounded in each client, and divided by a public number.
    fn noisy_sum(&mut self, privacy: &PrivacyConfig, experiment: &Experiment) {
        let (aggregation, federation) = (&experiment.aggregation, &experiment.federation);
        let name = privacy.mechanism.name();
        if !aggregation.is_plain_mean() {
            self.refuse(
                "aggregation.rule",
                format!("{name} needs rule = \"mean\": how far one client can move another rule is not bounded"),
            );
        }
        if aggregation.weights == Some(Weights::Examples) {
            self.refuse(
                "aggregation.weights",
                format!("{name} needs equal weights: by examples, one client can move the mean without bound"),
            );
        }
        if privacy.neighbouring == Some(Neighbouring::AddRemove)
            && federation.sampling == Sampling::Fixed
        {
            self.refuse(
                "privacy.neighbouring",
                "a cohort of fixed size says how many clients there are: use zero-out, or federation.sampling = \
                 \"poisson\"",
            );
        }
        match (privacy.mechanism, federation.sampling) {
            (Mechanism::CorrelatedGaussian, Sampling::Poisson) => self.refuse(
                "federation.sampling",
                "correlated-gaussian lets groups of clients take turns: leave sampling and fraction out",
            ),
            (Mechanism::CorrelatedGaussian, Sampling::Fixed) if federation.fraction < 1.0 => self.refuse(
                "federation.fraction",
                "correlated-gaussian lets privacy.separation groups take turns, each whole: leave it out",
            ),
            (Mechanism::CentralGaussian, Sampling::Fixed) if federation.fraction < 1.0 =>
            {
                self.warn(
                    "federation.sampling",
                    "a cohort of fixed size has no tight accounting; with \"poisson\" the same noise costs less",
                );
            }
            _ => {}
        }
    }
}
