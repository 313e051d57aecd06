//! Tables as they were read, and the step from them to a dataset.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash};

use crate::classes::{ClassMap, canonical, natural_order, shortened};
use crate::config::{ColumnRef, DataConfig};
use crate::dataset::Sites;
use crate::decode::Grid;
use crate::decode::number;
use crate::duplicates::{Duplicates, Rows};
use crate::error::{DataError, Place};
use crate::prepare::{CellFault, PreparePlan, Roles, RowValues};
use crate::raw::{RawContent, RawData};
use crate::select::select;
use crate::sites;

/// One file of a part.
#[derive(Clone, Debug)]
pub(crate) struct TableFile {
    pub(crate) file: String,
    pub(crate) owner: Option<String>,
    pub(crate) grid: Grid,
}

/// The rows of one or more files with the same columns.
#[derive(Clone, Debug)]
pub(crate) struct TablePart {
    files: Vec<TableFile>,
    /// For each file the number of its first row in the part.
    starts: Vec<usize>,
    rows: usize,
}

/// A row found in its file.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    file: &'a TableFile,
    row: usize,
}

impl<'a> Row<'a> {
    pub(crate) fn cell(&self, column: usize) -> &'a str {
        self.file.grid.cell(self.row, column)
    }

    /// An error about one of its cells.
    pub(crate) fn fault(&self, column: usize, reason: impl Into<String>) -> DataError {
        DataError::malformed(&self.file.file, self.place(column), reason)
    }

    /// Its values as `plan` reads them.
    pub(crate) fn values(&self, plan: &PreparePlan) -> Result<RowValues<'a>, DataError> {
        let values = plan.values(|column| self.cell(column));
        values.map_err(|fault| self.cell_fault(plan, fault))
    }

    /// An error about a cell that `plan` names.
    pub(crate) fn cell_fault(&self, plan: &PreparePlan, fault: CellFault) -> DataError {
        self.fault(plan.columns[fault.column].index, fault.reason)
    }

    /// An error about a cell that `plan` names and that was read, but cannot be coded.
    pub(crate) fn coding_fault(&self, plan: &PreparePlan, fault: CellFault) -> DataError {
        let column = plan.columns[fault.column].index;
        self.fault(column, format!("'{}' {}", self.cell(column), fault.reason))
    }

    fn place(&self, column: usize) -> Place {
        Place::Cell {
            line: self.file.grid.line(self.row),
            column: self.file.grid.column_name(column),
        }
    }
}

impl TablePart {
    /// Joins files, which must have the same columns.
    pub(crate) fn new(files: Vec<TableFile>) -> Result<Self, DataError> {
        let mut starts = Vec::with_capacity(files.len());
        let mut rows = 0;
        for file in &files {
            same_columns(&files[0], file)?;
            starts.push(rows);
            rows += file.grid.rows();
        }
        Ok(Self {
            files,
            starts,
            rows,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn row(&self, row: u32) -> Row<'_> {
        let row = row as usize;
        let file = self.starts.partition_point(|&start| start <= row) - 1;
        Row {
            file: &self.files[file],
            row: row - self.starts[file],
        }
    }

    fn all(&self) -> impl Iterator<Item = Row<'_>> {
        self.files
            .iter()
            .flat_map(|file| (0..file.grid.rows()).map(move |row| Row { file, row }))
    }

    /// The first file, which speaks for the columns of all.
    pub(crate) fn first(&self) -> &TableFile {
        &self.files[0]
    }

    /// The owner of every row: the site column, else the file's owner.
    fn owners(&self, plan: &Plan) -> Option<Vec<&str>> {
        self.all()
            .map(|row| match plan.site {
                Some(column) => Some(row.cell(column)),
                None => row.file.owner.as_deref(),
            })
            .collect()
    }

    /// The label of every row.
    fn labels(&self, plan: &Plan, config: &DataConfig) -> Result<Vec<&str>, DataError> {
        self.all()
            .map(|row| {
                let label = row.cell(plan.label);
                if config.missing.iter().any(|token| token == label) {
                    return Err(row.fault(plan.label, "no label"));
                }
                Ok(label)
            })
            .collect()
    }

    /// The number to be predicted of every row, where it has one.
    fn values(&self, plan: &Plan, config: &DataConfig) -> Result<Values, DataError> {
        self.all()
            .map(|row| {
                let cell = row.cell(plan.label);
                if config.missing.iter().any(|token| token == cell) {
                    return Ok(None);
                }
                let value = number(cell);
                let reason = || format!("'{cell}' is no number, but data.target is to be one");
                value
                    .map(Some)
                    .ok_or_else(|| row.fault(plan.label, reason()))
            })
            .collect()
    }

    fn classes(&self, labels: &[&str], plan: &Plan, map: &ClassMap) -> Result<Vec<u32>, DataError> {
        (0..)
            .zip(labels)
            .map(|(row, label)| {
                map.class(label).ok_or_else(|| {
                    let row = self.row(row);
                    DataError::UnknownLabel {
                        file: row.file.file.clone(),
                        place: row.place(plan.label),
                        label: (*label).to_owned(),
                        classes: map.describe(),
                    }
                })
            })
            .collect()
    }
}

impl Rows for (&TablePart, &[usize]) {
    fn hash(&self, row: u32, hasher: &mut DefaultHasher) {
        let row = self.0.row(row);
        for &column in self.1 {
            canonical(row.cell(column)).hash(hasher);
        }
    }

    fn same(&self, row: u32, other: &Self, other_row: u32) -> bool {
        let (row, other_row) = (self.0.row(row), other.0.row(other_row));
        self.1
            .iter()
            .all(|&column| canonical(row.cell(column)) == canonical(other_row.cell(column)))
    }
}

pub(crate) fn same_columns(first: &TableFile, other: &TableFile) -> Result<(), DataError> {
    let (columns, expected) = (other.grid.columns(), first.grid.columns());
    let fault = |reason| Err(DataError::malformed(&other.file, Place::File, reason));
    if columns != expected {
        return fault(format!(
            "{columns} columns, but {} has {expected}",
            first.file
        ));
    }
    if let (Some(names), Some(wanted)) = (other.grid.header(), first.grid.header())
        && let Some(column) = (0..columns).find(|&column| names[column] != wanted[column])
    {
        return fault(format!(
            "column {column} is '{}', but '{}' in {}",
            names[column], wanted[column], first.file
        ));
    }
    Ok(())
}

/// Which column is what.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The column of the class, or of the number that is to be predicted.
    pub(crate) label: usize,
    /// Whether it is such a number.
    pub(crate) is_number: bool,
    pub(crate) site: Option<usize>,
    pub(crate) features: Vec<usize>,
    /// Columns declared as codes.
    pub(crate) categorical: BTreeSet<usize>,
    /// Columns where 0 means missing.
    pub(crate) zero_is_missing: BTreeSet<usize>,
    /// What was taken for granted.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    pub(crate) fn new(config: &DataConfig, grid: &Grid) -> Result<Self, DataError> {
        let find = |key, column: &ColumnRef| find_column(grid, key, column);
        let find_all = |key, columns: &[ColumnRef]| -> Result<BTreeSet<usize>, DataError> {
            columns.iter().map(|column| find(key, column)).collect()
        };
        let mut notes = Vec::new();
        let site = config
            .site_column
            .as_ref()
            .map(|column| find("site_column", column))
            .transpose()?;
        let mut dropped = find_all("drop", &config.drop)?;
        let roles = Roles::of(config, grid)?;
        let declared = match (&config.target, &config.label) {
            (Some(target), _) => Some(find("target", target)?),
            (None, Some(label)) => Some(find("label", label)?),
            (None, None) => None,
        };
        let (key, what) = match config.target.is_some() {
            true => ("target", "the number to be predicted"),
            false => ("label", "the class"),
        };
        if let (Some(label), Some(other)) = (declared, roles.label)
            && label != other
        {
            let reason = format!(
                "is {}, but {} is of type label",
                grid.column_name(label),
                grid.column_name(other)
            );
            return Err(DataError::setting(key, reason));
        }
        for identifier in &roles.identifiers {
            let name = grid.column_name(*identifier);
            notes.push(format!("{name} is an identifier and left out"));
            dropped.insert(*identifier);
        }
        let label = match declared.or(roles.label) {
            Some(label) => label,
            None => {
                let label = default_label(grid);
                notes.push(format!(
                    "data.label is not given: {} is taken for the class",
                    grid.column_name(label)
                ));
                label
            }
        };
        if dropped.contains(&label) || site == Some(label) {
            let reason = format!("{} is {what} as well", grid.column_name(label));
            let key = if site == Some(label) {
                "site_column"
            } else {
                "drop"
            };
            return Err(DataError::setting(key, reason));
        }
        let is_feature =
            |column: &usize| *column != label && site != Some(*column) && !dropped.contains(column);
        let features: Vec<usize> = (0..grid.columns()).filter(is_feature).collect();
        if features.is_empty() {
            let reason = format!(
                "none of the {} columns is left as a feature",
                grid.columns()
            );
            return Err(DataError::setting("drop", reason));
        }
        Ok(Self {
            label,
            is_number: config.target.is_some(),
            site,
            features,
            categorical: find_all("categorical", &config.categorical)?,
            zero_is_missing: find_all("zero_is_missing", &config.zero_is_missing)?,
            notes,
        })
    }
}

pub(crate) fn find_column(
    grid: &Grid,
    key: &'static str,
    column: &ColumnRef,
) -> Result<usize, DataError> {
    let columns = grid.columns();
    match (column, grid.header()) {
        (ColumnRef::Index(index), _) if *index < columns => Ok(*index),
        (ColumnRef::Index(index), _) => Err(DataError::setting(
            key,
            format!("column {index} does not exist; there are {columns}, counted from 0"),
        )),
        (ColumnRef::Name(name), Some(names)) => {
            names.iter().position(|known| known == name).ok_or_else(|| {
                let known = shortened(names.iter().map(String::as_str));
                DataError::setting(
                    key,
                    format!("no column is named '{name}'; the columns are {known}"),
                )
            })
        }
        (ColumnRef::Name(name), None) => Err(DataError::setting(
            key,
            format!(
                "'{name}' is a name, but the table has no header: give the index of the column, from 0"
            ),
        )),
    }
}

/// The column named label, class or target in any case, else the last.
fn default_label(grid: &Grid) -> usize {
    let named = ["label", "class", "target"].iter().find_map(|wanted| {
        grid.header()?
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
    });
    named.unwrap_or(grid.columns() - 1)
}

/// Different labels in natural order, one spelling each.
pub(crate) fn label_names(labels: &[&str]) -> Vec<String> {
    let distinct: BTreeSet<String> = labels
        .iter()
        .map(|label| canonical(label).into_owned())
        .collect();
    let mut names: Vec<String> = distinct.into_iter().collect();
    names.sort_by(|a, b| natural_order(a, b));
    names
}

/// Both parts of a table set.
pub(crate) struct TableSet {
    pub(crate) train: TablePart,
    pub(crate) test: Option<TablePart>,
}

/// The number to be predicted of every row, where it has one.
type Values = Vec<Option<f64>>;

/// Classes and owners of every row.
pub(crate) struct Labelled {
    pub(crate) map: ClassMap,
    pub(crate) train: Vec<u32>,
    pub(crate) test: Option<Vec<u32>>,
    /// The numbers to be predicted of both parts, where classes are none.
    pub(crate) values: Option<(Values, Option<Values>)>,
    pub(crate) train_sites: Option<Sites>,
    pub(crate) test_sites: Option<Sites>,
}

impl TableSet {
    /// Finds the columns, after refusing parts and settings that do not fit.
    pub(crate) fn plan(&self, config: &DataConfig) -> Result<Plan, DataError> {
        if config.normalise != crate::config::Normalise::default() {
            return Err(DataError::setting(
                "normalise",
                "concerns images, but this is a table; see data.scaling",
            ));
        }
        if let Some(test) = &self.test {
            same_columns(self.train.first(), test.first())?;
        }
        Plan::new(config, &self.train.first().grid)
    }

    pub(crate) fn label(&self, plan: &Plan, config: &DataConfig) -> Result<Labelled, DataError> {
        let (map, train, test, values) = match plan.is_number {
            true => {
                let values = |part: &TablePart| part.values(plan, config);
                let values = (
                    values(&self.train)?,
                    self.test.as_ref().map(values).transpose()?,
                );
                let grid = &self.train.first().grid;
                let name = grid.header().and_then(|names| names.get(plan.label));
                let name = name.map_or_else(|| format!("column {}", plan.label), String::clone);
                let none = |part: &TablePart| vec![0; part.rows()];
                let test = self.test.as_ref().map(none);
                let map = ClassMap::of_target(name);
                (map, none(&self.train), test, Some(values))
            }
            false => {
                let labels = self.train.labels(plan, config)?;
                let map = ClassMap::new(config, &label_names(&labels))?;
                let train = self.train.classes(&labels, plan, &map)?;
                let test = match &self.test {
                    Some(part) => Some(part.classes(&part.labels(plan, config)?, plan, &map)?),
                    None => None,
                };
                (map, train, test, None)
            }
        };
        let owners = self.train.owners(plan);
        let test_owners = self.test.as_ref().and_then(|test| test.owners(plan));
        let (train_sites, test_sites) = sites::numbered(owners.as_deref(), test_owners.as_deref());
        Ok(Labelled {
            map,
            train,
            test,
            values,
            train_sites,
            test_sites,
        })
    }

    /// The rows of both parts that have a class or a number to be predicted.
    fn answered(
        &self,
        labelled: &Labelled,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<u32>, Option<Vec<u32>>), DataError> {
        let all = |part: &TablePart| (0..part.rows() as u32).collect::<Vec<u32>>();
        let Some((train, test)) = &labelled.values else {
            return Ok((all(&self.train), self.test.as_ref().map(all)));
        };
        let answered = |values: &Values| -> Vec<u32> {
            let rows = (0..).zip(values).filter(|(_, value)| value.is_some());
            rows.map(|(row, _)| row).collect()
        };
        let (rows, test_rows) = (answered(train), test.as_ref().map(answered));
        let of = |rows: &[u32], all: usize| all - rows.len();
        let missing = of(&rows, train.len())
            + test_rows
                .as_ref()
                .map_or(0, |rows| of(rows, test.as_ref().map_or(0, Vec::len)));
        let name = labelled.map.describe();
        if rows.is_empty() || test_rows.as_ref().is_some_and(Vec::is_empty) {
            return Err(DataError::setting("target", format!("no row has a {name}")));
        }
        if missing > 0 {
            notes.push(format!("{missing} rows have no {name} and are left out"));
        }
        Ok((rows, test_rows))
    }

    /// Chooses rows, maps classes, and plans what becomes of the columns.
    pub(crate) fn open(
        self,
        config: &DataConfig,
        name: String,
        seed: u64,
        mut notes: Vec<String>,
    ) -> Result<RawData, DataError> {
        let plan = self.plan(config)?;
        notes.extend(plan.notes.iter().cloned());
        let labelled = self.label(&plan, config)?;
        let (rows, test_rows) = self.answered(&labelled, &mut notes)?;
        let selection = select(
            config,
            &name,
            rows,
            (&labelled.train, labelled.train_sites.as_ref()),
            test_rows,
            seed,
            &mut notes,
        )?;
        let test_part = self.test.as_ref().unwrap_or(&self.train);
        let duplicates = Duplicates::count(
            (&(&self.train, &plan.features[..]), &selection.train),
            (&(test_part, &plan.features[..]), &selection.test),
        );
        notes.extend(duplicates.notes(selection.train.len(), selection.test.len()));
        let test = labelled.test.as_ref();
        let mut chosen = selection.of(
            (&labelled.train, labelled.train_sites.as_ref()),
            test.map(|labels| (&labels[..], labelled.test_sites.as_ref())),
        );
        if let Some((train, test)) = &labelled.values {
            let pick = |values: &[Option<f64>], rows: &[u32]| -> Vec<f64> {
                let of_rows = rows.iter().filter_map(|row| values[*row as usize]);
                of_rows.collect()
            };
            chosen.train_values = Some(pick(train, &chosen.train));
            let test = test.as_ref().unwrap_or(train);
            chosen.test_values = Some(pick(test, &chosen.test));
        }
        let classes = labelled.map.names().to_vec();
        let features = plan.features.clone();
        let plan = PreparePlan::new(config, &plan, &self.train, &chosen.train, &classes)?;
        let mut raw = RawData {
            name,
            classes,
            chosen,
            content: RawContent::Table {
                set: self,
                plan,
                features,
            },
            max_bytes: config.max_bytes,
            prepare: config.prepare.clone(),
            seed,
            notes,
        };
        raw.choose()?;
        Ok(raw)
    }
}
