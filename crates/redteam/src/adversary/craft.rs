//! What malicious clients send.

use super::Adversary;
use crate::audit::canary;
use crate::config::{AttackKind, Knowledge};
use crate::error::AttackError;
use crate::updates::oracle::Oracle;
use crate::updates::statistics::{Moments, against_mean, alie, alie_default_z, mean};
use crate::updates::{fang, mimic, optimised, simple};
use crate::view::{OwnUpdate, View};

/// The honest updates from which the attackers estimate.
struct Seen<'a> {
    rows: Vec<&'a [f32]>,
    /// Whether these are the other members' updates, not the attackers' own.
    complete: bool,
}

impl<'a> Seen<'a> {
    /// Without an honest member in the cohort, full knowledge is no more than their own.
    fn new(sees: Knowledge, view: &View<'a>, own: &'a [OwnUpdate]) -> Self {
        let complete = sees == Knowledge::All && !view.honest.is_empty();
        let rows = if complete {
            view.honest.to_vec()
        } else {
            own.iter().map(|own| own.update.values.as_slice()).collect()
        };
        Self { rows, complete }
    }
}

impl Adversary {
    /// Turns what the malicious members of this round's cohort trained into what they send; once a round, in the order
    /// of the clients. Does nothing in a round in which the attack is not active.
    ///
    /// With one update in view there are no deviations: `alie` then sends that update, Min-Max, Min-Sum and `tailored`
    /// likewise (in the directions that need a spread).
    ///
    /// # Errors
    /// [`AttackError`] if the lengths of the vectors disagree or are 0, with `own` as it was.
    pub fn craft(&mut self, view: &View<'_>, own: &mut [OwnUpdate]) -> Result<(), AttackError> {
        if !self.active(view.round) {
            return Ok(());
        }
        self.check_lengths(view, own)?;
        if self.config.kind == AttackKind::Mimic {
            let rounds = self.config.warm_up();
            mimic::warm_up(&mut self.memory, rounds, view.honest, view.clients);
        }
        if own.is_empty() {
            return Ok(());
        }
        match self.sent(view, own) {
            Sent::Trained(1.0) => {}
            Sent::Trained(factor) => {
                for own in own.iter_mut() {
                    simple::scale(&mut own.update.values, factor);
                }
            }
            Sent::Alike(values) => {
                for own in own.iter_mut() {
                    own.update.values.copy_from_slice(&values);
                }
            }
            Sent::Each(rows) => {
                for (own, values) in own.iter_mut().zip(rows) {
                    own.update.values = values;
                }
            }
        }
        Ok(())
    }

    fn check_lengths(&self, view: &View<'_>, own: &[OwnUpdate]) -> Result<(), AttackError> {
        let expected = view.global.len();
        if expected == 0 {
            return Err(AttackError::NoParameters);
        }
        let length = |what: String, got: usize| match got == expected {
            true => Ok(()),
            false => Err(AttackError::Length {
                what,
                expected,
                got,
            }),
        };
        if view.honest.len() != view.clients.len() {
            return Err(AttackError::Length {
                what: "the list of clients".to_owned(),
                expected: view.honest.len(),
                got: view.clients.len(),
            });
        }
        for own in own {
            length(
                format!("the update of client {}", own.client),
                own.update.values.len(),
            )?;
        }
        for (row, client) in view.honest.iter().zip(view.clients) {
            length(format!("the update of client {client}"), row.len())?;
        }
        let memory = &self.memory;
        for (what, vector) in [
            ("the remembered step", &memory.last_step),
            ("the remembered mean", &memory.mean),
            ("the remembered direction", &memory.direction),
        ] {
            if let Some(vector) = vector {
                length(what.to_owned(), vector.len())?;
            }
        }
        Ok(())
    }

    fn sent(&self, view: &View<'_>, own: &[OwnUpdate]) -> Sent {
        let config = &self.config;
        let d = view.global.len();
        let stream = |own: &OwnUpdate| self.stream(view.round, Some(own.client));
        match config.kind {
            AttackKind::Gaussian => {
                let noise = |own| simple::gaussian(d, config.deviation(), &mut stream(own));
                Sent::Each(own.iter().map(noise).collect())
            }
            AttackKind::Constant => Sent::Alike(vec![config.value() as f32; d]),
            AttackKind::Nan => Sent::Alike(vec![f32::NAN; d]),
            AttackKind::FreeRider => {
                let zeros = || vec![0.0; d];
                let step = self.memory.last_step.clone().unwrap_or_else(zeros);
                let hide = |own| simple::disguise(&step, config.deviation(), &mut stream(own));
                Sent::Each(own.iter().map(hide).collect())
            }
            AttackKind::Sybil => {
                let mut flipped = own[0].update.values.clone();
                simple::scale(&mut flipped, -config.scale());
                let hide = |own| simple::disguise(&flipped, config.deviation(), &mut stream(own));
                Sent::Each(own.iter().map(hide).collect())
            }
            AttackKind::Canary => Sent::Each(own.iter().map(|own| self.canary(own, d)).collect()),
            AttackKind::ModelReplacement => {
                let shared = view.cohort as f64 / own.len() as f64;
                Sent::Trained(config.scale.unwrap_or(shared))
            }
            // Their length is the bound's business.
            AttackKind::ConstrainAndScale => Sent::Trained(1.0),
            AttackKind::LabelFlip
            | AttackKind::DynamicLabelFlip
            | AttackKind::Backdoor
            | AttackKind::DistributedBackdoor
            | AttackKind::Neurotoxin => Sent::Trained(config.scale()),
            _ => self.estimated(view, own, &Seen::new(self.sees, view, own)),
        }
    }

    /// What a canary sends: the canaries are the last clients, in the order of their numbers.
    fn canary(&self, own: &OwnUpdate, dimension: usize) -> Vec<f32> {
        let honest = self.malicious.len() - self.canaries.len().min(self.malicious.len());
        let place = (own.client as usize).checked_sub(honest);
        let Some(canary) = place.and_then(|place| self.canaries.get(place)) else {
            return vec![0.0; dimension];
        };
        let mut direction = canary::direction(self.seed, *canary, dimension);
        simple::scale(&mut direction, self.config.scale());
        direction
    }

    /// The attacks that estimate what honest clients send.
    fn estimated(&self, view: &View<'_>, own: &[OwnUpdate], seen: &Seen<'_>) -> Sent {
        let config = &self.config;
        let (rows, direction) = (seen.rows.as_slice(), config.direction());
        match config.kind {
            AttackKind::Ipm => Sent::Alike(against_mean(&mean(rows), config.epsilon())),
            AttackKind::SignFlip if seen.complete => {
                Sent::Alike(against_mean(&mean(rows), config.scale()))
            }
            AttackKind::SignFlip => Sent::Trained(-config.scale()),
            AttackKind::Alie => {
                let default = || alie_default_z(view.cohort, own.len());
                let z = config.z.unwrap_or_else(default);
                Sent::Alike(alie(&Moments::new(rows), z))
            }
            AttackKind::FangKrum => {
                let (n, f) = (view.cohort, own.len());
                Sent::Alike(fang::against_krum(rows, n, f, seen.complete))
            }
            AttackKind::FangTrimmedMean => {
                let intervals = if seen.complete {
                    fang::Intervals::beyond_extremes(rows)
                } else {
                    fang::Intervals::beyond_deviations(&Moments::new(rows))
                };
                let rng = |own: &OwnUpdate| self.stream(view.round, Some(own.client));
                let draw = |own| intervals.draw(&mut rng(own));
                Sent::Each(own.iter().map(draw).collect())
            }
            AttackKind::MinMax => {
                Sent::Alike(optimised::min_max(rows, &Moments::new(rows), direction))
            }
            AttackKind::MinSum => {
                Sent::Alike(optimised::min_sum(rows, &Moments::new(rows), direction))
            }
            AttackKind::Tailored => Sent::Alike(self.tailored(view, own, seen)),
            AttackKind::Mimic if seen.complete => {
                let place = mimic::chosen(&self.memory, view.honest, view.clients);
                Sent::Alike(view.honest[place].to_vec())
            }
            // `mimic` with nobody to mimic; the others never come here.
            _ => Sent::Trained(1.0),
        }
    }

    fn tailored(&self, view: &View<'_>, own: &[OwnUpdate], seen: &Seen<'_>) -> Vec<f32> {
        let moments = Moments::new(&seen.rows);
        let direction = self.config.direction();
        let rng = self.stream(view.round, None);
        let oracle = if seen.complete {
            let clients: Vec<u32> = own.iter().map(|own| own.client).collect();
            Some(Oracle::of_round(view, &clients, rng))
        } else {
            let each = own
                .iter()
                .map(|own| own.client)
                .zip(seen.rows.iter().copied());
            Oracle::of_own(view, &each.collect::<Vec<_>>(), rng)
        };
        match oracle {
            Some(oracle) => optimised::tailored(&seen.rows, &moments, direction, &oracle),
            None => optimised::min_max(&seen.rows, &moments, direction),
        }
    }
}

/// What goes out.
enum Sent {
    /// What each has trained, times this.
    Trained(f64),
    /// The same from all.
    Alike(Vec<f32>),
    /// Each its own.
    Each(Vec<Vec<f32>>),
}
