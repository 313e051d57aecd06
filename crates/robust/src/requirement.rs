//! What each rule needs of the number of rows.

use crate::config::{AggregationConfig, Before, Rule};
use crate::error::RobustError;

impl Rule {
    /// All rules, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::Mean,
        Self::Median,
        Self::TrimmedMean,
        Self::Meamed,
        Self::Phocas,
        Self::Krum,
        Self::MultiKrum,
        Self::KrumByzfl,
        Self::MultiKrumByzfl,
        Self::MultiKrumFlower,
        Self::Bulyan,
        Self::GeometricMedian,
        Self::CentredClipping,
        Self::Mda,
        Self::Cge,
        Self::Dnc,
        Self::NormClipping,
        Self::Fltrust,
        Self::Foolsgold,
        Self::Flame,
        Self::SignMajority,
    ];

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::TrimmedMean => "trimmed-mean",
            Self::Meamed => "meamed",
            Self::Phocas => "phocas",
            Self::Krum => "krum",
            Self::MultiKrum => "multi-krum",
            Self::KrumByzfl => "krum-byzfl",
            Self::MultiKrumByzfl => "multi-krum-byzfl",
            Self::MultiKrumFlower => "multi-krum-flower",
            Self::Bulyan => "bulyan",
            Self::GeometricMedian => "geometric-median",
            Self::CentredClipping => "centred-clipping",
            Self::Mda => "mda",
            Self::Cge => "cge",
            Self::Dnc => "dnc",
            Self::NormClipping => "norm-clipping",
            Self::Fltrust => "fltrust",
            Self::Foolsgold => "foolsgold",
            Self::Flame => "flame",
            Self::SignMajority => "sign-majority",
        }
    }

    /// What a row's score is, if the rule gives one.
    pub fn score_meaning(self) -> Option<&'static str> {
        Some(match self {
            Self::Mean => return None,
            Self::Median | Self::TrimmedMean | Self::Meamed | Self::Phocas => {
                "distance to the result"
            }
            Self::Krum
            | Self::MultiKrum
            | Self::KrumByzfl
            | Self::MultiKrumByzfl
            | Self::MultiKrumFlower => "sum of squared distances to its nearest neighbours",
            Self::Bulyan => "place in the order of selection",
            Self::GeometricMedian => "distance to the result",
            Self::CentredClipping => "distance to the centre before the last step",
            Self::Mda => "greatest distance to a kept update",
            Self::Cge | Self::NormClipping | Self::Flame => "length of the update",
            Self::Dnc => "squared share in the top singular direction",
            Self::Fltrust => "cosine to the server's own update",
            Self::Foolsgold => "greatest similarity to another client's history",
            Self::SignMajority => "share of coordinates whose sign agrees with the majority",
        })
    }

    /// Whether the result depends on more than the rows of this round.
    pub fn has_state(self) -> bool {
        matches!(self, Self::CentredClipping | Self::Foolsgold)
    }

    /// Rows that the rule needs to withstand `byzantine` of them, and the formula. `mean`, the rules that promise
    /// nothing in terms of f, and the Flower variant need one.
    fn needed(self, byzantine: u64) -> (u64, &'static str) {
        let f = byzantine;
        match self {
            Self::Mean
            | Self::MultiKrumFlower
            | Self::NormClipping
            | Self::Fltrust
            | Self::Foolsgold => (1, "1"),
            Self::Krum | Self::MultiKrum => (2 * f + 3, "2f + 3"),
            Self::Bulyan => (4 * f + 3, "4f + 3"),
            _ => (2 * f + 1, "2f + 1"),
        }
    }
}

impl Before {
    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nnm => "nnm",
            Self::Bucketing => "bucketing",
            Self::Clip => "clip",
            Self::Arc => "arc",
        }
    }
}

impl AggregationConfig {
    /// Whether this is the mean and nothing before it: the one rule that needs no row for itself.
    pub fn is_plain_mean(&self) -> bool {
        self.rule == Rule::Mean && self.before.is_empty()
    }

    /// Updates in a bucket.
    pub fn bucket_size(&self) -> u32 {
        self.bucket_size.unwrap_or(2)
    }

    /// Examples from which the server of `fltrust` makes an update of its own.
    pub fn root_examples(&self) -> usize {
        self.root_examples.unwrap_or(100) as usize
    }

    /// Checks that the rule and the steps before it can withstand `byzantine` of `rows` rows.
    ///
    /// # Errors
    /// [`RobustError::TooFewRows`] with the numbers.
    pub fn check_rows(&self, rows: usize) -> Result<(), RobustError> {
        if rows == 0 {
            return Err(RobustError::NoRows);
        }
        let check = |rule, (needed, formula), got: usize| {
            if (got as u64) < needed {
                return Err(RobustError::TooFewRows {
                    rule,
                    byzantine: self.byzantine,
                    needed,
                    formula,
                    got,
                });
            }
            Ok(())
        };
        let f = u64::from(self.byzantine);
        let mut left = rows;
        for step in &self.before {
            match step {
                Before::Nnm | Before::Arc => {
                    check(step.name(), (2 * f + 1, "2f + 1"), left)?;
                }
                Before::Bucketing => left = left.div_ceil(self.bucket_size().max(1) as usize),
                Before::Clip => {}
            }
        }
        check(self.rule.name(), self.rule.needed(f), left)?;
        if self.rule == Rule::TrimmedMean {
            let trim = u64::from(self.trim.unwrap_or(self.byzantine));
            check("trimmed-mean", (2 * trim + 1, "2 trim + 1"), left)?;
        }
        Ok(())
    }

    /// The least number of rows that [`check_rows`](Self::check_rows) accepts.
    pub fn minimum_rows(&self) -> usize {
        // Bucketing divides by at most its size, so the answer is below size x the largest bound.
        let bound = (4 * self.byzantine as usize + 3 + 2 * self.trim.unwrap_or(0) as usize)
            .saturating_mul(self.bucket_size().max(1) as usize)
            .saturating_add(1);
        let (mut low, mut high) = (1, bound);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.check_rows(middle).is_ok() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Checks every parameter that is set against its range, whatever the rule, and the combination of rule and steps.
    ///
    /// # Errors
    /// [`RobustError::Parameter`] with key, value and range.
    pub fn check_parameters(&self) -> Result<(), RobustError> {
        let positive = |name, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(parameter(name, value, "a number above 0"))
            }
            _ => Ok(()),
        };
        positive("smoothing", self.smoothing)?;
        positive("radius", self.radius)?;
        positive("clip_norm", self.clip_norm)?;
        positive("drop_factor", self.drop_factor)?;
        positive("sign_step", self.sign_step)?;
        if let Some(noise) = self.noise
            && !(noise.is_finite() && noise >= 0.0)
        {
            return Err(parameter("noise", noise, "a number not below 0"));
        }
        for (name, value) in [
            ("selected", self.selected),
            ("bucket_size", self.bucket_size),
            ("sample", self.sample),
            ("root_examples", self.root_examples),
        ] {
            if value == Some(0) {
                return Err(parameter(name, 0.0, "at least 1"));
            }
        }
        if let Some(trim) = self.trim
            && trim < self.byzantine
        {
            let allowed = format!("at least byzantine = {}", self.byzantine);
            return Err(parameter("trim", f64::from(trim), &allowed));
        }
        Ok(())
    }
}

fn parameter(name: &'static str, value: f64, allowed: &str) -> RobustError {
    RobustError::Parameter {
        name,
        value,
        allowed: allowed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rule: Rule, byzantine: u32, before: &[Before]) -> AggregationConfig {
        AggregationConfig {
            rule,
            byzantine,
            before: before.to_vec(),
            ..AggregationConfig::default()
        }
    }

    #[test]
    fn each_rule_names_its_numbers() {
        let error = config(Rule::Krum, 4, &[]).check_rows(10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "krum with byzantine = 4 needs 11 rows (2f + 3), got 10"
        );
        let error = config(Rule::Bulyan, 2, &[]).check_rows(10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bulyan with byzantine = 2 needs 11 rows (4f + 3), got 10"
        );
        let halved = config(Rule::Krum, 4, &[Before::Bucketing]);
        assert!(halved.check_rows(20).is_err());
        assert!(halved.check_rows(21).is_ok());
    }

    #[test]
    fn the_minimum_is_the_least_that_passes() {
        for rule in Rule::ALL {
            for f in [0, 1, 5] {
                for before in [&[][..], &[Before::Nnm], &[Before::Bucketing, Before::Nnm]] {
                    let config = config(rule, f, before);
                    let least = config.minimum_rows();
                    assert!(config.check_rows(least).is_ok(), "{config:?}");
                    assert!(config.check_rows(least - 1).is_err(), "{config:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_the_config() {
        for rule in Rule::ALL {
            let written = serde_json::to_value(rule).unwrap();
            assert_eq!(written, rule.name());
        }
    }
}
