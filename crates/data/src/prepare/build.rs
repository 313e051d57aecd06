//! From the config and the columns' types to a plan.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::Reading;
use super::check::column_key;
use super::config::{ColumnConfig, ColumnType, Constant, Fill, Outside, TimePart, Unseen};
use super::flow::rates;
use super::hashing::cased;
use super::plan::{
    CategoryEncoding, CategoryFill, CategorySteps, Field, NumberFill, NumberForm, NumberSteps,
    PlannedColumn, PreparePlan, Source, Steps,
};
use super::time::{Format, ISO, parse_date};
use crate::classes::canonical;
use crate::config::{ColumnRef, DataConfig, Scaling};
use crate::decode::Grid;
use crate::encode::is_categorical;
use crate::error::DataError;
use crate::tables::{Plan, TablePart};

const YES: [&str; 5] = ["true", "yes", "y", "t", "1"];
const NO: [&str; 5] = ["false", "no", "n", "f", "0"];

/// The tables `[data.prepare.columns]`, by the place of their column; with their keys.
type Settings<'c> = BTreeMap<usize, (&'c str, &'c ColumnConfig)>;

/// Finds the columns that have settings of their own.
fn settings<'c>(config: &'c DataConfig, grid: &Grid) -> Result<Settings<'c>, DataError> {
    let mut found = Settings::new();
    for (key, column) in &config.prepare.columns {
        let named = grid
            .header()
            .and_then(|names| names.iter().position(|name| name == key));
        let index = named.or_else(|| key.parse().ok().filter(|index| *index < grid.columns()));
        let Some(index) = index else {
            let reason = format!(
                "there is no such column; give a name of the header, or an index below {}",
                grid.columns()
            );
            return Err(column_setting(key, None, reason));
        };
        if let Some((other, _)) = found.insert(index, (key, column)) {
            let reason = format!("is the same column as '{other}'");
            return Err(column_setting(key, None, reason));
        }
    }
    Ok(found)
}

/// An error about a key of `[data.prepare.columns.NAME]`.
fn column_setting(name: &str, key: Option<&str>, reason: impl Into<String>) -> DataError {
    let key = key.map(|key| format!(".{key}")).unwrap_or_default();
    DataError::setting(format!("{}{key}", column_key(name)), reason)
}

/// What the declared types say about which column is what.
pub(crate) struct Roles {
    pub(crate) label: Option<usize>,
    pub(crate) identifiers: BTreeSet<usize>,
}

impl Roles {
    pub(crate) fn of(config: &DataConfig, grid: &Grid) -> Result<Self, DataError> {
        let mut roles = Self {
            label: None,
            identifiers: BTreeSet::new(),
        };
        for (index, (name, column)) in settings(config, grid)? {
            match column.kind {
                Some(ColumnType::Identifier) => {
                    roles.identifiers.insert(index);
                }
                Some(ColumnType::Label) if roles.label.replace(index).is_some() => {
                    let reason = "a second column of type label";
                    return Err(column_setting(name, Some("type"), reason));
                }
                _ => {}
            }
        }
        Ok(roles)
    }
}

impl PreparePlan {
    /// The plan of a table; whether a column holds codes is seen from `rows` of `part`, where it is not declared.
    pub(crate) fn new(
        config: &DataConfig,
        plan: &Plan,
        part: &TablePart,
        rows: &[u32],
        classes: &[String],
    ) -> Result<Self, DataError> {
        if config.prepare.images.is_some() {
            let reason = "concerns images, but this is a table";
            return Err(DataError::setting("prepare.images", reason));
        }
        let grid = &part.first().grid;
        let settings = settings(config, grid)?;
        for (index, (name, column)) in &settings {
            let role = matches!(
                column.kind,
                Some(ColumnType::Label | ColumnType::Identifier)
            );
            if !role && !plan.features.contains(index) {
                let reason = "is no feature: it is the class, the owner or left out";
                return Err(column_setting(name, None, reason));
            }
        }
        let mut built = Self {
            columns: Vec::with_capacity(plan.features.len()),
            fields: Vec::with_capacity(plan.features.len()),
            width: grid.columns(),
            named: grid.header().is_some(),
            classes: classes.to_vec(),
            predicts: plan.is_number,
            pca: config.prepare.pca.clone(),
            fourier: config.prepare.fourier.clone(),
            notes: Vec::new(),
        };
        for &index in &plan.features {
            let own = settings.get(&index).copied();
            let declared = own.and_then(|(_, column)| column.kind);
            let kind = match declared.or(config.prepare.all.kind) {
                Some(kind) => kind,
                None if is_categorical(config, plan, index, part, rows) => ColumnType::Category,
                None => ColumnType::Number,
            };
            let name = name_of(grid, index);
            if let Some((key, column)) = own {
                let placed = column.misplaced(Some(kind));
                placed.map_err(|(fault, reason)| column_setting(key, Some(fault), reason))?;
                if declared.is_some_and(|kind| kind != ColumnType::Category)
                    && plan.categorical.contains(&index)
                {
                    let reason = "data.categorical says otherwise";
                    return Err(column_setting(key, Some("type"), reason));
                }
            }
            let all = &config.prepare.all;
            let column = own.map_or_else(|| all.clone(), |(_, column)| column.over(all));
            // What `all` says of missing values may be meant for columns of another type.
            let column = match own.is_some_and(|(_, own)| own.missing.is_some())
                || column.misplaced(Some(kind)).is_ok()
            {
                true => column,
                false => column.without_misplaced_fill(kind),
            };
            built.add(config, plan, index, name, kind, &column);
        }
        built.add_flow(config, grid)?;
        built.check_reduced(config)?;
        built.check_predicted()?;
        built.explain();
        Ok(built)
    }

    /// Adds a column and its fields.
    fn add(
        &mut self,
        config: &DataConfig,
        plan: &Plan,
        index: usize,
        name: String,
        kind: ColumnType,
        column: &ColumnConfig,
    ) {
        let place = self.columns.len();
        let mut missing = config.missing.clone();
        missing.extend(column.missing_values.iter().flatten().cloned());
        let zero_is_missing = plan.zero_is_missing.contains(&index);
        self.columns.push(PlannedColumn {
            name: name.clone(),
            index,
            unit: column.unit.clone(),
            missing,
            drop_missing: column.missing == Some(Fill::DropRow),
            reading: reading(kind, column, zero_is_missing),
        });
        let source = Source::Column { column: place };
        match kind {
            ColumnType::Time => self.add_time(place, &name, column, config),
            ColumnType::Category => self.fields.push(Field {
                name,
                source,
                steps: Steps::Category(category_steps(column)),
            }),
            ColumnType::Text => self.fields.push(Field {
                name,
                source,
                steps: text_steps(column),
            }),
            _ => self.fields.push(Field {
                name,
                source,
                steps: Steps::Number(number_steps(column, config.scaling)),
            }),
        }
    }

    fn add_time(&mut self, place: usize, name: &str, column: &ColumnConfig, config: &DataConfig) {
        let default = [
            TimePart::DaysSince,
            TimePart::WeekdayCycle,
            TimePart::HourCycle,
        ];
        let since = column.since.as_deref().and_then(parse_date).unwrap_or(0);
        for part in column.parts.as_deref().unwrap_or(&default) {
            for (number, feature) in part.names().iter().enumerate() {
                // A point on a circle has its scale already.
                let scaling = match part.is_cycle() {
                    true => Scaling::None,
                    false => config.scaling,
                };
                let mut steps = number_steps(column, scaling);
                // One indicator for all that is read off a time.
                steps.indicator &= self.fields.last().is_none_or(
                    |field| !matches!(field.source, Source::Part { column, .. } if column == place),
                );
                self.fields.push(Field {
                    name: format!("{name}.{feature}"),
                    source: Source::Part {
                        column: place,
                        part: *part,
                        since,
                        number,
                    },
                    steps: Steps::Number(steps),
                });
            }
        }
    }

    fn add_flow(&mut self, config: &DataConfig, grid: &Grid) -> Result<(), DataError> {
        let Some(flow) = &config.prepare.flow else {
            return Ok(());
        };
        let place = |key: &'static str, column: &ColumnRef| {
            let index = crate::tables::find_column(grid, key, column)?;
            let place = self.columns.iter().position(|known| {
                known.index == index && matches!(known.reading, Reading::Number { .. })
            });
            place.ok_or_else(|| {
                let reason = format!("{} is no feature of type number", grid.column_name(index));
                DataError::setting(key, reason)
            })
        };
        for (name, rate) in rates(flow, place)? {
            let mut steps = number_steps(&config.prepare.all, config.scaling);
            steps.transform = flow.transform;
            self.fields.push(Field {
                name,
                source: Source::Flow { rate },
                steps: Steps::Number(steps),
            });
        }
        Ok(())
    }

    /// Refuses components of nothing, and scales the numbers as components need it.
    fn check_reduced(&mut self, config: &DataConfig) -> Result<(), DataError> {
        let key = match (&self.pca, &self.fourier) {
            (Some(_), _) => "prepare.pca",
            (None, Some(_)) => "prepare.fourier",
            (None, None) => return Ok(()),
        };
        let scaled = self.fields.iter().filter(|field| field.steps.is_scaled());
        let scaled = scaled.count();
        if scaled == 0 {
            return Err(DataError::setting(key, "no column of numbers is scaled"));
        }
        let Some(pca) = &self.pca else {
            return Ok(());
        };
        if let Some(components) = pca.components.filter(|components| *components > scaled) {
            let reason = format!("{components} of {scaled} numbers");
            return Err(DataError::setting("prepare.pca.components", reason));
        }
        let prepare = &config.prepare;
        let columns = prepare.columns.values().chain([&prepare.all]);
        let other = columns
            .filter_map(|column| column.scaling)
            .chain([config.scaling]);
        if other
            .into_iter()
            .any(|scaling| scaling != Scaling::Standard)
        {
            let reason = "needs numbers of mean 0 and deviation 1: leave `scaling` at `standard`";
            return Err(DataError::setting(key, reason));
        }
        for field in &mut self.fields {
            if let Steps::Number(steps) = &mut field.steps
                && let NumberForm::Scaled(scaling) = &mut steps.form
            {
                *scaling = Scaling::Standard;
            }
        }
        Ok(())
    }

    /// Refuses columns that are coded by classes where there are none.
    fn check_predicted(&self) -> Result<(), DataError> {
        let coded = self.fields.iter().find(|field| field.steps.is_target());
        match coded.filter(|_| self.predicts) {
            Some(field) => {
                let reason = "`target` codes by classes, but data.target is a number";
                Err(column_setting(&field.name, Some("encoding"), reason))
            }
            None => Ok(()),
        }
    }

    /// Notes what a reader should know of the choices.
    fn explain(&mut self) {
        let targets: Vec<&str> = self
            .fields
            .iter()
            .filter(|field| field.steps.is_target())
            .map(|field| field.name.as_str())
            .collect();
        if !targets.is_empty() {
            self.notes.push(format!(
                "{} coded by the classes of their rows: training rows by the other folds, but what is stored with the \
                 pipeline tells about labels",
                match targets[..] {
                    [one] => format!("'{one}' is"),
                    _ => format!("'{}' are", targets.join("', '")),
                }
            ));
        }
    }
}

impl ColumnConfig {
    fn without_misplaced_fill(&self, kind: ColumnType) -> Self {
        let alone = Self {
            missing: self.missing.clone(),
            ..Self::default()
        };
        let mut column = self.clone();
        if alone.misplaced(Some(kind)).is_err() {
            column.missing = None;
        }
        column
    }
}

fn reading(kind: ColumnType, column: &ColumnConfig, zero_is_missing: bool) -> Reading {
    let case = column.case.unwrap_or_default();
    let trim = column.trim.unwrap_or(false);
    let list = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(own) => own.clone(),
        None => default.iter().map(|&token| token.to_owned()).collect(),
    };
    match kind {
        ColumnType::Category => Reading::Category { case, trim },
        ColumnType::Text => Reading::Text { case },
        ColumnType::Ordinal => {
            let order = column.order.iter().flatten();
            let spelled = |code: &String| canonical(&cased(code, case)).into_owned();
            Reading::Ordinal {
                case,
                trim,
                order: order.map(spelled).collect(),
            }
        }
        ColumnType::Boolean => Reading::Boolean {
            yes: list(&column.yes, &YES),
            no: list(&column.no, &NO),
        },
        ColumnType::Time => Reading::Time {
            // Checked when the config was.
            formats: list(&column.formats, &ISO)
                .iter()
                .filter_map(|text| Format::parse(text).ok())
                .collect(),
            ambiguous: column.ambiguous.unwrap_or_default(),
        },
        ColumnType::Number | ColumnType::Label | ColumnType::Identifier => Reading::Number {
            zero_is_missing,
            range: column.range.map(|[low, high]| (low, high)),
            outside: column.outside.unwrap_or(Outside::Clip),
        },
    }
}

fn number_steps(column: &ColumnConfig, scaling: Scaling) -> NumberSteps {
    let mut fill = NumberFill::of(column.missing.as_ref());
    if let (Some(Fill::Constant(Constant::Code(code))), Some(order)) =
        (&column.missing, &column.order)
    {
        let place = order.iter().position(|known| known == code);
        fill = NumberFill::Constant(place.unwrap_or(0) as f64);
    }
    NumberSteps {
        transform: column.transform.unwrap_or_default(),
        clip: column.clip_quantiles.map(|[low, high]| (low, high)),
        fill,
        indicator: column.indicator.unwrap_or(false),
        form: match &column.buckets {
            Some(buckets) => NumberForm::Buckets(buckets.clone()),
            None => NumberForm::Scaled(column.scaling.unwrap_or(scaling)),
        },
    }
}

fn category_steps(column: &ColumnConfig) -> CategorySteps {
    let grouped = column.at_least.is_some() || column.most.is_some();
    let otherwise = if grouped {
        Unseen::Other
    } else {
        Unseen::Zeros
    };
    let case = column.case.unwrap_or_default();
    let mut fill = CategoryFill::of(column.missing.as_ref());
    if let CategoryFill::Constant(code) = &mut fill {
        *code = canonical(&cased(code, case)).into_owned();
    }
    let encoding = column.encoding.unwrap_or_default();
    CategorySteps {
        at_least: column.at_least.unwrap_or(1),
        most: column.most,
        fill,
        indicator: column.indicator.unwrap_or(false),
        unseen: column.unseen.unwrap_or(otherwise),
        encoding: CategoryEncoding::of(encoding, column.width, column.smoothing),
    }
}

fn text_steps(column: &ColumnConfig) -> Steps {
    let grams = column.grams.unwrap_or_default();
    let lengths = match grams {
        super::config::Grams::Words => [1, 2],
        super::config::Grams::Bytes => [1, 3],
    };
    Steps::Text {
        grams,
        lengths: column.lengths.unwrap_or(lengths),
        width: column.width.unwrap_or(256),
    }
}

/// The name of a column, or its number.
fn name_of(grid: &Grid, index: usize) -> String {
    match grid.header().and_then(|names| names.get(index)) {
        Some(name) => name.clone(),
        None => format!("column {index}"),
    }
}
