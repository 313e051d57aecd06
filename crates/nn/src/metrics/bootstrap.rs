//! How far a figure on so many test rows can be trusted: percentile intervals by the bootstrap (Efron 1979).
//!
//! A replicate draws as many rows as there are, with replacement; a figure sees it as *how often each row was drawn*. So a
//! figure that needs an order sorts once, and a replicate costs O(n).

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Replicates.
    pub replicates: u32,
    /// Coverage that the intervals aim at, in (0, 1).
    pub level: f64,
    /// When a class that occurs has fewer rows than this, rows are drawn within each class.
    pub tiny: u64,
}

impl Default for Bootstrap {
    /// A thousand replicates, 95 %, within classes when one has fewer than 20 rows.
    fn default() -> Self {
        Self {
            replicates: 1000,
            level: 0.95,
            tiny: 20,
        }
    }
}

/// Which rows a replicate draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// All rows at once.
    Plain,
    /// Each class from its own rows, as many as it has: every replicate has all classes. The shares of the classes are then
    /// taken as given, so that intervals of figures that depend on them are narrower.
    Stratified,
}

/// An interval of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Bootstrap {
    /// How rows with these labels are drawn.
    pub fn resampling(&self, labels: &[u32]) -> Resampling {
        let counts = counts(labels);
        let tiny = counts.iter().any(|&count| count > 0 && count < self.tiny);
        match tiny {
            true => Resampling::Stratified,
            false => Resampling::Plain,
        }
    }

    /// An interval for each of the figures that `figures` gives, from how often each row was drawn. A figure that is `None`
    /// or not finite in more than one replicate in ten has no interval; in fewer, those replicates are left out.
    ///
    /// ```
    /// use cloister_nn::metrics::Bootstrap;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let right = [1, 1, 1, 0, 1, 1, 1, 1, 0, 1].repeat(10); // 80 of 100
    /// let share = |draws: &[u32]| {
    ///     let hits: u32 = right.iter().zip(draws).map(|(right, drawn)| right * drawn).sum();
    ///     vec![Some(f64::from(hits) / 100.0)]
    /// };
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let interval = Bootstrap::default().intervals(&[0; 100], &mut rng, share)[0].expect("defined in all replicates");
    /// assert!((0.69..0.75).contains(&interval.low) && (0.85..0.90).contains(&interval.high));
    /// ```
    pub fn intervals(
        &self,
        labels: &[u32],
        rng: &mut impl Rng,
        mut figures: impl FnMut(&[u32]) -> Vec<Option<f64>>,
    ) -> Vec<Option<Interval>> {
        if labels.is_empty() || self.replicates == 0 {
            return vec![None; figures(&vec![0; labels.len()]).len()];
        }
        let strata = match self.resampling(labels) {
            Resampling::Plain => vec![(0..labels.len()).collect()],
            Resampling::Stratified => strata(labels),
        };
        let mut draws = vec![0_u32; labels.len()];
        let mut values: Vec<Vec<f64>> = Vec::new();
        for _ in 0..self.replicates {
            draws.fill(0);
            for rows in &strata {
                for _ in 0..rows.len() {
                    draws[rows[rng.random_range(0..rows.len())]] += 1;
                }
            }
            let drawn = figures(&draws);
            values.resize(drawn.len(), Vec::new());
            for (values, value) in values.iter_mut().zip(drawn) {
                values.extend(value.filter(|value| value.is_finite()));
            }
        }
        values
            .into_iter()
            .map(|values| self.interval(values))
            .collect()
    }

    fn interval(&self, mut values: Vec<f64>) -> Option<Interval> {
        if (values.len() as f64) < 0.9 * f64::from(self.replicates) {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval {
            low: quantile(&values, tail)?,
            high: quantile(&values, 1.0 - tail)?,
        })
    }
}

/// The quantile of ascending values at `share` in \[0, 1\], linear between neighbours (numpy's default). `None` for no value.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    let weight = at - below as f64;
    Some(sorted[below] + (sorted[above] - sorted[below]) * weight)
}

fn counts(labels: &[u32]) -> Vec<u64> {
    let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
    let mut counts = vec![0; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    counts
}

fn strata(labels: &[u32]) -> Vec<Vec<usize>> {
    let mut strata = vec![Vec::new(); counts(labels).len()];
    for (row, &label) in labels.iter().enumerate() {
        strata[label as usize].push(row);
    }
    strata
}
