//! `[attack]`: who is malicious, and from when.

use cloister_privacy::Mechanism;
use cloister_protocol::FederationConfig;
use cloister_redteam::{AttackConfig, AttackKind};

use super::Checks;
use crate::experiment::Experiment;

impl Checks {
    pub(super) fn attack(&mut self, attack: &AttackConfig, federation: &FederationConfig) {
        match (attack.clients, attack.fraction) {
            (Some(_), Some(_)) => self.refuse(
                "attack.fraction",
                "attack.clients says already how many clients are malicious",
            ),
            (None, None) => self.refuse(
                "attack.clients",
                "how many clients are malicious? give attack.clients or attack.fraction",
            ),
            (None, Some(fraction)) => self.chance("attack.fraction", fraction),
            (Some(count), None) => {
                let among = federation.clients.filter(|_| !attack.beside);
                if let Some(clients) = among.filter(|clients| count > *clients) {
                    self.refuse(
                        "attack.clients",
                        format!("{count} malicious clients among {clients}"),
                    );
                }
            }
        }
        if attack.beside && attack.clients.is_none() {
            self.refuse(
                "attack.beside",
                "needs attack.clients: a share of which clients would it be?",
            );
        }
        if attack.start_round == 0 {
            self.refuse("attack.start_round", "must be at least 1, found 0");
        } else if attack.start_round > federation.rounds {
            self.warn(
                "attack.start_round",
                format!(
                    "the attack begins after the last of {} rounds",
                    federation.rounds
                ),
            );
        }
        if let Some(seed) = attack.seed.filter(|seed| i64::try_from(*seed).is_err()) {
            self.refuse(
                "attack.seed",
                format!("must be at most {}, found {seed}", i64::MAX),
            );
        }
        if let Err((key, reason)) = attack.check() {
            self.refuse(&format!("attack.{key}"), reason);
        }
    }
    /// Canaries are judged by what the server adds to them, and must be able to leave a trace.
    pub(super) fn canaries(&mut self, attack: &AttackConfig, experiment: &Experiment) {
        if attack.kind != AttackKind::Canary {
            return;
        }
        let mechanism = experiment.privacy.as_ref().map(|privacy| privacy.mechanism);
        match mechanism {
            Some(Mechanism::LocalGaussian) => self.refuse(
                "attack.kind",
                "canaries send their direction without noise of their own: they say nothing about local-gaussian",
            ),
            Some(Mechanism::DpSgd) => self.warn(
                "attack.kind",
                "canary clients audit privacy by client: the promise of dp-sgd is one by example",
            ),
            _ => {}
        }
    }
}
