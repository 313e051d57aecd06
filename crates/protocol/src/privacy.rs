//! What `[privacy]` means for one federation: whose release is which event, and how much noise the plan needs.

use cloister_privacy::accounting::{self, Question};
use cloister_privacy::mechanism::adaptive_clip::{AdaptiveClip, AdaptiveClipSettings};
use cloister_privacy::mechanism::correlated::{
    Blt, CorrelatedGaussian, CorrelatedSettings, Participation, Strategy, Toeplitz,
};
use cloister_privacy::mechanism::distributed::{DistributedGaussian, DistributedSettings};
use cloister_privacy::mechanism::local::LocalGaussian;
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Correlation, Event, Mechanism, Neighbouring, PrivacyConfig, PrivacyError};

use crate::config::{FederationConfig, Sampling, TrainConfig, TrainPlan};
use crate::learner::{DpSgd, Update};
use crate::sampling;

/// Buffers of `correlation = "blt"`.
const BUFFERS: usize = 4;
/// Bits of a coordinate of distributed noise, unless the config says otherwise.
const DISTRIBUTED_BITS: u32 = 16;
/// Standard deviations of a sum with distributed noise that do not wrap.
const ROOM: f64 = 4.0;

/// The mechanism of a run with all its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct PrivacyPlan {
    config: PrivacyConfig,
    noise_multiplier: f64,
    federation: FederationConfig,
    train: TrainConfig,
    /// Clients enrolled; public.
    clients: u32,
    sum: Option<SecureSum>,
}

/// The secure sum in which distributed noise adds up; public numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecureSum {
    /// Coordinates of an update.
    pub dimension: usize,
    /// Members called in a round.
    pub members: u32,
    /// Members of a sum that are honest for certain, so that their noise is in it and secret.
    pub honest: u32,
}

/// Steps of `dp-sgd` that a client with so many examples takes in a round, by numbers that are public.
pub(crate) fn private_steps(plan: &TrainPlan, examples: u64) -> u64 {
    let batch = u64::from(plan.batch_size).max(1);
    let steps = examples.div_ceil(batch) * u64::from(plan.epochs);
    match plan.max_steps {
        0 => steps,
        most => steps.min(most.into()),
    }
}

impl PrivacyPlan {
    /// The plan for clients with so many `examples` each. Without a noise multiplier in the config, the least that keeps
    /// all rounds of the plan within its epsilon, if every client takes part whenever it can be asked.
    ///
    /// # Errors
    /// [`PrivacyError`] for what cannot be accounted, or an epsilon that no noise reaches.
    pub fn new(
        config: &PrivacyConfig,
        federation: &FederationConfig,
        train: &TrainConfig,
        examples: &[u64],
        sum: Option<SecureSum>,
    ) -> Result<Self, PrivacyError> {
        if config.mechanism == Mechanism::DistributedDiscreteGaussian && sum.is_none() {
            return Err(PrivacyError::Unsupported(
                "distributed-discrete-gaussian needs a secure sum: a server that sees single shares sees too little noise"
                    .to_owned(),
            ));
        }
        let mut plan = Self {
            config: config.clone(),
            noise_multiplier: config.noise_multiplier.unwrap_or(1.0),
            federation: federation.clone(),
            train: train.clone(),
            clients: examples.len() as u32,
            sum,
        };
        if config.noise_multiplier.is_none() {
            plan.noise_multiplier = plan.calibrate(examples)?;
        }
        if let Some(clip) = plan.adaptive_clip() {
            clip?;
        }
        if let Some(event) = plan.run_event(0) {
            event?;
        }
        if plan.is_distributed() {
            plan.distributed()?;
        }
        if let Some(examples) = examples.first() {
            // Refuses now what the accountant would refuse in the first round.
            let mut one = plan.clone();
            one.federation.rounds = 1;
            let least =
                accounting::epsilon(&one.whole_run(*examples), &plan.fine_question())?.epsilon;
            if let Some(epsilon) = config
                .epsilon
                .filter(|epsilon| least > *epsilon * (1.0 + 1e-6))
            {
                return Err(PrivacyError::Unsupported(format!(
                    "the first round alone costs an epsilon of {least:.4}, the budget is {epsilon}"
                )));
            }
        }
        Ok(plan)
    }

    /// The settings.
    pub fn config(&self) -> &PrivacyConfig {
        &self.config
    }

    /// Standard deviation of the noise over the clipping norm, as accounted.
    pub fn noise_multiplier(&self) -> f64 {
        self.noise_multiplier
    }

    /// Which data sets the promise holds apart.
    pub fn neighbouring(&self) -> Neighbouring {
        match self.config.mechanism {
            // What a client sends is hidden among all that it could have sent.
            Mechanism::LocalGaussian => Neighbouring::ReplaceOne,
            _ => self.config.neighbouring(),
        }
    }

    /// The question that epsilons of this run answer.
    pub fn question(&self) -> Question {
        Question::new(self.neighbouring(), self.config.delta)
    }

    /// The same question to a tenth of the error, slower: calibration asks it, and so must whoever compares with a budget.
    pub fn fine_question(&self) -> Question {
        let question = self.question();
        Question {
            error: 0.1 * question.error,
            ..question
        }
    }

    /// Whether the server adds the noise, to the cohort's sum.
    pub fn at_server(&self) -> bool {
        self.config.mechanism.at_server()
    }

    /// Whether clients add noise that is enough in their sum only.
    pub fn is_distributed(&self) -> bool {
        self.config.mechanism == Mechanism::DistributedDiscreteGaussian
    }

    /// Both ends of noise that clients add to their secure sum.
    ///
    /// # Errors
    /// [`PrivacyError`] for another mechanism, and for bits that are too few.
    pub fn distributed(&self) -> Result<DistributedGaussian, PrivacyError> {
        let Some(sum) = self.sum.filter(|_| self.is_distributed()) else {
            return Err(PrivacyError::Unsupported(
                "the run adds no noise in its sums".to_owned(),
            ));
        };
        DistributedGaussian::new(DistributedSettings {
            dimension: sum.dimension,
            clip: self.config.clip,
            noise_multiplier: self.noise_multiplier,
            clients: sum.members.into(),
            honest: self.config.honest.unwrap_or(sum.honest).into(),
            bits: Some(self.config.bits.unwrap_or(DISTRIBUTED_BITS)),
            room: ROOM,
        })
    }

    /// Rounds from a client's participation to its next, where groups of clients take turns; 1 where they do not.
    pub fn separation(&self) -> u32 {
        match self.config.mechanism {
            Mechanism::CorrelatedGaussian => self.config.separation.unwrap_or(1),
            _ => 1,
        }
    }

    /// The public number by which the server divides a sum: the expected cohort.
    pub fn expected_cohort(&self) -> f64 {
        if self.config.mechanism == Mechanism::CorrelatedGaussian {
            return f64::from(self.clients) / f64::from(self.separation());
        }
        match self.federation.sampling {
            Sampling::Poisson => self.federation.fraction * f64::from(self.clients),
            Sampling::Fixed => f64::from(sampling::most_replies(&self.federation, self.clients)),
        }
    }

    /// The chance of a unit to be in a step, where secret coins decide.
    pub fn sampling_rate(&self, examples: u64) -> Option<f64> {
        match self.config.mechanism {
            Mechanism::DpSgd => {
                Some((f64::from(self.train.batch_size) / examples.max(1) as f64).min(1.0))
            }
            Mechanism::CentralGaussian => match self.federation.sampling {
                Sampling::Poisson => Some(self.federation.fraction),
                Sampling::Fixed => None,
            },
            _ => None,
        }
    }

    /// What the rounds after the first `done` release together, where their noise belongs together.
    pub fn run_event(&self, done: u32) -> Option<Result<Event, PrivacyError>> {
        (self.config.mechanism == Mechanism::CorrelatedGaussian)
            .then(|| Ok(self.correlated(1, done)?.event()))
    }

    /// The correlated noise of the rounds after the first `done`. The noise multiplier of the config is that of all of them
    /// as the one release that they are.
    pub(crate) fn correlated(
        &self,
        dimension: usize,
        done: u32,
    ) -> Result<CorrelatedGaussian, PrivacyError> {
        let rounds = self.federation.rounds.saturating_sub(done) as usize;
        let separation = (self.separation() as usize).min(rounds);
        let participation = Participation::new(rounds, separation)?;
        let strategy = match self.config.correlation.unwrap_or_default() {
            Correlation::Banded => {
                let bands = self.config.bands.map_or(separation, |bands| bands as usize);
                Strategy::Toeplitz(Toeplitz::square_root(bands.min(rounds)))
            }
            Correlation::Blt => Strategy::Blt(Blt::optimised(participation, BUFFERS)?),
            Correlation::Tree => Strategy::Tree,
        };
        CorrelatedGaussian::new(CorrelatedSettings {
            dimension,
            clip: self.config.clip,
            noise_multiplier: self.noise_multiplier * strategy.sensitivity(participation),
            expected: self.expected_cohort(),
            participation,
            strategy,
        })
    }

    /// Hides a client's update behind noise of its own, where each client does so.
    ///
    /// # Errors
    /// [`PrivacyError`] for an update of no parameters.
    pub fn hide(&self, update: &mut Update, source: &mut NoiseSource) -> Result<(), PrivacyError> {
        if self.config.mechanism == Mechanism::LocalGaussian {
            let parameters = update.values.len();
            let local = LocalGaussian::new(parameters, self.config.clip, self.noise_multiplier)?;
            update.values = local.release(&update.values, source)?;
            update.loss = None;
        }
        Ok(())
    }

    /// What a round of the server's mechanism releases about the units of all clients; `None` if clients add the noise, or
    /// if rounds belong together ([`Self::run_event`]).
    pub fn round_event(&self) -> Option<Event> {
        if self.is_distributed() {
            // Who is in a cohort is known to the server, from whom the noise is to protect: its draw hides nobody.
            return self.distributed().ok().map(|noise| noise.event(None));
        }
        if self.config.mechanism != Mechanism::CentralGaussian {
            return None;
        }
        let noise_multiplier = self.noise_multiplier;
        let cohort = sampling::most_replies(&self.federation, self.clients);
        Some(match self.federation.sampling {
            Sampling::Poisson if self.federation.fraction < 1.0 => Event::PoissonGaussian {
                noise_multiplier,
                sampling_rate: self.federation.fraction,
            },
            Sampling::Fixed if cohort < self.clients => Event::FixedSizeGaussian {
                noise_multiplier,
                sample: cohort.into(),
                population: self.clients.into(),
            },
            _ => Event::Gaussian { noise_multiplier },
        })
    }

    /// What one training of a client with so many examples releases about its own units, and how often; `None` if the
    /// server adds the noise.
    pub fn client_event(&self, examples: u64) -> Option<(Event, u64)> {
        let noise_multiplier = self.noise_multiplier;
        match self.config.mechanism {
            Mechanism::LocalGaussian => Some((Event::Gaussian { noise_multiplier }, 1)),
            Mechanism::DpSgd => {
                let sampling_rate = self.sampling_rate(examples)?;
                let event = match self.config.max_batch {
                    _ if sampling_rate >= 1.0 => Event::Gaussian { noise_multiplier },
                    Some(most) if u64::from(most) < examples => Event::TruncatedPoissonGaussian {
                        noise_multiplier,
                        sampling_rate,
                        population: examples,
                        most: most.into(),
                    },
                    _ => Event::PoissonGaussian {
                        noise_multiplier,
                        sampling_rate,
                    },
                };
                Some((event, private_steps(&self.train.plan(1), examples)))
            }
            _ => None,
        }
    }

    /// What a client with so many examples trains with, where examples are the unit.
    pub fn dp_sgd(
        &self,
        examples: u64,
        source: NoiseSource,
    ) -> Option<Result<DpSgd, PrivacyError>> {
        let sampling_rate = match self.config.mechanism {
            Mechanism::DpSgd => self.sampling_rate(examples)?,
            _ => return None,
        };
        Some(DpSgd::new(
            sampling_rate,
            self.config.max_batch.map(u64::from),
            self.config.clip,
            self.noise_multiplier,
            f64::from(self.train.batch_size),
            source,
        ))
    }

    /// The clipping norm that follows a quantile, before the first round.
    pub(crate) fn adaptive_clip(&self) -> Option<Result<AdaptiveClip, PrivacyError>> {
        let adaptive = self.config.adaptive_clip.as_ref()?;
        let expected = self.expected_cohort();
        let settings = AdaptiveClipSettings {
            quantile: adaptive.quantile,
            rate: adaptive.rate,
            count_noise: adaptive.count_noise.unwrap_or(expected / 20.0),
            first_clip: self.config.clip,
        };
        Some(AdaptiveClip::new(settings, self.noise_multiplier, expected))
    }

    /// All rounds of the plan, as they touch a client with so many examples that is asked in each.
    pub fn whole_run(&self, examples: u64) -> Event {
        let rounds = u64::from(self.federation.rounds);
        if let Some(event) = self.run_event(0) {
            return event.unwrap_or_else(|error| Event::NotPrivate {
                reason: error.to_string(),
            });
        }
        let (event, count) = match self.client_event(examples) {
            Some((event, count)) => (event, count.saturating_mul(rounds)),
            None => (
                self.round_event().unwrap_or(Event::NotPrivate {
                    reason: format!("{} adds no noise", self.config.mechanism.name()),
                }),
                rounds,
            ),
        };
        Event::Repeated {
            event: Box::new(event),
            count,
        }
    }

    /// The noise multiplier that the config's epsilon needs.
    fn calibrate(&self, examples: &[u64]) -> Result<f64, PrivacyError> {
        let Some(epsilon) = self.config.epsilon else {
            return Ok(self.noise_multiplier);
        };
        let question = self.question();
        let least = |examples: u64| {
            accounting::noise_multiplier(epsilon, &question, &|noise_multiplier| {
                let plan = Self {
                    noise_multiplier,
                    ..self.clone()
                };
                plan.whole_run(examples)
            })
        };
        // Few examples mean a large share in each batch, many mean more steps: any size may need the most noise. Begin with
        // the smallest, and search again only for those that it leaves above epsilon.
        let mut sizes: Vec<u64> = examples.to_vec();
        sizes.sort_unstable();
        sizes.dedup();
        let mut found = match sizes.first() {
            Some(smallest) => least(*smallest)?,
            None => least(1)?,
        };
        if self.config.mechanism == Mechanism::DpSgd {
            for size in sizes.into_iter().skip(1) {
                let plan = Self {
                    noise_multiplier: found,
                    ..self.clone()
                };
                let spent =
                    accounting::epsilon(&plan.whole_run(size), &self.fine_question())?.epsilon;
                if spent > epsilon {
                    found = found.max(least(size)?);
                }
            }
        }
        Ok(found)
    }
}
