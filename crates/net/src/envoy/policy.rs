//! `[policy]`: what a site takes part in.

use cloister_config::Experiment;
use cloister_privacy::{Mechanism, PrivacyError};
use cloister_protocol::{PrivacyPlan, Sampling, most_replies};
use serde::Deserialize;

use super::config::mechanism_names;
use super::{Account, Budget, Recording, Requirement, releases_of};
use crate::experiment::Offer;
use crate::plan::Plan;

/// Rounds of an experiment at most, where the site sets no limit of its own.
const MOST_ROUNDS: u32 = 100_000;

/// What a site takes part in. Whatever is left out is not limited, but for the cohort.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Kinds of models that may be trained; all of the program's, if left out.
    pub models: Option<Vec<String>>,
    /// Data sets that may be trained on; all of the config's, if left out.
    pub datasets: Option<Vec<String>>,
    /// Operators whose experiments are taken; all, if left out.
    pub operators: Option<Vec<String>>,
    /// Members of a round without which this site does not train.
    pub minimum_cohort: u32,
    /// Whether updates must be masked.
    pub secure_aggregation: Requirement,
    /// Whether the director may keep transcripts of rounds (`[record]`); left out, only where updates are masked.
    pub recording: Option<Recording>,
    /// Mechanisms of which one must be on; none is needed, if left out.
    pub mechanisms: Option<Vec<Mechanism>>,
    /// Most rounds of an experiment; 100,000, if left out.
    pub max_rounds: Option<u32>,
    /// Most parameters of a model.
    pub max_parameters: Option<u64>,
    /// What all experiments on a data set may cost together.
    pub budget: Option<Budget>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            models: None,
            datasets: None,
            operators: None,
            minimum_cohort: 3,
            secure_aggregation: Requirement::Optional,
            recording: None,
            mechanisms: None,
            max_rounds: None,
            max_parameters: None,
            budget: None,
        }
    }
}

/// What an experiment would be for this site.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What both sides build of it.
    pub plan: &'a Plan,
    /// What adds noise; `None` if nothing does.
    pub privacy: Option<&'a PrivacyPlan>,
    /// Sites that take part, or were asked.
    pub members: u32,
    /// The site's own examples.
    pub own: u64,
    /// What was released so far, and what other experiments that were accepted will still release.
    pub spent: &'a Account,
}

impl Policy {
    /// What can be said of an experiment before any data is read.
    ///
    /// # Errors
    /// Why this site takes no part, for the operator.
    pub fn screen(&self, offer: &Offer, experiment: &Experiment) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        if !allows(&self.operators, &offer.operator) {
            return refuse(format!(
                "this site takes no experiments of the operator '{}'",
                cut(&offer.operator)
            ));
        }
        if !allows(&self.datasets, &offer.data.dataset) {
            return refuse(format!(
                "this site does not let '{}' be trained on",
                cut(&offer.data.dataset)
            ));
        }
        let kind = experiment.model.kind();
        if !allows(&self.models, kind) {
            return refuse(format!("this site trains no model of kind '{kind}'"));
        }
        let rounds = experiment.federation.rounds;
        let most = self.max_rounds.unwrap_or(MOST_ROUNDS);
        if rounds > most {
            return refuse(format!(
                "this site takes part in at most {most} rounds; the experiment has {rounds}"
            ));
        }
        self.screen_recording(experiment)?;
        self.screen_protection(experiment)
    }

    /// Whether what the director says that it keeps may be kept. One that keeps more says nothing of it: masks help against that.
    fn screen_recording(&self, experiment: &Experiment) -> Result<(), String> {
        let count = recorded(experiment);
        let is_masked = experiment.secure_aggregation.is_some();
        match self.recording {
            _ if count == 0 => Ok(()),
            Some(Recording::Allow) => Ok(()),
            None if is_masked => Ok(()),
            Some(Recording::Refuse) => Err(format!(
                "this site lets nothing be recorded; the experiment keeps transcripts of {count} rounds"
            )),
            None => Err(format!(
                "this site lets its updates be recorded only if they are masked; the experiment keeps transcripts of {count} rounds \
                 with updates in the clear"
            )),
        }
    }

    /// What must hide the site's updates.
    fn screen_protection(&self, experiment: &Experiment) -> Result<(), String> {
        match &experiment.secure_aggregation {
            None if self.secure_aggregation == Requirement::Required => {
                return Err(
                    "this site requires secure aggregation; the experiment has none".to_owned(),
                );
            }
            Some(config) if config.minimum_cohort < self.minimum_cohort => {
                return Err(format!(
                    "this site requires sums of at least {} members; secure_aggregation.minimum_cohort is {}",
                    self.minimum_cohort, config.minimum_cohort
                ));
            }
            _ => {}
        }
        let mechanism = experiment.privacy.as_ref().map(|config| config.mechanism);
        if let Some(required) = &self.mechanisms
            && !mechanism.is_some_and(|one| required.contains(&one))
        {
            let has = mechanism.map_or("none", Mechanism::name);
            return Err(format!(
                "this site requires one of the privacy mechanisms {}; the experiment has {has}",
                mechanism_names(required)
            ));
        }
        match (&self.budget, mechanism) {
            (Some(_), None) => Err(
                "this site has a privacy budget; the experiment has no mechanism: it would cost an unlimited epsilon"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// What is left to be said when the site's examples and the members are known.
    ///
    /// # Errors
    /// Why this site takes no part, for the operator.
    pub fn judge(&self, terms: &Terms<'_>) -> Result<(), String> {
        self.judge_size(terms)?;
        self.judge_cost(terms)
    }

    /// As [`Self::judge`], but for what it costs: once it has begun, each training is held against the budget.
    pub(super) fn judge_size(&self, terms: &Terms<'_>) -> Result<(), String> {
        let parameters = terms.plan.parameters() as u64;
        if let Some(most) = self.max_parameters.filter(|most| parameters > *most) {
            return Err(format!(
                "this site trains models of at most {most} parameters; this one has {parameters}"
            ));
        }
        let federation = &terms.plan.experiment.federation;
        let cohort = match federation.sampling {
            Sampling::Fixed => most_replies(federation, terms.members),
            // The expected one: coins promise nothing.
            Sampling::Poisson => (federation.fraction * f64::from(terms.members)) as u32,
        };
        if cohort < self.minimum_cohort {
            return Err(format!(
                "this site trains in rounds of at least {} members; the experiment has rounds of {cohort}",
                self.minimum_cohort
            ));
        }
        Ok(())
    }

    /// Whether the whole experiment fits the budget.
    fn judge_cost(&self, terms: &Terms<'_>) -> Result<(), String> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        match self.cost(terms, budget) {
            Ok(None) => Ok(()),
            Ok(Some(epsilon)) => Err(over(epsilon, budget)),
            Err(error) => Err(format!(
                "what the experiment would cost this site cannot be told: {error}"
            )),
        }
    }

    /// The loss with the whole experiment, if that is above the budget.
    fn cost(&self, terms: &Terms<'_>, budget: &Budget) -> Result<Option<f64>, PrivacyError> {
        let rounds = terms.plan.experiment.federation.rounds;
        let all = releases_of(terms.privacy, terms.own, rounds.into(), 0, rounds)?;
        terms.spent.would_exceed(&all, budget)
    }
}

/// Rounds of an experiment whose transcripts the director keeps.
pub(super) fn recorded(experiment: &Experiment) -> u32 {
    let record = experiment.record.as_ref();
    record.map_or(0, |record| record.count(experiment.federation.rounds))
}

/// Words for a loss above the budget.
pub(super) fn over(epsilon: f64, budget: &Budget) -> String {
    let Budget {
        epsilon: most,
        delta,
    } = budget;
    match epsilon.is_finite() {
        true => format!(
            "this site's privacy budget does not allow it: epsilon would be {epsilon:.4} at delta {delta:e}, the budget is {most}"
        ),
        false => format!(
            "this site's privacy budget does not allow it: epsilon would be unlimited, the budget is {most}"
        ),
    }
}

fn allows(list: &Option<Vec<String>>, name: &str) -> bool {
    list.as_ref()
        .is_none_or(|list| list.iter().any(|one| one == name))
}

/// A name from outside, as it may stand in a sentence.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
