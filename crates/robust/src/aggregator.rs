//! Steps and rule put together: the one entrance of the crate.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use crate::config::{AggregationConfig, Rule};
use crate::error::RobustError;
use crate::input::check_input;
use crate::round::Round;
use crate::scalar::Scalar;
use crate::verdict::Verdict;

/// The rows of a round, and what a rule may know beside them.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    /// n rows of d values.
    pub rows: &'a [&'a [T]],
    /// Who sent each row, for rules that remember; the row's number if `None`.
    pub clients: Option<&'a [u32]>,
    /// Weights of the rows, for `mean` alone; equal if `None`.
    pub weights: Option<&'a [f64]>,
    /// The server's own update, for `fltrust`.
    pub trusted: Option<&'a [T]>,
    /// Threads to work on; the result does not depend on it.
    pub threads: usize,
}

impl<'a, T> Input<'a, T> {
    /// `rows` and nothing beside them, on one thread.
    pub fn new(rows: &'a [&'a [T]]) -> Self {
        Self {
            rows,
            clients: None,
            weights: None,
            trusted: None,
            threads: 1,
        }
    }
}

/// What a rule remembers from round to round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AggregatorState<T> {
    /// The previous result (`centred-clipping`).
    pub previous: Option<Vec<T>>,
    /// Summed updates of each client (`foolsgold`).
    pub histories: BTreeMap<u32, Vec<T>>,
}

/// A rule, the steps before it, and its memory.
#[derive(Clone, Debug)]
pub struct Aggregator<T> {
    config: AggregationConfig,
    state: AggregatorState<T>,
}

impl<T: Scalar> Aggregator<T> {
    /// The aggregator of `config`, with an empty memory.
    ///
    /// # Errors
    /// [`RobustError::Parameter`] if a parameter is out of its range.
    pub fn new(config: AggregationConfig) -> Result<Self, RobustError> {
        config.check_parameters()?;
        Ok(Self {
            config,
            state: AggregatorState::default(),
        })
    }

    /// The config.
    pub fn config(&self) -> &AggregationConfig {
        &self.config
    }

    /// What it remembers.
    pub fn state(&self) -> &AggregatorState<T> {
        &self.state
    }

    /// Goes on from what an aggregator of the same config remembered.
    pub fn restore(&mut self, state: AggregatorState<T>) {
        self.state = state;
    }

    /// Writes the aggregate of `input` into `out`. Randomness (buckets, sampled coordinates, noise) comes from `rng`.
    ///
    /// # Errors
    /// [`RobustError`], with the memory as it was and `out` unspecified.
    pub fn aggregate(
        &mut self,
        input: &Input<'_, T>,
        rng: &mut ChaCha8Rng,
        out: &mut [T],
    ) -> Result<Verdict, RobustError> {
        self.config.check_rows(input.rows.len())?;
        check_input(&self.config, &self.state, input, out.len())?;
        let mut round = Round::new(&self.config, &self.state, input)?;
        for step in &self.config.before {
            step.take(&self.config, round.points_mut(), rng);
        }
        let (verdict, histories) = round.decide(rng, out)?;
        if self.config.rule == Rule::CentredClipping {
            self.state.previous = Some(out.to_vec());
        }
        self.state.histories.extend(histories);
        Ok(verdict)
    }
}
