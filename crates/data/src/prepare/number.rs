//! Numbers to features.

use serde::{Deserialize, Serialize};

use super::config::Buckets;
use super::plan::{NumberFill, NumberForm, NumberSteps};
use crate::config::Scaling;
use crate::statistics::NumberStatistics;

/// A fitted column of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberCode {
    /// What stands for a missing value.
    fill: f64,
    /// Values to which others are clipped.
    clip: Option<(f64, f64)>,
    form: Form,
    indicator: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
enum Form {
    /// `(value - shift) / scale`.
    Linear { shift: f64, scale: f64 },
    /// Place among knots, of which the first is 0 and the last 1.
    Quantiles { knots: Vec<f64> },
    /// A 1 in the place of the interval.
    Buckets { edges: Vec<f64> },
}

impl NumberCode {
    pub(crate) fn fit(steps: &NumberSteps, known: &NumberStatistics) -> Self {
        let asked = steps.quantiles();
        let quantile = |p: f64| {
            let place = asked.iter().position(|asked| *asked == p)?;
            known.quantiles.get(place).copied()
        };
        let fill = match steps.fill {
            NumberFill::Mean => known.mean,
            NumberFill::Median => quantile(0.5).unwrap_or(0.0),
            // A mean of exactly a half may come out a rounding below.
            NumberFill::Majority => indicator(known.mean > 0.5 - 1e-9),
            NumberFill::Constant(value) => steps.transform.of(value).unwrap_or(value),
        };
        let form = match &steps.form {
            NumberForm::Scaled(Scaling::Quantile) => Form::Quantiles {
                knots: knots(known),
            },
            NumberForm::Scaled(scaling) => linear(*scaling, known, quantile),
            NumberForm::Buckets(Buckets::Edges(edges)) => Form::Buckets {
                // Declared in the column's own units.
                edges: edges
                    .iter()
                    .filter_map(|edge| steps.transform.of(*edge))
                    .collect(),
            },
            NumberForm::Buckets(Buckets::Quantiles(_)) => {
                let mut edges = known.quantiles.clone();
                edges.sort_by(f64::total_cmp);
                edges.dedup();
                Form::Buckets { edges }
            }
        };
        Self {
            fill,
            clip: known.clip.filter(|(low, high)| low <= high),
            form,
            indicator: steps.indicator,
        }
    }

    pub(crate) fn width(&self) -> usize {
        let value = match &self.form {
            Form::Buckets { edges } => edges.len() + 1,
            _ => 1,
        };
        value + usize::from(self.indicator)
    }

    /// Whether it has one feature of an indicator behind the others.
    pub(crate) fn has_indicator(&self) -> bool {
        self.indicator
    }

    /// Whether its features are a 1 among zeros.
    pub(crate) fn is_one_hot(&self) -> bool {
        matches!(self.form, Form::Buckets { .. })
    }

    /// Appends the features of a value, `None` for a missing one.
    pub(crate) fn encode(&self, value: Option<f64>, features: &mut Vec<f64>) {
        let filled = value.unwrap_or(self.fill);
        let filled = match self.clip {
            Some((low, high)) => filled.clamp(low, high),
            None => filled,
        };
        match &self.form {
            Form::Linear { shift, scale } => features.push((filled - shift) / scale),
            Form::Quantiles { knots } => features.push(place(knots, filled)),
            Form::Buckets { edges } => {
                let at = edges.partition_point(|edge| *edge <= filled);
                features.extend((0..=edges.len()).map(|bucket| indicator(bucket == at)));
            }
        }
        if self.indicator {
            features.push(indicator(value.is_none()));
        }
    }
}

/// 1 or 0.
pub(crate) fn indicator(here: bool) -> f64 {
    f64::from(u8::from(here))
}

fn linear(
    scaling: Scaling,
    known: &NumberStatistics,
    quantile: impl Fn(f64) -> Option<f64>,
) -> Form {
    let (low, high) = known.range.unwrap_or((0.0, 0.0));
    let deviation = known.variance.sqrt();
    let (shift, scale) = match scaling {
        Scaling::None | Scaling::Quantile => (0.0, 1.0),
        Scaling::Standard => (known.mean, deviation),
        Scaling::MinMax => (low, high - low),
        Scaling::Robust => match (quantile(0.25), quantile(0.5), quantile(0.75)) {
            // Where half of the values are one, the deviation is the better scale.
            (Some(first), Some(median), Some(third)) if third > first => (median, third - first),
            (_, Some(median), _) => (median, deviation),
            _ => (0.0, 1.0),
        },
    };
    Form::Linear {
        shift,
        // A constant column becomes 0, not 0/0.
        scale: if scale > 0.0 && scale.is_finite() {
            scale
        } else {
            1.0
        },
    }
}

/// Range and quantiles, rising.
fn knots(known: &NumberStatistics) -> Vec<f64> {
    let (low, high) = known.range.unwrap_or((0.0, 0.0));
    let inner = known.quantiles.iter().map(|value| value.clamp(low, high));
    let mut knots: Vec<f64> = std::iter::once(low).chain(inner).chain([high]).collect();
    knots.sort_by(f64::total_cmp);
    knots
}

/// Where a value lies among knots, from 0 to 1, between two of them in proportion; in the middle of equal ones.
fn place(knots: &[f64], value: f64) -> f64 {
    let last = knots.len() - 1;
    let below = knots.partition_point(|knot| *knot < value);
    let above = knots.partition_point(|knot| *knot <= value);
    let place = match (below, above) {
        _ if below < above => (below + above - 1) as f64 / 2.0,
        (0, _) => 0.0,
        _ if below > last => last as f64,
        _ => {
            let (low, high) = (knots[below - 1], knots[below]);
            (below - 1) as f64 + (value - low) / (high - low)
        }
    };
    place / last as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_among_knots_rise_from_0_to_1() {
        let knots = [0.0, 1.0, 1.0, 1.0, 3.0];
        let places = [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0].map(|value| place(&knots, value));
        assert_eq!(places, [0.0, 0.0, 0.125, 0.5, 0.875, 1.0, 1.0]);
        assert_eq!(place(&[2.0, 2.0], 2.0), 0.5);
    }
}
