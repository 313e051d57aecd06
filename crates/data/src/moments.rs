//! Count, mean, spread and range of a column, as figures that owners can add up without pooling their rows.

use serde::Serialize;

/// What a federation needs to know of a numeric column to fill and scale it.
///
/// Each owner observes its own rows; [`ColumnMoments::merge`] joins the figures of two owners into those of their rows
/// together (Chan, Golub and LeVeque 1979), so that scaling by training statistics needs five numbers from an owner
/// and no row. Sums of squares are kept about the mean: nothing cancels for columns far from zero.
///
/// ```
/// use cloister_data::ColumnMoments;
///
/// let mut first = ColumnMoments::default();
/// let mut second = ColumnMoments::default();
/// [1.0, 2.0].map(|value| first.observe(Some(value)));
/// [Some(6.0), None].map(|value| second.observe(value));
/// first.merge(&second);
/// assert_eq!((first.count(), first.missing(), first.mean()), (3, 1, 3.0));
/// assert_eq!(first.variance(), 14.0 / 3.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ColumnMoments {
    count: u64,
    missing: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    spread: f64,
    range: Option<(f64, f64)>,
}

impl ColumnMoments {
    /// Takes a cell in; `None` is a missing one. The value must be finite.
    pub fn observe(&mut self, value: Option<f64>) {
        let Some(value) = value else {
            self.missing += 1;
            return;
        };
        self.merge(&Self {
            count: 1,
            missing: 0,
            mean: value,
            spread: 0.0,
            range: Some((value, value)),
        });
    }

    /// Takes many values in, which must be finite: the mean first, then the distances from it.
    pub(crate) fn observe_all(&mut self, values: &[f64]) {
        let Some((&first, _)) = values.split_first() else {
            return;
        };
        let count = values.len() as f64;
        // About the first value, so that nothing overflows or cancels far from zero, and a constant stays exact.
        let mean = first
            + values
                .iter()
                .map(|value| (value - first) / count)
                .sum::<f64>();
        let range = values.iter().fold((first, first), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        self.merge(&Self {
            count: values.len() as u64,
            missing: 0,
            mean,
            spread: values
                .iter()
                .map(|value| (value - mean) * (value - mean))
                .sum(),
            range: Some(range),
        });
    }

    /// Takes in what another owner observed.
    pub fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        self.range = match (self.range, other.range) {
            (Some((low, high)), Some((other_low, other_high))) => {
                Some((low.min(other_low), high.max(other_high)))
            }
            (range, None) | (None, range) => range,
        };
        let count = self.count + other.count;
        if other.count == 0 {
            return;
        }
        let distance = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        self.spread += other.spread + distance * distance * self.count as f64 * share;
        self.mean += distance * share;
        self.count = count;
    }

    /// Values observed, missing ones not counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Missing cells observed.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Mean; 0 without a value.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Variance in the population form (over n); 0 without a value.
    pub fn variance(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.spread / self.count as f64
    }

    /// Smallest and largest value, if there is one.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observed(values: &[f64]) -> ColumnMoments {
        let mut moments = ColumnMoments::default();
        for &value in values {
            moments.observe(Some(value));
        }
        moments
    }

    proptest! {
        /// Cut anywhere, the merged figures are those of the pooled column, computed in two passes.
        #[test]
        fn merging_is_pooling(
            values in proptest::collection::vec(-1e6..1e6, 1..60),
            offset in -1e6..1e6,
            cut in 0_usize..60,
        ) {
            let values: Vec<f64> = values.iter().map(|v: &f64| v + offset).collect();
            let cut = cut.min(values.len());
            let mut merged = observed(&values[..cut]);
            merged.merge(&observed(&values[cut..]));
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            prop_assert_eq!(merged.count(), values.len() as u64);
            prop_assert!((merged.mean() - mean).abs() < 1e-8);
            prop_assert!((merged.variance() - variance).abs() <= 1e-9 * variance + 1e-6);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert_eq!(merged.range().map(|r| r.0), Some(low));
        }

        /// A constant column has a variance of exactly zero, which is how the encoder knows it.
        #[test]
        fn constants_have_no_variance(value in -1e9..1e9, a in 1_usize..30, b in 1_usize..30) {
            let mut merged = observed(&vec![value; a]);
            merged.merge(&observed(&vec![value; b]));
            prop_assert_eq!(merged.variance(), 0.0);
        }
    }

    #[test]
    fn nothing_cancels_far_from_zero() {
        let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 2)).collect();
        assert!((observed(&values).variance() - 0.25).abs() < 1e-6);
    }
}
