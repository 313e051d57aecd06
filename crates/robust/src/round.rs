//! One aggregation: measure, decide, read.

use std::collections::BTreeMap;

use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::aggregator::{AggregatorState, Input};
use crate::config::{AggregationConfig, Rule, Start};
use crate::coordinate::{Kind, Plan};
use crate::error::RobustError;
use crate::gram::{Unusable, Vector, squared_distances};
use crate::input::first_unusable;
use crate::matrix::Square;
use crate::mixed::{self, Mixing, Rows};
use crate::points::{Extras, Points};
use crate::read::weighted_sum;
use crate::rules::{self, Choice, Drops, Neighbours};
use crate::scalar::Scalar;
use crate::verdict::{RowVerdict, Verdict};
use crate::workers::Workers;

/// Smallest distance by which `geometric-median` divides, unless set.
const SMOOTHING: f64 = 1e-6;
/// Iterations of `geometric-median` and `centred-clipping`, unless set.
const ITERATIONS: u32 = 3;
/// Columns that an iteration of `dnc` looks at, unless set.
const SAMPLE: u32 = 10_000;
/// Noise of `flame` in units of the clipping norm, unless set.
const FLAME_NOISE: f64 = 0.001;
/// Step of `sign-majority`, unless set.
const SIGN_STEP: f64 = 0.001;

/// What `foolsgold` will remember: the new history of each client of the round.
type Histories<T> = BTreeMap<u32, Vec<T>>;

/// The vectors of a round, and the points that the steps made of them.
pub(crate) struct Round<'a, T> {
    config: &'a AggregationConfig,
    state: &'a AggregatorState<T>,
    input: &'a Input<'a, T>,
    workers: Workers,
    /// Rows, then extras.
    vectors: Vec<Vector<'a, T>>,
    columns: usize,
    /// Whether all rows were read and found usable.
    measured: bool,
    points: Points,
}

impl<'a, T: Scalar> Round<'a, T> {
    /// Measures distances, where steps or rule need them.
    pub(crate) fn new(
        config: &'a AggregationConfig,
        state: &'a AggregatorState<T>,
        input: &'a Input<'a, T>,
    ) -> Result<Self, RobustError> {
        let rule = config.rule;
        let previous = state
            .previous
            .as_deref()
            .filter(|_| rule == Rule::CentredClipping);
        let extras = Extras {
            origin: needs_origin(config, previous.is_some()),
            previous: previous.is_some(),
            trusted: rule == Rule::Fltrust,
        };
        let mut vectors: Vec<Vector<'a, T>> = input.rows.iter().map(|row| Some(*row)).collect();
        vectors.extend(extras.origin.then_some(None));
        vectors.extend(previous.map(Some));
        vectors.extend(input.trusted.filter(|_| extras.trusted).map(Some));
        let columns = input.rows.first().map_or(0, |row| row.len());
        let workers = Workers::new(input.threads);
        let measured =
            needs_distances(rule) || config.before.iter().any(|step| step.needs_distances());
        let distances = if measured {
            let distances = squared_distances(&vectors, columns, &workers);
            Some(distances.map_err(|Unusable| first_unusable(input.rows))?)
        } else {
            None
        };
        let points = Points::new(input.rows.len(), extras, distances);
        Ok(Self {
            config,
            state,
            input,
            workers,
            vectors,
            columns,
            measured,
            points,
        })
    }

    /// The points, for the steps before the rule.
    pub(crate) fn points_mut(&mut self) -> &mut Points {
        &mut self.points
    }

    /// Applies the rule.
    pub(crate) fn decide(
        &self,
        rng: &mut ChaCha8Rng,
        out: &mut [T],
    ) -> Result<(Verdict, Histories<T>), RobustError> {
        let all: Vec<usize> = (0..self.points.count()).collect();
        if self.config.rule == Rule::Bulyan {
            let picked = rules::bulyan(&self.points, self.config.byzantine as usize);
            let keep = picked
                .len()
                .saturating_sub(2 * self.config.byzantine as usize);
            self.by_coordinate(Kind::Meamed { keep }, &picked, out)?;
            return Ok((self.verdict_of_picked(&picked), Histories::new()));
        }
        if let Some(kind) = self.kind() {
            let sums = self.by_coordinate(kind, &all, out)?;
            return Ok((self.verdict_by_coordinate(kind, &sums), Histories::new()));
        }
        let (choice, noise, histories) = self.choose(rng)?;
        let weights = self.points.over_basis(&choice.weights);
        self.read(&weights, out)?;
        add_noise(out, noise, rng);
        let rows = (0..self.input.rows.len())
            .map(|row| RowVerdict {
                kept: weights[row] > 0.0,
                weight: Some(weights[row]),
                score: self.score(&choice, &histories, row),
            })
            .collect();
        Ok((Verdict { rows }, histories.news))
    }

    /// The weights of a rule, the standard deviation of its noise, and what it remembers.
    fn choose(&self, rng: &mut ChaCha8Rng) -> Result<(Choice, f64, Remembered<T>), RobustError> {
        let config = self.config;
        let points = &self.points;
        let byzantine = config.byzantine as usize;
        let noise = config.noise;
        let choice = match config.rule {
            Rule::Krum => rules::krum(points, byzantine, Neighbours::Paper, 1),
            Rule::KrumByzfl => rules::krum(points, byzantine, Neighbours::Byzfl, 1),
            Rule::MultiKrum | Rule::MultiKrumFlower => {
                rules::krum(points, byzantine, Neighbours::Paper, self.selected()?)
            }
            Rule::MultiKrumByzfl => {
                let selected = points.count() - byzantine;
                rules::krum(points, byzantine, Neighbours::Byzfl, selected)
            }
            Rule::GeometricMedian => rules::geometric_median(
                points,
                config.smoothing.unwrap_or(SMOOTHING),
                config.iterations.unwrap_or(ITERATIONS),
                config.start.unwrap_or_default(),
            ),
            Rule::CentredClipping => {
                let from = match self.state.previous {
                    Some(_) => points.previous(),
                    None => points.origin(),
                };
                let steps = config.iterations.unwrap_or(ITERATIONS).max(1);
                rules::centred_clipping(points, from, config.radius, steps)
            }
            Rule::Mda => rules::least_diameter(points, byzantine)?,
            Rule::Cge => rules::shortest(points, byzantine),
            Rule::Dnc => self.directions(rng)?,
            Rule::NormClipping => {
                let choice = rules::clipped_mean(points, config.radius);
                return Ok((choice, noise.unwrap_or(0.0), Remembered::default()));
            }
            Rule::Fltrust => rules::trusted(points),
            Rule::Foolsgold => {
                let remembered = self.remember()?;
                let choice = rules::foolsgold(points, &remembered.cosines);
                return Ok((choice, 0.0, remembered));
            }
            Rule::Flame => {
                let (choice, limit) = rules::flame(points);
                let noise = noise.unwrap_or(FLAME_NOISE) * limit;
                return Ok((choice, noise, Remembered::default()));
            }
            // The rules by coordinate do not come here.
            _ => self.mean(),
        };
        Ok((choice, 0.0, Remembered::default()))
    }

    /// The mean; a point weighs what its rows weigh together.
    fn mean(&self) -> Choice {
        let mut weights = vec![0.0; self.points.places()];
        match self.input.weights {
            Some(given) => {
                let total: f64 = given.iter().sum();
                for (weight, &point) in given.iter().zip(self.points.owner()) {
                    weights[point] += weight / total;
                }
            }
            None => {
                let share = 1.0 / self.points.count() as f64;
                weights[..self.points.count()].fill(share);
            }
        }
        Choice {
            weights,
            scores: vec![None; self.points.count()],
        }
    }

    /// How many points a Multi-Krum averages.
    fn selected(&self) -> Result<usize, RobustError> {
        let (count, byzantine) = (self.points.count(), self.config.byzantine as usize);
        let (default, most, allowed) = if self.config.rule == Rule::MultiKrumFlower {
            (1, count, format!("at most n = {count}"))
        } else {
            let most = count.saturating_sub(byzantine + 2);
            let allowed = format!("at most n - f - 2 = {most} with n = {count} rows");
            (most, most, allowed)
        };
        let selected = self.config.selected.map_or(default, |s| s as usize);
        if selected > most {
            return Err(RobustError::Parameter {
                name: "selected",
                value: selected as f64,
                allowed,
            });
        }
        Ok(selected)
    }

    /// `dnc`: the distances over sampled columns, then the choice.
    fn directions(&self, rng: &mut ChaCha8Rng) -> Result<Choice, RobustError> {
        let length = (self.config.sample.unwrap_or(SAMPLE) as usize).min(self.columns);
        // All columns every time: once is enough.
        let times = if length == self.columns {
            1
        } else {
            self.config.iterations.unwrap_or(1).max(1)
        };
        let mut samples = Vec::new();
        for _ in 0..times {
            let mut columns = index::sample(rng, self.columns, length).into_vec();
            columns.sort_unstable();
            let gathered: Vec<Option<Vec<T>>> = self
                .vectors
                .iter()
                .map(|vector| vector.map(|v| columns.iter().map(|&at| v[at]).collect()))
                .collect();
            let vectors: Vec<Vector<'_, T>> = gathered.iter().map(Option::as_deref).collect();
            let distances = squared_distances(&vectors, length, &self.workers)
                .map_err(|Unusable| first_unusable(self.input.rows))?;
            samples.push(self.points.measured_by(distances));
        }
        let drops = Drops {
            factor: self.config.drop_factor.unwrap_or(1.0),
            byzantine: self.config.byzantine as usize,
        };
        rules::directions(&samples, drops)
    }

    /// `foolsgold`: the histories of the round's clients with this round in them, and the cosines between them.
    fn remember(&self) -> Result<Remembered<T>, RobustError> {
        let rows = self.input.rows;
        let client = |row: usize| {
            self.input
                .clients
                .map_or(row as u32, |clients| clients[row])
        };
        let clients: Vec<u32> = (0..rows.len()).map(client).collect();
        let sums = self.workers.map(rows.len(), |row| {
            let mut sum = rows[row].to_vec();
            if let Some(history) = self.state.histories.get(&clients[row]) {
                for (sum, &past) in sum.iter_mut().zip(history) {
                    let (now, past): (f64, f64) = ((*sum).into(), past.into());
                    let largest = T::LARGEST;
                    *sum = if now.is_finite() {
                        T::of((now + past).clamp(-largest, largest))
                    } else {
                        *sum
                    };
                }
            }
            sum
        });
        let mut vectors: Vec<Vector<'_, T>> = sums.iter().map(|sum| Some(&sum[..])).collect();
        vectors.push(None);
        let distances = squared_distances(&vectors, self.columns, &self.workers)
            .map_err(|Unusable| first_unusable(rows))?;
        let extras = Extras {
            origin: true,
            ..Extras::default()
        };
        let points = Points::new(rows.len(), extras, Some(distances));
        let cosines = Square::from_fn(
            rows.len(),
            |i, j| {
                if i == j { 1.0 } else { points.cosine(i, j) }
            },
        );
        Ok(Remembered {
            similarity: rules::greatest_similarity(&cosines),
            cosines,
            news: clients.into_iter().zip(sums).collect(),
        })
    }

    /// The weighted sum of rows and extras.
    fn read(&self, weights: &[f64], out: &mut [T]) -> Result<(), RobustError> {
        let terms: Vec<(f64, &[T])> = weights
            .iter()
            .zip(&self.vectors)
            .filter_map(|(&weight, vector)| vector.map(|values| (weight, values)))
            // Rows of no weight are read only to be checked.
            .filter(|(weight, _)| *weight != 0.0 || !self.measured)
            .collect();
        if weighted_sum(&terms, out, &self.workers) >= T::REFUSED {
            return Err(first_unusable(self.input.rows));
        }
        Ok(())
    }

    /// Reduces `chosen` points column by column; returns what the plan adds to their scores.
    fn by_coordinate(
        &self,
        kind: Kind,
        chosen: &[usize],
        out: &mut [T],
    ) -> Result<Vec<f64>, RobustError> {
        let plan = Plan::new(kind, chosen.len())?;
        let rows = match self.points.mixing() {
            None => Rows::Plain(chosen.iter().map(|&row| self.input.rows[row]).collect()),
            Some(mixing) => {
                let mixing: Vec<&[f64]> = chosen.iter().map(|&p| &mixing[p][..]).collect();
                Rows::Mixed(Mixing::new(&self.vectors, &mixing))
            }
        };
        let scored = self.config.rule != Rule::Bulyan;
        mixed::reduce(&plan, &rows, scored, out, &self.workers)
            .map_err(|Unusable| first_unusable(self.input.rows))
    }

    /// What the rule does with a column, for rules by coordinate.
    fn kind(&self) -> Option<Kind> {
        let byzantine = self.config.byzantine as usize;
        let keep = self.points.count() - byzantine.min(self.points.count());
        Some(match self.config.rule {
            Rule::Median => Kind::Median,
            Rule::TrimmedMean => Kind::TrimmedMean {
                trim: self.config.trim.map_or(byzantine, |trim| trim as usize),
            },
            Rule::Meamed => Kind::Meamed { keep },
            Rule::Phocas => Kind::Phocas {
                trim: byzantine,
                keep,
            },
            Rule::SignMajority => Kind::SignMajority {
                step: self.config.sign_step.unwrap_or(SIGN_STEP),
            },
            _ => return None,
        })
    }

    fn verdict_by_coordinate(&self, kind: Kind, sums: &[f64]) -> Verdict {
        let score = |sum: f64| match kind {
            Kind::SignMajority { .. } => sum / (self.columns as f64).max(1.0),
            _ => sum.sqrt(),
        };
        self.verdict(|point| RowVerdict {
            kept: true,
            weight: None,
            score: Some(score(sums[point])),
        })
    }

    fn verdict_of_picked(&self, picked: &[usize]) -> Verdict {
        self.verdict(|point| {
            let place = picked.iter().position(|&other| other == point);
            RowVerdict {
                kept: place.is_some(),
                weight: None,
                score: place.map(|place| place as f64),
            }
        })
    }

    /// Each row's verdict is that of its point.
    fn verdict(&self, of: impl Fn(usize) -> RowVerdict) -> Verdict {
        let rows = self.points.owner().iter().map(|&point| of(point)).collect();
        Verdict { rows }
    }

    fn score(&self, choice: &Choice, remembered: &Remembered<T>, row: usize) -> Option<f64> {
        if self.config.rule == Rule::Foolsgold {
            return remembered.similarity[row];
        }
        choice.scores[self.points.owner()[row]]
    }
}

/// What `foolsgold` saw of its clients.
struct Remembered<T> {
    /// Between the histories, in the order of the rows.
    cosines: Square,
    /// The greatest of them for each row.
    similarity: Vec<Option<f64>>,
    /// The histories.
    news: Histories<T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            cosines: Square::zeros(0),
            similarity: Vec::new(),
            news: Histories::new(),
        }
    }
}

/// Whether the rule looks at the distances of all rows.
fn needs_distances(rule: Rule) -> bool {
    !matches!(
        rule,
        Rule::Mean
            | Rule::Median
            | Rule::TrimmedMean
            | Rule::Meamed
            | Rule::Phocas
            | Rule::SignMajority
            | Rule::Dnc
            | Rule::Foolsgold
    )
}

/// Whether the zero vector takes part.
fn needs_origin(config: &AggregationConfig, has_previous: bool) -> bool {
    let rule = match config.rule {
        Rule::Cge | Rule::NormClipping | Rule::Fltrust | Rule::Foolsgold | Rule::Flame => true,
        Rule::CentredClipping => !has_previous,
        Rule::GeometricMedian => config.start == Some(Start::Zero),
        _ => false,
    };
    rule || config.before.iter().any(|step| step.needs_origin())
}

/// Adds independent Gaussian noise, column by column in order.
fn add_noise<T: Scalar>(out: &mut [T], deviation: f64, rng: &mut ChaCha8Rng) {
    if deviation > 0.0 {
        for out in out {
            let noise: f64 = StandardNormal.sample(rng);
            *out = T::of((*out).into() + deviation * noise);
        }
    }
}
