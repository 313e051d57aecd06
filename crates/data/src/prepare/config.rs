//! The table `[data.prepare]` of an experiment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::images::ImagesConfig;
use crate::config::{ColumnRef, Scaling};

/// `[data.prepare]`: what is done to rows before a model sees them. Left out, the keys of `[data]` say it all: numbers are
/// filled with their mean and scaled by `data.scaling`, codes are one-hot.
///
/// The order of the steps is that of the table in `docs/data-preparation.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrepareConfig {
    /// The file of a pipeline that was fitted before (`pipeline.json`), to be applied in place of one that is fitted here: so that
    /// sites prepare alike. The other keys must be those that it was fitted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PathBuf>,
    /// Training rows that repeat another of the same owner, with the same class.
    #[serde(skip_serializing_if = "is_default")]
    pub duplicates: Repeated,
    /// Tables: what is done to every column that does not say otherwise itself.
    #[serde(skip_serializing_if = "is_default")]
    pub all: ColumnConfig,
    /// Tables: single columns, by name, or by index from 0 where no column has that name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, ColumnConfig>,
    /// Tables of network records: sums and rates over a record's bytes, packets and duration, as further columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowConfig>,
    /// Tables: numbers are replaced by their principal components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pca: Option<PcaConfig>,
    /// Tables: numbers (or their principal components) are replaced by random Fourier features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fourier: Option<FourierConfig>,
    /// Weights of the classes in the loss: `"balanced"`, or a table of a weight for each class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Whether training rows are repeated or left out until an owner has equally many of each of its classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample: Option<Resample>,
    /// Images: what is done to them besides `data.normalise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesConfig>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is done to training rows that repeat another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// Nothing but a note.
    #[default]
    Keep,
    /// The first stays.
    Drop,
}

/// How classes are evened out among the training rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resample {
    /// Rows of smaller classes are repeated up to the size of the owner's largest class.
    Over,
    /// Rows of larger classes are left out down to the size of the owner's smallest class.
    Under,
}

/// Weights of classes in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassWeights {
    /// By a rule.
    Rule(WeightRule),
    /// A weight for each class, by its name.
    Explicit(BTreeMap<String, f32>),
}

/// A rule for the weights of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRule {
    /// Training rows / (classes x rows of the class).
    Balanced,
}

/// What is done to a column. Keys that do not concern its type are refused in `[data.prepare.columns]` and passed over
/// in `[data.prepare.all]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnConfig {
    /// What the column holds. Left out: a category if it is declared in `data.categorical` or most of its cells are no
    /// numbers, else a number.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ColumnType>,
    /// Unit of its numbers, kept with the pipeline for people to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What is put in the place of a missing value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Fill>,
    /// Cells that mean a missing value, besides those of `data.missing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_values: Option<Vec<String>>,
    /// Whether a further feature is 1 where the value is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indicator: Option<bool>,
    /// Numbers: smallest and largest value that can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Numbers: what is done to a value outside `range`; `clip` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// Numbers: quantiles of the training rows to which values are clipped, such as `[0.01, 0.99]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_quantiles: Option<[f64; 2]>,
    /// Numbers: a function that is applied before anything is fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// Numbers: intervals that are coded one-hot, instead of scaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// Numbers: the scale; that of `data.scaling` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Categories and texts: whether letters are made small or large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<Case>,
    /// Categories: whether each run of white space becomes one space. Space at the ends always goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trim: Option<bool>,
    /// Categories: those with fewer training rows are not listed. In a federation an owner does not even name a category
    /// of which it has fewer rows itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// Categories: most that are listed, the most frequent ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
    /// Categories: what becomes of those that are not listed, because they are rare or were not seen in training. Left
    /// out: `other` with `at_least` or `most`, else `zeros`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// Categories: how they become numbers; `one-hot` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Hashed categories and texts: number of features; 32 for categories and 256 for texts if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Categories with `encoding = "target"`: rows of the average class mix that are added to each category; 10 if left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Ordinals: the codes, from the least to the greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
    /// Booleans: cells that mean yes, in any case of letters; `true`, `yes`, `y`, `t` and `1` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yes: Option<Vec<String>>,
    /// Booleans: cells that mean no; `false`, `no`, `n`, `f` and `0` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no: Option<Vec<String>>,
    /// Times: how they are written, by `%Y %m %d %H %M %S %f %b %s` (year, month, day, hour, minute, second, fraction of
    /// a second, name of the month, seconds since 1970); ISO 8601 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<String>>,
    /// Times: what is done to a cell that two formats read differently, such as 03/04/2020; `refuse` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<Ambiguous>,
    /// Times: what becomes features; `days-since`, `weekday-cycle` and `hour-cycle` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<TimePart>>,
    /// Times: the date, as `2020-01-31`, from which `days-since` counts; 1970-01-01 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Texts: what they are cut into; `words` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grams: Option<Grams>,
    /// Texts: shortest and longest run of words or bytes that is hashed; `[1, 2]` for words and `[1, 3]` for bytes if left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lengths: Option<[usize; 2]>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// Numbers.
    Number,
    /// Codes without an order.
    Category,
    /// Codes with the order that `order` declares.
    Ordinal,
    /// Yes or no.
    Boolean,
    /// Dates and times of day.
    Time,
    /// Words.
    Text,
    /// The class; as `data.label`.
    Label,
    /// A name or number of the row itself: left out, with a note.
    Identifier,
}

/// What is put in the place of a missing value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = describe_keys)]
pub enum Fill {
    /// The row is not trained on. A test row, and one that comes later, is filled as if nothing had been said.
    DropRow,
    /// Numbers: the mean of the training rows.
    Mean,
    /// Numbers: their median.
    Median,
    /// Categories and booleans: the most frequent value.
    MostFrequent,
    /// Categories: no feature is 1.
    Zeros,
    /// Categories: a category of its own.
    Category,
    /// A value.
    Constant(Constant),
}

/// Says of the one key of a table what the table is for.
fn describe_keys(schema: &mut Schema) {
    let branches = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for branch in branches.into_iter().flatten() {
        let Some(words) = branch.get("description").cloned() else {
            continue;
        };
        let keys = branch.get_mut("properties").and_then(Value::as_object_mut);
        for key in keys.into_iter().flat_map(|keys| keys.values_mut()) {
            if let Some(key) = key.as_object_mut() {
                key.insert("description".to_owned(), words.clone());
            }
        }
    }
}

/// A value in the config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Constant {
    /// For numbers.
    Number(f64),
    /// For codes.
    Code(String),
}

/// What is done to a value outside the declared range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// It becomes the nearest value inside.
    #[default]
    Clip,
    /// It counts as missing.
    Missing,
    /// The row is not trained on; in a test row, and in one that comes later, the value counts as missing.
    DropRow,
}

/// A function of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The number itself.
    #[default]
    None,
    /// ln(1 + x); a value of -1 or less is refused.
    Log1p,
    /// sign(x) ln(1 + |x|).
    SignedLog,
}

/// Intervals of a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = describe_keys)]
pub enum Buckets {
    /// Cut at these values, rising; a value on an edge is above it.
    Edges(Vec<f64>),
    /// This many intervals of equally many training rows.
    Quantiles(usize),
}

/// Case of letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// As it is.
    #[default]
    Keep,
    /// Small letters.
    Lower,
    /// Large letters.
    Upper,
}

/// What becomes of a category that is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// A category of its own.
    Other,
    /// No feature is 1.
    Zeros,
}

/// How categories become numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// A feature for each category.
    #[default]
    OneHot,
    /// One feature: the place among the listed categories over their number; 0 if missing or not listed.
    Ordinal,
    /// A 1 at a place that a hash of the category tells, among `width`.
    Hashing,
    /// Shares of the classes among the category's training rows, those of the row's own fold left out. Needs all rows in
    /// one place, and leaks labels into features.
    Target,
}

/// What is done to a cell that two formats read differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ambiguous {
    /// It is an error.
    #[default]
    Refuse,
    /// The format that is listed first is meant.
    First,
    /// It counts as missing.
    Missing,
}

/// A number that is read off a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimePart {
    /// The year.
    Year,
    /// The month, 1 to 12.
    Month,
    /// The day of the month, from 1.
    Day,
    /// The day of the week, 0 (Monday) to 6.
    Weekday,
    /// The hour, 0 to 23.
    Hour,
    /// The minute, 0 to 59.
    Minute,
    /// Days, with their fraction, since the date in `since`.
    DaysSince,
    /// Sine and cosine of the time of day.
    HourCycle,
    /// Sine and cosine of the day of the week.
    WeekdayCycle,
    /// Sine and cosine of the day of the year.
    YearCycle,
}

/// What a text is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grams {
    /// Runs of letters and digits.
    #[default]
    Words,
    /// Bytes.
    Bytes,
}

/// `[data.prepare.flow]`: columns of a network record. What comes of them: their sums, rates over the duration, bytes a
/// packet, and, of two columns of bytes or packets, the first one's share. A rate over nothing is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// Columns of bytes, one or one for each direction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<ColumnRef>,
    /// Columns of packets, one or one for each direction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets: Vec<ColumnRef>,
    /// Column of the duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<ColumnRef>,
    /// What is applied to sums and rates, which have long tails.
    #[serde(default = "log1p")]
    pub transform: Transform,
}

fn log1p() -> Transform {
    Transform::Log1p
}

/// `[data.prepare.pca]`: principal components of the numbers, which are brought to mean 0 and deviation 1 for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PcaConfig {
    /// How many components. Give this or `variance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// As many components as explain this share of the variance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
}

/// `[data.prepare.fourier]`: random Fourier features of a Gaussian kernel exp(-gamma |x - y|^2) (Rahimi and Recht 2007).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FourierConfig {
    /// Number of features.
    pub features: usize,
    /// Width of the kernel: above 0; one over the number of inputs if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Seed of the frequencies, which every party must have in common; they are kept with the pipeline.
    #[serde(default)]
    pub seed: u64,
}
