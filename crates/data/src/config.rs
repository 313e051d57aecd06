//! The table `[data]` of an experiment.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::partition::PartitionConfig;
use crate::prepare::PrepareConfig;

/// `[data]`: which examples, how they are read, and how they are dealt to clients.
///
/// Give `dataset` (a set inside the binary) or `path` (files of any known format). The keys from `header` on concern
/// tables (CSV) only; giving one for images is an error, so that a setting is never silently without effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Name of a set inside the binary (digits, heart-disease, wdbc), or, beside `path`, the name that reports show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// A file or folder, or a list of them; in a list each one is the data of one owner (site).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Paths>,
    /// A file or folder with the test examples, where they lie apart. Left out: the test part that `path` holds, else
    /// held-out rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_path: Option<Paths>,
    /// Share of the rows held out for testing, in (0, 1), where the data has no test part of its own; stratified by
    /// class and owner.
    pub test_fraction: f64,
    /// Use only this many training rows, the first after a seeded shuffle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How the training rows are dealt to clients.
    pub partition: PartitionConfig,
    /// What is done to the values of images.
    pub normalise: Normalise,
    /// Labels that make the positive class (1) of a two-class problem; every other label is the negative class (0).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positive: Vec<String>,
    /// The classes in order and the labels that each stands for. Left out: one class a label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassRule>,
    /// Most bytes that a file may have once decompressed, and a part's features in memory.
    pub max_bytes: u64,
    /// Tables: whether the first line names the columns. Left out: seen from the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Tables: the character between cells. Left out: comma, semicolon or tab, seen from the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Tables: the column of the class, by name or by index from 0. Left out: a column named label, class or target,
    /// else the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<ColumnRef>,
    /// Tables: the column of the number that the model is to predict, by name or by index from 0, in the place of a class.
    /// It is standardised with figures of the training rows; rows without it are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ColumnRef>,
    /// Tables: the column that names the owner (site) of each row; it is not a feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_column: Option<ColumnRef>,
    /// Tables: columns that are not features.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<ColumnRef>,
    /// Tables: columns of codes, coded one-hot even where the codes are numbers. Columns of texts always are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<ColumnRef>,
    /// Tables: cells that mean that the value is missing.
    pub missing: Vec<String>,
    /// Tables: numeric columns where 0 means that the value is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zero_is_missing: Vec<ColumnRef>,
    /// Tables: what is done to numeric columns, with statistics of the training rows.
    pub scaling: Scaling,
    /// What else is done to rows before a model sees them.
    #[serde(skip_serializing_if = "nothing_said")]
    pub prepare: PrepareConfig,
}

fn nothing_said(prepare: &PrepareConfig) -> bool {
    *prepare == PrepareConfig::default()
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dataset: None,
            path: None,
            test_path: None,
            test_fraction: 0.2,
            limit: None,
            partition: PartitionConfig::default(),
            normalise: Normalise::default(),
            positive: Vec::new(),
            classes: Vec::new(),
            max_bytes: 4 << 30,
            header: None,
            delimiter: None,
            label: None,
            target: None,
            site_column: None,
            drop: Vec::new(),
            categorical: Vec::new(),
            missing: ["", "?", "NA"].map(str::to_owned).to_vec(),
            zero_is_missing: Vec::new(),
            scaling: Scaling::default(),
            prepare: PrepareConfig::default(),
        }
    }
}

impl DataConfig {
    /// The config of a set inside the binary.
    pub fn bundled(name: &str) -> Self {
        Self {
            dataset: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// The config of one file or folder.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(Paths::One(path.into())),
            ..Self::default()
        }
    }

    /// The files and folders that are read, to be changed (a folder put before them, say).
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let data = [&mut self.path, &mut self.test_path];
        let data = data.into_iter().flatten().flat_map(Paths::iter_mut);
        data.chain(&mut self.prepare.pipeline)
    }

    /// Refuses values that cannot be meant, before any file is touched.
    ///
    /// # Errors
    /// [`DataError::Setting`] with the key.
    pub fn check(&self) -> Result<(), DataError> {
        if !(self.test_fraction > 0.0 && self.test_fraction < 1.0) {
            return Err(DataError::setting(
                "test_fraction",
                format!("{} is not between 0 and 1", self.test_fraction),
            ));
        }
        if self.limit == Some(0) {
            return Err(DataError::setting("limit", "0 leaves no training row"));
        }
        if !self.positive.is_empty() && !self.classes.is_empty() {
            return Err(DataError::setting(
                "positive",
                "give either `positive` or `classes`, not both",
            ));
        }
        if self.delimiter.is_some_and(|c| !c.is_ascii()) {
            return Err(DataError::setting(
                "delimiter",
                "must be one ASCII character",
            ));
        }
        for (key, paths) in [("path", &self.path), ("test_path", &self.test_path)] {
            if paths
                .as_ref()
                .is_some_and(|paths| paths.iter().next().is_none())
            {
                return Err(DataError::setting(key, "the list is empty"));
            }
        }
        self.prepare.check()?;
        self.check_target()?;
        match (&self.dataset, &self.path) {
            (None, None) => Err(DataError::setting("path", "give data.dataset or data.path")),
            (_, None) if self.test_path.is_some() => {
                Err(DataError::setting("test_path", "needs data.path beside it"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what needs classes beside a number that is to be predicted.
    fn check_target(&self) -> Result<(), DataError> {
        if self.target.is_none() {
            return Ok(());
        }
        let by_class = [
            ("label", self.label.is_some()),
            ("positive", !self.positive.is_empty()),
            ("classes", !self.classes.is_empty()),
            (
                "prepare.class_weights",
                self.prepare.class_weights.is_some(),
            ),
            ("prepare.resample", self.prepare.resample.is_some()),
        ];
        if let Some((key, _)) = by_class.iter().find(|(_, set)| *set) {
            let reason = "is about classes, but data.target is a number; give one of the two";
            return Err(DataError::setting(*key, reason));
        }
        if self.partition.needs_classes() {
            let reason = format!(
                "'{}' deals rows by their classes, but data.target is a number; take iid, quantity-skew or natural",
                self.partition.kind()
            );
            return Err(DataError::setting("partition.kind", reason));
        }
        Ok(())
    }

    /// The first key that was set although it concerns tables only.
    pub(crate) fn table_key(&self) -> Option<&'static str> {
        let default = Self::default();
        [
            ("header", self.header.is_some()),
            ("delimiter", self.delimiter.is_some()),
            ("label", self.label.is_some()),
            ("target", self.target.is_some()),
            ("site_column", self.site_column.is_some()),
            ("drop", !self.drop.is_empty()),
            ("categorical", !self.categorical.is_empty()),
            ("missing", self.missing != default.missing),
            ("zero_is_missing", !self.zero_is_missing.is_empty()),
            ("scaling", self.scaling != default.scaling),
        ]
        .iter()
        .find_map(|&(key, set)| set.then_some(key))
        .or_else(|| self.prepare.table_key())
    }
}

/// One path, or a list of paths that are one owner each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// A file or folder.
    One(PathBuf),
    /// Files or folders, one for each owner.
    Many(Vec<PathBuf>),
}

impl Paths {
    /// The paths in order.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.as_slice().iter().map(PathBuf::as_path)
    }

    /// The paths in order, to be changed (a variable in them filled in, say).
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        match self {
            Self::One(path) => std::slice::from_mut(path).iter_mut(),
            Self::Many(paths) => paths.iter_mut(),
        }
    }

    fn as_slice(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }
}

impl From<PathBuf> for Paths {
    fn from(path: PathBuf) -> Self {
        Self::One(path)
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ColumnRef {
    /// By position, from 0.
    Index(usize),
    /// By its name in the header.
    Name(String),
}

impl std::fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "column {index}"),
            Self::Name(name) => write!(f, "column '{name}'"),
        }
    }
}

/// One class and the labels that mean it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// Name of the class.
    pub name: String,
    /// Labels in the data that mean it. Left out: every label that no other class lists (one class may do so).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// What is done to the values of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Values as they are in the file, 0 to 255 for bytes.
    None,
    /// Whole numbers are divided by the largest of their type, which gives 0 to 1; fractions stay as they are.
    #[default]
    Unit,
    /// As `unit`, then minus the mean and over the standard deviation of each channel over the training rows.
    Standard,
}

/// What is done to the numeric columns of a table. Columns that are coded one-hot stay 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Minus the mean, over the standard deviation (population form) of the training rows.
    #[default]
    Standard,
    /// The training rows' smallest value becomes 0 and their largest 1; test rows may lie outside.
    MinMax,
    /// Minus the median, over the distance between the quartiles; over the standard deviation where the quartiles are one.
    Robust,
    /// The share of training rows with smaller values, read off a table of 33 knots: from 0 to 1, nearly uniform.
    Quantile,
    /// Values as they are.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_survives_and_unknown_keys_do_not() {
        let text = r#"{"path": ["a.csv", "b.csv"], "label": 41, "drop": ["id", 3], "scaling": "min-max",
            "classes": [{"name": "normal", "labels": ["normal"]}, {"name": "attack"}],
            "partition": {"kind": "dirichlet", "alpha": 0.5}}"#;
        let config: DataConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.path.as_ref().unwrap().iter().count(), 2);
        assert_eq!(config.label, Some(ColumnRef::Index(41)));
        let again: DataConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);

        for text in [
            r#"{"lable": 1}"#,
            r#"{"partition": {"kind": "iid", "alpha": 1.0}}"#,
            r#"{"partition": {"kind": "uniform"}}"#,
            r#"{"normalise": "zscore"}"#,
        ] {
            assert!(serde_json::from_str::<DataConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused_by_key() {
        let base = DataConfig::bundled("digits");
        let cases = [
            (
                DataConfig {
                    test_fraction: 1.0,
                    ..base.clone()
                },
                "data.test_fraction: 1 is not between 0 and 1",
            ),
            (
                DataConfig {
                    test_fraction: f64::NAN,
                    ..base.clone()
                },
                "data.test_fraction: NaN is not between 0 and 1",
            ),
            (
                DataConfig {
                    limit: Some(0),
                    ..base.clone()
                },
                "data.limit: 0 leaves no training row",
            ),
            (
                DataConfig {
                    delimiter: Some('→'),
                    ..base.clone()
                },
                "data.delimiter: must be one ASCII character",
            ),
            (
                DataConfig {
                    path: Some(Paths::Many(vec![])),
                    ..base.clone()
                },
                "data.path: the list is empty",
            ),
            (
                DataConfig {
                    dataset: None,
                    ..base.clone()
                },
                "data.path: give data.dataset or data.path",
            ),
            (
                DataConfig {
                    test_path: Some(PathBuf::from("t").into()),
                    ..base.clone()
                },
                "data.test_path: needs data.path beside it",
            ),
            (
                DataConfig {
                    positive: vec!["1".into()],
                    classes: vec![ClassRule {
                        name: "a".into(),
                        labels: vec![],
                    }],
                    ..base
                },
                "data.positive: give either `positive` or `classes`, not both",
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(config.check().unwrap_err().to_string(), expected);
        }
    }
}
