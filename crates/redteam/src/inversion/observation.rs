//! What a server has of a client after a round, as far as it can be attacked.

use std::ops::Range;

use cloister_nn::Model;
use cloister_protocol::{LocalOptimizer, TrainPlan};

use super::error::InversionError;
use super::space::InputSpace;

/// Most local steps through which the attacks differentiate (spec 2.4); memory grows with them.
pub const MOST_STEPS: usize = 10;

/// Why a client's update says too little about its gradients for this suite. That is no protection: it was not tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAttackable {
    /// The optimiser's steps are no linear function of the gradients.
    #[error("local steps with {optimizer} are not attacked by this suite")]
    Optimizer {
        /// What was used.
        optimizer: &'static str,
    },
    /// More steps than are differentiated through.
    #[error("{steps} local steps are not attacked by this suite, at most {MOST_STEPS} are")]
    Steps {
        /// How many the client took.
        steps: u64,
    },
    /// Terms of the local objective that the unrolled attack leaves out.
    #[error("several local steps with {term} are not attacked by this suite")]
    Term {
        /// Which term.
        term: &'static str,
    },
    /// What is sent is mixed with earlier rounds.
    #[error("an update with client_momentum {momentum} is not attacked by this suite")]
    ClientMomentum {
        /// The share of the past, in per cent.
        momentum: String,
    },
    /// The client took no step.
    #[error("the client took no step")]
    NoStep,
    /// The learning rate makes no update.
    #[error("a learning rate of {learning_rate} makes no update that can be attacked")]
    LearningRate {
        /// The rate.
        learning_rate: String,
    },
    /// The update is zero, or is not finite.
    #[error("the update {what}")]
    Update {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What is known of the training behind an update.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The gradient of the mean loss of all examples: one local step.
    Gradient(Vec<f32>),
    /// Trained parameters minus the global ones, after several local steps of plain SGD.
    Update {
        /// The update.
        values: Vec<f32>,
        /// Step length of each step.
        learning_rate: f32,
        /// The examples of each step, by their place. The client's order is not known and none is better than another
        /// within the first pass; what later passes draw is the attack's guess.
        steps: Vec<Range<usize>>,
    },
}

/// What is attacked: nothing of it comes from the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The round's global parameters.
    pub parameters: Vec<f32>,
    /// What the client's message says about its training.
    pub evidence: Evidence,
    /// How many examples are behind it, which a plain reply states.
    pub examples: usize,
    /// The range of inputs.
    pub space: InputSpace,
}

impl Observation {
    /// A gradient of the mean loss of `examples` examples, as FedSGD sends it.
    ///
    /// # Errors
    /// When a length does not fit the model, a value is not finite, or there is no example.
    pub fn of_gradient(
        model: &Model,
        parameters: Vec<f32>,
        gradient: Vec<f32>,
        examples: usize,
        space: InputSpace,
    ) -> Result<Self, InversionError> {
        let observation = Self {
            parameters,
            evidence: Evidence::Gradient(gradient),
            examples,
            space,
        };
        observation.check(model)?;
        Ok(observation)
    }

    /// What `update` (trained minus global parameters, as the server decoded it) says under the round's plan, for a
    /// client with `examples` examples. After one step of SGD that is the gradient, `-update / learning rate`.
    ///
    /// # Errors
    /// [`NotAttackable`] when the plan's training is beyond this suite; otherwise as [`Self::of_gradient`].
    pub fn of_update(
        model: &Model,
        parameters: Vec<f32>,
        update: &[f32],
        plan: &TrainPlan,
        examples: usize,
        space: InputSpace,
    ) -> Result<Self, InversionError> {
        let expected = model.layout().len();
        InversionError::length("the global model", expected, parameters.len())?;
        InversionError::length("the update", expected, update.len())?;
        if update.iter().any(|value| !value.is_finite()) {
            let what = "is not finite";
            return Err(NotAttackable::Update { what }.into());
        }
        if update.iter().all(|&value| value == 0.0) {
            return Err(NotAttackable::Update { what: "is zero" }.into());
        }
        let steps = steps(plan, examples)?;
        attackable(plan, steps.len())?;
        // A step limit may stop the client before it has seen all of its examples.
        let seen = steps.iter().map(|step| step.end).max().unwrap_or(0);
        let rate = plan.learning_rate;
        let evidence = if steps.len() == 1 {
            let gradient = |(&change, &parameter): (&f32, &f32)| {
                -change / rate - plan.weight_decay * parameter
            };
            Evidence::Gradient(update.iter().zip(&parameters).map(gradient).collect())
        } else {
            Evidence::Update {
                values: update.to_vec(),
                learning_rate: rate,
                steps,
            }
        };
        let observation = Self {
            parameters,
            evidence,
            examples: seen,
            space,
        };
        observation.check(model)?;
        Ok(observation)
    }

    /// The mean of the gradients along the client's steps: for one step the gradient itself.
    pub fn mean_gradient(&self) -> Vec<f32> {
        match &self.evidence {
            Evidence::Gradient(gradient) => gradient.clone(),
            Evidence::Update {
                values,
                learning_rate,
                steps,
            } => {
                let scale = -1.0 / (learning_rate * steps.len() as f32);
                values.iter().map(|value| value * scale).collect()
            }
        }
    }

    /// What was sent, up to its scale: the gradient, or the update.
    pub fn evidence(&self) -> &[f32] {
        match &self.evidence {
            Evidence::Gradient(values) | Evidence::Update { values, .. } => values,
        }
    }

    /// Marks the coordinates that are not zero: those that a client sent which prunes, if it prunes.
    pub fn sent(&self) -> Vec<bool> {
        self.evidence().iter().map(|&value| value != 0.0).collect()
    }

    pub(super) fn check(&self, model: &Model) -> Result<(), InversionError> {
        let expected = model.layout().len();
        InversionError::length("the global model", expected, self.parameters.len())?;
        InversionError::length("the update", expected, self.evidence().len())?;
        InversionError::length("an input", model.input().len(), self.space.features())?;
        InversionError::finite("the global model", &self.parameters)?;
        InversionError::finite("the update", self.evidence())?;
        if self.examples == 0 || self.examples > 4096 {
            return Err(InversionError::Parameter {
                what: "the number of examples",
                reason: format!("must be between 1 and 4096, got {}", self.examples),
            });
        }
        if let Evidence::Update { steps, .. } = &self.evidence {
            let fits = |step: &Range<usize>| step.start < step.end && step.end <= self.examples;
            if steps.is_empty() || !steps.iter().all(fits) {
                return Err(InversionError::Parameter {
                    what: "a local step",
                    reason: format!("must be of some of the {} examples", self.examples),
                });
            }
        }
        Ok(())
    }
}

/// The places of the examples of each local step, as the client cuts them.
fn steps(plan: &TrainPlan, examples: usize) -> Result<Vec<Range<usize>>, NotAttackable> {
    let count = plan.step_count(examples);
    if count == 0 {
        return Err(NotAttackable::NoStep);
    }
    if count > MOST_STEPS as u64 {
        return Err(NotAttackable::Steps { steps: count });
    }
    Ok(plan.steps(examples).map(|step| step.places).collect())
}

fn attackable(plan: &TrainPlan, steps: usize) -> Result<(), NotAttackable> {
    let rate = plan.learning_rate;
    if !(rate.is_finite() && rate > 0.0) {
        let learning_rate = rate.to_string();
        return Err(NotAttackable::LearningRate { learning_rate });
    }
    if plan.client_momentum != 0.0 {
        let momentum = format!("{} %", 100.0 * plan.client_momentum);
        return Err(NotAttackable::ClientMomentum { momentum });
    }
    match plan.optimizer {
        LocalOptimizer::Sgd => {}
        // The first step of heavy-ball momentum is one of SGD.
        LocalOptimizer::Momentum if steps == 1 => {}
        LocalOptimizer::Momentum => {
            let optimizer = "momentum";
            return Err(NotAttackable::Optimizer { optimizer });
        }
        LocalOptimizer::Adam => return Err(NotAttackable::Optimizer { optimizer: "adam" }),
    }
    if steps > 1 && plan.weight_decay != 0.0 {
        let term = "weight_decay";
        return Err(NotAttackable::Term { term });
    }
    if steps > 1 && plan.proximal_mu != 0.0 {
        let term = "proximal_mu";
        return Err(NotAttackable::Term { term });
    }
    Ok(())
}
