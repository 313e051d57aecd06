//! Categories to features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::Unseen;
use super::hashing;
use super::number::indicator;
use super::plan::{CategoryEncoding, CategoryFill, CategorySteps};
use crate::classes::natural_order;
use crate::statistics::CategoryStatistics;

/// A fitted column of categories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryCode {
    /// The categories that are listed, in order.
    listed: Vec<String>,
    /// Whether those that are not are a category of their own.
    other: bool,
    /// Whether missing ones are.
    own: bool,
    /// What stands for a missing one.
    fill: Option<String>,
    form: Form,
    indicator: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case")]
enum Form {
    OneHot,
    Ordinal,
    Hashing {
        width: usize,
    },
    /// Shares of the classes but the first, for each listed category; then for all others.
    Target {
        smoothing: f64,
        shares: Vec<Vec<f64>>,
        prior: Vec<f64>,
    },
}

/// Where a category is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Listed(usize),
    Other,
    Missing,
}

impl CategoryCode {
    /// `target` has the rows of each class for each category, if the encoding needs them.
    pub(crate) fn fit(
        steps: &CategorySteps,
        known: Option<&CategoryStatistics>,
        target: Option<&ClassCounts>,
    ) -> Self {
        let counts = known.map(|known| &known.counts[..]).unwrap_or_default();
        let mut listed: Vec<String> = counts.iter().map(|(code, _)| code.clone()).collect();
        let fill = match &steps.fill {
            CategoryFill::Zeros | CategoryFill::Category => None,
            CategoryFill::Constant(code) => Some(code.clone()),
            CategoryFill::MostFrequent => {
                // The first of equally frequent ones.
                let most = counts.iter().rev().max_by_key(|(_, count)| *count);
                most.map(|(code, _)| code.clone())
            }
        };
        let hashed = matches!(steps.encoding, CategoryEncoding::Hashing { .. });
        // A constant is a category, also where no row has it.
        if let Some(code) = fill
            .as_ref()
            .filter(|code| !hashed && !listed.contains(code))
        {
            listed.push(code.clone());
            listed.sort_by(|a, b| natural_order(a, b));
        }
        let form = match steps.encoding {
            CategoryEncoding::OneHot => Form::OneHot,
            CategoryEncoding::Ordinal => Form::Ordinal,
            CategoryEncoding::Hashing { width } => Form::Hashing { width },
            CategoryEncoding::Target { smoothing } => {
                let none = ClassCounts::default();
                let target = target.unwrap_or(&none);
                let shares = |code: &String| target.shares(code, smoothing);
                Form::Target {
                    smoothing,
                    shares: listed.iter().map(shares).collect(),
                    prior: target.prior(),
                }
            }
        };
        Self {
            listed: if hashed { Vec::new() } else { listed },
            other: steps.unseen == Unseen::Other,
            own: steps.fill == CategoryFill::Category,
            fill,
            form,
            indicator: steps.indicator,
        }
    }

    /// Places of a one-hot code.
    fn places(&self) -> usize {
        self.listed.len() + usize::from(self.other) + usize::from(self.own)
    }

    pub(crate) fn width(&self) -> usize {
        let value = match &self.form {
            Form::OneHot => self.places(),
            Form::Ordinal => 1,
            Form::Hashing { width } => *width,
            Form::Target { prior, .. } => prior.len(),
        };
        value + usize::from(self.indicator)
    }

    /// Whether it has one feature of an indicator behind the others.
    pub(crate) fn has_indicator(&self) -> bool {
        self.indicator
    }

    /// Whether its features are a 1 among zeros, one for each category.
    pub(crate) fn is_one_hot(&self) -> bool {
        matches!(self.form, Form::OneHot)
    }

    /// Whether no category is listed although the code lists them.
    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty() && !matches!(self.form, Form::Hashing { .. })
    }

    fn find(&self, code: Option<&str>) -> Place {
        match code.or(self.fill.as_deref()) {
            None => Place::Missing,
            Some(code) => match self.listed.iter().position(|listed| listed == code) {
                Some(place) => Place::Listed(place),
                None => Place::Other,
            },
        }
    }

    /// Appends the features of a category, `None` for a missing one. `target` are the shares of the classes where they are
    /// not those that are stored, because the row itself is among those.
    pub(crate) fn encode(
        &self,
        code: Option<&str>,
        target: Option<&ClassCounts>,
        features: &mut Vec<f64>,
    ) {
        let place = self.find(code);
        match &self.form {
            Form::OneHot => {
                let one = match place {
                    Place::Listed(place) => Some(place),
                    Place::Other => self.other.then_some(self.listed.len()),
                    Place::Missing => self.own.then(|| self.places() - 1),
                };
                features.extend((0..self.places()).map(|at| indicator(Some(at) == one)));
            }
            Form::Ordinal => features.push(match place {
                Place::Listed(place) => (place + 1) as f64 / self.listed.len() as f64,
                _ => 0.0,
            }),
            Form::Hashing { width } => {
                let hashed = match code.or(self.fill.as_deref()) {
                    Some(code) => Some(hashing::place(code, *width)),
                    // No cell can hold a zero byte and be this code.
                    None => self.own.then(|| hashing::place("\0", *width)),
                };
                features.extend((0..*width).map(|at| indicator(Some(at) == hashed)));
            }
            Form::Target {
                smoothing,
                shares,
                prior,
            } => match (place, target) {
                (Place::Listed(place), None) => features.extend(&shares[place]),
                (Place::Listed(place), Some(target)) => {
                    features.extend(target.shares(&self.listed[place], *smoothing));
                }
                (_, None) => features.extend(prior),
                (_, Some(target)) => features.extend(target.prior()),
            },
        }
        if self.indicator {
            features.push(indicator(code.is_none()));
        }
    }
}

/// Rows of each class, over all and for each category.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassCounts {
    all: Vec<u64>,
    by_code: BTreeMap<String, Vec<u64>>,
}

impl ClassCounts {
    pub(crate) fn new(classes: usize) -> Self {
        Self {
            all: vec![0; classes],
            by_code: BTreeMap::new(),
        }
    }

    /// Takes in a row.
    pub(crate) fn observe(&mut self, code: Option<&str>, class: u32) {
        let classes = self.all.len();
        self.all[class as usize] += 1;
        if let Some(code) = code {
            let counts = self.by_code.entry(code.to_owned());
            counts.or_insert_with(|| vec![0; classes])[class as usize] += 1;
        }
    }

    /// Takes in what `other` has.
    pub(crate) fn merge(&mut self, other: &Self) {
        let add = |all: &mut [u64], more: &[u64]| {
            all.iter_mut()
                .zip(more)
                .for_each(|(all, more)| *all += more);
        };
        add(&mut self.all, &other.all);
        for (code, more) in &other.by_code {
            let counts = self.by_code.entry(code.clone());
            add(counts.or_insert_with(|| vec![0; more.len()]), more);
        }
    }

    /// Shares of the classes but the first over all rows; even without any row.
    fn prior(&self) -> Vec<f64> {
        let rows: u64 = self.all.iter().sum();
        let classes = self.all.len().max(1);
        let share = |count: &u64| match rows {
            0 => 1.0 / classes as f64,
            rows => *count as f64 / rows as f64,
        };
        self.all.iter().skip(1).map(share).collect()
    }

    /// Shares of the classes but the first among the rows of a category, to which `smoothing` average rows are added.
    fn shares(&self, code: &str, smoothing: f64) -> Vec<f64> {
        let prior = self.prior();
        let Some(counts) = self.by_code.get(code) else {
            return prior;
        };
        let rows: u64 = counts.iter().sum();
        let smoothed = |(count, prior): (&u64, f64)| {
            (*count as f64 + smoothing * prior) / (rows as f64 + smoothing)
        };
        counts.iter().skip(1).zip(prior).map(smoothed).collect()
    }
}
