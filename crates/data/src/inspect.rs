//! What files hold, before anything is done to it: for `cloister data inspect`.

mod cell;
mod column;
mod differences;
mod findings;
mod owners;
mod predicts;
mod profile;
mod rows;
mod streamed;
mod view;

use serde::Serialize;

pub use self::column::{ColumnKind, ColumnRole, ColumnSummary, Holds};
pub use self::differences::{Measure, SiteDifference};
pub use self::findings::{Finding, Rule};

use self::profile::{Keep, Profile};
use self::view::View;
use crate::classes::ClassMap;
use crate::config::DataConfig;
use crate::dataset::{ExampleShape, Sites};
use crate::duplicates::{Index, Rows};
use crate::error::DataError;
use crate::images::{ImageSet, Images};
use crate::read;
use crate::sites;
use crate::source::{Content, Format, display_name, read_source, tables_of};
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
    /// Columns to look at before training, the gravest first.
    pub findings: Vec<Finding>,
    /// In what the owners' rows differ, the notable ones first.
    pub differences: Vec<SiteDifference>,
    /// Smallest and largest value of images as stored, over the training part.
    pub values: Option<(f32, f32)>,
    /// Whether the files were read in one pass and never as a whole: see the notes for what is then not exact.
    pub streamed: bool,
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
    /// Standard error of `repeated` in rows; 0 where it is exact.
    pub repeated_error: f64,
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
    inspect_with(config, &InspectOptions::default())
}

/// How [`inspect_with`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectOptions {
    /// Tables whose files have more bytes are read in one pass, in memory that does not grow with them. Compressed bytes
    /// count eight times.
    pub stream_from: u64,
    /// Threads that such tables are read with; the figures do not depend on it.
    pub threads: usize,
}

impl Default for InspectOptions {
    /// One pass from 64 MiB on, one thread.
    fn default() -> Self {
        Self {
            stream_from: 64 << 20,
            threads: 1,
        }
    }
}

/// [`inspect`], which reads large tables in one pass where the options say so.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(
    config: &DataConfig,
    options: &InspectOptions,
) -> Result<Inspection, DataError> {
    config.check()?;
    if config.target.is_some() {
        let reason = "an inspection looks for what tells classes apart: leave the target out, and name a class in data.label";
        return Err(DataError::setting("target", reason));
    }
    let name = display_name(config);
    if let Some(paths) = tables_of(config)? {
        let mut bytes = 0;
        for path in paths.all() {
            bytes += read::unpacked(path)?;
        }
        if bytes > options.stream_from {
            let mut inspection = streamed::inspect(&paths, config, options.threads.max(1))?;
            inspection.name = name;
            inspection.format = Format::Table.words().to_owned();
            inspection.notes.splice(0..0, paths.notes);
            return Ok(inspection);
        }
    }
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
            repeated_error: 0.0,
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
        findings: Vec::new(),
        differences: Vec::new(),
        values: Some(set.train.range()),
        streamed: false,
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
    let (columns, mut found) = columns(config, &plan, &set.train);
    let view = View {
        part: &set.train,
        labels: &labelled.train,
        classes: labelled.map.names(),
        sites: labelled.train_sites.as_ref(),
        columns: &columns,
        signs: &config.missing,
    };
    found.extend(predicts::findings(&view));
    found.extend(owners::findings(&view));
    found.sort_by_key(|finding| (finding.rule, finding.column));
    let differences = differences::differences(&view);
    Ok(Inspection {
        name: String::new(),
        format: String::new(),
        shape: ExampleShape::flat(features.len()),
        train,
        test,
        overlap,
        classes: class_summaries(&labelled.map, &labelled.train, labelled.test.as_deref()),
        columns,
        findings: found,
        differences,
        values: None,
        streamed: false,
        notes: plan.notes,
    })
}

/// The columns over all rows of a part, and what their own figures say.
fn columns(
    config: &DataConfig,
    plan: &Plan,
    part: &TablePart,
) -> (Vec<ColumnSummary>, Vec<Finding>) {
    let mut found = Vec::new();
    let header = part.first().grid.header();
    let columns = (0..part.first().grid.columns()).map(|column| {
        let zero_is_missing = plan.zero_is_missing.contains(&column);
        let mut profile = Profile::new(Keep::All, config.missing.len(), zero_is_missing);
        for row in 0..part.rows() as u32 {
            profile.observe(part.row(row).cell(column), &config.missing);
        }
        profile.settle();
        let name = header.and_then(|names| names.get(column)).cloned();
        let summary = described(config, plan, column, name, &profile);
        found.extend(findings::of_column(&summary, &profile));
        summary
    });
    (columns.collect(), found)
}

fn described(
    config: &DataConfig,
    plan: &Plan,
    column: usize,
    name: Option<String>,
    profile: &Profile,
) -> ColumnSummary {
    let role = match column {
        _ if column == plan.label => ColumnRole::Label,
        _ if plan.site == Some(column) => ColumnRole::Site,
        _ if plan.features.contains(&column) => ColumnRole::Feature,
        _ => ColumnRole::Dropped,
    };
    let codes = matches!(role, ColumnRole::Label | ColumnRole::Site)
        || plan.categorical.contains(&column)
        || column::read_as_codes(profile);
    column::summary(column, name, role, codes, profile, &config.missing)
}
