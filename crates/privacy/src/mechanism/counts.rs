//! Metrics, histograms and categories: few numbers, each of which is a release.

use crate::error::PrivacyError;
use crate::event::Event;
use crate::mechanism::central::GaussianSum;
use crate::noise::{DiscreteLaplace, NoiseSource};

/// A number with noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The noisy sum.
    pub value: f64,
    /// Half the width of the interval that holds the sum without noise 95 times in 100: 1.96 standard deviations.
    pub margin: f64,
}

/// Sums of a few numbers of each client, such as right predictions, examples and loss, with Gaussian noise on all of them
/// for one price.
///
/// Each number is clamped to its bound and divided by it and by the root of how many there are. So no client's vector is
/// longer than 1, and numbers within their bounds come through without bias.
#[derive(Clone, Debug)]
pub struct MetricSums {
    bounds: Vec<f64>,
    sum: GaussianSum,
}

impl MetricSums {
    /// Nothing summed yet, of numbers whose absolute values are bounded so.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for a bound that is not above 0 or above 1e30, or no bound at all, or a bad noise
    /// multiplier.
    pub fn new(bounds: &[f64], noise_multiplier: f64) -> Result<Self, PrivacyError> {
        if let Some(&found) = bounds
            .iter()
            .find(|bound| !(**bound > 0.0 && **bound <= 1e30))
        {
            return Err(PrivacyError::Parameter {
                name: "the bound of a metric",
                range: "above 0 and at most 1e30",
                found,
            });
        }
        Ok(Self {
            sum: GaussianSum::new(bounds.len(), 1.0, noise_multiplier, 1.0)?,
            bounds: bounds.to_vec(),
        })
    }

    /// Adds one client's numbers. What is not a number counts as 0.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] for another number of them than there are bounds.
    pub fn add(&mut self, numbers: &[f64]) -> Result<(), PrivacyError> {
        if numbers.len() != self.bounds.len() {
            return Err(PrivacyError::Unsupported(format!(
                "{} numbers do not fit metrics with {} bounds",
                numbers.len(),
                self.bounds.len()
            )));
        }
        let root = (self.bounds.len() as f64).sqrt();
        let scaled: Vec<f32> = numbers
            .iter()
            .zip(&self.bounds)
            .map(|(&number, &bound)| {
                let number = if number.is_nan() { 0.0 } else { number };
                (number.clamp(-bound, bound) / (bound * root)) as f32
            })
            .collect();
        self.sum.add(&scaled).map(|_| ())
    }

    /// The sums, with noise.
    pub fn release(self, source: &mut NoiseSource) -> Vec<Estimate> {
        let root = (self.bounds.len() as f64).sqrt();
        let deviation = self.sum.noise_deviation();
        let noisy = self.sum.release(source);
        noisy
            .iter()
            .zip(&self.bounds)
            .map(|(&value, &bound)| Estimate {
                value: f64::from(value) * bound * root,
                margin: 1.96 * deviation * bound * root,
            })
            .collect()
    }

    /// What the release costs: as [`GaussianSum::event`].
    pub fn event(&self, sampling_rate: Option<f64>) -> Event {
        self.sum.event(sampling_rate)
    }
}

/// Counts of known bins with discrete Laplace noise, which is private without a delta.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<i64>,
    noise: DiscreteLaplace,
    bins_each: u32,
    count_each: u32,
}

impl Histogram {
    /// Empty bins. A client counts in `bins_each` of them at most, and for `count_each` at most in each; with both, its part
    /// costs it `epsilon` at most.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for no bins, bounds of 0, or an epsilon that does not leave a rate between 2^-20 and 64.
    pub fn new(
        bins: usize,
        bins_each: u32,
        count_each: u32,
        epsilon: f64,
    ) -> Result<Self, PrivacyError> {
        for (name, found) in [
            ("the number of bins", bins as f64),
            ("the number of bins of a client", bins_each.into()),
            ("the count of a client in a bin", count_each.into()),
        ] {
            if found < 1.0 {
                return Err(PrivacyError::Parameter {
                    name,
                    range: "at least 1",
                    found,
                });
            }
        }
        Ok(Self {
            counts: vec![0; bins],
            noise: DiscreteLaplace::new(epsilon / f64::from(bins_each) / f64::from(count_each))?,
            bins_each,
            count_each,
        })
    }

    /// Adds one client's counts, as pairs of a bin and how often. Of too many bins a uniform subset is kept; counts that are
    /// too large are cut; a bin that is named twice counts once, and one that does not exist not at all.
    pub fn add(&mut self, counts: &[(usize, u32)], source: &mut NoiseSource) {
        let mut kept = counts.to_vec();
        kept.retain(|&(bin, _)| bin < self.counts.len());
        kept.sort_unstable();
        kept.dedup_by_key(|&mut (bin, _)| bin);
        source.keep(&mut kept, self.bins_each as usize);
        for (bin, count) in kept {
            let sum = &mut self.counts[bin];
            *sum = sum.saturating_add(count.min(self.count_each).into());
        }
    }

    /// The counts, with noise; some may be negative.
    pub fn release(mut self, source: &mut NoiseSource) -> Vec<i64> {
        for count in &mut self.counts {
            *count = count.saturating_add(self.noise.sample(source));
        }
        self.counts
    }

    /// What the release costs: one integer for each bin that a client may touch.
    pub fn event(&self) -> Event {
        Event::Repeated {
            event: Box::new(Event::DiscreteLaplace {
                rate: self.noise.rate(),
                sensitivity: self.count_each,
            }),
            count: self.bins_each.into(),
        }
    }
}

/// A category that each client may lie about (Warner 1965).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomisedResponse {
    categories: u32,
    kept: f64,
}

impl RandomisedResponse {
    /// Answers among so many categories, each `epsilon` locally private.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] for fewer than 2 categories, or an epsilon that is not above 0 and at most 30.
    pub fn new(categories: u32, epsilon: f64) -> Result<Self, PrivacyError> {
        if categories < 2 {
            return Err(PrivacyError::Parameter {
                name: "the number of categories",
                range: "at least 2",
                found: categories.into(),
            });
        }
        if !(epsilon > 0.0 && epsilon <= 30.0) {
            return Err(PrivacyError::Parameter {
                name: "the epsilon of randomised response",
                range: "above 0 and at most 30",
                found: epsilon,
            });
        }
        // The odds of the truth against any other answer are e^epsilon.
        let more = libm::expm1(epsilon);
        Ok(Self {
            categories,
            kept: more / (more + f64::from(categories)),
        })
    }

    /// The answer of one client: its category, or with some chance a uniform one. A category that does not exist is
    /// answered by a uniform one always.
    pub fn answer(&self, category: u32, source: &mut NoiseSource) -> u32 {
        let kept = source.coin(self.kept);
        let uniform = source.below(self.categories.into()) as u32;
        if kept && category < self.categories {
            category
        } else {
            uniform
        }
    }

    /// How many clients are in each category, without bias, from how often each was answered; counts of categories that do not
    /// exist are left out.
    pub fn estimate(&self, answers: &[u64]) -> Vec<f64> {
        let answers = &answers[..answers.len().min(self.categories as usize)];
        let all = answers.iter().sum::<u64>() as f64;
        let by_chance = all * (1.0 - self.kept) / f64::from(self.categories);
        answers
            .iter()
            .map(|&count| (count as f64 - by_chance) / self.kept)
            .collect()
    }

    /// What one answer costs.
    pub fn event(&self) -> Event {
        Event::RandomisedResponse {
            replaced: 1.0 - self.kept,
            categories: self.categories,
        }
    }
}
