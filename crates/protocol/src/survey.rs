//! Statistics of the owners' tables, found in rounds: the model is what was found so far, an update what an owner adds up.
//!
//! Nothing of the round knows of it: an owner's numbers travel as a vector of 32-bit fractions (`limbs`), through the
//! same server, the same messages and the same secure sums as updates do. A pass of a [`Survey`] is a round; its part of the model is
//! without a mark until then, and holds the mean of the owners' numbers after it. All owners must answer, or the round is abandoned and repeated.
//!
//! With noise there is one pass ([`BoundedSurvey`]): each owner hides each of its rows, before its numbers leave it.

mod config;

use std::ops::Range;

use cloister_data::statistics::bounded::BoundedSurvey;
use cloister_data::statistics::survey::{Survey, Width};
use cloister_data::statistics::{TableStatistics, Value};
use cloister_nn::Layout;
use cloister_nn::metrics::Measures;
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Event, PrivacyError};
use cloister_robust::AggregationConfig;
use cloister_secagg::SecureAggregationConfig;
use rand_chacha::ChaCha8Rng;

use crate::config::{FederationConfig, ServerConfig, TrainConfig, TrainPlan};
use crate::error::ProtocolError;
use crate::learner::{Learner, LearnerError, Update};
use crate::limbs::{Limbs, REST};
use crate::secure::SecurePlan;
use crate::server::ServerSettings;

pub use config::StatisticsConfig;

/// A number with noise is sent in units of 2^-16.
const NOISY_UNIT: f64 = 65_536.0;
const NOISY_WIDTH: Width = Width {
    bits: 60,
    signed: true,
};

const COUNT_WIDTH: Width = Width {
    bits: 60,
    signed: false,
};

/// Rounds beyond the passes in which owners that did not answer may do so.
const REPEATS: u32 = 10;

/// What is asked of the owners.
#[derive(Clone, Debug)]
pub enum Asking {
    /// Exact sums, pass by pass.
    Exact(Survey),
    /// One sum, of which each owner's part hides each of its rows.
    Noisy {
        /// The pass.
        survey: BoundedSurvey,
        /// Noise of each owner, over the longest vector that a row adds.
        noise_multiplier: f64,
    },
    /// One sum of so many counts that owners make otherwise, such as of scores when a model is judged; each below 2^60.
    Counts(usize),
}

/// Statistics to be found by a number of owners.
#[derive(Clone, Debug)]
pub struct SurveyPlan {
    asking: Asking,
    owners: u32,
    limbs: Limbs,
    layout: Layout,
    passes: Vec<(Range<usize>, Vec<Width>)>,
}

impl SurveyPlan {
    /// What `owners` are asked.
    ///
    /// # Errors
    /// [`ProtocolError::Survey`] for more owners than their sums have room for, or nothing that is asked.
    pub fn new(asking: Asking, owners: u32) -> Result<Self, ProtocolError> {
        let limbs = Limbs::new(owners).ok_or_else(|| {
            ProtocolError::Survey(format!("{owners} owners; 1 to 4096 can be asked"))
        })?;
        let widths: Vec<Vec<Width>> = match &asking {
            Asking::Exact(survey) => (0..survey.passes())
                .map(|pass| survey.widths(pass))
                .collect(),
            Asking::Noisy { survey, .. } => vec![vec![NOISY_WIDTH; survey.width()]],
            Asking::Counts(count) => vec![vec![COUNT_WIDTH; *count]],
        };
        let mut passes = Vec::with_capacity(widths.len());
        let mut from = 0;
        for widths in widths {
            let to = from + limbs.count(&widths);
            passes.push((from..to, widths));
            from = to;
        }
        let tensors = (1..).zip(&passes);
        let tensors = tensors.map(|(pass, (range, _))| (format!("pass{pass}"), vec![range.len()]));
        let layout = Layout::new(tensors.collect::<Vec<_>>());
        let layout = layout.map_err(|error| ProtocolError::Survey(error.to_string()))?;
        Ok(Self {
            asking,
            owners,
            limbs,
            layout,
            passes,
        })
    }

    /// The layout of the model that the rounds fill.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The model before the first round.
    pub fn initial(&self) -> Vec<f32> {
        vec![0.0; self.layout.len()]
    }

    /// Passes, each a round that all owners answer.
    pub fn passes(&self) -> u32 {
        self.passes.len() as u32
    }

    /// The server of the rounds; `secure` is the run's secure sums, with the config that [`Self::sums`] makes of its own.
    pub fn settings(&self, secure: Option<SecurePlan>, deadline: Option<f64>) -> ServerSettings {
        ServerSettings {
            federation: FederationConfig {
                clients: Some(self.owners),
                rounds: self.passes() + REPEATS,
                minimum_replies: self.owners,
                deadline,
                ..FederationConfig::default()
            },
            train: TrainConfig::default(),
            server: ServerConfig::default(),
            aggregation: AggregationConfig::default(),
            privacy: None,
            secure,
        }
    }

    /// Secure sums that lose nothing of whole numbers.
    pub fn sums(&self, config: &SecureAggregationConfig) -> SecureAggregationConfig {
        SecureAggregationConfig {
            lanes: 16,
            range: Some(self.limbs.range()),
            buckets: 1,
            ..config.clone()
        }
    }

    /// What one owner's answers release about each of its rows; `None` if they are not hidden.
    pub fn event(&self) -> Option<Event> {
        match &self.asking {
            Asking::Exact(_) | Asking::Counts(_) => None,
            Asking::Noisy {
                noise_multiplier, ..
            } => Some(Event::Gaussian {
                noise_multiplier: *noise_multiplier,
            }),
        }
    }

    /// Whether all passes are done.
    pub fn is_done(&self, model: &[f32]) -> bool {
        self.done(model) == self.passes.len()
    }

    /// The passes that are done.
    fn done(&self, model: &[f32]) -> usize {
        let ranges = self.passes.iter().map(|(range, _)| range.clone());
        let done = ranges
            .take_while(|range| Limbs::are_there(model.get(range.clone()).unwrap_or_default()));
        done.count()
    }

    /// The sums of a pass.
    fn sums_of(&self, pass: usize, model: &[f32]) -> Result<Vec<i128>, ProtocolError> {
        let (range, widths) = &self.passes[pass];
        let rests = self.done(model).saturating_sub(1);
        let sums = self.limbs.read(&model[range.clone()], rests, widths);
        sums.ok_or_else(|| {
            let reason = format!(
                "the sums of pass {} are none that owners can have made",
                pass + 1
            );
            ProtocolError::Survey(reason)
        })
    }

    /// The sums of counts, once all owners have answered.
    ///
    /// # Errors
    /// [`ProtocolError::Survey`] if they have not, or statistics were asked for.
    pub fn counts(&self, model: &[f32]) -> Result<Vec<u64>, ProtocolError> {
        let failed = |reason: &str| ProtocolError::Survey(reason.to_owned());
        match &self.asking {
            Asking::Counts(_) if self.is_done(model) => {
                let sums = self.sums_of(0, model)?.into_iter().map(u64::try_from);
                let sums: Result<Vec<u64>, _> = sums.collect();
                sums.map_err(|_| failed("a count is out of its range"))
            }
            Asking::Counts(_) => Err(failed("the owners have not answered")),
            _ => Err(failed("no counts were asked for")),
        }
    }

    /// The answer, once all passes are done.
    ///
    /// # Errors
    /// [`ProtocolError::Survey`] for sums that no owners can have made, or passes that are missing.
    pub fn answer(&self, model: &[f32]) -> Result<TableStatistics, ProtocolError> {
        let failed = |reason: String| ProtocolError::Survey(reason);
        if !self.is_done(model) {
            let (done, all) = (self.done(model), self.passes.len());
            return Err(failed(format!("{done} of {all} passes are done")));
        }
        match &self.asking {
            Asking::Exact(survey) => {
                let mut known = survey.begin();
                for pass in 0..self.passes.len() {
                    let learned = survey.learn(&mut known, &self.sums_of(pass, model)?);
                    learned.map_err(|error| failed(error.to_string()))?;
                }
                let found = survey.finish(known);
                found.ok_or_else(|| failed("passes are missing".to_owned()))
            }
            Asking::Noisy { survey, .. } => {
                let sums = self.sums_of(0, model)?;
                let sums: Vec<f64> = sums.iter().map(|sum| *sum as f64 / NOISY_UNIT).collect();
                Ok(survey.statistics(&sums))
            }
            Asking::Counts(_) => Err(failed("no statistics were asked for".to_owned())),
        }
    }
}

/// A row of an owner: its values in the order of the question, and its class.
pub type Row<'a> = (Vec<Value<'a>>, u32);

/// What an owner adds up.
#[derive(Debug)]
pub enum Owned<'a> {
    /// What the question asks about these rows.
    Rows(&'a [Row<'a>]),
    /// As above, hidden by this noise.
    Hidden(&'a [Row<'a>], Box<NoiseSource>),
    /// These counts.
    Counts(&'a [u64]),
}

/// An owner, as a client of the rounds.
#[derive(Debug)]
pub struct SurveyLearner<'a> {
    plan: &'a SurveyPlan,
    owned: Owned<'a>,
}

impl<'a> SurveyLearner<'a> {
    /// The owner of `owned`, which fits what the plan asks.
    pub fn new(plan: &'a SurveyPlan, owned: Owned<'a>) -> Self {
        Self { plan, owned }
    }

    fn numbers(&mut self, pass: usize, model: &[f32]) -> Result<Vec<i128>, LearnerError> {
        let failed = |error: &dyn std::fmt::Display| LearnerError(error.to_string());
        match (&self.plan.asking, &mut self.owned) {
            (Asking::Exact(survey), Owned::Rows(rows)) => {
                let mut known = survey.begin();
                for done in 0..pass {
                    let sums = self
                        .plan
                        .sums_of(done, model)
                        .map_err(|error| failed(&error))?;
                    let learned = survey.learn(&mut known, &sums);
                    learned.map_err(|error| failed(&error))?;
                }
                let rows = rows.iter().map(|(row, class)| (&row[..], *class));
                let numbers = survey.observe(&known, rows);
                numbers.map_err(|error| failed(&error))
            }
            (
                Asking::Noisy {
                    survey,
                    noise_multiplier,
                },
                Owned::Hidden(rows, noise),
            ) => noisy_sum(survey, *noise_multiplier, rows, noise).map_err(|error| failed(&error)),
            (Asking::Counts(_), Owned::Counts(counts)) => {
                Ok(counts.iter().map(|count| i128::from(*count)).collect())
            }
            _ => Err(failed(&"something else is asked for than this owner has")),
        }
    }
}

/// The sum of what the rows add, with noise.
fn noisy_sum(
    survey: &BoundedSurvey,
    noise_multiplier: f64,
    rows: &[Row<'_>],
    noise: &mut NoiseSource,
) -> Result<Vec<i128>, PrivacyError> {
    let width = survey.width();
    let mut sum = GaussianSum::new(width, survey.norm(), noise_multiplier, 1.0)?;
    let mut vector = Vec::with_capacity(width);
    for (row, class) in rows {
        survey.contribution(row, *class, &mut vector);
        sum.add(&vector)?;
    }
    let noisy = sum.release(noise);
    let number = |value: &f32| (f64::from(*value) * NOISY_UNIT).round() as i128;
    Ok(noisy.iter().map(number).collect())
}

impl Learner for SurveyLearner<'_> {
    fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// One, so that all owners' numbers weigh the same.
    fn examples(&self) -> u64 {
        1
    }

    fn train(
        &mut self,
        global: &[f32],
        _plan: &TrainPlan,
        _rng: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        let plan = self.plan;
        if global.len() != plan.layout.len() {
            return Err(LearnerError(format!(
                "{} numbers are known, where {} are asked for",
                global.len(),
                plan.layout.len()
            )));
        }
        let pass = plan.done(global);
        let Some((range, widths)) = plan.passes.get(pass) else {
            return Err(LearnerError("all passes are done".to_owned()));
        };
        let numbers = self.numbers(pass, global)?;
        if numbers.len() != widths.len() {
            let (got, expected) = (numbers.len(), widths.len());
            return Err(LearnerError(format!(
                "{got} numbers, where {expected} are asked for"
            )));
        }
        let spelled = plan
            .limbs
            .spell(&numbers, widths)
            .ok_or_else(|| LearnerError("a sum of the rows is larger than its place".to_owned()))?;
        let mut values = vec![REST; global.len()];
        values[range.clone()].copy_from_slice(&spelled);
        Ok(Update {
            examples: 1,
            loss: None,
            values,
        })
    }

    fn evaluate(&mut self, _global: &[f32]) -> Result<Measures, LearnerError> {
        Err(LearnerError("statistics are not a model".to_owned()))
    }
}
