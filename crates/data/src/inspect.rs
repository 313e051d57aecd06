//! What files hold, before anything is done to it: for `cloister data inspect`.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::classes::{ClassMap, canonical};
use crate::config::DataConfig;
use crate::dataset::{ExampleShape, Sites};
use crate::decode::number;
use crate::duplicates::{Index, Rows};
use crate::encode::{is_categorical, is_missing};
use crate::error::DataError;
use crate::images::{ImageSet, Images};
use crate::moments::ColumnMoments;
use crate::sites;
use crate::source::{Content, display_name, read_source};
use crate::tables::{Plan, TablePart, TableSet};

/// What [`inspect`] finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Name of the set.
    pub name: String,
    /// Format in words: `IDX`, `table`, ...
    pub format: String,
    /// Shape of an example; for a table 1 x 1 x feature columns, before codes are spread out.
    pub shape: ExampleShape,
    /// The training part; all rows if there is no test part.
    pub train: PartSummary,
    /// The test part, if the files have one.
    pub test: Option<PartSummary>,
    /// Test rows that also occur in the training part, if there is a test part: a leak.
    pub overlap: Option<usize>,
    /// The classes and their rows.
    pub classes: Vec<ClassSummary>,
    /// The columns of a table, over the training part; empty for images.
    pub columns: Vec<ColumnSummary>,
    /// Smallest and largest value of images as stored, over the training part.
    pub values: Option<(f32, f32)>,
    /// What was taken for granted or passed over, as sentences.
    pub notes: Vec<String>,
}

/// One part of a set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartSummary {
    /// Rows.
    pub rows: usize,
    /// Rows whose features equal those of an earlier row.
    pub repeated: usize,
    /// Owners and their rows, if the data names them.
    pub sites: Vec<SiteSummary>,
}

/// One owner of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteSummary {
    /// Name of the owner.
    pub name: String,
    /// Its rows.
    pub rows: usize,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassSummary {
    /// Name of the class.
    pub name: String,
    /// Its rows in the training part.
    pub train: usize,
    /// Its rows in the test part.
    pub test: usize,
}

/// What a column is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnRole {
    /// An input of the model.
    Feature,
    /// The class.
    Label,
    /// The owner of the row.
    Site,
    /// Left out by `data.drop`.
    Dropped,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Numbers.
    Number,
    /// Codes: texts, or numbers that the config declares as codes.
    Codes,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// Position, from 0.
    pub index: usize,
    /// Name, if there is a header.
    pub name: Option<String>,
    /// What it is used for.
    pub role: ColumnRole,
    /// What it holds.
    pub kind: ColumnKind,
    /// Missing cells.
    pub missing: u64,
    /// Different codes, missing ones not counted; none for numbers.
    pub codes: Option<usize>,
    /// Count, mean and range of the numbers; none for codes.
    pub numbers: Option<ColumnMoments>,
    /// Cells among the numbers that are neither numbers nor missing: loading would refuse the first of them.
    pub strays: usize,
}

/// Reads what `config` names, and describes it without choosing, scaling or coding anything.
///
/// # Errors
/// As [`crate::load`], but for cells that are no numbers, which are counted.
///
/// ```
/// use cloister_data::{DataConfig, inspect};
///
/// let hospitals = inspect(&DataConfig::bundled("heart-disease"))?;
/// assert_eq!((hospitals.train.rows, hospitals.train.sites.len()), (920, 4));
/// let thal = &hospitals.columns[12];
/// assert_eq!((thal.name.as_deref(), thal.missing, thal.codes), (Some("thal"), 486, Some(3)));
/// # Ok::<(), cloister_data::DataError>(())
/// ```
pub fn inspect(config: &DataConfig) -> Result<Inspection, DataError> {
    config.check()?;
    let name = display_name(config);
    let (source, config) = read_source(config)?;
    let mut inspection = match &source.content {
        Content::Images(images) => of_images(images, &config)?,
        Content::Tables(tables) => of_tables(tables, &config)?,
    };
    inspection.name = name;
    inspection.format = source.format.words().to_owned();
    inspection.notes.splice(0..0, source.notes);
    Ok(inspection)
}

fn all_rows(rows: usize) -> Vec<u32> {
    (0..rows as u32).collect()
}

/// The summaries of both parts, and the overlap of the test part with the training part.
fn parts<R: Rows>(
    train: (&R, usize, Option<&Sites>),
    test: Option<(&R, usize, Option<&Sites>)>,
) -> (PartSummary, Option<PartSummary>, Option<usize>) {
    let summary = |(source, rows, sites): (&R, usize, Option<&Sites>)| {
        let index = Index::new(source, &all_rows(rows));
        let summary = PartSummary {
            rows,
            repeated: index.repeated(source),
            sites: sites.map(site_summaries).unwrap_or_default(),
        };
        (index, summary)
    };
    let (train_index, train_summary) = summary(train);
    let Some(test) = test else {
        return (train_summary, None, None);
    };
    let (test_index, test_summary) = summary(test);
    let overlap = test_index.shared(test.0, &train_index, train.0);
    (train_summary, Some(test_summary), Some(overlap))
}

fn site_summaries(sites: &Sites) -> Vec<SiteSummary> {
    let mut rows = vec![0; sites.names.len()];
    for &site in &sites.of_row {
        rows[site as usize] += 1;
    }
    let names = sites.names.iter().cloned();
    names
        .zip(rows)
        .map(|(name, rows)| SiteSummary { name, rows })
        .collect()
}

fn class_summaries(map: &ClassMap, train: &[u32], test: Option<&[u32]>) -> Vec<ClassSummary> {
    let count = |labels: &[u32], class: u32| labels.iter().filter(|&&label| label == class).count();
    (0..)
        .zip(map.names())
        .map(|(class, name)| ClassSummary {
            name: name.clone(),
            train: count(train, class),
            test: test.map_or(0, |labels| count(labels, class)),
        })
        .collect()
}

fn of_images(set: &ImageSet, config: &DataConfig) -> Result<Inspection, DataError> {
    set.check(config)?;
    let map = set.class_map(config)?;
    let (labels, test_labels) = set.classes(&map)?;
    let test_owners = set.test.as_ref().map(|test| &test.owners);
    let (train_sites, test_sites) = sites::of_parts(&set.train.owners, test_owners);
    let test_part = set.test.as_ref();
    let (train, test, overlap) = parts::<Images>(
        (&set.train, set.train.rows(), train_sites.as_ref()),
        test_part.map(|test| (test, test.rows(), test_sites.as_ref())),
    );
    Ok(Inspection {
        name: String::new(),
        format: String::new(),
        shape: set.train.shape,
        train,
        test,
        overlap,
        classes: class_summaries(&map, &labels, test_labels.as_deref()),
        columns: Vec::new(),
        values: Some(set.train.range()),
        notes: Vec::new(),
    })
}

fn of_tables(set: &TableSet, config: &DataConfig) -> Result<Inspection, DataError> {
    let plan = set.plan(config)?;
    let labelled = set.label(&plan, config)?;
    let features = &plan.features[..];
    let train_rows = (&set.train, features);
    let test_rows = set.test.as_ref().map(|test| (test, features));
    let (train, test, overlap) = parts(
        (&train_rows, set.train.rows(), labelled.train_sites.as_ref()),
        test_rows
            .as_ref()
            .map(|rows| (rows, rows.0.rows(), labelled.test_sites.as_ref())),
    );
    let columns = set.train.first().grid.columns();
    Ok(Inspection {
        name: String::new(),
        format: String::new(),
        shape: ExampleShape::flat(features.len()),
        train,
        test,
        overlap,
        classes: class_summaries(&labelled.map, &labelled.train, labelled.test.as_deref()),
        columns: (0..columns)
            .map(|column| column_summary(config, &plan, &set.train, column))
            .collect(),
        values: None,
        notes: plan.notes,
    })
}

fn column_summary(
    config: &DataConfig,
    plan: &Plan,
    part: &TablePart,
    column: usize,
) -> ColumnSummary {
    let rows = all_rows(part.rows());
    let cells = rows.iter().map(|&row| part.row(row).cell(column));
    let codes = column == plan.label
        || plan.site == Some(column)
        || is_categorical(config, plan, column, part, &rows);
    let zero_is_missing = plan.zero_is_missing.contains(&column);
    let mut moments = ColumnMoments::default();
    let mut distinct = BTreeSet::new();
    let mut strays = 0;
    for cell in cells {
        let value = number(cell).filter(|&value| !(zero_is_missing && value == 0.0));
        if is_missing(config, cell) || (value.is_none() && number(cell).is_some()) {
            moments.observe(None);
        } else if codes {
            distinct.insert(canonical(cell));
        } else if value.is_some() {
            moments.observe(value);
        } else {
            strays += 1;
        }
    }
    let role = match column {
        _ if column == plan.label => ColumnRole::Label,
        _ if plan.site == Some(column) => ColumnRole::Site,
        _ if plan.features.contains(&column) => ColumnRole::Feature,
        _ => ColumnRole::Dropped,
    };
    let header = part.first().grid.header();
    ColumnSummary {
        index: column,
        name: header.and_then(|names| names.get(column)).cloned(),
        role,
        kind: if codes {
            ColumnKind::Codes
        } else {
            ColumnKind::Number
        },
        missing: moments.missing(),
        codes: codes.then_some(distinct.len()),
        numbers: (!codes).then_some(moments),
        strays,
    }
}
